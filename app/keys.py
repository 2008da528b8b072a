"""API keys: a file names each client, the SHA-256 of its key, and how many requests per minute the client may send.

The file never holds a key. A key is 32 random bytes, so a plain hash is safe: such a key cannot be guessed.
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
    """A client's name, the SHA-256 of its key in hexadecimal, and its requests per minute (None: no limit)."""

    client: str
    sha256: str
    requests_per_minute: int | None


@dataclass
class _Bucket:
    """Token bucket: the requests that a client may still send, refilled evenly."""

    remaining: float
    updated_s: float


@dataclass
class Keys:
    """The keys of all clients, and their quotas."""

    keys: Sequence[Key]
    now_s: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def client(self, headers: Mapping[str, str]) -> str:
        """Return the client whose key is in the headers: `Authorization: Bearer KEY` or `X-API-Key: KEY`.

        Raises:
            KeyMissingError: the headers hold no key.
            KeyRefusedError: the key is unknown.
            QuotaError: the client has used up its requests per minute.
        """
        given = headers.get("x-api-key", "")
        authorization = headers.get("authorization", "")
        if not given and authorization.lower().startswith(SCHEME):
            given = authorization[len(SCHEME) :].strip()
        if not given:
            raise KeyMissingError("an API key is needed", where="header/Authorization", expected="Bearer KEY")
        found = None
        digest = hashlib.sha256(given.encode()).hexdigest()
        for key in self.keys:  # compare with every key: the time must not reveal a match
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None:
            raise KeyRefusedError("the key is unknown", where="header/Authorization")
        self._count(found)
        return found.client

    def _count(self, key: Key) -> None:
        if key.requests_per_minute is None:
            return
        now = self.now_s()
        bucket = self._buckets.setdefault(key.client, _Bucket(key.requests_per_minute, now))
        refill = (now - bucket.updated_s) * key.requests_per_minute / MINUTE_S
        bucket.remaining = min(key.requests_per_minute, bucket.remaining + refill)
        bucket.updated_s = now
        if bucket.remaining < 1:
            wait_s = (1 - bucket.remaining) * MINUTE_S / key.requests_per_minute
            raise QuotaError(f"more than {key.requests_per_minute} requests per minute", retry_after_s=wait_s)
        bucket.remaining -= 1


def read_keys(path: Path) -> Keys:
    """Read the keys from a file of lines `client:sha256` or `client:sha256:requests_per_minute`; # starts a comment.

    Raises:
        SettingsError: the file cannot be read, holds no key, or has a wrong line; names the line's number, not its
            text.
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
            raise SettingsError(f"HYDROFILL_KEYS_FILE: line {number} is wrong, or names a client for the second time")
        keys.append(Key(match[1], match[2], int(match[3]) if match[3] else None))
    if not keys:
        raise SettingsError(f"HYDROFILL_KEYS_FILE: {path} holds no key")
    return Keys(keys)


def make_key() -> tuple[str, str]:
    """Return a new key, and its SHA-256 for the file."""
    key = secrets.token_urlsafe(KEY_BYTES)
    return key, hashlib.sha256(key.encode()).hexdigest()
