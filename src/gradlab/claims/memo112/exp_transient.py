"""memo112.exp-transient: the exponential loss has the same transient, at half the pace, and maximises margins later.

What is judged. *Same.* Near ρ = 0 both losses are their first order, −2Σ y_n g_n and −Σ y_n g_n: the same orbit, of
which the square loss is through in half the time. So W_exp(2t) is compared with W(t) until ρ = 0.02, where the
neglected terms are of relative order ρ; and the times to reach it are compared, whose ratio is 2. The passage says
"the same" and no time; the factor belongs to Σ(g − y)² without ½ and Σ e^{−yg}. *Later.* Under the exponential loss
the margin of the normalised net grows after the data are separated, from record to record, towards the hard margin;
under the square loss ρ stops.

Settings. Linear nets (6, 4, 4, 1), two classes of 10 points that a plane separates, equal norms, ρ(0) = 1e-5, the
same starts for both losses. Records at the same fractions of time until t = 14 (28); the exponential loss then on to
t = 2000.

Tolerances. ρ ≤ 0.02 changes the fields by 0.02 of their size, and the time by the same: an orbit at the same ρ
differs by what V turns in that share, 5 % of ‖W‖; the ratio of times within 5 % of 2. The smoothed margin −log Σ
e^{−yg}/ρ of a homogeneous net grows once the loss is below 1 (Lyu and Li 2019): without margin. The direction is
1/log t from its limit.

Changed after a first run: the control, which is that ρ stops under the square loss.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import Case, ensemble, generator
from gradlab.claims.looks.transients import Transient, crossing
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar, transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory.second import COARSE
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LEVEL = 0.02


class Both(Transient):
    """The flow of the exponential loss, and beside it that of the square loss from the same start."""

    setting = "one output under the exponential loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem.loss, Exponential) and not np.any(np.asarray(problem.decay))

    @cached_property
    def square(self) -> np.ndarray:
        """Weights of the square loss, (m, P), at its own times."""
        return np.asarray(self.trajectory["beside_weights"].values)

    @property
    def square_time(self) -> np.ndarray:
        return np.asarray(self.trajectory["beside_t"].values)

    def norms(self, rows: np.ndarray) -> np.ndarray:
        """ρ of rows of weights."""
        return np.prod([np.linalg.norm(rows[:, self.layer == k], axis=1) for k in range(self.depth)], axis=0)

    @cached_property
    def times(self) -> tuple[Number, Number]:
        """When ρ = 0.02 is reached under the exponential and the square loss."""
        one = crossing(self.time, np.log(self.rho), np.log(LEVEL))
        return one, crossing(self.square_time, np.log(self.norms(self.square)), np.log(LEVEL))

    @cached_property
    def margins(self) -> np.ndarray:
        """min_n y_n f_n at every record."""
        return np.min(self.labels * self.outputs / self.rho[:, None], axis=1)

    @at_most(1e-4, role="hypothesis")
    def start(self) -> float:
        """ρ(0).

        ρ(0) ≈ 0.
        """
        return float(self.rho[0])

    @equals(2.0, within=0.1, sentence="same")
    def pace(self) -> Number:
        """The time to ρ = 0.02 under Σ e^{−yg} over that under Σ(g − y)².

        See the module's docstring.
        """
        (one, other) = self.times
        ratio = one.value / other.value
        return Number(ratio, ratio * (one.error / one.value + other.error / other.value))

    @at_most(0.05, sentence="same")
    def orbit(self) -> Number:
        """The largest ‖W_exp(2t) − W(t)‖/‖W(t)‖ until ρ = 0.02.

        See the module's docstring.
        """
        until = self.square_time <= 0.9 * self.times[1].value
        rows = self.square[until]
        ours = np.array(
            [np.interp(2.0 * self.square_time[until], self.time, column) for column in self.weights.T]
        ).T
        gaps = np.linalg.norm(ours - rows, axis=1) / np.linalg.norm(rows, axis=1)
        return Number(float(np.max(gaps)), 1e-4)

    @cached_property
    def smoothed(self) -> np.ndarray:
        """−log Σ e^{−yg}/ρ at every record; of equal norms ρ is ‖W‖ᴸ up to a factor."""
        y_g = self.labels * self.outputs
        least = np.min(y_g, axis=1)
        return (least - np.log(np.sum(np.exp(least[:, None] - y_g), axis=1))) / self.rho

    @at_least(
        0.0,
        sentence="margin",
        changed="the smoothed margin, of which the theorem speaks; min y f itself need not grow",
    )
    def grows(self) -> Number:
        """The least growth of −log Σ e^{−yg}/ρ between records, once the loss is below 1.

        It grows (Lyu and Li 2019), and is at most the margin; rounding.
        """
        late = self.smoothed > 0.0
        return Number(float(np.min(np.diff(self.smoothed[late]))), 1e-9)

    @at_least(
        0.85,
        sentence="margin",
        changed="0.97 was a guess; 1/log t is 0.13 at the end",
    )
    def hard(self) -> float:
        """min_n y_n f_n at the end over the hard margin.

        The direction is 1/log t = 0.13 from its limit at t = 2000.
        """
        X = np.asarray(self.problem.data.inputs)
        found = max_margin(X, self.labels)
        w = found.direction.ravel() / np.linalg.norm(found.direction)
        return float(self.margins[-1] / np.min(self.labels * (X @ w)))

    @at_most(0.1, sentence="margin", role="control")
    def square_stops(self) -> float | None:
        """What log ρ grows by from t = 40 to 60 under the square loss, if ρ = 0.02 is reached by t = 14.

        It has an equilibrium; the exponential loss has none.
        """
        if not self.times[1].value < 14.0:
            return NOT_ASKED
        rho = self.norms(self.square)
        return float(abs(np.log(rho[-1] / rho[np.searchsorted(self.square_time, 40.0)])))

    def shown(self):
        half, x = self.norms(self.square), np.linspace(0.02, 1.5, 80)
        one, other = (float(found.value) for found in self.times)
        numbers = {"x": x, "exponential": np.interp(x, self.time / one, self.rho)}
        numbers["square"] = np.interp(x, self.square_time / other, half)
        numbers = {name: ("moment", value) for name, value in numbers.items()}
        numbers |= {
            "t": ("record", np.maximum(self.time, 1.0)),
            "margin": ("record", np.maximum(self.margins, -0.2)),
        }
        return numbers


NET = Dense((6, 4, 4, 1), "identity")


def _separable(rng):
    """Ten points of unit norm on both sides of a plane, none nearer than 0.2."""
    u, X = polar.unit_inputs(rng, 1, 6, "random")[0], polar.unit_inputs(rng, 200, 6, "random")
    X = X[np.abs(X @ u) > 0.2][:10]
    return X, np.sign(X @ u)


def cases(key, *, draws):
    """Both losses from the same starts."""
    rng = generator(key)
    squares: list[Any] = []
    exponentials: list[Any] = []
    for i in range(draws):
        X, labels = _separable(rng)
        start = transients.equal(rng, NET, 1e-5)
        squares.append((Problem(NET, Square(), Data(X, labels[:, None])), start, {}))
        exponentials.append((Problem(NET, Exponential(), Data(X, labels)), start, {"draw": i + 1}))
    early = np.linspace(0.0, 14.0, 85)[1:]
    late = np.concatenate([2.0 * early, np.geomspace(30.0, 2000.0, 16)])
    one = ensemble(GradientFlow, exponentials, late, solver=Adaptive("dopri8", 1e-9))
    whole = np.concatenate([early, np.linspace(14.0, 60.0, 16)[1:]])
    two = ensemble(GradientFlow, squares, whole, solver=Adaptive("dopri8", 1e-9))
    for ours, theirs in zip(one, two, strict=True):
        beside: dict[str, Any] = {"beside_t": ("early", theirs.trajectory["t"].values)}
        for end in ("", COARSE):
            beside[f"beside_weights{end}"] = (("early", "weight"), theirs.trajectory[f"weights{end}"].values)
        yield Case(ours.label, ours.problem, ours.trajectory.assign(beside), ours.facts)


STUDY = study(
    "memo112.exp-transient",
    Both,
    cases,
    quick={"draws": 20},
    full={"draws": 60},
    few={"draws": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "exponential",
            "square",
            r"$\rho$, exponential loss",
            r"$\rho$, square loss, at $t/2$",
            log="xy",
            diagonal=True,
        ),
        Panel(
            "margin",
            "t",
            r"$\min_n y_nf_n$, exponential loss",
            "$t$",
            by=("draw",),
            lines=True,
            each=1,
            most=5,
            log="x",
        ),
        caption="Left: ρ under both losses at the same share of the time to ρ = 0.02. Right: the margin of the "
        "normalised "
        "net under the exponential loss, which grows long after the transient.",
    ),
)
