"""notes.hartman-grobman: near a hyperbolic equilibrium the flow is topologically conjugate to its linearisation.

The theorem is classical (Hartman 1960); a conjugacy is built for each problem (:mod:`gradlab.analysis.conjugacy`) and
tested where it could fail. That h∘φ_t = e^{−Ht}h holds by construction for any H, a saddle's and a sink's alike, so it
is one part among others: the index of H and e^{−Ht} against Dφ_t(W*), taken from orbits of the nonlinear flow alone
(:mod:`gradlab.analysis.flow_map`); both invariant manifolds, found by shooting with these orbits; one-to-one,
continuous and without folds on some hundred points; h → 0 with W → W*, within its a-priori bound.

Settings, before any run. Sinks: minima of nets with weight decay (tanh, deep linear, one layer; square, logistic and
exponential loss) and origins of two-layer nets under much decay. Saddles: the same origins with a decay of 0.4 of
the largest eigenvalue c without it, so that H has λ − c < 0 < λ < λ + c and |λ|_max/|λ|_min = 3.5. One origin without
decay, where 0 is an eigenvalue and the theorem is silent. 100 points at radii from a tenth to 0.9 of the ball
(0.4 of it at saddles, where orbits leave); times 1/λ_max and 3/λ_max (a quarter of that at saddles).

Tolerances. On its ball h is exact, so only integration is left: relative tolerance 1e-12 a step (1e-10 in the second
look; at origins, where saddles blow up nothing on the way, 1e-10 and 1e-8), some hundred steps, errors of the fast
modes blown up by e^{λ_max τ}, typically ≤ 1e3, on the way to the sphere: 1e-7 at worst; 1e-6 is asked. Near a saddle's
manifolds h is Hölder with the exponent α = |λ|_min/|λ|_max and no better: points known to 1e-8 of the ball have images
known to (1e-8)^α of the bound of |h − id|, the tolerance there.
"""

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.conjugacy import FINE, hyperbolicity
from gradlab.analysis.equilibria.minimising import descend
from gradlab.analysis.flow_map import FlowMap, invariant_manifold
from gradlab.analysis.linearisation import LinearFlow, linearise
from gradlab.claims.cases import generator
from gradlab.claims.looks.linearisation import (
    Solved,
    conjugated,
    flow_derivative,
    off_linear,
    solved,
    where_built,
)
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study
from gradlab.problem.activations import smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

SAMPLES, MOVED, FRAMES, ON_MANIFOLD = 100, 20, 20, 12
#: Size of a frame, in radii, and how well points of a manifold are known.
CLOSE, KNOWN = 1e-5, 1e-8
#: |∇L|/|x| in units of |λ|_max, beyond which a ball ends. AT_SADDLES: the tolerance of solves there.
RATE, AT_SADDLES = 3.0, 1e-10
#: Volume of the image of a frame over that of its edges at right angles, below which its orientation is undecided.
FLAT_TO = 1e-6


class HartmanGrobman(Solved):
    """A conjugacy h at the last weights, its images of points in the basis of H, and the flow it was not told of."""

    @cached_property
    def linear(self) -> LinearFlow:
        """Gradient and Hessian at the weights."""
        return linearise(self.problem, self.tree(self.end))

    @cached_property
    def built(self) -> Any:
        """The conjugacy (:class:`Conjugacy`), None where there is none."""
        return conjugated(self.problem, self.end, RATE)

    @cached_property
    def seen(self) -> FlowMap:
        """Dφ_t(W*) from orbits."""
        return flow_derivative(self.built, self.tolerance)

    @property
    def saddle(self) -> bool:
        """Whether orbits leave."""
        return self.built.kind == "saddle"

    @property
    def times(self) -> np.ndarray:
        """Two times of the flow."""
        return np.asarray([1.0, 3.0]) * (0.25 if self.saddle else 1.0) / np.max(np.abs(self.built.values))

    @cached_property
    def points(self) -> list[np.ndarray]:
        """Samples, frames at some of them, where the flow takes some, points of the stable and unstable manifold."""
        radius, size = self.built.radius, self.size
        aside = np.random.default_rng(0).standard_normal((SAMPLES, size)) @ self.built.vectors
        reach = radius * (0.4 if self.saddle else 0.9) * np.geomspace(0.1, 1.0, SAMPLES)[:, None]
        x = reach * aside / np.linalg.norm(aside, axis=1, keepdims=True)
        frames = x[:: SAMPLES // FRAMES, None] + CLOSE * radius * np.eye(size)
        some = x[:: SAMPLES // MOVED]
        moved = self.built.flow(np.tile(some, (2, 1)), np.repeat(self.times, MOVED), self.tolerance)
        where = (lambda x, t: self.built.flow(x, t, self.tolerance)), self.seen, 0.3 * radius, ON_MANIFOLD
        manifolds = [invariant_manifold(*where, stable=stable) for stable in (True, False)]
        return [x, frames.reshape(-1, size), moved, *manifolds]

    @cached_property
    def images(self) -> list[np.ndarray]:
        """h of all points."""
        return np.split(
            self.image(np.concatenate(self.points)), np.cumsum([len(x) for x in self.points])[:-1]
        )

    @property
    def frames(self) -> np.ndarray:
        """Edges of the images of the frames: (frames, P, P)."""
        return self.images[1].reshape(FRAMES, self.size, -1) - self.images[0][:: SAMPLES // FRAMES, None]

    def image(self, x: np.ndarray) -> np.ndarray:
        """h, from and to displacements in the basis of H."""
        return self.built.image(x, self.tolerance)

    def off(self, image: np.ndarray, other: np.ndarray) -> Number | None:
        """The largest share of images that lies in the other eigenspace, against what is known of it."""
        if not len(image):
            return NOT_ASKED
        sizes, values = np.linalg.norm(image, axis=1), np.abs(self.built.values)
        bound = 2.0 * (1.0 - self.built.margin) * self.built.radius / sizes.min()
        share = float(np.max(np.linalg.norm(image[:, other], axis=1) / sizes))
        return Number(share, 1e-15, bound * KNOWN ** (values.min() / values.max()) if self.saddle else None)

    @at_least(0.5, role="hypothesis", exact=True)
    def smooth(self) -> float:
        """One where the network is C¹ in its weights.

        It says so itself.
        """
        return float(self.problem.network.smooth)

    @at_most(1e-3, role="hypothesis")
    def equilibrium(self) -> Number:
        """‖∇L‖/(‖H‖ max(1, ‖W‖)): the weights are near an equilibrium, to which Newton's steps go.

        A thousandth of the weights; what Newton's steps find is tested by all that follows.
        """
        size = float(np.max(np.abs(self.linear.values))) * max(1.0, float(np.linalg.norm(self.end)))
        return Number(float(np.linalg.norm(self.linear.drift)) / size, 1e-16)

    @at_least(1.0, role="hypothesis")
    def hyperbolic(self) -> Number:
        """min|λ| over the size below which λ is zero to rounding.

        That size is 1e3 P eps ‖H‖, three decades above the rounding of an eigenvalue.
        """
        least, zero = hyperbolicity(np.asarray(self.linear.values))
        return Number(least / zero, 1e-3)

    @equals(0.0, within=0.0, sentence="conjugate")
    @where_built
    def index(self) -> Number:
        """Directions in which the linear flow grows, less those in which orbits of the nonlinear flow do.

        A whole number; undecided are singular values of Dφ_t within ten bars of 1.
        """
        growing = self.seen.growing
        return Number(float(np.sum(self.built.values < 0.0)) - growing.number, growing.error, exact=True)

    @at_most(1e-6, sentence="conjugate")
    @where_built
    def tangent(self) -> float:
        """‖Dφ_t(W*) − e^{−Ht}‖/‖e^{−Ht}‖, Dφ_t from orbits a thousandth of the ball away: H is the linear part.

        Extrapolated differences leave the fourth power of a thousandth, and integration 1e-10.
        """
        return off_linear(self.built, self.seen)

    @at_most(1e-6, sentence="conjugate")
    @where_built
    def commutes(self) -> float:
        """‖h(φ_t(W)) − e^{−Ht}h(W)‖/‖e^{−Ht}h(W)‖, the largest of points and times.

        Integration only, see the module's docstring.
        """
        linear = self._linearly(self.images[0][:: SAMPLES // MOVED])
        return float(np.max(np.linalg.norm(self.images[2] - linear, axis=1) / np.linalg.norm(linear, axis=1)))

    def _linearly(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([x * np.exp(-self.built.values * time) for time in self.times])

    @at_most(1e-6, sentence="conjugate")
    @where_built
    def stable_manifold(self) -> Number | None:
        """Share of h beside the stable space of H, of points whose orbits tend to W* (at sinks all do).

        At sinks rounding; at saddles what Hölder continuity leaves, see the module's docstring.
        """
        return self.off(self.images[3], self.built.values < 0.0)

    @at_most(1e-6, sentence="conjugate")
    @where_built
    def unstable_manifold(self) -> Number | None:
        """Share of h beside the unstable space of H, of points whose orbits come from W*; nothing asked at sinks.

        As for the stable one.
        """
        return self.off(self.images[4], self.built.values > 0.0)

    @at_least(1e-5, sentence="homeomorphism")
    @where_built
    def separation(self) -> Number:
        """The smallest ‖h(V) − h(W)‖/‖V − W‖ of all pairs of points, some 9700: h is one-to-one on them.

        Zero if two points had one image; h is only Hölder, and no bound is known beforehand: a decade above the
        tolerance of the map.
        """
        return Number(
            _least(*(np.concatenate([part[0], part[2]]) for part in (self.points, self.images))), EPS
        )

    @at_most(1e-6, sentence="homeomorphism")
    @where_built
    def inverse(self) -> float | None:
        """‖h⁻¹(h(W)) − W‖/‖W − W*‖ at sinks, h⁻¹ built by itself from the linear flow; at saddles it is not built.

        Integration only, to the sphere and back.
        """
        if self.saddle:
            return NOT_ASKED
        x, back = self.points[0], self.built.preimage(self.images[0], self.tolerance)
        return float(np.max(np.linalg.norm(back - x, axis=1) / np.linalg.norm(x, axis=1)))

    @equals(0.0, within=0.0, sentence="homeomorphism")
    @where_built
    def turned(self) -> Number:
        """Frames, a hundred-thousandth of the ball in size, whose images have another orientation: h does not fold.

        A whole number; undecided are those whose image is flat to 1e-6 of what its edges span.
        """
        edges = np.linalg.norm(self.frames, axis=2)
        volume = np.linalg.det(self.frames / edges[:, :, None])
        return Number(float(np.sum(volume < 0.0)), float(np.sum(np.abs(volume) <= FLAT_TO)), exact=True)

    @at_most(
        0.1,
        sentence="homeomorphism",
        changed="Fixed after a first look at how small Hölder exponents are at saddles.",
    )
    @where_built
    def continuity(self) -> Number:
        """The largest ‖h(V) − h(W)‖ of points V, W 1e-5 of the ball's radius apart, over the radius: h has no jumps.

        A Hölder exponent of a quarter makes 0.06 of 1e-5.
        """
        return Number(float(np.max(np.linalg.norm(self.frames, axis=2)) / self.built.radius), EPS)

    @at_most(1.0, sentence="homeomorphism")
    @where_built
    def origin(self) -> Number:
        """‖h(W)‖ over an a-priori bound that tends to 0 with |W − W*|; at saddles ‖h(W) − W‖ over its bound.

        Rates of ⟨x, ∇L⟩/|x|² up to K bring x to the sphere in log(r/|x|)/K or more: |h| ≤ r (|x|/r)^{λ_min/K}, K twice
        the largest seen. At saddles |h − id| is at most √2 sup|N̂|/|λ|_min, which the margin of contraction bounds.
        """
        x, h = (np.linalg.norm(part[0], axis=1) for part in (self.points, self.images))
        built = self.built
        if self.saddle:
            moved = np.linalg.norm(self.images[0] - self.points[0], axis=1)
            return Number(float(np.max(moved)) / built.drift, EPS)
        power = float(np.min(built.values)) / (2.0 * built.steepest)
        return Number(float(np.max(h / built.radius * (built.radius / x) ** power)), EPS)

    @at_most(
        1e-2,
        role="control",
        changed="First all of h', 2e-3 of a ball apart: other coordinates of nearly the same rate left up to 0.05.",
    )
    @where_built
    def wrong_index(self) -> Number | None:
        """|h'_i(V) − h'_i(W)|/‖V − W‖ of two points along the slowest direction i, h' to the flow with its sign turned.

        Asked of the first draw. h' commutes with the flows as well as h, and is no homeomorphism: to first order it has
        no i-th coordinate.
        """
        if self.facts.get("draw", 1) > 1:
            return NOT_ASKED
        built = self.built
        slowest = int(np.argmin(np.abs(built.values)))
        values = np.where(np.arange(self.size) == slowest, -built.values, built.values)
        other = replace(built, values=values, kind="saddle", radius=0.25 * built.radius)
        pair = 1e-4 * other.radius * np.asarray([1.0, -1.0])[:, None] * np.eye(self.size)[slowest]
        found = other.image(pair, 1e-6)[:, slowest]
        return Number(float(abs(found[0] - found[1]) / np.linalg.norm(pair[0] - pair[1])), 1e-6)

    @at_least(1e-5, role="control")
    @where_built
    def identity(self) -> float:
        """The same as for h with the identity in its place: the flow is not its linearisation.

        A decade above the tolerance of the map.
        """
        linear = self._linearly(self.points[0][:: SAMPLES // MOVED])
        return float(np.max(np.linalg.norm(self.points[2] - linear, axis=1) / np.linalg.norm(linear, axis=1)))

    def shown(self):
        if self.built is None:
            return {"kind": "not hyperbolic", "condition": np.nan, "distortion": np.nan}
        size, values = np.linalg.norm(self.points[0], axis=1), np.abs(self.built.values)
        far = np.max(np.linalg.norm(self.images[0] - self.points[0], axis=1) / size)
        return {"kind": self.built.kind, "condition": values.max() / values.min(), "distortion": far}


def _least(x: np.ndarray, images: np.ndarray) -> float:
    pairs = np.triu_indices(len(x), 1)
    return float(
        np.min(
            np.linalg.norm(images[pairs[0]] - images[pairs[1]], axis=1)
            / np.linalg.norm(x[pairs[0]] - x[pairs[1]], axis=1)
        )
    )


TANH, LINEAR = Dense((2, 2, 1), "tanh"), Dense.deep_linear((2, 1, 1))
#: Name, network, loss, decay (of c where it begins with "origin").
QUICK = (
    ("tanh", TANH, Logistic("mean"), 0.02),
    ("origin, tanh", TANH, Logistic("mean"), 0.4),
    ("deep linear", LINEAR, Square("mean", half=True), 0.1),
    ("origin, deep linear", LINEAR, Square("mean", half=True), 0.4),
    ("origin, deep linear, more decay", LINEAR, Square("mean", half=True), 3.0),
    ("one layer", Dense((3, 1)), Exponential("mean"), 0.05),
)
FLAT = ("origin, no decay", LINEAR, Square("mean", half=True), 0.0)
FULL = (
    ("smooth ReLU", Dense((2, 2, 1), smooth_relu(0.5)), Square("mean", half=True), 0.05),
    ("sigmoid, biases", Dense((2, 2, 1), "sigmoid", bias=True), Square("mean", half=True), 0.02),
    ("tanh, 3 layers", Dense((2, 2, 2, 1), "tanh"), Exponential("mean"), 0.02),
    ("origin, GELU", Dense((3, 2, 1), "gelu"), Logistic("mean"), 0.4),
    ("deep linear, 3 layers", Dense.deep_linear((2, 1, 1, 1)), Logistic("mean"), 0.02),
)
EXAMPLES = 8


def _problem(random, network, loss):
    """Normal inputs, and labels (or targets) that follow a plane with a tenth of noise; no decay."""
    size = network.input_shape[0]
    inputs = random.standard_normal((EXAMPLES, size))
    targets = inputs @ np.linspace(1.0, 0.5, size) + 0.3 * random.standard_normal(EXAMPLES)
    signs = np.where(targets > 0.0, 1.0, -1.0)
    return Problem(network, loss, Data(inputs, signs if loss.labels == "sign" else targets[:, None]))


def cases(key, *, plans, draws):
    """Minima and origins of each plan in turn."""
    random = generator(key)
    for draw in range(1, draws + 1):
        for name, network, loss, decay in (*plans, FLAT) if draw == 1 else plans:
            problem, end = _problem(random, network, loss), np.zeros(1)
            start, at_origin = random.standard_normal(problem.size), name.startswith("origin")
            if at_origin:
                end = 0.0 * start
                decay *= float(np.max(np.asarray(linearise(problem, problem.unravel(end)).values)))
            problem = Problem(network, loss, problem.data, decay)
            end = end if at_origin else descend(problem, start)
            facts = {"net": name, "loss": type(loss).__name__, "draw": draw}
            yield solved(problem, facts, AT_SADDLES if at_origin else FINE, final_weights=end)


STUDY = study(
    "notes.hartman-grobman",
    HartmanGrobman,
    cases,
    quick={"plans": QUICK, "draws": 2},
    full={"plans": QUICK + FULL, "draws": 5},
    few={"plans": QUICK[2:4], "draws": 1},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "commutes",
            "identity",
            "defect of $h$",
            "defect of the identity",
            by=("kind",),
            log="xy",
            reference={"tolerance": 1e-6},
        ),
        Panel(
            "distortion",
            "condition",
            "largest $|h(x)-x|/|x|$",
            r"$|\lambda|_{max}/|\lambda|_{min}$",
            by=("kind",),
            log="xy",
        ),
        caption="Left: how far the flow is from its linearisation on the samples (identity in place of h), and what is "
        "left of it with the conjugacy. Right: how far h moves points of its ball, and the condition of the Hessian.",
    ),
)
