"""Activations agree with independent references and are what they say: homogeneous, smooth, or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from gradlab.problem import activations
from gradlab.problem.activations import Activation, activation, leaky_relu, polynomial, smooth_relu

Z = np.concatenate([np.linspace(-6.0, 6.0, 241), [-800.0, -40.0, -1e-9, 1e-9, 40.0, 800.0]])

REFERENCES = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "squared_relu": lambda z: np.maximum(z, 0) ** 2,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "gelu": lambda z: z * stats.norm.cdf(z),
    "smooth_relu": lambda z: z * special.expit(z / 0.1),
}
ALL = [activation(name) for name in REFERENCES] + [
    leaky_relu(-0.5),
    smooth_relu(1.0),
    polynomial((0, 0, 1)),
    polynomial((0, 0, 0, 2)),
    polynomial((1, -2, 0, 0.5)),
    polynomial((0, 3, 1)),
]


def label(given: Activation) -> str:
    return repr(given)


@pytest.mark.parametrize("name", REFERENCES)
def test_named_activations_are_the_textbook_functions(name: str) -> None:
    np.testing.assert_allclose(activation(name)(jnp.asarray(Z)), REFERENCES[name](Z), rtol=1e-13, atol=1e-300)


def test_gelu_is_the_exact_one_and_not_the_tanh_approximation() -> None:
    approximate = jax.nn.gelu(jnp.asarray(Z), approximate=True)
    assert np.max(np.abs(activation("gelu")(jnp.asarray(Z)) - approximate)) > 1e-4


@pytest.mark.parametrize("coefficients", [(0, 0, 1), (1.5, -2, 0, 0.5), (0, 0, 0, 3), (0, 1, 0, 0)])
def test_polynomials_are_numpys(coefficients: tuple[float, ...]) -> None:
    z = np.linspace(-2, 2, 41)
    expected = np.polynomial.polynomial.polyval(z, coefficients)
    np.testing.assert_allclose(polynomial(coefficients)(jnp.asarray(z)), expected, rtol=0, atol=1e-14)


def test_degrees_are_those_of_the_theory() -> None:
    degrees = {name: activation(name).degree for name in REFERENCES}
    assert degrees == {
        "identity": 1,
        "relu": 1,
        "leaky_relu": 1,
        "squared_relu": 2,
        "tanh": None,
        "sigmoid": None,
        "gelu": None,
        "smooth_relu": None,
    }
    assert polynomial((0, 0, 1)).degree == 2
    assert polynomial((0, 0, 0, -4.0, 0)).degree == 3
    assert polynomial((0, 1, 1)).degree is None
    assert polynomial((1, 0, 1)).degree is None


def homogeneity_gap(sigma: Activation, degree: int) -> float:
    z = jnp.linspace(-3, 3, 61)
    factor = 1.7
    return float(jnp.max(jnp.abs(sigma(factor * z) - factor**degree * sigma(z))))


@pytest.mark.parametrize("sigma", ALL, ids=label)
def test_an_activation_has_a_degree_exactly_if_it_is_homogeneous(sigma: Activation) -> None:
    if sigma.degree is not None:
        assert homogeneity_gap(sigma, sigma.degree) < 1e-12
        assert homogeneity_gap(sigma, sigma.degree + 1) > 1e-2
    else:
        assert min(homogeneity_gap(sigma, degree) for degree in range(5)) > 1e-2


def jump_of_the_derivative(sigma: Activation) -> float:
    slope = jax.vmap(jax.grad(sigma))
    return float(jnp.max(jnp.abs(slope(jnp.asarray([1e-9])) - slope(jnp.asarray([-1e-9])))))


@pytest.mark.parametrize("sigma", ALL, ids=label)
def test_smooth_says_whether_the_derivative_jumps_at_zero(sigma: Activation) -> None:
    jump = jump_of_the_derivative(sigma)
    assert jump < 1e-7 if sigma.smooth else jump > 0.1


@pytest.mark.parametrize("sigma", ALL, ids=label)
def test_derivatives_are_finite_everywhere_and_those_of_differences(sigma: Activation) -> None:
    slope = jax.vmap(jax.grad(sigma))
    assert bool(jnp.all(jnp.isfinite(slope(jnp.asarray(Z)))))
    z, h = jnp.linspace(-2.03, 2.01, 41), 1e-6
    np.testing.assert_allclose(slope(z), (sigma(z + h) - sigma(z - h)) / (2 * h), atol=1e-8, rtol=1e-8)


def test_the_derivative_of_relu_at_zero_is_zero_and_of_leaky_relu_its_slope() -> None:
    assert float(jax.grad(activation("relu"))(0.0)) == 0.0
    assert float(jax.grad(leaky_relu(0.3))(0.0)) == 0.3


def test_smooth_relu_is_within_its_bound_of_relu_and_attains_it() -> None:
    z = jnp.linspace(-3, 3, 60001)
    for epsilon in (1.0, 0.1):
        gap = float(jnp.max(jnp.abs(smooth_relu(epsilon)(z) - jnp.maximum(z, 0))))
        assert 0.2784 * epsilon < gap <= 0.2785 * epsilon


def test_trivial_parameters_give_the_identity() -> None:
    assert polynomial((0, 1)) == activation("identity")
    assert leaky_relu(1.0) == activation("identity")
    assert polynomial((0, 2)) != activation("identity")


def test_an_activation_is_passed_on_and_parameters_distinguish() -> None:
    sigma = leaky_relu(0.2)
    assert activation(sigma) is sigma
    assert leaky_relu(0.2) == sigma
    assert leaky_relu(0.3) != sigma
    assert not jax.tree.leaves(ALL)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: activation("rely"), "'rely' is not known; did you mean 'relu'"),
        (lambda: activation("ReLU"), "did you mean 'relu'"),
        (lambda: activation("leakyrelu"), "did you mean 'leaky_relu'"),
        (lambda: activation("xyz"), "it is one of identity, relu"),
        (lambda: activation("polynomial"), r"write polynomial\(\(0, 0, 1\)\)"),
        (lambda: activation(3), "activation was 3"),  # type: ignore[arg-type]
        (lambda: smooth_relu(0.0), "epsilon of smooth_relu was 0"),
        (lambda: smooth_relu(-1.0), "give a number > 0"),
        (lambda: leaky_relu(float("nan")), "slope of leaky_relu was nan"),
        (lambda: polynomial(()), "coefficients of a polynomial"),
        (lambda: polynomial((5.0,)), "one of them beyond c_0 not zero"),
        (lambda: polynomial((0, float("inf"))), "finite"),
    ],
)
def test_misuse_is_refused_with_a_sentence(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


class Softplus(Activation):
    """An activation that says its definition and nothing else."""

    name: str = "softplus"
    degree: int | None = None
    smooth: bool = True

    def __call__(self, z):
        return jax.nn.softplus(z)


def test_the_list_has_every_activation() -> None:
    known = {kind for kind in Activation.__subclasses__() if kind.__module__ == activations.__name__}
    assert {type(sigma) for sigma in ALL} == known
    assert {sigma.name for sigma in ALL} >= set(activations._STANDARD)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("sigma", [*ALL, Softplus()], ids=label)
def test_derivatives_in_numpy_are_those_of_automatic_differentiation(sigma: Activation, order: int) -> None:
    z = np.concatenate([np.linspace(-6.0, 6.0, 24), [-30.0, 0.0, 30.0]]).reshape(9, 3)
    function = sigma
    for _ in range(order):
        function = jax.grad(function)
    found = sigma.derivative(z, order)
    assert (type(found), found.dtype, found.shape) == (np.ndarray, np.float64, z.shape)
    expected = jax.vmap(function)(jnp.asarray(z.ravel())).reshape(z.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_an_activation_without_closed_forms_is_differentiated_in_float64_whatever_the_setting() -> None:
    with jax.enable_x64(False):
        found = Softplus().derivative(np.array([0.3]), 1)
    np.testing.assert_allclose(found, special.expit([0.3]), rtol=1e-15)
