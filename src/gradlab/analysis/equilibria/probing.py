"""Third and fourth derivatives along an unexplained kernel: is there a way down that the Hessian does not see?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.jet import jet
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.analysis.equilibria.inertia import GAP
from gradlab.analysis.equilibria.rounding import EPS, moved_data, operations, signs
from gradlab.problem.problem import Problem

#: Directions drawn. A form that is not identically zero is zero at a random direction with probability 0.
DIRECTIONS = 16
#: Highest order looked at where the whole Hessian is zero.
ORDER = 8
#: The same where derivatives are nested, whose cost doubles with every order.
NESTED = 4


@dataclass(frozen=True)
class Probing:
    """descent : True where some higher derivative goes down, None where nothing was decided. why : one sentence.

    along, bend : u and h (P,) of the curve W + t u + t² h that goes down; None where none does.
    """

    descent: bool | None
    why: str
    along: Float[np.ndarray, " P"] | None = None
    bend: Float[np.ndarray, " P"] | None = None


def probe(
    problem: Problem,
    weights: Any,
    rest: Float[np.ndarray, "P k"],
    values: Float[np.ndarray, " m"],
    vectors: Float[np.ndarray, "P m"],
    shift: Float[np.ndarray, " P"],
) -> Probing:
    """Whether L descends from a semidefinite equilibrium along its kernel.

    For u in the kernel, eliminating the other directions (Lyapunov and Schmidt) leaves

        φ(t) = L(W) + c₃ t³/6 + c₄ t⁴/24 + O(t⁵),   c₃ = D³L[u,u,u],
        c₄ = D⁴L[u,u,u,u] − 3 Σ_i (D³L[u,u,q_i])²/λ_i,

    the sum over eigenpairs with λ_i > 0. L descends if some c₃ ≠ 0, or if c₃ = 0 and some c₄ < 0. Each number has an
    error (rounding as in :mod:`~gradlab.analysis.equilibria.rounding`, and its change over ``shift``, the uncertainty
    of the point), and counts as non-zero only at ``GAP`` times it. Where the Hessian is zero, so that nothing is
    eliminated, orders up to ``ORDER`` are looked at one after another.
    """
    generator = np.random.default_rng(0)
    k = rest.shape[1]
    mixed = generator.standard_normal((DIRECTIONS, k))
    units = np.concatenate(
        [np.eye(k)[: DIRECTIONS // 2], mixed / np.linalg.norm(mixed, axis=1, keepdims=True)]
    )
    units = np.concatenate([units, -units])  # odd orders: both ways
    U = jnp.asarray(units @ rest.T)
    if not len(values):
        return _orders(problem, weights, U, shift)
    forms, errors = _with_errors(problem, weights, shift, U, jnp.asarray(vectors.T), jnp.asarray(values))
    cubic, quartic = ((np.abs(forms[:, i]) >= GAP * errors[:, i]) & (forms[:, i] != 0.0) for i in range(2))
    third = int(np.argmax(np.abs(forms[:, 0])))
    if cubic.any():
        third = int(np.argmax(np.where(cubic, np.abs(forms[:, 0]), 0.0)))
        why = f"a third derivative along the kernel is {forms[third, 0]:.2e} ± {errors[third, 0]:.0e}"
        return Probing(True, why, *_curve(problem, weights, U[third], vectors, values))
    if (np.abs(forms[:, 0]) > errors[:, 0]).any():
        return Probing(
            None,
            f"a third derivative along the kernel, {forms[third, 0]:.1e} ± {errors[third, 0]:.0e}, is undecided",
        )
    down = quartic & (forms[:, 1] < 0.0)
    if down.any():
        at = int(np.argmax(down))
        why = f"a fourth derivative along the kernel is {forms[at, 1]:.2e} ± {errors[at, 1]:.0e}"
        return Probing(True, why, *_curve(problem, weights, U[at], vectors, values))
    if k == 1 and quartic.all():
        return Probing(
            None, f"the fourth derivative along the kernel is positive, {forms[0, 1]:.2e}; the third vanishes"
        )
    return Probing(None, "third derivatives along the kernel vanish and no fourth one drawn is negative")


def _curve(
    problem: Problem, weights: Any, u: Any, vectors: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """u, and h = −½ Σ_i (D³L[u, u, q_i]/λ_i) q_i: the curve along which the other directions are at rest."""
    b = np.asarray(_second(problem, weights, u))
    return np.asarray(u), -0.5 * vectors @ ((vectors.T @ b) / values)


@eqx.filter_jit
def _second(problem: Problem, weights: Any, u: Any) -> Float[Array, " P"]:
    """D³L[u, u, ·]."""
    flat, unravel = ravel_pytree(weights)
    return _derivatives(jax.grad(lambda v: problem.potential(unravel(v))), flat, u, 2)


def _with_errors(
    problem: Problem, weights: Any, shift: Any, *arguments: Any
) -> tuple[np.ndarray, np.ndarray]:
    changes = signs(problem, weights, np.random.default_rng(2))
    forms, moves = (np.asarray(part) for part in _forms(problem, weights, changes, *arguments))
    flat, unravel = ravel_pytree(weights)
    moved = np.asarray(_forms(problem, unravel(flat + shift), changes, *arguments)[0])
    return forms, operations(problem, weights) * EPS * (np.abs(moves) + np.abs(forms)) + np.abs(moved - forms)


def _derivatives(f: Any, x: Any, u: Any, order: int) -> Any:
    """dᵏ/dtᵏ f(x + t u) at 0."""
    g = f
    for _ in range(order):
        g = _along(g, u)
    return g(x)


def _along(g: Any, u: Any) -> Any:
    return lambda x: jax.jvp(g, (x,), (u,))[1]


@eqx.filter_jit
def _forms(
    problem: Problem,
    weights: Any,
    changes: Any,
    U: Float[Array, "S P"],
    Q: Float[Array, "m P"],
    lam: Float[Array, " m"],
) -> Any:
    """(c₃, c₄) for every direction (S, 2), and their derivative by random relative changes of the data."""

    def forms(f: Any) -> Any:
        def of(x: Any) -> Any:
            def one(u: Any) -> Any:
                b = _derivatives(jax.grad(f), x, u, 2)
                fourth = _derivatives(f, x, u, 4)
                return jnp.stack([b @ u, fourth - 3.0 * jnp.sum((Q @ b) ** 2 / lam)])

            return jax.lax.map(one, U)

        return of

    flat, unravel = ravel_pytree(weights)
    values = forms(lambda v: problem.potential(unravel(v)))(flat)
    return values, moved_data(problem, weights, changes, forms)


@eqx.filter_jit
def _taylor(problem: Problem, weights: Any, U: Float[Array, "S P"]) -> Float[Array, "S order"]:
    """dᵏ/dtᵏ L(W + t u), k = 1 … ORDER."""
    flat, unravel = ravel_pytree(weights)

    def one(u: Any) -> Any:
        series = [u] + [jnp.zeros_like(u)] * (ORDER - 1)
        return jnp.stack(jet(lambda v: problem.potential(unravel(v)), (flat,), (series,))[1])

    return jax.lax.map(one, U)


@eqx.filter_jit
def _nested(problem: Problem, weights: Any, U: Float[Array, "S P"]) -> Float[Array, "S order"]:
    """The same up to NESTED, derivatives of derivatives: of what has no Taylor rules."""
    flat, unravel = ravel_pytree(weights)

    def one(u: Any) -> Any:
        return jnp.stack(
            [_derivatives(lambda v: problem.potential(unravel(v)), flat, u, k) for k in range(1, NESTED + 1)]
        )

    return jax.lax.map(one, U)


def _orders(problem: Problem, weights: Any, U: Any, shift: Any) -> Probing:
    flat, unravel = ravel_pytree(weights)
    try:
        here = np.asarray(_taylor(problem, weights, U))
        moved = np.asarray(_taylor(problem, unravel(flat + shift), U))
    except Exception:  # JAX raises nearly anything at operations without Taylor rules (softplus, arctan)
        here = np.asarray(_nested(problem, weights, U))
        moved = np.asarray(_nested(problem, unravel(flat + shift), U))
    scale = float(np.abs(here).max(initial=0.0))
    errors = operations(problem, weights) * EPS * scale + np.abs(moved - here)
    for order in range(3, here.shape[1] + 1):
        form, error = here[:, order - 1], errors[:, order - 1]
        sure = (np.abs(form) >= GAP * error) & (form != 0.0)
        if sure.any() and (order % 2 or (form[sure] < 0.0).any()):
            at = int(np.argmax(sure & ((form < 0.0) | bool(order % 2))))
            why = f"the Hessian is zero and a derivative of order {order} is {form[at]:.2e} ± {error[at]:.0e}"
            return Probing(True, why, np.asarray(U[at]), np.zeros(len(flat)))
        if (np.abs(form) > error).any():
            return Probing(None, f"the Hessian is zero, and derivatives of order {order} decide nothing")
    return Probing(None, f"all derivatives drawn up to order {here.shape[1]} vanish")
