"""memo90.non-separable: the exponential loss on data that no w separates, without decay (equations 61 to 63).

What is printed. With one misclassified point there is a finite equilibrium; in one dimension with two points,
w* = log(x_2/x_1)/(x_1 + x_2), hyperbolic (62, 63). "In general … misclassification errors do not 'regularize' all
components of w but only the ones in the span of the misclassified examples", gradient descent being assumed to
converge to w*. A component counts as regularised where the Hessian at w* is definite: what makes the equilibrium
hyperbolic in (63).

What holds (docs/notes/memo90.non-separable.md; Ji and Telgarsky 2019, section 2). Call the *core* the points that
every weak separator leaves on its border: x_n·v = 0 for all v with x_k·v ≥ 0 for all k. On S = span(core) the risk of
the core has one minimiser, with definite Hessian, and P_S w tends to it from every start; the misclassified points are
in the core, but their span is only part of S. Components in the span of the data beside S diverge like log t, those
beside the data stay.

Settings, before any run. One dimension: two points of size in [0.5, 3], either the larger. d = 4, N = 12: one point
minus a positive combination of the others, so that the core is everything and one point is misclassified; the same of
rank 3; and data whose core of 5 points spans a plane, the other 7 separated. A core is found by linear programming.
Flows to t = 3e3.

Tolerances. On converged cases the rest of the way (from the Hessian) is the error bar, and 1e-6 is allowed. Beside S
the pull is 1/t times constants: P_S w is off by C/t = C·3e-4 and the Hessian beside S of that size: 1e-2 is allowed
for C < 30. Margins of the separated points are log t + O(1): half of log t is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.optimize
import xarray as xr

from gradlab import figures
from gradlab.analysis.one_layer import LinearExponential, linear_exponential
from gradlab.analysis.paths import regularised_exponential
from gradlab.claims import exponential as ex
from gradlab.claims import one_layer as one
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study

T = 3e3
#: Eigenvalues of the Hessian below this part of the largest are no curvature, and singular values of the data none.
NONE = 1e-6
#: −log of a decay that changes a minimiser by less than rounding.
FADED = 100.0

CLAIM = Claim(
    id="memo90.non-separable",
    source="memo90",
    statement="On data with a classification error the flow under the exponential loss has a finite "
    "equilibrium w*; "
    "for two points in one dimension w* = log(x_2/x_1)/(x_1 + x_2), hyperbolic. Misclassification does "
    "not regularise "
    "all components of w, only those in the span of the misclassified examples.",
    formula=r"\dot w=-x_1e^{x_1w}+x_2e^{-x_2w},\qquad w^*=\frac{\log(x_2/x_1)}{x_1+x_2},\qquad "
    r"\nabla_wF=-x_1^2e^{x_1w^*}-x_2^2e^{-x_2w^*}<0",
    passage="Appendix, “Non separable case”: eqs. 61 to 63 and the paragraph after them",
    hypotheses=(
        "one layer, linear, exponential loss, no decay",
        "at least one misclassified point at the limit",
        "gradient descent converges to w*",
    ),
    convention="Σ e^{−w·x_n}, y_n absorbed in x_n.",
)

CORRECTED = Claim(
    id="memo90.non-separable-corrected",
    source="memo90",
    statement="Misclassification regularises exactly the components in S, the span of the core: the "
    "points that every weak "
    "separator leaves on its border, among them the misclassified ones. P_S w tends to the one minimiser "
    "on S, where "
    "the Hessian is definite, from every start; in the span of the data beside S w diverges like log t; "
    "beside the data it stays.",
    formula=r"C=\{n: v^{\top}x_n=0\ \forall v: v^{\top}x_k\ge0\ \forall k\},\quad S=\mathrm{span}\{x_n: n\in C\},\quad "
    r"P_Sw(t)\to\mathrm{argmin}_{S}\sum_{n\in C}e^{-w^{\top}x_n}",
    passage="docs/notes/memo90.non-separable.md; the passage as in memo90.non-separable",
    hypotheses=("one layer, linear, exponential loss, no decay", "data that are not separable"),
    convention=CLAIM.convention,
    corrects=CLAIM.id,
)

UNREGULARISED = Measure(
    "undecayed", "no decay (1 if so)", ">=", 0.5, "the number is 0 or 1", role="hypothesis"
)
MISCLASSIFIED = Measure(
    "misclassified", "points with w·x_n < 0 at the end", ">=", 0.5, "a whole number", role="hypothesis"
)
CONVERGES = Measure(
    "converges",
    "a finite equilibrium exists: every point is in the core (1 if so)",
    ">=",
    0.5,
    "the number is 0 or 1",
    role="hypothesis",
)
_ASKED = "the rest of the way is the error bar (module docstring)"
MEASURES = (
    ex.SETTING,
    UNREGULARISED,
    MISCLASSIFIED,
    CONVERGES,
    Measure(
        "finite",
        "distance of the run's end from the minimiser by Newton's method, over 1 + ‖w‖",
        "<=",
        1e-6,
        _ASKED,
    ),
    Measure(
        "line",
        "|w − log(x_2/x_1)/(x_1 + x_2)|; nothing is asked but for two points in 1-D",
        "<=",
        1e-6,
        _ASKED,
    ),
    Measure(
        "slope",
        "|∇²L − (x_1² e^{x_1 w} + x_2² e^{−x_2 w})|/∇²L at the end; nothing is asked but for two points in 1-D",
        "<=",
        1e-12,
        "two exponentials of order one: rounding is 1e-15",
    ),
    Measure(
        "within",
        "least eigenvalue of ∇²L on the span of the misclassified points, over the largest",
        ">=",
        NONE,
        "a Hessian of N exponentials of order one; rounding leaves 1e-15",
    ),
    Measure(
        "only",
        "largest eigenvalue of ∇²L beside the span of the misclassified points, over the largest",
        "<=",
        NONE,
        "0 if those components are not regularised; rounding leaves 1e-15",
    ),
)
CORRECTED_MEASURES = (
    ex.SETTING,
    UNREGULARISED,
    Measure("core", "points in the core", ">=", 0.5, "none if the data are separable", role="hypothesis"),
    Measure(
        "outside", "misclassified points that are not in the core", "<=", 0.5, "a whole number, at late times"
    ),
    Measure(
        "limit",
        "distance of P_S w at the end from the minimiser on S of the core's risk, over 1 + ‖w‖",
        "<=",
        1e-2,
        "C/t with C < 30 (module docstring); 1e-9 where the core is everything",
    ),
    Measure(
        "definite",
        "least eigenvalue of ∇²L on S, over the largest",
        ">=",
        NONE,
        "a Hessian of exponentials of order one; rounding leaves 1e-15",
    ),
    Measure("flat", "largest eigenvalue of ∇²L beside S, over the largest", "<=", 1e-2, "C/t with C < 30"),
    Measure(
        "diverges",
        "least margin of a point that is not in the core, over log t; nothing is asked if there is none",
        ">=",
        0.5,
        "1 + O(1/log t): half of it is asked at log t = 8",
    ),
    Measure(
        "stays",
        "change of w beside the span of the data, over 1 + ‖w‖",
        "<=",
        1e-10,
        "no force acts there: rounding of the steps only",
    ),
)


def core(rows: np.ndarray) -> np.ndarray:
    """Which points every weak separator leaves on its border, (N,) bool.

    max Σ s_n with x_n·v ≥ s_n, 0 ≤ s_n ≤ 1: separators add and scale, so that s_n is 1 wherever it can be positive.
    |v| is bounded, lest rounding of x_n be separated.
    """
    sizes = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(sizes > 0.0, sizes, 1.0)[:, None]
    N, d = rows.shape
    answer = scipy.optimize.linprog(
        np.append(np.zeros(d), -np.ones(N)),
        A_ub=np.hstack([-unit, np.eye(N)]),
        b_ub=np.zeros(N),
        bounds=[(-1e5, 1e5)] * d + [(0.0, 1.0)] * N,
        method="highs",
    )
    return np.asarray(answer.x[d:] < 0.5)


def span(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis (d, r) of the span of the rows."""
    if not len(rows):
        return np.zeros((rows.shape[1], 0))
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    return right[values > NONE * max(values[0], 1e-300)].T


def _beside(basis: np.ndarray) -> np.ndarray:
    """A basis (d, d − r) of the orthogonal complement."""
    left = np.linalg.svd(basis, full_matrices=True)[0] if basis.shape[1] else np.eye(len(basis))
    return left[:, basis.shape[1] :]


def minimiser(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The minimiser of Σ e^{−x_n·w} on the span of ``basis``, for points that are all core: decay e^{−100} is none."""
    return basis @ regularised_exponential(rows @ basis, np.ones(len(rows)), log_decay=-FADED).weights


def _on(hessian: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh(basis.T @ hessian @ basis)


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """The end of a run against equilibria, the Hessian there on and beside the spans that matter."""
    net = linear_exponential(problem)
    if net is None or net.decay > 0.0:
        unknown = {m.id: np.nan for m in (*MEASURES, *CORRECTED_MEASURES) if m.role == "part"}
        nothing = {"misclassified": 0.0, "converges": 0.0, "core": 0.0, "undecayed": 0.0}
        return one.scalars({**unknown, **nothing, "linear": float(net is not None)})
    rows, w, inner = net.rows, one.end(trajectory), core(net.rows)
    hessian = np.asarray(problem.hessian((w[None],)))
    top = float(np.linalg.eigvalsh(hessian)[-1])
    wrong = rows @ w < 0.0
    errors, S, data = span(rows[wrong]), span(rows[inner]), span(rows)
    numbers = {
        "linear": 1.0,
        "undecayed": 1.0,
        "misclassified": float(wrong.sum()),
        "converges": float(inner.all()),
        "core": float(inner.sum()),
        "outside": float(np.sum(wrong & ~inner)),
        "within": float(_on(hessian, errors).min(initial=top)) / top,
        "only": float(_on(hessian, _beside(errors)).max(initial=0.0)) / top,
        "definite": float(_on(hessian, S).min(initial=top)) / top,
        "flat": float(_on(hessian, _beside(S)).max(initial=0.0)) / top,
        "dimension": float(S.shape[1]),
        "errors": float(errors.shape[1]),
    }
    for name in ("within", "only", "definite", "flat"):
        numbers[f"{name}_error"] = ex.EPS * len(rows) * len(w)
    numbers |= _limits(problem, net, w, inner, S)
    log_t = float(trajectory["log_t"].values[-1]) if "log_t" in trajectory else np.nan
    outer = rows[~inner] @ w
    numbers["diverges"] = float(outer.min() / log_t) if len(outer) else 1.0
    before = one.history(trajectory)
    moved = np.nan if before is None else float(np.linalg.norm(_beside(data).T @ (w - before[0])))
    numbers["stays"] = moved / (1.0 + float(np.linalg.norm(w)))
    return one.scalars({**numbers, **_line(rows, w, float(hessian[0, 0]), numbers["finite_error"])})


def _limits(
    problem: Any, net: LinearExponential, w: np.ndarray, inner: np.ndarray, S: np.ndarray
) -> dict[str, float]:
    """How far w is from the minimiser on S; ``finite`` is the same number where the core is everything."""
    if not inner.any():
        return {"limit": np.nan, "finite": np.nan, "finite_error": np.nan}
    target, unit = minimiser(net.rows[inner], S), 1.0 + float(np.linalg.norm(w))
    distance = float(np.linalg.norm(S.T @ (w - target))) / unit
    weights = np.exp(-net.rows[inner] @ w)
    inside = net.rows[inner] @ S
    # twice the Newton step of the core's risk on S: the rest of the way, the pull of the other points included
    step = np.linalg.solve((inside.T * weights) @ inside, inside.T @ weights)
    error = 2.0 * float(np.linalg.norm(step)) / unit + 64.0 * ex.EPS
    finite = distance if inner.all() else np.nan
    return {"limit": distance, "limit_error": error, "finite": finite, "finite_error": error}


def _line(rows: np.ndarray, w: np.ndarray, curvature: float, error: float) -> dict[str, float]:
    """Equations 62 and 63, for −x_1 < 0 < x_2 on a line; elsewhere nothing is asked."""
    values = np.sort(rows[:, 0])
    if rows.shape != (2, 1) or not values[0] < 0.0 < values[1]:
        return {
            "line": 0.0,
            "line_error": 0.0,
            "line_tolerance": 1e300,
            "slope": 0.0,
            "slope_tolerance": 1e300,
        }
    x1, x2, at = -values[0], values[1], float(w[0])
    printed = x1**2 * np.exp(x1 * at) + x2**2 * np.exp(-x2 * at)
    return {
        "line": abs(at - np.log(x2 / x1) / (x1 + x2)),
        "line_error": error * (1.0 + abs(at)),
        "line_tolerance": 1e-6,
        "slope": abs(curvature - printed) / curvature,
        "slope_tolerance": 1e-12,
    }


# Data and runs ----------------------------------------------------------------------------------------------


def _one_error(random: np.random.Generator, N: int, d: int, rank: int) -> np.ndarray:
    """Signed points (N, d) of which all are core and exactly one is misclassified at the minimiser."""
    while True:
        basis = np.linalg.qr(random.standard_normal((d, rank)))[0]
        direction = basis @ random.standard_normal(rank)
        direction /= np.linalg.norm(direction)
        rows = random.standard_normal((N, rank)) @ basis.T
        rows *= np.where(rows @ direction >= 0.0, 1.0, -1.0)[:, None]
        rows[0] = -random.uniform(0.1, 1.0, N - 1) @ rows[1:] / N
        S = span(rows)
        w = minimiser(rows, S)
        values = np.linalg.eigvalsh(S.T @ (rows.T * np.exp(-rows @ w)) @ rows @ S)
        # the slowest rate times T, far beyond what rounding sees
        if np.sum(rows @ w < 0.0) == 1 and values[0] > 0.02 and values[-1] < 10.0:
            return rows


def _partly(random: np.random.Generator) -> np.ndarray:
    """A core of 5 points in a plane of four dimensions, and 7 points that are separated beside it."""
    turned = np.linalg.qr(random.standard_normal((4, 4)))[0]
    inner = np.hstack([_one_error(random, 5, 2, 2), np.zeros((5, 2))])
    outer = random.standard_normal((7, 4))
    outer[:, 2:] *= np.sign(outer[:, 2:] @ np.array([0.6, 0.8]))[:, None]
    outer[:, 2:] += np.array([0.6, 0.8])
    return np.vstack([inner, outer]) @ turned.T


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """8 problems on a line, 16 in four dimensions; the full budget draws five times as many."""
    random = one.generator(key)
    for i in range(5 if budget == "full" else 1):
        lines = [np.array([[-a], [b]]) for a, b in zip(*random.uniform(0.5, 3.0, (2, 8)), strict=True)]
        yield from _runs(random, [("line", rows) for rows in lines], i)
        members = [("one error", _one_error(random, 12, 4, 4)) for _ in range(6)]
        members += [("rank 3", _one_error(random, 12, 4, 3)) for _ in range(4)]
        members += [("partly separable", _partly(random)) for _ in range(6)]
        yield from _runs(random, members, i)


def _runs(random: np.random.Generator, members: list[Any], i: int) -> Iterator[Case]:
    labels = [f"{kind}, {i}.{j + 1}" for j, (kind, _) in enumerate(members)]
    signs = [np.where(random.uniform(size=len(rows)) < 0.5, -1.0, 1.0) for _, rows in members]
    problems = [ex.make(rows * own[:, None], own, 0.0) for (_, rows), own in zip(members, signs, strict=True)]
    starts = [random.standard_normal(rows.shape[1]) for _, rows in members]
    yield from ex.flows(labels, problems, starts, (T,))


def drawing(dataset: xr.Dataset) -> Any:
    """Curvature beside the misclassified points, and beside the core."""
    figure, (left, right) = figures.panels(2, height=3.2)
    labels = [str(label).split(",")[0] for label in dataset["case"].values]
    which = {kind: np.array([label == kind for label in labels]) for kind in dict.fromkeys(labels)}
    for axes, name, title in (
        (left, "only", "beside the misclassified points"),
        (right, "flat", "beside the span of the core"),
    ):
        values = np.maximum(dataset[name].values, 1e-17)
        position = np.arange(len(labels), dtype=float)
        figures.scatter(
            {kind: position[chosen] for kind, chosen in which.items()},
            {kind: values[chosen] for kind, chosen in which.items()},
            "case",
            "largest eigenvalue of the Hessian, relative",
            log="y",
            reference={"nothing": NONE} if name == "only" else {"tolerance": 1e-2},
            title=title,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "Left: the Hessian at the equilibrium does not vanish beside the span of the misclassified "
        "points, as the "
        "print has it. Right: it does beside the span of the core (1/t, or rounding).",
    )


_SETTINGS = (
    "the flow to t = 3e3 (dopri8 at 1e-10): 8 pairs on a line, and in four dimensions 6 with one error, "
    "4 of rank 3, "
    "6 that are separable in part"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, drawing, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, drawing, settings=_SETTINGS),
)
