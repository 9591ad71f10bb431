"""memo90.linearises-to-deep-linear: a deep ReLU net, its linearisation, and deep linear nets (section 12.3).

What is printed. "The only difficulty is then of two derivatives in the same layer, f''(W; x_n), which we remove by
the assumption of rectified nonlinearities [...]. Thus a deep nonlinear network with an exponential loss linearizes
to a deep linear network with same loss"; "the Hessian of a deep network with an exponential loss around a minimum
for N training examples has more eigenvalues than a one layer linear model"; "after adding an arbitrarily small
regularization it is possible to construct a linear network with an equal number of positive eigenvalues. Thus [...]
topologically conjugate"; "if there exists a deep linear network with the same number of distinct eigenvalues [...]
then we obtain differentiable conjugacy".

How it is read. At a minimum W⁰ of the regularised loss, away from kinks. Linearises: the Hessian is that of the deep
linear net with the same weights and data. More: more than N + 1 distinct eigenvalues (N and that of the decay alone)
where the net has more weights than that. Topologically: all eigenvalues positive, as those of a regularised linear
net are. Differentiably: a C¹ conjugacy keeps eigenvalues (section 10), so two linear flows of as many distinct
eigenvalues must have the same ones.

What holds (docs/notes/memo90.linearises-to-deep-linear.md). f near W⁰ is that of a linear net whose units are on or
off example by example: f_n = W_2 D_n W_1 x_n. It is a deep linear net where every D_n is the same, and not
otherwise. The minimum has a zero eigenvalue for every two units of the same pattern (a rotation between them), and
then is conjugate to no hyperbolic flow. Equal numbers of distinct eigenvalues do not suffice: ẋ = −x and ẏ = −2y.

Settings, before any run. ReLU nets 4-3-1 on four inputs of label 1, along one to three directions at 101.5° to each
other, of random lengths: each unit along a direction of its own (mixed masks), two units along one and the third
along another, all units along the one direction (one mask); the equilibrium is in closed form, a = ‖w‖, Σ r e^{−r
a²} = λ over the inputs of a direction. λ = 1e-2, 1e-4; four draws. Beside them nets 3-2-1 on three generic inputs in
a cone, all of them support vectors, (XXᵀ)⁻¹1 > 0.05, at minima by the flow and Newton's method. (Changed after seed 4:
the residual e^{−f} of an input beyond the margin is some e^{−100}, and its eigenvalue is that of the decay alone.)

Tolerances. Hessians by the chain rule: 1e-12. Equilibria known to 1e-10 of λ‖W‖. An eigenvalue is zero below 1e-8 λ;
distinct ones differ by 1e-8 of the largest.
"""

from functools import cached_property

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from gradlab.claims.cases import generator, point
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late
from gradlab.claims.studies import section, study
from gradlab.observe.local import local
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class _Shared(Look):
    setting = "a ReLU net of two layers, the exponential loss, weight decay"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is one."""
        network = problem.network
        return (
            isinstance(network, Dense)
            and len(network.widths) == 3
            and bool(np.all(np.asarray(problem.decay) > 0.0))
        )

    @property
    def decay(self) -> float:
        """λ."""
        return float(np.asarray(self.problem.decay))

    @cached_property
    def here(self):
        """The net at W⁰, to second order."""
        return local(self.problem, self.end)

    @cached_property
    def linear(self):
        """The deep linear net with the same weights, data and loss."""
        problem = self.problem
        network = Dense(problem.network.widths, "identity")
        return local(Problem(network, problem.loss, problem.data, self.decay), self.end)

    @cached_property
    def masks(self) -> np.ndarray:
        """Which unit is on at which example, (h, N)."""
        d, h, _ = self.problem.network.widths
        return self.end[: h * d].reshape(h, d) @ np.asarray(self.problem.data.inputs).T > 0.0

    @property
    def one_mask(self) -> bool:
        """Whether every unit is on at every example."""
        return bool(self.masks.all())

    @cached_property
    def values(self) -> np.ndarray:
        """Eigenvalues of the Hessian over λ."""
        return np.linalg.eigvalsh(self.here.hessian / self.decay)

    @property
    def zeros(self) -> int:
        """Zero eigenvalues."""
        return int(np.sum(np.abs(self.values) <= 1e-8))

    @property
    def distinct(self) -> int:
        """Distinct eigenvalues."""
        return 1 + int(np.sum(np.diff(self.values) > 1e-8 * self.values[-1]))

    @property
    def undecided(self) -> int:
        """Eigenvalues whose distance from the next is neither rounding nor clear of it."""
        gaps = np.diff(self.values) / self.values[-1]
        return int(np.sum((gaps > len(gaps) * EPS) & (gaps <= 1e-8)))

    @at_most(1e-8, role="hypothesis")
    def equilibrium(self) -> Number:
        """‖∇(L + λ/2 ‖W‖²)‖/(λ ‖W‖).

        Closed forms to 1e-12.
        """
        return Number(
            float(np.linalg.norm(self.here.gradient)) / (self.decay * float(np.linalg.norm(self.end))), 1e-12
        )

    @at_least(1e-6, role="hypothesis")
    def away(self) -> Number:
        """Least |w_j·x_n|, of units and examples, over the largest: away from kinks.

        Closed forms; 0.05 and more.
        """
        d, h, _ = self.problem.network.widths
        z = np.abs(self.end[: h * d].reshape(h, d) @ np.asarray(self.problem.data.inputs).T)
        return Number(float(z.min() / z.max()), 1e-12)

    def off(self, other: np.ndarray) -> Number:
        """‖H − other‖/‖H‖."""
        H = self.here.hessian
        return Number(float(np.linalg.norm(H - other) / np.linalg.norm(H)), 1e-14)

    @at_least(0.5, sentence="more")
    def more(self) -> Number | None:
        """Distinct eigenvalues of the Hessian less N + 1.

        A count; its error are eigenvalues whose distance is neither rounding nor clear of it. A one-layer model with
        decay has N + 1 at most. Asked of generic data, with more weights than that.
        """
        if self.facts["masks"] != "generic":
            return NOT_ASKED
        more, undecided = self.distinct - len(self.problem.data.inputs) - 1, self.undecided
        return Number(more + 0.5 * undecided, 0.5 * undecided, exact=not undecided)

    def shown(self):
        found = np.sort(self.values)
        return {
            "value": ("weight", np.maximum(found, 1e-12)),
            "index": ("weight", np.arange(1.0, len(found) + 1)),
        }


class LinearisesPrinted(_Shared):
    @at_most(1e-12, sentence="linearises")
    def linearises(self) -> Number:
        """‖H − H of the deep linear net‖/‖H‖, the same weights, data and loss.

        Sums of N products.
        """
        return self.off(self.linear.hessian)

    @at_most(0.5, sentence="topological")
    def definite(self) -> Number:
        """Eigenvalues of H that are not positive.

        A count: none, if a regularised linear net is to have as many positive ones.
        """
        return Number(float(np.sum(self.values <= 1e-8)), exact=True)

    @at_most(1e-6, sentence="differentiable")
    def matched(self) -> Number:
        """Largest |ν/μ − 1| of the eigenvalues against those of 2H, which has as many distinct ones.

        0 is what a C¹ conjugacy needs, by equality of spectra; doubling loss and decay doubles all.
        """
        doubled = np.linalg.eigvalsh(2.0 * self.here.hessian / self.decay)
        kept = self.values > 1e-8
        return Number(float(np.max(np.abs(doubled[kept] / self.values[kept] - 1.0))), 1e-12)


class LinearisesCorrected(_Shared):
    @at_most(1e-12, sentence="gated")
    def gated(self) -> Number:
        """‖H − H of f_n = W_2 D_n W_1 x_n with D_n held‖/‖H‖.

        Sums of N products, block by block.
        """
        d, h, _ = self.problem.network.widths
        X, total = np.asarray(self.problem.data.inputs), self.decay * np.eye(self.size)
        W2 = self.end[h * d :]
        for n, x in enumerate(X):
            gate = self.masks[:, n] * 1.0
            first = np.concatenate(
                [np.outer(W2 * gate, x).ravel(), gate * (self.end[: h * d].reshape(h, d) @ x)]
            )
            across = np.kron(np.diag(gate), x[:, None])
            second = np.block([[np.zeros((h * d, h * d)), across], [across.T, np.zeros((h, h))]])
            total += np.exp(-(first[h * d :] @ W2)) * (np.outer(first, first) - second)
        return self.off(total)

    @at_most(1e-12, sentence="one_mask")
    def same(self) -> Number | None:
        """‖H − H of the deep linear net‖/‖H‖ where all units are on at all examples.

        Sums of N products.
        """
        return self.off(self.linear.hessian) if self.one_mask else NOT_ASKED

    @at_most(0.0, sentence="kernel")
    def kernel(self) -> Number:
        """|zero eigenvalues of H less the number by hand|: for every set of m units of one pattern m − 1.

        Counts.
        """
        patterns = {tuple(row) for row in self.masks}
        return Number(abs(float(self.zeros - (len(self.masks) - len(patterns)))), exact=True)


def cases(key, *, decays, draws):
    """Equilibria with mixed masks and with one mask."""
    random = generator(key)
    for i in range(draws):
        for decay in decays:
            problem, vector = _generic(random, decay)
            yield point(problem, vector, masks="generic", λ=decay, draw=i + 1)
            for kind in ("mixed masks", "mixed, two alike", "one mask"):
                X, w, a = _placed(random, kind, decay)
                plain = late.net((4, 3, 1), X)
                problem = Problem(plain.network, plain.loss, plain.data, decay)
                yield point(problem, np.concatenate([w.ravel(), a]), masks=kind, λ=decay, draw=i + 1)


def _generic(random, decay):
    """A net 3-2-1 on three generic inputs of label 1 in a cone, all of them support vectors, at a minimum: the flow,
    then Newton's method."""
    while True:
        X = random.standard_normal((3, 3)) + np.array([1.5, 0.0, 0.0])
        if np.min(np.linalg.solve(X @ X.T, np.ones(3))) < 0.05:
            continue
        plain = late.net((3, 2, 1), X)
        problem = Problem(plain.network, plain.loss, plain.data, decay)
        w = np.concatenate([random.standard_normal(6), np.abs(random.standard_normal(2))])

        def field(u, w, problem=problem):
            return -np.exp(u) * local(problem, w).gradient

        w = solve_ivp(field, (-3.0, np.log(30.0 / decay)), w, "LSODA", rtol=1e-6, atol=1e-9).y[:, -1]
        with np.errstate(all="ignore"):
            here = local(problem, w)
            for _ in range(8):
                # where Newton's method goes astray, other inputs are drawn
                if not np.linalg.norm(here.gradient) < 1.0:
                    break
                w = w - np.linalg.lstsq(here.hessian, here.gradient, rcond=1e-10)[0]
                here = local(problem, w)
        z = np.abs(w[:6].reshape(2, 3) @ X.T)
        small = np.linalg.norm(here.gradient) <= 1e-10 * decay * np.linalg.norm(w)
        if small and z.min() > 1e-3 * z.max() and here.f.min() > 0.5 and np.abs(w).max() > 0.5:
            return problem, w


def _placed(random, kind, decay):
    """Inputs, W_1 and W_2 at an equilibrium: directions at obtuse angles, so that a unit along one is off at the
    others."""
    apart = np.array([[1.0, -0.2, -0.2], [-0.2, 1.0, -0.2], [-0.2, -0.2, 1.0]])
    directions = np.hstack([np.linalg.cholesky(apart), np.zeros((3, 1))])
    lengths = random.uniform(0.8, 1.5, 4)
    if kind == "one mask":
        groups, units = [0, 0, 0, 0], [0, 0, 0]
    elif kind == "mixed masks":
        groups, units = [0, 1, 2, 2], [0, 1, 2]
    else:
        groups, units = [0, 0, 2, 2], [0, 0, 2]
    X = lengths[:, None] * directions[groups]
    w, a = np.zeros((3, 4)), np.zeros(3)
    for g in set(units):
        r = lengths[np.asarray(groups) == g]

        def gap(square, r=r):
            return np.log(r @ np.exp(-r * square)) - np.log(decay)

        square = brentq(gap, 0.0, 200.0 / r.min(), xtol=1e-14)
        mine = np.flatnonzero(np.asarray(units) == g)
        shares = random.uniform(0.5, 1.0, len(mine))
        shares /= np.linalg.norm(shares)
        for j, share in zip(mine, shares, strict=True):
            a[j] = share * np.sqrt(square)
            w[j] = a[j] * directions[g]
    return X, w, a


FIGURE = Figure(
    Panel("value", "index", r"eigenvalues over $\lambda$", "index", by=("masks",), log="y", floor=1e-12),
    caption="Spectra of the Hessian of ReLU nets at minima of the regularised loss, over λ; 1e-12 stands for "
    "zero: units of one pattern can be rotated into each other.",
)
BUDGETS = {
    "quick": {"decays": (1e-2, 1e-4), "draws": 4},
    "full": {"decays": (1e-2, 1e-3, 1e-4), "draws": 20},
    "few": {"decays": (1e-2,), "draws": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.linearises-to-deep-linear", LinearisesPrinted),
        ("memo90.linearises-to-deep-linear-corrected", LinearisesCorrected),
    )
)
