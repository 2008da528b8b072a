"""Tokens hold only visible values, and predictions return to the requested cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import Variable, WaterCube
from hydrofill.guesses.first_guesses import GUESSES
from hydrofill.layout import Layout
from hydrofill.tokens import stack_queries, stack_tokens, tokenise
from tests.support.layouts import plain_layout


def test_a_partly_observed_patch_is_a_token_and_a_query(cube: WaterCube) -> None:
    tokenised = tokenise(cube, plain_layout(2, 3, 2))
    assert tokenised.tokens.variable.tolist() == [0, 0, 1]  # two frames of rain, one chunk of flow
    assert tokenised.tokens.valid[1].tolist() == [True] * 5 + [False]
    assert tokenised.queries.variable.tolist() == [0, 1]
    assert tokenised.queries.requested[0].tolist() == [False] * 5 + [True]
    assert tokenised.queries.requested[1, :2].tolist() == [False, True]


def test_hidden_values_do_not_reach_the_tokens(cube: WaterCube) -> None:
    layout, visible = plain_layout(1, 2, 1), {"rain": np.zeros((2, 2, 3), bool)}
    visible["rain"][0, 0, 0] = True
    poisoned = cube.with_values({"rain": np.where(visible["rain"], cube.variables["rain"].values, np.float32(1e30))})
    here, there = (tokenise(c, layout, visible=visible).tokens for c in (cube, poisoned))
    np.testing.assert_array_equal(here.values, there.values)
    assert np.abs(here.values).max() < 1e3


def test_missing_cells_are_zero_and_not_valid(cube: WaterCube) -> None:
    tokens = tokenise(cube, plain_layout(2, 2, 2)).tokens
    assert (tokens.values[~tokens.valid] == 0).all()
    assert not np.isnan(tokens.values).any()


def test_predictions_return_to_the_requested_cells(dataset: xr.Dataset, layout: Layout) -> None:
    cube = read_dataset(dataset, layout).cube.window(slice(2, 10), slice(0, 7), slice(0, 5))
    tokenised = tokenise(cube, layout)
    truth = {
        n: np.arange(v.values.size, dtype=np.float32).reshape(v.values.shape)
        for n, v in cube.of_kind("grid", "series").items()
    }
    joined = tokenised.join(tokenised.cut(truth))
    for name, values in truth.items():
        np.testing.assert_array_equal(joined[name], np.where(cube.gaps(name), values, np.nan))


def test_without_gaps_there_are_no_queries(cube: WaterCube) -> None:
    full = cube.with_values({"rain": np.ones((2, 2, 3), np.float32), "flow": np.ones((2, 1), np.float32)})
    tokenised = tokenise(full, plain_layout(2, 2, 1))
    assert len(tokenised.queries.variable) == 0
    assert np.isnan(tokenised.join(np.zeros((0, 4), np.float32))["rain"]).all()


def test_without_observed_values_there_are_no_tokens(cube: WaterCube) -> None:
    nothing = cube.with_values(
        {"rain": np.full((2, 2, 3), np.nan, np.float32), "flow": np.full((2, 1), np.nan, np.float32)}
    )
    assert len(tokenise(nothing, plain_layout(2, 2, 1)).tokens.variable) == 0


def test_patches_outside_the_domain_are_neither_tokens_nor_queries(cube: WaterCube) -> None:
    values = cube.variables["rain"].values.copy()
    values[:, :, 0] = np.nan
    tokenised = tokenise(cube.with_values({"rain": values}), plain_layout(1, 1, 1))
    assert (tokenised.tokens.variable == 0).sum() == 2 * 4 - 1
    assert (tokenised.queries.variable == 0).sum() == 1


def test_static_variables_are_one_token_per_patch_and_per_site(dataset: xr.Dataset, layout: Layout) -> None:
    cube = read_dataset(dataset, layout).cube.window(slice(0, 8), slice(0, 7), slice(0, 5))
    tokens = tokenise(cube, layout).tokens
    slope = tokens.values[tokens.variable == 3]
    assert len(slope) == 3 * 3
    np.testing.assert_allclose(slope[0, 0], dataset.slope.values[:3, :2].mean(), rtol=1e-6)
    np.testing.assert_allclose(slope[-1, 0], dataset.slope.values[6:, 4:].mean(), rtol=1e-6)
    np.testing.assert_array_equal(tokens.values[tokens.variable == 4, 0], [113, 169])


def test_places_do_not_depend_on_the_order_of_rows(cube: WaterCube) -> None:
    flipped = replace(
        cube,
        y=cube.y[::-1],
        variables={n: Variable(n, v.kind, v.values[:, ::-1], v.units) for n, v in cube.of_kind("grid").items()},
        sites=cube.sites.take(np.array([], int)),
    )
    straight = replace(cube, variables=cube.of_kind("grid"), sites=flipped.sites)

    def seen(of: WaterCube) -> set[tuple[float, ...]]:
        tokens = tokenise(of, plain_layout(1, 1, 1)).tokens
        return {(float(v[0]), *map(float, p)) for v, p in zip(tokens.values, tokens.place, strict=True)}

    assert seen(flipped) == seen(straight)


def test_places_stay_finite_for_any_coordinates(cube: WaterCube) -> None:
    far = replace(cube, y=np.array([-1e12, 1e12]), x=np.array([1e9, 2e9, 3e9]))
    place = tokenise(far, plain_layout(1, 1, 1)).tokens.place
    assert np.abs(place).max() <= 256


def test_batches_are_padded_and_their_lengths_kept(cube: WaterCube) -> None:
    one = tokenise(cube, plain_layout(1, 1, 1))
    two = tokenise(cube.window(slice(0, 1), slice(0, 1), slice(0, 2)), plain_layout(1, 1, 1))
    tokens = stack_tokens([one.tokens, two.tokens])
    assert tokens.length.tolist() == [12, 2]
    assert tokens.values.shape == (2, 12, 1)
    assert not tokens.valid[1, 2:].any()
    queries = stack_queries([one.queries, two.queries])
    assert queries.length.tolist() == [2, 0]


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_chunks_of_series_have_the_mean_time_of_their_steps(cube: WaterCube, steps: int) -> None:
    tokens = tokenise(cube, plain_layout(1, 1, steps)).tokens
    expected = {1: -0.5, 3: 0.0, 8: 0.0}[steps]
    assert tokens.place[tokens.variable == 1][0, 0] == expected


def test_hidden_values_do_not_reach_the_guesses(cube: WaterCube) -> None:
    layout, visible = plain_layout(1, 2, 1), {"rain": np.zeros((2, 2, 3), bool)}
    visible["rain"][0] = True
    poisoned = cube.with_values({"rain": np.where(visible["rain"], cube.variables["rain"].values, np.float32(1e30))})
    requested = {"rain": ~visible["rain"]}
    here, there = (tokenise(c, layout, visible=visible, requested=requested).queries for c in (cube, poisoned))
    np.testing.assert_array_equal(here.guess, there.guess)
    assert here.guessed.any() and np.abs(here.guess).max() < 1e3


def test_guesses_belong_to_the_cells_of_their_query(cube: WaterCube) -> None:
    tokenised = tokenise(cube, plain_layout(2, 3, 2))
    before, after = GUESSES.index("before"), GUESSES.index("after")
    assert tokenised.queries.guess[0, 5, before] == 5  # the value of the missing cell one step before
    assert tokenised.queries.guessed[0, 5].tolist() == [
        n not in ("after", "completed_after", "seasonal") for n in GUESSES
    ]
    assert not tokenised.queries.guessed[0, 5, after]
    assert tokenised.queries.guess[1, 1, 0] == 1
    assert not tokenised.queries.guessed[1, 2:].any()


def test_a_layout_without_guesses_has_queries_without_guesses(cube: WaterCube) -> None:
    layout = plain_layout(2, 3, 2).model_copy(update={"guesses": False})
    queries = tokenise(cube, layout).queries
    assert queries.guess.shape == (2, 6, 0) and queries.distance.shape == (2, 6, 0)
