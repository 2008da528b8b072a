"""Errors about the data or the bundle; each names the place, what was found and what was expected."""

from __future__ import annotations

from typing import Self


class ContractError(ValueError):
    """Base class of all errors about the input: data that cannot be filled, or a bundle that cannot be used.

    problem: what is wrong. where: the variable, coordinate or file, or parts of a path such as `sites/0/y`; "" for the
    whole input. got: what was found. expected: what is needed. `title` says in a few words what kind of error it is.
    """

    title = "The input is not valid"

    def __init__(self, problem: str, *, where: str = "", got: object = None, expected: object = None) -> None:
        self.problem = problem
        self.where = where
        self.got = got
        self.expected = expected
        super().__init__(problem, where, got, expected)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        clauses = [
            f"{label} {value}" for label, value in (("got", self.got), ("expected", self.expected)) if value is not None
        ]
        return f"{text} ({'; '.join(clauses)})" if clauses else text

    def at(self, where: str) -> Self:
        """Return the same error with another `where`."""
        return type(self)(self.problem, where=where, got=self.got, expected=self.expected)

    @property
    def pointer(self) -> str:
        """`where` as a JSON pointer (RFC 6901) into the request; "" for the whole request."""
        return "".join("/" + part.replace("~", "~0") for part in self.where.split("/") if part)


class UnreadableError(ContractError):
    """Raised when a file or a request body is damaged or is not of the stated format."""

    title = "The body cannot be read"


class StructureError(ContractError):
    """Raised when dimensions, shapes, types or names are wrong or do not match each other."""

    title = "Wrong dimensions, shape or type"


class CoordinateError(ContractError):
    """Raised when a coordinate of time or place is missing, not finite, not ordered, or does not suit the model."""

    title = "Invalid coordinate"


class UnitsError(ContractError):
    """Raised when units are missing, not valid, or cannot be converted to the model's."""

    title = "Units cannot be converted"


class ValueRangeError(ContractError):
    """Raised when a value is infinite or outside the bounds of its variable."""

    title = "Value out of range"


class UnknownVariableError(ContractError):
    """Raised when a named variable is not in the bundle or not in the data, or when they share no variable."""

    title = "Unknown variable"


class NothingObservedError(ContractError):
    """Raised when all values are missing, so that there is nothing to fill from."""

    title = "All values are missing"


class OptionError(ContractError):
    """Raised when an option has a value that is not possible, or that does not suit the data; `where` is the option."""

    title = "An option is wrong"


class BundleError(ContractError):
    """Raised when a bundle is missing, incomplete, altered or of another schema, or when its graphs do not work."""

    title = "The bundle cannot be used"


class ProviderError(ValueError):
    """Raised when the requested provider is not available or does not start; the message is one line."""


class WorkersLostError(RuntimeError):
    """Raised when a worker process ended; the blocks that are complete are kept. The message is one line."""
