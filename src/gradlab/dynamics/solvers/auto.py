"""The choice by default: begin explicit (plainly stiff small nets: on BDF), measure, change where it pays, say so.

A call makes a few attempted steps. Then the planned step h and the spectral radius ρ of the field tell what limits it:
an explicit pair whose h ρ has come to the end of its stability interval is held there by stability and not by
accuracy, and another method would step further. It is changed for that other method if what remains would cost
more than the change does; what remains is foreseen from how the step has grown of late (in proportion to time on
an exponential loss, where a thousandfold time costs a few steps more, not at all on a plateau).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.methods import STABILISED, UNEVEN, Adaptive, cost, method
from gradlab.dynamics.solvers.multistep import Memory, Multistep, Past
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.solvers.stabilised import EVERY, Spectrum, refresh, unknown
from gradlab.dynamics.state import ATTEMPTS, State, rhs
from gradlab.dynamics.stops import Stop
from gradlab.problem.precision import number, put

#: Real stability limits of the explicit pairs: |R(z)| ≤ 1 on [−limit, 0].
LIMITS = {"bosh3": 2.51, "tsit5": 3.50, "dopri5": 3.30, "dopri8": 5.16}
#: Changed over at h ρ > ENTER · limit, back at h ρ < LEAVE · limit of the explicit pair. From NEAR · limit on a
#: change is tried where EQUAL times its price is at stake: accuracy limits the step now, stability will; HIGHER times
#: for a pair of higher order than the stabilised method, which steps further until stability limits it.
#: BDF makes shorter steps where accuracy limits both, and begins with very short ones.
ENTER, NEAR, LEAVE, LEAVE_BDF = 0.9, 0.5, 0.3, 0.1
EQUAL, HIGHER = 4.0, 8.0
#: Hessian-vector products where stiffness is asked for: at the end of an explicit call from the second on. A step
#: that has grown GROWN times since the call before is not held back by stability, nor one that is FAR from the limit
#: by the spectral radius last seen, and none are spent.
PRODUCTS, GROWN, FAR = 2, 2.0, 0.17
#: Evaluations of an early explicit call, the same where BDF may take over, and of a later one (three times EARLY on);
#: attempts of one with the other method.
EARLY, EARLY_BDF, EXPLICIT, STIFF = 72, 36, 216, 100
#: Evaluations that a change costs: to a stabilised method; to BDF, which begins at order one and makes many small
#: steps, beside six Jacobians.
CHANGE, CHANGE_TO_BDF, JACOBIANS = 60, 120, 6
#: Where curvature does not fall with the loss, BDF begins at once if stability alone would cost an explicit pair BEGIN
#: times the price of a change, judged by as many products at the start.
BEGIN = 2.0
#: The explicit pair's tolerance as a part of the one asked for. Where a fast start is followed by a stiff stretch, the
#: start takes few steps, its errors grow on the way, and making them small costs little.
SHARE, FINE = 0.1, 1e-6
#: Changes remembered; after as many the method stays.
CHANGES = 8
#: The most unknowns for which a dense Jacobian (``jacobian_price``) is worth its price: where there is no
#: stabilised method; beside one; beside one that round-off holds back (tolerance below TIGHT; 400 weights and log t).
DENSE, DENSE_BESIDE, DENSE_TIGHT, TIGHT = 1000, 150, 401, 1e-7


class Journal(eqx.Module):
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
    wish: Bool[Array, ""]
    stiffness: Float[Array, ""]
    clock: Float[Array, ""]
    step: Float[Array, ""]
    changes: Int[Array, ""]
    when: Float[Array, " changes"]
    stiff: Bool[Array, " changes"]
    why: Float[Array, " changes"]


class Auto(Solver):
    """Auto begins explicit, turns stabilised or implicit once stability limits the step, and turns back.

    Parameters
    ----------
    tolerance, absolute : as for ``Adaptive``; the explicit pair works to a tenth of them, down to a tolerance of 1e-6.
    slack : the factor by which both methods' tolerances are looser, after all of that.
    least : as for ``Adaptive``; 0 is the method's own, as the coarser of two.
    explicit, stiff : names of the two methods; the defaults follow from tolerance, size and symmetry when a run
        begins (``resolve``). ``stiff=""`` : explicit throughout.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.solvers.Auto(1e-6, stiff="bdf").stiff
    'bdf'
    """

    tolerance: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-9)
    absolute: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-14)
    explicit: str = eqx.field(static=True, default="")
    stiff: str = eqx.field(static=True, default="")
    #: Which of the two the next call uses.
    changed: bool = eqx.field(static=True, default=False)
    #: Whether the run begins with a look at the stiffness.
    looks: bool = eqx.field(static=True, default=False)
    slack: Float[Array, "..."] | float = eqx.field(converter=number, default=1.0)
    least: Float[Array, "..."] | float = eqx.field(converter=number, default=1.0)

    def resolve(self, size: int, symmetric: bool, ensemble: bool, residual: bool = False) -> Auto:
        """With both names: by the tolerance, the number of unknowns and the symmetry of the Jacobian.

        Explicit: order eight below 3e-9, five below 3e-3, three above. Stiff: for symmetric fields the stabilised
        multistep method of order three (tolerance 1e-7 and above) or five, and BDF with a dense Jacobian where the
        unknowns are few enough; for others BDF up to DENSE unknowns. Not BDF in an ensemble, where every member would
        pay for a Jacobian at every step, if there is a choice. residual : whether the loss is one of residuals, whose
        curvature stays when the loss has fallen; a run with BDF as its stiff method may then begin on it.
        """
        if self.explicit:
            return self
        tolerance = float(np.min(np.asarray(self.tolerance)))
        explicit = "dopri8" if tolerance < 3e-9 else "tsit5" if tolerance < 3e-3 else "bosh3"
        stabilised = ("mrkc3" if tolerance >= 1e-7 else "mrkc5") if symmetric else ""
        beside = 0 if ensemble else DENSE_TIGHT if tolerance < TIGHT else DENSE_BESIDE
        dense = size <= (beside if symmetric else DENSE)
        stiff = "bdf" if dense else stabilised
        return replace(self, explicit=explicit, stiff=stiff, looks=stiff == "bdf" and residual)

    def suits(self, flow: Flow, clock: Clock, ensemble: bool = False) -> Auto:
        problem = flow.observed
        symmetric, residual = flow.symmetric and clock.symmetric, problem.loss.kind == "residual"
        return self.resolve(problem.size + 1, symmetric, ensemble, residual)

    @property
    def name(self) -> str:
        """The method the next call uses."""
        return self.stiff if self.changed else self.explicit

    def following(self, memory: Journal) -> Auto:
        """For the next call: the stiff method once any member of an ensemble wishes for it (on the host)."""
        changed = bool(self.stiff) and bool(np.any(np.asarray(memory.wish)))
        return replace(self, changed=changed)

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
            return same, jnp.asarray(False)

        return jax.lax.while_loop(go_on, call, (state, jnp.asarray(True)))[0]

    def seen(self, state: State) -> dict[str, Array]:
        return {"stiff": jnp.asarray(self.changed), "stiffness": state.memory.stiffness}

    def finals(self, memory: Journal) -> dict[str, tuple[tuple[str, ...], Array]]:
        """Every change: how many, when, to what and why."""
        return {
            "changes": ((), memory.changes),
            "change_clock": (("change",), memory.when),
            "change_stiff": (("change",), memory.stiff),
            "change_stiffness": (("change",), memory.why),
        }

    def describe(self) -> str:
        return (
            f"Auto {self.explicit or 'explicit'} or {self.stiff or '-'}, tolerance {float(self.tolerance):g}"
        )

    def used(self, trajectory: Any) -> str:
        """Of one member, e.g. ``tsit5; from 0.31 rock4 (h ρ = 3.4; the stability limit of tsit5 is 3.5)``."""
        if np.ndim(trajectory["changes"]):
            return self.describe()
        words = [self.explicit]
        for i in range(min(int(trajectory["changes"]), CHANGES)):
            when, why = float(trajectory["change_clock"][i]), float(trajectory["change_stiffness"][i])
            if bool(trajectory["change_stiff"][i]):
                limit = f"the stability limit of {self.explicit} is {LIMITS.get(self.explicit, 3.0):.2g}"
                words.append(f"from {when:.3g} {self.stiff} (h ρ = {why:.2g}; {limit})")
            else:
                words.append(f"from {when:.3g} {self.explicit} (h ρ = {why:.2g}: no longer stiff)")
        return "; ".join(words)

    def coarser(self) -> Auto:
        """Ten times the tolerance that each of the same two methods works to."""
        return replace(self, slack=number(10.0 * np.asarray(self.slack)), least=number(0.0), changed=False)

    def compared(self) -> Auto:
        """Two steps or more between records: more, or more even ones, than the coarser solver's."""
        return replace(self, least=number(2.0))

    def ready(self, memory: Journal) -> Bool[Array, ""]:
        return memory.wish == self.changed

    def memory(self, pair: Any) -> Journal:
        none = put(np.zeros(CHANGES))
        implicit = Adaptive("bdf").memory(pair) if self.stiff == "bdf" else ()
        stepper = method(self.stiff) if self.stiff in STABILISED else None
        past = stepper.memory(pair).past if isinstance(stepper, Multistep) else ()
        no, zero = put(False), put(0.0)
        unchanged = put(np.zeros(CHANGES, bool))
        return Journal(
            unknown(pair), past, implicit, no, zero, zero, zero, put(np.int64(0)), none, unchanged, none
        )

    def scratch(self, pair: Any) -> Any:
        return Adaptive("bdf").scratch(pair) if self.stiff == "bdf" else ()

    def _adaptive(self, name: str) -> Adaptive:
        tolerance = self.tolerance
        if name != self.stiff:
            tolerance = jnp.minimum(tolerance, jnp.maximum(SHARE * tolerance, FINE))
        absolute = self.absolute * tolerance / self.tolerance
        least = jnp.where(self.least > 0.0, self.least, 1.0 / UNEVEN.get(name, 1.0))
        return Adaptive(name, self.slack * tolerance, self.slack * absolute, least)


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
    looking = solver.looks & moves & (state.steps == 0) & (journal.spectrum.age < 0)
    most = STIFF if solver.changed else _attempts(solver, state, looking)
    moved = inner.attempts(flow, clock, stop, replace(state, memory=memory), end, most)
    measured: Any = True
    if solver.name in STABILISED:
        spectrum, products = moved.memory.spectrum if multistep else moved.memory, jnp.zeros((), int)
    else:
        held = moves & (journal.step > 0.0) & (moved.h < GROWN * journal.step)
        known = journal.spectrum.age >= 0
        far = known & (moved.h * journal.spectrum.radius < FAR * LIMITS.get(solver.explicit, 3.0))
        measured = looking | (held & ~far) | solver.changed
        due = jnp.where(measured, jnp.where(known, EVERY, -1), 0)
        stale = eqx.tree_at(lambda s: s.age, journal.spectrum, due)
        pair = (moved.y, moved.u)
        spectrum, products = refresh(
            lambda p: rhs(moved.tau, p, (flow, clock)), pair, stale, PRODUCTS, PRODUCTS
        )
        spectrum = eqx.tree_at(
            lambda s: s.age, spectrum, jnp.where(measured, spectrum.age, journal.spectrum.age)
        )
    if solver.name == "bdf":
        journal = replace(journal, implicit=moved.memory)
    if isinstance(journal.past, Past):
        # What lies before a stretch made by the other method is no longer the latest past.
        latest = moved.memory if multistep else Memory(spectrum, journal.past).forgotten()
        journal = replace(journal, past=latest.past)
    journal = _wish(replace(journal, spectrum=spectrum), solver, moved, end, measured, looking)
    return replace(moved, memory=journal, evaluations=moved.evaluations + 2 * products)


def _attempts(solver: Auto, state: State, looking: Any) -> Int[Array, ""]:
    """Of an explicit call: none where the run only looks."""
    each = cost(method(solver.explicit), solver.explicit)
    early = EARLY_BDF if solver.stiff == "bdf" else EARLY
    few = jnp.where(state.evaluations < 3 * EARLY, early // each, EXPLICIT // each)
    return jnp.where(looking, 0, few)


def remaining(journal: Journal, state: State, end: Any) -> Float[Array, ""]:
    """Explicit steps still to come: ∫ dτ/h(τ), h growing as the power of τ in [0, 1] by which it grew of late.

    To the end of this stretch, and at least to twice the present time: a run may go on after it.
    """
    tau, h = state.tau, state.h
    span = jnp.maximum(end - tau, tau)
    known = (journal.step > 0.0) & (tau > journal.clock) & (journal.clock > 0.0)
    growth = jnp.log(h / jnp.where(known, journal.step, h))
    power = growth / jnp.log(jnp.where(known, tau / jnp.where(known, journal.clock, 1.0), 2.0))
    # 1 − power, kept off zero, where the integral is a logarithm.
    rest = jnp.clip(1.0 - jnp.where(known, power, 0.0), 1e-6, 1.0)
    return tau / h * jnp.expm1(rest * jnp.log1p(span / tau)) / rest


def _price(solver: Auto, state: State) -> float:
    """Evaluations that a change to the stiff method costs."""
    size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(state.y))
    return CHANGE_TO_BDF + JACOBIANS * jacobian_price(size) if solver.stiff == "bdf" else CHANGE


def _worth(journal: Journal, solver: Auto, state: State, end: Any, stiffness: Any) -> Bool[Array, ""]:
    """Whether what remains costs the explicit pair more than a change; not before two calls have been seen."""
    price = _price(solver, state)
    limit = LIMITS.get(solver.explicit, 3.0)
    each = cost(method(solver.explicit), solver.explicit)
    stake = each * remaining(journal, state, end)
    held = (stiffness > ENTER * limit) & (stake > price)
    enough = EQUAL if solver.explicit == "bosh3" or solver.stiff == "bdf" else HIGHER
    soon = (stiffness > NEAR * limit) & (stake > enough * price)
    return (journal.step > 0.0) & (held | soon)


def _begins(journal: Journal, solver: Auto, state: State, end: Any) -> Bool[Array, ""]:
    """Whether stability alone would cost the explicit pair BEGIN times a change to BDF."""
    each = cost(method(solver.explicit), solver.explicit)
    steps = (end - state.tau) * journal.spectrum.radius / LIMITS.get(solver.explicit, 3.0)
    return each * steps > BEGIN * _price(solver, state)


def jacobian_price(size: int) -> float:
    """A dense Jacobian in gradients; its columns are forward derivatives of the gradient.

    Many at once take 0.2 to 0.9 gradients each up to 300 unknowns (the median of forty nets 0.45), 0.9 at 400, and
    1.3 to 3 where they do not fit the cache.
    """
    return 0.45 * size * (1.0 + size / 500.0)


def _wish(
    journal: Journal, solver: Auto, state: State, end: Any, measured: Any = True, looking: Any = False
) -> Journal:
    # Not a number where nothing was measured: every comparison with it says no.
    stiffness = jnp.where(measured, state.h * journal.spectrum.radius, jnp.nan)
    limit = LIMITS.get(solver.explicit, 3.0)
    # A look makes no steps, and says nothing of how they grow.
    step = jnp.where(looking, 0.0, state.h)
    seen = replace(journal, stiffness=stiffness, clock=state.tau, step=step)
    if not solver.stiff:
        return seen
    leave = LEAVE_BDF if solver.stiff == "bdf" else LEAVE
    worth = _worth(journal, solver, state, end, stiffness) | (looking & _begins(journal, solver, state, end))
    wish = stiffness > leave * limit if solver.changed else worth
    wish = jnp.where(journal.changes < CHANGES, wish, journal.wish)
    differs = wish != journal.wish
    place = jnp.where(differs, journal.changes, CHANGES)
    return replace(
        seen,
        wish=wish,
        changes=journal.changes + differs,
        when=journal.when.at[place].set(state.tau, mode="drop"),
        stiff=journal.stiff.at[place].set(wish, mode="drop"),
        why=journal.why.at[place].set(stiffness, mode="drop"),
    )
