"""The commands fill and serve of `python -m app`, in this process and in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from app.__main__ import cli
from app.local_server import ROOT, local_server
from hydrofill.cf.writing import netcdf_bytes
from tests.support.tiny import JSON, NETCDF, body_of, open_netcdf, post, reply_arrays, sample


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.nc"
    path.write_bytes(netcdf_bytes(sample()))
    return path


def open_file(path: Path) -> xr.Dataset:
    return open_netcdf(path.read_bytes())


def fill(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `python -m app fill`."""
    result = CliRunner().invoke(cli, ["fill", *map(str, arguments)], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "query"),
    [([], {}), (["--max-gap", 1, "--variables", "precipitation"], {"max_gap": 1, "variables": "precipitation"})],
)
async def test_fill_and_server_give_the_same_bits(
    client: httpx.AsyncClient, source: Path, bundles: Path, options: list[object], query: dict[str, Any]
) -> None:
    target = source.with_name("out.nc")
    code, _, error = fill(source, target, "--bundle", bundles / "tiny", *options)
    assert (code, error) == (0, "")
    written = open_file(target)
    served = reply_arrays(await post(client, body_of(sample(), NETCDF), NETCDF, **query))
    as_json = reply_arrays(await post(client, body_of(sample(), JSON), JSON, **query))
    assert list(written.data_vars) == list(served)
    for name, values in served.items():
        assert written[name].values.tobytes() == values.tobytes()
    for name, values in as_json.items():
        assert written[name].values.astype(np.float32).tobytes() == values.astype(np.float32).tobytes()


def test_fill_prints_counts_for_each_variable(source: Path, bundles: Path) -> None:
    code, output, _ = fill(source, source.with_name("out.nc"), "--bundle", bundles / "tiny")
    gaps = int(np.isnan(sample()["precipitation"].values).sum())
    row = next(line.split() for line in output.splitlines() if "precipitation" in line)
    assert code == 0
    assert row[:5] == ["precipitation", str(120 - gaps), str(gaps), "0", "0"]


def check_refused(result: tuple[int, str, str], *words: str) -> None:
    code, output, error = result
    assert code == 2
    assert output == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def test_fill_never_overwrites_its_input(source: Path, bundles: Path) -> None:
    content = source.read_bytes()
    link = source.with_name("link.nc")
    link.symlink_to(source)
    for target in (source, source.parent / "." / source.name, link):
        check_refused(fill(source, target, "--bundle", bundles / "tiny"), "is the input")
    assert source.read_bytes() == content


def test_fill_refuses_invalid_input_in_one_line(source: Path, bundles: Path, tmp_path: Path) -> None:
    out, bundle = tmp_path / "out.nc", ("--bundle", bundles / "tiny")
    (tmp_path / "text.nc").write_text("precipitation")
    (tmp_path / "units.nc").write_bytes(
        netcdf_bytes(sample().assign(temperature=sample()["temperature"].assign_attrs(units="kg")))
    )
    check_refused(fill(tmp_path / "none.nc", out, *bundle), "none.nc", "no such file")
    check_refused(fill(tmp_path, out, *bundle), "is a folder without a Zarr store")
    os.mkfifo(tmp_path / "pipe")
    check_refused(fill(source, tmp_path / "pipe", *bundle), "is not a regular file")
    check_refused(fill(source, tmp_path, *bundle), "is a folder")
    check_refused(fill(source, tmp_path / "no/out.nc", *bundle), "no such folder")
    check_refused(fill(tmp_path / "text.nc", out, *bundle), "text.nc: the content is not NetCDF")
    check_refused(fill(tmp_path / "units.nc", out, *bundle), "temperature", "'kg'")
    check_refused(fill(source, out, "--bundle", tmp_path), "manifest.json")
    check_refused(fill(source, out, *bundle, "--variables", "snow"), "snow")
    assert not out.exists()


def test_fill_that_fails_to_write_keeps_the_existing_file(
    source: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.nc"
    out.write_bytes(b"precious")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    check_refused(fill(source, out, "--bundle", bundles / "tiny", "--overwrite"), "No space left")
    assert out.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.nc", "out.nc"]


def test_fill_replaces_another_output_when_told(source: Path, bundles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nc"
    out.write_bytes(b"old")
    check_refused(fill(source, out, "--bundle", bundles / "tiny"), "out.nc", "--overwrite")
    assert out.read_bytes() == b"old"
    assert fill(source, out, "--bundle", bundles / "tiny", "--overwrite")[0] == 0
    assert open_netcdf(out.read_bytes()).attrs["hydrofill_bundle"] == "tiny"
    mask = os.umask(0)
    os.umask(mask)
    assert out.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    "arguments", [["fill", "a.nc", "b.nc"], ["fill", "a", "b", "--bundle", "c", "--max-gap", "0"], ["paint"]]
)
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2


@pytest.mark.parametrize("command", [[], ["serve"], ["fill"], ["demo"]])
def test_every_command_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_serve_prints_its_settings() -> None:
    result = CliRunner().invoke(cli, ["serve", "--port", "9000", "--print-config"])
    assert result.exit_code == 0
    assert "HYDROFILL_PORT=9000" in result.stdout.splitlines()
    assert "HYDROFILL_HOST=127.0.0.1" in result.stdout.splitlines()


@pytest.mark.slow
def test_serve_without_bundles_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "serve", "--bundles", "nowhere"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    check_refused((done.returncode, done.stdout, done.stderr), "nowhere")


@pytest.mark.parametrize(
    ("arguments", "environment", "word"),
    [
        ([], {"HYDROFILL_COLOUR": "blue"}, "HYDROFILL_COLOUR"),
        (["--port", "99999"], {}, "HYDROFILL_PORT"),
        (["--print-config"], {"HYDROFILL_PROVIDER": "tpu"}, "HYDROFILL_PROVIDER"),
    ],
)
def test_invalid_settings_are_reported_in_one_line(
    arguments: list[str], environment: dict[str, str], word: str
) -> None:
    result = CliRunner().invoke(cli, ["serve", *arguments], env=environment)
    check_refused((result.exit_code, result.stdout, result.stderr), word)


@pytest.mark.slow
def test_server_answers_over_a_real_socket(bundles: Path, tmp_path: Path) -> None:
    body = body_of(sample(), NETCDF)
    with local_server(bundles, tmp_path / "log") as server:
        address = server.address
        reply = httpx.post(f"{address}/reconstruct", content=body, headers={"Content-Type": NETCDF}, timeout=60)
        assert reply.status_code == 200
        assert open_netcdf(reply.content).attrs["hydrofill_bundle"] == "tiny"
        assert "server" not in reply.headers
        for script, arguments in (("fill_netcdf.py", ["in.nc", "out.nc"]), ("fill_json.py", [])):
            (tmp_path / "in.nc").write_bytes(body)
            command = [sys.executable, str(ROOT / "examples" / script), *arguments, "--server", address]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, done.stderr
            assert "filled" in done.stdout
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/healthz")
    log = server.log.read_text()
    assert "POST /reconstruct 200" in log
    assert "Traceback" not in log
