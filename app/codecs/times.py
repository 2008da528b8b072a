"""Times as ISO 8601 texts <-> datetime64."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from hydrofill.cf.axes import check_times
from hydrofill.errors import CoordinateError


def read_times(texts: Sequence[str]) -> np.ndarray:
    """ISO 8601 texts as datetime64[ns], UTC; a text without a zone is taken as UTC.

    Raises:
        CoordinateError: none, or one that is no time or beyond what 64-bit nanoseconds hold; names its number.
    """
    times = np.empty(len(texts), "datetime64[us]")
    for number, text in enumerate(texts):
        try:
            time = datetime.fromisoformat(text)
            times[number] = np.datetime64(time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time, "us")
        except (ValueError, OverflowError) as error:
            where, expected = f"time/{number}", "such as 2012-08-01T00:00:00Z"
            raise CoordinateError(
                "is not an ISO 8601 time", where=where, got=repr(text[:40]), expected=expected
            ) from error
    return check_times(times)


def write_times(times: np.ndarray) -> list[str]:
    """datetime64[ns] as ISO 8601 texts, UTC; fractions of a second only where there are any."""
    whole = (times == times.astype("datetime64[s]")).all()
    return [f"{text}Z" for text in np.datetime_as_string(times, unit="s" if whole else "ns")]
