"""Find what is to be filled, a NetCDF file, many of them, a CSV, or a Zarr store, and check where the output goes."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydrofill.paths import FileRefusedError, resolve_target

ZARR_MARKERS = ("zarr.json", ".zgroup", ".zmetadata")
WILDCARDS = frozenset("*?[")
CSV_ENDINGS = (".csv", ".tsv", ".txt")
Format = Literal["netcdf", "zarr", "csv"]


@dataclass(frozen=True)
class Input:
    """Files or store to fill: NetCDF files, in the order of their names, a CSV, or one Zarr store.

    group: the group that holds the data; "" for the root, or else the only group with data.
    """

    format: Format
    paths: tuple[str, ...]
    group: str = ""

    @property
    def name(self) -> str:
        """The file or store in words."""
        first = self.paths[0]
        return first if len(self.paths) == 1 else f"{first} and {len(self.paths) - 1} more files"

    def identity(self) -> str:
        """Return a sha256 of the names, sizes and times of change of all files; of a remote store, of its name."""
        content = hashlib.sha256(self.group.encode())
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
    return path.rstrip("/").endswith(".zarr") or "://" in path or _has_marker(Path(path))


def _has_marker(path: Path) -> bool:
    return any((path / marker).is_file() for marker in ZARR_MARKERS)


def find_input(source: str, group: str = "") -> Input:
    """Return the files or the store that `source` names: a path, a pattern such as "rain_*.nc", or a URL of a store.

    The group of the files that holds the data need not be named if it is the root or the only one with data.

    Raises:
        FileRefusedError: there is no such file or store, or it is neither NetCDF nor Zarr.
    """
    if "://" in source:
        return Input("zarr", (source,), group)
    if not Path(source).exists():
        found = sorted(glob.glob(source)) if WILDCARDS & set(source) else []  # noqa: PTH207 (may be absolute)
        if not found:
            raise FileRefusedError(f"{source}: no such file")
        if stores := [path for path in found if Path(path).is_dir()]:
            raise FileRefusedError(f"{stores[0]}: is a folder; a pattern is of NetCDF files")
        if others := [path for path in found if not Path(path).is_file()]:
            raise FileRefusedError(f"{others[0]}: is not a regular file")
        return Input("netcdf", tuple(found), group)
    if Path(source).is_dir():
        if not is_store(source):
            raise FileRefusedError(f"{source}: is a folder without a Zarr store; name its files as '{source}/*.nc'")
        return Input("zarr", (source,), group)
    if not Path(source).is_file():
        raise FileRefusedError(f"{source}: is not a regular file")
    return Input("csv" if _is_csv(source) else "netcdf", (source,), group)


def _is_csv(path: str) -> bool:
    return Path(path).suffix.lower() in CSV_ENDINGS


def format_of(target: str) -> Format:
    """Return the format in which `target` is written, by the ending of its name: Zarr, CSV or else NetCDF.

    A URL is a Zarr store.
    """
    return "zarr" if is_store(target) else "csv" if _is_csv(target) else "netcdf"


def check_target(given: Input, target: str, overwrite: bool) -> None:
    """Check that `target` can be written without losing anything else.

    Raises:
        FileRefusedError: `target` cannot be used; names the path.
    """
    if "://" in target:
        return
    path = Path(target)
    if not path.absolute().parent.is_dir():
        raise FileRefusedError(f"{path.parent}: no such folder")
    if any(path.exists() and path.samefile(p) for p in given.paths if "://" not in p and Path(p).exists()):
        raise FileRefusedError(f"{target}: is the input; it is not overwritten")
    as_store = format_of(target) == "zarr"
    if format_of(target) == "csv" and given.format != "csv":
        raise FileRefusedError(f"{target}: a CSV is written from a CSV only; name a NetCDF file or a Zarr store")
    place = resolve_target(path, folder=as_store)
    if as_store and place.is_dir() and any(place.iterdir()) and not _has_marker(place):
        raise FileRefusedError(f"{target}: is a folder without a Zarr store; it is not replaced")
    if place.exists() and not overwrite:
        raise FileRefusedError(f"{target}: exists; --overwrite replaces it")
