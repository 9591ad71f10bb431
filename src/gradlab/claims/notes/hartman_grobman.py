"""notes.hartman-grobman: near a hyperbolic equilibrium the flow is topologically conjugate to its linearisation.

The theorem is classical (Hartman 1960); what is measured is a conjugacy built for each problem
(:mod:`gradlab.analysis.conjugacy`): that it commutes with the flows, and that it is one-to-one with an
inverse.

Settings, before any run. Minima of nets with weight decay (tanh, deep linear, one layer; square, logistic and
exponential loss), found by quasi-Newton descent from random weights, and the origin of two-layer nets, a
saddle where the decay is below the correlation of inputs and targets and a sink above it. Samples: 6 random
directions at radii from a tenth to 0.9 of the ball (half of it at saddles); times 1/λ_max and 3/λ_max, long
enough for the fastest mode to lose 95 %, short enough that rounding of it, blown up by e³ on the way back,
stays below 1e-10.

Tolerances. On its ball h is exact, so only integration is left: relative tolerance 1e-12 a step, some hundred
steps, errors of the fast modes blown up by e^{λ_max τ}, typically ≤ 1e3, on the way to the sphere: 1e-7 at
worst, and the coarse repetition (1e-10) must show it. 1e-6 is asked. The blow-up is more for a direction
close to a slow eigenspace, and far from an equilibrium under an exponential loss, where local rates exceed
λ_max: the ball is halved until fine and coarse h agree to 1e-8 on the samples, a criterion of numerical error
alone. The identity map in place of h misses by the share of the nonlinear terms, which is drawn beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.conjugacy import COARSE, FINE, Conjugacy, conjugacy, hyperbolicity
from gradlab.analysis.equilibria.minimising import descend
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.claims.teachers import resting
from gradlab.problem.activations import smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Loss, Square
from gradlab.problem.networks import Dense, Network
from gradlab.problem.problem import Problem

TOLERANCE = 1e-6
SAMPLES = 6
#: The numerical error of h that is allowed, a hundredth of the tolerance, and halvings of the ball at most.
RESOLVED, HALVINGS = 1e-8, 8
TIMES = (1.0, 3.0)

CLAIM = Claim(
    id="notes.hartman-grobman",
    source="notes",
    statement="Near a hyperbolic equilibrium W* of dW/dt = −∇L(W), where the Hessian has no zero eigenvalue, there is "
    "a homeomorphism h of a neighbourhood, h(W*) = 0, that carries the flow to that of dU/dt = −HU.",
    formula=r"h(\varphi_t(W))=e^{-Ht}\,h(W),\qquad h(W^*)=0",
    passage="“Hartman Grobman Theorem”; the same in memo90, section 10",
    hypotheses=("W* is an equilibrium without zero eigenvalues", "∇L is C¹ near W*"),
    convention="Flow of the potential with its weight decay. The neighbourhood is the largest ball that passed "
    "sampled checks of transversality (sinks) or contraction (saddles), halved until h is numerically known on it.",
)
MEASURES = (
    Measure(
        "smooth",
        "one where the network is C¹ in its weights",
        ">=",
        0.5,
        "it says so itself",
        role="hypothesis",
    ),
    Measure(
        "hyperbolic",
        "min|λ| over the size below which λ is zero to rounding; NaN where the weights are no equilibrium",
        ">=",
        1.0,
        "that size is 1e3 P eps ‖H‖, three decades above the rounding of an eigenvalue",
        role="hypothesis",
    ),
    Measure(
        "defect",
        "‖h(φ_t(W)) − e^{−Ht}h(W)‖/‖e^{−Ht}h(W)‖, the largest of all samples and times",
        "<=",
        TOLERANCE,
        "integration only, see the module's docstring",
    ),
    Measure(
        "inverse",
        "‖h⁻¹(h(W)) − W‖/‖W − W*‖ at sinks, h⁻¹ built by itself from the linear flow; 0 at saddles, where it is not",
        "<=",
        TOLERANCE,
        "integration only, to the sphere and back",
    ),
    Measure(
        "separation",
        "the smallest ‖h(V) − h(W)‖/‖V − W‖ over pairs of samples: h is one-to-one on them",
        ">=",
        1e-5,
        "zero if two points had one image; h is only Hölder, and no bound is known beforehand: a decade above the "
        "tolerance of the map",
    ),
)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The conjugacy at the last weights, and how well it commutes with the flows; NaN where there is none."""
    smooth = {"smooth": float(problem.network.smooth)}
    nothing = xr.Dataset({**{measure.id: np.nan for measure in MEASURES}, **smooth})
    try:
        built = conjugacy(problem, problem.unravel(jnp.asarray(trajectory["final_weights"].values)))
    except ValueError:
        return nothing
    least, zero = hyperbolicity(built.values)
    if built.radius == 0.0:
        return nothing.assign(hyperbolic=least / zero)
    fastest = float(np.max(np.abs(built.values)))
    # at a saddle orbits leave the ball: shorter times
    times = np.asarray(TIMES) / fastest * (1.0 if built.kind != "saddle" else 0.25)
    built = _resolved(built, float(times[-1]))
    x = built.samples(SAMPLES, 0.9 if built.kind != "saddle" else 0.5)
    defect = built.defect(x, times)
    fine, coarse = built.image(x, FINE), built.image(x, COARSE)
    blurred = float(np.max(np.linalg.norm(fine - coarse, axis=1)))
    pairs = np.triu_indices(len(x), 1)
    distance = np.linalg.norm((x[:, None] - x)[pairs], axis=1)
    apart = np.linalg.norm((fine[:, None] - fine)[pairs], axis=1) / distance
    back, back_error = _round_trip(built, x, fine, coarse) if built.kind != "saddle" else (0.0, 0.0)
    numbers = {
        **smooth,
        "hyperbolic": least / zero,
        "defect": defect.value,
        "defect_error": defect.error,
        "inverse": back,
        "inverse_error": back_error,
        "separation": float(np.min(apart)),
        "separation_error": float(2.0 * blurred / np.min(distance)),
        "identity": _identity(built, x, times),
        "radius": built.radius,
        "condition": fastest / least,
        "saddle": float(built.kind == "saddle"),
        "distortion": float(np.max(np.linalg.norm(fine - x, axis=1) / np.linalg.norm(x, axis=1))),
    }
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()})


def _resolved(built: Conjugacy, time: float) -> Conjugacy:
    """On a ball halved until h is known to ``RESOLVED``, relative, on the samples and where they flow to."""
    for _ in range(HALVINGS if built.kind != "saddle" else 0):
        x = built.samples(SAMPLES)
        points = np.concatenate([x, built.flow(x, time)])
        fine, coarse = built.image(points, FINE), built.image(points, COARSE)
        blur = np.linalg.norm(fine - coarse, axis=1) / np.linalg.norm(fine, axis=1)
        if np.max(blur) <= RESOLVED:
            break
        # a smaller ball passes where a larger one did
        built = replace(built, radius=0.5 * built.radius)
    return built


def _round_trip(built: Conjugacy, x: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> tuple[float, float]:
    size = np.linalg.norm(x, axis=1)
    found = built.preimage(fine, FINE), built.preimage(coarse, COARSE)
    number, bar = (np.linalg.norm(gap, axis=1) / size for gap in (found[0] - x, found[0] - found[1]))
    return float(np.max(number)), float(np.max(bar))


def _identity(built: Conjugacy, x: np.ndarray, times: np.ndarray) -> float:
    """The defect of h = id: how far the flow is from its linearisation."""
    tiled = np.tile(x, (len(times), 1))
    when = np.repeat(times, len(x))
    linear = tiled * np.exp(-built.values * when[:, None])
    gap = built.flow(tiled, when, COARSE) - linear
    return float(np.max(np.linalg.norm(gap, axis=1) / np.linalg.norm(linear, axis=1)))


#: name, network, loss, decay, examples, at the origin.
PLANS: tuple[tuple[str, Network, Loss, float, bool], ...] = (
    ("tanh", Dense((2, 2, 1), "tanh"), Logistic("mean"), 0.02, False),
    ("tanh, origin", Dense((2, 2, 1), "tanh"), Logistic("mean"), 0.05, True),
    ("deep linear", Dense.deep_linear((2, 1, 1)), Square("mean", half=True), 0.1, False),
    ("deep linear, origin", Dense.deep_linear((2, 1, 1)), Square("mean", half=True), 0.1, True),
    ("deep linear, origin, more decay", Dense.deep_linear((2, 1, 1)), Square("mean", half=True), 3.0, True),
    ("one layer", Dense((3, 1)), Exponential("mean"), 0.05, False),
)
#: More of them in the full budget.
MORE: tuple[tuple[str, Network, Loss, float, bool], ...] = (
    ("smooth ReLU", Dense((2, 2, 1), smooth_relu(0.5)), Square("mean", half=True), 0.05, False),
    ("sigmoid, biases", Dense((2, 2, 1), "sigmoid", bias=True), Square("mean", half=True), 0.02, False),
    ("tanh, 3 layers", Dense((2, 2, 2, 1), "tanh"), Exponential("mean"), 0.02, False),
    ("GELU, origin", Dense((3, 2, 1), "gelu"), Logistic("mean"), 0.05, True),
    ("deep linear, 3 layers", Dense.deep_linear((2, 1, 1, 1)), Logistic("mean"), 0.02, False),
)
EXAMPLES = 8


def draw_problem(random: np.random.Generator, network: Network, loss: Loss, decay: float) -> Problem:
    """Normal inputs, and labels (or targets) that follow a plane with a tenth of noise."""
    size = network.input_shape[0]
    inputs = random.standard_normal((EXAMPLES, size))
    targets = inputs @ np.linspace(1.0, 0.5, size) + 0.3 * random.standard_normal(EXAMPLES)
    signs = np.where(targets > 0.0, 1.0, -1.0)
    return Problem(network, loss, Data(inputs, signs if loss.labels == "sign" else targets[:, None]), decay)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    random = generator(key)
    plans, draws = (PLANS, 5) if budget == "quick" else ((*PLANS, *MORE), 5)
    for number in range(1, draws + 1):
        for name, network, loss, decay, origin in plans:
            if budget == "quick" and origin and number % 2 == 0:
                continue
            problem = draw_problem(random, network, loss, decay)
            start = random.standard_normal(problem.size)
            end = np.zeros(problem.size) if origin else descend(problem, start)
            yield Case(f"{name}, {type(loss).__name__}, λ = {decay:g}, {number}", problem, resting(end))


def draw(dataset: xr.Dataset) -> Any:
    """Defects of h and of the identity, and how far h moves points."""
    figure, (left, right) = figures.panels(2, height=3.2)
    saddle = dataset["saddle"].values == 1.0
    groups = {"sinks": ~saddle, "saddles": saddle}
    for axes, across, over, xlabel, ylabel in (
        (left, "identity", "defect", "defect of the identity", "defect of $h$"),
        (right, "condition", "distortion", r"$|\lambda|_{max}/|\lambda|_{min}$", "largest $|h(x)-x|/|x|$"),
    ):
        figures.scatter(
            {name: dataset[across].values[rows] for name, rows in groups.items() if rows.any()},
            {name: dataset[over].values[rows] for name, rows in groups.items() if rows.any()},
            xlabel,
            ylabel,
            log="xy",
            reference={"tolerance": TOLERANCE} if over == "defect" else {},
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "Left: how far the flow is from its linearisation on the samples (identity in place of h), and what is left of "
        "it with the conjugacy. Right: how far h moves points of its ball, against the condition of the Hessian.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="24 equilibria: minima of tanh, deep linear and one-layer nets with decay under square, "
    "logistic and exponential loss, and origins of two-layer nets (saddles, and sinks under more decay)",
)
