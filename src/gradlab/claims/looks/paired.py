"""Two methods at the same pairs of a training set and a start: errors on images that neither was trained on."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from gradlab.analysis.pairs import HIGHER, LOWER, Comparison, compared
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_most
from gradlab.problem.losses import Square

#: What counts as a difference of two test errors: two images in a hundred.
MARGIN = 0.02


class Paired(Look):
    """What the nets of several methods ("arms") answer, (arms, pairs, records, images); the first arm is the plain one.

    ``train`` (pairs, N), ``validation`` (V,) and ``test`` (T,) are numbers of images, ``truth`` (images,) their
    classes.
    """

    setting = "classification under the square loss, without decay, and beside it by another method"
    #: What the passage speaks of first must be seen of this arm.
    first = 0

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem.loss, Square) and not np.any(np.asarray(problem.decay))

    @property
    def compares(self) -> bool:
        """Whether the case is a comparison, and not a flow."""
        return "answers" in self.trajectory

    def kept(self, name: str) -> np.ndarray:
        """What the case holds under a name."""
        return np.asarray(self.trajectory[name].values)

    @property
    def answers(self) -> np.ndarray:
        """Classes that the nets give, (arms, pairs, records, images)."""
        return self.kept("answers")

    @property
    def arms(self) -> list[str]:
        """Names of the methods."""
        return str(self.facts["arms"]).split(" | ")

    @property
    def truth(self) -> np.ndarray:
        return self.kept("truth")

    @property
    def trained(self) -> np.ndarray:
        """Images that each pair is trained on, (pairs, N)."""
        return self.kept("train")

    @property
    def tested(self) -> np.ndarray:
        """Images that errors are measured on, (pairs, T)."""
        test = self.kept("test")
        return np.broadcast_to(test, (self.answers.shape[1], len(test)))

    @property
    def choosing(self) -> np.ndarray:
        """Images by which a time or a setting is chosen, (V,)."""
        return self.kept("validation")

    @cached_property
    def wrong(self) -> np.ndarray:
        """Whether each answer is wrong."""
        return np.asarray(self.answers != self.truth)

    def on(self, images: np.ndarray, arm: int, record: Any = -1) -> np.ndarray:
        """Wrong answers of an arm, 0 or 1, for images (pairs, T) or (T,), at a record or at each pair's own."""
        count = self.answers.shape[1]
        rows = np.arange(count)
        at = self.wrong[arm][rows, np.broadcast_to(record, (count,))]
        return np.take_along_axis(at, np.broadcast_to(images, (count, images.shape[-1])), axis=1).astype(
            float
        )

    def error(self, arm: int, record: Any = -1) -> np.ndarray:
        """Wrong answers in the test, (pairs, T)."""
        return self.on(self.tested, arm, record)

    def chosen(self, arm: int) -> int:
        """The record with the least error in validation over all pairs; the first of equals."""
        errors = [float(self.on(self.choosing, arm, i).mean()) for i in range(self.answers.shape[2])]
        return int(np.argmin(errors))

    def chosen_by_pair(self, arm: int) -> np.ndarray:
        """The record that each pair's own errors in validation choose, (pairs,)."""
        errors = [self.on(self.choosing, arm, i).mean(axis=1) for i in range(self.answers.shape[2])]
        return np.argmin(errors, axis=0)

    def against(self, one: np.ndarray, other: np.ndarray) -> Comparison:
        """What one errs more than the other in the test."""
        return compared(one - other, MARGIN)

    def number(self, found: Comparison, tolerance: float | None = None) -> Number:
        """A mean with its interval; one answer of all is added, since where none differs nothing varies."""
        return Number(found.mean, found.error + 1.0 / self.tested.size, tolerance)

    def more(self, one: np.ndarray, other: np.ndarray) -> Number:
        """What one errs more than the other, as a measure ``at_least(0.0)`` asks it: one of four answers.

        Where the interval lies above 0 the tolerance is 0, and it holds. Where the interval takes in 0, or lies
        within the margin, a difference that counts is asked, MARGIN: refuted where all of the interval is below ("no
        difference", or less), inconclusive where it is not resolved.
        """
        found = self.against(one, other)
        signed = found.word in (HIGHER, LOWER)
        return self.number(found, 0.0 if signed else MARGIN)

    @at_most(0.5)
    def learned(self) -> Number | None:
        """Least error of the first method in the test over the records, over that of a guess.

        It classifies at all: less than half of what guessing errs.
        """
        if not self.compares:
            return NOT_ASKED
        classes = len(np.unique(self.truth))
        guess = 1.0 - 1.0 / classes
        found = compared(self.error(self.first, self.chosen(self.first)) / guess, 0.0)
        return self.number(found)

    @at_most(0.0, exact=True)
    def unseen(self) -> float | None:
        """Images of the test that were trained on, of all pairs: a comparison on others is none.

        Counted.
        """
        if not self.compares:
            return NOT_ASKED
        return float(np.isin(self.tested, self.trained).sum())

    @at_most(0.0, exact=True)
    def blind(self) -> float | None:
        """Images of the test among those by which a time or a setting was chosen.

        Counted.
        """
        return float(np.isin(self.tested, self.choosing).sum()) if self.compares else NOT_ASKED

    @at_most(0.0, exact=True)
    def alike(self) -> float | None:
        """Pairs of starts that share an image of training, or whose nets answer alike at all records: independent ones.

        Counted; the interval is one of independent pairs.
        """
        if not self.compares:
            return NOT_ASKED
        sets = [set(row.tolist()) for row in self.trained]
        said = self.answers[self.first]
        return float(
            sum(
                bool(sets[i] & sets[j]) or np.array_equal(said[i], said[j])
                for i, j in combinations(range(len(sets)), 2)
            )
        )

    def curves(self) -> dict[str, Any]:
        """Test errors along the way of every arm, with intervals, for the figure."""
        numbers: dict[str, Any] = {}
        for k in range(len(self.arms)):
            each = [compared(self.error(k, i), MARGIN) for i in range(self.answers.shape[2])]
            numbers[f"error_{k}"] = ("record", np.array([one.mean for one in each]))
            numbers[f"spread_{k}"] = ("record", np.array([one.error for one in each]))
        return numbers | {"iteration": ("record", self.kept("iteration").astype(float))}

    def said(self, **comparisons: Comparison) -> dict[str, Any]:
        """Comparisons as numbers and words, for the figure."""
        numbers: dict[str, Any] = {}
        for name, one in comparisons.items():
            numbers |= {f"{name}_mean": one.mean, f"{name}_width": one.error, f"{name}_word": one.word}
            numbers |= {f"{name}_effect": one.effect, f"{name}_effect_width": one.effect_error}
        return numbers
