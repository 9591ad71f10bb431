"""notes.deep-linear: what of one linear layer holds similarly for several.

Printed, after ① the regularised minimum is hyperbolic, independent of initial conditions, and one can perturb and get
back to the same W, ② the implicit one is degenerate and moved by perturbations, and after the minimum norm from W ≈ 0:
"A similar situation holds for multilayer linear networks." W is read as the product W_K ⋯ W_1, "hyperbolic" of the
layers, whose dynamics it is about.

What is judged. From small weights: W(1 − X⁺X) = W_K ⋯ W_2 W_1(0)(1 − X⁺X), since what no example sees of W_1 rests; so
W is as near to YX⁺ as the start is small. With decay: kicks, two starts of one problem, and the zeros of ∇²L at the
minimum. Without: kicks.

False are two sentences. *Hyperbolic*: rotations Q W_1, W_2 Qᵀ of two hidden units or more keep risk and norms, and
their directions are zeros for every λ. *Independent of initial conditions*, from three layers on: W = 0 is then a
minimum of its own with ∇²L = λ, and small starts go there. With two layers there is no other minimum
(docs/notes/notes.deep-linear.md; the smallest cases are docs/proofs/notes.deep-linear.py).

Settings, before any run. ½Σ; X with orthonormal rows, 4 examples of 6 inputs, 2 outputs, hidden widths 3. Small starts
of size 1e-3 (2 layers), 2e-2 (3), T = 3000. λ = 0.2; kicks of norm 0.3, 300 apart; two starts of size 0.7 and 0.05.
dopri8 at 1e-10.

Tolerances. As in notes.norm-control: 1e-6 where a return is claimed, 1e-3 where a motion is; the closeness to YX⁺ is
what rests of W_1, since all else is fitted. A zero is below 1e-7 of the largest
eigenvalue; no other may be below 1e-4.
"""

from functools import cached_property
from itertools import pairwise

import jax
import numpy as np

from gradlab.analysis import linear_nets
from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.kicked import ZERO, Kicked
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.kicked import struck
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

SMALL, TWO, DECAYED, BARE = "small start", "two starts", "kicked, λ > 0", "kicked, λ = 0"
#: No eigenvalue but a zero is below this part of the largest.
CLEAR = 1e-4


class DeepLinearCorrected(Kicked):
    """One run: from a small start, from one of two, or kicked."""

    setting = "a linear net of two layers or more under the square loss"
    least_depth = 2

    @cached_property
    def run(self) -> str:
        """Which of the four."""
        return str(self.facts["run"])

    @property
    def meant(self) -> bool:
        """Whether the run is one that should be kicked."""
        return self.run in (DECAYED, BARE)

    @cached_property
    def least_norm(self) -> np.ndarray:
        """YX⁺, (C, d)."""
        return self.targets.T @ np.linalg.pinv(self.inputs).T

    @cached_property
    def resting(self) -> float:
        """‖W_K ⋯ W_2‖ ‖W_1(0)‖ at the end."""
        above = linear_nets.end_to_end(self.matrices[-1][1:])
        return float(np.linalg.norm(above, 2) * np.linalg.norm(self.matrices[0][0]))

    @cached_property
    def beside(self) -> np.ndarray:
        """W(1 − X⁺X) at the end."""
        product = self.products[-1]
        return product - product @ np.linalg.pinv(self.inputs) @ self.inputs

    @cached_property
    def zeros(self) -> Number:
        """Zero eigenvalues of ∇²L at the end; undecided are those that are neither."""
        last = np.abs(self.spectra[-1]) / np.abs(self.spectra[-1]).max()
        zero, unclear = int((last < ZERO).sum()), int(((last >= ZERO) & (last < CLEAR)).sum())
        return Number(float(zero), float(unclear), exact=True)

    @cached_property
    def rotations(self) -> float:
        """The dimension of the orbit of the layers under rotations of hidden units."""
        found = 0.0
        for below, above in pairwise(self.matrices[-1]):
            h = len(below)
            joint = np.linalg.svd(np.concatenate([below, above.T], axis=1), compute_uv=False)
            idle = h - int((joint > 1e-4 * max(joint[0], 1.0)).sum())
            found += 0.5 * (h * (h - 1) - idle * (idle - 1))
        return found

    @cached_property
    def at_zero(self) -> np.ndarray:
        """Eigenvalues of ∇²L at W = 0."""
        return np.linalg.eigvalsh(np.asarray(self.problem.hessian(self.tree(np.zeros(self.size)))))

    @at_most(1e-6, role="hypothesis")
    def fitted(self) -> float | None:
        """‖WX − Y‖/‖Y‖ at the end, from a small start: the flow has arrived.

        Y is fitted exactly by W of full rank; 1e-6 is far below what the start leaves.
        """
        if self.run != SMALL:
            return NOT_ASKED
        gap = self.products[-1] @ self.inputs.T - self.targets.T
        return float(np.linalg.norm(gap) / np.linalg.norm(self.targets))

    @at_most(1.0 + 1e-6, sentence="min_norm")
    def rests(self) -> Number | None:
        """‖W(1 − X⁺X)‖ at the end over ‖W_K ⋯ W_2‖ ‖W_1(0)‖, from a small start.

        At most 1, since W_1(1 − X⁺X) rests.
        """
        if self.run != SMALL:
            return NOT_ASKED
        return Number(float(np.linalg.norm(self.beside)) / self.resting, EPS * self.steps)

    @at_most(0.0, sentence="min_norm")
    def near(self) -> Number | None:
        """‖W − YX⁺‖ at the end, from a small start; allowed is ‖W_K ⋯ W_2‖ ‖W_1(0)‖.

        The tolerance is the case's own: what rests of W_1; the rest is fitted.
        """
        if self.run != SMALL:
            return NOT_ASKED
        gap = float(np.linalg.norm(self.products[-1] - self.least_norm))
        return Number(gap, EPS * self.steps, tolerance=(1.0 + 1e-6) * self.resting)

    @at_most(1e-6, sentence="returns")
    def returns(self) -> Number | None:
        """Largest change of the product by a kick, settled, with decay.

        0 in theory; a solver at 1e-10 a step leaves 1e-9.
        """
        return self.worst(self.moved) if self.run == DECAYED else NOT_ASKED

    @at_least(1e-3, sentence="moves")
    def moves(self) -> Number | None:
        """Least change of the product by a kick, settled, without decay.

        A thousand times what a return may miss.
        """
        return self.least() if self.run == BARE else NOT_ASKED

    def apart(self) -> Number:
        """The distance of the product from that of the other start, over the larger norm."""
        if np.array_equal(self.end, self.trajectory["other"].values):
            return Number(np.nan)  # one run twice, and no two starts
        other = linear_nets.layers(self.network, self.trajectory["other"].values)
        ends = self.products[-1], np.asarray(linear_nets.end_to_end(other))
        size = max(float(np.linalg.norm(end)) for end in ends)
        return Number(float(np.linalg.norm(ends[0] - ends[1])) / size, EPS * self.steps)

    def shown(self):
        what = self.least_norm if self.run in (SMALL, BARE) else self.products[0]
        gap = float(np.linalg.norm(self.products[-1] - what) / np.linalg.norm(self.least_norm))
        moved = float(self.relative(self.moved).max()) if len(self.struck) else gap
        return {"depth": float(self.depth), "seen": self.apart().value if self.run == TWO else moved}


class DeepLinearPrinted(DeepLinearCorrected):
    @at_most(0.5, sentence="hyperbolic")
    def hyperbolic(self) -> Number | None:
        """Zero eigenvalues of ∇²L at the end, of the layers, with decay.

        A whole number; its error are eigenvalues that are neither zero nor clear of it.
        """
        return self.zeros if self.run == DECAYED else NOT_ASKED

    @at_most(1e-6, sentence="independent")
    def independent(self) -> Number | None:
        """The distance of the products that two starts lead to, with decay, over the larger norm.

        As for returns.
        """
        return self.apart() if self.run == TWO else NOT_ASKED


class DeepLinear(DeepLinearCorrected):
    @equals(0.0, within=0.5, sentence="hyperbolic")
    def beyond_rotations(self) -> Number | None:
        """Zero eigenvalues of ∇²L at the end less the dimension of rotations, with decay.

        A whole number, as decided as the zeros are.
        """
        if self.run != DECAYED:
            return NOT_ASKED
        return self.zeros._replace(value=self.zeros.value - self.rotations)

    @at_most(1e-6, sentence="independent")
    def two_layers(self) -> Number | None:
        """The distance of the products that two starts of two layers lead to, with decay.

        As for returns.
        """
        return self.apart() if self.run == TWO and self.depth == 2 else NOT_ASKED

    @at_least(1.0 - 1e-9, sentence="independent")
    def origin(self) -> Number | None:
        """Least eigenvalue of ∇²L at W = 0 over λ, three layers or more: a minimum of its own.

        1 in theory; rounding.
        """
        if self.run != TWO or self.depth < 3:
            return NOT_ASKED
        return Number(float(self.at_zero[0]) / self.regular, self.size * EPS)


WIDTHS = {2: (6, 3, 2), 3: (6, 3, 3, 2), 4: (6, 3, 3, 3, 2)}
#: The size of small starts, by depth.
SIZES = {2: 1e-3, 3: 2e-2, 4: 6e-2}


def cases(key, *, depths, small, kicked, pairs):
    """Small starts, pairs of starts, and kicked runs with and without decay, by depth."""
    rng = generator(key)
    for depth in depths:
        widths = WIDTHS[depth]
        drawn = [_drawn(rng, widths, SIZES[depth], 0.0, SMALL, i) for i in range(small)]
        yield from ensemble(GradientFlow, drawn, [3000.0], solver=Adaptive("dopri8", 1e-10))
        large = [_drawn(rng, widths, 0.7, 0.2, TWO, i) for i in range(pairs)]
        little = [(problem, _start(rng, widths, 0.05), facts) for problem, _, facts in large]
        both = [
            list(ensemble(GradientFlow, starts, [300.0], solver=Adaptive("dopri8", 1e-10)))
            for starts in (large, little)
        ]
        for one, other in zip(*both, strict=True):
            ends = {
                f"other{side}": ("weight", other.trajectory[f"weights{side}"].values[-1])
                for side in ("", "_coarse")
            }
            yield case(one.problem, one.trajectory.assign(ends), **one.facts)
        keys = jax.random.split(jax.random.fold_in(key, depth), kicked)
        drawn = [_drawn(rng, widths, 0.7, *((0.2, DECAYED), (0.0, BARE))[i % 2], i) for i in range(kicked)]
        yield from struck(drawn, keys, 0.3, 300.0, 3)


def _start(rng, widths, size):
    return tuple(size * rng.standard_normal((after, before)) for before, after in pairwise(widths))


def _drawn(rng, widths, size, decay, run, i):
    """A problem, its start and facts."""
    x = np.linalg.qr(rng.standard_normal((widths[0], 4)))[0].T
    y = rng.standard_normal((4, widths[-1]))
    problem = Problem(Dense.deep_linear(widths), Square(half=True), Data(x, y), decay)
    facts = {"run": run, "layers": len(widths) - 1, "draw": i + 1}
    return problem, _start(rng, widths, size), facts


FIGURE = Figure(
    Panel(
        "seen", "depth", "change, or distance, of the product", "layers", by=("run",), log="y", floor=1e-16
    ),
    caption="The product of the layers: its distance from YX⁺ from a small start, its largest change by a kick, and "
    "the distance of what two starts lead to. From three layers on two starts may end apart: W = 0 is a minimum too.",
)
STUDIES = tuple(
    study(
        name,
        look,
        cases,
        quick={"depths": (2, 3), "small": 4, "kicked": 4, "pairs": 4},
        full={"depths": (2, 3, 4), "small": 8, "kicked": 12, "pairs": 10},
        few={"small": 1, "kicked": 2, "pairs": 1},
        settings=section(__doc__, "Settings"),
        figure=FIGURE,
    )
    for name, look in (
        ("notes.deep-linear", DeepLinearPrinted),
        ("notes.deep-linear-corrected", DeepLinear),
    )
)
