"""Worlds of the studies of the norm's transient: sums that are off, times that run otherwise, orbits that drift."""

from __future__ import annotations

from typing import Any

import numpy as np

from worlds import World, drift, moved_ends, noisy, other_targets, seen
from worlds.polar import beside


def entry(name: str, attribute: str, key: str, change: Any) -> World:
    """An entry of what automatic differentiation gave, changed; ``change(whole)`` gives the new one."""
    return seen(name, **{attribute: lambda found, look: {**found, key: change(found)}})


def scaled(attribute: str, factor: float) -> World:
    """A number or array that is off by a factor."""
    return seen(f"{attribute} times {factor:g}", **{attribute: lambda found, look: factor * found})


def first_sum(factor: float) -> World:
    """Σ y f is off by a factor."""
    return seen(f"Σ y f times {factor:g}", sums=lambda found, look: (factor * found[0], found[1]))


EQUILIBRIUM = (
    entry("f a millionth too large", "seen", "f", lambda found: (1.0 + 1e-6) * found["f"]),
    entry(
        "a decay of 1e-3 in ρ",
        "seen",
        "product_dot",
        lambda found: found["product_dot"] - 1e-3 * np.prod(found["rho"], axis=-1),
    ),
    entry("turning directions taken for still", "seen", "v_dot", lambda found: 0.0 * found["v_dot"]),
    noisy(1e-11),
)
LENGTH = (
    seen("larger starts take longer", durations=lambda found, look: found[::-1]),
    seen("another exponent", durations=lambda found, look: found**1.2),
    seen("deeper nets are faster", layer_held=lambda found, look: 1.0 / found),
    noisy(1e-10),
)
LOWEST = (
    entry("a decay of 1e-3 in ρ", "points", "product_dot", lambda found: found["product_dot"] - 1e-3),
    entry("directions that turn by 1e-6", "points", "v_dot", lambda found: found["v_dot"] + 1e-6),
    entry("ρ̇ off by 1e-6", "points", "product_dot", lambda found: found["product_dot"] + 1e-6),
    noisy(1e-13),
)
BOUNDED = (
    scaled("largest", 1.01),
    scaled("largest", 1.0 + 1e-6),
    seen("a bias of 1e-6", largest=lambda found, look: found + 1e-6),
    noisy(1e-9),
)
BIAS = (
    scaled("equilibrium", 1.0 + 1e-6),
    scaled("equilibrium", 0.5),
    seen("ρ_eq is its square", equilibrium=lambda found, look: found**2),
    noisy(1e-12),
)
RESNET = (
    scaled("whole", 1.0 + 1e-6),
    seen(
        "one net of the sum is missing",
        parts=lambda found, look: found[1:],
        masked=lambda found, look: found[1:],
    ),
    seen(
        "a missing cross term",
        parts=lambda found, look: found * (np.arange(len(found)) < len(found) - 1)[:, None],
        masked=lambda found, look: found * (np.arange(len(found)) < len(found) - 1)[:, None],
    ),
    noisy(1e-11),
)
SGD = (
    other_targets(0.01),
    scaled("products", 1.5),
    seen("a noise of a millionth", weights=lambda found, look: found[0] + 1e-6 * (found - found[0])),
    noisy(1e-10),
)

WORLDS = {
    "memo112.rho-equilibrium": EQUILIBRIUM,
    "memo112.transient": (
        drift(1e-3),
        seen("ρ another power of itself", rho=lambda found, look: found**1.01),
        first_sum(1.01),
        noisy(1e-9),
    ),
    "memo112.transient-length": LENGTH,
    "memo112.transient-length-corrected": LENGTH,
    "memo112.fig1": (
        drift(1e-3),
        scaled("limit", 1.01),
        seen("y another power of ρ", y=lambda found, look: found**1.01),
        noisy(1e-10),
    ),
    "memo112.tikhonov": (
        moved_ends(1e-4),
        seen("filters 1 % too large", filters=lambda found, look: (1.01 * found[0], found[1])),
        seen("another multiplier", balls=lambda found, look: (*found[:2], 1.01 * found[2])),
        noisy(1e-11),
    ),
    "memo112.fig2": (scaled("decay", 1.001), drift(1e-3), first_sum(1.001), noisy(1e-10)),
    "memo112.lowest-norm": LOWEST,
    "memo112.lowest-norm-corrected": LOWEST,
    "memo112.weight-normalisation": (
        seen("ρ̇ a millionth too fast", other=lambda found, look: ((1.0 + 1e-6) * found[0], found[1])),
        seen("V̇ a millionth too fast", other=lambda found, look: (found[0], (1.0 + 1e-6) * found[1])),
        seen("the plain flow twice", other=lambda found, look: (found[0], look.plain["v_dot"])),
        noisy(1e-11),
    ),
    "memo112.bounded-output": BOUNDED,
    "memo112.bounded-output-corrected": BOUNDED,
    "memo112.margin-vs-interpolation": (
        scaled("angle", 0.0),
        scaled("angle", 1e-5),
        seen("the criterion reversed", dual=lambda found, look: -found),
        noisy(1e-12),
    ),
    "memo112.exp-transient": (
        seen(
            "the pace 10 % off",
            times=lambda found, look: (found[0]._replace(value=1.1 * found[0].value), found[1]),
        ),
        beside("another orbit of the square loss", "weights", lambda rows: 1.1 * rows),
        seen("margins that shrink", smoothed=lambda found, look: found[::-1]),
        noisy(1e-9),
    ),
    "memo112.recurrent": (
        seen("another exponent", durations=lambda found, look: found**1.2),
        seen(
            "one net with another exponent", durations=lambda found, look: found ** np.array([[1.0], [0.8]])
        ),
        seen(
            "a gradient of the shared layer once", gradient=lambda found, look: found + 1e-6 * np.abs(found)
        ),
        noisy(1e-10),
    ),
    "memo112.resnet": RESNET,
    "memo112.resnet-corrected": RESNET,
    "memo112.second-phase": (
        seen("distances of first order", arrival=lambda found, look: (found[0], 0.3 * found[0])),
        scaled("least", 1.05),
        seen("another pseudoinverse", arrival=lambda found, look: (found[0], found[1] ** 0.5)),
        noisy(1e-9),
    ),
    "memo112.small-norm-bias": BIAS,
    "memo112.small-norm-bias-corrected": (scaled("norm", 1.02), *BIAS),
    "memo112.sgd-fluctuation": SGD,
    "memo112.sgd-fluctuation-corrected": SGD,
}
