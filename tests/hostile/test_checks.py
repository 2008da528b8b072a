"""Malicious files are refused before they can read other files or fill the memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest

from app.codecs import json, netcdf, npz
from app.codecs.base import BodyLimits
from app.codecs.sandbox import classic_check, hdf5_check
from app.errors import TooLargeError
from hydrofill.errors import UnreadableError
from tests.hostile.files import (
    FLOATS,
    MAX_TEST_OBJECTS,
    REACHING,
    SWOLLEN_HDF5,
    classic_header,
    four_terabytes,
    hdf5_of,
    npy,
    pickled,
    zipped,
)
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, post, sample

pytestmark = pytest.mark.slow

SECRET = b"the server's own secret, 40 bytes long.."
LIMIT = BodyLimits(64 * 2**20)
MEMORY = 16 * 2**20  # bytes that refusing a small file may take


@pytest.mark.anyio
@pytest.mark.parametrize("case", REACHING)
async def test_hdf5_that_refers_to_other_files_is_refused(client: httpx.AsyncClient, tmp_path: Path, case: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(SECRET)
    reach, word = REACHING[case]
    reply = await post(client, hdf5_of(lambda file: reach(file, secret)))
    assert reply.status_code == 400
    assert word in reply.json()["detail"]
    assert "secret" not in reply.text
    assert (await post(client, body_of(sample(), NETCDF))).status_code == 200


def test_hard_links_in_a_circle_end() -> None:
    body = hdf5_of(lambda file: file.create_group("a").__setitem__("round", file["/"]))
    hdf5_check.check_hdf5(body, LIMIT)


@pytest.mark.parametrize("swell", SWOLLEN_HDF5)
def test_hdf5_that_declares_too_much_is_too_large(
    swell: Callable[[h5py.File], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_check, "MAX_OBJECTS", MAX_TEST_OBJECTS)
    body = hdf5_of(swell)
    with bounded_memory(), pytest.raises(TooLargeError):
        hdf5_check.check_hdf5(body, LIMIT)


def test_one_stored_text_that_is_referred_to_often_is_counted_each_time() -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        texts = file.create_dataset("texts", shape=(2000,), dtype=h5py.string_dtype())
        texts[0] = "x" * 2**16
        file.flush()
        start = texts.id.get_offset()
    body = bytearray(content.getvalue())
    pointer = body[start : start + 16]
    body[start : start + 16 * 2000] = pointer * 2000
    with h5py.File(io.BytesIO(bytes(body))) as file:
        assert len(file["texts"][1999]) == 2**16
    assert len(body) < 2**18
    with bounded_memory(), pytest.raises(TooLargeError):
        hdf5_check.check_hdf5(bytes(body), LIMIT)


class bounded_memory:  # noqa: N801 (reads as a statement)
    """Fails if the enclosed code takes more memory than `MEMORY`."""

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY


@pytest.mark.anyio
async def test_four_terabytes_in_a_few_kilobytes_are_answered_413(client: httpx.AsyncClient) -> None:
    reply = await post(client, hdf5_of(four_terabytes))
    assert reply.status_code == 413
    assert "declares too much" in reply.json()["detail"]
    assert (await post(client, body_of(sample(), NETCDF))).status_code == 200


@pytest.mark.parametrize(
    "body",
    [classic_header(1, 2**31), classic_header(1000, 10**6), classic_header(1, 0, records=2**31)],
    ids=["one variable", "many variables", "many records"],
)
def test_classic_file_that_declares_too_much_is_too_large(body: bytes) -> None:
    with bounded_memory(), pytest.raises(TooLargeError):
        netcdf.decode(body, LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        b"CDF\x01\0\0\0\0" + struct.pack(">iI", 10, 2**31),
        b"CDF\x01\0\0\0\0" + struct.pack(">iI", 99, 1),
        b"CDF\x01\xff\xff\xff\xff",
        classic_header(1, 10)[:-20],
        classic_header(1, 10)[:-12] + struct.pack(">iII", 77, 0, 64),
        classic_header(1, 10).replace(
            struct.pack(">ii", 1, 0) + struct.pack(">iI", 0, 0), struct.pack(">iiiI", 1, 9, 0, 0)
        ),
    ],
    ids=["lying count", "wrong tag", "streaming", "cut", "unknown type", "unknown dimension"],
)
def test_classic_header_with_false_counts_is_unreadable(body: bytes) -> None:
    with bounded_memory(), pytest.raises(UnreadableError):
        classic_check.check_classic(body, LIMIT)


def test_classic_header_is_counted_right() -> None:
    data = sample().drop_vars("site")
    body = bytes(data.to_netcdf(engine="scipy"))
    needed = sum(v.size * v.dtype.itemsize for v in data.variables.values())
    with pytest.raises(TooLargeError) as refused:
        classic_check.check_classic(body, BodyLimits(1))
    assert refused.value.got in (f"{needed} bytes", f"{needed - 20} bytes")  # time may be stored in 4 bytes


BAD_NPZ = {
    "pickled objects": (pickled(), UnreadableError),
    "a shape of terabytes": (zipped(precipitation=npy(FLOATS.format((10**12,)))), UnreadableError),
    "a negative shape": (zipped(precipitation=npy(FLOATS.format((-1,)))), UnreadableError),
    "code for a header": (zipped(precipitation=npy("__import__('os').getcwd()")), UnreadableError),
    "no array": (zipped(precipitation=b"hello"), UnreadableError),
    "a bomb": (zipped(precipitation=npy(FLOATS.format((2**25,)), bytes(2**27))), TooLargeError),
    "many members": (zipped(**{f"a{n}": b"" for n in range(npz.MAX_MEMBERS + 1)}), TooLargeError),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_malicious_npz_is_refused(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    body, error = BAD_NPZ[case]
    with pytest.raises(error):
        npz.decode(body, LIMIT)
    assert capsys.readouterr().out == ""


def test_npz_with_a_duplicate_member_is_refused() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("time.npy", npy(FLOATS.format((0,))))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("time.npy", npy(FLOATS.format((0,))))
    with pytest.raises(UnreadableError, match="twice"):
        npz.decode(content.getvalue(), LIMIT)


@pytest.mark.parametrize(
    "body", [b'{"time": [' + b"0," * 3_000_000 + b"0]}", b'{"time":[' + b"[]," * 1_000_000 + b"0]}"]
)
def test_json_that_would_be_too_large_is_refused_before_it_is_decoded(body: bytes) -> None:
    with bounded_memory(), pytest.raises(TooLargeError):
        json.decode(body, LIMIT)


@pytest.mark.anyio
@pytest.mark.parametrize("form", [JSON, NETCDF, NPZ])
async def test_no_damaged_body_is_an_internal_error(client: httpx.AsyncClient, form: str) -> None:
    body, rng = body_of(sample(), form), np.random.default_rng(11)
    for _ in range(60):
        damaged = bytearray(body)
        for at in rng.integers(0, len(body), 3):
            damaged[at] = rng.integers(0, 256)
        cut = damaged[: int(rng.integers(1, len(body)))] if rng.random() < 0.3 else damaged
        reply = await post(client, bytes(cut), form)
        assert reply.status_code in (200, 400, 413, 422), reply.text
    assert (await post(client, body, form)).status_code == 200
