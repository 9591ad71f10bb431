"""Losses: of a residual (square, ℓ_p), or of a margin with an exponential tail (exponential, logistic,
cross-entropy).

The second kind offers a log-risk. XLA flushes denormals on CPU, so exp(−740) is 0 and log of a risk is −∞
long before the theory gets interesting: nothing here takes the logarithm of a number that may underflow.
"""

import abc
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from gradlab.modules import Module
from gradlab.problem import target_checks
from gradlab.problem.own_code import called
from gradlab.problem.precision import float64

#: Beyond s = −20, log log(1 + eˢ) is s − eˢ/2 up to 5/24 e²ˢ < 10⁻¹⁸.
_TAIL = 20.0


class Loss(Module):
    """A loss ℓ(f(x_n), y_n) and the risk Σ_n ℓ_n (``reduction="sum"``) or (1/N) Σ_n ℓ_n (``"mean"``).

    ``labels`` says what the targets are: ``"real"`` (N, C) floats, ``"sign"`` (N,) of ±1 with one output,
    ``"class"`` (N,) integers 0 … C−1. ``kind`` is ``"residual"`` or ``"margin"``.
    """

    @property
    @abc.abstractmethod
    def reduction(self) -> str:
        """``"sum"`` or ``"mean"``, over examples."""

    @property
    @abc.abstractmethod
    def labels(self) -> str:
        """What the targets are."""

    @property
    @abc.abstractmethod
    def has_log(self) -> bool:
        """Whether there is a log-risk."""

    @property
    def relative(self) -> bool:
        """Whether ℓ itself is as right as its logarithm, relative to its size, while it does not underflow."""
        return True

    @property
    def smooth(self) -> bool:
        """Whether ℓ is C¹ in the outputs, with a derivative that is Lipschitz near every one."""
        return True

    def softened(self, outputs: Array, targets: Array, epsilon: Any) -> Float[Array, " N"]:
        """ℓ_n with |z| at its kinks as √(z² + ε²); as it is where there are none."""
        return self.per_example(outputs, targets)

    def __check_init__(self) -> None:
        if self.reduction not in ("sum", "mean"):
            raise ValueError(f"reduction is 'sum' or 'mean', not {self.reduction!r}")
        if self.labels not in ("real", "sign", "class"):
            raise ValueError(f"labels are 'real', 'sign' or 'class', not {self.labels!r}")

    @property
    def kind(self) -> Literal["residual", "margin"]:
        """Whether the loss is one of residuals f − y or of margins."""
        return "residual" if self.labels == "real" else "margin"

    @abc.abstractmethod
    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        """ℓ(f(x_n), y_n)."""

    @abc.abstractmethod
    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        """log ℓ(f(x_n), y_n), right where ℓ_n itself underflows; ValueError where ``has_log`` is False."""

    def risk(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, ""]:
        """Σ_n ℓ_n, or its mean."""
        values = self.per_example(outputs, targets)
        return jnp.sum(values) if self.reduction == "sum" else jnp.mean(values)

    def log_risk(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, ""]:
        """log of the risk, by log-sum-exp over examples; ValueError where ``has_log`` is False."""
        logs = self.log_per_example(outputs, targets)
        most = jnp.finfo(logs.dtype).max
        largest = jax.lax.stop_gradient(jax.lax.clamp(-most, jnp.max(logs), most))
        total = jnp.log(jnp.sum(jnp.exp(logs - largest))) + largest
        return total if self.reduction == "sum" else total - np.log(logs.shape[0])

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        """ℓ_n (N,), ∂ℓ_n/∂f (N, C) or ∂²ℓ_n/∂f² (N, C, C) for ``order`` 0, 1, 2, in NumPy and float64.

        Nothing is compiled for a shape, but for a loss that does not say it in closed form: that one is
        differentiated automatically.
        """
        return np.asarray(_automatic(self, np.asarray(outputs, dtype=np.float64), np.asarray(targets), order))

    def slopes(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."]
    ) -> tuple[Float[np.ndarray, "N C"], Float[np.ndarray, "N C C"]]:
        """First and second derivatives of the risk in the outputs of every example, in NumPy."""
        share = 1.0 / len(outputs) if self.reduction == "mean" else 1.0
        return share * self.derivative(outputs, targets, 1), share * self.derivative(outputs, targets, 2)

    def margins(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        """y_n f(x_n) for labels ±1, f_y − max_{c≠y} f_c for classes.

        Raises
        ------
        ValueError
            For a loss of residuals, which has no margins.
        """
        if self.labels == "real":
            raise ValueError(
                f"{type(self).__name__} is a loss of residuals and has no margins; "
                "use Exponential, Logistic or CrossEntropy, or ask for the error"
            )
        return margins(self.labels, outputs, targets)

    def check(self, outputs: int, targets: Any) -> None:
        """Refuse targets that the loss does not take with a network of so many outputs (on the host).

        Raises
        ------
        ValueError
            Saying what was given, what was expected, and what to write instead.
        """
        name, values = type(self).__name__, np.asarray(targets)
        if self.labels == "real":
            target_checks.check_real(name, outputs, values)
        elif self.labels == "sign":
            target_checks.check_signs(name, outputs, values)
        else:
            target_checks.check_classes(name, outputs, values)


@float64
@eqx.filter_jit
def _automatic(loss: Loss, outputs: Any, targets: Any, order: int) -> Any:
    def one(output: Any, target: Any) -> Any:
        return loss.per_example(output[None], target[None])[0]

    return jax.vmap((one, jax.grad(one), jax.hessian(one))[order])(outputs, targets)


def margins(labels: str, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
    """Margins of outputs against ±1 (``"sign"``) or classes (``"class"``): positive where right."""
    if labels == "sign":
        return targets * outputs[:, 0]
    others = jnp.where(_own_class(outputs, targets), -jnp.inf, outputs)
    return _at_class(outputs, targets) - jnp.max(others, axis=1)


def _own_class(outputs: Float[Array, "N C"], targets: Num[Array, " N"]) -> Bool[Array, "N C"]:
    return jnp.arange(outputs.shape[1]) == targets[:, None]


def _at_class(outputs: Float[Array, "N C"], targets: Num[Array, " N"]) -> Float[Array, " N"]:
    return jnp.take_along_axis(outputs, targets[:, None], axis=1)[:, 0]


def _runner_up(outputs: Float[Array, "N C"], targets: Num[Array, " N"]) -> Float[Array, " N"]:
    """s = log Σ_{c≠y} exp(f_c − f_y): cross-entropy is log(1 + eˢ), and −s a soft margin."""
    gaps = outputs - _at_class(outputs, targets)[:, None]
    return jax.nn.logsumexp(gaps, axis=1, where=~_own_class(outputs, targets))


def _log_softplus(s: Float[Array, " N"]) -> Float[Array, " N"]:
    """log log(1 + eˢ), with derivatives, for any s."""
    tail = s < -_TAIL
    # Two wheres: the branch not taken must not see an argument whose derivative is NaN there.
    below, above = jnp.where(tail, s, -_TAIL), jnp.where(tail, 0.0, s)
    return jnp.where(tail, below - 0.5 * jnp.exp(below), jnp.log(jax.nn.softplus(above)))


def no_log(loss: Loss) -> ValueError:
    advice = (
        "give log_value= to CustomLoss"
        if isinstance(loss, CustomLoss)
        else "use Exponential, Logistic or CrossEntropy"
    )
    return ValueError(
        f"{type(loss).__name__} has no log-risk, so no log-loss time: use the clock Time(), or {advice}"
    )


# Losses of residuals ---------------------------------------------------------------------------------------


class Square(Loss):
    """The square loss of an example is ‖f − y‖², or half of it: the sources differ, so say which.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> round(float(problem.potential((np.array([[1.0]]),))), 6)  # ½ (1 − 3)²
    2.0
    """

    reduction: str = eqx.field(static=True, default="sum")
    half: bool = eqx.field(static=True, default=False)
    labels: ClassVar[str] = "real"
    has_log: ClassVar[bool] = False

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        squares = jnp.sum((outputs - targets) ** 2, axis=1)
        return 0.5 * squares if self.half else squares

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        factor = 1.0 if self.half else 2.0
        if order == 0:
            return np.sum((outputs - targets) ** 2, axis=1) * (0.5 * factor)
        if order == 1:
            return -factor * (targets - outputs)
        return factor * np.broadcast_to(np.eye(outputs.shape[1]), (*outputs.shape, outputs.shape[1]))

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        raise no_log(self)


class Lp(Loss):
    """The Lp loss of an example is Σ_c |f_c − y_c|^p, p ≥ 1.

    At a residual of 0 the derivative is 0 for every p, and so is the second derivative for p < 2, where it
    does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.losses.Lp(4), gl.Data([[1.0]], [[3.0]]))
    >>> round(float(problem.potential((np.array([[1.0]]),))), 6)  # (1 − 3)⁴
    16.0
    """

    p: float | int = eqx.field(static=True)
    reduction: str = eqx.field(static=True, default="sum")
    labels: ClassVar[str] = "real"
    has_log: ClassVar[bool] = False

    def __check_init__(self) -> None:
        if not 1.0 <= self.p < np.inf:
            raise ValueError(f"Lp needs 1 ≤ p < ∞; p = {self.p:g} was given: the loss is convex only there")

    @property
    def smooth(self) -> bool:
        return self.p >= 2

    def softened(self, outputs: Array, targets: Array, epsilon: Any) -> Float[Array, " N"]:
        if self.smooth:
            return self.per_example(outputs, targets)
        return jnp.sum(((outputs - targets) ** 2 + epsilon**2) ** (0.5 * self.p), axis=1)

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        residuals = outputs - targets
        if self.p % 2 == 0:
            powers = residuals ** int(self.p)
        elif self.p == 1:
            # not abs, whose derivative at 0 is 1 in JAX
            powers = residuals * jnp.sign(residuals)
        else:
            sizes = jnp.abs(residuals)
            powers = jnp.where(sizes > 0, jnp.where(sizes > 0, sizes, 1.0) ** self.p, 0.0)
        return jnp.sum(powers, axis=1)

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        p, sizes = self.p, np.abs(outputs - targets)
        if order == 0:
            return np.sum(sizes**p, axis=1)
        if order == 1:
            return p * sizes ** (p - 1) * np.sign(outputs - targets)
        powers = np.where(sizes > 0.0, np.where(sizes > 0.0, sizes, 1.0) ** (p - 2), 1.0 if p == 2 else 0.0)
        return (p * (p - 1) * powers)[:, :, None] * np.eye(outputs.shape[1])

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        raise no_log(self)


# Losses of margins -----------------------------------------------------------------------------------------


class Exponential(Loss):
    """The exponential loss of an example is exp(−y f), for labels ±1 and one output.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Exponential(), gl.Data([[1.0]], [-1]))
    >>> round(float(problem.potential((np.array([[2.0]]),))), 6)  # e²
    7.389056
    """

    reduction: str = eqx.field(static=True, default="sum")
    labels: ClassVar[str] = "sign"
    has_log: ClassVar[bool] = True

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return jnp.exp(-targets * outputs[:, 0])

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        values = np.exp(-targets[:, None] * outputs)
        if order == 0:
            return values[:, 0]
        return -targets[:, None] * values if order == 1 else values[:, :, None]

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        return -targets * outputs[:, 0]


class Logistic(Loss):
    """The logistic loss of an example is log(1 + exp(−y f)), for labels ±1 and one output.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Logistic(), gl.Data([[1.0]], [1]))
    >>> round(float(problem.potential((np.array([[0.0]]),))), 6)  # log 2
    0.693147
    """

    reduction: str = eqx.field(static=True, default="sum")
    labels: ClassVar[str] = "sign"
    has_log: ClassVar[bool] = True

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return jax.nn.softplus(-targets * outputs[:, 0])

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        if order == 0:
            return np.logaddexp(0.0, -targets * outputs[:, 0])
        chances = 1.0 / (1.0 + np.exp(targets[:, None] * outputs))
        return -targets[:, None] * chances if order == 1 else (chances * (1.0 - chances))[:, :, None]

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        return _log_softplus(-targets * outputs[:, 0])


class CrossEntropy(Loss):
    """The cross-entropy of an example is −log softmax(f)_y = log(1 + Σ_{c≠y} exp(f_c − f_y)).

    Targets are classes 0 … C−1; there are C ≥ 2 outputs.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 3)), gl.CrossEntropy(), gl.Data([[1.0]], [2]))
    >>> round(float(problem.potential((np.zeros((3, 1)),))), 6)  # log 3
    1.098612
    """

    reduction: str = eqx.field(static=True, default="sum")
    labels: ClassVar[str] = "class"
    has_log: ClassVar[bool] = True

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return jax.nn.softplus(_runner_up(outputs, targets))

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        eye, rows = np.eye(outputs.shape[1]), np.arange(len(outputs))
        if order == 0:
            behind = outputs - outputs[rows, targets][:, None]
            behind[rows, targets] = -np.inf
            return np.logaddexp(0.0, np.logaddexp.reduce(behind, axis=1))
        chances = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        others = chances @ (1 - eye)  # 1 − chances, to full relative accuracy where an example is safe
        if order == 1:
            return np.where(eye[targets] > 0, -others, chances)
        return (chances * others)[:, :, None] * eye - (1 - eye) * chances[:, :, None] * chances[:, None]

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        return _log_softplus(_runner_up(outputs, targets))


class CustomLoss(Loss):
    """This is anybody's own loss: ``value(outputs, targets)`` gives the N values ℓ_n, ``log_value`` their logs.

    Both are pure functions of (outputs (N, C), targets) that can be hashed, and give an array (N,).
    Without ``log_value`` there is no log-risk, and log-loss time is refused. That ``log_value`` is the
    logarithm of ``value`` is checked at a few outputs where a :class:`Problem` is made.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> loss = gl.losses.CustomLoss(lambda f, y: ((f - y) ** 4).sum(axis=1))
    >>> problem = gl.Problem(gl.Dense((1, 1)), loss, gl.Data([[1.0]], [[3.0]]))
    >>> float(problem.potential((np.array([[1.0]]),)))
    16.0
    """

    value: Any = eqx.field(static=True)
    log_value: Any = eqx.field(static=True, default=None)
    reduction: str = eqx.field(static=True, default="sum")
    labels: str = eqx.field(static=True, default="real")

    def __check_init__(self) -> None:
        for name, given in (("value", self.value), ("log_value", self.log_value)):
            if given is not None and not callable(given):
                raise ValueError(
                    f"{name} was {given!r}; give a function of (outputs, targets), one value each"
                )

    @property
    def has_log(self) -> bool:
        """Whether a ``log_value`` was given."""
        return self.log_value is not None

    @property
    def relative(self) -> bool:
        """Where a ``log_value`` was given, nothing is known of ``value`` where it is small."""
        return not self.has_log

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Array:
        return called("the loss's value", self.value, outputs, targets)

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        if self.log_value is None:
            raise no_log(self)
        return called("the loss's log_value", self.log_value, outputs, targets)
