"""Conjugacy of a gradient flow to its linearisation at a hyperbolic equilibrium (Hartman–Grobman), built numerically.

Notation: x is the displacement from the equilibrium in the basis of the eigenvectors of H, so that dx/dt = −Λx + N(x).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp

from gradlab.analysis.linearisation import linearise
from gradlab.problem.compiling import FULLY, on_cpu
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: An eigenvalue counts as zero below this many P·eps·‖H‖: rounding of eigh (one) and of the Hessian's own sums.
ZERO = 1e3
#: Relative tolerance of the solves, and of the coarse repetition that makes the error bars.
FINE, COARSE = 1e-12, 1e-10
#: What is left of λ_min|x|² in the transversality ⟨x, ∇L⟩ ≥ MARGIN · λ_min|x|² on every sampled point of the ball.
MARGIN = 0.5
#: Lipschitz constant of the cut-off nonlinearity at a saddle over min|λ|; below 1/√2 the map is a homeomorphism.
CONTRACTION = 0.5
#: Evaluations of the gradient of a batch after which a solve is given up.
EVALUATIONS = 60_000
NEWTON, NEWTON_SHIFT = 20, 1e-3
DIRECTIONS, RADII = 32, 24
#: Samples of a sphere that are turned to where ⟨x, ∇L⟩ falls, and how often.
TURNED, TURNS = 8, 30
#: Rows that a compiled program takes: the least that is enough, or several times the most.
BATCHES = (4, 48, 288)
#: Parts of a saddle's longest orbit, after each of which it is seen whether all samples have left the cut-off.
PIECES = 16

Kind = Literal["sink", "source", "saddle"]


class Defect(NamedTuple):
    """A largest relative deviation over samples, with its numerical error (NaN where a solve failed)."""

    value: float
    error: float


class _GaveUp(RuntimeError):
    """A solve took too many evaluations."""


def _gradients(structure: Any, leaves: Any, vectors: Any) -> Any:
    problem = jax.tree.unflatten(structure, leaves)
    return jax.vmap(lambda vector: problem.ravel(problem.gradient(problem.unravel(vector))))(vectors)


def _hessians(structure: Any, leaves: Any, vectors: Any) -> Any:
    problem = jax.tree.unflatten(structure, leaves)
    return jax.lax.map(lambda vector: problem.hessian(problem.unravel(vector)), vectors)


def _on_device(leaves: list[Any]) -> list[Any]:
    return [jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]


def _collecting(structure: Any, leaves: Any, state: Any) -> Any:
    """d/dt of (x, what is collected along the orbit, t) at a saddle, rows of ``state``."""
    problem, centre, vectors, values, radius, direction, mine = jax.tree.unflatten(structure, leaves)
    here, time, outer = state[:, : values.size], state[:, -1:], 2.0 * radius
    distance = jnp.linalg.norm(here, axis=1, keepdims=True)
    # evaluated on no point beyond the cut-off, where the gradient may be anything
    seen = jnp.where(distance < outer, here, 0.0)
    slope = jax.vmap(lambda x: problem.ravel(problem.gradient(problem.unravel(centre + vectors @ x))))(seen)
    bent = _fade(distance, radius, outer) * (values * seen - slope @ vectors)
    # beyond the cut-off nothing is left to collect, and an orbit that left does not come back
    slow = direction * _fade(distance, outer, 2.0 * outer)
    collected = jnp.where(mine, jnp.exp(values * time * mine) * bent, 0.0)
    return slow * jnp.concatenate([bent - values * here, collected, jnp.ones_like(time)], axis=1)


@functools.cache
def _compiled(function: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    # jit itself, and fully: a solve makes thousands of small calls
    return jax.jit(function, static_argnums=0, compiler_options=FULLY if on_cpu() else None)


def _batched(
    function: Callable[[Any, Any, Any], Any], structure: Any, leaves: Any, rows: np.ndarray
) -> np.ndarray:
    """The function on any number of rows: at most three compiled programs for all problems of one shape."""
    batch = next((size for size in BATCHES if size >= len(rows)), BATCHES[-1])
    short = -len(rows) % batch
    padded = np.concatenate([rows, np.repeat(rows[-1:], short, axis=0)]) if short else rows
    parts = padded.reshape(-1, batch, rows.shape[1])
    found = [np.asarray(_compiled(function)(structure, leaves, part)) for part in parts]
    return np.concatenate(found)[: len(rows)] if len(found) > 1 else found[0][: len(rows)]


@dataclass(frozen=True)
class Conjugacy:
    """A homeomorphism h with h(φ_t(W)) = e^{−Ht} h(W) on a ball around W*, h(W*) = 0.

    At a sink or a source every orbit of either flow crosses the sphere |x| = r once: h carries orbits to orbits and
    is the identity on the sphere, h(φ_{−τ}(s)) = e^{Hτ}s. At a saddle N is cut off, N̂(x) = χ(|x|/R) N(x) with χ = 1
    on the ball r = R/2, and h = id + v with v bounded, which makes it unique:
    v_i(x) = ∫_0^∞ e^{λ_i s} N̂_i(φ_s(x)) ds for λ_i < 0, −∫_{−∞}^0 e^{λ_i s} N̂_i(φ_s(x)) ds for λ_i > 0 (Hartman 1960;
    Pugh 1969). h is Hölder continuous, in general not differentiable.

    centre : W*, after Newton steps; moved : how far from the weights that were given.
    values, vectors : of H. radius : of the ball; 0 where no ball passed.
    margin : the smallest ⟨x, ∇L⟩/λ|x|² (sink, source), or 1 − √2 Lip N̂/min|λ| (saddle), on samples of the ball.
    """

    problem: Problem
    centre: Float[np.ndarray, " P"]
    values: Float[np.ndarray, " P"]
    vectors: Float[np.ndarray, "P P"]
    kind: Kind
    radius: float
    margin: float
    moved: float

    # The two coordinates ---------------------------------------------------------------------------------

    def displacement(self, points: Float[np.ndarray, "B P"]) -> Float[np.ndarray, "B P"]:
        """x of weight vectors."""
        return (np.atleast_2d(points) - self.centre) @ self.vectors

    def weights(self, x: Float[np.ndarray, "B P"]) -> Float[np.ndarray, "B P"]:
        """Weight vectors of displacements x."""
        return self.centre + x @ self.vectors.T

    def _slope(self, x: np.ndarray) -> np.ndarray:
        """∇L in the basis of the eigenvectors; the linear flow is followed where Λx itself is the answer."""
        return _batched(_gradients, *self._flat, self.weights(x)) @ self.vectors

    @cached_property
    def _flat(self) -> tuple[Any, Any]:
        """The problem, taken apart once."""
        leaves, structure = jax.tree.flatten(self.problem)
        return structure, _on_device(leaves)

    @property
    def drift(self) -> float:
        """At a saddle, a bound of |h(x) − x|: √2 sup|N̂|/min|λ|, N̂ bounded by its Lipschitz constant times 2r."""
        return 2.0 * (1.0 - self.margin) * self.radius

    @cached_property
    def steepest(self) -> float:
        """The largest |∇L|/|x| on samples of the ball, which bounds local rates."""
        x = self.samples(DIRECTIONS * 8, 1.0)
        x = np.concatenate(
            [x, self.radius * np.eye(self.values.size), -self.radius * np.eye(self.values.size)]
        )
        with np.errstate(all="ignore"):
            found = np.linalg.norm(self._slope(x), axis=1) / np.linalg.norm(x, axis=1)
        return float(np.max(np.where(np.isfinite(found), found, np.inf)))

    # The map and its inverse -------------------------------------------------------------------------------

    @float64
    def __call__(self, points: Float[np.ndarray, "B P"], tolerance: float = FINE) -> Float[np.ndarray, "B P"]:
        """h of weight vectors, a displacement in the coordinates of the weights; NaN outside of the ball."""
        return self.image(self.displacement(points), tolerance) @ self.vectors.T

    @float64
    def image(self, x: Float[np.ndarray, "B P"], tolerance: float = FINE) -> Float[np.ndarray, "B P"]:
        """h in the basis of the eigenvectors, from and to displacements."""
        if self.radius == 0.0:
            return np.full_like(x, np.nan)
        size = np.linalg.norm(x, axis=1)
        inside, still = size <= self.radius * (1.0 + 1e-9), size == 0.0
        seen = np.where((inside & ~still)[:, None], x, 0.5 * self.radius / np.sqrt(x.shape[1]))
        found = (
            self._through_sphere(seen, tolerance) if self.kind != "saddle" else self._bounded(seen, tolerance)
        )
        return np.where(still[:, None], 0.0, np.where(inside[:, None], found, np.nan))

    def _through_sphere(self, x: np.ndarray, tolerance: float) -> np.ndarray:
        # log|x| is the time: all orbits reach the sphere together
        way = np.log(self.radius) - np.log(np.linalg.norm(x, axis=1))

        def rate(state: np.ndarray) -> np.ndarray:
            here, slope = state[:, :-1], self._slope(state[:, :-1])
            speed = -way * np.sum(here**2, axis=1) / np.sum(here * slope, axis=1)
            return np.concatenate([-slope, np.ones((len(here), 1))], axis=1) * speed[:, None]

        begin = np.concatenate([x, np.zeros((len(x), 1))], axis=1)
        end = _solve(rate, begin, 1.0, tolerance, self._scale(x))
        return end[:, :-1] * np.exp(self.values * end[:, -1:])

    def _bounded(self, x: np.ndarray, tolerance: float) -> np.ndarray:
        slowest = float(np.min(np.abs(self.values)))
        # what comes later is below the tolerance
        span, outer = -np.log(tolerance) / slowest, 2.0 * self.radius
        size, shift = x.shape[1], np.zeros_like(x)
        for direction, stable in ((1.0, False), (-1.0, True)):
            mine = (self.values > 0.0) == stable

            frame = (
                self.centre,
                self.vectors,
                self.values,
                np.asarray(self.radius),
                np.asarray(direction),
                mine,
            )
            leaves, structure = jax.tree.flatten((self.problem, *frame))
            rate = functools.partial(_batched, _collecting, structure, _on_device(leaves))
            state = np.concatenate([x, np.zeros((len(x), size + 1))], axis=1)
            for _ in range(PIECES):
                state = _solve(rate, state, span / PIECES, tolerance, self._scale(x))
                if not np.isfinite(state).all() or (np.linalg.norm(state[:, :size], axis=1) >= outer).all():
                    break
            shift += state[:, size:-1]
        return x + shift

    @float64
    def inverse(self, images: Float[np.ndarray, "B P"], tolerance: float = FINE) -> Float[np.ndarray, "B P"]:
        """Weight vectors W with h(W) = U, at a sink or a source.

        Raises
        ------
        ValueError
            At a saddle, where the inverse is no closed expression along an orbit.
        """
        return self.weights(self.preimage(np.atleast_2d(images) @ self.vectors, tolerance))

    @float64
    def preimage(self, u: Float[np.ndarray, "B P"], tolerance: float = FINE) -> Float[np.ndarray, "B P"]:
        """The inverse of :meth:`image`."""
        if self.kind == "saddle":
            raise ValueError("the inverse is built at sinks and sources; at a saddle solve h(W) = U for W")
        times = _crossing(self.values, u, self.radius)
        sphere = u * np.exp(-self.values * times[:, None])

        def rate(state: np.ndarray) -> np.ndarray:
            return times[:, None] * self._slope(state)

        return _solve(rate, sphere, 1.0, tolerance, self._scale(u))

    # The flow, and what is to be conjugate -----------------------------------------------------------------

    @float64
    def flow(
        self, x: Float[np.ndarray, "B P"], times: Any, tolerance: float = FINE
    ) -> Float[np.ndarray, "B P"]:
        """φ_t(x) for displacements; ``times`` is one number or one a sample, of any sign."""
        each = np.broadcast_to(np.asarray(times, dtype=np.float64), (len(x),))
        return _solve(lambda state: -each[:, None] * self._slope(state), x, 1.0, tolerance, self._scale(x))

    def samples(self, count: int, reach: float = 0.9, seed: int = 0) -> Float[np.ndarray, "count P"]:
        """Displacements in random directions, at radii between a tenth of and ``reach`` times the ball's."""
        random = np.random.default_rng(seed)
        directions = random.standard_normal((count, self.values.size))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return self.radius * reach * np.geomspace(0.1, 1.0, count)[:, None] * directions

    @float64
    def defect(self, x: Float[np.ndarray, "B P"], times: Any) -> Defect:
        """max ‖h(φ_t(x)) − e^{−Ht}h(x)‖/‖e^{−Ht}h(x)‖ over samples and times, its error from a coarser repetition.

        Orbits that have left the ball by the time t (at a saddle) do not count; with none left the value is NaN.
        """
        if self.radius == 0.0:
            return Defect(np.nan, np.nan)
        fine, size, kept = self._mismatch(x, times, FINE)
        coarse, _, _ = self._mismatch(x, times, COARSE)
        if not kept.any():
            return Defect(np.nan, np.nan)
        number = np.linalg.norm(fine, axis=1)[kept] / size[kept]
        bar = np.linalg.norm(fine - coarse, axis=1)[kept] / size[kept]
        return Defect(float(np.max(number)), float(np.max(bar)))

    def _mismatch(
        self, x: np.ndarray, times: Any, tolerance: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        each = np.atleast_1d(np.asarray(times, dtype=np.float64))
        # a saddle's orbit may leave the ball and enter again: it is asked at quarters of the time too
        shares = np.asarray([1.0] if self.kind != "saddle" else [0.25, 0.5, 0.75, 1.0])
        when = np.repeat(np.outer(shares, each), len(x))
        steps = self.flow(np.tile(x, (shares.size * each.size, 1)), when, tolerance)
        steps = steps.reshape(shares.size, each.size * len(x), -1)
        kept = np.all(np.linalg.norm(steps, axis=2) <= self.radius, axis=0)
        images = self.image(np.concatenate([x, steps[-1]]), tolerance).reshape(len(each) + 1, *x.shape)
        linear = images[0] * np.exp(-self.values * each[:, None])[:, None, :]
        gap = (images[1:] - linear).reshape(-1, x.shape[1])
        return gap, np.linalg.norm(linear, axis=2).ravel(), kept

    def _scale(self, x: np.ndarray) -> float:
        """The least |x|, to which tolerances are relative, but not below what rounding of W* and of ∇L there leaves."""
        rounding = float(np.finfo(np.float64).eps) * max(1.0, float(np.linalg.norm(self.centre))) / FINE
        return max(float(np.min(np.linalg.norm(x, axis=1), initial=self.radius)), rounding)


# Building ----------------------------------------------------------------------------------------------------


@float64
def conjugacy(problem: Problem, weights: Any, radius: float | None = None) -> Conjugacy:
    """This conjugates the gradient flow to dU/dt = −HU at a hyperbolic equilibrium, on the largest ball that passes.

    At sinks and sources a ball passes where ⟨x, ∇L⟩ keeps half of its linear bound λ_min|x|² on samples of all
    smaller spheres (both flows are transversal); at saddles where the Lipschitz constant of N̂, from Hessians at the
    samples, is below half of min|λ| (contraction, with √2 to spare). Samples are eigenvectors and random directions,
    the worst ones of transversality improved by descent on their spheres; so the domain is measured, not
    proved. That ∇L is C¹ in the ball is assumed.

    Parameters
    ----------
    weights : near the equilibrium; at most twenty Newton steps take it there.
    radius : a smaller ball; the largest unless given.

    Raises
    ------
    ValueError
        Where an eigenvalue of H is zero to rounding (the theorem does not apply), or the weights are no equilibrium.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> map_ = gl.equilibria.conjugacy(problem, (np.array([[3.0]]),))
    >>> map_.kind, bool(map_.radius > 0.0)
    ('sink', True)
    """
    first = linearise(problem, weights)
    begin = np.asarray(first.centre)
    values, vectors = np.asarray(first.values), np.asarray(first.vectors)
    _refuse_degenerate(values)
    centre, step = begin, np.asarray(first.drift)
    for _ in range(NEWTON):
        shift = vectors @ (step / values)
        if not np.isfinite(shift).all():
            break
        centre = centre - shift
        linear = linearise(problem, problem.unravel(centre))
        values, vectors, step = (np.asarray(part) for part in (linear.values, linear.vectors, linear.drift))
        if np.linalg.norm(shift) <= 1e-14 * max(1.0, float(np.linalg.norm(centre))):
            break
    moved = float(np.linalg.norm(centre - begin))
    if not moved <= NEWTON_SHIFT * max(1.0, float(np.linalg.norm(begin))):
        raise ValueError(
            f"the weights are no equilibrium: Newton's steps go {moved:.1e} away from them; polish them first, e.g. "
            "by analysis.equilibria.polishing.polish(problem, weights)"
        )
    _refuse_degenerate(values)
    kind: Kind = "sink" if values[0] > 0.0 else "source" if values[-1] < 0.0 else "saddle"
    blank = Conjugacy(problem, centre, values, vectors, kind, 1.0, 0.0, moved)
    found, margin = _domain(blank, radius)
    return Conjugacy(problem, centre, values, vectors, kind, found, margin, moved)


def hyperbolicity(values: Float[np.ndarray, " P"]) -> tuple[float, float]:
    """min|λ|, and the size below which an eigenvalue of this Hessian cannot be told from zero."""
    size = np.abs(values)
    return float(size.min()), ZERO * values.size * float(np.finfo(np.float64).eps) * float(size.max())


def _refuse_degenerate(values: np.ndarray) -> None:
    least, zero = hyperbolicity(values)
    if not least > zero:
        degenerate = int(np.sum(np.abs(values) <= zero))
        raise ValueError(
            f"the equilibrium is not hyperbolic: {degenerate} of {values.size} eigenvalues are zero to rounding "
            f"(|λ| ≤ {zero:.1e}), and Hartman–Grobman does not apply; add weight decay, or remove the symmetry "
            "or the redundant weights"
        )


def _domain(blank: Conjugacy, asked: float | None) -> tuple[float, float]:
    """The largest radius of a grid whose smaller radii all pass, and the margin there; (0, margin) if none does."""
    size = blank.values.size
    random = np.random.default_rng(20).standard_normal((DIRECTIONS, size))
    axes = np.concatenate(
        [np.eye(size), -np.eye(size), random / np.linalg.norm(random, axis=1, keepdims=True)]
    )
    largest = 4.0 * max(1.0, float(np.linalg.norm(blank.centre))) if asked is None else asked
    radii = largest * np.geomspace(1e-4 if asked is None else 1e-2, 1.0, RADII)
    grid = (radii[:, None, None] * axes).reshape(-1, size)
    margins = _transversal(blank, grid, radii) if blank.kind != "saddle" else _contracting(blank, grid, radii)
    threshold = MARGIN if blank.kind != "saddle" else 1.0 - np.sqrt(2.0) * CONTRACTION
    passed = np.logical_and.accumulate(margins >= threshold)
    last = int(passed.sum()) - 1
    if last < 0:
        return 0.0, float(margins[0])
    reach = radii[last] if blank.kind != "saddle" else 0.5 * radii[last]
    return float(reach), float(margins[last])


def _transversal(blank: Conjugacy, grid: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """The least ⟨x, ∇L⟩/λ|x|² at every radius: of the samples, and of the worst of them turned to where it falls."""
    least = np.min(np.abs(blank.values)) * np.sign(blank.values[0])

    def share(x: np.ndarray) -> np.ndarray:
        found = np.sum(x * blank._slope(x), axis=1) / (least * np.sum(x**2, axis=1))
        return np.where(np.isfinite(found), found, -np.inf)

    with np.errstate(all="ignore"):
        seen = share(grid).reshape(radii.size, -1)
        few = np.argsort(seen, axis=1)[:, :TURNED]
        x = np.take_along_axis(grid.reshape(radii.size, -1, grid.shape[1]), few[:, :, None], axis=1)
        x, angle = x.reshape(-1, grid.shape[1]), np.full((few.size, 1), 0.3)
        length, lowest = np.linalg.norm(x, axis=1, keepdims=True), share(x)
        for _ in range(TURNS):
            # the gradient of ⟨x, ∇L⟩ is ∇L + Hx, and Hx the change of ∇L along x
            rise = blank._slope(x) + (blank._slope(1.001 * x) - blank._slope(0.999 * x)) / 0.002
            across = (rise - x * np.sum(rise * x, axis=1, keepdims=True) / length**2) * np.sign(least)
            turned = x / length - angle * across / np.linalg.norm(across, axis=1, keepdims=True)
            turned *= length / np.linalg.norm(turned, axis=1, keepdims=True)
            there = share(np.where(np.isfinite(turned), turned, x))
            lower = (there < lowest)[:, None]
            x, lowest = np.where(lower, turned, x), np.minimum(there, lowest)
            angle = np.where(lower, 1.5 * angle, 0.4 * angle)
    worst = np.minimum(seen.min(axis=1), lowest.reshape(radii.size, -1).min(axis=1))
    return np.minimum.accumulate(worst)


def _contracting(blank: Conjugacy, grid: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """1 − √2 Lip(N̂)/min|λ| for the cut-off at every radius R of the grid."""
    with np.errstate(all="ignore"):
        bends = _batched(_hessians, *blank._flat, blank.weights(grid))
        bends = blank.vectors.T @ bends @ blank.vectors - np.diag(blank.values)
        bent = np.linalg.norm(blank.values * grid - blank._slope(grid), axis=1)
        finite = np.isfinite(bends).all(axis=(1, 2))
        steep = np.where(
            finite, np.linalg.norm(np.where(finite[:, None, None], bends, 0.0), 2, axis=(1, 2)), np.inf
        )
    steep = np.max(steep.reshape(radii.size, -1), axis=1)
    bent = np.max(np.where(np.isfinite(bent), bent, np.inf).reshape(radii.size, -1), axis=1)
    found = []
    for outer in radii:
        inside = radii <= outer
        fade, slope = _fade(radii[inside], 0.5 * outer, outer), _fade_slope(radii[inside], 0.5 * outer, outer)
        found.append(np.max(fade * steep[inside] + slope * bent[inside]))
    return 1.0 - np.sqrt(2.0) * np.asarray(found) / np.min(np.abs(blank.values))


def _fade(distance: Any, inner: float, outer: float) -> Any:
    """1 up to ``inner``, 0 from ``outer`` on, and a polynomial with four continuous derivatives between."""
    s = ((distance - inner) / (outer - inner)).clip(0.0, 1.0)
    return 1.0 - s**5 * (126.0 + s * (-420.0 + s * (540.0 + s * (-315.0 + 70.0 * s))))


def _fade_slope(distance: Any, inner: float, outer: float) -> Any:
    s = np.clip((distance - inner) / (outer - inner), 0.0, 1.0)
    return 630.0 * (s * (1.0 - s)) ** 4 / (outer - inner)


def _crossing(values: np.ndarray, u: np.ndarray, radius: float) -> np.ndarray:
    """t with |e^{−Λt}u| = r, by Newton's steps on log|e^{−Λt}u|, convex and monotone in t, without overflow."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(u))
    times = np.zeros(len(u))
    for _ in range(60):
        grown = logs - values * times[:, None]
        largest = np.max(grown, axis=1)
        share = np.exp(2.0 * (grown - largest[:, None]))
        total = np.sum(share, axis=1)
        slope = -np.sum(values * share, axis=1) / total
        times = times - (largest + 0.5 * np.log(total) - np.log(radius)) / slope
    return times


def _solve(
    rate: Callable[[np.ndarray], np.ndarray], begin: np.ndarray, span: float, tolerance: float, scale: float
) -> np.ndarray:
    """The batch at the end of the span (dopri8, one step size for all); NaN where the solve fails."""
    count = 0

    def flat(_: float, state: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        if count > EVALUATIONS:
            raise _GaveUp
        return rate(state.reshape(begin.shape)).ravel()

    try:
        with np.errstate(all="ignore"):
            found = solve_ivp(
                flat,
                (0.0, span),
                begin.ravel(),
                "DOP853",
                t_eval=[span],
                rtol=tolerance,
                atol=tolerance * scale,
            )
    except (_GaveUp, ValueError):
        return np.full_like(begin, np.nan)
    return found.y[:, -1].reshape(begin.shape) if found.success else np.full_like(begin, np.nan)
