"""Stabilised explicit methods as diffrax solvers: stages follow from a running estimate of the spectral radius."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradlab.dynamics import tree

#: Hessian-vector products at a cold start, at a refresh, and accepted steps between refreshes.
COLD, WARM, EVERY = 6, 2, 10
#: The estimate comes from below; the stages serve this multiple of it.
MARGIN = 1.1


class Spectrum(eqx.Module):
    """A running estimate of ρ(J), J the Jacobian of the field, by power iteration with a kept vector.

    vector : the kept vector, of norm one. radius : ‖J v‖ at its last product, a lower bound for symmetric J.
    age : steps since; negative where nothing is known yet.
    """

    vector: Any
    radius: Float[Array, ""]
    age: Int[Array, ""]


def unknown(y: Any) -> Spectrum:
    """Nothing known yet: a fixed vector with components along everything generic."""
    vector = jax.tree.map(
        lambda leaf: jnp.cos(1.0 + jnp.arange(jnp.size(leaf), dtype=jnp.float64)).reshape(jnp.shape(leaf)), y
    )
    return Spectrum(_unit(vector), jnp.zeros(()), jnp.asarray(-1, dtype=jnp.int64))


def _unit(vector: Any) -> Any:
    size = tree.norm(vector)
    return tree.scale(1.0 / jnp.where(size > 0.0, size, 1.0), vector)


def refresh(
    field: Callable[[Any], Any], y: Any, spectrum: Spectrum, cold: int = COLD, warm: int = WARM
) -> tuple[Spectrum, Int[Array, ""]]:
    """The estimate a step later, and the Hessian-vector products it took (each counts two evaluations).

    ``cold`` products where nothing is known, ``warm`` where the last are EVERY steps old, none in between. Exact
    derivatives (``jax.jvp``), no differences.
    """
    count = jnp.where(spectrum.age < 0, cold, jnp.where(spectrum.age >= EVERY, warm, 0))

    def product(_: Any, carry: Any) -> Any:
        vector, _ = carry
        image = jax.jvp(field, (y,), (vector,))[1]
        size = tree.norm(image)
        good = jnp.isfinite(size) & (size > 0.0)
        return tree.where(good, tree.scale(1.0 / jnp.where(good, size, 1.0), image), vector), size

    vector, radius = jax.lax.fori_loop(0, count, product, (spectrum.vector, spectrum.radius))
    radius = jnp.where(jnp.isfinite(radius), radius, spectrum.radius)
    age = jnp.where(count > 0, 0, spectrum.age) + 1
    return Spectrum(vector, radius, age.astype(jnp.int64)), count


class Stage(eqx.Module):
    """What a stabilised method carries between steps: f at the present point, the spectrum, evaluations so far.

    past : earlier points, of a multistep method.
    """

    slope: Any
    spectrum: Spectrum
    evaluations: Int[Array, ""]
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
        return Stage(terms.vf(t0, y0, args), spectrum, jnp.asarray(1, dtype=jnp.int64))

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Stage, made_jump: Any
    ) -> tuple[Any, Any, Any, Stage, Any]:
        """One step of as many stages as h ρ asks for."""
        slope, past = solver_state.slope, solver_state.past
        if made_jump is not False:
            slope = jax.lax.cond(made_jump, lambda: terms.vf(t0, y0, args), lambda: slope)
            past = self.forgotten(past, made_jump)
        spectrum, products = refresh(lambda y: terms.vf(t0, y, args), y0, solver_state.spectrum)
        h = terms.contr(t0, t1)
        y1, error, slope1, spent = self.stride(
            lambda t, y: terms.vf(t, y, args), t0, y0, h, slope, MARGIN * h * spectrum.radius, past
        )
        evaluations = solver_state.evaluations + spent + 2 * products
        info = {"y0": y0, "y1": y1, "k0": tree.scale(h, slope), "k1": tree.scale(h, slope1)}
        after = Stage(slope1, spectrum, evaluations, self.remembering(past, t0, t1, y0))
        return y1, error, info, after, diffrax.RESULTS.successful

    def stride(
        self, field: Callable[[Any, Any], Any], t: Any, y: Any, h: Any, slope: Any, z: Any, past: Any
    ) -> tuple[Any, Any, Any, Int[Array, ""]]:
        """As :meth:`stretch`, by a multistep method with the past."""
        return self.stretch(field, t, y, h, slope, z)

    def remembering(self, past: Any, t0: Any, t1: Any, y0: Any) -> Any:
        """The past of a multistep method at t1."""
        return past

    def forgotten(self, past: Any, when: Any) -> Any:
        """No past, where ``when`` holds."""
        return past

    def after_rejection(self, before: Stage, after: Stage) -> Stage:
        """The state to try again from: what was learnt of the spectrum is kept, and doubted."""
        aged = eqx.tree_at(lambda s: s.age, after.spectrum, jnp.maximum(after.spectrum.age, EVERY))
        return Stage(before.slope, aged, after.evaluations, before.past)

    def memory(self, y: Any) -> Any:
        """What :meth:`init` takes, where nothing is known yet."""
        return unknown(y)

    def remembered(self, state: Stage) -> Any:
        """What a later :meth:`init` takes up."""
        return state.spectrum

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)
