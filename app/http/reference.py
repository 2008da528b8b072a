"""The OpenAPI document as a page to read: plain HTML, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>hydrofill: the interface</title>
<link rel="icon" type="image/svg+xml" href="./page/icon.svg"><link rel="stylesheet" href="./page/page.css"></head>
<body><main>"""
FOOT = "</main></body></html>"


def reference_page(document: Mapping[str, Any]) -> str:
    """Every operation of an OpenAPI document with its parameters, bodies and replies."""
    info = document["info"]
    intro = (
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        '<p><a href="openapi.json">openapi.json</a> has all of this for programs. <a href="./">The page</a></p>'
    )
    operations = (
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return HEAD + intro + "".join(operations) + FOOT


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    title = f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    said = f"<p><strong>{escape(operation['summary'])}.</strong> {escape(operation.get('description', ''))}</p>"
    bodies = operation.get("requestBody", {}).get("content", {})
    sends = f"<p>Body: {_codes(bodies)}</p>" if bodies else ""
    parameters = _table(("parameter", "in", "what"), map(_parameter, operation.get("parameters", ())))
    replies = _table(("status", "what", "form"), (_reply(*one) for one in operation["responses"].items()))
    return f"<section>{title}{said}{sends}{parameters}{replies}</section>"


def _parameter(parameter: Mapping[str, Any]) -> tuple[str, str, str]:
    what = parameter.get("description") or parameter["schema"].get("description", "")
    return f"<code>{escape(parameter['name'])}</code>", escape(parameter["in"]), escape(what)


def _reply(status: str, response: Mapping[str, Any]) -> tuple[str, str, str]:
    return escape(status), escape(response["description"]), _codes(response.get("content", {}))


def _codes(names: Mapping[str, Any]) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in names)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table of cells that are HTML already; nothing where there are no rows."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    named = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><thead><tr>{named}</tr></thead><tbody>{body}</tbody></table>" if body else ""
