"""chitour.bounded: the differential inequality of g = ‖W_{H+1}‖², with constants, and what follows from it.

Printed. "One proves that there exists C_0, C_1 > 0: dg/dt ≤ −C_0 g^{H+1} + C_1(1 + g^H)"; so trajectories are bounded
and converge to critical points (Łojasiewicz). The constants are not given.

Constants, from the start alone (docs/notes/chitour.bounded.md). K_j = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ and C_j = ‖W_j‖² − g
are conserved, κ = Σ_j j‖K_j‖_F and c = max(0, C_j). For Π = W_{H+1}⋯W_1 and the printed field (that of ½F, X = I)
dg/dt = 2⟨Y, Π⟩ − 2‖Π‖² ≤ ‖Y‖² − ‖Π‖², and by exchanging W_jW_jᵀ for W_{j+1}ᵀW_{j+1} from the input up,
‖Π‖² ≥ g^{H+1}/d_y^H − κ(g + c)^H. Hence C_0 = d_y^{−H} and C_1 = max(‖Y‖² + κ2^{H−1}c^H, κ2^{H−1}), and g never exceeds
the larger of g(0) and the root of C_0 g^{H+1} = C_1(1 + g^H).

Settings, before any run. ½F, X = I, Y = (D_Y 0) with distinct values; widths 4-3-2, 4-3-3-2, 3-2-2-2-2 (H = 1, 2, 3);
Gaussian starts of scale 0.7, 1 and 1.5, and starts with a first layer of zero; auto at 1e-9 to T = 10⁴.

Tolerances. The two sides of the inequality are compared as a ratio, at most 1; g is at most its bound, which at the
start it may be. The identity for dg/dt is linear algebra. At T = 10⁴ a rate of 0.01 leaves 1e-43.

Changed after a first run: scale 0.3 and T = 200, at which nets of three hidden layers had not left a saddle yet.
"""

from functools import cached_property
from itertools import pairwise

import numpy as np

from gradlab.analysis import landscape
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.linear_net import LinearFlow
from gradlab.claims.measured import EPS, Number, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.auto import Auto
from gradlab.laboratory import run
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem


class Bounded(LinearFlow):
    """g, its rate, and the constants that the start gives."""

    setting = "a deep linear net under the square loss, X = I"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one, with the identity for its inputs."""
        if not (super().speaks_of(problem) and isinstance(problem.loss, Square)):
            return False
        x = np.asarray(problem.data.inputs)
        return x.shape[0] == x.shape[1] and bool(np.array_equal(x, np.eye(len(x))))

    @property
    def H(self) -> int:
        """Hidden layers."""
        return self.depth - 1

    @cached_property
    def g(self) -> np.ndarray:
        """‖W_{H+1}‖² at every record."""
        return np.array([float(np.sum(layers[-1] ** 2)) for layers in self.matrices])

    @cached_property
    def factor(self) -> float:
        """The flow's field over the printed one: 1 for ½F, 2 for F."""
        found = landscape.of_problem(self.problem)
        assert found is not None  # speaks_of
        return 2.0 * float(found.factor)

    @cached_property
    def rate(self) -> np.ndarray:
        """dg/dt at every record, in the printed time: 2⟨W_{H+1}, Ẇ_{H+1}⟩ by automatic differentiation."""
        found = [2.0 * np.sum(now[-1] * by[-1]) for now, by in zip(self.matrices, self.motion, strict=True)]
        return np.array(found, dtype=float) / self.factor

    @cached_property
    def constants(self) -> tuple[float, float]:
        """C_0 and C_1, from the start."""
        start, H = self.matrices[0], self.H
        kept = [above.T @ above - below @ below.T for below, above in pairwise(start)]
        kappa = sum(j * float(np.linalg.norm(K)) for j, K in enumerate(kept, start=1))
        c = max(0.0, *(float(np.sum(layer**2)) - self.g[0] for layer in start[:-1]))
        y = float(np.sum(self.targets**2))
        wide = kappa * 2.0 ** (H - 1)
        return float(self.targets.shape[1]) ** -H, max(y + wide * c**H, wide)

    @cached_property
    def bound(self) -> float:
        """The larger of g(0) and the largest root of C_0 g^{H+1} = C_1(1 + g^H)."""
        low, high = self.constants
        coefficients = np.zeros(self.H + 2)
        coefficients[[0, 1, -1]] = low, -high, -high
        roots = np.roots(coefficients)
        return max(
            float(self.g[0]), *(float(root.real) for root in roots if abs(root.imag) < 1e-9 * abs(root))
        )

    @at_most(1e-10, sentence="inequality")
    def identity(self) -> Number:
        """|dg/dt − 2⟨Y, Π⟩ + 2‖Π‖²| over the sum of their sizes, at the worst record.

        Linear algebra, rounded at 1e-15.
        """
        worst = 0.0
        for product, rate in zip(self.products, self.rate, strict=True):
            terms = 2.0 * float(np.sum(product * self.targets.T)), -2.0 * float(np.sum(product**2))
            size = sum(map(abs, terms)) + abs(rate)
            worst = float(np.maximum(worst, abs(rate - sum(terms)) / size if size else 0.0))
        return Number(worst, self.size * EPS)

    @at_most(1.0, sentence="inequality")
    def inequality(self) -> Number:
        """(dg/dt + C_0 g^{H+1})/(C_1(1 + g^H)) at the worst record, with C_0 and C_1 from the start.

        At most 1 by the derivation.
        """
        low, high = self.constants
        ratios = (self.rate + low * self.g ** (self.H + 1)) / (high * (1.0 + self.g**self.H))
        return Number(float(ratios.max()), self.size * EPS)

    @at_most(1.0 + 1e-9, sentence="bounded")
    def bounded(self) -> Number:
        """The largest g of the trajectory over the bound that follows.

        At most 1, which it is where g is largest at the start.
        """
        return Number(float(self.g.max()) / self.bound, self.steps * EPS)

    @at_most(1e-6, sentence="bounded")
    def together(self) -> Number:
        """The largest change of ‖W_j‖² − g since the start, over the largest Σ‖W_j‖²: the other layers are bounded too.

        Conserved; 1e-9 a step, some hundred steps, one decade allowed, as in chitour.invariants.
        """
        norms = np.array([[float(np.sum(layer**2)) for layer in layers] for layers in self.matrices])
        differences = norms - norms[:, -1:]
        changed = np.abs(differences - differences[0]).max() / self.square_norms.max()
        return Number(float(changed), self.steps * EPS)

    @at_most(1e-6, sentence="converges")
    def critical(self) -> Number:
        """‖∇F‖ at the end over ‖Y‖ times the largest ‖W_j‖^H: a critical point.

        A rate of 0.01 leaves 1e-43; the solver is right to 1e-9.
        """
        size = float(np.linalg.norm(self.targets)) * max(1.0, float(self.square_norms[-1])) ** (0.5 * self.H)
        return Number(float(np.linalg.norm(self.slopes[1][-1])) / size, self.size * EPS)

    @at_most(1e-6, sentence="converges")
    def rests(self) -> Number:
        """The motion over the last half of the time, over the norm of the weights: it converges.

        As for the gradient.
        """
        # the last record before the half: the first one after it is the end itself
        half = int(np.searchsorted(self.time, 0.5 * self.time[-1])) - 1
        moved = float(np.linalg.norm(self.weights[-1] - self.weights[half]))
        return Number(moved / float(np.linalg.norm(self.weights[-1])), self.steps * EPS)

    def shown(self):
        low, high = self.constants
        sides = self.rate + low * self.g ** (self.H + 1), high * (1.0 + self.g**self.H)
        return {
            "left": float(np.max(sides[0] / sides[1])),
            "reached": float(self.g.max()) / self.bound,
            "H": float(self.H),
        }


WIDTHS = ((4, 3, 2), (4, 3, 3, 2), (3, 2, 2, 2, 2))
T = np.concatenate([[0.0], np.geomspace(0.01, 1e4, 19)])


def cases(key, *, draws, scales):
    """Flows of nets of one to three hidden layers, from small and from large starts."""
    rng = generator(key)
    for widths in WIDTHS:
        drawn = [
            (scale, i + 1, linear_net.gaussian(rng, widths, scale)) for scale in scales for i in range(draws)
        ]
        first, *others = linear_net.gaussian(rng, widths, 1.0)
        for scale, draw, layers in (*drawn, ("W_1 = 0", 1, (np.zeros_like(first), *others))):
            problem = linear_net.reduced(rng, widths, half=True)
            seen = run(
                GradientFlow(problem), layers, T, solver=Auto(1e-9), keep="all", observables=(), refine=True
            )
            yield case(problem, seen, hidden=f"H = {len(widths) - 2}", scale=scale, draw=draw)


STUDY = study(
    "chitour.bounded",
    Bounded,
    cases,
    quick={"draws": 2, "scales": (0.7, 1.0, 1.5)},
    full={"draws": 8},
    few={"draws": 1, "scales": (1.5,)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "left",
            "case",
            r"left over right side",
            "case",
            by=("hidden",),
            log="y",
            reference={"inequality": 1.0},
        ),
        Panel(
            "reached",
            "case",
            "largest g over its bound",
            "case",
            by=("hidden",),
            log="y",
            reference={"bound": 1.0},
        ),
        caption="Left: (dg/dt + C₀ g^{H+1})/(C₁(1 + g^H)) at the worst moment. Right: the largest g over what follows "
        "from the constants: how loose they are.",
    ),
)
