"""The judge as mathematics: one number, many cases, many parts; and how observed cases are laid together."""

from __future__ import annotations

import json
import math

import fabricated
import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from gradlab.claims.claim import (
    DECIDING_ORDER,
    INCONCLUSIVE,
    NOT_MET,
    REFUTED,
    SUPPORTED,
    Case,
    Claim,
    Measure,
    collect,
    compare,
    judge,
)

RELATIONS = ("<=", ">=", "==")
ANY = st.floats(allow_nan=True, allow_infinity=True)
# Exact binary fractions: sums and differences of these are exact, so that the border itself can be tested.
EXACT = st.integers(-(2**40), 2**40).map(lambda n: n / 2**20)
ERRORS = st.integers(0, 2**40).map(lambda n: n / 2**20)
relations = st.sampled_from(RELATIONS)


def holds(relation: str, number: float, tolerance: float, target: float) -> bool:
    """The relation as the docstring writes it."""
    return {
        "<=": number <= tolerance,
        ">=": number >= tolerance,
        "==": abs(number - target) <= tolerance,
    }[relation]


def measure(name: str = "a", relation: str = "<=", tolerance: float = 1.0, **changed) -> Measure:
    return Measure(name, f"statement of {name}", relation, tolerance, "because", **changed)


def table(**columns) -> xr.Dataset:
    data = {name: ("case", np.asarray(values, dtype=np.float64)) for name, values in columns.items()}
    count = len(next(iter(columns.values())))
    return xr.Dataset(data).assign_coords(case=("case", [f"case {i}" for i in range(count)]))


class TestOneNumber:
    @given(relations, EXACT, EXACT, EXACT)
    def test_without_error_the_verdict_is_the_relation(self, relation, number, tolerance, target) -> None:
        verdict, _ = compare(relation, number, 0.0, tolerance, target)
        assert verdict == (SUPPORTED if holds(relation, number, tolerance, target) else REFUTED)

    @given(relations, EXACT, ERRORS, EXACT, EXACT, st.floats(-1, 1))
    def test_no_number_within_the_bar_contradicts_the_verdict(
        self, relation, number, error, tolerance, target, where
    ) -> None:
        verdict, _ = compare(relation, number, error, tolerance, target)
        inside = holds(relation, number + round(where * 2**10) / 2**10 * error, tolerance, target)
        assert verdict == INCONCLUSIVE or (verdict == SUPPORTED) == inside

    @given(relations, EXACT, ERRORS, EXACT, EXACT)
    def test_inconclusive_is_said_only_where_the_bar_reaches_the_tolerance(
        self, relation, number, error, tolerance, target
    ) -> None:
        verdict, _ = compare(relation, number, error, tolerance, target)
        if verdict == INCONCLUSIVE:
            border = tolerance if relation != "==" else target + math.copysign(tolerance, number - target)
            assert abs(number - border) <= error

    @given(relations, ANY, st.floats(0), ANY, EXACT, st.floats(0, 1e300))
    def test_a_larger_error_never_decides_more(
        self, relation, number, error, tolerance, target, more
    ) -> None:
        small, _ = compare(relation, number, error, tolerance, target)
        large, _ = compare(relation, number, error + more, tolerance, target)
        assert large in (small, INCONCLUSIVE)

    @given(relations, EXACT, ERRORS, EXACT, EXACT, ERRORS)
    def test_a_worse_number_never_gets_a_better_verdict(
        self, relation, number, error, tolerance, target, more
    ) -> None:
        away = {"<=": 1.0, ">=": -1.0, "==": math.copysign(1.0, number - target)}[relation]
        before = compare(relation, number, error, tolerance, target)
        after = compare(relation, number + away * more, error, tolerance, target)
        order = [SUPPORTED, INCONCLUSIVE, REFUTED]
        assert order.index(before[0]) <= order.index(after[0])
        assert before[0] != after[0] or before[1] <= after[1]

    @given(relations, ANY, ANY, ANY)
    def test_what_is_not_finite_is_inconclusive(self, relation, number, error, tolerance) -> None:
        verdict, badness = compare(relation, number, error, tolerance)
        assert not math.isnan(badness)
        if not all(map(math.isfinite, (number, error, tolerance))) or error < 0:
            assert verdict == INCONCLUSIVE

    def test_the_border_belongs_to_the_relation(self) -> None:
        for relation in RELATIONS:
            assert compare(relation, 1.0, 0.0, 1.0)[0] == SUPPORTED
        assert compare("<=", np.nextafter(1.0, 2.0), 0.0, 1.0)[0] == REFUTED
        assert compare(">=", np.nextafter(1.0, 0.0), 0.0, 1.0)[0] == REFUTED
        assert compare("<=", 5e-324, 0.0, 0.0)[0] == REFUTED

    def test_an_unknown_relation_is_refused(self) -> None:
        with pytest.raises(ValueError, match="unknown relation '<'"):
            compare("<", 1.0, 0.0, 1.0)


columns = st.lists(st.tuples(EXACT | ANY, ERRORS | ANY, st.booleans()), min_size=1, max_size=6)


class TestManyCases:
    @staticmethod
    def data(rows) -> xr.Dataset:
        numbers, errors, met = zip(*rows, strict=True)
        return table(a=numbers, a_error=errors, h=np.asarray(met, dtype=np.float64))

    def judged(self, rows, relation="<=", tolerance=1.0):
        one = measure(relation=relation, tolerance=tolerance)
        return judge([one, measure("h", ">=", 0.5, role="hypothesis")], self.data(rows))

    @given(columns, relations, st.sampled_from([0.0, 1.0, 1e-9]))
    def test_the_worst_case_decides(self, rows, relation, tolerance) -> None:
        each = [
            compare(relation, number, error, tolerance)[0] if met else NOT_MET for number, error, met in rows
        ]
        assert self.judged(rows, relation, tolerance).verdict == max(each, key=DECIDING_ORDER.index)

    @given(columns, relations, st.sampled_from([0.0, 1.0, 1e-9]), st.randoms(use_true_random=False))
    def test_the_order_of_cases_does_not_matter(self, rows, relation, tolerance, random) -> None:
        shuffled = list(rows)
        random.shuffle(shuffled)
        first, second = (self.judged(some, relation, tolerance) for some in (rows, shuffled))
        assert (first.verdict, first.part) == (second.verdict, second.part)
        if first.verdict in (SUPPORTED, REFUTED):
            far = [
                {"<=": one.number, ">=": -one.number, "==": abs(one.number)}[relation] + one.error
                for one in (first, second)
            ]
            assert far[0] == far[1]

    @given(columns, st.tuples(EXACT | ANY, ERRORS | ANY, st.booleans()))
    def test_another_case_never_improves_the_verdict(self, rows, row) -> None:
        before, after = self.judged(rows).verdict, self.judged([*rows, row]).verdict
        assert DECIDING_ORDER.index(before) <= DECIDING_ORDER.index(after)

    @given(columns, st.integers(0, 5), st.floats(0, 1e6))
    def test_a_larger_error_never_turns_support_into_refutation(self, rows, index, more) -> None:
        i = index % len(rows)
        number, error, met = rows[i]
        wider = [*rows[:i], (number, error + more, met), *rows[i + 1 :]]
        before, after = self.judged(rows).verdict, self.judged(wider).verdict
        assert (before, after) not in ((SUPPORTED, REFUTED), (REFUTED, SUPPORTED))

    @given(columns)
    def test_a_record_is_json_without_nan(self, rows) -> None:
        text = json.dumps(self.judged(rows).as_dict(), allow_nan=False)
        assert json.loads(text)["verdict"] in DECIDING_ORDER

    def test_the_deciding_number_is_the_furthest_beyond_in_tolerances(self) -> None:
        data = table(a=[2.0, 3.0, 2.5], a_tolerance=[0.1, 2.0, 1.0])
        verdict = judge([measure()], data)
        assert (verdict.number, verdict.tolerance, verdict.parts[0].case) == (2.0, 0.1, "case 0")
        supported = judge([measure()], table(a=[1e-3, 0.9, 0.5]))
        assert (supported.verdict, supported.number) == (SUPPORTED, 0.9)

    def test_numbers_far_below_the_tolerance_are_still_told_apart(self) -> None:
        assert judge([measure()], table(a=[0.0, 3e-20, 1e-20])).number == 3e-20
        assert judge([measure(relation=">=")], table(a=[1e20, 1e20 - 1e5, 2e20])).number == 1e20 - 1e5

    def test_the_tolerance_of_a_case_replaces_that_of_the_measure(self) -> None:
        assert judge([measure()], table(a=[5.0], a_tolerance=[6.0])).verdict == SUPPORTED
        assert judge([measure()], table(a=[0.5], a_tolerance=[0.1])).verdict == REFUTED
        hypothesis = measure("h", role="hypothesis")
        data = table(a=[0.0], h=[5.0], h_tolerance=[6.0])
        assert judge([measure(), hypothesis], data).verdict == SUPPORTED

    def test_a_case_without_a_tolerance_is_inconclusive(self) -> None:
        verdict = judge([measure()], table(a=[0.0, 0.0], a_tolerance=[1.0, np.nan]))
        assert (verdict.verdict, verdict.parts[0].case) == (INCONCLUSIVE, "case 1")
        assert verdict.tolerance == 1.0


class TestManyParts:
    def test_refuted_beats_inconclusive_beats_unmet_beats_supported(self) -> None:
        a, b = measure("a"), measure("b")
        numbers = {SUPPORTED: 0.0, INCONCLUSIVE: np.nan, REFUTED: 9.0}
        for first, x in numbers.items():
            for second, y in numbers.items():
                worst = max(first, second, key=DECIDING_ORDER.index)
                verdict = judge([a, b], table(a=[x], b=[y]))
                assert verdict.verdict == worst
                assert verdict.part == ("a" if first == worst else "b")

    def test_a_part_further_beyond_its_tolerance_decides(self) -> None:
        parts = [measure("a", tolerance=1e-9), measure("b", tolerance=1e3)]
        verdict = judge(parts, table(a=[1e-6], b=[1e4]))
        assert (verdict.verdict, verdict.part, verdict.number) == (REFUTED, "a", 1e-6)

    def test_a_failed_hypothesis_is_the_deciding_number(self) -> None:
        measures = [
            measure("a"),
            measure("h", ">=", 0.5, role="hypothesis"),
            measure("k", ">=", 0.5, role="hypothesis"),
        ]
        verdict = judge(measures, table(a=[0.0, 0.0], h=[1.0, 1.0], k=[1.0, 0.2]))
        assert (verdict.verdict, verdict.part, verdict.number) == (NOT_MET, "k", 0.2)
        assert [part.verdict for part in verdict.parts] == [NOT_MET]
        assert [part.verdict for part in verdict.hypotheses] == [SUPPORTED, REFUTED]


class TestMisuse:
    def test_float32_integers_and_other_dims_are_refused(self) -> None:
        good = table(a=[0.0, 1.0])
        for bad in (
            good.assign(a=good.a.astype(np.float32)),
            good.assign(a=good.a.astype(np.int64)),
            good.assign(a=good.a.expand_dims(record=2)),
            good.assign(a_error=good.a.astype(np.float32)),
            good.assign(a_tolerance=good.a.astype(np.float32)),
        ):
            with pytest.raises(ValueError, match="takes float64 over"):
                judge([measure()], bad)

    def test_no_cases_no_labels_and_no_measure_are_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one case"):
            judge([measure()], table(a=[]))
        with pytest.raises(ValueError, match="labelled cases"):
            judge([measure()], xr.Dataset({"a": 1.0}))
        with pytest.raises(ValueError, match="labelled cases"):
            judge([measure()], xr.Dataset({"a": ("case", [1.0])}))
        with pytest.raises(ValueError, match="no variable 'a' to judge; it has: b"):
            judge([measure()], table(b=[1.0]))
        with pytest.raises(ValueError, match="role 'part'"):
            judge([measure(role="hypothesis")], table(a=[1.0]))

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"name": "a/b"}, "without '/'"),
            ({"name": ""}, "without '/'"),
            ({"relation": "<"}, "unknown relation '<'"),
            ({"tolerance": math.nan}, "finite"),
            ({"tolerance": math.inf}, "finite"),
            ({"target": math.inf}, "finite"),
            ({"role": "hypotheses"}, "role='hypothesis'"),
            ({"relation": "==", "tolerance": -1.0}, "which no number meets"),
        ],
    )
    def test_a_measure_that_cannot_be_judged_is_refused(self, changed, message) -> None:
        with pytest.raises(ValueError, match=message):
            measure(**changed)

    @pytest.mark.parametrize("names", [("a", "a"), ("a", "a_error"), ("a", "a_tolerance"), ("case", "b")])
    def test_clashing_measures_are_refused(self, names) -> None:
        with pytest.raises(ValueError, match="twice; give its measures distinct ids"):
            fabricated.study([measure(name) for name in names])

    @pytest.mark.parametrize("claim_id", ["", "../mine", "a/b", "a b", ".mine"])
    def test_an_id_that_is_no_name_of_a_file_is_refused(self, claim_id) -> None:
        with pytest.raises(ValueError, match="a claim's id was"):
            Claim(claim_id, "mine", "s", "f", "p")


class TestCollect:
    def test_scalars_are_laid_along_case_in_order(self) -> None:
        numbers = [3.0, 1.0, 2.0]
        data = collect((f"c{i}", xr.Dataset({"a": x})) for i, x in enumerate(numbers))
        assert data.a.dims == ("case",)
        assert data.a.dtype == np.float64
        assert data.a.values.tolist() == numbers
        assert data.case.values.tolist() == ["c0", "c1", "c2"]

    def test_lengths_that_differ_are_padded_at_the_end(self) -> None:
        loss = [np.arange(n, dtype=float) for n in (2, 4, 3)]
        steps = [np.arange(n) for n in (2, 4, 3)]
        data = collect(
            ("c", xr.Dataset({"loss": ("record", x), "step": ("record", n)}))
            for x, n in zip(loss, steps, strict=True)
        )
        assert data.sizes == {"case": 3, "record": 4}
        for i, x in enumerate(loss):
            assert np.array_equal(data.loss.values[i, : len(x)], x)
            assert np.array_equal(data.step.values[i, : len(x)], x)
            assert np.isnan(data.loss.values[i, len(x) :]).all()
            assert np.isnan(data.step.values[i, len(x) :]).all()

    def test_coordinates_align_and_those_without_index_stay_with_their_case(self) -> None:
        first = xr.Dataset({"x": ("layer", [1.0, 2.0])}, {"layer": ["one", "two"], "depth": 2})
        second = xr.Dataset({"x": ("layer", [5.0, 4.0, 3.0])}, {"layer": ["three", "two", "one"], "depth": 3})
        data = collect([("a", first), ("b", second)])
        assert data.x.sel(layer="one").values.tolist() == [1.0, 3.0]
        assert np.isnan(data.x.sel(layer="three", case="a"))
        assert data.depth.values.tolist() == [2, 3]

    def test_what_only_some_cases_have_is_nan_or_empty_and_can_be_stored(self) -> None:
        first = xr.Dataset({"a": 1.0, "word": "yes", "flag": True, "names": ("layer", ["p"])})
        second = xr.Dataset({"a": 2.0, "n": 3, "names": ("layer", ["q", "rr"])})
        data = collect([("one", first), ("two", second)])
        assert data.word.values.tolist() == ["yes", ""]
        assert data.names.values.tolist() == [["p", ""], ["q", "rr"]]
        np.testing.assert_array_equal(data.flag.values, [1.0, np.nan])
        np.testing.assert_array_equal(data.n.values, [np.nan, 3.0])
        assert all(variable.dtype != object for variable in data.variables.values())
        assert len(data.to_netcdf(None, engine="h5netcdf")) > 0

    def test_jax_values_become_numpy_and_attributes_are_dropped(self) -> None:
        one = xr.Dataset({"a": ((), jax.numpy.float64(2.0), {"units": "none"})}, attrs={"result": "end"})
        data = collect([("one", one), ("two", one)])
        assert type(data.a.data) is np.ndarray
        assert data.attrs == {}
        assert data.a.attrs == {}

    def test_no_case_and_a_case_within_a_case_are_refused(self) -> None:
        with pytest.raises(ValueError, match="yielded none"):
            collect([])
        for nested in (xr.Dataset({"a": ("case", [1.0])}), xr.Dataset({"case": 1.0})):
            with pytest.raises(ValueError, match="'case' of its own"):
                collect([("one", nested)])


class TestObserved:
    def study(self, observed: xr.Dataset):
        plain = fabricated.study([measure("a"), measure("b")])
        return type(plain)(plain.claim, plain.measures, plain.cases, lambda problem, trajectory: observed)

    def test_the_numbers_reach_the_judge(self) -> None:
        study = self.study(xr.Dataset({"a": 0.5, "b": 2.0}))
        cases = [Case("one", None, xr.Dataset()), Case("two", None, xr.Dataset())]
        assert study.judge(study.measure(cases)).part == "b"

    @pytest.mark.parametrize(
        ("observed", "message"),
        [
            ({"a": 0.5}, "mine.example, case 'one': observe gave no 'b'; it gave a"),
            ({"a": 0.5, "b": np.float32(1.0)}, "'b' has dtype float32"),
            ({"a": 0.5, "b": 1}, "'b' has dtype int64"),
            ({"a": 0.5, "b": 1.0, "b_error": np.float32(0.0)}, "'b_error' has dtype float32"),
            ({"a": 0.5, "b": ("layer", [1.0])}, r"dims \('layer',\)"),
        ],
    )
    def test_a_number_that_laying_together_would_hide_is_refused(self, observed, message) -> None:
        study = self.study(xr.Dataset(observed))
        with pytest.raises(ValueError, match=message):
            study.measure([Case("one", None, xr.Dataset())])
