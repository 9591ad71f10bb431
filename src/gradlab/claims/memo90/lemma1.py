"""memo90.lemma1: the linearised dynamics of each layer, its limit and the start (section 5.1).

What is printed. "Linearization of the nonlinear dynamics of the weight matrices W_k at each layer yields a system of
equations in the weights W_k = W̃_k ρ_k [...] with the following properties: 1. each W_k converges to the minimum
norm solution. 2. The convergence is independent of initial conditions." Before it: "the dynamics is hyperbolic with
any small regularization term"; and section 5 (a): "the result does not extend to the square loss, as in this case
the minimum norm solution for a linear network depends on the initial conditions".

How it is read. At an equilibrium W⁰ of L + λ/2 ‖W‖², δẆ = −H δW: W converges to W⁰ + P δW(0), P the projector on the
kernel of H, where H ⪰ 0. Minimum norm: W⁰ is the least of all W with the same linearised outputs ∇f_n·W, that is, it
lies in the span of the ∇f_n; its direction, that of the largest margin of the linearised outputs in the limit λ → 0.
Square loss: λ = 0, at a zero of the loss.

What holds (docs/notes/memo90.lemma1.md). W⁰ = Σ e^{−m_n} ∇m_n/λ at every equilibrium: minimum norm, and in the limit
of largest margin. For one layer H ⪰ λ: the limit is W⁰ from every start. Two linear layers of h hidden units: a
rotation of the hidden units takes W⁰ to other equilibria, H has h − 1 zero eigenvalues, and the limit keeps the
start's part there; what the net computes does not change to first order. Three layers have that for both hidden layers.

Settings, before any run. 8 data sets, N, d = 5, 3 and 3, 5, each for one layer, two linear layers of 1, 2 and 4
hidden units, and three layers of 2 and 2, λ = 1e-2 and 1e-6. W⁰ in closed form from one layer: W_K … W_1 = w with (Σ
x_n e^{−w·x_n}) = λ w/‖w‖^{2−2/K}, layers rank one, balanced. H by the chain rule.

Tolerances. Equilibria are known to 1e-9 (gradient over λ ‖W‖); an eigenvalue of H counts as zero below 1e-8 λ
(rounding is 1e-16 of the largest, 10 λ (log 1/λ)²: 1e-13 λ). The angle to the direction of largest margin is
C/log(1/λ), C of order one: 0.35 at λ = 1e-6.
"""

from functools import cached_property
from itertools import pairwise

import numpy as np

from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.exponential import angle
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late
from gradlab.claims.studies import section, study
from gradlab.observe.local import local
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem

NONE = 1e-8


def _minimiser(rows: np.ndarray, decay: float, w: np.ndarray) -> np.ndarray:
    """The minimiser of Σ e^{−w·x_n} + decay/2 ‖w‖², by damped Newton from w."""

    def value(w: np.ndarray) -> float:
        return float(np.exp(np.minimum(-rows @ w, 600.0)).sum() + decay / 2.0 * w @ w)

    for _ in range(300):
        pulls = np.exp(-rows @ w)
        gradient = decay * w - pulls @ rows
        step = np.linalg.solve((rows.T * pulls) @ rows + decay * np.eye(len(w)), gradient)
        length = 1.0
        while length > 1e-6 and not value(w - length * step) < value(w):
            length /= 2.0
        if length <= 1e-6:  # rounding of the value: the last steps in full
            length = 1.0 if np.linalg.norm(step) <= 1e-6 * np.linalg.norm(w) else 0.0
        w = w - length * step
        if length == 0.0 or np.linalg.norm(step) <= 1e-13 * np.linalg.norm(w):
            break
    return w


def one_layer(rows: np.ndarray, decay: float, depth: int) -> np.ndarray:
    """w with Σ x_n e^{−w·x_n} = λ' w, λ' = λ ‖w‖^{2/K − 2}: the branch of long w, found by putting λ' in again."""
    w = np.zeros(rows.shape[1])
    for one in np.geomspace(1.0, decay, 8):
        w = _minimiser(rows, one, w)
    for _ in range(200):
        before, w = w, _minimiser(rows, decay * float(np.linalg.norm(w)) ** (2.0 / depth - 2.0), w)
        if np.linalg.norm(w - before) <= 1e-14 * np.linalg.norm(w):
            break
    return w


def _balanced(w: np.ndarray, widths: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Layers of rank one and equal norms whose product is w, along random unit vectors of hidden units."""
    K, size = len(widths) - 1, float(np.linalg.norm(w))
    units = [w / size]
    for h in widths[1:-1]:
        p = random.standard_normal(h)
        units.append(p / np.linalg.norm(p))
    units.append(np.ones(1))
    return size ** (1.0 / K) * np.concatenate([np.outer(b, a).ravel() for a, b in pairwise(units)])


class _Shared(Look):
    setting = "a linear net of one output and any depth, the exponential loss, weight decay"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is linear and has a decay."""
        return bool(problem.network.linear and np.all(np.asarray(problem.decay) > 0.0))

    @property
    def decay(self) -> float:
        """λ."""
        return float(np.asarray(self.problem.decay))

    @property
    def depth(self) -> int:
        """K."""
        return len(self.problem.network.widths) - 1

    @cached_property
    def here(self):
        """Outputs, Jacobian, gradient and Hessian at W⁰."""
        return local(self.problem, self.end)

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and vectors of H/λ."""
        return np.linalg.eigh(self.here.hessian / self.decay)

    @cached_property
    def squares(self) -> np.ndarray:
        """Eigenvalues of the Hessian of the square loss at W⁰ with y = f(W⁰)."""
        problem = Problem(self.problem.network, Square("sum"), Data(self.problem.data.inputs, self.here.f))
        return np.linalg.eigvalsh(local(problem, self.end).hessian)

    @property
    def zeros(self) -> np.ndarray:
        """Which eigenvalues are zero."""
        return np.abs(self.spectrum[0]) <= NONE

    @at_most(1e-8, role="hypothesis")
    def equilibrium(self) -> Number:
        """‖∇(L + λ/2 ‖W‖²)‖/(λ ‖W‖).

        Newton's method to 1e-13, exponents of 20.
        """
        scale = self.decay * float(np.linalg.norm(self.end))
        return Number(float(np.linalg.norm(self.here.gradient)) / scale, 1e-11)

    @at_most(1e-7, sentence="minimum_norm")
    def span(self) -> Number:
        """Part of W⁰ beside the span of the ∇f_n, over ‖W⁰‖.

        The equilibrium's gradient over λ ‖W⁰‖.
        """
        rows = self.here.jacobian[:, 0, :]
        _, values, right = np.linalg.svd(rows, full_matrices=False)
        right = right[values > 1e-9 * values[0]]
        beside = self.end - right.T @ (right @ self.end)
        return Number(float(np.linalg.norm(beside) / np.linalg.norm(self.end)), 1e-12)

    @at_most(0.35, sentence="minimum_norm")
    def direction(self) -> Number | None:
        """Angle of W⁰ to the direction of largest margin of the linearised outputs, at the smallest λ.

        C/log(1/λ): see the module's docstring.
        """
        if self.decay > 1e-5:
            return NOT_ASKED
        signs = np.asarray(self.problem.data.targets)
        rows = signs[:, None] * self.here.jacobian[:, 0, :]
        svm = max_margin(rows, np.ones(len(rows)))
        return Number(angle(self.end, svm.direction), 1e-9)

    @at_least(0.5, sentence="square")
    def square(self) -> Number | None:
        """Directions that the linearised flow of the square loss without decay leaves, at W⁰ with y = f(W⁰): P −
        rank of the ∇f_n.

        A count: 1 or more; there the start remains. Asked where weights outnumber examples.
        """
        if self.size <= len(self.problem.data.inputs):
            return NOT_ASKED
        values = np.abs(self.squares)
        return Number(float(np.sum(values <= 1e-9 * values.max())), exact=True)

    def kept(self) -> float:
        """‖P δW‖/‖δW‖ of a random start."""
        start = np.random.default_rng(3).standard_normal(self.size)
        vectors = self.spectrum[1][:, self.zeros]
        return float(np.linalg.norm(vectors.T @ start) / np.linalg.norm(start))

    def shown(self):
        return {
            "zeros": float(self.zeros.sum()),
            "hidden": float(sum(self.problem.network.widths[1:-1])),
            "kept": max(self.kept(), 1e-17),
        }


class LinearisedPrinted(_Shared):
    @at_most(1e-6, sentence="start")
    def start(self) -> Number:
        """Part of a random start that stays in the limit of the linearised flow, over the start.

        0 where H has no kernel; (dim ker H/P)^{1/2} otherwise.
        """
        return Number(self.kept(), 1e-12)

    @at_least(-NONE, sentence="start")
    def stable(self) -> Number:
        """Least eigenvalue of H over λ.

        Not negative at a minimum: the linearised flow converges.
        """
        return Number(float(self.spectrum[0][0]), 1e-11)


class LinearisedCorrected(_Shared):
    @at_most(0.0, sentence="kernel")
    def kernel(self) -> Number:
        """|zero eigenvalues of H less Σ (h_k − 1) over the hidden layers|.

        Counts.
        """
        said = sum(h - 1 for h in self.problem.network.widths[1:-1])
        return Number(abs(float(self.zeros.sum()) - said), exact=True)

    @at_most(1e-6, sentence="function")
    def function(self) -> Number | None:
        """What the start that stays changes of the outputs, to first order: ‖J P δW‖/(‖J‖ ‖δW‖).

        A rotation of hidden units changes no output.
        """
        vectors = self.spectrum[1][:, self.zeros]
        if not vectors.shape[1]:
            return NOT_ASKED
        rows = self.here.jacobian[:, 0, :]
        return Number(float(np.linalg.norm(rows @ vectors, 2) / np.linalg.norm(rows, 2)), 1e-12)

    @at_most(1e-6, sentence="one_layer")
    def one(self) -> Number | None:
        """Part of a random start that stays, for one layer.

        H ⪰ λ.
        """
        return Number(self.kept(), 1e-12) if self.depth == 1 else NOT_ASKED


def cases(key, *, data, decays):
    """Equilibria of every shape."""
    random = generator(key)
    for i in range(data):
        N, d = ((5, 3), (3, 5))[i % 2]
        X, y = late.separable(random, N, d, gap=0.5)
        for widths in ((d, 1), (d, 1, 1), (d, 2, 1), (d, 4, 1), (d, 2, 2, 1)):
            for decay in decays:
                plain = late.net(widths, X, y, "identity")
                problem = Problem(plain.network, plain.loss, plain.data, decay)
                w = one_layer(X * y[:, None], decay, len(widths) - 1)
                vector = _balanced(w, widths, random)
                yield point(problem, vector, net="-".join(map(str, widths[1:])), λ=decay, N=N, draw=i + 1)


FIGURE = Figure(
    Panel("zeros", "hidden", "zero eigenvalues", "hidden units", by=("net",)),
    Panel(
        "kept",
        "case",
        "part of a start that stays",
        "case",
        by=("net",),
        log="y",
        reference={"tolerance": 1e-6},
    ),
    caption="Left: zero eigenvalues of the Hessian at the equilibrium. Right: the part of a random start that "
    "the linearised flow does not forget.",
)
BUDGETS = {
    "quick": {"data": 4, "decays": (1e-2, 1e-6)},
    "full": {"data": 20, "decays": (1e-2, 1e-4, 1e-6)},
    "few": {"data": 1, "decays": (1e-6,)},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (("memo90.lemma1", LinearisedPrinted), ("memo90.lemma1-corrected", LinearisedCorrected))
)
