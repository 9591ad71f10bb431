"""Where tasks run: in this process, in spawned ones, or on a Dask cluster."""

from gradlab.executing.executor import Died, Done, Executor, Lost, TaskCounts
from gradlab.executing.local import Processes, Serial

__all__ = ["Died", "Done", "Executor", "Lost", "Processes", "Serial", "TaskCounts", "executor"]


def executor(jobs: int = 1, cluster: str | None = None) -> Executor:
    """The executor asked for.

    Parameters
    ----------
    jobs : processes at a time; 1 without a cluster is this process itself.
    cluster : None, ``local`` (Dask on this machine), ``slurm`` (jobs of the queue, set up in Dask's ``jobqueue.yaml``),
        or the address of a Dask scheduler, ``tcp://host:8786``.

    Raises
    ------
    ValueError
        For fewer than one job, where Dask is not installed, or where no scheduler answers.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs was {jobs!r}; write a whole number of processes, at least 1")
    if cluster is not None:
        from gradlab.executing.cluster import Cluster

        return Cluster(cluster, jobs)
    return Serial() if jobs == 1 else Processes(jobs)
