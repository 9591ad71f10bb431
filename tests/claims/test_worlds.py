"""Every study in worlds that are not as it says: a wrong one must bring down what holds, a noisy one must not."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

import worlds
from gradlab.claims import catalogue
from gradlab.claims.judging import SUPPORTED
from worlds import World

#: The worlds of every claim, from the files of ``tests/worlds``.
WORLDS: dict[str, tuple[World, ...]] = {}
for _topic in pkgutil.iter_modules(worlds.__path__):
    WORLDS |= importlib.import_module(f"worlds.{_topic.name}").WORLDS

PAIRS = [(claim, world) for claim, given in WORLDS.items() for world in given]


def _named(value: Any) -> str:
    return value.name if isinstance(value, World) else str(value)


@pytest.mark.parametrize(("claim", "world"), [pair for pair in PAIRS if not pair[1].noisy], ids=_named)
def test_a_wrong_world_is_refuted(claim: str, world: World) -> None:
    assert worlds.falls(claim, world)


@pytest.mark.parametrize(("claim", "world"), [pair for pair in PAIRS if pair[1].noisy], ids=_named)
def test_a_noisy_world_is_not(claim: str, world: World) -> None:
    assert not worlds.fallen(claim, world)


@pytest.mark.parametrize("claim", WORLDS)
def test_the_few_cases_ask_every_part(claim: str) -> None:
    assert [part.id for part in worlds.true_verdict(claim).parts if not part.asked] == []


def test_every_claim_has_three_wrong_worlds_and_a_noisy_one() -> None:
    short = {}
    for claim in catalogue.files():
        given = WORLDS.get(claim, ())
        wrong = sum(not world.noisy for world in given)
        if wrong < 3 or wrong == len(given):
            short[claim] = [world.name for world in given]
    assert short == {}


def test_a_true_world_is_supported() -> None:
    assert worlds.true_verdict("notes.span").verdict == SUPPORTED
