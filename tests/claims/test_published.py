"""The published verdicts are those of the studies as they stand, over seeds, and a few are run again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gradlab.claims import catalogue, entries
from gradlab.claims.judging import MISPRINT, REFUTED
from gradlab.claims.keeping import Result, compare_with, seal
from gradlab.claims.verification import verify
from gradlab.report.mathematics import block

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORDS: list[dict[str, Any]] = json.loads((DOCS / "verdicts.json").read_text(encoding="utf-8"))

#: One without dynamics, one flow, one iteration, one misprint with its correction.
REPRESENTATIVE = ["cohen.preconditioner", "notes.span", "chitour.gradient", "chitour.gradient-corrected"]


#: What an experiment on images answered otherwise than its source: another experiment may mend that, no formula.
EXPERIMENTS = {"memo90.fig2", "memo112.transient-predicts"}


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return verify(catalogue.load(REPRESENTATIVE), budget="quick", seed=0)


def test_every_claim_is_published_for_seed_0_or_for_all_five() -> None:
    assert [record["id"] for record in RECORDS] == catalogue.ids()
    assert {"".join(sorted(record["seeds"])) for record in RECORDS} <= {"0", "01234"}


def test_nothing_that_is_asked_was_changed_since() -> None:
    sealed = {record["id"]: record["seal"] for record in RECORDS}
    changed = [study.claim.id for study in catalogue.load() if seal(study) != sealed[study.claim.id]]
    assert changed == []


def test_a_few_claims_run_again_give_the_published_verdicts(results: list[Result]) -> None:
    assert compare_with(results, RECORDS) == []


def test_every_study_has_at_least_twenty_cases(results: list[Result]) -> None:
    for result in results:
        assert result.error is None, result.error
        assert result.dataset is not None
        assert result.dataset.sizes["case"] >= 20, result.claim.id


def test_a_repair_is_named_wherever_something_fails() -> None:
    failing = [record for record in RECORDS if record["verdict"] == REFUTED or record["print"] == MISPRINT]
    assert failing
    assert {record["id"] for record in failing if record["repair"] is None} == EXPERIMENTS


def test_every_claim_that_is_corrected_has_its_derivation() -> None:
    for claim in catalogue.ids():
        if claim.endswith("-corrected"):
            # its passage names the note where several claims share one
            named = re.findall(r"docs/notes/([\w.-]+\.md)", entries.entry(claim).passage)
            notes = named or [f"{catalogue.base(claim)}.md"]
            assert all((DOCS / "notes" / note).is_file() for note in notes), claim


def test_every_formula_is_typeset() -> None:
    formulas = {
        study.claim.id: study.claim.formula for study in catalogue.load() if study.claim.formula.strip()
    }
    assert len(formulas) > 100  # the others are statements in words
    for claim, formula in formulas.items():
        assert "<math" in block(formula), claim
