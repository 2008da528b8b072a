"""Find missing values: those that a file declares, netCDF's default fills, and those that a user declares.

Values are compared after they were unpacked. What a file declares in packed units is unpacked by the same code as the
values, so that the comparison is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from hydrofill.cf.codes import code_attribute
from hydrofill.cf.fill_values import FILLS, decoded_from, for_decoding
from hydrofill.cf.packing import Packing, number_in, numbers_in
from hydrofill.errors import UnknownVariableError, ValueRangeError

# What the netCDF library writes where nothing was written (netcdf.h, NC_FILL_*). Any value of a byte may be data.
DEFAULT_FILLS: Mapping[str, tuple[float]] = {
    "i2": (-32767,),
    "u2": (65535,),
    "i4": (-2147483647,),
    "u4": (4294967295,),
    "i8": (-9223372036854775806,),
    "u8": (18446744073709551614,),
    "f4": (9.969209968386869e36,),
    "f8": (9.969209968386869e36,),
}
ROUNDING = 1e-3  # steps of the packing: limits in unpacked units are as precise as that
REAL = "hydrofill_real"  # key of the encoding of a dataset: what the user calls real
NONE = "none"


@dataclass(frozen=True)
class Declared:
    """Missing values that a user declares: `values` by name of a variable, those of "" for every variable.

    real: names of variables whose values are all real, however they look; "" for every variable.
    """

    values: Mapping[str, tuple[float, ...]]
    real: frozenset[str]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Declared:
        """Read texts such as "-9999", "rain=-99.9" and "rain=none".

        Raises:
            ValueRangeError: a text is not a number, or has no number behind the name.
        """
        values: dict[str, tuple[float, ...]] = {}
        real = set()
        for text in texts:
            name, _, number = text.strip().rpartition("=")
            if number.strip().lower() == NONE:
                real.add(name.strip())
                continue
            found = number_in(number)
            if found is None:
                raise ValueRangeError(
                    "is not a missing value", where="missing", got=repr(text), expected="-9999, NAME=-9999 or NAME=none"
                )
            values[name.strip()] = (*values.get(name.strip(), ()), found)
        return cls(values, frozenset(real))

    def check_names(self, dataset: xr.Dataset) -> None:
        """Raise UnknownVariableError if a name is not in `dataset`."""
        for name in {*self.values, *self.real} - {""}:
            if name not in dataset.variables:
                known = sorted(map(str, dataset.data_vars))
                raise UnknownVariableError("is not in the data", where=name, got="a missing value", expected=known)

    def of_variable(self, name: str) -> tuple[float, ...]:
        """Return the values that are missing in a variable."""
        return (*self.values.get("", ()), *self.values.get(name, ()))


def as_texts(missing: float | str | Sequence[float | str] | Mapping[str, float | Sequence[float]]) -> tuple[str, ...]:
    """Return missing values that a user declares as texts that `Declared.of` reads.

    Args:
        missing: a value, values, or values by the name of a variable.
    """
    if isinstance(missing, Mapping):
        return tuple(f"{name}={text}" for name, values in missing.items() for text in as_texts(values))
    if isinstance(missing, str):
        return (missing,)
    return tuple(str(value) for value in np.ravel(np.asarray(missing, dtype=object)))


@dataclass(frozen=True, eq=False)
class Criteria:
    """Which values of a variable are missing, in the units and the type in which it is read.

    equal: exactly these. near: these, within `tolerance`. lowest, highest: what lies outside.
    """

    equal: tuple[float, ...] = ()
    near: tuple[float, ...] = ()
    tolerance: float = 0.0
    lowest: float = -math.inf
    highest: float = math.inf

    def __bool__(self) -> bool:
        return bool(self.equal or self.near) or math.isfinite(self.lowest) or math.isfinite(self.highest)

    def met_by(self, values: np.ndarray) -> np.ndarray:
        """Return where values are missing, bool; NaN is not counted."""
        found = np.zeros(values.shape, bool)
        own = values.dtype.type
        for value in self.equal:
            found |= values == own(value)
        for value in self.near:
            found |= np.abs(values - own(value)) <= self.tolerance
        if math.isfinite(self.lowest):
            found |= values < self.lowest
        if math.isfinite(self.highest):
            found |= values > self.highest
        return found

    def hide(self, values: np.ndarray) -> np.ndarray:
        """Return values as floats, with NaN where they are missing."""
        hidden = values.astype(_float_type(values.dtype), copy=True)
        hidden[self.met_by(values)] = np.nan
        return hidden


def hide_declared(dataset: xr.Dataset, declared: Declared, *, lazily: bool) -> xr.Dataset:
    """Return decoded data with NaN at the missing values that a user declares; see `hide_missing`.

    Raises:
        UnknownVariableError: a value is declared for a variable that is not in the data.
    """
    declared.check_names(dataset)
    hidden = _hidden(dataset, lambda name, variable: _declared_criteria(variable, declared.of_variable(name)), lazily)
    if not declared.real:
        return hidden
    marked = hidden.copy()
    marked.encoding = {**hidden.encoding, REAL: declared.real}
    return marked


def real_variables(dataset: xr.Dataset) -> frozenset[str]:
    """Return the variables whose values the user calls real; "" for every variable. See `hide_declared`."""
    found: frozenset[str] = dataset.encoding.get(REAL, frozenset())
    return found


def hide_missing(dataset: xr.Dataset, *, lazily: bool) -> xr.Dataset:
    """Return decoded data with NaN at all values that its attributes, or netCDF's rules, say are missing.

    Args:
        dataset: decoded by CF.
        lazily: whether values are read only when they are used. Integers then become floats wherever a value could be
            missing; otherwise where one is.

    Raises:
        StructureError: an attribute cannot be understood; names the variable and the attribute.
    """
    return _hidden(dataset, lambda name, variable: criteria_of(variable, name), lazily)


def _hidden(dataset: xr.Dataset, criteria: Callable[[str, xr.Variable], Criteria], lazily: bool) -> xr.Dataset:
    changed = {}
    for key in dataset.data_vars:
        variable = dataset.variables[key]
        if variable.dtype.kind not in "fiu" or code_attribute(variable) is not None:
            continue
        found = criteria(str(key), variable)
        if found:
            new = _hide_lazily(variable, found) if lazily else _hide_now(variable, found)
            if new is not variable:
                changed[key] = new
    return dataset.assign(changed) if changed else dataset


def _hide_now(variable: xr.Variable, criteria: Criteria) -> xr.Variable:
    values = variable.values
    if not criteria.met_by(values).any():
        return variable
    return variable.copy(data=criteria.hide(values))


def _hide_lazily(variable: xr.Variable, criteria: Criteria) -> xr.Variable:
    dtype = _float_type(variable.dtype)
    if variable.chunks is not None:
        return variable.copy(data=variable.data.map_blocks(criteria.hide, dtype=dtype))
    lazy = indexing.LazilyIndexedArray(_HiddenArray(variable, criteria, dtype))
    return xr.Variable(variable.dims, lazy, variable.attrs, variable.encoding)


class _HiddenArray(BackendArray):
    """An array on disk whose missing values are hidden when it is read."""

    def __init__(self, variable: xr.Variable, criteria: Criteria, dtype: np.dtype[Any]) -> None:
        self.variable, self.criteria = variable, criteria
        self.shape, self.dtype = variable.shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        part: np.ndarray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )
        return part

    def _read(self, key: tuple[int | slice | np.ndarray, ...]) -> np.ndarray:
        return self.criteria.hide(np.asarray(self.variable[key].values))


def criteria_of(variable: xr.Variable, name: str) -> Criteria:
    """Return which values of a decoded variable are missing, by its attributes and its type.

    The default fill of an integer counts where no other value is declared. A float's always counts.

    Raises:
        StructureError: an attribute cannot be understood; names the variable and the attribute.
    """
    packing = Packing.of(variable)
    limits = packing.limits(variable.encoding | variable.attrs, name, ROUNDING)
    lowest, highest = packing.unpacked_limits(*limits, variable.dtype) if packing.packed else limits
    given = [key for key in FILLS if key in variable.encoding or key in variable.attrs]
    numbers = [n for key in given for n in numbers_in(variable.encoding.get(key, variable.attrs.get(key))) or ()]
    limited = math.isfinite(lowest) or math.isfinite(highest)
    if packing.stored.kind == "f" or not (given or limited):
        numbers += DEFAULT_FILLS.get(packing.type_code, ())
    stored = [packing.in_stored_type(number) for number in numbers]
    equal = packing.unpacked([n for n in stored if n is not None], variable.dtype).tolist()
    near = [n for n, own in zip(numbers, stored, strict=True) if own is None] if packing.packed else []
    return Criteria(tuple(v for v in equal if v == v), tuple(near), packing.step / 2, lowest, highest)


def _declared_criteria(variable: xr.Variable, values: Sequence[float]) -> Criteria:
    packing = Packing.of(variable)
    if packing.packed:
        return Criteria(near=tuple(values), tolerance=packing.step / 2)
    if variable.dtype.kind in "iu":
        ends = np.iinfo(variable.dtype)
        return Criteria(equal=tuple(v for v in values if v == round(v) and ends.min <= v <= ends.max))
    return Criteria(equal=tuple(values))


def as_data(variable: xr.Variable, name: str, *, lazily: bool = False) -> xr.Variable:
    """Return a variable that was kept as it is stored as floats, NaN where a value is missing; others unchanged.

    Raises:
        StructureError: an attribute cannot be understood; names the variable and the attribute.
    """
    if variable.dtype.kind not in "iu":
        return variable
    raw = xr.Dataset({name: variable})
    ready = for_decoding(raw, frozenset())
    decoded = decoded_from(xr.decode_cf(ready, decode_times=False, decode_timedelta=False), raw, frozenset())
    found = criteria_of(decoded.variables[name], name)
    if not found:
        return decoded.variables[name]
    return _hide_lazily(decoded.variables[name], found) if lazily else _hide_now(decoded.variables[name], found)


def _float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of floats that holds the values: the same, float32 up to 16 bits, or else float64."""
    if dtype.kind == "f":
        return np.dtype(dtype.newbyteorder("="))
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
