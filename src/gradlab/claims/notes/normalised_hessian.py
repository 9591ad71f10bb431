"""notes.normalised-hessian: stationary directions at a given norm, and whether the loss is definite there.

Printed. With x = Σ e^{−ρw̃*·x_n} x_n/ρ a stationary w̃ satisfies x − w̃*w̃*ᵀx = 0, "⇒ w̃* = x/‖x‖"; if one exponential
dominates the sum, H = (I − w̃w̃ᵀ)xxᵀ + (1/ρ)(w̃ᵀx + w̃xᵀ) "at minimum … is pos. def."; "the argument depends on max
effect in Σ e^{−ρ(·)}, which is not true in general!"

Reading. The dynamics of w̃ at given ρ is descent of L = Σ e^{−ρw̃·x_n} on the sphere; definite means on its tangent.
Its Hessian there is P ∇²L P − (w̃·∇L/ρ)P in the coordinates W = ρw̃, P = I − w̃w̃ᵀ. The last sentence says of the
argument that its assumption fails, and that is what is asked: with two support vectors or more no exponential
dominates, however large ρ. (With x's normalisation open, the formula of H is not asked.)

Print. x − w̃w̃ᵀx = 0 gives w̃ = ±x/‖x‖, and maxima of L on the sphere have the minus. Corrected (docs/notes/
notes.normalised-hessian.md): the sign is that of −w̃·∇L, plus at a minimum exactly if all of L's descent is not yet
done at that norm (always where data are separable); then P ∇²L P − (w̃·∇L/ρ)P ≥ (‖∇L‖/ρ)P is definite whatever
dominates.

Settings, before any run. Separable sets whose nearest point of the hull is one input (it dominates), or lies between
two at an angle, or of a random set; ρ = 3 to 100 over ‖nearest point‖; sets that are not separable with ρ twice the
norm of the minimum. Minima and maxima on the sphere by BFGS in log L, polished by Newton steps on the sphere.

Tolerances. Newton's steps leave directions stationary to 1e-12; eigenvalues are right to rounding: 1e-9. "Dominates"
is a share of 0.99 of the sum, "does not" leaves a hundredth to the others.
"""

from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from gradlab.claims.cases import generator, point
from gradlab.claims.looks.points import Point
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Share of the sum from which on one exponential dominates it.
DOMINATES = 0.99


class _Sphere(Point):
    """A point W = ρw̃, the gradient there, and the Hessian on the tangent of the sphere."""

    setting = "a linear net of one layer and one output under the exponential loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        network = problem.network
        if not (isinstance(network, Dense) and isinstance(problem.loss, Exponential)):
            return False
        plain = network.linear and len(network.widths) == 2
        return plain and network.widths[1] == 1 and not np.any(np.asarray(problem.decay))

    @cached_property
    def norm(self) -> float:
        """ρ."""
        return float(np.linalg.norm(self.end))

    @cached_property
    def direction(self) -> np.ndarray:
        """w̃."""
        return self.end / self.norm

    @cached_property
    def slope(self) -> np.ndarray:
        """∇L; the source's x is −∇L/ρ."""
        return self.gradient(self.end)

    @cached_property
    def steep(self) -> float:
        """‖∇L‖/ρ."""
        return float(np.linalg.norm(self.slope)) / self.norm

    @cached_property
    def shares(self) -> np.ndarray:
        """Each example's share of Σ e^{−y f}, ascending."""
        f = np.asarray(self.problem.data.inputs) @ self.end * np.asarray(self.problem.data.targets).ravel()
        weights = np.exp(f.min() - f)
        return np.sort(weights / weights.sum())

    @cached_property
    def tangent(self) -> np.ndarray:
        """Eigenvalues on the tangent of the sphere, ascending, over ‖∇L‖/ρ."""
        basis = np.linalg.svd(self.direction[None])[2][1:]
        across = basis @ self.hessian @ basis.T
        along = float(self.direction @ self.slope) / self.norm
        return np.linalg.eigvalsh(across - along * np.eye(len(basis))) / self.steep

    @property
    def rounding(self) -> float:
        """Of an eigenvalue, over ‖∇L‖/ρ."""
        return 10.0 * self.size * EPS * float(np.linalg.norm(self.hessian, 2) / self.steep + 1.0)

    @cached_property
    def kind(self) -> str:
        """Minimum, minimum beyond the least loss, or maximum."""
        return str(self.facts["point"])

    def off(self, sign: float) -> Number:
        """‖w̃ ∓ x/‖x‖‖."""
        toward = -self.slope / np.linalg.norm(self.slope)
        return Number(float(np.linalg.norm(self.direction - sign * toward)), 10.0 * EPS)

    @at_most(1e-5, role="hypothesis")
    def stationary(self) -> Number:
        """Slope of log L along the sphere over ‖∇ log L‖ρ, by differences of values at ±h.

        h = 1e-5/(1 + ρ‖x‖) leaves (ρ‖x‖h)² = 1e-10, and rounding of log L over h, 1e-10 to 1e-8.
        """
        x = np.asarray(self.problem.data.inputs) * np.asarray(self.problem.data.targets).reshape(-1, 1)
        longest = self.norm * float(np.linalg.norm(x, axis=1).max())
        h = 1e-5 / (1.0 + longest)
        basis = np.linalg.svd(self.direction[None])[2][1:]
        ends = self.direction + h * np.concatenate([basis, -basis])
        f = -self.norm * ends @ x.T / np.linalg.norm(ends, axis=1, keepdims=True)
        values = f.max(axis=1) + np.log(np.exp(f - f.max(axis=1, keepdims=True)).sum(axis=1))
        slopes = (values[: len(basis)] - values[len(basis) :]) / (2.0 * h)
        around = np.exp(-self.norm * x @ self.direction)
        size = self.norm * float(np.linalg.norm(x.T @ around) / around.sum())
        return Number(float(np.linalg.norm(slopes)) / size, EPS * (1.0 + longest) / (h * size))

    @at_most(1e-9, sentence="stationary")
    def axis(self) -> Number:
        """The distance of w̃ from x/‖x‖ or −x/‖x‖, whichever is nearer.

        As stationary as the point is, 1e-12.
        """
        return min(self.off(1.0), self.off(-1.0))

    def shown(self):
        return {"share": float(self.shares[-1]), "least": float(self.tangent[0])}


class NormalisedHessianPrinted(_Sphere):
    @at_most(1e-9, sentence="stationary", role="print", repaired="axis")
    def plus(self) -> Number:
        """The distance of w̃ from x/‖x‖.

        As above; it is 2 where w̃ = −x/‖x‖.
        """
        return self.off(1.0)

    @at_least(0.0, sentence="definite")
    def definite(self) -> Number | None:
        """Least eigenvalue on the tangent over ‖∇L‖/ρ, at minima where one exponential dominates.

        Positive is what is said; its error is rounding.
        """
        if self.kind != "minimum" or self.shares[-1] < DOMINATES:
            return NOT_ASKED
        return Number(float(self.tangent[0]), self.rounding)

    @at_least(0.01, sentence="general")
    def others(self) -> Number | None:
        """The share of all but the largest exponential, where the hull's nearest point is no single input.

        It tends to 1 − max α/Σα with the dual weights α as ρ → ∞, and to 0 if one dominated.
        """
        if self.kind != "minimum" or self.facts["nearest"] == "one input":
            return NOT_ASKED
        return Number(float(1.0 - self.shares[-1]), self.size * EPS * self.norm)


class NormalisedHessianCorrected(_Sphere):
    @equals(1.0, within=1e-9, sentence="sign")
    def sign(self) -> Number:
        """w̃·x/‖x‖ at minima, −w̃·x/‖x‖ at maxima and at minima beyond the least loss.

        Whole in exact arithmetic; as stationary as the point is, squared.
        """
        along = -float(self.direction @ self.slope) / float(np.linalg.norm(self.slope))
        return Number(along if self.kind == "minimum" else -along, 10.0 * EPS)

    @at_least(1.0 - 1e-9, sentence="definite")
    def definite(self) -> Number | None:
        """Least eigenvalue on the tangent over ‖∇L‖/ρ, at minima at which L still falls with ρ.

        1 or more, since Σ e^{−f} x xᵀ is semidefinite; rounding aside.
        """
        return Number(float(self.tangent[0]), self.rounding) if self.kind == "minimum" else NOT_ASKED

    @at_most(1e-9, sentence="formula")
    def formula(self) -> Number:
        """The eigenvalues on the tangent against those of P(Σ e^{−f} x xᵀ)P − (w̃·∇L/ρ)P, over the largest.

        Rounding, 1e-13.
        """
        x = np.asarray(self.problem.data.inputs) * np.asarray(self.problem.data.targets).reshape(-1, 1)
        weights = np.exp(-x @ self.end)
        scale = float(np.linalg.norm(self.slope) / np.linalg.norm(x.T @ weights))
        basis = np.linalg.svd(self.direction[None])[2][1:]
        rows = x @ basis.T
        along = float(self.direction @ (x.T @ weights)) / self.norm
        values = np.linalg.eigvalsh(rows.T @ (weights[:, None] * rows) + along * np.eye(len(basis)))
        found = self.tangent * self.steep
        return Number(
            float(np.abs(found - scale * values).max() / np.abs(found).max()), 10.0 * self.size * EPS
        )


def stationary(x: np.ndarray, norm: float, start: np.ndarray, sign: float = 1.0) -> np.ndarray:
    """The direction of least (sign 1) or largest (−1) Σ e^{−ρw̃·x_n} that BFGS finds, polished on the sphere."""

    def level(v: np.ndarray) -> float:
        f = -norm * x @ (v / np.linalg.norm(v))
        return sign * float(f.max() + np.log(np.exp(f - f.max()).sum()))

    w = minimize(level, start, method="BFGS", options={"gtol": 1e-9}).x
    w /= np.linalg.norm(w)
    for _ in range(20):
        f = -norm * x @ w
        weights = np.exp(f - f.max())
        slope, basis = -x.T @ weights, np.linalg.svd(w[None])[2][1:]
        rows = x @ basis.T
        across = norm * rows.T @ (weights[:, None] * rows) - float(w @ slope) * np.eye(len(basis))
        w = w - basis.T @ np.linalg.solve(across, basis @ slope)
        w /= np.linalg.norm(w)
    return w


def _sets(rng, kind, count, d):
    """Inputs with y_n absorbed, and the norm of the hull's nearest point (of the minimum, where not separable)."""
    if kind == "one input":
        first = rng.standard_normal(d)
        first *= 1.0 / np.linalg.norm(first)
        others = rng.standard_normal((count - 1, d))
        others += (2.0 + rng.random((count - 1, 1)) - others @ first[:, None]) * first
        return np.concatenate([first[None], others]), 1.0
    if kind == "two inputs":
        q = np.linalg.qr(rng.standard_normal((d, d)))[0][:2]
        angle = rng.uniform(0.5, 1.3)
        pair = np.cos(angle) * q[0] + np.outer([1.0, -1.0], np.sin(angle) * q[1])
        rest = rng.standard_normal((count - 2, d))
        rest += (3.0 + rng.random((count - 2, 1)) - rest @ q[0][:, None]) * q[0]
        return np.concatenate([pair, rest]), float(np.cos(angle))
    if kind == "not separable":
        # half of the inputs are also there with the other sign, shortened: no w separates them
        x = rng.standard_normal((count, d)) + 0.5
        x[: count // 2] = -0.5 * x[-(count // 2) :]
        least = minimize(lambda w: np.log(np.exp(-x @ w).sum()), np.zeros(d), method="BFGS").x
        return x, 1.0 / float(np.linalg.norm(least))
    teacher = rng.standard_normal(d)
    teacher /= np.linalg.norm(teacher)
    x = rng.standard_normal((count, d))
    x *= np.sign(x @ teacher)[:, None]
    return x + 0.3 * teacher, 1.0


def cases(key, *, shapes, norms):
    """Minima over kinds of data and norms, and a maximum of each set."""
    rng = generator(key)
    for N, d in shapes:
        for kind in ("one input", "two inputs", "a random set", "not separable"):
            x, size = _sets(rng, kind, N, d)
            problem = Problem(Dense((d, 1), "identity"), Exponential(), Data(x, np.ones(N)))
            beyond = kind == "not separable"
            for norm in (2.0 / size,) if beyond else [norm / size for norm in norms]:
                w = stationary(x, norm, x.mean(axis=0))
                facts = {"nearest": kind, "point": "minimum beyond" if beyond else "minimum", "N": N, "d": d}
                yield point(problem, norm * w, **facts, ρ=round(norm, 3))
            w = stationary(x, 1.0 / size, -x.mean(axis=0), sign=-1.0)
            yield point(problem, w / size, nearest=kind, point="maximum", N=N, d=d, ρ=round(1.0 / size, 3))


FIGURE = Figure(
    Panel(
        "least",
        "share",
        r"least eigenvalue over $\|\nabla L\|/\rho$",
        "share of the largest exponential",
        by=("point",),
        log="y",
    ),
    caption="Stationary directions on the sphere: the least eigenvalue on the tangent. At minima at which the loss "
    "still falls with ρ it is ‖∇L‖/ρ or more, whether one exponential dominates the sum or not; at maxima it is "
    "negative and is not drawn.",
)
STUDIES = tuple(
    study(
        name,
        look,
        cases,
        quick={"shapes": ((6, 3), (8, 4)), "norms": (3.0, 10.0, 100.0)},
        full={"shapes": ((6, 3), (8, 4), (10, 2), (20, 5), (40, 8)), "norms": (1.0, 3.0, 10.0, 30.0, 100.0)},
        few={"shapes": ((6, 3),), "norms": (10.0,)},
        settings=section(__doc__, "Settings"),
        figure=FIGURE,
    )
    for name, look in (
        ("notes.normalised-hessian", NormalisedHessianPrinted),
        ("notes.normalised-hessian-corrected", NormalisedHessianCorrected),
    )
)
