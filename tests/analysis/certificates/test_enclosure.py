"""The network in balls is the network: same value, gradient and Hessian; and a box contains all of its points."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gradlab.analysis.certificates.balls import Refusal, arithmetic, magnitude, middles, norm, vector
from gradlab.analysis.certificates.elementary import activation_jet, loss_jet
from gradlab.analysis.certificates.enclosure import enclosure
from gradlab.problem.activations import activation, polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Lp, Square
from gradlab.problem.networks import Dense, Residual
from gradlab.problem.problem import Problem

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((5, 2))
REAL = GENERATOR.standard_normal((5, 2))
SIGNS = np.array([1.0, -1.0, 1.0, 1.0, -1.0])
CLASSES = np.array([0, 2, 1, 1, 0])

ZOO = {
    "three tanh layers, biases, decay by layer": (
        Dense((2, 3, 2, 2), "tanh", bias=True),
        Square("mean"),
        REAL,
        (0.1, 0.2, 0.3),
    ),
    "gelu, half the sum of squares": (Dense((2, 3, 2, 2), "gelu"), Square(half=True), REAL, 0.1),
    "deep linear": (Dense.deep_linear((2, 3, 2, 2)), Square(), REAL, 0.0),
    "sigmoid, exponential": (Dense((2, 3, 1), "sigmoid"), Exponential("mean"), SIGNS, 0.1),
    "smooth relu, logistic": (Dense((2, 3, 1), smooth_relu(0.3), bias=True), Logistic(), SIGNS, 0.1),
    "cubic, cross-entropy": (
        Dense((2, 3, 3), polynomial((0.1, 0.2, -0.3, 0.4))),
        CrossEntropy("mean"),
        CLASSES,
        0.0,
    ),
    "squares, fourth powers": (Dense((2, 3, 2), polynomial((0, 0, 1))), Lp(4), REAL, 0.1),
}


def drawn(size: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(size)


@pytest.mark.parametrize("name", ZOO)
def test_the_ball_evaluation_equals_automatic_differentiation_to_rounding(name: str) -> None:
    network, loss, targets, decay = ZOO[name]
    problem = Problem(network, loss, Data(X, targets), decay)
    point = drawn(problem.size)
    weights = problem.unravel(point)
    with arithmetic(128):
        form, here = enclosure(problem), vector(point)
        value, gradient, hessian = form.value(here), form.gradient(here), form.hessian(here)
        # a hundred bits are left of 128 after some hundred operations
        assert norm(gradient) < np.inf
        assert magnitude(value - value.mid()) < 1e-25 * magnitude(value)
        ours = [float(value.mid()), middles(gradient), middles(hessian)]

    @jax.jit
    def differentiated(w: Any) -> Any:
        return problem.potential(w), problem.ravel(problem.gradient(w)), problem.hessian(w)

    for mine, theirs in zip(ours, map(np.asarray, differentiated(weights)), strict=True):
        # float64 rounds each of some hundred operations an entry: 1e3 eps of the largest number
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e3 * np.finfo(float).eps * max(scale, 1.0))


@pytest.mark.parametrize(
    "name", ["gelu, half the sum of squares", "cubic, cross-entropy", "smooth relu, logistic"]
)
def test_a_box_contains_the_derivatives_at_every_point_of_it(name: str) -> None:
    network, loss, targets, decay = ZOO[name]
    problem = Problem(network, loss, Data(X, targets), decay)
    point, generator = drawn(problem.size), np.random.default_rng(3)
    with arithmetic(128):
        form = enclosure(problem)
        box = vector(point, 0.05)
        value, gradient, hessian = form.value(box), form.gradient(box), form.hessian(box)
        for _ in range(5):
            inside = vector(point + 0.05 * np.sign(generator.standard_normal(problem.size)))
            assert value.overlaps(form.value(inside))
            assert all(a.contains(b) for a, b in zip(gradient, form.gradient(inside), strict=True))
            assert hessian.contains(form.hessian(inside))


@pytest.mark.parametrize(
    "name", ["tanh", "sigmoid", "gelu", "smooth_relu", "relu", "leaky_relu", "squared_relu"]
)
def test_the_derivatives_of_an_activation_are_its_difference_quotients(name: str) -> None:
    with arithmetic(300):
        jet = activation_jet(activation(name))
        for z in (-1.3, 0.7, 2.1):
            (middle,) = vector(np.array([z]))
            h = middle / middle * 2 ** (-80)  # 2^−80, exactly
            here, right, left = jet(middle), jet(middle + h), jet(middle - h)
            for order in (0, 1):
                quotient = (right[order] - left[order]) / (2 * h)
                # the central difference is right to h² f'''/6
                assert magnitude(quotient - here[order + 1]) < 1e-40


def refusal(call: Any) -> str:
    with arithmetic(64), pytest.raises(Refusal) as caught:
        call()
    return str(caught.value)


def test_what_has_no_formula_is_refused_with_a_sentence() -> None:
    data = Data(X, REAL)
    residual = Problem(Residual(2, 3, 1, 2, "tanh"), Square(), data)
    assert "write the network as Dense" in refusal(lambda: enclosure(residual))
    assert "p = 3" in refusal(lambda: loss_jet(Lp(3)))
    relu = Problem(Dense((2, 3, 2), "relu"), Square(), data)
    assert "kink" in refusal(lambda: enclosure(relu).hessian(vector(np.zeros(relu.size))))


def test_the_precision_of_the_library_is_restored() -> None:
    from flint import ctx

    before = (ctx.prec, ctx.cap)
    with pytest.raises(RuntimeError), arithmetic(300, 40):
        raise RuntimeError
    assert (ctx.prec, ctx.cap) == before
