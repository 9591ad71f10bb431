"""Hessian spectra: products, wall time and what is missed, against eigsh, curvlinops, matfree and PyHessian.

First a suite of matrices with exactly known spectra, then both ends of the spectrum of a 50 890-weight network, and
its spectral density. Everybody works in float64. Residuals are computed afterwards, with the same operator for all.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from gradlab.init import He

from benchmarks.problems import has_data
from gradlab import CrossEntropy, Dense, Problem
from gradlab.observe.spectrum import Matrix, density, spectrum
from gradlab.observe.spectrum.operators import Hessian, _linearised

COUNT = 10
TOLERANCE = 1e-6


@dataclass
class Found:
    """What a method returned: values with vectors (k, P), its products, seconds, seconds of the products alone."""

    values: np.ndarray
    vectors: np.ndarray
    products: int
    seconds: float
    bare: float


# The network -------------------------------------------------------------------------------------------------


def network(steps: int, N: int = 1000) -> tuple[Problem, Any]:
    """A 784-64-10 tanh network with biases under cross-entropy on N MNIST images, after steps of descent at 0.3."""
    from gradlab.loaders import mnist

    problem = Problem(
        Dense((784, 64, 10), "tanh", bias=True), CrossEntropy("mean"), mnist(N, 0, labels="class")
    )
    weights = problem.network.init(jax.random.key(0), He())

    @eqx.filter_jit
    def descend(problem: Problem, weights: Any) -> Any:
        def step(_: Any, w: Any) -> Any:
            return jax.tree.map(lambda a, b: a - 0.3 * b, w, problem.gradient(w))

        return jax.lax.fori_loop(0, steps, step, weights)

    return problem, descend(problem, weights)


@contextlib.contextmanager
def _in_torch(problem: Problem, weights: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(model, inputs, targets): the same network in float64, checked to have the same gradient."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        widths = problem.network.widths
        model = torch.nn.Sequential(
            torch.nn.Linear(widths[0], widths[1]), torch.nn.Tanh(), torch.nn.Linear(widths[1], widths[2])
        )
        with torch.no_grad():
            for module, layer in zip((model[0], model[2]), weights, strict=True):
                module.weight.copy_(torch.tensor(np.array(layer["weight"])))
                module.bias.copy_(torch.tensor(np.array(layer["bias"])))
        inputs = torch.tensor(np.array(problem.data.inputs).reshape(len(problem.data.inputs), -1))
        targets = torch.tensor(np.array(problem.data.targets))
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        ours = problem.gradient(weights)
        for module, layer in zip((model[0], model[2]), ours, strict=True):
            if not np.allclose(module.weight.grad.numpy(), layer["weight"], rtol=1e-8, atol=1e-12):
                raise ValueError("the network in PyTorch has another gradient: this is not the same work")
        model.zero_grad()
        yield model, inputs, targets
    finally:
        torch.set_default_dtype(before)


def _bare(product: Callable[[np.ndarray], Any], size: int, widths: list[int]) -> float:
    """Seconds of products alone, in blocks of these widths; each width is warmed up before."""
    blocks = {width: np.random.default_rng(0).standard_normal((width, size)) for width in set(widths)}
    for block in blocks.values():
        product(block)
    begun = time.perf_counter()
    for width in widths:
        product(blocks[width])
    return time.perf_counter() - begun


class _Recorded(Hessian):
    """A Hessian that remembers in which widths it was multiplied."""

    def __call__(self, block: np.ndarray) -> np.ndarray:
        self.widths.append(len(block))
        return super().__call__(block)


def _recorded(problem: Problem, weights: Any) -> _Recorded:
    operator = _Recorded(problem, weights)
    operator.widths = []
    for width in (1, 4, 8):
        operator.apply(np.ones((width, operator.size)))
    return operator


# Methods on the network --------------------------------------------------------------------------------------


def _ours(problem: Problem, weights: Any, scale: float) -> Found:
    operator = _recorded(problem, weights)
    begun = time.perf_counter()
    found = spectrum(operator, None, COUNT, "both", tolerance=TOLERANCE, vectors=True)
    seconds = time.perf_counter() - begun
    assert found.vectors is not None
    bare = _bare(operator.apply, operator.size, operator.widths)
    return Found(found.values, np.array(found.vectors.T), found.products, seconds, bare)


def _arpack(product: Callable[[np.ndarray], np.ndarray], size: int, scale: float) -> Found:
    """Both ends by eigsh. Its tolerance is relative to each eigenvalue: A + 2‖A‖ makes them all of one size.

    ‖A‖ is given to it for nothing.
    """
    count = 0

    def shifted(vector: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return product(vector.reshape(-1)) + 2.0 * scale * vector.reshape(-1)

    product(np.ones(size))
    operator = scipy.sparse.linalg.LinearOperator((size, size), shifted, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    begun = time.perf_counter()
    values, vectors = scipy.sparse.linalg.eigsh(
        operator, 2 * COUNT, which="BE", tol=TOLERANCE / 3.0, v0=start
    )
    seconds = time.perf_counter() - begun
    bare = _bare(lambda block: product(block[0]), size, [1] * count)
    order = np.argsort(values)
    return Found(values[order] - 2.0 * scale, vectors.T[order], count, seconds, bare)


def _eigsh(problem: Problem, weights: Any, scale: float) -> Found:
    operator = Hessian(problem, weights)
    return _arpack(lambda vector: operator.apply(vector[None])[0], operator.size, scale)


def _curvlinops(problem: Problem, weights: Any, scale: float) -> Found:
    import torch
    from curvlinops import HessianLinearOperator

    # The order of its parameters is that of the torch module: weight, bias; ours is that of ravel: bias, weight.
    flat = np.asarray(problem.ravel(jax.tree.map(jnp.zeros_like, weights)))
    order = _torch_order(problem, flat.size)
    with _in_torch(problem, weights) as (model, inputs, targets):
        operator = HessianLinearOperator(
            model, torch.nn.CrossEntropyLoss(), list(model.parameters()), [(inputs, targets)]
        ).to_scipy(dtype=np.float64)

        def product(vector: np.ndarray) -> np.ndarray:
            out = np.empty_like(vector)
            out[order] = operator @ vector[order]
            return out

        return _arpack(product, flat.size, scale)


def _torch_order(problem: Problem, size: int) -> np.ndarray:
    """Places in our vector of the weights in the order of the torch module."""
    places = problem.unravel(np.arange(float(size)))
    parts = [np.asarray(layer[name]).ravel() for layer in places for name in ("weight", "bias")]
    return np.concatenate(parts).astype(int)


def _matfree(problem: Problem, weights: Any, scale: float) -> Found:
    from matfree import decomp, eig

    operator, depth = Hessian(problem, weights), 320
    linear = _linearised(operator.problem, operator.weights, None)
    start = jnp.asarray(np.random.default_rng(0).standard_normal(operator.size))
    call = eqx.filter_jit(
        lambda linear, start: eig.eigh_partial(decomp.tridiag_sym(depth, reortho="full"))(linear, start)
    )
    jax.block_until_ready(call(linear, start))
    begun = time.perf_counter()
    values, vectors = jax.block_until_ready(call(linear, start))
    seconds = time.perf_counter() - begun
    order = np.argsort(np.asarray(values))
    ends = np.r_[order[:COUNT], order[-COUNT:]]
    bare = _bare(operator.apply, operator.size, [1] * depth)
    return Found(np.asarray(values)[ends], np.asarray(vectors)[ends], depth, seconds, bare)


def _pyhessian(problem: Problem, weights: Any, scale: float) -> Found:
    """Power iteration with deflation: the largest by magnitude only; it has no other end."""
    import torch
    from pyhessian import hessian

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with _in_torch(problem, weights) as (model, inputs, targets):
            torch.manual_seed(0)
            theirs = hessian(model, torch.nn.CrossEntropyLoss(), data=(inputs, targets), cuda=False)
            count, inner = 0, _theirs()

            def counted(*arguments: Any) -> Any:
                nonlocal count
                count += 1
                return inner(*arguments)

            with _replaced(counted):
                begun = time.perf_counter()
                values, vectors = theirs.eigenvalues(maxIter=200, tol=TOLERANCE, top_n=COUNT)
                seconds = time.perf_counter() - begun
            begun = time.perf_counter()
            for _ in range(20):
                inner(theirs.gradsH, theirs.params, vectors[0])
            bare = (time.perf_counter() - begun) / 20 * count
            order = _torch_order(problem, problem.size)
            rows = np.empty((len(values), problem.size))
            for row, vector in zip(rows, vectors, strict=True):
                row[order] = np.concatenate([part.detach().numpy().ravel() for part in vector])
    return Found(np.asarray(values), rows, count, seconds, bare)


def _theirs() -> Any:
    """PyHessian's Hessian-vector product."""
    return importlib.import_module("pyhessian.hessian").hessian_vector_product


@contextlib.contextmanager
def _replaced(product: Any) -> Iterator[None]:
    # The package's attribute of this name is a class, which hides the module.
    module: Any = importlib.import_module("pyhessian.hessian")
    before = module.hessian_vector_product
    module.hessian_vector_product = product
    try:
        yield
    finally:
        module.hessian_vector_product = before


METHODS: dict[str, tuple[str, Callable[[Problem, Any, float], Found]]] = {
    "gradlab": ("gradlab", _ours),
    "eigsh, shifted": ("scipy", _eigsh),
    "curvlinops + eigsh, shifted": ("curvlinops", _curvlinops),
    "matfree, 320 steps": ("matfree", _matfree),
    "PyHessian, top 10": ("pyhessian", _pyhessian),
}


def judged(found: Found, reference: np.ndarray, operator: Hessian, scale: float) -> dict[str, Any]:
    """Residuals by one operator for all, and how many of the reference's values have no partner of their own."""
    lengths = np.linalg.norm(found.vectors, axis=1, keepdims=True)
    vectors = found.vectors / lengths
    residuals = np.linalg.norm(operator(vectors) - found.values[:, None] * vectors, axis=1)
    left, missed = list(found.values), 0
    for value in reference:
        near = min(left, key=lambda other: abs(other - value), default=math.inf)
        if abs(near - value) <= 10.0 * TOLERANCE * scale:
            left.remove(near)
        else:
            missed += 1
    with np.errstate(divide="ignore"):
        relative = float(np.max(residuals / np.abs(found.values)))
    return {
        "products": found.products,
        "seconds": found.seconds,
        "seconds/bare": found.seconds / found.bare,
        "missed of 20": missed,
        "worst residual/norm": float(np.max(residuals) / scale),
        "worst residual/|λ|": relative,
    }


def ends(steps: int, tell: Callable[[str], None] = lambda name: None) -> list[dict[str, Any]]:
    """Both ends of the network's spectrum, a row a method."""
    problem, weights = network(steps)
    name, operator = f"784-64-10 tanh, {steps} steps", Hessian(problem, weights)
    tell(f"{name}: tighter run")
    tight = spectrum(operator, None, COUNT, tolerance=1e-9, block=8, seed=1)
    rows = []
    for method, (module, solve) in METHODS.items():
        row: dict[str, Any] = {"problem": name, "method": method}
        tell(f"{name}: {method}")
        if importlib.util.find_spec(module) is None:
            rows.append(row | {"note": f"skipped: {module} is not installed"})
            continue
        try:
            found = solve(problem, weights, tight.scale)
            rows.append(row | judged(found, tight.values, operator, tight.scale))
        except Exception as error:  # a peer that breaks is a result
            rows.append(row | {"note": f"{type(error).__name__}: {error}".splitlines()[0][:160]})
    tell(f"{name}: density")
    recorded = _recorded(problem, weights)
    begun = time.perf_counter()
    measured = density(recorded)
    seconds = time.perf_counter() - begun
    bare = _bare(recorded.apply, recorded.size, recorded.widths)
    row = {"problem": name, "method": "gradlab, spectral density", "products": measured.products}
    rows.append(row | {"seconds": seconds, "seconds/bare": seconds / bare})
    return rows


# Matrices with known spectra ---------------------------------------------------------------------------------


def _turned(values: np.ndarray) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((len(values), len(values))))[0]
    return 0.5 * ((q * values) @ q.T + ((q * values) @ q.T).T)


def matrices() -> dict[str, np.ndarray]:
    """By name, at most 210 rows each."""
    bulk = np.random.default_rng(3).uniform(-1.0, 1.0, 150)
    return {
        "zero": np.zeros((120, 120)),
        "identity": np.eye(90),
        "diag(0, …, 0, 1, …, 20)": np.diag(np.r_[np.zeros(180), np.arange(1.0, 21.0)]),
        "twelvefold ends": _turned(np.r_[np.repeat([-5.0, -4.0, 3.0, 7.0], 12), bulk]),
        "clusters": _turned(np.r_[5.0 + 1e-9 * np.arange(15), -2.0 - 1e-7 * np.arange(13), bulk]),
        "geometric": _turned(2.0 ** -np.arange(100.0)),
    }


def _by_matfree(matrix: np.ndarray) -> np.ndarray:
    from matfree import decomp, eig

    start = jnp.asarray(np.random.default_rng(0).standard_normal(len(matrix)))
    solve = eig.eigh_partial(decomp.tridiag_sym(60, reortho="full"))
    values = np.sort(np.asarray(solve(lambda v: jnp.asarray(matrix) @ v, start)[0]))
    return np.r_[values[:5], values[-5:]]


def _by_eigsh(matrix: np.ndarray) -> np.ndarray:
    start = np.random.default_rng(0).standard_normal(len(matrix))
    parts = [
        np.sort(scipy.sparse.linalg.eigsh(matrix, 5, which=which, tol=1e-8, v0=start)[0])
        for which in ("SA", "LA")
    ]
    return np.concatenate(parts)


def _by_ours(matrix: np.ndarray) -> np.ndarray:
    return spectrum(Matrix(matrix), None, 5, method="lanczos", tolerance=1e-8).values


def suite() -> list[dict[str, Any]]:
    """The error of the five smallest and five largest over the norm (over 1 for the zero operator)."""
    rows = []
    for name, matrix in matrices().items():
        true = np.linalg.eigvalsh(matrix)
        expected, norm = np.r_[true[:5], true[-5:]], float(np.max(np.abs(true))) or 1.0
        row: dict[str, Any] = {"matrix": name}
        for method, module, solve in (
            ("gradlab", "gradlab", _by_ours), ("eigsh", "scipy", _by_eigsh), ("matfree", "matfree", _by_matfree)
        ):  # fmt: skip
            if importlib.util.find_spec(module) is None:
                row[method] = f"{module} is not installed"
                continue
            try:
                row[method] = float(np.max(np.abs(solve(matrix) - expected)) / norm)
            except Exception as error:  # a peer that breaks is a result
                row[method] = f"{type(error).__name__}: {error}".splitlines()[0][:80]
        rows.append(row)
    return rows


def rows(quick: bool, tell: Callable[[str], None] = lambda name: None) -> list[dict[str, Any]]:
    """The suite, then the network at its start and (not when quick) after training."""
    tell("matrices with known spectra")
    found = suite()
    if (why := has_data("mnist")) is not None:
        return [*found, {"problem": "784-64-10", "note": why}]
    for steps in (0,) if quick else (0, 300):
        found += ends(steps, tell)
    return found


def table(found: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and body of the rows on the network; of the suite where there are no others."""
    chosen = [row for row in found if "problem" in row] or found
    head = list(dict.fromkeys(key for row in chosen for key in row))
    return head, [[_cell(row.get(key)) for key in head] for row in chosen]


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
