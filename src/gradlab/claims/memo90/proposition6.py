"""memo90.proposition6: hyperbolic at large finite t, equivalent to the nonlinear flow, of local maximum margin
(section 13).

What is printed. "The linearized dynamics for the exponential loss is hyperbolic for large, finite t, describing the
dynamics of each layer weight matrix near a zero minimum of the loss. [...] near a global asymptotic minimum L = 0,
for an arbitrarily large finite T_0, the linearized flow is topologically equivalent to the nonlinear dynamics [...].
The flow converges to the local maximum margin solution asymptotically, independently of the trajectory leading to
the global minimum."

What holds (docs/notes/memo90.theorem3.md). The Hessian at W(t) has a kernel: d − r directions for one layer on data
of rank r; for two linear layers of h hidden units at least (h − 1)(r − 1) + h (d − r), δW_1 = Σ p_j q_jᵀ with W_2 p
= 0 and q ⟂ u = Σ m'_n x_n e^{−m_n}, and δW_1 beside the data; for ReLU all weights of a neuron that no input sees.
The rest is as in memo90.theorem3 and memo90.proposition5.

Settings. The runs of memo90.theorem3. The Hessian is taken where log t is nearest to 5: later its small eigenvalues,
of points beyond the margin, are below rounding of the large ones.

Tolerances. An eigenvalue counts as zero below 1e-12 of the largest: rounding is P eps, 1e-14; at log t = 5 the least
of the others was estimated before as e^{−5 (m_N − 1)} of the largest, m_N the margin of the farthest point: 1e-9 for
m_N = 5. The rest as in memo90.theorem3.
"""

import numpy as np

from gradlab.claims.looks.late import LateNet
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late_runs
from gradlab.claims.studies import section, study

ZERO = 1e-12


class _Shared(LateNet):
    def kernel(self) -> int:
        """Eigenvalues of ∇²L near log t = 5 that are zero."""
        values = np.abs(np.linalg.eigvalsh(self.curvature(int(np.argmin(np.abs(self.logs - 5.0))))))
        return int(np.sum(values <= ZERO * values.max()))

    def expected(self) -> float:
        """Dimensions of the kernel that the data and the shape of the net say; of deep ReLU nets they say none."""
        if self.rectified and self.depth > 2:
            return np.nan
        X, widths = np.asarray(self.problem.data.inputs), self.problem.network.widths
        rank = int(np.linalg.matrix_rank(X))
        if self.rectified:
            first, _ = self.neurons(self.weights[int(np.argmin(np.abs(self.logs - 5.0)))])
            return (widths[0] + 1) * int(np.sum(~np.any(first @ X.T > 0.0, axis=1)))
        if self.depth == 1:
            return widths[0] - rank
        return (widths[1] - 1) * (rank - 1) + widths[1] * (widths[0] - rank)

    def shown(self):
        return {
            "found": float(self.kernel()),
            "expected": float(self.expected()),
            "share": float(self.here[1].min() / self.facts["best"]),
        }


class Proposition6Printed(_Shared):
    @at_most(0.5, sentence="hyperbolic")
    def zeros(self) -> Number:
        """Zero eigenvalues of ∇²L near log t = 5.

        A count; see the module's docstring.
        """
        return Number(float(self.kernel()), exact=True)

    @at_most(0.5, sentence="equivalent")
    def equilibrium(self) -> Number:
        """‖∇L‖ ‖W‖/(K Σ m_n e^{−m_n}) at the end: 0 at an equilibrium, such as the linearised flow has.

        1 or more wherever the data are separated; a half parts them.
        """
        return self.pull()

    @at_most(1.05, sentence="margin")
    def maximum(self) -> float | None:
        """What a new small neuron adds to the margin over what it costs, where a neuron is idle (< 1 % of ‖W‖²).

        At most 1 at a local maximum of the margin; the multipliers are known to the KKT residual.
        """
        return self.escape() if self.idle() else NOT_ASKED

    @at_most(0.03, sentence="margin")
    def linear_margin(self) -> float | None:
        """1 − γ/γ* for a linear net, γ the margin of W/‖W‖ at the end, γ* the largest.

        C² (log t)^{−2/K}, as in memo90.theorem3.
        """
        return NOT_ASKED if self.rectified else self.short_of(float(self.facts["best"]))

    @at_most(0.1, sentence="trajectory")
    def product(self) -> float | None:
        """Distance of the directions of W_K … W_1 of two starts, for linear nets.

        As in memo90.proposition5.
        """
        return self.apart_by_function() if self.compared and not self.rectified else NOT_ASKED

    @at_most(0.1, sentence="trajectory")
    def classifier(self) -> float | None:
        """Distance of what two starts on the same data compute on a circle of inputs, for ReLU nets, as unit vectors.

        As in memo90.proposition5; that layers differ by a rotation of hidden units is not held against it.
        """
        return self.apart_by_function() if self.compared and self.rectified else NOT_ASKED


class Proposition6Corrected(_Shared):
    @at_least(0.0, sentence="kernel")
    def zeros(self) -> Number | None:
        """Zero eigenvalues of ∇²L near log t = 5, less what data and shape say (three layers are not asked).

        A count of at least so many.
        """
        return NOT_ASKED if self.depth > 2 else Number(float(self.kernel() - self.expected()), exact=True)

    @at_least(1.0 - 1e-6, sentence="equivalent", changed="1e-9 at first, as in memo90.theorem3")
    def no_equilibrium(self) -> Number:
        """‖∇L‖ ‖W‖/(K Σ m_n e^{−m_n}) at the end.

        1 or more; at an equilibrium 0. Two solves at 1e-10 differ by some 1e-9.
        """
        return self.pull()

    @at_most(0.15, sentence="kkt", changed="0.1 before, as in memo90.proposition5")
    def kkt(self) -> float:
        """Least KKT residual of W/‖W‖ over all multipliers.

        C (log t)^{−1/K}, as in memo90.theorem3.
        """
        return self.multipliers[1]

    @at_most(0.1, sentence="linear")
    def product(self) -> float | None:
        """Distance of the directions of W_K … W_1 of two starts, for linear nets.

        As in memo90.proposition5.
        """
        return self.apart_by_function() if self.compared and not self.rectified else NOT_ASKED


FIGURE = Figure(
    Panel("found", "expected", "zero eigenvalues", "by hand", by=("kind",), diagonal=True),
    Panel("share", "case", "margin over the largest", "case", by=("kind",), reference={"largest": 1.0}),
    caption="Left: zero eigenvalues of the Hessian at W(t), log t = 5, against the number by hand (a lower "
    "bound for three layers). "
    "Right: margin at log t = 1e4 over the largest of all.",
)
STUDIES = tuple(
    study(
        name, look, late_runs.cases, figure=FIGURE, settings=section(__doc__, "Settings"), **late_runs.BUDGETS
    )
    for name, look in (
        ("memo90.proposition6", Proposition6Printed),
        ("memo90.proposition6-corrected", Proposition6Corrected),
    )
)
