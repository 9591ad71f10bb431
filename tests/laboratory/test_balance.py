"""The energy balance: held by gradient flows in any chart and clock, broken by whatever is none, and said so."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import gradlab as gl
from gradlab.claims.judging import NOT_MET
from gradlab.dynamics.stops import NOT_A_FLOW, RESULTS, RISES
from gradlab.laboratory.balance import violated, with_bar
from gradlab.laboratory.second import FACTOR
from gradlab.problem.bundled import digits
from gradlab.problem.ensembles import stack
from gradlab.report import page

WORDS = RESULTS[NOT_A_FLOW]
random = np.random.default_rng(0)
X = random.standard_normal((8, 3))
Y = np.tanh(X @ np.array([[1.0], [2.0], [-1.0]]))
SIGNS = np.where(X[:, 0] > 0.0, 1.0, -1.0)
TANH = gl.Problem(gl.Dense((3, 2, 1), "tanh"), gl.Square("mean"), gl.Data(X, Y))
MARGIN = gl.Problem(gl.Dense((3, 2, 1), "identity"), gl.Exponential(), gl.Data(X, SIGNS))
LINE = gl.Problem(gl.Dense((3, 1), "identity"), gl.Square("mean"), gl.Data(X, Y))
TWO = (np.array([[0.3, -0.5, 0.2], [0.4, 0.1, -0.6]]), np.array([[0.7, -0.4]]))
ONE = (np.array([[0.3, -0.5, 0.2]]),)


HONEST: dict[str, tuple[Any, Any, list[float], Any, Any]] = {
    "plain": (gl.GradientFlow(TANH), TWO, [1.0, 10.0], None, gl.Adaptive("dopri5", 1e-7)),
    "log loss, implicit": (gl.GradientFlow(MARGIN), TWO, [1.0, 4.0], gl.LogLoss(), gl.Adaptive("bdf", 1e-7)),
    "log time, stabilised": (
        gl.GradientFlow(MARGIN),
        TWO,
        [1.0, 20.0],
        gl.LogTime(),
        gl.Adaptive("mrkc3", 1e-6),
    ),
    "polar": (gl.flows.NormalisedFlow(TANH), TWO, [1.0, 5.0], None, gl.Adaptive("bosh3", 1e-6)),
    "penalty": (gl.flows.UnitNormPenalty(TANH, 0.1), TWO, [1.0, 5.0], None, gl.Adaptive("bosh3", 1e-6)),
    "end to end": (gl.flows.EndToEndFlow(LINE, 3), ONE, [1.0, 5.0], None, gl.Adaptive("bosh3", 1e-6)),
    "radial": (gl.flows.HomogeneousFlow(MARGIN), TWO, [1.0, 20.0], gl.LogTime(), gl.Adaptive("bosh3", 1e-5)),
    # of Heun's method the estimate is one of Euler's: it says more than the method errs by
    "equal steps": (gl.GradientFlow(TANH), TWO, [0.1, 0.2], None, gl.solvers.Fixed("heun", 0.0002)),
    "exact": (gl.GradientFlow(LINE), ONE, [1.0, 1e6], None, "auto"),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_the_loss_falls_by_is_what_the_field_dissipates(name: str) -> None:
    flow, start, records, clock, solver = HONEST[name]
    seen = gl.run(flow, start, records, clock=clock, solver=solver, observables=["loss"])
    off, bar = np.abs(seen.balance.values[1:]), seen.balance_error.values[1:]
    assert np.all(off <= bar)
    assert np.all(bar < 1e-2 * seen.dissipated.values[1:])
    assert seen.result == "reached the last record"


def function(f: Any) -> gl.Problem:
    network = gl.Function(f, lambda key: {"w": 0.5 * jnp.ones((3, 1))}, input_shape=3, outputs=1)
    return gl.Problem(network, gl.Square("mean"), gl.Data(X, Y))


@jax.custom_jvp
def almost(z: Any) -> Any:
    return jnp.tanh(z)


@almost.defjvp
def _(primals: Any, tangents: Any) -> Any:
    slope = 1.0 - jnp.tanh(primals[0]) ** 2
    return jnp.tanh(primals[0]), 0.99 * slope * tangents[0]


def half(w: Any, x: Any) -> Any:
    return (x.astype(jnp.float16) @ w["w"].astype(jnp.float16)).astype(jnp.float64)


LIARS = {
    "half of it without gradient": lambda w, x: x @ jax.lax.stop_gradient(w["w"]) + x @ w["w"],
    "a derivative that is one per cent off": lambda w, x: almost(x @ w["w"]),
}
#: Others are refused at the door: half precision, and numbers drawn anew whenever it is traced.
REFUSED = {
    "half precision": half,
    "random": lambda w, x: x @ w["w"] + 0.1 * np.random.default_rng().standard_normal((x.shape[0], 1)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_computes_otherwise_each_time_or_in_half_precision_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"float16|another function each time"):
        gl.run(gl.GradientFlow(function(REFUSED[name])), {"w": 0.5 * np.ones((3, 1))}, [0.5])


@pytest.mark.parametrize("name", LIARS)
@pytest.mark.parametrize("refine", [True, False])
def test_what_is_no_gradient_of_its_loss_is_told(name: str, refine: bool) -> None:
    seen = gl.run(
        gl.GradientFlow(function(LIARS[name])),
        {"w": 0.5 * np.ones((3, 1))},
        [0.5, 2.0],
        solver=gl.Adaptive("tsit5", 1e-8),
        stop=gl.Stop(steps=400),
        refine=refine,
        observables=["loss"],
    )
    assert seen.result.startswith(WORDS)
    assert violated(seen).any()
    if refine:
        assert WORDS in page.render_run(seen, "")


class Silent(gl.GradientFlow):
    """The same flow, and no balance."""

    dissipates = False


@pytest.mark.parametrize("solver", ["tsit5", "bdf", "mrkc5"])
def test_the_balance_changes_no_bit_of_an_orbit(solver: str) -> None:
    ends = [
        gl.run(flow(TANH), TWO, [1.0, 20.0], solver=gl.Adaptive(solver, 1e-7), observables=["loss"])
        for flow in (gl.GradientFlow, Silent)
    ]
    assert "balance" in ends[0]
    assert "balance" not in ends[1]
    np.testing.assert_array_equal(ends[0].final_weights, ends[1].final_weights)
    assert int(ends[0].step[-1]) == int(ends[1].step[-1])


@pytest.mark.parametrize("size", [1e-150, 1e100, 1e153])
def test_exact_steps_of_any_size_are_balanced(size: float) -> None:
    problem = gl.Problem(gl.Dense((3, 1)), gl.Square("sum"), gl.Data(X * size, Y))
    seen = gl.run(gl.GradientFlow(problem), (ONE[0] / size,), [1.0, 100.0], observables=["loss"])
    assert seen.result == "reached the last record"


def test_exact_steps_spend_what_an_ill_conditioned_loss_falls_by() -> None:
    inputs = X * np.array([1.0, 1e-5, 1e4])
    problem = gl.Problem(gl.Dense((3, 1)), gl.Square("mean"), gl.Data(inputs, Y), decay=1e-6)
    seen = gl.run(gl.GradientFlow(problem), ONE, [1e-3, 1.0, 1e9], observables=["loss"])
    fell = seen.loss.values[0] - seen.loss.values
    np.testing.assert_allclose(seen.dissipated.values[1:], fell[1:], rtol=1e-6)
    assert np.all(np.abs(seen.balance.values) <= seen.balance_error.values)


def test_kinks_kicks_and_iterations_have_no_balance() -> None:
    kinked = gl.Problem(gl.Dense((3, 2, 1)), gl.Square("mean"), gl.Data(X, Y))
    key = jax.random.key(0)
    for flow, start, records in (
        (gl.GradientFlow(kinked), TWO, [0.1]),
        (gl.GradientDescent(TANH, 0.1), TWO, [3]),
        (gl.flows.Kicked(gl.GradientFlow(LINE), 0.1, every=0.5, key=key), ONE, [1.0]),
    ):
        assert "balance" not in gl.run(flow, start, records, observables=["loss"], refine=False)


def test_a_bar_takes_doubt_and_distance() -> None:
    row = with_bar({"balance": 1.0, "balance_doubt": 0.5}, {"balance": 1.2})
    assert float(row["balance_error"]) == pytest.approx(0.5 + FACTOR * 0.2)
    assert "balance_doubt" not in row
    assert with_bar({"loss": 1.0}) == {"loss": 1.0}


class Mine(gl.claims.Look):
    @gl.claims.at_most(1e9)
    def size(self) -> Any:
        """Largest weight.

        It is small.
        """
        return gl.claims.Number(float(np.abs(self.end).max()), error=1e-9)


def drawn(loss: str) -> tuple[gl.Problem, Any]:
    """A net on digits under the square loss; else one whose loss begins at thousands, and falls in a few steps."""
    rng = np.random.default_rng(0)
    if loss == "square":
        whole = digits(labels="onehot")
        images = gl.Data(whole.inputs[:100], whole.targets[:100])
        problem = gl.Problem(gl.Dense((64, 12, 10), "tanh"), gl.Square("mean"), images)
        return problem, (rng.standard_normal((12, 64)) * 0.4, rng.standard_normal((10, 12)) * 0.4)
    inputs = rng.standard_normal((20, 5))
    problem = gl.Problem(
        gl.Dense((5, 9, 1), "identity"), gl.Exponential("mean"), gl.Data(inputs, np.sign(inputs[:, 0]))
    )
    return problem, (rng.standard_normal((9, 5)), rng.standard_normal((1, 9)))


@pytest.mark.parametrize("tolerance", [0.1, 0.03, 0.01, 1e-3, 1e-4])
@pytest.mark.parametrize("loss", ["square", "exponential"])
def test_a_loose_solve_is_not_said_to_follow_no_gradient(tolerance: float, loss: str) -> None:
    """Error estimates are right to first order: where they are a part of E themselves, the balance is off by more."""
    problem, start = drawn(loss)
    for solver in (gl.solvers.Auto(tolerance), gl.Adaptive("bosh3", tolerance)):
        for refine in (False, True):
            seen = gl.run(
                gl.GradientFlow(problem),
                start,
                [1.0, 30.0],
                solver=solver,
                observables=["loss"],
                refine=refine,
            )
            assert str(seen.result) == "reached the last record"
            assert np.all(abs(seen["balance"].values) <= seen["balance_error"].values)


@pytest.mark.parametrize("members", [None, 2])
def test_steps_that_lose_the_orbit_accuse_no_field(members: int | None) -> None:
    """Fixed steps far too long for the curvature: the loss rises, which that of no gradient flow does."""
    flow: Any = gl.GradientFlow(TANH)
    start: Any = TWO
    if members:
        flow, start = stack([flow] * members), stack([TWO, jax.tree.map(lambda w: 1e-3 * w, TWO)])
    options: dict[str, Any] = {"observables": ["loss"], "refine": False, "members": members}
    long = gl.run(flow, start, [2000.0], solver=gl.solvers.Fixed("heun", 100.0), **options)
    fine = gl.run(flow, start, [2000.0], solver=gl.solvers.Auto(1e-6), **options)
    ends = [str(long.result)] if members is None else json.loads(long.result)
    assert all(end.startswith(RESULTS[RISES]) and "smaller steps tell" in end for end in ends)
    assert np.all(long.loss.values.max(axis=0) > 2.0 * long.loss.values[0])
    assert RESULTS[RISES] not in fine.result


@jax.custom_jvp
def turned(z: Any) -> Any:
    return z


@turned.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return primals[0], -tangents[0]


@pytest.mark.parametrize(
    ("solver", "words"),
    [
        (gl.solvers.Fixed("heun", 0.01), RESULTS[RISES]),
        (gl.Adaptive("tsit5", 0.01), RESULTS[RISES]),
        (gl.Adaptive("tsit5", 1e-3), WORDS),
    ],
)
def test_a_gradient_of_the_wrong_sign_is_not_blamed_on_the_steps_alone(solver: Any, words: str) -> None:
    """The loss rises here too: a solve that might have lost its orbit names both, a finer one the gradient."""
    problem = function(lambda w, x: turned(x @ w["w"]))
    seen = gl.run(gl.GradientFlow(problem), {"w": 0.5 * np.ones((3, 1))}, [2.0], solver=solver, refine=False)
    assert seen.loss.values[-1] > 2.0 * seen.loss.values[0]
    assert seen.result.startswith(words)
    assert "gradient is wrong" in seen.result or "gradient that is wrong" in seen.result


@pytest.mark.parametrize("seed", [2, 3, 11])
def test_a_loose_bdf_that_leaves_its_tail_says_so(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((12, 3))
    signs = np.sign(inputs @ rng.standard_normal(3))
    problem = gl.Problem(gl.Dense((3, 1), "identity"), gl.Exponential("mean"), gl.Data(inputs, signs))
    strayed = []
    for tolerance in (0.3, 0.1, 1e-4):
        solver = gl.Adaptive("bdf", tolerance)
        seen = gl.run(
            gl.GradientFlow(problem),
            (np.zeros((1, 3)),),
            [1e2, 1e4, 1e6],
            solver=solver,
            observables=["loss"],
            refine=False,
        )
        rose = bool(seen.loss.values.max() > 2.0 * seen.loss.values[0])
        assert rose == str(seen.result).startswith(RESULTS[RISES])
        assert WORDS not in seen.result
        assert not rose or (tolerance > 1e-3 and "0.001 or less" in seen.result)
        strayed.append(rose)
    assert strayed[0]
    assert not strayed[-1]


@pytest.mark.parametrize(("off", "verdict"), [(0.0, "supported"), (1.0, NOT_MET)])
def test_no_verdict_is_drawn_from_a_run_whose_balance_is_violated(off: float, verdict: str) -> None:
    names = {"balance": [0.0, off], "balance_error": [1e-9, 1e-9], "dissipated": [0.0, 1.0]}
    seen = xr.Dataset({name: ("record", values) for name, values in names.items()})
    seen = seen.assign(weights=(("record", "weight"), [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))
    study = gl.claims.study(gl.claims.Claim("mine.size", "Small."), Mine, lambda key: [])
    cases = [gl.claims.case(LINE, seen, draw=0)]
    judged = study.judge(study.measure(cases))
    assert judged.verdict == verdict
    if off:
        # beside a sound one it hides nothing
        sound = gl.claims.case(LINE, seen.assign(balance=("record", [0.0, 0.0])), draw=1)
        both = study.judge(study.measure([*cases, sound]))
        assert (judged.part, both.verdict, both.deciding.count) == (
            "energy_balance",
            "supported",
            "holds in 1 of 1 asked (1 outside the hypotheses)",
        )
