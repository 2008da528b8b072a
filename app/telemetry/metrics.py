"""What the server counts, for Prometheus: base units, one registry for each application."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.bundles.registry import Registry
from app.engine.worker import Engine
from hydrofill.inference.model import Outcome

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """The server's counters; names begin with `hydrofill_`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("hydrofill_requests", "Requests answered", ["route", "status"], registry=registry)
        self._request_seconds = Histogram(
            "hydrofill_request_seconds",
            "From a request's head to its reply",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "hydrofill_queue_seconds", "Waited for the engine", buckets=SECONDS, registry=registry
        )
        self._inference_seconds = Histogram(
            "hydrofill_inference_seconds", "A request's time in a graph", ["graph"], buckets=SECONDS, registry=registry
        )
        self._decode_seconds = Histogram(
            "hydrofill_decode_seconds", "Body to dataset", ["format"], buckets=SECONDS, registry=registry
        )
        self._encode_seconds = Histogram(
            "hydrofill_encode_seconds", "Dataset to reply", ["format"], buckets=SECONDS, registry=registry
        )
        self._tokens = Counter("hydrofill_tokens", "Visible tokens encoded", registry=registry)
        self._queries = Counter("hydrofill_queries", "Queries answered", registry=registry)
        self._rejections = Counter("hydrofill_rejections", "Requests refused", ["reason"], registry=registry)
        self._cancellations = Counter(
            "hydrofill_cancellations",
            "Requests given up: the client went, or the deadline passed",
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
            "hydrofill_reloads", "Looks at the bundles' folder while serving", ["result"], registry=registry
        )

    def watch(self, engine: Engine) -> None:
        """Adds what is read when it is asked for: the queue."""
        gauges = {
            "hydrofill_queue_requests": ("Requests that wait for the engine", lambda: engine.queued[0]),
            "hydrofill_queue_tokens": ("Visible tokens that wait for the engine", lambda: engine.queued[1]),
            "hydrofill_queue_backlog_seconds": ("Predicted work", lambda: engine.wait_s(float("inf"))),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(read)

    def serves(self, registry: Registry) -> None:
        """Tells which bundles are served from now on, and how many folders were refused."""
        self._bundle.clear()
        for model in registry.models.values():
            self._bundle.labels(model.manifest.name, model.manifest.version, model.sha256).set(1)
        self._refused.set(len(registry.refused))

    def reloaded(self, result: str) -> None:
        """Counts a look at the bundles' folder: `loaded`, `refused` or `unchanged`."""
        self._reloads.labels(result).inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a reply."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def filled(self, outcome: Outcome, tokens: int, queries: int) -> None:
        """Counts a run of the engine."""
        self._queue_seconds.observe(outcome.queue_s)
        self._inference_seconds.labels("encoder").observe(outcome.encode_s)
        self._inference_seconds.labels("decoder").observe(outcome.decode_s)
        self._tokens.inc(tokens)
        self._queries.inc(queries)

    def decoded(self, media_type: str, seconds: float) -> None:
        """Counts a body that was read."""
        self._decode_seconds.labels(media_type).observe(seconds)

    def encoded(self, media_type: str, seconds: float) -> None:
        """Counts a reply that was written."""
        self._encode_seconds.labels(media_type).observe(seconds)

    def rejected(self, reason: str) -> None:
        """Counts a refusal for want of room or right."""
        self._rejections.labels(reason).inc()

    def cancelled(self, reason: str, stage: str) -> None:
        """Counts a request that was given up at a stage."""
        self._cancellations.labels(reason, stage).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus's text form."""
        return generate_latest(self.registry)
