"""Optimisers from their tables: which transformation of optax each is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradlab.specification import flows
from gradlab.specification.sentences import SpecificationError


def learning_rate(step: Any, made: Callable[[Any], Any]) -> Any:
    """What optax takes for a step: a number, or a function of the iteration; made : of a table a Schedule."""
    if isinstance(step, flows.LossScaledStep):
        raise SpecificationError(
            'in [flow]: a loss-scaled step is for kind = "gradient descent"; write a number, or a table of kind '
            '"power law" or "geometric"'
        )
    return made(step) if isinstance(step, flows.PowerLawStep | flows.GeometricStep) else float(step)


def transformation(section: flows.Optimising, rate: Any) -> Any:
    """The transformation that a table of :class:`~gradlab.specification.flows.Optimising` names."""
    import optax

    match section:
        case flows.Momentum(kind=kind, momentum=momentum):
            return optax.sgd(rate, momentum, nesterov=kind == "nesterov")
        case flows.Adam(b1=b1, b2=b2, eps=eps):
            return optax.adam(rate, b1, b2, eps)
        case flows.AdaGrad(begin=begin, eps=eps):
            return optax.adagrad(rate, begin, eps)
        case flows.AdaDelta(rho=rho, eps=eps):
            return optax.adadelta(rate, rho, eps)
        case flows.RMSProp(rho=rho, eps=eps, momentum=momentum):
            return optax.rmsprop(rate, rho, eps, momentum=momentum or None)
    raise TypeError(f"no optimiser belongs to {type(section).__name__}")
