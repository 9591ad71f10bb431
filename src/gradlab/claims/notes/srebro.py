"""notes.srebro: exponential-type losses on separable data, w(t) = ŵ log t + g(t), to log t = 1000.

Settings. 20 random separable problems (N = 12, d = 4, margins of 0.2 to 1 from a random plane), 2 with repeated
points, 2 of rank 2, 6 with N = 6 < d = 10; ten of them under the logistic loss, and 6 of three classes under
cross-entropy; 2 by hand with support vectors of zero dual weight. Starts of standard deviation 0.01, 1 and 3.
Eighth-order pair at 1e-10 in log-loss time until log t = 1000. The rate at which g converges, t^{−rate}, follows from
the dual before anything is run: problems with rate < 0.05 are drawn again, so that e^{−500 rate} ≤ 1e-10, and so are
those with ‖ŵ‖ > 1.5, because explicit steps grow in number like ‖ŵ‖² log t. On a user's run a small rate widens the
error bar.

Tolerances. Where every support vector carries weight g converges (Soudry et al. 2018, Theorems 3 and 4), and what is
left of it at log t = s is O(e^{−rate s}), which no second solve sees and is added to the bars. The solve, at 1e-10 a
step of ‖w‖ ≈ 1000 ‖ŵ‖ and weakly contracting, is granted 1e-5 of w. A support vector without weight is held by
nothing: its margin drifts like log log t, the direction still tends to ŵ, and g is not bounded; Theorem 3 excludes
such data.

Orbits that stay finite. For convex L and every u a gradient flow has L(w(t)) ≤ L(u) + ‖u − w(0)‖²/2t. With u = ŵ log t
the risk falls like log²t/t at least, on all separable data, at all times: ``diverges`` asks for that and nothing else.
"""

import math
from functools import cached_property

import numpy as np

from gradlab.analysis.solutions import HardMargin, LimitConstants, max_margin
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.exponential import angle, dual_constants, increment
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic
from gradlab.problem.networks import Dense

LOG_T = 1000.0


class Srebro(Look):
    """The hard-margin solution of the data against the last half, in log t, of the orbit."""

    setting = "a linear net of one layer, an exponential-type loss, separable data"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is one linear layer under such a loss, and the data are separable."""
        network = problem.network
        plain = isinstance(network, Dense) and network.linear and len(network.widths) == 2
        if not (plain and isinstance(problem.loss, Exponential | Logistic | CrossEntropy)):
            return False
        rows = exponential.margin_rows(problem)
        try:
            return rows.shape[1] == problem.size and bool(max_margin(rows, np.ones(len(rows))).margin)
        except ValueError:
            return False

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows a, all of whose margins a·w are to be positive."""
        return exponential.margin_rows(self.problem)

    @cached_property
    def svm(self) -> HardMargin:
        """ŵ and its dual."""
        return max_margin(self.rows, np.ones(len(self.rows)))

    @cached_property
    def constants_of_dual(self) -> LimitConstants | None:
        """P w̃ and the rate; None where a support vector has no weight."""
        return dual_constants(self.rows, self.svm)

    @cached_property
    def log_t(self) -> np.ndarray:
        """log t at every record, −∞ at the start."""
        return self.trajectory["log_t"].values

    @property
    def norm(self) -> float:
        """‖ŵ‖."""
        return float(np.linalg.norm(self.svm.direction))

    @cached_property
    def late(self) -> np.ndarray:
        """The last record, and those nearest to half and to a quarter of its log t."""
        return np.asarray(
            [np.argmin(np.abs(self.log_t - part * self.log_t[-1])) for part in (1.0, 0.5, 0.25)]
        )

    @property
    def span(self) -> float:
        """log(t₂/t₁) from half of log t to its end."""
        return float(self.log_t[-1] - self.log_t[self.late[1]])

    @cached_property
    def gaps(self) -> np.ndarray:
        """‖P(g − w̃)‖ at every record, for a loss of any constant factor."""
        found, loss = self.constants_of_dual, self.problem.loss
        assert found is not None
        factor = self.problem.factor / (len(self.problem.data.inputs) if loss.reduction == "mean" else 1.0)
        logs = np.where(np.isfinite(self.log_t), self.log_t, 0.0) + np.log(factor)
        offsets = self.weights - logs[:, None] * self.svm.direction
        return np.linalg.norm((offsets - found.offset) @ found.projector, axis=1)

    @property
    def unfinished(self) -> float:
        """What the flow has not done yet at log t₁: e^{−rate log t₁} of the distance to the constants at first."""
        assert self.constants_of_dual is not None
        rate = max(self.constants_of_dual.rate, 0.0)
        return float(np.exp(-rate * self.log_t[self.late[1]]) * max(1.0, self.gaps[1]))

    @cached_property
    def off(self) -> float:
        """By how much w(t₂) − w(t₁) is off: what the flow has not done yet, and the run's bars at both.

        Those keep a part of earlier ones: where two solves meet by chance they do not close.
        """
        bars = np.linalg.norm(self.trajectory["weights_error"].values[self.late[:2]], axis=-1)
        return self.unfinished + float(np.sum(np.where(np.isnan(bars), np.inf, bars)))

    def grown(self, *, drift: bool) -> np.ndarray:
        """What w grows by from log t₁ to log t₂."""
        return increment(self.weights[self.late], self.log_t[self.late], drift=drift)

    @at_most(0.0, role="hypothesis", exact=True)
    def decay(self) -> float:
        """λ: no weight decay.

        With decay w stays finite.
        """
        return float(np.max(np.asarray(self.problem.decay)))

    @at_least(1e-6, role="hypothesis")
    def separable(self) -> float:
        """The margin of the hard-margin SVM over the largest ‖x_n‖.

        Below this the active set is not resolved in float64.
        """
        return self.svm.margin / float(np.max(np.linalg.norm(self.rows, axis=1)))

    @at_least(LOG_T - 1e-6, role="control")
    def reached(self) -> float:
        """log t reached.

        The scale at which the tolerances below are meant; what ended before can be refuted, not supported.
        """
        return float(self.log_t[-1])

    @at_least(0.0, sentence="growth")
    def diverges(self) -> float:
        """−log L(w(t)) less log t − log(n + ‖ŵ log t − w(0)‖²/2), n margins: the weights run to infinity.

        L(w(t)) ≤ L(u) + ‖u − w(0)‖²/2t, u = ŵ log t, holds along every gradient flow of a convex L.
        """
        away = float(np.sum((self.svm.direction * self.log_t[-1] - self.weights[0]) ** 2))
        bound = self.log_t[-1] - np.log(len(self.rows) + away / 2.0)
        return float(-np.asarray(self.problem.log_potential(self.tree(self.end))) - bound)

    @equals(1.0, within=1e-6, sentence="growth")
    def slope(self) -> Number | None:
        """‖w(t₂) − w(t₁)‖ / (‖ŵ‖ log(t₂/t₁)), log t₁ ≈ 500, log t₂ = 1000: the norm grows exactly like ‖ŵ‖ log t.

        1e-5 of error in w over an increment of 500 ‖ŵ‖ ≥ 10.
        """
        if self.constants_of_dual is None:
            return NOT_ASKED
        length = self.norm * self.span
        return Number(float(np.linalg.norm(self.grown(drift=False))) / length, self.off / length)

    @at_most(1e-6, sentence="direction")
    def direction(self) -> Number | None:
        """Angle in radians between ŵ and w(t₂) − w(t₁), every support vector of non-zero dual weight.

        The increment has the limit of w/‖w‖ without the O(1/log t) of the start; the tolerance as for slope.
        """
        if self.constants_of_dual is None:
            return NOT_ASKED
        error = self.off / (self.norm * self.span)
        return Number(angle(self.grown(drift=False), self.svm.direction), error)

    @at_most(
        2.5e-4,
        sentence="direction",
        changed="First 1e-4, what the last record is off by alone; the three that enter are off by (log s)/s each.",
    )
    def direction_idle(self) -> Number | None:
        """The same for a support vector of zero dual weight, the drift c log log t taken off by a third record.

        Its margin is log s − (log s)/s + O(1/s), s = log t: each record is off by (log s)/s, over 250 ‖ŵ‖ in all.
        """
        if self.constants_of_dual is not None:
            return NOT_ASKED
        logs = np.maximum(self.log_t[self.late], math.e)
        share = np.log(logs[0] / logs[1]) / np.log(logs[1] / logs[2])
        off = np.asarray([1.0, 1.0 + share, share]) @ (np.log(logs) / logs)
        growth = self.grown(drift=True)
        return Number(angle(growth, self.svm.direction), tolerance=float(off / np.linalg.norm(growth)))

    @at_most(1e-5, sentence="start")
    def constants(self) -> Number | None:
        """Distance of P g(t₂) to the constants P w̃ of the dual, e^{−y_n w̃·x_n} = α_n on the support: no start in them.

        The absolute error in w that is granted to the solve.
        """
        if self.constants_of_dual is None:
            return NOT_ASKED
        return Number(float(self.gaps[-1]), self.off)

    @at_most(1e-5, sentence="remainder")
    def bounded(self) -> Number | None:
        """‖g(t₂) − g(t₁)‖: g has come to rest, beside the span of the support vectors too.

        As for constants.
        """
        if self.constants_of_dual is None:
            return NOT_ASKED
        rest = self.grown(drift=False) - self.span * self.svm.direction
        return Number(float(np.linalg.norm(rest)), self.off)

    @at_least(0.1, role="control", sentence="remainder")
    def unbounded(self) -> float | None:
        """‖g(t₂) − g(t₁)‖ where a support vector has no dual weight: a g that is not bounded would be seen.

        log 2 a doubling of log t, at least.
        """
        if self.constants_of_dual is not None:
            return NOT_ASKED
        return float(np.linalg.norm(self.grown(drift=False) - self.span * self.svm.direction))

    def shown(self):
        gaps = np.full(len(self.log_t), np.nan) if self.constants_of_dual is None else self.gaps
        angles = np.asarray([angle(point, self.svm.direction) for point in self.weights[1:]])
        return {
            "log time": ("after", self.log_t[1:]),
            "turned": ("after", angles),
            "gap": ("after", np.maximum(gaps[1:], 1e-13)),
        }


LONGEST = 1.5
SCALES = (0.01, 1.0, 3.0)


def _drawn(random, count, loss, kind, draw, outputs=1):
    points = [
        exponential.regular(lambda: draw(random), LONGEST, loss=loss, outputs=outputs) for _ in range(count)
    ]
    return [(exponential.linear(one, loss, outputs=outputs), kind) for one in points]


def _started(random, problems, name):
    """Starts of the three scales in turn, and facts."""
    for i, (problem, kind) in enumerate(problems):
        start = SCALES[i % 3] * random.standard_normal((problem.network.outputs, problem.network.widths[0]))
        yield problem, (start,), {"loss": name, "data": kind, "scale": SCALES[i % 3], "draw": i + 1}


def cases(key, *, many, repeated, plane, logistic, wide, classes):
    """One ensemble a shape and loss: each a compiled solve."""
    random, plain, other = generator(key), Exponential("sum"), CrossEntropy("sum")
    kinds = (
        ("random", many, (12, 4, 4, 0)),
        ("repeated points", repeated, (12, 4, 4, 3)),
        ("rank 2", plane, (12, 4, 2, 0)),
    )
    tall = []
    for kind, count, shape in kinds:
        tall += _drawn(random, count, plain, kind, lambda rng, shape=shape: exponential.split(rng, *shape))
    broad = _drawn(random, wide, plain, "N < d", lambda rng: exponential.split(rng, 6, 10, 6))
    three = _drawn(random, classes, other, "3 classes", lambda rng: exponential.three_classes(rng, 12, 4), 3)
    softened = [
        (exponential.linear((one.data.inputs, one.data.targets), Logistic("sum")), kind)
        for one, kind in tall[len(tall) - logistic :]
    ]
    held = [(exponential.linear(exponential.idle(1 + i)), "zero dual weight") for i in range(2)]
    families = (
        ("exponential", tall),
        ("logistic", softened),
        ("exponential", broad),
        ("cross-entropy", three),
        ("exponential", held),
    )
    for name, problems in families:
        if problems:
            drawn = list(_started(random, problems, name))
            yield from ensemble(
                GradientFlow, drawn, **exponential.to_log_time([problem for problem, _ in problems], LOG_T)
            )


STUDY = study(
    "notes.srebro",
    Srebro,
    cases,
    quick={"many": 20, "repeated": 2, "plane": 2, "logistic": 10, "wide": 6, "classes": 6},
    full={"many": 60},
    few={"many": 2, "repeated": 1, "plane": 1, "logistic": 0, "wide": 0, "classes": 0},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel("turned", "log time", "angle to ŵ (rad)", "log t", by=("data",), log="xy", lines=True, each=20),
        Panel(
            "gap", "log time", "distance of P g to P w̃", "log t", by=("data",), log="xy", lines=True, each=20
        ),
        caption="Left: angle between w(t) and the SVM direction at every record; it falls like 1/log t, with zero dual "
        "weights like log log t/log t. Right: distance of g(t), projected on the span of the support vectors, to the "
        "constants of the dual (zero dual weights have none).",
    ),
)
