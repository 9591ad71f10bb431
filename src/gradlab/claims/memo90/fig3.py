"""memo90.fig3: two surfaces over two weights, a degenerate quadratic and the valley of a loss with a tail.

What is printed. Left, "a quadratic loss function in two parameters … The minimum has a degenerate Hessian with a zero
eigenvalue." Right, "an illustration of the cross-entropy risk near the global minimum at convergence … The valley is
slightly sloped downwards for ‖w‖ → ∞." No data are given.

What is drawn. Left: one example, (y − w·x)². Right: x = (±1, ε) turned by an angle, both of the same label. Under the
exponential loss L = 2e^{−εv} cosh u, u across and v along the valley: its floor u = 0 falls like 2e^{−εv}, with the
slope −2εe^{−εv}; the curvature across is 1/ε² times that along. Under the logistic loss and two-class cross-entropy
(two outputs whose weights are W and −W: |w| is halved) the floor is 2 log(1 + e^{−εv}). With one example there is no
valley: beside it L is flat.

Settings, before any run. 6 turns of one example under the square loss; 6 turns and ε in [0.02, 0.3] under the
exponential and logistic losses and cross-entropy. Slopes and curvatures by automatic differentiation at v = 5, 10,
20, 40 over ε.

Tolerances. Quadratics are rounded at 1e-16: eigenvalues at 1e-13 of the largest are zero. The slope along the floor
over the loss is −ε σ, σ between ½ and 1 (logistic) or 1: between −ε and −ε/2, and across it zero to 1e-12.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria.minimising import potential
from gradlab.claims.cases import Case, case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.studies import section, study
from gradlab.observe.local import local, values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

ALONG = np.array([5.0, 10.0, 20.0, 40.0])


class Fig3(Look):
    """Records are points of the minimum, or of the floor of the valley."""

    setting = "a linear net of one layer with two inputs"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether there are two inputs and one layer."""
        return isinstance(problem.network, Dense) and problem.network.widths[0] == 2

    @property
    def square(self) -> bool:
        """Whether the loss is square."""
        return isinstance(self.problem.loss, Square)

    @property
    def floor(self) -> np.ndarray:
        """The unit vector along the valley, in the space of the weights."""
        return np.asarray(self.trajectory["floor"].values)

    @cached_property
    def losses(self) -> np.ndarray:
        """L at every record."""
        return np.asarray([potential(self.problem, w) for w in self.weights])

    @cached_property
    def slopes(self) -> np.ndarray:
        """∇L over L at every record."""
        return np.stack([self.gradient(w) for w in self.weights]) / self.losses[:, None]

    @cached_property
    def curvature(self) -> np.ndarray:
        """∇²L at the end."""
        return np.asarray(self.problem.hessian(self.tree(self.end)))

    @cached_property
    def spectrum(self) -> np.ndarray:
        """Eigenvalues of ∇²L at the end over the largest."""
        values = np.linalg.eigvalsh(self.curvature)
        return values / np.abs(values).max()

    @at_most(1e-13, sentence="degenerate")
    def zero(self) -> Number | None:
        """|least eigenvalue| of the Hessian over the largest, at a minimum of the square loss.

        0; rounding is 1e-16.
        """
        return Number(abs(float(self.spectrum[0])), EPS) if self.square else NOT_ASKED

    @at_most(1e-12, sentence="degenerate")
    def minimum(self) -> Number | None:
        """The largest L over the minima of the square loss, y = 1 or so: a line of them.

        Rounding squared.
        """
        return Number(float(self.losses.max()), EPS) if self.square else NOT_ASKED

    @at_most(-0.4, sentence="sloped")
    def falls(self) -> Number | None:
        """Largest slope along the floor of the valley over ε L, at every record: downwards.

        Between −1 and −½, see the module's docstring.
        """
        if self.square:
            return NOT_ASKED
        return Number(float(np.max(self.slopes @ self.floor)) / float(self.trajectory["epsilon"]), 1e-9)

    @at_least(-1.0 - 1e-6, sentence="sloped")
    def slightly(self) -> Number | None:
        """The least of the same: slightly, by a share ε of the loss at most.

        As above.
        """
        if self.square:
            return NOT_ASKED
        return Number(float(np.min(self.slopes @ self.floor)) / float(self.trajectory["epsilon"]), 1e-9)

    @at_most(1e-12, sentence="sloped")
    def valley(self) -> Number | None:
        """Largest slope across the floor over L: a valley, and no hillside.

        0 by symmetry; rounding.
        """
        if self.square:
            return NOT_ASKED
        across = self.slopes - (self.slopes @ self.floor)[:, None] * self.floor
        return Number(float(np.max(np.linalg.norm(across, axis=1))), EPS)

    @at_most(0.2, sentence="sloped")
    def steep(self) -> Number | None:
        """Curvature along the floor over that across it, at the last record.

        ε² ≤ 0.09; half of that under the logistic loss.
        """
        if self.square:
            return NOT_ASKED
        along = abs(float(self.floor @ self.curvature @ self.floor))
        return Number(along / float(np.linalg.norm(self.curvature, 2)), 1e-12)

    def shown(self):
        return {
            "along": ("record", np.linalg.norm(self.weights, axis=1)),
            "floor loss": ("record", np.maximum(self.losses, 1e-17)),
        }


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def cases(key: Any, *, draws: int) -> Iterator[Case]:
    """Every loss, turned at random."""
    random = generator(key)
    for draw in range(1, draws + 1):
        turn, epsilon = _turn(random.uniform(0.0, 2.0 * np.pi)), float(random.uniform(0.02, 0.3))
        x = np.array([[1.0, 0.0]]) @ turn.T * random.uniform(0.5, 2.0)
        along = turn @ np.array([0.0, 1.0])
        solution = x[0] / (x[0] @ x[0])
        line = solution + np.outer(np.append(0.0, ALONG[:3]), along)
        problem = Problem(Dense((2, 1), "identity"), Square(), Data(x, np.ones((1, 1))))
        seen = xr.Dataset(
            {"weights": (("record", "weight"), line), "floor": ("weight", along), "epsilon": 0.0}
        )
        yield case(problem, seen, loss="square", draw=draw)
        rows = np.array([[1.0, epsilon], [-1.0, epsilon]]) @ turn.T
        for name, loss in (("exponential", Exponential("sum")), ("logistic", Logistic("sum"))):
            problem = Problem(Dense((2, 1), "identity"), loss, Data(rows, np.ones(2)))
            yield _valley(problem, np.outer(ALONG / epsilon, along), along, epsilon, name, draw)
        two = Problem(Dense((2, 2), "identity"), CrossEntropy("sum"), Data(rows, np.zeros(2, dtype=int)))
        both = np.concatenate([along, -along]) / np.sqrt(2.0)
        # of weights W and −W the margin is 2 W·x: √2 along this unit vector
        yield _valley(
            two,
            np.outer(ALONG / epsilon / np.sqrt(2.0), both),
            both,
            np.sqrt(2.0) * epsilon,
            "cross-entropy",
            draw,
        )


def _valley(
    problem: Problem, points: np.ndarray, floor: np.ndarray, epsilon: float, name: str, draw: int
) -> Case:
    seen = {"weights": (("record", "weight"), points), "floor": ("weight", floor), "epsilon": epsilon}
    return case(problem, xr.Dataset(seen), loss=name, draw=draw)


#: ε of the valley that is drawn.
DRAWN = 0.15


def _surfaces() -> tuple[tuple[str, np.ndarray, np.ndarray, Any], ...]:
    """Title, grids across and along, and L as a function of both."""
    u = np.linspace(-3.0, 3.0, 121)
    square = Problem(Dense((2, 1), "identity"), Square(), Data([[1.0, 0.0]], [[1.0]]))
    rows = np.array([[1.0, DRAWN], [-1.0, DRAWN]])
    valley = Problem(Dense((2, 1), "identity"), Logistic("sum"), Data(rows, np.ones(2)))
    return (
        ("square loss, one example", u, np.linspace(-6.0, 6.0, 121), square),
        (f"logistic loss, ε = {DRAWN}", u, np.linspace(0.0, 30.0, 121), valley),
    )


def drawn(dataset: xr.Dataset, verdict: Any) -> Any:
    """The two surfaces, and below each the eigenvalues of the Hessian along its valley."""
    figure, axes = figures.panels(4, height=2.9)
    for (title, across, along, problem), above, below, floor in zip(
        _surfaces(), axes[:2], axes[2:], (1.0, 0.0), strict=True
    ):
        grid = np.stack(np.meshgrid(across, along), axis=-1)
        values = values_and_gradients(problem, grid.reshape(-1, 2))[0].reshape(grid.shape[:2])
        levels = np.quantile(values, np.linspace(0.0, 1.0, 16))
        shades = [f"{figures.LINES[0]}{200 - 12 * step:02x}" for step in range(len(levels) - 1)]
        above.contourf(across, along, values, levels=levels, colors=shades)
        above.contour(across, along, values, levels=levels, colors=figures.LINES[0], linewidths=0.6)
        above.axvline(floor, color=figures.LINES[1], linewidth=1.6)
        above.set(xlabel="across", ylabel="along the valley")
        above.set_title(title)
        spectra = [local(problem, np.array([floor, v])).hessian for v in along]
        lines = {"across": [H[0, 0] for H in spectra], "along": [abs(H[1, 1]) for H in spectra]}
        figures.curves(
            along,
            {name: np.maximum(line, 1e-17) for name, line in lines.items()},
            "along the valley",
            r"eigenvalues of $\nabla^2L$",
            log="y",
            axes=below,
        )
    return figures.with_caption(
        figure,
        "Above: the two surfaces, dark where L is small, and the floor of each valley. Below: the eigenvalues of the "
        "Hessian along that floor, in its two directions; zero is drawn at 1e-17. Left: a line of minima with a zero "
        "eigenvalue. Right: the loss falls by a share ε of itself along the floor, both eigenvalues with it.",
    )


STUDY = study(
    "memo90.fig3",
    Fig3,
    cases,
    quick={"draws": 6},
    full={"draws": 30},
    few={"draws": 1},
    settings=section(__doc__, "Settings"),
    figure=drawn,
)
