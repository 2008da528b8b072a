"""New bundles while the server answers: read, checked and run beside it, then exchanged; a bad one changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from app.engine.worker import Engine
from app.bundles.registry import Registry
from app.bundles.served import CurrentBundles, measure_bundles
from app.telemetry.metrics import Metrics
from hydrofill.bundle import CARD, DECODER, ENCODER, MANIFEST

logger = logging.getLogger(__name__)

FILES = (MANIFEST, ENCODER, DECODER, CARD)
Traces = frozenset[tuple[str, str, int, int, int]]


class Reloader:
    """Looks at the bundles' folder when it is asked to, or when its files have changed and rest."""

    def __init__(
        self, bundles: CurrentBundles, engine: Engine, metrics: Metrics, folder: Path, load: Callable[[Registry], Registry]
    ) -> None:
        self._bundles = bundles
        self._engine = engine
        self._metrics = metrics
        self._folder = folder
        self._load = load
        self._requested = asyncio.Event()

    def ask(self) -> None:
        """Has the folder looked at soon; called on the event loop."""
        self._requested.set()

    async def watch(self, every_s: float) -> None:
        """Reloads for ever: when asked, and, unless `every_s` is 0, when two looks in a row find the same change."""
        seen = acted = await anyio.to_thread.run_sync(traces, self._folder)
        while True:
            requested = await self._wait(every_s)
            now = await anyio.to_thread.run_sync(traces, self._folder)
            at_rest, seen = now == seen, now
            if requested or (at_rest and now != acted):
                acted = now
                await self.reload()

    async def reload(self) -> str:
        """Exchanges what is served for what the folder holds: `loaded`, `unchanged`, or `refused` in part or whole."""
        last = self._bundles.now
        try:
            registry = await anyio.to_thread.run_sync(self._load, last.registry)
            served = await self._engine.call(lambda: measure_bundles(registry, last))
        except Exception:  # whatever a bundle brings about, the last good ones are served on
            logger.exception("bundles refused; those that are loaded stay")
            self._metrics.reloaded("refused")
            return "refused"
        self._bundles.now = served
        self._metrics.serves(registry)
        changed = [*registry.models.values()] != [*last.registry.models.values()]
        result = "refused" if registry.refused else "loaded" if changed else "unchanged"
        self._metrics.reloaded(result)
        logger.info("bundles looked at: %s", result)
        return result

    async def _wait(self, every_s: float) -> bool:
        """Whether it was asked, before `every_s` have passed."""
        try:
            await asyncio.wait_for(self._requested.wait(), every_s or None)
        except TimeoutError:
            return False
        self._requested.clear()
        return True


def traces(folder: Path) -> Traces:
    """What changes when a bundle's file does: its inode, size and time of change."""
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
