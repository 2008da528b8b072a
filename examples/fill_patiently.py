"""Fill a file; if the server is busy, wait and try again: python fill_patiently.py IN.nc OUT.nc [--tries 8]"""

import argparse
import random
import time
from pathlib import Path

import httpx

NETCDF = "application/x-netcdf"
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
FIRST_WAIT_S, MAX_WAIT_S = 0.5, 60.0


def wait_s(reply: httpx.Response | None, tried: int) -> float:
    """Seconds of Retry-After, else twice as long each time; plus a random part, so that clients spread out."""
    retry_after = reply.headers.get("Retry-After", "") if reply is not None else ""
    seconds = float(retry_after) if retry_after.isdecimal() else min(FIRST_WAIT_S * 2**tried, MAX_WAIT_S)
    return seconds * random.uniform(1.0, 1.2)  # noqa: S311


def fill(client: httpx.Client, body: bytes, tries: int) -> httpx.Response:
    for tried in range(tries):
        reply = None
        try:
            reply = client.post("/reconstruct", content=body, headers={"Content-Type": NETCDF})
        except httpx.ConnectError as error:  # the server may be restarting
            print(f"{error}")
        if reply is not None and reply.status_code not in BUSY:
            return reply
        seconds = wait_s(reply, tried)
        print(f"busy, next try in {seconds:.1f} s")
        time.sleep(seconds)
    raise SystemExit(f"still busy after {tries} tries")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill a NetCDF file with a hydrofill server that may be busy.")
    parser.add_argument("source", type=Path, metavar="IN.nc")
    parser.add_argument("target", type=Path, metavar="OUT.nc")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--tries", type=int, default=8)
    options = parser.parse_args()

    with httpx.Client(base_url=options.server, timeout=httpx.Timeout(600, connect=10)) as client:
        reply = fill(client, options.source.read_bytes(), options.tries)
    if reply.is_error:
        raise SystemExit(f"{reply.status_code}: {reply.json()['detail']}")
    options.target.write_bytes(reply.content)
    print(f"{options.target} written")


if __name__ == "__main__":
    main()
