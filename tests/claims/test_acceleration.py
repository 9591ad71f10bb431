"""What the studies that compare iterations rest on: reductions, bounds, and rules by hand."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.analysis.linear_nets import apply_preconditioner, balanced_factors, end_to_end
from gradlab.analysis.tuning import iterations
from gradlab.claims import catalogue
from gradlab.claims.arora19 import fig2
from gradlab.claims.cohen import acceleration, uci
from gradlab.claims.judging import NOT_MET
from gradlab.claims.problems.tuned_rules import (
    AdaDelta,
    AdaGrad,
    Adam,
    BalancedLayers,
    EndToEndRule,
    Layers,
    minimum,
    single_output_precondition,
)
from gradlab.claims.verification import key, verify
from gradlab.problem.data import Data
from gradlab.problem.losses import Lp
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def regression(p: float = 4.0, count: int = 30, dimension: int = 5) -> Problem:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(count, dimension)), random.normal(size=(count, 1))
    return Problem(Dense((dimension, 1), "identity"), Lp(p, "mean"), Data(x, y)).lean()


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_the_preconditioner_of_one_output_is_the_general_one(depth: int) -> None:
    w, g = np.random.default_rng(0).normal(size=(2, 5))
    found = single_output_precondition(jnp.asarray(w), jnp.asarray(g), depth)
    np.testing.assert_allclose(found, apply_preconditioner(w[None], g[None], depth)[0], rtol=1e-12)


@pytest.mark.parametrize("width", [1, 4])
def test_balanced_layers_amount_to_equal_numbers_and_a_row(width: int) -> None:
    problem, w = regression(), np.random.default_rng(1).normal(size=5) * 0.3
    layers: Any = tuple(jnp.asarray(one) for one in balanced_factors(w[None], (5, width, width, 1)))
    whole, amount = Layers(problem), BalancedLayers(problem, depth=3)
    state: Any = amount.begin(jnp.asarray(w))
    for _ in range(20):
        (layers, level), (state, other) = whole.advance(layers, 1e-2), amount.advance(state, 1e-2)
        assert float(level) == pytest.approx(float(other), rel=1e-12)
    np.testing.assert_allclose(end_to_end(layers)[0], state[0] ** 2 * state[1], rtol=1e-11)


def test_the_minimum_is_a_point_of_no_slope() -> None:
    for p in (2.0, 4.0):
        problem = regression(p)
        w, least = minimum(problem)
        assert float(problem.potential((w[None],))) == pytest.approx(least, rel=1e-14)
        assert np.abs(problem.gradient((w[None],))[0]).max() < 1e-8
    x, y = np.asarray(regression(2.0).data.inputs), np.asarray(regression(2.0).data.targets)[:, 0]
    np.testing.assert_allclose(minimum(regression(2.0))[0], np.linalg.lstsq(x, y)[0], rtol=1e-10)


def test_adaptive_rules_take_the_first_step_that_their_definition_says() -> None:
    problem, w = regression(), jnp.asarray(np.full(5, 0.1))
    g = np.asarray(problem.gradient((w[None],))[0])[0]
    moved = {kind: kind(problem).advance(kind(problem).begin(w), 0.1)[0][0] - w for kind in (AdaGrad, Adam)}
    for move in moved.values():  # both normalise the first gradient to ± 1
        np.testing.assert_allclose(move, -0.1 * np.sign(g), rtol=1e-5)
    first = AdaDelta(problem).advance(AdaDelta(problem).begin(w), 1.0)[0][0] - w
    np.testing.assert_allclose(first, -g * np.sqrt(1e-6 / (0.05 * g**2 + 1e-6)), rtol=1e-12)


def test_descent_needs_r_to_the_p_minus_2_iterations_whatever_its_step() -> None:
    for p, r in ((3.0, 16.0), (4.0, 6.0)):
        setting = acceleration._Setting(p, r, "targets")
        found = setting.tuned(setting.start(1e-3), 1, setting.stable)
        inverse, h = acceleration.ACCURACY[p] ** -(p - 2.0), 2.0 * r ** -(p - 2.0)
        bound = (inverse - 1.0) * (1.0 - h) ** (p - 1.0) / ((p - 2.0) * h)
        assert bound <= found.best[0] <= 1.5 * (inverse - 1.0) / ((p - 2.0) * h)
        assert found.best_steps[0] <= setting.stable * 1.001


@pytest.mark.parametrize("depth", [2, 3])
def test_descent_on_the_layers_lands_too(depth: int) -> None:
    # w_1 = sᴺ⁻¹ a from ε to y_1 in one step: both factors by (y_1/ε)^{1/N}
    p, r = 4.0, 16.0
    setting = acceleration._Setting(p, r, "targets")

    class Residuals(BalancedLayers):
        level = acceleration.TwoPoints.level

    size = r ** (1.0 - (p - 2.0) * depth / (depth - 1.0)) * 2.0 ** (-depth / (depth - 1.0))
    w = size * np.array([1.0, 0.0])
    slope = -float(setting.slope(w)[0])
    eta = ((r / size) ** (1.0 / depth) - 1.0) * size ** (2.0 / depth - 1.0) / slope
    rule = Residuals(setting.problem, depth=depth)
    counts, _ = iterations(rule, rule.begin(jnp.asarray(w)), [eta], setting.levels, 2000)
    assert counts[0, 0] < 60.0
    assert setting.tuned(setting.start(1e-3), 1, setting.stable).best[0] > 800.0


def test_the_step_that_lands_lands() -> None:
    setting = acceleration._Setting(4.0, 9.0, "targets")
    w = setting.start(0.01)
    eta = setting.landing(w, 3)
    moved, _ = EndToEndRule(setting.problem, depth=3).advance(jnp.asarray(w), eta)
    assert float(moved[0]) == pytest.approx(9.0, rel=1e-12)


def test_sufficient_statistics_have_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    data = Data(random.normal(size=(300, uci.FEATURE_COUNT)), random.normal(size=(300, 1)))
    monkeypatch.setattr(uci.loaders, "gas_sensor", lambda **options: data)
    small = uci.ethanol(2.0, "standardised")
    whole = Problem(Dense((uci.FEATURE_COUNT, 1), "identity"), Lp(2.0, "mean"), data)
    assert len(small.data.inputs) == uci.FEATURE_COUNT + 1
    for w in random.normal(size=(3, 1, uci.FEATURE_COUNT)):
        assert float(small.potential((w,))) == pytest.approx(float(whole.potential((w,))), rel=1e-12)


def test_without_the_rows_the_study_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    (result,) = verify(catalogue.load(["cohen.uci"]))
    assert result.error is None
    assert result.verdict is not None
    assert result.verdict.verdict == NOT_MET
    assert "gradlab data fetch gas_sensor" in result.verdict.deciding.statement
    assert result.verdict.deciding.case == "the ethanol rows are not here"
    assert result.study.drawn(result.dataset, result.verdict) is not None


def test_layers_in_the_span_of_their_rows_and_the_target_are_the_layers() -> None:
    random = np.random.default_rng(0)
    target = random.normal(size=fig2.DIMENSION)
    target /= np.linalg.norm(target)
    inside, aim, product = fig2._layerwise(np.random.default_rng(1), 3, 0.1, target)
    again = np.random.default_rng(1)
    shapes = ((fig2.WIDTH, fig2.DIMENSION), (fig2.WIDTH, fig2.WIDTH), (1, fig2.WIDTH))
    whole: Any = tuple(jnp.asarray(0.1 * again.standard_normal(shape)) for shape in shapes)
    assert np.linalg.norm(product) == pytest.approx(np.linalg.norm(end_to_end(whole)), rel=1e-12)
    small, large = Layers(fig2.whitened_problem(aim)), Layers(fig2.whitened_problem(target))
    for _ in range(20):
        (inside, level), (whole, other) = small.advance(inside, 0.05), large.advance(whole, 0.05)
        assert float(level) == pytest.approx(float(other), rel=1e-11)


def test_the_cases_of_a_seed_are_the_cases_of_that_seed() -> None:
    study = catalogue.load(["arora19.fig2"])[0]
    settings: Any = study.budgets["few"] | {"sizes": 2, "most": 50}
    one, other = (next(iter(study.cases(key("arora19.fig2", 0), **settings))) for _ in range(2))
    for name in fig2.STARTS:
        np.testing.assert_array_equal(one.trajectory[name].values, other.trajectory[name].values)
