"""A model of PyTorch is looked at by torch, and what is seen is what JAX sees of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.checking.assumed import Assumed
from gradlab.checking.evaluating import Looks
from gradlab.checking.run import gathered
from gradlab.problem.precision import float64

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).standard_normal((7, 4))
Y = np.arange(7) % 3
IMAGES = np.random.default_rng(1).standard_normal((5, 1, 4, 4))


class Perceptron(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is skipped where it is missing
    """Registered in another order than it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first, self.drop = torch.nn.Linear(6, 3), torch.nn.Linear(4, 6), torch.nn.Dropout(0.3)

    def forward(self, x: Any) -> Any:
        return self.last(self.drop(torch.tanh(self.first(x))))


def perceptron(w: Any, x: Any) -> Any:
    return jnp.tanh(x @ w["first.weight"].T + w["first.bias"]) @ w["last.weight"].T + w["last.bias"]


def convolution(w: Any, x: Any) -> Any:
    h = jax.lax.conv_general_dilated(x, w["0.weight"], (1, 1), "VALID") + w["0.bias"][:, None, None]
    h = jnp.maximum(h, 0.0).reshape(len(x), 2, 1, 2, 1, 2).max((3, 5)).reshape(len(x), -1)
    return h @ w["4.weight"].T + w["4.bias"]


def normalised(w: Any, x: Any) -> Any:
    h = x @ w["0.weight"].T
    h = (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5)
    return jnp.maximum(h, 0.0) @ w["3.weight"].T


def pairs() -> list[Any]:
    torch.manual_seed(0)
    cnn = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(2, 3),
    )
    norm = torch.nn.Sequential(
        torch.nn.Linear(4, 5, bias=False), torch.nn.BatchNorm1d(5, affine=False), torch.nn.ReLU(),
        torch.nn.Linear(5, 3, bias=False),
    )  # fmt: skip
    return [(Perceptron(), perceptron, X, Y), (cnn, convolution, IMAGES, Y[:5]), (norm, normalised, X, Y)]


def both(model: Any, apply: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """(problem of torch, of JAX, weights of six steps)."""
    data, loss = gl.Data(x, y), gl.CrossEntropy("mean")
    network = gl.models.network_of(model, x)
    start = network.init(jax.random.key(0))
    ours = gl.Problem(gl.Function(apply, lambda key: start, input_shape=x.shape[1:], outputs=3), loss, data)
    run, weights = {}, start
    for step in range(6):
        run[step] = weights
        weights = jax.tree.map(
            lambda w, g: np.asarray(w) - 0.1 * np.asarray(g), weights, ours.gradient(weights)
        )
    return gl.Problem(network, loss, data), ours, run


@float64
@pytest.mark.parametrize("which", range(3))
def test_torch_and_jax_agree_on_the_same_weights(which: int) -> None:
    theirs, ours, run = both(*pairs()[which])
    a, b = (Looks(gathered(one, run, "gd lr=0.1")) for one in (theirs, ours))
    for name in ("outputs", "risk", "gradients", "slopes", "margins", "sharpness"):
        one, other = getattr(a, name), getattr(b, name)
        assert np.max(np.abs(one - other)) <= 1e-10 * np.max(np.abs(other)), name
    hessian = b.hessian(3)
    assert np.max(np.abs(a.hessian(3) - hessian)) <= 1e-10 * np.max(np.abs(hessian))
    vector = np.random.default_rng(2).standard_normal(len(hessian))
    assert np.allclose(
        a.of.product(run[3], vector), hessian @ vector, rtol=0, atol=1e-10 * np.linalg.norm(vector)
    )
    bound = len(hessian) * 2.0**-52 * np.linalg.norm(hessian, 2)
    assert np.max(np.abs(np.linalg.eigvalsh(a.hessian(3)) - np.linalg.eigvalsh(hessian))) <= 10 * bound
    if which != 2:
        assert np.max(np.abs(a.jacobian(3) - b.jacobian(3))) <= 1e-10
    assert a.of.uses(run[0], a.inputs) == {
        name: count for name, count in b.of.uses(run[0], b.inputs).items() if count
    }
    one, other = (Assumed(gathered(problem, run, "gd lr=0.1")) for problem in (theirs, ours))
    assert [d.degree for d in one.probed.layers] == pytest.approx(
        [d.degree for d in other.probed.layers], nan_ok=True
    )
    assert bool(one.alone.status[0] == 1) is (which != 2)
    assert one.rule.name == other.rule.name == "gradient"


def test_names_come_in_the_order_of_use_and_the_model_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Perceptron()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = gl.models.network_of(model, X)
    assert list(network.shapes()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert network.told.random == (("drop", 0.3),)
    assert model.drop.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    torch.save(model.state_dict(), tmp_path / "step_0.pt")
    torch.save({"model": {f"module.{name}": t for name, t in before.items()}}, tmp_path / "step_1.pt")
    run = gathered(gl.Problem(network, gl.CrossEntropy(), gl.Data(X, Y)), tmp_path, "")
    assert run.layers == ("first", "last")


def test_running_statistics_are_no_weights_and_what_is_random_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    network = gl.models.network_of(model, X)
    assert network.told.state == ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert model[1].num_batches_tracked == 0

    class Noisy(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.layer(x + torch.randn_like(x))

    noisy = gl.models.network_of(Noisy(), X)
    weights = noisy.init(None)
    problem = gl.Problem(noisy, gl.CrossEntropy("mean"), gl.Data(X, Y))
    with pytest.raises(ValueError, match="two evaluations of the model at one point differ"):
        gl.check(problem, {0: weights, 1: jax.tree.map(lambda w: 0.9 * w, weights)})


def test_a_model_of_torch_is_not_differentiated_by_jax() -> None:
    network = gl.models.network_of(Perceptron(), X)
    problem = gl.Problem(network, gl.CrossEntropy(), gl.Data(X, Y))
    assert np.isfinite(float(problem.risk(network.init(None))))
    with pytest.raises(ValueError, match="checked and not run"):
        problem.gradient(network.init(None))
    with pytest.raises(ValueError, match="the model raised RuntimeError"):
        gl.models.network_of(Perceptron(), X[:, :2])


MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)
"""


def test_a_folder_of_torch_save_is_checked_by_naming_the_class(tmp_path: Path) -> None:
    from gradlab.checking import doors

    (tmp_path / "net.py").write_text(MODULE)
    (tmp_path / "run").mkdir()
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    model = torch.nn.ModuleDict({"layer": torch.nn.Linear(4, 3)})
    for step in range(3):
        torch.save({"state_dict": model.state_dict()}, tmp_path / "run" / f"checkpoint_{step}.pt")
    words = ("cross-entropy", "sgd lr=0.1")
    problem, folder, said = doors.told_run(
        tmp_path / "run", f"{tmp_path}/net.py:Net", tmp_path / "data.npz", *words
    )
    run = gathered(problem, folder, said)
    assert run.layers == ("layer",)
    assert np.array_equal(run.weights[0]["layer.weight"], model["layer"].weight.detach().double().numpy())
