"""Fixtures: the tiny bundle on disk, and a client of a server with that bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.support.general import general_bundle as general_bundle
from tests.support.slow import SLOW_TURNS, slow_encoder
from tests.support.tiny import client_of, write_bundle


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.upper().startswith("HYDROFILL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(bundles: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(Settings(bundles=bundles))) as connected:
        yield connected


@pytest.fixture(scope="session")
def slow_bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    write_bundle(folder, encoder=slow_encoder(SLOW_TURNS))
    return folder


@pytest.fixture(scope="session")
def both_bundles(general_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny bundle of named variables and the general bundle."""
    folder = tmp_path_factory.mktemp("both")
    write_bundle(folder)
    shutil.copytree(general_bundle, folder / general_bundle.name)
    return folder
