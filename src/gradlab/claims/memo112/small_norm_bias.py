"""memo112.small-norm-bias: separation and ρ near 1 leave f_n no middle; and the dynamics does not seek the least ρ.

What is judged. *Bias.* For y_n f_n ≥ 0 and ρ at its equilibrium, Σ|f_n|(1 − |f_n|) = (ρ_eq − 1) Σ f_n²: near ρ = 1
every |f_n| is near 0 or 1. Of the |f_n| between ¼ and ¾ there are 16(ρ_eq − 1)Σf²/3 at most. So the answer to the
first question is yes, by eq. 6 alone; of interpolating nets it is empty, all |f_n| being 1/ρ. *Least.* The second
question takes for granted that the dynamics is biased towards the least ρ with ρf_i ≥ 1. Under the square loss it
ends where ρf_i = y_i; a linear net from zero at the interpolant of least norm, whose norm exceeds that of the hard
margin wherever some point is no support vector. The repair: the least ρ provided that ρf_i = y_i.

Settings. Loss Σ(g − y)². Points: rank-one linear nets on separated data drawn so that margins are near 0 and 1,
uniform, or all near 1. Flows of linear nets (8, 1) from 0 and (8, 4, 1) from ρ(0) = 1e-6 to t = 60, on six points.

Tolerances. The identity to rounding; counts are whole numbers. Least: ρ at the end over the least norm that separates
with margin 1, at most 1.01; and over that of the interpolant, within 1e-2 (from ρ(0) = 1e-6 a deep linear net keeps
1e-3 beside it).
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.solutions import max_margin, minimum_norm
from gradlab.claims.cases import ensemble, generator, point
from gradlab.claims.looks.polar import LayerRecords
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.observe.layers import layer_norms
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

ROUNDING = 1e-13


class Biased(LayerRecords):
    """Margins y_n f_n of the last weights; of flows, the norm that they end with."""

    setting = "a linear net with one output under the square loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        net = problem.network
        linear = isinstance(net, Dense) and net.linear and net.outputs == 1
        return linear and isinstance(problem.loss, Square) and not np.any(np.asarray(problem.decay))

    @cached_property
    def labels(self) -> np.ndarray:
        return np.sign(np.asarray(self.problem.data.targets)[:, 0])

    @cached_property
    def margins(self) -> np.ndarray:
        """y_n f_n of V."""
        norms = layer_norms(self.layer, self.end)
        g = np.asarray(self.problem.outputs(self.tree(self.end)))[:, 0]
        return self.labels * g / float(np.prod(norms))

    @property
    def equilibrium(self) -> float:
        return float(np.sum(self.margins) / np.sum(self.margins**2))

    @property
    def separated(self) -> bool:
        return bool(np.min(self.margins) >= 0.0)

    @property
    def norm(self) -> float:
        """ρ at the end."""
        return float(np.prod(layer_norms(self.layer, self.end)))

    @cached_property
    def inputs(self) -> np.ndarray:
        X = np.asarray(self.problem.data.inputs)
        return X.reshape(len(X), -1)

    @at_most(1e-9, sentence="bias")
    def identity(self) -> Number | None:
        """|Σ|f|(1 − |f|) − (ρ_eq − 1) Σf²| over Σ|f|, of separated data.

        An identity, to rounding.
        """
        if not self.separated:
            return NOT_ASKED
        m = self.margins
        gap = np.sum(m * (1.0 - m)) - (self.equilibrium - 1.0) * np.sum(m**2)
        return Number(float(abs(gap) / np.sum(m)), ROUNDING)

    @at_most(1.0, sentence="bias")
    def middle(self) -> Number | None:
        """How many |f_n| lie between ¼ and ¾, over 16(ρ_eq − 1)Σf²/3, of separated data with ρ_eq ≤ 1.2.

        |f|(1 − |f|) ≥ 3/16 there.
        """
        if not self.separated or self.equilibrium > 1.2:
            return NOT_ASKED
        m = self.margins
        many = float(np.sum((m > 0.25) & (m < 0.75)))
        allowed = 16.0 / 3.0 * (self.equilibrium - 1.0) * float(np.sum(m**2))
        return Number(many / allowed, exact=True)

    def shown(self):
        m = np.sort(self.margins)
        return {
            "margin": ("point", m),
            "rank": ("point", np.linspace(0.0, 1.0, m.size)),
            "ρ_eq": self.equilibrium,
        }


class BiasPrinted(Biased):
    @at_most(1.01, sentence="least")
    def least(self) -> Number | None:
        """ρ at the end over the least ρ with ρf_i ≥ 1 for all i, of flows.

        See the module's docstring.
        """
        if not self.flows:
            return NOT_ASKED
        hard = max_margin(self.inputs, self.labels)
        margins = self.labels * (self.inputs @ hard.direction.ravel())
        least = float(np.linalg.norm(hard.direction) / np.min(margins))
        return Number(self.norm / least, 1e-6)


class BiasCorrected(Biased):
    @at_least(0.999, role="hypothesis")
    def fitted(self) -> float | None:
        """min_n y_n g_n at the end, of flows.

        They are over: the labels are interpolated to 1e-3.
        """
        return float(np.min(self.margins)) * self.norm if self.flows else NOT_ASKED

    @equals(1.0, within=1e-2, sentence="least")
    def interpolant(self) -> Number | None:
        """ρ at the end over the least ρ with ρf_i = y_i for all i, of flows.

        See the module's docstring.
        """
        if not self.flows:
            return NOT_ASKED
        wanted = np.linalg.norm(minimum_norm(self.inputs, self.labels[:, None]))
        return Number(self.norm / float(wanted), 1e-9)


ONE, TWO = Dense((8, 1), "identity"), Dense((8, 4, 1), "identity")


def cases(key, *, draws, flows):
    """Rank-one nets with margins of three kinds; flows of one and two layers."""
    rng = generator(key)
    for i in range(draws):
        for kind in ("near 0 and 1", "uniform", "near 1"):
            m = rng.uniform({"near 1": 0.85}.get(kind, 0.0), 1.0, 24)
            if kind == "near 0 and 1":
                m = np.where(m < 0.5, 0.08 * m, 1.0 - 0.14 * (1.0 - m))
            u = polar.unit_inputs(rng, 1, 8, "random")[0]
            across = polar.unit_inputs(rng, 24, 8, "random")
            across -= np.outer(across @ u, u)
            across /= np.linalg.norm(across, axis=1, keepdims=True)
            labels = np.resize([1.0, -1.0], 24)
            X = (labels * m)[:, None] * u + np.sqrt(1.0 - m**2)[:, None] * across
            problem = Problem(TWO, Square(), Data(X, labels[:, None]))
            hidden = polar.unit_inputs(rng, 1, 4, "random")[0]
            vector = problem.ravel((np.outer(hidden, u), hidden[None]))
            yield point(problem, np.asarray(vector), margins=kind, draw=i + 1)
    for name, net in (("one layer", ONE), ("two layers", TWO)):
        drawn = []
        for i in range(flows):
            labels = np.resize([1.0, -1.0], 6)
            X = polar.unit_inputs(rng, 6, 8, "random") + 0.4 * labels[:, None] * polar.unit_inputs(
                rng, 1, 8, "random"
            )
            X /= np.linalg.norm(X, axis=1, keepdims=True)
            start = polar.with_norms(rng, net, np.full(len(net.widths) - 1, 1e-3))
            problem = Problem(net, Square(), Data(X, labels[:, None]))
            drawn.append((problem, start, {"margins": f"end of a flow, {name}", "draw": i + 1}))
        # the slowest direction of the data has singular values of some tenths
        yield from ensemble(GradientFlow, drawn, np.geomspace(0.5, 3000.0, 40), solver=Adaptive("bdf", 1e-8))


BUDGETS: dict[str, Any] = {
    "quick": {"draws": 5, "flows": 6},
    "full": {"draws": 40, "flows": 24},
    "few": {"draws": 1, "flows": 2},
}
FIGURE = Figure(
    Panel("margin", "rank", r"$y_nf_n$, sorted", "rank", by=("margins",), lines=True, each=1),
    Panel(
        "identity", "ρ_eq", "defect of the identity", r"$\rho_{eq}$", by=("margins",), log="y", floor=1e-18
    ),
    caption="Left: margins of the normalised net, one case a kind; at the end of a flow of the square loss they "
    "are all equal. "
    "Right: Σ|f|(1 − |f|) = (ρ_eq − 1)Σf², to rounding.",
)

STUDIES = tuple(
    study(name, look, cases, **BUDGETS, settings=section(__doc__, "Settings"), figure=FIGURE)
    for name, look in (
        ("memo112.small-norm-bias", BiasPrinted),
        ("memo112.small-norm-bias-corrected", BiasCorrected),
    )
)
