"""The guard at the door: what a user's own network or loss is, before anything is computed with it.

Asked once, where a problem is made: does it hold weights, and only weights that are trained; is it the same function
each time; do examples interact; is anything computed in less than float64. What makes every number wrong is refused;
what makes some wrong is recorded in :class:`Findings`, and what rests on it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.modules import Module
from gradlab.problem.function import Function
from gradlab.problem.jaxprs import constants_in_single, depends, fingerprint, narrowest, traced
from gradlab.problem.losses import CustomLoss, Loss
from gradlab.problem.network import Network
from gradlab.problem.own_code import OwnCodeError, is_own, own_code
from gradlab.problem.precision import float64, single

#: Examples on which a batch is compared with its parts, and draws of weights; one draw of more weights than that.
EXAMPLES, SCALES, MANY = 16, (0.5, 0.05, 1.0), 10**6
#: Relative distance of a batch and its parts that rounding explains, by the type that is computed in.
_ROUNDED = {"": 1e-9, "float32": 1e-5, "float16": 3e-2, "bfloat16": 2e-1}
#: Names of what libraries keep beside the weights.
_STATE = {
    "batch_stats", "running_mean", "running_var", "running_stats", "moving_mean", "moving_var", "moving_variance",
    "num_batches_tracked", "spectral_stats", "ema", "cache", "intermediates",
}  # fmt: skip


@dataclass(frozen=True)
class Findings:
    """What the guard found and did not refuse.

    Attributes
    ----------
    seen : False where nothing could be asked yet (weights of unknown shape, traced data).
    interacts : why a value of one example depends on the others, in words; "" where it does not.
    narrow : the type below float64 in which something is computed, e.g. ``float32``; "" where nothing is.
    remarks : a sentence for each thing recorded.
    """

    seen: bool = True
    interacts: str = ""
    narrow: str = ""
    remarks: tuple[str, ...] = field(default=(), compare=False)

    @property
    def unit(self) -> float:
        """The relative rounding of what is computed."""
        return float(jnp.finfo(self.narrow or "float64").eps)

    def refuse_single_examples(self, what: str) -> None:
        """Refuse what rests on single examples where they interact.

        Raises
        ------
        ValueError
            Naming ``what`` and why.
        """
        if self.interacts:
            raise ValueError(
                f"{what} are refused, since examples interact here ({self.interacts}): take the whole batch (gradient, "
                "hessian, spectrum without chunk), or a network whose value of an example depends on that example alone"
            )


def own_network(network: Any) -> bool:
    """Whether the network, or a part of it, was written outside this package."""
    if isinstance(network, Function):
        return is_own(getattr(network.apply, "__wrapped__", network.apply))
    return any(is_own(part) for part in (network, getattr(network, "activation", None)) if part is not None)


def own_loss(loss: Any) -> bool:
    """Whether the loss was written outside this package."""
    return is_own(loss.value) if isinstance(loss, CustomLoss) else is_own(loss)


#: What is called whenever a problem is made.
MET: set[Callable[[], None]] = set()
#: Answers for functions whose weights come from elsewhere, by the function: asked again with each set of weights.
_ANSWERS: WeakKeyDictionary[Any, dict[Hashable, Findings]] = WeakKeyDictionary()


def asked_once(network: Network, loss: Loss, inputs: Any, targets: Any, weights: Any) -> Findings:
    """:func:`inspect`, asked once for each function and shape of weights and data."""
    if not isinstance(network, Function):
        return inspect(network, loss, inputs, targets, weights)
    shapes = [(np.shape(leaf)) for leaf in jax.tree.leaves((weights, inputs, targets))]
    key = (str(jax.tree.structure(weights)), str(shapes), network.batched, network.outputs, loss)
    try:
        answers = _ANSWERS.setdefault(network.apply, {})
        known = answers.get(key)
    except TypeError:  # no weak reference, or a loss without hash
        return inspect(network, loss, inputs, targets, weights)
    if known is None or not known.seen:
        known = answers[key] = inspect(network, loss, inputs, targets, weights)
    return known


@float64
def refuse_start(problem: Any, weights: Any) -> None:
    """Refuse a start at which a user's own loss, or its gradient, is not finite.

    Raises
    ------
    ValueError
        Saying which of the two it is.
    """
    if not (own_network(problem.network) or own_loss(problem.loss)):
        return
    look = problem.log_value_and_gradient if problem.has_log else problem.value_and_gradient
    value, gradient = look(weights)
    what = "log of the loss" if problem.has_log else "loss"
    if not np.isfinite(float(value)):
        raise ValueError(
            f"the {what} is {float(value)} at the start, though the weights are finite: start elsewhere, or write "
            "network and loss so that they are finite there"
        )
    paths = jax.tree_util.tree_flatten_with_path(gradient)[0]
    bad = [path for path, leaf in paths if not np.isfinite(np.asarray(leaf)).all()]
    if bad:
        raise ValueError(
            f"the gradient is not finite at the start, in {_path(bad[0])}, though loss and weights are: a norm or a "
            "root at 0? Start elsewhere, or write jnp.where around the argument of the root"
        )


def _staged() -> bool:
    """Whether operations here are traced, not carried out."""
    return isinstance(jnp.zeros(()) + 0.0, jax.core.Tracer)


@float64
def inspect(network: Network, loss: Loss, inputs: Any, targets: Any, weights: Any = None) -> Findings:
    """Ask all that the guard asks of a user's own network and loss; ours pass.

    Parameters
    ----------
    weights : anything of their shapes, where the network does not know these itself.

    Raises
    ------
    ValueError
        For a network without weights, or with state, integers or keys among them; for one that differs from call
        to call, or has no gradient; for what it raises.
    """
    for told in MET:
        told()
    if not own_network(network) and not own_loss(loss):
        return Findings()
    given = jax.tree.leaves((inputs, targets, weights))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in given) or _staged():
        return Findings(seen=False)
    if weights is not None:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.float64), weights)
    elif isinstance(network, Function) and network.initial is None:
        shapes = None
    else:
        shapes = network.shapes()
    rows = _rows(np.asarray(inputs))
    batch, labels = np.asarray(inputs)[rows], np.asarray(targets)[rows]
    asked: list[_Asked] = []
    if own_network(network) and shapes is not None:
        _check_weights(shapes)
        full = jax.ShapeDtypeStruct(np.shape(inputs), np.float64)
        asked.append(_asked_network(network, shapes, full, batch))
    if own_loss(loss):
        asked += _asked_loss(loss, network.outputs, inputs, targets, labels)
    narrow = min((one.narrow for one in asked if one.narrow), key=_width, default="")
    remarks = tuple(remark for one in asked for remark in one.remarks)
    interacts = next((one.interacts for one in asked if one.interacts), "")
    seen = shapes is not None or not own_network(network)
    return Findings(seen, interacts, narrow, remarks)


def _width(kind: str) -> tuple[int, float]:
    return jnp.finfo(kind).bits, -float(jnp.finfo(kind).eps)


@dataclass(frozen=True)
class _Asked:
    interacts: str = ""
    narrow: str = ""
    remarks: tuple[str, ...] = ()


# Weights ---------------------------------------------------------------------------------------------------


def _path(path: Any) -> str:
    return f"weights{jax.tree_util.keystr(path)}"


def _keys(path: Any) -> list[str]:
    return [str(getattr(part, "key", getattr(part, "name", ""))).lower() for part in path]


def _check_weights(shapes: Any) -> None:
    """Only numbers that are trained are weights."""
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    if not sum(int(np.prod(leaf.shape)) for _, leaf in leaves):
        raise ValueError(
            "the network holds no weights: there is nothing to train; let initial(key) give a pytree of arrays"
        )
    collections = set(shapes) if isinstance(shapes, dict) else set()
    for path, leaf in leaves:
        beside = "params" in collections and _keys(path)[0] != "params"
        if beside or any(key in _STATE for key in _keys(path)):
            raise ValueError(
                f"{_path(path)} is state beside the weights (running statistics, say), which no gradient trains: "
                "close over it, as in Function(lambda params, x: apply({'params': params, **state}, x), …)"
            )
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"{_path(path)} is of type {leaf.dtype}, which no gradient trains: close over it, or write "
                "jnp.asarray(…, float) where it is meant as a weight"
            )


def _draws(shapes: Any) -> list[Any]:
    """Weights at random, the same each time."""
    generator = np.random.default_rng(0)
    size = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    scales = SCALES if size <= MANY else SCALES[:1]
    draws = [
        jax.tree.map(lambda leaf, by=by: by * generator.standard_normal(leaf.shape), shapes) for by in scales
    ]
    return draws if size > MANY else [*draws, jax.tree.map(np.abs, draws[0])]


# Networks --------------------------------------------------------------------------------------------------


def _asked_network(network: Network, shapes: Any, full: Any, batch: np.ndarray) -> _Asked:
    apply = _Call(network, "", "the network")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.float64), shapes)
    forward = _same_twice("the network", apply, shapes, full)

    def pulled(weights: Any, x: Any, cotangent: Any) -> Any:
        outputs, pull = jax.vjp(lambda w: apply(w, x), weights)
        return pull(cotangent.astype(outputs.dtype))[0]

    with own_code("the gradient of the network"):
        backward = traced(
            pulled, shapes, full, jax.ShapeDtypeStruct((full.shape[0], network.outputs), np.float64)
        )
    narrow, remark = _narrowness("the network", forward, backward)
    remarks = [*remark, *_untrained(shapes, forward, backward)]
    draws = _draws(shapes)
    interacts, outputs = _interaction(apply, [(draw, batch) for draw in draws], 1, narrow)
    if not narrow and outputs is not None and single(outputs):
        narrow = "float32"
        remarks.append("the outputs of the network are numbers of single precision, whatever their type")
    if interacts:
        remarks.append(f"examples interact: {interacts}")
    return _Asked(interacts, narrow, tuple(remarks))


class _Call(Module):
    """A network or loss, or one of its methods, called as the user's own code; equal calls share what is compiled."""

    module: Any
    method: str = eqx.field(static=True)
    what: str = eqx.field(static=True)

    def __call__(self, *args: Any) -> Any:
        function = getattr(self.module, self.method) if self.method else self.module
        with own_code(self.what):
            return function(*args)


def _same_twice(what: str, function: Callable[..., Any], *args: Any) -> Any:
    first, second = traced(function, *args), traced(function, *args)
    if fingerprint(first) != fingerprint(second):
        raise OwnCodeError(
            f"{what} is another function each time it is called (numbers drawn with np.random, a counter or a clock "
            "inside?): draw once outside it and close over what was drawn"
        )
    return first


def _narrowness(what: str, *programs: Any) -> tuple[str, list[str]]:
    found = [one for one in map(narrowest, programs) if one[0]]
    if not found:
        coarse = any(map(constants_in_single, programs))
        return "", [f"constants of {what} come in single precision"] if coarse else []
    narrow, where = min(found, key=lambda one: _width(one[0]))
    return narrow, [f"{what} computes in {narrow}" + (f" ({where})" if where else "")]


def _untrained(shapes: Any, forward: Any, backward: Any) -> list[str]:
    """A sentence for each array that is not used, or used and not moved by any gradient."""
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    cotangent = len(backward.jaxpr.invars) - 1
    moved = depends(backward, [cotangent])
    remarks = []
    for number, (path, _) in enumerate(leaves):
        if not any(depends(forward, [number])):
            remarks.append(f"{_path(path)} is not used by the network: the loss does not depend on it")
        elif not moved[number]:
            remarks.append(f"{_path(path)} is held fixed: it is used, and its gradient is 0 for all data")
    return remarks


# Losses ----------------------------------------------------------------------------------------------------


def _asked_loss(loss: Any, outputs: int, inputs: Any, targets: Any, labels: np.ndarray) -> list[_Asked]:
    count = np.shape(inputs)[0]
    predicted = jax.ShapeDtypeStruct((count, outputs), np.float64)
    whole = jax.ShapeDtypeStruct(np.shape(targets), np.asarray(targets).dtype)
    functions = [_Call(loss, "per_example", "the loss")]
    if loss.has_log:
        functions.append(_Call(loss, "log_per_example", "the logarithm of the loss"))
    generator, asked, seen = np.random.default_rng(1), [], []
    drawn = [by * generator.standard_normal((len(labels), outputs)) for by in (1.0, 3.0)]
    for value in functions:
        what = value.what
        program = _same_twice(what, value, predicted, whole)
        narrow, remarks = _narrowness(what, program)
        interacts, found = _interaction(value, [(one, labels) for one in drawn], 0, narrow)
        if interacts:
            remarks.append(f"examples interact: {interacts}")
        asked.append(_Asked(interacts, narrow, tuple(remarks)))
        seen.append(found)
    if len(seen) == 2 and not any(one.narrow for one in asked):
        _check_logarithm(*seen)
    return asked


def _check_logarithm(values: np.ndarray | None, logs: np.ndarray | None) -> None:
    if values is None or logs is None:
        return
    with np.errstate(all="ignore"):
        expected = np.log(values)
    both = np.isfinite(expected) & np.isfinite(logs)
    off = np.abs(expected - logs)[both]
    if off.size and not np.all(off <= 1e-6 * (1.0 + np.abs(expected[both]))):
        worst = int(np.argmax(off))
        raise ValueError(
            f"log_value is not the logarithm of value: where value is {values[both][worst]:.6g} it gives "
            f"{logs[both][worst]:.6g} and not {expected[both][worst]:.6g}; write log_value = log(value), or leave "
            "it out"
        )


# Batch against parts ---------------------------------------------------------------------------------------


def _rows(inputs: np.ndarray) -> np.ndarray:
    """A few examples, spread over the data, different ones where there are."""
    count = len(inputs)
    rows = np.unique(np.linspace(0, count - 1, min(4 * EXAMPLES, count)).astype(int))
    flat = inputs[rows].reshape(len(rows), -1)
    _, first = np.unique(flat, axis=0, return_index=True)
    different = rows[np.sort(first)]
    return different[:EXAMPLES] if len(different) > 1 else rows[:EXAMPLES]


def _together_and_apart(function: _Call, split: int, *args: Any) -> tuple[Any, Any]:
    def of(part: slice) -> Any:
        return function(*(arg if number < split else arg[part] for number, arg in enumerate(args)))

    return function(*args), jnp.concatenate([of(slice(0, 1)), of(slice(1, None))])


_compiled = eqx.filter_jit(_together_and_apart)


def _interaction(
    function: _Call, points: Sequence[tuple[Any, Any]], split: int, narrow: str
) -> tuple[str, np.ndarray | None]:
    """(why examples interact, or "", and what was computed at the first point where it is finite).

    split : the argument that is batched; the other one too where it is 0 (outputs and targets).

    Raises
    ------
    ValueError
        If two evaluations at one point differ.
    """
    what, count = function.what, len(points[0][1])
    if count < 2:
        return "", None

    try:
        jax.eval_shape(function, *points[0])
        eqx.filter_eval_shape(_together_and_apart, function, split, *points[0])
    except OwnCodeError as error:
        return f"{what} takes the whole batch only: of {count} examples and of 1, {error}", None
    found = None
    for point in points:
        with own_code(what):
            whole, pieces = (np.asarray(one, np.float64) for one in _compiled(function, split, *point))
            again = np.asarray(_compiled(function, split, *point)[0], np.float64)
        if not np.array_equal(whole, again, equal_nan=True):
            raise OwnCodeError(
                f"two evaluations of {what} at one point differ (a callback that draws numbers?): draw once outside "
                "it and close over what was drawn"
            )
        finite = np.isfinite(whole) & np.isfinite(pieces)
        scale = float(np.max(np.abs(whole[finite]), initial=0.0))
        if np.array_equal(np.isfinite(whole), np.isfinite(pieces)):
            apart = float(np.max(np.abs(whole - pieces)[finite], initial=0.0))
            if apart <= _ROUNDED[narrow if narrow in _ROUNDED else "bfloat16"] * scale:
                found = whole if found is None and finite.all() else found
                continue
            how = f"{what} gives {count} examples other values together than apart, {apart / scale:.1e} off"
        else:
            how = f"{what} is finite on {count} examples together and not apart, or the reverse"
        return how, whole
    return "", found
