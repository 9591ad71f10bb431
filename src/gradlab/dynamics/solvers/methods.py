"""The methods by name, and ``Adaptive``, which steps one of them with step size control."""

from __future__ import annotations

import difflib
import functools
from dataclasses import replace
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers import bdf, differences
from gradlab.dynamics.solvers.adaptive import adaptive
from gradlab.dynamics.solvers.implicit import implicit
from gradlab.dynamics.solvers.multistep import MRKC3, MRKC5, Multistep
from gradlab.dynamics.solvers.rkc import RKC2, RKC3
from gradlab.dynamics.solvers.rock4 import ROCK4
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import ATTEMPTS, State
from gradlab.dynamics.stops import Stop
from gradlab.problem.precision import number, put, zeros

#: The methods by name: diffrax's, and the stabilised ones for fields with a symmetric Jacobian.
METHODS: dict[str, Any] = {
    "euler": diffrax.Euler,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "bosh3": diffrax.Bosh3,
    "dopri5": diffrax.Dopri5,
    "tsit5": diffrax.Tsit5,
    "dopri8": diffrax.Dopri8,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
    "rkc2": RKC2,
    "rkc3": RKC3,
    "mrkc3": MRKC3,
    "mrkc5": MRKC5,
    "rock4": ROCK4,
}
IMPLICIT = ("kvaerno3", "kvaerno5")
#: The part of the tolerance that the iterations of a step may leave of what it adds: stages are solved to that; of BDF,
#: which asks for less of its weights, but chooses no step for E.
LEFT = {"kvaerno3": 0.01, "kvaerno5": 0.01, "bdf": 1.0}
#: The part of the way between two records after which the coarse one of two solves makes its second step, where the
#: fine one halves the way: for order p, θ^(p+1) + (1 − θ)^(p+1) = 10 · 2^−p, the ratio of their tolerances. Up to order
#: three (and for methods that look back) it goes in one, which errs 2^p times as much.
UNEVEN = {"rock4": 0.91, "tsit5": 0.82, "dopri5": 0.82, "kvaerno5": 0.82, "dopri8": 0.70}
STABILISED = ("rkc2", "rkc3", "mrkc3", "mrkc5", "rock4")


def method(name: str, tolerance: Any = 1e-9) -> diffrax.AbstractSolver:
    """The diffrax solver of that name; implicit ones solve their stages to a hundredth of the tolerance.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name == "bdf":
        raise ValueError(
            "bdf chooses its own steps and orders: use Adaptive('bdf'), or Fixed('kvaerno5', step)"
        )
    if name not in METHODS:
        known = (*METHODS, "bdf")
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise ValueError(f"unknown solver method {name!r}: {hint}")
    if name in IMPLICIT:
        return METHODS[name](
            root_finder=diffrax.VeryChord(rtol=LEFT[name] * tolerance, atol=LEFT[name] * tolerance)
        )
    if name in STABILISED:
        return ROCK4(tolerance, bare=True) if name == "rock4" else METHODS[name](bare=True)
    return METHODS[name]()


def cost(stepper: Any, name: str) -> int:
    """Evaluations per attempted step of a method with a tableau; zero where they are not counted."""
    if name in IMPLICIT:
        return 0
    tableau = getattr(stepper, "tableau", None)
    if tableau is None:
        return 1
    return tableau.num_stages - 1 if tableau.fsal else tableau.num_stages


@functools.cache
def evaluations(name: str) -> int:
    """:func:`cost` by the method's name."""
    return cost(method(name), name)


class Adaptive(Solver):
    """An embedded pair controls its step size.

    A step is accepted if ‖e‖₂ ≤ tolerance · ‖y‖₂ + absolute (norms over all chart variables, so that small
    entries may have large relative errors) and the error in log(1 + t) is below the tolerance as well.

    Parameters
    ----------
    name : explicit ``bosh3``, ``tsit5``, ``dopri5``, ``dopri8``, ``heun``; stabilised explicit, for gradient flows,
        ``rkc2``, ``rkc3``, ``mrkc3``, ``mrkc5``, ``rock4``; implicit, with a dense Jacobian, ``bdf``, ``kvaerno3``,
        ``kvaerno5``.
    tolerance : relative error per step.
    absolute : absolute floor of that error.
    least : the first step from a record goes no further than this part, 1/least, of the way to the next: with 2, two
        steps or more between records.
    eager : 1 for the second of two solves, which begins with ten times the first step, since where steps only grow
        both would take the same ones; a method that looks back then does so to one point less.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.Adaptive("tsit5", tolerance=1e-6).name
    'tsit5'
    """

    estimates: ClassVar[bool] = True
    #: Whether BDF evaluates its Jacobian at every step.
    renews: ClassVar[bool] = False

    name: str = eqx.field(static=True, default="dopri8")
    tolerance: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-9)
    absolute: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-14)
    least: Float[Array, "..."] | float = eqx.field(converter=number, default=1.0)
    eager: Float[Array, "..."] | float = eqx.field(converter=number, default=0.0)

    def __check_init__(self) -> None:
        if self.name == "euler":
            raise ValueError("euler has no error estimate: use Fixed('euler', step) or another method")
        if self.name != "bdf":
            method(self.name)

    @property
    def stepper(self) -> Any:
        """diffrax's solver of that name."""
        stepper = method(self.name, self.tolerance)
        return replace(stepper, fewer=self.eager) if isinstance(stepper, Multistep) else stepper

    @property
    def each(self) -> int:
        """Evaluations per attempted step; 0 where they are not counted, 1 where the method counts its own."""
        return 1 if self.name == "bdf" else evaluations(self.name)

    def refuse(self, flow: Flow, clock: Clock, ensemble: bool = False) -> str | None:
        reason = super().refuse(flow, clock, ensemble)
        if reason is not None or self.name not in STABILISED:
            return reason
        return unsymmetric(flow, clock, self.name)

    def advance(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
        return self.attempts(flow, clock, stop, state, end, ATTEMPTS)

    def attempts(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, most: Any) -> State:
        """At most ``most`` attempted steps towards ``end``."""
        loop = implicit if self.name == "bdf" else adaptive
        return loop(flow, clock, self, stop, state, end, most)

    def describe(self) -> str:
        return f"Adaptive {self.name}, tolerance {float(self.tolerance):g}"

    def memory(self, pair: Any) -> Any:
        """What stabilised methods know of the spectrum and the past; BDF's differences."""
        if self.name == "bdf":
            size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(pair))
            one, none = put(np.int64(1)), put(np.int64(0))
            return bdf.Memory(zeros(differences.ROWS, size), one, none, put(0.0))
        return METHODS[self.name]().memory(pair) if self.name in STABILISED else ()

    def scratch(self, pair: Any) -> Any:
        """BDF's Jacobian and factors."""
        return bdf.blank(sum(jnp.size(leaf) for leaf in jax.tree.leaves(pair))) if self.name == "bdf" else ()

    @property
    def left(self) -> Any:
        """The part of what a step adds that its iteration may leave, beside what its estimate says."""
        return LEFT[self.name] * self.tolerance if self.name in LEFT else 0.0

    def coarser(self) -> Adaptive:
        """Ten times the tolerance; between near records one step, or two of different lengths (``UNEVEN``)."""
        least = 1.0 / UNEVEN.get(self.name, 1.0)
        ten = 10.0 * np.asarray(self.tolerance), 10.0 * np.asarray(self.absolute)
        return Adaptive(self.name, number(ten[0]), number(ten[1]), least, 1.0)

    def compared(self) -> Adaptive:
        """Two steps or more between records: more, or more even ones, than the coarser solver's."""
        return Adaptive(self.name, self.tolerance, self.absolute, 2.0)


def unsymmetric(flow: Flow, clock: Clock, name: str) -> str | None:
    """A sentence where a stabilised method would meet a Jacobian that is not symmetric in a flat metric, else None."""
    if not flow.symmetric:
        return (
            f"{name} is stable on the negative real axis only and the Jacobian of {type(flow).__name__} is not "
            "symmetric: use solver='bdf' (up to a thousand weights), 'dopri8', or GradientFlow in the plain chart"
        )
    if not clock.symmetric:
        return (
            f"{name} is stable on the negative real axis only and the clock {type(clock).__name__} makes the "
            "Jacobian unsymmetric: use the clock Time() or LogTime(), or solver='dopri8'"
        )
    return None
