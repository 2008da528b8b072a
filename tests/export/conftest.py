"""One small network exported once for all tests of the graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from export.bundle import write_bundle
from hydrofill.bundle import Bundle
from model.config import NetworkConfig, RunConfig, TrainingConfig
from model.run_folder import Run, read_run
from model.training.train import train

TINY = NetworkConfig(embed_dim=16, depth=2, num_heads=2, decoder_dim=8, decoder_depth=1, decoder_num_heads=1)


def small_basin() -> xr.Dataset:
    """24 days of rain on 5 x 4 cells with two gauges and a static field."""
    rng = np.random.default_rng(1)
    time = np.datetime64("2012-08-01", "ns") + np.arange(24) * np.timedelta64(1, "D")
    rain = np.maximum(rng.normal(0, 3, (24, 5, 4)), 0).astype(np.float32)
    rain[rng.random(rain.shape) < 0.3] = np.nan
    return xr.Dataset(
        {
            "precipitation": (("time", "y", "x"), rain, {"units": "mm day-1"}),
            "river_flow": (("time", "site"), rng.gamma(2, 2, (24, 2)).astype(np.float32), {"units": "m3 s-1"}),
            "slope": (("y", "x"), rng.random((5, 4)).astype(np.float32), {"units": "1"}),
        },
        {
            "time": time,
            "y": np.arange(5) * 1000.0,
            "x": np.arange(4) * 1000.0,
            "site_y": ("site", [0.0, 3000.0]),
            "site_x": ("site", [1000.0, 2000.0]),
        },
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = RunConfig(network=TINY, training=TrainingConfig(steps=5, batch_size=2))
    for _ in train(small_basin(), folder, config):
        pass
    return read_run(folder)


@pytest.fixture(scope="session")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return write_bundle(run, folder, "1.2.3"), folder
