"""Small nets whose flow is integrated to 30 digits, by Taylor series of order 40 in ball arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flint
import jax.numpy as jnp
import numpy as np
from flint import arb, arb_poly, arb_series

import gradlab as gl
from benchmarks.closed_forms import PRECISION, Closed

#: Coefficients of a series less one, and the part of its value that a step may leave out.
ORDER, LEFT = 40, 1e-32
Field = Callable[[Sequence[arb_series]], tuple[list[arb_series], arb_series]]
Row = Sequence[arb_series]


def _tanh(u: arb_series) -> tuple[arb_series, arb_series]:
    value = 1 - 2 / ((2 * u).exp() + 1)
    return value, 1 - value * value


def _sigmoid(u: arb_series) -> tuple[arb_series, arb_series]:
    value = 1 / ((-u).exp() + 1)
    return value, value * (1 - value)


#: A unit and its derivative.
UNITS: dict[str, Callable[[arb_series], tuple[arb_series, arb_series]]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "identity": lambda u: (u, arb_series([1])),
}


def _square(f: arb_series, y: float) -> tuple[arb_series, arb_series]:
    return (f - y) * (f - y) / 2, f - y


def _exponential(f: arb_series, y: float) -> tuple[arb_series, arb_series]:
    value = (-y * f).exp()
    return value, -y * value


def _logistic(f: arb_series, y: float) -> tuple[arb_series, arb_series]:
    value = (-y * f).exp()
    return (1 + value).log(), -y * value / (1 + value)


#: A loss of an output and a target, and its derivative by the output.
LOSSES: dict[str, Callable[[arb_series, float], tuple[arb_series, arb_series]]] = {
    "square": _square,
    "exponential": _exponential,
    "logistic": _logistic,
}


def field(unit: str, loss: str, x: np.ndarray, y: np.ndarray, hidden: int) -> Field:
    """−∇L of a net d-h-1 without biases, weights flattened as W₁ (h × d) and W₂ (1 × h), and L, by hand."""
    count, size = x.shape
    act, lost = UNITS[unit], LOSSES[loss]

    def of(w: Row) -> tuple[list[arb_series], arb_series]:
        ins = [w[size * k : size * (k + 1)] for k in range(hidden)]
        outs = w[size * hidden :]
        slope = [arb_series([0]) for _ in w]
        total = arb_series([0])
        for n in range(count):
            inner = [act(sum((row[j] * float(x[n, j]) for j in range(size)), arb_series([0]))) for row in ins]
            f = sum((o * v for o, (v, _) in zip(outs, inner, strict=True)), arb_series([0]))
            value, by = lost(f, float(y[n]))
            total += value
            for k, (v, d) in enumerate(inner):
                slope[size * hidden + k] -= by * v
                pushed = by * outs[k] * d
                for j in range(size):
                    slope[size * k + j] -= pushed * float(x[n, j])
        return slope, total

    return of


class Solution:
    """Weights, the length of the path, ∫ L dt and the loss at any time from 0 to a last one."""

    def __init__(self, of: Field, start: Sequence[float], span: float, left: float = LEFT) -> None:
        flint.ctx.prec = PRECISION
        self.of, self.left, self.times, self.pieces = of, left, [arb(0)], []
        place, t = [arb(w) for w in start] + [arb(0), arb(0)], arb(0)
        while float(t) < span:
            piece, step = self._piece(place)
            self.pieces.append(piece)
            place = [value(step).mid() for value in piece]
            t += step
            self.times.append(t)

    def _piece(self, place: list[arb]) -> tuple[list[arb_poly], arb]:
        """Polynomials of weights, length and ∫ L dt about a place, and the step on which they hold."""
        kept, flint.ctx.cap = flint.ctx.cap, ORDER + 1
        series = [arb_series([value]) for value in place]
        for length in range(1, ORDER + 1):
            flint.ctx.cap = length
            slope, loss = self.of(series[:-2])
            flint.ctx.cap = ORDER + 1
            series = [s.integral() + v for v, s in zip(place[:-2], slope, strict=True)]
            series += [arb_series([place[-2]]), loss.integral() + place[-1]]
        squares = sum((s.derivative() * s.derivative() for s in series[:-2]), arb_series([0]))
        series[-2] = place[-2] + arb_series(squares.sqrt()).integral()
        flint.ctx.cap = kept
        worst = max(
            float(abs(s[k])) ** (1.0 / k) for s in series for k in (ORDER - 1, ORDER) if float(abs(s[k])) > 0
        )
        return [arb_poly(s.coeffs()) for s in series], arb(self.left ** (1.0 / ORDER) / worst)

    def at(self, t: arb) -> tuple[list[arb], arb, arb, arb]:
        """Weights, the loss, and since the start the length of the path and ∫ L dt."""
        number = max(0, int(np.searchsorted([float(s) for s in self.times], float(t), "right")) - 1)
        number = min(number, len(self.pieces) - 1)
        values = [value(t - self.times[number]) for value in self.pieces[number]]
        _, loss = self.of([arb_series([value]) for value in values[:-2]])
        return values[:-2], loss[0], values[-2], values[-1]


def net(
    unit: str, loss: str, x: np.ndarray, y: np.ndarray, start: Sequence[np.ndarray], span: float, said: str
) -> Closed:
    """A flow of a net d-h-1, with its truth."""
    hidden, size = start[0].shape
    flat = [float(w) for layer in start for w in layer.ravel()]
    solution = Solution(field(unit, loss, x, y, hidden), flat, span)
    made = {
        "square": gl.Square("sum", half=True),
        "exponential": gl.Exponential("sum"),
        "logistic": gl.Logistic("sum"),
    }
    targets = y[:, None] if loss == "square" else y
    problem = gl.Problem(gl.Dense((size, hidden, 1), unit), made[loss], gl.Data(x, targets))
    clocks: dict[str, Callable[[arb], arb]] = {"ArcLength": lambda t: solution.at(t)[2]}
    if loss != "square":
        clocks["LogLoss"] = lambda t: solution.at(t)[3]
    weights = tuple(jnp.asarray(layer) for layer in start)
    truth = lambda t: solution.at(t)[:2]  # noqa: E731
    return Closed(said, problem, weights, truth, span, loss != "square", clocks)


def random_nets(count: int, seed: int = 0) -> list[Closed]:
    """Nets whose data and starts are drawn: a general start, two units alike, exactly, and one near the saddle at 0."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        size, hidden, examples = (int(random.integers(1, 4)) for _ in range(3))
        hidden, examples = hidden + 1, examples + 1
        unit = list(UNITS)[number % 3]
        loss = list(LOSSES)[(number // 3) % 3]
        # A net of sigmoids has no saddle at 0.
        kinds = ("general", "two units alike", "near the saddle")[: 2 if unit == "sigmoid" else 3]
        kind = kinds[int(random.integers(len(kinds)))]
        x = random.standard_normal((examples, size))
        y = random.standard_normal(examples) if loss == "square" else np.where(x[:, 0] > 0, 1.0, -1.0)
        start = [random.standard_normal(shape) * 0.7 for shape in ((hidden, size), (1, hidden))]
        if kind == "two units alike":
            start[0][1], start[1][0, 1] = start[0][0], start[1][0, 0]
        if kind == "near the saddle":
            scale = 10.0 ** random.uniform(-8.0, -1.0)
            start = [layer * scale for layer in start]
        span = (
            float(random.uniform(5.0, 20.0)) if loss == "square" else float(10.0 ** random.uniform(1.0, 3.0))
        )
        found.append(net(unit, loss, x, y, start, span, f"{unit}, {loss}, {kind}"))
    return found
