"""cohen.bartlett: descent on deep linear nets from the identity, ½‖Φ − W_L⋯W_1‖², inside and outside the condition.

Printed. "For deep linear residual networks, trajectories were used to show efficient convergence of GD to global min
(Bartlett et al. 2018)." The slide does not name the data; that paper (Bartlett, Helmbold, Long, ICML 2018) has inputs
of covariance 1, and Φ (i) with an initial loss below a constant, or (ii) symmetric positive definite; and it shows that
descent from the identity fails if Φ is symmetric with a negative eigenvalue.

Certificates, before the run (docs/notes/cohen.bartlett.md). c bounds σ_min(W_L⋯W_1) from below on the way: (i) σ_min(Φ)
− ‖Φ − I‖_F, since the distance to Φ does not grow; (ii) min(1, λ_min(Φ)), since every eigenvalue moves from 1 to its
target. The flow has loss(t) ≤ loss(0) e^{−2Lc^{2(L−1)/L}t}; half of that rate is granted to descent: a part of ε of the
loss is left after log(1/ε)/(ηLc^{2(L−1)/L}) steps or fewer. At the end W − Φ shrinks by 1 − ηP_Φ a step, P_Φ the
preconditioner of cohen.preconditioner, whose least eigenvalue is κ = Lσ_min(Φ)^{2(L−1)/L}.

Settings, before any run. X = I, d = 4; L = 2, 3, 6. "near": ‖Φ − I‖_F = 0.3, not symmetric; "definite": eigenvalues
between 0.2 and 3 in a random basis; "negative": the same with one eigenvalue −0.5. η = 0.1/(L max(1, σ_1)^{2(L−1)/L}),
25/(ηκ) steps, after which the loss is e^{−50} of itself.

Tolerances. ε = 1e-10. The rate 5 %: descent leaves balanced layers by O(η), and κ by as much. The loss left over
outside is ½λ² of the negative eigenvalue λ or more.

Changed after a first run, which supported: the rate was compared with κ alone, and 3 % off where all modes, near the
identity, have nearly one rate.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.claims.cases import generator
from gradlab.claims.looks.descents import Descents
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

NEAR, DEFINITE, NEGATIVE = "near the identity", "positive definite", "a negative eigenvalue"
LEFT = 1e-10


class Bartlett(Descents):
    """Descent from the identity, and what the target says of it beforehand."""

    setting = "a deep linear net of square layers under half the square loss, X = I"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        network, x = linear_nets.matrix_chain(problem), np.asarray(problem.data.inputs)
        square = network is not None and network.linear and len(set(network.widths)) == 1
        whole = x.shape[0] == x.shape[1] and np.array_equal(x, np.eye(len(x)))
        return bool(square and whole and isinstance(problem.loss, Square) and problem.loss.half)

    @property
    def L(self) -> int:
        """Layers."""
        return len(self.problem.network.widths) - 1

    @cached_property
    def target(self) -> np.ndarray:
        """Φ."""
        return np.asarray(self.problem.data.targets).T

    @property
    def inside(self) -> bool:
        """Whether the case is one of which the paper says that descent converges."""
        return str(self.facts["target"]) != NEGATIVE

    @cached_property
    def certificate(self) -> float:
        """c."""
        apart = self.target - self.target.T
        if np.abs(apart).max() <= 1e-12 * np.abs(self.target).max():
            return float(min(1.0, np.linalg.eigvalsh(self.target)[0]))
        below = np.linalg.svd(self.target, compute_uv=False)[-1]
        return float(below - np.linalg.norm(self.target - np.eye(len(self.target))))

    def slowest(self, value: float) -> float:
        """L value^{2(L−1)/L}."""
        return float(self.L * value ** (2.0 * (self.L - 1) / self.L))

    @cached_property
    def left(self) -> np.ndarray:
        """The loss on the way over that at the start, (kept,)."""
        return self.losses[:, 0] / self.losses[0, 0]

    @cached_property
    def pace(self) -> float:
        """η times the steps from one kept point to the next."""
        return float(self.facts["eta"]) * float(self.facts["steps"]) / self.KEPT

    @at_most(1e-9, role="hypothesis", exact=True)
    def identity(self) -> float:
        """The largest entry of W_j − I at the start.

        The start is given.
        """
        layers = linear_nets.layers(self.problem.network, self.weights[0])
        return max(float(np.abs(layer - np.eye(len(layer))).max()) for layer in layers)

    @at_least(1e-3, role="hypothesis", exact=True)
    def condition(self) -> float | None:
        """c, from the target alone.

        Positive; 1e-3 for a rate that can be seen.
        """
        return self.certificate if self.inside else NOT_ASKED

    @at_most(1e-12, sentence="converges")
    def converges(self) -> Number | None:
        """The loss at the end over that at the start.

        e^{−50} = 2e-22 by κ, with some decades for what the way there cost.
        """
        return Number(float(self.left[-1]), 10.0 * EPS**2) if self.inside else NOT_ASKED

    @at_most(1.0, sentence="efficient")
    def efficient(self) -> Number | None:
        """The steps until 1e-10 of the loss is left, over log(1/ε)/(ηLc^{2(L−1)/L}).

        At most 1: twice what the flow needs at most.
        """
        if not self.inside:
            return NOT_ASKED
        there = np.flatnonzero(self.left <= LEFT)
        bound = np.log(1.0 / LEFT) / self.slowest(self.certificate)
        return Number(float(there[0]) * self.pace / bound if len(there) else np.inf, self.pace / bound)

    @equals(
        1.0,
        within=0.05,
        sentence="efficient",
        changed="of the slowest mode alone at first, see the docstring",
    )
    def rate(self) -> Number | None:
        """The rate at which the loss falls in the second half, over that of W − Φ ↦ (1 − ηP_Φ)(W − Φ).

        Balanced up to O(η): the rates of the modes, P_Φ's eigenvalues, within 5 %.
        """
        if not self.inside:
            return NOT_ASKED
        ratios = [float(np.log(self.left[a] / self.left[a + 6]) / self.predicted(a, a + 6)) for a in (20, 26)]
        return Number(ratios[1], abs(ratios[1] - ratios[0]))

    def predicted(self, begin: int, end: int) -> float:
        """log of what the loss falls by between two kept points, by its linearisation at Φ."""
        eta, steps = float(self.facts["eta"]), float(self.facts["steps"]) / self.KEPT
        layers = linear_nets.layers(self.problem.network, self.orbits[begin, 0])
        apart = np.asarray(linear_nets.end_to_end(layers)) - self.target
        P = np.asarray(linear_nets.preconditioner(self.target, self.L))
        rates, modes = np.linalg.eigh(0.5 * (P + P.T))
        parts = (modes.T @ apart.ravel(order="F")) ** 2
        return float(-np.log(parts @ (1.0 - eta * rates) ** (2.0 * steps * (end - begin)) / parts.sum()))

    @at_least(0.99, role="control")
    def fails(self) -> Number | None:
        """The loss at the end over ½λ², λ the negative eigenvalue.

        1 or more: the eigenvalue of the product falls from 1, and does not pass 0.
        """
        if self.inside:
            return NOT_ASKED
        least = float(np.linalg.eigvalsh(self.target)[0])
        return Number(float(self.losses[-1, 0]) / (0.5 * least**2), 10.0 * EPS)

    def shown(self):
        return {
            "way": ("kept", self.pace * self.slowest(1.0) * np.arange(self.KEPT + 1)),
            "left": ("kept", np.maximum(self.left, 1e-25)),
        }


def _target(rng, kind, d):
    if kind == NEAR:
        apart = rng.standard_normal((d, d))
        return np.eye(d) + 0.3 * apart / np.linalg.norm(apart)
    values = np.geomspace(0.2, 3.0, d) * rng.uniform(0.9, 1.1, d)
    if kind == NEGATIVE:
        values[0] = -0.5
    turn = linear_net.rotation(rng, d)
    found = (turn * values) @ turn.T
    return 0.5 * (found + found.T)


def cases(key, *, depths, draws, d):
    """Descent from the identity, for every kind of target and depth."""
    rng = generator(key)
    for L in depths:
        for kind in (NEAR, DEFINITE, NEGATIVE):
            for i in range(draws):
                target = _target(rng, kind, d)
                problem = Problem(
                    Dense.deep_linear((d,) * (L + 1)), Square(half=True), Data(np.eye(d), target.T)
                )
                values = np.linalg.svd(target, compute_uv=False)
                power = 2.0 * (L - 1) / L
                eta = 0.1 / (L * max(1.0, values[0]) ** power)
                steps = round(25.0 / (eta * L * values[-1] ** power))
                start = linear_nets.flat((np.eye(d),) * L)
                yield linear_net.recorded(
                    problem, start[None], L=L, target=kind, draw=i + 1, eta=float(eta), steps=steps
                )


STUDY = study(
    "cohen.bartlett",
    Bartlett,
    cases,
    quick={"depths": (2, 3, 6), "draws": 2, "d": 4},
    full={"depths": (2, 3, 6, 12), "draws": 8, "d": 8},
    few={"depths": (3,), "draws": 1},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "left",
            "way",
            "loss over that at the start",
            r"$\eta L$ times steps",
            by=("target",),
            log="y",
            lines=True,
            each=2,
        ),
        caption="Descent on linear nets from the identity: at a linear rate to targets near it, or definite; not "
        "at all to a symmetric target with a negative eigenvalue.",
    ),
)
