"""A small general bundle of an untrained network, whose fills are near the stacked guess."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

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
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def write_general_bundle(folder: Path) -> Path:
    """Write the bundle to `folder / NAME`, by way of a run beside it in `folder.parent`; takes half a minute."""
    import torch  # slow to load, and most tests do without it

    from export.bundle import write_bundle
    from hydrofill.bundle import TrainingData
    from hydrofill.layout import GENERAL
    from model.config import NetworkConfig, RunConfig
    from model.network.mae import CrossMAE
    from model.run_folder import read_run, save_weights, start_run

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    config = NetworkConfig(embed_dim=32, depth=1, num_heads=1, decoder_dim=32, decoder_depth=1, decoder_num_heads=1)
    data = TrainingData(title="none", source="made up", licence="none", start=WHEN, end=WHEN, frames=1)
    run = folder.parent / f"{folder.name}-run"
    start_run(run, RunConfig(network=config), GENERAL, data)
    torch.manual_seed(0)
    save_weights(run, CrossMAE(GENERAL, config))
    write_bundle(read_run(run), folder / NAME, "1.0.0")
    return folder / NAME


@pytest.fixture(scope="session")
def general_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the general bundle."""
    return write_general_bundle(tmp_path_factory.mktemp("general") / "bundles")
