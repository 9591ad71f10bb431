"""memo90.regularised-exp-form: equations 24 and 25, and the closed form of the regularised equilibrium.

What is printed. Flow ẇ = Σ y_n x_n e^{−y_n x_n·w} − λw (24), Hessian of −L −Σ x_n x_nᵀ e^{…} − λ (25), the
equilibrium Σ x_n e^{−x_n·w} = λw "which can be solved by w = Σ k_n x_n with e^{−k_n x_n·Σ_j x_j} = k_n λ". (The middle
of (24), −∇(L + λ|w|²), would give 2λ; the convention ½λ‖w‖² gives the printed flow, and only the name of λ depends on
it.) y_n is absorbed in x_n.

With w = Σ k_j x_j the equation says k_n λ = e^{−x_n·Σ_j k_j x_j}: the print has k_n in the place of k_j under the sum.
The two agree where x_n·Σ_j (k_j − k_n) x_j = 0 for all n, so for orthogonal points, for points with equal k, and for
one point, and not otherwise (docs/notes/memo90.regularised-exp-form.md). Where c_n = x_n·Σ_j x_j < 0 the printed
equation has two solutions or none (none for λ < e|c_n|); the study takes the nearest, and counts 1 where there is none.

Tolerances. Limits and equilibria as in notes.regularised-exp. The printed form is closed, k_n = W(c_n/λ)/c_n with
Lambert's W: w is known to eps |log λ| relative to Σ|k_n|‖x_n‖, which is the error bar; 1e-6 of ‖w‖ is allowed. (25)
is a sum of N products: N eps, 1e-12 allowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import lambertw

from gradlab import figures
from gradlab.analysis.one_layer import linear_exponential
from gradlab.claims import exponential as ex
from gradlab.claims import one_layer as one
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study

CLAIM = Claim(
    id="memo90.regularised-exp-form",
    source="memo90",
    statement="The exponential loss with decay has the flow ẇ = Σ y_n x_n e^{−y_n x_n·w} − λw and the Hessian "
    "Σ x_n x_nᵀ e^{−y_n x_n·w} + λ, always definite; its equilibrium Σ x_n e^{−x_n·w} = λw is solved by "
    "w = Σ k_n x_n "
    "with e^{−k_n x_n·Σ_j x_j} = k_n λ.",
    formula=r"\sum_n x_n e^{-x_n^{\top}w}=\lambda w,\qquad w=\sum_n k_n x_n,\qquad "
    r"e^{-k_n x_n\cdot\sum_j x_j}=k_n\lambda",
    passage="Section 11.2, item 3: eqs. 24, 25 and the line between them",
    hypotheses=("one layer, linear, one output", "exponential loss, λ > 0", "y_n absorbed in x_n"),
    convention="Σ e^{−y_n x_n·w} + λ/2 ‖w‖², which has the flow of eq. 24; with the printed λ|w|² read 2λ.",
)

CORRECTED = Claim(
    id="memo90.regularised-exp-form-corrected",
    source="memo90",
    statement="The equilibrium is w = Σ k_n x_n with the coupled equations e^{−x_n·Σ_j k_j x_j} = k_n λ, whose "
    "solution exists, is unique and has k_n > 0. They decouple to k_n = W(‖x_n‖²/λ)/‖x_n‖², W Lambert's "
    "function, for orthogonal points.",
    formula=r"w=\sum_n k_n x_n,\qquad e^{-x_n\cdot\sum_j k_j x_j}=k_n\lambda,\qquad n=1,\dots,N",
    passage="docs/notes/memo90.regularised-exp-form.md; the passage as in memo90.regularised-exp-form",
    hypotheses=CLAIM.hypotheses,
    convention=CLAIM.convention,
    corrects=CLAIM.id,
)

HESSIAN = Measure(
    "hessian",
    "‖∇²L − Σ x xᵀ e^{−x·w} − λ‖/‖∇²L‖ at the end of the run",
    "<=",
    1e-12,
    "sums of N products of exponentials of |x·w| ≤ 30: 30 N eps ≈ 1e-13",
)
MEASURES = (
    ex.SETTING,
    ex.DECAY,
    ex.LIMIT,
    HESSIAN,
    ex.POSITIVE,
    Measure(
        "closed_form",
        "distance of the printed Σ k_n x_n from the equilibrium, over its norm; 1 where the printed "
        "equation for k_n "
        "has no solution",
        "<=",
        1e-6,
        "both sides are known to about 1e-14; 0 where the form is right",
    ),
)
CORRECTED_MEASURES = (
    ex.SETTING,
    ex.DECAY,
    ex.LIMIT,
    HESSIAN,
    ex.POSITIVE,
    Measure(
        "coupled",
        "distance of Σ k_n x_n from the end of the run, over its norm, k by Newton's method on the "
        "coupled equations",
        "<=",
        1e-6,
        "another road than that of the limit: N unknowns log k_n, one equation each; the error is the "
        "rest of the way",
    ),
    Measure(
        "orthogonal",
        "the same for k_n = W(‖x_n‖²/λ)/‖x_n‖²; nothing is asked unless the points are orthogonal",
        "<=",
        1e-6,
        "closed forms on both sides",
    ),
)


def printed(rows: np.ndarray, decay: float) -> list[np.ndarray]:
    """Every w = Σ k_n x_n with e^{−k_n c_n} = k_n λ, c_n = x_n·Σ_j x_j; empty where some k_n does not exist."""
    solutions = []
    for c in rows @ rows.sum(axis=0):
        if abs(c) < 1e-300:
            solutions.append([1.0 / decay])
            continue
        argument = c / decay
        if argument >= -np.exp(-1.0):
            branches = (0, -1) if argument < 0.0 else (0,)
            solutions.append([float(lambertw(argument, branch).real) / c for branch in branches])
        else:
            return []
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


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """The end of a run against the printed form, the coupled one, and the printed Hessian."""
    net = linear_exponential(problem)
    if net is None or net.decay <= 0.0:
        unknown = {m.id: np.nan for m in (*MEASURES, *CORRECTED_MEASURES) if m.role == "part"}
        return one.scalars({**unknown, "linear": float(net is not None), "decay": 0.0})
    w, rows, solution = one.end(trajectory), net.rows, net.equilibrium
    numbers = {"linear": 1.0, "decay": 1.0, **ex.at_limit(problem, net, w)}
    hessian = np.asarray(problem.hessian((w[None],)))
    expected = net.decay * net.curvature(w)
    numbers["hessian"] = float(np.linalg.norm(hessian - expected) / np.linalg.norm(hessian))
    sizes = np.linalg.norm(rows, axis=1)
    # Lambert's function and the sums, relative to the terms; the dual has the size of the k
    rounding = 8.0 * ex.EPS * (1.0 + abs(np.log(net.ratio))) * float(np.exp(solution.log_dual) @ sizes)
    known = (solution.error + rounding) / solution.norm
    distances = [float(np.linalg.norm(v - solution.weights)) for v in printed(rows, net.ratio)]
    numbers["closed_form"] = min(distances) / solution.norm if distances else 1.0
    numbers["closed_form_error"] = known
    own = coupled(rows, net.ratio)
    numbers["coupled"] = float(np.linalg.norm(own - w)) / solution.norm
    numbers["coupled_error"] = numbers["limit_error"] + known
    squares = sizes**2
    gram = rows @ rows.T - np.diag(squares)
    apart = bool(np.abs(gram).max(initial=0.0) <= 16.0 * ex.EPS * squares.max())
    lambert = (lambertw(squares / net.ratio).real / np.where(squares > 0.0, squares, 1.0)) @ rows
    numbers["orthogonal"] = float(np.linalg.norm(lambert - solution.weights)) / solution.norm
    numbers["orthogonal_error"] = known if apart else 0.0
    numbers["orthogonal_tolerance"] = 1e-6 if apart else 1e300
    return one.scalars({**numbers, "solvable": float(bool(distances)), "log_decay": float(np.log(net.ratio))})


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
DECAYS = (1.0, 1e-2, 1e-4)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Eight runs to the equilibrium at each of three decays; the full budget draws five times as many."""
    random = one.generator(key)
    for i in range(5 if budget == "full" else 1):
        for decay in DECAYS:
            kinds = [kind for kind in KINDS for _ in range(2)]
            problems, labels = [], []
            for j, kind in enumerate(kinds):
                signs = np.where(random.uniform(size=6) < 0.5, -1.0, 1.0)
                problems.append(ex.make(_points(random, kind) * signs[:, None], signs, decay))
                labels.append(f"{kind}, λ = {decay:.0e}, {i}.{j + 1}")
            starts = [(0.01, 1.0)[j % 2] * random.standard_normal(8) for j in range(len(kinds))]
            yield from ex.flows(labels, problems, starts, (40.0 / decay,))


def drawing(dataset: xr.Dataset) -> Any:
    """Where the printed and the coupled form lie, by kind of data."""
    figure, (left, right) = figures.panels(2, height=3.2)
    labels = [str(label).split(",")[0] for label in dataset["case"].values]
    kinds = [kind for kind in KINDS if kind in labels]
    which = {kind: np.array([label == kind for label in labels]) for kind in kinds}
    decay = np.exp(dataset["log_decay"].values)
    for axes, name, title in (
        (left, "closed_form", "printed: uncoupled"),
        (right, "coupled", "coupled equations"),
    ):
        values = np.maximum(dataset[name].values, 1e-17)
        figures.scatter(
            {kind: decay[chosen] for kind, chosen in which.items()},
            {kind: values[chosen] for kind, chosen in which.items()},
            r"decay $\lambda$",
            "distance from the equilibrium, relative",
            log="xy",
            reference={"tolerance": 1e-6},
            title=title,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "The equilibrium against Σ k_n x_n. Left: k from the printed equation (1 where it has no "
        "solution), right only "
        "right only for orthogonal points and equal k. Right: k from the coupled equations.",
    )


_SETTINGS = "24 runs of 40/λ, λ = 1, 1e-2, 1e-4 (dopri8 at 1e-10), N, d = 6, 8: orthogonal, equal k, separable, rank 3"
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, drawing, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, drawing, settings=_SETTINGS),
)
