"""Refuse values that are finite but too large to be computed with, and name their variable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from hydrofill.cube import WaterCube
from hydrofill.errors import BundleError, ValueRangeError
from hydrofill.reconstruct import FILLED, FilledVariable

# Beyond MAX_MAGNITUDE, sums and standard deviations exceed float32. A network of named variables takes far less,
# depending on its transforms: where it fails on a value beyond LARGE, the value is to blame, and not the bundle.
MAX_MAGNITUDE = 1e36
LARGE = 1e9


@contextmanager
def too_large_is_refused(cube: WaterCube) -> Iterator[None]:
    """Check the values of `cube` first; then turn an error in arithmetic that they cause into one that names them.

    Raises:
        ValueRangeError: a value is too large; names the variable of the largest value.
    """
    largest = {name: _magnitude(variable.values) for name, variable in cube.variables.items()}
    name = max(largest, key=lambda name: largest[name], default="")
    if largest.get(name, 0.0) > MAX_MAGNITUDE:
        raise _too_large(name, largest[name])
    try:
        yield
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        raise _too_large(name, largest.get(name, 0.0)) from error
    except BundleError as error:
        if largest.get(name, 0.0) > LARGE:
            raise _too_large(name, largest[name]) from error
        raise


def check_finite(filled: Mapping[str, FilledVariable]) -> None:
    """Check that each value that was filled is finite, and so is its standard deviation.

    Raises:
        ValueRangeError: one is not; names the variable.
    """
    for name, fill in filled.items():
        if (
            not np.isfinite(fill.mean[fill.flag == FILLED]).all()
            or not np.isfinite(fill.std[fill.flag == FILLED]).all()
        ):
            raise ValueRangeError("has values that are too large to fill its gaps", where=name)


def _magnitude(values: np.ndarray) -> float:
    """Return the largest absolute value; 0 without any."""
    return float(max(np.nanmax(values), -np.nanmin(values))) if np.isfinite(values).any() else 0.0


def _too_large(name: str, value: float) -> ValueRangeError:
    return ValueRangeError(
        "has a value that is too large to compute with; give the data in a larger unit", where=name, got=f"{value:g}"
    )
