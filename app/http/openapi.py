"""The parts of the OpenAPI document that FastAPI cannot derive: bodies, media types, statuses, examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.codecs.negotiation import CODECS
from app.http.problems import PROBLEM_MEDIA_TYPE, TYPE_PREFIX
from app.schemas import ProblemDocument, body_schemas

EXAMPLE_REQUEST: dict[str, Any] = {
    "time": ["2012-08-01T00:00:00Z", "2012-08-02T00:00:00Z"],
    "y": [6_276_500.0, 6_277_500.0],
    "x": [766_500.0, 767_500.0],
    "fields": {"precipitation": {"units": "mm day-1", "values": [[[0.0, None], [1.5, 2.0]], [[None] * 2, [0.0, 0.2]]]}},
    "sites": [{"id": "Y3204040", "y": 6_276_500.0, "x": 767_500.0}],
    "series": {"river_flow": {"units": "m3 s-1", "values": [[1.2], [None]]}},
}
MEANINGS = {
    400: "The body cannot be read",
    401: "An API key is needed",
    403: "The API key is unknown, or the request comes from a page of another site",
    404: "No such bundle",
    406: "No acceptable media type",
    408: "The body took too long",
    413: "The body is too large as sent or once decoded, or would take too long to fill",
    415: "The media type is not supported",
    421: "The server does not answer for this host",
    422: "Readable but wrong: shape, units, coordinates, an unknown variable, no observation, or a parameter",
    429: "The quota of the API key is used up; Retry-After says when to try again",
    500: "Internal error",
    503: "Not ready, too busy or shutting down; Retry-After, if present, says when to try again",
    504: "The deadline has passed",
}


class DocumentedAPI(FastAPI):
    """FastAPI with the schemas of the bodies that it does not parse itself."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"].update(body_schemas())
        return super().openapi()


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of responses with these statuses, which are problem documents."""
    return {status: _problem(status) for status in statuses}


def request_body() -> dict[str, Any]:
    """Return the documentation of the request body of the routes that take data."""
    content = {name: _content(name, "ReconstructRequest", EXAMPLE_REQUEST) for name in CODECS}
    return {"requestBody": {"required": True, "content": content}}


def reply_body() -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the reply of POST /reconstruct."""
    return {
        200: {
            "description": "The data with its gaps filled, in the media type that Accept prefers (default: as sent)",
            "content": {name: _content(name, "ReconstructReply", None) for name in CODECS},
            "headers": {
                "X-Request-ID": {"description": "Id of the request, as in the log.", "schema": {"type": "string"}},
                "Server-Timing": {"description": "Milliseconds by stage.", "schema": {"type": "string"}},
            },
        }
    }


def _content(media_type: str, schema: str, example: object) -> dict[str, Any]:
    if media_type != "application/json":
        return {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return content if example is None else {**content, "example": example}


def _problem(status: int) -> dict[str, Any]:
    example = {
        "type": f"{TYPE_PREFIX}...",
        "title": MEANINGS[status],
        "status": status,
        "detail": "what is wrong, what was got and what was expected",
        "request_id": "4f0c9a52d1b94a0f8d5b1c1b6f7c2e11",
        "errors": [],
    }
    content = {"schema": ProblemDocument.model_json_schema(), "example": example}
    response: dict[str, Any] = {"description": MEANINGS[status], "content": {PROBLEM_MEDIA_TYPE: content}}
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return response
