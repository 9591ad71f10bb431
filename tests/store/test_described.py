"""Trajectories as xarray expects them: the same dataset as xarray makes by itself, at less cost."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from gradlab.store.described import described, variable

TAU = np.array([0.0, 1.0])
NORMS = np.arange(6.0).reshape(2, 3)


def made() -> xr.Dataset:
    return described(
        xr.Dataset({"tau": variable(("record",), TAU), "layer_norms": variable(("record", "layer"), NORMS)})
    )


def test_a_described_trajectory_is_what_xarray_makes_of_the_same_numbers():
    plain = xr.Dataset({"tau": ("record", TAU), "layer_norms": (("record", "layer"), NORMS)})
    plain = plain.set_coords("tau").set_xindex("tau").assign_coords(layer=np.arange(1, 4))
    seen = made()
    assert seen.equals(plain)
    assert set(seen.xindexes) == set(plain.xindexes) == {"tau", "layer"}
    assert all(type(seen.variables[name]) is type(plain.variables[name]) for name in plain.variables)
    assert seen.sel(tau=0.9, method="nearest").sel(layer=2).layer_norms == 4.0


def test_dask_is_not_imported_for_a_trajectory():
    pytest.importorskip("dask")
    code = (
        "import sys, numpy as np, xarray as xr\n"
        "from gradlab.store.described import described, variable\n"
        "norms = variable(('record', 'layer'), np.ones((2, 3)))\n"
        "described(xr.Dataset({'tau': variable(('record',), np.arange(2.0)), 'layer_norms': norms}))\n"
        "print('dask' in sys.modules)\n"
        "xr.Dataset({'tau': ('record', np.arange(2.0))})\n"
        "print('dask' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
