"""The field −∇L at a point and beside it: printed sums, automatic derivatives, differences along coordinates."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from gradlab.claims.measured import EPS
from gradlab.observe.local import Differentials, Scalars, coordinates, differentials
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Lp, Square
from gradlab.problem.problem import Problem

#: Coordinates along which the field is differenced, at most; their length in units of a weight; steps of a flow.
COORDINATES, STEP, RUNGE_KUTTA_STEPS = 48, 1e-4, 8
#: The losses of nets with one output and with several, which share one program for all cases of an architecture.
ONE_OUTPUT: tuple[Loss, ...] = (Square(), Square("mean", half=True), Lp(4), Exponential(), Logistic())
SEVERAL_OUTPUTS: tuple[Loss, ...] = (Square(), Lp(3), CrossEntropy())


class FieldPoint:
    """The field and its derivatives at W, and the field at W ± hq and W ± hq/2 for coordinates q, in one call."""

    def __init__(self, problem: Problem, vector: np.ndarray) -> None:
        """Differentiate at ``vector`` and assemble the printed sums."""
        self.problem, self.vector = problem, vector
        self.chosen = coordinates(problem, COORDINATES)
        self.q = q = np.eye(vector.size)[self.chosen]
        self.h = STEP * (float(np.linalg.norm(vector)) / np.sqrt(vector.size) or 1.0)
        self.start = vector + self.h * np.concatenate([q, -q, 0.5 * q, -0.5 * q])
        values, gradients, changes = self.derivatives(self.start)
        examples, count, size = problem.data.inputs.shape[0], len(q), vector.size
        outputs = examples * problem.network.outputs
        self.f = values[0, :outputs].reshape(examples, -1)
        df = gradients[0, :outputs].reshape(examples, -1, size)
        d2f = changes[:count, :outputs].reshape(count, examples, -1, size)
        self.field, self.around = -gradients[0, -1], -gradients[count:, -1]
        self.jacobian = -changes[:count, -1]
        first, second = self.slopes()
        terms = first[:, :, None] * df
        self.field_sum, self.field_unit = -terms.sum(axis=(0, 1)), float(np.linalg.norm(terms, axis=2).sum())
        self.squares = -np.einsum("ncp,ncd,ndj->jp", df, second, df[:, :, self.chosen], optimize=True)
        curved = -np.einsum("nc,jncp->jp", first, d2f)
        self.sum, self.unit = self.squares + curved, _norm(self.squares) + _norm(curved)

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """ℓ' and ℓ'' of the risk at f, in closed form."""
        return self.problem.loss.slopes(self.f, np.asarray(self.problem.data.targets))

    def derivatives(self, points: np.ndarray) -> Differentials:
        """Those of f and the risk (the last row) at W along every q, and at points, by automatic differentiation.

        The losses of a kind share one program for all cases of an architecture.
        """
        base, scalars, own = _together(self.problem)
        q, still = self.q, np.zeros((len(points), self.vector.size))
        pairs = np.concatenate([np.tile(self.vector, (len(q), 1)), points]), np.concatenate([q, still])
        found = differentials(base, scalars, *pairs)
        rows = [*range(base.data.inputs.shape[0] * base.network.outputs), own]
        return Differentials(*(part[:, rows] for part in found))

    def differenced(self) -> tuple[np.ndarray, float]:
        """∂F/∂W q by Richardson's rule, a row for each q, and its error (a third of the stencils' change)."""
        return self.richardson(self.around)

    def richardson(
        self, rows: np.ndarray, size: Callable[[np.ndarray], float] | None = None
    ) -> tuple[np.ndarray, float]:
        """The derivative along every q of what was found at ``start``, and a third of the two stencils' change."""
        plus, minus, near, far = np.split(rows, 4)
        wide, narrow = (plus - minus) / (2.0 * self.h), (near - far) / self.h
        return narrow + (narrow - wide) / 3.0, (size or _norm)(narrow - wide) / 3.0

    @property
    def rounding(self) -> float:
        """Of a sum, relative to its terms."""
        return EPS * (self.vector.size + 4.0 * self.f.size + 4.0 * float(np.max(np.abs(self.f))))

    @property
    def at_rest(self) -> bool:
        """Whether the flow stands still here, and every weight is looked at."""
        still = _norm(self.field) <= 1e-12 * self.unit * _norm(self.vector)
        return len(self.chosen) == self.vector.size and still

    def perturbed(self) -> tuple[float, float]:
        """The flow from W ± hq against δẆ = Jδ from q, J the printed sum, to t = 2/‖J‖: largest distance, error."""
        step = 2.0 / RUNGE_KUTTA_STEPS / float(np.linalg.norm(self.sum, 2))
        q, state = self.q, self.start

        def speed(state: np.ndarray) -> np.ndarray:
            return -self.derivatives(state).gradients[len(q) :, -1]

        for _ in range(RUNGE_KUTTA_STEPS):
            one = speed(state)
            two = speed(state + 0.5 * step * one)
            three = speed(state + 0.5 * step * two)
            four = speed(state + step * three)
            state = state + step / 6.0 * (one + 2.0 * two + 2.0 * three + four)
        # the same steps of the linear system, in closed form
        z = step * self.sum
        one_step = q + z @ (q + z @ (q + z @ (q + z / 4.0) / 3.0) / 2.0)
        found, error = self.richardson(state, _largest)
        return _largest(found - np.linalg.matrix_power(one_step, RUNGE_KUTTA_STEPS)), error


def _together(problem: Problem) -> tuple[Problem, Scalars, int]:
    """The problem under the plain square loss, the risks of its kind, and the row of its own among all rows."""
    own, given, outputs = problem.loss, np.asarray(problem.data.targets), problem.network.outputs
    if own.labels == "sign":
        real, signs = given[:, None], given
    elif own.labels == "class":
        real, signs = np.eye(outputs)[given], given
    else:
        real = given
        signs = np.where(real[:, 0] > 0.0, 1.0, -1.0) if outputs == 1 else np.argmax(real, axis=1)
    losses = ONE_OUTPUT if outputs == 1 else SEVERAL_OUTPUTS
    targets = [real if loss.kind == "residual" else signs for loss in losses]
    if own not in losses:
        losses, targets = (*losses, own), [*targets, given]
    base = Problem(problem.network, Square(), Data(np.asarray(problem.data.inputs), real))
    return base, Scalars(losses, tuple(map(jnp.asarray, targets))), real.size + losses.index(own)


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values))


def _largest(rows: np.ndarray) -> float:
    return float(np.max(np.linalg.norm(rows, axis=1)))
