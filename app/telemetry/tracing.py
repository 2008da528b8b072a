"""Tracing with OpenTelemetry, if the extra `otel` is installed and an endpoint is set."""

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
    """A timed operation and its attributes."""

    def set(self, **attributes: Value) -> None:
        """Set attributes; `__` in a name stands for a dot."""


class NoSpan:
    """A span that is not recorded."""

    def set(self, **attributes: Value) -> None:
        """Do nothing."""


class Tracing:
    """Tracing that is switched off; the base of tracing that is on."""

    def request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:  # noqa: ARG002 (in traces)
        """Open the span of a request, as a child of the caller's span if `headers` name one (W3C traceparent)."""
        return nullcontext(NoSpan())

    def stage(self, name: str) -> AbstractContextManager[Span]:  # noqa: ARG002 (in traces)
        """Open the span of a stage of the current request."""
        return nullcontext(NoSpan())

    def close(self) -> None:
        """Send the spans that are still buffered."""


def open_tracing(settings: Settings) -> Tracing:
    """Return tracing as set.

    Raises:
        SettingsError: an endpoint is set, but OpenTelemetry is not installed.
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
    return tracing_with(provider)


def tracing_with(provider: TracerProvider) -> Tracing:
    """Return tracing that records spans with this OpenTelemetry provider."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer = provider.get_tracer("hydrofill", __version__)

    class OtelSpan:
        def __init__(self, span: trace.Span) -> None:
            self._span = span

        def set(self, **attributes: Value) -> None:
            self._span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})

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
