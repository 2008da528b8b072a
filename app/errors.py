"""The server's errors, and the one table from an error to its HTTP status and problem type (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hydrofill.errors import (
    ContractError,
    CoordinateError,
    NothingObservedError,
    StructureError,
    UnitsError,
    UnknownVariableError,
    UnreadableError,
    ValueRangeError,
)


class UnknownBundleError(ContractError):
    """A bundle that is not loaded."""

    title = "No such bundle"


class AmbiguousBundleError(ContractError):
    """Several bundles could answer, or none suits the data by itself."""

    title = "The bundle must be named"


class TooLargeError(ContractError):
    """A body over a limit, as sent or as it would be decoded."""

    title = "The body is too large"


class UnsupportedMediaTypeError(ContractError):
    """A body in a form that is not read."""

    title = "The media type is not supported"


class NotAcceptableError(ContractError):
    """A reply in a form that is not written."""

    title = "No acceptable media type"


class ParameterError(ContractError):
    """A query parameter with an impossible value."""

    title = "A query parameter is wrong"


class RetryLaterError(ContractError):
    """What can be had later: `retry_after_s` seconds from now, by what is known."""

    def __init__(self, problem: str, *, retry_after_s: float) -> None:
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class BusyError(RetryLaterError):
    """A server that has too much to do."""

    title = "Too busy"


class QuotaError(RetryLaterError):
    """A client that asks too often."""

    title = "The key's quota is used up"


class KeyMissingError(ContractError):
    """A request without a key, where one is needed."""

    title = "A key is needed"


class KeyRefusedError(ContractError):
    """A key that is nobody's."""

    title = "The key is refused"


class BodyTimeoutError(ContractError):
    """A body that comes too slowly."""

    title = "The body took too long"


class DeadlineError(ContractError):
    """A request that was not answered in time."""

    title = "The deadline has passed"


class ClientGoneError(ContractError):
    """A client that did not wait; it sees none of this, but log and metrics do."""

    title = "The client has gone"


class NotReadyError(ContractError):
    """A server that is up but cannot answer yet."""

    title = "Not ready"


@dataclass(frozen=True)
class Problem:
    """Status and type of one kind of error; `slug` ends the type's URI."""

    status: int
    slug: str


PROBLEMS: Mapping[type[ContractError], Problem] = {
    UnreadableError: Problem(400, "unreadable"),
    KeyMissingError: Problem(401, "key-missing"),
    KeyRefusedError: Problem(403, "key-refused"),
    UnknownBundleError: Problem(404, "unknown-bundle"),
    NotAcceptableError: Problem(406, "not-acceptable"),
    BodyTimeoutError: Problem(408, "body-timeout"),
    TooLargeError: Problem(413, "too-large"),
    UnsupportedMediaTypeError: Problem(415, "unsupported-media-type"),
    StructureError: Problem(422, "structure"),
    CoordinateError: Problem(422, "coordinate"),
    UnitsError: Problem(422, "units"),
    ValueRangeError: Problem(422, "value-range"),
    UnknownVariableError: Problem(422, "unknown-variable"),
    NothingObservedError: Problem(422, "nothing-observed"),
    AmbiguousBundleError: Problem(422, "ambiguous-bundle"),
    ParameterError: Problem(422, "parameter"),
    QuotaError: Problem(429, "quota"),
    ClientGoneError: Problem(499, "client-gone"),
    NotReadyError: Problem(503, "not-ready"),
    BusyError: Problem(503, "busy"),
    DeadlineError: Problem(504, "deadline"),
}
