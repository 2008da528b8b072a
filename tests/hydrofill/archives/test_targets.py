"""What a command writes: nothing but files and stores is replaced, and a fill that is ended leaves nothing partial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from hydrofill.archives.fill import PARTS
from hydrofill.cli import cli
from model.__main__ import cli as model_cli
from tests.support.general_run import days


def names_in(folder: Path) -> list[str]:
    """The names in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def archive(steps: int = 12) -> xr.Dataset:
    """A gappy field of 8 x 8 cells."""
    rng = np.random.default_rng(3)
    values = rng.normal(280, 1, (steps, 8, 8)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    axes = {"time": days(steps), "y": np.arange(8) * 1000.0, "x": np.arange(8) * 1000.0}
    return xr.Dataset({"level": (("time", "y", "x"), values, {"units": "K"})}, axes)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """The field as a file."""
    path = tmp_path / "in.nc"
    archive().to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("name", ["out.nc", "out.zarr"])
def test_fill_refuses_a_fifo_and_a_device(name: str, overwrite: tuple[str, ...], given: Path, tmp_path: Path) -> None:
    target = tmp_path / name
    os.mkfifo(target)
    for path in (target, Path("/dev/null")):
        found = CliRunner().invoke(cli, ["fill", str(given), str(path), *overwrite])
        assert found.exit_code == 2 and "it is not replaced" in found.stderr
        assert not path.is_file()


def test_fill_refuses_a_folder_that_is_no_store(given: Path, tmp_path: Path) -> None:
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "letters.txt").write_text("dear")
    found = CliRunner().invoke(cli, ["fill", str(given), str(tmp_path / "out.zarr"), "--overwrite"])
    assert found.exit_code == 2 and "is a folder without a Zarr store" in found.stderr
    assert (tmp_path / "out.zarr" / "letters.txt").exists()


def test_fill_follows_a_link_and_keeps_the_mode(given: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "kept.nc", tmp_path / "link.nc"
    target.write_text("old")
    target.chmod(0o400)
    link.symlink_to(target)
    found = CliRunner().invoke(cli, ["fill", str(given), str(link), "--overwrite"])
    assert found.exit_code == 0, found.output
    assert link.is_symlink() and target.stat().st_mode & 0o777 == 0o400
    with xr.open_dataset(target, engine="h5netcdf") as filled:
        assert not filled["level"].isnull().any()


@pytest.mark.parametrize("command", ["simulate", "withhold"])
def test_the_commands_of_data_refuse_a_device(command: str, given: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.nc"
    target.symlink_to("/dev/null")
    arguments = ["simulate", str(target), "--days", "2"] if command == "simulate" else ["withhold", given, str(target)]
    found = CliRunner().invoke(model_cli, [str(a) for a in arguments])
    assert found.exit_code == 2 and "it is not replaced" in found.stderr
    assert target.is_symlink() and Path("/dev/null").is_char_device()


PAUSE = "writing a block"
# A fill of an archive of several blocks that stops in the midst of writing the first.
FILL = f"""
import sys, time
from hydrofill import blocks
from hydrofill.archives import parts
from hydrofill.cli import main

def stop(*_):
    print({PAUSE!r}, flush=True)
    time.sleep(60)

blocks.BLOCK_VALUES, blocks.MIN_TILE_CELLS, parts._counts = 2000, 4, stop
sys.argv = ["hydrofill", "fill", *sys.argv[1:], "--workers", "1"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_fill_that_is_ended_leaves_whole_blocks_only(number: signal.Signals, tmp_path: Path) -> None:
    archive(120).to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    command = [sys.executable, "-c", FILL, str(tmp_path / "in.nc"), str(tmp_path / "out.nc")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline().strip() == PAUSE
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    assert names_in(tmp_path) == ["in.nc", "out.nc" + PARTS]
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
