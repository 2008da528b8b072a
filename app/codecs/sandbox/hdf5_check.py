"""Checks an HDF5 file before its data are read: such a file can refer to other files and declare terabytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import h5py
import numpy as np

from app.codecs.base import BodyLimits
from app.errors import TooLargeError
from hydrofill.errors import ContractError, UnreadableError

# Filters that every HDF5 library has. Any other filter could load a plug-in.
FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})
MAX_OBJECTS = 10_000  # far more than any dataset of water variables has
MAX_TEXTS = 10_000  # in one variable of texts; all of them may refer to the same stored megabytes
MAX_TEXTS_IN_ATTRIBUTE = 64
MAX_ATTRIBUTE_BYTES = 2**20  # of all attributes together; one stored text may be referred to many times


def check_hdf5(body: bytes, limits: BodyLimits) -> None:
    """Raise an error unless `body` is an HDF5 file that holds all its data itself and is within the limits.

    Raises:
        UnreadableError: the file is damaged, or has links, external or virtual storage, or unsupported filters or
            types.
        TooLargeError: the file declares more than the limits, or has too many objects or texts.
    """
    try:
        with h5py.File(io.BytesIO(body), "r") as file:
            _check_file(file, limits)
    except ContractError:
        raise
    except Exception as error:  # a damaged file makes h5py raise any error
        raise UnreadableError("the HDF5 file cannot be read; it may be damaged") from error


def _check_file(file: h5py.File, limits: BodyLimits) -> None:
    limit = limits.decoded_bytes
    declared = attribute_bytes = attributes = variables = 0
    for number, (name, found) in enumerate(_objects(file)):
        if number >= MAX_OBJECTS:
            raise TooLargeError("the file holds too many objects", expected=f"{MAX_OBJECTS} at most")
        attributes += h5py.h5a.get_num_attrs(found.id)
        limits.check("attributes", attributes)
        attribute_bytes += _attribute_bytes(name, found, MAX_ATTRIBUTE_BYTES - attribute_bytes)
        if isinstance(found, h5py.Dataset):
            variables += 1
            limits.check("variables", variables)
            _check_storage(name, found)
            declared += _declared_bytes(found)
            _check_limit(declared, limit)
            if h5py.check_string_dtype(found.dtype) is not None and found.dtype.kind == "O":
                declared += _text_bytes(name, found, None if limit is None else limit - declared)


def _objects(file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset | h5py.Datatype]]:
    """Yield path and object of every object once, even if hard links form a circle."""
    seen = {h5py.h5o.get_info(file.id).addr}
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    yield "", file
    while waiting:
        path, group = waiting.pop()
        for name in group:
            inner = f"{path}/{name}" if path else str(name)
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnreadableError("links are not supported: a file must hold its data itself", where=inner)
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            yield inner, found
            if isinstance(found, h5py.Group):
                waiting.append((inner, found))


def _check_storage(name: str, dataset: h5py.Dataset) -> None:
    properties = dataset.id.get_create_plist()
    if properties.get_external_count() > 0:
        raise UnreadableError("external storage is not supported: a file must hold its data itself", where=name)
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise UnreadableError("virtual datasets are not supported: a file must hold its data itself", where=name)
    filters = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    if not filters <= FILTERS:
        raise UnreadableError(
            "unsupported filter",
            where=name,
            got=f"filter {min(filters - FILTERS)}",
            expected="deflate, shuffle, fletcher32",
        )
    if dataset.dtype.kind not in "biufS" and h5py.check_string_dtype(dataset.dtype) is None:
        raise UnreadableError("the data type is neither a number nor text", where=name)


def _declared_bytes(dataset: h5py.Dataset) -> int:
    """Return the bytes that reading allocates: the whole array, or one chunk if a chunk is larger."""
    counts = [math.prod(shape) for shape in (dataset.shape, dataset.chunks) if shape is not None]
    return max(counts, default=0) * int(dataset.dtype.itemsize)


def _text_bytes(name: str, dataset: h5py.Dataset, limit: int | None) -> int:
    """Return the bytes of a variable of texts, which are read one by one: many may refer to one stored text."""
    count = math.prod(dataset.shape or (0,))
    if count > MAX_TEXTS:
        raise TooLargeError("holds too many texts", where=name, got=count, expected=f"{MAX_TEXTS} at most")
    total = 0
    for index in np.ndindex(dataset.shape or (0,)):
        total += len(dataset[index])
        _check_limit(total, limit)
    return total


def _attribute_bytes(name: str, found: h5py.Group | h5py.Dataset | h5py.Datatype, limit: int) -> int:
    """Return the bytes of the object's attributes; raise an error if they exceed `limit`."""
    total = 0
    for number in range(h5py.h5a.get_num_attrs(found.id)):
        attribute = h5py.h5a.open(found.id, index=number)
        where = f"{name}/{attribute.name.decode(errors='replace')}"
        if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:  # an empty text
            continue
        total += attribute.get_storage_size()
        kind = attribute.get_type()
        is_text = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
        if is_text or isinstance(kind, h5py.h5t.TypeVlenID):
            if math.prod(attribute.shape or (0,)) > MAX_TEXTS_IN_ATTRIBUTE:
                expected = f"{MAX_TEXTS_IN_ATTRIBUTE} at most"
                raise TooLargeError("an attribute holds too many texts", where=where, expected=expected)
            if is_text:
                total += _text_attribute_bytes(attribute)
        if total > limit:
            raise TooLargeError(
                "the attributes are too large", where=where, expected=f"{MAX_ATTRIBUTE_BYTES} bytes at most"
            )
    return total


def _text_attribute_bytes(attribute: h5py.h5a.AttrID) -> int:
    if attribute.shape is None:
        return 0
    texts = np.empty(attribute.shape, dtype=h5py.string_dtype())
    attribute.read(texts)
    return sum(len(text) for text in texts.flat if text is not None)


def _check_limit(needed: int, limit: int | None) -> None:
    if limit is not None and needed > limit:
        raise TooLargeError("the file declares too much", got=f"{needed} bytes", expected=f"{limit} at most")
