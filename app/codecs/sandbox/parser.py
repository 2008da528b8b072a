"""Parses each untrusted file in a process of its own, so that a crash cannot end the server."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import numpy as np
import xarray as xr

from app.codecs.netcdf import NetcdfBody
from app.codecs.sandbox import message
from app.codecs.sandbox.parser_entry import parse_in_child
from app.errors import PROBLEMS, TooLargeError
from hydrofill.cancellation import Cancellation
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.errors import ContractError, UnreadableError

logger = logging.getLogger(__name__)

PRELOADED = ["app.codecs.sandbox.parser_child"]
REPLY_OVERHEAD = 4  # a message may be this many times the size of the decoded file: texts, names, framing
REPLY_SPARE_BYTES = 2**20


@dataclass(frozen=True)
class ParserLimits:
    """Limits of one parser.

    memory_bytes: memory beyond that of an idle parser. cpu_s: processor time. wall_s: elapsed time. decoded_bytes: size
    of the decoded file.
    """

    memory_bytes: int
    cpu_s: int
    wall_s: float
    decoded_bytes: int


class Parser:
    """Parses NetCDF files in processes that are forked from a process with the libraries loaded."""

    def __init__(self, limits: ParserLimits) -> None:
        self.limits = limits
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def start(self) -> None:
        """Start the process from which parsers are forked. It needs a disk for its socket, so start it early."""
        forkserver.ensure_running()

    def warm_up(self) -> None:
        """Parse a small file, so that the first client does not wait for the libraries to load."""
        try:
            self.parse(netcdf_bytes(xr.Dataset({"warm": ("x", np.zeros(1, np.float32))})))
        except ContractError as error:  # the limits are too low, or the machine is too busy
            logger.warning("a NetCDF file of one number could not be parsed: %s", error)

    def parse(self, body: bytes, cancellation: Cancellation | None = None) -> NetcdfBody:
        """Parse the file in `body`; a cancellation ends the process.

        Raises:
            ContractError: as of `netcdf.decode`.
            TooLargeError: parsing exceeds the limits of memory or time.
            UnreadableError: the process crashed or was cancelled.
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
            logger.warning("a parser ended with exit code %s", process.exitcode)
            if late.is_set() or process.exitcode == -signal.SIGXCPU:
                raise TooLargeError("parsing the file takes longer than the limit") from error
            raise UnreadableError("the file made its parser crash; it may be damaged") from error
        finally:
            timer.cancel()
            here.close()
            process.join()
        return NetcdfBody(message.unpack(reply, {kind.__name__: kind for kind in PROBLEMS}))
