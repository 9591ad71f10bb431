"""memo112.fig1: y = √ρ for L = 4 with constant sums, and how different starts delay its growth.

What is judged. With y = √ρ and L = 4 eq. 5 reads ẏ = 4y²(a − by²), and 4at = 1/y(0) − 1/y + artanh(y/y_∞)/y_∞ −
(…)(0), y_∞ = (a/b)^{1/2}. The curve is taken from a run: a chain of four weights, whose sums cannot change, so that
the figure is not only a solution of an equation but an orbit of gradient descent's flow. The values of the sums and
of the starts are not in the recovered text; a and b are drawn. Starts differ: the time to half of y_∞ from y(0) is
1/4a y(0) up to a constant, so that halving y(0) doubles the wait.

Settings. Loss Σ(g − y)². Chains of four layers on eight numbers; y(0) = 0.3, 0.1, 0.05, 0.02 and 0.01, five draws of
the numbers, to t = 16.

Tolerances. The solver's 1e-10 a step, amplified by y_∞/y(0) ≤ 100: 1e-7 allows a decade. The delay from y(0) to 2y(0)
is 1/8a y(0) less what artanh adds, which is y(0)/a at most: relative 8y(0)², and 2 % are allowed at y(0) ≤ 0.05.
"""

from functools import cached_property

import numpy as np

from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.transients import Transient, crossing
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.losses import Square

STARTS = (0.3, 0.1, 0.05, 0.02, 0.01)


class Curve(Transient):
    """One curve y(t)."""

    setting = "a chain of four layers under the square loss"

    @classmethod
    def speaks_of(cls, problem) -> bool:
        return (
            isinstance(problem.loss, Square) and problem.size == 4 and not np.any(np.asarray(problem.decay))
        )

    @cached_property
    def y(self) -> np.ndarray:
        return np.sqrt(self.rho)

    @property
    def limit(self) -> float:
        pull, power = self.sums
        return float(np.sqrt(pull[0] / power[0]))

    def clock(self, y: np.ndarray) -> np.ndarray:
        """4at as a function of y, up to a constant."""
        return -1.0 / y + np.arctanh(y / self.limit) / self.limit

    @at_most(1e-9, role="hypothesis")
    def constant(self) -> Number:
        """max_t of the change of Σ y f and Σ f², relative.

        The caption assumes that they are constant; a weight of a chain keeps its sign.
        """
        return Number(max(float(np.ptp(one) / abs(one[0])) for one in self.sums), 1e-14)

    @at_most(1e-7, sentence="curve")
    def curve(self) -> Number:
        """max_t |4at − clock(y(t)) + clock(y(0))|/4aT, below 0.999 of the limit.

        See the module's docstring.
        """
        below = self.y < 0.999 * self.limit
        t = 4.0 * float(self.sums[0][0]) * self.time[below]
        return Number(
            float(np.max(np.abs(t - self.clock(self.y[below]) + self.clock(self.y[0]))) / t[-1]), 1e-13
        )

    @at_most(0.02, sentence="starts")
    def delay(self) -> Number | None:
        """|8a y(0) (time from y(0) to 2y(0)) − 1|, for y(0) ≤ 0.05.

        See the module's docstring.
        """
        start = float(self.y[0])
        if start > 0.05 * (1.0 + 1e-9):
            return NOT_ASKED
        time = crossing(self.time, self.y, 2.0 * start)
        unit = 8.0 * float(self.sums[0][0]) * start
        return Number(abs(unit * time.value - 1.0), unit * time.error)

    @at_least(0.5, sentence="starts")
    def stays(self) -> Number | None:
        """The share of the time to half the limit at which y is below a tenth of the limit, for y(0) ≤ 0.05.

        1/y(0) − 10/y_∞ of 1/y(0) − 2/y_∞: above ½ for y(0) ≤ 0.05 y_∞.
        """
        if self.y[0] > 0.05 * (1.0 + 1e-9) * min(self.limit, 1.0):
            return NOT_ASKED
        tenth, half = (crossing(self.time, self.y, share * self.limit) for share in (0.1, 0.5))
        return Number(tenth.value / half.value, (tenth.error + half.error) / half.value)

    def shown(self):
        return {
            "t": ("record", self.time * float(self.sums[0][0])),
            "y": ("record", self.y),
            "start": f"y(0) = {self.y[0]:.2g}",
        }


def cases(key, *, draws):
    """Chains of four layers from five starts."""
    rng, drawn = generator(key), []
    for i in range(draws):
        problem = transients.chain_problem(rng, 4)
        for start in STARTS:
            drawn.append((problem, transients.chained(4, start**2), {"from": start, "draw": i + 1}))
    steps = np.concatenate([np.geomspace(0.02, 1.0, 60), np.linspace(1.0, 16.0, 160)[1:]])
    yield from ensemble(GradientFlow, drawn, steps, solver=Adaptive("dopri8", 1e-10))


STUDY = study(
    "memo112.fig1",
    Curve,
    cases,
    quick={"draws": 5},
    full={"draws": 20},
    few={"draws": 1},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel("y", "t", r"$y=\sqrt{\rho}$", "$at$", by=("start",), lines=True, each=1),
        Panel("y", "t", r"$y=\sqrt{\rho}$", "$at$", by=("start",), lines=True, each=1, log="xy"),
        caption="Figure 1 again, from gradlab's flow of chains of four layers: y = √ρ, time in units of 1/a. "
        "Right: the "
        "same in logarithms.",
    ),
)
