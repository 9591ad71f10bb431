"""notes.no-equilibrium: whether a deep net under the square loss has isolated equilibria.

Printed. "As for linear networks there is no finite equilibrium point because H is in general degenerate … only the W
in the span of the ∂f/∂W change. If N < #W there is degeneracy." Finite equilibria there are: every zero of the loss is
one. So it is read as: none is isolated.

What is judged. At zeros of the loss: H has a kernel where N C is less than the number of weights, and other zeros lie
beside it, at a tenth and at a thousandth of ‖W‖, found by Gauss–Newton from a step along the kernel. At any point: the
velocity lies in the span of the ∂f_n/∂W. And at W = 0, an equilibrium too where σ(0) = 0: with one hidden layer, as
many outputs as inputs, and Σ y xᵀ invertible, the Hessian there has no zero eigenvalue, whatever N: an isolated
equilibrium, a saddle. So the sentence is false of equilibria, and true of zeros of the loss
(docs/notes/notes.no-equilibrium.md; the smallest case, L = ½(1 − w₂w₁)², is docs/proofs/notes.no-equilibrium.py).

Settings, before any run: 5 networks (quick) or 9, N C less than the weights, targets of the network itself at random
weights; the origin of 4 networks with as many outputs as inputs, and of one with fewer, where it is not isolated.

Tolerances. Counts are decided by a factor of a thousand. A step of size s along a kernel ends within s² of it: half
of s. The span is linear algebra, 1e-9.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.points import PlainPoint, SquarePoint, count, residual
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import teachers
from gradlab.claims.studies import section, study
from gradlab.observe.local import local
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: ‖y − f‖/‖f‖ at a zero of the loss.
ZERO = 1e-13
#: Steps along the kernel, in units of ‖W‖.
STEPS = (0.1, 1e-3)


class NoEquilibriumCorrected(PlainPoint, SquarePoint):
    """An equilibrium, or any point; the zeros of the loss beside it."""

    @cached_property
    def zero(self) -> bool:
        """Whether the loss is zero here."""
        return residual(self.problem, self.eigen.here.f) <= ZERO

    @cached_property
    def rests(self) -> bool:
        """Whether the gradient is zero to rounding: an equilibrium."""
        return self.zero or not self.end.any()

    def walk(self, step: float) -> float:
        """The distance of another zero of the loss, over that of a step along the kernel; 0 if none is found."""
        kernel = np.linalg.svd(self.eigen.here.rows)[2][np.linalg.matrix_rank(self.eigen.here.rows) :]
        length = step * float(np.linalg.norm(self.end))
        there = minimising.interpolant(
            self.problem, self.end + length * kernel.mean(axis=0) * np.sqrt(len(kernel))
        )
        if residual(self.problem, local(self.problem, there).f) > ZERO:
            return 0.0
        return float(np.linalg.norm(there - self.end)) / length

    @at_most(0.5, sentence="degenerate")
    def missing(self) -> Number | None:
        """One where H has no zero eigenvalue at a zero of the loss, N C less than the number of weights.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return self.without() if self.zero else NOT_ASKED

    @at_least(0.5, sentence="beside")
    def beside(self) -> Number | None:
        """The distance of another zero of the loss, over that of a step along the kernel; the least of two steps.

        1 up to the step; 0 where none is found.
        """
        return Number(min(map(self.walk, STEPS)), self.size * EPS) if self.zero else NOT_ASKED

    @at_most(1e-9, sentence="span")
    def outside(self) -> Number | None:
        """The share of ∇L beside the span of the ∂f_n/∂W, where ∇L is not zero.

        Linear algebra, 1e-13.
        """
        if self.rests:
            return NOT_ASKED
        slope, rows = self.gradient(self.end), self.eigen.here.rows
        apart = slope - rows.T @ np.linalg.lstsq(rows.T, slope, rcond=None)[0]
        return Number(float(np.linalg.norm(apart) / np.linalg.norm(slope)), self.size * EPS)

    def without(self) -> Number | None:
        """One where H has no zero eigenvalue at an equilibrium, N C less than the number of weights."""
        if not self.rests or self.examples * self.problem.network.outputs >= self.size:
            return NOT_ASKED
        bound = self.eigen.bound_at_zero if self.zero else self.bound
        return count(counting.kernel(self.values, bound).short_of(1.0))

    def shown(self):
        at = "W = 0" if not self.end.any() else "zero loss" if self.zero else "any point"
        size = float(np.abs(self.values).min() / np.abs(self.values).max())
        return {"at": at, "least": size, "weights": float(self.size)}


class NoEquilibriumPrinted(NoEquilibriumCorrected):
    @at_most(0.5, sentence="none")
    def none(self) -> Number | None:
        """One where H has no zero eigenvalue at an equilibrium, N C less than the number of weights: it is isolated.

        A whole number, at zeros of the loss and at W = 0.
        """
        return self.without()


class NoEquilibrium(NoEquilibriumCorrected):
    @at_most(0.5, sentence="saddle")
    def saddle(self) -> Number | None:
        """Zero eigenvalues of H at W = 0, one hidden layer, as many outputs as inputs, Σ y xᵀ invertible.

        A whole number, as above.
        """
        widths = self.problem.network.widths
        at = not self.end.any() and len(widths) == 3 and widths[0] == widths[2]
        return self.zeros_of_hessian() if at else NOT_ASKED


#: Widths, activation, examples.
QUICK = (
    ((4, 3, 1), "tanh", 4),
    ((3, 3, 2), "identity", 3),
    ((3, 3, 2, 1), "sigmoid", 4),
    ((4, 4, 1), "relu", 4),
    ((3, 4, 1), "gelu", 3),
)
FULL = (
    ((5, 4, 3, 1), "identity", 4),
    ((4, 4, 2), "tanh", 5),
    ((4, 4, 3, 1), "relu", 6),
    ((4, 4, 2), "leaky_relu", 5),
)
ORIGINS = (
    ((1, 1, 1), "identity", 1),
    ((1, 3, 1), "tanh", 2),
    ((2, 3, 2), "tanh", 4),
    ((3, 4, 3), "identity", 5),
    ((3, 2, 1), "identity", 3),
)


def cases(key, *, networks, origins, draws):
    """Zeros of the loss, the same data at other weights, and origins."""
    rng = generator(key)
    for widths, activation, examples in networks:
        network = Dense(widths, activation)
        for i in range(draws):
            facts = {"net": f"{activation} {'-'.join(map(str, widths))}", "N": examples, "draw": i + 1}
            problem, vector = teachers.teacher(rng, network, Square(half=True), examples)
            yield point(problem, vector, point="zero loss", **facts)
            yield point(problem, teachers.weights(rng, network), point="any", **facts)
    for widths, activation, examples in origins:
        network = Dense(widths, activation)
        x, y = (rng.standard_normal((examples, width)) for width in (widths[0], widths[-1]))
        problem = Problem(network, Square(half=True), Data(x, y))
        net = f"{activation} {'-'.join(map(str, widths))}"
        yield point(problem, np.zeros(problem.size), point="origin", net=net, N=examples, draw=1)


FIGURE = Figure(
    Panel("least", "weights", "|λ|min/|λ|max of the Hessian", "weights", by=("point",), log="y", floor=1e-18),
    caption="The least eigenvalue of the Hessian by size. At zeros of the loss it is rounding, since weights are more "
    "than examples; at W = 0 it need not be, and such an equilibrium is isolated.",
)
STUDIES = tuple(
    study(
        name,
        look,
        cases,
        quick={"networks": QUICK, "origins": ORIGINS, "draws": 2},
        full={"networks": QUICK + FULL, "draws": 6},
        few={"networks": QUICK[:1], "origins": (ORIGINS[0], ORIGINS[4]), "draws": 1},
        settings=section(__doc__, "Settings"),
        figure=FIGURE,
    )
    for name, look in (
        ("notes.no-equilibrium", NoEquilibriumPrinted),
        ("notes.no-equilibrium-corrected", NoEquilibrium),
    )
)
