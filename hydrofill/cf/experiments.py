"""Merge the preliminary and the final values of ERA5, which lie along a dimension `expver`, into one variable."""

from __future__ import annotations

import dask
import numpy as np
import xarray as xr

from hydrofill.cf.axes import EXPERIMENTS
from hydrofill.cf.storage import STORED, stored_form
from hydrofill.errors import StructureError

CHUNK_VALUES = 4_000_000  # of a variable, that are compared at a time where the data are on disk
OF_SHAPE = (STORED, "chunksizes", "preferred_chunks", "original_shape")  # of an encoding: what fits one shape only


def merge_experiments(dataset: xr.Dataset, *, check: bool = True) -> xr.Dataset:
    """Return `dataset` without the dimension `expver`: at each cell the one value that is there.

    Args:
        dataset: CF-decoded; of a dataset that is opened lazily, the merged values are computed when they are used.
        check: whether the values are compared, for which they are all read.

    Raises:
        StructureError: two experiments differ at a cell; names the variable.
    """
    if dataset.sizes.get(EXPERIMENTS, 1) == 1 or EXPERIMENTS not in dataset.dims:
        return dataset
    names = [n for n, v in dataset.data_vars.items() if EXPERIMENTS in v.dims]
    merged = {n: _merged(dataset[n], check) for n in names}
    labels = _labels(dataset)
    out = dataset.assign(merged)
    out = out.drop_vars([n for n, v in out.variables.items() if EXPERIMENTS in v.dims])
    done = f"hydrofill: {EXPERIMENTS} {' and '.join(labels)} of {', '.join(map(str, names))} merged"
    out.attrs = {**dataset.attrs, "history": "\n".join(filter(None, [str(dataset.attrs.get("history", "")), done]))}
    return out


def _labels(dataset: xr.Dataset) -> list[str]:
    if EXPERIMENTS in dataset.variables:
        return [str(value) for value in dataset[EXPERIMENTS].values]
    return [str(number) for number in range(dataset.sizes[EXPERIMENTS])]


def _merged(variable: xr.DataArray, check: bool) -> xr.Variable:
    """Return a variable without the dimension of experiments, with the encoding of the variable."""
    own = variable.variable
    stored = stored_form(own)
    parts = [_experiments(own), *([] if stored is None else [_experiments(stored)])]
    first, *others = parts[0]
    kept = list(parts[-1])
    for number, other in enumerate(others, start=1):
        if check:
            _check_equal(first, other, str(variable.name))
        seen = first.notnull()
        first = xr.where(seen, first, other)  # type: ignore[no-untyped-call]
        kept[0] = xr.where(seen, kept[0], kept[number])  # type: ignore[no-untyped-call]
    first.attrs = own.attrs
    first.encoding = {key: value for key, value in own.encoding.items() if key not in OF_SHAPE}
    if stored is not None:
        first.encoding[STORED] = xr.Variable(kept[0].dims, kept[0].data, stored.attrs)
    return first


def _experiments(variable: xr.Variable) -> list[xr.Variable]:
    """Return the values of each experiment; those on disk are computed when they are used."""
    lazy = variable if variable._in_memory else _chunked(variable)
    return [lazy.isel({EXPERIMENTS: number}) for number in range(variable.sizes[EXPERIMENTS])]


def _chunked(variable: xr.Variable) -> xr.Variable:
    along = variable.dims[0]
    steps = max(1, CHUNK_VALUES // max(variable.size // max(variable.sizes[along], 1), 1))
    return variable.chunk({along: steps} if along != EXPERIMENTS else {variable.dims[1]: steps})


def _check_equal(first: xr.Variable, other: xr.Variable, name: str) -> None:
    differ = (first.notnull() & other.notnull() & (first != other)).sum()
    with dask.config.set(scheduler="synchronous"):
        number = int(np.asarray(differ.values))
    if number:
        raise StructureError(
            f"has two different values at {number} cells, from two experiments (dimension {EXPERIMENTS}); choose one "
            f"of them first, for example with dataset.isel({EXPERIMENTS}=0) or 'ncks -d {EXPERIMENTS},0'",
            where=name,
        )
