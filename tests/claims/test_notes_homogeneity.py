"""notes.homogeneity: what observe sees on nets whose degrees are known, and on one that lies about them."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes import homogeneity
from gradlab.laboratory import at
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense, Function
from gradlab.problem.problem import Problem

X = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, 0.0]])


def observed(network, *weights):
    problem = Problem(network, Square(), Data(X, np.zeros((3, 1))))
    return homogeneity.observe(problem, at(problem, [tuple(map(np.asarray, w)) for w in weights], ()))


def verdict(dataset):
    return homogeneity.STUDY.judge(collect([("one", dataset)]))


def test_a_monomial_net_has_the_weighted_form_and_not_the_printed_one() -> None:
    network = Dense((2, 2, 1), polynomial((0.0, 0.0, 1.0)))
    seen = observed(network, ([[1.0, 2.0], [0.5, -1.0]], [[1.0, 3.0]]))
    assert seen["product"] < 1e-14
    assert seen["euler"] < 1e-14
    assert float(seen["unweighted"]) == pytest.approx(1.0)
    assert seen["layer_ratio"].values == pytest.approx([2.0, 1.0])
    assert seen["tanh"] > 0.9
    assert verdict(seen).verdict == SUPPORTED


def quadratic(weights, x):
    return (x @ weights[0].T) ** 2


def start(key):
    return (np.array([[1.0, 1.0]]),)


def test_a_net_of_another_degree_than_it_says_is_refuted() -> None:
    network = Function(quadratic, start, input_shape=2, outputs=1, degrees=(1,))
    seen = observed(network, ([[3.0, 4.0]],))
    assert float(seen["euler"]) == pytest.approx(1.0)  # 2f is not f
    assert float(seen["product"]) == pytest.approx(0.8)  # 5² f̃ is not 5 f̃
    found = verdict(seen)
    assert (found.verdict, found.part) == (REFUTED, "euler")


def test_biases_leave_no_degree_to_judge() -> None:
    network = Dense((2, 2, 1), "relu", bias=True)
    problem = Problem(network, Square(), Data(X, np.zeros((3, 1))))
    weights = tuple(
        {"weight": np.ones(s["weight"].shape), "bias": np.ones(s["bias"].shape)} for s in network.shapes()
    )
    assert verdict(homogeneity.observe(problem, at(problem, [weights], ()))).verdict == NOT_MET
