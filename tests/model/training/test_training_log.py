"""log.csv continues where a training was interrupted; TensorBoard files are written where requested and possible."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import pytest
import xarray as xr

from model.config import ConfigError, RunConfig
from model.training.train import train
from model.training.training_log import Log


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_line_is_written_every_ten_steps(tmp_path: Path) -> None:
    log = Log(tmp_path, ["rain"], 0, [])
    for step in range(1, 31):
        log.add(step, step / 2, [2.0, math.nan], 1e-3)
    log.close()
    assert [r["step"] for r in rows(tmp_path)] == ["10", "20", "30"]
    assert rows(tmp_path)[0] == {
        "step": "10", "seconds": "5.0", "learning_rate": "0.001", "loss": "2", "rain": "nan", "held_out": "nan",
    }  # fmt: skip


def test_lines_beyond_the_state_are_dropped(tmp_path: Path) -> None:
    log = Log(tmp_path, ["rain"], 0, [])
    for step in range(1, 31):
        log.add(step, 1.0, [2.0, 2.0], 1e-3)
    log.close()
    Log(tmp_path, ["rain"], 20, [2.0, 2.0]).close()
    assert [r["step"] for r in rows(tmp_path)] == ["10", "20"]


@pytest.mark.slow
def test_a_resumed_log_is_the_uninterrupted_one(dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path) -> None:
    config = plain_run.updated(training=plain_run.training.updated(steps=22))
    whole = [p.loss for p in train(dataset, tmp_path / "whole", config)]
    parts = []
    for progress in train(dataset, tmp_path / "parts", config):
        parts.append(progress.loss)
        if progress.step == 13:
            break
    parts += [p.loss for p in train(dataset, tmp_path / "parts", config, resume=True)]
    assert parts == whole
    here, there = ([{**r, "seconds": ""} for r in rows(tmp_path / n)] for n in ("whole", "parts"))
    assert here == there and len(here) == 2


def test_tensorboard_that_is_not_there_is_refused_before_anything_is_written(
    dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    requested = plain_run.updated(training=plain_run.training.updated(tensorboard=True))
    with pytest.raises(ConfigError, match="tensorboard is not installed: pip install"):
        list(train(dataset, tmp_path / "run", requested))
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")  # of a package that is not ours
def test_tensorboard_is_written_where_requested(dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    requested = plain_run.updated(training=plain_run.training.updated(tensorboard=True))
    list(train(dataset, tmp_path / "run", requested))
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
