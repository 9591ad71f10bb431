"""A training inside a study that is killed goes on from its last segment, to the bits of one left in peace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from gradlab.claims import underway
from gradlab.claims.cases import Case, case, generator
from gradlab.claims.claim import Claim
from gradlab.claims.keeping import Result
from gradlab.claims.looks import Look
from gradlab.claims.measured import at_least
from gradlab.claims.problems import images as pictures
from gradlab.claims.studies import Study, study
from gradlab.claims.verification import verify
from gradlab.problem.networks import Convolutional
from gradlab.store.run import Run


class Grows(Look):
    """The sum of all weights at the end."""

    setting = ""

    @at_least(-1e9, exact=True)
    def total(self) -> float:
        """The sum.

        Any.
        """
        return float(self.trajectory["final_weights"].sum())


def cases(key: Any, records: int) -> Iterator[Case]:
    """Two trainings, one after the other, on minibatches with momentum."""
    found, rng = pictures.images("digits"), generator(key)
    network = Convolutional(found.shape, (1,), 3, 4)
    for number in (1, 2):
        problems = [pictures.classifying(network, pictures.drawn_split(found, rng, 12, 10)) for _ in range(2)]
        starts = [pictures.he(network, rng) for _ in problems]
        flow = pictures.descent(4, 0.02, 0.9)
        moments = 2.0 * np.arange(1, records)
        seen = pictures.trained(problems, starts, flow, moments, rng, observables=("loss",))
        yield case(problems[0], seen.isel(member=1), number=number)


@pytest.fixture
def mine() -> Study:
    return study(Claim("mine.trains", "It trains."), Grows, cases, quick={"records": 16})


@pytest.fixture
def appended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the segments that were written; in place of the 21st comes an interrupt."""
    append = Run.append
    calls: list[int] = []

    def counted(self: Run, *arguments: Any, **named: Any) -> Any:
        calls.append(self.segments)
        if len(calls) == 21:
            raise KeyboardInterrupt
        return append(self, *arguments, **named)

    monkeypatch.setattr(Run, "append", counted)
    return calls


def total(results: list[Result]) -> np.ndarray:
    """The number of both cases."""
    (result,) = results
    assert result.dataset is not None, result.error
    return np.asarray(result.dataset["total"].values)


def test_a_study_that_was_killed_goes_on_inside_its_training(
    mine: Study, appended: list[int], tmp_path: Path
) -> None:
    peaceful = total(verify([mine]))
    assert appended == []
    with pytest.raises(KeyboardInterrupt):
        verify([mine], "full", out=tmp_path)
    # the first training was over, four of sixteen segments of the second were written
    assert appended == [*range(16), *range(5)]
    other = total(verify([mine], "full", seed=1, out=tmp_path / "other"))
    del appended[:]
    resumed = total(verify([mine], "full", out=tmp_path))
    assert appended == [*range(4, 16)]
    np.testing.assert_array_equal(peaceful, resumed)
    assert not np.any(peaceful == other)
    underway.forget(tmp_path, "mine.trains-corrected")
    assert not underway.folder_of(tmp_path, "mine.trains").exists()


def test_what_is_given_decides_which_training_it_is() -> None:
    weights = {"first": np.ones((2, 3)), "key": jax.random.key(0)}
    same = underway._digest(weights | {"words": "not an array"})
    assert underway._digest(weights) == same
    for other in ({"first": np.ones((3, 2))}, {"first": np.full((2, 3), 1.5)}, {"key": jax.random.key(1)}):
        assert underway._digest(weights | other) != same
