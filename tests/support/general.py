"""A small general bundle of an untrained network, whose fills are near the stacked guess."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.support.general_run import tiny_general_run

NAME = "general"
FIRST_CALL: dict[str, Any] = {  # of docs/serving.md
    "time": ["2012-08-01T00:00:00Z", "2012-08-02T00:00:00Z"],
    "y": [1.0, 2.0],
    "x": [1.0, 2.0],
    "fields": {
        "precipitation": {
            "units": "mm day-1",
            "values": [[[0.0, 1.0], [1.5, 2.0]], [[None, 0.5], [None, None]]],
        }
    },
}


def write_general_bundle(folder: Path) -> Path:
    """Write the bundle to `folder / NAME`, by way of a run beside it in `folder.parent`; takes half a minute."""
    from export.bundle import write_bundle  # torch is slow to load, and most tests do without it

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    write_bundle(tiny_general_run(folder.parent / f"{folder.name}-run", width=32), folder / NAME, "1.0.0")
    return folder / NAME


@pytest.fixture(scope="session")
def general_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the general bundle."""
    return write_general_bundle(tmp_path_factory.mktemp("general") / "bundles")
