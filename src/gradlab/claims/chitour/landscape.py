"""chitour.landscape: rank-d_y critical points are minima, the others saddles; their dimension and Hessians.

Printed. "Crit_r algebraic variety of dim. > 0": not where H = 1, r = 0 and d_x = d_y, Crit_0 = {0} being a point
(docs/notes/chitour.landscape.md); a hypothesis that is not written. The corrected form also says when the Hessian
has a negative eigenvalue.

Settings, before any run. H = 1, 2, 3, X = 1, Y = (D_Y 0) and rotated, d_x = d_y and d_x > d_y. In every
stratum (subset of singular values learnt) a balanced point and random points with r_Z = r and r_Z > r, where
the widths allow them. The Hessian is the exact block formula of gradlab.analysis.landscape, tested against
automatic differentiation; that the points are critical is seen by automatic differentiation.

What is measured. r and r_Z are numerical ranks. Minima: F and M at points of rank d_y; F ≥ 0 makes them
global. Saddles: F takes lower and higher values within 0.1 of the point (seen values: eigenvectors, then
saddle-free Newton steps among directions that leave alone what is learnt), both beyond a thousand times the
rounding of F: at the origin with H = 3, the flattest point, F falls like σ(0.1/2)⁴ ≈ 1e-5 against 1e-14. A point
where one side was not seen is undecided, unless the Hessian is definite across a manifold of critical points:
then there is none. Dimension: that of the largest family of critical points through the point, in closed form;
checked against the rank of the group action that moves the point (never larger) and the nullity of the Hessian
(never smaller). Negative eigenvalues: against the bound of their rounding.

Changed after the first edition: sides are counted, no longer the least of F's changes, of which two looks give two;
the bounds of the dimension are a number of their own.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradlab import figures
from gradlab.analysis import landscape
from gradlab.analysis.equilibria.inertia import Inertia, inertia
from gradlab.claims.cases import generator
from gradlab.claims.looks.linear_net import WidePoints
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study

#: Radius of the ball in which lower and higher values are sought, and how far beyond rounding they must be.
RADIUS, MARGIN = 0.1, 1e3


class _Seen(NamedTuple):
    """One critical point: r, r_Z, F and M, how far F falls and rises in roundings, the least eigenvalue, signs,
    dimension, the rank of the group action, and what the criterion says.
    """

    rank: int
    rank_z: int
    level: float
    falls: float
    rises: float
    least: float
    least_error: float
    signs: Inertia
    dimension: float
    orbit: float
    strict: bool


class _Shared(WidePoints):
    """Ranks, values, inertia and dimension at all critical points."""

    @cached_property
    def seen(self):
        """What is seen of each critical point."""
        rng = np.random.default_rng(0)
        return [self.view(layers, rng) for layers in self.layers]

    def view(self, layers, rng):
        """One critical point."""
        net = self.landscape
        values, bound = self.spectrum(layers)
        signs, size = inertia(values, bound), float(np.abs(values).max(initial=0.0)) or 1.0
        rest = np.linalg.norm(net.residual(layers)) / np.linalg.norm(net.targets @ net.inputs.T)
        level = max(net.value(layers) / (net.factor * np.sum(net.targets**2)), rest)
        r, r_Z = (landscape.ranks(net, layers, 1, last) for last in (net.depth, net.depth - 1))
        falls = rises = dimension = orbit = np.nan
        if r < net.widths[-1]:
            falls, rises = self.sides(layers, rng)
            dimension, orbit = self.dimension_at(layers)
        least, error, strict = values[0] / size, bound / size, landscape.is_strict(net, layers)
        return _Seen(r, r_Z, level, falls, rises, least, error, signs, dimension, orbit, strict)

    def sides(self, layers, rng):
        """How far F falls and rises within the radius, in roundings of F."""
        # the far values are rounded like values of weights that are longer by the radius
        far = [layer + RADIUS * np.eye(*layer.shape) for layer in layers]
        unit = self.landscape.value_rounding(layers) + self.landscape.value_rounding(far)
        low, high = landscape.extremes(self.landscape, layers, RADIUS, rng, 2.0 * MARGIN * unit)
        value = self.landscape.value(layers)
        return (value - low) / unit, (high - value) / unit

    def dimension_at(self, layers):
        """The dimension of the critical set at the point, and the rank of the action; NaN where a rank is unclear."""
        orbit = landscape.orbit_dimension(self.landscape, layers)
        try:
            found = landscape.local_dimension(self.landscape, *landscape.pattern_of(self.landscape, layers))
        except ValueError:
            return np.nan, np.nan
        return float(found), float(orbit.value) if orbit.decided else np.nan

    @property
    def full(self):
        """The points of rank d_y."""
        return [one for one in self.seen if one.rank == self.landscape.widths[-1]]

    @property
    def saddles(self):
        """The points of rank below d_y."""
        return [one for one in self.seen if one.rank < self.landscape.widths[-1]]

    def unseen(self, side, sign):
        """Points beside which F was not seen to leave: none where the Hessian says so, else undecided."""
        hidden = [one for one in self.saddles if not getattr(one, side) >= MARGIN]
        definite = [
            one
            for one in hidden
            if one.signs.decided and one.signs.zero == one.dimension and not getattr(one.signs, sign)
        ]
        return Number(float(len(definite)), float(len(hidden) - len(definite)), exact=True)

    def counted(self, points, wrong):
        """How many of the points are wrong; all of them undecided where one has no decided signs."""
        undecided = 0.0 if all(one.signs.decided for one in points) else float(len(points))
        return Number(float(sum(map(wrong, points))), undecided, exact=True)

    @at_most(1e-10, sentence="minima")
    def minimum(self) -> float | None:
        """F/‖Y‖² and ‖M‖/‖YXᵀ‖ at points of rank d_y; the larger, at the worst.

        0 in exact arithmetic; points are exact to 1e-13.
        """
        return max((one.level for one in self.full), default=NOT_ASKED)

    @at_most(0.5, sentence="saddles")
    def no_lower(self) -> Number | None:
        """Points of rank < d_y beside which F takes no lower value.

        A count: a saddle's F falls by 1e-5 or more, 1e8 roundings; a minimum's by none.
        """
        return self.unseen("falls", "negative") if self.saddles else NOT_ASKED

    @at_most(0.5, sentence="saddles")
    def no_higher(self) -> Number | None:
        """Points of rank < d_y beside which F takes no higher value.

        A count, as for no_lower, with a maximum.
        """
        return self.unseen("rises", "positive") if self.saddles else NOT_ASKED

    @at_most(0.5, sentence="dimension")
    def unsound(self) -> Number | None:
        """Points of rank < d_y where the dimension is not between the rank of the group action and the nullity.

        A count: the orbit lies in the critical set, and the tangent of that in the kernel.
        """
        if not self.saddles:
            return NOT_ASKED
        sound = [one.orbit <= one.dimension <= one.signs.zero for one in self.saddles]
        unknown = sum(not one.signs.decided or np.isnan(one.orbit + one.dimension) for one in self.saddles)
        return Number(float(len(sound) - sum(sound)), float(unknown), exact=True)

    @at_most(0.0, sentence="negative")
    def negative(self) -> Number | None:
        """λ_min/max|λ| of the Hessian where r_Z > r; the largest.

        The sign is what is claimed; the error has the bound of rounding.
        """
        steep = [Number(one.least, one.least_error) for one in self.saddles if one.rank_z > one.rank]
        return max(steep, default=NOT_ASKED)

    def shown(self):
        numbers: dict[str, Any] = {
            "least": [one.least for one in self.seen],
            "more": [one.rank_z > one.rank for one in self.seen],
            "saddle": [one.rank < self.landscape.widths[-1] for one in self.seen],
            "null": [one.signs.zero for one in self.seen],
            "local": [one.dimension for one in self.seen],
        }
        return {name: ("point", np.array(values, dtype=float)) for name, values in numbers.items()}


class LandscapePrinted(_Shared):
    @at_least(1.0, sentence="dimension")
    def dimension(self) -> Number | None:
        """Dimension of the critical set at points of rank < d_y; the least.

        A whole number, from ranks with gaps.
        """
        least = [one.dimension for one in self.saddles]
        return Number(float(np.min(least)), exact=True) if least else NOT_ASKED


class LandscapeCorrected(_Shared):
    @at_most(0.5, sentence="dimension")
    def exceptions(self) -> Number | None:
        """Points of rank < d_y where dimension > 0 fails, or holds against the exception.

        A count.
        """
        odd = self.landscape.depth == 2 and self.landscape.widths[0] == self.landscape.widths[-1]
        wrong = [(one.dimension > 0) == (odd and one.rank == 0) for one in self.saddles]
        unknown = sum(np.isnan(one.dimension) for one in self.saddles)
        return Number(float(sum(wrong)), float(unknown), exact=True) if wrong else NOT_ASKED

    @at_most(0.5, sentence="negative")
    def criterion(self) -> Number:
        """Points where the Hessian has a negative eigenvalue and the criterion says none, or the other way.

        A count.
        """
        return self.counted(self.seen, lambda one: (one.signs.negative > 0) != one.strict)

    @at_least(0.5, sentence="non_strict")
    def nonstrict(self) -> Number | None:
        """Saddles without negative eigenvalue, for H ≥ 2.

        A count: the origin is one.
        """
        if self.landscape.depth == 2 or not self.saddles:
            return NOT_ASKED
        return self.counted(self.saddles, lambda one: one.signs.negative == 0)

    @at_most(0.5, sentence="non_strict")
    def shallow_nonstrict(self) -> Number | None:
        """Saddles without negative eigenvalue, for H = 1.

        A count: the criterion says none.
        """
        if self.landscape.depth > 2 or not self.saddles:
            return NOT_ASKED
        return self.counted(self.saddles, lambda one: one.signs.negative == 0)


SHAPES = ((3, 3, 3), (4, 3, 2), (3, 3, 3, 3), (4, 3, 4, 2), (3, 3, 3, 3, 2))


def cases(key, *, shapes, rotations, rounds):
    """Points of every stratum of random problems."""
    rng = generator(key)
    for draw in range(rounds):
        for widths in shapes:
            for turned in rotations:
                problem = linear_net.reduced(rng, widths, turned)
                vectors = linear_net.stratum_points(linear_net.landscape_of(problem), rng)
                facts = {
                    "H": len(widths) - 2,
                    "widths": str(widths),
                    "bases": "rotated" if turned else "(D_Y 0)",
                }
                yield linear_net.recorded(problem, vectors, **facts, points=len(vectors), draw=draw + 1)


def _figure(dataset, verdict):
    """The least eigenvalue at every saddle by depth, and the dimension against the nullity."""
    drawn, (left, right) = figures.panels(2, height=3.3)
    saddle, more = dataset["saddle"].values == 1.0, dataset["more"].values == 1.0
    hidden = np.broadcast_to(dataset["H"].values[:, None], saddle.shape)
    places = hidden + 0.12 * np.sin(37.0 * np.arange(saddle.shape[1]))
    groups = {r"$r_Z > r$": saddle & more, r"$r_Z = r$": saddle & ~more}
    figures.scatter(
        {name: places[which] for name, which in groups.items() if which.any()},
        {name: dataset["least"].values[which] for name, which in groups.items() if which.any()},
        "hidden layers H",
        r"$\lambda_{\min}/\max|\lambda|$ at saddles",
        axes=left,
    )
    groups = {f"H = {int(h)}": saddle & (hidden == h) for h in np.unique(hidden)}
    figures.scatter(
        {name: dataset["null"].values[which] for name, which in groups.items()},
        {name: dataset["local"].values[which] for name, which in groups.items()},
        "nullity of the Hessian",
        "dimension of the critical set",
        diagonal=True,
        axes=right,
    )
    return figures.with_caption(
        drawn,
        "Left: the least eigenvalue of the Hessian at saddles; where r_Z > r it is negative, where r_Z = r it "
        "may be zero from H = 2 on. Right: the dimension of the critical set and the nullity, equal where the "
        "critical set is a manifold with the kernel as tangent space (the line); zero at the origin for H = 1 "
        "and d_x = d_y.",
    )


BUDGETS: dict[str, dict[str, Any]] = {
    "quick": {"shapes": SHAPES, "rotations": (False, False, True, True), "rounds": 1},
    "full": {"rounds": 8},
    "few": {"shapes": (*SHAPES[:2], SHAPES[3]), "rotations": (True,)},
}
STUDIES = tuple(
    study(name, look, cases, figure=_figure, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("chitour.landscape", LandscapePrinted),
        ("chitour.landscape-corrected", LandscapeCorrected),
    )
)
