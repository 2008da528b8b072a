"""Skill of the systems after equal training time and after equal steps; each run is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import xarray as xr

from benchmarks.support.harness import save_json
from model.config import NetworkConfig, RunConfig, TokensConfig, choose_preset
from model.datasets.samples import build_sample
from model.datasets.simulator.config import SimulationConfig
from model.datasets.simulator.gaps import GapConfig
from model.datasets.simulator.simulation import write_simulation
from model.training.train import train

PRESETS = ("water_fm_small", "plan_a", "crossmae", "crossmae_wfm")
VARIANTS = ("fusion none", "fusion pooled", "static add", "static film", "static none")  # otherwise as crossmae
BASE = "crossmae"
PARALLEL = 2  # trainings at a time
DATA: dict[str, TokensConfig] = {
    "lez": TokensConfig(patch_rows=5, patch_columns=5, patch_steps=4, window_steps=12, guesses=False),
    "simulated": TokensConfig(patch_rows=5, patch_columns=5, patch_steps=4, window_steps=8, guesses=False),
}
WORLD = SimulationConfig(rows=30, columns=20, sites=8, days=548)
Budget = Literal["time", "steps"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: its data, system, seed, and budget in CPU seconds or steps."""

    data: str
    system: str
    budget: Budget
    amount: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its file of results."""
        return f"{self.data}-{self.system.replace(' ', '_')}-{self.budget}-{self.amount:g}-{self.seed}"


@dataclass(frozen=True)
class Result:
    """The held-out scores of a run, as `evaluate` gives them, with its steps and CPU seconds."""

    run: Run
    steps: int
    seconds: float
    skill: list[dict[str, Any]]


def plan(seconds: float, steps: int, seeds: int) -> list[Run]:
    """Return all runs: the presets by both budgets, seed by seed, then the variants by steps."""
    budgets: tuple[tuple[Budget, float], ...] = (("time", seconds), ("steps", steps))
    every = range(seeds)
    runs = [
        Run(data=data, system=system, budget=budget, amount=amount, seed=seed)
        for seed in every
        for data in DATA
        for budget, amount in budgets
        for system in PRESETS
    ]
    runs += [
        Run(data=data, system=system, budget="steps", amount=steps, seed=seed)
        for seed in every
        for data in DATA
        for system in VARIANTS
    ]
    return runs


def carry_out(runs: list[Run], folder: Path) -> list[Result]:
    """Return the results of all runs; runs whose result is in `folder` are not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    _make_data(folder)
    missing = [run for run in runs if not (folder / f"{run.name}.json").exists()]
    with ThreadPoolExecutor(PARALLEL) as pool:
        for number, name in enumerate(pool.map(lambda run: _in_process(run, folder), missing), start=1):
            print(f"{number} of {len(missing)}: {name}", flush=True)
    return finished(runs, folder)


def finished(runs: list[Run], folder: Path) -> list[Result]:
    """Return the results that `folder` holds."""
    return [_read(run, folder) for run in runs if (folder / f"{run.name}.json").exists()]


def _in_process(run: Run, folder: Path) -> str:
    single = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.skill", json.dumps(asdict(run)), str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **single})
    return run.name


def _read(run: Run, folder: Path) -> Result:
    kept = json.loads((folder / f"{run.name}.json").read_text(encoding="utf-8"))
    return Result(run, kept["steps"], kept["seconds"], kept["skill"])


def _make_data(folder: Path) -> None:
    lez, simulated = folder / "lez.nc", folder / "simulated.nc"
    if not lez.exists():
        build_sample("lez").to_netcdf(lez, engine="h5netcdf")
    if not simulated.exists():
        write_simulation(simulated, WORLD, 0, GapConfig())


def _carry_out(run: Run, folder: Path) -> None:
    """Train one run in this process, on one thread, and write its result."""
    torch.set_num_threads(1)
    steps, seconds = 0, 0.0
    with (
        tempfile.TemporaryDirectory() as scratch,
        xr.open_dataset(folder / f"{run.data}.nc", engine="h5netcdf") as dataset,
    ):
        for progress in train(dataset, Path(scratch) / "run", _config(run), clock=time.process_time):
            steps, seconds = progress.step, progress.seconds
        skill = json.loads((Path(scratch) / "run" / "skill.json").read_text(encoding="utf-8"))
    save_json(folder / f"{run.name}.json", {"steps": steps, "seconds": seconds, "skill": skill})


def _config(run: Run) -> RunConfig:
    """Return the settings of a run: a small network without first guesses; all hidden cells are predicted."""
    kind, _, way = run.system.partition(" ")
    preset = choose_preset(BASE if way else run.system)
    small = _small(preset.network)
    if way:
        small = small.updated(**{kind: way})
    training = preset.training.updated(seed=run.seed, held_out=0.2, patience=1.0, batch_size=4)
    training = training.updated(minutes=1e6, steps=10**9)
    if run.budget == "time":
        training = training.updated(minutes=run.amount / 60)
    else:
        training = training.updated(steps=int(run.amount))
    return RunConfig(
        network=small,
        tokens=DATA[run.data],
        masking=preset.masking.updated(kept_mask_ratio=1.0),
        training=training,
    )


def _small(network: NetworkConfig) -> NetworkConfig:
    return network.updated(
        embed_dim=64,
        depth=3,
        num_heads=2,
        decoder_dim=64,
        decoder_depth=2,
        decoder_num_heads=2,
        feature_layers=(0, 1, 2) if network.feature_layers else (),
    )


if __name__ == "__main__":
    _carry_out(Run(**json.loads(sys.argv[1])), Path(sys.argv[2]))
