"""A dataset as plain bytes and back, for what crosses from the parser's process: no objects that could act."""

from __future__ import annotations

import math
from typing import Any

import cftime
import msgspec
import numpy as np
import xarray as xr
from msgspec import Struct

from hydrofill.errors import ContractError, StructureError, UnreadableError

PLAIN_KINDS = "biufMmSU"  # of numpy's dtypes: those whose bytes are their values
ENCODING = ("_FillValue", "missing_value", "scale_factor", "add_offset", "units", "calendar")
CALENDARS: dict[str, type[cftime.datetime]] = {
    name: getattr(cftime, name)
    for name in (
        "DatetimeNoLeap",
        "DatetimeAllLeap",
        "Datetime360Day",
        "DatetimeJulian",
        "DatetimeGregorian",
        "DatetimeProlepticGregorian",
    )
}


class WireArray(Struct, tag="array"):
    """Numbers, times or texts of one width."""

    dtype: str
    shape: list[int]
    data: memoryview


class WireTexts(Struct, tag="texts"):
    """Texts of any length, in row-major order."""

    shape: list[int]
    texts: list[str]


class WireDates(Struct, tag="dates"):
    """Dates of a calendar that numpy does not know: year to microsecond."""

    shape: list[int]
    calendar: str
    parts: list[tuple[int, int, int, int, int, int, int]]


WireValue = str | bool | int | float | list[str] | WireArray


class WireVariable(Struct):
    """A variable with what its numbers mean."""

    name: str
    dims: list[str]
    values: WireArray | WireTexts | WireDates
    attrs: dict[str, WireValue]
    encoding: dict[str, WireValue]
    stored_as: str


class WireDataset(Struct, tag="dataset"):
    """A whole dataset."""

    variables: list[WireVariable]
    coords: list[str]
    attrs: dict[str, WireValue]


class WireError(Struct, tag="error"):
    """A contract error by the name of its class."""

    kind: str
    problem: str
    where: str
    got: str | None
    expected: str | None


def pack(dataset: xr.Dataset) -> bytes:
    """The dataset's bytes.

    Raises:
        StructureError: values that are neither numbers, texts nor dates; names the variable.
    """
    variables = [_pack_variable(str(name), variable) for name, variable in dataset.variables.items()]
    attrs = {str(key): _pack_value(value) for key, value in dataset.attrs.items()}
    return msgspec.msgpack.encode(WireDataset(variables, [str(name) for name in dataset.coords], attrs))


def pack_error(error: ContractError) -> bytes:
    """The error's bytes."""
    got, expected = (None if value is None else str(value) for value in (error.got, error.expected))
    return msgspec.msgpack.encode(WireError(type(error).__name__, error.problem, error.where, got, expected))


def unpack(content: bytes, errors: dict[str, type[ContractError]]) -> xr.Dataset:
    """The dataset of `pack`.

    Raises:
        ContractError: the error of `pack_error`, of the class that `errors` has for its name.
        UnreadableError: bytes that are neither.
    """
    try:
        found = msgspec.msgpack.decode(content, type=WireDataset | WireError)
        if isinstance(found, WireDataset):
            return _unpack_dataset(found)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise UnreadableError("the file cannot be read; it may be damaged") from error
    kind = errors.get(found.kind, UnreadableError)
    raise kind(found.problem, where=found.where, got=found.got, expected=found.expected)


def _pack_variable(name: str, variable: xr.Variable) -> WireVariable:
    dtype = np.dtype(variable.encoding.get("dtype", variable.dtype))
    return WireVariable(
        name,
        [str(dim) for dim in variable.dims],
        _pack_values(name, np.asarray(variable.values)),
        {str(key): _pack_value(value) for key, value in variable.attrs.items()},
        {key: _pack_value(variable.encoding[key]) for key in ENCODING if variable.encoding.get(key) is not None},
        dtype.str if "dtype" in variable.encoding and dtype.kind in "iuf" else "",
    )


def _pack_values(name: str, values: np.ndarray) -> WireArray | WireTexts | WireDates:
    if values.dtype.kind in PLAIN_KINDS:
        return _pack_array(values)
    flat = list(values.flat)
    if all(isinstance(value, str) for value in flat):
        return WireTexts(list(values.shape), [str(value) for value in flat])
    if all(isinstance(value, cftime.datetime) for value in flat) and type(flat[0]).__name__ in CALENDARS:
        parts = [(v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond) for v in flat]
        return WireDates(list(values.shape), type(flat[0]).__name__, parts)
    raise StructureError("is neither numbers, texts nor dates", where=name)


def _pack_array(values: np.ndarray) -> WireArray:
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8) if values.size else np.zeros(0, np.uint8)
    return WireArray(values.dtype.str, list(values.shape), data.data)


def _pack_value(value: Any) -> WireValue:
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, str):
        array = np.asarray(value)
        return _pack_array(array) if array.dtype.kind in "iufb" else str(value)
    if isinstance(value, list):
        return [str(part) for part in value]
    return value if isinstance(value, bool | int | float) else str(value)


def _unpack_dataset(found: WireDataset) -> xr.Dataset:
    variables = {}
    for one in found.variables:
        encoding: dict[str, Any] = {key: _unpack_value(value) for key, value in one.encoding.items()}
        if one.stored_as:
            encoding["dtype"] = np.dtype(one.stored_as)
        attrs = {key: _unpack_value(value) for key, value in one.attrs.items()}
        variables[one.name] = xr.Variable(one.dims, _unpack_values(one.values), attrs, encoding)
    coords = {name: variables.pop(name) for name in found.coords}
    attrs = {key: _unpack_value(value) for key, value in found.attrs.items()}
    return xr.Dataset(variables, coords, attrs)


def _unpack_values(values: WireArray | WireTexts | WireDates) -> np.ndarray:
    if isinstance(values, WireArray):
        return _unpack_array(values)
    out = np.empty(math.prod(values.shape), dtype=object)
    if isinstance(values, WireTexts):
        out[:] = values.texts
    else:
        kind = CALENDARS[values.calendar]
        out[:] = [kind(*parts) for parts in values.parts]
    return out.reshape(values.shape)


def _unpack_array(values: WireArray) -> np.ndarray:
    dtype = np.dtype(values.dtype)
    if dtype.kind not in PLAIN_KINDS or dtype.fields is not None or dtype.subdtype is not None:
        raise TypeError(f"no plain values: {dtype}")
    return np.frombuffer(values.data, dtype).reshape(values.shape)


def _unpack_value(value: WireValue) -> Any:
    return _unpack_array(value)[()] if isinstance(value, WireArray) else value
