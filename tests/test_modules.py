"""gradlab's modules are equinox's in all but what it costs to make and to read them."""

import dataclasses
import subprocess
import sys
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

#: In a process of its own: where annotations are checked, as in these tests, classes are initialised by the checker.
COMPARED = """
import dataclasses
import equinox as eqx
import jax
import gradlab as gl
from gradlab import modules

makes = (
    lambda: gl.Adaptive("tsit5", 1e-6),
    lambda: gl.Adaptive(tolerance=1e-6, name="tsit5"),
    lambda: gl.solvers.Auto(1e-7),
    lambda: gl.Time(),
    lambda: gl.Stop(loss=1e-3),
    lambda: gl.Square("mean", half=True),
    lambda: gl.solvers.Policy(begin=0.5),
)
ours = [make() for make in makes]
assert all(type(one).__dict__["_gradlab_plan"] is not None for one in ours)
modules._plan = lambda cls: None
for kind in {type(one) for one in ours} | {gl.solvers.Policy}:
    type.__delattr__(kind, "_gradlab_plan")
for make, one in zip(makes, ours):
    other = make()
    assert type(other).__dict__["_gradlab_plan"] is None
    assert eqx.tree_equal(one, other) and repr(one) == repr(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert list(vars(one)) == [field.name for field in dataclasses.fields(one)]
for wrong in (
    lambda: gl.Adaptive("tsit5", tolerence=1e-6), lambda: gl.Dense(), lambda: gl.Adaptive("tsit5", name="bdf")
):
    try:
        wrong()
    except TypeError as error:
        print(error)
print("compared", len(ours))
"""


def test_a_module_is_the_one_that_equinox_makes() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *refused, compared = done.stdout.splitlines()
    assert compared == "compared 7"
    assert ["tolerence" in refused[0], "widths" in refused[1], "name" in refused[2]] == [True] * 3


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
