"""Ready measures against known answers, right and wrong ones, and what the judge makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.analysis import solutions
from gradlab.claims import ready
from gradlab.claims.cases import case, collect, point
from gradlab.claims.claim import Claim
from gradlab.claims.judging import INCONCLUSIVE, REFUTED, SUPPORTED, compare
from gradlab.claims.looks import Look
from gradlab.claims.measured import at_most
from gradlab.claims.studies import study
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

X = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
SEPARATED = Problem(
    Dense((2, 1)), Exponential(), Data([[1.0, 0.2], [0.5, -0.3], [-2.0, 0.1]], [1.0, 1.0, -1.0])
)


def seen(problem: Problem, vector: np.ndarray) -> Look:
    one = point(problem, vector)
    return Look(one.problem, one.trajectory, {})


def along_time(values: np.ndarray, t: np.ndarray) -> Look:
    return Look(SEPARATED, xr.Dataset({"t": ("record", t), "weights": (("record", "weight"), values)}), {})


def test_a_conserved_quantity_does_not_drift_and_another_does() -> None:
    t = np.linspace(0.0, 6.0, 50)
    circle = along_time(np.stack([np.cos(t), np.sin(t)], axis=1), t)
    assert ready.drift(ready.along(circle, lambda W: np.sum(W[0] ** 2))) < 1e-15
    assert ready.drift(ready.along(circle, lambda W: W[0])) == pytest.approx(2.0, abs=1e-2)
    with pytest.raises(ValueError, match="zero at the start"):
        ready.drift([[0.0], [1.0]])
    assert ready.drift([[0.0], [1.0]], scale=2.0) == 0.5


def test_small_angles_are_right_and_lengths_do_not_matter() -> None:
    look = seen(SEPARATED, np.array([3.0, 3e-9]))
    assert ready.angle_to(look, [0.1, 0.0]).value == pytest.approx(1e-9, rel=1e-12)
    assert ready.angle_to(look, [0.0, 5.0]).value == pytest.approx(np.pi / 2)
    assert ready.angle_to(look, [-1.0, 0.0]).value == pytest.approx(np.pi)
    assert np.isnan(ready.angle_to(look, [0.0, 0.0]).value)


@pytest.mark.parametrize(("name", "decay"), [("minimum norm", 0.0), ("ridge", 0.3)])
@pytest.mark.parametrize("loss", [Square(), Square(half=True), Square("mean")])
def test_a_solution_is_where_the_gradient_vanishes(name: str, decay: float, loss: Square) -> None:
    problem = Problem(Dense((3, 1)), loss, Data(X, [[1.0], [2.0]]), decay)
    factor = {(False, "sum"): 1.0, (True, "sum"): 0.5, (False, "mean"): 0.5}[loss.half, loss.reduction]
    w = solutions.ridge(X, np.array([[1.0], [2.0]]), decay, factor).ravel()
    look = seen(problem, w)
    assert np.linalg.norm(look.gradient(w)) < 1e-14
    assert ready.distance_to(look, name).value < 1e-14
    assert ready.distance_to(seen(problem, 1.01 * w), name).value == pytest.approx(0.01)
    assert ready.distance_to(seen(problem, w + np.array([1.0, 1.0, -2.0])), name).value > 0.1


def test_the_product_of_the_layers_is_what_is_compared() -> None:
    problem = Problem(Dense.deep_linear((3, 2, 1)), Square(), Data(X, [[1.0], [2.0]]))
    first, second = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]]), np.array([[2.0, -1.0]])
    look = seen(problem, np.concatenate([first.ravel(), second.ravel()]))
    assert ready.distance_to(look, second @ first).value < 1e-15
    with pytest.raises(ValueError, match="a matrix"):
        ready.distance_to(look, np.ones(5))
    with pytest.raises(ValueError, match="max margin"):
        ready.distance_to(look, "minimal norm")


def test_signs_at_a_saddle_and_in_a_valley_of_minima() -> None:
    scalar = Problem(Dense.deep_linear((1, 1, 1)), Square(), Data([[1.0]], [[3.0]]))
    for weights, expected in (([0.0, 0.0], (1, 0, 1)), ([1.0, 3.0], (0, 1, 1))):
        found = ready.eigenvalue_signs(seen(scalar, np.array(weights)))
        assert tuple(one.value for one in found) == expected
        assert all(one.error == 0.0 and one.exact for one in found)


def test_an_undecided_approach_is_inconclusive_and_a_wrong_one_refuted() -> None:
    t = np.geomspace(1.0, 1e6, 31)
    look = along_time(np.ones((31, 2)), t)
    power = 1.0 + t**-0.05
    words = []
    for values, kind in ((power, "power"), (power, "logarithm"), (np.log(t), "power")):
        number = ready.approaches_like(look, values, kind)
        words.append(compare(">=", number.value, number.error, 1.0)[0])
    assert words == [SUPPORTED, REFUTED, INCONCLUSIVE]
    assert ready.rate_of(look, power, "power").value == pytest.approx(0.05)
    assert not np.isfinite(ready.rate_of(look, power, "exponential").error)
    limit = ready.limit_of(look, power)
    assert abs(limit.value - 1.0) <= limit.error + 1e-12


class Forgotten(Look):
    @at_most(1e-2)
    def distance(self):
        """‖w − ŵ‖/‖ŵ‖, w not normalised.

        A mistake on purpose.
        """
        return ready.distance_to(self, "max margin")


class Normalised(Look):
    unit = 1.0

    @at_most(1e-2)
    def angle(self):
        """Angle of w to ŵ.

        Ends are made 1e-3 off.
        """
        return self.unit * ready.angle_to(self, "max margin").value


class Doubled(Normalised):
    unit = 2.0


class Constant(Look):
    @at_most(1e-2)
    def nothing(self):
        """Zero, whatever is seen.

        A mistake on purpose.
        """
        return 0.0


def _ends(key):
    w = solutions.max_margin(SEPARATED.data.inputs, SEPARATED.data.targets).direction
    aside = np.array([-w[1], w[0]])
    for size in (10.0, 100.0, 1000.0):
        yield case(SEPARATED, xr.Dataset({"final_weights": ("weight", size * (w + 1e-3 * aside))}), size=size)


def _dataset(kind: type[Look]) -> tuple:
    made = study(Claim("mine.direction", "The direction is that of the largest margin."), kind, _ends)
    return made, collect((one.label, made.observed(one)) for one in made.run("quick", None))


def test_a_direction_that_is_not_normalised_is_refuted_and_one_that_is_is_not() -> None:
    for kind, word in ((Forgotten, REFUTED), (Normalised, SUPPORTED)):
        made, numbers = _dataset(kind)
        assert made.judge(numbers).verdict == word


def test_a_class_that_changes_a_constant_shares_no_number_with_the_one_above() -> None:
    one = next(_ends(None))
    assert one.look(Doubled).angle == 2.0 * one.look(Normalised).angle


def test_a_number_that_nothing_moves_is_no_number() -> None:
    made, numbers = _dataset(Constant)
    with pytest.raises(ValueError, match="the bar is 0 in every case"):
        made.judge(numbers)
