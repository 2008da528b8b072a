"""hydrofill: fill the gaps of gridded and gauged water data, with an uncertainty for every filled value.

>>> import hydrofill
>>> filled = hydrofill.fill(dataset)  # doctest: +SKIP

`fill`, `fill_archive`, `inspect` and `open_bundle` load their libraries at the first call, so that
`import hydrofill` is quick.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hydrofill.errors import (
    BundleError,
    ContractError,
    CoordinateError,
    NothingObservedError,
    OptionError,
    ProviderError,
    StructureError,
    UnitsError,
    UnknownVariableError,
    UnreadableError,
    ValueRangeError,
    WorkersLostError,
)
from hydrofill.paths import FileRefusedError

if TYPE_CHECKING:
    from hydrofill.api import fill, fill_archive, inspect, open_bundle
    from hydrofill.totals.totals import total

__version__ = "0.1.0"

# ONNX Runtime keeps and may send notes of its use, unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "BundleError",
    "ContractError",
    "CoordinateError",
    "FileRefusedError",
    "NothingObservedError",
    "OptionError",
    "ProviderError",
    "StructureError",
    "UnitsError",
    "UnknownVariableError",
    "UnreadableError",
    "ValueRangeError",
    "WorkersLostError",
    "__version__",
    "fill",
    "fill_archive",
    "inspect",
    "open_bundle",
    "total",
]


def __getattr__(name: str) -> Any:
    """Import the functions of hydrofill.api when they are first used; the other public names are there already."""
    if name not in __all__:
        raise AttributeError(f"module 'hydrofill' has no attribute {name!r}")
    if name == "total":
        from hydrofill.totals.totals import total

        return total
    from hydrofill import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
