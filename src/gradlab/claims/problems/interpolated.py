"""Labelled points that are no more than their dimension: every one can be fitted, and their margins can be read off."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float

#: Kinds of signed points, in the order in which a family goes through them.
KINDS = ("random", "orthogonal", "one far away", "repeated", "zero dual weight", "nearly orthogonal")


def signed(random: np.random.Generator, kind: str, N: int, d: int) -> Float[np.ndarray, "N d"]:
    """Signed points y_n x_n, N ≤ d, of a kind.

    ``orthogonal`` ones have lengths in [1, 3]; one is thrice as far as it was; one comes twice; one lies on the margin
    of the others without dual weight; nearly orthogonal ones have angles within 0.1/N of a right one.
    """
    rows = random.standard_normal((N, d)) / np.sqrt(d)
    if kind == "one far away":
        # along the others, so that it lies beyond the margin that they set
        rows[-1] = 3.0 * rows[:-1].sum(axis=0) + 0.1 * rows[-1]
    if kind == "repeated":
        rows[-1] = rows[0]
    if kind in ("orthogonal", "nearly orthogonal", "zero dual weight"):
        rows = np.linalg.qr(random.standard_normal((d, N)))[0].T * 3.0 ** random.uniform(size=(N, 1))
    if kind == "nearly orthogonal":
        rows = rows + random.uniform(-0.1, 0.1, (N, N)) / N @ rows
    if kind == "zero dual weight":
        w = scipy.linalg.pinv(rows[:-1]) @ np.ones(N - 1)
        rows[-1] = w / (w @ w) + 0.5 * rows[-1] / np.linalg.norm(rows[-1])
    return rows


def labelled(
    random: np.random.Generator, kind: str, N: int, d: int
) -> tuple[Float[np.ndarray, "N d"], Float[np.ndarray, " N"]]:
    """Inputs and labels of :func:`signed` points."""
    y = np.where(random.uniform(size=N) < 0.5, -1.0, 1.0)
    return signed(random, kind, N, d) * y[:, None], y
