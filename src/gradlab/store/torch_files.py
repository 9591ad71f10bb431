"""Files of ``torch.save``, through torch's own restricted reader, where it is installed; the only import of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.store import foreign
from gradlab.store.foreign import Unreadable
from gradlab.wording import brief

#: Under which keys trainers put all weights.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params")


def torch_module() -> Any:
    """The package torch.

    Raises
    ------
    ImportError
        Where it is not installed; the sentence says how it is.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("torch is not installed; write pip install 'gradlab[torch]'") from error
    return torch


def of_torch(
    path: Path, load: Callable[..., Any] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Named arrays of a ``torch.save`` file, through torch's restricted reader; tensors only.

    Parameters
    ----------
    load : ``torch.load`` unless given.

    Raises
    ------
    Unreadable
        Where torch is not installed, or the file holds more than tensors, or no dictionary of them.
    """
    where = brief(str(path))
    if load is None:
        try:
            load = torch_module().load
        except ImportError:
            raise Unreadable(
                f"{where} is of torch.save and torch is not installed; install torch, or save safetensors or npz"
            ) from None
    foreign.whole_file(
        path, foreign.LARGEST, "a torch checkpoint"
    )  # weighed, and a regular file, before it is opened
    with foreign.reading(path, "a torch checkpoint"):
        try:
            found = load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch's own text advises to unpickle
            if type(error).__name__ == "UnpicklingError":
                raise Unreadable(
                    f"{where} holds more than tensors, a whole model perhaps; write torch.save(model.state_dict(), …)"
                ) from error
            raise Unreadable(
                f"{where} is damaged ({type(error).__name__}: cut short?); remove it, or save it again"
            ) from error
        table = _table(found)
        if table is None:
            raise Unreadable(
                f"{where} holds no dictionary of tensors; write torch.save(model.state_dict(), …)"
            )
        arrays, formats = {}, {}
        for name, tensor in table.items():
            formats[name] = str(tensor.dtype).removeprefix("torch.")
            wide = tensor.float() if formats[name] == "bfloat16" else tensor
            arrays[name] = np.asarray(wide.detach().cpu().numpy())
        return arrays, formats


def _table(found: Any) -> dict[str, Any] | None:
    """The innermost dictionary of tensors by name, out of what trainers wrap it in."""
    for _ in range(4):
        if not isinstance(found, Mapping):
            return None
        found = {str(name): value for name, value in found.items()}
        if found and all(hasattr(value, "detach") for value in found.values()):
            return dict(found)
        inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            return None
        found = inner
    return None
