"""Order of convergence, landing on records, error bars that hold, stops, restarts that keep the bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import gradlab
from gradlab.dynamics.integrate import log_time
from gradlab.problem.data import linear_regression
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack


def linear(decay: float = 0.0, seed: int = 3) -> tuple[Problem, tuple]:
    data = linear_regression(jax.random.key(seed), N=7, d=4, C=2, noise=0.2)
    problem = Problem(Dense((4, 2), "identity"), gradlab.Square("mean"), data, decay)
    return problem, (jax.random.normal(jax.random.key(9), (2, 4)),)


def exact(problem: Problem, start: tuple, t: float) -> np.ndarray:
    """W(t) of the linear flow of the mean square loss, by the matrix exponential."""
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    hessian = 2 * x.T @ x / len(x) + float(problem.decay) * np.eye(4)
    equilibrium = np.linalg.solve(hessian, 2 * x.T @ y / len(x)).T
    return equilibrium + (np.asarray(start[0]) - equilibrium) @ scipy.linalg.expm(-t * hessian)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("bosh3", 3), ("dopri5", 5)])
def test_fixed_steps_converge_at_their_order(name: str, order: int) -> None:
    # A nonlinear problem: on linear ones a method may gain an order by accident.
    data = linear_regression(jax.random.key(3), N=5, d=2, C=1, noise=0.2)
    problem = Problem(Dense((2, 2, 1), "tanh"), gradlab.Square("mean"), data)
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(1.0))
    flow = gradlab.GradientFlow(problem)

    def end(solver: gradlab.Adaptive | gradlab.solvers.Fixed) -> np.ndarray:
        return gradlab.run(flow, start, [1.0], solver=solver, refine=False)["final_weights"].values

    reference = end(gradlab.Adaptive("dopri8", 1e-13))
    steps = 1.0 / np.array({1: (100, 200), 2: (50, 100), 3: (40, 80), 5: (40, 80)}[order])
    errors = [np.linalg.norm(end(gradlab.solvers.Fixed(name, step, 1.0)) - reference) for step in steps]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name", ["dopri8", "tsit5", "kvaerno5"])
def test_the_error_bar_covers_the_error(name: str) -> None:
    problem, start = linear(decay=0.1)
    records = [0.3, 1.0, 4.0]
    run = gradlab.run(
        gradlab.GradientFlow(problem), start, records, solver=gradlab.Adaptive(name, 1e-8), keep="all"
    )
    for i, t in enumerate(records, start=1):
        error = np.linalg.norm(run["weights"].values[i] - exact(problem, start, t).ravel())
        bar = np.linalg.norm(run["weights_error"].values[i])
        assert error <= bar + 1e-13
        assert bar < 1e-6
    np.testing.assert_array_equal(run["tau"], [0.0, *records])
    np.testing.assert_allclose(run["t"], run["tau"], rtol=1e-8)


def test_log_time_is_exact_at_both_ends() -> None:
    for t in (1e-12, 1e-3, 0.5, 1.0, 7.0, 1e9):
        assert float(log_time(jnp.log1p(t))) == pytest.approx(np.log(t), rel=1e-12)
    assert float(log_time(jnp.asarray(5000.0))) == 5000.0
    assert float(log_time(jnp.asarray(0.0))) == -np.inf


def test_stops_say_why() -> None:
    problem, start = linear(decay=0.5)
    flow = gradlab.GradientFlow(problem)
    by_step = gradlab.run(flow, start, [50.0], stop=gradlab.Stop(steps=3), refine=False)
    assert by_step.attrs["result"] == "stopped: step count reached"
    assert int(by_step["step"][-1]) == 3
    by_gradient = gradlab.run(flow, start, [500.0], stop=gradlab.Stop(gradient_norm=1e-6), refine=False)
    assert by_gradient.attrs["result"] == "stopped: gradient norm reached"
    assert float(by_gradient["gradient_norm"][-1]) <= 1e-6
    still = gradlab.run(flow, start, np.geomspace(1, 1e6, 40), stop=gradlab.Stop(still=1e-8))
    assert still.attrs["result"] == "stopped: nothing moves any more"
    assert float(still["tau"][-1]) < 1e3
    loss = 1.5 * float(still["loss"][-1])
    by_loss = gradlab.run(flow, start, [500.0], stop=gradlab.Stop(loss=loss), refine=False)
    assert by_loss.attrs["result"] == "stopped: loss reached"
    by_time = gradlab.run(flow, start, [500.0], stop=gradlab.Stop(log_t=0.0), refine=False)
    assert by_time.attrs["result"] == "stopped: log t reached"
    done = gradlab.run(gradlab.GradientDescent(problem, 0.1), start, [9], stop=gradlab.Stop(steps=4))
    assert done["step"].values.tolist() == [0, 4]
    assert gradlab.run(flow, start, [1.0]).attrs["result"] == "reached the last record"


def test_a_diverging_iteration_is_a_value_not_an_exception() -> None:
    problem, start = linear()
    run = gradlab.run(gradlab.GradientDescent(problem, 1e6), start, [1000])
    assert run.attrs["result"].startswith("failed: the field is not finite at t = ")


def test_an_ensemble_equals_its_members() -> None:
    pairs = [linear(seed=seed) for seed in range(5)]
    problem = stack([pair[0] for pair in pairs])
    start = stack([pair[1] for pair in pairs])
    together = gradlab.run(gradlab.GradientFlow(problem), start, [0.5, 2.0], members=5)
    for i, (single, weights) in enumerate(pairs):
        alone = gradlab.run(gradlab.GradientFlow(single), weights, [0.5, 2.0])
        np.testing.assert_allclose(
            together["final_weights"][i], alone["final_weights"], rtol=1e-12, atol=1e-14
        )
        np.testing.assert_allclose(together["loss"][:, i], alone["loss"], rtol=1e-11)
        assert together["layer_norms"].dims == ("record", "member", "layer")


class Memory:
    """A store that keeps segments in memory and can lose its process after some of them."""

    def __init__(self) -> None:
        self.kept: list = []

    @property
    def segments(self) -> int:
        return len(self.kept)

    def append(self, dataset, state, seconds) -> None:
        self.kept.append((dataset, state))

    def state(self):
        return self.kept[-1][1]

    def dataset(self):
        import xarray as xr

        parts = [dataset for dataset, _ in self.kept]
        timeless = [name for name in parts[-1].data_vars if "record" not in parts[-1][name].dims]
        joined = xr.concat([part.drop_vars(timeless) for part in parts], dim="record", data_vars="all")
        return joined.assign({name: parts[-1][name] for name in timeless})


@pytest.mark.parametrize(
    "solver",
    [
        "dopri8",
        "tsit5",
        "rkc2",
        "mrkc3",
        "rock4",
        "bdf",
        "exact",
        gradlab.solvers.Auto(1e-5, 1e-8, explicit="bosh3", stiff="bdf"),
        gradlab.solvers.Auto(1e-5, 1e-8, explicit="bosh3", stiff="mrkc3"),
        gradlab.solvers.Fixed("heun", 0.01),
    ],
)
def test_resumed_and_uninterrupted_runs_are_the_same_bits(solver) -> None:
    problem, start = linear()
    records = np.linspace(0.1, 3.0, 40)
    whole = Memory()
    full = gradlab.run(gradlab.GradientFlow(problem), start, records, solver=solver, store=whole)
    assert whole.segments > 10
    for cut in (1, 5, whole.segments):
        part = Memory()
        part.kept = whole.kept[:cut]
        again = gradlab.run(gradlab.GradientFlow(problem), start, records, solver=solver, store=part)
        assert again.drop_attrs().identical(full.drop_attrs())


def test_records_and_weights_are_checked() -> None:
    problem, start = linear()
    flow = gradlab.GradientFlow(problem)
    for records, words in (
        ([], "records"),
        ([2.0, 1.0], "increase"),
        ([-1.0], "begin"),
        ([np.nan], "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            gradlab.run(flow, start, records)
    with pytest.raises(ValueError, match="finite weights"):
        gradlab.run(flow, (jnp.full((2, 4), jnp.nan),), [1.0])
    with pytest.raises(ValueError, match="did you mean 'tsit5'"):
        gradlab.run(flow, start, [1.0], solver="tsit")
    with pytest.raises(ValueError, match=r"bdf chooses its own steps and orders: use Adaptive\('bdf'\)"):
        gradlab.solvers.Fixed("bdf")
    with pytest.raises(ValueError, match="did you mean 'layer_norms'"):
        gradlab.run(flow, start, [1.0], observables=["layer_norm"])
