"""Check a Zarr store before it is read: it may come from a stranger.

Only codecs are used that give back numbers and text, and none that unpickles objects. What is compressed may become no
larger than the chunk that its metadata declare. A folder may hold files, folders and links within itself only.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zarr

from hydrofill.errors import UnreadableError
from hydrofill.paths import FileRefusedError

# Names of Zarr 3; those of Zarr 2 and of its codecs in Zarr 3 ("numcodecs.*") are the same.
TO_BYTES = frozenset({"bytes", "endian", "transpose", "vlen-utf8", "vlen-bytes", "sharding_indexed"})
TO_NUMBERS = frozenset({"astype", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"})
TO_FEWER_BYTES = frozenset({"blosc", "gzip", "lz4", "zlib", "zstd", "adler32", "crc32", "crc32c", "fletcher32"})
CODECS = TO_BYTES | TO_NUMBERS | TO_FEWER_BYTES
MAX_CHUNK_BYTES = 2**30
TEXT_BYTES = 2**28  # of a chunk of texts, whose metadata declare no size
WIDEST = 8  # times that filters may make the values of a chunk wider than its type
SLACK_BYTES = 2**16  # checksums and lengths beside the values
HELD = ("_blosc_codec", "_gzip_codec", "_zstd_codec", "_codec")  # where codecs of Zarr 3 hold one of numcodecs
INFLATED = {"zlib": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}
ZSTD_MAGIC, ZSTD_BLOCK_BYTES = b"\x28\xb5\x2f\xfd", 2**17


def check_folder(store: Path) -> None:
    """Check that a store on this machine holds nothing but files, folders, and links that stay within it.

    Raises:
        FileRefusedError: it holds something else; names it.
    """
    home = Path(os.path.realpath(store))
    for entry in _entries(home):
        if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(home):
            raise FileRefusedError(f"{entry.path}: is a link that leads out of the store")
        if not (entry.is_file() or entry.is_dir()):
            raise FileRefusedError(f"{entry.path}: is not a regular file")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path))


def check_array(name: str, array: zarr.Array[Any]) -> None:
    """Check the codecs of an array, and bound what its chunks may become when they are decompressed.

    Args:
        name: of the array.
        array: as it was opened, before any of its chunks is read; its codecs are bounded in place.

    Raises:
        UnreadableError: a codec is not one of CODECS, or a chunk is too large; names the array.
    """
    if {"", ".", ".."} & set(name.split("/")):
        raise UnreadableError("is no name of an array", where=name)
    if array.metadata.zarr_format == 2:
        codecs = [c for c in (*(array.filters or ()), *array.compressors) if c is not None]
        _check_codecs(name, codecs, array.chunks, array)
    else:
        _check_codecs(name, array.metadata.codecs, array.shards or array.chunks, array)


def find_unreadable(path: str) -> str | None:
    """Return the name of an array that zarr cannot open, in a store on this machine; None if there is none."""
    for folder in sorted(found for found in Path(path).iterdir() if found.is_dir()) if "://" not in path else ():
        try:
            zarr.open(folder, mode="r")
        except Exception:  # noqa: BLE001 (stores and file systems raise anything)
            return folder.name
    return None


def _check_codecs(name: str, codecs: Any, chunk: tuple[int, ...], array: zarr.Array[Any]) -> None:
    """Check codecs, and those within shards; `chunk` is the shape of what they give."""
    found = {_name(codec): codec for codec in codecs}
    if unknown := sorted(found.keys() - CODECS):
        problem = "is stored with a codec that is not read from files of unknown origin"
        raise UnreadableError(problem, where=name, got=unknown[0], expected=f"one of {', '.join(sorted(CODECS))}")
    declared = math.prod(chunk) * max(array.dtype.itemsize, 1)
    if "sharding_indexed" not in found and declared > MAX_CHUNK_BYTES:
        raise UnreadableError(
            "has chunks that are too large", where=name, got=chunk, expected=f"{MAX_CHUNK_BYTES} bytes"
        )
    limit = TEXT_BYTES if array.dtype.kind in "OT" else declared * WIDEST + SLACK_BYTES
    for codec in found.values():
        if inner := getattr(codec, "codecs", None):
            _check_codecs(name, inner, codec.chunk_shape, array)
        held = next((getattr(codec, key) for key in HELD if hasattr(codec, key)), codec)
        if hasattr(held, "codec_id"):
            held.decode = _bounded(name, held.codec_id, held.decode, limit)


def _name(codec: Any) -> str:
    name = codec.codec_id if hasattr(codec, "codec_id") else codec.to_dict()["name"]
    return str(name).removeprefix("numcodecs.")


def _bounded(name: str, codec: str, decode: Callable[..., Any], limit: int) -> Callable[..., Any]:
    """Return the function that decodes, but refuses what would become larger than `limit` bytes."""

    def decode_bounded(content: Any, out: Any = None) -> Any:
        data = memoryview(content).cast("B") if codec in SIZES or codec in INFLATED else content
        if codec in INFLATED:
            size = _inflated_size(data, INFLATED[codec], limit)
        else:
            size = SIZES[codec](data) if codec in SIZES else 0
        if size > limit:
            raise UnreadableError(
                "a chunk is larger than its metadata declare", where=name, got=f"{codec}, {size} bytes"
            )
        return decode(content, out)

    return decode_bounded


def _inflated_size(data: memoryview, form: int, limit: int) -> int:
    """Return the size of what zlib or gzip holds, or one more than `limit` if that is larger."""
    size, left = 0, bytes(data)
    while left and size <= limit:
        inflater = zlib.decompressobj(form)
        try:
            while not inflater.eof and size <= limit and left:
                size += len(inflater.decompress(left, SLACK_BYTES))
                left = inflater.unconsumed_tail
        except zlib.error:  # the codec will say what is wrong
            return size
        left = inflater.unused_data
    return size


def _blosc_size(data: memoryview) -> int:
    return int.from_bytes(data[4:8], "little")


def _lz4_size(data: memoryview) -> int:
    return int.from_bytes(data[:4], "little")


def _zstd_size(data: memoryview) -> int:
    """Return the size that a frame declares, or else the most that its blocks can hold (RFC 8878, section 3.1.1)."""
    if bytes(data[:4]) != ZSTD_MAGIC or len(data) < 6:
        return 0  # the codec will say what is wrong
    flags = data[4]
    single, dictionary, code = flags >> 5 & 1, (0, 1, 2, 4)[flags & 3], flags >> 6
    at, size = 5 + (1 - single) + dictionary, (single, 2, 4, 8)[code]
    if size:
        return int.from_bytes(data[at : at + size], "little") + (256 if size == 2 else 0)
    found, last = 0, False
    while not last and at + 3 <= len(data):
        head = int.from_bytes(data[at : at + 3], "little")
        last, kind, stored = bool(head & 1), head >> 1 & 3, head >> 3
        found += ZSTD_BLOCK_BYTES if kind == 2 else stored
        at += 3 + (1 if kind == 1 else stored)
    return found


SIZES: dict[str, Callable[[memoryview], int]] = {"blosc": _blosc_size, "lz4": _lz4_size, "zstd": _zstd_size}
