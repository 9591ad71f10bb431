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

The table is measured whole (docs/notes-lecture.md), also where the notes are silent: of every cell two starts, an
early and a late stop, and whether the distance of the two solutions falls; and for one layer the distance to the
minimum norm or hard-margin solution. Stopping early is the plain flow at both stops.

Settings. One layer: 4 examples of 6 inputs under the square loss; problems as in notes.srebro, N = 12, d = 4, under
the exponential loss; starts of sizes 0.01 and 1. Several layers: two ReLU units and two inputs, as in memo90.lemma2,
from near one direction for both and near a unit for each. Flows to t = 50 and 100 under the square loss, to log t =
100 and 200 under the exponential loss, there at a held norm to t = 1000 and 2000 (rates at a margin of three are
smaller by e^{−3}; at t = 50 and 100, tried first, a direction was under way); minima at λ = 1e-3 and 1e-6, for one
layer under the exponential loss at e^{−100} and e^{−200}, as late as the flow (at 1e-6 and 1e-12, tried first, the
angle does not fall like 1/log(1/λ) yet, and in one draw of thirty it grows); norms held at twice the minimum norm, at
three times the hard-margin solution's, and at √2 a layer for the two units (at 2, tried first, a unit for each input
is no solution, and where the flow goes is a matter of rounding). Hessians of nets under the square loss at λ = 1e-3,
of one layer at 0.3.

Tolerances. A quantity like 1/log t halves from √t to t, one that decays falls further, and one that has another limit
stays: three quarters. Zero eigenvalues by a factor of a thousand; lengths of minima as in memo90.lemma2. At a margin of
3 the exponentials of two support vectors differ by e^{3δ} where their margins differ by δ, so that directions are off
by tenths of a radian; a hundredth is asked.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims.cases import case, generator, point
from gradlab.claims.judging import Verdict
from gradlab.claims.looks.exponential import angle
from gradlab.claims.looks.points import Point, count
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.memo90.lemma2 import by_hand
from gradlab.claims.plots import Figure
from gradlab.claims.problems import regularised, teachers
from gradlab.claims.problems import summary as table
from gradlab.claims.studies import section, study
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense

ONE, SEVERAL, TWO = "square, one layer", "square, several layers", "square, two minima"
HALVES = 0.75
#: Distances below this are none: both solves of flows and minima are far below.
ALIKE = 1e-6

PLAIN, PATH, SPHERE = (table.name("exponential", each, "one layer") for each in table.DYNAMICS)
LINEAR_PATH = table.name("square", table.DECAYED, "one layer")
#: Where the notes say nothing and the start stays: without decay one layer under the square loss, and several layers.
STAYS = tuple(
    table.name(loss, dynamics, layers)
    for loss in table.LOSSES
    for layers in table.LAYERS
    for dynamics in table.DYNAMICS
    if layers != "one layer" or (loss == "square" and dynamics != table.DECAYED)
)


class _Cells(Point):
    """One cell of the table."""

    @cached_property
    def cell(self) -> str:
        """Which one."""
        return str(self.facts["cell"])

    @cached_property
    def best(self) -> np.ndarray:
        """The minimum norm or hard-margin solution of one layer."""
        return table.solution(self.problem)

    @cached_property
    def stops(self) -> np.ndarray:
        """The weights at the early and the late stop."""
        return self.weights[-2:]

    @cached_property
    def others(self) -> np.ndarray:
        """Those from the other start."""
        return np.asarray(self.trajectory["other"].values)

    def computes(self, vector: np.ndarray) -> np.ndarray:
        """The weights of one layer; what several compute at twelve inputs around the circle."""
        if "one layer" in self.cell:
            return vector
        turn = np.arange(12) * np.pi / 6.0
        around = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        return np.asarray(self.problem.network(self.tree(vector), around)).ravel()

    def apart(self, one: np.ndarray, other: np.ndarray) -> float:
        """The distance of two solutions over the larger, of their directions under the exponential loss."""
        one, other = self.computes(one), self.computes(other)
        if "exponential" in self.cell:
            return angle(one, other)
        return float(np.linalg.norm(one - other) / max(np.linalg.norm(one), np.linalg.norm(other)))

    def falls(self, others: np.ndarray) -> Number:
        """The distance at the late stop over that at the early one, or over ALIKE if that is more."""
        before, late = (self.apart(one, other) for one, other in zip(self.stops, others, strict=True))
        before = max(before, ALIKE)
        return Number(late / before, EPS * self.steps / before)

    @property
    def starts(self) -> Number:
        """Whether the distance between the solutions of two starts falls."""
        return self.falls(self.others)

    @property
    def target(self) -> Number:
        """Whether the distance to the best solution falls, of one layer."""
        return self.falls(np.stack([self.best, self.best]))

    @at_least(table.LOG_T - 1e-6, role="control", exact=True)
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

    @at_most(HALVES, sentence="one_layer")
    def shortest(self) -> Number | None:
        """Square loss, one layer, λ = 1e-6 against 1e-3: the distance of the minimum to the minimum norm solution.

        A thousandth if it falls like λ.
        """
        return self.target if self.cell == LINEAR_PATH else NOT_ASKED

    @at_most(HALVES, sentence="plain")
    def plain(self) -> Number | None:
        """Exponential loss, plain flow: the angle to ŵ at log t = 200 over that at 100.

        ½ if it falls like 1/log t, 1 if the direction has another limit.
        """
        return self.target if self.cell == PLAIN else NOT_ASKED

    @at_most(HALVES, sentence="regularised")
    def stopped(self) -> Number | None:
        """Exponential loss, stopped at log t = 100 and 200: the angle between the flows of two starts, late over early.

        As for the plain flow: independent of the start as the stop is late.
        """
        return self.starts if self.cell == PLAIN else NOT_ASKED

    @at_most(HALVES, sentence="regularised")
    def path(self) -> Number | None:
        """Exponential loss, λ = e^{−200} against e^{−100}: the angle of the minimum to ŵ, over that.

        ½ if it falls like 1/log(1/λ).
        """
        return self.target if self.cell == PATH else NOT_ASKED

    @at_most(HALVES, sentence="regularised")
    def alike(self) -> Number | None:
        """Exponential loss, λ = e^{−200}: the angle between the minima found from two starts, over 1e-6 or that before.

        Rounding if there is one minimum.
        """
        return self.starts if self.cell == PATH else NOT_ASKED

    @at_least(0.01, sentence="normalised")
    def normalised(self) -> Number | None:
        """Exponential loss, ρ held: the angle of the limit on the sphere to ŵ.

        Tenths of a radian; 0 if it were the hard-margin solution.
        """
        return Number(angle(self.end, self.best), self.size * EPS) if self.cell == SPHERE else NOT_ASKED

    def shown(self):
        if "other" not in self.trajectory:
            return {}
        one = "one layer" in self.cell
        return {
            "starts": float(self.starts.value),
            "target": float(self.target.value) if one else float("nan"),
        }


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
        beside = self.end - rows.T @ np.linalg.lstsq(rows.T, self.end, rcond=None)[0]
        size = float(np.linalg.norm(self.end))
        least = float(np.min(np.asarray(self.problem.decay)))
        return Number(float(np.linalg.norm(beside)) / size, self.eigen.noise / (least * size))

    @at_least(HALVES, sentence="normalised")
    def remembered(self) -> Number | None:
        """The distance between the solutions of two starts at the late stop over that at the early one.

        1 if the start stays.
        """
        return self.starts if self.cell in STAYS else NOT_ASKED

    @at_most(HALVES, sentence="normalised")
    def one_direction(self) -> Number | None:
        """Exponential loss, one layer, ρ held: the same; the limit on the sphere is one all the same.

        The flow goes to it exponentially.
        """
        return self.starts if self.cell == SPHERE else NOT_ASKED


def cases(key, *, problems, nets):
    """Hessians under the square loss, ``problems`` of one layer and the nets; then every cell, ``problems`` times."""
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
    yield from table.cells(rng, problems)


#: The study that goes into a cell's runs at length.
AT_LENGTH = {
    table.name("square", table.PLAIN, table.LAYERS[0]): "memo90.init-dependence",
    table.name("square", table.DECAYED, table.LAYERS[0]): "notes.min-norm",
    table.name("square", table.PLAIN, table.LAYERS[1]): "notes.deep-hessian",
    table.name("square", table.DECAYED, table.LAYERS[1]): "memo90.lemma2",
    table.name("exponential", table.PLAIN, table.LAYERS[0]): "notes.srebro",
    table.name("exponential", table.DECAYED, table.LAYERS[0]): "notes.regularised-exp",
    table.name("exponential", table.HELD, table.LAYERS[0]): "notes.normalised-hessian",
    table.name("exponential", table.PLAIN, table.LAYERS[1]): "memo90.proposition5",
}


@dataclass(frozen=True)
class Table:
    """Table draws ``starts`` and ``target`` of every cell, the worst of its cases, and what follows of them.

    ``below`` : up to which ratio a distance falls.
    """

    below: float

    def draw(self, dataset: xr.Dataset, verdict: Verdict, axes: Any) -> None:
        """The table of a collected dataset; cells that were not run are empty."""
        rows = [(loss, layers) for loss in table.LOSSES for layers in table.LAYERS]
        axes.set(xlim=(0.0, len(table.DYNAMICS)), ylim=(len(rows), 0.0))
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0.0)
        axes.set_xticks(np.arange(len(table.DYNAMICS)) + 0.5, table.DYNAMICS)
        axes.xaxis.tick_top()
        axes.set_yticks(np.arange(len(rows)) + 0.5, [f"{loss} loss,\n{layers}" for loss, layers in rows])
        for i, (loss, layers) in enumerate(rows):
            for j, dynamics in enumerate(table.DYNAMICS):
                here = np.flatnonzero(dataset["cell"].values == table.name(loss, dynamics, layers))
                if here.size:
                    self._cell(axes, i, j, dataset.isel(case=here), f"cases {here[0] + 1}–{here[-1] + 1}")
                    study = AT_LENGTH.get(table.name(loss, dynamics, layers), "")
                    small = axes.text(j + 0.5, i + 0.84, study, ha="center", va="center", fontsize=8.5)
                    small.set_url(f"#claim-{study}")

    def _cell(self, axes: Any, i: int, j: int, cases: xr.Dataset, runs: str) -> None:
        starts, target = cases["starts"].values, cases["target"].values
        one, reached = bool(np.all(starts <= self.below)), bool(np.all(target <= self.below))
        best = "minimum norm" if i < len(table.LAYERS) else "maximum margin"
        said = (best if reached else "one solution, another") if one else "the start stays"
        colour = figures.COLOURS["supported" if one and reached else "inconclusive" if one else "refuted"]
        left, right, top, bottom = j + 0.03, j + 0.97, i + 0.06, i + 0.94
        box = [left, right, right, left], [top, top, bottom, bottom]
        axes.fill(*box, edgecolor=colour, facecolor=f"{colour}14", linewidth=0.9, linestyle="-")
        lines = [f"two starts {_worst(starts, one)}", runs]
        if np.isfinite(target).all():
            lines.insert(1, f"{best} {_worst(target, reached)}")
        axes.text(j + 0.5, i + 0.24, said, ha="center", va="center", color=colour, fontsize=11)
        axes.text(
            j + 0.5, i + 0.55, "\n".join(lines), ha="center", va="center", fontsize=8.5, linespacing=1.25
        )


def _worst(ratios: np.ndarray, below: bool) -> str:
    """The ratio that comes nearest to the border."""
    value = float(ratios.max() if below else ratios.min())
    return f"{value:.2f}" if value >= 0.01 else "< 0.01"


NETS = (((3, 1, 1), "identity", 2), ((3, 3, 1), "tanh", 4), ((2, 3, 3, 1), "tanh", 3))
FIGURE = Figure(
    Table(HALVES),
    caption="The table, measured: by what the distance between the solutions of two starts, and of one layer that to "
    "the minimum norm or hard-margin solution, changes from an early to a late stop (from a larger to a smaller λ); "
    "the worst case of each cell. Green: every start leads there; ochre: every start leads to one solution, but "
    "another; red: two starts, two solutions.",
    height=5.0,
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
