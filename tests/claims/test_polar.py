"""The studies of W_k = ρ_k V_k: closed forms, and what is a gradient flow and what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import gradlab as gl
import worlds
from gradlab.claims import catalogue
from gradlab.claims.cases import Case, case, point
from gradlab.claims.judging import NOT_MET, REFUTED, SUPPORTED, Verdict
from gradlab.claims.looks import transients
from gradlab.claims.looks.flows import FlowRecords
from gradlab.claims.memo112.normalised_flow import Equations, PolarFlow, PrintedFlow
from gradlab.claims.problems import polar
from gradlab.dynamics.charts import NormalisedFlow, Polar
from gradlab.dynamics.clocks import LogLoss, Time
from gradlab.laboratory import at, run
from gradlab.observe.local import values_and_gradients
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.networks import Dense, Function, Residual
from gradlab.problem.problem import Problem

LEMMAS = ("memo112.lemma1", "memo112.lemma1-corrected")
velocity = eqx.filter_jit(lambda flow, y: flow.velocity(0.0, y))


def judged(claim: str, *cases: Case) -> Verdict:
    study = catalogue.load([claim])[0]
    return study.judge(study.measure(cases))


def looked(claim: str, one: Case) -> Any:
    return one.look(catalogue.load([claim])[0].look)


def scalar(activation: str, decay: float = 0.0) -> Problem:
    """g = b σ(a) on the single point x = 1, y = 0."""
    return Problem(Dense((1, 1, 1), activation), Square("sum"), Data([[1.0]], [[0.0]]), decay)


def random_net(network: Any, outputs: int = 1, loss: Any = None) -> Problem:
    rng = np.random.default_rng(3)
    data = Data(rng.standard_normal((4, 3)), rng.choice([-1.0, 1.0], (4, outputs)))
    return Problem(network, loss or Square("sum"), data)


def points(problem: Problem, count: int = 3) -> Case:
    rng = np.random.default_rng(4)
    shapes = problem.network.shapes()
    weights = [jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), shapes) for _ in range(count)]
    return case(problem, at(problem, weights, ()), net="random")


# Is it a gradient flow? ---------------------------------------------------------------------------------------


def with_momentum(one: Case) -> Case:
    """The case with the orbit of Ẅ = −Ẇ − ∇L from rest at its start, at its records and under its name."""
    problem, given = one.problem, one.trajectory
    if "t" not in given:
        return one
    start, times = given["weights"].values[0], given["t"].values

    def field(t: float, y: np.ndarray) -> np.ndarray:
        w, v = np.split(y, 2)
        return np.concatenate([v, -v - values_and_gradients(problem, w[None])[1][0]])

    found = solve_ivp(field, (0.0, times[-1]), np.concatenate([start, 0.0 * start]), t_eval=times, rtol=1e-8)
    rows = (given["weights"].dims, found.y[: start.size].T)
    return replace(one, trajectory=given.assign(weights=rows, weights_coarse=rows))


@pytest.mark.parametrize("claim", LEMMAS)
def test_momentum_called_flow_is_outside_the_hypotheses(claim: str) -> None:
    verdict = worlds.verdict(claim, worlds.World("momentum", with_momentum))
    assert (verdict.verdict, verdict.part) == (NOT_MET, "gradient_flow")
    assert worlds.true_verdict(claim).verdict == SUPPORTED


@pytest.mark.parametrize("kind", ["another chart", "another clock"])
def test_a_gradient_flow_in_another_chart_or_clock_is_one(kind: str) -> None:
    data = Data([[1.0, 0.3], [-0.2, 1.0], [0.4, 0.8]], [1.0, 1.0, 1.0])
    problem = Problem(Dense((2, 2, 1), "identity"), Exponential(), data)
    start = (np.array([[0.5, 0.1], [-0.2, 0.7]]), np.array([[0.6, 0.8]]))
    flow = NormalisedFlow(problem) if kind == "another chart" else gl.GradientFlow(problem)
    clock = LogLoss() if kind == "another clock" else Time()
    records = [0.5, 1.0, 2.0] if kind == "another clock" else [1.0, 1e2, 1e4]
    seen = run(flow, start, records, clock=clock, solver="dopri8", observables=(), keep="all")
    assert judged("memo112.lemma1", case(problem, seen, net="linear")).verdict == SUPPORTED


@pytest.mark.parametrize("pace", [0.5, 0.9, 1.1])
def test_another_pace_is_none(pace: float) -> None:
    problem = scalar("identity")
    seen = run(
        gl.GradientFlow(problem),
        (np.ones((1, 1)), np.ones((1, 1))),
        [0.2, 0.5, 1.0],
        observables=(),
        keep="all",
    )
    look = FlowRecords(problem, seen.assign(log_t=seen["log_t"] + np.log(pace)), {})
    assert look.gradient_flow.value > 0.05 + look.gradient_flow.error
    assert FlowRecords(problem, seen, {}).gradient_flow.value < 1e-3


# memo112, Lemma 1 ---------------------------------------------------------------------------------------------


def test_the_rates_of_a_scalar_net_of_degrees_two_and_one() -> None:
    look = looked(LEMMAS[1], point(scalar("squared_relu"), np.array([2.0, 3.0]), net="scalar"))
    # g = b a² = 12, ℓ' = 24: dρ_k²/dt = −2 d_k · 24 · 12
    assert np.allclose(look.degrees, (2.0, 1.0), rtol=1e-14)
    assert np.allclose(look.rates, [[-1152.0, -576.0]], rtol=1e-14)
    assert np.allclose(look.sizes, 576.0, rtol=1e-14)
    assert look.as_printed.value == pytest.approx(0.5, rel=1e-14)


@pytest.mark.parametrize(
    ("activation", "printed", "corrected"),
    [("relu", SUPPORTED, SUPPORTED), ("squared_relu", NOT_MET, SUPPORTED), ("tanh", NOT_MET, NOT_MET)],
)
def test_the_printed_lemma_speaks_of_degree_one_and_the_corrected_one_of_any(
    activation: str, printed: str, corrected: str
) -> None:
    one = points(random_net(Dense((3, 4, 2, 1), activation)))
    assert [judged(claim, one).sentences[0].verdict for claim in LEMMAS] == [printed, corrected]


def test_decay_biases_and_residual_blocks_do_not_meet_the_hypotheses() -> None:
    nets = (random_net(Dense((3, 4, 2), bias=True), 2), random_net(Residual(3, 4, 1, 2), 2))
    for one in (*map(points, nets), point(scalar("relu", decay=0.1), np.ones(2), net="scalar")):
        assert [judged(claim, one).verdict for claim in LEMMAS] == [NOT_MET, NOT_MET]


def test_a_dead_net_satisfies_the_lemma() -> None:
    dead = points(scalar("relu")).trajectory
    weights = (dead["weights"].dims, np.tile([-1.0, 2.0], (3, 1)))
    look = looked(LEMMAS[0], case(scalar("relu"), dead.assign(weights=weights), net="dead"))
    assert (look.rate.value, look.rate.error) == (0.0, 0.0)


# memo112, eqs. 2-7 --------------------------------------------------------------------------------------------


def logistic(pace: float = 1.0) -> Case:
    """(w_2 w_1 − 1)² from ρ = 0.1, where eq. 5 is ρ̇ = 4ρ(1 − ρ): its orbit run at a pace, as a plain flow's."""
    times = np.linspace(0.0, 0.6, 7)
    odds = np.exp(4.0 * pace * times) / 9.0
    weights = np.sqrt(odds / (1.0 + odds))[:, None] * np.ones(2)
    problem = Problem(Dense((1, 1, 1), "identity"), Square("sum"), Data([[1.0]], [[1.0]]))
    return case(
        problem,
        xr.Dataset({"weights": (("record", "weight"), weights), "t": ("record", times)}),
        net="scalar",
    )


def test_the_logistic_orbit_is_that_of_the_printed_system_and_no_other() -> None:
    assert looked("memo112.normalised-flow", logistic()).orbit.value < 1e-8
    for pace in (1.001, 1.01):
        found = {
            part.id: part.verdict
            for part in judged("memo112.normalised-flow", logistic(), logistic(pace)).parts
        }
        assert found["orbit"] == REFUTED


@pytest.mark.parametrize("equal", [True, False])
def test_the_printed_velocity_is_the_plain_flow_in_the_polar_chart(equal: bool) -> None:
    problem = random_net(Dense((3, 4, 2, 1)))
    norms = np.array([0.8, 0.8 if equal else 1.7, 0.8])
    weights = polar.with_norms(np.random.default_rng(5), problem.network, norms)
    flow = PrintedFlow(problem, jnp.asarray(equal))
    y = flow.encode(weights)
    motion, _ = velocity(flow, y)
    expected, _ = velocity(NormalisedFlow(problem), Polar(y.rho, y.directions))
    for one, two in zip(jax.tree.leaves(motion), jax.tree.leaves(expected), strict=True):
        assert np.allclose(one, two, rtol=1e-12, atol=1e-13)


def test_equations_hold_pointwise_and_those_for_equal_norms_fail_where_the_norms_differ() -> None:
    one = points(random_net(Dense((3, 4, 2, 1)), loss=Square("mean", half=True)), 1)
    (there,) = one.look(PolarFlow).points[0]
    assert isinstance(there, Equations)
    assert max(there.off("eq2"), there.off("eq4")) < 1e-13
    assert min(there.off(name) for name in ("eq3", "eq5", "eq7")) > 1e-3
    assert there.miss() > 1e-2


@pytest.mark.parametrize(
    ("network", "outputs"),
    [
        (Dense((3, 4, 1), "tanh"), 1),
        (Dense((3, 4, 1), bias=True), 1),
        (Residual(3, 4, 1, 1), 1),
        (Dense((3, 4, 2)), 2),
    ],
    ids=["tanh", "bias", "residual", "two outputs"],
)
def test_other_nets_do_not_meet_the_hypotheses_of_the_polar_system(network: Any, outputs: int) -> None:
    assert judged("memo112.normalised-flow", points(random_net(network, outputs))).verdict == NOT_MET


# Lecture notes, normalisation ---------------------------------------------------------------------------------


def one_example(w: Any, loss: Any = None, decay: float = 0.0) -> Case:
    problem = Problem(Dense((2, 1), "identity"), loss or Exponential(), Data([[1.0, 0.0]], [1.0]), decay)
    return point(problem, np.array(w), net="one example")


def test_the_numbers_of_the_note() -> None:
    look = looked("notes.normalised", one_example([3.0, 4.0]))
    # e^-3 (0.64, -0.48) for a fifth of it, in units of e^-3/5
    assert look.memo_43.value == pytest.approx(5.0 * 0.8 * 0.8)
    printed = (np.eye(2) - np.outer([3.0, 4.0], [3.0, 4.0])) / 5.0
    right = np.array([[0.128, -0.096], [-0.096, 0.072]])
    norms = np.linalg.norm(printed) + np.linalg.norm(right)
    assert look.memo_s.value == pytest.approx(np.linalg.norm(printed - right) / norms)
    assert looked("notes.normalised-corrected", one_example([3.0, 4.0])).right_43.value < 1e-14


def test_at_norm_one_the_printed_denominators_are_right_too() -> None:
    look = looked("notes.normalised", one_example([0.6, 0.8]))
    assert max(look.memo_43.value, look.memo_s.value) < 1e-14


def test_two_tildes_of_memo90_are_a_misprint_and_the_notes_are_right() -> None:
    found = worlds.true_verdict("notes.normalised")
    assert (found.verdict, found.print) == (SUPPORTED, "misprint")
    assert [one.id for one in found.sentences if one.print == "misprint"] == ["memo"]


@pytest.mark.parametrize(
    ("loss", "decay"), [(Logistic(), 0.0), (Exponential("mean"), 0.0), (Exponential(), 0.1)]
)
def test_other_losses_and_decay_are_outside(loss: Any, decay: float) -> None:
    assert judged("notes.normalised-corrected", one_example([3.0, 4.0], loss, decay)).verdict == NOT_MET


def test_a_layer_of_degree_two_is_outside() -> None:
    data = Data([[1.0, 0.5], [0.3, 1.0]], [1.0, 1.0])
    problem = Problem(Dense((2, 2, 1), "squared_relu"), Exponential(), data)
    found = judged(
        "notes.normalised-corrected", point(problem, np.array([1.0, 0.5, 0.2, 1.0, 1.0, 2.0]), net="z²")
    )
    assert (found.verdict, found.part) == (NOT_MET, "degree")


# Lecture notes, homogeneity -----------------------------------------------------------------------------------

X = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, 0.0]])


def homogeneity(network: Any, *weights: float) -> Case:
    return point(Problem(network, Square(), Data(X, np.zeros((3, 1)))), np.array(weights), net="by hand")


def test_a_monomial_net_has_the_weighted_form_and_not_the_printed_one() -> None:
    network = Dense((2, 2, 1), polynomial((0.0, 0.0, 1.0)))
    look = looked("notes.homogeneity", homogeneity(network, 1.0, 2.0, 0.5, -1.0, 1.0, 3.0))
    assert max(look.product.value, look.euler.value) < 1e-14
    assert look.unweighted.value == pytest.approx(1.0)
    assert look.shown()["layer_ratio"][1] == pytest.approx([2.0, 1.0])
    assert look.tanh.value > 0.9


def _quadratic(weights: Any, x: Any) -> Any:
    return (x @ weights[0].T) ** 2


def _start(key: Any) -> Any:
    return (np.array([[1.0, 1.0]]),)


def test_a_net_of_another_degree_than_it_says_is_refuted() -> None:
    network = Function(_quadratic, _start, input_shape=2, outputs=1, degrees=(1,))
    look = looked("notes.homogeneity", homogeneity(network, 3.0, 4.0))
    assert look.euler.value == pytest.approx(1.0)  # 2f is not f
    assert look.product.value == pytest.approx(0.8)  # 5² f̃ is not 5 f̃


def test_biases_leave_no_degree_to_judge() -> None:
    network = Dense((2, 2, 1), "relu", bias=True)
    assert judged("notes.homogeneity", homogeneity(network, *np.ones(9))).verdict == NOT_MET


@pytest.mark.parametrize(
    ("values", "time"),
    [
        ([0.0, 1.0, 2.0], 1.5),
        ([2.0, 0.0, 1.0, 2.0], 2.5),  # above at first, which is no passage from below
        ([2.0, 1.0, 0.5], np.inf),  # nor is a fall
        ([2.0, 3.0, 4.0], 0.0),
        ([0.0, 0.5, 1.0], np.inf),
        ([np.nan, 9.0, 1.0, 2.0, 1.0], 2.5),  # down from beyond what it is, then up
        ([1.0, np.nan, 0.0, 1.0, 2.0, np.nan], 3.5),
        ([np.nan, 1.0, 0.5], np.inf),
    ],
)
def test_a_transient_ends_where_its_level_is_passed_from_below(values: list[float], time: float) -> None:
    found = transients.crossing(np.arange(float(len(values))), np.array(values), 1.5)
    assert found.value == pytest.approx(time, abs=0.05)
    assert np.isinf(found.error) == np.isinf(time)
