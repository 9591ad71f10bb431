"""notes.normalised: the gradient flow in (ρ, w̃), every printed equation along the flow, and the orbit itself.

What is judged. Of the lecture notes ("Normalization"): ∂‖w‖/∂w = w̃, S = ∂w̃/∂w = (I − w̃w̃ᵀ)/‖w‖, Sw = Sw̃ = 0, ρ̇ = w̃·ẇ,
w̃̇ = Sẇ, and under the exponential loss ρ̇ = Σ e^{−ρf̃} f̃, w̃̇ = Σ e^{−ρf̃}/ρ (∂f̃/∂w̃ − w̃f̃), the linear case with x_n for
∂f̃/∂w̃ (the handwritten denominator reads Z or ρ; the linear case prints ρ). Of memo90 section 12.2, 5: (a)–(e), the
splitting of ∂f/∂w, eqs. 37–43. All as printed, with two consequences: (b) prints S = (I − wwᵀ)/‖w‖ (though what is said
of its eigenvalues means w̃w̃ᵀ), and eq. 43 divides by ‖w̃‖, which is one. notes.normalised-corrected has the right
denominators; the derivation is in docs/notes/notes.normalised.md. w is the vector of one layer, as memo90 says, the
other layers held; every layer is looked at. What memo90 concludes (ρ̇ > 0, ρ̇ → 0) belongs to memo90.norm-growth.

How. Velocities of ‖w‖ and w/‖w‖ are derivatives along −∇L of the very functions by a complex step, exact to rounding;
−∇L, ∇²L, ∂f, ∂²f by automatic differentiation; ∂f̃/∂w̃ is ∂f/∂w with the layer at w̃. Differences are in units of what
Σ e^{−y_n f_n} ‖∂f_n/∂w‖ alone would give (over ρ for w̃), so that neither a fit nor an equilibrium makes 0/0.

Settings, before any run. The plain flow and the flow of the library's (ρ_k, V_k) chart, side by side in the same steps,
from 20 starts of a one-layer linear net (N = 6, d = 10: random, repeated points, rank 3) and 12 of a deep one (5, 4, 1;
N = 12), by dopri8 at 1e-10 to t = 10⁴; three points each of 9 ReLU nets (6, 3, 5, 1) and of 9 one-layer nets with
N > d. Standard deviations are 0.3, 1 and 3 times He's, so that ‖w‖ is not one. The full budget has five times as many.

Tolerances. Rounding of a sum of N terms of P products, exponents rounded at eps ρf̃: 1e-13 at most; 1e-10 leaves three
decades. Orbits: 1e-10 a step, some 1000 steps, growth of differences in a flow to a minimum of order ten: 1e-6.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator, inputs, points
from gradlab.claims.notes._charts import BetweenCharts, Point, SideBySide
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.clocks import Clock, LogLoss, Time
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import at, run
from gradlab.observe.layers import layer_of
from gradlab.observe.local import coordinates
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense, Network
from gradlab.problem.problem import Problem, stack

TOLERANCE = 1e-10
#: Of orbits: where the field is smooth, and where it has kinks, whose crossing costs a step's length.
ORBIT, KINKED = 1e-6, 1e-2
#: Records of a case at which the equations are looked at, at most, and columns of the Hessian.
LOOKED_AT, COLUMNS = 6, 48
SOLVER = Adaptive("dopri8", 1e-10)
RECORDS = np.geomspace(1e-2, 1e4, 13)

CLAIM = Claim(
    id="notes.normalised",
    source="notes",
    statement="With ρ = ‖w‖, w̃ = w/ρ and S = ∂w̃/∂w, gradient flow is ρ̇ = w̃·ẇ, w̃̇ = Sẇ, with the closed forms printed "
    "for the exponential loss; it is another description of the same orbit.",
    formula=r"\dot\rho=\tilde w^\top\dot w=\sum_n e^{-\rho\tilde f_n}\tilde f_n,\qquad \dot{\tilde w}=S\dot w="
    r"\frac{I-\tilde w\tilde w^\top}{\lVert\tilde w\rVert}\tilde B,\qquad "
    r"\tilde B=\sum_n e^{-\rho\tilde f_n}\frac{\partial\tilde f_n}{\partial\tilde w}",
    passage="Lecture notes, “Normalization” (equations 1–3, ρ̇, w̃̇ and their linear case); memo90 section 12.2, 5: "
    "(a)–(e), the splitting of ∂f/∂w and eqs. 37–43, each as printed",
    hypotheses=("exponential loss, no decay", "degree one in every layer (f = ‖w‖f̃)", "y_n absorbed in f"),
    convention="L = Σ_n e^{−y_n f_n}. w is one layer as a vector, the others held.",
)
CORRECTED = Claim(
    id="notes.normalised-corrected",
    source="notes",
    statement="The same with S = (I − w̃w̃ᵀ)/‖w‖ in memo90 too, and with ‖w‖, not ‖w̃‖ = 1, as the denominator of its "
    "eq. 43: w̃̇ = (I − w̃w̃ᵀ)B̃/‖w‖.",
    formula=r"\dot\rho=\sum_n e^{-\rho\tilde f_n}\tilde f_n,\qquad \dot{\tilde w}=\frac{I-\tilde w\tilde w^\top}"
    r"{\lVert w\rVert}\tilde B,\qquad S=\frac{I-\tilde w\tilde w^\top}{\lVert w\rVert}",
    passage="docs/notes/notes.normalised.md; the passages as in notes.normalised",
    hypotheses=CLAIM.hypotheses,
    convention=CLAIM.convention,
    corrects="notes.normalised",
)

_ROUNDING = "rounding, see the module's docstring"
HYPOTHESES = (
    Measure(
        "exponential",
        "the loss is Σ e^{−yf}, no decay, L above 1e-280 at the start (1 if so)",
        ">=",
        0.5,
        "the closed forms are of this loss; the number is 0 or 1",
        role="hypothesis",
    ),
    Measure(
        "degree",
        "|⟨w, ∂f/∂w⟩ − f| relative to ‖w‖‖∂f/∂w‖, over layers",
        "<=",
        1e-9,
        "zero for a layer of degree one, of order one for any other",
        role="hypothesis",
    ),
)
SHARED = (
    Measure(
        "chart",
        "∂‖w‖/∂w = w̃, ∂w̃/∂w = S with w̃w̃ᵀ, Sw = 0, ‖w‖S² = S, ∂‖w̃‖²/∂w = 0, in units of 1/‖w‖",
        "<=",
        TOLERANCE,
        _ROUNDING,
    ),
    Measure("velocity", "eq. 37: ẇ = Σ y ∂f/∂w e^{−yf} is −∇L", "<=", TOLERANCE, _ROUNDING),
    Measure("hessian", "eq. 38: Σ e^{−f}(∂f∂fᵀ − ∂²f) is ∇²L in each layer", "<=", TOLERANCE, _ROUNDING),
    Measure("polar", "eqs. 39–40: ρ̇ = w̃·ẇ and w̃̇ = Sẇ with the S of the notes", "<=", TOLERANCE, _ROUNDING),
    Measure("split", "∂f/∂w = w̃f̃ + ‖w‖ S ∂f̃/∂w̃", "<=", TOLERANCE, _ROUNDING),
    Measure("rho", "notes and eq. 41: ρ̇ = Σ e^{−ρf̃} f̃", "<=", TOLERANCE, _ROUNDING),
    Measure("direction", "notes: w̃̇ = Σ e^{−ρf̃}/ρ (∂f̃/∂w̃ − w̃f̃)", "<=", TOLERANCE, _ROUNDING),
    Measure(
        "orbit",
        "distance of W(t) by the (ρ, V) flow from W(t) by the plain flow, relative to ‖W‖, over records; 0 where "
        "no orbit was kept",
        "<=",
        ORBIT,
        "two solves at 1e-10 a step, see the module's docstring; 1e-2 for a field with kinks",
    ),
    Measure(
        "unit",
        "|‖V_k‖ − 1| along the (ρ, V) flow; 0 where no orbit was kept",
        "<=",
        ORBIT,
        "as for the orbit",
    ),
)
PRINTED = (
    Measure(
        "memo_s",
        "memo90 (b) as printed: ∂w̃/∂w = (I − wwᵀ)/‖w‖, in units of 1/‖w‖",
        "<=",
        TOLERANCE,
        _ROUNDING,
    ),
    Measure("memo_43", "eq. 43 as printed: w̃̇ = (I − w̃w̃ᵀ)B̃/‖w̃‖", "<=", TOLERANCE, _ROUNDING),
)
RIGHT = (Measure("right_43", "eq. 43 with ‖w‖: w̃̇ = (I − w̃w̃ᵀ)B̃/‖w‖", "<=", TOLERANCE, _ROUNDING),)


def _clock(provenance: dict[str, Any], trajectory: xr.Dataset) -> tuple[Clock, np.ndarray]:
    """The clock of a run and its records, by which another flow meets it again: log-loss time, or physical time."""
    if provenance.get("clock") == "LogLoss":
        return LogLoss(), np.asarray(trajectory["tau"].values)
    return Time(), np.asarray(trajectory["t"].values)


def _other_chart(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset | None:
    """A run's orbit by the flow in the other chart, run here; None where nothing flows."""
    provenance = json.loads(trajectory.attrs.get("provenance", "{}"))
    if provenance.get("flow") not in ("GradientFlow", "NormalisedFlow") or "weights" not in trajectory:
        return None
    clock, moments = _clock(provenance, trajectory)
    # physical time beyond 1e6 is out of reach of an explicit solve in it
    count = 1 + int(np.argmin(np.append((np.diff(moments) > 0.0) & (moments[1:] < 1e6), False)))
    if count < 2:
        return None
    flow: Flow = NormalisedFlow(problem) if provenance["flow"] == "GradientFlow" else GradientFlow(problem)
    start = problem.unravel(trajectory["weights"].values[0])
    # across kinks an adaptive solve at this tolerance takes steps without end
    solver = SOLVER if problem.network.smooth else "auto"
    return run(flow, start, moments[1:count], clock=clock, solver=solver, observables=(), keep="all")


def _orbits(problem: Problem, trajectory: xr.Dataset) -> dict[str, float]:
    """The largest distance between the two charts' orbits, relative to ‖W‖, and of ‖V_k‖ from one."""
    tolerance = ORBIT if problem.network.smooth else KINKED
    tolerances = {"orbit_tolerance": tolerance, "unit_tolerance": tolerance}
    if "between_charts" in trajectory:
        gaps, bars = (trajectory[f"between_charts{end}"].values for end in ("", "_error"))
        polar = trajectory
    else:
        other = _other_chart(problem, trajectory)
        if other is None:
            return {"orbit": 0.0, "orbit_error": 0.0, "unit": 0.0, **tolerances}
        ours = trajectory.isel(record=slice(other.sizes["record"]))
        size = np.linalg.norm(ours["weights"].values, axis=1)
        gaps = np.linalg.norm(ours["weights"].values - other["weights"].values, axis=1) / size
        errors = [one["weights_error"].values for one in (ours, other) if "weights_error" in one]
        bars = np.sum([np.linalg.norm(error, axis=1) for error in errors], axis=0) / size
        polar = other if "chart_direction_norms" in other else ours
    drift = np.abs(np.asarray(polar["chart_direction_norms"].values) - 1.0)
    numbers = {"orbit": float(np.max(gaps)), "orbit_error": float(np.max(bars)), "unit": float(np.max(drift))}
    return numbers | tolerances


def _plain(problem: Problem) -> bool:
    """Whether the loss is Σ e^{−yf} and nothing else."""
    loss, decay = problem.loss, np.asarray(problem.decay)
    return (
        isinstance(loss, Exponential)
        and loss.reduction == "sum"
        and problem.factor == 1.0
        and not decay.any()
    )


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Every printed equation at a few records of the trajectory, the worst of them, and the orbit in both charts."""
    nothing = {m.id: np.nan for m in (*HYPOTHESES, *SHARED, *PRINTED, *RIGHT)} | {"exponential": 0.0}
    if not _plain(problem):
        return xr.Dataset(nothing)
    vectors = points(trajectory)
    layer = layer_of(problem.network)
    columns = coordinates(problem, COLUMNS)
    found = []
    for i in np.unique(np.linspace(0, len(vectors) - 1, LOOKED_AT).astype(int)):
        point = Point(problem, vectors[i], layer, columns)
        if np.sum(np.exp(-point.margins)) > 1e-280:
            found += point.defects()
    if not found:
        return xr.Dataset(nothing)
    numbers = {name: max(one[name] for one in found) for name in found[0] if name not in ("norm", "rounding")}
    rounding = max(one["rounding"] for one in found)
    exact = [m.id for m in (*SHARED, *PRINTED, *RIGHT) if m.id not in ("orbit", "unit")]
    numbers |= {f"{name}_error": rounding for name in exact}
    drawn = {
        name: ("point", np.asarray([one[key] for one in found]))
        for name, key in (
            ("norm", "norm"),
            ("printed_43", "memo_43"),
            ("with_norm_43", "right_43"),
            ("printed_s", "memo_s"),
        )
    }
    return xr.Dataset({"exponential": 1.0, **numbers, **_orbits(problem, trajectory), **drawn})


def _data(rng: np.random.Generator, count: int, dimension: int, kind: str) -> Data:
    """Inputs of a kind with the labels of a random direction."""
    x = inputs(rng, count, dimension, kind)
    return Data(x, np.where(x @ rng.standard_normal(dimension) > 0.0, 1.0, -1.0))


def _start(rng: np.random.Generator, network: Network, scale: float) -> Any:
    """``scale`` times He's standard deviation."""
    return tuple(
        scale * np.sqrt(2.0 / shape.shape[1]) * rng.standard_normal(shape.shape) for shape in network.shapes()
    )


KINDS = ("random", "repeated", "deficient")
#: Flows: name, widths, number of points, number of members (quick budget).
FLOWS = (("one layer", (10, 1), 6, 20), ("deep linear", (5, 4, 1), 12, 12))
#: Points without dynamics: name, network, number of points.
STILL = (("ReLU", Dense((6, 3, 5, 1), "relu"), 14), ("one layer, N > d", Dense((4, 1), "identity"), 12))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Two ensembles, two compiled solves, with both flows side by side; then points of other nets."""
    rng = generator(key)
    times = 1 if budget == "quick" else 5
    for name, widths, count, members in FLOWS:
        network = Dense(widths, "identity")
        problems, starts = [], []
        for i in range(times * members):
            data = _data(rng, count, widths[0], KINDS[i % 3])
            problems.append(Problem(network, Exponential(), data))
            starts.append(_start(rng, network, (0.3, 1.0, 3.0)[i // 3 % 3]))
        seen = run(
            SideBySide(stack(problems)),
            jax.tree.map(lambda *leaves: np.stack(leaves), *starts),
            RECORDS,
            solver=SOLVER,
            observables=(BetweenCharts(),),
            keep="all",
            members=len(problems),
            name=f"{CLAIM.id}: {name}",
        )
        for i, problem in enumerate(problems):
            yield Case(f"{name}, {KINDS[i % 3]} {i + 1}", problem, seen.isel(member=i))
    for name, network, count in STILL:
        for i in range(9 * times):
            data = _data(rng, count, network.input_shape[0], KINDS[i % 3])
            problem = Problem(network, Exponential(), data)
            starts = [_start(rng, network, scale) for scale in (0.3, 1.0, 3.0)]
            yield Case(f"{name}, {KINDS[i % 3]} {i + 1}", problem, at(problem, starts, ()))


def draw(dataset: xr.Dataset) -> Any:
    """Both readings of eq. 43 against the norm of the layer, and the distance between the orbits."""
    figure, (left, right) = figures.panels(2, height=3.2)
    norm = dataset["norm"].values.ravel()
    figures.scatter(
        norm,
        {
            "(b) as printed": np.maximum(dataset["printed_s"].values.ravel(), 1e-17),
            "eq. 43 as printed": np.maximum(dataset["printed_43"].values.ravel(), 1e-17),
            "eq. 43 with ‖w‖": np.maximum(dataset["with_norm_43"].values.ravel(), 1e-17),
        },
        "‖w‖ of a layer",
        "defect, relative",
        log="xy",
        reference={"tolerance": TOLERANCE},
        axes=left,
    )
    flows = dataset["orbit"].values > 0.0
    groups = {
        name: flows & np.char.startswith(dataset["case"].values.astype(str), name) for name, *_ in FLOWS
    }
    shown = {name: which for name, which in groups.items() if which.any()}
    figures.scatter(
        {name: np.arange(1, which.sum() + 1) for name, which in shown.items()},
        {name: np.maximum(dataset["orbit"].values[which], 1e-17) for name, which in shown.items()},
        "problem",
        "distance of the orbits, relative",
        log="y",
        reference={"tolerance": ORBIT},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: what memo90 prints for S (b) and in eq. 43 against the derivative along the flow, layer by layer: right "
        "only where ‖w‖ = 1. Right: W(t) by the (ρ, V) flow from W(t) by the plain flow, at most over t ≤ 10⁴.",
    )


_SETTINGS = (
    "20 one-layer linear nets (N, d = 6, 10) and 12 deep ones (5, 4, 1; N = 12) under both flows to t = 10⁴ (dopri8 at "
    "1e-10); 27 points each of ReLU nets (6, 3, 5, 1; N = 14) and one-layer nets with N > d; random, repeated and "
    "rank-deficient data"
)
STUDIES = (
    Study(CLAIM, (*HYPOTHESES, *SHARED, *PRINTED), cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, (*HYPOTHESES, *SHARED, *RIGHT), cases, observe, draw, settings=_SETTINGS),
)
