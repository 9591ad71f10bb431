"""Rules of descent on a vector w (d,) of one output: end to end, on balanced layers, on layers, and adaptive ones."""

from __future__ import annotations

from abc import abstractmethod
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.analysis.tuning import Rule
from gradlab.problem.problem import Problem

Vector = Float[Array, " d"]


def single_output_precondition(w: Vector, gradient: Vector, depth: Any) -> Vector:
    """P_w[g] = ‖w‖^{2−2/N}(g + (N − 1) ŵ ŵᵀg), the preconditioner of N layers with one output, in closed form.

    N may be traced; w is not zero.
    """
    size = jnp.linalg.norm(w)
    unit = w / jnp.where(size > 0.0, size, 1.0)
    return size ** (2.0 - 2.0 / depth) * (gradient + (depth - 1) * unit * (unit @ gradient))


class VectorRule(Rule):
    """Descent of the potential of a layer with one output; its level is the loss less ``floor``."""

    problem: Problem
    floor: Any = 0.0

    def slope(self, w: Vector) -> tuple[Float[Array, ""], Vector]:
        """ℓ(w) and ∇ℓ(w)."""
        return jax.value_and_grad(lambda one: self.problem.potential((one[None, :],)))(w)

    def level(self, w: Vector, loss: Float[Array, ""]) -> Float[Array, ""]:
        """What is to become small."""
        return loss - self.floor

    @abstractmethod
    def begin(self, w: Vector) -> Any:
        """The state that stands for w."""


class EndToEndRule(VectorRule):
    """w ← w − ηP_w[∇ℓ(w)], the discrete rule of N layers; plain descent for N = 1."""

    depth: Any = 1

    def begin(self, w):
        return jnp.asarray(w)

    def advance(self, state, step):
        loss, gradient = self.slope(state)
        moved = state - step * single_output_precondition(state, gradient, self.depth)
        return moved, self.level(state, loss)


class BalancedLayers(VectorRule):
    """Descent on N balanced layers of any widths, by what it amounts to: w = s^{N−1} a, N − 1 equal numbers and a row.

    From W_1 = u_1 aᵀ, W_j = s u_j u_{j−1}ᵀ, W_N = s u_{N−1}ᵀ with unit vectors u_j every gradient keeps that form
    (docs/notes/cohen.uci.md), whatever the hidden widths.
    """

    depth: int = 1

    def begin(self, w):
        size = jnp.linalg.norm(jnp.asarray(w))
        return size ** (1.0 / self.depth), w / size ** (1.0 - 1.0 / self.depth)

    def advance(self, state, step):
        s, a = state
        n = self.depth
        w = s ** (n - 1) * a
        loss, gradient = self.slope(w)
        moved = s - step * s ** (n - 2) * (a @ gradient) if n > 1 else s
        return (moved, a - step * s ** (n - 1) * gradient), self.level(w, loss)


class Layers(VectorRule):
    """Descent on the layers themselves, matrices of any widths with one output."""

    def begin(self, w):
        raise ValueError("layers begin as layers: give them as the state")

    def advance(self, state, step):
        def whole(layers):
            w = reduce(lambda product, layer: product @ layer, reversed(layers))[0]
            loss = self.problem.potential((w[None, :],))
            return loss, (w, loss)

        gradients, (w, loss) = jax.grad(whole, has_aux=True)(state)
        moved = jax.tree.map(lambda layer, gradient: layer - step * gradient, state, gradients)
        return moved, self.level(w, loss)


class AdaGrad(VectorRule):
    """w ← w − ηg/√(Σg² + 10⁻⁸), coordinate by coordinate."""

    def begin(self, w):
        return jnp.asarray(w), jnp.zeros_like(w)

    def advance(self, state, step):
        w, squares = state
        loss, gradient = self.slope(w)
        squares = squares + gradient**2
        return (w - step * gradient / jnp.sqrt(squares + 1e-8), squares), self.level(w, loss)


class AdaDelta(VectorRule):
    """w ← w − ηg √(mean of past Δ² + ε)/√(mean of g² + ε), means forgetting 5 % an iteration, ε = 10⁻⁶."""

    def begin(self, w):
        return jnp.asarray(w), jnp.zeros_like(w), jnp.zeros_like(w)

    def advance(self, state, step):
        w, squares, moves = state
        loss, gradient = self.slope(w)
        squares = 0.95 * squares + 0.05 * gradient**2
        move = gradient * jnp.sqrt((moves + 1e-6) / (squares + 1e-6))
        return (w - step * move, squares, 0.95 * moves + 0.05 * move**2), self.level(w, loss)


class Adam(VectorRule):
    """Adam with the usual β = 0.9, 0.999 and ε = 10⁻⁸."""

    def begin(self, w):
        return jnp.asarray(w), jnp.zeros_like(w), jnp.zeros_like(w), jnp.zeros(())

    def advance(self, state, step):
        w, mean, squares, t = state
        loss, gradient = self.slope(w)
        t = t + 1.0
        mean, squares = 0.9 * mean + 0.1 * gradient, 0.999 * squares + 0.001 * gradient**2
        move = mean / (1.0 - 0.9**t) / (jnp.sqrt(squares / (1.0 - 0.999**t)) + 1e-8)
        return (w - step * move, mean, squares, t), self.level(w, loss)


def minimum(problem: Problem, rounds: int = 200) -> tuple[np.ndarray, float]:
    """The least ℓ over w (d,) of a layer with one output and a convex loss, and where: Newton's steps, halved."""
    x, y, loss = (
        np.asarray(problem.data.inputs),
        np.asarray(problem.data.targets).reshape(-1, 1),
        problem.loss,
    )
    w = np.linalg.lstsq(x, y[:, 0], rcond=None)[0]

    def value(w):
        return float(np.mean(loss.derivative((x @ w)[:, None], y, 0)))

    for _ in range(rounds):
        outputs = (x @ w)[:, None]
        slope = x.T @ loss.derivative(outputs, y, 1)[:, 0] / len(x)
        bend = (x * loss.derivative(outputs, y, 2)[:, :, 0]).T @ x / len(x)
        move = np.linalg.lstsq(bend, slope, rcond=1e-14)[0]
        gain, now, share = float(slope @ move), value(w), 1.0
        while share > 1e-8 and value(w - share * move) > now - 1e-4 * share * gain:
            share *= 0.5
        w = w - share * move
        if gain <= 1e-14 * now:
            break
    return w, value(w)
