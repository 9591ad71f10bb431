"""notes.regularise-to-hyperbolic: weight decay *can* turn a degenerate minimum of a deep net into a hyperbolic one.

Printed. "Regularization can transform degenerate Hessian at a min into hyperbolic min", where E_n = ε for all n: a
statement of possibility. Asked of nets without continuous symmetry: smooth non-linear units, and linear nets of one
hidden unit a layer. Linear nets with more hidden units, where rotations keep zeros for every λ, are what "can" does
not cover; that the study sees those zeros is a control. The passage's −λ in H is judged under notes.deep-hessian.

Settings, before any run. λ = 1e-5 to 0.1 as far as residuals are below a fifth. The two points of a case: the zero of
the loss that a teacher is, and the minimum reached from it with decay, polished until ∇L is rounding.

Counts are decided by a factor of a thousand (analysis/equilibria/counting.py). gl.classify bounds eigenvalues on its
own and wider; wherever it decides, it must count the same zeros.
"""

from functools import cached_property

import numpy as np
import xarray as xr

from gradlab.analysis.equilibria import counting
from gradlab.analysis.equilibria.classification import classify
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.points import count
from gradlab.claims.looks.regularised import RegularisedPoint
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.regularised import minima
from gradlab.claims.studies import section, study
from gradlab.observe import local
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Residuals that count as small, relative: E² is below 4 % of the data.
SMALL = 0.2


def _residual(problem: Problem, f: np.ndarray) -> float:
    targets = np.asarray(problem.data.targets)
    return float(np.linalg.norm(targets - f) / np.linalg.norm(targets))


class RegulariseToHyperbolic(RegularisedPoint):
    """The eigenvalues at the regularised minimum, and at the zero of the loss from which it was reached."""

    setting = "a deep net under the square loss"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it has hidden units, and that loss."""
        return isinstance(problem.loss, Square) and len(problem.network.layers(problem.network.shapes())) > 1

    @cached_property
    def zero(self) -> np.ndarray:
        """The weights at which the loss is zero."""
        return np.asarray(self.trajectory["zero"].values)

    @property
    def turns(self) -> bool:
        """Whether rotations of hidden units move the minimum."""
        return self.rotations > 0.0

    @at_most(SMALL, role="hypothesis")
    def small(self) -> float:
        """‖y − f‖/‖y‖ at the regularised minimum: small residuals.

        A fifth: E² is below 4 % of the data.
        """
        return _residual(self.problem, self.eigen.here.f)

    @at_most(1e-13, role="hypothesis")
    def fitted(self) -> Number:
        """‖y − f‖/‖y‖ at the zero of the loss.

        f is a chain of sums, right to some dozens of eps of its size.
        """
        return Number(_residual(self.problem, local.outputs(self.problem, self.zero)), exact=True)

    @at_least(0.5, sentence="before")
    def before(self) -> Number:
        """Zero eigenvalues at the zero of the loss, λ = 0: degenerate.

        A whole number; its error are singular values of J that are neither rounding nor clear of it.
        """
        return count(counting.kernel_at_zero(self.problem, self.zero))

    @at_most(0.5, sentence="can")
    def after(self) -> Number | None:
        """Eigenvalues that are not positive at the regularised minimum, of nets without rotations.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        zeros, below = self.zeros, self.below
        found = counting.Count(zeros.number + below.number, zeros.error + below.error)
        return NOT_ASKED if self.turns else count(found)

    @equals(0.0, within=0.5, role="control")
    def kept(self) -> Number | None:
        """Zero eigenvalues less the dimension of rotations, of nets that have some: zeros are seen where they are.

        A whole number, as above; rotations of hidden units change neither f nor a norm.
        """
        return count(self.unexplained) if self.turns else NOT_ASKED

    @equals(0.0, within=0.5, role="control", exact=True)
    def classified(self) -> float | None:
        """Zero eigenvalues that gl.classify counts, less those counted here, where it decides.

        A whole number: the two roads share neither bounds nor the point, which classify polishes on its own.
        """
        found = classify(self.problem, self.tree(self.end)).inertia
        return found.zero - self.zeros.number if found is not None and found.decided else NOT_ASKED

    def shown(self):
        kind = "linear, more" if self.turns else "linear, one hidden unit a layer"
        kind = kind if self.problem.network.linear else "non-linear"
        return super().shown() | {"kind": kind, "size": abs(float(self.eigen.values[0]))}


#: Widths, activation, examples.
QUICK = (
    ((3, 1, 1), "identity", 2),
    ((3, 3, 1), "identity", 2),
    ((3, 3, 1), "tanh", 4),
    ((2, 3, 3, 1), "tanh", 3),
    ((3, 3, 1), smooth_relu(0.5), 4),
    ((3, 3, 1), polynomial((0.0, 1.0, 0.5, 0.25)), 4),
)
FULL = (
    ((3, 1, 1, 1), "identity", 2),
    ((3, 4, 2), "identity", 3),
    ((3, 3, 3, 1), "identity", 2),
    ((3, 8, 1), "tanh", 4),
    ((3, 4, 2), "tanh", 3),
    ((3, 3, 1), "gelu", 4),
    ((3, 3, 1), "sigmoid", 4),
)
LAMBDAS = 10.0 ** np.arange(-5.0, 0.0)


def cases(key, *, nets, draws):
    """Regularised minima over λ, of problems fitted by a teacher, as far as residuals are small."""
    rng = generator(key)
    for widths, activation, examples in nets:
        network = Dense(widths, activation)
        for i in range(draws):
            zero, found = minima(rng, network, Square(half=True), examples, LAMBDAS)
            for size, (problem, vector) in zip(LAMBDAS, found, strict=True):
                if _residual(problem, local.outputs(problem, vector)) > SMALL:
                    continue
                points = xr.Dataset({"final_weights": ("weight", vector), "zero": ("weight", zero)})
                net = f"{network.activation.name} {'-'.join(map(str, widths))}"
                yield case(problem, points, net=net, N=examples, λ=float(size), draw=i + 1)


STUDY = study(
    "notes.regularise-to-hyperbolic",
    RegulariseToHyperbolic,
    cases,
    quick={"nets": QUICK, "draws": 1},
    full={"nets": QUICK + FULL, "draws": 4},
    few={"nets": QUICK[:3]},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "size",
            "λ",
            "|least eigenvalue| of the Hessian",
            r"decay $\lambda$",
            by=("kind",),
            log="xy",
            floor=1e-19,
        ),
        caption="The least eigenvalue at the regularised minimum, by size. It is of the order of λ, and the minimum "
        "hyperbolic, but for linear nets of two hidden units or more, where it is rounding.",
    ),
)
