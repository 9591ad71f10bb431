"""memo90.cross-layer: derivatives across layers break the bound of N distinct eigenvalues under the exponential loss.

What is judged. Eqs. 45 and 46: ∂²f of W_2 σ(W_1 x) and the Hessian of the two-layer linear net, indices supplied
(δ_{1k} W_2 stands for ∂f/∂W_1 = W_2ᵀσ' x, and so on), against automatic differentiation; and that "this bound is
generically broken": more than N distinct eigenvalues, zero counted, at random weights that separate the data (labels
are the signs of the net itself), for overparametrised nets, D > N, "deep linear nets too". Not judged: "simple outer
products", and that λ does not change the number of distinct eigenvalues at one point, which is plain.

Corrected. The second term of eq. 46 has eigenvalues ±‖u‖, u = Σ y_n e^{−y_n f_n} x_n, each as often as there are
hidden units, and the first lives in r = rank X dimensions (docs/notes/memo90.cross-layer.md): the bound N is broken
if r = N, and kept if N > 3r + 1 and h > r. With a smooth σ, σ'' ≠ 0, there are h (r + 1), all that weights in the
span of the data can give.

Settings, before any run: 7 networks (quick) or 16 of two to four layers; linear, tanh, smooth ReLU; N up to and
beyond the dimension of the inputs; 3 or 8 draws each, at weights whose least |f| is 1e-3 of the largest or more.
"""

from typing import Any

import numpy as np

from gradlab.claims.cases import generator, point
from gradlab.claims.looks.points import OverparametrisedPoint
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import teachers
from gradlab.claims.studies import section, study
from gradlab.observe import local
from gradlab.problem.activations import smooth_relu
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def printed(problem: Any, vector: np.ndarray) -> np.ndarray:
    """Eqs. 45 and 46 with their indices: Σ e^{−yf} (∂f∂fᵀ − y ∂²f) of W_2 σ(W_1 x), block by block."""
    sigma = problem.network.activation.derivative
    d, h, _ = problem.network.widths
    W1, W2 = vector[: h * d].reshape(h, d), vector[h * d :]
    total = np.zeros((len(vector), len(vector)))
    for x, y in zip(np.asarray(problem.data.inputs), np.asarray(problem.data.targets), strict=True):
        z = W1 @ x
        first = np.concatenate([np.outer(W2 * sigma(z, 1), x).ravel(), sigma(z, 0)])
        same = np.kron(np.diag(W2 * sigma(z, 2)), np.outer(x, x))
        across = np.kron(np.diag(sigma(z, 1)), x[:, None])
        second = np.block([[same, across], [across.T, np.zeros((h, h))]])
        total += np.exp(-y * (W2 @ sigma(z, 0))) * (np.outer(first, first) - y * second)
    return problem.factor * total / (len(problem.data.inputs) if problem.loss.reduction == "mean" else 1.0)


def law(rank: int, hidden: int) -> int:
    """Distinct eigenvalues besides zero of a two-layer linear net, at generic weights."""
    return 2 * min(rank, hidden) + rank - 1 + 2 * (hidden > rank)


def _margin(problem: Problem, f: np.ndarray) -> float:
    """The least y f over the largest."""
    margins = np.asarray(problem.data.targets) * f[:, 0]
    return float(margins.min() / np.abs(margins).max()) if margins.any() else 0.0


class _Shared(OverparametrisedPoint):
    """The Hessian at random weights that separate the data, and eqs. 45 and 46 beside it."""

    setting = "the exponential loss, two layers or more of matrices, no biases"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is such a network under that loss."""
        net = problem.network
        chain = isinstance(net, Dense) and not net.bias and len(net.widths) > 2
        return chain and isinstance(problem.loss, Exponential)

    @property
    def rectified(self) -> bool:
        """Whether units switch off."""
        return self.problem.network.activation.name in ("relu", "leaky_relu")

    @at_least(1e-6, role="hypothesis")
    def margin(self) -> Number:
        """Least y f over the largest: separated.

        A sign; outputs are rounded at 1e-15 of the largest.
        """
        return Number(_margin(self.problem, self.eigen.here.f), EPS * self.size)

    @at_most(1e-10, sentence="formula")
    def formula(self) -> Number | None:
        """‖eq. 45 or 46 − ∇²L‖/‖∇²L‖, for two layers.

        The same sum in another order: rounding, 1e-13; a missing term would be O(1).
        """
        if len(self.problem.network.widths) > 3:
            return NOT_ASKED
        gap = float(np.linalg.norm(printed(self.problem, self.end) - self.hessian))
        return Number(gap / self.scale, self.bound / self.scale)

    def shown(self):
        kind = "linear" if self.problem.network.linear else "non-linear"
        return {"examples": self.examples, "count": self.distinct().value, "kind": kind}


class CrossLayerPrinted(_Shared):
    @at_least(0.5, sentence="broken")
    def broken(self) -> Number:
        """Distinct eigenvalues less N.

        A count of clusters: equal within twice the bound, distinct beyond a thousand times that; what lies between is
        its error.
        """
        return self.distinct(self.examples)


class CrossLayerCorrected(_Shared):
    @at_least(0.5, sentence="broken")
    def independent(self) -> Number | None:
        """Distinct eigenvalues less N, where the inputs are independent and no unit is off.

        A count of clusters.
        """
        return (
            self.distinct(self.examples) if self.rank == self.examples and not self.rectified else NOT_ASKED
        )

    @equals(0.0, within=0.5, sentence="count")
    def law(self) -> Number | float | None:
        """Distinct eigenvalues besides zero, less 2 min(r, h) + r − 1 + 2 [h > r] (linear) or h (r + 1) (smooth).

        A count of clusters. Of three layers or more and of ReLU the law says nothing.
        """
        network = self.problem.network
        if len(network.widths) != 3 or self.rectified:
            return NOT_ASKED
        if not np.isfinite(self.rank):
            return np.nan
        hidden, rank = network.widths[1], int(self.rank)
        return self.distinct(law(rank, hidden) if network.linear else hidden * (rank + 1), nonzero=True)


#: Name, widths, activation, examples.
QUICK = (
    ("linear", (5, 3, 1), "identity", 4),
    ("linear, one hidden unit", (5, 1, 1), "identity", 4),
    ("linear, many examples", (2, 10, 1), "identity", 14),
    ("tanh", (4, 4, 1), "tanh", 4),
    ("tanh, many examples", (2, 6, 1), "tanh", 14),
    ("linear, 3 layers", (5, 3, 3, 1), "identity", 4),
    ("tanh, 3 layers", (4, 3, 3, 1), "tanh", 4),
)
FULL = (
    ("linear, one example", (4, 3, 1), "identity", 1),
    ("linear, one input", (1, 8, 1), "identity", 6),
    ("linear, wide", (4, 9, 1), "identity", 3),
    ("linear, 7 of 3", (3, 4, 1), "identity", 7),
    ("linear, 12 of 3", (3, 6, 1), "identity", 12),
    ("smooth ReLU", (4, 4, 1), smooth_relu(0.3), 4),
    ("sigmoid, 9 of 3", (3, 5, 1), "sigmoid", 9),
    ("linear, 4 layers", (5, 3, 3, 2, 1), "identity", 5),
    ("tanh, one example", (4, 3, 1), "tanh", 1),
)


def cases(key, *, networks, draws):
    """Networks at random weights, labels the signs of their outputs."""
    rng = generator(key)
    for name, widths, activation, examples in networks:
        for i in range(draws):
            while True:
                problem, vector = teachers.teacher(rng, Dense(widths, activation), Exponential(), examples)
                if _margin(problem, local.outputs(problem, vector)) >= 1e-3:
                    break
            yield point(problem, vector, net=name, widths=str(widths), N=examples, draw=i + 1)


FIGURE = Figure(
    Panel("count", "examples", "distinct eigenvalues", "N, examples", by=("kind",), diagonal=True),
    caption="Distinct eigenvalues of the Hessian under the exponential loss. Above the line the bound N is broken; a "
    "two-layer linear net stays below it where examples outnumber 3 d + 2.",
)
BUDGETS = {
    "quick": {"networks": QUICK, "draws": 3},
    "full": {"networks": QUICK + FULL, "draws": 8},
    "few": {"networks": QUICK[:4], "draws": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.cross-layer", CrossLayerPrinted),
        ("memo90.cross-layer-corrected", CrossLayerCorrected),
    )
)
