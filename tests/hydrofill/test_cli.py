"""The command `hydrofill`: each command loads only what it needs, and says in one line what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest
from typer.testing import CliRunner

from hydrofill import cli as command_line
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.cli import cli
from tests.support.servers import SAMPLE

COMMANDS = (
    "fill",
    "inspect",
    "serve",
    "tune",
    "pretrain",
    "train",
    "evaluate",
    "export",
    "data",
    "simulate",
    "withhold",
    "score",
    "demo",
    "key",
)
HEAVY = ("numpy", "xarray", "onnxruntime", "torch", "fastapi", "rich.table")
# Runs the command in a fresh process, and prints which heavy modules it loaded.
LOADED = """
import json, sys
sys.argv = ["hydrofill", *json.loads(sys.argv[1])]
from hydrofill.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps({"code": code, "loaded": sorted(set(json.loads(sys.stdin.read())) & set(sys.modules))}))
"""


def loaded_by(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Exit code of `hydrofill ...`, and the heavy modules that it loaded."""
    command = [sys.executable, "-c", LOADED, json.dumps(list(arguments))]
    done = subprocess.run(command, input=json.dumps(HEAVY), capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["code"], found["loaded"]


def test_help_names_every_command_and_loads_no_library_of_data() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    for name in COMMANDS:
        assert any(line.split()[:1] == [name] for line in result.stdout.splitlines()), name
    assert loaded_by(["--help"]) == (0, [])


@pytest.mark.parametrize("arguments", [("fill", "none.nc", "out.nc"), ("inspect", "none.nc")])
def test_a_file_that_is_not_there_is_refused_before_libraries_load(arguments: tuple[str, ...]) -> None:
    assert loaded_by(arguments) == (2, [])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"], prog_name="hydrofill")
    assert result.exit_code == 0
    assert f"hydrofill {name}" in result.stdout


def test_arguments_are_handed_on_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(cli, ["serve", "--port", "9000", "--print-config"])
    assert result.exit_code == 0
    assert "HYDROFILL_PORT=9000" in result.stdout.splitlines()


def test_wrong_arguments_of_a_handed_on_command_end_with_2() -> None:
    result = CliRunner().invoke(cli, ["score"])
    assert result.exit_code == 2
    assert "Missing argument" in result.output


def test_a_command_that_the_wheel_does_not_hold_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "find_spec", lambda _: None)
    monkeypatch.setattr(command_line, "__file__", "/nowhere/hydrofill/cli.py")
    result = CliRunner().invoke(cli, ["train", "data.nc"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "needs the checkout or the image" in result.stderr


def test_a_package_that_is_not_installed_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model.__main__", None)
    result = CliRunner().invoke(cli, ["train", "data.nc"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "not installed here" in result.stderr


def test_fill_without_a_bundle_takes_the_general_one(tmp_path: Path) -> None:
    target = tmp_path / "filled.nc"
    result = CliRunner().invoke(cli, ["fill", str(SAMPLE), str(target), "--variables", "river_flow"])
    assert result.exit_code == 0, result.output
    assert "written with general" in result.stdout
    assert target.is_file()


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path, dataset: object) -> None:
    source = tmp_path / "in.nc"
    source.write_bytes(netcdf_bytes(dataset))  # type: ignore[arg-type]
    result = CliRunner().invoke(cli, ["fill", str(source), str(tmp_path / "out.nc"), "--bundle", "nowhere"])
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert "lez-daily" in result.stderr


def test_a_provider_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    arguments = ["fill", str(SAMPLE), str(tmp_path / "out.nc"), "--provider", "cuda"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("a GPU is here")
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "CUDAExecutionProvider" in result.stderr
    result = CliRunner().invoke(cli, arguments[:-2], env={"HYDROFILL_PROVIDER": "cuda"})
    assert result.exit_code == 2


@pytest.mark.slow
def test_a_fill_leaves_nothing_in_the_home_of_the_user(tmp_path: Path) -> None:
    home, target = tmp_path / "home", tmp_path / "filled.nc"
    home.mkdir()
    own = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    own.pop("ORT_DISABLE_TELEMETRY", None)  # as hydrofill set it in this process
    command = [sys.executable, "-m", "hydrofill.cli", "fill", str(SAMPLE), str(target), "--variables", "river_flow"]
    subprocess.run(command, env=own, capture_output=True, check=True, timeout=300)
    left = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    assert [path for path in left if path.suffix not in (".nbi", ".nbc")] == []
