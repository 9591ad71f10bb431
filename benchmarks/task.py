"""A task: the gradient flow of one problem from given weights to a time T, ready for any integrator.

Costs are counted in gradients: a Jacobian (dense Hessian) counts as many gradients as its measured time makes.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.problem.problem import Problem

_LOOP = eqx.filter_jit(
    lambda problem, weights, count: jax.lax.fori_loop(
        0, count, lambda _, w: jax.tree.map(lambda a, b: a - 1e-12 * b, w, problem.gradient(w)), weights
    )
)


def _columns(problem: Problem, vector: Any, batch: int) -> Any:
    def gradient(point: Any) -> Any:
        return problem.ravel(problem.gradient(problem.unravel(point)))

    _, product = jax.linearize(gradient, vector)
    return jax.lax.map(product, jnp.eye(vector.size), batch_size=batch)


_HESSIAN = eqx.filter_jit(_columns)


@eqx.filter_jit
def _hessians(problem: Problem, vector: Any, batch: int, count: Any) -> Any:
    def again(_: Any, point: Any) -> Any:
        return point + 1e-30 * _columns(problem, point, batch)[0]

    return jax.lax.fori_loop(0, count, again, vector)


def seconds_of(call: Callable[[], Any], repeats: int = 3, enough: float = 1.0) -> float:
    """The least wall time of ``repeats`` calls (fewer after ``enough`` seconds), after one that warms up."""
    jax.block_until_ready(call())
    best, spent = np.inf, 0.0
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        taken = time.perf_counter() - begun
        best, spent = min(best, taken), spent + taken
        if spent > enough:
            break
    return float(best)


@dataclass(frozen=True)
class Limit:
    """What one solve may cost: gradients (the same on every machine), and wall seconds where it can be stopped."""

    gradients: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Task:
    """dW/dt = −∇L(W) from ``weights`` at t = 0 to t = ``T``.

    settings : everything that was chosen, in words.
    """

    name: str
    problem: Problem
    weights: Any
    T: float
    settings: str

    @functools.cached_property
    def vector(self) -> np.ndarray:
        """The start as one vector."""
        return np.asarray(self.problem.ravel(self.weights))

    @property
    def size(self) -> int:
        """P, the number of weights."""
        return self.vector.size

    @property
    def scale(self) -> float:
        """The root mean square of the weights at the start: what peers' absolute tolerances are relative to."""
        return float(np.sqrt(np.mean(self.vector**2)))

    def error(self, vector: np.ndarray, reference: np.ndarray) -> float:
        """‖w − w_ref‖/‖w_ref‖."""
        return float(np.linalg.norm(np.asarray(vector) - reference) / np.linalg.norm(reference))

    @functools.cached_property
    def _compiled(self) -> Any:
        # jax.jit on arrays only: its dispatch from Python takes tens of microseconds less than filter_jit's.
        arrays, static = eqx.partition(self.problem, eqx.is_array)

        @jax.jit
        def field(arrays: Any, vector: Any) -> Any:
            problem = eqx.combine(arrays, static)
            return -problem.ravel(problem.gradient(problem.unravel(vector)))

        return field, arrays

    def field(self, vector: np.ndarray) -> np.ndarray:
        """−∇L of a NumPy vector, by one compiled program."""
        field, arrays = self._compiled
        return np.asarray(field(arrays, vector))

    def jacobian(self, vector: np.ndarray) -> np.ndarray:
        """−∇²L, dense, in the batch of Hessian-vector products that is fastest here."""
        return -np.asarray(_HESSIAN(self.problem, jnp.asarray(vector), self._batch))

    @functools.cached_property
    def gradient_seconds(self) -> float:
        """Wall time of one gradient inside a compiled loop, with no call from Python in it."""
        few = seconds_of(lambda: _LOOP(self.problem, self.weights, 3), 3) / 3
        count = int(np.clip(0.05 / few, 3, 2000))
        return seconds_of(lambda: _LOOP(self.problem, self.weights, count)) / count

    @functools.cached_property
    def _batches(self) -> dict[int, float]:
        # All columns at once is fastest where they fit the cache, a few at a time where they do not.
        tried = (4, self.size) if self.size <= 700 else (4,)
        vector = jnp.asarray(self.vector)
        found = {}
        for batch in tried:
            # In a compiled loop, as the gradient is: a call from Python would count for hundreds of tiny ones.
            once = seconds_of(functools.partial(_hessians, self.problem, vector, batch, 1), 2)
            count = int(np.clip(0.05 / once, 1, 500))
            many = functools.partial(_hessians, self.problem, vector, batch, count)
            found[batch] = once if count == 1 else min(once, seconds_of(many, 2) / count)
        return found

    @property
    def _batch(self) -> int:
        return min(self._batches, key=lambda batch: self._batches[batch])

    @property
    def jacobian_seconds(self) -> float:
        """Wall time of one dense Hessian."""
        return self._batches[self._batch]

    @property
    def jacobian_cost(self) -> float:
        """Gradients that fit into the time of one dense Hessian."""
        return self.jacobian_seconds / self.gradient_seconds

    @functools.cached_property
    def digest(self) -> str:
        """What the reference depends on: the arrays, the architecture, the loss and T."""
        found = hashlib.sha256(f"{self.problem!r} {self.T!r}".encode())
        for leaf in jax.tree.leaves((self.problem, self.weights)):
            if eqx.is_array(leaf):
                found.update(np.ascontiguousarray(leaf).tobytes())
        return found.hexdigest()[:20]
