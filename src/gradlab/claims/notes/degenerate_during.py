"""notes.degenerate-during: why a deep net does not keep what a one-layer net keeps of its start.

Printed. "Unlike the linear case we cannot guarantee that starting with W ≈ 0 the solution will be min. norm. First, in
general there will be many degenerate minima. Second, the degenerate directions near a minimum will not be degenerate
during G.D."

What is judged, of non-linear nets under the square loss, with fewer outputs N C than weights. At the zero of the loss
that gradient flow from small weights reaches, K = ker ∂f/∂W there: K has a dimension, and other zeros of the loss lie
far away ("many"); along the flow H is not zero on K, and W moves in K ("during"); the limit's part in K, which is zero
for a limit of least norm, exceeds the start ("consequence"). One linear layer beside it, where K is degenerate at every
W, W does not move in K, and the limit's part in K is that of the start: controls.

Not asked of deep linear nets, whose flow from W → 0 moves along its own modes, which are not in K: there the product
does tend to the least norm (notes.deep-linear).

Settings, before any run: tanh 1-1-1 (one example; in closed form the flow from 0 keeps w₂ = sinh w₁, while the
least norm has w₂² = ½ w₁ sinh 2w₁), tanh and gelu 3-3-1, a cubic polynomial 3-3-1, three problems each, and six of
one layer (6 weights, 3 examples); ‖W(0)‖ = 1e-3, T = 500, dopri8 at 1e-10, then Gauss–Newton.
(Changed after seed 2, where the limit's part in K was 1.7 of ‖W(0)‖ = 1e-2: it tends to what the flow from 0 has.)

Tolerances. Shares of K are rounding for one layer, 1e-9 and less after Gauss–Newton; a thousandth is asked where there
is motion or curvature. The limit's part in K is asked to be twice the start, as in notes.deep-hessian.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.points import PlainPoint, SquarePoint, count, residual
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import teachers
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.observe.local import automatic_hessian, local
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class DegenerateDuring(PlainPoint, SquarePoint):
    """A flow from small weights, and the kernel K of ∂f/∂W at the zero of the loss that it reaches."""

    @cached_property
    def deep(self) -> bool:
        """Whether there is a hidden layer."""
        return len(self.problem.network.widths) > 2

    @cached_property
    def limit(self) -> np.ndarray:
        """The zero of the loss that Gauss–Newton reaches from the end."""
        return minimising.interpolant(self.problem, self.end)

    @cached_property
    def kernel(self) -> np.ndarray:
        """A basis of K, (P, dim K)."""
        rows = local(self.problem, self.limit).rows
        return np.linalg.svd(rows)[2][np.linalg.matrix_rank(rows) :].T

    def share(self, vector: np.ndarray) -> float:
        """The part of a vector in K, over the vector."""
        return float(np.linalg.norm(self.kernel.T @ vector) / np.linalg.norm(vector))

    @cached_property
    def other(self) -> np.ndarray:
        """Where Gauss–Newton ends from other weights."""
        elsewhere = teachers.weights(np.random.default_rng(0), self.problem.network)
        return minimising.interpolant(self.problem, elsewhere)

    @cached_property
    def motion(self) -> Number:
        """The share of the motion, from the start to the limit, in K."""
        return Number(self.share(self.limit - self.weights[0]), self.size * EPS)

    @cached_property
    def curvature(self) -> Number:
        """The largest ‖QᵀHQ‖/‖H‖ at the records before the last, Q a basis of K."""
        found = []
        for weights in self.weights[:-1]:
            H = automatic_hessian(self.problem, weights)
            found.append(np.linalg.norm(self.kernel.T @ H @ self.kernel) / np.linalg.norm(H))
        return Number(float(np.max(found)), self.size * EPS)

    @cached_property
    def kept(self) -> Number:
        """‖W(0)‖ over the limit's part in K."""
        left = float(np.linalg.norm(self.kernel.T @ self.limit))
        return Number(float(np.linalg.norm(self.weights[0])) / left if left else np.inf, self.size * EPS)

    @at_most(1e-9, role="hypothesis")
    def arrived(self) -> float:
        """The rest of the way to a zero of the loss over its size: the flow has arrived.

        In units of ‖W(0)‖ it is 1e-6, far below what is told apart.
        """
        return float(np.linalg.norm(self.limit - self.end) / np.linalg.norm(self.limit))

    @at_most(1e-13, role="hypothesis")
    def fitted(self) -> Number:
        """‖y − f‖/‖f‖ at the limit.

        f is a chain of sums, right to some dozens of eps of its size.
        """
        return Number(residual(self.problem, local(self.problem, self.limit).f), exact=True)

    @at_least(0.5, sentence="many")
    def degenerate(self) -> Number:
        """The dimension of K: zero eigenvalues of the Hessian at the limit.

        A whole number; its error are singular values that are neither rounding nor clear of it.
        """
        return count(counting.kernel_at_zero(self.problem, self.limit))

    @at_least(1e-3, sentence="many")
    def others(self) -> Number | None:
        """The distance from the limit of a zero of the loss near other weights, over the limit's size.

        Other weights are as far as the limit is large; a thousandth is a million times rounding.
        """
        if not self.deep:
            return NOT_ASKED
        if residual(self.problem, local(self.problem, self.other).f) > 1e-10:
            return NOT_ASKED
        apart = float(np.linalg.norm(self.other - self.limit) / np.linalg.norm(self.limit))
        return Number(apart, self.size * EPS)

    @at_least(1e-3, sentence="during")
    def curved(self) -> Number | None:
        """The largest part of H in K during the flow, ‖QᵀHQ‖/‖H‖, non-linear nets.

        Rounding if K were degenerate all the time, as for one layer.
        """
        return self.curvature if self.deep else NOT_ASKED

    @at_least(1e-3, sentence="during")
    def moves(self) -> Number | None:
        """The share of the motion in K, non-linear nets.

        Rounding if nothing moved there, as for one layer.
        """
        return self.motion if self.deep else NOT_ASKED

    @at_most(0.5, sentence="consequence")
    def guaranteed(self) -> Number | None:
        """‖W(0)‖ over the limit's part in K, non-linear nets.

        One or more where the flow leaves that part alone; half of that.
        """
        return self.kept if self.deep else NOT_ASKED

    @at_most(1e-9, role="control")
    def flat(self) -> Number | None:
        """The part of H in K, one linear layer: degenerate all the time.

        H is the same at all weights; linear algebra.
        """
        return NOT_ASKED if self.deep else self.curvature

    @at_most(1e-7, role="control")
    def rests(self) -> Number | None:
        """The share of the motion in K, one linear layer.

        Each step rounds by eps ‖W‖.
        """
        return NOT_ASKED if self.deep else self.motion

    @at_least(1.0 - 1e-6, role="control")
    def linear(self) -> Number | None:
        """‖W(0)‖ over the limit's part in K, one linear layer.

        The start's own part, at most ‖W(0)‖.
        """
        return NOT_ASKED if self.deep else self.kept

    def shown(self):
        return {"moved": self.motion.value, "bent": self.curvature.value, "size": float(self.size)}


CUBIC = polynomial((0.0, 1.0, 0.5, 0.25))
#: Widths, activation, examples, problems.
QUICK = (
    ((1, 1, 1), "tanh", 1, 6),
    ((3, 3, 1), "tanh", 3, 4),
    ((3, 3, 1), CUBIC, 3, 4),
    ((6, 1), "identity", 3, 6),
)
FULL = (*QUICK, ((3, 4, 1), "gelu", 3, 6), ((2, 3, 3, 1), "tanh", 3, 6), ((4, 5, 2), "sigmoid", 3, 6))
FEW = (((1, 1, 1), "tanh", 1, 2), ((6, 1), "identity", 3, 2))


def cases(key, *, networks, scale, until):
    """Flows from weights of one small size."""
    rng = generator(key)
    for widths, activation, examples, problems in networks:
        network, drawn = Dense(widths, activation), []
        for i in range(problems):
            x = rng.standard_normal((examples, widths[0])) if widths[0] > 1 else np.ones((1, 1))
            y = rng.uniform(0.8, 1.6, (examples, widths[-1])) * rng.choice((-1.0, 1.0), (examples, 1))
            problem = Problem(network, Square(half=True), Data(x, y))
            vector = rng.standard_normal(problem.size)
            start = linear_nets.layers(network, scale * vector / np.linalg.norm(vector))
            net = f"{network.activation.name} {'-'.join(map(str, widths))}"
            drawn.append((problem, start, {"net": net, "draw": i + 1}))
        t = np.asarray([0.0, 10.0, 20.0, until])
        yield from ensemble(GradientFlow, drawn, t, solver=Adaptive("dopri8", 1e-10))


STUDY = study(
    "notes.degenerate-during",
    DegenerateDuring,
    cases,
    quick={"networks": QUICK, "scale": 1e-3, "until": 500.0},
    full={"networks": FULL},
    few={"networks": FEW},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel("moved", "case", "share of the motion in K", "case", by=("net",), log="y", floor=1e-18),
        Panel("bent", "case", r"$\|Q^\top H Q\|/\|H\|$, largest", "case", by=("net",), log="y", floor=1e-18),
        caption="K is the kernel of the Hessian at the limit. One linear layer neither moves in it nor sees curvature "
        "there; non-linear nets do both.",
    ),
)
