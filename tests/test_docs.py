"""What the documentation says is true: its examples run and print what it shows, its links and commands exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gradlab.claims import catalogue
from gradlab.cli import app
from gradlab.store.run import Run

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = [*sorted((ROOT / "docs" / "tutorials").glob("*.md")), ROOT / "docs" / "own_claim.md"]

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w-]+\.(?:py|toml))\b")
_SEGMENTS = 6  # after so many comes the Ctrl-C of a tutorial


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of the fenced blocks of a page."""
    for found in _FENCED.finditer(path.read_text(encoding="utf-8")):
        yield found[1], found[2]


def block(path: Path, language: str) -> str:
    """The only block of that language."""
    (text,) = [text for kind, text in blocks(path) if kind == language]
    return text


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- a page as a reader follows it -------------------------------------------------------------------


def executed(code: str, namespace: dict[str, Any], where: str) -> str:
    """What the code prints, in JAX's default precision: readers have changed no setting."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), jax.enable_x64(False):
        exec(compile(code, where, "exec"), namespace)
    return printed.getvalue()


def saved(text: str) -> bool:
    """Whether the block begins with the name of a file; it is written then."""
    named = _FILE.match(text)
    if named:
        Path(named[1]).write_text(text, encoding="utf-8")
    return named is not None


def commanded(text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the `gradlab` commands of a shell block print; "Ctrl-C" in a comment is pressed."""
    said = ""
    for line in text.splitlines():
        _, program, *arguments = shlex.split(line.removeprefix("uv"), comments=True)
        assert program == "gradlab", line
        arguments = [each for one in arguments for each in (glob(one) if "*" in one else [one])]
        with monkeypatch.context() as patch:
            if "Ctrl-C" in line:
                patch.setattr(Run, "append", _interrupted(Run.append))
            result = CliRunner().invoke(app, arguments)
        assert result.exit_code == (130 if "Ctrl-C" in line else 0), result.output
        said += result.output
    return said


def _interrupted(append: Any) -> Any:
    def stop(self: Run, *given: Any, **options: Any) -> Any:
        if self.segments == _SEGMENTS:
            raise KeyboardInterrupt
        return append(self, *given, **options)

    return stop


def agrees(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed, up to white space; "…" stands for anything."""
    parts = [" ".join(part.split()) for part in shown.split("…")]
    pattern = r"\s?.*?\s?".join(map(re.escape, parts))
    return re.fullmatch(pattern, " ".join(printed.split())) is not None


def test_what_is_shown_is_compared() -> None:
    assert agrees("a  1\nb …\n", "a 1 \nb 2 c\n")
    assert agrees("in … there", "in here, there")
    assert not agrees("a 1", "a 2")
    assert not agrees("a …", "b 2")
    assert not agrees("", "a")


def follow(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a page from top to bottom in one namespace; all that it prints stands in the text block below."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for number, (language, text) in enumerate(blocks(path), start=1):
        where = f"{path.name}, block {number}"
        if language == "text":
            assert agrees(text, printed), f"{where} shows\n{text}\nand printed was\n{printed}"
            printed = ""
            continue
        assert not printed.strip(), f"{where}: what was printed before it is not shown:\n{printed}"
        if saved(text):
            continue
        assert language in ("python", "bash"), (
            f"{where} is {language}, with no name of a file in its first line"
        )
        printed = executed(text, namespace, where) if language == "python" else commanded(text, monkeypatch)
    assert not printed.strip(), f"{path.name}: what is printed last is not shown:\n{printed}"


@pytest.mark.parametrize("path", TUTORIALS, ids=name_of)
def test_a_tutorial_runs_and_prints_what_it_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(path, monkeypatch)


def test_the_python_example_of_the_readme_goes_beyond_every_float() -> None:
    namespace: dict[str, Any] = {}
    printed = executed(block(README, "python"), namespace, "README.md")
    last = namespace["run"].isel(record=-1)
    assert str(namespace["run"]["log_t"].values) in printed
    assert np.isinf(last["t"])
    assert 309 * np.log(10.0) < float(last["log_t"]) < np.inf
    assert float(last["normalised_margin_error"]) < 1e-6
    # Direction and margin of a deep linear net tend to those of the support vector machine.
    assert 0.49 < float(last["normalised_margin"]) < 0.5


def test_the_example_of_the_page_on_equilibria_is_found_and_proved() -> None:
    printed = executed(block(ROOT / "docs" / "equilibria.md", "python"), {}, "equilibria.md")
    assert printed.startswith("minimum (0, 1, 7), gap ")
    assert "on a manifold of minima of dimension exactly 1, normally hyperbolic" in printed


def test_the_example_of_the_page_on_checking_runs_and_prints_what_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    follow(ROOT / "docs" / "check.md", monkeypatch)


def test_the_specification_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = block(README, "toml")
    command = text.splitlines()[0].split(":", 1)[1].strip()
    assert saved(text)
    assert "reached the last record" in commanded(command, monkeypatch)
    (directory,) = Path("runs").iterdir()
    with Run.open(directory) as kept:
        recorded = kept.dataset()
        assert {"loss", "loss_error", "error"} <= set(recorded)
        assert float(recorded["error"][-1]) < 0.05
        assert (directory / "page.html").is_file()


# --- links and commands ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    prose = _FENCED.sub("", path.read_text(encoding="utf-8"))
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", prose)]
    near = [target for target in targets if target and not target.startswith(("http://", "https://"))]
    assert [target for target in near if not (path.parent / target).exists()] == []


def commands(path: Path) -> list[list[str]]:
    """The words after `gradlab` in the code of a page, as far as they are a command's."""
    code = [text for kind, text in blocks(path) if kind in ("bash", "toml")]
    code += re.findall(r"`([^`\n]+)`", _FENCED.sub("", path.read_text(encoding="utf-8")))
    lines = [line for text in code for line in text.splitlines()]
    found = [re.search(r"\bgradlab ([a-z].*)$", line.split("&&")[-1].split("  #")[0]) for line in lines]
    return [each[1].split() for each in found if each]


def unknown(words: list[str]) -> list[str]:
    """What of a command line the program does not know: commands, options, ids of claims."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        if not words or words[0] not in command.commands:
            return words[:1] or ["no command"]
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    wrong = [word for word in words if word.startswith("-") and word not in options]
    if command.name == "verify":
        ids = [word for word in words if re.fullmatch(r"[a-z]+[0-9]*\.[a-z-]+", word) and word[-3:] != ".py"]
        wrong += [word for word in ids if not catalogue.load([word])]
    return wrong


def test_the_pages_name_commands_that_exist() -> None:
    named = {name_of(path): commands(path) for path in PAGES}
    assert len(named["README.md"]) >= 7
    wrong = {" ".join(words) for every in named.values() for words in every if unknown(list(words))}
    assert wrong == set()


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert unknown(["verfy"]) == ["verfy"]
    assert unknown(["data", "get", "mnist"]) == ["get"]
    assert unknown(["verify", "notes.srebro", "--budgt", "full"]) == ["--budgt"]
    with pytest.raises(ValueError, match="did you mean"):
        unknown(["verify", "notes.srebo"])


def test_options_named_alone_belong_to_some_command() -> None:
    every = {
        option
        for command in typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    for path in PAGES:
        for option in re.findall(r"`(--[a-z-]+)", path.read_text(encoding="utf-8")):
            assert option in every | {"--break-system-packages"}, f"{name_of(path)} names {option}"


def test_the_group_of_the_test_command_exists() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    named = re.findall(r"--group (\w+)", README.read_text(encoding="utf-8"))
    assert named
    assert set(named) <= set(groups)
