"""Fields of scores: their covariance, and the same bits whatever part is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.members.covariance import Covariance, fit_covariance, in_space, in_time, pairs_of
from hydrofill.members.fields import GridFields, SeriesFields, tiles_of

COVARIANCE = Covariance({(4.0, 1): 0.4, (8.0, 4): 0.6})


def whole(fields: GridFields, steps: int, pair: int = 0) -> np.ndarray:
    rows, columns = fields.shape
    return fields.draw(pair, np.zeros(steps, np.int64), slice(0, steps), slice(0, rows), slice(0, columns))


def test_a_part_has_the_bits_of_the_whole() -> None:
    fields = GridFields(7, (20, 30), [COVARIANCE])
    part = fields.draw(0, np.zeros(3, np.int64), slice(5, 8), slice(4, 9), slice(10, 25))
    np.testing.assert_array_equal(part, whole(fields, 12)[:, 5:8, 4:9, 10:25])


def test_a_part_of_a_tiled_grid_has_the_bits_of_the_whole() -> None:
    fields = GridFields(7, (3, 700), [Covariance({(4.0, 1): 1.0})])
    part = fields.draw(0, np.zeros(1, np.int64), slice(0, 1), slice(0, 3), slice(300, 600))
    np.testing.assert_array_equal(part, whole(fields, 1)[..., 300:600])


def test_squares_of_the_weights_of_tiles_add_up_to_one() -> None:
    total = np.zeros(1500)
    for tile in tiles_of(1500, slice(0, 1500)):
        into, _, weight = tile.meeting(slice(0, 1500))
        total[into] += weight**2
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_fields_have_the_covariance() -> None:
    fields = GridFields(3, (48, 48), [COVARIANCE])
    drawn = np.concatenate([whole(fields, 200, pair) for pair in range(2)]).astype(np.float64)

    def covariance(steps: int, cells: int) -> float:
        later, earlier = drawn[:, steps:, :, cells:], drawn[:, : 200 - steps, :, : 48 - cells]
        return float((later * earlier).mean())

    for steps, cells in ((0, 0), (0, 3), (1, 0), (3, 0)):
        wanted = sum(
            w * in_space(np.array([float(cells)]), length)[0] * float(in_time([steps], scale)[0])
            for (length, scale), w in COVARIANCE.weights.items()
        )
        assert covariance(steps, cells) == pytest.approx(wanted, abs=0.06)


def test_members_differ() -> None:
    fields = GridFields(3, (5, 5), [COVARIANCE])
    members = np.concatenate([whole(fields, 2, pair) for pair in range(3)])
    assert len({member.tobytes() for member in members}) == 6


def test_the_fit_finds_short_and_long_lengths() -> None:
    for length in (2.8, 22.0):
        drawn = whole(GridFields(1, (40, 40), [Covariance({(length, 1): 1.0})]), 40)[0].astype(np.float64)
        fitted = fit_covariance(pairs_of(drawn, np.zeros_like(drawn), np.ones_like(drawn)), 1000)
        found = sum(w * in_space(np.array([5.0]), of)[0] for (of, _), w in fitted.weights.items())
        assert found == pytest.approx(in_space(np.array([5.0]), length)[0], abs=0.12)


def test_sites_have_their_correlation() -> None:
    root = np.array([[1.0, 0.0], [0.8, 0.6]])
    drawn = SeriesFields(5, root, Covariance({(0.0, 1): 0.5, (0.0, 8): 0.5})).draw(0, slice(0, 3000))[0]
    found = np.corrcoef(drawn.T)[0, 1]
    assert found == pytest.approx(0.8, abs=0.05)
    assert np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1] == pytest.approx(float(in_time([1], 8)[0]) / 2, abs=0.06)
