"""memo112.margin-vs-interpolation: in general the maximum-margin direction is not that of the minimum-norm
interpolant.

What is judged. The interpolant of ±1 labels of least norm, w = Xᵀ(XXᵀ)⁻¹y, and the hard margin, for linear
classifiers with more weights than examples. They agree if and only if y_n ((XXᵀ)⁻¹y)_n ≥ 0 for all n: then w
satisfies the conditions of Karush, Kuhn and Tucker of the hard margin, with every point a support vector. "In
general" is read as: wherever that fails, which random data of few more dimensions than points do; data of many more
dimensions, or orthogonal ones, satisfy it (the control: there the study must see none). memo90 section 4 and 11.1 say
the opposite.

Settings. N = 6 points: Gaussian in 7 and 8 dimensions, points along a cone, orthogonal, Gaussian in 400 dimensions.

Tolerances. The criterion and the directions are computed apart, by a linear solve and by quadratic programming to
1e-9: angles above 1e-4 differ, below 1e-6 agree.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.one_layer import OneLayer, one_layer
from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class Directions(Look):
    """The least-norm interpolant, which are the weights, and the hard margin."""

    setting = "one linear layer with one output"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return one_layer(problem) is not None and problem.network.outputs == 1

    @cached_property
    def net(self) -> OneLayer:
        found = one_layer(self.problem)
        assert found is not None
        return found

    @cached_property
    def dual(self) -> np.ndarray:
        """y_n ((XXᵀ)⁻¹y)_n over their largest size."""
        labels = self.net.Y[:, 0]
        found = labels * np.linalg.solve(self.net.X @ self.net.X.T, labels)
        return found / np.max(np.abs(found))

    @cached_property
    def angle(self) -> float:
        """Between the weights and the hard margin."""
        hard = max_margin(self.net.X, np.sign(self.net.Y[:, 0])).direction.ravel()
        w, hard = self.end / np.linalg.norm(self.end), hard / np.linalg.norm(hard)
        return float(2.0 * np.arctan2(np.linalg.norm(w - hard), np.linalg.norm(w + hard)))

    @at_most(1e-9, role="hypothesis")
    def interpolates(self) -> Number:
        """‖w − Xᵀ(XXᵀ)⁻¹y‖/‖w‖: the weights are the interpolant of least norm.

        Rounding times the condition of the data, below 1e4.
        """
        gap = np.linalg.norm(self.end - self.net.minimum_norm().ravel()) / np.linalg.norm(self.end)
        return Number(float(gap), 1e-14)

    @at_least(1e-4, sentence="differ")
    def differ(self) -> Number | None:
        """The angle between both directions, where some y_n ((XXᵀ)⁻¹y)_n is below −1e-3 of the largest.

        See the module's docstring.
        """
        return Number(self.angle, 1e-8) if np.min(self.dual) < -1e-3 else NOT_ASKED

    @at_least(0.5, sentence="differ")
    def unequal_margins(self) -> Number | None:
        """There: the largest margin of the hard-margin solution over the least, less one, over 1e-4; 1 at most.

        The interpolant has equal margins; the hard margin leaves some points behind.
        """
        if not np.min(self.dual) < -1e-3:
            return NOT_ASKED
        margins = self.net.Y[:, 0] * (
            self.net.X @ max_margin(self.net.X, np.sign(self.net.Y[:, 0])).direction.ravel()
        )
        return Number(min(float(np.max(margins) / np.min(margins) - 1.0) / 1e-4, 1.0), 1e-4)

    @at_most(1e-6, role="control", sentence="differ")
    def agree(self) -> Number | None:
        """The angle where every y_n ((XXᵀ)⁻¹y)_n is above 1e-3 of the largest.

        See the module's docstring.
        """
        return Number(self.angle, 1e-8) if np.min(self.dual) > 1e-3 else NOT_ASKED

    def shown(self):
        return {"angle": self.angle, "dual": float(np.min(self.dual))}


def cases(key, *, draws):
    """Data of five kinds, labels in turn."""
    rng = generator(key)
    for i in range(draws):
        labels = np.resize([1.0, -1.0], 6)
        orthogonal = np.linalg.qr(rng.standard_normal((8, 6)))[0].T * rng.uniform(0.5, 2.0, (6, 1))
        cone = labels[:, None] * (np.eye(1, 8) + 0.3 * rng.standard_normal((6, 8)))
        kinds = {
            "7 dimensions": rng.standard_normal((6, 7)),
            "8 dimensions": rng.standard_normal((6, 8)),
            "cone": cone,
            "orthogonal": orthogonal,
            "400 dimensions": rng.standard_normal((6, 400)),
        }
        for kind, X in kinds.items():
            problem = Problem(Dense((X.shape[1], 1), "identity"), Square(), Data(X, labels[:, None]))
            w = X.T @ np.linalg.solve(X @ X.T, labels)
            yield point(problem, w, data=kind, draw=i + 1)


STUDY = study(
    "memo112.margin-vs-interpolation",
    Directions,
    cases,
    quick={"draws": 8},
    full={"draws": 100},
    few={"draws": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "angle",
            "dual",
            "angle [rad]",
            r"$\min_n y_n((XX^T)^{-1}y)_n$ over the largest",
            by=("data",),
            log="y",
            floor=1e-10,
        ),
        caption="Angle between the least-norm interpolant of the labels and the hard margin. Left of 0, where some "
        "point is no support vector, they differ; right of it they agree.",
    ),
)
