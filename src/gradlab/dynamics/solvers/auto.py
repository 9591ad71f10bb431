"""The choice by default: begin explicit, measure stiffness, change over where it pays, and say so.

A call makes a few attempted steps. Then the planned step h and the spectral radius ρ of the field tell what limits it:
an explicit pair whose h ρ has come to the end of its stability interval is held there by stability and not by
accuracy, and another method would step further.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.adaptive import adaptive
from gradlab.dynamics.solvers.implicit import implicit
from gradlab.dynamics.solvers.methods import STABILISED, Adaptive, Solver
from gradlab.dynamics.solvers.stabilised import EVERY, Spectrum, refresh, unknown
from gradlab.dynamics.state import State, rhs
from gradlab.dynamics.stops import Stop
from gradlab.problem.precision import number

#: Real stability limits of the explicit pairs: |R(z)| ≤ 1 on [−limit, 0].
LIMITS = {"bosh3": 2.51, "tsit5": 3.50, "dopri5": 3.30, "dopri8": 5.16}
#: Changed over at h ρ > ENTER · limit, back at h ρ < LEAVE · limit of the explicit pair.
ENTER, LEAVE = 0.9, 0.3
#: Attempted steps of a first call, of a later explicit one, of one with the other method.
FIRST, EXPLICIT, STIFF = 12, 24, 100
#: Changes remembered; after as many the method stays.
CHANGES = 8
#: The largest number of unknowns for which a dense Jacobian is formed.
DENSE = 1000


class Journal(eqx.Module):
    """What ``Auto`` keeps: the spectrum, the other method's memory, its wish, and every change with its reason.

    wish : whether the next call should use the stiff method. stiffness : h ρ at the last call's end.
    changes : how many; when (clock), to what (``True`` stiff) and at which h ρ, for the first CHANGES.
    """

    spectrum: Spectrum
    implicit: Any
    wish: Bool[Array, ""]
    stiffness: Float[Array, ""]
    changes: Int[Array, ""]
    when: Float[Array, " changes"]
    stiff: Bool[Array, " changes"]
    why: Float[Array, " changes"]


class Auto(Solver):
    """Explicit to begin with; stabilised or implicit once stability and not accuracy limits the step; and back.

    Parameters
    ----------
    tolerance, absolute : as for ``Adaptive``, and the same for every method used.
    explicit, stiff : names of the two methods; the defaults follow from tolerance, size and symmetry when a run
        begins (``resolve``). ``stiff=""`` : explicit throughout.
    """

    tolerance: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-9)
    absolute: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-14)
    explicit: str = eqx.field(static=True, default="")
    stiff: str = eqx.field(static=True, default="")
    #: Which of the two the next call uses.
    changed: bool = eqx.field(static=True, default=False)

    def resolve(self, size: int, symmetric: bool, ensemble: bool) -> Auto:
        """With both names: by the tolerance, the number of unknowns and the symmetry of the Jacobian.

        Explicit: the eighth-order pair below 3e-6, the fifth-order one above. Stiff: BDF with a dense Jacobian up to
        DENSE unknowns (not in an ensemble, where every member would pay for it at every step); above, for
        symmetric fields, the stabilised method of order two (tolerance 3e-4 and above) or four.
        """
        if self.explicit:
            return self
        tolerance = float(np.min(np.asarray(self.tolerance)))
        explicit = "dopri8" if tolerance < 3e-6 else "tsit5"
        stabilised = ("rkc2" if tolerance >= 3e-4 else "rock4") if symmetric else ""
        dense = size <= DENSE and not (ensemble and symmetric)
        return Auto(self.tolerance, self.absolute, explicit, "bdf" if dense else stabilised)

    @property
    def name(self) -> str:
        """The method the next call uses."""
        return self.stiff if self.changed else self.explicit

    def following(self, memory: Journal) -> Auto:
        """For the next call: the stiff method once any member of an ensemble wishes for it (on the host)."""
        changed = bool(self.stiff) and bool(np.any(np.asarray(memory.wish)))
        return Auto(self.tolerance, self.absolute, self.explicit, self.stiff, changed)

    def coarser(self) -> Auto:
        """Ten times the tolerance, the same two methods."""
        return Auto(10.0 * self.tolerance, 10.0 * self.absolute, self.explicit, self.stiff)

    def memory(self, pair: Any) -> Journal:
        none = jnp.zeros(CHANGES)
        implicit = self._adaptive("bdf").memory(pair) if self.stiff == "bdf" else ()
        no = jnp.asarray(False)
        return Journal(unknown(pair), implicit, no, jnp.zeros(()), jnp.zeros((), int), none, none > 0.0, none)

    def scratch(self, pair: Any) -> Any:
        return self._adaptive("bdf").scratch(pair) if self.stiff == "bdf" else ()

    def _adaptive(self, name: str) -> Adaptive:
        return Adaptive(name, self.tolerance, self.absolute)


def automatic(flow: Flow, clock: Clock, solver: Auto, stop: Stop, state: State, end: Any) -> State:
    """One call of the method whose turn it is, and the wish for the next."""
    journal: Journal = state.memory
    inner = solver._adaptive(solver.name)
    if solver.name in STABILISED:
        memory: Any = journal.spectrum
    else:
        memory = journal.implicit if solver.name == "bdf" else ()
    most = STIFF if solver.changed else jnp.where(state.steps > 0, EXPLICIT, FIRST)
    loop = implicit if solver.name == "bdf" else adaptive
    moved = loop(flow, clock, inner, stop, replace(state, memory=memory), end, most)
    if solver.name in STABILISED:
        spectrum, products = moved.memory, jnp.zeros((), int)
    else:
        stale = eqx.tree_at(lambda s: s.age, journal.spectrum, jnp.where(journal.spectrum.age < 0, -1, EVERY))
        pair = (moved.y, moved.u)
        spectrum, products = refresh(lambda p: rhs(moved.tau, p, (flow, clock)), pair, stale)
    if solver.name == "bdf":
        journal = replace(journal, implicit=moved.memory)
    journal = _wish(replace(journal, spectrum=spectrum), solver, moved)
    return replace(moved, memory=journal, evaluations=moved.evaluations + 2 * products)


def _wish(journal: Journal, solver: Auto, state: State) -> Journal:
    stiffness = state.h * journal.spectrum.radius
    limit = LIMITS.get(solver.explicit, 3.0)
    if not solver.stiff:
        return replace(journal, stiffness=stiffness)
    wish = stiffness > LEAVE * limit if solver.changed else stiffness > ENTER * limit
    wish = jnp.where(journal.changes < CHANGES, wish, journal.wish)
    differs = wish != journal.wish
    place = jnp.where(differs, journal.changes, CHANGES)
    return replace(
        journal,
        wish=wish,
        stiffness=stiffness,
        changes=journal.changes + differs,
        when=journal.when.at[place].set(state.tau, mode="drop"),
        stiff=journal.stiff.at[place].set(wish, mode="drop"),
        why=journal.why.at[place].set(stiffness, mode="drop"),
    )
