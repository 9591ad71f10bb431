"""Trainings of hours inside a study outlive its process: they are kept until the study's result is.

What a study computes follows from its code, settings and seed. So the n-th training of a study is found again by those,
by its number, and by a digest of all that it is given, and goes on from its last segment to the same bits.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

import gradlab
from gradlab import laboratory
from gradlab.claims import catalogue
from gradlab.store.disk import in_words
from gradlab.store.identity import Identity, code_digest, environment
from gradlab.store.run import Run

#: Where they are, in the folder of the results.
FOLDER = "underway"


@dataclass
class _Underway:
    """The folder of one study, what it asks, and how many trainings it has begun."""

    folder: Path
    asked: Mapping[str, Any]
    begun: int = 0


_NOW: ContextVar[_Underway | None] = ContextVar("gradlab_underway", default=None)


def folder_of(out: Path, claim_id: str) -> Path:
    """Where the trainings of a claim, and of its corrected form, are while they are under way."""
    return out / FOLDER / catalogue.base(claim_id)


@contextmanager
def kept_in(out: Path | None, claim_id: str, budget: str, seed: int) -> Iterator[None]:
    """What :func:`run` runs in here is kept in a folder for results, unless that is None."""
    if out is None:
        yield
        return
    code = code_digest(Path(gradlab.__file__).parent)
    asked = {"claim": catalogue.base(claim_id), "budget": budget, "seed": seed, "code": code, **environment()}
    token = _NOW.set(_Underway(folder_of(out, claim_id), asked))
    try:
        yield
    finally:
        _NOW.reset(token)


def run(flow: Any, weights: Any, records: Any, **options: Any) -> xr.Dataset:
    """:func:`gradlab.run`; where a folder is kept, one that was cut short goes on from its last segment."""
    now = _NOW.get()
    if now is None:
        return laboratory.run(flow, weights, records, **options)
    now.begun += 1
    given = _digest((flow, weights, np.asarray(records, dtype=np.float64)))
    identity = Identity({**now.asked, "number": now.begun, "given": given})
    with Run.create(now.folder, identity) as store:
        return laboratory.run(flow, weights, records, store=store, **options)


def forget(out: Path, claim_id: str) -> None:
    """Remove the trainings of a claim: its result is kept, or it begins anew."""
    folder = folder_of(out, claim_id)
    with in_words("removing trainings that were under way", folder, f"remove {folder} yourself"):
        if folder.exists():
            shutil.rmtree(folder)


def _digest(given: Any) -> str:
    """sha256 of all arrays."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(given):
        if eqx.is_array(leaf):
            key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            array = np.asarray(jax.random.key_data(leaf) if key else leaf)
            digest.update(f"{array.dtype} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)  # not a copy, of gigabytes
    return digest.hexdigest()
