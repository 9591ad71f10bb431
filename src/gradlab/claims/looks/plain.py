"""Networks once more, in plain NumPy: forward passes, derivatives by complex steps, and what observables say of them.

Nothing here is shared with the networks and observables of gradlab: it is what they are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Weights = Sequence[np.ndarray]

#: σ by name; leaky ReLU with a = 0.1.
SIGMA: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.where(z.real > 0.0, z, 0.0),
    "leaky": lambda z: np.where(z.real > 0.0, z, 0.1 * z),
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
}
#: How often the recurrent net uses its shared layer.
USES = 2


def forward(kind: str, sigma: str, weights: Weights, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (N,) and the least |z| of all preactivations z."""
    act, least = SIGMA[sigma], [np.inf]

    def acted(z: np.ndarray) -> np.ndarray:
        least.append(float(np.abs(z).min()))
        return act(z)

    first, *between, last = weights
    if kind == "residual":
        h = x @ first.T
        for layer in between:
            h = h + acted(h @ layer.T)
    elif kind == "recurrent":
        h = acted(x @ first.T)
        for _ in range(USES):
            h = acted(h @ between[0].T)
    elif kind == "convolutional":
        side = int(np.sqrt(x.shape[1]))
        h = x.reshape(len(x), 1, side, side)
        for kernel in (first, *between):
            h = acted(convolved(h, kernel))
        h = h.reshape(len(h), -1)
    else:
        h = x
        for layer in (first, *between):
            h = acted(h @ layer.T)
    return (h @ last.T)[:, 0], np.asarray(min(least))


def convolved(h: np.ndarray, kernel: np.ndarray, stride: int = 2) -> np.ndarray:
    """Cross-correlation with zero padding "SAME", entry by entry."""
    size, side = kernel.shape[2], h.shape[2]
    after = -(-side // stride)
    padding = max((after - 1) * stride + size - side, 0)
    low = padding // 2
    wide = np.zeros((*h.shape[:2], side + padding, side + padding), np.result_type(h, kernel))
    wide[:, :, low : low + side, low : low + side] = h
    found = np.zeros((len(h), len(kernel), after, after), wide.dtype)
    for i in range(after):
        for j in range(after):
            patch = wide[:, :, stride * i : stride * i + size, stride * j : stride * j + size]
            found[:, :, i, j] = np.tensordot(patch, kernel, ((1, 2, 3), (1, 2, 3)))
    return found


def cut(vector: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """A vector as layers of given shapes."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(vector, ends), shapes, strict=True)]


class Net(NamedTuple):
    """A network of the zoo with its data: labels ±1, mean logistic loss."""

    kind: str
    sigma: str
    shapes: tuple[tuple[int, ...], ...]
    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray

    def outputs(self, vector: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
        """f (N,)."""
        return forward(self.kind, self.sigma, cut(vector, self.shapes), self.x if x is None else x)[0]

    def loss(self, vector: np.ndarray) -> np.ndarray:
        """The mean of log(1 + e^{−yf}), of complex weights too."""
        return np.mean(np.log1p(np.exp(-self.y * self.outputs(vector))))

    def gradient(self, of: Callable[[np.ndarray], np.ndarray], vector: np.ndarray) -> np.ndarray:
        """Im of(w + ih e_k)/h, exact to rounding: (…, P)."""
        h = 1e-30
        rows = vector + 1j * h * np.eye(len(vector))
        return np.stack([np.imag(of(row)) / h for row in rows], axis=-1)

    def hessian(self, vector: np.ndarray) -> np.ndarray:
        """Central differences of the fourth order of the gradient, (P, P), symmetrised."""
        h, found = 1e-3, []
        for e in np.eye(len(vector)):
            near, far = (
                self.gradient(self.loss, vector + k * h * e) - self.gradient(self.loss, vector - k * h * e)
                for k in (1, 2)
            )
            found.append((8.0 * near - far) / (12.0 * h))
        return 0.5 * (np.stack(found) + np.stack(found).T)

    def degrees(self, vector: np.ndarray) -> tuple[int, ...] | None:
        """The degree of every layer, from outputs at twice the layer; None if one is no power."""
        layers, f, found = cut(vector, self.shapes), self.outputs(vector), []
        for k in range(len(layers)):
            twice = np.concatenate([(1.0 + (i == k)) * layer.ravel() for i, layer in enumerate(layers)])
            powers = np.log2(np.abs(self.outputs(twice) / f))
            if np.abs(powers - round(float(powers[0]))).max() > 1e-9:
                return None
            found.append(round(float(powers[0])))
        return tuple(found)


def closed(net: Net, vector: np.ndarray) -> dict[str, np.ndarray]:
    """What observables are without derivatives, at a weight vector."""
    layers, f, degrees = cut(vector, net.shapes), net.outputs(vector), net.degrees(vector)
    margins, test = net.y * f, net.test_y * net.outputs(vector, net.test_x)
    norms = np.array([np.linalg.norm(layer) for layer in layers])
    values = [np.linalg.svd(layer.reshape(len(layer), -1), compute_uv=False) for layer in layers]
    found = {
        "loss": net.loss(vector),
        "risk": net.loss(vector),
        "log_loss": np.log(net.loss(vector)),
        "error": np.mean(margins <= 0.0),
        "test_loss": np.mean(np.logaddexp(0.0, -test)),
        "test_error": np.mean(test <= 0.0),
        "layer_norms": norms,
        "margins": margins,
        "alignment": np.array([s[0] ** 2 / np.sum(s**2) for s in values]),
        "weights": vector,
    }
    if degrees is not None:
        whole, total = np.prod(norms ** np.array(degrees)), len(f) * net.loss(vector)
        size = np.linalg.norm(vector) ** sum(degrees)
        squares = norms**2 / np.array(degrees)
        found |= {
            "norm_product": whole,
            "normalised_margin": margins.min() / whole,
            "normalised_margins": margins / whole,
            "normalised_outputs": f / whole,
            "balancedness": np.diff(squares),
            "radial_margin": margins.min() / size,
            "smoothed_margin": -np.log(np.expm1(total)) / size,
        }
    if net.sigma == "identity":
        gaps = [(b.T @ b - a @ a.T).ravel() for a, b in pairwise(layers)]
        found["matrix_balancedness"] = np.concatenate(gaps)
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}


def differenced(net: Net, vector: np.ndarray) -> dict[str, np.ndarray]:
    """What observables are with derivatives, by differences."""
    H = net.hessian(vector)
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in net.shapes)])
    blocks = [np.linalg.eigvalsh(H[a:b, a:b])[-1] for a, b in pairwise(ends)]
    found = {
        "gradient_norm": np.linalg.norm(net.gradient(net.loss, vector)),
        "sharpness": np.linalg.eigvalsh(H)[-1],
        "layer_sharpness": np.array(blocks),
    }
    if net.degrees(vector) is not None:
        slopes = net.gradient(lambda w: net.y * net.outputs(w), vector)
        margins = net.y * net.outputs(vector)
        pulls = 1.0 / (1.0 + np.exp(margins))
        force = pulls @ slopes
        length = np.linalg.norm(vector)
        found["kkt_stationarity"] = np.linalg.norm(vector / length - force / np.linalg.norm(force))
        # λ_n (m_n(w) − 1)/‖w‖² with ‖Σ λ_n ∇m_n‖ = ‖w‖ at margin one, from the weights as they are
        share = pulls / np.linalg.norm(force)
        found["kkt_slackness"] = np.max(share * (margins - margins.min())) / length
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}
