"""A disk that is full ends a write with an error that says so, and leaves the old file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Writes about 3 MB where a file may have 200 kB, which the system reports like a full disk.
WRITER = """
import resource, sys
import numpy as np, xarray as xr
from hydrofill.archives.output import write_dataset
values = np.random.default_rng(0).random((400, 1000))
dataset = xr.Dataset({"level": (("time", "x"), values)}).chunk({"time": 50})
dataset["level"].encoding = {"chunksizes": (50, 1000)} if sys.argv[1].endswith(".nc") else {"chunks": (50, 1000)}
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    write_dataset(dataset, sys.argv[1])
except OSError as error:
    print(error)
"""


def names_in(folder: Path) -> list[str]:
    """The names in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["filled.nc", "filled.zarr"])
def test_a_full_disk_is_reported_and_the_old_output_stays(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    old = target
    if name.endswith(".zarr"):
        target.mkdir()
        old = target / "zarr.json"
    old.write_text("old")
    command = [sys.executable, "-W", "ignore", "-c", WRITER, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == f"[Errno 27] File too large: '{target}'"
    assert old.read_text() == "old" and names_in(tmp_path) == [name]
