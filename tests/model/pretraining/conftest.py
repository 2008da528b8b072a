"""An untrained general network exported once for all tests of tuning."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.bundle import write_bundle
from hydrofill.bundle import Bundle
from tests.support.general_run import tiny_general_run


@pytest.fixture(scope="session")
def general(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """The bundle and its folder."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny-general"
    return write_bundle(tiny_general_run(folder.with_name("run")), folder, "1.2.3"), folder
