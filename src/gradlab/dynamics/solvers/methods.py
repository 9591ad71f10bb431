"""Which method steps the flow: adaptive, fixed steps with step halving, or the iteration itself."""

from __future__ import annotations

import difflib
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics.solvers import bdf, differences
from gradlab.dynamics.solvers.multistep import MRKC3, MRKC5
from gradlab.dynamics.solvers.rkc import RKC2, RKC3
from gradlab.dynamics.solvers.rock4 import ROCK4
from gradlab.problem.precision import number

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
    if name not in METHODS:
        known = (*METHODS, "bdf")
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        raise ValueError(f"unknown solver method {name!r}: {hint}")
    if name in IMPLICIT:
        return METHODS[name](root_finder=diffrax.VeryChord(rtol=0.01 * tolerance, atol=0.01 * tolerance))
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


class Solver(eqx.Module):
    """Abstract: something that carries the chart variables from one record to the next."""

    def memory(self, pair: Any) -> Any:
        """What the method keeps from step to step beside the pair (y, u): small, stored with the run."""
        return ()

    def scratch(self, pair: Any) -> Any:
        """What it keeps but can compute again, e.g. factorisations: not stored, dropped at segment borders."""
        return ()

    def coarser(self) -> Solver:
        """The same method with a larger error: what the error bars are measured against."""
        raise ValueError(f"{type(self).__name__} has no coarser version")

    def compared(self) -> Solver:
        """The solver as the first of two solves: never the same steps as its :meth:`coarser` one."""
        return self


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

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.Adaptive("tsit5", tolerance=1e-6).name
    'tsit5'
    """

    name: str = eqx.field(static=True, default="dopri8")
    tolerance: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-9)
    absolute: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-14)
    least: Float[Array, "..."] | float = eqx.field(converter=number, default=1.0)

    def __check_init__(self) -> None:
        if self.name == "euler":
            raise ValueError("euler has no error estimate: use Fixed('euler', step) or another method")
        if self.name != "bdf":
            method(self.name)

    def memory(self, pair: Any) -> Any:
        """What stabilised methods know of the spectrum and the past; BDF's differences."""
        if self.name == "bdf":
            size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(pair))
            none = jnp.zeros((), dtype=jnp.int64)
            return bdf.Memory(jnp.zeros((differences.ROWS, size)), none + 1, none, jnp.zeros(()))
        return METHODS[self.name]().memory(pair) if self.name in STABILISED else ()

    def scratch(self, pair: Any) -> Any:
        """BDF's Jacobian and factors."""
        return bdf.blank(sum(jnp.size(leaf) for leaf in jax.tree.leaves(pair))) if self.name == "bdf" else ()

    def coarser(self) -> Adaptive:
        """Ten times the tolerance; between near records one step, or two of different lengths (``UNEVEN``)."""
        least = 1.0 / UNEVEN.get(self.name, 1.0)
        return Adaptive(self.name, 10.0 * self.tolerance, 10.0 * self.absolute, least)

    def compared(self) -> Adaptive:
        """Two steps or more between records: more, or more even ones, than the coarser solver's."""
        return Adaptive(self.name, self.tolerance, self.absolute, 2.0)


class Fixed(Solver):
    """This takes equal steps no longer than ``step`` between records; the coarser version has half as many.

    For fields that are not smooth (ReLU), where an embedded error estimate means nothing.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> euler = gl.solvers.Fixed("euler", 0.5, refinement=1.0)
    >>> trajectory = gl.run(gl.GradientFlow(problem), (np.zeros((1, 1)),), [1.5], solver=euler, refine=False)
    >>> round(float(trajectory.final_weights[0]), 6)  # 3 (1 − 2⁻³)
    2.625
    """

    name: str = eqx.field(static=True, default="heun")
    step: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-2)
    refinement: Float[Array, "..."] | float = eqx.field(converter=number, default=2.0)

    def __check_init__(self) -> None:
        method(self.name)

    def coarser(self) -> Fixed:
        """Half as many steps between records."""
        return Fixed(self.name, self.step, 0.5 * self.refinement)


class Descent(Solver):
    """This is the unit-step Euler method, y ← y + field(k, y): it *is* gradient descent or SGD.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.run(gl.GradientDescent(problem, 0.5), (np.zeros((1, 1)),), [1], solver=gl.solvers.Descent()).result
    'reached the last record'
    """
