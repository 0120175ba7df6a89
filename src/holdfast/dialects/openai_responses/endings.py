"""How a Response ends (whole, cut short for a reason that it names, failed, or not yet), and what it counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.counted import counted
from holdfast.dialects.openai_errors import inner_refusal
from holdfast.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.dialects.reading import Fields
    from holdfast.errors import ProviderError

__all__ = ["Response", "Streamed", "failure"]

_INPUT, _OUTPUT = "input_tokens_details", "output_tokens_details"
_SEARCH: Final = "web_search_call"
_WHOLE: Final = ("completed", "complete")  # the second is what some compatible servers say


def _read(usage: Fields) -> Usage:
    given, made = usage.integer("input_tokens"), usage.integer("output_tokens")
    cached = written = reasoned = None
    if (details := usage.fields(_INPUT)) is not None:
        cached, written = details.integer("cached_tokens"), details.integer("cache_write_tokens")
        usage.keep(_INPUT, details)
    if (details := usage.fields(_OUTPUT)) is not None:
        reasoned = details.integer("reasoning_tokens")
        usage.keep(_OUTPUT, details)
    if given is not None and made is not None and usage.left.get("total_tokens") == given + made:
        usage.take("total_tokens")
    return Usage(
        input_tokens=given,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=made,
        reasoning_tokens=reasoned,
        extra=usage.left,
    )


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class Response(msgspec.Struct, gc=False):
    """A response object without its output, as events carry it in full at its beginning and at its end."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    usage: Any = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    service_tier: Any = None

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
    def kinds(self) -> Iterable[Any]:
        """The types of the items of its output, as far as they were read."""
        return ()

    @property
    def counted(self) -> Usage | None:
        """What was counted. Searches are billed, and counted nowhere but in the output."""
        usage = counted(self.usage, _read)
        if usage is None:
            return None
        more = dict(usage.extra)
        if self.service_tier is not None:  # beside usage on this wire, and has a price
            more["service_tier"] = self.service_tier
        searches = sum(kind == _SEARCH for kind in self.kinds)
        if searches:
            more["web_search_calls"] = searches
        return msgspec.structs.replace(usage, extra=more)


class _Item(msgspec.Struct, gc=False):
    type: Any = None


class Streamed(Response, gc=False):
    """A response object with its output's kinds."""

    output: list[_Item] | None = None

    @property
    def kinds(self) -> Iterable[Any]:
        return (item.type for item in self.output or ())


def failure(error: Any) -> ProviderError:
    """The typed meaning of an error that came with a 200.

    Its body is the error as an answer of an error status has it: what the caller got wrong is passed on under that status.
    """
    fields = error if isinstance(error, dict) else {"message": str(error or "the provider says no more")}
    return inner_refusal(fields, msgspec.json.encode({"error": fields}))
