"""notes.norm-control: kicked, a regularised minimum is found again; an unregularised one moves for good.

What is printed. "① The regularization min is hyperbolic and independent of initial conditions. This also means one can
perturb and get back to same W. ② The implicit regularization min is degenerate and depends on initial conditions.
This means that perturbations during GD will change final W. A similar situation holds for multilayer linear networks."

Reading. One-layer linear nets under the square loss, as in the sections before; ② where the minimum is degenerate:
where some directions are seen by no example. In multilayer nets "similar" is read of W = W_K ⋯ W_1, the map that the
notes call W elsewhere. Read of the layers ① would be false for every hidden width above one: Q W_1, W_2 Q⁻¹ with Q
orthogonal have the same risk and norms, so that minima form orbits, the Hessian has zero eigenvalues along them, and
a kick moves the layers along their orbit for good. The study draws that number and asks nothing of it
(docs/notes/notes.norm-control.md).

Settings, before any run. ½Σ. 24 one-layer nets (N, d, C = 6, 10, 2), half with λ in [0.3, 3], half without; five kicks
of norm one, 150 apart: at rates of 0.3 and more e^{−45} is left of each. 12 nets 6-3-2 on 4 examples, half with
λ = 0.2; kicks of norm ½, 300 apart.

Tolerances. Distances are in units of the kick's norm. The error bar is the rest of the way at the records on either
side, from the gradient of the potential over the least non-zero curvature, and the solver's 1e-10 beside it; 1e-6 is
allowed where a return is claimed. An unregularised net must be moved by half of what is predicted in one layer,
‖kick (1 − VVᵀ)‖, about √(4/10) of a random kick; its product, where nothing is predicted, by 1e-3: a thousand times
what a return may miss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import end_to_end
from gradlab.analysis.one_layer import OneLayer, one_layer
from gradlab.claims import deep_linear
from gradlab.claims import one_layer as one
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

SOLVER = 1e-10
#: Eigenvalues below this part of the largest are zeros of symmetries and of what no example sees.
ZERO = 1e-7

CLAIM = Claim(
    id="notes.norm-control",
    source="notes",
    statement="With weight decay the minimum of a linear net under the square loss is hyperbolic and "
    "independent of the "
    "start: kicked, the flow comes back to the same W. Without, the minimum is degenerate and depends on "
    "the start: "
    "every kick moves the final W for good. The same holds for the product of a multilayer linear net.",
    formula=r"\lambda>0:\ W(\infty)\ \text{is the same after a kick}\ \xi;\qquad "
    r"\lambda=0:\ W(\infty)\mapsto W(\infty)+\xi\,(I-X X^{+})",
    passage="Lecture notes, “Norm control, regularization, implicit regularization”",
    hypotheses=(
        "linear nets, square loss",
        "a run with kicks, settled between them",
        "without decay: directions that no example sees",
    ),
    convention="½ Σ ‖Wx − y‖² + λ/2 ‖W‖². For several layers W is the product; the layers themselves do "
    "not come back.",
)

_RETURN = "rest of the way is the error bar; 1e-6 is far above what a settled run leaves"
_NOTHING = 1e300
MEASURES = (
    Measure(
        "linear", "a linear net under Square (1 if so)", ">=", 0.5, "the number is 0 or 1", role="hypothesis"
    ),
    Measure("kicked", "kicks that the run has", ">=", 0.5, "a whole number", role="hypothesis"),
    Measure(
        "degenerate",
        "directions of the inputs that no example sees; nothing is asked with decay",
        ">=",
        0.5,
        "a whole number",
        role="hypothesis",
    ),
    Measure(
        "hyperbolic",
        "one layer: with decay least eigenvalue of ∇²L over λ less one half, without decay −(the same "
        "over λ_max)",
        ">=",
        -1e-9,
        "with decay 1/2 or more in theory; without decay 0, rounded at eps C d",
    ),
    Measure("returns", "with decay: largest change of W by a kick, settled", "<=", 1e-6, _RETURN),
    Measure(
        "same",
        "one layer with decay: distance from YXᵀ(XXᵀ + λ)⁻¹ over its norm, whatever the start and the kicks",
        "<=",
        1e-6,
        _RETURN,
    ),
    Measure(
        "moves",
        "without decay: least change of W by a kick, settled",
        ">=",
        1e-3,
        "one layer: half of the predicted change; products: 1e-3 (module docstring)",
    ),
    Measure(
        "law",
        "one layer without decay: change of W by a kick ξ less ξ(1 − VVᵀ)",
        "<=",
        1e-6,
        "exact for a quadratic potential: what no example sees does not move",
    ),
    Measure(
        "start",
        "one layer without decay: change of W(1 − VVᵀ) from the start to the first kick, over the sum of their norms",
        "<=",
        1e-6,
        "the minimum depends on the start by just that part",
    ),
)


def _matrices(problem: Problem, vectors: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    network: Any = problem.network
    return [linear_nets.layers(network, vector) for vector in vectors]


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """Settled weights before and after every kick."""
    network = problem.network
    linear = isinstance(network, Dense) and network.linear and isinstance(problem.loss, Square)
    kicks = trajectory["kick"].values if "kick" in trajectory else None
    if not linear or kicks is None or "weights" not in trajectory:
        unknown = {m.id: np.nan for m in MEASURES if m.role == "part"}
        return one.scalars({**unknown, "linear": float(linear), "kicked": 0.0, "degenerate": 0.0})
    vectors = np.asarray(trajectory["weights"].values)
    sizes = np.linalg.norm(kicks, axis=1)
    struck = np.flatnonzero(sizes[:-1] > 0.0)
    decay = float(np.min(np.asarray(problem.decay)))
    products = [end_to_end(layers) for layers in _matrices(problem, vectors)]
    rests = np.array([_rest(problem, vector) for vector in vectors[1:]])
    changes = np.array([np.linalg.norm(products[j + 1] - products[j]) / sizes[j] for j in struck])
    bars = np.array([(rests[j - 1] + rests[j]) / sizes[j] for j in struck])
    X = deep_linear.rows(problem)
    seen = int(np.linalg.matrix_rank(X))
    numbers = {
        "linear": 1.0,
        "kicked": float(len(struck)),
        "degenerate": float(X.shape[1] - seen) if decay == 0.0 else 1.0,
        "regular": decay,
        "layers": len(network.widths) - 1.0,
        "changed": float(np.max(changes)),
        "layers_moved": float(max(np.linalg.norm(vectors[j + 1] - vectors[j]) / sizes[j] for j in struck)),
    }
    for name, which, worst in (("returns", decay > 0.0, np.argmax), ("moves", decay == 0.0, np.argmin)):
        k = int(worst(changes + (bars if name == "returns" else -bars)))
        numbers |= {name: float(changes[k]), f"{name}_error": float(bars[k])}
        tolerance = {"returns": 1e-6, "moves": 1e-3}[name]
        numbers[f"{name}_tolerance"] = tolerance if which else _NOTHING * (1.0 if name == "returns" else -1.0)
    net = one_layer(problem)
    numbers |= _no_layer() if net is None else _one_layer(problem, net, vectors, kicks, struck, rests)
    return one.scalars(numbers)


def _rest(problem: Problem, vector: np.ndarray) -> float:
    """How far the product is from its limit: ‖∇L‖ over the least non-zero curvature, and the solver's own error.

    The layers move by that at most (to first order), the product by Σ of the norms of the others times it.
    """
    weights: Any = problem.unravel(np.asarray(vector))  # type: ignore[arg-type]  # NumPy serves
    gradient = float(np.linalg.norm(np.asarray(problem.ravel(problem.gradient(weights)))))
    values = np.linalg.eigvalsh(np.asarray(problem.hessian(weights)))
    least = float(np.min(np.abs(values[np.abs(values) > ZERO * values[-1]])))
    norms = [float(np.linalg.norm(layer, 2)) for layer in _matrices(problem, vector[None])[0]]
    spread = sum(float(np.prod(norms[:k] + norms[k + 1 :])) for k in range(len(norms)))
    return spread * (gradient / least + SOLVER * float(np.linalg.norm(vector)))


def _no_layer() -> dict[str, float]:
    """Nothing is asked of a product by the measures of one layer."""
    numbers = dict.fromkeys(("same", "law", "start", "hyperbolic"), 0.0)
    asked = {f"{name}_tolerance": _NOTHING for name in ("same", "law", "start")}
    bars = dict.fromkeys((f"{name}_error" for name in ("same", "law", "start", "hyperbolic")), 0.0)
    return {**numbers, **asked, **bars, "hyperbolic_tolerance": -_NOTHING}


def _one_layer(
    problem: Problem,
    net: OneLayer,
    vectors: np.ndarray,
    kicks: np.ndarray,
    struck: Sequence[int] | np.ndarray,
    rests: np.ndarray,
) -> dict[str, float]:
    """The exact statements: the ridge solution, and what no example sees."""
    W = [net.matrix(vector) for vector in vectors]
    xi = [net.matrix(kick) for kick in kicks]
    values = np.linalg.eigvalsh(np.asarray(problem.hessian((W[-1],))))
    rounding = one.EPS * len(values)
    numbers = _no_layer()
    numbers["hyperbolic_tolerance"] = -1e-9
    if net.decay > 0.0:
        expected = net.ridge(net.decay, net.factor)
        unit = float(np.linalg.norm(expected))
        numbers |= {
            "hyperbolic": float(values[0]) / net.decay - 0.5,
            "hyperbolic_error": rounding * float(values[-1]) / net.decay,
            "same": float(np.linalg.norm(W[-1] - expected)) / unit,
            "same_error": float(rests[-1]) / unit,
            "same_tolerance": 1e-6,
        }
        return numbers
    misses = [np.linalg.norm(W[j + 1] - W[j] - net.beside(xi[j])) / np.linalg.norm(xi[j]) for j in struck]
    bars = [(rests[j - 1] + rests[j]) / np.linalg.norm(xi[j]) for j in struck]
    predicted = min(float(np.linalg.norm(net.beside(xi[j])) / np.linalg.norm(xi[j])) for j in struck)
    size = float(np.linalg.norm(W[0]) + np.linalg.norm(W[1]))
    return numbers | {
        "hyperbolic": -abs(float(values[0])) / float(values[-1]),
        "hyperbolic_error": rounding,
        "law": float(max(misses)),
        "law_error": float(max(bars)),
        "law_tolerance": 1e-6,
        "start": float(np.linalg.norm(net.beside(W[1] - W[0]))) / size,
        "start_error": float(rests[0]) / size,
        "start_tolerance": 1e-6,
        "moves_tolerance": 0.5 * predicted,
    }


# Runs -------------------------------------------------------------------------------------------------------


#: The kick with a number that a flow makes of weights, compiled once a shape.
_kick = eqx.filter_jit(lambda flow, number, weights: flow.kick(number, weights))


def kicked(
    labels: Sequence[str],
    problems: Sequence[Problem],
    starts: Sequence[Any],
    keys: Any,
    sigma: float,
    every: float,
    count: int,
) -> Iterator[Case]:
    """Runs of one ensemble with ``count`` kicks of norm ``sigma``, ``every`` apart, their kicks beside the weights."""
    until = count * every
    flows = [
        Kicked(GradientFlow(problem), sigma, every, key, until, "norm")
        for problem, key in zip(problems, keys, strict=True)
    ]
    weights = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
    records = every * np.arange(1.0, count + 2.0)
    trajectory = run(
        stack(flows),
        weights,
        records,
        solver=Adaptive("dopri8", SOLVER),
        observables=(),
        keep="all",
        refine=False,  # errors are the rest of the way, from the gradient where the run ends
        members=len(problems),
    )
    for i, (label, problem) in enumerate(zip(labels, problems, strict=True)):
        own = trajectory.isel(member=i)
        # record 0 is the start; record j is seen before kick j, for j = 1 … count
        vectors, kicks = own["weights"].values, np.zeros(own["weights"].shape)
        for j in range(1, count + 1):
            before = problem.unravel(vectors[j])
            kicks[j] = np.asarray(problem.ravel(_kick(flows[i], np.asarray(j), before))) - vectors[j]
        yield Case(label, problem, own.assign(kick=(own["weights"].dims, kicks)))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """24 one-layer nets and 12 products, half of each with decay; the full budget draws five times as many."""
    random = one.generator(key)
    for i in range(5 if budget == "full" else 1):
        keys = jax.random.split(jax.random.fold_in(key, i), 36)
        problems: list[Problem] = []
        labels: list[str] = []
        starts: list[Any] = []
        for j in range(24):
            kind = one.KINDS[j % 3]
            decay = float(np.geomspace(0.3, 3.0, 12)[j // 2]) if j % 2 else 0.0
            data = Data(*one.draw(random, kind, 6, 10, 2))
            problems.append(Problem(Dense((10, 2)), Square(half=True), data, decay))
            labels.append(f"one layer, {kind} {i}.{j // 3 + 1}, λ = {decay:.2g}")
            starts.append((random.standard_normal((2, 10)),))
        yield from kicked(labels, problems, starts, keys[:24], 1.0, 150.0, 5)
        problems, labels, starts = [], [], []
        for j in range(12):
            decay = 0.2 if j % 2 else 0.0
            data = Data(*one.draw(random, "full rank", 4, 6, 2))
            problems.append(Problem(Dense.deep_linear((6, 3, 2)), Square(half=True), data, decay))
            labels.append(f"two layers, {i}.{j + 1}, λ = {decay:.2g}")
            starts.append((0.7 * random.standard_normal((3, 6)), 0.7 * random.standard_normal((2, 3))))
        yield from kicked(labels, problems, starts, keys[24:], 0.5, 300.0, 4)


def drawing(dataset: xr.Dataset) -> Any:
    """What a kick changes for good: of W (the product), and of the layers."""
    figure, (left, right) = figures.panels(2, height=3.2)
    decay, layers = dataset["regular"].values, dataset["layers"].values
    groups = {
        "one layer, λ > 0": (layers == 1) & (decay > 0),
        "one layer, λ = 0": (layers == 1) & (decay == 0),
        "two layers, λ > 0": (layers > 1) & (decay > 0),
        "two layers, λ = 0": (layers > 1) & (decay == 0),
    }
    position = np.arange(len(decay), dtype=float)
    for axes, name, title in (
        (left, "changed", "W, the product of the layers"),
        (right, "layers_moved", "all layers"),
    ):
        values = np.maximum(dataset[name].values, 1e-16)
        figures.scatter(
            {label: position[which] for label, which in groups.items() if which.any()},
            {label: values[which] for label, which in groups.items() if which.any()},
            "case",
            "largest change by a kick, over its norm",
            log="y",
            reference={"return": 1e-6},
            title=title,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "What is left of a kick when the flow has settled again. Left: W comes back with decay and is "
        "moved without. "
        "Right: the layers of a two-layer net do not come back even with decay; they move along the "
        "orbit W_2 Q⁻¹, Q W_1.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    drawing,
    settings="24 one-layer nets (N, d, C = 6, 10, 2; five kicks of norm one, 150 apart) and 12 nets 6-3-2 on 4 "
    "examples (four kicks of norm ½, 300 apart), half of each with decay; dopri8 at 1e-10",
)
