"""The choice by default: begin explicit (small nets where it pays: on BDF), measure, change where it pays, say so.

A call makes a few attempted steps. Then the planned step h and the spectral radius ρ of the field tell what limits it:
an explicit pair whose h ρ has come to the end of its stability interval is held there by stability and not by
accuracy, and another method would step further. It is changed for that other method if what remains would cost
more than the change does; what remains is foreseen from how the step has grown of late (in proportion to time on
an exponential loss, where a thousandfold time costs a few steps more, not at all on a plateau).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock, Time
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.methods import STABILISED, UNEVEN, Adaptive, evaluations, method, unsymmetric
from gradlab.dynamics.solvers.multistep import Memory, Multistep, Past
from gradlab.dynamics.solvers.policy import Policy, usual
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.solvers.stabilised import EVERY, WITHIN, Spectrum, lengthened, refresh, unknown
from gradlab.dynamics.state import ATTEMPTS, State, rhs
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tree import Anywhere, changed, made
from gradlab.modules import Module
from gradlab.problem.losses import Lp
from gradlab.problem.precision import number, put, zeros

#: Real stability limits of the explicit pairs: |R(z)| ≤ 1 on [−limit, 0].
LIMITS = {"bosh3": 2.51, "tsit5": 3.50, "dopri5": 3.30, "dopri8": 5.16}
#: Changes remembered; after as many the method stays.
CHANGES = 8


class Journal(Module):
    """What ``Auto`` keeps: the spectrum, the other method's memory, its wish, and every change with its reason.

    past, implicit : of a multistep and of an implicit method, else nothing.
    wish : whether the next call should use the stiff method. stiffness : h ρ at the last call's end, not a number where
    the step grew fast or was far from any limit, and it was not measured.
    clock, step : τ and h at the last call's end. changes : how many; when (clock), to what (``True`` stiff) and at
    which h ρ (why), for the first CHANGES.
    """

    spectrum: Spectrum
    past: Any
    implicit: Any
    wish: Bool[Anywhere, ""]
    stiffness: Float[Anywhere, ""]
    clock: Float[Anywhere, ""]
    step: Float[Anywhere, ""]
    changes: Int[Anywhere, ""]
    when: Float[Anywhere, " changes"]
    stiff: Bool[Anywhere, " changes"]
    why: Float[Anywhere, " changes"]


class Auto(Solver):
    """Auto begins explicit, turns stabilised or implicit once stability limits the step, and turns back.

    Parameters
    ----------
    tolerance, absolute : as for ``Adaptive``; the explicit pair works to a tenth of them, down to a tolerance of 1e-6.
    slack : the factor by which both methods' tolerances are looser, after all of that.
    least : as for ``Adaptive``; 0 is the method's own, as the coarser of two.
    explicit, stiff : names of the two methods; the defaults follow from tolerance, size and symmetry when a run
        begins (``resolve``). ``stiff=""`` : explicit throughout.
    horizon : the clock value at which the run ends, if that is known; 0, unknown, unless ``run`` says it.
    policy : the numbers it decides by.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.solvers.Auto(1e-6, stiff="bdf").stiff
    'bdf'
    """

    estimates: ClassVar[bool] = True

    tolerance: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-9)
    absolute: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-14)
    explicit: str = eqx.field(static=True, default="")
    stiff: str = eqx.field(static=True, default="")
    #: Which of the two the next call uses.
    changed: bool = eqx.field(static=True, default=False)
    #: Whether curvature stays, in physical time or in a clock without it, when the loss has fallen; whether it falls in
    #: the run's clock.
    lasting: bool = eqx.field(static=True, default=False)
    fading: bool = eqx.field(static=True, default=False)
    slack: Float[Array, "..."] | float = eqx.field(converter=number, default=1.0)
    least: Float[Array, "..."] | float = eqx.field(converter=number, default=1.0)
    horizon: Float[Array, "..."] | float = eqx.field(converter=number, default=0.0)
    policy: Policy = eqx.field(default_factory=usual)
    #: What a run says of the changes of its method.
    _CHANGED: ClassVar[tuple[str, ...]] = ("changes", "change_clock", "change_stiff", "change_stiffness")

    def resolve(self, size: int, symmetric: bool, ensemble: bool) -> Auto:
        """With both names, where they are not given: by tolerance, number of unknowns and symmetry of the Jacobian.

        Explicit: order eight below 3e-9, five below 3e-3, three above. Stiff: for symmetric fields the stabilised
        multistep method of order three (tolerance 1e-7 and above) or five, and BDF with a dense Jacobian where the
        unknowns are few enough; for others BDF up to ``policy.dense`` unknowns. Not BDF in an ensemble, where every
        member would pay for a Jacobian at every step, if there is a choice.
        """
        if self.explicit:
            return self
        policy, tolerance = self.policy, float(np.min(np.asarray(self.tolerance)))
        explicit = "dopri8" if tolerance < 3e-9 else "tsit5" if tolerance < 3e-3 else "bosh3"
        stabilised = ("mrkc3" if tolerance >= 1e-7 else "mrkc5") if symmetric else ""
        beside = policy.dense_tight if tolerance < float(policy.tight) else policy.dense_beside
        dense = size <= int(policy.dense if not symmetric else 0 if ensemble else beside)
        stiff = "bdf" if dense else stabilised
        return changed(self, explicit=explicit, stiff=self.stiff or stiff)

    def __check_init__(self) -> None:
        for name in (self.explicit, self.stiff):
            if name not in ("", "bdf"):
                method(name)

    def refuse(self, flow: Flow, clock: Clock, ensemble: bool = False) -> str | None:
        reason = super().refuse(flow, clock, ensemble)
        return reason or (unsymmetric(flow, clock, self.stiff) if self.stiff in STABILISED else None)

    def suits(self, flow: Flow, clock: Clock, ensemble: bool = False) -> Auto:
        loss, symmetric = flow.observed.loss, flow.symmetric and clock.symmetric
        tight = float(np.min(np.asarray(self.tolerance))) < float(self.policy.tight)
        # The curvature of |r|^p, p > 2, falls with the residual.
        residual = loss.kind == "residual" and not (isinstance(loss, Lp) and loss.p > 2.0)
        lasting = residual or clock.known(0.0) is None
        chosen = self.resolve(flow.unknowns + 1, symmetric, ensemble)
        fading = not lasting and isinstance(clock, Time)
        begin = number(self.policy.begin_fading) if fading else self.policy.begin
        # Above, BDF is no cheaper in time, and its error bars fall short in log time.
        begin = begin if lasting or tight else number(np.inf)
        return changed(chosen, lasting=lasting, fading=fading, policy=changed(self.policy, begin=begin))

    @property
    def name(self) -> str:
        """The method the next call uses."""
        return self.stiff if self.changed else self.explicit

    def following(self, memory: Journal) -> Auto:
        """For the next call: the stiff method once any member of an ensemble wishes for it (on the host)."""
        wished = bool(self.stiff) and bool(np.any(np.asarray(memory.wish)))
        return self if wished is self.changed else changed(self, changed=wished)

    def advance(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
        """Short calls of the method whose turn it is, until the other's has come."""
        begun = state.steps + state.rejected

        def go_on(carry: tuple[State, Any]) -> Bool[Array, ""]:
            state, first = carry
            on = (state.tau < end) & (state.status == stops.RUNNING)
            # Once at least: a member of an ensemble has the stiff method where another wished for it.
            turn = first | self.ready(state.memory)
            return on & turn & (state.steps + state.rejected - begun < ATTEMPTS)

        def call(carry: tuple[State, Any]) -> tuple[State, Any]:
            before, _ = carry
            after = automatic(flow, clock, self, stop, before, end)
            same = jax.tree.map(lambda new, old: jax.lax.convert_element_type(new, old.dtype), after, before)
            return same, tree.of_each(jnp.asarray(False), before.tau)

        return jax.lax.while_loop(go_on, call, (state, tree.of_each(jnp.asarray(True), state.tau)))[0]

    def until(self, end: float) -> Auto:
        return changed(self, horizon=number(end))

    def seen(self, state: State) -> dict[str, Any]:
        stiffness = state.memory.stiffness
        return {"stiff": tree.library(stiffness).asarray(self.changed), "stiffness": stiffness}

    def finals(self, memory: Journal) -> dict[str, tuple[tuple[str, ...], Any]]:
        """Every change: how many, when, to what and why."""
        kept = (
            ((), memory.changes),
            *((("change",), kept) for kept in (memory.when, memory.stiff, memory.why)),
        )
        return dict(zip(self._CHANGED, kept, strict=True))

    def describe(self) -> str:
        return (
            f"Auto {self.explicit or 'explicit'} or {self.stiff or '-'}, tolerance {float(self.tolerance):g}"
        )

    def used(self, trajectory: Any) -> str:
        """Of one member, e.g. ``tsit5; from 0.31 rock4 (h ρ = 3.4; the stability limit of tsit5 is 3.5)``."""
        seen = {name: trajectory.variables[name].values for name in self._CHANGED}
        if np.ndim(seen["changes"]):
            return self.describe()
        words = [self.explicit]
        for i in range(min(int(seen["changes"]), CHANGES)):
            when, why = float(seen["change_clock"][i]), float(seen["change_stiffness"][i])
            if bool(seen["change_stiff"][i]):
                limit = f"the stability limit of {self.explicit} is {LIMITS.get(self.explicit, 3.0):.2g}"
                words.append(f"from {when:.3g} {self.stiff} (h ρ = {why:.2g}; {limit})")
            else:
                words.append(f"from {when:.3g} {self.explicit} (h ρ = {why:.2g}: no longer stiff)")
        return "; ".join(words)

    def coarser(self) -> Auto:
        """Ten times the tolerance that each of the same two methods works to."""
        return changed(
            self, slack=number(10.0 * np.asarray(self.slack)[()]), least=number(0.0), changed=False
        )

    def compared(self) -> Auto:
        """Two steps or more between records: more, or more even ones, than the coarser solver's."""
        return changed(self, least=number(2.0))

    def ready(self, memory: Journal) -> Bool[Array, ""]:
        return memory.wish == self.changed

    def memory(self, pair: Any) -> Journal:
        none = zeros(CHANGES)
        implicit = Adaptive("bdf").memory(pair) if self.stiff == "bdf" else ()
        stepper = method(self.stiff) if self.stiff in STABILISED else None
        past = stepper.memory(pair).past if isinstance(stepper, Multistep) else ()
        no, zero = put(False), put(0.0)
        unchanged = zeros(CHANGES, kind=np.bool_)
        return Journal(
            unknown(pair), past, implicit, no, zero, zero, zero, put(np.int64(0)), none, unchanged, none
        )

    def scratch(self, pair: Any) -> Any:
        return Adaptive("bdf").scratch(pair) if self.stiff == "bdf" else ()

    def _adaptive(self, name: str) -> Adaptive:
        tolerance = self.tolerance
        if name != self.stiff:
            floor, share = self.policy.fine, self.policy.share
            xp = tree.library(tolerance)
            tolerance = xp.minimum(tolerance, xp.maximum(share * tolerance, floor))
        absolute = self.absolute * tolerance / self.tolerance
        least = tree.where(self.least > 0.0, self.least, np.float64(1.0 / UNEVEN.get(name, 1.0)))
        eager = tree.where(self.least > 0.0, np.float64(0.0), np.float64(1.0))
        numbers = {"tolerance": self.slack * tolerance, "absolute": self.slack * absolute}
        return made(Adaptive, {"name": name, **numbers, "least": least, "eager": eager})


def automatic(flow: Flow, clock: Clock, solver: Auto, stop: Stop, state: State, end: Any) -> State:
    """One call of the method whose turn it is, and the wish for the next."""
    journal: Journal = state.memory
    inner = solver._adaptive(solver.name)
    multistep = isinstance(journal.past, Past) and solver.changed
    if solver.name in STABILISED:
        memory: Any = Memory(journal.spectrum, journal.past) if multistep else journal.spectrum
    else:
        memory = journal.implicit if solver.name == "bdf" else ()
    moves = end > state.tau
    looking = moves & (solver.stiff == "bdf") & (state.steps == 0) & (journal.spectrum.age < 0)
    policy = solver.policy
    most = policy.stiff if solver.changed else _attempts(solver, state, looking)
    moved = inner.attempts(flow, clock, stop, replace(state, memory=memory), end, most)
    measured: Any = True
    if solver.name in STABILISED:
        spectrum, products = moved.memory.spectrum if multistep else moved.memory, jnp.zeros((), int)
    else:
        measured = _measures(clock, solver, journal, state.evaluations, moved, end, looking)
        known = journal.spectrum.age >= 0
        due = tree.select(measured, tree.select(known, EVERY, -1), 0)
        stale = eqx.tree_at(lambda s: s.age, journal.spectrum, due)
        pair = moved.pair
        spectrum, products = refresh(
            lambda p: rhs(moved.tau, p, (flow, clock)), pair, stale, policy.products, policy.products
        )
        spectrum = eqx.tree_at(
            lambda s: s.age, spectrum, tree.select(measured, spectrum.age, journal.spectrum.age)
        )
    if solver.name == "bdf":
        journal = replace(journal, implicit=moved.memory)
    if isinstance(journal.past, Past):
        # What lies before a stretch made by the other method is no longer the latest past.
        latest = moved.memory if multistep else Memory(spectrum, journal.past).forgotten()
        journal = replace(journal, past=latest.past)
    journal = replace(journal, spectrum=spectrum)
    stake = foreseen(clock, solver, moved, end, spectrum.radius)
    journal = _wish(journal, solver, moved, end, measured, looking, stake)
    return replace(moved, memory=journal, evaluations=moved.evaluations + 2 * products)


def turned(clock: Any, solver: Any, inner: Any, walk: Any, end: Any) -> None:
    """As :func:`automatic`, from the host.

    walk : where the orbit is (``hosted.Walk``), moved on in place. inner : the method whose turn it is.
    """
    journal: Any = walk.memory
    looking = not solver.changed and solver.stiff == "bdf" and walk.steps == 0 and journal.spectrum.age < 0
    evaluations = walk.evaluations
    # A look at the start gives the first step as well.
    images = walk.products(journal.spectrum.vector, walk.unknowns, WITHIN) if looking else None
    stabilised = solver.changed and solver.stiff != "bdf"
    if stabilised:
        walk.stabilised(inner, end, int(solver.policy.stiff))
    elif solver.changed:
        walk.implicit(inner, end, int(solver.policy.stiff))
    else:
        walk.attempt(inner, end, int(_attempts(solver, walk, looking)))
    journal = walk.memory
    # A stabilised method knows the radius as it goes.
    measured = not stabilised and bool(_measures(clock, solver, journal, evaluations, walk, end, looking))
    if measured:
        image, _, other = images or walk.products(journal.spectrum.vector, walk.unknowns, WITHIN)
        vector, radius = lengthened(journal.spectrum.vector, image, other)
        radius = radius if np.isfinite(radius) else journal.spectrum.radius
        journal = changed(journal, spectrum=changed(journal.spectrum, vector=vector, radius=radius, age=1))
    stake = foreseen(clock, solver, walk, end, journal.spectrum.radius)
    walk.memory = _wish(journal, solver, walk, end, measured or stabilised, looking, stake)
    walk.evaluations += 4 * measured


def _measures(
    clock: Any, solver: Any, journal: Any, evaluations: Any, moved: Any, end: Any, looking: Any
) -> Any:
    """Whether the radius is measured after a call, begun with so many evaluations, that no stabilised method made."""
    policy = solver.policy
    if solver.changed:
        # On BDF to stay while that is foreseen to pay, and there are calls as many as records.
        return foreseen(clock, solver, moved, end, journal.spectrum.radius) <= _price(solver, moved)
    held = (journal.step > 0.0) & (moved.h < policy.grown * journal.step)
    known = journal.spectrum.age >= 0
    far = known & (moved.h * journal.spectrum.radius < policy.far * LIMITS.get(solver.explicit, 3.0))
    # The radius was seen some time ago: where it grows, in logarithmic clocks, the step falls with it.
    falls = (evaluations >= 3 * policy.early) & (moved.h < journal.step)
    return looking | (held & (~far | falls))


def _attempts(solver: Any, state: Any, looking: Any) -> Any:
    """Of an explicit call: none where the run only looks."""
    each, policy = evaluations(solver.explicit), solver.policy
    early = policy.early_bdf if solver.stiff == "bdf" else policy.early
    few = tree.where(state.evaluations < 3 * policy.early, early // each, policy.late // each)
    return tree.where(looking, 0, few)


def remaining(journal: Any, steepest: Any, state: Any, until: Any) -> Any:
    """Explicit steps still to come: ∫ dτ/h(τ), h changing as the power of τ, from ``steepest`` to 1, as of late."""
    tau, h = state.tau, state.h
    known = (journal.step > 0.0) & (tau > journal.clock) & (journal.clock > 0.0)
    xp = tree.library(tau, h)
    growth = xp.log(h / tree.where(known, journal.step, h))
    power = growth / xp.log(tree.where(known, tau / tree.where(known, journal.clock, 1.0), 2.0))
    # 1 − power, kept off zero, where the integral is a logarithm.
    rest = 1.0 - tree.where(known, power, 0.0)
    rest = xp.minimum(xp.maximum(rest, 1e-6), 1.0 - steepest)
    return tau / h * xp.expm1(rest * xp.log1p((until - tau) / tau)) / rest


def _until(solver: Any, state: Any, end: Any) -> Any:
    """Where the run ends; unless that is known, the end of this stretch, and at least twice the present time."""
    xp = tree.library(state.tau)
    return tree.where(solver.horizon > 0.0, xp.maximum(solver.horizon, end), xp.maximum(end, 2.0 * state.tau))


def _price(solver: Any, state: Any) -> Any:
    """Evaluations that a change to the stiff method costs."""
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(state.y))
    return solver.policy.price(solver.stiff, size, solver.tolerance, solver.fading)


def _worth(journal: Any, solver: Any, state: Any, end: Any, stiffness: Any) -> Any:
    """Whether what remains costs the explicit pair more than a change; not before two calls have been seen."""
    policy, price = solver.policy, _price(solver, state)
    limit = LIMITS.get(solver.explicit, 3.0)
    each = evaluations(solver.explicit)
    stake = each * remaining(journal, policy.steepest, state, _until(solver, state, end))
    held = (stiffness > policy.enter * limit) & (stake > price)
    near = policy.near_bdf if solver.stiff == "bdf" else policy.near
    least = policy.gain if solver.explicit == "bosh3" or solver.stiff == "bdf" else policy.gain_higher
    soon = (stiffness > near * limit) & (stake * stiffness / limit > least * price)
    return (journal.step > 0.0) & (held | soon)


def foreseen(clock: Any, solver: Any, state: Any, end: Any, radius: Any) -> Any:
    """The explicit pair's evaluations by what is known before its first step: the spectral radius ρ, and that step.

    Where curvature stays, stability asks for ρ Δ/limit steps, Δ as ``Clock.ahead``. Where it falls like 1/t, accuracy
    asks for so many whenever time has grown by e. In clocks that do not follow from time the rate of change stays
    as well: accuracy asks for steps ``lengthened`` times the first, unless that ends on a record.
    """
    each, policy = evaluations(solver.explicit), solver.policy
    until = _until(solver, state, end)
    ahead = radius * clock.ahead(state.tau, until)
    xp = tree.library(ahead)
    if not solver.lasting:
        return each * policy.fold * (1e-9 / solver.tolerance) ** 0.125 * xp.log1p(ahead)
    steps = ahead / LIMITS.get(solver.explicit, 3.0)
    if clock.known(state.tau) is None:
        paced = (until - state.tau) / (policy.lengthened * state.h)
        steps = xp.maximum(steps, tree.where(state.h < end - state.tau, paced, 0.0))
    return each * steps


def _wish(
    journal: Any,
    solver: Any,
    state: Any,
    end: Any,
    measured: Any = True,
    looking: Any = False,
    stake: Any = 0.0,
) -> Any:
    """With the wish for the next call. stake : what is :func:`foreseen`; a look at the start begins with BDF for it."""
    # Not a number where nothing was measured: every comparison with it says no.
    stiffness = tree.where(measured, state.h * journal.spectrum.radius, np.nan)
    limit, policy = LIMITS.get(solver.explicit, 3.0), solver.policy
    # A look makes no steps, and says nothing of how they grow.
    step = tree.where(looking, 0.0, state.h)
    seen = changed(journal, stiffness=stiffness, clock=state.tau, step=step)
    if not solver.stiff:
        return seen
    price = _price(solver, state)
    if solver.changed and solver.stiff == "bdf":
        wish = (stiffness > policy.leave_bdf * limit) | (stake > price)
    elif solver.changed:
        wish = stiffness > policy.leave * limit
    else:
        begins = looking & (stake > policy.begin * price)
        wish = _worth(journal, solver, state, end, stiffness) | begins
    wish = tree.where(journal.changes < CHANGES, wish, journal.wish)
    differs = wish != journal.wish
    place = tree.where(differs, journal.changes, CHANGES)
    return changed(
        seen,
        wish=wish,
        changes=journal.changes + differs,
        when=_noted(journal.when, place, state.tau),
        stiff=_noted(journal.stiff, place, wish),
        why=_noted(journal.why, place, stiffness),
    )


def _noted(values: Any, place: Any, value: Any) -> Any:
    """The values with one more at that place; dropped behind the last."""
    if tree.library(values, place, value) is jnp:
        return jnp.asarray(values).at[place].set(value, mode="drop")
    return values if place >= len(values) else np.where(np.arange(len(values)) == place, value, values)
