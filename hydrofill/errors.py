"""What can be wrong with data or a bundle, said so that a person can act on it."""

from __future__ import annotations

from typing import Self


class ContractError(ValueError):
    """Input that breaks the contract: where, what is wrong, what was got and what was expected.

    `pointer` is a JSON pointer (RFC 6901) into the request, or "" for the whole of it.
    """

    title = "The input breaks the contract"

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
        """The same error, said of another place."""
        return type(self)(self.problem, where=where, got=self.got, expected=self.expected)

    @property
    def pointer(self) -> str:
        """`where` as a JSON pointer."""
        return "".join("/" + part.replace("~", "~0") for part in self.where.split("/") if part)


class UnreadableError(ContractError):
    """Bytes that are not what they claim to be."""

    title = "The body cannot be read"


class StructureError(ContractError):
    """Dimensions, shapes or types that do not fit together."""

    title = "Dimensions or types do not fit"


class CoordinateError(ContractError):
    """Time or place that is absent, not finite, not ordered, or not on the model's terms."""

    title = "A coordinate is wrong"


class UnitsError(ContractError):
    """Units that are absent or cannot become the model's."""

    title = "Units do not convert"


class ValueRangeError(ContractError):
    """Values that cannot be physical: infinite, or beyond the variable's bounds."""

    title = "A value is not possible"


class UnknownVariableError(ContractError):
    """A variable that the model or the dataset does not know."""

    title = "Unknown variable"


class NothingObservedError(ContractError):
    """No value at all to fill from."""

    title = "Nothing is observed"


class BundleError(ContractError):
    """A bundle that is incomplete, altered or of another schema."""

    title = "The bundle is refused"
