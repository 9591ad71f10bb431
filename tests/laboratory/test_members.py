"""Large ensembles run in blocks: the same members, progress and errors as in one."""

from __future__ import annotations

import gc
import json
import threading
import weakref

import jax
import numpy as np
import pytest

import gradlab
from gradlab import Adaptive, Dense, Gaussian, GradientDescent, GradientFlow, Problem
from gradlab.laboratory import members, programs
from gradlab.laboratory.members import ALONE, Told, at_once, blocks, join, take, work_of_one
from gradlab.laboratory.progress import PROGRESS
from gradlab.problem.problem import stack


@pytest.mark.parametrize("count", [1, 31, 32, 33, 65, 100, 256])
def test_blocks_hold_every_member_once_and_are_of_one_length(count: int) -> None:
    found = blocks(count, 0.0)
    assert len({len(rows) for rows in found}) == 1
    assert len(found[0]) <= members.BLOCK
    np.testing.assert_array_equal(np.concatenate(found)[:count], np.arange(count))
    numbers = {
        "a": np.arange(3.0 * count).reshape(count, 3),
        "key": jax.random.split(jax.random.key(0), count),
    }
    parts = [take(numbers, rows) for rows in found]
    whole = join([{"a": part["a"]} for part in parts], count)
    np.testing.assert_array_equal(whole["a"], numbers["a"])
    keys = np.concatenate([jax.random.key_data(part["key"]) for part in parts])[:count]
    np.testing.assert_array_equal(keys, jax.random.key_data(numbers["key"]))


@pytest.fixture
def nets():
    """Seventy starts of one small net."""
    keys = jax.random.split(jax.random.key(5), 2)
    inputs = jax.random.normal(keys[0], (12, 3))
    data = gradlab.Data(inputs, inputs @ jax.random.normal(keys[1], (3, 2)))
    problem = Problem(Dense((3, 4, 2), "tanh"), gradlab.Square("mean"), data)
    starts = [problem.network.init(jax.random.key(k), Gaussian(0.4)) for k in range(70)]
    return problem, starts


@pytest.mark.parametrize("kind", ["descent", "sgd", "flow", "auto"])
def test_blocks_change_no_member(nets, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, starts = nets
    flows = [
        GradientDescent(problem, 0.01 * (1 + k % 3)) if kind == "descent"
        else gradlab.StochasticGradientDescent(problem, 0.01, 4, jax.random.key(k)) if kind == "sgd"
        else GradientFlow(problem)
        for k in range(len(starts))
    ]  # fmt: skip
    given = (
        {"refine": False}
        if kind in ("descent", "sgd")
        else {"solver": Adaptive("tsit5", 1e-8), "refine": True}
    )
    given = given if kind != "auto" else {"refine": False}
    records = [20, 1500] if kind in ("descent", "sgd") else [0.5, 30.0]

    def final():
        return gradlab.run(stack(flows), stack(starts), records, members=len(starts), **given)

    together = final()
    assert together.sizes["member"] == len(starts)
    monkeypatch.setattr(members, "BLOCK", 1000)
    whole = final()
    assert set(together) == set(whole)
    near = {"rtol": 1e-12} if kind in ("descent", "sgd") else {"rtol": 1e-6}
    for name in ("final_weights", "log_t", "tau"):
        np.testing.assert_allclose(together[name], whole[name], **near, atol=1e-9)
    # A member of the second block, and one of the last, repeated to fill it, are their own runs.
    for k in (40, 69):
        alone = gradlab.run(flows[k], starts[k], records, **given)
        np.testing.assert_allclose(together["final_weights"][k], alone["final_weights"], **near, atol=1e-9)


def test_progress_is_that_of_the_slowest_block() -> None:
    seen: list[float] = []
    told = Told(seen.append, 3)
    told.of(0)(5.0)
    told.of(2)(1.0)
    assert seen == []
    told.of(1)(3.0)
    told.of(2)(4.0)
    assert seen == [1.0, 3.0]


def test_progress_reaches_whoever_listens(nets) -> None:
    problem, starts = nets
    heard: list[float] = []

    class Listener:
        def update(self, description: str, completed: float, total: float) -> None:
            heard.append(completed / total)

    token = PROGRESS.set(Listener())
    try:
        flow = stack([GradientDescent(problem, 1e-3)] * len(starts))
        gradlab.run(flow, stack(starts), [50_000], members=len(starts), observables=())
    finally:
        PROGRESS.reset(token)
    assert any(0.0 < part < 1.0 for part in heard), "blocks must be heard before the record"
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_the_error_of_a_block_ends_the_others() -> None:
    told, failed = Told(lambda tau: None, 2), threading.Event()

    def work(block: int) -> int:
        if block == 1:
            failed.set()
            raise ValueError("the second block's own sentence")
        failed.wait(10.0)
        for _ in range(10_000):
            told.of(block)(0.0)
            threading.Event().wait(0.01)
        return block

    with pytest.raises(ValueError, match="the second block's own sentence"):
        at_once(work, 2, told)
    with pytest.raises(RuntimeError, match="another block failed"):
        told.of(0)(1.0)


@pytest.mark.parametrize(("solver", "factorises"), [("bdf", True), ("tsit5", False)])
def test_one_block_at_a_time_factorises_matrices(
    nets, solver: str, factorises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLA's batched factorisations wait in the pool that their parts need: two at once on two cores never ended."""
    problem, starts = nets
    lock, held = threading.RLock(), []

    class Lock:
        def __enter__(self) -> None:
            lock.acquire()
            held.append(threading.get_ident())

        def __exit__(self, *_: object) -> None:
            lock.release()

    monkeypatch.setattr(programs, "_FACTORISING", Lock())
    flows = stack([GradientFlow(problem)] * len(starts))
    run = gradlab.run(
        flows, stack(starts), [0.1, 0.2], solver=solver, observables=["loss"], members=len(starts)
    )
    assert bool(held) is factorises
    assert np.all(run["loss_error"].values[1:] > 0.0)
    assert json.loads(run.attrs["provenance"])["compiled"] == "quickly"


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_large_members_run_one_by_one_whatever_is_kept(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nets on images, in blocks of one, which are kept or cut out anew; each its own run."""
    rng = np.random.default_rng(0)
    network = gradlab.Convolutional((3, 32, 32), (16, 8), 3, 2)
    problems = [
        Problem(
            network,
            gradlab.CrossEntropy("mean"),
            gradlab.Data(rng.random((90, 3, 32, 32)), rng.integers(0, 10, 90)),
        )
        for _ in range(3)
    ]
    starts = [network.init(jax.random.key(k), Gaussian(0.1)) for k in range(3)]
    flows = [
        gradlab.StochasticGradientDescent(one, 0.05, 60, jax.random.key(k), precision=precision)
        for k, one in enumerate(problems)
    ]
    assert work_of_one(stack(flows)) > ALONE
    assert len(blocks(3, work_of_one(stack(flows)))) == 3
    kept = gradlab.run(stack(flows), stack(starts), [3, 6], members=3, observables=["loss"])
    monkeypatch.setattr(members, "HEAVY", 0)
    cut = gradlab.run(stack(flows), stack(starts), [3, 6], members=3, observables=["loss"])
    np.testing.assert_array_equal(kept["final_weights"], cut["final_weights"])
    near = 1e-12 if precision == "float64" else 1e-5
    for k in range(3):
        alone = gradlab.run(flows[k], starts[k], [3, 6], observables=["loss"])
        np.testing.assert_allclose(kept["final_weights"][k], alone["final_weights"], rtol=near, atol=near)
    other = {"float64": "float32", "float32": "float64"}[precision]
    changed = gradlab.StochasticGradientDescent(problems[0], 0.05, 60, jax.random.key(0), precision=other)
    moved = gradlab.run(changed, starts[0], [3, 6], observables=["loss"])
    gap = np.max(np.abs(moved["final_weights"].values - kept["final_weights"].values[0]))
    assert 1e-12 < gap < 1e-5


def test_an_ensembles_data_are_in_no_cycle_of_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes that only the collector frees are not freed: it counts objects, not bytes."""
    monkeypatch.setattr(members, "ALONE", 0.0)
    monkeypatch.setattr(members, "HEAVY", 0)
    data = gradlab.Data(np.random.default_rng(0).standard_normal((50, 3)), np.ones((50, 1)))
    problem = Problem(Dense((3, 4, 1), "tanh"), gradlab.Square("mean"), data)
    start = problem.network.init(jax.random.key(0), Gaussian(0.4))
    together = stack([problem] * 3)
    known = weakref.ref(together.data.inputs)
    gc.collect()
    gc.disable()
    try:
        gradlab.run(
            GradientDescent(together, np.full(3, 0.1)),
            stack([start] * 3),
            [2],
            members=3,
            observables=["loss"],
        )
        del together
        assert known() is None
    finally:
        gc.enable()
