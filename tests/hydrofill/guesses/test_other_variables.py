"""Other variables explain the anomalies of a variable, at once or with memory."""

from __future__ import annotations

import numpy as np

from hydrofill.guesses.other_variables import MAX_PREDICTORS, from_other_variables

NAN = np.nan


def test_a_lost_frame_is_read_off_a_variable_that_is_proportional_cell_by_cell(rng: np.random.Generator) -> None:
    other = rng.standard_normal((200, 4, 5)).astype(np.float32)
    truth = other * rng.uniform(-3, 3, (4, 5)).astype(np.float32)
    anomaly = truth.copy()
    anomaly[50:60] = NAN
    made = from_other_variables(anomaly, [other])
    assert np.sqrt(np.mean((made - truth)[50:60] ** 2)) < 0.25 * truth.std()


def test_a_river_follows_the_rain_of_the_days_before(rng: np.random.Generator) -> None:
    rain = rng.gamma(0.5, 1.0, (400, 6, 6)).astype(np.float32)
    rain = (rain - rain.mean(axis=0)).astype(np.float32)
    flow = np.zeros((400, 2), np.float32)
    for step in range(1, 400):
        flow[step] = 0.8 * flow[step - 1] + rain[step].mean() * np.array([1, 2], np.float32)
    anomaly = flow - flow.mean(axis=0)
    hidden = slice(200, 260)
    seen = anomaly.copy()
    seen[hidden] = NAN
    made = from_other_variables(seen, [rain])
    assert np.sqrt(np.mean((made - anomaly)[hidden] ** 2)) < 0.6 * anomaly[hidden].std()


def test_an_unrelated_variable_says_little(rng: np.random.Generator) -> None:
    anomaly = rng.standard_normal((300, 8)).astype(np.float32)
    made = from_other_variables(anomaly, [rng.standard_normal((300, 8)).astype(np.float32)])
    assert made.std() < 0.25


def test_nothing_is_estimated_where_no_predictor_is_known(rng: np.random.Generator) -> None:
    anomaly = rng.standard_normal((300, 3)).astype(np.float32)
    other = rng.standard_normal((300, 3)).astype(np.float32)
    other[100:200] = NAN
    made = from_other_variables(anomaly, [other])
    assert np.isnan(made[150]).all() and np.isfinite(made[:100]).all()
    assert np.isnan(from_other_variables(anomaly, [])).all()
    assert np.isnan(from_other_variables(anomaly, [np.full_like(other, NAN)])).all()


def test_of_many_variables_the_one_that_explains_is_found(rng: np.random.Generator) -> None:
    others = [rng.standard_normal((150, 4)).astype(np.float32) for _ in range(MAX_PREDICTORS + 3)]
    truth = 2 * others[-1]
    anomaly = truth.copy()
    anomaly[40:50] = NAN
    made = from_other_variables(anomaly, others)
    assert np.sqrt(np.mean((made - truth)[40:50] ** 2)) < 0.4 * truth.std()


def test_an_own_estimate_serves_without_other_variables(rng: np.random.Generator) -> None:
    truth = rng.standard_normal((200, 5)).astype(np.float32)
    estimate = (0.5 * truth).astype(np.float32)
    seen = truth.copy()
    seen[20:30] = NAN
    made = from_other_variables(seen, [], [estimate])
    assert np.sqrt(np.mean((made - truth)[20:30] ** 2)) < 0.2
