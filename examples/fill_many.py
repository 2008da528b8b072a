"""Fill many NetCDF files, a few at a time: python fill_many.py OUT_FOLDER IN.nc [IN.nc ...] [--at-once 4]"""

import argparse
import asyncio
from pathlib import Path

import httpx

NETCDF = "application/x-netcdf"


async def fill(client: httpx.AsyncClient, turn: asyncio.Semaphore, source: Path, target: Path) -> str:
    async with turn:  # a file is read when its turn comes, so that memory holds only a few files
        body = await asyncio.to_thread(source.read_bytes)
        reply = await client.post("/reconstruct", content=body, headers={"Content-Type": NETCDF})
    if reply.is_error:
        return f"{source}: {reply.status_code} {reply.json()['detail']}"
    await asyncio.to_thread(target.write_bytes, reply.content)
    return f"{source}: {target}"


async def fill_all(options: argparse.Namespace) -> bool:
    turn = asyncio.Semaphore(options.at_once)
    timeout = httpx.Timeout(options.timeout_s, connect=10)
    async with httpx.AsyncClient(base_url=options.server, timeout=timeout) as client:
        work = [fill(client, turn, source, options.folder / source.name) for source in options.sources]
        succeeded = True
        for done in asyncio.as_completed(work):
            line = await done
            succeeded = succeeded and str(options.folder) in line
            print(line)
    return succeeded


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill many NetCDF files with a running hydrofill server.")
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("sources", type=Path, metavar="IN.nc", nargs="+")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--at-once", type=int, default=4, help="number of requests at a time")
    parser.add_argument("--timeout-s", type=float, default=600, help="longest wait for a reply, in seconds")
    options = parser.parse_args()

    options.folder.mkdir(parents=True, exist_ok=True)
    if not asyncio.run(fill_all(options)):
        raise SystemExit("some files were not filled")


if __name__ == "__main__":
    main()
