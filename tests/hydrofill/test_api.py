"""hydrofill as a scientist imports it: fill, open_bundle, inspect, and the errors to catch."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hydrofill
from hydrofill import api
from hydrofill.bundle import find_bundle
from hydrofill.inference.model import Model

RAIN = "precipitation"


@pytest.fixture(scope="module")
def bundle() -> Model:
    return hydrofill.open_bundle("lez-daily", threads=1)


@pytest.fixture
def rain(rng: np.random.Generator) -> xr.Dataset:
    """Six days of rain on 4 x 3 cells of 1 km with gaps, and what must be left alone beside it."""
    values = rng.gamma(2, 2, (6, 4, 3)).astype(np.float32)
    values[2:5, 1, 1] = np.nan
    values[:, 3, 2] = np.nan
    return xr.Dataset(
        {
            RAIN: (("time", "y", "x"), values, {"units": "mm day-1", "comment": "kept"}),
            "quality": (("time", "y", "x"), np.ones((6, 4, 3), np.int8), {"flag_values": [0, 1]}),
        },
        {
            "time": np.datetime64("2012-08-01", "ns") + np.arange(6) * np.timedelta64(1, "D"),
            "y": ("y", 1000.0 * np.arange(4)[::-1], {"units": "m"}),
            "x": ("x", 1000.0 * np.arange(3), {"units": "m"}),
        },
        {"title": "a file", "history": "made"},
    )


def test_observed_values_are_unchanged_and_gaps_are_filled(rain: xr.Dataset, bundle: Model) -> None:
    filled = hydrofill.fill(rain, bundle=bundle)
    flag = filled[f"{RAIN}_flag"].values
    observed = ~np.isnan(rain[RAIN].values)
    assert filled[RAIN].values[observed].tobytes() == rain[RAIN].values[observed].tobytes()
    assert set(np.unique(flag[~observed])) == {1, 2}
    assert (flag[:, 3, 2] == 2).all()  # this cell has no value at any time
    assert np.isfinite(filled[RAIN].values[flag == 1]).all()
    assert (filled[RAIN].values[flag == 1] >= 0).all()
    assert (filled[f"{RAIN}_std"].values[flag == 1] > 0).all()
    assert (filled[f"{RAIN}_std"].values[observed] == 0).all()


def test_everything_else_of_the_dataset_is_kept(rain: xr.Dataset, bundle: Model) -> None:
    before = rain.copy(deep=True)
    filled = hydrofill.fill(rain, bundle=bundle)
    xr.testing.assert_identical(rain, before)
    assert list(filled.data_vars) == [RAIN, "quality", f"{RAIN}_std", f"{RAIN}_flag"]
    xr.testing.assert_identical(filled["quality"], rain["quality"])
    assert filled[RAIN].attrs["comment"] == "kept"
    assert filled.attrs["title"] == "a file"
    assert filled.attrs["hydrofill_version"] == hydrofill.__version__
    assert filled.attrs["hydrofill_bundle_sha256"] == bundle.sha256


def test_max_gap_leaves_longer_gaps_missing(rain: xr.Dataset, bundle: Model) -> None:
    filled = hydrofill.fill(rain, bundle=bundle, max_gap=2)
    assert (filled[f"{RAIN}_flag"].values[2:5, 1, 1] == 3).all()
    assert np.isnan(filled[RAIN].values[2:5, 1, 1]).all()


def test_options_choose_what_is_written(rain: xr.Dataset, bundle: Model) -> None:
    filled = hydrofill.fill(rain, bundle=bundle, variables=RAIN, uncertainty=False, only_gaps=True)
    assert f"{RAIN}_std" not in filled
    assert np.array_equal(~np.isnan(filled[RAIN].values), filled[f"{RAIN}_flag"].values == 1)


def test_progress_is_called_with_windows_done_and_in_all(rain: xr.Dataset, bundle: Model) -> None:
    calls: list[tuple[int, int]] = []
    hydrofill.fill(rain, bundle=bundle, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert {total for _, total in calls} == {len(calls)}


@pytest.mark.slow
def test_a_bundle_is_taken_by_name_folder_or_open(rain: xr.Dataset, bundle: Model) -> None:
    fills = [
        hydrofill.fill(rain, bundle=given)
        for given in ("lez-daily", find_bundle("lez-daily"), str(find_bundle("lez-daily")), bundle)
    ]
    for other in fills[1:]:
        assert other[RAIN].values.tobytes() == fills[0][RAIN].values.tobytes()


def test_what_is_wrong_is_said_by_errors_that_can_be_caught(rain: xr.Dataset, bundle: Model) -> None:
    cases: list[tuple[type[Exception], str, xr.Dataset, dict[str, object]]] = [
        (hydrofill.UnitsError, "kg", rain.assign({RAIN: rain[RAIN].assign_attrs(units="kg")}), {}),
        (hydrofill.UnknownVariableError, "snow", rain, {"variables": ["snow"]}),
        (hydrofill.UnknownVariableError, "no variable", rain.drop_vars(RAIN), {}),
        (hydrofill.NothingObservedError, "all values", rain.assign({RAIN: rain[RAIN] * np.float32(np.nan)}), {}),
        (hydrofill.CoordinateError, "time", rain.isel(time=slice(None, None, -1)), {}),
        (ValueError, "max_gap", rain, {"max_gap": 0}),
    ]
    for kind, words, dataset, options in cases:
        with pytest.raises(kind, match=words):
            hydrofill.fill(dataset, bundle=bundle, **options)  # type: ignore[arg-type]
    with pytest.raises(hydrofill.BundleError, match="nowhere"):
        hydrofill.fill(rain, bundle="nowhere")
    with pytest.raises(TypeError, match="DataArray"):
        hydrofill.fill(rain[RAIN], bundle=bundle)  # type: ignore[arg-type]


def test_every_error_about_data_is_a_contract_error_and_a_value_error() -> None:
    of_data = {n for n in hydrofill.__all__ if n.endswith("Error")} - {
        "ProviderError",
        "FileRefusedError",
        "WorkersLostError",
    }
    errors = [getattr(hydrofill, name) for name in sorted(of_data)]
    assert len(errors) == 10
    assert issubclass(hydrofill.ProviderError, ValueError)
    assert issubclass(hydrofill.FileRefusedError, ValueError)
    for error in errors:
        assert issubclass(error, hydrofill.ContractError)
        assert issubclass(error, ValueError)


def test_public_names_are_there_and_no_others_are_loaded_early() -> None:
    code = (
        "import sys, hydrofill; print({'xarray', 'onnxruntime', 'torch', 'fastapi'} & set(sys.modules), dir(hydrofill))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.startswith("set()")
    assert all(name in done.stdout for name in ("fill", "open_bundle", "inspect", "__version__"))
    with pytest.raises(AttributeError, match="paint"):
        hydrofill.paint  # noqa: B018 (that is the claim)


@pytest.mark.parametrize("module", [api, hydrofill], ids=["api", "hydrofill"])
def test_the_examples_in_docstrings_are_true(module: object) -> None:
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)  # type: ignore[arg-type]
    assert result.failed == 0
    assert module is hydrofill or result.attempted > 8
