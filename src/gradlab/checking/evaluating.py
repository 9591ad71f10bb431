"""What is computed along a run: outputs, risk and gradient at every checkpoint, by one program, and curvature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from gradlab.checking.run import TrainingRun
from gradlab.checking.using import products_with
from gradlab.problem.guard import Findings
from gradlab.problem.precision import float64, put
from gradlab.problem.problem import Problem

#: Weights up to which Hessians are formed, and checkpoints at which curvature is looked at.
DENSE, CURVED = 400, 24
#: The same where a Hessian takes a pass for each weight.
FEW = 30


@eqx.filter_jit
def _look(problem: Problem, weights: Any, inputs: Any) -> tuple[Any, Any, Any, Any]:
    """(outputs, risk, ∇risk as a vector, ∂risk/∂f), the last right where it is far below rounding of 1."""
    flat, unravel = ravel_pytree(weights)
    outputs, pull = jax.vjp(lambda vector: problem.network(unravel(vector), inputs), flat)
    value, slopes = jax.value_and_grad(lambda f: problem.loss.risk(f, problem.data.targets))(outputs)
    return outputs, value, pull(slopes)[0], slopes


@eqx.filter_jit
def _hessian(problem: Problem, weights: Any) -> Any:
    flat, unravel = ravel_pytree(weights)
    return jax.jacfwd(jax.grad(lambda v: problem.loss.risk(
        problem.network(unravel(v), problem.data.inputs), problem.data.targets)))(flat)  # fmt: skip


@eqx.filter_jit
def _product(problem: Problem, weights: Any, vector: Any) -> Any:
    """∇²risk times a vector."""
    flat, unravel = ravel_pytree(weights)
    gradient = jax.grad(lambda v: problem.loss.risk(
        problem.network(unravel(v), problem.data.inputs), problem.data.targets))  # fmt: skip
    return jax.jvp(gradient, (flat,), (vector,))[1]


class Derivatives(Protocol):
    """What is asked of a network at weights: one of JAX, or of another framework on its own device."""

    def look(self, weights: Any, inputs: np.ndarray) -> tuple[Any, Any, Any, Any]:
        """(outputs (N, C), risk, ∇risk (P,), ∂risk/∂f (N, C))."""

    def hessian(self, weights: Any) -> Any:
        """∇²risk (P, P)."""

    def product(self, weights: Any, vector: np.ndarray) -> Any:
        """∇²risk times a vector (P,)."""

    def jacobian(self, weights: Any) -> Any:
        """∂f/∂W (N, C, P); ValueError where examples interact."""

    def uses(self, weights: Any, inputs: np.ndarray) -> Mapping[str, int]:
        """Of every array of two axes or more, the products and convolutions that it enters as it is."""

    def findings(self, weights: Any) -> Findings:
        """What the guard at the door found."""


class OfJax:
    """Derivatives of a network that is written in JAX."""

    def __init__(self, problem: Problem, names: tuple[str, ...]) -> None:
        self.problem, self.names = problem, names

    def look(self, weights: Any, inputs: np.ndarray) -> tuple[Any, Any, Any, Any]:
        found: tuple[Any, Any, Any, Any] = _look(self.problem, weights, inputs)
        return found

    def hessian(self, weights: Any) -> Any:
        return _hessian(self.problem, weights)

    def product(self, weights: Any, vector: np.ndarray) -> Any:
        return _product(self.problem, weights, vector)

    def jacobian(self, weights: Any) -> Any:
        return self.problem.output_jacobian(weights)

    @float64
    def uses(self, weights: Any, inputs: np.ndarray) -> Mapping[str, int]:
        closed = jax.make_jaxpr(lambda w: self.problem.network(w, put(inputs)))(weights)
        leaves = zip(self.names, jax.tree.leaves(weights), closed.jaxpr.invars, strict=True)
        return {
            name: products_with(closed.jaxpr, variable)
            for name, leaf, variable in leaves
            if np.ndim(leaf) >= 2
        }

    def findings(self, weights: Any) -> Findings:
        return self.problem.inspected(weights)


class Looks:
    """The numbers of a run, each computed when first asked for.

    Attributes
    ----------
    outputs : (T, N, C). risk : (T,). gradients : (T, P), of the risk without decay. slopes : (T, N, C), ∂risk/∂f.
    """

    def __init__(self, run: TrainingRun) -> None:
        self.run, self.problem = run, run.problem
        own = getattr(self.problem.network, "derivatives", None)
        self.of: Derivatives = own(self.problem) if own else OfJax(self.problem, tuple(run.places))
        self.inputs = np.asarray(run.problem.data.inputs, np.float64)
        self.targets = np.asarray(run.problem.data.targets)
        self.unravel: Callable[[Any], Any] = float64(ravel_pytree(run.weights[0])[1])
        rows = [self.at(weights) for weights in run.weights]
        self.outputs, self.risk, self.gradients, self.slopes = (
            np.stack(column) for column in zip(*rows, strict=True)
        )
        for what, values in (("outputs", self.outputs), ("loss", self.risk), ("gradient", self.gradients)):
            bad = ~np.isfinite(values.reshape(len(rows), -1)).all(axis=1)
            if bad.any():
                raise ValueError(
                    f"the {what} of the network is not finite at step {run.steps[np.argmax(bad)]}, though the weights "
                    "are: leave this checkpoint out, or write the network so that it is finite there"
                )

    @float64
    def at(self, weights: Any, inputs: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """(outputs, risk, ∇risk, ∂risk/∂f) at weights, a pytree or a vector, and inputs of the shape of the data's."""
        if isinstance(weights, np.ndarray) and weights.ndim == 1 and weights.shape == self.run.flat[0].shape:
            weights = self.unravel(weights)
        found = self.of.look(weights, self.inputs if inputs is None else inputs)
        return tuple(np.asarray(part, np.float64) for part in found)

    @cached_property
    def examples(self) -> int:
        """N C, the numbers that are fitted."""
        return int(self.outputs[0].size)

    @cached_property
    def sum_risk(self) -> np.ndarray:
        """The sum of the losses of all examples, whatever the reduction."""
        return self.risk * (len(self.inputs) if self.problem.loss.reduction == "mean" else 1)

    @cached_property
    def margins(self) -> np.ndarray:
        """The least margin at each checkpoint; NaN for a loss of residuals."""
        if self.problem.loss.kind != "margin":
            return np.full(len(self.risk), np.nan)
        margins: Any = self.problem.loss.margins
        return np.array([float(np.min(np.asarray(margins(f, self.targets)))) for f in self.outputs])

    @float64
    def hessian(self, index: int) -> np.ndarray:
        """∇²risk (P, P) at a checkpoint."""
        matrix = np.asarray(self.of.hessian(self.run.weights[index]), np.float64)
        return 0.5 * (matrix + matrix.T)

    @cached_property
    @float64
    def sharpness(self) -> np.ndarray:
        """The largest eigenvalue of ∇²risk, at up to CURVED checkpoints, between them that of the one before."""
        count, size = self.run.flat.shape
        chosen = np.unique(np.linspace(0, count - 1, min(count, CURVED)).round().astype(int))
        values = np.full(count, np.nan)
        noise = np.random.default_rng(0).standard_normal(size) / np.sqrt(size)
        last: np.ndarray = np.zeros(size)
        dense = FEW if getattr(self.of, "by_products", False) else DENSE
        for i in chosen:
            if size <= dense:
                values[i] = np.linalg.eigvalsh(self.hessian(int(i)))[-1]
            else:
                # not the last vector alone, which may be that of another eigenvalue by now
                values[i], last = self._top(int(i), last + 0.3 * noise)
        held = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(count)))
        return values[held]

    def _top(self, index: int, start: np.ndarray) -> tuple[float, np.ndarray]:
        """(the largest eigenvalue, from below; its vector), by Lanczos from a vector: to 10⁻³, of a small one 10⁻⁹."""

        def product(vector: np.ndarray) -> np.ndarray:
            return np.asarray(self.of.product(self.run.weights[index], vector.reshape(-1)), np.float64)

        operator = LinearOperator((len(start), len(start)), matvec=product, dtype=np.float64)
        tolerance = 1e-9 if len(start) <= DENSE else 1e-3
        try:
            values, vectors = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, maxiter=100)
        except ArpackNoConvergence as error:
            if not len(error.eigenvalues):
                return float("nan"), start
            values, vectors = error.eigenvalues, error.eigenvectors
        return float(values[0]), vectors[:, 0]

    @float64
    def jacobian(self, index: int) -> np.ndarray:
        """∂f/∂W (N C, P) at a checkpoint; ValueError where examples interact."""
        found = np.asarray(self.of.jacobian(self.run.weights[index]), np.float64)
        return found.reshape(-1, found.shape[-1])
