"""memo90.lemma2: whether weight decay, however small, makes the linearised dynamics of a deep network hyperbolic.

What is judged. At regularised minima of deep nets, followed from a zero minimiser (square loss; exponential loss:
separating weights), polished until ∇L is rounding: zero eigenvalues (hyperbolic: none), negative ones (eqs. 29, 36:
definite), and "their minimum norm solution" in the limit: whether another regularised minimum of the same problem,
reached from another start, has a smaller potential; as λ → 0 under the square loss potential/λ is half the norm. Not
judged: that flows are conjugate, which is the Hartman–Grobman theorem where the equilibrium is hyperbolic.

ReLU. Regularised minima of ReLU nets often lie on kinks, where the linearised dynamics does not exist; such points
do not meet the hypotheses. The cases are minima off the kinks (drawn until they are), with positive inputs.

Corrected (docs/notes/memo90.lemma2.md). The zero eigenvectors are the rotations among hidden units that the
activation treats alike: all of a layer in a linear net, those with one activation pattern in a ReLU net. The
equilibrium is hyperbolic where that orbit is a point, for linear nets with one hidden unit a layer and for smooth
non-linear nets; elsewhere for no λ. And an equilibrium is a stationary point of ½Σ λ_k‖W_k‖² at fixed outputs, not
the least one.

Settings, before any run: 6 networks (quick) or 17 of width 1 to more weights than examples, square and exponential
loss; λ = 0.1, 0.01, 0.001 as far as data are fitted; polished to rounding; three other starts a case. By hand, since
random starts met another minimum at one seed and not at the next: two ReLU units that can fit two inputs in two ways.

Tolerances. Counts: decided by a factor of a thousand, see analysis/equilibria/counting.py. Potentials of one minimum
reached twice agree to rounding, 1e-13 relative; different minima are told at 1e-6. Stationarity: ‖∇L‖ at its rounding
over λ‖W‖, 1e-9 at most.
"""

from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis.equilibria import minimising
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.points import count
from gradlab.claims.looks.regularised import RegularisedPoint
from gradlab.claims.measured import EPS, Number, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import regularised, teachers
from gradlab.claims.problems.summary import two_units
from gradlab.claims.studies import section, study
from gradlab.observe import local
from gradlab.problem.activations import leaky_relu, polynomial, smooth_relu
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Residuals, or the least margin, of what counts as near a zero minimiser.
NEAR = 0.9


def _near(problem: Problem, f: np.ndarray) -> float:
    targets = np.asarray(problem.data.targets)
    if problem.loss.kind == "residual":
        return float(np.linalg.norm(targets - f) / np.linalg.norm(targets))
    margins = targets * f[:, 0]
    return float(1.0 - margins.min() / np.abs(margins).max())


class _Shared(RegularisedPoint):
    """The eigenvalues at the equilibrium, and other minima of the problem (``rivals`` of the trajectory)."""

    setting = "the square loss or one with an exponential tail"

    @classmethod
    def speaks_of(cls, problem):
        """Whether the loss is one of them."""
        return isinstance(problem.loss, Square | Exponential | Logistic)

    @at_most(NEAR, role="hypothesis")
    def near(self) -> Number:
        """‖y − f‖/‖y‖, or under a loss of margins 1 less the least y f over the largest: near a zero minimiser.

        Fitted or separated: at 1 nothing is fitted, or a point is on the wrong side.
        """
        return Number(_near(self.problem, self.eigen.here.f), EPS * self.size)

    def negatives(self) -> Number:
        """Negative eigenvalues."""
        return count(self.below)

    def shown(self):
        """What both figures draw."""
        name = self.problem.network.activation.name
        kind = {"identity": "linear", "relu": "(leaky) ReLU", "leaky_relu": "(leaky) ReLU"}.get(
            name, "smooth"
        )
        found = super().shown()
        return found | {"kind": kind, "null": self.zeros.number, "least": abs(found["least"])}


class Lemma2Printed(_Shared):
    @at_most(0.5, sentence="hyperbolic")
    def kernel(self) -> Number:
        """Zero eigenvalues.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return count(self.zeros)

    @at_most(0.5, sentence="stable")
    def negative(self) -> Number:
        """Negative eigenvalues.

        A whole number, as above.
        """
        return self.negatives()

    @at_most(1e-6, sentence="minimum_norm")
    def excess(self) -> Number:
        """Share of the potential by which another regularised minimum of the problem is lower.

        One minimum reached twice agrees to 1e-13, and other minima differ by more than a millionth or not at all.
        """
        own = minimising.potential(self.problem, self.end)
        rivals = self.trajectory["rivals"].values if "rivals" in self.trajectory else self.end[None]
        lowest = min(own, *(minimising.potential(self.problem, rival) for rival in rivals))
        return Number(1.0 - lowest / own if own else 0.0, EPS * self.size)


class Lemma2Corrected(_Shared):
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

    @at_most(1e-6, sentence="stationary")
    def stationary(self) -> Number:
        """Part of ΛW outside the span of ∂f(x_n)/∂W, relative.

        0 at an equilibrium; ‖∇L‖/‖ΛW‖ ≤ 1e-9 is left of it.
        """
        pulled, rows = self.eigen.here.decay * self.end, self.eigen.here.rows
        apart = pulled - rows.T @ np.linalg.lstsq(rows.T, pulled, rcond=None)[0]
        size = float(np.linalg.norm(pulled)) or 1.0
        return Number(float(np.linalg.norm(apart)) / size, self.eigen.noise / size)


BOTH = (Square(half=True), Exponential())
#: Widths, activation, examples, inputs positive, losses.
QUICK = (
    ((3, 1, 1), "identity", 2, False, BOTH),
    ((3, 3, 1), "identity", 2, False, BOTH),
    ((3, 3, 3, 1), "identity", 2, False, BOTH),
    ((2, 3, 1), "tanh", 3, False, BOTH),
    ((3, 2, 1), "relu", 2, True, BOTH[:1]),
    ((2, 3, 1), smooth_relu(0.5), 3, False, BOTH),
)
FULL = (
    ((3, 1, 1, 1), "identity", 2, False, BOTH),
    ((3, 6, 1), "identity", 3, False, (*BOTH, Logistic())),
    ((3, 4, 2), "identity", 3, False, BOTH[:1]),
    ((3, 2, 3, 2, 1), "identity", 2, False, BOTH),
    ((2, 1, 1), "tanh", 1, False, BOTH),
    ((3, 4, 1), "tanh", 5, False, (*BOTH, Logistic())),
    ((2, 3, 3, 1), "tanh", 3, False, BOTH),
    ((2, 3, 1), "sigmoid", 3, False, BOTH),
    ((2, 3, 1), polynomial((0.0, 1.0, 0.5, 0.25)), 3, False, BOTH[:1]),
    ((3, 1, 1), "relu", 2, True, BOTH),
    ((3, 2, 1), leaky_relu(0.3), 2, True, BOTH),
)
LAMBDAS = (1e-1, 1e-2, 1e-3)


def cases(key, *, networks, draws):
    """Regularised minima from the teacher's weights over λ, each with those from three other starts; one by hand."""
    rng = generator(key)
    for widths, activation, examples, positive, losses in networks:
        network = Dense(widths, activation)
        for loss in losses:
            for i in range(draws):
                _, drawn = regularised.minima(rng, network, loss, examples, LAMBDAS, positive)
                starts = [teachers.weights(rng, network) for _ in range(3)]
                for size, (problem, vector) in zip(LAMBDAS, drawn, strict=True):
                    if _near(problem, local.outputs(problem, vector)) > NEAR:
                        continue
                    rivals = np.stack([minimising.minimum(problem, start) for start in starts])
                    seen = {"final_weights": ("weight", vector), "rivals": (("start", "weight"), rivals)}
                    facts = {
                        "net": f"{network.activation.name} {widths}",
                        "loss": type(loss).__name__,
                        "N": examples,
                    }
                    yield case(problem, xr.Dataset(seen), **facts, λ=size, draw=i + 1)
    yield from by_hand()


def by_hand():
    """Two ReLU units and two inputs of target 1 at an angle of 150°: two minima that fit, off the kinks, for every λ.

    As λ → 0 one direction that is active at both inputs has ½‖W‖² = 1/cos 75°, a unit of its own for each has 2.
    """
    half = np.deg2rad(75.0)
    between = np.asarray([np.cos(half), np.sin(half)])
    shared = np.concatenate([between, 1.2 * between, [1.9, 2.1]])
    for size in LAMBDAS:
        problem = two_units("square", size)
        own = np.concatenate([*np.asarray(problem.data.inputs), [1.0, 1.0]])
        rivals = minimising.minimum(problem, own)[None]
        seen = {
            "final_weights": ("weight", minimising.minimum(problem, shared)),
            "rivals": (("start", "weight"), rivals),
        }
        yield case(problem, xr.Dataset(seen), net="relu (2, 2, 1) by hand", loss="Square", N=2, λ=size)


FIGURE = Figure(
    Panel(
        "null",
        "rotations",
        "zero eigenvalues",
        "dimension of the orbit of rotations",
        by=("kind",),
        diagonal=True,
    ),
    Panel("least", "lambda", "|least eigenvalue| / λ", r"$\lambda$", by=("kind",), log="xy", floor=1e-17),
    caption="Hessians at regularised minima. Left: zero eigenvalues are those of rotations (the line). Right: where "
    "there are rotations the least eigenvalue is rounding for every λ; elsewhere it is of the order of λ.",
)
BUDGETS: dict[str, Any] = {
    "quick": {"networks": QUICK, "draws": 1},
    "full": {"networks": QUICK + FULL, "draws": 3},
    "few": {"networks": QUICK[1:2] + QUICK[3:4]},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (("memo90.lemma2", Lemma2Printed), ("memo90.lemma2-corrected", Lemma2Corrected))
)
