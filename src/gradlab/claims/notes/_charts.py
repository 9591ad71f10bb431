"""The plain flow and the flow in the chart (ρ_k, V_k), side by side in one solve."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from gradlab.dynamics import tree
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.observe.observables import Observable
from gradlab.problem.problem import Problem


class SideBySide(Flow):
    """The plain flow and the flow in the chart (ρ_k, V_k) from the same start, in the same steps."""

    problem: Problem
    chart_is_identity: ClassVar[bool] = False

    @property
    def observed(self) -> Problem:
        return self.problem

    # Compiled as one: the laboratory encodes an ensemble's start operation by operation.
    @eqx.filter_jit
    def encode(self, weights: Any) -> Any:
        return weights, NormalisedFlow(self.problem).encode(weights)

    def decode(self, y: Any) -> Any:
        return y[0]

    def velocity(self, t: Any, y: Any) -> Any:
        plain, log_scale = GradientFlow(self.problem).velocity(t, y[0])
        polar, other_scale = NormalisedFlow(self.problem).velocity(t, y[1])
        return (plain, tree.scale(jnp.exp(other_scale - log_scale), polar)), log_scale

    def chart(self, y: Any) -> Any:
        return NormalisedFlow(self.problem).chart(y[1])


class BetweenCharts(Observable):
    """‖W − ρ_k V_k‖/‖W‖ between the two orbits of :class:`SideBySide`."""

    name: str = eqx.field(static=True, default="between_charts")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Any:
        gap = tree.add(weights, tree.scale(-1.0, NormalisedFlow(problem).decode(y[1])))
        return tree.norm(gap) / tree.norm(weights)
