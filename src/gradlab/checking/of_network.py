"""Hypotheses about the network, measured by probing it: degrees, linearity, examples that interact, tied weights."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from gradlab.checking.hypotheses import Assumption, always, short
from gradlab.checking.of_steps import OfSteps
from gradlab.checking.probing import Degree

#: Numbers of the features of a linear model that are formed.
LARGEST = 20_000_000


class OfNetwork(OfSteps):
    """What can be assumed of the network, and of the steps."""

    @cached_property
    def alone(self) -> Assumption:
        """A value of an example depends on that example alone, and is the same each time."""
        return always(
            self.count, "examples alone", max(self.probed.interacts, self.probed.repeats), "<=",
            100 * self.probed.exact,
            lambda v, b: "examples do not interact" if v <= b else (
                f"examples interact: with others beside it an output moves by {short(v)} of itself "
                "(batch normalisation?)"
            ),
            "a network whose value of an example depends on that example alone",
        )  # fmt: skip

    def homogeneous(self, least: int = 2) -> Assumption:
        """At least so many layers have a degree ≥ 1, and if only one asks for it, all of them."""
        degrees = self.probed.layers
        good = [d for d in degrees if self.has_degree(d)]
        bad = [(n, d) for n, d in zip(self.run.layers, degrees, strict=True) if not self.has_degree(d)]
        value = max((d.defect if d.degree >= 1 else 1.0 for _, d in bad), default=0.0)
        value = value if math.isfinite(value) else 1.0
        if not bad:
            value = max((d.defect for d in good), default=0.0)
        ok = not bad and len(good) >= least
        if not bad and not ok:
            value = 1.0
        told = self._degrees_told(bad)
        return always(
            self.count, "homogeneous layers", value, "<=", self.probed.exact,
            lambda v, b: told if bad or ok else f"{len(good)} layer; {least} are compared",
            "no biases, and activations of a degree (ReLU, identity, powers)" if bad else f"{least} layers or more",
        )  # fmt: skip

    def has_degree(self, degree: Degree) -> bool:
        return degree.defect <= self.probed.exact and degree.degree >= 1

    def _degrees_told(self, bad: list[tuple[str, Degree]]) -> str:
        degrees = self.probed.layers
        shown = ", ".join(f"{d.degree:g}" if self.has_degree(d) else "none" for d in degrees)
        if not bad:
            return (
                f"degree {sum(d.degree for d in degrees):g} = {shown.replace(', ', ' + ')}"
                if len(degrees) > 1
                else f"degree {shown}"
            )
        zero = [n for n, d in bad if abs(d.degree) < 1e-3 and d.defect <= self.probed.exact]
        if zero:
            return f"degree 0 in {', '.join(zero)}: the output does not see their scale (normalisation)"
        name, worst = max(bad, key=lambda one: one[1].defect if math.isfinite(one[1].defect) else 1e9)
        without = self.probed.without_biases
        if np.any(self.probed.thin) and all(map(self.has_degree, without)):
            return (
                f"degree {sum(d.degree for d in without):g} except biases (defect {short(worst.defect)} in {name} "
                f"with them, {short(max(d.defect for d in without))} without)"
            )
        around = [
            (share, n) for share, n in zip(self.probed.around, self.run.layers, strict=True) if share > 1e-6
        ]
        if around:
            share, layer = max(around)
            return (
                f"layers have degrees ({shown}): {short(share)} of the output goes around {layer} "
                "(residual path, or a gate)"
            )
        return f"layers have degrees ({shown}): defect {short(worst.defect)} in {name}"

    @cached_property
    def biases(self) -> float:
        """‖f(W; 0)‖/‖f‖ where there may be biases."""
        return self.probed.at_zero_input

    @cached_property
    def chain(self) -> Assumption:
        value = self.probed.chain[0]
        return always(
            self.count, "deep linear", value if len(self.run.layers) > 1 else math.inf, "<=", self.probed.exact,
            lambda v, b: f"f = W_K ⋯ W_1 x to {short(v)}" if v <= b else (
                f"f differs from W_K ⋯ W_1 x by {short(v)}" if math.isfinite(v)
                else "layers hold more than a matrix (biases)"
                if np.any(self.probed.thin)
                else "layers are no chain of two matrices or more"
            ),
            "linear layers without biases, one after the other",
        )  # fmt: skip

    @cached_property
    def stacked(self) -> Assumption:
        """Matrices one after the other, with any activation between: nothing is added, and nothing goes around."""
        single = all(len(layer) == 1 and len(self.run.places[layer[0]][1]) == 2 for layer in self.run.leaves)
        around, added = max(self.probed.around, default=0.0), self.probed.at_zero_input
        value = max(around, added) if single and len(self.run.layers) > 1 else math.inf
        what = (
            f"f(W; 0) is {short(added)} of f"
            if added >= around
            else f"{short(around)} of f goes around a layer"
        )
        return always(
            self.count, "chain of matrices", value, "<=", self.probed.exact,
            lambda v, b: "matrices one after the other, without biases" if v <= b else (
                what if math.isfinite(v) else "layers are not two matrices or more"
            ),
            "matrices one after the other, without biases",
        )  # fmt: skip

    @cached_property
    def linear(self) -> Assumption:
        value, size = self.probed.linear, self.looks.examples * self.run.flat.shape[1]
        if value <= self.probed.exact and size > LARGEST:
            value = math.nan
        return always(
            self.count, "linear model", value, "<=", self.probed.exact,
            lambda v, b: (
                f"f is linear in the weights to {short(v)}" if v <= b
                else f"f is not linear in the weights: defect {short(v)}"
            ),
            "a model that is linear in its weights",
            f"f is linear in the weights; {size} numbers of its features are not formed, {LARGEST} at most",
        )  # fmt: skip

    @cached_property
    def untied(self) -> Assumption:
        """No array is used twice, or equal to another throughout."""
        uses = {name: n for name, n in self.probed.uses.items() if n > 1}
        twins = self.probed.twins
        told = [f"{name} is used by {n} products" for name, n in uses.items()]
        told += [f"{pair} are equal at every step" for pair in twins]
        return always(
            self.count, "no tied weights", max([1, *uses.values(), 2 * bool(twins)]), "<=", 1,
            lambda v, b: "; ".join(told) or "no array is used twice", "weights of its own for each layer",
        )  # fmt: skip
