"""Builders of malicious files, which try to read other files or to fill the memory."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from app.codecs.base import BodyLimits
from hydrofill.cf.writing import netcdf_bytes
from tests.support.tiny import sample

MAX_TEST_OBJECTS = 200  # the limit in tests: above the other files here, and quicker to exceed than ten thousand


def hdf5_of(write: Callable[[h5py.File], None]) -> bytes:
    """The sample as NetCDF-4, changed by `write`."""
    content = io.BytesIO(netcdf_bytes(sample()))
    with h5py.File(content, "r+") as file:
        write(file)
    return content.getvalue()


def external_storage(file: h5py.File, secret: Path) -> None:
    del file["slope"]
    file.create_dataset("slope", shape=(4, 6), dtype="u1", external=[(str(secret), 0, 24)])


def external_link(file: h5py.File, secret: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/precipitation")


def external_link_in_group(file: h5py.File, secret: Path) -> None:
    file.create_group("a/b")["elsewhere"] = h5py.ExternalLink(str(secret), "/precipitation")


def soft_link(file: h5py.File, _: Path) -> None:
    file["alias"] = h5py.SoftLink("/precipitation")


def virtual_dataset(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4, 6), dtype="f4")
    layout[:] = h5py.VirtualSource(str(secret), "slope", shape=(4, 6))
    file.create_virtual_dataset("virtual", layout)


def other_filter(file: h5py.File, _: Path) -> None:
    file.create_dataset("packed", data=np.zeros((10, 10)), chunks=(5, 5), compression="lzf")


def compound_type(file: h5py.File, _: Path) -> None:
    file.create_dataset("records", data=np.zeros(3, [("a", "f4"), ("b", "i4")]))


def lists_of_any_length(file: h5py.File, _: Path) -> None:
    file.create_dataset("lists", shape=(3,), dtype=h5py.vlen_dtype(np.float64))


REACHING = {
    "external storage": (external_storage, "external storage"),
    "external link": (external_link, "elsewhere"),
    "external link in a group": (external_link_in_group, "a/b/elsewhere"),
    "soft link": (soft_link, "alias"),
    "virtual dataset": (virtual_dataset, "virtual"),
    "another filter": (other_filter, "filter"),
    "compound type": (compound_type, "records"),
    "variable length": (lists_of_any_length, "lists"),
}


def four_terabytes(file: h5py.File) -> None:
    file.create_dataset("huge", shape=(10**12,), dtype="f4", chunks=(1000,))


def four_terabytes_in_parts(file: h5py.File) -> None:
    for number in range(100):
        file.create_dataset(f"part{number}", shape=(10**10,), dtype="f4", chunks=(1000,))


def huge_chunk(file: h5py.File) -> None:
    file.create_dataset("chunk", shape=(1,), maxshape=(None,), dtype="f8", chunks=(2**28,), compression="gzip")


def many_objects(file: h5py.File) -> None:
    group = file.create_group("many")
    for number in range(MAX_TEST_OBJECTS):
        group.create_group(str(number))


def many_texts(file: h5py.File) -> None:
    file.create_dataset("texts", shape=(10**6,), dtype=h5py.string_dtype(), chunks=(1000,))


def many_texts_in_attribute(file: h5py.File) -> None:
    file.attrs.create("texts", ["x"] * 1000, dtype=h5py.string_dtype())


def many_attributes(file: h5py.File) -> None:
    for number in range(BodyLimits().attributes + 1):
        file["slope"].attrs[f"a{number}"] = number


SWOLLEN_HDF5 = [
    four_terabytes,
    four_terabytes_in_parts,
    huge_chunk,
    many_objects,
    many_texts,
    many_texts_in_attribute,
    many_attributes,
]


def classic_header(variables: int, length: int, records: int = 0) -> bytes:
    """A classic file of one dimension and `variables` float variables along it, all at the same place."""
    text = struct.pack(">i4s", 1, b"d\0\0\0")
    head = b"CDF\x01" + struct.pack(">I", records) + struct.pack(">iI", 10, 1) + text + struct.pack(">I", length)
    head += struct.pack(">iI", 0, 0) + struct.pack(">iI", 11, variables)
    one = struct.pack(">i4s", 1, b"v\0\0\0") + struct.pack(">ii", 1, 0) + struct.pack(">iI", 0, 0)
    one += struct.pack(">iII", 5, 0, 64)
    return head + one * variables


def npy(header: str, data: bytes = b"") -> bytes:
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + data


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return content.getvalue()


FLOATS = "{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}"


class Exploit:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("pickle was loaded",))


def pickled() -> bytes:
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    return zipped(precipitation=npy(header, pickle.dumps(Exploit())))
