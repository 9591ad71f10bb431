"""memo112.transient-predicts: whether the transient is what makes the test error good, by starts from small to large.

How it is read. A question, not a claim: the sentence is its affirmative answer, and *refuted* means that the answer
is no on these data, for starts of this kind. *Role.* From the same directions and training sets the start with the
longest transient is set against the one with none, ρ(0) beyond its equilibrium's order; a major role of the transient
would leave the latter with the larger test error. *Trend.* Over all starts the test error would fall with the
duration T of the transient: slopes of the error over log₁₀ T, one a pair. Both are asked with four answers: more,
less, no difference (within MARGIN = 0.02), not resolved.

Settings. ReLU nets 64-16-16-1 under the square loss, digits (odd or even, ‖x‖ = 1), 24 pairs of 40 training images
and directions; ‖W_k‖ = 0.3, 0.6, 1, 2 and 3 at the start, 1600 iterations of 0.1, of 0.05 for the largest. T: the
time at which Σg²/Σyg of the training images, ρ/ρ_eq, passes ½. 237 images of validation, 600 of the test. The full
budget has MNIST (14 × 14), 32 pairs of 100, and of CIFAR-10 aeroplanes or frogs (3 × 16 × 16, less the mean image), 24
pairs of 60.

Tolerances. As in memo112.square-performs. Sizes come from a run on other seeds. A start of ‖W_k‖ = 3 differs from one
of 0.3 in more than its transient: it moves less from where it began. What is refuted is that the transient is needed;
not that nothing else would be worse.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis.pairs import compared
from gradlab.claims.cases import case, generator
from gradlab.claims.looks.paired import MARGIN, Paired
from gradlab.claims.measured import Number, at_least, at_most
from gradlab.claims.plots import Arms, Differences, Figure, Panel
from gradlab.claims.problems import paired
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import GradientDescent
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense

TASK = "odd or even"


class Predicts(Paired):
    """Several sizes of the start, the smallest first."""

    first = -1

    @property
    def durations(self) -> np.ndarray:
        """T of every size and pair, (arms, pairs)."""
        return self.kept("duration")

    @cached_property
    def slopes(self) -> np.ndarray:
        """Slopes of the test error at the end over log₁₀ T, least squares over the sizes, (pairs, T)."""
        along = np.log10(np.maximum(self.durations, 1e-3))
        along = along - along.mean(axis=0)
        errors = np.stack([self.error(k) for k in range(len(self.arms))])
        return np.einsum("kp,kpt->pt", along, errors) / np.sum(along**2, axis=0)[:, None]

    @at_most(0.02, role="hypothesis")
    def fitted(self) -> Number:
        """Training images that are misclassified at the end, of the worst size.

        Each start has led to a solution.
        """
        missed = [float(self.on(self.trained, k).mean()) for k in range(len(self.arms))]
        return Number(max(missed), 0.5 / self.trained.size)

    @at_least(4.0, role="control")
    def longer(self) -> Number:
        """Mean duration from the smallest start over that from the largest: there is a transient, and there is none.

        ρ(0)^{−(1−2/L)}, times ten in ρ_k for three layers, were V at rest; less since V turns.
        """
        first, last = self.durations[0].mean(), self.durations[-1].mean()
        spread = (
            compared(self.durations[0], 0.0).error / first + compared(self.durations[-1], 0.0).error / last
        )
        # T is known to a record, of which there are so many to a factor e
        grain = float(np.median(np.diff(np.log(self.kept("iteration")[1:]))))
        return Number(float(first / last), float(first / last * (spread + grain)))

    @at_least(0.0, sentence="predicts")
    def role(self) -> Number:
        """Test error without a transient (largest start) less that with the longest (smallest): mean of pairs, 95 %.

        A sign, or a difference of MARGIN; see the module's docstring.
        """
        return self.more(self.error(-1), self.error(0))

    @at_least(0.0, sentence="predicts")
    def trend(self) -> Number:
        """Fall of the test error a decade of T, over all starts: mean of pairs, 95 %.

        As for role.
        """
        return self.more(-self.slopes, np.zeros_like(self.slopes))

    def shown(self):
        ends = [compared(self.error(k), MARGIN) for k in range(len(self.arms))]
        numbers = self.curves() | self.said(
            role=self.against(self.error(-1), self.error(0)),
            trend=self.against(-self.slopes, np.zeros_like(self.slopes)),
        )
        return numbers | {
            "end": ("arm", np.array([one.mean for one in ends])),
            "best": ("arm", np.array([self.error(k, self.chosen(k)).mean() for k in range(len(ends))])),
            "lasting": ("arm", self.durations.mean(axis=1)),
        }


def durations(weights: np.ndarray, times: np.ndarray, starts: list) -> np.ndarray:
    """The time at which Σg²/Σyg of the training images passes ½, for every pair; 0 where it is above at the start."""
    found = []
    for rows, time, (problem, _, _) in zip(weights, times, starts, strict=True):
        g = np.stack([np.asarray(problem.outputs(problem.unravel(row)))[:, 0] for row in rows])
        pull = g @ np.asarray(problem.data.targets)[:, 0]
        filled = np.where(pull > 0.0, np.sum(g**2, axis=1) / np.where(pull > 0.0, pull, 1.0), 0.0)
        # a net whose outputs are large and wrong is not in a transient: its norm is beyond what it will be
        above = (filled >= 0.5) | (np.sqrt(np.mean(g**2, axis=1)) >= 0.5)
        found.append(float(time[np.argmax(above)]) if above.any() else float(time[-1]))
    return np.array(found)


def cases(key, *, images, most, count, examples, validation, sizes, last, beside):
    """All sizes from the same directions, on the same training sets, of each set of images."""
    rng = generator(key)
    for name, *numbers in ((images, most, count, examples, validation), *beside):
        yield _compared(rng, (name, *numbers), sizes, last)


def _compared(rng, drawn, sizes, last):
    """The same of one set."""
    images, most, count, examples, validation = drawn
    pool = paired.pool(images, most)
    net = Dense((pool.inputs.shape[1], 16, 16, 1))
    records = np.unique(np.geomspace(4, last, 32).round().astype(int))
    split = paired.pairs(rng, len(pool.inputs), count, examples, validation)
    found, lasting = [], []
    for size in sizes:
        starts = paired.drawn_starts(pool, split, TASK, net, Square("mean"), size)
        step = 0.1 if size < 2.5 else 0.05
        descent = lambda problem, step=step: GradientDescent(problem, np.full(count, step))  # noqa: E731
        said, times, weights = paired.answers(descent, starts, pool, records)
        found.append(said)
        lasting.append(durations(weights, times, starts))
    seen = paired.dataset(pool, split, TASK, found, records)
    seen = seen.assign(duration=(("arm", "pair"), np.stack(lasting)))
    names = " | ".join(f"‖W_k‖ = {size:g}" for size in sizes)
    return case(starts[0][0], seen, setup=paired.NAMES[images], arms=names)


STUDY = study(
    "memo112.transient-predicts",
    Predicts,
    cases,
    quick={
        "images": "digits",
        "most": None,
        "count": 24,
        "examples": 40,
        "validation": 237,
        "sizes": (0.3, 0.6, 1.0, 2.0, 3.0),
        "last": 1600,
        "beside": (),
    },
    full={**paired.FULL, "last": 6400},
    few={"sizes": (0.6, 3.0), "last": 1000},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Arms("by the size of the start"),
        Panel("end", "lasting", "test error at the end", "$T$", by=("setup",), log="x"),
        Differences(
            ("role", "without a transient\nless with it"),
            ("trend", "fall a decade of $T$"),
            by="setup",
            margin=MARGIN,
        ),
        caption="Above: test errors along the iterations from the same directions, with 95 % intervals; and the "
        "errors at the end by the mean duration of the transient. Below: paired differences, the margin shaded.",
        height=3.6,
    ),
)
