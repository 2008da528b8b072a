"""Windows cover the whole cube and are blended without seams; gaps that cannot be filled are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import Sites, Variable, WaterCube
from hydrofill.errors import BundleError, NothingObservedError, UnknownVariableError
from hydrofill.guesses.first_guesses import Guesses, guess_variable
from hydrofill.layout import Layout, VariableSpec, WindowSize
from hydrofill.reconstruct import FILLED, OBSERVED, OUTSIDE, REFUSED, plan_windows, reconstruct
from hydrofill.tokens import Queries, Tokens


class Recorder:
    """A network that predicts mean 1 and standard deviation 1, and records its inputs."""

    def __init__(self) -> None:
        self.requested = 0
        self.windows: list[tuple[Tokens, Queries]] = []

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        self.windows.append((tokens, queries))
        self.requested += int(queries.requested.sum())
        return np.ones(queries.requested.shape, np.float32), np.ones(queries.requested.shape, np.float32)


def small(layout: Layout, steps: int = 8, rows: int = 7, columns: int = 5) -> Layout:
    return layout.model_copy(update={"window": WindowSize(steps=steps, rows=rows, columns=columns)})


def test_every_gap_is_filled_and_nothing_else(dataset: xr.Dataset, layout: Layout) -> None:
    cube = read_dataset(dataset, layout).cube
    for name, filled in reconstruct(cube, layout, Recorder()).items():
        assert (filled.flag[cube.variables[name].valid] == OBSERVED).all()
        assert (filled.flag[cube.gaps(name)] == FILLED).all()
        np.testing.assert_array_equal(~np.isnan(filled.mean), cube.gaps(name))


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5])
@pytest.mark.parametrize("window", [(8, 7, 5), (3, 7, 5), (20, 3, 2), (5, 4, 3), (1, 1, 1), (50, 50, 50)])
def test_windows_of_any_size_cover_every_cell(
    dataset: xr.Dataset, layout: Layout, window: tuple[int, int, int], overlap: float
) -> None:
    cube = read_dataset(dataset, layout).cube
    total = np.zeros(cube.shape)
    for part in plan_windows(cube, WindowSize(steps=window[0], rows=window[1], columns=window[2]), overlap):
        of_window = total[part.time, part.y, part.x].shape
        assert part.weight.shape == tuple(1 if n == m else n for n, m in zip(of_window, cube.shape, strict=True))
        assert (part.weight > 0).all()
        total[part.time, part.y, part.x] += part.weight
    assert (total > 0).all()


def test_blending_equal_predictions_changes_neither_mean_nor_std(dataset: xr.Dataset, layout: Layout) -> None:
    cube = read_dataset(dataset, layout).cube
    filled = reconstruct(cube, small(layout, 4, 3, 3), Recorder())
    np.testing.assert_allclose(filled["pet"].mean[filled["pet"].flag == FILLED], 1, rtol=1e-6)
    np.testing.assert_allclose(filled["pet"].std[filled["pet"].flag == FILLED], 1, rtol=1e-5)


def test_windows_that_disagree_increase_the_std(dataset: xr.Dataset, layout: Layout) -> None:
    predictions = iter(np.tile([0.0, 4.0], 50))

    def wavering(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        del tokens
        return np.full(queries.requested.shape, next(predictions), np.float32), np.ones(
            queries.requested.shape, np.float32
        )

    cube = read_dataset(dataset[["pet"]], layout).cube
    filled = reconstruct(cube, small(layout, 4), wavering)["pet"]
    assert filled.std[filled.flag == FILLED].max() > 1.5


def test_first_guesses_are_made_for_requested_variables_only(
    dataset: xr.Dataset, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    guessed = []

    def note(seen: np.ndarray, spec: VariableSpec, time: np.ndarray, year_s: float) -> Guesses:
        guessed.append(spec.name)
        return guess_variable(seen, spec, time, year_s)

    monkeypatch.setattr("hydrofill.reconstruct.guess_variable", note)
    cube = read_dataset(dataset, layout).cube
    whole = cube.with_values({"pet": np.nan_to_num(cube.variables["pet"].values)})
    reconstruct(whole, layout, Recorder(), names=["pet"])
    assert guessed == []
    reconstruct(whole, layout, Recorder())
    assert guessed == ["precipitation", "river_flow"]


def test_a_window_without_observed_values_is_refused_and_not_predicted(dataset: xr.Dataset, layout: Layout) -> None:
    blind = dataset.copy(deep=True)
    for name in ("precipitation", "pet", "river_flow"):
        blind[name].values[4:16] = np.nan
    cube, network = read_dataset(blind, layout).cube, Recorder()
    filled = reconstruct(cube, small(layout, 4), network)
    assert (filled["pet"].flag[4:16] == REFUSED).all()
    assert all((tokens.variable < 3).any() for tokens, _ in network.windows)


@pytest.mark.parametrize("length", [7, 8, 9, 12])
def test_an_outage_is_filled_or_refused_whole_wherever_it_lies(
    dataset: xr.Dataset, layout: Layout, length: int
) -> None:
    empty = dataset.copy(deep=True)
    for name in ("precipitation", "pet", "river_flow"):
        empty[name] = empty[name].fillna(1.0)
    found = []
    for begin in range(1, 20 - length):
        lost = empty.copy(deep=True)
        for name in ("precipitation", "pet", "river_flow"):
            lost[name][begin : begin + length] = np.nan
        pet = reconstruct(read_dataset(lost, layout).cube, small(layout, 8), Recorder())["pet"]
        found.append(np.unique(pet.flag[begin : begin + length]).tolist())
    assert found == [[FILLED if length < 8 else REFUSED]] * len(found)


def test_a_cube_without_observed_values_is_an_error(cube: WaterCube, layout: Layout) -> None:
    empty = np.full((2, 2, 3), np.nan, np.float32)
    blank = WaterCube(cube.time, cube.y, cube.x, variables={"pet": Variable("pet", "grid", empty, "mm day-1")})
    with pytest.raises(NothingObservedError, match="pet"):
        reconstruct(blank, layout, Recorder())


def test_only_the_named_variables_are_predicted(dataset: xr.Dataset, layout: Layout) -> None:
    cube, network = read_dataset(dataset, layout).cube, Recorder()
    assert reconstruct(cube, layout, network, names=["pet"]).keys() == {"pet"}
    assert all((queries.variable == 1).all() for _, queries in network.windows)
    assert any((tokens.variable == 0).any() for tokens, _ in network.windows)


@pytest.mark.parametrize(("name", "says"), [("snow", "does not fill"), ("river_flow", "do not hold this variable")])
def test_a_name_that_cannot_be_filled_is_refused(dataset: xr.Dataset, layout: Layout, name: str, says: str) -> None:
    cube = read_dataset(dataset[["pet"]], layout).cube
    with pytest.raises(UnknownVariableError, match=f"{name}: .*{says}"):
        reconstruct(cube, layout, Recorder(), names=[name])


def test_cells_outside_the_domain_stay_missing_and_are_flagged(dataset: xr.Dataset, layout: Layout) -> None:
    cube = read_dataset(dataset, layout).cube
    inside = np.ones((7, 5), bool)
    inside[:3] = False
    values = cube.variables["pet"].values.copy()
    values[:, :3] = np.nan
    part = replace(cube.with_values({"pet": values}), domain={"pet": inside})
    filled = reconstruct(part, layout, Recorder())["pet"]
    assert (filled.flag[:, :3] == OUTSIDE).all()
    assert np.isnan(filled.mean[:, :3]).all() and np.isnan(filled.std[:, :3]).all()


def test_fills_stay_within_the_bounds_of_the_variable(dataset: xr.Dataset, layout: Layout) -> None:
    def below(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        del tokens
        return np.full(queries.requested.shape, -3.0, np.float32), np.ones(queries.requested.shape, np.float32)

    cube = read_dataset(dataset, layout).cube
    assert np.nanmin(reconstruct(cube, layout, below)["pet"].mean) == 0


@pytest.mark.parametrize(("mean", "std"), [(np.nan, 1.0), (1.0, -1.0), (1.0, np.nan)])
def test_impossible_predictions_are_an_error(dataset: xr.Dataset, layout: Layout, mean: float, std: float) -> None:
    def broken(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        del tokens
        return np.full(queries.requested.shape, mean, np.float32), np.full(queries.requested.shape, std, np.float32)

    with pytest.raises(BundleError, match="not finite or a negative standard deviation"):
        reconstruct(read_dataset(dataset, layout).cube, layout, broken)


def test_progress_is_reported_to_the_end(dataset: xr.Dataset, layout: Layout) -> None:
    reported: list[tuple[int, int]] = []
    reconstruct(
        read_dataset(dataset, layout).cube,
        layout,
        Recorder(),
        progress=lambda done, total: reported.append((done, total)),
    )
    assert reported[-1][0] == reported[-1][1] == len(reported)


class Disagreeing:
    """A network that predicts 1 and 0 in turn, window by window."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        self.windows += 1
        mean = np.full(queries.requested.shape, self.windows % 2, np.float32)
        return mean, np.ones_like(mean)


@pytest.mark.parametrize("size", [8, 13])
def test_windows_that_disagree_are_blended_without_a_seam(layout: Layout, size: int) -> None:
    values = np.full((1, 6, 50), np.nan, np.float32)
    values[:, 0] = 1.0
    time = np.array(["2012-08-01"], "datetime64[ns]")
    rain = Variable("precipitation", "grid", values, "mm day-1")
    place = layout.place
    y = place.y_origin + place.y_spacing * np.arange(6)
    x = place.x_origin + place.x_spacing * np.arange(50)
    inside = {"precipitation": np.ones((6, 50), bool)}
    cube = WaterCube(time, y, x, Sites(np.zeros(0, str), np.zeros(0), np.zeros(0)), {rain.name: rain}, inside)
    network = Disagreeing()
    filled = reconstruct(cube, small(layout, 1, 6, size), network)["precipitation"].mean[0, 1:]
    assert network.windows > 3
    assert filled.min() < 0.1 and filled.max() > 0.9  # each window alone sets the values in its middle
    assert np.abs(np.diff(filled, axis=1)).max() <= 1.5 * 2 / size  # and its weight falls over half of its size
