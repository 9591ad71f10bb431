"""Compiled programs: quickly, moderately or fully, by counts.

XLA's compiler is most of what a new small problem costs. Compiled *quickly* (no optimisation by LLVM, no fusion
emitters) a program takes a fifth of the time to compile, and runs 1.5 to 4 times as long. What is small is therefore
compiled quickly; once more, *moderately* (some optimisation), when its evaluations have paid for it; and *fully* when
they are many. The three round differently, so which one runs follows from counts alone (:func:`way`), never from the
clock, and a resumed run keeps its bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from gradlab.executing.maps import FORGETS
from gradlab.problem.compiling import FULLY, MODERATELY, QUICKLY, on_cpu
from gradlab.problem.jaxprs import equations

#: How a program is compiled.
Way = Literal["quickly", "moderately", "fully"]

#: Evaluations × weights × examples after which a moderate compilation, some 0.7 s, would have paid for itself: what a
#: quickly compiled evaluation loses is 1.3 µs at 480 weights × examples, 18 at 16 500.
WORTH = 5e8
#: What a step from the host loses beside its evaluations, in the same unit: 28 µs; and an evaluation of BDF's: 95 µs.
STEP, IMPLICIT = 2e4, 7e4
#: How many times as much it loses with a member axis: 31 µs at 3 840 weights × examples × members, 150 at 7 560. With
#: 24 the fifty quick claims took 82 s, and 62 again with what was compiled kept; with 8 84 and 66, with 64 87 and 61.
TOGETHER = 24.0
#: After which a full compilation has paid for itself: a moderately compiled pass loses 0.3 of 2 µs at 480, 11 of 60 at
#: 3·10⁵.
LONG = 40.0 * WORTH
#: The work of a pass from which on it is stepped from the host, whatever it takes.
HEAVY = 5e5
#: The most weights: what NumPy does in a step, some sixty passes over a vector, takes 90 ms with 10⁶, and a run of 300
#: evaluations 27 CPU s instead of 20 with a loop that is compiled in six.
BROAD = 300_000
#: The most weights with which a step of an explicit pair that takes long is one program, of all its rates: three copies
#: of them a step, where each evaluation by itself is a call. With 644 weights a run took 0.76 of the time, with 3 392
#: 0.9, with 50 000 1.2.
SLIM = 10_000
#: The part of WORTH from which on one evaluation is too much, and all is compiled fully at once.
LARGE = 0.01


def work_of_a_pass(network: Any, weights: float, examples: float) -> float:
    """The work of one pass: weights × how often one is used on an example × examples."""
    return float(weights) * (network.reuse or 1.0) * float(examples)


def _until(border: float, work: float) -> float:
    """The first whole number of evaluations of that work that reach a border."""
    return float(np.ceil(border / max(work, 1.0)))


def way(work: float, evaluations: float, together: float = 1.0, beside: float = 0.0) -> Way:
    """How a program is compiled: ``work`` is weights × examples (× members), after so many evaluations.

    together : TOGETHER of an ensemble. beside : what each evaluation loses, in work, where the host makes steps while
    what is compiled is compiled quickly.
    """
    if not on_cpu() or work > LARGE * WORTH or evaluations >= _until(LONG, work):
        return "fully"
    small = together * work <= LARGE * WORTH
    soon = evaluations < _until(WORTH / together, work + beside)
    return "quickly" if small and soon else "moderately"


def heavy(work: float, weights: int) -> bool:
    """Whether an evaluation takes so much longer than a step from the host that no loop of a run is worth compiling.

    What the host calls is compiled fully then: at 2·10⁶ weights × examples an evaluation takes 0.2 ms, quickly compiled
    0.6. The loop of a run takes 4 s to compile, and two are needed.
    """
    return on_cpu() and work >= HEAVY and weights <= BROAD


def change(work: float, evaluations: float, together: float = 1.0, beside: float = 0.0) -> float:
    """The number of evaluations from which on another way is taken: a whole number, or infinite."""
    now = way(work, evaluations, together, beside)
    borders = _until(WORTH / together, work + beside), _until(LONG, work)
    return min(
        (at for at in borders if at > evaluations and way(work, at, together, beside) != now), default=np.inf
    )


#: One program at a time that factorises: a batch of factorisations waits, in a thread of XLA's pool, for parts that
#: need another thread of the same pool, so that as many batches as threads wait for each other without end.
_FACTORISING = threading.RLock()
#: LAPACK's, as JAX names them.
_FACTORISATIONS = {
    "cholesky", "eig", "eigh", "geqrf", "hessenberg", "householder_product", "lu", "qr", "schur", "svd",
    "triangular_solve", "tridiagonal",
}  # fmt: skip


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


class _Static:
    """What of some arguments is no array, as a key; equal keys are one object (``_KEYS``): a look-up is quick."""

    def __init__(self, structure: Any, leaves: tuple[Any, ...]) -> None:
        self.structure, self.leaves = structure, leaves
        self._hash = hash((structure, leaves))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, _Static)
            and self._hash == other._hash
            and self.structure == other.structure
            and self.leaves == other.leaves
        )

    def with_arrays(self, arrays: list[Any]) -> Any:
        """The arguments."""
        given = iter(arrays)
        leaves = [next(given) if leaf is _HERE else leaf for leaf in self.leaves]
        return jax.tree.unflatten(self.structure, leaves)


class _Here:
    """Stands for an array."""


_HERE = _Here()
_KEYS: dict[_Static, _Static] = {}


class Constants:
    """Arguments that stay the same over many calls, taken apart once: arrays, and all else as a key."""

    def __init__(self, *arguments: Any) -> None:
        leaves, structure = jax.tree.flatten(arguments)
        self.arrays = [leaf for leaf in leaves if _is_array(leaf)]
        static = _Static(structure, tuple(_HERE if _is_array(leaf) else leaf for leaf in leaves))
        self.key = _KEYS.setdefault(static, static)
        #: Which programs of these factorise matrices, as far as that was asked.
        self.factorises: dict[Program, bool] = {}


#: Which programs factorise matrices.
_KNOWN: dict[tuple[Any, _Static], bool] = {}


class Program:
    """A pure function of constants, then of changing ones that hold arrays only; compiled when it is called.

    Compiled once for each structure and shape of its arguments, whatever their values, and each way of compiling.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        def body(key: _Static, arrays: list[Any], changing: tuple[Any, ...]) -> Any:
            return function(*key.with_arrays(arrays), *changing)

        body.__name__ = getattr(function, "__name__", "program")
        ways = {"quickly": QUICKLY, "moderately": MODERATELY, "fully": FULLY, "elsewhere": None}
        self._ways: dict[str, Any] = {
            name: jax.jit(body, static_argnums=0, compiler_options=options) for name, options in ways.items()
        }

    def __call__(self, way: Way, constants: Constants, *changing: Any) -> Any:
        program = self._ways[way if on_cpu() else "elsewhere"]
        if not self._factorises(program, constants, changing):
            return program(constants.key, constants.arrays, changing)
        with _FACTORISING:
            return jax.block_until_ready(program(constants.key, constants.arrays, changing))

    def bound(self, way: Way, constants: Constants) -> Callable[..., Any]:
        """This program of these constants, as a function of what changes: called often, each time 2 µs less."""
        program = self._ways[way if on_cpu() else "elsewhere"]
        key, arrays = constants.key, constants.arrays

        def call(*changing: Any) -> Any:
            if constants.factorises.get(self, True):
                return self(way, constants, *changing)
            return program(key, arrays, changing)

        return call

    def _factorises(self, program: Any, constants: Constants, changing: tuple[Any, ...]) -> bool:
        """Whether it factorises matrices; looked up where it was asked before."""
        if (told := constants.factorises.get(self)) is not None:
            return told
        known = (self, constants.key)
        if known not in _KNOWN:
            traced = program.trace(constants.key, constants.arrays, changing)
            names = {equation.primitive.name for equation in equations(traced.jaxpr.jaxpr)}
            _KNOWN[known] = not names.isdisjoint(_FACTORISATIONS)
        constants.factorises[self] = _KNOWN[known]
        return _KNOWN[known]


FORGETS.extend([_KEYS.clear, _KNOWN.clear])
