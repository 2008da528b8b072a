"""Scores against closed forms and cases calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from hydrofill.errors import StructureError, UnknownVariableError
from model.evaluation.metrics.cases import ALL_KINDS, CaseScores, count_changed, score_case
from model.evaluation.metrics.measures import (
    Scores,
    crps_gaussian,
    csi,
    kge,
    nse,
    scores,
    spread_skill,
    totals_ratio,
    wet_frequency_bias,
    wet_threshold,
)

NAN = np.nan


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_errors_have_their_closed_forms() -> None:
    got = scores(floats(1.0, 2.0, 3.0), floats(2.0, 2.0, 1.0))
    assert got.n == 3
    assert got.rmse == pytest.approx(np.sqrt(5.0 / 3.0))
    assert got.mae == pytest.approx(1.0)
    assert got.bias == pytest.approx(-1.0 / 3.0)
    assert got.correlation == pytest.approx(-np.sqrt(3.0) / 2.0)
    assert (got.coverage90, got.crps) == (None, None)


def test_nothing_to_score_has_no_measures() -> None:
    assert scores(floats(), floats(), floats()) == Scores(n=0)


@pytest.mark.parametrize(("truth", "filled"), [((1.0, 1.0), (1.0, 2.0)), ((1.0, 2.0), (3.0, 3.0)), ((1.0,), (2.0,))])
def test_correlation_needs_both_to_vary(truth: tuple[float, ...], filled: tuple[float, ...]) -> None:
    assert scores(floats(*truth), floats(*filled)).correlation is None


def test_crps_is_the_integral_that_defines_it() -> None:
    """CRPS is the integral of (F(x) - 1[x >= truth])^2; Gneiting & Raftery 2007, eq. 20."""
    mean, std, truth = 1.3, 0.7, 2.1
    x = np.linspace(-10.0, 14.0, 2_400_001)
    integrand = (norm.cdf(x, mean, std) - (x >= truth)) ** 2
    integral = float(np.trapezoid(integrand, x))
    assert crps_gaussian(np.array([mean - truth]), np.array([std]))[0] == pytest.approx(integral, rel=1e-5)


def test_crps_with_zero_standard_deviation_is_the_absolute_error() -> None:
    np.testing.assert_array_equal(crps_gaussian(floats(-2.0, 0.5), floats(0.0, 0.0)), [2.0, 0.5])


def test_coverage_of_a_calibrated_gaussian_is_ninety_percent() -> None:
    rng = np.random.default_rng(0)
    std = rng.uniform(0.5, 3.0, 20_000)
    got = scores(rng.normal(0.0, std), np.zeros(20_000), std)
    assert got.coverage90 == pytest.approx(0.9, abs=0.01)
    assert got.crps == pytest.approx(float(np.mean(std)) / np.sqrt(np.pi), rel=0.03)  # of the true distribution


def test_cells_without_a_standard_deviation_are_left_out_of_calibration() -> None:
    got = scores(floats(0.0, 0.0, 0.0), floats(1.0, 5.0, 5.0), floats(1.0, NAN, -1.0))
    assert got.n == 3
    assert got.coverage90 == 1.0
    assert scores(floats(0.0), floats(1.0), floats(NAN)).crps is None


def test_spread_skill_is_one_where_errors_are_as_large_as_predicted() -> None:
    assert spread_skill(floats(3.0, -4.0), floats(5.0, 0.0)) == pytest.approx(1.0)
    assert spread_skill(floats(3.0, -4.0), floats(2.5, 0.0)) == pytest.approx(0.5)
    assert spread_skill(floats(0.0), floats(1.0)) is None


def test_totals_ratio_is_for_water_alone() -> None:
    assert totals_ratio(floats(1.0, 3.0), floats(1.0, 1.0)) == pytest.approx(0.5)
    assert totals_ratio(floats(-1.0, 3.0), floats(1.0, 1.0)) is None
    assert totals_ratio(floats(0.0), floats(1.0)) is None


def test_wet_cells_are_counted_by_hand() -> None:
    truth, filled = floats(0.0, 0.0, 1.0, 2.0), floats(0.0, 0.5, 0.05, 3.0)  # a hit, a miss, a false alarm
    assert wet_frequency_bias(truth, filled, 0.1) == 1.0
    assert csi(truth, filled, 0.1) == pytest.approx(1.0 / 3.0)
    assert csi(truth, filled, 9.0) is None
    assert wet_frequency_bias(truth, filled, 9.0) is None


def test_drizzle_is_the_lowest_fifth_of_values_above_zero() -> None:
    assert wet_threshold(floats(0.0, NAN, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)) == pytest.approx(2.0)
    assert wet_threshold(floats(0.0, NAN)) is None


def test_efficiency_is_zero_for_the_mean_and_one_for_the_truth() -> None:
    truth = floats(1.0, 2.0, 6.0)
    assert nse(truth, floats(3.0, 3.0, 3.0)) == pytest.approx(0.0)
    assert (nse(truth, truth), kge(truth, truth)) == pytest.approx((1.0, 1.0))
    assert nse(floats(2.0, 2.0), floats(1.0, 3.0)) is None


def test_kge_of_twice_the_flow_is_one_minus_root_two() -> None:
    truth = floats(1.0, 2.0, 6.0)
    assert kge(truth, 2 * truth) == pytest.approx(1.0 - np.sqrt(2.0))  # r = 1, alpha = beta = 2


@pytest.fixture
def case() -> xr.Dataset:
    """Four steps of two cells and of one gauge: a cloud, a frame, a natural gap, an outage."""
    truth = np.array([[[1.0, 10.0]], [[2.0, 20.0]], [[3.0, NAN]], [[4.0, 40.0]]], np.float32)
    gap = np.array([[[0, 0]], [[2, 0]], [[5, 1]], [[0, 0]]], np.int8)
    flow, flow_gap = floats(1.0, 2.0, 4.0, 8.0)[:, None], np.array([[0], [6], [0], [6]], np.int8)
    grid, series = ("time", "y", "x"), ("time", "site")
    return xr.Dataset(
        {
            "rain": (grid, np.where(gap == 0, truth, np.float32(NAN))),
            "rain_truth": (grid, truth),
            "rain_gap": (grid, gap),
            "flow": (series, np.where(flow_gap == 0, flow, np.float32(NAN))),
            "flow_truth": (series, flow),
            "flow_gap": (series, flow_gap),
        },
        {"time": np.arange(4)},
    )


@pytest.fixture
def filled(case: xr.Dataset) -> xr.Dataset:
    rain, flow = case["rain_truth"].values.copy(), case["flow_truth"].values.copy()
    rain[1, 0, 0] += 0.5
    flow[3, 0] = NAN
    std = np.ones_like(rain)
    return case[["rain", "flow"]].assign(
        rain=(("time", "y", "x"), rain), flow=(("time", "site"), flow), rain_std=(("time", "y", "x"), std)
    )


def by_kind(result: CaseScores, variable: str) -> dict[str, Scores]:
    return {row.kind: row.scores for row in result.rows if row.variable == variable}


def test_each_kind_of_gap_has_its_row(case: xr.Dataset, filled: xr.Dataset) -> None:
    rain = by_kind(score_case(case, filled), "rain")
    assert list(rain) == ["cloud", "frame", ALL_KINDS]
    assert [s.n for s in rain.values()] == [1, 1, 2]
    assert rain["cloud"].rmse == pytest.approx(0.5)
    assert rain["frame"].rmse == 0.0
    assert rain["cloud"].coverage90 == 1.0
    assert by_kind(score_case(case, filled), "flow")["outage"].crps is None


def test_cells_left_missing_are_counted_and_not_scored(case: xr.Dataset, filled: xr.Dataset) -> None:
    result = score_case(case, filled)
    assert result.unfilled == {"rain": 0, "flow": 1}
    assert by_kind(result, "flow")["outage"] == Scores(n=1, rmse=0.0, mae=0.0, bias=0.0, totals_ratio=1.0)


def test_baselines_are_scored_with_the_fill(case: xr.Dataset, filled: xr.Dataset) -> None:
    row = next(row for row in score_case(case, filled).rows if (row.variable, row.kind) == ("rain", "cloud"))
    assert row.baselines["linear_in_time"].rmse == pytest.approx(0.0)  # 1, 2, 3, 4 is a straight line
    assert row.baselines["cell_mean"].rmse == pytest.approx(0.5)  # the mean of 1 and 4, where 2 was


def test_baselines_read_other_calendars_and_names_of_time(case: xr.Dataset, filled: xr.Dataset) -> None:
    dates = xr.date_range("2001-02-26", periods=4, calendar="noleap", use_cftime=True)
    other = case.assign_coords(time=dates).rename(time="valid_time")
    assert score_case(other, filled).rows == score_case(case, filled).rows


@pytest.mark.parametrize(("change", "counted"), [(np.float32(1e-6), 1), (np.float32(0.0), 0)])
def test_a_changed_observation_is_counted(
    case: xr.Dataset, filled: xr.Dataset, change: np.float32, counted: int
) -> None:
    filled["rain"].values[0, 0, 0] += change
    assert score_case(case, filled).observed_changed == {"rain": counted, "flow": 0}


def test_a_changed_sign_of_zero_is_a_changed_bit() -> None:
    assert count_changed(floats(0.0, 1.0), floats(-0.0, 1.0), np.array([True, True])) == 1


def test_a_file_that_is_not_a_case_is_refused(filled: xr.Dataset) -> None:
    with pytest.raises(StructureError, match="not a case"):
        score_case(filled, filled)


def test_a_missing_variable_is_named(case: xr.Dataset, filled: xr.Dataset) -> None:
    with pytest.raises(UnknownVariableError, match="flow"):
        score_case(case, filled.drop_vars("flow"))


def test_another_shape_is_refused(case: xr.Dataset, filled: xr.Dataset) -> None:
    with pytest.raises(StructureError, match=r"rain.*\(3, 1, 2\).*\(4, 1, 2\)"):
        score_case(case, filled.isel(time=slice(3)))
