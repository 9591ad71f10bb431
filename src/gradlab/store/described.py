"""Trajectories as xarray expects data: clocks as coordinates, layers from 1, units and names on all variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.indexes import PandasIndex

#: Clocks of a trajectory, which become coordinates.
CLOCKS = ("tau", "t", "log_t")

#: Long name and unit by variable. Units are those of the problem: its loss, its weights, its outputs; "1" has none.
_KNOWN = {
    "tau": ("clock value", "of the clock"),
    "t": ("time", "weight^2/loss"),
    "log_t": ("logarithm of time", "1"),
    "step": ("steps", "1"),
    "rejected": ("rejected steps", "1"),
    "evaluations": ("evaluations of the field", "1"),
    "jacobians": ("Jacobians", "1"),
    "events": ("events", "1"),
    "status": ("status of the solve", "1"),
    "loss": ("loss", "loss"),
    "risk": ("risk, without decay", "loss"),
    "log_loss": ("logarithm of the loss", "1"),
    "error": ("share misclassified", "1"),
    "test_loss": ("risk on the test split", "loss"),
    "test_error": ("share misclassified, test", "1"),
    "layer_norms": ("norm of each layer", "weight"),
    "norm_product": ("product of the layers' norms", "weight^K"),
    "gradient_norm": ("norm of the gradient", "loss/weight"),
    "margins": ("margins", "output"),
    "normalised_margin": ("smallest normalised margin", "output/weight^K"),
    "normalised_margins": ("normalised margins", "output/weight^K"),
    "normalised_outputs": ("normalised outputs", "output/weight^K"),
    "balancedness": ("balancedness of layers", "weight^2"),
    "matrix_balancedness": ("balancedness, entry by entry", "weight^2"),
    "alignment": ("share of the largest singular value", "1"),
    "product_singular_values": ("singular values of the product", "weight^K"),
    "radial_margin": ("margin on the sphere", "output/weight^K"),
    "smoothed_margin": ("smoothed margin", "output/weight^K"),
    "sharpness": ("largest eigenvalue of the Hessian", "loss/weight^2"),
    "sharpness_bound": ("bound of the sharpness", "loss/weight^2"),
    "layer_sharpness": ("largest eigenvalue of each layer's Hessian", "loss/weight^2"),
    "layer_sharpness_bound": ("bound of the layers' sharpness", "loss/weight^2"),
    "distance": ("distance to the solution", "weight"),
    "distance_to_minimum_norm": ("distance to least norm", "weight"),
    "angle": ("angle to the direction", "rad"),
    "dissipated": ("energy dissipated", "loss"),
    "balance": ("loss lost less energy dissipated", "loss"),
    "rounding": ("relative size of what the flow makes of rounding", "1"),
    "rounding_since": ("from where rounding has decided", "weight^2/loss"),
    "rounding_evaluations": ("evaluations spent on rounding", "1"),
    "weights": ("weights", "weight"),
    "final_weights": ("weights at the end", "weight"),
    "layer": ("layer", "1"),
}
#: Endings of the names of what belongs to another variable, with what it is.
_BESIDE = {"_error": "error bar of {}", "_coarse": "{}, second solve"}


def described(dataset: xr.Dataset | Mapping[str, xr.Variable], attrs: Any = None) -> xr.Dataset:
    """The dataset, or one of these variables, with clocks as coordinates, layers from 1, and attributes everywhere.

    Clocks are ``tau``, ``t`` and ``log_t``. ``tau`` has an index where all members share it, so that
    ``dataset.sel(tau=5, method="nearest")`` finds a record. Values, names and dims are as they were. attrs : of a
    dataset made of variables.

    Examples
    --------
    >>> import xarray as xr
    >>> seen = described(xr.Dataset({"tau": ("record", [0.0, 1.0]), "loss": ("record", [2.0, 1.0])}))
    >>> float(seen.sel(tau=0.9, method="nearest").loss), seen.loss.attrs["units"]
    (1.0, 'loss')
    """
    made: dict[str, xr.Variable] = {}
    indexes: dict[Any, Any] = {}
    if isinstance(dataset, xr.Dataset):
        indexes, attrs = dict(dataset.xindexes), dataset.attrs
        coordinates = {*CLOCKS, "layer", *map(str, dataset.coords)}
    else:
        coordinates = {*CLOCKS, "layer"}
    sources: Mapping[Any, xr.Variable] = dataset.variables if isinstance(dataset, xr.Dataset) else dataset
    for name, one in sources.items():
        long_name, units = _words(str(name))
        made[str(name)] = copied = one.copy(deep=False)
        copied.attrs = {"long_name": long_name, "units": units} | one.attrs
    layers = next((one.sizes["layer"] for one in made.values() if "layer" in one.dims), 0)
    if layers and "layer" not in made:
        made["layer"] = variable(("layer",), np.arange(1, layers + 1))
        made["layer"].attrs = dict(zip(("long_name", "units"), _words("layer"), strict=True))
    for name, dim in (("tau", "record"), ("layer", "layer")):
        if name in made and name not in indexes and made[name].dims == (dim,):
            # (``set_xindex`` and ``assign_coords`` of an array ask for Dask as well.)
            indexes[name] = PandasIndex(pd.Index(made[name].values, name=name), dim)
            made |= indexes[name].create_variables({name: made[name]})
    apart = {name: made.pop(name) for name in [*made] if name in coordinates}
    # One dataset, with all that belongs to it: each step of making one takes as long as all of this.
    return xr.Dataset(made, xr.Coordinates(apart, indexes=indexes), attrs)


def variable(dims: tuple[str, ...], values: Any) -> xr.Variable:
    """A variable of an array. One that xarray makes of a pair first asks whether the values are Dask's: an import.

    Examples
    --------
    >>> from gradlab.store.described import variable
    >>> variable(("record",), [0.0, 1.0]).dims
    ('record',)
    """
    return xr.Variable(dims, np.asarray(values), fastpath=True)


def bare(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset as it was recorded: every clock a variable, no index, no attributes of variables."""
    indexed = [name for name in CLOCKS if name in dataset.xindexes]
    plain = dataset.drop_indexes(indexed).reset_coords(drop=False).drop_vars("layer", errors="ignore")
    return xr.Dataset(
        {name: (one.dims, one.values) for name, one in plain.variables.items()}, attrs=dataset.attrs
    )


def _words(name: str) -> tuple[str, str]:
    """Long name and unit of a variable; one of one's own has its name and no unit."""
    if name in _KNOWN:
        return _KNOWN[name]
    for ending, form in _BESIDE.items():
        if name.endswith(ending):
            long_name, units = _words(name.removesuffix(ending))
            return form.format(long_name), units
    return name.replace("_", " "), ""
