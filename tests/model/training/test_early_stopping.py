"""A training stops when the held-out loss stops improving, and keeps the weights of its best check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from model.config import RunConfig
from model.data.cubes import LoadedCube
from model.run_folder import read_run
from model.training import early_stopping as stopping
from model.training.early_stopping import Checks, held_out_batches
from model.training.train import train


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "MIN_STEPS_BETWEEN", 2)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture's record is short."""
    monkeypatch.setattr(stopping, "MIN_STEPS", 4)


def hopeless(plain_run: RunConfig, **settings: float) -> RunConfig:
    """Return settings with so small a learning rate that nothing improves."""
    training = plain_run.training.updated(steps=40, learning_rate=1e-7, warmup=0.0, ema_decay=0.0, held_out=0.3)
    return plain_run.updated(training=training.updated(**settings))


def test_patience_is_a_share_of_the_budget() -> None:
    checks = Checks()
    assert checks.add(1.0, 0.1, 10) and not checks.add(1.0, 0.3, 30) and not checks.add(0.9999, 0.4, 40)
    assert checks.exhausted(0.3) and not checks.exhausted(0.31)
    assert checks.add(0.9, 0.5, 50) and not checks.exhausted(0.1)


def test_checks_are_spaced_in_budget_and_steps() -> None:
    checks = Checks(share=0.2, step=100)
    assert checks.due(0.26, 125)
    assert not checks.due(0.24, 125)
    assert not checks.due(0.26, 124)


def test_a_loss_that_is_no_number_is_no_best() -> None:
    assert not Checks().add(float("nan"), 0.1, 1)


def test_held_out_batches_score_held_out_steps_alone(water: WaterCube, layout: Layout, plain_run: RunConfig) -> None:
    held = np.zeros(20, bool)
    held[12:16] = True
    marked = {
        n: np.where(v.valid, np.where(held.reshape(-1, *[1] * (v.values.ndim - 1)), 2, 1), v.values).astype(np.float32)
        for n, v in water.of_kind("grid", "series").items()
    }
    batches = held_out_batches(LoadedCube.of(water.with_values(marked)), held, layout, plain_run, 0)
    assert len(batches) == stopping.BATCHES
    for batch in batches:
        scored = batch.target[~np.isnan(batch.target)]
        assert len(scored) and (scored == 2).all()


@pytest.mark.slow
def test_there_is_nothing_to_stop_by_without_held_out_values(
    water: WaterCube, layout: Layout, plain_run: RunConfig
) -> None:
    held, cube = np.zeros(20, bool), LoadedCube.of(water)
    assert held_out_batches(cube, held, layout, plain_run, 0) == []
    held[:4] = True
    assert held_out_batches(cube.without_steps(held), held, layout, plain_run, 0) == []
    assert held_out_batches(cube, held, layout, plain_run, 0) != []
    held[3] = False  # too few steps: their loss is mostly chance
    assert held_out_batches(cube, held, layout, plain_run, 0) == []
    held[3] = True
    patient = plain_run.updated(training=plain_run.training.updated(patience=1.0))
    assert held_out_batches(cube, held, layout, patient, 0) == []


@pytest.mark.slow
@pytest.mark.usefixtures("often")
def test_a_training_without_improvement_stops_and_keeps_its_best(
    dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path
) -> None:
    steps = [p.step for p in train(dataset, tmp_path / "run", hopeless(plain_run, patience=0.3))]
    assert steps[-1] < 40
    last, kept = load_file(tmp_path / "run" / "state.safetensors"), read_run(tmp_path / "run").network.state_dict()
    assert all(torch.equal(kept[name], last[f"best.{name}"]) for name in kept)
    assert any(not torch.equal(kept[name], last[f"average.module.{name}"]) for name in kept)


@pytest.mark.slow
@pytest.mark.usefixtures("often")
def test_stopping_is_resumed_exactly(dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path) -> None:
    config = hopeless(plain_run, patience=0.3)
    whole = [(p.step, p.loss) for p in train(dataset, tmp_path / "whole", config)]
    parts = []
    for progress in train(dataset, tmp_path / "parts", config):
        parts.append((progress.step, progress.loss))
        if progress.step == 11:
            break
    parts += [(p.step, p.loss) for p in train(dataset, tmp_path / "parts", config, resume=True)]
    assert parts == whole
    assert (tmp_path / "parts" / "weights.safetensors").read_bytes() == (
        tmp_path / "whole" / "weights.safetensors"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("often")
def test_a_stopped_training_stays_stopped(dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path) -> None:
    config = hopeless(plain_run, patience=0.3)
    list(train(dataset, tmp_path / "run", config))
    assert list(train(dataset, tmp_path / "run", config, resume=True)) == []


@pytest.mark.slow
@pytest.mark.usefixtures("often")
def test_patience_of_the_whole_budget_never_stops(dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path) -> None:
    assert len(list(train(dataset, tmp_path / "run", hopeless(plain_run, patience=1.0)))) == 40
