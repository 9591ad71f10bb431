"""Gradient flows with known answers, in ball arithmetic: weights and loss at any time, to 40 digits or more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flint
import jax.numpy as jnp
import numpy as np
from flint import arb

import gradlab as gl

PRECISION = 300
#: Weights, flattened, and the loss at a time.
Truth = Callable[[arb], tuple[list[arb], arb]]


@dataclass(frozen=True)
class Closed:
    """A flow with a known answer.

    truth : of physical time. span : the last time. geometric : whether records are spread geometrically (from 1).
    clocks : the value of a clock at a time, by the clock's name, where it is known.
    """

    name: str
    problem: gl.Problem
    start: Any
    truth: Truth
    span: float
    geometric: bool
    clocks: dict[str, Callable[[arb], arb]]

    def times(self, count: int) -> np.ndarray:
        """As many times, of records."""
        if self.geometric:
            return np.geomspace(min(1.0, self.span / count), self.span, count)
        return np.linspace(0.0, self.span, count + 1)[1:]


def root(f: Callable[[arb], arb], low: arb, high: arb) -> arb:
    """The root of an increasing function in an interval, by halving to a part in 2¹⁸⁰."""
    for _ in range(220):
        middle = ((low + high) / 2).mid()
        if f(middle) > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _scalar(weights: tuple[float, ...], loss: Any, target: float = 1.0) -> tuple[gl.Problem, Any]:
    network = gl.Dense((1,) * (len(weights) + 1), "identity")
    data = gl.Data([[1.0]], [[target]] if loss.kind == "residual" else [target])
    return gl.Problem(network, loss, data), tuple(jnp.asarray([[w]]) for w in weights)


def _linear(condition: float, seed: int, span: float) -> Closed:
    """Linear regression; W(t) = W* + e^{−Ht}(W₀ − W*)."""
    random, count, size = np.random.default_rng(seed), 6, 3
    left, _ = np.linalg.qr(random.standard_normal((count, size)))
    right, _ = np.linalg.qr(random.standard_normal((size, size)))
    x = left * np.geomspace(1.0, condition**-0.5, size) @ right.T * np.sqrt(count)
    y, start = random.standard_normal((count, 1)), random.standard_normal((1, size))
    inputs, targets = flint.arb_mat(x.tolist()), flint.arb_mat(y.tolist())
    first = flint.arb_mat(start.T.tolist())
    hessian = inputs.transpose() * inputs * (arb(2) / count)
    best = hessian.solve(inputs.transpose() * targets * (arb(2) / count))

    def truth(t: arb) -> tuple[list[arb], arb]:
        weights = best + (hessian * (-t)).exp() * (first - best)
        residual = inputs * weights - targets
        return [weights[i, 0] for i in range(size)], sum(
            (residual[i, 0] ** 2 for i in range(count)), start=arb(0)
        ) / count

    problem = gl.Problem(gl.Dense((size, 1), "identity"), gl.Square("mean"), gl.Data(x, y))
    return Closed(
        f"linear regression, condition {condition:g}", problem, (jnp.asarray(start),), truth, span, False, {}
    )


def _balanced(first: float, span: float) -> Closed:
    """Depth two, both weights a: u = a² is logistic."""
    a0, half = arb(first), arb(1) / 2

    def truth(t: arb) -> tuple[list[arb], arb]:
        growth = (2 * t).exp()
        u = a0**2 * growth / (1 + a0**2 * (growth - 1))
        return [u.sqrt()] * 2, (u - 1) ** 2 * half

    def arc(t: arb) -> arb:
        return arb(2).sqrt() * (truth(t)[0][0] - a0)

    problem, start = _scalar((first, first), gl.Square("sum", half=True))
    clocks = {"ArcLength": arc, "LogNorm": lambda t: (truth(t)[0][0] / a0).log()}
    return Closed(f"depth 2, balanced at {first:g}", problem, start, truth, span, False, clocks)


def _unbalanced(first: float, other: float, span: float | None = None) -> Closed:
    """Depth two, |a| < b: with b² − a² = c fixed, p = ab follows ṗ = (1 − p) √(c² + 4p²).

    From a near −b the orbit comes close to the saddle at zero and leaves it.
    """
    a0, b0 = arb(first), arb(other)
    c = b0**2 - a0**2

    def since(p: arb) -> arb:
        # ∫ dp / ((1 − p) √(c² + 4p²)) = asinh((4p + c²) / (|c| (1 − p)) · …) / √(4 + c²), by p = 1 − 1/s.
        s = 1 / (1 - p)
        k = (4 + c**2).sqrt()
        return ((k * s - 4 / k) / (2 * c / k)).asinh() / k

    begun = since(a0 * b0)

    def truth(t: arb) -> tuple[list[arb], arb]:
        p = root(lambda p: since(p) - begun - t, a0 * b0, arb(1) - arb(2) ** -220)
        b2 = (c + (c**2 + 4 * p**2).sqrt()) / 2
        b = b2.sqrt()
        return [p / b, b], (p - 1) ** 2 / 2

    problem, start = _scalar((first, other), gl.Square("sum", half=True))
    span = span or float(since(arb(0.999)) - begun)
    return Closed("depth 2, unbalanced, across zero", problem, start, truth, span, False, {})


def _into_the_saddle(first: float, span: float) -> Closed:
    """Depth two from (−a, a), exactly: u = a² follows u̇ = −2u(1 + u), and the orbit ends at the saddle at zero."""
    a0 = arb(first)

    def truth(t: arb) -> tuple[list[arb], arb]:
        ratio = a0**2 / (1 + a0**2) * (-2 * t).exp()
        u = ratio / (1 - ratio)
        return [-u.sqrt(), u.sqrt()], (1 + u) ** 2 / 2

    problem, start = _scalar((-first, first), gl.Square("sum", half=True))
    clocks = {"ArcLength": lambda t: arb(2).sqrt() * (a0 - truth(t)[0][1])}
    return Closed("depth 2, into the saddle", problem, start, truth, span, False, clocks)


def _equal_units(units: int, first: float, span: float) -> Closed:
    """A hidden layer of k units that are all the same, exactly, at a: k a² is logistic."""
    a0 = arb(first)

    def truth(t: arb) -> tuple[list[arb], arb]:
        growth = (2 * t).exp()
        u = units * a0**2 * growth / (1 + units * a0**2 * (growth - 1))
        return [(u / units).sqrt()] * (2 * units), (u - 1) ** 2 / 2

    network = gl.Dense((1, units, 1), "identity")
    problem = gl.Problem(network, gl.Square("sum", half=True), gl.Data([[1.0]], [[1.0]]))
    start = (jnp.full((units, 1), first), jnp.full((1, units), first))
    root = arb(2 * units).sqrt()
    clocks = {
        "ArcLength": lambda t: root * (truth(t)[0][0] - a0),
        "LogNorm": lambda t: (truth(t)[0][0] / a0).log(),
    }
    return Closed("depth 2, equal units", problem, start, truth, span, False, clocks)


def _depth_three(first: float, span: float) -> Closed:
    """ȧ = a² (1 − a³): t = −1/a + ∫ a/(1 − a³) da, by partial fractions."""
    a0, root3 = arb(first), arb(3).sqrt()

    def since(a: arb) -> arb:
        logs = -(1 - a).log() / 3 + (a**2 + a + 1).log() / 6
        return -1 / a + logs - ((2 * a + 1) / root3).atan() / root3

    begun = since(a0)

    def truth(t: arb) -> tuple[list[arb], arb]:
        a = root(lambda a: since(a) - begun - t, a0, arb(1) - arb(2) ** -220)
        return [a] * 3, (a**3 - 1) ** 2 / 2

    problem, start = _scalar((first,) * 3, gl.Square("sum", half=True))
    clocks = {
        "ArcLength": lambda t: root3 * (truth(t)[0][0] - a0),
        "LogNorm": lambda t: (truth(t)[0][0] / a0).log(),
    }
    return Closed(f"depth 3, balanced at {first:g}", problem, start, truth, span, False, clocks)


def _exponential(span: float, first: float = 0.3) -> Closed:
    """w = log(e^{w₀} + t)."""
    w0 = arb(first)

    def truth(t: arb) -> tuple[list[arb], arb]:
        w = (w0.exp() + t).log()
        return [w], (-w).exp()

    problem, start = _scalar((first,), gl.Exponential("sum"))
    gain: Callable[[arb], arb] = lambda t: truth(t)[0][0] - w0  # noqa: E731
    clocks = {"LogLoss": gain, "ArcLength": gain, "LogNorm": lambda t: (truth(t)[0][0] / w0).log()}
    return Closed("exponential, one point", problem, start, truth, span, True, clocks)


def _logistic(span: float, first: float = -2.0) -> Closed:
    """w + e^w = t + w₀ + e^{w₀}."""
    w0 = arb(first)

    def truth(t: arb) -> tuple[list[arb], arb]:
        goal = t + w0 + w0.exp()
        w = root(lambda w: w + w.exp() - goal, w0 - 1, arb(60))
        return [w], (-w).exp().log1p()

    problem, start = _scalar((first,), gl.Logistic("sum"))
    clocks: dict[str, Any] = {"ArcLength": lambda t: truth(t)[0][0] - w0}
    return Closed("logistic, one point", problem, start, truth, span, True, clocks)


def _power(span: float, power: int = 4, first: float = 3.0) -> Closed:
    """r = r₀ (1 + p(p − 2) r₀^{p−2} t)^{−1/(p−2)} with r = w − 1 > 0, for even p."""
    w0, p = arb(first), arb(power)
    r0 = w0 - 1

    def truth(t: arb) -> tuple[list[arb], arb]:
        r = r0 * (1 + p * (p - 2) * r0 ** (p - 2) * t) ** (-1 / (p - 2))
        return [r + 1], r**power

    problem, start = _scalar((first,), gl.losses.Lp(float(power), "sum"))
    return Closed(
        f"l{power} loss", problem, start, truth, span, True, {"ArcLength": lambda t: w0 - truth(t)[0][0]}
    )


def _deep_exponential(span: float, first: float = 0.5) -> Closed:
    """Depth two under the exponential loss: t = (Ei(a²) − Ei(a₀²))/2."""
    a0 = arb(first)

    def truth(t: arb) -> tuple[list[arb], arb]:
        a = root(lambda a: ((a * a).ei() - (a0 * a0).ei()) / 2 - t, a0, arb(8))
        return [a] * 2, (-a * a).exp()

    problem, start = _scalar((first, first), gl.Exponential("sum"))
    gain: Callable[[arb], arb] = lambda t: (truth(t)[0][0] / a0).log()  # noqa: E731
    clocks = {"LogLoss": gain, "LogNorm": gain, "ArcLength": lambda t: arb(2).sqrt() * (truth(t)[0][0] - a0)}
    return Closed("depth 2, exponential, one point", problem, start, truth, span, True, clocks)


def _modes(span: float, strengths: tuple[float, ...] = (3.0, 1.0, 0.2), first: float = 0.1) -> Closed:
    """A linear net of depth two whose three modes grow one after the other (Saxe et al.)."""
    size = 3

    def truth(t: arb) -> tuple[list[arb], arb]:
        weights, loss = [arb(0)] * size**2, arb(0)
        for i, strength in enumerate(strengths):
            s, begun = arb(strength), arb(first) ** 2
            growth = (2 * s * t).exp()
            u = s * begun * growth / (s + begun * (growth - 1))
            weights[i * (size + 1)] = u.sqrt()
            loss += (u - s) ** 2 / 2
        return weights * 2, loss

    # Inputs of length 2 make the potential four times as large, exactly, and time four times as fast.
    data = gl.Data(2.0 * np.eye(size), 2.0 * np.diag(strengths))
    network = gl.Dense((size,) * 3, "identity")
    problem = gl.Problem(network, gl.Square("sum", half=True), data)
    start = (jnp.asarray(first * np.eye(size)),) * 2

    def timed(t: arb) -> tuple[list[arb], arb]:
        weights, loss = truth(4 * t)
        return weights, 4 * loss

    return Closed("depth 2, three modes", problem, start, timed, span / 4.0, False, {})


def _plateau(span: float | None = None, target: float = 0.9, first: float = -4.0) -> Closed:
    """z = tanh w of a neuron: ż = (c − z)(1 − z²)², by partial fractions, to within 1 % of c if no span is given."""
    c, w0 = arb(target), arb(first)

    def since(z: arb) -> arb:
        # 1/((c − z)(1 − z²)²) = A/(c − z) + B/(1 − z) + C/(1 − z)² + D/(1 + z) + E/(1 + z)².
        a = 1 / (1 - c**2) ** 2
        cc, e = 1 / (4 * (c - 1)), 1 / (4 * (c + 1))
        # From the values at 0 and the decay at infinity (A + B = D).
        rest = 1 / c - a / c - cc - e
        b = (rest - a) / 2
        d = a + b
        return -a * (c - z).log() - b * (1 - z).log() + cc / (1 - z) + d * (1 + z).log() - e / (1 + z)

    def place(w: arb) -> arb:
        return w.tanh()

    begun = since(place(w0))

    def truth(t: arb) -> tuple[list[arb], arb]:
        z = root(lambda z: since(z) - begun - t, place(w0), c - arb(2) ** -200)
        return [z.atanh()], (z - c) ** 2 / 2

    network = gl.Function(
        lambda w, x: jnp.tanh(x @ w), lambda key: jnp.asarray([[first]]), input_shape=1, outputs=1
    )
    problem = gl.Problem(network, gl.Square("sum", half=True), gl.Data([[1.0]], [[target]]))
    clocks: dict[str, Any] = {"ArcLength": lambda t: truth(t)[0][0] - w0}
    span = span or float(since(c - (c - place(w0)) / 100) - begun)
    return Closed("tanh neuron from a plateau", problem, jnp.asarray([[first]]), truth, span, False, clocks)


def closed_forms() -> list[Closed]:
    """All of them."""
    flint.ctx.prec = PRECISION
    return [
        _linear(10.0, 0, 20.0), _linear(1e4, 1, 2000.0), _balanced(0.1, 10.0), _balanced(1e-4, 15.0),
        _unbalanced(-0.9, 1.0, 20.0), _depth_three(0.05, 60.0), _exponential(1e6), _logistic(1e4), _power(1e4),
        _deep_exponential(1e6), _modes(30.0), _plateau(3000.0),
    ]  # fmt: skip


def random_forms(count: int, seed: int = 0) -> list[Closed]:
    """Flows with known answers whose starts, targets and sizes are drawn: family after family, as often as it goes.

    Starts are as near to saddles as 1e-10; what is exactly symmetric starts so.
    """
    flint.ctx.prec = PRECISION
    random = np.random.default_rng(seed)

    def power(low: float, high: float) -> float:
        return float(10.0 ** random.uniform(low, high))

    def near() -> tuple[float, float]:
        return (first := power(-10.0, -0.5)), 8.0 - np.log(first)

    def close() -> Closed:
        other = random.uniform(0.5, 1.5)
        return _unbalanced(-other * (1.0 - power(-10.0, -1.0)), other)

    def third() -> Closed:
        first = power(-2.5, -0.5)
        return _depth_three(first, 1.3 / first + 10.0)

    families: tuple[Callable[[], Closed], ...] = (
        lambda: _linear(power(0.0, 5.0), int(random.integers(1 << 30)), power(0.0, 3.0)),
        lambda: _balanced(*near()),
        close,
        lambda: _into_the_saddle(random.uniform(0.2, 1.5), random.uniform(5.0, 25.0)),
        lambda: _equal_units(int(random.integers(2, 5)), *near()),
        third,
        lambda: _exponential(power(1.0, 8.0), random.uniform(0.1, 3.0)),
        lambda: _logistic(power(1.0, 6.0), random.uniform(-6.0, 2.0)),
        lambda: _power(power(1.0, 6.0), int(random.choice([4, 6, 8])), random.uniform(1.5, 3.0)),
        lambda: _deep_exponential(power(1.0, 8.0), random.uniform(0.1, 1.0)),
        lambda: _modes(
            random.uniform(15.0, 40.0), tuple(random.uniform(0.2, 3.0, 3).tolist()), power(-4.0, -0.5)
        ),
        lambda: _plateau(target=random.uniform(0.3, 0.95), first=random.uniform(-4.5, -1.0)),
    )
    return [families[i % len(families)]() for i in range(count)]
