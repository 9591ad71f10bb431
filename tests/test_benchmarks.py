"""The benchmarks' arithmetic: equal errors, counts, tables; no peer runs long."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import (
    descent,
    figure,
    in_torch,
    measure,
    ours,
    peers,
    problems,
    random_problems,
    references,
    table,
)
from benchmarks.measure import Bench, Point, Sweep
from benchmarks.task import Limit

from gradlab import Convolutional, Data, Problem, Square
from gradlab.figures import png


def power_law(method: str, family: str, constant: float, order: float) -> Sweep:
    """A method that costs constant · error^(−1/order); a wall second is a thousand gradients."""
    errors = [10.0**-k for k in (2, 3, 5, 8, 10)]
    costs = [constant * e ** (-1.0 / order) for e in errors]
    points = tuple(
        Point(e, e, cost, 0, cost, cost / 1000.0, 1.0) for e, cost in zip(errors, costs, strict=True)
    )
    return Sweep(method, family, points)


def fabricated() -> Bench:
    sweeps = (
        power_law("peer-five", "diffrax", 30.0, 5.0),
        power_law("peer-three", "scipy", 10.0, 3.0),
        power_law("gradlab-auto", "gradlab", 15.0, 5.0),
        Sweep("gradlab-none", "gradlab", (), "skipped: unknown solver method"),
    )
    return Bench("made up", "by a [law]", 400, 2.0, 1e-4, 33.0, 1e-10, "two methods", sweeps)


def test_between_tolerances_the_cost_follows_the_power_law_exactly() -> None:
    points = power_law("any", "scipy", 10.0, 3.0).points
    for error in (1e-4, 3e-7, 1e-8):
        assert measure.at_error(points, error) == pytest.approx(10.0 * error ** (-1 / 3), rel=1e-12)
        assert measure.at_error(points, error, "seconds") == pytest.approx(
            0.01 * error ** (-1 / 3), rel=1e-12
        )


def test_nothing_is_extrapolated_and_a_better_point_bounds_the_cost() -> None:
    points = power_law("any", "scipy", 10.0, 3.0).points
    assert measure.at_error(points, 1e-11) is None
    # All points are better than 0.1: the cheapest of them is what is known.
    assert measure.at_error(points, 0.1) == min(point.cost for point in points)
    unsolved = Point(1e-12, math.nan, 5.0, 0, 5.0, 1.0, 1.0, "did not reach T")
    assert measure.at_error((*points, unsolved), 1e-11) is None


def test_the_cheapest_bracket_counts_where_the_error_is_not_monotone() -> None:
    points = tuple(
        Point(10.0**-k, error, cost, 0, cost, 1.0, 1.0)
        for k, (error, cost) in enumerate([(1e-2, 10.0), (1e-6, 20.0), (1e-3, 30.0), (1e-7, 80.0)])
    )
    assert measure.at_error(points, 1e-4) == pytest.approx(math.sqrt(200.0))


def test_ratios_are_those_of_the_best_peer_at_that_error() -> None:
    bench = fabricated()
    # 30 e^(-1/5) and 10 e^(-1/3) meet at e = (1/3)^7.5 = 2.6e-4: the third order is the better peer above.
    assert measure.best(bench.sweeps, 1e-3, measure.is_peer)[0] == "peer-three"
    assert measure.best(bench.sweeps, 1e-4, measure.is_peer)[0] == "peer-five"
    assert measure.ratio(bench, "gradlab-auto", 1e-7) == pytest.approx(2.0)
    assert measure.ratio(bench, "gradlab-none", 1e-7) is None
    assert measure.geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert measure.geometric_mean([None]) is None


def test_a_fitted_exponent_is_that_of_a_power_law_with_no_error() -> None:
    x = np.array([1.0, 3.0, 10.0, 40.0])
    slope, error = measure.exponent(x, 7.0 * x**0.5)
    assert slope == pytest.approx(0.5, abs=1e-12)
    assert error == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(measure.exponent([1.0, 2.0, 3.0], [1.0, math.nan, 2.0])[0])


def test_the_tables_show_costs_ratios_and_the_reason_of_a_gap() -> None:
    bench = fabricated()
    rows = {row[0]: row for row in table.rows(bench)}
    # 15 · 10^0.8 and 15 · 10^1.4, half of the best peer's.
    assert rows["gradlab-auto"][1:5] == ("94.6", "377", "0.5", "0.5")
    assert rows["gradlab-none"][1:] == ("–",) * 7 + ("skipped: unknown solver method",)
    summed = table.summary([bench])
    assert summed[0] == ("made up", "0.0001", "peer-five", "189", "gradlab-auto", "94.6", "2", "2", "2")
    assert summed[-1][-3:] == ("2", "2", "2")
    assert table.whole([bench]).count("\n| ") == 10
    table.screen(bench)


def test_an_error_that_the_references_do_not_resolve_is_not_judged() -> None:
    record = fabricated().record() | {"disagreement": 1e-5}
    rows = table.summary([Bench.of(json.loads(json.dumps(record)))])
    assert rows[0][2] == "peer-five"
    assert rows[1][2].startswith("not judged")


def test_results_survive_json() -> None:
    bench = fabricated()
    assert Bench.of(json.loads(json.dumps(bench.record()))) == bench


def test_figures_of_fabricated_results_can_be_drawn() -> None:
    assert png(figure.work_precision([fabricated()]))
    x = [1.0, 2.0, 4.0]
    drawn = figure.scaling("T", x, {"a": [1.0, 2.0, 4.0], "b": [1.0, math.nan, math.nan]}, "evaluations")
    words = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert words == ["a: 1.00 ± 0.00", "b"]


LIMIT = Limit(1e6, 60.0)


def small() -> problems.Task:
    return problems.deep_linear("small", 3.0, N=12, width=3, depth=2)


@pytest.mark.parametrize("name", ["bosh3", "dopri8"])
def test_the_formula_for_explicit_evaluations_counts_every_call(name: str) -> None:
    task, counter, method = small(), peers.Counter(), peers.METHODS[name]()
    # A stiff factor forces rejections, which must be counted too.
    field = counter.wrap(lambda y: jax.tree.map(lambda leaf: -30.0 * leaf, task.problem.gradient(y)))
    errors = (jnp.asarray(1e-3), jnp.asarray(1e-6))
    times = (jnp.asarray(3.0), peers.first_step(task.problem, task.weights, errors[0]) / 30.0)
    found = peers._solve(field, method, task.weights, times, errors, (0.2, 0.3), max_steps=4096)
    jax.effects_barrier()
    assert found.result == diffrax.RESULTS.successful
    assert int(found.stats["num_rejected_steps"]) > 0
    # One more for the choice of the first step, which is not made by the field counted here.
    assert peers.explicit_evaluations(method, int(found.stats["num_steps"])) == counter.values + 1


def test_a_derivative_over_all_columns_counts_once() -> None:
    counter = peers.Counter()
    field = counter.wrap(lambda y: y**2)
    matrix = jax.jit(jax.jacfwd(field))(jnp.arange(3.0))
    jax.effects_barrier()
    assert np.array_equal(matrix, np.diag([0.0, 2.0, 4.0]))
    assert (counter.values, counter.tangents) == (0, 1)


def test_scipy_and_gradlab_agree_and_are_counted() -> None:
    task = small()
    bdf = peers.PEERS["scipy-bdf-hessian"].run(task, 1e-9, LIMIT)
    dop = peers.PEERS["scipy-dop853"].run(task, 1e-9, LIMIT)
    mine = ours.OURS["gradlab-dopri8"].run(task, 1e-9, LIMIT)
    assert bdf.vector is not None
    assert dop.vector is not None
    assert mine.vector is not None
    # Global errors are within 1000 times the tolerance a step (BDF's are the largest).
    assert task.error(bdf.vector, dop.vector) < 1e-6
    assert task.error(mine.vector, dop.vector) < 1e-8
    assert bdf.jacobians > 0
    assert dop.jacobians == 0
    assert mine.evaluations > 0


def test_a_run_that_is_late_has_no_weights() -> None:
    late = peers.PEERS["scipy-rk45"].run(small(), 1e-6, Limit(1e6, 0.0))
    assert late.vector is None
    assert late.why == "did not reach T within the limit"


def test_an_unknown_solver_is_skipped_with_a_sentence() -> None:
    why = ours.missing("no-such-method")
    assert why is not None
    assert why.startswith("skipped: unknown solver method 'no-such-method'")
    assert ours.missing("tsit5") is None


def test_a_peer_without_its_package_is_skipped_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    found = measure.sweep(peers.PEERS["torchdiffeq-dopri5"], small(), None, (1e-3,), LIMIT)  # type: ignore[arg-type]
    assert found.points == ()
    assert "torch is not installed" in found.skipped


def test_torch_is_refused_what_is_not_written_for_it() -> None:
    assert in_torch.refuse(small()) is None
    network = Convolutional((1, 4, 4), (2,), 3, 2, 1, "tanh")
    data = Data(np.ones((2, 1, 4, 4)), np.ones((2, 1)))
    other = problems.Task("convolutional", Problem(network, Square("mean"), data), None, 1.0, "")
    why = in_torch.refuse(other)
    assert why == "skipped: Convolutional is not written in PyTorch here"


def test_a_reference_is_kept_under_the_digest_of_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "CACHE", tmp_path / "cache")
    task = small()
    made = references.reference(task)
    assert made.disagreement < 1e-6
    assert made.resolves(1e-5)
    kept = references.reference(task)
    assert np.array_equal(kept.vector, made.vector)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1
    assert problems.deep_linear("small", 4.0, N=12, width=3, depth=2).digest != task.digest


def test_random_problems_are_the_same_for_ever_and_differ() -> None:
    assert random_problems.draw(7).digest == random_problems.draw(7).digest
    settings = [random_problems.draw(k).settings for k in range(6)]
    assert len(set(settings)) == 6
    assert all(1.0 <= random_problems.draw(k).T <= 3000.0 for k in range(6))


def test_the_judge_of_random_problems_counts_failures() -> None:
    costs = [{"best peer": 10.0, "gradlab-auto": 5.0}, {"best peer": 10.0, "gradlab-auto": 15.0},
             {"best peer": 10.0, "gradlab-auto": None}, {"best peer": None, "gradlab-auto": 3.0}]  # fmt: skip
    rows = [{"costs": {"0.0001": one}} for one in costs] + [{"left_out": "no reference"}]
    verdict = random_problems.judge(rows, ["gradlab-auto"])[0]
    assert (verdict["problems"], verdict["failed"], verdict["no_dearer"], verdict["at_most_twice"]) == (
        3,
        1,
        1,
        2,
    )
    assert verdict["mean_gain"] == pytest.approx(math.sqrt(2.0 * 10.0 / 15.0))


def test_the_matrix_products_alone_take_time() -> None:
    assert 0.0 < descent.products(20, (8, 4, 2)) < 1.0
