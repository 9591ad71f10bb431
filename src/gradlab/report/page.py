"""One HTML page: self-contained, without script or outside requests, for screen, phone, dark and paper."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import xarray as xr
from markupsafe import Markup

from gradlab.report import drawing, mathematics, numbers, verdicts
from gradlab.report.subject import Subject

_HERE = Path(__file__).parent
_LISTED = 8  # values of one observable that are written out; beyond, their range


def render(
    results: Iterable[Any],
    *,
    title: str = "Which claims hold",
    provenance: Mapping[str, Any] | None = None,
    pending: Iterable[Any] = (),
    sources: Mapping[str, str] | None = None,
    drawn: dict[str, drawing.Drawing] | None = None,
) -> str:
    """The page of a verification, whole or still under way.

    Parameters
    ----------
    results : results of studies, in the order in which they are shown; an error is shown, never raised.
    provenance : what is known of the whole run (versions, seed, budget, cores, date); nested is fine.
    pending : studies (or ids) not run yet.
    sources : code of a source to its title; the catalogue's unless given.
    drawn : figures by claim id, filled here; hand the same dict to every call while the page grows, and
        each figure is drawn once.
    """
    titles = _sources() if sources is None else sources
    drawn = {} if drawn is None else drawn
    entries = [verdicts.entry(result, titles, drawn) for result in results]
    entries += [verdicts.waiting(study, titles) for study in pending]
    _cross_refer(entries)
    groups: dict[str, list[verdicts.Entry]] = {}
    for one in entries:
        groups.setdefault(one.source, []).append(one)
    counts = [(word, kind, sum(one.kind == kind for one in entries)) for word, kind in verdicts.KINDS.items()]
    return fill(
        "verdicts.html.jinja",
        title=title,
        entries=entries,
        groups=groups,
        counts=[count for count in counts if count[2]],
        meanings=verdicts.MEANINGS,
        provenance=facts(provenance),
    )


def write(path: str | Path, results: Iterable[Any], **options: Any) -> Path:
    """Write :func:`render`'s page to `path`, whole or not at all; folders are made."""
    from gradlab.store.disk import Disk

    path = Path(path)
    page = render(results, **options).encode()
    disk = Disk()
    disk.mkdir(path.parent)
    disk.write_bytes_atomically(path, page)
    return path


def render_run(
    dataset: xr.Dataset,
    specification: Any,
    provenance: Mapping[str, Any] | None = None,
    figures: Mapping[str, Any] | Iterable[Any] | None = None,
    *,
    title: str = "One run",
    subject: Subject | None = None,
    drawings: Sequence[drawing.Drawing] | None = None,
) -> str:
    """The page of one run of somebody's own problem: how it ended, what moved, final values, what the problem is.

    Parameters
    ----------
    dataset : of ``laboratory.run``: dims record [, member, layer, …], attribute ``result``.
    specification : the TOML text, a (nested) mapping, or a pydantic model.
    provenance : added to the dataset's own.
    figures : matplotlib figures, or caption to figure; the recorded trajectory unless given.
    subject : what is shown first, reference values, and sentences on the end (``report.subject.subject``).
    drawings : of ``drawing.of_run``, where they are drawn already.
    """
    subject = subject or Subject()
    if figures is not None:
        chosen: Sequence[drawing.Drawing] = _figures(figures)
    else:
        chosen = drawing.of_run(dataset, subject) if drawings is None else drawings
    own = json.loads(dataset.attrs["provenance"]) if dataset.attrs.get("provenance") else {}
    if hasattr(specification, "model_dump"):
        specification = specification.model_dump(mode="json")
    text = specification if isinstance(specification, str) else ""
    return fill(
        "run.html.jinja",
        title=title,
        outcome=_outcome(dataset),
        said=[mathematics.prose(one) for one in subject.said],
        still=list(drawing.constants(dataset).values()) if figures is None else [],
        values=_final_values(dataset),
        members=dataset.sizes.get("member", 0),
        specification=text,
        tables=[] if text else _tables(specification or {}),
        drawings=chosen,
        provenance=facts({**own, **(provenance or {})}),
    )


def facts(mapping: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """A nested mapping as label and text, in its order; None and empty are left out."""
    rows = []
    for name, value in (mapping or {}).items():
        if value is not None and value != "" and value != [] and value != {}:
            rows.append((str(name).replace("_", " "), _text(value)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return numbers.plain(value, 12) if isinstance(value, float) else str(value)


def _sources() -> Mapping[str, str]:
    from gradlab.claims.entries import SOURCES

    return SOURCES


def _cross_refer(entries: list[verdicts.Entry]) -> None:
    by_id = {one.id: one for one in entries}
    for one in entries:
        if one.corrects in by_id:
            by_id[one.corrects].corrected_by.append(one.id)


def _outcome(dataset: xr.Dataset) -> list[tuple[str, int]]:
    """How the run ended, in words, with the number of members that ended so."""
    result = str(dataset.attrs.get("result", "") or "not said")
    try:
        members = json.loads(result)
    except ValueError:
        members = None
    words = [str(word) for word in members] if isinstance(members, list) else [result]
    return [(word, words.count(word)) for word in dict.fromkeys(words)]


def _final_values(dataset: xr.Dataset) -> list[tuple[str, str, Markup]]:
    """Name, what it is over, and the value with its error at the last record."""
    if not dataset.sizes.get("record"):
        return []
    last = dataset.isel(record=-1)
    told = ("t", "log_t", "step", "evaluations", "jacobians", "rejected", "balance")
    clocks = [name for name in told if name in dataset]
    rows = []
    for name in [*clocks, *drawing.observed(dataset)]:
        value = np.asarray(last[name].values, dtype=float).ravel()
        error = (
            np.asarray(last[f"{name}_error"].values, dtype=float).ravel() if f"{name}_error" in last else None
        )
        bars = np.zeros_like(value) if error is None else error
        words = [numbers.measured(*pair) for pair in zip(value.tolist(), bars.tolist(), strict=True)]
        if value.size > _LISTED:
            low, high = numbers.plain(np.nanmin(value)), numbers.plain(np.nanmax(value))
            words = [f"{low} … {high}"]
        over = " × ".join(f"{size} {dim}" + "s" * (size > 1) for dim, size in last[name].sizes.items())
        rows.append((name.replace("_", " "), over, mathematics.superscripts(",  ".join(words))))
    return rows


def _figures(figures: Any) -> list[drawing.Drawing]:
    pairs = figures.items() if isinstance(figures, Mapping) else [("", figure) for figure in figures]
    return [drawing.drawing(figure, f"figure-{i}", caption) for i, (caption, figure) in enumerate(pairs, 1)]


def _tables(mapping: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Top-level tables of a specification; plain keys come first, under no heading."""
    plain = {name: value for name, value in mapping.items() if not isinstance(value, Mapping)}
    tables = [("", facts(plain))] if facts(plain) else []
    tables += [(name, facts(value)) for name, value in mapping.items() if isinstance(value, Mapping)]
    return [table for table in tables if table[1]]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["prose"] = mathematics.prose
    environment.filters["anchor"] = verdicts.anchor
    return environment


def fill(template: str, **content: Any) -> str:
    """A page of this room: its template with the style and this content."""
    style = Markup((_HERE / "style.css").read_text(encoding="utf-8"))
    return _environment().get_template(template).render(style=style, **content)
