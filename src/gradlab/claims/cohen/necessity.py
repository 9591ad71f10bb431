"""cohen.necessity: what gradient descent does without a deficiency margin, and without balance, at every step size.

Printed: the assumptions "are necessary (violating any of them can lead to divergence)", of a theorem that holds "for
any learning rate η ≤ O(c⁴)". Divergence is read as not converging to the global minimum. Two readings differ in the
order of the quantifiers: (each) for every η some start fails; (one) some start fails for every η. A theorem of the
printed form is false without an assumption as soon as (each) holds, which is the reading judged of both assumptions.

Of the margin (one) holds too. N even, W_1 = … = W_{N−1} = S, W_N = −S, Φ = φI, S diagonal: a step keeps this form, so
that W = −S^N at all times, and ½‖W − Φ‖² ≥ ½‖Φ‖² for every η; N of any parity: a mode that all layers lack stays at
zero. Both starts are balanced exactly. Of balance (one) is false: where the loss falls a start with the margin c
keeps σ_min(W) ≥ c, the layers stay bounded, and a step that is short enough for the start leads to the minimum
(docs/notes/cohen.necessity.md). For a given η an unbalanced start with a margin fails if its layers are far enough
apart in size: for two weights the note has starts for which that is exact; here the loss overflows.

Settings, before any run. Φ with ‖Φ‖₂ = 1, widths 2 (and 1 at depth 2), depth 2, 3, 4; η = 1e-4 to 1e2, 25 steps.
Without a margin: 20 000 iterations. Unbalanced: W(0) at ½σ_min from Φ, layers m, W(0)/m, 1, …, 1 with m²η = 100/√η,
and 20 at least, ten times what the curvature, about m², lets converge; 2000 iterations. After one step ‖W − Φ‖ is
about m²η/2, and the layers 1 move by η(m²η)²/4 = 2500. The same starts at a step of ¼ over their curvature. And a
start with both on the grid of η.

Tolerances. Without a margin the loss is bounded below by ½σ_min² exactly; 1e-6 for rounding. Diverged: above the loss
of the start. Converged: 1e-6 of it. The control is that a start with both converges at some η of the same grid.

Changed after a first run: m²η was 20. Five of 70 cases of the full budget, at depth 6 for one, then came back and
converged at some η: while two layers overflowed slowly, the others shrank.
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis import linear_nets
from gradlab.analysis.deep_descent import deficiency_margin, guarantee, iterates
from gradlab.analysis.linear_nets import Matrices, balancedness, end_to_end
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.linear_net import LinearNet
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

OPPOSITE, MISSING, UNEVEN, HEALED, BOTH = (
    "opposite sign",
    "a mode missing",
    "unbalanced",
    "short step",
    "both met",
)
WITHOUT_MARGIN = (OPPOSITE, MISSING)
#: The step for the same start times its curvature.
SHORT = 0.25
LONG, BRIEF = 20_000, 2_000
#: What stands for a weight that overflowed, and the decimal logarithms beyond which losses are not told apart.
OVERFLOWN, LEAST, MOST = 1e60, -12.0, 100.0


class Necessity(LinearNet):
    """Starts and ends of gradient descent at every step size, one after the other along the records."""

    setting = (
        "a linear net of two layers or more under ½‖W − Φ‖² of its product, X = I, without bias or decay"
    )

    @property
    def start(self) -> str:
        """Which starts."""
        return str(self.facts["start"])

    @property
    def target(self) -> np.ndarray:
        """Φ (C, d)."""
        return self.targets.T

    @cached_property
    def least(self) -> float:
        """σ_min(Φ)."""
        return float(np.linalg.svd(self.target, compute_uv=False)[-1])

    @cached_property
    def starts(self) -> list[Matrices]:
        """The layers at the start, for every step."""
        return [linear_nets.layers(self.network, vector) for vector in self.trajectory["starts"].values]

    @cached_property
    def etas(self) -> np.ndarray:
        """The step sizes."""
        return np.asarray(self.trajectory["eta"].values)

    @cached_property
    def losses(self) -> tuple[np.ndarray, np.ndarray]:
        """½‖W − Φ‖² at the start and at the end, for every step; infinite where it overflowed."""
        with np.errstate(all="ignore"):
            both = [
                np.array([0.5 * np.sum((np.asarray(end_to_end(one)) - self.target) ** 2) for one in many])
                for many in (self.starts, self.matrices)
            ]
        return both[0], np.where(np.isfinite(both[1]), both[1], np.inf)

    @cached_property
    def fallen(self) -> np.ndarray:
        """log₁₀ ℓ(end)/ℓ(start) for every step."""
        with np.errstate(divide="ignore"):
            return np.clip(np.log10(self.losses[1] / self.losses[0]), LEAST, MOST)

    @cached_property
    def margins(self) -> np.ndarray:
        """The deficiency margin of every start over σ_min(Φ)."""
        found = [deficiency_margin(np.asarray(end_to_end(one)), self.target) for one in self.starts]
        return np.array(found) / self.least

    @cached_property
    def defects(self) -> np.ndarray:
        """The largest ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖_F of every start."""
        return np.array([max(float(np.linalg.norm(gap)) for gap in balancedness(one)) for one in self.starts])

    @at_most(1e-12, role="hypothesis")
    def balanced(self) -> Number | None:
        """The largest defect of the starts, where only the margin is to be violated.

        Layers that are equal up to sign, or balanced to rounding.
        """
        if self.start not in (*WITHOUT_MARGIN, BOTH):
            return NOT_ASKED
        return Number(float(self.defects.max()), 1e-15)

    @at_most(0.0, role="hypothesis")
    def no_margin(self) -> Number | None:
        """The largest margin of the starts over σ_min(Φ), where the margin is to be violated.

        Negative, or zero with rounding: a mode that is missing has no margin but may touch it.
        """
        return (
            Number(float(self.margins.max()), 0.0, exact=True) if self.start in WITHOUT_MARGIN else NOT_ASKED
        )

    @at_least(0.25, role="hypothesis")
    def margin(self) -> float | None:
        """The least margin of the starts over σ_min(Φ), where it is to hold.

        ½ by construction.
        """
        return NOT_ASKED if self.start in WITHOUT_MARGIN else float(self.margins.min())

    @at_least(2.0, role="hypothesis")
    def uneven(self) -> float | None:
        """The least ratio of the defect to the δ of the theorem, where balance is to be violated.

        m² over a thousandth.
        """
        if self.start not in (UNEVEN, HEALED):
            return NOT_ASKED
        allowed = np.array([guarantee(one, self.target).allowed for one in self.starts])
        return float((self.defects / allowed).min())

    @at_least(1.0 - 1e-6, sentence="margin")
    def stuck(self) -> Number | None:
        """The least loss at the end over ½σ_min(Φ)², over all step sizes, from one balanced start without a margin.

        A bound of the exact iteration; rounding.
        """
        if self.start not in WITHOUT_MARGIN:
            return NOT_ASKED
        return Number(min(float(self.losses[1].min()) / (0.5 * self.least**2), 1e9), 1e-9)

    @at_least(0.0, sentence="balance", changed="layers further apart in size, see the docstring")
    def diverges(self) -> Number | None:
        """The least log₁₀ ℓ(end)/ℓ(start) over all step sizes, each from an unbalanced start with a margin.

        Above the start: not a step of convergence.
        """
        return Number(float(self.fallen.min()), 1e-9) if self.start == UNEVEN else NOT_ASKED

    @at_most(-6.0, sentence="order")
    def heals(self) -> Number | None:
        """The largest log₁₀ ℓ(end)/ℓ(start) of the same starts, each at a step that is short enough for it.

        Converged; 2000 iterations that each take off about a quarter.
        """
        return Number(float(self.fallen.max()), 1e-9) if self.start == HEALED else NOT_ASKED

    @at_most(-6.0, role="control")
    def some(self) -> Number | None:
        """The least log₁₀ ℓ(end)/ℓ(start) over all step sizes from a start with both.

        Converged: the grid holds steps at which descent works.
        """
        return Number(float(self.fallen.min()), 1e-9) if self.start == BOTH else NOT_ASKED

    def shown(self):
        return {"eta": ("step", self.etas), "ends": ("step", np.clip(self.fallen, -20.0, 20.0))}


def _target(rng: np.random.Generator, width: int) -> np.ndarray:
    """Φ, symmetric and positive definite, with singular values 1 and ½, in a random basis."""
    turn = linear_net.rotation(rng, width)
    return (turn * np.linspace(1.0, 0.5, width)) @ turn.T if width > 1 else np.eye(1)


def _near(rng: np.random.Generator, phi: np.ndarray) -> np.ndarray:
    """A product at ½σ_min from Φ."""
    aside = rng.standard_normal(phi.shape)
    return phi + 0.5 * np.linalg.svd(phi, compute_uv=False)[-1] * aside / np.linalg.norm(aside)


def _apart(W: np.ndarray, depth: int, m: float) -> Matrices:
    """Layers m, W/m, 1, …, 1."""
    one = np.eye(len(W))
    return (m * one, W / m, *([one] * (depth - 2)))


def _starts(rng: np.random.Generator, depth: int, width: int, start: str, etas: np.ndarray) -> Any:
    """Φ, the layers for every step, and the steps that are taken."""
    widths, count = (width,) * (depth + 1), len(etas)
    if start == OPPOSITE:
        half = np.diag(rng.uniform(0.3, 1.2, width))
        return np.eye(width), [(*([half] * (depth - 1)), -half)] * count, etas
    if start == MISSING:
        values = np.diag(np.append(rng.uniform(0.3, 1.2, width - 1), 0.0))
        return np.diag(np.linspace(1.0, 0.5, width)), [(values,) * depth] * count, etas
    phi = _target(rng, width)
    if start == BOTH:
        return phi, [linear_net.balanced(rng, _near(rng, phi), widths)] * count, etas
    W, sizes = _near(rng, phi), np.sqrt(np.maximum(20.0, 100.0 / np.sqrt(etas)) / etas)
    layers = [_apart(W, depth, float(m)) for m in sizes]
    curvature = sizes**2 + 2.0 * depth
    return phi, layers, etas if start == UNEVEN else SHORT / curvature


def cases(key, *, plans, draws):
    """Every kind of start, at every step."""
    rng, grid = generator(key), np.geomspace(1e-4, 1e2, 25)
    for depth, width in plans:
        for start in (OPPOSITE, MISSING, UNEVEN, HEALED, BOTH):
            if start == OPPOSITE and depth % 2:
                continue
            for number in range(draws):
                phi, layers, steps = _starts(rng, depth, width, start, grid)
                weights = [np.stack(each) for each in zip(*layers, strict=True)]
                count = BRIEF if start in (UNEVEN, HEALED) else LONG
                kept = iterates(weights, np.stack([phi] * len(grid)), steps, (count,))
                ends = [
                    np.nan_to_num(linear_nets.flat(tuple(layer[0, i] for layer in kept)), nan=OVERFLOWN)
                    for i in range(len(grid))
                ]
                seen = {
                    "weights": (("record", "weight"), np.clip(np.stack(ends), -OVERFLOWN, OVERFLOWN)),
                    "starts": (("record", "weight"), np.stack([linear_nets.flat(one) for one in layers])),
                    "eta": ("record", steps),
                }
                problem = Problem(
                    Dense.deep_linear((width,) * (depth + 1)), Square(half=True), Data(np.eye(width), phi.T)
                )
                yield case(problem, xr.Dataset(seen), start=start, depth=depth, width=width, draw=number)


QUICK = ((2, 2), (3, 2), (4, 2), (2, 1))
STUDY = study(
    "cohen.necessity",
    Necessity,
    cases,
    quick={"plans": QUICK, "draws": 2},
    full={"plans": (*QUICK, (4, 1), (3, 3), (6, 2)), "draws": 10},
    few={"plans": QUICK[:1], "draws": 1},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "ends", "eta", r"$\log_{10}\,\ell(\mathrm{end})/\ell(0)$", r"step $\eta$", by=("start",), log="x"
        ),
        caption="The loss at the end over that of the start, in decades (cut off at ±20), at every step size.",
    ),
)
