"""The house: imports go downwards, files stay small, public names exist."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import pytest

import gradlab

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "gradlab"

FLOORS = {
    "wording": 0,
    "machine": 0,
    "modules": 0,
    "executing": 1,
    "figures": 1,
    "problem": 1,
    "store": 1,
    "observe": 2,
    "loaders": 2,
    "dynamics": 3,
    "analysis": 4,
    "laboratory": 5,
    "claims": 6,
    "checking": 7,
    "specification": 6,
    "sweeping": 7,
    "report": 7,
    "cli": 8,
}
PURE = ("problem", "dynamics", "observe", "analysis")


def room(path: Path) -> str:
    """The room a file of the package belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@functools.cache
def tree(path: Path) -> ast.Module:
    """What a file says, read once."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Full names of the modules a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("a relative import")
    return frozenset(names)


def upward(path: Path, names: Iterable[str]) -> list[str]:
    """Imports of a room that is not below the file's own."""
    own = room(path)
    wrong = []
    for name in sorted(names):
        if name == "a relative import":
            wrong.append(name)
        if not name.startswith("gradlab."):
            continue
        other = name.split(".")[1]
        if other in FLOORS and other != own and FLOORS[other] >= FLOORS[own]:
            wrong.append(name)
    return wrong


def files() -> list[Path]:
    """All source files but the package's own list of names."""
    return [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in files()} <= set(FLOORS)


def test_imports_go_downwards() -> None:
    assert {str(path): wrong for path in files() if (wrong := upward(path, imported(path)))} == {}


def test_the_layering_test_can_fail() -> None:
    assert upward(SOURCE / "problem" / "problem.py", {"gradlab.dynamics.flow"}) == ["gradlab.dynamics.flow"]
    assert upward(SOURCE / "observe" / "observables.py", {"gradlab.loaders.mnist"}) == [
        "gradlab.loaders.mnist"
    ]


def test_pure_rooms_touch_no_disk_plot_or_printer() -> None:
    forbidden = {"os", "pathlib", "matplotlib", "rich", "shutil", "tempfile", "h5netcdf", "h5py"}
    for path in files():
        if room(path) in PURE:
            tops = {name.split(".")[0] for name in imported(path)}
            assert not tops & forbidden, f"{path} imports {tops & forbidden}"
            calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
            named = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
            assert not named & {"print", "open"}, f"{path} prints or opens a file"


def test_only_figures_imports_matplotlib() -> None:
    users = {
        str(path) for path in files() if any(name.split(".")[0] == "matplotlib" for name in imported(path))
    }
    assert users == {str(SOURCE / "figures.py")}


def test_only_one_file_imports_dask() -> None:
    users = {
        path.name
        for path in files()
        if {name.split(".")[0] for name in imported(path)} & {"dask", "distributed", "dask_jobqueue"}
    }
    assert users == {"cluster.py"}


def test_no_file_is_over_500_lines() -> None:
    paths = [*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    long = {str(path): count for path in paths if (count := len(path.read_text().splitlines())) > 500}
    assert long == {}


def test_there_is_no_file_named_utils() -> None:
    assert not list(SOURCE.rglob("util*.py"))


def test_nothing_unpickles_but_the_restricted_unpickler() -> None:
    for path in files():
        names = {name.split(".")[0] for name in imported(path)}
        if "pickle" in names:
            assert path.name == "loaders.py", f"{path} imports pickle"


GROUPS = [name for name in gradlab.__all__ if isinstance(getattr(gradlab, name), ModuleType)]
PUBLIC = [name for name in gradlab.__all__ if name not in GROUPS] + [
    f"{group}.{name}" for group in GROUPS for name in dir(getattr(gradlab, group))
]


def public(path: str) -> Any:
    """What stands under ``gl.path``."""
    return attrgetter(path)(gradlab)


def test_about_25_names_stand_at_the_top_and_none_in_two_places() -> None:
    assert gradlab.__all__ == sorted(gradlab.__all__)
    assert {"claims", "data", "equilibria", "init", "losses", "schedules", "solutions", "solvers"} <= set(
        GROUPS
    )
    assert len(gradlab.__all__) - len(GROUPS) <= 32
    last = [path.rsplit(".", 1)[-1] for path in PUBLIC]
    assert len(set(last)) == len(last)


@pytest.mark.parametrize("path", PUBLIC)
def test_public_names_exist_and_have_docstrings(path: str) -> None:
    thing = public(path)
    if thing is None:  # NOT_ASKED is a value
        return
    assert thing.__doc__, f"{path} has no docstring"
    assert thing.__module__.startswith("gradlab."), path
    assert thing.__name__ == path.rsplit(".", 1)[-1]
    importlib.import_module(thing.__module__)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_names_and_says_what_they_are(group: str) -> None:
    module = getattr(gradlab, group)
    assert module.__doc__
    assert group in dir(gradlab)
    assert dir(module) == sorted(dir(module))
    assert dir(module)
    assert importlib.import_module(f"gradlab.{group}") is module


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("Balanced", "gl.init.Balanced"),
        ("Densse", "gl.Dense"),
        ("gradient_flow", "gl.GradientFlow"),
        ("scheduels", "gl.schedules"),
        ("separable", "gl.data.separable"),
        ("losses.Square", "gl.Square"),
        ("data.Balanced", "gl.init.Balanced"),
        ("claims.Claims", "gl.claims.Claim"),
        ("claims.verify", "gl.verify"),
    ],
)
def test_an_unknown_name_answers_did_you_mean(path: str, meant: str) -> None:
    with pytest.raises(AttributeError, match=rf"did you mean {re.escape(meant)}\?"):
        public(path)


#: No example of these runs without files that are fetched first.
FETCHED = {"data.cifar10", "data.gas_sensor", "data.mnist"}
#: A value, not a thing with a docstring.
VALUES = {"claims.NOT_ASKED"}
EXAMPLES = [path for path in PUBLIC if path not in FETCHED | VALUES]


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_example_of_a_public_name_runs_and_prints_what_it_shows(path: str) -> None:
    """In JAX's default precision: readers have changed no setting."""
    text = inspect.getdoc(public(path)) or ""
    assert "Examples\n--------\n" in text, f"{path} has no example"
    example = doctest.DocTestParser().get_doctest(text.split("Examples\n--------\n")[1], {}, path, None, None)
    assert any(one.want for one in example.examples)
    with jax.enable_x64(False):
        doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(example)


def test_a_name_like_no_other_is_told_where_to_look() -> None:
    with pytest.raises(AttributeError, match=r"'qqqq': dir\(gl\) lists"):
        public("qqqq")


def twice(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Public functions and classes that more than one of the files define at their top level."""
    found: dict[str, list[str]] = {}
    for path in paths:
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    return {name: homes for name, homes in found.items() if len(homes) > 1}


def test_few_public_names_are_defined_in_two_files() -> None:
    # a command of cli has the name that is typed, which is that of the function it calls
    counted = [path for path in files() if room(path) not in ("claims", "cli") and path.name[:2] != "__"]
    assert len(counted) > 100
    repeated = twice(counted)
    assert len(repeated) < 20, repeated
    offered = {path.rsplit(".", 1)[-1] for path in PUBLIC}
    # an observable and a clock, an initialisation and a run: one is offered, the other is named in a text
    assert set(repeated) & offered == {"Identity", "LogLoss"}, repeated


def test_no_public_name_of_claims_is_defined_in_two_files() -> None:
    # every study has its own family of cases
    counted = [path for path in files() if room(path) == "claims"]
    assert {name: homes for name, homes in twice(counted).items() if name != "cases"} == {}


def test_the_count_of_repeated_names_can_fail() -> None:
    pair = [SOURCE / "observe" / "observables.py", SOURCE / "dynamics" / "clocks.py"]
    assert set(twice(pair)) == {"LogLoss"}


def test_importing_gradlab_imports_no_jax_and_changes_no_setting() -> None:
    code = (
        "import sys, gradlab; assert 'jax' not in sys.modules; gradlab.Dense; "
        "import jax; assert not jax.config.jax_enable_x64"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
