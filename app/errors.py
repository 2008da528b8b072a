"""The server's errors, and the one table from each error to its HTTP status and problem type (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydrofill.errors import (
    ContractError,
    CoordinateError,
    NothingObservedError,
    OptionError,
    StructureError,
    UnitsError,
    UnknownVariableError,
    UnreadableError,
    ValueRangeError,
)


class UnknownBundleError(ContractError):
    """The named bundle is not loaded."""

    title = "No such bundle"


class AmbiguousBundleError(ContractError):
    """Several bundles suit the data, or none does, and the request names none."""

    title = "The bundle must be named"


class TooLargeError(ContractError):
    """The body exceeds a limit: as sent, once decoded, or in the time that it would take."""

    title = "The body is too large"


class UnsupportedMediaTypeError(ContractError):
    """The body's media type or encoding is not supported."""

    title = "The media type is not supported"


class NotAcceptableError(ContractError):
    """The client accepts no supported media type."""

    title = "No acceptable media type"


RESTART_RETRY_S = 5.0  # of a server that shuts down: by then another instance answers, or this one has restarted


class RetryLaterError(ContractError):
    """The request may succeed later, about `retry_after_s` seconds from now."""

    def __init__(self, problem: str, *, retry_after_s: float) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class BusyError(RetryLaterError):
    """The server has too much to do, or is shutting down."""

    title = "Too busy"


class QuotaError(RetryLaterError):
    """The client has sent too many requests per minute."""

    title = "The quota of the API key is used up"


class CrowdedError(RetryLaterError):
    """The client has too many connections."""

    title = "Too many connections"


class HostError(ContractError):
    """The request is for a host that this server is not."""

    title = "The host is not served here"


class OriginError(ContractError):
    """The request comes from a page of another site."""

    title = "The page is of another site"


class KeyMissingError(ContractError):
    """The request has no API key, but the server needs one."""

    title = "An API key is needed"


class KeyRefusedError(ContractError):
    """The API key is unknown."""

    title = "The API key is unknown"


class BodyTimeoutError(ContractError):
    """The body was not received in time."""

    title = "The body took too long"


class DeadlineError(ContractError):
    """The request was not finished in time."""

    title = "The deadline has passed"


class ClientGoneError(ContractError):
    """The client disconnected; only the log and the metrics see this error."""

    title = "The client closed the connection"


class NotReadyError(ContractError):
    """The server is running but cannot answer yet, or no longer."""

    title = "Not ready"


@dataclass(frozen=True)
class Problem:
    """HTTP status and problem type of one kind of error; `slug` ends the type's URI."""

    status: int
    slug: str


PROBLEMS: Mapping[type[ContractError], Problem] = {
    UnreadableError: Problem(400, "unreadable"),
    KeyMissingError: Problem(401, "key-missing"),
    KeyRefusedError: Problem(403, "key-refused"),
    OriginError: Problem(403, "origin"),
    UnknownBundleError: Problem(404, "unknown-bundle"),
    NotAcceptableError: Problem(406, "not-acceptable"),
    BodyTimeoutError: Problem(408, "body-timeout"),
    TooLargeError: Problem(413, "too-large"),
    UnsupportedMediaTypeError: Problem(415, "unsupported-media-type"),
    HostError: Problem(421, "host"),
    StructureError: Problem(422, "structure"),
    CoordinateError: Problem(422, "coordinate"),
    UnitsError: Problem(422, "units"),
    ValueRangeError: Problem(422, "value-range"),
    UnknownVariableError: Problem(422, "unknown-variable"),
    NothingObservedError: Problem(422, "nothing-observed"),
    AmbiguousBundleError: Problem(422, "ambiguous-bundle"),
    OptionError: Problem(422, "parameter"),
    CrowdedError: Problem(429, "connections"),
    QuotaError: Problem(429, "quota"),
    ClientGoneError: Problem(499, "client-gone"),
    NotReadyError: Problem(503, "not-ready"),
    BusyError: Problem(503, "busy"),
    DeadlineError: Problem(504, "deadline"),
}
