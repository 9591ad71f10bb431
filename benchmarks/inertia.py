"""Random problems whose inertia is known exactly: is a wrong word ever decided, and how often is none?

Six families. Scales are powers of two up to 2^±26 (some 1e±8), so that they round nothing.

* ``forms``: ½ vᵀ B v, v = w/s, B = K diag(D) Kᵀ with K unit lower triangular, all whole numbers: inertia that of D.
* ``units``: a linear net with features in raw units, some of them copies: no negative eigenvalue, one zero a copy.
* ``separated``: logistic loss, most examples far on the right side, a few pairs of both labels: (0, 0, P), or, without
  the pairs, no equilibrium at all.
* ``students``: a tanh student at a zero of the square loss, neurons doubled or not: zeros are P − (number of different
  neurons)(d + 1).
* ``strata``: the critical points of two linear layers, ½‖W₂W₁ − M‖²: r of k singular values s learnt, h units,
  has r² + 2 r (h − r) zeros, (h − r)(k − r) + #{(a, i): a learnt, i not, s_i > s_a} negative eigenvalues; moved by
  random base changes and units.
* ``origins``: three linear layers at 0, where the Hessian is 0 and the third derivative is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import gradlab as gl

#: Decades of the scales, as a power of two.
REACH = 26


class Case(NamedTuple):
    """A problem, a point near its equilibrium, the exact inertia (None: there is no equilibrium) and kind."""

    name: str
    problem: Any
    weights: Any
    inertia: tuple[int, int, int] | None
    kind: str | None


@dataclass(frozen=True)
class Outcome:
    """What was said of a case. wrong : a decided word or count that is false. silent : no kind was decided."""

    name: str
    said: str
    true: str
    wrong: bool
    silent: bool
    uncounted: bool
    seconds: float


def _scales(rng: np.random.Generator, count: int) -> np.ndarray:
    return 2.0 ** rng.integers(-REACH, REACH + 1, count)


def _quadratic(w: Any, x: Any) -> Any:
    """Row n of x is s and B in turn: ½ Σ B_ij (w_i/s_i)(w_j/s_j)."""
    size = w.shape[0]
    v = w / x[:, :size]
    B = x[:, size:].reshape(-1, size, size)
    return 0.5 * jnp.einsum("ni,nij,nj->n", v, B, v)


def _value(f: Any, y: Any) -> Any:
    return f[:, 0]


_FORMS = {
    size: gl.Function(
        _quadratic, lambda key, size=size: jnp.zeros(size), input_shape=size + size**2, outputs=1
    )
    for size in (3, 5)
}
_OWN = gl.losses.CustomLoss(_value)


def forms(rng: np.random.Generator) -> Case:
    size = int(rng.choice((3, 5)))
    D = rng.choice((-3, -2, -1, 0, 1, 2, 3), size, p=(0.15, 0.1, 0.1, 0.06, 0.24, 0.2, 0.15))
    K = np.tril(rng.integers(-2, 3, (size, size)), -1) + np.eye(size, dtype=int)
    B, s = K @ np.diag(D) @ K.T, _scales(rng, size)
    row = np.concatenate([s, B.ravel()]).astype(float)[None]
    problem = gl.Problem(_FORMS[size], _OWN, gl.Data(row, [[0.0]]))
    counts = int(np.sum(D < 0)), int(np.sum(D == 0)), int(np.sum(D > 0))
    both = counts[0] and counts[2]
    kind: str | None = "strict saddle" if both else "minimum" if not counts[0] else "maximum"
    if counts[1] == size:
        kind = None
    return Case("forms", problem, np.zeros(size), counts, kind)


def units(rng: np.random.Generator) -> Case:
    X = rng.integers(-8, 9, (24, 3)) / 4.0
    X = np.concatenate([X, X[:, :1]], axis=1)
    copies = int(rng.integers(2))
    if not copies:
        X[:, 3] = rng.integers(-8, 9, 24) / 4.0
    X = X * _scales(rng, 4)
    if rng.integers(2):
        labels = np.tile([1.0, -1.0], 12)
        X[1::2] = X[::2]  # both labels at every point: never separable
        labels[:4] = 1.0
        problem = gl.Problem(gl.Dense((4, 1), "identity"), gl.Logistic(), gl.Data(X, labels))
        X_rank = np.linalg.matrix_rank(X[4:] / np.abs(X).max(axis=0))
        if X_rank < 4 - copies:
            return units(rng)
        return Case("units", problem, (np.zeros((1, 4)),), (0, copies, 4 - copies), "minimum")
    Y = rng.standard_normal((24, 1))
    problem = gl.Problem(gl.Dense((4, 1), "identity"), gl.Square(), gl.Data(X, Y))
    start = np.linalg.lstsq(X / np.abs(X).max(axis=0), Y, rcond=1e-10)[0].T / np.abs(X).max(axis=0)
    return Case("units", problem, (start,), (0, copies, 4 - copies), "minimum")


def separated(rng: np.random.Generator) -> Case:
    far = 1.0 + np.abs(rng.standard_normal((20, 1)) * float(rng.choice((1.0, 3.0, 10.0))))
    X = np.concatenate([far, rng.standard_normal((20, 2))], axis=1)
    labels = rng.choice((-1.0, 1.0), 20)
    X = X * np.where(np.arange(3) == 0, labels[:, None], 1.0)
    pairs, attained = rng.standard_normal((4, 3)) * [0.1, 1.0, 1.0], bool(rng.integers(3))
    if not attained:
        pairs[:, 0] = np.abs(pairs[:, 0]) + 0.1
    own = np.tile(pairs, (2, 1)) if attained else np.concatenate([pairs, -pairs])
    s = _scales(rng, 3)
    signs = np.concatenate([np.ones(4), -np.ones(4)])
    data = gl.Data(np.concatenate([X, own]) * s, np.concatenate([labels, signs]))
    problem = gl.Problem(gl.Dense((3, 1), "identity"), gl.Logistic(), data)
    start = (_newton(np.concatenate([X, own]), np.concatenate([labels, signs]))[None] / s,)
    return Case("separated", problem, start, (0, 0, 3) if attained else None, "minimum" if attained else None)


def _newton(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    w = np.zeros(X.shape[1])
    for _ in range(60):
        p = 1.0 / (1.0 + np.exp(np.clip(y * (X @ w), -700.0, 700.0)))
        H = (X.T * (p * (1.0 - p))) @ X + 1e-14 * np.eye(len(w))
        step = np.linalg.solve(H, X.T @ (y * p))
        w = w + step / max(1.0, 0.5 * float(np.linalg.norm(step)))
    return w


def students(rng: np.random.Generator) -> Case:
    different = int(rng.integers(1, 4))
    s = _scales(rng, 2)
    A = rng.standard_normal((different, 2))[
        np.concatenate([np.arange(different), np.zeros(3 - different, int)])
    ]
    b = rng.choice((-1.0, 1.0), (1, 3)) * rng.uniform(0.5, 1.5, (1, 3))
    X = rng.standard_normal((30, 2))
    Y = np.tanh(X @ A.T) @ b.T
    problem = gl.Problem(gl.Dense((2, 3, 1), "tanh"), gl.Square("mean"), gl.Data(X * s, Y))
    return Case("students", problem, (A / s, b), (0, 9 - 3 * different, 3 * different), "minimum")


def strata(rng: np.random.Generator) -> Case:
    k, h = 3, int(rng.choice((3, 4)))
    values = np.sort(rng.choice(np.arange(2, 12), k, replace=False)).astype(float)
    U, V = (np.linalg.qr(rng.standard_normal((k, k)))[0] for _ in range(2))
    learnt = np.flatnonzero(rng.integers(2, size=k))
    r, rest = len(learnt), np.setdiff1d(np.arange(k), learnt)
    W1, W2 = np.zeros((h, k)), np.zeros((k, h))
    for unit, a in enumerate(learnt):
        W1[unit], W2[:, unit] = np.sqrt(values[a]) * V[:, a], np.sqrt(values[a]) * U[:, a]
    base = np.linalg.qr(rng.standard_normal((h, h)))[0] * 2.0 ** rng.integers(-3, 4, h)
    s = 2.0 ** rng.integers(-REACH // 2, REACH // 2 + 1, k)
    W1, W2 = np.linalg.solve(base, W1) / s, W2 @ base
    data = gl.Data(np.diag(s), ((U * values) @ V.T).T)
    negative = (h - r) * (k - r) + int(np.sum(values[rest][:, None] > values[learnt]))
    zero = r * r + 2 * r * (h - r)
    problem = gl.Problem(gl.Dense((k, h, k), "identity"), gl.Square(half=True), data)
    kind = "minimum" if r == k else "strict saddle"
    return Case("strata", problem, (W1, W2), (negative, zero, 2 * h * k - negative - zero), kind)


def origins(rng: np.random.Generator) -> Case:
    X = rng.standard_normal((6, 2)) * _scales(rng, 2)
    problem = gl.Problem(
        gl.Dense((2, 2, 2, 1), "identity"), gl.Square(), gl.Data(X, rng.standard_normal((6, 1)))
    )
    return Case(
        "origins",
        problem,
        tuple(np.zeros(a.shape) for a in problem.network.shapes()),
        (0, 10, 0),
        "non-strict saddle",
    )


FAMILIES: tuple[tuple[Callable[[np.random.Generator], Case], int], ...] = (
    (forms, 5), (units, 5), (separated, 4), (students, 3), (strata, 5), (origins, 1),
)  # fmt: skip


def cases(count: int, seed: int = 0) -> list[Case]:
    """``count`` cases, the families in their shares."""
    rng = np.random.default_rng(seed)
    turn = [family for family, share in FAMILIES for _ in range(share)]
    return [turn[k % len(turn)](rng) for k in range(count)]


def judged(case: Case) -> Outcome:
    """What :func:`gradlab.classify` says, against what is true."""
    begun = time.perf_counter()
    found = gl.classify(case.problem, case.weights)
    seconds = time.perf_counter() - begun
    count = found.inertia
    counted = count is not None and count.decided
    said = (count.negative, count.zero, count.positive) if counted else None
    wrong = found.kind not in ("undecided", "degenerate") and found.kind != case.kind
    wrong |= counted and said != case.inertia
    wrong |= found.hyperbolic is not None and (
        case.inertia is None or found.hyperbolic != (case.inertia[1] == 0)
    )
    wrong |= "saddle" in found.kind and not _lies_lower(case, found)
    return Outcome(
        case.name, f"{found.kind} {said or 'not counted'}: {found.why}", f"{case.kind} {case.inertia}", bool(wrong),
        found.kind == "undecided" and case.inertia is not None, not counted and case.inertia is not None, seconds,
    )  # fmt: skip


def _lies_lower(case: Case, found: Any) -> bool:
    return found.witness is not None and bool(
        case.problem.potential(found.witness.weights) <= case.problem.potential(found.weights)
    )


#: Cases by budget.
COUNTS = {"quick": 23, "full": 230}


def rows(budget: str, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row a family: how many words were decided wrongly (their sentences beside them), and how many not at all."""
    outcomes = []
    for number, case in enumerate(cases(COUNTS[budget], seed=1)):
        tell(f"inertia {number}: {case.name}")
        outcomes.append(judged(case))
    found = []
    for name in [family.__name__ for family, _ in FAMILIES] + ["all"]:
        ours = [one for one in outcomes if name in (one.name, "all")]
        found.append({
            "family": name, "cases": len(ours), "wrong": sum(one.wrong for one in ours),
            "kind undecided": sum(one.silent for one in ours), "inertia undecided": sum(one.uncounted for one in ours),
            "seconds": sum(one.seconds for one in ours),
            "what": "; ".join(f"said {one.said}, true {one.true}" for one in ours if one.wrong),
        })  # fmt: skip
    return found
