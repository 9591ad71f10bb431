"""Models of PyTorch as networks: values and products are torch's, on the model's own device, in float64.

The model is not translated. f is ``torch.func.functional_call``; of the Hessian H = Jᵀ S J + Σ s_n ∇²f_n both parts are
products of J and Jᵀ by reverse mode, and S, the loss's own, is JAX's.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.checking.models.own_model import ModelFacts, by_first_use, heads_of, joined, outputs_of, split
from gradlab.problem.guard import EXAMPLES, Findings
from gradlab.problem.network import Network, batch, count
from gradlab.problem.own_code import OwnCodeError, own_code
from gradlab.problem.precision import float64, put, single
from gradlab.problem.problem import Problem
from gradlab.store.torch_files import torch_module

#: What multiplies by a weight, by the name of torch's function, and what only moves one.
_PRODUCTS = (
    "linear", "conv", "matmul", "mm", "einsum", "multi_head", "lstm", "gru", "rnn",
)  # fmt: skip
_MOVED = ("t", "transpose", "permute", "reshape", "view", "contiguous", "to", "flatten", "__get__")
#: Relative distance of a batch and its parts that rounding explains.
_ROUNDED = 1e-9


class TorchNetwork(Network):
    """A ``torch.nn.Module`` as a network for :func:`gradlab.check`; its derivatives are torch's.

    Weights are a dict of its trained parameters by name, in the order of their use. Values may be asked under ``jit``;
    JAX cannot differentiate them, so that it is checked and not run.
    """

    function: _Callable = eqx.field(static=True)
    input_shape: tuple[int, ...] = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    told: ModelFacts = eqx.field(static=True)
    degrees: tuple[int | None, ...] | None = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(
        self, function: _Callable, input_shape: tuple[int, ...], outputs: int, told: ModelFacts
    ) -> None:
        self.function, self.input_shape, self.outputs, self.told = function, input_shape, outputs, told
        self.degrees, self.smooth = None, False  # asked of the function by probing it

    @property
    def _heads(self) -> tuple[tuple[str, ...], ...]:
        return heads_of(self.function.start)

    def __call__(self, weights: Any, x: Any) -> Any:
        x = batch(self, x)
        shape = jax.ShapeDtypeStruct((x.shape[0], self.outputs), np.float64)
        return _value(self.function, shape, weights, x)

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return split(weights, self._heads)

    def rebuild(self, layers: Sequence[Any]) -> Any:
        return joined(count(self, layers, len(self._heads)), self.function.start)

    @float64
    def shapes(self) -> Any:
        return OrderedDict(
            (name, jax.ShapeDtypeStruct(array.shape, np.float64))
            for name, array in self.function.start.items()
        )

    @float64
    def init(self, key: Any, scheme: Any = None) -> Any:
        """The weights that the model has; key and scheme are not used."""
        return OrderedDict((name, put(array)) for name, array in self.function.start.items())

    def derivatives(self, problem: Problem) -> OfTorch:
        """Values and products by torch."""
        return OfTorch(problem, self.function)


class _Callable:
    """A quiet copy of a model as a function of arrays by name; ``start`` are those that it has."""

    def __init__(self, model: Any, call: Mapping[str, Any]) -> None:
        self.torch = torch_module()
        self.model, self.call = copy.deepcopy(model), dict(call)
        self.random = tuple(_quieted(self.torch, self.model))
        trained = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        if not trained:
            raise ValueError("the model holds no trained parameters; there is nothing to check")
        self.device = next(iter(trained.values())).device
        others = [*self.model.named_parameters(), *self.model.named_buffers()]
        self.others = {name: self._wide(one.detach()) for name, one in others if name not in trained}
        self.start: OrderedDict[str, np.ndarray] = OrderedDict(
            (name, np.asarray(one.detach().cpu().double().numpy())) for name, one in trained.items()
        )

    def _wide(self, tensor: Any) -> Any:
        return tensor.double() if tensor.is_floating_point() else tensor

    def tensors(self, weights: Mapping[str, Any], needed: bool = True) -> dict[str, Any]:
        """Weights as tensors on the model's device."""
        given = {name: self.tensor(weights[name]) for name in self.start}
        return {name: tensor.requires_grad_() for name, tensor in given.items()} if needed else given

    def tensor(self, array: Any) -> Any:
        return self.torch.tensor(np.asarray(array), dtype=self.torch.float64, device=self.device)

    def __call__(self, tensors: Mapping[str, Any], x: Any) -> Any:
        """Outputs (N, C) of a batch; what the model writes into its buffers is dropped."""
        beside = {name: one.clone() for name, one in self.others.items()}
        with own_code("the model"):
            found = self.torch.func.functional_call(
                self.model, {**beside, **tensors}, (self.tensor(x),), self.call
            )
        outputs_of(found, len(x))
        return found[:, None] if found.ndim == 1 else found

    def values(self, weights: Mapping[str, Any], x: Any) -> np.ndarray:
        with self.torch.no_grad():
            return self.numpy(self(self.tensors(weights, needed=False), x))

    def numpy(self, tensor: Any) -> np.ndarray:
        return np.asarray(tensor.detach().cpu().double().numpy())


def _quieted(torch: Any, model: Any) -> list[tuple[str, float]]:
    """Turn dropout off; what was on, by name and share."""
    found = []
    for name, module in model.named_modules():
        is_dropout = isinstance(module, torch.nn.modules.dropout._DropoutNd)
        share = module.p if is_dropout else getattr(module, "dropout", 0.0)
        if not isinstance(share, float | int) or not share or not module.training:
            continue
        found.append((name or type(module).__name__, float(share)))
        if is_dropout:
            module.eval()
        else:  # attention and recurrent layers
            module.dropout = 0.0
    return found


@jax.custom_jvp
def _unmoved(outputs: Any, weights: Any, x: Any) -> Any:
    return outputs


def _refused(primals: Any, tangents: Any) -> Any:
    raise ValueError(
        "a model of torch is checked and not run: JAX cannot differentiate it; write it in JAX for gl.run"
    )


_unmoved.defjvp(_refused)


def _value(function: _Callable, shape: Any, weights: Any, x: Any) -> Any:
    held = jax.lax.stop_gradient((weights, x))
    outputs = jax.pure_callback(
        lambda w, x: function.values(w, np.asarray(x)), shape, *held, vmap_method="sequential"
    )
    return _unmoved(outputs, weights, x)


def of_torch_module(model: Any, inputs: Any, call: Mapping[str, Any]) -> TorchNetwork:
    """A network from a ``torch.nn.Module`` that takes a batch.

    What is trained are its parameters with ``requires_grad``. Dropout is turned off in a copy; batch normalisation
    stays as the model has it (``model.train()``: the batch's statistics), and what it writes is dropped.

    Raises
    ------
    ImportError
        Where torch is not installed.
    ValueError
        For a model without parameters, one that raises in float64, or gives no row of outputs an example.
    """
    function, inputs = _Callable(model, call), np.asarray(inputs, np.float64)
    outputs = function.values(function.start, inputs)
    when, _ = _seen(function, function.start, inputs[: min(2, len(inputs))])
    function.start = by_first_use(function.start, when)
    told = ModelFacts(tuple(function.others), function.random)
    return TorchNetwork(function, inputs.shape[1:], outputs.shape[1], told)


def _seen(
    function: _Callable, weights: Mapping[str, Any], x: np.ndarray
) -> tuple[dict[str, int], dict[str, int]]:
    """(when each parameter is used first, how many products take it), by listening to torch's functions."""
    torch = function.torch
    tensors = function.tensors(weights, needed=False)
    names = {id(one): name for name, one in tensors.items()}
    first: dict[str, int] = {}
    partners: dict[str, set[int]] = {name: set() for name in tensors}
    alive: list[Any] = []  # ids must not be given out again
    calls = 0

    class Listening(torch.overrides.TorchFunctionMode):  # type: ignore[name-defined]  # torch is a value here
        def __torch_function__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal calls
            calls += 1
            found = called(*args, **(kwargs or {}))
            given = [one for one in _flat((*args, *(kwargs or {}).values())) if isinstance(one, torch.Tensor)]
            own = [one for one in given if id(one) in names]
            word = getattr(called, "__name__", "")
            alive.extend(given)
            if own and word in _MOVED and isinstance(found, torch.Tensor):
                names[id(found)] = names[id(own[0])]
                alive.append(found)
                return found
            for one in own:
                name = names[id(one)]
                first.setdefault(name, calls)
                if any(
                    part in word for part in _PRODUCTS
                ):  # a call is one product, whatever else it is given
                    partners[name] |= set([id(other) for other in given if id(other) not in names][:1])
            return found

    with Listening(), torch.no_grad():
        function(tensors, x)
    return {name: first.get(name, calls + 1) for name in tensors}, {n: len(p) for n, p in partners.items()}


def _flat(given: Any) -> list[Any]:
    """What lists and tuples hold, however deep: recurrent layers hand on their weights in one."""
    if not isinstance(given, list | tuple):
        return [given]
    return [one for inner in given for one in _flat(inner)]


@eqx.filter_jit
def _slopes(problem: Problem, outputs: Any) -> tuple[Any, Any]:
    found: tuple[Any, Any] = jax.value_and_grad(lambda f: problem.loss.risk(f, problem.data.targets))(outputs)
    return found


@eqx.filter_jit
def _bent(problem: Problem, outputs: Any, direction: Any) -> Any:
    """∂²risk/∂f² times a direction."""
    return jax.jvp(jax.grad(lambda f: problem.loss.risk(f, problem.data.targets)), (outputs,), (direction,))[
        1
    ]


class OfTorch:
    """Derivatives of a network of torch, as :class:`gradlab.checking.evaluating.Derivatives` lists them."""

    #: A Hessian takes a pass for each weight here, so that sharpness is asked of products.
    by_products = True

    def __init__(self, problem: Problem, function: _Callable) -> None:
        self.problem, self.function = problem, function
        self.inputs = np.asarray(problem.data.inputs, np.float64)

    def _flat(self, gradients: Sequence[Any]) -> np.ndarray:
        """Gradients of all weights as a vector; 0 where one is not used."""
        arrays = [
            np.zeros(start.size) if one is None else self.function.numpy(one).ravel()
            for one, start in zip(gradients, self.function.start.values(), strict=True)
        ]
        return np.concatenate(arrays)

    def _pull(self, outputs: Any, tensors: Mapping[str, Any], cotangent: np.ndarray) -> np.ndarray:
        grad = self.function.torch.autograd.grad
        given = self.function.tensor(cotangent)
        return self._flat(grad(outputs, list(tensors.values()), given, retain_graph=True, allow_unused=True))

    @float64
    def look(self, weights: Any, inputs: np.ndarray) -> tuple[Any, Any, Any, Any]:
        tensors = self.function.tensors(weights)
        outputs = self.function(tensors, inputs)
        values = self.function.numpy(outputs)
        risk, slopes = _slopes(self.problem, put(values))
        return values, risk, self._pull(outputs, tensors, np.asarray(slopes)), slopes

    @float64
    def product(self, weights: Any, vector: np.ndarray) -> np.ndarray:
        return self._products(weights, [vector])[0]

    @float64
    def hessian(self, weights: Any) -> np.ndarray:
        return np.stack(
            self._products(weights, np.eye(sum(array.size for array in self.function.start.values())))
        )

    def _products(self, weights: Any, vectors: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """∇²risk v = Jᵀ S J v + ∇⟨s, f⟩'s derivative along v, by reverse mode twice."""
        grad, tensors = self.function.torch.autograd.grad, self.function.tensors(weights)
        outputs = self.function(tensors, self.inputs)
        values = put(self.function.numpy(outputs))
        cotangent = self.function.tensor(_slopes(self.problem, values)[1]).requires_grad_()
        every = list(tensors.values())
        pulled = grad(outputs, every, cotangent, create_graph=True, allow_unused=True)
        found = []
        for vector in vectors:
            inner, at = 0.0, 0
            for one, tensor in zip(pulled, every, strict=True):
                part = self.function.tensor(vector[at : at + tensor.numel()]).reshape(tensor.shape)
                at += tensor.numel()
                inner = inner if one is None else inner + (one * part).sum()
            pushed, *second = grad(inner, [cotangent, *every], retain_graph=True, allow_unused=True)
            bent = _bent(self.problem, values, put(self.function.numpy(pushed)))
            found.append(self._flat(second) + self._pull(outputs, tensors, np.asarray(bent)))
        return found

    def jacobian(self, weights: Any) -> np.ndarray:
        self.findings(weights).refuse_single_examples("Jacobians of the outputs")
        tensors = self.function.tensors(weights)
        outputs = self.function(tensors, self.inputs)
        unit = np.eye(outputs.numel()).reshape(-1, *outputs.shape)
        return np.stack([self._pull(outputs, tensors, one) for one in unit]).reshape(*outputs.shape, -1)

    def uses(self, weights: Any, inputs: np.ndarray) -> Mapping[str, int]:
        counts = _seen(self.function, weights, inputs)[1]
        return {name: counts[name] for name, array in self.function.start.items() if array.ndim >= 2}

    def findings(self, weights: Any) -> Findings:
        """Whether examples interact, and whether the model computes in less than float64.

        Raises
        ------
        ValueError
            Where two evaluations at one point differ.
        """
        x = self.inputs[:EXAMPLES]
        together, again = self.function.values(weights, x), self.function.values(weights, x)
        if not np.array_equal(together, again, equal_nan=True):
            raise OwnCodeError(
                "two evaluations of the model at one point differ (random numbers in its forward?): draw them once "
                "outside it"
            )
        narrow = "float32" if single(together) else ""
        try:
            apart = np.concatenate(
                [self.function.values(weights, x[:1]), self.function.values(weights, x[1:])]
            )
            off = float(np.max(np.abs(apart - together))) / max(float(np.max(np.abs(together))), 1e-300)
            allowed = 1e-5 if narrow else _ROUNDED
            interacts = (
                f"the model gives examples other values together than apart, {off:.1e} off"
                if off > allowed
                else ""
            )
        except OwnCodeError as error:
            interacts = f"the model takes the whole batch only: {error}"
        return Findings(True, interacts, narrow)
