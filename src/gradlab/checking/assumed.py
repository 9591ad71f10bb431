"""The hypotheses that theorems share, each measured on the run: its steps, its network, its loss and data."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from gradlab.analysis.solutions import HardMargin, max_margin
from gradlab.checking.hypotheses import Assumption, always, short
from gradlab.checking.of_network import OfNetwork
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Square


class Assumed(OfNetwork):
    """All that can be assumed of a run; every property is a :class:`Assumption` or what one is made of."""

    @cached_property
    def square(self) -> Assumption:
        loss = self.run.problem.loss
        return self._loss("square loss", isinstance(loss, Square))

    @cached_property
    def exponential_tail(self) -> Assumption:
        loss = self.run.problem.loss
        return self._loss("exponential-type loss", isinstance(loss, Exponential | Logistic | CrossEntropy))

    def _loss(self, name: str, true: bool) -> Assumption:
        own = type(self.run.problem.loss).__name__
        return always(self.count, name, float(true), ">=", 1.0, lambda v, b: f"the loss is {own}", f"{name}")

    @cached_property
    def overparametrised(self) -> Assumption:
        value = self.run.flat.shape[1] / self.looks.examples
        return always(
            self.count, "overparametrised", value, ">=", 1.0 + 1e-12,
            lambda v, b: f"{'overparametrised ' if v > 1 else 'only '}{short(v)}× as many weights as numbers to fit",
            "more weights than N·C",
        )  # fmt: skip

    @cached_property
    def rows(self) -> np.ndarray:
        """Of a linear model, the vectors a (M, P) with margins a·W: y_n φ_n, or φ_{n,y} − φ_{n,c}."""
        features = self.probed.features.reshape(*self.looks.outputs[0].shape, -1)
        targets = self.looks.targets
        if self.run.problem.loss.labels == "sign":
            return targets[:, None] * features[:, 0]
        N, C = features.shape[:2]
        return np.stack(
            [features[n, targets[n]] - features[n, c] for n in range(N) for c in range(C) if c != targets[n]]
        )

    @cached_property
    def svm(self) -> HardMargin | None:
        """Of a linear model, the solution of largest margin; None where data are not separable."""
        try:
            return max_margin(self.rows, np.ones(len(self.rows)))
        except ValueError:
            return None

    @cached_property
    def separable(self) -> Assumption:
        usable = (
            self.linear.status[0] == 1
            and self.run.problem.loss.kind == "margin"
            and self.alone.status[0] == 1
        )
        value = math.nan if not usable else (self.svm.margin if self.svm else 0.0)
        return always(
            self.count, "separable data", value, ">=", 1e-9,
            lambda v, b: f"separable, margin {short(v)}" if v > 0 else "not separable (margin 0)",
            "data that a model of this kind separates", "asked of linear models under a loss of margins only",
        )  # fmt: skip

    @cached_property
    def separated(self) -> Assumption:
        """The weights classify every example rightly, by their least margin."""
        return Assumption(
            "separated", self.looks.margins, ">=", np.full(self.count, 1e-300),
            lambda v, b: (
                f"separated, least margin {short(v)}" if v > 0 else f"an example is misclassified, margin {short(v)}"
            ),
            "training on until all examples are classified rightly", "a loss of residuals has no margins",
        )  # fmt: skip
