"""The demo: hides data of a real sample, fills the gaps through a server, draws the result and scores it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import xarray as xr

from app.codecs import netcdf
from app.local_server import StartError, local_server
from hydrofill.cf.netcdf import netcdf_bytes
from hydrofill.paths import written_whole

SAMPLE = "lez"
# The sample's first day. The bundle was trained on the sample with the same cells hidden, never on their values.
SEED = 20120801
WITHHELD = ("_truth", "_gap")  # suffixes of variables that only the scorer may see
REPLY_LIMIT_S = 300.0

Print = Callable[[str], None]


class DemoError(RuntimeError):
    """A step of the demo failed; the message is one line."""


@dataclass(frozen=True)
class DemoPlan:
    """The folder that the demo writes to, and the bundle that fills."""

    out: Path
    bundles: Path
    bundle: str

    @property
    def sample(self) -> Path:
        """File of the measured sample."""
        return self.out / f"{SAMPLE}.nc"

    @property
    def gappy(self) -> Path:
        """File of the sample with hidden cells, and with the hidden values for the score."""
        return self.out / f"{SAMPLE}-gappy.nc"

    @property
    def filled(self) -> Path:
        """File of the server's reply."""
        return self.out / "demo.nc"

    @property
    def figure(self) -> Path:
        """File of the figure."""
        return self.out / "demo.png"

    @property
    def server_log(self) -> Path:
        """File of the server's log."""
        return self.out / "demo-server.log"


def run_demo(plan: DemoPlan, say: Print) -> None:
    """Write the reply and the figure and print the scores; print each step with `say`.

    Raises:
        DemoError: a step failed.
    """
    started = time.perf_counter()
    _check_bundle(plan)
    plan.out.mkdir(parents=True, exist_ok=True)
    say("1/6  A real sample: a year of rain, potential evapotranspiration and river flow of the Lez (France)")
    _run("model", "data", SAMPLE, str(plan.sample))
    say("2/6  Hide some of the data: under clouds, in squares, on whole days, in gauge outages")
    _run("model", "withhold", str(plan.sample), str(plan.gappy), "--seed", str(SEED))
    say(f"3/6  Start a server with the bundle {plan.bundle}")
    try:
        with local_server(plan.bundles, plan.server_log) as server:
            _send(plan, server.address, say)
    except StartError as error:
        raise DemoError(str(error)) from error
    say(f"5/6  Draw {plan.figure}")
    _draw(plan)
    say("6/6  Score the hidden cells: RMSE, compared with linear interpolation in time and the mean of each cell")
    _run("model", "score", str(plan.gappy), str(plan.filled))
    say(_next_steps(plan))
    say(f"Done in {time.perf_counter() - started:.0f} s: {plan.filled} and {plan.figure}")


def drop_withheld(case: xr.Dataset) -> xr.Dataset:
    """Return what a client would have: the variables with gaps, without the hidden values and the kinds of gaps."""
    return case.drop_vars([name for name in case.data_vars if str(name).endswith(WITHHELD)])


def _check_bundle(plan: DemoPlan) -> None:
    folder = plan.bundles / plan.bundle
    if not folder.is_dir():
        raise DemoError(f"there is no bundle at {folder}")
    if find_spec("matplotlib") is None:
        raise DemoError("the figure needs matplotlib: pip install 'hydrofill[demo]'")


def _run(*arguments: str) -> None:
    """Run `python -m ARGUMENTS` with this Python; its output goes to this process's output."""
    done = subprocess.run([sys.executable, "-m", *arguments], check=False)
    if done.returncode != 0:
        raise DemoError(f"python -m {' '.join(arguments)} ended with exit code {done.returncode}")


def _send(plan: DemoPlan, address: str, say: Print) -> None:
    with xr.open_dataset(plan.gappy, engine="h5netcdf") as case:
        body = netcdf_bytes(drop_withheld(case))
    say(f"4/6  POST {address}/reconstruct  ({len(body) / 1e6:.1f} MB of NetCDF, without the hidden values)")
    started = time.perf_counter()
    try:
        reply = httpx.post(
            f"{address}/reconstruct",
            params={"bundle": plan.bundle},
            content=body,
            headers={"Content-Type": netcdf.MEDIA_TYPE},
            timeout=REPLY_LIMIT_S,
        )
    except httpx.TransportError as error:
        raise DemoError(f"the server did not answer: {error}; see {plan.server_log}") from error
    if not reply.is_success:
        raise DemoError(f"the server answered {reply.status_code}: {reply.text}")
    with written_whole(plan.filled) as partial:
        partial.write_bytes(reply.content)
    say(f"     filled in {time.perf_counter() - started:.1f} s: {plan.filled}")


def _draw(plan: DemoPlan) -> None:
    from app.demo.figure import NothingToShowError, draw  # matplotlib is installed with the extra demo only

    with (
        xr.open_dataset(plan.gappy, engine="h5netcdf") as case,
        xr.open_dataset(plan.filled, engine="h5netcdf") as filled,
    ):
        try:
            draw(case.load(), filled.load(), plan.figure)
        except NothingToShowError as error:
            raise DemoError(f"nothing to draw: {error}") from error


def _next_steps(plan: DemoPlan) -> str:
    folder, here = plan.bundles, Path.cwd()
    python = Path(sys.executable)
    run = python.relative_to(here) if python.is_relative_to(here) else Path(python.name)
    command = run.with_name("hydrofill")
    return f"""
What to try next
  start the server        {command} serve --bundles {folder}
  fill a file over HTTP   curl -H 'Content-Type: application/x-netcdf' --data-binary @{plan.gappy} \\
                               'http://127.0.0.1:8000/reconstruct?max_gap=10' -o filled.nc
  the same from Python    {run} examples/fill_netcdf.py {plan.gappy} filled.nc
  a few numbers as JSON   {run} examples/fill_json.py
  without a server        {command} fill {plan.gappy} filled.nc --bundle {folder / plan.bundle}
  what fill would read    {command} inspect {plan.gappy}
  every route and field   http://127.0.0.1:8000/docs
"""
