"""The gradient flow of a piecewise linear convex loss of one layer, exactly: straight pieces of least norm."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear


def straight_pieces(X, b, below, above, w, times):
    """w (T, d) at ``times``, of dw/dt = −∂ Σ_n max(above_n z_n, below_n z_n), z_n = x_n·w − b_n.

    On z_n = 0 the slope is any of [below_n, above_n], and the velocity the one of least norm: on a set of residuals
    at rest the flow is a straight line until another residual arrives.
    """
    X, b, w = np.asarray(X, float), np.asarray(b, float), np.array(w, float)
    t, found = 0.0, []
    for end in times:
        while t < end:
            z = X @ w - b
            rest = np.abs(z) < 1e-11
            push = np.where(z > 0.0, above, below)[~rest] @ X[~rest]
            velocity = -push
            if rest.any():
                theta = lsq_linear(
                    X[rest].T, -push, bounds=(below[rest], above[rest]), method="bvls", tol=1e-14
                ).x
                velocity = -(push + theta @ X[rest])
            if np.linalg.norm(velocity) < 1e-11:
                t = end
                break
            rate = X @ velocity
            with np.errstate(divide="ignore", invalid="ignore"):
                hit = np.where(~rest & (z * rate < 0.0), -z / rate, np.inf)
            step = min(float(hit.min()), end - t)
            w, t = w + step * velocity, t + step
        found.append(w.copy())
    return np.array(found)
