"""notes.ridge: weight decay moves the equilibrium to W = Y Xᵀ(X Xᵀ + λ)⁻¹ and makes the Hessian definite.

Printed. For a Σ(y − w·x)² + λ/2 ‖W‖² the equilibrium is Y Xᵀ(X Xᵀ + λ/(2a))⁻¹ and the Hessian 2a Σ x xᵀ + λ
(docs/notes/notes.ridge.md). The passage prints the loss with a = 1 and drops the 2 of its derivative: both printed
constants belong to a = ½, and are misprints under Σ. The line "W = Σ E x + λ W" has the wrong sign as a velocity
−∇L; the equations after it have the right one. That the mean has yet other constants is a control.

Settings, before any run. Inputs have singular values in [1, 3] (√2 times that for repeated points). Distances are in
units of what a factor two in λ does to the formula, ‖W_{λ/2} − W_λ‖, so that they say by how much the constant λ is
missed, at λ = 1e-8 as at λ = 100: 1 is a factor two, and the tolerance 1e-2 a per cent. Rounding is
eps max(N, d) (‖X‖²‖W‖ + ‖X‖‖Y‖)/(s_min² + λ/2a), at worst 1e-3 of the unit at λ = 1e-8. That a run had time to
arrive is read from its start, its time and the curvatures; where it ended is no part of that. Where X has no full
column rank the least curvature is λ itself, and an explicit solver needs time like 1/λ: from arbitrary starts the
flow has λ ≥ 0.1 and descent λ ≥ 0.02 there; smaller λ start at W = 0, whose components beside the span are at their
limit. The full budget takes BDF to λ = 1e-4 from arbitrary starts.
"""

from dataclasses import replace
from functools import cached_property, partial

import equinox as eqx
import jax
import numpy as np

from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.one_layer import OneLayer
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import one_layer
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LOSSES = {"½Σ": Square(half=True), "Σ": Square(), "mean": Square("mean")}


class Ridge(OneLayer):
    """Limit and equilibria in units of a factor two in λ; Hessians by automatic differentiation."""

    @property
    def moment(self) -> np.ndarray:
        """Σ x xᵀ over all C d weights."""
        return np.kron(np.eye(self.net.Y.shape[1]), self.net.X.T @ self.net.X)

    def formula(self, decay: float) -> tuple[np.ndarray, float, float]:
        """Y Xᵀ(X Xᵀ + decay)⁻¹, the unit there, and the formula's rounding in it."""
        net, W = self.net, self.net.ridge(decay, 0.5)
        unit = float(np.linalg.norm(net.ridge(decay / 2.0, 0.5) - W))
        return W, unit, self.rounding(W) / (float(net.singular[-1]) ** 2 + decay) / unit

    def rounding(self, W: np.ndarray) -> float:
        """That of W X Xᵀ − Y Xᵀ."""
        x, y = np.linalg.norm(self.net.X), np.linalg.norm(self.net.Y)
        return float(EPS * self.net.size * x * (x * np.linalg.norm(W) + y))

    def missed(self, loss: str) -> Number:
        """Distance of the printed formula from the equilibrium under a loss, from the gradient at it."""
        W, unit, rounding = self.formula(self.net.decay)
        other = replace(self.net, factor=self.factors[loss])
        return Number(other.rest(W, self.slope(W, LOSSES[loss])) / unit, rounding)

    @property
    def factors(self) -> dict[str, float]:
        """a of each loss."""
        return {"½Σ": 0.5, "Σ": 1.0, "mean": 1.0 / len(self.net.X)}

    def off(self, loss: str) -> float:
        """‖∇²L − Σ x xᵀ − λ‖/‖Σ x xᵀ‖ under that loss."""
        gap = self.hessian(LOSSES[loss]) - (self.moment + self.net.decay * np.eye(self.size))
        return float(np.linalg.norm(gap) / np.linalg.norm(self.moment))

    def turned(self, sign: float) -> Number:
        """‖−∇L − Σ E xᵀ − sign λW‖/λ‖W‖ at the end, under ½Σ."""
        net, W = self.net, self.last
        gap = -self.slope(W, LOSSES["½Σ"]) - (net.Y - net.X @ W.T).T @ net.X - sign * net.decay * W
        unit = net.decay * float(np.linalg.norm(W))
        return Number(float(np.linalg.norm(gap)) / unit, self.rounding(W) / unit)

    @cached_property
    def values(self) -> np.ndarray:
        """Eigenvalues of ∇²L."""
        return np.linalg.eigvalsh(self.hessian())

    @property
    def noise(self) -> float:
        """Rounding of eigenvalues in units of λ."""
        return EPS * self.size * float(self.values[-1]) / self.net.decay

    @at_least(1e-300, role="hypothesis", exact=True)
    def decay(self) -> float:
        """λ: there is weight decay.

        Read from the problem.
        """
        return self.net.decay

    @at_most(1e-3, role="hypothesis")
    def unfinished(self) -> float:
        """What time has left of the start, by the closed form, in units of a factor two in λ: the run is long enough.

        A tenth of what is allowed of the limit.
        """
        return self.left / self.formula(self.net.decay / (2.0 * self.net.factor))[1]

    @at_most(1e-2, sentence="equilibrium")
    def limit(self) -> Number:
        """Distance of the run's limit from YXᵀ(XXᵀ + λ/(2a))⁻¹, a the factor of its own loss.

        In units of a factor two in λ: 0 for the right constant; 1e-2 is one per cent in λ.
        """
        expected, unit, rounding = self.formula(self.net.decay / (2.0 * self.net.factor))
        return Number(float(np.linalg.norm(self.last - expected)) / unit, rounding)

    @at_most(1e-2, sentence="equilibrium")
    def half(self) -> Number:
        """Distance of the equilibrium under ½Σ from the printed formula.

        As for limit.
        """
        return self.missed("½Σ")

    @at_most(1e-2, sentence="equilibrium", role="print", repaired="limit")
    def sum(self) -> Number:
        """The same under the printed loss, Σ.

        As for limit; 1 is a factor two in λ.
        """
        return self.missed("Σ")

    @at_least(0.5, role="control")
    def mean(self) -> Number | None:
        """The same under the mean, where the constant is another.

        Half of what the formula with Nλ/2 for λ predicts; nothing is asked of two points, whose mean is ½Σ.
        """
        if len(self.net.X) == 2:
            return NOT_ASKED
        W, unit, _ = self.formula(self.net.decay)
        predicted = float(np.linalg.norm(self.net.ridge(self.net.decay, self.factors["mean"]) - W)) / unit
        return self.missed("mean")._replace(tolerance=0.5 * predicted)

    @at_most(1e-2, sentence="velocity")
    def velocity(self) -> Number:
        """‖−∇L − (Σ E xᵀ − λW)‖/λ‖W‖ where the run ended, under ½Σ.

        A wrong sign is 2, a factor two in λ ½; rounding is 1e-6 at λ = 1e-8.
        """
        return self.turned(-1.0)

    @at_most(1e-2, sentence="velocity", role="print", repaired="velocity")
    def velocity_printed(self) -> Number:
        """The same with the printed sign, Σ E xᵀ + λW.

        As for velocity.
        """
        return self.turned(1.0)

    @at_most(1e-12, sentence="hessian")
    def hessian_half(self) -> Number:
        """‖∇²L − Σ x xᵀ − λ‖/‖Σ x xᵀ‖ under ½Σ, to which the printed Hessian belongs.

        A quadratic potential and sums of N products: rounding leaves N eps ≈ 1e-14, relative.
        """
        return Number(self.off("½Σ"), EPS * self.net.size)

    @at_most(1e-12, sentence="hessian", role="print", repaired="hessian_half")
    def hessian_sum(self) -> Number:
        """The same under the printed loss, Σ.

        As for hessian_half; a factor of two in Σ x xᵀ is 1.
        """
        return Number(self.off("Σ"), EPS * self.net.size)

    @at_most(1e-2, sentence="hessian")
    def gain(self) -> Number:
        """‖∇²L − ∇²L without decay − λ‖/λ: the Hessian gains λ, under the run's own loss.

        0 in exact arithmetic; eigenvalues are rounded at eps C d λ_max, 1e-5 of λ = 1e-8.
        """
        bare = eqx.tree_at(lambda one: one.decay, self.problem, 0.0 * self.problem.decay)
        gap = self.hessian() - np.asarray(bare.hessian((self.orbit[0],))) - self.net.decay * np.eye(self.size)
        return Number(float(np.linalg.norm(gap, 2)) / self.net.decay, self.noise)

    @at_least(0.5, sentence="definite")
    def positive(self) -> Number:
        """Least eigenvalue of the Hessian over λ.

        1 or more in theory, 0 for a degenerate Hessian: half parts them.
        """
        return Number(float(self.values[0]) / self.net.decay, self.noise)

    def shown(self):
        W, unit, _ = self.formula(self.net.decay)
        away = float(np.linalg.norm(self.last - W)) / unit
        return {"to_printed": away, "least": float(self.values[0])}


SHAPES = ((6, 10, 2), (14, 5, 2))
DECADES = 10.0 ** np.asarray([-8, -7, -6, -5, -4, -2, 0, 2])
FLOW, BDF, DESCENT = Adaptive("dopri8", 1e-10), Adaptive("bdf", 1e-9), None
#: Run, loss, shape, members, solver, time or steps, starts at W = 0, then decays: at full column rank, and otherwise.
#: Steps are 40/λ_min of 1/λ_max: from 0 nothing is slower than the data, and more steps would gather rounding.
ENSEMBLES = (
    ("flow", "½Σ", 0, 24, FLOW, 400.0, False, DECADES, np.geomspace(0.1, 10.0, 8)),
    ("descent", "½Σ", 1, 24, DESCENT, 20_000, False, DECADES, np.geomspace(2e-2, 1e2, 8)),
    ("descent from 0", "Σ", 0, 24, DESCENT, 1_000, True, DECADES, DECADES),
    ("descent", "mean", 1, 12, DESCENT, 4_000, False, DECADES[::2], np.geomspace(2e-2, 1e2, 4)),
)
IMPLICIT = ("implicit flow", "½Σ", 0, 24, BDF, 4e5, False, DECADES, np.geomspace(1e-4, 1e2, 8))
FEW = (
    ("flow", "½Σ", 0, 3, FLOW, 400.0, False, DECADES[-1:], np.asarray([0.1])),
    ("descent from 0", "Σ", 1, 3, DESCENT, 1_000, True, DECADES[:1], DECADES[:1]),
)


def cases(key, *, ensembles):
    """Ensembles under ½Σ, Σ and the mean, with λ over decades."""
    for i, (run, loss, shape, members, solver, duration, rest, full_rank, otherwise) in enumerate(ensembles):
        random, (N, d, C) = generator(jax.random.fold_in(key, i)), SHAPES[shape]
        drawn = []
        for j in range(members):
            kind = one_layer.KINDS[j % 3]
            X, Y = one_layer.draw(random, kind, N, d, C)
            decay = float((full_rank if d < N and kind != "deficient rank" else otherwise)[j // 3])
            start = np.zeros((C, d)) if rest else random.standard_normal((C, d))
            facts = {
                "loss": loss,
                "run": run,
                "shape": f"{N} × {d}",
                "kind": kind,
                "draw": f"{i + 1}.{j // 3 + 1}",
            }
            drawn.append(
                (Problem(Dense((d, C)), LOSSES[loss], Data(X, Y), decay), (start,), facts | {"λ": decay})
            )
        if solver is DESCENT:
            steps = one_layer.stable_steps(problem for problem, *_ in drawn)
            yield from ensemble(partial(GradientDescent, step=steps), drawn, (duration,))
        else:
            yield from ensemble(GradientFlow, drawn, (duration,), solver=solver)


STUDY = study(
    "notes.ridge",
    Ridge,
    cases,
    quick={"ensembles": ENSEMBLES},
    full={"ensembles": ENSEMBLES * 3 + (IMPLICIT,)},
    few={"ensembles": FEW},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "to_printed",
            "λ",
            "limit to printed formula,\n" + r"in units of a factor two in $\lambda$",
            r"decay $\lambda$",
            by=("loss",),
            log="xy",
            floor=1e-16,
            reference={"tolerance": 1e-2},
        ),
        Panel(
            "least",
            "λ",
            "least eigenvalue of the Hessian",
            r"decay $\lambda$",
            by=("loss",),
            log="xy",
            diagonal=True,
        ),
        caption="Left: limits of the runs reach the printed formula under ½Σ and miss it under Σ and the mean. Right: "
        "the least eigenvalue of the Hessian, never below λ (the line).",
    ),
)
