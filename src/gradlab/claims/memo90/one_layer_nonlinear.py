"""memo90.one-layer-nonlinear: one unit f(wᵀx) under the exponential loss, one layer of a deep net, and N eigenvalues.

Judged: (1) eq. 44, ∂²f = f'' x xᵀ; (2) that the Hessian of one unit has at most N distinct eigenvalues, “just like in
the linear case”: with zero, as printed, or without it, which is a way of counting; (3) that this holds for a deep net
of which one layer is optimised, the activation smooth; (4) the mapping, printed x'_n e^{−½ y_n w'ᵀx'_n} =
x_n √(f'(wᵀx_n)² − f''(wᵀx_n)) e^{−½ y_n wᵀx_n}, mended with y_n before f'' and f(wᵀx_n) in the exponent, and that the
mended root is real. What counts as a layer: its block of the Hessian of the risk, the others fixed.

Settings, before any run. Minima (decay 0.02, which the counts leave out) of one unit (tanh, smooth ReLU, a cubic and
the identity, the linear case) on N = 5 points in d = 6, with the labels of a teacher and with two of them flipped, and
of two-layer nets with three tanh or ReLU units on N = 3 points in d = 5. One unit (tanh, a cubic) on N = 9 points in
d = 2 with labels at random, of which some end on the wrong side.

Tolerances. Eigenvalues within 30 P eps‖H‖ are zero, or one; rounding of eigh and of the sums is about P eps‖H‖, and
what lies within a thousand times the bound is undecided, the error of a count. The two sides of a mapping differ by
rounding: 1e-8, where another radicand or exponent is O(1) off. The equation is solved for x'_n = c_n x_n by Lambert's
function, with w' = w, or 0 where there is no solution (w' is free).
"""

from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.analysis.equilibria import counting
from gradlab.analysis.equilibria.minimising import descend
from gradlab.analysis.linearisation import OneLayerMapping, one_layer_mapping, scales, unit
from gradlab.claims.cases import generator, point
from gradlab.claims.looks import Look
from gradlab.claims.looks.points import count
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study
from gradlab.observe.layers import layer_of
from gradlab.observe.local import automatic_hessian
from gradlab.problem.activations import Activation, Standard, polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense, Function
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: An eigenvalue is zero within this many P eps ‖H‖.
SAME = 30.0


class _Shared(Look):
    """The Hessian of the risk at the last weights, layer by layer; of one unit its slopes and curvatures."""

    setting = "one unit, or a chain of matrices with one output, under the exponential loss"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        network = problem.network
        chain = isinstance(network, Dense) and not network.bias and network.outputs == 1
        plain = isinstance(problem.loss, Exponential) and np.ndim(problem.decay) == 0
        return plain and (chain or _activation(network) is not None)

    @property
    def one_unit(self) -> bool:
        """Whether it is one unit; else a deep net."""
        return _activation(self.problem.network) is not None

    @property
    def examples(self) -> int:
        """N."""
        return int(self.problem.data.inputs.shape[0])

    @cached_property
    def hessian(self) -> np.ndarray:
        """∇² of the risk, without decay."""
        return automatic_hessian(self.problem, self.end) - float(self.problem.decay) * np.eye(self.size)

    @cached_property
    def layers(self) -> list[tuple[int, np.ndarray]]:
        """Of every layer: its units below a smooth activation, or 1, and the eigenvalues of its Hessian."""
        network, place = self.problem.network, layer_of(self.problem.network)
        found = []
        for k in range(int(place.max()) + 1):
            below = isinstance(network, Dense) and k < place.max() and network.smooth
            units = network.widths[k + 1] if isinstance(network, Dense) and below else 1
            found.append((units, np.linalg.eigvalsh(self.hessian[np.ix_(place == k, place == k)])))
        return found

    @cached_property
    def slopes(self) -> tuple[np.ndarray, ...]:
        """f, f', f'' of one unit at every z_n = wᵀx_n."""
        sigma: Any = _activation(self.problem.network)
        z = np.asarray(self.problem.data.inputs) @ self.end
        return tuple(sigma.derivative(z, order) for order in range(3))

    @cached_property
    def curvatures(self) -> np.ndarray:
        """∂²f(wᵀx_n)/∂w∂w of one unit, by automatic differentiation in w: (N, d, d)."""
        return _curvatures(_activation(self.problem.network), self.end, np.asarray(self.problem.data.inputs))

    @cached_property
    def mended(self) -> OneLayerMapping:
        """The mended mapping at w' = w, or at 0 where that has no solution."""
        found = one_layer_mapping(self.problem, self.end)
        return found if found.problem else one_layer_mapping(self.problem, self.end, np.zeros_like(self.end))

    def missed(self, factors: np.ndarray, image: np.ndarray) -> Number:
        """‖H' − H‖/‖H‖, H' of the linear net on c_n x_n at w'."""
        data = Data(factors[:, None] * self.problem.data.inputs, np.sign(self.problem.data.targets))
        linear = automatic_hessian(Problem(Dense((self.size, 1)), self.problem.loss, data), image)
        return Number(
            float(np.linalg.norm(linear - self.hessian) / np.linalg.norm(self.hessian)), 1e-13 * self.size
        )

    def nonzero_beyond(self, by_units: bool) -> Number:
        """Non-zero eigenvalues of a layer's Hessian less N, or less N h; the worst layer."""
        found = []
        for units, values in self.layers:
            null = counting.kernel(values, _bound(values))
            less = self.examples * (units if by_units else 1)
            found.append(count(counting.Count(len(values) - null.number, null.error), less))
        return max(found, key=lambda one: one.value + one.error)

    @at_most(1e-10, sentence="formula")
    def formula(self) -> Number | None:
        """‖∂²f − f'' x xᵀ‖/(‖f'' x xᵀ‖ + ‖∂f ∂fᵀ‖) of one unit, the worst example whose f'' is resolved.

        Rounding of a second derivative; f'' of a saturated unit is a difference of numbers of size one.
        """
        if not self.one_unit:
            return NOT_ASKED
        x, (_, first, second) = np.asarray(self.problem.data.inputs), self.slopes
        outer = x[:, :, None] * x[:, None, :]
        lengths = np.linalg.norm(outer, axis=(1, 2))
        sizes = (np.abs(second) + first**2) * lengths
        gaps = np.linalg.norm(self.curvatures - second[:, None, None] * outer, axis=(1, 2))
        rounding = 64.0 * EPS * lengths / sizes
        resolved = rounding <= 1e-11
        resolved = resolved if resolved.any() else np.full_like(resolved, True)
        return Number(float(np.max((gaps / sizes)[resolved])), float(np.max(rounding[resolved])))

    @at_most(1e-8, sentence="mapping")
    def mapped(self) -> Number | None:
        """One unit: ‖H' − H‖/‖H‖, H' of the linear net on the mended x'_n, where its root is real.

        Rounding; a wrong factor of the data is O(1).
        """
        if not self.one_unit or self.mended.problem is None:
            return NOT_ASKED
        return self.missed(self.mended.factors, self.mended.weights)

    def shown(self):
        worst = self.nonzero_beyond(by_units=False).value + self.examples
        return {
            "kind": self.facts["net"] if not self.one_unit else "one unit",
            "N": self.examples,
            "nonzero_most": worst,
        }


class OneLayerNonlinearPrinted(_Shared):
    @at_least(0.5, role="hypothesis", exact=True)
    def smooth(self) -> float:
        """One where the activation is smooth.

        The network says so.
        """
        return float(self.problem.network.smooth)

    @at_most(0.0, sentence="distinct")
    def nonzero(self) -> Number | None:
        """One unit: non-zero eigenvalues less N.

        A count; its error is the number of undecided eigenvalues.
        """
        return self.nonzero_beyond(by_units=False) if self.one_unit else NOT_ASKED

    @at_most(0.0, sentence="distinct", role="print", repaired="nonzero")
    def distinct(self) -> Number | None:
        """One unit: distinct eigenvalues, zero among them, less N.

        A count, as above.
        """
        if not self.one_unit:
            return NOT_ASKED
        values = self.layers[0][1]
        return count(counting.distinct(values, _bound(values)), self.examples)

    @at_most(0.0, sentence="layer")
    def layer(self) -> Number | None:
        """Deep nets: non-zero eigenvalues of a layer's Hessian less N; the worst layer.

        A count, as above.
        """
        return NOT_ASKED if self.one_unit else self.nonzero_beyond(by_units=False)

    @at_least(0.0, sentence="mapping")
    def real(self) -> Number | None:
        """One unit: the smallest (f'² − y f'')/(f'² + |f''|) of all examples, the mended root's radicand.

        A real root has none below zero.
        """
        if not self.one_unit:
            return NOT_ASKED
        y, (_, first, second) = np.asarray(self.problem.data.targets), self.slopes
        return Number(float(np.min((first**2 - y * second) / (first**2 + np.abs(second)))), 64.0 * EPS)

    @at_most(1e-8, sentence="mapping", role="print", repaired="mapped")
    def mapping(self) -> Number | None:
        """One unit: ‖H' − H‖/‖H‖, H' of the linear net on the printed x'_n, where the printed root is real.

        Rounding; a wrong factor of the data is O(1).
        """
        if not self.one_unit or (self.slopes[1] ** 2 < self.slopes[2]).any():
            return NOT_ASKED
        x, y, w = np.asarray(self.problem.data.inputs), np.asarray(self.problem.data.targets), self.end
        size = np.sqrt(self.slopes[1] ** 2 - self.slopes[2]) * np.exp(-0.5 * y * (x @ w))
        for image in (w, np.zeros_like(w)):
            factors = scales(0.5 * y * (x @ image), size)
            if np.isfinite(factors).all():
                return self.missed(factors, image)
        return Number(np.nan)


class OneLayerNonlinearCorrected(_Shared):
    @at_most(0.0, sentence="rank")
    def rank(self) -> Number:
        """Non-zero eigenvalues of a layer's Hessian less N h, h its units below a smooth activation, else 1; the worst.

        A count; its error is the number of undecided eigenvalues.
        """
        return self.nonzero_beyond(by_units=True)


def _activation(network: Any) -> Activation | None:
    found = getattr(getattr(network, "apply", None), "activation", None)
    return found if isinstance(network, Function) and isinstance(found, Activation) else None


def _bound(values: np.ndarray) -> float:
    return SAME * len(values) * EPS * float(np.max(np.abs(values)))


@float64
def _curvatures(sigma: Any, w: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.asarray(_second(sigma, w, x))


@eqx.filter_jit
def _second(sigma: Any, w: Any, x: Any) -> Any:
    return jax.vmap(jax.hessian(lambda v, row: sigma(row @ v)), (None, 0))(w, x)


DECAY, TEACHER, AT_RANDOM = 0.02, "labels of a teacher", "labels at random"
UNITS = (
    ("tanh", Standard("tanh")),
    ("smooth ReLU", smooth_relu(0.5)),
    ("z + z³/5", polynomial((0.0, 1.0, 0.0, 0.2))),
    ("linear", Standard("identity")),
)


def _unit_problem(random, activation, labels):
    examples, size = (9, 2) if labels == AT_RANDOM else (5, 6)
    x = random.standard_normal((examples, size))
    y = np.where(x @ random.standard_normal(size) > 0.0, 1.0, -1.0)
    if labels != TEACHER:
        y[:2] *= -1.0
    if labels == AT_RANDOM:
        y = random.permutation(y)
    return Problem(unit(activation, size), Exponential(), Data(x, y), DECAY)


def _deep_problem(random, activation):
    x = random.standard_normal((3, 5))
    y = np.where(random.standard_normal(3) > 0.0, 1.0, -1.0)
    return Problem(Dense((5, 3, 1), activation), Exponential(), Data(x, y), DECAY)


def cases(key, *, rounds):
    """Units with labels of both kinds, then nets of two layers, at minima."""
    random = generator(key)
    for draw in range(1, rounds + 1):
        for name, activation in UNITS:
            for labels in (TEACHER, "two labels flipped"):
                yield _unit(random, name, activation, labels, draw)
        for name in ("tanh", "relu"):
            problem = _deep_problem(random, name)
            end = descend(problem, random.standard_normal(problem.size))
            yield point(problem, end, net=f"two layers, {name}", labels=AT_RANDOM, draw=draw)
    for draw in range(1, rounds + 1):
        for name, activation in UNITS[::2]:
            yield _unit(random, name, activation, AT_RANDOM, draw)


def _unit(random, name, activation, labels, draw):
    problem = _unit_problem(random, activation, labels)
    end = descend(problem, 0.5 * random.standard_normal(problem.size))
    return point(problem, end, net=f"one unit, {name}", labels=labels, draw=draw)


def _figure(miss, caption):
    """Eigenvalues against N, and how far a mapping misses the Hessian."""
    eigenvalues = Panel(
        "nonzero_most",
        "N",
        "non-zero eigenvalues\nof the worst layer's Hessian",
        "examples N",
        by=("kind",),
        diagonal=True,
    )
    missed = Panel(
        miss,
        "case",
        r"$\|H'-H\|/\|H\|$",
        "case (one unit)",
        by=("net",),
        log="y",
        floor=1e-17,
        reference={"tolerance": 1e-8},
    )
    return Figure(
        eigenvalues,
        missed,
        caption="Left: one layer of three smooth units below another has more than N non-zero eigenvalues (the line), "
        "one unit and piecewise-linear layers have not. Right: the Hessian of the linear net on the mapped data, by "
        f"{caption}.",
    )


BUDGETS = {"quick": {"rounds": 2}, "full": {"rounds": 10}, "few": {"rounds": 1}}
STUDIES = tuple(
    study(name, look, cases, figure=_figure(*panel), settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look, panel in (
        (
            "memo90.one-layer-nonlinear",
            OneLayerNonlinearPrinted,
            ("mapping", "the printed equation where its root is real"),
        ),
        (
            "memo90.one-layer-nonlinear-corrected",
            OneLayerNonlinearCorrected,
            ("mapped", "the mended equation where its root is real"),
        ),
    )
)
