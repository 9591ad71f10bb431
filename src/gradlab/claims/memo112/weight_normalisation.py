"""memo112.weight-normalisation: the same dynamics of ρ_k, and V_k slower by ρ_k².

What is judged. Weight normalisation (W_k = g_k v_k/‖v_k‖, gradient flow in g and v, ‖v_k‖ = 1) gives ρ̇_k = V_kᵀẆ_k,
as plain gradient flow does, and V̇_k = ρ_k S_k Ẇ_k, where plain flow has S_k Ẇ_k/ρ_k: the same direction, ρ_k² times
as fast. Both fields are taken by automatic differentiation, of W on one side and of (g, v) on the other. "The same
dynamics of ρ" is the equation: the orbits part, since their V do (shown). "Slightly" is right where ρ_k ≈ 1. In the
transient ρ_k² ≪ 1: V stands still while ρ grows, so that eq. 5 with the sums of the start becomes exact as ρ(0) → 0,
which plain flow never is.

Settings. Loss Σ(g − y)², two classes, ‖x_n‖ = 1. Nine points each of linear (6, 4, 4, 1), ReLU (5, 6, 4, 1) and
convolutional nets, layer norms between 0.05 and 2. Flows of both kinds of the linear net from the same starts, equal
norms, ρ(0) = 1e-3 and 1e-6, to t = 200.

Tolerances. Fields: rounding, a hundred operations of 1e-16 and three decades of cancellation, 1e-10. That the
durations follow eq. 5 with the sums of the start: until ρ the directions turn by ρ^{2/L}/4a, of order one from ρ ≈
1e-3 on, and T from there is (ρ(0)/1e-3)^{1−2/L} of all, a tenth for ρ(0) = 1e-6; ¼ is allowed.
"""

from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.polar import in_chart, relative
from gradlab.claims.looks.transients import UndecayedTransient, crossing
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar, transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.charts import WeightNormalisation
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import at
from gradlab.observe.layers import layer_inner, layer_norms, layer_of
from gradlab.problem.compiling import compiled
from gradlab.problem.networks import Convolutional, Dense
from gradlab.problem.problem import Problem

ROUNDING = 1e-13


def _reparametrised(problem: Problem, vector: Any) -> tuple[Any, Any]:
    """−∂L/∂g and −∂L/∂v of W_k = g_k v_k/‖v_k‖ at ‖v_k‖ = 1, by automatic differentiation."""
    layer = layer_of(problem.network)
    masks = jnp.asarray(np.arange(layer.max() + 1)[:, None] == layer, dtype=jnp.float64)
    g = jnp.sqrt(masks @ vector**2)

    def loss(g: Any, v: Any) -> Any:
        weights = (g / jnp.sqrt(masks @ v**2))[layer] * v
        return jnp.sum((problem.outputs(problem.unravel(weights)) - problem.data.targets) ** 2)

    slopes = jax.grad(loss, (0, 1))(g, vector / g[layer])
    return -slopes[0], -slopes[1]


_all = compiled(eqx.filter_vmap(_reparametrised, in_axes=(None, 0)))


class Normalised(UndecayedTransient):
    """Both fields at every record; of flows, the duration of the transient beside that of eq. 5."""

    @property
    def flows(self) -> bool:
        """Whether the records are those of the plain flow."""
        return super().flows and self.facts["flow"] == "plain"

    @cached_property
    def plain(self) -> dict[str, np.ndarray]:
        """(ρ̇_k, V̇_k) of the plain flow."""
        return in_chart(self.problem, self.few)

    @property
    def few(self) -> np.ndarray:
        """Nine of the records."""
        return self.weights[np.linspace(0, len(self.weights) - 1, 9).astype(int)]

    @cached_property
    def other(self) -> tuple[np.ndarray, np.ndarray]:
        """(ġ_k, v̇_k) of weight normalisation."""
        g, v = _all(self.problem, self.few)
        return np.asarray(g), np.asarray(v)

    @cached_property
    def turns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """‖V̇_k‖ of both, plain first, and ⟨one, other⟩, (records, K)."""
        one, other = self.plain["v_dot"], self.other[1]
        sizes = layer_norms(self.layer, one), layer_norms(self.layer, other)
        return *sizes, layer_inner(self.layer, one, other)

    @cached_property
    def terms(self) -> tuple[np.ndarray, np.ndarray]:
        """Sizes of the terms of ρ̇_k and of v̇_k, (records, K)."""
        seen = self.plain
        rho = np.prod(seen["rho"], axis=1)[:, None]
        residuals = rho * np.abs(seen["f"]) + np.abs(self.labels)
        slopes = layer_norms(self.layer, seen["jacobian"])
        radial = 2.0 * rho / seen["rho"] * np.sum(residuals * np.abs(seen["f"]), axis=1)[:, None]
        return radial, 2.0 * rho * np.einsum("rn,rnk->rk", residuals, slopes)

    @at_most(1e-10, sentence="norm")
    def same_norm(self) -> Number:
        """max_k |ġ_k − ρ̇_k| over the sizes of its terms, worst record.

        Rounding, see the module's docstring.
        """
        return Number(relative(np.abs(self.other[0] - self.plain["rho_dot"]), self.terms[0]), ROUNDING)

    @at_most(1e-10, sentence="directions")
    def factor(self) -> Number:
        """max_k ‖v̇_k − ρ_k² V̇_k‖ over the sizes of its terms: the same direction, ρ_k² as fast.

        Rounding, see the module's docstring.
        """
        seen = self.plain
        gap = self.other[1] - (seen["rho"] ** 2)[:, self.layer] * seen["v_dot"]
        return Number(relative(layer_norms(self.layer, gap), self.terms[1]), ROUNDING)

    @at_least(0.1, sentence="directions")
    def different(self) -> Number:
        """max_k |‖v̇_k‖/‖V̇_k‖ − 1| at the record where it is largest.

        |ρ_k² − 1|, of norms that are not all within 5 % of 1.
        """
        one, other, _ = self.turns
        return Number(
            float(np.max(np.abs(np.where(one > 0.0, other / np.where(one > 0.0, one, 1.0), 1.0) - 1.0))),
            ROUNDING,
        )

    @at_most(
        0.25,
        sentence="norm",
        changed="asked from ρ(0) = 1e-6 only, not 1e-3: the first estimate forgot that Σ y f is small at first",
    )
    def reduced_time(self) -> Number | None:
        """Of flows under weight normalisation from ρ(0) = 1e-6: |T/T_5 − 1|, T_5 by eq. 5 with the sums of the start.

        T to ρ = 0.1; see the module's docstring. Nothing is asked where Σ y f < 0.1 (Σ f²)^{1/2} at the start.
        """
        small = self.rho[0] < 1e-5
        if self.facts["flow"] != "weight normalisation" or not small or self.time_ratio is None:
            return NOT_ASKED
        return Number(abs(self.time_ratio.value - 1.0), self.time_ratio.error)

    @at_least(0.5, sentence="norm", role="control")
    def plain_time(self) -> Number | None:
        """The same of plain flow: 1 − T/T_5; V turns while ρ grows, so that T is shorter by a factor.

        Random V have Σ y f of a tenth of its largest: the factor is several.
        """
        if self.facts["flow"] != "plain" or self.time_ratio is None:
            return NOT_ASKED
        return Number(1.0 - self.time_ratio.value, self.time_ratio.error)

    @property
    def time_ratio(self) -> Number | None:
        pull, power = self.sums
        if self.facts["flow"] == "none" or pull[0] < 0.1 * np.sqrt(power[0]):
            return None
        norm = self.reduced()
        level = min(0.1, 0.5 * norm.equilibrium)
        wanted = norm.hitting_time(float(self.rho[0]), level)
        if wanted > self.time[-1] * 0.8 and self.facts["flow"] != "plain":
            return None
        found = crossing(self.time, self.rho, level)
        return Number(found.value / wanted, found.error / wanted)

    def shown(self):
        one, other, _ = self.turns
        ratio = other / np.where(one > 0.0, one, np.nan)
        numbers = {"ratio": ("point", ratio.ravel()), "rho_k": ("point", self.plain["rho"].ravel())}
        if self.facts["flow"] != "none":
            numbers |= {"t": ("record", self.time), "rho": ("record", self.rho)}
        return numbers


LINEAR = Dense((6, 4, 4, 1), "identity")
NETS = {
    "linear": LINEAR,
    "ReLU": Dense((5, 6, 4, 1)),
    "convolutional": Convolutional((1, 4, 4), (2, 3), outputs=1),
}


def cases(key, *, nets, rounds, draws):
    """Points of three nets; flows of both kinds."""
    rng = generator(key)
    for name in nets:
        network = NETS[name]
        for i in range(rounds):
            problem = transients.classes(rng, network, 10)
            points = [polar.with_norms(rng, network, rng.uniform(0.05, 2.0, 3)) for _ in range(9)]
            yield case(problem, at(problem, points, ()), flow="none", net=name, draw=i + 1)
    drawn = []
    for i in range(draws):
        problem, start = transients.classes(rng, LINEAR, 10), transients.equal(rng, LINEAR, 1.0)
        outputs = np.asarray(problem.outputs(start))[:, 0]
        if outputs @ np.asarray(problem.data.targets)[:, 0] < 0.0:
            start = (*start[:-1], -start[-1])
        for size in (1e-3, 1e-6):
            scaled = tuple(np.cbrt(size) * one for one in start)
            drawn.append((problem, scaled, {"net": "linear", "ρ(0)": size, "draw": i + 1}))
    times = np.concatenate([np.linspace(0.0, 10.0, 101)[1:], np.linspace(10.0, 200.0, 96)[1:]])
    for kind, flow in (("plain", GradientFlow), ("weight normalisation", WeightNormalisation)):
        named = [(problem, start, {"flow": kind, **facts}) for problem, start, facts in drawn]
        yield from ensemble(flow, named, times, solver=Adaptive("dopri8", 1e-9))


STUDY = study(
    "memo112.weight-normalisation",
    Normalised,
    cases,
    quick={"nets": tuple(NETS), "rounds": 3, "draws": 4},
    full={"rounds": 12, "draws": 12},
    few={"nets": ("linear",), "rounds": 1, "draws": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "ratio", "rho_k", r"$\|\dot v_k\|/\|\dot V_k\|$, both fields", r"$\rho_k$", by=("net",), log="xy"
        ),
        Panel("rho", "t", r"$\rho$", "$t$", by=("flow", "ρ(0)"), log="y", lines=True, each=1),
        caption="Left: the speed of the directions under weight normalisation over that under plain flow, at "
        "the same "
        "point: ρ_k². Right: ρ(t) of both from the same start; with V at rest the transient lasts longer.",
    ),
)
