"""cohen.flow-global: from a balanced start whose loss is below that of every singular matrix, to the global minimum?

Printed: ℓ convex, W_1, …, W_N balanced, ℓ(W_{1:N}) < ℓ(W) for every singular W, then gradient flow converges to the
global minimum. Why it should: ℓ falls, so that W stays in the convex set S = {ℓ ≤ ℓ(W(0))}, which holds no singular
matrix; there P_W is positive definite, and ℓ falls until ∇ℓ = 0. What is silently needed is that S is bounded. It is
if ℓ has a minimum and its set of minimisers is bounded; strict convexity is not needed. Without a minimum, as for the
logistic loss of separable data, the hypotheses can be met and the flow converges to nothing: ‖W‖ → ∞
(docs/notes/cohen.flow-global.md). That the loss still goes to its infimum is seen, and is proved in the note for one
output and for a common singular basis.

The border. ℓ_2: the least of ‖(W − Φ)Λ^{1/2}‖² over singular W is σ_min(ΦΛ^{1/2})², Λ = (1/m) Σ x xᵀ: exact. ℓ_4: by
the power mean ℓ_4 ≥ ℓ_2²/k with k outputs: a bound from below. One output: the singular W is 0 alone.

Settings, before any run. Depth 2, widths 3-3-3, the mean square loss of 8 examples, whitened or not, targets with
noise 0.1; depth 3, widths 2-2-2-2, ℓ_4 of 8 examples, the same noise; depth 4, widths 3-2-2-2-1, the logistic loss of
16 examples, four of them with both labels, or separable. Excess of ℓ at the start 0.25, 0.9 or 0.99 of that of the
border, in random directions or towards the nearest singular matrix (ℓ_2). dopri8 at 1e-9 to t = 100, 1000, 1000.
Beside, outside the hypotheses: the least singular value of the other sign, and unbalanced layers.

Tolerances. The flow's steps have 1e-9: an excess of 1e-6 of that of the start is asked. A limit: over the last half
of the time W moves by less than 1 %; ‖W‖ ~ log t moves by log 2/log 1000, 10 %. Where rates are compared, 1e-6, from
the drift of balance.

Changed after a first run: for its cost times (200, 2000 and 10⁴), and the solver (the laboratory's choice); the noise
of ℓ_4, 0.02, with which ∇²ℓ is so nearly singular at the minimum that the excess was 4e-6 at t = 1000 and still
falling.
"""

from functools import cached_property
from typing import Any

import numpy as np
import scipy.optimize

from gradlab.analysis import linear_nets
from gradlab.analysis.equilibria.minimising import minimum, potential
from gradlab.analysis.linear_nets import Matrices
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.linear_net import LinearFlow
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic, Lp, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

INSIDE, FLIPPED, UNEVEN = "inside", "flipped", "unbalanced"
SQUARE, QUARTIC, MIXED, SEPARABLE = "ℓ₂", "ℓ₄", "logistic", "separable"


class FlowGlobal(LinearFlow):
    """A gradient flow of the layers, the least loss, and the loss on the border of the singular matrices."""

    setting = "a linear net of two layers or more, no hidden width below the outer ones, a convex loss of its product"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        if not super().speaks_of(problem) or not isinstance(problem.loss, (Square, Lp, Logistic)):
            return False
        widths = _widths(problem)
        return min(widths) == min(widths[0], widths[-1])

    @cached_property
    def least(self) -> float:
        """inf ℓ: of the minimum, or 0 for separable data."""
        return least(self.problem)[1]

    @cached_property
    def border(self) -> float:
        """The least loss of a singular matrix, or what it is not below."""
        return singular_border(self.problem)

    @cached_property
    def losses(self) -> np.ndarray:
        """ℓ at every record."""
        return self.slopes[0]

    @cached_property
    def excess(self) -> np.ndarray:
        """(ℓ − inf ℓ) over that of the start."""
        return (self.losses - self.least) / (self.losses[0] - self.least)

    @cached_property
    def rounded(self) -> float:
        """Rounding of an excess."""
        return 100.0 * EPS * float(self.losses[0] / (self.losses[0] - self.least))

    @cached_property
    def singular(self) -> np.ndarray:
        """σ_min(W) at every record."""
        return np.linalg.svd(self.products, compute_uv=False)[:, -1]

    @cached_property
    def attained(self) -> bool:
        """Whether ℓ has a minimum and a bounded set of minimisers."""
        return attained(self.problem)

    @at_most(1e-12, role="hypothesis")
    def balanced(self) -> Number:
        """‖(W_{j+1}ᵀW_{j+1} − W_jW_jᵀ)_j‖ at the start, relative to Σ‖W_j‖².

        Balanced layers are made to rounding.
        """
        return Number(
            float(np.linalg.norm(linear_nets.conserved(self.matrices[0]))) / self.square_norms[0], 1e-15
        )

    @at_most(1.0 - 1e-6, role="hypothesis")
    def below(self) -> Number:
        """The excess of ℓ at the start over that of the nearest singular matrix.

        Below one, by more than rounding.
        """
        value = (self.losses[0] - self.least) / (self.border - self.least)
        return Number(float(value), 1e-9)

    @at_least(1.0 - 1e-6, sentence="decreases")
    def dissipates(self) -> float:
        """The least of ‖∇_{layers}L‖² over σ_min(W)^{2(N−1)/N} ‖∇ℓ(W)‖², at all records before rounding.

        P_W is no less than σ_min^{2(N−1)/N}; the drift of balance, 1e-8.
        """
        flat = _flat(self.problem)
        outer = values_and_gradients(flat, self.products.reshape(len(self.products), -1))[1]
        square = np.sum(outer**2, axis=1)
        bound = self.singular ** (2.0 * (self.depth - 1) / self.depth) * square
        seen = square > 1e-12 * square[0]
        return float(np.min(np.sum(self.slopes[1] ** 2, axis=1)[seen] / bound[seen]))

    @at_most(1e-9, sentence="decreases")
    def falls(self) -> Number:
        """The largest rise of the excess from one record to the next.

        ℓ falls; steps of 1e-9 and rounding.
        """
        return Number(float(max(np.diff(self.excess).max(), 0.0)), self.rounded)

    @at_most(
        1e-6,
        sentence="converges",
        changed="ℓ_4 had noise 0.02 at first, and still fell; what falls in the end is now its error",
    )
    def reaches(self) -> Number | None:
        """The excess of ℓ over its minimum at the end.

        See the module's docstring; what it still fell by in the last half of the time is its error. Not asked where
        there is no minimum.
        """
        falling = max(float(self.excess[self.late] - self.excess[-1]), 0.0)
        return Number(float(self.excess[-1]), self.rounded + falling) if self.attained else NOT_ASKED

    @at_most(1e-2, sentence="converges")
    def settles(self) -> Number:
        """How far W moves in the last half of the time, over its norm at the end.

        A limit, see the module's docstring.
        """
        size = float(np.linalg.norm(self.products[-1]))
        return Number(float(np.linalg.norm(self.products[-1] - self.products[self.late])) / size, 1e-12)

    @cached_property
    def late(self) -> int:
        """The record nearest to half of the time."""
        return int(np.argmin(np.abs(self.time - 0.5 * self.time[-1])))

    def shown(self):
        # an excess below rounding is drawn there
        return {
            "t": ("record", self.time[1:]),
            "level": ("record", np.maximum(self.excess[1:], 1e-16)),
            "size": ("record", np.linalg.norm(self.products[1:], axis=(1, 2))),
            "reached": max(float(self.excess[-1]), 1e-16) if self.attained else np.nan,
            "near": float((self.losses[0] - self.least) / (self.border - self.least)),
        }


class FlowGlobalCorrected(FlowGlobal):
    """With a minimum, and a bounded set of minimisers."""

    @at_least(0.5, role="hypothesis", exact=True)
    def minimum(self) -> float:
        """One if ℓ has a minimum and a bounded set of minimisers.

        Seen from the data, by a rank and a linear program.
        """
        return float(self.attained)


def _widths(problem: Problem) -> tuple[int, ...]:
    """Of a chain of matrices, which it is."""
    network = linear_nets.matrix_chain(problem)
    assert network is not None  # speaks_of
    return network.widths


def _flat(problem: Problem) -> Problem:
    """ℓ(W) as a problem of one layer."""
    widths = _widths(problem)
    return Problem(Dense.deep_linear((widths[0], widths[-1])), problem.loss, problem.data)


def least(problem: Problem) -> tuple[np.ndarray, float]:
    """A minimiser of the convex ℓ and its minimum; a separator and 0 of separable data under the logistic loss."""
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    flat = _flat(problem)
    if isinstance(problem.loss, Logistic):
        found = scipy.optimize.linprog(
            np.zeros(x.shape[1]), -y[:, None] * x, -np.ones(len(x)), bounds=(None, None)
        )
        if found.status == 0:
            return found.x[None], 0.0
        start = np.zeros((1, x.shape[1]))
    else:
        start = np.linalg.lstsq(x, y, rcond=None)[0].T
    vector = start.ravel() if isinstance(problem.loss, Square) else minimum(flat, start.ravel())
    return vector.reshape(start.shape), potential(flat, vector)


def attained(problem: Problem) -> bool:
    """Whether ℓ grows in every direction.

    X has full rank, and under the logistic loss there is no W ≠ 0 with y_n W x_n ≥ 0 for all n.
    """
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return False
    if not isinstance(problem.loss, Logistic):
        return True
    signed = y[:, None] * x
    found = scipy.optimize.linprog(
        -signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(x)), bounds=(-1.0, 1.0)
    )
    return bool(-found.fun < 1e-9 * np.abs(signed).sum())


def singular_border(problem: Problem) -> float:
    """The least ℓ of a singular W; under ℓ_4 a number that it is not below. The losses are means over examples."""
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    if isinstance(problem.loss, Logistic):
        return float(np.log(2.0))
    phi = np.linalg.lstsq(x, y, rcond=None)[0].T
    gram = np.linalg.cholesky(x.T @ x / len(x))
    square = float(np.sum((x @ phi.T - y) ** 2)) / len(x)
    square += float(np.linalg.svd(phi @ gram, compute_uv=False)[-1]) ** 2
    return square if isinstance(problem.loss, Square) else square**2 / y.shape[1]


# Problems and starts ----------------------------------------------------------------------------------------


def _matrix(rng: np.random.Generator, rows: int, columns: int, low: float) -> np.ndarray:
    """A matrix with singular values from ``low`` to 1.5 in random bases."""
    full = min(rows, columns)
    left, right = linear_net.rotation(rng, rows)[:, :full], linear_net.rotation(rng, columns)[:, :full]
    return (left * rng.uniform(low, 1.5, full)) @ right.T


def _problem(rng: np.random.Generator, widths: tuple[int, ...], kind: str, white: bool) -> Problem:
    """Data of a family, see the module's docstring."""
    count = 8 if kind in (SQUARE, QUARTIC) else 16
    x = rng.standard_normal((count, widths[0]))
    if white:
        x = np.sqrt(count) * np.linalg.qr(x)[0]
    phi = _matrix(rng, widths[-1], widths[0], 0.7)
    if kind in (SQUARE, QUARTIC):
        y = x @ phi.T + 0.1 * rng.standard_normal((count, widths[-1]))
        return Problem(
            Dense.deep_linear(widths), Square("mean") if kind == SQUARE else Lp(4.0, "mean"), Data(x, y)
        )
    labels = np.where(x @ phi[0] >= 0.0, 1, -1)
    if kind == MIXED:
        x[:PAIRS], labels[:PAIRS] = x[PAIRS : 2 * PAIRS], -labels[PAIRS : 2 * PAIRS]
    return Problem(Dense.deep_linear(widths), Logistic("mean"), Data(x, labels))


def _nearest(problem: Problem, W: np.ndarray) -> np.ndarray:
    """The way from the least-squares solution to the nearest singular matrix, which it reaches at length 1."""
    x = np.asarray(problem.data.inputs)
    gram = np.linalg.cholesky(x.T @ x / len(x))
    left, values, right = np.linalg.svd(W @ gram, full_matrices=False)
    return np.linalg.solve(gram.T, -values[-1] * np.outer(right[-1], left[:, -1])).T


def _product(
    rng: np.random.Generator, problem: Problem, kind: str, start: str, share: float, aside: bool
) -> np.ndarray:
    """W(0), its excess the share of that of the border; or half as far again as the nearest singular matrix."""
    flat, (W, low), high = _flat(problem), least(problem), singular_border(problem)
    if start == FLIPPED:
        return W + 1.5 * _nearest(problem, W)
    way = rng.standard_normal(W.shape)
    if kind == SQUARE and not aside:
        way = _nearest(problem, W)
    goal = low + share * (high - low)
    if kind == SEPARABLE:
        # from 0, where ℓ is that of the border, towards a separator
        way, W = W, np.zeros_like(W)
        return scipy.optimize.brentq(lambda r: potential(flat, r * way.ravel()) - goal, 0.0, 1e3) * way
    far = scipy.optimize.brentq(lambda r: potential(flat, (W + r * way).ravel()) - goal, 0.0, 1e3, xtol=1e-14)
    return W + far * way


def _layers(rng: np.random.Generator, W: np.ndarray, widths: tuple[int, ...], start: str) -> Matrices:
    """Balanced layers; unbalanced, the first tripled and the last divided by 3."""
    layers = linear_net.balanced(rng, W, widths)
    return (3.0 * layers[0], *layers[1:-1], layers[-1] / 3.0) if start == UNEVEN else layers


def cases(key, *, plans, draws):
    """Every family: near the border and far from it, and outside the hypotheses."""
    rng = generator(key)
    for widths, kinds, until in plans:
        drawn = []
        for number in range(draws):
            for kind in kinds:
                for i, (start, share) in enumerate(STARTS):
                    if start == FLIPPED and widths[-1] == 1:
                        continue
                    white = kind == SQUARE and (i + number) % 2 == 0
                    problem = _problem(rng, widths, kind, white)
                    W = _product(rng, problem, kind, start, share, aside=i % 3 == 0)
                    facts = {
                        "loss": kind,
                        "depth": len(widths) - 1,
                        "start": start,
                        "share": share,
                        "draw": number,
                    }
                    drawn.append((problem, _layers(rng, W, widths, start), facts))
        yield from ensemble(
            GradientFlow, drawn, np.geomspace(1e-2, until, 33), solver=Adaptive("dopri8", 1e-9)
        )


STARTS = ((INSIDE, 0.25), (INSIDE, 0.9), (INSIDE, 0.99), (FLIPPED, 0.25), (UNEVEN, 0.25))
PAIRS = 4
QUICK = (
    ((3, 3, 3), (SQUARE,), 100.0),
    ((2, 2, 2, 2), (QUARTIC,), 1000.0),
    ((3, 2, 2, 2, 1), (MIXED, SEPARABLE), 1000.0),
)
FULL = (
    ((4, 4, 3), (SQUARE,), 100.0),
    ((3, 3, 3, 3, 3), (SQUARE,), 100.0),
    ((2, 2, 2, 2, 2), (QUARTIC,), 1000.0),
)

BUDGETS: dict[str, Any] = {
    "quick": {"plans": QUICK, "draws": 1},
    "full": {"plans": QUICK + FULL, "draws": 4},
    "few": {"plans": (QUICK[0], QUICK[2])},
}
FIGURE = Figure(
    Panel(
        "level",
        "t",
        r"excess of $\ell$ over that of the start",
        "$t$",
        by=("loss",),
        log="xy",
        lines=True,
        each=1,
    ),
    Panel("size", "t", r"$\|W\|$", "$t$", by=("loss",), log="xy", lines=True, each=1),
    Panel(
        "reached",
        "near",
        "excess at the end",
        "excess at the start over that of the border",
        by=("start",),
        log="xy",
    ),
    caption="Left: the loss above its infimum, one start of each loss. Right: the norm of W; without a minimum "
    "(separable data) it grows like log t. Below: the excess at the end against how near the border the start is; "
    "beyond 1, and unbalanced, nothing is claimed (with two layers rounding leads away from the saddle).",
)

STUDIES = tuple(
    study(name, look, cases, **BUDGETS, settings=section(__doc__, "Settings"), figure=FIGURE)
    for name, look in (
        ("cohen.flow-global", FlowGlobal),
        ("cohen.flow-global-corrected", FlowGlobalCorrected),
    )
)
