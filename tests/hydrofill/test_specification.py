"""Floors and ceilings of variables follow from names, units and values."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.cube import Variable
from hydrofill.layout import VariableSpec
from hydrofill.specification import specify_variable
from hydrofill.summary import summary_of


def specified(values: np.ndarray, name: str = "v", units: str = "", standard_name: str = "") -> VariableSpec:
    array = values.astype(np.float32).reshape(-1, 1, 1)
    return specify_variable(Variable(name, "grid", array, units, standard_name), summary_of(array))


@pytest.fixture
def rain(rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(500) < 0.6, 0, rng.gamma(0.7, 6, 500))


def test_rain_with_noise_below_zero_still_is_rain(rain: np.ndarray) -> None:
    noisy = np.where((rain == 0) & (np.arange(500) % 7 == 0), -2.7e-6, rain)
    assert specified(noisy, "tp", "mm") == specified(rain, "tp", "mm")
    assert specified(noisy).lower == 0 and specified(noisy).transform == "sqrt"


def test_values_that_are_truly_negative_have_no_floor(rain: np.ndarray) -> None:
    assert specified(rain - 0.5, "precipitation_anomaly", "mm").lower is None
    assert specified(rain - 0.5, "river_flow", "m3 s-1").lower is None  # a tide may turn a river


@pytest.mark.parametrize(
    "name", ["relative_humidity", "snow depth", "discharge", "swvl1", "pr", "RH", "swe", "soil moisture"]
)
def test_a_name_gives_a_floor_that_the_values_are_far_from(name: str, rng: np.random.Generator) -> None:
    values = rng.uniform(40, 60, 200)
    assert specified(values, name).lower == 0
    assert specified(values, "level").lower is None


@pytest.mark.parametrize("units", ["degC", "degree_Fahrenheit"])
def test_degrees_have_no_floor(units: str, rain: np.ndarray) -> None:
    assert specified(rain, "soil_moisture_temperature", units).lower is None


def test_per_cent_end_at_100_unless_values_are_above(rng: np.random.Generator) -> None:
    values = rng.uniform(5, 99, 300)
    assert specified(values, "hurs", "%", "relative_humidity").upper == 100
    assert specified(2 * values, "rain_of_normal", "%").upper is None
    assert specified(values, "level", "m").upper is None


def test_shares_end_at_one(rng: np.random.Generator) -> None:
    values = rng.uniform(0, 0.9, 300)
    assert specified(values, "cloud_fraction", "1").upper == 1
    assert specified(values, "swvl1", "m3 m-3").upper == 1
    assert specified(values, "tcc", "(0 - 1)").upper == 1
    assert specified(values, "level", "1").upper is None


@pytest.mark.parametrize("ceiling", [1.0, 100.0])
def test_values_that_pile_up_at_1_or_100_have_a_ceiling(ceiling: float, rng: np.random.Generator) -> None:
    piled = np.minimum(ceiling * rng.uniform(0, 1.2, 400), ceiling)
    assert specified(piled, "wetness", "").upper == ceiling
    assert specified(np.append(piled, 1.3 * ceiling), "wetness", "").upper is None


def test_values_that_pile_up_at_any_highest_value_have_a_ceiling(rng: np.random.Generator) -> None:
    level = rng.normal(3, 0.5, 600)
    assert specified(np.minimum(level, 3.5), "level", "m").upper == 3.5
    assert specified(level, "level", "m").upper is None
    assert specified(np.round(level, 1), "level", "m").upper is None  # the highest of rounded values is rare


@pytest.mark.parametrize("units", ["m3/s", "mm/day", "kg m-2 s-1", "mg l-1", "%"])
def test_units_of_amounts_give_a_floor_unless_values_are_negative(units: str, rng: np.random.Generator) -> None:
    values = rng.normal(50, 3, 300)
    assert specified(values, "v", units).lower == 0
    assert specified(values - 50, "v", units).lower is None


def test_a_quantity_that_cannot_be_negative_has_a_floor_under_small_errors(rain: np.ndarray) -> None:
    wrong = np.where(np.arange(500) % 50 == 0, -0.02, rain)
    assert specified(wrong, "tp", "mm").lower == 0
    assert specified(wrong, "balance", "mm").lower is None
