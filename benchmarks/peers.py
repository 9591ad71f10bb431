"""Peers: diffrax, SciPy and torchdiffeq on a task, every evaluation counted.

All get the same compiled gradient (torchdiffeq a PyTorch one) and one scale of absolute error, the root mean
square of the weights at the start, so that their componentwise tolerances act like a relative norm.
"""

from __future__ import annotations

import functools
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.task import Limit, Task


@dataclass(frozen=True)
class Outcome:
    """Final weights and what they cost; ``vector`` is None where the solve did not reach T, ``why`` says why."""

    vector: np.ndarray | None
    evaluations: float
    jacobians: int
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Peer:
    """One integrator. ``skip(task, limit)`` is a sentence where it is not run on a task, else None.

    quick : part of the quick budget.
    """

    name: str
    family: str
    run: Callable[[Task, float, Limit], Outcome]
    skip: Callable[[Task, Limit], str | None] = field(default=lambda task, limit: None)
    quick: bool = False


class Counter:
    """Calls of a field and of its derivative, counted on the host while compiled code runs."""

    def __init__(self) -> None:
        self._values: list[None] = []
        self._tangents: list[None] = []

    @property
    def values(self) -> int:
        """Evaluations so far."""
        return len(self._values)

    @property
    def tangents(self) -> int:
        """Derivatives so far."""
        return len(self._tangents)

    def reset(self) -> None:
        """Count from zero again."""
        self._values.clear()
        self._tangents.clear()

    def wrap(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same function; a derivative over all columns at once is one derivative."""

        @jax.custom_jvp
        def counted(y: Any) -> Any:
            jax.debug.callback(self._value)
            return function(y)

        @counted.defjvp
        def counted_jvp(primals: Any, tangents: Any) -> Any:
            jax.debug.callback(self._tangent)
            return jax.jvp(function, primals, tangents)

        return counted

    def _value(self) -> None:
        # Callbacks may come from two threads at once: appending is atomic, adding one is not.
        self._values.append(None)

    def _tangent(self) -> None:
        self._tangents.append(None)


# diffrax ---------------------------------------------------------------------------------------------------

METHODS: dict[str, Any] = {
    "bosh3": diffrax.Bosh3,
    "tsit5": diffrax.Tsit5,
    "dopri8": diffrax.Dopri8,
    "kvaerno5": diffrax.Kvaerno5,
}


def first_step(problem: Any, weights: Any, rtol: Any) -> Any:
    """A cautious first step, for one evaluation.

    diffrax 0.7.2 starts at 0.01 whatever the problem (its own rule asks for a bare ODETerm and is handed a
    wrapped one), and evaluates anew at every rejection of a first step, which its statistics do not say.
    """
    speed = jnp.linalg.norm(problem.ravel(problem.gradient(weights)))
    return 0.03 * rtol**0.25 * jnp.linalg.norm(problem.ravel(weights)) / speed


def _solve(field: Any, method: Any, weights: Any, times: Any, errors: Any, gains: Any, **options: Any) -> Any:
    """diffeqsolve from 0 to T; times : (T, first step). errors : (rtol, atol). gains : (p, i) of the controller."""
    controller = diffrax.PIDController(rtol=errors[0], atol=errors[1], pcoeff=gains[0], icoeff=gains[1])
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: field(y)),
        method,
        0.0,
        times[0],
        times[1],
        weights,
        stepsize_controller=controller,
        adjoint=diffrax.ForwardMode(),
        throw=False,
        **options,
    )


@eqx.filter_jit
def _explicit(problem: Any, method: Any, weights: Any, T: Any, errors: Any, gains: Any, most: int) -> Any:
    def field(y: Any) -> Any:
        return jax.tree.map(jnp.negative, problem.gradient(y))

    times = (T, first_step(problem, weights, errors[0]))
    return _solve(field, method, weights, times, errors, gains, max_steps=most)


def explicit_evaluations(method: Any, steps: int) -> int:
    """Evaluations of an explicit method of diffrax over so many attempted steps.

    Where the last stage is the next step's first (FSAL), one to begin with and one fewer in every step; and one
    for our choice of the first step. (A test counts the calls.) Too few by one for each rejection of a first step.
    """
    tableau = method.tableau
    return 1 + (1 + steps * (tableau.num_stages - 1) if tableau.fsal else steps * tableau.num_stages)


def _errors(task: Task, tolerance: float) -> tuple[Any, Any]:
    return jnp.asarray(tolerance), jnp.asarray(tolerance * task.scale)


def _diffrax(name: str, tuned: bool) -> Callable[[Task, float, Limit], Outcome]:
    method = METHODS[name]()
    gains = (0.2, 0.3) if tuned else (0.0, 1.0)

    def run(task: Task, tolerance: float, limit: Limit) -> Outcome:
        most = int(limit.gradients // method.tableau.num_stages)
        T, errors = jnp.asarray(float(task.T)), _errors(task, tolerance)
        begun = time.perf_counter()
        solution = _explicit(task.problem, method, task.weights, T, errors, gains, most)
        vector = np.asarray(task.problem.ravel(jax.tree.map(lambda leaf: leaf[-1], solution.ys)))
        taken = time.perf_counter() - begun
        evaluations = explicit_evaluations(method, int(solution.stats["num_steps"]))
        return _judged(vector, solution.result == diffrax.RESULTS.successful, evaluations, 0, taken)

    return run


def _judged(vector: np.ndarray, good: Any, evaluations: float, jacobians: int, seconds: float) -> Outcome:
    if bool(good) and bool(np.isfinite(vector).all()):
        return Outcome(vector, evaluations, jacobians, seconds)
    return Outcome(None, evaluations, jacobians, seconds, "did not reach T within the limit")


@functools.lru_cache(maxsize=1)
def _implicit(task: Task) -> Any:
    """Kvaerno5 compiled for one task, its counter, its deadline and allowance (lists of one number)."""
    counter, deadline, allowed = Counter(), [0.0], [0.0]
    field = counter.wrap(lambda y: jax.tree.map(jnp.negative, task.problem.gradient(y)))

    def late(t: Any, y: Any, args: Any, **more: Any) -> Any:
        # What a step costs is not known beforehand, so the counter and the clock are asked after each.
        def over(t: Any) -> np.ndarray:
            spent = counter.values + counter.tangents * task.jacobian_cost
            return np.asarray(spent > allowed[0] or time.perf_counter() > deadline[0])

        return jax.pure_callback(over, jax.ShapeDtypeStruct((), bool), t)

    @eqx.filter_jit
    def run(problem: Any, weights: Any, T: Any, errors: Any) -> Any:
        times = (T, first_step(problem, weights, errors[0]))
        event, method = diffrax.Event(late), diffrax.Kvaerno5()
        return _solve(field, method, weights, times, errors, (0.0, 1.0), max_steps=None, event=event)

    return run, counter, deadline, allowed


def _kvaerno(task: Task, tolerance: float, limit: Limit) -> Outcome:
    run, counter, deadline, allowed = _implicit(task)
    errors = _errors(task, tolerance)
    # Compiled by a solve that the deadline ends after its first step.
    begun = time.perf_counter()
    if not deadline[0]:
        jax.block_until_ready(run(task.problem, task.weights, jnp.asarray(float(task.T)), errors))
    compiled = time.perf_counter()
    jax.effects_barrier()
    counter.reset()
    deadline[0] = compiled + limit.seconds
    allowed[0] = limit.gradients
    solution = run(task.problem, task.weights, jnp.asarray(float(task.T)), errors)
    vector = np.asarray(task.problem.ravel(jax.tree.map(lambda leaf: leaf[-1], solution.ys)))
    taken = time.perf_counter() - begun
    jax.effects_barrier()
    good = solution.result == diffrax.RESULTS.successful
    # Forming a Jacobian evaluates no field of its own: the primal is shared.
    return _judged(vector, good, counter.values + 1, counter.tangents, taken)


def dense(task: Task, limit: Limit) -> str | None:
    """Where a few dozen dense Hessians with their factorisations do not fit into the time of a run."""
    if task.size > 6000:
        return f"not run: dense Hessians of {task.size} weights do not pay"
    # A Hessian costs about a gradient a column or more: one too dear is not even timed.
    each = task.size if 10 * task.size > limit.gradients else task.jacobian_cost
    if 10 * each > limit.gradients:
        return f"not run: one dense Hessian costs about {each:.2g} gradients, and a solve needs dozens"
    return None


# SciPy -----------------------------------------------------------------------------------------------------


class _Late(Exception):
    """The limit on time is over."""


def scipy(name: str, exact: bool = False) -> Callable[[Task, float, Limit], Outcome]:
    def run(task: Task, tolerance: float, limit: Limit) -> Outcome:
        counts = {"field": 0, "jacobian": 0}
        begun = time.perf_counter()

        def field(t: float, y: np.ndarray) -> np.ndarray:
            counts["field"] += 1
            spent = counts["field"] + (counts["jacobian"] * task.jacobian_cost if counts["jacobian"] else 0.0)
            if spent > limit.gradients or time.perf_counter() - begun > limit.seconds:
                raise _Late
            return task.field(y)

        def jacobian(t: float, y: np.ndarray) -> np.ndarray:
            counts["jacobian"] += 1
            return task.jacobian(y)

        def transposed(t: float, y: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(jacobian(t, y))

        options: dict[str, Any] = {"jac": transposed} if exact else {}
        vector, good = task.vector, False
        try:
            solution = solve_ivp(
                field, (0.0, task.T), task.vector, name, t_eval=[task.T], rtol=tolerance,
                atol=tolerance * task.scale, **options,
            )  # fmt: skip
            good = solution.success
            vector = solution.y[:, -1] if good else vector
        except _Late:
            pass
        return _judged(vector, good, counts["field"], counts["jacobian"], time.perf_counter() - begun)

    return run


def _differenced(task: Task, limit: Limit) -> str | None:
    """Where a few differenced Jacobians of P evaluations each are over the limit."""
    if 10 * task.size > limit.gradients:
        return f"not run: one differenced Jacobian takes {task.size} evaluations, and a solve needs dozens"
    return None


# torchdiffeq -----------------------------------------------------------------------------------------------


def _no_torch(task: Task, limit: Limit) -> str | None:
    for package in ("torch", "torchdiffeq"):
        if importlib.util.find_spec(package) is None:
            return f"skipped: {package} is not installed (`uv pip install torch torchdiffeq` installs it)"
    from benchmarks import in_torch

    return in_torch.refuse(task)


def _torchdiffeq(task: Task, tolerance: float, limit: Limit) -> Outcome:
    from benchmarks import in_torch

    vector, evaluations, taken = in_torch.solve(task, tolerance, limit)
    return _judged(task.vector if vector is None else vector, vector is not None, evaluations, 0, taken)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("diffrax-bosh3-tuned", "diffrax", _diffrax("bosh3", True), quick=True),
        Peer("diffrax-tsit5-tuned", "diffrax", _diffrax("tsit5", True), quick=True),
        Peer("diffrax-tsit5", "diffrax", _diffrax("tsit5", False)),
        Peer("diffrax-dopri8-tuned", "diffrax", _diffrax("dopri8", True), quick=True),
        Peer("diffrax-dopri8", "diffrax", _diffrax("dopri8", False)),
        Peer("diffrax-kvaerno5", "diffrax", _kvaerno, dense, quick=True),
        Peer("scipy-rk45", "scipy", scipy("RK45")),
        Peer("scipy-dop853", "scipy", scipy("DOP853"), quick=True),
        Peer("scipy-lsoda", "scipy", scipy("LSODA"), _differenced, quick=True),
        Peer("scipy-lsoda-hessian", "scipy", scipy("LSODA", True), dense),
        Peer("scipy-bdf", "scipy", scipy("BDF"), _differenced),
        Peer("scipy-bdf-hessian", "scipy", scipy("BDF", True), dense, quick=True),
        Peer("torchdiffeq-dopri5", "torchdiffeq", _torchdiffeq, _no_torch, quick=True),
    )
}
