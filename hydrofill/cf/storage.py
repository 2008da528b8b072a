"""How the numbers of a variable are stored: packed into integers or not, and what marks a missing value.

Source: CF conventions 1.11, sections 2.5.1 (missing data, valid range) and 8.1 (packed data); NetCDF Users Guide,
attribute conventions (`_Unsigned`, the type of `valid_range`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import xarray as xr

from hydrofill.cf.packing import KEYS, VALID, Packing, numbers_in

STORED = "hydrofill_stored"  # key of an encoding: the xarray.Variable as it is in the file, or is to be
MISSING = ("_FillValue", "missing_value")
PACKED = (*KEYS, *MISSING)
# The NetCDF library's fill values (netcdf.h, NC_FILL_*); an integer without one declared is given its type's.
DEFAULT_FILLS = {"i1": -127, "i2": -32767, "i4": -(2**31) + 1, "i8": -(2**63) + 2} | {
    f"u{size}": 2 ** (8 * size) - 1 for size in (1, 2, 4)
}
DEFAULT_FILLS["u8"] = 2**64 - 2


def stored_form(variable: xr.Variable) -> xr.Variable | None:
    """Return a variable as it is stored in its file; None where that is unknown, or of another shape by now."""
    stored: xr.Variable | None = variable.encoding.get(STORED)
    n = variable.ndim  # texts that are stored as characters have one more dimension
    same = stored is not None and (stored.dims[:n], stored.shape[:n]) == (variable.dims, variable.shape)
    return stored if same else None


@dataclass(frozen=True)
class Storage:
    """How the numbers of a variable are stored: stored = (number - offset) / scale, integers rounded.

    dtype: type in the file. bits: the type that its bits are read as, which differs where `_Unsigned` says so.
    unpacked: type of the numbers. missing: stored values that mean missing, of which the first is written. valid: the
    lowest and highest stored value that is valid. said: the attributes that say all this in a file.
    """

    dtype: np.dtype[Any]
    bits: np.dtype[Any]
    unpacked: np.dtype[Any]
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = (np.nan,)
    valid: tuple[float, float] = (-np.inf, np.inf)
    said: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, variable: xr.Variable) -> Self:
        """Return how a numeric variable that was decoded by CF is stored."""
        stored = stored_form(variable)
        said = stored.attrs if stored is not None else variable.encoding | _of_stored_numbers(variable.attrs)
        dtype = np.dtype(variable.encoding.get("dtype") or variable.dtype) if stored is None else stored.dtype
        dtype = dtype if dtype.kind in "iuf" else variable.dtype
        packing = Packing.said_by(said, dtype)
        plain = cls(dtype, packing.bits, variable.dtype, packing.scale, packing.offset)
        missing = [packing.in_stored_type(number) for key in MISSING for number in numbers_in(said.get(key)) or ()]
        declared = tuple(float(value) for value in missing if value is not None)
        unnamed = (float(DEFAULT_FILLS[dtype.str[1:]]),) if dtype.kind in "iu" else (np.nan,)
        known = {key: said[key] for key in (*PACKED, *VALID) if said.get(key) is not None}
        own = replace(plain, missing=declared or unnamed, valid=packing.limits(said), said=known)
        if declared or variable.dtype.kind != "f":
            return own
        return replace(own, said={**known, "_FillValue": own.pack(np.array(np.nan))[()]})

    def __str__(self) -> str:
        """Return the storage in words."""
        how = " ".join(f"{key}={np.ravel(value)[0]}" for key, value in self.said.items() if key not in VALID)
        return f"{self.dtype.name} with {how}"

    def undone(self) -> Storage:
        """Return how the same numbers are stored as they are, with NaN for missing, in the same valid range."""
        lowest, highest = sorted(end * self.scale + self.offset for end in self.valid)
        ends = {"valid_range": (lowest, highest), "valid_min": lowest, "valid_max": highest}
        valid = {key: np.array(ends[key], self.unpacked)[()] for key in VALID if key in self.said}
        said = {**valid, "_FillValue": np.array(np.nan, self.unpacked)[()]}
        return Storage(self.unpacked, self.unpacked, self.unpacked, valid=(lowest, highest), said=said)

    @property
    def valid_attributes(self) -> dict[str, Any]:
        """The attributes of the valid range."""
        return {key: self.said[key] for key in VALID if key in self.said}

    @property
    def encoding(self) -> dict[str, Any]:
        """The encoding with which xarray stores the numbers so; it takes one missing value only."""
        kept = {key: self.said[key] for key in PACKED if key in self.said}
        same = np.array_equal(kept.get("_FillValue", np.nan), kept.get("missing_value", np.nan))
        if ("_FillValue" in kept and not same) or np.size(kept.get("missing_value", 0)) > 1:
            kept.pop("missing_value", None)
        return kept if self.dtype == self.unpacked else {**kept, "dtype": self.dtype}

    @property
    def packed(self) -> bool:
        """True if the numbers in the file are not the numbers that they mean."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def plain(self) -> bool:
        """True if numbers are stored as they are, and NaN as NaN."""
        return not self.packed and self.dtype == self.unpacked and bool(np.isnan(self.missing[0]))

    @property
    def exact(self) -> bool:
        """True if numbers that were unpacked from any stored value are packed into a value of the same meaning."""
        if self.dtype.kind == "f":
            return not self.packed
        steps = float(np.iinfo(self.bits).max) + abs(self.offset / self.scale)
        return steps * float(np.finfo(self.unpacked).eps) < 0.1 if self.unpacked.kind == "f" else not self.packed

    def within(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers moved into the valid range; others would be read as missing."""
        if np.isinf(self.valid).all():
            return numbers
        ends = sorted(end * self.scale + self.offset for end in self.valid)
        return np.clip(numbers, *(numbers.dtype.type(end) for end in ends))

    def holds(self, lowest: float, highest: float) -> bool:
        """Return whether every number from `lowest` to `highest` can be stored and is not read as missing."""
        ends = sorted((x - self.offset) / self.scale for x in (lowest, highest))
        if self.dtype.kind in "iu":
            ends = [float(np.rint(end)) for end in ends]
            if ends[0] < np.iinfo(self.bits).min or ends[1] > np.iinfo(self.bits).max:
                return False
        return not any(ends[0] <= value <= ends[1] for value in self.missing)

    def pack(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers as they are stored; NaN as the first missing value."""
        if self.plain:
            return numbers
        stored = (numbers.astype(np.float64) - self.offset) / self.scale if self.packed else numbers
        stored = np.where(np.isnan(stored), self.missing[0], stored)
        if self.dtype.kind == "f":
            return stored.astype(self.dtype)
        integers: np.ndarray = np.rint(stored).astype(self.bits)
        return integers.view(self.dtype.newbyteorder("=")).astype(self.dtype, copy=False)


def _of_stored_numbers(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the attributes that xarray leaves with decoded data; a scale that is left was not applied."""
    return {key: value for key, value in attributes.items() if key in (*MISSING, *VALID)}
