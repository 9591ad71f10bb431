"""Small problems are compiled quickly and, when counts say so, better: the same answers, the same bits when resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab.executing import maps
from gradlab.laboratory import blocks, programs
from laboratory.test_hosting import cut_and_resumed


def small() -> tuple[gl.GradientFlow, Any]:
    rng = np.random.default_rng(2)
    data = gl.Data(rng.standard_normal((6, 2)), rng.standard_normal((6, 1)))
    flow = gl.GradientFlow(gl.Problem(gl.Dense((2, 3, 1), "tanh"), gl.Square("mean"), data))
    return flow, (rng.standard_normal((3, 2)), rng.standard_normal((1, 3)))


def solved(records: Any, **keywords: Any) -> Any:
    flow, start = small()
    return gl.run(
        flow,
        start,
        records,
        observables=["loss"],
        conditioning=False,
        **{"solver": gl.Adaptive("tsit5", 1e-8)} | keywords,
    )


def compiled(run: Any) -> str:
    return str(json.loads(run.attrs["provenance"])["compiled"])


def test_what_is_small_is_compiled_quickly_and_what_is_large_or_long_better() -> None:
    assert programs.way(500.0, 0.0) == "quickly"
    assert programs.way(500.0, 1e5) == "quickly"
    assert programs.way(500.0, 1e7) == "moderately"
    assert programs.way(500.0, 1e9) == "fully"
    assert programs.way(5e7, 0.0) == "fully"
    # What the host takes for a step beside its evaluations is lost as well.
    assert programs.way(500.0, 1e5, beside=programs.STEP / 3) == "moderately"
    assert [programs.way(500.0, 1e5, beside=programs.STEP / each) for each in (6, 13)] == ["quickly"] * 2
    # And BDF takes more.
    assert [programs.way(500.0, made, beside=programs.IMPLICIT) for made in (7e3, 8e3)] == [
        "quickly",
        "moderately",
    ]
    order = ["quickly", "moderately", "fully"]
    # among them works whose quotient with a border is rounded
    for work in (*10.0 ** np.arange(1, 9), *(programs.WORTH / np.arange(101.0, 201.0))):
        # Never quickly after fully, as evaluations are made, and changed just where it is said.
        tiers = [order.index(programs.way(work, count)) for count in 10.0 ** np.arange(0, 9)]
        assert tiers == sorted(tiers)
        made = 0.0
        while np.isfinite(following := programs.change(work, made)):
            assert (
                programs.way(work, following - 1.0)
                == programs.way(work, made)
                != programs.way(work, following)
            )
            made = following
        assert programs.way(work, made) == "fully"


@pytest.mark.parametrize("solver", ["tsit5", "dopri8", "bdf", "mrkc3"])
def test_all_ways_of_compiling_give_the_same_answer_within_its_error(
    solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [solved([1.0, 3.0], solver=gl.Adaptive(solver, 1e-8))]
    monkeypatch.setattr(programs, "LARGE", -np.inf)  # of a WORTH below 0
    for border in ("WORTH", "LONG"):
        monkeypatch.setattr(programs, border, -1.0)
        runs.append(solved([1.0, 3.0], solver=gl.Adaptive(solver, 1e-8)))
    assert [compiled(run) for run in runs] == ["quickly", "moderately", "fully"]
    for run in runs[1:]:
        gap = np.abs(runs[0]["loss"].values - run["loss"].values)[1:]
        assert np.all(gap <= runs[0]["loss_error"].values[1:] + run["loss_error"].values[1:])


@pytest.mark.parametrize("records", [24, 320])
def test_a_run_that_is_compiled_anew_on_the_way_is_resumed_to_the_same_bits(
    records: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone at a record, or in blocks of them."""
    moments = np.linspace(0.0, 4.0, records)[1:]
    whole = solved(moments)
    weights, examples = 9, 6
    # The change falls into the middle of the run.
    middle = float(whole["evaluations"].values[records // 2])
    monkeypatch.setattr(programs, "WORTH", weights * examples * middle)
    monkeypatch.setattr(programs, "LARGE", 1.0)
    whole = solved(moments)
    assert compiled(whole) == "quickly, then moderately"

    resumed = cut_and_resumed(lambda **kept: solved(moments, **kept), tmp_path, monkeypatch)
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name].values, resumed[name].values, err_msg=str(name))
    assert compiled(resumed) == compiled(whole)


def test_records_in_blocks_are_those_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = np.linspace(0.0, 2.0, blocks.FEWEST + 30)[1:]
    stop = gl.Stop(loss=float(solved([1.0])["loss"].values[-1]))
    together = solved(moments, solver=gl.solvers.Auto(1e-7), stop=stop)
    monkeypatch.setattr(blocks, "FEWEST", 10**9)
    alone = solved(moments, solver=gl.solvers.Auto(1e-7), stop=stop)
    assert together.result == alone.result == "stopped: loss reached"
    assert together.sizes["record"] == alone.sizes["record"] < len(moments)
    assert set(together.data_vars) == set(alone.data_vars)
    for name in ("loss", "t", "final_weights"):
        np.testing.assert_allclose(together[name].values, alone[name].values, rtol=1e-9, err_msg=name)
    assert np.all(together["loss_error"].values[1:] > 0.0)


def test_iterations_in_blocks_are_the_iteration() -> None:
    flow, start = small()
    numbers = np.arange(1, blocks.FEWEST + 10)
    descent = gl.GradientDescent(flow.problem, 0.1)
    run = gl.run(descent, start, numbers, observables=["loss"], keep="all")
    weights = [np.asarray(leaf) for leaf in start]
    for number in numbers[:70]:
        gradient = flow.problem.gradient(tuple(weights))
        weights = [w - 0.1 * np.asarray(g) for w, g in zip(weights, gradient, strict=True)]
        flat = np.concatenate([w.ravel() for w in weights])
        np.testing.assert_allclose(run["weights"].values[number], flat, rtol=1e-12)


def test_the_cause_of_a_failure_is_said_wherever_the_record_is_made() -> None:
    """An ‖W‖ that shrinks stops the log-norm clock; the stop is found inside a block and alone."""
    problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[0.1]]))
    start = (np.array([[1.0]]),)
    few = gl.run(gl.GradientFlow(problem), start, [1.0], clock=gl.clocks.LogNorm(), solver="tsit5")
    many = np.linspace(0.0, 1.0, blocks.FEWEST + 1)[1:]
    cut = gl.run(gl.GradientFlow(problem), start, many, clock=gl.clocks.LogNorm(), solver="tsit5")
    assert few.result == cut.result == "ended: the clock stands still here (its rate is not positive)"


def test_a_process_of_many_problems_lets_programs_go(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[bool] = []
    let_go = maps.let_go
    monkeypatch.setattr(maps, "_SHARE", 0.0)
    monkeypatch.setattr(maps, "_EVERY", 2)
    monkeypatch.setattr(maps, "let_go", lambda: gone.append(let_go()))
    runs = [solved([1.0]) for _ in range(4)]
    assert gone
    assert all(gone)
    # One that is only classified, too.
    del gone[:]
    for target in (1.0, 2.0):
        problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[target]]))
        assert gl.classify(problem, (np.array([[target]]),)).kind == "minimum"
    assert gone == [True]
    for run in runs:
        np.testing.assert_array_equal(run["loss"], runs[0]["loss"])
