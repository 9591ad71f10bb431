"""memo90.distinct-eigenvalues: how many eigenvalues of Hessians are distinct, for linear nets and at zero square loss.

What is printed (section 12.3). "For both the exponential losses and the square loss on linear networks, the Hessian
is positive semi-definite everywhere … with the number of distinct eigenvalues bounded by N … For the deep nonlinear
networks, the Hessian can in general have negative eigenvalues, and only at a minimum of GD it become positive
semi-definite. Interestingly, for the square loss at w* the Hessian has also at most N distinct eigenvalues."

How it is counted. A sum of N outer products has at most N eigenvalues that are not zero; with zero, which is one
where N is less than the number of weights, there are N + 1: a misprint of the constant, as in memo90.gauss-newton.
One output; several outputs under the square loss repeat the same N. (Three classes under cross-entropy have up to 2N;
the memo has one output.)

Settings, before any run. One layer: square, exponential and logistic loss, N = 4 in d = 7 and N = 7 in d = 4, random,
orthogonal, repeated inputs, at normal weights; two outputs under the square loss; three classes under cross-entropy.
Nets at the weights that made their targets, and at 12 normal points of spread 1 beside: deep linear, tanh, ReLU,
residual.

Tolerances. Counts are known between bounds (analysis/equilibria/counting.py): equal, zero and distinct by a factor of
a thousand. A negative eigenvalue is one beyond −1e-6 of the largest.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.claims.cases import Case, case, generator
from gradlab.claims.looks.points import PlainPoint
from gradlab.claims.measured import NOT_ASKED, Number, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import teachers
from gradlab.claims.studies import section, study
from gradlab.observe import local
from gradlab.problem.activations import smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Square
from gradlab.problem.networks import Dense, Residual
from gradlab.problem.problem import Problem

STARTS = 12


class DistinctEigenvalues(PlainPoint):
    """Counts at a point; beside a zero of a net, eigenvalues at other points."""

    @property
    def shallow(self) -> bool:
        """Whether there is one linear layer."""
        network = self.problem.network
        return isinstance(network, Dense) and len(network.widths) == 2

    @property
    def zero(self) -> bool:
        """Whether the point is a zero of the square loss of a deep net."""
        return not self.shallow

    @property
    def bound(self) -> float:
        """What rounding can change of an eigenvalue; at a zero, and residuals."""
        return self.eigen.bound_at_zero if self.zero else self.eigen.bound

    @cached_property
    def around(self) -> np.ndarray:
        """Least eigenvalue over the largest in size, at the points beside, (12,)."""
        found = []
        for vector in self.trajectory["around"].values:
            values = np.linalg.eigvalsh(local.local(self.problem, vector).hessian)
            # where all units are off there is no Hessian
            found.append(values[0] / (np.abs(values).max() or 1.0))
        return np.asarray(found)

    def counted(self, zero: bool, *, nonzero: bool) -> Number | None:
        """Distinct eigenvalues less N where the point is of that kind; several outputs under the square loss alone."""
        one = self.problem.network.outputs == 1
        if self.zero != zero or not (one or (not zero and isinstance(self.problem.loss, Square))):
            return NOT_ASKED
        return self.distinct(self.examples, nonzero=nonzero)

    @at_most(0.5, sentence="semidefinite")
    def negative(self) -> Number | None:
        """Negative eigenvalues of a linear net of one layer, at any weights.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return NOT_ASKED if self.zero else self.below_zero()

    @at_most(0.5, sentence="linear")
    def besides_zero(self) -> Number | None:
        """Distinct eigenvalues besides zero less N, of such a net.

        A whole number; its error are gaps that are neither rounding nor clear of it.
        """
        return self.counted(False, nonzero=True)

    @at_most(0.5, sentence="linear", role="print", repaired="besides_zero")
    def beyond(self) -> Number | None:
        """Distinct eigenvalues less N, zero counted as printed.

        A whole number, as above.
        """
        return self.counted(False, nonzero=False)

    @at_most(-1e-6, sentence="nonlinear")
    def somewhere(self) -> Number | None:
        """Least eigenvalue of a deep net over the largest in size, at the worst of 12 points that are no minimum.

        They "can" be negative: one is enough; eigenvalues are rounded at 1e-14.
        """
        return Number(float(self.around.min()), 1e-12) if self.zero else NOT_ASKED

    @at_most(0.5, sentence="nonlinear")
    def at_minimum(self) -> Number | None:
        """Negative eigenvalues at the zero of the square loss.

        A whole number.
        """
        return self.below_zero() if self.zero else NOT_ASKED

    @at_most(0.5, sentence="zero_loss")
    def at_zero(self) -> Number | None:
        """Distinct eigenvalues besides zero less N, at the zero of the square loss, one output.

        A whole number.
        """
        return self.counted(True, nonzero=True)

    @at_most(0.5, sentence="zero_loss", role="print", repaired="at_zero")
    def at_zero_beyond(self) -> Number | None:
        """Distinct eigenvalues less N there, zero counted as printed.

        A whole number.
        """
        return self.counted(True, nonzero=False)

    def shown(self):
        some = self.distinct(nonzero=True)
        return {
            "nonzero distinct": some.value,
            "N": self.examples,
            "least around": float(self.around.min()) if self.zero else np.nan,
        }


NETS = (
    ("deep linear", Dense((5, 3, 1), "identity"), 4),
    ("tanh", Dense((4, 4, 1), "tanh"), 6),
    ("ReLU", Dense((4, 4, 3, 1), "relu"), 5),
    ("tanh, 2 outputs", Dense((4, 4, 2), "tanh"), 5),
    ("residual smooth ReLU", Residual(4, 3, 1, 1, smooth_relu(0.5)), 6),
)
LOSSES = (("square", Square()), ("exponential", Exponential("sum")), ("logistic", Logistic("sum")))


def _inputs(random: np.random.Generator, kind: str, N: int, d: int) -> np.ndarray:
    x = random.standard_normal((N, d))
    if kind == "orthogonal" and d > N:
        x = np.linalg.qr(random.standard_normal((d, N)))[0].T * np.geomspace(1.0, 2.0, N)[:, None]
    if kind == "repeated":
        x[-1] = x[0]
    return x


def _one_layer(random: np.random.Generator) -> Iterator[tuple[str, Problem]]:
    for i, (name, loss) in enumerate(LOSSES):
        for j, (kind, N, d) in enumerate((("random", 4, 7), ("orthogonal", 4, 7), ("repeated", 7, 4))):
            x = _inputs(random, kind, N, d)
            outputs = 2 if (i, j) == (0, 0) else 1
            y = random.standard_normal((N, outputs)) if not i else np.sign(random.standard_normal(N))
            yield f"{name}, {kind} inputs", Problem(Dense((d, outputs), "identity"), loss, Data(x, y))
    labels = np.arange(4) % 3
    data = Data(random.standard_normal((4, 7)), labels)
    yield "cross-entropy, 3 classes", Problem(Dense((7, 3), "identity"), CrossEntropy("sum"), data)


def cases(key: Any, *, draws: int, nets: int) -> Iterator[Case]:
    """Linear nets at normal weights; nets at the weights that made their targets."""
    random = generator(key)
    for draw in range(1, draws + 1):
        for name, problem in _one_layer(random):
            seen = xr.Dataset({"final_weights": ("weight", random.standard_normal(problem.size))})
            yield case(problem, seen, net="one layer", loss=name, draw=draw)
        for name, network, N in NETS[:nets]:
            problem, vector = teachers.teacher(random, network, Square(), N)
            points = random.standard_normal((STARTS, problem.size))
            seen = xr.Dataset({"final_weights": ("weight", vector), "around": (("point", "weight"), points)})
            yield case(problem, seen, net=name, loss="square", draw=draw)


STUDY = study(
    "memo90.distinct-eigenvalues",
    DistinctEigenvalues,
    cases,
    quick={"draws": 2, "nets": 5},
    full={"draws": 8},
    few={"draws": 1, "nets": 3},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "nonzero distinct",
            "N",
            "distinct eigenvalues besides zero",
            "examples N",
            by=("net",),
            diagonal=True,
        ),
        Panel(
            "least around",
            "case",
            "least eigenvalue over the largest",
            "case (deep nets, away from minima)",
            by=("net",),
        ),
        caption="Left: distinct eigenvalues of the Hessian besides zero; the line is N (above it: three classes, two "
        "outputs). Right: Hessians of nets at points that are no minima have negative eigenvalues.",
    ),
)
