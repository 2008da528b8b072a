"""Content negotiation: which codec reads a body, by Content-Type, and which writes the reply, by Accept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.request import parse_http_list

from app.codecs import csv, json, netcdf, npz
from app.codecs.base import Codec
from app.errors import NotAcceptableError, UnsupportedMediaTypeError

SYNONYMS = [replace(netcdf.CODEC, media_type=name) for name in netcdf.OTHER_NAMES]
CODECS: Mapping[str, Codec] = {
    codec.media_type: codec for codec in (json.CODEC, netcdf.CODEC, npz.CODEC, csv.CODEC, *SYNONYMS)
}

QUALITY = re.compile(r";\s*q\s*=\s*([^\s;]*)", re.IGNORECASE)
DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")


def reading_codec(headers: Mapping[str, str]) -> Codec:
    """Return the codec that reads a body with these headers (names in lower case).

    Raises:
        UnsupportedMediaTypeError: the body is compressed, or its media type is not supported.
    """
    content_encoding = headers.get("content-encoding", "")
    if content_encoding.strip().lower() not in ("", "identity"):
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
    ranges = _ranges(accept)
    weights = {name: _weight(ranges, name) for name in CODECS}
    best = max(weights.values())
    if best <= 0:
        raise NotAcceptableError(
            "no acceptable media type", where="header/Accept", got=accept, expected=f"one of {list(CODECS)}"
        )
    preferred = [name for name, weight in weights.items() if weight == best]
    return reading if reading.media_type in preferred else CODECS[preferred[0]]


def _ranges(accept: str) -> dict[str, float]:
    """Return the quality of each media range, 0 to 1; ranges whose quality is not a number are left out."""
    ranges: dict[str, float] = {}
    for part in parse_http_list(accept):
        name, _, parameters = part.partition(";")
        quality = QUALITY.search(";" + parameters)
        if quality is None:
            ranges[name.strip().lower()] = 1.0
        elif DECIMAL.fullmatch(quality[1]):
            ranges[name.strip().lower()] = min(float(quality[1]), 1.0)
    return ranges


def _weight(ranges: Mapping[str, float], media_type: str) -> float:
    """Return the quality of a media type: that of the most specific range that matches (RFC 9110, 12.5.1)."""
    matching = (media_type, f"{media_type.split('/')[0]}/*", "*/*")
    return next((ranges[name] for name in matching if name in ranges), 0.0)
