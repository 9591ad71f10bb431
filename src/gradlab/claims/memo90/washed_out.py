"""memo90.washed-out: null-space components keep their value, vanish in w/‖w‖, and so the least norm is selected.

What is printed. Section 11.2, one layer: "if a few components of the gradient are zero … the associated component of
the vector w will not change anymore and the corresponding component in w/|w| will be zero. This is why there is no
dependence on initial conditions." Section 13, any net: "Among all normalized solutions, GD selects the one with
minimum norm because only the nondegenerate directions around a minimum … increase. The degenerate directions … are
'washed out' by normalization."

What fails. For one layer, and for the rows of the first layer of a deep one beside the data, all of it holds. For
ReLU nets what is washed out depends on the start: with x_1 = (l_1, 0), x_2 = (0, l_2) a unit that sees x_1 only stays
so, its other component is washed out, and two such units have the norm² 2(1/l_1 + 1/l_2) at margin one, where one
unit along both has 2√(1/l_1² + 1/l_2²) (docs/notes/memo90.washed-out.md). Each limit is stationary (Karush, Kuhn and
Tucker), not of least norm.

Settings, before any run. Exponential loss, log-loss time (dopri8 at 1e-10). One layer: 6 draws of 4 points in d = 6
to log t = 1000. Deep linear 6-3-1 on 4 points: 5 draws, to log t = 300. ReLU 2-2-1 on the two points, l in [0.8,
1.25]: 6 starts whose units see one point each, 6 whose units see both, to log t = 300.

Tolerances. Beside the data no force acts: rounding of the steps, 1e-9. The share of what stays is ‖Qw(0)‖/(‖ŵ‖ log t)
(one layer), over the first layer's norm ~ √log t (deep): twice that is allowed. The margin is right to O(1/log t) of
the largest: 0.9 of it is asked, 0.71 is what units apart have. Stationarity: what the start leaves, ‖W(0)‖/‖W‖ ≈ 0.06
at the end: 0.1 is allowed.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.optimize

from gradlab.analysis.solutions import max_margin, null_projector
from gradlab.claims.cases import Case, ensemble, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.clocks import LogLoss
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.stops import Stop
from gradlab.observe import local
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LOG_T, DEEP_LOG_T = 1000.0, 300.0


class WashedOut(Look):
    """The first layer beside the data, and the margin at the end over the largest."""

    setting = "a dense net without bias, linear or ReLU, one output, the exponential loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is such a net."""
        plain = isinstance(problem.network, Dense) and isinstance(problem.loss, Exponential)
        return plain and problem.network.outputs == 1 and not np.any(np.asarray(problem.decay) > 0.0)

    @property
    def linear(self) -> bool:
        """Whether the net is linear."""
        return bool(self.problem.network.linear)

    @property
    def layers(self) -> int:
        """K."""
        return len(self.problem.network.widths) - 1

    @cached_property
    def inputs(self) -> np.ndarray:
        """X, (N, d)."""
        return np.asarray(self.problem.data.inputs)

    @cached_property
    def first(self) -> np.ndarray:
        """W_1 at every record, (records, h, d)."""
        d, h = self.problem.network.widths[:2]
        return self.weights[:, : d * h].reshape(-1, h, d)

    @cached_property
    def beside(self) -> np.ndarray:
        """W_1 Q at every record, Q the null projector of the data."""
        return self.first @ null_projector(self.inputs)

    @cached_property
    def largest(self) -> float:
        """The largest margin y f/(‖W‖²/K)^{K/2}."""
        if not self.linear:  # one unit along both points
            return float(1.0 / np.linalg.norm(1.0 / np.diag(self.inputs)))
        return float(max_margin(self.inputs, np.asarray(self.problem.data.targets)).margin)

    @cached_property
    def margin(self) -> float:
        """The margin at the end, so normalised, over the largest."""
        outputs = local.outputs(self.problem, self.end)[:, 0] * np.asarray(self.problem.data.targets)
        size = (float(self.end @ self.end) / self.layers) ** (self.layers / 2.0)
        return float(outputs.min()) / size / self.largest

    @at_most(1e-9, sentence="invariant")
    def invariant(self) -> Number | None:
        """Largest ‖W_1(t)Q − W_1(0)Q‖ over ‖W_1(T) − W_1(0)‖, linear nets (the ReLU nets have data everywhere).

        Rounding of some thousand steps.
        """
        if not self.linear:
            return NOT_ASKED
        moved = float(np.max(np.linalg.norm(self.beside - self.beside[0], axis=(1, 2))))
        return Number(moved / float(np.linalg.norm(self.first[-1] - self.first[0])), 1e-12)

    @at_most(2.0, sentence="vanish")
    def vanish(self) -> Number | None:
        """‖W_1Q‖/‖W_1‖ at the end over ‖W_1(0)Q‖/s, s = ‖ŵ‖ log t, or √(‖ŵ‖ log t) for two layers.

        1 and O(log log t/log t); see the module's docstring.
        """
        if not self.linear:
            return NOT_ASKED
        share = float(np.linalg.norm(self.beside[-1]) / np.linalg.norm(self.first[-1]))
        grown = (float(self.trajectory["log_t"].values[-1]) / self.largest) ** (1.0 / self.layers)
        return Number(share * grown / float(np.linalg.norm(self.beside[0])), 1e-6)

    @at_least(0.9, sentence="selects")
    def linear_margin(self) -> Number | None:
        """The margin at the end over the largest, y f/(‖W‖²/K)^{K/2}, linear nets.

        O(1/log t) below 1.
        """
        return Number(self.margin, 1e-6) if self.linear else NOT_ASKED

    def shown(self):
        share = np.linalg.norm(self.beside, axis=(1, 2)) / np.linalg.norm(self.first, axis=(1, 2))
        return {
            "log time": ("after", self.trajectory["log_t"].values[1:]),
            "share": ("after", share[1:]),
            "reached": self.margin,
        }


class WashedOutPrinted(WashedOut):
    @at_least(0.9, sentence="selects")
    def relu_margin(self) -> Number | None:
        """The same of ReLU nets.

        0.71 where every unit sees one point only.
        """
        return NOT_ASKED if self.linear else Number(self.margin, 1e-6)


class WashedOutCorrected(WashedOut):
    @at_most(0.1, sentence="stationary")
    def stationary(self) -> Number | None:
        """Least ‖W − Σ μ_n y_n ∇f(x_n)‖/‖W‖, μ ≥ 0, at the end, ReLU nets: the conditions of Karush, Kuhn and Tucker.

        See the module's docstring.
        """
        if self.linear:
            return NOT_ASKED
        rows = local.local(self.problem, self.end).rows * np.asarray(self.problem.data.targets)[:, None]
        # in units in which both sides are alike
        rows = rows / np.linalg.norm(rows)
        rest = scipy.optimize.nnls(rows.T, self.end / np.linalg.norm(self.end))[1]
        return Number(float(rest), 1e-6)

    @at_most(0.05, sentence="depends")
    def as_started(self) -> Number | None:
        """|margin over the largest − what the start's units allow|, ReLU: 1 where all see both points, else the ratio.

        √(1/l_1² + 1/l_2²)/(1/l_1 + 1/l_2) where each sees one; O(1/log t).
        """
        if self.linear:
            return NOT_ASKED
        apart = bool((self.first[0] < 0.0).any())
        wanted = 1.0 / self.largest / float(np.sum(1.0 / np.diag(self.inputs))) if apart else 1.0
        return Number(abs(self.margin - wanted), 1e-6)


def _started(random: np.random.Generator, apart: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two units that see one point each, or both; output weights of their size."""
    size = random.uniform(0.5, 1.0, (2, 2))
    signs = np.array([[1.0, -1.0], [-1.0, 1.0]]) if apart else np.ones((2, 2))
    first = size * signs
    return first, np.linalg.norm(first, axis=1)[None]


def cases(key: Any, *, shallow: int, deep: int, relu: int) -> Iterator[Case]:
    """An ensemble a net."""
    random = generator(key)
    drawn: list[Any] = []
    for i in range(shallow):
        points = exponential.regular(lambda: exponential.split(random, 4, 6, 4), 2.0)
        drawn.append(
            (
                exponential.linear(points),
                (random.standard_normal((1, 6)),),
                {"net": "one layer", "draw": i + 1},
            )
        )
    yield from ensemble(GradientFlow, drawn, **exponential.to_log_time([one for one, *_ in drawn], LOG_T))
    drawn = []
    for i in range(deep):
        points = exponential.regular(lambda: exponential.split(random, 4, 6, 4), 2.0)
        problem = Problem(Dense((6, 3, 1), "identity"), Exponential("sum"), Data(*points))
        start = (0.5 * random.standard_normal((3, 6)), 0.5 * random.standard_normal((1, 3)))
        drawn.append((problem, start, {"net": "deep linear", "draw": i + 1}))
    yield from ensemble(GradientFlow, drawn, **_late())
    drawn = []
    for i in range(2 * relu):
        apart = i < relu
        x = np.diag(random.uniform(0.8, 1.25, 2))
        problem = Problem(Dense((2, 2, 1), "relu"), Exponential("sum"), Data(x, np.ones(2)))
        name = "ReLU, units apart" if apart else "ReLU, units together"
        drawn.append((problem, _started(random, apart), {"net": name, "draw": i + 1}))
    yield from ensemble(GradientFlow, drawn, **_late())


def _late() -> dict[str, Any]:
    """40 records to log t = 300."""
    stop = Stop(log_t=DEEP_LOG_T)
    return {
        "records": np.geomspace(1e-2, 1e5, 40),
        "clock": LogLoss(),
        "solver": Adaptive("dopri8", 1e-10),
        "stop": stop,
    }


FIGURE = Figure(
    Panel("share", "log time", r"$\|W_1Q\|/\|W_1\|$", r"$\log t$", by=("net",), log="xy"),
    Panel(
        "reached", "case", "margin at the end over the largest", "case", by=("net",), reference={"asked": 0.9}
    ),
    caption="Left: what lies beside the data, over the first layer, falls like 1/log t or its root. Right: the margin "
    "that is reached; ReLU nets whose units see one point each keep them.",
)
BUDGETS = {
    "quick": {"shallow": 6, "deep": 5, "relu": 6},
    "full": {"shallow": 20, "deep": 15, "relu": 20},
    "few": {"shallow": 1, "deep": 1, "relu": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.washed-out", WashedOutPrinted),
        ("memo90.washed-out-corrected", WashedOutCorrected),
    )
)
