"""Data from their table: bundled, downloaded, synthetic, or one's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from pydantic import ValidationError

from gradlab import loaders
from gradlab.problem import data as made
from gradlab.problem.data import Data
from gradlab.problem.networks import Dense
from gradlab.specification import networks, schema
from gradlab.specification.files import last_column, own_data
from gradlab.specification.sentences import SpecificationError, sentence

#: How loaders name the labels that a loss takes.
_FORMS: dict[str, Any] = {"real": "onehot", "sign": "sign", "class": "class"}

#: So many different whole numbers are taken for classes where nothing is said of them.
_FEW = 30


def data(section: schema.Data, labels: str, folder: Path) -> Data:
    """The data of [data], with targets as the loss takes them.

    Parameters
    ----------
    labels : ``real``, ``sign`` or ``class``: what the loss takes.
    folder : paths are relative to it.
    """
    match section:
        case schema.CsvFile() | schema.NpzFile():
            return own_data(section, labels, folder)
        case schema.Digits():
            return made.digits(section.classes, section.test_fraction, section.seed, _FORMS[labels])
        case schema.Bundled():
            return _bundled(section, labels)
        case schema.Images():
            load = loaders.mnist if section.kind == "mnist" else loaders.cifar10
            return load(
                section.train, section.test, classes=section.classes, labels=_FORMS[labels], seed=section.seed
            )
        case schema.GasSensor():
            _takes("real", labels, section.kind)
            return loaders.gas_sensor(
                standardise=section.standardise,
                whiten=section.whiten,
                test_fraction=section.test_fraction,
                seed=section.seed,
            )
        case schema.ChebyshevRegression():
            _takes("real", labels, section.kind)
            return made.chebyshev(section.degree, section.examples, N_test=section.test, basis=section.basis)
    return _random(section, labels)


def _takes(right: str, labels: str, kind: str) -> None:
    names = {"real": "real targets", "sign": "labels ±1", "class": "classes 0, 1, …"}
    if labels != right:
        advice = {"real": "square", "sign": "exponential"}[right]
        raise SpecificationError(
            f"in [loss]: the data {kind!r} have {names[right]}, and the loss takes {names[labels]}; "
            f'write kind = "{advice}"'
        )


def _bundled(section: schema.Bundled, labels: str) -> Data:
    if section.kind == "diabetes":
        _takes("real", labels, section.kind)
        return made.diabetes(section.test_fraction, section.seed)
    if labels == "class":
        return made.breast_cancer(section.test_fraction, section.seed, "class")
    signs = made.breast_cancer(section.test_fraction, section.seed)
    return signs if labels == "sign" else _as_columns(signs, lambda labels: labels[:, None])


def _random(section: Any, labels: str) -> Data:
    key = jax.random.key(section.seed)
    match section:
        case schema.Clouds():
            form: Any = "sign" if labels == "sign" else "class"
            clouds = made.gaussian_clouds(
                key, section.examples, section.inputs, section.separation, section.classes, form
            )
            rows = np.eye(section.classes)
            return clouds if labels != "real" else _as_columns(clouds, lambda numbers: rows[numbers])
        case schema.Separable():
            _takes("sign", labels, section.kind)
            return made.separable(key, section.examples, section.inputs, section.margin)
        case schema.Teacher(network=of):
            _takes("real", labels, section.kind)
            network = Dense(tuple(of.widths), networks.activation_of(of.activation))
            draw, weigh = jax.random.split(key)
            weights = network.init(weigh, networks.scheme(of.init))
            return made.teacher(draw, network, weights, section.examples, section.noise, section.test)
        case schema.WhitenedRegression():
            _takes("real", labels, section.kind)
            return made.whitened_regression(
                key, section.examples, section.inputs, section.outputs, section.condition, section.noise
            )
    _takes("real", labels, section.kind)
    return made.linear_regression(
        key, section.examples, section.inputs, section.outputs, section.rank, section.noise
    )


def _as_columns(data: Data, columns: Callable[[np.ndarray], np.ndarray]) -> Data:
    """Labels as columns of real targets, for a loss of residuals."""
    targets = columns(np.asarray(data.targets))
    if data.test_targets is None:
        return Data(data.inputs, targets, provenance=data.provenance)
    test = columns(np.asarray(data.test_targets))
    return Data(data.inputs, targets, data.test_inputs, test, provenance=data.provenance)


def as_taken(path: Path, targets: list[str], options: dict[str, Any]) -> tuple[Data, dict[str, Any], str]:
    """A file of one's own as it would be taken, the table [data] that says so, and a loss that fits its targets.

    Parameters
    ----------
    targets : names (or numbers) of the target's columns, or the name of an array; the last column unless given.
    options : further keys of the table; None is not written.
    """
    kind = "npz" if path.suffix.lower() == ".npz" else "csv"
    table: dict[str, Any] = {"kind": kind, "path": path.name}
    table |= {key: value for key, value in options.items() if value is not None}
    if kind == "csv":
        columns = [int(name) if name.isdecimal() else name for name in targets]
        table["targets"] = columns or [last_column(_section(schema.CsvFile, table | {"targets": [0]}), path)]
    elif targets:
        table["targets"] = targets[0]
    section: Any = _section(schema.CsvFile if kind == "csv" else schema.NpzFile, table)
    for labels, loss in (("sign", "logistic"), ("class", "cross-entropy")):
        try:
            data = own_data(section, labels, path.parent)
        except SpecificationError:
            continue
        if labels == "sign" or len(np.unique(np.asarray(data.targets))) <= _FEW:
            return data, table, loss
    return own_data(section, "real", path.parent), table, "square"


def of_last_column(path: Path) -> schema.CsvFile:
    """The table [data] of a CSV file whose last column holds the targets."""
    table: dict[str, Any] = {"kind": "csv", "path": path.name, "targets": [0]}
    last = last_column(_section(schema.CsvFile, table), path)
    section: schema.CsvFile = _section(schema.CsvFile, table | {"targets": [last]})
    return section


def _section(kind: Any, table: dict[str, Any]) -> Any:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise SpecificationError(sentence(error, table)) from error
