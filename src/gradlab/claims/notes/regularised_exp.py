"""notes.regularised-exp: the exponential loss with decay: its equilibrium, and its direction as λ → 0.

What is printed. ẇ = Σ x_n e^{−w·x_n} − λw (the flow of Σ e^{−w·x_n} + λ/2 ‖w‖²; the passage writes λW², which would
give 2λ: only the name of λ), W* = (1/λ) Σ x_n e^{−W*·x_n}, its Hessian (printed with the sign of the flow's
Jacobian), "this recovers the gist of Srebro's result for λ → 0", and "more in general w* = w^∞ is a linear combination
of support vectors thus w*·x_n = 1". The last is judged for w*, as printed, in the limit it speaks of: it fails,
because w*·x_n = log(1/λ) − log μ_n grows without bound (docs/notes/notes.regularised-exp.md). What has x_n·w = 1 on
the support is w*/min_n w*·x_n, in the limit; the corrected claim says so, with the constants.

Settings, before any run. Flows at λ = 1, 1e-3, 1e-6, 1e-12 for a time 40/λ (every curvature is λ or more and, at the
end, at most some hundred λ: explicit steps serve), and equilibria by Newton's method at λ = 1e-100 and 1e-290. The
limit λ → 0 is taken in log λ, to log λ = −10⁶, where no λ is formed. Data as in notes.srebro: random, repeated points,
deficient rank, N < d; drawn again where a support vector is all but idle (rate below 0.05) or ‖ŵ‖ > 3.

Tolerances. With S = log(1/λ) the theory has w* = ŵ (S − log γ) + P w̃ + O(1/S), γ = min w*·x_n ≈ S. At S = 10⁶ an
increment of the path over S/2 has the direction ŵ up to O(log S/S²) ≈ 1e-11 times constants of the data; 1e-6 is
allowed. Margins on the support are S − log γ − log α_n: ratios to S (and to γ) are one up to (14 + |log α_n|)/10⁶;
1e-4 is allowed, |log α| < 80. The distance to the constants is C/S with C of the order of (log α)²/rate < 1e3: 1e-3 is
allowed. Points beside the support have weights e^{−S(m − 1)}, m > 1 their margin under ŵ: none is left for
m − 1 > 1e-4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.one_layer import linear_exponential
from gradlab.analysis.paths import RegularisedExponential, regularised_path
from gradlab.analysis.solutions import HardMargin, soudry_constants
from gradlab.claims import exponential as ex
from gradlab.claims import one_layer as one
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study

#: −log λ at which the limit λ → 0 is read, and the path for the figure.
DEEP = 1e6
GRID = np.geomspace(3.0, DEEP, 24)

CLAIM = Claim(
    id="notes.regularised-exp",
    source="notes",
    statement="Under the exponential loss with weight decay the equilibrium w* = (1/λ) Σ x_n e^{−w*·x_n} is a "
    "hyperbolic minimum; as λ → 0 its direction tends to the SVM direction; in the limit w* is a linear "
    "combination of support "
    "vectors, and w*·x_n = 1 for them.",
    formula=r"W^*=\frac1\lambda\sum_n x_n e^{-W^{*\top}x_n},\qquad H=\sum_n x_n x_n^{\top}e^{-W^{*\top}x_n}+\lambda I,"
    r"\qquad w^{*\top}x_n=1",
    passage="Lecture notes, “Regularization for linear nets with exp loss”",
    hypotheses=("one layer, linear, one output", "λ > 0", "separable data, y_n absorbed in x_n"),
    convention="Σ e^{−w·x_n} + λ/2 ‖w‖², whose flow is the printed −λw. H with the sign of ∇²L.",
)

CORRECTED = Claim(
    id="notes.regularised-exp-corrected",
    source="notes",
    statement="The equilibrium w* = Σ μ_n x_n, μ_n = e^{−w*·x_n}/λ > 0, is a hyperbolic minimum with "
    "w*·x_n = log(1/λ) − log μ_n. As λ → 0 it runs to infinity as w* = ŵ log(1/(λγ)) + P w̃ + o(1), γ = "
    "min_n w*·x_n, ŵ the hard-margin SVM "
    "solution and P w̃ the constants of its dual: the flow at time 1/(λγ). Divided by γ it is, in the limit, a "
    "combination of support vectors with x_n·w = 1 on them.",
    formula=r"w^*(\lambda)=\hat w\,\log\frac{1}{\lambda\gamma}+P\tilde w+o(1),\qquad "
    r"\frac{w^*}{\gamma}\to\hat w=\sum_{n\in S}\alpha_n x_n,\qquad \gamma=\min_n w^{*\top}x_n",
    passage="docs/notes/notes.regularised-exp.md; the passage as in notes.regularised-exp",
    hypotheses=(
        "one layer, linear, one output",
        "λ > 0",
        "separable data, y_n absorbed in x_n",
        "every point on the margin carries weight in some dual solution",
    ),
    convention=CLAIM.convention,
    corrects=CLAIM.id,
)

SEPARABLE = Measure(
    "separable",
    "the margin of the hard-margin SVM over the largest ‖x_n‖ is positive",
    ">=",
    1e-6,
    "below this the active set is not resolved in float64",
    role="hypothesis",
)
DIRECTION = Measure(
    "direction",
    "angle between ŵ and w*(λ₂) − w*(λ₁), log(1/λ) = 5e5 and 1e6, in radians",
    "<=",
    1e-6,
    "the direction of the increment has the limit of w*/‖w*‖ without its O(1/log(1/λ)) (module docstring)",
)
COMBINATION = Measure(
    "combination",
    "share of w* carried by points that are no support vectors, at log(1/λ) = 1e6",
    "<=",
    1e-6,
    "e^{−1e6 (m − 1)}: nothing, for margins m > 1 + 1e-4",
)
_SLACK = "(14 + |log α|)/1e6, module docstring"
MEASURES = (
    ex.SETTING,
    ex.DECAY,
    SEPARABLE,
    ex.LIMIT,
    ex.POSITIVE,
    DIRECTION,
    COMBINATION,
    Measure(
        "unit",
        "largest |w*·x_n − 1| over the support vectors, in the limit (at log(1/λ) = 1e6)",
        "<=",
        1e-3,
        "w*·x_n is known to 1e-8 there; a limit 1 approached like 1/log(1/λ) would be within 1e-5 times "
        "constants",
    ),
)
CORRECTED_MEASURES = (
    ex.SETTING,
    ex.DECAY,
    SEPARABLE,
    Measure(
        "generic",
        "every point on the margin carries weight in some dual solution (1 if so)",
        ">=",
        0.5,
        "otherwise P w̃ does not exist; the number is 0 or 1",
        role="hypothesis",
    ),
    ex.LIMIT,
    ex.POSITIVE,
    DIRECTION,
    COMBINATION,
    Measure("growth", "largest |w*·x_n/log(1/λ) − 1| over the support vectors, there", "<=", 1e-4, _SLACK),
    Measure("scaled", "largest |w*·x_n/γ − 1| over the support vectors, there", "<=", 1e-4, _SLACK),
    Measure(
        "constants",
        "‖w* − ŵ log(1/(λγ)) − P w̃‖ there",
        "<=",
        1e-3,
        "C/1e6 with C < 1e3 (module docstring)",
    ),
)


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """The end of a run against the equilibrium at its λ; the equilibria of the same data as λ → 0."""
    net = linear_exponential(problem)
    if net is None or net.decay <= 0.0 or net.svm is None:
        unknown = {m.id: np.nan for m in (*MEASURES, *CORRECTED_MEASURES) if m.role == "part"}
        met = {
            "linear": float(net is not None),
            "decay": float(net is not None and net.decay > 0.0),
            "separable": float(net is not None and net.svm is not None),
            "generic": 0.0,
        }
        return one.scalars({**unknown, **met})
    svm, ones = net.svm, np.ones(len(net.rows))
    numbers = {
        "linear": 1.0,
        "decay": 1.0,
        "separable": svm.margin / float(np.max(np.linalg.norm(net.rows, axis=1))),
    }
    numbers |= ex.at_limit(problem, net, one.end(trajectory))
    path = regularised_path(net.rows, ones, [*-GRID, -DEEP / 2.0])
    numbers |= _in_the_limit(net.rows, svm, path[-1], path[len(GRID) - 1])
    curves = {
        "angle": [_angle(point.weights, svm.direction) for point in path[:-1]],
        "grown": [float(np.max(point.margins[svm.support])) for point in path[:-1]],
    }
    drawn = {name: ("depth", np.asarray(values)) for name, values in curves.items()}
    scalars = {name: np.float64(value) for name, value in numbers.items()}
    return xr.Dataset({**scalars, "log_decay": np.log(net.ratio), **drawn}, coords={"depth": GRID})


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(2.0 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


def _in_the_limit(
    rows: np.ndarray, svm: HardMargin, middle: RegularisedExponential, deep: RegularisedExponential
) -> dict[str, float]:
    """Direction, margins and constants at log(1/λ) = ``DEEP``."""
    increment = deep.weights - middle.weights
    error = (deep.error + middle.error) / float(np.linalg.norm(increment))
    margins, on = deep.margins, svm.support
    # rounding of the products x_n·w, and the error of w
    bar = float(np.max(np.linalg.norm(rows, axis=1))) * (deep.error + EPS_OF_PRODUCTS * deep.norm)
    beside = rows[~on].T @ np.exp(deep.log_dual[~on])
    least = float(margins.min())
    numbers = {
        "direction": _angle(increment, svm.direction),
        "direction_error": error,
        "combination": float(np.linalg.norm(beside)) / deep.norm,
        "unit": float(np.max(np.abs(margins[on] - 1.0))),
        "unit_error": bar,
        "growth": float(np.max(np.abs(margins[on] / DEEP - 1.0))),
        "growth_error": bar / DEEP,
        "scaled": float(np.max(np.abs(margins[on] / least - 1.0))),
        "scaled_error": 2.0 * bar / least,
    }
    try:
        constants = soudry_constants(rows, np.ones(len(rows)), svm)
    except ValueError:
        return {**numbers, "generic": 0.0, "constants": np.nan}
    predicted = svm.direction * (DEEP - np.log(least)) + constants.offset
    # ŵ itself is known to its own residual, and is multiplied by 1e6
    known = svm.kkt_residual * DEEP / svm.margin
    return {
        **numbers,
        "generic": 1.0,
        "constants": float(np.linalg.norm(deep.weights - predicted)),
        "constants_error": deep.error + known,
    }


#: Relative rounding of a product of a dozen numbers.
EPS_OF_PRODUCTS = 12.0 * ex.EPS

#: λ of the runs and of the equilibria by Newton's method.
RUNS, POINTS = (1.0, 1e-3, 1e-6, 1e-12), (1e-100, 1e-290)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Ensembles of runs at four decays, equilibria at two more; the full budget draws five times as many, and N < d."""
    random = one.generator(key)
    for i in range(5 if budget == "full" else 1):
        for decay in RUNS:
            members = [(kind, *ex.separable(random, kind)) for kind in ex.KINDS[:3] for _ in range(2)]
            yield from _runs(random, members, decay, i)
            if budget == "full" and decay == 1e-3:
                yield from _runs(
                    random, [("N < d", *ex.separable(random, "N < d")) for _ in range(6)], decay, i
                )
        for decay in POINTS:
            for j, kind in enumerate(ex.KINDS):
                inputs, labels = ex.separable(random, kind)
                yield ex.resting(
                    f"Newton, λ = {decay:.0e}, {kind} {i * 4 + j + 1}", ex.make(inputs, labels, decay)
                )


def _runs(random: np.random.Generator, members: list[Any], decay: float, i: int) -> Iterator[Case]:
    scales = (0.01, 1.0, 3.0)
    labels = [f"flow, λ = {decay:.0e}, {kind} {i}.{j + 1}" for j, (kind, *_) in enumerate(members)]
    problems = [ex.make(inputs, signs, decay) for _, inputs, signs in members]
    starts = [
        scales[j % 3] * random.standard_normal(inputs.shape[1]) for j, (_, inputs, _) in enumerate(members)
    ]
    yield from ex.flows(labels, problems, starts, (40.0 / decay,))


def drawing(dataset: xr.Dataset) -> Any:
    """The angle to the SVM direction falls like 1/log(1/λ); margins of support vectors grow like log(1/λ)."""
    figure, (left, right) = figures.panels(2, height=3.2)
    depth = dataset["depth"].values
    angle, grown = dataset["angle"].values, dataset["grown"].values
    figures.curves(
        depth,
        {
            "largest": np.nanmax(angle, axis=0),
            "median": np.nanmedian(angle, axis=0),
            "1/log(1/λ)": 1.0 / depth,
        },
        r"$\log(1/\lambda)$",
        "angle to the SVM direction (rad)",
        log="xy",
        axes=left,
    )
    figures.curves(
        depth,
        {"largest": np.nanmax(grown, axis=0), "smallest": np.nanmin(grown, axis=0), "log(1/λ)": depth},
        r"$\log(1/\lambda)$",
        r"$w^*\cdot x_n$ on the support (printed: 1)",
        log="xy",
        reference={"1": 1.0},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Equilibria of the exponential loss with decay as λ → 0. Left: their angle to the hard-margin "
        "direction. "
        "Right: the largest margin of a support vector, over all problems.",
    )


_SETTINGS = (
    "the flow for 40/λ at λ = 1, 1e-3, 1e-6, 1e-12 (dopri8 at 1e-10), Newton's method at 1e-100, 1e-290 "
    "and on the "
    "path to log λ = −1e6; N, d = 12, 4 (random, repeated points, rank 2) and 6, 10"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, drawing, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, drawing, settings=_SETTINGS),
)
