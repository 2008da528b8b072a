"""Every script under examples/ runs as its first line says, against a real server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import xarray as xr

from app.local_server import ROOT
from tests.support.servers import SAMPLE

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"
MAX_LINES = 60  # short enough to be read before it is copied
RETRY_AFTER_S = 1


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, EXAMPLES / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def filled(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return dataset.load()


def test_every_example_is_tested_here_and_short() -> None:
    here = Path(__file__).read_text()
    for script in EXAMPLES.glob("*.py"):
        assert f'run("{script.name}"' in here, f"{script.name} has no test"
        assert len(script.read_text().splitlines()) < MAX_LINES


def test_fill_netcdf_writes_the_filled_file(address: str, tmp_path: Path) -> None:
    done = run("fill_netcdf.py", SAMPLE, tmp_path / "out.nc", "--server", address)
    assert done.returncode == 0, done.stderr
    assert int(filled(tmp_path / "out.nc")["precipitation"].isnull().sum()) == 0
    assert "precipitation:" in done.stdout


def test_fill_json_prints_the_filled_numbers(address: str) -> None:
    done = run("fill_json.py", "--server", address)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("*") > 5


def test_fill_many_fills_each_file(address: str, tmp_path: Path) -> None:
    sources = [tmp_path / f"{number}.nc" for number in range(3)]
    for number, source in enumerate(sources):
        with xr.open_dataset(SAMPLE, engine="h5netcdf") as dataset:
            dataset.isel(time=slice(10 * number, 10 * number + 20)).to_netcdf(source, engine="h5netcdf")
    done = run("fill_many.py", tmp_path / "out", *sources, "--server", address, "--at-once", "2")
    assert done.returncode == 0, done.stderr
    for source in sources:
        assert "pet_flag" in filled(tmp_path / "out" / source.name)


def test_fill_many_names_the_file_that_failed(address: str, tmp_path: Path) -> None:
    (tmp_path / "bad.nc").write_bytes(b"no NetCDF")
    done = run("fill_many.py", tmp_path / "out", tmp_path / "bad.nc", "--server", address)
    assert done.returncode == 1
    assert "bad.nc: 400" in done.stdout


def test_fill_patiently_fills(address: str, tmp_path: Path) -> None:
    done = run("fill_patiently.py", SAMPLE, tmp_path / "out.nc", "--server", address)
    assert done.returncode == 0, done.stderr
    assert "pet_std" in filled(tmp_path / "out.nc")


def test_fill_patiently_waits_for_retry_after(tmp_path: Path) -> None:
    requested_at: list[float] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            requested_at.append(time.monotonic())
            self.send_response(503 if len(requested_at) == 1 else 200)
            self.send_header("Retry-After", str(RETRY_AFTER_S))
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        done = run("fill_patiently.py", SAMPLE, tmp_path / "x", "--server", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert done.returncode == 0, done.stderr
    assert len(requested_at) == 2
    assert requested_at[1] - requested_at[0] >= RETRY_AFTER_S
    assert (tmp_path / "x").read_bytes() == b"done"


def test_plot_before_after_draws(address: str, tmp_path: Path) -> None:
    done = run("plot_before_after.py", SAMPLE, tmp_path / "out.png", address)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").stat().st_size > 20_000
