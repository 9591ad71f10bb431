"""One Dask cluster for the files of this folder, and a small problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def tables() -> dict[str, Any]:
    """A linear net of two weights, ten steps of descent."""
    return {
        "observables": ["loss", "layer_norms"],
        "network": {
            "kind": "dense",
            "widths": [1, 1, 1],
            "activation": "identity",
            "init": {"kind": "gaussian", "scale": 1.0},
        },
        "loss": {"kind": "square", "half": True},
        "data": {"kind": "linear regression", "examples": 4, "inputs": 1},
        "flow": {"kind": "gradient descent", "step": 0.01},
        "records": {"until": 10, "count": 3},
    }


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A scheduler on this machine, and one worker: each costs an import of JAX, and one more after it was killed."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=50,
    ) as made:
        yield made
