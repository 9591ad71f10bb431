"""The one place where a run's solver is chosen: by name, or by what flow, chart, clock, loss and size ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics.clocks import Clock, LogTime
from gradlab.dynamics.filippov.solver import Filippov, serves
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.homogeneous import HomogeneousFlow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.auto import Auto
from gradlab.dynamics.solvers.exact import Exact, overflow, quadratic
from gradlab.dynamics.solvers.fixed import Fixed
from gradlab.dynamics.solvers.iteration import Descent
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.solvers.policy import Policy
from gradlab.dynamics.solvers.softening import Softening
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.stops import Stop
from gradlab.laboratory import reducing
from gradlab.problem.homogeneity import refusal
from gradlab.problem.precision import number

#: Tolerance of ``auto`` in the chart for any time.
EXTREME = 1e-12


def choose(
    flow: Flow,
    clock: Clock,
    solver: Solver | str,
    stop: Stop,
    weights: Any,
    members: int | None,
    reduce: bool | None = None,
) -> tuple[Flow, Solver]:
    """The flow as it is stepped, and the solver with all that the run decides filled in.

    ``auto``: the iteration itself for descent and SGD; exact steps where there are any; events for kinks, as far as
    they can be followed, else fixed steps of Heun's method, a tenth of the inverse sharpness at the start each; for
    smooth networks the radial chart in log time, else :class:`Auto`, of deep linear nets in fewer variables where that
    pays (``laboratory.reducing``) unless ``reduce`` is False. Where it is True, so with any solver.

    Raises
    ------
    ValueError
        For an unknown name, and for what a solver cannot serve, with what to use instead.
    """
    ensemble = members is not None
    picked = checked(flow, clock, solver, ensemble)
    automatic = isinstance(solver, str) and solver == "auto"
    if reduce:
        flow = reducing.asked(flow, clock, weights, ensemble)
    if automatic:
        flow, picked = _suited(flow, clock, stop, picked, ensemble, weights if reduce is None else None)
    if automatic and isinstance(picked, Fixed):
        return flow, _sharpness_step(flow, clock, weights, members)
    chosen = picked.suits(flow, clock, ensemble)
    if isinstance(chosen, Auto) and stop.located:
        # How long it goes on is not known: nothing is foreseen at the start.
        chosen = replace(chosen, policy=replace(chosen.policy, begin=number(np.inf)))
    return flow, chosen


def checked(flow: Flow, clock: Clock, solver: Solver | str, ensemble: bool = False) -> Solver:
    """``"auto"`` resolved by the kind of the flow, a method's name turned into a solver, and mismatches refused."""
    moving = flow.flow if isinstance(flow, Kicked) else flow
    if isinstance(solver, str) and solver == "auto":
        continuous = Auto() if flow.observed.network.smooth else Fixed()
        return Descent() if moving.discrete else continuous
    picked = named(solver) if isinstance(solver, str) else solver
    if (reason := picked.refuse(moving, clock, ensemble)) is not None:
        raise ValueError(reason)
    return picked


def named(name: str, tolerance: Any = None) -> Solver:
    """A solver by its name: ``auto``, ``descent``, ``exact``, ``filippov``, ``softening``, or one of ``Adaptive``'s.

    tolerance : of those that have one; each one's own unless given.
    """
    if name in ("descent", "exact") and tolerance is None:
        return Descent() if name == "descent" else Exact()
    if name == "filippov":
        return Filippov() if tolerance is None else Filippov(float(tolerance))
    if name == "softening":
        return Softening() if tolerance is None else Softening(tolerance=tolerance)
    if name == "auto":
        return Auto() if tolerance is None else Auto(tolerance)
    return Adaptive(name) if tolerance is None else Adaptive(name, tolerance)


def _suited(
    flow: Flow, clock: Clock, stop: Stop, picked: Solver, ensemble: bool, weights: Any
) -> tuple[Flow, Solver]:
    """What ``auto`` knows better for this flow: events for kinks, exact steps, fewer variables; else as it is.

    weights : the start, by which a flow may be reduced; None where it is not to be.
    """
    kinked = (
        type(flow) is GradientFlow and not flow.problem.loss.smooth and flow.problem.size < Policy().dense
    )
    if kinked and Softening().refuse(flow, clock, ensemble) is None:
        return flow, Softening()
    if isinstance(picked, Fixed) and serves(flow, clock, ensemble):
        return flow, Filippov()
    if not isinstance(picked, Auto) or type(flow) is not GradientFlow:
        return flow, picked
    # Exact steps meet stops at records only.
    watched = (stop.loss, stop.log_loss, stop.gradient_norm, stop.log_t, stop.steps)
    if quadratic(flow.problem) is None and (reason := overflow(flow.problem)) is not None:
        raise ValueError(reason)
    if all(level is None for level in watched) and Exact().refuse(flow, clock) is None:
        return flow, Exact()
    if ensemble:
        return flow, picked
    problem = flow.problem
    if isinstance(clock, LogTime) and refusal(problem) is None and problem.size < Policy().dense:
        # Stiff from the start, and exponents of the size of log t: the margin needs all the digits there are.
        return HomogeneousFlow(problem), Adaptive("bdf", EXTREME, 1e-3 * EXTREME)
    return (flow if weights is None else reducing.unasked(flow, clock, weights)), picked


def _sharpness_step(flow: Flow, clock: Clock, weights: Any, members: int | None) -> Fixed:
    """Fixed steps of a tenth of the inverse sharpness at the start, in clock units, rounded to two digits."""

    def step(flow: Flow, start: Any) -> Any:
        y, u = flow.encode(start), jnp.zeros(())
        problem, weights = flow.observed, flow.decode(y)
        operator = problem.hessian_operator(weights)
        vector = jax.tree.map(
            lambda leaf: jnp.cos(1.0 + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), weights
        )

        def power(_: Any, vector: Any) -> Any:
            image = operator.mv(vector)
            size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(image)))
            return jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1.0), image)

        vector = jax.lax.fori_loop(0, 20, power, vector)
        image = operator.mv(vector)
        sharpness = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(image)))
        direction, log_scale = flow.velocity(jnp.expm1(u), y)
        return 0.1 / jnp.maximum(sharpness, 1e-12) * jnp.exp(clock.log_rate(flow, y, direction, log_scale, u))

    compiled = eqx.filter_jit(step if members is None else eqx.filter_vmap(step))
    smallest = float(np.min(compiled(flow, weights)))
    if not np.isfinite(smallest) or smallest <= 0.0:
        raise ValueError(
            "no step size could be found from the sharpness at the start: give Fixed('heun', step=...)"
        )
    return Fixed("heun", float(f"{smallest:.1e}"))
