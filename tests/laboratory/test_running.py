"""The laboratory's functions: one sentence for misuse, provenance, progress, ensembles, and stores that fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import gradlab
import gradlab as gl
import problems
from gradlab import laboratory
from gradlab.dynamics.clocks import LogLoss, LogNorm
from gradlab.laboratory import driving
from gradlab.observe.observables import Direction, Distance
from gradlab.problem.problem import Problem
from gradlab.store.run import Foreign, Identity, Run, environment

RECORDS = (0.5, 1.0, 2.0)


def linear(decay: float = 0.1, seed: int = 0) -> tuple[Problem, tuple[Any]]:
    problem, _, _ = problems.quadratic(decay=decay, seed=seed)
    return problem, (np.random.default_rng(seed + 100).standard_normal((2, 3)),)


PROBLEM, START = linear()
FLOW, DESCENT = gradlab.GradientFlow(PROBLEM), gradlab.GradientDescent(PROBLEM, 0.01)


def run(**changes: Any) -> xr.Dataset:
    """The small run of these tests, with some of its arguments another."""
    given = {"flow": FLOW, "weights": START, "records": RECORDS, "solver": "bosh3", **changes}
    return gradlab.run(given.pop("flow"), given.pop("weights"), given.pop("records"), **given)


# Misuse ----------------------------------------------------------------------------------------------------

MISUSE: dict[str, tuple[dict[str, Any], str]] = {
    "a problem for a flow": ({"flow": PROBLEM}, r"flow was a Problem; write e\.g\. GradientFlow\(problem\)"),
    "a class for a flow": ({"flow": gradlab.GradientFlow}, "flow was the class GradientFlow itself; write"),
    "no records": ({"records": []}, r"records is a list of clock values, e\.g\. .*; its shape is \(0,\)"),
    "one number for records": ({"records": 3.0}, r"records is a list of clock values.* its shape is \(\)"),
    "a table of records": ({"records": [[1.0, 2.0]]}, r"records is a list .* its shape is \(1, 2\)"),
    "ragged records": ({"records": [[1.0], [1.0, 2.0]]}, "records is a list of clock values.*, not a list"),
    "a text for records": ({"records": "abc"}, "records is a list of clock values.*, not 'abc'"),
    "records that fall": ({"records": [2.0, 1.0]}, "records must increase strictly: sort them"),
    "records that repeat": ({"records": [1.0, 1.0]}, "records must increase strictly.* drop repeated"),
    "iterations that fall": (
        {"flow": DESCENT, "solver": "auto", "records": [3, 1]},
        "must increase strictly",
    ),
    "a negative record": ({"records": [-1.0, 1.0]}, r"records begin at clock value 0; -1\.0 was given"),
    "a NaN record": ({"records": [0.0, np.nan]}, "not finite: give finite clock values"),
    "NaN weights": ({"weights": (np.full((2, 3), np.nan),)}, "NaN or infinity: give finite weights"),
    "weights of another shape": ({"weights": (np.ones((3, 2)),)}, r"has shape \(3, 2\); expected \(2, 3\)"),
    "a bare matrix": (
        {"weights": np.ones((2, 3))},
        r"weights of Dense were \(2, 3\); expected \(\(2, 3\),\)",
    ),
    "no weights": ({"weights": None}, "weights of Dense were None; expected"),
    "weights of text": ({"weights": ("w",)}, "hold <U1 and not real numbers: give floats"),
    "complex weights": ({"weights": (1j * np.ones((2, 3)),)}, "hold complex128 and not real numbers"),
    "a name for a clock": ({"clock": "time"}, r"clock was 'time'; write e\.g\. Time\(\)"),
    "an observable for a clock": (
        {"clock": gradlab.observables.Distance(START)},
        "clock was a Distance; write",
    ),
    "a clock without its loss": ({"clock": LogLoss()}, "log-loss time needs a loss with a log-risk; Square"),
    "a clock for descent": (
        {"flow": DESCENT, "solver": "auto", "clock": LogNorm()},
        "descent takes no clock",
    ),
    "a number for a solver": ({"solver": 3}, "solver was 3; write e.g. 'auto' or Adaptive"),
    "a class for a solver": ({"solver": gradlab.Adaptive}, "solver was the class Adaptive itself"),
    "a misspelt solver": ({"solver": "tsit"}, "did you mean 'tsit5'"),
    "an integrator for descent": ({"flow": DESCENT}, r"is an iteration .*: use Descent\(\), or GradientFlow"),
    "descent for a flow": ({"solver": "descent"}, r"GradientFlow is continuous: use Adaptive\(\) or Fixed"),
    "a number for a stop": ({"stop": 3.0}, r"stop was 3\.0; write e\.g\. Stop\(gradient_norm=1e-6\)"),
    "a stop for each member": ({"stop": gradlab.Stop(loss=jnp.ones(2))}, "one number a condition, the same"),
    "a stop without its loss": ({"stop": gradlab.Stop(log_loss=0.0)}, "needs a log-risk; Square has none"),
    "a text for observables": ({"observables": "loss"}, r"observables is a list .*: write \['loss'\]"),
    "a misspelt observable": ({"observables": ["lose"]}, "unknown observable 'lose': did you mean 'loss'"),
    "a misspelt keep": ({"keep": "al"}, "keep is 'end' or 'all', not 'al'"),
    "members of a single flow": ({"members": 5}, r"with members=5 all arrays of flow have a first axis of 5"),
    "no members": ({"members": 0}, "members was 0; give a whole number ≥ 1"),
    "a path for a store": ({"store": "runs"}, "store was 'runs'; give a run directory open for writing"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_of_run_is_one_sentence(case: str) -> None:
    changes, said = MISUSE[case]
    with pytest.raises(ValueError, match=said) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["weights", "observables"])
def test_every_part_of_an_ensemble_carries_its_axis(part: str) -> None:
    flow, solution = gradlab.stack([FLOW] * 4), gradlab.stack([START] * 4)
    given = {"flow": flow, "weights": solution, "observables": [Distance(solution)], "members": 4}
    run(**given)
    single = {"weights": START, "observables": [Distance((np.zeros((3, 3)),))]}
    with pytest.raises(ValueError, match=f"with members=4 all arrays of {part} have a first axis of 4"):
        run(**{**given, part: single[part]})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gradlab.at(FLOW, [START]), r"problem was a GradientFlow; write e\.g\. Problem"),
        (lambda: gradlab.at(PROBLEM, []), "at least one set of weights; an empty list was given"),
        (lambda: gradlab.at(PROBLEM, START[0]), r"takes a list of weights, not a ndarray: write \[weights\]"),
        (lambda: gradlab.at(PROBLEM, START), r"weights of Dense were \(2, 3\); expected"),
        (lambda: gradlab.at(PROBLEM, [START], ["margins"]), "margins needs a margin loss"),
        (lambda: gradlab.at(PROBLEM, [START], "loss"), r"write \['loss'\]"),
    ],
)
def test_misuse_of_at_is_one_sentence(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


# Records and provenance ------------------------------------------------------------------------------------


def test_keep_all_keeps_the_weights_of_every_record() -> None:
    dataset = run(keep="all", observables=["loss"])
    assert dataset["weights"].dims == dataset["weights_error"].dims == ("record", "weight")
    np.testing.assert_array_equal(dataset["tau"], [0.0, *RECORDS])
    np.testing.assert_array_equal(dataset["weights"][0], START[0].ravel())
    np.testing.assert_array_equal(dataset["weights"][-1], dataset["final_weights"])
    np.testing.assert_array_equal(dataset["weights_error"][-1], dataset["final_weights_error"])
    points = [(vector.reshape(2, 3),) for vector in dataset["weights"].values]
    np.testing.assert_allclose(dataset["loss"], [PROBLEM.potential(point) for point in points], rtol=1e-14)
    assert "weights" not in run(observables=["loss"])
    twice = run(keep="all", observables=["weights", "loss"])
    np.testing.assert_array_equal(twice["weights"], dataset["weights"])


def test_at_gives_the_observables_of_unconnected_weights() -> None:
    points = [START, (np.zeros((2, 3)),)]
    dataset = gradlab.at(PROBLEM, points, ["loss", "layer_norms", Direction(START)])
    assert {name: variable.dims for name, variable in dataset.items()} == {
        "loss": ("record",),
        "layer_norms": ("record", "layer"),
        "angle": ("record",),
        "weights": ("record", "weight"),
    }
    np.testing.assert_allclose(dataset["loss"], [PROBLEM.potential(point) for point in points], rtol=1e-14)
    np.testing.assert_array_equal(dataset["weights"], [START[0].ravel(), np.zeros(6)])


def test_the_provenance_says_how_the_numbers_came_about() -> None:
    dataset = run(solver=gradlab.Adaptive("bosh3", 1e-7), seed=11)
    known = json.loads(dataset.attrs["provenance"])
    assert dataset.attrs["result"] == "reached the last record"
    assert (known["flow"], known["clock"], known["seed"]) == ("GradientFlow", "Time", 11)
    assert known["solver"] == "Adaptive bosh3, tolerance 1e-07"
    assert known["wall_seconds"] > 0
    assert {key: known[key] for key in environment()} == environment()
    for solver, words in (
        (gradlab.solvers.Fixed("heun", 0.25), "Fixed heun, 2 steps per 0.25"),
        (gradlab.solvers.Descent(), "Descent: the iteration itself (unit-step Euler)"),
    ):
        assert solver.describe() == words
    iterations = gradlab.run(DESCENT, START, [3])
    assert json.loads(iterations.attrs["provenance"])["flow"] == "GradientDescent"


def test_iterations_that_round_to_the_same_number_are_recorded_once() -> None:
    dataset = gradlab.run(DESCENT, START, [0.6, 1.2, 3.0])
    np.testing.assert_array_equal(dataset["step"], [0, 1, 3])


# Progress --------------------------------------------------------------------------------------------------


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float, float]] = []

    def update(self, description: str, completed: float, total: float) -> None:
        self.said.append((description, completed, total))


def listened(call: Callable[[], Any]) -> list[tuple[str, float, float]]:
    listener = Listener()
    token = laboratory.PROGRESS.set(listener)
    try:
        call()
    finally:
        laboratory.PROGRESS.reset(token)
    return listener.said


def many_steps(flow: Any, **options: Any) -> None:
    """Two records with more than a thousand steps each, so that progress is told between them."""
    gradlab.run(flow, START, [1.0, 2.0], name="mine", **options)


KICKED = gradlab.flows.Kicked(FLOW, 0.01, 0.45, jax.random.key(1))
LONG: dict[str, tuple[Callable[[], Any], int]] = {
    "a flow": (lambda: many_steps(FLOW, solver=gradlab.solvers.Fixed("euler", 5e-4)), 3),
    "a kicked flow": (lambda: many_steps(KICKED, solver=gradlab.solvers.Fixed("euler", 2.5e-4)), 3),
    "iterations": (lambda: gradlab.run(DESCENT, START, [20_000, 40_000], name="mine"), 3),
    "an ensemble": (
        lambda: gradlab.run(
            gradlab.stack([FLOW, FLOW]),
            gradlab.stack([START, (2 * START[0],)]),
            [1.0, 2.0],
            solver=gradlab.solvers.Fixed("euler", 5e-4),
            members=2,
            stop=gradlab.Stop(gradient_norm=0.05),
            name="mine",
        ),
        3,
    ),
}


@pytest.mark.parametrize("case", LONG)
def test_progress_is_told_between_records_too_and_never_falls(case: str) -> None:
    call, records = LONG[case]
    said = listened(call)
    assert {total for *_, total in said} == {float(records)}
    names = {description.split(" = ")[0].replace(", second solve", "") for description, *_ in said}
    assert names == {"mine", "mine, iteration" if case == "iterations" else "mine, t"}
    completed = [part for _, part, _ in said]
    assert len(completed) > records
    assert completed == sorted(completed)
    assert completed[0] >= 0.0
    assert {1.0, 2.0} <= set(completed)
    assert max(completed) <= records


def test_without_a_listener_there_is_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert laboratory.PROGRESS.get() is None
    run()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


# Ensembles -------------------------------------------------------------------------------------------------


def alone_and_together(
    flows: Sequence[Any], starts: Sequence[Any], records: Sequence[float], stop: gradlab.Stop
) -> tuple[list[xr.Dataset], xr.Dataset]:
    given: dict[str, Any] = {"solver": "bosh3", "stop": stop, "observables": ["loss"], "keep": "all"}
    alone = [
        gradlab.run(flow, weights, records, **given) for flow, weights in zip(flows, starts, strict=True)
    ]
    stacked = gradlab.stack(flows), gradlab.stack(starts)
    return alone, gradlab.run(*stacked, records, members=len(flows), **given)


def assert_members_are_their_own_runs(alone: list[xr.Dataset], together: xr.Dataset) -> None:
    assert json.loads(together.attrs["result"]) == [single.attrs["result"] for single in alone]
    assert together.sizes["record"] == max(single.sizes["record"] for single in alone)
    for i, single in enumerate(alone):
        ended = single.sizes["record"]
        mine = together.isel(member=i)
        for name in ("step", "rejected", "evaluations", "status"):
            np.testing.assert_array_equal(mine[name][:ended], single[name], err_msg=name)
        for name in ("tau", "t", "loss", "weights", "loss_error", "weights_error"):
            ours, theirs = mine[name][:ended], single[name]
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-13, err_msg=f"{name} of {i}")
        # A member that has stopped stays where it is while the others go on.
        for name in ("tau", "t", "step", "evaluations", "status", "loss", "weights", "weights_error"):
            kept = mine[name].values[ended - 1 :]
            np.testing.assert_array_equal(kept, np.broadcast_to(kept[0], kept.shape), err_msg=name)
        np.testing.assert_allclose(mine["final_weights"], single["final_weights"], rtol=1e-9)


def test_each_member_of_an_ensemble_stops_on_its_own() -> None:
    problems_, starts = zip(*(linear(seed=seed) for seed in range(4)), strict=True)
    flows = [gradlab.GradientFlow(problem) for problem in problems_]
    records, stop = np.geomspace(0.1, 6.0, 12), gradlab.Stop(gradient_norm=0.05)
    alone, together = alone_and_together(flows, starts, records, stop)
    lengths = {single.sizes["record"] for single in alone}
    assert len(lengths) > 1, "some members stop before others"
    assert "stopped: gradient norm reached" in json.loads(together.attrs["result"])
    assert_members_are_their_own_runs(alone, together)


def test_a_member_that_has_stopped_is_not_kicked_and_the_others_are() -> None:
    problems_, starts = zip(*(linear(seed=seed) for seed in range(3)), strict=True)
    flows = [
        gradlab.flows.Kicked(gradlab.GradientFlow(problem), 0.2, 0.25, jax.random.key(seed))
        for seed, problem in enumerate(problems_)
    ]
    records, stop = [0.3, 0.6, 1.0, 1.5, 2.0, 3.0], gradlab.Stop(gradient_norm=0.5)
    alone, together = alone_and_together(flows, starts, records, stop)
    results = [single.attrs["result"] for single in alone]
    assert len({single.sizes["record"] for single in alone}) > 1, results
    assert_members_are_their_own_runs(alone, together)


def test_a_member_can_be_taken_out_again() -> None:
    flow = laboratory.member(gradlab.stack([FLOW, gradlab.GradientFlow(linear(seed=1)[0])]), 1)
    single = gradlab.run(flow, START, RECORDS, solver="bosh3")
    other = gradlab.run(gradlab.GradientFlow(linear(seed=1)[0]), START, RECORDS, solver="bosh3")
    assert single.drop_attrs().identical(other.drop_attrs())


# Stores ----------------------------------------------------------------------------------------------------


def identity(**changes: Any) -> Identity:
    return Identity({"specification": {"records": list(RECORDS)}, "data": "d", **environment(), **changes})


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A run directory that holds this file's small run."""
    with Run.create(tmp_path, identity()) as store:
        run(store=store, observables=["loss"])
    return store.path


def test_a_store_that_is_complete_is_read_and_nothing_is_computed(kept: Path) -> None:
    whole = run(observables=["loss"]).drop_attrs()
    with Run.open(kept, write=True) as store:
        before = store.segments
        assert run(store=store, observables=["loss"]).drop_attrs().identical(whole)
        assert store.segments == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"specification": {"records": [9.0]}}, "another run: its specification differs from the one given"),
        ({"data": "e"}, "another run: its data differs from the one given"),
        ({"cores": 999}, "a number of cores of"),
        ({"instruction_set": "abacus"}, "the instruction set"),
        ({"versions": {**environment()["versions"], "jax": "0.0"}}, r"jax .* and here is 0\.0"),
    ],
)
def test_a_directory_of_another_identity_is_not_continued(
    kept: Path, change: dict[str, Any], said: str
) -> None:
    other = identity(**change)
    with Run.open(kept, write=True) as store, pytest.raises(Foreign, match=said) as caught:
        store.require(other)
    assert str(kept) in str(caught.value)
    assert "\n" not in str(caught.value)
    with Run.create(kept.parent, other) as fresh:  # under its own name, beside it
        assert fresh.path != kept
        assert fresh.segments == 0
    (kept.parent / "moved").mkdir()
    kept.rename(kept.parent / "moved" / other.name)
    with pytest.raises(Foreign, match=said):
        Run.create(kept.parent / "moved", other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"records": [0.5, 1.0, 3.0]}, "records at other clock values"),
        ({"records": [0.5]}, "records at other clock values"),
        ({"refine": False}, "states of other shapes"),
        ({"observables": ["loss", "layer_norms"]}, "records without layer_norms"),
        (
            {"flow": gradlab.GradientFlow(problems.quadratic(d=2)[0]), "weights": (np.ones((2, 2)),)},
            "states of other shapes",
        ),
    ],
)
def test_a_store_of_another_run_is_not_continued(kept: Path, changes: dict[str, Any], said: str) -> None:
    before = {file.name: file.read_bytes() for file in kept.iterdir()}
    with Run.open(kept, write=True) as store, pytest.raises(ValueError, match=said) as caught:
        run(**{"store": store, "observables": ["loss"], **changes})
    assert "give this run a store of its own" in str(caught.value)
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == before


def test_a_run_may_be_told_to_go_on_further(kept: Path) -> None:
    with Run.open(kept, write=True) as store:
        further = run(store=store, observables=["loss"], records=[*RECORDS, 4.0])
    np.testing.assert_array_equal(further["tau"], [0.0, *RECORDS, 4.0])


def test_a_function_without_initial_weights_takes_their_shapes_from_those_that_are_given() -> None:
    """One that has ``initial`` is the same network: the same bits, whatever asks for its weights."""
    rng = np.random.default_rng(0)
    data = gradlab.Data(rng.standard_normal((12, 3)), rng.standard_normal((12, 1)))
    weights = {"a": rng.standard_normal((3, 4)), "b": rng.standard_normal((4, 1))}

    def apply(w: Any, x: Any) -> Any:
        return jnp.tanh(x @ w["a"]) @ w["b"]

    found = []
    for initial in (None, lambda key: weights):
        network = gradlab.Function(apply, initial, input_shape=3, outputs=1)
        problem = gradlab.Problem(network, gradlab.Square("mean"), data)
        run = gradlab.run(gradlab.GradientFlow(problem), weights, [0.5], observables=["loss", "sharpness"])
        sharpest = gradlab.spectrum(problem, weights, 1, "largest").values
        found.append(
            [run.loss[-1], run.sharpness[-1], sharpest[-1], gradlab.classify(problem, weights).inertia]
        )
    assert [str(one) for one in found[0]] == [str(one) for one in found[1]]


class Counted(gl.observables.Observable):
    """1, and a mark that it was asked for."""

    name: str = eqx.field(static=True, default="counted")

    def __call__(self, problem: Any, weights: Any, y: Any, t: Any) -> Any:
        jax.debug.callback(lambda: ASKED.append(1))
        return jnp.ones(())


ASKED: list[int] = []


@pytest.mark.parametrize("steps", [None, 23])
def test_iterations_are_looked_at_where_a_record_is_and_not_between(
    monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), gl.Data(np.eye(2), np.ones((2, 1))))
    flow, stop = gl.GradientDescent(problem, 0.1), gl.Stop(steps=steps)

    def ran() -> Any:
        ASKED.clear()
        made = gl.run(flow, (np.zeros((1, 2)),), [40.0], observables=["loss", Counted()], stop=stop)
        jax.effects_barrier()
        return made

    monkeypatch.setattr(driving, "way", lambda *known: "fully")
    whole, once = ran(), len(ASKED)
    monkeypatch.setattr(driving, "ATTEMPTS", 3)
    monkeypatch.setattr(
        driving.time, "perf_counter", iter(np.arange(0.0, 1e4, 0.5)).__next__
    )  # 3 in every call
    cut = ran()
    # One that stopped between records is looked at by a call more.
    assert len(ASKED) == once == 2
    assert int(cut["step"][-1]) == (steps or 40)
    assert cut.result == whole.result
    for name in ("loss", "final_weights", "counted"):
        np.testing.assert_array_equal(cut[name], whole[name])
