"""torchdiffeq's dopri5 on a task: the same network and loss in PyTorch, its gradient by autograd."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np

from benchmarks.task import Limit, Task
from gradlab import Convolutional, CrossEntropy, Dense, Exponential, Logistic, Square


def refuse(task: Task) -> str | None:
    """A sentence where a network, activation or loss is not written in PyTorch here, else None."""
    network, loss = task.problem.network, task.problem.loss
    known = isinstance(network, Dense) and not network.bias
    if not known or isinstance(network, Convolutional):
        return f"skipped: {type(network).__name__} is not written in PyTorch here"
    if network.activation.name not in ("identity", "tanh", "gelu", "softplus", "squared_relu"):
        return f"skipped: the activation {network.activation.name} is not written in PyTorch here"
    if not isinstance(loss, (Square, CrossEntropy, Exponential, Logistic)):
        return f"skipped: {type(loss).__name__} is not written in PyTorch here"
    return None


def field(task: Task) -> Any:
    """−∇L of a flat float64 tensor."""
    import torch
    from torch.nn import functional

    network, loss, data = task.problem.network, task.problem.loss, task.problem.data
    inputs = torch.tensor(np.array(data.inputs).reshape(data.inputs.shape[0], -1))
    targets = torch.tensor(np.array(data.targets))
    shapes = [leaf.shape for leaf in jax.tree.leaves(network.shapes())]
    sizes = [int(np.prod(shape)) for shape in shapes]
    activation = {
        "identity": lambda z: z,
        "tanh": torch.tanh,
        "gelu": functional.gelu,
        "softplus": functional.softplus,
        "squared_relu": lambda z: functional.relu(z) ** 2,
    }[network.activation.name]

    def risk(outputs: Any) -> Any:
        if isinstance(loss, Square):
            values = ((outputs - targets) ** 2).sum(1) * (0.5 if loss.half else 1.0)
        elif isinstance(loss, CrossEntropy):
            values = functional.cross_entropy(outputs, targets, reduction="none")
        elif isinstance(loss, Exponential):
            values = torch.exp(-targets * outputs[:, 0])
        else:
            values = functional.softplus(-targets * outputs[:, 0])
        return values.mean() if loss.reduction == "mean" else values.sum()

    def velocity(t: Any, vector: Any) -> Any:
        with torch.enable_grad():
            leaf = vector.detach().requires_grad_(True)
            matrices = [p.reshape(s) for p, s in zip(torch.split(leaf, sizes), shapes, strict=True)]
            h = inputs
            for k, matrix in enumerate(matrices):
                h = h @ matrix.T
                h = activation(h) if k + 1 < len(matrices) else h
            return -torch.autograd.grad(risk(h), leaf)[0]

    return velocity


class _Late(Exception):
    """The limit on time is over."""


def solve(task: Task, tolerance: float, limit: Limit) -> tuple[np.ndarray | None, int, float]:
    """(weights at T or None, evaluations, wall seconds).

    Raises
    ------
    ValueError
        If PyTorch's gradient is not JAX's: then it is not the same work.
    """
    import torch
    from torchdiffeq import odeint

    velocity, start = field(task), torch.tensor(task.vector.copy())
    ours, theirs = task.field(task.vector), velocity(None, start).numpy()
    if not np.allclose(ours, theirs, rtol=1e-8, atol=1e-10 * float(np.abs(ours).max())):
        raise ValueError(f"{task.name}: the gradient in PyTorch differs by {np.abs(ours - theirs).max():g}")
    count = 0
    begun = time.perf_counter()

    def counted(t: Any, y: Any) -> Any:
        nonlocal count
        count += 1
        if count > limit.gradients or time.perf_counter() - begun > limit.seconds:
            raise _Late
        return velocity(t, y)

    moments = torch.tensor([0.0, task.T], dtype=torch.float64)
    vector = None
    try:
        with torch.no_grad():
            found = odeint(
                counted, start, moments, rtol=tolerance, atol=tolerance * task.scale, method="dopri5"
            )
        vector = found[-1].numpy()
    except (_Late, AssertionError):  # an underflow of the step is an AssertionError there
        pass
    return vector, count, time.perf_counter() - begun
