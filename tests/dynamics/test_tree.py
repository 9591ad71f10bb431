"""Arithmetic on trees: choices and norms by ``lax``, and what ``vmap`` makes of loops."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.dynamics import tree

jax.config.update("jax_enable_x64", True)

NUMBERS = (
    2,
    0.5,
    True,
    jnp.asarray(3.0),
    jnp.asarray(4),
    jnp.asarray(False),
    jnp.arange(3.0),
    jnp.float32(1.5),
)


@pytest.mark.parametrize("whether", [True, False])
def test_a_choice_by_one_number_is_that_of_jax_numpy(whether: bool) -> None:
    condition = jnp.asarray(whether)
    for a, b in itertools.product(NUMBERS, NUMBERS):
        ours, theirs = tree.select(condition, a, b), jnp.where(condition, a, b)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), (a, b)
        np.testing.assert_array_equal(ours, theirs)


def test_a_choice_entry_by_entry_is_that_of_jax_numpy() -> None:
    condition = jnp.arange(3) > 0
    for a, b in itertools.product(NUMBERS, NUMBERS):
        np.testing.assert_array_equal(tree.select(condition, a, b), jnp.where(condition, a, b))


def test_a_choice_by_one_number_is_one_operation() -> None:
    made = jax.make_jaxpr(lambda at, x, y: tree.select(at, x, y))(True, np.ones(3), np.zeros(3))
    assert [equation.primitive.name for equation in made.eqns] == ["select_n"]


@pytest.mark.parametrize("factor", [1.0, 1e-200, 1e200, 0.0])
def test_norms_are_safe_and_the_same_everywhere(factor: float) -> None:
    parts = (np.array([[3.0, -4.0], [12.0, 0.0]]), np.array(-84.0), np.zeros((0, 2)))
    scaled = tuple(jnp.asarray(factor * part) for part in parts)
    flat = np.concatenate([np.ravel(part) for part in scaled])
    assert float(tree.norm(scaled)) == pytest.approx(85.0 * factor, rel=1e-14)
    with np.errstate(over="ignore"):
        assert float(tree.norm(flat)) == pytest.approx(85.0 * factor, rel=1e-14)
    assert tree.norm(tuple(part.astype(jnp.float32) for part in scaled[:2])).dtype == jnp.float64


def test_a_norm_of_what_is_not_finite_is_not() -> None:
    assert np.isnan(tree.norm((jnp.asarray([1.0, jnp.nan]),)))
    assert not np.isfinite(tree.norm((jnp.asarray([1.0, jnp.inf]),)))
    assert float(tree.norm(())) == 0.0


def _versions(begin: Any) -> int:
    """How many versions ``vmap`` makes of a loop's body that counts, from what ``begin`` makes of 0."""
    made = []

    @jax.custom_batching.custom_vmap
    def seen(x: Any) -> Any:
        return x

    @seen.def_vmap
    def _(size: int, batched: Any, x: Any) -> Any:
        made.append(size)
        return seen(x), batched[0]

    def counted(x: Any) -> Any:
        def step(at: Any) -> Any:
            count, x = at
            return count + (x > 0.5), seen(0.5 * x)

        return jax.lax.while_loop(lambda at: at[1] > 0.1, step, (begin(jnp.zeros((), int), x), x))

    count, _ = jax.vmap(counted)(jnp.asarray([1.0, 8.0]))
    np.testing.assert_array_equal(count, [1, 4])
    return len(made)


def test_a_loop_that_begins_with_numbers_of_each_member_is_made_once() -> None:
    assert _versions(tree.of_each) == 1
    assert _versions(lambda number, x: number) > 1
