"""memo112.lemma1: dρ_k²/dt does not depend on k, so equal layer norms stay equal; and where degrees differ.

What is judged. The passage speaks of "GD on a deep net with RELUs", and uses ∂g_n/∂W_k = (ρ/ρ_k) ∂f_n/∂V_k: f is of
degree one in every layer. That is the hypothesis here (measured by Euler's identity), without which the lemma is
false: a layer of degree d_k has dρ_k²/dt = −2 d_k Σ_n ℓ'_n g_n (docs/notes/memo112.lemma1.md). The corrected lemma,
that (1/d_k) dρ_k²/dt does not depend on k, is tested on the same nets and on squared ReLU, z² and z³, with degrees
measured. That records are those of a gradient flow is measured too (looks/flows.py).

Settings. Inputs of unit norm and y_n = ±1 as in section 2.2: random, repeated (with contradicting labels), of rank
two; half of the starts with equal norms, half with factors 2, 1, ½ between the layers. Flows to t = 1 of deep linear
(10, 4, 3, 1) nets at 1e-9 and ReLU (5, 6, 4, 1) ones by Heun steps of 5e-4, and for the corrected lemma of squared
ReLU ones. Nine points each, layer norms between ½ and 2, of five leaky ReLU layers under the exponential loss and of
a convolutional net under cross-entropy (the lemma sees no loss); for the corrected lemma also of such nets with z²,
and of three layers of z³.

Tolerances. The rates are AD's gradient times the weights: rounding, some hundred operations of 1e-16, on numbers up
to 1e4 times their sum: 1e-8, or a hundred times the rounding bar where they cancel further (at most 1e-3; a violation
is O(1)). A difference conserved by the flow drifts by the solver's errors: smooth fields, 1e-9 a step, some hundred
steps, one decade for amplification: 1e-6 of Σρ². For ReLU a step h of Heun's method across a kink adds h²|ΔẆ_k|²/4
(elsewhere O(h⁴)), and a trajectory that slides along kinks crosses one in every step: h t|ΔẆ|²/4 ≈ 5e-4 for h = 5e-4,
t = 1, |ΔẆ| ≤ 2, on Σρ² ≥ 1.5: 1e-3.
"""

from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.polar import LayerRecords, additions, relative
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.laboratory import at
from gradlab.observe.layers import layer_inner
from gradlab.problem.activations import leaky_relu, polynomial
from gradlab.problem.compiling import compiled
from gradlab.problem.losses import CrossEntropy, Exponential, Square
from gradlab.problem.networks import Convolutional, Dense
from gradlab.problem.problem import Problem

RECORDS = np.linspace(0.0, 1.0, 9)


def _at_one(problem: Problem, vector: Any) -> dict[str, Any]:
    """f, ∂L/∂f, ⟨W_k, ∂f/∂W_k⟩, ∇L without and with decay λ_k = k/K, and f(|W|, |x|)."""
    network, x, weights = problem.network, problem.data.inputs, problem.unravel(vector)
    depth = len(network.layers(network.shapes()))
    masks = jnp.asarray(polar.masks(network), dtype=jnp.float64)

    # One program for f with its K derivatives and for f(|W|, |x|): compiling is what costs.
    def along(vector: Any, x: Any, tangent: Any) -> Any:
        return jax.jvp(lambda v: network(problem.unravel(v), x), (vector,), (tangent,))

    points = jnp.concatenate([jnp.broadcast_to(vector, masks.shape), jnp.abs(vector)[None]])
    inputs = jnp.concatenate([jnp.broadcast_to(x, (depth, *x.shape)), jnp.abs(x)[None]])
    outputs, derivatives = jax.vmap(along)(points, inputs, points * jnp.concatenate([masks, masks[:1]]))

    def descent(decay: Any) -> Any:
        return problem.ravel(eqx.tree_at(lambda p: p.decay, problem, decay).gradient(weights))

    plain, decayed = jax.vmap(descent)(jnp.stack([jnp.zeros(depth), jnp.arange(1.0, depth + 1) / depth]))
    slope = jax.grad(lambda f: problem.loss.risk(f, problem.data.targets))(outputs[0])
    seen = {"f": outputs[0], "slope": slope, "euler": derivatives[:-1], "size": outputs[-1]}
    return seen | {"gradient": plain, "decayed": decayed}


_at_all = compiled(eqx.filter_vmap(_at_one, in_axes=(None, 0)))


class _Shared(LayerRecords):
    """dρ_k²/dt = −2⟨W_k, ∂L/∂W_k⟩ at every record, (records, K), every ρ_k² over the degree of its layer."""

    @cached_property
    def local(self) -> dict[str, np.ndarray]:
        """The network and its gradients at every record, by automatic differentiation."""
        return {name: np.asarray(value) for name, value in _at_all(self.problem, self.weights).items()}

    @cached_property
    def rates(self) -> np.ndarray:
        """dρ_k²/dt, as they are."""
        return -2.0 * layer_inner(self.layer, self.weights, self.local["gradient"])

    @cached_property
    def fitted(self) -> np.ndarray:
        """⟨e_k, f⟩/⟨f, f⟩ over all records, e_k = ⟨W_k, ∂f/∂W_k⟩; one where f vanishes."""
        f = self.local["f"]
        square, found = float(np.sum(f**2)), np.einsum("rknc,rnc->k", self.local["euler"], f)
        return found / square if square > 0.0 else np.ones(found.size)

    @property
    def degrees(self) -> np.ndarray:
        """The degrees that the claim divides by."""
        return np.ones(self.fitted.size)

    @property
    def sizes(self) -> np.ndarray:
        """2 Σ_n |∂L/∂f_n · f_n|, the sizes of the terms of a rate of degree one; (records, 1)."""
        return 2.0 * np.sum(np.abs(np.sum(self.local["slope"] * self.local["f"], axis=-1)), axis=-1)[:, None]

    @property
    def euler_rounding(self) -> float:
        """Rounding of f and ⟨W_k, ∂f/∂W_k⟩, some eps of f(|W|, |x|), over max |f| of the record; none of f = 0."""
        sizes, f = np.max(self.local["size"], axis=(1, 2)), np.max(np.abs(self.local["f"]), axis=(1, 2))
        return additions(self.problem.network) * EPS * relative(sizes * (f > 0.0), f)

    @property
    def defect(self) -> Number:
        """max |⟨W_k, ∂f/∂W_k⟩ − d_k f| relative to max |f| of the record."""
        f, euler = self.local["f"], self.local["euler"]
        gaps = np.abs(euler - self.degrees[:, None, None] * f[:, None])
        worst = relative(np.max(gaps, axis=(1, 2, 3)), np.max(np.abs(f), axis=(1, 2)))
        return Number(worst, self.euler_rounding)

    @at_most(0.0, role="hypothesis", exact=True)
    def decay(self) -> float:
        """The weight decay.

        memo112 has none (section 2.1); λ_k adds −2λ_kρ_k².
        """
        return float(np.max(np.asarray(self.problem.decay)))

    @at_most(1e-8, sentence="rate")
    def rate(self) -> Number:
        """max_{j,k} |dρ_k²/dt/d_k − dρ_j²/dt/d_j| relative to 2 Σ_n |ℓ'_n g_n|, worst record (d_k = 1 as printed).

        Rounding, see the module's docstring.
        """
        seen, sizes = self.local, self.sizes
        lost = np.sum(np.abs(seen["slope"]) * np.abs(seen["size"]), axis=(-2, -1))[:, None]
        # a net that is dead on all inputs has no rate, and no rounding either
        lost = additions(self.problem.network) * EPS * 2.0 * np.max(self.fitted) * lost * (sizes > 0.0)
        rounding = relative(lost, sizes)
        gap = relative(np.ptp(self.rates / self.degrees, axis=1)[:, None], sizes)
        return Number(gap, 2.0 * rounding, float(np.clip(100.0 * rounding, 1e-8, 1e-3)))

    def moved(self) -> Number | None:
        """max_t of the change of ρ_{k+1}²/d_{k+1} − ρ_k²/d_k, over max_t Σρ²; of one layer nothing is asked."""
        if not self.flows or self.degrees.size < 2:
            return NOT_ASKED
        differences = np.diff(self.lengths**2 / self.degrees, axis=1)
        moved = np.max(np.abs(differences - differences[0])) / np.max(np.sum(self.lengths**2, axis=1))
        return Number(float(moved), 2.0 * EPS, 1e-6 if self.problem.network.smooth else 1e-3)

    @at_least(0.05, sentence="rate", role="control")
    def decayed(self) -> Number | None:
        """The same difference with weight decay λ_k = k/K in addition, relative to its largest term.

        The terms 2λ_kρ_k²/d_k are equal only if ρ_k² is proportional to d_k/λ_k; of one layer nothing is asked.
        """
        count = self.degrees.size
        if count < 2:
            return NOT_ASKED
        terms = 2.0 * self.lengths**2 * (np.arange(count) + 1) / count / self.degrees
        rates = -2.0 * layer_inner(self.layer, self.weights, self.local["decayed"])
        worst = np.max(np.ptp(rates / self.degrees, axis=1) / np.max(terms, axis=1))
        return Number(float(worst), additions(self.problem.network) * EPS)

    def shown(self):
        start = np.abs(self.rates[0])
        numbers = {"start": ("layer", start), "divided": ("layer", start / self.degrees)}
        numbers["last"] = ("layer", np.full(start.size, start[-1]))
        if self.flows:
            change = self.lengths**2 - self.lengths[0] ** 2
            numbers |= {"first_change": ("record", change[:, 0]), "last_change": ("record", change[:, -1])}
        return numbers


class Lemma1Printed(_Shared):
    @at_most(1e-8, role="hypothesis")
    def degree_one(self) -> Number:
        """max |⟨W_k, ∂f/∂W_k⟩ − f| relative to max |f|.

        Euler's identity holds to rounding or fails by O(1).
        """
        return self.defect

    @at_most(1e-6, sentence="equal")
    def drift(self) -> Number | None:
        """max_t |(ρ_{k+1}² − ρ_k²)(t) − (…)(0)|/max_t Σρ².

        The solver's error, see the module's docstring; 1e-3 for a field with kinks.
        """
        return self.moved()


class Lemma1Corrected(_Shared):
    @property
    def degrees(self) -> np.ndarray:
        return self.fitted

    @property
    def differ(self) -> bool:
        """Whether the layers' degrees differ."""
        return bool(np.ptp(self.fitted) > 0.5)

    @at_least(1e-3, role="hypothesis")
    def positive(self) -> Number:
        """The least degree d_k fitted to all records.

        The lemma divides by it; a degree is a whole number.
        """
        return Number(float(np.min(self.fitted)), self.euler_rounding)

    @at_most(1e-8, role="hypothesis")
    def homogeneous(self) -> Number:
        """max |⟨W_k, ∂f/∂W_k⟩ − d_k f| relative to max |f|, d_k fitted to all records.

        Euler's identity holds to rounding or fails by O(1).
        """
        return self.defect

    @at_most(1e-8, sentence="rate")
    def known(self) -> Number | None:
        """max_k |d_k fitted − d_k of the architecture|.

        Rounding, as for Euler's identity; of a net whose degrees are not known nothing is asked.
        """
        known = self.problem.network.degrees
        if not known or None in known:
            return NOT_ASKED
        return Number(float(np.max(np.abs(self.fitted - np.asarray(known)))), self.euler_rounding)

    @at_most(1e-6, sentence="conserved")
    def drift(self) -> Number | None:
        """max_t |(ρ_{k+1}²/d_{k+1} − ρ_k²/d_k)(t) − (…)(0)|/max_t Σρ².

        The solver's error, see the module's docstring; 1e-3 for a field with kinks.
        """
        return self.moved()

    @at_least(0.25, sentence="equal")
    def as_printed(self) -> Number | None:
        """Where degrees differ: (max_k − min_k)/max_k of |dρ_k²/dt| itself, at the record where its terms "
        "cancel least.

        It is 1 − d_min/d_max ≥ ½, of which half is asked.
        """
        if not self.differ:
            return NOT_ASKED
        sizes, terms = np.abs(self.rates), self.sizes[:, 0]
        most = int(np.argmax(np.max(sizes, axis=1) / np.where(terms > 0.0, terms, np.inf)))
        return Number(relative(np.ptp(sizes[most]), np.max(sizes[most])), self.rate.error)

    @at_least(0.25, sentence="equal")
    def parts_ways(self) -> Number | None:
        """Where degrees differ, along a flow: (max_k − min_k)/max_k of |ρ_k²(t) − ρ_k²(0)|, at the largest change.

        As for the rates, whose integrals these are; equal norms do not stay equal.
        """
        if not self.differ or not self.flows:
            return NOT_ASKED
        moved = np.abs(self.lengths**2 - self.lengths[0] ** 2)
        most = int(np.argmax(np.max(moved, axis=1)))
        largest = float(np.max(moved[most]))
        rounding = relative(4.0 * EPS * np.max(self.lengths[most] ** 2), largest)
        return Number(relative(np.ptp(moved[most]), largest), rounding)


IMAGE, Z2 = (1, 4, 4), polynomial((0, 0, 1))
#: Points without dynamics: network, loss.
ONE = {
    "leaky ReLU, exponential loss": (Dense((5, 6, 4, 7, 3, 1), leaky_relu(0.2)), Exponential()),
    "convolutional ReLU, cross-entropy": (Convolutional(IMAGE, (2, 3), outputs=3), CrossEntropy()),
}
HIGHER = {
    "convolutional z², cross-entropy": (
        Convolutional(IMAGE, (2, 3), outputs=3, activation=Z2),
        CrossEntropy(),
    ),
    "z², exponential loss": (Dense((10, 4, 3, 1), Z2), Exponential()),
    "z³, 3 layers": (Dense((4, 3, 2, 1), polynomial((0, 0, 0, 0.5))), Square("mean")),
}


def _family(rng, flows, still, draws, rounds):
    """Flows of so many nets of each group, and points of the nets without dynamics."""
    for name in flows:
        drawn, solver = polar.starts(rng, name, draws), polar.GROUPS[name].solver
        yield from ensemble(GradientFlow, drawn, RECORDS, solver=solver, name=f"{name} nets")
    for name, (network, loss) in still.items():
        depth = len(network.layers(network.shapes()))
        for i, kind in enumerate(polar.INPUTS * rounds):
            problem = polar.classified(rng, network, 6, kind, loss)
            points = [polar.with_norms(rng, network, rng.uniform(0.5, 2.0, depth)) for _ in RECORDS]
            yield case(problem, at(problem, points, ()), net=name, inputs=kind, draw=i // 3 + 1)


def cases(key, *, draws, rounds, **_):
    """Nets of degree one in every layer: two compiled solves."""
    yield from _family(generator(key), ("linear", "ReLU"), ONE, draws, rounds)


def every(key, *, draws, rounds, flows, still):
    """The same nets, and nets of higher degrees: one compiled solve more (two at full budget)."""
    yield from cases(key, draws=draws, rounds=rounds)
    yield from _family(generator(jax.random.fold_in(key, 1)), flows, still, draws, rounds)


BUDGETS = {
    "quick": {"draws": 12, "rounds": 1, "flows": ("squared ReLU",), "still": HIGHER},
    "full": {"draws": 48, "rounds": 4, "flows": ("squared ReLU", "z²")},
    "few": {"draws": 2, "still": {"z³, 3 layers": HIGHER["z³, 3 layers"]}},
}


def _figure(rates: str, caption: str) -> Figure:
    """How far first and last layer have moved, and the rates of all against that of the last."""
    axis = ("change of the last layer's", "change of the first layer's $\\rho_k^2$")
    against = (r"$|d\rho_L^2/dt|$ of the last layer", r"$|d\rho_k^2/dt|$" + r"$/d_k$" * (rates == "divided"))
    return Figure(
        Panel("first_change", "last_change", axis[1], axis[0], by=("net",), diagonal=True),
        Panel(rates, "last", against[1], against[0], log="xy", diagonal=True),
        caption=caption,
    )


STUDIES = (
    study(
        "memo112.lemma1",
        Lemma1Printed,
        cases,
        **BUDGETS,
        settings=section(__doc__, "Settings"),
        figure=_figure(
            "start",
            "Nets of degree one in each layer. Left: how far the squared norms of the first and the last layer have "
            "moved, every record. Right: rates at the start, one point a layer and problem, against the last "
            "layer's.",
        ),
    ),
    study(
        "memo112.lemma1-corrected",
        Lemma1Corrected,
        every,
        **BUDGETS,
        settings=section(__doc__, "Settings"),
        figure=_figure(
            "divided",
            "Homogeneous nets. Left: how far the squared norms of the first and the last layer have moved; the "
            "line is "
            "where degrees are equal. Right: rates at the start over degrees, one point a layer and problem.",
        ),
    ),
)
