"""A test case: what is hidden, what is kept, what is written with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hydrofill.errors import StructureError
from model.gaps.withhold import FLAG_MEANINGS, GapKind, Shares, withhold

STEPS, ROWS, COLUMNS, SITES = 120, 13, 9, 3


@pytest.fixture
def dataset() -> xr.Dataset:
    rng = np.random.default_rng(0)
    rain = rng.gamma(1.0, 3.0, (STEPS, ROWS, COLUMNS)).astype(np.float32)
    rain[5, 2:6] = np.nan
    flow = rng.gamma(2.0, 1.0, (STEPS, SITES)).astype(np.float32)
    flow[30:34, 1] = np.nan
    made = xr.Dataset(
        {
            "precipitation": (
                ("time", "y", "x"),
                rain,
                {"units": "mm day-1", "long_name": "rain", "grid_mapping": "crs"},
            ),
            "pet": (("time", "y", "x"), rain * 0.5, {"units": "mm day-1"}),
            "river_flow": (("time", "site"), flow, {"units": "m3 s-1"}),
            "slope": (("y", "x"), rain[0], {"units": "1"}),
            "time_bounds": (("time", "bounds"), np.zeros((STEPS, 2))),
            "quality": (("time", "y", "x"), np.zeros(rain.shape, np.int8), {"flag_values": np.array([0], np.int8)}),
            "crs": ((), np.int32(0), {"grid_mapping_name": "lambert_conformal_conic"}),
        },
        {
            "time": np.datetime64("2012-08-01", "ns") + np.arange(STEPS) * np.timedelta64(1, "D"),
            "y": np.arange(ROWS) * -1000.0,
            "x": np.arange(COLUMNS) * 1000.0,
            "site": ["a", "b", "c"],
            "site_x": ("site", [1.0, 2.0, 3.0]),
        },
        {"title": "made up", "history": "drawn"},
    )
    made["precipitation"].encoding = {"zlib": True, "complevel": 4}
    return made


VARIABLES = ("precipitation", "pet", "river_flow")


def test_dimensions_are_recognised_by_their_axis_and_not_by_a_list_of_names(dataset: xr.Dataset) -> None:
    renamed = dataset.rename(time="valid_time", y="latitude", x="longitude", site="station", site_x="station_x")
    case, other = withhold(dataset, seed=1), withhold(renamed, seed=1)
    for name in VARIABLES:
        np.testing.assert_array_equal(case[f"{name}_gap"].values, other[f"{name}_gap"].values)


def test_a_case_holds_gappy_values_truth_and_kind_for_each_variable(dataset: xr.Dataset) -> None:
    case = withhold(dataset, seed=1)
    for name in VARIABLES:
        gap, truth, gappy = (case[n].values for n in (f"{name}_gap", f"{name}_truth", name))
        np.testing.assert_array_equal(truth, dataset[name].values)
        np.testing.assert_array_equal(np.isnan(gappy), gap != 0)
        np.testing.assert_array_equal(gappy[gap == 0].view(np.uint32), truth[gap == 0].view(np.uint32))
        np.testing.assert_array_equal(gap == GapKind.NATURAL, np.isnan(truth))
        assert gap.dtype == np.int8


def test_flags_have_meanings(dataset: xr.Dataset) -> None:
    attrs = withhold(dataset, seed=1)["pet_gap"].attrs
    np.testing.assert_array_equal(attrs["flag_values"], np.arange(7, dtype=np.int8))
    assert attrs["flag_values"].dtype == np.int8
    assert attrs["flag_meanings"] == FLAG_MEANINGS
    assert len(FLAG_MEANINGS.split()) == len(GapKind)


def test_shares_are_met(dataset: xr.Dataset) -> None:
    """Frames and outages to one; clouds and squares on average, here within a tenth of the share over 10 seeds."""
    cases = [withhold(dataset, seed=seed) for seed in range(10)]
    grids = np.stack([case[f"{name}_gap"].values for case in cases for name in ("precipitation", "pet")])
    whole = (grids == GapKind.FRAME).mean(axis=(2, 3))  # (cases, T)
    np.testing.assert_array_equal(np.round(whole.mean(axis=1) * STEPS, 0), 12)
    assert np.mean(grids == GapKind.CLOUD) == pytest.approx(0.24, rel=0.1)
    assert np.mean(grids == GapKind.SQUARE) == pytest.approx(0.06, rel=0.1)
    assert set(np.unique(grids)) == {0, 1, 2, 4, 5}
    for case in cases:
        hidden = (case["river_flow_gap"] == GapKind.OUTAGE).values
        assert set(np.unique(case["river_flow_gap"])) == {0, 1, 6}
        assert 0.22 * hidden.size - 4.5 <= hidden.sum() <= 0.22 * hidden.size + 0.5  # natural gaps stay natural


def test_a_whole_frame_has_no_value_at_all(dataset: xr.Dataset) -> None:
    gap = withhold(dataset, seed=1)["precipitation_gap"].values
    frames = (gap == GapKind.FRAME).any(axis=(1, 2))
    assert frames.sum() == 12
    assert np.isin(gap[frames], [GapKind.FRAME, GapKind.NATURAL]).all()


def test_swaths_are_withheld_when_requested(dataset: xr.Dataset) -> None:
    gap = withhold(dataset, 1, Shares(cloud=0.0, swath=0.3, square=0.0, frame=0.0))["pet_gap"].values
    assert set(np.unique(gap)) == {0, 1, 3}
    assert np.mean(gap == GapKind.SWATH) == pytest.approx(0.3, rel=0.02)


def test_variables_have_masks_of_their_own_that_others_do_not_change(dataset: xr.Dataset) -> None:
    case, alone = withhold(dataset, seed=1), withhold(dataset[["pet"]], seed=1)
    assert (case["pet_gap"] != case["precipitation_gap"]).any()
    xr.testing.assert_identical(case["pet_gap"].drop_vars(["site", "site_x"], errors="ignore"), alone["pet_gap"])


def test_a_seed_gives_one_case_and_seeds_differ(dataset: xr.Dataset) -> None:
    xr.testing.assert_identical(withhold(dataset, seed=1), withhold(dataset, seed=1))
    assert (withhold(dataset, seed=1)["pet_gap"] != withhold(dataset, seed=2)["pet_gap"]).any()


def test_everything_else_is_kept(dataset: xr.Dataset) -> None:
    before = dataset.copy(deep=True)
    case = withhold(dataset, seed=1)
    xr.testing.assert_identical(dataset, before)
    for name in (*dataset.coords, "slope", "time_bounds", "quality", "crs"):
        xr.testing.assert_identical(case[name].variable, dataset[name].variable)
    for name in VARIABLES:
        assert case[name].attrs == dataset[name].attrs
        assert case[name].encoding == dataset[name].encoding
    assert case["precipitation_truth"].attrs == {**dataset["precipitation"].attrs, "long_name": "rain (truth)"}
    assert case.attrs["title"] == "made up"
    assert case.attrs["history"].startswith("drawn\nhydrofill: cells withheld with seed 1")
    assert {str(n) for n in case.data_vars} - {str(n) for n in dataset.data_vars} == {
        f"{name}_{part}" for name in VARIABLES for part in ("truth", "gap")
    }


def test_a_case_survives_a_netcdf_file(dataset: xr.Dataset, tmp_path: Path) -> None:
    case = withhold(dataset, seed=1)
    case.to_netcdf(tmp_path / "case.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "case.nc", engine="h5netcdf") as read:
        for name in VARIABLES:
            np.testing.assert_array_equal(read[name].values, case[name].values)
            np.testing.assert_array_equal(read[f"{name}_gap"].values, case[f"{name}_gap"].values)
            assert read[f"{name}_gap"].dtype == np.int8


def test_whole_numbers_become_floats_that_can_be_missing(dataset: xr.Dataset) -> None:
    counts = dataset[["pet"]].assign(days=(("time", "lat", "lon"), np.ones((STEPS, 2, 3), np.int32)))
    case = withhold(counts, seed=1)
    assert case["days"].dtype == case["days_truth"].dtype == np.float32
    assert np.isnan(case["days"]).any()


def test_one_frame_and_one_cell_can_be_withheld() -> None:
    tiny = xr.Dataset({"sst": (("time", "lat", "lon"), np.ones((1, 1, 1), np.float32))})
    for shares in (Shares(), Shares(cloud=0.03, swath=0.03, square=0.03, frame=0.9), Shares(cloud=0.9, square=0.0)):
        for seed in range(5):
            assert withhold(tiny, seed, shares)["sst_gap"].shape == (1, 1, 1)


def test_all_hidden_cells_can_be_frames(dataset: xr.Dataset) -> None:
    gap = withhold(dataset, 1, Shares(cloud=0.0, square=0.0, frame=1.0))["pet_gap"].values
    assert np.isin(gap, [GapKind.FRAME, GapKind.NATURAL]).all()


def test_a_dataset_without_time_varying_fields_is_refused(dataset: xr.Dataset) -> None:
    with pytest.raises(StructureError, match="no variable to withhold cells of"):
        withhold(dataset[["slope", "time_bounds"]], seed=1)


def test_a_case_is_not_withheld_again(dataset: xr.Dataset) -> None:
    with pytest.raises(StructureError, match=r"case already.*pet_gap"):
        withhold(withhold(dataset, seed=1), seed=1)


@pytest.mark.parametrize("wrong", [{"cloud": -0.1}, {"outage": 1.5}, {"cloud": 0.6, "frame": 0.5}])
def test_impossible_shares_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        Shares(**wrong)
