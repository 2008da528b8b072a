"""Check the paths of input and output, and write a file or folder completely or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileRefusedError(ValueError):
    """Raised when a path cannot be read or must not be written; the message is one line."""


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a path next to `target`; what the caller writes there, file or folder, becomes `target` at the end.

    If the caller raises, `target` stays as it was and the partial output is removed.

    Raises:
        OSError: the output cannot be written or renamed.
    """
    partial = target.absolute().with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        if partial.is_dir() and target.is_dir():
            shutil.rmtree(target)
        elif partial.is_dir():
            target.unlink(missing_ok=True)
        partial.replace(target)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)
