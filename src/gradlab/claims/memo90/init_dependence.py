"""memo90.init-dependence: what the limit of one linear layer keeps of its start, under the square and other losses.

What is printed (section 4). "In the case of square loss the limit for t → ∞ is the minimum norm solution if gradient
descent starts with small weights. In the case of the exponential loss – and also for the logistic and cross-entropy
loss – the limit is again the minimum norm solution but now the convergence is independent of initial conditions. In
both cases, gradient descent does not change components of the weights that are in the null space of the x_n data."

Settings, before any run. Separable points, N = 4 in d = 6 (three classes: N = 9 in d = 10). Square loss on labels ±1:
closed steps to t = 1e8 from starts of norm 0, 1e-3 and 10. Exponential, logistic and cross-entropy loss: log-loss
time (dopri8 at 1e-10) to log t = 1000, each problem from three starts of spreads 0.01, 1 and 3; draws whose constant
converges (notes.srebro).

Tolerances. ‖w(∞) − X⁺y‖ = ‖Qw(0)‖ ≤ ‖w(0)‖: 1 per cent above that of small starts is allowed, and 1e-9 of rounding.
The solve, 1e-5 of w, is a direction off by 1e-6 over an increment of 500 ‖ŵ‖, as in notes.srebro. Beside the data no
force acts: rounding of the steps, 1e-9 of the motion.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.solutions import HardMargin, max_margin, minimum_norm, null_projector
from gradlab.claims.cases import Case, ensemble, generator
from gradlab.claims.looks.exponential import angle, increment
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.exact import Exact
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

SMALL, LOG_T = 1e-2, 1000.0


class InitDependence(Look):
    """Limits against X⁺y or the largest margin, and what lies beside the data."""

    setting = "a linear net of one layer, the square loss or one with an exponential tail, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one linear layer under such a loss."""
        network = problem.network
        plain = isinstance(network, Dense) and network.linear and len(network.widths) == 2
        kinds = Square | Exponential | Logistic | CrossEntropy
        return plain and isinstance(problem.loss, kinds) and not np.any(np.asarray(problem.decay) > 0.0)

    @property
    def square(self) -> bool:
        """Whether the loss is square."""
        return isinstance(self.problem.loss, Square)

    @cached_property
    def inputs(self) -> np.ndarray:
        """X, (N, d)."""
        return np.asarray(self.problem.data.inputs)

    @property
    def least(self) -> np.ndarray:
        """X⁺y."""
        return minimum_norm(self.inputs, np.asarray(self.problem.data.targets)).ravel()

    @cached_property
    def svm(self) -> HardMargin:
        """The shortest weights whose margins are all 1 or more."""
        rows = exponential.margin_rows(self.problem)
        return max_margin(rows, np.ones(len(rows)))

    @property
    def start(self) -> float:
        """‖W(0)‖."""
        return float(np.linalg.norm(self.weights[0]))

    @cached_property
    def beside(self) -> np.ndarray:
        """WQ at every record, (records, C, d), Q the null projector of the data."""
        shape = (len(self.weights), -1, self.inputs.shape[1])
        return self.weights.reshape(shape) @ null_projector(self.inputs)

    @property
    def away(self) -> float:
        """‖w(∞) − X⁺y‖."""
        return float(np.linalg.norm(self.end - self.least))

    @property
    def turned(self) -> float:
        """The angle of what the second half of log t adds to the largest margin."""
        logs = self.trajectory["log_t"].values
        late = [int(np.argmin(np.abs(logs - share * logs[-1]))) for share in (1.0, 0.5)]
        return angle(increment(self.weights[late], logs[late], drift=False), self.svm.direction)

    @at_most(1.01, sentence="square")
    def small(self) -> Number | None:
        """‖w(∞) − X⁺y‖ over ‖w(0)‖ + 1e-9 ‖X⁺y‖, square loss, starts of norm 1e-3 or less.

        1 at most; see the module's docstring.
        """
        if not self.square or self.start > SMALL:
            return NOT_ASKED
        return Number(self.away / (self.start + 1e-9 * float(np.linalg.norm(self.least))), 1e-3)

    @at_least(0.01, role="control", sentence="square")
    def large(self) -> float | None:
        """The same over ‖X⁺y‖ from starts of norm 10: that the limit depends on the start is seen.

        ‖Qw(0)‖ is about 10 √(1 − N/d).
        """
        return (
            self.away / float(np.linalg.norm(self.least)) if self.square and self.start > SMALL else NOT_ASKED
        )

    @at_most(1e-6, sentence="exponential")
    def direction(self) -> Number | None:
        """Angle in radians between the largest margin and what w adds from log t = 500 to 1000, from every start.

        The increment has the limit of w/‖w‖ without the O(1/log t) of the start; see the module's docstring.
        """
        return NOT_ASKED if self.square else Number(self.turned, 1e-8)

    @at_most(1e-9, sentence="null_space")
    def null_space(self) -> Number:
        """Largest ‖W(t)Q − W(0)Q‖ over ‖W(t) − W(0)‖ at the end.

        Rounding of some thousand steps.
        """
        moved = float(np.max(np.linalg.norm(self.beside - self.beside[0], axis=(1, 2))))
        return Number(moved / float(np.linalg.norm(self.end - self.weights[0])), 1e-12)

    def shown(self):
        return {
            "size of start": max(self.start, 1e-4),
            "away": self.away if self.square else np.nan,
            "turned": np.nan if self.square else max(self.turned, 1e-16),
        }


def _points(random: np.random.Generator, loss: Any, outputs: int) -> Any:
    def draw() -> Any:
        if outputs > 1:
            return exponential.three_classes(random, 9, 10)
        return exponential.split(random, 4, 6, 4)

    return exponential.regular(draw, 2.0, loss=loss, outputs=outputs)


def cases(key: Any, *, square: int, others: tuple[int, int, int]) -> Iterator[Case]:
    """Every problem from three starts."""
    random = generator(key)
    drawn: list[Any] = []
    for i in range(square):
        x, y = exponential.split(random, 4, 6, 4)
        problem = Problem(Dense((6, 1), "identity"), Square(), Data(x, y[:, None]))
        for norm in (0.0, 1e-3, 10.0):
            start = random.standard_normal((1, 6))
            facts = {"loss": "square", "start": norm, "draw": i + 1}
            drawn.append((problem, (norm * start / np.linalg.norm(start),), facts))
    yield from ensemble(GradientFlow, drawn, (1e2, 1e8), solver=Exact())
    losses = (("exponential", Exponential("sum"), 1), ("logistic", Logistic("sum"), 1))
    for (name, loss, outputs), count in zip(
        (*losses, ("cross-entropy", CrossEntropy("sum"), 3)), others, strict=True
    ):
        drawn = []
        for i in range(count):
            problem = exponential.linear(_points(random, loss, outputs), loss, outputs=outputs)
            for spread in (0.01, 1.0, 3.0):
                start = spread * random.standard_normal((outputs, problem.size // outputs))
                drawn.append((problem, (start,), {"loss": name, "start": spread, "draw": i + 1}))
        yield from ensemble(GradientFlow, drawn, **exponential.to_log_time([one for one, *_ in drawn], LOG_T))


STUDY = study(
    "memo90.init-dependence",
    InitDependence,
    cases,
    quick={"square": 5, "others": (3, 2, 2)},
    full={"square": 30, "others": (10, 8, 6)},
    few={"square": 1, "others": (1, 1, 1)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "away",
            "size of start",
            r"$\|w(\infty)-X^{+}y\|$",
            r"$\|w(0)\|$ (0 at 1e-4)",
            by=("loss",),
            log="xy",
            floor=1e-16,
        ),
        Panel(
            "turned", "size of start", "angle to the largest margin", r"$\|w(0)\|$", by=("loss",), log="xy"
        ),
        caption="Left: under the square loss the limit is as far from X⁺y as the null-space part of the start. Right: "
        "under losses with an exponential tail what w adds late has the direction of the largest margin, from every "
        "start.",
    ),
)
