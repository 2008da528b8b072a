"""From file to file with the server's own codec and engine, and without a server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.codecs import netcdf
from app.engine.model import Model
from app.service import Ask, read_sent, wanted_names, write_outcome
from export.contract.errors import ContractError
from export.contract.fill import FILLED, OBSERVED, OUTSIDE, REFUSED, Filled


class FileRefusedError(ValueError):
    """A path that cannot be read or must not be written; the message is one line."""


@dataclass(frozen=True)
class Summary:
    """Cells of one variable by what became of them."""

    name: str
    observed: int
    filled: int
    refused: int
    outside: int


def check_paths(source: Path, target: Path) -> None:
    """Returns if `source` can be read and `target` can be written without losing it.

    Raises:
        FileRefusedError: otherwise; names the path.
    """
    if not source.is_file():
        raise FileRefusedError(f"{source}: there is no such file")
    if target.is_dir():
        raise FileRefusedError(f"{target}: is a folder")
    if target.exists() and target.samefile(source):
        raise FileRefusedError(f"{target}: is the input; it is not overwritten")
    if not target.absolute().parent.is_dir():
        raise FileRefusedError(f"{target.parent}: there is no such folder")


def fill_file(
    source: Path,
    target: Path,
    model: Model,
    variables: Sequence[str],
    max_gap: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Summary]:
    """What became of each variable; `target` appears whole or not at all.

    Raises:
        FileRefusedError: a path that does not do. ContractError: a file that is unreadable or does not suit the model.
    """
    check_paths(source, target)
    try:
        body = source.read_bytes()
    except OSError as error:
        raise FileRefusedError(f"{source}: {error.strerror}") from error
    try:
        sent = netcdf.decode(body, None)
    except ContractError as error:  # of the whole file, where it is of no variable
        raise error.at(error.where or source.name) from error
    dataset, reading = read_sent(sent, model)
    names = wanted_names(reading, model, variables)
    outcome = model.run(reading.cube, names, max_gap, progress)
    content = netcdf.write(write_outcome(dataset, reading, outcome, model, Ask()))
    _write_whole(target, content.getbuffer())
    return [_summary(name, filled) for name, filled in outcome.filled.items()]


def _write_whole(target: Path, content: memoryview) -> None:
    """Writes beside `target` and renames, so that nobody sees half a file and a full disk loses nothing."""
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.absolute().parent)
    except OSError as error:
        raise FileRefusedError(f"{target}: {error.strerror}") from error
    path = Path(beside)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        path.replace(target)
    except OSError as error:
        raise FileRefusedError(f"{target}: {error.strerror}") from error
    finally:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _summary(name: str, filled: Filled) -> Summary:
    observed, given, refused, outside = (
        int(np.count_nonzero(filled.flag == flag)) for flag in (OBSERVED, FILLED, REFUSED, OUTSIDE)
    )
    return Summary(name, observed, given, refused, outside)
