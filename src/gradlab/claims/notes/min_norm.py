"""notes.min-norm: from W(0) ≈ 0 descent tends to the pseudoinverse solution, whose printed form needs N ≥ d.

Printed. "W = Y Xᵀ(X Xᵀ)⁻¹ = Y X⁺, which is the minimum norm solution", where N < d is supposed. X Xᵀ is a d × d matrix
of rank at most N: there the inverse does not exist, and read as a pseudoinverse the formula is right. Where it does
exist (the x_n span ℝᵈ) the least-squares solution is unique, "minimum norm" chooses nothing, and W(0) does not matter
(docs/notes/notes.min-norm.md). The limit is asked for starts of every size.

Settings, before any run. Inputs have singular values in [1, 3] (√2 times that for repeated points), loss ½Σ, no
decay: at T = 40, or 500 steps of descent at η = 1/λ_max, e^{−λ_min T} < 1e-17. Starts are standard normal times a
scale of 0, 1e-6 … 10. dopri8 at 1e-10 a step leaves 1e-9 of ‖W‖, so 1e-8 is asked. Every problem is run once more
with a decay, 1e-2 … 1e-8, from W = 0 (500 steps).

The distance of the ridge solution is at most λ/(λ + 2a s²)‖Y X⁺‖, s the least non-zero singular value: each component
is s/(s² + λ/2a) against 1/s. X Xᵀ counts as invertible if λ_min/λ_max ≥ 1e-12, the pseudoinverse cuts there.
"""

from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.one_layer import NoDecay, under
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import one_layer
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive

#: λ_min/λ_max above which X Xᵀ is called invertible.
REGULAR = 1e-12


class _Shared(NoDecay):
    """Where a run ended, Y X⁺, and what of the start no example sees."""

    @cached_property
    def least(self) -> np.ndarray:
        """Y X⁺."""
        return self.net.minimum_norm()

    @property
    def norm(self) -> float:
        """‖YX⁺‖."""
        return float(np.linalg.norm(self.least))

    @property
    def scale(self) -> float:
        """‖YX⁺‖ + ‖W(0)‖."""
        return self.norm + float(np.linalg.norm(self.orbit[0]))

    @property
    def rounding(self) -> float:
        """That of a solution, relative."""
        return EPS * self.net.size * float(self.net.singular[0] / self.net.singular[-1]) ** 2

    def off(self, W: np.ndarray) -> Number:
        """‖W − YX⁺‖/‖YX⁺‖ of a formula."""
        return Number(float(np.linalg.norm(W - self.least)) / self.norm, self.rounding)

    @cached_property
    def moment(self) -> np.ndarray:
        """X Xᵀ of the passage, (d, d)."""
        return self.net.X.T @ self.net.X

    @cached_property
    def ratio(self) -> float:
        """Its λ_min/λ_max."""
        values = np.linalg.eigvalsh(self.moment)
        return float(values[0] / values[-1])

    @at_most(1e-9, role="hypothesis")
    def unfinished(self) -> float:
        """What time has left of the start, by the closed form, over ‖YX⁺‖ + ‖W(0)‖: the run is long enough.

        A tenth of what is allowed of the limit.
        """
        return self.left / self.scale

    @at_most(1e-8, sentence="limit")
    def limit(self) -> Number:
        """‖W(∞) − YX⁺ − W(0)Q‖/(‖YX⁺‖ + ‖W(0)‖), Q the null projector: as a matrix, what W(0) leaves.

        0 in exact arithmetic; dopri8 at 1e-10 a step leaves 1e-9.
        """
        gap = self.last - self.least - self.net.beside(self.orbit[0])
        return Number(float(np.linalg.norm(gap)) / self.scale, EPS * self.net.size)

    @equals(0.0, within=1e-8, sentence="start")
    def distance(self) -> Number:
        """‖W(∞) − YX⁺‖ less ‖W(0)Q‖, over ‖YX⁺‖ + ‖W(0)‖.

        As for limit.
        """
        away, beside = (
            float(np.linalg.norm(W)) for W in (self.last - self.least, self.net.beside(self.orbit[0]))
        )
        return Number((away - beside) / self.scale, EPS * self.net.size)

    @at_most(1.001, sentence="ridge")
    def ridge(self) -> Number:
        """‖W_λ − YX⁺‖/‖YX⁺‖ over λ/(λ + 2a s²), W_λ the limit with a decay from 1e-2 … 1e-8.

        1 is the bound of a linear approach to YX⁺; more is another limit, or a slower one. Rounding is 1e-4 at
        λ = 1e-8.
        """
        decay, W = float(self.facts["λ"]), self.net.matrix(self.trajectory["ridge_weights"].values)
        bound = decay / (decay + 2.0 * self.net.factor * float(self.net.singular[-1]) ** 2)
        return Number(float(np.linalg.norm(W - self.least)) / self.norm / bound, EPS * self.net.size / bound)

    @at_most(1e-9, sentence="formula")
    def pseudoinverse(self) -> Number:
        """‖YXᵀ(XXᵀ)⁺ − YX⁺‖/‖YX⁺‖: the printed inverse as a pseudoinverse.

        0 in exact arithmetic; the condition of X is at most 3: rounding leaves 1e-14.
        """
        return self.off(
            self.net.Y.T @ self.net.X @ np.linalg.pinv(self.moment, rcond=REGULAR, hermitian=True)
        )

    def shown(self):
        W, start = self.last, self.orbit[0]
        away, beside = (float(np.linalg.norm(one)) for one in (W - self.least, self.net.beside(start)))
        seen = beside > 1e-12
        width = "N < d" if len(self.net.X) < self.net.X.shape[1] else "N ≥ d"
        return {
            "away": away if seen else np.nan,
            "beside": beside if seen else np.nan,
            "wide": width,
            "ratio": self.ratio,
        }


class MinNormPrinted(_Shared):
    @at_least(REGULAR, sentence="formula", role="print", repaired="pseudoinverse")
    def inverse(self) -> Number:
        """λ_min/λ_max of XXᵀ, whose inverse the printed formula takes.

        Rounding leaves eps max(N, d) ≈ 2e-15 of a singular matrix; the data have 1/9 or more of a regular one.
        """
        return Number(self.ratio, EPS * self.net.size)


class MinNormCorrected(_Shared):
    @at_most(1e-9, sentence="formula")
    def gram(self) -> Number | None:
        """‖W − YX⁺‖/‖YX⁺‖, W = YXᵀ(XXᵀ)⁻¹ if the x_n span, Y(XᵀX)⁻¹Xᵀ if they are independent.

        As for pseudoinverse; nothing is asked where they neither span nor are independent.
        """
        X, Y = self.net.X, self.net.Y
        if self.ratio >= REGULAR:
            return self.off(np.linalg.solve(self.moment, X.T @ Y).T)
        return self.off(Y.T @ np.linalg.solve(X @ X.T, X)) if self.net.rank == len(X) else NOT_ASKED


SHAPES = ((6, 10, 2), (14, 5, 2), (8, 20, 3), (20, 8, 1), (9, 9, 2))
SCALES = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
DECADES = 10.0 ** np.arange(-2.0, -9.0, -1.0)
#: What is kept of a run with a decay, of both solves.
ENDS = ("weights", "weights_coarse")


def cases(key, *, shapes, draws, both):
    """Descent everywhere and the flow where N < d, or both everywhere; beside each its limits with a decay."""
    for i, shape in enumerate(shapes):
        drawn = one_layer.problems(generator(jax.random.fold_in(key, i)), shape, draws, SCALES)
        decays = [float(DECADES[j % len(DECADES)]) for j in range(draws)]
        decayed: list[one_layer.Drawn] = [
            (under(problem, problem.loss, decay), (np.zeros_like(start[0]),), {})
            for (problem, start, _), decay in zip(drawn, decays, strict=True)
        ]
        ridges = list(_descent(decayed))
        runs = [("descent", _descent(drawn))]
        if both or shape[0] < shape[1]:
            runs.append(("flow", ensemble(GradientFlow, drawn, (40.0,), solver=Adaptive("dopri8", 1e-10))))
        for name, run in runs:
            for one, ridge, decay in zip(run, ridges, decays, strict=True):
                ends = {f"ridge_{end}": ("weight", ridge.trajectory[end].values[-1]) for end in ENDS}
                yield case(one.problem, one.trajectory.assign(ends), run=name, **one.facts, λ=decay)


def _descent(drawn):
    steps = one_layer.stable_steps(problem for problem, *_ in drawn)
    return ensemble(partial(GradientDescent, step=steps), drawn, (500,))


FIGURE = Figure(
    Panel(
        "away",
        "beside",
        r"distance at the end, $\|W - YX^{+}\|$",
        r"null-space part of the start, $\|W(0)\,Q\|$",
        by=("wide",),
        log="xy",
        diagonal=True,
    ),
    Panel(
        "ratio",
        "case",
        r"$\lambda_{\min}/\lambda_{\max}$ of $XX^{\top}$",
        "problem",
        by=("wide",),
        log="y",
        floor=1e-17,
        reference={"invertible above": REGULAR},
    ),
    caption="Left: runs end at YX⁺ plus the null-space part of their start (problems that have one). Right: the matrix "
    "that the printed formula inverts is singular wherever N < d, and where the points have deficient rank.",
)
BUDGETS: dict[str, dict[str, Any]] = {
    "quick": {"shapes": SHAPES[:2], "draws": 24, "both": False},
    "full": {"shapes": SHAPES, "draws": 48, "both": True},
    "few": {"draws": 6},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (("notes.min-norm", MinNormPrinted), ("notes.min-norm-corrected", MinNormCorrected))
)
