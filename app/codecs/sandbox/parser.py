"""Untrusted files read in a process of their own, one for each, so that none can take the server along."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import numpy as np
import xarray as xr

from app.codecs.netcdf import SentNetcdf
from app.codecs.sandbox import message
from app.codecs.sandbox.parser_entry import parse_in_child
from app.errors import PROBLEMS, TooLargeError
from hydrofill.cancellation import Cancellation
from hydrofill.cf.netcdf import netcdf_bytes
from hydrofill.errors import ContractError, UnreadableError

logger = logging.getLogger(__name__)

PRELOADED = ["app.codecs.sandbox.parser_child"]
REPLY_OVERHEAD = 4  # a decoded file may take so many times its size on its way back: texts, names, framing
REPLY_SPARE_BYTES = 2**20


@dataclass(frozen=True)
class ParserLimits:
    """What one parser may take: memory beyond that of an idle one, processor seconds, seconds on the clock."""

    memory_bytes: int
    cpu_s: int
    wall_s: float
    decoded_bytes: int


class Parser:
    """Reads NetCDF in processes that are forked from one which has the libraries loaded."""

    def __init__(self, limits: ParserLimits) -> None:
        self.limits = limits
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def start(self) -> None:
        """Starts the process that the readers are forked from, while there is a disk to put its socket on."""
        forkserver.ensure_running()

    def warm_up(self) -> None:
        """Returns when a file has been read: the first client does not wait for the libraries to load."""
        try:
            self.parse(netcdf_bytes(xr.Dataset({"warm": ("x", np.zeros(1, np.float32))})))
        except ContractError as error:  # limits that let nothing through, or a machine that is busy beyond them
            logger.warning("reading a NetCDF file of one number: %s", error)

    def parse(self, body: bytes, cancellation: Cancellation | None = None) -> SentNetcdf:
        """The file in `body`; a stop ends the process.

        Raises:
            ContractError: as of `netcdf.decode`. TooLargeError: it takes more memory or time than it may.
        """
        here, there = self._context.Pipe()
        limits = self.limits
        arguments = (there, limits.memory_bytes, limits.cpu_s, limits.decoded_bytes)
        process = self._context.Process(target=parse_in_child, args=arguments, name="parser", daemon=True)
        process.start()
        there.close()
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limits.wall_s, end)
        timer.daemon = True
        timer.start()
        if cancellation is not None:
            cancellation.on_cancel(process.kill)
        try:
            here.send_bytes(body)
            reply = here.recv_bytes(REPLY_OVERHEAD * limits.decoded_bytes + REPLY_SPARE_BYTES)
        except (EOFError, OSError) as error:
            process.kill()
            process.join()
            logger.warning("a parser ended with %s", process.exitcode)
            if late.is_set() or process.exitcode == -24:
                raise TooLargeError("reading the file takes longer than it may") from error
            raise UnreadableError("the file made its reader fail; it may be damaged") from error
        finally:
            timer.cancel()
            here.close()
            process.join()
        return SentNetcdf(message.unpack(reply, {kind.__name__: kind for kind in PROBLEMS}))
