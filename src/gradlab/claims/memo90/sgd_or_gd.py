"""memo90.sgd-or-gd: SGD and gradient descent on simple and on difficult problems.

Printed. Section 6: "in simple problems, such as the CIFAR dataset we use in this paper, one can replace SGD with GD
without affecting the empirical results"; in more difficult ones "SGD not only converges faster but also is better at
selecting global minima vs. local minima".

What is judged. The same net, images and starts, by both, without momentum, each with the step that was best for the
other seeds. Simple: the images' own labels. "Without affecting the results" is equivalence: the interval of the paired
difference of training and of test errors at the end lies within two points; beyond is a difference, across is not
resolved. Difficult: random labels, which the net fits with effort. "Faster": passes through the data until the lowest
training loss that both reach. "Better at selecting global minima": a smaller training error at the end.

Settings, before any run. Quick: bundled 8×8 digits, 100 for training, 797 for testing; two convolutions 3×3 of stride 2
with 4 and 8 channels, a dense layer (P = 644); SGD with batch 10, steps 0.1 and 0.3; descent, steps 0.2 and 0.6; 1 500
iterations of either (150 and 1 500 passes); 12 seeds, for random labels too. Full: CIFAR-10 and MNIST, 300 and 2 000,
four convolutions of 16 channels, SGD with batch 30, steps 0.05 and 0.1; descent, steps 0.1 and 0.2; 2 000 iterations,
gradients in float32; 8 seeds. (It had been 1 000 images, 5 000 iterations, three steps, 10 seeds, and was never run.)

Tolerances. Two points: neighbouring points of the memo's figures differ by more. Paired differences deviate by about
0.015: 12 seeds resolve two points nine times in ten. Faster, better: more than 0. Bars are 99 % Student intervals.
"""

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.intervals import mean_over
from gradlab.claims.looks.training import Trained, best_for_others, curve, mark, sooner
from gradlab.claims.measured import Number, at_least, equals
from gradlab.claims.plots import Figure, Means, Panel
from gradlab.claims.problems import images as pictures
from gradlab.claims.studies import section, study
from gradlab.problem.networks import Convolutional

#: Arms, and kinds of labels, in their order.
SGD, GD, SIMPLE, DIFFICULT = 0, 1, 0, 1


class SGDAndGD(Trained):
    """What was seen of both algorithms, (kind, arm, step, seed, record)."""

    @cached_property
    def losses(self) -> np.ndarray:
        """log training loss."""
        return np.log(self.of("loss"))

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and test errors at the end, (kind, arm, step, seed)."""
        return self.of("error")[..., -1], self.of("test_error")[..., -1]

    @cached_property
    def passes(self) -> np.ndarray:
        """Passes through the data at every record, (arm, record)."""
        return self.of("passes")

    def chosen(self, kind: int) -> np.ndarray:
        """The step of each arm and seed that was best for the other seeds, (arm, seed)."""
        return best_for_others(self.losses[kind])

    def at_chosen(self, values: np.ndarray, kind: int) -> np.ndarray:
        """Values (kind, arm, step, seed, …) at the chosen steps: (arm, seed, …)."""
        steps = self.chosen(kind)
        return np.stack([values[kind, arm, steps[arm], range(steps.shape[1])] for arm in (SGD, GD)])

    def difference(self, values: np.ndarray, kind: int) -> np.ndarray:
        """GD less SGD, seed by seed."""
        found = self.at_chosen(values, kind)
        return np.asarray(found[GD] - found[SGD])

    @equals(0.0, within=0.02, sentence="simple")
    def same_test_error(self) -> Number:
        """Test error of descent less that of SGD at the end, the images' own labels.

        Two points: see the module's docstring.
        """
        return mean_over(self.difference(self.ends[1], SIMPLE), self.grain)

    @equals(0.0, within=0.02, sentence="simple")
    def same_training_error(self) -> Number:
        """The same of training errors.

        As above.
        """
        return mean_over(
            self.difference(self.ends[0], SIMPLE), 1.0 / len(np.asarray(self.problem.data.inputs))
        )

    @at_least(0.0, sentence="difficult")
    def faster(self) -> Number:
        """log10 of the passes of descent over those of SGD, to the lowest training loss both reach, random labels.

        "Converges faster": more than 0.
        """
        curves = self.at_chosen(self.losses, DIFFICULT)
        rows = zip(curves[GD], curves[SGD], strict=True)
        return mean_over(np.array([sooner(gd, sgd, self.passes[GD], self.passes[SGD]) for gd, sgd in rows]))

    @at_least(0.0, sentence="difficult")
    def better(self) -> Number:
        """Training error of descent less that of SGD after as many iterations, random labels.

        "Better at selecting global minima": more than 0.
        """
        grain = 1.0 / len(np.asarray(self.problem.data.inputs))
        return mean_over(self.difference(self.ends[0], DIFFICULT), grain)

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, said in ((SIMPLE, "own"), (DIFFICULT, "random")):
            curves = self.at_chosen(self.losses, kind)
            for arm, name in ((SGD, "sgd"), (GD, "gd")):
                found |= curve(f"{said}_{name}", "record", curves[arm].T, logarithms=True)
        found["passes_sgd"], found["passes_gd"] = (("record", self.passes[arm]) for arm in (SGD, GD))
        found["differences"] = ("seed", self.difference(self.ends[1], SIMPLE))
        found["seed_number"] = ("seed", np.arange(1.0, len(self.drawn) + 1.0))
        return found


def cases(key, *, sets, channels, train, test, batch, steps, iterations, records, seeds):
    """One case a set of images."""
    rng = generator(key)
    for name in sets:
        found = pictures.images(name)
        network = Convolutional(found.shape, channels, 3, 2)
        draws = [
            [pictures.drawn_split(found, rng, train, test, share) for _ in range(seeds)]
            for share in (0.0, 1.0)
        ]
        starts = [pictures.he(network, rng) for _ in range(seeds)]
        marks = np.unique(np.round(np.geomspace(5.0, iterations, records)))
        seen = {}
        for arm, size in ((SGD, batch), (GD, None)):
            members = [
                (data, start, step)
                for step in steps[arm]
                for kind in draws
                for data, start in zip(kind, starts, strict=True)
            ]
            run = pictures.trained(
                [pictures.classifying(network, one[0]) for one in members],
                [one[1] for one in members],
                pictures.descent(size, np.array([one[2] for one in members]), precision=found.precision),
                marks,
                rng,
            )
            for what in pictures.SEEN:
                rows = pictures.seeds_of(run, what).T
                seen[arm, what] = rows.reshape(len(steps[arm]), 2, seeds, len(marks)).transpose(1, 0, 2, 3)
        dims = ("kind", "arm", "rate", "seed", "record")
        kept: dict[str, Any] = {
            what: (dims, np.stack([seen[SGD, what], seen[GD, what]], axis=1)) for what in pictures.SEEN
        }
        kept["passes"] = (("arm", "record"), [marks * batch / train, marks])
        kept["drawn"] = ("seed", [mark((d.inputs, *s)) for d, s in zip(draws[0], starts, strict=True)])
        yield case(pictures.classifying(network, draws[0][0]), xr.Dataset(kept), data=found.name, n=train)


BUDGETS: dict[str, Any] = {
    "quick": {
        "sets": ("digits",),
        "channels": (4, 8),
        "train": 100,
        "test": 797,
        "batch": 10,
        "steps": ((0.1, 0.3), (0.2, 0.6)),
        "iterations": 1500,
        "records": 24,
        "seeds": 12,
    },
    "full": {
        "sets": ("CIFAR-10", "MNIST"),
        "channels": (16,) * 4,
        "train": 300,
        "test": 2000,
        "batch": 30,
        "steps": ((0.05, 0.1), (0.1, 0.2)),
        "iterations": 2000,
        "seeds": 8,
    },
    "few": {"train": 60, "test": 500, "iterations": 800, "records": 12, "seeds": 8},
}
FIGURE = Figure(
    *(
        Means(
            {f"{said}_sgd": "SGD", f"{said}_gd": "descent"},
            {f"{said}_{name}": f"passes_{name}" for name in ("sgd", "gd")},
            "training loss",
            f"passes, {said} labels",
            log="xy",
        )
        for said in ("own", "random")
    ),
    Panel(
        "differences",
        "seed_number",
        "test error, GD − SGD",
        "seed",
        by=("data",),
        reference={"margin": 0.02, "− margin": -0.02},
    ),
    caption="Geometric means over seeds, with 99 % intervals, of the training loss against passes through the "
    "data, with the images' own labels and with random ones, each with its best step; and the paired "
    "differences of test errors at the end.",
)
STUDY = study(
    "memo90.sgd-or-gd", SGDAndGD, cases, **BUDGETS, figure=FIGURE, settings=section(__doc__, "Settings")
)
