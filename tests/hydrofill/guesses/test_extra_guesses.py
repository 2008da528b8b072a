"""The further first guesses work for records of every shape, and never use the hidden value itself."""

from __future__ import annotations

import numpy as np
import pytest

from hydrofill.constants import DAY_S
from hydrofill.guesses.extra_guesses import EXTRA_GUESSES, OtherVariable, extra_guesses
from hydrofill.guesses.first_guesses import guess
from hydrofill.layout import VariableSpec

RAIN = VariableSpec(name="rain", kind="grid", units="mm", lower=0.0, transform="sqrt")
LEVEL = VariableSpec(name="level", kind="grid", units="m")
NAN = np.nan


def made_for(
    visible: np.ndarray,
    spec: VariableSpec = LEVEL,
    others: tuple[OtherVariable, ...] = (),
    days: np.ndarray | None = None,
) -> np.ndarray:
    seconds = None if days is None else days * float(DAY_S)
    first = guess(visible, square_root=spec.transform == "sqrt", seconds=seconds)
    return extra_guesses(visible, spec, seconds, others, first)


@pytest.mark.parametrize(
    "shape", [(1, 3, 3), (5, 1, 1), (4, 2, 2), (6, 1, 7), (6, 7, 1), (12, 9, 8), (1, 1), (7, 1), (7, 3), (1, 5)]
)
@pytest.mark.parametrize("spec", [RAIN, LEVEL])
@pytest.mark.parametrize("even", [True, False])
def test_every_shape_gives_finite_values_or_nan(
    shape: tuple[int, ...], spec: VariableSpec, even: bool, rng: np.random.Generator
) -> None:
    visible = rng.random(shape).astype(np.float32)
    visible[rng.random(shape) < 0.3] = NAN
    if shape[0] > 2:
        visible[2] = NAN
    other = OtherVariable(rng.random((shape[0], 2)).astype(np.float32), RAIN)
    days = np.arange(shape[0]) + 3.0 * (np.arange(shape[0]) > 2) * (not even)
    for others in ((), (other,)):
        made = made_for(visible, spec, others, days)
        assert made.shape == (*shape, len(EXTRA_GUESSES)) and made.dtype == np.float32
        assert not np.isinf(made).any()
        if spec is RAIN:
            assert np.nanmin(made, initial=0) >= 0


def test_a_record_without_any_value_has_no_estimate() -> None:
    assert np.isnan(made_for(np.full((4, 3, 3), NAN, np.float32))).all()


def test_a_lost_frame_has_all_estimates_and_a_series_none_by_motion(rng: np.random.Generator) -> None:
    frames = rng.random((20, 10, 12)).astype(np.float32)
    frames[7] = NAN
    assert np.isfinite(made_for(frames)[7]).all()
    assert np.isnan(made_for(frames[:, 0])[..., EXTRA_GUESSES.index("advected")]).all()


def test_a_partly_seen_frame_corrects_the_estimates(rng: np.random.Generator) -> None:
    frames = np.tile(rng.random((1, 10, 12)).astype(np.float32), (12, 1, 1))
    frames += 0.01 * rng.standard_normal(frames.shape).astype(np.float32)
    frames[6] += 5
    visible = frames.copy()
    visible[6, 4:6, 5:8] = NAN
    made = made_for(visible)[6, 4:6, 5:8]
    for name in ("advected", "patterns"):
        assert np.abs(made[..., EXTRA_GUESSES.index(name)] - frames[6, 4:6, 5:8]).max() < 1, name


def test_another_variable_tells_of_a_lost_frame(rng: np.random.Generator) -> None:
    truth = rng.standard_normal((80, 5, 6)).astype(np.float32)
    visible = truth.copy()
    visible[30:34] = NAN
    regressed = EXTRA_GUESSES.index("regressed")
    alone, told = made_for(visible), made_for(visible, others=(OtherVariable(2 * truth + 1, LEVEL),))
    error = [float(np.std((m[..., regressed] - truth)[30:34])) for m in (alone, told)]
    assert error[1] < 0.5 * error[0]


def test_steps_without_a_frame_take_their_time() -> None:
    level = np.repeat(np.arange(12, dtype=np.float32)[:, None, None], 4, axis=1).repeat(4, axis=2)
    days = np.array([*range(10), 14.0, 15.0])
    uneven = made_for(np.where(np.arange(12)[:, None, None] == 9, NAN, level), days=days)[9, 0, 0, 0]
    even = made_for(np.where(np.arange(12)[:, None, None] == 9, NAN, level))[9, 0, 0, 0]
    assert even == pytest.approx(9, abs=0.05)
    assert uneven == pytest.approx(8 + 2 / 6, abs=0.05)
