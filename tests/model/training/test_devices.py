"""Several devices learn what one device learns from the whole batch; the precision is the requested one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from hydrofill.cube import WaterCube
from model.config import ConfigError, RunConfig
from model.data.cubes import LoadedCube
from model.data.layout import choose_statistics
from model.data.training_records import guess_errors
from model.data.windows import Example, WindowSampler, stack_examples
from model.network.mae import CrossMAE
from model.run_folder import read_layout, read_run
from model.training.devices import DeviceLostError, computes_in_bfloat16
from model.training.losses import balanced_crps
from model.training.optimiser import ADAM_BETAS
from model.training.train import RECORDS_OF_ERRORS, train
from model.training.training_log import Progress
from tests.model.conftest import TINY

NO_CLIPPING = 1e9


def shared(config: RunConfig, **settings: object) -> RunConfig:
    """Return the run on two devices without clipping, so that the optimiser's first moment is the gradient."""
    training = config.training.updated(devices=2, batch_size=4, clip_norm=NO_CLIPPING, held_out=0.0)
    return config.updated(training=training.updated(**settings))


def whole_batch(sampler: WindowSampler, other: WindowSampler, number: int) -> list[Example]:
    """Return what two processes draw for one batch, unpadded and in one list."""
    examples = []
    for part in (sampler, other):
        part.batch(number)
        examples += part._pool[1][number]
    return examples


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one(
    dataset: xr.Dataset, water: WaterCube, tiny_run: RunConfig, tmp_path: Path
) -> None:
    config = shared(tiny_run, steps=1, seed=1)
    losses = [p.loss for p in train(dataset, tmp_path / "run", config)]
    layout = read_layout(tmp_path / "run")
    samplers = [WindowSampler(water, layout, config.masking, 2, config.training.seed, rank) for rank in (0, 1)]
    examples = whole_batch(samplers[0], samplers[1], 0)
    counts = [int((~torch.isnan(torch.from_numpy(e.target))).sum()) for e in examples]
    assert len(examples) == 4 and sum(counts[:2]) != sum(counts[2:])  # a mean of means would be another
    torch.manual_seed(config.training.seed)
    network = CrossMAE(layout, TINY)
    statistics = choose_statistics(LoadedCube.of(water), layout)
    network.set_statistics(statistics)
    network.set_guess_errors(
        guess_errors(
            [samplers[0].record(n) for n in range(RECORDS_OF_ERRORS)],
            layout,
            statistics.std[: len(layout.variables), 0],
        )
    )
    batch = stack_examples(examples)
    std = network.encoder.embedding.spread[: len(layout.variables), 0]
    requested, target = torch.from_numpy(batch.queries.variable), torch.from_numpy(batch.target)
    loss, _ = balanced_crps(network(batch.tokens, batch.queries), target, requested, std, len(layout.variables))
    loss.backward()
    assert losses[0] == pytest.approx(float(loss.detach()), rel=1e-5)
    state = load_file(tmp_path / "run" / "state.safetensors")
    matrices = [p for p in network.parameters() if p.ndim > 1]
    ordered = matrices + [p for p in network.parameters() if p.ndim <= 1]
    for number, weight in enumerate(ordered):
        theirs = state[f"optimizer.{number}.exp_avg"] / (1 - ADAM_BETAS[0])
        assert weight.grad is not None
        torch.testing.assert_close(theirs, weight.grad, rtol=1e-3, atol=1e-6)  # sums in another order, float32


@pytest.mark.slow
def test_two_processes_resume_exactly(dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path) -> None:
    config = shared(plain_run, steps=6, held_out=0.2)
    whole = [p.loss for p in train(dataset, tmp_path / "whole", config)]
    parts = []
    for progress in train(dataset, tmp_path / "parts", config):
        parts.append(progress.loss)
        if progress.step == 3:
            break
    parts += [p.loss for p in train(dataset, tmp_path / "parts", config, resume=True)]
    assert parts == whole
    here, there = (read_run(tmp_path / n).network.state_dict() for n in ("whole", "parts"))
    assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.slow
def test_a_process_that_stops_ends_the_training_in_one_line(
    dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path
) -> None:
    running = train(dataset, tmp_path / "run", shared(plain_run, steps=10_000))
    next(running)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("the children of a process are read from /proc")
    ours = [c for c in children.read_text().split() if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
    os.kill(int(ours[-1]), signal.SIGKILL)
    with pytest.raises(DeviceLostError, match="1 of 2 processes stopped"):
        list(running)


@pytest.mark.slow
def test_parts_of_a_batch_are_of_like_length_and_not_the_same(
    water: WaterCube, plain_run: RunConfig, tmp_path: Path, dataset: xr.Dataset
) -> None:
    list(train(dataset, tmp_path / "run", plain_run.updated(training=plain_run.training.updated(steps=1))))
    layout = read_layout(tmp_path / "run")
    samplers = [WindowSampler(water, layout, plain_run.masking, 8, 0, rank) for rank in (0, 1)]
    lengths = [[float(s.batch(n).tokens.length.mean()) for n in range(8)] for s in samplers]
    assert lengths[0] != lengths[1]
    assert [sorted(side).index(side[0]) for side in lengths] == [sorted(lengths[0]).index(lengths[0][0])] * 2


def test_more_devices_than_there_are_samples_in_a_batch_are_refused(plain_run: RunConfig) -> None:
    with pytest.raises(ConfigError, match="batch_size 2 is not a multiple of devices 3"):
        plain_run.training.updated(devices=3)


@pytest.mark.parametrize(("precision", "half"), [("auto", False), ("32", False), ("bf16", True)])
def test_a_processor_computes_in_bfloat16_only_where_configured(precision: str, half: bool) -> None:
    assert computes_in_bfloat16(precision, torch.device("cpu")) == half


def test_a_device_without_bfloat16_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert not computes_in_bfloat16("auto", torch.device("cuda"))
    with pytest.raises(ConfigError, match=r"this device \(cuda\) has no bfloat16"):
        computes_in_bfloat16("bf16", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert computes_in_bfloat16("auto", torch.device("cuda"))


@pytest.mark.slow
def test_bfloat16_learns_nearly_the_same(dataset: xr.Dataset, plain_run: RunConfig, tmp_path: Path) -> None:
    def curve(precision: Literal["32", "bf16"]) -> list[Progress]:
        config = plain_run.updated(training=plain_run.training.updated(precision=precision, steps=4))
        return list(train(dataset, tmp_path / precision, config))

    full, half = curve("32"), curve("bf16")
    assert [p.loss for p in full] != [p.loss for p in half]
    assert half[-1].loss == pytest.approx(full[-1].loss, rel=0.02)
