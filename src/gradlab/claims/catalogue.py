"""The claims that gradlab knows, and anybody's own: which file holds which, imported only when asked for.

``notes.min-norm`` lives in ``claims/notes/min_norm.py``, which defines ``STUDY = Study(...)``, or
``STUDIES = (Study(...), Study(...))`` where ``notes.min-norm-corrected`` stands beside it. Adding a claim
means adding that file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from gradlab.claims.claim import Study

#: The sources, in the order in which their claims are listed.
SOURCES = {
    "notes": "T. Poggio, lecture notes “Solutions for DNNs: dynamics and norms”",
    "memo90": "T. Poggio, Q. Liao, B. Miranda, A. Banburski, X. Boix, J. Hidary, “Theory IIIb: "
    "Generalization in Deep Networks”, CBMM Memo 90, 29 June 2018",
    "memo112": "T. Poggio, Q. Liao, “Implicit dynamic regularization in deep networks”, CBMM Memo 112, "
    "17 August 2020",
    "chitour": "Y. Chitour (with Z. Liao, R. Couillet), “Dynamical aspects of Deep Learning”, slides, "
    "21 January 2019",
    "cohen": "N. Cohen, “Analyzing Optimization in Deep Learning via Trajectories”, slides, 19 February 2019",
}

CORRECTED = "-corrected"

_ROOM = Path(__file__).parent
_WRITE = "end the file with STUDY = Study(claim, measures, cases, observe), or with STUDIES = (first, second)"


class UnknownClaim(ValueError):
    """There is no such claim or source; the message names the nearest."""


def base(claim_id: str) -> str:
    """The id under which a claim's file is found and its random key drawn: without ``-corrected``."""
    return claim_id.removesuffix(CORRECTED)


def files() -> dict[str, str]:
    """The module of every claim's file by the claim's id, by source and then name; nothing is imported."""
    found = {}
    for source in SOURCES:
        for path in sorted((_ROOM / source).glob("*.py")):
            if not path.stem.startswith("_"):
                name = path.stem.replace("_", "-")
                found[f"{source}.{name}"] = f"gradlab.claims.{source}.{path.stem}"
    return found


def ids() -> list[str]:
    """Every claim's id, by source and then name; imports every file."""
    return [study.claim.id for study in load()]


def load(ids: Iterable[str] | None = None, source: str | None = None) -> list[Study]:
    """The studies of some ids, of a source, or of everything, importing no other file.

    Raises
    ------
    UnknownClaim
        If there is no such id or source.
    ValueError
        If both are given, or a file cannot be imported or does not define its studies.
    """
    if isinstance(ids, str):
        raise ValueError(f"ids was the string {ids!r}; write a list: [{ids!r}]")
    if ids is not None and source is not None:
        raise ValueError("both ids and a source were given; write load(ids) or load(source=...)")
    known = files()
    if ids is not None:
        return [_find(one, known) for one in dict.fromkeys(ids)]
    if source is not None and source not in SOURCES:
        raise UnknownClaim(f"there is no source {source!r}; {_nearest(source, SOURCES)}")
    wanted = [one for one in known if source in (None, one.partition(".")[0])]
    return [study for one in wanted for study in _import(one, known[one])]


def load_together(claim_id: str) -> list[Study]:
    """Every study in the file of a claim: itself, and its corrected form if there is one.

    Raises
    ------
    UnknownClaim
        If there is no such file.
    """
    known = files()
    of_file = base(claim_id)
    if of_file not in known:
        raise UnknownClaim(f"there is no claim {claim_id!r}; {_nearest(claim_id, known)}")
    return _import(of_file, known[of_file])


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


def _find(claim_id: str, known: dict[str, str]) -> Study:
    if claim_id.endswith(".py"):
        raise UnknownClaim(f"{claim_id!r} is a file, no claim's id; load_file reads it")
    together = load_together(claim_id)
    for study in together:
        if study.claim.id == claim_id:
            return study
    candidates = [*known, *(study.claim.id for study in together)]
    raise UnknownClaim(f"there is no claim {claim_id!r}; {_nearest(claim_id, candidates)}")


def _nearest(given: str, known: Iterable[str]) -> str:
    names = list(known)
    close = get_close_matches(given.lower().replace("_", "-"), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    source = given.partition(".")[0]
    nearby = [name for name in names if name.startswith(f"{source}.")] or list(SOURCES)
    return f"there are: {', '.join(nearby)}"


def _import(claim_id: str, module_name: str) -> list[Study]:
    source, stem = module_name.rsplit(".", 2)[1:]
    path = _ROOM / source / f"{stem}.py"
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(_raised(path, str(path), error)) from error
    studies = _defined(module, str(path))
    for study in studies:
        if base(study.claim.id) != claim_id or study.claim.source != source:
            raise ValueError(
                f"{path} defines {study.claim.id!r} of source {study.claim.source!r}; a claim's file bears "
                f"its name: call the claim {claim_id!r} (or {claim_id + CORRECTED!r}) with source {source!r}"
            )
    return [replace(study, origin=module_name) for study in studies]


def _defined(module: ModuleType, path: str) -> list[Study]:
    names = [name for name in ("STUDY", "STUDIES") if hasattr(module, name)]
    if not names:
        raise ValueError(f"{path} defines no study; {_WRITE}")
    if len(names) == 2:
        raise ValueError(f"{path} defines both STUDY and STUDIES; {_WRITE}")
    value = getattr(module, names[0])
    studies = [value] if names[0] == "STUDY" else list(value) if isinstance(value, tuple | list) else []
    if not studies:
        raise ValueError(f"{path}: STUDIES is {type(value).__name__} with no study in it; {_WRITE}")
    for study in studies:
        if not isinstance(study, Study):
            raise ValueError(f"{path}: {names[0]} holds {type(study).__name__}, not a Study; {_WRITE}")
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
