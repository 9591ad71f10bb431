"""chitour.critical-values: the critical values of F = ‖Y − WX‖² are sums of squares of singular values.

Printed. Half sums, for F without ½: they are the critical values of ½F, a misprint of one constant; the printed (GD) of
the passage lacks the same factor (chitour.gradient).

Settings, before any run. H = 1, 2, 3; X = 1 with Y = (D_Y 0) and in random bases; for the corrected form also
general and deficient X, hidden widths below d_y, d_y > d_x, repeated singular values, and ½‖Y − WX‖². Critical
points of every subset by construction (trivial and random patterns of gradlab.analysis.landscape), and by
search: Levenberg–Marquardt on ∇F = 0 from Gaussian starts of three scales, which knows nothing of subsets. F
and ∇F at all of them by automatic differentiation; those that are not critical to rounding are left out.

Tolerances. Values relative to a‖Y‖², a the factor of the loss. Found points have ‖∇F‖ at its rounding, hence values
to about 1e-12. A missing factor ½ moves the largest critical value, ‖Y‖², by ½ if ‖Y − YX⁺X‖ = 0. 1e-9 parts them by
eight decades on one side and three on the other; subsets of at most three random singular values lie about 1e-2 apart,
so that a value in no list would not be near one by chance.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.landscape import critical_values, search
from gradlab.claims.cases import generator
from gradlab.claims.looks.linear_net import CriticalPoints, WidePoints
from gradlab.claims.measured import NOT_ASKED, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

TOLERANCE = 1e-9


class _Shared(CriticalPoints):
    """Critical values against both lists, in units of a‖Y‖²."""

    @property
    def unit(self):
        """a‖Y‖²."""
        return self.landscape.factor * float(np.sum(self.landscape.targets**2))

    @property
    def values(self):
        """F at the critical points."""
        return self.critical[1] / self.unit

    @cached_property
    def sums(self):
        """The corrected list."""
        return critical_values(self.landscape) / self.unit

    @cached_property
    def half_sums(self):
        """The printed list: ½ Σ_{i∈S} σ_i² for all subsets."""
        sums = np.zeros(1)
        for value in self.landscape.singular_values:
            sums = np.concatenate([sums, sums + 0.5 * value**2])
        return np.sort(sums) / self.unit

    @at_most(TOLERANCE, sentence="listed")
    def listed(self) -> float:
        """Distance of a critical value from the nearest a(‖Y − YX⁺X‖² + Σσ²), over a‖Y‖²; the worst.

        Rounding and the search leave 1e-12, see the module's docstring.
        """
        return _distance(self.values, self.sums)

    @at_most(TOLERANCE, sentence="attained")
    def attained(self) -> float | None:
        """Distance of a listed value from the nearest critical value constructed or found; the worst.

        Rounding and the search leave 1e-12, see the module's docstring; not asked where points were left out.
        """
        if len(self.values) < len(self.weights):
            return NOT_ASKED
        return _distance(self.sums, self.values)

    def shown(self):
        lists = {"near": self.sums, "near_half": self.half_sums}
        near = {name: ("point", _nearest(self.values, one)) for name, one in lists.items()}
        return {"value": ("point", self.values), **near}


class CriticalValuesPrinted(_Shared, WidePoints):
    @equals(1.0, within=1e-12, role="hypothesis", exact=True)
    def factor(self) -> float:
        """The factor a of ‖Y − WX‖².

        The printed F has 1.
        """
        return self.landscape.factor

    @at_most(1e-10, role="hypothesis")
    def reduced(self) -> float:
        """‖XXᵀ − 1‖ (only the bases of the inputs differ from X = 1).

        X is the identity or a rotation, to rounding.
        """
        X = self.landscape.inputs
        return float(np.linalg.norm(X @ X.T - np.eye(len(X))))

    @at_most(TOLERANCE, sentence="listed", role="print", repaired="listed")
    def half_listed(self) -> float:
        """Distance of a critical value from the nearest half sum of squares, over a‖Y‖²; the worst.

        As for the sums; a factor ½ moves values by 1e-1 and more.
        """
        return _distance(self.values, self.half_sums)

    @at_most(TOLERANCE, sentence="attained", role="print", repaired="attained")
    def half_attained(self) -> float | None:
        """Distance of a half sum from the nearest critical value that was constructed or found; the worst.

        As for the sums; a factor ½ moves values by 1e-1 and more.
        """
        if len(self.values) < len(self.weights):
            return NOT_ASKED
        return _distance(self.half_sums, self.values)


class CriticalValuesCorrected(_Shared):
    @at_least(0.1, sentence="listed", role="control")
    def half(self) -> float | None:
        """Distance of half the largest critical value from it, where a = 1: a wrong constant is seen.

        ½ of what the largest value is in this unit, ‖Y‖² at W = 0.
        """
        return 0.5 * float(self.values.max()) if self.landscape.factor == 1.0 else NOT_ASKED


def _nearest(values, given):
    """For each value the nearest given one."""
    return given[np.argmin(np.abs(values[:, None] - given[None, :]), axis=1)]


def _distance(values, given):
    """The distance of the worst value from the nearest given one; NaN where nothing is given."""
    return float(np.max(np.abs(values - _nearest(values, given)))) if len(given) and len(values) else np.nan


WIDTHS = ((3, 3, 3), (4, 3, 2), (4, 3, 4, 3), (3, 3, 3, 2), (4, 3, 3, 3, 2))


def _problems(rng, widths):
    """Problems with what is special of them: the source's setting, and, for the corrected form, others."""
    for each in widths:
        for turned in (False, False, True, True):
            yield "rotated" if turned else "(D_Y 0)", linear_net.reduced(rng, each, turned)
    yield "½F", linear_net.reduced(rng, (4, 3, 2), True, half=True)
    yield "narrow hidden layer", linear_net.reduced(rng, (4, 2, 3), True)
    yield "d_y > d_x", linear_net.reduced(rng, (2, 4, 3), True)
    yield "repeated singular values", linear_net.reduced(rng, (4, 3, 4, 3), True, np.array([2.0, 1.0, 1.0]))
    for kind, count in (("random", 9), ("deficient", 6)):
        x = linear_net.linear_inputs(rng, count, 4, kind)
        y = rng.standard_normal((count, 2))
        yield f"X {kind}", Problem(Dense.deep_linear((4, 3, 2)), Square(), Data(x, y))


def cases(key, *, widths, starts, rounds):
    """Problems with points of every stratum, what the search finds from random starts, and zero weights."""
    rng = generator(key)
    for draw in range(rounds):
        for name, problem in _problems(rng, widths):
            net = linear_net.landscape_of(problem)
            searched = [net.flat(one.layers) for one in search(net, rng, starts)]
            constructed = linear_net.stratum_points(net, np.random.default_rng(0))
            vectors = np.concatenate([constructed, *(one[None] for one in searched), np.zeros((1, net.size))])
            facts = {"H": net.depth - 1, "widths": str(net.widths), "kind": name, "found": len(searched)}
            loss = "½‖Y − WX‖²" if problem.loss.half else "‖Y − WX‖²"
            yield linear_net.recorded(problem, vectors, **facts, loss=loss, draw=draw + 1)


FIGURE = Figure(
    Panel(
        "value",
        "near_half",
        r"critical value, over $a\|Y\|^2$",
        r"nearest half sum of squares, over $a\|Y\|^2$",
        by=("loss",),
        diagonal=True,
    ),
    Panel(
        "value",
        "near",
        r"critical value, over $a\|Y\|^2$",
        r"nearest sum of squares times a, over $a\|Y\|^2$",
        by=("loss",),
        diagonal=True,
    ),
    caption="Critical values, constructed and found by search, against the nearest value of the printed list (left) "
    "and of the corrected one (right). The grey line is equality. With ½ in front of the loss both lists are one.",
)
BUDGETS: dict[str, dict[str, Any]] = {
    "quick": {"widths": WIDTHS, "starts": 6, "rounds": 1},
    "full": {"starts": 24, "rounds": 3},
    "few": {"widths": WIDTHS[:1], "starts": 2},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("chitour.critical-values", CriticalValuesPrinted),
        ("chitour.critical-values-corrected", CriticalValuesCorrected),
    )
)
