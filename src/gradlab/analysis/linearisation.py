"""Linearisation at a point: the exact linear flow, and the linear problems with the same Hessian (memo90 §12.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import lambertw

from gradlab.modules import Module
from gradlab.problem.activations import Activation
from gradlab.problem.activations import activation as _activation
from gradlab.problem.data import Data
from gradlab.problem.ensembles import unchecked
from gradlab.problem.losses import Exponential, Lp, Square
from gradlab.problem.networks import Dense, Function
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

# The linear flow -------------------------------------------------------------------------------------------


class LinearFlow(Module):
    """The flow of δ̇ = −g − Hδ, exact at every time: δ(t) = e^{−Ht} δ(0) − (∫_0^t e^{−Hs} ds) g.

    At an equilibrium g is (nearly) zero and this is e^{−Ht} (memo90 eqs. 5, 9). In the basis of eigenvectors every
    component is closed: e^{−λt} and (1 − e^{−λt})/λ, which is t at λ = 0. Eigenvalues of any sign. It computes in
    double precision whatever jax is set to.

    centre : the weights (P,) about which L is expanded. values, vectors : of H, ascending, columns.
    drift : g in the basis of the eigenvectors.
    """

    centre: Float[Array, " P"]
    values: Float[Array, " P"]
    vectors: Float[Array, "P P"]
    drift: Float[Array, " P"]

    @float64
    def __call__(self, t: Any, weights: Float[Array, "... P"]) -> Float[Array, "... P"]:
        """Where the weights (…, P), as vectors, are after the time t."""
        exponent = self.values * t
        moved = ((weights - self.centre) @ self.vectors) * jnp.exp(-exponent)
        # Two wheres: 0/0 must not be evaluated, differentiated least of all.
        still = exponent == 0.0
        share = jnp.where(still, 1.0, -jnp.expm1(-exponent) / jnp.where(still, 1.0, exponent))
        return self.centre + (moved - self.drift * t * share) @ self.vectors.T

    @float64
    def decay(self, t: Any, displacement: Float[Array, "... P"]) -> Float[Array, "... P"]:
        """e^{−Ht} u for u (…, P)."""
        return ((displacement @ self.vectors) * jnp.exp(-self.values * t)) @ self.vectors.T


@float64
def linearise(problem: Problem, weights: Any) -> LinearFlow:
    """This gives the linear flow at weights (any point, not only an equilibrium), from the dense Hessian.

    Errors: eigenvalues to P·eps·‖H‖, so that e^{−λt} has the relative error t·P·eps·‖H‖.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> origin = (np.zeros((1, 1)), np.zeros((1, 1)))
    >>> gl.equilibria.linearise(problem, origin).values.round(6).tolist()
    [-3.0, 3.0]
    """
    centre = np.asarray(problem.ravel(weights))
    gradient, hessian = (np.asarray(part) for part in _expanded(problem, centre))
    values, vectors = np.linalg.eigh(hessian)
    return LinearFlow(*(jnp.asarray(part) for part in (centre, values, vectors, gradient @ vectors)))


@eqx.filter_jit
def _expanded(problem: Problem, vector: Any) -> tuple[Any, Any]:
    """∇L and ∇²L at once: one compiled program."""
    weights = problem.unravel(vector)
    return problem.ravel(problem.gradient(weights)), problem.hessian(weights)


# Square loss: virtual data ---------------------------------------------------------------------------------


@float64
def virtual_data(problem: Problem, weights: Any) -> Problem:
    """This makes the one-layer linear net on x'_n = ∇_W f(W_0; x_n) (memo90 §12.3.1), in the weights' coordinates.

    f'(W'; x') = W'·x' with targets y'_n = y_n − f(W_0; x_n) + W_0·x'_n: at W' = W_0 both problems have the same
    residuals, hence the same potential and gradient, and Hessians that differ by Σ_n ℓ'_n ∇²f(W_0; x_n): equal
    where every residual is zero. Every output of a net with several is an example of its own. Its weights are
    ``(vector[None],)``, vector the ``ravel`` of the net's.

    Raises
    ------
    ValueError
        For a loss that is no sum over outputs of a function of residuals, and for decays that differ by layer.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> linear = gl.data.virtual_data(problem, (np.array([[1.0]]), np.array([[3.0]])))
    >>> linear.data.inputs.tolist()  # ∇(w_2 w_1) at w = (1, 3)
    [[3.0, 1.0]]
    """
    if not isinstance(problem.loss, Square | Lp):
        raise ValueError(
            f"virtual data reproduce residuals, and {type(problem.loss).__name__} is no loss of residuals: use "
            "Square or Lp; for one unit under Exponential write one_layer_mapping"
        )
    decay = np.unique(np.asarray(problem.decay))
    if decay.size > 1:
        raise ValueError(
            f"the layers have decays {decay.tolist()}, and a one-layer net has one decay: give one number"
        )
    jacobian = np.asarray(problem.output_jacobian(weights))
    examples, outputs, size = jacobian.shape
    rows = jacobian.reshape(-1, size)
    lacking = (np.asarray(problem.data.targets) - np.asarray(problem.outputs(weights))).reshape(-1)
    targets = lacking + rows @ np.asarray(problem.ravel(weights))
    # a mean over N examples of C outputs is C times the mean over N·C
    factor = problem.factor * (outputs if problem.loss.reduction == "mean" else 1.0)
    data = Data(rows, targets[:, None], provenance=f"gradients of the outputs at {examples} examples")
    return unchecked(Problem, Problem(Dense((size, 1)), problem.loss, data, float(decay[0])), factor=factor)


# Exponential loss: one unit --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unit:
    """apply(w, x) = σ(x w), hashable with its activation."""

    activation: Activation

    def __call__(self, weights: Any, x: Any) -> Any:
        return self.activation(x @ weights)


def unit(activation: str | Activation, inputs: int) -> Function:
    """The one-layer network f(w; x) = σ(wᵀx) with one output (memo90 §12.3.2, case 1); weights w (d,)."""
    given = _activation(activation)
    return Function(
        _Unit(given), lambda key: jnp.zeros(inputs), input_shape=inputs, outputs=1, smooth=given.smooth
    )


@dataclass(frozen=True)
class OneLayerMapping:
    """Data x'_n = c_n x_n on which a linear net has the Hessian that one unit has on x_n, or why there are none.

    radicand : f'(z_n)² − y_n f''(z_n) (N,); the root is real where it is not negative.
    real, solvable : per example, whether the root is real, and whether c_n exists (False too where it is not real).
    factors : c_n (N,), NaN where there is none.
    weights : w', the point of the linear net. problem : the linear problem, None unless every c_n exists.
    why : what is missing, in words; empty where nothing is.
    """

    radicand: Float[np.ndarray, " N"]
    real: Bool[np.ndarray, " N"]
    solvable: Bool[np.ndarray, " N"]
    factors: Float[np.ndarray, " N"]
    weights: Float[np.ndarray, " d"]
    problem: Problem | None
    why: str


@float64
def one_layer_mapping(problem: Problem, weights: Any, image: Any = None) -> OneLayerMapping:
    """This makes the linear exponential problem with the Hessian of one unit f(wᵀx) at w.

    Source: memo90 §12.3.2, after eq. 44.

    H = Σ_n e^{−y_n f_n} (f'_n² − y_n f''_n) x_n x_nᵀ equals Σ_n e^{−y_n w'ᵀx'_n} x'_n x'_nᵀ if x'_n = c_n x_n with
    c_n e^{−a_n c_n} = s_n, a_n = ½ y_n w'ᵀx_n, s_n = √(f'_n² − y_n f''_n) e^{−½ y_n f_n}. The paper prints f'' without
    y_n and wᵀx_n for f_n in the exponent; neither is right unless y_n = 1 and f is the identity. c_n =
    −W(−a_n s_n)/a_n, W Lambert's function on its principal branch: there is a solution iff the root is real and
    a_n s_n ≤ 1/e.

    Parameters
    ----------
    problem : of a :func:`unit` under Exponential. weights : w (d,).
    image : w', free in the paper; w itself unless given. 0 always has a solution where the roots are real.

    Raises
    ------
    ValueError
        For another network or loss.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> from gradlab.analysis.linearisation import unit
    >>> problem = gl.Problem(unit("tanh", 2), gl.Exponential(), gl.Data([[1.0, 2.0]], [1]))
    >>> gl.data.one_layer_mapping(problem, np.zeros(2)).factors.tolist()  # f'(0) = 1
    [1.0]
    """
    apply = getattr(problem.network, "apply", None)
    if not isinstance(apply, _Unit) or not isinstance(problem.loss, Exponential):
        raise ValueError(
            f"the mapping is of one unit under Exponential; {type(problem.network).__name__} under "
            f"{type(problem.loss).__name__} was given: write Problem(unit('tanh', d), Exponential(), data)"
        )
    w = np.asarray(weights, dtype=np.float64)
    w_image = w if image is None else np.asarray(image, dtype=np.float64)
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    value, first, second = (apply.activation.derivative(x @ w, order) for order in range(3))
    radicand = first**2 - y * second
    real = radicand >= 0.0
    s = np.sqrt(np.where(real, radicand, np.nan)) * np.exp(-0.5 * y * value)
    a = 0.5 * y * (x @ w_image)
    factors = scales(a, s)
    solvable = np.isfinite(factors)
    why = ""
    if not real.all():
        why = f"the square root is not real for {int((~real).sum())} of {real.size} examples"
    elif not solvable.all():
        why = f"c e^(−ac) = s has no solution for {int((~solvable).sum())} of {real.size} examples at this w'"
    linear = None
    if not why:
        data = Data(factors[:, None] * x, y, provenance="one unit, mapped to a linear net")
        linear = unchecked(Problem, problem, network=Dense((x.shape[1], 1)), data=data)
    return OneLayerMapping(radicand, real, solvable, factors, w_image, linear, why)


def scales(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """c with c e^{−ac} = s, the branch that tends to s as a → 0; NaN where there is none."""
    argument = a * s
    exists = np.isfinite(s) & (argument <= np.exp(-1.0))
    safe = np.where(exists, argument, 0.0)
    # −W(−u)/u → 1 as u → 0: c = s · (−W(−u)/u)
    small = np.abs(safe) < 1e-300
    lambert = np.real(lambertw(-np.where(small, 0.1, safe)))
    growth = np.where(small, 1.0, -lambert / np.where(small, 1.0, safe))
    return np.where(exists, s * growth, np.nan)
