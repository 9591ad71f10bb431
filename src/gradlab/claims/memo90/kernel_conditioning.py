"""memo90.kernel-conditioning: whether an interpolating kernel machine needs regularisation without noise (section 7).

What is printed. "Since this is true also for λ → 0 in the case of well-conditioned linear systems, the generic
situation for interpolating kernel machines is that there is no need of regularization in the noiseless case (the
conditioning number depends on separation of the x data and is thus independent of noise in the y labels)."

What can be asked. That the Gram matrix is definite and well-conditioned, so that there is one interpolant without λ.
That its condition is at least 1/(1 − k(q)), q the least distance, and grows as two points approach each other. That
what noise in y does to the coefficients does not depend on y. And, of "no need": that no λ > 0 lowers the risk. The
last is false of single noiseless targets, and true in the mean over targets whose covariance is the kernel, and in
the kernel's own norm, in which the interpolant is a projection (docs/notes/memo90.kernel-conditioning.md).

Settings, before any run. N = 20 points, uniform in [−1, 1]^d; kernels e^{−r/w} with d = 1 and e^{−r²/2w²} with d = 4,
w = 1. Targets without noise: an expansion in 10 other centres, a step, a sign of a linear function of high frequency,
x_1. Risk: mean square over 200 points of the same law; λ from 1e-12 to 1e2 in 57 steps.

Tolerances. The condition stays below 1e6 (else the case is outside the hypothesis): solves are right to 1e-9. A risk
lowered by less than 1 per cent is no need. Two points at a tenth of their distance: 1 − k falls ten- or a
hundredfold, the condition grows by 2 at least.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.spatial.distance import cdist

from gradlab.claims.cases import Case, case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study

DECAYS = 10.0 ** np.linspace(-12.0, 2.0, 57)
MOST = 1e6


class Machine(NamedTuple):
    """Points (N, d) and others (M, d), power and width of k = e^{−(r/w)^p/p}, test labels, centres and coefficients."""

    inputs: np.ndarray
    others: np.ndarray
    power: np.ndarray
    targets: np.ndarray
    centres: np.ndarray
    coefficients: np.ndarray


class _Shared(Look):
    """The Gram matrix; the labels are the last weights."""

    setting = "a kernel machine"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether there are points with a kernel."""
        return isinstance(problem, Machine)

    def kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """k between two sets of points."""
        p = float(self.problem.power[0])
        return np.asarray(np.exp(-(cdist(a, b) ** p) / p))

    @cached_property
    def gram(self) -> np.ndarray:
        """K, (N, N)."""
        return self.kernel(self.problem.inputs, self.problem.inputs)

    @property
    def covariance(self) -> np.ndarray:
        """That of the labels of a random target, (N, N): K."""
        return self.gram

    @cached_property
    def condition(self) -> float:
        """λ_max/λ_min of K."""
        values = np.linalg.eigvalsh(self.gram)
        return float(values[-1] / values[0])

    @property
    def distances(self) -> np.ndarray:
        """Between the points, infinite on the diagonal."""
        r = cdist(self.problem.inputs, self.problem.inputs)
        return r + np.diag(np.full(len(r), np.inf))

    def coefficients(self, decay: float) -> np.ndarray:
        """c with (K + λ)c = y."""
        return np.linalg.solve(self.gram + decay * np.eye(len(self.gram)), self.end)

    @cached_property
    def risks(self) -> np.ndarray:
        """Mean square on the others for λ = 0 and every λ, (58,)."""
        across = self.kernel(self.problem.others, self.problem.inputs)
        gaps = [across @ self.coefficients(decay) - self.problem.targets for decay in (0.0, *DECAYS)]
        return np.asarray([float(np.mean(gap**2)) for gap in gaps])

    @property
    def gain(self) -> float:
        """What the best λ > 0 takes off the risk at λ = 0, over that."""
        return float(1.0 - self.risks[1:].min() / self.risks[0])

    @at_most(MOST, role="hypothesis")
    def conditioned(self) -> Number:
        """λ_max/λ_min of K: well-conditioned.

        "In the case of well-conditioned linear systems": solves right to 1e-9.
        """
        return Number(self.condition, 1e-6 * self.condition)

    @at_most(1e-6, sentence="no_need")
    def interpolates(self) -> Number:
        """‖Kc − y‖/‖y‖ without λ: the interpolant exists.

        The condition times eps, 1e-10.
        """
        rest = self.gram @ self.coefficients(0.0) - self.end
        return Number(float(np.linalg.norm(rest) / np.linalg.norm(self.end)), 1e-10)

    @at_least(1.0, sentence="separation")
    def bound(self) -> Number:
        """λ_max/λ_min times 1 − k(q), q the least distance: the condition is at least 1/(1 − k(q)).

        (e_i − e_j)/√2 has the quotient 1 − k(q), and λ_max ≥ 1.
        """
        p = float(self.problem.power[0])
        close = float(-np.expm1(-(self.distances.min() ** p) / p))
        return Number(self.condition * close, 1e-6 * self.condition * close)

    @at_least(2.0, sentence="separation")
    def grows(self) -> Number:
        """The condition with the two nearest points at a tenth of their distance, over that before.

        See the module's docstring.
        """
        x = self.problem.inputs.copy()
        i, j = np.unravel_index(int(np.argmin(self.distances)), self.distances.shape)
        x[j] = x[i] + 0.1 * (x[j] - x[i])
        values = np.linalg.eigvalsh(self.kernel(x, x))
        return Number(float(values[-1] / values[0]) / self.condition, 1e-6)

    @at_most(1e-6, sentence="labels")
    def noise(self) -> Number:
        """|‖c(y + e) − c(y)‖/‖c(e)‖ − 1|, e noise of the size of the labels y: what noise does is the same for all y.

        Solves right to 1e-9.
        """
        e = np.random.default_rng(3).standard_normal(len(self.end)) * np.std(self.end)
        moved = np.linalg.solve(self.gram, self.end + e) - self.coefficients(0.0)
        return Number(
            abs(float(np.linalg.norm(moved) / np.linalg.norm(np.linalg.solve(self.gram, e))) - 1.0), 1e-9
        )

    def shown(self):
        return {
            "condition": self.condition,
            "least distance": self.distances.min(),
            "gain": max(self.gain, 1e-6),
        }


class KernelConditioningPrinted(_Shared):
    @at_most(0.01, sentence="no_need")
    def lowered(self) -> Number:
        """What the best λ > 0 takes off the risk of the interpolant, over that risk, no noise.

        Less than 1 per cent is no need.
        """
        return Number(self.gain, 1e-6)


class KernelConditioningCorrected(_Shared):
    @at_least(
        1.0 - 1e-7,
        sentence="own_norm",
        changed="First 1 with a bar of 1e-8, across which equality lies: the infimum is reached for λ → 0.",
    )
    def own_norm(self) -> Number | None:
        """Least ‖f − f_λ‖² over ‖f − f_0‖² in the norm of the kernel, of a target with that norm, λ > 0.

        The interpolant is the projection of f; rounding is 1e-9.
        """
        a, z = self.problem.coefficients, self.problem.centres
        if not a.any():
            return NOT_ASKED
        own = float(a @ self.kernel(z, z) @ a)
        across = self.kernel(self.problem.inputs, z) @ a
        squares = []
        for decay in (0.0, *DECAYS):
            c = self.coefficients(decay)
            squares.append(own - 2.0 * float(c @ across) + float(c @ self.gram @ c))
        return Number(float(min(squares[1:]) / squares[0]), 1e-8)

    @at_least(
        1.0 - 1e-7,
        sentence="mean",
        changed="First 1 with a bar of 1e-8, across which equality lies: the infimum is reached for λ → 0.",
    )
    def mean(self) -> Number:
        """Least mean risk over that at λ = 0, for Gaussian targets whose covariance is the kernel, λ > 0.

        The interpolant is their conditional mean; rounding is 1e-9.
        """
        across, risks = self.kernel(self.problem.others, self.problem.inputs), []
        for decay in (0.0, *DECAYS):
            A = np.linalg.solve(self.gram + decay * np.eye(len(self.gram)), across.T).T
            risks.append(
                len(across) - 2.0 * float(np.sum(A * across)) + float(np.sum((A @ self.covariance) * A))
            )
        return Number(float(min(risks[1:]) / risks[0]), 1e-8)


KERNELS = (("exponential, d = 1", 1.0, 1), ("Gaussian, d = 4", 2.0, 4))
TARGETS = ("expansion", "step", "high frequency", "linear")
N, M, CENTRES = 20, 200, 10


def cases(key: Any, *, draws: int) -> Iterator[Case]:
    """Every kernel with every target."""
    random = generator(key)
    for draw in range(1, draws + 1):
        for name, power, d in KERNELS:
            for target in TARGETS:
                x, others, z = (random.uniform(-1.0, 1.0, (count, d)) for count in (N, M, CENTRES))
                a = random.standard_normal(CENTRES) * (target == "expansion")
                every = np.concatenate([x, others])
                values = {
                    "expansion": np.exp(-(cdist(every, z) ** power) / power) @ a,
                    "step": np.sign(every[:, 0]),
                    "high frequency": np.sign(np.sin(25.0 * every[:, 0])),
                    "linear": every[:, 0],
                }[target]
                machine = Machine(x, others, np.asarray([power]), values[N:], z, a)
                seen = xr.Dataset({"final_weights": ("weight", values[:N])})
                yield case(machine, seen, kernel=name, target=target, draw=draw)


FIGURE = Figure(
    Panel("condition", "least distance", "condition of K", "least distance q", by=("kernel",), log="xy"),
    Panel(
        "gain",
        "case",
        "risk saved by the best λ > 0",
        "case",
        by=("target",),
        log="y",
        reference={"1 %": 0.01},
    ),
    caption="Left: condition of the Gram matrix against the least distance of points. Right: what the best decay takes "
    "off the risk of the interpolant of labels without noise; nothing is drawn at 1e-6.",
)
BUDGETS = {"quick": {"draws": 4}, "full": {"draws": 30}, "few": {"draws": 1}}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.kernel-conditioning", KernelConditioningPrinted),
        ("memo90.kernel-conditioning-corrected", KernelConditioningCorrected),
    )
)
