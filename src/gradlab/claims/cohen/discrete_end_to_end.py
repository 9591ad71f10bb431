"""cohen.discrete-end-to-end: W ← W − ηP_W[∇ℓ(W)] as what gradient descent on the layers does to their product.

Printed. "Consider a discrete version" of the end-to-end dynamics, vec W ← vec W − ηP_W vec ∇ℓ(W); the slide compares it
with gradient descent. What it stands for: in one step of descent on balanced layers the product moves by −ηP_W[∇ℓ] and
terms of order η² and more, so that over a fixed time both differ by O(η): orders are measured, in a step and over a
time. From unbalanced layers of the same product the first order is another: a control.

Over a time the order is asked of W of full rank only. Descent on the layers keeps the rank; the rule leaves W of lower
rank by O(η²) a step, and there P_W is no more than Hölder continuous, of exponent 2/N: the order over a time was
0.54 at rank one in a first run, which asked of all.

Settings, before any run. As in cohen.end-to-end: depth 3, widths 5-4-4-3, 14 examples, the square loss; depth 2, widths
6-4-2, 10 examples, ℓ_4; depth 4, widths 4-3-3-3-2, the square loss. Balanced layers in random bases, products of size
0.4 and 1, of full rank and of rank 1. η moves W by 2 % a step, and four halvings; a time of 16 of the longest steps.

Tolerances. Orders 2 and 1 exactly as η → 0; at 2 % and halvings 0.15, as everywhere in gradlab. The control: tripling a
layer changes its share of the step ninefold, 1e-2 is visible.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import apply_preconditioner
from gradlab.claims.cases import generator
from gradlab.claims.looks.linear_net import LinearFlow
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.observe.local import values_and_gradients
from gradlab.problem.losses import Lp, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: The longest step moves W by this part of it; halvings; longest steps in the fixed time.
LONGEST, HALVINGS, STEPS = 0.02, 4, 16


class DiscreteEndToEnd(LinearFlow):
    """Steps of descent on the layers, and of the discrete rule on their product, for η and its halvings."""

    @cached_property
    def flat(self) -> Problem:
        """ℓ(W) as a problem of one layer."""
        widths = self.network.widths
        network = Dense((widths[0], widths[-1]), "identity")
        return Problem(network, self.problem.loss, self.problem.data)

    def slope(self, W: np.ndarray) -> np.ndarray:
        """∇ℓ(W), (C, d), by automatic differentiation."""
        return values_and_gradients(self.flat, W.reshape(1, -1))[1][0].reshape(W.shape)

    def moved(self, W: np.ndarray, eta: float) -> np.ndarray:
        """One step of the discrete rule."""
        return W - eta * apply_preconditioner(W, self.slope(W), self.depth)

    def descended(self, vector: np.ndarray, eta: float) -> np.ndarray:
        """One step of gradient descent on the layers."""
        return vector - eta * values_and_gradients(self.problem, vector[None])[1][0]

    def product(self, vector: np.ndarray) -> np.ndarray:
        """W_N ⋯ W_1."""
        return np.asarray(linear_nets.end_to_end(linear_nets.layers(self.network, vector)))

    @cached_property
    def etas(self) -> np.ndarray:
        """The step sizes, descending."""
        W = self.products[0]
        first = apply_preconditioner(W, self.slope(W), self.depth)
        return LONGEST * np.linalg.norm(W) / np.linalg.norm(first) * 0.5 ** np.arange(HALVINGS + 1)

    def gap(self, vector: np.ndarray, eta: float, steps: int = 1) -> float:
        """The distance of the products after so many steps, over the distance that the rule has gone."""
        start = W = self.product(vector)
        for _ in range(steps):
            vector, W = self.descended(vector, eta), self.moved(W, eta)
        return float(np.linalg.norm(self.product(vector) - W) / np.linalg.norm(W - start))

    @cached_property
    def once(self) -> np.ndarray:
        """The gaps of one step, for every η."""
        return np.array([self.gap(self.weights[0], eta) for eta in self.etas])

    @cached_property
    def over(self) -> np.ndarray:
        """The gaps over the fixed time, for the three longest η."""
        return np.array([self.gap(self.weights[0], eta, STEPS * 2**k) for k, eta in enumerate(self.etas[:3])])

    def order(self, gaps: np.ndarray) -> Number:
        """The order in η from the last two; a gap is rounded by eps over what the rule goes."""
        return Number(
            float(np.log2(gaps[-2] / gaps[-1])), 10.0 * self.size * EPS / (LONGEST * gaps[-1] * 0.5**HALVINGS)
        )

    @at_most(1e-9, role="hypothesis")
    def balanced(self) -> float:
        """The largest ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖ at the start over the largest ‖W_j‖².

        The layers are made balanced, to 1e-15.
        """
        layers = self.matrices[0]
        gaps = [float(np.linalg.norm(gap)) for gap in linear_nets.balancedness(layers)]
        return float(np.max(gaps) / np.max([np.sum(layer**2) for layer in layers]))

    @at_most(LONGEST, sentence="version")
    def version(self) -> Number:
        """The gap of one step, over the step, for the shortest η.

        N(N − 1)/2 terms, each of the size of the motion of W, 2 % × 1/16, times ‖W‖'s spread over the layers; 2 %.
        """
        return Number(float(self.once[-1]), 10.0 * self.size * EPS / LONGEST)

    @equals(1.0, within=0.15, sentence="stand_in")
    def step_order(self) -> Number:
        """The order in η of the gap of one step over the step: the gap itself is O(η²).

        1 as η → 0.
        """
        return self.order(self.once)

    @equals(1.0, within=0.15, sentence="stand_in", changed="asked of W of full rank only, see the docstring")
    def time_order(self) -> Number | None:
        """The order in η of the gap over a fixed time, over the motion, W of full rank.

        1 as η → 0.
        """
        values = np.linalg.svd(self.products[0], compute_uv=False)
        return self.order(self.over) if values[-1] > 1e-9 * values[0] else NOT_ASKED

    @at_least(1e-2, role="control")
    def unbalanced(self) -> Number:
        """The gap of one step from unbalanced layers of the same product, for the shortest η.

        Of order one: the first layer tripled, the last divided by 3.
        """
        layers = linear_nets.layers(self.network, self.weights[0])
        other = linear_nets.flat((3.0 * layers[0], *layers[1:-1], layers[-1] / 3.0))
        return Number(self.gap(other, float(self.etas[-1])), 10.0 * self.size * EPS / LONGEST)

    def shown(self):
        return {"eta": ("halving", self.etas / self.etas[0]), "gap": ("halving", self.once)}


FAMILIES = (
    ((5, 4, 4, 3), Square("mean"), 14),
    ((6, 4, 2), Lp(4.0, "mean"), 10),
    ((4, 3, 3, 3, 2), Square("mean"), 8),
)


def cases(key, *, families, draws, sizes):
    """Balanced layers of a product, of full rank and of rank one."""
    rng = generator(key)
    for widths, loss, count in families:
        for i in range(draws):
            for rank in ("full", "one"):
                for size in sizes:
                    problem = linear_net.regression(rng, widths, loss, count)
                    shape = (widths[-1], widths[0])
                    W = linear_net.low_rank(rng, shape, min(shape) if rank == "full" else 1, size)
                    start = linear_nets.flat(linear_net.balanced(rng, W, widths))
                    facts = {"widths": "-".join(map(str, widths)), "rank": rank, "size": size, "draw": i + 1}
                    yield linear_net.recorded(problem, start[None], **facts)


STUDY = study(
    "cohen.discrete-end-to-end",
    DiscreteEndToEnd,
    cases,
    quick={"families": FAMILIES, "draws": 2, "sizes": (0.4, 1.0)},
    full={"draws": 10, "sizes": (0.1, 0.4, 1.0)},
    few={"families": FAMILIES[:1], "draws": 1, "sizes": (1.0,)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "gap",
            "eta",
            "gap of one step, over the step",
            r"$\eta$ over the longest",
            by=("widths",),
            log="xy",
        ),
        caption="How far one step of gradient descent on balanced layers moves their product from W − ηP_W[∇ℓ(W)], "
        "over the length of the step: proportional to η.",
    ),
)
