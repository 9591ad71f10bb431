"""memo90.regularised-square: weight decay and the Hessian of the square loss, at the equilibrium that decay makes.

What is judged. Eq. 29 keeps the sum of squares of eq. 28, valid at zero residuals, and adds λ_k. With decay the
equilibrium has residuals y − f of the order of λ, so that the dropped term 2 Σ E ∂²f is of the order of λ too, as
large as the term that is to make H definite. Judged at the regularised minimum: the printed sum against ∇²L, in
units of λ; and the number of zero eigenvalues. (The term λ_k ‖W_k‖² has the second derivative 2λ_k and eq. 29 prints
λ_k; λ_k is read as that second derivative here, so that this factor refutes nothing.)

Corrected (docs/notes/memo90.regularised-square.md). With the term kept the formula is ∇²L. Rotations of hidden units
W_k ↦ AW_k, W_{k+1} ↦ W_{k+1}Aᵀ change neither f nor any ‖W_k‖ in a linear net, so that their tangents are zero
eigenvectors for every λ; at a regularised minimum these are all, and where there are none (one hidden unit, or a
smooth non-linear σ) H is definite. W = 0 is an equilibrium for every λ where σ(0) = 0; with two layers its least
eigenvalue is the lesser root of (λ_1 − μ)(λ_2 − μ) = (2σ'(0)‖YᵀX‖)², negative for small λ, with more layers it is
min λ_k.

Settings, before any run: 7 networks (quick) or 16 on data fitted by a teacher of the same architecture; λ = 0.1,
0.01, 0.001 with another in every layer; the minimum by Newton steps from the teacher until ‖∇L‖ is rounding (problems
are drawn until it is).

Tolerances. Formulas: rounding, 1e-10 of ‖H‖; the printed one in units of λ 1e-3, far above rounding/λ ~ 1e-10 and
far below the 1 that a term of order λ has. The origin: rounding of eigenvalues, 1e-10 of ‖H‖.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.cases import generator, point
from gradlab.claims.looks.points import SquarePoint, count
from gradlab.claims.looks.regularised import RegularisedPoint
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import regularised
from gradlab.claims.studies import section, study
from gradlab.observe.local import local
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense


class _Shared(RegularisedPoint, SquarePoint):
    """The formulas against automatic differentiation, and the eigenvalues counted."""

    def negatives(self) -> Number:
        """Negative eigenvalues."""
        return count(self.below)

    @property
    def left_out(self) -> float:
        """‖∇²L − 2 Σ ∇f∇fᵀ − λ_k‖ in units of the least λ_k."""
        here = self.eigen.here
        return float(np.linalg.norm(self.hessian - here.squares - np.diag(here.decay), 2)) / self.least_decay

    @property
    def least_decay(self) -> float:
        """The least λ of a weight, 1 where there is none."""
        return float(np.min(self.eigen.here.decay)) or 1.0

    def shown(self):
        """What both figures draw."""
        kind = "linear" if self.problem.network.linear else "non-linear"
        return super().shown() | {"kind": kind, "null": self.zeros.number, "dropped": self.left_out}


class RegularisedSquarePrinted(_Shared):
    @at_most(1e-3, sentence="formula")
    def formula(self) -> Number:
        """‖∇²L − 2 Σ ∇f∇fᵀ − λ_k‖ in units of the least λ_k.

        0 if the sum is the Hessian; a term of the order of λ is 1, rounding 1e-10.
        """
        return Number(self.left_out, self.bound / self.least_decay)

    @at_most(0.5, sentence="definite")
    def kernel(self) -> Number:
        """Zero eigenvalues.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return count(self.zeros)

    @at_most(0.5, sentence="definite")
    def negative(self) -> Number:
        """Negative eigenvalues.

        A whole number, as above.
        """
        return self.negatives()


class RegularisedSquareCorrected(_Shared):
    @at_most(1e-10, sentence="formula")
    def whole(self) -> Number:
        """‖∇²L − (2 Σ ∇f∇fᵀ − 2 Σ E ∂²f + λ_k)‖/‖∇²L‖.

        Rounding, 1e-13.
        """
        return Number(
            float(np.linalg.norm(self.hessian - self.eigen.here.hessian)) / self.scale,
            self.bound / self.scale,
        )

    @equals(0.0, within=0.5, sentence="kernel")
    def beyond_rotations(self) -> Number:
        """Zero eigenvalues less the dimension of rotations.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return count(self.unexplained)

    @at_most(0.5, sentence="semidefinite")
    def negative(self) -> Number:
        """Negative eigenvalues.

        A whole number, as above.
        """
        return self.negatives()

    @cached_property
    def at_origin(self):
        """The network to second order at W = 0."""
        return local(self.problem, np.zeros(self.size))

    @at_most(1e-10, sentence="origin")
    def origin(self) -> Number | None:
        """Least eigenvalue at W = 0 against the closed form, in units of ‖H(0)‖; asked where σ(0) = 0.

        Rounding of a symmetric eigenvalue problem, P eps ‖H‖.
        """
        network, zero = self.problem.network, np.zeros(1)
        kinked = (
            not isinstance(network, Dense)
            or network.bias
            or network.activation.name in ("relu", "leaky_relu")
        )
        if kinked or len(network.widths) < 3 or network.activation.derivative(zero, 0)[0] != 0.0:
            return NOT_ASKED
        values = np.linalg.eigvalsh(self.at_origin.hessian)
        decay = np.broadcast_to(np.asarray(self.problem.decay), (len(network.widths) - 1,))
        expected = float(decay.min())
        if len(network.widths) == 3:
            x = np.asarray(self.problem.data.inputs).reshape(self.examples, -1)
            across = float(
                network.activation.derivative(zero, 1)[0] * np.linalg.norm(self.at_origin.first.T @ x, 2)
            )
            expected = float(decay.mean() - np.hypot(0.5 * (decay[0] - decay[1]), across))
        return Number(abs(float(values[0]) - expected) / float(np.abs(values).max()), len(values) * EPS)


#: Widths, activation, examples.
QUICK = (
    ((4, 3, 1), "identity", 3),
    ((4, 1, 1), "identity", 3),
    ((4, 3, 2), "identity", 3),
    ((3, 3, 2, 1), "identity", 3),
    ((3, 3, 1), "tanh", 4),
    ((3, 3, 3, 1), "tanh", 4),
    ((3, 3, 1), smooth_relu(0.5), 4),
)
FULL = (
    ((4, 6, 3), "identity", 6),
    ((3, 4, 4, 2), "identity", 5),
    ((3, 3, 3, 3, 1), "identity", 3),
    ((3, 1, 1, 1), "identity", 3),
    ((3, 6, 1), "tanh", 4),
    ((3, 4, 2), "tanh", 4),
    ((3, 3, 1), "sigmoid", 4),
    ((3, 3, 1), "gelu", 4),
    ((3, 3, 1), polynomial((0.0, 1.0, 0.5, 0.25)), 4),
)
LAMBDAS = (1e-1, 1e-2, 1e-3)


def cases(key, *, networks, draws):
    """Regularised minima of networks over λ, every layer with its own."""
    rng = generator(key)
    for widths, activation, examples in networks:
        network = Dense(widths, activation)
        shares = np.linspace(1.0, 2.0, len(widths) - 1)
        for i in range(draws):
            _, drawn = regularised.minima(
                rng, network, Square(), examples, [size * shares for size in LAMBDAS]
            )
            for size, (problem, vector) in zip(LAMBDAS, drawn, strict=True):
                facts = {"net": f"{network.activation.name} {widths}", "N": examples, "λ": size}
                yield point(problem, vector, **facts, draw=i + 1)


FIGURE = Figure(
    Panel("dropped", "lambda", r"$\|\nabla^2L$ − eq. 29$\|/\lambda$", r"$\lambda$", by=("kind",), log="xy"),
    Panel(
        "null",
        "rotations",
        "zero eigenvalues",
        "dimension of the orbit of rotations",
        by=("kind",),
        diagonal=True,
    ),
    caption="At the regularised minimum. Left: what eq. 29 leaves out is as large as λ, however small λ is. Right: "
    "zero eigenvalues are those of rotations (the line), for every λ.",
)
BUDGETS: dict[str, Any] = {
    "quick": {"networks": QUICK, "draws": 1},
    "full": {"networks": QUICK + FULL, "draws": 3},
    "few": {"networks": (QUICK[0], QUICK[4])},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.regularised-square", RegularisedSquarePrinted),
        ("memo90.regularised-square-corrected", RegularisedSquareCorrected),
    )
)
