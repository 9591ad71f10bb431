"""A file of claims without dynamics: two share their cases, one has its own, and three fail."""

FILE = """
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.claims.cases import Case
from gradlab.claims.claim import Claim
from gradlab.claims.looks import Look
from gradlab.claims.measured import at_least, at_most
from gradlab.claims.studies import study
from gradlab.laboratory import report_progress

CALLS = Path(__file__).with_suffix(".calls")


def cases(key, *, count):
    with CALLS.open("a") as file:
        file.write("x")
    report_progress("drawing", 1.0, 2.0)
    for i in range(count):
        draws = jax.random.uniform(jax.random.fold_in(key, i), (4,))
        assert draws.dtype == jnp.float64
        yield Case(f"case {i}", None, xr.Dataset({"draws": ("weight", np.asarray(draws))}))


class Counted(Look):
    @at_least(0.5, role="hypothesis", exact=True)
    def met(self):
        \"\"\"It counts.

        Always.
        \"\"\"
        return 1.0

    def shown(self):
        return {"draws": ("record", self.trajectory["draws"].values)}


class Largest(Counted):
    @at_most(2.0)
    def worst(self):
        \"\"\"The largest draw.

        Draws lie in [0, 1).
        \"\"\"
        return float(self.trajectory["draws"].max())


class Negative(Counted):
    @at_most(-1.0)
    def worst(self):
        \"\"\"The largest draw.

        Draws lie in [0, 1).
        \"\"\"
        return float(self.trajectory["draws"].max())


class Raises(Counted):
    @at_most(2.0)
    def worst(self):
        \"\"\"The largest draw.

        Draws lie in [0, 1).
        \"\"\"
        raise ArithmeticError("no such number")


def failing(key, *, count):
    yield from cases(key, count=count)
    raise OSError("the data are gone")


def leaving(key, *, count):
    raise SystemExit(3)
    yield


def dying(key, *, count):
    os._exit(7)
    yield


def interrupted(key, *, count):
    raise KeyboardInterrupt
    yield


def slow(key, *, count):
    time.sleep(0.2)
    yield from cases(key, count=count)


def sleeping(key, *, count):
    Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(600)
    yield


def make(name, cases=cases, look=Largest):
    claim = Claim(f"mine.{name}", f"{name} is true", "x", "none", hypotheses=("x is real",))
    return study(claim, look, cases, quick={"count": 3}, full={"count": 6}, settings="three draws")


"""

#: Three studies that run.
STUDIES = FILE + 'STUDIES = [make("a"), make("a-corrected", look=Negative), make("b")]\n'

#: Three that fail, in the three ways in which a study can.
FAILING = 'make("raises", look=Raises), make("fails", cases=failing), make("leaves", cases=leaving)'
