"""memo90.lambda-limit: what λ → 0 does to the flow near W_0, under the exponential and the square loss (section 12.2).

What is printed. Of the regularised equilibrium: "a perturbation δW around W_0 remains small: there is asymptotic
stability. Furthermore, for the exponential loss – but not for the square loss – the dynamics for any W close to W_0
remains qualitatively the same when λ → 0, in other words is not affected by the presence of regularization."

Three readings. (1) A window: W_0 and a time T fixed, λ → 0. The flows part by λT max ‖w‖ at most, under either loss.
(2) The equilibrium: at W_λ the flow with λ rests, and attracts. Without λ nothing rests there under the exponential
loss: for one example it goes on by log(1 + m) while the other relaxes, m its margin. Under the square loss the flow
without λ rests on X⁺y + kernel, within λ of W_λ. (3) Both limits: for t → ∞ and λ → 0, in either order, w/‖w‖ is the
same under the exponential loss; under the square loss w differs by Qw(0). The contrast that the sentence makes is
(3); as said, of the dynamics near W_0 with λ and without, it is (2), and the exponential loss is the one that
changes.

Settings, before any run. One layer. Exponential loss: 6 draws of 4 points in d = 6, their flows without decay to log
t = 1000 from normal starts, W_0 the equilibrium at λ = 1e-3; and 6 single examples. Square loss: 8 draws of 4 points
in d = 6, 4 of 8 points in d = 6, closed steps. Windows: T = 1000, λ = 1e-4, 1e-6, 1e-8 (LSODA at 1e-10).

Tolerances. Gaps are above rounding, 1e-10/λT ≤ 1e-5 of them: 1 per cent is allowed. What rests moves by less than
1e-6; the closed form for one example, solved at 1e-10, is met to 1e-6. Directions: the increments from log λ = −500
to −1000 are ŵ and O(1/500) over 500 of them: 1e-4.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.special
import xarray as xr
from scipy.integrate import solve_ivp

from gradlab.analysis.one_layer import linear_exponential, one_layer
from gradlab.analysis.paths import regularised_exponential
from gradlab.claims.cases import Case, case, ensemble, generator
from gradlab.claims.looks.exponential import angle, increment
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.exact import Exact
from gradlab.laboratory.second import COARSE
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

WINDOW, FIRST, DECAYS = 1e3, 1e-3, (1e-4, 1e-6, 1e-8)
TOLERANCE, LOG_T = 1e-10, 1000.0


class _Shared(Look):
    """Flows from W_0 with and without decay, on the host."""

    setting = "a linear net of one layer and one output, the square or exponential loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether there is no decay, and one of the two losses."""
        plain = one_layer(problem) is not None or linear_exponential(problem) is not None
        return plain and problem.network.outputs == 1 and not np.any(np.asarray(problem.decay) > 0.0)

    @property
    def square(self) -> bool:
        """Whether the loss is square."""
        return isinstance(self.problem.loss, Square)

    @cached_property
    def net(self) -> Any:
        """Data and constants."""
        return one_layer(self.problem) if self.square else linear_exponential(self.problem)

    def equilibrium(self, decay: float) -> np.ndarray:
        """W_λ."""
        if self.square:
            return np.asarray(self.net.ridge(decay, 1.0)[0])
        rows = self.net.rows
        return regularised_exponential(rows, np.ones(len(rows)), log_decay=float(np.log(decay))).weights

    def velocity(self, w: np.ndarray, decay: float) -> np.ndarray:
        """−∇L − λw."""
        if self.square:
            return np.asarray(2.0 * (self.net.Y[:, 0] - self.net.X @ w) @ self.net.X - decay * w)
        return np.asarray(np.exp(-self.net.rows @ w) @ self.net.rows - decay * w)

    def after(self, start: np.ndarray, time: float, decay: float) -> np.ndarray:
        """Where the flow with that decay is after a time."""
        tolerance = float(self.trajectory["tolerance"])
        if self.square:  # linear: in closed form
            curvature = 2.0 * self.net.singular**2 + decay
            rest = self.net.ridge(decay, 1.0)[0] if decay else self.net.minimum_norm()[0]
            inside = ((start - rest) @ self.net.span) * np.exp(-curvature * time)
            beside = self.net.beside((start - rest)[None])[0] * np.exp(-decay * time)
            return np.asarray(rest + self.net.span @ inside + beside) * (1.0 + tolerance)
        found = solve_ivp(
            lambda _, w: self.velocity(w, decay), (0.0, time), start, "LSODA", rtol=tolerance, atol=tolerance
        )
        return np.asarray(found.y[:, -1])

    @cached_property
    def values(self) -> np.ndarray:
        """Eigenvalues of the Hessian without λ at the end."""
        return np.linalg.eigvalsh(np.asarray(self.problem.hessian((self.end[None],))))

    @cached_property
    def left(self) -> float:
        """How far the flow without λ goes from W_λ in a time 1/λ, over ‖W_λ‖, λ = 1e-4."""
        decay = DECAYS[0]
        w = self.equilibrium(decay)
        return float(np.linalg.norm(self.after(w, 1.0 / decay, 0.0) - w) / np.linalg.norm(w))

    @cached_property
    def gaps(self) -> np.ndarray:
        """‖w_λ(T) − w(T)‖ over λT times the larger norm, for every λ, from W_0."""
        start = self.equilibrium(FIRST)
        without, found = self.after(start, WINDOW, 0.0), []
        size = max(float(np.linalg.norm(without)), float(np.linalg.norm(start)))
        for decay in DECAYS:
            gap = float(np.linalg.norm(self.after(start, WINDOW, decay) - without))
            found.append(gap / (decay * WINDOW * size))
        return np.asarray(found)

    @at_most(1.01, sentence="exponential")
    def window(self) -> Number | None:
        """Largest distance of the flows with and without λ after T from W_0, over λT‖w‖, exponential loss.

        1 at most, since both contract; solves leave 1 per cent of the least.
        """
        return NOT_ASKED if self.square else Number(float(self.gaps.max()), 0.01 * float(self.gaps.max()))

    @at_most(1e-6, role="control", sentence="exponential")
    def rests(self) -> Number:
        """How far the flow with λ goes from W_λ in a time 1/λ, over ‖W_λ‖.

        0: it is an equilibrium.
        """
        decay = DECAYS[0]
        w = self.equilibrium(decay)
        gone = float(np.linalg.norm(self.after(w, 1.0 / decay, decay) - w) / np.linalg.norm(w))
        return Number(gone, 1e-9)

    @at_least(0.5, sentence="square")
    def flat(self) -> Number | None:
        """Directions that attract with λ and are neutral without, square loss: d − rank X, where the data do not span.

        A whole number.
        """
        if not self.square or len(self.net.X) >= self.size:
            return NOT_ASKED
        return Number(float(np.sum(np.abs(self.values) < 1e-10 * self.values[-1])), exact=True)

    def shown(self):
        return {"leaves": max(self.left, 1e-17), "gap": float(self.gaps[-1])}


class LambdaLimitPrinted(_Shared):
    @at_most(1e-6, sentence="exponential")
    def stays(self) -> Number | None:
        """How far the flow without λ goes from W_λ in a time 1/λ, over ‖W_λ‖, exponential loss: qualitatively the same.

        With λ it rests there, see rests.
        """
        return NOT_ASKED if self.square else Number(self.left, 1e-9)


class LambdaLimitCorrected(_Shared):
    @at_most(1.01, sentence="window")
    def window_square(self) -> Number | None:
        """As window, under the square loss.

        1 at most, since both contract.
        """
        return Number(float(self.gaps.max()), 0.01 * float(self.gaps.max())) if self.square else NOT_ASKED

    @at_most(1e-6, sentence="exponential")
    def goes_on(self) -> Number | None:
        """|‖w(1/λ) − W_λ‖/‖W_λ‖ − log(1 + m)/m|, one example, m e^m = x²/λ: how far the flow without λ goes.

        A solve at 1e-10.
        """
        if self.square or self.net.rows.shape != (1, 1):
            return NOT_ASKED
        x = abs(float(self.net.rows[0, 0]))
        m = float(scipy.special.lambertw(x * x / DECAYS[0]).real)
        return Number(abs(self.left - np.log1p(m) / m), 1e-8)

    @at_least(1e-2, sentence="exponential")
    def leaves(self) -> Number | None:
        """How far the flow without λ goes from W_λ in a time 1/λ, over ‖W_λ‖, exponential loss.

        log(1 + m)/m for one example, m = 10; less by the number of points at most.
        """
        return NOT_ASKED if self.square else Number(self.left, 1e-9)

    @at_most(1e-4, sentence="directions")
    def directions(self) -> Number | None:
        """The angle between the limits of w/‖w‖, t → ∞ without λ, and λ → 0 at the equilibrium: from increments.

        See the module's docstring.
        """
        if self.square or "log_t" not in self.trajectory:
            return NOT_ASKED
        logs = self.trajectory["log_t"].values
        late = [int(np.argmin(np.abs(logs - share * logs[-1]))) for share in (1.0, 0.5)]
        path = [
            regularised_exponential(self.net.rows, np.ones(len(self.net.rows)), log_decay=-one).weights
            for one in (LOG_T, LOG_T / 2.0)
        ]
        grown = increment(self.weights[late], logs[late], drift=False)
        return Number(angle(grown, path[0] - path[1]), 1e-5)

    @at_most(1e-5, sentence="order")
    def order(self) -> Number | None:
        """|distance of the two orders of limits under the square loss/‖Qw(0)‖ − 1|, λ = 1e-10 at t = 1e4 and 6e11.

        λt = 1e-6 of it is lost.
        """
        if not self.square or self.net.rank == self.size:
            return NOT_ASKED
        early, late = (np.asarray(self.trajectory[name].values) for name in ("early", "late"))
        beside = float(np.linalg.norm(self.net.beside(self.trajectory["start"].values[None])))
        return Number(abs(float(np.linalg.norm(early - late)) / beside - 1.0), 1e-7)


def _kept(trajectory: xr.Dataset) -> xr.Dataset:
    """With the tolerance of both solves."""
    return trajectory.assign({"tolerance": TOLERANCE, f"tolerance{COARSE}": 10.0 * TOLERANCE})


def cases(key: Any, *, wide: int, single: int, flat: int, full: int) -> Iterator[Case]:
    """Flows to late times under the exponential loss, both orders of limits under the square loss."""
    random = generator(key)
    drawn: list[Any] = []
    for i in range(wide):
        points = exponential.regular(lambda: exponential.split(random, 4, 6, 4), longest=2.0)
        facts = {"loss": "exponential", "data": "N < d", "draw": i + 1}
        drawn.append((exponential.linear(points), (random.standard_normal((1, 6)),), facts))
    runs = ensemble(GradientFlow, drawn, **exponential.to_log_time([one for one, *_ in drawn], LOG_T))
    for one in runs:
        yield case(one.problem, _kept(one.trajectory), **one.facts)
    for i in range(single):
        problem = exponential.linear((np.array([[random.uniform(0.5, 2.0)]]), np.ones(1)))
        seen = _kept(xr.Dataset({"final_weights": ("weight", random.standard_normal(1))}))
        yield case(problem, seen, loss="exponential", data="one example", draw=i + 1)
    for name, N, count in (("N < d", 4, flat), ("N > d", 8, full)):
        members: list[Any] = []
        bare: list[Problem] = []
        for i in range(count):
            x, y = random.standard_normal((N, 6)), random.standard_normal((N, 1))
            facts = {"loss": "square", "data": name, "draw": i + 1}
            start = (random.standard_normal((1, 6)),)
            members.append((Problem(Dense((6, 1), "identity"), Square(), Data(x, y), 1e-10), start, facts))
            bare.append(Problem(Dense((6, 1), "identity"), Square(), Data(x, y)))
        for one, problem in zip(
            ensemble(GradientFlow, members, (1e4, 6e11), solver=Exact()), bare, strict=True
        ):
            found: dict[str, Any] = {"start": ("weight", one.trajectory["weights"].values[0])}
            for side in ("", COARSE):
                orbit = one.trajectory[f"weights{side}"].values
                for k, moment in enumerate(("early", "late")):
                    found[f"{moment}{side}"] = ("weight", orbit[k + 1])
                found[f"final_weights{side}"] = ("weight", orbit[-1])
            yield case(problem, _kept(xr.Dataset(found)), **one.facts)


FIGURE = Figure(
    Panel(
        "leaves",
        "case",
        r"way from $W_\lambda$ in a time $1/\lambda$, $\lambda\to0$",
        "case",
        by=("loss", "data"),
        log="y",
    ),
    Panel("gap", "case", r"gap after $T$, over $\lambda T\|w\|$", "case", by=("loss", "data")),
    caption="Left: how far the flow without decay goes from the equilibrium at λ = 1e-4, over its norm: under the "
    "exponential loss it has none there. Right: on a fixed window both losses forget λ alike (λ = 1e-8).",
)
BUDGETS = {
    "quick": {"wide": 6, "single": 6, "flat": 8, "full": 4},
    "full": {"wide": 40, "single": 20, "flat": 30, "full": 10},
    "few": {"wide": 1, "single": 1, "flat": 1, "full": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.lambda-limit", LambdaLimitPrinted),
        ("memo90.lambda-limit-corrected", LambdaLimitCorrected),
    )
)
