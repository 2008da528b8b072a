"""Check the paths of input and output, and write a file or folder completely or not at all."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from hydrofill.errors import ContractError

SECRET = 0o600  # mode of a file that is being written in place of another one
WRITERS_END_S = 5.0  # until threads that write have ended after an error
NAME_SHOWN = 50  # characters of a target's name in that of its partial output: names have 255 bytes at most
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux: <fcntl.h>, <linux/fs.h>


class FileRefusedError(ContractError):
    """Raised when a path cannot be read or must not be written; the message is one line that names the path."""

    title = "The file cannot be used"

    def at(self, where: str) -> Self:  # noqa: ARG002 (as the base class is called)
        """Return the same error: its message names the path already."""
        return self


@contextmanager
def written_whole(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a path next to `target`; what the caller writes there becomes `target` at the end.

    If the caller raises, `target` stays as it was and the partial output is removed. A link stays a link: what it
    points to is replaced. The mode of a file that is replaced is kept. Everything is on the disk before it gets its
    name, and the name is on the disk before this ends.

    Args:
        target: the file or folder.
        folder: whether the caller writes a folder. Content of an older folder is not kept.

    Raises:
        FileRefusedError: `target` exists and is something else than a regular file or, with `folder`, a folder.
        OSError: the output cannot be written or renamed.
    """
    place = resolve_target(target, folder=folder)
    partial = place.with_name(f".{place.name[:NAME_SHOWN]}.{uuid.uuid4().hex[:8]}.partial")
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
    try:
        if mode is not None and not folder:
            partial.touch(SECRET)
        yield partial
        _sync(partial)
        if mode is not None:
            partial.chmod(mode)
        if folder and place.is_dir():
            _exchange(partial, place)
        else:
            partial.replace(place)
        _sync_one(place.parent)
    except OSError as error:
        if error.errno is not None and Path(error.filename or partial).is_relative_to(partial):
            error.filename = str(target)
        raise
    finally:
        _remove(partial)


def resolve_target(target: Path, *, folder: bool = False) -> Path:
    """Return the path that is written for `target`, with all links followed.

    Raises:
        FileRefusedError: it exists and is something else than a regular file or, with `folder`, a folder.
        OSError: a part of the path cannot be read.
    """
    place = Path(os.path.realpath(target))
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return place
    if stat.S_ISDIR(mode) and not folder:
        raise FileRefusedError(f"{target}: is a folder; it is not replaced by a file")
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        raise FileRefusedError(f"{target}: is not a {'folder' if folder else 'regular file'}; it is not replaced")
    return place


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file. Nothing is waited for, as a FIFO would have it.

    Raises:
        FileRefusedError: it is no regular file, or has more than `limit` bytes.
        OSError: it cannot be read.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise FileRefusedError(f"{path}: is not a regular file")
        content = file.read(limit + 1) if about.st_size <= limit else b""
    if max(about.st_size, len(content)) > limit:
        raise FileRefusedError(f"{path}: is larger than expected, {limit} bytes at most")
    return content


def write_text(target: Path, text: str) -> None:
    """Write a text file, completely or not at all.

    Raises:
        FileRefusedError, OSError: as `written_whole`.
    """
    with written_whole(target) as partial:
        partial.write_text(text, encoding="utf-8")


def exit_on_signals() -> None:
    """End this process by SystemExit on SIGTERM and SIGHUP, so that partial output is removed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _exit)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # another one must not interrupt the removal
    raise SystemExit(128 + number)


def _exchange(partial: Path, place: Path) -> None:
    """Give `partial` the name of the folder `place`, whose content then is in `partial`; on Linux in one step."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    names = (AT_FDCWD, os.fsencode(partial), AT_FDCWD, os.fsencode(place))
    if rename is not None and rename(*names, RENAME_EXCHANGE) == 0:
        return
    old = partial.with_suffix(".old")  # some file systems cannot exchange
    place.rename(old)
    try:
        partial.rename(place)
    except OSError:
        old.rename(place)
        raise
    old.rename(partial)


def _remove(partial: Path) -> None:
    """Remove partial output; a library's threads may still be writing into a folder after an error."""
    ends = time.monotonic() + WRITERS_END_S
    while partial.is_dir() and time.monotonic() < ends:
        shutil.rmtree(partial, ignore_errors=True)
        time.sleep(0.01)
    partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, written to the disk."""
    for found, _, names in os.walk(path):
        for name in names:
            _sync_one(Path(found) / name)
        _sync_one(Path(found))
    if not path.is_dir():
        _sync_one(path)


def _sync_one(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
