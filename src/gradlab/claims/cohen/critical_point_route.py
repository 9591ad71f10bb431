"""cohen.critical-point-route: from "no poor local minima" and "all saddles strict" to convergence of gradient descent.

Printed. "If: (1) there are no poor local minima; and (2) all saddle points are strict, then gradient descent (GD)
converges to global minimum" (cf. Ge et al. 2015; Lee et al. 2016); "insufficient when treating deep (≥ 3 layer)
models".

What it silently needs (docs/notes/cohen.critical-point-route.md). Four losses that meet (1) and (2), all of them of
networks under the square loss:
"random": two-layer linear nets, Gaussian starts, a small step: descent does converge, of 64 starts all;
"on the manifold": w_2 = −w_1 in a net of two scalar layers, the stable manifold of the strict saddle at 0, which has
measure zero: descent rests at the saddle, and off the manifold by 1e-6 it does not;
"long step": the same nets with η = 1.5/σ_1(Y), at which every global minimum repels (λ_max ≥ 2σ_1);
"unbounded": F = (x⁴ + 2x²)/(1 + x⁴), with one minimum, F(0) = 0, two maxima, F'' < 0, and no other critical point; from
every |x| > φ^{1/2} = 1.27… descent of any step increases |x|, and F stays above 1. No set of measure zero excuses that.

Settings, before any run. "random": widths 3-3-2, 4-2-2, half the square loss, X = I, Y = (D_Y 0); 32 starts of size 0.5
and 32 of size 1; η = 0.02, 4·10⁴ steps. "on the manifold": y = 0.5, 1, 2, w_1 from 0.3 to 2, 20 units of time 1/y: what
is rounded grows to 1e-7 by then. "unbounded": 64 starts between 1.5 and 10, η = 0.1 < 2/4, F'' ≤ 4.
Depth: scalar layers, y = 1, all weights s = 2^{−3}…2^{−6}, η = 0.05: steps until the loss is halved.

Tolerances. Shares: 10 %, more than the 6.9 % that 64 starts without a failure leave at 99 %. Critical points above the
minimum: an eigenvalue below −1e-3 of the largest; rounding leaves 1e-13. The time to leave 0 is ∫ dw/w^{N−1}, that is
1/s at N = 3: the exponent is 1 within 0.15, as everywhere.
"""

from functools import cached_property

import jax.numpy as jnp
import numpy as np

from gradlab.analysis import landscape, linear_nets
from gradlab.claims.cases import generator
from gradlab.claims.looks.descents import Descents, distinct_rows, share
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense, Function
from gradlab.problem.problem import Problem

RANDOM, MANIFOLD, LONG, UNBOUNDED, DEPTH = (
    "random",
    "on the manifold",
    "long step",
    "unbounded",
    "small starts",
)
#: L over that of zero weights up to which the minimum, L = 0 in all cases, is reached; of "unbounded", over 1.
REACHED = 1e-9
ASIDE = 1e-6


class _Route(Descents):
    """Descent from every start, and the critical points of the loss."""

    setting = "a loss with minimum zero"

    @property
    def kind(self) -> str:
        """Which loss and starts."""
        return str(self.facts["kind"])

    @property
    def unit(self) -> float:
        """L that counts as 1: of zero weights, ½‖Y‖²; of "unbounded" its limit at infinity."""
        return (
            1.0 if self.kind == UNBOUNDED else 0.5 * float(np.sum(np.asarray(self.problem.data.targets) ** 2))
        )

    def failed(self, losses: np.ndarray) -> int:
        """How many of the ends are not at the minimum; NaN is not."""
        return int(np.sum(~(losses <= REACHED * self.unit)))

    @cached_property
    def failing(self) -> Number:
        """The share of starts that do not end at the minimum; starts on the manifold are not drawn, but chosen."""
        failed, n = self.failed(self.losses[-1]) / len(self.weights), distinct_rows(self.weights)
        return share(failed * n, n, drawn=self.kind != MANIFOLD)

    @cached_property
    def saddles(self) -> np.ndarray:
        """λ_min/|λ|_max at every critical point above the minimum that is enumerated, or found on the line."""
        if self.kind == UNBOUNDED:
            return self._on_the_line()
        found = linear_net.landscape_of(self.problem)
        spectra = []
        for vector in linear_net.stratum_points(found, np.random.default_rng(0)):
            layers = found.layers(vector)
            if found.value(layers) > REACHED * self.unit:
                values = landscape.hessian_values(found, layers)[0]
                spectra.append(values[0] / np.abs(values).max())
        return np.array(spectra)

    def _on_the_line(self) -> np.ndarray:
        x = np.linspace(-6.0, 6.0, 2400)  # 0 is between two points
        slopes = self.slope(x[:, None])[:, 0]
        below = np.flatnonzero(slopes[:-1] * slopes[1:] <= 0.0)
        bends = (slopes[below + 1] - slopes[below]) / (x[1] - x[0])
        return bends[self.value(x[below][:, None]) > 0.1] / np.abs(bends).max()

    @at_most(-1e-3, role="hypothesis", changed="within the part strict at first")
    def conditions(self) -> Number | None:
        """Of the loss on a line: F'' over the largest |F''| at the highest of its critical points above the minimum.

        (1) and (2); a difference of F' over 0.005 leaves 1e-4. Of the nets it is a part.
        """
        return Number(float(self.saddles.max()), 1e-3) if self.kind == UNBOUNDED else NOT_ASKED

    @at_most(-1e-3, sentence="shallow")
    def strict(self) -> Number | None:
        """The largest λ_min/|λ|_max among the critical points above the minimum of two-layer nets: (1) and (2) hold.

        Rounding leaves 1e-13.
        """
        return NOT_ASKED if self.kind in (DEPTH, UNBOUNDED) else Number(float(self.saddles.max()), 1e-12)

    @at_least(0.0, sentence="insufficient", exact=True)
    def non_strict(self) -> float | None:
        """The least eigenvalue of the Hessian at zero weights of three layers, over the largest entry of Y.

        Every product holds an exact zero.
        """
        return float(self.values_at_zero[0]) if self.kind == DEPTH and self.depth == 3 else NOT_ASKED

    @cached_property
    def values_at_zero(self) -> np.ndarray:
        """The eigenvalues of the Hessian at zero weights, ascending."""
        zero = self.problem.unravel(np.zeros(self.size))
        return np.linalg.eigvalsh(np.asarray(self.problem.hessian(zero)))

    @property
    def depth(self) -> int:
        """Layers."""
        return len(self.problem.network.widths) - 1

    @cached_property
    def exponent(self) -> Number:
        """−d log T/d log s from the two smallest starts, T the steps until the loss is halved; T is a whole number."""
        vectors, left = self.weights, np.full(len(self.weights), np.inf)
        for step in range(int(self.facts["steps"])):
            halved = self.value(vectors) <= 0.5 * self.unit
            left = np.where(halved & np.isinf(left), step, left)
            if np.isfinite(left).all():
                break
            vectors = vectors - float(self.facts["eta"]) * self.slope(vectors)
        return Number(float(np.log2(left[-1] / left[-2])), 2.0 * float(np.sum(1.0 / left[-2:])))

    @equals(1.0, within=0.15, sentence="insufficient")
    def start_matters(self) -> Number | None:
        """The exponent p of the steps that three layers need to leave 0, T ∝ s^{−p}, s the size of the start.

        1 as s → 0.
        """
        return self.exponent if self.kind == DEPTH and self.depth == 3 else NOT_ASKED

    @at_most(0.5, role="control")
    def logarithmic(self) -> Number | None:
        """The same of two layers, where T ∝ log 1/s.

        1/log(1/s), 0.24 at s = 1/64.
        """
        return self.exponent if self.kind == DEPTH and self.depth == 2 else NOT_ASKED

    def shown(self):
        if self.kind == DEPTH:
            return {}
        losses = np.clip(np.nan_to_num(self.losses / self.unit, nan=1e3, posinf=1e3), 1e-13, 1e3)
        # the start that ends highest
        worst = losses[:, int(np.argmax(losses[-1]))]
        return {"way": ("kept", np.linspace(0.0, 1.0, len(worst))), "level": ("kept", worst)}


class Printed(_Route):
    @at_most(0.1, sentence="converges")
    def converges(self) -> Number | None:
        """The share of starts from which descent does not end at the minimum.

        The printed sentence excepts no start, no step and no loss; 64 starts leave 6.9 %.
        """
        return NOT_ASKED if self.kind == DEPTH else self.failing


class Corrected(_Route):
    @at_most(1.0, role="hypothesis")
    def step(self) -> Number | None:
        """η times the largest λ_max on the way, (σ_1(W_1)² + σ_1(W_2)² + σ_1(Y − W_2W_1)) above it.

        The theorem of Lee et al. (2016) has η < 1/L.
        """
        if self.kind != RANDOM:
            return NOT_ASKED
        target = np.asarray(self.problem.data.targets).T
        worst = 0.0
        for vector in self.orbits.reshape(-1, self.size):
            first, second = linear_nets.layers(self.problem.network, vector)
            sizes = [np.linalg.norm(one, 2) for one in (first, second, target - second @ first)]
            worst = float(np.maximum(worst, sizes[0] ** 2 + sizes[1] ** 2 + sizes[2]))
        return Number(float(self.facts["eta"]) * worst, 1e-12)

    @at_most(10.0, role="hypothesis")
    def bounded(self) -> Number | None:
        """The largest ‖W‖ on the way over ‖W‖ + ‖Y‖ at the start.

        Bounded iterates: σ_i(Y) and the start bound a minimum that is reached.
        """
        if self.kind != RANDOM:
            return NOT_ASKED
        sizes = np.linalg.norm(self.orbits, axis=2)
        return Number(float(np.max(sizes / (sizes[0] + np.sqrt(2.0 * self.unit)))), 1e-12)

    @at_most(0.1, sentence="converges", changed="10⁴ steps at first: three starts of 64 were not there yet")
    def almost_all(self) -> Number | None:
        """The share of random starts from which descent does not end at the minimum.

        Zero almost surely; 64 starts leave 6.9 %.
        """
        return self.failing if self.kind == RANDOM else NOT_ASKED

    @at_most(0.1, sentence="converges", exact=True)
    def aside(self) -> float | None:
        """The same of starts on the stable manifold of the saddle that are moved by 1e-6.

        None: what is off the manifold grows like e^{yt}.
        """
        if self.kind != MANIFOLD:
            return NOT_ASKED
        moved = self.weights + ASIDE * np.array([1.0, 2.0])
        ends = self.descended(moved, float(self.facts["eta"]), 4 * int(self.facts["steps"]))[-1]
        return self.failed(self.value(ends)) / len(moved)

    @at_least(0.5, sentence="exceptions")
    def exceptions(self) -> Number | None:
        """The share of starts that fail: on the stable manifold, with a long step, without a bound of the iterates.

        All; none would if the hypothesis were not needed.
        """
        return NOT_ASKED if self.kind in (RANDOM, DEPTH) else self.failing


def _root(x, inputs):
    """f with f² = (x⁴ + 2x²)/(1 + x⁴)."""
    return x[0] * jnp.sqrt((x[0] ** 2 + 2.0) / (1.0 + x[0] ** 4)) * inputs


def _one(key):
    return jnp.ones(1)


def cases(key, *, widths, starts, steps):
    """Every loss, its starts and its step."""
    rng = generator(key)
    for shape in widths:
        problem = linear_net.reduced(rng, shape, half=True)
        vectors = np.stack(
            [linear_nets.flat(linear_net.gaussian(rng, shape, (0.5, 1.0)[i % 2])) for i in range(starts)]
        )
        facts = {"widths": "-".join(map(str, shape))}
        yield linear_net.recorded(problem, vectors, kind=RANDOM, **facts, eta=0.02, steps=steps)
        top = float(np.asarray(problem.data.targets).max())
        yield linear_net.recorded(problem, vectors, kind=LONG, **facts, eta=1.5 / top, steps=400)
    for y in (0.5, 1.0, 2.0):
        first = rng.uniform(0.3, 2.0, 8)
        eta = 0.05 / (y + 4.0)
        vectors = np.stack([first, -first], axis=1)
        yield linear_net.recorded(
            _scalar(2, y), vectors, kind=MANIFOLD, y=y, eta=eta, steps=round(20.0 / (y * eta))
        )
    line = Problem(
        Function(_root, _one, input_shape=1, outputs=1), Square(), Data(np.ones((1, 1)), np.zeros((1, 1)))
    )
    vectors = rng.uniform(1.5, 10.0, (starts, 1)) * rng.choice((-1.0, 1.0), (starts, 1))
    yield linear_net.recorded(line, vectors, kind=UNBOUNDED, eta=0.1, steps=2000)
    for depth in (2, 3):
        vectors = np.stack([np.full(depth, 0.5**k) for k in range(3, 7)])
        yield linear_net.recorded(_scalar(depth, 1.0), vectors, kind=DEPTH, N=depth, eta=0.05, steps=5000)


def _scalar(depth, y):
    return Problem(Dense.deep_linear((1,) * (depth + 1)), Square(half=True), Data([[1.0]], [[y]]))


STUDIES = tuple(
    study(
        name,
        look,
        cases,
        quick={"widths": ((3, 3, 2), (4, 2, 2)), "starts": 64, "steps": 40_000},
        full={"widths": ((3, 3, 2), (4, 2, 2), (5, 4, 3), (3, 5, 3)), "starts": 512},
        few={"widths": ((3, 3, 2),)},
        settings=section(__doc__, "Settings"),
        figure=Figure(
            Panel(
                "level",
                "way",
                "loss over that of zero weights",
                "share of the steps",
                by=("kind",),
                log="y",
                lines=True,
                each=1,
            ),
            caption="Of every loss the start that ends highest. All four losses have no critical point above the "
            "minimum but strict saddles and maxima; descent reaches the minimum of one.",
        ),
    )
    for name, look in (
        ("cohen.critical-point-route", Printed),
        ("cohen.critical-point-route-corrected", Corrected),
    )
)
