"""API keys: a mounted file names each client, the SHA-256 of its key, and how many requests a minute it may make.

A key is 32 random bytes, so that a plain hash keeps it: there is nothing to guess. The file never holds a key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import KeyMissingError, KeyRefusedError, QuotaError
from app.settings import SettingsError

LINE = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-f]{64})(?::(\d{1,6}))?")
KEY_BYTES = 32
SCHEME = "bearer "
MINUTE_S = 60.0


@dataclass(frozen=True)
class Key:
    """A client's name, the SHA-256 of its key in hexadecimal, and its requests a minute (None: any number)."""

    client: str
    sha256: str
    requests_per_minute: int | None


@dataclass
class _Bucket:
    """Requests that a client may still make now, refilled evenly."""

    left: float
    at_s: float


@dataclass
class Keys:
    """Who may use the server."""

    keys: Sequence[Key]
    now_s: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def client(self, headers: Mapping[str, str]) -> str:
        """The client whose key the headers hold: `Authorization: Bearer KEY`, or `X-API-Key: KEY`.

        Raises:
            KeyMissingError: they hold none. KeyRefusedError: nobody's. QuotaError: too many requests with it.
        """
        given = headers.get("x-api-key", "")
        authorization = headers.get("authorization", "")
        if not given and authorization.lower().startswith(SCHEME):
            given = authorization[len(SCHEME) :].strip()
        if not given:
            raise KeyMissingError("a key is needed", where="header/Authorization", expected="Bearer and a key")
        found = None
        digest = hashlib.sha256(given.encode()).hexdigest()
        for key in self.keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None:
            raise KeyRefusedError("the key is not known here", where="header/Authorization")
        self._count(found)
        return found.client

    def _count(self, key: Key) -> None:
        if key.requests_per_minute is None:
            return
        now = self.now_s()
        bucket = self._buckets.setdefault(key.client, _Bucket(key.requests_per_minute, now))
        bucket.left = min(
            key.requests_per_minute, bucket.left + (now - bucket.at_s) * key.requests_per_minute / MINUTE_S
        )
        bucket.at_s = now
        if bucket.left < 1:
            wait_s = (1 - bucket.left) * MINUTE_S / key.requests_per_minute
            raise QuotaError(f"more than {key.requests_per_minute} requests a minute", retry_after_s=wait_s)
        bucket.left -= 1


def read_keys(path: Path) -> Keys:
    """The keys in a file of lines `client:sha256` or `client:sha256:requests_a_minute`; # begins a comment.

    Raises:
        SettingsError: it cannot be read, holds no key, or a line is wrong; tells the line's number, not its text.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"HYDROFILL_KEYS_FILE: {path} cannot be read") from error
    keys: list[Key] = []
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        match = LINE.fullmatch(text)
        if match is None or match[3] == "0" or any(key.client == match[1] for key in keys):
            raise SettingsError(f"HYDROFILL_KEYS_FILE: line {number} is wrong, or its client is there twice")
        keys.append(Key(match[1], match[2], int(match[3]) if match[3] else None))
    if not keys:
        raise SettingsError(f"HYDROFILL_KEYS_FILE: {path} holds no key")
    return Keys(keys)


def make_key() -> tuple[str, str]:
    """A new key, and its SHA-256 for the file."""
    key = secrets.token_urlsafe(KEY_BYTES)
    return key, hashlib.sha256(key.encode()).hexdigest()
