"""Problem: network + loss + data + weight decay; the potential whose gradient moves the weights."""

import functools
import math
from collections.abc import Callable
from html import escape
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Num

from gradlab.modules import Module
from gradlab.problem import guard
from gradlab.problem.dataset import Data
from gradlab.problem.ensembles import stack, unchecked, unstack
from gradlab.problem.losses import Loss, margins
from gradlab.problem.networks import Function, Network
from gradlab.problem.precision import doubles, float64, pulled_in_double, put

__all__ = ["HessianOperator", "Problem", "stack", "unstack"]
P = ParamSpec("P")
R = TypeVar("R")


def _compiled(method: Callable[P, R], on_host: bool = False) -> Callable[P, R]:
    """A method in float64, its arguments too; where nothing is traced compiled, or as it is if it is on the host."""
    staged = eqx.filter_jit(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **keywords: Any) -> Any:
        narrow = not jax.config.jax_enable_x64  # type: ignore[attr-defined]
        with jax.enable_x64(True):
            args, keywords = doubles((args, keywords))
            leaves = jax.tree.leaves((self, args, keywords))
            tracers = {type(leaf).__name__ for leaf in leaves if isinstance(leaf, jax.core.Tracer)}
            if not tracers:
                return (method if on_host else staged)(self, *args, **keywords)
            if narrow and "JVPTracer" not in tracers:  # forward mode is done by the time this returns
                return pulled_in_double(lambda all: method(all[0], *all[1], **all[2]), (self, args, keywords))
            return method(self, *args, **keywords)

    return call  # type: ignore[return-value]


def _square(tree: Any) -> Float[Array, ""]:
    """Sum of squares over all leaves."""
    return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)), start=jnp.zeros((), jnp.float64))


def _share_of_wrong(
    labels: str, outputs: Float[Array, "M C"], targets: Num[Array, "M ..."]
) -> Float[Array, ""]:
    if labels == "real" and outputs.shape[1] == 1:
        labels, targets = "sign", targets[:, 0]
    elif labels == "real":
        labels, targets = "class", jnp.argmax(targets, axis=1)
    return jnp.mean(~(margins(labels, outputs, targets) > 0.0), dtype=jnp.float64)


class Problem(Module):
    """A problem is the potential L(W) = risk(W) + ½ Σ_k λ_k ‖W_k‖² of a network, a loss and data.

    Everything is a pure function of weights, may be called under ``jit``, ``grad`` and ``vmap``, and computes
    in float64 whether or not x64 is enabled. A problem whose arrays carry a leading member axis (see
    :func:`stack`) works under ``eqx.filter_vmap``.

    Parameters
    ----------
    network, loss, data : a Network, a Loss and a Data, checked against each other.
    decay : λ of shape (), or (K,), one a layer; biases of a layer count as its weights.

    ``factor`` multiplies the risk; it is other than 1 only in a minibatch. ``findings`` is what the guard found
    of a network or loss of the user's own and did not refuse (:class:`~gradlab.problem.guard.Findings`). Where an array
    of ``data`` or ``decay`` is traced (under ``jit``, ``grad`` or ``vmap``), its values are unknown and nothing is
    checked.

    Raises
    ------
    ValueError
        Where shapes or labels do not fit, or ``decay`` is negative or not one number a layer; for a network or loss
        of the user's own that has no weights, holds state among them, differs from call to call or raises.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> float(problem.potential((np.array([[1.0]]),)))  # ½ (1 − 3)²
    2.0
    >>> gl.Problem(gl.Dense((2, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    Traceback (most recent call last):
        ...
    ValueError: the network takes inputs of shape (2,); the data have (1,): ...
    """

    network: Network
    loss: Loss
    data: Data
    decay: Float[Array, "..."]
    factor: float = eqx.field(static=True)
    findings: guard.Findings = eqx.field(static=True, repr=False)

    @float64
    def __init__(self, network: Any, loss: Any, data: Any, decay: Any = 0.0) -> None:
        for part, kind, hint in (
            (network, Network, "e.g. Dense((d, 10, 1))"),
            (loss, Loss, "e.g. Square()"),
            (data, Data, "Data(inputs, targets)"),
        ):
            if not isinstance(part, kind):
                raise ValueError(f"a {kind.__name__} was expected, not {part!r}: write {hint}")
        self.network, self.loss, self.data, self.factor = network, loss, data, 1.0
        self.findings = guard.Findings(seen=False)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((data, decay))):
            self.decay = jnp.asarray(decay, jnp.float64)
            return
        loss.check(network.outputs, data.targets)
        if data.test_targets is not None:
            loss.check(network.outputs, data.test_targets)
        self.data, self.decay = _with_signs_as_floats(loss, data), _checked_decay(network, decay)
        _check_shapes(network, loss, self.data)
        self.findings = guard.inspect(network, loss, self.data.inputs, self.data.targets)

    def lean(self) -> "Problem":
        """The same problem; that there is no decay, where there is none, is known to what is compiled."""
        if isinstance(self.decay, jax.core.Tracer) or np.any(np.asarray(self.decay)):
            return self
        return unchecked(type(self), self, decay=0.0)

    @property
    def _free(self) -> bool:
        """Whether there surely is no decay."""
        return isinstance(self.decay, float) and self.decay == 0.0

    def knowing(self, weights: Any) -> "Problem":
        """The same problem, whose network knows the shapes of its weights: from these, where it did not."""
        network = self.network.knowing(weights)
        return self if network is self.network else unchecked(type(self), self, network=network)

    def inspected(self, weights: Any) -> guard.Findings:
        """What the guard says, asked now where the shapes of the weights were unknown when the problem was made."""
        if self.findings.seen:
            return self.findings
        return guard.asked_once(self.network, self.loss, self.data.inputs, self.data.targets, weights)

    # Potentials --------------------------------------------------------------------------------------------

    @property
    def has_log(self) -> bool:
        """Whether the loss offers a log-risk."""
        return self.loss.has_log

    @_compiled
    def outputs(self, weights: Any, x: Float[Array, "M ..."] | None = None) -> Float[Array, "M C"]:
        """f(W, x) on a batch; on the training inputs if none is given."""
        return self.network(weights, self.data.inputs if x is None else x)

    @_compiled
    def risk(self, weights: Any) -> Float[Array, ""]:
        """Σ_n ℓ_n or (1/N) Σ_n ℓ_n, as the loss's reduction says."""
        risk = self.loss.risk(self.outputs(weights), self.data.targets)
        return risk if self.factor == 1.0 else self.factor * risk

    @_compiled
    def log_risk(self, weights: Any) -> Float[Array, ""]:
        """log of the risk, finite where the risk underflows; ValueError where the loss has none."""
        log_risk = self.loss.log_risk(self.outputs(weights), self.data.targets)
        return log_risk if self.factor == 1.0 else log_risk + math.log(self.factor)

    @_compiled
    def penalty(self, weights: Any) -> Float[Array, ""]:
        """½ Σ_k λ_k ‖W_k‖²."""
        if self._free:
            return jnp.zeros((), jnp.float64)
        self.fits(weights)
        if jnp.ndim(self.decay) == 0:
            return 0.5 * self.decay * _square(weights)
        squares = jnp.stack([_square(layer) for layer in self.network.layers(weights)])
        return 0.5 * jnp.sum(self.decay * squares)

    @_compiled
    def potential(self, weights: Any) -> Float[Array, ""]:
        """L = risk + ½ Σ_k λ_k ‖W_k‖²."""
        return self.risk(weights) if self._free else self.risk(weights) + self.penalty(weights)

    @_compiled
    def log_potential(self, weights: Any) -> Float[Array, ""]:
        """log L, the log-risk where the penalty is 0; ValueError where the loss has no log-risk."""
        if self._free:
            return self.log_risk(weights)
        log_risk, penalty = self.log_risk(weights), self.penalty(weights)
        # Two wheres: log 0 must not be differentiated.
        regular = penalty > 0.0
        log_penalty = jnp.log(jnp.where(regular, penalty, 1.0))
        return jnp.where(regular, jnp.logaddexp(log_risk, log_penalty), log_risk)

    # Derivatives -------------------------------------------------------------------------------------------

    @_compiled
    def gradient(self, weights: Any) -> Any:
        """∇L, a pytree like the weights."""
        return jax.grad(self.potential)(weights)

    @_compiled
    def value_and_gradient(self, weights: Any) -> tuple[Float[Array, ""], Any]:
        """(L, ∇L)."""
        return jax.value_and_grad(self.potential)(weights)

    @_compiled
    def log_gradient(self, weights: Any) -> Any:
        """∇ log L = ∇L / L, finite where both underflow."""
        return jax.grad(self.log_potential)(weights)

    @_compiled
    def log_value_and_gradient(self, weights: Any) -> tuple[Float[Array, ""], Any]:
        """(log L, ∇ log L)."""
        return jax.value_and_grad(self.log_potential)(weights)

    @_compiled
    def gradient_norm(self, weights: Any) -> Float[Array, ""]:
        """‖∇L‖₂ over all weights; its square may underflow, it itself does when the gradient does."""
        flat = self.ravel(self.gradient(weights))
        largest = jnp.max(jnp.abs(flat))
        scale = jnp.where(largest > 0.0, largest, 1.0)
        return scale * jnp.linalg.norm(flat / scale)

    def hessian_operator(self, weights: Any) -> "HessianOperator":
        """∇²L as an operator: one product costs about one gradient and a half, and no matrix is formed."""
        return HessianOperator(self, weights)

    @_compiled
    def hessian(self, weights: Any) -> Float[Array, "P P"]:
        """∇²L, dense, in the order of :meth:`ravel`; exactly symmetric."""
        flat, unravel = ravel_pytree(weights)
        matrix = jax.jacfwd(jax.grad(lambda vector: self.potential(unravel(vector))))(flat)
        return 0.5 * (matrix + matrix.T)

    def output_jacobian(self, weights: Any) -> Float[Array, "N C P"]:
        """∂f_c(x_n)/∂W in the order of :meth:`ravel`; ValueError where examples interact."""
        self.inspected(weights).refuse_single_examples("Jacobians of the outputs")
        return self._output_jacobian(weights)

    @_compiled
    def _output_jacobian(self, weights: Any) -> Float[Array, "N C P"]:
        flat, unravel = ravel_pytree(weights)

        def jacobian(x: Float[Array, " ..."]) -> Float[Array, "C P"]:
            return jax.jacrev(lambda vector: self.network(unravel(vector), x[None])[0])(flat)

        return jax.vmap(jacobian)(self.data.inputs)

    def per_example_gradients(self, weights: Any) -> Any:
        """∇ℓ_n for every n: a pytree like the weights with a leading axis N, without decay and without 1/N.

        Raises
        ------
        ValueError
            Where examples interact in the network or the loss.
        """
        self.inspected(weights).refuse_single_examples("gradients of single examples")
        return self._per_example_gradients(weights)

    @_compiled
    def _per_example_gradients(self, weights: Any) -> Any:
        def value(weights: Any, x: Float[Array, " ..."], target: Num[Array, " ..."]) -> Float[Array, ""]:
            return self.loss.per_example(self.network(weights, x[None]), target[None])[0]

        gradients = jax.vmap(jax.grad(value), in_axes=(None, 0, 0))
        return gradients(weights, self.data.inputs, self.data.targets)

    # Margins and errors ------------------------------------------------------------------------------------

    @_compiled
    def margins(self, weights: Any) -> Float[Array, " N"]:
        """y_n f(x_n), or f_y − max_{c≠y} f_c; ValueError for a loss of residuals."""
        return self.loss.margins(self.outputs(weights), self.data.targets)

    @_compiled
    def normalised_margins(self, weights: Any) -> Float[Array, " N"]:
        """Margins over Π_k ‖W_k‖_F^{d_k}, d_k the degree of homogeneity of layer k.

        Raises
        ------
        ValueError
            For a network that is not homogeneous in every layer.
        """
        degrees = self.network.degrees
        if degrees is None or any(degree is None for degree in degrees):
            raise ValueError(
                f"normalised margins need a network that is homogeneous in every layer; this "
                f"{type(self.network).__name__} has degrees {degrees}: use margins, or leave out biases and "
                "activations that are not homogeneous"
            )
        layers = self.network.layers(weights)
        squares = jnp.stack([_square(layer) for layer in layers])
        return self.margins(weights) / jnp.prod(squares ** (0.5 * np.asarray(degrees, dtype=np.float64)))

    @property
    def classifies(self) -> bool:
        """Whether the targets are labels: of a margin loss, or real and ±1 or one-hot (seen on the host)."""
        if self.loss.labels != "real":
            return True
        targets = np.asarray(self.data.targets)
        if targets.shape[-1] == 1:
            return bool(np.isin(targets, (-1.0, 1.0)).all())
        return bool(np.isin(targets, (0.0, 1.0)).all() and (targets.sum(axis=-1) == 1.0).all())

    def error(self, weights: Any) -> Float[Array, ""]:
        """Fraction of training examples whose margin is not positive; a tie counts as an error.

        With a loss of residuals the targets must be ±1 (one output) or one-hot: ValueError otherwise, but
        unchecked under ``jit``.
        """
        self._refuse_without_labels()
        return self._error(weights)

    @_compiled
    def test_risk(self, weights: Any) -> Float[Array, ""]:
        """The risk on the test split, without decay; ValueError where there is none."""
        inputs, targets = self._test_split()
        return self.loss.risk(self.outputs(weights, inputs), targets)

    def test_error(self, weights: Any) -> Float[Array, ""]:
        """:meth:`error` on the test split; ValueError where there is none."""
        self._test_split()
        self._refuse_without_labels()
        return self._error_of_test(weights)

    def _test_split(self) -> tuple[Float[Array, "M ..."], Num[Array, "M ..."]]:
        if self.data.test_inputs is None or self.data.test_targets is None:
            raise ValueError(
                "the data have no test split: write Data(inputs, targets, test_inputs, test_targets)"
            )
        return self.data.test_inputs, self.data.test_targets

    def _refuse_without_labels(self) -> None:
        if not isinstance(self.data.targets, jax.core.Tracer) and not self.classifies:
            raise ValueError(
                "error counts misclassified examples, and these targets are no labels: give ±1 (one output), "
                "one-hot rows, or ask for the risk"
            )

    @_compiled
    def _error(self, weights: Any) -> Float[Array, ""]:
        return _share_of_wrong(self.loss.labels, self.outputs(weights), self.data.targets)

    @_compiled
    def _error_of_test(self, weights: Any) -> Float[Array, ""]:
        inputs, targets = self._test_split()
        return _share_of_wrong(self.loss.labels, self.outputs(weights, inputs), targets)

    # Shapes ------------------------------------------------------------------------------------------------

    def fits(self, weights: Any) -> None:
        """Refuse weights of another structure or shape; those of a Function of one's own are taken as they are."""
        if not isinstance(self.network, Function):
            self.network.check(weights)

    def _repr_html_(self) -> str:
        """What a notebook shows: network, loss, data and decay, a line each."""
        data, tested = self.data, self.data.test_inputs
        split = "" if tested is None else f", {tested.shape[0]} more for testing"
        rows = {
            "network": f"{self.network!r}, {self.size} weights",
            "loss": repr(self.loss),
            "data": f"{data.inputs.shape[0]} examples of shape {data.inputs.shape[1:]}{split}: {data.provenance}",
            "decay": "none" if self._free else str(np.asarray(self.decay)),
        }
        lines = (f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows.items())
        return f"<table><caption>Problem</caption>{''.join(lines)}</table>"

    @property
    def size(self) -> int:
        """P, the number of weights."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.network.shapes()))

    @functools.partial(_compiled, on_host=True)
    def ravel(self, weights: Any) -> Float[Array, " P"]:
        """All weights as one vector."""
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(weights)):
            return ravel_pytree(weights)[0]
        return put(np.concatenate([np.zeros(0), *(np.ravel(leaf) for leaf in jax.tree.leaves(weights))]))

    @functools.partial(_compiled, on_host=True)
    def unravel(self, vector: Float[Array, " P"]) -> Any:
        """The inverse of :meth:`ravel`.

        Raises
        ------
        ValueError
            For a vector of another length.
        """
        if vector.shape != (self.size,):
            raise ValueError(
                f"the weights of this network are a vector of shape ({self.size},); {vector.shape} was given"
            )
        leaves, structure = jax.tree.flatten(self.network.shapes())
        ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])[:-1]
        traced = isinstance(vector, jax.core.Tracer)
        parts: Any = jnp.split(vector, ends) if traced else np.split(np.asarray(vector), ends)
        shaped = [put(part.reshape(leaf.shape)) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    def minibatch(self, indices: Int[Array, " B"]) -> "Problem":
        """The problem on the examples of these indices, its risk an unbiased estimate of the whole one's.

        A mean over the batch for ``reduction="mean"``, N/B times the sum for ``"sum"``; decay is kept whole.
        """
        rows = eqx.tree_at(
            lambda data: (data.inputs, data.targets),
            self.data,
            (self.data.inputs[indices], self.data.targets[indices]),
        )
        factor = self.factor
        if self.loss.reduction == "sum":
            factor *= self.data.inputs.shape[0] / rows.inputs.shape[0]
        return unchecked(Problem, self, data=rows, factor=factor)

    def thinned(self, key: Any) -> "Problem":
        """The problem of what dropout, drawn by this key, leaves of the network; itself where there is none."""
        return unchecked(Problem, self, network=self.network.thinned(key))


class HessianOperator(Module):
    """∇²L at given weights, matrix-free and symmetric: ``operator.mv(v)`` for v like the weights."""

    problem: Problem
    weights: Any

    @_compiled
    def mv(self, vector: Any) -> Any:
        """∇²L v, by a forward derivative of the gradient."""
        weights = doubles(self.weights)
        return jax.jvp(self.problem.gradient, (weights,), (vector,))[1]

    def as_matrix(self) -> Float[Array, "P P"]:
        """The dense matrix, in the order of ``Problem.ravel``."""
        return self.problem.hessian(self.weights)


# Checks on the host ----------------------------------------------------------------------------------------


def _with_signs_as_floats(loss: Loss, data: Data) -> Data:
    if loss.labels != "sign":
        return data

    def floats(targets: Num[Array, " N"] | None) -> Float[Array, " N"] | None:
        return None if targets is None else put(targets, jnp.float64)

    signs = (floats(data.targets), floats(data.test_targets))
    return eqx.tree_at(lambda d: (d.targets, d.test_targets), data, signs, is_leaf=lambda leaf: leaf is None)


def _known_shapes(network: Network) -> Any:
    """Shapes of the weights, or None for a Function without initial weights."""
    return None if isinstance(network, Function) and network.initial is None else network.shapes()


def _checked_decay(network: Network, decay: Any) -> Float[Array, "..."]:
    given = np.asarray(decay, dtype=np.float64)
    if given.ndim > 1 or not np.isfinite(given).all() or (given < 0.0).any():
        raise ValueError(f"decay is a number λ ≥ 0, or one a layer; {decay!r} was given")
    shapes = _known_shapes(network)
    if given.ndim == 1 and shapes is not None and given.size != (count := len(network.layers(shapes))):
        raise ValueError(
            f"decay has {given.size} numbers and the network {count} layers: "
            f"give {count}, or one number for all"
        )
    return put(given)


def _check_shapes(network: Network, loss: Loss, data: Data) -> None:
    given, expected = tuple(data.inputs.shape[1:]), tuple(network.input_shape)
    if math.prod(given) != math.prod(expected):
        raise ValueError(
            f"the network takes inputs of shape {expected}; the data have {given}: "
            "change the network's first width or the data"
        )
    count = data.inputs.shape[0]
    outputs = jax.ShapeDtypeStruct((count, network.outputs), np.float64)
    if guard.own_network(network) and (shapes := _known_shapes(network)) is not None:
        outputs = jax.eval_shape(network, shapes, data.inputs)
    if outputs.shape != (count, network.outputs):
        told = f"({count}, {network.outputs}) was expected: return one row of outputs per input"
        raise ValueError(f"the network gives outputs of shape {outputs.shape} on {count} inputs; {told}")
    own = guard.own_loss(loss)  # ours give what they say
    values = jax.eval_shape(loss.per_example, outputs, data.targets) if own else outputs
    if own and values.shape != (count,):
        raise ValueError(
            f"the loss gives values of shape {values.shape} on {count} examples; ({count},) was expected: "
            "return one value per example"
        )
