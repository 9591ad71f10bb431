"""Targets as a loss takes them: real numbers, signs ±1 or classes 0, 1, …, and what was made of which label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from gradlab.specification.sentences import SpecificationError, did_you_mean
from gradlab.wording import brief, quoted

#: So many different labels are taken; more are numbers.
_MOST = 1000


@dataclass(frozen=True)
class Targets:
    """Targets of one file: numbers (N, …), NaN where missing; with ``texts``, (N, 1) of numbers into these."""

    values: Float[np.ndarray, "N ..."]
    texts: tuple[str, ...] | None = None

    def rows(self, kept: np.ndarray) -> Targets:
        """Those of some rows."""
        return Targets(self.values[kept], self.texts)


def chosen(parts: Sequence[Targets], classes: Sequence[str | int] | None) -> list[np.ndarray]:
    """Which rows of each part belong to ``classes``: all, where none are named.

    Raises
    ------
    SpecificationError
        For a class that no row has.
    """
    if classes is None:
        return [np.full(len(part.values), True) for part in parts]
    labels = [_labels(part) for part in parts]
    there = {_same(label) for part in labels for label in part.tolist() if label == label}
    for label in classes:
        if _same(label) not in there:
            shown = [quoted(one, 40) for one in there]
            near = did_you_mean(quoted(_same(label), 40), shown) if shown else "there is no label"
            raise SpecificationError(f"in [data]: classes names {quoted(label)}, which no row has; {near}")
    wanted = {_same(label) for label in classes}
    return [np.asarray([_same(label) in wanted for label in part.tolist()], dtype=bool) for part in labels]


def _same(label: object) -> str:
    """A label as it is compared: 1, 1.0 and "1" are one."""
    if isinstance(label, float | int) and not isinstance(label, bool):
        return f"{label:.0f}" if label == round(label) else repr(float(label))
    return str(label).lower() if isinstance(label, bool) else str(label)


def _labels(part: Targets) -> np.ndarray:
    """One label a row: numbers, or texts."""
    flat = _flat(part)
    if part.texts is None:
        return flat
    known = np.asarray([*part.texts, ""], dtype=object)
    return known[np.where(np.isnan(flat), len(part.texts), flat).astype(int)]


def _flat(part: Targets) -> Float[np.ndarray, "N"]:
    values = part.values
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise SpecificationError(
            f"in [data]: the loss takes one label an example; targets of shape {tuple(values.shape)} were given"
        )
    return values


def labelled(
    parts: Sequence[Targets], labels: str, classes: Sequence[str | int] | None
) -> tuple[list[Shaped[np.ndarray, "N ..."]], str]:
    """Targets of every part as a loss takes them, and in words which label became what.

    (N, C) for ``real``: numbers as they are, labels that are text (or named by ``classes``) as unit vectors; (N,) of
    ±1 for ``sign``; (N,) of 0 … C − 1 for ``class``. Labels are ordered as ``classes`` names them, else sorted.
    """
    texts = any(part.texts is not None for part in parts)
    if labels == "real" and not texts and classes is None:
        return [np.asarray(part.values, np.float64).reshape(len(part.values), -1) for part in parts], ""
    if texts and any(part.texts is None for part in parts):
        raise SpecificationError(
            "in [data]: the labels of one split are text and those of the other numbers; write both alike"
        )
    given = [_labels(part) for part in parts]
    if not texts:
        _refuse_fractions(given, labels)
    found = np.unique(np.concatenate(given))
    if labels == "sign" and classes is None and set(found.tolist()) <= {-1.0, 1.0}:
        return list(given), ""
    if labels == "class" and classes is None and not texts and np.array_equal(found, np.arange(len(found))):
        return [part.astype(np.int64) for part in given], ""
    order = _order(found, classes)
    if labels == "sign" and len(order) != 2:
        raise SpecificationError(
            f"in [data]: this loss takes two labels, or -1 and +1; there are {_listed(order)}: choose two with classes "
            "= […], or write kind = 'cross-entropy' in [loss]"
        )
    number = {label: k for k, label in enumerate(order)}
    index = [np.asarray([number[_same(label)] for label in part.tolist()], dtype=np.int64) for part in given]
    if labels == "sign":
        return [2.0 * part - 1.0 for part in index], f"label {order[0]} is -1, {order[1]} is +1"
    words = "labels " + ", ".join(f"{label} → {k}" for k, label in enumerate(map(brief, order[:12])))
    words += f", … ({len(order)} classes)" if len(order) > 12 else ""
    if labels == "real":
        return [np.eye(len(order))[part] for part in index], f"{words}, as unit vectors"
    return list(index), words


def _order(found: np.ndarray, classes: Sequence[str | int] | None) -> list[str]:
    if classes is not None:
        order = [_same(label) for label in classes]
        if len(set(order)) < len(order):
            raise SpecificationError("in [data]: classes names a label twice; name each once")
        return order
    order = [_same(label) for label in found.tolist()]
    if len(order) > _MOST:
        raise SpecificationError(
            f"in [data]: there are {len(order)} different labels; for numbers write kind = 'square' in [loss]"
        )
    folded = {label.casefold(): label for label in order}
    for label in order:
        if folded[label.casefold()] != label:
            raise SpecificationError(
                f"in [data]: the labels {quoted(label)} and {quoted(folded[label.casefold()])} differ in capitals "
                "only; mend them, or name both in classes = […]"
            )
    return order


def _listed(order: Sequence[str]) -> str:
    few = ", ".join(quoted(label, 30) for label in order[:5])
    return f"{len(order)} ({few}{', …' if len(order) > 5 else ''})"


def _refuse_fractions(given: Sequence[np.ndarray], labels: str) -> None:
    for part in given:
        wrong = np.flatnonzero(part != np.round(part))
        if len(wrong):
            takes = "labels -1 and +1" if labels == "sign" else "classes 0, 1, 2, …"
            raise SpecificationError(
                f"in [data]: this loss takes {takes}; example {wrong[0]} has {part[wrong[0]]:g}: for numbers write "
                "kind = 'square' in [loss]"
            )
