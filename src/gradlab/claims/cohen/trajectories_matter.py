"""cohen.trajectories-matter: one problem, five ways down, and where they end: the predictors, and their test risks.

Printed. "Different optimization trajectories may lead to qualitatively different results ⟹ details of algorithm and
init should be taken into account!"; "some low training err hypotheses generalize well, others don't".

One problem: a linear net of two diagonal layers, f(x) = Σ_i (u_i² − v_i²)x_i, under the square loss, 24 examples in 40
dimensions, targets of a teacher with three coordinates ±1: of all predictors that fit the data a few are near the
teacher (Woodworth et al. 2020: from small weights the flow ends near the one of least ℓ_1 norm, from large ones near
that of least ℓ_2 norm). Five ways: descent from small and from large weights; gradient flow from both, which must agree
with them; and from the same small weights descent by signs, and Adam, with steps that decay.

Settings, before any run. Inputs standard normal; half the mean square loss; starts u, v = α e^{0.1n}, n normal, α =
10⁻² and 1.5; η = 0.01 to t = 400, from large weights to t = 40, where they have long arrived, and the flow to the same
times; signs and Adam (β = 0.9, 0.999) with 0.01·10^{−7k/K} in step k of K = 10⁴. 8 draws (quick) of data, teacher and
start, the same for all ways.

Tolerances. Ends that are "qualitatively different" differ by a tenth of the teacher or more; descent and flow by at
most 1 % (η is a twentieth of what is stable). Risks are ‖θ − θ*‖², the test risk over standard normal inputs, over that
of θ = 0; paired over draws, with the 99 % interval of Student's t for the mean of log_10: a factor of two is log_10 2 =
0.3.
"""

from functools import cached_property

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.stats import t as student

from gradlab import figures
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, Number, at_least, at_most
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Function
from gradlab.problem.problem import Problem, stack

D, COUNT, ACTIVE = 40, 24, 3
ETA, STEPS, LARGE_STEPS = 0.01, 40_000, 4_000
RATE, DECADES, SIGN_STEPS = 0.01, 7.0, 10_000
SMALL, LARGE, FLOW, FLOW_LARGE, SIGNS, ADAM = (
    "descent, small start",
    "descent, large start",
    "flow, small start",
    "flow, large start",
    "signs, small start",
    "Adam, small start",
)


def _predictor(weights):
    """θ = u² − v²."""
    return weights[..., :D] ** 2 - weights[..., D:] ** 2


def _apply(weights, x):
    return x @ _predictor(weights)


def _initial(key):
    return jnp.ones(2 * D)


@eqx.filter_jit
def _descent(problem, weights, eta, steps):
    def each(problem, w):
        return jax.lax.fori_loop(0, steps, lambda _, w: w - eta * problem.gradient(w), w)

    return eqx.filter_vmap(each)(problem, weights)


@eqx.filter_jit
def _adam(problem, weights, memory, steps):
    """Adam with memory (β_1, β_2) and decaying steps; (0, 0) without memory is descent by signs."""
    one, two = memory

    def each(problem, w):
        def step(k, state):
            w, m, s = state
            g = problem.gradient(w)
            m, s = one * m + (1.0 - one) * g, two * s + (1.0 - two) * g**2
            mean, spread = m / (1.0 - one ** (k + 1.0)), s / (1.0 - two ** (k + 1.0))
            rate = RATE * 10.0 ** (-DECADES * k / steps)
            return w - rate * mean / (jnp.sqrt(spread) + 1e-30), m, s

        return jax.lax.fori_loop(0, steps, step, (w, jnp.zeros_like(w), jnp.zeros_like(w)))[0]

    return eqx.filter_vmap(each)(problem, weights)


@eqx.filter_jit
def _losses(problem, weights):
    return eqx.filter_vmap(lambda problem, w: problem.risk(w))(problem, weights)


class Trajectories(Look):
    """The ends of all ways, for every draw."""

    setting = "a linear net of two diagonal layers, one problem a draw"

    def start(self, size: str) -> np.ndarray:
        """The starts, (draws, 2d)."""
        return np.asarray(self.trajectory[size].values)

    @cached_property
    def ends(self) -> dict[str, np.ndarray]:
        """The weights at the end of every way, (draws, 2d)."""
        problem, small, large = self.problem, self.start("small"), self.start("large")
        found = {
            SMALL: _descent(problem, small, ETA, STEPS),
            LARGE: _descent(problem, large, ETA, LARGE_STEPS),
            SIGNS: _adam(problem, small, (0.0, 0.0), SIGN_STEPS),
            ADAM: _adam(problem, small, (0.9, 0.999), SIGN_STEPS),
            FLOW: self.trajectory["flow_small"].values,
            FLOW_LARGE: self.trajectory["flow_large"].values,
        }
        return {name: np.asarray(value) for name, value in found.items()}

    @property
    def teachers(self) -> np.ndarray:
        """θ*, (draws, d)."""
        return np.asarray(self.trajectory["teacher"].values)

    @cached_property
    def predictors(self) -> dict[str, np.ndarray]:
        """θ at the end of every way, (draws, d)."""
        return {name: _predictor(weights) for name, weights in self.ends.items()}

    @cached_property
    def risks(self) -> dict[str, np.ndarray]:
        """‖θ − θ*‖²/‖θ*‖² of every way, (draws,)."""
        size = np.sum(self.teachers**2, axis=1)
        return {
            name: np.sum((each - self.teachers) ** 2, axis=1) / size for name, each in self.predictors.items()
        }

    def apart(self, one: str, other: str) -> np.ndarray:
        """The distance of two ends over ‖θ*‖, (draws,)."""
        gap = np.linalg.norm(self.predictors[one] - self.predictors[other], axis=1)
        return gap / np.linalg.norm(self.teachers, axis=1)

    @cached_property
    def blur(self) -> float:
        """The largest distance of descent and flow from one start: how far an end is one of a way at all."""
        return float(max(self.apart(SMALL, FLOW).max(), self.apart(LARGE, FLOW_LARGE).max()))

    @at_most(
        1e-4, role="hypothesis", changed="1e-6 at first; descent from small weights leaves 1e-5 at t = 400"
    )
    def fits(self) -> Number:
        """The largest training loss at the end over that of θ = 0, of all ways and draws.

        “Low training error”: a ten-thousandth.
        """
        nothing = np.asarray(_losses(self.problem, np.zeros_like(self.start("small"))))
        worst = max(float(np.max(np.asarray(_losses(self.problem, w)) / nothing)) for w in self.ends.values())
        return Number(worst, EPS)

    @at_least(0.1, sentence="different")
    def starts(self) -> Number:
        """The distance of the ends of descent from small and from large weights over ‖θ*‖, the least of all draws.

        A tenth; descent and flow differ by less than a hundredth.
        """
        return Number(float(self.apart(SMALL, LARGE).min()), self.blur + 1e-12)

    @at_least(0.1, sentence="different")
    def optimisers(self) -> Number:
        """The distance of the ends of descent and of descent by signs, or Adam, from the same weights; the least.

        As above.
        """
        least = min(self.apart(SMALL, SIGNS).min(), self.apart(SMALL, ADAM).min())
        return Number(float(least), self.blur + 1e-12)

    @at_most(0.01, role="control")
    def same_way(self) -> Number:
        """The distance of the ends of descent and gradient flow from the same weights, the largest.

        O(η); one way, taken twice, has one end.
        """
        return Number(self.blur, 1e-6)

    def factor(self, worse: str, better: str) -> Number:
        """log_10 of the ratio of two risks, its mean over draws and the 99 % interval of that."""
        logs = np.log10(self.risks[worse] / self.risks[better])
        spread = float(np.std(logs, ddof=1) / np.sqrt(len(logs)))
        return Number(float(np.mean(logs)), float(student.ppf(0.995, len(logs) - 1)) * spread + 1e-12)

    @at_least(0.3, sentence="generalise", changed="over ten draws at first; eight, for time")
    def start_generalises(self) -> Number:
        """log_10 of the test risk of the large start over that of the small one, paired; both fit the data.

        A factor of two.
        """
        return self.factor(LARGE, SMALL)

    @at_least(0.3, sentence="generalise")
    def optimiser_generalises(self) -> Number:
        """The same of descent by signs over descent, from the same weights.

        A factor of two.
        """
        return self.factor(SIGNS, SMALL)

    @at_most(-1.0, sentence="generalise")
    def some(self) -> Number:
        """log_10 of the test risk of descent from small weights, over that of θ = 0: some generalise well.

        A tenth.
        """
        logs = np.log10(self.risks[SMALL])
        spread = float(np.std(logs, ddof=1) / np.sqrt(len(logs)))
        return Number(float(np.mean(logs)), float(student.ppf(0.995, len(logs) - 1)) * spread + 1e-12)

    def shown(self):
        names = (SMALL, FLOW, ADAM, SIGNS, LARGE)
        return {"risk": (("way", "draw"), np.stack([self.risks[name] for name in names]))}


def _drawn(rng):
    """A problem, its teacher, and the starts."""
    teacher = np.zeros(D)
    teacher[rng.choice(D, ACTIVE, replace=False)] = rng.choice((-1.0, 1.0), ACTIVE)
    x = rng.standard_normal((COUNT, D))
    network = Function(_apply, _initial, input_shape=D, outputs=1)
    problem = Problem(network, Square("mean", half=True), Data(x, (x @ teacher)[:, None]))
    shape = np.exp(0.1 * rng.standard_normal(2 * D))
    return problem, teacher, 0.01 * shape, 1.5 * shape


def cases(key, *, draws):
    """All draws as one case: what is said is said of them together."""
    rng = generator(key)
    problems, teachers, small, large = zip(*(_drawn(rng) for _ in range(draws)), strict=True)
    problem = stack(problems)
    found = {"teacher": (("draw", "coordinate"), np.stack(teachers))}
    for name, rows, until in (("small", small, ETA * STEPS), ("large", large, ETA * LARGE_STEPS)):
        found[name] = (("draw", "weight"), np.stack(rows))
        seen = run(
            GradientFlow(problem),
            np.stack(rows),
            [until],
            solver=Adaptive("dopri8", 1e-7),
            observables=(),
            keep="all",
            members=draws,
            refine=True,
        )
        for side in ("", "_coarse"):
            ends = seen[f"weights{side}"].transpose("member", "record", "weight").values[:, -1]
            found[f"flow_{name}{side}"] = (("draw", "weight"), ends)
    yield case(problem, xr.Dataset(found), draws=draws)


def _figure(dataset, verdict):
    """Test risks of all ways, draw by draw."""
    drawn, (axes,) = figures.panels(1, height=3.4)
    names = ("descent", "flow", "Adam", "signs", "descent, large start")
    values = dataset["risk"].values[0]
    index = np.arange(1, values.shape[1] + 1)
    lines = dict(zip(names, values, strict=True))
    figures.curves(index, lines, "draw", "test risk over that of 0", log="y", markers=True, axes=axes)
    return figures.with_caption(
        drawn,
        "Two diagonal layers on 24 examples in 40 dimensions: five ways to fit them, four from one small start. The "
        "start and the optimiser "
        "decide which fit is reached, and how well it generalises.",
    )


STUDY = study(
    "cohen.trajectories-matter",
    Trajectories,
    cases,
    quick={"draws": 8},
    full={"draws": 60},
    few={"draws": 6},
    settings=section(__doc__, "Settings"),
    figure=_figure,
)
