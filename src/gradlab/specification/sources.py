"""Data from their table: bundled, downloaded, synthetic, or one's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradlab import loaders
from gradlab.problem import data as made
from gradlab.problem.data import Data
from gradlab.problem.networks import Dense
from gradlab.specification import networks, schema
from gradlab.specification.files import Table, labelled, read_csv, read_npz
from gradlab.specification.sentences import SpecificationError

#: How loaders name the labels that a loss takes.
_FORMS: dict[str, Any] = {"real": "onehot", "sign": "sign", "class": "class"}


def data(section: schema.Data, labels: str, folder: Path) -> Data:
    """The data of [data], with targets as the loss takes them.

    Parameters
    ----------
    labels : ``real``, ``sign`` or ``class``: what the loss takes.
    folder : paths are relative to it.
    """
    match section:
        case schema.CsvFile():
            return _from_table(read_csv(section, folder), labels, section.path)
        case schema.NpzFile():
            return _from_table(read_npz(section, folder), labels, section.path)
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


def _from_table(table: Table, labels: str, name: str) -> Data:
    test = None if table.test_targets is None else labelled(table.test_targets, labels)
    return Data(
        table.inputs, labelled(table.targets, labels), table.test_inputs, test, provenance=f"file {name}"
    )
