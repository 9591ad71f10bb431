"""memo90.generalises-in-n and memo90.fig1: training and test error as the number n of training examples grows.

Printed. Section 2 and Figure 1: a convolutional network of about 10 000 parameters on CIFAR, SGD with batch 100 and 70
epochs for each n; with more data the test error falls, and training and test error approach each other, for normal and
for random labels.

What is judged. Every seed draws images, random labels, starts and minibatches anew for every n. A number "falls" if it
falls from each n to the next: the step whose interval reaches lowest decides. That the difference of test and training
error tends to 0 is a statement on n → ∞; seen is that it falls over a range of n.

The size. "5-layer convolutional network (no pooling) with 16 channels per hidden layer", kernel and stride unsaid: with
kernels 3×3 of stride 2, as in Figure 5, five convolutions and a dense layer have 9 808 weights, four and a dense layer
7 984. Asked is whether a reading has "approximately 10 000".

Settings, before any run. Quick: bundled 8×8 digits, n = 60, 180, 540, 797 for testing; two convolutions 3×3 of stride
2 with 6 and 12 channels, a dense layer (P = 1 182); SGD with batch 20 drawn with replacement, step 0.02, momentum 0.9,
40 epochs; 8 seeds. Full: CIFAR-10, n = 500 to 8 000, 2 000 for testing, five convolutions with 16 channels, batch 100,
70 epochs, gradients in float32, 8 seeds; MNIST in the same way.

Changed after a first run: six seeds, n = 60, 240, 960 with 8, 8, 8 channels took a minute and left the random labels
unresolved; of these the fall is asked from the fewest to the most since.

Tolerances. Falls: more than 0, by 99 % Student intervals over seeds. Expected are steps of several points, seeds
deviating by one or two: eight seeds resolve three points. Approximately 10 000: to one digit, 500.
"""

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.intervals import mean_over
from gradlab.claims.looks.training import Trained, curve, mark
from gradlab.claims.measured import Number, at_least, equals
from gradlab.claims.plots import Figure, Means
from gradlab.claims.problems import images as pictures
from gradlab.claims.studies import section, study
from gradlab.problem.networks import Convolutional

STEP, MOMENTUM = 0.02, 0.9
CHANGED = "was asked from each n to the next, as of normal labels; few random labels are all fitted, and nothing falls"
#: Kernels, stride and channels of the caption's network as read here, on images 3×32×32.
CAPTION: dict[str, Any] = {"input_shape": (3, 32, 32), "channels": (16,) * 5, "kernel": 3, "stride": 2}


class Curves(Trained):
    """Training and test errors, (n, seed), of normal and of random labels."""

    @cached_property
    def errors(self) -> np.ndarray:
        """(training, test) × (n, seed), normal labels."""
        return self.of("normal")

    @cached_property
    def random_errors(self) -> np.ndarray:
        """(training, test) × (n, seed), random labels."""
        return self.of("random")

    def falls(self, values: np.ndarray) -> Number:
        """The step from one n to the next, of values (n, seed), whose interval reaches lowest."""
        steps = [mean_over(before - after, self.grain) for before, after in pairwise(values)]
        return min(steps, key=lambda one: one.value - one.error)

    def falls_in_all(self, values: np.ndarray) -> Number:
        """The fall from the fewest examples to the most."""
        return mean_over(values[0] - values[-1], self.grain)

    def apart_by(self, errors: np.ndarray) -> np.ndarray:
        """|test − training error|, (n, seed)."""
        return np.abs(errors[1] - errors[0])

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {"sizes": ("sample", self.of("n"))}
        for kind, errors in (("normal", self.errors), ("random", self.random_errors)):
            for i, name in enumerate(("train", "test")):
                found |= curve(f"{kind}_{name}", "sample", errors[i])
            found |= curve(f"{kind}_gap", "sample", self.apart_by(errors))
        return found


class Generalises(Curves):
    @at_least(0.0, sentence="normal")
    def smaller(self) -> Number:
        """The least fall of the test error from one n to the next, normal labels.

        "The more, the smaller": more than 0.
        """
        return self.falls(self.errors[1])

    @at_least(0.0, sentence="gap")
    def closer(self) -> Number:
        """The least fall of |test − training error| from one n to the next, normal labels.

        "Converge to each other": it falls.
        """
        return self.falls(self.apart_by(self.errors))

    @at_least(0.0, sentence="random", changed=CHANGED)
    def closer_random(self) -> Number:
        """Fall of |test − training error| from the fewest examples to the most, random labels.

        As above; all is fitted while n is far below the number of parameters.
        """
        return self.falls_in_all(self.apart_by(self.random_errors))


class Figure1(Curves):
    @at_least(0.0, sentence="natural")
    def test_falls(self) -> Number:
        """The least fall of the test error from one n to the next, normal labels.

        "More training data give a smaller test error".
        """
        return self.falls(self.errors[1])

    @at_least(0.0, sentence="natural")
    def gap_falls(self) -> Number:
        """The least fall of |test − training error| from one n to the next, normal labels.

        "Approach each other".
        """
        return self.falls(self.apart_by(self.errors))

    @at_least(0.0, sentence="random", changed=CHANGED)
    def random_gap_falls(self) -> Number:
        """Fall of |test − training error| from the fewest examples to the most, random labels.

        "Approach each other too".
        """
        return self.falls_in_all(self.apart_by(self.random_errors))

    @property
    def caption(self) -> int:
        """Weights of the caption's network."""
        shapes = Convolutional(**CAPTION).shapes()
        return int(sum(np.prod(one.shape) for one in shapes))

    @equals(10_000.0, within=500.0, sentence="size", exact=True)
    def size(self) -> float:
        """Weights of five convolutions of stride 2 and 16 channels, and a dense layer, on CIFAR.

        "Approximately 10 000": to one digit.
        """
        return float(self.caption)


def cases(key, *, sets, sizes, channels, test, epochs, batch, seeds, together):
    """One case a set of images."""
    rng = generator(key)
    for name in sets:
        found = pictures.images(name)
        network = Convolutional(found.shape, channels, 3, 2)
        pieces = [tuple(sizes)] if together else [(n,) for n in sizes]
        rows: dict[str, list[np.ndarray]] = {"normal": [], "random": []}
        for piece in pieces:
            kinds = [(n, shuffled) for n in piece for shuffled in (0.0, 1.0) for _ in range(seeds)]
            draws = [pictures.drawn_split(found, rng, n, test, shuffled) for n, shuffled in kinds]
            starts = [pictures.he(network, rng) for _ in draws]
            lasts = [n // batch * epochs for n in piece]
            records = np.union1d(lasts, pictures.quartered(lasts[-1]))
            seen = pictures.trained(
                [pictures.classifying(network, pictures.repeated(one, piece[-1])) for one in draws],
                starts,
                pictures.descent(batch, STEP, MOMENTUM, "replacement", found.precision),
                records,
                rng,
                observables=("error", "test_error"),
            )
            ends = np.searchsorted(records, lasts)
            both = np.stack([pictures.seeds_of(seen, one)[ends] for one in ("error", "test_error")])
            for i, n in enumerate(piece):
                for shuffled, kind in ((0.0, "normal"), (1.0, "random")):
                    rows[kind].append(both[:, i, [j for j, one in enumerate(kinds) if one == (n, shuffled)]])
        problems = [pictures.classifying(network, draws[-1])]
        drawn = [mark((d.inputs, *s)) for d, s in zip(draws[:seeds], starts[:seeds], strict=True)]
        kept: dict[str, Any] = {
            one: (("split", "sample", "seed"), np.stack(each, axis=1)) for one, each in rows.items()
        }
        kept |= {"n": ("sample", np.asarray(sizes, dtype=np.float64)), "drawn": ("seed", drawn)}
        yield case(problems[0], xr.Dataset(kept), data=found.name)


BUDGETS: dict[str, Any] = {
    "quick": {
        "sets": ("digits",),
        "sizes": (60, 180, 540),
        "channels": (6, 12),
        "test": 797,
        "epochs": 40,
        "batch": 20,
        "seeds": 8,
        "together": True,
    },
    "full": {
        "sets": ("CIFAR-10", "MNIST"),
        "sizes": (500, 1000, 2000, 4000, 8000),
        "channels": (16,) * 5,
        "test": 2000,
        "epochs": 70,
        "batch": 100,
        "seeds": 8,
        "together": False,
    },
    "few": {"sizes": (60, 600), "channels": (6, 6), "test": 400, "epochs": 40, "seeds": 8},
}
FIGURE = Figure(
    *(
        Means(
            {f"{kind}_test": "test", f"{kind}_train": "training"},
            "sizes",
            "class error",
            f"n, {kind} labels",
            log="x",
        )
        for kind in ("normal", "random")
    ),
    Means({"normal_gap": "normal", "random_gap": "random"}, "sizes", "test − training error", "n", log="x"),
    caption="Means over seeds with 99 % intervals against the number n of training examples: training and test errors "
    "with normal and with random labels, and their difference.",
)
STUDIES = tuple(
    study(name, look, cases, **BUDGETS, figure=FIGURE, settings=section(__doc__, "Settings"))
    for name, look in (("memo90.generalises-in-n", Generalises), ("memo90.fig1", Figure1))
)
