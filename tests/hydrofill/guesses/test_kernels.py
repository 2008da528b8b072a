"""Compiled kernels against the same computations written plainly, on records of many shapes and masks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, ndimage

from hydrofill.guesses import interpolation
from hydrofill.guesses.advection import _neighbours, _padded, _window, advected
from hydrofill.guesses.arrays import exponent_above
from hydrofill.guesses.compile import compile_kernels
from hydrofill.guesses.first_guesses import guess, median_of_three
from hydrofill.guesses.kernels import compiled, lattice, motion, records, small_systems, surfaces, tridiagonal
from hydrofill.guesses.kernels.installed_cache import InstalledCache
from hydrofill.guesses.leading_vectors import MAX_EXACT, leading_vectors
from hydrofill.guesses.similarity import MIN_DIFFERENCE, PRIOR_PAIRS, REACH, SHARPNESS, similar_neighbours
from hydrofill.guesses.space_time import from_neighbours, lag_one

NAN = np.float32(np.nan)
EVERY = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def grids(draw: st.DrawFn, largest: tuple[int, int, int] = (5, 9, 11)) -> np.ndarray:
    """Records of all shapes up to `largest`, of any scale, with random gaps, lost frames and full frames."""
    shape = tuple(draw(st.integers(1, n)) for n in largest)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.gamma(0.5, 4, shape) if draw(st.booleans()) else rng.standard_normal(shape)
    values *= 10.0 ** draw(st.sampled_from((-20, -3, 0, 6, 15)))
    values[rng.random(shape) < draw(st.sampled_from((0.0, 0.2, 0.5, 0.95)))] = NAN
    if draw(st.booleans()):
        values[rng.integers(shape[0])] = NAN
    return values.astype(np.float32)


def close(made: np.ndarray, wanted: np.ndarray, rtol: float = 2e-5) -> None:
    """Compare relative to the largest size of what is wanted."""
    size = np.nanmax(np.abs(wanted), initial=0)
    np.testing.assert_allclose(made, wanted, rtol=rtol, atol=rtol * size)


def pulled_and_pushed(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    own = total / np.maximum(weight, 1)
    if max(total.shape) == 1:
        return own
    rows, columns = total.shape
    even = [np.pad(a, ((0, rows % 2), (0, columns % 2))) for a in (total, weight)]
    halves = [a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2] for a in even]
    coarse = pulled_and_pushed(*halves).repeat(2, axis=0).repeat(2, axis=1)[:rows, :columns]
    return np.where(weight > 0, own, coarse)


@EVERY
@given(grids())
def test_a_harmonic_fill_is_jacobi_sweeps_after_a_coarse_start(values: np.ndarray) -> None:
    wanted = values.astype(np.float64)
    for frame in wanted:
        seen = ~np.isnan(frame)
        if not seen.any():
            continue
        now = pulled_and_pushed(np.where(seen, frame, 0), seen.astype(float))
        for _ in range(interpolation.JACOBI_SWEEPS):
            around = np.pad(now, 1, mode="edge")
            mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
            now = np.where(seen, frame, mean)
        frame[:] = now
    close(interpolation.harmonic(values), wanted)


@EVERY
@given(grids((2, 7, 7)))
def test_a_biharmonic_fill_has_the_least_squared_laplacian(values: np.ndarray) -> None:
    filled = np.empty_like(values)
    surfaces.biharmonic(values, 1000, 0.0, filled)
    height, width = values.shape[1:]
    basis = np.pad(np.eye(height * width).reshape(-1, height, width), ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = basis[:, :-2, 1:-1] + basis[:, 2:, 1:-1] + basis[:, 1:-1, :-2] + basis[:, 1:-1, 2:]
    laplacian = (around - 4 * basis[:, 1:-1, 1:-1]).reshape(height * width, -1)
    for frame, made in zip(values.astype(np.float64), filled, strict=True):
        seen = ~np.isnan(frame.ravel())
        if not seen.any() or seen.all():
            np.testing.assert_array_equal(made, frame)
            continue
        wanted = frame.ravel().copy()
        wanted[~seen] = np.linalg.lstsq(laplacian[~seen].T, -laplacian[seen].T @ wanted[seen], rcond=None)[0]
        low, high = np.nanmin(frame), np.nanmax(frame)
        close(made.ravel(), np.clip(wanted, low, high), rtol=0.02)


@EVERY
@given(grids())
def test_similar_neighbours_are_weighted_by_their_differences(values: np.ndarray) -> None:
    wide = values.astype(np.float64)
    _, height, width = values.shape
    pairs, medians = [], []
    for down, across in product(range(REACH + 1), range(-REACH, REACH + 1)):
        if (down, across) <= (0, 0) or down >= height or abs(across) >= width:
            continue
        here = (slice(0, height - down), slice(max(0, -across), width - max(0, across)))
        there = (slice(down, height), slice(max(0, across), width + min(0, across)))
        squares = np.square(wide[:, *here] - wide[:, *there])
        number, total = (~np.isnan(squares)).sum(axis=0), np.nansum(squares, axis=0)
        difference = (total + PRIOR_PAIRS * total.sum() / max(number.sum(), 1)) / (number + PRIOR_PAIRS)
        pairs += [(here, there, difference), (there, here, difference)]
        medians.append(np.median(difference))
    mean, std = similar_neighbours(values)
    if not pairs or not np.isnan(values).any():
        assert np.isnan(mean).all() and np.isnan(std).all()
        return
    usual = max(min(medians), 1e-14 * 4.0 ** exponent_above(float(np.nanmax(np.abs(values), initial=0))))
    weight, total, expected = (np.zeros(values.shape) for _ in range(3))
    for here, there, difference in pairs:
        share = (difference / usual + MIN_DIFFERENCE) ** -SHARPNESS * ~np.isnan(wide[:, *there])
        weight[:, *here] += share
        total[:, *here] += share * np.nan_to_num(wide[:, *there])
        expected[:, *here] += share * difference
    some = (weight > 0) & np.isnan(values).any(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        close(mean, np.where(some, total / weight, NAN), rtol=1e-3)
        close(std, np.where(some, np.sqrt(expected / weight), NAN), rtol=1e-3)


@EVERY
@given(grids((9, 3, 4)))
def test_neighbours_in_time_and_means_of_steps_are_those_of_a_plain_loop(values: np.ndarray) -> None:
    before, after, steps_before, steps_after = interpolation.neighbours_in_time(values)
    mean, expected = interpolation.local_mean(values), from_neighbours(values.reshape(len(values), -1))
    correlation = lag_one(values, 0)
    for t, y, x in np.ndindex(values.shape):
        series = values[:, y, x].astype(np.float64)
        known = np.flatnonzero(~np.isnan(series))
        past, future = known[known < t], known[known > t]
        last, following = (past[-1] if len(past) else None), (future[0] if len(future) else None)
        np.testing.assert_equal(before[t, y, x], NAN if last is None else values[last, y, x])
        np.testing.assert_equal(after[t, y, x], NAN if following is None else values[following, y, x])
        apart = [np.inf if n is None else abs(n - t) for n in (last, following)]
        assert [steps_before[t, y, x], steps_after[t, y, x]] == apart
        near = np.array([n for n in known if 0 < abs(n - t) <= 12], int)
        weights = np.exp(-np.abs(near - t) / interpolation.LOCAL_MEAN_STEPS)
        wanted = (weights * series[near]).sum() / weights.sum() if len(near) else np.nan
        np.testing.assert_allclose(mean[t, y, x], wanted, rtol=1e-4, atol=1e-5 * np.nanmax(np.abs(series), initial=0))
        p, q = (correlation**n for n in apart)
        sides = [0.0 if n is None else series[n] for n in (last, following)]
        wanted = (p * (1 - q**2) * sides[0] + q * (1 - p**2) * sides[1]) / (1 - (p * q) ** 2)
        size = np.nanmax(np.abs(series), initial=0)
        np.testing.assert_allclose(expected[t, y * values.shape[2] + x], wanted, rtol=1e-3, atol=1e-4 * size)


@EVERY
@given(grids())
def test_sums_over_a_record_are_those_of_numpy(values: np.ndarray) -> None:
    for axis in range(3):
        here, there = (np.moveaxis(values.astype(np.float64), axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
        both = ~np.isnan(here + there)
        left, right = here[both], there[both]
        size = np.sqrt(np.square(left).sum() * np.square(right).sum())
        assert lag_one(values, axis) == pytest.approx(
            np.clip(left @ right / size, 0, 0.999) if size > 0 else 0, abs=1e-9
        )
    low, high, mean, variance = records.moments(values.reshape(-1))
    if not np.isnan(values).all():
        known = values[~np.isnan(values)].astype(np.float64)
        close(np.array([low, high, mean]), np.array([known.min(), known.max(), known.mean()]))
        assert variance == pytest.approx(known.var(), rel=1e-6)


@EVERY
@given(grids())
def test_distances_are_exact(values: np.ndarray) -> None:
    seen = ~np.isnan(values)
    made = interpolation.distance_in_space(seen)
    for frame, distance in zip(seen, made, strict=True):
        wanted = ndimage.distance_transform_edt(~frame) if frame.any() else np.full(frame.shape, np.inf)
        np.testing.assert_allclose(distance, wanted, rtol=1e-6)


@EVERY
@given(grids((3, 4, 9)))
def test_the_median_of_three_leaves_out_what_is_missing(values: np.ndarray) -> None:
    rng = np.random.default_rng(values.size)
    fills = [np.where(rng.random(values.shape) < 0.3, NAN, rng.permutation(values.ravel()).reshape(values.shape))] * 3
    fills = [rng.permutation(f.ravel()).reshape(f.shape) for f in fills]
    made, wide = median_of_three(*fills), np.stack(fills).astype(np.float64)
    some = ~np.isnan(wide).all(axis=0)
    np.testing.assert_allclose(made[some], np.nanmedian(wide[:, some], axis=0), rtol=1e-6)
    assert np.isnan(made[~some]).all()


@pytest.mark.parametrize(("rank", "number"), [(1, 1), (2, 5), (4, 64), (7, 65), (16, 130)])
def test_small_systems_are_solved_and_inverted(rank: int, number: int, rng: np.random.Generator) -> None:
    roots = rng.standard_normal((number, rank, rank + 1))
    matrices = (roots @ roots.transpose(0, 2, 1)).astype(np.float32)
    lower = np.ascontiguousarray(matrices[:, *np.tril_indices(rank)].T)
    diagonal, own, right = rng.random(rank), rng.random(number), rng.standard_normal((rank, number)).astype(np.float32)
    solutions, inverses = np.empty_like(right), np.empty_like(lower)
    small_systems.solve(lower, diagonal, own, right, True, solutions, inverses)
    full = matrices + np.diag(diagonal) + own[:, None, None] * np.eye(rank)
    np.testing.assert_allclose(solutions, np.linalg.solve(full, right.T[..., None])[..., 0].T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inverses, np.linalg.inv(full)[:, *np.tril_indices(rank)].T, rtol=1e-4, atol=1e-5)


@EVERY
@given(st.integers(2, 400), st.floats(0, 0.999), st.floats(-12, 12), st.integers(0, 2**32 - 1))
def test_a_tridiagonal_system_is_solved_as_by_scipy(n: int, tie: float, exponent: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    beside, right = -tie * rng.random(n - 1) * 10**exponent, rng.standard_normal(n)
    diagonal = 10**exponent * (1 + tie**2) + rng.random(n) * 10**exponent * rng.integers(0, 2, n)
    made = np.empty(n)
    tridiagonal.solve_tridiagonal(diagonal, beside, right, made)
    wanted = linalg.solveh_banded(np.stack([diagonal, np.append(beside, 0)]), right, lower=True)
    close(made, wanted, rtol=1e-9)


def test_leading_vectors_of_a_large_matrix_span_those_of_all_eigenvectors(rng: np.random.Generator) -> None:
    scores = rng.standard_normal((2 * MAX_EXACT, 300)) * 0.8 ** np.arange(300)
    gram = (scores @ scores.T).astype(np.float32)
    found, every = leading_vectors(gram, 6), np.linalg.eigh(gram.astype(np.float64))[1][:, ::-1][:, :6]
    np.testing.assert_allclose(np.abs(found.T @ every), np.eye(6), atol=1e-3)


def smoothed(
    values: np.ndarray, std: tuple[float, float, float], mode: Literal["constant", "nearest"], truncate: float
) -> np.ndarray:
    return ndimage.gaussian_filter(values, std, mode=["constant", mode, mode], truncate=truncate)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 5), (3, 6, 1), (9, 13, 17), (12, 30, 8)])
def test_motion_is_found_by_least_squares_in_gaussian_windows(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    fields = smoothed(rng.standard_normal(shape), (0.5, 1, 1), "nearest", 4).astype(np.float32)
    velocity = rng.uniform(-1, 1, (2, *shape)).astype(np.float32)
    known = np.ones(shape[0], bool)
    known[shape[0] // 2 :: 3] = False
    before, after = _neighbours(known)
    n_time, steps = shape[0], np.arange(shape[0])
    sides = np.where(before < 0, 0, steps - before), np.where(after >= n_time, 0, after - steps)
    rows, columns = np.indices(shape[1:])
    moved = []
    for frame, way in zip((before, after), (-sides[0], sides[1]), strict=True):
        step = np.broadcast_to(np.clip(frame, 0, n_time - 1)[:, None, None], shape)
        at = [step, rows + way[:, None, None] * velocity[0], columns + way[:, None, None] * velocity[1]]
        moved.append(ndimage.map_coordinates(fields, at, order=1, mode="nearest"))
    way = (sides[0] + sides[1])[:, None, None]
    usable = ((before >= 0) & (after < n_time) & (way[:, 0, 0] <= 4))[:, None, None]
    middle, difference = (moved[0] + moved[1]) / 2, (moved[1] - moved[0]) * usable
    padded = np.pad(middle, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2 * way * usable
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2 * way * usable
    dd, da, aa, de, ae, ee = (
        smoothed(p, (1, 5, 5), "nearest", 2.5)
        for p in (down * down, down * across, across * across, down * difference, across * difference, difference**2)
    )
    dd, aa = dd + ee / 3 + 1e-6, aa + ee / 3 + 1e-6
    change = np.stack([da * ae - aa * de, da * de - dd * ae]) / (dd * aa - da * da)
    wanted = velocity + np.clip(change, -1 / np.maximum(way, 1), 1 / np.maximum(way, 1))
    in_space, in_time = _padded(_window(5.0, 13)), _window(1.0, 3)
    motion.improve(fields, velocity, before, after, in_space, in_time, np.float32(3), np.float32(1), 4)
    np.testing.assert_allclose(velocity, wanted, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 2, 3), (4, 5, 1), (20, 13, 30)])
def test_a_change_is_added_as_far_as_it_explains_what_is_seen(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    change, wanted, still = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
    wanted = (0.7 * change + 0.3 * wanted).astype(np.float32)
    wanted[rng.random(shape) < 0.4] = NAN
    powers = rng.integers(1, 4, shape[0])
    usable = ~np.isnan(wanted)
    product_, square = (np.where(usable, a, 0).astype(np.float64) for a in (change * wanted, change * change))
    prior, overall = max(0.3 * square.mean(), 1e-30), product_.mean() / max(square.mean(), 1e-30)
    near = [smoothed(a, (4, 6, 6), "constant", 2.0) for a in (product_, square)]
    gain = np.clip((near[0] + prior * overall) / (near[1] + prior), 0, 1)
    expected = still + gain ** powers[:, None, None] * change
    motion.add_gained(change, wanted, powers, _padded(_window(6.0, 12)), _window(4.0, 8), 0.3, 1e-30, still)
    np.testing.assert_allclose(still, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 1), (3, 2, 5)])
def test_the_lattice_has_ties_between_neighbours_alone(shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    n_time, height, width = shape
    values, ties, pull = rng.standard_normal(shape).astype(np.float32), np.array([0.3, 0.5, 0.7], np.float32), 0.1
    filled, free = (
        np.empty((n_time, height * (width + 1)), np.float32),
        np.empty((n_time, height * (width + 1)), np.uint8),
    )
    padded = np.empty((n_time + 2, (height + 2) * (width + 1)), np.float32)
    lattice.lay_out(values, np.float32(1), filled, padded, free)
    assert not free.any()
    free[:] = 1
    count = [2.0 - (np.arange(n) == 0) - (np.arange(n) == n - 1) for n in shape]
    plane = pull + ties[1] * count[1][:, None] + ties[2] * np.append(count[2], 0)
    diagonals = np.stack([(plane + ties[0] * k).ravel() for k in range(3)]).astype(np.float32)
    out = np.empty_like(filled)
    total = lattice.precision_times(padded, out.copy(), free, diagonals, ties, np.float32(0), width, False, out)
    wanted = pull * values.astype(np.float64)
    for axis, tie in enumerate(ties):
        difference = tie * np.diff(values, axis=axis)
        low, high = ([(0, 0)] * 3 for _ in range(2))
        low[axis], high[axis] = (0, 1), (1, 0)
        wanted += np.pad(difference, high) - np.pad(difference, low)
    np.testing.assert_allclose(out.reshape(n_time, height, width + 1)[..., :-1], wanted, atol=1e-5)
    assert total == pytest.approx(float((wanted * values).sum()), abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "exponent"), [((40, 9, 10), -90), ((40, 9, 10), -20), ((40, 9, 10), 60), ((60, 5), -20), ((60, 5), 20)]
)
def test_units_of_a_power_of_two_change_no_bit(shape: tuple[int, ...], exponent: int, rng: np.random.Generator) -> None:
    values = rng.gamma(0.5, 4, shape).astype(np.float32)
    values[rng.random(shape) < 0.3] = NAN
    values[7] = NAN
    unit = np.float32(2.0**exponent)
    plain, scaled = guess(values), guess(values * unit)
    np.testing.assert_array_equal(scaled.values, plain.values * unit)
    np.testing.assert_array_equal(scaled.distances, plain.distances)


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e38])
def test_values_at_the_limits_of_float32_give_numbers(size: float, rng: np.random.Generator) -> None:
    values = (rng.uniform(0.5, 1, (12, 5, 6)) * size).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = NAN
    values[4] = NAN
    for fill in (interpolation.harmonic, interpolation.biharmonic):
        made = fill(values)[[0, 1, 2, 3, 5]]
        assert np.isfinite(made).all() and made.max() <= np.nanmax(values) and made.min() >= np.nanmin(values)
    completed = np.where(np.isnan(values), np.nanmean(values, dtype=np.float64).astype(np.float32), values)
    completed[4] = NAN
    assert np.isfinite(advected(values, completed)).all()
    assert not np.isinf(similar_neighbours(values)[0]).any()


def test_guesses_made_in_several_threads_are_the_same_to_the_last_bit(rng: np.random.Generator) -> None:
    values = np.where(rng.random((50, 12, 14)) < 0.4, NAN, rng.random((50, 12, 14))).astype(np.float32)
    made: list[bytes] = []
    threads = [Thread(target=lambda: made.append(guess(values).values.tobytes())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [guess(values).values.tobytes()] * 3


def test_records_that_cannot_be_written_are_guessed_as_others(rng: np.random.Generator) -> None:
    values = np.where(rng.random((20, 6, 7)) < 0.4, NAN, rng.random((20, 6, 7))).astype(np.float32)
    frozen = values.copy()
    frozen.setflags(write=False)
    assert guess(frozen).values.tobytes() == guess(values).values.tobytes()
    mirrored = np.asfortranarray(values)
    assert guess(mirrored).values.tobytes() == guess(values).values.tobytes()


def tripled(values):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):
        values[i] *= 3


def test_a_kernel_is_compiled_in_memory_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    values = np.ones(3, np.float32)
    compiled.compiled("void(f4[::1])")(tripled)(values)
    np.testing.assert_array_equal(values, 3)


def test_a_kernel_is_compiled_in_memory_where_a_folder_becomes_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    values = np.ones(3, np.float32)
    compiled.compiled("void(f4[::1])")(tripled)(values)
    np.testing.assert_array_equal(values, 3)


def test_installed_machine_code_is_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: object) -> None:
        raise OSError("read-only file system")

    source = tmp_path / "kernel.py"
    source.write_text("")
    (tmp_path / "__pycache__").mkdir()
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    assert InstalledCache.from_function(tripled, str(source)) is not None  # type: ignore[no-untyped-call]
    (tmp_path / "__pycache__").rmdir()
    assert InstalledCache.from_function(tripled, str(source)) is None  # type: ignore[no-untyped-call]


def test_every_module_of_kernels_is_compiled_ahead() -> None:
    folder = Path(compiled.__file__).parent
    assert sorted(compile_kernels()) == sorted(
        f"hydrofill.guesses.kernels.{p.stem}" for p in folder.glob("*.py") if p.stem != "__init__"
    )


def test_the_library_loads_without_the_compiler() -> None:
    code = "import sys, hydrofill.api, hydrofill.cli; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


GUESS = """
import hashlib, numpy as np
from hydrofill.guesses.first_guesses import guess
rng = np.random.default_rng(0)
field = np.cumsum(rng.normal(size=(40, 20, 24)), axis=0).astype(np.float32)
field[rng.random(field.shape) < 0.3] = np.nan
made = guess(field)
print(hashlib.sha256(made.values.tobytes() + made.distances.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_kernels_give_the_same_bits_when_compiled_and_when_loaded(tmp_path: Path) -> None:
    """A function that is not compiled into its kernels can be another one in the process that compiles."""
    bits = set()
    for _ in range(2):
        command, kept = [sys.executable, "-c", GUESS], {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(command, env=kept, capture_output=True, text=True, check=True)
        bits.add(done.stdout)
    assert list(tmp_path.rglob("*.nbc"))
    assert len(bits) == 1
