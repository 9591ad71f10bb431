"""memo90.proposition5: the normalised weight matrix at each layer, and the start (section 12.2).

What is printed. "The dynamics of the normalized matrices at each layer converges." Conjecture: "The normalized
weight matrix at each layer converges to the minimum Frobenius norm solution, independently of initial conditions."

What is compared. V_k of two starts on the same data (each up to its sign); what the nets compute (the product of a
linear net, the outputs of a ReLU net on a circle of inputs); and the margin of W/‖W‖ with the largest of all, which
is what the solution of minimum Frobenius norm has.

What holds (docs/notes/memo90.theorem3.md). V converges (Ji and Telgarsky 2020). Deep linear nets: the product tends
to the SVM direction from every start, V_1 = p ŵᵀ/‖ŵ‖ with a unit vector p of hidden units that the start decides;
ReLU nets: one of several KKT points, of different margins. One of them may be a saddle that an orbit comes by (at
100°: a neuron on each input, and a small one between that both see, whose share grows like (log t)^{0.16}): at log t
= 1e4 such a run is still on its way, and what is said of limits is not asked of it. Deeper ReLU nets may be sorted as
slowly: of them limits are asked where the KKT residual is below a tenth.

Settings. The runs of memo90.theorem3, and two or more that come by a saddle: at 100° a neuron near each input and a
small one that both see.

Tolerances. As there: V is off by C (log t)^{−1/K}, so that a decade of log t moves it by a share 10^{−1/K} of the
decade before: 0.32 (K = 2), 0.46 (3), and 0.65 is allowed (log log t beside). Directions of products: 0.1; layers:
0.1 (two random ones differ by 1 and more).
"""

from gradlab.claims.cases import generator
from gradlab.claims.looks.late import LateNet
from gradlab.claims.measured import NOT_ASKED, Number, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late_runs
from gradlab.claims.studies import section, study


class _Shared(LateNet):
    @at_most(
        0.95,
        sentence="converges",
        changed="0.65 before: beside a neuron that both inputs see at 100° one that a single input sees shrinks like "
        "(log t)^{(λ − 1)/2}, λ = 0.78 its multiplier: 0.78 a decade. Of runs that leave a saddle, too, until "
        "one start of 194 at the full budget, and one of 231 with deeper nets, had refuted it",
    )
    def slows(self) -> float | None:
        """Motion of V_k from log t = 1e3 to 1e4 over that from 1e2 to 1e3 (1e-4 at least), the largest of the layers.

        See the module's docstring; a motion below 1e-4 is none. Not asked of a run that is leaving a saddle still.
        """
        return NOT_ASKED if self.leaving() else self.turned(1e3, 1e4) / max(self.turned(1e2, 1e3), 1e-4)

    @at_most(0.2, sentence="converges", changed="0.1 before, and asked of all runs, as for slows")
    def moved(self) -> float | None:
        """Motion of V_k from log t = 1e3 to 1e4, the largest of the layers.

        C (log t)^{−1/K} ≤ 0.1 at log t = 1e3 for C of order one. Not asked of a run that is leaving a saddle still.
        """
        return NOT_ASKED if self.leaving() else self.turned(1e3, 1e4)

    @equals(1.0, within=0.2, sentence="converges")
    def leaves(self) -> float | None:
        """Of a run of a two-layer net that is leaving a saddle: how its neurons part from log t = 3e3 to 1e4, over what
        their gains say.

        Exponents of log t; gains are taken at both ends, and change by less than a tenth between them.
        """
        return self.parting() if self.leaving() and self.depth == 2 else NOT_ASKED

    def shown(self):
        return {
            "by layer": self.apart_by_layer(),
            "by function": self.apart_by_function(),
            "share": float(self.here[1].min() / self.facts["best"]),
        }


class Proposition5Printed(_Shared):
    @at_most(0.03, sentence="minimum_norm")
    def largest(self) -> float:
        """1 − γ/γ*, γ the margin of W/‖W‖ at the end, γ* the largest of all.

        C² (log t)^{−2/K}, as in memo90.theorem3.
        """
        return self.short_of(float(self.facts["best"]))

    @at_most(0.1, sentence="start")
    def layers(self) -> float | None:
        """‖V_k − V_k'‖ of two starts, up to sign, the largest of the layers.

        See the module's docstring.
        """
        return self.apart_by_layer() if self.compared else NOT_ASKED


class Proposition5Corrected(_Shared):
    @at_most(0.03, sentence="linear")
    def largest(self) -> float | None:
        """1 − γ/γ* for linear nets.

        C² (log t)^{−2/K}, as in memo90.theorem3.
        """
        return NOT_ASKED if self.rectified else self.short_of(float(self.facts["best"]))

    @at_most(0.1, sentence="linear")
    def product(self) -> float | None:
        """Distance of the directions of W_K … W_1 of two starts, for linear nets.

        Angles to the SVM direction fall like 1/log t or faster for K ≤ 2, (log t)^{−1/3} for three layers.
        """
        return self.apart_by_function() if self.compared and not self.rectified else NOT_ASKED

    @at_most(0.15, sentence="one_of_several", changed="0.1 before, as for slows")
    def kkt(self) -> float:
        """Least KKT residual of W/‖W‖ over all multipliers.

        C (log t)^{−1/K}, as in memo90.theorem3.
        """
        return self.multipliers[1]

    @at_most(0.05, sentence="one_of_several", changed="0.02 before, and asked of all runs, as for slows")
    def by_hand(self) -> Number | None:
        """Distance of γ from the nearest margin that is found by hand, cos(θ/2)/2 or 1/4, relative; for two inputs.

        At 100° and 150° both belong to KKT points; at 60° a neuron that one input sees is seen by the other: one
        margin. Not asked of a run that is leaving a saddle still.
        """
        if not self.rectified or self.depth != 2 or self.leaving():
            return NOT_ASKED
        bisector = 0.5 * float(self.half_angle())
        known = (bisector, 0.25) if bisector < 0.5 * 0.5**0.5 else (bisector,)
        margin = float(self.here[1].min())
        return Number(min(abs(margin / one - 1.0) for one in known))

    def half_angle(self) -> float:
        """cos(θ/2) of two unit inputs."""
        x = self.problem.data.inputs
        return float(((1.0 + x[0] @ x[1]) / 2.0) ** 0.5)


def cases(key, *, data, starts):
    """The runs of memo90.theorem3, and runs that come by a saddle."""
    yield from late_runs.cases(key, data=data, starts=starts)
    yield from late_runs.group(*late_runs.by_a_saddle(generator(key), max(starts - 1, 2)))


def _panel(name, ylabel):
    return Panel(
        name, "case", ylabel, "case", by=("kind",), log="y", floor=1e-12, reference={"tolerance": 0.1}
    )


FIGURE = Figure(
    _panel("by layer", "distance of two starts, layers"),
    _panel("by function", "distance of two starts, functions"),
    caption="Two starts on the same data at log t = 1e4. Left: normalised layers. Right: what the nets compute "
    "(the product of a linear "
    "net, the outputs of a ReLU net on a circle of inputs).",
)
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **late_runs.BUDGETS)
    for name, look in (
        ("memo90.proposition5", Proposition5Printed),
        ("memo90.proposition5-corrected", Proposition5Corrected),
    )
)
