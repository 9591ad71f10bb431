"""memo90.smooth-relu: polynomials and x/(1 + e^{−x/ε²}) for ReLU, and flows in the sense of Filippov (sections 5.2,
12.3.2).

What is printed. "We can satisfy this hypothesis by considering polynomial approximations of the RELUs in the deep
networks, since we have empirically shown that they are equivalent to the standard non-smooth RELUs in terms of
performance"; "technically the statements above work for smooth nonlinearities, for example σ(x) = x/(1 + e^{−x/ε²}),
but we expect they should apply to non-smooth dynamical systems in the Filippov sense".

How it is read. Performance: two nets, ReLU and a polynomial of degree 8 fitted to it, trained on the same data from
the same start, have test errors that differ by less than 0.05 in the mean. Smooth: at a fixed time the flow with ε
tends to that with ReLU, and at late times a small ε ends where ReLU does. Filippov: where a ReLU neuron slides along
a kink, the smooth flows tend to Filippov's solution.

What holds. max |σ_ε − ReLU| = ε² W(1/e) = 0.2785 ε², with Lambert's W. Flows differ by O(ε²) at a fixed time. Which
limit is first: with ε → 0 at fixed t all holds; a polynomial is ReLU on an interval only, which the weights leave as
t → ∞ under the exponential loss; "performance" is at a finite time.

Sliding by hand. One unit, f = a σ(w·x), x_1 = (1, 0) of label −1, x_2 = (0.6, 0.8) of label 1, w = (0, b), a = b. On
the active side x_1 pulls w_1 down (e^{f_1} = 1 > 0.6 e^{−f_2}), on the other x_2 pulls it up: w_1 stays 0, and ḃ =
0.8 a e^{−f}, ȧ = 0.8 b e^{−f}, f = 0.8 a b: a flow without kinks.

Settings, before any run. Crossing: ReLU nets 2-3-1 on two inputs at 60°, 100° and 150°, random starts, two each, ε =
0.4, 0.2, 0.1, at t = e³ from e^{−5}, and to log t = 30 with ε = 0.1. Sliding: b = 0.7 to 1.3, four, ε = 0.2, 0.1,
0.05, at t = e³. Performance: nets 4-6-1, N = 24 points labelled by a random ReLU net, flows to t = e³, 8 pairs of
each of 10 data sets, 500 test points; the polynomial is the least-squares fit on [−4, 4].

Tolerances. Error law: exponent 2 with corrections of O(ε²) and kinks that are crossed near the end: 1.5 to 2.5 from
ε = 0.1 to 0.05 when sliding; from 0.2 to 0.1 the distance falls to a half at most (or is below 1e-3) when crossing.
Late: 0.1 of a unit vector. Performance: the bar is 2.5 standard errors.
"""

from functools import cached_property

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.special import lambertw

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late, late_runs
from gradlab.claims.studies import section, study
from gradlab.observe.local import outputs
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CROSSING, SLIDING = (0.4, 0.2, 0.1), (0.2, 0.1, 0.05)
TIME = 3.0


class SmoothReLU(Look):
    setting = "a two-layer net without biases, the exponential loss"

    @property
    def kind(self) -> str:
        """``crossing``, ``sliding``, ``late`` or ``performance``."""
        return str(self.facts["kind"])

    def away(self) -> np.ndarray:
        """Distances of the weights for every ε from those of ReLU, over their size."""
        first, *others = self.weights
        return np.linalg.norm(np.stack(others) - first, axis=1) / np.linalg.norm(first)

    @property
    def missing(self) -> np.ndarray:
        """x − σ_ε(x) for ε = 0.1, on a grid of x ≥ 0."""
        x = np.linspace(0.0, 5.0, 50_001) * 0.01
        return x - smooth_relu(0.01).derivative(x, 0)

    @at_most(1e-6, sentence="smooth")
    def approximation(self) -> Number | None:
        """|max |σ_ε − ReLU|/(ε² W(1/e)) − 1| for ε = 0.1, on a grid.

        A grid of 1e-4 ε² sees a maximum to 1e-8.
        """
        if self.kind != "crossing":
            return NOT_ASKED
        return Number(
            abs(float(np.max(self.missing)) / (0.01 * float(lambertw(np.exp(-1.0)).real)) - 1.0), 1e-9
        )

    @at_most(0.5, sentence="smooth")
    def crossing(self) -> Number | None:
        """Distance from the ReLU flow at t = e³ for ε = 0.1 over that for ε = 0.2 (1e-3 at least).

        ε²: a quarter.
        """
        if self.kind != "crossing":
            return NOT_ASKED
        away = self.away()
        return Number(float(away[2] / max(away[1], 2e-3)), 1e-4)

    @at_most(0.1, sentence="smooth")
    def late(self) -> Number | None:
        """Distance of what the nets compute on a circle of inputs at log t = 30, ε = 0.1 and ReLU, as unit vectors.

        See the module's docstring.
        """
        if self.kind != "late":
            return NOT_ASKED
        turn = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
        found = []
        for row in self.weights:
            h = len(row) // 3
            w, a = row[: 2 * h].reshape(h, 2), row[2 * h :]
            f = np.maximum(np.column_stack([np.sin(turn), np.cos(turn)]) @ w.T, 0.0) @ a
            found.append(f / np.linalg.norm(f))
        return Number(float(np.linalg.norm(found[0] - found[1])), 1e-6)

    @equals(2.0, within=0.5, sentence="filippov")
    def law(self) -> Number | None:
        """log₂ of the distance from Filippov's solution at t = e³ for ε = 0.1 over that for ε = 0.05, sliding.

        See the module's docstring.
        """
        if self.kind != "sliding":
            return NOT_ASKED
        away = self.away()
        return Number(float(np.log2(away[1] / away[2])), 1e-4)

    @at_most(0.02, sentence="filippov")
    def sliding(self) -> Number | None:
        """Distance from Filippov's solution at t = e³ for ε = 0.05, sliding.

        ε² = 0.0025 times a constant of order one.
        """
        return Number(float(self.away()[2]), 1e-6) if self.kind == "sliding" else NOT_ASKED

    @cached_property
    def errors(self) -> np.ndarray:
        """Share of wrong test points of every pair, (2, pairs)."""
        x, y = self.trajectory["test_x"].values, self.trajectory["test_y"].values
        network = self.problem.network
        poly = Dense(network.widths, fitted())
        found = []
        for net, row in zip((network, poly), self.weights, strict=True):
            problem = Problem(net, Exponential("sum"), Data(x, y))
            parts = row.reshape(-1, self.size)
            found.append([float(np.mean(outputs(problem, one)[:, 0] * y <= 0.0)) for one in parts])
        return np.array(found)

    @at_most(
        0.05,
        sentence="polynomial",
        changed="6 pairs a data set before, whose standard errors did not decide",
    )
    def performance(self) -> Number | None:
        """|mean difference of the test errors of ReLU and polynomial nets|, paired.

        See the module's docstring.
        """
        if self.kind != "performance":
            return NOT_ASKED
        gap = self.errors[0] - self.errors[1]
        return Number(abs(float(gap.mean())), 2.5 * float(gap.std(ddof=1)) / len(gap) ** 0.5 + 1e-9)

    def shown(self):
        if self.kind == "performance":
            return {
                "ε": ("eps", np.full(3, np.nan)),
                "away": ("eps", np.full(3, np.nan)),
                "relu": self.errors[0].mean(),
                "poly": self.errors[1].mean(),
            }
        away = self.away() if self.kind != "late" else np.full(3, np.nan)
        eps = CROSSING if self.kind == "crossing" else SLIDING
        return {"ε": ("eps", np.array(eps)), "away": ("eps", away), "relu": np.nan, "poly": np.nan}


def fitted():
    """The polynomial of degree 8 nearest to ReLU on [−4, 4]."""
    x = np.linspace(-4.0, 4.0, 801)
    return polynomial(tuple(np.polynomial.polynomial.polyfit(x, np.maximum(x, 0.0), 8)))


def _flow(problem):
    """dW/du by the network's own derivatives, for any activation."""

    def field(u, vector):
        m, rows = late.margins(problem, vector)
        return np.exp(np.minimum(u - m, 600.0)) @ rows

    return field


def _ends(fields, start, until, rtol):
    """Weights at log t = until of every field, by two tolerances: rows, and coarse ones."""
    found = []
    for by in (1.0, 100.0):
        found.append(
            np.stack(
                [
                    solve_ivp(f, (-5.0, until), start, "LSODA", rtol=rtol * by, atol=rtol * by * 1e-2).y[
                        :, -1
                    ]
                    for f in fields
                ]
            )
        )
    return found


def _case(problem, rows, facts, **more):
    kept = {"weights": (("record", "weight"), rows[0]), "weights_coarse": (("record", "weight"), rows[1])}
    return case(problem, xr.Dataset({**kept, **more}), **facts)


def cases(key, *, crossing, sliding, sets, pairs):
    """Nets that cross kinks, one that slides, late times, and pairs of trained nets."""
    random = generator(key)
    for degrees in late_runs.ANGLES:
        X = late.pair(degrees)
        for i in range(crossing):
            start = late_runs.to_each(random, degrees, 3) if i % 2 else late_runs.spread(random, 3)
            nets = [
                late.net((2, 3, 1), X, activation=one)
                for one in ("relu", *(smooth_relu(e**2) for e in CROSSING))
            ]
            rows = _ends([late.flow(nets[0]), *(_flow(net) for net in nets[1:])], start, TIME, 1e-6)
            yield _case(nets[0], rows, {"kind": "crossing", "angle": degrees, "draw": i + 1})
        start = late_runs.to_each(random, degrees, 2)
        nets = [late.net((2, 2, 1), X, activation=one) for one in ("relu", smooth_relu(CROSSING[-1] ** 2))]
        logs = np.array([-5.0, 30.0])
        runs = [
            late.orbit(late.flow(nets[0]), late.bending(nets[0]), start, logs, nets[0], 1e-6),
            late.orbit(_flow(nets[1]), late.bending(nets[1]), start, logs, nets[1], 1e-6),
        ]
        rows = [
            np.stack([run.trajectory[name].values[-1] for run in runs])
            for name in ("weights", "weights_coarse")
        ]
        yield _case(nets[0], rows, {"kind": "late", "angle": degrees, "draw": 1})
    for i in range(sliding):
        b = 0.7 + 0.6 * i / max(sliding - 1, 1)
        X, y = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([-1.0, 1.0])
        nets = [late.net((2, 1, 1), X, y, one) for one in ("relu", *(smooth_relu(e**2) for e in SLIDING))]

        def slide(u, w):
            pull = 0.8 * np.exp(u - 0.8 * w[1] * w[2])
            return np.array([0.0, pull * w[2], pull * w[1]])

        start, logs = np.array([0.0, b, b]), np.array([-5.0, TIME])
        rows = [
            np.stack(
                [
                    late.by_radau(slide, start, logs, rtol)[-1],
                    *(
                        late.by_radau(_flow(net), start, logs, rtol, late.bending(net))[-1]
                        for net in nets[1:]
                    ),
                ]
            )
            for rtol in (1e-7, 1e-5)
        ]
        yield _case(nets[0], rows, {"kind": "sliding", "angle": 53.0, "draw": i + 1})
    yield from _performance(random, sets, pairs)


def _performance(random, sets, pairs):
    """Pairs of nets, trained together."""
    given, problems = [], []
    for _ in range(sets):
        X, test = random.standard_normal((24, 4)), random.standard_normal((500, 4))
        teacher, one = random.standard_normal(30), late.net((4, 6, 1), X)
        labels, truth = (
            np.where(
                outputs(Problem(one.network, one.loss, Data(x, np.ones(len(x)))), teacher)[:, 0] >= 0.0,
                1.0,
                -1.0,
            )
            for x in (X, test)
        )
        given.append((test, truth))
        problems += [(X, labels, 0.5 * random.standard_normal(30)) for _ in range(pairs)]
    ends = {}
    for name, shift in (("weights", 0.0), ("weights_coarse", 1e-12)):
        ends[name] = [
            _descended(problems, activation, shift).reshape(sets, pairs * 30)
            for activation in (Dense((1, 1, 1)).activation, fitted())
        ]
    for i, (test, truth) in enumerate(given):
        rows = [np.stack([kept[i] for kept in ends[name]]) for name in ends]
        problem = late.net((4, 6, 1), problems[i * pairs][0], problems[i * pairs][1])
        facts = {"kind": "performance", "angle": 0.0, "draw": i + 1}
        yield _case(problem, rows, facts, test_x=(("test", "input"), test), test_y=("test", truth))


def _descended(problems, activation, shift):
    """Descent on the mean of e^{−y f} of all pairs at once, nets 4-6-1, 1000 steps of 0.04: (members, 30)."""
    X, y, start = (np.stack(part) for part in zip(*problems, strict=True))
    W, a = (start[:, :24] * (1.0 + shift)).reshape(-1, 6, 4), start[:, 24:]
    for _ in range(1000):
        z = np.einsum("mhd,mnd->mnh", W, X)
        h = activation.derivative(z, 0)
        pull = y * np.exp(-y * np.einsum("mnh,mh->mn", h, a)) / X.shape[1]
        back = pull[:, :, None] * a[:, None, :] * activation.derivative(z, 1)
        W, a = W + 0.04 * np.einsum("mnh,mnd->mhd", back, X), a + 0.04 * np.einsum("mn,mnh->mh", pull, h)
    return np.concatenate([W.reshape(len(W), 24), a], axis=1)


STUDY = study(
    "memo90.smooth-relu",
    SmoothReLU,
    cases,
    quick={"crossing": 2, "sliding": 4, "sets": 6, "pairs": 20},
    full={"crossing": 8, "sliding": 24, "sets": 30, "pairs": 16},
    few={"crossing": 1, "sliding": 1, "sets": 2, "pairs": 12},
    figure=Figure(
        Panel(
            "away",
            "ε",
            r"distance from ReLU's flow at $t=e^3$",
            r"$\varepsilon$",
            by=("kind",),
            log="xy",
            floor=1e-7,
        ),
        Panel("poly", "relu", "test error, polynomial", "test error, ReLU", by=("kind",), diagonal=True),
        caption="Left: flows with x/(1 + e^{−x/ε²}) tend to that of ReLU like ε², to Filippov's where a unit "
        "slides along a kink. Right: test errors of ReLU nets and polynomial ones.",
    ),
    settings=section(__doc__, "Settings"),
)
