"""Read the mask that says where gaps are filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hydrofill.blocks import Box
from hydrofill.cf.axes import Dimension
from hydrofill.cf.variables import extra_dims
from hydrofill.cf.views import Target
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import OptionError


@dataclass(frozen=True, eq=False)
class Selection:
    """Where the gaps of one variable of a record may be filled.

    mask: not zero and not missing where cells are filled. order: the dimensions of the variable, in the order of its
    kind. kind: of the variable.
    """

    mask: xr.Variable
    order: tuple[str, ...]
    kind: Kind

    def cells(self, box: Box) -> np.ndarray:
        """Return a part of the mask, bool, (T, H, W), or (T, N) with all sites; of length 1 where it does not vary."""
        cuts = dict(zip(self.order, box if self.kind == "grid" else (box.time,), strict=False))
        part = self.mask.isel({d: cut for d, cut in cuts.items() if d in self.mask.dims})
        dims = [d for d in self.order if d in part.dims]
        values = part.transpose(*dims).values
        shape = [part.sizes[d] if d in dims else 1 for d in self.order]
        shape += [1] * (len(DIMS[self.kind]) - len(shape))  # a series of one gauge without a dimension of sites
        return (np.nan_to_num(values.reshape(shape)) != 0).astype(bool)


def mask_of(dataset: xr.Dataset, where: str | xr.DataArray) -> xr.Variable:
    """Return the mask that `where` names, or is.

    Raises:
        OptionError: there is no such variable, its values are not numbers, or the array does not fit the dataset.
    """
    if isinstance(where, str):
        if where not in dataset.variables:
            raise _wrong("names no variable of the data", where, f"one of {sorted(map(str, dataset.variables))[:20]}")
        mask, name = dataset.variables[where], where
    elif isinstance(where, xr.DataArray):
        mask, name = where.variable, "the array" if where.name is None else str(where.name)
        for dim in (d for d in where.dims if d in where.indexes and d in dataset.indexes):
            if len(where.indexes[dim]) == len(dataset.indexes[dim]) and not where.indexes[dim].equals(
                dataset.indexes[dim]
            ):
                raise _wrong(f"has other coordinates along {dim} than the data", name, "the same coordinates")
    else:
        raise _wrong("is not a mask", type(where).__name__, "the name of a variable, or an xarray.DataArray")
    if mask.dtype.kind not in "biuf":
        raise _wrong(
            "has values that are not numbers", f"{name} of type {mask.dtype}", "true or not zero where to fill"
        )
    for dim, size in mask.sizes.items():
        if dataset.sizes.get(dim) != size:
            expected = (
                f"{dim} of length {dataset.sizes[dim]}" if dim in dataset.sizes else sorted(map(str, dataset.sizes))
            )
            raise _wrong("has another shape than the data", f"{name} with {dict(mask.sizes)}", expected)
    return mask


def selection_of(
    mask: xr.Variable,
    dataset: xr.Dataset,
    target: Target,
    order: tuple[str, ...],
    kind: Kind,
    dimensions: Mapping[str, Dimension],
) -> Selection:
    """Return where the gaps of a variable, or of one slice of it, may be filled.

    Args:
        mask: of the whole dataset.
        dataset: with the variable.
        target: the variable and its slice.
        order: the dimensions of the variable that are not sliced, in the order of its kind.
        kind: of the variable.
        dimensions: the recognised dimensions of the dataset.

    Raises:
        OptionError: the mask has a dimension that the variable does not have.
    """
    variable = dataset.variables[target.name]
    if strange := [d for d in mask.dims if d not in variable.dims and mask.sizes[d] > 1]:
        raise _wrong(
            f"has a dimension that {target.name} does not have",
            ", ".join(map(str, strange)),
            f"some of {variable.dims}",
        )
    at = dict(zip(extra_dims(variable, dimensions), target.at, strict=False))
    at |= {str(d): 0 for d in mask.dims if d not in order and d not in at}
    return Selection(mask.isel({d: number for d, number in at.items() if d in mask.dims}), order, kind)


def _wrong(problem: str, got: object, expected: object) -> OptionError:
    return OptionError(problem, where="where", got=got, expected=expected)
