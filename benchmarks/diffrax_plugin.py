"""A pytest plugin under which diffrax's own tests meet one of gradlab's methods in place of diffrax's explicit pairs.

``benchmarks.diffrax_tests`` runs it. The method's name, the exclusions and the file for the outcome come from the
environment. diffrax is imported only once the session starts: the runtime type checker that its tests ask for is in
place by then.
"""

from __future__ import annotations

import fnmatch
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import re
import signal
import sys
import types
from pathlib import Path
from typing import Any

import pytest

METHOD, FOLDER, LEFT, OUT = "GRADLAB_METHOD", "DIFFRAX_TESTS", "GRADLAB_LEFT_OUT", "GRADLAB_OUTCOME"
#: diffrax's adaptive explicit pairs, whose place the method takes.
REPLACED = ("Tsit5", "Bosh3", "Dopri5", "Dopri8")
#: Wall seconds that one test may take.
SECONDS = 600

_outcomes: dict[str, dict[str, Any]] = {}
_left_out: dict[str, str] = {}
_unread: dict[str, str] = {}
_met = {"method": False}


def _solver() -> Any:
    from gradlab import solvers

    return getattr(solvers, os.environ[METHOD])()


class StandIn:
    """What stands in a pair's place: called, it is the method; asked for anything else, the pair."""

    def __init__(self, pair: Any) -> None:
        self.pair = pair

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _solver()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pair, name)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Put the method in the pairs' place, before a test module is read."""
    import diffrax

    from gradlab.dynamics.solvers.stabilised import Stabilised

    for name in REPLACED:
        setattr(diffrax, name, StandIn(getattr(diffrax, name)))
    # Read where they are not installed: only a few tests of these files use them.
    for name in ("optax", "tqdm"):
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.path.insert(0, os.environ[FOLDER])
    helpers = importlib.import_module("test.helpers")
    helpers.all_ode_solvers, helpers.all_split_solvers = (_solver(),), ()
    step = Stabilised.step

    def noted(self: Any, *args: Any, **options: Any) -> Any:
        _met["method"] = True
        return step(self, *args, **options)

    Stabilised.step = noted  # type: ignore[method-assign]  # replaced on purpose: it notes that a test stepped
    assert session is not None


def _concerned(item: Any) -> bool:
    """Whether the test's text, or one of its parameters, names what was replaced."""
    import diffrax

    from gradlab.dynamics.solvers.stabilised import Stabilised

    values = list(item.callspec.params.values()) if hasattr(item, "callspec") else []
    solvers = [
        value
        for value in values
        if isinstance(value, (diffrax.AbstractSolver, StandIn))
        or (inspect.isclass(value) and issubclass(value, diffrax.AbstractSolver))
    ]
    if solvers:
        return any(isinstance(solver, (Stabilised, StandIn)) for solver in solvers)
    return re.search(rf"\b({'|'.join(REPLACED)})\b", inspect.getsource(item.function)) is not None


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Only tests that name a replaced pair, without those that are left out with a reason."""
    rules = json.loads(Path(os.environ[LEFT]).read_text(encoding="utf-8"))
    kept, gone = [], []
    for item in items:
        name = f"{Path(item.fspath).name}::{item.name}"
        why = next((r["why"] for r in rules if fnmatch.fnmatchcase(name, r["test"])), None)
        if not _concerned(item):
            gone.append(item)
        elif why is not None:
            _left_out[name] = why
            gone.append(item)
        else:
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=gone)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Any:
    """A test that takes too long fails; whether it came to the method is noted."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    _met["method"] = False
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pytest_collectreport(report: Any) -> None:
    """A file that can't be read, as where a package that it imports is not installed."""
    if report.failed:
        _unread[report.nodeid.split("/")[-1]] = str(report.longrepr).strip().splitlines()[-1]


def pytest_runtest_logreport(report: Any) -> None:
    """Keep the outcome of every test."""
    if report.when != "call" and report.passed:
        return
    name = report.nodeid.split("/")[-1]
    text = str(report.longrepr.reprcrash.message) if getattr(report.longrepr, "reprcrash", None) else ""
    _outcomes[name] = {
        "outcome": report.outcome, "met": _met["method"], "seconds": report.duration, "why": text[:400],
    }  # fmt: skip
    _write()


def pytest_sessionfinish() -> None:
    """What was found, for the command that asked."""
    _write()


def _write() -> None:
    found = {"outcomes": _outcomes, "left_out": _left_out, "unread": _unread}
    Path(os.environ[OUT]).write_text(json.dumps(found), encoding="utf-8")
