"""The memory that this process may use, and the share of it that requests may hold together."""

from __future__ import annotations

import os
from pathlib import Path

from app.settings import Settings
from hydrofill.archives.memory import PROCESS_BYTES
from hydrofill.cores import CGROUP

SHARE = 0.8  # of the machine's memory, by default: the rest is for the system and for what allocators keep
LEAST_SHARE = 0.25  # of the server's memory that is for requests, however much its readers may take
LIMIT_FILES = ("memory.max", "memory/memory.limit_in_bytes")  # of control groups, version 2 and 1


def usable_memory(cgroup: Path = CGROUP) -> int:
    """Return the bytes that this process may use: those of the machine, or of its control group if these are less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in LIMIT_FILES:
        try:
            text = cgroup.joinpath(file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)


def request_memory(settings: Settings) -> int:
    """Return the bytes that all requests together may hold.

    It is what the server may use, less what the process takes without requests and what its readers may take.
    """
    whole = settings.memory_bytes or int(SHARE * usable_memory())
    readers = settings.parsers * settings.parser_memory_bytes
    return max(whole - PROCESS_BYTES - readers, int(LEAST_SHARE * whole))
