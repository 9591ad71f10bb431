"""memo112.early-stopping: does the square loss overfit more at long times than the exponential loss?

What is judged. The same nets, starts and data with labels of which some are flipped, under both losses; the error on
clean held-out points along the flow. Overfitting is err(end) − min_t err, what early stopping could have saved. "More
likely" is a statement about populations: each case is the mean over eight draws of a population (a share of flipped
labels), with two standard errors as its bar; a population whose difference is not above 0 by its bar decides nothing,
one that is below refutes. The passage excludes momentum and regularisation, and so does this; it is about "deep nets"
in general, and this about two-layer linear ones with fewer points than inputs, where both losses fit every label: a
refutation would be one, support is of these.

Settings. Linear nets (12, 4, 1), ten points of unit norm of two classes, 0, 1, 2 or 3 labels flipped, equal norms,
ρ(0) = 1e-2. Square loss Σ(g − y)² to t = 200, exponential loss Σ e^{−yg} to t = 2000, 30 records at equal distances
of log t. 400 held-out points.

Tolerances. A sign, without margin.
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number, at_least, at_most
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

NET, DRAWS = Dense((12, 4, 1), "identity"), 8


class Overfitted(Look):
    """Errors on held-out points along both flows, (losses, draws, records), the square loss first."""

    setting = "a linear net with one output"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem.network, Dense) and problem.network.linear and problem.network.outputs == 1

    @cached_property
    def errors(self) -> np.ndarray:
        return np.asarray(self.trajectory["errors"].values)

    @property
    def gains(self) -> np.ndarray:
        """err(end) − min_t err, (losses, draws)."""
        return np.asarray(self.errors[..., -1] - np.min(self.errors, axis=-1))

    def mean(self, values: np.ndarray) -> Number:
        """The mean over draws, with two standard errors, and what one held-out point is."""
        spread = 2.0 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
        return Number(float(np.mean(values)), spread + 1.0 / (400.0 * len(values)))

    @at_most(0.0, role="hypothesis", exact=True)
    def wrong(self) -> float:
        """Training labels that the end of either flow misses, all draws.

        Long times: both losses fit every label.
        """
        return float(np.sum(self.trajectory["missed"].values))

    @at_least(0.0, sentence="overfit")
    def overfits_more(self) -> Number:
        """Mean over draws of err(end) − min_t err, square less exponential loss.

        A sign, see the module's docstring.
        """
        return self.mean(self.gains[0] - self.gains[1])

    @at_least(0.0, sentence="stopping")
    def stopping_helps_more(self) -> Number:
        """Share of draws in which early stopping saves more than one point in a hundred, square less exponential loss.

        A sign, see the module's docstring.
        """
        helped = (self.gains > 0.01).astype(float)
        return self.mean(helped[0] - helped[1])

    def shown(self):
        square, exponential = np.mean(self.errors, axis=1)
        numbers = {
            "square": square,
            "exponential": exponential,
            "record_number": np.arange(1.0, len(square) + 1),
        }
        shown: dict[str, Any] = {name: ("record", values) for name, values in numbers.items()}
        shown["gain"], shown["gain_exp"] = (float(np.mean(row)) for row in self.gains)
        return shown


def cases(key, *, flipped, groups):
    """Populations of eight draws; both losses from the same starts."""
    rng = generator(key)
    drawn: list[list[Any]] = [[], []]
    tests, kinds = [], []
    for count in flipped:
        for group in range(groups):
            kinds.append({"flipped": count, "population": group + 1})
            for _ in range(DRAWS):
                u = polar.unit_inputs(rng, 1, 12, "random")
                x, labels = _classes(rng, u, 10)
                tests.append(_classes(rng, u, 400))
                given = labels * np.where(rng.permutation(10) < count, -1.0, 1.0)
                start = transients.equal(rng, NET, 1e-2)
                drawn[0].append((Problem(NET, Square(), Data(x, given[:, None])), start, {}))
                drawn[1].append((Problem(NET, Exponential(), Data(x, given)), start, {}))
    ends = (np.geomspace(0.2, 200.0, 30), np.geomspace(0.4, 2000.0, 30))
    runs = [
        list(ensemble(GradientFlow, one, times, solver=Adaptive("dopri8", 1e-6)))
        for one, times in zip(drawn, ends, strict=True)
    ]
    for i, facts in enumerate(kinds):
        kept: dict[str, Any] = {}
        for end in ("", COARSE):
            errors, missed = np.zeros((2, DRAWS, 30)), np.zeros((2, DRAWS))
            for j in range(DRAWS):
                x, labels = tests[i * DRAWS + j]
                for k in range(2):
                    one = runs[k][i * DRAWS + j]
                    rows = one.trajectory[f"weights{end}"].values[1:]
                    w = np.einsum("rh,rhd->rd", rows[:, 48:], rows[:, :48].reshape(-1, 4, 12))
                    errors[k, j] = np.mean((w @ x.T) * labels <= 0.0, axis=1)
                    data = one.problem.data
                    g = np.asarray(data.inputs) @ w[-1]
                    missed[k, j] = np.sum(g * np.asarray(data.targets).ravel() <= 0.0)
            kept[f"errors{end}"] = (("loss", "draw", "moment"), errors)
            kept[f"missed{end}"] = (("loss", "draw"), missed)
            kept[f"final_weights{end}"] = ("weight", runs[0][i * DRAWS].trajectory["weights"].values[-1])
        yield case(runs[0][i * DRAWS].problem, xr.Dataset(kept), **facts)


def _classes(rng, u, count):
    labels = np.resize([1.0, -1.0], count)
    x = polar.unit_inputs(rng, count, 12, "random") + 0.7 * labels[:, None] * u
    return x / np.linalg.norm(x, axis=1, keepdims=True), labels


STUDY = study(
    "memo112.early-stopping",
    Overfitted,
    cases,
    quick={"flipped": (0, 1, 2, 3), "groups": 5},
    full={"groups": 25},
    few={"flipped": (2,), "groups": 1},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "square",
            "record_number",
            "error, square loss",
            "record, log $t$",
            by=("flipped",),
            lines=True,
            each=1,
        ),
        Panel(
            "exponential",
            "record_number",
            "error, exponential loss",
            "record, log $t$",
            by=("flipped",),
            lines=True,
            each=1,
        ),
        Panel(
            "gain",
            "gain_exp",
            "saved by stopping, square loss",
            "the same, exponential loss",
            by=("flipped",),
            diagonal=True,
        ),
        caption="Mean errors on clean held-out points along the flow, a population for each number of flipped "
        "labels (of ten), and "
        "what the best moment saves, every population.",
    ),
)
