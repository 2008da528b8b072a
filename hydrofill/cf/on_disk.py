"""Write NetCDF-4 (HDF5) files on disks that may be full: HDF5 ends the process where a write fails."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast


class DiskFile(io.FileIO):
    """A file that keeps the first error of its writes, so that HDF5 sees none, and writes nothing more after it."""

    error: OSError | None = None

    def write(self, content: object, /) -> int:
        """Write all of `content`, unless an earlier write has failed; return its length."""
        view = memoryview(cast(bytes, content)).cast("B")
        size = len(view)
        try:
            while self.error is None and view:
                view = view[super().write(view) or 0 :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length of the file, unless an earlier write has failed; return the length."""
        try:
            return super().truncate(size) if self.error is None else size or 0
        except OSError as error:
            self.error = error
        return size or 0

    def check(self, *_: object) -> None:
        """Raise the first error, if there was one."""
        if self.error is not None:
            raise self.error


@contextmanager
def hdf5_on_disk(path: Path, mode: Literal["w+", "r+"] = "w+") -> Iterator[DiskFile]:
    """Open a file for libraries that write HDF5.

    Raises:
        OSError: the file cannot be opened or, at the end, could not be written.
    """
    with DiskFile(path, mode) as file:
        yield file
        file.check()
