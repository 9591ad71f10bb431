"""Stops: when a solve ends before its last record, and the words for how a solve ended."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradlab.dynamics import tree
from gradlab.modules import Module
from gradlab.problem.precision import number
from gradlab.problem.problem import Problem

#: How a solve stands; the index is what is stored.
RESULTS = (
    "running",
    "stopped: loss reached",
    "stopped: gradient norm reached",
    "stopped: step count reached",
    "stopped: nothing moves any more",
    "stopped: log t reached",
    "ended: the clock stands still here (its rate is not positive)",
    "failed: step size underflow",
    "failed: the field is not finite",
    "failed: overflow",
    "failed: left the domain of the network or the loss (a logarithm, a root)",
    "ended: the weights leave to infinity before the next record",
    "ended: crawls",
    "ended: crawls at a kink",
    "ended: not a gradient flow of this loss",
    "failed: the loss rises",
)
RUNNING, LOSS, GRADIENT, STEPS, STILL, LOG_T, CLOCK, UNDERFLOW, NOT_FINITE = range(9)
OVERFLOW, DOMAIN, UNBOUNDED, CRAWL, KINK, NOT_A_FLOW, RISES = range(9, len(RESULTS))

#: What to write instead, by how a solve ended; before it stands where.
ADVICE = {
    UNDERFLOW: "no step is short enough for the tolerance: loosen it, or give another solver",
    NOT_FINITE: "it exceeds 1e308, or stops being a number: take a smaller step, or scale the data or the start down",
    OVERFLOW: "the loss or its gradient exceeds 1e308: scale the data or the start down",
    DOMAIN: "its values stop being numbers there: begin elsewhere, or take a network and a loss without such an edge",
    UNBOUNDED: "the clock ends there: give records before it, or the clock LogTime()",
    CRAWL: "at the pace of the last steps more than 1e9 remain: use solver='bdf' or 'auto', a looser tolerance, "
    "or records nearer by",
    KINK: "the gradient jumps within a step and turns the orbit back: write a loss with kinks as Lp, Hinge or Quantile "
    "of gl.losses (auto follows them), a network with kinks with smooth=False, or give gl.solvers.Fixed('heun', step)",
}


def kind(words: str) -> str:
    """How a solve ended, of the words for it: without where, and what to write instead."""
    return next((result for result in RESULTS if words.startswith(result)), words)


def words(code: int, row: dict[str, float]) -> str:
    """How a solve ended, where, and what to write instead; row : t, log_t, tau and step of its end."""
    if code == RUNNING:
        return "reached the last record"
    if code not in ADVICE:
        return RESULTS[code]
    where = f"at t = {row['t']:.6g}"
    if not row["step"]:
        where = "at the start"
    elif not math.isfinite(row["t"]):
        where = f"at clock value {row['tau']:.6g}, log t = {row['log_t']:.6g}"
    return f"{RESULTS[code]} {where}: {ADVICE[code]}"


#: How near its level a condition is met, as a logarithm: the end lies beyond it by no more than that.
NEAR = 1e-10


def _optional(value: Any) -> Any:
    return None if value is None else number(value)


def _beyond(value: Any, level: Any) -> Any:
    """log(value/level), or value − level where one of them has no logarithm."""
    logs = (value > 0.0) & (level > 0.0)
    ratio = jnp.log(tree.select(logs, value, 1.0)) - jnp.log(tree.select(logs, level, 1.0))
    return tree.select(logs, ratio, tree.select(level > 0.0, -1e3, value - level))


class Stop(Module):
    """These conditions are checked after every step (``still``: at every record); the first to hold ends it.

    Of a flow, the moment at which ``loss``, ``log_loss``, ``gradient_norm`` or ``log_t`` is met is located inside the
    step, by steps of the method itself; its error is ``t_error`` of the last record.

    Parameters
    ----------
    loss : potential ≤ loss (compared as logs where there is a log-risk; ``log_loss`` gives the log itself).
    gradient_norm : ‖∇L‖ ≤ gradient_norm.
    steps : accepted steps (iterations) ≥ steps.
    still : ε; between two records the weights (chart variables) changed by at most ε times their norm. Checked
        at records, whose spacing says how long nothing is to move.
    log_t : log of physical time ≥ log_t.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> flow = gl.GradientDescent(problem, 0.5)
    >>> gl.run(flow, (np.zeros((1, 1)),), [100], stop=gl.Stop(steps=3)).result
    'stopped: step count reached'
    """

    loss: Float[Array, "..."] | float | None = eqx.field(converter=_optional, default=None)
    log_loss: Float[Array, "..."] | float | None = eqx.field(converter=_optional, default=None)
    gradient_norm: Float[Array, "..."] | float | None = eqx.field(converter=_optional, default=None)
    steps: Int[Array, "..."] | int | None = eqx.field(converter=_optional, default=None)
    still: Float[Array, "..."] | float | None = eqx.field(converter=_optional, default=None)
    log_t: Float[Array, "..."] | float | None = eqx.field(converter=_optional, default=None)

    def refuse(self, problem: Problem) -> str | None:
        """A sentence if a condition cannot be evaluated, else None."""
        if self.log_loss is not None and not problem.has_log:
            return (
                f"a stop at log_loss needs a log-risk; {type(problem.loss).__name__} has none: stop at loss="
            )
        return None

    @property
    def located(self) -> bool:
        """Whether a condition is asked for that is met at a moment inside a step."""
        return any(level is not None for level in (self.loss, self.log_loss, self.gradient_norm, self.log_t))

    def margin(self, problem: Problem, weights: Any, gradient_norm: Any, log_t: Any) -> Float[Array, ""]:
        """How far the nearest of those conditions is from being met, as a logarithm; not positive where one is."""
        gaps = []
        if self.log_t is not None:
            gaps.append(self.log_t - log_t)
        if self.gradient_norm is not None:
            gaps.append(_beyond(gradient_norm, self.gradient_norm))
        levels = [self.log_loss] if self.log_loss is not None else []
        if self.loss is not None and not problem.has_log:
            gaps.append(_beyond(problem.potential(weights), self.loss))
        elif self.loss is not None:
            levels.append(jnp.log(self.loss))
        if levels:
            gaps.append(problem.log_potential(weights) - jnp.nanmax(jnp.stack(levels)))
        # A level that nothing meets, and a loss of 0.
        return jnp.clip(jnp.nan_to_num(jnp.min(jnp.stack(gaps)), nan=1e3), -1e3, 1e3)

    def never(self) -> Stop:
        """Conditions of the same kinds that nothing meets: the same compiled program, without the stops."""
        unmet = {"loss": -1.0, "log_loss": -jnp.inf, "gradient_norm": -1.0, "still": -1.0, "log_t": jnp.inf}
        changed = {name: None if getattr(self, name) is None else value for name, value in unmet.items()}
        most = None if self.steps is None else jnp.iinfo(jnp.int64).max
        return Stop(steps=most, **changed)

    def code(
        self, problem: Problem, weights: Any, gradient_norm: Any, steps: Any, log_t: Any
    ) -> Int[Array, ""]:
        """The index into RESULTS: RUNNING, or the first condition that holds (``gradient_norm`` may be None)."""
        code = jnp.asarray(RUNNING)
        if self.log_t is not None:
            code = tree.select(log_t >= self.log_t, LOG_T, code)
        if self.steps is not None:
            code = tree.select(steps >= self.steps, STEPS, code)
        if self.gradient_norm is not None:
            code = tree.select(gradient_norm <= self.gradient_norm, GRADIENT, code)
        if self.loss is not None and not problem.has_log:
            code = tree.select(problem.potential(weights) <= self.loss, LOSS, code)
        levels = [self.log_loss] if self.log_loss is not None else []
        # The log of a negative level is NaN, which no loss is below.
        levels += [jnp.log(self.loss)] if self.loss is not None else []
        if problem.has_log and levels:
            code = tree.select(problem.log_potential(weights) <= jnp.max(jnp.stack(levels)), LOSS, code)
        return code
