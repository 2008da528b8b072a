"""Blocks of a record: they cover the record, follow from its shape, and their weights add up to one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrofill import blocks
from hydrofill.blocks import BLOCK_VALUES, Box, chunked_boxes, plan_blocks


@given(
    st.tuples(st.integers(1, 600), st.integers(1, 150), st.integers(1, 150)),
    st.integers(1, 3),
    st.sampled_from([20_000, 200_000, 2_000_000]),
)
def test_tiles_cover_each_cell_once_and_weights_add_up_to_one(
    shape: tuple[int, int, int], grids: int, limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_VALUES", limit)
        planned = plan_blocks(shape, grids, 0)
    covered = [np.zeros(n) for n in shape]
    weight = [np.zeros(n) for n in shape]
    number = [len({(b.tile[a].start, b.tile[a].stop) for b in planned}) for a in range(3)]
    assert np.prod(number) == len(planned)
    for block in planned:
        for axis, of_axis in enumerate(block.weights()):
            others = len(planned) // number[axis]
            covered[axis][block.tile[axis]] += 1 / others
            weight[axis][block.core[axis]] += of_axis / others
    for axis in range(3):
        np.testing.assert_allclose(covered[axis], 1)
        np.testing.assert_allclose(weight[axis], 1)


@pytest.mark.parametrize(
    "shape", [(365, 900, 1450), (16_000, 2000, 7200), (20_000, 180, 290), (1, 5000, 5000), (36, 600, 600), (8760, 9, 9)]
)
def test_no_block_reads_more_than_the_limit_and_little_is_read_twice(shape: tuple[int, int, int]) -> None:
    planned = plan_blocks(shape, 1, 0)
    read = [int(np.prod(block.around.shape)) for block in planned]
    assert max(read) <= BLOCK_VALUES * 1.05
    assert sum(read) <= 2.2 * np.prod(shape)


def test_a_small_record_is_one_block_that_reads_nothing_twice() -> None:
    (block,) = plan_blocks((720, 40, 40), 2, 3)
    assert block.tile == block.core == block.around == Box(slice(0, 720), slice(0, 40), slice(0, 40))
    assert all((weight == 1).all() for weight in block.weights())


def test_long_series_are_cut_in_time_alone() -> None:
    planned = plan_blocks((20_000, 0, 0), 0, 500)
    assert len(planned) > 1
    assert {block.around.shape[1:] for block in planned} == {(0, 0)}


sizes = st.tuples(st.integers(1, 50), st.integers(1, 9), st.integers(1, 9))


@given(sizes, sizes, st.integers(1, 500))
def test_chunked_boxes_cover_each_cell_once_in_order(
    shape: tuple[int, int, int], chunk: tuple[int, int, int], values: int
) -> None:
    boxes = list(chunked_boxes(shape, chunk, values))
    times = np.zeros(shape, int)
    for box in boxes:
        times[tuple(box)] += 1
    assert (times == 1).all()
    assert [[part.start for part in box] for box in boxes] == sorted([part.start for part in box] for box in boxes)


def test_a_box_has_whole_chunks_unless_a_chunk_is_too_large() -> None:
    assert next(chunked_boxes((100, 60, 70), (10, 20, 30), 20_000)).shape == (10, 20, 70)
    assert next(chunked_boxes((1000, 60, 70), (1000, 20, 30), 20_000)).shape == (4 * 20_000 // 600, 20, 30)
    assert next(chunked_boxes((1000, 60, 70), (1, 1, 1), 20_000)).shape == (4, 60, 70)
