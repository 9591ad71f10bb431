"""Results are kept, come back the same, and say what was changed since others were published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fabricated_studies as fabricated
import numpy as np
import pytest

from gradlab.claims import catalogue
from gradlab.claims.keeping import Result, compare_with, load_results, save
from gradlab.claims.studies import Study
from gradlab.claims.verification import verify
from gradlab.store.disk import Disk


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(fabricated.STUDIES)
    return path


@pytest.fixture
def studies(file: Path) -> list[Study]:
    return catalogue.load_file(file)


def numbers(result: Result) -> np.ndarray:
    assert result.dataset is not None, result.error
    return result.dataset.worst.values


class TestComparing:
    def test_the_same_verdicts_do_not_differ(self, studies: list[Study]) -> None:
        results = verify(studies)
        assert compare_with(results, [result.record() for result in results]) == []
        assert (
            compare_with(results, [{"id": r.claim.id, "verdict": r.verdict.verdict} for r in results]) == []
        )

    def test_each_difference_is_a_sentence(self, studies: list[Study]) -> None:
        results = verify(studies)
        expected = [result.record() for result in results]
        expected[0]["verdict"] = "refuted"
        expected[1]["id"] = "mine.z"
        expected[2]["parts"] = [expected[2]["parts"][0] | {"verdict": "inconclusive"}]
        assert compare_with(results, expected) == [
            "mine.a is supported; expected was refuted",
            "mine.a-corrected is refuted; it is not among the expected",
            "mine.b, part worst, is supported; expected was inconclusive",
        ]

    def test_on_a_subset_the_subset_is_compared(self, studies: list[Study]) -> None:
        results = verify(studies)
        assert compare_with(results[:1], [result.record() for result in results]) == []

    def test_a_changed_tolerance_statement_or_setting_is_said(self, studies: list[Study]) -> None:
        (result,) = verify(studies[:1])
        before = [result.record()]
        measures = (result.measures[0], replace(result.measures[1], tolerance=3.0))
        for changed in (
            {"measures": measures},
            {"settings": "four draws"},
            {"claim": replace(result.claim, statement="another")},
        ):
            (said,) = compare_with([replace(result, **changed)], before)
            assert said == "mine.a asks something else than it did: statement, tolerance or settings changed"
        assert compare_with([replace(result, seconds=9.0, seed=3)], before) == []

    @pytest.mark.parametrize(
        "expected", [[3], [{"id": "mine.a"}], [{"verdict": "refuted"}], [{"id": 1, "verdict": ""}]]
    )
    def test_what_is_no_set_of_verdicts_is_refused(self, expected) -> None:
        with pytest.raises(ValueError, match="what --json prints"):
            compare_with([], [expected])


class TestKeeping:
    @pytest.fixture
    def kept(self, studies: list[Study], tmp_path: Path) -> tuple[Path, list[Result]]:
        results = verify(studies)
        for result in results:
            save(tmp_path / "report", result)
        return tmp_path / "report", results

    def test_what_is_kept_comes_back_the_same(self, kept, studies) -> None:
        directory, results = kept
        again = load_results(directory, studies)
        assert [result.record() for result in again] == [result.record() for result in results]
        for one, other in zip(results, again, strict=True):
            assert one.dataset.identical(other.dataset)
            assert one.dataset.worst.values.tobytes() == other.dataset.worst.values.tobytes()
            assert (one.verdict, one.study, one.seed) == (other.verdict, other.study, other.seed)
            assert (one.claim, one.measures, one.settings, one.seal) == (
                other.claim,
                other.measures,
                other.settings,
                other.seal,
            )
            assert one.provenance == other.provenance

    def test_an_error_is_kept_as_well(self, file: Path, tmp_path: Path) -> None:
        file.write_text(fabricated.FILE + "STUDY = make('raises', look=Raises)\n")
        (result,) = verify(catalogue.load_file(file))
        save(tmp_path / "report", result)
        (again,) = load_results(tmp_path / "report")
        assert (again.error, again.verdict, again.dataset) == (result.error, None, None)

    def test_reading_executes_no_file_that_is_named_in_what_is_read(self, kept, file: Path) -> None:
        directory, results = kept
        file.write_text("raise RuntimeError('executed')")
        again = load_results(directory)
        assert [result.record() for result in again] == [result.record() for result in results]
        assert again[0].study is None
        assert "3 cases" in again[0].figure().get_label()

    def test_keeping_again_replaces_and_leaves_no_other_dataset(self, kept, studies) -> None:
        directory, _ = kept
        before = sorted(path.name for path in directory.iterdir())
        (result,) = verify(studies[:1], seed=5)
        save(directory, result)
        after = sorted(path.name for path in directory.iterdir())
        assert len(after) == len(before) == 6
        assert len(set(before) - set(after)) == 1
        assert load_results(directory)[0].seed == 5
        assert numbers(load_results(directory)[0]).tolist() == numbers(result).tolist()

    def test_killed_between_any_two_operations_it_holds_the_old_or_the_new(self, kept, studies) -> None:
        directory, results = kept
        (new,) = verify(studies[:1], seed=5)

        class Killed(BaseException):
            pass

        class Mortal(Disk):
            left = 0

            def write_bytes_atomically(self, path, content):
                self.spend()
                super().write_bytes_atomically(path, content)

            def remove(self, path):
                self.spend()
                super().remove(path)

            def spend(self):
                self.left -= 1
                if self.left < 0:
                    raise Killed

        seen = []
        for operations in range(3):
            disk = Mortal()
            disk.left = operations
            with pytest.raises(Killed):
                save(directory, new, disk)
            first = load_results(directory)[0]
            assert first.verdict in (results[0].verdict, new.verdict)
            assert np.array_equal(numbers(first), numbers(new if first.seed else results[0]))
            seen.append(first.seed)
        assert seen == [0, 0, 5]

    def test_every_flipped_bit_is_noticed_and_its_file_named(self, kept) -> None:
        directory, _ = kept
        random = np.random.default_rng(0)
        for path in sorted(directory.iterdir()):
            content = path.read_bytes()
            for place in random.integers(0, len(content), 25):
                flipped = bytearray(content)
                flipped[place] ^= 1 << int(random.integers(8))
                path.write_bytes(flipped)
                if _same_json(content, bytes(flipped)):
                    continue
                with pytest.raises(ValueError, match="run gradlab verify again") as raised:
                    load_results(directory)
                assert str(path) in str(raised.value)
            path.write_bytes(content)
        assert len(load_results(directory)) == 3

    def test_missing_and_misnamed_files_are_named(self, kept, tmp_path: Path) -> None:
        directory, _ = kept
        with pytest.raises(ValueError, match="absent holds no results"):
            load_results(tmp_path / "absent")
        record = directory / "mine.a.result.json"
        record.rename(directory / "mine.c.result.json")
        with pytest.raises(ValueError, match="it is the record of mine"):
            load_results(directory)
        (directory / "mine.c.result.json").rename(record)
        (dataset,) = directory.glob("mine.b-*.nc")
        dataset.unlink()
        with pytest.raises(ValueError, match=f"{dataset.name} is missing"):
            load_results(directory)

    def test_a_disk_that_fails_is_a_sentence(self, kept, studies) -> None:
        directory, results = kept

        class Full(Disk):
            def write(self, descriptor, data):
                raise OSError(28, "No space left on device")

            def read_bytes(self, path):
                raise PermissionError(13, "Permission denied", str(path))

        with pytest.raises(ValueError, match=r"mine\.a-.*\.nc \(No space left on device\); make room"):
            save(directory, results[0], Full())
        assert len(load_results(directory)) == 3
        with pytest.raises(ValueError, match=r"mine\.a.*\.result\.json \(Permission denied\)"):
            load_results(directory, disk=Full())

    @pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b'{"result": 3}', b"[" * 100_000, b"\xff"])
    def test_what_is_no_record_is_refused(self, kept, content: bytes) -> None:
        directory, _ = kept
        (directory / "mine.a.result.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.a\.result\.json is no result"):
            load_results(directory)


def _same_json(first: bytes, second: bytes) -> bool:
    """Whether a flip left the meaning alone: a space turned into another."""
    try:
        return json.loads(first) == json.loads(second)
    except ValueError:
        return False
