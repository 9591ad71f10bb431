"""Networks, initial weights and losses from their tables, checked against the data."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from gradlab.problem import activations, initialisation, kinked, losses, networks
from gradlab.problem.data import Data
from gradlab.specification import code, schema
from gradlab.specification.sentences import SpecificationError

_MARGIN_LOSSES: dict[str, Any] = {
    "exponential": losses.Exponential,
    "logistic": losses.Logistic,
    "cross-entropy": losses.CrossEntropy,
    "hinge": kinked.Hinge,
}


def activation_of(section: schema.Activation) -> Any:
    """The activation of a network's table."""
    match section:
        case schema.LeakyReLUActivation(slope=slope):
            return activations.leaky_relu(slope)
        case schema.SmoothReLUActivation(epsilon=epsilon):
            return activations.smooth_relu(epsilon)
        case schema.PolynomialActivation(coefficients=coefficients):
            return activations.polynomial(tuple(coefficients))
    return activations.activation(section.kind)


def scheme(section: schema.Init) -> Any:
    """The initialisation scheme of [network.init]."""
    match section:
        case schema.GaussianInit(scale=scale):
            return initialisation.Gaussian(scale)
        case schema.BalancedInit(scale=scale):
            return initialisation.Balanced(scale)
        case schema.IdentityInit():
            return initialisation.Identity()
        case schema.FactorisedInit(matrix=matrix):
            if len({len(row) for row in matrix}) != 1:
                raise SpecificationError("in [network.init]: the rows of matrix differ in length")
            return initialisation.Factorised(matrix)
    return initialisation.He()


def loss(section: schema.Loss, module: ModuleType | None) -> Any:
    """The loss of [loss]."""
    match section:
        case schema.SquareLoss(reduction=reduction, half=half):
            return losses.Square(reduction=reduction, half=half)
        case schema.LpLoss(p=p, reduction=reduction):
            return losses.Lp(p=p, reduction=reduction)
        case schema.QuantileLoss(q=q, reduction=reduction):
            return kinked.Quantile(q, reduction=reduction)
        case schema.FunctionLoss(name=name, log_name=log_name, reduction=reduction, labels=labels):
            value = code.function(module, name, "in [loss]")
            log_value = None if log_name is None else code.function(module, log_name, "in [loss]")
            return losses.CustomLoss(value, log_value=log_value, reduction=reduction, labels=labels)
    return _MARGIN_LOSSES[section.kind](reduction=section.reduction)


def network(section: schema.Network, data: Data, of: Any, module: ModuleType | None) -> tuple[Any, Any]:
    """(network, scheme) of [network], refused where inputs or outputs do not fit the data.

    Raises
    ------
    SpecificationError
        Naming the number that would fit.
    """
    shape = tuple(int(n) for n in data.inputs.shape[1:])
    inputs, outputs = math.prod(shape), expected_outputs(of, data)
    match section:
        case schema.DenseNetwork(widths=widths, bias=bias):
            _fits_widths(widths, inputs, outputs, "in [network]")
            built: Any = networks.Dense(tuple(widths), activation_of(section.activation), bias=bias)
        case schema.ConvolutionalNetwork(shape=given):
            _fits("shape", math.prod(given), inputs, f"images of {inputs} numbers")
            _fits("outputs", section.outputs, outputs, f"{outputs} outputs")
            built = networks.Convolutional(
                input_shape=tuple(given),
                channels=tuple(section.channels),
                kernel=section.kernel,
                stride=section.stride,
                outputs=section.outputs,
                activation=activation_of(section.activation),
            )
        case schema.PooledNetwork(shape=given):
            _fits("shape", math.prod(given), inputs, f"images of {inputs} numbers")
            _fits("outputs", section.outputs, outputs, f"{outputs} outputs")
            built = networks.Pooled(
                tuple(given),
                tuple(section.channels),
                section.kernel,
                section.hidden,
                section.outputs,
                activation_of(section.activation),
                dropout=section.dropout,
                redundant=section.redundant,
            )
        case schema.ResidualNetwork():
            _fits("inputs", section.inputs, inputs, f"{inputs} inputs")
            _fits("outputs", section.outputs, outputs, f"{outputs} outputs")
            built = networks.Residual(
                section.inputs,
                section.width,
                section.blocks,
                section.outputs,
                activation_of(section.activation),
            )
        case schema.FunctionNetwork(name=name, initial=initial):
            built = networks.Function(
                code.function(module, name, "in [network]"),
                initial=code.function(module, initial, "in [network]"),
                input_shape=shape,
                outputs=outputs,
                smooth=section.smooth,
                batched=section.batched,
            )
            return built, None
    return built, scheme(section.init)


def expected_outputs(of: Any, data: Data) -> int:
    """How many outputs the targets ask for: C of real targets, 1 for ±1, the number of classes."""
    if of.labels == "real":
        return int(data.targets.shape[1]) if data.targets.ndim == 2 else 1
    return 1 if of.labels == "sign" else max(int(data.targets.max()) + 1, 2)


def _fits_widths(widths: list[int], inputs: int, outputs: int, where: str) -> None:
    if widths[0] == inputs and widths[-1] == outputs:
        return
    right = [inputs, *widths[1:-1], outputs]
    wrong = []
    if widths[0] != inputs:
        wrong.append(f"begin with {widths[0]}, but the data have {_count(inputs, 'input')}")
    if widths[-1] != outputs:
        wrong.append(f"end with {widths[-1]}, but the targets ask for {_count(outputs, 'output')}")
    raise SpecificationError(f"{where}: widths {', and '.join(wrong)}: write widths = {right}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _fits(key: str, given: int, right: int, has: str) -> None:
    if given != right:
        raise SpecificationError(f"in [network]: {key} stands for {given}, but the data have {has}")
