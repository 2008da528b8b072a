"""Values that stand for missing values, and that nothing declares, are refused; real values never are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrofill.cube import Variable
from hydrofill.errors import ValueRangeError
from hydrofill.summary import summarise, summary_of, sums_of_steps
from hydrofill.undeclared import check_declared

SHAPE = (40, 6, 7)


def check(values: np.ndarray, name: str = "v", *, real: frozenset[str] = frozenset()) -> None:
    array = values.astype(np.float32)
    check_declared(Variable(name, "grid", array, ""), summary_of(array), real, lambda shown: shown)


def drawn(kind: str, seed: int) -> np.ndarray:
    """Draw values as they occur, with their exact repetitions."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(SHAPE)
    return {
        "rain": np.where(rng.random(SHAPE) < rng.uniform(0.2, 0.97), 0, rng.gamma(0.5, 8, SHAPE)),
        "whole rain": np.round(np.where(rng.random(SHAPE) < 0.6, 0, rng.gamma(0.5, 8, SHAPE))),
        "temperature": np.round(rng.uniform(-20, 25) + rng.uniform(1, 12) * normal, int(rng.integers(0, 4))),
        "humidity": np.clip(rng.uniform(40, 99) + 18 * normal, 1, 100),
        "cloud": np.clip(0.5 + normal, 0, 1),
        "elevation": np.maximum(rng.uniform(-800, 800) + 500 * normal, 0),
        "depth": np.minimum(-4000 + 3000 * normal, 0),
        "flow": np.exp(rng.uniform(0, 5) + rng.uniform(0.2, 2) * normal),
        "level": np.round(np.r_[rng.uniform(0, 900, 7)] + 0.2 * normal, 2),
        "one lake held": np.where(np.arange(7) == 3, np.float32(512.3), 4 + 0.5 * normal),
        "tide": np.round(2 * np.sin(np.arange(40) / 3)[:, None, None] + 0.01 * normal, 2),
        "frozen": np.minimum(5 * normal, 0),
        "two values": np.where(normal > 0, 1.0, 0.0),
        "wind direction": np.round(rng.uniform(0, 360, SHAPE), -1),
        "almost dry": np.where(np.arange(7) == 5, np.abs(50 + normal), 0) * (rng.random(SHAPE) < 0.2),
    }[kind]


KINDS = (
    "rain", "whole rain", "temperature", "humidity", "cloud", "elevation", "depth", "flow", "level", "one lake held",
    "tide", "frozen", "two values", "wind direction", "almost dry",
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_real_values_are_never_refused(kind: str, seed: int) -> None:
    check(drawn(kind, seed))


MARKS = (-9999.0, -999.99, -999.9, -8888.0, 1e20, -1e30, 9.999e20, -32768.0, 99999.0, -3.4028235e38)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(("rain", "temperature", "humidity", "cloud", "flow")),
    mark=st.sampled_from(MARKS),
    share=st.floats(0.012, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_mark_among_real_values_is_refused(kind: str, mark: float, share: float, seed: int) -> None:
    values = drawn(kind, seed)
    flat = values.reshape(-1)
    flat[np.random.default_rng(seed).permutation(flat.size)[: int(share * flat.size) + 1]] = mark
    with pytest.raises(ValueRangeError, match="--missing v="):
        check(values)
    check(values, real=frozenset({"v"}))
    check(values, real=frozenset({""}))


@pytest.mark.parametrize(("mark", "name"), [(-99.0, "sun"), (-5555.0, "q"), (-1.0, "discharge"), (-327.68, "q")])
def test_less_usual_marks_are_refused_where_they_cannot_be_real(mark: float, name: str) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(ValueRangeError, match=f"{mark:g}"):
        check(np.where(rng.random(SHAPE) < 0.03, mark, rng.gamma(2, 20, SHAPE)), name)


def test_the_message_gives_value_count_share_and_range() -> None:
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    values[0, :4] = -9999
    with pytest.raises(ValueRangeError) as caught:
        check(values, "runoff")
    words = str(caught.value)
    for part in ("runoff", "-9999", "4 of 100 cells", "4.0%", "from 4 to 99", "--missing runoff=-9999", "runoff=none"):
        assert part in words


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.sampled_from([np.nan, -3.0, -1.0, 0.0, 1.0, 2.5, 7.0]), min_size=1, max_size=24),
    cut=st.integers(1, 24),
)
def test_ends_are_the_same_in_one_step_and_in_many(values: list[float], cut: int) -> None:
    array = np.array(values, np.float32)
    seen = np.sort(array[~np.isnan(array)])
    steps = [sums_of_steps(array[None, start : start + cut]) for start in range(0, len(array), cut)]
    summary = summarise(*(np.concatenate(parts) for parts in zip(*steps, strict=True)))
    assert summary.number == len(seen)
    for end, order in ((summary.low, 1), (summary.high, -1)):
        distinct, counts = np.unique(seen, return_counts=True)
        distinct, counts = distinct[::order], counts[::order]
        if len(distinct):
            assert (end.value, end.number) == (distinct[0], counts[0])
        if len(distinct) > 1:
            assert (end.next, end.next_number) == (distinct[1], counts[1])
