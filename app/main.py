"""The application: settings, bundles, engine, routes, errors; `uvicorn --factory app.main:create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from fastapi import FastAPI

from app import errors
from app.engine.engine import Engine
from app.engine.registry import Registry, load_registry
from app.engine.sessions import Runtime
from app.middleware import RequestMiddleware
from app.openapi import DocumentedAPI
from app.routes import bundles, health, info, page, reconstruct
from app.service import Service
from app.settings import Settings, read_settings
from app.version import VERSION

DESCRIPTION = "Fills the gaps of gridded and gauged water data, with an uncertainty for every filled value."


def load_bundles(settings: Settings) -> Registry:
    """The bundles that the settings point to, loaded and warm.

    Raises:
        BundleError: there is none that can be used. ProviderError: the provider is not there.
    """
    return load_registry(settings.bundles, Runtime(settings.provider, settings.graph_threads))


def create_app(settings: Settings | None = None, load: Callable[[Settings], Registry] = load_bundles) -> FastAPI:
    """The application; its bundles are loaded, on the engine's own thread, when it starts."""
    chosen = settings or read_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = Engine()
        engine.start()
        try:
            registry = await engine.call(lambda: load(chosen))
            app.state.service = Service(chosen, registry, engine, anyio.CapacityLimiter(chosen.graph_threads))
            yield
        finally:
            app.state.service = None
            await anyio.to_thread.run_sync(engine.stop)

    app = DocumentedAPI(title="hydrofill", version=VERSION, description=DESCRIPTION, lifespan=lifespan)
    app.add_middleware(RequestMiddleware)
    errors.install(app)
    for module in (reconstruct, bundles, health, info, page):
        app.include_router(module.router)
    return app
