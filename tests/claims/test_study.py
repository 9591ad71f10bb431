"""A look taken twice: what two solves, or a case and its twin shaken by rounding, say of one number."""

from __future__ import annotations

from functools import cached_property

import jax
import numpy as np
import pytest
import xarray as xr

import gradlab as gl
from gradlab.claims.cases import Case, case, ensemble, point
from gradlab.claims.claim import Claim
from gradlab.claims.looks import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.studies import study
from gradlab.laboratory.second import FACTOR, second, shaken

CLAIM = Claim("mine.example", "An example.")

#: The classes that measured a length, in order.
COUNTED: list[str] = []


def problem() -> gl.Problem:
    return gl.Problem(gl.Dense((2, 1)), gl.Square(), gl.Data(np.eye(2), np.asarray([[1.0], [2.0]])))


def orbits(fine: list[float], coarse: list[float]) -> xr.Dataset:
    """Two solves of two weights, alike."""
    rows = {"weights": fine, "weights_coarse": coarse}
    return xr.Dataset(
        {name: (("record", "weight"), np.outer(values, [1.0, 1.0])) for name, values in rows.items()}
    )


class Sized(Look):
    """The size of the end, and what is asked of large ones only."""

    @cached_property
    def length(self) -> float:
        """‖W‖ at the end, counted."""
        COUNTED.append(type(self).__name__)
        return float(np.linalg.norm(self.end))

    @at_most(10.0)
    def norm(self) -> float:
        """The norm.

        Ten is large.
        """
        return self.length

    @at_least(1.0)
    def large(self) -> Number | None:
        """The norm, where it is above 2.

        Two is large, too.
        """
        return Number(self.length, 0.25) if self.length > 2.0 else NOT_ASKED


class Corrected(Sized):
    @at_most(20.0)
    def twice(self) -> float:
        """Twice the norm.

        As above.
        """
        return 2.0 * self.length


STUDY = study(CLAIM, Sized, lambda key: iter(()))


def seen(kind: type[Look], given: Case) -> xr.Dataset:
    return study(CLAIM, kind, lambda key: iter(())).observed(given)


class TestTwoLooks:
    def test_the_bar_is_a_multiple_of_how_the_solves_differ_and_what_they_cannot_see(self) -> None:
        found = seen(Sized, case(problem(), orbits([1.0, 3.0], [1.0, 3.5])))
        gap = FACTOR * np.sqrt(2.0) * 0.5
        assert float(found["norm"]) == pytest.approx(np.sqrt(2.0) * 3.0, rel=1e-15)
        assert float(found["norm_error"]) == pytest.approx(gap, rel=1e-12)
        assert float(found["large_error"]) == pytest.approx(gap + 0.25, rel=1e-12)

    def test_where_one_look_asks_and_the_other_does_not_nothing_is_known(self) -> None:
        found = seen(Sized, case(problem(), orbits([1.0, 1.0], [1.0, 3.5])))
        assert np.isinf(float(found["large_error"]))
        assert float(found["large_asked"]) == 1.0

    def test_a_point_is_looked_at_beside_its_twin_shaken_by_rounding(self) -> None:
        found = seen(Sized, point(problem(), np.asarray([0.3, 4.7])))
        assert 0.0 < float(found["norm_error"]) < 1e-14

    def test_what_printed_and_corrected_see_alike_is_computed_once(self) -> None:
        COUNTED.clear()
        given = case(problem(), orbits([1.0, 3.0], [1.0, 3.5]))
        seen(Sized, given)
        seen(Corrected, given)
        assert COUNTED == ["Sized", "Sized"]

    def test_the_second_trajectory_has_the_coarse_values_under_the_plain_names(self) -> None:
        coarse = second(orbits([1.0, 3.0], [1.0, 3.5]))
        assert coarse is not None
        assert list(coarse) == ["weights"]
        assert coarse["weights"].values[-1].tolist() == [3.5, 3.5]
        assert second(xr.Dataset({"a": 1.0})) is None

    def test_shaking_moves_every_float64_by_one_rounding_and_nothing_else(self) -> None:
        given = {
            "x": np.asarray([0.0, 1.0, -1e300]),
            "n": np.arange(3),
            "f": np.ones(2, np.float32),
            "s": "text",
        }
        moved = shaken(given)
        gap = np.abs(moved["x"] / np.where(given["x"] == 0.0, 1.0, given["x"]))
        assert gap[0] == 0.0
        assert np.all(np.abs(gap[1:] - 1.0) == np.finfo(float).eps)
        assert moved["n"] is given["n"]
        assert moved["f"] is given["f"]
        assert moved["s"] == "text"


class TestRuns:
    @pytest.mark.parametrize(
        "flow", [gl.GradientFlow, lambda problem: gl.GradientDescent(problem, np.full(1, 0.1))]
    )
    def test_an_ensemble_is_solved_twice_and_the_solves_differ(self, flow) -> None:
        start = (np.asarray([[0.3, -0.2]]),)
        solver = gl.Adaptive("tsit5", 1e-9) if flow is gl.GradientFlow else "auto"
        (only,) = ensemble(flow, [(problem(), start, {"draw": 1})], [1, 5], solver=solver)
        gap = np.abs(only.trajectory["weights"].values - only.trajectory["weights_coarse"].values)
        assert 0.0 < gap[-1].max() < 1e-6
        assert only.label == "draw = 1"

    def test_facts_are_label_and_variables(self) -> None:
        found = seen(Sized, point(problem(), np.ones(2), net="tanh", N=4))
        assert (str(found["net"].values), float(found["N"])) == ("tanh", 4.0)
        assert point(problem(), np.ones(2), net="tanh", N=4).label == "tanh, N = 4"


class TestMisuse:
    def test_a_measure_without_statement_and_reason_is_refused(self) -> None:
        with pytest.raises(ValueError, match="needs a docstring"):
            at_most(1.0)(lambda look: 0.0)

    def test_a_study_without_a_part_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no measure with role 'part'"):
            study(CLAIM, Look, lambda key: iter(()))

    def test_a_measure_of_an_unknown_sentence_or_repair_is_refused(self) -> None:
        def wrong(**options):
            class Bad(Look):
                @at_most(1.0, **options)
                def a(self) -> float:
                    """A number.

                    Why.
                    """
                    return 0.0

                @at_most(1.0)
                def b(self) -> float:
                    """Another.

                    Why.
                    """
                    return 0.0

            return Bad

        with pytest.raises(ValueError, match="speaks of sentence 'x'; the claim has statement"):
            study(CLAIM, wrong(sentence="x"), lambda key: iter(()))
        with pytest.raises(ValueError, match="names 'c', which is no measure"):
            study(CLAIM, wrong(role="print", repaired="c"), lambda key: iter(()))

    def test_it_computes_in_double_precision_whatever_the_caller_has_set(self) -> None:
        def cases(key: object) -> list[Case]:
            return [point(problem(), jax.numpy.ones(2) / 3.0)]

        made = study(CLAIM, Sized, cases)
        with jax.enable_x64(False):
            seen = made.measure(made.run("few", None))
        assert float(seen["norm"].values[0]) == float(np.linalg.norm(np.ones(2) / 3.0))

    def test_a_name_that_no_file_takes_is_refused_where_it_is_given(self) -> None:
        made = study(CLAIM, Sized, lambda key: iter(()))
        with pytest.raises(ValueError, match="is called 'a/b'"):
            made.measure([point(problem(), np.ones(2), **{"a/b": 1.0})])

    def test_few_and_full_say_only_what_differs_from_quick(self) -> None:
        given = []
        made = study(
            CLAIM,
            Sized,
            lambda key, **settings: given.append(settings) or iter(()),
            quick={"draws": 3, "shape": 2},
            full={"draws": 9},
            few={"draws": 1},
        )
        for budget in ("quick", "full", "few"):
            list(made.run(budget, jax.random.key(0)))
        assert [one["draws"] for one in given] == [3, 9, 1]
        assert {one["shape"] for one in given} == {2}


def test_a_problem_of_which_the_claim_does_not_speak_meets_no_hypothesis() -> None:
    class Only(Sized):
        setting = "a problem of mine"

        @classmethod
        def speaks_of(cls, problem: object) -> bool:
            return False

    made = study(CLAIM, Only, lambda key: iter(()))
    verdict = made.judge(made.measure([point(problem(), np.ones(2))]))
    assert (verdict.verdict, verdict.part) == ("hypotheses not met", "setting")
