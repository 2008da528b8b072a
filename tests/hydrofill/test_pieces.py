"""Pieces of fills: what one block filled stays as it is, and overlapping pieces are mixed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from hydrofill import blocks
from hydrofill.blocks import Box, plan_blocks, whole
from hydrofill.cf.dataset import read_dataset
from hydrofill.cube import Sites, Variable, WaterCube
from hydrofill.gaps.control import GapControl
from hydrofill.gaps.refusals import Refuser
from hydrofill.pieces import cut_piece, mix_pieces, refused_in_core
from hydrofill.reconstruct import FILLED, OBSERVED, REFUSED, FilledVariable
from hydrofill.survey import CubeSource, survey
from tests.support.general_run import days


def record(rng: np.random.Generator, shape: tuple[int, int, int] = (400, 40, 36)) -> WaterCube:
    values = rng.normal(size=shape).astype(np.float32)
    values[rng.random(shape) < 0.3] = np.nan
    values[150:250, :20] = np.nan  # a gap of exactly 100 steps
    values[149:251:101, :20] = 0
    coords = {"time": days(shape[0]), "y": np.arange(float(shape[1])), "x": np.arange(float(shape[2]))}
    return read_dataset(xr.Dataset({"level": (("time", "y", "x"), values)}, coords)).cube


def pretend(rng: np.random.Generator, shape: tuple[int, ...]) -> FilledVariable:
    flag = rng.choice([OBSERVED, FILLED, REFUSED], shape).astype(np.int8)
    mean = np.where(flag == FILLED, rng.normal(size=shape), np.nan).astype(np.float32)
    std = np.where(flag == FILLED, rng.random(shape), np.where(flag == OBSERVED, 0, np.nan)).astype(np.float32)
    return FilledVariable(mean, std, flag)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 150_000)


@pytest.mark.usefixtures("small_blocks")
def test_pieces_of_one_fill_give_the_fill_back(rng: np.random.Generator) -> None:
    cube = record(rng)
    filled = pretend(rng, cube.shape)
    planned = plan_blocks(cube.shape, 1, 0)
    assert len(planned) > 4
    pieces = []
    for block in planned:
        around = FilledVariable(filled.mean[block.around], filled.std[block.around], filled.flag[block.around])
        pieces.append(cut_piece(around, block, cube))
    box = Box(slice(90, 310), slice(5, 33), slice(0, 36))
    mixed = mix_pieces(pieces, box, None)
    np.testing.assert_array_equal(mixed.flag, filled.flag[box])
    np.testing.assert_allclose(mixed.mean, filled.mean[box], rtol=1e-6)
    np.testing.assert_allclose(mixed.std, filled.std[box], rtol=1e-6)


def test_a_single_piece_stays_to_the_bit(rng: np.random.Generator) -> None:
    cube = record(rng, (30, 8, 9))
    filled = pretend(rng, cube.shape)
    (block,) = plan_blocks(cube.shape, 1, 0)
    mixed = mix_pieces([cut_piece(filled, block, cube)], whole(cube.shape), None)
    for part in ("mean", "std", "flag"):
        assert getattr(mixed, part).tobytes() == getattr(filled, part).tobytes(), part


@pytest.mark.usefixtures("small_blocks")
def test_where_pieces_differ_they_are_mixed_and_the_spread_grows(rng: np.random.Generator) -> None:
    cube = record(rng)
    pieces = []
    for block in plan_blocks(cube.shape, 1, 0):
        shape = block.around.shape
        level = np.full(shape, block.number, np.float32)
        pieces.append(cut_piece(FilledVariable(level, np.ones(shape, np.float32), np.full(shape, FILLED)), block, cube))
    mixed = mix_pieces(pieces, whole(cube.shape), None)
    for piece in pieces:
        inner = piece.steps[:, None, None] * piece.place == 1
        assert (mixed.std[piece.box][inner] == 1).all()
    between = mixed.std > 1
    assert between.any()
    assert (mixed.mean[between] % 1 != 0).any()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "control",
    [
        GapControl.of(max_gap=3),
        GapControl.of(max_gap=99),
        GapControl.of(max_gap=100),
        GapControl.of(max_gap="3D"),
        GapControl.of(max_gap="100D"),
        GapControl.of(max_distance=2),
        GapControl.of(max_distance="1500 m"),
        GapControl.of(interior_only=True),
        GapControl.of(support=0.6),
        GapControl.of(5, 3, True, None, 0.5),
    ],
    ids=lambda control: str(control.described()),
)
@pytest.mark.parametrize("kind", ["grid", "series"])
def test_what_is_refused_does_not_depend_on_blocks(rng: np.random.Generator, control: GapControl, kind: str) -> None:
    cube = record(rng)
    values = cube.variables["level"].values.copy()
    values[:30, :, 5] = values[-9:, 7:9] = np.nan
    if kind == "series":
        n = 25
        place = (rng.uniform(axis.min() - 1, axis.max() + 1, n) for axis in (cube.y, cube.x))
        of_sites = Variable("level", "series", np.ascontiguousarray(values[:, :5, :5].reshape(-1, n)), "m")
        cube = replace(cube, sites=Sites(np.arange(n).astype(str), *place), variables={"level": of_sites}, domain={})
    else:
        cube = cube.with_values({"level": values})
    source, refuser = CubeSource(cube, "m"), Refuser(control, "km" if control.max_distance else "")
    found = survey(source, spans=control.interior_only)
    refused = np.zeros(values.shape if kind == "grid" else cube.variables["level"].values.shape, np.int8)
    for block in plan_blocks(cube.shape, 1, 0):
        of_block = refused_in_core(source, found, block, ["level"], refuser)["level"]
        at = block.around if kind == "grid" else (block.around.time, cube.sites_in(block.around.y, block.around.x))
        refused[at] = np.maximum(refused[at], of_block)
    expected = refuser.codes(cube, "level")
    np.testing.assert_array_equal(refused, expected)
    assert (expected != 0).any() or control.max_gap is not None or kind == "series"


@pytest.mark.usefixtures("small_blocks")
def test_each_site_is_in_the_pieces_of_the_blocks_that_hold_its_cell(rng: np.random.Generator) -> None:
    cube = record(rng)
    sites, steps = 12, cube.shape[0]
    axes = xr.Dataset(
        {
            "level": (("time", "y", "x"), cube.variables["level"].values),
            "flow": (("time", "site"), rng.random((steps, sites))),
        },
        {
            "time": cube.time,
            "y": cube.y,
            "x": cube.x,
            "site_y": ("site", rng.uniform(0, 39, sites)),
            "site_x": ("site", rng.uniform(0, 35, sites)),
        },
    )
    cube = read_dataset(axes).cube
    whole_fill = pretend(rng, (steps, sites))
    pieces = []
    for block in plan_blocks(cube.shape, 1, sites):
        taken = cube.sites_in(block.around.y, block.around.x)
        cut = (block.around.time, np.flatnonzero(taken))
        around = FilledVariable(whole_fill.mean[cut], whole_fill.std[cut], whole_fill.flag[cut])
        pieces.append(cut_piece(around, block, cube))
    mixed = mix_pieces(pieces, whole(cube.shape), sites)
    np.testing.assert_array_equal(mixed.flag, whole_fill.flag)
    np.testing.assert_allclose(mixed.mean, whole_fill.mean, rtol=1e-6)
