"""memo112.bounded-output: ‖x‖ = 1 and ‖V_k‖ = 1 imply |f(x)| ≤ 1, where no weight is shared.

What is judged. A full layer has ‖V_k h‖ ≤ ‖V_k‖_F ‖h‖, and σ with |σ(z)| ≤ |z| keeps that: |f| ≤ 1 for every V, at
convergence or not. A convolution uses one kernel at many places: ‖V_k ∗ h‖² = Σ_p ⟨v, h_p⟩² ≤ ‖v‖² Σ_p ‖h_p‖² ≤ m
‖h‖², m = ⌈kernel/stride⌉² the number of windows that see a pixel, and for smooth images m is nearly reached. The
passage says "deep nets with RELUs" and f(V) of degree one in every layer; convolutional nets are such, and they
exceed 1 (that of a recurrent net does not: a repeated full layer has norm ≤ 1 at every use). The bound with m is the
corrected form.

Settings. ‖x_n‖ = 1. Linear, ReLU and leaky ReLU nets of 2 to 5 full layers, convolutional nets with kernel 3 and
stride 1 or 2: random V and inputs, and V that make f large: full layers of rank one along an input, kernels of equal
entries with the constant image and a last layer along the features.

Tolerances. Rounding, 1e-12; what exceeds does so by tens of per cent.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.cases import generator, point
from gradlab.claims.looks.polar import LayerRecords
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar
from gradlab.claims.studies import section, study
from gradlab.observe.layers import layer_norms
from gradlab.problem.activations import leaky_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense
from gradlab.problem.problem import Problem

ROUNDING = 1e-14


class Output(LayerRecords):
    """f of the normalised net at inputs of unit norm."""

    setting = "one output, a net of degree one in every layer"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        degrees = problem.network.degrees
        return problem.network.outputs == 1 and degrees is not None and set(degrees) == {1}

    @cached_property
    def largest(self) -> float:
        """max_n |f_n|, f of V_k = W_k/‖W_k‖."""
        directions = self.end / layer_norms(self.layer, self.end)[self.layer]
        return float(np.max(np.abs(np.asarray(self.problem.outputs(self.tree(directions))))))

    @property
    def bound(self) -> float:
        """What the claim bounds |f| by."""
        return 1.0

    @property
    def shared(self) -> bool:
        return isinstance(self.problem.network, Convolutional)

    @at_most(1e-12, role="hypothesis")
    def unit(self) -> Number:
        """max_n |‖x_n‖ − 1|.

        ‖x‖ = 1, up to rounding.
        """
        inputs = np.asarray(self.problem.data.inputs)
        lengths = np.linalg.norm(inputs.reshape(len(inputs), -1), axis=1)
        return Number(float(np.max(np.abs(lengths - 1.0))), ROUNDING)

    @at_most(1.0 + 1e-12, sentence="bounded")
    def full(self) -> Number | None:
        """max_n |f_n| over what it is bounded by, of nets of full layers.

        Rounding, see the module's docstring.
        """
        return NOT_ASKED if self.shared else Number(self.largest / self.bound, ROUNDING)

    @at_most(1.0 + 1e-12, sentence="bounded")
    def convolutional(self) -> Number | None:
        """max_n |f_n| over what it is bounded by, of nets that share weights.

        Rounding, see the module's docstring.
        """
        return Number(self.largest / self.bound, ROUNDING) if self.shared else NOT_ASKED

    def shown(self):
        net = self.problem.network
        most = float((-(-net.kernel // net.stride)) ** len(net.channels)) if self.shared else 1.0
        return {"f": self.largest, "most": most}


class Counted(Output):
    @property
    def bound(self) -> float:
        net = self.problem.network
        return float((-(-net.kernel // net.stride)) ** len(net.channels)) if self.shared else 1.0

    @at_least(0.8, sentence="sharp")
    def sharp(self) -> Number | None:
        """max |f_n| over the bound, of the weights that make f large: full layers, and kernels of stride 1.

        1 for full layers; of a 16 × 16 image in two convolutions the border has less than a tenth each.
        """
        if self.facts["V"] != "large":
            return NOT_ASKED
        if self.shared and self.problem.network.stride != 1:
            return NOT_ASKED
        return Number(self.largest / self.bound, ROUNDING)


NETS = {
    "linear": Dense((6, 4, 1), "identity"),
    "ReLU": Dense((6, 5, 4, 1)),
    "leaky ReLU": Dense((6, 5, 4, 5, 4, 1), leaky_relu(0.2)),
    "stride 2": Convolutional((1, 8, 8), (1, 1), outputs=1),
    "stride 1": Convolutional((1, 16, 16), (1,), stride=1, outputs=1),
    "stride 1, two": Convolutional((1, 16, 16), (1, 1), stride=1, outputs=1),
}


def _large(rng, net):
    """Weights and inputs, of which the first makes f large."""
    size = int(np.prod(net.input_shape))
    x = polar.unit_inputs(rng, 4, size, "random")
    if isinstance(net, Convolutional):
        x[0] = 1.0 / np.sqrt(size)
        layers = [np.ones((1, 1, net.kernel, net.kernel)) for _ in net.channels]
        # the last layer along the features of the constant image, which its own gradient gives
        shape = net.shapes()[-1].shape
        probe = Problem(net, Square(), Data(x[:1], np.ones((1, 1))))
        features = np.asarray(probe.output_jacobian((*layers, np.ones(shape)))).reshape(-1)[-shape[1] :]
        return (*layers, features[None]), x
    # rank-one layers in the positive orthant, so that ReLU passes them
    layers, before = [], np.abs(x[0])
    x[0] = before
    for shape in net.shapes():
        after = np.abs(rng.standard_normal(shape.shape[0]))
        after /= np.linalg.norm(after)
        layers.append(np.outer(after, before))
        before = after
    return tuple(layers), x


def cases(key, *, nets, draws):
    """Random and large f of every net."""
    rng = generator(key)
    for name in nets:
        net = NETS[name]
        kind = "convolutional" if isinstance(net, Convolutional) else "full layers"
        for i in range(draws):
            weights, x = _large(rng, net)
            if i >= draws // 2:
                depth = len(net.layers(net.shapes()))
                weights = polar.with_norms(rng, net, np.ones(depth))
                x = polar.unit_inputs(rng, 4, x.shape[1], "random")
            problem = Problem(net, Square(), Data(x, np.ones((4, 1))))
            facts = {"net": name, "kind": kind, "V": "random" if i >= draws // 2 else "large", "draw": i + 1}
            yield point(problem, np.asarray(problem.ravel(weights)), **facts)


BUDGETS: dict[str, Any] = {
    "quick": {"nets": tuple(NETS), "draws": 4},
    "full": {"draws": 40},
    "few": {"nets": ("ReLU", "stride 1"), "draws": 2},
}
FIGURE = Figure(
    Panel("f", "case", r"$\max_n|f_n|$", "case", by=("net",), log="y", reference={"1": 1.0}),
    Panel(
        "f",
        "most",
        r"$\max_n|f_n|$",
        r"$\prod_k\lceil kernel/stride\rceil$",
        by=("kind",),
        log="y",
        diagonal=True,
    ),
    caption="Outputs of normalised nets at inputs of unit norm. Full layers stay below 1; convolutional ones "
    "exceed it, and "
    "stay below the product of ⌈kernel/stride⌉.",
)

STUDIES = tuple(
    study(name, look, cases, **BUDGETS, settings=section(__doc__, "Settings"), figure=FIGURE)
    for name, look in (("memo112.bounded-output", Output), ("memo112.bounded-output-corrected", Counted))
)
