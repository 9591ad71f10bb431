"""saxe14.random-start: how near the closed form of decoupled weights is to modes from small random weights.

Said in substance. The closed form is close to learning from small random weights, where modes are not decoupled; what
stands for u_0 is not said.

Derived (docs/notes/saxe14.random-start.md). While all weights are small, x = W_1v and y = W_2ᵀu of a mode obey τx' =
sy, τy' = sx: what grows is p = (x + y)/2, and the mode's strength like ‖p‖²e^{2st/τ}. So u_0 = ‖p‖² of the start, not
uᵀW_2W_1v, which may be negative. A mode that is learnt takes its direction of the hidden space with it: of the others
only what is orthogonal to it still grows. So u_0 = ‖(1 − Q)p‖², Q the projection on the p of the modes of larger s.
With that the closed form is right as the scale σ → 0; with ‖p‖² alone only for the first mode.

Settings, before any run. Widths 4-3-3 and 4-12-3, X = I, half the sum of squares, singular values 2.4, 1.5, 0.7;
Gaussian weights of scale σ = 10⁻², 10⁻³, 10⁻⁴; dopri8 at 1e-10 to t = 2.5 ln(1/σ)/s_min, 60 records.

Tolerances. The largest |u − closed form|/s at σ = 10⁻⁴: 5 %. Modes overlap by powers of σ, the least (s_1 − s_2)/s_1 =
0.4: (10⁻⁴)^{0.4·2} = 6e-4, times what a shift in time does. "Falls": by a factor of three at least for a hundred.
"""

from functools import cached_property

import numpy as np

from gradlab.claims.cases import ensemble, generator
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.saxe14.mode_dynamics import Modes
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive

VALUES = np.array([2.4, 1.5, 0.7])
SCALES = (1e-2, 1e-3, 1e-4)


class RandomStart(Modes):
    """Flows from small random weights."""

    @cached_property
    def growing(self) -> np.ndarray:
        """p of every mode at the start, as rows: (modes, hidden)."""
        left, _, right = self.bases
        first, second = self.matrices[0]
        return 0.5 * (right @ first.T + left.T @ second)

    @cached_property
    def seeds(self) -> np.ndarray:
        """‖(1 − Q)p‖² of every mode, in the order of s: squares of a Gram–Schmidt diagonal."""
        return np.diag(np.linalg.qr(self.growing.T)[1]) ** 2

    def error(self, starts: np.ndarray) -> np.ndarray:
        """The largest |u − closed form|/s of every mode."""
        return np.abs((self.strengths - self.curves(starts)) / self.bases[1]).max(axis=0)

    @property
    def scale(self) -> float:
        """σ."""
        return float(self.facts["scale"])

    @at_most(0.05, sentence="approximates")
    def seeded(self) -> Number | None:
        """The largest |u − closed form|/s of all modes, u_0 = ‖(1 − Q)p‖², at σ = 10⁻⁴.

        See the module's docstring.
        """
        if self.scale != SCALES[-1]:
            return NOT_ASKED
        return Number(float(self.error(self.seeds).max()), 1e-9)

    @at_most(0.05, sentence="first")
    def first(self) -> Number | None:
        """The same of the mode of largest s, u_0 = ‖p‖², at σ = 10⁻⁴.

        As above: no mode is learnt before.
        """
        if self.scale != SCALES[-1]:
            return NOT_ASKED
        return Number(float(self.error(np.sum(self.growing**2, axis=1))[0]), 1e-9)

    @at_most(0.1, sentence="approximates")
    def rough(self) -> Number | None:
        """The same of all modes at σ = 10⁻², u_0 = ‖(1 − Q)p‖².

        (10⁻²)^{0.8} = 0.025, and a shift in time.
        """
        if self.scale != SCALES[0]:
            return NOT_ASKED
        return Number(float(self.error(self.seeds).max()), 1e-9)

    @at_least(
        0.1,
        role="control",
        changed="of |uᵀW_2W_1v| for u_0 at first, which may be near ‖(1 − Q)p‖² by chance",
    )
    def doubled(self) -> Number:
        """The same of the worst mode with twice that u_0.

        A shift in time by ln 2/(2s): 0.17 where u = s/2.
        """
        return Number(float(self.error(2.0 * self.seeds).max()), 1e-9)

    def shown(self):
        s = self.bases[1]
        plain = self.error(np.sum(self.growing**2, axis=1))
        return {
            "sigma": self.scale,
            "worst": float(self.error(self.seeds).max()),
            "plain": float(plain[1:].max()),
            "clock": ("record", self.time),
            "last": ("record", self.strengths[:, -1] / s[-1]),
        }


def cases(key, *, hidden, draws):
    """Flows from Gaussian weights of every scale."""
    rng = generator(key)
    for h in hidden:
        shape = (4, h, 3)
        for scale in SCALES:
            drawn = []
            for i in range(draws):
                problem = linear_net.reduced(rng, shape, turned=True, values=VALUES, half=True)
                start = linear_net.gaussian(rng, shape, scale)
                drawn.append((problem, start, {"hidden": h, "scale": scale, "draw": i + 1}))
            records = np.linspace(0.0, 2.5 * np.log(1.0 / scale) / VALUES[-1], 61)
            yield from ensemble(GradientFlow, drawn, records, solver=Adaptive("dopri8", 1e-10))


STUDY = study(
    "saxe14.random-start",
    RandomStart,
    cases,
    quick={"hidden": (3, 12), "draws": 4},
    full={"draws": 24},
    few={"hidden": (3,), "draws": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "worst",
            "sigma",
            "largest error over s",
            "scale σ",
            by=("hidden",),
            log="xy",
            title="u_0 = ‖(1 − Q)p‖²",
        ),
        Panel("plain", "sigma", "of later modes", "scale σ", by=("hidden",), log="xy", title="u_0 = ‖p‖²"),
        caption="How far mode strengths from random weights are from the closed form. u_0 is what grows at the start, "
        "less what earlier modes take (left), and all of it (right).",
    ),
)
