"""chitour.invariants: W_{j+1}ᵀW_{j+1} − W_jW_jᵀ along the flow, along gradient descent, and in a tanh net.

Settings. F = ‖Y − WX‖² summed over examples. Widths (5, 4, 4, 3) with five points, X = I and Y = (D_Y 0) (the
reduced problem of the passage), general, repeated and rank-deficient X; widths (6, 4, 2) with ten points. Gaussian
starts of scale 0.6, balanced starts, singular starts. The flow runs to t = 1 by the eighth-order pair at 1e-9.
Gradient descent starts where the flow does, with η = 0.05/λ (λ the largest curvature at the start) and four
halvings, to the same time 0.8/λ each. The control has tanh between the same layers, the first of them scaled so
that the largest preactivation is 2: a tanh net at small weights is a linear one.

Tolerances. Errors of the flow: 1e-9 relative to ‖W‖ an accepted step, a few hundred steps, without amplification
(gradient flow of small residual contracts): 1e-7, one decade allowed. With Q_j = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ and
gradients G_j, a step of descent changes Q_j by η²(G_{j+1}ᵀG_{j+1} − G_jG_jᵀ) exactly: the terms of order η cancel, as
they do for the flow; what is left is the rounding of W², 1e-16‖W‖²/(η²‖G‖²) ≈ 1e-12. The order in η of one step is 2
exactly, over a fixed time 1 + O(η), with 0.15 as everywhere in gradlab.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab import figures
from gradlab.analysis.linear_nets import balanced_factors, conserved, conserved_rate, flat, layers
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.linear_net import LinearFlow, ratio
from gradlab.claims.measured import Number, at_least, at_most, equals
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.laboratory import run
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

RECORDS = np.linspace(0.0, 1.0, 6)
#: Step sizes η = COARSEST/λ · 2^{−i}, i < SWEEP, and how many steps the coarsest takes.
COARSEST, SWEEP, STEPS = 0.05, 5, 16


class Invariants(LinearFlow):
    """Q along the flow, and along descents from its start (``sweep_once``, ``sweep_end`` of the trajectory)."""

    @property
    def scale(self):
        """The largest Σ‖W_j‖² of the run."""
        return self.square_norms.max()

    def changes(self, name):
        """How far each descent has changed Q."""
        start = conserved(self.matrices[0])
        return [
            conserved(layers(self.network, point)) - start
            for point in self.trajectory[f"sweep_{name}"].values
        ]

    @at_most(1e-6, sentence="matrices")
    def drift(self) -> float:
        """max over t of ‖(Q_j(t) − Q_j(0))_j‖/Σ‖W‖², Q_j = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ.

        The global error of the flow, see the module's docstring.
        """
        start = conserved(self.matrices[0])
        return ratio(
            np.max([np.linalg.norm(conserved(point) - start) for point in self.matrices]), self.scale
        )

    @at_most(1e-6, sentence="norms")
    def norms(self) -> float:
        """max over j and t of |‖W_j‖² − ‖W_{H+1}‖² − C_j|/Σ‖W‖².

        The global error of the flow, see the module's docstring.
        """
        squares = np.array([[np.sum(w**2) for w in point] for point in self.matrices])
        apart = squares - squares[:, -1:]
        return ratio(float(np.max(np.abs(apart - apart[0]))), self.scale)

    @at_most(1e-12, sentence="matrices")
    def rate(self) -> float:
        """dQ_j/dt from the gradient at every record, relative to 2‖W‖‖∇F‖ (the largest of the run).

        An identity: rounding n·eps of the gradient, relative to the largest gradient of the run.
        """
        rates = [
            np.linalg.norm(conserved_rate(*pair)) for pair in zip(self.matrices, self.motion, strict=True)
        ]
        fastest = np.max([sum(np.sum(w**2) for w in motion) for motion in self.motion])
        return ratio(float(np.max(rates)), 2.0 * float(np.sqrt(self.scale * fastest)))

    @at_most(1e-6, sentence="descent")
    def step(self) -> float:
        """One step of descent: ‖ΔQ − η²(G_{j+1}ᵀG_{j+1} − G_jG_jᵀ)‖ relative to the prediction, at the largest η.

        An identity: rounding of W² against η²G², least at the largest η.
        """
        predicted = self.trajectory["sweep_eta"].values[0] ** 2 * conserved(self.motion[0])
        return ratio(np.linalg.norm(self.changes("once")[0] - predicted), np.linalg.norm(predicted))

    @equals(2.0, within=0.01, sentence="descent")
    def step_order(self) -> Number:
        """The order in η of the change in one step of descent.

        Two by the identity, no remainder.
        """
        return _order(self.changes("once"))

    @equals(1.0, within=0.15, sentence="descent")
    def time_order(self) -> Number:
        """The order in η of the change over a fixed time of descent.

        η² a step, 1/η steps; next order O(η), with η λ ≤ 0.05.
        """
        return _order(self.changes("end"))

    @at_least(1e-2, sentence="matrices", role="control")
    def control(self) -> float:
        """max over j of ‖dQ_j/dt‖ over 2(‖W_j‖‖∇_jF‖ + ‖W_{j+1}‖‖∇_{j+1}F‖) with tanh between the layers.

        tanh(2)/2 = 0.48 and tanh'(2) = 0.07 differ by O(1) at the largest preactivation.
        """
        twin = Problem(Dense(self.network.widths, "tanh"), self.problem.loss, self.problem.data)
        scaled = np.array(self.weights)
        for vector, point in zip(scaled, self.matrices, strict=True):
            largest = np.max(np.abs(self.inputs @ point[0].T))
            vector[: point[0].size] *= 2.0 / largest if largest > 0.0 else 1.0
        worst = 0.0
        for vector, gradient in zip(scaled, values_and_gradients(twin, scaled)[1], strict=True):
            point, motion = layers(self.network, vector), layers(self.network, gradient)
            for j in range(self.depth - 1):
                moved = conserved_rate(point[j : j + 2], motion[j : j + 2])
                size = sum(2.0 * np.linalg.norm(point[i]) * np.linalg.norm(motion[i]) for i in (j, j + 1))
                worst = max(worst, ratio(float(np.linalg.norm(moved)), float(size)))
        return worst

    def shown(self):
        etas = self.trajectory["sweep_eta"].values
        sizes = {
            name: np.linalg.norm(self.changes(of), axis=1)
            for name, of in (("once", "once"), ("later", "end"))
        }
        drawn = {name: ("eta", size / size[0] if size[0] > 0.0 else size) for name, size in sizes.items()}
        return {"sweep": ("eta", etas / etas[0]), **drawn}


def _order(changes):
    """log₂ of successive quotients at halved η, extrapolated; its error from the last two."""
    sizes = np.array([np.linalg.norm(change) for change in changes])
    if not np.all(sizes > 0.0):
        return Number(np.nan)
    local = np.log2(sizes[:-1] / sizes[1:])
    return Number(float(2.0 * local[-1] - local[-2]), float(abs(local[-1] - local[-2])))


def _curvature(problem, vector):
    """The largest |eigenvalue| of the Hessian, by power iteration on differences of the gradient."""
    direction, size = np.cos(1.0 + np.arange(vector.size)), 0.0
    # as many rows as a trajectory has: one program for both
    sides = np.resize([1.0, -1.0], len(RECORDS))[:, None]
    step = 1e-5 * (1.0 + float(np.linalg.norm(vector)))
    for _ in range(12):
        direction = direction / np.linalg.norm(direction)
        gradients = values_and_gradients(problem, vector + step * sides * direction)[1]
        direction = (gradients[0] - gradients[1]) / (2.0 * step)
        size = float(np.linalg.norm(direction))
        if size == 0.0:
            return 1.0
    return size


def _sweeps(drawn):
    """Descent from each start with η = COARSEST/λ, halved again and again, to one time; one program, taken twice.

    Variables of a trajectory: ``sweep_eta``, the weights ``sweep_once`` after one step and ``sweep_end`` at the end.
    """
    problems, starts = [problem for problem, *_ in drawn], [start for _, start, _ in drawn]
    halvings = 2.0 ** -np.arange(SWEEP)
    etas = [
        COARSEST / _curvature(problem, flat(start)) * halvings
        for problem, start in zip(problems, starts, strict=True)
    ]
    weights = tuple(np.repeat(np.stack(parts), SWEEP, axis=0) for parts in zip(*starts, strict=True))
    records = [1, *(STEPS * 2**i for i in range(SWEEP))]
    flow = GradientDescent(stack([problem for problem in problems for _ in halvings]), np.concatenate(etas))
    seen = run(flow, weights, records, observables=(), keep="all", members=len(weights[0]), refine=True)
    for i, eta in enumerate(etas):
        found: dict[str, Any] = {"sweep_eta": ("eta", eta)}
        for side in ("", "_coarse"):
            kept = seen[f"weights{side}"].values.reshape(len(records) + 1, len(problems), SWEEP, -1)[:, i]
            found[f"sweep_once{side}"] = (("eta", "weight"), kept[1])
            found[f"sweep_end{side}"] = (("eta", "weight"), np.stack([kept[2 + k, k] for k in range(SWEEP)]))
        yield found


def _problem(rng, widths, count, kind):
    if kind != "reduced":
        return linear_net.regression(rng, widths, Square(), count, kind)
    targets = np.eye(widths[0], widths[-1]) * rng.uniform(0.5, 3.0, widths[-1])
    return Problem(Dense.deep_linear(widths), Square(), Data(np.eye(widths[0]), targets))


def _start(rng, widths, kind):
    if kind == "balanced":
        product = linear_net.low_rank(rng, (widths[-1], widths[0]), widths[-1], 1.0)
        return balanced_factors(product, widths)
    start = linear_net.gaussian(rng, widths, 0.6)
    return tuple(linear_net.low_rank(rng, w.shape, 1, 1.0) for w in start) if kind == "singular" else start


def cases(key, *, plans, starts, rounds):
    """The flow from every kind of start on every kind of data, and descent from the same starts."""
    rng = generator(key)
    for widths, count, kinds in plans:
        chosen = [(x, w) for x in kinds for w in starts] * rounds
        problems = [_problem(rng, widths, count, x) for x, _ in chosen]
        begins = [_start(rng, widths, w) for _, w in chosen]
        facts = [{"widths": str(widths), "X": x, "start": w, "draw": i} for i, (x, w) in enumerate(chosen)]
        drawn = list(zip(problems, begins, facts, strict=True))
        flows = ensemble(GradientFlow, drawn, RECORDS, name=f"flow of {widths}")
        for one, found in zip(flows, _sweeps(drawn), strict=True):
            yield replace(one, trajectory=one.trajectory.assign(found))


def _figure(dataset, verdict):
    """Drift along the flow case by case, and along descent against η."""
    drawn, (left, right) = figures.panels(2, height=3.3)
    ranks = np.arange(1, dataset.sizes["case"] + 1)
    names = {"tanh net: rate": "control", "linear net: drift": "drift", "linear net: rate": "rate"}
    lines = {label: np.sort(dataset[name].values) for label, name in names.items()}
    figures.curves(ranks, lines, "cases, sorted", "relative change of Q", log="y", markers=True, axes=left)
    names = {"a fixed time (order 1)": "later", "one step (order 2)": "once"}
    values = {label: dataset[name].values for label, name in names.items()}
    figures.curves(
        dataset["sweep"].values[0],
        {label: np.nanmedian(value, axis=0) for label, value in values.items()},
        "η over the largest",
        "change of Q by descent",
        bands={
            label: (np.nanmin(value, axis=0), np.nanmax(value, axis=0)) for label, value in values.items()
        },
        log="xy",
        markers=True,
        axes=right,
    )
    return figures.with_caption(
        drawn,
        "Q = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ. Left: conserved by the flow of every linear net, and not with tanh. "
        "Right: gradient descent changes it by order η² a step and order η over a fixed time (median and range).",
    )


OTHER = ("random", "repeated", "deficient", "random")
QUICK = (((5, 4, 4, 3), 5, ("reduced", *OTHER[:3])), ((6, 4, 2), 10, OTHER))
STUDY = study(
    "chitour.invariants",
    Invariants,
    cases,
    quick={"plans": QUICK, "starts": ("Gaussian", "balanced", "singular"), "rounds": 1},
    full={"plans": (*QUICK, ((6, 3, 5, 2), 4, OTHER), ((4, 5, 4, 6, 3), 4, QUICK[0][2])), "rounds": 6},
    few={"plans": (((5, 4, 4, 3), 5, ("reduced", "deficient")),), "starts": ("Gaussian", "balanced")},
    figure=_figure,
    settings=section(__doc__, "Settings"),
)
