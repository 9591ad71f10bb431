"""The symmetries of a dense network that hold exactly, by their generators on the vector of weights.

A generator is a polynomial field ξ(W) with ∇L(W)·ξ(W) = 0 for *every* W, by the structure of the network and loss and
not by a measurement. Derivations: docs/notes/certificates.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradlab.analysis.certificates.balls import Ball, ball
from gradlab.analysis.certificates.enclosure import Enclosure
from gradlab.problem.activations import Activation, Polynomial
from gradlab.problem.losses import CrossEntropy

#: (row, places, coefficient) of one term of a field.
Entry = tuple[int, tuple[int, ...], float]

#: Singular values of the tangents below this fraction of the largest count as dependent. It decides only whether a
#: proof is tried with the right number of directions, never whether it succeeds wrongly.
_DEPENDENT = 1e-8


@dataclass(frozen=True)
class Generator:
    """ξ(W)_row = Σ coefficient · Π W_places over ``entries`` (row, places, coefficient); no places: a constant."""

    part: str
    entries: tuple[Entry, ...]

    def at(self, weights: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
        """ξ(W) in float64."""
        field = np.zeros(len(weights))
        for row, places, coefficient in self.entries:
            field[row] += coefficient * math.prod(float(weights[place]) for place in places)
        return field

    def along(self, weights: list[Ball], direction: Float[np.ndarray, " P"]) -> Ball:
        """A ball around ξ(W)·direction, direction exact."""
        total = ball(0.0)
        for row, places, coefficient in self.entries:
            term = coefficient * ball(direction[row])
            for place in places:
                term *= weights[place]
            total += term
        return total


def _linear(activation: Activation) -> bool:
    return activation.name == "identity" or (isinstance(activation, Polynomial) and activation.degree == 1)


def _tied(form: Enclosure, layer: int, unit: int) -> list[int]:
    """All weights that make up a unit's pre-activation."""
    bias = form.biases[layer]
    own = [] if bias is None else [int(bias[unit])]
    return [int(place) for place in form.rows[layer][unit]] + own


def _moved(form: Enclosure, layer: int, into: int, of: int, sign: int) -> Iterator[Entry]:
    """The field of M = sign · E_{into,of}: (M W_k, M b_k) and −W_{k+1} M."""
    for row, place in zip(_tied(form, layer, into), _tied(form, layer, of), strict=True):
        yield row, (place,), sign
    after = form.rows[layer + 1]
    for row, place in zip(after[:, of], after[:, into], strict=True):
        yield int(row), (int(place),), -sign


def _hidden_linear(form: Enclosure, layer: int, free: bool) -> Iterator[Generator]:
    """W_k → M W_k, W_{k+1} → W_{k+1} M⁻¹: M invertible where neither layer decays, else orthogonal; and, where
    neither decays, b_k → b_k + c, b_{k+1} → b_{k+1} − s W_{k+1} c, s the slope of σ."""
    units = range(len(form.rows[layer]))
    for a in units:
        for b in units:
            if free:
                yield Generator("general linear", tuple(_moved(form, layer, a, b, 1)))
            elif a < b:
                both = (*_moved(form, layer, a, b, 1), *_moved(form, layer, b, a, -1))
                yield Generator("rotation", both)
    here, after = form.biases[layer], form.biases[layer + 1]
    slope = getattr(form.problem.network.activation, "coefficients", (0.0, 1.0))[1]  # type: ignore[attr-defined]  # a Dense
    if free and here is not None and after is not None:
        for unit, place in enumerate(here):
            column = zip(after, form.rows[layer + 1][:, unit], strict=True)
            moved = tuple((int(row), (int(weight),), -slope) for row, weight in column)
            yield Generator("translation", ((int(place), (), 1), *moved))


def _rescaling(form: Enclosure, layer: int, degree: int) -> Iterator[Generator]:
    """A unit's inputs times a > 0, its outputs times a^{−p}, for σ(az) = aᵖ σ(z)."""
    for unit in range(len(form.rows[layer])):
        inside = tuple((place, (place,), 1) for place in _tied(form, layer, unit))
        outside = tuple((int(place), (int(place),), -degree) for place in form.rows[layer + 1][:, unit])
        yield Generator("rescaling", inside + outside)


def _mixing(form: Enclosure, layer: int) -> Iterator[Generator]:
    """For z² and one output: w_i → w_i + ε a_j w_j, w_j → w_j − ε a_i w_i keeps Σ a_i (w_i·x + b_i)²."""
    outer = form.rows[layer + 1][0]
    for i in range(len(outer)):
        for j in range(i):
            pairs = list(zip(_tied(form, layer, i), _tied(form, layer, j), strict=True))
            first = tuple((p, (int(outer[j]), q), 1) for p, q in pairs)
            second = tuple((q, (int(outer[i]), p), -1) for p, q in pairs)
            yield Generator("mixing", first + second)


def _shifts(form: Enclosure) -> Iterator[Generator]:
    """Cross-entropy sees only differences of outputs: one number may be added to a column of W_K, or to its bias."""
    last, bias = form.rows[-1], form.biases[-1]
    columns = [*last.T] + ([] if bias is None else [bias])
    for places in columns:
        yield Generator("shift", tuple((int(place), (), 1) for place in places))


def generators(form: Enclosure) -> list[Generator]:
    """Every exact generator known for this network, loss and decay.

    Hidden layers of a linear net: GL(d_k) where neither neighbour decays, O(d_k) otherwise; with biases also a
    translation. Homogeneous activations without decay: a rescaling for every unit; for z² with one output also the
    mixing of pairs of units. Cross-entropy without decay in the last layer: a shift of all outputs.
    """
    activation = form.problem.network.activation  # type: ignore[attr-defined]  # a Dense
    hidden = len(form.rows) - 1
    found: list[Generator] = []
    for layer in range(hidden):
        free = not form.decay[form.rows[layer]].any() and not form.decay[form.rows[layer + 1]].any()
        if _linear(activation):
            found += _hidden_linear(form, layer, free)
        elif free and activation.degree is not None:
            found += _rescaling(form, layer, activation.degree)
            square = isinstance(activation, Polynomial) and activation.degree == 2
            if square and layer == hidden - 1 and len(form.rows[-1]) == 1:
                found += _mixing(form, layer)
    if isinstance(form.problem.loss, CrossEntropy) and not form.decay[form.rows[-1]].any():
        found += _shifts(form)
    return found


@dataclass(frozen=True)
class Gauge:
    """k fields that are independent at a point, ξ̂ = Σ_i ``mix``_{i·} ξ_i, and the orthonormal T̄ they span there.

    ``parts`` counts, for each kind of symmetry, the dimensions that its generators span alone.
    """

    generators: tuple[Generator, ...]
    mix: Float[np.ndarray, "m k"]
    tangent: Float[np.ndarray, "P k"]
    parts: dict[str, int]

    @property
    def dimension(self) -> int:
        """k."""
        return self.tangent.shape[1]

    def pairing(self, weights: list[Ball]) -> list[list[Ball]]:
        """T(W)ᵀ T̄ (k, k) in balls, T(W) = [ξ̂_1(W) … ξ̂_k(W)]."""
        k = self.dimension
        each = [[g.along(weights, self.tangent[:, b]) for b in range(k)] for g in self.generators]
        return [
            [sum((ball(self.mix[i, a]) * row[b] for i, row in enumerate(each)), ball(0.0)) for b in range(k)]
            for a in range(k)
        ]


def gauge(form: Enclosure, weights: Float[np.ndarray, " P"]) -> Gauge:
    """The directions in which symmetry moves these weights: the left singular vectors of [ξ_1(W̄) … ξ_m(W̄)]."""
    found = tuple(generators(form))
    if not found:
        return Gauge((), np.zeros((0, 0)), np.zeros((len(weights), 0)), {})
    fields = np.stack([generator.at(weights) for generator in found], axis=1)
    left, values, right = np.linalg.svd(fields, full_matrices=False)
    kept = int(np.sum(values > _DEPENDENT * max(values[0], np.finfo(np.float64).tiny)))
    parts = {}
    for part in dict.fromkeys(generator.part for generator in found):
        own = fields[:, [generator.part == part for generator in found]]
        parts[part] = int(np.sum(np.linalg.svd(own, compute_uv=False) > _DEPENDENT * max(values[0], 1e-300)))
    return Gauge(found, right[:kept].T / values[:kept], left[:, :kept], {p: d for p, d in parts.items() if d})
