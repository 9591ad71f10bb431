"""memo90.unit-norm-penalty: the flow of L + Σ λ_k (‖V_k‖² − 1) over (ρ_k, V_k) (section 13, equations 48 to 51).

What is printed. (48) ρ̇_k = Π_{i≠k} ρ_i Σ e^{−ρ f̃} f̃, (49) V̇_k = B_k − 2 λ_k V_k, B_k = ρ Σ e^{−ρ f̃} ∂f̃/∂V_k;
ρ̇_k > 0 decreasing to zero, B_k → 0; (50) ∂‖V_k‖²/∂t = V_k·V̇_k, after the line "since ∂‖V_k‖²/∂t = 2 V_k V̇_k", so
(51) ż = C^k − 2 λ_k z; "when C^k = 2λ_k the equilibrium is reached and V_k has unit norm"; "a finite stopping time
T_0 follows from the value of λ_k(T_0)".

How it is read. λ_k is a constant, as "the value of λ_k effectively determines T_0" says: T_0 is when C^k falls to 2λ_k.

What holds (docs/notes/memo90.unit-norm-penalty.md). ż = 2 (C − 2λz). C falls to 2λ at a finite T_0, but there z ≠ 1
and nothing rests: z goes on to 0, like t^{−1/2} and logarithms, C with it, and ρ_k like t^{1/4}. (With λ_k(t) =
C^k/2 at every t unit norm is kept, and there is no T_0.)

Settings, before any run. Nets 1-1, 3-1, 3-2-1 linear, ReLU of two neurons on two inputs at 100°; λ = 0.1, 0.01,
0.001; two data sets or starts each, ‖V_k‖ = 1, ρ_k ≤ 2, separated at the start. Radau at 1e-7 in log t from −6 to 25.

Tolerances. Equations 48 to 50 are asked at records, against central differences of the potential at steps of 1e-5:
1e-7 relative. T_0 lies between records 0.2 apart in log t, linear in between: z there is known to 1e-3. What tends
to 0 is asked to have fallen to a tenth of its largest value; z by theory to 1e-3 and less. The exponent of z is −1/2
+ 1/(K log t) at log t = 25: 0.1 is allowed.
"""

from functools import cached_property

import numpy as np

from gradlab.claims.cases import generator
from gradlab.claims.looks.late import LateNet
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late, late_polar, late_runs
from gradlab.claims.studies import section, study
from gradlab.observe.local import outputs

LOGS = np.linspace(-6.0, 25.0, 156)


class _Shared(LateNet):
    separated = None

    @property
    def penalty(self) -> float:
        """λ."""
        return float(self.facts["λ"])

    def pieces(self, y):
        """ρ, V, layer, f̃ (N,), its gradient (N, P), and e^{−ρ f̃} (N,)."""
        rho, V, layer = late_polar.polar_parts(self.problem, y)
        f, rows = late.margins(self.problem, V)
        return rho, V, layer, f, rows, np.exp(-np.prod(rho) * f)

    @cached_property
    def z(self) -> np.ndarray:
        """‖V_k‖² at every record, (records, K)."""
        K = self.depth
        _, _, layer = late_polar.polar_parts(self.problem, self.weights[0])
        return np.stack([np.sum(self.weights[:, K:][:, layer == k] ** 2, axis=1) for k in range(K)], axis=1)

    @cached_property
    def everywhere(self):
        """The pieces at every record."""
        return [self.pieces(y) for y in self.weights]

    @cached_property
    def C(self) -> np.ndarray:
        """C = ρ Σ e^{−ρ f̃} f̃ at every record: the same for all layers."""
        return np.array([np.prod(rho) * shares @ f for rho, _, _, f, _, shares in self.everywhere])

    @cached_property
    def crossing(self) -> tuple[float, np.ndarray] | None:
        """log T_0 where C falls to 2λ, and z there; None where C is not twice as large at some time before, or does
        not fall."""
        below = np.flatnonzero((self.C[:-1] > 2.0 * self.penalty) & (self.C[1:] <= 2.0 * self.penalty))
        if not len(below) or self.C[: int(below[-1])].max(initial=0.0) < 4.0 * self.penalty:
            return None
        i = int(below[-1])
        share = (self.C[i] - 2.0 * self.penalty) / (self.C[i] - self.C[i + 1])
        return float(self.logs[i] + share * (self.logs[i + 1] - self.logs[i])), (1.0 - share) * self.z[
            i
        ] + share * self.z[i + 1]

    def potential(self, y: np.ndarray) -> float:
        """L + λ Σ (‖V_k‖² − 1)."""
        rho, V, layer = late_polar.polar_parts(self.problem, y)
        f = np.asarray(self.problem.data.targets) * outputs(self.problem, rho[layer] * V)[:, 0]
        return float(np.exp(-f).sum() + self.penalty * (V @ V - len(rho)))

    @at_least(1e-3, role="hypothesis")
    def separated_at_first(self) -> Number:
        """Least margin at the start.

        A sign.
        """
        return Number(float(self.pieces(self.weights[0])[3].min()), 1e-12)

    @at_most(
        1e-6,
        sentence="dynamics",
        changed="1e-7 before: third derivatives of the potential grow with ρ³, which the step of 1e-5 sees",
    )
    def equations(self) -> Number:
        """Eqs. 48 and 49 against minus the central differences of the potential, relative, at the worst of six records.

        See the module's docstring.
        """
        worst = 0.0
        for y in self.weights[[0, 20, 30, 40, 50, 60]]:
            rho, V, _, f, rows, shares = self.pieces(y)
            product = np.prod(rho)
            said = np.concatenate(
                [product / rho * (shares @ f), product * (shares @ rows) - 2.0 * self.penalty * V]
            )
            h = 1e-5 * np.eye(len(y))
            slope = np.array([self.potential(y - one) - self.potential(y + one) for one in h]) / 2e-5
            worst = float(np.maximum(worst, np.linalg.norm(said - slope) / np.linalg.norm(said)))
        return Number(worst, 1e-9)

    @at_least(0.0, sentence="grows")
    def positive(self) -> Number:
        """Least increment of a ρ_k between records, over its size.

        A sign; ρ grows by 0.05 of itself between late records, and is solved to 1e-7.
        """
        rho = self.weights[:, : self.depth]
        return Number(float(np.min(np.diff(rho, axis=0) / rho[1:])), 1e-9)

    @at_most(0.1, sentence="grows")
    def vanishes(self) -> float:
        """ρ̇_k and ‖B_k‖ at the end over their largest values, the larger of the two.

        See the module's docstring.
        """
        speeds, pulls = [], []
        for rho, _, layer, f, rows, shares in self.everywhere:
            product = np.prod(rho)
            speeds.append(float(np.max(product / rho * (shares @ f))))
            B = product * (shares @ rows)
            pulls.append(float(np.max([np.linalg.norm(B[layer == k]) for k in range(len(rho))])))
        return float(np.maximum(speeds[-1] / np.max(speeds), pulls[-1] / np.max(pulls)))

    def change(self, factor: float) -> Number:
        """2 V_k·V̇_k against a factor times C − 2λ z, relative to the terms, at the worst of six records."""
        worst = 0.0
        for i in (0, 20, 30, 40, 50, 60):
            y = self.weights[i]
            _, V, layer = late_polar.polar_parts(self.problem, y)
            moved = late_polar.polar_flow(self.problem, "penalty", self.penalty)(0.0, y)[self.depth :]
            for k in range(self.depth):
                found = 2.0 * V[layer == k] @ moved[layer == k]
                gap = found - factor * (self.C[i] - 2.0 * self.penalty * self.z[i, k])
                worst = float(np.maximum(worst, abs(gap) / (self.C[i] + 2.0 * self.penalty * self.z[i, k])))
        return Number(worst, 1e-13)

    @at_most(1e-10, sentence="norm")
    def eq50(self) -> Number:
        """2 V_k·V̇_k against 2 (C − 2λ_k z_k).

        Sums of N products.
        """
        return self.change(2.0)

    def shown(self):
        return {
            "log t": ("late", self.logs),
            "z": ("late", self.z[:, 0]),
            "ratio": ("late", self.C / (2.0 * self.penalty)),
        }


class UnitNormPrinted(_Shared):
    @at_least(0.5, sentence="stopping", exact=True)
    def stops(self) -> float:
        """Whether C^k falls to 2λ at a finite T_0 (1 if so).

        Asked of every run: C tends to 0.
        """
        return float(self.crossing is not None or self.C[-1] < 2.0 * self.penalty)

    @at_most(1e-10, sentence="norm", role="print", repaired="eq50")
    def eq50_printed(self) -> Number:
        """2 V_k·V̇_k against C − 2λ_k z_k.

        As for eq50; a factor of two is O(1) where C ≠ 2λz.
        """
        return self.change(1.0)

    @at_most(1e-2, sentence="equilibrium")
    def unit(self) -> float | None:
        """|‖V_k‖² − 1| when C^k = 2λ_k, the largest of the layers.

        See the module's docstring.
        """
        return NOT_ASKED if self.crossing is None else float(np.max(np.abs(self.crossing[1] - 1.0)))

    @at_most(0.1, sentence="equilibrium")
    def rests(self) -> float | None:
        """Motion of log ‖V_k‖² from T_0 to the end.

        0 at an equilibrium.
        """
        if self.crossing is None:
            return NOT_ASKED
        return float(np.max(np.abs(np.log(self.z[-1] / self.crossing[1]))))


class UnitNormCorrected(_Shared):
    @equals(-0.5, within=0.1, sentence="decays")
    def exponent(self) -> Number:
        """d log ‖V_k‖²/d log t over the last 4 of log t.

        −1/2 and 1/(K log t).
        """
        first = int(np.argmin(np.abs(self.logs - (self.logs[-1] - 4.0))))
        slopes = np.log(self.z[-1] / self.z[first]) / (self.logs[-1] - self.logs[first])
        return Number(float(slopes[np.argmax(np.abs(slopes + 0.5))]), 1e-9)

    @at_least(
        1.0,
        sentence="passes",
        changed="asked |‖V_k‖² − 1| ≥ 0.01 at T_0 before: the norm there is near 1 in some runs",
    )
    def passes(self) -> Number | None:
        """Fall of log ‖V_k‖² from T_0 to the end, the least of the layers.

        Like t^{−1/2}: 5 or more; 0 at an equilibrium.
        """
        if self.crossing is None:
            return NOT_ASKED
        return Number(float(np.min(np.log(self.crossing[1] / self.z[-1]))), 1e-9)


def cases(key, *, penalties, each):
    """Every net at every penalty."""
    random = generator(key)
    for i in range(each):
        X, y = late.separable(random, 4, 3)
        nets = [
            ("1-1", late.net((1, 1), np.array([[random.uniform(0.7, 1.5)]])), np.array([1.0])),
            ("3-1", late.net((3, 1), X, y), None),
            ("3-2-1 linear", late.net((3, 2, 1), X, y, "identity"), None),
            ("ReLU 100°", late.net((2, 2, 1), late.pair(100.0)), late_runs.to_each(random, 100.0, 2)),
        ]
        for name, problem, start in nets:
            for penalty in penalties:
                w = start
                while w is None or late.margins(problem, w)[0].min() < 0.02:
                    w = random.standard_normal(problem.size)
                yield late_polar.polar_orbit(
                    problem, w, LOGS, "penalty", penalty, **{"net": name, "λ": penalty, "draw": i + 1}
                )


FIGURE = Figure(
    Panel(
        "z",
        "log t",
        r"$\|V_1\|^2$",
        r"$\log t$",
        by=("λ",),
        log="y",
        reference={"1": 1.0},
        lines=True,
        each=20,
    ),
    Panel(
        "ratio",
        "log t",
        r"$C/2\lambda$",
        r"$\log t$",
        by=("λ",),
        log="y",
        reference={"1": 1.0},
        lines=True,
        each=20,
    ),
    caption="Left: the norm that the penalty is to hold at 1 rises, and then goes to 0. Right: C falls to 2λ at "
    "a finite time, and goes on.",
)
BUDGETS = {
    "quick": {"penalties": (0.1, 0.01, 0.001), "each": 2},
    "full": {"penalties": (0.3, 0.1, 0.03, 0.01, 0.003, 0.001), "each": 5},
    "few": {"penalties": (0.01,), "each": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.unit-norm-penalty", UnitNormPrinted),
        ("memo90.unit-norm-penalty-corrected", UnitNormCorrected),
    )
)
