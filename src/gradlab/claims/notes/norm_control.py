"""notes.norm-control: kicked, a regularised minimum is found again; an unregularised one moves for good.

Printed. "① The regularization min is hyperbolic and independent of initial conditions. This also means one can perturb
and get back to same W. ② The implicit regularization min is degenerate and depends on initial conditions. This means
that perturbations during GD will change final W. A similar situation holds for multilayer linear networks."

Reading. One-layer linear nets under the square loss, as in the sections before; ② where some directions are seen by
no example. In multilayer nets "similar" is read of the product W = W_K ⋯ W_1, the map that the notes call W elsewhere.
Of the layers ① is false for every hidden width above one: Q W_1, W_2 Q⁻¹ with Q orthogonal have the same risk and
norms, and a kick moves the layers along that orbit for good; drawn here, and asked under notes.deep-linear
(docs/notes/notes.norm-control.md).

Settings, before any run. ½Σ. 24 one-layer nets (N, d, C = 6, 10, 2), half with λ in [0.3, 3], half without; five kicks
of norm one, 150 apart: at rates of 0.3 and more e^{−45} is left of each. 12 nets 6-3-2 on 4 examples, half with
λ = 0.2; kicks of norm ½, 300 apart. Both solves (dopri8 at 1e-10) get the same kicks.

Tolerances. Changes are in units of the kick's norm; 1e-6 is allowed where a return is claimed, far above what a
settled run leaves. An unregularised net must be moved by half of what is predicted in one layer, ‖kick (1 − VVᵀ)‖,
about √(4/10) of a random kick; its product, where nothing is predicted, by 1e-3: a thousand times what a return may
miss.
"""

from functools import cached_property
from itertools import pairwise

import jax
import numpy as np

from gradlab.analysis.one_layer import OneLayer, one_layer
from gradlab.claims.cases import generator
from gradlab.claims.looks.kicked import Kicked
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.kicked import struck
from gradlab.claims.problems.one_layer import KINDS, draw
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: The four groups of cases.
ONE, ONE_BARE, MANY, MANY_BARE = (
    f"{n}, λ {sign} 0" for n in ("one layer", "several layers") for sign in ">="
)


class NormControl(Kicked):
    """What is left of every kick when the flow has settled again, of the product and, in one layer, in closed form."""

    @cached_property
    def net(self) -> OneLayer:
        """The closed forms of one layer."""
        found = one_layer(self.problem)
        assert found is not None  # asked in the groups of one layer only
        return found

    @cached_property
    def group(self) -> str:
        """Layers and decay; none for a run without kicks, of which nothing is asked."""
        groups = (ONE, ONE_BARE) if self.depth == 1 else (MANY, MANY_BARE)
        return groups[self.regular == 0.0] if len(self.struck) else ""

    @cached_property
    def unseen(self) -> np.ndarray:
        """One layer: ξ(1 − VVᵀ) of each kick."""
        return np.stack([self.net.beside(self.net.matrix(kick)) for kick in self.kicks[self.struck]])

    @at_least(0.5, sentence="hyperbolic")
    def hyperbolic(self) -> Number | None:
        """One layer with decay: least eigenvalue of ∇²L over λ.

        1 or more in theory, 0 for a degenerate minimum: half parts them.
        """
        last = self.spectra[-1] / (self.regular or 1.0)
        return Number(float(last[0]), EPS * len(last) * float(last[-1])) if self.group == ONE else NOT_ASKED

    @at_most(1e-6, sentence="hyperbolic")
    def same(self) -> float | None:
        """One layer with decay: distance from YXᵀ(XXᵀ + λ)⁻¹ over its norm, whatever the start and the kicks.

        As for returns.
        """
        if self.group != ONE:
            return NOT_ASKED
        expected = self.net.ridge(self.net.decay, self.net.factor)
        return float(np.linalg.norm(self.products[-1] - expected) / np.linalg.norm(expected))

    @at_most(1e-6, sentence="returns")
    def returns(self) -> Number | None:
        """One layer with decay: largest change of W by a kick, settled.

        0 in theory; a solver at 1e-10 a step leaves 1e-9.
        """
        return self.worst(self.moved) if self.group == ONE else NOT_ASKED

    @at_most(1e-9, sentence="degenerate")
    def flat(self) -> Number | None:
        """One layer without decay: least |eigenvalue| of ∇²L over the largest.

        0 in theory, rounded at eps C d.
        """
        last = np.abs(self.spectra[-1])
        return (
            Number(float(last.min() / last.max()), EPS * len(last)) if self.group == ONE_BARE else NOT_ASKED
        )

    @at_most(1e-6, sentence="degenerate")
    def start(self) -> float | None:
        """One layer without decay: change of W(1 − VVᵀ) from the start to the first kick, over the sum of their norms.

        The minimum depends on the start by just that part.
        """
        if self.group != ONE_BARE:
            return NOT_ASKED
        first, settled = self.products[:2]
        size = np.linalg.norm(first) + np.linalg.norm(settled)
        return float(np.linalg.norm(self.net.beside(settled - first)) / size)

    @at_least(1e-3, sentence="moves")
    def moves(self) -> Number | None:
        """One layer without decay: least change of W by a kick, settled.

        Half of the predicted change.
        """
        if self.group != ONE_BARE:
            return NOT_ASKED
        return self.least()._replace(tolerance=0.5 * float(self.relative(self.unseen).min()))

    @at_most(1e-6, sentence="moves")
    def law(self) -> Number | None:
        """One layer without decay: change of W by a kick ξ less ξ(1 − VVᵀ).

        Exact for a quadratic potential: what no example sees does not move.
        """
        return self.worst(self.moved - self.unseen) if self.group == ONE_BARE else NOT_ASKED

    @at_most(1e-6, sentence="multilayer")
    def product_returns(self) -> Number | None:
        """Several layers with decay: largest change of their product by a kick, settled.

        As for returns.
        """
        return self.worst(self.moved) if self.group == MANY else NOT_ASKED

    @at_least(1e-3, sentence="multilayer")
    def product_moves(self) -> Number | None:
        """Several layers without decay: least change of their product by a kick, settled.

        A thousand times what a return may miss.
        """
        return self.least() if self.group == MANY_BARE else NOT_ASKED

    def shown(self):
        both = {
            "changed": self.moved,
            "layers_moved": self.weights[self.struck + 1] - self.weights[self.struck],
        }
        largest = {name: float(self.relative(moved).max(initial=0.0)) for name, moved in both.items()}
        return {"group": self.group} | largest


def cases(key, *, rounds, single, double):
    """One-layer nets and products, half of each with decay."""
    random = generator(key)
    for i in range(rounds):
        keys = jax.random.split(jax.random.fold_in(key, i), 36)
        decays = np.repeat(np.geomspace(0.3, 3.0, 12), 2) * np.tile((0.0, 1.0), 12)
        drawn = [_drawn(random, (6, 10, 2), j, i, float(decays[j])) for j in range(single)]
        yield from struck(drawn, keys[:single], 1.0, 150.0, 5)
        drawn = [_drawn(random, (4, 6, 3, 2), j, i, 0.2 * (j % 2)) for j in range(double)]
        yield from struck(drawn, keys[24 : 24 + double], 0.5, 300.0, 4)


def _drawn(random, shape, j, i, decay):
    """A problem of N examples and widths, its start and facts."""
    N, *widths = shape
    kind = KINDS[j % 3] if len(widths) == 2 else KINDS[0]
    problem = Problem(
        Dense.deep_linear(widths),
        Square(half=True),
        Data(*draw(random, kind, N, widths[0], widths[-1])),
        decay,
    )
    scale = 1.0 if len(widths) == 2 else 0.7
    start = tuple(scale * random.standard_normal((after, before)) for before, after in pairwise(widths))
    return (
        problem,
        start,
        {"widths": "-".join(map(str, widths)), "kind": kind, "draw": f"{i + 1}.{j + 1}", "λ": decay},
    )


def _panel(name: str, title: str) -> Panel:
    label = "largest change by a kick, over its norm"
    return Panel(name, "case", label, "case", ("group",), "y", 1e-16, reference={"return": 1e-6}, title=title)


STUDY = study(
    "notes.norm-control",
    NormControl,
    cases,
    quick={"rounds": 1, "single": 24, "double": 12},
    full={"rounds": 5},
    few={"single": 6, "double": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        _panel("changed", "W, the product of the layers"),
        _panel("layers_moved", "all layers"),
        caption="What is left of a kick when the flow has settled again. Left: W comes back with decay and is moved "
        "without. Right: the layers of a two-layer net do not come back even with decay; they move along the orbit "
        "W_2 Q⁻¹, Q W_1.",
    ),
)
