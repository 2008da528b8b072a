"""Distance classes, and what a calibration does to a fill."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from export.contract.calibration import CLASSES, Calibration, distance_classes


def test_classes_go_by_cells_within_a_frame_and_by_steps_across_empty_ones() -> None:
    valid = np.zeros((8, 1, 12), bool)
    valid[0, 0, 0] = True
    found = distance_classes(valid)
    names = [CLASSES[n] for n in found[0, 0, 1:]]
    assert names == ["rim", "near", "near", *["inner"] * 5, *["far"] * 3]
    assert [CLASSES[n] for n in found[1:, 0, 5]] == ["next step", *["near steps"] * 2, *["far steps"] * 4]


def test_gauges_go_by_their_own_last_value_while_others_are_seen() -> None:
    valid = np.ones((12, 2), bool)
    valid[2:12, 0] = False
    valid[11] = False
    found = distance_classes(valid)
    assert CLASSES[found[2, 0]] == "rim"
    assert CLASSES[found[10, 0]] == "far"
    assert CLASSES[found[11, 0]] == CLASSES[found[11, 1]] == "next step"


def test_spreads_are_stretched_and_small_fills_dried_class_by_class() -> None:
    calibration = Calibration(std_factor=(2.0,) + (1.0,) * 6, dry_below=(0.0, 0.5) + (0.0,) * 5)
    mean, std = calibration.apply(
        np.array([0.4, 0.4, 0.6], np.float32), np.ones(3, np.float32), np.array([0, 1, 1], np.int8)
    )
    np.testing.assert_allclose(mean, [0.4, 0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(std, [2, 1, 1])


def test_a_calibration_has_a_number_for_every_class() -> None:
    with pytest.raises(ValidationError, match="std_factor"):
        Calibration(std_factor=(1.0, 2.0))
