"""The server's metrics for Prometheus, in base units; each application has its own registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.bundles.registry import Registry
from app.engine.worker import Engine
from hydrofill.inference.model import Outcome

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """Counters, gauges and histograms, whose names begin with `hydrofill_`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("hydrofill_requests", "Requests answered", ["route", "status"], registry=registry)
        self._request_seconds = Histogram(
            "hydrofill_request_seconds",
            "Time from a request's header to the end of its response",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "hydrofill_queue_seconds", "Time that a request waited for the engine", buckets=SECONDS, registry=registry
        )
        self._inference_seconds = Histogram(
            "hydrofill_inference_seconds", "A request's time in a graph", ["graph"], buckets=SECONDS, registry=registry
        )
        self._decode_seconds = Histogram(
            "hydrofill_decode_seconds", "Time to decode a body", ["format"], buckets=SECONDS, registry=registry
        )
        self._encode_seconds = Histogram(
            "hydrofill_encode_seconds", "Time to encode a reply", ["format"], buckets=SECONDS, registry=registry
        )
        self._tokens = Counter("hydrofill_tokens", "Visible tokens encoded", registry=registry)
        self._queries = Counter("hydrofill_queries", "Queries decoded", registry=registry)
        self._rejections = Counter("hydrofill_rejections", "Requests rejected", ["reason"], registry=registry)
        self._cancellations = Counter(
            "hydrofill_cancellations",
            "Requests cancelled: the client disconnected, the deadline passed or the server ended",
            ["reason", "stage"],
            registry=registry,
        )
        self._bundle = Gauge(
            "hydrofill_bundle_info", "1 for each loaded bundle", ["name", "version", "sha256"], registry=registry
        )
        self._refused = Gauge(
            "hydrofill_bundles_refused", "Folders whose bundle was refused when they were last read", registry=registry
        )
        self._reloads = Counter(
            "hydrofill_reloads", "Reloads of the folder of bundles while serving", ["result"], registry=registry
        )

    def add_queue_gauges(self, engine: Engine) -> None:
        """Add the gauges of the engine's queue, which are read whenever the metrics are."""
        gauges = {
            "hydrofill_queue_requests": ("Requests that wait for the engine", lambda: engine.queued[0]),
            "hydrofill_queue_tokens": ("Visible tokens that wait for the engine", lambda: engine.queued[1]),
            "hydrofill_queue_backlog_seconds": (
                "Predicted seconds of running and queued work",
                lambda: engine.wait_s(float("inf")),
            ),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(read)

    def add_admission_gauges(self, active: Callable[[], float], held: Callable[[], float]) -> None:
        """Add the gauges of active requests and of the bytes that they hold."""
        for name, text, read in (
            ("hydrofill_active_requests", "Requests whose reply is not sent or whose work has not stopped", active),
            ("hydrofill_reserved_bytes", "Bytes of memory that active requests hold", held),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)

    def set_bundles(self, registry: Registry) -> None:
        """Set which bundles are served from now on, and how many folders were refused."""
        self._bundle.clear()
        for model in registry.models.values():
            self._bundle.labels(model.manifest.name, model.manifest.version, model.sha256).set(1)
        self._refused.set(len(registry.refused))

    def count_reload(self, result: str) -> None:
        """Count a reload of the folder of bundles: `loaded`, `refused` or `unchanged`."""
        self._reloads.labels(result).inc()

    def count_reply(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def count_fill(self, outcome: Outcome, tokens: int, queries: int) -> None:
        """Count a run of the engine."""
        self._queue_seconds.observe(outcome.queue_s)
        self._inference_seconds.labels("encoder").observe(outcome.encode_s)
        self._inference_seconds.labels("decoder").observe(outcome.decode_s)
        self._tokens.inc(tokens)
        self._queries.inc(queries)

    def observe_decode(self, media_type: str, seconds: float) -> None:
        """Observe the time to decode a body."""
        self._decode_seconds.labels(media_type).observe(seconds)

    def observe_encode(self, media_type: str, seconds: float) -> None:
        """Observe the time to encode a reply."""
        self._encode_seconds.labels(media_type).observe(seconds)

    def count_rejection(self, reason: str) -> None:
        """Count a rejected request: `draining`, `requests`, `memory`, `cost`, `queue`, `key` or `quota`."""
        self._rejections.labels(reason).inc()

    def count_cancellation(self, reason: str, stage: str) -> None:
        """Count a request that was cancelled for `reason` in `stage`."""
        self._cancellations.labels(reason, stage).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
