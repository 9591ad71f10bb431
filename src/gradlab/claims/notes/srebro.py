"""notes.srebro: exponential-type losses on separable data, w(t) = ŵ log t + g(t), to log t = 1000.

Settings. 20 random separable problems (N = 12, d = 4, labels of a random direction with margin between 0.2
and 1), 2 with repeated points, 2 of rank 2, 6 with N = 6 < d = 10; ten of them under the
logistic loss, and 6 of three classes under cross-entropy; starts of standard deviation 0.01, 1 and 3. Sum
convention. Integrated in log-loss time by the eighth-order pair at 1e-10 until log t = 1000, the scale the
catalogue asks for; every number is compared with a solve at ten times the tolerance. The rate at which g
converges, t^{−rate}, follows from the dual before anything is run (a point just outside the margin makes it as
small as one likes): problems with rate < 0.05 are drawn again, so that e^{−rate·500} ≤ 1e-10, and so are those
with ‖ŵ‖ > 1.5, because the explicit steps needed grow like ‖ŵ‖² log t. On a user's run a small rate widens the
error bar instead.

Tolerances. g is bounded and converges iff w(t₂) − w(t₁) → ŵ (log t₂ − log t₁); by Soudry et al. (2018, Thms 3
and 4) what is left at log t = s is O(e^{−rate·s}), which is added to the error bar. The solve itself, at 1e-10
a step relative to ‖w‖ ≈ 1000 ‖ŵ‖ and weakly contracting in log t, is granted 1e-5 of absolute error in w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.solutions import HardMargin, max_margin, soudry_constants
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.dynamics.clocks import LogLoss
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.stops import Stop
from gradlab.laboratory import member, run
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

LOG_T = 1000.0
SLOWEST = 0.05
LONGEST = 1.5
GRID = np.geomspace(3.0, LOG_T, 24)

CLAIM = Claim(
    id="notes.srebro",
    source="notes",
    statement="On separable data, gradient flow of a linear net under an exponential-type loss runs to infinity "
    "as w(t) = ŵ log t + g(t): its direction tends to the hard-margin SVM direction, whatever the start.",
    formula=r"w(t)=\hat w\,\log t+g(t),\qquad \lim_{t\to\infty}\frac{w(t)}{\|w(t)\|}="
    r"\frac{\hat w}{\|\hat w\|},\qquad \hat w=\mathrm{argmin}\,\|w\|^2\;\mathrm{s.t.}\;w^\top x_n\ge 1",
    passage="Lecture notes, “Srebro's result (2017)”, Lemma 1; also memo90 eq. 4 (Theorem 3 of Soudry et al.)",
    hypotheses=(
        "linear network of one layer, no weight decay",
        "linearly separable data",
        "y_n absorbed in x_n",
    ),
    convention="L = Σ_n ℓ_n. With the mean, time runs N times slower and g shifts by −ŵ log N.",
)

MEASURES = (
    Measure(
        "separable",
        "the margin of the hard-margin SVM, relative to the largest ‖x_n‖, is positive",
        ">=",
        1e-6,
        "below this the active set is not resolved in float64",
        role="hypothesis",
    ),
    Measure("log_t", "log t reached", ">=", LOG_T - 1e-6, "the scale the study promises", role="hypothesis"),
    Measure(
        "direction",
        "angle in radians between ŵ and the increment w(t₂) − w(t₁), log t₁ ≈ 500, log t₂ = 1000",
        "<=",
        1e-6,
        "the direction of the increment has the limit of w/‖w‖ without the O(1/log t) of the start; the tolerance "
        "is 1e-5 of error in w over an increment of 500 ‖ŵ‖ ≥ 10",
    ),
    Measure(
        "slope",
        "‖w(t₂) − w(t₁)‖ / (‖ŵ‖ log(t₂/t₁)) is one: the norm grows exactly like ‖ŵ‖ log t",
        "==",
        1e-6,
        "as for the direction",
        target=1.0,
    ),
    Measure(
        "constants",
        "distance of P g(t₂) to the constants P w̃ of the SVM dual, e^{−y_n w̃·x_n} = α_n on the support",
        "<=",
        1e-5,
        "the absolute error in w allowed by the solver's tolerance (module docstring)",
    ),
)


def _features(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Rows a and labels 1 with margins a·vec(W): y_n x_n, or (e_y − e_c) ⊗ x_n for every c ≠ y_n."""
    inputs = np.asarray(problem.data.inputs).reshape(len(problem.data.inputs), -1)
    targets = np.asarray(problem.data.targets)
    if problem.loss.labels == "sign":
        rows = inputs * targets[:, None]
    else:
        classes = problem.network.outputs
        eye = np.eye(classes)
        rows = np.stack(
            [
                np.outer(eye[y] - eye[c], x).reshape(-1)
                for x, y in zip(inputs, targets, strict=True)
                for c in range(classes)
                if c != y
            ]
        )
    return rows, np.ones(len(rows))


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The SVM solution of the data against the last half (in log t) of the trajectory."""
    rows, ones = _features(problem)
    log_t, weights = trajectory["log_t"].values, trajectory["weights"].values
    errors = trajectory["weights_error"].values
    numbers: dict[str, Any] = {"log_t": float(log_t[-1])}
    try:
        svm = max_margin(rows, ones)
    except ValueError:
        return xr.Dataset(
            {**numbers, "separable": 0.0, "direction": np.nan, "slope": np.nan, "constants": np.nan}
        )
    numbers["separable"] = svm.margin / float(np.max(np.linalg.norm(rows, axis=1)))
    middle = int(np.argmin(np.abs(log_t - 0.5 * log_t[-1])))
    span = log_t[-1] - log_t[middle]
    increment = weights[-1] - weights[middle]
    bar = np.linalg.norm(errors[-1]) + np.linalg.norm(errors[middle])
    bar += svm_norm(svm) * (float(trajectory["log_t_error"][-1]) + float(trajectory["log_t_error"][middle]))
    constants = soudry_constants(rows, ones, svm)
    offsets = weights - np.where(np.isfinite(log_t), log_t, 0.0)[:, None] * svm.direction
    gaps = np.linalg.norm((offsets - constants.offset) @ constants.projector, axis=1)
    # What the flow itself has not done yet at log t₁: e^{−rate log t₁} of the distance to the constants.
    unfinished = np.exp(-max(constants.rate, 0.0) * log_t[middle]) * max(1.0, float(gaps[1]))
    length = svm_norm(svm) * span
    numbers |= {
        "direction": _angle(increment, svm.direction),
        "direction_error": (bar + unfinished) / length,
        "slope": float(np.linalg.norm(increment)) / length,
        "slope_error": (bar + unfinished) / length,
        "constants": float(gaps[-1]),
        "constants_error": bar + unfinished,
    }
    angles = np.array([_angle(point, svm.direction) for point in weights[1:]])
    curves = {
        "angle": ("log_t_grid", np.interp(GRID, log_t[1:], angles)),
        "gap": ("log_t_grid", np.interp(GRID, log_t[1:], gaps[1:])),
    }
    return xr.Dataset({**numbers, **curves}, coords={"log_t_grid": GRID})


def svm_norm(svm: HardMargin) -> float:
    """‖ŵ‖."""
    return float(np.linalg.norm(svm.direction))


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(2.0 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


def _separable(generator: np.random.Generator, n: int, d: int, rank: int, repeats: int) -> tuple[Any, Any]:
    """Inputs and labels ±1, separated by a random direction."""
    inputs = generator.standard_normal((n, rank)) @ np.linalg.qr(generator.standard_normal((d, rank)))[0].T
    direction = inputs.T @ generator.standard_normal(n)
    direction /= np.linalg.norm(direction)
    scores = inputs @ direction
    labels = np.where(scores >= 0, 1.0, -1.0)
    inputs = inputs + np.outer(labels * generator.uniform(0.2, 1.0), direction)
    if repeats:
        inputs[-repeats:], labels[-repeats:] = inputs[:repeats], labels[:repeats]
    return inputs, labels


def _three_classes(generator: np.random.Generator, n: int, d: int) -> tuple[Any, Any]:
    """Inputs whose class is the largest of three linear scores, pushed apart by 0.5."""
    inputs = generator.standard_normal((n, d))
    scores = np.linalg.qr(generator.standard_normal((d, 3)))[0].T
    labels = np.argmax(inputs @ scores.T, axis=1)
    labels[:3] = np.arange(3)
    inputs[:3] = 1.5 * scores
    return inputs + 0.5 * scores[labels], labels


def _regular(draw: Callable[[], tuple[Any, Any]], loss: Loss, outputs: int) -> Data:
    """A draw whose g converges at least like t^{−0.05}, by its dual alone."""
    while True:
        data = Data(*draw())
        problem = Problem(Dense((data.inputs.shape[1], outputs), "identity"), loss, data)
        rows, ones = _features(problem)
        svm = max_margin(rows, ones)
        if svm_norm(svm) <= LONGEST and soudry_constants(rows, ones, svm).rate >= SLOWEST:
            return data


def _problems(budget: Budget, generator: np.random.Generator) -> Iterator[tuple[str, Loss, list[Data]]]:
    many = 20 if budget == "quick" else 60
    shapes = [(12, 4, 4, 0)] * many + [(12, 4, 4, 3)] * 2 + [(12, 4, 2, 0)] * 2
    data = [_regular(partial(_separable, generator, *shape), Exponential("sum"), 1) for shape in shapes]
    wide = [_regular(lambda: _separable(generator, 6, 10, 6, 0), Exponential("sum"), 1) for _ in range(6)]
    classes = [_regular(lambda: _three_classes(generator, 12, 4), CrossEntropy("sum"), 3) for _ in range(6)]
    yield "exponential", Exponential("sum"), data
    yield "logistic", Logistic("sum"), data[-10:]
    yield "exponential, N < d", Exponential("sum"), wide
    yield "cross-entropy", CrossEntropy("sum"), classes


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Ensembles of one shape each: four compiled solves."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    scales = (0.01, 1.0, 3.0)
    for label, loss, data in _problems(budget, generator):
        outputs = 3 if loss.labels == "class" else 1
        d = data[0].inputs.shape[1]
        network = Dense((d, outputs), "identity")
        problem = stack([Problem(network, loss, item) for item in data])
        start = (
            np.stack([scales[i % 3] * generator.standard_normal((outputs, d)) for i in range(len(data))]),
        )
        # Log-loss time is about ‖ŵ‖² log t; the members stop on their own.
        longest = max(svm_norm(max_margin(*_features(member(problem, i)))) ** 2 for i in range(len(data)))
        trajectory = run(
            GradientFlow(problem),
            start,
            np.geomspace(1e-2, 4.0 * LOG_T * longest, 60),
            clock=LogLoss(),
            solver=Adaptive("dopri8", 1e-10),
            stop=Stop(log_t=LOG_T),
            observables=["log_loss"],
            keep="all",
            members=len(data),
            name=f"{CLAIM.id}: {label}",
        )
        for i in range(len(data)):
            yield Case(f"{label} {i}", member(problem, i), trajectory.isel(member=i))


def draw(dataset: xr.Dataset) -> Any:
    """The angle falls like 1/log t, the part the dual fixes exponentially in log t."""
    figure, (left, right) = figures.panels(2)
    grid = dataset["log_t_grid"].values
    worst = {
        kind: [i for i, label in enumerate(dataset["case"].values) if str(label).rsplit(" ", 1)[0] == kind]
        for kind in ("exponential", "logistic", "exponential, N < d", "cross-entropy")
    }
    for name, axes, ylabel in (
        ("angle", left, "largest angle to ŵ (rad)"),
        ("gap", right, "largest distance of P g to P w̃"),
    ):
        lines = {
            kind: np.nanmax(np.maximum(dataset[name].values[rows], 1e-13), axis=0)
            for kind, rows in worst.items()
            if rows
        }
        if name == "angle":
            lines["1/log t"] = 1.0 / grid
        figures.curves(grid, lines, "log t", ylabel, log="xy", axes=axes)
    return figures.with_caption(
        figure,
        "Left: angle between w(t) and the SVM direction, worst case of each loss. Right: distance of g(t), "
        "projected on the span of the support vectors, to the constants of the dual.",
    )


STUDY = Study(
    CLAIM, MEASURES, cases, observe, draw, settings="log t ≤ 1000; dopri8 at 1e-10 in log-loss time"
)
