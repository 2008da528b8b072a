"""A general network is tuned to one data set within its budget, and is never worse than it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from export.bundle import write_bundle
from hydrofill import fill
from hydrofill.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, find_bundle, read_bundle
from hydrofill.cube import WaterCube
from hydrofill.errors import BundleError, ContractError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.general import self_check
from hydrofill.layout import GENERAL
from model.__main__ import _outcome as outcome
from model.__main__ import cli
from model.data.windows import Batch, Example
from model.network.weights import WeightsError, read_network, weights_bytes
from model.pretraining import tune as tuning
from model.pretraining import tuning_records
from model.pretraining.tune import Best, TuningProgress, tune
from model.pretraining.tuning_records import HeldOut, check_batches, draw_seen, read_data
from model.run_folder import Run, Tuning, read_run
from tests.support.general_run import grid_cube, smooth_field, tiny_general_run

Exported = tuple[Bundle, Path]


def dataset_of(steps: int = 40, rows: int = 8, columns: int = 9, missing: float = 0.2) -> xr.Dataset:
    """A smooth field with gaps and two gauges."""
    rng = np.random.default_rng(5)
    field = smooth_field(rng, (steps, rows, columns))
    flow = field.reshape(steps, -1)[:, :2] + 0.1 * rng.standard_normal((steps, 2)).astype(np.float32)
    for values in (field, flow):
        values[rng.random(values.shape) < missing] = np.nan
    return xr.Dataset(
        {
            "field": (("time", "y", "x"), field, {"units": "m"}),
            "flow": (("time", "site"), flow, {"units": "m3 s-1"}),
        },
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(steps) * np.timedelta64(1, "D"),
            "y": 1e3 * np.arange(rows),
            "x": 1e3 * np.arange(columns),
            "site_y": ("site", [0.0, 2e3]),
            "site_x": ("site", [0.0, 3e3]),
        },
        {"title": "a small lake", "source": "Somebody", "license": "CC BY 4.0"},
    )


def run_tune(general: Exported, folder: Path, dataset: xr.Dataset | None = None, **settings: object) -> Run:
    """Tune, and read the run."""
    for _ in tune(dataset_of() if dataset is None else dataset, general[0], folder, **settings):  # type: ignore[arg-type]
        pass
    return read_run(folder)


def weights_of(run: Run) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in run.network.state_dict().items()}


def same_weights(one: Run, other: Run) -> bool:
    first, second = weights_of(one), weights_of(other)
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few and small records."""
    monkeypatch.setattr(tuning_records, "RECORD_VALUES", 1500)
    monkeypatch.setattr(tuning_records, "CHECK_RECORDS", 1)
    monkeypatch.setattr(tuning, "FIXED_RECORDS", 1)
    monkeypatch.setattr(tuning, "STEPS_PER_CHECK", 3)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_same_data_seed_and_steps_give_the_same_weights(
    general: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "MIN_GAIN", -9.0)  # the first check is kept in any case
    runs = [
        run_tune(general, tmp_path / name, steps=6, seed=seed) for name, seed in (("a", 1), ("again", 1), ("other", 2))
    ]
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])
    assert runs[0].tuning is not None and runs[0].tuning.step > 0
    assert general[0].weights is not None
    start = read_network(general[0].weights).state_dict()
    changed = {
        name.split(".")[0] for name, value in weights_of(runs[0]).items() if (value != start[name].numpy()).any()
    }
    assert changed == {"head", "queries"}
    assert set(runs[0].tuning.widening) == {"field", "flow"}
    assert all(factor >= 1 for factor in runs[0].tuning.widening.values())
    assert runs[0].tuning.widening == (runs[1].tuning or runs[0].tuning).widening


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_tuning_that_does_not_help_keeps_the_weights_of_the_start(
    general: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "MIN_GAIN", 1.0)
    run = run_tune(general, tmp_path / "run", steps=3)
    assert run.tuning is not None and run.tuning.step == 0 and run.tuning.before == run.tuning.after
    assert run.tuning.widening == {}
    assert general[0].weights is not None
    start = read_network(general[0].weights).state_dict()
    assert all(np.array_equal(value, start[name].numpy()) for name, value in weights_of(run).items())


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_run_says_what_was_tuned_from_what(general: Exported, tmp_path: Path) -> None:
    run = run_tune(general, tmp_path / "run", steps=3)
    assert run.layout == GENERAL and run.tuning is not None
    assert (run.tuning.name, run.tuning.version, run.tuning.sha256) == ("tiny-general", "1.2.3", general[0].sha256)
    assert run.data.title == "a small lake" and run.data.frames == 40
    assert run.data.source == "Somebody; Nobody in particular"
    assert run.data.licence == "CC BY 4.0; CC0-1.0"


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_preparation_counts_and_the_budget_ends_the_tuning(general: Exported, tmp_path: Path) -> None:
    """Each look at the clock takes a second of the minute."""
    ticks = count()
    seen: list[TuningProgress] = list(
        tune(dataset_of(), general[0], tmp_path / "run", minutes=1.0, clock=lambda: float(next(ticks)))
    )
    prepared = [p for p in seen if p.doing.startswith("hide cells")]
    steps = [p for p in seen if p.doing.startswith("step")]
    assert 2 <= len(prepared) <= tuning.MAX_RECORDS + 1
    assert prepared[-1].share <= tuning.PREPARATION_SHARE + 0.05
    assert steps and steps[-1].share < 1 and next(ticks) < 75
    assert [p.share for p in seen] == sorted(p.share for p in seen)


def test_the_first_check_must_gain_and_later_ones_only_be_better(general: Exported) -> None:
    assert general[0].weights is not None
    network = read_network(general[0].weights)
    start = Best(1.0, 0, {})
    assert start.or_better(0.9999, 5, network) is start
    assert start.or_better(float("nan"), 5, network) is start
    better = start.or_better(0.99, 5, network)
    assert (better.check, better.step) == (0.99, 5)
    assert better.or_better(0.9899, 10, network).step == 10
    assert better.or_better(0.9901, 15, network) is better


@pytest.mark.parametrize(
    ("shape", "axis", "blocks"),
    [
        ((100, 8, 9), 0, ((16, 20), (36, 40), (56, 60), (76, 80), (96, 100))),
        ((1000, 0, 0), 0, ((160, 200), (360, 400), (560, 600), (760, 800), (960, 1000))),
        ((45, 8, 9), 0, ((18, 22), (41, 45))),
        ((10, 50, 50), 0, ((8, 10),)),
        ((1, 20, 30), 2, ((24, 30),)),
        ((3, 40, 30), 1, ((32, 40),)),
        ((2, 0, 0), 0, ((1, 2),)),
    ],
)
def test_blocks_of_the_longest_axis_that_serves_are_held_out(
    shape: tuple[int, int, int], axis: int, blocks: tuple[tuple[int, int], ...]
) -> None:
    assert HeldOut.of(shape, 0.2) == HeldOut(axis, blocks)


def test_held_out_cells_are_those_of_the_blocks(dataset: xr.Dataset) -> None:
    cube = prepare_fill(dataset, GENERAL, FillOptions()).reading.cube
    cells = HeldOut(0, ((2, 4), (15, 17))).cells(cube.window(slice(10, 18), slice(0, 7), slice(0, 5)), 10)
    own = np.isin(np.arange(8), [5, 6])
    assert all(c[own].all() and not c[~own].any() for c in cells.values())
    cells = HeldOut(1, ((4, 7),)).cells(cube, 0)
    assert cells["pet"][:, 4:].all() and not cells["pet"][:, :4].any()
    near = cube.sites_in(slice(4, 7), slice(0, 5))
    np.testing.assert_array_equal(cells["river_flow"], np.broadcast_to(near, (20, 2)))


def unlike_values(shape: tuple[int, ...]) -> np.ndarray:
    """Return values that are all different, with a standard deviation of one, so that no record multiplies them."""
    order = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape)
    return order / order.std()


def values_at(cube: WaterCube, held_out: HeldOut, *, inside: bool) -> set[float]:
    """Return the values of the cells that are held out, or of all others."""
    at = held_out.cells(cube, 0)["a"]
    return set(cube.variables["a"].values[at if inside else ~at].tolist())


def scored_values(examples: Iterable[Batch | Example]) -> set[float]:
    return {v for example in examples for v in example.target[~np.isnan(example.target)].tolist()}


@pytest.mark.parametrize("shape", [(60, 6, 6), (1, 20, 24)])
def test_what_is_held_out_is_never_learnt_from(shape: tuple[int, int, int]) -> None:
    cube, rng = grid_cube({"a": unlike_values(shape)}), np.random.default_rng(0)
    held_out = HeldOut.of(shape, 0.2)
    records = [record for n in range(2) for record in draw_seen(cube, held_out, 0, n).records]
    drawn = [record.example(rng) for record in records for _ in range(6)]
    learnt = scored_values(of[0] for of in drawn if of is not None)
    assert len(records) > 2  # with those of the self-checks
    assert len(learnt) > 50 and learnt <= values_at(cube, held_out, inside=False)


def test_checks_score_cells_that_are_held_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_records, "RECORD_VALUES", 600)
    cube = grid_cube({"a": unlike_values((60, 6, 6))})
    held_out = HeldOut.of(cube.shape, 0.2)
    scored = scored_values(batch.windows for batch in check_batches(cube, held_out, 0))
    assert scored and scored <= values_at(cube, held_out, inside=True)


def test_draws_of_series_alone_are_learnt_from_beside_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "DRAWS", ((1, 4),))  # the grid counts as large, so that series have more draws
    cube = read_data(dataset_of())
    records = draw_seen(cube, HeldOut.of(cube.shape, 0.2), 0, 0).records
    hidden = {tuple(sorted(record.hidden)) for record in records}
    assert ("flow",) in hidden and ("field", "flow") in hidden
    assert all(record.example(np.random.default_rng(0)) is not None for record in records)


def test_of_large_data_the_last_steps_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_records, "MAX_READ_VALUES", 74 * 10)
    dataset = dataset_of()
    cube = read_data(dataset)
    assert len(cube.time) == 10 and cube.time[-1] == dataset["time"].values[-1]


def emptied(dataset: xr.Dataset, keep: int) -> xr.Dataset:
    """Return the dataset with only the first `keep` values of the field."""
    left = dataset.copy(deep=True)
    left["field"].values.reshape(-1)[keep:] = np.nan
    left["flow"].values[:] = np.nan
    return left


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: emptied(d, 0), "all values of all variables are missing"),
        (lambda d: emptied(d, 15), "too few values are observed to hide any"),
        (lambda d: d[["flow"]].isel(time=[3]), "too few values are observed to hide any"),
        (lambda d: d.drop_vars(["time"]), "time"),
        (lambda d: d * 0 + 1, "too few values are observed to hide any"),
    ],
    ids=["nothing observed", "15 values", "one step of gauges", "no times", "constants"],
)
def test_data_that_cannot_be_tuned_to_is_refused(
    change: Callable[[xr.Dataset], xr.Dataset], says: str, general: Exported, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match=says):
        run_tune(general, tmp_path / "run", change(dataset_of()), steps=1)


def test_a_start_without_weights_or_for_certain_variables_is_refused(general: Exported, tmp_path: Path) -> None:
    for start, says in (
        (replace(general[0], weights=None), "holds no weights to tune"),
        (replace(general[0], weights=b"x" * 50), "cannot be read"),
        (read_bundle(find_bundle("lez-daily")), "tuning starts from a general bundle"),
    ):
        with pytest.raises(BundleError, match=says):
            run_tune((start, general[1]), tmp_path / "run", steps=1)


def test_weights_survive_a_bundle(general: Exported) -> None:
    weights = general[0].weights
    assert weights is not None and WEIGHTS in general[0].manifest.files
    network = read_network(weights)
    assert weights_bytes(network) == weights
    assert network.config.embed_dim == 16


@pytest.mark.parametrize("length", [0, 7, 100, -10])
def test_damaged_weights_are_refused(length: int, general: Exported) -> None:
    assert general[0].weights is not None
    with pytest.raises(WeightsError, match="cannot be read"):
        read_network(general[0].weights[:length])


def test_altered_weights_of_a_bundle_are_refused(general: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "altered"
    folder.mkdir()
    for file in general[1].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert read_bundle(folder).weights == general[0].weights
    (folder / WEIGHTS).write_bytes(general[0].weights[:-1] + b"x")  # type: ignore[index]
    with pytest.raises(BundleError, match=r"weights\.safetensors does not match its digest"):
        read_bundle(folder)
    (folder / WEIGHTS).unlink()
    assert read_bundle(folder).weights is None  # an image leaves out what only tuning needs
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"][WEIGHTS]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert read_bundle(folder).weights is None


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["tune", *map(str, words)])


def refused(result: Result) -> str:
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.output.splitlines() if line.strip()]
    return line


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_command_goes_from_data_to_a_bundle_that_fills(
    general: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "MIN_GAIN", 1.0)  # so that the graphs of the start fit: they are traced once
    monkeypatch.setattr("export.precision_gate.export_graphs", lambda _: (general[0].encoder, general[0].decoder))
    dataset_of().to_netcdf(tmp_path / "data.nc", engine="h5netcdf")
    result = call(tmp_path / "data.nc", "--out", tmp_path / "mine", "--from", general[1], "--steps", 3)
    assert result.exit_code == 0, result.output
    assert (
        "the weights are those of the start" in result.output and "largest difference from the network" in result.output
    )
    bundle = read_bundle(tmp_path / "mine")
    assert bundle.manifest.version == "1.0.0" and bundle.manifest.layout == GENERAL and bundle.weights is not None
    card = (tmp_path / "mine" / "MODEL_CARD.md").read_text()
    assert 'Tuned to one data set, "a small lake"' in card and general[0].sha256 in card
    dataset = dataset_of()
    filled = fill(dataset, bundle=tmp_path / "mine")
    assert not np.isnan(filled["field"].values).any()
    again = call(tmp_path / "data.nc", "--out", tmp_path / "mine", "--from", tmp_path / "mine", "--steps", 3)
    assert again.exit_code == 0, again.output  # an older bundle is replaced


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_second_tuning_keeps_the_widening_of_the_first(
    general: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "widening", lambda parts, start, tuned: {"field": 1.5})
    manifest = general[0].manifest.model_copy(update={"widening": {"field": 1.2, "other": 1.1}})
    start = replace(general[0], manifest=manifest)
    for gain, expected in ((-9.0, {"field": 1.8, "other": 1.1}), (1.0, {"field": 1.2, "other": 1.1})):
        monkeypatch.setattr(tuning, "MIN_GAIN", gain)
        run = run_tune((start, general[1]), tmp_path / f"gain {gain}", steps=3)
        assert run.tuning is not None and run.tuning.widening == pytest.approx(expected)


def test_a_bundle_hands_its_widening_to_the_fill(general: Exported, tmp_path: Path) -> None:
    run = tiny_general_run(tmp_path / "run")
    used = Tuning(name="general", version="1.0.0", sha256="0", minutes=1.0, step=40, before=0.9, after=0.85)
    stds = {}
    for factor in (1.0, 2.0):
        tuned = replace(run, tuning=used.model_copy(update={"widening": {"flow": factor}}))
        bundle = write_bundle(tuned, tmp_path / f"factor-{factor:g}", "1.0.0")
        assert bundle.manifest.widening == {"flow": factor}
        card = (tmp_path / f"factor-{factor:g}" / "MODEL_CARD.md").read_text()
        assert ("by a factor: flow 2.00" in card) == (factor == 2.0)
        filled = fill(dataset_of(), bundle=tmp_path / f"factor-{factor:g}")
        stds[factor] = {name: filled[f"{name}_std"].values for name in ("field", "flow")}
    np.testing.assert_array_equal(stds[2.0]["field"], stds[1.0]["field"])
    np.testing.assert_allclose(stds[2.0]["flow"], 2 * stds[1.0]["flow"], rtol=1e-5)


def test_a_manifest_names_a_widening_only_where_there_is_one(general: Exported) -> None:
    manifest = general[0].manifest
    assert "widening" not in json.loads(manifest.to_json())
    widened = manifest.model_copy(update={"widening": {"flow": 1.25}})
    assert Manifest.model_validate_json(widened.to_json()).widening == {"flow": 1.25}
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Manifest.model_validate_json(widened.to_json().replace("1.25", "0.8"))


def test_the_command_says_what_was_gained() -> None:
    used = Tuning(name="general", version="1.0.0", sha256="0", minutes=1.0, step=40, before=0.9, after=0.85)
    assert outcome(used).endswith("on held-out cells: 0.900 before and 0.850 after 40 steps")
    assert "no check on held-out cells was better" in outcome(used.model_copy(update={"step": 0}))


def test_what_cannot_be_tuned_is_refused_in_one_line(general: Exported, tmp_path: Path) -> None:
    emptied(dataset_of(), 0).to_netcdf(tmp_path / "empty.nc", engine="h5netcdf")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("years of work")
    start = ("--from", general[1])
    for words, says in (
        ((tmp_path / "none.nc", "--out", tmp_path / "mine", *start), "no such file"),
        ((tmp_path / "empty.nc", "--out", tmp_path / "mine", *start), "all values of all variables are missing"),
        ((tmp_path / "empty.nc", "--out", tmp_path / "folder", *start), "exists and is not a bundle"),
        ((tmp_path / "empty.nc", "--out", tmp_path / "My Bundle", *start), "cannot name a bundle"),
        ((tmp_path / "empty.nc", "--out", tmp_path / "mine", "--from", "nowhere"), "no such bundle"),
        ((tmp_path / "empty.nc", "--out", tmp_path / "mine", "--from", "lez-daily"), "general bundle"),
    ):
        assert says in refused(call(*words))
    assert (tmp_path / "folder" / "thesis.txt").exists() and not (tmp_path / "mine").exists()
