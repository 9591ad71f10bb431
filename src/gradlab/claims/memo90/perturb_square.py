"""memo90.perturb-square: kicks of unit norm after convergence under the square loss, each followed by descent
(section 6).

What is printed, the three predictions. "The training error will go back to zero after each sequence of GD"; "any
small perturbation of the optimum W_0 will be corrected by the GD dynamics to push back the non-degenerate weight
directions to the original values. Since the components of the weights in the degenerate directions are in the null
space of the gradient, running GD after each perturbation will not change the weights in those directions"; repeated,
they "increase norms of some of the parameters and increase the associated test error. The L_2 norm of the
projections of the weights in the null space undergoes a random walk".

What holds (docs/notes/memo90.perturb-square.md). Linear nets: all of it, exactly; the projection P w is a sum of
kicks, so that E‖P w‖² grows by (P − N)/P a kick, and the expected test error by tr(P M P)/P. Deep nets: for small
kicks, up to their square, with the null space of the Jacobian at the point where the kick comes.

Settings, before any run. Linear: 16 data sets, N = 5 examples of a linear teacher in 12 dimensions, 40 kicks of norm
1, 60 repetitions and their twins with opposite kicks, 20 000 steps at 1/λ_max after each. Two layers, tanh (3-6-1)
and linear (3-4-1), N = 3: 4 kicks of norm 0.05, the flow to t = 1e5 after each; two starts each. Test error: mean
of squares over standard Gaussian inputs (linear: ‖w − β‖²; two layers: not asked).

Tolerances. Linear, training error: rounding, 1e-20 of the squares of y. Directions: 1e-9 of the kick. Deep: 20 δ² of
a kick δ in squares of outputs, and curvature of order one makes directions miss by 5 δ of it: 0.25. Walk: 60
repetitions of 40 kicks in 7 directions: (2/(7·60))^{1/2} = 0.07 relative; 0.3 is four of them. Test error: the twins
leave the quadratic part alone: as little.
"""

from functools import cached_property

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.kicked import kicked
from gradlab.claims.studies import section, study
from gradlab.observe.local import Forward
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

SMALL, TIME = 0.05, 1e5


class PerturbSquare(Look):
    setting = "a dense net with one output, the square loss, no decay, more weights than examples"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is such a net."""
        dense = isinstance(problem.network, Dense) and problem.network.outputs == 1
        return dense and problem.size > len(problem.data.inputs) and not np.any(problem.decay)

    @property
    def linear(self) -> bool:
        """Whether it is one linear layer."""
        return len(self.problem.network.widths) == 2

    @cached_property
    def runs(self) -> np.ndarray:
        """Weights (records, R, P) before every kick."""
        return self.weights.reshape(len(self.weights), -1, self.size)

    @cached_property
    def kicks(self) -> np.ndarray:
        """Kicks (records, R, P)."""
        return np.asarray(self.trajectory["kicks"].values).reshape(self.runs.shape)

    def local(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (N,) and their Jacobian (N, P)."""
        x = np.asarray(self.problem.data.inputs)
        if self.linear:
            return x @ vector, x
        here = Forward(self.problem.network, vector, x)
        return here.f[:, 0], here.jacobian[:, 0, :]

    @property
    def targets(self) -> np.ndarray:
        """y."""
        return np.asarray(self.problem.data.targets)[:, 0]

    @at_most(1e-6, role="hypothesis")
    def converged(self) -> Number:
        """Training error at the first record over the mean square of y.

        Kicks come after convergence.
        """
        errors = [np.mean((self.local(w)[0] - self.targets) ** 2) for w in self.runs[0]]
        return Number(float(np.max(errors) / np.mean(self.targets**2)), 1e-16)

    @at_most(
        1e-10,
        sentence="returns",
        changed="flows of two layers ended at t = 400 before, when slow directions had not converged",
    )
    def returns(self) -> Number:
        """Largest training error before a later kick, over the mean square of y.

        Linear: rounding. Deep: the flow to t = 1e5 leaves e^{−2 t λ}, nothing for λ ≥ 1e-3, and the solve.
        """
        errors = [np.mean((self.local(w)[0] - self.targets) ** 2) for record in self.runs[1:] for w in record]
        return Number(float(np.max(errors) / np.mean(self.targets**2)), 1e-16)

    def missed(self) -> tuple[float, float]:
        """What the seen directions have moved from kick to kick, and what the unseen ones differ from the kick, over
        its norm."""
        seen, unseen = 0.0, 0.0
        for before, kick, after in zip(self.runs[:-1], self.kicks[:-1], self.runs[1:], strict=True):
            right = None
            for w, k, v in zip(before, kick, after, strict=True):
                if right is None or not self.linear:
                    right = np.linalg.svd(self.local(w)[1], full_matrices=False)[2]
                moved, size = v - w, np.linalg.norm(k)
                seen = float(np.maximum(seen, np.linalg.norm(right @ moved) / size))
                beside = (moved - k) - right.T @ (right @ (moved - k))
                unseen = float(np.maximum(unseen, np.linalg.norm(beside) / size))
        return seen, unseen

    @at_most(1e-9, sentence="directions")
    def seen_linear(self) -> Number | None:
        """Motion of the directions that the data see from kick to kick, over the kick; one layer.

        Rounding, and what 20 000 steps leave.
        """
        return Number(self.missed()[0], 1e-13) if self.linear else NOT_ASKED

    @at_most(1e-9, sentence="directions")
    def unseen_linear(self) -> Number | None:
        """What descent changes of the directions that the data do not see, over the kick; one layer.

        Rounding.
        """
        return Number(self.missed()[1], 1e-13) if self.linear else NOT_ASKED

    @at_most(0.25, sentence="directions")
    def seen_deep(self) -> Number | None:
        """Motion of the directions that the Jacobian sees from kick to kick, over the kick; two layers.

        Of the order of the kick: see the module's docstring.
        """
        return NOT_ASKED if self.linear else Number(self.missed()[0], 1e-9)

    @at_most(0.25, sentence="directions")
    def unseen_deep(self) -> Number | None:
        """What the flow changes of the directions that the Jacobian does not see, over the kick; two layers.

        Of the order of the kick: see the module's docstring.
        """
        return NOT_ASKED if self.linear else Number(self.missed()[1], 1e-9)

    @at_most(0.3, sentence="walk")
    def walk(self) -> Number | None:
        """|growth of the mean of ‖P w‖² over (P − N)/P times the number of kicks − 1|, P on what the data do not
        see; one layer.

        See the module's docstring.
        """
        if not self.linear:
            return NOT_ASKED
        right = np.linalg.svd(self.local(self.runs[0, 0])[1], full_matrices=True)[2][len(self.targets) :]
        squares = np.mean(np.sum((self.runs @ right.T) ** 2, axis=2), axis=1)
        said = len(right) / self.size * (len(self.runs) - 1)
        return Number(abs(float(squares[-1] - squares[0]) / said - 1.0), 1e-9)

    @at_most(0.3, sentence="test")
    def test_error(self) -> Number | None:
        """|growth of the mean test error over (P − N)/P times the number of kicks − 1|, Gaussian inputs; one layer.

        ‖w − β‖² over repetitions and their twins; see the module's docstring.
        """
        if not self.linear:
            return NOT_ASKED
        errors = np.mean(np.sum((self.runs - self.trajectory["teacher"].values) ** 2, axis=2), axis=1)
        said = (self.size - len(self.targets)) / self.size * (len(self.runs) - 1)
        return Number(abs(float(errors[-1] - errors[0]) / said - 1.0), 1e-9)

    @at_most(-0.1, sentence="test")
    def norms(self) -> Number | None:
        """Mean of ‖w‖² at the start less at the end, over the number of kicks times (P − N)/P; one layer.

        −1 in the mean; below −0.1 the norm has grown.
        """
        if not self.linear:
            return NOT_ASKED
        squares = np.mean(np.sum(self.runs**2, axis=2), axis=1)
        said = (self.size - len(self.targets)) / self.size * (len(self.runs) - 1)
        return Number(float(squares[0] - squares[-1]) / said, 1e-9)

    def shown(self):
        squares = np.mean(np.sum(self.runs**2, axis=2), axis=1)
        seen, unseen = self.missed()
        return {
            "kick": ("record", np.arange(len(self.runs), dtype=float)),
            "square": ("record", squares - squares[0] if self.linear else np.full(len(squares), np.nan)),
            "seen": max(seen, 1e-17),
            "unseen": max(unseen, 1e-17),
        }


def _unit(random, shape, size):
    drawn = random.standard_normal(shape)
    return size * drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def _deep(random, widths, activation, draw):
    """A net that is trained, kicked and trained again, by the flow, at two tolerances."""
    X = random.standard_normal((3, widths[0]))
    y = 0.5 * random.standard_normal(3)
    network = Dense(widths, activation)
    problem = Problem(network, Square(half=True, reduction="sum"), Data(X, y[:, None]))
    start = 0.8 * random.standard_normal(problem.size)
    kicks = _unit(random, (5, 1, problem.size), SMALL)

    def field(_, w):
        here = Forward(network, w, X)
        return (y - here.f[:, 0]) @ here.jacobian[:, 0, :]

    kept = {}
    for end, rtol in (("", 1e-7), ("_coarse", 1e-5)):
        rows, w = [], start
        for kick in kicks[:, 0]:
            w = solve_ivp(field, (0.0, TIME), w, "LSODA", rtol=rtol, atol=rtol * 1e-2).y[:, -1]
            rows.append(w)
            w = w + kick
        kept[f"weights{end}"] = (("record", "weight"), np.stack(rows))
    seen = xr.Dataset({**kept, "kicks": (("record", "kick"), kicks.reshape(5, -1))})
    return case(problem, seen, net="-".join(map(str, widths)) + f" {activation}", draw=draw)


def cases(key, *, data, repeats, starts):
    """Linear nets with many repetitions, and two layers."""
    random = generator(key)
    for i in range(data):
        X, teacher = random.standard_normal((5, 12)), random.standard_normal(12)
        y = X @ teacher
        kicks = _unit(random, (41, repeats, 12), 1.0)
        kicks[-1] = 0.0
        values = np.linalg.svd(X, compute_uv=False)
        start = np.tile(np.linalg.lstsq(X, y, rcond=None)[0], (2 * repeats, 1))
        found = kicked(
            X,
            y,
            start,
            1.0 / float(values[0] ** 2),
            20_000 * np.arange(41),
            np.concatenate([kicks, -kicks], axis=1),
            net="one layer",
            draw=i + 1,
        )
        yield case(
            found.problem, found.trajectory.assign(teacher=("input", teacher)), net="one layer", draw=i + 1
        )
    for i in range(starts):
        yield _deep(random, (3, 6, 1), "tanh", i + 1)
        yield _deep(random, (3, 4, 1), "identity", i + 1)


STUDY = study(
    "memo90.perturb-square",
    PerturbSquare,
    cases,
    quick={"data": 16, "repeats": 60, "starts": 2},
    full={"data": 50, "repeats": 200, "starts": 12},
    few={"data": 2, "repeats": 60, "starts": 1},
    figure=Figure(
        Panel("square", "kick", r"growth of the mean $\|w\|^2$", "kicks", by=("net",)),
        Panel(
            "seen",
            "unseen",
            "seen directions: motion left",
            "unseen directions: motion by descent",
            by=("net",),
            log="xy",
        ),
        caption="Left: the mean of ‖w‖² grows by (P − N)/P = 7/12 a kick in one layer. Right: what is left of a "
        "kick in the seen directions, and what descent changes of the unseen ones, over the kick.",
    ),
    settings=section(__doc__, "Settings"),
)
