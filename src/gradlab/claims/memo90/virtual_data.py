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

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.analysis.linearisation import LinearFlow, linearise, virtual_data
from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import second
from gradlab.observe.local import automatic_hessian, local
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: |δv|/|W_0|, each twice the one before.
DELTAS = (1e-3, 2e-3, 4e-3)
RECORDS = (0.5, 1.0, 2.0)


class _Shared(Look):
    """Hessians, flows and spectra of the net and of its virtual linear net, around the last weights."""

    setting = "the square loss without decay, a smooth network"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        plain = isinstance(problem.loss, Square) and not np.asarray(problem.decay).any()
        return bool(plain and problem.network.smooth)

    @cached_property
    def linear(self) -> LinearFlow:
        """The flow of the linear net on virtual data, in the weights of the net."""
        return linearise(virtual_data(self.problem, self.tree(self.end)), (self.end[None],))

    @cached_property
    def hessian(self) -> np.ndarray:
        """∇²L at W_0."""
        return automatic_hessian(self.problem, self.end)

    @cached_property
    def isolated_minimum(self) -> bool:
        """Whether ∇f has the rank D: W_0 is isolated and non-degenerate."""
        rows = local(self.problem, self.end).rows
        return bool(np.linalg.matrix_rank(rows) == self.size)

    @property
    def nearby(self) -> np.ndarray:
        """Orbits from W_0 + δv at every record, the start first: (3, records, P)."""
        return self.trajectory["nearby"].values

    @cached_property
    def changes(self) -> np.ndarray:
        """Changes of the eigenvalues from W_0 to the minimum that each orbit tends to, over the largest: (3, P)."""
        here = np.linalg.eigvalsh(self.hessian)
        ends = [_limit(self.problem, orbit[-1]) for orbit in self.nearby]
        there = [np.linalg.eigvalsh(automatic_hessian(self.problem, end)) for end in ends]
        return (np.asarray(there) - here) / here[-1]

    @cached_property
    def rate(self) -> Number:
        """The change of the spectrum per unit of δ, as δ → 0."""
        limit, bar = _extrapolated(self.changes / np.asarray(DELTAS)[:, None])
        rounding = 8.0 * 1e3 * self.size * EPS / DELTAS[0]
        return Number(float(np.max(np.abs(limit))), float(np.max(np.abs(bar))) + rounding)

    @at_most(1e-12, role="hypothesis")
    def residual(self) -> Number:
        """The largest residual at W_0, relative to the largest output: zero loss.

        Rounding of the outputs; a residual above it would show in the Hessian.
        """
        f = np.asarray(self.problem.outputs(self.tree(self.end)))
        gap = np.max(np.abs(f - np.asarray(self.problem.data.targets)))
        return Number(float(gap / np.max(np.abs(f))), exact=True)

    @at_most(1e-10, sentence="hessian")
    def hessians(self) -> Number:
        """‖H − H'‖/‖H‖, of the net at W_0 and of the linear net.

        Rounding of two derivatives.
        """
        virtual = np.asarray((self.linear.vectors * self.linear.values) @ self.linear.vectors.T)
        gap = float(np.linalg.norm(self.hessian - virtual) / np.linalg.norm(self.hessian))
        return Number(gap, 1e-14 * self.size)

    def apart(self) -> Number:
        """lim ‖φ_t(W_0 + δv) − ψ_t(W_0 + δv)‖/δ, the largest over times, its bar from the last extrapolation."""
        flows = [np.asarray(self.linear(time, jnp.asarray(self.nearby[:, 0]))) for time in self.time]
        gaps = self.nearby - np.stack(flows, axis=1)
        limit, bar = _extrapolated(gaps / (np.asarray(DELTAS)[:, None, None] * np.linalg.norm(self.end)))
        found, error = (float(np.max(np.linalg.norm(part, axis=1))) for part in (limit, bar))
        return Number(found, error + 8.0 * EPS / DELTAS[0])

    def shown(self):
        moved = np.maximum(np.max(np.abs(self.changes), axis=1), 1e-16)
        return {"moved": ("delta", moved), "distance": ("delta", np.asarray(DELTAS))}


class VirtualDataPrinted(_Shared):
    @at_most(1e-3, sentence="linearised")
    def together(self) -> Number:
        """lim ‖φ_t(W_0 + δv) − ψ_t(W_0 + δv)‖/δ as δ → 0, the largest over times.

        Richardson's rule, see the module's docstring; another linearisation would leave O(1).
        """
        return self.apart()

    @at_most(1e-6, sentence="conjugate")
    def spectra(self) -> Number:
        """lim max_i |λ_i(H(W_δ)) − λ_i(H(W_0))|/(δ λ_max) as δ → 0, W_δ the minimum to which W_0 + δv flows.

        Rounding of eigenvalues over δ, see the module's docstring. 0 under a differentiable conjugacy, as all minima of
        the linear net have one Hessian; δ is relative to |W_0|.
        """
        return self.rate


class VirtualDataCorrected(_Shared):
    @at_most(1e-3, sentence="second_order")
    def together(self) -> Number:
        """lim ‖φ_t(W_0 + δv) − ψ_t(W_0 + δv)‖/δ as δ → 0, the largest over times.

        Richardson's rule, see the module's docstring; another linearisation would leave O(1).
        """
        return self.apart()

    @at_most(1e-6, sentence="isolated")
    def isolated(self) -> Number | None:
        """The change of the spectrum per unit of δ where the rank of ∇f is D; nothing is asked elsewhere.

        Rounding of eigenvalues over δ, see the module's docstring.
        """
        return self.rate if self.isolated_minimum else NOT_ASKED

    @at_least(1e-3, role="control", sentence="isolated")
    def elsewhere(self) -> Number | None:
        """The same where minima form a manifold and the net is not one layer: the study sees a spectrum that changes.

        O(1) per unit of |W|, and a thousand times what is asked to vanish.
        """
        return NOT_ASKED if self.isolated_minimum or self.facts.get("layers") == 1 else self.rate


def _extrapolated(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The limit at δ = 0 of values at DELTAS (first axis), of two steps of Richardson's rule, and their difference."""
    near, far = 2.0 * values[0] - values[1], 2.0 * values[1] - values[2]
    return (4.0 * near - far) / 3.0, (near - far) / 3.0


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


#: Name, network, examples.
QUICK = (
    ("tanh, D = 9 > N", Dense((2, 3, 1), "tanh"), 4),
    ("tanh, D = 6 < N", Dense((2, 2, 1), "tanh"), 10),
)
FULL = (
    ("deep linear, D = 8 > N", Dense.deep_linear((3, 2, 1)), 2),
    ("one layer, D = 5 > N", Dense((5, 1)), 3),
    ("GELU, D = 12 > N", Dense((3, 3, 1), "gelu"), 5),
    ("sigmoid, 2 outputs, D = 12 > 2N", Dense((2, 3, 2), "sigmoid"), 3),
    ("deep linear, 3 layers, D = 10 > N", Dense.deep_linear((2, 2, 2, 1)), 2),
)


def cases(key, *, plans, members):
    """Every plan as one ensemble: three starts for each problem."""
    random = generator(key)
    for name, network, examples in plans:
        drawn = [_problem(random, network, examples) for _ in range(members)]
        largest = [np.linalg.eigvalsh(automatic_hessian(*one))[-1] for one in drawn]
        aside = [(step := random.standard_normal(one.size)) / np.linalg.norm(step) for one, _ in drawn]
        with jax.enable_x64(True):
            starts: list[Any] = [
                (problem, problem.unravel(jnp.asarray(centre + delta * (unit * np.linalg.norm(centre)))), {})
                for (problem, centre), unit in zip(drawn, aside, strict=True)
                for delta in DELTAS
            ]
        solver = Adaptive("dopri8", 1e-10, 1e-13)
        seen = list(ensemble(GradientFlow, starts, np.asarray(RECORDS) / np.median(largest), solver=solver))
        for i, (problem, centre) in enumerate(drawn):
            mine = [one.trajectory for one in seen[3 * i : 3 * i + 3]]
            facts = {"net": name, "draw": i + 1, "layers": len(network.widths) - 1}
            yield case(problem, _around(mine, centre), **facts)


def _problem(random, network, examples):
    """A net on its own outputs at normal weights, and these weights."""
    inputs = random.standard_normal((examples, *network.input_shape))
    blank = Problem(network, Square(), Data(inputs, np.zeros((examples, network.outputs))))
    centre = random.standard_normal(blank.size)
    targets = np.asarray(blank.outputs(blank.unravel(jnp.asarray(centre))))
    return Problem(network, Square(), Data(inputs, targets)), centre


def _around(orbits, centre):
    """Three orbits and the point that they surround, each with its second."""
    found = {"t": orbits[0]["t"], "final_weights": ("weight", centre)}
    found[f"final_weights{second.COARSE}"] = ("weight", second.shaken(centre, seed=1))
    for end in ("", second.COARSE):
        rows = np.stack([one[f"weights{end}"].transpose("record", "weight").values for one in orbits])
        found[f"nearby{end}"] = (("delta", "record", "weight"), rows)
    return xr.Dataset(found)


FIGURE = Figure(
    Panel(
        "moved",
        "distance",
        "change of the Hessian's\neigenvalues, over the largest",
        r"$\delta$ (relative to $|W_0|$)",
        by=("net",),
        log="xy",
    ),
    Panel(
        "together",
        "case",
        r"$|\varphi_t-\psi_t|/\delta$ as $\delta\to 0$",
        "case",
        by=("net",),
        log="y",
        reference={"tolerance": 1e-3},
    ),
    caption="Left: eigenvalues at the minimum that the flow from W_0 + δv tends to, against those at W_0: in nets with "
    "more weights than examples they move in proportion to δ, which no differentiable conjugacy to a linear net "
    "allows. Right: the two flows agree to first order in δ everywhere.",
)
BUDGETS = {
    "quick": {"plans": QUICK, "members": 10},
    "full": {"plans": QUICK + FULL, "members": 16},
    "few": {"plans": QUICK, "members": 2},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.virtual-data", VirtualDataPrinted),
        ("memo90.virtual-data-corrected", VirtualDataCorrected),
    )
)
