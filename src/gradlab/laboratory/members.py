"""The members of an ensemble in blocks, as many at a time as there are cores.

One vmapped program of small nets keeps one core busy, whatever their number; a block's arrays stay in that core's
cache; and members whose steps are few do not wait for those of other blocks. Large members have a block each: there is
nothing to share, and together they leave the cache. Blocks depend on the number of members and the work of one alone,
not on the number of cores, and so do the bits of a run. On an accelerator there are none: one program fills it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import numpy as np

from gradlab.dynamics.flow import Flow
from gradlab.dynamics.kicks import Kicked
from gradlab.laboratory.programs import work_of_a_pass
from gradlab.machine import cores
from gradlab.problem.networks import Function
from gradlab.problem.precision import float64, put

#: Most members of a block. On 256 deep linear nets of 400 weights and two cores, 64 and 128 were a tenth faster, 16 a
#: tenth slower; small blocks serve more cores.
BLOCK = 32
#: Products of one member's pass from which it has a block of its own. Figure 1's net of memo 90 on 100 images, 3·10⁷:
#: 12 ms CPU a step one by one, 21 in fours; at 2·10⁶ (20 images 8×8) either is as good.
ALONE = 1e7

#: Bytes of an ensemble's arrays from which its blocks are cut out for each call, and not kept beside it.
HEAVY = 2**28

T = TypeVar("T")


def apart(members: int | None) -> bool:
    """Whether an ensemble runs in blocks here."""
    return members is not None and members > 1 and jax.default_backend() == "cpu"


def work_of_one(flow: Flow) -> float:
    """Products of a pass of one member of a stacked flow, on its minibatch where it has one."""
    moving = flow.flow if isinstance(flow, Kicked) else flow
    problem = flow.observed
    examples = getattr(moving, "batch", None) or np.shape(problem.data.inputs)[1]
    known = not isinstance(problem.network, Function)
    return work_of_a_pass(problem.network, problem.size, examples) if known else 0.0


def most(work: float) -> int:
    """Most members of a block."""
    return 1 if work >= ALONE else BLOCK


def blocks(members: int, work: float) -> list[np.ndarray]:
    """Numbers of the members of each block, all of one length: the last member is repeated where some are missing."""
    count = -(-members // most(work))
    size = -(-members // count)
    numbers = np.minimum(np.arange(count * size), members - 1)
    return list(numbers.reshape(count, size))


def take(tree: Any, rows: np.ndarray) -> Any:
    """Those rows of every array's first axis."""

    def rows_of(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf[rows]
        return put(np.asarray(leaf)[rows]) if isinstance(leaf, (jax.Array, np.ndarray)) else leaf

    return jax.tree.map(rows_of, tree)


class Parts(Generic[T]):
    """What is made of each block's rows of an ensemble; kept, unless all arrays would then be in memory twice."""

    def __init__(self, together: Any, members: int, work: float) -> None:
        self.rows, self._together = blocks(members, work), together
        arrays = (leaf for leaf in jax.tree.leaves(together) if eqx.is_array(leaf))
        self._light = sum(leaf.nbytes for leaf in arrays) < HEAVY
        self._kept: dict[int, T] = {}

    def of(self, number: int, made: Callable[[np.ndarray, Any], T]) -> T:
        """That of a block, by ``made(rows, part)``; not held, so that gigabytes are in no cycle of references."""
        if number in self._kept:
            return self._kept[number]
        rows = self.rows[number]
        found = made(rows, take(self._together, rows))
        if self._light:
            self._kept[number] = found
        return found


def join(parts: Sequence[T], members: int) -> T:
    """The parts' arrays one after the other, without the repeated members."""
    return jax.tree.map(
        lambda *leaves: put(np.concatenate([np.asarray(leaf) for leaf in leaves])[:members]), *parts
    )


class Told:
    """The progress of all blocks: the least any of them has told. Telling ends a block whose run was given up."""

    def __init__(self, tell: Callable[[float], None], count: int) -> None:
        self._tell, self._lock, self._seen = tell, threading.Lock(), [-np.inf] * count
        self.given_up = threading.Event()

    def of(self, block: int) -> Callable[[float], None]:
        """What that block is to call."""

        def tell(tau: float) -> None:
            if self.given_up.is_set():
                raise RuntimeError("another block failed, or the run was interrupted")
            with self._lock:
                self._seen[block] = tau
                least = min(self._seen)
                if np.isfinite(least):
                    self._tell(least)

        return tell


def at_once(work: Callable[[int], T], count: int, told: Told) -> list[T]:
    """``work`` of 0, …, count − 1, as many at a time as there are cores; the first error ends them all."""
    double = float64(work)
    with ThreadPoolExecutor(min(count, cores())) as pool:
        # Each in a context of its own: whoever listens to progress is found through it.
        futures = [pool.submit(copy_context().run, double, block) for block in range(count)]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            told.given_up.set()
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]
