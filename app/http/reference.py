"""The OpenAPI document as an HTML page: no script, nothing loaded from other hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>hydrofill: HTTP interface</title>
<link rel="icon" type="image/svg+xml" href="./page/icon.svg"><link rel="stylesheet" href="./page/page.css"></head>
<body><main>"""
FOOT = "</main></body></html>"


def reference_page(document: Mapping[str, Any]) -> str:
    """Return HTML with every operation of an OpenAPI document: its parameters, bodies and responses."""
    info = document["info"]
    intro = (
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a>. Back to <a href="./">the page</a>.</p>'
    )
    operations = (
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return HEAD + intro + "".join(operations) + FOOT


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    title = f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    text = f"<p><strong>{escape(operation['summary'])}.</strong> {escape(operation.get('description', ''))}</p>"
    bodies = operation.get("requestBody", {}).get("content", {})
    body = f"<p>Body: {_codes(bodies)}</p>" if bodies else ""
    parameters = _table(("parameter", "in", "description"), map(_parameter, operation.get("parameters", ())))
    replies = _table(("status", "description", "media types"), (_reply(*r) for r in operation["responses"].items()))
    return f"<section>{title}{text}{body}{parameters}{replies}</section>"


def _parameter(parameter: Mapping[str, Any]) -> tuple[str, str, str]:
    description = parameter.get("description") or parameter["schema"].get("description", "")
    return f"<code>{escape(parameter['name'])}</code>", escape(parameter["in"]), escape(description)


def _reply(status: str, response: Mapping[str, Any]) -> tuple[str, str, str]:
    return escape(status), escape(response["description"]), _codes(response.get("content", {}))


def _codes(names: Mapping[str, Any]) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in names)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a table of cells, which are HTML already; "" without rows."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    named = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><thead><tr>{named}</tr></thead><tbody>{body}</tbody></table>" if body else ""
