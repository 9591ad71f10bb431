"""memo90.fig6 and memo90.fig6-reading: sin(8πx) fitted by more and more monomials, in arithmetic that can tell.

What is printed. Figure 6: 76 points at Chebyshev nodes, 600 test points, degree 1 to 300, square loss, the minimum
norm solution where there are more monomials than points: "The figure shows how eventually the minimum norm solution
overfits." Section 9: "the pseudoinverse solution is the best, independently of overparametrization. It does not
overfit in the ideal noiseless case (up to numerical noise). Figure 6 shows an example." Overfitting is defined in the
abstract: the expected error gets worse.

Arithmetic. The Gram matrix of D monomials is Σ (x y)^k = (1 − (xy)^D)/(1 − xy), of condition 1e100: the solution is
computed in balls of 1200 bits (python-flint; of 2400 from 77 nodes on), least squares by its normal equations where D
< N. Beside it NumPy's pinv in float64, the usual way: it cuts singular values at 1e-15 and fits to 1e-7 where the
truth is 0 or 1e-59.

Settings, before any run. N = 34, 40, 76 nodes; sin(2πfx), f = 2, 2.5, 3, 4; test points uniform on [−1, 1] with the
ends, 600 for N = 76 (fewer at the quick budget for the others), all of them, or those within |x| ≤ 0.9. D = N/2, N −
1, N, 100, 200, 301 monomials. The figure's own case is N = 76, f = 4, all points. Where test points lie is not
printed.

Tolerances. Balls say their radius, below 1e-5 of the values. Training errors of 1e-60 are zero: balls leave 1e-80. A
test error that "gets worse" is one above ten times the least of fewer monomials; "does not overfit (up to numerical
noise)" allows a mean square of 1e-12 of the target's, far above rounding of float64.
"""

from collections.abc import Iterator
from functools import cache
from itertools import accumulate, repeat
from operator import mul
from typing import Any, NamedTuple

import flint
import numpy as np
import xarray as xr

from gradlab.claims.cases import Case, case
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study

FREQUENCIES, MIDDLE = (2.0, 2.5, 3.0, 4.0), 0.9


def bits(N: int) -> int:
    """Precision for so many nodes: 1200 up to 76, whose Gram matrix has a condition of 1e100, and 2400 beyond."""
    return 1200 if N <= 76 else 2400


class Fit(NamedTuple):
    """Nodes (N,), test points (M,), and the frequency (1,)."""

    nodes: np.ndarray
    tests: np.ndarray
    frequency: np.ndarray


def counts(N: int) -> tuple[int, ...]:
    """Numbers of monomials."""
    return (N // 2, N - 1, N, 100, 200, 301)


@cache
def exact(N: int, M: int) -> dict[str, np.ndarray]:
    """Mean squares and their radii: ``train`` (F, counts), ``all`` and ``middle`` likewise, ``…_radius``."""
    before, flint.ctx.prec = flint.ctx.prec, bits(N)
    try:
        arb, matrix = flint.arb, flint.arb_mat
        nodes = [(arb(2 * k + 1) / (2 * N) * arb.pi()).cos() for k in range(N)]
        tests = [arb(2 * i) / (M - 1) - 1 for i in range(M)]
        pi2 = 2 * arb.pi()
        wanted, truth = (
            matrix(len(x), len(FREQUENCIES), [(pi2 * f * one).sin() for one in x for f in FREQUENCIES])
            for x in (nodes, tests)
        )
        powers = [
            [list(accumulate(repeat(one, 300), mul, initial=arb(1))) for one in x] for x in (nodes, tests)
        ]
        found: dict[str, list[list[float]]] = {}
        middle = [i for i in range(M) if abs(2 * i / (M - 1) - 1) <= MIDDLE]
        for D in counts(N):
            Phi, Psi = (matrix(len(rows), D, [row[k] for row in rows for k in range(D)]) for rows in powers)
            if D >= N:
                weights = Phi.transpose() * (Phi * Phi.transpose()).solve(wanted)
            else:
                weights = (Phi.transpose() * Phi).solve(Phi.transpose() * wanted)
            at_nodes, at_tests = Phi * weights - wanted, Psi * weights - truth
            for name, gap, some in (
                ("train", at_nodes, range(N)),
                ("all", at_tests, range(M)),
                ("middle", at_tests, middle),
            ):
                squares: list[Any] = [
                    sum(gap[i, f] ** 2 for i in some) / len(some) for f in range(len(FREQUENCIES))
                ]
                found.setdefault(name, []).append([float(one.mid()) for one in squares])
                found.setdefault(f"{name}_radius", []).append([float(one.rad()) for one in squares])
        return {name: np.asarray(rows).T for name, rows in found.items()}
    finally:
        flint.ctx.prec = before


def rounded(fit: Fit, D: int, some: np.ndarray) -> tuple[float, float]:
    """Mean squares on the nodes and on some test points by NumPy's pinv in float64."""
    f = 2.0 * np.pi * float(fit.frequency[0])
    powers = np.arange(D)
    weights = np.linalg.pinv(fit.nodes[:, None] ** powers) @ np.sin(f * fit.nodes)
    gaps = (x[:, None] ** powers @ weights - np.sin(f * x) for x in (fit.nodes, fit.tests[some]))
    train, test = (float(np.mean(gap**2)) for gap in gaps)
    return train, test


class _Shared(Look):
    """Errors at every number of monomials, with the radii of their balls."""

    setting = "a linear net on monomials"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether there are nodes and test points."""
        return isinstance(problem, Fit)

    def errors(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean squares and radii over the numbers of monomials, (6,)."""
        return np.asarray(self.trajectory[name].values), np.asarray(self.trajectory[f"{name}_radius"].values)

    @property
    def worse(self) -> Number:
        """log₁₀ of the test error with 301 monomials over the least with fewer."""
        test, radius = self.errors("test")
        ratio = float(np.log10(test[-1] / test[:-1].min()))
        return Number(ratio, float(np.max(radius / test)) + 1e-12)

    @at_least(1.0, sentence="overfits")
    def overfits(self) -> Number:
        """log₁₀ of the test error with 301 monomials over the least with fewer: it gets worse by more than ten.

        Radii of balls.
        """
        return self.worse

    def shown(self):
        return {
            "monomials": ("count", np.asarray(counts(len(self.problem.nodes)), dtype=float)),
            "test error": ("count", self.errors("test")[0]),
            "by float64": ("count", np.asarray(self.trajectory["float_test"].values)),
            "training error": ("count", np.maximum(self.errors("train")[0], 1e-99)),
        }


class Fig6(_Shared):
    @at_most(
        1e-60,
        sentence="fits",
        changed="1e-40 at first, which 45 monomials reach at 90 nodes; balls there were of too few bits.",
    )
    def fits(self) -> Number:
        """Largest mean square on the training points from N monomials on.

        0 in theory; balls leave 1e-80.
        """
        train, radius = self.errors("train")
        return Number(
            float(train[2:].max()), max(float(radius[2:].max()), 1e-300)
        )  # squares below that underflow

    @at_least(1.0, role="control", sentence="fits")
    def misfits(self) -> Number:
        """log₁₀ of the mean square with N/2 monomials over 1e-60: before that it is not zero.

        So that a fit is seen to fail.
        """
        return Number(float(np.log10(self.errors("train")[0][0])) + 60.0, 1e-5)


class _Read(_Shared):
    overfits = None  # the caption's own sentence has another name here

    @at_least(1.0, sentence="eventually")
    def eventually(self) -> Number:
        """log₁₀ of the test error with 301 monomials over the least with fewer: it gets worse by more than ten.

        Radii of balls.
        """
        return self.worse


class Fig6ReadingPrinted(_Read):
    @at_most(1e-12, sentence="ideal")
    def ideal(self) -> Number:
        """What the test error with 301 monomials has beyond the least with fewer, over the target's mean square ½.

        No noise, exact arithmetic: "does not overfit … (up to numerical noise)".
        """
        test, radius = self.errors("test")
        return Number(2.0 * float(test[-1] - test[:-1].min()), 2.0 * float(radius.max()))


class Fig6ReadingCorrected(_Read):
    @at_most(0.0, sentence="best")
    def best(self) -> Number:
        """log₁₀ of the test error with N monomials over the least of the others: N is best, or N − 1.

        0 where the two agree; less where N is better. Radii of balls, and a half decade between N − 1 and N.
        """
        test, radius = self.errors("test")
        others = np.delete(test, [1, 2])
        return Number(float(np.log10(test[1:3].min() / others.min())), float(np.max(radius / test)) + 1e-12)

    @at_least(
        1.0,
        sentence="float64",
        changed="First asked of all cases; with 34 nodes and f = 4 the true error is 2e-7, which float64 sees.",
    )
    def float64(self) -> Number | None:
        """|log₁₀| of the test error by pinv in float64 over the true one, N monomials, where that is below 1e-20.

        A decade is no longer a reading of the figure.
        """
        test, radius = self.errors("test")
        if test[2] > 1e-20:
            return NOT_ASKED
        seen = float(self.trajectory["float_test"].values[2])
        return Number(abs(float(np.log10(seen / test[2]))), float(radius[2] / test[2]) + 0.1)

    @at_most(0.0, sentence="ends")
    def ends(self) -> Number | None:
        """log₁₀ of the test error within |x| ≤ 0.9 over that on all points, 301 monomials.

        The error is largest beyond the last node.
        """
        if "whole" not in self.trajectory:
            return NOT_ASKED
        test, radius = self.errors("test")
        return Number(
            float(np.log10(test[-1] / float(self.trajectory["whole"]))), float(radius[-1] / test[-1]) + 1e-9
        )


def cases(key: Any, *, sizes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """Every number of nodes and frequency, on all test points and on the middle ones; nothing is drawn."""
    for N, M in sizes:
        errors = exact(N, M)
        nodes = np.cos((2.0 * np.arange(N) + 1.0) / (2.0 * N) * np.pi)
        tests = np.linspace(-1.0, 1.0, M)
        for f, frequency in enumerate(FREQUENCIES):
            fit = Fit(nodes, tests, np.asarray([frequency]))
            for name in ("all", "middle"):
                some = np.abs(tests) <= (MIDDLE if name == "middle" else 1.0)
                usual = np.asarray([rounded(fit, D, some) for D in counts(N)])
                found: dict[str, Any] = {
                    "train": ("count", errors["train"][f]),
                    "train_radius": ("count", errors["train_radius"][f]),
                    "test": ("count", errors[name][f]),
                    "test_radius": ("count", errors[f"{name}_radius"][f]),
                    "float_train": ("count", usual[:, 0]),
                    "float_test": ("count", usual[:, 1]),
                }
                if name == "middle":
                    found["whole"] = float(errors["all"][f, -1])
                points = "all test points" if name == "all" else "|x| ≤ 0.9"
                yield case(fit, xr.Dataset(found), N=N, f=frequency, points=points)


def _panel(y: str, ylabel: str, by: tuple[str, ...]) -> Panel:
    return Panel(y, "monomials", ylabel, "monomials", by=by, log="y", floor=1e-99)


FIGURE = Figure(
    _panel("test error", "test error, exact arithmetic", ("N",)),
    _panel("by float64", "test error, float64", ("N",)),
    caption="Mean squares on test points by number of nodes, all frequencies and both sets. Left: in balls of 1200 "
    "bits; least with as many monomials as points, then worse by tens of decades. Right: what NumPy's pinv sees in "
    "float64.",
)
BUDGETS: dict[str, dict[str, Any]] = {
    "quick": {"sizes": ((76, 600), (40, 81), (34, 81))},
    "full": {"sizes": ((76, 600), (58, 600), (40, 600), (34, 600), (90, 600))},
    "few": {"sizes": ((40, 61),)},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.fig6", Fig6),
        ("memo90.fig6-reading", Fig6ReadingPrinted),
        ("memo90.fig6-reading-corrected", Fig6ReadingCorrected),
    )
)
