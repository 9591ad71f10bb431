"""memo90.growth: how the norms ρ_k grow under the exponential loss with one example (equations 53 to 57).

What is printed. L = e^{−f}, f = Π ρ_k f̃ with f̃ held fixed. (53) ρ_k ρ̇_k = f̃ Π ρ_i e^{−f} for every layer; the
recovered text has a sum in the exponent. (54) for K = 2. At equal norms (55) ρ̇ = f̃ K ρ^{K−1} e^{−f}, (56) Ṙ = f̃²
K² ρ^{2K−2} and (57) Ṙ = f̃^{2/K} K² (log R)^{2−2/K}, R = e^f. K = 1: R ~ t. K = 2: li R = f̃ K² t + C. K → ∞: 𝓛(R) =
α_∞ t + C, α_∞ = lim f̃^{2/K} K². Then "the product of weights diverges faster than logarithmically", each layer
slower than one layer does.

What holds (docs/notes/memo90.growth.md). (53) with equal norms gives ρ̇ = f̃ ρ^{K−1} e^{−f}: one K too many is
carried from (55) to the end (it is that of the flow of a single ρ shared by K layers). α_∞ is infinite: the limit
exists in the time K t. And from (57) f = log t + (2 − 2/K) log log t + log(K f̃^{2/K}) + o(1): the product, f/f̃, is
log t/f̃ to leading order whatever K is.

Settings, before any run. Flows of all ρ_k as a deep linear net of width one, input f̃: K = 1 to 6, 12 and 24 at equal
norms, K = 2, 3 at unequal ones; f̃ = 0.5, 1, 2, ρ_k(0) = 1 (f(0) = f̃); Radau at 1e-7 (1e-9 beyond 12 layers) in log
t from log t = −8 to 1e4.

Tolerances. Equations 53 to 56 are asked of ∇f at points of the orbits: products of K numbers, 1e-12. (57) is asked
integrated, as the constant c = (G(f) − G(f_0))/(f̃^{2/K} (t − t_0)), G = ∫ e^φ φ^{2/K−2} dφ by quadrature: an error
of f is one of log c, and f ≤ 1e4 is known to 1e-7 K f: 0.05 of log c is allowed; K for K² is log K ≥ 0.69. The bar
is what two solves say.
"""

from functools import cached_property

import numpy as np
from scipy.integrate import quad

from gradlab import figures
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.problems import late
from gradlab.claims.studies import section, study

LOGS = np.concatenate([np.linspace(-8.0, 12.0, 21), np.geomspace(25.0, 1e4, 16)])
#: log t from and to which exponents are read.
EARLY, LATE = 100.0, 1e4


def log_time(power: float, f: float, start: float) -> float:
    """log ∫ e^φ φ^{−power} dφ from ``start`` to f, of numbers beyond every float too."""
    low = max(start, f - 60.0)
    whole = quad(lambda phi: np.exp(phi - f) * phi**-power, low, f, epsabs=0.0, epsrel=1e-10, limit=200)[0]
    return f + float(np.log(whole))


class Growth(Look):
    """Norms of K layers of a deep linear net of width one, with one example."""

    setting = "a deep linear net of width one, one example, the exponential loss"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is one, f̃ being the one input."""
        return set(problem.network.widths) == {1} and problem.data.inputs.shape == (1, 1)

    @property
    def K(self) -> int:
        """Layers."""
        return self.weights.shape[1]

    @property
    def f_tilde(self) -> float:
        """f̃, the input."""
        return float(np.asarray(self.problem.data.inputs)[0, 0])

    @cached_property
    def f(self) -> np.ndarray:
        """log R at every record."""
        return self.f_tilde * np.prod(self.weights, axis=1)

    @property
    def logs(self) -> np.ndarray:
        """log t."""
        return self.trajectory["log_t"].values

    @property
    def equal(self) -> bool:
        """Whether the norms are equal at the start."""
        return bool(np.ptp(self.weights[0]) == 0.0)

    @property
    def power(self) -> float:
        """2 − 2/K."""
        return 2.0 - 2.0 / self.K

    @cached_property
    def forces(self) -> np.ndarray:
        """e^f dρ_k/dt = ∂f/∂ρ_k at every record, by the chain rule of the network: (records, K)."""
        return np.stack([late.margins(self.problem, row)[1][0] for row in self.weights])

    def off(self, found: np.ndarray, said: np.ndarray) -> Number:
        """|found/said − 1|, the largest."""
        return Number(float(np.max(np.abs(found / said - 1.0))), 4.0 * self.K * EPS)

    def log_constant(self, over: float, record: int = -1) -> float:
        """log of c over a number, at a record; c as in the module's docstring."""
        since = self.logs[record] + np.log1p(-np.exp(self.logs[0] - self.logs[record]))
        c = log_time(self.power, self.f[record], self.f[0]) - since - (2.0 / self.K) * np.log(self.f_tilde)
        return abs(c - np.log(over))

    def at(self, log_t: float) -> int:
        """The record nearest to a log t."""
        return int(np.argmin(np.abs(self.logs - log_t)))

    @at_most(1e-12, sentence="equations")
    def eq53(self) -> Number:
        """|ρ_k ρ̇_k/(f̃ Π ρ_i e^{−Π ρ_i f̃}) − 1|, the largest of all layers and records.

        Products of K numbers.
        """
        return self.off(self.weights * self.forces, self.f[:, None])

    @at_most(1e-12, sentence="equations")
    def eq54(self) -> Number | None:
        """γ̇ = f̃² r² and r ṙ = 2 log γ/γ for two layers, relative.

        Products of two numbers; γ̇ = γ Σ (∂f/∂ρ_k) ρ̇_k.
        """
        if self.K != 2:
            return NOT_ASKED
        squares = self.f_tilde**2 * np.sum(self.weights**2, axis=1)
        first = self.off(np.sum(self.forces**2, axis=1), squares)
        second = self.off(np.sum(self.weights * self.forces, axis=1), 2.0 * self.f)
        return max(first, second)

    @at_most(1e-12, sentence="equations")
    def eq55(self) -> Number | None:
        """|ρ̇/(f̃ ρ^{K−1} e^{−f}) − 1| at equal norms: eq. 55 without its K.

        Products of K numbers at norms that the solver keeps equal to the bit.
        """
        return self.rate(1.0) if self.equal else NOT_ASKED

    def rate(self, factor: float) -> Number:
        """ρ̇ against f̃ ρ^{K−1} e^{−f} times a factor."""
        return self.off(self.forces, factor * self.f_tilde * self.weights ** (self.K - 1))

    @at_most(1e-12, sentence="equations")
    def eq56(self) -> Number | None:
        """|Ṙ/(f̃² K ρ^{2K−2}) − 1| at equal norms: K for K².

        Ṙ = R Σ (∂f/∂ρ_k) ρ̇_k: products of 2K numbers.
        """
        return self.change(self.K) if self.equal else NOT_ASKED

    def change(self, factor: float) -> Number:
        """Ṙ against f̃² ρ^{2K−2} times a factor."""
        said = factor * self.f_tilde**2 * self.weights[:, 0] ** (2 * self.K - 2)
        return self.off(np.sum(self.forces**2, axis=1), said)

    @at_most(0.05, sentence="equations")
    def eq57(self) -> float | None:
        """|log(c/K)| at the end of the run at equal norms: K for K².

        See the module's docstring.
        """
        return self.log_constant(self.K) if self.equal else NOT_ASKED

    @at_most(1e-4, sentence="solutions")
    def one_layer(self) -> float | None:
        """|log((R − R_0)/(f̃² (t − t_0)))| at log t = 12, for K = 1.

        f = 12 is known to 1e-6.
        """
        if self.K != 1:
            return NOT_ASKED
        return self.log_constant(1.0, self.at(12.0))

    @at_most(1e-4, sentence="solutions")
    def two_layers(self) -> float | None:
        """|log((li R − li R_0)/(2 f̃ (t − t_0)))| at log t = 12, for K = 2: f̃ K t for f̃ K² t.

        f = 12 is known to 1e-6; li by quadrature.
        """
        return self.log_constant(2.0, self.at(12.0)) if self.K == 2 and self.equal else NOT_ASKED

    def exponent(self) -> float:
        """d log ρ/d log log t at late times, ρ the geometric mean of the layers."""
        first, last = self.at(EARLY), self.at(LATE)
        rho = (self.f / self.f_tilde) ** (1.0 / self.K)
        return float(np.log(rho[last] / rho[first]) / np.log(self.logs[last] / self.logs[first]))

    @at_most(0.75, sentence="each")
    def each(self) -> float | None:
        """d log ρ/d log log t between log t = 100 and 1e4, for K > 1.

        1 for one layer, 1/K ≤ 1/2 otherwise, and 0.02 of log log t/log t: three quarters part them.
        """
        return self.exponent() if self.K > 1 else NOT_ASKED

    def ratio(self) -> float:
        """f/log t at log t = 1e4 over that at 100."""
        first, last = self.at(EARLY), self.at(LATE)
        return float(self.f[last] / self.logs[last] / (self.f[first] / self.logs[first]))

    def shown(self):
        late_ones = self.logs > 1.0
        return {
            "layers": float(self.K),
            "log t": ("late", self.logs[late_ones]),
            "f": ("late", self.f[late_ones]),
            "share": ("late", self.f[late_ones] / self.logs[late_ones]),
            "rho": ("late", self.weights[late_ones, 0]),
        }


class GrowthPrinted(Growth):
    @at_most(1e-12, sentence="equations", role="print", repaired="eq55")
    def eq55_printed(self) -> Number | None:
        """|ρ̇/(f̃ K ρ^{K−1} e^{−f}) − 1| at equal norms.

        As for eq55.
        """
        return self.rate(self.K) if self.equal else NOT_ASKED

    @at_most(1e-12, sentence="equations", role="print", repaired="eq56")
    def eq56_printed(self) -> Number | None:
        """|Ṙ/(f̃² K² ρ^{2K−2}) − 1| at equal norms.

        As for eq56.
        """
        return self.change(self.K**2) if self.equal else NOT_ASKED

    @at_most(0.05, sentence="equations", role="print", repaired="eq57")
    def eq57_printed(self) -> float | None:
        """|log(c/K²)| at the end of the run at equal norms, c the constant of eq. 57.

        See the module's docstring.
        """
        return self.log_constant(self.K**2) if self.equal else NOT_ASKED

    @at_most(1e-4, sentence="solutions", role="print", repaired="two_layers")
    def two_layers_printed(self) -> float | None:
        """|log((li R − li R_0)/(4 f̃ (t − t_0)))| at log t = 12, for K = 2.

        As for two_layers.
        """
        return self.log_constant(4.0, self.at(12.0)) if self.K == 2 and self.equal else NOT_ASKED

    @at_most(2.0, sentence="limit", exact=True)
    def alpha(self) -> float | None:
        """α = f̃^{2/K} K² at K over that at K/2, for K ≥ 12: 1 in the limit if α_∞ is a number.

        Arithmetic alone; it is 4 f̃^{−2/K} ≥ 3.5 here, and would be below 2 where α settles.
        """
        if self.K < 12:
            return NOT_ASKED
        return 4.0 * self.f_tilde ** (-2.0 / self.K)

    @at_least(1.0, sentence="product")
    def faster(self) -> float | None:
        """Π ρ/log t at log t = 1e4 over that at log t = 100, for K > 1.

        Above 1 and growing if the product diverges faster than log t; f is known to 1e-6 of its size.
        """
        return self.ratio() if self.K > 1 else NOT_ASKED


class GrowthCorrected(Growth):
    @at_most(1.0, sentence="limit")
    def rescaled(self) -> Number | None:
        """|log((𝓛(R) − 𝓛(R_0))/(K (t − t_0)))| at log t = 12 for K ≥ 12, over (2/K)(max |log φ| + |log f̃|).

        𝓛 is G with φ^{−2} for φ^{2/K−2}: the integrands differ by φ^{2/K}, φ between f_0 and f, and f̃^{2/K} is left
        out: 1 bounds it.
        """
        if self.K < 12 or not self.equal:
            return NOT_ASKED
        record = self.at(12.0)
        f, since = self.f[record], self.logs[record] + np.log1p(-np.exp(self.logs[0] - self.logs[record]))
        off = abs(log_time(2.0, f, self.f[0]) - since - np.log(self.K))
        allowed = 2.0 / self.K * (max(abs(np.log(f)), abs(np.log(self.f[0]))) + abs(np.log(self.f_tilde)))
        return Number(off / allowed, 1e-6)

    @at_most(1.0, sentence="product")
    def law(self) -> float | None:
        """|f − log t − (2 − 2/K) log log t − log(K f̃^{2/K})| at log t = 1e4, over 3 (p log s + |c| + p)(1 + p)/s.

        p = 2 − 2/K, s = log t, c the constant: the next terms of the expansion of G are p (p log s + c)/s and p/s;
        what the start leaves is e^{−s}. Equal norms; at unequal ones Π ρ_k is the same to leading order and c is not
        asked.
        """
        if not self.equal:
            return NOT_ASKED
        p, s = self.power, self.logs[-1]
        c = np.log(self.K) + 2.0 / self.K * np.log(self.f_tilde)
        allowed = 3.0 * (p * np.log(s) + abs(c) + max(p, 0.1)) * (1.0 + p) / s
        return float(abs(self.f[-1] - s - p * np.log(s) - c) / allowed)

    @at_most(0.02, sentence="product")
    def same(self) -> float:
        """|Π ρ f̃/log t − 1| at log t = 1e4.

        (2 log s + c)/s = 0.0025 at s = 1e4, whatever K.
        """
        return float(abs(self.f[-1] / self.logs[-1] - 1.0))


def cases(key, *, depths, unequal, sizes):
    """Equal norms at every depth, unequal ones at some."""
    for f_tilde in sizes:
        starts = [(K, np.ones(K)) for K in depths] + [(K, np.linspace(0.6, 1.6, K)) for K in unequal]
        for K, rho in starts:
            problem = late.net((1,) * (K + 1), np.array([[f_tilde]]), activation="identity")
            facts = {"K": K, "f̃": f_tilde, "norms": "equal" if np.ptp(rho) == 0.0 else "unequal"}
            yield late.orbit(*product_flow(f_tilde), rho, LOGS, problem, 1e-7 if K <= 12 else 1e-9, **facts)


def product_flow(f_tilde: float) -> tuple[late.Field, late.Field]:
    """dρ_k/du = e^{u − f} f/ρ_k, eq. 53, which ``eq53`` compares with the network; and its Jacobian."""

    def field(u, rho):
        f = f_tilde * np.prod(rho)
        return np.exp(min(u - f, 600.0)) * f / rho

    def jacobian(u, rho):
        f = f_tilde * np.prod(rho)
        each = f * (1.0 - f) * np.outer(1.0 / rho, 1.0 / rho) - np.diag(f / rho**2)
        return np.exp(min(u - f, 600.0)) * each

    return field, jacobian


def drawn_growth(dataset, verdict):
    """The product over log t, and a layer's norm, a line a depth: equal norms, f̃ = 1 or the first there is."""
    figure, (left, right) = figures.panels(2, height=3.2)
    size = 1.0 if 1.0 in dataset["f̃"].values else float(dataset["f̃"].values[0])
    rows = np.flatnonzero((dataset["f̃"].values == size) & (dataset["norms"].values == "equal"))
    share, rho = (
        {f"K = {int(dataset['K'].values[i])}": dataset[name].values[i] for i in rows}
        for name in ("share", "rho")
    )
    x = dataset["log t"].values[rows[0]]
    one = {"1": 1.0}
    figures.curves(x, share, r"$\log t$", r"$\tilde f\,\Pi\rho\,/\log t$", log="x", axes=left, reference=one)
    figures.curves(x, rho, r"$\log t$", r"$\rho$ of a layer", log="xy", axes=right)
    caption = (
        "Left: f̃ times the product of the norms over log t, which tends to 1 at every depth. Right: the norm "
    )
    return figures.with_caption(figure, caption + "of a layer, (log t)^{1/K}.")


BUDGETS = {
    "quick": {"depths": (1, 2, 3, 4, 5, 6, 12), "unequal": (2, 3), "sizes": (1.0, 0.5, 2.0)},
    "full": {"depths": (1, 2, 3, 4, 5, 6, 8, 12, 24, 48), "sizes": (1.0, 0.3, 0.5, 2.0, 4.0)},
    "few": {"depths": (1, 2, 12), "unequal": (2,), "sizes": (0.5,)},
}
STUDIES = tuple(
    study(name, look, cases, figure=drawn_growth, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.growth", GrowthPrinted),
        ("memo90.growth-corrected", GrowthCorrected),
    )
)
