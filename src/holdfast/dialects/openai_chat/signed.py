"""Where this dialect keeps signatures, and how to tell whose they are.

A thought's signature stands in its detail; OpenRouter names the issuer beside it, in ``format``. A tool call's stands in the
call's ``extra_content.google.thought_signature``, as Google's own endpoint of this dialect has it, and a text's in the same
field of the message (the first text's, where several are signed: it has room for one). Signatures of other providers carry a
mark (:mod:`holdfast.dialects.signatures`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.signatures import unmark

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["issuer_of", "place", "take", "whose"]

_PLACE: Final = ("extra_content", "google", "thought_signature")
_FORMATS: Final[Mapping[str, str]] = {
    "anthropic-claude-v1": "anthropic",
    "google-gemini-v1": "gemini",
    "openai-responses-v1": "openai_responses",
}


def issuer_of(format_: Any) -> str | None:
    """The dialect of the issuer that OpenRouter's ``format`` names; None where it names none that is known here."""
    return _FORMATS.get(format_) if isinstance(format_, str) else None


def whose(signature: str, format_: Any = None) -> tuple[str, str | None]:
    """A signature in a request: itself without its mark, and its issuer (None: this dialect)."""
    plain, issuer = unmark(signature, DIALECT)
    return (plain, issuer) if issuer != DIALECT else (signature, issuer_of(format_))


def place(signature: str) -> dict[str, Any]:
    """The field of a call or message that holds ``signature``."""
    outer, inner, name = _PLACE
    return {outer: {inner: {name: signature}}}


def take(left: dict[str, Any]) -> str | None:
    """The signature that a call or message holds, taken from ``left``; what stands beside it stays."""
    outer, inner, name = _PLACE
    content = left.get(outer)
    google = content.get(inner) if isinstance(content, dict) else None
    signature = google.get(name) if isinstance(google, dict) else None
    if not (isinstance(content, dict) and isinstance(google, dict) and isinstance(signature, str)):
        return None
    beside = {key: value for key, value in google.items() if key != name}
    around = {key: value for key, value in content.items() if key != inner}
    if beside:
        around[inner] = beside
    if around:
        left[outer] = around
    else:
        del left[outer]
    return signature
