"""Data: synthetic ones are made here, those that scikit-learn bundles come along."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.problem.bundled import breast_cancer, diabetes, digits
from gradlab.problem.dataset import Data
from gradlab.problem.precision import float64

__all__ = [
    "Data",
    "breast_cancer",
    "chebyshev",
    "diabetes",
    "digits",
    "gaussian_clouds",
    "linear_regression",
    "separable",
    "teacher",
    "whitened_regression",
]


def _generator(key: Any) -> np.random.Generator:
    """NumPy's generator seeded by the bits of a jax key: no compilation for every new shape."""
    if isinstance(key, int | np.integer):
        return np.random.default_rng(int(key))
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).reshape(-1).tolist())


def _counts(**numbers: int) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"{name} was {number!r}; give a whole number ≥ 1")


def _not_negative(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0.0 <= number < np.inf:
            raise ValueError(f"{name} was {number!r}; give a number ≥ 0")


def _orthonormal(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A uniformly random (rows, columns) matrix with orthonormal columns, rows ≥ columns."""
    q, r = np.linalg.qr(generator.standard_normal((rows, columns)))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    # a second pass: QᵀQ = 1 to rounding, whatever the first one left
    q, r = np.linalg.qr(q)
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def gaussian_clouds(
    key: Any,
    N: int,
    d: int,
    separation: float = 2.0,
    classes: int = 2,
    labels: str | None = None,
) -> Data:
    """This draws unit Gaussian clouds around the corners of a regular simplex of edge ``separation`` centred at 0.

    Classes are as equally many as N allows; the simplex is turned at random. ``labels`` are by default
    ``"sign"`` for two classes and ``"class"`` for more.

    Raises
    ------
    ValueError
        Where d < classes − 1, or signs are asked of more than two classes.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.data.gaussian_clouds(jax.random.key(0), N=6, d=2, classes=3)
    >>> np.bincount(data.targets).tolist()
    [2, 2, 2]
    """
    _counts(N=N, d=d, classes=classes)
    _not_negative(separation=separation)
    labels = labels or ("sign" if classes == 2 else "class")
    if labels not in ("sign", "class"):
        raise ValueError(f"labels are 'sign' or 'class', not {labels!r}")
    if classes < 2 or (labels == "sign" and classes != 2):
        raise ValueError(
            f"{labels!r} labels of {classes} classes make no sense: use 'class' and two or more classes"
        )
    if d < classes - 1:
        raise ValueError(f"{classes} centres at equal distances need d ≥ {classes - 1}; d = {d} was given")
    generator = _generator(key)
    number = generator.permutation(np.arange(N) % classes)
    # centred unit vectors span classes − 1 dimensions and are √2 apart
    corners = np.linalg.svd(np.eye(classes) - 1.0 / classes)[0][:, : classes - 1]
    centres = separation / np.sqrt(2.0) * corners @ _orthonormal(generator, d, classes - 1).T
    inputs = centres[number] + generator.standard_normal((N, d))
    targets = 2.0 * number - 1.0 if labels == "sign" else number
    return Data(inputs, targets, provenance=f"{classes} Gaussian clouds, separation {separation:g}")


def separable(key: Any, N: int, d: int, margin: float = 1.0) -> Data:
    """This draws labels ±1 whose hard margin max_{‖w‖=1} min_n y_n w·x_n is ``margin`` (to rounding).

    Around a random unit u, s = min(N, d) examples are supports, y x = margin·u + p with p ⟂ u and Σ α p = 0
    for random convex α: hence margin·u is a convex combination of the y x, and u is the maximiser. The others
    have y u·x = margin + an exponential variable of mean 1. Components across u are standard normal, but for
    one support, which closes the sum.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> data = gl.data.separable(jax.random.key(0), N=6, d=2, margin=0.5)
    >>> round(gl.solutions.max_margin(data.inputs, data.targets).margin, 9)
    0.5
    """
    _counts(N=N, d=d)
    if not 0.0 < margin < np.inf:
        raise ValueError(f"margin was {margin!r}; give a number > 0")
    generator = _generator(key)
    basis = _orthonormal(generator, d, d)
    u, across = basis[:, 0], basis[:, 1:]
    s = min(N, d)
    coordinates = generator.standard_normal((N, d - 1))
    alpha = generator.uniform(0.5, 1.0, s)
    coordinates[s - 1] = -alpha[:-1] @ coordinates[: s - 1] / alpha[-1]
    heights = margin + generator.exponential(size=N)
    heights[:s] = margin
    labels = generator.permutation(np.where(np.arange(N) % 2 == 0, 1.0, -1.0))
    oriented = heights[:, None] * u + coordinates @ across.T
    order = generator.permutation(N)
    inputs, targets = (labels[:, None] * oriented)[order], labels[order]
    return Data(inputs, targets, provenance=f"separable with margin {margin:g}")


@float64
def teacher(key: Any, network: Any, weights: Any, N: int, noise: float = 0.0, N_test: int = 0) -> Data:
    """A teacher gives the targets network(weights, x) + noise · normal (N, C) at standard normal inputs.

    The test split, where N_test > 0, is without noise.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.data.teacher(jax.random.key(0), gl.Dense((2, 1)), (np.array([[1.0, 0.0]]),), N=5)
    >>> bool((data.targets[:, 0] == data.inputs[:, 0]).all())
    True
    """
    _counts(N=N)
    _not_negative(noise=noise, N_test=N_test)
    generator = _generator(key)
    weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), weights)
    inputs = generator.standard_normal((N + N_test, *network.input_shape))
    clean = np.asarray(network(weights, jnp.asarray(inputs)))
    targets = clean[:N] + noise * generator.standard_normal(clean[:N].shape)
    split: tuple[Any, Any] = (inputs[N:], clean[N:]) if N_test else (None, None)
    provenance = f"teacher {type(network).__name__}, noise {noise:g}"
    return Data(inputs[:N], targets, *split, provenance=provenance)


def chebyshev(
    degree: int,
    N: int,
    target: Callable[[np.ndarray], np.ndarray] | None = None,
    N_test: int = 100,
    lo: float = -1.0,
    hi: float = 1.0,
    basis: str = "chebyshev",
) -> Data:
    """This makes a regression on T_0 … T_degree (or powers) at the N Chebyshev nodes of [lo, hi].

    With x = (lo + hi)/2 + (hi − lo)/2 ξ, training nodes are ξ_k = cos((2k + 1)π/2N), test nodes equidistant,
    both ends included; features are of ξ. The target is sin(8πx) unless given (memo90 fig. 4: 9 nodes,
    degree 39).

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.data.chebyshev(degree=39, N=9).inputs.shape
    (9, 40)
    """
    _counts(N=N)
    _not_negative(degree=degree, N_test=N_test)
    if not -np.inf < lo < hi < np.inf:
        raise ValueError(f"the interval [{lo:g}, {hi:g}] is empty; give lo < hi")
    if basis not in ("chebyshev", "monomial"):
        raise ValueError(f"basis is 'chebyshev' or 'monomial', not {basis!r}")
    function = target or (lambda x: np.sin(8.0 * np.pi * x))
    vander = (
        np.polynomial.chebyshev.chebvander if basis == "chebyshev" else np.polynomial.polynomial.polyvander
    )
    nodes = np.cos((2 * np.arange(N) + 1) * np.pi / (2 * N))

    def rows(xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = 0.5 * (lo + hi) + 0.5 * (hi - lo) * xi
        return vander(xi, degree), np.asarray(function(x), dtype=np.float64).reshape(len(x), -1)

    split: tuple[Any, Any] = rows(np.linspace(-1.0, 1.0, N_test)) if N_test else (None, None)
    return Data(*rows(nodes), *split, provenance=f"{basis} features of degree {degree}, Chebyshev nodes")


def whitened_regression(
    key: Any, N: int, d: int, C: int = 1, condition: float | None = None, noise: float = 0.0
) -> Data:
    """This draws X with XᵀX/N = 1 to rounding, and Y = XΦᵀ + noise · normal.

    Φ (C, d) is standard normal, or, with ``condition``, has singular values from 1 down to 1/condition in
    geometric progression and random singular vectors.

    Raises
    ------
    ValueError
        Where N < d: then XᵀX is singular.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> X = np.asarray(gl.data.whitened_regression(jax.random.key(0), N=5, d=2).inputs)
    >>> bool(np.allclose(X.T @ X / 5, np.eye(2)))
    True
    """
    _counts(N=N, d=d, C=C)
    _not_negative(noise=noise)
    if d > N:
        raise ValueError(f"whitened inputs need N ≥ d; N = {N} and d = {d} were given")
    if condition is not None and not 1.0 <= condition < np.inf:
        raise ValueError(f"condition was {condition!r}; give a number ≥ 1, or None")
    generator = _generator(key)
    inputs = np.sqrt(N) * _orthonormal(generator, N, d)
    phi = generator.standard_normal((C, d))
    if condition is not None:
        rank = min(C, d)
        values = np.geomspace(1.0, 1.0 / condition, rank)
        left, right = _orthonormal(generator, C, rank), _orthonormal(generator, d, rank)
        phi = (left * values) @ right.T
    targets = inputs @ phi.T + noise * generator.standard_normal((N, C))
    return Data(inputs, targets, provenance=f"whitened regression, noise {noise:g}")


def linear_regression(
    key: Any, N: int, d: int, C: int = 1, rank: int | None = None, noise: float = 0.0
) -> Data:
    """This draws Y = XΦᵀ + noise · normal with X (N, d) and Φ (C, d) standard normal.

    With ``rank``, X is of that rank instead, its entries still of variance 1.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.data.linear_regression(jax.random.key(0), N=5, d=4, rank=2)
    >>> int(np.linalg.matrix_rank(data.inputs))
    2
    """
    _counts(N=N, d=d, C=C)
    _not_negative(noise=noise)
    rank = min(N, d) if rank is None else rank
    if not 1 <= rank <= min(N, d):
        raise ValueError(
            f"X of shape ({N}, {d}) has a rank between 1 and {min(N, d)}; rank = {rank} was given"
        )
    generator = _generator(key)
    inputs = generator.standard_normal((N, d))
    if rank < min(N, d):
        inputs = inputs[:, :rank] @ generator.standard_normal((rank, d)) / np.sqrt(rank)
    phi = generator.standard_normal((C, d))
    targets = inputs @ phi.T + noise * generator.standard_normal((N, C))
    return Data(inputs, targets, provenance=f"linear regression, rank {rank}, noise {noise:g}")
