"""The network and the baselines: only hidden cells count, the data's own gaps are a kind, plots are drawn."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from hydrofill.cube import WaterCube
from hydrofill.errors import UnknownVariableError
from hydrofill.inference.model import Model, Outcome
from hydrofill.layout import Layout
from hydrofill.reconstruct import FilledVariable
from model.baselines.library import chosen_methods
from model.evaluation.comparison import OWN, Trial, bundle_filler, compare, trials
from model.evaluation.hidden_cells import network_filler
from model.evaluation.plots import LEVELS, PlotsUnavailableError, coverage_by_level, draw
from model.evaluation.tables import OURS
from model.network.mae import CrossMAE
from model.network.predictor import TorchPredictor

pytestmark = pytest.mark.slow

METHODS = ("cell_mean", "linear_in_time", "kriging")


@pytest.fixture
def made(water: WaterCube, layout: Layout, network: CrossMAE) -> list[Trial]:
    return list(trials(water, layout, network_filler(layout, TorchPredictor(network)), 0, METHODS))


def test_only_observed_cells_are_hidden_and_no_method_sees_them(made: list[Trial], water: WaterCube) -> None:
    for trial in made:
        valid = water.variables[trial.variable].valid
        assert trial.hidden.any()
        assert not (trial.hidden & ~valid).any()
        np.testing.assert_array_equal(trial.seen, valid & ~trial.hidden)
        for fill in trial.fills.values():
            np.testing.assert_array_equal(fill.values[trial.seen], trial.truth[trial.seen])


def test_kinds_are_shapes_that_gaps_have_and_never_single_cells(made: list[Trial]) -> None:
    kinds = {(t.variable, t.gap) for t in made}
    grids = {("precipitation", kind) for kind in ("clouds", "squares", "swaths", "frames", OWN)}
    assert grids | {("river_flow", "outages"), ("river_flow", OWN)} <= kinds
    assert len(kinds) == len(made)


def test_methods_that_suit_are_compared_with_the_network(made: list[Trial]) -> None:
    for trial in made:
        expected = [OURS, *METHODS] if trial.truth.ndim == 3 else [OURS, *METHODS[:2]]
        assert sorted(trial.fills) == sorted(expected)


def test_a_perfect_fill_has_no_error_in_any_class(made: list[Trial]) -> None:
    for trial in made:
        fills: Mapping[str, object] = {OURS: type(trial.fills[OURS])(trial.truth, np.zeros_like(trial.truth))}
        perfect = compare(Trial(**{**vars(trial), "fills": fills}))
        assert perfect.cells == trial.hidden.sum()
        assert perfect.methods[OURS].rmse == 0
        assert sum(s.n for s in perfect.by_length.values()) == perfect.cells
        assert sum(s.n for s in perfect.by_distance.values()) == perfect.cells
        json.dumps(perfect.row())


def test_a_bundle_fills_the_record_with_its_gaps_and_never_sees_what_is_hidden(
    water: WaterCube, layout: Layout, made: list[Trial]
) -> None:
    class Bundle(Model):
        def run(self, cube: WaterCube, names: Sequence[str] | None = None, *_: object) -> Outcome:
            seen.append(cube)
            assert names is not None
            shapes = {name: cube.variables[name].values.shape for name in names}
            zeros = {name: np.zeros(shape, np.int8) for name, shape in shapes.items()}
            return Outcome({n: FilledVariable(np.full(s, 7.0), np.ones(s), zeros[n]) for n, s in shapes.items()}, 0, 0)

    seen: list[WaterCube] = []
    bundle = Bundle.__new__(Bundle)
    found = list(trials(water, layout, bundle_filler(bundle), 0, ()))
    assert [(t.variable, t.gap) for t in found] == [(t.variable, t.gap) for t in made]
    for trial, other in zip(found, made, strict=True):
        np.testing.assert_array_equal(trial.hidden, other.hidden)
        assert (trial.fills[OURS].values[trial.hidden] == 7.0).all()
        assert any(not (cube.variables[trial.variable].valid & trial.hidden).any() for cube in seen)


def test_a_grid_has_three_plots_and_a_series_one(made: list[Trial], tmp_path: Path) -> None:
    grid = next(t for t in made if (t.variable, t.gap) == ("pet", "clouds"))
    series = next(t for t in made if t.truth.ndim == 2)
    assert [p.name for p in draw(grid, tmp_path)] == [
        f"pet-clouds-{what}.png" for what in ("error", "reliability", "spectra")
    ]
    assert [p.name.rsplit("-", 1)[1] for p in draw(series, tmp_path)] == ["reliability.png"]
    assert all(p.stat().st_size > 5000 for p in tmp_path.iterdir())


def test_reliability_of_correct_standard_deviations_is_the_diagonal(made: list[Trial]) -> None:
    trial = made[0]
    rng = np.random.default_rng(0)
    std = np.ones((200, 100))
    own = type(trial.fills[OURS])(rng.normal(size=std.shape), std)
    whole = np.ones(std.shape, bool)
    right = Trial("v", "1", "clouds", np.zeros(std.shape), whole, ~whole, {OURS: own})
    np.testing.assert_allclose(coverage_by_level(right, OURS), LEVELS, atol=0.02)


def test_plots_name_the_package_they_need(made: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_import = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return whole_import(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PlotsUnavailableError, match="matplotlib"):
        draw(made[0], tmp_path)


@pytest.mark.parametrize(
    ("words", "names"), [("all", None), ("none", ()), ("kriging, cell_mean", ("kriging", "cell_mean"))]
)
def test_baselines_are_chosen_by_name(words: str, names: Sequence[str] | None) -> None:
    assert chosen_methods(words) == names


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(UnknownVariableError, match="magic"):
        chosen_methods("kriging,magic")
