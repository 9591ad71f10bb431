"""memo90.penalty-hessian: the Hessian in the normalised weights V_k at fixed norms, and its sign (eq. 52).

What is printed. For L = Σ e^{−ρ f̃(V; x_n)} + Σ λ_k(‖V_k‖² − 1), ρ = Π ρ_k, the Hessian of −L is Σ[−ρ² ∂f̃∂f̃ᵀ + ρ
∂²f̃]e^{−ρf̃} − 2λ. "Thus the Hessian is negative semidefinite for λ_k = 0 for large times because the absolute value
of the first term decreases more slowly than the second term. However, it is asymptotically negative definite with any
λ_k > 0."

What fails. The first term is larger by ρ, but it is zero where all ∂f̃ are: there ∂²f̃ alone decides, and has both
signs wherever two hidden units serve. Relative to the largest eigenvalue these are O(1/ρ), at no time zero. With the
λ_k that hold ‖V_k‖ = 1, 2λ_k = ρ Σ f̃ e^{−ρf̃}, the Hessian is semidefinite on the tangents of the spheres at a
minimum of L at fixed norms (docs/notes/memo90.penalty-hessian.md).

Settings, before any run. V is the direction of the minimum of Σ e^{−f} + λ/2 ‖W‖², λ = 1e-6, from a random start
(where norms of the layers are alike): the limit of flows has such directions, and at its own ρ it is a minimum at
fixed norms. Deep linear nets of two and three layers, hidden units of width 1 to 4, ReLU nets, N = 5 points in d = 3;
and (1, 0)(1, 0) with one example, whose positive eigenvalue is ρe^{−ρ}. Large times are ρ with least ρf̃ of 10, 30,
100, 300.

Tolerances. Counts are known between bounds (analysis/equilibria/counting.py). The formula and automatic
differentiation agree to 1e-10 of the Hessian. With λ = 1e-3 at ρf̃ = 300 all but −2λ is below e^{−290}: half of it is
asked. The bound c/(ρ − c) on the positive share is a theorem; rounding is 1e-9 of it.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims.cases import Case, case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.observe import local
from gradlab.observe.layers import layer_of
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LEVELS, DECAY, PENALTY = np.array([10.0, 30.0, 100.0, 300.0]), 1e-6, 1e-3


class _Shared(Look):
    """V, its margins, and the problem at any ρ: inputs times ρ."""

    setting = "a net of degree one in every layer, one output, the exponential loss"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is a dense net without bias, linear or ReLU, under that loss."""
        network = problem.network
        if not (isinstance(network, Dense) and isinstance(problem.loss, Exponential)) or network.bias:
            return False
        return network.outputs == 1 and (network.linear or network.activation.name == "relu")

    @cached_property
    def layer(self) -> np.ndarray:
        """The layer of every weight."""
        return np.asarray(layer_of(self.problem.network))

    @cached_property
    def norms(self) -> np.ndarray:
        """ρ_k of the weights as they are."""
        count = self.layer.max() + 1
        return np.asarray([np.linalg.norm(self.end[self.layer == k]) for k in range(count)])

    @cached_property
    def V(self) -> np.ndarray:
        """All V_k as one vector."""
        return self.end / self.norms[self.layer]

    @cached_property
    def margins(self) -> np.ndarray:
        """y_n f̃(V; x_n), (N,)."""
        return local.outputs(self.problem, self.V)[:, 0] * np.asarray(self.problem.data.targets)

    def at(self, rho: float) -> Problem:
        """The problem in V at that ρ, without penalty."""
        return eqx.tree_at(
            lambda one: one.data.inputs, self.problem, jnp.asarray(rho * self.problem.data.inputs)
        )

    def pieces(self, rho: float) -> tuple[np.ndarray, np.ndarray]:
        """Σ ρ² ∂f̃∂f̃ᵀ e^{−ρf̃} and −Σ ρ ∂²f̃ e^{−ρf̃}, derivatives by recursion through the layers."""
        here = local.local(self.at(rho), self.V)
        return here.squares, here.curved

    @cached_property
    def spectra(self) -> list[counting.Eigenvalues]:
        """Of ∇²L at every level, λ_k = 0."""
        return [counting.eigenvalues(self.at(level / self.margins.min()), self.V) for level in LEVELS]

    @property
    def least(self) -> np.ndarray:
        """Least eigenvalue of ∇²L over the largest, at every level."""
        return np.asarray([one.values[0] / np.abs(one.values).max() for one in self.spectra])

    @at_least(0.0, role="hypothesis")
    def separates(self) -> Number:
        """Least margin y_n f̃ over the norm of the inputs: the data are separated.

        "Around a minimum", L → 0.
        """
        return Number(float(self.margins.min()), 1e-12)

    @at_most(0.5, role="hypothesis", exact=True)
    def kink(self) -> float:
        """One where V lies on a kink of the activation, within 1e-6.

        Second derivatives exist only off the kinks.
        """
        return counting.near_kink(self.problem, self.V)

    @at_most(1e-10, sentence="formula")
    def formula(self) -> Number:
        """‖−∇²L − Σ[−ρ² ∂f̃∂f̃ᵀ + ρ ∂²f̃]e^{−ρf̃} + 2λ‖/‖∇²L‖ at ρf̃ = 10, λ = 1e-3, ∇²L by automatic differentiation.

        Rounding of sums of N products.
        """
        rho = LEVELS[0] / self.margins.min()
        problem = Problem(self.problem.network, self.problem.loss, self.at(rho).data, 2.0 * PENALTY)
        true = -local.automatic_hessian(problem, self.V)
        squares, curved = self.pieces(rho)
        printed = -squares - curved - 2.0 * PENALTY * np.eye(len(true))
        return Number(float(np.linalg.norm(true - printed) / np.linalg.norm(true)), 1e-14)

    @at_most(-0.5, sentence="definite")
    def definite(self) -> Number:
        """Largest eigenvalue of −∇²L − 2λ over 2λ at ρf̃ = 300, λ = 1e-3: negative definite.

        −1 and e^{−290}.
        """
        return Number(float(-self.spectra[-1].values[0] / (2.0 * PENALTY)) - 1.0, 1e-9)

    def shown(self):
        return {
            "level": ("record", LEVELS),
            "positive share": ("record", np.maximum(-self.least, 1e-17)),
            "count": float(np.sum(self.spectra[-1].values < -1e-9 * np.abs(self.spectra[-1].values).max())),
        }


class PenaltyHessianPrinted(_Shared):
    @at_most(0.5, sentence="semidefinite")
    def positive(self) -> Number:
        """Positive eigenvalues of the Hessian of −L at ρf̃ = 300, λ_k = 0.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        found = counting.below_zero(self.spectra[-1].values, self.spectra[-1].bound)
        return Number(found.number, found.error, exact=True)


class PenaltyHessianCorrected(_Shared):
    @at_most(
        1.0 + 1e-6,
        sentence="relative",
        changed="First the fall of the share from ρf̃ = 10 to 80, a quarter; the bound says nothing of a ratio.",
    )
    def relative(self) -> Number | None:
        """Largest positive eigenvalue of the Hessian of −L over the largest in size, over c/(ρ − c), at ρf̃ = 300.

        c = N(K − 1) max‖x‖/(K f̃²), since ‖∂²f̃‖ ≤ (K − 1)‖x‖ and ‖∂f̃‖ ≥ √K f̃; (1, 0)(1, 0) attains it. Nothing is
        asked where ρ < 2c.
        """
        K, margin = len(self.norms), float(self.margins.min())
        size = float(np.max(np.linalg.norm(np.asarray(self.problem.data.inputs), axis=1)))
        c, rho = len(self.margins) * (K - 1) * size / (K * margin**2), LEVELS[-1] / margin
        if rho < 2.0 * c:
            return NOT_ASKED
        return Number(float(max(-self.least[-1], 0.0)) * (rho - c) / c, 1e-9)

    @at_least(-1e-7, sentence="tangent")
    def tangent(self) -> Number:
        """Least eigenvalue of ∇²L + 2λ_k on the tangents of the spheres at the weights' own ρ, over the largest.

        2λ_k = ρ Σ f̃ e^{−ρf̃}; ≥ 0 at a minimum. Newton's end is off by 1e-9 of the weights, which moves the kernel
        by that.
        """
        rho = float(np.prod(self.norms))
        squares, curved = self.pieces(rho)
        pull = float(np.sum(rho * self.margins * np.exp(-rho * self.margins)))
        H = squares + curved + pull * np.eye(self.size)
        normals = np.stack([np.where(self.layer == k, self.V, 0.0) for k in range(len(self.norms))], axis=1)
        basis = np.linalg.svd(normals, full_matrices=True)[0][:, normals.shape[1] :]
        values = np.linalg.eigvalsh(basis.T @ H @ basis)
        return Number(float(values[0] / np.abs(np.linalg.eigvalsh(H)).max()), 1e-9)


NETS = (
    ("two layers, width 1", Dense((3, 1, 1), "identity")),
    ("two layers", Dense((3, 2, 1), "identity")),
    ("two layers, width 4", Dense((3, 4, 1), "identity")),
    ("three layers", Dense((3, 2, 2, 1), "identity")),
    ("ReLU", Dense((3, 4, 1), "relu")),
)


def _minimum(random: np.random.Generator, network: Dense) -> tuple[Problem, np.ndarray]:
    """A minimum with decay that separates, off the kinks."""
    while True:
        data = Data(*exponential.split(random, 5, 3, 3))
        decayed = Problem(network, Exponential("sum"), data, DECAY)
        start = 2.0 * random.standard_normal(decayed.size) / np.sqrt(3.0)
        with np.errstate(all="ignore"):
            end = minimising.minimum(decayed, start)
        problem = Problem(network, Exponential("sum"), data)
        margins = local.outputs(problem, end)[:, 0] * np.asarray(data.targets)
        gradient = local.local(decayed, end).gradient
        at_rest = np.linalg.norm(gradient) < 1e-9 * DECAY * np.linalg.norm(end)
        if margins.min() > 1.0 and at_rest and not counting.near_kink(problem, end):
            return problem, end


def cases(key: Any, *, draws: int) -> Iterator[Case]:
    """Directions of regularised minima, and the smallest example."""
    random = generator(key)
    for draw in range(1, draws + 1):
        for name, network in NETS:
            problem, end = _minimum(random, network)
            yield case(problem, xr.Dataset({"final_weights": ("weight", end)}), net=name, draw=draw)
        size = float(random.uniform(2.0, 6.0))
        smallest = Problem(
            Dense((1, 2, 1), "identity"), Exponential("sum"), Data(np.ones((1, 1)), np.ones(1))
        )
        end = size * np.array([1.0, 0.0, 1.0, 0.0])
        yield case(smallest, xr.Dataset({"final_weights": ("weight", end)}), net="(1, 0)(1, 0)", draw=draw)


FIGURE = Figure(
    Panel(
        "positive share",
        "level",
        "positive eigenvalue over the largest",
        r"least $\rho\tilde f$",
        by=("net",),
        log="xy",
    ),
    Panel("count", "case", r"positive eigenvalues at $\rho\tilde f=300$", "case", by=("net",)),
    caption="Left: largest positive eigenvalue of the Hessian of −L in V over the largest in size: O(1/ρ), zero for "
    "width one only (drawn at 1e-17). Right: how many there are.",
)
BUDGETS = {"quick": {"draws": 4}, "full": {"draws": 20}, "few": {"draws": 1}}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.penalty-hessian", PenaltyHessianPrinted),
        ("memo90.penalty-hessian-corrected", PenaltyHessianCorrected),
    )
)
