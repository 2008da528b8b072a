"""Builds the application from settings, bundles, engine and routes; `uvicorn --factory app.main:create_app`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio.to_thread
from fastapi import FastAPI

from app.admission import Admission
from app.bundles.registry import Registry, load_registry
from app.bundles.reload import Reloader
from app.bundles.served import CurrentBundles, measure_bundles
from app.codecs.base import BodyLimits
from app.codecs.sandbox.parser import START_S, Parser, ParserLimits
from app.engine.queue import Policy
from app.engine.worker import Engine
from app.errors import NotReadyError
from app.http import problems
from app.http.bodies import Uploads
from app.http.hosts import HostMiddleware, rules_of
from app.http.middleware import RequestMiddleware
from app.http.openapi import DocumentedAPI
from app.keys import read_keys
from app.routes import bundles as bundle_routes
from app.routes import health, info, page, reconstruct
from app.routes import metrics as metrics_route
from app.service import Lanes, Service
from app.settings import Settings, read_settings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing, open_tracing
from hydrofill import __version__
from hydrofill.inference.graphs import Runtime

SMALL_THREADS, SMALL_PARSERS = 2, 1  # for small bodies alone
DESCRIPTION = "Fill the gaps of gridded and gauged water data, with an uncertainty for every filled value."


def load_bundles(settings: Settings, last: Registry | None = None) -> Registry:
    """Load the bundles of the settings' folder and run each once; unchanged models of `last` are kept.

    Raises:
        BundleError: the folder holds no valid bundle.
        ProviderError: the execution provider is not available.
    """
    return load_registry(settings.bundles, Runtime(settings.provider, settings.graph_threads), last)


def make_parser(settings: Settings) -> Parser:
    """Return the parser of bodies, with the limits of the settings."""
    body = BodyLimits(
        settings.max_decoded_bytes,
        settings.max_dimensions,
        settings.max_variables,
        settings.max_sites,
        settings.max_attributes,
    )
    limits = ParserLimits(settings.parser_memory_bytes, settings.parser_cpu_s, settings.parser_wall_s, body)
    return Parser(limits, settings.parsers)


def make_service(
    settings: Settings, bundles: CurrentBundles, engine: Engine, parser: Parser, tracing: Tracing
) -> Service:
    """Return what the routes call, made of parts that have been started."""
    metrics = Metrics()
    metrics.add_queue_gauges(engine)
    metrics.set_bundles(bundles.now.registry)
    admission = Admission(settings, engine, metrics)
    metrics.add_admission_gauges(lambda: admission.active_requests, lambda: admission.reserved_bytes)
    return Service(
        settings,
        bundles,
        engine,
        admission,
        metrics,
        parser,
        pool=Lanes(settings.graph_threads, SMALL_THREADS),
        parsers=Lanes(settings.parsers, SMALL_PARSERS),
        tracing=tracing,
    )


def create_app(settings: Settings | None = None, loaded: Registry | None = None) -> FastAPI:
    """Return the application. Its bundles are loaded at start, on the engine's thread, unless `loaded` is given."""
    chosen = settings or read_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = Engine(Policy(chosen.interactive_s, chosen.ageing_s))
        engine.start()
        parser = make_parser(chosen)
        await anyio.to_thread.run_sync(parser.start)  # the parser's libraries load while the bundles do
        try:
            registry = await engine.call(lambda: load_bundles(chosen)) if loaded is None else loaded
            current = CurrentBundles(await engine.call(partial(measure_bundles, registry)))
            service = make_service(chosen, current, engine, parser, app.state.tracing)
            reloader = Reloader(current, engine, service.metrics, chosen.bundles, partial(load_bundles, chosen))
            with suppress(NotReadyError):  # the check of readiness tells, and starts the reader again
                await anyio.to_thread.run_sync(parser.check, START_S)
            app.state.service, app.state.reloader = service, reloader
            watching = asyncio.ensure_future(reloader.watch(chosen.reload_s))
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        finally:
            app.state.service = None
            await anyio.to_thread.run_sync(parser.stop)
            await anyio.to_thread.run_sync(app.state.tracing.close)
            await anyio.to_thread.run_sync(engine.stop)  # last, because it may wait for a job that never ends

    app = DocumentedAPI(
        title="hydrofill",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # app.http.reference writes a page that loads nothing from other hosts
        redoc_url=None,
    )
    app.state.keys = read_keys(chosen.keys_file) if chosen.keys_file is not None else None
    app.state.tracing = open_tracing(chosen)
    app.state.uploads = Uploads(chosen.max_uploads_per_address)
    app.add_middleware(HostMiddleware, rules=rules_of(chosen))
    app.add_middleware(RequestMiddleware)  # the outermost: it logs what the other refuses
    problems.install(app)
    for module in (reconstruct, bundle_routes, health, info, metrics_route, page):
        app.include_router(module.router)
    return app
