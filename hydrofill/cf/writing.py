"""Write a dataset as it is stored: as NetCDF-4, or in the form from which Zarr is written.

A variable that was read from a file and not filled is written as it is in the file. Others are packed as their encoding
says. Text attributes are characters (NC_CHAR), which every NetCDF library reads, never strings (NC_STRING).
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from hydrofill.cf.groups import ROOT, datasets_by_group
from hydrofill.cf.storage import PACKED, Storage, stored_form

if TYPE_CHECKING:
    import dask.array as da

# Parts of an encoding that say how a variable lies in its file, not what its values mean.
PACKERS = ("zlib", "compression", "compressors", "szip", "zstd", "bzip2", "blosc")
LAYOUT = ("chunksizes", "preferred_chunks", "complevel", "shuffle", "fletcher32", *PACKERS)
TIMES = ("_FillValue", "units", "calendar")
DEFLATE_LEVEL = 4
RESERVED = frozenset({"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"})


def netcdf_bytes(dataset: xr.Dataset) -> bytes:
    """Return `dataset` as uncompressed NetCDF-4; no `_FillValue` is added to a variable that had none."""
    content = io.BytesIO()
    write_netcdf(dataset, content, compressed=False)
    return content.getvalue()


def write_netcdf(dataset: xr.Dataset, target: Path | BinaryIO, *, compressed: bool = True) -> None:
    """Write `dataset` as NetCDF-4; what is computed by Dask is computed part by part.

    Args:
        dataset: decoded by CF, of which variables may know how they are stored.
        target: a new file.
        compressed: whether what was compressed is compressed again.

    Raises:
        OSError: the file cannot be written.
    """
    lazy: list[tuple[da.Array, h5netcdf.Variable]] = []
    sizes: dict[str, dict[str, int]] = {}  # of the dimensions of groups
    with h5netcdf.File(target, "w") as file:
        for path, of_group in datasets_by_group(dataset).items():
            group = file if path == ROOT else file.create_group(path)
            above = {k: n for other, found in sizes.items() if path.startswith(f"{other}/") for k, n in found.items()}
            sizes[path.rstrip(ROOT)] = _write_group(group, of_group, above, lazy, compressed)
        if lazy:
            import dask
            import dask.array as da

            with dask.config.set(scheduler="synchronous"):  # HDF5 writes one part at a time
                da.store([source for source, _ in lazy], [made for _, made in lazy], lock=False)


def _write_group(
    group: h5netcdf.Group,
    dataset: xr.Dataset,
    above: Mapping[str, int],
    lazy: list[tuple[da.Array, h5netcdf.Variable]],
    compressed: bool,
) -> dict[str, int]:
    """Write a dataset into a group of a file, and return the sizes of its dimensions.

    Args:
        group: the group, still empty.
        dataset: what it holds.
        above: sizes of the dimensions of the groups above.
        lazy: what is still to be computed; filled here.
        compressed: as of `write_netcdf`.
    """
    variables, attributes = as_stored(dataset)
    unlimited = {str(name) for name in dataset.encoding.get("unlimited_dims", ())}
    sizes = {str(d): n for v in variables.values() for d, n in v.sizes.items()}
    for name, size in sizes.items():
        if above.get(name) != size:
            group.dimensions[name] = None if name in unlimited else size
            if name in unlimited:
                group.resize_dimension(name, size)
    _set_attributes(group.attrs, attributes)
    for name, variable in variables.items():
        made = _create(group, name, variable, unlimited, compressed)
        if variable.chunks is not None:
            lazy.append((variable.data, made))
        elif variable.size:
            made[...] = _plain_texts(variable.values)
    return sizes


def as_stored(dataset: xr.Dataset) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """Return the variables of a dataset as they are stored, with all attributes, and the global attributes."""
    variables, attributes = xr.conventions.encode_dataset_coordinates(dataset)
    stored: dict[Any, xr.Variable] = {}
    others: dict[Any, xr.Variable] = {}
    for name, variable in variables.items():
        known = stored_form(dataset.variables[name])
        if known is not None:
            stored[name] = known
        elif variable.dtype.kind in "iuf":
            stored[name] = _packed(variable)
        else:
            others[name] = _for_xarray(variable)
    stored |= xr.conventions.cf_encoder(others, {})[0]
    for name, variable in variables.items():
        stored[name] = stored[name].to_base_variable()
        stored[name].encoding = {key: variable.encoding[key] for key in LAYOUT if key in variable.encoding}
    return {str(name): stored[name] for name in variables}, attributes


def _packed(variable: xr.Variable) -> xr.Variable:
    """Return a numeric variable packed as its encoding says; NaN becomes its fill value."""
    storage = Storage.of(variable)
    said = {key: variable.encoding[key] for key in PACKED if variable.encoding.get(key) is not None}
    if variable.chunks is not None:
        data = variable.data.map_blocks(storage.pack, dtype=storage.dtype)
    else:
        data = storage.pack(variable.values)
    return xr.Variable(variable.dims, data, {**variable.attrs, **said})


def _for_xarray(variable: xr.Variable) -> xr.Variable:
    """Return times, texts or truths with what xarray needs to encode them; it adds no `_FillValue`."""
    kept = {key: variable.encoding[key] for key in TIMES if variable.encoding.get(key) is not None}
    dtype = variable.encoding.get("dtype")
    if dtype is not None and np.dtype(dtype).kind in "iuf":
        kept["dtype"] = dtype
    out = variable.to_base_variable()
    out.encoding = {"_FillValue": None, **kept}
    return out


def stored_chunks(variable: xr.Variable, unlimited: Collection[str] = ()) -> tuple[int, ...] | None:
    """Return the sizes of the chunks in which a variable is stored; None if it is not chunked.

    Along an unlimited dimension alone, a chunk may be longer than the variable.
    """
    preferred = variable.encoding.get("preferred_chunks") or {}
    sizes = variable.encoding.get("chunksizes")
    if preferred:
        sizes = [preferred.get(d, n) for d, n in variable.sizes.items()]
    if sizes is None or not variable.ndim or len(sizes) != variable.ndim:
        return None
    given = zip(sizes, variable.sizes.items(), strict=True)
    return tuple(int(size) if str(d) in unlimited else max(1, min(int(size), n)) for size, (d, n) in given)


def _create(
    group: h5netcdf.Group, name: str, variable: xr.Variable, unlimited: Collection[str], compressed: bool
) -> h5netcdf.Variable:
    """Add a variable without its values to a group."""
    attributes, options = dict(variable.attrs), _storage(variable, unlimited, compressed)
    texts = variable.dtype.kind in "OUT"
    if texts:
        dtype = h5py.string_dtype()
    elif variable.dtype.str[1:] == "f2":  # of Zarr; NetCDF has no such type
        dtype = np.dtype("f4")
    else:
        dtype = np.dtype(variable.dtype.str)
    fill = attributes.pop("_FillValue", None)
    if fill is not None:
        fill = str(fill) if texts else np.asarray(fill).astype(dtype)[()]
    made = group.create_variable(name, variable.dims, dtype, fillvalue=fill, **options)
    _set_attributes(made.attrs, attributes)
    return made


def _storage(variable: xr.Variable, unlimited: Collection[str], compressed: bool) -> dict[str, Any]:
    """Return the chunks and the compression of a variable in a NetCDF file, as h5netcdf names them.

    Every compression but deflate becomes deflate, which all NetCDF libraries read.
    """
    encoding = variable.encoding
    chunks = stored_chunks(variable, unlimited)
    if not chunks:
        return {}
    options: dict[str, Any] = {"chunks": chunks}
    options |= {key: True for key in ("shuffle", "fletcher32") if encoding.get(key)}
    if compressed and any(encoding.get(key) for key in PACKERS):
        from_netcdf = encoding.get("zlib") and encoding.get("complevel")
        options |= {"compression": "gzip", "compression_opts": encoding["complevel"] if from_netcdf else DEFLATE_LEVEL}
        options |= {} if from_netcdf else {"shuffle": True}
    return options


def _set_attributes(owner: h5netcdf.attrs.Attributes, attributes: Mapping[Any, Any]) -> None:
    for key, value in attributes.items():
        if key not in RESERVED:
            owner[str(key)] = _characters(value) if isinstance(value, str | bytes) else value


def _characters(text: str | bytes) -> np.ndarray | h5py.Empty:
    """Return a text as HDF5 stores characters of UTF-8; an empty one as the NetCDF library stores it."""
    content = text.encode() if isinstance(text, str) else bytes(text)
    if not content:
        return h5py.Empty(np.dtype("S1"))
    return np.array(content, dtype=h5py.string_dtype("utf-8", len(content)))


def _plain_texts(values: np.ndarray) -> np.ndarray:
    return values.astype(object) if values.dtype.kind in "UT" else values
