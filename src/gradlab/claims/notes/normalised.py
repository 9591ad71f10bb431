"""notes.normalised: the gradient flow in (ρ, w̃), every printed equation along the flow, and the orbit itself.

What is judged. Of the lecture notes ("Normalization"): ∂‖w‖/∂w = w̃, S = ∂w̃/∂w = (I − w̃w̃ᵀ)/‖w‖, Sw = Sw̃ = 0, ρ̇ = w̃·ẇ,
w̃̇ = Sẇ, and under the exponential loss ρ̇ = Σ e^{−ρf̃} f̃, w̃̇ = Σ e^{−ρf̃}/ρ (∂f̃/∂w̃ − w̃f̃), the linear case with x_n for
∂f̃/∂w̃ (the handwritten denominator reads Z or ρ; the linear case prints ρ). These decide. What memo90 prints in section
12.2, 5 is a sentence of its own, of which only the print is judged: (a), (c)–(e), the splitting of ∂f/∂w and eqs. 37–42
are right, but (b) prints S = (I − wwᵀ)/‖w‖ (though what is said of its eigenvalues means w̃w̃ᵀ), and eq. 43 divides by
‖w̃‖, which is one. notes.normalised-corrected has the right denominators; the derivation is in
docs/notes/notes.normalised.md. w is the vector of one layer, as memo90 says, the other layers held; every layer is
looked at. What memo90 concludes (ρ̇ > 0, ρ̇ → 0) belongs to memo90.norm-growth.

How. Velocities of ‖w‖ and w/‖w‖ are derivatives along −∇L of the very functions by a complex step, exact to rounding;
−∇L, ∇²L, ∂f, ∂²f by automatic differentiation; ∂f̃/∂w̃ is ∂f/∂w with the layer at w̃. Differences are in units of what
Σ e^{−y_n f_n} ‖∂f_n/∂w‖ alone would give (over ρ for w̃), so that neither a fit nor an equilibrium makes 0/0.

Settings, before any run. The plain flow and the flow of the library's (ρ_k, V_k) chart from the same 20 starts of a
one-layer linear net (N = 6, d = 10: random, repeated points, rank 3) and 12 of a deep one (5, 4, 1; N = 12), by dopri8
at 1e-10 to t = 10⁴; three points each of 9 ReLU nets (6, 3, 5, 1) and of 9 one-layer nets with N > d. Standard
deviations are 0.3, 1 and 3 times He's, so that ‖w‖ is not one. The full budget has five times as many.

Tolerances. Rounding of a sum of N terms of P products, exponents rounded at eps ρf̃: 1e-13 at most; 1e-10 leaves three
decades. Orbits: 1e-10 a step, some 1000 steps, growth of differences in a flow to a minimum of order ten: 1e-6.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.flows import Beside
from gradlab.claims.looks.polar import LayerRecords, relative
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net, polar
from gradlab.claims.studies import section, study
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import at
from gradlab.observe.local import Differentials, Scalars, coordinates, differentials
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense, Network
from gradlab.problem.problem import Problem

#: Records of a case at which the equations are looked at, at most, and columns of the Hessian.
LOOKED_AT, COLUMNS = 6, 48
RECORDS = np.geomspace(1e-2, 1e4, 13)


def _norm(values: Any) -> float:
    return float(np.linalg.norm(values))


def complex_step(w: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of ‖w‖ and w/‖w‖ along each row of ``motion``, by f(w + ih v) = f + ih f' + O(h²), h = 1e-100."""
    moved = w + 1e-100j * motion / (scale := float(np.max(np.abs(motion))) or 1.0)
    norm = np.sqrt(np.sum(moved**2, axis=-1))
    return norm.imag * 1e100 * scale, (moved / norm[..., None]).imag * 1e100 * scale


class _Shared(LayerRecords):
    """Margins, gradients of y f, their changes along coordinates, −∇L and ∇²L's columns at a few records."""

    setting = "the loss Σ e^{−yf} and no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is that."""
        loss, decay = problem.loss, np.asarray(problem.decay)
        return (
            isinstance(loss, Exponential)
            and loss.reduction == "sum"
            and problem.factor == 1.0
            and not decay.any()
        )

    @cached_property
    def columns(self) -> np.ndarray:
        """Coordinates along which ∇²L and ∂²f are taken."""
        return coordinates(self.problem, COLUMNS)

    @cached_property
    def points(self) -> list[tuple[np.ndarray, Differentials]]:
        """Weights, and all derivatives there along the columns and with each layer in turn normalised."""
        found, scalars = [], Scalars((self.problem.loss,), (self.problem.data.targets,))
        count = self.columns.size
        for i in np.unique(np.linspace(0, len(self.weights) - 1, LOOKED_AT).astype(int)):
            vector = self.weights[i]
            points = np.tile(vector, (count + self.lengths.shape[1], 1))
            for k, rho in enumerate(self.lengths[i]):
                points[count + k, self.layer == k] /= rho or 1.0
            directions = np.zeros_like(points)
            directions[np.arange(count), self.columns] = 1.0
            found.append((vector, differentials(self.problem, scalars, points, directions)))
        return found

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """The defect of every equation, and its rounding, in every layer that is not zero, where L > 1e-280."""
        rows, labels = [], np.asarray(self.problem.data.targets)
        for vector, seen in self.points:
            margins = labels * seen.values[0, :-1]
            if np.sum(np.exp(-margins)) > 1e-280:
                layers = range(self.lengths.shape[1])
                rows += [
                    self._row(k, vector, margins, seen) for k in layers if np.any(vector[self.layer == k])
                ]
        return rows

    def along(self, w: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of ‖w‖ and w̃ along each row of ``motion``."""
        return complex_step(w, motion)

    def _row(self, k: int, vector: np.ndarray, margins: np.ndarray, seen: Differentials) -> dict[str, float]:
        labels, mask, count = np.asarray(self.problem.data.targets), self.layer == k, self.columns.size
        df, velocity = (labels[:, None] * seen.gradients[0, :-1])[:, mask], -seen.gradients[0, -1][mask]
        w = vector[mask]
        rho = _norm(w)
        tilde, f_tilde = w / rho, labels * seen.values[count + k, :-1]
        df_tilde = labels[:, None] * seen.gradients[count + k, :-1][:, mask]
        weights, weights_tilde = np.exp(-margins), np.exp(-rho * f_tilde)
        sizes = np.linalg.norm(df, axis=1)
        unit = float(weights @ sizes) or 1.0
        identity = np.eye(w.size)
        d_norm, d_tilde = self.along(w, identity)
        ((rho_dot,), (tilde_dot,)) = self.along(w, velocity[None])
        project = identity - np.outer(tilde, tilde)
        s, b, literal = project / rho, weights_tilde @ df_tilde, (identity - np.outer(w, w)) / rho
        split = np.outer(f_tilde, tilde) + rho * df_tilde @ s.T
        gap, whole = _norm(split - df), _norm(df)
        pieces = (d_norm - tilde) / rho, d_tilde - s, s @ w, rho * s @ s - s, tilde @ d_tilde
        closed = weights_tilde @ (df_tilde - np.outer(f_tilde, tilde)) / rho
        return {
            "norm": rho,
            "rounding": EPS * (w.size + len(df) + 4.0 * float(np.max(np.abs(margins)))),
            "degree": float(np.max(np.abs(df @ w - margins) / np.where(sizes > 0.0, rho * sizes, 1.0))),
            "chart": rho * float(np.max([_norm(piece) for piece in pieces])),
            "memo_s": _norm(literal - d_tilde) / (_norm(literal) + _norm(d_tilde)),
            "velocity": _norm(weights @ df - velocity) / unit,
            "hessian": self._hessian(mask, labels, weights, seen),
            "polar": max(abs(tilde @ velocity - rho_dot), rho * _norm(s @ velocity - tilde_dot)) / unit,
            "split": relative(gap, whole),
            "rho": abs(weights_tilde @ f_tilde - rho_dot) / unit,
            "direction": rho * _norm(closed - tilde_dot) / unit,
            "memo_43": rho * _norm(project @ b - tilde_dot) / unit,
            "right_43": rho * _norm(s @ b - tilde_dot) / unit,
        }

    def _hessian(
        self, mask: np.ndarray, labels: np.ndarray, weights: np.ndarray, seen: Differentials
    ) -> float:
        """Eq. 38's columns of one layer against ∇²L, relative to the sizes of its two terms."""
        own = mask[self.columns]
        if not own.any():
            return 0.0
        df, changes = labels[:, None] * seen.gradients[0, :-1], seen.changes[: self.columns.size][own]
        first = (df[:, self.columns[own]].T * weights) @ df[:, mask]
        second = np.einsum("n,cnp->cp", weights, labels[:, None] * changes[:, :-1][:, :, mask])
        return relative(_norm(first - second - changes[:, -1][:, mask]), _norm(first) + _norm(second))

    def worst(self, name: str) -> Number | None:
        """The largest defect of an equation, with the largest rounding."""
        if not self.rows:
            return NOT_ASKED
        worst, rounding = (float(np.max([row[one] for row in self.rows])) for one in (name, "rounding"))
        # a record that is no number has no row
        return Number(worst if np.isfinite(self.weights).all() else np.nan, rounding)

    @cached_property
    def other(self) -> Beside | None:
        """The orbit of the flow in the chart (ρ_k, V_k)."""
        return self.beside(lambda: NormalisedFlow(self.problem))

    @property
    def within(self) -> float:
        """The tolerance of orbits: of smooth fields, and of fields with kinks, whose crossing costs a step's length."""
        return 1e-6 if self.problem.network.smooth else 1e-2

    @at_least(1.0, role="hypothesis", exact=True)
    def alive(self) -> float:
        """At how many records and layers the loss is above 1e-280.

        A count; below it exponentials underflow.
        """
        return float(len(self.rows))

    @at_most(1e-9, role="hypothesis")
    def degree(self) -> Number | None:
        """|⟨w, ∂f/∂w⟩ − f| relative to ‖w‖‖∂f/∂w‖, over layers.

        Zero for a layer of degree one, of order one for any other.
        """
        return self.worst("degree")

    @at_most(1e-10, sentence="chart")
    def chart(self) -> Number | None:
        """∂‖w‖/∂w = w̃, ∂w̃/∂w = S with w̃w̃ᵀ, Sw = 0, ‖w‖S² = S, ∂‖w̃‖²/∂w = 0, in units of 1/‖w‖.

        Rounding, see the module's docstring.
        """
        return self.worst("chart")

    @at_most(1e-10, sentence="polar")
    def polar(self) -> Number | None:
        """ρ̇ = w̃·ẇ and w̃̇ = Sẇ with the S of the notes (memo90 eqs. 39, 40).

        Rounding, see the module's docstring.
        """
        return self.worst("polar")

    @at_most(1e-10, sentence="exponential")
    def velocity(self) -> Number | None:
        """ẇ = Σ y ∂f/∂w e^{−yf} is −∇L (memo90 eq. 37).

        Rounding, see the module's docstring.
        """
        return self.worst("velocity")

    @at_most(1e-10, sentence="exponential")
    def rho(self) -> Number | None:
        """ρ̇ = Σ e^{−ρf̃} f̃ (memo90 eq. 41).

        Rounding, see the module's docstring.
        """
        return self.worst("rho")

    @at_most(1e-10, sentence="exponential")
    def direction(self) -> Number | None:
        """w̃̇ = Σ e^{−ρf̃}/ρ (∂f̃/∂w̃ − w̃f̃), as the notes print it.

        Rounding, see the module's docstring.
        """
        return self.worst("direction")

    @at_most(1e-6, sentence="orbit")
    def orbit(self) -> Number | None:
        """Distance of W(t) by the (ρ, V) flow from W(t) by the plain flow, relative to ‖W‖, over records.

        Two solves at 1e-10 a step, see the module's docstring; 1e-2 for a field with kinks.
        """
        if self.other is None:
            return NOT_ASKED
        ours = self.weights[: len(self.other.weights)]
        size = np.linalg.norm(ours, axis=1)
        gaps, lost = (
            np.linalg.norm(one, axis=1) / size for one in (ours - self.other.weights, self.other.errors)
        )
        return Number(float(np.max(gaps)), float(np.max(lost)), self.within)

    @at_most(1e-6, sentence="orbit")
    def unit(self) -> Number | None:
        """|‖V_k‖ − 1| along the (ρ, V) flow.

        As for the orbit.
        """
        return NOT_ASKED if self.other is None else Number(float(np.max(self.other.unit)), EPS, self.within)

    def shown(self):
        names = ("norm", "memo_43")
        return {f"{name}_of": ("point", np.asarray([row[name] for row in self.rows])) for name in names}


class NormalisedPrinted(_Shared):
    @at_most(1e-10, sentence="memo", role="print")
    def split(self) -> Number | None:
        """memo90: ∂f/∂w = w̃f̃ + ‖w‖ S ∂f̃/∂w̃.

        Rounding, see the module's docstring.
        """
        return self.worst("split")

    @at_most(1e-10, sentence="memo", role="print")
    def hessian(self) -> Number | None:
        """memo90 eq. 38: Σ e^{−f}(∂f∂fᵀ − ∂²f) is ∇²L in each layer.

        Rounding, see the module's docstring.
        """
        return self.worst("hessian")

    @at_most(1e-10, sentence="memo", role="print", repaired="chart")
    def memo_s(self) -> Number | None:
        """memo90 (b): ∂w̃/∂w = (I − wwᵀ)/‖w‖, in units of 1/‖w‖.

        Rounding, see the module's docstring.
        """
        return self.worst("memo_s")

    @at_most(1e-10, sentence="memo", role="print", repaired="direction")
    def memo_43(self) -> Number | None:
        """memo90 eq. 43: w̃̇ = (I − w̃w̃ᵀ)B̃/‖w̃‖.

        Rounding, see the module's docstring.
        """
        return self.worst("memo_43")


class NormalisedCorrected(_Shared):
    @at_most(1e-10, sentence="memo")
    def split(self) -> Number | None:
        """∂f/∂w = w̃f̃ + ‖w‖ S ∂f̃/∂w̃.

        Rounding, see the module's docstring.
        """
        return self.worst("split")

    @at_most(1e-10, sentence="memo")
    def hessian(self) -> Number | None:
        """Eq. 38: Σ e^{−f}(∂f∂fᵀ − ∂²f) is ∇²L in each layer.

        Rounding, see the module's docstring.
        """
        return self.worst("hessian")

    @at_most(1e-10, sentence="memo")
    def right_43(self) -> Number | None:
        """Eq. 43 with ‖w‖: w̃̇ = (I − w̃w̃ᵀ)B̃/‖w‖.

        Rounding, see the module's docstring.
        """
        return self.worst("right_43")


#: Flows: widths, number of points. Points without dynamics: network, number of points.
FLOWS = {"one layer": ((10, 1), 6), "deep linear": ((5, 4, 1), 12)}
STILL = {"ReLU": (Dense((6, 3, 5, 1), "relu"), 14), "one layer, N > d": (Dense((4, 1), "identity"), 12)}
SCALES = (0.3, 1.0, 3.0)


def _problem(rng: np.random.Generator, network: Network, count: int, kind: str) -> Problem:
    """Inputs of a kind with the labels of a random direction."""
    x = linear_net.linear_inputs(rng, count, network.input_shape[0], kind)
    labels = np.where(x @ rng.standard_normal(network.input_shape[0]) > 0.0, 1.0, -1.0)
    return Problem(network, Exponential(), Data(x, labels))


def _start(rng: np.random.Generator, network: Network, scale: float) -> Any:
    """``scale`` times He's standard deviation."""
    shapes = [shape.shape for shape in network.shapes()]
    return tuple(scale * np.sqrt(2.0 / shape[1]) * rng.standard_normal(shape) for shape in shapes)


def cases(key, *, members, still):
    """Both flows of two architectures, four compiled solves; then points of other nets."""
    rng = generator(key)
    for (name, (widths, count)), many in zip(FLOWS.items(), members, strict=True):
        network, drawn = Dense(widths, "identity"), []
        for i in range(many):
            kind = polar.INPUTS[i % 3]
            problem = _problem(rng, network, count, kind)
            facts = {"net": name, "inputs": kind, "draw": i + 1}
            drawn.append((problem, _start(rng, network, SCALES[i // 3 % 3]), facts))
        yield from polar.side_by_side(NormalisedFlow, drawn, RECORDS, Adaptive("dopri8", 1e-10))
    for name, (network, count) in STILL.items():
        for i in range(still):
            kind = polar.INPUTS[i % 3]
            problem = _problem(rng, network, count, kind)
            starts = [_start(rng, network, scale) for scale in SCALES]
            yield case(problem, at(problem, starts, ()), net=name, inputs=kind, draw=i + 1)


FIGURE = Figure(
    Panel(
        "memo_43_of",
        "norm_of",
        "memo90's eq. 43, defect relative",
        "‖w‖ of a layer",
        by=("net",),
        log="xy",
        floor=1e-17,
        reference={"tolerance": 1e-10},
    ),
    Panel(
        "orbit",
        "case",
        "distance of the orbits, relative",
        "case",
        by=("net",),
        log="y",
        floor=1e-17,
        reference={"tolerance": 1e-6},
    ),
    caption="Left: what memo90 prints in eq. 43 against the derivative along the flow, layer by layer: right only "
    "where ‖w‖ = 1. Right: W(t) by the (ρ, V) flow from W(t) by the plain flow, at most over t ≤ 10⁴.",
)
STUDIES = tuple(
    study(
        name,
        look,
        cases,
        quick={"members": (20, 12), "still": 9},
        full={"members": (100, 60), "still": 45},
        few={"members": (2, 2), "still": 1},
        settings=section(__doc__, "Settings"),
        figure=FIGURE,
    )
    for name, look in (
        ("notes.normalised", NormalisedPrinted),
        ("notes.normalised-corrected", NormalisedCorrected),
    )
)
