"""Tracing is off unless configured; a request's spans are children of the caller's span."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.main import create_app
from app.settings import Settings, SettingsError
from app.telemetry.tracing import Tracing, open_tracing, tracing_with
from tests.support.tiny import NPZ, body_of, client_of, sample

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.anyio
async def test_request_is_one_trace_below_its_callers_span(bundles: Path) -> None:
    app, kept = create_app(Settings(bundles=bundles)), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    app.state.tracing = tracing_with(provider)
    async with client_of(app) as client:
        headers = {"Content-Type": NPZ, "traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "mine"}
        assert (await client.post("/reconstruct", content=body_of(sample(), NPZ), headers=headers)).status_code == 200
        spans = {span.name: span for span in kept.get_finished_spans()}
    assert spans.keys() == {"POST", "decode", "engine", "encode"}
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {TRACE}
    request, engine = spans["POST"], spans["engine"]
    assert request.parent is not None and f"{request.parent.span_id:016x}" == PARENT
    assert request.attributes is not None and engine.attributes is not None
    assert request.attributes["http.route"] == "/reconstruct"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["hydrofill.request_id"] == "mine"
    assert engine.attributes["hydrofill.bundle"] == "tiny"


def test_nothing_is_traced_unless_an_endpoint_is_set() -> None:
    assert type(open_tracing(Settings())) is Tracing
    traced = open_tracing(Settings(otel_endpoint="http://127.0.0.1:9/v1/traces"))
    assert type(traced) is not Tracing
    traced.close()


def test_endpoint_without_opentelemetry_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"install hydrofill\[otel\]"):
        open_tracing(Settings(otel_endpoint="http://127.0.0.1:9/v1/traces"))


@pytest.mark.anyio
async def test_server_does_not_load_opentelemetry_by_itself(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert type(client._transport.app.state.tracing) is Tracing  # type: ignore[attr-defined]
