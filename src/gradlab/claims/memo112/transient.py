"""memo112.transient: from ρ(0) ≈ 0 the norm stays small for a long time, then grows fast to Σ y f/Σ f².

What is judged. The passage argues from eq. 5 as if its two sums stood still. They do in chains of one weight a layer,
for which the closed form must be the orbit; in a net V turns at the rate ρ^{1−2/L} at which log ρ grows, so that the
sums change by their own size during the transient (section "drift" of the figure), and the statement is looked at
itself. T is the first time at which ρ rises through half of Σ y f/Σ f² of its own directions: a hitting time, for any
net, without a tangent or a threshold on a slope. The passage excepts starts from which ρ "goes to zero": those that
have not grown tenfold. It silently needs two layers: of one layer the growth is fastest at the start (the control).

Settings. Loss Σ(g − y)². Chains of 2, 3 and 5 layers on eight numbers from ρ(0) = 1e-3, to 3T of the slowest or
longer, and chains of one layer; linear (6, 4, 4, 1) nets and ReLU (5, 6, 4, 1) ones on two overlapping classes of 14
points with ‖x‖ = 1, from ρ(0) = 1e-3, equal norms, to t = 12 (ReLU by Heun steps of 5e-3). Residual ReLU nets (5,
width 4, one block) on such points, from norms of 0.05 to t = 1.5. A residual net has no factor Πρ_k: its ρ is the
root mean square of its outputs, and ρ/ρ_eq = Σg²/Σyg as for all. Convolutional ReLU nets (two convolutions of four
channels, kernel 3, stride 2, and a full layer) on 14 bundled digits, odd or even, ‖x‖ = 1, from ρ(0) = 1e-2, to t =
15, likewise by Heun; ρ_k is the norm of a kernel, in which f is as homogeneous as in a full layer.

Tolerances. "Very slowly", "very small", "quickly" are words; they are read so that straight growth fails and
exponential growth from 2e-3 ρ_eq or less, the slowest that a transient of two layers can be, passes: u(T/2) =
(u(0)/2)^{1/2} ≈ 0.03. Small: ρ/ρ_eq ≤ 0.1 until T/2. Slow: at T/2 at most a quarter of what straight growth would
have made. Fast: from T/2 to T at least four times the speed of before (L = 1: 0.7). The value: within a tenth of Σ y
f/Σ f² of the directions at the end. Chains: the solver's 1e-10 a step and growth by 1e3, 1e-6.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.transients import UndecayedTransient
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.fixed import Fixed
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.networks import Convolutional, Dense, Residual

SMALL = 2e-3


class Slow(UndecayedTransient):
    """One flow from a small start."""

    @property
    def several(self) -> bool:
        return self.depth > 1

    @property
    def residual(self) -> bool:
        """Whether it is a residual net, in which no product of norms stands before f."""
        return isinstance(self.problem.network, Residual)

    @cached_property
    def rho(self) -> np.ndarray:
        """ρ at every record; of a residual net the root mean square of its outputs."""
        if not self.residual:
            return np.asarray(super().rho)
        return np.asarray(np.sqrt(np.mean(self.outputs**2, axis=1)))

    @property
    def half(self) -> float:
        """ρ at half the duration."""
        return self.at(self.rho, self.duration.value / 2.0)

    @property
    def spread(self) -> float:
        """What the error of T moves a number of order one by, relatively."""
        return self.duration.error / self.duration.value

    @at_most(SMALL, role="hypothesis")
    def start(self) -> float:
        """ρ(0) relative to the largest ρ.

        ρ(0) ≈ 0.
        """
        return float(self.rho[0] / np.max(self.rho))

    @at_least(10.0, role="hypothesis")
    def grown(self) -> float:
        """ρ at the end relative to ρ(0).

        The passage excepts what goes to zero.
        """
        return float(self.rho[-1] / self.rho[0])

    @at_most(1.0 / 3.0, role="hypothesis")
    def over(self) -> Number:
        """T relative to the time of the run.

        The value is asked after the transient.
        """
        return Number(self.duration.value / float(self.time[-1]), self.spread)

    @at_most(0.25, sentence="slow")
    def slow(self) -> Number | None:
        """(ρ(T/2) − ρ(0))/½ρ(T): growth in the first half of the transient, over that of a straight line.

        See the module's docstring.
        """
        if not self.several:
            return NOT_ASKED
        ahead = self.half - float(self.rho[0])
        return Number(2.0 * ahead / self.at(self.rho, self.duration.value), self.spread)

    @at_most(0.1, sentence="small")
    def small(self) -> Number | None:
        """The largest ρ/ρ_eq until T/2, ρ_eq that of the end.

        See the module's docstring.
        """
        if not self.several:
            return NOT_ASKED
        pull, power = self.sums
        first = self.rho[self.time <= self.duration.value / 2.0]
        return Number(float(np.max(first) * power[-1] / pull[-1]), self.spread)

    @at_least(4.0, sentence="fast")
    def fast(self) -> Number | None:
        """(ρ(T) − ρ(T/2))/(ρ(T/2) − ρ(0)): the speed of the second half of the transient over that of the first.

        See the module's docstring.
        """
        if not self.several:
            return NOT_ASKED
        last, half = self.at(self.rho, self.duration.value), self.half
        ratio = (last - half) / abs(half - float(self.rho[0]))
        return Number(ratio, ratio * self.spread)

    @at_most(0.1, sentence="fast")
    def value(self) -> float | None:
        """|ρ/ρ_eq − 1| at the end, ρ_eq = Σ y f/Σ f² of the directions there.

        See the module's docstring.
        """
        return abs(float(self.filled[-1]) - 1.0) if self.several else NOT_ASKED

    @at_most(1e-6, sentence="slow")
    def closed_form(self) -> Number | None:
        """Of chains: max_t |ρ − ρ of eq. 5 with the sums of the start|/ρ_eq.

        The solver's errors, see the module's docstring.
        """
        if not self.chain or not self.several:
            return NOT_ASKED
        norm = self.reduced()
        gap = np.max(np.abs(self.rho - norm.at(float(self.rho[0]), self.time)))
        return Number(float(gap) / norm.equilibrium, 1e-13)

    @at_least(0.25, sentence="small", role="control")
    def one_layer(self) -> Number | None:
        """Of one layer: ρ/ρ_eq at T/2.

        1 − e^{−2bt} gives 1 − 2^{−1/2} = 0.29: no transient.
        """
        return (
            NOT_ASKED
            if self.several
            else Number(self.at(self.filled, self.duration.value / 2.0), self.spread)
        )

    def shown(self):
        norm, start = self.reduced(), float(self.rho[0])
        frozen = np.nan
        if norm.pull > 0.0 and not self.residual:
            frozen = norm.hitting_time(start, 0.5 * norm.equilibrium)
        curve = np.interp(np.linspace(0.0, 3.0, 90), self.time / self.duration.value, self.filled)
        drift = np.interp(np.linspace(0.0, 3.0, 90), self.time / self.duration.value, self.sums[0])
        return {
            "moment": ("moment", np.linspace(0.0, 3.0, 90)),
            "curve": ("moment", curve),
            "pull": ("moment", drift / np.max(drift)),
            "frozen": frozen,
            "T": self.duration.value,
        }


#: Networks, solvers, the end of the run as a share of ``until``, and the product of the norms at the start.
NETS: dict[str, tuple[Any, Any, float, float]] = {
    "linear, 3 layers": (Dense((6, 4, 4, 1), "identity"), Adaptive("dopri8", 1e-9), 1.0, 1e-3),
    "ReLU, 3 layers": (Dense((5, 6, 4, 1)), Fixed("heun", 5e-3), 1.0, 1e-3),
    "residual, one block": (Residual(5, 4, 1, 1), Fixed("heun", 5e-3), 0.125, 1.25e-4),
    "convolutional, digits": (Convolutional((1, 8, 8), (4, 4), outputs=1), Fixed("heun", 5e-3), 1.25, 1e-2),
}


def cases(key, *, depths, chains, nets, draws, until):
    """Chains of several depths, then nets: one compiled solve each."""
    rng = generator(key)
    for depth in depths:
        drawn = []
        for i in range(chains):
            problem = transients.chain_problem(rng, depth)
            facts = {"net": f"chain, L = {depth}", "draw": i + 1}
            drawn.append((problem, transients.chained(depth, 1e-3), facts))
        # |a| ≥ Σ|x|·(1 − 2/8), Σ x² ≤ 8: the slowest of all draws is over at ten times this
        times = np.linspace(0.0, {1: 2.0, 2: 4.0, 3: 8.0}.get(depth, 16.0), 161)[1:]
        yield from ensemble(GradientFlow, drawn, times, solver=Adaptive("dopri8", 1e-10))
    for name in nets:
        network, solver, share, small = NETS[name]
        classes = transients.of_digits if isinstance(network, Convolutional) else transients.classes
        drawn = [
            (
                classes(rng, network, 14),
                transients.equal(rng, network, small),
                {"net": name, "draw": i + 1},
            )
            for i in range(draws)
        ]
        yield from ensemble(GradientFlow, drawn, np.linspace(0.0, share * until, 121)[1:], solver=solver)


STUDY = study(
    "memo112.transient",
    Slow,
    cases,
    quick={"depths": (1, 2, 3, 5), "chains": 2, "nets": tuple(NETS), "draws": 4, "until": 12.0},
    full={"chains": 8, "draws": 24},
    few={"depths": (1, 3), "chains": 1, "nets": ("linear, 3 layers",), "draws": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel("curve", "moment", r"$\rho/\rho_{eq}$ of the moment", "$t/T$", by=("net",), lines=True, each=1),
        Panel(
            "pull", "moment", r"$\Sigma y_nf_n$ over its largest", "$t/T$", by=("net",), lines=True, each=1
        ),
        Panel(
            "frozen",
            "T",
            "$T$ by eq. 5 with the sums of the start",
            "$T$",
            by=("net",),
            log="xy",
            diagonal=True,
        ),
        caption="The transient in units of its duration, one case of each kind. Left: the norm. Right: the sum that "
        "eq. 5 takes for constant; it is in chains, and is what grows first in nets. Below: so eq. 5 with the "
        "sums of "
        "the start gives the duration of chains, and overestimates that of nets.",
    ),
)
