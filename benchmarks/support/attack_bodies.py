"""Bodies that are small to send and costly to read, count or fill, and others that are odd."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

from benchmarks.support.bodies import JSON, NETCDF, NPZ, Body

MIB = 2**20
DIMENSIONS_EACH = 30


def archive_of_zeros(method: int, mebibytes: int) -> Body:
    """Return an npz with one member of zeros, compressed by a method of zip."""
    content = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (mebibytes * MIB // 4,)}
    with zipfile.ZipFile(content, "w", method) as archive, archive.open("time.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(mebibytes):
            member.write(bytes(MIB))
    return Body(NPZ, content.getvalue())


def npz_of(**arrays: np.ndarray) -> Body:
    """Return arrays as a compressed npz."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return Body(NPZ, content.getvalue())


def sites_never_seen(sites: int, steps: int = 40) -> Body:
    """Return river flow at many sites, of which two were ever seen."""
    flow = np.full((steps, sites), np.nan, np.float32)
    flow[:, :2] = np.arange(2.0 * steps).reshape(steps, 2)
    flow[3:6, 0] = np.nan
    zeros = np.zeros(sites, np.float32)
    return npz_of(time=days(steps), river_flow=flow, site_y=zeros, site_x=zeros)


def column_with_sites(rows: int, sites: int = 500, steps: int = 12) -> Body:
    """Return a field of one column and many rows, beside many sites."""
    rain, flow = np.zeros((steps, rows, 1), np.float32), np.zeros((steps, sites), np.float32)
    rain[3], flow[4] = np.nan, np.nan
    places = {"site_y": np.linspace(0.0, rows - 1, sites), "site_x": np.zeros(sites)}
    return npz_of(time=days(steps), y=np.arange(float(rows)), x=np.zeros(1), rain=rain, flow=flow, **places)


def dimensions_of_their_own(variables: int) -> Body:
    """Return a classic NetCDF file of variables that have 30 dimensions of their own, each of length 1."""
    number = variables * DIMENSIONS_EACH
    names = (_name(f"d{n}") + struct.pack(">I", 1) for n in range(number))
    head = b"CDF\x01" + struct.pack(">I", 0) + struct.pack(">iI", 10, number) + b"".join(names) + bytes(8)
    head += struct.pack(">iI", 11, variables)
    ends = []
    for n in range(variables):
        dims = range(n * DIMENSIONS_EACH, (n + 1) * DIMENSIONS_EACH)
        ends.append(_name(f"v{n}") + struct.pack(f">I{DIMENSIONS_EACH}I", DIMENSIONS_EACH, *dims) + bytes(8))
    start = len(head) + sum(map(len, ends)) + 12 * variables
    head += b"".join(end + struct.pack(">iII", 5, 4, start + 4 * n) for n, end in enumerate(ends))
    return Body(NETCDF, head + bytes(4 * variables))


def large_json(mebibytes: int) -> Body:
    """Return a JSON body of that size, of short numbers."""
    row = "[" + ",".join(["0.1"] * 256) + "]"
    frame = "[" + ",".join([row] * 64) + "]"
    number = max(2, mebibytes * MIB // (len(frame) + 1))
    times = json.dumps([f"{t}Z" for t in np.datetime_as_string(days(number), unit="s")])
    first = "[" + ",".join([row.replace("0.1", "null", 1)] * 64) + "]"
    axes = f'"y":{list(range(64))},"x":{list(range(256))}'
    values = ",".join([first, *[frame] * (number - 1)])
    return Body(JSON, f'{{"time":{times},{axes},"fields":{{"rain":{{"units":"mm","values":[{values}]}}}}}}'.encode())


def odd_bodies() -> Iterator[Body]:
    """Yield times that say nothing, text beyond Unicode, values near the largest of float32, and a name given twice."""
    flow = np.ones((5, 1), np.float32)
    flow[2] = np.nan
    place = {"site_y": np.zeros(1), "site_x": np.zeros(1)}
    for unit in ("M8", "M8[as]", "M8[1000000Y]", "M8[ps]"):
        yield npz_of(time=np.arange(5).view(unit), river_flow=flow, **place)
    for point in (0x110000, 0xFFFFFFFF, 0xD800):
        yield npz_of(time=days(5), river_flow=flow, site=np.full(1, point, "<u4").view("<U1"), **place)
    for large in (3.0e38, -3.0e38, 1e36, 1e-45):
        yield npz_of(time=days(5), river_flow=(flow * np.float32(large)), **place)
        field = np.random.default_rng(0).uniform(-1, 1, (12, 4, 4)).astype(np.float32) * np.float32(large)
        field[3] = np.nan
        yield npz_of(time=days(12), y=np.arange(4.0), x=np.arange(4.0), rain=field, pet=field[::-1])
    small = '{"time":["2012-08-01T00:00:00Z"],"y":[1.0],"x":[1.0],"fields":{"a":{"values":[[[1.0]]]},%s"b":{}}}'
    yield Body(JSON, (small % '"a":{"values":[[[2.0]]]},').encode())


def days(number: int) -> np.ndarray:
    """Return that many days, datetime64[ns]."""
    return np.datetime64("2012-08-01", "ns") + np.arange(number) * np.timedelta64(1, "D")


def _name(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode() + bytes(-len(text) % 4)
