"""Losses with kinks, and problems softened at their kinks: what is integrated where a flow may slide along them."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from gradlab.problem.activations import Activation, LeakyReLU
from gradlab.problem.dense import Dense
from gradlab.problem.ensembles import unchecked
from gradlab.problem.losses import Loss, no_log
from gradlab.problem.precision import number
from gradlab.problem.problem import Problem


def _absolute(z: Any, epsilon: Any) -> Any:
    """√(z² + ε²); |z| for ε = 0, whose derivative at 0 is 0."""
    if isinstance(epsilon, float) and epsilon == 0.0:
        return z * jnp.sign(z)
    return jnp.sqrt(z**2 + epsilon**2)


class Hinge(Loss):
    """The hinge loss of an example is max(0, 1 − y f), for labels ±1 and one output.

    At the kink, y f = 1, the derivative is −y/2; the flow that is integrated is Filippov's, which may stay there.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.losses.Hinge(), gl.Data([[1.0]], [-1]))
    >>> float(problem.potential((np.array([[2.0]]),)))  # 1 + 2
    3.0
    """

    reduction: str = eqx.field(static=True, default="sum")
    labels: ClassVar[str] = "sign"
    has_log: ClassVar[bool] = False
    smooth: ClassVar[bool] = False

    def softened(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."], epsilon: Any
    ) -> Float[Array, " N"]:
        gap = 1.0 - targets * outputs[:, 0]
        return 0.5 * (gap + _absolute(gap, epsilon))

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return self.softened(outputs, targets, 0.0)

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        gap = 1.0 - targets[:, None] * outputs
        if order == 0:
            return np.maximum(gap, 0.0)[:, 0]
        return -targets[:, None] * np.heaviside(gap, 0.5) if order == 1 else np.zeros((*outputs.shape, 1))

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        raise no_log(self)


class Quantile(Loss):
    """The quantile loss of an example is Σ_c max(q r_c, (q − 1) r_c), r = y − f: its minimum is the q-quantile.

    At a residual of 0 the derivative is the mean of those beside it.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.losses.Quantile(0.9), gl.Data([[1.0]], [[3.0]]))
    >>> round(float(problem.potential((np.array([[1.0]]),))), 6)  # 0.9 (3 − 1)
    1.8
    """

    q: float = eqx.field(static=True)
    reduction: str = eqx.field(static=True, default="sum")
    labels: ClassVar[str] = "real"
    has_log: ClassVar[bool] = False
    smooth: ClassVar[bool] = False

    def __check_init__(self) -> None:
        if not 0.0 < self.q < 1.0:
            raise ValueError(f"q was {self.q:g}; give a quantile between 0 and 1, e.g. 0.9")

    def softened(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."], epsilon: Any
    ) -> Float[Array, " N"]:
        residuals = targets - outputs
        return jnp.sum((self.q - 0.5) * residuals + 0.5 * _absolute(residuals, epsilon), axis=1)

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return self.softened(outputs, targets, 0.0)

    def derivative(
        self, outputs: Float[np.ndarray, "N C"], targets: Num[np.ndarray, "N ..."], order: int
    ) -> Float[np.ndarray, "N ..."]:
        residuals = targets - outputs
        if order == 0:
            return np.sum(np.maximum(self.q * residuals, (self.q - 1.0) * residuals), axis=1)
        if order == 1:
            return (0.5 - self.q) - 0.5 * np.sign(residuals)
        return np.zeros((*outputs.shape, outputs.shape[1]))

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        raise no_log(self)


class Softened(Loss):
    """A softened loss is another with |z| at its kinks as √(z² + ε²): smooth, and within ε of it a kink.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> soft = gl.losses.Softened(gl.losses.Lp(1), 0.1)
    >>> problem = gl.Problem(gl.Dense((1, 1)), soft, gl.Data([[1.0]], [[3.0]]))
    >>> round(float(problem.potential((np.array([[3.0]]),))), 6)
    0.1
    """

    loss: Loss
    epsilon: Float[Array, "..."] | float = eqx.field(converter=number)
    has_log: ClassVar[bool] = False

    @property
    def reduction(self) -> str:
        return self.loss.reduction

    @property
    def labels(self) -> str:
        return self.loss.labels

    def per_example(self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]) -> Float[Array, " N"]:
        return self.loss.softened(outputs, targets, self.epsilon)

    def log_per_example(
        self, outputs: Float[Array, "N C"], targets: Num[Array, "N ..."]
    ) -> Float[Array, " N"]:
        raise no_log(self)


class SoftReLU(Activation):
    """A softened (leaky) ReLU is (1+α)/2 z + (1−α)/2 √(z² + ε²), of slope α far below 0."""

    epsilon: Float[Array, "..."]
    slope: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    degree: int | None = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, epsilon: Any, slope: float) -> None:
        self.epsilon, self.slope = epsilon, slope
        self.name, self.degree, self.smooth = "soft_relu", None, True

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return 0.5 * (1.0 + self.slope) * z + 0.5 * (1.0 - self.slope) * _absolute(z, self.epsilon)


def softens(problem: Problem) -> bool:
    """Whether :func:`softened` leaves no kink: in the loss any; in the network those of a Dense (leaky) ReLU."""
    network = problem.network
    rectified = isinstance(network, Dense) and network.activation.name in ("relu", "leaky_relu")
    return network.smooth or rectified


def softened(problem: Problem, epsilon: Any) -> Problem:
    """The problem with its kinks softened on the scale ε, relative to the largest target and to the inputs' length."""
    loss, network, data = problem.loss, problem.network, problem.data
    size: Any = 1.0
    if loss.kind == "residual":
        size = jnp.max(jnp.abs(data.targets))
        size = jnp.where(size > 0.0, size, 1.0)
    if isinstance(network, Dense) and not network.smooth:
        slope = float(network.activation.slope) if isinstance(network.activation, LeakyReLU) else 0.0
        length = jnp.sqrt(jnp.sum(data.inputs**2) / data.inputs.shape[0])
        network = eqx.tree_at(lambda n: n.activation, network, SoftReLU(epsilon * length, slope))
    return unchecked(Problem, problem, loss=Softened(loss, epsilon * size), network=network)
