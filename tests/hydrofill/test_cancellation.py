"""A checkpoint calls the function that the innermost `checkpoints` of its thread set."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest

from hydrofill.cancellation import Cancellation, CancelledError, checkpoint, checkpoints
from hydrofill.guesses.first_guesses import guess


def test_a_checkpoint_calls_the_innermost_function() -> None:
    called: list[str] = []
    checkpoint()
    with checkpoints(lambda: called.append("outer")):
        with checkpoints(lambda: called.append("inner")):
            checkpoint()
        with checkpoints():
            checkpoint()
        checkpoint()
    checkpoint()
    assert called == ["inner", "outer"]


def test_a_checkpoint_of_another_thread_calls_nothing() -> None:
    called: list[int] = []
    with checkpoints(lambda: called.append(1)):
        thread = Thread(target=checkpoint)
        thread.start()
        thread.join()
    assert called == []


def test_guesses_pass_many_checkpoints_and_stop_when_one_raises() -> None:
    class Enough(Exception):
        pass

    def refuse() -> None:
        raise Enough

    values = np.random.default_rng(0).normal(size=(8, 5, 5)).astype(np.float32)
    values[3, 2, 2] = np.nan
    called: list[int] = []
    with checkpoints(lambda: called.append(1)):
        guess(values)
    assert len(called) > 50
    with checkpoints(refuse), pytest.raises(Enough):
        guess(values)


def test_cancellation_calls_each_callback_once_and_late_callbacks_at_once() -> None:
    cancellation, calls = Cancellation(), []
    cancellation.on_cancel(lambda: calls.append("early"))
    cancellation.check()
    cancellation.cancel("client")
    cancellation.cancel("deadline")
    cancellation.on_cancel(lambda: calls.append("late"))
    assert (calls, cancellation.reason) == (["early", "late"], "client")
    with pytest.raises(CancelledError):
        cancellation.check()
