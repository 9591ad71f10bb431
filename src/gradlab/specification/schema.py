"""The tables of a specification file: what may be written, and of which type.

Every table forbids keys it does not know. Tables with several forms are told apart by ``kind``. Defaults
are written into the dumped specification, so that leaving a key out and writing its default is the same run.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gradlab.specification.flows import Flow, PlainFlow
from gradlab.specification.section import (
    Count,
    CountOrZero,
    Fraction,
    Name,
    NonNegative,
    PerLayer,
    Positive,
    Reduction,
    Section,
    Seed,
)

# --- activations: a name, or a table with parameters -------------------------------------------------


class PlainActivation(Section):
    kind: Literal["identity", "relu", "squared_relu", "tanh", "sigmoid", "gelu"]


class LeakyReLUActivation(Section):
    kind: Literal["leaky_relu"]
    slope: float = 0.01


class SmoothReLUActivation(Section):
    kind: Literal["smooth_relu"]
    epsilon: Positive = 0.1


class PolynomialActivation(Section):
    kind: Literal["polynomial"]
    coefficients: Annotated[list[float], Field(min_length=1, max_length=100)]


Activation = Annotated[
    Annotated[
        PlainActivation | LeakyReLUActivation | SmoothReLUActivation | PolynomialActivation,
        Field(discriminator="kind"),
    ],
    BeforeValidator(lambda value: {"kind": value} if isinstance(value, str) else value),
]


# --- initial weights ---------------------------------------------------------------------------------


class GaussianInit(Section):
    kind: Literal["gaussian"]
    scale: NonNegative


class HeInit(Section):
    kind: Literal["he"]


class BalancedInit(Section):
    kind: Literal["balanced"]
    scale: NonNegative


class IdentityInit(Section):
    kind: Literal["identity"]


class FactorisedInit(Section):
    kind: Literal["factorised"]
    matrix: Annotated[list[Annotated[list[float], Field(min_length=1)]], Field(min_length=1)]


Init = Annotated[
    GaussianInit | HeInit | BalancedInit | IdentityInit | FactorisedInit, Field(discriminator="kind")
]


# --- networks ----------------------------------------------------------------------------------------


class DenseNetwork(Section):
    kind: Literal["dense"]
    widths: Annotated[list[Count], Field(min_length=2, max_length=1001)]
    activation: Activation = PlainActivation(kind="relu")
    bias: bool = False
    init: Init = HeInit(kind="he")


class ConvolutionalNetwork(Section):
    kind: Literal["convolutional"]
    shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    channels: Annotated[list[Count], Field(min_length=1, max_length=100)] = Field(default=[4, 8])
    kernel: Count = 3
    stride: Count = 2
    outputs: Count
    activation: Activation = PlainActivation(kind="relu")
    init: Init = HeInit(kind="he")


class PooledNetwork(Section):
    """(Convolution, σ, max pool 2×2) for every channel number, then dense, σ, dropout, dense; with biases."""

    kind: Literal["pooled"]
    shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    channels: Annotated[list[Count], Field(min_length=1, max_length=100)] = Field(default=[32, 64])
    kernel: Count = 5
    hidden: Count = 512
    outputs: Count
    activation: Activation = PlainActivation(kind="relu")
    dropout: Fraction = 0.0
    redundant: bool = False
    init: Init = HeInit(kind="he")


class ResidualNetwork(Section):
    kind: Literal["residual"]
    inputs: Count
    width: Count
    blocks: Annotated[int, Field(ge=1, le=1000)]
    outputs: Count
    activation: Activation = PlainActivation(kind="relu")
    init: Init = HeInit(kind="he")


class FunctionNetwork(Section):
    """One's own ``name(weights, x)`` and ``initial(key)``, from the file given with ``--code``."""

    kind: Literal["function"]
    name: Name
    initial: str = "initial"
    batched: bool = True
    smooth: bool = True


Network = Annotated[
    DenseNetwork | ConvolutionalNetwork | PooledNetwork | ResidualNetwork | FunctionNetwork,
    Field(discriminator="kind"),
]


# --- losses ------------------------------------------------------------------------------------------


class SquareLoss(Section):
    kind: Literal["square"]
    reduction: Reduction = "sum"
    half: bool = False


class LpLoss(Section):
    kind: Literal["lp"]
    p: Annotated[float, Field(ge=1, le=1000)]
    reduction: Reduction = "sum"


class QuantileLoss(Section):
    kind: Literal["quantile"]
    q: Annotated[float, Field(gt=0, lt=1)]
    reduction: Reduction = "sum"


class MarginLoss(Section):
    kind: Literal["exponential", "logistic", "cross-entropy", "hinge"]
    reduction: Reduction = "sum"


class FunctionLoss(Section):
    """One's own ``name(outputs, targets)``, from the file given with ``--code``."""

    kind: Literal["function"]
    name: Name
    log_name: str | None = None
    reduction: Reduction = "sum"
    labels: Literal["real", "sign", "class"] = "real"


Loss = Annotated[SquareLoss | LpLoss | QuantileLoss | MarginLoss | FunctionLoss, Field(discriminator="kind")]


# --- data --------------------------------------------------------------------------------------------


class Digits(Section):
    kind: Literal["digits"]
    classes: Annotated[list[int], Field(min_length=2, max_length=10)] | None = None
    test_fraction: Fraction = 0.2
    seed: Seed = 0


class Bundled(Section):
    kind: Literal["breast_cancer", "diabetes"]
    test_fraction: Fraction = 0.2
    seed: Seed = 0


class Images(Section):
    kind: Literal["mnist", "cifar10"]
    train: Count | None = 1000
    test: CountOrZero | None = 1000
    classes: Annotated[list[int], Field(min_length=2, max_length=10)] | None = None
    seed: Seed | None = None


class GasSensor(Section):
    kind: Literal["gas_sensor"]
    standardise: bool = True
    whiten: bool = False
    test_fraction: Fraction = 0.0
    seed: Seed = 0


class Clouds(Section):
    kind: Literal["gaussian clouds"]
    examples: Count
    inputs: Count
    separation: NonNegative = 2.0
    classes: Annotated[int, Field(ge=2, le=100_000)] = 2
    seed: Seed = 0


class Separable(Section):
    kind: Literal["separable"]
    examples: Count
    inputs: Count
    margin: Positive = 1.0
    seed: Seed = 0


class TeacherNetwork(Section):
    widths: Annotated[list[Count], Field(min_length=2, max_length=1001)]
    activation: Activation = PlainActivation(kind="relu")
    init: Init = HeInit(kind="he")


class Teacher(Section):
    kind: Literal["teacher"]
    examples: Count
    network: TeacherNetwork
    noise: NonNegative = 0.0
    test: CountOrZero = 0
    seed: Seed = 0


class LinearRegression(Section):
    kind: Literal["linear regression"]
    examples: Count
    inputs: Count
    outputs: Count = 1
    rank: Count | None = None
    noise: NonNegative = 0.0
    seed: Seed = 0


class WhitenedRegression(Section):
    kind: Literal["whitened regression"]
    examples: Count
    inputs: Count
    outputs: Count = 1
    condition: Annotated[float, Field(ge=1)] | None = None
    noise: NonNegative = 0.0
    seed: Seed = 0


class ChebyshevRegression(Section):
    """sin(8πx) at Chebyshev nodes, on polynomial features (memo90 fig. 4: degree 39, 9 nodes)."""

    kind: Literal["chebyshev"]
    degree: Annotated[int, Field(ge=0, le=10_000)]
    examples: Count
    test: CountOrZero = 100
    basis: Literal["chebyshev", "monomial"] = "chebyshev"


def _column(value: Any) -> Any:
    """A column's name or its number, said in one sentence where it is neither."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise PydanticCustomError("neither", "it must be a column's name in quotes, or its number from 0")


def _separator(value: str) -> str:
    if value.isalnum() or not (value == "\t" or value.isprintable()) or value in "\"'+-._#\\":
        raise PydanticCustomError("neither", "it must be a separator such as ',' ';' '|' ' ' or '\\t'")
    return value


Column = Annotated[str | int, BeforeValidator(_column)]


def _several(value: Any) -> Any:
    """A column that stands alone, as a list of one."""
    return value if isinstance(value, list) or value is None else [value]


def _label(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise PydanticCustomError("neither", "it must be a label in quotes, or a whole number")


Columns = Annotated[list[Column], BeforeValidator(_several)]
Label = Annotated[str | int, BeforeValidator(_label)]


class OwnFile(Section):
    """What may be asked of a file of one's own, whatever its format."""

    path: Name
    missing: Literal["drop", "mean"] | None = None
    standardise: bool = False
    classes: Annotated[list[Label], Field(min_length=2, max_length=1000)] | None = None
    test_fraction: Fraction = 0.0
    seed: Seed = 0


class CsvFile(OwnFile):
    """Rows are examples; what is not said (header, separator, decimal sign, index) is found, and told."""

    kind: Literal["csv"]
    targets: Annotated[Columns, Field(min_length=1)]
    inputs: Annotated[Columns, Field(min_length=1)] | None = None
    index: Columns | None = None
    header: bool | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_separator)] | None = None
    decimal: Literal[".", ","] | None = None
    test_path: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_target(cls, given: Any) -> Any:
        """``target = "y"`` is short for ``targets = ["y"]``."""
        if isinstance(given, dict) and "target" in given and "targets" not in given:
            return {("targets" if key == "target" else key): value for key, value in given.items()}
        return given


class NpzFile(OwnFile):
    """Arrays ``inputs`` and ``targets`` (and, if named, a test split) of a NumPy ``.npz`` file."""

    kind: Literal["npz"]
    inputs: str = "inputs"
    targets: str = "targets"
    test_inputs: str | None = None
    test_targets: str | None = None


Data = Annotated[
    Digits
    | Bundled
    | Images
    | GasSensor
    | Clouds
    | Separable
    | Teacher
    | LinearRegression
    | WhitenedRegression
    | ChebyshevRegression
    | CsvFile
    | NpzFile,
    Field(discriminator="kind"),
]


# --- runs -------------------------------------------------------------------------------------------


class ClockTable(Section):
    kind: Literal["time", "log-time", "log-loss", "arc length", "log-norm"] = "time"


class SolverTable(Section):
    method: str = "auto"
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    step: Positive | None = None
    refine: bool | None = None
    reduce: bool | None = None


class Records(Section):
    """When to look: ``count`` records to ``until``, in the units of the clock (steps, for descent)."""

    spacing: Literal["linear", "log"] = "linear"
    until: Positive
    count: Annotated[int, Field(ge=2, le=100_000)] = 101
    first: Positive | None = None
    keep: Literal["end", "all"] = "end"


class StopTable(Section):
    """Where to stop before the last record; ``time`` is short for ``log_t = log(time)``."""

    time: Positive | None = None
    log_t: float | None = None
    loss: Positive | None = None
    log_loss: float | None = None
    gradient_norm: Positive | None = None
    steps: Count | None = None
    still: Positive | None = None


class Specification(Section):
    """A problem and a run: everything that decides what is computed."""

    title: str = ""
    seed: Seed = 0
    decay: PerLayer = 0.0
    observables: Annotated[list[str], Field(min_length=1)] | None = None
    network: Network
    loss: Loss
    data: Data
    flow: Flow = PlainFlow(kind="gradient flow")
    clock: ClockTable = ClockTable()
    solver: SolverTable = SolverTable()
    records: Records
    stop: StopTable = StopTable()

    def canonical(self) -> dict[str, Any]:
        """Plain values with every default written out: what enters a run's identity.

        The title is left out: calling a run something else does not make it another run.
        """
        return self.model_dump(mode="json", exclude_none=True, exclude={"title"})
