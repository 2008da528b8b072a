"""Write a filled archive as NetCDF or Zarr, part by part, with the chunks and the compression of the input."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import xarray as xr
from dask.callbacks import Callback

from hydrofill.archives.inputs import format_of
from hydrofill.archives.parts import Parts
from hydrofill.archives.reading import DatasetSource
from hydrofill.blocks import Block, whole_chunks
from hydrofill.cf.csv import write_csv
from hydrofill.cf.fills import Destination
from hydrofill.cf.groups import ROOT, datasets_by_group
from hydrofill.cf.on_disk import hdf5_on_disk
from hydrofill.cf.storage import STORED, stored_form
from hydrofill.cf.writing import as_stored, stored_chunks, write_netcdf
from hydrofill.errors import StructureError
from hydrofill.paths import written_whole
from hydrofill.pieces import mix_pieces
from hydrofill.reconstruct import FilledVariable

if TYPE_CHECKING:
    import dask.array as da

WRITE_VALUES = 4_000_000  # of a variable, that are mixed and written at a time where chunks allow
COPIED_WHOLE = 1_000_000  # values: other variables are copied part by part from this size on
Cells = Mapping[str, slice]  # a part of a variable, by its dimensions


@dataclass(frozen=True, eq=False)
class FilledArchive:
    """An archive, or a view of one, whose blocks are all filled.

    source: the archive. parts: the filled blocks. blocks: all blocks. attributes: by variable, what is said of its
    fill. provenance: global attributes.
    """

    source: DatasetSource
    parts: Parts
    blocks: Sequence[Block]
    attributes: Mapping[str, Mapping[str, str]]
    provenance: Mapping[str, str]

    def fill(self, name: str, cells: Cells) -> FilledVariable:
        """Return the fill of a part of a variable."""
        series = self.source.first.cube.variables[name].kind == "series"
        box, axes = self.source.box_of(cells), self.source.axes
        pieces = list(self.parts.pieces(name, self.blocks, box, axes, of_sites=series))
        mixed = mix_pieces(pieces, box, len(axes.sites) if series else None)
        if not series:
            return mixed
        site = next(cells[d.name] for d in self.source.used if d.axis == "site")
        return FilledVariable(mixed.mean[:, site], mixed.std[:, site], mixed.flag[:, site])


def lazy_variables(
    to: Destination,
    original: Callable[[Cells], np.ndarray],
    fill: Callable[[Cells], FilledVariable],
    said: Mapping[str, str],
    *,
    uncertainty: bool,
    only_gaps: bool,
    flags: Sequence[int],
    skip_bad: bool,
) -> dict[str, xr.Variable]:
    """Return what a filled variable becomes, computed when it is written.

    Args:
        to: the variable.
        original: returns a part of it as it was read.
        fill: returns the fill of a part.
        said: what is said of the fill in its attributes.
        uncertainty: whether V_std is written.
        only_gaps: whether V holds only the filled values.
        flags: the values that V_flag can have.
        skip_bad: whether chunks that cannot be read were filled like gaps.
    """
    like, stored = to.original, to.stored
    fields = {"values": like.dtype, "flag": np.dtype(np.int8)}
    fields |= {} if stored is None else {"stored": to.storage.dtype}
    fields |= {"std": np.dtype(np.float32)} if uncertainty else {}

    def of_part(cells: Cells) -> np.ndarray:
        found = fill(cells)
        values = to.values(original(cells), found, only_gaps=only_gaps)
        made = np.empty(values.shape, list(fields.items()))
        made["values"], made["flag"] = values, to.in_dataset(found.flag)
        if uncertainty:
            made["std"] = to.std(found)
        if stored is not None:
            made["stored"] = to.as_stored(_read(stored, cells, skip_bad=skip_bad), values, found)
        return made

    together = _lazily(of_part, like, list(fields.items()))  # so that each part is mixed once
    return to.variables(
        together["values"],
        together["stored"] if stored is not None else None,
        together["std"] if uncertainty else None,
        together["flag"],
        said,
        flags,
    )


def _read(stored: xr.Variable, cells: Cells, *, skip_bad: bool) -> np.ndarray | None:
    """Return a part of a variable as it is stored; None for a chunk that cannot be read and was filled like a gap."""
    try:
        return np.asarray(stored.isel(cells).values)
    except Exception:
        if not skip_bad:
            raise
        return None


def _lazily(compute: Callable[[Cells], np.ndarray], like: xr.Variable, dtype: Any) -> da.Array:
    """Return values with the shape and the chunks of a variable, which are computed part by part."""
    import dask.array as da

    def of_part(block_info: Any = None) -> np.ndarray:
        place = block_info[None]["array-location"]
        return compute({str(d): slice(*ends) for d, ends in zip(like.dims, place, strict=True)})

    return da.map_blocks(of_part, chunks=_parts(like), dtype=dtype, meta=np.empty((0,) * like.ndim, dtype))


def write_dataset(dataset: xr.Dataset, target: str) -> None:
    """Write a dataset to `target`, completely or not at all; values of other than memory are computed part by part.

    Raises:
        OSError: the output cannot be written.
    """
    if format_of(target) == "csv":
        with written_whole(Path(target)) as partial:
            partial.write_bytes(write_csv(dataset))
        return
    with dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"zarr\..*")  # of what version 3 does not specify yet: texts
        if "://" in target:
            _write_zarr(dataset, target)
            return
        as_store = format_of(target) == "zarr"
        with written_whole(Path(target), folder=as_store) as partial:
            if as_store:
                _write_zarr(dataset, str(partial))
            else:
                with hdf5_on_disk(partial) as file, Callback(pretask=file.check):
                    write_netcdf(dataset, file)


def _write_zarr(dataset: xr.Dataset, target: str) -> None:
    """Write a dataset as Zarr, each variable as it is stored, with its chunks."""
    groups = {}
    for path, of_group in datasets_by_group(dataset).items():
        variables, attributes = as_stored(of_group)
        for variable in variables.values():
            chunks = stored_chunks(variable)
            variable.encoding = {"chunks": chunks} if chunks else {}
        groups[path] = xr.Dataset(variables, attrs=attributes)
    if len(groups) == 1:
        groups[ROOT].to_zarr(target, mode="w")
        return
    try:
        tree = xr.DataTree.from_dict(groups)
    except ValueError as error:
        raise StructureError("the groups do not fit together", got=str(error).splitlines()[0]) from error
    tree.to_zarr(target, mode="w")


def _parts(variable: xr.Variable) -> tuple[tuple[int, ...], ...]:
    """Return the parts in which a variable is written: whole stored chunks, of about WRITE_VALUES together."""
    from dask.array.core import normalize_chunks

    chunk = stored_chunks(variable) or [1] * variable.ndim
    return normalize_chunks(tuple(whole_chunks(variable.shape, chunk, WRITE_VALUES)), shape=variable.shape)


def copied(whole: xr.Dataset, made: Mapping[str, xr.Variable]) -> xr.Dataset:
    """Return the archive with large variables in parts, so that they are copied part by part."""
    out = whole.copy()
    for name, variable in whole.variables.items():
        if name in made or name in whole.dims:
            continue
        if variable.size <= COPIED_WHOLE:
            if variable.chunks is not None:  # of several files: Zarr takes no chunks of different sizes
                out[name] = variable.compute()
            continue
        stored = stored_form(variable)
        parts = dict(zip(variable.dims, _parts(variable), strict=True))
        if stored is None:
            out[name] = variable.chunk(parts)
        else:
            out[name].encoding[STORED] = stored.chunk(parts)
    return out
