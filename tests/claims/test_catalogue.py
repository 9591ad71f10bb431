"""A claim is found by its name, alone, and whatever is wrong with its file is said in a sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gradlab.claims.cohen
import gradlab.claims.notes
from gradlab.claims import catalogue
from gradlab.claims.claim import Study

WRITTEN = """
from gradlab.claims.claim import Claim, Measure, Study

def cases(budget, key):
    yield from ()

def make(claim_id, source="{source}"):
    claim = Claim(claim_id, source, "An example.", "x", "none")
    return Study(claim, (Measure("a", "s", "<=", 1.0, "why"),), cases, lambda problem, trajectory: None)

"""

Write = Callable[[str, str], Path]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """A catalogue of its own: ``write("notes/min_norm.py", code)`` puts a claim's file into it."""
    monkeypatch.setattr(catalogue, "_ROOM", tmp_path)
    before = set(sys.modules)
    for package in (gradlab.claims.notes, gradlab.claims.cohen):
        source = package.__name__.rpartition(".")[2]
        monkeypatch.setattr(package, "__path__", [str(tmp_path / source)])
        for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
            monkeypatch.delitem(sys.modules, name)
        (tmp_path / source).mkdir()
        (tmp_path / source / "__init__.py").touch()

    def write(place: str, code: str) -> Path:
        path = tmp_path / place
        path.write_text(WRITTEN.replace("{source}", path.parent.name) + code)
        return path

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("gradlab.claims.") and hasattr(sys.modules[name], "make"):
            del sys.modules[name]
            package, _, stem = name.rpartition(".")
            sys.modules[package].__dict__.pop(stem, None)


@pytest.fixture
def three(shelf: Write) -> Write:
    shelf("notes/min_norm.py", "STUDY = make('notes.min-norm')")
    shelf("notes/growth.py", "STUDIES = (make('notes.growth'), make('notes.growth-corrected'))")
    shelf("cohen/ends.py", "STUDY = make('cohen.ends')")
    return shelf


def names(studies: list[Study]) -> list[str]:
    return [study.claim.id for study in studies]


class TestFinding:
    def test_ids_come_by_source_and_then_by_name(self, three: Write) -> None:
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
        three("notes/broken.py", "raise RuntimeError('imported')")
        assert catalogue.load(["notes.growth"])[0].origin == "gradlab.claims.notes.growth"
        assert "gradlab.claims.notes.growth" in sys.modules
        assert "gradlab.claims.notes.min_norm" not in sys.modules
        assert list(catalogue.files()) == ["notes.broken", "notes.growth", "notes.min-norm", "cohen.ends"]
        assert "gradlab.claims.notes.min_norm" not in sys.modules

    def test_a_file_whose_name_begins_with_an_underscore_is_no_claim(self, three: Write) -> None:
        three("notes/_shared.py", "raise RuntimeError('imported')")
        assert len(catalogue.ids()) == 4


class TestRefusing:
    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ("notes.min-nrom", "did you mean 'notes.min-norm'"),
            ("notes.min_norm", "did you mean 'notes.min-norm'"),
            ("Notes.Min-Norm", "did you mean 'notes.min-norm'"),
            ("notes.growth-correct", "did you mean 'notes.growth'"),
            ("notes.min-norm-corrected", "did you mean 'notes.min-norm'"),
            ("notes.zzzzzzzzzzzz", "there are: notes.growth, notes.min-norm"),
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

    def test_a_claim_in_a_file_of_another_name_is_refused(self, shelf: Write) -> None:
        shelf("notes/span.py", "STUDY = make('notes.sapn')")
        with pytest.raises(ValueError, match=r"span.py defines 'notes.sapn' .* call the claim 'notes.span'"):
            catalogue.load(["notes.span"])
        shelf("notes/ridge.py", "STUDY = make('notes.ridge', 'cohen')")
        with pytest.raises(ValueError, match="of source 'cohen'"):
            catalogue.load(["notes.ridge"])

    def test_an_error_in_a_file_of_the_catalogue_names_file_and_line(self, shelf: Write) -> None:
        shelf("notes/span.py", "1 / 0")
        line = WRITTEN.count("\n") + 1
        with pytest.raises(ValueError, match=rf"span.py, line {line}: ZeroDivisionError: division by zero"):
            catalogue.load(["notes.span"])


class TestOnesOwnFile:
    def write(self, tmp_path: Path, code: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(WRITTEN.replace("{source}", "mine") + code)
        return path

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
            ("", "defines no study; end the file with STUDY = Study"),
            ("STUDY = 3", "STUDY holds int, not a Study"),
            ("STUDIES = ()", "with no study in it"),
            ("STUDIES = make('mine.one')", "STUDIES is Study with no study in it"),
            ("STUDIES = (make('mine.one'), None)", "STUDIES holds NoneType"),
            ("STUDIES = (make('mine.one'), make('mine.one'))", "defines 'mine.one' twice"),
            ("STUDY = make('mine.one')\nSTUDIES = (STUDY,)", "both STUDY and STUDIES"),
            ("\n\nimport absent_module", "line {3}: ModuleNotFoundError: No module named 'absent_module'"),
            ("STUDY = make(", "line {1}: SyntaxError: '.' was never closed"),
            ("STUDY = make('not an id')", "line 8: ValueError: a claim's id was 'not an id'"),
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
    def test_every_file_holds_the_claim_of_its_name(self) -> None:
        assert [catalogue.base(claim_id) for claim_id in catalogue.ids()] == sorted(
            (catalogue.base(claim_id) for claim_id in catalogue.ids()),
            key=[*catalogue.files()].index,
        )

    def test_a_corrected_claim_says_what_it_corrects(self) -> None:
        for study in catalogue.load():
            if study.claim.id.endswith(catalogue.CORRECTED):
                assert study.claim.corrects == catalogue.base(study.claim.id)

    def test_listing_the_files_imports_no_jax(self) -> None:
        code = (
            "from gradlab.claims.catalogue import files; files(); import sys; assert 'jax' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
