"""memo90.span-per-layer: in which space the weights of a layer move under the exponential loss.

What is printed. Section 5.1: "As in the linear network case, the weights of layer k that change under the dynamics
must be in the vector space spanned by the ∂f(x_n; W)/∂W_k (which play the role of the data x_n of the linear case).
For overparametrized deep networks the situation is usually degenerate as reflected in the Hessian which for large t
is negative semi-definite with several zero eigenvalues." Section 12.2, of w/‖w‖: "the degenerate components … are not
directly updated by the gradient equation but … indirectly updated because ‖w̃‖ = 1."

What fails. At every moment the velocity lies in that span (eq. 6 says so). But the span moves, as data do not: what a
layer has moved by lies largely beside the span of the start. What stays for ever is W_1Q, Q the null projector of the
data. And the Hessian of L has negative eigenvalues at all times (memo90.penalty-hessian), O(1/‖W‖²) of the largest
(docs/notes/memo90.span-per-layer.md).

Settings, before any run. Deep linear 6-3-1 on 4 points: 10 flows in log-loss time (dopri8 at 1e-10) to log t = 100.
ReLU 6-5-1 on 4 points: 10 runs of descent, 400 steps of 0.01, for the spans alone.

Tolerances. Spans have condition 1e4 at most: rounding is 1e-12; 1e-9 is allowed of a share. A span that plays the
role of data keeps all motion in it, to 1e-6. An eigenvalue is negative beyond −1e-6 of the largest. Several are two.
"""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np

from gradlab.analysis.equilibria import counting
from gradlab.analysis.solutions import null_projector
from gradlab.claims.cases import Case, ensemble, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.dynamics.clocks import LogLoss
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.stops import Stop
from gradlab.observe import local
from gradlab.observe.layers import layer_of
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class _Shared(Look):
    """Velocities and spans, layer by layer."""

    setting = "a dense net of two layers or more without bias, one output, the exponential loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is such a net."""
        network = problem.network
        plain = isinstance(network, Dense) and isinstance(problem.loss, Exponential) and not network.bias
        return plain and len(network.widths) > 2 and not np.any(np.asarray(problem.decay) > 0.0)

    @cached_property
    def layer(self) -> np.ndarray:
        """The layer of every weight."""
        return np.asarray(layer_of(self.problem.network))

    @property
    def late(self) -> bool:
        """Whether the run goes to large times, on a net without kinks."""
        return bool(self.problem.network.linear)

    def velocity(self, w: np.ndarray) -> np.ndarray:
        """−∇L over its size, by automatic differentiation."""
        slope = -self.gradient(w)
        return slope / np.linalg.norm(slope)

    def split(self, w: np.ndarray, moved: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For every layer a vector of weights, and its part beside the span of ∂f(x_n; W)/∂W_k at W."""
        if not np.isfinite(w).all():  # a run that diverged
            return [(moved, np.full_like(moved, np.nan))]
        rows, found = local.local(self.problem, w).rows, []
        for k in range(int(self.layer.max()) + 1):
            own = self.layer == k
            left, values, _ = np.linalg.svd(rows[:, own].T, full_matrices=False)
            basis = left[:, values > 1e-10 * values[0]]
            part = moved[own]
            found.append((part, part - basis @ (basis.T @ part)))
        return found

    @cached_property
    def instants(self) -> float:
        """Largest share of a layer's velocity beside its span, over records."""
        if not np.isfinite(self.weights).all():
            return float("nan")
        shares = [0.0]
        for w in self.weights:
            for part, beside in self.split(w, self.velocity(w)):
                size = float(np.linalg.norm(part))
                if size > 1e-6:
                    shares.append(float(np.linalg.norm(beside)) / size)
        return float(np.max(shares))

    @cached_property
    def moved(self) -> float:
        """Largest share of a layer's motion beside the span of the start."""
        pairs = self.split(self.weights[0], self.end - self.weights[0])
        return float(np.max([np.linalg.norm(beside) / np.linalg.norm(part) for part, beside in pairs]))

    @cached_property
    def eigen(self) -> counting.Eigenvalues:
        """Eigenvalues of ∇²L at the end."""
        return counting.eigenvalues(self.problem, self.end)

    @property
    def share(self) -> float:
        """The least eigenvalue over the largest in size."""
        return float(self.eigen.values[0] / np.abs(self.eigen.values).max())

    @at_most(1e-9, sentence="span")
    def instant(self) -> Number:
        """Largest share of Ẇ_k beside the span of the ∂f(x_n; W)/∂W_k, over layers and records.

        Rounding, see the module's docstring.
        """
        return Number(self.instants, 1e-11)

    @at_most(1e-9, sentence="degenerate")
    def indirect(self) -> Number:
        """Largest ‖Q_k(dw̃/dt + w̃ d log‖w‖/dt)‖ over ‖ẇ‖/‖w‖, w a layer: beside the span w̃ is only rescaled.

        Rounding, as for instant.
        """
        worst = 0.0 if np.isfinite(self.weights).all() else float("nan")
        for w in self.weights if worst == 0.0 else ():
            velocity = self.velocity(w)
            for k in range(int(self.layer.max()) + 1):
                own = self.layer == k
                size = float(np.linalg.norm(w[own]))
                unit, pace = w[own] / size, velocity[own] / size
                grown = float(unit @ pace)
                turned = pace - grown * unit  # S ẇ
                whole = np.zeros(self.size)
                whole[own] = turned + grown * unit
                beside = self.split(w, whole)[k][1]
                worst = float(np.maximum(worst, np.linalg.norm(beside) * size))
        return Number(worst, 1e-11)

    @at_least(1.5, sentence="hessian")
    def zeros(self) -> Number | None:
        """Zero eigenvalues of the Hessian at log t = 100: several.

        A whole number; W_1Q alone has 6 here.
        """
        if not self.late:
            return NOT_ASKED
        found = counting.kernel(self.eigen.values, self.eigen.bound)
        return Number(found.number, found.error, exact=True)

    def shown(self):
        return {"beside the start's span": self.moved, "share": -self.share if self.late else np.nan}


class SpanPerLayerPrinted(_Shared):
    @at_most(1e-6, sentence="span")
    def frozen(self) -> Number:
        """Largest share of W_k(T) − W_k(0) beside the span of the ∂f(x_n; W(0))/∂W_k: they play the role of the data.

        0 for data, whose span does not move.
        """
        return Number(self.moved, 1e-9)

    @at_least(-1e-6, sentence="hessian")
    def semidefinite(self) -> Number | None:
        """Least eigenvalue of ∇²L over the largest at log t = 100: that of −L is negative semidefinite.

        Rounding is 1e-14.
        """
        return Number(self.share, 1e-9) if self.late else NOT_ASKED


class SpanPerLayerCorrected(_Shared):
    @at_most(1e-9, sentence="stays")
    def stays(self) -> Number:
        """Largest ‖W_1(t)Q − W_1(0)Q‖ over ‖W_1(T) − W_1(0)‖, Q the null projector of the data.

        Rounding of some thousand steps.
        """
        d, h = self.problem.network.widths[:2]
        first = self.weights[:, : d * h].reshape(-1, h, d)
        beside = (first - first[0]) @ null_projector(np.asarray(self.problem.data.inputs))
        moved = float(np.max(np.linalg.norm(beside, axis=(1, 2))))
        return Number(moved / float(np.linalg.norm(first[-1] - first[0])), 1e-12)

    @at_most(1.0, sentence="hessian")
    def relative(self) -> Number | None:
        """−(least eigenvalue over the largest) (A − B)/B at log t = 100, two layers.

        B = N max‖x‖ bounds Σ|∂²f| and A = f_min²(1/‖W_1‖² + 1/‖W_2‖²) ≤ |∂f|², by Euler; nothing is asked where A <
        2B.
        """
        if not self.late:
            return NOT_ASKED
        f = local.outputs(self.problem, self.end)[:, 0] * np.asarray(self.problem.data.targets)
        x = np.asarray(self.problem.data.inputs)
        sizes = [float(np.linalg.norm(self.end[self.layer == k])) for k in (0, 1)]
        B = len(x) * float(np.max(np.linalg.norm(x, axis=1)))
        A = float(f.min()) ** 2 * sum(size**-2 for size in sizes)
        return Number(-self.share * (A - B) / B, 1e-9) if A > 2.0 * B else NOT_ASKED


def cases(key: Any, *, flows: int, descents: int) -> Iterator[Case]:
    """An ensemble a net."""
    random = generator(key)
    linear, bent = Dense((6, 3, 1), "identity"), Dense((6, 5, 1), "relu")
    drawn: list[Any] = []
    for net, count in ((linear, flows), (bent, descents)):
        for i in range(count):
            x, y = exponential.regular(lambda: exponential.split(random, 4, 6, 4), 2.0)
            start = tuple(
                (0.7 if net is linear else 0.4) * random.standard_normal((after, before))
                for before, after in zip(net.widths[:-1], net.widths[1:], strict=True)
            )
            name = "deep linear" if net is linear else "ReLU"
            drawn.append((Problem(net, Exponential("sum"), Data(x, y)), start, {"net": name, "draw": i + 1}))
    yield from ensemble(
        GradientFlow,
        drawn[:flows],
        np.geomspace(1e-2, 1e5, 12),
        clock=LogLoss(),
        solver=Adaptive("dopri8", 1e-10),
        stop=Stop(log_t=100.0),
    )
    yield from ensemble(
        partial(GradientDescent, step=np.full(descents, 0.01)), drawn[flows:], (50, 100, 200, 400)
    )


FIGURE = Figure(
    Panel(
        "beside the start's span",
        "case",
        "share of the motion\nbeside the span of the start",
        "case",
        by=("net",),
    ),
    Panel("share", "case", "negative eigenvalue\nover the largest", "case (deep linear)", by=("net",)),
    caption="Left: how much of a layer's motion lies beside the span of the derivatives at the start, the worst "
    "layer. Right: −(least eigenvalue of the Hessian over the largest) at log t = 100.",
)
BUDGETS: dict[str, dict[str, Any]] = {
    "quick": {"flows": 10, "descents": 10},
    "full": {"flows": 40, "descents": 40},
    "few": {"flows": 1, "descents": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.span-per-layer", SpanPerLayerPrinted),
        ("memo90.span-per-layer-corrected", SpanPerLayerCorrected),
    )
)
