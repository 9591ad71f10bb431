"""Observables: what theory speaks about, evaluated inside the solve at record times."""

# No postponed annotations here: equinox would take the string "eqx.AbstractVar[…]" for a field.

import abc
import difflib
import functools
import itertools
from collections.abc import Iterable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.modules import Module
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class Observable(Module):
    """An observable gives an array, ``observable(problem, weights, y, t)``, whose dims have the names in ``dims``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> isinstance(gl.observables.Distance((np.zeros((1, 1)),)), gl.observables.Observable)
    True
    """

    name: eqx.AbstractVar[str]
    dims: ClassVar[tuple[str, ...]] = ()
    #: Whether it takes few values only, a share of examples say: two solves may then agree on it.
    stepwise: ClassVar[bool] = False
    #: Whether rounding moves each of its entries as it moves the largest.
    jointly: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        """The value at ``weights``, chart variables ``y``, physical time ``t``."""

    def refuse(self, problem: Problem) -> str | None:
        """A sentence if the observable has no meaning for the problem, else None."""
        return None


def _layer_norms(problem: Problem, weights: Any) -> Float[Array, " layer"]:
    def square(layer: Any) -> Float[Array, ""]:
        return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(layer)), start=jnp.zeros(()))

    return jnp.sqrt(jnp.stack([square(layer) for layer in problem.network.layers(weights)]))


def _degrees(problem: Problem) -> tuple[int, ...] | None:
    degrees = problem.network.degrees
    if degrees is None or any(degree is None for degree in degrees):
        return None
    return tuple(int(degree) for degree in degrees)  # type: ignore[arg-type]


def _needs_degrees(name: str, problem: Problem) -> str | None:
    if _degrees(problem) is not None:
        return None
    return (
        f"{name} needs a network that is homogeneous in every layer; {type(problem.network).__name__} is not "
        "(a bias, a residual block or an activation such as tanh): leave it out"
    )


def _needs_test(name: str, problem: Problem) -> str | None:
    if problem.data.test_inputs is not None:
        return None
    return (
        f"{name} needs a test split; the data have none: give test_inputs and test_targets, or leave it out"
    )


def _alike(name: str, weights: Any, solution: Any) -> None:
    """Refuse a solution that would broadcast against the weights, or not fit them at all."""
    ours, theirs = jax.tree.structure(weights), jax.tree.structure(solution)
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (weights, solution)]
    if ours != theirs or shapes[0] != shapes[1]:  # type: ignore[operator]
        raise ValueError(
            f"the solution of {name!r} holds arrays of shapes {shapes[1]} as {theirs}; the weights are "
            f"{shapes[0]} as {ours}: give a solution like the weights"
        )


class Loss(Observable):
    """The potential L = risk + ½ Σ λ_k ‖W_k‖²; it may underflow where ``log_loss`` does not."""

    name: str = eqx.field(static=True, default="loss")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        if problem.loss.relative:
            return problem.potential(weights)
        return jnp.exp(problem.log_potential(weights))


class Risk(Observable):
    """The risk alone, without weight decay; ``loss`` is the potential."""

    name: str = eqx.field(static=True, default="risk")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.risk(weights)


class LogLoss(Observable):
    """log of the potential."""

    name: str = eqx.field(static=True, default="log_loss")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        if problem.has_log:
            return problem.log_potential(weights)
        return jnp.log(problem.potential(weights))


class Error(Observable):
    """Fraction of training examples that are misclassified."""

    name: str = eqx.field(static=True, default="error")
    stepwise: ClassVar[bool] = True

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.error(weights)

    def refuse(self, problem: Problem) -> str | None:
        if problem.classifies:
            return None
        return "error counts misclassified examples; the targets are not labels (±1, classes, one-hot): leave it out"


class TestLoss(Observable):
    """Risk on the test split, without weight decay."""

    name: str = eqx.field(static=True, default="test_loss")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.test_risk(weights)

    def refuse(self, problem: Problem) -> str | None:
        return _needs_test(self.name, problem)


class TestError(Observable):
    """Fraction of test examples that are misclassified."""

    name: str = eqx.field(static=True, default="test_error")
    stepwise: ClassVar[bool] = True

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.test_error(weights)

    def refuse(self, problem: Problem) -> str | None:
        return _needs_test(self.name, problem) or Error().refuse(problem)


class LayerNorms(Observable):
    """ρ_k = ‖W_k‖_F."""

    name: str = eqx.field(static=True, default="layer_norms")
    dims: ClassVar[tuple[str, ...]] = ("layer",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return _layer_norms(problem, weights)


class NormProduct(Observable):
    """ρ = Π ρ_k^{d_k}, d_k the degree of homogeneity of layer k."""

    name: str = eqx.field(static=True, default="norm_product")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return jnp.prod(_layer_norms(problem, weights) ** jnp.asarray(_degrees(problem)))

    def refuse(self, problem: Problem) -> str | None:
        return _needs_degrees(self.name, problem)


class GradientNorm(Observable):
    """‖∇L‖; it underflows where the potential does."""

    name: str = eqx.field(static=True, default="gradient_norm")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.gradient_norm(weights)


class Margins(Observable):
    """y_n f(x_n), or f_y − max over the other classes."""

    name: str = eqx.field(static=True, default="margins")
    dims: ClassVar[tuple[str, ...]] = ("example",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.margins(weights)

    def refuse(self, problem: Problem) -> str | None:
        if problem.loss.kind == "margin":
            return None
        return f"{self.name} needs a margin loss; {type(problem.loss).__name__} has residuals: leave it out"


class NormalisedMargins(Observable):
    """Margins over ρ = Π ρ_k^{d_k}, example by example."""

    name: str = eqx.field(static=True, default="normalised_margins")
    dims: ClassVar[tuple[str, ...]] = ("example",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.normalised_margins(weights)

    def refuse(self, problem: Problem) -> str | None:
        return Margins("normalised_margins").refuse(problem) or _needs_degrees(self.name, problem)


class NormalisedMargin(Observable):
    """The smallest normalised margin."""

    name: str = eqx.field(static=True, default="normalised_margin")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return jnp.min(problem.normalised_margins(weights))

    def refuse(self, problem: Problem) -> str | None:
        return Margins("normalised_margin").refuse(problem) or _needs_degrees(self.name, problem)


class NormalisedOutputs(Observable):
    """f̃(x_n) = f(x_n)/Π ρ_k^{d_k}."""

    name: str = eqx.field(static=True, default="normalised_outputs")
    dims: ClassVar[tuple[str, ...]] = ("example", "output")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        rho = jnp.prod(_layer_norms(problem, weights) ** jnp.asarray(_degrees(problem)))
        return problem.outputs(weights) / rho

    def refuse(self, problem: Problem) -> str | None:
        return _needs_degrees(self.name, problem)


class Balancedness(Observable):
    """‖W_{k+1}‖²/d_{k+1} − ‖W_k‖²/d_k: conserved by the flow, since d‖W_k‖²/dt = −2 d_k Σ ℓ'_n f_n."""

    name: str = eqx.field(static=True, default="balancedness")
    dims: ClassVar[tuple[str, ...]] = ("pair",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        weighted = _layer_norms(problem, weights) ** 2 / jnp.asarray(_degrees(problem))
        return weighted[1:] - weighted[:-1]

    def refuse(self, problem: Problem) -> str | None:
        if len(problem.network.layers(problem.network.shapes())) < 2:
            return f"{self.name} compares neighbouring layers; this network has one: leave it out"
        return _needs_degrees(self.name, problem)


class MatrixBalancedness(Observable):
    """W_{j+1}ᵀ W_{j+1} − W_j W_jᵀ of a deep linear net, flattened and joined over j (conserved, chitour)."""

    name: str = eqx.field(static=True, default="matrix_balancedness")
    dims: ClassVar[tuple[str, ...]] = ("entry",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        layers = problem.network.layers(weights)
        return jnp.concatenate([(b.T @ b - a @ a.T).reshape(-1) for a, b in itertools.pairwise(layers)])

    def refuse(self, problem: Problem) -> str | None:
        network = problem.network
        if isinstance(network, Dense) and network.linear and len(network.widths) > 2:
            return None
        return f"{self.name} belongs to deep linear nets; this network is not one: use balancedness"


class Alignment(Observable):
    """σ₁²/‖W_k‖_F² of each layer: one where the layer has rank one."""

    name: str = eqx.field(static=True, default="alignment")
    dims: ClassVar[tuple[str, ...]] = ("layer",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        def share(layer: Any) -> Float[Array, ""]:
            (matrix,) = jax.tree.leaves(layer)
            singular = jnp.linalg.svd(matrix.reshape(matrix.shape[0], -1), compute_uv=False)
            return singular[0] ** 2 / jnp.sum(singular**2)

        return jnp.stack([share(layer) for layer in problem.network.layers(weights)])

    def refuse(self, problem: Problem) -> str | None:
        shapes = problem.network.layers(problem.network.shapes())
        if all(len(jax.tree.leaves(layer)) == 1 for layer in shapes):
            return None
        return f"{self.name} needs one matrix a layer; this network has layers with biases: leave it out"


class Distance(Observable):
    """This measures ‖W − W*‖ over all weights, W* a given solution: a pytree like the weights.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.at(problem, [(np.ones((1, 1)),)], [gl.observables.Distance((np.array([[3.0]]),))]).distance.values.tolist()
    [2.0]
    """

    solution: Any
    name: str = eqx.field(static=True, default="distance", kw_only=True)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        _alike(self.name, weights, self.solution)
        gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), weights, self.solution)
        return jnp.sqrt(sum(jax.tree.leaves(gaps), start=jnp.zeros(())))


class Direction(Observable):
    """This measures the angle in radians between W and a given direction (like the weights), both as one vector.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> seen = gl.at(problem, [(-np.ones((1, 1)),)], [gl.observables.Direction((np.array([[3.0]]),))])
    >>> round(float(seen.angle[0]), 6)  # π
    3.141593
    """

    solution: Any
    name: str = eqx.field(static=True, default="angle", kw_only=True)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        _alike(self.name, weights, self.solution)
        a, b = problem.ravel(weights), problem.ravel(self.solution)
        a, b = a / jnp.linalg.norm(a), b / jnp.linalg.norm(b)
        # 2 atan2(|a − b|, |a + b|) keeps its relative accuracy at small angles, arccos does not.
        return 2.0 * jnp.arctan2(jnp.linalg.norm(a - b), jnp.linalg.norm(a + b))


class Weights(Observable):
    """All weights as one vector, in the order of ``Problem.ravel``."""

    name: str = eqx.field(static=True, default="weights")
    dims: ClassVar[tuple[str, ...]] = ("weight",)
    jointly: ClassVar[bool] = True

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return problem.ravel(weights)


NAMED: tuple[type[Observable], ...] = (
    Loss,
    Risk,
    LogLoss,
    Error,
    TestLoss,
    TestError,
    LayerNorms,
    NormProduct,
    GradientNorm,
    Margins,
    NormalisedMargin,
    NormalisedMargins,
    NormalisedOutputs,
    Balancedness,
    MatrixBalancedness,
    Alignment,
    Weights,
)

DEFAULT = (
    "loss",
    "log_loss",
    "error",
    "test_loss",
    "test_error",
    "layer_norms",
    "gradient_norm",
    "normalised_margin",
)


#: What a trajectory holds besides observables, and its dims: names that no observable may take.
_TAKEN = (
    "tau",
    "t",
    "log_t",
    "step",
    "rejected",
    "evaluations",
    "jacobians",
    "stiff",
    "stiffness",
    "events",
    "sliding",
    "changes",
    "status",
    "final_weights",
    "record",
    "member",
    "layer",
    "example",
    "output",
    "pair",
    "entry",
    "mode",
    "weight",
)


def observables(items: Any, problem: Problem) -> tuple[Observable, ...]:
    """Observables from an iterable of names and objects; what has no meaning for the problem is refused.

    Raises
    ------
    ValueError
        For an unknown name, a name that is taken, or an observable the problem refuses.
    """
    if isinstance(items, str | Observable) or not isinstance(items, Iterable):
        example = repr(items) if isinstance(items, str) else "'loss'"
        raise ValueError(f"observables is a list of names and Observables, not {items!r}: write [{example}]")
    chosen: list[Observable] = []
    for item in items:
        found = _found(item)
        reason = found.refuse(problem)
        if reason is not None:
            raise ValueError(reason)
        _check_name(found.name, [other.name for other in chosen])
        chosen.append(found)
    names = {found.name for found in chosen}
    # a value that is computed with a bound is never recorded without it
    bounds = [f"{item}_bound" for item in ("sharpness", "layer_sharpness") if item in names]
    return (*chosen, *(_found(bound) for bound in bounds if bound not in names))


@functools.cache
def _usual() -> dict[str, Any]:
    """The kinds of this module by name."""
    return {kind().name: kind for kind in NAMED}  # type: ignore[call-arg]  # all have a default


@functools.cache
def _every() -> dict[str, Any]:
    """All kinds by name; what most runs do not ask for is imported here."""
    from gradlab.observe.margins import MARGINS
    from gradlab.observe.product import PRODUCT
    from gradlab.observe.sharpness import SHARPNESS

    others = (*MARGINS, *PRODUCT, *SHARPNESS)
    return _usual() | {kind().name: kind for kind in others}  # type: ignore[call-arg]  # all have a default


def _found(item: Any) -> Observable:
    if isinstance(item, Observable):
        return item
    if not isinstance(item, str):
        raise ValueError(
            f"an observable is a name such as 'loss' or an Observable such as Distance(solution), not {item!r}: "
            "write the one or the other"
        )
    known = _usual() if item in _usual() else _every()
    if item not in known:
        close = difflib.get_close_matches(item, known, n=1)
        names = ", ".join(name for name in known if not name.endswith("_bound"))
        hint = f"did you mean {close[0]!r}?" if close else f"known are {names}"
        raise ValueError(f"unknown observable {item!r}: {hint}")
    found: Observable = known[item]()
    return found


def _check_name(name: str, others: list[str]) -> None:
    """Names are unique, also against error bars: ``x_error`` belongs to ``x``."""
    if name in others:
        raise ValueError(f"two observables are called {name!r}: give one of them another name=")
    if name in _TAKEN or name.startswith("chart_"):
        raise ValueError(
            f"an observable is called {name!r}, which a trajectory uses for something else: give it another name="
        )
    bars = [f"{other}_error" for other in (*others, *_TAKEN)]
    if name in bars or f"{name}_error" in others:
        bar = name if name in bars else f"{name}_error"
        raise ValueError(
            f"an observable is called {bar!r}, the name of the error bar of {bar.removesuffix('_error')!r}: "
            "give one of them another name="
        )


def default(problem: Problem) -> tuple[Observable, ...]:
    """The usual observables that have a meaning for the problem."""
    known = (_found(name) for name in DEFAULT)
    return tuple(item for item in known if item.refuse(problem) is None)
