"""One's own Python is executed only when named, and enters a run's identity by what it computes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from variations import BASE, built

from gradlab import specification
from gradlab.specification import SpecificationError

OWN = BASE.replace('kind = "dense"\nwidths = [2, 8, 1]', 'kind = "function"\nname = "apply"')
CODE = """
import jax, jax.numpy as jnp, numpy as np
SHIFT = jnp.asarray([0.5, 0.25])
def apply(weights, x):
    return jax.nn.relu(x + SHIFT) @ weights["w"]
def initial(key):
    return {"w": jnp.ones((2, 1))}
"""


def own(tmp_path: Path, code: str = CODE, text: str = OWN) -> Any:
    (tmp_path / "net.py").write_text(code)
    spec = specification.parse(tomllib.loads(text))
    return specification.build(spec, tmp_path, specification.load_code(tmp_path / "net.py"))


def test_ones_own_network_is_the_function_in_the_file(tmp_path: Path) -> None:
    made = own(tmp_path)
    x = np.asarray(made.problem.data.inputs)
    expected = np.maximum(x + np.array([0.5, 0.25]), 0.0).sum(axis=1, keepdims=True)
    assert np.allclose(made.problem.outputs(made.weights), expected, rtol=1e-15)


def test_the_digest_of_code_is_of_what_it_computes(tmp_path: Path) -> None:
    before = own(tmp_path).code
    assert before is not None
    assert own(tmp_path, "# a comment\n" + CODE.replace("SHIFT", "OFFSET")).code == before
    for old, new in (
        ("0.25", "0.26"),  # a constant that is an array
        ("relu(x", "relu(2 * x"),  # a formula
        ("jnp.ones", "2 * jnp.ones"),  # the start
        ("jax.nn.relu", "jnp.abs"),
    ):
        assert own(tmp_path, CODE.replace(old, new)).code != before, new


def test_nothing_of_ones_own_runs_without_code(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise SystemError('executed')")
    with pytest.raises(SpecificationError, match="--code"):
        built(text=OWN, folder=tmp_path)


def test_a_loss_of_ones_own_needs_its_logarithm_for_log_loss_time(tmp_path: Path) -> None:
    code = "import jax.numpy as jnp\ndef cost(f, y):\n    return jnp.sum(jnp.cosh(f - y) - 1.0, axis=1)\n"
    text = BASE.replace('kind = "exponential"', 'kind = "function"\nname = "cost"').replace(
        'kind = "separable"', 'kind = "linear regression"'
    )
    made = own(tmp_path, code, text)
    assert not made.problem.has_log
    assert made.code is not None
    assert np.isfinite(made.problem.risk(made.weights))


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("def apply", "def aply", "did you mean 'aply'?"),
        ("def initial", "def start", "no function 'initial'"),
        ("import jax,", "import no_such_module,", "no_such_module"),
        ("def apply(weights, x):", "def apply(weights, x):\n    return weights['v']", "KeyError"),
        ("@ weights", "@ weights['w'].T @ weights", "net.py"),
        ("return {", "return (", "net.py"),
    ],
)
def test_a_fault_in_ones_own_code_is_one_sentence(tmp_path: Path, old: str, new: str, part: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        own(tmp_path, CODE.replace(old, new))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
