"""Count the cells of each filled variable by flag, and say how long its gaps are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from hydrofill.cf.fills import STORAGE_NOTE
from hydrofill.filling import PreparedFill
from hydrofill.reconstruct import (
    FLAG_MEANINGS,
    LONGEST_FILLED,
    LONGEST_MEASURED,
    FilledVariable,
)

MAX_SHOWN_SLICES = 12  # of a variable; of more the sums are shown


@dataclass(frozen=True)
class Summary:
    """Number of cells of one variable, or of one slice such as "level=850", for each flag.

    All are 0 for what has no value at all, which is left out. note: why the variable is not stored as it was, "" if it
    is.
    longest_gap: the longest gap that was filled, in time steps. longest_measured: the longest whose fill was measured
    on hidden cells, or learnt. None where they are not known.
    """

    name: str
    observed: int
    filled: int
    refused: int
    outside: int
    slice: str = ""
    note: str = ""
    longest_gap: int | None = None
    longest_measured: int | None = None
    too_far: int = 0
    not_interior: int = 0
    not_selected: int = 0
    low_support: int = 0

    @property
    def title(self) -> str:
        """The variable and its slice."""
        return f"{self.name} {self.slice}".strip()


def with_notes(summaries: Sequence[Summary], written: xr.Dataset, source: Mapping[str, str]) -> list[Summary]:
    """Return the summaries with what the variables that were written say of how they are stored.

    Args:
        summaries: of the variables.
        written: the filled dataset.
        source: by the names of the summaries, those in the dataset.
    """
    named = [(s, source.get(s.name, s.name)) for s in summaries]
    return [replace(s, note=str(written[name].attrs.get(STORAGE_NOTE, ""))) for s, name in named]


def summaries_of(prepared: PreparedFill, filled: Mapping[str, FilledVariable], written: xr.Dataset) -> list[Summary]:
    """Return the counts of each variable, or of each slice of a variable with further dimensions."""
    found = []
    for part in prepared.parts:
        for target in (t for name in part.names for t in part.targets[name]):
            fill = filled[target.name]
            counts = [int(np.count_nonzero(fill.flag[target.at] == flag)) for flag in range(len(FLAG_MEANINGS))]
            longest, measured = (_steps(fill.attributes, k, part.label) for k in (LONGEST_FILLED, LONGEST_MEASURED))
            summary = of_counts(target.name, counts, part.label)
            found.append(replace(summary, longest_gap=longest, longest_measured=measured))
    found = with_notes(found, written, prepared.reading.source)
    return [*found, *(Summary(name, 0, 0, 0, 0, label) for name, label in prepared.empty)]


def _steps(attributes: Mapping[str, str], key: str, label: str) -> int | None:
    """Return a number of steps in the attributes of a variable or of one of its slices; None if it is not there."""
    said = json.loads(attributes[key]) if key in attributes else None
    return said.get(label) if isinstance(said, dict) else said


def of_counts(name: str, counts: Sequence[int], label: str) -> Summary:
    """Return the summary of numbers of cells in the order of FLAG_MEANINGS."""
    by_flag: dict[str, Any] = dict(zip(FLAG_MEANINGS, counts, strict=True))
    return Summary(name, slice=label, **by_flag)


def shown_summaries(summaries: Sequence[Summary]) -> list[Summary]:
    """Return one row a variable or slice; of a variable with very many slices one row for all."""
    by_name: dict[str, list[Summary]] = {}
    for summary in summaries:
        by_name.setdefault(summary.name, []).append(summary)
    rows = []
    for slices in by_name.values():
        if len(slices) <= MAX_SHOWN_SLICES:
            rows += slices
            continue
        rows.append(
            replace(
                slices[0],
                slice=f"{slices[0].slice} to {slices[-1].slice}, {len(slices)} slices",
                **{flag: sum(getattr(s, flag) for s in slices) for flag in FLAG_MEANINGS},
                longest_gap=max((s.longest_gap for s in slices if s.longest_gap is not None), default=None),
                longest_measured=min((s.longest_measured for s in slices if s.longest_measured), default=None),
            )
        )
    return rows


def notes_of(summaries: Sequence[Summary]) -> list[str]:
    """Return which gaps that were filled are longer than any whose fill was measured."""
    return [
        f"{s.title}: a gap of {s.longest_gap} steps was filled, longer than any whose fill was measured "
        f"({s.longest_measured}); --max-gap {max(s.longest_measured, 1)} leaves such gaps missing"
        for s in summaries
        if s.longest_gap and s.longest_measured is not None and s.longest_gap > s.longest_measured
    ]
