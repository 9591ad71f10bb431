"""Scaling: evaluations and wall time against T, weights, N, depth and seeds; the overhead of the solver."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

import gradlab
from benchmarks.measure import exponent
from benchmarks.ours import OURS, missing, solver
from benchmarks.peers import PEERS, Peer
from benchmarks.problems import deep_linear, digits_mlp, has_data, mnist_mlp
from benchmarks.task import Limit, Task
from gradlab.problem.problem import stack

#: One tolerance for all: the exponents are those of the cost at about one accuracy.
TOLERANCE = 1e-5
METHODS = ("gradlab-rkc2", "gradlab-mrkc3", "gradlab-auto", "diffrax-tsit5-tuned")
QUICK = ("gradlab-mrkc3", "gradlab-auto", "diffrax-tsit5-tuned")

Tell = Callable[[str], None]


def available(quick: bool) -> list[Peer]:
    """The methods of this comparison that this version has."""
    named = [{**OURS, **PEERS}[name] for name in (QUICK if quick else METHODS)]
    return [p for p in named if p.family != "gradlab" or missing(p.name.removeprefix("gradlab-")) is None]


def along(
    axis: str, tasks: Sequence[tuple[float, Task]], peers: Sequence[Peer], limit: Limit, tell: Tell
) -> dict[str, Any]:
    """Evaluations and warm wall seconds of each method, until one costs more than the limit."""
    found: dict[str, Any] = {"axis": axis, "x": [x for x, _ in tasks], "evaluations": {}, "seconds": {}}
    for peer in peers:
        evaluations, walls = [math.nan] * len(tasks), [math.nan] * len(tasks)
        for k, (x, task) in enumerate(tasks):
            tell(f"{axis} = {x:g}: {peer.name}")
            outcome = peer.run(task, TOLERANCE, limit)
            if outcome.vector is None:
                break
            if outcome.seconds < 30.0:
                outcome = peer.run(task, TOLERANCE, limit)
            evaluations[k], walls[k] = outcome.evaluations, outcome.seconds
        found["evaluations"][peer.name], found["seconds"][peer.name] = evaluations, walls
    found["exponents"] = {
        what: {name: exponent(found["x"], y) for name, y in found[what].items()}
        for what in ("evaluations", "seconds")
    }
    return found


def axes(quick: bool, limit: Limit, tell: Tell) -> list[dict[str, Any]]:
    """Every axis: T on the deep linear net, weights and N on the digits MLP, depth on deep linear nets, seeds."""
    times = 10.0 ** np.arange(1.0, 4.1 if quick else 6.1, 0.5)
    widths = (8, 32, 128) if quick else (8, 16, 32, 64, 128, 256)
    counts = (75, 300, 1200) if quick else (50, 100, 200, 400, 800, 1600)
    depths = (2, 3, 5) if quick else (2, 3, 4, 5, 6, 8)
    peers = available(quick)
    by_width = [digits_mlp(f"width {m}", 30.0, "square", hidden=(m,)) for m in widths]
    return [
        along("T", [(T, deep_linear(f"T = {T:g}", float(T))) for T in times], peers, limit, tell),
        along("weights", [(float(task.size), task) for task in by_width], peers, limit, tell),
        along(
            "N", [(float(n), digits_mlp(f"N = {n}", 30.0, "square", N=n)) for n in counts], peers, limit, tell
        ),
        along(
            "depth",
            [(float(k), deep_linear(f"depth {k}", 30.0, depth=k)) for k in depths],
            peers,
            limit,
            tell,
        ),
        seeds((1, 8, 64) if quick else (1, 4, 16, 64, 256), tell),
    ]


def seeds(counts: Sequence[int], tell: Tell) -> dict[str, Any]:
    """Wall seconds and greatest evaluations of an ensemble of so many starts in one program."""
    task = deep_linear("seeds", 30.0)
    evaluations: dict[str, list[float]] = {}
    walls: dict[str, list[float]] = {}
    for name in ("tsit5", "mrkc3")[-1 if len(counts) < 4 else 0 :]:
        if missing(name) is not None:
            continue
        evaluations[f"gradlab-{name}"], walls[f"gradlab-{name}"] = [], []
        for count in counts:
            tell(f"{count} seeds: {name}")
            network = task.problem.network
            starts = stack([network.init(jax.random.key(k), gradlab.Gaussian(0.25)) for k in range(count)])
            flow = stack([gradlab.GradientFlow(task.problem)] * count)
            for _ in range(2):
                begun = time.perf_counter()
                seen = gradlab.run(
                    flow, starts, [task.T], solver=solver(name, TOLERANCE), refine=False, observables=(),
                    members=count,
                )  # fmt: skip
                taken = time.perf_counter() - begun
            evaluations[f"gradlab-{name}"].append(float(seen["evaluations"].values[-1].max()))
            walls[f"gradlab-{name}"].append(taken)
    x = [float(count) for count in counts]
    fits = {
        what: {name: exponent(x, y) for name, y in lines.items()}
        for what, lines in (("evaluations", evaluations), ("seconds", walls))
    }
    return {"axis": "seeds", "x": x, "evaluations": evaluations, "seconds": walls, "exponents": fits}


def overhead(quick: bool, tell: Tell) -> list[dict[str, Any]]:
    """(wall − evaluations × gradient)/(evaluations × gradient), where a gradient takes a millisecond or more.

    The median of three runs, each with the gradient timed before and after it.
    """
    if (why := has_data("mnist")) is not None:
        return [{"solver": "all", "skipped": why}]
    task = mnist_mlp("overhead", 0.3 if quick else 3.0)
    found: list[dict[str, Any]] = []
    for name in ("tsit5", "dopri8", "rkc2", "mrkc3", "mrkc5", "rock4", "auto"):
        if (why := missing(name)) is not None:
            found.append({"solver": name, "skipped": why})
            continue
        tell(f"overhead: {name}")
        peer, limit = OURS[f"gradlab-{name}"], Limit(1e6, 60.0)
        peer.run(task, 1e-6, limit)
        tries: list[tuple[float, float, float, float]] = []
        for _ in range(3):
            # A gradient timed anew beside every run: what else the machine does slows both.
            before = replace(task).gradient_seconds
            outcome = peer.run(task, 1e-6, limit)
            each = 0.5 * (before + replace(task).gradient_seconds)
            share = outcome.seconds / (outcome.evaluations * each) - 1.0
            tries.append((share, outcome.evaluations, outcome.seconds, each))
        share, evaluations, taken, each = sorted(tries)[1]
        found.append({
            "solver": name, "evaluations": evaluations, "seconds": taken, "gradient_seconds": each, "share": share,
            "of_three": f"{min(tries)[0]:.2f} to {max(tries)[0]:.2f}",
        })  # fmt: skip
    return found
