"""Natural gaps hit every kind, never everything, and masks of a library fit any shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hydrofill.cube import Sites, Variable, WaterCube
from model.pretraining.gap_library import (
    CODES,
    MAX_SHARE,
    MIN_SHARE,
    GapKind,
    MaskLibrary,
    draw_natural_gaps,
    gaps_of_kind,
)
from model.pretraining.simulated_fields import simulate_cube

SHAPES = [(1, 20, 20), (12, 7, 90), (300, 6, 8), (40, 50, 1)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> MaskLibrary:
    path = tmp_path_factory.mktemp("masks") / "masks.nc"
    rng = np.random.default_rng(0)
    masks = {
        name: ((f"{name}_step", f"{name}_y", f"{name}_x"), (rng.random(shape) < share).astype(np.int8))
        for name, shape, share in (("few", (9, 20, 30), 0.1), ("many", (5, 31, 17), 0.7))
    }
    xr.Dataset(masks | {"few_lat": ("few_y", np.arange(20.0))}).to_netcdf(path, engine="h5netcdf")
    return MaskLibrary(path)


def cube_of(**values: np.ndarray) -> WaterCube:
    """Return a cube of grids (T, H, W) and series (T, N), by the number of dimensions."""
    grid = next((v for v in values.values() if v.ndim == 3), np.zeros((0, 0, 0)))
    series = next((v for v in values.values() if v.ndim == 2), np.zeros((0, 0)))
    n = series.shape[1]
    steps = max(len(grid), len(series))
    return WaterCube(
        np.datetime64("2000-01-01", "ns") + np.arange(steps) * np.timedelta64(1, "D"),
        np.arange(float(grid.shape[1])),
        np.arange(float(grid.shape[2])),
        Sites(np.array([f"s{i}" for i in range(n)]), np.zeros(n), np.zeros(n)),
        {k: Variable(k, "grid" if v.ndim == 3 else "series", v.astype(np.float32), "mm") for k, v in values.items()},
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_of_a_library_fit_any_shape(library: MaskLibrary, shape: tuple[int, int, int]) -> None:
    hidden = library.draw(np.random.default_rng(1), shape, 0.3)
    assert hidden.shape == shape
    assert hidden.dtype == np.bool_
    assert hidden.any() and not hidden.all()


def test_a_library_gives_masks_near_the_share_wanted(library: MaskLibrary) -> None:
    def mean(hint: float) -> float:
        return float(np.mean([library.draw(np.random.default_rng(s), (8, 16, 16), hint).mean() for s in range(20)]))

    assert mean(0.1) < 0.3 < 0.5 < mean(0.8)


def test_variables_of_a_mask_file_that_are_no_masks_are_left_out(library: MaskLibrary) -> None:
    assert set(library.masks) == {"few", "many"}


def test_a_file_without_masks_is_refused(tmp_path: Path) -> None:
    xr.Dataset({"a": ("x", np.zeros(3))}).to_netcdf(tmp_path / "no.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="no mask"):
        MaskLibrary(tmp_path / "no.nc")


def test_gaps_of_simulated_cubes_have_a_fair_share_and_hit_every_kind(library: MaskLibrary) -> None:
    found: set[int] = set()
    for seed in range(80):
        rng = np.random.default_rng(seed)
        cube = simulate_cube(rng)
        hidden, codes = draw_natural_gaps(rng, cube, library)
        dynamic = cube.of_kind("grid", "series")
        assert set(hidden) == set(codes) == set(dynamic)
        for name, variable in dynamic.items():
            assert codes[name].dtype == np.int8
            assert codes[name].shape == variable.values.shape
            np.testing.assert_array_equal(hidden[name], codes[name] > 0)
            assert not (hidden[name] & ~variable.valid).any()
            assert (variable.valid & ~hidden[name]).any()
            found |= set(np.unique(codes[name]).tolist())
        total = sum(int(v.valid.sum()) for v in dynamic.values())
        assert MIN_SHARE <= sum(int(h.sum()) for h in hidden.values()) / total <= MAX_SHARE
    assert found == {0, *CODES.values()}


def test_without_a_library_no_gap_is_from_one() -> None:
    cube = cube_of(a=np.ones((20, 12, 12)))
    for seed in range(30):
        codes = draw_natural_gaps(np.random.default_rng(seed), cube, None).codes["a"]
        assert not (codes == CODES["library"]).any()
    with pytest.raises(ValueError, match="library"):
        gaps_of_kind(np.random.default_rng(0), "library", (3, 4, 5), 0.3, None)


@pytest.mark.parametrize("shape", [(1, 3, 3), (2, 1, 9), (1, 20, 30)])
def test_small_cubes_keep_values_too(shape: tuple[int, int, int]) -> None:
    for seed in range(30):
        hidden = draw_natural_gaps(np.random.default_rng(seed), cube_of(a=np.ones(shape)), None).hidden["a"]
        assert hidden.any() and not hidden.all()


def test_variables_share_gaps_at_times_and_not_at_others() -> None:
    cube = cube_of(a=np.ones((30, 12, 12)), b=np.ones((30, 12, 12)))
    drawn = [draw_natural_gaps(np.random.default_rng(seed), cube, None).hidden for seed in range(40)]
    same = [np.array_equal(h["a"], h["b"]) for h in drawn]
    assert any(same) and not all(same)


def test_a_whole_variable_is_missing_for_a_long_run_at_times() -> None:
    cube = cube_of(a=np.ones((60, 8, 8)), b=np.ones((60, 5)))
    drawn = [draw_natural_gaps(np.random.default_rng(seed), cube, None) for seed in range(40)]
    runs = [(code == CODES["variable"]).reshape(60, -1).any(axis=1).sum() for d in drawn for code in d.codes.values()]
    assert max(runs) >= 9


def test_a_seed_gives_one_draw() -> None:
    cube = cube_of(a=np.ones((30, 12, 12)))
    first, again = (draw_natural_gaps(np.random.default_rng(5), cube, None).codes["a"] for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("kind", ["clouds", "squares", "region", "cells", "outages", "blocks", "swaths"])
def test_the_share_of_a_kind_grows_with_the_share_wanted(kind: GapKind) -> None:
    def share(wanted: float) -> float:
        draws = [gaps_of_kind(np.random.default_rng(seed), kind, (20, 24, 30), wanted) for seed in range(15)]
        return float(np.mean([hidden.mean() for hidden in draws]))

    assert share(0.1) < 0.3 < share(0.6) <= 0.8


def test_frames_and_squares_differ_in_length_and_width() -> None:
    def longest(hidden: np.ndarray) -> int:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
        return int((edges[1::2] - edges[::2]).max(initial=0))

    frames = [gaps_of_kind(np.random.default_rng(s), "frames", (120, 3, 3), 0.2)[:, 0, 0] for s in range(30)]
    assert min(map(longest, frames)) <= 3 and max(map(longest, frames)) >= 12
    squares = [gaps_of_kind(np.random.default_rng(s), "squares", (4, 40, 40), 0.02) for s in range(30)]
    widths = [max(longest(row) for frame in hidden for row in frame) for hidden in squares]
    assert min(widths) <= 4 and max(widths) >= 10
