"""memo112.lowest-norm: ρ̇_k > 0 below ρ ≈ 1, and ρ_k = 1 is the lowest equilibrium; for separated data.

What is judged. ρ̇ > 0 is ρ < ρ_eq = Σ y f/Σ f². With |f_n| ≤ 1 and y_n f_n ≥ 0 for all n, Σ y f = Σ|f| ≥ Σ f², so
that ρ_eq ≥ 1, with equality if and only if every y_n f_n is 0 or 1: Σ|f|(1 − |f|) = (ρ_eq − 1) Σ f². The remarks ask
only Σ y_n f_n > 0. One wrong sign is enough: f = (1, −0.9), y = (1, 1) has ρ_eq = 0.06; so have data that contradict
each other at their minimum. The remarks follow a discussion of separable data, but do not say so; separation is the
repair.

Settings. Loss Σ(ρf_n − y_n)², ‖x_n‖ = 1. Directions V: random ones of linear and ReLU nets (their sign such that Σ y
f > 0), classes that a rank-one linear net separates, points along one axis of which a third has the other label,
inputs along one axis or across it (y f = 1 or 0), and along it (y f = 1).

Tolerances. Signs without margin; "not much larger than 1" is taken at its weakest, ρ = 1/2. Values to rounding,
1e-12.

Changed after a first run: the data that contradict each other, which had not been at their minimum.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.cases import generator, point
from gradlab.claims.looks.polar import LayerRecords, in_chart
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar, transients
from gradlab.claims.studies import section, study
from gradlab.observe.layers import layer_norms
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

ROUNDING = 1e-14


class Lowest(LayerRecords):
    """The directions of one point, at ρ = ½, at ρ = 1 and at ρ_eq."""

    setting = "one output, the square loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        square = isinstance(problem.loss, Square) and problem.network.outputs == 1
        return square and not np.any(np.asarray(problem.decay) != 0.0)

    @cached_property
    def points(self) -> dict[str, np.ndarray]:
        """Derivatives at ρ = ½ and 1."""
        depth = int(self.layer.max()) + 1
        directions = self.end / layer_norms(self.layer, self.end)[self.layer]
        return in_chart(self.problem, np.array([[0.5], [1.0]]) ** (1.0 / depth) * directions)

    @cached_property
    def margins(self) -> np.ndarray:
        """y_n f_n."""
        return np.asarray(self.problem.data.targets)[:, 0] * self.points["f"][0]

    @property
    def equilibrium(self) -> float:
        """Σ y f/Σ f²."""
        return float(np.sum(self.margins) / np.sum(self.margins**2))

    def near(self, *values: float) -> bool:
        """Whether every y_n f_n is one of the values, and some are 1."""
        gaps = np.min(np.abs(self.margins[:, None] - np.asarray(values)), axis=1)
        return bool(np.all(gaps < 1e-9) and np.any(self.margins > 0.5))

    @property
    def asked(self) -> bool:
        """Whether the remark speaks of these directions."""
        return True

    @at_most(1.0 + 1e-12, role="hypothesis")
    def bounded(self) -> Number:
        """max |f_n|.

        |f_n| ≤ 1, from the notation; up to rounding.
        """
        return Number(float(np.max(np.abs(self.margins))), ROUNDING)

    @at_least(1e-9, role="hypothesis")
    def positive(self) -> Number:
        """Σ y_n f_n over Σ |f_n|.

        The remark asks that it is positive.
        """
        return Number(float(np.sum(self.margins) / np.sum(np.abs(self.margins))), ROUNDING)

    @at_least(0.0, sentence="grows")
    def grows(self) -> Number | None:
        """ρ̇ at ρ = ½ over Σ |y f|, by automatic differentiation.

        "ρ̇_k > 0 as long as ρ is not much larger than 1": a sign.
        """
        if not self.asked:
            return NOT_ASKED
        return Number(float(self.points["product_dot"][0] / np.sum(np.abs(self.margins))), ROUNDING)

    @at_least(1.0 - 1e-12, sentence="lowest")
    def lowest(self) -> Number | None:
        """ρ_eq = Σ y f/Σ f².

        At least 1, up to rounding.
        """
        return Number(self.equilibrium, ROUNDING * self.equilibrium) if self.asked else NOT_ASKED

    @at_most(1e-12, sentence="values")
    def values(self) -> Number | None:
        """Where every y_n f_n is 0 or 1: |ρ̇| at ρ = 1 over Σ |y f|.

        Rounding, see the module's docstring.
        """
        if not self.near(0.0, 1.0):
            return NOT_ASKED
        return Number(float(abs(self.points["product_dot"][1]) / np.sum(np.abs(self.margins))), ROUNDING)

    @at_most(1e-12, sentence="stationary")
    def stationary(self) -> Number | None:
        """Where every y_n f_n is 1, at ρ = 1: the largest ‖V̇_k‖, and the loss.

        Rounding, see the module's docstring.
        """
        if not self.near(1.0):
            return NOT_ASKED
        moved = float(np.max(layer_norms(self.layer, self.points["v_dot"][1])))
        return Number(max(moved, float(np.sum((self.margins - 1.0) ** 2))), ROUNDING)

    def shown(self):
        share = float(np.mean(self.margins >= -1e-12))
        return {"ρ_eq": self.equilibrium, "right": share, "most": float(np.max(np.abs(self.margins)))}


class Separated(Lowest):
    @property
    def asked(self) -> bool:
        return bool(np.all(self.margins >= -1e-12))

    @at_most(1e-10, sentence="values")
    def only_if(self) -> Number | None:
        """|Σ |f|(1 − |f|) − (ρ_eq − 1) Σ f²| over Σ |f|: ρ_eq = 1 only if every y_n f_n is 0 or 1.

        An identity, to rounding.
        """
        if not self.asked:
            return NOT_ASKED
        m = self.margins
        gap = np.sum(m * (1.0 - m)) - (self.equilibrium - 1.0) * np.sum(m**2)
        return Number(float(abs(gap) / np.sum(m)), ROUNDING)


LINEAR, RELU = Dense((6, 4, 1), "identity"), Dense((6, 8, 1))


def _along(rng, across):
    """Inputs y_n u, and, if asked, some across u; a linear net of rank one along u."""
    Q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    labels = np.resize([1.0, -1.0], 12)
    X = labels[:, None] * Q[0]
    if across:
        X[::3] = Q[1 + np.arange(4)]
    return Problem(LINEAR, Square(), Data(X, labels[:, None])), Q[0]


def _rank_one(rng, problem, u):
    hidden = rng.standard_normal(4)
    hidden /= np.linalg.norm(hidden)
    return problem.ravel((np.outer(hidden, u), hidden[None]))


def cases(key, *, draws):
    """Directions of five kinds."""
    rng = generator(key)
    for i in range(draws):
        for net in (LINEAR, RELU):
            problem = transients.classes(rng, net, 12)
            weights = polar.with_norms(rng, net, np.ones(2))
            if np.asarray(problem.outputs(weights))[:, 0] @ np.asarray(problem.data.targets)[:, 0] < 0.0:
                weights = (weights[0], -weights[1])
            name = "linear" if net is LINEAR else "ReLU"
            yield point(problem, np.asarray(problem.ravel(weights)), kind="random", net=name, draw=i + 1)
        u = polar.unit_inputs(rng, 1, 6, "random")[0]
        X = polar.unit_inputs(rng, 12, 6, "random")
        labels = np.sign(X @ u)
        problem = Problem(LINEAR, Square(), Data(X, labels[:, None]))
        yield point(problem, _rank_one(rng, problem, u), kind="separated", net="linear", draw=i + 1)
        # along one axis f = ±1; of a third of the points the label says the opposite
        problem, u = _along(rng, False)
        labels = np.asarray(problem.data.targets) * np.where(np.arange(12) % 3 == 0, -1.0, 1.0)[:, None]
        problem = Problem(LINEAR, Square(), Data(problem.data.inputs, labels))
        yield point(problem, _rank_one(rng, problem, u), kind="contradicting", net="linear", draw=i + 1)
        for across in (True, False):
            problem, u = _along(rng, across)
            kind = "y f = 0 or 1" if across else "y f = 1"
            yield point(problem, _rank_one(rng, problem, u), kind=kind, net="linear", draw=i + 1)


BUDGETS: dict[str, Any] = {"quick": {"draws": 6}, "full": {"draws": 60}, "few": {"draws": 1}}
FIGURE = Figure(
    Panel(
        "ρ_eq",
        "right",
        r"$\rho_{eq}=\Sigma yf/\Sigma f^2$",
        r"share of $y_nf_n\geq0$",
        by=("kind",),
        log="y",
        reference={"1": 1.0},
    ),
    Panel(
        "ρ_eq",
        "most",
        r"$\rho_{eq}=\Sigma yf/\Sigma f^2$",
        r"$\max|f_n|$",
        by=("kind",),
        log="xy",
        reference={"1": 1.0},
    ),
    caption="The equilibrium of ρ at directions with Σ y f > 0. It is at least 1 where no sign is wrong, and 1 "
    "only where "
    "every y f is 0 or 1; where signs are wrong or labels contradict each other it may lie below.",
)

STUDIES = tuple(
    study(name, look, cases, **BUDGETS, settings=section(__doc__, "Settings"), figure=FIGURE)
    for name, look in (("memo112.lowest-norm", Lowest), ("memo112.lowest-norm-corrected", Separated))
)
