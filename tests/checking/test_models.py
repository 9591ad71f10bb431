"""Models of Equinox and Flax as networks: the model's own values, layers by name, state and dropout apart."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.checking.models.door import library_of
from gradlab.checking.models.own_model import ModelFacts
from gradlab.checking.naming import arrays_of, matched
from gradlab.checking.run import gathered
from gradlab.store import checkpoints
from gradlab.store.foreign import Unreadable

IMAGES = np.random.default_rng(0).standard_normal((4, 1, 4, 4))
LABELS = np.arange(4) % 2


class Convolution(eqx.Module):
    """Declared in another order than it is used."""

    head: eqx.nn.Linear
    drop: eqx.nn.Dropout
    conv: eqx.nn.Conv2d

    def __init__(self, key: Any) -> None:
        self.head = eqx.nn.Linear(8, 2, key=key)
        self.drop = eqx.nn.Dropout(0.5)
        self.conv = eqx.nn.Conv2d(1, 2, 3, key=key)

    def __call__(self, x: Any, key: Any = None) -> Any:
        return self.head(self.drop(jax.nn.relu(self.conv(x)).ravel(), key=key))


class Normalised(eqx.Module):
    norm: eqx.nn.BatchNorm
    head: eqx.nn.Linear

    def __init__(self, key: Any) -> None:
        self.norm = eqx.nn.BatchNorm(3, axis_name="examples", mode="batch")
        self.head = eqx.nn.Linear(3, 2, key=key)

    def __call__(self, x: Any, state: Any) -> Any:
        x, state = self.norm(x, state)
        return self.head(x), state


@pytest.fixture(scope="module")
def convolution() -> Convolution:
    return Convolution(jax.random.key(0))


def problem(network: Any, inputs: Any = IMAGES) -> gl.Problem:
    return gl.Problem(network, gl.CrossEntropy("mean"), gl.Data(inputs, LABELS))


def run_of(network: Any, inputs: Any = IMAGES) -> Any:
    weights = network.init(jax.random.key(0))
    return gathered(problem(network, inputs), {0: weights, 1: weights}, "gd lr=0.1")


def test_an_equinox_model_is_its_own_function_with_layers_in_the_order_of_use(convolution: Any) -> None:
    network = gl.models.network_of(convolution, IMAGES)
    assert list(network.shapes()) == ["conv.weight", "conv.bias", "head.weight", "head.bias"]
    quiet = eqx.nn.inference_mode(convolution)
    wanted = jax.vmap(quiet)(jnp.asarray(IMAGES, convolution.conv.weight.dtype))
    assert np.allclose(problem(network).outputs(network.init(jax.random.key(0))), wanted, atol=1e-5)
    assert network.told.random == (("drop", 0.5),)
    run = run_of(network)
    assert run.layers == ("conv", "head")
    assert run.leaves == (("conv.weight", "conv.bias"), ("head.weight", "head.bias"))
    assert convolution.drop.inference is False


def test_checkpoints_of_an_equinox_model_and_its_files_are_matched_by_name(
    convolution: Any, tmp_path: Path
) -> None:
    network = gl.models.network_of(convolution, IMAGES)
    gl.Probe(tmp_path / "probe", convolution)()
    (tmp_path / "files").mkdir()
    eqx.tree_serialise_leaves(tmp_path / "files" / "step_0.eqx", convolution)
    for name in ("probe", "files"):
        run = gathered(problem(network), tmp_path / name, "")
        wanted = arrays_of(convolution)
        assert all(np.array_equal(run.weights[0][key], wanted[key]) for key in network.shapes())
        assert not run.remarks
        assert not run.state


def test_an_equinox_model_with_state_asks_for_it_and_examples_interact() -> None:
    model, state = eqx.nn.make_with_state(Normalised)(jax.random.key(0))
    inputs = np.random.default_rng(1).standard_normal((4, 3))
    with pytest.raises(ValueError, match="state=state"):
        gl.models.network_of(model, inputs)
    network = gl.models.network_of(model, inputs, state=state)
    assert list(network.shapes()) == ["norm.weight", "norm.bias", "head.weight", "head.bias"]
    assert problem(network, inputs).findings.interacts


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (eqx.nn.Identity(), "holds no trained arrays"),
        (eqx.nn.Linear(5, 2, key=jax.random.key(0)), "the model raised"),
        (eqx.nn.Lambda(lambda x: x), "holds no trained arrays"),
        ("relu", "give a model of Equinox, Flax or PyTorch"),
    ],
)
def test_what_is_no_model_is_told(model: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gl.models.network_of(model, np.ones((2, 3)))


def test_rows_of_outputs_are_asked_for() -> None:
    model = eqx.nn.Lambda(lambda x: x)
    model = eqx.nn.Sequential(
        [eqx.nn.Linear(3, 4, key=jax.random.key(0)), eqx.nn.Lambda(lambda x: x.reshape(2, 2)), model]
    )
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\) on 2 examples; return one row"):
        gl.models.network_of(model, np.ones((2, 3)))


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        (["a.w", "b.w"], ["b.w", "a.w", "c"], ["a.w", "b.w"]),
        (["a.w", "b.w"], ["params.a.w", "params.b.w", "opt.a.w"], ["params.a.w", "params.b.w"]),
        (["a.w"], ["params.a.w", "ema.a.w"], []),
        (["a.w", "b.w"], ["a.w.value", "b.w.value"], ["a.w.value", "b.w.value"]),
        (["net.a.w", "net.b.w"], ["a.w", "b.w"], ["a.w", "b.w"]),
        (["a.w", "b.w"], ["x.a.w", "y.b.w"], []),
    ],
)
def test_names_are_matched_up_to_what_all_of_them_have_more(wanted: Any, there: Any, found: Any) -> None:
    assert matched(wanted, there)[0] == found


def test_a_file_of_equinox_that_is_damaged_is_one_sentence(tmp_path: Path, convolution: Any) -> None:
    path = tmp_path / "step_3.eqx"
    eqx.tree_serialise_leaves(path, convolution)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(Unreadable, match="cut short: 11 of 16 bytes"):
        checkpoints.read_folder(tmp_path)
    path.write_bytes(b"nothing of this kind")
    with pytest.raises(Unreadable, match=r"step_3\.eqx cannot be read as a file of tree_serialise_leaves"):
        checkpoints.read_folder(tmp_path)


def test_halves_of_equinox_are_widened(tmp_path: Path) -> None:
    given = {"w": jnp.asarray([[1.5, -2.0]], jnp.bfloat16)}
    eqx.tree_serialise_leaves(tmp_path / "step_1.eqx", given)
    (one,) = checkpoints.read_folder(tmp_path).checkpoints
    assert one.formats == {"0": "bfloat16"}
    assert one.arrays["0"].tolist() == [[1.5, -2.0]]


def test_places_in_a_file_bear_names_only_where_all_are_known() -> None:
    from gradlab.checking.run import _renamed

    table = OrderedDict((str(k), np.ones(k + 1)) for k in range(3))
    assert list(_renamed(table, ModelFacts(saved=("a", None, "b")))) == ["a", "b"]
    assert list(_renamed(table, ModelFacts(saved=("a", "b", "c", "d")))) == ["0", "1", "2"]
    assert list(_renamed(table, ModelFacts())) == ["0", "1", "2"]


# Flax ------------------------------------------------------------------------------------------------------


def test_an_nnx_module_keeps_statistics_and_streams_apart(tmp_path: Path) -> None:
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.last = nnx.Linear(3, 2, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.drop = nnx.Dropout(0.25, rngs=rngs)
            self.first = nnx.Linear(3, 3, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.last(self.drop(self.norm(self.first(x))))

    model, inputs = Net(nnx.Rngs(0)), np.random.default_rng(1).standard_normal((4, 3))
    model.train()
    assert library_of(model) == "nnx"
    network = gl.models.network_of(model, inputs)
    run = run_of(network, inputs)
    assert run.layers == ("first", "norm", "last")
    assert network.told.random == (("drop", 0.25),)
    assert set(network.told.state) == {"norm.mean", "norm.var"}
    before = np.asarray(model.norm.mean[...]).copy()
    values = problem(network, inputs).outputs(network.init(jax.random.key(0)))
    model.drop.deterministic = True
    assert np.allclose(values, model(jnp.asarray(inputs, jnp.float32)), atol=1e-5)
    assert not np.array_equal(
        before, model.norm.mean[...]
    )  # the model's own call writes; the network's did not
    gl.Probe(tmp_path, model)()
    assert set(gathered(problem(network, inputs), tmp_path, "").state) == {"norm.mean", "norm.var"}


def test_a_linen_module_trains_its_params_and_drops_its_dropout(tmp_path: Path) -> None:
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any, train: bool) -> Any:
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))
            return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(x))

    inputs = np.random.default_rng(1).standard_normal((4, 3))
    variables = Net().init(jax.random.key(0), jnp.ones((2, 3)), train=False)
    network = gl.models.network_of(Net(), inputs, call={"train": True}, variables=variables)
    assert network.told.random == (("Dropout_0", 0.5),)
    assert problem(network, inputs).findings.interacts
    gl.Probe(tmp_path, variables)()
    run = gathered(problem(network, inputs), tmp_path, "")
    assert run.layers == ("Dense_0", "BatchNorm_0", "Dense_1")
    assert run.state == ("batch_stats.BatchNorm_0.mean", "batch_stats.BatchNorm_0.var")
    assert run.remarks == ("names of arrays were taken without their 'params.'",)


def test_folders_of_orbax_are_read_without_the_optimiser(tmp_path: Path) -> None:
    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.PyTreeCheckpointer() as writer:
        for step in (0, 20):
            tree = {"params": {"w": np.full((2, 3), step, np.float32)}, "opt_state": {"mu": np.ones(3)}}
            writer.save(tmp_path / f"step_{step}", tree)
    found = checkpoints.read_folder(tmp_path)
    assert [one.step for one in found.checkpoints] == [0, 20]
    assert list(found.checkpoints[1].arrays) == ["params.w"]
    assert np.all(found.checkpoints[1].arrays["params.w"] == 20.0)
    assert found.checkpoints[0].formats == {"params.w": "float32"}
