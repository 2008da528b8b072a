"""Find and open what is to be filled: a NetCDF file, many NetCDF files, or a Zarr store; values are read when used."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import xarray as xr

from hydrofill.cf.netcdf import decode_lazily, engine_of, open_netcdf
from hydrofill.errors import ContractError, StructureError, UnreadableError
from hydrofill.paths import FileRefusedError

ZARR_MARKERS = ("zarr.json", ".zgroup", ".zmetadata")
WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Input:
    """What is to be filled: NetCDF files, in the order of their names, or one Zarr store."""

    format: Literal["netcdf", "zarr"]
    paths: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file or store in words."""
        first = self.paths[0]
        return first if len(self.paths) == 1 else f"{first} and {len(self.paths) - 1} more files"

    def identity(self) -> str:
        """Return a sha256 of the names, sizes and times of change of all files; of a remote store, of its name."""
        content = hashlib.sha256()
        for path in self.paths:
            content.update(path.encode())
            for file in _files_of(Path(path)) if "://" not in path else ():
                found = file.stat()
                content.update(f"{file} {found.st_size} {found.st_mtime_ns}\n".encode())
        return content.hexdigest()


def _files_of(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def is_store(path: str) -> bool:
    """Return whether a path names a Zarr store: by its ending, as a URL, or by its content."""
    return path.rstrip("/").endswith(".zarr") or "://" in path or any((Path(path) / m).is_file() for m in ZARR_MARKERS)


def find_input(source: str) -> Input:
    """Return the files or the store that `source` names: a path, a pattern such as "rain_*.nc", or a URL of a store.

    Raises:
        FileRefusedError: there is no such file or store, or it is neither NetCDF nor Zarr.
    """
    if "://" in source:
        return Input("zarr", (source,))
    if not Path(source).exists():
        found = sorted(glob.glob(source)) if WILDCARDS & set(source) else []  # noqa: PTH207 (may be absolute)
        if not found:
            raise FileRefusedError(f"{source}: no such file")
        if stores := [path for path in found if Path(path).is_dir()]:
            raise FileRefusedError(f"{stores[0]}: is a folder; a pattern is of NetCDF files")
        return Input("netcdf", tuple(found))
    if Path(source).is_dir():
        if not is_store(source):
            raise FileRefusedError(f"{source}: is a folder without a Zarr store; name its files as '{source}/*.nc'")
        return Input("zarr", (source,))
    if not Path(source).is_file():
        raise FileRefusedError(f"{source}: is not a regular file")
    return Input("netcdf", (source,))


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
    try:
        raw = xr.open_zarr(path, chunks=None, decode_cf=False)
    except Exception as error:  # stores and file systems raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UnreadableError("the Zarr store cannot be read", where=path, got=reason) from error
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
