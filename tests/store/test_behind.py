"""Files are written behind a program in their order; what fails is told, and whoever reads waits."""

from __future__ import annotations

import gc
import threading

import pytest

from gradlab.store.behind import MOST, Behind, settle_all


def test_tasks_are_done_in_their_order_and_waited_for() -> None:
    behind, done = Behind(), []
    for number in range(20):
        behind.do(lambda number=number: done.append(number))  # type: ignore[misc]  # a default binds it
    settle_all()
    assert done == list(range(20))


def test_a_program_goes_on_until_too_many_wait() -> None:
    behind, gate, done = Behind(), threading.Event(), []
    for _ in range(MOST):
        behind.do(gate.wait)
    assert not done
    late = threading.Thread(target=lambda: (behind.do(lambda: done.append(1)), behind.settle()))
    late.start()
    late.join(0.05)
    assert late.is_alive()
    gate.set()
    late.join(10.0)
    assert done == [1]


def test_what_fails_is_raised_by_the_next_call_and_else_a_warning() -> None:
    def failing() -> None:
        raise OSError("no room")

    behind = Behind()
    behind.do(failing)
    with pytest.raises(OSError, match="no room"):
        behind.settle()
    behind.settle()
    behind.do(failing)
    kept = [behind]
    del behind
    with pytest.warns(UserWarning, match="no room"):
        _dropped(kept)


def _dropped(kept: list[Behind]) -> None:
    kept.clear()
    gc.collect()
