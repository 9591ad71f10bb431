"""A design says which runs there are, before anything is run, or what is wrong with it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from variations import BASE

from gradlab import specification
from gradlab.specification import Design, SpecificationError
from gradlab.specification.experiment import with_seed

RAW = tomllib.loads(BASE)


def made(text: str, limit: int | None = None) -> Design:
    return specification.design({**RAW, **tomllib.loads(text)}, limit)


def points(text: str) -> list[dict[str, Any]]:
    return [spec.canonical() for _, spec in made(text).points()]


def test_a_grid_is_every_combination_at_every_seed() -> None:
    text = '[sweep]\nseeds = [3, 5]\n[sweep.grid]\n"records.until" = [1.0, 2.0, 3.0]\ndecay = [0.0, 0.1]'
    found = made(text)
    assert (found.shape, found.runs) == ((3, 2), 12)
    chosen = [(one["records"]["until"], one["decay"], one["seed"]) for one in points(text)]
    assert chosen == [(u, d, 3) for u in (1.0, 2.0, 3.0) for d in (0.0, 0.1)]


def test_a_name_in_quotes_and_tables_in_tables_are_the_same_field() -> None:
    quoted = points('[sweep.grid]\n"records.until" = [1.0, 2.0]')
    assert quoted == points("[sweep.grid]\nrecords.until = [1.0, 2.0]")


def test_an_axis_may_set_several_fields_at_once() -> None:
    text = '[sweep.grid.much]\nvalues = [1, 2]\n"records.until" = [1.0, 5.0]\ndecay = [0.0, 0.5]'
    (axis,) = made(text).axes
    assert axis.coordinates["much"].tolist() == [1, 2]
    assert axis.coordinates["decay"].tolist() == [0.0, 0.5]
    assert [(one["records"]["until"], one["decay"]) for one in points(text)] == [(1.0, 0.0), (5.0, 0.5)]


def test_more_samples_keep_those_before_and_stay_within_their_bounds() -> None:
    text = '[sweep]\nsamples = {}\n[sweep.random]\n"records.until" = {{ low = 0.1, high = 10.0, spacing = "log" }}\n'
    few, many = (made(text.format(n)).axes[0].coordinates["records.until"] for n in (5, 50))
    assert np.array_equal(many[:5], few)
    assert len(set(many)) == 50
    assert many.min() >= 0.1
    assert many.max() <= 10.0
    assert 15 <= np.sum(many < 1.0) <= 35  # half of a logarithm's range


def test_values_between_two_ends_hold_the_ends() -> None:
    (axis,) = made('[sweep.grid]\ndecay = { low = 0.01, high = 1.0, count = 3, spacing = "log" }').axes
    assert axis.labels == (0.01, 0.1, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[sweep.grid]\n"network.widhts" = [[2, 1]]', r"in \[network\]:.*'widhts'; did you mean 'widths'"),
        ('[sweep.grid]\n"netwrk.init.scale" = [1.0]', "no field 'netwrk.init.scale'; did you mean 'network'"),
        ('[sweep.grid]\n"decay.first" = [1.0]', r"decay\.first"),
        ("[sweep]\nseeds = 1001", "1001 runs .* limit is 1000: write limit = 1001"),
        ("[sweep]\nseeeds = 3", r"in \[sweep\]: there is no key 'seeeds'; did you mean 'seeds'"),
        ("[sweep.grid]\nseed = [1, 2]", "seed is set twice.*seeds = 8"),
        ("[sweep.grid]\ndecay = [0.1, 0.1]", "decay has the value 0.1 twice"),
        ("[sweep.grid]\ndecay = []", "no values"),
        ("[sweep.grid]\ndecay = 0.1", "write a list of values"),
        ("[sweep.grid]\ndecay = [-1.0]", r"\[sweep\] at decay = -1.0:"),
        ("[sweep.grid]\ndecay = { low = 1.0, high = 0.1, count = 3 }", "low below high"),
        ("[sweep.random]\ndecay = [0.1]", "samples = 100"),
        ("[sweep.grid.seed]\nvalues = [1]\ndecay = [0.1]", "cannot be called 'seed'"),
        ("[sweep.grid.much]\nvalues = [1, 2]\ndecay = [0.1]", "not a list of as many"),
        ("[sweep.grid.much]\nvalues = [1, 2]", "sets no field"),
        ("[sweep]\nseeds = [1, 1]", "names a seed twice"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(SpecificationError, match=said) as caught:
        points(text)
    assert "\n" not in str(caught.value)


def test_a_limit_given_beside_the_file_goes_before_its_own() -> None:
    with pytest.raises(SpecificationError, match=r"3 runs .* limit is 2"):
        made("[sweep]\nseeds = 3\nlimit = 100", limit=2)


def test_a_file_with_a_design_is_not_one_run(tmp_path: Any) -> None:
    file = tmp_path / "many.toml"
    file.write_text(BASE + "\n[sweep]\nseeds = 2\n")
    with pytest.raises(SpecificationError, match="give it to gradlab sweep"):
        specification.read(file)
    assert specification.design(specification.tables(file)).runs == 2


def test_another_seed_of_an_experiment_is_what_its_specification_builds() -> None:
    raw = {**RAW, "flow": {"kind": "sgd", "step": 0.1, "batch": 2, "kicks": {"sigma": 0.1, "every": 1.0}}}
    raw["network"] = {**RAW["network"], "init": {"kind": "gaussian", "scale": 0.3}}
    first, other = (
        specification.build(specification.parse({**raw, "seed": seed}), Path.cwd()) for seed in (1, 2)
    )
    made = with_seed(first, 2)
    assert made.specification == other.specification
    ours, theirs = (jax.tree.leaves((one.weights, one.flow)) for one in (made, other))
    assert all(bool(jnp.array_equal(mine, yours)) for mine, yours in zip(ours, theirs, strict=True))
    assert not jnp.array_equal(made.weights[0], first.weights[0])
