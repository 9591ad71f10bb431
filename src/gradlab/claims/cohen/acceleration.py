"""cohen.acceleration: for p > 2 the discrete end-to-end rule reaches the optimum arbitrarily faster than descent.

Printed. "For any p > 2, there exist settings where ℓ(·) = ℓ_p loss … and disc end-to-end dynamics reach global min
arbitrarily faster than GD." The settings are of the kind of Arora, Cohen, Hazan (2018): two examples, e_1 with the
target y_1 and e_2 with y_2, r = y_1/y_2 large, a start near zero. Descent must take η < 2/y_1^{p−2} (up to the factor
of the loss), with which the second residual needs r^{p−2} iterations. The rule's step on w is η‖w‖^{2−2/N}: little near
zero, so that one iteration may take w_1 from ε to y_1, where for p > 2 the curvature vanishes; and much from there on.
With ε/y_1 = (Nr^{p−2}/2)^{−N/(2N−2)} the step that lands on y_1 is right for the second residual too: the rule needs as
many iterations for every r, and the ratio grows like r^{p−2} (docs/notes/cohen.acceleration.md). At p = 2 the curvature
at the optimum does not vanish, and the gain is at most N, the condition number of P_W.

What it costs. The step has to land within y_2 of y_1: it is tuned to a relative 1/r. From a start that is not made for
it, ε = y_1/1000, and steps that miss the landing, the gain is a factor that does not grow: shown, not judged.

Settings, before any run. p = 3, 4, 6 and N = 2, 3, 8 (full: 2 to 8). y_2 = 1, y_1 = r. Iterations until every residual
is 15^{−1/(p−2)} of its target, and kept a quarter longer. The step is tuned for each rule and r on 16 a decade, two
decades either way of 2/y_1^{p−2} over the loss's factor for descent, and of the step that lands for the rule; extended
until the best is inside. p = 2: inputs √κ e_1 and e_2, w* = (1, 1), κ for r; and targets r and 1, where descent takes
one iteration.

Tolerances. "Arbitrarily" is growth with r of some positive power: half of p − 2, which is what theory has; at p = 2
none: a quarter. Bars: two standard errors of the exponent, counts off by one, and the grid taken half as fine.

Changed after a first run: sizes and accuracy, for time and so that counts are not of two or three; the growth is asked
of the step that lands, which is known beforehand, since among the steps of a grid some land by luck on more. After a
first run of the full budget: at p = 2 sizes to 4 096 in place of 512, which left the exponent ±0.21 at N = 7.
"""

from functools import cached_property

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.analysis.tuning import iterations, tuned
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.tuned_rules import EndToEndRule, single_output_precondition
from gradlab.claims.studies import section, study
from gradlab.laboratory.second import COARSE
from gradlab.problem.data import Data
from gradlab.problem.losses import Lp
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: ε/y_1 of a start that is made for nothing; iterations at most.
PLAIN_START, MOST = 1e-3, 200_000
#: Every residual over its target, by p: with 15^{−1/(p−2)} the last residual takes as long for every p.
ACCURACY = {p: 0.1 if p == 2.0 else 15.0 ** (-1.0 / (p - 2.0)) for p in (2.0, 3.0, 4.0, 6.0)}
#: r of every p; at p = 2 the condition number κ too.
SIZES = {
    2.0: (16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0),
    3.0: (4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
    4.0: (3.0, 4.0, 6.0, 9.0, 16.0, 24.0),
    6.0: (2.0, 2.5, 3.0, 4.0, 5.0, 6.0),
}
#: What r is: of the targets, or, at p = 2 also, the condition number κ of the inputs.
KINDS = ("targets", "inputs")


class TwoPoints(EndToEndRule):
    """The rule, with the largest residual over its target as the level."""

    def level(self, w, loss):
        targets = self.problem.data.targets[:, 0]
        return jnp.max(jnp.abs(self.problem.data.inputs @ w - targets) / targets)


class Acceleration(Look):
    """Iterations of descent and of the end-to-end rule, each with its best step, over a family of problems."""

    setting = "two examples, one output, the ℓ_p loss"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is so."""
        return isinstance(problem.loss, Lp) and problem.data.inputs.shape == (2, 2)

    @cached_property
    def counts(self) -> dict[str, np.ndarray]:
        """Iterations for every size: of descent, of the rule, of the rule from a plain start, and with the step that
        lands instead of the best one.
        """
        return {name: self.trajectory[name].values for name in ("descent", "rule", "plain", "landed")}

    @cached_property
    def sizes(self) -> np.ndarray:
        """r, or κ."""
        return np.asarray(self.trajectory["sizes"].values)

    @property
    def p(self) -> float:
        """The p of the loss."""
        return float(self.problem.loss.p)

    @cached_property
    def gains(self) -> np.ndarray:
        """Iterations of descent over those of the rule."""
        return self.counts["descent"] / self.counts["rule"]

    def exponent(self, name: str) -> Number:
        """The exponent of a gain in the size; its bar are two standard errors, and counts off by one at both ends."""
        x, y = np.log(self.sizes), np.log(self.counts["descent"] / self.counts[name])
        fit, spread = np.polyfit(x, y, 1, cov=True)
        off = np.max(1.0 / self.counts[name] + 1.0 / self.counts["descent"])
        return Number(float(fit[0]), float(2.0 * np.sqrt(spread[0, 0]) + 2.0 * off / (x[-1] - x[0])))

    @cached_property
    def bends(self) -> np.ndarray:
        """Eigenvalues of ∇²ℓ at random w, relative to the largest, by the loss's second derivative."""
        data, rows = self.problem.data, []
        x, y = np.asarray(data.inputs), np.asarray(data.targets)
        for w in np.random.default_rng(0).standard_normal((50, 2)) * 2.0 * np.abs(y).max():
            curvature = self.problem.loss.derivative((x @ w)[:, None], y, 2)[:, 0, 0]
            values = np.linalg.eigvalsh((x * curvature[:, None]).T @ x)
            rows.append(values / values[-1])
        return np.array(rows)

    @at_most(0.5, role="hypothesis", exact=True)
    def edge(self) -> float:
        """Best steps that lie at an edge of their grid, after extensions.

        A count: "the best step of each method" is then not known.
        """
        return float(self.trajectory["edge"].values)

    @at_least(-1e-12, sentence="convex")
    def convex(self) -> Number:
        """The least eigenvalue of ∇²ℓ over the largest, at 50 random w.

        Rounding of a 2 × 2 eigendecomposition.
        """
        return Number(float(self.bends.min()), 4.0 * EPS)

    @at_least(0.5, sentence="faster", changed="asked of the step that lands, see the docstring")
    def grows(self) -> Number | None:
        """The exponent in r, over p − 2, of the gain with the step that lands: the best step gains no less.

        1 in theory; ½ is growth without bound all the same.
        """
        if self.p == 2.0:
            return NOT_ASKED
        found = self.exponent("landed")
        return Number(found.value / (self.p - 2.0), found.error / (self.p - 2.0))

    @at_least(3.0, sentence="faster")
    def gain(self) -> Number | None:
        """Iterations of descent over those of the rule, at the largest r.

        r^{p−2}/4 and more in theory; 3 is beyond what a grid of steps is off (15 %).
        """
        if self.p == 2.0:
            return NOT_ASKED
        return Number(float(self.gains[-1]), float(self.gains[-1] / self.counts["rule"][-1]))

    @at_most(0.25, role="control", changed="over three more octaves, see the docstring")
    def no_growth(self) -> Number | None:
        """The exponent of the gain at p = 2.

        0 in theory.
        """
        return self.exponent("rule") if self.facts["family"] == "inputs" else NOT_ASKED

    @at_most(1.0, role="control")
    def within_depth(self) -> Number | None:
        """The largest gain at p = 2, over N.

        1 in theory as κ → ∞, from above by what the start costs; 1.15 is a step of the grid.
        """
        if self.p != 2.0:
            return NOT_ASKED
        return Number(float(self.gains.max()) / float(self.facts["N"]), 0.01)

    def shown(self):
        plain = self.counts["descent"] / self.counts["plain"]
        found = {"r": ("size", self.sizes), "gains": ("size", self.gains), "plain": ("size", plain)}
        # descent's iterations in units of r^{p − 2}
        return found | {"window": ("size", np.asarray(self.trajectory["window"].values))}


def _problem(p, size, kind):
    scale = np.sqrt(size) if kind == "inputs" else 1.0
    y = np.array([[scale if kind == "inputs" else size], [1.0]])
    return Problem(Dense((2, 1), "identity"), Lp(p, "mean"), Data(np.diag([scale, 1.0]), y)).lean()


class _Setting:
    """One problem: its w_1*, its step of descent, and starts along the first gradient."""

    def __init__(self, p, size, kind):
        self.problem, self.levels = _problem(p, size, kind), np.array([ACCURACY[p]])
        data = self.problem.data
        self.inputs, self.targets = np.asarray(data.inputs), np.asarray(data.targets)
        self.aim = self.targets[0, 0] / self.inputs[0, 0]
        # how far one iteration must reach for the second residual, in units of what descent may do
        self.power = size if p == 2.0 else size ** (p - 2.0)
        bend = self.problem.loss.derivative(np.zeros((2, 1)), self.targets, 2)[0, 0, 0]
        self.stable = 4.0 * (p - 1.0) / (bend * self.inputs[0, 0] ** 2)

    def slope(self, w):
        """∇ℓ(w)."""
        return (
            self.inputs.T
            @ self.problem.loss.derivative((self.inputs @ w)[:, None], self.targets, 1)[:, 0]
            / 2.0
        )

    def start(self, share):
        """A start of size ``share`` w_1*."""
        first = -self.slope(np.zeros(2))
        return share * self.aim * first / np.linalg.norm(first)

    def landing(self, w, depth):
        """The step with which the rule takes w_1 to its optimum at once."""
        moved = single_output_precondition(jnp.asarray(w), jnp.asarray(self.slope(w)), depth)
        return (w[0] - self.aim) / float(moved[0])

    def tuned(self, w, depth, centre):
        """The rule of a depth from w, its best step sought around a central one."""
        rule = TwoPoints(self.problem, depth=jnp.asarray(float(depth)))
        return tuned(rule, rule.begin(w), centre, self.levels, MOST, decades=(2, 2))

    def landed(self, w, depth, landing):
        """The rule's count with the step that lands, and how far beside it, relatively, all smaller offsets serve."""
        rule, offsets = (
            TwoPoints(self.problem, depth=jnp.asarray(float(depth))),
            np.concatenate([[0.0], 10.0 ** (np.arange(-63.0, 1.0) / 16.0)]),
        )
        counts, _ = iterations(rule, rule.begin(w), landing * (1.0 - offsets), self.levels, 1000, whole=True)
        slow = np.flatnonzero(~(counts[:, 0] <= 10.0 * counts[0, 0]))
        served = self.problem.loss.p > 2.0 and slow.size and slow[0]
        return float(counts[0, 0]), float(offsets[slow[0] - 1]) if served else np.nan


def _counted(setting, depth, descent):
    """One row: counts of descent, the rule, the rule from a plain start, and with the step that lands; its window."""
    w = setting.start(min(0.5, (depth * setting.power / 2.0) ** (-depth / (2.0 * depth - 2.0))))
    plain, landing = setting.start(PLAIN_START), setting.landing(w, depth)
    if setting.problem.loss.p > 2.0:
        # half a step of the grid beside the landing, and a decade below
        around = landing, setting.landing(plain, depth) * 10.0 ** (1.0 / 32.0 - 1.0)
    else:
        # where nothing is to be had from landing, around the step that is stable at the optimum
        around = (setting.stable / (depth * np.sqrt(2.0) ** (2.0 - 2.0 / depth)),) * 2
    found = [
        descent,
        *(setting.tuned(one, depth, step) for one, step in zip((w, plain), around, strict=True)),
    ]
    counts = [(one.best[0], one.coarse[0]) for one in found]
    return [*counts, *((one, one) for one in setting.landed(w, depth, landing))], sum(
        one.edge for one in found
    )


def cases(key, *, powers, depths):
    """A family of problems for every p and depth; at p = 2 of targets and of inputs."""
    generator(key)  # nothing is drawn
    for p, kind in [(q, kind) for q in powers for kind in KINDS[: 1 + (q == 2.0)]]:
        settings = [_Setting(p, size, kind) for size in SIZES[p]]
        descents = [one.tuned(one.start(PLAIN_START), 1, one.stable) for one in settings]
        for depth in depths:
            found = [_counted(*one) for one in zip(settings, (depth,) * len(settings), descents, strict=True)]
            rows = np.array([row for row, _ in found])
            edges = float(sum(edge for _, edge in found))
            seen = {"sizes": ("size", np.array(SIZES[p])), "edge": ((), edges)}
            for i, name in enumerate(("descent", "rule", "plain", "landed", "window")):
                seen |= {name: ("size", rows[:, i, 0]), f"{name}{COARSE}": ("size", rows[:, i, 1])}
            yield case(settings[-1].problem, xr.Dataset(seen), p=p, N=float(depth), family=kind)


STUDY = study(
    "cohen.acceleration",
    Acceleration,
    cases,
    quick={"powers": (2.0, 3.0, 4.0, 6.0), "depths": (2, 3, 8)},
    full={"depths": (2, 3, 4, 5, 6, 7, 8)},
    few={"powers": (2.0, 4.0), "depths": (2,)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "gains",
            "r",
            "iterations of descent over the rule's",
            "$r$ ($\\kappa$ at $p=2$)",
            by=("p",),
            log="xy",
        ),
        Panel("plain", "r", "the same, from a plain start", "$r$ ($\\kappa$ at $p=2$)", by=("p",), log="xy"),
        Panel("window", "r", "relative width of the steps that serve", "$r$", by=("p",), log="xy"),
        caption="Left: with its best step, from the start made for it, the end-to-end rule gains like r^{p−2} on "
        "descent, and at p = 2 nothing. Middle: from a start made for nothing it gains a factor that does not grow. "
        "Right: how far beside its best step the rule still takes ten times as long at most.",
    ),
)
