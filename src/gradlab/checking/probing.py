"""What kind of function a network is, asked of the function itself: scaled, zeroed, added, and fed other inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.checking.evaluating import Looks
from gradlab.checking.naming import axes, is_bias
from gradlab.checking.run import TrainingRun

#: Factors by which layers are scaled; powers of two, so that scaling itself rounds nothing.
_FACTORS = (2.0, 0.5, 4.0)
#: A defect above this is none of rounding (in float64; of narrower networks, 100 of their roundings).
EXACT = 1e-9


@dataclass(frozen=True)
class Degree:
    """How f answers to a factor on a layer: ``degree``, and the relative ``defect`` of a^degree f from f(…, a W, …)."""

    degree: float
    defect: float


class Probed:
    """Facts about the function of a run's network, each measured when first asked for."""

    def __init__(self, run: TrainingRun, looks: Looks) -> None:
        self.run, self.looks = run, looks
        self._scale = max(float(np.linalg.norm(looks.outputs[-1])), 1e-300)

    def _f(self, vector: np.ndarray, inputs: np.ndarray | None = None) -> np.ndarray:
        return self.looks.at(np.ascontiguousarray(vector), inputs)[0]

    @cached_property
    def exact(self) -> float:
        """What rounding explains of a relative defect."""
        return max(EXACT, 100.0 * self.findings.unit) if self.findings.narrow else EXACT

    @cached_property
    def findings(self) -> Any:
        """What the guard at the door found of the network."""
        return self.looks.of.findings(self.run.weights[-1])

    # Scaling -----------------------------------------------------------------------------------------------

    def _degree(self, which: np.ndarray, base: np.ndarray) -> Degree:
        """Scaling the weights of a mask, at a vector."""
        here = self._f(base)
        size = float(np.linalg.norm(here))
        if not size > 0.0:
            return Degree(math.nan, math.nan)
        scaled = [self._f(np.where(which, a * base, base)) for a in _FACTORS]
        grown = float(np.linalg.norm(scaled[0])) / size
        degree = math.log2(grown) if grown > 0.0 else math.nan
        degree = float(round(degree)) if abs(degree - round(degree)) < 1e-3 else degree
        if math.isnan(degree):
            return Degree(degree, math.inf)
        off = [
            np.linalg.norm(f - a**degree * here) / (max(a**degree, 1.0) * size)
            for f, a in zip(scaled, _FACTORS, strict=True)
        ]
        return Degree(degree, float(max(off)))

    def _points(self) -> list[np.ndarray]:
        """Where the function is asked: the end, the start, and the end moved at random by half its size."""
        end = self.run.flat[-1]
        shift = np.random.default_rng(0).standard_normal(end.shape)
        size = np.linalg.norm(end) or 1.0
        return [end, self.run.flat[0], end + 0.5 * size * shift / np.linalg.norm(shift)]

    def _degrees(self, masks: Any, cleared: np.ndarray | None = None) -> tuple[Degree, ...]:
        points = self._points()
        if cleared is not None:
            points = [np.where(cleared, 0.0, point) for point in points]
        found = []
        for mask in masks:
            each = [self._degree(mask, point) for point in points]
            each = [one for one in each if not math.isnan(one.defect)]
            if not each:
                found.append(Degree(math.nan, math.inf))
                continue
            same = all(one.degree == each[0].degree for one in each)
            spread = 0.0 if same else max(abs(one.degree - each[0].degree) for one in each)
            found.append(Degree(each[0].degree, max(spread, *(one.defect for one in each))))
        return tuple(found)

    @cached_property
    def layers(self) -> tuple[Degree, ...]:
        """Of every layer, its biases with it."""
        return self._degrees(self.run.masks)

    @cached_property
    def joint(self) -> Degree:
        """Of all weights together: f(a W) = a^K f(W)."""
        return self._degrees([np.ones(self.run.flat.shape[1], bool)])[0]

    @cached_property
    def thin(self) -> np.ndarray:
        """A mask of the arrays that may be biases: of one axis, beside others, and named so or not multiplied in."""
        names = [
            name for layer in self.run.leaves for name in layer
            if axes(name, self.run.places[name][1]) <= 1 and (len(layer) > 1 or is_bias(name))
        ]  # fmt: skip
        mask = np.zeros(self.run.flat.shape[1], bool)
        for name in names:
            at, shape = self.run.places[name]
            mask[at : at + int(np.prod(shape))] = True
        return mask

    @cached_property
    def without_biases(self) -> tuple[Degree, ...]:
        """Of every layer, with what may be biases set to 0."""
        return self._degrees([mask & ~self.thin for mask in self.run.masks], self.thin)

    # Other probes ------------------------------------------------------------------------------------------

    @cached_property
    def at_zero_input(self) -> float:
        """‖f(W; 0)‖/‖f(W; x)‖: what the network adds to what it is given; biases, as a rule."""
        zero = self._f(self.run.flat[-1], np.zeros_like(self.looks.inputs))
        return float(np.linalg.norm(zero)) / self._scale

    @cached_property
    def around(self) -> tuple[float, ...]:
        """‖f with layer k set to 0‖/‖f‖, biases set to 0 as well: what goes around the layer (a residual path)."""
        base = np.where(self.thin, 0.0, self.run.flat[-1])
        size = float(np.linalg.norm(self._f(base))) or 1.0
        return tuple(
            float(np.linalg.norm(self._f(np.where(mask, 0.0, base)))) / size for mask in self.run.masks
        )

    @cached_property
    def interacts(self) -> float:
        """By how much, relative to its size, the first example's output moves when the other examples are others."""
        other = np.concatenate([self.looks.inputs[:1], 3.0 * self.looks.inputs[:0:-1] + 1.0])
        here = self.looks.outputs[-1][0]
        moved = float(np.linalg.norm(self._f(self.run.flat[-1], other)[0] - here))
        return moved / max(float(np.linalg.norm(here)), self._scale / math.sqrt(len(other)))

    @cached_property
    def repeats(self) -> float:
        """By how much two evaluations at the same weights and inputs differ, relative to their size."""
        return float(np.linalg.norm(self._f(self.run.flat[-1]) - self.looks.outputs[-1])) / self._scale

    @cached_property
    def linear(self) -> float:
        """Relative defect of f(U + V) = f(U) + f(V) in the weights."""
        end, start, beside = self._points()
        sides = [(end, beside), (start, beside), (end, -0.5 * beside)]
        off = [float(np.linalg.norm(self._f(u + v) - self._f(u) - self._f(v))) for u, v in sides]
        size = [sum(float(np.linalg.norm(self._f(w))) for w in (u, v)) for u, v in sides]
        return float(max(o / max(s, 1e-300) for o, s in zip(off, size, strict=True)))

    @cached_property
    def features(self) -> np.ndarray:
        """∂f/∂W (N C, P) of a network that is linear in its weights: f = features · W."""
        return self.looks.jacobian(len(self.run.flat) - 1)

    @cached_property
    def chain(self) -> tuple[float, bool]:
        """(‖f − W_K ⋯ W_1 x‖/‖f‖, whether matrices are (inputs, outputs)); ∞ where layers are no matrices."""
        shapes = [self.run.places[layer[0]][1] for layer in self.run.leaves]
        if any(len(layer) > 1 for layer in self.run.leaves) or any(len(shape) != 2 for shape in shapes):
            return math.inf, False
        best = (math.inf, False)
        x = self.looks.inputs.reshape(len(self.looks.inputs), -1)
        for turned in (False, True):
            worst = 0.0
            for point in self._points():
                matrices, h = self.matrices(point, turned), x
                for matrix in matrices:
                    if h.shape[1] != matrix.shape[1]:
                        worst = math.inf
                        break
                    h = h @ matrix.T
                else:
                    f = self._f(point)
                    worst = max(worst, _off(f, h)) if f.shape == h.shape else math.inf
            best = min(best, (worst, turned))
        return best

    def matrices(self, vector: np.ndarray, turned: bool | None = None) -> list[np.ndarray]:
        """The layers' matrices (outputs, inputs) of a chain, first layer first."""
        turned = self.chain[1] if turned is None else turned
        found = [self.run.array(vector, layer[0]) for layer in self.run.leaves]
        return [matrix.T for matrix in found] if turned else found

    @cached_property
    def uses(self) -> Mapping[str, int]:
        """Of every array of two axes or more, the products and convolutions that it enters as it is."""
        return self.looks.of.uses(self.run.weights[-1], self.looks.inputs)

    @cached_property
    def twins(self) -> tuple[str, ...]:
        """Pairs of arrays of two axes that were equal at every checkpoint and moved."""
        names = [name for name, (_, shape) in self.run.places.items() if len(shape) >= 2]
        found = []
        for i, one in enumerate(names):
            a = np.stack([self.run.array(vector, one) for vector in self.run.flat])
            for other in names[i + 1 :]:
                if self.run.places[other][1] == self.run.places[one][1] and np.any(a):
                    b = np.stack([self.run.array(vector, other) for vector in self.run.flat])
                    if np.array_equal(a, b):
                        found.append(f"{one} and {other}")
        return tuple(found)


def _off(f: np.ndarray, h: np.ndarray) -> float:
    size = float(np.linalg.norm(f))
    return float(np.linalg.norm(f - h)) / size if size else (0.0 if not np.any(h) else math.inf)
