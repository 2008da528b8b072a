"""application/x-npz <-> dataset: flat named arrays, never pickled objects.

Keys of a request: `time` (datetime64, or ISO 8601 texts), `y` and `x` (or `lat` and `lon`), `site` with `site_y` and
`site_x`, and the model's variables by name, each with `<name>_units` (the model's where left out).
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from typing import IO

import numpy as np
import xarray as xr

from app.codecs.base import Codec, Reply, SentVariable
from app.codecs.build_dataset import X_NAMES, Y_NAMES, Named, SentSites, assemble, check_grid
from app.codecs.times import read_times
from app.errors import TooLargeError
from hydrofill.cf.axes import check_times
from hydrofill.cube import Kind
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnknownVariableError, UnreadableError
from hydrofill.layout import Layout

MEDIA_TYPE = "application/x-npz"
MAX_MEMBERS = 1_000  # far above any model's variables
COORDINATES = frozenset({"time", *Y_NAMES, *X_NAMES, "site", *(f"site_{name}" for name in (*Y_NAMES, *X_NAMES))})
BESIDE = ("_units", "_domain")  # what may stand beside a variable
KINDS = "biufMU"  # of numpy's dtypes: numbers, times, texts


@dataclass(frozen=True, eq=False)
class SentNpz:
    """The arrays of a request by key."""

    arrays: dict[str, np.ndarray]

    @property
    def variables(self) -> tuple[SentVariable, ...]:
        """What was sent."""
        names = (key for key in self.arrays if key not in COORDINATES and not key.endswith(BESIDE))
        return tuple(SentVariable(name, "") for name in names)

    def locate(self, where: str) -> str:
        """`lat` for `y` where the grid was sent so; a variable's name is its place."""
        renamed = {"y": "lat", "x": "lon"}.get(where, where)
        return renamed if renamed in self.arrays else where

    def to_dataset(self, layout: Layout) -> xr.Dataset:
        """The request as a dataset on dimensions time, y and x (or lat and lon), and site."""
        if "time" not in self.arrays:
            raise CoordinateError("is missing", where="time")
        kinds: dict[str, Kind] = {spec.name: spec.kind for spec in (*layout.variables, *layout.static)}
        self._check_keys(kinds)
        units = {spec.name: spec.units for spec in (*layout.variables, *layout.static)}
        names = [sent.name for sent in self.variables]
        variables = [
            Named(name, kinds[name], self._numbers(name), self._text(f"{name}_units", units[name]), name)
            for name in names
        ]
        domains = [f"{name}_domain" for name in names if f"{name}_domain" in self.arrays]
        variables += [Named(name, "static_grid", self._numbers(name), "1", name) for name in domains]
        axes = {name: self._numbers(name).astype(np.float64) for name in (*Y_NAMES, *X_NAMES) if name in self.arrays}
        grid = check_grid(axes, needed=any(v.kind in ("grid", "static_grid") for v in variables))
        return assemble(self._times(), grid, self._sites(), variables)

    def _check_keys(self, kinds: dict[str, Kind]) -> None:
        """Refuses a key that is neither the model's nor one that stands beside such a one."""
        for key in self.arrays:
            main = next((key.removesuffix(end) for end in BESIDE if key.endswith(end)), key)
            if key not in COORDINATES and key not in kinds and (main == key or main not in self.arrays):
                raise UnknownVariableError(
                    "the model has no such variable", where=key, expected=f"one of {list(kinds)}"
                )

    def _numbers(self, key: str) -> np.ndarray:
        values = self.arrays[key]
        if values.dtype.kind not in "biuf":
            raise StructureError("is not numeric", where=key, got=values.dtype)
        odd = values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8)  # NetCDF has no half nor long floats
        return values.astype(np.float64) if odd else values

    def _text(self, key: str, default: str) -> str:
        if key not in self.arrays:
            return default
        value = self.arrays[key]
        if value.dtype.kind != "U" or value.shape != ():
            raise StructureError("must be a single text", where=key, got=(value.dtype, value.shape))
        return str(value)

    def _times(self) -> np.ndarray:
        times = self.arrays["time"]
        if times.ndim != 1 or times.dtype.kind not in "MU":
            expected = "datetime64 or ISO 8601 texts, in one dimension"
            raise CoordinateError("is no time axis", where="time", got=(times.dtype, times.shape), expected=expected)
        return read_times(times.tolist()) if times.dtype.kind == "U" else check_times(times)

    def _sites(self) -> SentSites | None:
        place = {name: f"site_{name}" for name in (*Y_NAMES, *X_NAMES) if f"site_{name}" in self.arrays}
        if not place and "site" not in self.arrays:
            return None
        values = {name: self._numbers(key).astype(np.float64) for name, key in place.items()}
        number = len(next(iter(values.values()))) if values else 0
        ids = self.arrays.get("site", np.arange(number).astype(str))
        for name, of in {"site": ids, **values}.items():
            if of.shape != ids.shape or of.ndim != 1:
                raise StructureError("sites do not agree", where=name, got=of.shape, expected=ids.shape)
        return SentSites(ids.astype(str).astype(object), values)


def decode(body: bytes, max_decoded_bytes: int | None) -> SentNpz:
    """The arrays in `body`.

    Raises:
        UnreadableError: no zip archive of .npy files, damaged, or with pickled objects. TooLargeError: too much of it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return SentNpz(_read_members(archive, max_decoded_bytes))
    except ContractError:
        raise
    except Exception as error:  # damaged archives make zipfile and numpy raise anything
        raise UnreadableError("the body is not an npz archive, or it is damaged") from error


def encode(reply: Reply) -> bytes:
    """The reply's variables and coordinates by name, with units, and what filled them."""
    arrays: dict[str, np.ndarray] = {}
    for name, variable in reply.dataset.variables.items():
        values = variable.values
        arrays[str(name)] = values.astype(str) if values.dtype.kind in "OS" else values
        if "units" in variable.attrs:
            arrays[f"{name}_units"] = np.array(str(variable.attrs["units"]))
    arrays |= {key: np.array(value) for key, value in reply.dataset.attrs.items() if key.startswith("hydrofill_")}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for key, values in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                _write_array(member, values)
    return content.getvalue()


def _write_array(member: IO[bytes], values: np.ndarray) -> None:
    """The array as numpy writes it, its values in one piece and without a copy where they lie in a row."""
    if values.dtype.kind not in "biufc" or not values.flags.c_contiguous or values.size == 0:
        np.lib.format.write_array(member, values, allow_pickle=False)
        return
    header = np.lib.format.header_data_from_array_1_0(values)
    np.lib.format.write_array_header_1_0(member, header)
    member.write(values.reshape(-1).view(np.uint8).data)


def _read_members(archive: zipfile.ZipFile, limit: int | None) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise TooLargeError("the archive holds too many members", got=len(members), expected=f"{MAX_MEMBERS} at most")
    left = math.inf if limit is None else limit
    arrays: dict[str, np.ndarray] = {}
    for member in members:
        key = member.filename.removesuffix(".npy")
        if key == member.filename or key in arrays:
            raise UnreadableError("a member is not an array, or there twice", where=key)
        with archive.open(member) as file:  # what the header says of its size is not believed
            content = file.read() if limit is None else file.read(int(left) + 1)
        left -= len(content)
        if left < 0:
            raise TooLargeError("the archive inflates to too much", expected=f"{limit} bytes at most")
        arrays[key] = _read_array(content, key)
    return arrays


def _read_array(content: bytes, key: str) -> np.ndarray:
    """An array whose header is checked against the bytes that are there, so that nothing more is allocated."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise UnreadableError("is of an unknown form", where=key, got=version)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject or dtype.kind not in KINDS:
        raise UnreadableError("its type is refused", where=key, got=dtype, expected="numbers, times or texts")
    count = math.prod(shape)
    if count * dtype.itemsize != len(content) - file.tell():
        raise UnreadableError("its header does not fit its size", where=key, got=shape)
    values = np.frombuffer(content, dtype, count, file.tell())
    return values.reshape(shape, order="F" if fortran else "C")


CODEC = Codec(MEDIA_TYPE, decode, encode)
