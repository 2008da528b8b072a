"""Each published preset is trained, exported and served by name, and the server fills as the network does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from export.bundle import write_bundle
from hydrofill.cf.dataset import read_dataset
from hydrofill.reconstruct import reconstruct
from model.config import choose_preset
from model.network.predictor import TorchPredictor
from model.run_folder import read_run
from model.training.train import train
from tests.export.conftest import small_basin


@pytest.mark.slow
@pytest.mark.parametrize("name", ["water_fm_small", "plan_a", "crossmae", "crossmae_wfm"])
def test_a_preset_goes_from_training_to_the_server(name: str, tmp_path: Path) -> None:
    preset = choose_preset(name)
    config = preset.updated(training=preset.training.updated(steps=3, batch_size=2))
    for _ in train(small_basin(), tmp_path / "run", config):
        pass
    run = read_run(tmp_path / "run")
    write_bundle(run, tmp_path / "bundle", "1.2.3")
    small_basin().to_netcdf(tmp_path / "gappy.nc", engine="h5netcdf")
    command = [sys.executable, "-m", "app", "fill", "gappy.nc", "filled.nc", "--bundle", "bundle"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    cube = read_dataset(small_basin(), run.layout).cube
    there = reconstruct(cube, run.layout, TorchPredictor(run.network))["precipitation"].mean
    with xr.open_dataset(tmp_path / "filled.nc", engine="h5netcdf") as filled:
        here = filled["precipitation"].values
        gaps = filled["precipitation_flag"].values == 1
    assert gaps.any()
    np.testing.assert_allclose(here[gaps], there[gaps], rtol=1e-3, atol=1e-3)
