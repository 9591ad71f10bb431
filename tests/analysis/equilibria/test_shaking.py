"""What rounding moves an entry by, of differences whose rounding is known."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.analysis.equilibria.rounding import EPS
from gradlab.analysis.equilibria.shaking import POOL, entrywise


def difference(_: Any, x: Any) -> Any:
    return 1.1 * x - 1.1 * x


# as many numbers as the pool holds, some fewer (an earlier pool went on by that many and seven), and more
@pytest.mark.parametrize("size", [1, 1000, POOL - 6, POOL, POOL + 1, 2 * POOL])
def test_the_difference_of_two_equal_arrays_keeps_the_rounding_of_both(size: int) -> None:
    problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    here, moves = entrywise(difference, problem, jnp.linspace(1.0, 2.0, size))
    assert not here.any()
    share = moves / (1.1 * EPS * np.linspace(1.0, 2.0, size))
    assert share.min() > 0.05
    # two roundings of mean square one
    assert np.sqrt(np.mean(share**2)) == pytest.approx(
        np.sqrt(2.0), rel=0.9 / np.sqrt(min(size, POOL)) + 0.02
    )
