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
from dataclasses import dataclass
from typing import IO

import numpy as np
import xarray as xr

from app.codecs.base import Codec, Reply, VariableId
from app.codecs.build_dataset import (
    COORDINATES,
    X_NAMES,
    Y_NAMES,
    NamedArray,
    SiteArrays,
    build_dataset,
    check_any_name,
    check_grid,
)
from app.codecs.times import as_dates, read_times
from app.errors import TooLargeError
from hydrofill.cf.axes import check_times
from hydrofill.cube import DIMS, Kind
from hydrofill.errors import ContractError, CoordinateError, StructureError, UnknownVariableError, UnreadableError
from hydrofill.layout import Layout

MEDIA_TYPE = "application/x-npz"
MAX_MEMBERS = 1_000  # far more than the variables of any model
SUFFIXES = ("_units", "_domain")  # of keys that describe a variable
KINDS = "biufMU"  # numpy dtype kinds: numbers, times, texts


@dataclass(frozen=True, eq=False)
class NpzBody:
    """An NPZ request: its arrays by key."""

    arrays: dict[str, np.ndarray]

    @property
    def variables(self) -> tuple[VariableId, ...]:
        """The variables of the request."""
        names = (key for key in self.arrays if key not in COORDINATES and not key.endswith(SUFFIXES))
        return tuple(VariableId(name, "") for name in names)

    def locate(self, where: str) -> str:
        """Return the key: the name itself, and `lat` for `y` if the request calls it so."""
        renamed = {"y": "lat", "x": "lon"}.get(where, where)
        return renamed if renamed in self.arrays else where

    def to_dataset(self, layout: Layout) -> xr.Dataset:
        """Return the request as a dataset on the dimensions time, y and x (or lat and lon), and site."""
        if "time" not in self.arrays:
            raise CoordinateError("is missing", where="time")
        names = [variable.name for variable in self.variables]
        specs = () if layout.general else (*layout.variables, *layout.static)
        kinds: dict[str, Kind] = self._kinds_by_shape(names) if layout.general else {s.name: s.kind for s in specs}
        self._check_keys(kinds, layout.general)
        units = {spec.name: spec.units for spec in specs}
        variables = [
            NamedArray(name, kinds[name], self._numbers(name), self._text(f"{name}_units", units.get(name, "")), name)
            for name in names
        ]
        domains = [f"{name}_domain" for name in names if f"{name}_domain" in self.arrays]
        variables += [NamedArray(name, "static_grid", self._numbers(name), "1", name) for name in domains]
        grid = check_grid(self._axes(), needed=any(v.kind in ("grid", "static_grid") for v in variables))
        return build_dataset(self._times(), grid, self._sites(), variables)

    def _axes(self) -> dict[str, np.ndarray]:
        return {name: self._numbers(name).astype(np.float64) for name in (*Y_NAMES, *X_NAMES) if name in self.arrays}

    def _kinds_by_shape(self, names: Sequence[str]) -> dict[str, Kind]:
        """Return the kinds of variables that no bundle knows by name."""
        grid = tuple(len(axis) for axis in check_grid(self._axes(), needed=False).values())
        sites = self._sites()
        shapes = _shapes(len(self._times()), grid, None if sites is None else len(sites.ids))
        return {name: self._kind_by_shape(name, shapes) for name in names}

    def _kind_by_shape(self, name: str, shapes: Mapping[Kind, tuple[int, ...]]) -> Kind:
        """Return the kind of a variable that no bundle knows by name: the only kind with its shape.

        Args:
            name: the key of the variable.
            shapes: the shape of each kind that the coordinates of the request allow.

        Raises:
            StructureError: no kind or several kinds have this shape, or the name cannot be used.
        """
        check_any_name(name, name)
        shape = self._numbers(name).shape
        if len(shape) == 3:
            return "grid"
        found = [kind for kind, expected in shapes.items() if expected == shape]
        if len(found) == 1:
            return found[0]
        if found:
            fitting = " and ".join(str(DIMS[kind]) for kind in found)
            raise StructureError(
                f"the shape fits the dimensions {fitting}: send the data as NetCDF or JSON, which name the dimensions",
                where=name,
                got=shape,
            )
        expected = ", ".join(f"{DIMS[kind]} {expected}" for kind, expected in shapes.items())
        raise StructureError("the shape does not match the coordinates", where=name, got=shape, expected=expected)

    def _check_keys(self, kinds: Mapping[str, Kind], general: bool) -> None:
        """Raise an error for a key that is neither a variable of the bundle nor describes one of the request."""
        for key in self.arrays:
            main = next((key.removesuffix(end) for end in SUFFIXES if key.endswith(end)), key)
            if key not in COORDINATES and key not in kinds and (main == key or main not in self.arrays):
                if general:
                    raise StructureError("describes a variable that the body does not hold", where=key, expected=main)
                raise UnknownVariableError(
                    "the model has no such variable", where=key, expected=f"one of {list(kinds)}"
                )

    def _numbers(self, key: str) -> np.ndarray:
        values = self.arrays[key]
        if values.dtype.kind not in "biuf":
            raise StructureError("is not numeric", where=key, got=values.dtype)
        unusual = values.dtype.kind == "f" and values.dtype.itemsize not in (
            4,
            8,
        )  # NetCDF has no such floats
        return values.astype(np.float64) if unusual else values

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
            expected = "datetime64 or ISO 8601 texts in one dimension"
            raise CoordinateError("is not a time axis", where="time", got=(times.dtype, times.shape), expected=expected)
        return read_times(times.tolist()) if times.dtype.kind == "U" else check_times(times)

    def _sites(self) -> SiteArrays | None:
        place = {name: f"site_{name}" for name in (*Y_NAMES, *X_NAMES) if f"site_{name}" in self.arrays}
        if not place and "site" not in self.arrays:
            return None
        values = {name: self._numbers(key).astype(np.float64) for name, key in place.items()}
        number = len(next(iter(values.values()))) if values else 0
        ids = self.arrays.get("site", np.arange(number).astype(str))
        for name, of in {"site": ids, **values}.items():
            if of.shape != ids.shape or of.ndim != 1:
                raise StructureError("does not have one value per site", where=name, got=of.shape, expected=ids.shape)
        return SiteArrays(ids.astype(str).astype(object), values)


def _shapes(n_time: int, grid: tuple[int, ...], n_sites: int | None) -> dict[Kind, tuple[int, ...]]:
    """Return the shape of each kind of variable; `grid` is (H, W), or empty without a grid."""
    of_grid: dict[Kind, tuple[int, ...]] = {"grid": (n_time, *grid), "static_grid": grid} if grid else {}
    if n_sites is None:
        return of_grid
    return {**of_grid, "series": (n_time, n_sites), "static_site": (n_sites,)}


def decode(body: bytes, max_decoded_bytes: int | None) -> NpzBody:
    """Read the arrays in `body`.

    Raises:
        UnreadableError: the body is not a zip archive of .npy files, is damaged, or holds pickled objects.
        TooLargeError: the archive has too many members, or inflates to more than `max_decoded_bytes`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return NpzBody(_read_members(archive, max_decoded_bytes))
    except ContractError:
        raise
    except Exception as error:  # a damaged archive makes zipfile and numpy raise any error
        raise UnreadableError("the body is not an npz archive, or is damaged") from error


def encode(reply: Reply) -> bytes:
    """Write the reply's variables and coordinates by name, with their units and the bundle that filled them.

    Texts `V_expected_skill` and `hydrofill_calibration` are as the attributes in NetCDF.
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
    if dtype.hasobject or dtype.kind not in KINDS:
        raise UnreadableError("unsupported data type", where=key, got=dtype, expected="numbers, times or texts")
    count = math.prod(shape)
    if count * dtype.itemsize != len(content) - file.tell():
        raise UnreadableError("the header does not match the size of the data", where=key, got=shape)
    values = np.frombuffer(content, dtype, count, file.tell())
    return values.reshape(shape, order="F" if fortran else "C")


CODEC = Codec(MEDIA_TYPE, decode, encode)
