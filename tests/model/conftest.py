"""A network small enough to run in every test."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from model.config import MaskingConfig, NetworkConfig, RunConfig, TrainingConfig
from model.data.cubes import LoadedCube
from model.data.layout import choose_statistics
from model.network.mae import CrossMAE
from model.training.train import train
from tests.conftest import SEED, small_basin

TINY = NetworkConfig(embed_dim=16, depth=2, num_heads=2, decoder_dim=8, decoder_depth=2, decoder_num_heads=1)


@pytest.fixture
def water(dataset: xr.Dataset, layout: Layout) -> WaterCube:
    return read_dataset(dataset, layout).cube


def untrained(layout: Layout, water: WaterCube, config: NetworkConfig = TINY) -> CrossMAE:
    """Return an untrained network with the statistics of `water`, always the same."""
    torch.manual_seed(0)
    network = CrossMAE(layout, config)
    network.set_statistics(choose_statistics(LoadedCube.of(water), layout))
    return network.eval()


@pytest.fixture
def network(water: WaterCube, layout: Layout) -> CrossMAE:
    return untrained(layout, water)


TINY_RUN = RunConfig(
    network=TINY,
    masking=MaskingConfig(kept_mask_ratio=1.0),
    training=TrainingConfig(steps=12, minutes=5, batch_size=2, held_out=0.2, learning_rate=3e-3),
)


@pytest.fixture
def tiny_run() -> RunConfig:
    return TINY_RUN


@pytest.fixture
def plain_run() -> RunConfig:
    """The same without first guesses, which take most of a short training's time."""
    return TINY_RUN.updated(tokens=TINY_RUN.tokens.updated(guesses=False))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run of TINY_RUN on the small basin, for tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    for _ in train(small_basin(np.random.default_rng(SEED)), folder, TINY_RUN):
        pass
    return folder


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, for tests that change or continue it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
