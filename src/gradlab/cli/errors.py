"""Misuse ends with one sentence and exit code 2; bugs keep their traceback; Ctrl-C says how to go on."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec

import typer

from gradlab.wording import brief

Parameters = ParamSpec("Parameters")

MISUSE, FAILED = 2, 3
INTERRUPTED = 130


class Interrupted(Exception):
    """Ctrl-C at a place that knows how to go on; the message says how."""


def say(message: str) -> None:
    """One message on standard error, without markup."""
    typer.echo(message, err=True)


def plain(message: str) -> str:
    """A message line by line, each printable: what a file or a name holds cannot move the cursor of a terminal."""
    return "\n".join(brief(line, 4000) for line in message.splitlines())


def plainly(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn what a person can put right into a message: ValueErrors of our own, and files that will not do.

    A ValueError that another library raised is a bug of ours and keeps its traceback.
    """

    @functools.wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            # Whoever read the output has gone (`gradlab list | head`); the flush at exit must not raise.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            say(plain(f"Error: {error.strerror or error}{where}"))
            raise typer.Exit(MISUSE) from None
        except ValueError as error:
            if not _ours(error.__traceback__):
                raise
            say(plain(f"Error: {error}"))
            raise typer.Exit(MISUSE) from None
        except Interrupted as stop:
            say(f"\nInterrupted. {stop}")
            raise typer.Exit(INTERRUPTED) from None
        except KeyboardInterrupt:
            say("\nInterrupted; nothing was left half written.")
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def _ours(traceback: TracebackType | None) -> bool:
    """Whether the innermost frame is in gradlab."""
    module = ""
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next
    return module == "gradlab" or module.startswith("gradlab.")
