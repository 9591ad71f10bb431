"""``gradlab run``, ``resume`` and ``report``: run directories from specifications."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradlab.cli import screen
from gradlab.cli.computing import begin
from gradlab.cli.errors import FAILED, Interrupted, plain, say

if TYPE_CHECKING:
    from types import ModuleType

    import xarray as xr

    from gradlab.problem.data import Data
    from gradlab.specification import Experiment, Specification
    from gradlab.store.run import Identity, Run

PAGE = "page.html"
DONE = "This run is done: "
_TOML = "specification.toml"
_PROVENANCE = "provenance.json"
_DATA = "data.npz"
#: What was taken of one's own file, in words.
_TAKEN = "data.txt"
#: What the page shows first, and says of the end.
_SUBJECT = "subject.json"
_ARRAYS = ("inputs", "targets", "test_inputs", "test_targets")


def run(path: Path, *, code: Path | None, out: Path) -> None:
    """Run a specification, or say that this was done, or go on where it was cut short."""
    begin()
    _say(carried_out(path, _module(code), out)[1])


def _say(how: str) -> None:
    """How a run went; one that failed, or a member that did, goes out with exit code 3."""
    print(how)
    if re.search(r'(^|")(failed|ended: crawls)', how.removeprefix(DONE)):
        raise typer.Exit(FAILED)


def carried_out(path: Path, module: ModuleType | None, out: Path) -> tuple[Path, str]:
    """The directory of the run of a specification, and how it went: done now, before, or gone on with."""
    from gradlab import specification
    from gradlab.store import foreign
    from gradlab.store.run import Run

    spec = specification.read(path)
    experiment = specification.build(spec, path.resolve().parent, module)
    with Run.create(out, _identity(experiment)) as kept:
        if kept.finished is not None:
            return (
                kept.path,
                f"{DONE}{kept.finished}. Nothing was computed; it is in {kept.path}",
            )
        if kept.segments:
            say(f"This run was cut short; going on after its segment {kept.segments}.")
        kept.attach(_TOML, foreign.whole_file(path, specification.reading.LARGEST, "a specification"))
        return kept.path, _drive(kept, experiment)


def end(kept: Run, module: ModuleType | None) -> tuple[Any, Any]:
    """The problem that a run speaks of, and the weights it ended with.

    Raises
    ------
    ValueError
        If the run has recorded nothing yet, is an ensemble, or its data or code are not at hand.
    """
    import jax.numpy as jnp

    from gradlab import specification

    if not kept.segments:
        raise ValueError(f"{kept.path} has recorded nothing yet; go on with: gradlab resume {kept.path}")
    spec = _specification(kept)
    experiment = specification.build(spec, kept.path, module, _stored_data(kept, spec))
    problem, final = experiment.flow.observed, kept.dataset()["final_weights"]
    if "member" in final.dims:
        raise ValueError(f"{kept.path} is an ensemble; an equilibrium is of one member: run that one alone")
    return problem, problem.unravel(jnp.asarray(final.values))


def resume(directory: Path, *, rebind: bool, code: Path | None) -> None:
    """Go on with a run directory here, or, with ``rebind``, with a child of it."""
    from gradlab.store.run import Run

    with Run.open(directory) as kept:
        if kept.finished is not None:
            _say(f"{DONE}{kept.finished}. Nothing was computed; it is in {directory}")
            return
        from gradlab import specification

        begin()
        spec = _specification(kept)
        experiment = specification.build(spec, directory, _module(code), _stored_data(kept, spec))
        identity = _identity(experiment)
        if rebind and _moved(kept, identity):
            with kept.child(directory.parent, identity) as child:
                say(f"Going on as a child run in {child.path}, after segment {child.segments}.")
                if _TOML in kept.attachments:
                    child.attach(_TOML, kept.read(_TOML))
                _say(_drive(child, experiment))
            return
        kept.require(identity)
    with Run.open(directory, write=True) as kept:
        say(f"Going on after segment {kept.segments}.")
        _say(_drive(kept, experiment))


def report(directory: Path) -> None:
    """Draw again what a run, or a verification, has stored."""
    from gradlab.claims import keeping
    from gradlab.report import page
    from gradlab.store.run import Run

    if any(directory.glob("*.result.json")):
        results = keeping.load_results(directory)
        print(page.write(directory / "index.html", results))
        return
    with Run.open(directory, write=True) as kept:
        if not kept.segments:
            raise ValueError(f"{directory} has recorded nothing yet; go on with: gradlab resume {directory}")
        _publish(kept, kept.dataset())
        print(kept.path / PAGE)


def _module(code: Path | None) -> ModuleType | None:
    from gradlab import specification

    return None if code is None else specification.load_code(code)


def _identity(experiment: Experiment) -> Identity:
    """What decides the bits: specification, data, one's own code, and where it is computed."""
    import gradlab
    from gradlab.store.identity import COMPUTING
    from gradlab.store.run import Identity, code_digest, environment

    content = {
        "specification": experiment.specification.canonical(),
        "data": experiment.problem.data.digest(),
        "code": code_digest(Path(gradlab.__file__).parent, COMPUTING),
        **environment(),
    }
    if experiment.code is not None:
        content["own code"] = experiment.code
    return Identity(content)


def _specification(kept: Run) -> Specification:
    from gradlab import specification

    try:
        return specification.parse(kept.identity.content["specification"])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{kept.path} was made from a specification that this version does not read ({error}); "
            "start a new run with gradlab run"
        ) from error


def _moved(kept: Run, identity: Identity) -> bool:
    """Whether the run was begun elsewhere; raises where it is another run altogether.

    Raises
    ------
    Foreign
        If more differs than versions, cores, instruction set and gradlab's own code.
    """
    from gradlab.store.identity import PLACE, Identity

    there = {key: kept.identity.content[key] for key in PLACE if key in kept.identity.content}
    kept.require(Identity({**identity.content, **there}))
    if all(identity.content[key] == value for key, value in there.items()):
        say("Nothing differs here: the run itself goes on, no child is needed.")
        return False
    return True


def _stored_data(kept: Run, spec: Specification) -> Data | None:
    """The data of one's own file, as the run directory keeps them."""
    from gradlab.problem.data import Data
    from gradlab.store import foreign

    if spec.data.kind not in ("csv", "npz"):
        return None
    if _DATA not in kept.attachments:
        raise ValueError(f"{kept.path} was cut short before it kept its data; give its gradlab run again")
    # Twice the budget: inputs and targets that were just within it, and their test split.
    found = foreign.arrays(io.BytesIO(kept.read(_DATA)), kept.path / _DATA, _ARRAYS, 2 * foreign.BUDGET)
    arrays: dict[str, Any] = {name: array for name, array in found.items() if array is not None}
    return Data(**arrays, provenance=_taken(kept) or f"file {spec.data.path}")


def _taken(kept: Run) -> str:
    return kept.read(_TAKEN).decode() if _TAKEN in kept.attachments else ""


def _keep_data(kept: Run, experiment: Experiment) -> None:
    """Put the data of one's own file into the run directory, so that it can be resumed anywhere."""
    import numpy as np

    if experiment.specification.data.kind not in ("csv", "npz") or _DATA in kept.attachments:
        return
    data = experiment.problem.data
    say(f"Data: {plain(data.provenance)}")
    kept.attach(_TAKEN, data.provenance.encode())
    arrays = {name: getattr(data, name) for name in _ARRAYS if getattr(data, name) is not None}
    content = io.BytesIO()
    np.savez(content, **arrays)
    kept.attach(_DATA, content.getvalue())


def _refined(experiment: Experiment) -> bool | None:
    """Whether there is a second solve: as asked, else of flows, and of iterations on what is small."""
    from gradlab.laboratory.conditioning import SMALL

    asked, problem = experiment.specification.solver.refine, experiment.problem
    small = problem.size * len(problem.data.inputs) <= SMALL
    return True if asked is None and experiment.flow.discrete and small else asked


def _drive(kept: Run, experiment: Experiment) -> str:
    """Integrate to the end, draw, record how it ended, and say it."""
    from gradlab import laboratory
    from gradlab.report import subject

    spec = experiment.specification
    _keep_data(kept, experiment)
    with screen.Bar() as bar:
        token = laboratory.PROGRESS.set(bar)
        try:
            dataset = laboratory.run(
                experiment.flow,
                experiment.weights,
                experiment.records,
                clock=experiment.clock,
                solver=experiment.solver,
                stop=experiment.stops,
                observables=experiment.observables,
                keep=spec.records.keep,
                refine=_refined(experiment),
                reduce=spec.solver.reduce,
                store=kept,
                name=spec.title or kept.path.name,
                seed=spec.seed,
            )
            kept.attach(_PROVENANCE, str(dataset.attrs["provenance"]).encode())
            bar.update("drawing", 0.0, 1.0)
            kept.attach(_SUBJECT, subject.subject(experiment.flow, dataset).dumps())
            _publish(kept, dataset)
        except KeyboardInterrupt:
            raise Interrupted(
                f"{kept.segments} segments are kept; go on with: gradlab resume {kept.path}"
            ) from None
        finally:
            laboratory.PROGRESS.reset(token)
    result = str(dataset.attrs["result"])
    kept.finish(result)
    return f"{result}: {(kept.path / PAGE).resolve()}"


def _publish(kept: Run, dataset: xr.Dataset) -> None:
    """One SVG an observable, and the page."""
    from gradlab import figures
    from gradlab.report import drawing, page
    from gradlab.report.subject import Subject

    known = json.loads(kept.read(_PROVENANCE)) if _PROVENANCE in kept.attachments else {}
    content = kept.identity.content
    provenance = {
        "run": kept.path.name,
        "data": content["data"],
        "data as read": _taken(kept),
        **{key: content[key] for key in ("versions", "cores", "instruction_set")},
        **known,
        "wall_seconds": round(kept.seconds, 3),
    }
    attributes = {"result": kept.finished or dataset.attrs.get("result", "cut short")}
    dataset = dataset.assign_attrs(attributes | {"provenance": "{}"})
    of = Subject.loads(kept.read(_SUBJECT)) if _SUBJECT in kept.attachments else Subject()
    drawings = drawing.of_run(dataset, of)
    drawn = {one.name: one.plain for one in drawings}
    for name in drawing.observed(dataset):  # what is constant is not on the page
        kept.attach(
            f"{name}.svg",
            (drawn.get(name) or figures.svg(drawing.trajectory(dataset, [name]))).encode(),
        )
    text: Any = kept.read(_TOML).decode() if _TOML in kept.attachments else content["specification"]
    named = title(kept) or "One run"
    whole = page.render_run(dataset, text, provenance, title=named, subject=of, drawings=drawings)
    kept.attach(PAGE, whole.encode())


def title(kept: Run) -> str:
    """The title that its specification gives a run, or nothing."""
    import tomllib

    raw = tomllib.loads(kept.read(_TOML).decode()) if _TOML in kept.attachments else {}
    return str(raw.get("title") or "")
