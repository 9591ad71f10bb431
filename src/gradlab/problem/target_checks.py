"""Which targets a loss takes, checked on the host: a refusal says what to write instead."""

from __future__ import annotations

import numpy as np


def check_real(name: str, outputs: int, targets: np.ndarray) -> None:
    if targets.ndim == 1:
        raise ValueError(
            f"{name} takes targets (N, C), C = {outputs} outputs; shape {targets.shape} was given: write "
            + ("targets[:, None]" if outputs == 1 else "one-hot rows, e.g. numpy.eye(C)[targets]")
        )
    if targets.ndim != 2 or targets.shape[1] != outputs:
        raise ValueError(
            f"{name} takes targets (N, C), C = {outputs} outputs; shape {targets.shape} was given: "
            f"give {outputs} columns, or a network with {targets.shape[-1]} outputs"
        )


def check_signs(name: str, outputs: int, targets: np.ndarray) -> None:
    if outputs != 1:
        raise ValueError(
            f"{name} needs a network with one output; it has {outputs}: "
            "use CrossEntropy with classes, or one output"
        )
    _check_one_dimension(name, "labels −1 and +1", targets)
    wrong = targets[~np.isin(targets, (-1, 1))]
    if wrong.size:
        hint = "2 * targets - 1" if np.isin(targets, (0, 1)).all() else "where(targets > 0, 1, -1)"
        raise ValueError(f"{name} takes labels −1 and +1; the targets contain {wrong[0]:g}: write {hint}")


def check_classes(name: str, outputs: int, targets: np.ndarray) -> None:
    if outputs < 2:
        raise ValueError(
            f"{name} needs a network with one output per class, at least two; it has {outputs}: "
            "use Logistic with labels −1 and +1, or more outputs"
        )
    _check_one_dimension(name, f"integer classes 0 … {outputs - 1}", targets)
    if not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(
            f"{name} takes integer classes 0 … {outputs - 1}; the targets are of type {targets.dtype}: "
            "write targets.astype(int)"
        )
    wrong = targets[(targets < 0) | (targets >= outputs)]
    if wrong.size:
        raise ValueError(
            f"{name} takes integer classes 0 … {outputs - 1} with {outputs} outputs; the targets contain "
            f"{wrong[0]}: number the classes from 0, or give the network more outputs"
        )


def _check_one_dimension(name: str, expected: str, targets: np.ndarray) -> None:
    if targets.ndim != 1:
        hint = "targets[:, 0]" if targets.shape[1:] == (1,) else "targets.argmax(1) of one-hot rows"
        raise ValueError(
            f"{name} takes {expected}, of shape (N,); shape {targets.shape} was given: write {hint}"
        )
