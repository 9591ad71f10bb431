"""Worlds of the studies of linearisations: other spectra, maps that are none, other flows, other Hessians."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from gradlab.analysis.power_map import PowerMap
from gradlab.claims.cases import Case
from gradlab.claims.measured import Number
from gradlab.laboratory.second import COARSE
from worlds import World, noisy, seen, shifted_hessian

# Conjugacies ------------------------------------------------------------------------------------------------


def other_spectrum(name: str, change: Any) -> World:
    """The linear flow, and h with it, has other eigenvalues: ``change(values)``."""

    def rebuilt(built: Any, look: Any) -> Any:
        if built is None:
            return None
        values = change(built.values)
        kind = "sink" if (values > 0.0).all() else "source" if (values < 0.0).all() else "saddle"
        return replace(built, values=values, kind=kind)

    return seen(name, built=rebuilt)


def _slowest_turned(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size) == np.argmin(np.abs(values)), -values, values)


def folded() -> World:
    """h folds the ball: what lies below a plane through it is mapped like its mirror image."""

    def fold(image: np.ndarray, look: Any) -> np.ndarray:
        return np.concatenate([np.abs(image[:, :1]), image[:, 1:]], axis=1)

    return seen("h folds the ball", image=fold)


def torn() -> World:
    """h jumps by a tenth of the ball from one bit of the inputs to another."""

    def tear(image: np.ndarray, look: Any) -> np.ndarray:
        side = np.floor(1e9 * image[:, :1] / look.built.radius) % 2.0
        return image + 0.1 * look.built.radius * side

    return seen("h has jumps", image=tear)


def swapped() -> World:
    """The eigenvectors of the linear flow are in another order: its stable space lies elsewhere."""

    def turned(built: Any, look: Any) -> Any:
        return None if built is None else replace(built, vectors=built.vectors[:, ::-1])

    return seen("eigenvectors in another order", built=turned)


def without_map() -> World:
    """The identity in the place of h, but for the tolerance of a solve."""

    def changed(kind: type) -> type:
        body = {
            "image": lambda look, x: x * (1.0 + look.tolerance),
            "__module__": f"{kind.__module__}, identity",
        }
        return type(kind.__name__, (kind,), body)

    return World("the identity in the place of h", look=changed)


HARTMAN_GROBMAN = (
    other_spectrum("the slowest eigenvalue's sign turned", _slowest_turned),
    other_spectrum("a sink in the place of a saddle", np.abs),
    other_spectrum("H with the wrong sign", np.negative),
    other_spectrum("H + 1e-3 I", lambda values: values + 1e-3 * np.max(np.abs(values))),
    swapped(),
    folded(),
    torn(),
    without_map(),
    noisy(1e-6),
)


# Power maps -------------------------------------------------------------------------------------------------


def other_power(name: str, change: Any) -> World:
    """Eq. 47 with other exponents; ``change(mu, nu)``."""
    return seen(name, power=lambda power, look: PowerMap(*change(power.mu, power.nu)))


class Unsigned(PowerMap):
    """|x|^p for sgn(x)|x|^p."""

    def __call__(self, x: Any) -> Any:
        return np.abs(x) ** self.exponents

    @property
    def inverse(self) -> Unsigned:
        return Unsigned(self.nu, self.mu)


def other_rates() -> World:
    """The first Hessian is off: its eigenvalues are a thousandth too large."""

    def scaled(built: Any, look: Any) -> Any:
        return built and (replace(built[0], values=1.001 * built[0].values), built[1])

    return seen("eigenvalues off by a thousandth", built=scaled)


CONJUGACY_MAP = (
    other_power("the inverse exponent", lambda mu, nu: (nu, mu)),
    other_power("the identity", lambda mu, nu: (mu, mu)),
    other_power("eigenvalues paired in reverse", lambda mu, nu: (mu, nu[::-1])),
    other_power("exponents off by 1e-6", lambda mu, nu: (mu, nu * (1.0 + 1e-6))),
    other_rates(),
    seen("h without its sign", power=lambda power, look: Unsigned(power.mu, power.nu)),
    noisy(1e-6),
)


# Virtual data -----------------------------------------------------------------------------------------------


def near_orbits(name: str, change: Any, *, is_noise: bool = False) -> World:
    """The orbits around the minimum, (3, records, P), changed; ``change(orbits, side)``."""

    def changed(case: Case) -> Case:
        given: xr.Dataset = case.trajectory
        for side in ("", COARSE):
            rows = given[f"nearby{side}"]
            given = given.assign({f"nearby{side}": (rows.dims, change(rows.values.copy(), side))})
        return replace(case, trajectory=given)

    return World(name, changed, noisy=is_noise)


def _late(rows: np.ndarray, side: str) -> np.ndarray:
    rows[:, 1:-1] = rows[:, 2:]
    return rows


def _elsewhere(rows: np.ndarray, side: str) -> np.ndarray:
    rows[:, -1] += 0.01 * np.linalg.norm(rows[0, 0]) * np.ones(rows.shape[2]) / np.sqrt(rows.shape[2])
    return rows


def _shaky(rows: np.ndarray, side: str) -> np.ndarray:
    noise = np.random.default_rng(9 if side else 8).standard_normal(rows[:, 1:].shape)
    rows[:, 1:] *= 1.0 + (1e-9 if side else 1e-10) * noise
    return rows


def _half(linear: Any, look: Any) -> Any:
    return eqx.tree_at(lambda flow: flow.values, linear, 0.5 * linear.values)


VIRTUAL_DATA = (
    near_orbits("records of a later time", _late),
    near_orbits("last records moved by 1 %", _elsewhere),
    seen("half the virtual Hessian", linear=_half),
    shifted_hessian(1e-6),
    near_orbits("noise of 1e-10, bars to match", _shaky, is_noise=True),
)
#: The spectrum of the Hessian changes along with the orbit even where the minimum is isolated.
VIRTUAL_DATA_CORRECTED = (
    *VIRTUAL_DATA,
    seen("a spectrum that moves", rate=lambda rate, look: Number(rate.value + 1e-3, rate.error)),
)


# One unit and one layer ---------------------------------------------------------------------------------------


def hidden_sum(size: float = 1e-3) -> World:
    """Second derivatives of a unit that are no outer product: a multiple of the identity beside."""

    def changed(curved: np.ndarray, look: Any) -> np.ndarray:
        return curved + size * np.eye(curved.shape[-1])

    return seen(f"∂²f + {size:g} I", curvatures=changed)


def other_slopes() -> World:
    """f'' of twice its size."""
    return seen("f'' doubled", slopes=lambda slopes, look: (slopes[0], slopes[1], 2.0 * slopes[2]))


def unmended() -> World:
    """The mended mapping without y_n before f'': that of labels all positive."""

    def changed(found: Any, look: Any) -> Any:
        _, first, second = look.slopes
        y = np.asarray(look.problem.data.targets)
        radicand = first**2 - y * second
        factors = found.factors * np.sqrt(np.abs((first**2 - second) / radicand))
        return replace(found, factors=factors)

    return seen("no y before f''", mended=changed)


ONE_LAYER = (hidden_sum(), hidden_sum(1e-6), other_slopes(), shifted_hessian(), unmended(), noisy(1e-9))

WORLDS = {
    "notes.hartman-grobman": HARTMAN_GROBMAN,
    "memo90.conjugacy-map": CONJUGACY_MAP,
    "memo90.virtual-data": VIRTUAL_DATA,
    "memo90.virtual-data-corrected": VIRTUAL_DATA_CORRECTED,
    "memo90.one-layer-nonlinear": ONE_LAYER,
    "memo90.one-layer-nonlinear-corrected": ONE_LAYER,
}
