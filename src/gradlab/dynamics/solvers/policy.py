"""The economics of ``auto``: every number it decides by, as one value."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int

from gradlab.modules import Module
from gradlab.problem.precision import number

Number = Float[Array, "..."] | float
Count = Int[Array, "..."] | int


def _told(value: float | int) -> Any:
    return eqx.field(converter=number, default=value)


class Policy(Module):
    """When ``Auto`` measures, what a change costs, and where it pays; reasons: docs/notes/choosing.md.

    Stiffness is h ρ, the explicit pair's planned step times the spectral radius of the field in the run's clock; it is
    compared with the real stability limit of the pair. Costs are evaluations.

    Parameters
    ----------
    enter : the part of the limit beyond which stability holds the step: a change is made if what remains costs the
        explicit pair more than it.
    near, near_bdf : beyond this part it soon will, and a change (to BDF) is made if what remains, times that part,
        costs ``gain`` times as much (``gain_higher``, for a pair of higher order than the stabilised method).
    leave, leave_bdf : parts of the limit below which a stabilised method, or BDF, gives the turn back.
    products : Hessian-vector products of a measurement.
    grown : a step that grew so many times since the call before is not held, and nothing is measured.
    far : the part of the limit below which a step is far from it, by the radius last seen; an early call, and one whose
        step did not fall, then measure nothing.
    early, early_bdf, late, stiff : evaluations of an early explicit call, of one where BDF may take over, and of a
        later one; attempts of a call of the stiff method.
    change, change_bdf : evaluations that a change costs: to a stabilised method; to BDF at tolerance 1e-6, otherwise by
        its ninth root.
    jacobians, jacobians_fading : Jacobians that BDF then evaluates; where curvature falls in the run's clock.
    begin, begin_fading : BDF begins if the explicit pair's evaluations, as they are foreseen, are so many times the
        price; where curvature falls in the run's clock.
    fold : the explicit pair's steps whenever time grows by e, at tolerance 1e-9, where curvature falls like 1/t.
    lengthened : its steps in clocks that do not follow from time, in units of the first.
    share, fine : the explicit pair's tolerance as a part of the one asked for, down to ``fine``.
    steepest : the most negative power of the clock with which the step is foreseen to shrink.
    dense, dense_beside, dense_tight : the most unknowns for which a dense Jacobian is worth its price: with no
        stabilised method; beside one; beside one that round-off holds back, at tolerances below ``tight``.

    Examples
    --------
    >>> import gradlab as gl
    >>> eager = gl.solvers.Policy(begin=0.5)
    >>> float(gl.solvers.Auto(1e-6, policy=eager).policy.begin)
    0.5
    """

    enter: Number = _told(0.9)
    near: Number = _told(0.5)
    near_bdf: Number = _told(0.2)
    leave: Number = _told(0.3)
    leave_bdf: Number = _told(0.03)
    gain: Number = _told(2.0)
    gain_higher: Number = _told(4.0)
    products: Count = _told(2)
    grown: Number = _told(2.0)
    far: Number = _told(0.17)
    early: Count = _told(72)
    early_bdf: Count = _told(36)
    late: Count = _told(216)
    stiff: Count = _told(250)
    change: Number = _told(60.0)
    change_bdf: Number = _told(60.0)
    jacobians: Number = _told(6.0)
    jacobians_fading: Number = _told(15.0)
    fold: Number = _told(9.0)
    lengthened: Number = _told(10.0)
    begin: Number = _told(1.5)
    begin_fading: float = eqx.field(static=True, default=3.5)
    share: Number = _told(0.1)
    fine: Number = _told(1e-6)
    steepest: Number = _told(-4.0)
    dense: Count = _told(1000)
    dense_beside: Count = _told(150)
    dense_tight: Count = _told(401)
    tight: Number = _told(1e-7)

    def price(self, stiff: str, size: int, tolerance: Any, fading: bool) -> Any:
        """Evaluations that a change to that method costs, with so many unknowns, by whether curvature fades."""
        if stiff != "bdf":
            return self.change
        count = self.jacobians_fading if fading else self.jacobians
        return self.change_bdf * (1e-6 / tolerance) ** (1.0 / 9.0) + count * jacobian_price(size)


@functools.cache
def usual() -> Policy:
    """The policy unless another is given; made once."""
    return Policy()


def jacobian_price(size: int) -> float:
    """A dense Jacobian in gradients; its columns are forward derivatives of the gradient.

    Many at once take 0.2 to 0.9 gradients each up to 300 unknowns (the median of forty nets 0.45), 0.9 at 400, and
    1.3 to 3 where they do not fit the cache.
    """
    return 0.45 * size * (1.0 + size / 500.0)
