"""Traces of requests by OpenTelemetry, where the extra `otel` is installed and an address is set; otherwise nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from app.settings import Settings, SettingsError
from hydrofill import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Value = str | int | float


class Span(Protocol):
    """Something that takes time, and what is known of it."""

    def set(self, **known: Value) -> None:
        """Adds what is known; a name's `__` stands for a dot."""


class NoSpan:
    """A span that nobody sees."""

    def set(self, **known: Value) -> None:
        """Adds nothing."""


class Tracing:
    """No traces: what costs nothing where they are not asked for."""

    def request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:  # noqa: ARG002 (in traces)
        """The span of a request, below the caller's own where `headers` tell it (W3C traceparent)."""
        return nullcontext(NoSpan())

    def stage(self, name: str) -> AbstractContextManager[Span]:  # noqa: ARG002 (in traces)
        """The span of a part of the current request."""
        return nullcontext(NoSpan())

    def close(self) -> None:
        """Sends what is left."""


def open_tracing(settings: Settings) -> Tracing:
    """What the settings ask for.

    Raises:
        SettingsError: traces are asked for, but OpenTelemetry is not installed.
    """
    if settings.otel_endpoint is None:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError("HYDROFILL_OTEL_ENDPOINT needs OpenTelemetry: install hydrofill[otel]") from error
    provider = TracerProvider(resource=Resource({"service.name": "hydrofill", "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.otel_endpoint)))
    return traces_of(provider)


def traces_of(provider: TracerProvider) -> Tracing:
    """Traces by OpenTelemetry."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer = provider.get_tracer("hydrofill", __version__)

    class OtelSpan:
        def __init__(self, span: trace.Span) -> None:
            self._span = span

        def set(self, **known: Value) -> None:
            self._span.set_attributes({name.replace("__", "."): value for name, value in known.items()})

    class OtelTracing(Tracing):
        @contextmanager
        def request(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
            context = TraceContextTextMapPropagator().extract(headers)
            with tracer.start_as_current_span(name, context, trace.SpanKind.SERVER) as span:
                yield OtelSpan(span)

        @contextmanager
        def stage(self, name: str) -> Iterator[Span]:
            with tracer.start_as_current_span(name) as span:
                yield OtelSpan(span)

        def close(self) -> None:
            provider.shutdown()

    return OtelTracing()
