r"""Backward differences of a polynomial through equally spaced past values, and the formulas built on them.

D[j] = ∇ʲy at the newest point with spacing h; the polynomial of degree k is
p(τ + s h) = Σ_{j≤k} s(s+1)…(s+j−1)/j! D[j].
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradlab.dynamics import tree
from gradlab.dynamics.tree import Anywhere

#: The highest order; D has two rows more than its degree needs.
HIGHEST = 5
ROWS = HIGHEST + 3

#: Klopfenstein's and Shampine & Reichelt's κ (1997, table 1), chosen there for small error at little loss of stability.
KAPPA = np.array([0.0, -0.1850, -1.0 / 9.0, -0.0823, -0.0415, 0.0])
#: γ_k = Σ_{j≤k} 1/j.
GAMMA = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, HIGHEST + 1))])
#: (1 − κ_k) γ_k: the corrector is α_k (y − y⁽⁰⁾) + Σ_{j≤k} γ_j D[j] = h f(τ + h, y).
ALPHA = (1.0 - KAPPA) * GAMMA
#: The local error of order k is (κ_k γ_k + 1/(k+1)) ∇ᵏ⁺¹y.
ERROR = KAPPA * GAMMA + 1.0 / np.arange(1, HIGHEST + 2)


def _rising(i: int) -> list[Fraction]:
    """Coefficients in x, from x⁰ up, of x(x + 1)…(x + i − 1)/i!."""
    coefficients = [Fraction(1)]
    for m in range(i):
        by_constant = [m * c / (m + 1) for c in coefficients] + [Fraction(0)]
        by_x = [Fraction(0)] + [c / (m + 1) for c in coefficients]
        coefficients = [a + b for a, b in zip(by_constant, by_x, strict=True)]
    return coefficients


def _spacing_table() -> np.ndarray:
    """[p, j, i]: coefficient of factorᵖ in what D[i] gives to D[j] at the spacing factor · h; exact before rounding.

    D[j] = Σ_m (−1)ᵐ C(j, m) p(τ − m factor h), and p(τ − m factor h) = Σ_i (x)(x+1)…(x+i−1)/i! D[i] with x = −m factor.
    """
    table = np.zeros((HIGHEST + 1, ROWS, ROWS))
    for i in range(HIGHEST + 1):
        polynomial = _rising(i)
        for power, coefficient in enumerate(polynomial):
            for j in range(i + 1):
                signs = sum((-1) ** m * math.comb(j, m) * (-m) ** power for m in range(j + 1))
                table[power, j, i] = float(coefficient * signs)
    return table


def _shift_table() -> np.ndarray:
    """[p, j, i]: coefficient of sᵖ in s(s+1)…(s+i−j−1)/(i−j)!."""
    table = np.zeros((HIGHEST + 1, ROWS, ROWS))
    for j in range(HIGHEST + 1):
        for i in range(j, HIGHEST + 1):
            for power, coefficient in enumerate(_rising(i - j)):
                table[power, j, i] = float(coefficient)
    return table


SPACING, SHIFT = _spacing_table(), _shift_table()
_POWERS = np.arange(HIGHEST + 1)
#: What shifts by one spacing.
_SHIFTED = np.sum(SHIFT, axis=0)


def _up_to(order: Any) -> Any:
    return jnp.arange(ROWS) <= order


def _applied(table: np.ndarray, x: Any, differences: Any, order: Any) -> Any:
    if tree.library(x, differences, order) is np:
        if x == 1.0 and table is SPACING:
            return differences
        last = order + 1
        matrix = (
            _SHIFTED if x == 1.0 else np.dot(x**_POWERS, table.reshape(len(table), -1)).reshape(ROWS, ROWS)
        )
        applied = differences.copy()
        np.dot(matrix[:last, :last], differences[:last], out=applied[:last])
        return applied
    inside, x = _up_to(order), jnp.asarray(x, dtype=differences.dtype)
    powers = jnp.stack([x**p if p else jnp.ones_like(x) for p in range(HIGHEST + 1)])
    matrix = jnp.tensordot(powers, jnp.asarray(table), axes=1)
    rows = jnp.where(inside[:, None], differences, 0.0)
    return jnp.where(inside[:, None], matrix @ rows, differences)


def respaced(differences: Float[Anywhere, "8 P"], order: Any, factor: Any) -> Float[Anywhere, "8 P"]:
    """The same polynomial of degree ``order``, its differences for the spacing factor · h.

    D ← (R U)ᵀ D with the tables of Shampine & Reichelt 1997, sec. 2.1; later rows are left alone.
    Exact, and harmless for factor ≤ 1; a factor above 1 amplifies noise in D[j] by factorʲ.
    """
    return _applied(SPACING, factor, differences, order)


def shifted(differences: Float[Anywhere, "8 P"], order: Any, s: Any) -> Float[Anywhere, "8 P"]:
    """Differences of the same polynomial at τ + s h, the spacing h kept: D[j] ← Σ_i s(s+1)…(s+i−1)/i! D[j+i].

    For 0 ≤ s ≤ 1 all values but the newest come from inside the old points.
    """
    return _applied(SHIFT, s, differences, order)


def predicted(
    differences: Float[Anywhere, "8 P"], order: Any
) -> tuple[Float[Anywhere, " P"], Float[Anywhere, " P"]]:
    """(value one spacing ahead, Σ_{1≤j≤k} γ_j D[j])."""
    if tree.library(differences, order) is np:
        some: Any = differences[: order + 1]
        return np.sum(some, axis=0), GAMMA[: order + 1] @ some
    weights = jnp.concatenate([jnp.asarray(GAMMA), jnp.zeros(ROWS - HIGHEST - 1)])
    inside = _up_to(order)
    rows = jnp.where(inside[:, None], differences, 0.0)
    return jnp.sum(rows, axis=0), weights @ rows
