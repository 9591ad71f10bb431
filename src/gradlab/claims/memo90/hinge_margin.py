"""memo90.hinge-margin: stationary points of the hinge loss have large margin (section 5.4, Corollary 2.1 of Liang et
al.).

What is printed. "A recent result (Corollary 2.1 in [10]) formally shows that the minima of the gradient of a
hinge-loss for a deep network with RELU activations have large margin if the data are separable."

How it is read. At W with ∇L(W) = 0, L = Σ max(0, 1 − y_n f(x_n)), on data that some W of this architecture
separates, every y_n f(x_n) is 1 or more (what the corollary says); and the margin of W/‖W‖ is large: a tenth of the
largest, say.

What holds. Euler's identity: 0 = ⟨W, ∇L⟩ = −K Σ_{y f < 1} y_n f(x_n). If W itself separates the data no point can
have y f < 1: the corollary, whose hypothesis is that W separates. Separable data are not enough: W = 0, and nets
whose units no input switches on, are stationary with f = 0. And "large" is meant of f, not of the margin in input
space: every W that separates is, scaled up, stationary, so that the margin of W/‖W‖ can be anything above 0.

Settings, before any run. ReLU nets 3-4-1 and 3-4-3-1 and a linear 3-2-1 on separable data labelled by a net of the
same shape, six draws each: W = 0; all first units off (ReLU); the labelling W scaled to least y f of 1.5 and, not
stationary, of 0.5, a random one; the labelling net turned until its least margin is 1e-4 of the largest, and scaled;
and the end of subgradient descent from a small start (step 3e-2, at most 1 000 steps, until no point has y f < 1),
where it arrives.

Tolerances. ∇L is a sum over points with y f < 1: it is 0 to the bit where there are none, or where f and its
gradient are. 1 − 1e-9 is asked of y f.
"""

from functools import cached_property

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late
from gradlab.claims.studies import section, study

EDGE = 1.0 - 1e-9


class _Shared(Look):
    setting = "a dense net without biases, linear or ReLU, one output, labels ±1"

    @cached_property
    def here(self):
        """Margins y_n f(x_n) and their gradients."""
        return late.margins(self.problem, self.end)

    @property
    def depth(self) -> int:
        """K."""
        return len(self.problem.network.widths) - 1

    @property
    def stationary(self) -> bool:
        """Whether ∇L of the hinge loss is 0: a sum over points with y f < 1, to the bit or nearly."""
        m, rows = self.here
        return float(np.linalg.norm(rows[m < EDGE].sum(axis=0))) <= 1e-9

    @property
    def separates(self) -> bool:
        """Whether W separates the data."""
        return bool(self.here[0].min() > 1e-12)

    @at_most(1e-9, sentence="euler")
    def euler(self) -> Number:
        """|⟨W, ∇L⟩ + K Σ_{y f < 1} y f| over 1 + Σ |y f|.

        Euler's identity: rounding.
        """
        m, rows = self.here
        off = m < EDGE
        gap = -self.end @ rows[off].sum(axis=0) + self.depth * m[off].sum()
        return Number(abs(float(gap)) / (1.0 + float(np.abs(m).sum())), 1e-12)

    @at_least(EDGE, sentence="separating")
    def of_separating(self) -> Number | None:
        """Least y_n f(x_n) where W separates the data.

        1 by the corollary, with rounding.
        """
        asked = self.separates and self.stationary
        return Number(float(self.here[0].min()), 1e-12) if asked else NOT_ASKED

    def shown(self):
        size = max(float(np.linalg.norm(self.end)), 1e-3)
        kind = "stationary" if self.stationary else "not stationary"
        kind = f"{kind}, separating" if self.separates else kind
        return {
            "group": kind,
            "least": float(self.here[0].min()),
            "unit": max(float(self.here[0].min()) / size**self.depth, 1e-9),
        }


class HingePrinted(_Shared):
    @at_least(EDGE, sentence="margin")
    def margin(self) -> Number | None:
        """Least y_n f(x_n) at a stationary point, the data being separable.

        1 by the corollary, with rounding; 0 where f vanishes.
        """
        return Number(float(self.here[0].min()), 1e-12) if self.stationary else NOT_ASKED


class HingeCorrected(_Shared):
    @at_most(0.01, sentence="small")
    def thin(self) -> Number | None:
        """Least over largest y_n f(x_n), for the labelling net turned until that is 1e-4, and scaled up.

        1e-4 by construction: no bound from below holds for the margin of W/‖W‖.
        """
        if self.facts["point"] != "thin" or not self.stationary:
            return NOT_ASKED
        return Number(float(self.here[0].min() / self.here[0].max()), 1e-12)

    @at_most(0.0, sentence="stationary")
    def vanishing(self) -> Number | None:
        """Least y_n f(x_n) at W = 0 and where no unit is on, both stationary.

        0 to the bit.
        """
        if self.facts["point"] not in ("W = 0", "units off") or not self.stationary:
            return NOT_ASKED
        return Number(float(self.here[0].min()), exact=True)


def _descended(problem, w):
    """Subgradient descent until no point has y f < 1, or 1 000 steps."""
    for _ in range(1_000):
        m, rows = late.margins(problem, w)
        if m.min() >= 1.0:
            return w
        w = w + 3e-2 * rows[m < 1.0].sum(axis=0)
    return None


def _thin(random, network_of, X, teacher):
    """Labels by a net between the teacher and another where the least output is 1e-4 of the largest."""
    other = random.standard_normal(len(teacher))

    def outputs(share):
        w = np.cos(share) * teacher + np.sin(share) * other
        return w, late.margins(network_of(np.ones(len(X))), w)[0]

    low, high = 0.0, 0.0
    signs = np.sign(outputs(0.0)[1])
    while (outputs(high)[1] * signs).min() > 0.0 and high < 3.0:
        low, high = high, high + 0.05
    for _ in range(40):
        middle = (low + high) / 2.0
        m = outputs(middle)[1] * signs
        low, high = (middle, high) if m.min() > 1e-4 * m.max() else (low, middle)
    return outputs(low)[0]


def cases(key, *, draws):
    """Stationary points of every kind."""
    random = generator(key)
    for i in range(draws):
        for widths, activation in (((3, 4, 1), "relu"), ((3, 4, 3, 1), "relu"), ((3, 2, 1), "identity")):
            X = random.standard_normal((5, 3))

            def network_of(signs, widths=widths, activation=activation, X=X):
                return late.net(widths, X, signs, activation)

            one = network_of(np.ones(5))
            while True:
                teacher = random.standard_normal(one.size)
                f = late.margins(one, teacher)[0]
                if np.abs(f).min() > 0.02 * np.abs(f).max():
                    break
            problem, depth = network_of(np.sign(f)), len(widths) - 1
            points = {
                "W = 0": np.zeros(one.size),
                "scaled down": teacher * (0.5 / np.abs(f).min()) ** (1.0 / depth),
                "random": random.standard_normal(one.size),
                "scaled up": teacher * (1.5 / np.abs(f).min()) ** (1.0 / depth),
            }
            thin = _thin(random, network_of, X, teacher)
            points["thin"] = thin * (1.5 / late.margins(problem, thin)[0].min()) ** (1.0 / depth)
            if activation == "relu":
                off = np.abs(teacher)
                # rows opposite to the mean would leave some input; no first weights, no units
                off[: widths[0] * widths[1]] = 0.0
                points["units off"] = off
            end = _descended(problem, teacher * 0.3) if i % 6 == 0 else None
            if end is not None:
                points["descent"] = end
            for name, w in points.items():
                seen = xr.Dataset({"final_weights": ("weight", w)})
                yield case(problem, seen, net="-".join(map(str, widths)), point=name, draw=i + 1)


FIGURE = Figure(
    Panel("least", "case", r"least $y f(x)$", "case", by=("group",), reference={"1": 1.0}),
    Panel("unit", "case", r"margin of $W/\|W\|$", "case", by=("group",), log="y"),
    caption="Stationary points of the hinge loss on separable data. Left: y f is 1 or more unless f vanishes. "
    "Right: the margin of W/‖W‖ has no lower bound (1e-9 stands for 0).",
)
BUDGETS = {"quick": {"draws": 6}, "full": {"draws": 30}, "few": {"draws": 1}}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.hinge-margin", HingePrinted),
        ("memo90.hinge-margin-corrected", HingeCorrected),
    )
)
