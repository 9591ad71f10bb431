"""cohen.mnist: a redundant linear layer after each dense layer of the convolutional tutorial network.

Printed. TensorFlow's convolutional tutorial for MNIST, (conv, ReLU, max pool)×2, dense, ReLU, dense, SGD with momentum
and dropout; "we overparameterized by adding linear layer after each dense layer"; the curves are not in the text.
"Adding depth, w/o any gain in expressiveness, and only +15 % in params, accelerated non-linear net by
orders-of-magnitude!"

What is judged. Two sentences: that depth speeds training up, and that it does by orders of magnitude, one (a factor of
ten) at least. Time is the number of iterations until the training loss, without penalty and dropout, is at the lowest
level that both nets of a pair reach: nothing is cut off. Pairs share images, the start of all but the inserted layers,
and minibatches. Asked at the tutorial's step, and with the best step of either net, which for each pair is the one that
was best for the other pairs (least mean log loss on the way): no step is chosen by the numbers that it is judged by.

Settings, before any run. The tutorial: 5×5×32, 5×5×64, dense 512, dense 10; truncated normal weights of deviation 0.1,
biases 0 and 0.1; batch 64, step 0.01 × 0.95 an epoch, momentum 0.9, λ = 5·10⁻⁴ on dense layers, dropout ½; pixels in
[−½, ½]. Quick, a small copy: bundled 8×8 digits, 500 for training; 3×3×4, 3×3×8, dense 64, dense 10; deviations such
that variance × fan-in is the tutorial's; batch 32, drawn with replacement; steps 0.01, 0.03; 10 pairs, 300 iterations.
Full: the tutorial's net on MNIST, 2 000 for training, batch 64, steps 0.003, 0.01, 0.03, 5 pairs, 500 iterations,
gradients in float32. Inserted matrices are drawn and decay as dense layers do; they have no bias.

Changed after a first run: 16 hidden units, of which some nets lost most at once, so that pairs differed by decades;
and, for time, 1 000 images, three steps, 400 iterations. The full budget had been 4 000 images, a step of 0.1 too,
3 000 iterations, and was never run.

Tolerances. Faster: more than 1. Orders of magnitude: 10. Bars are 99 % Student intervals of logarithms over pairs; that
records are 20 iterations apart is in them, as pairs differ by more. The 15 % are printed as a whole per cent.
"""

from functools import cached_property
from typing import Any

import jax
import numpy as np
import xarray as xr
from scipy.stats import truncnorm

from gradlab.claims.cases import case, generator
from gradlab.claims.intervals import mean_over
from gradlab.claims.looks.training import Trained, best_for_others, curve, mark, sooner
from gradlab.claims.measured import EPS, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Means
from gradlab.claims.problems import images as pictures
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import Geometric
from gradlab.dynamics.momentum import HeavyBall
from gradlab.problem.data import Data
from gradlab.problem.networks import Pooled

STEP, FACTOR, MOMENTUM, DECAY, DROPOUT = 0.01, 0.95, 0.9, 5e-4, 0.5
#: The tutorial's network, and the number of inputs of a unit of its layers: those of its variances.
TUTORIAL: dict[str, Any] = {
    "input_shape": (1, 28, 28),
    "channels": (32, 64),
    "kernel": 5,
    "hidden": 512,
    "outputs": 10,
}
DEVIATION = 0.1


def fans(network: Pooled) -> list[int]:
    """Inputs of a unit, layer by layer."""
    return [int(np.prod(layer["weight"].shape[1:])) for layer in network.shapes()]


class Redundant(Trained):
    """Training losses without penalty of both nets, (arm, step, seed, record): the tutorial's, and with more layers."""

    setting = "the tutorial's network, or a small copy, on images that are classified"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one."""
        return isinstance(problem.network, Pooled) and problem.data.test_inputs is not None

    @cached_property
    def losses(self) -> np.ndarray:
        """log training loss, (arm, step, seed, record)."""
        return np.log(self.of("risk"))

    @property
    def moments(self) -> np.ndarray:
        """Iterations of the records."""
        return self.of("iteration")

    @cached_property
    def tutorial_step(self) -> int:
        """Which step is the tutorial's."""
        return int(np.argmin(np.abs(self.of("steps") - STEP)))

    @cached_property
    def chosen(self) -> np.ndarray:
        """The step of each arm and pair that was best for the other pairs, (arm, seed)."""
        return best_for_others(self.losses)

    def gains(self, steps: np.ndarray) -> np.ndarray:
        """log10 of the iterations of the plain net over those of the deeper one, (seeds,); ``steps`` (arm, seed)."""
        plain, deep = (
            [self.losses[arm, steps[arm, pair], pair] for pair in range(self.losses.shape[2])]
            for arm in (0, 1)
        )
        return np.array([sooner(one, other, self.moments) for one, other in zip(plain, deep, strict=True)])

    @cached_property
    def at_tutorial(self) -> np.ndarray:
        """Gains at the tutorial's step."""
        return self.gains(np.full(self.chosen.shape, self.tutorial_step))

    @cached_property
    def at_best(self) -> np.ndarray:
        """Gains with the best step of either net."""
        return self.gains(self.chosen)

    @property
    def added(self) -> float:
        """Weights of the inserted layers over those of the tutorial's network."""
        counts = []
        for more in (False, True):
            leaves = jax.tree.leaves(Pooled(**TUTORIAL, redundant=more).shapes())
            counts.append(float(sum(np.prod(one.shape) for one in leaves)))
        return counts[1] / counts[0] - 1.0

    @equals(0.15, within=0.01, sentence="parameters", exact=True)
    def parameters(self) -> float:
        """Weights of the inserted layers over those of the tutorial's network.

        Printed as a whole per cent: 1.
        """
        return self.added

    @cached_property
    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Test outputs of the deeper net at its start, and of the plain one with the products of its layers."""
        deep, x = self.problem.network, self.problem.data.test_inputs
        sizes = (deep.input_shape, deep.channels, deep.kernel, deep.hidden, deep.outputs)
        plain, weights = Pooled(*sizes), self.problem.unravel(self.of("start"))
        merged = [*weights[:-4]]
        for first, second in (weights[-4:-2], weights[-2:]):
            matrix, bias = np.asarray(second["weight"]), np.asarray(first["bias"])
            merged.append({"weight": matrix @ np.asarray(first["weight"]), "bias": matrix @ bias})
        return np.asarray(deep(weights, x)), np.asarray(plain(tuple(merged), x))

    @at_most(1e-10, sentence="parameters")
    def same_functions(self) -> Number:
        """How far the deeper net's test outputs are from those of a plain net with the products of its layers.

        No gain in expressiveness: rounding.
        """
        ours, theirs = self.outputs
        return Number(float(np.abs(ours - theirs).max() / np.abs(ours).max()), 1e3 * EPS)

    @at_least(0.0, sentence="accelerates")
    def faster(self) -> Number:
        """log10 of the iterations of the plain net over those of the deeper one, both at the tutorial's step.

        "Accelerates": more than 0.
        """
        return mean_over(self.at_tutorial)

    @at_least(0.0, sentence="accelerates")
    def faster_at_best(self) -> Number:
        """The same, each with its best step.

        As above.
        """
        return mean_over(self.at_best)

    @at_least(1.0, sentence="orders")
    def by_orders(self) -> Number:
        """log10 of the iterations of the plain net over those of the deeper one, both at the tutorial's step.

        "Orders of magnitude": one at least.
        """
        return mean_over(self.at_tutorial)

    @at_least(1.0, sentence="orders")
    def by_orders_at_best(self) -> Number:
        """The same, each with its best step.

        As above.
        """
        return mean_over(self.at_best)

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {"iterations": ("record", self.moments)}
        best = np.array([np.bincount(row).argmax() for row in self.chosen])
        for arm, name in enumerate(("plain", "deeper")):
            for which, step in (("tutorial", self.tutorial_step), ("best", best[arm])):
                found |= curve(f"{name}_{which}", "record", self.losses[arm, step].T, logarithms=True)
        return found


def _weights(network: Pooled, of: list[int], rng: np.random.Generator) -> Any:
    """Truncated normal weights, variance × fan-in as with fan-ins ``of``; biases 0 in the first layer, else 0.1."""
    made = []
    for i, (layer, fan, wanted) in enumerate(zip(network.shapes(), fans(network), of, strict=True)):
        deviation = DEVIATION * np.sqrt(wanted / fan)
        shape = layer["weight"].shape
        drawn = {"weight": truncnorm.rvs(-2.0, 2.0, scale=deviation, size=shape, random_state=rng)}
        made.append(drawn | {"bias": np.full(shape[0], 0.1 if i else 0.0)} if "bias" in layer else drawn)
    return tuple(made)


def _plain(weights: Any) -> Any:
    """The same without the inserted layers."""
    return tuple(layer for layer in weights if "bias" in layer)


def cases(key, *, sets, channels, kernel, hidden, train, test, batch, steps, iterations, every, seeds):
    """One case a set of images."""
    rng = generator(key)
    for name in sets:
        found = pictures.images(name)
        sizes = (found.shape, channels, kernel, hidden, 10)
        draws = []
        for _ in range(seeds):
            one = pictures.drawn_split(found, rng, train, test)
            moved = (np.asarray(each) - 0.5 for each in (one.inputs, one.test_inputs))
            x, test_x = moved
            draws.append(Data(x, one.targets, test_x, one.test_targets, provenance=one.provenance))
        deep = Pooled(*sizes, dropout=DROPOUT, redundant=True)
        wanted = fans(Pooled(**TUTORIAL, redundant=True))
        starts = [_weights(deep, wanted, rng) for _ in draws]
        drawn = pictures.keys(rng, seeds)
        moments = np.arange(every, iterations + 1, every, dtype=float)
        curves = []
        for redundant in (False, True):
            network = Pooled(*sizes, dropout=DROPOUT, redundant=redundant)
            decay = [0.0] * len(channels) + [DECAY] * (4 if redundant else 2)
            problems = [pictures.classifying(network, one, np.array(decay)) for one in draws] * len(steps)
            begun = [start if redundant else _plain(start) for start in starts] * len(steps)

            def flow(problem, keys, drawn=drawn, precision=found.precision):
                which = np.tile(np.arange(seeds), len(steps))
                each: Any = np.repeat(np.asarray(steps), seeds)
                same: Any = np.ones(len(keys))
                rates = Geometric(each, FACTOR * same, max(1, train // batch))
                return HeavyBall(
                    problem, rates, MOMENTUM * same, batch, drawn[which], "replacement", precision
                )

            seen = pictures.trained(problems, begun, flow, moments, rng, observables=("risk",))
            rows = pictures.seeds_of(seen, "risk").reshape(len(moments), len(steps), seeds)
            curves.append(rows.transpose(1, 2, 0))
        problem = pictures.classifying(deep, draws[0], np.array([0.0] * len(channels) + [DECAY] * 4))
        kept = {
            "risk": (("arm", "rate", "seed", "record"), np.stack(curves)),
            "iteration": ("record", moments),
            "steps": ("rate", np.asarray(steps)),
            "start": ("entry", np.asarray(problem.ravel(starts[0]))),
            "drawn": (
                "seed",
                [mark((d.inputs, *jax.tree.leaves(s))) for d, s in zip(draws, starts, strict=True)],
            ),
        }
        yield case(problem, xr.Dataset(kept), data=found.name, n=train)


BUDGETS: dict[str, Any] = {
    "quick": {
        "sets": ("digits",),
        "channels": (4, 8),
        "kernel": 3,
        "hidden": 64,
        "train": 500,
        "test": 200,
        "batch": 32,
        "steps": (0.01, 0.03),
        "iterations": 300,
        "every": 20,
        "seeds": 10,
    },
    "full": {
        "sets": ("MNIST",),
        "channels": (32, 64),
        "kernel": 5,
        "hidden": 512,
        "train": 2000,
        "test": 1000,
        "batch": 64,
        "steps": (0.003, 0.01, 0.03),
        "iterations": 500,
        "every": 50,
        "seeds": 5,
    },
    "few": {"channels": (2, 4), "hidden": 32, "train": 200, "test": 100, "iterations": 200, "seeds": 6},
}
FIGURE = Figure(
    *(
        Means(
            {f"plain_{which}": "plain", f"deeper_{which}": "with redundant layers"},
            "iterations",
            "training loss",
            said,
            log="y",
        )
        for which, said in (("tutorial", "iteration, tutorial's step"), ("best", "iteration, best step"))
    ),
    caption="Geometric means over pairs, with 99 % intervals, of the training loss without penalty and dropout: "
    "the tutorial's network, and that with a redundant linear layer after each dense one, at the "
    "tutorial's step and each with its best.",
)
STUDY = study(
    "cohen.mnist", Redundant, cases, **BUDGETS, figure=FIGURE, settings=section(__doc__, "Settings")
)
