"""arora19.fig2: iterations of deep linear nets against the size of the start, layer-wise and balanced.

Printed. Iterations to 10⁻⁵ of the minimum over the standard deviation s of the start, depth 3 and 8; balanced starts
converge faster, and over a wider range of s. In the paper on a regression of 128 features; with whitened features and
one output ℓ = ½‖w − φ‖² plus a constant, and by rotation and scaling any unit φ in R^128 is every one.

What is compared. s means another thing in both: for layers it enters w by s^N, for balanced starts by s. Beside runs
therefore a third start: the balanced layers of the very product that the layer-wise start has. Of it nothing is said in
print; it tells what balance does from what the meaning of s does (docs/notes/arora19.fig2.md).

Reductions, exact. Descent moves the rows of W_1 by multiples of w − φ only: W_1 is run in the span of its rows and φ,
33 columns. Balanced layers are N − 1 equal numbers and a row, in the span of w and φ, two columns.

Settings, before any run. Width 32. s at 8 (full: 15) values from 10⁻³ to 10^{0.5}; the step at eight a decade from 10⁻⁴
to 1, the paper's ends, the best for each start; 600 iterations at most (full: 10⁶, most of an hour of one core);
reached where it is kept a quarter longer. One φ and one draw of each start a depth.

Changed after a first run: eight steps a decade for four, since the bar is half as many; fewer s and iterations, for
time; starts that do not arrive were left out of the mean, which hid what they lost. After a first run of the full
budget: the mean of the logarithm for that of the ratio, whose bar, 3 500 of 1 470, was more than the ratio: with steps
half as fine a start may not arrive, which is a factor, not a difference.

Tolerances. Wider: more values of s at which the minimum is reached, half a value as margin. Faster: the ratio of
iterations, layer-wise over balanced, its logarithm in the mean over the s at which one of them reaches, above 0; its
bar the grid of steps taken half as fine.
"""

from functools import cached_property
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.analysis.linear_nets import end_to_end
from gradlab.analysis.tuning import iterations
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number, at_least
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.tuned_rules import BalancedLayers, Layers
from gradlab.claims.studies import section, study
from gradlab.laboratory.second import COARSE
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

DIMENSION, WIDTH, ACCURACY = 128, 32, 1e-5
STEPS = 10.0 ** (np.arange(-32, 1) / 8.0)
STARTS = ("layers", "balanced", "same")


class Starts(Look):
    """Iterations from three kinds of starts over their size, each with its best step."""

    setting = "a linear net of one output and whitened data under the square loss"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is one."""
        x = np.asarray(problem.data.inputs)
        whitened = np.allclose(x.T @ x / len(x), np.eye(x.shape[1]), atol=1e-8)
        return isinstance(problem.loss, Square) and whitened and problem.network.outputs == 1

    @cached_property
    def counts(self) -> dict[str, np.ndarray]:
        """Iterations (size, step) of every kind of start, infinite where the minimum was not reached."""
        return {name: np.asarray(self.trajectory[name].values) for name in STARTS}

    @cached_property
    def best(self) -> dict[str, np.ndarray]:
        """The least over steps, for every size."""
        return {name: given.min(axis=1) for name, given in self.counts.items()}

    def ratio(self, other: str) -> Number:
        """log10 of the iterations from layer-wise starts over those from others, mean over the sizes where one reaches.

        Where the other does not, it has the most that were made.
        """
        most = float(self.trajectory["most"].values)
        mine, theirs = (np.clip(self.best[name], 1.0, most) for name in ("layers", other))
        one = np.isfinite(self.best["layers"]) | np.isfinite(self.best[other])
        if not one.any():
            return Number(np.nan, np.inf)
        mean = float(np.mean(np.log10(mine[one] / theirs[one])))
        return Number(mean, float(np.mean(1.0 / mine[one] + 1.0 / theirs[one])) / np.log(10.0))

    @at_least(
        0.0,
        sentence="faster",
        changed="starts that do not arrive were left out at first; they count as the cap. The logarithm, for its bar",
    )
    def faster(self) -> Number:
        """log10 of the iterations from layer-wise starts over those from balanced ones of the same s, mean over s.

        "Faster": above 0, without margin. What does not arrive counts as the most iterations that were made.
        """
        return self.ratio("balanced")

    @at_least(0.5, sentence="wider", exact=True)
    def wider(self) -> float:
        """Sizes s at which balanced starts reach the minimum, less those at which layer-wise ones do.

        Whole numbers: one more at the least.
        """
        reached = {name: float(np.isfinite(given).sum()) for name, given in self.best.items()}
        return reached["balanced"] - reached["layers"]

    def shown(self):
        found = {"s": ("size", np.asarray(self.trajectory["sizes"].values))}
        for name, given in self.best.items():
            found[name] = ("size", np.where(np.isfinite(given), np.maximum(given, 1.0), np.nan))
        same = self.best["same"]
        return found | {
            "same_ratio": 10.0 ** self.ratio("same").value,
            "same_reached": float(np.isfinite(same).sum()),
        }


def whitened_problem(target):
    """ℓ(w) = ½‖w − target‖² as the mean square loss of a layer on whitened inputs."""
    size = len(target)
    x = np.sqrt(size) * np.eye(size)
    return Problem(
        Dense((size, 1), "identity"), Square("mean", half=True), Data(x, x @ target[:, None])
    ).lean()


def _layerwise(rng, depth, size, target):
    """A layer-wise start with W_1 in the span of its rows and the target, the target there, and the product."""
    widths = (DIMENSION, *(WIDTH,) * (depth - 1), 1)
    layers = [size * rng.standard_normal((after, before)) for before, after in pairwise(widths)]
    triangle = np.linalg.qr(np.column_stack([target, layers[0].T]))[1]
    inside = (triangle[:, 1:].T, *layers[1:])
    return tuple(jnp.asarray(layer) for layer in inside), triangle[:, 0], np.asarray(end_to_end(inside))[0]


def _counts(rule, start, most):
    counts, _ = iterations(rule, start, STEPS, np.array([ACCURACY]), most)
    return counts[:, 0]


def _balanced(depth, w, target, most):
    """Counts from balanced layers of a product, in the span of it and the target."""
    plane = np.linalg.qr(np.column_stack([target, w]))[1]
    rule = BalancedLayers(whitened_problem(plane[:, 0]), depth=depth)
    return _counts(rule, rule.begin(jnp.asarray(plane[:, 1])), most)


def cases(key, *, depths, sizes, draws, most):
    """Starts of every size, for two depths; a unit target."""
    rng = generator(key)
    scales = 10.0 ** np.linspace(-3.0, 0.5, sizes)
    for draw in range(draws):
        target = rng.standard_normal(DIMENSION)
        target /= np.linalg.norm(target)
        for depth in depths:
            rows: dict[str, list[np.ndarray]] = {name: [] for name in STARTS}
            for size in scales:
                layers, aim, product = _layerwise(rng, depth, size, target)
                rows["layers"].append(_counts(Layers(whitened_problem(aim)), layers, most))
                rows["same"].append(_balanced(depth, product, aim, most))
                rows["balanced"].append(_balanced(depth, size * rng.standard_normal(DIMENSION), target, most))
            seen = {"sizes": ("size", scales), "most": ((), float(most))}
            for name, given in rows.items():
                fine = np.array(given)
                coarse = np.where(np.arange(len(STEPS)) % 2 == 0, fine, np.inf)
                seen |= {name: (("size", "step"), fine), f"{name}{COARSE}": (("size", "step"), coarse)}
            yield case(whitened_problem(target), xr.Dataset(seen), N=float(depth), draw=draw + 1)


STUDY = study(
    "arora19.fig2",
    Starts,
    cases,
    quick={"depths": (3, 8), "sizes": 8, "draws": 1, "most": 600},
    full={"sizes": 15, "most": 1_000_000},
    few={"depths": (3,)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        *(
            Panel(
                name,
                "s",
                "iterations",
                f"standard deviation $s$, {words}",
                by=("N",),
                log="xy",
                lines=True,
                each=1,
            )
            for name, words in (
                ("layers", "layer-wise"),
                ("balanced", "balanced"),
                ("same", "balanced, same product"),
            )
        ),
        caption="Iterations to 10⁻⁵ of the minimum over the size of the start, best step of each, a line a depth; none "
        "where the minimum was not reached. Right: balanced layers of the products of the layer-wise starts.",
    ),
)
