"""Messages to and from a parser's process: bodies and errors as plain bytes, without objects that could run code."""

from __future__ import annotations

import math
from typing import Any, cast

import cftime
import msgspec
import numpy as np
import xarray as xr
from msgspec import Struct

from app.codecs.base import BodyLimits, DecodedBody
from app.codecs.build_dataset import ArrayBody, NamedArray, SiteArrays
from app.codecs.netcdf import NetcdfBody
from hydrofill.cf.csv import TABLE, Table
from hydrofill.cf.groups import ENCODED_AS, Groups, groups_around
from hydrofill.cf.storage import PACKED, STORED
from hydrofill.cf.text import read_text
from hydrofill.cube import Kind
from hydrofill.errors import ContractError, StructureError, UnreadableError

MAX_ERROR_TEXT = 1_000  # characters
PLAIN_KINDS = "biufMmSU"  # numpy dtype kinds whose bytes are their values
MAX_CHUNKS = 4096  # of a variable; more are not written again, because each takes time
ENCODING = (*PACKED, "units", "calendar", "coordinates")
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


class Task(Struct):
    """What is sent before a body: its media type, its limits, as of `ParserLimits`, and its group."""

    media_type: str
    memory_bytes: int
    cpu_s: int
    limits: BodyLimits
    group: str = ""


class PackedArray(Struct, tag="array"):
    """An array of numbers, times or texts of one width."""

    dtype: str
    shape: list[int]
    data: memoryview


class PackedTexts(Struct, tag="texts"):
    """An array of texts of any length, in row-major order."""

    shape: list[int]
    texts: list[str]


class PackedDates(Struct, tag="dates"):
    """An array of dates in a calendar that numpy does not have: year to microsecond."""

    shape: list[int]
    calendar: str
    parts: list[tuple[int, int, int, int, int, int, int]]


PackedValue = str | bool | int | float | list[str] | PackedArray


class PackedVariable(Struct):
    """A variable with its attributes and encoding.

    values: None if they are those of the variable as it is stored. dtype: as it is stored, "" for no number. stored:
    the variable as it is stored, None for one that is.
    """

    name: str
    dims: list[str]
    values: PackedArray | PackedTexts | PackedDates | None
    attrs: dict[str, PackedValue]
    encoding: dict[str, PackedValue]
    dtype: str
    stored: PackedVariable | None


class PackedDataset(Struct, tag="dataset"):
    """A whole dataset."""

    variables: list[PackedVariable]
    coords: list[str]
    attrs: dict[str, PackedValue]
    unlimited: list[str]
    around: PackedGroups | None = None
    table: Table | None = None


class PackedGroups(Struct):
    """The rest of the file of a dataset; see `hydrofill.cf.groups`."""

    path: str
    others: dict[str, PackedDataset]
    inherited: list[str]


class PackedNamed(Struct):
    """A variable of a body without dimensions of its own."""

    name: str
    kinds: tuple[Kind, ...]
    values: PackedArray
    units: str | None
    where: str
    values_where: str


class PackedArrays(Struct, tag="arrays"):
    """A body without dimensions of its own; no site identifiers where it has no sites."""

    time: PackedArray
    grid: dict[str, PackedArray]
    site_ids: list[str] | None
    site_place: dict[str, PackedArray]
    arrays: list[PackedNamed]


class PackedError(Struct, tag="error"):
    """A ContractError, by the name of its class."""

    kind: str
    problem: str
    where: str
    got: str | None
    expected: str | None


def pack(body: DecodedBody) -> bytes:
    """Convert a decoded body to bytes.

    Raises:
        StructureError: the values of a variable are neither numbers, texts nor dates; names the variable.
    """
    packed = _pack_arrays(body) if isinstance(body, ArrayBody) else _pack_dataset(cast(NetcdfBody, body).dataset)
    return msgspec.msgpack.encode(packed)


def _pack_dataset(dataset: xr.Dataset) -> PackedDataset:
    variables = [_pack_variable(str(name), variable) for name, variable in dataset.variables.items()]
    attrs = {str(key): _pack_value(value) for key, value in dataset.attrs.items()}
    around, packed = groups_around(dataset), None
    if around is not None:
        others = {path: _pack_dataset(other) for path, other in around.others.items()}
        packed = PackedGroups(around.path, others, list(around.inherited))
    unlimited = sorted(map(str, dataset.encoding.get("unlimited_dims", ())))
    table = dataset.encoding.get(TABLE)  # of a CSV
    return PackedDataset(variables, [str(name) for name in dataset.coords], attrs, unlimited, packed, table)


def pack_error(error: ContractError) -> bytes:
    """Convert an error to bytes; texts of any length, such as names in a body, are cut."""
    texts = (None if text is None else str(text)[:MAX_ERROR_TEXT] for text in (error.got, error.expected))
    problem, where = error.problem[:MAX_ERROR_TEXT], error.where[:MAX_ERROR_TEXT]
    return msgspec.msgpack.encode(PackedError(type(error).__name__, problem, where, *texts))


def unpack(content: bytes, errors: dict[str, type[ContractError]]) -> DecodedBody:
    """Convert the bytes of `pack` back to a body.

    Raises:
        ContractError: the bytes are those of `pack_error`; `errors` gives the class for each name.
        UnreadableError: the bytes are neither.
    """
    try:
        found = msgspec.msgpack.decode(content, type=PackedDataset | PackedArrays | PackedError)
        if isinstance(found, PackedDataset):
            return NetcdfBody(_unpack_dataset(found))
        if isinstance(found, PackedArrays):
            return _unpack_arrays(found)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise UnreadableError("the body cannot be read; it may be damaged") from error
    kind = errors.get(found.kind, UnreadableError)
    raise kind(found.problem, where=found.where, got=found.got, expected=found.expected)


def _pack_arrays(body: ArrayBody) -> PackedArrays:
    arrays = [
        PackedNamed(a.name, a.kinds, _pack_array(a.values), a.units, a.where, a.values_where) for a in body.arrays
    ]
    sites = body.sites or SiteArrays(np.empty(0, object), {})
    return PackedArrays(
        _pack_array(body.time),
        {name: _pack_array(axis) for name, axis in body.grid.items()},
        None if body.sites is None else sites.ids.tolist(),
        {name: _pack_array(values) for name, values in sites.place.items()},
        arrays,
    )


def _unpack_arrays(found: PackedArrays) -> ArrayBody:
    arrays = [
        NamedArray(a.name, a.kinds, _unpack_array(a.values), a.units, a.where, a.values_where) for a in found.arrays
    ]
    place = {name: _unpack_array(values) for name, values in found.site_place.items()}
    sites = None if found.site_ids is None else SiteArrays(np.array(found.site_ids, dtype=object), place)
    grid = {name: _unpack_array(axis) for name, axis in found.grid.items()}
    return ArrayBody(_unpack_array(found.time), grid, sites, arrays)


def _pack_variable(name: str, variable: xr.Variable) -> PackedVariable:
    dtype = np.dtype(variable.encoding.get("dtype", variable.dtype))
    stored: xr.Variable | None = variable.encoding.get(STORED)
    values = np.asarray(variable.values)
    same = stored is not None and stored.dtype == values.dtype and _same_memory(np.asarray(stored.values), values)
    return PackedVariable(
        name,
        [str(dim) for dim in variable.dims],
        None if same else _pack_values(name, values),
        {str(key): _pack_value(value) for key, value in variable.attrs.items()},
        {key: _pack_value(value) for key, value in _kept_encoding(variable).items()},
        dtype.str if "dtype" in variable.encoding and dtype.kind in "iuf" else "",
        None if stored is None else _pack_variable(name, stored),
    )


def _kept_encoding(variable: xr.Variable) -> dict[str, Any]:
    kept = {key: variable.encoding[key] for key in ENCODING if variable.encoding.get(key) is not None}
    chunks = variable.encoding.get("chunksizes") or ()
    if not chunks or math.prod(-(-n // size) for n, size in zip(variable.shape, chunks, strict=False)) > MAX_CHUNKS:
        return kept
    return {**kept, "chunksizes": np.array(chunks)}


def _same_memory(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays of one type are the same values in memory; decoding leaves most values alone."""
    return one.shape == other.shape and one.strides == other.strides and one.ctypes.data == other.ctypes.data


def _pack_values(name: str, values: np.ndarray) -> PackedArray | PackedTexts | PackedDates:
    if values.dtype.kind in PLAIN_KINDS:
        return _pack_array(values)
    flat = list(values.flat)
    if all(isinstance(value, str) for value in flat):
        return PackedTexts(list(values.shape), [str(value) for value in flat])
    if all(isinstance(value, cftime.datetime) for value in flat) and type(flat[0]).__name__ in CALENDARS:
        parts = [(v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond) for v in flat]
        return PackedDates(list(values.shape), type(flat[0]).__name__, parts)
    raise StructureError("holds neither numbers, texts nor dates", where=name)


def _pack_array(values: np.ndarray) -> PackedArray:
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8) if values.size else np.zeros(0, np.uint8)
    return PackedArray(values.dtype.str, list(values.shape), data.data)


def _pack_value(value: Any) -> PackedValue:
    if isinstance(value, bytes):
        return read_text(value)
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, str):
        array = np.asarray(value)
        return _pack_array(array) if array.dtype.kind in "iufb" else str(value)
    if isinstance(value, list):
        return [str(part) for part in value]
    return value if isinstance(value, bool | int | float) else str(value)


def _unpack_dataset(found: PackedDataset) -> xr.Dataset:
    variables = {packed.name: _unpack_variable(packed) for packed in found.variables}
    coords = {name: variables.pop(name) for name in found.coords}
    attrs = {key: _unpack_value(value) for key, value in found.attrs.items()}
    dataset = xr.Dataset(variables, coords, attrs)
    dataset.encoding["unlimited_dims"] = set(found.unlimited)
    if found.table is not None:
        dataset.encoding[TABLE] = found.table
    if found.around is not None:
        others = {path: _unpack_dataset(other) for path, other in found.around.others.items()}
        dataset.encoding[ENCODED_AS] = Groups(found.around.path, others, tuple(found.around.inherited))
    return dataset


def _unpack_variable(packed: PackedVariable) -> xr.Variable:
    encoding: dict[str, Any] = {key: _unpack_value(value) for key, value in packed.encoding.items()}
    if packed.dtype:
        encoding["dtype"] = np.dtype(packed.dtype)
    if packed.stored is not None:
        encoding[STORED] = _unpack_variable(packed.stored)
    attrs = {key: _unpack_value(value) for key, value in packed.attrs.items()}
    values = encoding[STORED].values if packed.values is None else _unpack_values(packed.values)
    return xr.Variable(packed.dims, values, attrs, encoding)


def _unpack_values(values: PackedArray | PackedTexts | PackedDates) -> np.ndarray:
    if isinstance(values, PackedArray):
        return _unpack_array(values)
    out = np.empty(math.prod(values.shape), dtype=object)
    if isinstance(values, PackedTexts):
        out[:] = values.texts
    else:
        kind = CALENDARS[values.calendar]
        out[:] = [kind(*parts) for parts in values.parts]
    return out.reshape(values.shape)


def _unpack_array(values: PackedArray) -> np.ndarray:
    dtype = np.dtype(values.dtype)
    if dtype.kind not in PLAIN_KINDS or dtype.fields is not None or dtype.subdtype is not None:
        raise TypeError(f"not plain values: {dtype}")
    return np.frombuffer(values.data, dtype).reshape(values.shape)


def _unpack_value(value: PackedValue) -> Any:
    return _unpack_array(value)[()] if isinstance(value, PackedArray) else value
