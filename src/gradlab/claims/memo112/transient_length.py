"""memo112.transient-length: the transient lasts longer for smaller starts and for deeper nets; of what, held fixed?

What is judged. T, from ρ(0) to half of ρ_eq. With constant sums (chains, where eq. 5 is exact) it is a closed form or
a quadrature; T → ∞ as ρ(0) → 0 like log 1/ρ(0) for L = 2 and ρ(0)^{−(1−2/L)}/2a(L−2) for L ≥ 3, and stays at log 2/2b
for L = 1 (docs/notes/memo112.transient-length.md). In nets V turns meanwhile; as ρ(0) → 0 the flow is that of −2Σ y_n
g_n, homogeneous of degree L, of which W(t) scales as εW(ε^{L−2}t): the same exponents, another constant. "More
layers" is looked at with the layer norm ρ_k(0) held, and with the product ρ(0) held, which is the passage's own
ρ_{t=0}. The passage takes the two sums to be the same at all depths; here they are by construction. At a fixed depth
the limit ρ(0) → 0 always wins; at a fixed ρ(0), however small, depth does: beyond 2 log 1/ρ(0) layers the transient
gets shorter.

Settings. Loss Σ(g − y)². Chains of 1 to 12, 16, 24 and 32 layers on eight numbers, ρ(0) at 19 sizes from 1e-7 to
1e-1, ρ_k(0) at six from 1e-6 to 0.1; T by quadrature. Linear nets (5, 3, 3, 1) and (5, 3, 3, 3, 1) by gradlab's flow
from the same directions at seven sizes over a decade of ρ(0), on two classes of ten points.

Tolerances. Ratios of durations beyond their error bars, no margin: "longer" has none. Exponents of quadratures: 2e-2,
the next term being smaller by ρ(0)^{1−2/L}, which the constant of the fit takes up; laws are asymptotic, and are told
apart where they leave 1e-3 of T. Of flows 5e-2: their correction is relative, of order ρ(0)^{1/L}-powers of turning,
over a decade and a half.

Changed after a first run: from where on laws are told apart, 1e-3 of T, below which the asymptotic law itself is off.
After seed 4, where Σ y f began below zero: T is where ρ/ρ_eq rises through ½, not where it comes down from ∞.
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis.asymptotics import ScalingLaw, scaling_law
from gradlab.analysis.norm_dynamics import NormDynamics
from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.transients import END, UndecayedTransient
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory.second import COARSE
from gradlab.problem.networks import Dense

SIZES = np.geomspace(1e-7, 1e-1, 19)
#: Norms of a layer.
LAYERS = tuple(float(r) for r in np.geomspace(1e-6, 0.1, 6))
_QUADRATURE = 1e-13


class Length(UndecayedTransient):
    """Durations from the starts that the records hold: of the flows that were run, or of eq. 5 where it is exact."""

    @property
    def flows(self) -> bool:
        """The records are starts, along no time."""
        return False

    def quadrature(self, depth: int, start: float) -> float:
        """T of eq. 5 with the sums of the chain, at another depth perhaps."""
        pull, power = self.sums
        norm = NormDynamics(depth, float(pull[0]), float(power[0]))
        return norm.hitting_time(start, END * norm.equilibrium)

    @cached_property
    def durations(self) -> np.ndarray:
        """T at every start, the smallest first."""
        if "duration" in self.trajectory:
            return np.asarray(self.trajectory["duration"].values)
        return np.array([self.quadrature(self.depth, float(rho)) for rho in self.rho])

    @cached_property
    def law(self) -> ScalingLaw:
        """How T depends on ρ(0), of its smaller two thirds where it is a quadrature."""
        count = 13 if self.chain else len(self.rho)
        lost = np.asarray(self.trajectory["lost"].values) if "lost" in self.trajectory else 1e-3
        return scaling_law(self.rho[:count], self.durations[:count], lost)

    @cached_property
    def layer_held(self) -> np.ndarray:
        """T with one layer more over T, at the same norm of a layer, 1e-6 to 0.1. Of chains."""
        depth = self.depth
        both = [
            (self.quadrature(depth + 1, r ** (depth + 1)), self.quadrature(depth, r**depth)) for r in LAYERS
        ]
        return np.array([more / less for more, less in both])

    @cached_property
    def deeper(self) -> np.ndarray:
        """T with one layer more over T, at the same ρ(0), at every start. Of chains."""
        return np.array([self.quadrature(self.depth + 1, float(rho)) for rho in self.rho]) / self.durations

    @at_least(1.0, sentence="size")
    def longer(self) -> Number:
        """The least ratio of T from one start to T from the next larger one.

        "The smaller ρ(0), the longer": above 1 without margin.
        """
        ratio = float(np.min(self.durations[:-1] / self.durations[1:]))
        return Number(ratio, 0.0 if not self.chain else _QUADRATURE)

    @at_least(1.0, sentence="depth")
    def layer_norm_held(self) -> Number | None:
        """The least ratio of T with one layer more to T, at the same ρ_k(0), 1e-6 to 0.1.

        Above 1 without margin. Of chains.
        """
        if not self.chain:
            return NOT_ASKED
        return Number(float(np.min(self.layer_held)), _QUADRATURE)

    @at_least(1.0, sentence="together")
    def together(self) -> Number | None:
        """T(1e-7)/T(1e-1) with one layer more, over the same with L layers.

        The effect of the size is larger: above 1 without margin. Of chains.
        """
        if not self.chain:
            return NOT_ASKED
        ratio = self.deeper[0] / self.deeper[-1]
        return Number(float(ratio), 4.0 * _QUADRATURE * float(ratio))

    @at_least(0.5, sentence="together")
    def is_law(self) -> Number | None:
        """1 if the law is a constant for one layer, a logarithm for two, a power for more, fitted to T over ρ(0).

        ½ parts yes and no; L = 1 saturates, and its T is a constant up to ρ(0).
        """
        if self.depth == 1:
            return Number(float(self.durations[0] / self.durations[6] - 1.0 < 1e-4), exact=True)
        wanted = "logarithm" if self.depth == 2 else "power"
        return Number(float(self.law.kind == wanted), exact=True)

    @at_most(2e-2, sentence="together")
    def exponent(self) -> Number | None:
        """|p − (1 − 2/L)| of T ~ ρ(0)^{−p}, from three layers on: it increases with L.

        See the module's docstring; 5e-2 for flows.
        """
        if self.law.kind != "power":
            return NOT_ASKED
        gap = abs(self.law.exponent - (1.0 - 2.0 / self.depth))
        return Number(gap, self.law.error, 2e-2 if self.chain else 5e-2)

    def shown(self):
        numbers: dict[str, Any] = {"T": ("sweep", self.durations), "initial": ("sweep", self.rho)}
        if self.chain:
            numbers |= {"layers": float(self.depth), "at_product": self._pick(self.rho, 1e-3)}
            numbers |= {"tiny": self._pick(self.rho, 1e-6), "large": self._pick(self.rho, 1e-2)}
            pull, _ = self.sums
            numbers["held"] = float(pull[0]) * self.quadrature(self.depth, 0.1**self.depth)
        return numbers

    def _pick(self, sizes: np.ndarray, size: float) -> float:
        return float(self.sums[0][0] * self.durations[np.argmin(np.abs(np.log(sizes / size)))])


class LengthPrinted(Length):
    @at_least(1.0, sentence="product")
    def product_held(self) -> Number | None:
        """The least ratio of T with one layer more to T, at the same ρ(0) ≤ 2e-3, over all sizes.

        Above 1 without margin. Of chains.
        """
        if not self.chain:
            return NOT_ASKED
        return Number(float(np.min(self.deeper[self.rho <= 2e-3])), _QUADRATURE)


class LengthCorrected(Length):
    @property
    def needed(self) -> np.ndarray:
        """log 1/ρ(0) of every start."""
        return -np.log(self.rho)

    @at_least(1.0, sentence="product")
    def grows_below(self) -> Number | None:
        """The least ratio of T with one layer more to T at the same ρ(0), where L ≤ log 1/ρ(0).

        Above 1 without margin: (1 − 2/L) log 1/ρ(0) − log(L − 2) grows for L² < 2(L − 2) log 1/ρ(0). Of chains.
        """
        if not self.chain or not (asked := self.depth <= self.needed).any():
            return NOT_ASKED
        return Number(float(np.min(self.deeper[asked])), _QUADRATURE)

    @at_most(1.0, sentence="product")
    def shrinks_beyond(self) -> Number | None:
        """The largest ratio of T with one layer more to T at the same ρ(0), where L ≥ 2 log 1/ρ(0) and L ≥ 3.

        Below 1 without margin, from the same derivative. Of chains.
        """
        if not self.chain or self.depth < 3 or not (asked := self.depth >= 2.0 * self.needed).any():
            return NOT_ASKED
        return Number(float(np.max(self.deeper[asked])), _QUADRATURE)

    @at_most(0.5, sentence="law")
    def leading(self) -> Number | None:
        """|T 2a(L − 2)ρ(0)^{1−2/L} − 1| at the smallest start, for 3 ≤ L ≤ log 1/ρ(0).

        The next term is of relative order (L − 2)ρ(0)^{1−2/L} log, below ½ from ρ(0) = 1e-7 at L ≥ 3. Of chains.
        """
        if not self.chain or self.depth < 3 or self.depth > self.needed[0]:
            return NOT_ASKED
        rho, depth = float(self.rho[0]), self.depth
        scaled = self.durations[0] * 2.0 * float(self.sums[0][0]) * (depth - 2) * rho ** (1.0 - 2.0 / depth)
        return Number(abs(scaled - 1.0), 4.0 * EPS)


NETS = {3: Dense((5, 3, 3, 1), "identity"), 4: Dense((5, 3, 3, 3, 1), "identity")}


def cases(key, *, depths, nets, draws):
    """Chains by quadrature; nets by flows from the same directions at seven sizes."""
    rng = generator(key)
    for depth in depths:
        problem = transients.chain_problem(rng, depth)
        starts = SIZES[:, None] ** (1.0 / depth) * np.ones(depth)
        kept = xr.Dataset({"weights": (("record", "weight"), starts)})
        yield case(problem, kept, net="chain", L=depth)
    sizes = np.geomspace(2e-4, 2e-3, 7)
    for depth in nets:
        network, drawn = NETS[depth], []
        for i in range(draws):
            problem = transients.classes(rng, network, 10)
            start = transients.equal(rng, network, 1.0)
            drawn += [
                (problem, tuple(rho ** (1.0 / depth) * one for one in start), {"draw": i + 1})
                for rho in sizes
            ]
        until = {3: 10.0, 4: 24.0}[depth]
        # the fast growth is at the end: records are dense where T may be
        times = until * np.linspace(0.0, 1.0, 301)[1:]
        runs = list(ensemble(GradientFlow, drawn, times, solver=Adaptive("dopri8", 1e-9)))
        for i in range(draws):
            mine = runs[i * len(sizes) : (i + 1) * len(sizes)]
            looks = [(one.look(UndecayedTransient), one.second.look(UndecayedTransient)) for one in mine]
            starts = np.stack([first.weights[0] for first, _ in looks])
            fine, coarse = (np.array([pair[j].duration.value for pair in looks]) for j in (0, 1))
            lost = np.array([first.duration.error for first, _ in looks])
            seen: dict[str, Any] = {"weights": (("record", "weight"), starts), "duration": ("record", fine)}
            seen["lost"] = ("record", np.maximum(lost / fine, 1e-4))
            seen |= {f"weights{COARSE}": seen["weights"], f"duration{COARSE}": ("record", coarse + lost)}
            yield case(mine[0].problem, xr.Dataset(seen), net="linear net", L=depth, draw=i + 1)


BUDGETS: dict[str, Any] = {
    "quick": {"depths": (*range(1, 13), 16, 24, 32), "nets": (3, 4), "draws": 3},
    "full": {"depths": range(1, 49), "draws": 12},
    "few": {"depths": (1, 2, 3, 4, 32), "nets": (3,), "draws": 1},
}
FIGURE = Figure(
    Panel("T", "initial", "$T$", r"$\rho(0)$", by=("L",), log="xy", lines=True, each=1, most=6),
    Panel("held", "layers", "$aT$ at $\\rho_k(0)=0.1$", "layers $L$", by=("net",), log="y"),
    Panel("tiny", "layers", "$aT$ at $\\rho(0)=10^{-6}$", "layers $L$", by=("net",), log="y"),
    Panel("large", "layers", "$aT$ at $\\rho(0)=10^{-2}$", "layers $L$", by=("net",), log="y"),
    caption="Duration of the transient. First: over the initial size, a line a depth. Then over depth, in units "
    "of 1/a: with the "
    "norm of a layer held it grows without end; with the product held it grows, and beyond about 2 log 1/ρ(0) layers "
    "(28 and 9) falls.",
    height=2.8,
)

STUDIES = tuple(
    study(name, look, cases, **BUDGETS, settings=section(__doc__, "Settings"), figure=FIGURE)
    for name, look in (
        ("memo112.transient-length", LengthPrinted),
        ("memo112.transient-length-corrected", LengthCorrected),
    )
)
