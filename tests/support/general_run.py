"""A general network that is tiny and untrained, a stand-in for one, and fills as a general bundle makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hydrofill.bundle import TrainingData
from hydrofill.cube import Sites, Variable, WaterCube
from hydrofill.general.calibrate import RecordCalibration, WeightedPredictor, calibrate_record, stacked_prediction
from hydrofill.general.layout import compose_layout
from hydrofill.general.self_check import SelfCheck, check_record
from hydrofill.layout import GENERAL
from hydrofill.reconstruct import FilledVariable, reconstruct
from hydrofill.tokens import Queries, Tokens

if TYPE_CHECKING:
    from model.run_folder import Run

DATA = TrainingData(
    title="nothing",
    source="Nobody in particular",
    licence="CC0-1.0",
    start=datetime(2000, 1, 1, tzinfo=UTC),
    end=datetime(2001, 1, 1, tzinfo=UTC),
    frames=1,
)


def tiny_general_run(folder: Path, width: int = 16) -> Run:
    """Write an untrained general run into `folder`, of a network `width` wide, and read it."""
    import torch

    from model.config import NetworkConfig, RunConfig
    from model.network.mae import CrossMAE
    from model.run_folder import read_run, save_weights, start_run

    tiny = NetworkConfig(embed_dim=width, depth=1, num_heads=1, decoder_dim=width, decoder_depth=1, decoder_num_heads=1)
    start_run(folder, RunConfig(network=tiny), GENERAL, DATA)
    torch.manual_seed(0)
    save_weights(folder, CrossMAE(GENERAL, tiny))
    return read_run(folder)


@dataclass(frozen=True, eq=False)
class StackedPredictor:
    """A `Predictor` that gives the stacked guess, with the error that was measured for it as standard deviation."""

    check: SelfCheck

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        return stacked_prediction(queries, self.check.context)


class GeneralFill(NamedTuple):
    """A fill with the stand-in for a network, and what was measured for it."""

    filled: Mapping[str, FilledVariable]
    use: RecordCalibration
    check: SelfCheck


def fill_generally(cube: WaterCube) -> GeneralFill:
    """Fill a cube as a general bundle does, with the stacked guess in place of the network."""
    check = check_record(cube, compose_layout(cube))
    predict = StackedPredictor(check)
    use = calibrate_record(check, predict)
    weighted = WeightedPredictor(predict, use)
    filled = reconstruct(cube, check.layout, weighted, calibration=use.calibration, guesser=check.guess)
    return GeneralFill(filled, use, check)


def days(number: int) -> np.ndarray:
    return np.datetime64("2019-01-01", "ns") + np.arange(number) * np.timedelta64(1, "D")


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Return waves that move and a little noise, (T, H, W) float32 with a mean of 10 and a std of about 1."""
    time, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = [
        np.sin(2 * np.pi * (a * time / 20 + b * y / 16 + c * x / 14) + rng.uniform(0, 6)) / (1 + abs(a))
        for a, b, c in rng.uniform(-1, 1, (4, 3))
    ]
    return (10 + np.sum(waves, axis=0) + 0.1 * rng.standard_normal(shape)).astype(np.float32)


def grid_cube(variables: Mapping[str, np.ndarray], units: str = "1") -> WaterCube:
    """Return a cube of gridded variables (T, H, W), float32, with daily steps and cells of 1 km."""
    steps, rows, columns = next(iter(variables.values())).shape
    made = {n: Variable(n, "grid", v.astype(np.float32), units) for n, v in variables.items()}
    return WaterCube(days(steps), 1e3 * np.arange(rows), 1e3 * np.arange(columns), variables=made)


def gauge_cube(variables: Mapping[str, np.ndarray], units: str = "1") -> WaterCube:
    """Return a cube of series (T, N), float32, with daily steps and gauges 1 km apart."""
    steps, number = next(iter(variables.values())).shape
    made = {n: Variable(n, "series", v.astype(np.float32), units) for n, v in variables.items()}
    sites = Sites(np.arange(number).astype(str), 1e3 * np.arange(number), np.zeros(number))
    return WaterCube(days(steps), np.zeros(0), np.zeros(0), sites, made)
