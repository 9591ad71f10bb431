"""Worlds of the studies of deep linear nets, their critical points, and the linear classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import numpy as np

from gradlab.analysis.landscape import of_problem, pattern_of
from gradlab.claims.cases import Case
from gradlab.observe.local import values_and_gradients
from worlds import World, cut_short, doubled_ends, drift, moved_ends, noisy, orbit, seen, told, uneven_layers
from worlds.memo90_a import variable

# Gradients --------------------------------------------------------------------------------------------------


def other_gradient(name: str, change: Callable[[np.ndarray, Any], np.ndarray]) -> World:
    """The gradient that automatic differentiation gives is another."""
    return seen(name, slopes=lambda slopes, look: (slopes[0], change(slopes[1], look)))


def stretched(gradients: np.ndarray, look: Any) -> np.ndarray:
    """The first layer's gradient a thousandth too long."""
    first = look.matrices[0][0].size
    return np.concatenate([1.001 * gradients[:, :first], gradients[:, first:]], axis=1)


def noised(gradients: np.ndarray, look: Any) -> np.ndarray:
    """A millionth of noise."""
    aside = np.random.default_rng(4).standard_normal(gradients.shape)
    return gradients + 1e-6 * np.linalg.norm(gradients, axis=1, keepdims=True) * aside


GRADIENTS = (
    other_gradient("the first layer's gradient 1.001 times as long", stretched),
    other_gradient(
        "a decay of 1e-6 in the gradient", lambda gradients, look: gradients + 1e-6 * look.weights
    ),
    other_gradient("noise of 1e-6 in the gradient", noised),
    noisy(1e-6),
)

# Flows ------------------------------------------------------------------------------------------------------


def unseen_decay(rate: float = 1e-4) -> World:
    """A weight decay that the study is not told of."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        return rows * np.exp(-rate * case.trajectory["t"].values)[:, None]

    return orbit(f"a decay of {rate:g} that is not told", change)


def explicit_euler(steps: int = 200) -> World:
    """Descent in place of the flow."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        net, t = of_problem(case.problem), case.trajectory["t"].values
        assert net is not None
        found = [rows[0]]
        for h in np.diff(t) / steps:
            point = found[-1]
            for _ in range(steps):
                point = point - h * net.gradient(net.layers(point))
            found.append(point)
        return np.stack(found) + 1e-6 * (rows - np.stack(found))

    return orbit(f"descent of {steps} steps a record in place of the flow", change)


def swollen(factor: float = 10.0) -> World:
    """Weights that grow towards the end."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        return rows * np.linspace(1.0, factor, len(rows))[:, None]

    return orbit(f"weights that grow by {factor:g}", change)


def crooked_steps() -> World:
    """A step of descent that is not along the gradient: by a thousandth longer in the first half of the weights."""

    def changed(case: Case) -> Case:
        given = case.trajectory
        for name in ("sweep_once", "sweep_once_coarse"):
            start, once = given["weights"].values[0], given[name].values
            longer = np.where(np.arange(once.shape[1]) < once.shape[1] // 2, 1.001, 1.0)
            given = given.assign({name: (given[name].dims, start + longer * (once - start))})
        return replace(case, trajectory=given)

    return World("steps of descent beside the gradient", changed)


# Critical points --------------------------------------------------------------------------------------------


def beside_critical(critical: tuple[np.ndarray, np.ndarray], look: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points a hundredth off, taken for critical."""
    points = critical[0] + 1e-2 * np.random.default_rng(4).standard_normal(critical[0].shape)
    return points, values_and_gradients(look.problem, points)[0]


VALUES = (
    seen("values of half the loss", critical=lambda critical, look: (critical[0], 0.5 * critical[1])),
    seen("values off by 1e-6", critical=lambda critical, look: (critical[0], critical[1] * (1.0 + 1e-6))),
    seen("points beside critical ones", critical=beside_critical),
    noisy(5e-17),
)


def unfit_example() -> World:
    """One more example, x = 0 with y ≠ 0, which no W fits: the gradient is the same, and no minimum has F = 0."""

    def change(problem: Any) -> Any:
        data = problem.data
        more = np.concatenate([data.inputs, np.zeros((1, data.inputs.shape[1]))])
        rest = np.concatenate([data.targets, np.full((1, data.targets.shape[1]), 1e-3)])
        return eqx.tree_at(lambda p: (p.data.inputs, p.data.targets), problem, (more, rest))

    return told("an example that no W fits", change)


def other_spectrum(name: str, change: Callable[[np.ndarray], np.ndarray]) -> World:
    """The Hessian has other eigenvalues."""
    return seen(name, spectrum=lambda spectrum, look: (np.sort(change(spectrum[0])), spectrum[1]))


def no_saddles(name: str, sign: float, sides: Callable[[float, float], tuple[float, float]]) -> World:
    """Every critical point is an extremum: F leaves it to one side only, and the Hessian says so too."""
    return seen(
        name,
        sides=lambda found, look: sides(*found),
        spectrum=lambda found, look: (np.sort(sign * np.abs(found[0])), found[1]),
    )


def one_stiff(values: np.ndarray) -> np.ndarray:
    """The eigenvalue next to zero a thousandth of the largest."""
    values = values.copy()
    values[np.argmin(np.abs(values))] = 1e-3 * np.abs(values).max()
    return values


SHIFTED = other_spectrum("Hessian + 1e-3 I", lambda values: values + 1e-3 * np.abs(values).max())
STIFF = other_spectrum("a kernel that is one dimension too small", one_stiff)
LANDSCAPES = (
    SHIFTED,
    other_spectrum("the absolute value of the Hessian", np.abs),
    unfit_example(),
    no_saddles("every saddle a minimum", 1.0, lambda falls, rises: (0.0, rises)),
    no_saddles("every saddle a maximum", -1.0, lambda falls, rises: (falls, 0.0)),
    noisy(5e-17),
)


def base_changes_only(dimensions: np.ndarray, look: Any) -> np.ndarray:
    """The dimension of what base changes of the hidden space do, without what is free beside it."""
    width = look.landscape.widths[1]
    ranks = [len(pattern_of(look.landscape, layers)[0]) for layers in look.layers]
    return np.array([2.0 * r * width - r * r for r in ranks])


def shaken_layers(carried: Any, look: Any) -> Any:
    """Layers moved by a hundredth."""
    rng = np.random.default_rng(4)
    return [tuple(layer + 1e-2 * rng.standard_normal(layer.shape) for layer in layers) for layers in carried]


def caught(share: float, noisy: bool = False) -> World:
    """A saddle that attracts a share of the starts: they rest where it is."""

    def changed(case: Case) -> Case:
        given = case.trajectory
        held = np.arange(given.sizes["start"]) < share * given.sizes["start"]
        found = {
            name: (given[name].dims, np.where(held, value, given[name].values))
            for name, value in (("level", 0.3), ("slope", 1e-15), ("slope_before", 1e-12))
        }
        return replace(case, trajectory=given.assign(found))

    return World(f"{share:.0%} of the starts caught", changed, noisy=noisy)


REDUCTIONS = (
    seen("points carried beside the reduced ones", carried=shaken_layers),
    seen("a constant that is left out", reduction=lambda found, look: found._replace(constant=0.0)),
    other_gradient(
        "a decay of 1e-6 in the gradient", lambda gradients, look: gradients + 1e-6 * look.weights
    ),
    noisy(1e-13),
)


def data_size(look: Any) -> float:
    """‖X‖‖Y‖."""
    return float(np.linalg.norm(look.net.X) * np.linalg.norm(look.net.Y))


WORLDS = {
    "chitour.overfitting-conjecture": (caught(0.2), caught(0.3), caught(0.6), caught(0.03, noisy=True)),
    "chitour.reduction": REDUCTIONS,
    "chitour.reduction-corrected": (
        *REDUCTIONS,
        uneven_layers(1.001),
        variable(
            "carried",
            "a reduced flow that is always the flow itself",
            lambda rows, side, case: case.trajectory[f"weights{side}"].values,
        ),
    ),
    "chitour.gradient": GRADIENTS,
    "chitour.gradient-corrected": GRADIENTS,
    "chitour.invariants": (
        uneven_layers(1.0001),
        unseen_decay(),
        explicit_euler(),
        drift(1e-4),
        crooked_steps(),
        GRADIENTS[0],
        variable(
            "sweep_end",
            "descents of a single step",
            lambda rows, side, case: case.trajectory[f"sweep_once{side}"].values,
        ),
        noisy(1e-8),
    ),
    "chitour.bounded": (
        uneven_layers(1.001),
        swollen(),
        cut_short(),
        drift(1e-3),
        seen("a gradient twice as large", slopes=lambda slopes, look: (slopes[0], 2.0 * slopes[1])),
        noisy(1e-9),
    ),
    "chitour.critical-values": VALUES,
    "chitour.critical-values-corrected": VALUES,
    "chitour.landscape": LANDSCAPES,
    "chitour.landscape-corrected": (
        *LANDSCAPES,
        seen("isolated points", dimension_at=lambda both, look: (0.0, 0.0)),
        other_spectrum("Hessian − 1e-3 I", lambda values: values - 1e-3 * (np.abs(values).max() or 1.0)),
    ),
    "chitour.normal-hyperbolicity": (
        SHIFTED,
        STIFF,
        seen("base changes only", dimensions=base_changes_only),
        seen("neighbours in all directions", spans=lambda spans, look: np.full(len(spans), float(look.size))),
        noisy(5e-17),
    ),
    "chitour.classifier": (
        doubled_ends(),
        moved_ends(),
        seen("a gradient with a pull of 1e-6", slope=lambda slope, look: slope + 1e-6 * data_size(look)),
        seen(
            "no peak at n = r",
            curve=lambda curve, look: curve | {"new": curve["new"][[0, 4, 2, 3, 4]]},
        ),
        seen(
            "new images of which most are old ones",
            curve=lambda curve, look: curve | {"new": 0.9 * curve["train"] + 0.1 * curve["new"]},
        ),
        seen(
            "label vectors that say nothing",
            curve=lambda curve, look: curve | {"new_wrong": 1.0 - curve["new_wrong"]},
        ),
        noisy(1e-8),
    ),
}
