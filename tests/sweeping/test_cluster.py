"""On a Dask cluster, with a worker killed on the way: the same bits, nothing computed twice."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import gradlab as gl
from gradlab import specification
from gradlab.claims import catalogue
from gradlab.claims.verification import verify
from gradlab.executing import Died, Lost, executor
from gradlab.sweeping.sweep import Sweep

GRID = {"flow.step": [0.01 + 0.001 * i for i in range(8)]}

STUDY = """
import jax
import gradlab as gl

class Mine(gl.claims.Look):
    @gl.claims.at_most(9.0)
    def growth(self):
        '''Largest weight.

        Weights are drawn from [0, 1).
        '''
        return gl.claims.Number(float(self.end.max()), error=1e-9)

def cases(key):
    problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    return [gl.claims.point(problem, [float(jax.random.uniform(key))], draw=0)]

STUDIES = [gl.claims.study(gl.claims.Claim(f"mine.{name}", "Small."), Mine, cases) for name in "ab"]
"""


class Killer:
    """Kills a worker as soon as something is done."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.killed = cluster, 0

    def update(self, description: str, completed: float, total: float) -> None:
        if completed and not self.killed:
            self.killed = next(iter(self.cluster.workers.values())).pid
            os.kill(self.killed, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="kills by process id")
def test_a_killed_worker_loses_its_task_only(cluster: Any, tables: dict[str, Any], tmp_path: Path) -> None:
    serial = gl.sweep(tables, grid=GRID, seeds=2, out=tmp_path / "serial")
    design = specification.design({**tables, "sweep": {"grid": GRID, "seeds": 2}})
    work, killer = Sweep(design, Path.cwd(), tmp_path / "dask"), Killer(cluster)
    work.run(2, cluster.scheduler_address, killer)
    assert killer.killed
    assert serial.drop_vars("run").identical(work.collect().drop_vars("run"))
    manifests = list((tmp_path / "dask").rglob("manifest.jsonl"))
    assert len(manifests) == 8
    assert all(path.read_text().count('"kind":"segment"') == 1 for path in manifests)
    again = Sweep(design, Path.cwd(), tmp_path / "dask")
    again.run(2, cluster.scheduler_address)
    assert again.computed == 0


def test_verdicts_of_a_cluster_are_those_of_this_process(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    studies = catalogue.load_file(tmp_path / "mine.py")
    here = verify(studies)
    there = verify(studies, cluster=cluster.scheduler_address)
    assert [one.error for one in there] == [None, None]
    for ours, theirs in zip(here, there, strict=True):
        assert ours.verdict == theirs.verdict
        assert ours.dataset is not None
        assert ours.dataset.identical(theirs.dataset)


def test_a_scheduler_that_goes_away_is_one_sentence() -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}
    ) as made:
        running = executor(1, made.scheduler_address)
        running.submit(sys.getsizeof, 1)
        ended = running.as_completed()
        made.loop.add_callback(made.close)
        with pytest.raises(Lost, match="has gone away; what is done is kept"):
            next(ended)
        running.cancel()
        running.close()


def test_a_task_whose_workers_die_is_an_error_that_says_of_what(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with executor(2, cluster.scheduler_address) as running:
        running.submit(os._exit, 1)
        (done,) = running.as_completed()
    assert isinstance(done.error, Died)
    assert "out of memory, killed" in str(done.error)
    assert "give workers more memory" in str(done.error)
