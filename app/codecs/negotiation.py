"""Which codec reads a body and which writes the reply, by Content-Type and Accept."""

from __future__ import annotations

from collections.abc import Mapping

from app.codecs import json, netcdf, npz
from app.codecs.base import Codec
from app.errors import NotAcceptableError, UnsupportedMediaTypeError

CODECS: Mapping[str, Codec] = {codec.media_type: codec for codec in (json.CODEC, netcdf.CODEC, npz.CODEC)}


def reading_codec(content_type: str | None, content_encoding: str | None) -> Codec:
    """The codec that reads such a body.

    Raises:
        UnsupportedMediaTypeError: there is none; names what was sent and what is read.
    """
    if content_encoding not in (None, "", "identity"):
        raise UnsupportedMediaTypeError(
            "a compressed body is not read", where="header/Content-Encoding", got=content_encoding
        )
    media_type = (content_type or "").split(";")[0].strip().lower()
    if media_type not in CODECS:
        raise UnsupportedMediaTypeError(
            "the body's form is not read",
            where="header/Content-Type",
            got=media_type or "none",
            expected=f"one of {list(CODECS)}",
        )
    return CODECS[media_type]


def writing_codec(accept: str | None, sent: Codec) -> Codec:
    """The codec that writes what the client likes best; as `sent` where it does not mind.

    Raises:
        NotAcceptableError: it accepts nothing that can be written.
    """
    if not accept:
        return sent
    weights = {name: _weight(accept, name) for name in CODECS}
    best = max(weights.values())
    if best <= 0:
        raise NotAcceptableError(
            "no such reply is written", where="header/Accept", got=accept, expected=f"one of {list(CODECS)}"
        )
    liked = [name for name, weight in weights.items() if weight == best]
    return sent if sent.media_type in liked else CODECS[liked[0]]


def _weight(accept: str, media_type: str) -> float:
    """The quality of a media type, 0 to 1: the most specific range that covers it decides (RFC 9110, 12.5.1)."""
    ranges = {"*/*": 0, f"{media_type.split('/')[0]}/*": 1, media_type: 2}
    best, liking = -1, 0.0
    for part in accept.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if ranges.get(name, -1) > best:
            best, liking = ranges[name], _quality(parameters)
    return liking


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
