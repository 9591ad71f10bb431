"""The table ``[flow]``: what moves the weights, and by which steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from gradlab.specification.section import (
    Count,
    Fraction,
    NonNegative,
    PerLayer,
    Positive,
    Section,
    number_or,
)


class Kicks(Section):
    """Gaussian kicks of size ``sigma`` at clock values (or iterations) every, 2·every, … ≤ until."""

    sigma: Positive
    every: Positive
    until: Positive | None = None
    scale: Literal["absolute", "layer", "norm"] = "absolute"


class PowerLawStep(Section):
    """The step ``step/(1 + k/delay)^exponent`` at iteration k."""

    kind: Literal["power law"]
    step: Positive
    exponent: NonNegative
    delay: Positive = 1.0


class GeometricStep(Section):
    """The step ``step · factor^⌊k/every⌋`` at iteration k."""

    kind: Literal["geometric"]
    step: Positive
    factor: Positive
    every: Count = 1


class LossScaledStep(Section):
    """The step ``step/L(W_k)``: Euler in log-loss time."""

    kind: Literal["loss-scaled"]
    step: Positive


Step = Annotated[
    Annotated[Positive, Tag("number")]
    | Annotated[
        Annotated[PowerLawStep | GeometricStep | LossScaledStep, Field(discriminator="kind")], Tag("schedule")
    ],
    number_or("schedule"),
]


#: In which the gradients of iterations are computed; weights and observables are float64.
Precision = Literal["float64", "float32"]


class PlainFlow(Section):
    kind: Literal["gradient flow", "normalised", "weight normalisation"]
    kicks: Kicks | None = None


class PenaltyFlow(Section):
    kind: Literal["unit-norm penalty"]
    penalties: PerLayer
    kicks: Kicks | None = None


class EndToEnd(Section):
    """The flow of the product matrix of a deep linear net; the network is the depth-one problem."""

    kind: Literal["end-to-end"]
    depth: Annotated[int, Field(ge=2, le=1000)]
    kicks: Kicks | None = None


class DescentFlow(Section):
    kind: Literal["gradient descent"]
    step: Step
    precision: Precision = "float64"
    kicks: Kicks | None = None


class Stochastic(Section):
    kind: Literal["sgd"]
    step: Step
    batch: Count
    sampling: Literal["replacement", "epoch"] = "replacement"
    precision: Precision = "float64"
    kicks: Kicks | None = None


class Optimising(Section):
    """Every optimiser: ``step`` is a number or a schedule; with ``batch`` on minibatches."""

    step: Step
    batch: Count | None = None
    sampling: Literal["replacement", "epoch"] = "replacement"
    precision: Precision = "float64"
    kicks: Kicks | None = None


class Momentum(Optimising):
    """Heavy-ball or Nesterov's momentum."""

    kind: Literal["momentum", "nesterov"]
    momentum: Fraction = 0.9


class Adam(Optimising):
    kind: Literal["adam"]
    b1: Fraction = 0.9
    b2: Fraction = 0.999
    eps: NonNegative = 1e-8


class AdaGrad(Optimising):
    kind: Literal["adagrad"]
    begin: NonNegative = 0.1
    eps: NonNegative = 1e-7


class AdaDelta(Optimising):
    kind: Literal["adadelta"]
    step: Step = 1.0
    rho: Fraction = 0.9
    eps: Positive = 1e-6


class RMSProp(Optimising):
    kind: Literal["rmsprop"]
    rho: Fraction = 0.9
    eps: NonNegative = 1e-8
    momentum: Fraction = 0.0


Flow = Annotated[
    PlainFlow
    | PenaltyFlow
    | EndToEnd
    | DescentFlow
    | Stochastic
    | Momentum
    | Adam
    | AdaGrad
    | AdaDelta
    | RMSProp,
    Field(discriminator="kind"),
]
