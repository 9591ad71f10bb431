"""gradlab's modules are equinox's in all but what it costs to make and to read them."""

import dataclasses
import types
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.dynamics.clocks import Clock, Time
from gradlab.modules import Module, is_module

MADE_HERE = (
    lambda: gl.Adaptive("tsit5", 1e-6),
    lambda: gl.Adaptive(tolerance=1e-6, name="tsit5"),
    lambda: gl.solvers.Auto(1e-7),
    lambda: gl.Time(),
    lambda: gl.Stop(loss=1e-3),
    lambda: gl.Square("mean", half=True),
)


@pytest.mark.parametrize("make", MADE_HERE)
def test_a_module_is_the_one_that_equinox_makes(make, monkeypatch):
    ours = make()
    monkeypatch.setattr("gradlab.modules._plan", lambda cls: None)
    kinds = [type(ours), gl.solvers.Policy]
    for kind in kinds:
        monkeypatch.delattr(kind, "_gradlab_plan", raising=False)
    theirs = make()
    assert eqx.tree_equal(ours, theirs)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert list(vars(ours)) == [field.name for field in dataclasses.fields(ours)]


def test_what_is_converted_checked_and_refused_is_as_it_was():
    assert isinstance(gl.Adaptive("tsit5", 1e-6).tolerance, jax.Array)
    with pytest.raises(ValueError, match="euler has no error estimate"):
        gl.Adaptive("euler")
    with pytest.raises(TypeError, match="tolerence"):
        gl.Adaptive("tsit5", tolerence=1e-6)
    with pytest.raises(TypeError):
        gl.Dense()
    with pytest.raises(TypeError):
        gl.Adaptive("tsit5", 1e-6, name="tsit5")
    with pytest.raises(TypeError, match="abstract"):
        Clock()
    with pytest.raises(dataclasses.FrozenInstanceError):
        gl.Adaptive("tsit5").name = "dopri5"


def test_a_method_is_pythons_own_and_a_module_goes_through_jit_as_a_tree():
    square = gl.Square(half=True)
    assert type(square.risk) is types.MethodType
    found = jax.jit(lambda loss, f: loss.risk(f, jnp.zeros((1, 1))))(square, jnp.ones((1, 1)))
    assert float(found) == 0.5
    assert eqx.tree_equal(jax.tree.map(lambda leaf: leaf, square), square)


def test_a_class_that_someone_else_derives_is_made_by_equinox_with_its_warnings():
    class Mine(Time):
        weight: jax.Array = eqx.field(static=True)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = Mine(jnp.ones(2))
    assert any("set as static" in str(one.message) for one in caught)
    assert is_module(made)
    assert not is_module(eqx.nn.Linear(1, 1, key=jax.random.key(0)))
    assert not is_module(np.ones(1))
    assert isinstance(made, Module)
