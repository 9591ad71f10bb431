"""cohen.non-strict-saddle: with three or more layers W = 0 is a saddle whose Hessian is zero; with two it is
strict.

Near W = 0 the outputs are W_N ⋯ W_1 X times φ'(0)^{N−1} (layers without bias, φ(0) = 0), of order N in the
weights. With G = Σ_n ∇ℓ(0, y_n) x_nᵀ, ∇ℓ by the outputs, the risk is L(0) + φ'(0)^{N−1} ⟨G, W_N ⋯ W_1⟩ and
higher orders. Hence for N = 2 the Hessian has the eigenvalues ± φ'(0) σ_i(G), each d_1 times, and zeros; for N
≥ 3 it is zero. If G ≠ 0 the risk falls and rises along W_N ⋯ W_1 = ∓ s u vᵀ, (u, v) the first singular pair of G.

Settings, before any run. N = 2, 3, 4 layers; linear nets under Σ‖·‖², half of it and its mean, logistic loss
on linear nets, and tanh; random data. Gradient and Hessian by automatic differentiation at W = 0, where every
product is a product with exact zeros: for N ≥ 3 nothing is rounded. The walk: W_k = t times unit vectors, with
t^N = s at a tenth of the least of the quadratic along it (its curvature from the outputs by automatic
differentiation), where the linear term keeps 95 % of its worth; for tanh at t‖x‖ ≤ 0.2 as well, where tanh z/z
is above 0.98.
"""

from functools import cached_property
from itertools import pairwise

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.linear_net import ratio
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class Origin(Look):
    """∇L and ∇²L at the point, the spectrum that is predicted, and a walk away from it."""

    setting = "two or more layers without bias, a smooth φ with φ(0) = 0 and φ'(0) ≠ 0"

    @classmethod
    def speaks_of(cls, problem) -> bool:
        """Whether the network is such a one."""
        network = problem.network
        if not isinstance(network, Dense) or network.bias or len(network.widths) < 3 or not network.smooth:
            return False
        return _at_zero(network, 0) == 0.0 and _at_zero(network, 1) != 0.0

    @property
    def depth(self) -> int:
        """N, the number of layers."""
        return len(self.problem.network.widths) - 1

    @property
    def slope(self) -> float:
        """φ'(0)."""
        return _at_zero(self.problem.network, 1)

    @cached_property
    def pulls(self):
        """∇ℓ(0, y_n) by the outputs, (examples, C), and the inputs as rows."""
        problem, rows = self.problem, np.asarray(self.problem.data.inputs)
        zero = np.zeros((len(rows), problem.network.outputs))
        first, _ = problem.loss.slopes(zero, np.asarray(problem.data.targets))
        return problem.factor * np.asarray(first).reshape(zero.shape), rows.reshape(len(rows), -1)

    @cached_property
    def moment(self):
        """G (C, d)."""
        given, rows = self.pulls
        return given.T @ rows

    @cached_property
    def unit(self) -> float:
        """|φ'(0)| σ_1(G), in which eigenvalues are told."""
        return abs(self.slope) * float(np.linalg.norm(self.moment, 2))

    @cached_property
    def hessian(self):
        """∇²L, by automatic differentiation."""
        return np.asarray(self.problem.hessian(self.tree(self.end)))

    @cached_property
    def values(self):
        """Its eigenvalues, ascending."""
        return np.linalg.eigvalsh(self.hessian)

    @cached_property
    def predicted(self):
        """Its eigenvalues at W = 0 in theory, ascending."""
        values, widths = np.zeros(self.size), self.problem.network.widths
        if self.depth == 2:
            sigma = self.slope * np.linalg.svd(self.moment, compute_uv=False)
            signed = np.repeat(np.concatenate([sigma, -sigma]), widths[1])
            values[: len(signed)] = signed
        return np.sort(values)

    @cached_property
    def walk(self):
        """How far L falls and rises along ∓ s u vᵀ over s|φ'|^{N−1}σ_1(G), and the rounding of both."""
        (_, rows), network = self.pulls, self.problem.network
        left, values, right = np.linalg.svd(self.moment)
        u, v, factor = left[:, 0], right[0], self.slope ** (self.depth - 1)
        worth = abs(factor) * float(values[0])
        if not worth > 0.0:
            return np.nan, np.nan, np.inf
        bend = self.curvature(np.outer(rows @ v, u) * factor)
        s = 0.1 * worth / bend if bend > 0.0 else 1.0
        if not network.linear:
            s = min(s, (0.2 / float(np.max(np.abs(rows @ v)))) ** self.depth)
        t = s ** (1.0 / self.depth)
        layers = [np.zeros((after, before)) for before, after in pairwise(network.widths)]
        layers[0][0], layers[-1][:, 0] = t * v, t * u
        for layer in layers[1:-1]:
            layer[0, 0] = t
        away = [linear_nets.flat(tuple(layers)), linear_nets.flat((*layers[:-1], -layers[-1]))]
        (rest, one, other), _ = values_and_gradients(
            self.problem, self.end + np.stack([0.0 * away[0], *away])
        )
        down, up = (other, one) if factor > 0.0 else (one, other)
        rounding = 4.0 * len(rows) * EPS * abs(float(rest))
        return float(rest - down) / (s * worth), float(up - rest) / (s * worth), rounding / (s * worth)

    def curvature(self, change) -> float:
        """The second derivative of the risk along a change of the outputs, at outputs 0."""
        problem = self.problem
        _, second = problem.loss.slopes(np.zeros_like(change), np.asarray(problem.data.targets))
        return problem.factor * float(np.einsum("nc,ncd,nd->", change, second, change))

    @at_most(0.0, role="hypothesis", exact=True)
    def decay(self) -> float:
        """The weight decay.

        The source has none.
        """
        return float(np.max(np.asarray(self.problem.decay)))

    @at_least(1e-6, role="hypothesis")
    def pull(self) -> Number:
        """‖G‖ over Σ‖∇ℓ_n‖‖x_n‖.

        Rounding leaves 1e-15 of a sum that vanishes.
        """
        given, rows = self.pulls
        parts = float(np.sum(np.linalg.norm(given, axis=1) * np.linalg.norm(rows, axis=1)))
        return Number(ratio(float(np.linalg.norm(self.moment, 2)), parts), len(rows) * EPS)

    @at_most(1e-12, sentence="origin", exact=True)
    def rest(self) -> float:
        """‖∇L(0)‖/σ_1(G).

        Products with exact zeros.
        """
        return ratio(float(np.linalg.norm(self.gradient(self.end))), float(np.linalg.norm(self.moment, 2)))

    @at_most(1e-10, sentence="origin")
    def spectrum(self) -> Number:
        """The largest distance of an eigenvalue of ∇²L(0) from ± φ'(0)σ_i(G) and 0 (N = 2) or 0 (N ≥ 3), over σ_1(G).

        Products with exact zeros; for N = 2 rounding of G and of the eigenvalues, P eps ≈ 1e-14.
        """
        return self.told(abs(self.slope) * np.max(np.abs(self.values - self.predicted)))

    @at_most(-0.5, sentence="shallow")
    def strict(self) -> Number | None:
        """λ_min/(φ'(0)σ_1(G)) with two layers.

        −1 in theory, 0 for a saddle that is not strict.
        """
        return self.told(self.values[0]) if self.depth == 2 else NOT_ASKED

    @at_least(-1e-10, sentence="origin")
    def non_strict(self) -> Number | None:
        """λ_min/(φ'(0)σ_1(G)) with three layers or more.

        0 in theory, −1 for two layers.
        """
        return NOT_ASKED if self.depth == 2 else self.told(self.values[0])

    @at_least(0.5, sentence="origin")
    def falls(self) -> Number:
        """How far L falls along W_N⋯W_1 = −s u vᵀ, over its linear term.

        0.95 or (tanh) 0.9 in theory, negative at a minimum.
        """
        return Number(self.walk[0], self.walk[2])

    @at_least(0.5, sentence="origin")
    def rises(self) -> Number:
        """How far L rises along W_N⋯W_1 = s u vᵀ, over its linear term.

        As for falls.
        """
        return Number(self.walk[1], self.walk[2])

    def told(self, eigenvalue) -> Number:
        """In the unit of eigenvalues, with the rounding of an eigendecomposition: none where ∇²L = 0."""
        rounding = self.size * EPS * float(np.abs(self.values).max())
        return Number(ratio(float(eigenvalue), self.unit), ratio(rounding, self.unit), exact=True)

    def shown(self):
        size = self.unit / abs(self.slope) or 1.0
        spectra = {"values": ("weight", self.values / size), "predicted": ("weight", self.predicted / size)}
        return spectra | {"layers": self.depth}


def _at_zero(network, order):
    return float(network.activation.derivative(np.zeros(1), order)[0])


def _problem(rng, widths, activation, loss):
    x = linear_net.linear_inputs(rng, 8, widths[0])
    y = rng.standard_normal((8, widths[-1]))
    if isinstance(loss, Logistic):
        y = np.where(rng.random(8) < 0.5, -1, 1)
    return Problem(Dense(widths, activation), loss, Data(x, y))


def cases(key, *, plans, draws):
    """Random problems of every plan, at rest at W = 0."""
    rng = generator(key)
    for number in range(draws):
        for widths, (name, activation, loss, outputs) in plans:
            whole = (*widths, outputs)
            problem = _problem(rng, whole, activation, loss)
            facts = {"depth": len(whole) - 1, "activation": activation, "loss": name, "widths": str(whole)}
            yield point(problem, np.zeros(problem.size), **facts, draw=number)


_NETS = (
    ("Σ", "identity", Square(), 2),
    ("½Σ", "identity", Square(half=True), 2),
    ("mean", "identity", Square("mean"), 2),
    ("logistic", "identity", Logistic(), 1),
    ("Σ", "tanh", Square(), 2),
)
PLANS = tuple((widths, kind) for widths in ((4, 3), (4, 3, 3), (3, 4, 3, 2)) for kind in _NETS)
QUICK = tuple(PLANS[i] for i in (2, 4, 5, 8, 10))

STUDY = study(
    "cohen.non-strict-saddle",
    Origin,
    cases,
    quick={"plans": QUICK, "draws": 4},
    full={"plans": PLANS, "draws": 20},
    few={"draws": 1},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "values",
            "predicted",
            r"eigenvalue of $\nabla^2L(0)$, over $\sigma_1(G)$",
            r"predicted, over $\sigma_1(G)$",
            by=("layers",),
            diagonal=True,
        ),
        Panel(
            "falls", "layers", "how far L falls over its linear term", "layers", reference={"tolerance": 0.5}
        ),
        Panel(
            "rises", "layers", "how far L rises over its linear term", "layers", reference={"tolerance": 0.5}
        ),
        caption="Left: eigenvalues of the Hessian at W = 0; with three layers and more all are zero. Right: along "
        "W_N⋯W_1 = ∓ s u vᵀ the loss falls and rises at every depth: W = 0 is a saddle.",
    ),
)
