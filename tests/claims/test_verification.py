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

import fabricated_studies as fabricated
import jax
import numpy as np
import pytest

from gradlab import laboratory
from gradlab.claims import catalogue
from gradlab.claims.judging import SUPPORTED
from gradlab.claims.keeping import Result
from gradlab.claims.studies import Study
from gradlab.claims.verification import key, verify

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
    print(result.claim.id, flush=True)


if __name__ == "__main__":
    main()
"""


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


def verdicts(results: list[Result]) -> dict[str, str]:
    return {result.claim.id: result.record()["verdict"] for result in results}


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
        two = verify(studies, jobs=2, on_result=lambda result: heard.append(result.claim.id))
        assert [result.claim.id for result in two] == [study.claim.id for study in studies]
        assert sorted(heard) == ["mine.a", "mine.a-corrected", "mine.b"]
        for first, second in zip(one, two, strict=True):
            assert first.dataset.identical(second.dataset)
            assert first.verdict == second.verdict
        assert file.with_suffix(".calls").read_text() == "xxxx"

    def test_a_process_that_dies_takes_no_other_study_along(self, file: Path) -> None:
        several = "STUDIES = [make('dies', cases=dying), make('c'), make('raises', look=Raises)]"
        file.write_text(fabricated.FILE + several)
        results = verify(catalogue.load_file(file), jobs=2)
        assert verdicts(results) == {"mine.dies": "error", "mine.c": "supported", "mine.raises": "error"}
        errors = {result.claim.id: result.error for result in results if result.error}
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
        file.write_text(fabricated.STUDIES.replace("STUDIES = [", f"STUDIES = [{fabricated.FAILING}, "))
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
        file.write_text(fabricated.FILE + "STUDIES = [make('a', look=Raises), make('a-corrected')]\n")
        assert verdicts(verify(catalogue.load_file(file))) == {
            "mine.a": "error",
            "mine.a-corrected": "supported",
        }

    def test_an_interrupt_in_a_study_is_an_interrupt(self, file: Path) -> None:
        file.write_text(fabricated.STUDIES + "STUDIES += [make('c', cases=interrupted)]\n")
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
        cases = [(f"case {i + 1}, case {i}", 0.0, 0.0) for i in range(3)]
        assert heard.told == [("drawing", 1.0, 2.0), *cases]


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
            ("It counts", True),
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
