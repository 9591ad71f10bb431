"""Sixty planted violations, six kinds of run times ten: each is named with its number, and breaks what it breaks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from planted import DECAY, KINDS, MOMENTUM, SHOWN, VIOLATIONS, run

import gradlab as gl
from gradlab.checking.theorem import HOLDS, REFUTED, UNDECIDED
from gradlab.checking.theorems import THEOREMS

CHAIN = {"chitour.invariants/matrices", "cohen.balanced-preserved/preserved", "cohen.gd-rate/rate"}
LAYERS = {
    "memo112.lemma1-corrected/conserved", "memo112.lemma1-corrected/rate", "notes.homogeneity/euler",
    "memo90.theorem4/layer",     "chitour.invariants/norms",
}  # fmt: skip
MARGIN = {"memo90.norm-growth/grows", "memo90.theorem3-corrected/minimum_norm"}
LINEAR = {
    "notes.span/motion", "notes.min-norm-corrected/limit", "notes.min-norm/limit", "notes.ridge/equilibrium",
    "notes.srebro/direction",
}  # fmt: skip
ZEROS = {"memo90.gauss-newton-corrected/rank", "memo90.theorem4/layer"}
DESCENT = {"notes.learning-rate/robustness"}
#: What the flow's theorems are about, so that whatever is no plain descent of the loss breaks them.
FLOW = (CHAIN | LAYERS | MARGIN | LINEAR) - {"notes.homogeneity/euler", "memo90.theorem4/layer"}

#: Which theorems a violation breaks, where the network has hidden layers, and where it is linear in its weights.
BROKEN = {
    "bias": (CHAIN | LAYERS | MARGIN, CHAIN),
    "batch norm": (CHAIN | LAYERS | MARGIN | LINEAR | DESCENT, CHAIN | LAYERS | MARGIN | LINEAR | DESCENT),
    "momentum": (FLOW - {"notes.span/motion", "notes.ridge/equilibrium"} | DESCENT,) * 2,
    "decay": (FLOW - {"chitour.invariants/norms", "notes.ridge/equilibrium"} | ZEROS,) * 2,
    "dropout": (FLOW | DESCENT,) * 2,
    "residual": (CHAIN | LAYERS | MARGIN, CHAIN | LAYERS | MARGIN | LINEAR),
    "tied": (CHAIN | {"memo90.theorem4/layer"}, CHAIN | LINEAR),
    "bfloat16": (FLOW | DESCENT,) * 2,
    "label noise": (FLOW | DESCENT,) * 2,
}


@lru_cache
def checked(kind: str, violation: str = "") -> Any:
    return gl.check(*run(kind, violation))


def name(row: Any) -> str:
    return f"{row.claim}/{row.sentence}"


def applied(result: Any) -> dict[str, Any]:
    return {name(row): row for row in result.rows if row.verdict in (HOLDS, REFUTED, UNDECIDED)}


#: What applies to each kind as it is.
APPLIES = {
    "linear, square": {"notes.span/motion", "notes.min-norm-corrected/limit"} | DESCENT,
    "linear, logistic": {"notes.srebro/direction"} | MARGIN | DESCENT,
    "deep linear, square": {"chitour.invariants/matrices", "memo112.lemma1-corrected/rate"} | DESCENT,
    "ReLU, logistic": {"memo112.lemma1-corrected/conserved", "memo112.lemma1-corrected/rate"} | DESCENT,
    "tanh, square": DESCENT,
    "convolution, cross-entropy": {"memo112.lemma1-corrected/conserved", "memo90.norm-growth/grows"}
    | DESCENT,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_as_theorems_want_it_has_nothing_found_and_holds(kind: str) -> None:
    result = checked(kind)
    assert result.found == ()
    assert {name(row) for row in result.having(HOLDS)} >= APPLIES[kind]
    assert not result.having(REFUTED)
    assert result.code == 0


@pytest.mark.parametrize("violation", VIOLATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_violation_is_named_and_breaks_what_it_breaks(kind: str, violation: str) -> None:
    result = checked(kind, violation)
    found = {one.name: one for one in result.found}
    assert SHOWN[violation] in found, str(result)
    one = found[SHOWN[violation]]
    assert one.words
    assert np.isfinite(one.number)
    wanted = {"momentum": MOMENTUM, "decay": DECAY, "bfloat16": 2.0**-8, "tied": 2.0, "large step": 1.3}
    if violation in wanted:
        assert one.number == pytest.approx(wanted[violation], rel=1e-3)
    else:
        assert one.number > 1e-3
    # nothing is called what it is not
    quiet = {"momentum", "decay", "bias", "residual", "tied", "batch", "precision", "rate"} - {
        SHOWN[violation]
    }
    assert not quiet & set(found)
    assert not result.having(REFUTED)
    if violation == "large step":
        for row in applied(result).values():
            assert_smaller_within(row)
    else:
        deep = len(KINDS[kind].shapes) > 1
        assert not BROKEN[violation][0 if deep else 1] & set(applied(result)), str(result)


def assert_smaller_within(row: Any) -> None:
    """A theorem that needs η < 2/sharpness was measured only where it was."""
    table = dict(row.timeline)
    if "step below 2/sharpness" in table:
        status = np.array(table["step below 2/sharpness"])
        assert not status[0]
        assert row.interval[0] > 0


def test_where_a_theorem_does_not_apply_it_is_said_what_would_have_to_change() -> None:
    for violation in VIOLATIONS:
        for row in checked("ReLU, logistic", violation).rows:
            if row.verdict in ("not applicable", "unknown"):
                assert row.why
                assert row.change or "fewer than" in row.why
                assert row.measured is None
            else:
                assert row.measured.predicted
                assert row.interval[0] <= row.interval[1]


def test_the_words_of_measured_hypotheses() -> None:
    bias = {h.name: h.words for row in checked("ReLU, logistic", "bias").rows for h in row.hypotheses}
    assert bias["homogeneous layers"].startswith("degree 3 except biases (defect ")
    clean = {h.name: h.words for row in checked("linear, logistic").rows for h in row.hypotheses}
    assert clean["separable data"].startswith("separable, margin ")
    assert " × 2/η" in clean["step below 2/sharpness"]
    wide = {h.name: h.words for row in checked("linear, square").rows for h in row.hypotheses}
    assert wide["overparametrised"] == "overparametrised 1.6× as many weights as numbers to fit"
    deep = {h.name: h.words for row in checked("deep linear, square").rows for h in row.hypotheses}
    assert deep["balanced"].startswith("balanced to ")


def test_theorem_4_asks_for_a_chain_and_not_for_a_degree() -> None:
    asked = {
        kind: {h.name: h for r in checked(kind).rows if r.claim == "memo90.theorem4" for h in r.hypotheses}
        for kind in KINDS
    }
    assert asked["tanh, square"]["chain of matrices"].status == "holds"
    assert asked["linear, square"]["chain of matrices"].status == "broken"
    assert asked["convolution, cross-entropy"]["chain of matrices"].status == "broken"
    for violation, words in (("bias", "not two matrices"), ("residual", "goes around a layer")):
        rows = [
            h
            for r in checked("tanh, square", violation).rows
            for h in r.hypotheses
            if h.name == "chain of matrices"
        ]
        assert words in rows[0].words


def test_label_noise_is_counted_where_weights_suffice() -> None:
    for kind in ("linear, square", "ReLU, logistic", "tanh, square", "convolution, cross-entropy"):
        words = next(one.words for one in checked(kind, "label noise").found if one.name == "steps")
        assert "other labels at 2 of" in words


def test_every_theorem_names_a_claim_of_the_catalogue_and_a_sentence_of_it() -> None:
    from gradlab.claims.entries import entry

    for theorem in THEOREMS:
        claim = entry(theorem.claim)
        assert theorem.sentence in [one.id for one in claim.sentences]
    assert len({(one.claim, one.sentence) for one in THEOREMS}) == len(THEOREMS) >= 10


def test_the_record_is_plain() -> None:
    import json

    for violation in ("", "bias", "large step"):
        told = checked("deep linear, square", violation).record()
        again = json.loads(json.dumps(told, allow_nan=False))
        assert again == told
        assert {one["verdict"] for one in told["theorems"]} <= {
            "holds", "refuted", "undecided", "not applicable", "unknown",
        }  # fmt: skip
        assert all(
            len(status) == len(told["steps"])
            for one in told["theorems"]
            for status in one["timeline"].values()
        )
