"""Read NetCDF files, NetCDF-4 (HDF5) and classic, as xarray.Dataset, decoded by the CF conventions.

Each variable keeps the form in which it is stored, in which it is written again. A file whose names or attributes could
not be written again is refused when it is read.
"""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from hydrofill.cf.codes import kept_as_stored
from hydrofill.cf.fill_values import decoded_from, for_decoding
from hydrofill.cf.groups import ROOT, choose_group, groups_around
from hydrofill.cf.missing import hide_missing
from hydrofill.cf.storage import STORED
from hydrofill.cf.text import mended, read_text
from hydrofill.errors import StructureError, UnreadableError

Engine = Literal["h5netcdf", "scipy", "netcdf4"]
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
CLASSIC_MAGIC = (b"CDF\x01", b"CDF\x02")
CDF5_MAGIC = b"CDF\x05"  # classic with 64-bit sizes, as PnetCDF writes it
HDF4_MAGIC = b"\x0e\x03\x13\x01"
REPLACED = "\ufffd"  # in place of bytes that are not UTF-8
PACKING = frozenset({"scale_factor", "add_offset"})
TEXT_ATTRIBUTES = ("standard_name", "long_name", "units", "axis", "cf_role", "history")
# What xarray decodes by itself; its open_groups takes no notice of decode_cf=False.
DECODERS = ("mask_and_scale", "decode_times", "decode_timedelta", "concat_characters", "decode_coords")
AS_STORED: Mapping[str, Any] = dict.fromkeys(DECODERS, False)
PLAIN = (str, int, float, np.number, np.ndarray, list)


def read_netcdf(source: Path | bytes, group: str = "") -> xr.Dataset:
    """Read a NetCDF file, or its bytes, into memory and decode it by CF; of several groups with data, `group`.

    Raises:
        UnreadableError: the file is not NetCDF, or is damaged.
        CoordinateError, StructureError: the metadata cannot be understood; names the variable.
        OSError: the file cannot be opened.
    """
    if isinstance(source, bytes):
        return _decode_cf(_load(io.BytesIO(source), _engine_for(source[:8]), group))
    return _decode_cf(_load(source, engine_of(source), group))


@contextmanager
def open_netcdf(source: Path, group: str = "") -> Iterator[xr.Dataset]:
    """Open a NetCDF file, decoded by CF; values are read from the file when they are used.

    Raises:
        UnreadableError: the file is not NetCDF, or is damaged.
        CoordinateError, StructureError: the metadata cannot be understood; names the variable.
        OSError: the file cannot be opened.
    """
    engine = engine_of(source)
    try:
        groups = open_groups(source, engine)
    except Exception as error:  # damaged files make the libraries raise anything
        raise UnreadableError("the NetCDF file cannot be read; it may be damaged", where=source.name) from error
    with ExitStack() as opened:
        for dataset in groups.values():
            opened.enter_context(dataset)
        yield decode_lazily(choose_group(groups, group))


def open_groups(
    source: Path | io.BytesIO, engine: Engine, *, chunks: dict[str, int] | None = None, cache: bool = True
) -> dict[str, xr.Dataset]:
    """Open a file as it is stored; return the datasets of its groups by path. Only NetCDF-4 has other groups than `/`.

    Dimensions without names, as files of HDF5 have that were not made for NetCDF, are called phony_dim_0, phony_dim_1
    and so on.
    """
    if engine == "h5netcdf":
        return dict(xr.open_groups(source, engine=engine, chunks=chunks, cache=cache, phony_dims="access", **AS_STORED))
    raw = xr.open_dataset(source, engine=engine, decode_cf=False, chunks=chunks, cache=cache)
    return {ROOT: mend_classic(raw, source)}


def decode_lazily(raw: xr.Dataset) -> xr.Dataset:
    """Decode a dataset by CF as `read_netcdf` does; values of numeric variables are read when they are used.

    Raises:
        CoordinateError, StructureError: the metadata cannot be understood or written; names the variable.
    """
    check_writable(raw)
    return _with_texts(_decode(raw, load=False))


def engine_of(source: Path) -> Engine:
    """Return what reads a NetCDF file; see `open_netcdf` for errors."""
    with source.open("rb") as file:
        return _engine_for(file.read(8))


def _engine_for(first: bytes) -> Engine:
    if first.startswith(HDF5_MAGIC):
        return "h5netcdf"
    if first.startswith(CLASSIC_MAGIC):
        return "scipy"
    if first.startswith(CDF5_MAGIC):
        if find_spec("netCDF4") is not None:
            return "netcdf4"
        raise cdf5_error("is classic NetCDF with 64-bit sizes (CDF5), which takes the package netCDF4 to read")
    if first.startswith(HDF4_MAGIC):
        raise UnreadableError("is HDF4, not NetCDF", expected="NetCDF-4, such as of: gdal_translate -of netCDF IN OUT")
    raise UnreadableError("the content is not NetCDF", got=f"first bytes {first!r}", expected="NetCDF-4 or classic")


def cdf5_error(problem: str) -> UnreadableError:
    """Return the error for a file with 64-bit sizes that is not read, with the command that converts it."""
    return UnreadableError(problem, expected="the same file as NetCDF-4, made by: nccopy -k nc4 IN OUT")


def mend_classic(raw: xr.Dataset, content: Path | str | io.BytesIO) -> xr.Dataset:
    """Return a file that is not decoded yet with the texts of its attributes as they are in a classic file.

    xarray puts a replacement character in place of each byte that is not UTF-8.
    """
    owners = [("", raw.attrs), *((str(name), v.attrs) for name, v in raw.variables.items())]
    damaged = [(name, attrs, key) for name, attrs in owners for key, v in attrs.items() if REPLACED in str(v)]
    if damaged and _first_bytes(content).startswith(CLASSIC_MAGIC):
        from scipy.io import netcdf_file  # noqa: TID251 (xarray has loaded it to read a classic file)

        with netcdf_file(content, mmap=False) as file:
            for name, attrs, key in damaged:
                stored = getattr(file.variables[name] if name else file, str(key))
                attrs[key] = read_text(stored) if isinstance(stored, bytes) else stored
    return raw


def _first_bytes(content: Path | str | io.BytesIO) -> bytes:
    if isinstance(content, io.BytesIO):
        content.seek(0)
        first = content.read(8)
        content.seek(0)
        return first
    with Path(content).open("rb") as file:
        return file.read(8)


def _load(content: Path | io.BytesIO, engine: Engine, group: str) -> xr.Dataset:
    """Read the file as it is stored."""
    try:
        groups = open_groups(content, engine)
        with ExitStack() as opened:
            for dataset in groups.values():
                opened.enter_context(dataset)
            for dataset in groups.values():
                dataset.load()
    except Exception as error:  # damaged files make the libraries raise anything
        raise UnreadableError("the NetCDF file cannot be read; it may be damaged") from error
    chosen = choose_group(groups, group)
    check_writable(chosen)
    return chosen


def check_writable(dataset: xr.Dataset) -> None:
    """Turn attributes that must be text into text, in place; those of other groups of the file too.

    Raises:
        StructureError: a name or an attribute cannot be written to a NetCDF file.
    """
    groups = groups_around(dataset)
    for other in groups.others.values() if groups else ():
        check_writable(other)
    owners = [("", dataset.attrs), *((str(name), v.attrs) for name, v in dataset.variables.items())]
    keys = [str(key) for _, attrs in owners for key in attrs]
    for name in (*map(str, dataset.variables), *map(str, dataset.sizes), *keys):
        if not name or "/" in name or mended(name, "") != name:
            raise StructureError(
                "a variable, dimension or attribute has a name that NetCDF does not allow", got=repr(name[:40])
            )
    for name, attrs in owners:
        for key in PACKING & attrs.keys():
            if np.size(attrs[key]) != 1 or not np.issubdtype(np.asarray(attrs[key]).dtype, np.number):
                raise StructureError("must be one number", where=f"{name}/{key}", got=attrs[key])
        for key, value in attrs.items():
            attrs[key] = _attribute(value, str(key) in TEXT_ATTRIBUTES, f"{name}/{key}")


def _attribute(value: object, as_text: bool, where: str) -> object:
    """Return the value of an attribute as text, numbers or a list of texts."""
    if isinstance(value, bytes):
        value = read_text(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
        value = [read_text(part) if isinstance(part, bytes) else str(part) for part in value.ravel()]
    if isinstance(value, list):
        value = [mended(str(part), where) for part in value]
    if isinstance(value, str) or as_text:
        value = mended(str(value), where)
    if not isinstance(value, PLAIN) or (isinstance(value, np.ndarray) and value.dtype.kind not in "iuf"):
        raise StructureError("the attribute is neither text nor numbers", where=where, got=type(value).__name__)
    return value


def _decode_cf(raw: xr.Dataset) -> xr.Dataset:
    return _with_texts(_decode(raw, load=True))


def _with_texts(dataset: xr.Dataset) -> xr.Dataset:
    """Return a decoded dataset with valid texts."""
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OU" and all(isinstance(value, str) for value in variable.values.flat):
            texts = [mended(value, str(name)) for value in variable.values.flat]
            dataset[name] = variable.copy(data=np.array(texts, dtype=object).reshape(variable.shape))
    return dataset


def _decode(raw: xr.Dataset, load: bool) -> xr.Dataset:
    """Decode `raw` by CF; with `load`, read all values."""
    stored = {name: v.to_base_variable() for name, v in raw.variables.items()}  # decoding adds attributes to bounds
    codes = kept_as_stored(raw)
    ready = for_decoding(raw, codes)
    try:
        dataset = xr.decode_cf(ready, decode_times=False)
        if load:
            dataset.load()
    except Exception as error:  # xarray's decoders raise anything on metadata that makes no sense
        name = _undecodable(ready)
        raise StructureError("the attributes cannot be decoded", where="" if name is None else str(name)) from error
    decoded = hide_missing(decoded_from(dataset, raw, codes), lazily=not load)
    for name, variable in decoded.variables.items():
        if stored[name].dtype.kind in "iufS":  # texts of any length are stored as they are read
            variable.encoding[STORED] = stored[name]
    return decoded


def _undecodable(raw: xr.Dataset) -> Hashable | None:
    """Return the name of the first variable that cannot be decoded; None if each can be decoded by itself."""
    for name, variable in raw.variables.items():
        try:
            xr.conventions.decode_cf_variable(name, variable, decode_times=False).load()
        except Exception:  # noqa: BLE001 (any error means that the variable cannot be decoded)
            return name
    return None
