"""Eigenvalues at the ends of a symmetric operator: block Lanczos with thick restarts, and a search for missed ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradlab.observe.spectrum.basis import (
    EPS,
    LOSS,
    Basis,
    combine,
    fresh,
    project,
    subtract,
    subtract_large,
    without,
)
from gradlab.observe.spectrum.operators import Operator, Progress, Scaled

#: Vectors in the starting block. To converge, both ends of a trained MNIST network of 50 890 weights took 222, 272, 324
#: and 416 products in blocks of 1, 2, 4 and 8, without a search and without restarts.
BLOCK = 2
#: Bytes of the basis before it is restarted, where that leaves enough rows.
MEMORY = 2**30
#: Rows of the basis in multiples of the wanted pairs. With 20 wanted of 50 890, and 112, 192 rows and no limit, it
#: took 451, 396 and 366 products, in all 1.5, 1.75 and 1.9 times the processor time of the products alone.
_ROWS = 10
#: The chance at which the search for missed eigenvalues is content.
CHANCE = 1e-3
#: Steps of one such search, and pairs it takes out in multiples of the wanted ones.
_SEARCH = 150
_TAKEN = 6
#: Estimated residuals below this times the tolerance count as converged; they are computed afresh at the end.
_SAFETY = 0.8
#: Times to go on where the computed residuals are larger than the estimated ones.
_ATTEMPTS = 4


@dataclass(frozen=True)
class Pairs:
    """Eigenpairs at the ends of the spectrum.

    Attributes
    ----------
    values, vectors, residuals : (k,) ascending, (k, P) orthonormal rows, (k,) norms ‖A v − θ v‖ computed at the end
        with fresh products.
    scale : the largest |θ| seen, ‖A‖₂ if converged.
    rounding : what rounding can add to a residual; measured by the asymmetry of V A Vᵀ, at least 16 eps · scale.
    chance : bound of the probability, over the random vectors of the search, that an eigenvalue beyond the found
        ones was missed; NaN where the search ended by its own convergence, without such a bound.
    products : of the operator, all included.
    converged : residuals within tolerance, and nothing missed found.
    why : in words.
    """

    values: Float[np.ndarray, " k"]
    vectors: Float[np.ndarray, "k P"]
    residuals: Float[np.ndarray, " k"]
    scale: float
    rounding: float
    chance: float
    products: int
    converged: bool
    why: str


@dataclass(frozen=True)
class _Aim:
    """What is wanted: so many at the low and at the high end, to a tolerance, with no more than so many products."""

    low: int
    high: int
    tolerance: float
    most: int

    def wanted(self, count: int) -> np.ndarray:
        """Indices among ``count`` ascending values."""
        if self.low + self.high >= count:
            return np.arange(count)
        return np.concatenate([np.arange(self.low), np.arange(count - self.high, count)])


def extreme(
    operator: Operator,
    low: int,
    high: int,
    *,
    tolerance: float = 1e-6,
    block: int = BLOCK,
    limit: int | None = None,
    most: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Pairs:
    """The ``low`` smallest and the ``high`` largest eigenvalues, with multiplicity.

    One block Krylov space serves both ends. It is restarted with its best Ritz vectors when ``limit`` rows are full
    (thick restart), and grows by blocks whose orthogonality is measured (:class:`Basis`). Directions in which it
    breaks down are replaced by random ones. A Krylov space of block b holds at most b copies of an eigenvalue;
    therefore, once the wanted pairs have converged, a Lanczos chain from a random vector orthogonal to them, the
    *search*, looks for eigenvalues beyond the found ones. If it finds one, the block is doubled with random vectors
    and all goes on. At the end A V is computed afresh and V rotated by Rayleigh and Ritz, so that residuals are
    those of the returned vectors.

    Assumes, unchecked, that the operator is symmetric up to rounding.

    Parameters
    ----------
    tolerance : of residuals, relative to ‖A‖₂.
    block : vectors in the starting block.
    limit : rows of the basis before a restart; by default ten for every wanted pair, where ``MEMORY`` holds them.
    most : products after which to give up (converged is False then); by default 20 P + 1000.

    Sources: Golub and Underwood 1977 (block), Wu and Simon 2000 (thick restart), Simon 1984 (orthogonality),
    Kuczyński and Woźniakowski 1992 (the chance; see :func:`_needed`).
    """
    size = operator.size
    if low + high >= size:
        low, high = size, 0
    aim = _Aim(low, high, tolerance, 20 * size + 1000 if most is None else most)
    generator = np.random.default_rng(seed)
    least = min(size, 2 * (low + high) + 8 * max(block, 4))
    limit = max(limit or min(_ROWS * max(low + high, 12), int(MEMORY / (8 * size))), least)
    basis = Basis(Scaled(operator, generator), min(block, size), limit, generator)
    for _ in range(_ATTEMPTS):
        found = _grow(basis, aim, progress)
        pairs = _finish(basis, replace(aim, tolerance=tolerance), found)
        if pairs.converged or not found.fine or basis.whole:
            break
        # Turning converged pairs into orthonormal ones that diagonalise A mixes the residuals of equal values.
        aim = replace(aim, tolerance=aim.tolerance / 4.0)
    return pairs


@dataclass(frozen=True)
class _Found:
    """How the growing ended."""

    fine: bool
    chance: float
    why: str


def _grow(basis: Basis, aim: _Aim, progress: Progress | None) -> _Found:
    """Steps, restarts and searches until the wanted pairs are there or the products are spent."""
    watch = _Watch(aim)
    while True:
        if basis.full:
            _restart(basis, aim, *basis.ritz()[:2])
        basis.step()
        spent = basis.operator.products
        full = basis.full
        late = spent + basis.ahead + aim.low + aim.high > aim.most
        if not (full or late or basis.whole or watch.due(spent)):
            continue
        values, vectors, residuals = basis.ritz()
        if not np.isfinite(values).all():
            return _Found(False, math.nan, "a product was not finite")
        worst = watch.look(values, residuals, spent, basis.ahead)
        if progress is not None:
            progress(f"eigenvalues, residual {worst:.0e}", watch.share, 1.0)
        if basis.whole:
            return _Found(True, 0.0, "the Krylov space is the whole space")
        if worst <= _SAFETY * aim.tolerance:
            found = _search(basis, aim, values, vectors, residuals)
            if found is not None:
                return found
            _widen(basis, aim, values, vectors)
            watch = _Watch(aim)
        elif late:
            return _Found(False, math.nan, f"not converged after {spent} products: allow more by most=")


class _Watch:
    """When to look at the Ritz values: a solve of the projected problem costs as much as some products."""

    def __init__(self, aim: _Aim) -> None:
        self.aim, self.next, self.share = aim, 2 * (aim.low + aim.high), 0.0
        self.last: tuple[int, float] | None = None

    def due(self, spent: int) -> bool:
        return spent >= self.next

    def look(self, values: np.ndarray, residuals: np.ndarray, spent: int, block: int) -> float:
        """The worst relative residual of the wanted pairs; the next look is due where it would be small."""
        scale = float(np.max(np.abs(values)))
        wanted = residuals[self.aim.wanted(len(values))]
        enough = len(values) >= self.aim.low + self.aim.high
        worst = (float(wanted.max()) / scale if scale > 0.0 else 0.0) if enough else math.inf
        goal, wait = math.log(_SAFETY * self.aim.tolerance), max(block, spent // 6)
        if self.last is not None and 0.0 < worst < self.last[1] < math.inf:
            rate = (math.log(self.last[1]) - math.log(worst)) / (spent - self.last[0])
            wait = min(wait, math.ceil(0.9 * (math.log(worst) - goal) / rate))
        self.last, self.next = (spent, worst), spent + max(block, wait)
        if 0.0 < worst < 1.0:
            self.share = max(self.share, min(1.0, math.log(worst) / goal))
        return worst


def _kept(aim: _Aim, count: int, most: int) -> np.ndarray:
    """Indices of Ritz pairs to go on with: the wanted ones and as many again or more at each end."""
    extra = max(0, most - aim.low - aim.high)
    share = aim.low / max(1, aim.low + aim.high)
    low = aim.low + round(extra * share)
    return _Aim(low, most - low, 0.0, 0).wanted(count)


def _restart(basis: Basis, aim: _Aim, values: np.ndarray, vectors: np.ndarray, spare: int = 0) -> None:
    """Keep half of what there is room for: with less the next round is slower, with more it is too short."""
    most = max(aim.low + aim.high, (len(basis.rows) - basis.ahead - spare) // 2)
    most = min(most, len(basis.rows) - 3 * basis.ahead - spare)
    keep = _kept(aim, len(values), max(most, 1))
    basis.restart(values[keep], vectors[:, keep])


def _widen(basis: Basis, aim: _Aim, values: np.ndarray, vectors: np.ndarray) -> None:
    """Restart with a block twice as wide, the new half random: more copies of an eigenvalue fit in."""
    block = basis.ahead
    if len(basis.rows) < min(basis.operator.size, 2 * (aim.low + aim.high) + 16 * block):
        basis.lengthen(2 * (aim.low + aim.high) + 16 * block)
    _restart(basis, aim, values, vectors, spare=block)
    basis.add(block)


# The search for missed eigenvalues ---------------------------------------------------------------------------


def _needed(steps: int, size: int, width: float) -> float:
    """The distance g from the extreme Ritz values beyond which an operator has no eigenvalue, but by ``CHANCE``.

    For a start uniform on the sphere of ℝ^n the largest Ritz value ξ after s steps has

        P[ (λ_max − ξ) ≥ ε (λ_max − λ_min) ] ≤ 1.648 √n exp(−√ε (2 s − 1))        (Kuczyński and Woźniakowski 1992,

    Theorem 4.2), at both ends. Let the Ritz values span w, and suppose an eigenvalue lies farther out than g at
    either end: then the larger of both errors is at least ε = g/(w + 2 g) of the spread. So with both ends' chances
    added, ε = (log(2 · 1.648 √n / CHANCE) / (2 s − 1))², and g = ε w / (1 − 2 ε); ∞ where ε ≥ ½.
    """
    epsilon = (math.log(2.0 * 1.648 * math.sqrt(size) / CHANCE) / (2 * steps - 1)) ** 2
    return math.inf if epsilon >= 0.5 else epsilon * width / (1.0 - 2.0 * epsilon)


@dataclass(frozen=True)
class _Levels:
    """What a search takes out, and what it must not find.

    Attributes
    ----------
    taken : indices of the Ritz pairs taken out.
    floor, ceiling : anything beyond them proves that an eigenvalue was missed.
    lower, upper : if there is nothing beyond these, no eigenvalue was missed.
    """

    taken: np.ndarray
    floor: float
    ceiling: float
    lower: float
    upper: float


def _reach(
    values: np.ndarray, residuals: np.ndarray, count: int, most: int, slack: float
) -> tuple[int, float]:
    """How many of the smallest pairs to take out so that little is left near the ``count`` wanted; with the level.

    Let x = θ_count − slack. Of the further pairs j taken out, with residuals r_j, and with an operator A_c ≥ l on
    what remains, no eigenvalue of A on the complement of the wanted is below x if

        Σ_j r_j²/(θ_j − x) ≤ l − x         (the Schur complement Θ − x − F (A_c − x)⁻¹ Fᵀ, F Fᵀ of trace Σ r_j²).

    So the level is l = x + Σ_j. As many are taken as leave three quarters of the distance to the next one.
    """
    x, total, taken = float(values[count - 1]) - slack, 0.0, count
    while taken < min(most, len(values) - 1):
        more = total + float(residuals[taken]) ** 2 / max(float(values[taken]) - x, 1e-300)
        if more > 0.25 * (float(values[taken + 1]) - x):
            break
        taken, total = taken + 1, more
    return taken, x + total


def _levels(aim: _Aim, values: np.ndarray, residuals: np.ndarray, slack: float) -> _Levels:
    """Levels for both ends."""
    count = len(values)
    low, high = min(aim.low, count), min(aim.high, count - aim.low)
    first, lower, last, upper = 0, -math.inf, count, math.inf
    if low:
        first, lower = _reach(values, residuals, low, min(_TAKEN * (low + high), count - high), slack)
    if high:
        mirrored = _reach(
            -values[::-1], residuals[::-1], high, min(_TAKEN * (low + high), count - first), slack
        )
        last, upper = count - mirrored[0], -mirrored[1]
    floor = float(values[low - 1]) - slack if low else -math.inf
    ceiling = float(values[count - high]) + slack if high else math.inf
    return _Levels(np.concatenate([np.arange(first), np.arange(last, count)]), floor, ceiling, lower, upper)


def _search(
    basis: Basis, aim: _Aim, values: np.ndarray, vectors: np.ndarray, residuals: np.ndarray
) -> _Found | None:
    """A Lanczos chain orthogonal to what was found; None if it finds more beyond that, else why it did not.

    It ends when it finds a Ritz value beyond the found ones (which proves a missed eigenvalue, by Courant and
    Fischer); when the chance that there is one falls to ``CHANCE``; when it breaks down (its space is invariant, and
    a random start has a part in every eigenspace: nothing is hidden); or when both its own ends have converged.
    """
    operator, scale = basis.operator, float(np.max(np.abs(values)))
    slack = aim.tolerance * scale
    levels = _levels(aim, values, residuals, slack)
    taken = len(levels.taken)
    rows = np.empty((taken + min(_SEARCH, operator.size - taken) + 1, operator.size))
    order = levels.taken[np.argsort(residuals[levels.taken])]
    loose = int(np.sum(residuals[order] > LOSS * scale))
    combine(basis.rows[: basis.filled], vectors[:, order], rows[:taken])
    vector = fresh(basis.generator, operator.size, rows[:taken])
    if vector is None:
        return _Found(True, 0.0, "the found pairs span the whole space")
    rows[taken] = vector
    diagonal: list[float] = []
    below: list[float] = []
    for steps in range(1, len(rows) - taken):
        here = taken + steps
        product = operator(rows[here - 1 : here])
        diagonal.append(float(product[0] @ rows[here - 1]))
        # The chain couples to its last two rows and to pairs that have not converged; elsewhere is rounding.
        without(rows[max(here - 2, taken) : here], product)
        subtract(rows[taken - loose : taken], project(rows[taken - loose : taken], product), product)
        subtract_large(rows[:here], product)
        length = float(np.linalg.norm(product))
        ends, last = _ends(diagonal, below)
        low, high = float(ends[0]), float(ends[1])
        if low < levels.floor or high > levels.ceiling:
            return None
        if length <= 64.0 * EPS * scale:
            return _Found(True, 0.0, "the search broke down: nothing is hidden from a random vector")
        margin = min(low - levels.lower, levels.upper - high)
        if _needed(steps, operator.size - taken, high - low) <= margin:
            return _Found(True, CHANCE, f"a search of {steps} steps found nothing beyond")
        if steps > 10 and length * last <= slack:
            return _Found(True, math.nan, f"a search of {steps} steps converged and found nothing beyond")
        below.append(length)
        rows[here] = product[0] / length
    if here == operator.size:
        return _Found(True, 0.0, "the search went through the whole space")
    return _Found(False, math.nan, f"a search of {_SEARCH} steps found nothing, but did not converge either")


def _ends(diagonal: list[float], below: list[float]) -> tuple[np.ndarray, float]:
    """Extreme eigenvalues of a tridiagonal matrix, and the larger last component of their vectors."""
    values, vectors = scipy.linalg.eigh_tridiagonal(diagonal, below)
    return values[[0, -1]], float(np.max(np.abs(vectors[-1, [0, -1]])))


# The end -----------------------------------------------------------------------------------------------------


def _finish(basis: Basis, aim: _Aim, found: _Found) -> Pairs:
    """Orthonormal vectors, fresh products, Rayleigh and Ritz, residuals; scaled back."""
    assert isinstance(basis.operator, Scaled)
    operator, values, vectors = basis.operator, *basis.ritz()[:2]
    wanted = aim.wanted(len(values))
    if not np.isfinite(values).all():
        nothing = np.full(len(wanted), math.nan)
        empty = np.full((len(wanted), operator.size), math.nan)
        return Pairs(
            nothing, empty, nothing, math.nan, math.nan, math.nan, operator.products, False, found.why
        )
    scale = float(np.max(np.abs(values)))
    pairs = combine(basis.rows[: basis.filled], vectors[:, wanted])
    pairs = np.ascontiguousarray(np.linalg.qr(pairs.T)[0].T)
    theta, pairs, residuals, asymmetry = refined(operator, pairs)
    rounding = 16.0 * EPS * scale + asymmetry
    fine = bool(np.all(residuals <= aim.tolerance * scale + rounding))
    complete = len(theta) == min(aim.low + aim.high, operator.size)
    why = found.why if fine else f"{found.why}; residuals up to {np.max(residuals) / scale:.1e} of the norm"
    theta, residuals = np.ldexp(theta, operator.exponent), np.ldexp(residuals, operator.exponent)
    scale, rounding = math.ldexp(scale, operator.exponent), math.ldexp(rounding, operator.exponent)
    converged = fine and complete and found.fine
    return Pairs(theta, pairs, residuals, scale, rounding, found.chance, operator.products, converged, why)


def refined(
    operator: Operator, rows: Float[np.ndarray, "k P"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(Ritz values ascending, vectors, residual norms, asymmetry ‖V A Vᵀ − its transpose‖₂) of orthonormal rows."""
    products = operator(rows)
    small = products @ rows.T
    theta, s = np.linalg.eigh(0.5 * (small + small.T))
    vectors = combine(rows, s)
    residuals = np.linalg.norm(combine(products, s) - theta[:, None] * vectors, axis=1)
    return theta, vectors, residuals, float(np.linalg.norm(small - small.T, 2))
