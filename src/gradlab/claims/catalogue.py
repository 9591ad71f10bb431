"""The claims that gradlab knows, and anybody's own: which file holds which, imported only when asked for.

What a source says stands in ``sources/<source>.toml`` (:mod:`gradlab.claims.entries`); the study of ``notes.min-norm``
in ``notes/min_norm.py``, with that of ``notes.min-norm-corrected`` beside it, or in the file that its entry names.
Every module-level :class:`Study` of a file counts. Adding a study means adding its file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from gradlab.claims.entries import CORRECTED, SOURCES, UnknownClaim, built, entries, nearest
from gradlab.claims.studies import Study

_ROOM = Path(__file__).parent


#: Figures that look at the runs of a claim.
_RUNS_OF = {
    "memo90.fig1": "memo90.generalises-in-n",
    "memo90.fig2": "memo90.no-overfit-class-error",
    "memo90.fig5": "memo90.perturb-ce",
}


def base(claim_id: str) -> str:
    """The id by which a claim's random key is drawn: without ``-corrected``, and that of the claim for its figure."""
    return _RUNS_OF.get(claim_id, claim_id.removesuffix(CORRECTED))


def files() -> dict[str, str]:
    """The module of every claim that has a study, by the claim's id, in the catalogue's order; nothing is imported."""
    return {one.id: f"gradlab.claims.{one.source}.{one.file}" for one in entries() if built(one)}


def ids() -> list[str]:
    """Every claim's id that has a study, in the catalogue's order; imports every file."""
    return [study.claim.id for study in load()]


def load(ids: Iterable[str] | None = None, source: str | None = None) -> list[Study]:
    """The studies of some ids, of a source, or of everything, importing no other file.

    Raises
    ------
    UnknownClaim
        If there is no such id or source, or no study of it yet.
    ValueError
        If both are given, or a file cannot be imported or does not define its studies.
    """
    if isinstance(ids, str):
        raise ValueError(f"ids was the string {ids!r}; write a list: [{ids!r}]")
    if ids is not None and source is not None:
        raise ValueError("both ids and a source were given; write load(ids) or load(source=...)")
    if ids is not None:
        return [_find(one) for one in dict.fromkeys(ids)]
    if source is not None and source not in SOURCES:
        raise UnknownClaim(f"there is no source {source!r}; {nearest(source, SOURCES)}")
    wanted = [one for one in files() if source in (None, one.partition(".")[0])]
    return [_find(one) for one in wanted]


def load_together(claim_id: str) -> list[Study]:
    """Every study in the file of a claim: itself, its corrected form, and those that share its observations.

    Raises
    ------
    UnknownClaim
        If there is no such file.
    """
    return _import(_module(claim_id))


def load_file(path: str | Path) -> list[Study]:
    """The studies of anybody's Python file, which is executed.

    Raises
    ------
    ValueError
        If there is no such file, it raises (file and line are named), or it defines no study.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"there is no Python file {path}; name a file ending in .py that defines a study")
    resolved = path.resolve()
    # the place enters the name: two files called growth.py are two modules, and neither hides a package
    place = hashlib.sha256(str(resolved).encode()).hexdigest()[:12]
    name = f"gradlab_claim_{path.stem}_{place}"
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be imported as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise ValueError(_raised(resolved, str(path), error)) from error
    return [replace(study, origin=str(resolved)) for study in _defined(module, str(path))]


def resolve(origin: str, ids: Sequence[str]) -> list[Study]:
    """The studies again, in another process: from the file or module that they say they came from.

    Raises
    ------
    ValueError
        If the file no longer holds one of them.
    """
    found = {study.claim.id: study for study in load_file(origin)} if origin.endswith(".py") else None
    if found is None:
        return load(ids)
    missing = [one for one in ids if one not in found]
    if missing:
        raise ValueError(f"{origin} no longer defines {missing[0]!r}; it defines {', '.join(found)}")
    return [found[one] for one in ids]


def _module(claim_id: str) -> str:
    known = files()
    if claim_id in known:
        return known[claim_id]
    if claim_id.endswith(".py"):
        raise UnknownClaim(f"{claim_id!r} is a file, no claim's id; load_file reads it")
    everything = [one.id for one in entries()]
    if claim_id in everything:
        raise UnknownClaim(
            f"{claim_id!r} is open: there is no study of it yet; gradlab list shows which are built"
        )
    raise UnknownClaim(f"there is no claim {claim_id!r}; {nearest(claim_id, everything)}")


def _find(claim_id: str) -> Study:
    together = _import(_module(claim_id))
    for study in together:
        if study.claim.id == claim_id:
            return study
    defined = ", ".join(study.claim.id for study in together)
    raise ValueError(
        f"{_module(claim_id)} defines {defined}, not {claim_id!r}; its entry in sources/ says it should"
    )


def _import(module_name: str) -> list[Study]:
    source, stem = module_name.rsplit(".", 2)[1:]
    path = _ROOM / source / f"{stem}.py"
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(_raised(path, str(path), error)) from error
    known = files()
    studies = _defined(module, str(path))
    for study in studies:
        if known.get(study.claim.id) != module_name:
            raise ValueError(
                f"{path} defines {study.claim.id!r}, whose entry in sources/{source}.toml names another file or "
                "does not exist; call the file as the claim, or write file = "
                f"{stem!r} in the entry"
            )
    return [replace(study, origin=module_name) for study in studies]


def _defined(module: ModuleType, path: str) -> list[Study]:
    """Every study at the top of a module, alone or in a tuple, in order, each once."""
    found: dict[int, Study] = {}
    for value in vars(module).values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, Study):
                found[id(one)] = one
    studies = list(found.values())
    if not studies:
        raise ValueError(f"{path} defines no study; end the file with STUDY = study(claim, look, cases)")
    claim_ids = [study.claim.id for study in studies]
    twice = [one for one in claim_ids if claim_ids.count(one) > 1]
    if twice:
        raise ValueError(f"{path} defines {twice[0]!r} twice; give each claim its own id")
    return studies


def _raised(path: Path, shown: str, error: BaseException) -> str:
    """``file, line n: Error: message``: the innermost line of the file that led to the error."""
    line: int | None = None
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    what = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    where = shown if line is None else f"{shown}, line {line}"
    return f"{where}: {type(error).__name__}: {what}"
