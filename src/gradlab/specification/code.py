"""One's own Python network or loss, from the file named with ``--code``; nothing is executed otherwise."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from gradlab.specification.files import existing
from gradlab.specification.sentences import SpecificationError, did_you_mean
from gradlab.wording import brief

_ADDRESS = re.compile(r"0x[0-9a-f]+")


def load(path: Path, option: str = "--code") -> ModuleType:
    """Execute a Python file and return its module; ``option`` is what names it in a message.

    Raises
    ------
    SpecificationError
        If the file is missing, or raises while it is executed.
    """
    if not existing(path, option).is_file():
        raise SpecificationError(f"{option}: {path} is no regular file; name the Python file itself")
    spec = importlib.util.spec_from_file_location(f"gradlab_code_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SpecificationError(f"{option}: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    beside = str(path.resolve().parent)
    if (
        beside not in sys.path
    ):  # as of a script: what lies beside it may be imported, now and when it is called
        sys.path.append(beside)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(spec.name, None)
        raise SpecificationError(
            f"{option}: {path} raised {type(error).__name__}: {brief(str(error))}"
        ) from error
    return module


def function(module: ModuleType | None, name: str, where: str) -> Callable[..., Any]:
    """The function ``name`` of one's module, or a sentence."""
    if module is None:
        raise SpecificationError(
            f"{where}: kind = 'function' needs the Python file that defines {name!r}: add --code FILE.py"
        )
    found = getattr(module, name, None)
    if callable(found):
        return found
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if not known:
        raise SpecificationError(f"{where}: {module.__file__} defines no function {name!r}, nor any other")
    raise SpecificationError(
        f"{where}: {module.__file__} has no function {name!r}; {did_you_mean(name, known)}"
    )


def digest(problem: Any, weights: Any) -> str:
    """What one's code computes, as a digest: the jaxpr of outputs and potential with their derivatives.

    Also digested are the constants that the jaxpr closes over and the starting weights. Renaming a variable,
    or a comment, changes nothing; another formula, constant or start does.
    """

    def everything(w: Any) -> Any:
        outputs, pullback = jax.vjp(problem.outputs, w)
        return outputs, pullback(outputs), jax.value_and_grad(problem.risk)(w)

    closed = jax.make_jaxpr(everything)(weights)
    # Custom derivative rules print the address of a Python object; what they compute is in the vjp.
    text = _ADDRESS.sub("", str(closed.jaxpr))
    total = hashlib.sha256(text.encode())
    for leaf in [*closed.consts, *jax.tree.leaves(weights)]:
        array = np.ascontiguousarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()
