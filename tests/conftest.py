"""Small cubes with known contents, for every part's tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest
import xarray as xr

from app.local_server import local_server
from hydrofill.bundle import shipped_bundles
from hydrofill.cube import Sites, Variable, WaterCube
from hydrofill.layout import Layout, Patch, Place, VariableSpec, WindowSize

SEED = 20261123

# A busy machine makes no test wrong: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start slow tests first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks here are so small that threads only wait for each other."""
    if importlib.util.find_spec("torch") is not None:
        importlib.import_module("torch").set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def small_basin(rng: np.random.Generator) -> xr.Dataset:
    """20 days x 7 x 5 cells at 1 km, not square, with gaps; two gauges; a static field and a site attribute."""
    time = np.datetime64("2012-08-01", "ns") + np.arange(20) * np.timedelta64(1, "D")
    rain = np.maximum(rng.normal(0, 3, (20, 7, 5)), 0).astype(np.float32)
    pet = rng.normal(3, 1, (20, 7, 5)).clip(0.1).astype(np.float32)
    flow = rng.gamma(2, 2, (20, 2)).astype(np.float32)
    rain[rng.random(rain.shape) < 0.4] = np.nan
    pet[4:6] = np.nan
    flow[5:12, 0] = np.nan
    return xr.Dataset(
        {
            "precipitation": (
                ("time", "y", "x"),
                rain,
                {"units": "mm day-1", "standard_name": "lwe_precipitation_rate"},
            ),
            "pet": (("time", "y", "x"), pet, {"units": "mm day-1"}),
            "river_flow": (("time", "site"), flow, {"units": "m3 s-1"}),
            "slope": (("y", "x"), rng.random((7, 5)).astype(np.float32), {"units": "1"}),
            "area": (("site",), np.array([113.0, 169.0], np.float32), {"units": "km2"}),
        },
        coords={
            "time": time,
            "y": ("y", 6_300_000 - 1000.0 * np.arange(7), {"units": "m", "axis": "Y"}),
            "x": ("x", 760_000 + 1000.0 * np.arange(5), {"units": "m", "axis": "X"}),
            "site": ["Y3204040", "Y3204010"],
            "site_y": ("site", [6_296_500.0, 6_299_000.0]),
            "site_x": ("site", [762_000.0, 763_100.0]),
        },
        attrs={"title": "a small basin", "history": "made"},
    )


@pytest.fixture
def dataset(rng: np.random.Generator) -> xr.Dataset:
    return small_basin(rng)


def small_layout() -> Layout:
    """Windows of 8 days over the whole small basin, patches of 3 x 2 cells, none of which divides the grid."""
    return Layout(
        variables=(
            VariableSpec(
                name="precipitation",
                kind="grid",
                units="mm day-1",
                standard_name="lwe_precipitation_rate",
                lower=0,
                transform="sqrt",
            ),
            VariableSpec(name="pet", kind="grid", units="mm day-1", lower=0),
            VariableSpec(name="river_flow", kind="series", units="m3 s-1", lower=0, transform="sqrt"),
        ),
        static=(
            VariableSpec(name="slope", kind="static_grid", units="1"),
            VariableSpec(name="area", kind="static_site", units="km2"),
        ),
        patch=Patch(rows=3, columns=2, steps=4),
        window=WindowSize(steps=8, rows=7, columns=5),
        place=Place(
            y_origin=6_294_000,
            x_origin=760_000,
            y_spacing=1000,
            x_spacing=1000,
            rows=7,
            columns=5,
            units="m",
            step_s=86_400,
        ),
    )


@pytest.fixture
def layout() -> Layout:
    return small_layout()


@pytest.fixture
def cube() -> WaterCube:
    """Two days of 2 x 3 cells, numbered 0 to 11, the last one missing; one gauge."""
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    values[1, 1, 2] = np.nan
    return WaterCube(
        time=np.array(["2012-08-01", "2012-08-02"], "datetime64[ns]"),
        y=np.array([1.0, 2.0]),
        x=np.array([1.0, 2.0, 3.0]),
        sites=Sites(np.array(["a"]), np.array([1.0]), np.array([3.0])),
        variables={
            "rain": Variable("rain", "grid", values, "mm day-1"),
            "flow": Variable("flow", "series", np.array([[1.0], [np.nan]], np.float32), "m3 s-1"),
        },
    )


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server with the shipped bundles; one for all tests that only ask it."""
    with local_server(shipped_bundles(), tmp_path_factory.mktemp("server") / "log") as server:
        yield server.address
