"""memo90.early-stopping: stopping the flow without decay at T_0, and a small decay (section 13).

What is printed, as an approach to a proof. "The unperturbed dynamics around V_k(T_0) is topologically the same for
λ_k(T_0) as well as for λ = 0. This suggests a possible approach to prove that (necessary) early stopping is
equivalent to regularization. The argument would claim that in the absence of the λ_k terms the dynamics has to be
stopped after a (possibly very long) time T_0 and this is equivalent to a small finite regularization term."

How it is read. For one layer, where both sides are known: w(T) against the minimisers w_λ of Σ e^{−w·x_n} + λ/2
‖w‖². Equivalent: for every T_0 some λ has w_λ = w(T_0). Topologically the same: with λ there is an equilibrium w_λ,
without there is none (‖∇L‖ > 0).

What holds (docs/notes/memo90.early-stopping.md). In the span of the support vectors both are ŵ s + w̃ + o(1), the
flow at s = log t, the minimiser at λ s = e^{−s}: so λ = 1/(T log T), and the distance there falls like 1/log T.
Beside that span w(T) keeps what the start and the early flow gave it, w_λ has nothing: relative to ‖w‖ that is of
order 1/log T too. The two agree in direction and in the limit, at no finite T.

Settings. The runs of memo90.log-margin, at log T = 30, 100 or so, to 1e4; λ by Newton's method at log λ = −s − log
s, and at the best λ.

Tolerances. Exact agreement is asked to 1e-6 of ‖w‖ at log T ≈ 30: the solve is at 1e-7. The distance in the span is
C/s, C of order ‖w̃‖²: by a decade of s it falls tenfold; 0.2 is allowed, unless it is below 1e-6 ‖w‖, which is
rounding of the solve.
"""

from functools import cached_property

import numpy as np
from scipy.optimize import minimize_scalar

from gradlab.claims.looks.late_linear import LateLinear
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late_linear
from gradlab.claims.studies import section, study

EARLY, MIDDLE, LATE = 30.0, 1e3, 1e4


class _Shared(LateLinear):
    def minimiser(self, log_decay: float) -> np.ndarray:
        """w_λ, by damped Newton on w = Σ x_n e^{−w·x_n − log λ} from ŵ s + P w̃, λ s = e^{−s}."""
        s = -log_decay
        for _ in range(50):
            s = -log_decay - np.log(s)
        w = self.svm.direction * s + (0.0 if self.dual is None else self.dual.offset)

        def missed(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pulls = np.exp(np.minimum(-self.rows @ w - log_decay, 300.0))
            return w - pulls @ self.rows, pulls

        for _ in range(200):
            gap, pulls = missed(w)
            step = np.linalg.solve(np.eye(len(w)) + (self.rows.T * pulls) @ self.rows, gap)
            length = 1.0
            while length > 1e-8 and not np.linalg.norm(missed(w - length * step)[0]) < np.linalg.norm(gap):
                length /= 2.0
            w = w - length * step
            if np.linalg.norm(step) <= 1e-13 * np.linalg.norm(w) or length <= 1e-8:
                break
        return w

    def record(self, log_t: float) -> int:
        """The record nearest to a log t."""
        return int(np.argmin(np.abs(self.logs - log_t)))

    def beside_map(self, record: int) -> np.ndarray:
        """w(T) − w_λ at λ = 1/(T log T)."""
        s = self.logs[record]
        return self.weights[record] - self.minimiser(-s - np.log(s))

    @at_most(1e-9, role="hypothesis")
    def solved(self) -> Number:
        """‖w − Σ x_n e^{−w·x_n}/λ‖/‖w‖ at the minimiser for log T = 1e4.

        Exponents of 1e4 are rounded at 1e-12: 1e-9 leaves room.
        """
        s = self.logs[-1]
        w = self.minimiser(-s - np.log(s))
        pulls = np.exp(-self.rows @ w + s + np.log(s))
        return Number(float(np.linalg.norm(w - pulls @ self.rows) / np.linalg.norm(w)), 1e-11)

    @cached_property
    def best(self) -> tuple[float, float]:
        """The least distance of w(T) from all w_λ over ‖w‖ at log T ≈ 30, and log(λ T log T) there."""
        record = self.record(EARLY)
        s, w = self.logs[record], self.weights[record]

        def away(shift: float) -> float:
            return float(np.linalg.norm(w - self.minimiser(-s - np.log(s) + shift)))

        found = minimize_scalar(away, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-7})
        return float(found.fun) / float(np.linalg.norm(w)), float(found.x)

    def shown(self):
        kept = np.flatnonzero(self.logs > 20.0)
        gaps = np.array([self.beside_map(int(i)) for i in kept])
        norms = np.linalg.norm(self.weights[kept], axis=1)
        found = {
            "log T": ("late", self.logs[kept]),
            "distance": ("late", np.linalg.norm(gaps, axis=1) / norms),
        }
        inside = np.full(len(kept), np.nan)
        if self.dual is not None:
            inside = np.linalg.norm(gaps @ self.dual.projector, axis=1)
        return found | {"group": self.group, "in span": ("late", np.maximum(inside, 1e-9))}


class EarlyStoppingPrinted(_Shared):
    @at_most(0.5, sentence="same")
    def equilibrium(self) -> Number:
        """‖∇L‖ ‖w‖/Σ m_n e^{−m_n} without decay: 0 at an equilibrium, such as there is with decay.

        1 or more wherever the data are separated; a half parts them.
        """
        return self.pull()

    @at_most(1e-6, sentence="equivalent")
    def on_path(self) -> Number:
        """Least distance of w(T_0) from all minimisers w_λ at log T_0 ≈ 30, over ‖w‖.

        See the module's docstring.
        """
        return Number(self.best[0], 1e-8)

    @at_most(0.2, sentence="equivalent")
    def tends(self) -> float | None:
        """Distance of w(T)/‖w‖ from w_λ/‖w‖ at λ = 1/(T log T), log T = 1e4 over log T = 1e3.

        Relative distances fall like 1/log T or faster, tenfold; not asked below 1e-6.
        """
        early, late = (
            np.linalg.norm(self.beside_map(self.record(one))) / np.linalg.norm(self.weights[self.record(one)])
            for one in (MIDDLE, LATE)
        )
        return float(late / early) if early > 1e-6 and self.dual is not None else NOT_ASKED


class EarlyStoppingCorrected(_Shared):
    @at_most(0.2, sentence="span")
    def inside(self) -> float | None:
        """Distance of P w(T) from P w_λ at λ = 1/(T log T), log T = 1e4 over 1e3, P on the span of the support vectors.

        See the module's docstring; not asked below 1e-4, a hundred times the error of the solve.
        """
        if self.dual is None:
            return NOT_ASKED
        early, late = (
            float(np.linalg.norm(self.dual.projector @ self.beside_map(self.record(one))))
            for one in (MIDDLE, LATE)
        )
        return late / early if early > 1e-4 else NOT_ASKED

    @at_most(0.05, sentence="map")
    def scale(self) -> Number | None:
        """|log(λ T log T)| of the λ that comes nearest in norm to w(T) in the span, at log T = 1e4.

        C/s with C of order ‖w̃‖² ≤ 100: 0.01; d‖P w_λ‖/d log λ = −‖ŵ‖ turns a distance along ŵ into log λ.
        """
        if self.dual is None:
            return NOT_ASKED
        norm = float(np.linalg.norm(self.svm.direction))
        along = self.beside_map(self.record(LATE)) @ self.svm.direction / norm
        return Number(float(abs(along) / norm), 1e-6)

    @at_most(1e-3, sentence="beside")
    def beside(self) -> float | None:
        """Motion of w(T) beside the span of the support vectors from log T = 1e3 to 1e4, over 1 + ‖w(0)‖.

        It has come to rest, t^{−rate} having passed; a solve at 1e-7 of ‖w‖ = 1e4 leaves 1e-4.
        """
        if self.dual is None:
            return NOT_ASKED
        moved = self.weights[self.record(LATE)] - self.weights[self.record(MIDDLE)]
        moved = moved - self.dual.projector @ moved
        return float(np.linalg.norm(moved)) / (1.0 + float(np.linalg.norm(self.weights[0])))

    @at_least(1.0 - 1e-9, sentence="same")
    def no_equilibrium(self) -> Number:
        """‖∇L‖ ‖w‖/Σ m_n e^{−m_n} without decay.

        1 or more, with rounding.
        """
        return self.pull()


FIGURE = Figure(
    Panel(
        "distance",
        "log T",
        r"$\|w(T)-w_\lambda\|/\|w\|$",
        r"$\log T$",
        by=("group",),
        log="xy",
        lines=True,
        each=20,
    ),
    Panel(
        "in span",
        "log T",
        "distance in the span of support vectors",
        r"$\log T$",
        by=("group",),
        log="xy",
        lines=True,
        each=20,
    ),
    caption="The flow stopped at T against the minimiser at λ = 1/(T log T). Left: relative to ‖w‖. Right: "
    "absolute, in the span of the support vectors "
    "(1e-9 stands for less).",
)
STUDIES = tuple(
    study(
        name,
        look,
        late_linear.cases,
        figure=FIGURE,
        settings=section(__doc__, "Settings"),
        **late_linear.BUDGETS,
    )
    for name, look in (
        ("memo90.early-stopping", EarlyStoppingPrinted),
        ("memo90.early-stopping-corrected", EarlyStoppingCorrected),
    )
)
