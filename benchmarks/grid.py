"""``auto`` against gradlab's own methods, each alone, over flow × clock × loss × network: who is cheapest where?

Nets are tiny (3-4-1; 3-4-2 for cross-entropy), since compiling is what such a grid costs. The activation is a blend of
z, tanh z and softplus z, and a loss of margins one of the exponential and the logistic, with weights that are data: one
compiled program serves all nets and both losses. Linear nets were there to choose the numbers of
``Policy`` by (every third row); tanh and softplus nets are the judges.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import gradlab as gl
from gradlab.dynamics import tree
from gradlab.problem.activations import Activation
from gradlab.problem.losses import Loss

#: Attempted steps after which a method alone is given up.
MOST = 4000
ALONE = ("dopri8", "tsit5", "bdf", "mrkc3", "mrkc5")
ARRIVED = "reached the last record"
NETS = {"linear": (1.0, 0.0, 0.0), "tanh": (0.0, 1.0, 0.0), "softplus": (0.0, 0.0, 1.0)}
MARGINS = {"exponential": 0.0, "logistic": 1.0}
FLOWS: dict[str, Any] = {
    "plain": gl.GradientFlow,
    "weight normalisation": gl.flows.WeightNormalisation,
    "polar": gl.flows.NormalisedFlow,
}
CLOCKS: dict[str, Any] = {
    "time": gl.Time(),
    "log-time": gl.LogTime(),
    "log-loss": gl.LogLoss(),
    "arc length": gl.clocks.ArcLength(),
    "log-norm": gl.clocks.LogNorm(),
}
#: How far a row goes, in its clock, for losses of residuals and of margins. The arc of a square loss ends at rest.
ENDS = {
    "time": (1000.0, 3000.0),
    "log-time": (8.0, 12.0),
    "log-loss": (np.nan, 6.0),
    "arc length": (0.4, 6.0),
    "log-norm": (np.nan, 0.6),
}


class Blend(Activation):
    """a z + b tanh z + c softplus z."""

    parts: Array
    name: str = "blend"
    degree: int | None = None
    smooth: bool = True

    def __call__(self, z: Any) -> Any:
        a, b, c = self.parts
        return a * z + b * jnp.tanh(z) + c * jax.nn.softplus(z)


class Margin(Loss):
    """The exponential (kind 0) or the logistic loss (kind 1)."""

    kind_of: Array
    reduction: str = "mean"
    labels: ClassVar[str] = "sign"
    has_log: ClassVar[bool] = True

    def per_example(self, outputs: Any, targets: Any) -> Any:
        z = -targets * outputs[:, 0]
        return jnp.where(self.kind_of > 0.0, jax.nn.softplus(z), jnp.exp(jnp.minimum(z, 300.0)))

    def log_per_example(self, outputs: Any, targets: Any) -> Any:
        z = -targets * outputs[:, 0]
        far = z < -30.0
        soft = jnp.where(far, z, jnp.log(jax.nn.softplus(jnp.where(far, 0.0, z))))
        return jnp.where(self.kind_of > 0.0, soft, z)


def drawn(network: Any, rng: np.random.Generator) -> tuple[Array, ...]:
    """A start."""
    return tuple(
        jnp.asarray(0.6 * rng.standard_normal(leaf.shape)) for leaf in jax.tree.leaves(network.shapes())
    )


@dataclass(frozen=True)
class Row:
    """One combination, at one tolerance."""

    flow: str
    clock: str
    loss: str
    net: str
    tolerance: float
    held: bool

    @property
    def seed(self) -> list[int]:
        """Of data, start and horizon."""
        words = (self.flow, self.clock, self.loss, self.net)
        return [sum(map(ord, word)) for word in words]

    def made(self) -> tuple[Any, Any, float]:
        """(flow, start, end)."""
        rng = np.random.default_rng(self.seed)
        inputs = rng.standard_normal((12, 3))
        scores = inputs @ rng.standard_normal(3)
        outputs = 2 if self.loss == "cross-entropy" else 1
        made: dict[str, tuple[Any, Any]] = {
            "square": (gl.Square("mean"), (np.tanh(scores) + 0.1 * rng.standard_normal(12))[:, None]),
            "cross-entropy": (gl.CrossEntropy("mean"), (scores > 0).astype(int)),
        }
        if self.loss in MARGINS:
            made[self.loss] = (Margin(jnp.asarray(MARGINS[self.loss])), np.where(scores > 0, 1.0, -1.0))
        loss, targets = made[self.loss]
        network = gl.Dense((3, 4, outputs), Blend(jnp.asarray(NETS[self.net])))
        problem = gl.Problem(network, loss, gl.Data(inputs, targets))
        weights = drawn(network, rng)
        # A start whose norm does not grow is at the end of log-norm time.
        while self.clock == "log-norm" and tree.inner(weights, problem.gradient(weights)) >= 0.0:
            weights = drawn(network, rng)
        end = ENDS[self.clock][self.loss != "square"] * float(np.exp(rng.uniform(-0.3, 0.3)))
        return FLOWS[self.flow](problem), weights, end

    def methods(self) -> tuple[str, ...]:
        """Those that apply, alone; the stabilised ones, slow on so few weights, in physical time only."""
        explicit = ("dopri8", "tsit5") if self.tolerance > 1e-8 else ("dopri8",)
        if (self.flow, self.clock) != ("plain", "time"):
            return (*explicit, "bdf")
        return (*explicit, "bdf", "mrkc3", "mrkc5") if self.tolerance > 1e-8 else (*explicit, "bdf", "mrkc5")


def rows() -> Iterator[Row]:
    """All of the grid; in time and log-loss time at two tolerances, elsewhere at one."""
    place = itertools.count()
    for flow, clock, loss, net in itertools.product(
        FLOWS, CLOCKS, ("square", *MARGINS, "cross-entropy"), NETS
    ):
        if np.isnan(ENDS[clock][loss != "square"]):
            continue
        if clock == "log-norm" and flow != "plain":
            continue
        if loss == "cross-entropy" and (flow != "plain" or clock not in ("time", "log-time", "log-loss")):
            continue
        if flow == "polar" and (loss == "square" or clock == "arc length"):
            continue
        held = next(place) % 3 != 0
        for tolerance in (1e-9, 1e-6) if flow == "plain" and clock in ("time", "log-loss") else (1e-9,):
            yield Row(flow, clock, loss, net, tolerance, held)


def cost(row: Row, method: str, solver: Any = None) -> tuple[float, str]:
    """Evaluations, a Jacobian counted as two an unknown, and how it ended."""
    flow, weights, end = row.made()
    chosen = solver or (
        gl.solvers.Auto(row.tolerance) if method == "auto" else gl.Adaptive(method, row.tolerance)
    )
    seen = gl.run(
        flow, weights, [end], clock=CLOCKS[row.clock], solver=chosen, refine=False, observables=(),
        stop=gl.Stop(steps=MOST),
    )  # fmt: skip
    spent = int(seen["evaluations"][-1]) + 2 * flow.observed.size * int(seen["jacobians"][-1])
    return float(spent), str(seen.attrs["result"])


def found(quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Each row with what every method cost, the cheapest that arrived, and ``auto`` over it; quick, six rows."""
    made = []
    for row in list(rows())[:6] if quick else rows():
        say(f"{row.flow}, {row.clock}, {row.loss}, {row.net}")
        alone = {name: cost(row, name) for name in row.methods()}
        arrived = {name: spent for name, (spent, how) in alone.items() if how == ARRIVED}
        spent, how = cost(row, "auto")
        best = min(arrived, key=lambda name: arrived[name], default=None)
        # Where none arrived there is nothing to be judged by; where only auto did not, it lost.
        ratio = np.nan if best is None else spent / arrived[best] if how == ARRIVED else np.inf
        made.append(
            {**asdict(row), **{name: arrived.get(name) for name in ALONE}, "auto": spent, "best": best}
            | {"ratio": float(ratio), "result": how}
        )
    return made


def summary(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For both sets: how many rows, the largest ratio, the geometric mean, and how many are within 1.1 and 1.5."""
    told = []
    for held, name in ((True, "judges"), (False, "used in choosing")):
        asked = [one for one in made if one["held"] is held and one["best"] is not None]
        ratios = np.array([one["ratio"] for one in asked])
        if not ratios.size:
            continue
        told.append(
            {
                "set": name,
                "rows": len(asked),
                "combinations": len({(o["flow"], o["clock"], o["loss"], o["net"]) for o in asked}),
                "largest": float(np.max(ratios)),
                "geometric mean": float(np.exp(np.mean(np.log(ratios)))),
                "within 1.1": int(np.sum(ratios <= 1.1)),
                "within 1.5": int(np.sum(ratios <= 1.5)),
            }
        )
    return told
