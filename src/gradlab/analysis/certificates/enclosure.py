"""A dense network's potential, gradient and Hessian in ball arithmetic: on a point, or on a whole box of weights.

The problem is taken as its float64 numbers say, exactly: inputs, targets, decay, coefficients. What comes out
contains the true value for every choice of weights within the given balls. Formulas: docs/notes/certificates.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gradlab.analysis.certificates.balls import Ball, BallMatrix, Refusal, ball, from_rows, matrix
from gradlab.analysis.certificates.elementary import activation_jet, loss_jet, targets_of
from gradlab.problem.dense import Dense
from gradlab.problem.problem import Problem


class _Pass(NamedTuple):
    """One pass forward and back; lists over layers 1 … K.

    ``into[k]`` (N, d_{k−1}) what layer k is given; ``slopes[k]`` and ``curvatures[k]`` σ', σ'' of its
    pre-activations (hidden layers); ``deltas[k]`` (N, d_k) ∂L/∂z_k; ``bends[k]`` (N, d_k) ∂L/∂h_k σ''(z_k).
    """

    value: Ball
    outputs: list[list[Ball]]
    into: list[BallMatrix]
    slopes: list[list[list[Ball]]]
    deltas: list[BallMatrix]
    bends: list[list[list[Ball]]]
    ends: list[list[list[Ball]]]


@dataclass(frozen=True)
class Enclosure:
    """A problem on a Dense network, ready to be evaluated in balls. Made by :func:`enclosure`.

    ``rows[k]`` (d_k, d_{k−1}) and ``biases[k]`` (d_k,) or None are the places of layer k's weights in the vector.
    """

    problem: Problem
    size: int
    rows: tuple[Int[np.ndarray, "_ _"], ...]
    biases: tuple[Int[np.ndarray, " _"] | None, ...]
    inputs: Float[np.ndarray, "N d"]
    targets: tuple[Any, ...]
    decay: Float[np.ndarray, " P"]

    def _matrices(self, weights: list[Ball]) -> list[BallMatrix]:
        return [from_rows([[weights[j] for j in row] for row in places]) for places in self.rows]

    def _scale(self) -> Ball:
        """What one example's loss is multiplied by in the potential."""
        mean = self.problem.loss.reduction == "mean"
        return ball(self.problem.factor) / (len(self.inputs) if mean else 1)

    def _forward(
        self, weights: list[Ball]
    ) -> tuple[list[BallMatrix], list[Any], list[Any], list[list[Ball]]]:
        activation = self.problem.network.activation  # type: ignore[attr-defined]  # a Dense: see enclosure
        jet = activation_jet(activation) if len(self.rows) > 1 else None
        into, slopes, curvatures = [matrix(self.inputs)], [], []
        current: list[list[Ball]] = []
        for k, layer in enumerate(self._matrices(weights)):
            current = (into[-1] * layer.transpose()).tolist()
            places = self.biases[k]
            if places is not None:
                current = [[z + weights[b] for z, b in zip(row, places, strict=True)] for row in current]
            if jet is not None and k + 1 < len(self.rows):
                jets = [[jet(z) for z in row] for row in current]
                into.append(from_rows([[entry[0] for entry in row] for row in jets]))
                slopes.append([[entry[1] for entry in row] for row in jets])
                curvatures.append([[entry[2] for entry in row] for row in jets])
        return into, slopes, curvatures, current

    def _pass(self, weights: list[Ball]) -> _Pass:
        into, slopes, curvatures, outputs = self._forward(weights)
        jet, scale = loss_jet(self.problem.loss), self._scale()
        jets = [jet(row, target) for row, target in zip(outputs, self.targets, strict=True)]
        value = scale * sum((entry.value for entry in jets), ball(0.0))
        value += (
            sum((ball(decay) * w**2 for decay, w in zip(self.decay, weights, strict=True)), ball(0.0)) / 2
        )
        deltas = [from_rows([[scale * g for g in entry.gradient] for entry in jets])]
        bends: list[list[list[Ball]]] = []
        matrices = self._matrices(weights)
        for k in range(len(matrices) - 1, 0, -1):
            back = (deltas[0] * matrices[k]).tolist()
            deltas.insert(0, from_rows(_entrywise(back, slopes[k - 1])))
            bends.insert(0, _entrywise(back, curvatures[k - 1]))
        ends = [[[scale * entry for entry in row] for row in item.hessian] for item in jets]
        return _Pass(value, outputs, into, slopes, deltas, bends, ends)

    # Derivatives -------------------------------------------------------------------------------------------

    def outputs(self, weights: list[Ball]) -> list[list[Ball]]:
        """f(W, x_n), row by row."""
        return self._forward(weights)[3]

    def value(self, weights: list[Ball]) -> Ball:
        """L(W)."""
        return self._pass(weights).value

    def gradient(self, weights: list[Ball]) -> list[Ball]:
        """∇L (P,), by back-propagation."""
        run = self._pass(weights)
        gradient = [ball(decay) * w for decay, w in zip(self.decay, weights, strict=True)]
        for k, places in enumerate(self.rows):
            share = (run.deltas[k].transpose() * run.into[k]).tolist()
            for i, row in enumerate(places):
                for j, place in enumerate(row):
                    gradient[place] += share[i][j]
            own = self.biases[k]
            if own is not None:
                for row in run.deltas[k].tolist():
                    for place, delta in zip(own, row, strict=True):
                        gradient[place] += delta
        return gradient

    def _tangents(self, weights: list[Ball], into: list[BallMatrix], slopes: list[Any]) -> list[list[Any]]:
        """∂z_k/∂W, for every layer and example a list of d_k rows (P,)."""
        matrices, zero = self._matrices(weights), ball(0.0)
        layers: list[list[Any]] = []
        for k, places in enumerate(self.rows):
            given, own, layer = into[k].tolist(), self.biases[k], []
            for n, inputs in enumerate(given):
                if k:
                    before = from_rows(
                        [
                            [s * entry for entry in row]
                            for s, row in zip(slopes[k - 1][n], layers[-1][n], strict=True)
                        ]
                    )
                    rows = (matrices[k] * before).tolist()
                else:
                    rows = [[zero] * self.size for _ in places]
                for i, row in enumerate(rows):
                    for place, entry in zip(places[i], inputs, strict=True):
                        row[place] = entry
                    if own is not None:
                        row[own[i]] = ball(1.0)
                layer.append(rows)
            layers.append(layer)
        return layers

    def jacobian(self, weights: list[Ball]) -> BallMatrix:
        """∂f_c(x_n)/∂W, rows (n, c)."""
        into, slopes, _, _ = self._forward(weights)
        return from_rows([row for rows in self._tangents(weights, into, slopes)[-1] for row in rows])

    def hessian(self, weights: list[Ball]) -> BallMatrix:
        """∇²L (P, P) = Σ_k Z_kᵀ D_k Z_k + (C + Cᵀ) + diag(decay), Z_k = ∂z_k/∂W over all examples.

        D_k is the loss's second derivative at the last layer, ∂L/∂h_k σ''(z_k) at a hidden one; C holds the
        derivatives of W_k h_{k−1} by both factors.
        """
        run = self._pass(weights)
        layers = self._tangents(weights, run.into, run.slopes)
        left: list[list[Ball]] = []
        right: list[list[Ball]] = []
        for k, layer in enumerate(layers[:-1]):
            for n, rows in enumerate(layer):
                left += rows
                right += [[b * z for z in row] for b, row in zip(run.bends[k][n], rows, strict=True)]
        for n, rows in enumerate(layers[-1]):
            left += rows
            right += (from_rows(run.ends[n]) * from_rows(rows)).tolist()
        total = from_rows(left).transpose() * from_rows(right)
        cross = [[ball(0.0)] * self.size for _ in range(self.size)]
        for k in range(1, len(layers)):
            deltas = run.deltas[k].transpose()
            for j in range(self.rows[k].shape[1]):
                moved = [
                    [run.slopes[k - 1][n][j] * entry for entry in rows[j]]
                    for n, rows in enumerate(layers[k - 1])
                ]
                for i, row in enumerate((deltas * from_rows(moved)).tolist()):
                    cross[self.rows[k][i, j]] = row
        mixed = from_rows(cross)
        total = total + mixed + mixed.transpose()
        for i, decay in enumerate(self.decay):
            total[i, i] = total[i, i] + ball(decay)
        return total


def _entrywise(a: list[list[Ball]], b: list[list[Ball]]) -> list[list[Ball]]:
    return [[x * y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def enclosure(problem: Problem) -> Enclosure:
    """The problem in ball arithmetic; Refusal (a sentence) for a network or loss that has no formula here."""
    network = problem.network
    if not isinstance(network, Dense):
        raise Refusal(
            f"{type(network).__name__} has no formula in ball arithmetic; write the network as Dense(widths, "
            "activation)"
        )
    if len(network.widths) > 2:
        activation_jet(network.activation)
    loss_jet(problem.loss)
    places = problem.unravel(jnp.arange(problem.size))
    layers = [np.asarray(layer["weight"] if network.bias else layer).astype(int) for layer in places]
    biases = [np.asarray(layer["bias"]).astype(int) if network.bias else None for layer in places]
    decay = np.zeros(problem.size)
    own = np.broadcast_to(np.asarray(problem.decay, dtype=np.float64), (len(layers),))
    for rows, bias, number in zip(layers, biases, own, strict=True):
        decay[rows] = number
        if bias is not None:
            decay[bias] = number
    inputs = np.asarray(problem.data.inputs, dtype=np.float64)
    return Enclosure(
        problem,
        problem.size,
        tuple(layers),
        tuple(biases),
        inputs.reshape(len(inputs), -1),
        tuple(targets_of(problem.loss, problem.data.targets)),
        decay,
    )
