"""Removes from an installed environment what a server never reads: tests, tools, stubs, sources and symbol tables."""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

TESTED = (
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "pandas",
    "xarray",
    "h5py",
    "h5netcdf",
    "cftime",
    "cf_xarray",
    "pint",
    "dask",
    "numcodecs",
)
# Training tools, and a second copy of the runtime as a C library; the Python module has its own copy. Tests of pint,
# whose folder has a name of its own. Parts of the compiler, of dask and of numpy that nothing here loads.
UNUSED = (
    "pint/testsuite",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/capi/libonnxruntime.so*",
    "numba/cuda",
    "numba/np/ufunc/tbbpool*.so",
    "numba/np/ufunc/omppool*.so",
    "dask/bag",
    "dask/dataframe",
    "numpy/distutils",
)
# xarray reads classic NetCDF by scipy.io, which loads these parts of scipy alone. None of them needs scipy's copies of
# the libraries of linear algebra and of Fortran.
KEPT_OF_SCIPY = ("_lib", "io", "sparse")
UNUSED_OF_SCIPY = ("scipy/sparse/csgraph", "scipy/sparse/linalg", "scipy.libs")
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
    for path in unused(packages):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in packages.rglob("*.so*"):
        drop_symbols(path)
    return before - size(packages)


def unused(packages: Path) -> list[Path]:
    """Return the files and folders that nothing loads."""
    scipy = [p for p in packages.glob("scipy/*/") if p.is_dir() and p.name not in KEPT_OF_SCIPY]
    return scipy + [found for pattern in UNUSED + UNUSED_OF_SCIPY for found in packages.glob(pattern)]


def drop_symbols(library: Path) -> None:
    """Cut off what follows the loaded parts of a shared library: symbol tables for debuggers, and the list of sections.

    Only 64-bit little-endian ELF files are cut. Source: System V ABI, chapter 4 (object files).
    """
    content = library.read_bytes()
    if content[:6] != b"\x7fELF\x02\x01":
        return
    (headers,), (length, number) = struct.unpack_from("<Q", content, 32), struct.unpack_from("<HH", content, 54)
    ends = []
    for at in range(headers, headers + length * number, length):
        offset, filled = struct.unpack_from("<Q", content, at + 8)[0], struct.unpack_from("<Q", content, at + 32)[0]
        ends.append(offset + filled)
    kept = bytearray(content[: max(ends)])
    struct.pack_into("<Q", kept, 40, 0)  # no list of sections
    struct.pack_into("<HH", kept, 60, 0, 0)
    library.write_bytes(kept)


def size(folder: Path) -> int:
    """Return the bytes of all files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    (found,) = Path(sys.argv[1]).glob("lib/python3*/site-packages")
    print(f"trimmed {trim(found) / 1e6:.0f} MB of {found}")
