"""Every test runs in float64; real data, where a test wants it, is found through GRADLAB_DATA."""

from __future__ import annotations

import bisect
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from gradlab.cli.computing import by_default_quickly

# Most of what tests take is XLA compiling; all but what the laboratory asks to be compiled fully takes half, quickly.
by_default_quickly()

# No test asks how long it took, examples drawn at random neither.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Shapes in the annotations of these rooms are checked at run time, in tests only. (Where misuse is answered with a
# sentence of our own, a type checker in front would answer instead.)
install_import_hook(["gradlab.dynamics", "gradlab.observe"], "typechecking.shapes")

jax.config.update("jax_enable_x64", True)
os.environ.setdefault("MPLBACKEND", "Agg")

# Benchmarks are a package of the checkout, not of the wheel; their problems serve tests too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

#: Tests that have ended in this process.
_ENDED = itertools.count(1)

#: What the tests' command leaves out: a line is how the names of some tests begin, or a group of wrong worlds.
THOROUGH = tuple(
    line
    for line in (Path(__file__).parent / "thorough.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if SHARED_DATA.is_dir():
    os.environ.setdefault("GRADLAB_DATA", str(SHARED_DATA))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file's tests run in one process, since they share compiled programs; of wrong worlds, those of one claim.

    First of all hooks: the one of pytest-xdist, which takes the groups that it finds, is registered after this one.
    """
    names = set()
    for item in items:
        values = getattr(item, "callspec", None)
        claim = values.params.get("claim") if values and item.path.stem == "test_worlds" else None
        group = item.path.stem if claim is None else f"worlds of {claim.removesuffix('-corrected')}"
        item.add_marker(pytest.mark.xdist_group(group))
        name = item.nodeid.removeprefix("tests/")
        names |= {name, group}
        if name.startswith(THOROUGH) or group in THOROUGH:
            item.add_marker(pytest.mark.thorough)
    if config.args == config.getini("testpaths"):
        ordered = sorted(names)
        places = (bisect.bisect_left(ordered, line) for line in THOROUGH)
        stale = [line for line, at in zip(THOROUGH, places, strict=True) if not _begins(ordered[at:], line)]
        assert not stale, f"tests/thorough.txt names no test: {stale}"


def _begins(names: list[str], line: str) -> bool:
    return bool(names) and names[0].startswith(line)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes may hold the time at which they were made, and two processes must give a test one name."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Groups that are not in the names of tests are none: each process would compile for every file."""
    if getattr(session.config.option, "loadgroup", False) and session.items:
        assert "@" in session.items[0].nodeid, "pytest-xdist did not name the groups of tests"


@pytest.fixture(autouse=True)
def _programs_are_let_go() -> Iterator[None]:
    """Workers that compiled for a thousand tests aborted inside XLA, likely out of memory maps."""
    yield
    # reading what maps there are takes a fortieth of a second where there are many
    if next(_ENDED) % 10 == 0:
        from gradlab.executing.maps import let_go

        let_go()
