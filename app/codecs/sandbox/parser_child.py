"""Runs in a parser's process: parses one NetCDF body under limits of memory, time and open files, then ends.

The process from which parsers are forked imports this module once, so that no parser has to load the libraries.
"""

from __future__ import annotations

import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import xarray as xr

from app.codecs import netcdf
from app.codecs.sandbox import message
from app.errors import TooLargeError
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import ContractError, UnreadableError

STATM = Path("/proc/self/statm")
WARM_UP_BYTES = 2**20


def parse_body(connection: Connection, memory_bytes: int, cpu_s: int, max_decoded_bytes: int) -> None:
    """Read one body from `connection` and send back a packed dataset or error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which finishes its requests
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _limit(memory_bytes, cpu_s)
    body = connection.recv_bytes()
    connection.send_bytes(_answer(body, max_decoded_bytes))


def _answer(body: bytes, max_decoded_bytes: int) -> bytes:
    try:
        return _read(body, max_decoded_bytes)
    except ContractError as error:
        return message.pack_error(_out_of_memory() if _is_memory(error) else error)
    except MemoryError:
        return message.pack_error(_out_of_memory())
    except Exception:  # noqa: BLE001 (a library may raise any error on such a file)
        return message.pack_error(UnreadableError("the NetCDF file cannot be read; it may be damaged"))


def _read(body: bytes, max_decoded_bytes: int) -> bytes:
    dataset = netcdf.decode(body, max_decoded_bytes).dataset
    size = sum(variable.size * variable.dtype.itemsize for variable in dataset.variables.values())
    if size > max_decoded_bytes:
        raise TooLargeError(
            "the decoded file is too large", got=f"{size} bytes", expected=f"{max_decoded_bytes} at most"
        )
    return message.pack(dataset)


def _is_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


def _out_of_memory() -> ContractError:
    return TooLargeError("parsing the file takes more memory than the limit")


def _limit(memory_bytes: int, cpu_s: int) -> None:
    """Limit the memory and time that this process may still use; it can no longer open or write files."""
    if STATM.exists():
        used = int(STATM.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _warm_up() -> None:
    """Parse small files of each kind, so that libraries load their late parts while files can still be opened."""
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
            message.unpack(_read(body, WARM_UP_BYTES), {})


_warm_up()
