"""memo90.conjugacy-classes: linear, differentiable and topological conjugacy, and what each forces (eqs. 9–12).

What is printed. Linear conjugacy is similarity; differentiable conjugacy forces equal eigenvalues; "for linearized
systems with flows e^{tA}x and e^{tB}y the topological conjugacy relaxes … to the requirement that the dimensions of
stable and unstable spaces of A are equal to those of B, i.e. only the signs of eigenvalues have to match". That A has
no eigenvalue on the imaginary axis is not said there. For symmetric A of one size nothing is missing, zeros included:
the flow rests on the kernel. For others Kuiper and Ladis (1973) have it: stable and unstable dimensions, and the parts
on the axis linearly conjugate (docs/notes/memo90.conjugacy-classes.md).

Settings, before any run. Pairs of 3 × 3 or 4 × 4 matrices, random up to their spectra: similar; with one spectrum, one
of them not diagonalisable; hyperbolic with the same signs; symmetric with zeros in the same places; with the same signs
and a similar part on the axis; with the same signs and another part there (a rotation or a shear against rest, two
speeds). And vector fields F with h polynomial, h⁻¹ polynomial, G = Dh F ∘ h⁻¹.

How it is looked at. H with HA = BH is sought in the kernel of H ↦ BH − HA. Conjugacies of stable and of unstable parts
are built by Lyapunov's quadratic forms: every orbit crosses xᵀPx = 1 once. That h∘φ_t = ψ_t∘h holds then if the
crossing is one; that h has an inverse and that small x have small images is asked beside it. No conjugacy: points of
period T go to points of period T, so that Fix φ_T and Fix ψ_T, linear spaces, have one dimension for every T.

Tolerances. Matrices of condition below 100 and exponentials of size e³: rounding is 1e-12; Newton's crossing times the
same. 1e-8 leaves four decades. A kernel shows at 1e-8 of the largest singular value. Derivatives of G are central
differences at 1e-3, extrapolated: h⁴ and eps/h, 1e-11; eigenvalues of condition 100: 1e-7. The flows of F and G by
DOP853 at 1e-10: 1e-7.

Changed after a first run: how near continuity is followed, 1e-12 in place of 1e-30, for the time it took.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import xarray as xr
from scipy.integrate import solve_ivp

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study

#: Real parts, and differences of flows from the identity, below this are zero.
ZERO = 1e-7
TIMES = (-0.7, 1.3)


class TwoFlows(NamedTuple):
    """Two matrices, or with ``bends`` a vector field Ax + quadratic and a polynomial change of coordinates B(x + …)."""

    A: np.ndarray
    B: np.ndarray
    bends: np.ndarray


class Space(NamedTuple):
    """A flow on an invariant space: coordinates (r, n) that select it, basis (n, r), matrix (r, r)."""

    select: np.ndarray
    basis: np.ndarray
    matrix: np.ndarray


def parts(A: np.ndarray) -> dict[str, Space]:
    """The stable, unstable and centre part of e^{tA}."""
    found, spaces = {}, {}
    for name, sort in (
        ("stable", lambda re, im: re < -ZERO),
        ("unstable", lambda re, im: re > ZERO),
        ("centre", lambda re, im: abs(re) <= ZERO),
    ):
        _, Z, r = scipy.linalg.schur(A, sort=sort)
        spaces[name] = Z[:, :r]
    inverse, at = np.linalg.inv(np.hstack(list(spaces.values()))), 0
    for name, basis in spaces.items():
        select = inverse[at : at + basis.shape[1]]
        found[name], at = Space(select, basis, select @ A @ basis), at + basis.shape[1]
    return found


def intertwining(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """A generic H with HA = BH; least singular value over the largest is zero where all are singular."""
    n = len(A)
    _, values, right = np.linalg.svd(np.kron(np.eye(n), B) - np.kron(A.T, np.eye(n)))
    kernel = right[values <= 1e-8 * max(values[0], 1.0)]
    # a projection, the same in whatever basis the kernel comes
    mixed = kernel.T @ (kernel @ np.random.default_rng(3).standard_normal(n * n))
    return mixed.reshape(n, n, order="F")


def regularity(H: np.ndarray) -> float:
    """Least singular value over the largest, 0 for H = 0."""
    values = np.linalg.svd(H, compute_uv=False)
    return float(values[-1] / values[0]) if values[0] > 0.0 else 0.0


def _carried(x: np.ndarray, one: np.ndarray, other: np.ndarray, sign: float) -> np.ndarray:
    """The conjugacy of two decaying (sign −1) or growing (1) linear flows, x (m, r): by where orbits cross."""
    P, Q = (scipy.linalg.solve_continuous_lyapunov(sign * M.T, np.eye(len(M))) for M in (one, other))
    found = np.zeros_like(x)
    for i, start in enumerate(x):
        if not start.any():
            continue
        time = 0.0
        for _ in range(80):  # Newton on log xᵀPx, which is monotone along the orbit
            y = scipy.linalg.expm(time * one) @ start
            size = float(y @ P @ y)
            step = float(np.log(size) / (sign * float(y @ y) / size))
            time -= float(np.clip(step, -50.0, 50.0))
            if abs(step) < 1e-14 * (1.0 + abs(time)):
                break
        crossing = scipy.linalg.expm(time * one) @ start
        crossing = crossing / np.sqrt(crossing @ Q @ crossing)
        found[i] = scipy.linalg.expm(-time * other) @ crossing
    return found


def image_of(x: np.ndarray, A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """h(x), x (m, n): stable, unstable and centre part by themselves."""
    one, other, image = parts(A), parts(B), np.zeros_like(x)
    for name, sign in (("stable", -1.0), ("unstable", 1.0)):
        if one[name].matrix.size:
            moved = _carried(x @ one[name].select.T, one[name].matrix, other[name].matrix, sign)
            image = image + moved @ other[name].basis.T
    if one["centre"].matrix.size:
        H = intertwining(one["centre"].matrix, other["centre"].matrix)
        image = image + x @ one["centre"].select.T @ H.T @ other["centre"].basis.T
    return image


def _period_dimensions(A: np.ndarray, times: np.ndarray) -> np.ndarray:
    """dim Fix e^{TA} for every T."""
    found = []
    for T in times:
        values = np.linalg.svd(scipy.linalg.expm(T * A) - np.eye(len(A)), compute_uv=False)
        found.append(int(np.sum(values <= ZERO * max(1.0, values[0]))))
    return np.asarray(found)


class ConjugacyClasses(Look):
    """A pair of linear flows, or of nonlinear ones."""

    setting = "two flows of one dimension"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem, TwoFlows) and problem.A.shape == problem.B.shape

    @property
    def bent(self) -> bool:
        """Whether the pair is a vector field and a change of coordinates."""
        return bool(np.any(self.problem.bends))

    @cached_property
    def H(self) -> np.ndarray:
        """HA = BH."""
        return intertwining(self.problem.A, self.problem.B)

    @cached_property
    def sizes(self) -> tuple[dict[str, int], dict[str, int]]:
        """Dimensions of the stable, unstable and centre space of both."""
        one, other = (
            {name: len(part.matrix) for name, part in parts(M).items()}
            for M in (self.problem.A, self.problem.B)
        )
        return one, other

    @property
    def axis(self) -> float:
        """Regularity of an H between the parts on the imaginary axis, 1 where there are none."""
        one, other = (parts(M)["centre"].matrix for M in (self.problem.A, self.problem.B))
        return regularity(intertwining(one, other)) if one.size else 1.0

    @property
    def matched(self) -> bool:
        """Whether the dimensions of stable and unstable spaces are equal."""
        return not self.bent and self.sizes[0] == self.sizes[1]

    @cached_property
    def image(self) -> np.ndarray | None:
        """h at the points of the case, None where none is built."""
        if not self.matched or self.axis < 1e-6:
            return None
        return self.h(self.points)

    def h(self, x: np.ndarray) -> np.ndarray:
        """h of the linear pair, x (m, n)."""
        return image_of(x, self.problem.A, self.problem.B)

    @property
    def points(self) -> np.ndarray:
        """The points of the case, (m, n)."""
        return self.end.reshape(-1, len(self.problem.A))

    def after(self, time: float) -> Number:
        """‖h(φ_t x) − ψ_t(h x)‖/‖ψ_t(h x)‖, the largest of the points."""
        image = self.image
        assert image is not None
        one, other = (scipy.linalg.expm(time * M) for M in (self.problem.A, self.problem.B))
        wanted = image @ other.T
        gap = self.h(self.points @ one.T) - wanted
        return Number(float(np.max(np.linalg.norm(gap, axis=1) / np.linalg.norm(wanted, axis=1))), 100 * EPS)

    @cached_property
    def periods(self) -> float:
        """max_T |dim Fix φ_T − dim Fix ψ_T|, T the periods of both and one more time."""
        speeds = np.concatenate([np.linalg.eigvals(M) for M in self.problem[:2]])
        speeds = np.abs(speeds.imag[(np.abs(speeds.real) <= ZERO) & (np.abs(speeds.imag) > ZERO)])
        times = np.append(2.0 * np.pi / speeds, 0.83)
        one, other = (_period_dimensions(M, times) for M in self.problem[:2])
        return float(np.max(np.abs(one - other)))

    @at_most(1e-8, sentence="linear")
    def similar_flows(self) -> Number | None:
        """‖e^{tB}H − He^{tA}‖/‖He^{tA}‖ where the matrices are similar, H any regular solution of HA = BH.

        Rounding of exponentials, see the module's docstring.
        """
        if self.bent or self.facts["similar"] == SIMILAR["no"]:
            return NOT_ASKED
        if regularity(self.H) < 1e-6:
            return Number(1.0, 100 * EPS)
        gaps = []
        for time in TIMES:
            right = self.H @ scipy.linalg.expm(time * self.problem.A)
            gaps.append(
                np.linalg.norm(scipy.linalg.expm(time * self.problem.B) @ self.H - right)
                / np.linalg.norm(right)
            )
        return Number(float(np.max(gaps)), 100 * EPS)

    @at_most(1e-6, sentence="linear")
    def dissimilar(self) -> Number | None:
        """Least over largest singular value of a generic H with HA = BH, where the matrices are not similar.

        0 in theory: no linear map conjugates; a kernel is seen to 1e-8.
        """
        if self.bent or self.facts["similar"] == SIMILAR["yes"]:
            return NOT_ASKED
        return Number(regularity(self.H), 1e-8)

    @at_most(1e-7, sentence="differentiable")
    def eigenvalues(self) -> Number | None:
        """Largest difference of the eigenvalues of DF(0) and DG(h(0)), over the largest: F and G = Dh F∘h⁻¹.

        Extrapolated differences, see the module's docstring.
        """
        if not self.bent:
            return NOT_ASKED
        step, n = 1e-3, len(self.problem.A)
        at = self.moved(np.zeros(n))
        slope = np.stack([self._slope(at, e, step) for e in np.eye(n)], axis=1)
        own = np.sort_complex(np.linalg.eigvals(self.problem.A))
        seen = np.sort_complex(np.linalg.eigvals(slope))
        return Number(float(np.max(np.abs(own - seen)) / np.max(np.abs(own))), 1e-10)

    @at_most(1e-7, sentence="differentiable")
    def flows(self) -> Number | None:
        """‖h(φ_t x) − ψ_t(h x)‖/‖h x‖ of the flows of F and G (eq. 10), the largest of the points.

        Two solves at 1e-10, see the module's docstring.
        """
        if not self.bent:
            return NOT_ASKED
        worst = 0.0
        for x in 0.3 * self.points / np.linalg.norm(self.points, axis=1, keepdims=True):
            ends = []
            for rate, start in ((self.field, x), (self.pushed, self.moved(x))):
                found = solve_ivp(
                    lambda _, y, rate=rate: rate(y), (0.0, 1.0), start, "DOP853", rtol=1e-10, atol=1e-12
                )
                ends.append(found.y[:, -1])
            worst = float(np.maximum(worst, np.linalg.norm(self.moved(ends[0]) - ends[1])))
        return Number(worst, 1e-9)

    @at_most(1e-8, sentence="topological")
    def commutes(self) -> Number | None:
        """‖h(φ_t x) − ψ_t(h x)‖/‖ψ_t(h x)‖, the largest of points and times, where dimensions match and h is built.

        Rounding of exponentials and crossings.
        """
        return (
            NOT_ASKED
            if self.image is None
            else max((self.after(time) for time in TIMES), key=lambda one: one.value)
        )

    @at_most(1e-8, sentence="topological")
    def inverse(self) -> Number | None:
        """‖h⁻¹(h x) − x‖/‖x‖, h⁻¹ built from B to A, the largest of the points; on the axis nothing is asked.

        As for commutes.
        """
        if self.image is None or self.sizes[0]["centre"]:
            return NOT_ASKED
        back = image_of(self.image, self.problem.B, self.problem.A)
        sizes = np.linalg.norm(self.points, axis=1)
        return Number(float(np.max(np.linalg.norm(back - self.points, axis=1) / sizes)), 100 * EPS)

    @at_most(1e-2, sentence="topological")
    def continuous(self) -> Number | None:
        """‖h(1e-12 x)‖ over ‖h x‖: h goes to 0 with x.

        Rates differ by a factor of four at most: 1e-12 becomes 1e-3.
        """
        if self.image is None:
            return NOT_ASKED
        small = self.h(1e-12 * self.points)
        return Number(float(np.max(np.linalg.norm(small, axis=1) / np.linalg.norm(self.image, axis=1))), EPS)

    @at_most(1e-8, sentence="iterated")
    def iterates(self) -> Number | None:
        """‖h(fⁿx) − gⁿ(h x)‖/‖gⁿ(h x)‖ at n = 4, f and g the flows at time ½.

        As for commutes.
        """
        if self.image is None:
            return NOT_ASKED
        one, other = (
            np.linalg.matrix_power(scipy.linalg.expm(0.5 * M), 4) for M in (self.problem.A, self.problem.B)
        )
        wanted = self.image @ other.T
        gap = self.h(self.points @ one.T) - wanted
        return Number(float(np.max(np.linalg.norm(gap, axis=1) / np.linalg.norm(wanted, axis=1))), 100 * EPS)

    # The nonlinear pair -------------------------------------------------------------------------------------

    def bend(self, x: np.ndarray) -> np.ndarray:
        """x + quadratic terms of the earlier components only."""
        (a, b, c), found = self.problem.bends[0, 0], x.copy()
        found[1:2] += a * x[0] ** 2
        found[2:3] += b * x[0] * x[1] + c * x[1] ** 2
        return found

    def moved(self, x: np.ndarray) -> np.ndarray:
        """h(x)."""
        return self.problem.B @ self.bend(x)

    def _back(self, y: np.ndarray) -> np.ndarray:
        (a, b, c), x = self.problem.bends[0, 0], np.linalg.solve(self.problem.B, y)
        x[1:2] -= a * x[0] ** 2
        x[2:3] -= b * x[0] * x[1] + c * x[1] ** 2
        return x

    def field(self, x: np.ndarray) -> np.ndarray:
        """F(x)."""
        return self.problem.A @ x + np.einsum("ijk,j,k->i", self.problem.bends[1:], x, x)

    def pushed(self, y: np.ndarray) -> np.ndarray:
        """G(y) = Dh(x) F(x), x = h⁻¹(y), eq. 10."""
        (a, b, c), x = self.problem.bends[0, 0], self._back(y)
        D = np.eye(len(x))
        D[1, 0] += 2.0 * a * x[0]
        D[2, :2] += b * x[1], b * x[0] + 2.0 * c * x[1]
        return self.problem.B @ D @ self.field(x)

    def _slope(self, at: np.ndarray, e: np.ndarray, step: float) -> np.ndarray:
        wide, narrow = (
            (self.pushed(at + h * e) - self.pushed(at - h * e)) / (2.0 * h) for h in (step, step / 2.0)
        )
        return (4.0 * narrow - wide) / 3.0

    def shown(self):
        centre = self.sizes[0]["centre"] if self.matched else 0
        alike = "on the axis, parts alike" if self.axis > 1e-6 else "on the axis, parts unlike"
        return {
            "fixed": self.periods if self.matched else np.nan,
            "regular": np.nan if self.bent else regularity(self.H),
            "eigenvalues of A": alike if centre else "off the axis",
        }


class ConjugacyClassesPrinted(ConjugacyClasses):
    @at_most(0.5, sentence="topological")
    def returns(self) -> Number | None:
        """max_T |dim Fix φ_T − dim Fix ψ_T|, stable and unstable dimensions equal: a conjugacy keeps periods.

        A whole number, counted with a gap of 1e-7.
        """
        return Number(self.periods, exact=True) if self.matched else NOT_ASKED


class ConjugacyClassesCorrected(ConjugacyClasses):
    @at_most(0.5, sentence="topological")
    def returns(self) -> Number | None:
        """The same where the parts on the imaginary axis are linearly conjugate too, or there are none.

        A whole number.
        """
        return Number(self.periods, exact=True) if self.matched and self.axis > 1e-6 else NOT_ASKED

    @at_least(0.5, sentence="axis")
    def apart(self) -> Number | None:
        """The same where they are not: no conjugacy exists.

        A whole number, as above.
        """
        return Number(self.periods, exact=True) if self.matched and self.axis <= 1e-6 else NOT_ASKED


def _basis(random, n):
    """A matrix of condition at most 3."""
    left, right = (np.linalg.qr(random.standard_normal((n, n)))[0] for _ in range(2))
    return (left * np.geomspace(1.0, 3.0, n)) @ right


def _turned(random, block):
    H = _basis(random, len(block))
    return H @ block @ np.linalg.inv(H)


def _rates(random, signs):
    return np.diag(np.asarray(signs) * random.uniform(0.5, 2.0, len(signs)))


SIMILAR = {"yes": "similar", "no": "not similar"}
SPIN, SHEAR, REST = np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 0.0]]), np.zeros((2, 2))
ON_AXIS = (("rotation, rest", SPIN, REST), ("two speeds", SPIN, 1.7 * SPIN), ("shear, rest", SHEAR, REST))


def cases(key, *, rounds):
    """Pairs of every kind, one a round."""
    random = generator(key)
    for draw in range(1, rounds + 1):
        signs = np.sort(np.where(random.uniform(size=4) < 0.5, -1.0, 1.0))
        D = _rates(random, signs)
        yield _pair(random, "conjugate matrices", "yes", _turned(random, D), _turned(random, D), draw)
        J = D.copy()
        J[1, 1] = J[0, 0]
        jordan = J + np.diag([1.0, 0.0, 0.0], 1)
        yield _pair(random, "one not diagonalisable", "no", _turned(random, J), _turned(random, jordan), draw)
        one, other = (_turned(random, _rates(random, signs)) for _ in range(2))
        yield _pair(random, "hyperbolic, other rates", "no", one, other, draw)
        zeros = np.array([-1.0, 0.0, 0.0, 1.0])
        turns = [np.linalg.qr(random.standard_normal((4, 4)))[0] for _ in range(2)]
        one, other = (Q @ _rates(random, zeros) @ Q.T for Q in turns)
        yield _pair(random, "symmetric with zeros", "no", one, other, draw)
        axis = [scipy.linalg.block_diag(SPIN, _rates(random, [-1.0, 1.0])) for _ in range(2)]
        one, other = (_turned(random, M) for M in axis)
        yield _pair(random, "the same rotation", "no", one, other, draw)
        name, first, second = ON_AXIS[draw % 3]
        hyperbolic = _rates(random, [-1.0, 1.0])
        one, other = (_turned(random, scipy.linalg.block_diag(M, hyperbolic)) for M in (first, second))
        yield _pair(random, name, "no", one, other, draw)
        bends = 0.3 * random.standard_normal((4, 3, 3))
        A, B = _turned(random, _rates(random, [-1.0, -1.0, 1.0])), _basis(random, 3)
        yield _pair(random, "nonlinear", "yes", A, B, draw, bends)


def _pair(random, kind, similar, A, B, draw, bends=None):
    points = random.standard_normal((2, len(A)))
    seen = xr.Dataset({"final_weights": ("weight", points.ravel())})
    pair = TwoFlows(A, B, np.zeros((1, 1, 1)) if bends is None else bends)
    return case(pair, seen, pair=kind, similar=SIMILAR[similar], draw=draw)


FIGURE = Figure(
    Panel(
        "fixed",
        "case",
        r"largest difference of $\dim\,\mathrm{Fix}$",
        "case (stable and unstable dimensions equal)",
        by=("eigenvalues of A",),
    ),
    Panel("regular", "case", r"regularity of $H$, $HA=BH$", "case", by=("similar",), log="y", floor=1e-17),
    caption="Left: dimensions of the points of one period, largest difference over periods; a conjugacy leaves none. "
    "Right: least over largest singular value of H; at rounding there is no linear conjugacy.",
)
BUDGETS = {"quick": {"rounds": 3}, "full": {"rounds": 20}, "few": {"rounds": 1}}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.conjugacy-classes", ConjugacyClassesPrinted),
        ("memo90.conjugacy-classes-corrected", ConjugacyClassesCorrected),
    )
)
