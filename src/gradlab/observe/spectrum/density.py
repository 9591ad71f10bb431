"""Spectral density and trace by random probes, with error bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradlab.observe.spectrum.basis import EPS
from gradlab.observe.spectrum.operators import Chunks, Operator, Progress, Scaled
from gradlab.observe.spectrum.spectrum import _operator
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Rows after which probes are multiplied in another block.
_BLOCK = 8


@dataclass(frozen=True)
class Density:
    """Gauss quadratures of the spectral measure, one a probe.

    Attributes
    ----------
    nodes, masses : (probes, steps); masses of each probe sum to 1. Padded with mass 0.
    floor, ceiling : an interval that holds the spectrum: extreme nodes, widened by their residuals.
    products, size : as in Spectrum.
    """

    nodes: Float[np.ndarray, "probes steps"]
    masses: Float[np.ndarray, "probes steps"]
    floor: float
    ceiling: float
    products: int
    size: int

    @property
    def steps(self) -> int:
        """Lanczos steps, nodes a probe."""
        return self.nodes.shape[1]

    @property
    def width(self) -> float:
        """The width of a Gaussian at which the truncation error is some 10⁻³ of the density's scale."""
        return 4.0 * 0.5 * (self.ceiling - self.floor) / self.steps

    def at(
        self, points: Any, width: float | None = None
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], float]:
        """φ(t) = (1/P) Σ_i exp(−(t − λ_i)²/2σ²)/(√(2π) σ) at points t: (value, standard error, truncation bound).

        The standard error is over the probes, whose quadratures are independent and, but for truncation, unbiased.
        The truncation bound holds at every t (exact arithmetic): see :func:`truncation`. The whole error bar is a
        multiple of the first plus the second. The density of the spectrum itself, a sum of points, has no value at t.
        """
        points = np.atleast_1d(np.asarray(points, np.float64))
        sigma = self.width if width is None else float(width)
        if not sigma > 0.0:
            raise ValueError(
                f"width was {sigma}; give a number > 0 (all eigenvalues may be equal: ask spectrum)"
            )
        each = np.empty((len(self.nodes), len(points)))
        for k, (nodes, masses) in enumerate(zip(self.nodes, self.masses, strict=True)):
            bells = np.exp(-0.5 * ((points[:, None] - nodes) / sigma) ** 2)
            each[k] = bells @ masses / (math.sqrt(2.0 * math.pi) * sigma)
        error = np.std(each, axis=0, ddof=1) / math.sqrt(len(each))
        return each.mean(axis=0), error, truncation(self.steps, self.ceiling - self.floor, sigma)

    def moment(self, degree: int) -> tuple[float, float]:
        """tr(A^degree)/P and its standard error; exact but for the probes up to degree 2 · steps − 1."""
        each = np.sum(self.masses * self.nodes**degree, axis=1)
        return float(each.mean()), float(np.std(each, ddof=1) / math.sqrt(len(each)))


def truncation(steps: int, spread: float, sigma: float) -> float:
    """A bound of the error of an m-point Gauss quadrature of a Gaussian bell of width σ on an interval.

    A probability measure on an interval of half-width h, an integrand analytic in the ellipse of parameter ρ and
    bounded there by M:  |error| ≤ 4 M ρ^{1−2m}/(ρ − 1), twice the distance to polynomials of degree 2m − 1 (Trefethen,
    Approximation Theory and Practice, Theorem 8.2). On the ellipse the imaginary part is at most h (ρ − 1/ρ)/2, hence
    M = exp((h (ρ − 1/ρ)/2σ)²/2)/(√(2π) σ). The best of many ρ is taken.
    """
    if spread <= 0.0:
        return 0.0
    rho = 1.0 + np.logspace(-4.0, 2.0, 2000)
    imaginary = 0.25 * spread * (rho - 1.0 / rho) / sigma
    log = 0.5 * imaginary**2 + (1 - 2 * steps) * np.log(rho) - np.log(rho - 1.0)
    return float(4.0 * np.exp(min(float(log.min()), 700.0)) / (math.sqrt(2.0 * math.pi) * sigma))


@float64
def density(
    problem: Problem | Operator,
    weights: Any = None,
    *,
    probes: int = 8,
    steps: int = 64,
    layer: int | None = None,
    chunk: int | None = None,
    data: Chunks | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Density:
    """This estimates the spectral density of ∇²L by stochastic Lanczos quadrature (SLQ), probes × steps products.

    Each probe, uniform on the sphere, has a spectral measure of expectation (1/P) Σ δ(λ − λ_i); its Gauss quadrature
    comes from a Lanczos chain. The chains advance together and are not reorthogonalised: copies of converged nodes
    share the mass of one, and quadratures stay right to rounding (Greenbaum 1989; Chen, Trogdon and Ubaru 2021).

    Parameters
    ----------
    probes : two or more, or there is no standard error.
    others : as for :func:`~gradlab.observe.spectrum.spectrum.spectrum`.

    Source: Ubaru, Chen and Saad 2017, Algorithm 1.

    Raises
    ------
    ValueError
        For fewer than two probes or steps, and as in :class:`~gradlab.observe.spectrum.operators.Hessian`.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.Data(np.diag([1.0, 2.0]), np.zeros((2, 1)))
    >>> problem = gl.Problem(gl.Dense((2, 1)), gl.Square(half=True), data)
    >>> found = gl.spectra.density(problem, (np.zeros((1, 2)),), probes=2, steps=2)
    >>> found.nodes[0].round(6).tolist()
    [1.0, 4.0]
    """
    if probes < 2 or steps < 1:
        raise ValueError(
            f"{probes} probes and {steps} steps were given; error bars need 2 probes, and 1 step"
        )
    bare, generator = _operator(problem, weights, layer, chunk, data), np.random.default_rng(seed)
    operator = Scaled(bare, generator)
    steps = min(steps, operator.size)
    nodes, masses = np.zeros((probes, steps)), np.zeros((probes, steps))
    edges = [math.inf, -math.inf]
    for first in range(0, probes, _BLOCK):
        count = min(_BLOCK, probes - first)

        def tell(step: int, first: int = first, count: int = count) -> None:
            if progress is not None:
                progress("spectral density", first * steps + count * step, probes * steps)

        diagonals, belows = _chains(operator, generator, count, steps, tell)
        for k in range(count):
            length = len(diagonals[k])
            if not np.isfinite(diagonals[k]).all():
                nodes[first + k], edges = math.nan, [math.nan, math.nan]
                continue
            theta, s = scipy.linalg.eigh_tridiagonal(diagonals[k], belows[k][: length - 1])
            nodes[first + k, :length], masses[first + k, :length] = theta, s[0] ** 2
            nodes[first + k, length:] = theta[-1]
            slack = np.abs(belows[k][length - 1] * s[-1, [0, -1]])
            edges = [min(edges[0], theta[0] - slack[0]), max(edges[1], theta[-1] + slack[1])]
    nodes, ends = np.ldexp(nodes, operator.exponent), np.ldexp(edges, operator.exponent)
    return Density(nodes, masses, float(ends[0]), float(ends[1]), operator.products, operator.size)


def _chains(
    operator: Operator, generator: np.random.Generator, count: int, steps: int, tell: Any
) -> tuple[list[list[float]], list[list[float]]]:
    """Diagonals and subdiagonals (one number more) of ``count`` independent Lanczos chains; some may end early."""
    here = generator.standard_normal((count, operator.size))
    here /= np.linalg.norm(here, axis=1)[:, None]
    before, length = np.zeros_like(here), np.zeros(count)
    diagonals: list[list[float]] = [[] for _ in range(count)]
    belows: list[list[float]] = [[] for _ in range(count)]
    alive, scale = np.ones(count, bool), 0.0
    for step in range(steps):
        product = operator(here)
        product -= length[:, None] * before
        alpha = np.einsum("ij,ij->i", product, here)
        product -= alpha[:, None] * here
        length = np.linalg.norm(product, axis=1)
        scale = max(scale, float(np.max(np.abs(alpha))), float(np.max(length)))
        for k in np.flatnonzero(alive):
            diagonals[k].append(float(alpha[k]))
            belows[k].append(float(length[k]))
        alive &= length > 64.0 * EPS * scale
        if not alive.any():
            break
        before, here = here, product / np.where(alive, length, 1.0)[:, None]
        here[~alive], length = 0.0, np.where(alive, length, 0.0)
        tell(step + 1)
    return diagonals, belows


@dataclass(frozen=True)
class Trace:
    """A trace with its standard error; 0 where it is exact."""

    value: float
    error: float
    products: int


@float64
def trace(
    problem: Problem | Operator,
    weights: Any = None,
    *,
    products: int = 96,
    layer: int | None = None,
    chunk: int | None = None,
    data: Chunks | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trace:
    """This estimates tr ∇²L by Hutch++: exact on a sketch of the range, by random signs on the rest.

    With Q an orthonormal basis of A S (S a third of the products of random signs),

        tr A = tr(Qᵀ A Q) + tr((1 − QQᵀ) A (1 − QQᵀ)),

    the second trace by Hutchinson's estimator, unbiased for given Q. The error is the standard error of its probes.

    Source: Meyer, Musco, Musco and Woodruff 2021, Algorithm 1.

    Raises
    ------
    ValueError
        For fewer than 6 products, and as in :class:`~gradlab.observe.spectrum.operators.Hessian`.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.Data(np.diag([1.0, 2.0]), np.zeros((2, 1)))
    >>> problem = gl.Problem(gl.Dense((2, 1)), gl.Square(half=True), data)
    >>> round(gl.spectra.trace(problem, (np.zeros((1, 2)),), products=6).value, 6)
    5.0
    """
    if products < 6:
        raise ValueError(f"{products} products were given; an error bar needs 6 or more")
    bare, generator = _operator(problem, weights, layer, chunk, data), np.random.default_rng(seed)
    operator = Scaled(bare, generator)
    third, size = min(products // 3, operator.size), operator.size

    def tell(done: int) -> None:
        if progress is not None:
            progress("trace", done, 3 * third)

    sketch = operator(generator.choice([-1.0, 1.0], (third, size)))
    tell(third)
    basis = np.linalg.qr(sketch.T)[0].T
    inside = float(np.sum(operator(basis) * basis))
    tell(2 * third)
    if third == size:
        return Trace(math.ldexp(inside, operator.exponent), 0.0, operator.products)
    probes = generator.choice([-1.0, 1.0], (products - 2 * third, size))
    probes -= (probes @ basis.T) @ basis
    each = np.einsum("ij,ij->i", operator(probes), probes)
    tell(3 * third)
    error = float(np.std(each, ddof=1)) / math.sqrt(len(each))
    value = inside + float(each.mean())
    return Trace(
        math.ldexp(value, operator.exponent), math.ldexp(error, operator.exponent), operator.products
    )
