"""memo90.framework: what can be seen of section 8's conjectures.

Printed. Three conjectures of why deep networks generalise as well as they do. That deep networks approximate
hierarchically local functions without the curse of dimensionality speaks of rates as the dimension grows: no finite
experiment refutes it, and nothing is asked. That overfit of the risk need not be overfit of the classification error
is asked by memo90.no-overfit-class-error, and "because of margin maximisation" by no experiment here. Asked is the
second: "overparametrized deep networks yield many global degenerate, or almost degenerate, flat minima which are
selected by SGD with high probability".

What is judged. The minima of memo90.complexity-ranking, at one loss: whether eigenvalues of the Hessian are almost all
near zero there; whether those of SGD are flatter than those of descent from starts of the same size with the same step
(log of the largest eigenvalue of the Gauss–Newton matrix, at equal loss), the mean over draws of the data.

Settings, before any run. Those of memo90.complexity-ranking; the whole Hessian at three minima of SGD. Quick:
64-12-12-1, 8 draws, 3 starts.

Tolerances. "Degenerate, or almost": below a thousandth of the largest eigenvalue, nine in ten. Flatter: more than 0, by
a 99 % Student interval over draws.
"""

from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.claims.intervals import mean_over
from gradlab.claims.measured import Number, at_least
from gradlab.claims.memo90.complexity_ranking import BUDGETS as RANKING
from gradlab.claims.memo90.complexity_ranking import Minima, cases
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study

#: Eigenvalues below this part of the largest are almost zero; minima whose Hessian is formed.
ALMOST, FORMED = 1e-3, 3


class Flat(Minima):
    @cached_property
    def batches(self) -> np.ndarray:
        """The batch of the run of every minimum, 0 for all examples."""
        return np.asarray(self.trajectory["batch_of"].values)

    @cached_property
    def sharpness(self) -> np.ndarray:
        """log of the largest eigenvalue of the Gauss–Newton matrix of every minimum."""
        return self.values["sharpness"]

    @cached_property
    def spectra(self) -> np.ndarray:
        """|eigenvalues| of ∇²L over the largest, (FORMED, P), at minima of SGD on the first draw, sizes in turn."""
        rows = np.flatnonzero((self.draws == self.draws.min()) & (self.batches > 0))
        picked = rows[np.linspace(0, len(rows) - 1, FORMED).astype(int)]
        # the split into training and test images is that of the first draw, the problem's own
        problem = eqx.tree_at(
            lambda one: one.data.inputs, self.problem, jnp.asarray(self.trajectory["x"].values[0])
        )
        found = [
            np.linalg.eigvalsh(np.asarray(problem.hessian(problem.unravel(self.weights[i])))) for i in picked
        ]
        return np.array([np.abs(one) / np.abs(one).max() for one in found])

    @at_least(0.9, sentence="flat")
    def degenerate(self) -> Number:
        """Share of the Hessian's eigenvalues below a thousandth of the largest, the least of three minima of SGD.

        "Degenerate or almost": see the module's docstring; one eigenvalue more or less is 1/P.
        """
        shares = np.mean(self.spectra < ALMOST, axis=1)
        return Number(float(shares.min()), 1.0 / self.spectra.shape[1])

    @cached_property
    def flatter(self) -> np.ndarray:
        """Mean log sharpness of descent less that of SGD, starts and steps alike, (draws,)."""
        steps = np.asarray(self.trajectory["step_of"].values)
        found = []
        for draw in np.unique(self.draws):
            differences = []
            for size in np.unique(self.sizes):
                for step in np.unique(steps):
                    alike = (self.draws == draw) & (self.sizes == size) & (steps == step)
                    ours, theirs = (
                        self.sharpness[alike & which] for which in (self.batches > 0, self.batches == 0)
                    )
                    if len(ours) and len(theirs):
                        differences.append(theirs.mean() - ours.mean())
            found.append(np.mean(differences))
        return np.array(found)

    @at_least(0.0, sentence="flat")
    def selects_flat(self) -> Number:
        """log sharpness of minima of descent less that of SGD's, at one loss, starts and steps alike.

        "Selected by SGD": more than 0.
        """
        return mean_over(self.flatter)

    def shown(self) -> dict[str, Any]:
        one = np.sort(self.spectra[0])[::-1]
        return {
            "eigenvalues": ("index", one),
            "number": ("index", np.arange(1.0, len(one) + 1.0)),
            "flatter_by": ("draw", self.flatter),
            "draw_number": ("draw", np.arange(1.0, len(self.flatter) + 1.0)),
        }


# What the ranking asks is not asked again here.
for _name in ("ranks", "ranks_at_one_size"):
    setattr(Flat, _name, None)

FIGURE = Figure(
    Panel(
        "eigenvalues", "number", r"$|\lambda|/\lambda_{max}$", "number", by=("data",), log="y", floor=1e-18
    ),
    Panel(
        "flatter_by",
        "draw_number",
        "log sharpness, GD − SGD",
        "draw of the data",
        by=("data",),
        reference={"0": 0.0},
    ),
    caption="Left: the Hessian's eigenvalues at a minimum found by SGD, largest first. Right: by how much minima found "
    "by descent are sharper than those found by SGD at the same loss, a point a draw of the data.",
)
STUDY = study(
    "memo90.framework",
    Flat,
    cases,
    quick=RANKING["quick"] | {"hidden": (12, 12), "draws": 8, "starts": 3},
    full=RANKING["full"],
    few=RANKING["few"] | {"rules": RANKING["quick"]["rules"][::2], "starts": 2},
    figure=FIGURE,
    settings=section(__doc__, "Settings"),
)
