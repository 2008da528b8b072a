"""Headers of NetCDF files as `ncdump` prints them, and files made from such text by `ncgen`."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

PROGRAMS = ("ncdump", "ncgen", "ncrcat", "ncks", "cdo")
needs_programs = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason="needs the packages netcdf-bin, nco and cdo"
)


def run(*command: str | Path, warnings: str = "") -> str:
    """Run a program that must neither fail nor warn of anything but `warnings`, and return what it prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, warnings), done.stderr
    return done.stdout


def make_file(path: Path, text: str) -> Path:
    """Write a NetCDF-4 file from the text that `ncdump` would print of it."""
    path.with_suffix(".cdl").write_text(text, encoding="utf-8")
    run("ncgen", "-4", "-o", path, path.with_suffix(".cdl"))
    return path


def header(path: Path) -> Counter[str]:
    """Return the lines of the header of a file, without those on how the file came about."""
    lines = [line.strip() for line in run("ncdump", "-hs", path).splitlines()[1:]]
    own = ("_NCProperties", "_SuperblockVersion", "_NoFill", "_Storage")
    return Counter(line for line in lines if not any(name in line for name in own))


def changes(before: Path, after: Path) -> tuple[list[str], list[str]]:
    """Return the lines of the header of `before` that are not in that of `after`, and the other way round."""
    old, new = header(before), header(after)
    return sorted((old - new).elements()), sorted((new - old).elements())
