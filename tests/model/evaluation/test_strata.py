"""Lengths of gaps, distances and spectra, against cases calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.metrics.spectra import psd_ratio, radial_spectrum
from model.evaluation.metrics.strata import (
    distance_strata,
    distance_to_seen,
    length_classes,
    scores_by_class,
)


def test_lengths_fall_into_classes_that_cover_every_gap_once(rng: np.random.Generator) -> None:
    missing = rng.random((80, 6)) < 0.8
    classes = length_classes(missing)
    assert list(classes) == ["1", "2-3", "4-7", "8-15", ">15"]
    np.testing.assert_array_equal(np.sum(list(classes.values()), axis=0), missing)


def test_distances_are_cells_of_the_frame_or_steps_of_the_site() -> None:
    grid = np.array([[[True, False, False]], [[False, False, False]]])
    np.testing.assert_array_equal(distance_to_seen(grid), [[[0, 1, 2]], [[np.inf, np.inf, np.inf]]])
    series = np.array([[True], [False], [False], [False], [True]])
    np.testing.assert_array_equal(distance_to_seen(series)[:, 0], [0, 1, 2, 1, 0])


def test_empty_frames_are_a_class_of_their_own() -> None:
    seen = np.zeros((2, 1, 12), bool)
    seen[0, 0, 0] = True
    classes = distance_strata(seen)
    assert {name: int(c.sum()) for name, c in classes.items()} == {
        "<=1": 1, "<=2": 1, "<=4": 2, "<=8": 4, ">8": 3, "none": 12,
    }  # fmt: skip


def test_only_classes_that_have_cells_are_scored() -> None:
    truth, filled = np.zeros((3, 1)), np.array([[1.0], [2.0], [4.0]])
    classes = {"a": np.array([[True], [False], [False]]), "b": np.array([[False], [True], [True]]), "c": truth > 0}
    made = scores_by_class(truth, filled, None, np.array([[True], [True], [False]]), classes)
    assert {name: s.rmse for name, s in made.items()} == {"a": 1.0, "b": 2.0}


def test_spectrum_holds_all_the_variance(rng: np.random.Generator) -> None:
    fields = rng.normal(size=(5, 12, 17))
    _, variance = radial_spectrum(fields)
    assert variance.sum() == pytest.approx(fields.var(axis=(1, 2)).mean())


def test_a_wave_appears_at_its_wavelength() -> None:
    x = np.arange(32) + 0.5
    wave = np.cos(2 * np.pi * x / 8) * np.ones((1, 32, 1))
    wavelength, variance = radial_spectrum(wave)
    assert wavelength[np.argmax(variance)] == pytest.approx(8.0, rel=0.1)


def test_blurring_loses_fine_wavelengths(rng: np.random.Generator) -> None:
    truth = rng.normal(size=(4, 24, 24))
    blurred = (truth + np.roll(truth, 1, 1) + np.roll(truth, 1, 2) + np.roll(truth, (1, 1), (1, 2))) / 4
    assert psd_ratio(truth, truth) == 1.0
    blur, half = psd_ratio(truth, blurred), psd_ratio(truth, truth / 2)
    assert blur is not None and blur < 0.3
    assert half == pytest.approx(0.25)
    assert psd_ratio(np.ones((1, 8, 8)), np.ones((1, 8, 8))) is None
