"""Pretraining makes its records once, goes on where it stopped, and leaves a run that exports and tunes read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from hydrofill.general.guesses import GENERAL_GUESSES
from hydrofill.layout import GENERAL
from model.__main__ import cli
from model.config import ConfigError, NetworkConfig, TrainingConfig
from model.network.mae import CrossMAE
from model.pretraining import pretrain as pretraining
from model.pretraining.config import PretrainingConfig, read_pretraining
from model.pretraining.pretrain import LOG, RECORDS, cell_loss, pretrain, start_pretraining
from model.pretraining.record_store import PretrainingWindows, RecordStore
from model.pretraining.records import PretrainingRecord
from model.run_folder import RunError, read_run
from tests.support.general_run import days, smooth_field

TINY = NetworkConfig(embed_dim=16, depth=1, num_heads=1, decoder_dim=16, decoder_depth=1, decoder_num_heads=1)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PretrainingConfig:
    """Settings for four small records of one file of waves, and of its masks."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    place = {"y": ("y", np.arange(20.0), {"units": "m"}), "x": ("x", np.arange(20.0), {"units": "m"})}
    field = (("time", "y", "x"), smooth_field(rng, (30, 20, 20)), {"units": "degC"})
    attributes = {"attribution": "Nobody", "license": "CC0-1.0"}
    waves = xr.Dataset({"sst": field}, {"time": days(30), **place}, attributes)
    waves.to_netcdf(folder / "waves.nc", engine="h5netcdf")
    masks = xr.Dataset({"cloud": (("step", "row", "column"), (rng.random((4, 9, 9)) < 0.3).astype(np.int8))})
    masks.to_netcdf(folder / "masks.nc", engine="h5netcdf")
    training = TrainingConfig(batch_size=2, steps=3, minutes=60.0)
    return PretrainingConfig(
        data=folder, records=4, record_values=3000, real_share=1.0, held_out=0.25, network=TINY, training=training
    )


@pytest.fixture(scope="module")
def store(config: PretrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> RecordStore:
    """The records, made in this process."""
    store = RecordStore(tmp_path_factory.mktemp("records"), config)
    store.make(1)
    return store


@pytest.fixture
def folder(config: PretrainingConfig, store: RecordStore, tmp_path: Path) -> Path:
    """A new run that has the records already."""
    start_pretraining(tmp_path / "run", config)
    (tmp_path / "run" / RECORDS).symlink_to(store.folder)
    return tmp_path / "run"


@pytest.mark.slow
def test_records_are_made_once_and_the_same_again(store: RecordStore, tmp_path: Path) -> None:
    kept = {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    calls: list[tuple[int, int]] = []
    store.make(1, lambda done, of: calls.append((done, of)))
    assert {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()} == kept
    assert calls == []
    again = RecordStore(tmp_path, store.config.updated(records=1))
    again.make(1)
    first, second = (PretrainingRecord.load(s.path(0)) for s in (store, again))
    assert first.layout == second.layout
    for name, made in first.guesses.items():
        np.testing.assert_array_equal(made.values, second.guesses[name].values)
        assert made.values.shape[-1] == len(GENERAL_GUESSES)


@pytest.mark.slow
def test_windows_are_never_of_records_that_are_held_out(store: RecordStore) -> None:
    trained, held_out = store.numbers
    assert trained and held_out and not set(trained) & set(held_out)
    values = {n: set(PretrainingRecord.load(store.path(n)).context.center[0].tolist()) for n in (*trained, *held_out)}
    stream = iter(PretrainingWindows(store, 0))
    seen = {float(c) for _ in range(12) for c in next(stream).context.center[..., 0].ravel() if c != 0}
    assert seen <= set().union(*(values[n] for n in trained))
    assert not seen & (set().union(*(values[n] for n in held_out)) - set().union(*(values[n] for n in trained)))


@pytest.mark.slow
def test_a_pretraining_that_stopped_goes_on_and_leaves_a_run(
    folder: Path, config: PretrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "STEPS_PER_SAVE", 1)
    first = next(pretrain(folder, config, resume=False, workers=0))
    assert first.step == 1 and first.check is not None
    rest = list(pretrain(folder, config, resume=True, workers=0))
    assert next(progress.step for progress in rest) == 2 and rest[-1].step == config.training.steps
    head, *rows = (folder / LOG).read_text().splitlines()
    assert head.split(",")[0] == "step" and rows[0].startswith("1,") and rows[-1].startswith("3,")
    run = read_run(folder)
    assert run.layout.general and run.data.frames == config.records
    assert "Nobody" in run.data.source and "CC0" in run.data.licence


@pytest.mark.slow
def test_steps_lower_the_loss_of_a_batch(folder: Path, config: PretrainingConfig, store: RecordStore) -> None:
    batch = next(iter(PretrainingWindows(store, 0)))
    run_config = config.updated(training=config.training.updated(steps=60, learning_rate=3e-3))
    before = float(cell_loss(CrossMAE(GENERAL, TINY), batch).detach())
    torch.manual_seed(0)
    list(pretrain(folder, run_config, resume=False, workers=0))
    assert float(cell_loss(read_run(folder).network, batch).detach()) < before


def test_a_folder_is_not_pretrained_twice_and_needs_records(folder: Path, config: PretrainingConfig) -> None:
    with pytest.raises(RunError, match="already holds a run"):
        start_pretraining(folder, config)
    (folder / RECORDS).unlink()
    with pytest.raises(RunError, match="no records"):
        next(pretrain(folder, config, resume=False, workers=0))


def test_settings_are_read_from_a_file_and_wrong_ones_are_named(config: PretrainingConfig, tmp_path: Path) -> None:
    path = tmp_path / "general.yaml"
    path.write_text(config.to_yaml())
    assert read_pretraining(path) == config
    path.write_text("data: here\nnetwork: {embed_dim: 64, num_heads: 2}\n")
    read = read_pretraining(path)
    assert read.data == (tmp_path / "here").resolve() and read.network.embed_dim == 64
    for text, word in (
        ("data: here\nrecrods: 3\n", "recrods"),
        ("- 1\n", "mapping"),
        ("data: here\nrecords: 0\n", "records"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=word):
            read_pretraining(path)


def test_the_command_refuses_bad_settings_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["pretrain", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "none.yaml" in result.stderr and result.stderr.count("\n") == 1
