"""A run learns, continues exactly where it stopped, and is read back whole."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from model.config import RunConfig
from model.run_folder import RunError, read_run
from model.training.optimiser import schedule
from model.training.train import DivergedError, train


def losses(folder: Path, dataset: xr.Dataset, config: RunConfig, resume: bool = False) -> list[float]:
    return [p.loss for p in train(dataset, folder, config, resume)]


@pytest.mark.slow
def test_a_run_leaves_all_that_an_export_needs(trained: Path, tiny_run: RunConfig) -> None:
    run = read_run(trained)
    assert run.config == tiny_run
    assert run.data.title == "a small basin" and run.data.frames == 20
    assert {(s.variable, s.gap) for s in run.skill} >= {("pet", "clouds"), ("precipitation", "frames")}
    assert all(s.cells > 0 and s.rmse >= 0 and 0 <= s.coverage90 <= 1 for s in run.skill)
    with (trained / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [10] and float(rows[0]["loss"]) > 0


@pytest.mark.slow
def test_the_loss_falls(dataset: xr.Dataset, tiny_run: RunConfig, tmp_path: Path) -> None:
    longer = tiny_run.updated(
        tokens=tiny_run.tokens.updated(guesses=False),  # with guesses it starts low
        training=tiny_run.training.updated(steps=160, batch_size=4, learning_rate=3e-3),
    )
    found = losses(tmp_path / "run", dataset, longer)
    assert found[-1] < 0.9 * np.mean(found[:10])


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(
    dataset: xr.Dataset, trained: Path, tiny_run: RunConfig, tmp_path: Path
) -> None:
    for progress in train(dataset, tmp_path / "parts", tiny_run):
        if progress.step == 7:
            break  # closes the generator in the middle of its loop, as an interruption does
    losses(tmp_path / "parts", dataset, tiny_run, resume=True)
    here, there = (read_run(folder).network.state_dict() for folder in (trained, tmp_path / "parts"))
    for name, value in here.items():
        torch.testing.assert_close(value, there[name], rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_values_of_missing_and_held_out_cells_do_not_matter(
    dataset: xr.Dataset, trained: Path, tiny_run: RunConfig, tmp_path: Path
) -> None:
    case = dataset.assign(pet_truth=dataset.pet * 1e9, pet_gap=dataset.pet.isnull().astype("int8"))
    losses(tmp_path / "case", case, tiny_run)
    here, there = (read_run(folder).network.state_dict() for folder in (trained, tmp_path / "case"))
    assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.slow
def test_a_run_is_not_overwritten(dataset: xr.Dataset, tiny_run: RunConfig, run_copy: Path) -> None:
    with pytest.raises(RunError, match="already holds a run"):
        losses(run_copy, dataset, tiny_run)


def test_resuming_nothing_is_refused(dataset: xr.Dataset, tiny_run: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        losses(tmp_path / "none", dataset, tiny_run, resume=True)


@pytest.mark.slow
def test_resuming_without_a_state_is_refused(dataset: xr.Dataset, tiny_run: RunConfig, run_copy: Path) -> None:
    (run_copy / "state.safetensors").unlink()
    with pytest.raises(RunError, match="cannot be resumed"):
        losses(run_copy, dataset, tiny_run, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["weights.safetensors", "layout.json", "data.json", "config.yaml"])
def test_a_run_with_a_part_missing_or_broken_is_refused(run_copy: Path, part: str) -> None:
    (run_copy / part).write_bytes(b"\x00junk")
    with pytest.raises(RunError, match="run"):
        read_run(run_copy)
    (run_copy / part).unlink()
    with pytest.raises(RunError, match="run"):
        read_run(run_copy)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(dataset: xr.Dataset, tiny_run: RunConfig, tmp_path: Path) -> None:
    wild = tiny_run.updated(training=tiny_run.training.updated(learning_rate=1e20, warmup=0.0))
    with pytest.raises(DivergedError, match=r"the loss is .* at step"):
        losses(tmp_path / "run", dataset, wild)


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [schedule(share, 0.1) for share in np.linspace(0, 1, 201)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1, abs=0.01) and 18 <= top <= 22
    assert all(np.diff(rates[:top]) > 0) and all(np.diff(rates[top + 1 :]) < 0)
    assert rates[-1] == pytest.approx(0.01)
