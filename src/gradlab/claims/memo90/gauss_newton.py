"""memo90.gauss-newton: at zero square loss the Hessian is 2 Σ ∇f∇fᵀ, semidefinite; how many eigenvalues are distinct.

Printed. "The eigenvalues of the Hessian are non-negative … with at most N distinct eigenvalues": a sum of N outer
products has at most N eigenvalues that are not zero, so with zero (which it has, D > N) there are N + 1. With C
outputs it is N C of them (docs/notes/memo90.gauss-newton.md).

Settings, before any run. Zero loss is exact: targets are the network's own outputs at random weights, which are the
point. Dense, convolutional and residual networks, D > N C; ReLU off its kinks. ∇²L by automatic differentiation of
the risk, ∇f of the network.

Tolerances. The sum and ∇²L differ by rounding, and by y − f ~ 1e-16 times ∂²f: 1e-10 in units of ‖H‖ leaves four
decades above it. Counts are known between bounds (analysis/equilibria/counting.py), zero and distinct decided by a
factor of a thousand.
"""

import numpy as np

from gradlab.claims.cases import generator, point
from gradlab.claims.looks.points import OverparametrisedPoint, SquareZero
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import teachers
from gradlab.claims.studies import section, study
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense, Residual


class _Shared(OverparametrisedPoint, SquareZero):
    """The Hessian by automatic differentiation against the sum, and its eigenvalues counted."""

    @property
    def outer(self) -> int:
        """N C, the outer products that are summed."""
        return self.examples * self.problem.network.outputs

    @at_most(1e-10, sentence="formula")
    def formula(self) -> Number:
        """‖∇²L − 2 Σ ∇f∇fᵀ‖/‖∇²L‖ (all outputs, the loss's own factor).

        Rounding and residuals of 1e-16; a dropped term would be O(1).
        """
        gap = float(np.linalg.norm(self.hessian - self.eigen.here.squares))
        return Number(gap / self.scale, self.eigen.bound / self.scale)

    @at_most(0.5, sentence="semidefinite")
    def negative(self) -> Number:
        """Negative eigenvalues.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return self.below_zero()

    def shown(self):
        every, some = self.distinct(), self.distinct(nonzero=True)
        return {"outer": self.outer, "all_distinct": every.value, "some_distinct": some.value}


class GaussNewtonPrinted(_Shared):
    @at_most(0.5, sentence="distinct")
    def besides_zero(self) -> Number | None:
        """Distinct eigenvalues besides zero, less N (one output; with several the passage names no number).

        A whole number; its error are gaps that are neither rounding nor clear of it.
        """
        return self.asked(nonzero=True)

    @at_most(0.5, sentence="distinct", role="print", repaired="besides_zero")
    def beyond(self) -> Number | None:
        """Distinct eigenvalues, zero counted as printed, less N.

        A whole number, as above.
        """
        return self.asked(nonzero=False)

    def asked(self, *, nonzero: bool) -> Number | None:
        """Distinct eigenvalues less N; not asked of several outputs."""
        return (
            NOT_ASKED if self.problem.network.outputs > 1 else self.distinct(self.examples, nonzero=nonzero)
        )


class GaussNewtonCorrected(_Shared):
    @at_most(0.5, sentence="rank")
    def rank_beyond(self) -> Number:
        """Eigenvalues that are not zero, less N C.

        A whole number.
        """
        null = self.zeros_of_hessian()
        return null._replace(value=self.size - null.value - self.outer)

    @at_most(0.5, sentence="rank")
    def distinct_rank(self) -> Number:
        """Distinct eigenvalues that are not zero, less N C.

        A whole number.
        """
        return self.distinct(self.outer, nonzero=True)

    @at_least(-0.5, sentence="rank")
    def kernel(self) -> Number:
        """Zero eigenvalues, less D − N C.

        A whole number.
        """
        return self.zeros_of_hessian(max(self.size - self.outer, 0))


#: Name, network, examples.
QUICK = (
    ("deep linear", Dense((5, 3, 1), "identity"), 4),
    ("deep linear, 2 outputs", Dense((5, 4, 2), "identity"), 4),
    ("tanh", Dense((4, 4, 1), "tanh"), 6),
    ("tanh, 3 layers", Dense((4, 3, 3, 1), "tanh"), 6),
    ("tanh, 2 outputs, biases", Dense((4, 4, 2), "tanh", bias=True), 6),
    ("ReLU", Dense((4, 4, 3, 1), "relu"), 6),
    ("residual smooth ReLU", Residual(4, 3, 1, 1, smooth_relu(0.5)), 6),
)
FULL = (
    ("one example", Dense((4, 4, 1), "tanh"), 1),
    ("deep linear, 4 layers", Dense((5, 4, 4, 3, 1), "identity"), 4),
    ("more examples than inputs", Dense((2, 8, 1), "identity"), 8),
    ("GELU, 3 outputs", Dense((5, 6, 3), "gelu"), 5),
    ("sigmoid", Dense((6, 6, 1), "sigmoid"), 12),
    ("polynomial", Dense((4, 4, 1), polynomial((0.0, 1.0, 0.5, 0.25))), 6),
    ("leaky ReLU", Dense((4, 5, 1), "leaky_relu"), 8),
    ("ReLU, 3 outputs", Dense((4, 8, 3), "relu"), 6),
    ("convolutional tanh", Convolutional((1, 4, 4), (3,), outputs=1, activation="tanh"), 6),
    ("convolutional ReLU, 2 outputs", Convolutional((1, 4, 4), (3,), outputs=2), 4),
    ("residual ReLU, 2 outputs", Residual(4, 4, 2, 2), 5),
)


def cases(key, *, networks, draws):
    """Networks at the weights that made their targets."""
    rng = generator(key)
    for name, network, examples in networks:
        for i in range(draws):
            # another loss is another program: one of them only
            other = i == draws - 1 and name == "tanh"
            loss = Square("mean", half=True) if other else Square()
            problem, vector = teachers.teacher(rng, network, loss, examples)
            yield point(problem, vector, net=name, N=examples, weights=problem.size, draw=i + 1)


FIGURE = Figure(
    Panel(
        "all_distinct",
        "outer",
        "distinct eigenvalues, with zero",
        "N C, the outer products summed",
        diagonal=True,
    ),
    Panel("some_distinct", "outer", "distinct eigenvalues, without zero", "N C", diagonal=True),
    caption="Distinct eigenvalues of the Hessian at zero square loss; the line is N C. With zero it is one more.",
)
BUDGETS = {
    "quick": {"networks": QUICK, "draws": 3},
    "full": {"networks": QUICK + FULL, "draws": 6},
    "few": {"networks": QUICK[:4], "draws": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.gauss-newton", GaussNewtonPrinted),
        ("memo90.gauss-newton-corrected", GaussNewtonCorrected),
    )
)
