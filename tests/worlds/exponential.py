"""Worlds of the studies of one linear layer under losses with an exponential tail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import numpy as np

from gradlab.claims.cases import Case
from gradlab.claims.looks.exponential import ExponentialNet
from gradlab.claims.notes import srebro
from gradlab.claims.problems.exponential import core, span_basis, to_log_time
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from worlds import World, doubled_decay, doubled_ends, drift, moved_ends, noisy, orbit, seen, shifted_hessian


def turned(vector: np.ndarray, by: float) -> np.ndarray:
    """A vector, or rows, turned by an angle in the plane of its first two coordinates and everything else."""
    generator = np.random.default_rng(11).standard_normal((vector.shape[-1],) * 2)
    skew = generator - generator.T
    skew *= by / np.linalg.norm(skew, 2)
    left, right = np.eye(len(skew)) - skew / 2.0, np.eye(len(skew)) + skew / 2.0
    return vector @ np.linalg.solve(left, right)


def turned_orbit(by: float = 1e-3) -> World:
    """Every record turned by an angle."""
    return orbit(f"the orbit turned by {by:g}", lambda rows, case: turned(rows, by))


def turned_svm(by: float = 1e-3) -> World:
    """The SVM direction that is seen, turned by an angle."""
    return seen(
        f"the SVM direction turned by {by:g}",
        svm=lambda svm, look: replace(svm, direction=turned(svm.direction, by)),
    )


def again(
    name: str, *, noisy: bool = False, decay: float = 0.0, tolerance: float = 1e-10, mark: float = 1.0
) -> World:
    """The same start run again: with a decay that is not told, at another tolerance, or cut at a part of τ."""

    def changed(case: Case) -> Case:
        if "weights" not in case.trajectory:
            return case
        problem, start = case.problem, case.problem.unravel(case.trajectory["weights"].values[0])
        told = (
            problem if decay == 0.0 else eqx.tree_at(lambda p: p.decay, problem, decay + 0.0 * problem.decay)
        )
        options: dict[str, Any] = {"records": np.asarray(case.trajectory["tau"].values[1:]) * mark}
        if case.trajectory["log_t"].values[-1] > 100.0:
            options = to_log_time([problem], srebro.LOG_T)
            options["records"] = options["records"][: int(len(options["records"]) * mark)]
        options["solver"] = Adaptive("dopri8", tolerance)
        trajectory = run(GradientFlow(told), start, keep="all", observables=(), refine=True, **options)
        return replace(case, trajectory=trajectory)

    return World(name, changed, noisy=noisy)


def capped(size: float = 50.0) -> World:
    """Orbits that stay finite: the clock runs on, the norm never exceeds a bound."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows * np.minimum(1.0, size / np.maximum(norms, 1e-300))

    return orbit(f"orbits that stay within {size:g}", change)


def faster(factor: float = 1.0001) -> World:
    """Weights that grow a little faster than they should, in the right direction."""
    return orbit(f"weights {factor:g} times as large", lambda rows, case: rows * factor)


def log_log() -> World:
    """A remainder that is not bounded: log log t along a direction of its own."""

    def changed(case: Case) -> Case:
        logs = np.maximum(case.trajectory["log_t"].values, 1.0)

        def change(rows: np.ndarray, case: Case) -> np.ndarray:
            aside = np.random.default_rng(12).standard_normal(rows.shape[1])
            return rows + np.log(logs)[:, None] * aside / np.linalg.norm(aside)

        world = orbit("", change)
        assert world.case is not None
        return world.case(case)

    return World("a drift of log log t", changed)


def remembered(share: float = 1e-3) -> World:
    """A share of the start that is not forgotten, in the span of the data."""
    return orbit(
        f"{share:g} of the start remembered",
        lambda rows, case: rows + share * rows[0] * (np.arange(len(rows)) > 0)[:, None],
    )


def leaked(size: float = 1e-6) -> World:
    """A leak beside the span of the data, a share of the size of the end."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        _, values, right = np.linalg.svd(ExponentialNet(case.problem, case.trajectory, {}).net.rows)
        aside = right[int(np.sum(values > 1e-6 * values[0])) :].sum(axis=0)
        along = np.linspace(0.0, 1.0, len(rows))[:, None] * aside
        return rows + size * np.linalg.norm(rows[-1]) * along

    return orbit(f"a leak of {size:g} beside the data", change)


def bent_down_beside() -> World:
    """A Hessian that is bent down beside the span of the core."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        return H - 0.5 * np.linalg.norm(H, 2) * (np.eye(len(H)) - look.S @ look.S.T)

    return seen("bent down beside the core", second_derivatives=change)


def no_core_beside() -> World:
    """Separated points that have not moved away: the end has no part beside the span of the core."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        net = ExponentialNet(case.problem, case.trajectory, {}).net
        S = span_basis(net.rows[core(net.rows)])
        rows = rows.copy()
        rows[-1] = S @ (S.T @ rows[-1])
        return rows

    return orbit("nothing moves beside the core", change)


def other_support(more: bool) -> World:
    """A support with the nearest of the other points, or without one of its own."""

    def change(svm: Any, look: Any) -> Any:
        support, margins = svm.support.copy(), look.net.rows @ svm.direction
        where = np.flatnonzero(support != more)
        if len(where):
            support[where[np.argmin(margins[where])]] = more
        return replace(svm, support=support)

    return seen(f"a support vector too {'many' if more else 'few'}", svm=change)


HALF_AS_FAST = seen(
    "margins that grow half as fast",
    path=lambda path, look: (*path[:-2], replace(path[-2], margins=0.5 * path[-2].margins), path[-1]),
)
NOT_TOLD = seen("a decay of 1e-6 λ that is not told", field=lambda field, look: field - 1e-6 * look.end)
DECAYED = (doubled_ends(), moved_ends(1e-4), doubled_decay(), drift(1e-4))
UPSIDE_DOWN = seen("Hessian of −L", second_derivatives=lambda H, look: -H)
HESSIAN = shifted_hessian(1e-3, "second_derivatives")
NO_EIGENVALUE = seen(
    "a Hessian without its least eigenvalue",
    second_derivatives=lambda H, look: H - np.linalg.eigvalsh(H)[0] * np.eye(len(H)),
)
FORM = (*DECAYED, HESSIAN, NO_EIGENVALUE, NOT_TOLD, noisy(1e-8))
LIMIT = (
    *DECAYED,
    turned_svm(),
    NO_EIGENVALUE,
    NOT_TOLD,
    other_support(more=False),
    noisy(1e-8),
    again("a run at 1e-2", noisy=True, tolerance=1e-2),
)

WORLDS = {
    "notes.srebro": (
        capped(),
        capped(500.0),
        again("a decay of 1e-3 that is not told", decay=1e-3),
        turned_orbit(),
        turned_svm(),
        turned_orbit(1e-5),
        faster(),
        log_log(),
        remembered(),
        doubled_ends(),
        noisy(1e-8),
        noisy(1e-4),
        again("a run at 1e-2", noisy=True, tolerance=1e-2),
        again("a run that ended early", noisy=True, mark=0.6),
    ),
    "notes.regularised-exp": LIMIT,
    "notes.regularised-exp-corrected": (*LIMIT, other_support(more=True), HALF_AS_FAST),
    "memo90.regularised-exp-form": FORM,
    "memo90.regularised-exp-form-corrected": (
        *FORM,
        seen(
            "an equilibrium a thousandth longer",
            solution=lambda found, look: replace(found, weights=1.001 * found.weights),
        ),
    ),
    "memo90.non-separable": (doubled_ends(), moved_ends(1e-4), HESSIAN, UPSIDE_DOWN, noisy(1e-8)),
    "memo90.non-separable-corrected": (
        doubled_ends(),
        moved_ends(1e-4),
        leaked(),
        no_core_beside(),
        UPSIDE_DOWN,
        bent_down_beside(),
        shifted_hessian(2e-2, "second_derivatives"),
        noisy(1e-12),
    ),
}
