"""chitour.normal-hyperbolicity: for H = 1 the critical points are manifolds whose tangent is the kernel of the
Hessian.

The passage names normal hyperbolicity (Fenichel) as what its proof for H = 1 relies on. For a gradient flow it
means, at an equilibrium: the equilibria near it form a manifold, and the Hessian is non-degenerate across it,
i.e. the nullity is the dimension of the manifold.

Settings, before any run. H = 1, X = 1 and general of full row rank, Y with distinct singular values, d_x = d_y and
d_x > d_y, hidden widths from d_y − 1 to d_y + 2; in every stratum the trivial pattern and random points.
Controls, where the statement is not made and must fail at some point: H = 2 (at saddles without negative
eigenvalue) and H = 1 with singular Y (where the manifolds cross).

What is measured. Nullity: eigenvalues of the exact Hessian within the bound of their rounding, the next a
thousand times that. Dimension, twice: the closed form 2 r d_1 − r² + (d_1 − r)(d_x − d_y); and, without
theory, the number of directions in which polished random neighbours at relative distance 1e-5 lie: singular
values of their displacements are of order 1 along the manifold and 1e-5 across it, cut at 3e-3. Both are whole
numbers with a gap, and no number without one. gl.classify says the same of every point (tests).
"""

from functools import cached_property

import numpy as np

from gradlab.analysis.equilibria.inertia import inertia
from gradlab.analysis.landscape import (
    local_dimension,
    pattern_of,
    seen_dimension,
    shallow_dimension,
)
from gradlab.claims.cases import generator
from gradlab.claims.looks.linear_net import ReducedPoints
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class NormalHyperbolicity(ReducedPoints):
    """Nullity and dimensions at all critical points; NaN for what has no gap."""

    @property
    def excused(self):
        """Whether the statement is not made of the case."""
        return self.facts.get("where") == "control"

    @cached_property
    def nullities(self):
        """The nullity of the Hessian at every critical point."""
        signs = [inertia(*self.spectrum(layers)) for layers in self.layers]
        return np.array([float(one.zero) if one.decided else np.nan for one in signs])

    @cached_property
    def dimensions(self):
        """The closed dimension of the critical set at every critical point, for H = 1; the exact one in a control."""
        return np.array([self._dimension(layers) for layers in self.layers])

    def _dimension(self, layers):
        try:
            learnt, pattern = pattern_of(self.landscape, layers)
            if self.excused or self.landscape.depth > 2:
                return float(local_dimension(self.landscape, learnt, pattern))
            return float(shallow_dimension(self.landscape, learnt))
        except ValueError:  # a rank is unclear, or no closed form is known
            return np.nan

    @cached_property
    def spans(self):
        """The directions in which polished neighbours lie, at every other critical point."""
        rng = np.random.default_rng(0)
        found = [seen_dimension(self.landscape, layers, rng) for layers in self.layers[::2]]
        return np.array([float(one.value) if one.decided else np.nan for one in found])

    @equals(1.0, within=0.0, role="hypothesis", exact=True)
    def hidden(self) -> float | None:
        """H.

        The statement is made for H = 1.
        """
        return NOT_ASKED if self.excused else self.landscape.depth - 1.0

    @at_most(0.0)
    def nullity(self) -> Number | None:
        """|nullity − closed dimension|, the largest over points.

        A whole number, from ranks with gaps.
        """
        if self.excused:
            return NOT_ASKED
        return Number(float(np.max(np.abs(self.nullities - self.dimensions))), exact=True)

    @at_most(0.0)
    def seen(self) -> Number | None:
        """|nullity − directions in which polished neighbours lie| at every other point, the largest.

        A whole number, from ranks with gaps.
        """
        if self.excused:
            return NOT_ASKED
        return Number(float(np.max(np.abs(self.nullities[::2] - self.spans))), exact=True)

    @at_least(1.0, role="control")
    def control(self) -> Number | None:
        """Nullity less dimension of the critical set, the largest over points, for H = 2 or singular Y.

        A whole number, from ranks with gaps; 0 would say that the study cannot see what is degenerate.
        """
        if not self.excused:
            return NOT_ASKED
        return Number(float(np.max(self.nullities - self.dimensions)), exact=True)

    def shown(self):
        return {"null": ("point", self.nullities), "closed": ("point", self.dimensions)}


def _general(rng, widths, count):
    """X and Y random; X has full row rank and Y full rank with probability one."""
    x = linear_net.linear_inputs(rng, count, widths[0])
    y = x @ linear_net.rotation(rng, widths[0])[:, : widths[-1]] * linear_net.distinct_values(rng, widths[-1])
    return Problem(Dense.deep_linear(widths), Square(), Data(x, y))


def _problems(rng, widths, rotations):
    """Problems with what is special of them, first those of the statement, then the controls."""
    for each in widths:
        for turned in rotations:
            yield "H = 1", "rotated" if turned else "(D_Y 0)", linear_net.reduced(rng, each, turned)
    for _ in rotations[1:]:
        yield "H = 1", "X random", _general(rng, (4, 3, 2), 9)
    for turned in rotations:
        yield "control", "H = 2", linear_net.reduced(rng, (4, 3, 4, 2), turned)
    for turned in rotations:
        singular = linear_net.distinct_values(rng, 2)
        yield "control", "H = 1, Y singular", linear_net.reduced(rng, (3, 3, 3), turned, singular)


def cases(key, *, widths, rotations, rounds):
    """Points of every stratum."""
    rng = generator(key)
    for draw in range(rounds):
        for where, kind, problem in list(_problems(rng, widths, rotations)):
            vectors = linear_net.stratum_points(linear_net.landscape_of(problem), rng)
            facts = {
                "where": where,
                "kind": kind,
                "widths": str(problem.network.widths),
                "points": len(vectors),
            }
            yield linear_net.recorded(problem, vectors, **facts, draw=draw + 1)


STUDY = study(
    "chitour.normal-hyperbolicity",
    NormalHyperbolicity,
    cases,
    quick={
        "widths": ((3, 3, 3), (4, 3, 2), (4, 2, 3), (3, 4, 2)),
        "rotations": (False, True, True),
        "rounds": 1,
    },
    full={"rounds": 8},
    few={"widths": ((3, 3, 3), (3, 4, 2)), "rotations": (True,)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "closed",
            "null",
            "dimension of the critical set",
            "nullity of the Hessian",
            by=("where",),
            diagonal=True,
        ),
        caption="Dimension of the critical set against the nullity of the Hessian at critical points of every stratum; "
        "on the line the critical set is normally hyperbolic. The controls, two hidden layers and a singular Y, "
        "are not everywhere.",
    ),
)
