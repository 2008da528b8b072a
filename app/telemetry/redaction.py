"""Credentials, control characters and excess length are removed from texts for logs and replies."""

from __future__ import annotations

import re
from contextvars import ContextVar
from urllib.parse import parse_qsl, unquote

from starlette.datastructures import Headers

REDACTED = "[redacted]"
SECRET_HEADERS = ("authorization", "proxy-authorization", "x-api-key")
SECRET_PARAMETER = re.compile(r"key|token|secret|auth|pass|sig", re.IGNORECASE)
SCHEMES = ("basic", "bearer", "digest", "negotiate")
MIN_LENGTH = 6  # a shorter secret is part of too many words
OWN_KEY = re.compile(r"(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{43}(?![\w-])", re.ASCII)  # see app.keys.make_key
# Control characters, line separators, marks that reorder text, and halves of characters.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_secrets: ContextVar[tuple[str, ...]] = ContextVar("secrets", default=())


def note_secrets(headers: Headers, query: bytes) -> None:
    """Have `redact` remove the credentials of the current request."""
    given = [value for name in SECRET_HEADERS for value in headers.getlist(name)]
    secrets = {word for value in given for word in (value, *value.split()) if word.lower() not in SCHEMES}
    secrets |= {cookie.partition("=")[2].strip() for value in headers.getlist("cookie") for cookie in value.split(";")}
    secrets |= {value for name, value in parse_qsl(query.decode("latin-1")) if SECRET_PARAMETER.search(name)}
    spellings = {spelling for secret in secrets for spelling in (secret, unquote(secret))}
    _secrets.set(tuple(sorted((s for s in spellings if len(s) >= MIN_LENGTH), key=len, reverse=True)))


def redact(text: str) -> str:
    """Return the text without credentials: those of the current request, and what looks like one."""
    for secret in _secrets.get():
        text = text.replace(secret, REDACTED)
    return OWN_KEY.sub(REDACTED, text)


def printable(text: str, most: int) -> str:
    """Return the text in one line of at most `most` characters, with control characters escaped."""
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 2 :]}"
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
