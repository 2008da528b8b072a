"""Training examples score only what is observed and hidden, and never read what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from hydrofill.cube import Variable, WaterCube
from hydrofill.errors import NothingObservedError
from hydrofill.guesses.first_guesses import GUESSES, regions
from hydrofill.layout import Layout
from model.config import MaskingConfig
from model.data.cubes import LoadedCube
from model.data.training_records import MIN_CELLS, draw_record, guess_errors
from model.data.windows import POOL, WindowSampler, held_out_steps
from model.gaps.drawing import gaps_of_kind

KINDS = ("patches", "clouds", "swaths", "squares", "frames")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_only_cells_observed_and_hidden_are_scored(water: WaterCube, layout: Layout, kind: str) -> None:
    sampler = WindowSampler(water, layout, MaskingConfig(kinds=(kind,), kept_mask_ratio=1.0), batch_size=2, seed=0)
    for number in range(8):
        batch = sampler.batch(number)
        scored = ~np.isnan(batch.target)
        assert scored.any()
        np.testing.assert_array_equal(scored, batch.queries.requested)
        observed = np.concatenate([v.values[v.valid] for v in water.of_kind("grid", "series").values()])
        assert np.isin(batch.target[scored], observed).all()


@pytest.mark.slow
def test_missing_cells_are_never_read(water: WaterCube, layout: Layout) -> None:
    poisoned = {n: np.where(v.valid, v.values, np.float32(np.nan)) for n, v in water.of_kind("grid", "series").items()}
    for values in poisoned.values():  # another NaN, whose payload would show up if it were computed with
        values[np.isnan(values)] = np.frombuffer(np.uint32(0x7FC12345).tobytes(), np.float32)[0]
    batches = [
        WindowSampler(c, layout, MaskingConfig(), 3, seed=1).batch(0) for c in (water, water.with_values(poisoned))
    ]
    for name in ("values", "valid", "place"):
        here, there = (getattr(b.tokens, name) for b in batches)
        assert here.tobytes() == there.tobytes()
    np.testing.assert_array_equal(batches[0].target, batches[1].target)


@pytest.mark.slow
def test_what_is_scored_is_never_visible(water: WaterCube, layout: Layout) -> None:
    marked = water.with_values(
        {
            n: np.where(v.valid, np.arange(v.values.size, dtype=np.float32).reshape(v.values.shape) + 1, v.values)
            for n, v in water.of_kind("grid").items()
        }
    )
    marked = WaterCube(marked.time, marked.y, marked.x, variables={"pet": marked.variables["pet"]})
    for number in range(10):
        batch = WindowSampler(marked, layout, MaskingConfig(), 1, seed=3).batch(number)
        seen = batch.tokens.values[0][batch.tokens.valid[0] & (batch.tokens.variable[0] < 3)[:, None]]
        assert not np.intersect1d(seen, batch.target[~np.isnan(batch.target)]).size


@pytest.mark.slow
def test_a_batch_depends_on_its_number_alone(water: WaterCube, layout: Layout) -> None:
    forwards, backwards = (WindowSampler(water, layout, MaskingConfig(), 2, seed=5) for _ in range(2))
    first = [forwards.batch(i).target for i in range(12)]
    second = [backwards.batch(i).target for i in reversed(range(12))][::-1]
    for here, there in zip(first, second, strict=True):
        np.testing.assert_array_equal(here, there)
    other = WindowSampler(water, layout, MaskingConfig(), 2, seed=6).batch(0).target
    assert first[0].shape != other.shape or not np.array_equal(first[0], other, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize(("numbers", "guesses"), [(range(18), False), ((20, 3, 9, 40), False), ((1, 0), True)])
def test_batches_drawn_ahead_are_the_same(
    water: WaterCube, layout: Layout, numbers: Sequence[int], guesses: bool
) -> None:
    layout = layout.model_copy(update={"guesses": guesses})
    plain = WindowSampler(water, layout, MaskingConfig(), 2, seed=5)
    ahead = WindowSampler(water, layout, MaskingConfig(), 2, seed=5, ahead=True)
    for number in numbers:
        np.testing.assert_array_equal(ahead.batch(number).target, plain.batch(number).target)
    ahead.close()


def test_an_error_ahead_is_raised_when_the_batch_is_requested(water: WaterCube, layout: Layout) -> None:
    sampler = WindowSampler(water, layout, MaskingConfig(), 1, seed=0, ahead=True)
    sampler.batch(0)
    sampler.batch_size = 0  # no pool can be made after the one that is being drawn
    with pytest.raises(ValueError, match="zero"):
        [sampler.batch(pool * POOL) for pool in (1, 2)]
    sampler.close()


def test_a_whole_variable_is_absent_at_times(water: WaterCube, layout: Layout) -> None:
    sampler = WindowSampler(water, layout, MaskingConfig(variable_absent=0.5), 1, seed=0)
    seen = [set(np.unique(sampler.batch(i).tokens.variable)) & {0, 1, 2} for i in range(16)]
    assert any(len(s) < 3 for s in seen)
    assert all(seen)


@pytest.mark.slow
def test_partial_decoding_requests_the_kept_share(water: WaterCube, layout: Layout) -> None:
    def requested(kept: float) -> int:
        plain = layout.model_copy(update={"guesses": False})  # guesses take most of the time and no part in the draw
        sampler = WindowSampler(water, plain, MaskingConfig(kept_mask_ratio=kept), 4, seed=0)
        return sum(int(sampler.batch(i).queries.length.sum()) for i in range(24))

    assert requested(0.25) / requested(1.0) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 9, 4), (2, 3, 3), (4, 1, 1), (9, 2)])
def test_every_kind_of_gap_hides_about_its_ratio(layout: Layout, kind: str, shape: tuple[int, ...]) -> None:
    seeds = map(np.random.default_rng, range(40))
    drawn = [gaps_of_kind(rng, kind, shape, 0.5, layout, MaskingConfig()).mean() for rng in seeds]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.17)


def test_held_out_steps_are_whole_blocks_of_about_the_share() -> None:
    held = held_out_steps(365, 0.1, 12, np.random.default_rng(0))
    assert held.mean() == pytest.approx(0.1, abs=0.02)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], held.astype(int), [0]])))
    assert (np.diff(edges)[::2] >= 12).all()
    assert not held_out_steps(365, 0.0, 12, np.random.default_rng(0)).any()


def test_without_steps_empties_them_and_keeps_the_domain(water: WaterCube) -> None:
    steps = np.zeros(20, bool)
    steps[3:9] = True
    part = LoadedCube.of(water).without_steps(steps)
    assert np.isnan(part.variables["pet"].values[3:9]).all()
    np.testing.assert_array_equal(part.inside("pet"), water.inside("pet"))
    np.testing.assert_array_equal(part.variables["pet"].values[9:], water.variables["pet"].values[9:])


def test_a_record_hides_the_own_gaps_of_the_data_at_other_times(water: WaterCube, layout: Layout) -> None:
    config = MaskingConfig(untouched=0.0, own_gaps=1.0)
    record = draw_record(np.random.default_rng(2), water, layout, config)
    gaps = ~water.variables["pet"].valid & water.variables["pet"].valid.any(axis=0)
    hidden = record.hidden["pet"]
    assert any(np.array_equal(hidden, np.roll(gaps, shift, axis=0)) for shift in range(1, len(gaps)))
    assert not np.array_equal(hidden, gaps)


def test_a_records_guesses_never_see_what_it_hides(water: WaterCube, layout: Layout) -> None:
    record = draw_record(np.random.default_rng(0), water, layout, MaskingConfig())
    poisoned = {
        n: np.where(record.hidden[n] & v.valid, np.float32(1e20), v.values)
        for n, v in water.of_kind("grid", "series").items()
    }
    other = draw_record(np.random.default_rng(0), water.with_values(poisoned), layout, MaskingConfig())
    for name, guesses in record.guesses.items():
        assert record.hidden[name].any()
        assert guesses.values.tobytes() == other.guesses[name].values.tobytes()


def test_guess_errors_are_those_on_hidden_cells(water: WaterCube, layout: Layout) -> None:
    record = draw_record(np.random.default_rng(0), water, layout, MaskingConfig())
    errors = guess_errors([record], layout, np.full(len(layout.variables), 2.0))
    number = [v.name for v in layout.variables].index("pet")
    at = record.hidden["pet"] & water.variables["pet"].valid
    guessed, truth = record.guesses["pet"].values[at][:, GUESSES.index("mean")], water.variables["pet"].values[at]
    place = regions(record.guesses["pet"].distances[at])
    assert set(place) == {0, 2}  # a small grid: near what is seen, or in an empty frame
    for region in set(place):
        there = (place == region) & ~np.isnan(guessed)
        there = there if there.sum() >= MIN_CELLS else ~np.isnan(guessed)
        expected = np.sqrt(np.mean(((guessed - truth)[there] / 2) ** 2))
        assert errors[number, region, GUESSES.index("mean")] == pytest.approx(expected, abs=2e-3)
    assert (errors > 0).all()


@pytest.mark.slow
def test_data_whose_windows_hold_one_value_each_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.data.windows.MAX_TRIES", 200)
    values = np.full((40, 9, 8), np.nan, np.float32)
    values[0, 0, 0] = 1.0
    time = np.datetime64("2012-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D")
    pet = Variable("pet", "grid", values, "mm")
    cube = WaterCube(time, np.arange(9.0), np.arange(8.0), variables={"pet": pet})
    with pytest.raises(NothingObservedError, match="no window has a value to hide"):
        WindowSampler(cube, layout, MaskingConfig(), 1, seed=0).batch(0)
