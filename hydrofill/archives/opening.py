"""Open what is to be filled, decoded by CF; values are read when they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import xarray as xr

from hydrofill.archives.inputs import Input
from hydrofill.cf.calendars import counted_like, holds_times
from hydrofill.cf.csv import read_csv
from hydrofill.cf.groups import ROOT, choose_group, groups_around
from hydrofill.cf.netcdf import AS_STORED, decode_lazily, engine_of, mend_classic, open_netcdf
from hydrofill.cf.storage import PACKED, Storage
from hydrofill.errors import ContractError, StructureError, UnreadableError
from hydrofill.paths import FileRefusedError


@contextmanager
def open_input(given: Input) -> Iterator[xr.Dataset]:
    """Open an input, decoded by CF; values are read when they are used.

    Raises:
        UnreadableError: a file or store is damaged, or not what it seems.
        CoordinateError, StructureError: the metadata cannot be understood, or files do not fit together.
        FileRefusedError: a file cannot be opened.
    """
    with ExitStack() as opened:
        try:
            if given.format == "zarr":
                dataset = opened.enter_context(_open_store(given.paths[0], given.group))
            elif given.format == "csv":
                dataset = read_csv(Path(given.paths[0]).read_bytes())
            elif len(given.paths) == 1:
                dataset = opened.enter_context(open_netcdf(Path(given.paths[0]), given.group))
            else:
                dataset = opened.enter_context(_open_files(given.paths, given.group))
        except OSError as error:
            raise FileRefusedError(f"{given.name}: {error.strerror or error}") from error
        except ContractError as error:  # an error about the whole file names no variable
            raise error.at(error.where or given.name) from error
        yield dataset


@contextmanager
def _open_store(path: str, group: str) -> Iterator[xr.Dataset]:
    from hydrofill.archives.zarr_check import check_folder, find_unreadable

    if "://" not in path:
        check_folder(Path(path))
    with ExitStack() as opened:
        try:
            root = xr.backends.ZarrStore.open_group(path, mode="r", consolidated=_consolidated(path))
            groups = {ROOT: opened.enter_context(_checked(ROOT, root))}
            if group or not groups[ROOT].data_vars:
                groups = {name: opened.enter_context(_checked(name, store)) for name, store in _stores(path).items()}
        except ContractError:
            raise
        except Exception as error:  # stores and file systems raise anything
            found = find_unreadable(path)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            problem = "the Zarr store cannot be read" + (f", for its array {found}" if found else "")
            raise UnreadableError(problem, where=path, got=reason) from error
        yield decode_lazily(choose_group(groups, group))


def _stores(path: str) -> dict[str, xr.backends.ZarrStore]:
    """Return all groups of a Zarr store by path."""
    return dict(xr.backends.ZarrStore.open_store(path, mode="r", group=ROOT, consolidated=_consolidated(path)))


def _consolidated(path: str) -> bool | None:
    """Return that metadata are read where they are, or, over a network, from a copy of all if there is one."""
    return None if "://" in path else False


def _checked(group: str, store: xr.backends.ZarrStore) -> xr.Dataset:
    """Open a group of a Zarr store, whose arrays are checked before any of them is read."""
    import zarr

    from hydrofill.archives.zarr_check import check_array

    for name, member in store.members.items():
        if isinstance(member, zarr.Array):
            check_array(f"{group}/{name}".strip(ROOT), member)
    return xr.open_dataset(store, engine="store", **AS_STORED)


@contextmanager
def _open_files(paths: tuple[str, ...], group: str) -> Iterator[xr.Dataset]:
    """Open files that follow each other in time as one dataset; the rest of the first file is kept.

    Variables that are not packed alike in all files are not packed in the dataset.
    """
    storages: dict[str, list[Storage]] = {}

    def noted(part: xr.Dataset) -> xr.Dataset:
        for name, variable in part.variables.items():
            if variable.dtype.kind in "iuf":
                storages.setdefault(str(name), []).append(Storage.of(variable))
        return part

    engines = {engine_of(Path(path)) for path in paths}
    if len(engines) > 1:
        raise StructureError("some files are NetCDF-4 and others classic; fill them one by one", got=len(paths))
    with open_netcdf(Path(paths[0]), group) as first:
        around = groups_around(first)
        try:
            joined = xr.open_mfdataset(
                paths,
                engine=engines.pop(),
                combine="by_coords",
                data_vars="minimal",
                coords="minimal",
                compat="override",
                join="exact",
                combine_attrs="override",
                decode_cf=False,
                group=None if around is None else around.path,
                preprocess=lambda raw: noted(_like(first, decode_lazily(mend_classic(raw, raw.encoding["source"])))),
            )
        except ContractError:
            raise
        except Exception as error:  # xarray raises anything on files that do not fit together
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise StructureError("the files cannot be joined along time", got=reason) from error
        with joined:
            joined.encoding |= first.encoding
            for name, found in storages.items():
                if len({(s.dtype, s.scale, s.offset, str(s.missing)) for s in found}) > 1:
                    encoding = joined.variables[name].encoding
                    joined.variables[name].encoding = {k: v for k, v in encoding.items() if k not in (*PACKED, "dtype")}
            yield joined


def _like(first: xr.Dataset, part: xr.Dataset) -> xr.Dataset:
    """Return a file with the times of its coordinates counted as those of the first file are."""
    inherited = groups_around(first)
    above = {n: first[n] for n in (inherited.inherited if inherited else ()) if set(first[n].dims) <= set(part.dims)}
    part = part.assign_coords(above)
    times = {
        name: counted_like(variable, first.variables[name], str(name))
        for name, variable in part.variables.items()
        if name in part.coords and name in first.variables and holds_times(variable)
    }
    return part.assign_coords(times)
