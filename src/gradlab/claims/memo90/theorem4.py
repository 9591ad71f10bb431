"""memo90.theorem4: enough width makes the Hessian singular at every zero of the square loss.

As printed: h_1 = W_1 X, h_k = W_k σ(h_{k−1}), the output h_{H+1} linear, H ≥ 1 hidden layers, no biases, L =
½‖h_{H+1} − Y‖². (Section 3 of the memo puts σ on the output too; the theorem does not.) The condition is N_k N_{k−1}
> n min(N_k, …, N_{H+1}) for one k; it is sufficient, so nothing is asked where it fails. What its proof gives
besides, a kernel of at least N_k N_{k−1} − n min(N_k, …) within one layer, is asked too
(docs/notes/memo90.theorem4.md). In a bottleneck (widths (3, 3, 1, 8), n = 5: 20 weights, 40 residuals) the zeros do
not follow from the shape of ∂f/∂W.

Controls. That a count of zeros can say none is seen on the other side of the border, on tanh nets with no more
weights than residuals. (Linear and ReLU nets have zeros there as well, from rotations and
rescalings, and a bottleneck has some up to n = 12: the condition is not necessary.) And no zero that singular
values of ∂f/∂W show is missing among the eigenvalues of ∇²L, which come from automatic differentiation.

Settings, before any run: 13 shapes (quick) or 28 on both sides of the border, H = 1 to 3, one to eight outputs, 4 or
8 activations; targets are the network's own outputs at random weights, which are the zero.
"""

from functools import cached_property
from itertools import accumulate, pairwise

from gradlab.analysis.equilibria import counting
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.points import SquareZero, count
from gradlab.claims.measured import NOT_ASKED, Number, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import teachers
from gradlab.claims.studies import section, study
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense


def border(widths: tuple[int, ...], examples: int) -> int:
    """The largest N_k N_{k−1} − n min(N_k, …, N_{H+1}): the condition is that it is positive."""
    layers = enumerate(pairwise(widths), start=1)
    return max(after * before - examples * min(widths[k:]) for k, (before, after) in layers)


class Theorem(SquareZero):
    """The condition, and the eigenvalues of the Hessian that are zero."""

    setting = "the square loss, a chain of two matrices or more without biases"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is such a network under that loss."""
        net = problem.network
        chain = isinstance(net, Dense) and not net.bias and len(net.widths) > 2
        return chain and super().speaks_of(problem)

    @property
    def width(self) -> int:
        """How far beyond the border of the condition the widest layer is; positive where the condition holds."""
        return border(self.problem.network.widths, self.examples)

    @cached_property
    def by_rank(self) -> counting.Count:
        """P − rank ∂f/∂W, from singular values: they tell a zero at 1e-13, eigenvalues at the square of that."""
        return counting.kernel_at_zero(self.problem, self.end)

    @cached_property
    def zero(self) -> counting.Count:
        """Zero eigenvalues of ∇²L: within their bound, less those that singular values of ∂f/∂W tell from zero."""
        found = counting.kernel(self.values, self.bound)
        high = min(found.number + found.error, self.by_rank.number + self.by_rank.error)
        low = min(found.number - found.error, self.by_rank.number - self.by_rank.error)
        return counting.Count(0.5 * (low + high), 0.5 * (high - low))

    def short_of(self, wanted: int) -> Number | None:
        """Zeros missing of those wanted, where the condition holds."""
        if self.width <= 0:
            return NOT_ASKED
        return count(self.zero.short_of(wanted))

    @at_most(0.5, sentence="zero")
    def missing(self) -> Number | None:
        """One where the condition holds and no eigenvalue is zero.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return self.short_of(1)

    @at_most(0.5, sentence="layer")
    def short(self) -> Number | None:
        """Zero eigenvalues short of the largest N_k N_{k−1} − n min(N_k, …), which the proof gives.

        A whole number, as above.
        """
        return self.short_of(self.width)

    @at_most(
        0.5,
        role="control",
        changed="Full: 40 examples for widths (2, 10, 1), at first 30, where the least singular value of the square "
        "∂f/∂W of a tanh net was rounding in one draw of fifteen.",
    )
    def control(self) -> Number | None:
        """Zero eigenvalues of a tanh net with fewer weights up to every layer than that layer has numbers on the data.

        Generic ∂f/∂W has full rank there; a count that always finds zeros would say nothing.
        """
        network = self.problem.network
        below = accumulate(after * before for before, after in pairwise(network.widths))
        slack = [self.examples * width - many for width, many in zip(network.widths[1:], below, strict=True)]
        injective = min(slack[:-1]) > 0 and slack[-1] >= 0 and self.width <= 0
        return count(self.zero) if injective and network.activation.name == "tanh" else NOT_ASKED

    @at_most(
        0.5,
        role="control",
        changed="Asked of the zeros that singular values show surely; at first of those that they leave open too.",
    )
    def otherwise(self) -> Number:
        """Zero eigenvalues of the Hessian short of P − rank ∂f/∂W.

        At zero loss ∇²L is ∂fᵀ∂f up to a factor, and both count the same; a whole number.
        """
        return count(self.zero.short_of(self.by_rank.number - self.by_rank.error))

    def shown(self):
        activation = self.problem.network.activation.name
        kind = {"identity": "linear", "relu": "(leaky) ReLU", "leaky_relu": "(leaky) ReLU"}.get(
            activation, "others"
        )
        slack = self.size - self.examples * self.problem.network.outputs
        return {"width": self.width, "slack": slack, "zeros": self.zero.number, "kind": kind}


#: d, N_1, …, N_{H+1}; n. Condition met by the first, the second, the last layer, by several; on the border; not met.
QUICK = (
    ((5, 3, 1), 4),
    ((3, 6, 1), 4),
    ((3, 6, 3, 1), 12),
    ((2, 4, 2), 3),
    ((4, 2, 2), 8),
    ((2, 3, 1), 6),
    ((2, 3, 1), 5),
    ((2, 2, 2), 9),
    ((2, 2, 2, 1), 16),
)
#: Fewer weights than residuals: met, the last n where it is, on the border, not met.
BOTTLENECKS = (((3, 3, 1, 8), 5), ((3, 3, 1, 8), 8), ((3, 3, 1, 8), 9), ((3, 3, 1, 8), 16))
FULL = (
    ((3, 5, 1), 15),
    ((3, 5, 1), 14),
    ((3, 4, 4, 1), 15),
    ((3, 4, 4, 1), 16),
    ((2, 5, 4, 2, 1), 7),
    ((2, 2, 5, 5, 2), 10),
    ((2, 2, 5, 5, 2), 13),
    ((4, 6, 3), 8),
    ((4, 6, 3), 20),
    ((3, 3, 2), 10),
    ((2, 10, 1), 40),
    ((6, 4, 4), 6),
    ((6, 4, 4), 5),
    ((2, 4, 1, 3), 7),
    ((2, 4, 1, 3), 8),
)
ACTIVATIONS = ("identity", "tanh", "relu", "sigmoid")
OTHERS = (polynomial((0.0, 1.0, 0.5, 0.25)), smooth_relu(0.3), "leaky_relu", "gelu")


def cases(key, *, shapes, activations, draws):
    """The grid of widths with every activation, at the weights that made the targets, off the kinks."""
    rng = generator(key)
    for widths, examples in shapes:
        for activation in activations:
            network = Dense(widths, activation)
            for i in range(draws):
                problem, vector = teachers.teacher(rng, network, Square(half=True), examples)
                while counting.near_kink(problem, vector):
                    problem, vector = teachers.teacher(rng, network, Square(half=True), examples)
                yield point(
                    problem, vector, widths=str(widths), n=examples, net=network.activation.name, draw=i + 1
                )


STUDY = study(
    "memo90.theorem4",
    Theorem,
    cases,
    quick={"shapes": QUICK + BOTTLENECKS, "activations": ACTIVATIONS, "draws": 1},
    full={"shapes": QUICK + BOTTLENECKS + FULL, "activations": ACTIVATIONS + OTHERS, "draws": 3},
    few={"shapes": (QUICK[0], QUICK[8], BOTTLENECKS[0], BOTTLENECKS[3]), "activations": ("tanh",)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "zeros",
            "width",
            "zero eigenvalues",
            "largest N_k N_{k−1} − n min(N_k, …)",
            by=("kind",),
            diagonal=True,
        ),
        Panel("zeros", "slack", "zero eigenvalues", "weights − residuals", by=("kind",), diagonal=True),
        caption="Zero eigenvalues of the Hessian at a zero of the square loss. Right of 0 on the left the theorem's "
        "condition holds, and every count is on or above the line; left of 0 linear and ReLU nets keep zeros. On the "
        "right, left of 0, the bottlenecks have zeros that the number of weights does not give.",
    ),
)
