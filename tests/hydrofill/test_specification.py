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


@pytest.mark.parametrize("name", ["relative_humidity", "snow_depth", "discharge", "swvl1"])
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
    assert specified(values, "swvl1", "m3 m-3").upper is None


@pytest.mark.parametrize("ceiling", [1.0, 100.0])
def test_values_that_pile_up_at_1_or_100_have_a_ceiling(ceiling: float, rng: np.random.Generator) -> None:
    piled = np.minimum(ceiling * rng.uniform(0, 1.2, 400), ceiling)
    assert specified(piled, "wetness", "").upper == ceiling
    assert specified(np.append(piled, 1.3 * ceiling), "wetness", "").upper is None
