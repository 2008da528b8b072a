"""The corpus of hostile requests: `python -m tests.hostile.make_corpus OUT` writes each body, and index.json.

The corpus is generated from a fixed seed. Files that refer to other files refer to `secret.bin`, whose bytes must never
be in a reply.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import msgspec
import numpy as np
import xarray as xr

from app.codecs import npz
from app.codecs.sandbox import hdf5_check
from hydrofill.cf.netcdf import HDF5_MAGIC
from tests.hostile.files import (
    FLOATS,
    REACHING,
    SWOLLEN_HDF5,
    classic_header,
    hdf5_of,
    many_objects,
    npy,
    pickled,
    zipped,
)
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, json_of, sample

SECRET = b"the server's own secret, 40 bytes long.."
SEED = 20260101
DAMAGED = (200, 400, 413, 422)  # a flipped bit may be harmless
DEPTH = 10**6
BOMB_BYTES = 2**28
MAX_STEPS = 60_000  # of some cells: megabytes of data that would take many minutes to fill


@dataclass(frozen=True)
class Case:
    """A request, and the statuses and the problem type that may answer it ("" for any type)."""

    name: str
    media_type: str
    body: bytes
    statuses: tuple[int, ...]
    problem: str = ""


def corpus(secret: Path) -> Iterator[Case]:
    """Every case."""
    yield from _hdf5(secret)
    yield from _classic()
    yield from _npz()
    yield from _json()
    yield from _wrong_data()
    yield from _damaged()


def _hdf5(secret: Path) -> Iterator[Case]:
    for name, (reach, _) in REACHING.items():
        body = hdf5_of(lambda file, reach=reach: reach(file, secret))  # type: ignore[misc]
        yield Case(f"hdf5 {name}", NETCDF, body, (400,), "unreadable")
    for swell in (one for one in SWOLLEN_HDF5 if one is not many_objects):  # it exceeds the limit of the tests only
        yield Case(f"hdf5 {swell.__name__}", NETCDF, hdf5_of(swell), (413,), "too-large")
    yield Case("hdf5 ten thousand objects", NETCDF, hdf5_of(_crowd), (413,), "too-large")
    yield Case("hdf5 deflate bomb", NETCDF, hdf5_of(_bomb), (413,), "too-large")
    yield Case("hdf5 magic and nothing", NETCDF, HDF5_MAGIC, (400,), "unreadable")


def _crowd(file: h5py.File) -> None:
    group = file.create_group("crowd")
    for number in range(hdf5_check.MAX_OBJECTS + 1):
        group.create_group(str(number))


def _bomb(file: h5py.File) -> None:
    whole = file.create_dataset("bomb", (BOMB_BYTES,), "u1", chunks=(2**24,), compression="gzip", compression_opts=9)
    whole[:] = 0


def _classic() -> Iterator[Case]:
    swollen = {
        "one variable": classic_header(1, 2**31),
        "many variables": classic_header(1000, 10**6),
        "many records": classic_header(1, 0, records=2**31),
    }
    for name, body in swollen.items():
        yield Case(f"classic {name}", NETCDF, body, (413,), "too-large")
    lying = {
        "lying count": b"CDF\x01\0\0\0\0" + struct.pack(">iI", 10, 2**31),
        "wrong tag": b"CDF\x01\0\0\0\0" + struct.pack(">iI", 99, 1),
        "cut header": classic_header(1, 10)[:-20],
    }
    for name, body in lying.items():
        yield Case(f"classic {name}", NETCDF, body, (400,), "unreadable")


def _npz() -> Iterator[Case]:
    yield Case("npz pickled", NPZ, pickled(), (400,), "unreadable")
    for name, header in (("terabytes", FLOATS.format((10**12,))), ("negative shape", FLOATS.format((-1,)))):
        yield Case(f"npz {name}", NPZ, zipped(precipitation=npy(header)), (400,), "unreadable")
    code = npy("__import__('os').getcwd()")
    yield Case("npz code for a header", NPZ, zipped(precipitation=code), (400,), "unreadable")
    bomb = npy(FLOATS.format((BOMB_BYTES // 4,)), bytes(BOMB_BYTES))
    yield Case("npz deflate bomb", NPZ, zipped(precipitation=bomb), (413,), "too-large")
    crowd = zipped(**{f"a{n}": b"" for n in range(npz.MAX_MEMBERS + 1)})
    yield Case("npz many members", NPZ, crowd, (413,), "too-large")
    yield Case("npz member twice", NPZ, _twice(), (400,), "unreadable")
    yield Case("npz path for a name", NPZ, zipped(**{"../../time": npy(FLOATS.format((0,)))}), (422, 400))


def _twice() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("time.npy", npy(FLOATS.format((0,))))
    return content.getvalue()


def _json() -> Iterator[Case]:
    for name, opening in (("lists", b"["), ("objects", b'{"a":')):
        yield Case(f"json {DEPTH} deep {name}", JSON, opening * DEPTH, (400, 413, 422))
        yield Case(f"json {DEPTH} deep values", JSON, b'{"time":' + opening * DEPTH, (400, 413, 422))
    yield Case("json million numbers", JSON, b'{"time": [' + b"0," * 3_000_000 + b"0]}", (413,), "too-large")
    yield Case("json NaN", JSON, b'{"time": [], "y": [NaN], "x": [1]}', (400,), "unreadable")
    yield Case("json not UTF-8", JSON, b'{"time": ["\xff\xfe"]}', (400, 422))
    good = json_of(sample())
    for name, axis in (("infinite", "[0, 1e400]"), ("null", "[0, null]"), ("text", '["a"]')):
        body = msgspec.json.encode(good).replace(b'"x":[0.0,1.0,2.0,3.0,4.0,5.0]', f'"x":{axis}'.encode())
        yield Case(f"json {name} coordinate", JSON, body, (400, 422))


def _wrong_data() -> Iterator[Case]:
    """Requests that are readable, small and invalid, in every media type that can express them."""
    data = sample()
    for value in (np.nan, np.inf):
        odd = data.assign_coords(x=data["x"].where(data["x"] != 2.0, value))
        for form in (NETCDF, NPZ):
            yield Case(f"{form} coordinate {value}", form, body_of(odd, form), (422,), "coordinate")
    empty = data.assign({n: data[n] * np.float32(np.nan) for n in ("precipitation", "temperature", "river_flow")})
    for name, kept in data.items():
        empty[name].attrs = kept.attrs
    for form in (NETCDF, NPZ, JSON):
        yield Case(f"{form} nothing visible", form, body_of(empty, form), (422,), "nothing-observed")
    wrong = data.assign(precipitation=data["precipitation"].isel(time=0, drop=True))
    for form in (NETCDF, NPZ):
        yield Case(f"{form} wrong dims", form, body_of(wrong, form), (422,), "structure")
    yield Case("giant cost", NPZ, body_of(_expensive(MAX_STEPS // 3, 1), NPZ), (413,), "too-large")
    yield Case("cost too giant to count", NPZ, body_of(_expensive(MAX_STEPS, 40), NPZ), (413,), "too-large")


def _expensive(steps: int, rows: int) -> xr.Dataset:
    data = sample(steps, rows, 2)[["temperature"]]
    data["temperature"].values[1::2] = np.nan
    return data


def _damaged() -> Iterator[Case]:
    rng = np.random.default_rng(SEED)
    for form in (NETCDF, NPZ, JSON):
        body = body_of(sample(), form)
        for number in range(6):
            yield Case(f"{form} cut {number}", form, body[: int(rng.integers(1, len(body)))], (400, 422))
            flipped = bytearray(body)
            for at in rng.integers(0, len(body), 4):
                flipped[at] ^= 1 << int(rng.integers(0, 8))
            yield Case(f"{form} flipped {number}", form, bytes(flipped), DAMAGED)


def main(folder: Path) -> None:
    """Write the corpus into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "secret.bin").write_bytes(SECRET)
    index = []
    for number, case in enumerate(corpus(folder / "secret.bin")):
        (folder / f"{number:03}.bin").write_bytes(case.body)
        index.append({"file": f"{number:03}.bin", **{k: v for k, v in asdict(case).items() if k != "body"}})
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    print(f"{len(index)} cases in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
