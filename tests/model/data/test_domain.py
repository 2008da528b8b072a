"""Which cells that are never observed are gaps."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hydrofill.gaps.masks import clouds
from model.data.domain import domain_from_counts
from model.data.lazy_cube import read_lazily


def test_a_coast_observed_as_often_as_the_sea_bounds_land() -> None:
    seen = np.random.default_rng(0).random((40, 20, 30)) > 0.4
    seen[:, 5:12, 8:20] = False
    seen[:, 17, 3] = False
    counts = seen.sum(axis=0)
    np.testing.assert_array_equal(domain_from_counts(counts), counts > 0)


def test_what_clouds_hide_at_every_step_of_a_short_record_is_a_gap_and_land_is_not() -> None:
    seen = ~clouds(np.random.default_rng(3), (10, 40, 50), 0.45)
    hidden = ~seen.any(axis=0)
    assert hidden.sum() > 20
    assert domain_from_counts(seen.sum(axis=0)).all()
    seen[:, :20, :15] = False
    inside = domain_from_counts(seen.sum(axis=0))
    assert not inside[2:18, 2:13].any()
    assert inside[25:].all()  # clouds that reach the coast are one region with the land


def test_cells_missed_one_by_one_in_three_frames_are_gaps() -> None:
    counts = (np.random.default_rng(1).random((3, 30, 30)) > 0.3).sum(axis=0)
    assert (counts == 0).any()
    assert domain_from_counts(counts).all()


def test_a_variable_of_one_frame_lives_everywhere_and_one_without_values_nowhere() -> None:
    counts = (np.random.default_rng(1).random((1, 9, 9)) > 0.3).sum(axis=0)
    assert domain_from_counts(counts).all()
    assert not domain_from_counts(np.zeros((4, 4), np.int64)).any()


def test_a_domain_given_in_the_file_is_kept() -> None:
    values = np.random.default_rng(1).random((2, 9, 9)).astype(np.float32)
    values[np.random.default_rng(2).random(values.shape) < 0.4] = np.nan
    data = xr.Dataset(
        {"sst": (("time", "y", "x"), values)},
        {"time": np.array(["2000-01-01", "2000-01-02"], "datetime64[ns]"), "y": np.arange(9.0), "x": np.arange(9.0)},
    )
    assert read_lazily(data).cube.inside("sst").all()
    seen = ~np.isnan(values).all(axis=0)
    data["sst_domain"] = (("y", "x"), seen)
    np.testing.assert_array_equal(read_lazily(data).cube.inside("sst"), seen)
