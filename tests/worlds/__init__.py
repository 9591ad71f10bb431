"""Wrong worlds: corruptions of what a study is shown, not of the numbers that it finds.

A world changes the cases of a study after they were run (orbit, problem) or the class that looks at them (Hessian,
gradient), so that the whole pipeline from look to judge has to notice. Wrong ones must bring down some part that
holds in the true world; noisy ones, whose two solves differ by an honest error, must bring down none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from gradlab.claims import catalogue
from gradlab.claims.cases import Case, collect
from gradlab.claims.judging import REFUTED, SUPPORTED, Verdict, columns
from gradlab.claims.studies import Study
from gradlab.claims.verification import key
from gradlab.laboratory.second import COARSE

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class World:
    """A named change of a case, or of the class of looks; ``noisy`` if the world is true, with honest errors."""

    name: str
    case: Callable[[Case], Case] | None = None
    look: Callable[[type], type] | None = None
    noisy: bool = False


def few(claim_id: str) -> tuple[Study, tuple[Case, ...]]:
    """A study and its few cases, run once for a claim and its corrected form."""
    study = catalogue.load([claim_id])[0]
    shared = (catalogue.base(claim_id), study.cases, repr(study.budgets["few"]))
    if shared not in _RAN:
        _RAN[shared] = tuple(study.run("few", key(claim_id, 0)))
    return study, _RAN[shared]


_RAN: dict[Any, tuple[Case, ...]] = {}


@cache
def true_verdict(claim_id: str) -> Verdict:
    """The verdict of the few cases as they are."""
    study, cases = few(claim_id)
    return study.judge(study.measure(cases))


def standing(claim_id: str) -> set[str]:
    """The parts, of substance or print, that hold in the true world: what a wrong one can bring down."""
    return {
        part.id
        for part in true_verdict(claim_id).parts
        if part.role != "control" and part.verdict == SUPPORTED
    }


def changed(claim_id: str, world: World) -> tuple[Study, Iterator[Case]]:
    """The study and its few cases as a world has them."""
    study, cases = few(claim_id)
    if world.look is not None:
        study = replace(study, look=world.look(study.look))
    return study, (case if world.case is None else world.case(case) for case in cases)


def verdict(claim_id: str, world: World) -> Verdict:
    """The verdict of the few cases in a world; nothing is drawn."""
    study, cases = changed(claim_id, world)
    ids = [one.id for one in study.measures]
    return study.judge(collect((case.label, study.observed(case, only=ids)) for case in cases))


def fallen(claim_id: str, world: World) -> list[str]:
    """The parts, of substance or print, that hold in the true world and are refuted in this one."""
    return fallen_of(claim_id, verdict(claim_id, world))


def fallen_one_by_one(claim_id: str, world: World) -> list[str]:
    """The same, of a world in which some number cannot be computed: every part by itself, on the cases that give it."""
    study, _ = changed(claim_id, world)
    held, found = standing(claim_id), []
    hypotheses = [one for one in study.measures if one.role == "hypothesis"]
    for part in (one for one in study.measures if one.id in held):
        asked, seen = [*hypotheses, part], []
        for case in changed(claim_id, world)[1]:
            with suppress(Exception):
                seen.append((case.label, study.observed(case, only=[one.id for one in asked])))
        with suppress(ValueError):
            labels = [label for label, _ in seen]
            if seen and columns(asked, collect(seen))[part.id].part(labels).verdict == REFUTED:
                found.append(part.id)
    return found


def falls(claim_id: str, world: World) -> bool:
    """Whether a part falls: one of those that the page names, or, where it names none that does, any.

    Case by case, since one case that is refuted decides.
    """
    study, cases = changed(claim_id, world)
    named = [part for part in published().get((claim_id, world.name), ()) if part in standing(claim_id)]
    asked = [one for one in study.measures if one.role == "hypothesis" or one.id in named[:1]]
    ids = [one.id for one in asked]
    seen: list[tuple[str, xr.Dataset]] = []
    for case in cases if named else ():
        with suppress(Exception):  # what cannot be computed in a wrong world is no answer
            seen.append((case.label, study.observed(case, only=ids)))
            if columns(asked, collect(seen))[named[0]].part([label for label, _ in seen]).verdict == REFUTED:
                return True
    return _any_falls(claim_id, world)


def _any_falls(claim_id: str, world: World) -> bool:
    study, cases = changed(claim_id, world)
    seen: list[tuple[str, xr.Dataset]] = []
    for case in cases:
        seen.append((case.label, study.observed(case)))
        # a number without a bar in the first cases may have one in the others
        with suppress(ValueError):
            if fallen_of(claim_id, study.judge(collect(seen))):
                return True
    return bool(fallen_of(claim_id, study.judge(collect(seen))))


@cache
def published() -> dict[tuple[str, str], list[str]]:
    """The parts that fell in each wrong world, by claim and world, as ``docs/trust.md`` has them."""
    found = {}
    for line in (ROOT / "docs" / "trust.md").read_text(encoding="utf-8").splitlines():
        said = re.fullmatch(r"\| (\S+) \| (.+) \| refuted \((.+)\) \|", line)
        if said:
            found[said[1], said[2]] = said[3].split(", ")
    return found


def fallen_of(claim_id: str, after: Verdict) -> list[str]:
    """The parts that hold in the true world and are refuted after a change."""
    before = standing(claim_id)
    return [part.id for part in after.parts if part.verdict == REFUTED and part.id in before]


# Orbits -----------------------------------------------------------------------------------------------------

#: Names under which a trajectory keeps weights, each perhaps with its coarse twin.
WEIGHTS = ("weights", "final_weights")


def orbit(name: str, change: Callable[[np.ndarray, Case], np.ndarray]) -> World:
    """The weights at every record, (records, P), changed alike in both solves; ``change(weights, case)``."""

    def changed(case: Case) -> Case:
        return replace(case, trajectory=_rewritten(case, lambda rows, _: change(rows, case)))

    return World(name, changed)


def _rewritten(case: Case, change: Callable[[np.ndarray, str], np.ndarray]) -> xr.Dataset:
    """The trajectory with its fine and its coarse orbit changed; ``change(rows, "" or "_coarse")``."""
    given = case.trajectory
    for side in ("", COARSE):
        whole, last = (f"{name}{side}" for name in WEIGHTS)
        if whole in given:
            rows = change(np.asarray(given[whole].values, dtype=np.float64), side)
            given = given.assign({whole: (given[whole].dims, rows)})
            if last in given:
                given = given.assign({last: (given[last].dims, rows[-1])})
        elif last in given:
            rows = change(np.asarray(given[last].values, dtype=np.float64)[None], side)
            given = given.assign({last: (given[last].dims, rows[-1])})
    return given


def moved_ends(share: float = 0.01) -> World:
    """Ends moved by a share of their size, in a direction of their own."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        aside = np.random.default_rng(5).standard_normal(rows.shape[1])
        rows = rows.copy()
        rows[-1] += share * np.linalg.norm(rows[-1]) * aside / np.linalg.norm(aside)
        return rows

    return orbit(f"ends moved by {share:g} of their size", change)


def doubled_ends() -> World:
    """Ends twice as large."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows = rows.copy()
        rows[-1] *= 2.0
        return rows

    return orbit("ends doubled", change)


def drift(size: float = 1e-3) -> World:
    """A drift of the weights along one direction, growing from 0 at the start to a share of their size at the end."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        aside = np.random.default_rng(6).standard_normal(rows.shape[1])
        along = np.linspace(0.0, 1.0, len(rows))[:, None] * aside / np.linalg.norm(aside)
        return rows + size * np.linalg.norm(rows[-1]) * along

    return orbit(f"a drift of {size:g}", change)


def cut_short(keep: float = 0.5) -> World:
    """A run that ended before its time: the last records are those of an earlier moment."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows, until = rows.copy(), max(1, int(keep * (len(rows) - 1)))
        rows[until:] = rows[until]
        return rows

    return orbit("a run cut short", change)


def uneven_layers(factor: float = 1.01) -> World:
    """The first layer's motion faster than the others'."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        first = np.zeros(rows.shape[1])
        leaves = jax.tree.leaves(
            case.problem.network.layers(case.problem.unravel(np.arange(rows.shape[1], dtype=float)))[0]
        )
        first[np.concatenate([np.asarray(leaf).ravel() for leaf in leaves]).astype(int)] = 1.0
        return rows + (factor - 1.0) * first * (rows - rows[0])

    return orbit(f"the first layer {factor:g} times as fast", change)


def noisy(size: float = 1e-6) -> World:
    """True but noisy: the fine orbit off by a share of its size, the coarse one by ten times that, at random.

    The start is given, and stays.
    """

    def changed(case: Case) -> Case:
        def change(rows: np.ndarray, side: str) -> np.ndarray:
            share = 10.0 * size if side else size
            noise = np.random.default_rng(9 if side else 8).standard_normal(rows.shape)
            noise *= share * np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
            if len(rows) > 1:
                noise[0] = 0.0
            return rows + noise

        return replace(case, trajectory=_rewritten(_with_twin(case), change))

    return World(f"noise of {size:g}, bars to match", changed, noisy=True)


def _with_twin(case: Case) -> Case:
    """The case with a coarse twin equal to what there is, where it has none."""
    given = case.trajectory
    twins = {
        f"{name}{COARSE}": given[name] for name in WEIGHTS if name in given and f"{name}{COARSE}" not in given
    }
    return replace(case, trajectory=given.assign(twins))


# Problems ---------------------------------------------------------------------------------------------------


def told(name: str, change: Callable[[Any], Any]) -> World:
    """The study is told of another problem than the one that ran; ``change(problem)``."""
    return World(name, lambda case: replace(case, problem=change(case.problem)))


def doubled_decay() -> World:
    """The decay that the study is told of is twice what ran."""
    return told("decay doubled", lambda problem: eqx.tree_at(lambda p: p.decay, problem, 2.0 * problem.decay))


def dropped_decay() -> World:
    """What ran had a decay of 0.1 that the study is not told of; of its own where it has one."""
    return told("decay dropped", lambda problem: eqx.tree_at(lambda p: p.decay, problem, 0.0 * problem.decay))


def other_targets(share: float = 0.01) -> World:
    """The targets that the study is told of differ from those that ran."""

    def change(problem: Any) -> Any:
        targets = np.asarray(problem.data.targets)
        noise = (
            np.random.default_rng(7).standard_normal(targets.shape)
            * np.linalg.norm(targets)
            / np.sqrt(targets.size)
        )
        return eqx.tree_at(lambda p: p.data.targets, problem, jax.numpy.asarray(targets + share * noise))

    return told(f"targets off by {share:g}", change)


# Looks ------------------------------------------------------------------------------------------------------


def seen(name: str, **methods: Callable[..., Any]) -> World:
    """The class of looks sees something else: each method is ``new(true_value, look)`` of what it would have seen.

    For properties and cached properties; a method that takes arguments is given as ``(old, look) -> new method``.
    """

    def changed(kind: type) -> type:
        body: dict[str, Any] = {}
        for attribute, new in methods.items():
            old = getattr(kind, attribute)
            if hasattr(old, "__get__") and not callable(old):
                body[attribute] = property(lambda look, old=old, new=new: new(_plain(old, look, kind), look))
            else:
                body[attribute] = _method(old, new)
        return type(kind.__name__, (kind,), body | {"__module__": f"{kind.__module__}, {name}"})

    return World(name, look=changed)


def _plain(old: Any, look: Any, kind: type) -> Any:
    """The value that the true class gives for a property."""
    return old.func(look) if hasattr(old, "func") else old.fget(look)


def _method(old: Callable[..., Any], new: Callable[..., Any]) -> Callable[..., Any]:
    def method(look: Any, *arguments: Any, **named: Any) -> Any:
        return new(old(look, *arguments, **named), look)

    return method


def shifted_hessian(size: float = 1e-3, attribute: str = "hessian") -> World:
    """Hessian + size · ‖H‖₂ I."""

    def shift(H: np.ndarray, look: Any) -> np.ndarray:
        return H + size * np.linalg.norm(H, 2) * np.eye(len(H))

    return seen(f"Hessian + {size:g} I", **{attribute: shift})


def names(worlds: Sequence[World]) -> list[str]:
    """Their names."""
    return [world.name for world in worlds]
