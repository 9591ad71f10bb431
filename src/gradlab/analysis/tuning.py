"""Iterations until a level is reached and kept, the step tuned on a logarithmic grid that is not hit at its edge.

"Faster" says nothing of one step size: what is compared are the best steps of two rules. The grid is therefore extended
by decades until neither its least nor its largest step is the best for any level; whether that succeeded is told.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.modules import Module

#: A level is reached at t if it is kept until 1.25 t + KEPT: what only passes by, on its way to divergence, is not
#: there. Steps run side by side until 1.6 t + 3 KEPT of the first: what is a quarter slower is counted too.
KEPT, LONGER, LONGEST = 10, 1.25, 1.6
#: A run whose level exceeds so many times the first one has diverged.
CEILING = 1e6


class Rule(Module):
    """A Rule makes one iteration of an optimiser on one problem; its arrays are traced, the rest is static."""

    @abstractmethod
    def advance(self, state: Any, step: Float[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        """The next state, and the level of the present one (what is to become small)."""


@dataclass(frozen=True)
class Tuning:
    """A Tuning holds counts of iterations for every step of a grid and every level.

    Attributes
    ----------
    steps : (S,), ascending. places : (S,), the whole numbers k of the steps.
    counts : (S, L), infinite where the level was not reached within ``most``.
    edge : whether, after all extensions, the best step of some level is the least or the largest of the grid, or no
        level was reached.
    most : iterations that were made at most.
    """

    steps: np.ndarray
    places: np.ndarray
    counts: np.ndarray
    edge: bool
    most: int

    @property
    def best(self) -> np.ndarray:
        """The least count of every level, (L,)."""
        return np.asarray(self.counts.min(axis=0))

    @property
    def coarse(self) -> np.ndarray:
        """The least counts on a grid half as fine, that of even k, (L,)."""
        return np.asarray(self.counts[self.places % 2 == 0].min(axis=0))

    @property
    def best_steps(self) -> np.ndarray:
        """The step of the least count of every level, NaN where none reached it, (L,)."""
        found = self.steps[np.argmin(self.counts, axis=0)]
        return np.where(np.isfinite(self.best), found, np.nan)


def iterations(
    rule: Rule, start: Any, steps: Any, levels: Any, most: int, whole: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Counts (S, L) until each level is reached and kept, and which steps had not diverged, (S,).

    All steps run side by side, until the last and lowest of the levels (L,) is reached by one of them (``whole``: by
    all that do not diverge), or ``most`` iterations are made; what was not reached by then is infinite.
    """
    numbers = jnp.asarray(steps), jnp.asarray(levels), jnp.asarray(most), jnp.asarray(whole)
    counts, alive = _counted(rule, start, *numbers)
    return np.asarray(counts), np.asarray(alive)


@eqx.filter_jit
def _counted(
    rule: Rule, start: Any, steps: Array, levels: Array, most: Array, whole: Array
) -> tuple[Array, Array]:
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(steps), *jnp.shape(leaf))), start)
    _, first = rule.advance(start, steps[0])
    advance = jax.vmap(rule.advance)

    def going(carry: Any) -> Array:
        t, _, _, counts, alive = carry
        last = counts[:, -1]
        soonest = (jnp.isfinite(last) & (t >= LONGEST * last + 3 * KEPT)).any() | ~alive.any()
        every = (jnp.isfinite(last) | ~alive).all()
        return (t < most) & ~jnp.where(whole, every, soonest)

    def body(carry: Any) -> Any:
        t, states, since, counts, alive = carry
        moved, level = advance(states, steps)
        alive = alive & jnp.isfinite(level) & (level <= CEILING * first)
        since = jnp.where(level[:, None] <= levels, jnp.where(since < 0, t, since), -1)
        kept = (since >= 0) & (t >= LONGER * since + KEPT) & jnp.isinf(counts)

        def held(new: Array, old: Array) -> Array:
            return jnp.where(alive.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return t + 1, jax.tree.map(held, moved, states), since, jnp.where(kept, since, counts), alive

    shape = (len(steps), len(levels))
    begun = (0, states, jnp.full(shape, -1), jnp.full(shape, jnp.inf), jnp.ones(len(steps), dtype=bool))
    *_, counts, alive = jax.lax.while_loop(going, body, begun)
    return counts, alive


def tuned(
    rule: Rule,
    start: Any,
    centre: float,
    levels: Any,
    most: int,
    *,
    decades: tuple[float, float] = (2, 1),
    per_decade: int = 16,
    extensions: int = 3,
) -> Tuning:
    """Counts with the step tuned on centre · 10^{k/per_decade}, from ``decades`` below to above, and as far as needed.

    Extended by as many steps below where the best step of a level is the least, or a level was not reached (again where
    that helped); above where it is the largest, or nothing was reached and the largest has not diverged; ``extensions``
    times at most.
    """
    low, high = -round(decades[0] * per_decade), round(decades[1] * per_decade)
    places = np.arange(low, high + 1)
    counts, alive = iterations(rule, start, centre * 10.0 ** (places / per_decade), levels, most)
    missing = -1
    for _ in range(extensions):
        early, late = _beyond(counts, alive)
        unreached = int(np.isinf(counts.min(axis=0)).sum())
        # for a level that no step reached: once, and again where that helped
        sides = (early or unreached not in (0, missing), late)
        missing = unreached
        if not any(sides):
            break
        for longer in (side for side in (0, 1) if sides[side]):
            # as many steps as at first: nothing is compiled anew
            more = np.arange(low, high + 1) + (places[-1] + 1 - low if longer else places[0] - 1 - high)
            found, going = iterations(rule, start, centre * 10.0 ** (more / per_decade), levels, most)
            old, new = (places, counts, alive), (more, found, going)
            parts = zip(*((old, new) if longer else (new, old)), strict=True)
            places, counts, alive = (np.concatenate(one) for one in parts)
    edge = any(_beyond(counts, alive))
    return Tuning(centre * 10.0 ** (places / per_decade), places, counts, edge, most)


def _beyond(counts: np.ndarray, alive: np.ndarray) -> tuple[bool, bool]:
    """Whether the grid ends too early, below and above."""
    reached = np.isfinite(counts).any(axis=0)
    least = np.argmin(counts, axis=0)[reached]
    nothing = not reached.any()
    below = bool((least == 0).any()) or nothing
    above = bool((least == len(counts) - 1).any()) or (nothing and bool(alive[-1]))
    return below, above
