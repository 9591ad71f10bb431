"""Small and new problems are stepped from the host: few programs, the same answers, the same bits when resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import gradlab as gl
from gradlab.dynamics import tree
from gradlab.dynamics.solvers import hosted, pairs, stages
from gradlab.dynamics.tree import Layout
from gradlab.laboratory import blocks, hosting, programs
from gradlab.laboratory.driving import Drive
from gradlab.store.run import Identity, Run, environment

FLOWS = {
    "time": (gl.Square("mean"), gl.Time(), "tanh", [1.0, 3.0, 4.0]),
    "log time": (gl.Exponential("mean"), gl.LogTime(), "tanh", [1.0, 4.0]),
    "log loss": (gl.Exponential("mean"), gl.LogLoss(), "identity", [2.0, 8.0]),
    "arc length": (gl.Logistic("mean"), gl.clocks.ArcLength(), "smooth_relu", [0.5, 1.0]),
}
SOLVERS = {
    "dopri8": gl.Adaptive("dopri8", 1e-9),
    "tsit5": gl.Adaptive("tsit5", 1e-8),
    "auto": gl.solvers.Auto(1e-9),
}


def small(name: str = "time") -> tuple[gl.GradientFlow, Any, Any, list[float]]:
    loss, clock, activation, records = FLOWS[name]
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((8, 3))
    signs = np.sign(inputs @ np.array([1.0, -2.0, 0.5]))
    targets = rng.standard_normal((8, 1)) if name == "time" else signs
    decay = 0.02 if name == "arc length" else 0.0
    problem = gl.Problem(gl.Dense((3, 4, 1), activation), loss, gl.Data(inputs, targets), decay)
    start = (0.7 * rng.standard_normal((4, 3)), 0.7 * rng.standard_normal((1, 4)))
    return gl.GradientFlow(problem), start, clock, records


def solved(name: str = "time", solver: Any = None, **keywords: Any) -> Any:
    flow, start, clock, records = small(name)
    records = keywords.pop("records", records)
    keywords = {"observables": ["loss", "layer_norms"], "clock": clock} | keywords
    return gl.run(flow, start, records, solver=SOLVERS["tsit5"] if solver is None else solver, **keywords)


def stepped(run: Any) -> str:
    return str(json.loads(run.attrs["provenance"])["stepped"])


@pytest.mark.parametrize(
    ("name", "solver"),
    [("time", "dopri8"), ("log time", "auto"), ("log loss", "auto"), ("arc length", "tsit5")],
)
def test_from_the_host_and_in_a_compiled_loop_the_answers_agree_within_their_bars(
    name: str, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = solved(name, SOLVERS[solver])
    monkeypatch.setattr(Drive, "hosts", lambda drive, state: False)
    looped = solved(name, SOLVERS[solver])
    assert stepped(hosted) == "from the host"
    assert stepped(looped) == "in a compiled loop"
    assert set(hosted.data_vars) == set(looped.data_vars)
    for one, item in ((hosted, looped), (looped, hosted)):
        # The same solves: a number is as near to the other's as its bar says, and bars are of one size.
        for what in ("loss", "layer_norms", "balance"):
            gap = np.abs(one[what].values - item[what].values)[1:]
            assert np.all(gap <= one[f"{what}_error"].values[1:] + item[f"{what}_error"].values[1:]), what
        assert np.all(one["loss_error"].values[1:] < 100.0 * item["loss_error"].values[1:])
    ours, theirs = (run["evaluations"].values[-1] for run in (hosted, looped))
    assert 0.9 < ours / theirs < 1.1
    # Both follow rounding with as many looks.
    assert abs(hosted["rounding_evaluations"] - looped["rounding_evaluations"]).max() <= 8
    if name == "log loss":
        assert bool(hosted["stiff"].values.any())  # BDF from the host
    assert hosted.result == looped.result


def test_conditioning_changes_no_bit_of_an_orbit_from_the_host() -> None:
    runs = [solved(solver=SOLVERS["dopri8"], conditioning=asked) for asked in (True, False)]
    assert "rounding" in runs[0]
    assert "rounding" not in runs[1]
    for name in ("final_weights", "loss", "step", "evaluations", "t"):
        np.testing.assert_array_equal(runs[0][name].values, runs[1][name].values, err_msg=name)


class Stopped(Exception):
    """Raised in place of a kill."""


def cut_and_resumed(solve: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The run of ``solve(store=…)``, stopped after five segments and taken up again."""
    identity = Identity({"specification": {"records": "many"}, "data": "d", **environment()})

    def appended(*arguments: Any) -> Any:
        append(*arguments)
        if kept.segments == 5:
            raise Stopped

    with Run.create(path, identity) as kept:
        append = kept.append
        monkeypatch.setattr(kept, "append", appended)
        with pytest.raises(Stopped):
            solve(store=kept)
    with Run.create(path, identity) as kept:
        assert 0 < kept.segments < 16
        return solve(store=kept)


@pytest.mark.parametrize(
    ("name", "solver", "worth"),
    [
        ("time", "tsit5", 0.5),
        ("time", "auto", np.inf),
        ("log loss", "auto", np.inf),
        ("log loss", "auto", 0.5),
    ],
)
def test_a_run_from_the_host_is_resumed_to_the_same_bits(
    name: str, solver: str, worth: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of BDF too; also where a compiled loop takes over half way (worth: of the evaluations)."""
    stiff = name == "log loss"
    moments = np.linspace(0.0, 8.0 if stiff else 4.0, 24)[1:]

    def solve(**kept: Any) -> Any:
        return solved(name, SOLVERS[solver], records=moments, **kept)

    whole = solve()
    assert stepped(whole) == "from the host"
    assert stiff == ("stiff" in whole and bool(whole["stiff"].values[-1]))
    if np.isfinite(worth):
        loose, count = whole, worth * float(whole["evaluations"].values[-1])
        monkeypatch.setattr(programs, "WORTH", (16 * 8 + programs.IMPLICIT * stiff) * count)
        monkeypatch.setattr(programs, "LARGE", 1.0)
        whole = solve()
        assert stepped(whole) == "from the host, then in a compiled loop"
        gap = np.abs(whole["loss"].values - loose["loss"].values)[1:]
        assert np.all(gap <= whole["loss_error"].values[1:] + loose["loss_error"].values[1:])

    resumed = cut_and_resumed(solve, tmp_path, monkeypatch)
    assert set(whole.data_vars) == set(resumed.data_vars)
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name].values, resumed[name].values, err_msg=str(name))
    assert stepped(resumed) == stepped(whole)


def test_which_runs_are_stepped_from_the_host_follows_from_what_they_are() -> None:
    flow, start, _, _ = small()
    looped = "in a compiled loop"
    rng = np.random.default_rng(0)
    kinked = gl.Problem(gl.Dense((3, 4, 1), "relu"), gl.Square(), flow.problem.data)
    assert stepped(solved(stop=gl.Stop(loss=1e-30))) == looped
    assert stepped(solved(solver=gl.Adaptive("bdf", 1e-6))) == looped
    many = np.linspace(0.0, 0.5, blocks.FEWEST + 1)[1:]
    assert stepped(solved(records=many, refine=False)) == looped
    members = [(rng.standard_normal((4, 3)), rng.standard_normal((1, 4))) for _ in range(2)]
    flows, starts = gl.stack([(flow, weights) for weights in members])
    ensemble = gl.run(flows, starts, [0.5], members=2, solver=SOLVERS["tsit5"], observables=["loss"])
    assert stepped(ensemble) == looped
    assert stepped(gl.run(gl.GradientFlow(kinked), start, [0.1], observables=["loss"])) == "from the host"


def test_a_problem_that_knows_it_has_no_decay_is_the_same_problem() -> None:
    for name in FLOWS:
        flow, start, _, _ = small(name)
        problem, lean = flow.problem, flow.problem.lean()
        assert (lean is problem) == (name == "arc length")
        assert float(lean.potential(start)) == pytest.approx(float(problem.potential(start)), rel=1e-15)
        assert float(lean.penalty(start)) == float(problem.penalty(start))
        ours, theirs = (np.asarray(one.ravel(one.gradient(start))) for one in (lean, problem))
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-16)
        if problem.has_log:
            ours, theirs = (np.asarray(one.ravel(one.log_gradient(start))) for one in (lean, problem))
            np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-16)


COUNTED = """
import jax, sys
from jax._src import monitoring
sys.path.insert(0, {tests!r})
from laboratory.test_hosting import SOLVERS, small
import gradlab as gl
compiled = []
monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **said: compiled.append(said.get("fun_name")) if "backend_compile" in event else None
)
flow, start, clock, records = small({name!r})
first = gl.run(flow, start, records, solver=SOLVERS["auto"], clock=clock, observables=["loss"])
count = len(compiled)
gl.run(flow, start, records, solver=SOLVERS["auto"], clock=clock, observables=["loss"])
print(count, len(compiled) - count, *compiled)
"""


@pytest.mark.parametrize(("name", "most"), [("time", 2), ("log loss", 5)])
def test_a_first_answer_compiles_few_programs_and_a_second_none(name: str, most: int) -> None:
    """Rates and what is looked at; of BDF its Jacobian, a product with it, and what is dissipated."""
    code = COUNTED.format(tests=str(Path(__file__).parents[1]), name=name)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    first, again, *names = done.stdout.split()
    assert int(first) <= most, names
    assert int(again) == 0


def linear(condition: float) -> gl.GradientFlow:
    """A linear regression with eigenvalues 1 and its condition."""
    inputs = np.array([[1.0, 0.2], [-0.1, np.sqrt(condition)]])
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square(half=True), gl.Data(inputs, [[1.0], [0.5]]))
    return gl.GradientFlow(problem)


@pytest.mark.parametrize(("condition", "end", "refused"), [(4.0, 5.0, False), (1e6, 5e4, True)])
def test_products_are_differences_of_rates_only_where_their_noise_makes_nothing_of_the_run(
    condition: float, end: float, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow directions of a long stiff run are hidden by the rounding of fast ones: there the Jacobian is asked."""
    found: list[tuple[Any, Any, float, float]] = []
    differences = hosted.Walk._difference

    def noted(walk: Any, vector: Any, unknowns: Any, nudge: float, within: float) -> Any:
        image = differences(walk, vector, unknowns, nudge, within)
        found.append((image, walk._product(vector) * unknowns, within, float(walk.end)))
        return image

    monkeypatch.setattr(hosted.Walk, "_difference", noted)
    monkeypatch.setattr(programs, "way", lambda *given: "quickly")
    flow = linear(condition)
    gl.run(flow, (np.array([[0.3, 0.4]]),), [0.1, end], solver=gl.solvers.Auto(1e-9))
    assert found
    assert any(image is None for image, *_ in found) is refused
    for image, exact, within, there in found:
        if image is not None:
            off, size = (float(np.linalg.norm(one)) for one in (image - exact, exact))
            assert off * there <= hosted.SURE or off <= within * size


@pytest.mark.parametrize("late", [0.0, 1.0, 1e18])
@pytest.mark.parametrize("count", [3, 13])
def test_rates_are_told_by_the_program_of_a_step_however_late_it_is(late: float, count: int) -> None:
    """One point or two in a call; of 10¹⁶ on there is no τ + 1."""
    problem = gl.Problem(gl.Dense((3, 1), "identity"), gl.Square("mean"), gl.Data(np.eye(3), np.ones((3, 1))))
    layout = Layout.of((np.zeros((1, 3)),))

    def explicit(made: Any, rows: Any) -> Any:
        flow = gl.GradientFlow(problem)
        with jax.enable_x64(True):
            return stages.explicit(flow, gl.Time(), layout, jnp.asarray(made), jnp.asarray(rows))

    rate = stages.rates(explicit, count)
    (alone,) = rate(np.float64(late), np.zeros(4))
    np.testing.assert_allclose(alone[:3], 2.0 / 3.0, rtol=1e-15)
    first, second = rate(np.float64(late), np.zeros(4), np.array([1.0, 1.0, 4.0, 0.0]))
    np.testing.assert_array_equal(first, alone)
    np.testing.assert_allclose(second[:3], [0.0, 0.0, -2.0], atol=1e-15)


@pytest.mark.parametrize("name", ["bosh3", "tsit5", "dopri8", "heun"])
def test_a_step_by_rows_of_coefficients_is_the_pairs_own(name: str) -> None:
    """A step of the host is one call of the field's program: the same point, error and rate as stage by stage."""
    flow, start, _ = _logistic()
    layout = Layout.of(start)
    point = np.concatenate([layout.host(start), [0.3, 0.1]])
    solver = stages.stepping(tree.plainly(gl.Adaptive(name, 1e-6)))

    def explicit(made: Any, rows: Any) -> Any:
        with jax.enable_x64(True):
            return stages.explicit(flow, gl.LogTime(), layout, jnp.asarray(made), jnp.asarray(rows))

    rate = stages.rates(explicit, len(solver.table.c))
    slope, h, tau = rate(0.4, point)[0], 0.05, 0.4
    walk = SimpleNamespace(point=point, slope=slope, tau=tau, programs=SimpleNamespace(explicit=explicit))
    whole = stages._Pair(walk, solver).step(h)[:3]
    one_by_one = pairs.stepped(solver.table, lambda tau, at: rate(tau, at)[0], tau, h, point, slope)
    for ours, theirs in zip(whole, one_by_one, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-15)
    assert np.abs(whole[1]).max() > 0.0


def _logistic() -> tuple[gl.GradientFlow, Any, Any]:
    rng = np.random.default_rng(5)
    inputs = rng.standard_normal((6, 3))
    data = gl.Data(inputs, np.sign(inputs[:, 0]))
    problem = gl.Problem(gl.Dense((3, 4, 1), "tanh"), gl.Logistic("mean"), data)
    return gl.GradientFlow(problem), (rng.standard_normal((4, 3)), rng.standard_normal((1, 4))), data


def _threads() -> set[int]:
    """How many threads products of NumPy and SciPy take."""
    return {one["num_threads"] for one in ThreadpoolController().info() if one["user_api"] == "blas"}


def test_products_take_one_thread_while_anybody_steps_and_as_many_as_before_afterwards() -> None:
    """Runs in threads of one process come and go in any order."""
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        one = hosting.OneThread()
        assert _threads() == {2}
        one.__enter__()
        one.__enter__()
        one.__exit__()
        assert _threads() == {1}
        one.__exit__()
        assert _threads() == {2}


@pytest.mark.parametrize(("width", "threads"), [(4, 2), (400, 1)])
def test_many_weights_are_stepped_beside_one_thread(
    width: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the threads are there again when the run is over."""
    rng, seen = np.random.default_rng(0), []
    carried = hosted.carried

    def listening(*given: Any) -> None:
        seen.append(_threads())
        carried(*given)

    monkeypatch.setattr(hosted, "carried", listening)
    data = gl.Data(rng.standard_normal((5, 3)), rng.standard_normal((5, 1)))
    flow = gl.GradientFlow(gl.Problem(gl.Dense((3, width, 1), "tanh"), gl.Square("mean"), data))
    start = (0.1 * rng.standard_normal((width, 3)), 0.1 * rng.standard_normal((1, width)))
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        gl.run(flow, start, [0.1], solver=SOLVERS["tsit5"], observables=["loss"], refine=False)
        assert _threads() == {2}
    assert seen
    assert all(found == {threads} for found in seen)
