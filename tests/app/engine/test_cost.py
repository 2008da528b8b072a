"""Predicted costs: counted as a run counts, and near the time that a run takes."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import xarray as xr

from app.engine.cost import CostModel, measure_costs
from app.engine.load import TERMS, Load, count_load
from hydrofill import blocks
from hydrofill.bundle import read_bundle
from hydrofill.cf.dataset import read_dataset
from hydrofill.gaps.control import GapControl
from hydrofill.gaps.refusals import Refuser
from hydrofill.general import self_check
from hydrofill.inference.graphs import Runtime
from hydrofill.inference.model import Model, load_model
from hydrofill.layout import GENERAL
from hydrofill.reconstruct import reconstruct
from hydrofill.tokens import Queries, Tokens
from tests.support.general_run import days
from tests.support.tiny import (
    JSON,
    LAYOUT,
    NETCDF,
    NPZ,
    body_of,
    sample,
)

CPU = Runtime("cpu", 1)
GUESSING = LAYOUT.model_copy(update={"guesses": True})


@pytest.mark.anyio
@pytest.mark.parametrize("form", [JSON, NETCDF, NPZ])
async def test_estimate_counts_the_same_as_a_run_and_runs_nothing(
    client: httpx.AsyncClient, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "run", None)
    body = body_of(sample(20), form)
    reply = await client.post("/estimate", content=body, headers={"Content-Type": form})
    estimate = reply.json()
    cube = read_dataset(sample(20), LAYOUT).cube
    counts: list[tuple[int, int]] = []

    def count(tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        counts.append((int(tokens.length), int(queries.length)))
        return np.zeros(queries.requested.shape, np.float32), np.zeros(queries.requested.shape, np.float32)

    reconstruct(cube, LAYOUT, count)
    counted = (estimate["windows"], estimate["tokens"], estimate["queries"])
    assert counted == (len(counts), *map(sum, zip(*counts, strict=True)))
    assert estimate["predicted_s"] > 0
    assert estimate["body_bytes"] == len(body)


def test_cost_counts_every_value_that_first_guesses_read_even_if_one_cell_is_filled() -> None:
    cube = read_dataset(sample(40), GUESSING).cube
    whole = {name: np.nan_to_num(v.values) for name, v in cube.of_kind("grid", "series").items()}
    names = ["precipitation", "temperature", "river_flow"]
    assert count_load(cube.with_values(whole), GUESSING, names, None).terms == (0,) * TERMS
    whole["temperature"][30, 2, 2] = np.nan
    assert count_load(cube.with_values(whole), GUESSING, names, None).terms[5:] == (40 * 4 * 6, 0, 0, 0, 0, 0)


@pytest.mark.slow
def test_predicted_cost_is_near_the_time_of_a_run(slow_bundles: Path) -> None:
    model = load_model(read_bundle(slow_bundles / "tiny"), CPU)
    cost = measure_costs({"tiny": model})["tiny"]
    cube = read_dataset(sample(40), LAYOUT).cube
    load = count_load(cube, LAYOUT, ["precipitation"], None)
    started = time.perf_counter()
    model.run(cube, ["precipitation"])
    assert 0.3 < cost.predict_s(load) / (time.perf_counter() - started) < 3


def test_requests_that_take_longer_than_predicted_leave_the_predictions_of_others() -> None:
    cost = CostModel(np.array([1.0, *[0] * (TERMS - 1)]))
    own, others = (Load(1, 10, 10, (seconds, *[0.0] * (TERMS - 1))) for seconds in (2.0, 0.3))
    for took_s in (29.0, 1e9, 1e-9):
        before = cost.predict_s(others)
        for _ in range(300):
            cost.update(own, took_s)
            assert before / 1.5 < cost.predict_s(others) < 1.5 * before


def test_cost_model_follows_a_slower_machine() -> None:
    cost, load = CostModel(np.array([1.0, *[0] * (TERMS - 1)])), Load(2, 10, 10, (2.0, *[0.0] * (TERMS - 1)))
    for _ in range(200):
        cost.update(load, 2.3)
    assert cost.predict_s(load) == pytest.approx(2.3, rel=0.05)


def test_a_short_request_counts_less_than_a_long_one() -> None:
    short, long = (CostModel(np.array([1.0, *[0] * (TERMS - 1)])) for _ in range(2))
    for cost, seconds in ((short, 0.01), (long, 9.0)):
        cost.update(Load(1, 1, 1, (seconds, *[0.0] * (TERMS - 1))), 2 * seconds)
    assert 1 < short.factor < 1.001 < long.factor


def test_a_fill_of_which_every_gap_is_refused_costs_nothing() -> None:
    cube = read_dataset(sample(20), LAYOUT).cube
    refusers = (Refuser(GapControl(max_gap=steps)) for steps in (None, 1, 0))
    every, short, none = (count_load(cube, LAYOUT, ["precipitation"], refuser).queries for refuser in refusers)
    assert every == short > none == 0  # what is refused is filled before


def test_a_record_of_several_blocks_counts_what_blocks_read_and_more_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(90, 40, 40)).astype(np.float32)
    values[::2, :20] = np.nan
    coords = {"time": days(90), "y": np.arange(40.0), "x": np.arange(40.0)}
    cube = read_dataset(xr.Dataset({"level": (("time", "y", "x"), values)}, coords)).cube
    monkeypatch.setattr(self_check, "MAX_DRAW_VALUES", 20_000)
    whole = count_load(cube, GENERAL, ["level"], None)
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 60_000)
    planned = blocks.plan_blocks(cube.shape, 1, 0)
    load = count_load(cube, GENERAL, ["level"], None)
    read = sum(int(np.prod(block.around.shape)) for block in planned)
    of_check = whole.terms[5] - values.size
    assert len(planned) > 1
    assert load.terms[5] == pytest.approx(read + 4 * of_check)
    assert load.terms[3] > whole.terms[3]
