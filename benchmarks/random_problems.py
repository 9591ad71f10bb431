"""Fifty random problems from a seeded generator: on what nobody tuned for, who is cheapest?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import at_error, best, geometric_mean, is_peer, sweep
from benchmarks.ours import OURS
from benchmarks.peers import PEERS
from benchmarks.references import reference
from benchmarks.task import Limit, Task
from gradlab import CrossEntropy, Data, Dense, Exponential, Logistic, Problem, Square
from gradlab.problem.activations import Activation

COUNT = 50
SEED = 20_261
#: Peers that were the best on some named problem; SciPy's BDF has the exact Hessian.
JUDGED = ("diffrax-bosh3-tuned", "diffrax-tsit5-tuned", "diffrax-dopri8-tuned", "scipy-bdf-hessian")
#: A target is asked of the accuracy that the sweep of tolerances brackets everywhere.
TARGETS = (1e-4, 1e-6)


class Softplus(Activation):
    """log(1 + eᶻ)."""

    name: str = "softplus"
    degree: int | None = None
    smooth: bool = True

    def __call__(self, z: Any) -> Any:
        return jax.nn.softplus(z)


def draw(number: int, seed: int = SEED) -> Task:
    """Problem ``number``: the same for ever, whichever others are run."""
    rng = np.random.default_rng([seed, number])
    depth = int(rng.integers(1, 5))
    d, N = int(rng.integers(2, 17)), int(np.exp(rng.uniform(np.log(5), np.log(200))))
    loss = str(rng.choice(["square", "logistic", "cross-entropy", "exponential"]))
    outputs = {"square": int(rng.integers(1, 6)), "cross-entropy": int(rng.integers(2, 6))}.get(loss, 1)
    hidden = [int(width) for width in rng.integers(2, 17, depth - 1)]
    word = str(rng.choice(["identity", "tanh", "gelu", "softplus", "squared_relu"]))
    inputs = rng.standard_normal((N, d))
    scores = inputs @ rng.standard_normal((d, outputs)) / np.sqrt(d) + 0.1 * rng.standard_normal((N, outputs))
    T = float(np.exp(rng.uniform(0.0, np.log(3000.0))))
    made: tuple[Any, Any] = {
        "square": (Square("mean"), scores),
        "cross-entropy": (CrossEntropy("mean"), scores.argmax(1)),
        "logistic": (Logistic("mean"), np.where(scores[:, 0] > 0, 1.0, -1.0)),
        "exponential": (Exponential("mean"), np.where(scores[:, 0] > 0, 1.0, -1.0)),
    }[loss]
    network = Dense((d, *hidden, outputs), Softplus() if word == "softplus" else word)
    problem = Problem(network, made[0], Data(inputs, made[1]))
    # He's scheme drawn by NumPy: jax.random would compile a program for every new shape.
    shapes = [leaf.shape for leaf in jax.tree.leaves(network.shapes())]
    weights = tuple(jnp.asarray(np.sqrt(2.0 / s[1]) * rng.standard_normal(s)) for s in shapes)
    settings = f"Dense {network.widths} {word}, {loss} loss (mean), N = {N}, start He"
    return Task(f"random-{number:02d}", problem, weights, T, settings)


def one(number: int, tolerances: tuple[float, ...], limit: Limit, names: list[str]) -> dict[str, Any]:
    """Costs of gradlab's solvers and of the judged peers on one problem, at equal achieved errors."""
    task = draw(number)
    row: dict[str, Any] = {"number": number, "settings": task.settings, "T": task.T, "size": task.size}
    try:
        true = reference(task)
    except ValueError as reason:
        return row | {"left_out": str(reason)}
    row |= {"disagreement": true.disagreement, "costs": {}}
    peers = [PEERS[name] for name in JUDGED] + [OURS[name] for name in names]
    sweeps = [sweep(peer, task, true, tolerances, limit) for peer in peers]
    for error in TARGETS:
        if true.resolves(error):
            costs = {s.method: at_error(s.points, error) for s in sweeps}
            costs["best peer"] = best(sweeps, error, is_peer)[1]
            row["costs"][f"{error:g}"] = costs
    return row


def judge(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Per solver and target: peer/gradlab (geometric mean, worst), how often at most 1× and 2× the best peer."""
    verdicts = []
    for name in names:
        for error in TARGETS:
            known = [row["costs"].get(f"{error:g}") for row in rows if "costs" in row]
            asked = [costs for costs in known if costs and costs["best peer"] is not None]
            gains = [c["best peer"] / c[name] for c in asked if c.get(name) is not None]
            verdicts.append({
                "solver": name, "error": error, "problems": len(asked), "failed": len(asked) - len(gains),
                "mean_gain": geometric_mean(gains), "least_gain": min(gains, default=None),
                "no_dearer": sum(g >= 1.0 for g in gains), "at_most_twice": sum(g >= 0.5 for g in gains),
            })  # fmt: skip
    return verdicts
