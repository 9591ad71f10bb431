"""Flows of deep linear nets in fewer variables are the flows of the whole nets: layers, bars, bits, and refusals."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
import pytest

import gradlab
from gradlab import Data, Dense, Gaussian, GradientFlow, Problem, Square
from gradlab.dynamics.reduced import ModeFlow, Reduced, SubspaceFlow
from gradlab.dynamics.reducing import by_modes, by_subspaces
from gradlab.laboratory import reducing
from gradlab.problem.data import gaussian_clouds, linear_regression
from gradlab.store.run import Identity, Run, environment

SEEN = [
    "loss",
    "layer_norms",
    "gradient_norm",
    "matrix_balancedness",
    "product_singular_values",
]


def rotation(seed: int, rows: int, columns: int | None = None) -> np.ndarray:
    """Orthonormal columns."""
    whole = np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, rows)))[0]
    return whole[:, :columns]


def square(
    widths: tuple[int, ...], examples: int = 40, decay: float = 0.0, rank: int | None = None
) -> Problem:
    data = linear_regression(jax.random.key(0), N=examples, d=widths[0], C=widths[-1], noise=0.1, rank=rank)
    return Problem(Dense.deep_linear(widths), Square("mean"), data, decay)


def wide(decay: float = 0.0) -> tuple[Problem, Any]:
    """Two layers from a Gaussian start."""
    problem = square((4, 30, 2), decay=decay)
    return problem, problem.network.init(jax.random.key(1), Gaussian(0.3))


def balanced() -> tuple[Problem, Any]:
    problem = square((4, 20, 20, 2), decay=0.01)
    return problem, problem.network.init(jax.random.key(1), gradlab.init.Balanced(0.4))


def turned() -> tuple[Problem, Any]:
    """A hidden layer that is a rotation: most of it never moves, and none of it is small."""
    problem = square((3, 20, 20, 2))
    start = problem.network.init(jax.random.key(1), Gaussian(0.3))
    return problem, (start[0], 0.8 * rotation(3, 20), start[2])


def few() -> tuple[Problem, Any]:
    """Fewer examples than inputs."""
    problem = square((30, 12, 2), examples=5)
    return problem, problem.network.init(jax.random.key(1), Gaussian(0.2))


def logistic() -> tuple[Problem, Any]:
    data = gaussian_clouds(jax.random.key(0), N=20, d=3, separation=1.0)
    problem = Problem(Dense.deep_linear((3, 40, 1)), gradlab.Logistic("mean"), data, 0.01)
    return problem, problem.network.init(jax.random.key(1), Gaussian(0.3))


def aligned(outputs: int = 3, hidden: int = 6, depth: int = 3, spread: float = 0.5) -> tuple[Problem, Any]:
    """Layers and data with common singular vectors; the numbers of a mode differ between layers by ``spread``."""
    inputs = 4
    rank, u0, last = min(inputs, outputs), rotation(1, inputs), rotation(2, outputs)
    strength = np.array([2.0, 1.2, 0.7, 0.3])[:rank]
    gains = np.array([1.5, 1.0, 0.8, 1.1])
    x = rotation(3, 25, inputs) * gains @ u0.T
    y = x @ (last[:, :rank] * strength @ u0[:, :rank].T).T
    widths = (inputs, *(hidden,) * (depth - 1), outputs)
    frames = [u0[:, :rank], *(rotation(10 + j, hidden, rank) for j in range(1, depth)), last[:, :rank]]
    numbers = [0.3 + spread * 0.1 * np.cos(1.0 + j + np.arange(rank)) for j in range(depth)]
    start = tuple(q * d @ p.T for d, p, q in zip(numbers, frames[:-1], frames[1:], strict=True))
    return Problem(Dense.deep_linear(widths), Square(half=True), Data(x, y), 0.02), start


CASES = {
    "wide": (wide, SubspaceFlow, "invariant subspaces: hidden layers move in 6 of 30 dimensions"),
    "decayed": (lambda: wide(0.05), SubspaceFlow, "6 of 30 dimensions; 5 virtual examples in place of 40"),
    "balanced": (balanced, SubspaceFlow, "hidden layers move in 2 of 20, 2 of 20 dimensions"),
    "turned": (turned, SubspaceFlow, "5 of 20, 5 of 20 dimensions"),
    "few": (few, SubspaceFlow, "7 of 12 dimensions, inputs in 5 of 30"),
    "logistic": (logistic, SubspaceFlow, "4 of 40 dimensions"),
    "modes": (aligned, ModeFlow, "singular modes: 3 modes of 3 numbers each, in place of 78 weights"),
    "modes, square": (lambda: aligned(4, 4, 2, 0.0), ModeFlow, "4 modes of 2 numbers each"),
    "modes, more outputs": (lambda: aligned(5, 6, 4), ModeFlow, "4 modes of 4 numbers each"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reduced_field_is_the_field_of_all_weights_along_the_orbit(name: str) -> None:
    make, kind, _ = CASES[name]
    problem, start = make()
    flow = reducing.asked(GradientFlow(problem), gradlab.Time(), start, False)
    assert type(flow) is kind
    assert isinstance(flow, Reduced)
    assert 2 * flow.unknowns < problem.size or name == "modes, square"
    with jax.enable_x64(True):
        y = flow.encode(start)
        for moved, given in zip(flow.decode(y), start, strict=True):
            np.testing.assert_array_equal(moved, given)
        for _ in range(4):
            rate, log_scale = flow.velocity(0.0, y)
            scale = float(np.exp(log_scale))
            pushed, base = flow.decode(jax.tree.map(lambda v, dv: v + dv, y, rate)), flow.decode(y)
            full = problem.gradient(base)
            size = max(float(np.abs(leaf).max()) for leaf in full)
            for ahead, here, gradient in zip(pushed, base, full, strict=True):
                np.testing.assert_allclose(
                    scale * (ahead - here), -gradient, rtol=0.0, atol=2e-13 * max(size, 1.0)
                )
            y = jax.tree.map(lambda v, dv, s=scale: v + 0.3 * s * dv, y, rate)


@pytest.mark.parametrize("name", CASES)
def test_a_reduced_run_shows_what_the_run_of_all_weights_shows(name: str) -> None:
    make, _, words = CASES[name]
    problem, start = make()
    moments = [0.5, 3.0, 12.0]
    settings: Any = {"observables": SEEN, "keep": "all", "solver": "dopri8"}
    ours = gradlab.run(GradientFlow(problem), start, moments, reduce=True, **settings)
    whole = gradlab.run(GradientFlow(problem), start, moments, reduce=False, **settings)
    assert words in ours.attrs["reduction"]
    assert json.loads(ours.attrs["provenance"])["reduction"] == ours.attrs["reduction"]
    assert whole.attrs["reduction"] == "none"
    assert ours.result == whole.result == "reached the last record"
    np.testing.assert_array_equal(ours["weights"][0], whole["weights"][0])
    for item in [*SEEN, "weights", "dissipated", "final_weights"]:
        assert ours[item].dims == whole[item].dims
        # Both solves are to 1e-9, of what there is at the start: near the end stability holds the steps.
        near = 1e-8 * float(np.abs(whole[item]).max()) + 1e-13
        np.testing.assert_allclose(ours[item], whole[item], rtol=1e-8, atol=near, err_msg=item)
        if item != "dissipated":
            assert np.all(ours[f"{item}_error"].values[1:] > 0.0) or item == "matrix_balancedness"
    assert np.all(np.abs(ours["balance"]) <= ours["balance_error"])


def test_modes_are_those_of_the_closed_solution() -> None:
    """ds/dt = 2 s (a τ − a² s) of two layers: s = s∞/(1 + (s∞/s₀ − 1) e^{−2 a τ t}), s∞ = τ/a."""
    problem, start = aligned(4, 4, 2, 0.0)
    problem = Problem(problem.network, problem.loss, problem.data)
    flow, _ = by_modes(problem, start)
    assert flow is not None
    s0 = np.asarray(flow.origin[0] * flow.origin[1])
    gain, aim = np.asarray(flow.gain), np.asarray(flow.aim)
    end, moments = aim / gain, np.array([0.5, 2.0, 6.0])
    exact = end / (1.0 + (end / s0 - 1.0) * np.exp(-2.0 * np.outer(moments, gain * aim)))
    run = gradlab.run(
        GradientFlow(problem), start, moments, reduce=True, observables=["product_singular_values"]
    )
    off = np.abs(run["product_singular_values"].values[1:] - -np.sort(-exact, axis=1))
    assert np.all(off <= run["product_singular_values_error"].values[1:])
    assert off.max() < 1e-7


def test_rounding_leaves_a_saddle_in_the_reduced_flow_as_in_the_whole_one() -> None:
    """A start of rank one, turned so that no zero is exact: rounding grows along what is missing."""
    problem = Problem(
        Dense.deep_linear((3, 9, 3)), Square(half=True), Data(np.eye(3), np.diag([3.0, 2.0, 1.0]))
    )
    unit = rotation(5, 9, 1)
    start = (unit @ np.eye(1, 3), np.eye(3, 1) @ unit.T)
    runs = {
        reduce: gradlab.run(
            GradientFlow(problem), start, [5.0, 40.0], reduce=reduce, solver="dopri8", observables=["loss"],
            conditioning=True,
        )
        for reduce in (True, False)
    }  # fmt: skip
    assert runs[True].attrs["reduction"].startswith("invariant subspaces: hidden layers move in 1 of 9")
    # The tangents of both grow alike, though the reduced one has one unit beside the one that is used.
    ours, whole = (run["rounding"].values for run in runs.values())
    np.testing.assert_allclose(np.log(ours[1:]), np.log(whole[1:]), atol=1.0)
    assert whole[-1] == pytest.approx(1.0)
    # Without rounding the orbit would still be there: (4 + 1)/2.
    for run in runs.values():
        assert abs(float(run["loss"][-1]) - 2.5) <= float(run["loss_error"][-1])
        assert float(run["loss_error"][-1]) > 2.0


def test_units_without_weights_stay_without_to_the_last_bit() -> None:
    problem, start = balanced()
    flow, _ = by_subspaces(problem, start)
    assert flow is not None
    for basis in flow.bases[1:-1]:
        assert set(np.unique(np.asarray(basis))) == {0.0, 1.0}


def test_a_resumed_reduced_run_has_the_bits_of_an_uninterrupted_one(tmp_path: Any, monkeypatch: Any) -> None:
    problem, start = aligned()
    records = list(np.linspace(0.1, 4.0, 40))
    arguments: Any = {"reduce": True, "observables": ["loss"], "keep": "all"}
    whole = gradlab.run(GradientFlow(problem), start, records, **arguments)
    append, calls = Run.append, []

    def cut(self: Any, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return append(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", cut)
        with (
            Run.create(tmp_path, Identity({"run": 1, **environment()})) as store,
            pytest.raises(KeyboardInterrupt),
        ):
            gradlab.run(GradientFlow(problem), start, records, store=store, **arguments)
        path = store.path
    with Run.open(path, write=True) as store:
        resumed = gradlab.run(GradientFlow(problem), start, records, store=store, **arguments)
    assert resumed.attrs["reduction"] == whole.attrs["reduction"]
    assert resumed.drop_attrs().identical(whole.drop_attrs())


def test_by_itself_a_run_is_reduced_where_counts_say_so_and_never_where_it_is_told_not_to() -> None:
    def chosen(problem: Problem, start: Any, reduce: bool | None = None, solver: str = "auto") -> Any:
        from gradlab.laboratory.running import _prepare

        drive, _ = _prepare(
            GradientFlow(problem), start, gradlab.Time(), solver, gradlab.Stop(), ("loss",), None, reduce
        )
        return drive.flow

    small, begun = wide()
    assert chosen(small, begun).reduction == "sufficient statistics: 5 virtual examples in place of 40"
    assert chosen(small, begun, False).reduction == "none"
    large = square((4, 100, 2), examples=60)
    start = large.network.init(jax.random.key(1), Gaussian(0.3))
    assert isinstance(chosen(large, start), SubspaceFlow)
    assert chosen(large, start, False).reduction == "none"
    assert chosen(large, start, None, "dopri8").reduction == "none"
    assert isinstance(chosen(large, start, True, "dopri8"), SubspaceFlow)
    # Nothing to gain: three layers from a Gaussian start reach all there is.
    deep = square((4, 40, 40, 2), examples=60)
    start = deep.network.init(jax.random.key(1), Gaussian(0.3))
    assert chosen(deep, start).reduction.startswith("sufficient statistics")
    assert by_subspaces(deep, start) == (None, "the start reaches more than half of what there is")


def nearly(off: float) -> tuple[Problem, Any]:
    """Common singular vectors, missed by so much."""
    problem, start = aligned()
    noise = np.random.default_rng(0).standard_normal(start[1].shape)
    return problem, (start[0], start[1] + off * noise, start[2])


def test_what_is_nearly_aligned_or_has_a_missing_mode_is_not_taken_mode_by_mode() -> None:
    assert by_modes(*nearly(1e-8))[0] is None
    assert by_modes(*nearly(1e-10))[0] is None
    assert by_modes(*nearly(0.0))[0] is not None
    # A mode of the data that the start has not: from rounding it would grow.
    problem, start = aligned(4, 4, 2)
    left, values, right = np.linalg.svd(start[1])
    start = (start[0], (left * np.where(np.arange(4) == 3, 0.0, values)) @ right)
    assert by_modes(problem, start)[0] is None
    # Data whose inputs have other axes.
    mixed = Data(np.asarray(problem.data.inputs) @ np.diag([1.0, 2.0, 1.0, 1.0]), problem.data.targets)
    assert by_modes(Problem(problem.network, problem.loss, mixed), aligned(4, 4, 2)[1])[0] is None


def test_ranks_that_rounding_would_decide_reduce_nothing() -> None:
    problem, _ = wide()
    start = problem.network.init(jax.random.key(1), Gaussian(0.3))
    thin = np.outer(rotation(1, 30)[:, 0], np.ones(4)) + 1e-12 * np.asarray(start[0])
    flow, why = by_subspaces(problem, (thin, start[1]))
    assert flow is None
    assert why == "rounding would decide how many directions of the start there are"


def test_outside_the_hypotheses_a_reduction_is_refused_in_a_sentence() -> None:
    problem, start = wide()
    flow = GradientFlow(problem)

    def refused(flow: Any, weights: Any, why: str, **more: Any) -> None:
        with pytest.raises(ValueError, match=why) as caught:
            gradlab.run(flow, weights, [1.0], reduce=True, **more)
        assert "leave out reduce=True" in str(caught.value)

    bent = Problem(Dense((4, 30, 2), "tanh"), Square("mean"), problem.data)
    refused(GradientFlow(bent), start, "only deep linear nets are reduced")
    refused(gradlab.GradientDescent(problem, 0.1), start, "only GradientFlow")
    refused(flow, start, "asks for all weights at every step", clock=gradlab.clocks.ArcLength())
    deep = Problem(
        Dense.deep_linear((4, 9, 9, 1)), gradlab.Logistic(), gaussian_clouds(jax.random.key(0), 9, 4, 1.0)
    )
    drawn = deep.network.init(jax.random.key(1), Gaussian(0.3))
    refused(GradientFlow(deep), drawn, "Logistic couples the modes; the start reaches more than half")
    problem, start = turned()
    left = Problem(problem.network, gradlab.losses.Lp(4), problem.data, 0.1)
    refused(GradientFlow(left), start, "weight decay moves what the data leave alone")
    hinged = Problem(deep.network, gradlab.losses.Hinge(), deep.data)
    refused(GradientFlow(hinged), drawn, "Hinge has kinks")
    members = gradlab.stack([flow, flow]), gradlab.stack([wide()[1]] * 2)
    refused(*members, "members of an ensemble", members=2)
