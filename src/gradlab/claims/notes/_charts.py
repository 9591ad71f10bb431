"""What notes.normalised looks at: every printed equation at one point, and both flows side by side in one solve."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.claims.deep_linear import EPS, ratio
from gradlab.dynamics import tree
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.observe.local import Scalars, differentials
from gradlab.observe.observables import Observable
from gradlab.problem.problem import Problem


def complex_step(w: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of ‖w‖ and w/‖w‖ along each row of ``motion``, by f(w + ih v) = f + ih f' + O(h²), h = 1e-100."""
    moved = w + 1e-100j * motion / (scale := float(np.max(np.abs(motion))) or 1.0)
    norm = np.sqrt(np.sum(moved**2, axis=-1))
    return norm.imag * 1e100 * scale, (moved / norm[..., None]).imag * 1e100 * scale


def _norm(values: Any) -> float:
    return float(np.linalg.norm(values))


class Point:
    """Everything at one record: margins, gradients of y f, their changes along coordinates, −∇L and ∇²L's columns."""

    def __init__(self, problem: Problem, vector: np.ndarray, layer: np.ndarray, columns: np.ndarray) -> None:
        """Differentiate at W along coordinates, and at W with each layer normalised."""
        labels = np.asarray(problem.data.targets)
        self.vector, self.layers = vector, [layer == k for k in range(int(layer.max()) + 1)]
        points = np.tile(vector, (columns.size + len(self.layers), 1))
        self.rho = [_norm(vector[mask]) for mask in self.layers]
        for k, mask in enumerate(self.layers):
            points[columns.size + k, mask] /= self.rho[k] or 1.0
        directions = np.zeros_like(points)
        directions[np.arange(columns.size), columns] = 1.0
        scalars = Scalars((problem.loss,), (problem.data.targets,))
        values, gradients, changes = differentials(problem, scalars, points, directions)
        self.margins, self.df = labels * values[0, :-1], labels[:, None] * gradients[0, :-1]
        self.d2f, self.hessian = labels[:, None] * changes[: columns.size, :-1], changes[: columns.size, -1]
        self.velocity, self.columns, self.layer = -gradients[0, -1], columns, layer
        self.normalised = labels * values[columns.size :, :-1]
        self.dnormalised = labels[:, None] * gradients[columns.size :, :-1]

    def defects(self) -> list[dict[str, float]]:
        """The defect of every equation, and rounding, in every layer that is not zero."""
        return [self._layer(k) for k in range(len(self.layers)) if self.rho[k] > 0.0]

    def _layer(self, k: int) -> dict[str, float]:
        mask, rho = self.layers[k], self.rho[k]
        w, df, velocity = self.vector[mask], self.df[:, mask], self.velocity[mask]
        tilde, f_tilde, df_tilde = w / rho, self.normalised[k], self.dnormalised[k][:, mask]
        weights, weights_tilde = np.exp(-self.margins), np.exp(-rho * f_tilde)
        sizes = np.linalg.norm(df, axis=1)
        unit = float(weights @ sizes) or 1.0
        outer = np.outer(tilde, tilde)
        project, identity = np.eye(w.size) - outer, np.eye(w.size)
        d_norm, d_tilde = complex_step(w, identity)
        ((rho_dot,), (tilde_dot,)) = complex_step(w, velocity[None])
        s, b = project / rho, weights_tilde @ df_tilde
        literal = (identity - np.outer(w, w)) / rho
        split = np.outer(f_tilde, tilde) + rho * df_tilde @ s.T
        chart = [
            _norm(d_norm - tilde) / rho,
            _norm(d_tilde - s),
            _norm(s @ w),
            _norm(rho * s @ s - s),
            _norm(tilde @ d_tilde),
        ]
        euler = np.abs(df @ w - self.margins) / np.where(sizes > 0.0, rho * sizes, 1.0)
        closed = weights_tilde @ (df_tilde - np.outer(f_tilde, tilde)) / rho
        return {
            "degree": float(np.max(euler)),
            "chart": rho * max(chart),
            "memo_s": _norm(literal - d_tilde) / (_norm(literal) + _norm(d_tilde)),
            "velocity": _norm(weights @ df - velocity) / unit,
            "hessian": self._hessian(mask, weights),
            "polar": max(abs(tilde @ velocity - rho_dot), rho * _norm(s @ velocity - tilde_dot)) / unit,
            "split": ratio(_norm(split - df), _norm(df)),
            "rho": abs(weights_tilde @ f_tilde - rho_dot) / unit,
            "direction": rho * _norm(closed - tilde_dot) / unit,
            "memo_43": rho * _norm(project @ b - tilde_dot) / unit,
            "right_43": rho * _norm(s @ b - tilde_dot) / unit,
            "rounding": EPS * (w.size + len(df) + 4.0 * float(np.max(np.abs(self.margins)))),
            "norm": rho,
        }

    def _hessian(self, mask: np.ndarray, weights: np.ndarray) -> float:
        """Eq. 38's columns of one layer against ∇²L, relative to the sizes of its two terms."""
        own = mask[self.columns]
        if not own.any():
            return 0.0
        first = (self.df[:, self.columns[own]].T * weights) @ self.df[:, mask]
        second = np.einsum("n,cnp->cp", weights, self.d2f[own][:, :, mask])
        return ratio(_norm(first - second - self.hessian[own][:, mask]), _norm(first) + _norm(second))


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
