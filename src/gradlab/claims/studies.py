"""How a study is written: a class says what is seen of one case, and its methods are the numbers asked of it.

    class Span(one_layer.Look):
        @at_most(1e-9)
        def null_motion(self) -> Number:
            \"\"\"Share of the motion that lies beside the span of the data.

            A step rounds W by eps ‖W‖: k of them leave k eps ‖W‖/‖ΔW‖.
            \"\"\"

    STUDY = study("notes.span", Span, cases, quick={"draws": 24}, full={"draws": 48}, few={"draws": 3})

The method's name is the measure's id, the first paragraph of its docstring the statement, the rest the reason for its
tolerance. Every case is looked at twice, as the fine and as the coarse solve gave it (or as it is and shaken by
rounding); three times what the two numbers differ by is the error bar, to which a method adds what that cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
import xarray as xr

from gradlab.claims import entries
from gradlab.claims.cases import Case, collect
from gradlab.claims.claim import Claim, Measure
from gradlab.claims.judging import BALANCE, Verdict, judge
from gradlab.claims.looks import Look
from gradlab.claims.measured import measured
from gradlab.laboratory.balance import violated
from gradlab.problem.precision import float64

Budget = Literal["quick", "full"]

_SETTING = "setting"


@final
@dataclass(frozen=True)
class Study:
    """A Study says how a claim is measured: ``cases`` run it, ``look`` measures one case, the judge decides.

    Attributes
    ----------
    look : the class that looks at a case; its measures are the study's.
    cases : ``cases(key, **settings)`` yields :class:`Case` s; runs go through the laboratory.
    budgets : the settings of ``quick``, ``full`` and ``few`` (a handful of cases, for tests).
    figure : ``figure(dataset, verdict)`` gives a matplotlib figure from the collected dataset.
    settings : the study's settings, in words.
    origin : the module or file that the study was loaded from; set by the catalogue.

    Examples
    --------
    >>> import gradlab as gl
    >>> class Mine(gl.claims.Look):
    ...     @gl.claims.at_most(4.0)
    ...     def growth(self):
    ...         '''Largest weight.
    ...
    ...         The source says that it stays below 4.
    ...         '''
    ...         return gl.claims.Number(float(self.end.max()), error=1e-9)
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> claim = gl.claims.Claim("mine.growth", "No weight exceeds 4.")
    >>> study = gl.claims.study(claim, Mine, lambda key: [gl.claims.point(problem, [3.0], draw=0)])
    >>> seen = study.measure(study.run("quick", None))
    >>> study.judge(seen).verdict, seen.growth.values
    ('supported', array([3.]))
    """

    claim: Claim
    look: type[Look]
    cases: Callable[..., Iterable[Case]]
    budgets: Mapping[str, Mapping[str, Any]]
    figure: Callable[[xr.Dataset, Verdict], Any] | None = None
    settings: str = ""
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        roles = [measure.role for measure in self.measures]
        if "part" not in roles:
            raise ValueError(
                f"study {self.claim.id} has no measure with role 'part'; write one: its number decides"
            )
        known = {one.id for one in self.claim.sentences}
        for measure in self.measures:
            if measure.sentence and measure.sentence not in known:
                raise ValueError(
                    f"{self.claim.id}: measure {measure.id!r} speaks of sentence {measure.sentence!r}; the claim has "
                    f"{', '.join(sorted(known))}"
                )
            if measure.repaired and measure.repaired not in {one.id for one in self.measures}:
                raise ValueError(
                    f"{self.claim.id}: {measure.id!r} names {measure.repaired!r}, which is no measure"
                )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The hypothesis that the claim speaks of the problem at all, and the measures of the look."""
        rule = Measure(
            _SETTING,
            f"{self.look.setting} (1 if so)",
            ">=",
            0.5,
            "the problem says it",
            role="hypothesis",
            exact=True,
        )
        numbers = tuple(one.measure for one in measured(self.look))
        return (rule, *numbers) if self.look.setting else numbers

    def run(self, budget: str, key: Any) -> Iterable[Case]:
        """The cases of a budget: ``quick``, ``full``, or ``few``, a handful for tests."""
        drawn = float64(lambda: iter(self.cases(key, **self.budgets[budget])))()
        following = float64(lambda: next(drawn, None))
        return iter(following, None)

    def judge(self, dataset: xr.Dataset) -> Verdict:
        """The verdict of a collected dataset; see :func:`gradlab.claims.judging.judge`."""
        return judge(self.measures, dataset, self.claim)

    def drawn(self, dataset: xr.Dataset, verdict: Verdict) -> Any:
        """The study's figure, or every case's number against its tolerance."""
        from gradlab.claims import plots

        return (
            self.figure(dataset, verdict) if self.figure else plots.numbers(self.measures, dataset, verdict)
        )

    def measure(self, cases: Iterable[Case]) -> xr.Dataset:
        """Observe every case and collect the numbers along the dim ``case``."""
        return collect((case.label, self.observed(case)) for case in cases)

    @float64
    def observed(self, case: Case, only: Collection[str] | None = None) -> xr.Dataset:
        """The numbers of one case, each from two looks, its facts, and what the figure needs; or ``only`` some."""
        if not self.look.speaks_of(case.problem):
            outside = dict.fromkeys((_SETTING,), 0.0) | {f"{_SETTING}_error": 0.0}
            nothing: dict[str, float] = {}
            for one in measured(self.look):
                nothing |= {one.measure.id: np.nan, f"{one.measure.id}_error": np.inf}
                nothing |= {f"{one.measure.id}_asked": 1.0, f"{one.measure.id}_exact": 0.0}
            return _dataset({**case.facts, **outside, **nothing})
        look = case.look(self.look)
        found: dict[str, Any] = dict(case.facts)
        if np.any(violated(case.trajectory)):
            found |= {BALANCE.id: 1.0, f"{BALANCE.id}_error": 0.0}
            found |= {f"{BALANCE.id}_asked": 1.0, f"{BALANCE.id}_exact": 1.0}
        if self.look.setting:
            found |= {_SETTING: 1.0, f"{_SETTING}_error": 0.0}
        for one in measured(self.look):
            if only is None or one.measure.id in only:
                found |= one.seen(look, lambda: case.second.look(self.look))
        return _dataset(found | look.shown() if only is None else found)


def study(
    claim: str | Claim,
    look: type[Look],
    cases: Callable[..., Iterable[Case]],
    *,
    quick: Mapping[str, Any] | None = None,
    full: Mapping[str, Any] | None = None,
    few: Mapping[str, Any] | None = None,
    figure: Callable[[xr.Dataset, Verdict], Any] | None = None,
    settings: str = "",
) -> Study:
    """``study`` joins a claim (or its id in the catalogue), the class that looks at a case, and the cases.

    Parameters
    ----------
    quick, full, few : settings given to ``cases``: of the usual run, of the long one, and of the few cases that tests
        take; ``full`` and ``few`` need name only what differs from ``quick``.
    figure : see :class:`Study`; ``gradlab.claims.plots.Figure`` is one made of data.

    Examples
    --------
    >>> import gradlab as gl
    >>> class Mine(gl.claims.Look):
    ...     @gl.claims.at_most(4.0)
    ...     def growth(self):
    ...         '''Largest weight.
    ...
    ...         The source says that it stays below 4.
    ...         '''
    ...         return gl.claims.Number(float(self.end.max()), error=1e-9)
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> claim = gl.claims.Claim("mine.growth", "No weight exceeds 4.")
    >>> def cases(key, draws):
    ...     return [gl.claims.point(problem, [3.0], draw=i) for i in range(draws)]
    >>> study = gl.claims.study(claim, Mine, cases, quick={"draws": 2}, full={"draws": 8})
    >>> [case.label for case in study.run("quick", None)], study.budgets["full"]
    (['draw = 0', 'draw = 1'], {'draws': 8})
    """
    usual = dict(quick or {})
    budgets = {"quick": usual, "full": usual | dict(full or {}), "few": usual | dict(few or {})}
    found = entries.entry(claim) if isinstance(claim, str) else claim
    return Study(found, look, cases, budgets, figure, " ".join(settings.split()))


def section(text: str | None, title: str) -> str:
    """The paragraph of a docstring that begins with a title."""
    return " ".join(next((part for part in (text or "").split("\n\n") if part.startswith(title)), "").split())


def _dataset(numbers: Mapping[str, Any]) -> xr.Dataset:
    def variable(value: Any) -> Any:
        if isinstance(value, tuple):
            return value
        return ((), value if isinstance(value, str) else np.float64(value))

    for name in numbers:
        if "/" in name:
            raise ValueError(
                f"a number or fact of a case is called {name!r}; files take no '/' in names: write 'over'"
            )
    return xr.Dataset({name: variable(value) for name, value in numbers.items()})
