"""Claim, Measure, Study, Verdict: a statement, what is measured of it, and how the numbers decide.

A study measures numbers, one per case and :class:`Measure`; the judge turns each number, its error and
its tolerance into one of four values, and the worst decides. Nothing else enters a verdict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final, get_args

import numpy as np
import xarray as xr

SUPPORTED = "supported"
NOT_MET = "hypotheses not met"
INCONCLUSIVE = "inconclusive"
REFUTED = "refuted"

#: From the weakest to the one that decides: refuted > inconclusive > hypotheses not met > supported.
DECIDING_ORDER = (SUPPORTED, NOT_MET, INCONCLUSIVE, REFUTED)

Relation = Literal["<=", ">=", "=="]
Budget = Literal["quick", "full"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Claim:
    """A statement of a source, with what it assumes.

    Attributes
    ----------
    id : ``source.name``; the file ``claims/source/name.py`` holds its study (``-`` becomes ``_``).
    source : ``notes``, ``memo90``, ``memo112``, ``chitour``, ``cohen`` or a name of one's own.
    statement : the claim in words, as the source means it.
    formula : LaTeX, typeset as MathML in the report.
    passage : where in the source it stands (section, equation number).
    hypotheses : what the passage assumes, in words.
    convention : sum or mean, factors of two: under which reading the printed constants are tested.
    corrects : the id of the claim that this one corrects, or None.
    """

    id: str
    source: str
    statement: str
    formula: str
    passage: str
    hypotheses: tuple[str, ...] = ()
    convention: str = ""
    corrects: str | None = None

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"a claim's id was {self.id!r}; write letters, digits, '-', '_' and '.', as in 'mine.growth'"
            )


@dataclass(frozen=True)
class Measure:
    """One number per case, its relation to a tolerance, and why that tolerance.

    ``<=``: number ≤ tolerance; ``>=``: number ≥ tolerance; ``==``: |number − target| ≤ tolerance.
    ``role="hypothesis"`` marks a number that decides whether a case counts at all.
    ``why`` derives the tolerance from the source or from error analysis, before anything is run.

    Raises
    ------
    ValueError
        If the relation or role is unknown, the tolerance or target is not finite, or an ``==`` has a
        negative tolerance, which no number meets.
    """

    id: str
    statement: str
    relation: Relation
    tolerance: float
    why: str
    target: float = 0.0
    role: Literal["part", "hypothesis"] = "part"

    def __post_init__(self) -> None:
        if not self.id or "/" in self.id:
            raise ValueError(f"a measure's id was {self.id!r}; write the name of a variable, without '/'")
        if self.relation not in get_args(Relation):
            raise ValueError(_unknown(self.relation))
        if self.role not in ("part", "hypothesis"):
            raise ValueError(
                f"measure {self.id!r} has role {self.role!r}; write role='part' or role='hypothesis'"
            )
        if not (math.isfinite(self.tolerance) and math.isfinite(self.target)):
            raise ValueError(
                f"measure {self.id!r} has tolerance {self.tolerance} and target {self.target}; "
                "write finite numbers, or no measure where nothing is asked"
            )
        if self.relation == "==" and self.tolerance < 0.0:
            raise ValueError(
                f"measure {self.id!r} has relation '==' and tolerance {self.tolerance}, which no number "
                "meets; write a tolerance >= 0"
            )


@dataclass(frozen=True)
class Part:
    """The verdict of one measure: the number of its deciding case, with error and tolerance."""

    id: str
    statement: str
    relation: str
    number: float | None
    error: float | None
    tolerance: float
    target: float
    verdict: str
    case: str
    cases: int
    why: str


@dataclass(frozen=True)
class Verdict:
    """What a study says: a value, the number that decided it, and every part.

    ``part`` names the measure of the deciding number: a part, or, where the verdict is ``hypotheses not
    met``, the hypothesis that failed.
    """

    verdict: str
    part: str
    number: float | None
    error: float | None
    tolerance: float
    parts: tuple[Part, ...]
    hypotheses: tuple[Part, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, no NaN: ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """One problem and what was seen of it: a trajectory, or records without dynamics."""

    label: str
    problem: Any
    trajectory: xr.Dataset


#: What a measure writes: its number, its error bar, and its tolerance where that depends on the case.
_SUFFIXES = ("", "_error", "_tolerance")


def draw_measures(study: Study, dataset: xr.Dataset) -> Any:
    """The figure of a study that draws none of its own: every case's number against its tolerance."""
    from gradlab import figures

    return figures.measures(dataset, study.measures)


@final
@dataclass(frozen=True)
class Study:
    """How a claim is measured: ``cases`` run it, ``observe`` measures one case, the judge decides.

    Attributes
    ----------
    cases : ``cases(budget, key)`` yields :class:`Case` s; runs go through the laboratory.
    observe : ``observe(problem, trajectory)`` gives a Dataset without dims, one float64 scalar per
        measure (``<id>``, its error ``<id>_error``, and ``<id>_tolerance`` where it depends on the case).
        Variables with other dims are kept for ``draw``, padded along ``case``.
    draw : ``draw(dataset)`` gives a matplotlib figure from the collected dataset.
    origin : the module or file that the study was loaded from; set by the catalogue, empty for a study
        built in place.

    Raises
    ------
    ValueError
        If no measure has role ``part`` or the names of two variables would clash.
    """

    claim: Claim
    measures: tuple[Measure, ...]
    cases: Callable[[Budget, Any], Iterable[Case]]
    observe: Callable[[Any, xr.Dataset], xr.Dataset]
    draw: Callable[[xr.Dataset], Any] | None = None
    settings: str = ""
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not any(measure.role == "part" for measure in self.measures):
            raise ValueError(
                f"study {self.claim.id} has no measure with role 'part'; write one: its number decides"
            )
        names = [measure.id + suffix for measure in self.measures for suffix in _SUFFIXES]
        clashing = sorted({name for name in names if names.count(name) > 1} | {"case"}.intersection(names))
        if clashing:
            raise ValueError(
                f"study {self.claim.id} would write {clashing[0]!r} twice; give its measures distinct ids, "
                "none of them 'case' or another's with '_error' or '_tolerance' appended"
            )

    def judge(self, dataset: xr.Dataset) -> Verdict:
        """The verdict of a collected dataset; see :func:`judge`."""
        return judge(self.measures, dataset)

    def figure(self, dataset: xr.Dataset) -> Any:
        """The study's figure, or the generic one."""
        return self.draw(dataset) if self.draw is not None else draw_measures(self, dataset)

    def measure(self, cases: Iterable[Case]) -> xr.Dataset:
        """Observe every case and collect the numbers along the dim ``case``."""
        return collect((case.label, self.observed(case)) for case in cases)

    def observed(self, case: Case) -> xr.Dataset:
        """The numbers of one case, every measure present as a float64 scalar.

        Raises
        ------
        ValueError
            If a measure is missing or not a float64 scalar: laying cases side by side would hide either.
        """
        dataset = self.observe(case.problem, case.trajectory)
        where = f"{self.claim.id}, case {case.label!r}:"
        for measure in self.measures:
            if measure.id not in dataset:
                known = ", ".join(sorted(map(str, dataset.data_vars))) or "nothing"
                raise ValueError(f"{where} observe gave no {measure.id!r}; it gave {known}")
            for name in (measure.id + suffix for suffix in _SUFFIXES):
                if name in dataset and (dataset[name].dims != () or dataset[name].dtype != np.float64):
                    raise ValueError(
                        f"{where} {name!r} has dtype {dataset[name].dtype} and dims {dataset[name].dims}; "
                        "observe must give a float64 scalar"
                    )
        return dataset


def collect(observed: Iterable[tuple[str, xr.Dataset]]) -> xr.Dataset:
    """Lay observed cases along ``case``; a variable that only some cases have is NaN elsewhere.

    Along a dim without coordinate values, shorter cases are padded at the end; along one with values the
    cases are aligned by them. Padding and absence are NaN, or the empty string for text; where they occur
    integers and booleans become float64. The judge treats NaN as inconclusive.
    """
    labels, datasets = [], []
    for label, dataset in observed:
        if "case" in dataset.variables or "case" in dataset.dims:
            raise ValueError(
                f"case {label!r} has a 'case' of its own; observe must give one case, without it"
            )
        labels.append(label)
        datasets.append(dataset.drop_attrs().reset_coords().as_numpy())
    if not datasets:
        raise ValueError("a study needs at least one case; its cases() yielded none")
    lengths: dict[Hashable, int] = {}
    for dataset in datasets:
        for dim, length in dataset.sizes.items():
            lengths[dim] = max(length, lengths.get(dim, 0))
    together = xr.concat(
        [_padded(dataset, lengths) for dataset in datasets],
        dim="case",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
    )
    plain = {name: _plain(variable.variable) for name, variable in together.data_vars.items()}
    return together.assign(plain).assign_coords(case=("case", np.asarray(labels, dtype=str)))


def _padded(dataset: xr.Dataset, lengths: Mapping[Hashable, int]) -> xr.Dataset:
    short = {
        dim: lengths[dim] - length
        for dim, length in dataset.sizes.items()
        if dim not in dataset.indexes and lengths[dim] > length
    }
    longer = {}
    for name, variable in dataset.data_vars.items():
        if short.keys() & set(variable.dims):
            values = variable.values.astype(np.float64) if variable.dtype.kind in "biu" else variable.values
            fill: Any = "" if values.dtype.kind == "U" else np.nan
            widths = [(0, short.get(dim, 0)) for dim in variable.dims]
            longer[name] = (variable.dims, np.pad(values, widths, constant_values=fill))
    return dataset.drop_vars(list(longer)).assign(longer)


def _plain(variable: xr.Variable) -> xr.Variable:
    """Undo the object arrays that absence makes of text and booleans: no file format takes them."""
    if variable.dtype != object:
        return variable
    values = variable.values
    given = [value for value in values.ravel() if not (isinstance(value, float) and math.isnan(value))]
    if all(isinstance(value, str) for value in given):
        text = [value if isinstance(value, str) else "" for value in values.ravel()]
        return xr.Variable(variable.dims, np.asarray(text, dtype=str).reshape(values.shape))
    return xr.Variable(variable.dims, values.astype(np.float64))


def compare(
    relation: str, number: float, error: float, tolerance: float, target: float = 0.0
) -> tuple[str, float]:
    """The verdict of one number, and how far it is from deciding (larger is worse).

    With error bar e: supported if the whole bar [number − e, number + e] satisfies the relation, refuted
    if none of it does, inconclusive if it straddles the tolerance or if number, error or tolerance is not
    finite (or the error negative): a number that cannot be shown decides nothing.
    """
    if not (math.isfinite(number) and math.isfinite(tolerance) and math.isfinite(error) and error >= 0.0):
        return INCONCLUSIVE, math.inf
    if relation == "<=":
        excess = number - tolerance
    elif relation == ">=":
        excess = tolerance - number
    elif relation == "==":
        excess = abs(number - target) - tolerance
    else:
        raise ValueError(_unknown(relation))
    if excess + error <= 0.0:
        return SUPPORTED, excess + error
    if excess - error > 0.0:
        return REFUTED, excess
    return INCONCLUSIVE, excess


def _unknown(relation: str) -> str:
    return f"unknown relation {relation!r}: write '<=', '>=' or '=='"


def _column(dataset: xr.Dataset, name: str, default: float | None = None) -> np.ndarray:
    if name not in dataset:
        if default is None:
            known = ", ".join(sorted(map(str, dataset.data_vars)))
            raise ValueError(f"the dataset has no variable {name!r} to judge; it has: {known}")
        return np.full(dataset.sizes["case"], default)
    values = dataset[name].values
    if values.dtype != np.float64 or dataset[name].dims != ("case",):
        raise ValueError(
            f"{name!r} has dtype {values.dtype} and dims {dataset[name].dims}; a judge takes float64 over "
            "('case',): measure in float64"
        )
    return values


def _part(measure: Measure, dataset: xr.Dataset, met: np.ndarray) -> Part:
    numbers = _column(dataset, measure.id)
    errors = _column(dataset, f"{measure.id}_error", 0.0)
    tolerances = _column(dataset, f"{measure.id}_tolerance", measure.tolerance)
    labels = [str(label) for label in dataset["case"].values]
    ranks = []
    for i, (number, error, tolerance) in enumerate(zip(numbers, errors, tolerances, strict=True)):
        rank = _rank(measure.relation, float(number), float(error), float(tolerance), measure.target)
        ranks.append((rank if met[i] else (DECIDING_ORDER.index(NOT_MET), *rank[1:]), i))
    # the first of equals: max keeps it, since the index is no part of the key
    rank, i = max(ranks, key=lambda ranked: ranked[0])
    return Part(
        id=measure.id,
        statement=measure.statement,
        relation=measure.relation,
        number=_finite(numbers[i]),
        error=_finite(errors[i]),
        tolerance=float(tolerances[i]) if math.isfinite(tolerances[i]) else measure.tolerance,
        target=measure.target,
        verdict=DECIDING_ORDER[rank[0]],
        case=labels[i],
        cases=len(labels),
        why=measure.why,
    )


def _rank(
    relation: str, number: float, error: float, tolerance: float, target: float
) -> tuple[int, float, float]:
    """What the worst is the largest of: the verdict, then how far beyond in tolerances, then the far end.

    The far end of the error bar parts numbers so far below their tolerance that both round to the same.
    """
    verdict, excess = compare(relation, number, error, tolerance, target)
    scale = abs(tolerance) if tolerance else 1.0
    far = {"<=": number, ">=": -number, "==": abs(number - target)}[relation] + error
    return DECIDING_ORDER.index(verdict), excess / scale, far if math.isfinite(far) else math.inf


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def judge(measures: Sequence[Measure], dataset: xr.Dataset) -> Verdict:
    """Judge every case of every measure; the worst number decides.

    A case whose hypotheses are not certainly met is ``hypotheses not met`` for every part. The parts, and
    the cases within a part, combine by refuted > inconclusive > hypotheses not met > supported; among
    equals the number furthest beyond its tolerance, counted in tolerances, is the deciding one. Where the
    hypotheses fail and nothing worse decides, the number of the failing hypothesis is the deciding one.

    Raises
    ------
    ValueError
        If there is no case, or a measure is missing, not float64 (float32 is refused) or not over the
        dim ``case``.
    """
    if not dataset.sizes.get("case") or "case" not in dataset.coords:
        raise ValueError(
            f"a judge takes numbers over labelled cases; the dataset has dims {dict(dataset.sizes)} and "
            f"coordinates {sorted(map(str, dataset.coords))}: collect at least one case"
        )
    everyone = np.ones(dataset.sizes["case"], dtype=bool)
    met = everyone.copy()
    hypotheses = []
    for measure in measures:
        if measure.role == "hypothesis":
            hypotheses.append(_part(measure, dataset, everyone))
            met &= np.asarray(list(_holds(measure, dataset)), dtype=bool)
    parts = [_part(measure, dataset, met) for measure in measures if measure.role == "part"]
    if not parts:
        raise ValueError("a study needs at least one measure with role 'part'")
    decider = max(parts, key=_severity)
    verdict = decider.verdict
    if verdict == NOT_MET:
        # what a claim says where its hypotheses fail decides nothing; the failing hypothesis does
        decider = max(hypotheses, key=_severity)
    return Verdict(
        verdict=verdict,
        part=decider.id,
        number=decider.number,
        error=decider.error,
        tolerance=decider.tolerance,
        parts=tuple(parts),
        hypotheses=tuple(hypotheses),
    )


def _holds(measure: Measure, dataset: xr.Dataset) -> Iterator[bool]:
    columns = (
        _column(dataset, measure.id),
        _column(dataset, f"{measure.id}_error", 0.0),
        _column(dataset, f"{measure.id}_tolerance", measure.tolerance),
    )
    for number, error, tolerance in zip(*columns, strict=True):
        verdict, _ = compare(measure.relation, float(number), float(error), float(tolerance), measure.target)
        yield verdict == SUPPORTED


def _severity(part: Part) -> tuple[int, float, float]:
    number = math.nan if part.number is None else part.number
    error = math.nan if part.error is None else part.error
    _, *beyond = _rank(part.relation, number, error, part.tolerance, part.target)
    return DECIDING_ORDER.index(part.verdict), beyond[0], beyond[1]
