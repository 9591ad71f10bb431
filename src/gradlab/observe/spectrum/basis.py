"""An orthonormal basis that grows by block Lanczos steps, with the operator's projection on it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gradlab.observe.spectrum.operators import Operator

EPS = float(np.finfo(np.float64).eps)
#: Measured inner products between unit vectors of the basis from which they are subtracted. Semi-orthogonality,
#: √eps = 1.5e-8, is enough for the projection to be right to rounding (Simon 1984, Theorem 5).
LOSS = 1e-11
#: A new direction shorter than this times eps times the operator's norm is rounding: the space is invariant.
_BREAKDOWN = 64.0
#: Vectors up to which a product of matrices takes longer than products with each vector.
_ONE_BY_ONE = 2
#: Columns combined at once where the result overwrites the rows.
_SLICE = 4096


def project(rows: Float[np.ndarray, "m P"], block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "m b"]:
    """Inner products of all rows with all vectors of a block."""
    if len(block) > _ONE_BY_ONE:
        return rows @ block.T
    return np.stack([rows @ vector for vector in block], axis=1)


def subtract(
    rows: Float[np.ndarray, "m P"], inner: Float[np.ndarray, "m b"], block: Float[np.ndarray, "b P"]
) -> None:
    """block −= innerᵀ rows, in place."""
    if len(block) > _ONE_BY_ONE:
        block -= inner.T @ rows
        return
    for j, vector in enumerate(block):
        vector -= inner[:, j] @ rows


def subtract_large(rows: Float[np.ndarray, "m P"], block: Float[np.ndarray, "b P"]) -> None:
    """Measure the components of a block on rows, and subtract what exceeds ``LOSS``, in place."""
    inner = project(rows, block)
    large = np.flatnonzero(np.any(np.abs(inner) > LOSS * np.linalg.norm(block, axis=1), axis=1))
    if large.size:
        part = slice(int(large[0]), int(large[-1]) + 1)
        subtract(rows[part], inner[part], block)


def combine(
    rows: Float[np.ndarray, "m P"], s: Float[np.ndarray, "m k"], out: Float[np.ndarray, "k P"] | None = None
) -> Float[np.ndarray, "k P"]:
    """sᵀ rows."""
    return np.matmul(np.ascontiguousarray(s.T), rows, out=out)


def without(rows: Float[np.ndarray, "m P"], block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "m b"]:
    """Two passes of block ← block − (block rowsᵀ) rows, in place; what was taken out."""
    inner = project(rows, block)
    subtract(rows, inner, block)
    again = project(rows, block)
    subtract(rows, again, block)
    return inner + again


def fresh(
    generator: np.random.Generator, size: int, *taken: Float[np.ndarray, "_ P"]
) -> Float[np.ndarray, " P"] | None:
    """A random unit vector orthogonal to rows, uniform on what they leave; None where they leave nothing."""
    for _ in range(3):
        vector = generator.standard_normal((1, size))
        vector /= np.linalg.norm(vector)
        for _ in range(2):
            for rows in taken:
                without(rows, vector)
        length = float(np.linalg.norm(vector))
        if length > 1e-10:
            vector /= length
            for rows in taken:
                without(rows, vector)
            return vector[0] / np.linalg.norm(vector[0])
    return None


class Basis:
    """Rows q_1 … q_f with T = Q A Qᵀ, and a block of rows ahead whose products are still to be made.

    A step multiplies the block ahead and takes out of the products, in two passes, all rows that they can have a
    component on: the block itself and the one before, after a restart every row. On the other rows only rounding can
    have left one: it is measured, in every step and against every row, and subtracted where it exceeds ``LOSS``.
    So orthogonality is full, as with two passes over all rows, at a third of their price.

    Invariants: A Q_f = T Q_f + (rows ahead)ᵀ E, E = ``coupling``; all rows orthonormal to about ``LOSS``.
    """

    def __init__(self, operator: Operator, block: int, limit: int, generator: np.random.Generator) -> None:
        self.operator, self.generator, self.limit = operator, generator, limit
        size = operator.size
        # Memory is taken up as rows are written.
        self.rows = np.empty((min(limit, size), size))
        self.T = np.zeros((len(self.rows), len(self.rows)))
        self.filled = self.ahead = self.near = 0
        self.scale = 0.0
        self.add(block)

    @property
    def whole(self) -> bool:
        """Whether the basis spans everything."""
        return self.filled == self.operator.size

    @property
    def coupling(self) -> Float[np.ndarray, "b f"]:
        """E."""
        return self.T[self.filled : self.filled + self.ahead, : self.filled]

    @property
    def room(self) -> int:
        """Rows that can still be added before a restart."""
        return len(self.rows) - self.filled - self.ahead

    @property
    def full(self) -> bool:
        """Whether a step needs a restart before it."""
        return self.room < self.ahead and len(self.rows) < self.operator.size

    def add(self, count: int) -> None:
        """Random rows to the block ahead."""
        for _ in range(count):
            end = self.filled + self.ahead
            vector = fresh(self.generator, self.operator.size, self.rows[:end]) if self.room else None
            if vector is None:
                return
            self.rows[end] = vector
            self.T[end, :] = self.T[:, end] = 0.0
            self.ahead += 1

    def lengthen(self, limit: int) -> None:
        """Room for more rows."""
        rows = np.empty((min(limit, self.operator.size), self.operator.size))
        projection = np.zeros((len(rows), len(rows)))
        end = self.filled + self.ahead
        rows[:end], projection[:end, :end] = self.rows[:end], self.T[:end, :end]
        self.rows, self.T = rows, projection

    def step(self) -> None:
        """Multiply the block ahead, and put the next one ahead."""
        f, b, near = self.filled, self.ahead, self.near
        products = self.operator(self.rows[f : f + b])
        lengths = np.linalg.norm(products, axis=1)
        self.scale = max(self.scale, float(np.max(lengths, initial=0.0)))
        inner = without(self.rows[near : f + b], products)
        self.T[near : f + b, f : f + b] = inner
        self.T[f : f + b, f : f + b] = 0.5 * (inner[f - near :] + inner[f - near :].T)
        self.T[f : f + b, near:f] = inner[: f - near].T
        self._clean(products)
        self.filled, self.near, self.ahead = f + b, f, 0
        self._next(products)

    def _clean(self, products: Float[np.ndarray, "b P"]) -> None:
        """Take out components on the far rows that are not small."""
        if self.near:
            subtract_large(self.rows[: self.near], products)

    def _next(self, products: Float[np.ndarray, "b P"]) -> None:
        """Orthonormalise what is left of the products; where nothing is left, put a random direction."""
        f, width = self.filled, len(products)
        count = min(width, len(self.rows) - f)
        if count < width and f + count < self.operator.size:
            raise AssertionError("a step needs room for a whole block")
        floor = _BREAKDOWN * EPS * self.scale
        missing = 0
        for j in range(width):
            end = f + self.ahead
            vector = products[j : j + 1]
            before = float(np.linalg.norm(vector))
            inner = without(self.rows[f:end], vector) if self.ahead else np.zeros((0, 1))
            length = float(np.linalg.norm(vector))
            column = f - width + j
            self.T[f:end, column] = self.T[column, f:end] = inner[:, 0]
            if length <= floor or end == len(self.rows):
                missing += 1
                continue
            vector /= length
            if length < max(1e-3 * before, 1e-4 * self.scale):
                # What rounding left on other rows, eps · scale, has grown by 1/length: to 1e-12 at 1e-4.
                without(self.rows[:end], vector)
                vector /= np.linalg.norm(vector)
            self.rows[end] = vector[0]
            self.T[end, :] = self.T[:, end] = 0.0
            self.T[end, column] = self.T[column, end] = length
            self.ahead += 1
        self.add(missing)

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(θ ascending, their vectors in terms of the rows, residual norms of the pairs); NaN where products were."""
        T = self.T[: self.filled, : self.filled]
        if not np.isfinite(T).all():
            nothing = np.full(self.filled, np.nan)
            return nothing, np.full(T.shape, np.nan), nothing
        values, vectors = np.linalg.eigh(T)
        return values, vectors, np.linalg.norm(self.coupling @ vectors, axis=0)

    def restart(self, values: np.ndarray, vectors: np.ndarray) -> None:
        """Keep these Ritz pairs and the block ahead (thick restart, Wu and Simon 2000, block by block)."""
        f, b, kept = self.filled, self.ahead, len(values)
        coupling = self.coupling @ vectors
        s = np.ascontiguousarray(vectors.T)
        for start in range(0, self.operator.size, _SLICE):
            part = slice(start, start + _SLICE)
            self.rows[:kept, part] = s @ self.rows[:f, part]
        self.rows[kept : kept + b] = self.rows[f : f + b].copy()
        self.T[:] = 0.0
        self.T[np.arange(kept), np.arange(kept)] = values
        self.T[kept : kept + b, :kept], self.T[:kept, kept : kept + b] = coupling, coupling.T
        self.filled, self.near = kept, 0
