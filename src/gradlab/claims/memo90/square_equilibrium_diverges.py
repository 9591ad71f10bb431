"""memo90.square-equilibrium-diverges: where the regularised equilibrium of the square loss goes for λ → 0.

What is printed (section 11.1). "Regularization ensures the existence of a hyperbolic equilibrium for any λ > 0 at a
finite w⁰ (which increases to ∞ for λ → 0). If the initial conditions are w(0) ≈ 0, in the limit of λ → 0 the
equilibrium converges to a minimum norm solution for w and a maximum margin solution for w/‖w‖." The norm increases,
to that of X⁺y. The equilibrium does not know the start; the start enters where λ → 0 comes before t → ∞. The margin:
memo90.min-norm-is-max-margin. Printed beside it are λ|w|² with the velocity −λw (eq. 17), and Hessians without the 2
of the square (eqs. 15, 18).

Settings, before any run. N = 5 labels ±1 in d = 8, six kinds of data (memo90.min-norm-is-max-margin), from starts of
norm 1e-3 and 3. The flow of Σ(y − w·x)² + λ/2 ‖w‖² in closed steps to t = 6e11, λ = 1e-2, 1e-3, …, 1e-10: e^{−λt} ≤
e^{−60}. And λ → 0 first: λ = 1e-14 to t = 1e8.

Tolerances. The ridge solution and the run are solves of condition s²/λ, applied to what lies in the span: 1e-8
relative. w_λ − X⁺y is X⁺y times λ/(λ + 2s²) at most, whatever the start: 1 per cent above is allowed, and the
rounding of X⁺y, 1e-9. With λt = 1e-6 the null-space part of the start is there to 1e-6.
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis.solutions import HardMargin, max_margin
from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.one_layer import OneLayer
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import interpolated
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.exact import Exact
from gradlab.laboratory.second import COARSE
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

DECADES = 10.0 ** np.arange(-2.0, -11.0, -1.0)
FIRST, EARLY, LATE = 1e-14, 1e8, 6e11
SMALL = 1e-2


class _Shared(OneLayer):
    """Ends at every decade of λ, (9, d); the problem has the least."""

    setting = "a linear net of one layer and one output, the square loss, λ > 0"

    @classmethod
    def speaks_of(cls, problem):
        """Whether there is decay, and one output."""
        return OneLayer.speaks_of(problem) and problem.network.outputs == 1 and float(problem.decay) > 0.0

    @cached_property
    def least(self) -> np.ndarray:
        """X⁺y."""
        return self.net.minimum_norm()[0]

    @property
    def norms(self) -> np.ndarray:
        """‖w_λ‖ over ‖X⁺y‖."""
        return np.linalg.norm(self.weights, axis=1) / np.linalg.norm(self.least)

    @cached_property
    def start(self) -> np.ndarray:
        """w(0)."""
        return np.asarray(self.trajectory["start"].values)

    @cached_property
    def rows(self) -> np.ndarray:
        """y_n x_n."""
        return self.net.X * np.sign(self.net.Y)

    @cached_property
    def svm(self) -> HardMargin:
        """ŵ."""
        return max_margin(self.rows, np.ones(len(self.rows)))

    @property
    def short(self) -> Number:
        """1 − the margin of the last end over the largest."""
        reached = float(np.min(self.rows @ self.end) / np.linalg.norm(self.end))
        return Number(1.0 - reached / self.svm.margin, 1e3 * EPS)

    @property
    def off(self) -> Number:
        """‖w_λ − X⁺y‖ at the least λ, over what the path still lacks there, ‖X⁺y‖ λ/(λ + 2s²), and 1e-9 ‖X⁺y‖."""
        decay, size = self.net.decay, float(np.linalg.norm(self.least))
        lacking = decay / (decay + 2.0 * self.net.factor * float(self.net.singular[-1]) ** 2) + 1e-9
        return Number(float(np.linalg.norm(self.end - self.least)) / size / lacking, 1e-3)

    @at_most(1e-8, sentence="finite")
    def equilibrium(self) -> Number:
        """Largest distance of a run's end from the solution of ∇L = 0, over its norm, at every λ.

        See the module's docstring.
        """
        decays = self.net.decay * DECADES / DECADES[-1]
        wanted = np.stack([self.net.ridge(decay, self.net.factor)[0] for decay in decays])
        gaps = np.linalg.norm(self.weights - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        return Number(float(gaps.max()), 1e2 * EPS)

    @at_least(0.5, sentence="finite")
    def definite(self) -> Number:
        """Least eigenvalue of the Hessian over the least λ: hyperbolic.

        1 or more in theory; a Hessian of size 10 is rounded at 1e-15: the eigenvalues are taken beside the span.
        """
        kernel = np.linalg.svd(self.net.X)[2][self.net.rank :]
        H = self.hessian()
        beside = np.linalg.eigvalsh(kernel @ (H - self.net.decay * np.eye(len(H))) @ kernel.T)
        rounding = 10 * EPS * float(np.linalg.norm(H)) / self.net.decay
        # no direction of the whole is lower than those beside the span, but for rounding
        whole = float(np.linalg.eigvalsh(H)[0]) / self.net.decay + rounding
        return Number(min(1.0 + float(beside[0]) / self.net.decay, whole), rounding)

    @at_least(0.0, sentence="diverges")
    def increases(self) -> Number:
        """Least growth of ‖w_λ‖ from one λ to a tenth of it, over ‖X⁺y‖.

        ≥ 0; rounding of ridge solutions, 1e-9, is its error.
        """
        return Number(float(np.min(np.diff(self.norms))) + 1e-9, 1e-9)

    def shown(self):
        lacking = np.maximum(1.0 - self.norms, 0.0)
        return {"λ": ("decade", DECADES), "lacking": ("decade", lacking), "short": self.short.value}


class SquareEquilibriumDivergesPrinted(_Shared):
    @at_least(1.01, sentence="diverges")
    def diverges(self) -> Number:
        """‖w_λ‖ over ‖X⁺y‖ at λ = 1e-10: a norm that goes to ∞ exceeds that of X⁺y.

        Eight decades on the way to 0; a norm growing like log(1/λ) would have grown fivefold since λ = 1e-2.
        """
        return Number(float(self.norms[-1]), 1e-9)

    @at_most(1.01, sentence="minimum_norm")
    def least_norm(self) -> Number | None:
        """‖w_λ − X⁺y‖ at λ = 1e-10, over ‖X⁺y‖ λ/(λ + 2s²), from starts near 0.

        See the module's docstring.
        """
        return self.off if np.linalg.norm(self.start) < SMALL else NOT_ASKED

    @at_most(1e-6, sentence="margin")
    def margin(self) -> Number:
        """1 − the margin of w/‖w‖ at λ = 1e-10 over the largest.

        A margin short by δ is a direction off by √(2δ); λ/2s² ≤ 1e-7 of it is left.
        """
        return self.short

    @at_most(1e-12, sentence="finite")
    def velocity(self) -> Number:
        """‖−∇L − (2 Σ E x − λw)‖ at the start, over the sizes of its terms, for the penalty λ/2 ‖w‖².

        Rounding of sums of N products.
        """
        return self._velocity(1.0)

    @at_most(1e-12, sentence="finite", role="print", repaired="velocity")
    def velocity_printed(self) -> Number:
        """The same for the printed penalty λ‖w‖² (eq. 17), λ = 1.

        Rounding; a factor of two in λ is a half of the penalty's own.
        """
        return self._velocity(2.0)

    def slope_of(self, problem: Problem, w: np.ndarray) -> np.ndarray:
        """∇L(w) of a problem, by automatic differentiation."""
        return np.asarray(problem.gradient((w[None],))[0])[0]

    def _velocity(self, factor: float) -> Number:
        """With a decay of ``factor`` where eq. 17 has λ = 1; the risk's slope by automatic differentiation."""
        X, y, w = self.net.X, self.net.Y[:, 0], self.start
        problem = Problem(self.problem.network, Square(), Data(X, y[:, None]), factor)
        velocity = -self.slope_of(problem, w)
        printed = 2.0 * (y - X @ w) @ X - w
        scale = 2.0 * np.linalg.norm(X) * (np.linalg.norm(y) + np.linalg.norm(X) * np.linalg.norm(w))
        scale = 2.0 * np.linalg.norm(w) if factor > 1.0 else scale
        return Number(float(np.linalg.norm(velocity - printed) / scale), EPS * self.net.size)

    @at_most(1e-12, sentence="finite")
    def hessian_half(self) -> Number:
        """‖∇²L − (Σ x xᵀ + λ)‖/‖∇²L‖ under ½Σ, to which eqs. 15 and 18 belong.

        Rounding of sums of N products.
        """
        return self._curvature(Square(half=True))

    @at_most(1e-12, sentence="finite", role="print", repaired="hessian_half")
    def hessian_printed(self) -> Number:
        """The same under the printed loss, Σ.

        Rounding; a factor of two is a half.
        """
        return self._curvature(Square())

    def _curvature(self, loss: Square) -> Number:
        H = self.hessian(loss)
        gap = H - self.net.X.T @ self.net.X - self.net.decay * np.eye(len(H))
        return Number(float(np.linalg.norm(gap) / np.linalg.norm(H)), EPS * self.net.size)


class SquareEquilibriumDivergesCorrected(_Shared):
    @at_most(1.0, sentence="diverges")
    def bounded(self) -> Number:
        """‖w_λ‖ over ‖X⁺y‖ at every λ.

        Every component has s²/(s² + λ/2) of that of X⁺y; rounding, 1e-9, is its error.
        """
        return Number(float(self.norms.max()) - 1e-9, 1e-9)

    @at_most(1.01, sentence="minimum_norm")
    def least_norm(self) -> Number:
        """‖w_λ − X⁺y‖ at λ = 1e-10, over ‖X⁺y‖ λ/(λ + 2s²), from every start.

        See the module's docstring.
        """
        return self.off

    @at_most(1e-5, sentence="order")
    def order(self) -> Number:
        """‖w(t) − X⁺y − Qw(0)‖/(‖X⁺y‖ + ‖w(0)‖) with λt = 1e-6 and s²t large, Q the null projector: λ → 0 first.

        λt of the start is lost: 1e-6.
        """
        w, start = np.asarray(self.trajectory["first"].values), self.start[None]
        gap = w - self.least - self.net.beside(start)[0]
        scale = np.linalg.norm(self.least) + np.linalg.norm(start)
        return Number(float(np.linalg.norm(gap) / scale), EPS * self.net.size)

    @at_most(1e-6, sentence="margin")
    def cosine(self) -> Number:
        """|cos ∠(w_λ, ŵ) − ‖ŵ‖/‖X⁺y‖| at λ = 1e-10.

        λ/2s² ≤ 1e-7 is left of the way.
        """
        w, best = self.end, self.svm.direction
        cosine = float(w @ best / np.linalg.norm(w) / np.linalg.norm(best))
        return Number(abs(cosine - float(np.linalg.norm(best) / np.linalg.norm(self.least))), 1e3 * EPS)


N, D = 5, 8
KINDS = ("random", "orthogonal", "nearly orthogonal", "repeated", "zero dual weight")


def cases(key, *, draws):
    """Every kind of data, from a small and a large start in turn; all decades of λ as one program."""
    random = generator(key)
    drawn: list[Any] = []
    first: list[Any] = []
    for i in range(draws):
        kind, norm = KINDS[i % len(KINDS)], (1e-3, 3.0)[i // len(KINDS) % 2]
        x, y = interpolated.labelled(random, kind, N, D)
        start = random.standard_normal((1, D))
        start *= norm / np.linalg.norm(start)
        facts = {"data": kind, "start": norm, "draw": i + 1}
        for decays, members in ((DECADES, drawn), ((FIRST,), first)):
            for decay in decays:
                problem = Problem(Dense((D, 1), "identity"), Square(), Data(x, y[:, None]), float(decay))
                members.append((problem, (start,), facts))
    late = list(ensemble(GradientFlow, drawn, (LATE,), solver=Exact()))
    early = ensemble(GradientFlow, first, (EARLY,), solver=Exact())
    for i, one in enumerate(early):
        ends = late[i * len(DECADES) : (i + 1) * len(DECADES)]
        found: dict[str, Any] = {"start": ("weight", one.trajectory["weights"].values[0])}
        for side in ("", COARSE):
            rows = np.stack([end.trajectory[f"weights{side}"].values[-1] for end in ends])
            found[f"weights{side}"] = (("record", "weight"), rows)
            found[f"first{side}"] = ("weight", one.trajectory[f"weights{side}"].values[-1])
        yield case(ends[-1].problem, xr.Dataset(found), **one.facts)


FIGURE = Figure(
    Panel(
        "lacking",
        "λ",
        r"$1-\|w_\lambda\|/\|X^{+}y\|$",
        r"$\lambda$",
        by=("start",),
        log="xy",
        floor=1e-17,
    ),
    Panel("short", "case", "1 − margin over the largest", "case", by=("data",), log="y", floor=1e-16),
    caption="Left: what the norm of the equilibrium lacks of that of X⁺y, its bound; the norm of the start plays no "
    "part. Right: what the margin at λ = 1e-10 lacks of the largest.",
)
BUDGETS = {"quick": {"draws": 20}, "full": {"draws": 100}, "few": {"draws": 6}}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.square-equilibrium-diverges", SquareEquilibriumDivergesPrinted),
        ("memo90.square-equilibrium-diverges-corrected", SquareEquilibriumDivergesCorrected),
    )
)
