"""application/x-netcdf <-> dataset: NetCDF-4 (HDF5) and classic, from memory and checked before anything is read."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from app.codecs.classic_check import CLASSIC_MAGIC, check_classic
from app.codecs.form import Codec, Reply, SentVariable
from app.codecs.hdf5_check import HDF5_MAGIC, check_hdf5
from app.codecs.times import check_times
from export.contract.axes import FIRST_YEAR, LAST_YEAR
from export.contract.errors import CoordinateError, StructureError, UnreadableError
from export.contract.layout import Layout

MEDIA_TYPE = "application/x-netcdf"
# What of a variable's encoding is kept: what gives the stored numbers their meaning, not how they are compressed.
KEPT_ENCODING = ("dtype", "_FillValue", "missing_value", "scale_factor", "add_offset", "units", "calendar")
PACKING = frozenset({"_FillValue", "scale_factor", "add_offset"})
TEXT_ATTRIBUTES = ("standard_name", "long_name", "units", "axis", "cf_role", "history")
PLAIN = (str, int, float, np.number, np.ndarray, list)


@dataclass(frozen=True, eq=False)
class SentNetcdf:
    """A NetCDF file, read and CF-decoded."""

    dataset: xr.Dataset

    @property
    def variables(self) -> tuple[SentVariable, ...]:
        """What was sent."""
        data = self.dataset.data_vars.items()
        return tuple(SentVariable(str(name), str(v.attrs.get("standard_name", ""))) for name, v in data)

    def locate(self, where: str) -> str:
        """A variable's name is its place."""
        return where

    def to_dataset(self, layout: Layout) -> xr.Dataset:  # noqa: ARG002 (other forms need the model to be read)
        """The file's dataset."""
        return self.dataset


def decode(body: bytes, max_decoded_bytes: int | None) -> SentNetcdf:
    """The file in `body`.

    Raises:
        UnreadableError: not NetCDF, damaged, or reaching out of itself. TooLargeError: it declares too much.
        CoordinateError, StructureError: its metadata cannot be understood; names the variable.
    """
    engine: Literal["h5netcdf", "scipy"]
    if body.startswith(HDF5_MAGIC):
        check_hdf5(body, max_decoded_bytes)
        engine = "h5netcdf"
    elif body.startswith(CLASSIC_MAGIC):
        check_classic(body, max_decoded_bytes)
        engine = "scipy"
    else:
        raise UnreadableError("the body is not NetCDF", got=f"first bytes {body[:8]!r}", expected="NetCDF-4 or classic")
    return SentNetcdf(_decode_cf(_load(body, engine)))


def encode(reply: Reply) -> bytes:
    """The reply as NetCDF-4, uncompressed: its values are noise to a compressor and time is what clients wait for."""
    return to_bytes(reply.dataset)


def to_bytes(dataset: xr.Dataset) -> bytes:
    """`dataset` as NetCDF-4; no `_FillValue` is added to a variable that had none."""
    return write(dataset).getvalue()


def write(dataset: xr.Dataset) -> io.BytesIO:
    """As `to_bytes`, in memory that is not copied once more."""
    out = dataset.copy()
    out.encoding = {}
    for variable in out.variables.values():
        variable.encoding = _kept(variable.encoding)
    content = io.BytesIO()
    out.to_netcdf(content, engine="h5netcdf")
    return content


def _load(body: bytes, engine: Literal["h5netcdf", "scipy"]) -> xr.Dataset:
    """The file as it is stored, in memory."""
    try:
        with xr.open_dataset(io.BytesIO(body), engine=engine, decode_cf=False) as dataset:
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
    try:
        dataset = xr.decode_cf(raw, decode_timedelta=False).load()
    except Exception as error:  # xarray's decoders raise anything on metadata that makes no sense
        name = _undecodable(raw)
        units = "" if name is None else str(raw[name].attrs.get("units", ""))
        if " since " in units:
            raise CoordinateError("its times cannot be decoded", where=str(name), got=repr(units)) from error
        raise StructureError("its attributes cannot be decoded", where="" if name is None else str(name)) from error
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OU" and all(isinstance(value, str) for value in variable.values.flat):
            texts = [_text(value, str(name)) for value in variable.values.flat]
            dataset[name] = variable.copy(data=np.array(texts, dtype=object).reshape(variable.shape))
        elif name in dataset.sizes and variable.dtype.kind in "MO" and variable.size > 0:
            _check_dates(variable.values, str(name))
    return dataset


def _check_dates(dates: np.ndarray, where: str) -> None:
    """Refuses an axis of dates that nanoseconds cannot hold; those far away are decoded as objects."""
    if dates.dtype.kind == "M":
        check_times(dates, where)
        return
    for number, date in enumerate(dates.flat):
        if not FIRST_YEAR <= getattr(date, "year", FIRST_YEAR) <= LAST_YEAR:
            expected = f"years {FIRST_YEAR} to {LAST_YEAR}"
            raise CoordinateError("is too far away", where=f"{where}/{number}", got=date, expected=expected)


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


CODEC = Codec(MEDIA_TYPE, decode, encode, isolated=True)
