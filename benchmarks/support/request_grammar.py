"""Requests made by rules from a seed: well formed, and odd in some of their parts.

Flipped bytes are refused by the first check that reads them. These requests get further: their parts are right by
themselves, and some are odd: axes, times, places of sites, types of numbers, values, methods of archives, headers.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

JSON, NPZ, NETCDF = "application/json", "application/x-npz", "application/x-netcdf"
NAMES = ("precipitation", "pet", "river_flow", "temperature", "a b", "débit", "x", "v" * 300, "rain_std", "n\0")
UNITS = ("mm day-1", "m3 s-1", "degC", "1", "", "kg", "furlong", "d" * 2_000)
DTYPES = ("<f4", "<f8", ">f4", "<f2", "<i2", "<i8", "<u8", "|b1", "|i1", "<f8")
WEIGHTS = ("q=1", "q=0", "q=nan", "q=inf", "q=-1", "q=1e999", "q=", "q=0.5", "q=\xb2", "q=1;q=0", "level=1")
ODD = 0.06  # share of parts that are odd: most requests have one odd part, or none


@dataclass(frozen=True)
class Request:
    """A request; `description` says by which rules it was made."""

    description: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def make_request(seed: int) -> Request:
    """Return the request of a seed, always the same."""
    rng = np.random.default_rng(seed)
    rules: list[str] = []

    def pick(name: str, usual: str, *odd: str) -> str:
        choice = odd[int(rng.integers(len(odd)))] if rng.random() < ODD else usual
        rules.append(f"{name}={choice}")
        return choice

    data = _dataset(rng, pick)
    media_type = (JSON, NPZ, NETCDF)[int(rng.integers(3))]
    body = {JSON: _json, NPZ: _npz, NETCDF: _netcdf}[media_type](data, rng, pick)
    if pick("damage", "none", "flips", "cut") != "none":
        body = _damaged(body, rng)
    headers = {"Content-Type": media_type}
    if rng.random() < 4 * ODD:
        headers["Accept"] = _accept(rng)
    path = pick("path", "/reconstruct", "/estimate", "/reconstruct?max_gap=2", "/reconstruct?only_gaps=true")
    return Request(f"seed {seed}: {media_type} {' '.join(rules)} {headers.get('Accept', '')}", path, headers, body)


def _dataset(rng: np.random.Generator, pick: Callable[..., str]) -> xr.Dataset:
    steps, rows, columns, sites = (
        int(rng.choice(sizes)) for sizes in ((1, 2, 5, 12, 40), (1, 2, 4, 9), (1, 2, 4, 9), (0, 1, 2, 7, 60))
    )
    axes = {
        "time": _times(rng, pick, steps),
        "y": _axis(rng, pick, rows),
        "x": _axis(rng, pick, columns),
    }
    coords: dict[str, tuple[str, np.ndarray]] = {name: (name, values) for name, values in axes.items()}
    kinds = [("time", "y", "x"), ("y", "x")] if sites == 0 else [("time", "y", "x"), ("time", "site"), ("site",)]
    if sites:
        coords |= {"site": ("site", np.array([f"s{n}" for n in range(sites)]))}
        coords |= {f"site_{axis}": ("site", _places(rng, pick, axes[axis], sites)) for axis in ("y", "x")}
    lengths = {"time": steps, "y": rows, "x": columns, "site": sites}
    variables = {}
    for name in rng.permutation(NAMES[: 6 if rng.random() > ODD else None])[: int(rng.integers(1, 4))]:
        dims = kinds[int(rng.integers(len(kinds)))]
        values = _values(rng, pick, tuple(lengths[d] for d in dims))
        variables[str(name)] = (dims, values, {"units": str(rng.choice(UNITS[: 5 if rng.random() > ODD else None]))})
    return xr.Dataset(variables).assign_coords(coords)


def _times(rng: np.random.Generator, pick: Callable[..., str], steps: int) -> np.ndarray:
    rule = pick("time", "days", "hours", "irregular", "repeated", "backwards", "missing", "far", "close")
    if rule == "close":
        return np.datetime64("2012-01-01", "ns") + np.arange(steps)
    first = np.datetime64("1680-01-01" if rule == "far" else "2012-08-01", "ns")
    each = np.timedelta64({"hours": 3_600, "far": 86_400 * 4_000}.get(rule, 86_400), "s")
    number = np.cumsum(rng.integers(1, 400, steps)) if rule == "irregular" else np.arange(steps)
    times = first + (number // 3 if rule == "repeated" else number) * each
    if rule == "missing":
        times[0] = np.datetime64("NaT")
    return times[::-1] if rule == "backwards" else times


def _axis(rng: np.random.Generator, pick: Callable[..., str], length: int) -> np.ndarray:
    rule = pick("axis", "even", "uneven", "down", "vast", "tiny", "far", "equal", "missing", "infinite")
    even = np.arange(length, dtype=np.float64)
    axes = {
        "uneven": np.cumsum(rng.gamma(0.3, 10, length)),
        "down": -even,
        "vast": 1e300 * even,
        "tiny": 1e-300 * even,
        "far": 1e17 + 16 * even,
        "equal": 0 * even,
        "missing": np.where(even == 0, np.nan, even),
        "infinite": np.where(even == 0, -np.inf, even),
    }
    return axes.get(rule, even)


def _places(rng: np.random.Generator, pick: Callable[..., str], axis: np.ndarray, sites: int) -> np.ndarray:
    rule = pick("places", "inside", "one", "vast", "missing", "tiny")
    inside = rng.uniform(0, max(len(axis) - 1, 1), sites)
    places = {"one": 0 * inside, "vast": 1e300 * inside, "missing": inside * np.nan, "tiny": 1e-300 * inside}
    return places.get(rule, inside)


def _values(rng: np.random.Generator, pick: Callable[..., str], shape: tuple[int, ...]) -> np.ndarray:
    rule = pick("values", "usual", *_odd_values(rng, (1,)))
    values = _odd_values(rng, shape).get(rule, rng.gamma(2.0, 2.0, shape))
    seen = pick("seen", "most", "all", "none", "one", "first step", "one site in thirty")
    shares = {"all": 1.0, "none": 0.0, "one": 0.0, "first step": 0.0, "one site in thirty": 0.0}
    visible = rng.random(shape) < shares.get(seen, 0.6)
    if visible.size and seen == "one":
        visible.flat[int(rng.integers(visible.size))] = True
    if visible.size and seen == "first step":
        visible[0] = True
    if visible.size and seen == "one site in thirty":
        visible[..., ::30] = True
    dtype = np.dtype(pick("dtype", "<f4", *DTYPES))
    with np.errstate(all="ignore"):
        return np.where(visible, values, np.nan).astype(dtype) if dtype.kind == "f" else values.astype(dtype)


def _odd_values(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    usual = rng.normal(0.0, 1.0, shape)
    return {
        "largest": np.where(usual > 0, 3.0e38, -3.0e38),
        "large": 1e19 * usual,
        "very large": 1e30 * usual,
        "one large": np.where(usual > 1.5, 3.0e38, usual),
        "smallest": 1e-45 * np.sign(usual),
        "small": 1e-30 * usual,
        "mixed": 10.0 ** rng.uniform(-38, 38, shape),
        "equal": np.full(shape, 7.0),
        "zero": np.zeros(shape),
        "offset": 1e8 + usual,
        "infinite": np.where(usual > 1, np.inf, usual),
        "beyond float32": 1e300 * usual,
    }


def _json(data: xr.Dataset, rng: np.random.Generator, pick: Callable[..., str]) -> bytes:
    document: dict[str, object] = {"time": [f"{t}Z" for t in np.datetime_as_string(data["time"].values, unit="s")]}
    names = pick("names of axes", "y x", "lat lon", "y lon").split()
    document |= {name: data[axis].values.tolist() for name, axis in zip(names, ("y", "x"), strict=True)}
    if "site" in data.dims:
        places = zip(*(data[n].values.tolist() for n in ("site", "site_y", "site_x")), strict=True)
        document["sites"] = [dict(zip(("id", *names), place, strict=True)) for place in places]
    sections: dict[str, dict[str, object]] = {"fields": {}, "series": {}, "static": {}}
    section_of = {("time", "y", "x"): "fields", ("time", "site"): "series"}
    for name, variable in data.data_vars.items():
        section = section_of.get(tuple(map(str, variable.dims)), "static")
        sections[section][str(name)] = {"units": variable.attrs["units"], "values": variable.values.tolist()}
    text = json.dumps(document | sections)  # writes NaN and Infinity
    if pick("missing", "null", "NaN") == "null":
        text = text.replace("NaN", "null")
    rule = pick("json", "plain", "twice", "deep", "many", "huge number", "escape", "surrogate")
    odd = {
        "twice": text.replace('"units"', '"units": "1", "units"', 1),
        "deep": text[:-1] + ', "deeper": ' + "[" * 20_000 + "]" * 20_000 + "}",
        "many": text[:-1] + ', "static": {' + ",".join(f'"v{n}": {{"values": []}}' for n in range(3_000)) + "}}",
        "huge number": text.replace("[", "[1e400,", 1) if rng.random() < 0.5 else text.replace("0.", "1e400", 1),
        "escape": text.replace('"mm day-1"', '"mm \\u0000"'),
        "surrogate": text.replace('"mm day-1"', '"mm \\ud800"'),
    }
    return odd.get(rule, text).encode("utf-8", "surrogatepass")


def _npz(data: xr.Dataset, rng: np.random.Generator, pick: Callable[..., str]) -> bytes:
    arrays = {str(name): variable.values for name, variable in data.variables.items()}
    arrays |= {f"{name}_units": np.array(v.attrs["units"]) for name, v in data.data_vars.items()}
    rule = pick("time type", "ns", "generic", "as", "text", "numbers", "vast unit")
    times = arrays["time"]
    arrays["time"] = {
        "generic": times.astype("i8").view("M8"),
        "as": times.astype("i8").view("M8[as]"),
        "vast unit": times.astype("i8").view("M8[1000000Y]"),
        "text": np.datetime_as_string(times),
        "numbers": times.astype("i8"),
    }.get(rule, times)
    members = {name: _npy(values) for name, values in arrays.items()}
    first = next(iter(members))
    rule = pick("npy", "plain", "beyond Unicode", "huge header", "huge shape", "negative shape", "objects", "no items")
    header = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n"
    members[first] = {
        "beyond Unicode": _npy(np.array([0x110000, 0xD800], "<u4").view("<U1")),
        "huge header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 200_000,
        "huge shape": _header(header.format("<f4", (2**62, 2**62))),
        "negative shape": _header(header.format("<f4", (-1, 4))),
        "objects": _header(header.format("|O", (1,))),
        "no items": _header(header.format("<U0", (10**15,))),
    }.get(rule, members[first])
    method = pick("zip", "stored", "deflate", "bzip2", "lzma", "twice", "bomb")
    kind = {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA, "stored": zipfile.ZIP_STORED}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", kind.get(method, zipfile.ZIP_DEFLATED)) as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member)
        if method == "twice":
            archive.writestr("twice.npy", b"")
            archive.writestr("twicf.npy", b"")
        if method in ("bomb", "bzip2", "lzma"):
            archive.writestr("zeros.npy", _npy(np.zeros(2**20 * int(rng.choice([1, 8])))))
    return content.getvalue().replace(b"twicf", b"twice")


def _npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, values, allow_pickle=False)
    return content.getvalue()


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _netcdf(data: xr.Dataset, rng: np.random.Generator, pick: Callable[..., str]) -> bytes:
    form = pick("netcdf", "hdf5", "classic")
    for old in [name for name in data.variables if "\0" in str(name) or (str(name) == "x" and name in data.data_vars)]:
        data = data.drop_vars(str(old))
    for variable in data.variables.values():
        if (variable.dtype.kind in "f" and variable.dtype.itemsize not in (4, 8)) or variable.dtype.kind in "bu":
            variable.values = variable.values.astype(np.float32)
        elif form == "classic" and variable.dtype.kind == "i" and variable.dtype.itemsize == 8:
            variable.values = variable.values.astype(np.float64)
    rule = pick("attributes", "plain", "many", "packing", "calendar", "odd units of time")
    data.attrs |= {f"a{n}": n for n in range(3_000 if rule == "many" else 0)}
    data["time"].encoding = {
        "calendar": {"units": "days since 2000-01-01", "calendar": "360_day"},
        "odd units of time": {"units": "days since 0001-01-01"},
    }.get(rule, {})
    name = next(iter(data.data_vars), None)
    if rule == "packing" and name is not None:
        data[name].attrs |= {"scale_factor": float(rng.choice([0.0, 1e300, np.nan, -1.0])), "add_offset": 1e300}
    if pick("dimensions", "few", "many", "deep") == "many":
        data = data.assign({f"w{n}": (f"d{n}", np.zeros(1)) for n in range(int(rng.choice([50, 300])))})
    data = data.drop_vars("site") if form == "classic" and "site" in data.variables else data
    try:
        return bytes(data.to_netcdf(engine="scipy" if form == "classic" else "h5netcdf"))
    except Exception:  # noqa: BLE001 (what cannot be written cannot be sent)
        return bytes(xr.Dataset({"v": ("time", np.zeros(3))}).to_netcdf(engine="scipy"))


def _damaged(body: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(body)
    for at in rng.integers(0, len(body), 3):
        damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged[: int(rng.integers(1, len(body)))] if rng.random() < 0.3 else damaged)


def _accept(rng: np.random.Generator) -> str:
    types = (JSON, NPZ, NETCDF, "*/*", "application/*", "text/html", "")
    parts = [f"{rng.choice(types)};{rng.choice(WEIGHTS)}" for _ in range(int(rng.integers(1, 4)))]
    return ", ".join(parts)
