"""Cutting arrays into patches and joining patches lose nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrofill.patches import count_patches, cut_patches, join_patches, patch_means
from tests.support.layouts import plain_layout


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    patch=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)
def test_cutting_and_joining_restore_every_value(shape: tuple[int, int, int], patch: tuple[int, int, int]) -> None:
    layout = plain_layout(*patch)
    grid, series = layout.variables
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(join_patches(cut_patches(values, grid, layout, np.nan), grid, shape, layout), values)
    flat = values[:, :, 0]
    np.testing.assert_array_equal(
        join_patches(cut_patches(flat, series, layout, np.nan), series, flat.shape, layout), flat
    )


def test_count_patches_agrees_with_cutting() -> None:
    layout = plain_layout(2, 2, 3)
    for spec, shape in zip(layout.variables, ((2, 3, 5), (7, 4)), strict=True):
        assert count_patches(spec, shape, layout) == len(cut_patches(np.zeros(shape), spec, layout, np.nan))


def test_patch_means_leave_out_missing_cells() -> None:
    values = np.array([[1, 3, np.nan], [np.nan, 5, np.nan]], np.float32)
    np.testing.assert_array_equal(patch_means(values, plain_layout(2, 2, 1)), np.array([3, np.nan], np.float32))


def test_a_patch_holds_the_cells_of_its_rows_and_columns() -> None:
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    cells = cut_patches(values, plain_layout(2, 2, 1).variables[0], plain_layout(2, 2, 1), -1.0)
    np.testing.assert_array_equal(cells, [[0, 1, 3, 4], [2, -1, 5, -1]])


def test_further_axes_are_cut_like_arrays_of_their_own() -> None:
    layout, values = plain_layout(2, 2, 3), np.arange(7 * 3 * 5 * 2, dtype=np.float32).reshape(7, 3, 5, 2)
    for spec, whole in zip(layout.variables, (values, values[:, :, 0]), strict=True):
        each = [cut_patches(whole[..., number], spec, layout, np.nan) for number in range(2)]
        np.testing.assert_array_equal(cut_patches(whole, spec, layout, np.nan), np.stack(each, axis=-1))


def test_a_chunk_holds_the_steps_of_its_site() -> None:
    values = np.array([[1, 10], [2, 20], [3, 30]], np.float32)
    cells = cut_patches(values, plain_layout(1, 1, 2).variables[1], plain_layout(1, 1, 2), -1.0)
    np.testing.assert_array_equal(cells, [[1, 2], [10, 20], [3, -1], [30, -1]])
