"""memo112.normalised-flow: the square loss in the variables (ρ_k, V_k), eqs. 2, 3, 4, 5 and 7.

Two tests. The printed right-hand sides, formed from f_n = f(V; x_n) and ∂f_n/∂V_k alone, against d/dt of W_k, ‖W_k‖,
W_k/‖W_k‖ and Π‖W_k‖ by automatic differentiation along −∇L: eqs. 2 and 4 at every recorded W = ρV, eqs. 3, 5, 7,
which are printed for ρ = ρ_k^L, at the same V with all norms set to their geometric mean; where the norms differ
these three must fail (the control). And the printed system itself, integrated in (ρ, V) beside the plain flow of W:
from equal norms literally eqs. 3 and 7, else ρ̇_k = V_kᵀẆ_k and eq. 4. It must trace the same W(t).

Settings. Inputs of unit norm and y_n = ±1, as in section 2.2: random, repeated (with contradicting labels), of rank
two. Twelve deep linear nets (10, 4, 3, 1) on 6 points, twelve ReLU nets (5, 6, 4, 1) on 14, layer norms 0.7, 1 or
1.4, half of the starts with factors 2, 1, ½ between the layers; to t = 1. Beside them single points: five leaky ReLU
layers, a convolutional net, one layer, under the sum, the mean and half the sum of squares.

Tolerances. Pointwise both sides are the same sum in another order: rounding, a hundred operations of 1e-16 each on
numbers up to 1e3 times their sum (random deep nets have |f_n| ≪ ‖∂f_n/∂V_k‖); 1e-9 allows two decades beyond. Both
systems take the same steps, and the error bar of their distance is its change when the steps are made coarser. Where
the field is smooth: 1e-9 a step, a few hundred steps, one decade for amplification: 1e-6 of ‖W‖. ReLU: a step h of
Heun's method across a kink is off by h|ΔẆ| ≈ 1e-3 (h = 5e-4, |ΔẆ| ≤ 2), and the systems may cross in different steps;
ten such crossings more than come back: 1e-2. A wrong factor or sign in any of the equations shows as O(1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.claims import deep_linear, polar
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.memo112._printed import Both, Distance, Printed, Unit, points_of
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import at, run
from gradlab.observe.layers import layer_norms, layer_of, spread
from gradlab.problem.activations import leaky_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense
from gradlab.problem.problem import Problem, stack

RECORDS = np.linspace(0.0, 1.0, 9)
SMOOTH, KINKED = 1e-6, 1e-2
#: max ρ_k/min ρ_k − 1: below the first a start counts as equal, above the second eqs. 3, 5 and 7 must fail.
EQUAL, UNEQUAL = 1e-9, 0.5

CLAIM = Claim(
    id="memo112.normalised-flow",
    source="memo112",
    statement="In the variables W_k = ρ_k V_k, ‖V_k‖ = 1, gradient flow of the square loss is the system printed for "
    "(ρ_k, V_k), and ρ = Π ρ_k = ρ_k^L obeys eq. 5: the same orbit in another chart.",
    formula=r"\dot\rho_k=-2\rho_k^{L-1}\Bigl[\sum_n\rho_k^L f_n^2-\sum_n f_ny_n\Bigr],\quad "
    r"\dot\rho=2L\rho^{\frac{2L-2}{L}}\Bigl[-\sum_n\rho f_n^2+\sum_n f_ny_n\Bigr],\quad "
    r"\dot V_k=-2\rho^{\frac{L-2}{L}}\sum_n(\rho f_n-y_n)\Bigl(\frac{\partial f_n}{\partial V_k}-V_kf_n\Bigr)",
    passage="sections 2.1–2.3, eqs. 2, 3, 4, 5, 7",
    hypotheses=(
        "one output, f of degree one in every layer (ReLU, no biases)",
        "no weight decay, no momentum",
        "‖x_n‖ = 1, y_n = ±1 (so in the cases; the equations use neither)",
        "for eqs. 3, 5, 7: all ρ_k are equal",
    ),
    convention="The passage changes L between eqs. 2 and 3: eqs. 1 and 2 belong to L = (1/N) Σ_n (ρf_n − y_n)², "
    "eqs. 3, 4, 5, 7 to L = Σ_n (ρf_n − y_n)². Under one L, these or those are off by the factor N. No factor ½.",
)

ROUNDING = "rounding, see the module's docstring"
MEASURES = (
    Measure("square", "one output, square loss, no decay (1 if so)", ">=", 0.5, "0 or 1", role="hypothesis"),
    Measure(
        "degree_one",
        "max_{k,n} |⟨V_k, ∂f_n/∂V_k⟩ − f_n| relative to max_n ‖∂f_n/∂V_k‖",
        "<=",
        1e-8,
        "Euler's identity holds to rounding, or fails by O(1)",
        role="hypothesis",
    ),
    Measure("eq2", "eq. 2: ‖Ẇ_k − rhs‖ over the sizes of its terms, L the mean", "<=", 1e-9, ROUNDING),
    Measure("eq3", "eq. 3: |ρ̇_k − rhs| over the sizes of its terms, at equal norms", "<=", 1e-9, ROUNDING),
    Measure("eq4", "eq. 4: ‖V̇_k − rhs‖ over the sizes of its terms", "<=", 1e-9, ROUNDING),
    Measure("eq5", "eq. 5: |ρ̇ − rhs| over the sizes of its terms, at equal norms", "<=", 1e-9, ROUNDING),
    Measure("eq7", "eq. 7: ‖V̇_k − rhs‖ over the sizes of its terms, at equal norms", "<=", 1e-9, ROUNDING),
    Measure(
        "orbit",
        "max_t ‖W(t) − ρ_kV_k(t)‖/max‖W‖, W by the plain flow, (ρ, V) by the printed one from the same start",
        "<=",
        SMOOTH,
        "the solvers' errors, see the module's docstring; 1e-2 for a field with kinks",
    ),
    Measure(
        "unit",
        "max_{k,t} |‖V_k‖ − 1| along the printed flow",
        "<=",
        SMOOTH,
        "ρ_k²(‖V_k‖² − 1) is constant under eqs. 3 and 4, so only the solver's errors enter; as for the orbit",
    ),
    Measure(
        "unequal",
        "control: the least |lhs − rhs|/|lhs| of eqs. 3, 5 and 7 where the norms differ, at the worst record",
        ">=",
        1e-2,
        "for eq. 5 it is 1 − (geometric over arithmetic mean of ρ_k^{−2}) ≥ 0.03 for 2 to 5 layers of which two "
        "differ by half; nothing is asked where no norms differ",
    ),
)


# Measuring ------------------------------------------------------------------------------------------------


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The five equations at every record, and the orbit of the printed system beside the given one."""
    square = isinstance(problem.loss, Square) and problem.network.outputs == 1
    layer = layer_of(problem.network)
    vectors, errors = polar.kept(trajectory)
    rho = layer_norms(layer, vectors)
    if not square or np.any(np.asarray(problem.decay) != 0.0) or not np.all(rho > 0.0):
        return deep_linear.nothing(MEASURES).assign(square=0.0)
    mean = np.exp(np.mean(np.log(rho), axis=1, keepdims=True))
    points = points_of(problem, np.concatenate([vectors, vectors * (mean / rho)[:, layer]]))
    here, equal = points[: len(vectors)], points[len(vectors) :]
    numbers = {"square": 1.0, "degree_one": max(point.euler() for point in points)}
    for name, where in {"eq2": here, "eq3": equal, "eq4": here, "eq5": equal, "eq7": equal}.items():
        worst = max(where, key=lambda point: point.defects[name] + point.bars[name])
        numbers |= {name: worst.defects[name], f"{name}_error": worst.bars[name]}
    control = [point.miss() for point in here if point.unequal >= UNEQUAL]
    numbers |= polar.asked("unequal", max(control, default=None), 1e-2)
    return xr.Dataset({**numbers, **_orbit(problem, trajectory, vectors, errors)})


def _orbit(
    problem: Problem, trajectory: xr.Dataset, vectors: np.ndarray, errors: np.ndarray
) -> dict[str, Any]:
    """The distance of the two orbits; nothing is asked of records that are not those of a gradient flow."""
    if "distance" in trajectory:
        printed, gaps, bars = trajectory, trajectory["distance"].values, trajectory["distance_error"].values
    elif polar.follows_gradient(trajectory):
        printed = _beside(problem, trajectory, vectors[0])
        gaps = np.linalg.norm(printed["weights"].values - vectors, axis=1)
        bars = np.linalg.norm(np.abs(printed["weights_error"].values) + np.abs(errors), axis=1)
    else:
        return {
            "orbit": 0.0,
            "orbit_error": 0.0,
            "orbit_tolerance": SMOOTH,
            "unit": 0.0,
            "unit_error": 0.0,
            "unit_tolerance": SMOOTH,
        }
    tolerance = SMOOTH if problem.network.smooth else KINKED
    scale = float(np.max(np.linalg.norm(vectors, axis=1)))
    layer = layer_of(problem.network)
    return {
        "orbit": float(np.max(gaps)) / scale,
        "orbit_error": float(np.max(bars)) / scale,
        "orbit_tolerance": tolerance,
        "unit": float(np.max(printed["unit"].values)),
        "unit_error": float(np.max(printed["unit_error"].values)),
        "unit_tolerance": tolerance,
        "distance": ("moment", gaps / scale),
        "rho": ("moment", np.prod(layer_norms(layer, vectors), axis=1)),
        "rho_printed": ("moment", np.prod(printed["chart_rho"].values, axis=1)),
        "time": ("moment", trajectory["t"].values),
    }


def _beside(problem: Problem, trajectory: xr.Dataset, start: np.ndarray) -> xr.Dataset:
    """The printed system from the start of a plain trajectory to its times."""
    equal = spread(layer_norms(layer_of(problem.network), start)) <= EQUAL
    pace = 1.0 / len(problem.data.targets) if problem.loss.reduction == "mean" else 1.0
    pace *= 0.5 if problem.loss.half else 1.0  # type: ignore[attr-defined]
    flow = Printed(
        Problem(problem.network, Square("sum"), problem.data), jnp.asarray(equal), jnp.asarray(pace)
    )
    solver = Adaptive("dopri8", 1e-9) if problem.network.smooth else "auto"
    times = trajectory["t"].values
    return run(
        flow, problem.unravel(jnp.asarray(start)), times, solver=solver, observables=(Unit(),), keep="all"
    )


# Running --------------------------------------------------------------------------------------------------


def _flows(rng: np.random.Generator, count: int) -> Iterator[Case]:
    """Both systems side by side in two architectures: two compiled solves."""
    for group in polar.groups(("linear", "ReLU")):
        labels, problems, starts = polar.draws(rng, group, count)
        norms = [[np.linalg.norm(layer) for layer in start] for start in starts]
        equal = spread(norms) <= EQUAL
        flow = Both(Printed(stack(problems), jnp.asarray(equal), jnp.ones(count)))
        seen = run(
            flow,
            polar.together(starts),
            RECORDS,
            solver=group.solver,
            observables=(Distance(), Unit()),
            keep="all",
            members=count,
            name=f"{group.name} nets, plain and printed",
        )
        for i, (label, problem) in enumerate(zip(labels, problems, strict=True)):
            yield Case(label, problem, seen.isel(member=i))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    rng = deep_linear.generator(key)
    rounds = 1 if budget == "quick" else 4
    yield from _flows(rng, 12 * rounds)
    others = (
        ("leaky ReLU, 5 layers", Dense((5, 6, 4, 7, 3, 1), leaky_relu(0.2)), 14, Square("mean")),
        ("convolutional ReLU", Convolutional((1, 4, 4), (2, 3), outputs=1), 6, Square("sum", half=True)),
        ("linear, 1 layer", Dense((10, 1), "identity"), 6, Square("sum")),
    )
    for name, network, count, loss in others:
        depth = len(network.layers(network.shapes()))
        for kind in polar.KINDS * rounds:
            problem = polar.classified(rng, network, count, kind, loss)
            norms = [rng.uniform(0.5, 2.0, depth) for _ in RECORDS]
            points = [polar.weights_of(rng, network, rho) for rho in norms]
            yield Case(f"{name}, inputs {kind}", problem, at(problem, points, ()))


def draw(dataset: xr.Dataset) -> Any:
    """ρ(t) of both systems, and the distance between their orbits."""
    if "time" not in dataset:
        return figures.measures(dataset, MEASURES)
    figure, (left, right) = figures.panels(2, height=3.3)
    time, plain, printed = (dataset[name].values for name in ("time", "rho", "rho_printed"))
    of: dict[str, list[int]] = {}
    for i, label in enumerate(dataset["case"].values):
        if np.isfinite(time[i, 0]):
            of.setdefault(str(label).split(",")[0], []).append(i)
    figures.scatter(
        {kind: plain[rows] for kind, rows in of.items()},
        {kind: printed[rows] for kind, rows in of.items()},
        r"$\rho(t)=\prod_k\|W_k\|$, plain flow",
        r"$\rho(t)$, printed system",
        log="xy",
        diagonal=True,
        axes=left,
    )
    distance = dataset["distance"].values
    figures.curves(
        {kind: time[rows[0]] for kind, rows in of.items()},
        {
            kind: np.nanmax(np.where(distance[rows] > 0.0, distance[rows], np.nan), axis=0)
            for kind, rows in of.items()
        },
        "time $t$",
        r"largest $\|W-\rho_kV_k\|\,/\,\max\|W\|$",
        log="y",
        markers=True,
        axes=right,
    )
    return figures.with_caption(
        figure,
        "The plain flow of W and the printed system for (ρ_k, V_k) from the same starts. Left: product of the norms, "
        "every record. Right: the distance of the two orbits, worst start; for ReLU the steps across kinks set it.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="widths (10, 4, 3, 1) linear at 1e-9 and (5, 6, 4, 1) ReLU by Heun steps of 5e-4, to t = 1, plain and "
    "printed side by side; nine points each of five leaky ReLU layers, a convolutional net and one layer",
)
