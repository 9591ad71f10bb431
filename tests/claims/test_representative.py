"""A representative set of claims at the quick budget gives the verdicts committed under docs/, at the full one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradlab.claims.catalogue import ids, load
from gradlab.claims.verification import Result, compare_with, verify

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "verdicts.json"

#: One without dynamics, one flow, one iteration, one refuted as printed with its correction.
REPRESENTATIVE = ["cohen.preconditioner", "notes.span", "chitour.gradient", "chitour.gradient-corrected"]


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return verify(load(REPRESENTATIVE), budget="quick", seed=0)


def test_the_committed_verdicts_are_those_of_every_claim() -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert sorted(record["id"] for record in committed) == sorted(ids())


def test_quick_and_full_budgets_give_the_same_verdicts(results: list[Result]) -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    named = [record for record in committed if record["id"] in REPRESENTATIVE]
    assert len(named) == len(REPRESENTATIVE)
    assert compare_with(results, named) == []


def test_every_study_has_at_least_twenty_cases(results: list[Result]) -> None:
    for result in results:
        assert result.error is None, result.error
        assert result.dataset is not None
        assert result.dataset.sizes["case"] >= 20, result.study.claim.id


def test_every_claim_that_is_corrected_has_its_derivation() -> None:
    notes = COMMITTED.parent / "notes"
    for claim in ids():
        if claim.endswith("-corrected"):
            assert (notes / f"{claim.removesuffix('-corrected')}.md").is_file(), claim


def test_every_formula_is_typeset() -> None:
    from gradlab.report.mathematics import block

    for study in load():
        assert "<math" in block(study.claim.formula), study.claim.id
