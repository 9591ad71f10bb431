"""memo90.virtual-data: a square-loss net at a zero-loss minimum, and the linear net on x'_n = ∇_W f(W_0; x_n).

The memo matches the Hessians and concludes that the two flows are differentiably conjugate near W_0. Two things are
measured of that. The linearisations: both flows start δv apart from W_0 and their distance, over δ, is extrapolated to
δ = 0. And what a differentiable conjugacy keeps, by the memo's own eq. 11: it carries equilibria to equilibria, and the
eigenvalues there are the same. All equilibria of the linear net have one Hessian; so the Hessian of the deep net must
have the same eigenvalues at all zero-loss minima near W_0. They are found by following the flow from W_0 + δv to its
limit (the run's end, then Gauss–Newton steps).

Settings, before any run. Targets are the net's own outputs, so that W_0 has zero loss. Overparametrised nets (D > N),
a tanh net with more examples than weights, whose minimum is isolated, and in the full budget a one-layer linear net
too, which is its own virtual net. |δv| = 1e-3, 2e-3, 4e-3 of |W_0|; flows to t = 2/λ_max of the ensemble's median.

Tolerances. Distances over δ are c_1 + c_2 δ + c_3 δ²: two steps of Richardson's rule leave δ³ ≈ 1e-8 times derivatives
and 1e-10/δ of integration, and the difference of the steps is the bar: 1e-3 is asked, where another linearisation would
leave O(1). Eigenvalues: P eps‖H‖/δ ≈ 1e-11 and what Gauss–Newton leaves, 1e-15/(σ_min δ) ≈ 1e-10: 1e-6 is asked; the
entries of a deep net's Hessian move by O(1) per unit of |W|.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.linearisation import LinearFlow, linearise, virtual_data
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense, Network
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem, stack

#: |δv|/|W_0|, each twice the one before.
DELTAS = (1e-3, 2e-3, 4e-3)
RECORDS = (0.5, 1.0, 2.0)
SPECTRA = 1e-6

CLAIM = Claim(
    id="memo90.virtual-data",
    source="memo90",
    statement="Around a zero-loss minimum W_0 the gradient flow of a deep net under square loss is differentiably "
    "conjugate to that of a linear net on the virtual data x'_n = ∇_W f(W_0; x_n), since the Hessians match.",
    formula=r"x'_n=\nabla_W f(W_0;x_n),\qquad H=2\sum_n x'_n x_n'^{\top}",
    passage="Section 12.3.1, and the paragraph of section 12.3 on virtual data",
    hypotheses=("square loss, no decay", "zero loss at W_0", "the network is smooth"),
    convention="L = Σ_n (f_n − y_n)². “Differentiably conjugate” as in section 10: by a diffeomorphism of "
    "neighbourhoods.",
)
CORRECTED = Claim(
    id="memo90.virtual-data-corrected",
    source="memo90",
    statement="The linear net on virtual data has the net's linearisation: flows started δ apart from W_0 differ by "
    "O(δ²). Where W_0 is an isolated, non-degenerate minimum (rank of ∇f = D) no eigenvalue stands in the way of "
    "a differentiable conjugacy, and Hartman's theorem gives one. Where minima form a manifold (D > N) one needs a "
    "Hessian spectrum that is constant along it.",
    formula=r"\varphi_t(W_0+\delta v)-\psi_t(W_0+\delta v)=O(\delta^2);\qquad "
    r"h\in C^1\ \Rightarrow\ \mathrm{spec}\,H(W)=\mathrm{spec}\,H(W_0)\ \text{at all minima } W \text{ near } W_0",
    passage="docs/notes/memo90.virtual-data.md; the passage as in memo90.virtual-data",
    hypotheses=("square loss, no decay", "zero loss at W_0", "the network is smooth"),
    corrects="memo90.virtual-data",
)

SETTING = Measure(
    "setting",
    "one where the loss is the square, without decay, and the network smooth",
    ">=",
    0.5,
    "the problem says so",
    role="hypothesis",
)
RESIDUAL = Measure(
    "residual",
    "the largest residual at W_0, relative to the largest output",
    "<=",
    1e-12,
    "zero loss, to rounding of the outputs",
    role="hypothesis",
)
HESSIANS = Measure(
    "hessians",
    "‖H − H'‖/‖H‖, of the net at W_0 and of the linear net",
    "<=",
    1e-10,
    "rounding of two derivatives",
)
TOGETHER = Measure(
    "together",
    "lim ‖φ_t(W_0 + δv) − ψ_t(W_0 + δv)‖/δ as δ → 0, the largest over times",
    "<=",
    1e-3,
    "Richardson's rule, see the module's docstring; another linearisation would leave O(1)",
)
MEASURES = (
    SETTING,
    RESIDUAL,
    HESSIANS,
    TOGETHER,
    Measure(
        "spectra",
        "lim max_i |λ_i(H(W_δ)) − λ_i(H(W_0))|/(δ λ_max) as δ → 0, W_δ the minimum that the flow from W_0 + δv tends "
        "to, δ relative to |W_0|: 0 under a differentiable conjugacy, as all minima of the linear net have one Hessian",
        "<=",
        SPECTRA,
        "rounding of eigenvalues over δ, see the module's docstring",
    ),
)
CORRECTED_MEASURES = (
    SETTING,
    RESIDUAL,
    HESSIANS,
    TOGETHER,
    Measure(
        "isolated",
        "the same change of the spectrum where the rank of ∇f is the number of weights; 0 elsewhere",
        "<=",
        SPECTRA,
        "rounding of eigenvalues over δ, see the module's docstring",
    ),
)


def _limit(problem: Problem, vector: np.ndarray) -> np.ndarray:
    """The zero-loss point near a vector, by Gauss–Newton steps of least norm."""
    for _ in range(8):
        weights = problem.unravel(jnp.asarray(vector))
        residual = np.asarray(problem.outputs(weights) - problem.data.targets).ravel()
        jacobian = np.asarray(problem.output_jacobian(weights)).reshape(residual.size, -1)
        step = np.linalg.lstsq(jacobian, residual, rcond=1e-10)[0]
        vector = vector - step
        if np.linalg.norm(step) <= 1e-15 * np.linalg.norm(vector):
            break
    return vector


def _extrapolated(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The limit at δ = 0 of values at DELTAS (first axis), of two steps of Richardson's rule, and their difference."""
    near, far = 2.0 * values[0] - values[1], 2.0 * values[1] - values[2]
    return (4.0 * near - far) / 3.0, (near - far) / 3.0


def _setting(problem: Problem) -> bool:
    plain = isinstance(problem.loss, Square) and not np.asarray(problem.decay).any()
    return bool(plain and problem.network.smooth)


@float64
def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Hessians, flows and spectra of the net and of its virtual linear net, around the point ``final_weights``."""
    names = ("residual", "hessians", "together", "spectra", "isolated")
    nothing = xr.Dataset(dict.fromkeys(names, np.nan))
    if not _setting(problem) or "nearby" not in trajectory:
        return nothing.assign(setting=float(_setting(problem)))
    centre = trajectory["final_weights"].values
    weights = problem.unravel(jnp.asarray(centre))
    outputs = np.asarray(problem.outputs(weights))
    residual = float(np.max(np.abs(outputs - np.asarray(problem.data.targets))) / np.max(np.abs(outputs)))
    linear = linearise(virtual_data(problem, weights), (centre[None],))
    hessian = np.asarray(problem.hessian(weights))
    virtual = np.asarray((linear.vectors * linear.values) @ linear.vectors.T)
    together, together_error = _together(linear, trajectory)
    spectra, bar, moved = _spectra(problem, trajectory, centre, hessian)
    jacobian = np.asarray(problem.output_jacobian(weights)).reshape(outputs.size, -1)
    isolated = float(np.linalg.matrix_rank(jacobian) == centre.size)
    numbers = {
        "setting": 1.0,
        "residual": residual,
        "hessians": float(np.linalg.norm(hessian - virtual) / np.linalg.norm(hessian)),
        "hessians_error": 1e-14 * centre.size,
        "together": together,
        "together_error": together_error,
        "spectra": spectra,
        "spectra_error": bar,
        "isolated": isolated * spectra,
        "isolated_error": isolated * bar,
        "rank": isolated,
    }
    drawn = {"apart": ("delta", moved)}
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()}).assign(drawn)


def _together(linear: LinearFlow, trajectory: xr.Dataset) -> tuple[float, float]:
    """The limit of the distance of the two flows over δ, and its error."""
    weights, errors = trajectory["nearby"].values, trajectory["nearby_error"].values
    times, size = trajectory["t"].values, np.linalg.norm(trajectory["final_weights"].values)
    starts = weights[:, 0]
    gaps = np.stack(
        [weights[:, i] - np.asarray(linear(time, jnp.asarray(starts))) for i, time in enumerate(times)],
        axis=1,
    )
    scale = np.asarray(DELTAS)[:, None, None] * size
    limit, bar = _extrapolated(gaps / scale)
    rounding = float(np.max(np.linalg.norm(errors / scale, axis=2)))
    found = np.linalg.norm(limit, axis=1)
    return float(np.max(found)), float(np.max(np.linalg.norm(bar, axis=1))) + 8.0 * rounding


def _spectra(
    problem: Problem, trajectory: xr.Dataset, centre: np.ndarray, hessian: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """The rate at which eigenvalues change from minimum to minimum, its error, and the change at every δ."""
    here = np.linalg.eigvalsh(hessian)
    changes = []
    for end in trajectory["nearby"].values[:, -1]:
        there = np.asarray(problem.hessian(problem.unravel(jnp.asarray(_limit(problem, end)))))
        changes.append((np.linalg.eigvalsh(there) - here) / here[-1])
    rates = np.asarray(changes) / np.asarray(DELTAS)[:, None]
    limit, bar = _extrapolated(rates)
    rounding = 8.0 * 1e3 * here.size * float(np.finfo(np.float64).eps) / DELTAS[0]
    apart = np.max(np.abs(np.asarray(changes)), axis=1)
    return float(np.max(np.abs(limit))), float(np.max(np.abs(bar))) + rounding, apart


#: name, network, examples.
PLANS: tuple[tuple[str, Network, int], ...] = (
    ("tanh, D = 9 > N", Dense((2, 3, 1), "tanh"), 4),
    ("tanh, D = 6 < N", Dense((2, 2, 1), "tanh"), 10),
)
MORE: tuple[tuple[str, Network, int], ...] = (
    ("deep linear, D = 8 > N", Dense.deep_linear((3, 2, 1)), 2),
    ("one layer, D = 5 > N", Dense((5, 1)), 3),
    ("GELU, D = 12 > N", Dense((3, 3, 1), "gelu"), 5),
    ("sigmoid, 2 outputs, D = 12 > 2N", Dense((2, 3, 2), "sigmoid"), 3),
    ("deep linear, 3 layers, D = 10 > N", Dense.deep_linear((2, 2, 2, 1)), 2),
)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Every plan as one ensemble: members are problems, three starts each."""
    random = generator(key)
    plans, members = (PLANS, 10) if budget == "quick" else ((*PLANS, *MORE), 16)
    for name, network, examples in plans:
        drawn = [_problem(random, network, examples) for _ in range(members)]
        starts = []
        for problem, centre in drawn:
            direction = random.standard_normal(problem.size)
            unit = direction / np.linalg.norm(direction) * np.linalg.norm(centre)
            starts += [centre + delta * unit for delta in DELTAS]
        largest = [
            float(np.linalg.eigvalsh(problem.hessian(problem.unravel(jnp.asarray(c))))[-1])
            for problem, c in drawn
        ]
        many = stack([problem for problem, _ in drawn for _ in DELTAS])
        weights = jax.vmap(drawn[0][0].unravel)(jnp.asarray(np.stack(starts)))
        trajectory = run(
            GradientFlow(many),
            weights,
            np.asarray(RECORDS) / np.median(largest),
            solver=Adaptive("dopri8", 1e-10, 1e-13),
            observables=(),
            keep="all",
            members=len(starts),
            name=name,
        )
        for i, (problem, centre) in enumerate(drawn):
            yield Case(f"{name}, {i + 1}", problem, _around(trajectory, i, centre))


def _problem(random: np.random.Generator, network: Network, examples: int) -> tuple[Problem, np.ndarray]:
    """A net on its own outputs at normal weights, and these weights."""
    inputs = random.standard_normal((examples, *network.input_shape))
    blank = Problem(network, Square(), Data(inputs, np.zeros((examples, network.outputs))))
    centre = random.standard_normal(blank.size)
    targets = np.asarray(blank.outputs(blank.unravel(jnp.asarray(centre))))
    return Problem(network, Square(), Data(inputs, targets)), centre


def _around(trajectory: xr.Dataset, i: int, centre: np.ndarray) -> xr.Dataset:
    chosen = range(len(DELTAS) * i, len(DELTAS) * (i + 1))
    mine = trajectory.isel(member=list(chosen))
    dims = ("delta", "record", "weight")
    rows = {
        "nearby": (dims, mine["weights"].transpose("member", "record", "weight").values),
        "nearby_error": (dims, mine["weights_error"].transpose("member", "record", "weight").values),
    }
    time = mine["t"].isel(member=0) if "member" in mine["t"].dims else mine["t"]
    return xr.Dataset({**rows, "t": ("record", time.values), "final_weights": ("weight", centre)})


def draw(dataset: xr.Dataset) -> Any:
    """How far eigenvalues have moved at minima δ away, and the two numbers of every case."""
    figure, (left, right) = figures.panels(2, height=3.2)
    labels = dataset["case"].values.astype(str)
    kinds = {label.rpartition(",")[0]: None for label in labels}
    rows = {kind: np.asarray([label.startswith(kind) for label in labels]) for kind in kinds}
    apart = np.maximum(dataset["apart"].values, 1e-16)
    figures.scatter(
        {kind: np.tile(DELTAS, which.sum()) for kind, which in rows.items()},
        {kind: apart[which].ravel() for kind, which in rows.items()},
        r"$\delta$ (relative to $|W_0|$)",
        "change of the Hessian's\neigenvalues, over the largest",
        log="xy",
        axes=left,
    )
    figures.scatter(
        {kind: np.flatnonzero(which) for kind, which in rows.items()},
        {kind: np.maximum(dataset["together"].values[which], 1e-16) for kind, which in rows.items()},
        "case",
        r"$|\varphi_t-\psi_t|/\delta$ as $\delta\to 0$",
        log="y",
        reference={"tolerance": TOGETHER.tolerance},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: eigenvalues at the minimum that the flow from W_0 + δv tends to, against those at W_0: in nets with "
        "more weights than examples they move in proportion to δ, which no differentiable conjugacy to a linear net "
        "allows. Right: the two flows agree to first order in δ everywhere.",
    )


_SETTINGS = (
    "20 zero-loss minima, 10 each: tanh nets with D = 9, N = 4 and D = 6, N = 10 (full: GELU, sigmoid with two "
    "outputs, deep linear and one-layer nets too); flows from three distances (dopri8 at 1e-10)"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
