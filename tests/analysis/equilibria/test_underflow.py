"""Rows of zeros that are none are told from those that are, and derivatives without Taylor rules are found."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.analysis.equilibria.probing import NESTED, _orders
from gradlab.analysis.equilibria.underflow import lost

VALUE = gl.losses.CustomLoss(lambda f, y: f[:, 0])


@pytest.mark.parametrize(
    ("term", "scale", "at", "what"),
    [
        (lambda a, b: jnp.exp(-a), 1.0, 800.0, "exp gave 0"),
        (lambda a, b: jnp.exp(-(a**2)), 1.0, 30.0, "exp gave 0"),
        (lambda a, b: a**5, 1.0, 1e-120, "gave 0"),
        (lambda a, b: a**4, 1e-320, 1.0, "least normal one"),
        (lambda a, b: 0.0, 1.0, 0.3, ""),
        (lambda a, b: jnp.maximum(a, 0.0) * b, 1.0, -1.0, ""),
        (lambda a, b: jnp.tanh(a) ** 4, 1.0, 0.0, ""),
    ],
)
def test_what_was_lost_to_underflow_is_named_and_exact_zeros_are_left_alone(
    term: Any, scale: float, at: float, what: str
) -> None:
    def apply(w: Any, x: Any) -> Any:
        return x * (term(*w) + w[1] ** 2)

    network = gl.Function(apply, lambda key: jnp.ones(2), input_shape=1, outputs=1)
    found = lost(gl.Problem(network, VALUE, gl.Data([[scale]], [[0.0]])), np.array([at, 0.0]))
    assert (what in found) if what else found == ""


def test_without_taylor_rules_derivatives_are_nested() -> None:
    def apply(w: Any, x: Any) -> Any:
        return x * (jax.nn.softplus(w[0]) - jnp.log(2.0)) * w[1] * w[2]

    network = gl.Function(apply, lambda key: jnp.zeros(3), input_shape=1, outputs=1)
    own = gl.Problem(network, VALUE, gl.Data([[1.0]], [[0.0]]))
    along = np.array([[2.0, 1.0, 1.0]])
    found = _orders(own, np.zeros(3), jnp.asarray(along), np.zeros(3))
    # softplus(a) − log 2 = a/2 + a²/8 + …: the third derivative along u is 3! u₁u₂u₃/2
    assert found.descent
    assert "order 3 is 6.00e+00" in found.why
    assert NESTED >= 3
