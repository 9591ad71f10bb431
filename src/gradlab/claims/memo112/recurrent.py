"""memo112.recurrent: a recurrent net and the same net unrolled: the same transient, with another pace of the shared
layer.

What is judged. "Effectively the same" dynamics is read as what the memo says of it: a transient (ρ small until T/2),
T growing with the same power of the start, ρ_k(0)^{−(L−2)} for a net of L layers, shared or not, since both are
homogeneous of degree L. What differs is stated beside it: a layer that is used m times has degree m, dρ_k²/dt = −2m Σ
ℓ'_n g_n, so that it grows m times as fast in ρ_k², equal norms do not stay equal, and eqs. 3 and 5 do not hold as
printed (memo112.lemma1-corrected). The passage's reason, "the number of parameters is much higher in the second
case", is no part of the dynamics. Performance: both from the same start on the same data, errors on held-out points.

Settings. Loss Σ(g − y)². Linear nets W_out W W W_in and W_out W_3 W_2 W_in, width 3, from equal weights W_2 = W_3 =
W, ten points of two overlapping classes, ρ(0) = 3e-5 to 3e-3, to t = 80, or 160, (40 at first, too short for the
smallest of some starts). 400 held-out points. Points of linear and ReLU nets for the degrees.

Tolerances. Exponents as in memo112.transient-length, 5e-2 in units of 1 − 2/L; degrees to rounding. Small: a tenth at
T/2. "Almost as well": the recurrent net errs on at most five in a hundred points more.

Changed after a first run: sizes of the start and times, widened since the exponents' intervals were as wide as what
is asked; the full budget to t = 160, since 80 was too short for the smallest start of one draw of sixteen.
"""

from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.analysis.asymptotics import scaling_law
from gradlab.claims.cases import case, ensemble, generator, point
from gradlab.claims.looks.look import Look
from gradlab.claims.looks.polar import relative
from gradlab.claims.looks.transients import Transient
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar, transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory.second import COARSE
from gradlab.observe.layers import layer_inner, layer_of
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense, Function
from gradlab.problem.problem import Problem

SIZES, USES = np.geomspace(3e-5, 3e-3, 7), 2


def _linear(weights: Any, x: Any) -> Any:
    first, shared, last = weights
    h = x @ first.T
    for _ in range(USES):
        h = h @ shared.T
    return h @ last.T


def _relu(weights: Any, x: Any) -> Any:
    first, shared, last = weights
    h = jnp.maximum(x @ first.T, 0.0)
    for _ in range(USES):
        h = jnp.maximum(h @ shared.T, 0.0)
    return h @ last.T


def _start(key: Any) -> Any:
    return np.zeros((3, 5)), np.zeros((3, 3)), np.zeros((1, 3))


RECURRENT = {
    "linear": Function(_linear, _start, input_shape=5, outputs=1, degrees=(1, USES, 1)),
    "ReLU": Function(_relu, _start, input_shape=5, outputs=1, degrees=(1, USES, 1), smooth=False),
}
UNROLLED = Dense((5, 3, 3, 3, 1), "identity")


class Shared(Look):
    """Durations of both nets over the starts, and the errors that they end with; or a point of a recurrent net."""

    setting = "a recurrent net with one output under the square loss"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem.network, Function) and isinstance(problem.loss, Square)

    @property
    def flowed(self) -> bool:
        return "duration" in self.trajectory

    def stored(self, name: str) -> np.ndarray:
        return np.asarray(self.trajectory[name].values)

    @cached_property
    def durations(self) -> np.ndarray:
        """T, (two nets, sizes), the recurrent first."""
        return self.stored("duration")

    @cached_property
    def exponents(self) -> list[Number]:
        """p of T ~ ρ(0)^{−p} of both; unknown where a transient was not over at the end."""
        found = []
        for row in self.durations:
            if not np.isfinite(row).all() or (law := scaling_law(SIZES, row, 1e-4)).kind != "power":
                found.append(Number(np.nan, np.inf))
            else:
                found.append(Number(law.exponent, law.error))
        return found

    @at_most(0.1, sentence="dynamics")
    def small(self) -> float | None:
        """The size of the outputs at T/2 over that at the end, of the smallest start; the larger of both nets.

        See the module's docstring.
        """
        return float(np.max(self.stored("half"))) if self.flowed else NOT_ASKED

    @at_most(5e-2, sentence="dynamics")
    def exponent(self) -> Number | None:
        """The larger |p − ½| of both nets, T ~ ρ(0)^{−p}.

        1 − 2/L of four layers, see the module's docstring.
        """
        if not self.flowed:
            return NOT_ASKED
        worst = max(self.exponents, key=lambda one: abs(one.value - 0.5))
        return Number(abs(worst.value - 0.5), worst.error)

    @cached_property
    def rates(self) -> np.ndarray | None:
        """dρ_k²/dt of a point; none of flows, and of a net that is dead on all inputs."""
        if self.flowed:
            return None
        found = -2.0 * layer_inner(layer_of(self.problem.network), self.end, self.gradient(self.end))
        return found if np.any(found != 0.0) else None

    @at_most(1e-10, sentence="dynamics")
    def degree(self) -> Number | None:
        """Of points: max_{j,k} |dρ_k²/dt/d_k − dρ_j²/dt/d_j| over their sizes, d = 2 of the shared layer, else 1.

        Rounding.
        """
        if self.rates is None:
            return NOT_ASKED
        divided = self.rates / np.array([1.0, USES, 1.0])
        return Number(relative(np.ptp(divided), np.max(np.abs(divided))), 1e-13)

    @at_least(0.2, sentence="dynamics", role="control")
    def undivided(self) -> Number | None:
        """The same without the degrees: equal norms do not stay equal.

        1 − 1/2.
        """
        if self.rates is None:
            return NOT_ASKED
        return Number(relative(np.ptp(self.rates), np.max(np.abs(self.rates))), 1e-13)

    @at_most(0.05, sentence="performance")
    def worse(self) -> Number | None:
        """Errors of the recurrent net on held-out points less those of the unrolled one, shares of 400.

        "Almost as well", see the module's docstring.
        """
        if not self.flowed:
            return NOT_ASKED
        recurrent, unrolled = self.stored("errors")
        return Number(float(recurrent - unrolled), 1.0 / 400.0)

    def shown(self):
        if not self.flowed:
            return {}
        one, other = self.durations
        numbers = {"T": ("size", one), "T_unrolled": ("size", other), "initial": ("size", SIZES)}
        return numbers | {"e": float(self.stored("errors")[0]), "e_unrolled": float(self.stored("errors")[1])}


def _held_out(rng, u, count):
    labels = np.resize([1.0, -1.0], count)
    x = polar.unit_inputs(rng, count, 5, "random") + 0.7 * labels[:, None] * u
    return x / np.linalg.norm(x, axis=1, keepdims=True), labels


def cases(key, *, draws, rounds, until):
    """Flows of both nets over seven sizes; points of recurrent nets."""
    rng = generator(key)
    for name, net in RECURRENT.items():
        for i in range(rounds):
            weights = polar.with_norms(rng, net, rng.uniform(0.5, 1.5, 3))
            problem = transients.classes(rng, net, 10)
            yield point(problem, np.asarray(problem.ravel(weights)), net=name, draw=i + 1)
    drawn: list[list[Any]] = [[], []]
    tests = []
    for _ in range(draws):
        u = polar.unit_inputs(rng, 1, 5, "random")
        (x, labels), held = _held_out(rng, u, 10), _held_out(rng, u, 400)
        tests.append(held)
        first, shared, last = polar.with_norms(rng, RECURRENT["linear"], np.ones(3))
        for size in SIZES:
            scale = size**0.25
            data = Data(x, labels[:, None])
            drawn[0].append(
                (
                    Problem(RECURRENT["linear"], Square(), data),
                    tuple(scale * w for w in (first, shared, last)),
                    {},
                )
            )
            every = tuple(scale * w for w in (first, shared, shared, last))
            drawn[1].append((Problem(UNROLLED, Square(), data), every, {}))
    times = np.linspace(0.0, until, 6 * until + 1)[1:]
    runs = [list(ensemble(GradientFlow, one, times, solver=Adaptive("dopri8", 1e-9))) for one in drawn]
    for i in range(draws):
        kept: dict[str, Any] = {}
        mine = [run[i * len(SIZES) : (i + 1) * len(SIZES)] for run in runs]
        for end in ("", COARSE):
            looks = [[(one.second if end else one).look(Transient) for one in each] for each in mine]
            kept[f"duration{end}"] = (
                ("net", "size"),
                np.array([[one.duration.value for one in each] for each in looks]),
            )
            sizes = [np.linalg.norm(each[0].outputs, axis=1) for each in looks]
            halves = [
                np.interp(each[0].duration.value / 2.0, each[0].time, size / size[-1])
                for each, size in zip(looks, sizes, strict=True)
            ]
            kept[f"half{end}"] = ("net", np.array(halves))
            kept[f"final_weights{end}"] = ("weight", looks[0][-1].end)
            x, labels = tests[i]
            wrong = [
                np.mean(
                    np.asarray(each[-1].problem.network(each[-1].tree(each[-1].end), x))[:, 0] * labels <= 0.0
                )
                for each in looks
            ]
            kept[f"errors{end}"] = ("net", np.array(wrong))
        yield case(mine[0][0].problem, xr.Dataset(kept), net="flows", draw=i + 1)


STUDY = study(
    "memo112.recurrent",
    Shared,
    cases,
    quick={"draws": 4, "rounds": 8, "until": 80},
    full={"draws": 16, "rounds": 40, "until": 160},
    few={"draws": 1, "rounds": 1},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "T",
            "initial",
            "$T$ of the recurrent net",
            r"$\rho(0)$",
            by=("draw",),
            log="xy",
            lines=True,
            each=1,
        ),
        Panel(
            "T_unrolled",
            "T",
            "$T$ of the unrolled net",
            "$T$ of the recurrent net",
            by=("net",),
            log="xy",
            diagonal=True,
        ),
        Panel("e", "e_unrolled", "error, recurrent", "error, unrolled", by=("net",), diagonal=True),
        caption="A recurrent linear net, its layer used twice, and the same net unrolled, from the same starts. "
        "Durations grow "
        "with the same power; the recurrent net, whose shared layer moves twice as fast, is through earlier.",
    ),
)
