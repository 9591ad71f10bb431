"""Stabilised explicit methods as diffrax solvers: stages follow from a running estimate of the spectral radius."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.solvers.counting import Estimate
from gradlab.dynamics.solvers.loops import bounds, loop
from gradlab.dynamics.solvers.terms import aside, field_of, refuse_terms, refuse_values
from gradlab.dynamics.tree import Anywhere
from gradlab.modules import Module
from gradlab.problem.precision import kept, put

#: Hessian-vector products at a cold start, at a refresh (even numbers), and accepted steps between refreshes.
COLD, WARM, EVERY = 6, 2, 10
#: The estimate comes from below; the stages serve this multiple of it.
MARGIN = 1.1
#: The part of the radius that products may be off by, where they are differences.
WITHIN = 1e-2
#: A spectrum that is not real and negative matters from h ρ = SMALL on: below, an explicit method of two stages would
#: do. There modes may lie off the axis by STRIP · s (docs/notes/mrkc.md derives it), and grow by e^SMALL in a step.
SMALL, STRIP = 2.0, 0.1


class Spectrum(Module):
    """A running estimate of ρ(J), J the Jacobian of the field, with a kept vector.

    vector : the kept vector, of norm one. radius : the largest ‖J v‖ seen at the last products, a lower bound for
    symmetric J.
    age : steps since; negative where nothing is known yet.
    """

    vector: Any
    radius: Float[Anywhere, ""]
    age: Int[Anywhere, ""]


def unknown(y: Any) -> Spectrum:
    """Nothing known yet: a fixed vector with components along everything generic."""
    leaves, structure = jax.tree.flatten(y)
    return Spectrum(jax.tree.unflatten(structure, waves(leaves)), put(0.0), put(np.int64(-1)))


def waves(leaves: list[Any]) -> list[Any]:
    """A unit vector in arrays like those; the same ones whenever it is asked for."""
    sizes = [(np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]

    def made() -> list[Any]:
        parts = [np.cos(1.0 + np.arange(math.prod(shape))).reshape(shape) for shape, _ in sizes]
        size = np.sqrt(sum(np.sum(part**2) for part in parts)) or 1.0
        return [put(part / size, kind) for part, (_, kind) in zip(parts, sizes, strict=True)]

    return kept(("waves", *sizes), sum(math.prod(shape) for shape, _ in sizes), made)


class Kind(Module):
    """What the last products say of the spectrum's kind, by the Ritz values of J on the two vectors of a pair.

    twist : the imaginary part of a complex pair. rise : the positive real part of the right one. Both are 0 where the
    spectrum is real and negative.
    """

    twist: Float[Array, ""]
    rise: Float[Array, ""]


def _unit(vector: Any) -> Any:
    size = tree.norm(vector)
    return tree.scale(1.0 / tree.select(size > 0.0, size, 1.0), vector)


def refresh(
    field: Callable[[Any], Any],
    y: Any,
    spectrum: Spectrum,
    cold: Any = COLD,
    warm: Any = WARM,
    seed: Any = None,
) -> tuple[Spectrum, Int[Anywhere, ""]]:
    """The estimate a step later, and the Hessian-vector products it took (each counts two evaluations).

    ``cold`` products where nothing is known, ``warm`` where the last are EVERY steps old, none in between, by exact
    derivatives (``jax.jvp``), no differences. Two at a time: J v, of the kept vector, and J q, q along the sum of v's
    residual and the seed; the next vector is what J makes of the unit vector in span(v, q) that it lengthens most.

    seed : where to look besides, e.g. the last step's error estimate, zero for nowhere. An eigenvalue that overtakes
    the kept vector's is found late by powers alone, but a component damped too little shows in the error.
    """
    after, _, count = look(field, y, spectrum, cold, warm, seed)
    return after, count


def look(
    field: Callable[[Any], Any],
    y: Any,
    spectrum: Spectrum,
    cold: Any = COLD,
    warm: Any = WARM,
    seed: Any = None,
    kind: Kind | None = None,
) -> tuple[Spectrum, Kind | None, Int[Anywhere, ""]]:
    """As :func:`refresh`, and what the products say of the spectrum's kind, where what is known of it is given."""
    count = tree.select(spectrum.age < 0, cold, tree.select(spectrum.age >= EVERY, warm, 0))

    def product(i: Any, carry: Any) -> Any:
        # One product a pass, the first or the second of a pair: one copy of the field's derivative is compiled.
        vector, radius, asked, before, seen = carry
        image = jax.jvp(field, (y,), (asked,))[1]
        beside = _unit(_orthogonal(image, vector))
        if seed is not None:
            beside = tree.add(beside, tree.scale(tree.select(i == 0, 1.0, 0.0), _unit(seed)))
        longest, size = lengthened(vector, before, image)
        found = None if kind is None else _ritz(vector, asked, before, image)
        second = i % 2 == 1
        return (
            tree.where(second, longest, vector),
            tree.select(second, size, radius),
            tree.where(second, longest, _unit(_orthogonal(beside, vector))),
            image,
            tree.where(second, found, seen),
        )

    # A branch, and not just a loop of no passes: what does not change in the loop, the orbit's own forward pass, is
    # moved out before it by the compiler, and would be paid for at every step.
    known = (spectrum.vector, spectrum.radius, kind)
    begun = (*known[:2], spectrum.vector, spectrum.vector, kind)

    def looked() -> Any:
        vector, radius, _, _, seen = jax.lax.fori_loop(*bounds(0, count), product, begun)
        return vector, radius, seen

    vector, radius, kind = jax.lax.cond(count > 0, looked, lambda: known)
    radius = tree.select(jnp.isfinite(radius), radius, spectrum.radius)
    age = tree.select(count > 0, 0, spectrum.age) + 1
    return Spectrum(vector, radius, age.astype(spectrum.age.dtype)), kind, count


def lengthened(vector: Any, image: Any, other: Any) -> tuple[Any, Any]:
    """What J makes of the unit vector in span(v, q) that it lengthens most, as a unit vector, and its length.

    image, other : J v and J q. The vector itself where that is nothing, or not finite.
    """
    # The leading eigenvector of the Gram matrix of the two images.
    a, b, c = tree.inner(image, image), tree.inner(image, other), tree.inner(other, other)
    xp = tree.library(a)
    angle = 0.5 * xp.arctan2(2.0 * b, a - c)
    longest = tree.add(tree.scale(xp.cos(angle), image), tree.scale(xp.sin(angle), other))
    size = tree.norm(longest)
    good = xp.isfinite(size) & (size > 0.0)
    return tree.where(good, tree.scale(1.0 / tree.where(good, size, 1.0), longest), vector), size


def _orthogonal(a: Any, unit: Any) -> Any:
    """a − ⟨a, u⟩ u."""
    along = tree.inner(a, unit)
    return jax.tree.map(lambda x, u: x - tree.like(along, u) * u, a, unit)


def _ritz(v: Any, q: Any, image: Any, other: Any) -> Kind:
    """From the eigenvalues of (v q)ᵀ J (v q), v and q orthonormal."""
    a, d = tree.inner(v, image), tree.inner(q, other)
    product = tree.inner(v, other) * tree.inner(q, image)
    square = 0.25 * (a - d) ** 2 + product
    right = 0.5 * (a + d) + jnp.sqrt(jnp.maximum(square, 0.0))
    return Kind(jnp.sqrt(jnp.maximum(-square, 0.0)), jnp.maximum(right, 0.0))


class Stage(Module):
    """What a stabilised method carries between steps: f at the present point, the spectrum, evaluations so far.

    error : the estimate of the last attempt. past : earlier points, of a multistep method. kind : the spectrum's, where
    it is watched. evaluations : of the steps that led here; rejected attempts are in :func:`counted`'s number.
    """

    slope: Any
    spectrum: Spectrum
    evaluations: Int[Array, ""]
    error: Any
    past: Any = None
    kind: Kind | None = None


class Stabilised(diffrax.AbstractAdaptiveSolver):
    """Abstract: an explicit Runge–Kutta method whose stability interval on the negative axis grows like s².

    For one ``ODETerm`` whose Jacobian has real spectrum, mostly negative: gradient flows and parabolic equations. What
    the Hessian-vector products show of another spectrum is watched: a step on which it would matter has an infinite
    error, so that a controller shortens it, and with constant steps the solve ends with
    ``RESULTS.nonlinear_divergence``; numbers that are not finite end it with ``RESULTS.nonfinite``. Any pytree of
    real y (single or double precision), any step size controller, adjoint and ``SaveAt``, time in either direction.

    Parameters
    ----------
    counted : whether the error estimate carries the attempt's evaluations, for :func:`counted`, which sets it.
    bare : as gradlab's own loop steps it: no watch over the spectrum's kind, and loops without reverse mode.
    """

    counted: bool = eqx.field(static=True, default=False, kw_only=True)
    bare: bool = eqx.field(static=True, default=False, kw_only=True)

    #: The method's order, and that of its error estimate in h.
    accuracy: ClassVar[int]
    estimated: ClassVar[int]

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = diffrax.ThirdOrderHermitePolynomialInterpolation

    @abc.abstractmethod
    def stages(self, z: Float[Array, ""]) -> Int[Anywhere, ""]:
        """Stages needed for h ρ = z, at most what :meth:`stretch` spends them on."""

    @abc.abstractmethod
    def stretch(
        self, field: Callable[[Any, Any], Any], t: Any, y: Any, h: Any, slope: Any, z: Any
    ) -> tuple[Any, Any, Any, Int[Anywhere, ""]]:
        """(y at t + h, its estimated error, the field there, evaluations) for a spectrum within [−z/h, 0]."""

    @property
    def looped(self) -> Callable[..., Any]:
        """The loop over stages, as ``jax.lax.fori_loop``."""
        return jax.lax.fori_loop if self.bare else loop

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, memory: Any = None) -> Stage:
        """``memory``, from :meth:`remembered`, takes up what an earlier solve learnt."""
        refuse_terms(type(self).__name__, terms)
        refuse_values(type(self).__name__, y0)
        spectrum = unknown(y0) if memory is None else memory
        slope = field_of(terms, args, t0)(t0, y0)
        kind = None if self.bare else Kind(jnp.zeros(()), jnp.zeros(()))
        return Stage(slope, spectrum, jnp.asarray(1, dtype=int), tree.scale(0.0, slope), kind=kind)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Stage, made_jump: Any
    ) -> tuple[Any, Any, Any, Stage, Any]:
        """One step of as many stages as h ρ asks for."""
        slope, past = solver_state.slope, solver_state.past
        field, t, h = field_of(terms, args, t0), tree.wide(t0), tree.wide(t1) - tree.wide(t0)
        if made_jump is not False:
            slope = jax.lax.cond(made_jump, lambda: field(t0, y0), lambda: slope)
            past = self.forgotten(past, made_jump)
        past = self.recalling(past, t)
        spectrum, kind, products = self._looked(lambda y: field(t0, y), y0, solver_state)
        z = jax.lax.stop_gradient(MARGIN * jnp.abs(h) * spectrum.radius)
        y1, error, slope1, spent = self.stride(field, t, y0, h, slope, z, past)
        spent = spent + 2 * products
        info = self.dense(y0, y1, tree.scale(h, slope), tree.scale(h, slope1), t, h, past)
        # The seed of the next look, and no more.
        seen = error if self.bare else jax.lax.stop_gradient(error)
        after = Stage(
            slope1, spectrum, solver_state.evaluations + spent, seen, self.remembering(past, t, y0), kind
        )
        result = diffrax.RESULTS.successful
        if not self.bare:
            error, result = self._judged(y1, error, kind, h, z)
        return y1, Estimate(error, tree.wide(spent)) if self.counted else error, info, after, result

    def _looked(self, field: Any, y: Any, state: Stage) -> tuple[Spectrum, Kind | None, Int[Anywhere, ""]]:
        """The spectrum a step later, seen by no derivative: it decides how many stages, and nothing else."""
        if self.bare:
            return look(field, y, state.spectrum, seed=state.error)
        known = jax.lax.stop_gradient((state.spectrum, state.error, state.kind))
        return look(*aside(field, y), known[0], seed=known[1], kind=known[2])

    def _judged(self, y1: Any, error: Any, kind: Any, h: Any, z: Any) -> tuple[Any, Any]:
        """(error, result): infinite and a failure where the step was made beyond where the method is stable."""
        results = diffrax.RESULTS
        length = jnp.abs(h)
        strip = STRIP * tree.wide(self.stages(z))
        astray = (z > SMALL) & ((length * kind.twist > strip) | (length * kind.rise > SMALL))
        lost = ~tree.finite(y1)
        result = results.where(astray, results.nonlinear_divergence, results.successful)
        result = results.where(lost, results.nonfinite, result)
        return jax.tree.map(lambda e: tree.select(astray | lost, jnp.inf, e), error), result

    def dense(self, y0: Any, y1: Any, k0: Any, k1: Any, t: Any, h: Any, past: Any) -> dict[str, Any]:
        """What ``interpolation_cls`` takes: both ends and h times the slopes there."""
        return {"y0": y0, "y1": y1, "k0": k0, "k1": k1}

    def stride(
        self, field: Callable[[Any, Any], Any], t: Any, y: Any, h: Any, slope: Any, z: Any, past: Any
    ) -> tuple[Any, Any, Any, Int[Anywhere, ""]]:
        """As :meth:`stretch`, by a multistep method with the past."""
        return self.stretch(field, t, y, h, slope, z)

    def recalling(self, past: Any, t0: Any) -> Any:
        """The past of a multistep method as a step from t0 begins."""
        return past

    def remembering(self, past: Any, t0: Any, y0: Any) -> Any:
        """The past after a step from (t0, y0) that may yet be rejected."""
        return past

    def unremembering(self, past: Any) -> Any:
        """The past after a rejection."""
        return past

    def forgotten(self, past: Any, when: Any) -> Any:
        """No past, where ``when`` holds."""
        return past

    def after_rejection(self, before: Stage, after: Stage) -> Stage:
        """The state to try again from: what was learnt of the spectrum is kept, and doubted."""
        aged = eqx.tree_at(lambda s: s.age, after.spectrum, jnp.maximum(after.spectrum.age, EVERY))
        past = self.unremembering(after.past)
        return Stage(before.slope, aged, after.evaluations, after.error, past, after.kind)

    def memory(self, y: Any) -> Any:
        """What :meth:`init` takes, where nothing is known yet."""
        return unknown(y)

    def remembered(self, state: Stage) -> Any:
        """What a later :meth:`init` takes up."""
        return state.spectrum

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def error_order(self, terms: Any) -> int:
        """The order of the error estimate, and the first that diffrax asks: where other terms are refused."""
        refuse_terms(type(self).__name__, terms)
        return self.estimated

    def order(self, terms: Any) -> int:
        return self.accuracy
