"""NetCDF files <-> xarray.Dataset: NetCDF-4 (HDF5) and classic, CF-decoded, with what cannot be written refused."""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from hydrofill.cf.axes import FIRST_YEAR, LAST_YEAR, check_times
from hydrofill.errors import CoordinateError, StructureError, UnreadableError

Engine = Literal["h5netcdf", "scipy"]
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
CLASSIC_MAGIC = (b"CDF\x01", b"CDF\x02")
# What of a variable's encoding is kept: what gives the stored numbers their meaning, not how they are compressed.
KEPT_ENCODING = ("dtype", "_FillValue", "missing_value", "scale_factor", "add_offset", "units", "calendar")
PACKING = frozenset({"_FillValue", "scale_factor", "add_offset"})
TEXT_ATTRIBUTES = ("standard_name", "long_name", "units", "axis", "cf_role", "history")
PLAIN = (str, int, float, np.number, np.ndarray, list)


def read_netcdf(source: Path | bytes) -> xr.Dataset:
    """Read a NetCDF file, or its bytes, into memory and decode it by CF.

    Raises:
        UnreadableError: the file is not NetCDF, or is damaged.
        CoordinateError, StructureError: the metadata cannot be understood; names the variable.
        OSError: the file cannot be opened.
    """
    if isinstance(source, bytes):
        return _decode_cf(_load(io.BytesIO(source), _engine_for(source[:8])))
    return _decode_cf(_load(source, _engine_of(source)))


@contextmanager
def open_netcdf(source: Path) -> Iterator[xr.Dataset]:
    """Open a NetCDF file, decoded by CF; values are read from the file when they are used.

    Raises:
        UnreadableError: the file is not NetCDF, or is damaged.
        CoordinateError, StructureError: the metadata cannot be understood; names the variable.
        OSError: the file cannot be opened.
    """
    engine = _engine_of(source)
    try:
        raw = xr.open_dataset(source, engine=engine, decode_cf=False)
    except Exception as error:  # damaged files make the libraries raise anything
        raise UnreadableError("the NetCDF file cannot be read; it may be damaged", where=source.name) from error
    with raw:
        yield _decode(raw, load=False)


def _engine_of(source: Path) -> Engine:
    with source.open("rb") as file:
        return _engine_for(file.read(8))


def _engine_for(first: bytes) -> Engine:
    if first.startswith(HDF5_MAGIC):
        return "h5netcdf"
    if first.startswith(CLASSIC_MAGIC):
        return "scipy"
    raise UnreadableError("is not NetCDF", got=f"first bytes {first!r}", expected="NetCDF-4 or classic")


def netcdf_bytes(dataset: xr.Dataset) -> bytes:
    """Return `dataset` as uncompressed NetCDF-4; no `_FillValue` is added to a variable that had none."""
    return write_netcdf(dataset).getvalue()


def write_netcdf(dataset: xr.Dataset) -> io.BytesIO:
    """Write `dataset` as `netcdf_bytes` does, into memory that need not be copied again."""
    out = dataset.copy()
    out.encoding = {}
    for variable in out.variables.values():
        variable.encoding = _kept(variable.encoding)
    content = io.BytesIO()
    out.to_netcdf(content, engine="h5netcdf")
    return content


def _load(content: Path | io.BytesIO, engine: Engine) -> xr.Dataset:
    """Read the file as it is stored."""
    try:
        with xr.open_dataset(content, engine=engine, decode_cf=False) as dataset:
            dataset.load()
    except Exception as error:  # damaged files make the libraries raise anything
        raise UnreadableError("the NetCDF file cannot be read; it may be damaged") from error
    _check_writable(dataset)
    return dataset


def _check_writable(dataset: xr.Dataset) -> None:
    """Makes texts of attributes that must be, and refuses what no NetCDF file can be written with."""
    owners = [("", dataset.attrs), *((str(name), v.attrs) for name, v in dataset.variables.items())]
    keys = [str(key) for _, attrs in owners for key in attrs]
    for name in (*map(str, dataset.variables), *map(str, dataset.sizes), *keys):
        if not name or "/" in name or _text(name, "") != name:
            raise StructureError("a name cannot be written", got=repr(name[:40]))
    for name, attrs in owners:
        for key in PACKING & attrs.keys():
            if np.size(attrs[key]) != 1 or not np.issubdtype(np.asarray(attrs[key]).dtype, np.number):
                raise StructureError("must be one number", where=f"{name}/{key}", got=attrs[key])
        for key, value in attrs.items():
            attrs[key] = _attribute(value, str(key) in TEXT_ATTRIBUTES, f"{name}/{key}")


def _attribute(value: object, as_text: bool, where: str) -> object:
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
        value = [str(part) for part in value.ravel()]
    if isinstance(value, list):
        value = [_text(str(part), where) for part in value]
    if isinstance(value, str) or as_text:
        value = _text(str(value), where)
    if not isinstance(value, PLAIN) or (isinstance(value, np.ndarray) and value.dtype.kind not in "iuf"):
        raise StructureError("an attribute is neither text nor numbers", where=where, got=type(value).__name__)
    return value


def _text(text: str, where: str) -> str:
    """`text` as it can be written; bytes that are not UTF-8 are read as Latin-1, which old files hold."""
    if "\0" in text:
        raise StructureError("a text holds a zero byte", where=where)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def _decode_cf(raw: xr.Dataset) -> xr.Dataset:
    dataset = _decode(raw, load=True)
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OU" and all(isinstance(value, str) for value in variable.values.flat):
            texts = [_text(value, str(name)) for value in variable.values.flat]
            dataset[name] = variable.copy(data=np.array(texts, dtype=object).reshape(variable.shape))
        elif name in dataset.sizes and variable.dtype.kind in "MO" and variable.size > 0:
            _check_dates(variable.values, str(name))
    return dataset


def _decode(raw: xr.Dataset, load: bool) -> xr.Dataset:
    try:
        dataset = xr.decode_cf(raw, decode_timedelta=False)
        return dataset.load() if load else dataset
    except Exception as error:  # xarray's decoders raise anything on metadata that makes no sense
        name = _undecodable(raw)
        units = "" if name is None else str(raw[name].attrs.get("units", ""))
        if " since " in units:
            raise CoordinateError("its times cannot be decoded", where=str(name), got=repr(units)) from error
        raise StructureError("its attributes cannot be decoded", where="" if name is None else str(name)) from error


def _check_dates(dates: np.ndarray, where: str) -> None:
    """Refuses an axis of dates that nanoseconds cannot hold; those far away are decoded as objects."""
    if dates.dtype.kind == "M":
        check_times(dates, where)
        return
    for number, date in enumerate(dates.flat):
        if not FIRST_YEAR <= getattr(date, "year", FIRST_YEAR) <= LAST_YEAR:
            expected = f"years {FIRST_YEAR} to {LAST_YEAR}"
            raise CoordinateError(
                "is outside the supported range of years", where=f"{where}/{number}", got=date, expected=expected
            )


def _undecodable(raw: xr.Dataset) -> Hashable | None:
    """The first variable that cannot be decoded by itself."""
    for name, variable in raw.variables.items():
        try:
            xr.conventions.decode_cf_variable(name, variable, decode_timedelta=False).load()
        except Exception:  # noqa: BLE001 (this is the question)
            return name
    return None


def _kept(encoding: Mapping[Any, Any]) -> dict[Any, Any]:
    kept = {key: encoding[key] for key in KEPT_ENCODING if encoding.get(key) is not None}
    if "dtype" in kept and np.dtype(kept["dtype"]).kind not in "iuf":
        del kept["dtype"]
    if np.size(kept.get("missing_value", 0)) > 1:  # several are read, but only one can be written
        del kept["missing_value"]
        if "_FillValue" not in kept:
            kept.pop("dtype", None)
    if "_FillValue" in kept:
        kept.pop("missing_value", None)
    return {"_FillValue": None, **kept}
