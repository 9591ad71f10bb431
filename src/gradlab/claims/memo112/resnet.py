"""memo112.resnet: a residual net as networks of depths 2 to L with shared weights; and how gradually its norm grows.

What is judged. *Mixture.* W_out Π(1 + W_b) W_in is the sum over all subsets S of the blocks of W_out Π_{b∈S} W_b
W_in, nets of |S| + 2 layers: an identity for linear blocks. With σ between, σ of a sum is not the sum of σ: the nets
of the subsets, each with its own activations, do not add up to it. They do with the masks of the residual net itself
(the repair): then the shallow nets share not only weights but the pattern of the whole. *Gradual.* The passage asks
whether the control of the norm is more gradual. From small starts the two outer layers of a residual net are a net of
two layers, whose transient is logarithmic in the start, whatever L; a plain net of as many layers has a power.
Gradual is read as the share of the time to nine tenths of the output's final size that passes between one tenth and
nine tenths: the larger, the more gradual.

Settings. Points: residual nets (5 → 4, 1 to 4 blocks, → 1), linear, ReLU and leaky ReLU, norms ½ to 1½. Flows:
residual chains of width one, one to three blocks, and plain chains of as many layers, on the same eight numbers,
every weight 0.1 at the start, loss Σ(g − y)².

Tolerances. Identities: sums of 2^B products, rounding 1e-12. Gradual: larger, without margin.
"""

from functools import cached_property
from itertools import combinations
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.claims.cases import case, ensemble, generator, point
from gradlab.claims.looks.look import Look
from gradlab.claims.looks.transients import Transient, crossing
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar, transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory.second import COARSE
from gradlab.problem.activations import leaky_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Residual
from gradlab.problem.problem import Problem

ROUNDING = 1e-14


class Blocks(Look):
    """Outputs of a residual net and of the nets of its subsets; of flows, how gradual both transients were."""

    setting = "a residual net with one output"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem.network, Residual) and problem.network.outputs == 1

    @property
    def linear(self) -> bool:
        return self.problem.network.activation.name == "identity"

    @cached_property
    def layers(self) -> list[np.ndarray]:
        return [np.asarray(one) for one in self.tree(self.end)]

    @cached_property
    def inputs(self) -> np.ndarray:
        X = np.asarray(self.problem.data.inputs)
        return X.reshape(len(X), -1)

    @cached_property
    def whole(self) -> np.ndarray:
        """g of the residual net."""
        return np.asarray(self.problem.outputs(self.tree(self.end)))[:, 0]

    @property
    def subsets(self) -> list[tuple[int, ...]]:
        blocks = range(1, len(self.layers) - 1)
        return [chosen for size in range(len(blocks) + 1) for chosen in combinations(blocks, size)]

    def block(self, number: int, h: np.ndarray) -> np.ndarray:
        """σ(W_b h), from a residual net of that block alone."""
        width = self.problem.network.width
        alone = Residual(width, width, 1, width, self.problem.network.activation)
        return np.asarray(alone((np.eye(width), self.layers[number], np.eye(width)), jnp.asarray(h))) - h

    @cached_property
    def parts(self) -> np.ndarray:
        """g of the net of every subset, (subsets, N): first and last layer linear, the activation at every block."""
        found = []
        for chosen in self.subsets:
            h = self.inputs @ self.layers[0].T
            for block in chosen:
                h = self.block(block, h)
            found.append((h @ self.layers[-1].T)[:, 0])
        return np.array(found)

    @cached_property
    def masked(self) -> np.ndarray:
        """The same with the slopes that the residual net itself has at every input, (subsets, N)."""
        h, slopes = self.inputs @ self.layers[0].T, []
        for number, block in enumerate(self.layers[1:-1], start=1):
            z, moved = h @ block.T, self.block(number, h)
            slopes.append(np.where(z != 0.0, moved / np.where(z != 0.0, z, 1.0), 0.0))
            h = h + moved
        found = []
        for chosen in self.subsets:
            h = self.inputs @ self.layers[0].T
            for number in chosen:
                h = slopes[number - 1] * (h @ self.layers[number].T)
            found.append((h @ self.layers[-1].T)[:, 0])
        return np.array(found)

    def off(self, parts: np.ndarray) -> Number:
        """‖g − Σ_S g_S‖/(‖g‖ + Σ_S ‖g_S‖)."""
        size = np.linalg.norm(self.whole) + float(np.sum(np.linalg.norm(parts, axis=1)))
        return Number(float(np.linalg.norm(self.whole - parts.sum(axis=0)) / size), ROUNDING)

    @property
    def flowed(self) -> bool:
        return "share" in self.trajectory

    @at_most(1e-12, sentence="mixture")
    def linear_sum(self) -> Number | None:
        """Of linear blocks: ‖g − Σ_S g_S‖ over its terms, g_S the net of the blocks in S.

        Rounding, see the module's docstring.
        """
        return self.off(self.parts) if self.linear and not self.flowed else NOT_ASKED

    @at_least(0.0, sentence="gradual")
    def gradual(self) -> Number | None:
        """Of flows: the share of time from a tenth to nine tenths, residual less plain of as many layers.

        See the module's docstring.
        """
        if not self.flowed:
            return NOT_ASKED
        residual, plain = np.asarray(self.trajectory["share"].values)
        return Number(float(residual - plain), 1e-4)

    def shown(self):
        if not self.flowed:
            return {"off": self.off(self.parts).value, "blocks": float(len(self.layers) - 2)}
        numbers = {name: ("moment", self.trajectory[name].values) for name in ("residual", "plain")}
        return numbers | {"x": ("moment", np.linspace(0.0, 1.5, 76))}


class ResnetPrinted(Blocks):
    @at_most(1e-12, sentence="mixture")
    def sum(self) -> Number | None:
        """Of ReLU and leaky ReLU blocks: ‖g − Σ_S g_S‖ over its terms.

        Rounding, see the module's docstring.
        """
        return NOT_ASKED if self.linear or self.flowed else self.off(self.parts)


class ResnetCorrected(Blocks):
    @at_most(1e-12, sentence="mixture")
    def masked_sum(self) -> Number | None:
        """Of all blocks: ‖g − Σ_S g_S‖ over its terms, g_S with the activation pattern of the residual net.

        Rounding, see the module's docstring.
        """
        return NOT_ASKED if self.flowed else self.off(self.masked)

    @at_least(1e-6, sentence="mixture", role="control")
    def own(self) -> Number | None:
        """Of two or more ReLU or leaky ReLU blocks: the same with each net's own activations.

        They differ where a sum changes sign, which some inputs of each net see.
        """
        few = len(self.layers) < 4
        return NOT_ASKED if self.linear or self.flowed or few else self.off(self.parts)


ACTIVATIONS: dict[str, Any] = {"linear": "identity", "ReLU": "relu", "leaky ReLU": leaky_relu(0.2)}


def _profile(one: Transient) -> tuple[float, np.ndarray]:
    """The share of the time to nine tenths of the output's size that follows one tenth; and the size over t/t_90."""
    size = np.linalg.norm(one.outputs, axis=1)
    size = size / size[-1]
    tenth, most = (crossing(one.time, size, level).value for level in (0.1, 0.9))
    return (most - tenth) / most, np.interp(np.linspace(0.0, 1.5, 76), one.time / most, size)


def cases(key, *, blocks, nets, rounds, flows):
    """Points of residual nets, and flows of residual and plain chains."""
    rng = generator(key)
    for name in nets:
        for count in blocks:
            net = Residual(5, 4, count, 1, ACTIVATIONS[name])
            for i in range(rounds):
                weights = polar.with_norms(rng, net, rng.uniform(0.5, 1.5, count + 2) * 2.0)
                labels = np.resize([1.0, -1.0], 8)[:, None]
                problem = Problem(net, Square(), Data(polar.unit_inputs(rng, 8, 5, "random"), labels))
                vector = np.asarray(problem.ravel(weights))
                yield point(problem, vector, activation=name, blocks_of=count, draw=i + 1)
    for count in flows:
        problems = [transients.chain_problem(rng, 2) for _ in range(4)]
        drawn: dict[str, list[Any]] = {"residual": [], "plain": []}
        for problem in problems:
            for kind, chain in (
                ("residual", Residual(1, 1, count, 1, "identity")),
                ("plain", transients.chain(count + 2)),
            ):
                start = tuple(np.full((1, 1), 0.1) for _ in range(count + 2))
                drawn[kind].append((Problem(chain, Square(), problem.data), start, {}))
        until = {1: 4.0, 2: 12.0, 3: 100.0}[count]
        runs = []
        for kind, span in (("residual", 3.0), ("plain", until)):
            times = np.linspace(0.0, span, 201)[1:]
            runs.append(list(ensemble(GradientFlow, drawn[kind], times, solver=Adaptive("dopri8", 1e-9))))
        for i, (one, other) in enumerate(zip(*runs, strict=True)):
            kept: dict[str, Any] = {"final_weights": ("weight", one.trajectory["weights"].values[-1])}
            kept[f"final_weights{COARSE}"] = kept["final_weights"]
            for end, pair in (("", (one, other)), (COARSE, (one.second, other.second))):
                (first, curve), (second, plain) = (_profile(each.look(Transient)) for each in pair)
                kept[f"share{end}"] = ("kind", np.array([first, second]))
                kept[f"residual{end}"], kept[f"plain{end}"] = ("moment", curve), ("moment", plain)
            yield case(one.problem, xr.Dataset(kept), activation="flows", blocks_of=count, draw=i + 1)


BUDGETS: dict[str, Any] = {
    "quick": {"blocks": (1, 2, 4), "nets": tuple(ACTIVATIONS), "rounds": 4, "flows": (1, 2)},
    "full": {"blocks": (1, 2, 3, 4, 6), "rounds": 20, "flows": (1, 2, 3)},
    "few": {"blocks": (2,), "nets": ("linear", "ReLU"), "rounds": 1, "flows": (1,)},
}
FIGURE = Figure(
    Panel(
        "off",
        "blocks",
        "sum over subsets, relative defect",
        "blocks",
        by=("activation",),
        log="y",
        floor=1e-17,
    ),
    Panel(
        "residual", "x", "size of the output, residual", "$t/t_{90}$", by=("blocks_of",), lines=True, each=1
    ),
    Panel("plain", "x", "size of the output, plain", "$t/t_{90}$", by=("blocks_of",), lines=True, each=1),
    caption="Left: the nets of all subsets of blocks, each with its own activations, against the residual net: "
    "equal for "
    "linear blocks only. Right and below: how the output grows from equal weights of 0.1.",
)

STUDIES = tuple(
    study(name, look, cases, **BUDGETS, settings=section(__doc__, "Settings"), figure=FIGURE)
    for name, look in (("memo112.resnet", ResnetPrinted), ("memo112.resnet-corrected", ResnetCorrected))
)
