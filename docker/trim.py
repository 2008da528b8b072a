"""Takes out of an installed environment what a server never reads: tests, training's tools, stubs, sources."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

TESTED = ("numpy", "scipy", "pandas", "xarray", "h5py", "h5netcdf", "cftime", "cf_xarray", "pint")
# Training's tools, and the runtime once more as a C library: the Python module holds a copy of its own.
UNUSED = (
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/capi/libonnxruntime.so*",
)
SOURCES = ("*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.hpp", "*.a")


def trim(packages: Path) -> int:
    """Bytes freed under the site-packages folder `packages`."""
    before = size(packages)
    for name in TESTED:
        for folder in sorted((packages / name).rglob("tests"), reverse=True):
            shutil.rmtree(folder)
        for pattern in SOURCES:
            for path in (packages / name).rglob(pattern):
                path.unlink()
    for path in [found for pattern in UNUSED for found in packages.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return before - size(packages)


def size(folder: Path) -> int:
    """Bytes of the files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    (found,) = Path(sys.argv[1]).glob("lib/python3*/site-packages")
    print(f"trimmed {trim(found) / 1e6:.0f} MB of {found}")
