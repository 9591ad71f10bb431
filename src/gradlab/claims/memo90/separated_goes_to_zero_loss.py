"""memo90.separated-goes-to-zero-loss: once the data are separated, gradient descent goes to zero loss (sections 5.1,
12.2).

What is printed. "We assume that gradient descent has found a set of weights that separate the training data that is
y_n f(x_n; W) > 0 for all n. It is easy to see that under this assumption GD converges then to zero loss for t → ∞."
And: "if f separates the data, then lim_{a→∞} L(a f(W⁰)) = 0 and this is where gradient descent converges."

What holds (docs/notes/memo90.separated-goes-to-zero-loss.md). One linear layer: always. In general L falls along the
flow, and as L = Σ e^{−m_n} < 1 forces all margins to be positive, data that are separated with L < 1 stay so, and L
→ 0 (Lyu and Li 2020). With L ≥ 1 they need not: the pull of many points on a ReLU neuron can turn it away from one
that no other neuron sees, and there L stays at 1 or more.

Settings, before any run. Starts that separate: one linear layer (3-1), two and three linear layers, a ReLU net of
four neurons, all a_j > 0, on four inputs of label 1, each with L < 1 and with L > 1 (small margins); and one ReLU
neuron on three copies of an input and one at 115°, 120° and 140° (minus the cosine times three is above 1) to it,
seen at an angle that leaves the latter a small margin. Flows to log t = 100, Radau at 1e-7.

Tolerances. L falls like 1/t and powers of log t: log L = −100 + O(10) at log t = 100; −50 is asked. A lost point
leaves log L ≥ 0.
"""

import numpy as np

from gradlab.claims.cases import generator
from gradlab.claims.looks.late import LateNet
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late
from gradlab.claims.studies import section, study
from gradlab.observe.layers import layer_of

LOGS = np.concatenate([np.linspace(-8.0, 6.0, 29), np.geomspace(8.0, 100.0, 10)])


class _Shared(LateNet):
    separated = None

    @property
    def log_loss(self) -> np.ndarray:
        """log L at every record."""
        m = self.all_margins
        low = m.min(axis=1)
        return np.log(np.exp(low[:, None] - m).sum(axis=1)) - low

    @at_least(1e-12, role="hypothesis")
    def separated_at_first(self) -> Number:
        """Least margin at the start.

        A sign, known to rounding.
        """
        return Number(float(self.all_margins[0].min()), 1e-15)

    @at_most(-900.0, sentence="scaling")
    def scaling(self) -> Number:
        """log L(a f) at the start, a = 1000 over the least margin.

        log N − 1000.
        """
        # f is linear in the last layer: what the net says with that layer longer, and not a times what it said
        W = self.weights[0].copy()
        W[layer_of(self.problem.network) == self.depth - 1] *= 1000.0 / self.all_margins[0].min()
        scaled = self.margins_at(W)[0]
        return Number(float(np.log(np.exp(scaled.min() - scaled).sum()) - scaled.min()), 1e-9)

    def shown(self):
        return {
            "first": float(self.log_loss[0]),
            "log t": ("late", self.logs),
            "log L": ("late", self.log_loss),
        }


class SeparatedPrinted(_Shared):
    @at_most(-50.0, sentence="zero")
    def zero_linear(self) -> float | None:
        """log L at log t = 100, linear nets.

        See the module's docstring.
        """
        return NOT_ASKED if self.rectified else float(self.log_loss[-1])

    @at_most(-50.0, sentence="zero")
    def zero(self) -> float | None:
        """log L at log t = 100, ReLU nets.

        See the module's docstring.
        """
        return float(self.log_loss[-1]) if self.rectified else NOT_ASKED


class SeparatedCorrected(_Shared):
    @at_most(-50.0, sentence="below_one")
    def below_one(self) -> float | None:
        """log L at log t = 100, from a start with L < 1.

        See the module's docstring.
        """
        return float(self.log_loss[-1]) if self.log_loss[0] < 0.0 else NOT_ASKED

    @at_most(-50.0, sentence="one_layer")
    def one_layer(self) -> float | None:
        """log L at log t = 100 for one linear layer, from any start.

        See the module's docstring.
        """
        return float(self.log_loss[-1]) if self.depth == 1 else NOT_ASKED

    @at_least(-1e-9, sentence="lost")
    def lost(self) -> Number | None:
        """log L at log t = 100, of one neuron that loses a point: three copies of an input, one at 115° or more.

        That point's margin is 0: L ≥ 1, to rounding.
        """
        if self.facts["start"] != "one neuron":
            return NOT_ASKED
        return Number(float(self.log_loss[-1]), 1e-12)


def _separating(random, problem, large):
    """A random start that separates, of least margin 3 (L < 1) or 0.01 (L > 1)."""
    while True:
        w = random.standard_normal(problem.size)
        if not problem.network.linear:
            w[8:] = np.abs(w[8:])  # units of both signs slide along kinks, which the solver does not follow
        least = late.margins(problem, w)[0].min()
        if least > 0.02:
            depth = len(problem.network.widths) - 1
            return w * ((3.0 if large else 0.01) / least) ** (1.0 / depth)


def cases(key, *, draws):
    """Every net from both kinds of start, and one neuron on two inputs."""
    random = generator(key)
    for i in range(draws):
        for widths, kind in (
            ((3, 1), "linear"),
            ((3, 2, 1), "linear"),
            ((3, 2, 2, 1), "linear"),
            ((2, 4, 1), "ReLU"),
        ):
            X, y = late.separable(random, 4, widths[0])
            if kind == "ReLU":
                X, y = late.pair(100.0)[[0, 1, 1, 0]] * random.uniform(0.5, 1.5, (4, 1)), np.ones(4)
            problem = late.net(widths, X, y, "relu" if kind == "ReLU" else "identity")
            for large in (True, False):
                start = _separating(random, problem, large)
                name = "L < 1" if large else "L > 1"
                yield _run(
                    problem, start, net="-".join(map(str, widths)) + f" {kind}", start=name, draw=i + 1
                )
        for degrees in (115.0, 120.0, 140.0):
            X = late.pair(degrees)[[0, 0, 0, 1]]
            problem = late.net((2, 1, 1), X)
            # w·x_1 = 0.1 and w·x_2 = 0.001: seen, and barely
            w = np.linalg.solve(late.pair(degrees), [0.1, 0.001])
            start = np.append(w, random.uniform(0.8, 1.2))
            yield _run(problem, start, net=f"one ReLU, {degrees:g}°", start="one neuron", draw=i + 1)


def _run(problem, vector, **facts):
    return late.orbit(late.flow(problem), late.bending(problem), vector, LOGS, problem, 1e-7, **facts)


FIGURE = Figure(
    Panel(
        "log L",
        "log t",
        r"$\log L$",
        r"$\log t$",
        by=("start",),
        reference={"L = 1": 0.0},
        lines=True,
        each=20,
    ),
    caption="log L from starts that separate the data, with L < 1 and L > 1; one ReLU neuron on three copies of "
    "an input and one at an angle "
    "loses the latter, and L stays at 1.",
)
BUDGETS = {"quick": {"draws": 2}, "full": {"draws": 10}, "few": {"draws": 1}}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.separated-goes-to-zero-loss", SeparatedPrinted),
        ("memo90.separated-goes-to-zero-loss-corrected", SeparatedCorrected),
    )
)
