"""Worlds of the studies of memo 90 that rest on closed forms: other matrices, other data, other paths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import Case
from gradlab.claims.memo90.conjugacy_classes import SIMILAR
from gradlab.laboratory.second import COARSE
from gradlab.problem.losses import Square
from worlds import World, cut_short, doubled_decay, doubled_ends, moved_ends, noisy, orbit, seen, told

# Conjugacies ------------------------------------------------------------------------------------------------


def other_matrix(size: float = 1e-3) -> World:
    """The second matrix is off by a share of its size."""

    def changed(case: Case) -> Case:
        B = case.problem.B
        noise = np.random.default_rng(4).standard_normal(B.shape)
        told = B + size * np.linalg.norm(B) * noise / np.linalg.norm(noise)
        return replace(case, problem=case.problem._replace(B=told))

    return World(f"the second matrix off by {size:g}", changed)


def _off(image: Any, look: Any) -> Any:
    return None if image is None else image * np.linspace(1.0, 1.01, image.shape[1])


CONJUGACY = (
    other_matrix(),
    seen("h off by 1 %", image=_off),
    seen("H transposed", H=lambda H, look: H.T),
    seen("G 1.001 times as fast", pushed=lambda velocity, look: 1.001 * velocity),
    noisy(1e-6),
)


def similar_after_all() -> World:
    """Where the matrices are said not to be similar, the second is the first in another basis."""

    def changed(case: Case) -> Case:
        if np.any(case.problem.bends) or case.facts["similar"] == SIMILAR["yes"]:
            return case
        A = case.problem.A
        H = np.eye(len(A)) + 0.3 * np.random.default_rng(6).standard_normal(A.shape) / len(A)
        return replace(case, problem=case.problem._replace(B=H @ A @ np.linalg.inv(H)))

    return World("matrices that are similar after all", changed)


CONJUGACY = (
    *CONJUGACY,
    similar_after_all(),
    seen("h that goes to another point", h=lambda image, look: image + 0.1),
)
#: What is asked of flows with a part on the imaginary axis rests on whether these parts are linearly conjugate.
ON_THE_AXIS = (
    seen("all parts on the axis taken for alike", axis=lambda axis, look: 1.0),
    seen("all parts on the axis taken for unlike", axis=lambda axis, look: 0.0),
)

# Interpolants and margins -----------------------------------------------------------------------------------


def turned_ends(size: float = 1e-3) -> World:
    """Ends turned by an angle, what came before with them."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        aside = np.random.default_rng(5).standard_normal(rows.shape[1])
        w = rows[-1] / np.linalg.norm(rows[-1])
        aside -= (aside @ w) * w
        aside /= np.linalg.norm(aside)
        return rows + size * (rows @ w)[:, None] * aside

    return orbit(f"directions turned by {size:g}", change)


def other_rows(size: float = 1e-2) -> World:
    """The inputs that the study is told of are off by a share of their size."""

    def change(problem: Any) -> Any:
        x = np.asarray(problem.data.inputs)
        noise = np.random.default_rng(11).standard_normal(x.shape)
        moved = x + size * np.linalg.norm(x) * noise / np.linalg.norm(noise)
        return eqx.tree_at(lambda p: p.data.inputs, problem, jnp.asarray(moved))

    return told(f"inputs off by {size:g}", change)


def variable(name: str, world: str, change: Any, *, is_noise: bool = False) -> World:
    """A variable of the trajectory, of both solves, changed; ``change(values, side, case)``."""

    def changed(case: Case) -> Case:
        given = case.trajectory
        for side in ("", COARSE):
            if f"{name}{side}" in given:
                dims, values = given[f"{name}{side}"].dims, given[f"{name}{side}"].values
                given = given.assign({f"{name}{side}": (dims, change(np.array(values), side, case))})
        return replace(case, trajectory=given)

    return World(world, changed, noisy=is_noise)


MARGIN = (
    turned_ends(),
    other_rows(),
    moved_ends(),
    seen(
        "the hard margin of all points but the first",
        svm=lambda svm, look: max_margin(look.rows[1:], np.ones(len(look.rows) - 1)),
    ),
    noisy(1e-12),
)


def ends_at_hard_margin() -> World:
    """Flows under the square loss that end in the direction of the largest margin."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        if not isinstance(case.problem.loss, Square):
            return rows
        a = np.asarray(case.problem.data.inputs) * np.asarray(case.problem.data.targets).reshape(-1, 1)
        rows = rows.copy()
        rows[-1] = max_margin(a, np.ones(len(a))).direction
        return rows

    return orbit("ends in the direction of the largest margin", change)


#: Ends of the square loss that are not those of zero starts.
RIDGE = (
    turned_ends(),
    doubled_decay(),
    moved_ends(1e-6),
    other_rows(1e-4),
    told("½Σ for Σ", lambda problem: eqx.tree_at(lambda p: p.loss, problem, Square(half=True))),
    variable("first", "the start forgotten", lambda w, side, case: np.zeros_like(w)),
    noisy(1e-12),
)


def saddle_in_the_span(H: np.ndarray, look: Any) -> np.ndarray:
    """The steepest direction, one that the data see, turned round."""
    values, vectors = np.linalg.eigh(H)
    return H - 2.0 * values[-1] * np.outer(vectors[:, -1], vectors[:, -1])


CURVATURES = (
    seen("a Hessian without its decay", hessian=lambda H, look: H - look.net.decay * np.eye(len(H))),
    seen("a direction of the data turned round", hessian=saddle_in_the_span),
)
STEEPER = seen("a gradient 1.001 times as large", slope_of=lambda slope, look: 1.001 * slope)

# Paths ------------------------------------------------------------------------------------------------------

TIME = (
    variable("t", "times doubled", lambda t, side, case: 2.0 * t),
    doubled_ends(),
    cut_short(),
    other_rows(0.1),
    orbit("time reversed", lambda rows, case: rows[::-1]),
    noisy(1e-9),
)
PATHS = (
    seen("paths that have arrived", paths=lambda found, look: [np.ones_like(one) for one in found]),
    seen(
        "a decay that changes nothing",
        paths=lambda found, look: (found[0], np.ones_like(found[1])),
    ),
)

SLOWER = (
    doubled_decay(),
    moved_ends(0.5),
    seen("times in reverse", times=lambda t, look: t[::-1]),
    seen("rates a hundredth smaller", rates=lambda rates, look: 0.99 * rates),
    seen(
        "rates that do not know the decay", rates=lambda rates, look: np.sort(np.full_like(rates, rates[0]))
    ),
    noisy(1e-12),
)


def other_flow(name: str, decay: float) -> World:
    """The flow with decay has one so many times as large; with 0, nothing moves where there is none."""

    def changed(kind: Any) -> type:
        def after(look: Any, start: np.ndarray, time: float, own: float) -> Any:
            return (
                start if own == decay == 0.0 else kind.after(look, start, time, decay * own if decay else own)
            )

        return type(kind.__name__, (kind,), {"after": after, "__module__": f"{kind.__module__}, {name}"})

    return World(name, look=changed)


LAMBDA_LIMIT = (
    seen("flows off by 1 %", after=lambda w, look: 1.01 * w),
    seen("flows three times as fast", velocity=lambda v, look: 3.0 * v),
    seen("Hessian + 1e-3 I", values=lambda values, look: values + 1e-3 * values[-1]),
    noisy(1e-12),
)


def noisy_labels(size: float = 0.1) -> World:
    """Labels with noise, of a target without."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        noise = np.random.default_rng(12).standard_normal(rows.shape)
        return rows + size * np.std(rows) * noise

    return orbit(f"noise of {size:g} in the labels", change)


KERNEL = (
    seen(
        "a nugget of ½ in the kernel",
        kernel=lambda K, look: K + 0.5 * np.eye(len(K)) if K.shape[0] == K.shape[1] else K,
    ),
    seen("coefficients off by 1 %", coefficients=lambda c, look: 1.01 * c),
    seen("the root of the condition", condition=lambda value, look: np.sqrt(value)),
    seen("a hundredth of the distances", distances=lambda r, look: r / 100.0),
    noisy(1e-10),
)


def split_spectrum(size: float = 1e-3) -> World:
    """Eigenvalues that are zero spread over a share of the largest."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        return H + size * np.linalg.norm(H, 2) * np.diag(np.linspace(0.5, 1.0, len(H)))

    return seen(f"Hessian + {size:g} of a diagonal", hessian=change)


DISTINCT = (
    split_spectrum(),
    seen("Hessian of −L", hessian=lambda H, look: -H),
    seen("one direction bent down", hessian=lambda H, look: H - 0.1 * np.linalg.norm(H, 2) * np.eye(len(H))),
    seen("points beside a minimum only", around=lambda values, look: np.abs(values)),
    noisy(1e-15),
)


def other_share(eigen: Any, look: Any) -> Any:
    """Spectra whose least eigenvalue is −½ of the largest."""
    values = [one.values.copy() for one in eigen]
    for one in values:
        one[0] = -0.5 * np.abs(one).max()
    return [one._replace(values=value) for one, value in zip(eigen, values, strict=True)]


def _bent(eigen: Any, look: Any) -> Any:
    """Spectra with one direction bent down."""
    return [one._replace(values=np.append(-1.0, one.values[1:])) for one in eigen]


PENALTY = (
    seen("eq. 52 without second derivatives", pieces=lambda both, look: (both[0], 0.0 * both[1])),
    seen("second derivatives with the other sign", pieces=lambda both, look: (both[0], -both[1])),
    seen("ρ for ρ²", pieces=lambda both, look: (both[0] / 2.0, both[1])),
    seen("one direction bent down", spectra=_bent),
    noisy(1e-13),
)

CROSS_ENTROPY = (
    seen("gradient of −L", gradient=lambda slope, look: -slope),
    seen("gradient times 1.001", gradient=lambda slope, look: 1.001 * slope),
    seen("other labels", labels=lambda labels, look: (labels + 1) % 3),
    variable("log_t", "log t three times as long", lambda t, side, case: 3.0 * t),
    noisy(1e-12),
)


def leak_beside(size: float = 1e-6) -> World:
    """A leak of the first layer into the null space of the data, growing to a share of the motion."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        x = np.asarray(case.problem.data.inputs)
        d, h = case.problem.network.widths[:2]
        aside = np.random.default_rng(3).standard_normal((h, d))
        aside -= aside @ np.linalg.pinv(x) @ x
        flat = np.zeros(rows.shape[1])
        flat[: d * h] = aside.ravel() / max(float(np.linalg.norm(aside)), 1e-300)
        along = np.linspace(0.0, 1.0, len(rows))[:, None] * flat
        return rows + size * np.linalg.norm(rows[-1] - rows[0]) * along

    return orbit(f"a leak of {size:g} into the null space", change)


STARTS = (leak_beside(), leak_beside(1e-8), turned_ends(), doubled_ends(), noisy(1e-12))
WASHED = (leak_beside(), leak_beside(1e-8), turned_ends(0.7), noisy(1e-12))


def _from_float(values: np.ndarray, side: str, case: Case) -> np.ndarray:
    return np.asarray(case.trajectory["float_train"].values)


def _level(values: np.ndarray, side: str, case: Case) -> np.ndarray:
    values[3:] = values[2]
    return values


SLIGHTLY = np.array([1.0, 1.0 + 1e-7, 1.0 - 1e-7, 1.0, 1.0 + 1e-7, 1.0 - 1e-7])
FIG6 = (
    variable("test", "errors that stay from N monomials on", _level),
    variable("test", "errors that fall", lambda test, side, case: np.sort(test)[::-1]),
    variable("test", "one error for all", lambda test, side, case: np.full_like(test, test[0])),
    variable(
        "test", "errors off by 1e-7, radii as they are", lambda t, side, case: t * SLIGHTLY, is_noise=True
    ),
)

FIG3 = (
    seen("gradient of −L", slopes=lambda slopes, look: -slopes),
    seen("a slope across", slopes=lambda slopes, look: slopes + 1e-6),
    seen("Hessian + 1e-3 I", spectrum=lambda values, look: values + 1e-3),
    seen("slopes three times as steep", slopes=lambda slopes, look: 3.0 * slopes),
    seen("as steep along as across", curvature=lambda H, look: H + np.linalg.norm(H, 2) * np.eye(len(H))),
    moved_ends(),
    noisy(1e-15),
)


def _shifted(velocity: np.ndarray, look: Any) -> np.ndarray:
    return velocity + 1e-4 / np.sqrt(velocity.size)


SPAN = (
    seen("a gradient with a leak", velocity=_shifted),
    seen("momentum: yesterday's gradient", velocity=lambda v, look: v + 0.1 * look.gradient(look.weights[0])),
    seen(
        "Hessian + 1e-2",
        eigen=lambda eigen, look: eigen._replace(values=eigen.values + 1e-2 * eigen.values[-1]),
    ),
    noisy(1e-13),
)

WORLDS = {
    "memo90.min-norm-is-max-margin": MARGIN,
    "memo90.min-norm-is-max-margin-corrected": (*MARGIN, ends_at_hard_margin()),
    "memo90.square-equilibrium-diverges": (*RIDGE[:4], *CURVATURES, STEEPER, noisy(1e-12)),
    "memo90.square-equilibrium-diverges-corrected": (*RIDGE, *CURVATURES),
    "memo90.conjugacy-classes": CONJUGACY,
    "memo90.conjugacy-classes-corrected": (*CONJUGACY, *ON_THE_AXIS),
    "memo90.time-is-inverse-lambda": TIME,
    "memo90.time-is-inverse-lambda-corrected": (*TIME, *PATHS),
    "memo90.slower-with-lambda": (
        SLOWER[2],
        SLOWER[4],
        seen("T of half", times=lambda t, look: np.sqrt(t)),
        noisy(1e-12),
    ),
    "memo90.slower-with-lambda-corrected": SLOWER,
    "memo90.lambda-limit": (
        *LAMBDA_LIMIT[1:],
        seen("windows of a hundred times the decay", gaps=lambda gaps, look: 100.0 * gaps),
    ),
    "memo90.lambda-limit-corrected": (
        *LAMBDA_LIMIT[:3],
        other_flow("decay 1e5 times as large", 1e5),
        other_flow("a flow that rests without decay", 0.0),
        turned_ends(),
        variable("early", "the start forgotten", lambda w, side, case: np.zeros_like(w)),
        noisy(1e-12),
    ),
    "memo90.kernel-conditioning": KERNEL,
    "memo90.kernel-conditioning-corrected": (
        *KERNEL,
        noisy_labels(),
        seen("labels with noise of 0.1", covariance=lambda K, look: K + 0.1 * np.eye(len(K))),
    ),
    "memo90.distinct-eigenvalues": DISTINCT,
    "memo90.penalty-hessian": PENALTY,
    "memo90.penalty-hessian-corrected": (
        *PENALTY,
        seen("least eigenvalues of −½", spectra=other_share),
        seen("margins twice as large", margins=lambda margins, look: 2.0 * margins),
    ),
    "memo90.cross-entropy": CROSS_ENTROPY,
    "memo90.cross-entropy-corrected": CROSS_ENTROPY,
    "memo90.init-dependence": STARTS,
    "memo90.washed-out": WASHED,
    "memo90.washed-out-corrected": WASHED,
    "memo90.fig6": (*FIG6, variable("train", "training in float64", _from_float)),
    "memo90.fig6-reading": FIG6,
    "memo90.fig6-reading-corrected": (
        *FIG6,
        variable("float_test", "float64 that is exact", lambda t, side, case: case.trajectory["test"].values),
        variable("whole", "errors that are larger in the middle", lambda t, side, case: 1e-9 * t),
    ),
    "memo90.fig3": FIG3,
    "memo90.span-per-layer": SPAN,
    "memo90.span-per-layer-corrected": (
        *SPAN,
        leak_beside(),
        seen(
            "as steep downwards as upwards",
            eigen=lambda eigen, look: eigen._replace(values=np.append(-eigen.values[-1], eigen.values[1:])),
        ),
    ),
}
