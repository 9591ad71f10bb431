"""Stabilised explicit methods as diffrax solvers: stages follow from a running estimate of the spectral radius."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradlab.dynamics import tree
from gradlab.problem.precision import put

#: Hessian-vector products at a cold start, at a refresh (even numbers), and accepted steps between refreshes.
COLD, WARM, EVERY = 6, 2, 10
#: The estimate comes from below; the stages serve this multiple of it.
MARGIN = 1.1


class Spectrum(eqx.Module):
    """A running estimate of ρ(J), J the Jacobian of the field, with a kept vector.

    vector : the kept vector, of norm one. radius : the largest ‖J v‖ seen at the last products, a lower bound for
    symmetric J.
    age : steps since; negative where nothing is known yet.
    """

    vector: Any
    radius: Float[Array, ""]
    age: Int[Array, ""]


def unknown(y: Any) -> Spectrum:
    """Nothing known yet: a fixed vector with components along everything generic."""
    leaves, structure = jax.tree.flatten(y)
    waves = [np.cos(1.0 + np.arange(jnp.size(leaf))).reshape(jnp.shape(leaf)) for leaf in leaves]
    size = np.sqrt(sum(np.sum(wave**2) for wave in waves))
    vector = jax.tree.unflatten(structure, [put(wave / size) for wave in waves])
    return Spectrum(vector, put(0.0), put(np.int64(-1)))


def _unit(vector: Any) -> Any:
    size = tree.norm(vector)
    return tree.scale(1.0 / jnp.where(size > 0.0, size, 1.0), vector)


def refresh(
    field: Callable[[Any], Any],
    y: Any,
    spectrum: Spectrum,
    cold: Any = COLD,
    warm: Any = WARM,
    seed: Any = None,
) -> tuple[Spectrum, Int[Array, ""]]:
    """The estimate a step later, and the Hessian-vector products it took (each counts two evaluations).

    ``cold`` products where nothing is known, ``warm`` where the last are EVERY steps old, none in between, by exact
    derivatives (``jax.jvp``), no differences. Two at a time: J v, of the kept vector, and J q, q along the sum of v's
    residual and the seed; the next vector is what J makes of the unit vector in span(v, q) that it lengthens most.

    seed : where to look besides, e.g. the last step's error estimate, zero for nowhere. An eigenvalue that overtakes
    the kept vector's is found late by powers alone, but a component damped too little shows in the error.
    """
    count = jnp.where(spectrum.age < 0, cold, jnp.where(spectrum.age >= EVERY, warm, 0))

    def product(i: Any, carry: Any) -> Any:
        # One product a pass, the first or the second of a pair: one copy of the field's derivative is compiled.
        vector, radius, asked, before = carry
        image = jax.jvp(field, (y,), (asked,))[1]
        beside = _unit(_orthogonal(image, vector))
        if seed is not None:
            beside = tree.add(beside, tree.scale(jnp.where(i == 0, 1.0, 0.0), _unit(seed)))
        longest, size = paired(vector, before, image)
        second = i % 2 == 1
        return (
            tree.where(second, longest, vector),
            jnp.where(second, size, radius),
            tree.where(second, longest, _unit(_orthogonal(beside, vector))),
            image,
        )

    def paired(vector: Any, image: Any, other: Any) -> Any:
        # The leading eigenvector of the Gram matrix of the two images.
        a, b, c = tree.inner(image, image), tree.inner(image, other), tree.inner(other, other)
        angle = 0.5 * jnp.arctan2(2.0 * b, a - c)
        longest = jax.tree.map(lambda v, w: jnp.cos(angle) * v + jnp.sin(angle) * w, image, other)
        size = tree.norm(longest)
        good = jnp.isfinite(size) & (size > 0.0)
        return tree.where(good, tree.scale(1.0 / jnp.where(good, size, 1.0), longest), vector), size

    # A branch, and not just a loop of no passes: what does not change in the loop, the orbit's own forward pass, is
    # moved out before it by the compiler, and would be paid for at every step.
    known = (spectrum.vector, spectrum.radius)
    begun = (*known, spectrum.vector, spectrum.vector)
    vector, radius = jax.lax.cond(
        count > 0, lambda: jax.lax.fori_loop(0, count, product, begun)[:2], lambda: known
    )
    radius = jnp.where(jnp.isfinite(radius), radius, spectrum.radius)
    age = jnp.where(count > 0, 0, spectrum.age) + 1
    return Spectrum(vector, radius, age.astype(jnp.int64)), count


def _orthogonal(a: Any, unit: Any) -> Any:
    """a − ⟨a, u⟩ u."""
    along = tree.inner(a, unit)
    return jax.tree.map(lambda x, u: x - along * u, a, unit)


class Stage(eqx.Module):
    """What a stabilised method carries between steps: f at the present point, the spectrum, evaluations so far.

    error : the estimate of the last attempt. past : earlier points, of a multistep method.
    """

    slope: Any
    spectrum: Spectrum
    evaluations: Int[Array, ""]
    error: Any
    past: Any = None


class Stabilised(diffrax.AbstractAdaptiveSolver):
    """Abstract: an explicit Runge–Kutta method whose stability interval on the negative axis grows like s².

    Assumes, unchecked here, a field whose Jacobian has real spectrum, mostly negative: gradient flows have a
    symmetric one. Any pytree y, any diffrax step size controller, any ``SaveAt``; not meant for reverse-mode
    differentiation (the number of stages is data).
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = diffrax.ThirdOrderHermitePolynomialInterpolation

    @abc.abstractmethod
    def stages(self, z: Float[Array, ""]) -> Int[Array, ""]:
        """Stages needed for h ρ = z, at most what :meth:`stretch` spends them on."""

    @abc.abstractmethod
    def stretch(
        self, field: Callable[[Any, Any], Any], t: Any, y: Any, h: Any, slope: Any, z: Any
    ) -> tuple[Any, Any, Any, Int[Array, ""]]:
        """(y at t + h, its estimated error, the field there, evaluations) for a spectrum within [−z/h, 0]."""

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, memory: Any = None) -> Stage:
        """``memory``, from :meth:`remembered`, takes up what an earlier solve learnt."""
        spectrum = unknown(y0) if memory is None else memory
        slope = terms.vf(t0, y0, args)
        return Stage(slope, spectrum, jnp.asarray(1, dtype=jnp.int64), tree.scale(0.0, slope))

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Stage, made_jump: Any
    ) -> tuple[Any, Any, Any, Stage, Any]:
        """One step of as many stages as h ρ asks for."""
        slope, past = solver_state.slope, solver_state.past
        if made_jump is not False:
            slope = jax.lax.cond(made_jump, lambda: terms.vf(t0, y0, args), lambda: slope)
            past = self.forgotten(past, made_jump)
        past = self.recalling(past, t0)
        spectrum, products = refresh(
            lambda y: terms.vf(t0, y, args), y0, solver_state.spectrum, seed=solver_state.error
        )
        h = terms.contr(t0, t1)
        y1, error, slope1, spent = self.stride(
            lambda t, y: terms.vf(t, y, args), t0, y0, h, slope, MARGIN * h * spectrum.radius, past
        )
        evaluations = solver_state.evaluations + spent + 2 * products
        info = {"y0": y0, "y1": y1, "k0": tree.scale(h, slope), "k1": tree.scale(h, slope1)}
        after = Stage(slope1, spectrum, evaluations, error, self.remembering(past, t0, y0))
        return y1, error, info, after, diffrax.RESULTS.successful

    def stride(
        self, field: Callable[[Any, Any], Any], t: Any, y: Any, h: Any, slope: Any, z: Any, past: Any
    ) -> tuple[Any, Any, Any, Int[Array, ""]]:
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
        return Stage(before.slope, aged, after.evaluations, after.error, self.unremembering(after.past))

    def memory(self, y: Any) -> Any:
        """What :meth:`init` takes, where nothing is known yet."""
        return unknown(y)

    def remembered(self, state: Stage) -> Any:
        """What a later :meth:`init` takes up."""
        return state.spectrum

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)
