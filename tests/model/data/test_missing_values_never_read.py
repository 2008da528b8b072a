"""The number stored in a missing cell is never read: not by statistics, loss or gradients, and not from the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from model.config import MaskingConfig, RunConfig
from model.data.cubes import LoadedCube
from model.data.layout import choose_layout, choose_statistics
from model.data.lazy_cube import read_lazily
from model.data.sources import open_sources
from model.data.windows import Batch, WindowSampler
from model.run_folder import read_run
from model.training.losses import balanced_crps
from model.training.train import train
from tests.model.conftest import untrained

MISSING = 0.6
PLAIN, POISON = np.float32(-9999.0), np.float32(3e33)  # stored in the file where a value is missing
GAPPY = ("precipitation", "pet", "river_flow")


@pytest.fixture
def files(dataset: xr.Dataset, rng: np.random.Generator, tmp_path: Path) -> dict[str, Path]:
    """The same data, 60 % of it missing, stored with two different numbers in the missing cells."""
    for name in GAPPY:
        dataset[name] = dataset[name].where(rng.random(dataset[name].shape) >= MISSING)
    assert all(float(dataset[name].isnull().mean()) > 0.55 for name in GAPPY)
    paths = {}
    for kind, number in (("plain", PLAIN), ("poison", POISON)):
        paths[kind] = tmp_path / f"{kind}.nc"
        encoding = {name: {"_FillValue": number, "dtype": "float32"} for name in GAPPY}
        dataset.to_netcdf(paths[kind], engine="h5netcdf", encoding=encoding)
        with xr.open_dataset(paths[kind], engine="h5netcdf", mask_and_scale=False) as stored:
            assert all((stored[name].values == number).mean() > 0.55 for name in GAPPY)
    return paths


@pytest.mark.slow
def test_runs_are_the_same_to_the_bit_whatever_the_file_holds_in_missing_cells(
    files: dict[str, Path], tiny_run: RunConfig, tmp_path: Path
) -> None:
    config = tiny_run.updated(training=tiny_run.training.updated(steps=6))
    curves = {k: [p.loss for p in train(open_sources([f]), tmp_path / k, config)] for k, f in files.items()}
    assert curves["plain"] == curves["poison"]
    plain, poison = (read_run(tmp_path / kind) for kind in ("plain", "poison"))
    assert plain.layout == poison.layout and plain.skill == poison.skill
    here, there = plain.network.state_dict(), poison.network.state_dict()
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_statistics_of_data_in_blocks_are_the_same_to_the_bit(files: dict[str, Path]) -> None:
    known = []
    for file in files.values():
        cube = read_lazily(open_sources([file])).cube
        known.append(choose_statistics(cube, choose_layout(cube, "m", RunConfig().tokens)))
    for here, there in zip(*known, strict=True):
        np.testing.assert_array_equal(here, there)


def poisoned(batch: Batch) -> Batch:
    """The batch with huge numbers in every number that is marked as not there."""
    tokens, queries = batch.tokens, batch.queries
    huge = np.float32(1e30)
    return replace(
        batch,
        tokens=replace(tokens, values=np.where(tokens.valid, tokens.values, huge)),
        queries=replace(queries, guess=np.where(queries.guessed, queries.guess, huge)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("guesses", [True, False])
def test_loss_and_gradients_are_the_same_to_the_bit_whatever_arrays_hold_in_missing_cells(
    files: dict[str, Path], guesses: bool
) -> None:
    cube = LoadedCube.of(read_dataset(open_sources([files["plain"]])).cube)
    layout = choose_layout(cube, "m", RunConfig().tokens.updated(guesses=guesses))
    network = untrained(layout, cube)
    plain = WindowSampler(cube, layout, MaskingConfig(), batch_size=3, seed=0).batch(0)
    number = len(layout.variables)
    results = []
    for batch in (plain, poisoned(plain)):
        network.zero_grad()
        predicted = network(batch.tokens, batch.queries)
        target, requested = torch.from_numpy(batch.target), torch.from_numpy(batch.queries.variable)
        loss, _ = balanced_crps(predicted, target, requested, network.encoder.embedding.spread[:number, 0], number)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])
    assert len(results[0]) == 1 + len(list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_only_observed_cells_are_visible_and_only_hidden_observed_ones_are_scored(files: dict[str, Path]) -> None:
    cube = LoadedCube.of(read_dataset(open_sources([files["poison"]])).cube)
    layout = choose_layout(cube, "m", RunConfig().tokens.updated(guesses=False))
    sampler = WindowSampler(cube, layout, MaskingConfig(), batch_size=4, seed=0)
    observed = np.concatenate([v.values[v.valid] for v in cube.variables.values()])
    for number in range(4):
        batch = sampler.batch(number)
        assert np.isin(batch.target[~np.isnan(batch.target)], observed).all()
        dynamic = batch.tokens.variable < len(layout.variables)
        seen = batch.tokens.values[batch.tokens.valid & dynamic[..., None]]
        assert np.isin(seen, observed).all()
        assert not ((~np.isnan(batch.target)) & ~batch.queries.requested).any()
