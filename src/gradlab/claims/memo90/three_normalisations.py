"""memo90.three-normalisations: normalise at the end, weight normalisation, the unit-norm penalty (section 14, remark).

What is printed. "The dynamics of Equations 48 and 49 is different from other gradient descent dynamics, though
similar. It represents one of the possible approaches for training deep nets on exponential type losses: the first
approach is to update W and then, in principle at least, normalize at the end. The second approach, is similar to
using weight normalization: GD implements the dynamics of w̃. The third approach uses the dynamics corresponding to a
penalization term enforcing unit Frobenius norm of the weight matrix V_k."

How it is read. Different: from the same start the directions of V pass through other points on the way to the same
loss. Similar: what the nets compute tends to the same limit.

What holds. With pulls G_k = −∂L/∂W_k the plain flow turns V_k at the rate (1/ρ_k) S G_k, weight normalisation at ρ_k
S G_k, the penalty at ρ_k S G_k/‖V_k‖² in effect: other clocks of turning against growing. For linear nets all three
end in the SVM direction. A ReLU net may be led to another KKT point by each (memo90.proposition5), or be sorted more
slowly: there distances are shown and not judged, as the passage says "similar" and no more.

Settings, before any run. Linear nets 3-1 and 3-2-1 and ReLU nets of two and three neurons on two inputs at 100° and
150°, random starts that separate, ρ_k scaled to 1.5 at most; λ = 0.01. LSODA at 1e-7 in log t from −6 to 21; the
three are compared at equal loss, at the end of the one that is behind.

Tolerances. Directions are off their limit by C/f, f ≈ ½ log t = 15 under the penalty, which runs to log t = 30, the
others to 300: 0.25 leaves C = 3. On the way the directions of V, at equal loss, differ by O(1) of how far they turn:
1e-3 is asked.
"""

from functools import cached_property

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.late import LateNet
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import late, late_polar
from gradlab.claims.studies import section, study
from gradlab.observe.local import outputs

LOGS = {
    kind: np.concatenate([np.linspace(-6.0, 10.0, 49), np.geomspace(10.5, end, 33)])
    for kind, end in (("plain", 300.0), ("weight normalisation", 300.0), ("penalty", 30.0))
}
KINDS = ("plain", "weight normalisation", "penalty")
PENALTY = 0.01


class ThreeNormalisations(LateNet):
    separated = None

    def whole(self, rows: np.ndarray) -> np.ndarray:
        """W of rows (ρ, V), each V_k to norm one."""
        _, _, layer = late_polar.polar_parts(self.problem, rows[0])
        V = rows[:, self.depth :]
        sizes = np.sqrt(np.stack([np.sum(V[:, layer == k] ** 2, axis=1) for k in range(self.depth)], axis=1))
        return V / sizes[:, layer]

    def losses(self, rows: np.ndarray, normalised: bool) -> np.ndarray:
        """log(1/L) at every record."""
        found, signs = [], np.asarray(self.problem.data.targets)
        for y in rows:
            rho, V, layer = late_polar.polar_parts(self.problem, y)
            unit = self.whole(y[None])[0] if normalised else V
            m = signs * outputs(self.problem, rho[layer] * unit)[:, 0]
            found.append(m.min() - np.log(np.exp(m.min() - m).sum()))
        return np.array(found)

    @property
    def parts(self) -> list[np.ndarray]:
        """(ρ, V) of the three flows, each (records, K + P)."""
        return np.split(self.weights, 3, axis=1)

    @at_least(1e-3, role="hypothesis")
    def separated_at_last(self) -> float:
        """Least margin of V at the end of the three flows.

        A sign; 0 where a point was lost.
        """
        return float(min(late.margins(self.problem, self.whole(rows)[-1])[0].min() for rows in self.parts))

    @cached_property
    def apart(self) -> list[float]:
        """Largest distance of V from the plain flow's at equal loss, over the records with L > e^{−6}, for the two
        others."""
        found = []
        first, *others = self.parts
        grid, base = self.losses(first, False), self.whole(first)
        for rows, kind in zip(others, KINDS[1:], strict=True):
            here, V = self.losses(rows, kind != "penalty"), self.whole(rows)
            kept = np.isfinite(here)  # a solver may give up late, long after the losses that are asked
            here, V = here[kept], V[kept]
            inside = (grid > here[0]) & (grid < min(here[-1], 6.0))
            # losses fall along every one of these flows but for the last digits
            along = np.stack([np.interp(grid[inside], here, column) for column in V.T], axis=1)
            found.append(float(np.max(np.linalg.norm(along - base[inside], axis=1), initial=0.0)))
        return found

    @at_least(1e-3, sentence="different")
    def penalty_differs(self) -> Number:
        """Largest distance of the penalty's V from the plain flow's at equal loss.

        See the module's docstring.
        """
        return Number(self.apart[1], 1e-9)

    @at_least(1e-3, sentence="different")
    def weight_normalisation_differs(self) -> Number:
        """Largest distance of weight normalisation's V from the plain flow's at equal loss.

        See the module's docstring.
        """
        return Number(self.apart[0], 1e-9)

    @cached_property
    def limits(self) -> float:
        """Largest distance of what two of the three compute at their ends, as unit vectors."""
        ends = [self.function(self.whole(rows)[-1]) for rows in self.parts]
        return float(np.max([np.linalg.norm(ends[i] - ends[j]) for i, j in ((0, 1), (0, 2), (1, 2))]))

    @at_most(
        0.25,
        sentence="similar",
        changed="0.15 at log t = 21 at equal loss before, where f of the penalty is 10 and points beyond the "
        "margin still pull",
    )
    def same_linear(self) -> Number | None:
        """Largest distance of what two of the three compute at their ends, linear nets.

        C/f, f ≈ 15 under the penalty, C of 3 at most.
        """
        return NOT_ASKED if self.rectified else Number(self.limits, 1e-9)

    def shown(self):
        apart = self.apart
        return {"wn": apart[0], "pen": apart[1], "limit": self.limits}


def cases(key, *, linear, rectified):
    """Three flows from every start."""
    random = generator(key)
    plans = [("3-1", (3, 1))] * linear + [("3-2-1", (3, 2, 1))] * linear
    plans += [(f"ReLU {angle}°", (2, m, 1)) for angle in (100, 150) for m in (2, 3) for _ in range(rectified)]
    for i, (name, widths) in enumerate(plans):
        if name.startswith("ReLU"):
            problem = late.net(widths, late.pair(float(name[5:-1])))
        else:
            problem = late.net(widths, *late.separable(random, 5, 3), "identity")
        while True:
            w = random.standard_normal(problem.size)
            if widths[0] == 2:
                w[2 * widths[1] :] = np.abs(w[2 * widths[1] :])
            w *= 1.5 / np.linalg.norm(w) * np.sqrt(len(widths) - 1.0)
            if late.margins(problem, w)[0].min() > 0.1:
                break
        start = late_polar.chart(problem, w)
        fields = [
            late_polar.polar_flow(problem, kind, PENALTY if kind == "penalty" else 0.0) for kind in KINDS
        ]
        runs = [
            late.orbit(field, None, start, LOGS[kind], problem, 1e-7)
            for field, kind in zip(fields, KINDS, strict=True)
        ]
        beside = {
            one: (("record", "weight"), np.hstack([run.trajectory[one].values for run in runs]))
            for one in ("weights", "weights_coarse")
        }
        seen = xr.Dataset({**beside, "log_t": ("record", LOGS["penalty"])})
        yield case(problem, seen, net=name, kind="ReLU" if widths[0] == 2 else "linear", draw=i + 1)


STUDY = study(
    "memo90.three-normalisations",
    ThreeNormalisations,
    cases,
    quick={"linear": 6, "rectified": 2},
    full={"linear": 25, "rectified": 15},
    few={"linear": 1, "rectified": 0},
    figure=Figure(
        Panel(
            "pen",
            "case",
            "apart from the plain flow on the way",
            "case",
            by=("net",),
            log="y",
            reference={"asked": 1e-3},
        ),
        Panel(
            "limit",
            "case",
            "apart at the end",
            "case",
            by=("net",),
            log="y",
            floor=1e-9,
            reference={"tolerance": 0.15},
        ),
        caption="Left: largest distance of the penalty's directions from the plain flow's at equal loss. Right: "
        "largest distance of what two of the three compute at the end.",
    ),
    settings=section(__doc__, "Settings"),
)
