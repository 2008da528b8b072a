"""Estimate the memory that a fill of an archive needs, and the workers that fit into the memory given."""

from __future__ import annotations

import re

from hydrofill.paths import FileRefusedError

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
PROCESS_BYTES = 330 * 2**20  # a process with its libraries, the bundle and its graphs
BYTES_PER_VALUE = 260  # of what a block reads, while it is filled
LEAST_AHEAD_VALUES = 4_000_000  # of one variable, that a worker reads ahead
MOST_AHEAD_VALUES = 64_000_000


def parse_bytes(text: str) -> int:
    """Return the number of bytes of a size such as 2GiB, 500MB or 1073741824.

    Raises:
        ValueError: the text is not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in UNITS:
        raise ValueError(f"not a size in memory: {text!r}; expected such as 2GiB or 500MB")
    return int(float(found[1]) * UNITS[found[2]])


def workers_within(memory: int | None, block_values: int, workers: int) -> int:
    """Return how many workers, of so many at most, fill blocks of so many values within the memory given.

    Raises:
        FileRefusedError: not even one block fits; names the memory that is needed.
    """
    if memory is None:
        return workers
    of_block = PROCESS_BYTES + BYTES_PER_VALUE * block_values + 4 * LEAST_AHEAD_VALUES
    if memory < of_block:
        raise FileRefusedError(f"--memory {memory} is too little: a block needs {of_block / 2**20:.0f} MiB")
    beside = (memory - PROCESS_BYTES) // of_block  # workers in processes of their own, beside the one that leads them
    return max(1, min(workers, beside))


def ahead_values(memory: int | None, block_values: int, workers: int, num_variables: int) -> int:
    """Return how many values of one variable each worker reads ahead, with what the memory given leaves."""
    if memory is None:
        return MOST_AHEAD_VALUES // max(num_variables, 1)
    processes = 1 if workers == 1 else workers + 1
    free = memory - processes * PROCESS_BYTES - workers * BYTES_PER_VALUE * block_values
    return min(max(free // (2 * 4 * workers), 0), MOST_AHEAD_VALUES) // max(num_variables, 1)
