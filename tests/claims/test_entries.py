"""The catalogue as data: every study has its entry, every entry its sentences, and a faulty file says where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gradlab.claims import entries
from gradlab.claims.claim import Claim
from gradlab.claims.entries import UnknownClaim

ROOM = Path(entries.__file__).parent
ALL = entries.entries()

WHOLE = """
title = "A source"
order = 1

[[entry]]
id = "mine.growth"
kind = "claim"
statement = "It grows."
formula = 'x^2'
passage = "page 1"
hypotheses = ["x > 0"]
convention = ""
[[entry.sentence]]
id = "grows"
text = "It grows."
[[entry.sentence]]
id = "fast"
text = "It grows fast."
passage = "page 2"
uncertain = true
[entry.repair]
kind = "sign"
text = "It shrinks."
"""


def read(folder: Path, text: str) -> tuple[str, int, tuple[Claim, ...]]:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return entries.read(path)


# --- what the sources say ----------------------------------------------------------------------------


def test_every_study_file_has_an_entry() -> None:
    files = {
        (source, path.stem)
        for source in entries.SOURCES
        for path in (ROOM / source).glob("*.py")
        if not path.stem.startswith("_")
    }
    assert files
    assert files - {(one.source, one.file) for one in ALL} == set()


def test_every_folder_of_studies_is_a_source() -> None:
    folders = {path.parent.name for path in ROOM.glob("*/__init__.py")}
    assert folders - {"looks", "problems"} <= set(entries.SOURCES)
    outside = ["saxe14", "arora19", "marcotte23"]
    assert list(entries.SOURCES) == ["notes", "memo90", "memo112", "chitour", "cohen", *outside]


def test_ids_are_unique_and_bear_their_source() -> None:
    ids = [one.id for one in ALL]
    assert len(set(ids)) == len(ids)
    assert all(one.id.startswith(f"{one.source}.") for one in ALL)


def test_every_corrected_claim_corrects_a_claim_and_stands_in_its_file() -> None:
    corrected = [one for one in ALL if one.id.endswith("-corrected")]
    assert corrected
    for one in corrected:
        assert one.corrects == one.id.removesuffix("-corrected")
        assert entries.entry(one.corrects).file == one.file


def test_every_repaired_claim_has_a_corrected_form_or_is_a_misprint() -> None:
    corrected = {one.corrects for one in ALL}
    for one in ALL:
        if one.repair is not None and not one.repair.misprint:
            assert one.id in corrected, one.id


def test_every_statement_is_cut_into_sentences() -> None:
    for one in ALL:
        assert 1 <= len(one.sentences) <= 5, one.id
        for sentence in one.sentences:
            assert sentence.text[-1] in ".)", f"{one.id}: {sentence.id}"


def test_there_are_claims_and_figures_and_none_is_open() -> None:
    assert {entries.status(one) for one in ALL} == {"built"}
    assert {one.kind for one in ALL} == {"claim", "figure"}
    assert all(entries.built(one) for one in ALL if one.corrects is not None)


def test_an_entry_is_built_as_soon_as_its_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, (one,) = read(tmp_path, WHOLE)
    monkeypatch.setattr(entries, "_ROOM", tmp_path)
    assert entries.status(one) == "open"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "growth.py").touch()
    assert entries.built(one)
    assert entries.status(one) == "built"


def test_reading_the_catalogue_imports_no_numbers() -> None:
    code = (
        "import sys; from gradlab.claims import entries; entries.entries(); "
        "print(*({'jax', 'numpy', 'xarray', 'rich', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- finding ------------------------------------------------------------------------------------------


def test_an_unknown_id_or_source_names_the_nearest() -> None:
    assert entries.entry("notes.min-norm").source == "notes"
    assert {one.source for one in entries.entries("cohen")} == {"cohen"}
    with pytest.raises(UnknownClaim, match=r"no claim 'notes.min_nrom'; did you mean 'notes.min-norm'\?"):
        entries.entry("notes.min_nrom")
    with pytest.raises(UnknownClaim, match=r"no source 'memo91'; did you mean 'memo90'\?"):
        entries.entries("memo91")


# --- reading ------------------------------------------------------------------------------------------


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    title, order, (one,) = read(tmp_path, WHOLE)
    assert (title, order) == ("A source", 1)
    assert (one.id, one.source, one.kind, one.file) == ("mine.growth", "mine", "claim", "growth")
    assert (one.hypotheses, one.corrects) == (("x > 0",), None)
    assert [sentence.uncertain for sentence in one.sentences] == [False, True]
    assert [sentence.passage for sentence in one.sentences] == ["", "page 2"]
    assert one.repair is not None
    assert one.repair.misprint
    _, _, (other,) = read(tmp_path, WHOLE.replace("convention", 'file = "rates"\nconvention'))
    assert other.file == "rates"
    _, _, (third,) = read(tmp_path, WHOLE.replace('"sign"', '"added hypothesis"'))
    assert third.repair is not None
    assert not third.repair.misprint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("order = 1", "order = ", r"mine\.toml is not TOML: .*line 3"),
        ("order = 1", "ordre = 1", r"mine\.toml: the key 'order' is missing"),
        ("order = 1", 'order = "first"', r"mine\.toml: 'order' was 'first'; write a whole number"),
        ("order = 1", "order = 1\nyear = 2018", r"mine\.toml: there is no key 'year'; the keys are title, "),
        ("statement =", "statment =", r"mine\.toml: mine\.growth: the key 'statement' is missing"),
        ('"It grows."\nformula', '" "\nformula', r"mine\.growth: 'statement' was ' '; write a string that"),
        ('["x > 0"]', '"x > 0"', r"mine\.growth: 'hypotheses' was 'x > 0'; write an array of strings"),
        ('"mine.growth"', '"Growth"', r"Growth: 'id' was 'Growth'; write one like 'mine\.name'"),
        ('"mine.growth"', '"notes.growth"', r"notes\.growth: 'id' was .* as the file is mine\.toml"),
        ('"claim"', '"lemma"', r"mine\.growth: 'kind' was 'lemma'; write one of 'claim', 'figure'"),
        ('"claim"', '"claim"\nstatus = "open"', r"mine\.growth: there is no key 'status'; the keys are id, "),
        ('"claim"', '"claim"\ncorrects = "mine.x"', r"mine\.growth: 'corrects' was 'mine\.x'; write it in"),
        ('id = "fast"', 'id = "grows"', r"mine\.growth: 'sentence' was .*; write an id of its own"),
        ('id = "fast"', 'id = "so fast"', r"mine\.growth: so fast: 'id' was 'so fast'; write one like"),
        (
            "uncertain = true",
            'uncertain = "yes"',
            r"mine\.growth: fast: 'uncertain' was 'yes'; write true or",
        ),
        ("uncertain", "doubtful", r"mine\.growth: fast: there is no key 'doubtful'; the keys are id, text, "),
        ('"sign"', '"typo"', r"mine\.growth: repair: 'kind' was 'typo'; write one of 'constant', 'sign', "),
    ],
)
def test_a_fault_names_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(ValueError, match=message):
        read(tmp_path, WHOLE.replace(old, new, 1))


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    twice = WHOLE + WHOLE[WHOLE.index("[[entry]]") :]
    with pytest.raises(ValueError, match=r"mine\.toml: the id 'mine\.growth' stands twice"):
        read(tmp_path, twice)


def test_a_correction_of_nothing_is_refused(tmp_path: Path) -> None:
    text = WHOLE.replace('"mine.growth"', '"mine.rates-corrected"\ncorrects = "mine.rates"')
    with pytest.raises(
        ValueError, match=r"mine\.rates-corrected: 'corrects' was 'mine\.rates'; did you mean"
    ):
        read(tmp_path, text)


def test_an_entry_without_sentences_is_refused(tmp_path: Path) -> None:
    start, end = WHOLE.index("[[entry.sentence]]"), WHOLE.index("[entry.repair]")
    with pytest.raises(ValueError, match=r"mine\.toml: mine\.growth: the key 'sentence' is missing"):
        read(tmp_path, WHOLE[:start] + WHOLE[end:])
