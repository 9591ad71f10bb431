"""Statistics of the studies on images: three answers, worlds that are statistical, and what ensembles are made of."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from gradlab.claims.cases import case
from gradlab.claims.intervals import mean_over, needed, rank_correlation
from gradlab.claims.judging import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, Verdict, compare
from gradlab.claims.looks.training import best_for_others, sooner
from gradlab.claims.memo90 import no_overfit_class_error as overfit
from gradlab.claims.problems import images as pictures
from gradlab.problem.data import Data
from gradlab.problem.networks import Convolutional

RNG = np.random.default_rng


def test_the_bar_of_a_mean_is_students_interval_and_covers() -> None:
    values = RNG(0).normal(size=9)
    low, high = stats.t.interval(0.99, 8, values.mean(), values.std(ddof=1) / 3.0)
    found = mean_over(values)
    assert found.value == pytest.approx(0.5 * (low + high))
    assert found.error == pytest.approx(0.5 * (high - low))
    means = [mean_over(row) for row in RNG(1).normal(size=(2000, 5))]
    inside = np.mean([abs(one.value) <= one.error for one in means])
    assert 0.98 < inside < 0.998  # 0.99 ± 0.0067 at three deviations


def test_no_difference_a_difference_and_not_resolved_are_three_answers() -> None:
    rows = RNG(2).normal(size=16)
    rows = (rows - rows.mean()) / rows.std(ddof=1)

    def said(mean: float, deviation: float) -> str:
        one = mean_over(mean + deviation * rows)
        return compare("==", one.value, one.error, 0.02)[0]

    assert said(0.003, 0.01) == SUPPORTED
    assert said(0.05, 0.01) == REFUTED
    assert said(0.003, 0.1) == INCONCLUSIVE
    assert mean_over(np.array([0.3])).error == np.inf


def test_as_many_seeds_as_needed_resolve_the_effect_as_often_as_said() -> None:
    count = needed(0.02, 0.015)
    rows = 0.02 + 0.015 * RNG(3).normal(size=(1000, count))
    found = np.mean([one.value - one.error > 0.0 for one in map(mean_over, rows)])
    assert 0.6 < found < 0.95  # by normal quantiles, which Student's exceed at few seeds


def test_a_rank_correlation_is_scipys_with_ties_at_their_mean() -> None:
    x, y = RNG(4).normal(size=(2, 120))
    y[:40] = y[:40].round()
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation(x, np.ones(120)) == 0.0


def test_the_best_of_five_measures_after_the_look_is_no_finding() -> None:
    # five measures that have nothing to do with the errors: the best of them looks like one; the one named before not
    best, named = [], []
    for seed in range(60):
        rng = RNG(seed)
        errors, found = rng.normal(size=(8, 12)), []
        for _ in range(5):
            found.append(
                mean_over(np.array([rank_correlation(rng.normal(size=12), row) for row in errors]), 0.0, 0.9)
            )
        best.append(max(one.value - one.error for one in found) > 0.0)
        named.append(found[0].value - found[0].error > 0.0)
    assert np.mean(named) < 0.12 < np.mean(best)


def test_no_step_is_chosen_by_the_seed_that_it_is_judged_by() -> None:
    losses = RNG(5).normal(size=(2, 3, 4, 6))
    other = losses.copy()
    other[:, :, 1] = RNG(6).normal(size=(2, 3, 6))
    np.testing.assert_array_equal(best_for_others(losses)[:, 1], best_for_others(other)[:, 1])
    clear = losses.copy()
    clear[:, 2] -= 100.0
    assert (best_for_others(clear) == 2).all()


def test_how_much_sooner_is_read_at_the_lowest_level_that_both_reach() -> None:
    moments = np.arange(1.0, 101.0)
    slow, fast = np.exp(-moments / 100.0), np.exp(-moments / 10.0)
    assert sooner(slow, fast, moments) == pytest.approx(1.0, abs=1e-2)
    assert sooner(fast, slow, moments) == pytest.approx(-1.0, abs=1e-2)


def small(width: int) -> Convolutional:
    """A small net on digits."""
    return Convolutional((1, 8, 8), (width, width), 3, 2)


def test_a_narrow_net_in_the_arrays_of_a_wide_one_has_its_values_and_gradients() -> None:
    data = pictures.drawn_split(pictures.images("digits"), RNG(0), 10, 10)
    weights = pictures.he(small(2), RNG(1))
    narrow, wide = (pictures.classifying(small(width), data) for width in (2, 3))
    padded = pictures.widened(weights, wide.network)
    np.testing.assert_allclose(narrow.outputs(weights), wide.outputs(padded), rtol=1e-12)
    ours = pictures.widened(jax.tree.map(np.asarray, narrow.gradient(weights)), wide.network)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(wide.gradient(padded)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)


def test_a_sample_repeated_has_its_risk() -> None:
    data = pictures.drawn_split(pictures.images("digits"), RNG(0), 10, 10)
    weights = pictures.he(small(2), RNG(1))
    risks = [pictures.classifying(small(2), one).risk(weights) for one in (data, pictures.repeated(data, 30))]
    assert float(risks[0]) == pytest.approx(float(risks[1]), rel=1e-12)


def test_a_draw_has_no_image_in_both_splits_and_random_labels_know_nothing() -> None:
    found = pictures.images("digits")
    data = pictures.drawn_split(found, RNG(0), 900, 800, 1.0)
    known = {row.tobytes() for row in np.asarray(data.inputs)}
    assert (
        sum(row.tobytes() in known for row in np.asarray(data.test_inputs)) <= 5
    )  # a few digits are twice there
    own = pictures.drawn_split(found, RNG(0), 900, 800)
    assert np.mean(np.asarray(own.targets) == np.asarray(data.targets)) < 0.15


def experiment(**changed: Any) -> Verdict:
    """The study of widths on records that are written here: errors fall by two points a width, eight seeds."""
    data = pictures.drawn_split(pictures.images("digits"), RNG(0), 40, 200)
    rng = RNG(7)
    noise = 0.004 * rng.normal(size=(3, 8))
    wide = np.linspace(1.0, 0.0, 10)[:, None] * np.ones(8)
    seen: dict[str, Any] = {
        "parameters": ("width", [300.0, 900.0, 2700.0]),
        "test_error": (("width", "seed"), 0.25 - 0.02 * np.arange(3)[:, None] + noise),
        "test_loss": (("width", "seed"), 0.9 + 0.1 * np.arange(3)[:, None] + noise),
        "train_error": (("width", "seed"), np.zeros((3, 8))),
        "way_error": (("moment", "seed"), np.maximum(wide - 0.5, 0.0)),
        "way_loss": (("moment", "seed"), 1.0 + np.linspace(0.0, 0.3, 10)[:, None] + noise[:1]),
        "iteration": ("moment", np.arange(10.0)),
        "norm": (("decay", "seed"), np.zeros((2, 8)) + noise[:2]),
        "random_error": ("random_seed", np.zeros(4)),
        "drawn": ("seed", rng.normal(size=8)),
    }
    data = changed.pop("data", data)
    seen |= {name: (seen[name][0], change(np.asarray(seen[name][1]))) for name, change in changed.items()}
    study = overfit.STUDIES[0]
    return study.judge(
        study.measure([case(pictures.classifying(small(2), data), xr.Dataset(seen), data="written")])
    )


def test_the_written_experiment_is_supported_and_with_noise_too() -> None:
    assert experiment().verdict == SUPPORTED
    assert experiment(test_error=lambda e: e + 0.004 * RNG(8).normal(size=e.shape)).verdict == SUPPORTED


def test_one_seed_copied_is_no_evidence() -> None:
    copied = experiment(
        drawn=lambda d: np.full_like(d, d[0]), test_error=lambda e: np.repeat(e[:, :1], e.shape[1], axis=1)
    )
    assert copied.verdict == NOT_MET
    assert copied.part == "independent"


def test_a_test_set_that_was_trained_on_is_none() -> None:
    data = pictures.drawn_split(pictures.images("digits"), RNG(0), 40, 200)
    same = Data(data.inputs, data.targets, data.inputs, data.targets)
    found = experiment(data=same, test_error=np.zeros_like)
    assert (found.verdict, found.part) == (NOT_MET, "apart")


def test_shuffled_labels_do_not_support_that_nothing_overfits() -> None:
    # at chance no width is worse than another
    found = experiment(test_error=lambda e: 0.9 + 0.01 * RNG(9).normal(size=e.shape))
    assert (found.verdict, found.part) == (NOT_MET, "learnt")


def test_few_noisy_seeds_do_not_resolve_a_point() -> None:
    found = experiment(test_error=lambda e: 0.2 + 0.05 * RNG(10).normal(size=e.shape))
    assert (found.verdict, found.part) == (INCONCLUSIVE, "class_error")
