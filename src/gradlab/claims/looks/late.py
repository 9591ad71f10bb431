"""A small net without biases at late times of the exponential loss: margins, multipliers, limits of several starts."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import nnls

from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number, at_least
from gradlab.claims.problems import late
from gradlab.observe.layers import layer_norms, layer_of
from gradlab.observe.local import Forward
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense


class LateNet(Look):
    """The run of a net of degree one in each of its layers, and the run from another start on the same data."""

    setting = "a dense net without biases, linear or ReLU, one output, the exponential loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is such a net."""
        network = problem.network
        dense = isinstance(network, Dense) and not network.bias and network.outputs == 1
        return dense and isinstance(problem.loss, Exponential) and not np.any(problem.decay)

    @property
    def depth(self) -> int:
        """K."""
        return len(self.problem.network.widths) - 1

    @property
    def rectified(self) -> bool:
        """Whether units switch off."""
        return not self.problem.network.linear

    @property
    def logs(self) -> np.ndarray:
        """log t at every record."""
        return np.asarray(self.trajectory["log_t"].values)

    def margins_at(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y_n f(x_n) (N,) and its gradients (N, P) at weights."""
        return late.margins(self.problem, row)

    @cached_property
    def all_margins(self) -> np.ndarray:
        """y_n f(x_n) at every record, (records, N)."""
        return np.stack([self.margins_at(row)[0] for row in self.weights])

    @cached_property
    def here(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """V = W/‖W‖ at the end, its margins and their gradients."""
        V = self.weights[-1] / np.linalg.norm(self.weights[-1])
        return V, *self.margins_at(V)

    @cached_property
    def beside(self) -> np.ndarray:
        """V of the run from another start."""
        other = np.asarray(self.trajectory["beside"].values)
        return np.asarray(other / np.linalg.norm(other))

    @cached_property
    def multipliers(self) -> tuple[np.ndarray, float]:
        """μ ≥ 0 that minimise ‖V − Σ μ_n ∇m_n‖² + Σ (μ_n (m_n − γ))², and the square root of the minimum."""
        return self.multipliers_at(self.here[0])

    def multipliers_at(self, V: np.ndarray) -> tuple[np.ndarray, float]:
        """The same for other weights of norm one."""
        m, rows = self.margins_at(V)
        system = np.vstack([rows.T, np.diag(m - m.min())])
        mu, residual = nnls(system, np.append(V, np.zeros(len(m))))
        return mu, float(residual)

    @cached_property
    def lengths(self) -> np.ndarray:
        """‖W_k‖ at every record, (records, K)."""
        return layer_norms(layer_of(self.problem.network), self.weights)

    @at_least(1e-9, role="hypothesis")
    def separated(self) -> float:
        """Least margin of W/‖W‖ at the end: f separates the data.

        A sign: 0 where a point has been lost by all neurons, 0.05 or more otherwise.
        """
        return float(self.here[1].min())

    def short_of(self, best: float) -> float:
        """1 − γ/γ*, γ the margin of W/‖W‖ at the end."""
        return float(1.0 - self.here[1].min() / best)

    def escape(self) -> float:
        """max_u Σ μ_n σ(u·x_n)/‖u‖, what a new neuron of small size adds over what it costs.

        V = Σ μ_n ∇m_n is stationary for the largest margin on the sphere; beside it a neuron (u, ‖u‖) of size ε adds
        ε² Σ μ_n σ(u·x_n) and costs ε². Above 1 the margin grows in every neighbourhood of V: no local maximum.
        """
        mu, turn = self.multipliers[0], np.linspace(0.0, 2.0 * np.pi, 1441)
        u = np.column_stack([np.sin(turn), np.cos(turn)])
        x, signs = np.asarray(self.problem.data.inputs), np.asarray(self.problem.data.targets)
        return float(np.max(np.maximum(u @ x.T, 0.0) @ (mu * signs)))

    def idle(self) -> bool:
        """Whether some neuron of a two-layer ReLU net carries less than a hundredth of ‖W‖²."""
        network = self.problem.network
        if network.linear or self.depth != 2:
            return False
        first, second = self.neurons(self.here[0])
        return bool(np.min(np.sum(first**2, axis=1) + second**2) < 0.01)

    def alone(self) -> bool:
        """Whether all neurons but one of a two-layer ReLU net carry less than a hundredth of ‖W‖² each."""
        if not self.idle():
            return False
        first, second = self.neurons(self.here[0])
        return int(np.sum(np.sum(first**2, axis=1) + second**2 >= 0.01)) == 1

    def leaving(self) -> bool:
        """Whether a neuron of a two-layer ReLU net still grows beside the others at the end: the orbit has come by a
        KKT point that is a saddle, and is on its way to another.

        Of deeper ReLU nets: whether the KKT residual is above a tenth still.
        """
        if self.problem.network.linear or self.depth == 1:
            return False
        if self.depth > 2:
            return self.multipliers[1] > 0.1
        return bool(np.max(self.gains(self.here[0])) > 1.05)

    def gains(self, V: np.ndarray) -> np.ndarray:
        """Σ μ_n y_n σ(w·x_n)/‖w‖ of every neuron (w, a), what it adds for what it costs if |a| = ‖w‖.

        1 of all that stay, at a KKT point; ‖(w, a)‖² grows like (log t)^{that}.
        """
        first, second = self.neurons(V)
        x, signs = np.asarray(self.problem.data.inputs), np.asarray(self.problem.data.targets)
        adds = np.maximum(first @ x.T, 0.0) @ (self.multipliers_at(V)[0] * signs) * np.sign(second)
        return np.asarray(adds / np.maximum(np.linalg.norm(first, axis=1), 1e-300))

    def parting(self) -> float:
        """The exponent of log t, over the last two records, in the ratio of ‖(w, a)‖² of the neuron of the largest gain
        to that of the least (among those with a hundredth of ‖W‖²), over the difference of their gains.
        """
        rows = [row / np.linalg.norm(row) for row in self.weights[-2:]]
        gains = np.mean([self.gains(V) for V in rows], axis=0)
        sizes = [np.sum(first**2, axis=1) + second**2 for first, second in map(self.neurons, rows)]
        kept = np.flatnonzero(sizes[-1] >= 0.01)
        most, least = int(np.argmax(gains)), kept[np.argmin(gains[kept])]
        grown = np.log(sizes[1] / sizes[0])
        exponent = (grown[most] - grown[least]) / np.log(self.logs[-1] / self.logs[-2])
        return float(exponent / (gains[most] - gains[least])) if most != least else np.nan

    def neurons(self, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows w_j and weights a_j of a two-layer net."""
        d, h, _ = self.problem.network.widths
        return V[: h * d].reshape(h, d), V[h * d :]

    def function(self, V: np.ndarray) -> np.ndarray:
        """What V computes, as a unit vector: W_K … W_1 of a linear net, the outputs on a circle of a ReLU net in the
        plane."""
        if not self.problem.network.linear:
            turn = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
            around = np.column_stack([np.sin(turn), np.cos(turn)])
            f = Forward(self.problem.network, V, around).f[:, 0]
            return np.asarray(f / np.linalg.norm(f))
        whole, ends = None, 0
        widths = self.problem.network.widths
        for into, out in pairwise(widths):
            W = V[ends : ends + into * out].reshape(out, into)
            whole, ends = W if whole is None else W @ whole, ends + into * out
        assert whole is not None
        return np.asarray(whole[0] / np.linalg.norm(whole))

    def curvature(self, record: int) -> np.ndarray:
        """∇²L at a record, over e^{−γ}, γ the least margin there."""
        signs = np.asarray(self.problem.data.targets)
        here = Forward(self.problem.network, self.weights[record], np.asarray(self.problem.data.inputs))
        m = signs * here.f[:, 0]
        pulls = np.exp(m.min() - m)
        rows = here.jacobian[:, 0, :]
        return np.asarray((rows.T * pulls) @ rows - here.curved((pulls * signs)[:, None]))

    def pull(self) -> Number:
        """‖∇L‖ ‖W‖ over K Σ m_n e^{−m_n}, at the end."""
        _, m, rows = self.here
        if not m.min() > 0.0:
            return Number(np.nan)
        size = float(np.linalg.norm(self.weights[-1]))
        scale = size**self.depth
        shares = np.exp(-(scale * (m - m.min())))
        return Number(float(np.linalg.norm(shares @ rows) / (self.depth * shares @ m)), 1e-12)

    def turned(self, early: float, later: float) -> float:
        """‖V_k(t_2) − V_k(t_1)‖, the largest of the layers, between two log t."""
        first, last = (int(np.argmin(np.abs(self.logs - one))) for one in (early, later))
        layer = layer_of(self.problem.network)
        moved = [
            self.weights[last][layer == k] / self.lengths[last, k]
            - self.weights[first][layer == k] / self.lengths[first, k]
            for k in range(self.depth)
        ]
        return float(np.max([np.linalg.norm(one) for one in moved]))

    @cached_property
    def compared(self) -> bool:
        """Whether the run from the other start separates the data too."""
        return bool(late.margins(self.problem, self.beside)[0].min() > 1e-9)

    def apart_by_layer(self) -> float:
        """‖V_k − V_k'‖ of the two starts, the largest of the layers, V_k up to its sign and norm one."""
        V, other, layer = self.here[0], self.beside, layer_of(self.problem.network)
        if np.array_equal(V, other):
            return np.nan  # one run twice, and no two starts
        found = []
        for k in range(self.depth):
            a, b = V[layer == k], other[layer == k]
            a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
            found.append(min(np.linalg.norm(a - b), np.linalg.norm(a + b)))
        return float(np.max(found))

    def apart_by_function(self) -> float:
        """Distance of what the two starts compute, as unit vectors."""
        if np.array_equal(self.here[0], self.beside):
            return np.nan
        return float(np.linalg.norm(self.function(self.here[0]) - self.function(self.beside)))
