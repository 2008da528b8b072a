"""Zarr stores of strangers: only codecs of numbers and texts, no chunk larger than declared, nothing outside."""

from __future__ import annotations

import gzip
import json
import os
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from hydrofill.archives import zarr_check
from hydrofill.archives.inputs import find_input
from hydrofill.archives.opening import open_input
from hydrofill.errors import UnreadableError
from hydrofill.paths import FileRefusedError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:zarr", "ignore::FutureWarning", "ignore:.*:UserWarning")
BOMB = bytes(2**22)  # 4 MiB of zeros in a chunk of 1 KiB


def store(folder: Path, version: int, **encoding: Any) -> Path:
    """A store with an array `level` of one chunk."""
    path = folder / "store.zarr"
    dataset = xr.Dataset({"level": (("time", "x"), np.ones((8, 16)))}, {"time": np.arange(8.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(path, zarr_format=version, encoding={"level": encoding}, consolidated=False)
    return path


def read(path: Path) -> float:
    with open_input(find_input(str(path))) as dataset:
        return float(dataset["level"].values.sum())


def metadata(path: Path) -> Path:
    return next(file for file in (path / "level" / ".zarray", path / "level" / "zarr.json") if file.exists())


def _update(changes: dict[str, Any], document: dict[str, Any]) -> None:
    document.update(changes)


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the metadata of the array."""
    document = json.loads(metadata(path).read_text())
    change(document)
    metadata(path).write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", ["pickle", "json2", "msgpack2", "lzma", "bz2", "of-a-stranger", "vlen-array"])
def test_other_codecs_are_refused_by_name_in_zarr_2(name: str, tmp_path: Path) -> None:
    configuration = {"dtype": "<f8"} if name == "vlen-array" else {}
    codec = {"id": name, **configuration}
    for changes in ({"filters": [codec]}, {"compressor": codec}):
        path = edited(store(tmp_path / min(changes), 2), partial(_update, changes))
        with pytest.raises(UnreadableError, match=f"level.*{name}"):
            read(path)


@pytest.mark.parametrize("name", ["numcodecs.lzma", "numcodecs.bz2", "numcodecs.pickle", "of-a-stranger"])
def test_other_codecs_are_refused_by_name_in_zarr_3(name: str, tmp_path: Path) -> None:
    path = edited(store(tmp_path, 3), lambda found: found["codecs"].append({"name": name, "configuration": {}}))
    with pytest.raises(UnreadableError, match=f"level.*{name.removeprefix('numcodecs.')}"):
        read(path)


ZARR_2 = {
    "blosc": numcodecs.Blosc(),
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "zstd": numcodecs.Zstd(),
    "lz4": numcodecs.LZ4(),
}
ZARR_3 = {
    "blosc": BloscCodec(),
    "gzip": GzipCodec(),
    "zstd": ZstdCodec(),
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "blosc": numcodecs.Blosc().encode,
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "zstd": numcodecs.Zstd().encode,
    "lz4": numcodecs.LZ4().encode,
}


@pytest.mark.parametrize(("version", "codec"), [*((2, c) for c in ZARR_2), *((3, c) for c in ZARR_3)])
def test_a_chunk_that_would_become_larger_than_declared_is_refused(
    version: int, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(tmp_path, version, compressors=(ZARR_2 if version == 2 else ZARR_3)[codec])
    assert read(path) == 128
    chunk = path / "level" / ("0.0" if version == 2 else "c/0/0")
    chunk.write_bytes(bytes(COMPRESS[codec](BOMB)))
    with pytest.raises(UnreadableError, match=f"level: a chunk is larger than its metadata declare.*{codec}"):
        read(path)


def test_shards_are_read_and_their_chunks_bounded(tmp_path: Path) -> None:
    path = store(tmp_path, 3, chunks=(2, 4), shards=(8, 16), compressors=GzipCodec())
    assert read(path) == 128
    shard = path / "level" / "c" / "0" / "0"
    bomb = gzip.compress(BOMB)
    index = np.array([[0, len(bomb)], *[[2**64 - 1] * 2] * 15], "<u8").tobytes()
    shard.write_bytes(bomb + index + google_crc32c.value(index).to_bytes(4, "little"))
    with pytest.raises(UnreadableError, match="a chunk is larger than its metadata declare"):
        read(path)


def test_a_frame_of_zstandard_without_a_size_is_bounded_by_its_blocks() -> None:
    rle = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0x58]) + (2**20 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    assert zarr_check._zstd_size(memoryview(rle)) == 2**20
    assert zarr_check._zstd_size(memoryview(bytes(numcodecs.Zstd().encode(bytes(5000))))) == 5000


def test_chunks_beyond_all_memory_are_refused(tmp_path: Path) -> None:
    path = edited(store(tmp_path, 2), lambda found: found.update(chunks=[2**20, 2**20]))
    with pytest.raises(UnreadableError, match="level: has chunks that are too large"):
        read(path)


def _link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _link_to_folder(path: Path) -> None:
    path.symlink_to("/etc")


@pytest.mark.parametrize("make", [_link, _link_to_folder, os.mkfifo])
def test_a_store_holds_nothing_but_files_of_its_own(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = store(tmp_path, 2, compressors=None)
    (path / "level" / "0.0").unlink()
    make(path / "level" / "0.0")
    with pytest.raises(FileRefusedError, match=r"level/0\.0: is (a link that leads out|not a regular file)"):
        read(path)


def test_links_within_a_store_are_followed(tmp_path: Path) -> None:
    path = store(tmp_path, 2)
    (path / "level" / "0.0").rename(path / "chunk")
    (path / "level" / "0.0").symlink_to("../chunk")
    assert read(path) == 128


def test_names_that_lead_out_of_the_store_are_not_followed(tmp_path: Path) -> None:
    path, other = store(tmp_path, 2), tmp_path / "other.zarr"
    xr.Dataset({"secret": ("x", np.ones(3))}).to_zarr(other, zarr_format=2, consolidated=False)
    array = json.loads((other / "secret" / ".zarray").read_text())
    document = {"zarr_consolidated_format": 1, "metadata": {".zgroup": {"zarr_format": 2}, ".zattrs": {}}}
    for name in ("../other.zarr/secret", "..", "../other.zarr"):
        document["metadata"] = {".zgroup": {"zarr_format": 2}, ".zattrs": {}, f"{name}/.zarray": array}
        (path / ".zmetadata").write_text(json.dumps(document))
        with open_input(find_input(str(path))) as dataset:
            assert set(dataset.variables) == {"level", "time"} and float(dataset["level"].sum()) == 128
