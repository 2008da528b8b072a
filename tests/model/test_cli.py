"""`python -m model`: each command does its work, or fails with one clear line and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from hydrofill.bundle import shipped_bundles
from model.__main__ import cli

FEW_STEPS = """
network: {embed_dim: 16, depth: 1, num_heads: 1, decoder_dim: 8, decoder_depth: 1, decoder_num_heads: 1}
training: {steps: 3, batch_size: 2}
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(w) for w in words])


def refused(result: Result) -> str:
    """Return the one line that a refused command prints."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    return lines[0]


@pytest.fixture
def file(dataset: xr.Dataset, tmp_path: Path) -> Path:
    dataset.to_netcdf(tmp_path / "data.nc", engine="h5netcdf")
    return tmp_path / "data.nc"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "few.yaml").write_text(FEW_STEPS)
    return tmp_path / "few.yaml"


@pytest.mark.parametrize("command", [[], ["data"], ["withhold"], ["score"], ["train"], ["evaluate"]])
def test_every_command_helps(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_withhold_and_score_agree_that_a_copy_of_the_truth_is_perfect(file: Path, tmp_path: Path) -> None:
    assert run("withhold", file, tmp_path / "case.nc", "--seed", 3).exit_code == 0
    with xr.open_dataset(tmp_path / "case.nc", engine="h5netcdf") as case:
        perfect = case.load().copy()
    for name in ("precipitation", "pet", "river_flow"):
        perfect[name] = perfect[f"{name}_truth"]
    perfect.to_netcdf(tmp_path / "filled.nc", engine="h5netcdf")
    result = run("score", tmp_path / "case.nc", tmp_path / "filled.nc")
    assert result.exit_code == 0
    rows = [[part.strip() for part in line.split("│")] for line in result.output.splitlines() if " cloud " in line]
    assert [row[1] for row in rows] == ["precipitation", "pet"]
    assert all(int(row[3]) > 0 and row[4] == "0" and float(row[6]) > 0 for row in rows)
    assert "pet: 0 observed values changed, 0 withheld cells left unfilled" in result.output


@pytest.mark.slow
def test_training_goes_from_file_to_run_and_evaluation(file: Path, config: Path, tmp_path: Path) -> None:
    trained = run("train", file, "--out", tmp_path / "run", "--config", config)
    assert trained.exit_code == 0, trained.output
    assert "next: python -m export" in trained.output
    assert "warning: only 3 steps were trained" in trained.output
    evaluated = run("evaluate", tmp_path / "run", file, "--json")
    assert evaluated.exit_code == 0, evaluated.output
    rows = json.loads(evaluated.output[evaluated.output.index("[") :])
    assert {r["variable"] for r in rows} == {"precipitation", "pet", "river_flow"}
    assert all(np.isfinite(r["rmse"]) for r in rows)


@pytest.mark.slow
def test_a_bundle_is_evaluated_as_a_run_is(file: Path) -> None:
    evaluated = run("evaluate", shipped_bundles() / "lez-daily", file, "--baselines", "cell_mean", "--json")
    assert evaluated.exit_code == 0, evaluated.output
    rows = json.loads(evaluated.output[evaluated.output.index("[") :])
    assert {r["variable"] for r in rows} == {"precipitation", "pet", "river_flow"}
    assert all(np.isfinite([r["rmse"], r["crps"], r["baselines"]["cell_mean"]["rmse"]]).all() for r in rows)


@pytest.mark.slow
def test_several_files_and_a_zarr_store_train_as_one(dataset: xr.Dataset, config: Path, tmp_path: Path) -> None:
    dataset.isel(time=slice(0, 8)).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    dataset.isel(time=slice(8, 12)).to_netcdf(tmp_path / "b.nc", engine="scipy", format="NETCDF3_CLASSIC")
    dataset.isel(time=slice(12, 20)).to_zarr(tmp_path / "c.zarr", zarr_format=2)
    parts = [tmp_path / name for name in ("b.nc", "c.zarr", "a.nc")]
    result = run("train", *parts, "--out", tmp_path / "run", "--config", config)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "data.json").read_text())["frames"] == 20


@pytest.mark.slow
def test_resume_continues_a_finished_budget(file: Path, config: Path, tmp_path: Path) -> None:
    assert run("train", file, "--out", tmp_path / "run", "--config", config).exit_code == 0
    assert run("train", file, "--out", tmp_path / "run", "--resume").exit_code == 0


def test_data_of_no_known_sample_is_refused(tmp_path: Path) -> None:
    assert "no sample is called 'rhine'; there are lez, cance" in refused(run("data", "rhine", tmp_path / "x.nc"))


def test_files_that_cannot_be_read_are_refused_by_name(file: Path, tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("not a NetCDF file")
    for command in (
        ["train", tmp_path / "none.nc", "--out", tmp_path / "run"],
        ["withhold", tmp_path / "none.nc", tmp_path / "x.nc"],
        ["score", tmp_path / "none.nc", file],
    ):
        assert "none.nc: no such file" in refused(run(*command))
    assert "text.nc: the content is not NetCDF" in refused(
        run("train", tmp_path / "text.nc", "--out", tmp_path / "run")
    )


@pytest.mark.slow
def test_bad_settings_and_runs_are_refused_in_one_line(file: Path, config: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("training: {epochs: 3}")
    assert "unknown key 'epochs'" in refused(
        run("train", file, "--out", tmp_path / "run", "--config", tmp_path / "bad.yaml")
    )
    assert "is not a finished run" in refused(run("evaluate", tmp_path / "none", file))
    assert "cannot be read as YAML" in refused(run("train", file, "--out", tmp_path / "none", "--resume"))
    assert run("train", file, "--out", tmp_path / "run", "--config", config).exit_code == 0
    assert "already holds a run" in refused(run("train", file, "--out", tmp_path / "run", "--config", config))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("training: {epochs: 3}", "in training: unknown key 'epochs'"),
        ("optimiser: {name: adam}", "unknown part ['optimiser']"),
        ("network: {embed_dim: 100, num_heads: 3}", "embed_dim 100 is not a multiple of num_heads 3"),
        ("network: {decoder_dim: 100, decoder_num_heads: 3}", "decoder_dim 100 is not a multiple"),
        ("tokens: {window_steps: 500}", "window steps are more than the data holds (got 500; expected 20)"),
        ("tokens: {window_rows: 70}", "window rows are more than the data holds"),
        ("training: {precision: half}", "precision must be 'auto', '32' or 'bf16', got 'half'"),
        ("training: {devices: 3}", "batch_size 4 is not a multiple of devices 3"),
        ("training: {patience: 0}", "patience must be above 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(file: Path, tmp_path: Path, settings: str, says: str) -> None:
    (tmp_path / "bad.yaml").write_text(settings)
    message = refused(run("train", file, "--out", tmp_path / "run", "--config", tmp_path / "bad.yaml"))
    assert message.startswith("error: ") and says in message


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training_in_one_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "wild.yaml").write_text("training: {learning_rate: 1.0e+20, warmup: 0, steps: 50, batch_size: 2}")
    result = run("train", file, "--out", tmp_path / "run", "--config", tmp_path / "wild.yaml")
    assert result.exit_code == 2
    *bar, message = result.output.splitlines()
    assert message == "error: the loss is nan at step 1; try a lower learning_rate"
    choices = ("variables: ", "static: ", "windows: ", "patches: ", "network: ", "guesses: ", "hidden ")
    assert all(line.startswith(("step ", *choices)) for line in bar)


def test_data_that_do_not_fit_are_refused_in_one_line(dataset: xr.Dataset, file: Path, tmp_path: Path) -> None:
    dataset.assign(pet=dataset.pet * np.nan).to_netcdf(tmp_path / "void.nc", engine="h5netcdf")
    assert "pet: has no value at any time" in refused(run("train", tmp_path / "void.nc", "--out", tmp_path / "run"))
    dataset[["slope"]].to_netcdf(tmp_path / "still.nc", engine="h5netcdf")
    assert "time" in refused(run("train", tmp_path / "still.nc", "--out", tmp_path / "run"))
    assert run("withhold", file, tmp_path / "case.nc").exit_code == 0
    assert "is a case already" in refused(run("withhold", tmp_path / "case.nc", tmp_path / "again.nc"))
    assert "error: " in refused(run("score", file, file))


def test_simulate_writes_a_water_cycle_and_reports_its_balance(tmp_path: Path) -> None:
    result = run("simulate", tmp_path / "water.nc", "--days", 20, "--seed", 4, "--gaps")
    assert result.exit_code == 0, result.output
    assert "water balance of the land closes to" in result.output
    with xr.open_dataset(tmp_path / "water.nc", engine="h5netcdf") as water:
        assert {"precipitation", "soil_moisture", "temperature", "evaporation", "river_flow"} <= set(water.data_vars)
        assert water.sizes["time"] == 20


def test_simulate_refuses_what_it_cannot_make(tmp_path: Path) -> None:
    assert "no preset is called 'moon'" in refused(run("simulate", tmp_path / "x.nc", "--preset", "moon"))
    assert "must end in .nc or .zarr" in refused(run("simulate", tmp_path / "x.txt", "--days", 3))
