"""Entry point of a parser's process; a module of its own, so that the server does not load what only parsers need."""

from __future__ import annotations

from multiprocessing.connection import Connection


def parse_in_child(connection: Connection, memory_bytes: int, cpu_s: int, max_decoded_bytes: int) -> None:
    """Call `app.codecs.sandbox.parser_child.parse_body`."""
    from app.codecs.sandbox.parser_child import parse_body

    parse_body(connection, memory_bytes, cpu_s, max_decoded_bytes)
