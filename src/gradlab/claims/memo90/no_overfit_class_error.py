"""memo90.no-overfit-class-error and memo90.fig2: test error and test loss against the number of parameters.

Printed. "The test classification error does not get worse when the number of parameters increases well beyond the
size of the training set"; "there is some overfitting in the expected cross-entropy risk" (section 5.4, Figure 2 (b));
the same network fits random labels. Figure 2's text adds that the overfitting in the loss is small "because" SGD
converges to a minimum Frobenius norm for each layer.

What is judged. Every seed draws images, start and minibatches anew and trains all widths on them. The growth of a
number with the number of parameters P is its least-squares slope over log P, times log P of the widest less that of
the narrowest net, all of which have more parameters than examples: no width is picked after a look. "Overfitting" is
defined in the memo's abstract for neurons and for iterations: the claim's sentence asks for either, the test loss
growing with P or, in the widest net, from the first record without training errors to the end (the larger lower end of
two intervals of 99.5 %); Figure 2 (b) for growth with P. "Because" cannot be tested; that the end has minimum norm can:
it has not if the same net, trained with a weight decay of 10⁻³ at hand, has a smaller product of norms per margin.

Settings, before any run. Quick: bundled 8×8 digits, 60 for training, 797 for testing; two convolutions 3×3 of stride 2
and c channels, c = 4, 8, 12 (P = 340 to 1 884), a dense layer; SGD with batch 20, step 0.02, momentum 0.9, 250 epochs
(750 iterations); 14 seeds. Random labels: the widest net, 6 seeds, as long. Full: CIFAR-10, 1 000 for training, 2 000
for testing, five convolutions of stride 2, c = 8 to 64 (P = 2 600 to 150 000), batch 100, 200 epochs (2 000
iterations), gradients in float32; 8 seeds, random labels 4.

Changed after a first run of a few cases: the step, 0.1, at which the narrowest nets went dead, and the epochs, 70; and,
as they took too long and the narrowest nets did not fit their sample, 100 images, three convolutions of 4 to 16
channels, 16 seeds. (Their answers were the same, but for sizes.) The full budget had been 2 000 images and c = 4 to 64
for 70 epochs, 10 seeds, and MNIST, and was never run: at c = 4 there are fewer parameters than examples.

Tolerances. Not worse: less than one point in a hundred, the finest difference that can be read off Figure 2 (a). Paired
differences deviate by about 0.012 among seeds: about 20 resolve one point nine times in ten (`intervals.needed`), 14
two thirds more. Bars are
99 % Student intervals over seeds. Minimum norm: a tenth less is less.
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.intervals import mean_over
from gradlab.claims.looks.training import Trained, curve, mark
from gradlab.claims.measured import Number, at_least, at_most
from gradlab.claims.plots import Figure, Means
from gradlab.claims.problems import images as pictures
from gradlab.claims.studies import section, study
from gradlab.problem.networks import Convolutional

STEP, MOMENTUM, DECAY = 0.02, 0.9, 1e-3


class Widths(Trained):
    """Test error and loss of every width and seed at the end; of the widest on the way; random labels; norms."""

    @cached_property
    def parameters(self) -> np.ndarray:
        """P of every width."""
        return self.of("parameters")

    @cached_property
    def errors(self) -> np.ndarray:
        """Test errors at the end, (width, seed)."""
        return self.of("test_error")

    @cached_property
    def losses(self) -> np.ndarray:
        """Test losses at the end, (width, seed)."""
        return self.of("test_loss")

    @cached_property
    def way(self) -> tuple[np.ndarray, np.ndarray]:
        """Training errors and test losses of the widest net on the way, (records, seeds)."""
        return self.of("way_error"), self.of("way_loss")

    def growth(self, values: np.ndarray) -> np.ndarray:
        """Slope over log P times its range, (seeds,), of values (width, seed)."""
        across = np.log(self.parameters) - np.mean(np.log(self.parameters))
        return np.asarray(across @ values / (across @ across) * (across[-1] - across[0]))

    @cached_property
    def later(self) -> np.ndarray:
        """Test loss of the widest net at the end less at the first record without training errors, (seeds,)."""
        errors, losses = self.way
        first = [int(np.argmax(column == 0.0)) if (column == 0.0).any() else -1 for column in errors.T]
        return np.array([losses[-1, i] - losses[one, i] for i, one in enumerate(first)])

    @at_least(1.0, role="hypothesis", exact=True)
    def beyond(self) -> float:
        """Parameters of the narrowest net over training examples.

        The sentence speaks of more parameters than examples.
        """
        return float(self.parameters[0] / len(np.asarray(self.problem.data.inputs)))

    @at_most(0.75, role="hypothesis")
    def learnt(self) -> Number:
        """Test error of the widest net.

        At chance, 0.9, no width is worse than another: something has been learnt.
        """
        return mean_over(self.errors[-1], self.grain)

    def worse(self) -> Number:
        return mean_over(self.growth(self.errors), self.grain)

    def shown(self) -> dict[str, Any]:
        return {
            "P": ("width", self.parameters),
            "iteration": ("moment", self.of("iteration")),
            **curve("error", "width", self.errors),
            **curve("train_error", "width", self.of("train_error")),
            **curve("loss", "width", self.losses),
            **curve("on_the_way", "moment", self.way[1]),
        }


class NoOverfit(Widths):
    @at_most(0.01, sentence="class_error")
    def class_error(self) -> Number:
        """Growth of the test error from the fewest to the most parameters.

        Less than one point: see the module's docstring.
        """
        return self.worse()

    @at_least(0.0, sentence="loss")
    def some_overfitting(self) -> Number:
        """Growth of the test loss with P or, in the widest net, after the last training error: the clearer of the two.

        "Some": more than 0, each by an interval of 99.5 %, of which one may be wrong in a hundred.
        """
        both = [mean_over(one, 0.0, 0.995) for one in (self.growth(self.losses), self.later)]
        return max(both, key=lambda one: one.value - one.error)

    @cached_property
    def random_labels(self) -> np.ndarray:
        """Training errors of the widest net on random labels, (seeds,)."""
        return self.of("random_error")

    @at_most(0.0, sentence="capacity", exact=True)
    def capacity(self) -> float:
        """The largest training error on random labels among the seeds, widest net.

        "Zero training error": a count.
        """
        return float(self.random_labels.max())


class Figure2(Widths):
    @at_most(0.01, sentence="error")
    def error_grows(self) -> Number:
        """Growth of the test error from the fewest to the most parameters.

        Less than one point: see the module's docstring.
        """
        return self.worse()

    @at_least(0.0, sentence="risk")
    def risk_grows(self) -> Number:
        """Growth of the test loss from the fewest to the most parameters.

        "Some overfitting", in a figure against parameters: more than 0.
        """
        return mean_over(self.growth(self.losses))

    @cached_property
    def norms(self) -> np.ndarray:
        """log Π‖W_k‖ over the least training margin at the end, widest net: without decay and with, (2, seeds)."""
        return self.of("norm")

    @at_most(0.1, sentence="small")
    def least_norm(self) -> Number:
        """By how much the product of norms per margin, in logarithms, is above that of the same net with decay.

        A minimum is below every other solution; a tenth allows for what is left of the time to converge.
        """
        return mean_over(self.norms[0] - self.norms[1])


def _groups(found, widths, depth, together):
    """Networks, each with the widths that are run in its arrays."""
    wide = Convolutional(found.shape, (widths[-1],) * depth, 3, 2)
    if together:
        return [(wide, tuple(widths))]
    return [(Convolutional(found.shape, (width,) * depth, 3, 2), (width,)) for width in widths]


def cases(key, *, sets, widths, depth, train, test, epochs, batch, seeds, random_seeds, together):
    """One case a set of images; all widths in one ensemble, or one after the other."""
    rng = generator(key)
    for name in sets:
        found = pictures.images(name)
        draws = [pictures.drawn_split(found, rng, train, test) for _ in range(seeds)]
        shuffled = [pictures.drawn_split(found, rng, train, test, 1.0) for _ in range(random_seeds)]
        last = train // batch * epochs
        marks = np.unique(np.round(last * np.linspace(0.1, 1.0, 10)))
        found_at: dict[tuple[int, str], xr.Dataset] = {}
        counts, begun = [], []
        for network, inside in _groups(found, widths, depth, together):
            members: list[tuple[int, str, Any, Any, float]] = []
            for width in inside:
                narrow = Convolutional(found.shape, (width,) * depth, 3, 2)
                starts = [pictures.he(narrow, rng) for _ in draws]
                counts.append(float(sum(one.size for one in starts[0])))
                members += [
                    (width, "", d, pictures.widened(s, network), 0.0)
                    for d, s in zip(draws, starts, strict=True)
                ]
                if width == widths[-1]:
                    begun = starts
                    members += [(width, "decay", d, s, DECAY) for d, s in zip(draws, starts, strict=True)]
                    members += [(width, "random", d, pictures.he(network, rng), 0.0) for d in shuffled]
            seen = pictures.trained(
                [pictures.classifying(network, one[2], one[4]) for one in members],
                [one[3] for one in members],
                pictures.descent(batch, STEP, MOMENTUM, precision=found.precision),
                marks,
                rng,
                observables=(*pictures.SEEN, "normalised_margin"),
            )
            for width in inside:
                for kind in ("", "decay", "random"):
                    rows = [i for i, one in enumerate(members) if one[:2] == (width, kind)]
                    found_at[width, kind] = seen.isel(member=rows)
        wide = widths[-1]
        ends = {
            said: (
                ("width", "seed"),
                np.stack([pictures.seeds_of(found_at[width, ""], of)[-1] for width in widths]),
            )
            for said, of in (
                ("test_error", "test_error"),
                ("test_loss", "test_loss"),
                ("train_error", "error"),
            )
        }
        margins = [pictures.seeds_of(found_at[wide, kind], "normalised_margin")[-1] for kind in ("", "decay")]
        kept: dict[str, Any] = {
            **ends,
            "parameters": ("width", counts),
            "iteration": ("moment", marks),
            "way_error": (("moment", "seed"), pictures.seeds_of(found_at[wide, ""], "error")),
            "way_loss": (("moment", "seed"), pictures.seeds_of(found_at[wide, ""], "test_loss")),
            "norm": (("decay", "seed"), [-np.log(np.where(one > 0.0, one, np.nan)) for one in margins]),
            "random_error": ("random_seed", pictures.seeds_of(found_at[wide, "random"], "error")[-1]),
            "drawn": ("seed", [mark((d.inputs, *s)) for d, s in zip(draws, begun, strict=True)]),
        }
        network = Convolutional(found.shape, (wide,) * depth, 3, 2)
        yield case(pictures.classifying(network, draws[0]), xr.Dataset(kept), data=found.name, n=train)


BUDGETS: dict[str, Any] = {
    "quick": {
        "sets": ("digits",),
        "widths": (4, 8, 12),
        "depth": 2,
        "train": 60,
        "test": 797,
        "epochs": 250,
        "batch": 20,
        "seeds": 14,
        "random_seeds": 6,
        "together": True,
    },
    "full": {
        "sets": ("CIFAR-10",),
        "widths": (8, 16, 32, 64),
        "depth": 5,
        "train": 1000,
        "test": 2000,
        "batch": 100,
        "epochs": 200,
        "seeds": 8,
        "random_seeds": 4,
        "together": False,
    },
    "few": {"widths": (4, 12), "depth": 2, "train": 60, "test": 400, "seeds": 8, "random_seeds": 3},
}
FIGURE = Figure(
    Means({"error": "test", "train_error": "training"}, "P", "class error", "parameters", log="x"),
    Means({"loss": ""}, "P", "test loss", "parameters", log="x"),
    Means({"on_the_way": ""}, "iteration", "test loss, widest net", "iteration"),
    caption="Means over seeds with 99 % intervals: class errors and test loss against the number of parameters, "
    "every net with more parameters than examples; and the test loss of the widest net while it is "
    "trained.",
)
STUDIES = tuple(
    study(name, look, cases, **BUDGETS, figure=FIGURE, settings=section(__doc__, "Settings"))
    for name, look in (("memo90.no-overfit-class-error", NoOverfit), ("memo90.fig2", Figure2))
)
