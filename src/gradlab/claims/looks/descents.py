"""Gradient descent from many starts at once, as a look sees it: taken again of data that are shaken."""

from __future__ import annotations

from functools import cached_property

import equinox as eqx
import jax
import numpy as np
from scipy.stats import beta

from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number
from gradlab.observe.local import values_and_gradients


class Descents(Look):
    """Descent from every recorded point; the facts ``eta`` and ``steps`` say how. Overflow ends as NaN or ∞."""

    #: How often on the way the weights are kept.
    KEPT = 40

    def slope(self, vectors: np.ndarray) -> np.ndarray:
        """∇L at weight vectors (starts, P), by automatic differentiation."""
        return values_and_gradients(self.problem, vectors)[1]

    def value(self, vectors: np.ndarray) -> np.ndarray:
        """L at weight vectors, (starts,)."""
        return values_and_gradients(self.problem, vectors)[0]

    def descended(self, vectors: np.ndarray, eta: float, steps: int) -> np.ndarray:
        """The weights at the start and after every fortieth part of the steps, (kept, starts, P)."""
        marks = np.linspace(0, steps, self.KEPT + 1).astype(int)
        kept = [vectors]
        for count in np.diff(marks):
            kept.append(np.asarray(_descended(self.problem, kept[-1], np.float64(eta), np.int64(count))))
        return np.stack(kept)

    @cached_property
    def orbits(self) -> np.ndarray:
        """The weights on the way, (kept, starts, P)."""
        return self.descended(self.weights, float(self.facts["eta"]), int(self.facts["steps"]))

    @cached_property
    def losses(self) -> np.ndarray:
        """L on the way, (kept, starts)."""
        return np.stack([self.value(vectors) for vectors in self.orbits])


@eqx.filter_jit
def _descended(problem, vectors, eta, steps):
    """So many steps from every start; steps and η are no part of the program."""

    def slope(vector):
        return problem.ravel(problem.gradient(problem.unravel(vector)))

    def step(_, rows):
        return rows - eta * jax.vmap(slope)(rows)

    return jax.lax.fori_loop(0, steps, step, vectors)


def distinct_rows(starts: np.ndarray) -> int:
    """How many of the rows differ: one start drawn often is one draw."""
    return len(np.unique(starts, axis=0))


def share(failed: float, count: int, drawn: bool = True) -> Number:
    """failed/count with the longer arm of its 99 % interval (Clopper, Pearson) if the starts were drawn, else exact."""
    found = failed / count
    if not drawn:
        return Number(found, exact=True)
    low = float(beta.ppf(0.005, failed, count - failed + 1)) if failed else 0.0
    high = float(beta.ppf(0.995 if failed else 0.99, failed + 1, count - failed)) if failed < count else 1.0
    return Number(found, max(high - found, found - low))
