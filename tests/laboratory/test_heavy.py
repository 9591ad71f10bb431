"""What takes long to evaluate is stepped from the host by every method: the same answers and bits, few programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gradlab as gl
from gradlab.dynamics.solvers import hosted, rkc, stages
from gradlab.dynamics.solvers.methods import method
from gradlab.laboratory import programs
from gradlab.laboratory.driving import Drive
from gradlab.laboratory.progress import PROGRESS
from laboratory.test_hosting import cut_and_resumed, small, stepped

#: (flow of ``test_hosting``, clock, solver, records): each method, clocks that follow from time and one that does not.
RUNS: dict[str, tuple[str, Any, Any, list[float]]] = {
    "mrkc3": ("time", gl.Time(), gl.solvers.Auto(1e-5, stiff="mrkc3"), [1.0, 30.0, 60.0]),
    "mrkc5": ("time", gl.Time(), gl.solvers.Auto(1e-9, stiff="mrkc5"), [1.0, 30.0, 60.0]),
    "log time": ("time", gl.LogTime(), gl.solvers.Auto(1e-6, stiff="mrkc3"), [1.0, 3.0, 4.0]),
    "explicit": ("arc length", gl.clocks.ArcLength(), gl.Adaptive("tsit5", 1e-8), [0.5, 1.0]),
}


@pytest.fixture(autouse=True)
def _heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "HEAVY", 0.0)


def solved(name: str, **keywords: Any) -> Any:
    flow_name, clock, solver, records = RUNS[name]
    flow, start, _, _ = small(flow_name)
    if name != "explicit":
        # Stiff: the inputs are longer, and a change pays.
        problem = gl.Problem(
            flow.problem.network,
            flow.problem.loss,
            gl.Data(6.0 * np.asarray(flow.problem.data.inputs), flow.problem.data.targets),
        )
        flow = gl.GradientFlow(problem)
    keywords = {"observables": ["loss", "layer_norms"], "clock": clock, "solver": solver} | keywords
    return gl.run(flow, start, keywords.pop("records", records), **keywords)


@pytest.mark.parametrize("name", RUNS)
def test_every_method_from_the_host_agrees_with_its_compiled_loop(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = solved(name)
    monkeypatch.setattr(programs, "HEAVY", np.inf)
    monkeypatch.setattr(Drive, "hosts", lambda drive, state: False)
    theirs = solved(name)
    assert stepped(ours) == "from the host"
    assert stepped(theirs) == "in a compiled loop"
    assert set(ours.data_vars) == set(theirs.data_vars)
    assert ours.result == theirs.result
    for what in ("loss", "layer_norms", "balance"):
        gap = np.abs(ours[what].values - theirs[what].values)[1:]
        assert np.all(gap <= ours[f"{what}_error"].values[1:] + theirs[f"{what}_error"].values[1:]), what
    assert np.all(ours["loss_error"].values[1:] < 100.0 * theirs["loss_error"].values[1:])
    assert np.all(theirs["loss_error"].values[1:] < 100.0 * ours["loss_error"].values[1:])
    counts = [int(run["evaluations"].values[-1]) for run in (ours, theirs)]
    assert 0.9 < counts[0] / counts[1] < 1.1
    assert abs(ours["rounding_evaluations"] - theirs["rounding_evaluations"]).max() <= 12
    if name != "explicit":
        assert bool(ours["stiff"].values.any())
        assert int(ours["changes"]) == int(theirs["changes"])


@pytest.mark.parametrize("name", RUNS)
def test_a_heavy_run_is_resumed_to_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = np.linspace(0.0, RUNS[name][3][-1], 24)[1:]
    whole = solved(name, records=moments)
    resumed = cut_and_resumed(lambda **kept: solved(name, records=moments, **kept), tmp_path, monkeypatch)
    assert set(whole.data_vars) == set(resumed.data_vars)
    for what in whole.data_vars:
        np.testing.assert_array_equal(whole[what].values, resumed[what].values, err_msg=str(what))
    assert stepped(whole) == stepped(resumed) == "from the host"


@pytest.mark.parametrize("name", ["mrkc3", "explicit"])
def test_a_run_ends_after_as_many_steps_as_it_may_make(name: str) -> None:
    whole = solved(name)
    most = int(whole["step"].values[-1]) - 3
    cut = solved(name, stop=gl.Stop(steps=most))
    assert str(cut.result) == "stopped: step count reached"
    assert int(cut["step"].values[-1]) == most
    assert stepped(cut) == "from the host"


def test_after_a_kick_nothing_of_the_past_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    recalled = stages.multistep.recall

    def noted(past: Any, now: Any) -> Any:
        after = recalled(past, now)
        counts.append(int(after.count))
        return after

    monkeypatch.setattr(stages.multistep, "recall", noted)
    flow, start, _, _ = small()
    inputs = 6.0 * np.asarray(flow.problem.data.inputs)
    problem = gl.Problem(flow.problem.network, flow.problem.loss, gl.Data(inputs, flow.problem.data.targets))
    kicked = gl.flows.Kicked(gl.GradientFlow(problem), 0.1, every=20.0, key=jax.random.key(0), until=50.0)
    seen = gl.run(
        kicked, start, [60.0], solver=gl.solvers.Auto(1e-5, stiff="mrkc3"), observables=["loss"], refine=False
    )
    assert stepped(seen) == "from the host"
    assert max(counts) == 3
    # At the start of the stiff stretch, and at each kick.
    assert counts.count(0) >= 3


@pytest.mark.parametrize(("count", "damping"), [(2, 0.4), (7, 0.4), (150, 2.0 / 13.0)])
def test_the_stages_from_the_host_are_those_of_the_compiled_loop(count: int, damping: float) -> None:
    """More than a call holds, too."""
    rng = np.random.default_rng(count)
    y, slope, bends = rng.standard_normal(6), rng.standard_normal(6), rng.standard_normal((4, 6))
    values = -np.linspace(0.1, 30.0, 6)
    h = 0.9 * float(rkc.length(count, damping)) / 30.0

    def rate(t: Any, at: Any) -> Any:
        return values * at + jax.numpy.sin(t)

    def program(count: Any, times: Any, ends: Any, bends: Any, rows: Any, made: Any) -> Any:
        # As ``stages.stages``, of this field.
        (t, h), (point, slope) = times, ends
        for mu, nu, part, a_one, c, *factors in rows[: int(count)]:
            at = point + made[0] + np.asarray(factors) @ bends
            new = (
                mu * made[0]
                + nu * made[1]
                + part * h * np.asarray(rate(t + c * h, at))
                - a_one * part * h * slope
            )
            made = np.stack([new, made[0]])
        return made

    field = stages.Field(rate, program, 4)
    ours = rkc.rkc2(field, 0.3, y, np.float64(h), slope, count, damping, bends)
    theirs = rkc.rkc2(
        rate, 0.3, *(jax.numpy.asarray(a) for a in (y, h, slope)), count, damping, jax.numpy.asarray(bends)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


COUNTED = """
import sys
import numpy as np
from jax._src import monitoring
sys.path.insert(0, {tests!r})
from gradlab.laboratory import programs
programs.HEAVY = 0.0
from laboratory.test_heavy import solved
compiled = []
monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **said: compiled.append(said.get("fun_name")) if "backend_compile" in event else None
)
solved("mrkc3")
count = len(compiled)
solved("mrkc3")
print(count, len(compiled) - count, *compiled)
"""


def test_a_first_answer_compiles_the_field_its_stages_and_what_is_looked_at() -> None:
    code = COUNTED.format(tests=str(Path(__file__).parents[1]))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    first, again, *names = done.stdout.split()
    assert int(first) <= 3, names
    assert int(again) == 0


def test_what_can_be_made_from_the_host_throughout() -> None:
    assert hosted.lasting(gl.solvers.Auto(1e-9, explicit="dopri8", stiff="mrkc5"))
    assert hosted.lasting(gl.solvers.Auto(1e-9, explicit="dopri8", stiff="bdf"))
    assert not hosted.lasting(gl.solvers.Auto(1e-9, explicit="dopri8", stiff="rock4"))
    assert all(isinstance(method(name), stages.multistep.Multistep) for name in stages.METHODS)


def test_a_method_that_is_named_is_the_one_that_is_used() -> None:
    for size in (10, 5000):
        assert gl.solvers.Auto(1e-6, stiff="mrkc5").resolve(size, True, False).stiff == "mrkc5"
        assert gl.solvers.Auto(1e-6, stiff="bdf").resolve(size, True, False).stiff == "bdf"
    chosen = gl.solvers.Auto(1e-6, explicit="tsit5").resolve(10, True, False)
    assert (chosen.explicit, chosen.stiff) == ("tsit5", "")


def test_progress_is_told_at_every_step() -> None:
    told: list[float] = []

    class Listener:
        def update(self, description: str, completed: float, total: float) -> None:
            told.append(completed)

    token = PROGRESS.set(Listener())
    try:
        seen = solved("mrkc3", records=[60.0])
    finally:
        PROGRESS.reset(token)
    assert len(told) >= int(seen["step"].values[-1])


def test_a_stabilised_method_is_refused_by_name_where_the_jacobian_is_not_symmetric() -> None:
    flow, start, _, _ = small()
    polar = gl.flows.NormalisedFlow(flow.problem)
    with pytest.raises(ValueError, match="the Jacobian of NormalisedFlow is not symmetric"):
        gl.run(polar, start, [2.0], solver=gl.solvers.Auto(1e-6, stiff="mrkc3"))
    with pytest.raises(ValueError, match="did you mean 'mrkc3'"):
        gl.solvers.Auto(1e-6, stiff="mrkc33")
