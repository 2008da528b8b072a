"""Non-negative least squares against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from app.engine.least_squares import non_negative_weights


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (6, 5), (7, 8), (12, 4), (3, 6)])
def test_weights_fit_as_well_as_those_of_scipy(rows: int, columns: int, rng: np.random.Generator) -> None:
    for _ in range(20):
        matrix, wanted = rng.random((rows, columns)), rng.standard_normal(rows) + 1
        made, (_, error) = non_negative_weights(matrix, wanted), nnls(matrix, wanted)
        assert (made >= 0).all()
        assert np.linalg.norm(matrix @ made - wanted) == pytest.approx(error, abs=1e-9)


def test_weights_of_columns_that_differ_much_in_size_are_those_of_scipy(rng: np.random.Generator) -> None:
    for _ in range(20):
        matrix = rng.random((7, 5)) * 10.0 ** np.array([0, 3, 6, -4, 9])
        wanted = matrix @ (rng.random(5) * [1, 0, 1e-6, 1e4, 0]) + 1e-3 * rng.standard_normal(7)
        np.testing.assert_allclose(non_negative_weights(matrix, wanted), nnls(matrix, wanted)[0], rtol=1e-6)


def test_empty_equal_and_useless_columns_get_what_they_explain() -> None:
    matrix = np.array([[1.0, 1.0, 0.0, -1.0], [2.0, 2.0, 0.0, -2.0]])
    made = non_negative_weights(matrix, np.array([3.0, 6.0]))
    assert made[0] + made[1] == pytest.approx(3)
    assert made[2] == made[3] == 0
    assert not non_negative_weights(-matrix[:, :1], np.ones(2)).any()
