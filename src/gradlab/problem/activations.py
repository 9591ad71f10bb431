"""Activations σ with what theory asks of them: the degree of homogeneity and smoothness."""

# No postponed annotations here: equinox would take the string "eqx.AbstractVar[…]" for a field.

import abc
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.modules import Module
from gradlab.problem.precision import float64

Host = Callable[[Any], Any]


class Activation(Module):
    """A function σ applied to every coordinate.

    Attributes
    ----------
    name : the word a specification uses.
    degree : p with σ(a z) = aᵖ σ(z) for every a > 0, or None where there is none.
    smooth : whether σ is C¹ everywhere.
    """

    name: eqx.AbstractVar[str]
    degree: eqx.AbstractVar[int | None]
    smooth: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """σ(z)."""

    def derivative(self, z: Float[np.ndarray, "*shape"], order: int) -> Float[np.ndarray, "*shape"]:
        """σ(z), σ'(z) or σ''(z) for ``order`` 0, 1, 2, in NumPy and float64: nothing is compiled for a shape.

        σ'(0) is what automatic differentiation gives, σ'' is 0 at kinks. An activation that does not say it in
        closed form is differentiated automatically, which compiles a program for every new shape.
        """
        return np.asarray(_automatic(self, np.asarray(z, dtype=np.float64), order))


@float64
@eqx.filter_jit
def _automatic(sigma: Activation, z: Any, order: int) -> Any:
    function: Host = sigma
    for _ in range(order):
        function = jax.grad(function)
    return jax.vmap(function)(jnp.ravel(z)).reshape(z.shape)


class _Entry(NamedTuple):
    function: Callable[[Any], Any]
    degree: int | None
    smooth: bool
    #: σ, σ', σ'' in NumPy.
    host: tuple[Host, Host, Host]


# Imported when asked: problems without such units need no SciPy.
def _gate(z: Any) -> Any:
    from scipy.special import expit

    return expit(z)


def _normal(z: Any) -> Any:
    from scipy.special import ndtr

    return ndtr(z)


def _density(z: Any) -> Any:
    return np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)


def _gate_slope(z: Any) -> Any:
    return _gate(z) * _gate(-z)


# σ'(0) of ReLU is 0: jax.nn.relu says so, jnp.maximum would say 1/2.
_STANDARD = {
    "identity": _Entry(lambda z: z, 1, True, (lambda z: z, np.ones_like, np.zeros_like)),
    "relu": _Entry(
        jax.nn.relu, 1, False, (lambda z: np.maximum(z, 0.0), lambda z: 1.0 * (z > 0), np.zeros_like)
    ),
    "squared_relu": _Entry(
        lambda z: jnp.square(jax.nn.relu(z)),
        2,
        True,
        (lambda z: np.maximum(z, 0.0) ** 2, lambda z: 2.0 * np.maximum(z, 0.0), lambda z: 2.0 * (z > 0)),
    ),
    "tanh": _Entry(
        jnp.tanh,
        None,
        True,
        (np.tanh, lambda z: 1.0 / np.cosh(z) ** 2, lambda z: -2.0 * np.tanh(z) / np.cosh(z) ** 2),
    ),
    "sigmoid": _Entry(
        jax.nn.sigmoid,
        None,
        True,
        (_gate, _gate_slope, lambda z: _gate_slope(z) * (_gate(-z) - _gate(z))),
    ),
    "gelu": _Entry(
        lambda z: jax.nn.gelu(z, approximate=False),
        None,
        True,
        (
            lambda z: z * _normal(z),
            lambda z: _normal(z) + z * _density(z),
            lambda z: _density(z) * (2.0 - z**2),
        ),
    ),
}


class Standard(Activation):
    """An activation without parameters: z, max(z, 0), max(z, 0)², tanh z, 1/(1 + e⁻ᶻ), or z Φ(z) (GELU).

    Φ is the normal distribution function, not its tanh approximation. ReLU has σ'(0) = 0.

    Raises
    ------
    ValueError
        If the name is not known.
    """

    name: str = eqx.field(static=True)
    degree: int | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)

    def __init__(self, name: str) -> None:
        if name not in _STANDARD:
            raise ValueError(_unknown(name))
        self.name = name
        self.degree, self.smooth = _STANDARD[name].degree, _STANDARD[name].smooth

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return _STANDARD[self.name].function(z)

    def derivative(self, z: Float[np.ndarray, "*shape"], order: int) -> Float[np.ndarray, "*shape"]:
        return _STANDARD[self.name].host[order](z)


class LeakyReLU(Activation):
    """σ(z) = z for z > 0, slope · z otherwise; σ'(0) = slope."""

    slope: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    degree: int | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)

    def __init__(self, slope: float = 0.01) -> None:
        if not math.isfinite(slope):
            raise ValueError(f"the slope of leaky_relu was {slope}; give a finite number such as 0.01")
        self.slope = float(slope)
        self.name, self.degree, self.smooth = "leaky_relu", 1, self.slope == 1.0

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.where(z > 0, z, self.slope * z)

    def derivative(self, z: Float[np.ndarray, "*shape"], order: int) -> Float[np.ndarray, "*shape"]:
        if order == 0:
            return np.where(z > 0, z, self.slope * z)
        return np.where(z > 0, 1.0, self.slope) if order == 1 else np.zeros_like(z)


class Polynomial(Activation):
    """σ(z) = c_0 + c_1 z + … + c_p zᵖ, homogeneous (degree p) exactly if it is a monomial."""

    coefficients: tuple[float, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)
    degree: int | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)

    def __init__(self, coefficients: Sequence[float]) -> None:
        numbers = tuple(float(coefficient) for coefficient in coefficients)
        if not all(map(math.isfinite, numbers)) or not any(numbers[1:]):
            raise ValueError(
                f"the coefficients of a polynomial activation were {numbers}; give finite numbers "
                "(c_0, c_1, …), one of them beyond c_0 not zero, as in (0, 0, 1) for z²"
            )
        powers = [power for power, coefficient in enumerate(numbers) if coefficient != 0]
        self.coefficients = numbers[: powers[-1] + 1]
        self.name, self.smooth = "polynomial", True
        self.degree = powers[0] if len(powers) == 1 else None

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        value = jnp.full_like(z, self.coefficients[-1])
        for coefficient in reversed(self.coefficients[:-1]):
            value = value * z + coefficient
        return value

    def derivative(self, z: Float[np.ndarray, "*shape"], order: int) -> Float[np.ndarray, "*shape"]:
        p = np.polynomial.Polynomial(self.coefficients)
        return p.deriv(order)(z) if order else p(z)


class SmoothReLU(Activation):
    """σ(z) = z / (1 + e^{−z/ε}), which tends to ReLU as ε → 0, with |σ − ReLU| ≤ 0.2785 ε."""

    epsilon: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    degree: int | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)

    def __init__(self, epsilon: float = 0.1) -> None:
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise ValueError(f"epsilon of smooth_relu was {epsilon}; give a number > 0, or write 'relu'")
        self.epsilon = float(epsilon)
        self.name, self.degree, self.smooth = "smooth_relu", None, True

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return z * jax.nn.sigmoid(z / self.epsilon)

    def derivative(self, z: Float[np.ndarray, "*shape"], order: int) -> Float[np.ndarray, "*shape"]:
        gate = _gate(z / self.epsilon)
        if order == 0:
            return z * gate
        slope = gate * (1.0 - gate) / self.epsilon
        return gate + z * slope if order == 1 else slope * (2.0 + z * (1.0 - 2.0 * gate) / self.epsilon)


def leaky_relu(slope: float = 0.01) -> Activation:
    """A leaky ReLU is z for z > 0, slope · z otherwise (degree 1); slope 1 is the identity.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> float(gl.activations.leaky_relu(0.5)(np.array(-1.0)))
    -0.5
    """
    return Standard("identity") if slope == 1 else LeakyReLU(slope)


def smooth_relu(epsilon: float = 0.1) -> Activation:
    """A smooth ReLU is z · sigmoid(z/ε), ε > 0; ε = 1 is known as SiLU or swish.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> float(gl.activations.smooth_relu(1.0)(np.array(0.0)))
    0.0
    """
    return SmoothReLU(epsilon)


def polynomial(coefficients: Sequence[float]) -> Activation:
    """A polynomial is c_0 + c_1 z + …: ``(0, 0, 1)`` is z², of degree 2, and ``(0, 1)`` the identity.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> float(gl.activations.polynomial((0, 0, 1))(np.array(3.0)))
    9.0
    """
    given = Polynomial(coefficients)
    return Standard("identity") if given.coefficients == (0.0, 1.0) else given


def activation(given: str | Activation) -> Activation:
    """A name stands for an activation, parameters at their defaults; an :class:`Activation` is passed on.

    Raises
    ------
    ValueError
        If the name is not known.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> float(gl.activations.activation("relu")(np.array(-1.0)))
    0.0
    """
    if isinstance(given, Activation):
        return given
    if given == "leaky_relu":
        return leaky_relu()
    if given == "smooth_relu":
        return smooth_relu()
    if isinstance(given, str):
        return Standard(given)
    raise ValueError(f"activation was {given!r}; give a name such as 'relu', or polynomial((0, 0, 1))")


def _unknown(name: str) -> str:
    known = (*_STANDARD, "leaky_relu", "smooth_relu")
    if name in ("polynomial", "monomial"):
        return f"activation {name!r} needs its coefficients; write polynomial((0, 0, 1)) for z²"
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it is one of {', '.join(known)}"
    return f"activation {name!r} is not known; {hint}"
