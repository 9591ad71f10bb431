"""The one object that touches files, and what can go wrong with them.

Every primitive below is one operation that can fail on its own; a test replaces them one by one. All of
them raise `OSError`; the rooms above turn it into a sentence.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from gradlab.store.foreign import open_regular

TEMPORARY = ".tmp"


class StoreError(ValueError):
    """A run directory could not be read or written; the message is one sentence that says what to do."""


class Corrupt(StoreError):
    """A file of a run directory is not what the manifest says it is."""


class Locked(StoreError):
    """Another process is writing in this run directory."""


class Foreign(StoreError):
    """A run belongs to another specification, data set, version or machine."""


class Disk:
    """Every file operation of the store, one method each."""

    #: Bytes that a file of a run directory may have.
    LARGEST: ClassVar[int] = 2 << 30
    #: The operations that can fail, each once in turn in the tests.
    PRIMITIVES: ClassVar[tuple[str, ...]] = (
        "read_bytes",
        "exists",
        "listdir",
        "mkdir",
        "remove",
        "create",
        "write",
        "fsync",
        "close",
        "rename",
        "fsync_directory",
        "open_lock",
        "flock",
        "unlock",
    )

    def read_bytes(self, path: Path) -> bytes:
        """Everything in the file; `OSError` for what is no regular file (a pipe, a device) or beyond `LARGEST`."""
        with os.fdopen(open_regular(path), "rb") as file:
            if os.fstat(file.fileno()).st_size > self.LARGEST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
            return file.read()

    def exists(self, path: Path) -> bool:
        """Whether a file or a directory of this name is there."""
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def listdir(self, path: Path) -> list[str]:
        """Names in the directory, sorted."""
        return sorted(os.listdir(path))

    def mkdir(self, path: Path) -> None:
        """Make the directory and those above it; one that is there is left alone."""
        path.mkdir(parents=True, exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove one file; one that is gone already is no error."""
        path.unlink(missing_ok=True)

    def create(self, path: Path) -> int:
        """Open a file for writing, emptied, and give its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all the bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def fsync(self, descriptor: int) -> None:
        """Wait until the bytes are on the disk."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or directory its new name in one step, replacing a file of that name."""
        os.replace(source, target)

    def fsync_directory(self, path: Path) -> None:
        """Wait until the names in the directory are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems have no such operation
                raise
        finally:
            os.close(descriptor)

    def open_lock(self, path: Path) -> int:
        """Open (and make, if need be) the file that is locked."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def flock(self, descriptor: int) -> None:
        """Take the lock for this process or raise `BlockingIOError`; the kernel drops it at a kill."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(self, descriptor: int) -> None:
        """Give the lock back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def write_bytes_atomically(
        self, path: Path, data: bytes | Sequence[bytes | memoryview], durable: bool = True
    ) -> None:
        """Write a file that is, at every moment, there as a whole or not at all; of pieces, one after the other.

        Temporary name, write, fsync, close, rename, fsync of the directory. An `OSError` names `path`. Where it is not
        ``durable`` nothing is waited for: as whole for whoever looks, and after a kill, but not after a power cut.
        """
        # of this process, since another may be writing the same file
        temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
        with _named(path):
            descriptor = self.create(temporary)
            try:
                for piece in [data] if isinstance(data, bytes) else data:
                    self.write(descriptor, piece)
                if durable:
                    self.fsync(descriptor)
            except OSError:
                self._give_up(descriptor, temporary)
                raise
            self.close(descriptor)
            self.rename(temporary, path)
            if durable:
                self.fsync_directory(path.parent)

    def _give_up(self, descriptor: int, temporary: Path) -> None:
        """Give a full disk its bytes back, as far as that goes."""
        attempts: tuple[Callable[[], None], ...] = (
            lambda: self.close(descriptor),
            lambda: self.remove(temporary),
        )
        for attempt in attempts:
            with contextlib.suppress(OSError):
                attempt()

    def take_lock(self, path: Path) -> int:
        """Lock the file and give the descriptor that holds the lock.

        Raises
        ------
        Locked : another process, or another run object of this one, holds it.
        """
        with _named(path):
            descriptor = self.open_lock(path)
            try:
                self.flock(descriptor)
            except BlockingIOError as error:
                os.close(descriptor)
                raise Locked(
                    f"another process is writing in {path.parent}; wait until it ends, or stop it, "
                    "and try again"
                ) from error
            except OSError:
                os.close(descriptor)
                raise
            return descriptor

    def release_lock(self, descriptor: int, path: Path) -> None:
        """Give the lock back and close its file; closed it is in any case, which drops the lock too."""
        with _named(path):
            try:
                self.unlock(descriptor)
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Hold the lock for the length of a block."""
        descriptor = self.take_lock(path)
        try:
            yield
        finally:
            self.release_lock(descriptor, path)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an `OSError` name the file it is about: operations on descriptors do not know it."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def in_words(doing: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn an `OSError` into a `StoreError` of one sentence: what failed, on which file, what to do."""
    try:
        yield
    except OSError as error:
        where = error.filename if error.filename is not None else path
        reason = error.strerror or str(error) or type(error).__name__
        raise StoreError(f"{doing} failed at {where} ({reason}); {remedy}") from error
