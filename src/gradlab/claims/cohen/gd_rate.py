"""cohen.gd-rate: a certificate of gradient descent before its first step, the run it speaks of, and how loose it is.

Printed: with a deficiency margin c, δ-balanced with δ ≤ O(c²), for any η ≤ O(c⁴), loss(t) ≤ e^{−Ω(c²ηt)}. The
explicit form is Theorem 1 of Arora, Cohen, Golowich, Hu (2019): whitened data, ½‖W − Φ‖², δ = c²/(256 N³
‖Φ‖^{2(N−1)/N}), η ≤ c^{(4N−2)/N}/(6144 N³ ‖Φ‖^{(6N−4)/N}), and loss ≤ ε after log(ℓ(0)/ε)/(η c^{2(N−1)/N})
iterations. Both agree in substance: c ≤ σ_min(Φ) ≤ ‖Φ‖, so that c² ≤ c^{2(N−1)/N} ‖Φ‖^{2/N}, and Ω and O hide ‖Φ‖ and
N, for c above one too. Free of the target they cannot be: c²ηt has the unit ‖Φ‖^{2/N} (docs/notes/cohen.gd-rate.md).
In print a factor is missing: at t = 0 the bound says loss ≤ 1. It is loss(t) ≤ loss(0) e^{−Ω(c²ηt)}, of the loss
above its least value.

What is judged. The certificate (c, δ, η, T) is computed from the start alone; then T iterations are run, with η as
certified. How loose it is, T over the iterations that were needed, at the certified η and at the best one of a grid,
is shown and not judged: a bound may be loose.

Settings, before any run. Depth 2, widths 2-2-2, depth 3, widths 3-2-2-1, depth 4, widths 1-1-1-1-1 (quick); also
3-3-3, 2-2-2-2 and 2-2-2-2-2 (full). Φ with equal singular values, in random bases, of size 0.5, 1, 10 in turn; W(0)
at 0.1, 0.2 (full: 0.3) σ_min of it in a random direction; exactly balanced layers in random bases, or moved until the
defect is 0.9 δ. ε = ℓ(0)/10. Records at T/2^k.

Tolerances. None: bounds are inequalities. The rounding of T iterations, at most T eps relative to Φ, is the error.
Control: a start of opposite sign, two layers A and −Aᵀ, W = −AᵀA (no margin), run as long.
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis import linear_nets
from gradlab.analysis.deep_descent import Guarantee, guarantee, iterates
from gradlab.analysis.linear_nets import Matrices, balancedness
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.linear_net import LinearNet
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

RATIO = 0.1
HALVINGS = 7
NO_MARGIN = "no margin"
CHANGED = "sizes of Φ up to 10: with 3 no start had a loss above 1, where the print can fail"
SIZES = (0.5, 1.0, 10.0)
#: Steps for comparison: multiples of the certified one, and iterations at each.
FASTER, ITERATIONS = 2.0 ** np.arange(0, 31), 64


class Rate(LinearNet):
    """Gradient descent at the certified step, at t = 0 and T/2^k, ascending."""

    setting = (
        "a linear net of two layers or more under ½‖W − Φ‖² of its product, X = I, without bias or decay"
    )

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one, with whitened data."""
        x = np.asarray(problem.data.inputs)
        plain = isinstance(problem.loss, Square) and problem.loss.half and problem.loss.reduction == "sum"
        return (
            super().speaks_of(problem)
            and plain
            and x.shape[0] == x.shape[1]
            and np.allclose(x, np.eye(len(x)))
        )

    @property
    def excused(self) -> bool:
        """Whether it is a control, of which there is no certificate."""
        return str(self.facts["start"]) == NO_MARGIN

    @property
    def target(self) -> np.ndarray:
        """Φ (C, d)."""
        return self.targets.T

    @cached_property
    def certificate(self) -> Guarantee:
        """What is guaranteed of the start."""
        return guarantee(self.matrices[0], self.target)

    @cached_property
    def step(self) -> float:
        """The step that was taken."""
        return float(self.trajectory["eta"].values)

    @cached_property
    def counts(self) -> np.ndarray:
        """Iterations at every record."""
        return np.asarray(self.trajectory["step"].values, dtype=np.float64)

    @cached_property
    def rounding(self) -> np.ndarray:
        """What t roundings may move W by, at every record."""
        return (self.counts + 1.0) * EPS * float(np.linalg.norm(self.target))

    @cached_property
    def losses(self) -> np.ndarray:
        """½‖W − Φ‖² at every record; not less than ten times its rounding, which only raises it."""
        gaps = np.linalg.norm(self.products - self.target, axis=(1, 2))
        return 0.5 * np.maximum(gaps, 10.0 * self.rounding) ** 2

    @cached_property
    def rounded(self) -> np.ndarray:
        """What rounding may move log ℓ by, at every record."""
        return 2.0 * self.rounding / np.sqrt(2.0 * self.losses)

    @cached_property
    def fallen(self) -> np.ndarray:
        """log(ℓ(0)/ℓ(t)) at every record but the first."""
        return np.log(self.losses[0] / self.losses[1:])

    @at_least(1e-3, role="hypothesis")
    def margin(self) -> float | None:
        """The deficiency margin c of the start over ‖Φ‖_F.

        Positive; the starts of the study have a third or more.
        """
        return NOT_ASKED if self.excused else self.certificate.margin / float(np.linalg.norm(self.target))

    @at_most(1.0, role="hypothesis")
    def balanced(self) -> Number | None:
        """The defect of the start over the δ that c allows.

        The theorem's.
        """
        one = self.certificate
        return NOT_ASKED if self.excused else Number(one.defect / one.allowed, 1e-9)

    @at_most(1.0 + 1e-9, role="hypothesis")
    def short(self) -> float | None:
        """The step over the longest that is certified.

        Computed before the run from the start.
        """
        return NOT_ASKED if self.excused else self.step / self.certificate.step

    @at_least(1.0, role="hypothesis")
    def long(self) -> Number | None:
        """The iterations that were run, over T of the certificate for ε = ℓ(0)/10.

        Whole numbers.
        """
        if self.excused:
            return NOT_ASKED
        return Number(self.counts[-1] / self.certificate.iterations(RATIO) + 1e-9, 1e-10)

    @at_most(1.0, sentence="converges")
    def arrives(self) -> Number | None:
        """ℓ(T)/ε, T and ε = ℓ(0)/10 those of the certificate.

        The theorem's own.
        """
        if self.excused:
            return NOT_ASKED
        value = float(self.losses[-1] / self.losses[0]) / RATIO
        return Number(value, value * float(self.rounded[-1]))

    @at_least(1.0, sentence="rate")
    def rate(self) -> Number | None:
        """The least of log(ℓ(0)/ℓ(t))/(η c^{2(N−1)/N} t) over the records.

        The theorem's own, for every ε.
        """
        return self._over(self.certificate.rate)

    @at_least(1.0, sentence="rate")
    def relative(self) -> Number | None:
        """The same with c² ‖Φ‖^{−2/N}, the printed exponent with what it hides.

        It is below c^{2(N−1)/N}, since c ≤ ‖Φ‖.
        """
        size = float(np.linalg.norm(self.target))
        return self._over(self.certificate.margin**2 * size ** (-2.0 / self.depth))

    @at_most(0.0, sentence="rate", role="print", repaired="relative", changed=CHANGED)
    def printed(self) -> Number | None:
        """The largest log ℓ(t) + c² ‖Φ‖^{−2/N} η t over the records, t = 0 too: without the factor ℓ(0), as printed.

        An inequality, at t = 0 without any rounding of iterations.
        """
        if self.excused:
            return NOT_ASKED
        size = float(np.linalg.norm(self.target))
        exponent = self.certificate.margin**2 * size ** (-2.0 / self.depth) * self.step
        values = np.log(self.losses) + exponent * self.counts
        worst = int(np.argmax(values + self.rounded))
        return Number(float(values[worst]), float(self.rounded[worst]))

    @at_least(2.0, role="control")
    def fails(self) -> Number | None:
        """ℓ(T)/ε of a start without a margin, run as long at the same step.

        The product keeps its sign: ℓ stays above ½‖Φ‖², and ℓ(0) is at most (2.2)² of that.
        """
        return (
            Number(float(self.losses[-1] / self.losses[0]) / RATIO, float(self.rounded[-1]))
            if self.excused
            else NOT_ASKED
        )

    def _over(self, rate: float) -> Number | None:
        if self.excused:
            return NOT_ASKED
        unit = rate * self.step * self.counts[1:]
        worst = int(np.argmin((self.fallen - self.rounded[1:]) / unit))
        return Number(float(self.fallen[worst] / unit[worst]), float(self.rounded[worst + 1] / unit[worst]))

    def shown(self):
        done = np.log(1.0 / RATIO)
        needed = float(np.interp(done, np.concatenate([[0.0], self.fallen]), self.counts))
        best = float(self.trajectory["best"].values)
        asked = not self.excused and self.fallen[-1] > done
        return {
            "T": self.counts[-1] if asked else np.nan,
            "loose": self.counts[-1] / needed if asked else np.nan,
            "looser": self.counts[-1] / best if asked else np.nan,
            "t": ("record", self.counts[1:] / self.counts[-1]),
            "loss": ("record", self.losses[1:] / self.losses[0]),
            "bound": ("record", RATIO ** (self.counts[1:] / self.counts[-1])),
            "kind": "margin" if not self.excused else "none",
        }


def uneven(layers: Matrices, defect: float) -> Matrices:
    """Layers of the same product whose defect is that: the first and the last times and over 1 + x, x by bisection."""

    def moved(x: float) -> Matrices:
        return ((1.0 + x) * layers[0], *layers[1:-1], layers[-1] / (1.0 + x))

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        size = max(float(np.linalg.norm(gap)) for gap in balancedness(moved(middle)))
        low, high = (middle, high) if size < defect else (low, middle)
    return moved(low)


def _target(rng: np.random.Generator, widths: tuple[int, ...], size: float) -> np.ndarray:
    """Φ with all singular values equal to ``size``, in random bases."""
    C, d = widths[-1], widths[0]
    least = min(C, d)
    return size * linear_net.rotation(rng, C)[:, :least] @ linear_net.rotation(rng, d)[:, :least].T


def _problem(phi: np.ndarray, widths: tuple[int, ...]) -> Problem:
    return Problem(Dense.deep_linear(widths), Square(half=True), Data(np.eye(widths[0]), phi.T))


def _start(
    rng: np.random.Generator, phi: np.ndarray, widths: tuple[int, ...], apart: float, even: bool
) -> Matrices:
    """Layers of a product at ``apart`` σ_min from Φ; balanced, or as uneven as the certificate allows."""
    aside = rng.standard_normal(phi.shape)
    least = np.linalg.svd(phi, compute_uv=False)[-1]
    layers = linear_net.balanced(rng, phi + apart * least * aside / np.linalg.norm(aside), widths)
    return layers if even else uneven(layers, 0.9 * guarantee(layers, phi).allowed)


def _run(widths: tuple[int, ...], drawn: list[tuple[np.ndarray, Matrices, dict[str, Any]]]) -> Any:
    """One case a start, at its certified step; one without a margin takes the step of the first.

    All run for the longest certified T, which is one number but for rounding: T is free of scale.
    """
    issued = [guarantee(layers, phi) for phi, layers, _ in drawn]
    steps = np.array([one.step if one.margin > 0.0 else issued[0].step for one in issued])
    most = max(one.iterations(RATIO) for one in issued if one.margin > 0.0)
    weights = [np.stack(each) for each in zip(*(layers for _, layers, _ in drawn), strict=True)]
    phis = np.stack([phi for phi, _, _ in drawn])
    counts = np.unique([0, *(most >> k for k in range(HALVINGS + 1))])
    kept = iterates(weights, phis, steps, counts)
    best = _quickest(weights, phis, steps)
    for i, (phi, _, facts) in enumerate(drawn):
        vectors = np.stack(
            [linear_nets.flat(tuple(layer[k, i] for layer in kept)) for k in range(len(counts))]
        )
        seen = {
            "weights": (("record", "weight"), vectors),
            "step": ("record", counts),
            "eta": steps[i],
            "best": best[i],
        }
        yield case(_problem(phi, widths), xr.Dataset(seen), **facts)


def _quickest(weights: list[np.ndarray], phis: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The iterations to ε at the best of the steps of the grid, ∞ where none reaches it."""
    grid = len(FASTER)
    many = [np.repeat(layer, grid, axis=0) for layer in weights]
    goals = np.repeat(phis, grid, axis=0)
    first, *others = iterates(many, goals, (steps[:, None] * FASTER).ravel(), range(ITERATIONS + 1))
    with np.errstate(all="ignore"):
        products = first
        for layer in others:
            products = layer @ products
        losses = np.sum((products - goals) ** 2, axis=(2, 3))
        there = losses <= RATIO * losses[0]
    counted = np.where(there.any(axis=0), there.argmax(axis=0), np.inf)
    return counted.reshape(len(steps), grid).min(axis=1)


def cases(key, *, plans, apart, draws):
    """Starts of every family and distance, balanced and not quite, and for two layers one without a margin."""
    rng = generator(key)
    for widths in plans:
        for distance in apart:
            drawn = []
            for number in range(draws):
                phi = _target(rng, widths, SIZES[number % 3])
                for start in ("balanced", "nearly"):
                    layers = _start(rng, phi, widths, distance, start == "balanced")
                    facts = {
                        "depth": len(widths) - 1,
                        "widths": str(widths),
                        "apart": distance,
                        "start": start,
                    }
                    drawn.append((phi, layers, facts | {"size": SIZES[number % 3], "draw": number}))
            if len(widths) == 3:
                phi, layers, facts = drawn[0]
                opposite = (layers[0], -layers[0].T)
                drawn.append((SIZES[0] * np.eye(len(phi)), opposite, facts | {"start": NO_MARGIN}))
            yield from _run(widths, drawn)


QUICK = ((2, 2, 2), (3, 2, 2, 1), (1, 1, 1, 1, 1))
STUDY = study(
    "cohen.gd-rate",
    Rate,
    cases,
    quick={"plans": QUICK, "apart": (0.1, 0.2), "draws": 3},
    full={"plans": (*QUICK, (3, 3, 3), (2, 2, 2, 2), (2, 2, 2, 2, 2)), "apart": (0.1, 0.2, 0.3)},
    few={"plans": (QUICK[0], QUICK[2]), "apart": (0.1,)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel("loss", "t", r"$\ell(t)/\ell(0)$", "$t/T$", by=("depth",), log="xy", lines=True, each=1),
        Panel("T", "depth", "certified iterations $T$", "depth $N$", by=("apart",), log="y"),
        Panel("loose", "depth", "$T$ over needed, same step", "depth $N$", by=("apart",)),
        Panel("looser", "depth", "$T$ over needed, best step", "depth $N$", by=("apart",), log="y"),
        caption="Gradient descent with a certificate. First: the loss of a start of each depth; certified is 0.1 at "
        "t = T. Then T, by the distance of W(0) from Φ over σ_min(Φ); and T over the iterations that a tenfold fall "
        "needed, at the certified step, and at the best of a grid of steps.",
    ),
)
