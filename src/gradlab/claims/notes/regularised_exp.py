"""notes.regularised-exp: the exponential loss with decay: its equilibrium, and its direction as λ → 0.

What is printed. Ẇ = −∂(L + λW²)/∂W = Σ x_n e^{−W·x_n} − λW (the flow of λ/2 W²: a factor of two in the name of λ), W* =
(1/λ) Σ x_n e^{−W*·x_n}, its Hessian (with the sign of the flow's Jacobian), "this recovers the gist of Srebro's result
for λ → 0", and "more in general w* = w^∞ is a linear combination of support vectors thus w*·x_n = 1". The last is
judged for w*, as printed, in the limit it speaks of: it fails, because w*·x_n = log(1/λ) − log μ_n grows without bound
(docs/notes/notes.regularised-exp.md). What has x_n·w = 1 on the support is w*/min_n w*·x_n, in the limit.

Settings, before any run. Flows at λ = 1, 1e-3, 1e-6, 1e-12 for a time 40/λ (every curvature is λ or more and, at the
end, at most some hundred λ: explicit steps serve; dopri8 at 1e-10), and equilibria by Newton's method at λ = 1e-100 and
1e-290. The limit λ → 0 is taken in log λ, to log λ = −10⁶, where no λ is formed. N, d = 12, 4 (random, repeated points,
rank 2) and 6, 10; drawn again where a support vector is all but idle (rate below 0.05) or ‖ŵ‖ > 3. One by hand with an
idle support vector.

Tolerances. With S = log(1/λ) the theory has w* = ŵ (S − log γ) + P w̃ + O(1/S), γ = min w*·x_n ≈ S. At S = 10⁶ an
increment of the path over S/2 has the direction ŵ up to O(log S/S²) ≈ 1e-11 times constants of the data; 1e-6 is
allowed. Margins on the support are S − log γ − log α_n: ratios to S (and to γ) are one up to (14 + |log α_n|)/10⁶;
1e-4 is allowed, |log α| < 80. The distance to the constants is C/S with C of the order of (log α)²/rate < 1e3: 1e-3 is
allowed. Points beside the support have weights e^{−S(m − 1)}, m > 1 their margin under ŵ: none is left for
m > 1 + 1e-4.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis.one_layer import linear_exponential
from gradlab.analysis.paths import RegularisedExponential, regularised_path
from gradlab.analysis.solutions import HardMargin, LimitConstants, max_margin
from gradlab.claims.cases import ensemble, generator, point
from gradlab.claims.looks.exponential import DecayedNet, DecayPrinted, angle, dual_constants, increment
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive

#: log(1/λ) at which the limit λ → 0 is read, and the path for the figure.
DEEP = 1e6
GRID = np.geomspace(3.0, DEEP, 24)


class _Shared(DecayedNet):
    """The equilibria of the case's data as λ → 0, beside the end of its run."""

    setting = "a linear net of one layer and one output, the exponential loss, λ > 0, separable data"

    @classmethod
    def speaks_of(cls, problem):
        """Whether the data are separable, too."""
        net = linear_exponential(problem)
        return net is not None and net.decay > 0.0 and net.svm is not None

    @cached_property
    def svm(self) -> HardMargin:
        """ŵ and its dual."""
        found = self.net.svm
        assert found is not None  # speaks_of
        return found

    @cached_property
    def path(self) -> tuple[RegularisedExponential, ...]:
        """Equilibria at log(1/λ) of the grid, the last of which is ``DEEP``, and at half of that."""
        return regularised_path(self.net.rows, np.ones(len(self.net.rows)), [*-GRID, -DEEP / 2.0])

    @cached_property
    def dual(self) -> LimitConstants | None:
        """P w̃; None where a support vector of the data has no weight in any dual solution."""
        return dual_constants(self.net.rows, max_margin(self.net.rows, np.ones(len(self.net.rows))))

    @property
    def deep(self) -> RegularisedExponential:
        """The equilibrium at log(1/λ) = ``DEEP``."""
        return self.path[len(GRID) - 1]

    @property
    def on(self) -> np.ndarray:
        """Margins of the support vectors there."""
        return self.deep.margins[self.svm.support]

    @at_least(1e-6, role="hypothesis")
    def separable(self) -> float:
        """The margin of the hard-margin SVM over the largest ‖x_n‖.

        Below this the active set is not resolved in float64.
        """
        return self.svm.margin / float(np.max(np.linalg.norm(self.net.rows, axis=1)))

    @at_most(1e-6, sentence="direction")
    def direction(self) -> float:
        """Angle between ŵ and w*(λ₂) − w*(λ₁), log(1/λ) = 5e5 and 1e6, in radians.

        The direction of the increment has the limit of w*/‖w*‖ without its O(1/log(1/λ)) (module docstring). Support
        vectors of zero dual weight drift like log log(1/λ), which a third equilibrium takes off.
        """
        rows, drift = self.net.rows, self.dual is None
        known = [self.deep, self.path[-1]]
        known += regularised_path(rows, np.ones(len(rows)), [-DEEP / 4.0]) if drift else ()
        points, logs = (
            np.asarray([getattr(one, name) for one in known]) for name in ("weights", "log_decay")
        )
        return angle(increment(points, -logs, drift=drift), self.svm.direction)

    @at_most(1e-6, sentence="combination")
    def combination(self) -> Number:
        """Share of w* carried by points that are no support vectors, at log(1/λ) = 1e6.

        e^{−1e6 (m − 1)}: nothing, for margins m > 1 + 1e-4; what underflows is no more than the least float.
        """
        off = ~self.svm.support
        carried = float(np.linalg.norm(self.net.rows[off].T @ np.exp(self.deep.log_dual[off])))
        return Number(carried / self.deep.norm, float(np.finfo(np.float64).tiny))

    def shown(self):
        points = self.path[:-1]
        return {
            "depth": ("deeper", GRID),
            "turned": ("deeper", np.asarray([angle(one.weights, self.svm.direction) for one in points])),
            "grown": ("deeper", np.asarray([np.max(one.margins[self.svm.support]) for one in points])),
        }


class RegularisedExpPrinted(_Shared, DecayPrinted):
    @at_most(1e-3, sentence="unit")
    def unit(self) -> float:
        """Largest |w*·x_n − 1| over the support vectors, in the limit (at log(1/λ) = 1e6).

        w*·x_n is known to 1e-8 there; a limit 1 approached like 1/log(1/λ) would be within 1e-5 times constants.
        """
        return float(np.max(np.abs(self.on - 1.0)))


class RegularisedExpCorrected(_Shared):
    @at_least(0.5, role="hypothesis", exact=True)
    def generic(self) -> float:
        """Whether every point on the margin carries weight in some dual solution (1 if so).

        Otherwise P w̃ does not exist.
        """
        return float(self.dual is not None)

    @at_most(1e-4, sentence="growth")
    def growth(self) -> float:
        """Largest |w*·x_n/log(1/λ) − 1| over the support vectors, there.

        (14 + |log α|)/1e6, module docstring.
        """
        return float(np.max(np.abs(self.on / DEEP - 1.0)))

    @at_most(1e-4, sentence="combination")
    def scaled(self) -> float:
        """Largest |w*·x_n/γ − 1| over the support vectors, there.

        (14 + |log α|)/1e6, module docstring.
        """
        return float(np.max(np.abs(self.on / self.deep.margins.min() - 1.0)))

    @at_most(1e-3, sentence="direction")
    def constants(self) -> float | None:
        """‖w* − ŵ log(1/(λγ)) − P w̃‖ there.

        C/1e6 with C < 1e3 (module docstring).
        """
        if self.dual is None:
            return NOT_ASKED
        predicted = self.svm.direction * (DEEP - np.log(self.deep.margins.min())) + self.dual.offset
        return float(np.linalg.norm(self.deep.weights - predicted))


SCALES = (0.01, 1.0, 3.0)
KINDS = ("N > d", "repeated points", "deficient rank", "N < d")


def cases(key, *, runs, points, kinds, each, wide, draws):
    """Ensembles of runs, ``each`` a kind, at every decay of ``runs``; equilibria by Newton's method at ``points``."""
    random = generator(key)

    def drawn(kind):
        return exponential.regular(lambda: exponential.split_along(random, kind))

    def flows(decay, given, i):
        members = [(kind, exponential.linear(drawn(kind), decay=decay)) for kind in given]
        started = []
        for j, (kind, problem) in enumerate(members):
            start = SCALES[j % 3] * random.standard_normal((1, problem.size))
            facts = {"seen": "flow", "λ": decay, "data": kind, "draw": f"{i}.{j + 1}"}
            started.append((problem, (start,), facts))
        yield from ensemble(GradientFlow, started, (40.0 / decay,), solver=Adaptive("dopri8", 1e-10))

    for i in range(draws):
        for decay in runs:
            yield from flows(decay, [kind for kind in kinds for _ in range(each)], i)
            if decay in wide:
                yield from flows(decay, ["N < d"] * 6, i)
        for decay in points:
            for j, kind in enumerate(KINDS):
                yield _standing(exponential.linear(drawn(kind), decay=decay), kind, decay, i * 4 + j + 1)
    yield _standing(exponential.linear(exponential.idle(1), decay=1e-6), "zero dual weight", 1e-6, 1)


def _standing(problem, kind, decay, draw):
    net = linear_exponential(problem)
    assert net is not None
    return point(problem, net.equilibrium.weights, seen="Newton", **{"λ": decay}, data=kind, draw=draw)


FIGURE = Figure(
    Panel(
        "turned",
        "depth",
        "angle to the SVM direction (rad)",
        "log(1/λ)",
        by=("data",),
        log="xy",
        lines=True,
        each=20,
    ),
    Panel(
        "grown",
        "depth",
        "$w^*\\cdot x_n$ on the support",
        "log(1/λ)",
        by=("data",),
        log="xy",
        reference={"printed": 1.0},
        lines=True,
        each=20,
    ),
    caption="Equilibria of the exponential loss with decay as λ → 0. Left: their angle to the hard-margin direction. "
    "Right: the largest margin of a support vector.",
)
BUDGETS = {
    "quick": {
        "runs": (1.0, 1e-3, 1e-6, 1e-12),
        "points": (1e-100, 1e-290),
        "kinds": KINDS[:3],
        "each": 2,
        "wide": (),
        "draws": 1,
    },
    "full": {"wide": (1e-3,), "draws": 5},
    "few": {"runs": (1e-3,), "points": (), "each": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("notes.regularised-exp", RegularisedExpPrinted),
        ("notes.regularised-exp-corrected", RegularisedExpCorrected),
    )
)
