"""memo90.norm-growth: d‖w‖/dt > 0 and → 0 once the data are separated; ‖w‖ ≈ log t in one layer (eq. 41).

What is printed. d‖w‖/dt = Σ e^{−‖w‖f̃(x_n)} f̃(x_n) for the weights w of one layer, f = ‖w‖ f̃, y_n absorbed; "we
assume that f separates all the data [...] Thus d‖w‖/dt > 0 and lim ‖ẇ‖ = 0. In the 1-layer network case the dynamics
yields ‖w‖ ≈ log t asymptotically."

What holds. All of it, up to the constant: w = ŵ log t + O(1) (section 4, eq. 4), so that ‖w‖ ≈ ‖ŵ‖ log t = log t/γ,
γ the largest margin; log t for γ = 1.

Settings, before any run. The runs of memo90.theorem3 (one to three linear layers, ReLU nets on two inputs) and those
of memo90.log-margin (one layer, data of every kind), to log t = 1e4.

Tolerances. Equation 41 is a sum of N products: 1e-11 with the rounding of exponents of 1e4. That the norm grows is
asked of the orbit: increments between records once the data are separated for good, over eps ‖w‖. d‖w‖/dt is 1/t
times powers of log t: log d‖w‖/dt / log t = −1 + O(log log t/log t) at log t = 1e4: −0.9 is asked. ‖w‖/log t is off
by ‖w̃‖/log t = 1e-3: 2 % are allowed.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis.solutions import max_margin
from gradlab.claims.looks.late import LateNet
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late, late_linear, late_runs
from gradlab.claims.studies import section, study
from gradlab.observe.layers import layer_of


class NormGrowth(LateNet):
    @cached_property
    def since(self) -> int:
        """The first record from which on the data are separated."""
        wrong = np.flatnonzero(self.all_margins.min(axis=1) <= 0.0)
        return int(wrong[-1]) + 1 if len(wrong) else 0

    @at_most(1e-11, sentence="grows")
    def equation(self) -> Number:
        """|⟨W_k, −∂L/∂W_k⟩/‖W_k‖ − Σ e^{−f} f/‖W_k‖| over the sum of the sizes of its terms, at the worst layer and
        record.

        See the module's docstring.
        """
        layer, worst = layer_of(self.problem.network), 0.0
        if not self.all_margins[-1].min() > 0.0:
            return Number(np.nan)
        for row in self.weights[1:]:
            m, rows = self.margins_at(row)
            shares = np.exp(m.min() - m)
            for k in range(self.depth):
                along = (shares @ rows)[layer == k] @ row[layer == k]
                worst = float(np.maximum(worst, abs(along - shares @ m) / float(shares @ np.abs(m))))
        return Number(worst, 64.0 * EPS)

    @at_least(1.0, sentence="grows")
    def positive(self) -> Number:
        """Least increment of a ‖W_k‖ from one record to the next since the data are separated, over 1e-6 of ‖W_k‖.

        A sign; log t grows by a third or more from record to record, ‖W_k‖ by a tenth of that, solved to 1e-6.
        """
        since = self.lengths[self.since :]
        if len(since) < 2:
            return Number(0.0, 1e-3)
        return Number(float(np.min(np.diff(since, axis=0) / (1e-6 * since[1:]))), 1e-3)

    @at_most(-0.9, sentence="slows")
    def slows(self) -> float:
        """log(d‖W_k‖/dt)/log t at the end, the largest of the layers.

        −1 and O(log log t/log t): 0 or more if the speed did not vanish.
        """
        m, _ = late.margins(self.problem, self.weights[-1])
        if not m.min() > 0.0:
            return np.nan
        logs = -m.min() + np.log(np.exp(m.min() - m) @ np.abs(m)) - np.log(self.lengths[-1].min())
        return float(logs / self.logs[-1])

    def ratio(self) -> float | None:
        """‖w‖/log t at the end, for one layer."""
        return float(self.lengths[-1, 0] / self.logs[-1]) if self.depth == 1 else NOT_ASKED

    @at_most(0.02, sentence="one_layer", role="print", repaired="one_layer")
    def one_layer_printed(self) -> float | None:
        """|‖w‖/log t − 1| at log t = 1e4, for one layer.

        As for one_layer.
        """
        found = self.ratio()
        return found if found is NOT_ASKED else abs(found - 1.0)

    @at_most(0.02, sentence="one_layer")
    def one_layer(self) -> float | None:
        """|γ ‖w‖/log t − 1| at log t = 1e4, for one layer, γ the largest margin.

        ‖w̃‖/log t = 1e-3.
        """
        found = self.ratio()
        if found is NOT_ASKED:
            return NOT_ASKED
        X, y = np.asarray(self.problem.data.inputs), np.asarray(self.problem.data.targets)
        return abs(max_margin(X, y).margin * found - 1.0)

    def shown(self):
        kept = self.logs > 2.0
        share = (
            np.full(int(kept.sum()), np.nan) if self.depth > 1 else self.lengths[kept, 0] / self.logs[kept]
        )
        return {
            "layers": f"{self.depth} layer{'s' * (self.depth > 1)}",
            "log t": ("late", self.logs[kept]),
            "norm": ("late", self.lengths[kept, 0]),
            "share": ("late", share),
        }


def cases(key, *, deep, kinds):
    """The runs of the two families."""
    yield from late_runs.cases(key, **deep)
    yield from late_linear.cases(key, kinds=kinds)


BUDGETS = {
    name: {"deep": late_runs.BUDGETS[name], "kinds": late_linear.BUDGETS[name]["kinds"]}
    for name in ("quick", "full", "few")
}
STUDY = study(
    "memo90.norm-growth",
    NormGrowth,
    cases,
    figure=Figure(
        Panel("norm", "log t", r"$\|W_1\|$", r"$\log t$", by=("layers",), log="xy", lines=True, each=20),
        Panel(
            "share",
            "log t",
            r"$\|w\|/\log t$",
            r"$\log t$",
            by=("layers",),
            log="x",
            reference={"printed": 1.0},
            lines=True,
            each=20,
        ),
        caption="Left: the norm of the first layer against log t. Right: in one layer ‖w‖/log t tends to 1/γ, "
        "another number for every data set.",
    ),
    settings=section(__doc__, "Settings"),
    **BUDGETS,
)
