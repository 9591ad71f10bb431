"""A conjecture: Q = W₂ᵀW₂ − W₁W₁ᵀ, which gradient flow keeps, survives weight decay. And what is true instead."""

import numpy as np

import gradlab as gl
from gradlab.claims import Claim, Look, along, at_most, drift, ensemble, generator, study


class Kept(Look):
    rate = 0.0

    @at_most(1e-6)
    def motion(self):
        """‖e^{rt} Q(t) − Q(0)‖/‖Q(0)‖ at the worst record, r the rate that is claimed.

        The solver errs by 1e-9 of ‖W‖ a step, in some hundred steps."""
        Q = along(self, lambda W: W[1].T @ W[1] - W[0] @ W[0].T)
        return drift(np.exp(self.rate * self.time)[:, None, None] * Q)


class Shrinks(Kept):
    rate = 0.2


def cases(key):
    data = gl.data.linear_regression(key, 8, 3, 2)
    problem = gl.Problem(gl.Dense((3, 4, 2), "identity"), gl.Square(), data, decay=0.1)
    starts = generator(key).standard_normal((6, problem.size))
    drawn = [(problem, problem.unravel(w), {"draw": i}) for i, w in enumerate(starts)]
    return ensemble(gl.GradientFlow, drawn, range(4))


KEPT = study(Claim("mine.kept", "Balancedness survives weight decay."), Kept, cases)
SHRINKS = study(
    Claim("mine.kept-corrected", "Under weight decay λ it shrinks like e^{−2λt}."), Shrinks, cases
)
