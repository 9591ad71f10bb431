"""The named problems: deep linear nets, MLPs, a convolutional net, exponential losses."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from gradlab.init import He

from benchmarks.task import Task
from gradlab import Convolutional, CrossEntropy, Data, Dense, Exponential, Gaussian, Problem, Square
from gradlab.loaders import mnist
from gradlab.problem.bundled import digits
from gradlab.problem.data import separable


def deep_linear(name: str, T: float, N: int = 100, width: int = 10, depth: int = 4) -> Task:
    """A linear teacher seen through a deep linear net: stiff, with a plateau before every singular value."""
    rng = np.random.default_rng(0)
    inputs, teacher = rng.standard_normal((N, width)), rng.standard_normal((width, width)) / 3.0
    network = Dense((width,) * (depth + 1), "identity")
    problem = Problem(network, Square("mean"), Data(inputs, inputs @ teacher.T))
    weights = network.init(jax.random.key(0), Gaussian(0.25))
    settings = f"Dense {network.widths} identity, square loss (mean), {N} normal inputs, "
    settings += "teacher N(0, 1/9), start N(0, 0.25²)"
    return Task(name, problem, weights, T, settings)


def digits_mlp(name: str, T: float, loss: str, N: int = 600, hidden: tuple[int, ...] = (32, 32)) -> Task:
    """A tanh MLP on scikit-learn's 8×8 digits."""
    square = loss == "square"
    every = digits(test_fraction=0.0, labels="onehot" if square else "class")
    data = Data(every.inputs[:N], every.targets[:N])
    network = Dense((64, *hidden, 10), "tanh")
    problem = Problem(network, Square("mean") if square else CrossEntropy("mean"), data)
    weights = network.init(jax.random.key(0), He())
    settings = f"Dense {network.widths} tanh, {loss} loss (mean), the first {N} digits, start He"
    return Task(name, problem, weights, T, settings)


def mnist_mlp(name: str, T: float, N: int = 1000, hidden: int = 64) -> Task:
    """A GELU MLP on MNIST images; MissingData where there are none."""
    network = Dense((784, hidden, 10), "gelu")
    problem = Problem(network, Square("mean"), mnist(N, 0, labels="onehot"))
    weights = network.init(jax.random.key(0), He())
    settings = f"Dense {network.widths} gelu, square loss (mean), the first {N} MNIST images, start He"
    return Task(name, problem, weights, T, settings)


def exponential(name: str, T: float, hidden: int | None) -> Task:
    """Separable data under the exponential loss; not stiff in physical time."""
    widths = (10, 1) if hidden is None else (10, hidden, 1)
    network = Dense(widths, "identity")
    problem = Problem(network, Exponential("mean"), separable(jax.random.key(0), 50, 10, 0.5))
    weights = network.init(jax.random.key(1), Gaussian(0.3))
    settings = f"Dense {widths} identity, exponential loss (mean), 50 separable examples, margin 0.5, start N(0, 0.3²)"
    return Task(name, problem, weights, T, settings)


def convolutional(name: str, T: float, N: int = 300) -> Task:
    """Two convolutions and a dense layer on digits."""
    every = digits(test_fraction=0.0, flat=False)
    network = Convolutional((1, 8, 8), (4, 8), 3, 2, 10, "tanh")
    data = Data(every.inputs[:N], every.targets[:N])
    problem = Problem(network, CrossEntropy("mean"), data)
    weights = network.init(jax.random.key(0), He())
    settings = "Convolutional (1, 8, 8) → 4 → 8 channels, 3×3, stride 2, tanh, "
    settings += f"cross-entropy (mean), the first {N} digits, start He"
    return Task(name, problem, weights, T, settings)


@dataclass(frozen=True)
class Named:
    """A problem by name. quick : part of the quick budget. stiff : large and stiff, where walls are judged."""

    make: Callable[[str], Task]
    quick: bool
    stiff: bool = False


PROBLEMS: dict[str, Named] = {
    "deep-linear-200": Named(lambda name: deep_linear(name, 200.0), True),
    "deep-linear-2000": Named(lambda name: deep_linear(name, 2000.0), False),
    "digits-square-30": Named(lambda name: digits_mlp(name, 30.0, "square"), True),
    "digits-square-300": Named(lambda name: digits_mlp(name, 300.0, "square"), False, True),
    "digits-square-3000": Named(lambda name: digits_mlp(name, 3000.0, "square"), False, True),
    "digits-cross-entropy-300": Named(lambda name: digits_mlp(name, 300.0, "cross-entropy"), True),
    "digits-cross-entropy-3000": Named(lambda name: digits_mlp(name, 3000.0, "cross-entropy"), False),
    "mnist-gelu-100": Named(lambda name: mnist_mlp(name, 100.0), False, True),
    "exponential-linear": Named(lambda name: exponential(name, 1e6, None), True),
    "exponential-two-layer": Named(lambda name: exponential(name, 1e4, 20), True),
    "convolutional-digits": Named(lambda name: convolutional(name, 100.0), True),
}


def make(name: str) -> Task:
    """The task of that name.

    Raises
    ------
    ValueError
        For an unknown name, or where the data are missing (``gradlab data fetch mnist`` gets them).
    """
    if name not in PROBLEMS:
        raise ValueError(f"there is no problem {name!r}; known are {', '.join(PROBLEMS)}")
    return PROBLEMS[name].make(name)


def has_data(name: str) -> str | None:
    """A sentence where a problem needs data that would have to be downloaded first, else None."""
    from gradlab.loaders import describe

    present = all(row["present"] for row in describe() if row["name"] == "mnist")
    if name.startswith("mnist") and not present:
        where = os.environ.get("GRADLAB_DATA") or "the cache"
        return f"MNIST is not in {where}: run `gradlab data fetch mnist`, or set GRADLAB_DATA to its folder"
    return None
