"""memo90.cross-entropy: the gradient of cross-entropy and its sign along a separating W* (eqs. 58–60).

What is printed. "∇_W L = Σ_n Σ_c 1/(Σ_c' e^{f_c' − f_c}) ∇_W(f_c − f_{y_n})" (the text that we have loses the
exponent's −f_c); and with a separating W*, "using the property of rectified networks Wᵀ∇_W f(x; W) = f(x; W), we
immediately get that W*ᵀ∇_W L < 0 for any value of W. We thus get that as the gradient of the cross-entropy loss ∇L →
0, the weights W diverge."

What fails. For one layer W*·∇f(x; W) = f(x; W*), and the sign follows. For K layers Euler's identity speaks of
W·∇f(x; W) = K f (the printed one has no K), not of W*: where W* separates so does −W* for an even number of linear
layers, and W* with its hidden units in another order; and at W = 0 the gradient is zero. What follows is W·∇L < 0 at
a W that separates itself (docs/notes/memo90.cross-entropy.md).

Settings, before any run. C = 3 classes, N = 9 points in d = 4, separated by W* with margin 0.5. One layer; deep
linear, ReLU of two and three layers; W normal with spreads 0.1, 1, 3; W* with hidden units in reverse order and, for
two linear layers, −W*; W itself separating; W = 0. Flows of one layer in log-loss time (dopri8 at 1e-10) to log t =
200.

Tolerances. ∇L by automatic differentiation against eq. 60 in NumPy: rounding of N C terms, 1e-12. W*·∇L over Σ p|f_c
− f_y| is asked to be negative. Divergence of one layer: ‖W‖ > ½‖Ŵ‖ log t, Ŵ of the multi-class hard margin; of deep
nets, that no finite W has ∇L = 0.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.special
import xarray as xr

from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import Case, case, ensemble, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.observe import local
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LOG_T = 200.0


class _Shared(Look):
    """Probabilities, margins and the gradient at W; W* where the case has one."""

    setting = "a dense net without bias, linear or ReLU, cross-entropy, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is such a net under cross-entropy."""
        plain = isinstance(problem.network, Dense) and isinstance(problem.loss, CrossEntropy)
        return plain and not np.any(np.asarray(problem.decay) > 0.0)

    @property
    def shallow(self) -> bool:
        """Whether there is one layer."""
        return len(self.problem.network.widths) == 2

    @property
    def layers(self) -> int:
        """K."""
        return len(self.problem.network.widths) - 1

    @cached_property
    def slope(self) -> np.ndarray:
        """∇L at W by automatic differentiation."""
        return self.gradient(self.end)

    @cached_property
    def here(self) -> local.Local:
        """Outputs and their derivatives at W."""
        return local.local(self.problem, self.end)

    @cached_property
    def labels(self) -> np.ndarray:
        """y_n."""
        return np.asarray(self.problem.data.targets)

    @property
    def gaps(self) -> np.ndarray:
        """f_{y_n} − f_c, (N, C)."""
        f = self.here.f
        return f[np.arange(len(f)), self.labels][:, None] - f

    @property
    def separates(self) -> bool:
        """Whether W classifies every example rightly."""
        others = np.arange(self.here.f.shape[1]) != self.labels[:, None]
        return bool((self.gaps[others] > 0.0).all())

    @property
    def star(self) -> np.ndarray | None:
        """W*, None where the case has none."""
        return np.asarray(self.trajectory["star"].values) if "star" in self.trajectory else None

    @property
    def size_of_terms(self) -> float:
        """Σ p|f_c − f_y| and the size of the same at W*, by which signs are told from rounding."""
        p = scipy.special.softmax(self.here.f, axis=1)
        star = self.star
        other = 0.0 if star is None else float(np.linalg.norm(star)) * float(np.linalg.norm(self.slope))
        return float(np.sum(p * np.abs(self.gaps))) + other or 1.0

    @at_most(1e-12, sentence="gradient")
    def formula(self) -> Number:
        """‖∇L − Σ_n Σ_c ∇(f_c − f_{y_n})/Σ_c' e^{f_c' − f_c}‖ over the sizes of the terms.

        Rounding of N C terms.
        """
        f, J = self.here.f, self.here.jacobian
        with np.errstate(over="ignore"):  # a share of 1/∞ is 0
            shares = 1.0 / np.sum(np.exp(f[:, None, :] - f[:, :, None]), axis=2)
        steps = J - J[np.arange(len(f)), self.labels][:, None]
        printed = np.einsum("nc,ncp->p", shares, steps)
        scale = float(np.sum(shares * np.linalg.norm(steps, axis=2))) or 1.0
        return Number(float(np.linalg.norm(self.slope - printed)) / scale, 10 * EPS)

    @at_most(-1e-9, sentence="sign")
    def one_layer(self) -> Number | None:
        """W*·∇L over the size of the terms, one layer, any W: negative.

        −Σ p(f_{y_n} − f_c)(W*), all of one sign.
        """
        if self.star is None or not self.shallow:
            return NOT_ASKED
        return Number(float(self.star @ self.slope) / self.size_of_terms, 10 * EPS)

    @at_least(0.5, sentence="diverges")
    def grows(self) -> Number | None:
        """‖W‖ over ‖Ŵ‖ log t at the end of a flow of one layer to log t = 200.

        1 + O(1/log t) (Soudry et al.): a half is asked.
        """
        if "log_t" not in self.trajectory:
            return NOT_ASKED
        rows = exponential.margin_rows(self.problem)
        norm = float(np.linalg.norm(max_margin(rows, np.ones(len(rows))).direction))
        return Number(
            float(np.linalg.norm(self.end)) / norm / float(self.trajectory["log_t"].values[-1]), 1e-6
        )

    def shown(self):
        star = self.star
        return {
            "along W*": np.nan if star is None else float(star @ self.slope) / self.size_of_terms,
            "along W": float(self.end @ self.slope) / self.size_of_terms,
            "separation": "W separates" if self.separates else "W does not",
        }


class CrossEntropyPrinted(_Shared):
    @at_most(-1e-12, sentence="sign")
    def deep(self) -> Number | None:
        """W*·∇L over the size of the terms, K > 1 layers, any W: negative.

        Rounding is 1e-15.
        """
        if self.star is None or self.shallow:
            return NOT_ASKED
        return Number(float(self.star @ self.slope) / self.size_of_terms, 10 * EPS)

    @at_least(1e-9, sentence="diverges")
    def moves(self) -> Number | None:
        """‖∇L‖ at a finite W: the gradient goes to 0 at infinity only.

        0 at a finite equilibrium; elsewhere far above rounding, but at late times of a flow, which are not asked.
        """
        if "log_t" in self.trajectory:
            return NOT_ASKED
        return Number(float(np.linalg.norm(self.slope)), 1e-14)


class CrossEntropyCorrected(_Shared):
    @at_most(1e-10, sentence="own")
    def euler(self) -> Number | None:
        """|W·∇L + K Σ p(f_{y_n} − f_c)| over Σ p|f_{y_n} − f_c|, any W ≠ 0.

        Euler's identity for K layers; rounding.
        """
        if not self.end.any():
            return NOT_ASKED
        p = scipy.special.softmax(self.here.f, axis=1)
        terms = self.layers * p * self.gaps
        scale = float(np.abs(terms).sum())
        return Number(abs(float(self.end @ self.slope) + float(terms.sum())) / scale, 100 * EPS)

    @at_most(-1e-9, sentence="own")
    def own(self) -> Number | None:
        """W·∇L over the size of its terms at a W that separates: negative.

        −K to rounding, every term of one sign.
        """
        if not self.separates or "log_t" in self.trajectory:
            return NOT_ASKED
        return Number(float(self.end @ self.slope) / self.size_of_terms, 10 * EPS)


NETS = (
    ("one layer", Dense((4, 3), "identity")),
    ("two layers", Dense((4, 3, 3), "identity")),
    ("ReLU, two layers", Dense((4, 8, 3), "relu")),
    ("ReLU, three layers", Dense((4, 8, 6, 3), "relu")),
)


def _separating(random: np.random.Generator, network: Dense) -> tuple[Problem, np.ndarray]:
    """Points, and a W* that separates them by at least 0.5 of its outputs' spread: points within that are left out."""
    leaves = [(after, before) for before, after in zip(network.widths[:-1], network.widths[1:], strict=True)]
    while True:
        star = np.concatenate(
            [random.standard_normal(shape).ravel() / np.sqrt(shape[1] / 2.0) for shape in leaves]
        )
        x = random.standard_normal((60, 4))
        blank = Problem(network, CrossEntropy("sum"), Data(x, np.arange(60) % 3))
        f = local.outputs(blank, star)
        top = np.sort(f, axis=1)
        clear = np.flatnonzero(top[:, -1] - top[:, -2] > 0.5 * f.std())
        labels = np.argmax(f, axis=1)
        chosen = [clear[labels[clear] == c][:3] for c in range(3)]
        if all(len(one) == 3 for one in chosen):
            some = np.concatenate(chosen)
            return Problem(network, CrossEntropy("sum"), Data(x[some], labels[some])), star


def _reordered(network: Dense, star: np.ndarray) -> np.ndarray:
    """W* with the units of its first hidden layer in reverse order: the same function."""
    d, h = network.widths[:2]
    first, rest = star[: d * h].reshape(h, d)[::-1], star[d * h :]
    out = network.widths[2]
    second = rest[: h * out].reshape(out, h)[:, ::-1]
    return np.concatenate([first.ravel(), second.ravel(), rest[h * out :]])


def cases(key: Any, *, draws: int, flows: int) -> Iterator[Case]:
    """Points for every net, and flows of one layer."""
    random = generator(key)
    for draw in range(1, draws + 1):
        for name, network in NETS:
            problem, star = _separating(random, network)
            points = [
                (f"spread {s:g}", s * random.standard_normal(problem.size), star) for s in (0.1, 1.0, 3.0)
            ]
            if name != "one layer":
                points.append(("W* reordered", _reordered(network, star), star))
                points.append(("W = 0", np.zeros(problem.size), star))
            points.append(
                ("−W*" if name == "two layers" else "W*", (-1.0) ** (name == "two layers") * star, star)
            )
            for place, vector, other in points:
                seen = xr.Dataset({"final_weights": ("weight", vector), "star": ("weight", other)})
                yield case(problem, seen, net=name, place=place, draw=draw)
    drawn: list[Any] = []
    for i in range(flows):
        problem, _ = _separating(random, NETS[0][1])
        facts = {"net": "one layer", "place": "flow", "draw": i + 1}
        drawn.append((problem, (random.standard_normal((3, 4)),), facts))
    yield from ensemble(GradientFlow, drawn, **exponential.to_log_time([one for one, *_ in drawn], LOG_T))


FIGURE = Figure(
    Panel(
        "along W*", "case", r"$W^{*}\cdot\nabla L$, relative", "case", by=("net",), reference={"zero": 0.0}
    ),
    Panel(
        "along W", "case", r"$W\cdot\nabla L$, relative", "case", by=("separation",), reference={"zero": 0.0}
    ),
    caption="Left: the derivative of the loss along a separating W*, negative for one layer. Right: along W itself, "
    "negative where W separates.",
)
BUDGETS = {
    "quick": {"draws": 2, "flows": 3},
    "full": {"draws": 10, "flows": 8},
    "few": {"draws": 1, "flows": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.cross-entropy", CrossEntropyPrinted),
        ("memo90.cross-entropy-corrected", CrossEntropyCorrected),
    )
)
