"""Fill the gaps of codes: from the nearest cell that has one, or with the most frequent code around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal

import numpy as np
import xarray as xr

from hydrofill.cf.axes import Dimension
from hydrofill.cf.fills import Destination
from hydrofill.cf.missing import as_data
from hydrofill.cf.storage import Storage, stored_form
from hydrofill.cf.units import Conversion
from hydrofill.cf.variables import classify, kind_of, ordered_dims
from hydrofill.reconstruct import FILLED, OBSERVED, OUTSIDE, REFUSED

Codes = Literal["keep", "nearest", "frequent"]


def with_codes_filled(dataset: xr.Dataset, dimensions: Mapping[str, Dimension], how: Codes) -> xr.Dataset:
    """Return `dataset` with the gaps of its codes filled, each with V_flag; types and observed codes stay.

    Args:
        dataset: in memory.
        dimensions: its recognised dimensions.
        how: "nearest" takes the code of the nearest cell in time and place, "frequent" the most frequent code around;
            "keep" fills nothing.
    """
    made: dict[str, xr.Variable] = {}
    if how == "keep":
        return dataset
    for name, found in classify(dataset, dimensions).items():
        original = dataset.variables[name]
        kind = kind_of(original, name, dimensions)
        if found.role not in ("codes", "flags") or kind not in ("grid", "series"):
            continue
        order = ordered_dims(original, dimensions, kind)
        codes = original.transpose(..., *order).values
        codes = codes.reshape(codes.shape[-len(order) :])
        gaps = np.isnan(as_data(original, name).transpose(..., *order).values.reshape(codes.shape).astype(np.float64))
        inside = np.broadcast_to((~gaps).any(axis=0), gaps.shape)
        if not (gaps & inside).any():
            continue
        filled, left = spread_codes(codes, gaps, of_sites=kind == "series", frequent=how == "frequent")
        filled[~inside], left = codes[~inside], left & inside
        flag = np.where(gaps, np.where(inside, np.where(left, REFUSED, FILLED), OUTSIDE), OBSERVED).astype(np.int8)
        stored = stored_form(original)
        if stored is not None and stored.dtype != original.dtype:
            stored = None
        to = Destination(name, original, stored, Storage.of(original), Conversion(), order)
        values, flags = to.in_dataset(filled), to.in_dataset(flag)
        made |= to.variables(values, None if stored is None else values, None, flags, {"hydrofill_codes": how})
    return dataset.assign(made)


def spread_codes(
    codes: np.ndarray, gaps: np.ndarray, *, of_sites: bool, frequent: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes (T, ...) with gaps filled from the cells around, ring by ring, and the gaps that are left.

    Of equally near cells, the earlier one is taken; of equally frequent codes, the lowest.

    Args:
        codes: (T, H, W) or (T, N).
        gaps: bool of the same shape.
        of_sites: whether only time counts as near.
        frequent: whether each gap takes the most frequent code among the cells that touch it.
    """
    filled, left = codes.copy(), gaps.copy()
    while left.any():
        new = _frequent(filled, left, of_sites) if frequent else _nearest(filled, left, of_sites)
        values, known = new
        known &= left
        if not known.any():
            break
        filled[known] = values[known]
        left = left & ~known
    return filled, left


def _nearest(codes: np.ndarray, gaps: np.ndarray, of_sites: bool) -> tuple[np.ndarray, np.ndarray]:
    values, known = codes.copy(), np.zeros(gaps.shape, bool)
    for offset in _offsets(codes.ndim, of_sites):
        if sum(map(abs, offset)) == 1:
            shifted, present = _shifted(codes, ~gaps, offset)
            new = present & ~known
            values[new] = shifted[new]
            known |= new
    return values, known


def _frequent(codes: np.ndarray, gaps: np.ndarray, of_sites: bool) -> tuple[np.ndarray, np.ndarray]:
    values, most = codes.copy(), np.zeros(gaps.shape, np.int16)
    around = [_shifted(codes, ~gaps, offset) for offset in _offsets(codes.ndim, of_sites)]
    for code in np.unique(codes[~gaps]):
        number = np.sum([present & (shifted == code) for shifted, present in around], axis=0, dtype=np.int16)
        values[number > most] = code
        most = np.maximum(most, number)
    return values, most > 0


def _offsets(ndim: int, of_sites: bool) -> Iterator[tuple[int, ...]]:
    """Yield the steps to the cells that touch a cell."""
    steps = ((-1, 0, 1), *(((0,) if of_sites else (-1, 0, 1)) for _ in range(ndim - 1)))
    return (offset for offset in product(*steps) if any(offset))


def _shifted(codes: np.ndarray, present: np.ndarray, offset: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return at each cell the code of the cell at this offset, and whether there is one."""
    here = tuple(slice(max(-step, 0), n - max(step, 0)) for step, n in zip(offset, codes.shape, strict=True))
    there = tuple(slice(max(step, 0), n - max(-step, 0)) for step, n in zip(offset, codes.shape, strict=True))
    values, known = codes.copy(), np.zeros(present.shape, bool)
    values[here], known[here] = codes[there], present[there]
    return values, known
