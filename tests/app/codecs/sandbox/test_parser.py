"""Untrusted files are parsed in processes of their own; a crash or limit affects that process only."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import cftime
import h5py
import httpx
import numpy as np
import pytest
import xarray as xr

from app.codecs import netcdf
from app.codecs.sandbox import message, parser_child
from app.codecs.sandbox.classic_check import check_classic
from app.codecs.sandbox.hdf5_check import MAX_ATTRIBUTE_BYTES, check_hdf5
from app.codecs.sandbox.parser import Parser, ParserLimits
from app.errors import PROBLEMS, TooLargeError
from app.main import create_app
from app.settings import Settings
from hydrofill.cancellation import Cancellation
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import StructureError, UnreadableError
from tests.hostile.files import hdf5_of
from tests.support.problems import check_problem
from tests.support.tiny import NETCDF, body_of, client_of, post, sample

LIMITS = ParserLimits(memory_bytes=512 * 2**20, cpu_s=20, wall_s=60.0, decoded_bytes=64 * 2**20)
KINDS = {kind.__name__: kind for kind in PROBLEMS}


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser(LIMITS)


def odd_dataset() -> xr.Dataset:
    """Packed numbers, an unusual calendar, texts, attributes of every kind."""
    packed = {"dtype": "int16", "scale_factor": 0.5, "add_offset": 1.0, "_FillValue": np.int16(-9)}
    days = [cftime.DatetimeNoLeap(2001, month, day) for month, day in ((2, 27), (2, 28), (3, 1))]
    return xr.Dataset(
        {
            "v": xr.Variable("time", np.array([1.0, np.nan, 3.5]), {"units": "1", "valid": np.array([0, 9])}, packed),
            "name": ("site", np.array(["Hérault", "b"], dtype=object), {"parts": ["x", "y"], "n": 3, "f": 0.5}),
        },
        {"time": ("time", np.array(days, dtype=object)), "height": 2.0},
        {"title": "odd"},
    )


@pytest.mark.slow
def test_dataset_parsed_in_another_process_is_the_same(parser: Parser) -> None:
    for data in (sample(), odd_dataset()):
        body = netcdf_bytes(data)
        here, there = netcdf.decode(body, None).dataset, parser.parse(body).dataset
        assert there.identical(here)
        assert list(there.variables) == list(here.variables)
        for name, variable in here.variables.items():
            for key in ("_FillValue", "scale_factor", "add_offset", "units", "calendar", "dtype"):
                np.testing.assert_equal(there[name].encoding.get(key), variable.encoding.get(key))
        assert netcdf_bytes(there) == netcdf_bytes(here)


def test_error_in_another_process_is_raised_here_with_the_same_text(parser: Parser) -> None:
    bad = sample().assign_attrs(a="x")
    bad["slope"].attrs["scale_factor"] = "two"
    with pytest.raises(StructureError, match="must be one number"):
        parser.parse(netcdf_bytes(bad))
    with pytest.raises(UnreadableError, match="not NetCDF"):
        parser.parse(b"text")


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x81\xa4type\xa1x"])
def test_bytes_that_are_not_a_message_are_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        message.unpack(content, KINDS)


def test_message_with_a_false_shape_is_unreadable() -> None:
    content = message.pack(sample()[["slope"]])
    with pytest.raises(UnreadableError):
        message.unpack(content.replace(b"shape\x92\x04\x06", b"shape\x92\x04\x07"), KINDS)


def test_objects_cannot_be_packed_or_unpacked() -> None:
    with pytest.raises(StructureError, match="odd"):
        message.pack(xr.Dataset({"odd": ("x", np.array([1, "a"], dtype=object))}))
    content = message.pack(sample()[["slope"]]).replace(b"<f4", b"|O8")
    with pytest.raises(UnreadableError):
        message.unpack(content, KINDS)


def swelling() -> bytes:
    """64 MiB of packed values in a file of some kilobytes; decoded, they take four times as much."""
    packed = {"dtype": "int8", "scale_factor": 0.5, "_FillValue": np.int8(-1), "zlib": True}
    packed["chunksizes"] = (1, 1024, 1024)
    data = xr.Dataset({"v": (("z", "y", "x"), np.zeros((60, 1024, 1024), np.float32))})
    return bytes(data.to_netcdf(engine="h5netcdf", encoding={"v": packed}))


@pytest.mark.slow
def test_file_that_needs_too_much_memory_is_too_large_and_the_next_is_parsed(parser: Parser) -> None:
    body = swelling()
    tight = Parser(ParserLimits(128 * 2**20, 20, 60.0, 64 * 2**20))
    with pytest.raises(TooLargeError, match="memory"):
        tight.parse(body)
    with pytest.raises(TooLargeError, match="decoded file is too large"):
        Parser(ParserLimits(2**30, 20, 60.0, 64 * 2**20)).parse(body)
    assert tight.parse(body_of(sample(), NETCDF)).variables


def slow_file() -> bytes:
    """A file that takes some seconds to parse: many texts, which are read one by one."""

    def write(file: h5py.File) -> None:
        for number in range(40):
            file.create_dataset(f"t{number}", data=["x"] * 9000, dtype=h5py.string_dtype(), chunks=(9000,))

    return hdf5_of(write)


@pytest.mark.slow
def test_file_that_takes_too_long_is_too_large() -> None:
    body = slow_file()
    started = time.monotonic()
    with pytest.raises(TooLargeError, match="longer"):
        Parser(ParserLimits(2**29, 20, 0.3, 64 * 2**20)).parse(body)
    assert time.monotonic() - started < 3
    with pytest.raises(TooLargeError, match="longer"):
        Parser(ParserLimits(2**29, 1, 60.0, 64 * 2**20)).parse(body)


def test_cancellation_ends_the_parser() -> None:
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel).start()
    started = time.monotonic()
    with pytest.raises(UnreadableError):
        Parser(LIMITS).parse(slow_file(), cancellation)
    assert time.monotonic() - started < 3


def killed(*_: object) -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def parse_and_crash(connection: Any, *_: object) -> None:
    connection.recv_bytes()
    killed()


@pytest.mark.slow
@pytest.mark.anyio
async def test_crashed_parser_is_answered_400_and_the_next_request_200(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(create_app(Settings(bundles=bundles))) as client:
        monkeypatch.setattr("app.codecs.sandbox.parser.parse_in_child", parse_and_crash)
        check_problem(await post(client, body_of(sample(), NETCDF)), 400, "unreadable", "parser crash")
        monkeypatch.undo()
        assert (await post(client, body_of(sample(), NETCDF))).status_code == 200


@pytest.mark.slow
@pytest.mark.anyio
async def test_parser_over_its_memory_limit_is_answered_413(bundles: Path) -> None:
    settings = Settings(bundles=bundles, parser_memory_bytes=128 * 2**20, max_decoded_bytes=64 * 2**20)
    async with client_of(create_app(settings)) as client:
        check_problem(await post(client, swelling()), 413, "too-large", "memory")
        assert (await post(client, body_of(sample(), NETCDF))).status_code == 200


def open_a_file(connection: Any, *_: object) -> None:
    parser_child._limit(2**28, 5)
    try:
        Path(__file__).read_bytes()
        connection.send_bytes(b"opened")
    except OSError as error:
        connection.send_bytes(str(error.errno).encode())


@pytest.mark.slow
def test_parser_cannot_open_a_file() -> None:
    parser = Parser(LIMITS)
    here, there = parser._context.Pipe()
    process = parser._context.Process(target=open_a_file, args=(there,))
    process.start()
    there.close()
    assert here.poll(60)
    assert here.recv_bytes() == b"24"  # EMFILE
    process.join(60)
    assert process.exitcode == 0


def test_text_attributes_are_limited_by_their_bytes() -> None:
    def long_text(file: h5py.File) -> None:
        file.attrs["history"] = "x" * (MAX_ATTRIBUTE_BYTES + 1)

    def long_texts(file: h5py.File) -> None:
        for number in range(30):
            file["slope"].attrs.create(f"a{number}", ["x" * 2000] * 20, dtype=h5py.string_dtype())

    for write in (long_text, long_texts):
        with pytest.raises(TooLargeError, match="attributes are too large"):
            check_hdf5(hdf5_of(write), None)
    check_hdf5(hdf5_of(lambda file: file.attrs.__setitem__("history", "x" * 60_000)), None)


def test_text_attributes_of_a_classic_file_are_limited_by_their_bytes() -> None:
    data = sample().drop_vars("site").assign_attrs(history="x" * (MAX_ATTRIBUTE_BYTES + 1))
    with pytest.raises(TooLargeError, match="attributes are too large"):
        check_classic(bytes(data.to_netcdf(engine="scipy")), None)


@pytest.mark.slow
@pytest.mark.anyio
async def test_parser_adds_little_time(client: httpx.AsyncClient) -> None:
    body = body_of(sample(), NETCDF)
    took = []
    for _ in range(3):
        started = time.perf_counter()
        assert (await post(client, body)).status_code == 200
        took.append(time.perf_counter() - started)
    assert min(took) < 1.5  # a process that had to load the libraries would take three seconds
