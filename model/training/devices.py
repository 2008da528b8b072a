"""Run a training on one device, or on several that share every batch, with one process each (DDP)."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException

from model.config import ConfigError

LOOPBACK = "127.0.0.1"
TERMINATION_S = 10.0  # a process that is still running this long after terminate() is killed

Follow = Callable[..., None]


class DeviceLostError(RuntimeError):
    """A process of the training has stopped."""


class _Processes(ClusterEnvironment):
    """The processes that `on_devices` starts on this machine, numbered from 0."""

    creates_processes_externally = True
    main_address = LOOPBACK
    main_port = 0

    def __init__(self, rank: int, number: int, port: int) -> None:
        self._rank, self._number, self.main_port = rank, number, port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._number

    def set_world_size(self, size: int) -> None:
        assert size == self._number

    def global_rank(self) -> int:
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self._rank

    def local_rank(self) -> int:
        return self._rank

    def node_rank(self) -> int:
        return 0


@contextmanager
def on_devices(number: int, follow: Follow, given: tuple[Any, ...]) -> Iterator[Fabric]:
    """Yield Fabric for the first device, while every other device runs `follow(rank, number, port, *given)`.

    Args:
        number: number of devices.
        follow: what the processes of the other devices run.
        given: further arguments of `follow`; they are pickled.

    Raises:
        ConfigError: the machine has fewer devices.
        DeviceLostError: one of the other processes stopped.
    """
    port = _free_port() if number > 1 else 0
    fabric = _fabric(0, number, port)
    if number == 1:
        yield fabric
        return
    start = multiprocessing.get_context("spawn").Process  # fork is not safe with the threads of torch
    others = [start(target=follow, args=(rank, number, port, *given), daemon=True) for rank in range(1, number)]
    threads = torch.get_num_threads()
    for process in others:
        process.start()
    try:
        fabric.launch()
        yield fabric
    except RuntimeError as error:  # gloo and NCCL raise it when a peer has stopped
        for process in others:
            process.join(1.0)  # a stopped process may need a moment to get its exit code
        if lost := [p for p in others if p.exitcode]:
            codes = ", ".join(str(p.exitcode) for p in lost)
            raise DeviceLostError(f"{len(lost)} of {number} processes stopped (exit code {codes})") from error
        raise
    finally:
        _end(others)
        torch.set_num_threads(threads)  # launching changes it


def join_devices(rank: int, number: int, port: int) -> Fabric:
    """Return Fabric for device `rank`, in a process that `on_devices` has started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends an interrupted training
    fabric = _fabric(rank, number, port)
    fabric.launch()
    return fabric


def computes_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Return whether matrix products are computed in bfloat16; weights and the loss stay float32.

    Args:
        precision: a setting of TrainingConfig; `auto` is bfloat16 on a GPU that supports it, and float32 elsewhere.
        device: the device of the network.

    Raises:
        ConfigError: the device does not support bfloat16.
    """
    if precision == "32" or (precision == "auto" and device.type != "cuda"):
        return False
    able = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))
    if precision == "bf16" and not able:
        raise ConfigError(f"precision bf16: this device ({device.type}) has no bfloat16; choose auto or 32")
    return able


def _fabric(rank: int, number: int, port: int) -> Fabric:
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        if number == 1:
            return Fabric(accelerator="auto", devices=1)
        strategy = DDPStrategy()
        return Fabric(accelerator="auto", devices=number, strategy=strategy, plugins=[_Processes(rank, number, port)])
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"devices {number}: {str(error).strip().splitlines()[0]}") from error


def _end(others: Sequence[BaseProcess]) -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for process in others:
        process.terminate()
    for process in others:
        process.join(TERMINATION_S)
        if process.is_alive():
            process.kill()
            process.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
