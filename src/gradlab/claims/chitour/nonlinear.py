"""chitour.nonlinear: the nonlinear nets that the slides name exist here, and every observable works on them.

Printed. W·X = W_{H+1} σ(W_H σ(⋯ W_1X)) with ReLU max(z, 0), leaky ReLU max(z, az) or sigmoid 1/(1 + e^{−z}), "or more
elaborate structures: convolution, recurrent, residual, etc." A definition: what can fail is its implementation, and
what is said about such nets.

Compared with looks/plain.py, which shares nothing with gradlab: forward passes in NumPy as printed, derivatives by
complex steps, second ones as differences of those, degrees of homogeneity from outputs at twice a layer, and every
observable from those. An observable is offered where it has a meaning: normalised ones where NumPy's net is homogeneous
in every layer, matrix_balancedness on linear nets, the others always.

"Deeper structures bring better performance but are computationally more difficult" is not asked here.

Settings, before any run. H = 2 (dense), widths 4-3-3-1 and the linear net beside; one convolution 3 × 3 on 4 × 4
images, two channels; two residual blocks of width 3; a recurrent net that uses its layer twice. 6 examples and 5 held
out, normal; mean logistic loss, labels those of the outputs at the start, so that the data are separated. Gaussian
starts of variance 0.7² (of sigmoid nets too), drawn until no preactivation is below 0.05, and a flow to t = 0.005, on
which no kink is passed.

Tolerances. Forward passes and closed forms, 1e-12 and 1e-10 of their size: products and sums of some ten numbers,
divided by margins of 0.01 or more. Differences of the fourth order with h = 1e-3 leave h⁴ = 1e-12, times fifth
derivatives of the loss, and eps/h: 1e-8.
"""

from functools import cached_property
from itertools import chain

import jax.numpy as jnp
import numpy as np

from gradlab import figures
from gradlab.claims.cases import case, generator
from gradlab.claims.looks import plain
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.observe.margins import MARGINS
from gradlab.observe.observables import NAMED
from gradlab.observe.sharpness import SHARPNESS
from gradlab.problem.activations import leaky_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic
from gradlab.problem.networks import Convolutional, Dense, Function, Residual
from gradlab.problem.problem import Problem

BOUNDS = ("sharpness_bound", "layer_sharpness_bound")
STRUCTURES = ("convolutional", "residual", "recurrent")


def _recurrent(weights, x):
    first, shared, last = weights
    h = jnp.maximum(x @ first.T, 0.0)
    for _ in range(plain.USES):
        h = jnp.maximum(h @ shared.T, 0.0)
    return h @ last.T


def _zeros(key):
    return np.zeros((3, 4)), np.zeros((3, 3)), np.zeros((1, 3))


ZOO = {
    "linear": ("dense", "identity", Dense((4, 3, 3, 1), "identity")),
    "ReLU": ("dense", "relu", Dense((4, 3, 3, 1), "relu")),
    "leaky ReLU": ("dense", "leaky", Dense((4, 3, 3, 1), leaky_relu(0.1))),
    "sigmoid": ("dense", "sigmoid", Dense((4, 3, 3, 1), "sigmoid")),
    "convolutional": ("convolutional", "relu", Convolutional((1, 4, 4), (2,), outputs=1)),
    "residual": ("residual", "relu", Residual(4, width=3, blocks=2, outputs=1)),
    "recurrent": (
        "recurrent",
        "relu",
        Function(_recurrent, _zeros, input_shape=4, outputs=1, degrees=(1, plain.USES, 1), smooth=False),
    ),
}


def _observables():
    """Every observable that has a name."""
    return [kind() for kind in chain(NAMED, MARGINS, SHARPNESS)]  # type: ignore[call-arg]  # all have a default


class Nonlinear(Look):
    """A network of the zoo, what observables say along its flow, and the same in NumPy."""

    setting = "a network of the zoo under the mean logistic loss"

    @property
    def named(self) -> str:
        """Which network."""
        return str(self.facts["network"])

    @cached_property
    def net(self) -> plain.Net:
        """The same in NumPy."""
        kind, sigma, network = ZOO[self.named]
        data = self.problem.data
        rows = [np.asarray(one) for one in (data.inputs, data.targets, data.test_inputs, data.test_targets)]
        x, y, test_x, test_y = (one.reshape(len(one), -1) for one in rows)
        shapes = tuple(tuple(leaf.shape) for leaf in network.shapes())
        return plain.Net(kind, sigma, shapes, x, y[:, 0], test_x, test_y[:, 0])

    @cached_property
    def offered(self) -> list[str]:
        """The observables that the problem does not refuse."""
        return [one.name for one in _observables() if one.refuse(self.problem) is None]

    def said(self, name: str) -> np.ndarray:
        """What an observable says at the end."""
        return np.asarray(self.trajectory[name].isel(record=-1).values, dtype=np.float64)

    def worst(self, found: dict[str, np.ndarray]) -> float:
        """The largest difference of the observables from NumPy's values, over the largest entry of each."""
        gaps = [0.0]
        for name, value in found.items():
            size = max(float(np.abs(value).max()), 1e-3)
            gaps.append(float(np.abs(self.said(name).reshape(value.shape) - value).max()) / size)
        return max(gaps)

    @at_least(0.02, role="hypothesis")
    def smooth(self) -> Number:
        """The least |z| of a preactivation at the end, of nets with a kink.

        At a kink derivatives are not defined, and differences reach 4e-3.
        """
        layers = plain.cut(self.end, self.net.shapes)
        least = float(plain.forward(self.net.kind, self.net.sigma, layers, self.net.x)[1])
        return Number(1.0 if self.net.sigma in ("identity", "sigmoid") else least, 1e-12)

    @cached_property
    def identity(self) -> Number:
        """The largest |f − NumPy's f| over the largest |f|, on all inputs."""
        theirs = np.concatenate([self.net.outputs(self.end, x) for x in (self.net.x, self.net.test_x)])
        inputs = (self.problem.data.inputs, self.problem.data.test_inputs)
        ours = np.concatenate(
            [np.asarray(self.problem.network(self.tree(self.end), x))[:, 0] for x in inputs]
        )
        return Number(float(np.abs(ours - theirs).max() / np.abs(theirs).max()), 10.0 * EPS)

    @at_most(1e-12, sentence="activations")
    def printed(self) -> Number | None:
        """The largest |f − W_{H+1}σ(W_Hσ(⋯W_1x))| of dense nets, over the largest |f|.

        Rounding of sums of four.
        """
        return NOT_ASKED if self.named in STRUCTURES else self.identity

    @at_most(1e-12, sentence="structures")
    def elaborate(self) -> Number | None:
        """The same of convolutional, residual and recurrent nets.

        As above.
        """
        return self.identity if self.named in STRUCTURES else NOT_ASKED

    @cached_property
    def agreements(self) -> tuple[Number, Number, float]:
        """Closed forms, derivatives, and how many observables do not work or are not offered as they should be."""
        closed, differenced = plain.closed(self.net, self.end), plain.differenced(self.net, self.end)
        meant = {*closed, *differenced, *BOUNDS}
        broken = len(meant ^ set(self.offered))
        for name in meant & set(self.offered):
            values, bars = (np.asarray(self.trajectory[one].values) for one in (name, f"{name}_error"))
            broken += not (np.isfinite(values).all() and np.isfinite(bars).all() and (bars >= 0.0).all())
        there = set(self.offered)
        pairs = [{name: one[name] for name in one if name in there} for one in (closed, differenced)]
        return Number(self.worst(pairs[0]), 1e-14), Number(self.worst(pairs[1]), 1e-9), float(broken)

    @at_most(1e-10, sentence="activations")
    def values(self) -> Number | None:
        """The largest difference of an observable from its closed form in NumPy, of dense nets.

        See the module's docstring.
        """
        return NOT_ASKED if self.named in STRUCTURES else self.agreements[0]

    @at_most(1e-8, sentence="activations", changed="1e-6 at first; complex steps are exact to more")
    def derivatives(self) -> Number | None:
        """The same of gradient norm, sharpness and KKT residuals, from differences.

        See the module's docstring.
        """
        return NOT_ASKED if self.named in STRUCTURES else self.agreements[1]

    @at_most(0.0, sentence="activations", exact=True)
    def broken(self) -> float | None:
        """Observables of dense nets that are not finite, have no bar, or are not offered where they have a meaning.

        A count.
        """
        return NOT_ASKED if self.named in STRUCTURES else self.agreements[2]

    @at_most(1e-10, sentence="structures")
    def values_beyond(self) -> Number | None:
        """The largest difference of an observable from its closed form in NumPy, of the other structures.

        See the module's docstring.
        """
        return self.agreements[0] if self.named in STRUCTURES else NOT_ASKED

    @at_most(1e-8, sentence="structures", changed="1e-6 at first; complex steps are exact to more")
    def derivatives_beyond(self) -> Number | None:
        """The same of gradient norm, sharpness and KKT residuals.

        See the module's docstring.
        """
        return self.agreements[1] if self.named in STRUCTURES else NOT_ASKED

    @at_most(0.0, sentence="structures", exact=True)
    def broken_beyond(self) -> float | None:
        """Observables that do not work, or are offered wrongly, of the other structures.

        A count.
        """
        return self.agreements[2] if self.named in STRUCTURES else NOT_ASKED

    def shown(self):
        closed, differenced, _ = self.agreements
        return {"forward": self.identity.value, "closed": closed.value, "differenced": differenced.value}


def _drawn(rng, name):
    """A problem of the zoo and a start, no preactivation of which is near a kink."""
    kind, sigma, network = ZOO[name]
    shapes = [tuple(leaf.shape) for leaf in network.shapes()]
    size = 16 if kind == "convolutional" else 4
    while True:
        x = rng.standard_normal((11, size))
        weights = [0.7 * rng.standard_normal(shape) for shape in shapes]
        f, least = plain.forward(kind, sigma, weights, x)
        near = sigma in ("relu", "leaky") and least < 0.05
        if np.abs(f).min() > 0.05 and not near:
            break
    y = np.sign(f)
    return Problem(network, Logistic("mean"), Data(x[:6], y[:6], x[6:], y[6:])), tuple(weights)


def cases(key, *, zoo, draws):
    """A short flow of every network, with all observables that it does not refuse."""
    rng = generator(key)
    for name in zoo:
        for i in range(draws):
            problem, start = _drawn(rng, name)
            seen = run(
                GradientFlow(problem),
                start,
                [0.0025, 0.005],
                solver=Adaptive("dopri5", 1e-6),
                observables=[one for one in _observables() if one.refuse(problem) is None],
                refine=True,
            )
            yield case(problem, seen, network=name, draw=i + 1)


def _figure(dataset, verdict):
    """What differs from NumPy, network by network."""
    drawn, (axes,) = figures.panels(1, height=3.2)
    labels = {"forward": "outputs", "closed": "closed forms", "differenced": "derivatives"}
    lines = {label: np.maximum(dataset[name].values, 1e-17) for name, label in labels.items()}
    index = np.arange(1, dataset.sizes["case"] + 1)
    figures.curves(
        index, lines, "network", "difference from NumPy, relative", log="y", markers=True, axes=axes
    )
    return figures.with_caption(
        drawn,
        f"Networks 1 to {len(index)}: {', '.join(map(str, dataset['network'].values))}. Outputs, observables that are "
        "closed forms of them, and those with derivatives, against plain NumPy.",
    )


STUDY = study(
    "chitour.nonlinear",
    Nonlinear,
    cases,
    quick={"zoo": tuple(ZOO), "draws": 1},
    full={"draws": 6},
    few={"zoo": ("ReLU", "residual")},
    settings=section(__doc__, "Settings"),
    figure=_figure,
)
