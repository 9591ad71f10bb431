"""memo90.conjugacy-map: eq. 47, h_i(x) = sgn(x)|x|^{ν_i/μ_i} between two linear flows, and between two real equilibria.

Pairs, before any run. A nonlinear net (two tanh units on two inputs, logistic loss) and a deep linear one (five inputs,
hidden width one, exponential loss), both with six weights and decay, at minima with six positive eigenvalues; pairs of
nonlinear nets; and pairs of deep linear nets whose inputs differ by a rotation, which have the same eigenvalues. (Deep
linear nets of greater hidden width have zero eigenvalues whatever the decay is, by rotation of the hidden layer.) The
study takes h between the linear flows, and k = h_2⁻¹ ∘ h ∘ h_1 between the flows of the nets, h_1 and h_2 their
conjugacies to their linearisations (:mod:`gradlab.analysis.conjugacy`). That k commutes holds for any positive μ and ν,
so the linear flows are compared with the derivatives of the nets' flows, from orbits alone.

Tolerances. h of e^{−μt}x against e^{−νt}h(x), relative: eps·((1 + p)(1 + |log x|) + νt), at most 2e3 eps for the
numbers taken (|log x| ≤ 18 and p |log x| ≤ 600, μt and νt ≤ 30): 1e-10 leaves two decades. The derivative at 0 is
read from log(h(x)/x)/log x = ν/μ − 1 at the smallest x, with the same rounding over |log x|. Between the nets the
integration of two conjugacies is left, as in notes.hartman-grobman: 1e-6. The power map multiplies relative errors of
a component by its exponent; the norm, of the largest component, keeps the tolerance.
"""

from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gradlab.analysis.conjugacy import hyperbolicity
from gradlab.analysis.equilibria.minimising import descend
from gradlab.analysis.linearisation import linearise
from gradlab.analysis.power_map import Between, PowerMap, between, power_map
from gradlab.claims.cases import generator
from gradlab.claims.looks.linearisation import (
    Solved,
    conjugated,
    flow_derivative,
    off_linear,
    solved,
    where_built,
)
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.linear_net import rotation
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

SAMPLES, LOGS, REACH = 4, 18.0, 600.0
#: Times in units of 1/λ_max, of the linear flows and of the nets' flows.
LINEAR_TIMES, TIME = (0.3, 3.0, 30.0), 1.0
#: Eigenvalues count as equal that differ by no more than their rounding.
EQUAL = 1e-9


class Pair(NamedTuple):
    """Two problems with as many weights; the trajectory holds the point of each."""

    first: Problem
    second: Problem


class ConjugacyMap(Solved):
    """Eq. 47 for the eigenvalues at the two points, and the flows of the two nets through it."""

    setting = "two problems with as many weights"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem, Pair) and problem.first.size == problem.second.size

    @property
    def places(self) -> list[tuple[Problem, np.ndarray]]:
        """Each problem with its point."""
        return list(zip(self.problem, (self.end, self.trajectory["other_weights"].values), strict=True))

    @cached_property
    def built(self) -> Any:
        """The conjugacies of both nets, None where one has none."""
        first, second = (conjugated(*place) for place in self.places)
        if first is None or second is None or (first.values <= 0.0).any() or (second.values <= 0.0).any():
            return None
        return first, second

    @cached_property
    def power(self) -> PowerMap:
        """Eq. 47."""
        return power_map(*(one.values for one in self.built))

    @property
    def between_nets(self) -> Between:
        """k."""
        return between(self.built[0], self.built[1], self.power)

    @property
    def logs(self) -> np.ndarray:
        """The largest |log x| of every component: none under- or overflows, |log x| (1 + p) ≤ REACH."""
        return np.minimum(LOGS, REACH / np.maximum(self.power.exponents, 1.0 / self.power.exponents))

    @property
    def x(self) -> np.ndarray:
        """x between 1e-8 and 1e8 of both signs, (18, P)."""
        x = np.exp(np.linspace(-1.0, 1.0, 9)[:, None] * self.logs)
        return np.concatenate([x, -x])

    @property
    def equal(self) -> np.ndarray:
        """Components in which μ = ν."""
        return np.abs(self.power.mu - self.power.nu) <= EQUAL * np.maximum(self.power.mu, self.power.nu)

    def rounded(self, value: Any) -> Number:
        """A number with the rounding of two powers."""
        p = self.power.exponents
        bound = float(np.max((1.0 + p + 1.0 / p) * (1.0 + self.logs) + (1.0 + p) * max(LINEAR_TIMES)))
        return Number(float(np.max(value)), EPS * bound)

    @at_least(1.0, role="hypothesis")
    def positive(self) -> Number:
        """The least eigenvalue of both Hessians over the size below which it is zero to rounding.

        The memo adds decay to have it so; the size is 1e3 P eps ‖H‖.
        """
        values = [np.asarray(linearise(one, one.unravel(jnp.asarray(at))).values) for one, at in self.places]
        return Number(float(min(one[0] / hyperbolicity(one)[1] for one in values)), 1e-3)

    @at_most(1e-6, sentence="conjugates")
    @where_built
    def tangent(self) -> float:
        """‖Dφ_t(W*) − e^{−Ht}‖/‖e^{−Ht}‖ of both nets: μ and ν are the rates of their flows.

        Extrapolated differences leave the fourth power of a thousandth, and integration 1e-10.
        """
        return max(off_linear(one, flow_derivative(one, self.tolerance)) for one in self.built)

    @at_most(1e-10, sentence="conjugates")
    @where_built
    def linear(self) -> Number:
        """|e^{−νt}h(x) − h(e^{−μt}x)|/|e^{−νt}h(x)| of every component, x between 1e-8 and 1e8 of both signs.

        Rounding of two powers, see the module's docstring.
        """
        mu, nu = (one.values for one in self.built)
        worst = 0.0
        for time in np.asarray(LINEAR_TIMES) / max(np.max(mu), np.max(nu)):
            expected = np.exp(-nu * time) * self.power(self.x)
            gap = np.abs(expected - self.power(np.exp(-mu * time) * self.x)) / np.abs(expected)
            worst = float(np.maximum(worst, np.max(gap)))
        return self.rounded(worst)

    @at_most(1e-10, sentence="kind")
    @where_built
    def inverse(self) -> Number:
        """|h⁻¹(h(x)) − x|/|x| of every component.

        Rounding of two powers.
        """
        back = self.power.inverse(self.power(self.x))
        return self.rounded(np.abs(back - self.x) / np.abs(self.x))

    @at_most(1e-10, sentence="kind")
    @where_built
    def derivative(self) -> Number:
        """|log(h_i(x)/x)/log x − (ν_i/μ_i − 1)| at the smallest x: h'(0) is 0, 1 or ∞ as ν_i is above, at or below μ_i.

        Rounding of two powers over log x.
        """
        mu, nu = (one.values for one in self.built)
        smallest = np.exp(-self.logs)
        slope = np.log(self.power(smallest) / smallest) / np.log(smallest)
        return self.rounded(np.abs(slope - (nu / mu - 1.0)))

    @at_most(1e-6, sentence="kind")
    @where_built
    def matched(self) -> Number | None:
        """|h_i(x)/x − 1| for x in [1e-8, 1e8] where μ_i = ν_i (to 1e-9): h is the identity there, a diffeomorphism.

        Eigenvalues that differ by 1e-9 give log x · 1e-9 ≤ 2e-8.
        """
        if not self.equal.any():
            return NOT_ASKED
        return self.rounded(np.abs(self.power(self.x) / self.x - 1.0)[:, self.equal])

    @at_most(1e-6, sentence="nonlinear")
    @where_built
    def between(self) -> float:
        """‖k(φ_t(W)) − ψ_t(k(W))‖/‖ψ_t(k(W)) − W*‖ of the two nets' flows, k = h_2⁻¹ ∘ h ∘ h_1, the largest of samples.

        Integration of two conjugacies, see the module's docstring.
        """
        first, second = self.built
        x, time = first.samples(SAMPLES), TIME / max(first.values[-1], second.values[-1])
        return self.between_nets.mismatch(x, time, self.tolerance)

    @at_least(1e-3, role="control")
    @where_built
    def other_rates(self) -> float:
        """The same as for ``linear`` with every rate ν a hundredth greater than h was told.

        h(x) is off by 1 − e^{−νt/100}, at νt = 30 by a quarter; components that decay less are off by less.
        """
        mu, nu = (one.values for one in self.built)
        time = LINEAR_TIMES[-1] / np.max(nu)
        expected = np.exp(-1.01 * nu * time) * self.power(self.x)
        return float(np.max(np.abs(expected - self.power(np.exp(-mu * time) * self.x)) / np.abs(expected)))

    def shown(self):
        if self.built is None:
            return {}
        smallest = np.exp(-self.logs)
        read = np.log(self.power(smallest)) / np.log(smallest)
        found = {"mu": self.power.mu, "nu": self.power.nu, "exponent": self.power.exponents, "read": read}
        return {name: ("weight", values) for name, values in found.items()}


EXAMPLES = 8


def _nonlinear(random):
    inputs = random.standard_normal((EXAMPLES, 2))
    signs = np.where(inputs @ [1.0, 0.5] + 0.3 * random.standard_normal(EXAMPLES) > 0.0, 1.0, -1.0)
    problem = Problem(Dense((2, 2, 1), "tanh"), Logistic("mean"), Data(inputs, signs), 0.02)
    return problem, descend(problem, random.standard_normal(problem.size))


def _linear(random):
    inputs = random.standard_normal((EXAMPLES, 5))
    signs = np.where(inputs @ np.linspace(1.0, 0.5, 5) > 0.0, 1.0, -1.0)
    problem = Problem(Dense.deep_linear((5, 1, 1)), Exponential("mean"), Data(inputs, signs), 0.05)
    return problem, descend(problem, random.standard_normal(problem.size))


def _rotated(random, problem, end):
    """The same deep linear net in rotated inputs, and the same minimum."""
    turn = rotation(random, 5)
    data = Data(np.asarray(problem.data.inputs) @ turn, np.asarray(problem.data.targets))
    other = Problem(problem.network, problem.loss, data, problem.decay)
    return other, np.concatenate([end[:5] @ turn, end[5:]])


def cases(key, *, rounds):
    """Nets at minima, in pairs; a net serves in several."""
    random = generator(key)
    for draw in range(1, rounds + 1):
        nonlinear, linear, another = _nonlinear(random), _linear(random), _nonlinear(random)
        pairs = {
            "nonlinear and deep linear": (nonlinear, linear),
            "deep linear and nonlinear": (linear, another),
            "two nonlinear": (nonlinear, another),
            "deep linear, rotated": (linear, _rotated(random, *linear)),
        }
        for name, ((first, end), (second, other)) in pairs.items():
            facts = {"pair": name, "draw": draw}
            yield solved(Pair(first, second), facts, final_weights=end, other_weights=other)


STUDY = study(
    "memo90.conjugacy-map",
    ConjugacyMap,
    cases,
    quick={"rounds": 5},
    full={"rounds": 20},
    few={"rounds": 1},
    settings=section(__doc__, "Pairs"),
    figure=Figure(
        Panel("nu", "mu", r"$\nu_i$", r"$\mu_i$", by=("pair",), log="xy", diagonal=True),
        Panel(
            "read",
            "exponent",
            r"$\log h(x)/\log x$ at the smallest $x$",
            r"$\nu_i/\mu_i$",
            by=("pair",),
            log="xy",
            diagonal=True,
        ),
        caption="Left: eigenvalues at the two equilibria of every pair; on the line they match. Right: how eq. 47 goes "
        "to 0 with x: flat where ν > μ, with a vertical tangent where ν < μ, a diffeomorphism at 1 only.",
    ),
)
