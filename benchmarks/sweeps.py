"""What a sweep costs: 5120 runs serially, then on four Dask workers of which two are killed on the way.

    python -m benchmarks.sweeps [ITERATIONS] [FOLDER]

Prints JSON. Seconds of processor time say what was done whatever else the machine does; seconds of wall time do not.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import distributed
import jax

from gradlab import specification
from gradlab.executing import executor
from gradlab.sweeping.sweep import Sweep

WORKERS = 4
#: Empty tasks, by which the executor is weighed.
EMPTY = 1000
#: Shares of the runs after which a worker is killed.
KILLS = (0.1, 0.4)


def tables(iterations: int) -> dict[str, Any]:
    """A deep linear net of 12 weights under descent, 10 steps × 16 scales × 32 seeds."""
    return {
        "observables": ["loss", "balancedness"],
        "network": {
            "kind": "dense",
            "widths": [3, 3, 1],
            "activation": "identity",
            "init": {"kind": "gaussian", "scale": 0.1},
        },
        "loss": {"kind": "square", "reduction": "mean"},
        "data": {"kind": "linear regression", "examples": 8, "inputs": 3},
        "flow": {"kind": "gradient descent", "step": 0.01},
        "records": {"until": iterations, "count": 3},
        "sweep": {
            "seeds": 32,
            "limit": 5120,
            "grid": {
                "flow.step": {"low": 0.001, "high": 0.01, "count": 10},
                "network.init.scale": {"low": 0.01, "high": 0.5, "count": 16, "spacing": "log"},
            },
        },
    }


class Killer:
    """Kills a worker when so much is done; a listener to progress."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.killed = cluster, []

    def update(self, description: str, completed: float, total: float) -> None:
        if len(self.killed) < len(KILLS) and completed >= KILLS[len(self.killed)] * total:
            pids = [worker.pid for worker in self.cluster.workers.values() if worker.pid]
            self.killed.append(next(pid for pid in pids if pid not in self.killed))
            os.kill(self.killed[-1], signal.SIGKILL)


def spent(who: int) -> float:
    """Seconds of processor time so far."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measured(run: Any) -> dict[str, float]:
    """Seconds of wall, of this process and of those it has waited for."""
    begun, mine, others = time.perf_counter(), spent(resource.RUSAGE_SELF), spent(resource.RUSAGE_CHILDREN)
    run()
    return {
        "wall": time.perf_counter() - begun,
        "this process": spent(resource.RUSAGE_SELF) - mine,
        "other processes": spent(resource.RUSAGE_CHILDREN) - others,
    }


def local() -> Any:
    """A cluster as ``--cluster local`` makes it, whose workers can be killed by their process ids."""
    return distributed.LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=50,
    )


def empty(address: str) -> dict[str, float]:
    """Tasks that do nothing."""

    def run() -> None:
        with executor(WORKERS, address) as running:
            for number in range(EMPTY):
                running.submit(abs, number)
            assert sum(done.result() for done in running.as_completed()) == EMPTY * (EMPTY - 1) // 2

    return {name: value / EMPTY for name, value in measured(run).items()}


def sweeps(iterations: int, folder: Path) -> dict[str, Any]:
    """Both sweeps, and what they differ by."""
    jax.config.update("jax_enable_x64", True)
    design = specification.design(tables(iterations))
    serial, apart = (Sweep(design, Path.cwd(), folder / name) for name in ("serial", "dask"))
    told: dict[str, Any] = {"load before": os.getloadavg(), "iterations": iterations, "runs": design.runs}
    told["serial"] = measured(serial.run) | {"tasks": serial.processor, "computed": serial.computed}

    def on_cluster() -> None:
        with local() as cluster:
            killer = Killer(cluster)
            apart.run(WORKERS, cluster.scheduler_address, killer)
            told["killed"] = len(killer.killed)

    told["dask"] = measured(on_cluster)
    told["dask"] |= {"tasks": apart.processor, "computed": apart.computed}
    ours, theirs = serial.collect(), apart.collect()
    manifests = list((folder / "dask").rglob("manifest.jsonl"))
    told["directories"] = len(manifests)
    told["segments"] = sum(path.read_text().count('"kind":"segment"') for path in manifests)
    told["identical"] = ours.identical(theirs)
    told["reading"] = measured(serial.collect)["this process"] / len(manifests)
    told["looking"] = measured(Sweep(design, Path.cwd(), folder / "serial").run)["this process"]
    told["bytes"] = sum(path.stat().st_size for path in (folder / "dask" / "runs").rglob("*")) / design.runs
    with local() as cluster:
        told["empty task"] = empty(cluster.scheduler_address)
    told["load after"] = os.getloadavg()
    return told


def main() -> None:
    """Measure and print."""
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    with tempfile.TemporaryDirectory() as made:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(made)
        print(json.dumps(sweeps(iterations, folder), indent=1))


if __name__ == "__main__":
    main()
