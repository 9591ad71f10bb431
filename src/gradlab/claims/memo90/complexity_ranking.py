"""memo90.complexity-ranking: does the product of the layers' norms at one loss rank minima by their test error?

Printed. Section 13, a remark: let the norms grow until L = ε; "compute the products of the Frobenius norms Π ρ_i when L
= ε. This network norm would be a proxy for the complexity of the network at the specific minimum, allowing a comparison
of different minimizers". "Would be": a proposal, tested by the rank correlation with the test error.

What is judged. Minima of one problem: on one draw of the data, several starts of three sizes, by descent and by SGD,
with momentum and without, each until L ≤ ε, then moved along its ray W ↦ cW (degree 3) to L = ε exactly. Per draw
Spearman's correlation of log Π ρ_k with the test error; the interval is over draws, since minima on one draw are not
independent. Ranking asks for a positive one; asked too is whether it holds among starts of one size, where the size of
the start cannot be what both follow. Beside it, in the figure and in docs/real-data.md: the product of spectral norms,
the path norm, the inverse normalised margin, the sharpness (largest eigenvalue of the Gauss–Newton matrix), and how far
each moves if hidden units are rescaled by factors e^{±1}, which changes no output.

Settings, before any run. Quick: bundled 8×8 digits, 3 against 8, 40 for training, the others (317) for testing; dense
ReLU 64-16-16-1 without biases, logistic loss, mean; ε = 0.01. 16 draws × 3 sizes of the start (½, 1, 2 times He's) × 4
rules (batch 8 and all, step 0.2 without momentum and 0.02 with 0.9) × 4 starts = 768 minima. Full: MNIST, 3 against 8,
100 and 1 500, as many, by gradients in float32. A run that has not arrived after 8 000 iterations is no minimum.

Changed after a first run: 8 draws and 3 starts did not resolve whether starts of one size are ranked.

Tolerances. Positive: above 0, by a 99 % Student interval over draws.
"""

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.intervals import mean_over, rank_correlation
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number, at_least, at_most
from gradlab.claims.plots import Figure, Named, Panel
from gradlab.claims.problems import images as pictures
from gradlab.claims.studies import section, study
from gradlab.dynamics.stops import Stop
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

EPSILON, PAIR = 0.01, (3, 8)
#: Batch (0: all), step and momentum.
RULES = ((8, 0.2, 0.0), (8, 0.02, 0.9), (0, 0.2, 0.0), (0, 0.02, 0.9))


def run_forward(layers: list[np.ndarray], x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs (N,) of a ReLU net, and what enters each layer."""
    entering = []
    for k, matrix in enumerate(layers):
        x = np.maximum(x, 0.0) if k else x
        entering.append(x)
        x = x @ matrix.T
    return x[:, 0], entering


def gauss_newton(layers: list[np.ndarray], x: np.ndarray, weights: np.ndarray) -> float:
    """λ_max of Σ_n weights_n ∇f_n ∇f_nᵀ, from the kernel (N, N) of the gradients."""
    _, entering = run_forward(layers, x)
    back, kernel = np.ones((len(x), 1)), np.zeros((len(x), len(x)))
    for k in reversed(range(len(layers))):
        kernel += (entering[k] @ entering[k].T) * (back @ back.T)
        if k:
            back = (back @ layers[k]) * (entering[k] > 0.0)
    root = np.sqrt(weights)
    return float(np.linalg.eigvalsh(root[:, None] * kernel * root)[-1])


def measures(layers: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Five measures of complexity of a minimum, in logarithms."""
    margins = y * run_forward(layers, x)[0]
    product = sum(float(np.log(np.linalg.norm(one))) for one in layers)
    path = np.ones(layers[0].shape[1])
    for one in layers:
        path = one**2 @ path
    bend = 1.0 / (4.0 * np.cosh(0.5 * margins) ** 2) / len(x)
    return {
        "product": product,
        "spectral": sum(float(np.log(np.linalg.norm(one, 2))) for one in layers),
        "path": 0.5 * float(np.log(path[0])),
        "margin": product - float(np.log(margins.min())) if margins.min() > 0.0 else np.inf,
        "sharpness": float(np.log(gauss_newton(layers, x, bend))),
    }


MEASURES = ("product", "spectral", "path", "margin", "sharpness")


class Minima(Look):
    """Minima at one loss, (minimum, P), of several draws of the data; their test errors."""

    setting = "a dense ReLU net without biases and with one output, the logistic loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one."""
        net = problem.network
        relu = isinstance(net, Dense) and not net.bias and net.outputs == 1 and net.activation.name == "relu"
        return relu and isinstance(problem.loss, Logistic) and not np.any(np.asarray(problem.decay))

    @cached_property
    def draws(self) -> np.ndarray:
        """The draw of the data of every minimum."""
        return np.asarray(self.trajectory["draw_of"].values)

    @cached_property
    def sizes(self) -> np.ndarray:
        """The size of the start of every minimum."""
        return np.asarray(self.trajectory["gain"].values)

    @cached_property
    def errors(self) -> np.ndarray:
        """Test errors."""
        return np.asarray(self.trajectory["test_error"].values)

    def layers(self, vector: np.ndarray) -> list[np.ndarray]:
        """W_1, …, W_K."""
        found, start = [], 0
        for before, after in pairwise(self.problem.network.widths):
            found.append(vector[start : start + before * after].reshape(after, before))
            start += before * after
        return found

    def data(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Training images and labels of minimum i."""
        draw = int(self.draws[i])
        return self.trajectory["x"].values[draw], self.trajectory["y"].values[draw]

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Every measure of every minimum."""
        rows = [measures(self.layers(w), *self.data(i)) for i, w in enumerate(self.weights)]
        return {name: np.array([row[name] for row in rows]) for name in MEASURES}

    @cached_property
    def losses(self) -> np.ndarray:
        """L of every minimum."""
        found = []
        for i, vector in enumerate(self.weights):
            x, y = self.data(i)
            found.append(float(np.mean(np.logaddexp(0.0, -y * run_forward(self.layers(vector), x)[0]))))
        return np.array(found)

    def correlations(self, name: str) -> np.ndarray:
        """Rank correlation of a measure with the test error, draw by draw."""
        rows = [self.draws == one for one in np.unique(self.draws)]
        return np.array([rank_correlation(self.values[name][row], self.errors[row]) for row in rows])

    @at_most(1e-6, role="hypothesis")
    def one_loss(self) -> Number:
        """The largest |L/ε − 1| of the minima.

        "When L = ε"; bisection ends at rounding.
        """
        return Number(float(np.abs(self.losses / EPSILON - 1.0).max()), 1e-12)

    @at_least(
        0.75,
        role="hypothesis",
        exact=True,
        changed="was 0.9, and steps 0.1 and 4 000 iterations, of which half the runs of descent had not enough",
    )
    def arrived(self) -> float:
        """The share of runs that arrived at ε.

        Were many left out, the minima would be a choice: three in four.
        """
        return float(self.trajectory["arrived"].values)

    @at_least(0.9, role="hypothesis", exact=True)
    def different(self) -> float:
        """Different minima over minima.

        One minimum counted many times is one.
        """
        return len(np.unique(self.weights.round(9), axis=0)) / len(self.weights)

    @at_least(0.0, sentence="ranking")
    def ranks(self) -> Number:
        """Rank correlation of log Π ρ_k at L = ε with the test error, the mean over draws of the data.

        "Allowing a comparison": above 0.
        """
        return mean_over(self.correlations("product"))

    @cached_property
    def of_one_size(self) -> np.ndarray:
        """The same among starts of one size, its mean over sizes, draw by draw."""
        found = []
        for draw in np.unique(self.draws):
            rows = [(self.draws == draw) & (self.sizes == size) for size in np.unique(self.sizes)]
            product = self.values["product"]
            found.append(np.mean([rank_correlation(product[row], self.errors[row]) for row in rows]))
        return np.array(found)

    @at_least(0.0, sentence="ranking")
    def ranks_at_one_size(self) -> Number:
        """The same among minima whose starts had one size, the mean over sizes and draws.

        "Different minima": these too.
        """
        return mean_over(self.of_one_size)

    def rescaled(self) -> dict[str, float]:
        """How far each measure moves by rescaled hidden units, in standard deviations among minima where it is finite.

        The inverse margin is not where an example of the sample is wrong, as one of a hundred may be at L = ε.
        """
        rng = np.random.default_rng(2)
        moved: dict[str, list[float]] = {name: [] for name in MEASURES}
        for i in range(0, len(self.weights), max(1, len(self.weights) // 24)):
            layers = self.layers(self.weights[i])
            for k in range(len(layers) - 1):
                factor = np.exp(rng.choice((-1.0, 1.0), len(layers[k])))
                layers[k], layers[k + 1] = factor[:, None] * layers[k], layers[k + 1] / factor
            for name, value in measures(layers, *self.data(i)).items():
                if np.isfinite(before := self.values[name][i]):
                    moved[name].append(value - before)
        return {
            name: float(np.sqrt(np.mean(np.square(one))) / np.std(among[np.isfinite(among)]))
            for name, one in moved.items()
            for among in (self.values[name],)
        }

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "norms": ("minimum", self.values["product"]),
            "errors": ("minimum", self.errors),
        }
        found["family"] = ("minimum", self.sizes)
        numbers = [mean_over(self.correlations(name)) for name in MEASURES]
        found["correlation"] = ("measure", np.array([one.value for one in numbers]))
        found["correlation_bar"] = ("measure", np.array([one.error for one in numbers]))
        found["rescaled"] = ("measure", np.array(list(self.rescaled().values())))
        return found


def _on_the_ray(layers: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weights times the c at which L = ε, by bisection in log c."""
    margins = y * run_forward(layers, x)[0]
    low, high = -3.0, 3.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        above = np.mean(np.logaddexp(0.0, -np.exp(len(layers) * middle) * margins)) > EPSILON
        low, high = (middle, high) if above else (low, middle)
    return np.exp(0.5 * (low + high)) * np.concatenate([one.ravel() for one in layers])


def cases(key, *, sets, hidden, train, test, gains, rules, draws, starts, most):
    """One case a set of images."""
    rng = generator(key)
    for name in sets:
        found = pictures.images(name)
        network = Dense((int(np.prod(found.shape)), *hidden, 1), "relu")
        data = [_signed(found, rng, train, test) for _ in range(draws)]
        rows: dict[str, list[Any]] = {
            "weights": [],
            "test_error": [],
            "draw_of": [],
            "gain": [],
            "batch_of": [],
            "step_of": [],
        }
        runs = 0
        for batch in sorted({rule[0] for rule in rules}):
            members = [
                (draw, gain, step, momentum)
                for draw in range(draws)
                for gain in gains
                for size, step, momentum in rules
                if size == batch
                for _ in range(starts)
            ]
            problems = [Problem(network, Logistic("mean"), data[one[0]]) for one in members]
            begun = [pictures.he(network, rng, one[1]) for one in members]
            steps, momenta = (np.array([one[i] for one in members]) for i in (2, 3))
            seen = pictures.trained(
                problems,
                begun,
                pictures.descent(batch or None, steps, momenta, precision=found.precision),
                [most],
                rng,
                stop=Stop(loss=EPSILON),
                observables=("loss", "test_error"),
            )
            runs += len(members)
            ends = seen["final_weights"].transpose("member", "weight").values
            losses, errors = (pictures.seeds_of(seen, one)[-1] for one in ("loss", "test_error"))
            for i, one in enumerate(members):
                if losses[i] <= EPSILON:
                    layers = [np.asarray(w) for w in problems[i].unravel(ends[i])]
                    drawn = data[one[0]]
                    rows["weights"].append(
                        _on_the_ray(layers, np.asarray(drawn.inputs), np.asarray(drawn.targets))
                    )
                    rows["test_error"].append(errors[i])
                    rows["draw_of"].append(one[0])
                    rows["gain"].append(one[1])
                    rows["batch_of"].append(batch)
                    rows["step_of"].append(one[2])
        kept: dict[str, Any] = {
            "weights": (("minimum", "weight"), np.array(rows.pop("weights"))),
            **{one: ("minimum", np.array(values)) for one, values in rows.items()},
            "x": (("group", "example", "pixel"), np.stack([np.asarray(one.inputs) for one in data])),
            "y": (("group", "example"), np.stack([np.asarray(one.targets) for one in data])),
            "arrived": ((), len(rows["gain"]) / runs),
        }
        yield case(Problem(network, Logistic("mean"), data[0]), xr.Dataset(kept), data=found.name, n=train)


def _signed(found: pictures.Images, rng: np.random.Generator, train: int, test: int) -> Data:
    """A draw of two classes, flat, labels ±1."""
    x, y, test_x, test_y = found.draw(rng, train, test, PAIR)
    sign = [np.where(one == PAIR[0], -1.0, 1.0) for one in (y, test_y)]
    return Data(
        x.reshape(len(x), -1), sign[0], test_x.reshape(len(test_x), -1), sign[1], provenance=found.name
    )


BUDGETS: dict[str, Any] = {
    "quick": {
        "sets": ("digits",),
        "hidden": (16, 16),
        "train": 40,
        "test": 317,
        "gains": (0.5, 1.0, 2.0),
        "rules": RULES,
        "draws": 16,
        "starts": 4,
        "most": 8000,
    },
    "full": {"sets": ("MNIST",), "train": 100, "test": 1500},
    "few": {"hidden": (8, 8), "rules": RULES[:2], "draws": 8, "starts": 3},
}
NAMES = ("norms", "spectral", "path", "margin", "sharpness")
FIGURE = Figure(
    Panel("errors", "norms", "test error", r"$\log\prod\rho_k$ at $L=\epsilon$", by=("data",)),
    Named("correlation", NAMES, "rank correlation with the test error"),
    Named("rescaled", NAMES, "moved by rescaled units [sd]", log=True),
    caption="Minima at one loss: test error against the product of the norms; mean rank correlation over draws of the "
    "data of five measures; by how many standard deviations among minima each moves if hidden units are rescaled.",
)
STUDY = study(
    "memo90.complexity-ranking",
    Minima,
    cases,
    **BUDGETS,
    figure=FIGURE,
    settings=section(__doc__, "Settings"),
)
