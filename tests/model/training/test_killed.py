"""A training that is killed at any moment goes on from its last state, or starts again, and gives the same bits.

Children are killed with SIGKILL right before an operation on a file of the run: an opening, a renaming, a removal.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from model.run_folder import CONFIG, WEIGHTS, RunError
from model.training import train as training
from model.training.optimiser import start_state
from tests.conftest import SEED, small_basin
from tests.model.conftest import TINY_RUN, untrained

SETTINGS = TINY_RUN.updated(
    tokens=TINY_RUN.tokens.updated(guesses=False),
    training=TINY_RUN.training.updated(steps=5, batch_size=1, minutes=1000.0),
)
OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.chmod")
OF_SETTINGS = 12  # operations before the first state is there
OF_TRAINING = 40  # operations at least until the last step


def run(folder: Path) -> None:
    """Train in `folder`, as a person would: go on if there is something to go on from, or else start."""
    training.SAVE_EVERY_S = -1.0  # save after every step
    dataset = small_basin(np.random.default_rng(SEED))
    try:
        list(training.train(dataset, folder, SETTINGS, resume=(folder / CONFIG).exists()))
    except RunError:
        list(training.train(dataset, folder, SETTINGS))


def _killed_at(moment: int, folder: Path) -> None:
    """Train in this process, and kill it right before the operation of that number."""
    done = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event in OPERATIONS and str(folder) in str(arguments[0]):
            done += 1
            if done == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    run(folder)


def kill_at(moment: int, folder: Path) -> None:
    """Train in a fresh process that is killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["model.training.train", "tests.model.conftest"])
    child = context.Process(target=_killed_at, args=(moment, folder))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_training_that_is_killed_at_random_moments_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY_S", -1.0)
    whole, folder, rng = tmp_path / "whole", tmp_path / "killed", random.Random(7)
    run(whole)
    for first, last in ((1, OF_SETTINGS), (OF_SETTINGS, OF_TRAINING), (1, OF_TRAINING // 2)):
        kill_at(rng.randrange(first, last), folder)
    run(folder)
    assert (folder / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_state_that_is_killed_while_it_is_saved_stays_whole(water: WaterCube, layout: Layout, tmp_path: Path) -> None:
    state = start_state(untrained(layout, water), SETTINGS.training)
    state.save(tmp_path)
    state.step = 5
    events: list[str] = []

    def traced(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def traced_call(*arguments: object) -> object:
            again = start_state(untrained(layout, water), SETTINGS.training)
            again.load(tmp_path)  # whatever happens now, this can be resumed
            events.append(f"{name} {again.generation} {again.step}")
            return call(*arguments)

        return traced_call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", traced("fsync", os.fsync))
        patch.setattr(Path, "replace", traced("rename", Path.replace))
        state.save(tmp_path)
    assert events == ["fsync 1 0", "rename 1 0", "fsync 2 5"]
