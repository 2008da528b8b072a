"""Units are converted linearly, or refused."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from hydrofill.cf.units import UNIT, conversion
from hydrofill.errors import UnitsError


@pytest.mark.parametrize(
    ("units", "wanted", "value", "becomes"),
    [
        ("mm h-1", "mm day-1", 1.0, 24.0),
        ("m s-1", "mm day-1", 1e-6, 86.4),
        ("K", "degC", 273.15, 0.0),
        ("degF", "degC", 212.0, 100.0),
        ("l s-1", "m3 s-1", 1000.0, 1.0),
        ("kg m-2 s-1", "mm day-1", 1.0, 86_400.0),
        ("mm", "kg m-2", 3.0, 3.0),
    ],
)
def test_a_value_is_converted_and_back(units: str, wanted: str, value: float, becomes: float) -> None:
    change = conversion(units, wanted, "V")
    there = change.apply(np.array([value, np.nan]))
    np.testing.assert_allclose(there[0], becomes, rtol=1e-9, atol=1e-9)
    assert np.isnan(there[1])
    np.testing.assert_allclose(change.invert(there)[0], value, rtol=1e-9)


@pytest.mark.parametrize("same", ["mm day-1", "mm d-1", "mm/day", "millimeter / day", "kg m-2 day-1"])
def test_one_unit_in_two_spellings_leaves_values_bit_identical(same: str) -> None:
    assert conversion(same, "mm day-1", "V").identical


def test_an_offset_does_not_change_a_standard_deviation() -> None:
    std = np.array([1.8])
    np.testing.assert_allclose(conversion("degF", "degC", "V").invert_std(std), 3.24)


@pytest.mark.parametrize("units", ["kg", "m", "furlongs per", "", "no unit"])
def test_units_that_cannot_be_converted_are_refused_and_the_variable_named(units: str) -> None:
    with pytest.raises(UnitsError, match=r"rain: .*expected 'mm day-1'"):
        conversion(units, "mm day-1", "rain")


@pytest.mark.parametrize(
    "units", ["9**9**9 mm", "mm / 0", "(" * 500, "__import__('os')", "mm\n", "1e400 mm", "x" * 100]
)
def test_a_text_that_does_not_look_like_units_is_refused_quickly(units: str) -> None:
    started = time.perf_counter()
    with pytest.raises(UnitsError, match=r"rain: "):
        conversion(units, "mm day-1", "rain")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "units",
    [
        *("1", "%", "mm", "mm day-1", "mm/d", "m3 s-1", "m^3/s", "m**3 s**-1", "kg/(m2 s)", "(mm/day)", "1e-3 m"),
        *("0.1 mm h-1", "degree_Celsius", "°C", "mm per day", "10^3 m3 s-1", "m3 s⁻¹"),
    ],
)
def test_common_spellings_of_units_are_accepted(units: str) -> None:
    assert UNIT.fullmatch(units)


def test_loading_units_prints_nothing() -> None:
    code = "import logging; logging.basicConfig(level=0); from hydrofill.cf.units import conversion; "
    code += "conversion('mm d-1', 'm s-1', 'V')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Redefining" not in done.stdout + done.stderr
