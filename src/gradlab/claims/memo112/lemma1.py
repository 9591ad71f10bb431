"""memo112.lemma1: dρ_k²/dt does not depend on k, so equal layer norms stay equal; and where degrees differ.

What is judged. The passage speaks of "GD on a deep net with RELUs", and uses ∂g_n/∂W_k = (ρ/ρ_k) ∂f_n/∂V_k: f is of
degree one in every layer. That is the hypothesis here (measured by Euler's identity), without which the lemma is
false: a layer of degree d_k has dρ_k²/dt = −2 d_k Σ_n ℓ'_n g_n (docs/notes/memo112.lemma1.md). The corrected lemma,
that (1/d_k) dρ_k²/dt does not depend on k, is tested on the same nets and on squared ReLU, z² and z³, with degrees
measured; that the printed one fails there is one of its parts.

Settings. Inputs of unit norm and y_n = ±1 as in section 2.2: random, repeated (with contradicting labels), of rank
two; half of the starts with equal norms, half with factors 2, 1, ½ between the layers. Flows to t = 1 of deep linear
(10, 4, 3, 1) and ReLU (5, 6, 4, 1) nets, and for the corrected lemma of squared ReLU ones. Single points, layer
norms between ½ and 2, of five leaky ReLU layers under the exponential loss and of a convolutional net under
cross-entropy (the lemma sees no loss); for the corrected lemma also of such nets with z², and of three layers of z³.

Tolerances. The rates are AD's gradient times the weights: rounding, some hundred operations of 1e-16, on numbers up to
1e4 times their sum: 1e-8, or a hundred times the rounding bar where they cancel further (at most 1e-3; a violation is
O(1)). A difference conserved by the flow drifts by the solver's errors: smooth fields, 1e-9 a step, some hundred
steps, one decade for amplification: 1e-6 of Σρ². For ReLU a step h of Heun's method across a kink adds h²|ΔẆ_k|²/4
(elsewhere O(h⁴)), and a trajectory that slides along kinks crosses one in every step: h t|ΔẆ|²/4 ≈ 5e-4 for h = 5e-4,
t = 1, |ΔẆ| ≤ 2, on Σρ² ≥ 1.5: 1e-3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.claims import deep_linear, polar
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.memo112._rates import Rates, drawn
from gradlab.laboratory import at
from gradlab.problem.activations import leaky_relu, polynomial
from gradlab.problem.losses import CrossEntropy, Exponential, Loss, Square
from gradlab.problem.networks import Convolutional, Dense, Network
from gradlab.problem.problem import Problem

RECORDS = np.linspace(0.0, 1.0, 9)
SMOOTH, KINKED = 1e-6, 1e-3

CLAIM = Claim(
    id="memo112.lemma1",
    source="memo112",
    statement="Along gradient flow dρ_k²/dt, ρ_k = ‖W_k‖, is the same for every layer k, so that layers of equal norm "
    "keep equal norms.",
    formula=r"\frac{\partial\rho_k^2}{\partial t}\ \text{is independent of}\ k",
    passage="section 2.3, Lemma 1",
    hypotheses=(
        "a net “with RELUs”: f is of degree one in each layer (no biases, no residual blocks)",
        "no weight decay",
        "gradient flow, in continuous time",
    ),
    convention="Any loss, any constant in front of it: the rate is −2 Σ_n ℓ'_n g_n.",
)

CORRECTED = Claim(
    id="memo112.lemma1-corrected",
    source="memo112",
    statement="Where f is homogeneous of degree d_k > 0 in layer k, (1/d_k) dρ_k²/dt is the same for every layer, and "
    "ρ_k²/d_k − ρ_j²/d_j is conserved; equal norms stay equal only where the degrees are equal.",
    formula=r"\frac{1}{d_k}\frac{\partial\rho_k^2}{\partial t}=-2\sum_n\ell'_n\,g_n\quad\forall k,"
    r"\qquad g(\dots,aW_k,\dots)=a^{d_k}g",
    passage="section 2.3, Lemma 1, for nets that are homogeneous but not of degree one (σ of degree p: d_k = p^{L−k})",
    hypotheses=("f is homogeneous in each layer", "no weight decay", "gradient flow, in continuous time"),
    convention="Any loss, any constant in front of it.",
    corrects="memo112.lemma1",
)

NO_DECAY = Measure(
    "decay",
    "the weight decay",
    "<=",
    0.0,
    "memo112 has none (section 2.1); λ_k adds −2λ_kρ_k²",
    role="hypothesis",
)
EULER = "Euler's identity holds to rounding or fails by O(1)"
RATE_WHY = "rounding, see the module's docstring"
DRIFT_WHY = "the solver's error, see the module's docstring; 1e-3 for a field with kinks"
CONTROL = Measure(
    "decayed",
    "control: the same difference with weight decay λ_k = k/K in addition, relative to its largest term",
    ">=",
    0.05,
    "the terms 2λ_kρ_k²/d_k are equal only if ρ_k² is proportional to d_k/λ_k; nothing is asked of one layer",
)
MEASURES = (
    NO_DECAY,
    Measure(
        "degree_one", "max |⟨W_k, ∂f/∂W_k⟩ − f| relative to max |f|", "<=", 1e-8, EULER, role="hypothesis"
    ),
    Measure(
        "rate",
        "max_{j,k} |dρ_k²/dt − dρ_j²/dt| relative to 2 Σ_n |ℓ'_n g_n|, worst record",
        "<=",
        1e-8,
        RATE_WHY,
    ),
    Measure("drift", "max_t |(ρ_{k+1}² − ρ_k²)(t) − (…)(0)|/max_t Σρ²", "<=", SMOOTH, DRIFT_WHY),
    CONTROL,
)
MEASURES_CORRECTED = (
    NO_DECAY,
    Measure(
        "homogeneous",
        "max |⟨W_k, ∂f/∂W_k⟩ − d_k f| relative to max |f|, d_k > 0 fitted to all records",
        "<=",
        1e-8,
        EULER,
        role="hypothesis",
    ),
    Measure(
        "degrees",
        "max_k |d_k fitted − d_k of the architecture|",
        "<=",
        1e-8,
        "rounding, as for Euler's identity",
    ),
    Measure(
        "rate",
        "max_{j,k} |dρ_k²/dt/d_k − dρ_j²/dt/d_j| relative to 2 Σ_n |ℓ'_n g_n|, worst record",
        "<=",
        1e-8,
        RATE_WHY,
    ),
    Measure("drift", "max_t |(ρ_{k+1}²/d_{k+1} − ρ_k²/d_k)(t) − (…)(0)|/max_t Σρ²", "<=", SMOOTH, DRIFT_WHY),
    CONTROL,
    Measure(
        "as_printed",
        "where degrees differ: (max_k − min_k)/max_k of |dρ_k²/dt| itself, at the record with the largest rate",
        ">=",
        0.25,
        "it is 1 − d_min/d_max ≥ ½, of which half is asked; nothing where the degrees are one",
    ),
    Measure(
        "parts_ways",
        "where degrees differ, along a flow: (max_k − min_k)/max_k of |ρ_k²(t) − ρ_k²(0)|, at the largest change",
        ">=",
        0.25,
        "as for the rates, whose integrals these are; equal norms do not stay equal",
    ),
)


# Measuring ------------------------------------------------------------------------------------------------


def _seen(rates: Rates, degrees: np.ndarray) -> dict[str, Any]:
    """What both lemmas measure, and what is drawn: rates at the start, and ρ_k² along the way."""
    tolerance = SMOOTH if rates.problem.network.smooth else KINKED
    flows = rates.flows()
    return {
        **rates.numbers(degrees),
        "drift_tolerance": tolerance,
        "fitted": ("layer", degrees),
        "start": ("layer", rates.rates[0]),
        "squares": (("moment", "layer"), rates.rho**2 if flows else np.full_like(rates.rho, np.nan)),
        "time": ("moment", rates.trajectory["t"].values if flows else np.full(len(rates.rho), np.nan)),
    }


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Lemma 1 as printed, of a net of degree one in every layer."""
    rates = Rates(problem, trajectory)
    one = np.ones(rates.degrees.size)
    return xr.Dataset({**_seen(rates, one), "degree_one": rates.defect(one)})


def observe_corrected(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The lemma with every ρ_k² divided by the degree of its layer, and how the printed one fails."""
    rates = Rates(problem, trajectory)
    if not np.all(rates.degrees > 1e-3):
        return deep_linear.nothing(MEASURES_CORRECTED).assign(homogeneous=1.0)
    numbers = {"homogeneous": rates.defect(rates.degrees), "degrees": 0.0}
    known = problem.network.degrees or ()
    if known and None not in known:
        numbers["degrees"] = float(np.max(np.abs(rates.degrees - np.asarray(known, dtype=np.float64))))
    differ = np.ptp(rates.degrees) > 0.5
    moved, bar = rates.moved_unlike() if differ and rates.flows() else (None, 0.0)
    numbers |= polar.asked("as_printed", rates.unlike() if differ else None, 0.25)
    numbers |= polar.asked("parts_ways", moved, 0.25, bar)
    return xr.Dataset({**_seen(rates, rates.degrees), **numbers})


# Running --------------------------------------------------------------------------------------------------


def _flows(rng: np.random.Generator, name: str, count: int) -> Iterator[Case]:
    (group,) = polar.groups((name,))
    labels, problems, starts = polar.draws(rng, group, count)
    seen = polar.gradient_flow(problems, starts, group, RECORDS)
    for i, (label, problem) in enumerate(zip(labels, problems, strict=True)):
        yield Case(label, problem, seen.isel(member=i))


def _points(rng: np.random.Generator, name: str, network: Network, loss: Loss, rounds: int) -> Iterator[Case]:
    depth = len(network.layers(network.shapes()))
    for kind in polar.KINDS * rounds:
        problem = polar.classified(rng, network, 6, kind, loss)
        points = [polar.weights_of(rng, network, rng.uniform(0.5, 2.0, depth)) for _ in RECORDS]
        yield Case(f"{name}, inputs {kind}", problem, at(problem, points, ()))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Nets of degree one in every layer: two compiled solves."""
    rng, rounds = deep_linear.generator(key), 1 if budget == "quick" else 4
    for name in ("linear", "ReLU"):
        yield from _flows(rng, name, 12 * rounds)
    image = (1, 4, 4)
    for name, network, loss in (
        ("leaky ReLU, exponential loss", Dense((5, 6, 4, 7, 3, 1), leaky_relu(0.2)), Exponential()),
        ("convolutional ReLU, cross-entropy", Convolutional(image, (2, 3), outputs=3), CrossEntropy()),
    ):
        yield from _points(rng, name, network, loss, rounds)


def every(budget: Budget, key: Any) -> Iterator[Case]:
    """The same nets, and nets of higher degrees: one compiled solve more (three at full budget)."""
    yield from cases(budget, key)
    rng, rounds = deep_linear.generator(jax.random.fold_in(key, 1)), 1 if budget == "quick" else 4
    for name in ("squared ReLU",) if budget == "quick" else ("squared ReLU", "z²"):
        yield from _flows(rng, name, 12 * rounds)
    square = polynomial((0, 0, 1))
    image = (1, 4, 4)
    for name, network, loss in (
        (
            "convolutional z², cross-entropy",
            Convolutional(image, (2, 3), outputs=3, activation=square),
            CrossEntropy(),
        ),
        ("z², exponential loss", Dense((10, 4, 3, 1), square), Exponential()),
        ("z³, 3 layers", Dense((4, 3, 2, 1), polynomial((0, 0, 0, 0.5))), Square("mean")),
    ):
        yield from _points(rng, name, network, loss, rounds)


def draw(dataset: xr.Dataset) -> Any:
    """Degree one: the layers move together."""
    return figures.with_caption(
        drawn(dataset, "ReLU", False),
        "Nets of degree one in each layer. Left: the squared norms of three layers along one flow. Right: their rates "
        "at the start, one point a layer and problem, against that of the last layer.",
    )


def draw_corrected(dataset: xr.Dataset) -> Any:
    """Any degree: they move in proportion to their degrees."""
    return figures.with_caption(
        drawn(dataset, "squared ReLU", True),
        "Homogeneous nets. Left: squared norms of the layers, of degrees 4, 2 and 1, along one flow. Right: rates at "
        "the start, one point a layer and problem: as they are on lines of slope d_k, divided by d_k on the diagonal.",
    )


STUDIES = (
    Study(
        CLAIM,
        MEASURES,
        cases,
        observe,
        draw,
        settings="widths (10, 4, 3, 1) linear at 1e-9 and (5, 6, 4, 1) ReLU by Heun steps of 5e-4, to t = 1; nine "
        "points each of leaky ReLU and convolutional nets under other losses",
    ),
    Study(
        CORRECTED,
        MEASURES_CORRECTED,
        every,
        observe_corrected,
        draw_corrected,
        settings="as for the printed lemma, with squared ReLU flows (5, 6, 4, 1) at 1e-9, and points of z² and z³ nets",
    ),
)
