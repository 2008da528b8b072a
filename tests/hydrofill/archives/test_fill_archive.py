"""Archives: the same bits however they are stored, read and filled; what was complete is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hydrofill
from hydrofill import FileRefusedError, UnreadableError, WorkersLostError, blocks
from hydrofill.archives import fill as fill_module
from hydrofill.archives import jobs, output
from hydrofill.archives.inputs import find_input
from hydrofill.archives.jobs import Job
from hydrofill.archives.opening import open_input
from hydrofill.archives.output import write_dataset
from hydrofill.archives.parts import JOURNAL, PLAN, DoneBlock, Parts
from hydrofill.cf.dataset import read_dataset
from hydrofill.cf.views import Target
from hydrofill.filling import refuser_for
from hydrofill.gaps.control import GapControl
from hydrofill.general import self_check
from hydrofill.pieces import Piece, mix_pieces
from hydrofill.reconstruct import FilledVariable
from tests.support.general_run import days

STEPS, SIDE = 100, 30
BLOCK = 60_000  # values, so that the archive has four blocks
PARTS_OF_FILL = ("level", "level_std", "level_flag")
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:zarr", "ignore::FutureWarning:zarr", "ignore:The data type"
)


def archive() -> xr.Dataset:
    """Smooth values with clouds and a lost frame, other variables beside them, and attributes."""
    rng = np.random.default_rng(7)
    t, y, x = (np.arange(n, dtype=np.float64) for n in (STEPS, SIDE, SIDE))
    phase = t[:, None, None] / 9 + y[None, :, None] / 11 + x[None, None, :] / 13
    values = (280 + 5 * np.sin(phase) + 0.2 * rng.normal(size=phase.shape)).astype(np.float32)
    hidden = np.sin(phase * 2.7 + 5 * np.cos(t[:, None, None] / 3)) > 0.7
    hidden[70] = True
    values[hidden] = np.nan
    return xr.Dataset(
        {
            "level": (("time", "y", "x"), values, {"units": "K", "long_name": "a level"}),
            "quality": (("time", "band", "x"), rng.integers(0, 9, (STEPS, 2, SIDE)).astype(np.int16)),
            "note": ((), "as it was"),
        },
        {"time": days(STEPS), "y": y * 1000.0, "x": x * 1000.0},
        {"title": "an archive"},
    )


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_VALUES", BLOCK)
        patch.setattr(blocks, "MIN_TILE_CELLS", 15)
        patch.setattr(self_check, "SOURCE_DRAWS", 2)
        patch.setattr(self_check, "MAX_DRAW_VALUES", 30_000)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive as a NetCDF file, and its fill by one process."""
    folder = tmp_path_factory.mktemp("archive")
    archive().to_netcdf(folder / "in.nc", engine="h5netcdf")
    hydrofill.fill_archive(folder / "in.nc", folder / "reference.nc", workers=1)
    return folder


def opened(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="zarr" if path.is_dir() else "h5netcdf") as dataset:
        return dataset.load()


def assert_same_bits(path: Path, folder: Path) -> None:
    found, expected = opened(path), opened(folder / "reference.nc")
    for name in PARTS_OF_FILL:
        assert found[name].values.tobytes() == expected[name].values.tobytes(), name


def test_observed_values_stay_and_everything_else_is_copied(folder: Path) -> None:
    before, after = archive(), opened(folder / "reference.nc")
    seen = ~np.isnan(before["level"].values)
    assert (after["level"].values[seen] == before["level"].values[seen]).all()
    assert not after["level"].isnull().any()
    assert (after["level_std"].values > 0)[~seen].all()
    assert (after["level_flag"].values == ~seen).all()
    xr.testing.assert_identical(after["quality"], before["quality"])
    assert after["note"].item() == "as it was"
    assert after.attrs["title"] == "an archive"
    assert {"hydrofill_bundle", "hydrofill_calibration", "history"} <= after.attrs.keys()
    assert json.loads(after["level"].attrs["hydrofill_expected_skill"])["cloud"]["cells"] > 0
    assert list(after.data_vars) == ["level", "quality", "note", "level_std", "level_flag"]


def test_the_fill_is_good_and_has_no_step_at_borders_of_tiles(folder: Path) -> None:
    filled, phase = opened(folder / "reference.nc")["level"].values, np.arange(SIDE) / 1.0
    t, y, x = np.arange(STEPS) / 9, phase / 11, phase / 13
    error = filled - (280 + 5 * np.sin(t[:, None, None] + y[None, :, None] + x[None, None, :]))
    error[~np.isnan(archive()["level"].values)] = np.nan
    error[70] = np.nan
    assert np.sqrt(np.nanmean(error**2)) < 0.5
    (border,) = {block.tile.y.start for block in blocks.plan_blocks(filled.shape, 1, 0)} - {0}
    steps = np.sqrt(np.nanmean(np.diff(error, axis=1) ** 2, axis=(0, 2)))
    assert steps[border - 1] < 1.5 * np.median(steps)


def stored(folder: Path, how: str) -> Path | str:
    """Store the archive in another way; return its path or pattern."""
    dataset, path = archive(), folder / f"{how}.zarr"
    if how == "chunked":
        dataset.to_netcdf(
            folder / "chunked.nc", engine="h5netcdf", encoding={"level": {"zlib": True, "chunksizes": (7, 13, 11)}}
        )
        return folder / "chunked.nc"
    if how == "files":
        for number, start in enumerate((0, 40, 41, 70)):
            part = dataset.isel(time=slice(start, (40, 41, 70, STEPS)[number]))
            part.to_netcdf(folder / f"part{number}.nc", engine="h5netcdf")
        return str(folder / "part*.nc")
    version, chunks = (2, (1, SIDE, SIDE)) if how == "zarr2" else (3, (STEPS, 5, 9))
    dataset.to_zarr(path, zarr_format=version, encoding={"level": {"chunks": chunks}}, mode="w")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "target", "options"),
    [
        ("chunked", "chunked-out.nc", {"workers": 4}),
        ("files", "files-out.zarr", {"workers": 1}),
        ("zarr2", "zarr2-out.zarr", {"workers": 1, "memory": "3GiB"}),
        ("zarr3", "zarr3-out.nc", {"workers": 2, "scheduler": "dask://local"}),
    ],
)
@pytest.mark.filterwarnings("ignore")  # a cluster that is closed warns about its sockets
def test_the_same_bits_for_any_storage_and_any_workers(
    folder: Path, how: str, target: str, options: dict[str, Any]
) -> None:
    source = stored(folder, how)
    hydrofill.fill_archive(source, folder / target, **options)
    assert_same_bits(folder / target, folder)
    out = opened(folder / target)
    if how in ("chunked", "zarr2"):
        assert out["level"].encoding["preferred_chunks"] == opened(Path(source))["level"].encoding["preferred_chunks"]
        assert out["level_flag"].encoding["preferred_chunks"] == out["level"].encoding["preferred_chunks"]
    assert out["level"].encoding.get("zlib", False) == (how in ("chunked", "zarr3"))
    assert not (folder / f"{target}.parts").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("target", "marker"), [("packed.nc", -32768), ("packed.zarr", -32768), ("unpacked.nc", 0)])
def test_packed_values_stay_packed_if_filled_ones_can_be(folder: Path, target: str, marker: int) -> None:
    dataset, source = archive(), folder / f"in-{target}.nc"
    packing = {"dtype": "int16", "scale_factor": 0.05, "add_offset": 280.0, "_FillValue": marker}
    dataset["level"].encoding = {**packing, "missing_value": marker, "chunksizes": (10, 30, 30), "zlib": True}
    dataset["time"].encoding = {"units": "hours since 1900-01-01 00:00:0.0", "dtype": "int32"}
    dataset.to_netcdf(source, engine="h5netcdf", unlimited_dims=["time"])
    (summary,) = hydrofill.fill_archive(source, folder / target, workers=1)
    engine = "zarr" if target.endswith("zarr") else "h5netcdf"
    with (
        xr.open_dataset(source, engine="h5netcdf", decode_cf=False) as before,
        xr.open_dataset(folder / target, engine=engine, decode_cf=False) as after,
    ):
        assert after["time"].identical(before["time"])
        assert after["quality"].identical(before["quality"])
        seen, level = before["level"].values != marker, after["level"]
        if marker == 0:  # between the lowest and the highest filled value, and so one would be read as missing
            assert "do not fit int16" in summary.note == level.attrs["hydrofill_storage"]
            assert level.dtype == np.float64
            np.testing.assert_array_equal(level.values[seen], opened(source)["level"].values[seen])
            return
        assert summary.note == ""
        assert [level.dtype.str[1:], after["level_std"].dtype.str[1:]] == ["i2", "f4"]
        assert (level.values[seen] == before["level"].values[seen]).all()
        assert (level.values != marker).all()
        if engine == "h5netcdf":
            assert after.encoding["unlimited_dims"] == {"time"}
            assert level.encoding["chunksizes"] == after["level_flag"].encoding["chunksizes"] == (10, 30, 30)


def test_files_that_are_packed_differently_are_not_packed_when_joined(tmp_path: Path) -> None:
    dataset = archive()[["level"]]
    for number, scale in enumerate((0.05, 0.04)):
        part = dataset.isel(time=slice(number * 50, number * 50 + 50))
        part["level"].encoding = {"dtype": "int16", "scale_factor": scale, "add_offset": 280.0, "_FillValue": -1}
        part.to_netcdf(tmp_path / f"part{number}.nc", engine="h5netcdf", unlimited_dims=["time"])
    with open_input(find_input(str(tmp_path / "part*.nc"))) as joined:
        write_dataset(joined, str(tmp_path / "joined.nc"))
        expected = joined["level"].values
    assert np.isnan(expected).any()
    with xr.open_dataset(tmp_path / "joined.nc", engine="h5netcdf", decode_cf=False) as written:
        assert written["level"].dtype == np.float64
        np.testing.assert_array_equal(written["level"].values, expected)
        assert written.encoding["unlimited_dims"] == {"time"}


class Stopped(Exception):
    """Ends a fill in the middle."""


def stop_after(number: int) -> Callable[..., None]:
    def show(step: fill_module.Step) -> None:
        if step.doing == "fill" and step.done == number:
            raise Stopped

    return show


def test_an_interrupted_fill_goes_on_with_the_same_bits(folder: Path, tmp_path: Path) -> None:
    target, filled = tmp_path / "out.nc", []
    for number in (1, 3):
        with pytest.raises(Stopped):
            hydrofill.fill_archive(folder / "in.nc", target, workers=1, resume=number > 1, progress=stop_after(number))
        assert not target.exists()
    hydrofill.fill_archive(
        folder / "in.nc",
        target,
        workers=1,
        resume=True,
        progress=lambda s: filled.append(s.done) if s.doing == "fill" else None,
    )
    assert filled[0] == 4
    assert_same_bits(target, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out.nc"]


INTERRUPTED = """
import sys, hydrofill
from hydrofill import blocks
from hydrofill.general import self_check
blocks.BLOCK_VALUES, blocks.MIN_TILE_CELLS = 60_000, 15
self_check.SOURCE_DRAWS, self_check.MAX_DRAW_VALUES = 2, 30_000
hydrofill.fill_archive(sys.argv[1], sys.argv[2], workers=1, resume=True, progress=lambda step: print("at", flush=True))
"""


@pytest.mark.slow
def test_a_fill_that_is_killed_at_five_random_moments_goes_on_with_the_same_bits(folder: Path, tmp_path: Path) -> None:
    rng, target = np.random.default_rng(5), tmp_path / "out.nc"
    command = [sys.executable, "-c", INTERRUPTED, str(folder / "in.nc"), str(target)]
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            running.stdout.readline()  # it is at work: what was surveyed or filled is being kept
            with suppress(subprocess.TimeoutExpired):
                running.wait(rng.uniform(0, 2))
            running.kill()
    assert subprocess.run(command, check=False, timeout=300, stdout=subprocess.DEVNULL).returncode == 0
    assert_same_bits(target, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out.nc"]


def test_each_part_of_the_output_is_mixed_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed: list[str] = []

    def mix(pieces: Sequence[Piece], box: blocks.Box, num_sites: int | None) -> FilledVariable:
        mixed.append(str(box))
        return mix_pieces(pieces, box, num_sites)

    monkeypatch.setattr(output, "mix_pieces", mix)
    monkeypatch.setattr(output, "WRITE_VALUES", 20_000)
    hydrofill.fill_archive(folder / "in.nc", tmp_path / "out.zarr", workers=1)
    assert len(mixed) == len(set(mixed)) > 1
    assert_same_bits(tmp_path / "out.zarr", folder)


def test_a_block_that_was_damaged_or_half_written_is_filled_again(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.nc"
    with pytest.raises(Stopped):
        hydrofill.fill_archive(folder / "in.nc", target, workers=1, progress=stop_after(3))
    parts = tmp_path / "out.nc.parts"
    first = sorted(parts.glob("*/*.npy"))[0]
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    with (parts / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write('{"number": 3, "pl')
    hydrofill.fill_archive(folder / "in.nc", target, workers=1, resume=True)
    assert_same_bits(target, folder)


def test_a_fill_does_not_go_on_with_another_input_bundle_or_option(folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.nc", tmp_path / "out.nc"
    source.write_bytes((folder / "in.nc").read_bytes())
    with pytest.raises(Stopped):
        hydrofill.fill_archive(source, target, workers=1, progress=stop_after(1))
    with pytest.raises(FileRefusedError, match="--resume"):
        hydrofill.fill_archive(source, target)
    with pytest.raises(FileRefusedError, match="changed since: max_gap"):
        hydrofill.fill_archive(source, target, resume=True, max_gap=3)
    with pytest.raises(FileRefusedError, match="changed since: variables"):
        hydrofill.fill_archive(source, target, resume=True, variables="level")
    plan = tmp_path / "out.nc.parts" / PLAN
    plan.write_text(plan.read_text().replace('"bundle": "', '"bundle": "0'))
    with pytest.raises(FileRefusedError, match="changed since: bundle"):
        hydrofill.fill_archive(source, target, resume=True)
    os.utime(source, (1, 1))
    with pytest.raises(FileRefusedError, match="changed since: input, bundle"):
        hydrofill.fill_archive(source, target, resume=True)
    assert not target.exists()


def test_gaps_are_refused_as_in_memory_and_no_value_changes(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_gap": 2, "max_distance": "3 km", "interior_only": True, "support": 0.55}
    with_mask = archive().assign(chosen=(("y", "x"), np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 11))
    with_mask["y"].attrs["units"] = with_mask["x"].attrs["units"] = "m"
    with_mask.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    both = {"uses": tmp_path / "out.nc", "plain": tmp_path / "plain.nc"}
    (counts,) = hydrofill.fill_archive(
        tmp_path / "in.nc", both["uses"], variables=["level"], where="chosen", workers=2, **options
    )
    hydrofill.fill_archive(tmp_path / "in.nc", both["plain"], variables=["level"], workers=1)
    found, plain = (opened(path) for path in both.values())
    flag = found["level_flag"].values
    control, reading = GapControl.of(**options, where="chosen"), read_dataset(with_mask)
    refuser = refuser_for(["level"], reading, with_mask, {"level": Target("level")}, with_mask, control)
    codes = refuser.codes(reading.cube, "level")
    np.testing.assert_array_equal(flag, np.where(codes, codes, plain["level_flag"].values))
    assert set(np.unique(codes)) == {0, 3, 4, 5, 6, 7}
    of_flags = {n: int((flag == n).sum()) for n in range(8)}
    assert [counts.refused, counts.too_far, counts.not_interior, counts.not_selected, counts.low_support] == [
        of_flags[n] for n in range(3, 8)
    ]
    for name in ("level", "level_std"):
        same = flag <= 1
        assert found[name].values[same].tobytes() == plain[name].values[same].tobytes()
        assert np.isnan(found[name].values[~same]).all()
    assert found["level_flag"].attrs["flag_meanings"].endswith("too_far not_interior not_selected low_support")


def test_an_output_that_exists_is_replaced_only_when_told(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.nc"
    target.write_bytes(b"precious")
    with pytest.raises(FileRefusedError, match="--overwrite"):
        hydrofill.fill_archive(folder / "in.nc", target)
    assert target.read_bytes() == b"precious"
    hydrofill.fill_archive(folder / "in.nc", target, workers=1, overwrite=True)
    assert_same_bits(target, folder)


def test_a_full_disk_loses_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, save = tmp_path / "out.nc", Parts.save_block

    def full(*given: Any) -> DoneBlock:
        if given[1].number == 2:
            raise OSError(28, "No space left on device")
        return save(*given)

    monkeypatch.setattr(Parts, "save_block", full)
    with pytest.raises(OSError, match="No space left"):
        hydrofill.fill_archive(folder / "in.nc", target, workers=1)
    monkeypatch.undo()
    monkeypatch.setattr(blocks, "BLOCK_VALUES", BLOCK)
    hydrofill.fill_archive(folder / "in.nc", target, workers=1, resume=True)
    assert_same_bits(target, folder)


def test_a_corrupt_chunk_is_named_and_skipped_only_when_told(folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.zarr", tmp_path / "out.zarr"
    archive().to_zarr(source, encoding={"level": {"chunks": (50, 15, 30)}})
    (source / "level" / "c" / "1" / "0" / "0").write_bytes(b"not a chunk")
    with pytest.raises(UnreadableError) as caught:
        hydrofill.fill_archive(source, target, workers=1)
    for word in ("in.zarr", "level", "time from 50, y from 0, x from 0", "2019-02-20", "skip_bad"):
        assert word in str(caught.value), word
    shutil.rmtree(tmp_path / "out.zarr.parts")
    hydrofill.fill_archive(source, target, workers=1, skip_bad=True)
    filled = opened(target)
    assert not filled["level"].isnull().any()
    assert (filled["level_flag"].values[50:100, :15] == 1).all()
    seen = ~np.isnan(archive()["level"].values)
    seen[50:100, :15] = False
    assert (filled["level"].values[seen] == archive()["level"].values[seen]).all()


def kill_a_worker() -> None:
    """Kill the last process that this one has spawned."""
    children = [c for task in Path("/proc/self/task").glob("*/children") for c in task.read_text().split()]
    workers = [c for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
    os.kill(int(workers[-1]), signal.SIGKILL)


def lose_a_worker(job: Job, numbers: Sequence[int], *_: object) -> Iterator[DoneBlock]:
    """Fill in two processes, and kill one of them once the first block is complete."""
    filling = jobs.fill_in_processes(job, numbers, 2)
    yield next(filling)
    kill_a_worker()
    yield from filling


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
def test_a_killed_worker_process_loses_only_its_blocks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.nc"
    monkeypatch.setattr(fill_module, "fill_in_processes", lose_a_worker)
    with pytest.raises(WorkersLostError, match="--resume"):
        hydrofill.fill_archive(folder / "in.nc", target, workers=2)
    monkeypatch.undo()
    monkeypatch.setattr(blocks, "BLOCK_VALUES", BLOCK)
    hydrofill.fill_archive(folder / "in.nc", target, workers=1, resume=True)
    assert_same_bits(target, folder)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds its processes in /proc")
@pytest.mark.filterwarnings("ignore")  # a cluster whose worker is lost warns about it
def test_another_worker_of_a_cluster_fills_the_blocks_of_a_lost_one(folder: Path, tmp_path: Path) -> None:
    target, steps = tmp_path / "out.nc", []

    def show(step: fill_module.Step) -> None:
        steps.append(step)
        if step.doing == "fill" and step.done == 1:
            kill_a_worker()

    hydrofill.fill_archive(folder / "in.nc", target, workers=2, scheduler="dask://local", progress=show)
    assert [step.done for step in steps if step.doing == "fill"] == [1, 2, 3, 4]
    assert_same_bits(target, folder)


def test_a_record_of_one_block_is_filled_as_in_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 3_000_000)
    small = archive().isel(time=slice(0, 40), y=slice(0, 20))
    small.to_zarr(tmp_path / "in.zarr")
    hydrofill.fill_archive(tmp_path / "in.zarr", tmp_path / "out.nc")
    expected = hydrofill.fill(small)
    found = opened(tmp_path / "out.nc")
    for name in PARTS_OF_FILL:
        assert found[name].values.tobytes() == expected[name].values.tobytes()


UNGUARDED = """
import hydrofill, hydrofill.blocks as blocks, sys
blocks.BLOCK_VALUES, blocks.MIN_TILE_CELLS = 60_000, 15
hydrofill.fill_archive(sys.argv[1], sys.argv[2], workers=2)
print("once")
"""


@pytest.mark.slow
@pytest.mark.parametrize("by", ["file", "standard input"])
def test_a_script_without_a_guard_is_run_once(folder: Path, tmp_path: Path, by: str) -> None:
    script, target = tmp_path / "script.py", tmp_path / "out.nc"
    script.write_text(UNGUARDED)
    command = [sys.executable, str(script) if by == "file" else "-", str(folder / "in.nc"), str(target)]
    given = None if by == "file" else UNGUARDED
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert not opened(target)["level"].isnull().any()


def test_too_little_memory_is_refused_with_what_is_needed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileRefusedError, match="MiB"):
        hydrofill.fill_archive(folder / "in.nc", tmp_path / "out.nc", memory="100MB")
    with pytest.raises(ValueError, match="'much'"):
        hydrofill.fill_archive(folder / "in.nc", tmp_path / "out.nc", memory="much")
    assert list(tmp_path.iterdir()) == []


def test_files_that_do_not_follow_each_other_are_refused(folder: Path, tmp_path: Path) -> None:
    archive().isel(time=slice(0, 20)).to_netcdf(tmp_path / "a0.nc", engine="h5netcdf")
    archive().isel(time=slice(10, 30)).to_netcdf(tmp_path / "a1.nc", engine="h5netcdf")
    with pytest.raises(hydrofill.ContractError):
        hydrofill.fill_archive(str(tmp_path / "a*.nc"), tmp_path / "out.nc")
    with pytest.raises(FileRefusedError, match="without a Zarr store"):
        hydrofill.fill_archive(tmp_path, tmp_path / "out.nc")
    with pytest.raises(FileRefusedError, match="no such file"):
        hydrofill.fill_archive(str(tmp_path / "none*.nc"), tmp_path / "out.nc")
