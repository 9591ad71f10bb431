"""Code of the user's own, called: an exception inside it ends as one sentence with the user's line."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gradlab.wording import brief

#: The folder of this package, and what a file of a library has in its name.
_PACKAGE = __file__.rsplit("problem", 1)[0]
_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ")


class OwnCodeError(ValueError):
    """The user's own network or loss raised, or gave what cannot be trained; the message is one sentence."""


def is_own(function: Any) -> bool:
    """Whether a function, or the class of an object, was defined outside this package."""
    made = function if hasattr(function, "__qualname__") else type(function)
    module = str(getattr(made, "__module__", ""))
    return module != "gradlab" and not module.startswith("gradlab.")


def users(filename: str) -> bool:
    """Whether a file is the user's: neither of this package nor of an installed one."""
    return not filename.startswith(_PACKAGE) and not any(part in filename for part in _LIBRARIES)


def line_of(filename: str, line: int) -> str:
    """``net.py, line 12: `h = x @ w```, the source left out where it cannot be seen."""
    source = brief(linecache.getline(filename, line), 80)
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{name}, line {line}" + (f": `{source}`" if source else "")


@contextmanager
def own_code(what: str) -> Iterator[None]:
    """Let what the user's code raises inside the block end as an :class:`OwnCodeError` naming its line.

    Parameters
    ----------
    what : who raised, e.g. ``the network's apply``.
    """
    try:
        yield
    except OwnCodeError:
        raise
    except Exception as error:
        text = brief(str(error).strip().split("\n\n")[0].split("\n")[0])
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise OwnCodeError(f"{what} raised {said}{_where(error)}") from error


def called(what: str, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` inside :func:`own_code`."""
    with own_code(what):
        return function(*args)


def _where(error: BaseException) -> str:
    found: tuple[FrameType, int] | None = None
    traceback = error.__traceback__
    while traceback is not None:
        if users(traceback.tb_frame.f_code.co_filename):
            found = (traceback.tb_frame, traceback.tb_lineno)
        traceback = traceback.tb_next
    return "" if found is None else f" ({line_of(found[0].f_code.co_filename, found[1])})"
