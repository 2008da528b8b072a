"""The seasonal and the daily cycle."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.constants import DAY_S, YEAR_S
from hydrofill.guesses.seasonal_cycle import seasonal

NAN = np.nan


def test_the_yearly_cycle_is_found_despite_gaps_and_noise(rng: np.random.Generator) -> None:
    days = np.arange(4 * 365)
    course = 10 + 8 * np.sin(2 * np.pi * days * DAY_S / YEAR_S)[:, None] * np.array([1.0, 0.5])
    values = course + rng.standard_normal(course.shape)
    values[600:700] = NAN
    values = values.astype(np.float32)
    found = seasonal(values, np.nanmean(values, axis=0, keepdims=True), (days * DAY_S).astype(np.float64))
    assert found is not None
    np.testing.assert_allclose(found[600:700], course[600:700], atol=0.6)


def test_the_daily_cycle_is_found_in_hourly_data(rng: np.random.Generator) -> None:
    hours = np.arange(24 * 30)
    course = np.cos(2 * np.pi * hours / 24)[:, None, None] * np.ones((1, 3, 2))
    values = (course + 0.2 * rng.standard_normal(course.shape)).astype(np.float32)
    values[100:150] = NAN
    found = seasonal(values, np.nanmean(values, axis=0, keepdims=True), (hours * 3600.0).astype(np.float64))
    assert found is not None
    np.testing.assert_allclose(found, course, atol=0.15)


def test_a_cell_that_is_rarely_seen_gets_the_cycle_of_the_others(rng: np.random.Generator) -> None:
    days = np.arange(3 * 365)
    course = 5 * np.sin(2 * np.pi * days * DAY_S / YEAR_S)[:, None] * np.ones((1, 20))
    values = (course + 0.5 * rng.standard_normal(course.shape)).astype(np.float32)
    values[2:, 0] = NAN
    found = seasonal(values, np.zeros((1, 20), np.float32), (days * DAY_S).astype(np.float64))
    assert found is not None
    np.testing.assert_allclose(found[:, 0], course[:, 0], atol=0.8)


@pytest.mark.parametrize(("steps", "step_s"), [(300, DAY_S), (20, 3600), (11, 30 * DAY_S), (400, YEAR_S)])
def test_a_record_without_a_whole_period_has_no_cycle(steps: int, step_s: float) -> None:
    values = np.zeros((steps, 2), np.float32)
    assert seasonal(values, np.zeros((1, 2), np.float32), (np.arange(steps) * step_s).astype(np.float64)) is None


def test_the_yearly_cycle_keeps_its_phase_over_decades_of_calendar_months() -> None:
    time = np.arange("1960-01", "2000-01", dtype="datetime64[M]").astype("datetime64[s]").astype(np.float64)
    course = 8 * np.sin(2 * np.pi * time / YEAR_S)[:, None]
    found = seasonal(course.astype(np.float32), np.zeros((1, 1), np.float32), time)
    assert found is not None
    np.testing.assert_allclose(found, course, atol=0.5)
