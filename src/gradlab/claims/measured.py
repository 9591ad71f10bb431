"""Numbers of a case and the measures that they belong to: the methods of a look.

    @at_most(1e-9)
    def null_motion(self) -> Number:
        \"\"\"Share of the motion that lies beside the span of the data.

        A step rounds W by eps ‖W‖: k of them leave k eps ‖W‖/‖ΔW‖.
        \"\"\"

The method's name is the measure's id, the first paragraph of its docstring the statement, the rest the reason for its
tolerance.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gradlab.claims.claim import Measure
from gradlab.laboratory.second import FACTOR

EPS = float(np.finfo(np.float64).eps)

#: What a measure gives for a case of which its statement says nothing.
NOT_ASKED = None


class Number(NamedTuple):
    """A Number is what a measure gives: a value, and what two looks cannot see of it.

    ``error`` is added to what two looks say, as the laboratory does, FACTOR (3) times their distance: it is what they
    cannot see (rounding, an undecided count); ``tolerance`` is the case's
    own where it depends on the case; ``exact`` says that, if both looks agree, there is no error: a decided count.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.claims.Number(0.25, error=1e-12)
    Number(value=0.25, error=1e-12, tolerance=None, exact=False)
    """

    value: float
    error: float = 0.0
    tolerance: float | None = None
    exact: bool = False


class Measured:
    """A number of a case, computed once, and the measure that it belongs to."""

    def __init__(self, of: Callable[[Any], Any], **limit: Any) -> None:
        statement, _, why = inspect.cleandoc(of.__doc__ or "").partition("\n\n")
        if not statement or not why:
            raise ValueError(
                f"measure {of.__name__!r} needs a docstring: a paragraph that says what is measured, and one "
                "that says why its tolerance is what it is"
            )
        self.of, self.__doc__ = of, of.__doc__
        self.key = f"{of.__module__}.{of.__qualname__}"
        said, reason = " ".join(statement.split()).rstrip("."), " ".join(why.split())
        self.measure = Measure(of.__name__, said, why=reason, **limit)

    def __get__(self, look: Any, kind: type | None = None) -> Any:
        if look is None:
            return self
        if self.key not in look.__dict__:
            look.__dict__[self.key] = self.of(look)
        return look.__dict__[self.key]

    def seen(self, look: Any, other: Callable[[], Any]) -> dict[str, float]:
        """``<id>``, ``<id>_error``, ``<id>_asked``, ``<id>_exact`` and perhaps ``<id>_tolerance``, from two looks."""
        name = self.measure.id
        first = getattr(look, name)
        second = first if self.measure.exact else getattr(other(), name)
        if first is NOT_ASKED and second is NOT_ASKED:
            return {name: np.nan, f"{name}_error": 0.0, f"{name}_asked": 0.0, f"{name}_exact": 1.0}
        if first is NOT_ASKED or second is NOT_ASKED:
            # whether anything is asked is itself a matter of rounding
            return {name: np.nan, f"{name}_error": np.inf, f"{name}_asked": 1.0, f"{name}_exact": 0.0}
        first, second = (one if isinstance(one, Number) else Number(float(one)) for one in (first, second))
        same = first.value == second.value  # infinite, perhaps
        bar = first.error + (0.0 if same else FACTOR * abs(first.value - second.value))
        exact = (self.measure.exact or first.exact) and bar == 0.0
        found = {name: first.value, f"{name}_error": bar, f"{name}_asked": 1.0, f"{name}_exact": float(exact)}
        return found if first.tolerance is None else found | {f"{name}_tolerance": first.tolerance}


def at_most(tolerance: float, **options: Any) -> Callable[[Callable[[Any], Any]], Any]:
    """``at_most`` asks that number ≤ tolerance.

    Parameters
    ----------
    options : of :class:`Measure`: ``sentence``, ``role`` (``"print"``, ``"hypothesis"``, ``"control"``), ``exact``,
        ``repaired``, ``changed``.

    Examples
    --------
    >>> import gradlab as gl
    >>> class Mine(gl.claims.Look):
    ...     @gl.claims.at_most(4.0)
    ...     def norm(self):
    ...         '''Norm of the weights.
    ...
    ...         The source says that it stays below 4.
    ...         '''
    ...         return float(abs(self.end).max())
    >>> Mine.norm.measure.statement, Mine.norm.measure.relation, Mine.norm.measure.tolerance
    ('Norm of the weights', '<=', 4.0)
    """
    return lambda of: Measured(of, relation="<=", tolerance=tolerance, **options)


def at_least(tolerance: float, **options: Any) -> Callable[[Callable[[Any], Any]], Any]:
    """``at_least`` asks that number ≥ tolerance; options as in :func:`at_most`.

    Examples
    --------
    >>> import gradlab as gl
    >>> def growth(look):
    ...     '''Largest weight at the end.
    ...
    ...     The source says that it exceeds 4.
    ...     '''
    ...     return float(look.end.max())
    >>> gl.claims.at_least(4.0)(growth).measure.relation
    '>='
    """
    return lambda of: Measured(of, relation=">=", tolerance=tolerance, **options)


def equals(target: float, within: float, **options: Any) -> Callable[[Callable[[Any], Any]], Any]:
    """``equals`` asks that |number − target| ≤ within; options as in :func:`at_most`.

    Examples
    --------
    >>> import gradlab as gl
    >>> def rank(look):
    ...     '''Weights that differ from zero.
    ...
    ...     A whole number.
    ...     '''
    ...     return float((look.end != 0.0).sum())
    >>> measure = gl.claims.equals(2.0, within=0.0, exact=True)(rank).measure
    >>> measure.relation, measure.target, measure.exact
    ('==', 2.0, True)
    """
    return lambda of: Measured(of, relation="==", target=target, tolerance=within, **options)


def measured(kind: type) -> list[Measured]:
    """The measures of a class, those of its bases first, hypotheses before the others."""
    found: dict[str, Measured] = {}
    for one in reversed(kind.__mro__):
        found |= {name: value for name, value in vars(one).items() if isinstance(value, Measured)}
        for name in [
            name for name in vars(one) if name in found and not isinstance(vars(one)[name], Measured)
        ]:
            del found[name]
    return sorted(found.values(), key=lambda one: one.measure.role != "hypothesis")
