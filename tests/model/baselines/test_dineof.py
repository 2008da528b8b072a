"""DINEOF recovers records of few modes, and takes no more than a linear share of the record's size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from hydrofill.gaps.masks import clouds
from model.baselines import dineof as dineof_module
from model.baselines.dineof import FILTER_STEPS, choose_withheld, dineof, filtered_in_time

NAN = np.nan
MAX_BYTES_RATIO = 30  # of a record's float32 bytes: 16 were measured at 10,000 steps and at 20,000


def low_rank(rng: np.random.Generator, steps: int = 60, side: int = 9) -> np.ndarray:
    return (rng.normal(size=(steps, 2)) @ rng.normal(size=(2, side * side))).reshape(steps, side, side) + 3.0


def test_dineof_recovers_a_record_of_two_modes(rng: np.random.Generator) -> None:
    truth = low_rank(rng).astype(np.float32)
    hidden = clouds(rng, truth.shape, 0.35)
    gappy = np.where(hidden, np.float32(NAN), truth)
    at = hidden & (~np.isnan(gappy)).any(axis=(1, 2), keepdims=True)
    error = np.sqrt(np.mean((dineof(gappy, square_root=False) - truth)[at] ** 2))
    assert error < 0.1 * truth.std()


def test_dineof_of_noise_is_the_mean(rng: np.random.Generator) -> None:
    noise = rng.normal(size=(40, 8, 8)).astype(np.float32)
    hidden = clouds(rng, noise.shape, 0.3)
    filled = dineof(np.where(hidden, np.float32(NAN), noise), square_root=False)
    assert np.sqrt(np.mean((filled - noise)[hidden] ** 2)) < 1.15


def test_dineof_puts_the_cells_means_into_empty_frames(rng: np.random.Generator) -> None:
    gappy = low_rank(rng).astype(np.float32)
    gappy[10] = NAN
    np.testing.assert_allclose(dineof(gappy)[10], np.nanmean(gappy, axis=0), rtol=1e-4)


def test_dineof_of_square_roots_is_never_negative(rng: np.random.Generator) -> None:
    rain = np.maximum(low_rank(rng) - 3, 0).astype(np.float32)
    gappy = np.where(clouds(rng, rain.shape, 0.3), np.float32(NAN), rain)
    assert dineof(gappy).min() >= 0


def test_cells_withheld_for_the_choice_of_modes_leave_something_of_each_frame_and_cell(
    rng: np.random.Generator,
) -> None:
    seen = ~clouds(rng, (30, 6, 7), 0.5).reshape(30, -1)
    withheld = choose_withheld(rng, seen)
    kept = seen & ~withheld
    assert withheld.any() and not (withheld & ~seen).any()
    np.testing.assert_array_equal(kept.any(axis=0), seen.any(axis=0))
    np.testing.assert_array_equal(kept.any(axis=1), seen.any(axis=1))


def dense_filter(record: np.ndarray, strength: float) -> np.ndarray:
    """Return the record after diffusion by a whole (T, T) matrix."""
    if strength == 0:
        return record
    once = np.eye(len(record))
    flow = strength * np.diff(once, axis=0)
    once[:-1] += flow
    once[1:] -= flow
    return np.linalg.matrix_power(once, FILTER_STEPS).astype(np.float32) @ record


@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_the_filter_in_time_is_that_of_the_whole_matrix(rng: np.random.Generator, steps: int) -> None:
    record = rng.normal(size=(steps, 4)).astype(np.float32)
    np.testing.assert_allclose(filtered_in_time(record, 0.1), dense_filter(record, 0.1), atol=1e-6)
    assert filtered_in_time(record, 0.0) is record


def test_the_filter_in_time_keeps_each_cells_sum(rng: np.random.Generator) -> None:
    record = rng.normal(size=(30, 4)).astype(np.float32)
    smooth = filtered_in_time(record, 0.3)
    np.testing.assert_allclose(smooth.sum(axis=0), record.sum(axis=0), atol=1e-4)
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.5 * np.abs(np.diff(record, axis=0)).mean()


def gappy_record(rng: np.random.Generator, steps: int, cells: int) -> np.ndarray:
    """Return slow modes with noise, (T, N) float32, three tenths of it missing."""
    slow = 0.2 * rng.normal(size=(steps, 3)).cumsum(axis=0)
    record = slow @ rng.normal(size=(3, cells)) + 0.3 * rng.normal(size=(steps, cells))
    return np.where(rng.random(record.shape) < 0.3, NAN, record).astype(np.float32)


@pytest.mark.parametrize(("steps", "cells"), [(120, 12), (40, 90)])
@pytest.mark.parametrize(
    ("name", "other"), [("filtered_in_time", dense_filter), ("MAX_PRODUCTS", 5)], ids=["whole matrix", "random vectors"]
)
def test_fills_are_those_of_the_dense_method(
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    cells: int,
    name: str,
    other: Callable[..., np.ndarray] | int,
) -> None:
    """Fills agree to a hundredth of the standard deviation, far less than the change that ends the rounds leaves."""
    record = gappy_record(rng, steps, cells)
    monkeypatch.setattr(dineof_module, "FILTER_STRENGTHS", (0.1,))
    fill = dineof(record, square_root=False)
    monkeypatch.setattr(dineof_module, name, other)
    np.testing.assert_allclose(dineof(record, square_root=False), fill, atol=0.01 * np.nanstd(record))
    assert np.abs(fill - np.nanmean(record, axis=0))[np.isnan(record)].max() > 0.5 * np.nanstd(record)  # modes are used


def test_a_record_without_any_anomaly_is_filled_from_random_vectors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dineof_module, "MAX_PRODUCTS", 3)
    record = np.full((12, 8), 2.0, np.float32)
    record[3, 4:6] = NAN
    np.testing.assert_array_equal(dineof(record), 2.0)


def test_memory_of_a_long_record_is_a_multiple_of_its_own(rng: np.random.Generator) -> None:
    """A matrix of 20,000 x 20,000 steps would be 2,000 times the record."""
    record = gappy_record(rng, 20_000, 10)
    tracemalloc.start()
    try:
        dineof(record, square_root=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_BYTES_RATIO * record.nbytes
