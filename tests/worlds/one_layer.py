"""Worlds of the studies of one linear layer under the square loss, and of those that grew out of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from gradlab.analysis import linear_nets
from gradlab.analysis.equilibria import minimising
from gradlab.analysis.one_layer import one_layer
from gradlab.claims.cases import Case
from gradlab.observe import local
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem
from worlds import (
    World,
    cut_short,
    doubled_decay,
    doubled_ends,
    drift,
    moved_ends,
    noisy,
    orbit,
    other_targets,
    seen,
    shifted_hessian,
    told,
)


def leak(size: float = 1e-6) -> World:
    """A leak into the null space of the data, growing with the record to a share of the motion."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        net = one_layer(case.problem)
        assert net is not None
        shape = (net.Y.shape[1], net.X.shape[1])
        aside = net.beside(np.random.default_rng(3).standard_normal(shape)).ravel()
        along = np.linspace(0.0, 1.0, len(rows))[:, None] * aside / np.linalg.norm(aside)
        return rows + size * np.linalg.norm(rows[-1] - rows[0]) * along

    return orbit(f"a leak of {size:g} into the null space", change)


def forgotten_start() -> World:
    """Ends without what the start has in the null space: as if a decay had been on for long."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        net = one_layer(case.problem)
        assert net is not None
        rows = rows.copy()
        rows[-1] -= net.beside(net.matrix(rows[-1])).ravel()
        return rows

    return orbit("the null-space part of the start forgotten", change)


def printed_loss() -> World:
    """The study is told of Σ where ½Σ ran, and of ½Σ where Σ did."""
    return told(
        "½Σ and Σ exchanged",
        lambda problem: eqx.tree_at(lambda p: p.loss, problem, Square(half=not problem.loss.half)),
    )


def scaled(name: str, factor: float) -> World:
    """A variable of the trajectory, of both solves, times a factor."""

    def changed(case: Case) -> Case:
        kept = [one for one in (name, f"{name}_coarse") if one in case.trajectory]
        return replace(
            case, trajectory=case.trajectory.assign({one: factor * case.trajectory[one] for one in kept})
        )

    return World(f"{name} times {factor:g}", changed)


def shifted(name: str, shift: Any) -> World:
    """Eigenvalues at the point, each shifted; ``shift(eigenvalues, λ)``."""

    def moved(eigen: Any, look: Any) -> Any:
        least = float(np.min(np.asarray(look.problem.decay)))
        return eigen._replace(values=eigen.values + shift(eigen.values, least))

    return seen(name, eigen=moved)


def many_examples() -> World:
    """As many examples as weights and more, fitted by the same zero; the regularised minimum found anew."""

    def changed(case: Case) -> Case:
        problem, zero = case.problem, case.trajectory["zero"].values
        x = np.random.default_rng(4).standard_normal((3 * problem.size, *problem.network.input_shape))
        bare = Problem(problem.network, problem.loss, Data(x, np.zeros((len(x), problem.network.outputs))))
        told_of = Problem(problem.network, problem.loss, Data(x, local.outputs(bare, zero)), problem.decay)
        points = xr.Dataset(
            {"final_weights": ("weight", minimising.minimum(told_of, zero)), "zero": ("weight", zero)}
        )
        return replace(case, problem=told_of, trajectory=points)

    return World("more examples than weights", changed)


MIN_NORM = (leak(), leak(1e-7), forgotten_start(), doubled_ends(), moved_ends(1e-6), other_targets(1e-4))
MIN_NORM += (
    scaled("ridge_weights", 1.01),
    seen("XXᵀ + 1e-6 I", moment=lambda M, look: M + 1e-6 * np.linalg.norm(M, 2) * np.eye(len(M))),
    noisy(),
    noisy(1e-9),
)


def leaks_beside() -> World:
    """Ends moved into what no example sees, by a tenth."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        x, rows = np.asarray(case.problem.data.inputs), rows.copy()
        layers = linear_nets.layers(case.problem.network, rows[-1])
        aside = np.ones_like(layers[0])
        aside -= aside @ np.linalg.pinv(x) @ x
        rows[-1][: aside.size] += 0.1 * np.linalg.norm(rows[-1]) * (aside / np.linalg.norm(aside)).ravel()
        return rows

    return orbit("ends moved into what no example sees", change)


def stays() -> World:
    """Flows on which kicks leave no trace."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        if "kick" not in case.trajectory:
            return rows
        return np.concatenate([rows[:1], np.tile(rows[1], (len(rows) - 1, 1))])

    return orbit("kicks without a trace", change)


def smaller_starts(factor: float = 0.1) -> World:
    """Starts that were larger than the study is told, where nothing is kicked."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        told = 1.0 if "kick" in case.trajectory else factor
        return np.concatenate([told * rows[:1], rows[1:]])

    return orbit(f"starts that are told {factor:g} times as large", change)


def lifted_rotations() -> World:
    """A Hessian in which every zero is lifted."""
    return seen(
        "rotations that cost something",
        spectra=lambda values, look: values + 0.1 * np.abs(values).max() * (np.abs(values) < 1e-7),
    )


def coupled_at_zero() -> World:
    """At W = 0 the layers act on one another, as they do where there are two."""

    def change(values: np.ndarray, look: Any) -> np.ndarray:
        return values - np.linalg.norm(look.targets.T @ look.inputs, 2)

    return seen("layers that act on one another at W = 0", at_zero=change)


DEEP_LINEAR = (leaks_beside(), stays(), smaller_starts(), noisy(1e-9))
TURNING_STARTS = lifted_rotations()

WORLDS = {
    "notes.span": (
        leak(),
        leak(1e-8),
        shifted_hessian(),
        seen("Hessian of −L", hessian=lambda H, look: -H),
        seen("a gradient 1.001 times as large", slope=lambda slope, look: 1.001 * slope),
        noisy(1e-11),
    ),
    "notes.ridge": (
        doubled_ends(),
        moved_ends(),
        doubled_decay(),
        other_targets(),
        printed_loss(),
        shifted_hessian(),
        seen(
            "a pull of λ/10 that is not told",
            slope=lambda slope, look: slope + 0.1 * look.net.decay * look.last,
        ),
        seen("a Hessian without its decay", hessian=lambda H, look: H - look.net.decay * np.eye(len(H))),
        noisy(),
        noisy(1e-11),
    ),
    "notes.min-norm": MIN_NORM,
    "notes.min-norm-corrected": MIN_NORM,
    "notes.deep-linear": DEEP_LINEAR,
    "notes.deep-linear-corrected": (*DEEP_LINEAR, TURNING_STARTS, coupled_at_zero()),
    "notes.norm-control": (
        doubled_ends(),
        moved_ends(),
        doubled_decay(),
        cut_short(),
        drift(),
        scaled("kick", 2.0),
        seen("Hessians without their decay", spectra=lambda values, look: values - look.regular),
        seen(
            "Hessians + I/10", spectra=lambda values, look: values + 0.1 * values.max(axis=1, keepdims=True)
        ),
        noisy(),
        noisy(1e-4),
    ),
    "notes.regularise-to-hyperbolic": (
        shifted("the Hessian without its decay", lambda values, least: -least),
        shifted("the Hessian with the printed −λ", lambda values, least: -2.0 * least),
        shifted("a zero that stays", lambda values, least: -values * (values == values[0])),
        many_examples(),
        noisy(3e-16),
    ),
}
