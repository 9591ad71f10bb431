"""Every study's judge tells fabricated good data from data that miss, straddle, lack or contradict."""

from __future__ import annotations

import fabricated
import numpy as np
import pytest

from gradlab.claims import catalogue
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, Measure, Study

#: The case that is spoilt: neither the first nor the last.
SPOILT = 7
LABEL = f"case {SPOILT}"


def _ids() -> list[str]:
    """Every claim; a file that cannot be read stands for itself, so that its own tests fail and no others."""
    found: list[str] = []
    for claim_id in catalogue.files():
        try:
            found += [study.claim.id for study in catalogue.load_together(claim_id)]
        except ValueError:
            found.append(claim_id)
    return found


#: Every relation, with tolerance zero and target other than zero, in both roles: a study that is always there.
EXAMPLE = fabricated.study(
    Measure(f"{role}_{i}", f"the {role} {i}", relation, tolerance, "an example", target, role)
    for role in ("part", "hypothesis")
    for i, (relation, tolerance, target) in enumerate(
        [
            ("<=", 1e-9, 0.0),
            ("<=", 0.0, 0.0),
            ("<=", -2.0, 0.0),
            (">=", 0.5, 0.0),
            (">=", 0.0, 0.0),
            (">=", -1e-12, 0.0),
            ("==", 1e-6, 1.0),
            ("==", 0.0, -3.0),
        ]
    )
)


@pytest.fixture(params=["example", *_ids()])
def study(request: pytest.FixtureRequest) -> Study:
    return EXAMPLE if request.param == "example" else catalogue.load([request.param])[0]


def _spoilt(study: Study, measure: Measure, number: fabricated.Number, case: int = SPOILT):
    return fabricated.dataset(study.measures, {measure.id: {case: number}})


def test_a_study_is_judged_by_its_measures_and_nothing_else(study: Study) -> None:
    assert fabricated.own_judge(study) == ""
    assert fabricated.unexplained(study) == []


def test_good_numbers_support(study: Study) -> None:
    verdict = study.judge(fabricated.dataset(study.measures))
    assert verdict.verdict == SUPPORTED
    assert [part.id for part in verdict.parts] == [measure.id for measure in fabricated.parts(study)]
    assert all(part.verdict == SUPPORTED for part in (*verdict.parts, *verdict.hypotheses))


@pytest.mark.parametrize("miss", [fabricated.missing, fabricated.halved], ids=["by twice", "twice or half"])
@pytest.mark.parametrize("case", [0, SPOILT, fabricated.CASES - 1])
def test_one_case_that_misses_refutes(study: Study, miss, case: int) -> None:
    for measure in fabricated.parts(study):
        number = miss(measure)
        verdict = study.judge(_spoilt(study, measure, number, case))
        assert verdict.verdict == REFUTED, measure.id
        assert (verdict.part, verdict.number, verdict.error) == (measure.id, *number)
        part = next(part for part in verdict.parts if part.id == measure.id)
        assert (part.verdict, part.case) == (REFUTED, f"case {case}")
        others = [part.verdict for part in verdict.parts if part.id != measure.id]
        assert others == [SUPPORTED] * len(others)


def test_a_miss_below_the_target_refutes_as_one_above(study: Study) -> None:
    for measure in fabricated.parts(study):
        if measure.relation == "==":
            above, error = fabricated.missing(measure)
            verdict = study.judge(_spoilt(study, measure, (2 * measure.target - above, error)))
            assert (verdict.verdict, verdict.part) == (REFUTED, measure.id)


def test_a_number_that_straddles_its_tolerance_is_inconclusive(study: Study) -> None:
    for measure in fabricated.parts(study):
        verdict = study.judge(_spoilt(study, measure, fabricated.straddling(measure)))
        assert (verdict.verdict, verdict.part) == (INCONCLUSIVE, measure.id)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_inconclusive(study: Study, number: float) -> None:
    for measure in fabricated.parts(study):
        verdict = study.judge(_spoilt(study, measure, (number, 0.0)))
        assert (verdict.verdict, verdict.part, verdict.number) == (INCONCLUSIVE, measure.id, None)


@pytest.mark.parametrize("fail", [fabricated.missing, fabricated.straddling, lambda _: (np.nan, 0.0)])
def test_a_failing_hypothesis_is_said_and_named(study: Study, fail) -> None:
    for measure in fabricated.hypotheses(study):
        number, error = fail(measure)
        verdict = study.judge(_spoilt(study, measure, (number, error)))
        assert (verdict.verdict, verdict.part) == (NOT_MET, measure.id)
        assert verdict.number == (None if np.isnan(number) else number)


def test_a_case_whose_hypotheses_fail_cannot_refute_and_another_can(study: Study) -> None:
    for hypothesis in fabricated.hypotheses(study):
        for measure in fabricated.parts(study):
            for case, expected in ((SPOILT, NOT_MET), (SPOILT + 1, REFUTED)):
                changed = {
                    hypothesis.id: {SPOILT: fabricated.missing(hypothesis)},
                    measure.id: {case: fabricated.missing(measure)},
                }
                assert study.judge(fabricated.dataset(study.measures, changed)).verdict == expected


def test_float32_and_missing_measures_are_refused(study: Study) -> None:
    numbers = fabricated.dataset(study.measures)
    for measure in study.measures:
        with pytest.raises(ValueError, match="float64"):
            study.judge(numbers.assign({measure.id: numbers[measure.id].astype(np.float32)}))
        with pytest.raises(ValueError, match=measure.id):
            study.judge(numbers.drop_vars(measure.id))


class TestTheseTestsNotice:
    """The checks above, on studies that are made to fail them."""

    def measure(self, **changed) -> Measure:
        return Measure(
            **{"id": "a", "statement": "s", "relation": "<=", "tolerance": 1.0, "why": "w", **changed}
        )

    def test_a_judge_of_ones_own(self) -> None:
        study = fabricated.study([self.measure()])
        assert fabricated.own_judge(study) == ""
        kind = study.judge(fabricated.dataset(study.measures))
        object.__setattr__(study, "judge", lambda dataset: kind)
        assert fabricated.own_judge(study) == "it replaces a method"

    def test_a_subclass_with_a_lenient_judge(self) -> None:
        class Lenient(Study):  # type: ignore[misc]
            def judge(self, dataset):
                return fabricated.judge(self.measures, fabricated.dataset(self.measures))

        plain = fabricated.study([self.measure()])
        assert fabricated.own_judge(Lenient(plain.claim, plain.measures, plain.cases, plain.observe))

    def test_a_method_replaced_on_the_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        study = fabricated.study([self.measure()])
        good = study.judge(fabricated.dataset(study.measures))
        monkeypatch.setattr(Study, "judge", lambda self, dataset: good)
        assert fabricated.own_judge(study) == "its judge says something else than its measures"

    def test_measures_without_a_part_or_a_reason(self) -> None:
        with pytest.raises(ValueError, match="no measure with role 'part'"):
            fabricated.study([self.measure(role="hypothesis")])
        with pytest.raises(ValueError, match="no measure with role 'part'"):
            fabricated.study([])
        assert fabricated.unexplained(fabricated.study([self.measure(why=" ")])) == ["a"]

    @pytest.mark.parametrize("relation", ["<=", ">=", "=="])
    @pytest.mark.parametrize(("tolerance", "target"), [(1e-9, 0.0), (0.0, 0.0), (0.25, -3.0), (0.0, 2.0)])
    def test_fabricated_numbers_lie_where_they_say(self, relation, tolerance, target) -> None:
        measure = self.measure(relation=relation, tolerance=tolerance, target=target)
        study = fabricated.study([measure])
        for make, expected in (
            (fabricated.good, SUPPORTED),
            (fabricated.missing, REFUTED),
            (fabricated.halved, REFUTED),
            (fabricated.straddling, INCONCLUSIVE),
        ):
            assert study.judge(_spoilt(study, measure, make(measure))).verdict == expected
        number, _ = fabricated.missing(measure)
        beyond = abs(number - target) - tolerance if relation == "==" else abs(number - tolerance)
        assert beyond == pytest.approx(2 * fabricated.unit(measure), rel=1e-12)
