"""The Hessian's eigenvalues with bounds: all of them, those at the ends, those near a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.observe.spectrum.basis import EPS
from gradlab.observe.spectrum.lanczos import BLOCK, Pairs, extreme
from gradlab.observe.spectrum.near import nearest
from gradlab.observe.spectrum.operators import Chunks, Hessian, Operator, Progress
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Weights up to which all eigenvalues are computed from the dense matrix. Measured on one core (tanh MLPs, 1 000
#: digits), products and bounds included: 985 weights 0.5 s, 1 960 2.3 s, 3 010 8.4 s, 3 985 18 s; ten at either end by
#: Lanczos 0.2 to 0.6 s. Beyond some ten seconds certainty about all of them has to be asked for.
DENSE = 3000

#: Few eigenvalues of a smaller matrix come from Lanczos where its products, some 40 and 14 for each wanted one, are
#: this many times fewer than the P of the dense matrix. Processor seconds measured (tanh nets, 400 examples, four at
#: each end, residuals within ``FEW`` · ‖A‖), dense and Lanczos: 340 weights 2.0 and 0.6, 656 0.6 and 0.8, 1 320 2.5 and
#: 0.5, 2 180 6.7 and 0.8; there were 94 to 153 products.
FEWER = 4
#: The tolerance of few eigenvalues where all could have been had.
FEW = 1e-10

_WHICH = ("largest", "smallest", "both", "near")


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues with their errors.

    Attributes
    ----------
    values : (k,) ascending.
    bounds : (k,) for each value λ there is an eigenvalue of the computed operator within its bound: the norm of the
        residual A v − λ v, computed, plus what rounding can add.
    vectors : (P, k) orthonormal, in the order of ``Problem.ravel``; None where they were not asked for.
    converged : every residual is within tolerance · scale, and a search found no eigenvalue that was missed.
    complete : whether these are all P eigenvalues.
    products : Hessian-vector products.
    method : "dense" or "lanczos".
    size : P.
    scale : ‖A‖₂ (the largest |λ|; an estimate if not converged).
    chance : bound of the probability that an eigenvalue beyond the found ones was missed; 0 if certain, NaN where the
        search ended by its own convergence, or was not made, and there is no such bound.
    why : how it ended, in words.
    """

    values: Float[np.ndarray, " k"]
    bounds: Float[np.ndarray, " k"]
    vectors: Float[np.ndarray, "P k"] | None
    converged: bool
    complete: bool
    products: int
    method: str
    size: int
    scale: float
    chance: float
    why: str

    @property
    def relative(self) -> Float[np.ndarray, " k"]:
        """Bounds over |values|: below 1, the sign is certain; ∞ for a value 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.bounds == 0.0, 0.0, self.bounds / np.abs(self.values))


@float64
def spectrum(
    problem: Problem | Operator,
    weights: Any = None,
    count: int | None = None,
    which: str = "both",
    *,
    shift: float | None = None,
    layer: int | None = None,
    chunk: int | None = None,
    data: Chunks | None = None,
    tolerance: float = 1e-6,
    vectors: bool = False,
    method: str = "auto",
    block: int = BLOCK,
    limit: int | None = None,
    most: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Spectrum:
    """This gives eigenvalues of ∇²L at ``weights``, or of its block of one layer, in float64 and with bounds.

    Up to ``DENSE`` weights the matrix is formed and all eigenvalues are computed, unless ``count`` asks for few of many
    (``FEWER``), which are computed as few, to ``FEW``. Those, and beyond ``DENSE`` all,
    are computed by block Lanczos (:func:`~gradlab.observe.spectrum.lanczos.extreme`), multiplicities
    included, or near a shift by a filter (:func:`~gradlab.observe.spectrum.near.nearest`). Converged, they are within
    the norm of all ``bounds`` of as many eigenvalues, and none farther out than they by more than tolerance · ‖A‖ was
    missed, but by the ``chance`` given.

    Parameters
    ----------
    problem : a Problem, or an Operator (then without ``weights``).
    count, which : that many "largest", "smallest", so many at each end ("both"), or "near" ``shift``.
    layer, chunk, data : see :class:`~gradlab.observe.spectrum.operators.Hessian`.
    tolerance : of residuals, relative to ‖A‖₂; Lanczos only.
    vectors : whether to return them.
    method : "dense" or "lanczos" instead of the choice by size.
    block, limit, most, seed : of Lanczos.
    progress : called with (what, done, of how many).

    Raises
    ------
    ValueError
        For more eigenvalues than weights, weights in float32 or not finite, no ``count`` where one is needed, and
        everything that :class:`Hessian` refuses.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.Data(np.diag([1.0, 2.0]), np.zeros((2, 1)))
    >>> problem = gl.Problem(gl.Dense((2, 1)), gl.Square(half=True), data)
    >>> gl.spectrum(problem, (np.zeros((1, 2)),)).values.round(6).tolist()  # of XᵀX
    [1.0, 4.0]
    """
    operator = _operator(problem, weights, layer, chunk, data)
    size = operator.size
    dense = method == "dense" or (method == "auto" and size <= DENSE and not _few(size, count, which))
    _check(size, count, which, shift, dense, tolerance, method)
    if dense:
        return _dense(operator, count, which, shift, vectors, progress)
    assert count is not None
    few = method == "auto" and size <= DENSE
    if few:
        tolerance = min(tolerance, FEW)
    options: dict[str, Any] = {"tolerance": tolerance, "block": block, "seed": seed, "most": most}
    if which == "near":
        assert shift is not None
        pairs = nearest(operator, shift, count, progress=progress, **options)
    else:
        low = count if which in ("smallest", "both") else 0
        high = count if which in ("largest", "both") else 0
        pairs = extreme(operator, low, high, limit=limit, progress=progress, **options)
    if few and not pairs.converged:
        return _dense(operator, count, which, shift, vectors, progress)
    return _of(pairs, size, vectors)


def _few(size: int, count: int | None, which: str) -> bool:
    if not isinstance(count, int | np.integer) or which == "near":
        return False
    wanted = count * (2 if which == "both" else 1)
    return bool(size > FEWER * (40 + 14 * wanted))


def _of(pairs: Pairs, size: int, vectors: bool) -> Spectrum:
    return Spectrum(
        pairs.values, pairs.residuals + pairs.rounding, pairs.vectors.T if vectors else None, pairs.converged,
        len(pairs.values) == size, pairs.products, "lanczos", size, pairs.scale, pairs.chance, pairs.why,
    )  # fmt: skip


def _operator(
    problem: Problem | Operator, weights: Any, layer: int | None, chunk: int | None, data: Chunks | None
) -> Operator:
    if isinstance(problem, Operator):
        if weights is not None or layer is not None or chunk is not None or data is not None:
            raise ValueError("an operator was given: weights, layer, chunk and data belong to a Problem")
        return problem
    if weights is None:
        raise ValueError("weights are missing: write spectrum(problem, weights)")
    return Hessian(problem, weights, layer=layer, chunk=chunk, data=data)


def _check(
    size: int, count: int | None, which: str, shift: float | None, dense: bool, tolerance: float, method: str
) -> None:
    if method not in ("auto", "dense", "lanczos"):
        raise ValueError(f"method was {method!r}; it is 'auto', 'dense' or 'lanczos'")
    if which not in _WHICH:
        raise ValueError(f"which was {which!r}; it is one of {', '.join(_WHICH)}")
    if (which == "near") != (shift is not None):
        raise ValueError("shift and which='near' belong together: give both or none")
    if shift is not None and not math.isfinite(shift):
        raise ValueError(f"shift was {shift}; give a finite number")
    if not (0.0 < tolerance < 1.0):
        raise ValueError(f"tolerance was {tolerance}; it is relative to the norm: give a number in (0, 1)")
    if count is None:
        if not dense:
            raise ValueError(
                f"all eigenvalues of {size} weights would need a matrix of {8e-9 * size**2:.3g} GB: give count, "
                f"or method='dense' (beyond {DENSE} weights)"
            )
        return
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"count was {count!r}; give a whole number ≥ 1")
    if count > size:
        raise ValueError(
            f"{count} eigenvalues were asked for, and there are {size} weights: give at most {size}"
        )


def _dense(
    operator: Operator,
    count: int | None,
    which: str,
    shift: float | None,
    vectors: bool,
    progress: Progress | None,
) -> Spectrum:
    """All eigenvalues by LAPACK, with bounds from residuals and from the asymmetry of the computed matrix.

    ‖M v − λ v‖ bounds the distance to an eigenvalue of M = (A + Aᵀ)/2. Besides: the columns of A are products computed
    one by one, so ‖A − Aᵀ‖_F/2 measures what rounding does to them; and 16 eps ‖M‖ for what it does symmetrically.
    """
    before, size = operator.products, operator.size
    matrix = operator.dense(progress)
    spent = operator.products - before
    if not np.isfinite(matrix).all():
        nothing = np.full(size if count is None else count, math.nan)
        return Spectrum(
            nothing, nothing, None, False, False, spent, "dense", size, math.nan, math.nan,
            "the Hessian is not finite at these weights",
        )  # fmt: skip
    # A power of two, so that nothing is rounded: squares of numbers below 1e-154 are 0.
    exponent = int(np.frexp(np.max(np.abs(matrix)))[1])
    matrix = np.ldexp(matrix, -exponent)
    rounding = 0.5 * float(np.linalg.norm(matrix - matrix.T))
    matrix = 0.5 * (matrix + matrix.T)
    values, found = np.linalg.eigh(matrix)
    residuals = np.linalg.norm(matrix @ found - found * values, axis=0) / np.linalg.norm(found, axis=0)
    scale = float(np.max(np.abs(values)))
    bounds = np.ldexp(residuals + rounding + 16.0 * EPS * scale, exponent)
    values, scale = np.ldexp(values, exponent), math.ldexp(scale, exponent)
    chosen = _chosen(values, count, which, shift)
    return Spectrum(
        values[chosen], bounds[chosen], found[:, chosen] if vectors else None, True, len(chosen) == size, spent,
        "dense", size, scale, 0.0, "all eigenvalues of the dense matrix",
    )  # fmt: skip


def _chosen(values: np.ndarray, count: int | None, which: str, shift: float | None) -> np.ndarray:
    every = np.arange(len(values))
    if count is None or (which == "both" and 2 * count >= len(values)):
        return every
    if which == "near":
        assert shift is not None
        return np.sort(np.argsort(np.abs(values - shift), kind="stable")[:count])
    low, high = every[:count], every[len(values) - count :]
    return low if which == "smallest" else high if which == "largest" else np.concatenate([low, high])
