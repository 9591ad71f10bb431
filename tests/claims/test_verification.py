"""Studies run alone, together and side by side with the same numbers; failures and results are kept."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fabricated
import jax
import numpy as np
import pytest

from gradlab import laboratory
from gradlab.claims import catalogue
from gradlab.claims.claim import SUPPORTED, Study
from gradlab.claims.verification import Result, compare_with, key, load, save, verify
from gradlab.store.disk import Disk

#: What the command line does, as far as an interrupt is concerned.
SCRIPT = """
import signal

from gradlab.claims import catalogue, verification


def main():
    # a test run in the background inherits a SIGINT that is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        verification.verify(catalogue.load_file(FILE), jobs=2, on_result=say)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


def say(result):
    print(result.study.claim.id, flush=True)


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(fabricated.FILE)
    return path


@pytest.fixture
def studies(file: Path) -> list[Study]:
    return catalogue.load_file(file)


def numbers(result: Result) -> np.ndarray:
    assert result.dataset is not None, result.error
    return result.dataset.worst.values


def verdicts(results: list[Result]) -> dict[str, str]:
    return {result.study.claim.id: result.record()["verdict"] for result in results}


class TestNumbers:
    def test_a_claims_numbers_do_not_depend_on_what_else_is_run(self, studies: list[Study]) -> None:
        together = verify(studies)
        for study, result in zip(studies, together, strict=True):
            (alone,) = verify([study])
            assert np.array_equal(numbers(alone), numbers(result))
        assert not np.array_equal(numbers(together[0]), numbers(together[2]))

    def test_a_corrected_claim_sees_the_cases_of_the_claim_which_run_once(self, studies, file) -> None:
        first, second, _ = verify(studies)
        assert np.array_equal(numbers(first), numbers(second))
        assert file.with_suffix(".calls").read_text() == "xx"
        assert verdicts([first, second]) == {"mine.a": "supported", "mine.a-corrected": "refuted"}

    def test_the_seed_and_the_budget_change_the_cases(self, studies: list[Study]) -> None:
        seeds = [numbers(verify(studies[:1], seed=seed)[0]) for seed in (0, 0, 1)]
        assert np.array_equal(seeds[0], seeds[1])
        assert not np.array_equal(seeds[0], seeds[2])
        full = verify(studies[:1], budget="full")[0]
        assert (len(numbers(full)), full.provenance["budget"]) == (6, "full")

    def test_keys_are_those_of_the_id_without_corrected(self) -> None:
        # The first four bytes of sha256("notes.span"): the numbers of a claim must not change by accident.
        expected = jax.random.fold_in(jax.random.key(3), 0xF345C075)
        assert key("notes.span", 3) == expected
        assert key("notes.span-corrected", 3) == expected
        assert key("notes.ridge", 3) != expected

    def test_studies_run_in_float64_wherever_they_are_called_from(self, studies: list[Study]) -> None:
        with jax.enable_x64(False):
            (result,) = verify(studies[:1])
            assert jax.numpy.zeros(()).dtype == jax.numpy.float32
        assert np.array_equal(numbers(result), numbers(verify(studies[:1])[0]))


class TestSideBySide:
    def test_processes_give_the_numbers_of_one_process(self, file: Path, studies: list[Study]) -> None:
        heard: list[str] = []
        one = verify(studies)
        two = verify(studies, jobs=2, on_result=lambda result: heard.append(result.study.claim.id))
        assert [result.study.claim.id for result in two] == [study.claim.id for study in studies]
        assert sorted(heard) == ["mine.a", "mine.a-corrected", "mine.b"]
        for first, second in zip(one, two, strict=True):
            assert first.dataset.identical(second.dataset)
            assert first.verdict == second.verdict
        assert file.with_suffix(".calls").read_text() == "xxxx"

    def test_a_process_that_dies_takes_no_other_study_along(self, file: Path) -> None:
        several = "STUDIES = [make('dies', cases=dying), make('c'), *FAILING[:1]]"
        file.write_text(fabricated.FILE + several)
        results = verify(catalogue.load_file(file), jobs=2)
        assert verdicts(results) == {"mine.dies": "error", "mine.c": "supported", "mine.raises": "error"}
        errors = {result.study.claim.id: result.error for result in results if result.error}
        assert errors["mine.dies"].startswith("the process that ran the study died")
        assert "ArithmeticError: no such number" in errors["mine.raises"]

    def test_a_study_built_in_place_is_refused_before_anything_runs(self, studies, file) -> None:
        homeless = [replace(study, origin="") for study in studies]
        with pytest.raises(ValueError, match="built in place"):
            verify(homeless, jobs=2)
        assert not file.with_suffix(".calls").exists()
        assert len(verify(homeless)) == 3

    def test_an_interrupt_ends_the_children_and_keeps_what_is_in(self, tmp_path: Path) -> None:
        own = tmp_path / "mine.py"
        own.write_text(fabricated.FILE + "STUDIES = [make('a'), make('sleeps', cases=sleeping)]\n")
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.replace("FILE", repr(str(own))))
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, script], stdout=pipe, stderr=pipe, text=True)
        pid = tmp_path / "mine.pid"
        assert process.stdout is not None
        assert process.stdout.readline() == "mine.a\n"
        _until(lambda: pid.exists() and pid.read_text())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (out, err, process.returncode) == ("interrupted\n", "", 0)
        _until(lambda: not _alive(int(pid.read_text())))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


class TestFailures:
    def test_a_study_that_raises_is_an_error_and_the_rest_go_on(self, file: Path) -> None:
        file.write_text(fabricated.FILE + "STUDIES = [*FAILING, *STUDIES]\n")
        heard: list[Result] = []
        results = verify(catalogue.load_file(file), on_result=heard.append)
        assert results == heard
        assert list(verdicts(results).values()) == ["error"] * 3 + ["supported", "refuted", "supported"]
        said = ("no such number", "the data are gone", "SystemExit: 3")
        for result, words in zip(results, said, strict=False):
            assert words in result.error
            assert "mine.py" in result.error
            assert (result.verdict, result.dataset) == (None, None)
            record = json.loads(json.dumps(result.record(), allow_nan=False))
            assert (record["number"], record["parts"]) == (None, [])

    def test_one_of_two_sharing_studies_may_raise(self, file: Path) -> None:
        file.write_text(fabricated.FILE + "STUDIES = [make('a', observe=raises), make('a-corrected')]\n")
        assert verdicts(verify(catalogue.load_file(file))) == {
            "mine.a": "error",
            "mine.a-corrected": "supported",
        }

    def test_an_interrupt_in_a_study_is_an_interrupt(self, file: Path) -> None:
        file.write_text(fabricated.FILE + "STUDIES += [make('c', cases=interrupted)]\n")
        heard: list[Result] = []
        with pytest.raises(KeyboardInterrupt):
            verify(catalogue.load_file(file), on_result=heard.append)
        assert len(heard) == 3

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"budget": "quik"}, "write 'quick' or 'full'"),
            ({"seed": -1}, "whole number from 0"),
            ({"seed": 1.0}, "whole number from 0"),
            ({"jobs": 0}, "at least 1"),
        ],
    )
    def test_misuse_is_a_sentence(self, studies, changed, message) -> None:
        with pytest.raises(ValueError, match=message):
            verify(studies, **changed)
        with pytest.raises(ValueError, match=r"two studies are called 'mine\.a'"):
            verify([studies[0], *studies])

    def test_nothing_to_verify_is_nothing(self) -> None:
        assert verify([]) == verify([], jobs=4) == []


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[str, float, float]] = []

    def update(self, description: str, completed: float, total: float) -> None:
        self.told.append((description, completed, total))


class TestProgress:
    def test_it_says_which_claim_and_what_is_running(self, studies: list[Study]) -> None:
        heard = Heard()
        verify(studies, progress=heard)
        assert ("mine.a: drawing", 1.0, 2.0) in heard.told
        assert ("mine.b: drawing", 1.0, 2.0) in heard.told
        assert laboratory.PROGRESS.get() is None

    def test_without_it_whoever_listens_to_the_laboratory_still_does(self, studies: list[Study]) -> None:
        heard = Heard()
        token = laboratory.PROGRESS.set(heard)
        try:
            verify(studies[:1])
        finally:
            laboratory.PROGRESS.reset(token)
        assert heard.told == [("drawing", 1.0, 2.0)]


class TestRecords:
    def test_a_record_is_json_with_the_promised_names(self, studies: list[Study]) -> None:
        (result,) = verify(studies[:1])
        record = json.loads(json.dumps(result.record(), allow_nan=False))
        promised = {
            "id",
            "source",
            "statement",
            "verdict",
            "number",
            "tolerance",
            "hypotheses",
            "parts",
            "seconds",
        }
        assert promised <= set(record)
        assert (record["id"], record["verdict"], record["part"]) == ("mine.a", SUPPORTED, "worst")
        assert record["number"] == max(numbers(result))
        assert [(one["statement"], one["checked"]) for one in record["hypotheses"]] == [
            ("x is real", False),
            ("it counts", True),
        ]

    def test_seconds_of_sharing_studies_add_up_to_the_wall_time(self, file: Path) -> None:
        sharing = "STUDIES = [make('a', cases=slow), make('a-corrected', cases=slow)]"
        file.write_text(fabricated.FILE + sharing)
        begun = time.perf_counter()
        results = verify(catalogue.load_file(file))
        assert 0.2 <= sum(result.seconds for result in results) <= time.perf_counter() - begun
        assert all(result.seconds >= 0.1 for result in results)

    def test_a_result_is_pickled_with_its_study_by_reference(self, studies: list[Study], file: Path) -> None:
        (result,) = verify(studies[:1])
        again = pickle.loads(pickle.dumps(result))
        assert again.study.claim == result.study.claim
        assert again.study.origin == str(file)
        assert again.dataset.identical(result.dataset)
        assert again.verdict == result.verdict
        with pytest.raises(ValueError, match="built in place"):
            pickle.dumps(replace(result, study=replace(result.study, origin="")))


class TestComparing:
    def test_the_same_verdicts_do_not_differ(self, studies: list[Study]) -> None:
        results = verify(studies)
        assert compare_with(results, [result.record() for result in results]) == []
        assert (
            compare_with(results, [{"id": r.study.claim.id, "verdict": r.verdict.verdict} for r in results])
            == []
        )

    def test_each_difference_is_a_sentence(self, studies: list[Study]) -> None:
        results = verify(studies)
        expected = [result.record() for result in results]
        expected[0]["verdict"] = "refuted"
        expected[1]["id"] = "mine.z"
        expected[2]["parts"][0]["verdict"] = "inconclusive"
        assert compare_with(results, expected) == [
            "mine.a is supported; expected was refuted",
            "mine.a-corrected is refuted; it is not among the expected",
            "mine.b, part worst, is supported; expected was inconclusive",
            "mine.z was not run; expected was refuted",
        ]

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
        again = load(directory, studies)
        assert [result.record() for result in again] == [result.record() for result in results]
        for one, other in zip(results, again, strict=True):
            assert one.dataset.identical(other.dataset)
            assert one.dataset.worst.values.tobytes() == other.dataset.worst.values.tobytes()
            assert (one.verdict, one.study, one.seed) == (other.verdict, other.study, other.seed)
            assert one.provenance == other.provenance

    def test_an_error_is_kept_as_well(self, file: Path, tmp_path: Path) -> None:
        file.write_text(fabricated.FILE + "STUDIES = FAILING[:1]\n")
        (result,) = verify(catalogue.load_file(file))
        save(tmp_path / "report", result)
        (again,) = load(tmp_path / "report")
        assert (again.error, again.verdict, again.dataset) == (result.error, None, None)

    def test_reading_executes_no_file_that_is_named_in_what_is_read(self, kept, file: Path) -> None:
        directory, results = kept
        file.write_text("raise RuntimeError('executed')")
        again = load(directory)
        assert [result.record() for result in again] == [result.record() for result in results]
        assert again[0].study.judge(again[0].dataset) == results[0].verdict
        with pytest.raises(ValueError, match="can be shown, not run"):
            again[0].study.cases("quick", None)

    def test_keeping_again_replaces_and_leaves_no_other_dataset(self, kept, studies) -> None:
        directory, _ = kept
        before = sorted(path.name for path in directory.iterdir())
        (result,) = verify(studies[:1], seed=5)
        save(directory, result)
        after = sorted(path.name for path in directory.iterdir())
        assert len(after) == len(before) == 6
        assert len(set(before) - set(after)) == 1
        assert load(directory)[0].seed == 5
        assert numbers(load(directory)[0]).tolist() == numbers(result).tolist()

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
            first = load(directory)[0]
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
                    load(directory)
                assert str(path) in str(raised.value)
            path.write_bytes(content)
        assert len(load(directory)) == 3

    def test_missing_and_misnamed_files_are_named(self, kept, tmp_path: Path) -> None:
        directory, _ = kept
        with pytest.raises(ValueError, match="absent holds no results"):
            load(tmp_path / "absent")
        record = directory / "mine.a.result.json"
        record.rename(directory / "mine.c.result.json")
        with pytest.raises(ValueError, match="it is the record of mine"):
            load(directory)
        (directory / "mine.c.result.json").rename(record)
        (dataset,) = directory.glob("mine.b-*.nc")
        dataset.unlink()
        with pytest.raises(ValueError, match=f"{dataset.name} is missing"):
            load(directory)

    def test_a_disk_that_fails_is_a_sentence(self, kept, studies) -> None:
        directory, results = kept

        class Full(Disk):
            def write(self, descriptor, data):
                raise OSError(28, "No space left on device")

            def read_bytes(self, path):
                raise PermissionError(13, "Permission denied", str(path))

        with pytest.raises(ValueError, match=r"mine\.a-.*\.nc \(No space left on device\); make room"):
            save(directory, results[0], Full())
        assert len(load(directory)) == 3
        with pytest.raises(ValueError, match=r"mine\.a.*\.result\.json \(Permission denied\)"):
            load(directory, disk=Full())

    @pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b'{"result": 3}', b"[" * 100_000, b"\xff"])
    def test_what_is_no_record_is_refused(self, kept, content: bytes) -> None:
        directory, _ = kept
        (directory / "mine.a.result.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.a\.result\.json is no result"):
            load(directory)


def _same_json(first: bytes, second: bytes) -> bool:
    """Whether a flip left the meaning alone: a space turned into another."""
    try:
        return json.loads(first) == json.loads(second)
    except ValueError:
        return False
