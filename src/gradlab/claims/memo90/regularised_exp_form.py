"""memo90.regularised-exp-form: equations 24 and 25, and the closed form of the regularised equilibrium.

What is printed. Flow ẇ = −∇(L + λ|w|²) = Σ y_n x_n e^{−y_n x_n·w} − λw (24; that is the flow of λ/2 |w|²: a factor of
two in the name of λ), Hessian of −L −Σ x_n x_nᵀ e^{…} − λ (25), the equilibrium Σ x_n e^{−x_n·w} = λw "which can be
solved by w = Σ k_n x_n with e^{−k_n x_n·Σ_j x_j} = k_n λ". y_n is absorbed in x_n.

With w = Σ k_j x_j the equation says k_n λ = e^{−x_n·Σ_j k_j x_j}: the print has k_n in the place of k_j under the sum.
The two agree where x_n·Σ_j (k_j − k_n) x_j = 0 for all n, so for orthogonal points, for points with equal k, and for
one point, and not otherwise (docs/notes/memo90.regularised-exp-form.md). Where c_n = x_n·Σ_j x_j < 0 the printed
equation has two solutions or none (none for λ < e|c_n|); the study takes the nearest, and counts 1 where there is none.

Settings. 24 runs of 40/λ, λ = 1, 1e-2, 1e-4 (dopri8 at 1e-10), N, d = 6, 8: orthogonal, equal k, separable, rank 3.

Tolerances. Limits as in notes.regularised-exp. The printed form is closed, k_n = W(c_n/λ)/c_n with Lambert's W: w is
known to eps |log λ| of Σ|k_n|‖x_n‖; 1e-6 of ‖w‖ is allowed. (25) is a sum of N products: N eps, 1e-12 allowed.
"""

import itertools
from typing import Any

import numpy as np
from scipy.special import lambertw

from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.exponential import DecayedNet, DecayPrinted
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive


def uncoupled(rows: np.ndarray, decay: float) -> list[np.ndarray]:
    """Every w = Σ k_n x_n with e^{−k_n c_n} = k_n λ, c_n = x_n·Σ_j x_j; empty where some k_n does not exist."""
    solutions = []
    for c in rows @ rows.sum(axis=0):
        if abs(c) < 1e-300:
            solutions.append([1.0 / decay])
            continue
        argument = c / decay
        if argument < -np.exp(-1.0):
            return []
        branches = (0, -1) if argument < 0.0 else (0,)
        solutions.append([float(lambertw(argument, branch).real) / c for branch in branches])
    return [np.asarray(k) @ rows for k in itertools.product(*solutions)]


def coupled(rows: np.ndarray, decay: float) -> np.ndarray:
    """Σ k_n x_n with log k_n + x_n·Σ_j k_j x_j = −log λ, by damped Newton in z = log k on that system.

    The Jacobian is 1 + G diag(k), G the Gram matrix: similar to 1 plus a positive semi-definite matrix, so regular.
    """
    gram, target = rows @ rows.T, -np.log(decay)

    def missed(z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return z + gram @ np.exp(z) - target

    z = np.full(len(rows), min(target, 0.0) - np.log(1.0 + np.abs(gram).sum(axis=1).max()))
    for _ in range(500):
        here = missed(z)
        step = -np.linalg.solve(np.eye(len(z)) + gram * np.exp(z), here)
        length = 1.0
        while length > 1e-10 and not np.linalg.norm(missed(z + length * step)) < np.linalg.norm(here):
            length /= 2.0
        if length <= 1e-10:
            break
        z = z + length * step
    return np.exp(z) @ rows


class _Shared(DecayedNet):
    """The end of a run against the coupled form, and the Hessian there."""

    def missed(self, w: np.ndarray, other: np.ndarray) -> float:
        """‖w − other‖ over the norm of the equilibrium."""
        return float(np.linalg.norm(w - other)) / self.solution.norm

    @at_most(1e-12, sentence="hessian")
    def hessian(self) -> Number:
        """‖∇²L − Σ x xᵀ e^{−x·w} − λ‖/‖∇²L‖ at the end of the run.

        Sums of N products of exponentials of |x·w| ≤ 30: 30 N eps ≈ 1e-13.
        """
        gap = np.linalg.norm(self.second_derivatives - self.net.decay * self.net.curvature(self.end))
        return Number(float(gap / np.linalg.norm(self.second_derivatives)), EPS * len(self.net.rows))

    @at_most(1e-6, sentence="form")
    def coupled(self) -> Number:
        """Distance of Σ k_n x_n from the end of the run, over its norm, k by Newton's method on the coupled equations.

        Another road than that of the limit: N unknowns log k_n, one equation each.
        """
        missed = self.missed(coupled(self.net.rows, self.net.ratio), self.end)
        return Number(missed, self.apart / self.solution.norm)

    def shown(self):
        solvable = float(bool(uncoupled(self.net.rows, self.net.ratio)))
        return {"solvable": solvable, "strength": self.net.ratio}


class RegularisedExpFormPrinted(_Shared, DecayPrinted):
    @at_most(1e-6, sentence="form", role="print", repaired="coupled")
    def closed_form(self) -> float:
        """Distance of the printed Σ k_n x_n from the equilibrium, over its norm; 1 where no k_n solves the print.

        Both sides are known to about 1e-14; 0 where the form is right.
        """
        found = uncoupled(self.net.rows, self.net.ratio)
        return min((self.missed(w, self.solution.weights) for w in found), default=1.0)


class RegularisedExpFormCorrected(_Shared):
    @at_most(1e-6, sentence="orthogonal")
    def orthogonal(self) -> float | None:
        """The same for k_n = W(‖x_n‖²/λ)/‖x_n‖² and orthogonal points, against the equilibrium.

        Closed forms on both sides.
        """
        rows = self.net.rows
        squares = np.linalg.norm(rows, axis=1) ** 2
        gram = rows @ rows.T - np.diag(squares)
        if np.abs(gram).max(initial=0.0) > 64.0 * EPS * squares.max():
            return NOT_ASKED
        ratio = self.net.ratio
        lambert = (lambertw(squares / ratio).real / np.where(squares > 0.0, squares, 1.0)) @ rows
        return self.missed(lambert, self.solution.weights)


def _points(random: np.random.Generator, kind: str) -> np.ndarray:
    """Signed inputs (6, 8): ``orthogonal``, ``equal k`` (equal norms and angles), ``separable``, ``random``."""
    rows = random.standard_normal((6, 8))
    turned = np.linalg.qr(rows.T)[0].T
    if kind == "orthogonal":
        return turned * random.uniform(0.5, 2.0, (6, 1))
    if kind == "equal k":
        # Gram matrix 1 + ρ: every permutation of the points is a symmetry
        return np.linalg.cholesky(np.eye(6) + random.uniform(0.1, 2.0)) @ turned
    if kind == "separable":
        direction = random.standard_normal(8)
        rows = rows + np.outer(np.sign(rows @ direction) * 0.3, direction / np.linalg.norm(direction))
        return rows * np.sign(rows @ direction)[:, None]
    return 0.6 * random.standard_normal((6, 3)) @ np.linalg.qr(random.standard_normal((8, 3)))[0].T


KINDS = ("orthogonal", "equal k", "separable", "random")


def cases(key, *, decays, each, draws):
    """Runs to the equilibrium at every decay, ``each`` of every kind."""
    random = generator(key)
    for i in range(draws):
        for decay in decays:
            members = []
            for j, kind in enumerate(kind for kind in KINDS for _ in range(each)):
                signs = np.where(random.uniform(size=6) < 0.5, -1.0, 1.0)
                problem = exponential.linear((_points(random, kind) * signs[:, None], signs), decay=decay)
                members.append((problem, {"data": kind, "λ": decay, "draw": f"{i}.{j + 1}"}))
            drawn = [
                (problem, ((0.01, 1.0)[j % 2] * random.standard_normal((1, 8)),), facts)
                for j, (problem, facts) in enumerate(members)
            ]
            yield from ensemble(GradientFlow, drawn, (40.0 / decay,), solver=Adaptive("dopri8", 1e-10))


def _panel(name, ylabel):
    return Panel(
        name,
        "strength",
        ylabel,
        r"decay $\lambda$",
        by=("data",),
        log="xy",
        floor=1e-17,
        reference={"tolerance": 1e-6},
    )


CAPTION = "The equilibrium against Σ k_n x_n, relative, by kind of data. "
FIGURES = {
    RegularisedExpFormPrinted: Figure(
        _panel("closed_form", "printed: uncoupled"),
        _panel("coupled", "coupled equations"),
        caption=f"{CAPTION}Left: k from the printed equation (1 where it has no solution), right only for orthogonal "
        "points and equal k. Right: k from the coupled equations.",
    ),
    RegularisedExpFormCorrected: Figure(
        _panel("coupled", "coupled equations"),
        _panel("orthogonal", "Lambert's function"),
        caption=f"{CAPTION}Left: k from the coupled equations. Right: in closed form, for orthogonal points.",
    ),
}
BUDGETS: dict[str, dict[str, Any]] = {
    "quick": {"decays": (1.0, 1e-2, 1e-4), "each": 2, "draws": 1},
    "full": {"draws": 5},
    "few": {"decays": (1.0, 1e-2), "each": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURES[look], settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.regularised-exp-form", RegularisedExpFormPrinted),
        ("memo90.regularised-exp-form-corrected", RegularisedExpFormCorrected),
    )
)
