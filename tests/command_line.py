"""Commands as a person gives them, run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from gradlab.cli import app


def invoke(*arguments: str | Path, code: int = 0) -> Any:
    """Run a command in this process; a bug's exception is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def refused(*arguments: str | Path) -> str:
    """The one message of a misuse: exit code 2, nothing on standard output, no traceback."""
    result = invoke(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)
