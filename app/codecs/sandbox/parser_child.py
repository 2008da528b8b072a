"""Runs in a parser's process: decodes bodies under limits of memory and time; it cannot open any file.

The process from which parsers are forked imports this module once, so that no parser has to load the libraries.
"""

from __future__ import annotations

import io
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
import xarray as xr

from app.codecs.base import BodyLimits
from app.codecs.negotiation import CODECS
from app.codecs.sandbox import message
from app.errors import TooLargeError
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import ContractError, UnreadableError

STATM = Path("/proc/self/statm")
NETCDF, NPZ, JSON = "application/x-netcdf", "application/x-npz", "application/json"


def serve(connection: Connection) -> None:
    """Send a greeting; then read tasks and bodies, and answer each with a packed body or error, until the end."""
    for forbidden in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(forbidden, (0, 0))
    idle = _used_bytes()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    connection.send_bytes(b"")
    while True:
        try:
            task = msgspec.msgpack.decode(connection.recv_bytes(), type=message.Task)
        except EOFError:
            return
        _limit(idle, task)
        connection.send_bytes(answer(task.media_type, connection.recv_bytes(), task.limits, task.group))


def answer(media_type: str, body: bytes, limits: BodyLimits, group: str = "") -> bytes:
    """Return the packed body, or the packed error that it causes."""
    try:
        codec = CODECS[media_type]
        return message.pack(codec.decode(body, limits, group) if codec.has_groups else codec.decode(body, limits))
    except ContractError as error:
        return message.pack_error(_out_of_memory() if _is_memory(error) else error)
    except MemoryError:
        return message.pack_error(_out_of_memory())
    except Exception:  # noqa: BLE001 (a library may raise any error on such a body)
        return message.pack_error(UnreadableError("the body cannot be read; it may be damaged"))


def _is_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


def _out_of_memory() -> ContractError:
    return TooLargeError("parsing the body takes more memory than the limit")


def _used_bytes() -> int | None:
    return int(STATM.read_text().split()[0]) * resource.getpagesize() if STATM.exists() else None


def _limit(idle: int | None, task: message.Task) -> None:
    """Limit the memory of this process to that of an idle one and the task's, and its further processor time."""
    hard = resource.RLIM_INFINITY
    if idle is not None:
        resource.setrlimit(resource.RLIMIT_AS, (idle + task.memory_bytes, hard))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime) + 1
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + task.cpu_s, hard))


def _small_npz() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, time=np.zeros(1, "datetime64[ns]"), v=np.zeros(1))
    return content.getvalue()


def _warm_up() -> None:
    """Parse small bodies of each kind, so that libraries load their late parts while files can still be opened."""
    packed = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -1}
    for calendar in ("noleap", "standard"):
        time = xr.Variable("time", np.arange(2.0), {"units": "days since 2000-01-01", "calendar": calendar})
        data = xr.Dataset(
            {
                "plain": ("time", np.zeros(2, np.float32), {"standard_name": "air_temperature"}),
                "packed": xr.Variable("time", np.zeros(2), {"units": "1"}, packed),
                "station": ("site", np.array(["a", "b"], dtype=object)),
            },
            {"time": time, "height": 2.0},
        )
        for body in (netcdf_bytes(data), bytes(data.to_netcdf(engine="scipy"))):
            message.unpack(answer(NETCDF, body, BodyLimits()), {})
    for media_type, body in ((JSON, b'{"time": ["2000-01-01"]}'), (NPZ, _small_npz())):
        message.unpack(answer(media_type, body, BodyLimits()), {})


_warm_up()
