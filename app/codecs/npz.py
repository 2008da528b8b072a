"""The codec of application/x-npz: flat named arrays, never pickled objects.

Keys of a request: `time` (datetime64, or ISO 8601 texts), `y` and `x` (or `lat` and `lon`), `site` with `site_y` and
`site_x`, and the bundle's variables V by name. Each V may have `V_units` (by default the bundle's units) and
`V_domain`. A general bundle takes any V. The shape of V tells its dimensions: (time, y, x), (time, site), (y, x) or
(site,).
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np

from app.codecs.base import BodyLimits, Codec, Reply
from app.codecs.build_dataset import (
    COORDINATES,
    DOMAIN,
    SITE_PLACES,
    X_NAMES,
    Y_NAMES,
    ArrayBody,
    NamedArray,
    SiteArrays,
    check_body,
    check_grid,
)
from app.codecs.times import as_dates, read_datetimes, read_times
from app.errors import TooLargeError
from hydrofill.cube import Kind
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnreadableError
from hydrofill.reconstruct import LONGEST_FILLED, LONGEST_MEASURED

MEDIA_TYPE = "application/x-npz"
MAX_MEMBERS = 3_000  # variables with their units and domains
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENTRY = b"PK\x01\x02"  # opens the entry of a member in the list at the end of an archive
SUFFIXES = ("_units", DOMAIN)  # of keys that describe a variable
LONGEST = {LONGEST_FILLED, LONGEST_MEASURED}  # attributes of a fill
KINDS: tuple[Kind, ...] = ("grid", "static_grid", "series", "static_site")
DTYPE_KINDS = "biufMU"  # of numpy: numbers, times, texts
MAX_CODE_POINT = 0x10FFFF


def decode(body: bytes, limits: BodyLimits) -> ArrayBody:
    """Read the arrays in `body`.

    Raises:
        UnreadableError: the body is not a zip archive of .npy files, is damaged, or holds pickled objects.
        StructureError, CoordinateError: an array has the wrong type or shape, or describes none; names it.
        TooLargeError: the body exceeds the limits.
    """
    arrays = _read_archive(body, limits)
    if "time" not in arrays:
        raise CoordinateError("is missing", where="time")
    names = [name for name in arrays if name not in COORDINATES and not name.endswith(SUFFIXES)]
    domains = [f"{name}{DOMAIN}" for name in names if f"{name}{DOMAIN}" in arrays]
    units = {f"{name}_units" for name in names}
    for key in arrays.keys() - COORDINATES - {*names, *domains, *units}:
        raise StructureError("describes a variable that the body does not hold", where=key)
    variables = [NamedArray(name, KINDS, _numbers(arrays, name), _units(arrays, name), name, name) for name in names]
    variables += [NamedArray(name, ("static_grid",), _numbers(arrays, name), None, name, name) for name in domains]
    grid = check_grid(_floats(arrays, (*Y_NAMES, *X_NAMES)), needed=False)
    return check_body(ArrayBody(_times(arrays["time"]), grid, _sites(arrays), variables), limits)


def _numbers(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    values = arrays[key]
    if values.dtype.kind not in "biuf":
        raise StructureError("is not numeric", where=key, got=values.dtype)
    unusual = values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8)  # NetCDF has no such floats
    with np.errstate(over="ignore"):  # of a value beyond float64, which is then refused as infinite
        return values.astype(np.float64) if unusual else values


def _floats(arrays: Mapping[str, np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
    return {key: _numbers(arrays, key).astype(np.float64) for key in keys if key in arrays}


def _units(arrays: Mapping[str, np.ndarray], name: str) -> str | None:
    key = f"{name}_units"
    if key not in arrays:
        return None
    value = arrays[key]
    if value.dtype.kind != "U" or value.shape != ():
        raise StructureError("must be a single text", where=key, got=(value.dtype, value.shape))
    return str(value)


def _times(times: np.ndarray) -> np.ndarray:
    if times.ndim != 1 or times.dtype.kind not in "MU":
        expected = "datetime64 or ISO 8601 texts in one dimension"
        raise CoordinateError("is not a time axis", where="time", got=(times.dtype, times.shape), expected=expected)
    return read_times(times.tolist()) if times.dtype.kind == "U" else read_datetimes(times)


def _sites(arrays: Mapping[str, np.ndarray]) -> SiteArrays | None:
    place = {key.removeprefix("site_"): values for key, values in _floats(arrays, SITE_PLACES).items()}
    if not place and "site" not in arrays:
        return None
    number = next(iter(place.values())).size if place else 0
    ids = arrays.get("site", np.arange(number).astype(str))
    for name, of in {"site": ids, **{f"site_{name}": values for name, values in place.items()}}.items():
        if of.shape != ids.shape or of.ndim != 1:
            raise StructureError("does not have one value per site", where=name, got=of.shape, expected=ids.shape)
    return SiteArrays(ids.astype(str).astype(object), place)


def encode(reply: Reply) -> bytes:
    """Write the reply's variables and coordinates by name, with their units and the bundle that filled them.

    Texts `V_expected_skill`, `V_longest_gap_filled`, `V_longest_gap_measured` and `hydrofill_calibration` are as the
    attributes in NetCDF.
    """
    arrays: dict[str, np.ndarray] = {}
    cube, dimensions = reply.reading.cube, reply.reading.dimensions.values()
    time = next((d.coordinate for d in dimensions if d.axis == "time"), None)
    for name, variable in reply.dataset.variables.items():
        if name == time:
            arrays[str(name)] = as_dates(cube.time, cube.calendar)
            continue
        values = variable.values
        arrays[str(name)] = values.astype(str) if values.dtype.kind in "OS" else values
        if "units" in variable.attrs:
            arrays[f"{name}_units"] = np.array(str(variable.attrs["units"]))
    for name, source in reply.reading.source.items():
        if (skill := reply.expected_skill(name)) is not None:
            arrays[f"{source}_expected_skill"] = np.array(skill)
        for key in LONGEST & (reply.filled[name].attributes if name in reply.filled else {}).keys():
            arrays[f"{source}_{key.removeprefix('hydrofill_')}"] = np.array(reply.filled[name].attributes[key])
    arrays |= {key: np.array(value) for key, value in reply.dataset.attrs.items() if key.startswith("hydrofill_")}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for key, values in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                _write_array(member, values)
    return content.getvalue()


def _write_array(member: IO[bytes], values: np.ndarray) -> None:
    """Write the array as numpy does; write contiguous values in one piece and without a copy."""
    if values.dtype.kind not in "biufc" or not values.flags.c_contiguous or values.size == 0:
        np.lib.format.write_array(member, values, allow_pickle=False)
        return
    header = np.lib.format.header_data_from_array_1_0(values)
    np.lib.format.write_array_header_1_0(member, header)
    member.write(values.reshape(-1).view(np.uint8).data)


def _read_archive(body: bytes, limits: BodyLimits) -> dict[str, np.ndarray]:
    """Return the arrays by key; nothing is inflated beyond the limit of bytes."""
    if body.count(ENTRY) > MAX_MEMBERS:  # before zipfile makes an object of each
        raise TooLargeError("the archive holds too many members", expected=f"{MAX_MEMBERS} at most")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return _read_members(archive, limits.decoded_bytes)
    except (ContractError, MemoryError):
        raise
    except Exception as error:  # a damaged archive makes zipfile and numpy raise any error
        raise UnreadableError("the body is not an npz archive, or is damaged") from error


def _read_members(archive: zipfile.ZipFile, limit: int | None) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise TooLargeError("the archive holds too many members", got=len(members), expected=f"{MAX_MEMBERS} at most")
    remaining = math.inf if limit is None else limit
    arrays: dict[str, np.ndarray] = {}
    for member in members:
        key = member.filename.removesuffix(".npy")
        if key == member.filename or key in arrays:
            raise UnreadableError("is not an array, or is in the archive twice", where=key)
        if member.compress_type not in METHODS:  # zipfile inflates the other methods without a limit
            raise UnreadableError(
                "unsupported compression", where=key, got=f"method {member.compress_type}", expected=f"one of {METHODS}"
            )
        with archive.open(member) as file:  # the size in the header is not trusted
            content = file.read() if limit is None else file.read(int(remaining) + 1)
        remaining -= len(content)
        if remaining < 0:
            raise TooLargeError("the decompressed archive is too large", expected=f"{limit} bytes at most")
        arrays[key] = _read_array(content, key)
    return arrays


def _read_array(content: bytes, key: str) -> np.ndarray:
    """Return an array whose header matches the bytes that are there, so that nothing more is allocated."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise UnreadableError("unknown version of the .npy format", where=key, got=version)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject or dtype.kind not in DTYPE_KINDS:
        raise UnreadableError("unsupported data type", where=key, got=dtype, expected="numbers, times or texts")
    count = math.prod(shape)
    if count * dtype.itemsize != len(content) - file.tell():
        raise UnreadableError("the header does not match the size of the data", where=key, got=shape)
    values = np.frombuffer(content, dtype, count, file.tell())
    if dtype.kind == "U" and values.size and _code_points(values).max() > MAX_CODE_POINT:
        raise UnreadableError("has a text that is not valid Unicode", where=key)
    return values.reshape(shape, order="F" if fortran else "C")


def _code_points(texts: np.ndarray) -> np.ndarray:
    """Return the code points of texts as numpy stores them: four bytes each."""
    return texts.view(np.dtype("u4").newbyteorder(texts.dtype.byteorder))


CODEC = Codec(MEDIA_TYPE, decode, encode)
