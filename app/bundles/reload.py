"""Reload of bundles while the server answers: new bundles are loaded, checked and measured, then swapped in.

An invalid bundle changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from app.bundles.registry import Registry
from app.bundles.served import CurrentBundles, measure_bundles
from app.engine.worker import Engine
from app.telemetry.metrics import Metrics
from hydrofill.bundle import CARD, DECODER, ENCODER, MANIFEST

logger = logging.getLogger(__name__)

FILES = (MANIFEST, ENCODER, DECODER, CARD)
FileStates = frozenset[tuple[str, str, int, int, int]]


class Reloader:
    """Reads the folder of bundles again on request, or when its files have changed and then stayed the same."""

    def __init__(
        self,
        bundles: CurrentBundles,
        engine: Engine,
        metrics: Metrics,
        folder: Path,
        load: Callable[[Registry], Registry],
    ) -> None:
        self._bundles = bundles
        self._engine = engine
        self._metrics = metrics
        self._folder = folder
        self._load = load
        self._requested = asyncio.Event()

    def request_reload(self) -> None:
        """Have the folder read again soon; called on the event loop."""
        self._requested.set()

    async def watch(self, every_s: float) -> None:
        """Reload until cancelled: on request, and when two looks in a row, `every_s` apart, find the same change.

        With `every_s` 0, reload on request only.
        """
        seen = loaded = await anyio.to_thread.run_sync(file_states, self._folder)
        while True:
            requested = await self._wait(every_s)
            now = await anyio.to_thread.run_sync(file_states, self._folder)
            unchanged, seen = now == seen, now
            if requested or (unchanged and now != loaded):
                loaded = now
                await self.reload()

    async def reload(self) -> str:
        """Serve what the folder holds now; return `loaded`, `unchanged`, or `refused` if any bundle was refused."""
        last = self._bundles.now
        try:
            registry = await anyio.to_thread.run_sync(self._load, last.registry)
            served = await self._engine.call(lambda: measure_bundles(registry, last))
        except Exception:  # whatever a bundle causes, the last valid bundles stay
            logger.exception("reload failed; the loaded bundles stay")
            self._metrics.count_reload("refused")
            return "refused"
        self._bundles.now = served
        self._metrics.set_bundles(registry)
        changed = [*registry.models.values()] != [*last.registry.models.values()]
        result = "refused" if registry.refused else "loaded" if changed else "unchanged"
        self._metrics.count_reload(result)
        logger.info("bundles read again: %s", result)
        return result

    async def _wait(self, every_s: float) -> bool:
        """Return True as soon as a reload is requested, False after `every_s`."""
        try:
            await asyncio.wait_for(self._requested.wait(), every_s or None)
        except TimeoutError:
            return False
        self._requested.clear()
        return True


def file_states(folder: Path) -> FileStates:
    """Return folder, name, inode, size and modification time (ns) of every bundle's files."""
    found = set()
    for path in (path / name for path in _folders(folder) for name in FILES):
        try:
            about = path.stat()
        except OSError:
            continue
        found.add((path.parent.name, path.name, about.st_ino, about.st_size, about.st_mtime_ns))
    return frozenset(found)


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
