"""Eigenvalues near a shift without a factorisation: a Chebyshev filter under block Lanczos."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from gradlab.observe.spectrum.basis import EPS
from gradlab.observe.spectrum.lanczos import BLOCK, Pairs, extreme, refined
from gradlab.observe.spectrum.operators import Operator, Progress

#: Products of one application of the filter, at the start and at most.
_DEGREES = (32, 4096)
#: Applications of a filter, in multiples of the wanted pairs, after which a sharper one is tried.
_PATIENCE = 12


class Filtered(Operator):
    """g(A), g the Jackson-damped Chebyshev expansion of a peak at a shift, g(shift) = 1.

    On [−1, 1], to which [floor, ceiling] is mapped, g_d(x) = c Σ_{n ≤ d} (2 − δ_{n0}) J_n T_n(s) T_n(x) with Jackson's
    factors J_n is positive, and its peak at s has the width π √(1 − s²)/d. ``d`` products make one application.

    Source: Weiße, Wellein, Alvermann and Fehske 2006, eq. (71) (Jackson's kernel).
    """

    def __init__(self, operator: Operator, shift: float, floor: float, ceiling: float, degree: int) -> None:
        self.operator, self.size, self.degree = operator, operator.size, degree
        self.centre, self.half = 0.5 * (floor + ceiling), 0.5 * (ceiling - floor)
        s = (shift - self.centre) / self.half
        n, last = np.arange(degree + 1), degree + 2
        angle = math.pi / last
        jackson = ((last - n) * np.cos(angle * n) + np.sin(angle * n) / math.tan(angle)) / last
        chebyshev = np.cos(n * math.acos(min(1.0, max(-1.0, s))))
        self.coefficients = np.where(n == 0, 1.0, 2.0) * jackson * chebyshev
        self.coefficients /= self.coefficients @ chebyshev

    def apply(self, block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "b P"]:
        def mapped(vectors: np.ndarray) -> np.ndarray:
            return (self.operator(vectors) - self.centre * vectors) / self.half

        before, here = block, mapped(block)
        total = self.coefficients[0] * before + self.coefficients[1] * here
        for coefficient in self.coefficients[2:]:
            before, here = here, 2.0 * mapped(here) - before
            total += coefficient * here
        return total


def nearest(
    operator: Operator,
    shift: float,
    count: int,
    *,
    tolerance: float = 1e-6,
    block: int = BLOCK,
    most: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Pairs:
    """The ``count`` eigenvalues nearest to ``shift``, ascending.

    The largest eigenvalues of g(A), a peak at the shift (:class:`Filtered`), belong to the eigenvalues of A nearest to
    it. Rayleigh and Ritz with A on their vectors give values and residuals. The degree is doubled until residuals are
    within tolerance of ‖A‖.

    Limits. The degree needed is about the width of the spectrum over the distance to which ``count`` eigenvalues
    reach: in a dense bulk this is expensive. Eigenvalues closer together than tolerance · ‖A‖ are not told apart:
    in a larger cluster at the shift *some* ``count`` of its members are returned, with vectors that span part
    of it. Of two at nearly equal distances on both sides either may be returned.

    Parameters
    ----------
    most : products after which to give up; by default 20 000.
    """
    most = 20_000 if most is None else most
    before, ends = operator.products, extreme(operator, 1, 1, tolerance=1e-3, block=block, seed=seed)
    scale = ends.scale
    if not ends.converged or scale == 0.0:
        return ends
    room = float(np.max(ends.residuals)) + 1e-3 * scale
    floor, ceiling = min(ends.values[0] - room, shift - room), max(ends.values[-1] + room, shift + room)
    degree, found = _DEGREES[0], ends
    while True:
        peaked = Filtered(operator, shift, floor, ceiling, degree)
        left = most - (operator.products - before)
        if progress is not None:
            progress(f"eigenvalues near {shift:g}, filter of degree {degree}", min(1.0, 1 - left / most), 1.0)
        steps = max(1, min(left // degree, _PATIENCE * (count + block)))
        filtered = extreme(peaked, 0, count, tolerance=0.1 * tolerance, block=block, most=steps, seed=seed)
        values, vectors, residuals, asymmetry = refined(operator, filtered.vectors)
        rounding = 16.0 * EPS * scale + asymmetry
        fine = bool(np.all(residuals <= tolerance * scale + rounding))
        spent = operator.products - before
        why = f"filter of degree {degree}: {filtered.why}"
        if not fine:
            why += f"; residuals up to {np.max(residuals) / scale:.1e} of the norm"
        good = fine and filtered.converged
        found = Pairs(values, vectors, residuals, scale, rounding, filtered.chance, spent, good, why)
        degree *= 2
        if good or degree > _DEGREES[1] or spent + degree * 3 * (count + block) > most:
            return found
