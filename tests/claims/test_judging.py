"""The judge as mathematics: one number, many cases, roles, sentences; what it refuses; how cases are laid together."""

from __future__ import annotations

import json
import math

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from gradlab.claims.cases import collect
from gradlab.claims.claim import Claim, Measure, Repair, Sentence
from gradlab.claims.judging import (
    DECIDING_ORDER,
    INCONCLUSIVE,
    MISPRINT,
    NOT_MET,
    REFUTED,
    SUPPORTED,
    UNASKED,
    UNCERTAIN,
    Verdict,
    compare,
    judge,
)
from gradlab.claims.judging import (
    EXACT as PRINT_EXACT,
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
    return Measure(
        name, f"statement of {name}", relation, tolerance, "because", **({"exact": True} | changed)
    )


def table(**columns) -> xr.Dataset:
    data = {name: ("case", np.asarray(values, dtype=np.float64)) for name, values in columns.items()}
    count = len(next(iter(columns.values())))
    return xr.Dataset(data).assign_coords(case=("case", [f"case {i}" for i in range(count)]))


H = measure("h", ">=", 0.5, role="hypothesis")


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
        if not all(map(math.isfinite, (number, error, tolerance))):
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


rows_of = st.lists(st.tuples(EXACT | ANY, ERRORS, st.booleans(), st.booleans()), min_size=1, max_size=6)


class TestManyCases:
    @staticmethod
    def judged(rows, relation="<=", tolerance=1.0) -> Verdict:
        numbers, errors, met, asked = zip(*rows, strict=True)
        data = table(
            a=numbers,
            a_error=errors,
            h=np.asarray(met, dtype=np.float64),
            a_asked=np.asarray(asked, dtype=np.float64),
        )
        return judge([measure(relation=relation, tolerance=tolerance), H], data)

    @given(rows_of, relations, st.sampled_from([0.0, 1.0, 1e-9]))
    def test_the_worst_case_within_the_hypotheses_decides(self, rows, relation, tolerance) -> None:
        inside = [
            compare(relation, number, error, tolerance)[0]
            for number, error, met, asked in rows
            if met and asked
        ]
        expected = max(inside, key=DECIDING_ORDER.index) if inside else NOT_MET
        assert self.judged(rows, relation, tolerance).verdict == expected

    @given(rows_of)
    def test_it_counts_what_was_asked_what_held_and_what_lay_outside(self, rows) -> None:
        (part,) = self.judged(rows).parts
        asked = [row for row in rows if row[3]]
        inside = [row for row in asked if row[2]]
        held = sum(compare("<=", row[0], row[1], 1.0)[0] == SUPPORTED for row in inside)
        assert (part.cases, part.asked, part.outside, part.held) == (
            len(rows),
            len(inside),
            len(asked) - len(inside),
            held,
        )

    @given(rows_of, st.randoms(use_true_random=False))
    def test_the_order_of_cases_does_not_matter(self, rows, random) -> None:
        shuffled = list(rows)
        random.shuffle(shuffled)
        first, second = self.judged(rows), self.judged(shuffled)
        assert (first.verdict, first.part) == (second.verdict, second.part)

    @given(rows_of, st.tuples(EXACT | ANY, ERRORS, st.booleans(), st.booleans()))
    def test_another_case_never_improves_the_verdict_but_where_nothing_was_asked(self, rows, row) -> None:
        before, after = self.judged(rows).verdict, self.judged([*rows, row]).verdict
        assert before == NOT_MET or DECIDING_ORDER.index(before) <= DECIDING_ORDER.index(after)

    @given(rows_of, st.integers(0, 5), st.floats(0, 1e6))
    def test_a_larger_error_never_turns_support_into_refutation(self, rows, index, more) -> None:
        i = index % len(rows)
        number, error, met, asked = rows[i]
        wider = [*rows[:i], (number, error + more, met, asked), *rows[i + 1 :]]
        before, after = self.judged(rows).verdict, self.judged(wider).verdict
        assert (before, after) not in ((SUPPORTED, REFUTED), (REFUTED, SUPPORTED))

    @given(rows_of)
    def test_a_record_is_json_without_nan_and_comes_back(self, rows) -> None:
        verdict = self.judged(rows)
        content = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
        assert Verdict.of(content) == verdict

    @pytest.mark.parametrize("outside", [(9.0, 1.0, 0.0), (9.0, 0.0, 1.0), (np.nan, 0.0, 1.0)])
    def test_a_case_outside_or_not_asked_neither_decides_nor_hides(self, outside) -> None:
        number, asked, met = outside
        data = table(a=[0.5, number], a_asked=[1.0, asked], h=[1.0, met])
        verdict = judge([measure(), H], data)
        assert (verdict.verdict, verdict.number, verdict.deciding.case) == (SUPPORTED, 0.5, "case 0")

    def test_the_deciding_number_is_the_furthest_beyond_in_tolerances(self) -> None:
        verdict = judge([measure()], table(a=[2.0, 3.0, 2.5], a_tolerance=[0.1, 2.0, 1.0]))
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

    def test_where_nothing_meets_the_hypotheses_the_one_that_failed_is_named(self) -> None:
        other = measure("k", ">=", 0.5, role="hypothesis")
        verdict = judge([measure(), H, other], table(a=[0.0, 0.0], h=[1.0, 1.0], k=[0.1, 0.2]))
        assert (verdict.verdict, verdict.part, verdict.number) == (NOT_MET, "k", 0.1)
        assert [part.verdict for part in verdict.parts] == [NOT_MET]

    def test_a_hypothesis_that_says_nothing_of_a_case_does_not_exclude_it(self) -> None:
        data = table(a=[0.0], h=[np.nan], h_asked=[0.0])
        assert judge([measure(), H], data).verdict == SUPPORTED


class TestBars:
    NUMBER = measure(exact=False)

    def test_a_missing_bar_is_refused_unless_the_number_is_exact(self) -> None:
        with pytest.raises(ValueError, match="has no error bar: give a_error, or call the number exact"):
            judge([self.NUMBER], table(a=[0.0]))
        assert judge([self.NUMBER], table(a=[0.0], a_exact=[1.0])).verdict == SUPPORTED

    def test_a_negative_bar_raises_wherever_the_case_counts(self) -> None:
        with pytest.raises(ValueError, match="measure 'a', case 'case 1': the error bar is negative"):
            judge([self.NUMBER], table(a=[15.5, 15.5], a_error=[1.0, -15.5]))
        data = table(a=[0.0, 0.0], a_error=[0.1, -1.0], a_asked=[1.0, 0.0])
        assert judge([self.NUMBER], data).verdict == SUPPORTED

    def test_bars_of_zero_everywhere_raise(self) -> None:
        with pytest.raises(ValueError, match="the bar is 0 in every case"):
            judge([self.NUMBER], table(a=[0.0, 0.0], a_error=[0.0, 0.0]))

    def test_a_single_bar_of_zero_is_unknown_and_takes_the_largest_of_the_others(self) -> None:
        data = table(a=[0.9, 0.1], a_error=[0.0, 0.2])
        verdict = judge([self.NUMBER], data)
        assert (verdict.verdict, verdict.error) == (INCONCLUSIVE, 0.2)


def claim(*sentences: Sentence, repair: Repair | None = None) -> Claim:
    return Claim("mine.example", "An example.", sentences=sentences, repair=repair)


TWO = (Sentence("one", "First."), Sentence("two", "Second.", "eq. 2"))


class TestSentences:
    def test_each_has_its_own_verdict_and_the_worst_is_the_claims(self) -> None:
        parts = [measure("a", sentence="one"), measure("b", sentence="two")]
        numbers = {SUPPORTED: 0.0, INCONCLUSIVE: np.nan, REFUTED: 9.0}
        for first, x in numbers.items():
            for second, y in numbers.items():
                verdict = judge(parts, table(a=[x], b=[y]), claim(*TWO))
                assert [one.verdict for one in verdict.sentences] == [first, second]
                assert verdict.verdict == max(first, second, key=DECIDING_ORDER.index)

    def test_a_part_further_beyond_its_tolerance_decides(self) -> None:
        parts = [measure("a", tolerance=1e-9), measure("b", tolerance=1e3)]
        verdict = judge(parts, table(a=[1e-6], b=[1e4]))
        assert (verdict.verdict, verdict.part, verdict.number) == (REFUTED, "a", 1e-6)

    def test_the_headline_says_how_many_hold_and_which_fails(self) -> None:
        parts = [measure("a", sentence="one"), measure("b", sentence="two")]
        failing = judge(parts, table(a=[0.0], b=[9.0]), claim(*TWO))
        assert failing.headline == "1 of 2 sentences hold; false: “Second”"
        assert judge(parts, table(a=[0.0], b=[0.0]), claim(*TWO)).headline == "all 2 sentences hold"
        assert judge([measure()], table(a=[0.0])).headline == "it holds"

    def test_the_headline_says_that_a_control_failed(self) -> None:
        parts = [measure(), measure("b", role="control")]
        said = judge(parts, table(a=[0.0], b=[9.0])).headline
        assert said == f"it holds; undecided, since a control does not hold: “{parts[1].statement}”"

    def test_what_no_case_asks_supports_nothing(self) -> None:
        data = table(a=[0.0], b=[np.nan], b_asked=[0.0])
        parts = [measure("a", sentence="one"), measure("b", sentence="two")]
        verdict = judge(parts, data, claim(*TWO))
        assert [one.verdict for one in verdict.sentences] == [SUPPORTED, UNASKED]
        assert verdict.parts[1].count == "not asked in any of 1 cases"
        nothing = judge([measure("b")], data)
        assert (nothing.verdict, nothing.asked, nothing.headline) == (
            NOT_MET,
            0,
            "nothing of it could be asked",
        )

    def test_a_measure_of_a_sentence_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(ValueError, match="speaks of sentence 'three'; the claim has one, two"):
            judge([measure(sentence="three")], table(a=[0.0]), claim(*TWO))


class TestPrint:
    PARTS = (measure("repaired"), measure("printed", role="print", repaired="repaired"))
    REPAIR = Repair("constant", "a factor of two")

    @pytest.mark.parametrize(
        ("repaired", "printed", "verdict", "said"),
        [
            (0.0, 0.0, SUPPORTED, PRINT_EXACT),
            (0.0, 9.0, SUPPORTED, MISPRINT),
            (0.0, np.nan, SUPPORTED, INCONCLUSIVE),
            (9.0, 9.0, REFUTED, REFUTED),
            (np.nan, 9.0, INCONCLUSIVE, REFUTED),
        ],
    )
    def test_the_print_never_enters_the_substance(self, repaired, printed, verdict, said) -> None:
        data = table(repaired=[repaired], printed=[printed])
        found = judge(self.PARTS, data, claim(Sentence("one", "First."), repair=self.REPAIR))
        assert (found.verdict, found.print) == (verdict, said)
        assert (found.repair is not None) == (verdict == REFUTED or said == MISPRINT)

    def test_a_doubtful_text_is_no_misprint(self) -> None:
        doubtful = claim(Sentence("one", "First.", uncertain=True))
        assert judge(self.PARTS, table(repaired=[0.0], printed=[9.0]), doubtful).print == UNCERTAIN
        assert judge(self.PARTS, table(repaired=[0.0], printed=[0.0]), doubtful).print == PRINT_EXACT

    def test_a_misprint_of_another_document_is_said_to_be_there(self) -> None:
        for sentence, said in (("one", "a misprint beside"), ("two", "a misprint beside, in eq. 2")):
            printed = measure("printed", role="print", repaired="repaired", sentence=sentence)
            found = judge([self.PARTS[0], printed], table(repaired=[0.0], printed=[9.0]), claim(*TWO))
            assert found.headline == f"it holds; {said}"

    def test_without_a_printed_form_nothing_is_said_of_it(self) -> None:
        assert judge([measure()], table(a=[0.0])).print == ""

    def test_a_repair_is_of_a_known_kind(self) -> None:
        with pytest.raises(ValueError, match="a repair's kind was 'typo'; write one of constant, sign"):
            Repair("typo", "")


class TestControls:
    def test_a_control_that_fails_makes_the_study_blind(self) -> None:
        control = measure("c", ">=", 0.5, role="control")
        for seen, verdict, part in (
            (1.0, SUPPORTED, "a"),
            (0.0, INCONCLUSIVE, "c"),
            (np.nan, INCONCLUSIVE, "c"),
        ):
            found = judge([measure(), control], table(a=[0.0], c=[seen]))
            assert (found.verdict, found.part) == (verdict, part)

    def test_a_refutation_needs_no_control(self) -> None:
        control = measure("c", ">=", 0.5, role="control")
        assert judge([measure(), control], table(a=[9.0], c=[0.0])).verdict == REFUTED


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
            ({"role": "hypotheses"}, "'hypothesis', 'control'"),
            ({"relation": "==", "tolerance": -1.0}, "which no number meets"),
            ({"repaired": "b"}, "only a role='print' has one"),
        ],
    )
    def test_a_measure_that_cannot_be_judged_is_refused(self, changed, message) -> None:
        with pytest.raises(ValueError, match=message):
            measure(**changed)

    @pytest.mark.parametrize("claim_id", ["", "../mine", "a/b", "a b", ".mine"])
    def test_an_id_that_is_no_name_of_a_file_is_refused(self, claim_id) -> None:
        with pytest.raises(ValueError, match="a claim's id was"):
            Claim(claim_id, "An example.")


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
