"""A claim of one's own: on whitened inputs, gradient flow forgets its start equally fast in every direction.

    gradlab verify examples/my_claim.py

L(W) = (1/N) Σ ‖W x_n − y_n‖² with XᵀX/N = 1 has ∇L = 2 (W − W*), W* = YᵀX/N. So W(t) − W* = e^{−2t}(W(0) − W*),
and the excess risk L(W) − L(W*) = ‖W − W*‖² falls by the factor e^{−4t}, whatever the start.

Three pieces: a look, whose methods are the numbers that are asked; the cases; and the claim that ties them together.
The judge is not in this file: it sees numbers, their errors and tolerances only.
"""

from functools import cached_property

import jax
import numpy as np

import gradlab as gl
from gradlab.claims import Claim, Figure, Look, Panel, at_most, ensemble, generator, study

CLAIM = Claim(
    "mine.whitened",
    "On whitened inputs, gradient flow of the mean square loss of a linear net lowers the excess risk by the factor "
    "$e^{-4t}$, whatever the start.",
    formula=r"\frac{L(W(t))-L(W^*)}{L(W(0))-L(W^*)}=e^{-4t}",
    passage="the docstring of examples/my_claim.py",
    hypotheses=("linear net of one layer", "whitened inputs", "no weight decay"),
    convention="L is the mean over examples of the squared residual, without the factor ½.",
)


class Whitened(Look):
    """The excess risk at every record against its closed form."""

    @cached_property
    def excess(self):
        """‖W − W*‖² over that at the start, at every record."""
        X, Y = np.asarray(self.problem.data.inputs), np.asarray(self.problem.data.targets)
        size = np.linalg.norm(self.weights - (Y.T @ X / len(X)).ravel(), axis=1)
        return (size / size[0]) ** 2

    @at_most(1e-12, role="hypothesis")
    def white(self):
        """The largest entry of |XᵀX/N − 1|.

        The inputs are orthonormalised in float64.
        """
        X = np.asarray(self.problem.data.inputs)
        return np.max(np.abs(X.T @ X / len(X) - np.eye(X.shape[1])))

    @at_most(1e-6)
    def rate(self):
        """The largest |log(excess(t)/excess(0)) + 4t| over the records.

        The solver is right to 1e-10 of ‖W‖ a step, and W − W* shrinks to e^{−6} of its size.
        """
        return np.max(np.abs(np.log(self.excess) + 4.0 * self.time))

    def shown(self):
        return {"t": ("record", self.time), "lost": ("record", self.excess)}


def cases(key, *, count):
    """Random problems with two outputs, starts of three sizes; one program for all, since their shapes agree."""
    network, starts = gl.Dense((4, 2), "identity"), generator(key)
    drawn = []
    for i, one in enumerate(jax.random.split(key, count)):
        data = gl.data.whitened_regression(one, N=12, d=4, C=2, noise=0.3)
        scale = 10.0 ** (i % 3 - 1)
        start = (scale * starts.standard_normal((2, 4)),)
        drawn.append((gl.Problem(network, gl.Square("mean"), data), start, {"draw": i, "scale": scale}))
    return ensemble(gl.GradientFlow, drawn, np.linspace(0.0, 3.0, 31), solver=gl.Adaptive("dopri8", 1e-10))


STUDY = study(
    CLAIM,
    Whitened,
    cases,
    quick={"count": 20},
    full={"count": 60},
    settings="dopri8 at 1e-10 until t = 3",
    figure=Figure(
        Panel("lost", "t", "excess risk over that at the start", "time $t$", by=("scale",), log="y"),
        caption="The excess risk of some of the problems, by the size of their starts: one line for all.",
    ),
)
