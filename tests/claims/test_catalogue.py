"""A claim is found by its name, alone, and whatever is wrong with its file is said in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gradlab.claims.cohen
import gradlab.claims.notes
from gradlab.claims import catalogue, entries
from gradlab.claims.claim import Claim
from gradlab.claims.studies import Study

WRITTEN = """
from gradlab.claims.claim import Claim
from gradlab.claims.looks import Look
from gradlab.claims.measured import at_most
from gradlab.claims.studies import study

class Seen(Look):
    @at_most(1.0)
    def a(self):
        'A number.\\n\\nWhy.'

def cases(key):
    yield from ()

def make(claim_id):
    return study(Claim(claim_id, "An example."), Seen, cases)

"""

Write = Callable[..., Path]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A catalogue of its own: ``write("notes/min_norm.py", code)`` puts a claim's file into it."""
    listed: list[Claim] = []
    for module in (catalogue, entries):
        monkeypatch.setattr(module, "_ROOM", tmp_path)
    monkeypatch.setattr(catalogue, "entries", lambda: tuple(listed))
    before = set(sys.modules)
    for package in (gradlab.claims.notes, gradlab.claims.cohen):
        source = package.__name__.rpartition(".")[2]
        monkeypatch.setattr(package, "__path__", [str(tmp_path / source)])
        for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
            monkeypatch.delitem(sys.modules, name)
        (tmp_path / source).mkdir()
        (tmp_path / source / "__init__.py").touch()

    def write(place: str, code: str, *claims: str) -> Path:
        path = tmp_path / place
        path.write_text(WRITTEN + code)
        listed.extend(Claim(one, "An example.", file=path.stem) for one in claims)
        return path

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("gradlab.claims.") and hasattr(sys.modules[name], "make"):
            del sys.modules[name]
            package, _, stem = name.rpartition(".")
            sys.modules[package].__dict__.pop(stem, None)


@pytest.fixture
def three(shelf: Write) -> Write:
    """Two files of the notes, one of them with a corrected claim, one of cohen, and a claim that is open."""
    both = "STUDIES = tuple(make(one) for one in ('notes.growth', 'notes.growth-corrected'))"
    shelf("notes/growth.py", both, "notes.growth", "notes.growth-corrected")
    shelf("notes/min_norm.py", "STUDY = make('notes.min-norm')", "notes.min-norm")
    shelf("cohen/ends.py", "STUDY = make('cohen.ends')", "cohen.ends")
    shelf("notes/opened.py", "", "notes.opened").unlink()
    return shelf


def names(studies: list[Study]) -> list[str]:
    return [study.claim.id for study in studies]


class TestFinding:
    def test_ids_come_in_the_order_of_the_catalogue(self, three: Write) -> None:
        everything = ["notes.growth", "notes.growth-corrected", "notes.min-norm", "cohen.ends"]
        assert catalogue.ids() == everything
        assert names(catalogue.load()) == everything
        assert names(catalogue.load(source="cohen")) == ["cohen.ends"]
        assert catalogue.load(source="chitour") == []

    def test_studies_come_in_the_order_asked_and_once(self, three: Write) -> None:
        asked = ["cohen.ends", "notes.min-norm", "cohen.ends"]
        assert names(catalogue.load(asked)) == asked[:2]

    def test_a_corrected_claim_is_found_in_the_file_of_the_claim(self, three: Write) -> None:
        assert names(catalogue.load(["notes.growth-corrected"])) == ["notes.growth-corrected"]
        assert names(catalogue.load_together("notes.growth-corrected")) == [
            "notes.growth",
            "notes.growth-corrected",
        ]
        first, second = catalogue.load(["notes.growth", "notes.growth-corrected"])
        assert first.cases is second.cases

    def test_only_what_is_asked_for_is_imported(self, three: Write) -> None:
        three("notes/broken.py", "raise RuntimeError('imported')", "notes.broken")
        assert catalogue.load(["notes.growth"])[0].origin == "gradlab.claims.notes.growth"
        assert "gradlab.claims.notes.growth" in sys.modules
        assert "gradlab.claims.notes.min_norm" not in sys.modules
        assert list(catalogue.files())[-2:] == ["cohen.ends", "notes.broken"]
        assert "gradlab.claims.notes.min_norm" not in sys.modules

    def test_a_file_may_hold_several_claims(self, shelf: Write) -> None:
        code = "STUDY = make('notes.first')\nOTHER = make('notes.second')"
        shelf("notes/shared.py", code, "notes.first", "notes.second")
        assert names(catalogue.load(["notes.second"])) == ["notes.second"]
        assert names(catalogue.load_together("notes.second")) == ["notes.first", "notes.second"]


class TestRefusing:
    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ("notes.min-nrom", "did you mean 'notes.min-norm'"),
            ("notes.min_norm", "did you mean 'notes.min-norm'"),
            ("Notes.Min-Norm", "did you mean 'notes.min-norm'"),
            ("notes.growth-correct", "did you mean 'notes.growth-corrected'"),
            ("notes.min-norm-corrected", "did you mean 'notes"),
            ("notes.opened", "'notes.opened' is open: there is no study of it yet"),
            ("notes.zzzzzzzzzzzz", "there are: notes.growth, notes.growth-corrected, notes.min-norm"),
            ("zzzzzzzzz", "there are: notes, memo90"),
            ("notes.../cohen/ends", "there is no claim"),
            ("notes.__init__", "there is no claim"),
            ("", "there is no claim"),
            ("growth.py", "is a file"),
        ],
    )
    def test_an_unknown_claim_is_answered_with_the_nearest(self, three: Write, asked, message) -> None:
        with pytest.raises(catalogue.UnknownClaim, match=message):
            catalogue.load([asked])

    def test_an_unknown_source_is_answered_with_the_nearest(self, three: Write) -> None:
        with pytest.raises(catalogue.UnknownClaim, match="did you mean 'memo90'"):
            catalogue.load(source="memo-90")
        with pytest.raises(catalogue.UnknownClaim, match=r"no claim 'notes\.absent'"):
            catalogue.load_together("notes.absent")

    def test_ids_with_a_source_and_a_bare_string_are_refused(self, three: Write) -> None:
        with pytest.raises(ValueError, match="both ids and a source"):
            catalogue.load(["notes.growth"], source="notes")
        with pytest.raises(ValueError, match=r"write a list: \['notes.growth'\]"):
            catalogue.load("notes.growth")

    def test_a_study_that_its_entry_does_not_name_is_refused(self, shelf: Write) -> None:
        shelf("notes/span.py", "STUDY = make('notes.sapn')", "notes.span")
        with pytest.raises(
            ValueError, match=r"span.py defines 'notes.sapn', whose entry in sources/notes.toml"
        ):
            catalogue.load(["notes.span"])

    def test_an_entry_without_its_study_is_refused(self, shelf: Write) -> None:
        shelf("notes/span.py", "STUDY = make('notes.span')", "notes.span", "notes.other")
        with pytest.raises(ValueError, match=r"notes.span defines notes.span, not 'notes.other'"):
            catalogue.load(["notes.other"])

    def test_an_error_in_a_file_of_the_catalogue_names_file_and_line(self, shelf: Write) -> None:
        shelf("notes/span.py", "1 / 0", "notes.span")
        line = WRITTEN.count("\n") + 1
        with pytest.raises(ValueError, match=rf"span.py, line {line}: ZeroDivisionError: division by zero"):
            catalogue.load(["notes.span"])


class TestOnesOwnFile:
    def write(self, tmp_path: Path, code: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(WRITTEN + code)
        return path

    def test_a_second_study_runs_too(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "STUDY = make('mine.one')\nCORRECTED = make('mine.one-corrected')")
        assert names(catalogue.load_file(path)) == ["mine.one", "mine.one-corrected"]

    @pytest.mark.parametrize("code", ["STUDY = make('mine.one')", "STUDIES = [make('mine.one')]"])
    def test_its_studies_are_loaded_and_know_their_file(self, tmp_path: Path, code: str) -> None:
        path = self.write(tmp_path, code)
        (study,) = catalogue.load_file(path)
        assert (study.claim.id, study.origin) == ("mine.one", str(path.resolve()))
        assert catalogue.resolve(study.origin, ["mine.one"])[0].claim == study.claim

    def test_files_of_one_name_or_of_a_module_do_not_clash(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        first = catalogue.load_file(self.write(tmp_path, "STUDY = make('mine.first')", "json.py"))
        second = catalogue.load_file(self.write(tmp_path / "other", "STUDY = make('mine.second')", "json.py"))
        assert names(first + second) == ["mine.first", "mine.second"]
        assert first[0].cases is not second[0].cases
        import json

        assert hasattr(json, "dumps")

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("", "defines no study; end the file with STUDY = study"),
            ("STUDY = 3", "defines no study"),
            ("STUDIES = ()", "defines no study"),
            ("STUDIES = (make('mine.one'), make('mine.one'))", "defines 'mine.one' twice"),
            ("\n\nimport absent_module", "line {3}: ModuleNotFoundError: No module named 'absent_module'"),
            ("STUDY = make(", "line {1}: SyntaxError: '.' was never closed"),
            ("STUDY = make('not an id')", "ValueError: a claim's id was 'not an id'"),
            ("import sys\nsys.exit(3)", "line {2}: SystemExit: 3"),
        ],
    )
    def test_what_is_wrong_with_it_is_said_in_a_sentence(self, tmp_path: Path, code, message) -> None:
        path = self.write(tmp_path, code)
        for line in (1, 2, 3):
            message = message.replace(f"{{{line}}}", str(WRITTEN.count("\n") + line))
        with pytest.raises(ValueError, match=message) as raised:
            catalogue.load_file(path)
        assert str(path) in str(raised.value)

    @pytest.mark.parametrize("name", ["absent.py", "notes.txt", "folder.py"])
    def test_what_is_no_python_file_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "notes.txt").touch()
        (tmp_path / "folder.py").mkdir()
        with pytest.raises(ValueError, match="there is no Python file"):
            catalogue.load_file(tmp_path / name)

    def test_a_file_that_lost_its_study_says_so(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "STUDY = make('mine.one')")
        with pytest.raises(ValueError, match=r"no longer defines 'mine.two'; it defines mine.one"):
            catalogue.resolve(str(path), ["mine.two"])


class TestTheRealCatalogue:
    def test_every_built_entry_has_its_study(self) -> None:
        assert catalogue.ids() == list(catalogue.files())

    def test_a_corrected_claim_says_what_it_corrects(self) -> None:
        for study in catalogue.load():
            if study.claim.id.endswith(entries.CORRECTED):
                assert study.claim.corrects == catalogue.base(study.claim.id)
