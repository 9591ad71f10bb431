"""marcotte23.finite-step: what descent of a finite step does to conserved quantities, apart from a solver's errors.

Derived (docs/notes/marcotte23.finite-step.md), beside the paper, whose laws are those of the flow. With Q_j =
W_{j+1}ᵀW_{j+1} − W_jW_jᵀ and gradients G_j, one step of descent changes Q_j by η²K_j, K_j = G_{j+1}ᵀG_{j+1} − G_jG_jᵀ,
exactly. Over a fixed time T that is η∫_0^T K_j dt + O(η²) along the flow: the order is one, and the coefficient an
integral. A solver of the flow leaves an error of its own, which falls with its tolerance and knows no η. Along the flow
K_j decays with the loss, so that the drift has a limit as T → ∞.

Settings, before any run. Half the sum of squares, X = I, Y = (D_Y 0); widths 4-3-2 and 3-3-3-2; Gaussian weights of
size 0.6; η = 0.05/λ and four halvings, T = 4/λ, λ the largest Σ‖W_j‖² + ‖Y − W‖ of all starts, above the largest
curvature of two layers. The flow by dopri8 at 1e-10, 64 intervals of Simpson's rule, and again by dopri5 at 1e-3.

Tolerances. The step's order is 2 and the time's 1 as η → 0, within 0.15 as everywhere; the step's change to the
rounding of W², 1e-16/η²: 1e-6 at the largest η. The coefficient, extrapolated from the last two η, is off by O(η²) =
(0.05/8)², Simpson's rule by (1/16)⁴/180: 1 %. The solver's drift is a thousandth of that of descent or less.
"""

from functools import cached_property

import numpy as np

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.descents import Descents
from gradlab.claims.looks.linear_net import LinearFlow
from gradlab.claims.measured import EPS, Number, at_least, at_most, equals
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive

COARSEST, SWEEP, UNTIL, INTERVALS = 0.05, 5, 4.0, 64


class FiniteStep(LinearFlow, Descents):
    """Descents of five step sizes to one time, the flow to that time, and Q along all of them."""

    def q(self, vector: np.ndarray) -> np.ndarray:
        """Q at a weight vector, all entries."""
        return linear_nets.conserved(linear_nets.layers(self.network, vector))

    @property
    def etas(self) -> np.ndarray:
        """η, descending."""
        return float(self.facts["eta"]) * 0.5 ** np.arange(SWEEP)

    @cached_property
    def once(self) -> np.ndarray:
        """How far one step changes Q, (η, entries)."""
        start = self.weights[0]
        ends = [start - eta * self.slope(start[None])[0] for eta in self.etas]
        return np.stack([self.q(end) - self.q(start) for end in ends])

    @cached_property
    def later(self) -> np.ndarray:
        """How far descent to the time T changes Q, (η, entries)."""
        start = self.weights[:1]
        count = round(UNTIL / COARSEST)
        ends = [self.descended(start, eta, count * 2**k)[-1, 0] for k, eta in enumerate(self.etas)]
        return np.stack([self.q(end) - self.q(start[0]) for end in ends])

    @cached_property
    def forces(self) -> np.ndarray:
        """K = G_{j+1}ᵀG_{j+1} − G_jG_jᵀ along the flow, (records, entries)."""
        return np.stack([linear_nets.conserved(motion) for motion in self.motion])

    @cached_property
    def integral(self) -> np.ndarray:
        """∫K dt by Simpson's rule."""
        rule = np.ones(INTERVALS + 1)
        rule[1:-1:2], rule[2:-1:2] = 4.0, 2.0
        return (self.time[1] - self.time[0]) / 3.0 * (rule @ self.forces)

    @at_most(1e-6, sentence="step")
    def step(self) -> Number:
        """‖ΔQ − η²K‖/‖η²K‖ of one step at the largest η.

        An identity, up to the rounding of W² over η²K.
        """
        predicted = self.etas[0] ** 2 * self.forces[0]
        gap = np.linalg.norm(self.once[0] - predicted) / np.linalg.norm(predicted)
        return Number(float(gap), 10.0 * EPS / float(np.linalg.norm(predicted)))

    @equals(2.0, within=0.15, sentence="step")
    def step_order(self) -> Number:
        """The order in η of the change of Q in one step.

        2.
        """
        return _order(self.once)

    @equals(1.0, within=0.15, sentence="time")
    def time_order(self) -> Number:
        """The order in η of the change of Q until T.

        1 as η → 0.
        """
        return _order(self.later)

    @at_most(0.01, sentence="coefficient")
    def coefficient(self) -> Number:
        """‖lim ΔQ(T)/η − ∫K dt‖/‖∫K dt‖, the limit from the two smallest η.

        See the module's docstring.
        """
        rates = self.later / self.etas[:, None]
        limits = [2.0 * rates[k + 1] - rates[k] for k in (SWEEP - 3, SWEEP - 2)]
        size = float(np.linalg.norm(self.integral))
        error = float(np.linalg.norm(limits[1] - limits[0])) / size
        return Number(float(np.linalg.norm(limits[1] - self.integral)) / size, error)

    def drift(self, rows: np.ndarray) -> float:
        """The change of Q from the first to the last of some weights."""
        return float(np.linalg.norm(self.q(rows[-1]) - self.q(rows[0])))

    @at_most(1e-3, sentence="solver")
    def solver(self) -> Number:
        """The drift of the flow's solver at 1e-10, over that of descent at the smallest η.

        A thousandth: what is measured of descent is its own.
        """
        least = float(np.linalg.norm(self.later[-1]))
        return Number(self.drift(self.weights) / least, 100.0 * EPS / least)

    @at_least(
        1.0,
        sentence="solver",
        changed="dopri8 at 1e-5 at first, which its records held to rounding; "
        "now one look of dopri5 at 1e-3, in log_10",
    )
    def tolerance(self) -> Number:
        """log_10 of the drift of the flow's solver at 1e-3 over that at 1e-10.

        It falls with the tolerance, by 10⁷ or down to rounding; a factor of ten is enough to tell.
        """
        rows, floor = self.trajectory["loose"].values, max(self.drift(self.weights), 10.0 * EPS)
        loose = self.drift(np.vstack([self.weights[:1], rows[-1:]]))
        return Number(float(np.log10(max(loose, 1e-300) / floor)), 1e-9)

    def shown(self):
        sizes = [np.linalg.norm(each, axis=1) for each in (self.once, self.later)]
        flow = np.full(SWEEP, max(self.drift(self.weights), 1e-17))
        names = ("once", "later", "flow")
        shown = {name: ("halving", each) for name, each in zip(names, (*sizes, flow), strict=True)}
        return {"eta": ("halving", self.etas / self.etas[0])} | shown


def _order(changes):
    """log_2 of successive quotients at halved η, extrapolated; its error from the last two."""
    sizes = np.linalg.norm(changes, axis=1)
    local = np.log2(sizes[:-1] / sizes[1:])
    return Number(float(2.0 * local[-1] - local[-2]), float(abs(local[-1] - local[-2])) + 1e-9)


def cases(key, *, widths, draws):
    """The flow to T by two tolerances; descents are taken by the look."""
    rng = generator(key)
    for shape in widths:
        drawn, curvatures = [], []
        for i in range(draws):
            problem = linear_net.reduced(rng, shape, turned=True, half=True)
            start = linear_net.gaussian(rng, shape, 0.6)
            apart = np.asarray(problem.data.targets).T - np.asarray(linear_nets.end_to_end(start))
            curvatures.append(linear_nets.square_norm(start) + float(np.linalg.norm(apart)))
            drawn.append((problem, start, {"widths": "-".join(map(str, shape)), "draw": i + 1}))
        eta = COARSEST / max(curvatures)
        until = eta * UNTIL / COARSEST
        drawn = [(problem, start, facts | {"eta": eta}) for problem, start, facts in drawn]
        records = np.linspace(0.0, until, INTERVALS + 1)
        tight = ensemble(GradientFlow, drawn, records, solver=Adaptive("dopri8", 1e-10))
        loose = ensemble(GradientFlow, drawn, [until], solver=Adaptive("dopri5", 1e-3))
        for one, other in zip(tight, loose, strict=True):
            # once: how far it drifts is what is asked of it, not how near it is
            ends = {"loose": (("end", "weight"), other.trajectory["weights"].values)}
            yield case(one.problem, one.trajectory.assign(ends), **one.facts)


def _figure(dataset, verdict):
    """Changes of Q against η, medians of all cases."""
    drawn, (axes,) = figures.panels(1, height=3.2)
    names = {"descent until T": "later", "descent, one step": "once", "the flow's solver until T": "flow"}
    lines = {label: np.median(dataset[name].values, axis=0) for label, name in names.items()}
    bands = {
        label: (dataset[name].values.min(0), dataset[name].values.max(0)) for label, name in names.items()
    }
    figures.curves(
        dataset["eta"].values[0],
        lines,
        "η over the largest",
        "change of Q",
        bands=bands,
        log="xy",
        markers=True,
        axes=axes,
    )
    return figures.with_caption(
        drawn,
        "Change of Q = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ (median and range): by descent proportional to η over a fixed time "
        "and to η² a step; by a solver of the flow, at 1e-10, far below and the same for every η.",
    )


STUDY = study(
    "marcotte23.finite-step",
    FiniteStep,
    cases,
    quick={"widths": ((4, 3, 2), (3, 3, 3, 2)), "draws": 3},
    full={"draws": 16},
    few={"widths": ((4, 3, 2),), "draws": 2},
    settings=section(__doc__, "Settings"),
    figure=_figure,
)
