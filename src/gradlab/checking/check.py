"""``gl.check``: which theorems apply to a run, what they predict, and whether it happened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.checking import findings
from gradlab.checking.assumed import Assumed
from gradlab.checking.findings import Finding
from gradlab.checking.run import gathered
from gradlab.checking.suggesting import Suggestion, suggested
from gradlab.checking.theorem import HOLDS, NOT_APPLICABLE, REFUTED, UNDECIDED, UNKNOWN, Judgement, judged
from gradlab.checking.theorems import THEOREMS
from gradlab.claims.entries import SOURCES, entry
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem


@dataclass(frozen=True)
class Checked:
    """The table of a run.

    Attributes
    ----------
    rows : one a theorem. found : what theorems do not expect, each with its number.
    facts : (what, words) of the run: steps, network, data. steps : of the checkpoints. remarks : how names matched.
    suggestions : what theory suggests for it, or that it is silent.
    """

    rows: tuple[Judgement, ...]
    found: tuple[Finding, ...]
    facts: tuple[tuple[str, str], ...]
    steps: tuple[int, ...]
    remarks: tuple[str, ...]
    suggestions: tuple[Suggestion, ...] = ()

    def having(self, verdict: str) -> tuple[Judgement, ...]:
        """The rows of a verdict: holds, refuted, undecided, not applicable, unknown."""
        return tuple(row for row in self.rows if row.verdict == verdict)

    @property
    def code(self) -> int:
        """0 where all applicable theorems hold or are undecided, 1 where one is refuted, 3 where none applies."""
        if self.having(REFUTED):
            return 1
        return 0 if self.having(HOLDS) or self.having(UNDECIDED) else 3

    def record(self) -> dict[str, Any]:
        """Plain values, ready for JSON: no NaN, null for what is not known."""
        return {
            "format": 1,
            "steps": list(self.steps),
            "facts": [{"name": name, "words": words} for name, words in self.facts],
            "found": [
                {"name": one.name, "number": _plain(one.number), "words": one.words} for one in self.found
            ],
            "remarks": list(self.remarks),
            "code": self.code,
            "theorems": [_row(row) for row in self.rows],
            "suggestions": [_suggestion(one) for one in self.suggestions],
        }

    def __str__(self) -> str:
        lines = [f"{name}: {words}" for name, words in self.facts]
        lines += [f"found: {one.words}" for one in self.found]
        for verdict in (REFUTED, HOLDS, UNDECIDED, UNKNOWN, NOT_APPLICABLE):
            for row in self.having(verdict):
                told = row.measured.words if row.measured else row.why
                lines.append(f"{row.verdict}: {row.title} [{row.claim}]: {told}")
        lines += [f"{one.title}: {one.words} [{one.claim}]" for one in self.suggestions]
        return "\n".join(lines)


@float64
def check(problem: Any, checkpoints: Any, optimiser: Any = "") -> Checked:
    """This asks of a training run which theorems apply to it, and holds those that do against what happened.

    Every hypothesis is measured: the steps on checkpoints that are one step apart, the network by probing it as a
    function, the data as they are. A theorem is judged only between steps where all its hypotheses are known to hold;
    what is not known is *unknown*, never assumed.

    Parameters
    ----------
    problem : network, loss and data of the training. checkpoints : the folder of a :class:`gradlab.Probe` (or of
        ``.npz``, ``.safetensors``, ``torch.save`` files), or weights by step.
    optimiser : words such as ``"sgd lr=0.1 momentum=0.9"``; those of the Probe if not given.

    Raises
    ------
    ValueError
        For no problem, a folder that cannot be read, weights of another network, or fewer than two checkpoints.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.data.linear_regression(0, N=6, d=4)
    >>> problem = gl.Problem(gl.Dense.deep_linear((4, 3, 1)), gl.Square(), data)
    >>> weights, run = problem.network.init(jax.random.key(0), gl.init.Balanced(0.5)), {}
    >>> for step in range(40):
    ...     run[step] = weights
    ...     gradient = problem.gradient(weights)
    ...     weights = tuple(np.asarray(w) - 0.002 * np.asarray(g) for w, g in zip(weights, gradient))
    >>> checked = gl.check(problem, run, "gd lr=0.002")
    >>> [row.claim for row in checked.having("holds")][:2]
    ['chitour.invariants', 'cohen.balanced-preserved']
    >>> print(checked.rows[0].hypotheses[0].words)
    f = W_K ⋯ W_1 x to ...
    """
    if not isinstance(problem, Problem):
        raise ValueError(
            f"a Problem was expected, not {type(problem).__name__}: write Problem(network, loss, data)"
        )
    run = gathered(problem, checkpoints, optimiser)
    if len(run.steps) < 2:
        raise ValueError(
            "there is one checkpoint; a run needs two or more: let a Probe write them while it trains"
        )
    assumed = Assumed(run)
    rows = tuple(judged(theorem, assumed) for theorem in THEOREMS)
    told = findings.found(assumed), _facts(assumed), tuple(map(int, run.steps)), run.remarks
    return Checked(rows, *told, suggested(assumed))


def _facts(assumed: Assumed) -> tuple[tuple[str, str], ...]:
    run, every = assumed.run, np.arange(assumed.count)
    unit = run.unit
    said = [
        (
            "checkpoints",
            f"{assumed.count}, from {unit} {run.steps[0]} to {run.steps[-1]}; {len(run.pairs)} pairs one step apart",
        ),
        ("optimiser", f"said: {run.optimiser}; measured: {_rule(assumed)}"),
        ("layers", ", ".join(run.layers)),
    ]
    for one in (
        assumed.homogeneous(1), assumed.alone, assumed.linear, assumed.chain, assumed.overparametrised, assumed.precise,
        assumed.small_step, assumed.separable, assumed.separated,
    ):  # fmt: skip
        if np.any(one.status >= 0):  # what is not asked of such a run is left out
            said.append((one.name, one.said(every[-1:] if one is assumed.separated else every)))
    said.append(
        (
            "test leakage",
            "unknown: not measured but as equal inputs"
            if run.problem.data.test_inputs is not None
            else "unknown: no test split",
        )
    )
    return tuple(said)


def _rule(assumed: Assumed) -> str:
    rule = assumed.rule
    if rule.name in ("unknown", "other"):
        return assumed.descent.said(np.arange(assumed.count)) if rule.name == "other" else "nothing"
    return f"η = {rule.rate:.6g}, momentum {rule.momentum:.3g}, decay {assumed.decay:.3g}"


def _row(row: Judgement) -> dict[str, Any]:
    claim = entry(row.claim)
    measured = row.measured
    return {
        "claim": row.claim,
        "source": SOURCES[claim.source],
        "passage": claim.passage,
        "sentence": row.sentence,
        "title": row.title,
        "verdict": row.verdict,
        "hypotheses": [
            {"name": h.name, "status": h.status, "words": h.words, "value": h.value, "relation": h.relation,
             "bound": h.bound, "step": h.step, "when": h.when}
            for h in row.hypotheses
        ],
        "interval": list(row.interval) if row.interval else None,
        "why": row.why,
        "change": row.change,
        "predicted": measured.predicted if measured else None,
        "measured": measured.words if measured else None,
        "number": _plain(measured.number) if measured else None,
        "bar": _plain(measured.bar) if measured else None,
        "most": _plain(measured.most) if measured else None,
        "timeline": {name: list(status) for name, status in row.timeline},
    }  # fmt: skip


def _suggestion(one: Suggestion) -> dict[str, Any]:
    claim = entry(one.claim)
    numbers = {
        name: None if value is None else _plain(value)
        for name, value in (("value", one.value), ("low", one.low), ("high", one.high))
    }
    return {
        "title": one.title,
        "words": one.words,
        "silent": one.silent,
        **numbers,
        "interval": one.interval,
        "unit": one.unit,
        "claim": one.claim,
        "source": SOURCES[claim.source],
        "equation": one.equation,
        "uncertainty": one.uncertainty,
    }


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
