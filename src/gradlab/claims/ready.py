"""Ready measures: what the methods of one's own look may return.

    class Mine(Look):
        @at_most(1e-3)
        def angle_to(self) -> float:
            \"\"\"Angle of W to the max-margin direction.

            The direction is reached like 1/log t; the run ends at log t = 2000.
            \"\"\"
            return angle_to(self, "max margin")

Each is a number of one look; the judge's bar comes from the second look, and what both looks share is added here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gradlab.analysis import linear_nets, solutions
from gradlab.analysis.equilibria import counting
from gradlab.analysis.limits import Limit, fit_limit
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, Number
from gradlab.problem.losses import Square

#: Solutions that have a name, for linear nets.
SOLUTIONS = ("max margin", "minimum norm", "ridge")


def along(look: Look, quantity: Callable[[Any], Any]) -> np.ndarray:
    """This takes a quantity of the weights at every record: (records, …).

    Parameters
    ----------
    quantity : of weights as the network takes them, a tuple of arrays W_1, …, W_N for a dense net without bias.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> look = gl.claims.Look(problem, xr.Dataset({"weights": (("record", "weight"), [[1.0], [2.0]])}), {})
    >>> gl.claims.along(look, lambda weights: np.linalg.norm(weights[0]))
    array([1., 2.])
    """
    return np.stack([np.asarray(quantity(look.tree(vector)), dtype=np.float64) for vector in look.weights])


def drift(values: Any, scale: float | None = None) -> float:
    """This is how far a quantity moves from where it began: max_t ‖q(t) − q(0)‖/‖q(0)‖.

    A number without unit; 0 for a conserved quantity. Its error is that of the two solves.

    Parameters
    ----------
    values : q at every record, (records, …), as :func:`along` gives it. A quantity that should follow a known function
        of time is divided by it first.
    scale : stands for ‖q(0)‖ where that is zero or says nothing.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.claims.drift([[2.0], [2.0], [1.0]])
    0.5
    """
    q = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    size = float(np.linalg.norm(q[0])) if scale is None else float(scale)
    if not size > 0.0:
        raise ValueError("the quantity is zero at the start; give the scale that its drift is compared with")
    return float(np.max(np.linalg.norm(q - q[0], axis=1)) / size)


def angle_to(look: Look, reference: Any) -> Number:
    """This is the angle, in radians, between the last weights and a direction: 2 atan(‖u − v‖/‖u + v‖), u, v of norm 1.

    Neither needs to be normalised. Accurate to rounding at small angles too, where arccos ⟨u, v⟩ loses half the digits.

    Parameters
    ----------
    reference : a vector of the size of the weights; for a linear net without bias also a matrix (C, d), compared with
        W_N ⋯ W_1; or ``"max margin"`` (one output, labels ±1), ``"minimum norm"``, ``"ridge"``.

    Examples
    --------
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> look = gl.claims.point(problem, [2.0]).look(gl.claims.Look)
    >>> gl.claims.angle_to(look, [5.0]).value
    0.0
    """
    vector, wanted = _compared(look, reference)
    return Number(_angle(vector, wanted), 4.0 * EPS)


def distance_to(look: Look, reference: Any) -> Number:
    """This is the distance of the last weights to a solution, ‖w − w*‖/‖w*‖, or ‖w‖ where w* = 0.

    ``reference`` is as for :func:`angle_to`. ``"ridge"`` takes loss, factor and decay of the problem.

    Examples
    --------
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> look = gl.claims.point(problem, [1.5]).look(gl.claims.Look)
    >>> round(gl.claims.distance_to(look, "minimum norm").value, 12)  # |1.5 − 3|/3
    0.5
    """
    vector, wanted = _compared(look, reference)
    size = float(np.linalg.norm(wanted))
    found = float(np.linalg.norm(vector - wanted) / (size or 1.0))
    return Number(found, 4.0 * EPS * (1.0 + found))


def approach_of(look: Look, values: Any, errors: Any = 0.0) -> Limit:
    """This fits the limit of a sequence of one value a record, see :func:`gradlab.analysis.limits.fit_limit`.

    Times beyond every float are taken from ``log_t``.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import gradlab as gl
    >>> t = np.geomspace(1.0, 1e6, 31)
    >>> look = gl.claims.Look(None, xr.Dataset({"t": ("record", t)}), {})
    >>> gl.claims.approach_of(look, 2.0 + t**-0.5).kind
    'power'
    """
    seen = look.trajectory
    if "log_t" in seen:
        return fit_limit(np.asarray(seen["log_t"].values), values, errors, logarithmic=True)
    return fit_limit(look.time, values, errors)


def limit_of(look: Look, values: Any, errors: Any = 0.0) -> Number:
    """This is the limit of a sequence with its bar; infinite where nothing fits, so that nothing is decided.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import gradlab as gl
    >>> t = np.geomspace(1.0, 1e6, 31)
    >>> look = gl.claims.Look(None, xr.Dataset({"t": ("record", t)}), {})
    >>> round(gl.claims.limit_of(look, 2.0 + t**-0.5).value, 6)
    2.0
    """
    found = approach_of(look, values, errors)
    return Number(found.value, found.error)


def rate_of(look: Look, values: Any, kind: str, errors: Any = 0.0) -> Number:
    """This is r of e^{−rt} (``"exponential"``) or of t^{−r} (``"power"``); unknown where the approach is not that.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import gradlab as gl
    >>> t = np.geomspace(1.0, 1e6, 31)
    >>> look = gl.claims.Look(None, xr.Dataset({"t": ("record", t)}), {})
    >>> round(gl.claims.rate_of(look, t**-0.5, "power").value, 6)
    0.5
    """
    found = approach_of(look, values, errors)
    return Number(found.rate, found.rate_error) if found.kind == kind else Number(math.nan, math.inf)


def approaches_like(look: Look, values: Any, kind: str, errors: Any = 0.0) -> Number:
    """This is 1 where the approach is of a kind, 0 where it is of another, ½ ± ½ where that is undecided.

    With ``@at_least(1.0)`` an undecided approach is inconclusive, so that no power of small exponent passes for a
    logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import gradlab as gl
    >>> t = np.geomspace(1.0, 1e6, 31)
    >>> look = gl.claims.Look(None, xr.Dataset({"t": ("record", t)}), {})
    >>> gl.claims.approaches_like(look, 2.0 + t**-0.5, "logarithm").value
    0.0
    """
    found = approach_of(look, values, errors)
    if found.kind == "undecided":
        return Number(0.5, 0.5)
    return Number(float(found.kind == kind), exact=True)


class EigenvalueSigns(NamedTuple):
    """How many eigenvalues of the Hessian are negative, zero and positive; errors are those that nothing decides."""

    negative: Number
    zero: Number
    positive: Number


def eigenvalue_signs(look: Look, *, equilibrium: bool = True) -> EigenvalueSigns:
    """This counts the signs of the eigenvalues of ∇²L at the last weights: whole numbers, exact where a gap decides.

    Parameters
    ----------
    equilibrium : of the equilibrium that the last weights stand for, to which one more step of Newton leads; else at
        the weights as they are. That they are close to one is not checked: ask ‖∇L‖ as a hypothesis.

    Examples
    --------
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> look = gl.claims.point(problem, [3.0]).look(gl.claims.Look)
    >>> [int(one.value) for one in gl.claims.eigenvalue_signs(look)]  # ∇²L = 2
    [0, 0, 1]
    """
    found = counting.eigenvalues(look.problem, look.end, equilibrium=equilibrium)
    below = counting.below_zero(found.values, found.bound)
    above = counting.below_zero(-found.values, found.bound)
    null = counting.kernel(found.values, found.bound)
    return EigenvalueSigns(*(Number(one.number, one.error, exact=True) for one in (below, null, above)))


def _angle(u: np.ndarray, v: np.ndarray) -> float:
    sizes = float(np.linalg.norm(u)), float(np.linalg.norm(v))
    if not (sizes[0] > 0.0 and sizes[1] > 0.0):
        return math.nan
    one, other = u / sizes[0], v / sizes[1]
    return 2.0 * math.atan2(float(np.linalg.norm(one - other)), float(np.linalg.norm(one + other)))


def _compared(look: Look, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    """The last weights, or the product of the layers, and what they are compared with."""
    if isinstance(reference, str):
        reference = _named(look, reference)
    wanted = np.asarray(reference, dtype=np.float64)
    if wanted.shape == (look.size,):
        return look.end, wanted
    network = linear_nets.matrix_chain(look.problem)
    if network is None or not network.linear or wanted.size != network.widths[0] * network.widths[-1]:
        raise ValueError(
            f"a reference of shape {wanted.shape} was given for {look.size} weights; give one of shape "
            f"({look.size},), or, for a linear net without bias, a matrix (C, d)"
        )
    product = linear_nets.end_to_end(linear_nets.layers(network, look.end))
    return np.asarray(product).ravel(), wanted.ravel()


def _named(look: Look, name: str) -> np.ndarray:
    """The named solution of the problem's data, (C, d)."""
    if name not in SOLUTIONS:
        raise ValueError(
            f"the reference was {name!r}; write an array or one of {', '.join(map(repr, SOLUTIONS))}"
        )
    problem = look.problem
    X, Y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    X = X.reshape(len(X), -1)
    if name == "max margin":
        return solutions.max_margin(X, Y.reshape(len(X))).direction
    if name == "minimum norm":
        return solutions.minimum_norm(X, Y)
    if not isinstance(problem.loss, Square) or np.ndim(problem.decay):
        raise ValueError("a ridge solution needs the square loss and one decay for all weights")
    loss = problem.loss
    factor = problem.factor * (0.5 if loss.half else 1.0) / (len(X) if loss.reduction == "mean" else 1.0)
    return solutions.ridge(X, Y, float(problem.decay), factor)
