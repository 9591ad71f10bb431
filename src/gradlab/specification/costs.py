"""What a specification would take in memory, told from its numbers before anything is built."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from gradlab.specification import schema
from gradlab.specification.schema import Specification
from gradlab.specification.sentences import SpecificationError
from gradlab.store.foreign import BUDGET, megabytes

#: Numbers of float64 that data, weights or records may be.
_NUMBERS = BUDGET // 8
#: As many times more may activations be: the network's values on all examples.
_ACTIVATIONS = 4


def weigh(specification: Specification) -> None:
    """Refuse what would not fit, naming the table.

    Raises
    ------
    SpecificationError
        With what was asked for and what there is.
    """
    data, network, records = specification.data, specification.network, specification.records
    examples, width = _data(data)
    _fits("[data]", "the data", examples * width)
    if isinstance(data, schema.Teacher):
        _fits("[data.network]", "the weights", _chain(data.network.widths))
    if isinstance(data, schema.WhitenedRegression):
        _fits("[data]", "the covariance of the inputs", data.inputs**2)
    size, units = _network(network)
    _fits("[network]", "the weights", size)
    _fits("[network]", "the values of all units on all examples", examples * units, _ACTIVATIONS)
    if records.keep == "all":
        _fits("[records]", "the weights of all records", records.count * size)


def _fits(where: str, what: str, numbers: int, times: int = 1) -> None:
    if numbers > times * _NUMBERS:
        raise SpecificationError(
            f"in {where}: {what} would take {megabytes(8.0 * min(numbers, 10**60))}; at most "
            f"{megabytes(8 * times * _NUMBERS)} are taken: write smaller numbers"
        )


def _chain(widths: list[int]) -> int:
    return sum((below + 1) * above for below, above in pairwise(widths))


def _data(section: schema.Data) -> tuple[int, int]:
    """(examples, numbers an example) of data that are made; (0, 0) of data that are read."""
    match section:
        case schema.Clouds():
            return section.examples, section.inputs + section.classes
        case schema.Separable():
            return section.examples, section.inputs + 1
        case schema.Teacher():
            return section.examples + section.test, section.network.widths[0] + max(section.network.widths)
        case schema.LinearRegression() | schema.WhitenedRegression():
            return section.examples, section.inputs + section.outputs
        case schema.ChebyshevRegression():
            return section.examples + section.test, section.degree + 2
    return 0, 0


def _network(section: schema.Network) -> tuple[int, int]:
    """(weights, units) of a network; (0, 0) of one's own function."""
    match section:
        case schema.DenseNetwork(widths=widths):
            return _chain(widths), sum(widths)
        case schema.ResidualNetwork(inputs=inputs, width=width, blocks=blocks, outputs=outputs):
            return inputs * width + blocks * width**2 + width * outputs, inputs + (blocks + 1) * width
        case schema.ConvolutionalNetwork(shape=shape, channels=channels, kernel=kernel, outputs=outputs):
            chain = [shape[0], *channels]
            pixels = prod(shape[1:])
            kernels = sum(below * above * kernel**2 for below, above in pairwise(chain))
            return kernels + outputs * channels[-1] * pixels, sum(chain) * pixels
        case schema.PooledNetwork(shape=shape, channels=channels, kernel=kernel, hidden=hidden):
            chain, pixels, outputs = [shape[0], *channels], prod(shape[1:]), section.outputs
            kernels = sum(below * above * kernel**2 for below, above in pairwise(chain))
            dense = (
                hidden * channels[-1] * pixels
                + hidden * outputs
                + section.redundant * (hidden**2 + outputs**2)
            )
            return kernels + dense, sum(chain) * pixels + hidden
    return 0, 0
