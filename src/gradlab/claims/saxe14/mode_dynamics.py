"""saxe14.mode-dynamics: the strengths of the modes of a two-layer linear net from decoupled weights, in closed form.

In substance. For whitened inputs and the loss ½Σ‖y − W_2W_1x‖², summed over examples, τ dW/dt = −∇, with Σ_31 = Σ y xᵀ
= U S Vᵀ: from W_1 = R D^{1/2} Vᵀ, W_2 = U D^{1/2} Rᵀ the modes do not mix, and the strength u of a mode of singular
value s obeys τ du/dt = 2u(s − u), u(t) = s e^{2st/τ}/(e^{2st/τ} − 1 + s/u_0): to go from u_0 to u takes τ/(2s) ln(u(s −
u_0)/(u_0(s − u))). With N layers τ du/dt = N u^{2 − 2/N}(s − u).

Convention. As written τ = 1/λ, the inverse rate, and Σ xxᵀ = 1 is a sum. Here λ = 1: τ = 1 for the sum; for the mean
over N examples τ = N.

Settings, before any run. Widths 4-3-3, singular values of Y distinct; X = I and half the sum of squares, or eight
examples with orthonormal rows and half the mean; u_0 of the modes between 1e-3 and 0.3 s. Three layers, 4-3-3-3. dopri8
at 1e-10, 24 records to t = 12τ.

Tolerances. 1e-10 a step, some hundred steps, grown by e^{2st} while a mode grows from 1e-3: 1e-6. The slope of log(u/(s
− u)), between records at which u is between 1 % and 99 % of s, is 2s/τ, and its rounding a hundred times that of u:
1e-5.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.linear_net import LinearFlow
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def strength(t, s, start):
    """u(t) of two layers, τ = 1: s/(1 + (s/u_0 − 1)e^{−2st})."""
    return s / (1.0 + (s / start - 1.0) * np.exp(-2.0 * s * t))


class Modes(LinearFlow):
    """The product in the bases of Σ_31, at every record."""

    setting = "a linear net under half the square loss, whitened inputs"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        if not (super().speaks_of(problem) and isinstance(problem.loss, Square) and problem.loss.half):
            return False
        x = np.asarray(problem.data.inputs)
        return bool(np.abs(x.T @ x - np.eye(x.shape[1])).max() < 1e-12)

    @property
    def tau(self) -> float:
        """τ: one, or the number of examples of a mean."""
        return float(len(self.inputs)) if self.problem.loss.reduction == "mean" else 1.0

    @cached_property
    def bases(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U, the singular values, and Vᵀ of Σ_31."""
        left, values, right = np.linalg.svd(self.targets.T @ self.inputs, full_matrices=False)
        return left, values, right

    @cached_property
    def coupled(self) -> np.ndarray:
        """Uᵀ W_N⋯W_1 V at every record, (records, modes, modes)."""
        left, _, right = self.bases
        return left.T @ self.products @ right.T

    @cached_property
    def strengths(self) -> np.ndarray:
        """Its diagonals, (records, modes)."""
        return np.diagonal(self.coupled, axis1=1, axis2=2)

    def curves(self, starts: np.ndarray) -> np.ndarray:
        """u(t) in closed form from given u_0, (records, modes)."""
        return strength(self.time[:, None] / self.tau, self.bases[1], starts)


class ModeDynamics(Modes):
    """Flows from decoupled weights."""

    @at_most(1e-9, role="hypothesis")
    def decoupled(self) -> Number:
        """What the start has beside the diagonal, and of unbalanced layers, over its own size.

        Made so, up to rounding.
        """
        off = self.coupled[0] - np.diag(self.strengths[0])
        gaps = [float(np.linalg.norm(gap)) for gap in linear_nets.balancedness(self.matrices[0])]
        return Number(max(float(np.linalg.norm(off)), *gaps) / float(self.strengths[0].max()), 10.0 * EPS)

    @at_most(1e-6, sentence="modes")
    def curve(self) -> Number | None:
        """The largest |u(t) − its closed form|/s, of all modes and records, two layers.

        See the module's docstring.
        """
        if self.depth != 2:
            return NOT_ASKED
        gap = (self.strengths - self.curves(self.strengths[0])) / self.bases[1]
        return Number(float(np.abs(gap).max()), self.steps * EPS)

    @at_most(1e-6, sentence="decoupled")
    def apart(self) -> Number:
        """The largest entry of UᵀWV beside the diagonal over the largest s, of all records.

        As above.
        """
        off = self.coupled * (1.0 - np.eye(self.coupled.shape[1]))
        return Number(float(np.abs(off).max() / self.bases[1][0]), self.steps * EPS)

    @at_most(1e-5, sentence="time")
    def pace(self) -> Number | None:
        """The largest |slope of log(u/(s − u)) over 2s/τ − 1|, between records while a mode is learnt.

        Then the printed time is the one taken.
        """
        if self.depth != 2:
            return NOT_ASKED
        s, u, t = self.bases[1], self.strengths, self.time / self.tau
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log(u / (s - u))
            slopes = np.diff(logs, axis=0) / np.diff(t)[:, None] / (2.0 * s)
        inside = (u > 0.01 * s) & (u < 0.99 * s)
        return Number(float(np.abs(slopes[inside[:-1] & inside[1:]] - 1.0).max()), 1e3 * EPS)

    @cached_property
    def rates(self) -> np.ndarray:
        """τ du/dt of every mode at every record, from the gradient: (records, modes)."""
        left, _, right = self.bases
        found = []
        for layers, motion in zip(self.matrices, self.motion, strict=True):
            moved = sum(
                np.asarray(linear_nets.end_to_end((*layers[:j], motion[j], *layers[j + 1 :])))
                for j in range(self.depth)
            )
            found.append(np.diag(left.T @ moved @ right.T))
        return self.tau * np.stack(found)

    @at_most(1e-6, sentence="deep")
    def deep(self) -> Number:
        """The largest |τ du/dt − N u^{2 − 2/N}(s − u)| over N s^{3 − 2/N}, of all modes and records.

        An identity of decoupled balanced weights, which the flow keeps to 1e-7.
        """
        s, N = self.bases[1], self.depth
        u = np.maximum(self.strengths, 0.0)
        predicted = N * u ** (2.0 - 2.0 / N) * (s - u)
        return Number(float((np.abs(self.rates - predicted) / (N * s ** (3.0 - 2.0 / N))).max()), 10.0 * EPS)

    @at_least(1e-2, role="control")
    def wrong_pace(self) -> Number | None:
        """The distance of u(t) from the curve with s e^{st/τ}, without the 2, over s.

        Of order one.
        """
        if self.depth != 2:
            return NOT_ASKED
        s = self.bases[1]
        slow = strength(0.5 * self.time[:, None] / self.tau, s, self.strengths[0])
        return Number(float(np.abs((self.strengths - slow) / s).max()), self.steps * EPS)

    def shown(self):
        s, u = self.bases[1], self.strengths
        phase = 2.0 * s * self.time[:, None] / self.tau + np.log(u[0] / (s - u[0]))
        gap = np.abs(u - self.curves(u[0])) / s if self.depth == 2 else np.full(u.shape, np.nan)
        near = np.abs(phase) < 12.0
        drawn = {"phase": phase, "share": u / s, "gap": np.maximum(gap, 1e-17)}
        return {name: (("record", "mode"), np.where(near, each, np.nan)) for name, each in drawn.items()}


def problem_of(rng, widths, data):
    """Targets of distinct singular values in random bases, whitened inputs."""
    made = linear_net.reduced(rng, widths, turned=True, half=True)
    if data == "sum":
        return made
    target = np.asarray(made.data.targets).T
    x = np.linalg.qr(rng.standard_normal((8, widths[0])))[0]
    return Problem(Dense.deep_linear(widths), Square("mean", half=True), Data(x, x @ target.T))


def cases(key, *, widths, draws):
    """Flows from decoupled balanced weights."""
    rng = generator(key)
    for shape in widths:
        for data in ("sum", "mean"):
            drawn = []
            for i in range(draws):
                problem = problem_of(rng, shape, data)
                y, x = np.asarray(problem.data.targets).T, np.asarray(problem.data.inputs).T
                left, s, right = np.linalg.svd(y @ x.T, full_matrices=False)
                begin = s * np.exp(rng.uniform(np.log(1e-3), np.log(0.3), len(s)))
                start = linear_net.balanced(rng, (left * begin) @ right, shape)
                facts = {"widths": "-".join(map(str, shape)), "loss": data, "draw": i + 1}
                drawn.append((problem, start, facts))
            tau = 8.0 if data == "mean" else 1.0
            records = np.linspace(0.0, 12.0 * tau, 25)
            yield from ensemble(GradientFlow, drawn, records, solver=Adaptive("dopri8", 1e-10))


STUDY = study(
    "saxe14.mode-dynamics",
    ModeDynamics,
    cases,
    quick={"widths": ((4, 3, 3), (4, 3, 3, 3)), "draws": 3},
    full={"widths": ((4, 3, 3), (4, 5, 3), (4, 3, 3, 3), (5, 4, 4, 4, 4)), "draws": 12},
    few={"widths": ((4, 3, 3),), "draws": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel("share", "phase", "u over s", r"$2st/\tau+\ln(u_0/(s-u_0))$", by=("widths",)),
        Panel("gap", "phase", "distance from the closed form", r"the same", by=("widths",), log="y"),
        caption="Mode strengths from decoupled weights, each in its own time. With two layers all lie on one curve, "
        "the closed form, to 1e-10; with three layers they do not.",
    ),
)
