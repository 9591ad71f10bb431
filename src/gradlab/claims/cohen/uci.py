"""cohen.uci: ℓ_4 regression on the ethanol rows of UCI's gas sensors, by one layer and by several.

Printed. "Regression problem from UCI ML Repository; ℓ_4 loss", curves that are not in the text, and "depth can speed-up
GD, even w/o any gain in expressiveness, and despite introducing non-convexity!" The data set is that of the paper
(Arora, Cohen, Hazan 2018): 2 565 rows of 128 features, the target a concentration. What was done to the features, and
how near zero the runs began, is not on the slide.

What is compared. Iterations until ℓ − ℓ* is a share of what it was, each depth with its own best step. "Can" is an
existence statement: the best of two and three layers against one. ℓ* is Newton's. Descent on balanced layers of one
output is descent on N − 1 equal numbers and a row, whatever the widths (docs/notes/cohen.uci.md): the layers
themselves, of width 6, are run beside for 40 iterations. At p = 2 the loss is run on its sufficient statistics, 129
rows. A table of all that was run stands in docs/notes/ethanol.md.

Settings, before any run. Features standardised, or whitened; targets standardised; no intercept. Starts of size 10⁻³
in a random direction, balanced. One, two and three layers (full: four; AdaGrad, AdaDelta, Adam on one; and layers of
width 8 and 32 from independent Gaussian entries). Shares 0.3 and 0.2 (standardised; full to 0.1; at p = 2 0.1 and
0.05), 0.1 and 0.01 (whitened; full to 10⁻³). The step on 16 a decade (full: 12), extended until the best is inside; a
share is reached where it is kept a quarter longer.

Tolerances. Faster is a gain above 1, without margin; the bar is the grid taken half as fine, and a count off by one.
The control is p = 2: where inputs are whitened one layer takes one step and nothing gains; where they are not, N layers
gain a factor N at most at the optimum (the condition number of P_W), and the source has none: 1.5 is allowed.

Changed after a first run: shares and grid, for time and for the bars; that a share which was kept stays reached even if
the step diverges later. The first run had gains of 1.2 at p = 2 and of 2.5 at p = 4; 1.5 for the control was set then.
"""

from functools import cached_property
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures, loaders
from gradlab.analysis.linear_nets import balanced_factors, end_to_end
from gradlab.analysis.tuning import tuned
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.tuned import Compared, recorded_counts
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems.tuned_rules import AdaDelta, AdaGrad, Adam, BalancedLayers, Layers, minimum
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Lp
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

FEATURES = ("standardised", "whitened")
ADAPTIVE: dict[str, Any] = {"AdaGrad": AdaGrad, "AdaDelta": AdaDelta, "Adam": Adam}
#: Size of the start; iterations of layers beside what they amount to, and their width.
START, BESIDE, WIDTH = 1e-3, 40, 6
FEATURE_COUNT = 128


#: Shares of ℓ − ℓ* that are to be reached, by p and features.
FULL_SHARES = {
    (4.0, "standardised"): (0.3, 0.2, 0.15, 0.1),
    (2.0, "standardised"): (0.3, 0.1, 0.05, 0.03),
    (4.0, "whitened"): (0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
    (2.0, "whitened"): (0.1, 0.01, 0.001),
}
QUICK_SHARES = {
    (4.0, "standardised"): (0.3, 0.2),
    (2.0, "standardised"): (0.1, 0.05),
    (4.0, "whitened"): (0.1, 0.01),
    (2.0, "whitened"): (0.1, 0.01),
}
FEW_SHARES = QUICK_SHARES | {(4.0, "standardised"): (0.25,), (2.0, "standardised"): (0.1,)}


class Ethanol(Compared):
    """One layer, several, and adaptive rules on one regression."""

    setting = "the ethanol rows are here: `gradlab data fetch gas_sensor` brings them, GRADLAB_DATA names their folder"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is a regression of 128 features, under the ℓ_p loss."""
        return isinstance(problem.loss, Lp) and problem.data.inputs.shape[1] == FEATURE_COUNT

    @property
    def whitened(self) -> bool:
        """Whether features are whitened."""
        return self.facts["features"] == "whitened"

    @cached_property
    def gains(self) -> np.ndarray:
        """Iterations of one layer over those of each depth, (depth − 1, level); NaN where neither arrived."""
        deep = [name for name in self.names if name.startswith("N = ") and name != "N = 1"]
        with np.errstate(invalid="ignore"):
            return np.array([self.at("N = 1") / self.at(name) for name in deep])

    def gained(self, p: float, whitened: bool) -> Number | None:
        """The gain of the best depth at the last level, on a kind of problem."""
        if self.problem.loss.p != p or self.whitened != whitened:
            return NOT_ASKED
        gain = float(self.gains[:, -1].max())
        return Number(gain, gain * float(np.max(1.0 / np.maximum(self.best[:, -1], 1.0))))

    @at_most(1e-9, role="hypothesis")
    def reduced(self) -> Number:
        """How far layers of width 6 are, after 40 iterations, from what balanced layers amount to, relatively.

        Rounding, which 40 iterations below the stable step do not amplify.
        """
        return Number(float(self.trajectory["apart"].values), EPS)

    @at_least(1.0, sentence="speeds_up")
    def faster(self) -> Number | None:
        """Iterations of one layer over those of the best of several, p = 4, features standardised.

        "Speed up": more than 1, without margin.
        """
        return self.gained(4.0, False)

    @at_least(1.0, sentence="speeds_up")
    def faster_whitened(self) -> Number | None:
        """The same, features whitened.

        As above.
        """
        return self.gained(4.0, True)

    @cached_property
    def factored(self) -> np.ndarray:
        """The product of balanced factors of the optimum, N = 3, of width 1."""
        best = np.asarray(self.trajectory["optimum"].values)[None, :]
        return np.asarray(end_to_end(balanced_factors(best, (best.size, 1, 1, 1))))[0]

    @at_most(1e-12, sentence="expressiveness")
    def represented(self) -> Number:
        """‖W_N⋯W_1 − w*‖/‖w*‖ for balanced factors of the optimum, N = 3, of width 1.

        Rounding: one layer has the same functions.
        """
        best = np.asarray(self.trajectory["optimum"].values)
        return Number(float(np.linalg.norm(self.factored - best) / np.linalg.norm(best)), EPS)

    @at_most(-1e-6, sentence="expressiveness")
    def not_convex(self) -> Number:
        """The least eigenvalue of the loss of two layers of width 1 at the start, over the largest in size.

        −1 near zero, where the Hessian is (0, g; gᵀ, 0); rounding is 1e-14.
        """
        values = np.linalg.eigvalsh(self.bend)
        return Number(float(values[0] / np.abs(values).max()), len(values) * EPS)

    @cached_property
    def bend(self) -> np.ndarray:
        """The Hessian of two layers of width 1 at the start."""
        s, a = BalancedLayers(self.problem, depth=2).begin(jnp.asarray(self.trajectory["start"].values))

        def loss(one):
            return self.problem.potential(((one[0] * one[1:])[None, :],))

        return np.asarray(jax.hessian(loss)(jnp.concatenate([s[None], a])))

    @at_most(1.5, role="control", changed="1.5 was set after a first run, see the docstring")
    def square(self) -> Number | None:
        """The gain of the best depth at p = 2, at the last level, features standardised.

        See the module's docstring.
        """
        return self.gained(2.0, False)

    @at_most(1.0, role="control")
    def square_whitened(self) -> Number | None:
        """The same, features whitened.

        One layer takes one step where η = 1/2: nothing gains.
        """
        return self.gained(2.0, True)

    def shown(self):
        names = self.names
        found = {"shares": ("level", np.asarray(self.trajectory["shares"].values))}
        for depth in (depth for depth in (1, 2, 3) if f"N = {depth}" in names):
            found[f"iterations_{depth}"] = ("level", self.at(f"N = {depth}"))
        found["gain"] = ("level", self.gains.max(axis=0))
        finite = np.where(np.isfinite(self.counts[:, 0]), self.counts[:, 0], np.nan)
        for i in range(min(3, len(names))):
            found |= {f"count_{i + 1}": ("step", finite[i]), f"step_{i + 1}": ("step", self.grids[i])}
        return found


def ethanol(p, features):
    """The regression as a layer with one output; at p = 2 on its sufficient statistics: R, Qᵀy and what is left."""
    data = loaders.gas_sensor(standardise=True, whiten=features == "whitened")
    x, y = np.asarray(data.inputs), np.asarray(data.targets)
    if p == 2.0:
        q, r = np.linalg.qr(x)
        left = np.linalg.norm(y - q @ (q.T @ y))
        scale = np.sqrt((x.shape[1] + 1) / len(x))
        x = scale * np.vstack([r, np.zeros((1, x.shape[1]))])
        y = scale * np.vstack([q.T @ y, [[left]]])
    return Problem(Dense((x.shape[1], 1), "identity"), Lp(p, "mean"), Data(x, y)).lean()


def stable_step(problem, w):
    """2/λ_max(∇²ℓ) at w."""
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    bend = problem.loss.derivative((x @ w)[:, None], y, 2)[:, 0, 0]
    return 2.0 / float(np.linalg.eigvalsh((x * bend[:, None]).T @ x / len(x))[-1])


#: Central steps: of depths in units of the stable step of one layer at the start, P_W being N at ‖w‖ = 1; of adaptive
#: rules as they are.
CENTRES = {"AdaGrad": 0.1, "AdaDelta": 0.1, "Adam": 0.01}


def compared_rules(problem, floor, w, unit, rng, *, depths, adaptive, widths):
    """Name, rule, start and central step of everything that is compared."""
    for depth in depths:
        layers = BalancedLayers(problem, floor, depth)
        yield f"N = {depth}", layers, layers.begin(jnp.asarray(w)), _centre(depth, unit)
    for name in adaptive:
        rule = ADAPTIVE[name](problem, floor)
        yield name, rule, rule.begin(jnp.asarray(w)), CENTRES[name]
    for depth in (2, 3) if widths else ():
        for width in widths:
            sizes = (len(w), *(width,) * (depth - 1), 1)
            drawn = [rng.standard_normal((after, before)) for before, after in pairwise(sizes)]
            scale = (np.linalg.norm(w) / np.linalg.norm(end_to_end(drawn))) ** (1.0 / depth)
            start = tuple(jnp.asarray(scale * layer) for layer in drawn)
            yield f"{depth} layers of {width}", Layers(problem, floor), start, _centre(depth, unit)


def _centre(depth, unit):
    return unit * (10.0**0.75 / depth if depth > 1 else 10.0**0.25)


def _apart(problem, w, step, rng):
    """Layers of width 6 in random bases and what they amount to, after 40 iterations: relative distance of products."""
    widths = (len(w), WIDTH, WIDTH, 1)
    turns = [np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] for _ in range(2)]
    first, second, third = balanced_factors(w[None, :], widths)
    layers = (turns[0] @ first, turns[1] @ second @ turns[0].T, third @ turns[1].T)
    whole, amount = Layers(problem), BalancedLayers(problem, depth=3)

    @jax.jit
    def moved(pair):
        return jax.lax.fori_loop(
            0,
            BESIDE,
            lambda _, both: (whole.advance(both[0], step)[0], amount.advance(both[1], step)[0]),
            pair,
        )

    layers, (s, a) = moved((tuple(jnp.asarray(one) for one in layers), amount.begin(jnp.asarray(w))))
    product, other = np.asarray(end_to_end(layers))[0], np.asarray(s**2 * a)
    return float(np.linalg.norm(product - other) / np.linalg.norm(other))


def cases(key, *, powers, shares, draws, fine, most, **compared):
    """Every p and kind of features, from random starts; one sentence where the data are not there."""
    rng = generator(key)
    if not any(row["name"] == "gas_sensor" and row["present"] for row in loaders.describe()):
        absent = Problem(Dense((1, 1), "identity"), Lp(4.0, "mean"), Data([[1.0]], [[1.0]]))
        yield case(absent, xr.Dataset(), rows="the ethanol rows are not here")
        return
    for features in FEATURES:
        for p in powers:
            problem = ethanol(p, features)
            optimum, least = minimum(problem)
            for draw in range(draws):
                direction = rng.standard_normal(len(optimum))
                w = START * direction / np.linalg.norm(direction)
                excess = float(problem.potential((w[None, :],))) - least
                levels, unit = np.array(shares[p, features]) * excess, stable_step(problem, w)
                apart = _apart(problem, w, 0.1 * unit, rng)
                found = {
                    name: tuned(rule, start, centre, levels, most, per_decade=fine, decades=(0.5, 0.5))
                    for name, rule, start, centre in compared_rules(problem, least, w, unit, rng, **compared)
                }
                seen = recorded_counts(found) | {
                    "start": ("weight", w),
                    "optimum": ("input", optimum),
                    "shares": ("level", np.array(shares[p, features])),
                    "apart": ((), apart),
                }
                kind = f"p {p:g}{' w' if features == FEATURES[1] else ''}"
                yield case(problem, xr.Dataset(seen), p=p, features=features, draw=draw + 1, kind=kind)


FIGURE = Figure(
    *(
        Panel(
            f"count_{depth}",
            f"step_{depth}",
            "iterations to the first share",
            rf"step $\eta$, $N={depth}$",
            by=("kind",),
            log="xy",
        )
        for depth in (1, 2, 3)
    ),
    Panel(
        "gain",
        "shares",
        "gain of the best depth",
        r"share of $\ell-\ell^*$",
        by=("kind",),
        log="xy",
        lines=True,
        each=1,
    ),
    caption="Iterations to the first share for every step that reaches it, w where features are whitened: each "
    "depth has its own best step. Last: iterations of one layer over those of two or three, each with its best step.",
)


def _figure(dataset, verdict):
    """The figure, or an empty one that says why."""
    if "gain" in dataset:
        return FIGURE(dataset, verdict)
    return figures.with_caption(figures.panels(1)[0], "The ethanol rows are not here: nothing was run.")


STUDY = study(
    "cohen.uci",
    Ethanol,
    cases,
    quick={
        "powers": (4.0, 2.0),
        "shares": QUICK_SHARES,
        "depths": (1, 2, 3),
        "adaptive": (),
        "draws": 1,
        "fine": 16,
        "widths": (),
        "most": 5000,
    },
    full={
        "shares": FULL_SHARES,
        "depths": (1, 2, 3, 4),
        "adaptive": tuple(ADAPTIVE),
        "widths": (8, 32),
        "fine": 12,
        "most": 20_000,
    },
    few={"shares": FEW_SHARES, "depths": (1, 2)},
    settings=section(__doc__, "Settings"),
    figure=_figure,
)
