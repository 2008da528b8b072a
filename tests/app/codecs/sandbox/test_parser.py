"""Untrusted files are parsed in processes of their own; a crash or limit affects that process only."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import cftime
import h5py
import httpx
import numpy as np
import pytest
import xarray as xr

from app.codecs import json, netcdf, npz
from app.codecs.base import BodyLimits, Codec
from app.codecs.sandbox import message
from app.codecs.sandbox.classic_check import check_classic
from app.codecs.sandbox.forker import Forker
from app.codecs.sandbox.hdf5_check import MAX_ATTRIBUTE_BYTES, check_hdf5
from app.codecs.sandbox.parser import Parser, ParserLimits
from app.errors import PROBLEMS, NotReadyError, TooLargeError
from app.main import create_app
from app.settings import Settings
from benchmarks.support.processes import children
from hydrofill.cancellation import Cancellation
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import StructureError, UnreadableError
from tests.hostile.files import hdf5_of
from tests.support.problems import check_problem
from tests.support.tiny import JSON, LAYOUT, NETCDF, body_of, client_of, post, sample
from tests.support.waiting import wait_for

BODY = BodyLimits(64 * 2**20)
LIMITS = ParserLimits(memory_bytes=512 * 2**20, cpu_s=20, wall_s=60.0, body=BODY)
KINDS = {kind.__name__: kind for kind in PROBLEMS}


@pytest.fixture(scope="module")
def parser() -> Parser:
    parser = Parser(LIMITS, 2)
    parser.check(60.0)
    return parser


def dataset_of(parser: Parser, body: bytes) -> xr.Dataset:
    decoded = parser.parse(netcdf.CODEC, body)
    assert isinstance(decoded, netcdf.NetcdfBody)
    return decoded.dataset


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
        here, there = netcdf.decode(body, BodyLimits()).dataset, dataset_of(parser, body)
        assert there.identical(here)
        assert list(there.variables) == list(here.variables)
        for name, variable in here.variables.items():
            stored = ("dtype",) if variable.dtype.kind in "iuf" else ()
            for key in ("_FillValue", "scale_factor", "add_offset", "units", "calendar", *stored):
                np.testing.assert_equal(there[name].encoding.get(key), variable.encoding.get(key))
        assert netcdf_bytes(there) == netcdf_bytes(here)


def test_error_in_another_process_is_raised_here_with_the_same_text(parser: Parser) -> None:
    bad = sample().assign_attrs(a="x")
    bad["slope"].attrs["scale_factor"] = "two"
    with pytest.raises(StructureError, match="must be one number"):
        parser.parse(netcdf.CODEC, netcdf_bytes(bad))
    with pytest.raises(UnreadableError, match="not NetCDF"):
        parser.parse(netcdf.CODEC, b"text")


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x81\xa4type\xa1x"])
def test_bytes_that_are_not_a_message_are_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        message.unpack(content, KINDS)


def test_message_with_a_false_shape_is_unreadable() -> None:
    content = message.pack(netcdf.NetcdfBody(sample()[["slope"]]))
    with pytest.raises(UnreadableError):
        message.unpack(content.replace(b"shape\x92\x04\x06", b"shape\x92\x04\x07"), KINDS)


def test_objects_cannot_be_packed_or_unpacked() -> None:
    with pytest.raises(StructureError, match="odd"):
        message.pack(netcdf.NetcdfBody(xr.Dataset({"odd": ("x", np.array([1, "a"], dtype=object))})))
    content = message.pack(netcdf.NetcdfBody(sample()[["slope"]])).replace(b"<f4", b"|O8")
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
    tight = Parser(ParserLimits(128 * 2**20, 20, 60.0, BODY))
    with pytest.raises(TooLargeError, match="memory"):
        tight.parse(netcdf.CODEC, body)
    with pytest.raises(TooLargeError, match="decoded body is too large"):
        Parser(ParserLimits(2**30, 20, 60.0, BODY)).parse(netcdf.CODEC, body)
    assert tight.parse(netcdf.CODEC, body_of(sample(), NETCDF)).variables


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
        Parser(ParserLimits(2**29, 20, 0.3, BODY)).parse(netcdf.CODEC, body)
    assert time.monotonic() - started < 3
    with pytest.raises(TooLargeError, match="longer"):
        Parser(ParserLimits(2**29, 1, 60.0, BODY)).parse(netcdf.CODEC, body)


def test_cancellation_ends_the_parser() -> None:
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel).start()
    started = time.monotonic()
    with pytest.raises(UnreadableError):
        Parser(LIMITS).parse(netcdf.CODEC, slow_file(), cancellation)
    assert time.monotonic() - started < 3


def parsers_of(parser: Parser) -> list[int]:
    """The processes that have been forked for any parser of this process."""
    process = parser._forker._process
    assert process is not None
    return children(process.pid)


def ticks(pid: int) -> int:
    """The processor time of a process, in hundredths of a second; 0 if it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().split()[13])
    except OSError:
        return 0


def signal_when_busy(parser: Parser, number: int) -> threading.Thread:
    """Send a signal to the process that works from now on."""
    before = {pid: ticks(pid) for pid in parsers_of(parser)}

    def busy() -> list[int]:
        return [pid for pid in parsers_of(parser) if ticks(pid) > before.get(pid, 0) + 10]

    def send() -> None:
        wait_for(lambda: bool(busy()))
        for pid in busy():
            os.kill(pid, number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.slow
def test_crashed_parser_is_unreadable_and_the_next_body_is_parsed(parser: Parser) -> None:
    sending = signal_when_busy(parser, signal.SIGSEGV)
    with pytest.raises(UnreadableError, match="crash"):
        parser.parse(netcdf.CODEC, slow_file())
    sending.join()
    assert parser.parse(netcdf.CODEC, body_of(sample(), NETCDF)).variables


@pytest.mark.parametrize("codec", [json.CODEC, npz.CODEC])
def test_small_body_in_another_process_is_the_same_and_the_process_is_used_again(parser: Parser, codec: Codec) -> None:
    body = body_of(sample(), codec.media_type)
    parser.parse(codec, body)
    before = set(parsers_of(parser))
    here, there = (read.to_dataset(LAYOUT) for read in (codec.decode(body, BODY), parser.parse(codec, body)))
    assert there.identical(here)
    assert list(there.variables) == list(here.variables)
    assert all(there[name].dtype == here[name].dtype for name in here.variables)
    assert set(parsers_of(parser)) <= before  # one that has ended may still be leaving


def test_process_that_has_read_a_file_reads_no_other(parser: Parser) -> None:
    parser.start()
    before = set(parsers_of(parser))
    parser.parse(netcdf.CODEC, body_of(sample(), NETCDF))
    wait_for(lambda: len(before - set(parsers_of(parser))) >= 1)


def test_cancellation_after_the_end_does_not_stop_the_next_body(parser: Parser) -> None:
    cancellation = Cancellation()
    parser.parse(json.CODEC, body_of(sample(), JSON), cancellation)
    before = set(parsers_of(parser))
    cancellation.cancel()
    assert parser.parse(json.CODEC, body_of(sample(), JSON)).variables
    assert set(parsers_of(parser)) <= before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_process_that_starts_parsers_is_replaced(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forker = Forker()
    parser = Parser(LIMITS, 0, forker)
    parser.check(60.0)
    process = forker._process
    assert process is not None
    os.kill(process.pid, number)
    parser._checked_at = -1.0
    monkeypatch.setattr("app.codecs.sandbox.parser.START_S", 1.0)
    if number == signal.SIGSTOP:
        with pytest.raises(NotReadyError):
            parser.check(1.0)
    monkeypatch.undo()
    assert parser.parse(netcdf.CODEC, body_of(sample(), NETCDF)).variables
    parser.check()
    forker.stop()


def test_lack_of_file_descriptors_is_not_ready(monkeypatch: pytest.MonkeyPatch, parser: Parser) -> None:
    def full() -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("socket.socketpair", full)
    with pytest.raises(NotReadyError):
        Parser(LIMITS, 0, parser._forker).parse(json.CODEC, b"{}")


@pytest.mark.slow
@pytest.mark.anyio
async def test_parser_over_its_memory_limit_is_answered_413(bundles: Path) -> None:
    settings = Settings(bundles=bundles, parser_memory_bytes=128 * 2**20, max_decoded_bytes=64 * 2**20)
    async with client_of(create_app(settings)) as client:
        check_problem(await post(client, swelling()), 413, "too-large", "memory")
        assert (await post(client, body_of(sample(), NETCDF))).status_code == 200


def test_parser_cannot_open_a_file(parser: Parser) -> None:
    parser.start()
    parser.check()
    for pid in parsers_of(parser):
        wait_for(lambda pid=pid: "Max open files            0                    0" in limits_of(pid))  # type: ignore[misc]


def limits_of(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text()


def test_text_attributes_are_limited_by_their_bytes() -> None:
    def long_text(file: h5py.File) -> None:
        file.attrs["history"] = "x" * (MAX_ATTRIBUTE_BYTES + 1)

    def long_texts(file: h5py.File) -> None:
        for number in range(30):
            file["slope"].attrs.create(f"a{number}", ["x" * 2000] * 20, dtype=h5py.string_dtype())

    for write in (long_text, long_texts):
        with pytest.raises(TooLargeError, match="attributes are too large"):
            check_hdf5(hdf5_of(write), BodyLimits())
    check_hdf5(hdf5_of(lambda file: file.attrs.__setitem__("history", "x" * 60_000)), BodyLimits())


def test_text_attributes_of_a_classic_file_are_limited_by_their_bytes() -> None:
    data = sample().drop_vars("site").assign_attrs(history="x" * (MAX_ATTRIBUTE_BYTES + 1))
    with pytest.raises(TooLargeError, match="attributes are too large"):
        check_classic(bytes(data.to_netcdf(engine="scipy")), BodyLimits())


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
