"""Write a filled archive as NetCDF or Zarr, part by part, with the chunks and the compression of the input."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from dask.callbacks import Callback

from hydrofill.archives.inputs import Format, format_of
from hydrofill.archives.parts import Parts
from hydrofill.archives.reading import DatasetSource
from hydrofill.blocks import Block
from hydrofill.cf.dataset import as_in_dataset, filled_values, filled_variables, with_filled
from hydrofill.cf.groups import as_tree
from hydrofill.cf.netcdf import kept_encoding
from hydrofill.cf.on_disk import hdf5_on_disk
from hydrofill.cf.variables import ordered_dims
from hydrofill.paths import written_whole
from hydrofill.pieces import mix_pieces
from hydrofill.reconstruct import FilledVariable

WRITE_VALUES = 4_000_000  # of a variable, that are mixed and written at a time where chunks allow
DEFLATE_LEVEL = 4
COPIED_WHOLE = 1_000_000  # values: other variables are copied part by part from this size on


@dataclass(frozen=True, eq=False)
class FilledArchive:
    """An archive whose blocks are all filled.

    source: the archive. parts: the filled blocks. blocks: all blocks. attributes: by variable, what is said of its
    fill. provenance: global attributes.
    """

    source: DatasetSource
    parts: Parts
    blocks: Sequence[Block]
    attributes: Mapping[str, Mapping[str, str]]
    provenance: Mapping[str, str]

    def dataset(self, whole: xr.Dataset, target: Format, *, uncertainty: bool, only_gaps: bool) -> xr.Dataset:
        """Return the filled dataset, whose values are computed when they are written.

        Args:
            whole: the archive as it was opened, with the variables that are copied.
            target: the format in which the dataset is written.
            uncertainty: whether V_std is written.
            only_gaps: whether V holds only the filled values.
        """
        made: dict[str, xr.Variable] = {}
        for name, attributes in self.attributes.items():
            source = self.source.first.source[name]
            original = whole[source].variable
            chunks = _steps_of_chunks(original, _stored_chunks(original))

            def lazily(
                compute: Callable[[str, Mapping[str, slice]], np.ndarray],
                dtype: Any,
                name: str = name,
                original: xr.Variable = original,
                chunks: tuple[tuple[int, ...], ...] = chunks,
            ) -> da.Array:
                def of_chunk(block_info: Any = None) -> np.ndarray:
                    place = block_info[None]["array-location"]
                    cells = {str(d): slice(*ends) for d, ends in zip(original.dims, place, strict=True)}
                    return compute(name, cells)

                return da.map_blocks(of_chunk, chunks=chunks, dtype=dtype, meta=np.empty((0,) * original.ndim, dtype))

            values = lazily(lambda n, cells: self._values(n, cells, only_gaps), original.dtype)
            std = lazily(self._std, np.float32) if uncertainty else None
            variables = filled_variables(original, source, values, std, lazily(self._flag, np.int8), attributes)
            for variable in variables.values():
                variable.encoding |= storage(original, target)
            made |= variables
        return with_filled(_copied(whole, target, made), made, self.attributes, self.provenance)

    def _mixed(self, name: str, cells: Mapping[str, slice]) -> FilledVariable:
        series = self.source.first.cube.variables[name].kind == "series"
        box, axes = self.source.box_of(cells), self.source.axes
        pieces = list(self.parts.pieces(name, self.blocks, box, axes, of_sites=series))
        mixed = mix_pieces(pieces, box, len(axes.sites) if series else None)
        if not series:
            return mixed
        site = next(cells[d.name] for d in self.source.used if d.axis == "site")
        return FilledVariable(mixed.mean[:, site], mixed.std[:, site], mixed.flag[:, site])

    def _in_dataset(self, name: str, values: np.ndarray) -> np.ndarray:
        first = self.source.first
        original = self.source.dataset[first.source[name]].variable
        return as_in_dataset(
            values, original, ordered_dims(original, first.dimensions, first.cube.variables[name].kind)
        )

    def _values(self, name: str, cells: Mapping[str, slice], only_gaps: bool) -> np.ndarray:
        original = self.source.values(self.source.first.source[name], cells)
        mixed, convert = self._mixed(name, cells), self.source.first.converted[name]
        mean, flag = self._in_dataset(name, mixed.mean), self._in_dataset(name, mixed.flag)
        return filled_values(original, mean, flag, convert, only_gaps)

    def _std(self, name: str, cells: Mapping[str, slice]) -> np.ndarray:
        std = self.source.first.converted[name].invert_std(self._mixed(name, cells).std)
        return self._in_dataset(name, std).astype(np.float32, copy=False)

    def _flag(self, name: str, cells: Mapping[str, slice]) -> np.ndarray:
        return self._in_dataset(name, self._mixed(name, cells).flag)


def write_dataset(dataset: xr.Dataset, target: str) -> None:
    """Write a dataset to `target`, completely or not at all; values of other than memory are computed part by part.

    Raises:
        OSError: the output cannot be written.
    """
    dataset = dataset.copy()
    tree = as_tree(dataset)
    dataset.encoding = {}
    out = dataset if tree is None else tree
    with dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"zarr\..*")  # of what version 3 does not specify yet: texts
        if "://" in target:
            out.to_zarr(target, mode="w")
            return
        as_store = format_of(target) == "zarr"
        with written_whole(Path(target), folder=as_store) as partial:
            if as_store:
                out.to_zarr(str(partial), mode="w")
            else:
                with hdf5_on_disk(partial) as file, Callback(pretask=file.check):
                    out.to_netcdf(file, engine="h5netcdf")


def storage(variable: xr.Variable, target: Format) -> dict[str, Any]:
    """Return the encoding of the chunks and of the compression that a variable was read with, for the format written.

    A chunked variable stays chunked, and a compressed one compressed; within a format in the same way.
    """
    encoding = variable.encoding
    from_zarr = "compressors" in encoding or "filters" in encoding
    chunks = _stored_chunks(variable)
    if target == "netcdf":
        if not from_zarr:
            kept = {k: encoding[k] for k in ("zlib", "complevel", "shuffle", "fletcher32") if encoding.get(k)}
        else:
            kept = {"zlib": True, "complevel": DEFLATE_LEVEL, "shuffle": True} if encoding.get("compressors") else {}
        return kept | ({"chunksizes": chunks} if chunks else {})
    return {"chunks": chunks} if chunks else {}


def _stored_chunks(variable: xr.Variable) -> tuple[int, ...] | None:
    """Return the sizes of the chunks in which a variable is stored; None if it is not chunked."""
    preferred = variable.encoding.get("preferred_chunks") or {}
    if not preferred:
        return None
    return tuple(min(int(preferred.get(d, n)), n) for d, n in variable.sizes.items())


def _steps_of_chunks(variable: xr.Variable, stored: tuple[int, ...] | None) -> tuple[tuple[int, ...], ...]:
    """Return the parts in which a variable is written: whole stored chunks, of about WRITE_VALUES together."""
    sizes = list(stored or [1] * variable.ndim)
    for axis in reversed(range(variable.ndim)):
        others = int(np.prod(sizes)) // sizes[axis]
        number = max(1, WRITE_VALUES // max(others * sizes[axis], 1))
        sizes[axis] = min(variable.shape[axis], sizes[axis] * number)
    return da.core.normalize_chunks(tuple(sizes), shape=variable.shape)


def _copied(whole: xr.Dataset, target: Format, made: Mapping[str, xr.Variable]) -> xr.Dataset:
    """Return the archive with encodings for the format written; large variables are copied part by part."""
    out = whole.copy()
    for name, variable in whole.variables.items():
        if name in made:
            continue
        if name not in whole.dims:
            chunks = _steps_of_chunks(variable, _stored_chunks(variable))
            lazy = variable.size > COPIED_WHOLE
            out[name] = variable.chunk(dict(zip(variable.dims, chunks, strict=True))) if lazy else variable.load()
        out[name].encoding = kept_encoding(variable.encoding) | storage(variable, target)
    return out
