"""notes.deep-hessian: gradient and Hessian of a deep net under the square loss, its kernel, and small initialisation.

What is judged. The printed equations Ẇ = −Σ E ∂f (− λW) and H = Σ ∂f ∂f − E ∂²f (− λ I), against automatic
differentiation of −L and L. The notes define E_n = y_n − f_n before (“λW = Σ E x = Σ (y − Wx) x”); that is the
reading, and ``either`` asks of the other, E = f − y, too: no sign of E makes both right, nor the printed λ in H.
Both equations drop the factor 2 of their Σ E², which is taken from the loss, so that it refutes nothing. Then: H is
degenerate at a zero of the loss with N less than the number of weights (one output); and small initialisation does
not guarantee the minimum norm.

The last part is a counterexample: gradient flow from weights of size α, until f interpolates. A limit of least norm
has no part in the kernel of J = ∂f/∂W (otherwise it can be made shorter on the zero set). For one layer that part is
that of W(0), so that in units of ‖W(0)‖ it is at most 1 for every α. For tanh it stays of order one while α → 0, so
that the quotient grows like 1/α. For two weights, f = w₂ tanh(w₁ x), in closed form: the flow from 0 keeps w₂ = sinh
w₁ (x = 1), the least norm has w₂² = ½ w₁ sinh 2w₁ (docs/notes/notes.deep-hessian.md).

Settings, before any run. Formulas at random weights and targets, λ = 0.1 and 0.5; kernels at the weights that made
the targets; flows at α = 1e-2 and 1e-3, T = 200, after which Gauss–Newton goes the rest of the way, whose length is
the error.

Tolerances. Formulas: the same sums in another order, 1e-10 of the sum of the norms of the terms; a wrong sign is
O(1). ``guaranteed`` ≤ ½: that part is twice what a flow that freezes the kernel can leave.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims import teachers
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator, orbit
from gradlab.claims.notes.regularise_to_hyperbolic import plain
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.observe.local import automatic_hessian, local
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

CLAIM = Claim(
    id="notes.deep-hessian",
    source="notes",
    statement="Under the square loss a deep net moves with Ẇ = −Σ E_n ∂f_n − λW and has the Hessian Σ ∂f ∂f − E "
    "∂²f − λI; "
    "it is degenerate if N is less than the number of weights; small initialisation does not guarantee the "
    "minimum norm.",
    formula=r"\dot W=-\sum_nE_n\frac{\partial f}{\partial W}-\lambda W,\qquad H=\sum_n\frac{\partial f}{\partial W}"
    r"\frac{\partial f}{\partial W'}-E_n\frac{\partial^2f}{\partial W\partial W'}-\lambda I",
    passage="“Deep nets, square loss”",
    hypotheses=(
        "square loss",
        "L twice differentiable",
        "for the kernel: zero loss, one output, N < number of weights",
    ),
    convention="E_n = y_n − f_n, as in the notes' linear case; ½ Σ E² + λ/2 ‖W‖², other factors as the loss has "
    "them.",
)
CORRECTED = Claim(
    id="notes.deep-hessian-corrected",
    source="notes",
    statement="Ẇ = Σ E_n ∂f_n − λW and H = Σ ∂f ∂f − E ∂²f + λI with E_n = y_n − f_n; H is degenerate at a zero "
    "of the loss "
    "if N C is less than the number of weights; small initialisation does not guarantee the minimum norm.",
    formula=r"\dot W=\sum_nE_n\frac{\partial f}{\partial W}-\lambda W,\qquad H=\sum_n\frac{\partial f}{\partial W}"
    r"\frac{\partial f}{\partial W'}-E_n\frac{\partial^2f}{\partial W\partial W'}+\lambda I",
    passage=CLAIM.passage,
    hypotheses=CLAIM.hypotheses,
    convention=CLAIM.convention,
    corrects=CLAIM.id,
)

_SHARED = (teachers.SQUARE, teachers.TWICE)
_SUM = "rounding, 1e-13, relative to the norms of the terms added; a wrong sign is O(1)"
_COUNT = "a whole number; its error are eigenvalues that are neither rounding nor clear of it"
_REST = (
    Measure(
        "missing",
        "1 where H has no zero eigenvalue at a zero of the loss, N C < weights, λ = 0 (0 elsewhere)",
        "<=",
        0.5,
        _COUNT,
    ),
    Measure(
        "guaranteed",
        "‖W(0)‖ over the part of the limit in ker J, flows of tanh nets from small weights (0 elsewhere)",
        "<=",
        0.5,
        "1 or more where the flow does not move that part (one layer); half of that",
    ),
    Measure(
        "one_layer",
        "the same for one linear layer (0 elsewhere): the start's own",
        "<=",
        1.0 + 1e-6,
        "1 in theory, less where the start has a part in the span; the solver is run to 1e-9",
    ),
)
MEASURES = (
    *_SHARED,
    Measure("velocity", "printed velocity against −∇L", "<=", 1e-10, _SUM),
    Measure("hessian", "printed Hessian against ∇²L", "<=", 1e-10, _SUM),
    Measure("either", "the worse of both, under the better sign of E, without λ", "<=", 1e-10, _SUM),
    *_REST,
)
CORRECTED_MEASURES = (
    *_SHARED,
    Measure("velocity_mended", "Σ E ∂f − λW against −∇L", "<=", 1e-10, _SUM),
    Measure("hessian_mended", "Σ ∂f ∂f − E ∂²f + λI against ∇²L", "<=", 1e-10, _SUM),
    *_REST,
)


def formulas(problem: Problem, found: counting.Eigenvalues) -> dict[str, float]:
    """The printed and the mended sums against automatic differentiation of the potential."""
    here, vector = found.here, found.vector
    velocity = -np.asarray(problem.ravel(problem.gradient(problem.unravel(jnp.asarray(vector)))))
    H, decay = automatic_hessian(problem, vector), np.diag(here.decay)
    pull = here.decay * vector
    drive = np.einsum("nc,ncp->p", -here.first, here.jacobian)
    # not ‖drive‖: at zero loss it is rounding
    data = float(np.linalg.norm(here.f) + np.linalg.norm(np.asarray(problem.data.targets)))
    speeds = float(np.linalg.norm(here.jacobian)) * data + float(np.linalg.norm(pull))
    sizes = float(sum(np.linalg.norm(part) for part in (here.squares, here.curved, decay)))

    def off(sign: float, mended: bool) -> tuple[float, float]:
        moved = (drive if mended else -sign * drive) - pull
        bent = here.squares + sign * here.curved + (decay if mended else -decay)
        return float(np.linalg.norm(moved - velocity)) / speeds, float(np.linalg.norm(bent - H)) / sizes

    def data_only(sign: float) -> float:
        fast = float(np.linalg.norm(-sign * drive - pull - velocity))
        bent = float(np.linalg.norm(here.squares + sign * here.curved + decay - H))
        return max(fast / speeds, bent / sizes)

    printed, mended = off(1.0, False), off(1.0, True)
    return {
        "velocity": printed[0],
        "hessian": printed[1],
        "either": min(data_only(1.0), data_only(-1.0)),
        "velocity_mended": mended[0],
        "hessian_mended": mended[1],
        **{f"{name}_error": found.noise / speeds for name in ("velocity", "velocity_mended")},
        **{f"{name}_error": found.bound / sizes for name in ("hessian", "hessian_mended", "either")},
    }


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Formulas at the end of the trajectory, the kernel if that is a zero of the loss, the limit if it was a flow."""
    if not isinstance(problem.loss, Square):
        unknown = {measure.id: np.nan for measure in (*MEASURES, *CORRECTED_MEASURES)}
        return teachers.scalars(unknown | {"square": 0.0})
    vector = teachers.end(trajectory)
    found = counting.eigenvalues(problem, vector)
    return teachers.scalars(
        {
            "square": 1.0,
            "kink": found.kink,
            **formulas(problem, found),
            **_kernel(problem, found),
            **_limit(problem, trajectory),
        }
    )


def _kernel(problem: Problem, found: counting.Eigenvalues) -> dict[str, float]:
    outer = problem.data.inputs.shape[0] * problem.network.outputs
    numbers = {"missing": 0.0, "missing_error": 0.0, "kernel": np.nan, "outer": float(outer)}
    bare = float(np.max(np.asarray(problem.decay))) == 0.0
    if bare and teachers.residual(problem, found.here) <= teachers.ZERO:
        count = counting.kernel_at_zero(problem, found.vector)
        numbers["kernel"] = count.number
        if outer < problem.size:
            numbers |= teachers.counted("missing", count.short_of(1.0))
    return numbers


def _limit(problem: Problem, trajectory: xr.Dataset) -> dict[str, float]:
    """The part of a flow's limit in the kernel of ∂f/∂W, in units of ‖W(0)‖."""
    numbers = {
        "guaranteed": 0.0,
        "guaranteed_error": 0.0,
        "one_layer": 0.0,
        "one_layer_error": 0.0,
        "left": np.nan,
    }
    numbers |= {"start": np.nan, "layers": np.nan}
    kept = orbit(trajectory)
    flow = json.loads(trajectory.attrs.get("provenance", "{}")).get("flow")
    if kept is None or len(kept[0]) < 2 or flow != "GradientFlow" or not isinstance(problem.network, Dense):
        return numbers
    path, errors = kept
    bare = plain(problem)
    limit = minimising.interpolant(bare, path[-1])
    here, start = local(bare, limit), float(np.linalg.norm(path[0]))
    apart = limit - here.rows.T @ np.linalg.lstsq(here.rows.T, limit, rcond=None)[0]
    left = float(np.linalg.norm(apart))
    error = float(np.linalg.norm(limit - path[-1]) + np.linalg.norm(errors[-1])) / start
    if teachers.residual(bare, here) > teachers.ZERO or np.asarray(problem.decay).any():
        left = np.nan
    layers = len(problem.network.widths) - 1
    numbers |= {"left": left, "start": start, "layers": float(layers) if problem.network.linear else 0.0}
    if layers == 1:
        numbers |= {"one_layer": left / start, "one_layer_error": error}
    elif problem.network.activation.name == "tanh":
        # of start/left, where left is known up to error · start
        sure = left / start - error
        quotient = start / left if left > 0.0 else np.inf
        numbers |= {
            "guaranteed": quotient,
            "guaranteed_error": 1.0 / sure - quotient if sure > 0.0 else np.inf,
        }
    return numbers


#: widths, activation, examples; one output or two.
NETWORKS: tuple[tuple[tuple[int, ...], str, int], ...] = (
    ((4, 3, 1), "tanh", 4),
    ((4, 3, 2), "identity", 3),
    ((3, 3, 2, 1), "sigmoid", 4),
    ((4, 4, 1), "relu", 4),
)
MORE: tuple[tuple[tuple[int, ...], str, int], ...] = (
    ((4, 3, 1), "gelu", 4),
    ((5, 4, 3, 1), "identity", 4),
    ((4, 4, 2), "tanh", 5),
    ((4, 4, 3, 1), "relu", 6),
    ((4, 4, 2), "leaky_relu", 5),
)
#: Flows: widths, activation, examples.
FLOWS: tuple[tuple[tuple[int, ...], str, int], ...] = (
    ((1, 1, 1), "tanh", 1),
    ((6, 1), "identity", 3),
)
MORE_FLOWS: tuple[tuple[tuple[int, ...], str, int], ...] = (
    ((5, 2, 1), "identity", 2),
    ((2, 3, 1), "tanh", 2),
)
SCALES, END, SOLVER = (1e-2, 1e-3), 200.0, Adaptive("dopri8", 1e-10)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Formulas at random points, kernels at zeros of the loss, flows from small weights."""
    rng = generator(key)
    networks, rounds = (NETWORKS, 2) if budget == "quick" else (NETWORKS + MORE, 6)
    for widths, activation, examples in networks:
        network = Dense(widths, activation)
        for i in range(rounds):
            base, vector = teachers.teacher(rng, network, Square(half=True), examples)
            yield Case(f"{activation} {widths}, zero loss, {i + 1}", base, teachers.resting(vector))
            y = rng.standard_normal((examples, widths[-1]))
            decay = (0.1, 0.5)[i % 2]
            problem = Problem(network, Square(half=True), Data(base.data.inputs, y), decay)
            other = teachers.weights(rng, network)
            yield Case(f"{activation} {widths}, λ = {decay}, {i + 1}", problem, teachers.resting(other))
    for widths, activation, examples in FLOWS if budget == "quick" else FLOWS + MORE_FLOWS:
        yield from _flows(rng, widths, activation, examples, 2 if budget == "quick" else 6)


def _flows(
    rng: np.random.Generator, widths: tuple[int, ...], activation: str, examples: int, draws: int
) -> Iterator[Case]:
    network = Dense(widths, activation)
    labels, problems, starts = [], [], []
    for i in range(draws):
        x = rng.standard_normal((examples, widths[0])) if widths[0] > 1 else np.ones((1, 1))
        y = rng.uniform(0.8, 2.5, (examples, 1)) * rng.choice((-1.0, 1.0), (examples, 1))
        direction = rng.standard_normal(Problem(network, Square(), Data(x, y)).size)
        for scale in SCALES:
            problems.append(Problem(network, Square(half=True), Data(x, y)))
            starts.append(linear_nets.layers(network, scale * direction / np.linalg.norm(direction)))
            labels.append(f"{activation} {widths}, flow from {scale:.0e}, {i + 1}")
    weights = tuple(np.stack(parts) for parts in zip(*starts, strict=True))
    runs = run(
        GradientFlow(stack(problems)),
        weights,
        np.asarray([0.0, END]),
        solver=SOLVER,
        observables=(),
        keep="all",
        members=len(problems),
        name=labels[0],
    )
    for i, (label, problem) in enumerate(zip(labels, problems, strict=True)):
        yield Case(label, problem, runs.isel(member=i))


def draw(dataset: xr.Dataset) -> Any:
    """Misses of the equations, and what small weights leave in the kernel."""
    figure, (left, right) = figures.panels(2, height=3.2)
    count = np.arange(dataset.sizes["case"])
    names = {
        "velocity, printed": "velocity",
        "Hessian, printed": "hessian",
        "velocity, mended": "velocity_mended",
        "Hessian, mended": "hessian_mended",
    }
    figures.scatter(
        count,
        {label: np.maximum(dataset[name].values, 1e-17) for label, name in names.items()},
        "case",
        "difference from autodiff",
        log="y",
        axes=left,
    )
    layers = dataset["layers"].values
    kinds = {"tanh": layers == 0, "one linear layer": layers == 1, "two linear layers": layers == 2}
    figures.scatter(
        {kind: dataset["start"].values[rows] for kind, rows in kinds.items() if rows.any()},
        {kind: dataset["left"].values[rows] for kind, rows in kinds.items() if rows.any()},
        "‖W(0)‖",
        "part of the limit in ker ∂f/∂W",
        log="xy",
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: the equations as printed and with signs mended, relative. Right: what is left in the kernel of "
        "∂f/∂W, zero for "
        "a limit of least norm, against the size of the start.",
    )


_SETTINGS = (
    "4 networks (quick) or 9, formulas with λ = 0.1 and 0.5, kernels at zero loss; flows from 1e-2 and 1e-3"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
