"""Content negotiation: which codec reads a body, by Content-Type, and which writes the reply, by Accept."""

from __future__ import annotations

from collections.abc import Mapping

from app.codecs import json, netcdf, npz
from app.codecs.base import Codec
from app.errors import NotAcceptableError, UnsupportedMediaTypeError

CODECS: Mapping[str, Codec] = {codec.media_type: codec for codec in (json.CODEC, netcdf.CODEC, npz.CODEC)}


def reading_codec(headers: Mapping[str, str]) -> Codec:
    """Return the codec that reads a body with these headers (names in lower case).

    Raises:
        UnsupportedMediaTypeError: the body is compressed, or its media type is not supported.
    """
    content_encoding = headers.get("content-encoding")
    if content_encoding not in (None, "", "identity"):
        raise UnsupportedMediaTypeError(
            "a compressed body is not supported", where="header/Content-Encoding", got=content_encoding
        )
    media_type = headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in CODECS:
        raise UnsupportedMediaTypeError(
            "unsupported media type",
            where="header/Content-Type",
            got=media_type or "none",
            expected=f"one of {list(CODECS)}",
        )
    return CODECS[media_type]


def writing_codec(headers: Mapping[str, str], reading: Codec) -> Codec:
    """Return the codec that the Accept header prefers; `reading` where the header has no preference.

    Raises:
        NotAcceptableError: no supported media type is acceptable to the client.
    """
    accept = headers.get("accept")
    if not accept:
        return reading
    weights = {name: _weight(accept, name) for name in CODECS}
    best = max(weights.values())
    if best <= 0:
        raise NotAcceptableError(
            "no acceptable media type", where="header/Accept", got=accept, expected=f"one of {list(CODECS)}"
        )
    preferred = [name for name, weight in weights.items() if weight == best]
    return reading if reading.media_type in preferred else CODECS[preferred[0]]


def _weight(accept: str, media_type: str) -> float:
    """Return the quality of a media type, 0 to 1: the most specific range that matches decides (RFC 9110, 12.5.1)."""
    ranges = {"*/*": 0, f"{media_type.split('/')[0]}/*": 1, media_type: 2}
    best, weight = -1, 0.0
    for part in accept.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if ranges.get(name, -1) > best:
            best, weight = ranges[name], _quality(parameters)
    return weight


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
