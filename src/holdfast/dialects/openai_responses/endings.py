"""How a Response ends (whole, cut short for a reason that it names, failed, or not yet), and what it counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.openai_errors import inner_refusal
from holdfast.model.usage import Usage

if TYPE_CHECKING:
    from holdfast.errors import ProviderError

__all__ = ["Response", "failure"]

_WHOLE: Final = ("completed", "complete")  # the second is what some compatible servers say


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Counted(msgspec.Struct, gc=False):
    """``usage`` on the wire."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def neutral(self) -> Usage | None:
        if self.input_tokens is None and self.output_tokens is None:
            return None
        given, made = self.input_tokens_details, self.output_tokens_details
        return Usage(
            input_tokens=self.input_tokens,
            cache_read_tokens=None if given is None else given.cached_tokens,
            cache_write_tokens=None if given is None else given.cache_write_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=None if made is None else made.reasoning_tokens,
        )


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class Response(msgspec.Struct, gc=False):
    """A response object without its output, as events carry it in full at its beginning and at its end."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    usage: _Counted | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None or self.status == "failed"

    @property
    def finish(self) -> str | None:
        """Why it ended. None: it hasn't (``queued``, ``in_progress``), was called off, or says nothing of it."""
        if self.status == "incomplete":
            reason = self.incomplete_details.reason if self.incomplete_details is not None else None
            return reason or "incomplete"
        return "completed" if self.status in _WHOLE else None

    @property
    def counted(self) -> Usage | None:
        return self.usage.neutral() if self.usage is not None else None


def failure(error: Any) -> ProviderError:
    """The typed meaning of an error that came with a 200.

    Its body is the error as an answer of an error status has it: what the caller got wrong is passed on under that status.
    """
    fields = error if isinstance(error, dict) else {"message": str(error or "the provider says no more")}
    return inner_refusal(fields, msgspec.json.encode({"error": fields}))
