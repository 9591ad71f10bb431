"""Violations of other kinds than the ten: each is named, no theorem of descent is judged across it, none is refuted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import numpy as np
import pytest
from planted import KINDS, noisy, problem

import gradlab as gl
from gradlab.checking.evaluating import _look
from gradlab.checking.probe import due

KIND, STEPS, FIRST = "ReLU, logistic", 60, 24
RATE = KINDS[KIND].rate


class Loop:
    """What a training loop of one's own has at hand at a step."""

    def __init__(self) -> None:
        self.told = problem(KIND, "")
        weights = jax.tree.map(np.asarray, self.told.network.init(jax.random.key(0)))
        self.start, self.unravel = jax.flatten_util.ravel_pytree(weights)
        self.start = np.asarray(self.start)
        self.inputs, self.generator = np.asarray(self.told.data.inputs), np.random.default_rng(3)
        self.memory: dict[str, np.ndarray] = {}

    def gradient(self, w: Any, inputs: Any = None, told: Any = None) -> np.ndarray:
        found = _look(told or self.told, self.unravel(w), self.inputs if inputs is None else inputs)
        return np.array(found[2])

    def turned(self) -> Any:
        """The problem with every label turned."""
        targets = -np.asarray(self.told.data.targets)
        return eqx.tree_at(lambda one: one.data.targets, self.told, jax.device_put(targets))

    def average(self, name: str, value: np.ndarray, kept: float) -> np.ndarray:
        self.memory[name] = kept * self.memory.get(name, value) + (1.0 - kept) * value
        return self.memory[name]


Step = Callable[[Loop, int, np.ndarray], np.ndarray]


def descent(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * loop.gradient(w)


def clipped_gradients(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    g = loop.gradient(w)
    return w - RATE * g * min(1.0, 0.25 / float(np.linalg.norm(g)))


def clipped_weights(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    most = np.quantile(np.abs(loop.start), 0.8)
    return np.clip(descent(loop, t, w), -most, most)


def restarts(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * (0.501 + 0.499 * np.cos(np.pi * (t % 10) / 10)) * loop.gradient(w)


def smoothed_labels(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * (0.9 * loop.gradient(w) + 0.1 * loop.gradient(w, told=loop.turned()))


def mixed_up(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    other, share = loop.generator.permutation(len(loop.inputs)), loop.generator.random()
    return w - RATE * loop.gradient(w, share * loop.inputs + (1.0 - share) * loop.inputs[other])


def other_data(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * loop.gradient(w, told=noisy(KIND, loop.told) if t >= 15 else None)


def frozen_late(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    g = loop.gradient(w)
    g[:FIRST] *= t < 20
    return w - RATE * g


def layer_rates(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    g = loop.gradient(w)
    g[:FIRST] *= 0.5
    return w - RATE * g


def normalised(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    moved = descent(loop, t, w)
    return moved * np.linalg.norm(loop.start) / np.linalg.norm(moved)


def masked(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * loop.gradient(w) * (np.arange(len(w)) % 3 > 0)


def quantised(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return np.round(64 * descent(loop, t, w)) / 64


def scaled_loss(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * 3.0 * loop.gradient(w)


def shifted_from_12(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * loop.gradient(w, loop.inputs + 0.1 * (t >= 12))


def noisy_gradients(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    g = loop.gradient(w)
    return w - RATE * (g + 0.05 * np.linalg.norm(g) * loop.generator.standard_normal(len(g)) / len(g) ** 0.5)


def lasso(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * (loop.gradient(w) + 0.02 * np.sign(w))


def signs(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - 0.1 * RATE * np.sign(loop.gradient(w))


def ascending_first(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    g = loop.gradient(w)
    return w - RATE * loop.gradient(w + 0.05 * g / np.linalg.norm(g))


def dampened(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return w - RATE * loop.average("g", loop.gradient(w), 0.9)


def restarted(loop: Loop, t: int, w: np.ndarray) -> np.ndarray:
    return loop.start if t == 24 else descent(loop, t, w)


#: What the run shows: a finding, and words of it.
SHOWN = {
    clipped_gradients: ("rate", "learning rate varies"), clipped_weights: ("steps", "weights do not move"),
    restarts: ("rate", "learning rate varies"), smoothed_labels: ("steps", "other labels at 5 of 5"),
    mixed_up: ("steps", "another function"), other_data: ("steps", "other labels at 2 of 5"),
    frozen_late: ("steps", "24 of 66 weights do not move, all of 0"), layer_rates: ("steps", "rates of their own"),
    # of the 22 masked, those that have a gradient at that step
    normalised: ("steps", "another function"), masked: ("steps", "of 66 weights do not move"),
    quantised: ("steps", "weights do not move"), scaled_loss: ("rate", "0.06, and not 0.02 as said"),
    shifted_from_12: ("steps", "another function"), noisy_gradients: ("steps", "another function"),
    lasso: ("steps", "another function"), signs: ("steps", ""), ascending_first: ("steps", "another function"),
    dampened: ("momentum", "momentum 0.9"), restarted: ("jump", "a restart, or a jump"),
}  # fmt: skip
#: Until which step a violation is none.
LATE = {other_data: 15, frozen_late: 20, shifted_from_12: 12, restarted: 24}


def checked(step: Step, averaged: bool = False) -> Any:
    here, kept = Loop(), {}
    w = here.start
    for t in range(STEPS):
        shown = here.average("w", w, 0.9) if averaged else w
        if due(t):
            kept[t] = jax.tree.map(np.asarray, here.unravel(shown))
        w = step(here, t, w)
    return gl.check(here.told, kept, f"sgd lr={RATE!r}")


def assert_kept_apart(result: Any, until: int) -> None:
    """Theorems that ask for steps of descent are judged before the violation only, and none is refuted."""
    assert not result.having("refuted"), str(result)
    for row in (*result.having("holds"), *result.having("undecided")):
        if "gradient descent" in dict(row.timeline):
            assert row.interval[1] <= until, str(row)


@pytest.mark.parametrize("step", SHOWN, ids=lambda step: step.__name__)
def test_it_is_named_and_no_theorem_of_descent_is_judged_across_it(step: Step) -> None:
    result, (name, words) = checked(step), SHOWN[step]
    found = {one.name: one.words for one in result.found}
    assert name in found, str(result)
    assert words in found[name]
    assert_kept_apart(result, LATE.get(step, -1))


def test_an_average_of_weights_is_no_descent() -> None:
    result = checked(descent, averaged=True)
    assert "steps" in {one.name for one in result.found}
    assert_kept_apart(result, -1)
