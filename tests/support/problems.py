"""Checks of problem documents, and that the server still answers after one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import httpx

from app.http.problems import PROBLEM_MEDIA_TYPE, TYPE_PREFIX
from tests.support.tiny import JSON, body_of, post, sample

LEAKS = ("Traceback", "site-packages", ".py", tempfile.gettempdir(), str(Path(__file__).parents[2]))


def check_problem(reply: httpx.Response, status: int, slug: str, *words: str) -> dict[str, Any]:
    """Return the problem document; check its form, that its detail has these words, and that no path leaks."""
    document: dict[str, Any] = reply.json()
    assert reply.status_code == status, document
    assert reply.headers["content-type"] == PROBLEM_MEDIA_TYPE
    assert document.keys() == {"type", "title", "status", "detail", "request_id", "errors"}
    assert document["type"] == TYPE_PREFIX + slug
    assert document["status"] == status
    assert document["request_id"] == reply.headers["x-request-id"]
    for word in words:
        assert word in document["detail"], document
    for leak in LEAKS:
        assert leak not in reply.text
    return document


def pointers(document: dict[str, Any]) -> list[str]:
    return [error["pointer"] for error in document["errors"]]


async def check_alive(client: httpx.AsyncClient) -> None:
    assert (await post(client, body_of(sample(), JSON), JSON)).status_code == 200
