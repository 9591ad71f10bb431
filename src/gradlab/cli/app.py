"""The commands and their options; the work is done by the other files of this room, imported when needed."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from gradlab.cli.errors import plainly

app = typer.Typer(
    name="gradlab",
    help="A laboratory for the gradient dynamics of deep networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _FileOrCommand(typer.core.TyperGroup):
    """``gradlab data FILE`` is short for ``gradlab data show FILE``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and ("." in args[0] or os.sep in args[0]):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


data_app = typer.Typer(
    cls=_FileOrCommand,
    help="Data sets: which there are, fetching them, and what is taken of a file of one's own.",
    no_args_is_help=True,
)
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print nothing but JSON on standard output.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="local | slurm | ADDRESS",
        help="Run on Dask: workers of this machine, jobs of slurm, or a scheduler that is there.",
    ),
]
Code = Annotated[
    Path | None, typer.Option("--code", help="Python file with one's own network or loss; it is executed.")
]


class Budget(StrEnum):
    """How much a study may spend."""

    quick = "quick"
    full = "full"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"gradlab {version('gradlab')}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    compile_cache: Annotated[
        bool, typer.Option("--compile-cache", help="Keep what is compiled, and use what was kept before.")
    ] = False,
) -> None:
    """A laboratory for the gradient dynamics of deep networks."""
    if compile_cache:
        os.environ.setdefault("GRADLAB_COMPILE_CACHE", "on")


@app.command("list")
@plainly
def list_claims(
    json: Json = False,
    source: Annotated[str | None, typer.Option(help="Only those of this source, e.g. memo90.")] = None,
) -> None:
    """The claims and figures of the sources, and of which there is a study."""
    from gradlab.cli import listing as work

    work.list_claims(json=json, source=source)


@app.command()
@plainly
def verify(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[ID | my_claim.py]...", help="All claims, unless named.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="All claims of this source, e.g. memo90.")] = None,
    budget: Annotated[Budget, typer.Option(help="How many cases, how large, how far.")] = Budget.quick,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    json: Json = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at a time; as many as there are cores unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random problems.")] = 0,
    expect: Annotated[
        Path | None, typer.Option(help="Verdicts stored by --json; exit code 1 where they differ.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Take from --out what is there of the same code, budget and seed; run the rest."
        ),
    ] = False,
    cluster: Cluster = None,
) -> None:
    """Run claims and say of each whether it holds, with the number that decided it.

    Verdicts never change the exit code. It is 1 if a study raised, or if --expect found a difference.
    """
    from gradlab.cli import verify as work

    work.verify(
        what or [],
        source=source,
        budget=budget.value,
        out=out,
        json=json,
        jobs=jobs,
        seed=seed,
        expect=expect,
        resume=resume,
        cluster=cluster,
    )


@app.command()
@plainly
def run(
    specification: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="The problem and its run.")],
    code: Code = None,
    out: Annotated[Path, typer.Option(help="Folder of run directories.")] = Path("runs"),
) -> None:
    """Run one's own problem from a TOML specification; repeating a run computes nothing."""
    from gradlab.cli import runs as work

    work.run(specification, code=code, out=out)


@app.command()
@plainly
def sweep(
    specification: Annotated[
        Path, typer.Argument(metavar="SPEC.toml", help="A problem and its run, with a table [sweep].")
    ],
    code: Code = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of runs, cube and page; sweeps/SPEC unless given.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at a time; as many as there are cores unless given.")
    ] = None,
    cluster: Cluster = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Refuse more runs than this, whatever the file says.")
    ] = None,
) -> None:
    """Run a specification over a grid, or at random, and over seeds; what is there is not computed again.

    Exit code 1 if a run could not be computed.
    """
    from gradlab.cli import sweep as work

    work.sweep(specification, code=code, out=out, jobs=jobs, cluster=cluster, limit=limit)


@app.command()
@plainly
def resume(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, runs/<identity>.")],
    rebind: Annotated[
        bool, typer.Option("--rebind", help="Go on with this machine's bits, as a child run beside it.")
    ] = False,
    code: Code = None,
) -> None:
    """Go on with a run that was cut short; the result has the bits of an uninterrupted one."""
    from gradlab.cli import runs as work

    work.resume(directory, rebind=rebind, code=code)


@app.command()
@plainly
def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
) -> None:
    """Draw the figures and write the page of a run directory again."""
    from gradlab.cli import runs as work

    work.report(directory)


@app.command()
@plainly
def export(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    to: Annotated[str, typer.Option(help="csv, netcdf, zarr or tensorboard.")],
    out: Annotated[
        Path | None, typer.Option(help="The file or folder to write; beside the run unless given.")
    ] = None,
) -> None:
    """Write the trajectory of a run for another program."""
    from gradlab.cli import export as work

    work.export(directory, to, out)


@app.command()
@plainly
def schema() -> None:
    """The JSON schema of a specification, on standard output."""
    from gradlab.specification import reference

    print(reference.schema_text())


@app.command()
@plainly
def equilibrium(
    where: Annotated[Path, typer.Argument(metavar="DIR | SPEC.toml", help="A run, or what to run first.")],
    certify: Annotated[
        bool, typer.Option("--certify", help="Prove existence, uniqueness and index in ball arithmetic.")
    ] = False,
    kink: Annotated[
        float | None, typer.Option(help="Pre-activations within this part of their terms count as zero.")
    ] = None,
    json: Json = False,
    code: Code = None,
    out: Annotated[Path, typer.Option(help="Folder of run directories.")] = Path("runs"),
) -> None:
    """Polish where a run ended to an equilibrium; classify it, explain its kernel, draw it."""
    from gradlab.cli import equilibrium as work

    work.equilibrium(where, code=code, out=out, json=json, certify=certify, kink=kink)


@app.command()
@plainly
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Checkpoints: of gl.Probe, npz, safetensors, torch.save."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="net.py:Net", help="A function of (weights, x), or a gl.Network; the file is executed."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="An .npz file with inputs and targets (or x and y).")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="cross-entropy, logistic, exponential, square or half-square; the mean over examples, or 'square sum'."
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", "--optimiser", help="e.g. 'sgd lr=0.1 momentum=0.9 decay=1e-4'."),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Train a small network on digits, and check that.")
    ] = False,
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the page to this .html file, or into this folder.")
    ] = None,
) -> None:
    """Which theorems apply to a training run of one's own, and whether what they say happened.

    Exit codes: 0 all applicable theorems hold, 1 one is refuted, 2 bad input, 3 no theorem applies.
    """
    from gradlab.cli import check as work

    work.check(folder, model=model, data=data, loss=loss, optimiser=optimizer, demo=demo, json=json, out=out)


@data_app.command("list")
@plainly
def data_list() -> None:
    """The data sets, and which of them are here."""
    from gradlab.cli import data as work

    work.list_data()


@data_app.command("fetch")
@plainly
def data_fetch(name: Annotated[str, typer.Argument(help="A name of `gradlab data list`.")]) -> None:
    """Download a data set, checked by its sha256."""
    from gradlab.cli import data as work

    work.fetch(name)


@data_app.command("show")
@plainly
def data_show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .npz or a specification, SPEC.toml.")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="Column of the targets, by name or number; the last unless given."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="What separates columns; found unless given.")] = None,
    decimal: Annotated[str | None, typer.Option(help="'.' or ','; found unless given.")] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether names come first; found unless given."),
    ] = None,
    missing: Annotated[str | None, typer.Option(help="'drop' rows, or put in the 'mean'.")] = None,
) -> None:
    """What is taken of a file of one's own: every row and column, and the tables to write for it."""
    from gradlab.cli import data as work

    options = {"delimiter": delimiter, "decimal": decimal, "header": header, "missing": missing}
    work.show(file, target or [], options)


def main() -> None:
    """The entry point of the command ``gradlab``."""
    app(prog_name="gradlab")
