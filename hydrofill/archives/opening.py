"""Open what is to be filled, decoded by CF; values are read when they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import xarray as xr
import zarr

from hydrofill.archives.inputs import Input
from hydrofill.archives.zarr_check import check_array, check_folder, find_unreadable
from hydrofill.cf.netcdf import decode_lazily, engine_of, open_netcdf
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
                dataset = opened.enter_context(_open_store(given.paths[0]))
            elif len(given.paths) == 1:
                dataset = opened.enter_context(open_netcdf(Path(given.paths[0])))
            else:
                dataset = opened.enter_context(_open_files(given.paths))
        except OSError as error:
            raise FileRefusedError(f"{given.name}: {error.strerror or error}") from error
        except ContractError as error:  # an error about the whole file names no variable
            raise error.at(error.where or given.name) from error
        yield dataset


@contextmanager
def _open_store(path: str) -> Iterator[xr.Dataset]:
    if "://" not in path:
        check_folder(Path(path))
    try:
        store = xr.backends.ZarrStore.open_group(path, mode="r")
        for name, member in store.members.items():
            if isinstance(member, zarr.Array):
                check_array(name, member)
        raw = xr.open_dataset(store, engine="store", decode_cf=False)
    except ContractError:
        raise
    except Exception as error:  # stores and file systems raise anything
        found = find_unreadable(path)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        problem = "the Zarr store cannot be read" + (f", for its array {found}" if found else "")
        raise UnreadableError(problem, where=path, got=reason) from error
    with raw:
        yield decode_lazily(raw)


@contextmanager
def _open_files(paths: tuple[str, ...]) -> Iterator[xr.Dataset]:
    """Open files that follow each other in time as one dataset."""
    engines = {engine_of(Path(path)) for path in paths}
    if len(engines) > 1:
        raise StructureError("some files are NetCDF-4 and others classic; fill them one by one", got=len(paths))
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
            decode_timedelta=False,
        )
    except ContractError:
        raise
    except Exception as error:  # xarray raises anything on files that do not fit together
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise StructureError("the files cannot be joined along time", got=reason) from error
    with joined:
        yield joined
