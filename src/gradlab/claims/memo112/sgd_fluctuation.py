"""memo112.sgd-fluctuation: under SGD ρ fluctuates around Σ y f/Σ f², unless the data are interpolated there.

What is judged. Chains, whose f_n cannot change: the passage's "for fixed Σ f_i y_i". With a_n = 2N f_n² and h_n =
2N(ρ_eq f_n − y_n) f_n a step of SGD on one layer is exactly δ ← (1 − ηâ)δ − ηĥ, means over the minibatch: its mean is
ρ_eq, and its stationary variance η² var h/B/(1 − (1 − 2ηb)² − η² var a/B). To first order, and for L layers with η
replaced by ηLρ_eq^{2−2/L}, that is the Ornstein–Uhlenbeck value η var h/4bB. Where ρ_eq f_n = y_n for all n, h_n = 0:
ρ_eq is critical under SGD too; and that is the memo's own case of zero square loss. The repair: some example is not
fitted at ρ_eq.

Settings. Loss Σ(g − y)², minibatches of 1 and 4 of 8 examples with replacement, (8/B) times the sum. Chains of one,
two and three layers at ρ_eq, steps 0.02/b and 0.05/b over Lρ_eq^{2−2/L}, 32 runs of 3000 iterations, records every 25
from 500 on. Chains on interpolated data. For the directions one layer of three inputs.

Tolerances. Three standard errors over the 32 runs are the bar, about a tenth. The variance within ¼: for one layer
the prediction is exact, for more the curvature of ρ = Πρ_k gives corrections of relative order of the fluctuation, a
tenth.

Changed after a first run: the number of runs, their steps, and the tolerance of the variance, which sampling had
exceeded.
"""

from functools import cached_property
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.transients import Transient
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import StochasticGradientDescent
from gradlab.laboratory import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

RUNS, ITERATIONS = 32, np.arange(500, 3001, 25)


class Fluctuating(Transient):
    """Runs of SGD from the equilibrium, one after the other along the records."""

    setting = "a linear net with one output under the sum of squares, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        net, loss = problem.network, problem.loss
        linear = isinstance(net, Dense) and net.linear and net.outputs == 1
        sums = isinstance(loss, Square) and loss.reduction == "sum" and not loss.half
        return linear and sums and not np.any(np.asarray(problem.decay))

    @property
    def flows(self) -> bool:
        """Iterations of SGD are no flow."""
        return False

    @property
    def chain(self) -> bool:
        return self.size == self.depth

    @cached_property
    def products(self) -> np.ndarray:
        """ρ, (runs, records)."""
        return self.rho.reshape(RUNS, -1)

    @cached_property
    def noise(self) -> tuple[float, float, float]:
        """b, var a and var h at ρ_eq, f the normalised outputs at the start."""
        f = self.outputs[0] / self.rho[0]
        b, count = float(f @ f), len(f)
        rho = float(f @ self.labels) / b
        a, h = 2.0 * count * f**2, 2.0 * count * (rho * f - self.labels) * f
        return b, float(np.var(a)), float(np.var(h))

    @property
    def equilibrium(self) -> float:
        f = self.outputs[0] / self.rho[0]
        return float(f @ self.labels / (f @ f))

    @property
    def fitted(self) -> bool:
        """Whether every example is fitted at ρ_eq."""
        return self.noise[2] <= 1e-16 * max(self.noise[1], 1.0)

    @property
    def step(self) -> float:
        """η L ρ_eq^{2−2/L}."""
        return float(self.facts["η"]) * self.depth * self.equilibrium ** (2.0 - 2.0 / self.depth)

    def predicted(self) -> float:
        """The stationary variance."""
        b, of_a, of_h = self.noise
        eta, batch = self.step, int(self.facts["B"])
        return eta**2 * of_h / batch / (1.0 - (1.0 - 2.0 * eta * b) ** 2 - eta**2 * of_a / batch)

    @cached_property
    def variance(self) -> Number:
        """The mean square of ρ − ρ_eq over runs and records, with three standard errors over the runs."""
        each = np.mean((self.products - self.equilibrium) ** 2, axis=1)
        return Number(float(np.mean(each)), 3.0 * float(np.std(each, ddof=1)) / np.sqrt(RUNS))

    @at_most(1e-12, sentence="descent")
    def critical(self) -> Number:
        """‖∇L‖ at the start, ρ = ρ_eq, over 2Σ|y_n|‖∂g_n/∂W‖, of the whole batch.

        Rounding.
        """
        start = np.asarray(self.trajectory["start"].values)
        problem = Problem(self.problem.network, self.problem.loss, self.problem.data)
        slopes = np.asarray(problem.output_jacobian(self.tree(start))).reshape(len(self.labels), -1)
        size = 2.0 * float(np.abs(self.labels) @ np.linalg.norm(slopes, axis=1))
        return Number(float(np.linalg.norm(self.gradient(start))) / size, 1e-15)

    @property
    def asked(self) -> bool:
        """Whether the claim speaks of this minibatch noise."""
        return True

    @at_least(1e-3, sentence="sgd")
    def fluctuates(self) -> Number | None:
        """The root mean square of ρ − ρ_eq over ρ_eq.

        The prediction is some per cent; a thousandth is far above rounding.
        """
        if not self.asked or not self.chain:
            return NOT_ASKED
        square = self.variance.value / self.equilibrium**2
        found = float(np.sqrt(square))
        return Number(
            found, 0.5 * self.variance.error / self.equilibrium**2 / found if found > 0.0 else 1e-15
        )

    @at_most(
        0.5,
        sentence="sgd",
        changed="was 5 % of ρ_eq; the mean is off by the curvature of Πρ_k times the variance",
    )
    def around(self) -> Number | None:
        """|mean of ρ − ρ_eq| over the root mean square of ρ − ρ_eq.

        "Around": less than half of what it fluctuates by.
        """
        found = self.variance.value
        if not self.asked or not self.chain or self.fitted:
            return NOT_ASKED
        means = np.mean(self.products, axis=1) - self.equilibrium
        lost = 3.0 * float(np.std(means, ddof=1)) / np.sqrt(RUNS)
        return Number(abs(float(np.mean(means))) / np.sqrt(found), lost / np.sqrt(found))

    @at_least(1e-3, sentence="directions")
    def turning(self) -> Number | None:
        """Root mean square of ‖V − V(0)‖ of the layer, of nets whose directions can turn.

        As for ρ.
        """
        if self.chain or not self.asked:
            return NOT_ASKED
        V = self.weights / np.linalg.norm(self.weights, axis=1, keepdims=True)
        each = np.mean(np.sum((V - V[0]) ** 2, axis=1).reshape(RUNS, -1), axis=1)
        found = float(np.sqrt(np.mean(each)))
        return Number(found, 1.5 * float(np.std(each, ddof=1)) / np.sqrt(RUNS) / found)

    def shown(self):
        found = float(np.sqrt(self.variance.value)) / self.equilibrium
        return {
            "seen": found,
            "wanted": float(np.sqrt(self.predicted())) / self.equilibrium,
            "path": ("moment", self.products[0] / self.equilibrium),
            "k": ("moment", ITERATIONS.astype(float)),
        }


class Unfitted(Fluctuating):
    @property
    def asked(self) -> bool:
        return not self.fitted

    @equals(1.0, within=0.25, sentence="size")
    def variance_ratio(self) -> Number | None:
        """The mean square of ρ − ρ_eq over its prediction, of chains.

        See the module's docstring.
        """
        if not self.chain or self.fitted:
            return NOT_ASKED
        wanted = self.predicted()
        return Number(self.variance.value / wanted, self.variance.error / wanted)

    @at_most(1e-12, sentence="fitted")
    def stays(self) -> Number | None:
        """Where every example is fitted at ρ_eq: the largest |ρ − ρ_eq|/ρ_eq.

        Rounding: ρ_eq is critical for every minibatch.
        """
        if not self.fitted or not self.chain:
            return NOT_ASKED
        return Number(float(np.max(np.abs(self.products / self.equilibrium - 1.0))), 1e-14)


def _runs(problem, start, step, batch, key, **facts):
    flow = StochasticGradientDescent(
        stack([problem] * RUNS), np.full(RUNS, step), batch, jax.random.split(key, RUNS)
    )
    starts = tuple(np.stack([one] * RUNS) for one in start)
    seen = run(flow, starts, ITERATIONS, keep="all", observables=(), members=RUNS)
    rows = seen["weights"].transpose("member", "record", "weight").values[:, 1:]
    kept = xr.Dataset({"weights": (("record", "weight"), rows.reshape(-1, rows.shape[-1]))})
    kept["start"] = ("weight", np.asarray(problem.ravel(start)))
    return case(problem, kept, B=batch, **facts, η=step)


def cases(key, *, depths, batches, steps, free):
    """Chains at their equilibrium, on data that are fitted there and that are not; and one layer of three inputs."""
    rng = generator(key)
    for depth in depths:
        for i, (batch, size) in enumerate((batch, size) for batch in batches for size in steps):
            for fitted in (False, True) if i == 0 else (False,):
                problem = transients.chain_problem(rng, depth)
                x, labels = (np.asarray(one)[:, 0] for one in (problem.data.inputs, problem.data.targets))
                if fitted:
                    x, labels = 0.7 * labels, labels
                    problem = Problem(problem.network, Square(), Data(x[:, None], labels[:, None]))
                b, rho = float(x @ x), float(x @ labels) / float(x @ x)
                step = size / b / (depth * rho ** (2.0 - 2.0 / depth))
                facts = {"L": depth, "data": "fitted" if fitted else "not fitted"}
                yield _runs(
                    problem,
                    transients.chained(depth, rho),
                    step,
                    batch,
                    jax.random.fold_in(key, i + 10 * depth),
                    **facts,
                )
    for i in range(free):
        problem = transients.classes(rng, Dense((3, 1), "identity"), 8)
        X, labels = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)[:, 0]
        w = np.linalg.lstsq(X, labels, rcond=None)[0]
        step = 0.03 / float(np.sum(X**2))
        yield _runs(
            problem,
            (w[None],),
            step,
            1,
            jax.random.fold_in(key, 100 + i),
            L=1,
            data="three inputs",
            draw=i + 1,
        )


BUDGETS: dict[str, Any] = {
    "quick": {"depths": (1, 2, 3), "batches": (1, 4), "steps": (0.02, 0.05), "free": 5},
    "full": {"depths": (1, 2, 3, 4), "batches": (1, 2, 4), "steps": (0.01, 0.02, 0.05), "free": 12},
    "few": {"depths": (1,), "batches": (1,), "steps": (0.05,), "free": 1},
}
FIGURE = Figure(
    Panel("path", "k", r"$\rho/\rho_{eq}$, one run", "iteration", by=("data",), lines=True, each=1),
    Panel(
        "seen",
        "wanted",
        "fluctuation of ρ, seen",
        "predicted",
        by=("L",),
        log="xy",
        floor=1e-18,
        diagonal=True,
    ),
    caption="SGD from the equilibrium. Left: it moves where examples are not fitted, and stays where all are. "
    "Right: root mean "
    "square of ρ/ρ_eq − 1 of chains, against the stationary value of the linearised iteration.",
)

STUDIES = tuple(
    study(name, look, cases, **BUDGETS, settings=section(__doc__, "Settings"), figure=FIGURE)
    for name, look in (
        ("memo112.sgd-fluctuation", Fluctuating),
        ("memo112.sgd-fluctuation-corrected", Unfitted),
    )
)
