"""Time axes of simulated records: steps of two minutes to a year, even, by the calendar or with holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydrofill.constants import DAY_S, YEAR_S

HOUR_S = 3600.0
STEPS_S = (
    *(120.0, 300.0, 600.0, 900.0, 1800.0, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S),
    *(DAY_S, 5 * DAY_S, 8 * DAY_S, YEAR_S / 12, YEAR_S / 4, YEAR_S),
)
MAX_YEARS = 250.0  # datetime64[ns] ends in 2262
WEEKLY_DAYS = 3  # days of each week that a record with weekly holes has


@dataclass(frozen=True, eq=False)
class TimeSteps:
    """The steps of a record and the even steps that they were chosen from.

    Attributes:
        time: (T,) datetime64[ns].
        chosen: (T,) numbers of the even steps; the last plus one is how many are simulated.
        step_s: length of an even step, seconds.
        even: whether the step is the same everywhere.
    """

    time: np.ndarray
    chosen: np.ndarray
    step_s: float
    even: bool

    @property
    def n_even(self) -> int:
        """Number of even steps from the first chosen to the last."""
        return int(self.chosen[-1]) + 1


def draw_time_steps(rng: np.random.Generator, steps: int, shortest_s: float, longest_s: float) -> TimeSteps:
    """Draw the time axis of a record of `steps` steps, each at least and at most so many seconds long."""
    fitting = [s for s in STEPS_S if shortest_s <= s <= longest_s and s * steps <= MAX_YEARS * YEAR_S]
    step_s = float(rng.choice(fitting or [DAY_S]))
    last = 2023 - int(step_s * steps / YEAR_S)
    start = np.datetime64(str(rng.integers(min(1850, last), last + 1)), "Y")
    months = {YEAR_S / 12: 1, YEAR_S / 4: 3, YEAR_S: 12}.get(step_s)
    if months:
        time = (start.astype("datetime64[M]") + months * np.arange(steps)).astype("datetime64[ns]")
        if rng.random() < 0.3:
            time = time + np.timedelta64(14, "D")
        return TimeSteps(time, np.arange(steps), step_s, even=steps < 3)
    chosen = _choose(rng, steps, step_s)
    first = start.astype("datetime64[ns]") + np.timedelta64(int(rng.integers(0, 365)), "D")
    time = first + np.timedelta64(int(step_s), "s") * chosen
    return TimeSteps(time, chosen, step_s, even=len(np.unique(np.diff(chosen))) < 2)


def _choose(rng: np.random.Generator, steps: int, step_s: float) -> np.ndarray:
    """Choose which even steps a record has: mostly all, sometimes three days a week, sometimes some are missing."""
    kind = rng.choice(3, p=[0.8, 0.1, 0.1])
    if kind == 1 and step_s <= DAY_S and steps * step_s > 6 * DAY_S:
        day = (np.arange(3 * steps) * step_s // DAY_S).astype(int) % 7
        return np.flatnonzero(day < WEEKLY_DAYS)[:steps]
    if kind == 2 and steps > 2:
        return np.concatenate([[0], np.cumsum(rng.geometric(rng.uniform(0.5, 0.95), size=steps - 1))])
    return np.arange(steps)
