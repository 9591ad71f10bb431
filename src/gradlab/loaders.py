"""Real data, verified by digest: MNIST, CIFAR-10 and the ethanol rows of UCI's gas sensors.

``GRADLAB_DATA``, when set, names the only folder looked at, and a file missing there is an error. Otherwise
files are downloaded once from their canonical addresses into the user's cache. Archives are read in memory,
never extracted, and the digest of every member is checked before anything interprets it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gradlab.store import archives, foreign
from gradlab.store.archives import CorruptData

if TYPE_CHECKING:
    from gradlab.problem.data import Data

Labels = Literal["class", "sign", "onehot"]


class MissingData(ValueError):
    """A file is not where it should be, or could not be downloaded."""


@dataclass(frozen=True)
class File:
    """The names that one file may have in a folder, and the hash of the first, canonical one."""

    names: tuple[str, ...]
    known_hash: str


@dataclass(frozen=True)
class Source:
    """A data set that can be downloaded, as `gradlab data list` shows it."""

    what: str
    size: str
    licence: str
    files: tuple[File, ...]


#: The four idx files, compressed as they are distributed.
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_CIFAR_MEMBERS = {
    "data_batch_1": "sha256:54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
    "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
    "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "sha256:f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
}
_CIFAR_NAMES = ("cifar-10-python.tar.gz", "cifar-10-batches-py-partial.tar.xz")
_GAS = "gas+sensor+array+drift+dataset+at+different+concentrations.zip"
_GAS_HASH = "sha256:98fe3a30981a222dd4518fbcc3dddd45d5c0ce9b03ef6dc6fe5cf7a04cfbff5e"
#: sha256 of the lines of gas 1 of batch1.dat … batch10.dat, one after another.
_ETHANOL_SHA256 = "e2ff4dd7f9bfd88b690a471b96414ae7e46098e30f6ddffad016e437883e4b2d"

_ADDRESSES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "cifar10": "https://www.cs.toronto.edu/~kriz/",
    "gas_sensor": "https://archive.ics.uci.edu/static/public/270/",
}
SOURCES = {
    "mnist": Source(
        what="handwritten digits, 60 000 + 10 000 images of 28×28 grey pixels, 10 classes (LeCun 1998)",
        size="11.6 MB",
        licence="CC BY-SA 3.0",
        files=tuple(File((name,), f"sha256:{digest}") for name, digest in _MNIST_SHA256.items()),
    ),
    "cifar10": Source(
        what="photographs, 50 000 + 10 000 images of 32×32 colour pixels, 10 classes (Krizhevsky 2009)",
        size="170 MB",
        licence="none stated; cite Krizhevsky 2009",
        files=(File(_CIFAR_NAMES, "md5:c58f30108f718f92721af3b95e74349a"),),
    ),
    "gas_sensor": Source(
        what="UCI 270, gas sensor array drift, ethanol: 2 565 rows of 128 features, target the concentration "
        "(cite Vergara et al. 2012 and Rodriguez-Lujan et al. 2014)",
        size="about 10 MB",
        licence="CC BY 4.0",
        files=(File((_GAS, "ethanol_batches.zip"), _GAS_HASH),),
    ),
}


def names() -> list[str]:
    """Names of the data sets that :func:`fetch` knows."""
    return list(SOURCES)


def _given_folder() -> Path | None:
    given = os.environ.get("GRADLAB_DATA", "")
    return Path(given).expanduser() if given else None


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("gradlab"))


def _find(folder: Path, name: str, file: File) -> Path | None:
    candidates = (place / own for own in file.names for place in (folder / name, folder))
    return next((path for path in candidates if path.is_file()), None)


def describe() -> list[dict[str, Any]]:
    """Per data set: name, what, size, licence, address, present, where. Touches no network."""
    folder, rows = _given_folder() or _cache(), []
    for name, source in SOURCES.items():
        found = [_find(folder, name, file) for file in source.files]
        row: dict[str, Any] = {"name": name, "what": source.what, "size": source.size}
        row |= {"licence": source.licence, "address": _ADDRESSES[name], "present": None not in found}
        rows.append(row | {"where": str(found[0]) if row["present"] else None})
    return rows


def fetch(name: str) -> list[Path]:
    """The verified local files of a data set, downloaded if they must and may be.

    Raises :class:`MissingData` where ``GRADLAB_DATA`` is set and lacks a file, or a download fails, and
    :class:`CorruptData` where a file is not what its digest says.
    """
    readers: dict[str, Callable[[], object]] = {
        "mnist": lambda: [_mnist_file(number) for number in range(4)],
        "cifar10": _cifar_batches,
        "gas_sensor": _ethanol_rows,
    }
    if name not in SOURCES:
        raise ValueError(f"there is no data set {name!r}; expected one of {', '.join(SOURCES)}")
    paths = [_local(name, number) for number in range(len(SOURCES[name].files))]
    readers[name]()
    return paths


def _local(name: str, number: int = 0) -> Path:
    """Where file ``number`` of a data set lies, after a download if ``GRADLAB_DATA`` is not set."""
    folder, file = _given_folder(), SOURCES[name].files[number]
    if folder is None:
        return _download(name, file)
    found = _find(folder, name, file)
    if found is None:
        raise MissingData(
            f"GRADLAB_DATA is set and {folder / name / file.names[0]} is not there; "
            "put the file there, or unset GRADLAB_DATA to download it"
        )
    return found


class _Bar:
    """The progress object that pooch drives, drawn by rich on standard error if that is a terminal."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.progress.add_task(escape(label), total=None)
        self.total: float = 0  # set by pooch

    def update(self, amount: float) -> None:
        self.progress.update(self.task, advance=amount, total=self.total or None)

    def reset(self) -> None:
        self.progress.update(self.task, completed=0)

    def close(self) -> None:
        self.progress.stop()


def _download(name: str, file: File) -> Path:
    import pooch

    own, address = file.names[0], _ADDRESSES[name] + file.names[0]
    bar, logger = _Bar(f"{name}: {own}"), pooch.get_logger()
    downloader, level = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16), logger.level
    logger.setLevel("WARNING")  # the bar says it
    try:
        with bar.progress:
            path = pooch.retrieve(address, file.known_hash, own, _cache() / name, downloader=downloader)
    except ValueError as error:
        raise CorruptData(
            f"what {address} sent is not {own} (expected {file.known_hash}); nothing was kept"
        ) from error
    except OSError as error:
        raise MissingData(
            f"{address} could not be downloaded ({type(error).__name__}); check the network, or put the file "
            "into a folder and set GRADLAB_DATA to it"
        ) from error
    finally:
        logger.setLevel(level)
    return Path(path)


def _check_digest(content: bytes, expected: str, what: str) -> None:
    algorithm, _, digest = expected.partition(":")
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != digest:
        raise CorruptData(f"{what} is damaged: {algorithm} {found[:9]}…, not {digest[:9]}…; fetch it again")


def _mnist_file(number: int) -> np.ndarray:
    """One idx file as an array of bytes: (N, 28, 28) images or (N,) labels."""
    path = _local("mnist", number)
    packed = foreign.whole_file(path, archives.MEMBER, "an idx file")
    _check_digest(packed, SOURCES["mnist"].files[number].known_hash, str(path))
    content = gzip.decompress(packed)
    # idx: two zero bytes, type 8 (unsigned byte), number of dims, then each dim as a big-endian int32
    dims = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(dims)


class _CifarUnpickler(pickle.Unpickler):
    """Admits what CIFAR's pickled batches contain (dicts, lists, bytes, one array) and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        admitted: dict[tuple[str, str], Any] = {
            ("numpy.core.multiarray", "_reconstruct"): _empty_array,
            ("numpy._core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): "ndarray",  # a mere name: nothing in the file may call it
            ("numpy", "dtype"): _byte_dtype,
        }
        if (module, name) not in admitted:
            raise CorruptData(f"a pickle asks for {module}.{name}, which no CIFAR batch does; it was not run")
        return admitted[module, name]


def _empty_array(kind: object, shape: object, code: object) -> np.ndarray:
    if kind != "ndarray" or shape != (0,):
        raise CorruptData("the pickle builds an array as no CIFAR batch does; it was not read")
    return np.empty(0, np.uint8)


def _byte_dtype(code: object, *flags: object) -> np.dtype:
    if code not in (b"u1", "u1"):
        raise CorruptData(f"the pickle holds numbers of type {code!r}; CIFAR batches hold bytes")
    return np.dtype("u1", copy=True)  # the pickle goes on to set its state


def _unpickled(content: bytes, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and labels (N,) of one pickled batch, through the restricted unpickler."""
    try:
        batch = _CifarUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, classes = batch[b"data"], np.asarray(batch[b"labels"], dtype=np.int64)
        bytes_ok = pixels.dtype == np.uint8 and pixels.shape == (len(classes), 3072)
        if not (bytes_ok and np.isin(classes, range(10)).all()):
            raise CorruptData(f"{what} holds no (N, 3072) bytes with N labels 0 … 9; fetch it again")
    except CorruptData:
        raise
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        raise CorruptData(f"{what} is no CIFAR batch ({type(error).__name__}); fetch it again") from error
    return pixels.reshape(-1, 3, 32, 32), classes


def _cifar_batches() -> tuple[Path, dict[str, bytes]]:
    path = _local("cifar10")
    members = archives.tar_members(path, tuple(_CIFAR_MEMBERS))
    for name, content in members.items():
        _check_digest(content, _CIFAR_MEMBERS[name], f"{name} in {path}")
    for name in ("data_batch_1", "test_batch"):
        if name not in members:
            raise MissingData(f"{path} has no member {name}; give CIFAR-10 in its python layout")
    return path, members


def _classes(classes: Sequence[int] | None, labels: Labels) -> tuple[int, ...]:
    chosen = tuple(range(10)) if classes is None else tuple(int(number) for number in classes)
    if len(chosen) < 2 or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(10)):
        raise ValueError(f"classes are {classes}; expected two or more different numbers of 0 … 9")
    if labels not in ("class", "sign", "onehot"):
        raise ValueError(f"labels is {labels!r}; write 'class', 'sign' or 'onehot'")
    if labels == "sign" and len(chosen) != 2:
        raise ValueError(
            f"labels='sign' needs two classes, not {len(chosen)}; write classes=(a, b) for −1, +1"
        )
    return chosen


def _targets(numbers: np.ndarray, classes: tuple[int, ...], labels: Labels) -> np.ndarray:
    positions = (numbers[:, None] == np.asarray(classes)).argmax(axis=1)
    if labels == "class":
        return positions.astype(np.int64)
    return 2.0 * positions - 1.0 if labels == "sign" else np.eye(len(classes))[positions]


_Part = tuple[np.ndarray, np.ndarray, int | None]


def _image_data(
    name: str, parts: Sequence[_Part], labels: Labels, chosen: tuple[int, ...], seed: int | None, flat: bool
) -> Data:
    from gradlab.problem.data import Data

    arrays: list[Any] = []
    for images, numbers, count in parts:
        kept = np.flatnonzero(np.isin(numbers, chosen))
        if count is not None and not 0 <= count <= len(kept):
            raise ValueError(f"{count} examples asked for; the files hold {len(kept)} of these classes")
        kept = (kept if seed is None else np.random.default_rng(seed).permutation(kept))[:count]
        scaled = images[kept].astype(np.float64) / 255
        inputs = scaled.reshape(len(kept), images[0].size) if flat else scaled
        arrays += [inputs, _targets(numbers[kept], chosen, labels)] if len(kept) else [None, None]
    if arrays[0] is None:
        raise ValueError("no training examples asked for; write train=1 or more")
    drawn = "in order" if seed is None else f"drawn with seed {seed}"
    classes = ",".join(map(str, chosen))
    provenance = f"{name}, classes {classes} as {labels}, {drawn}, pixels / 255"
    return Data(arrays[0], arrays[1], arrays[2], arrays[3], provenance=provenance)


def mnist(
    train: int | None = 1000,
    test: int | None = 1000,
    *,
    classes: Sequence[int] | None = None,
    labels: Labels = "class",
    seed: int | None = None,
    flat: bool = True,
) -> Data:
    """This reads MNIST digits as :class:`gradlab.problem.data.Data`, pixels divided by 255.

    Parameters
    ----------
    train, test : numbers of examples (None: all there are; ``test=0``: no test split).
    classes : digits to keep, in this order numbered 0, 1, …; None keeps the ten.
    labels : "class" int64 (N,); "sign" ±1 (N,), the first of two classes −1; "onehot" (N, C).
    seed : draws the examples at random; None takes them in the order of the files.
    flat : inputs (N, 784), else (N, 1, 28, 28).

    Raises :class:`MissingData`, :class:`CorruptData`, or ValueError for what the files do not have.
    """
    chosen = _classes(classes, labels)
    images, numbers, test_images, test_numbers = (_mnist_file(number) for number in range(4))
    parts = ((images[:, None], numbers, train), (test_images[:, None], test_numbers, test))
    return _image_data("MNIST", parts, labels, chosen, seed, flat)


def cifar10(
    train: int | None = 1000,
    test: int | None = 1000,
    *,
    classes: Sequence[int] | None = None,
    labels: Labels = "class",
    seed: int | None = None,
    flat: bool = True,
) -> Data:
    """This reads CIFAR-10 photographs as :class:`gradlab.problem.data.Data`, pixels divided by 255.

    As :func:`mnist`, with inputs (N, 3072) or (N, 3, 32, 32). Training examples come from the fewest leading
    batches that hold ``train`` of them, so that a partial archive gives the same data as the whole one;
    ``train=None`` takes every batch the archive has.
    """
    chosen = _classes(classes, labels)
    path, members = _cifar_batches()
    batches: list[tuple[np.ndarray, np.ndarray]] = []
    for name in list(_CIFAR_MEMBERS)[:5]:
        held = sum(int(np.isin(numbers, chosen).sum()) for _, numbers in batches)
        if batches and train is not None and held >= train:
            break
        if name in members:
            batches.append(_unpickled(members[name], f"{name} in {path}"))
        elif train is not None:
            raise MissingData(f"{path} has no member {name}, needed for {train} examples; {held} are there")
    images, numbers = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    test_images, test_numbers = _unpickled(members["test_batch"], f"test_batch in {path}")
    parts = ((images, numbers, train), (test_images, test_numbers, test))
    name = f"CIFAR-10, {len(batches)} of 5 training batches"
    return _image_data(name, parts, labels, chosen, seed, flat)


def _ethanol_rows() -> tuple[np.ndarray, np.ndarray]:
    """Features (2565, 128) and concentrations (2565,) of gas 1, batches in order."""
    path = _local("gas_sensor")
    wanted = tuple(f"batch{number}.dat" for number in range(1, 11))
    members = archives.zip_members(path, wanted)
    for name in wanted:
        if name not in members:
            raise CorruptData(f"{path} has no member {name}; fetch it again")
    every = (line for name in wanted for line in members[name].splitlines(keepends=True))
    lines = [line for line in every if line.startswith(b"1;")]
    # the whole archive may end its lines otherwise: then its own digest vouches for its members
    if hashlib.sha256(b"".join(lines)).hexdigest() != _ETHANOL_SHA256:
        _check_digest(
            foreign.whole_file(path, archives.ARCHIVE, "a zip archive"),
            _GAS_HASH,
            f"an ethanol row of {path}",
        )
    # `1;concentration 1:v … 128:v`
    cells = [line.replace(b";", b" ").replace(b":", b" ").split() for line in lines]
    try:
        table = np.array(cells, dtype=np.float64)
    except ValueError as error:
        raise CorruptData(f"{path} has a row that is not `1;concentration 1:v … 128:v`") from error
    if table.shape != (2565, 258) or not (table[:, 2::2] == np.arange(1, 129)).all():
        raise CorruptData(f"{path} has other rows than 2565 of `1;concentration 1:v … 128:v`; fetch it again")
    return table[:, 3::2], table[:, 1]


def gas_sensor(
    *, standardise: bool = True, whiten: bool = False, test_fraction: float = 0.0, seed: int = 0
) -> Data:
    """This reads the ethanol rows of UCI 270: 2565 × 128 features, targets (N, 1) the concentration (ppmv).

    Parameters
    ----------
    standardise : features and targets to mean 0 and variance 1 (condition number then about 7·10⁴; raw
        features span many decades).
    whiten : features centred and whitened by the singular value decomposition: XᵀX/N = I to rounding.
    test_fraction, seed : share of rows drawn for a test split (0: none). Means, scales and the whitening are
        those of the training rows.
    """
    from gradlab.problem.data import Data

    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}; expected 0 ≤ test_fraction < 1")
    features, concentrations = _ethanol_rows()
    targets = concentrations[:, None]
    order = np.random.default_rng(seed).permutation(len(features))
    cut = round(test_fraction * len(features))
    train, test = np.sort(order[cut:]), np.sort(order[:cut])
    scaled = (features - features[train].mean(0)) / features[train].std(0)
    if standardise:
        targets = (targets - targets[train].mean(0)) / targets[train].std(0)
    inputs = scaled if standardise or whiten else features
    if whiten:
        left, values, right = np.linalg.svd(scaled[train], full_matrices=False)
        if len(train) <= len(values) or values[-1] <= 1e-12 * values[0]:
            raise ValueError(f"{len(train)} training rows do not span the 128 features; lower test_fraction")
        inputs = scaled @ (right.T * (np.sqrt(len(train)) / values))
        inputs[train] = np.sqrt(len(train)) * left  # orthonormal to rounding, as the product above is not
    how = "whitened" if whiten else "standardised" if standardise else "raw"
    provenance = f"UCI 270 ethanol rows, features {how}, targets {'standardised' if standardise else 'raw'}"
    split: tuple[Any, Any] = (inputs[test], targets[test]) if cut else (None, None)
    return Data(inputs[train], targets[train], *split, provenance=provenance)
