"""Fill the gaps of a NetCDF file over HTTP: python fill_netcdf.py IN.nc OUT.nc [--server http://127.0.0.1:8000]"""

import argparse
import io
from pathlib import Path

import httpx
import xarray as xr

NETCDF = "application/x-netcdf"


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill the gaps of a NetCDF file with a running hydrofill server.")
    parser.add_argument("source", type=Path, metavar="IN.nc")
    parser.add_argument("target", type=Path, metavar="OUT.nc")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--bundle", help="name of the bundle; optional if exactly one suits")
    parser.add_argument("--max-gap", type=int, help="longest gap to fill, in time steps")
    options = parser.parse_args()

    query = {"bundle": options.bundle, "max_gap": options.max_gap}
    reply = httpx.post(
        f"{options.server}/reconstruct",
        params={key: value for key, value in query.items() if value is not None},
        content=options.source.read_bytes(),
        headers={"Content-Type": NETCDF},
        timeout=300,
    )
    if reply.is_error:
        raise SystemExit(f"{reply.status_code}: {reply.json()['detail']}")
    options.target.write_bytes(reply.content)

    filled = xr.open_dataset(io.BytesIO(reply.content), engine="h5netcdf")
    for name in (str(n).removesuffix("_flag") for n in filled.data_vars if str(n).endswith("_flag")):
        flag = filled[f"{name}_flag"]
        counts = ", ".join(
            f"{int((flag == value).sum())} {meaning}"
            for value, meaning in zip(flag.flag_values, flag.flag_meanings.split(), strict=True)
        )
        print(f"{name}: {counts}")


if __name__ == "__main__":
    main()
