"""memo90.theorem3: exponential loss, separable data, "around an asymptotic equilibrium" (section 5.3).

What is printed. (1) "The gradient flow induced by GD is topologically equivalent to the linearized flow"; (2) "the
solution is the local (for the specific minimum) minimum Frobenius norm solution for the weight matrices at each
layer"; for the square loss (2) holds for linear networks only.

How it is read. (1) A homeomorphism that takes orbits to orbits takes equilibria to equilibria. The linearised flow
δẆ = J δW has one, δW = 0. Where f separates the data ⟨W, −∇L⟩ = K Σ m_n e^{−m_n} > 0: the flow has none, at any
finite W. (2) The least Frobenius norm with all margins ≥ 1 is the largest margin on ‖W‖ = 1; local means that no W
near by has a larger one.

What holds (docs/notes/memo90.theorem3.md). V(t) tends to a KKT point of the largest margin (Lyu and Li 2020). For
linear nets that is the maximum (Ji and Telgarsky 2020). For ReLU it may be a saddle (Vardi, Shamir and Srebro 2022):
with two inputs at an angle θ > 120°, one neuron that both see and another that neither does, from an open set of
starts, the margin tends to cos(θ/2)/2, and a small neuron along either input would raise it.

Settings, before any run. One data set each of linear nets 3-1, 5-1 (N < d), 3-2-1, 3-3-1, 3-2-2-1 with three random
starts, of ReLU nets of two neurons on two inputs at 60°, 100° and 150°: one neuron on both, one on each, two random
starts; and of ReLU nets 2-3-2-1 on two inputs at 60° and 150°, two random starts. Radau at 1e-6 in log t to log t =
1e4.

Tolerances. W(t) = V* (log t)^{1/K} + O(1): V is off by C (log t)^{−1/K}, 0.01 C for K = 2, 0.05 C for three layers,
C of order one; margins of V by the square of that for K > 1. 3 % of the margin is allowed, and 0.1 of the KKT
residual. What a new neuron gains over what it costs is 1 at a maximum: 1.05 is allowed; it is 1/(2 cos 75°) = 1.93
at the saddle.
"""

from functools import cached_property

import numpy as np
from scipy.integrate import solve_ivp

from gradlab.claims.looks.late import LateNet
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late_runs
from gradlab.claims.studies import section, study


class _Shared(LateNet):
    @at_most(0.03, sentence="minimum_norm")
    def linear_margin(self) -> float | None:
        """1 − γ/γ* for a linear net, γ the margin of W/‖W‖ at the end, γ* = γ_SVM K^{−K/2} the largest.

        C² (log t)^{−2/K}: see the module's docstring.
        """
        return NOT_ASKED if self.rectified else self.short_of(float(self.facts["best"]))

    @at_most(1e-9, sentence="square")
    def square_linear(self) -> Number | None:
        """One layer, square loss, from W = 0: distance of the flow at t = 1e9 from the solution of least norm, over
        its norm.

        In closed form on the eigenvectors of XᵀX: rounding, and e^{−2 t s²}.
        """
        if self.depth > 1:
            return NOT_ASKED
        least = np.linalg.lstsq(*self.regression, rcond=None)[0]
        return Number(float(np.linalg.norm(self.fitted - least) / np.linalg.norm(least)), 1e-14)

    @at_least(1e-4, sentence="square")
    def square_deep(self) -> Number | None:
        """Two linear layers, square loss: by how much Σ‖W_k‖² of the flow's end exceeds the least value at a zero of
        the loss, from layers whose ‖W_k‖² differ by a tenth of ‖β‖ or more.

        ‖W_1‖² − ‖W_2‖² = D stays, so that Σ‖W_k‖² ≥ (D² + 4‖β‖²)^{1/2}, against 2‖β‖, β the least solution: 1e-3 or
        more. 0 where the solution were of least norm from every start; from balanced ones it may be.
        """
        if self.depth != 2 or self.rectified:
            return NOT_ASKED
        if abs(self.lengths[0, 0] ** 2 - self.lengths[0, 1] ** 2) < 0.1 * self.beta:
            return NOT_ASKED
        return Number(float(self.squared @ self.squared) / (2.0 * self.beta) - 1.0, self.squared_off)

    @property
    def beta(self) -> float:
        """The norm of the least solution of the regression."""
        return float(np.linalg.norm(np.linalg.lstsq(*self.regression, rcond=None)[0]))

    @property
    def squared(self) -> np.ndarray:
        """The end of the flow of the square loss of two linear layers from the same start."""
        return self._squares[0]

    @property
    def squared_off(self) -> float:
        """By how much Σ‖W_k‖²/2‖β‖ of that end is off: three times what a looser solve differs by, and the residual.

        Away from a zero of the loss it is unknown.
        """
        X, y = self.regression
        fine, loose = self._squares
        cut = len(fine) - self.problem.network.widths[1]
        left = y - X @ fine[:cut].reshape(-1, X.shape[1]).T @ fine[cut:]
        missed = float(np.linalg.norm(left) / np.linalg.norm(y))
        apart = abs(float(fine @ fine - loose @ loose)) / (2.0 * self.beta)
        return 3.0 * apart + missed if missed < 1e-3 else np.inf

    @cached_property
    def _squares(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends, at t = 1e6, of the flow of ½ Σ (f_n − y_n)² at relative tolerances 1e-9 and 1e-8 a step."""
        X, y = self.regression
        hidden, inputs = self.problem.network.widths[1], X.shape[1]

        def field(t, w):
            first, last = w[: hidden * inputs].reshape(hidden, inputs), w[hidden * inputs :]
            pull = (y - X @ first.T @ last) @ X
            return np.concatenate([np.outer(last, pull).ravel(), first @ pull])

        fine, loose = (
            solve_ivp(field, (0.0, 1e6), self.weights[0], "LSODA", rtol=rtol, atol=1e-3 * rtol).y[:, -1]
            for rtol in (1e-9, 1e-8)
        )
        return fine, loose

    @property
    def fitted(self) -> np.ndarray:
        """The flow of one layer under the square loss at t = 1e9, from W = 0."""
        X, y = self.regression
        values, vectors = np.linalg.eigh(X.T @ X)
        kept = values > 1e-9 * values[-1]
        along = np.where(kept, -np.expm1(-2e9 * values) / np.where(kept, values, 1.0), 0.0)
        return np.asarray(vectors @ (along * (vectors.T @ X.T @ y)))

    @property
    def regression(self) -> tuple[np.ndarray, np.ndarray]:
        """As many of the examples as can be fitted, labels ±1 as targets."""
        X = np.asarray(self.problem.data.inputs)
        kept = min(X.shape)
        return X[:kept], np.asarray(self.problem.data.targets)[:kept]

    def shown(self):
        return {
            "share": float(self.here[1].min() / self.facts["best"]),
            "gain": self.escape()
            if self.rectified and self.depth == 2 and self.here[1].min() > 1e-9
            else np.nan,
            "kkt": self.multipliers[1],
        }


class Theorem3Printed(_Shared):
    @at_most(0.5, sentence="equivalent")
    def equilibrium(self) -> Number:
        """‖∇L‖ ‖W‖/(K Σ m_n e^{−m_n}) at the end: 0 at an equilibrium, such as the linearised flow has.

        1 or more wherever the data are separated, by Euler's identity and Cauchy's inequality; a half parts them.
        """
        return self.pull()

    @at_most(1.05, sentence="minimum_norm")
    def maximum(self) -> float | None:
        """What a new small neuron adds to the margin over what it costs, where a neuron is idle (< 1 % of ‖W‖²).

        At most 1 at a local maximum of the margin; the multipliers are known to the KKT residual.
        """
        return self.escape() if self.idle() else NOT_ASKED


class Theorem3Corrected(_Shared):
    @at_least(
        1.0 - 1e-6,
        sentence="equivalent",
        changed="1e-9 at first, which is what two solves of these runs differ by",
    )
    def no_equilibrium(self) -> Number:
        """‖∇L‖ ‖W‖/(K Σ m_n e^{−m_n}) at the end.

        1 or more; at an equilibrium 0. Two solves at 1e-10 differ by some 1e-9.
        """
        return self.pull()

    @at_most(0.15, sentence="minimum_norm", changed="0.1 before, as in memo90.proposition5")
    def kkt(self) -> float:
        """Least KKT residual of W/‖W‖ over all multipliers.

        C (log t)^{−1/K}: see the module's docstring.
        """
        return self.multipliers[1]

    @at_most(
        0.01,
        sentence="saddle",
        changed="Wherever a neuron was idle at first: of three neurons one may be, beside one on each input.",
    )
    def by_hand(self) -> Number | None:
        """|gain/(by hand) − 1| for a neuron that both of two inputs at θ see, all others idle; by hand it is max(1,
        1/(2 cos(θ/2))).

        The multipliers are known to the KKT residual, 3e-3, and the angle is searched in steps of a quarter degree.
        """
        if not (self.rectified and self.alone()):
            return NOT_ASKED
        x = np.asarray(self.problem.data.inputs)
        half = np.sqrt((1.0 + x[0] @ x[1]) / 2.0)
        return Number(abs(self.escape() / max(1.0, 0.5 / half) - 1.0))

    @at_least(0.5, sentence="saddle")
    def several(self) -> float | None:
        """γ of one neuron on both inputs over γ by hand, cos(θ/2)/2; the largest margin is 1/4 for θ > 120°.

        1 − O(1/log t): half of it is asked, since V = one neuron is where the run tends to.
        """
        if not (self.rectified and self.alone()):
            return NOT_ASKED
        x = np.asarray(self.problem.data.inputs)
        return float(self.here[1].min() / (0.5 * np.sqrt((1.0 + x[0] @ x[1]) / 2.0)))


FIGURE = Figure(
    Panel("share", "case", "margin over the largest", "case", by=("kind",), reference={"largest": 1.0}),
    Panel(
        "gain",
        "case",
        "gain of a new neuron over its cost",
        "case",
        by=("data",),
        reference={"local maximum": 1.0},
    ),
    caption="Left: margin of W/‖W‖ at log t = 1e4 over the largest of all. Right: what a small new neuron would "
    "add over what it "
    "costs; above 1 the limit is no local maximum (where a neuron is idle).",
)
STUDIES = tuple(
    study(
        name, look, late_runs.cases, figure=FIGURE, settings=section(__doc__, "Settings"), **late_runs.BUDGETS
    )
    for name, look in (
        ("memo90.theorem3", Theorem3Printed),
        ("memo90.theorem3-corrected", Theorem3Corrected),
    )
)
