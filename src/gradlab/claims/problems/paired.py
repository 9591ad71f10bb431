"""Paired starts on real digits: disjoint training sets, one start a pair, and what every net answers on all images.

Two methods are compared at the same pairs of a training set and a start. Training sets share no image, so that pairs
are independent; images of validation choose (a time, a setting), those of the test are looked at last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from gradlab import loaders
from gradlab.claims.cases import ensemble
from gradlab.claims.problems import polar
from gradlab.problem.bundled import digits
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss
from gradlab.problem.networks import Network
from gradlab.problem.problem import Problem

#: How labels are read: the parity of a digit (one output), or which of the ten it is; of CIFAR-10, frogs are odd.
TASKS = {"odd or even": 2, "ten classes": 10}
#: Beside MNIST at the full budget: set, images of either part, pairs, images of a training set and of validation. What
#: was looked at before: a ridge fit to one training set errs in 19 of a hundred, so that there is something to learn.
BESIDE = (("cifar10", 1900, 24, 60, 300),)
#: The images of the full budget.
FULL = {"images": "mnist", "most": 7700, "count": 32, "examples": 100, "validation": 500, "beside": BESIDE}
#: The names of the sets of images, as cases have them.
NAMES = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}


def said(name: str) -> str:
    """What a case adds to its label for the images of a set: nothing for digits and MNIST."""
    return ", CIFAR-10" if name == "cifar10" else ""


@dataclass(frozen=True)
class Pool:
    """Images with ‖x‖ = 1, (M, d), and the digits that they show, (M,)."""

    inputs: np.ndarray
    digit: np.ndarray

    def truth(self, task: str) -> np.ndarray:
        """The class of every image under a task, (M,)."""
        return np.asarray(self.digit % TASKS[task])


def pool(name: str, most: int | None = None) -> Pool:
    """All bundled ``digits`` (8 × 8), or the first images of ``mnist`` or ``cifar10``; each image once.

    MNIST and CIFAR-10 are averaged over 2 × 2 pixels. Of CIFAR-10, aeroplanes (0) and frogs (1) less the mean image, as
    many of either part as there may be in all.
    """
    if name == "cifar10":
        data = loaders.cifar10(train=most, test=most, classes=(0, 6), flat=False)
        both = (data.inputs, data.test_inputs), (data.targets, data.test_targets)
        pixels, numbers = (np.concatenate([np.asarray(part) for part in parts]) for parts in both)
        pixels = pixels.reshape(-1, 3, 16, 2, 16, 2).mean(axis=(3, 5)).reshape(-1, 768)
        pixels = pixels - pixels.mean(axis=0)
    elif name == "mnist":
        data = loaders.mnist(train=most, test=0)
        pixels = np.asarray(data.inputs).reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196)
        numbers = np.asarray(data.targets)
    else:
        data = digits(None, 0.0)
        pixels = np.asarray(data.inputs)[:most]
        numbers = np.asarray(data.targets)[: len(pixels)]
    _, once = np.unique(pixels, axis=0, return_index=True)
    kept = np.sort(once)
    return Pool(pixels[kept] / np.linalg.norm(pixels[kept], axis=1, keepdims=True), numbers[kept])


@dataclass(frozen=True)
class Pairs:
    """Images by number: training sets, (n, N), of validation, (V,), of the test, (T,); and the starts' seeds, (n,)."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    seeds: np.ndarray


def pairs(rng: np.random.Generator, images: int, count: int, examples: int, validation: int) -> Pairs:
    """Disjoint training sets, images of validation, and what is left for the test."""
    needed = count * examples + validation
    if needed >= images:
        raise ValueError(
            f"{count} training sets of {examples} and {validation} images of validation need more than {images}"
        )
    order = rng.permutation(images)
    sets = order[: count * examples].reshape(count, examples)
    return Pairs(sets, order[count * examples : needed], order[needed:], rng.integers(0, 2**32, count))


def targets(task: str, classes: np.ndarray, loss: Loss) -> np.ndarray:
    """Classes as a loss takes them: ±1 of one output, classes or their unit vectors of several."""
    if TASKS[task] == 2:
        signs = 2.0 * classes - 1.0
        return signs[:, None] if loss.labels == "real" else signs
    return np.eye(TASKS[task])[classes] if loss.labels == "real" else classes


def drawn_starts(
    images: Pool,
    split: Pairs,
    task: str,
    network: Network,
    loss: Loss,
    norms: Any,
    flips: np.ndarray | None = None,
) -> list[tuple[Problem, Any, dict[str, Any]]]:
    """A problem and a start a pair: Gaussian directions from the pair's seed, with given norms of the layers.

    flips : (n, N), True where the class given to training is another than the image's.
    """
    found = []
    for i, rows in enumerate(split.train):
        classes = images.truth(task)[rows]
        if flips is not None:
            classes = np.where(flips[i], (classes + 1) % TASKS[task], classes)
        rng = np.random.default_rng(int(split.seeds[i]))
        start = polar.with_norms(rng, network, np.broadcast_to(norms, len(network.layers(network.shapes()))))
        problem = Problem(network, loss, Data(images.inputs[rows], targets(task, classes, loss)))
        found.append((problem, start, {"pair": i + 1}))
    return found


def answers(
    flow: Callable[[Any], Any], starts: Sequence[Any], images: Pool, records: Any, **options: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every pair's net answers for every image at every record, (n, records, M); times and weights of all.

    One solve: what rounding does to an iteration is far below what 24 starts leave open.
    """
    runs = list(ensemble(flow, starts, records, refine=False, **options))
    weights = np.stack([one.trajectory["weights"].values for one in runs])
    times = np.stack([one.trajectory["t"].values for one in runs])
    return (
        np.stack([np.asarray(_classified(starts[0][0].network, rows, images.inputs)) for rows in weights]),
        times,
        weights,
    )


@eqx.filter_jit
def _classified(network: Network, rows: Any, inputs: Any) -> Any:
    """Classes that weights in rows, (m, P), give to inputs: (m, M)."""
    _, unravel = ravel_pytree(jax.tree.map(lambda one: jnp.zeros(one.shape), network.shapes()))
    outputs = jax.vmap(lambda row: network(unravel(row), inputs))(rows)
    return (outputs[..., 0] > 0.0).astype(int) if outputs.shape[-1] == 1 else outputs.argmax(axis=-1)


def dataset(images: Pool, split: Pairs, task: str, found: Sequence[np.ndarray], records: Any) -> xr.Dataset:
    """What a comparison keeps: answers of every arm, classes, and which images were for what."""
    count = found[0].shape[2]
    return xr.Dataset(
        {
            "answers": (("arm", "pair", "record", "image"), np.stack(found)),
            "truth": ("image", images.truth(task)),
            "train": (("pair", "example"), split.train),
            "validation": ("chooser", split.validation),
            "test": ("tested", split.test),
            "iteration": ("record", np.concatenate([[0.0], np.asarray(records, dtype=float)])[:count]),
        }
    )
