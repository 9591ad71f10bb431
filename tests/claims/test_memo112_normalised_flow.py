"""memo112.normalised-flow: the scalar net of two layers, whose ρ(t) is logistic, and what must not pass."""

from __future__ import annotations

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from gradlab.claims import polar
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, Case
from gradlab.claims.memo112._printed import Chart, Printed, points_of
from gradlab.claims.memo112.normalised_flow import STUDY
from gradlab.dynamics.charts import NormalisedFlow, Polar
from gradlab.laboratory import at
from gradlab.observe.layers import layer_norms, layer_of
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense, Residual
from gradlab.problem.problem import Problem

velocity = eqx.filter_jit(lambda flow, y: flow.velocity(0.0, y))
TIMES = np.linspace(0.0, 0.6, 7)


def scalar() -> Problem:
    """(w_2 w_1 − 1)²: from w_1 = w_2 eq. 5 is ρ̇ = 4ρ(1 − ρ)."""
    return Problem(Dense((1, 1, 1), "identity"), Square("sum"), Data([[1.0]], [[1.0]]))


def logistic(pace: float = 1.0) -> xr.Dataset:
    """The orbit from ρ = 0.1, run at that pace, as a trajectory of the plain flow."""
    odds = np.exp(4.0 * pace * TIMES) / 9.0
    weights = np.sqrt(odds / (1.0 + odds))[:, None] * np.ones(2)
    columns = {"weights": (("record", "weight"), weights), "t": ("record", TIMES)}
    return xr.Dataset(columns, attrs={"provenance": json.dumps({"flow": "GradientFlow"})})


def judged(problem: Problem, trajectory: xr.Dataset):
    return STUDY.judge(STUDY.measure([Case("hand-made", problem, trajectory)]))


def random_net(network, outputs: int = 1, loss: Square | None = None) -> Problem:
    rng = np.random.default_rng(3)
    data = Data(rng.standard_normal((4, 3)), rng.choice([-1.0, 1.0], (4, outputs)))
    return Problem(network, loss or Square("sum"), data)


def points(problem: Problem, count: int = 2) -> list:
    rng = np.random.default_rng(4)
    return [
        jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), problem.network.shapes())
        for _ in range(count)
    ]


def test_the_logistic_orbit_is_that_of_the_printed_system_and_no_other() -> None:
    verdict = judged(scalar(), logistic())
    assert verdict.verdict == SUPPORTED
    numbers = {part.id: part.number for part in verdict.parts}
    assert numbers["orbit"] < 1e-8
    for pace in (0.5, 1.001):
        verdict = judged(scalar(), logistic(pace))
        assert (verdict.verdict, verdict.part) == (REFUTED, "orbit")


def test_the_printed_velocity_at_a_scalar_point() -> None:
    flow = Printed(scalar(), jnp.asarray(True), jnp.ones(()))
    y = Chart(jnp.full(2, 0.5), jnp.ones(2))
    motion, log_pace = velocity(flow, y)
    # eq. 3: −2 ρ_k (ρ_k² − 1) = 0.75; a direction in one dimension cannot turn.
    assert np.allclose(motion.rho, 0.75, rtol=1e-15)
    assert np.allclose(motion.v, 0.0)
    assert float(log_pace) == 0.0


@pytest.mark.parametrize("equal", [True, False])
def test_the_printed_velocity_is_the_plain_flow_in_the_polar_chart(equal: bool) -> None:
    problem = random_net(Dense((3, 4, 2, 1)))
    layer = layer_of(problem.network)
    weights = polar.weights_of(
        np.random.default_rng(5), problem.network, np.array([0.8, 0.8 if equal else 1.7, 0.8])
    )
    flow, plain = Printed(problem, jnp.asarray(equal), jnp.ones(())), NormalisedFlow(problem)
    y = flow.encode(weights)
    directions = tuple(problem.network.layers(problem.unravel(y.v)))
    motion, _ = velocity(flow, y)
    expected, _ = velocity(plain, Polar(y.rho, directions))
    assert np.allclose(motion.rho, expected.rho, rtol=1e-12)
    assert np.allclose(motion.v, problem.ravel(problem.network.rebuild(expected.directions)), atol=1e-13)
    assert np.allclose(flow.vector(y), problem.ravel(weights), rtol=1e-14)
    assert np.allclose(layer_norms(layer, problem.ravel(weights)), y.rho, rtol=1e-14)


def test_equations_hold_pointwise_and_those_for_equal_norms_fail_where_the_norms_differ() -> None:
    problem = random_net(Dense((3, 4, 2, 1)), loss=Square("mean", half=True))
    (point,) = points_of(problem, np.asarray(problem.ravel(points(problem, 1)[0]))[None])
    assert point.unequal > 0.2
    assert max(point.defects["eq2"], point.defects["eq4"]) < 1e-13
    assert min(point.defects[name] for name in ("eq3", "eq5", "eq7")) > 1e-3
    assert point.miss() > 1e-2
    assert point.bars["eq3"] < 1e-9


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
def test_other_nets_do_not_meet_the_hypotheses(network, outputs: int) -> None:
    problem = random_net(network, outputs)
    assert judged(problem, at(problem, points(problem), ())).verdict == NOT_MET
