"""Removes from an installed environment what a server never reads: tests, training tools, stubs and sources."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

TESTED = ("numpy", "scipy", "pandas", "xarray", "h5py", "h5netcdf", "cftime", "cf_xarray", "pint")
# Training tools, and a second copy of the runtime as a C library; the Python module has its own copy. Tests of pint,
# whose folder has a name of its own.
UNUSED = (
    "pint/testsuite",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/capi/libonnxruntime.so*",
)
# rich highlights Python alone; the other lexers of pygments are never loaded.
LEXERS, KEPT_LEXERS = "pygments/lexers/*.py", ("__init__.py", "_mapping.py", "python.py")
SOURCES = ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.hpp", "*.a")


def trim(packages: Path) -> int:
    """Remove the files under the site-packages folder `packages`; return the bytes freed."""
    before = size(packages)
    for name in TESTED:
        for folder in sorted((packages / name).rglob("tests"), reverse=True):
            shutil.rmtree(folder)
        for pattern in SOURCES:
            for path in (packages / name).rglob(pattern):
                path.unlink()
    for path in packages.glob(LEXERS):
        if path.name not in KEPT_LEXERS:
            path.unlink()
    for path in [found for pattern in UNUSED for found in packages.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return before - size(packages)


def size(folder: Path) -> int:
    """Return the bytes of all files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    (found,) = Path(sys.argv[1]).glob("lib/python3*/site-packages")
    print(f"trimmed {trim(found) / 1e6:.0f} MB of {found}")
