"""Hypotheses about how a run stepped: gradient descent, its rate, momentum and decay, and the size of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from gradlab.checking.evaluating import Looks
from gradlab.checking.hypotheses import Assumption, always, filled_in, short
from gradlab.checking.probing import Probed
from gradlab.checking.run import TrainingRun
from gradlab.checking.stepping import SAME, StepRule, rule_of

T = TypeVar("T")

#: A decay ηλ a step, or a momentum, below this is none.
NONE = 1e-6
#: How many times further than descent can, at the sharpness that was seen, weights may move where none is looked at.
FURTHER = 2.0


class OfSteps:
    """What can be assumed of the steps of a run."""

    def __init__(self, run: TrainingRun) -> None:
        self.run, self.count = run, len(run.steps)
        self.looks = Looks(run)
        self.probed = Probed(run, self.looks)
        self._kept: dict[Any, Any] = {}

    def once(self, function: Callable[[Any], T]) -> T:
        """function(self), computed the first time and kept as long as this is."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]

    @cached_property
    def rule(self) -> StepRule:
        return rule_of(self.run, self.looks)

    @cached_property
    def rate(self) -> float:
        """η, measured or else as said; NaN where neither is."""
        found = self.rule.rate if self.rule.rate is not None else self.run.optimiser.lr
        return math.nan if found is None else float(found)

    @cached_property
    def decay(self) -> float:
        """λ, measured or else as said; NaN where neither is."""
        if self.rule.decay is not None:
            return self.rule.decay if abs(self.rule.decay * self.rate) > NONE else 0.0
        own = np.unique(np.asarray(self.run.problem.decay))
        if own.size > 1:
            return math.nan
        if self.run.optimiser.decay is None:
            return float(own[0]) if own[0] else math.nan
        return self.run.optimiser.decay or float(own[0])

    @cached_property
    def descent(self) -> Assumption:
        """Steps are those of gradient descent on this loss, network and data, up to momentum and decay."""
        rule = self.rule
        values, bound = filled_in(rule.residual), filled_in(rule.allowed)
        name = self.run.optimiser.name
        if rule.name == "unknown" and name == "gd":
            values, bound = np.zeros(self.count), np.ones(self.count)
        elif rule.name == "unknown" and name not in ("", "sgd"):
            values, bound = np.full(self.count, np.inf), np.ones(self.count)
        said = f" ({name} was said)" if name not in ("", "gd", "sgd") else ""
        extras = [f"dropout={self.run.optimiser.dropout:g}"] if self.run.optimiser.dropout else []
        extras += (
            [f"label_noise={self.run.optimiser.label_noise:g}"] if self.run.optimiser.label_noise else []
        )
        said += f" ({', '.join(extras)} was said)" if extras else ""

        def words(value: float, allowed: float) -> str:
            if rule.name == "unknown":
                return (
                    "full gradient descent, as said" if value <= allowed else f"{name} is no gradient descent"
                )
            if value <= allowed:
                return f"steps are gradient steps of this loss up to {short(value)}"
            return f"steps differ from gradient steps of this loss by {short(value)}" + (
                f": {rule.why}" if rule.why else ""
            )

        drowned = float(np.nanmin(rule.allowed)) if np.any(~np.isnan(rule.allowed)) else math.nan
        unknown = "no two checkpoints are one step apart, so that no step can be measured; use gl.Probe"
        if not math.isnan(drowned):
            unknown = (
                f"rounding of the weights is {short(drowned)} of a step, so that no step can be measured"
            )
        return Assumption(
            "gradient descent", values, "<=", bound, words,
            "full-batch gradient descent on the loss and the data that are given, without dropout or noise",
            unknown, said,
        )  # fmt: skip

    @cached_property
    def no_momentum(self) -> Assumption:
        found = self.rule.momentum if self.rule.momentum is not None else self.run.optimiser.momentum
        how = "" if self.rule.momentum is not None else ", as said"
        return always(
            self.count, "no momentum", math.nan if found is None else abs(found), "<=", SAME,
            lambda v, b: f"momentum {short(v if v > SAME else 0.0)}{how}", "momentum 0",
            "momentum is not known: say it with the optimiser",
        )  # fmt: skip

    @cached_property
    def no_decay(self) -> Assumption:
        how = "" if self.rule.decay is not None else ", as said"
        return always(
            self.count, "no weight decay", abs(self.decay), "<=", 0.0,
            lambda v, b: f"weight decay {short(v)}{how}", "weight decay 0",
            "weight decay is not known: say it with the optimiser",
        )  # fmt: skip

    @cached_property
    def some_decay(self) -> Assumption:
        how = "" if self.rule.decay is not None else ", as said"
        return always(
            self.count, "weight decay", self.decay, ">=", 1e-300,
            lambda v, b: f"weight decay {short(v)}{how}", "a weight decay λ > 0",
            "weight decay is not known: say it with the optimiser",
        )  # fmt: skip

    @cached_property
    def rate_as_said(self) -> Assumption:
        said, found = self.run.optimiser.lr, self.rule.rate
        value = math.nan if math.isnan(self.rate) else 0.0
        if said is not None and found is not None:
            value = abs(found / said - 1.0)
        mean = "" if said is None or found is None else self._factor(found / said)
        told = f"learning rate {short(self.rate)}{'' if found is not None else ', as said'}"
        if self.rule.name == "varying":
            return always(
                self.count,
                "learning rate",
                1.0,
                "<=",
                SAME,
                lambda v, b: self.rule.why,
                "one learning rate throughout",
            )
        return always(
            self.count, "learning rate", value, "<=", SAME,
            lambda v, b: told if v <= b else f"{told}, and not {short(said or 0.0)} as said{mean}",
            "the learning rate as it was",
            "the learning rate is not known: say lr=…",
        )  # fmt: skip

    def _factor(self, ratio: float) -> str:
        """What a loss may have been whose steps are so many times those of the one that was given."""
        N, C = self.looks.outputs[0].shape
        for factor, words in (
            (1.0 / N, f"the loss was the mean over {N} examples, and here it is the sum"),
            (float(N), f"the loss was the sum over {N} examples, and here it is the mean"),
            (1.0 / C, f"the loss was a mean over {C} outputs too, and here it is their sum"),
            (0.5, "the loss was half of this one"),
            (2.0, "the loss was twice this one"),
        ):
            if factor != 1.0 and abs(ratio / factor - 1.0) <= SAME:
                times = f"{short(1.0 / factor)} times that" if factor < 1.0 else f"1/{short(factor)} of that"
                return f", which is {times}: {words}"
        return ""

    @cached_property
    def small_step(self) -> Assumption:
        """λ_max η/2 < 1."""
        shift = 0.0 if math.isnan(self.decay) else self.decay
        with np.errstate(invalid="ignore"):
            values = np.maximum(self.looks.sharpness + shift, 0.0) * self.rate / 2.0
        return Assumption(
            "step below 2/sharpness", values, "<=", np.full(self.count, 0.999),
            lambda v, b: f"sharpness {short(v)} × 2/η", "a learning rate below 2/sharpness",
            "the learning rate is not known: say lr=…",
        )  # fmt: skip

    @cached_property
    def falling(self) -> Assumption:
        """The loss does not rise to the next checkpoint."""
        size = np.maximum(np.abs(self.potential), 1e-300)
        rise, unit = np.append(np.diff(self.potential), 0.0) / size, self.wobble / size
        return Assumption(
            "falling loss", rise, "<=", unit,
            lambda v, b: f"the loss rises by {100 * v:.2g} %" if v > b else "the loss falls", "a smaller learning rate",
        )  # fmt: skip

    @cached_property
    def no_jump(self) -> Assumption:
        """Weights move between checkpoints no further than descent moves them.

        n steps lower the potential by Σ η(1 − ηβ/2)‖∇L‖² and move by Σ η‖∇L‖, hence by the root of n η times that at
        most; β between checkpoints is not seen, and ``FURTHER`` is left for it.
        """
        run, gaps = self.run, np.diff(self.run.steps)
        values = np.zeros(self.count)
        if self.rule.name in ("gradient", "decay") and self.run.unit == "step" and self.rate > 0.0:
            rounding = 3.0 * run.precision[1] * np.linalg.norm(run.flat[1:], axis=1) * np.sqrt(gaps)
            moved = np.maximum(np.linalg.norm(np.diff(run.flat, axis=0), axis=1) - rounding, 0.0)
            share = np.minimum(np.maximum(self.small_step.values[:-1], self.small_step.values[1:]), 0.999)
            fallen = np.maximum(-np.diff(self.potential), 0.0) + self.wobble[:-1]
            most = np.sqrt(gaps * self.rate * fallen / (1.0 - share))
            values[:-1] = np.where(gaps > 1, moved / np.maximum(most, 1e-300), 0.0)
        return Assumption(
            "no jump between checkpoints", values, "<=", np.full(self.count, FURTHER),
            lambda v, b: (
                f"to the next checkpoint weights move {short(v)} times as far as descent can (a restart, or a jump?)"
                if v > b else "weights move as far as descent can, or less"
            ),
            "a run without restarts, or checkpoints of one run only",
        )  # fmt: skip

    @cached_property
    def potential(self) -> np.ndarray:
        """(T,), risk + ½λ‖W‖²."""
        shift = 0.0 if math.isnan(self.decay) else self.decay
        return self.looks.risk + 0.5 * shift * np.sum(self.run.flat**2, axis=1)

    @cached_property
    def wobble(self) -> np.ndarray:
        """(T,), what rounding of the weights moves the potential by, to second order, ten times."""
        unit, sizes = self.run.precision[1], np.linalg.norm(self.run.flat, axis=1)
        first = np.linalg.norm(self.full_gradients, axis=1) * sizes
        second = np.maximum(self.looks.sharpness, 0.0) * unit * sizes**2
        return 10.0 * unit * (100.0 * np.abs(self.potential) + first + second)

    @cached_property
    def full_gradients(self) -> np.ndarray:
        """(T, P), ∇risk, and at least as long as that of the potential where there is decay."""
        shift = 0.0 if math.isnan(self.decay) else self.decay
        return np.hypot(self.looks.gradients, shift * self.run.flat)

    @cached_property
    def precise(self) -> Assumption:
        name, unit = self.run.precision
        narrow = self.probed.findings.narrow
        if narrow and self.probed.findings.unit > unit:
            name, unit = f"{narrow} inside the network", self.probed.findings.unit
        moved = np.linalg.norm(np.diff(self.run.flat, axis=0), axis=1)
        share = (
            unit * float(np.linalg.norm(self.run.flat[-1])) / max(float(np.max(moved, initial=0.0)), 1e-300)
        )
        return always(
            self.count, "precision", unit, "<=", 2.0**-20,
            lambda v, b: f"{name}, rounding {short(v)}" + (f" ({short(share)} of the largest move)" if v > b else ""),
            "weights and gradients in float32 or float64",
        )  # fmt: skip

    @property
    def plain(self) -> list[Assumption]:
        """Plain gradient descent with a step that theorems about the flow can follow."""
        return [self.descent, self.no_momentum, self.no_decay, *self.steady, self.falling]

    @property
    def steady(self) -> list[Assumption]:
        return [self.rate_as_said, self.small_step, self.precise, self.no_jump]
