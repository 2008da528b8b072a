"""Checks of a running server from outside, for .ci/containers.

python docker/smoke.py start ADDRESS COMMAND...         run COMMAND to start the server; wait until it is ready
python docker/smoke.py fill ADDRESS IN.nc               fill a file, and check the reply against the file
python docker/smoke.py drain ADDRESS IN.nc COMMAND...   run COMMAND to stop the server under load: no request is lost
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import xarray as xr

NETCDF = {"Content-Type": "application/x-netcdf"}
READY_LIMIT_S = 120.0
REPLY_LIMIT_S = 120.0
CLIENTS = 4
HEAD_START_S = 1.0  # for the requests to arrive before the server is stopped
TRAINED = "lez-daily"  # a bundle that fills without measuring the record, so that all requests fit in DRAIN_S
WITHHELD = ("_truth", "_gap")  # suffixes of the variables that `python -m model withhold` adds for scoring


def start(address: str, command: list[str]) -> None:
    """Start the server and print the seconds until GET /readyz answers 200."""
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    while time.monotonic() - started < READY_LIMIT_S:
        try:
            if httpx.get(f"{address}/readyz", timeout=5).is_success:
                print(f"  ready {time.monotonic() - started:.1f} s after the start")
                return
        except httpx.TransportError:
            pass  # the server does not listen yet
        time.sleep(0.05)
    raise SystemExit(f"not ready after {READY_LIMIT_S:.0f} s")


def read_body(path: Path) -> bytes:
    """Return the file as a client would send it, without the variables for scoring."""
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        known = dataset.drop_vars([n for n in dataset.data_vars if str(n).endswith(WITHHELD)])
        content = io.BytesIO()
        known.to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def post(address: str, body: bytes, **query: str) -> httpx.Response:
    """Send the file to POST /reconstruct and return the response."""
    return httpx.post(f"{address}/reconstruct", params=query, content=body, headers=NETCDF, timeout=REPLY_LIMIT_S)


def check_fill(body: bytes, reply: httpx.Response) -> None:
    """Print what was filled; exit with an error if an observed value changed or nothing was filled."""
    if reply.status_code != httpx.codes.OK:
        raise SystemExit(f"POST /reconstruct answered {reply.status_code}: {reply.text[:300]}")
    with (
        xr.open_dataset(io.BytesIO(body), engine="h5netcdf") as sent,
        xr.open_dataset(io.BytesIO(reply.content), engine="h5netcdf") as filled,
    ):
        names = [str(n).removesuffix("_flag") for n in filled.data_vars if str(n).endswith("_flag")]
        for name in names:
            before, flag = sent[name].values, filled[f"{name}_flag"].values
            if not np.array_equal(before[flag == 0], filled[name].values[flag == 0]):
                raise SystemExit(f"{name}: an observed value has changed")
            if not (flag == 1).any() or np.isnan(filled[name].values[flag == 1]).any():
                raise SystemExit(f"{name}: no gap was filled")
            print(f"  {name}: {int((flag == 1).sum())} of {int(np.isnan(before).sum())} missing values filled")
        if not names:
            raise SystemExit("the reply holds no reconstructed variable")


def fill(address: str, body: bytes) -> None:
    """Fill `body` and check the reply."""
    started = time.monotonic()
    reply = post(address, body)
    sizes = f"{len(body) / 1e6:.1f} MB in, {len(reply.content) / 1e6:.1f} MB out"
    print(f"  filled in {time.monotonic() - started:.1f} s: {sizes}")
    check_fill(body, reply)


def drain(address: str, body: bytes, command: list[str]) -> None:
    """Stop the server under load; each request must be answered completely or refused."""

    def one(_: int) -> str:
        try:
            reply = post(address, body, bundle=TRAINED)
        except httpx.ConnectError:
            return "not accepted"
        except httpx.TransportError as error:
            return f"lost: {type(error).__name__}"
        if reply.status_code == httpx.codes.OK:
            filled = xr.open_dataset(io.BytesIO(reply.content), engine="h5netcdf")
            return "answered" if any(str(n).endswith("_flag") for n in filled.data_vars) else "lost: incomplete reply"
        return "refused" if reply.status_code in (429, 503) else f"lost: {reply.status_code}"

    with ThreadPoolExecutor(CLIENTS) as pool:
        waiting = [pool.submit(one, n) for n in range(CLIENTS)]
        time.sleep(HEAD_START_S)
        under_way = sum(not w.done() for w in waiting)
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"  stopped in {time.monotonic() - started:.1f} s with {under_way} of {CLIENTS} requests in progress")
        outcomes = [w.result() for w in waiting]
    print(f"  {', '.join(f'{outcomes.count(kind)} {kind}' for kind in sorted(set(outcomes)))}")
    if any(o.startswith("lost") for o in outcomes) or "answered" not in outcomes or under_way == 0:
        raise SystemExit("the server did not drain cleanly")


def main() -> None:
    """Run the command line."""
    check, address, *rest = sys.argv[1:]
    if check == "start":
        start(address, rest)
    elif check == "fill":
        fill(address, read_body(Path(rest[0])))
    elif check == "drain":
        drain(address, read_body(Path(rest[0])), rest[1:])
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
