"""Moments of a variable's observed values, from sums that can be added up step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

# Columns of a variable's sums over one step: z are its observed values, r = sqrt(max(z, 0)).
SUMS = ("number", "z", "z2", "z3", "dry", "r", "r2", "ones", "hundreds")
N_SUMS = len(SUMS)

SKEWED = 1.5  # skewness from which a non-negative variable is worked on as its square root
OFTEN_ZERO = 0.02  # share of zeros that marks a variable with dry spells
NEAR_ZERO = 0.5  # standard deviations: a minimum closer to zero than this makes zero its floor
NOISE = 1e-3  # standard deviations: values so little below zero are zeros with noise of rounding or interpolation
PILED_UP = 0.01  # share of values that are exactly 1, 100 or the highest, from which this is their ceiling
MIN_PILE, STEEP = 5, 5  # values that pile up at the highest, at least, and how many for each of the next value


@dataclass(frozen=True)
class End:
    """An end of the observed values: the extreme `value`, the `next` different one, and how many cells hold each."""

    value: float
    number: int
    next: float
    next_number: int

    @property
    def distance(self) -> float:
        """How far the extreme value is from the next one; NaN without another value."""
        return abs(self.value - self.next)


NO_END = End(math.nan, 0, math.nan, 0)
END_COLUMNS = 4  # of an End in arrays


@dataclass(frozen=True)
class Summary:
    """Moments of `number` observed values; `root_*` are those of their square roots.

    low, high: the two ends of the values.
    `std` and `root_std` are population standard deviations. `zero_share` is the share of values that are zero or below,
    `one_share` and `hundred_share` those of values that are exactly 1 and 100. Without any observed value all but
    `number` are NaN.
    """

    number: int
    mean: float
    std: float
    low: End
    high: End
    skewness: float
    zero_share: float
    one_share: float
    hundred_share: float
    root_mean: float
    root_std: float

    @property
    def lowest(self) -> float:
        """The lowest value."""
        return self.low.value

    @property
    def highest(self) -> float:
        """The highest value."""
        return self.high.value

    @property
    def has_zero_floor(self) -> bool:
        """True if zero is the floor of the values: none is negative but for noise, and the lowest is near zero."""
        return self.is_negative_by_at_most(NOISE) and self.lowest <= NEAR_ZERO * self.std

    def is_negative_by_at_most(self, noise: float) -> bool:
        """Return whether no value is below zero by more than `noise` standard deviations."""
        return self.lowest >= -noise * self.std

    @property
    def is_capped(self) -> bool:
        """True if values pile up at the highest, far more than at the next: a sensor or a quantity that saturates."""
        high = self.high
        piled = high.number >= max(MIN_PILE, PILED_UP * self.number)
        return piled and high.next_number > 0 and high.number >= STEEP * high.next_number

    def stays_below(self, ceiling: float) -> bool:
        """Return whether no value is above `ceiling` by more than noise."""
        return self.highest <= ceiling + NOISE * self.std

    def scaled(self, factor: float) -> Summary:
        """Return the summary of the values times a positive factor, without the shares of ones and hundreds."""
        root = math.sqrt(factor)
        return replace(
            self,
            mean=self.mean * factor,
            std=self.std * factor,
            low=replace(self.low, value=self.lowest * factor, next=self.low.next * factor),
            high=replace(self.high, value=self.highest * factor, next=self.high.next * factor),
            one_share=math.nan,
            hundred_share=math.nan,
            root_mean=self.root_mean * root,
            root_std=self.root_std * root,
        )

    @property
    def suits_square_root(self) -> bool:
        """True if the values are worked on as square roots: zero is their floor, and they are skewed or often zero."""
        return self.has_zero_floor and (self.skewness > SKEWED or self.zero_share > OFTEN_ZERO)


@dataclass(frozen=True, eq=False)
class RunningSums:
    """Sums of steps whose values are added part by part, in the order of their rows and columns.

    sums: (T, N_SUMS) float64, columns `SUMS`. ends: (T, 2, END_COLUMNS), both ends of each step; infinite without any
    value.
    """

    sums: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, steps: int) -> RunningSums:
        """Return the sums of no value."""
        ends = np.zeros((steps, 2, END_COLUMNS))
        ends[:, 0, ::2], ends[:, 1, ::2] = np.inf, -np.inf
        return cls(np.zeros((steps, N_SUMS)), ends)

    def add(self, values: np.ndarray, of_rows: np.ndarray | None = None) -> np.ndarray:
        """Add columns of some rows, (T, R, C); NaN is left out.

        Returns:
            The sums of these rows so far, (T, R, N_SUMS): for `of_rows` when further columns of the rows are added, or
            else for `close`.
        """
        from hydrofill.guesses.kernels.moments import add_moments

        of_rows = np.zeros((*values.shape[:2], N_SUMS)) if of_rows is None else of_rows
        writable = np.require(values, np.float32, ["C", "W"])  # the kernel takes no other, though it does not write
        add_moments(writable, of_rows, self.ends)
        return of_rows

    def close(self, of_rows: np.ndarray) -> None:
        """Add the sums of rows of which all columns were added, one row after the other."""
        for row in range(of_rows.shape[1]):
            self.sums[:] += of_rows[:, row]


def sums_of_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sums (T, N_SUMS) float64, columns `SUMS`, and both ends (T, 2, END_COLUMNS) of each step of (T, ...).

    NaN is left out. At a step without any value the lowest is infinite, the highest negative infinite.
    """
    running = RunningSums.of(len(values))
    running.close(running.add(values if values.ndim == 3 else values.reshape(len(values), 1, -1)))
    return running.sums, running.ends


def joined_ends(ends: np.ndarray) -> np.ndarray:
    """Return both ends (2, END_COLUMNS) of all steps or parts whose ends (N, 2, END_COLUMNS) are given."""
    return np.stack([_joined(ends[:, 0]), _joined(ends[:, 1] * _FLIP) * _FLIP])


_FLIP = np.array([-1.0, 1.0, -1.0, 1.0])  # makes a lower end of an upper one


def _joined(ends: np.ndarray) -> np.ndarray:
    values, numbers = ends[:, ::2].ravel(), ends[:, 1::2].ravel()
    lowest = values.min(initial=np.inf)
    following = values[values > lowest].min(initial=np.inf)
    return np.array([lowest, numbers[values == lowest].sum(), following, numbers[values == following].sum()])


def summarise(sums: np.ndarray, ends: np.ndarray) -> Summary:
    """Return the summary of all steps whose sums (T, N_SUMS) and ends (T, 2, END_COLUMNS) are given."""
    number, *totals = sums.sum(axis=0)
    if number == 0:
        return Summary(0, math.nan, math.nan, NO_END, NO_END, *[math.nan] * 6)
    mean, square, cube, zeros, root, root_square, ones, hundreds = (float(total / number) for total in totals)
    std = _root(square - mean**2)
    skewness = (cube - 3 * mean * square + 2 * mean**3) / std**3 if std > 0 else 0.0
    low, high = (_end(end) for end in joined_ends(ends))
    return Summary(
        number=int(number),
        mean=mean,
        std=std,
        low=low,
        high=high,
        skewness=skewness,
        zero_share=zeros,
        one_share=ones,
        hundred_share=hundreds,
        root_mean=root,
        root_std=_root(root_square - root**2),
    )


def _end(end: np.ndarray) -> End:
    value, number, following, next_number = end.tolist()
    alone = math.isinf(following)
    return End(value, int(number), math.nan if alone else following, 0 if alone else int(next_number))


def summary_of(values: np.ndarray) -> Summary:
    """Return the summary of an array, (T, ...) or (cells,), NaN = missing."""
    return summarise(*sums_of_steps(values))


def _root(variance: float) -> float:
    return float(np.sqrt(max(variance, 0.0)))
