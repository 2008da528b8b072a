"""Distance classes, and the effect of a calibration on a fill."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from hydrofill.calibration import CLASSES, Calibration, Stretch, distance_classes


def test_classes_are_by_cells_within_a_frame_and_by_steps_in_empty_frames() -> None:
    valid = np.zeros((8, 1, 12), bool)
    valid[0, 0, 0] = True
    found = distance_classes(valid)
    names = [CLASSES[n] for n in found[0, 0, 1:]]
    assert names == ["rim", "near", "near", *["inner"] * 5, *["far"] * 3]
    assert [CLASSES[n] for n in found[1:, 0, 5]] == ["next step", *["near steps"] * 2, *["far steps"] * 4]


def test_classes_of_gauges_are_by_steps_to_their_own_values_while_others_are_seen() -> None:
    valid = np.ones((12, 2), bool)
    valid[2:12, 0] = False
    valid[11] = False
    found = distance_classes(valid)
    assert CLASSES[found[2, 0]] == "rim"
    assert CLASSES[found[10, 0]] == "far"
    assert CLASSES[found[11, 0]] == CLASSES[found[11, 1]] == "next step"


def test_std_is_scaled_and_small_fills_set_to_zero_by_class() -> None:
    twice = Stretch(std=(1.0,), factor=(2.0,))
    calibration = Calibration(stretch=(twice, *[Stretch()] * 6), dry_below=(0.0, 0.5) + (0.0,) * 5)
    mean, std = calibration.apply(
        np.array([0.4, 0.4, 0.6], np.float32), np.ones(3, np.float32), np.array([0, 1, 1], np.int8)
    )
    np.testing.assert_allclose(mean, [0.4, 0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(std, [2, 1, 1])


def test_negative_fills_stay_without_a_dry_limit() -> None:
    mean, _ = Calibration().apply(np.array([-3.0, 2.0], np.float32), np.ones(2, np.float32), np.zeros(2, np.int8))
    np.testing.assert_array_equal(mean, np.array([-3, 2], np.float32))


def test_factors_depend_on_the_std_and_are_constant_beyond_the_ends() -> None:
    stretch = Stretch(std=(0.1, 10.0), factor=(4.0, 1.0))
    std = np.array([0, 0.01, 0.1, 1, 10, 100, np.nan], np.float32)
    np.testing.assert_allclose(stretch.apply(std), [0, 0.04, 0.4, 2, 10, 100, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("std", "factor"), [((1.0, 2.0), (1.0,)), ((2.0, 1.0), (1.0, 1.0)), ((1.0,), (0.0,)), ((), ())]
)
def test_an_invalid_stretch_is_refused(std: tuple[float, ...], factor: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Stretch(std=std, factor=factor)


def test_a_calibration_needs_a_stretch_for_every_class() -> None:
    with pytest.raises(ValidationError, match="stretch"):
        Calibration(stretch=(Stretch(), Stretch()))
