"""Writing values of any dialect: whose signatures are written how, and what only this dialect's own requests may say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.signatures import mark
from holdfast.dialects.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.writing import Drops

__all__ = ["AnthropicWriter", "opaque_name"]


class AnthropicWriter(Writer):
    """A writer that knows where the value came from, and whether it is asked or answered.

    Args:
        origin: the dialect that the request or answer was read in; None where it was built by hand.
        answered: an answer has to arrive, so what can't be said there is left out; in a request it is refused.
        drops: what may be left out of a request nevertheless.
    """

    __slots__ = ("answered", "origin", "same")

    def __init__(self, origin: str | None, *, answered: bool, drops: Drops | None = None) -> None:
        super().__init__(DIALECT, origin, strict=not answered, drops=drops)
        self.origin = origin
        self.answered = answered
        self.same = origin == DIALECT
        """Whether it was read in this dialect, so that every odd thing in it has been said here before."""

    def issuer(self, signed_by: str | None) -> str:
        """The dialect whose provider signed; what was built by hand is meant for whoever gets it."""
        return signed_by or self.origin or DIALECT

    def foreign(self, signed_by: str | None) -> bool:
        return self.issuer(signed_by) != DIALECT

    def proof(self, proof: str, signed_by: str | None) -> str:
        """A signature or encrypted thought as it is written, marked with its issuer where that is another."""
        return mark(proof, self.issuer(signed_by), DIALECT)


def opaque_name(data: Mapping[str, Any]) -> str:
    """What another dialect calls a block that only it knows: its type, else its first field."""
    kind = data.get("type")
    return kind if isinstance(kind, str) else next(iter(data), "")
