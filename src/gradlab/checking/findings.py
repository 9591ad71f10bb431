"""What was found of a run that theorems do not expect, each with its number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradlab.checking.assumed import Assumed
from gradlab.checking.hypotheses import Assumption, short
from gradlab.checking.models.own_model import ModelFacts
from gradlab.checking.of_steps import NONE
from gradlab.checking.stepping import SAME


@dataclass(frozen=True)
class Finding:
    """One thing: its ``name``, the ``number`` that shows it, and a sentence with both."""

    name: str
    number: float
    words: str


def found(assumed: Assumed) -> tuple[Finding, ...]:
    """All of it, in the order network, steps, numbers, data."""
    return (*_network(assumed), *_steps(assumed), *_numbers(assumed), *_data(assumed))


def _network(assumed: Assumed) -> list[Finding]:
    probed, out = assumed.probed, []
    if probed.at_zero_input > probed.exact:
        what = "biases" if np.any(probed.thin) else "something is added"
        out.append(
            Finding(
                "bias", probed.at_zero_input, f"{what}: f(W; 0) is {short(probed.at_zero_input)} of f(W; x)"
            )
        )
    if assumed.alone.status[0] == 0:
        if probed.repeats > 100 * probed.exact:
            out.append(
                Finding(
                    "random",
                    probed.repeats,
                    f"two evaluations differ by {short(probed.repeats)}: dropout left on?",
                )
            )
        else:
            out.append(Finding("batch", probed.interacts, assumed.alone.said(np.arange(1))))
    for name, share in getattr(assumed.run.problem.network, "told", ModelFacts()).random:
        out.append(
            Finding(
                "dropout",
                share,
                f"dropout of {short(share)} in {name}: the network is looked at without it, and a step made with it "
                "is of another function",
            )
        )
    around = [
        (share, name) for share, name in zip(probed.around, assumed.run.layers, strict=True) if share > 1e-6
    ]
    if around and probed.interacts <= 100 * probed.exact:
        share, name = max(around)
        out.append(
            Finding(
                "residual",
                share,
                f"a residual path (or a gate): {short(share)} of f goes around layer {name}",
            )
        )
    if assumed.untied.status[0] == 0:
        out.append(
            Finding(
                "tied", float(assumed.untied.values[0]), f"tied weights: {assumed.untied.said(np.arange(1))}"
            )
        )
    state = assumed.run.state
    if state:
        out.append(
            Finding(
                "state", len(state), f"{len(state)} arrays are no trained weights: {', '.join(state[:3])}"
            )
        )
    return out


def _since(assumed: Assumed, broken: Assumption) -> int:
    """The first step at which it does not hold."""
    return int(assumed.run.steps[np.argmax(broken.status == 0)])


def _steps(assumed: Assumed) -> list[Finding]:
    rule, said, out = assumed.rule, assumed.run.optimiser, []
    every = np.arange(assumed.count)
    momentum = rule.momentum if rule.momentum is not None else said.momentum
    how = "measured" if rule.momentum is not None else "as said"
    if momentum is not None and abs(momentum) > SAME:
        out.append(Finding("momentum", momentum, f"momentum {short(momentum)}, {how}"))
    if (rule.decay is not None and abs(rule.decay * assumed.rate) > NONE) or (
        rule.decay is None and assumed.decay > 0
    ):
        how = "measured" if rule.decay is not None else "as said"
        out.append(Finding("decay", assumed.decay, f"weight decay {short(assumed.decay)}, {how}"))
    if assumed.descent.status.min() == 0:
        at = assumed.descent.decisive(every) or 0
        number = float(assumed.descent.values[at])
        words = f"{assumed.descent.said(every)}, from step {_since(assumed, assumed.descent)}"
        out.append(Finding("steps", number, words))
    if assumed.rate_as_said.status[0] == 0:
        out.append(Finding("rate", assumed.rate, assumed.rate_as_said.said(every)))
    if np.any(assumed.small_step.status == 0):
        at = assumed.small_step.decisive(every) or 0
        number = float(assumed.small_step.values[at])
        out.append(
            Finding(
                "step size",
                number,
                f"too large a step: {assumed.small_step.said(every)}, from step {_since(assumed, assumed.small_step)}",
            )
        )
    if np.any(assumed.no_jump.status == 0):
        at = assumed.no_jump.decisive(every) or 0
        number, words = float(assumed.no_jump.values[at]), assumed.no_jump.said(every)
        out.append(Finding("jump", number, f"after step {assumed.run.steps[at]} {words}"))
    if np.any(assumed.falling.status == 0):
        at = assumed.falling.decisive(every) or 0
        out.append(
            Finding(
                "rising loss",
                float(assumed.falling.values[at]),
                f"{assumed.falling.said(every)} after step {assumed.run.steps[at]}",
            )
        )
    return out


def _numbers(assumed: Assumed) -> list[Finding]:
    if assumed.precise.status[0] == 1:
        return []
    return [Finding("precision", float(assumed.precise.values[0]), assumed.precise.said(np.arange(1)))]


def _data(assumed: Assumed) -> list[Finding]:
    data = assumed.run.problem.data
    if data.test_inputs is None:
        return []
    train = {
        row.tobytes() for row in np.ascontiguousarray(np.asarray(data.inputs).reshape(len(data.inputs), -1))
    }
    test = np.ascontiguousarray(np.asarray(data.test_inputs).reshape(len(data.test_inputs), -1))
    shared = sum(row.tobytes() in train for row in test)
    if not shared:
        return []
    return [Finding("leakage", shared, f"{shared} of {len(test)} test inputs are training inputs")]
