"""memo90.conjugacy-map: eq. 47, h_i(x) = sgn(x)|x|^{ν_i/μ_i} between two linear flows, and between two real equilibria.

Pairs, before any run. A nonlinear net (two tanh units on two inputs, logistic loss) and a deep linear one (five inputs,
hidden width one, exponential loss), both with six weights and decay, at minima with six positive eigenvalues; pairs of
nonlinear nets; and pairs of deep linear nets whose inputs differ by a rotation, which have the same eigenvalues. (Deep
linear nets of greater hidden width have zero eigenvalues whatever the decay is, by rotation of the hidden layer.) The
study takes h between the linear flows, and k = h_2⁻¹ ∘ h ∘ h_1 between the flows of the nets, h_1 and h_2 their
conjugacies to their linearisations (:mod:`gradlab.analysis.conjugacy`).

Tolerances. h of e^{−μt}x against e^{−νt}h(x), relative: eps·((1 + p)(1 + |log x|) + νt), at most 2e3 eps for the
numbers taken (|log x| ≤ 18 and p |log x| ≤ 600, μt and νt ≤ 30): 1e-10 leaves two decades. The derivative at 0 is
read from log(h(x)/x)/log x = ν/μ − 1 at the smallest x, with the same rounding over |log x|. Between the nets the
integration of two conjugacies is left, as in notes.hartman-grobman: 1e-6. The power map multiplies relative errors of
a component by its exponent; the norm, of the largest component, keeps the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.conjugacy import Conjugacy, conjugacy, hyperbolicity
from gradlab.analysis.equilibria.minimising import descend
from gradlab.analysis.power_map import PowerMap, between, power_map
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS, generator, rotation
from gradlab.claims.teachers import resting
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

EXACT, INTEGRATED = 1e-10, 1e-6
SAMPLES, LOGS, REACH = 4, 18.0, 600.0
#: Times in units of 1/λ_max, of the linear flows and of the nets' flows.
LINEAR_TIMES, TIME = (0.3, 3.0, 30.0), 1.0
#: Eigenvalues count as equal that differ by no more than their rounding.
EQUAL = 1e-9

CLAIM = Claim(
    id="memo90.conjugacy-map",
    source="memo90",
    statement="h_i(x_i) = sgn(x_i)|x_i|^{ν_i/μ_i} conjugates the linear flows with eigenvalues μ and ν at two "
    "equilibria; it is a diffeomorphism where μ_i = ν_i and a homeomorphism otherwise, so that the nonlinear flows are "
    "conjugate.",
    formula=r"h_i(x_i)=\mathrm{sgn}(x_i)\,|x_i|^{\nu_i/\mu_i},\qquad h\circ e^{-\mu t}=e^{-\nu t}\circ h",
    passage="Section 12.3.2, eq. 47 and the two sentences after it",
    hypotheses=(
        "all eigenvalues of both Hessians are positive (hyperbolic minima)",
        "as many weights in both nets",
    ),
    convention="Decaying flows dx/dt = −μx (the memo writes ẋ = μx); eigenvalues are paired in order.",
)
MEASURES = (
    Measure(
        "positive",
        "the least eigenvalue of both Hessians over the size below which it is zero to rounding; NaN where the points "
        "are no minima",
        ">=",
        1.0,
        "the memo adds decay to have it so; the size is 1e3 P eps ‖H‖",
        role="hypothesis",
    ),
    Measure(
        "linear",
        "|e^{−νt}h(x) − h(e^{−μt}x)|/|e^{−νt}h(x)| of every component, x between 1e-8 and 1e8 of both signs",
        "<=",
        EXACT,
        "rounding of two powers, see the module's docstring",
    ),
    Measure("inverse", "|h⁻¹(h(x)) − x|/|x| of every component", "<=", EXACT, "rounding of two powers"),
    Measure(
        "derivative",
        "|log(h_i(x)/x)/log x − (ν_i/μ_i − 1)| at the smallest x: h'(0) is 0, 1 or ∞ as ν_i is above, at or below μ_i",
        "<=",
        EXACT,
        "rounding of two powers over log x",
    ),
    Measure(
        "matched",
        "|h_i(x)/x − 1| for x in [1e-8, 1e8] where μ_i = ν_i (to 1e-9): h is the identity there, a diffeomorphism; "
        "0 where none match",
        "<=",
        1e-6,
        "eigenvalues that differ by 1e-9 give log x · 1e-9 ≤ 2e-8",
    ),
    Measure(
        "between",
        "‖k(φ_t(W)) − ψ_t(k(W))‖/‖ψ_t(k(W)) − W*‖ of the two nets' flows, k = h_2⁻¹ ∘ h ∘ h_1, the largest of samples",
        "<=",
        INTEGRATED,
        "integration of two conjugacies, see the module's docstring",
    ),
)


class Pair(NamedTuple):
    """Two problems with as many weights; the trajectory holds the point of each."""

    first: Problem
    second: Problem


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """Eq. 47 for the eigenvalues at the two points, and the flows of the two nets through it."""
    nothing = xr.Dataset({measure.id: np.nan for measure in MEASURES})
    ends = trajectory["final_weights"].values, trajectory["other_weights"].values
    if not isinstance(problem, Pair) or problem.first.size != problem.second.size:
        return nothing
    try:
        first, second = (
            conjugacy(one, one.unravel(jnp.asarray(end))) for one, end in zip(problem, ends, strict=True)
        )
    except ValueError:
        return nothing
    shares = [hyperbolicity(built.values) for built in (first, second)]
    positive = min(
        float(built.values[0]) / zero for built, (_, zero) in zip((first, second), shares, strict=True)
    )
    if not positive >= 1.0:
        return nothing.assign(positive=positive)
    power = power_map(first.values, second.values)
    numbers = {"positive": positive, **_exact(power), **_nets(first, second)}
    drawn = {"mu": ("weight", first.values), "nu": ("weight", second.values)}
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()}).assign(drawn)


def _exact(power: PowerMap) -> dict[str, float]:
    """What eq. 47 says of linear flows, coordinate by coordinate."""
    exponents = power.exponents
    # no component under- or overflows: |log x| (1 + p) ≤ REACH
    logs = np.minimum(LOGS, REACH / np.maximum(exponents, 1.0 / exponents))
    x = np.exp(np.linspace(-1.0, 1.0, 9)[:, None] * logs)
    x = np.concatenate([x, -x])
    h = power(x)
    back = power.inverse(h)
    worst = 0.0
    for time in np.asarray(LINEAR_TIMES) / max(np.max(power.mu), np.max(power.nu)):
        expected = np.exp(-power.nu * time) * h
        gap = np.abs(expected - power(np.exp(-power.mu * time) * x)) / np.abs(expected)
        worst = max(worst, float(np.max(gap)))
    smallest = np.exp(-logs)
    slope = np.log(power(smallest) / smallest) / np.log(smallest)
    equal = np.abs(power.mu - power.nu) <= EQUAL * np.maximum(power.mu, power.nu)
    matched = float(np.max(np.abs(h / x - 1.0)[:, equal])) if equal.any() else 0.0
    rounding = EPS * float(np.max((1.0 + exponents + 1.0 / exponents) * (1.0 + logs)))
    decay = EPS * float(np.max(1.0 + exponents)) * max(LINEAR_TIMES)
    return {
        "linear": worst,
        "linear_error": rounding + decay,
        "inverse": float(np.max(np.abs(back - x) / np.abs(x))),
        "inverse_error": rounding,
        "derivative": float(np.max(np.abs(slope - (exponents - 1.0)))),
        "derivative_error": rounding,
        "matched": matched,
        "matched_error": rounding,
        "equal": float(equal.sum()),
        "differentiable": 99.0 if power.differentiable is None else float(power.differentiable),
    }


def _nets(first: Conjugacy, second: Conjugacy) -> dict[str, float]:
    if 0.0 in (first.radius, second.radius):
        return {"between": np.nan}
    map_ = between(first, second)
    found = map_.defect(first.samples(SAMPLES), TIME / max(first.values[-1], second.values[-1]))
    return {"between": found.value, "between_error": found.error}


EXAMPLES = 8


def _nonlinear(random: np.random.Generator) -> tuple[Problem, np.ndarray]:
    inputs = random.standard_normal((EXAMPLES, 2))
    signs = np.where(inputs @ [1.0, 0.5] + 0.3 * random.standard_normal(EXAMPLES) > 0.0, 1.0, -1.0)
    problem = Problem(Dense((2, 2, 1), "tanh"), Logistic("mean"), Data(inputs, signs), 0.02)
    return problem, descend(problem, random.standard_normal(problem.size))


def _linear(random: np.random.Generator) -> tuple[Problem, np.ndarray]:
    inputs = random.standard_normal((EXAMPLES, 5))
    signs = np.where(inputs @ np.linspace(1.0, 0.5, 5) > 0.0, 1.0, -1.0)
    problem = Problem(Dense.deep_linear((5, 1, 1)), Exponential("mean"), Data(inputs, signs), 0.05)
    return problem, descend(problem, random.standard_normal(problem.size))


def _rotated(random: np.random.Generator, problem: Problem, end: np.ndarray) -> tuple[Problem, np.ndarray]:
    """The same deep linear net in rotated inputs, and the same minimum."""
    turn = rotation(random, 5)
    data = Data(np.asarray(problem.data.inputs) @ turn, np.asarray(problem.data.targets))
    other = Problem(problem.network, problem.loss, data, problem.decay)
    return other, np.concatenate([end[:5] @ turn, end[5:]])


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Nets at minima, in pairs; a net serves in several."""
    random = generator(key)
    rounds = 5 if budget == "quick" else 20
    for number in range(1, rounds + 1):
        nonlinear, linear, another = _nonlinear(random), _linear(random), _nonlinear(random)
        pairs = {
            "nonlinear and deep linear": (nonlinear, linear),
            "deep linear and nonlinear": (linear, another),
            "two nonlinear": (nonlinear, another),
            "deep linear, rotated": (linear, _rotated(random, *linear)),
        }
        for name, ((first, end), (second, other)) in pairs.items():
            yield Case(f"{name}, {number}", Pair(first, second), resting(end, other_weights=("other", other)))


def draw(dataset: xr.Dataset) -> Any:
    """The eigenvalues of the pairs, and h for three of them."""
    figure, (left, right) = figures.panels(2, height=3.2)
    labels = dataset["case"].values.astype(str)
    kinds = {label.rpartition(",")[0] for label in labels}
    rows = {kind: np.asarray([label.startswith(kind) for label in labels]) for kind in sorted(kinds)}
    figures.scatter(
        {kind: dataset["mu"].values[which].ravel() for kind, which in rows.items()},
        {kind: dataset["nu"].values[which].ravel() for kind, which in rows.items()},
        r"$\mu_i$",
        r"$\nu_i$",
        log="xy",
        diagonal=True,
        axes=left,
    )
    x = np.linspace(-1.0, 1.0, 401)
    exponents = np.sort((dataset["nu"].values / dataset["mu"].values)[0])[[0, -1]]
    lines = {f"$\\nu/\\mu$ = {p:.2g}": np.sign(x) * np.abs(x) ** p for p in (exponents[0], 1.0, exponents[1])}
    figures.curves(x, lines, "$x$", "$h(x)$", axes=right)
    return figures.with_caption(
        figure,
        "Left: eigenvalues at the two equilibria of every pair; on the line they match. Right: eq. 47 for the least "
        "and the greatest exponent of the first pair, and for one: a kink or a flat point at 0 unless ν = μ.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="20 pairs of minima with six weights: tanh nets under logistic loss, deep linear nets of hidden width one "
    "under exponential loss, and the latter in rotated inputs",
)
