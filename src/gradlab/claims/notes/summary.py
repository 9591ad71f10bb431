"""notes.summary: the closing table of the lecture notes, a cell a loss, a dynamics and a depth.

Printed. Square loss: hyperbolic behaviour "is guaranteed for 1 layer", "can happen for multiple layers by small λ
regularization"; solutions then "are min norm solutions for λ → 0". Exponential loss, linear networks: GD converges to
the hard-margin solution "independent of initial conditions, in terms of normalized weights"; "the same is true for
regularized GD, not true for normalized GD and true for Early Stopped GD".

Reading. Every cell is one kind of run, and has a study of its own. Square loss: regularised, one layer, least
eigenvalue λ or more (notes.ridge); several layers, no zero eigenvalue where no rotations are
(notes.regularise-to-hyperbolic), and whether another minimum is shorter (memo90.lemma2). Exponential loss, linear:
plain, the angle to the SVM direction falls like 1/log t (notes.srebro); regularised, like 1/log(1/λ)
(notes.regularised-exp); early stopped, two starts differ at the stop by an angle that falls like 1/log t
(memo90.early-stopping); normalised, the minimum at a held norm is another direction (notes.normalised-hessian).

"Normalized GD" is read as descent of w̃ at a given norm, as on the page before. With steps ∇L/‖∇L‖ the orbit is that of
the plain flow, and the limit the same.

"Min norm" of several layers: two ReLU units that can fit two inputs in two ways, as in memo90.lemma2: both
are regularised minima for every λ, and one of them is longer. What holds is that the norm is stationary on the zeros of
the loss (memo90.lemma2-corrected).

Settings, before any run. One-layer problems under the exponential loss as in notes.srebro, N = 12, d = 4, two starts
(sizes 0.01 and 1), log-loss time to log t = 200; λ = 1e-6 and 1e-12; ρ three times that at which the margin is one.
Nets under the square loss with λ = 1e-3; 4 examples of 6 inputs in one layer, λ = 0.3.

Tolerances. A quantity like 1/log t halves from √t to t, and stays if there is another limit: three quarters. Zero
eigenvalues by a factor of a thousand; lengths of minima as in memo90.lemma2. At a margin of 3 the exponentials of two
support vectors differ by e^{3δ} where their margins differ by δ, so that directions are off by tenths of a radian; a
hundredth is asked.
"""

from functools import cached_property

import numpy as np
import xarray as xr

from gradlab.analysis.equilibria import counting, minimising
from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import case, ensemble, generator, point
from gradlab.claims.looks.exponential import angle
from gradlab.claims.looks.points import Point, count
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.memo90.lemma2 import by_hand
from gradlab.claims.notes.normalised_hessian import stationary
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential, regularised, teachers
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense

ONE, SEVERAL, TWO = "square, one layer", "square, several layers", "square, two minima"
PLAIN, PATH, SPHERE = "plain and early stopped", "regularised", "normalised"
LOG_T, HALVES = 200.0, 0.75


class _Cells(Point):
    """One cell of the table."""

    @cached_property
    def cell(self) -> str:
        """Which one."""
        return str(self.facts["cell"])

    @cached_property
    def svm(self) -> np.ndarray:
        """ŵ, the hard-margin solution."""
        rows = exponential.margin_rows(self.problem)
        return max_margin(rows, np.ones(len(rows))).direction

    @cached_property
    def halfway(self) -> int:
        """The record nearest to half of log t."""
        log_t = self.trajectory["log_t"].values
        return int(np.argmin(np.abs(log_t - 0.5 * log_t[-1])))

    def falls(self, directions: np.ndarray, others: np.ndarray) -> Number:
        """The angle between the last directions over that between those before."""
        late, before = (angle(directions[k], others[k]) for k in (-1, 0))
        return Number(late / before, EPS * self.steps / before)

    @at_least(LOG_T - 1e-6, role="control")
    def reached(self) -> float | None:
        """log t reached by the plain flow.

        The scale at which the tolerances are meant.
        """
        return float(self.trajectory["log_t"].values[-1]) if self.cell == PLAIN else NOT_ASKED

    @at_least(0.5, sentence="one_layer")
    def guaranteed(self) -> Number | None:
        """Square loss, one layer, λ > 0: least eigenvalue over λ.

        1 or more in theory, 0 for a degenerate minimum: half parts them.
        """
        if self.cell != ONE:
            return NOT_ASKED
        decay = float(np.min(np.asarray(self.problem.decay)))
        return Number(float(self.values[0]) / decay, self.bound / decay)

    @at_most(0.5, sentence="multilayer")
    def can(self) -> Number | None:
        """Square loss, several layers without rotations, λ > 0: zero eigenvalues.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        return count(counting.kernel(self.values, self.bound)) if self.cell == SEVERAL else NOT_ASKED

    @at_most(HALVES, sentence="plain")
    def plain(self) -> Number | None:
        """Exponential loss, plain flow: the angle to ŵ at log t = 200 over that at 100.

        ½ if it falls like 1/log t, 1 if the direction has another limit.
        """
        if self.cell != PLAIN:
            return NOT_ASKED
        seen = self.weights[[self.halfway, -1]]
        return self.falls(seen, np.stack([self.svm, self.svm]))

    @at_most(HALVES, sentence="regularised")
    def stopped(self) -> Number | None:
        """Exponential loss, stopped at log t = 100 and 200: the angle between the flows of two starts, late over early.

        As for the plain flow: independent of the start as the stop is late.
        """
        if self.cell != PLAIN:
            return NOT_ASKED
        return self.falls(self.weights[[self.halfway, -1]], self.trajectory["other"].values)

    @at_most(HALVES, sentence="regularised")
    def path(self) -> Number | None:
        """Exponential loss, λ = 1e-12 against 1e-6: the angle of the minimum to ŵ, over that.

        ½ if it falls like 1/log(1/λ).
        """
        if self.cell != PATH:
            return NOT_ASKED
        return self.falls(self.trajectory["path"].values, np.stack([self.svm, self.svm]))

    @at_least(0.01, sentence="normalised")
    def normalised(self) -> Number | None:
        """Exponential loss, ρ held: the angle of the minimum on the sphere to ŵ.

        Tenths of a radian; 0 if it were the hard-margin solution.
        """
        return Number(angle(self.end, self.svm), self.size * EPS) if self.cell == SPHERE else NOT_ASKED

    def shown(self):
        names = {ONE: "guaranteed", PLAIN: "plain", PATH: "path", SPHERE: "normalised"}
        if self.cell not in names:
            return {"seen": float(np.abs(self.values).min() / np.abs(self.values).max())}
        return {"seen": float(getattr(self, names[self.cell]).value)}


class SummaryPrinted(_Cells):
    @at_most(1e-6, sentence="multilayer")
    def least(self) -> Number | None:
        """Square loss, several layers, λ > 0: share of the potential by which another minimum of the problem is lower.

        One minimum reached twice agrees to 1e-13, and others differ by more than a millionth or not at all.
        """
        if self.cell not in (SEVERAL, TWO):
            return NOT_ASKED
        own, rivals = minimising.potential(self.problem, self.end), self.trajectory["rivals"].values
        lowest = min(own, *(minimising.potential(self.problem, rival) for rival in rivals))
        return Number(1.0 - lowest / own, EPS * self.size)


class SummaryCorrected(_Cells):
    @at_most(1e-6, sentence="multilayer")
    def stationary(self) -> Number | None:
        """Square loss, several layers, λ > 0: the part of W outside the span of ∂f(x_n)/∂W, relative.

        0 at an equilibrium with one λ: the norm is stationary at fixed outputs; ‖∇L‖/λ‖W‖ is left of it.
        """
        if self.cell not in (SEVERAL, TWO):
            return NOT_ASKED
        rows = self.eigen.here.rows
        apart = self.end - rows.T @ np.linalg.lstsq(rows.T, self.end, rcond=None)[0]
        size = float(np.linalg.norm(self.end))
        least = float(np.min(np.asarray(self.problem.decay)))
        return Number(float(np.linalg.norm(apart)) / size, self.eigen.noise / (least * size))


def cases(key, *, problems, nets):
    """Every cell: ``problems`` of each kind under the exponential loss, the nets under the square loss."""
    rng = generator(key)
    for i in range(problems):
        problem, _ = teachers.teacher(rng, Dense((6, 2), "identity"), Square(half=True), 4, 0.3)
        yield point(problem, minimising.minimum(problem, np.zeros(problem.size)), cell=ONE, draw=i + 1)
    for widths, activation, examples in nets:
        network = Dense(widths, activation)
        _, ((problem, vector),) = regularised.minima(rng, network, Square(half=True), examples, (1e-3,))
        seen = {"final_weights": ("weight", vector), "rivals": (("start", "weight"), vector[None])}
        yield case(problem, xr.Dataset(seen), cell=SEVERAL, draw=f"{activation} {widths}")
    for one in by_hand():
        yield case(one.problem, one.trajectory, cell=TWO, draw=f"λ = {one.facts['λ']:g}")
    points = [exponential.regular(lambda: exponential.split(rng, 12, 4, 4)) for _ in range(problems)]
    linear = [exponential.linear(each) for each in points]
    starts = [(size * rng.standard_normal((1, 4)),) for size in (0.01, 1.0) for _ in linear]
    drawn = [
        (problem, start, {"cell": PLAIN, "draw": i % problems + 1})
        for i, (problem, start) in enumerate(zip(linear * 2, starts, strict=True))
    ]
    runs = list(ensemble(GradientFlow, drawn, **exponential.to_log_time(linear, LOG_T)))
    for one, other in zip(runs, runs[problems:] + runs[:problems], strict=True):
        yield case(
            one.problem, one.trajectory.assign(_at_stops(one.trajectory, other.trajectory)), **one.facts
        )
    for i, problem in enumerate(linear):
        rows = exponential.margin_rows(problem)
        svm = max_margin(rows, np.ones(len(rows))).direction
        path = [
            minimising.minimum(exponential.linear(points[i], decay=size), svm * np.log(1.0 / size))
            for size in (1e-6, 1e-12)
        ]
        seen = {"final_weights": ("weight", path[-1]), "path": (("decay", "weight"), np.stack(path))}
        yield case(exponential.linear(points[i], decay=1e-12), xr.Dataset(seen), cell=PATH, draw=i + 1)
        norm = 3.0 * float(np.linalg.norm(svm))
        direction = stationary(rows, norm, svm)
        yield point(problem, norm * direction, cell=SPHERE, draw=i + 1)


def _at_stops(one, other):
    """The other start's weights at half of log t and at its end, fine and coarse."""
    log_t = one["log_t"].values
    k = int(np.argmin(np.abs(log_t - 0.5 * log_t[-1])))
    t = other["log_t"].values
    near = int(np.argmin(np.abs(t - log_t[k])))
    sides = ("", "_coarse")
    return {
        f"other{side}": (("stop", "weight"), other[f"weights{side}"].values[[near, -1]]) for side in sides
    }


NETS = (((3, 1, 1), "identity", 2), ((3, 3, 1), "tanh", 4), ((2, 3, 3, 1), "tanh", 3))
FIGURE = Figure(
    Panel("seen", "case", "number of the cell", "case", by=("cell",), log="y", floor=1e-3),
    caption="One number a cell. Square loss: least eigenvalue over λ in one layer (at least 1), and the least by size "
    "over the largest in several. Exponential loss: by what the angle to the hard-margin solution falls when log t, or "
    "log 1/λ, is doubled (½; the limit is that solution), and the angle itself at a held norm (it is another).",
)
STUDIES = tuple(
    study(
        name,
        look,
        cases,
        quick={"problems": 6, "nets": NETS},
        full={"problems": 20},
        few={"problems": 2, "nets": NETS[:1]},
        settings=section(__doc__, "Settings"),
        figure=FIGURE,
    )
    for name, look in (("notes.summary", SummaryPrinted), ("notes.summary-corrected", SummaryCorrected))
)
