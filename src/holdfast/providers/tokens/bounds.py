"""The most input tokens that a request can be billed, from its size alone.

Why it holds: a tokenizer over bytes gives no token for less than one byte of UTF-8, and each text of a request stands in
its body with at least as many bytes (JSON's escapes only lengthen). What a provider adds of its own isn't in the body: the
marks around a message, and the prompt that tells its model how to call tools. That is added from a table: the most that
was seen in bills, by half again and then some.

What it doesn't cover: whatever isn't in the body (file ids, URLs, caches, tools that the provider runs), which a
:class:`~holdfast.providers.tokens.count.Count` says with ``unseen``, and media, whose tokens have nothing to do with their
bytes: a picture of 70 bytes may be billed 258 tokens. Pictures within the body are named by ``images``.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["OVERHEADS", "UNKNOWN", "Overhead", "bound_input_tokens"]


class Overhead(msgspec.Struct, frozen=True, kw_only=True):
    """Most tokens that a provider adds to what is in the body."""

    request: int
    """To every request: marks at its ends, and a switch such as thinking, said in words."""
    message: int
    """To each message and each part that it marks: role, ends of turn, a call's or result's frame."""
    tools: int
    """Once, if there is a tool, or an output format that it teaches as one."""
    tool: int
    """To each tool."""
    image: int
    """All that an image is billed, whatever its size; one model bills more."""

    def of(self, *, tools: int, messages: int, images: int = 0) -> int:
        """All of it for a request."""
        added = self.request + self.message * messages + self.image * images
        return added + self.tools + self.tool * tools if tools else added


OVERHEADS: Final[dict[str, Overhead]] = {
    # Seen at most, of each: see the table in docs/tokens.md, and tests that hold it against every recording.
    "openai": Overhead(request=64, message=16, tools=256, tool=32, image=3_072),
    "anthropic": Overhead(request=512, message=32, tools=1_280, tool=64, image=5_120),
    "gemini": Overhead(request=64, message=32, tools=128, tool=64, image=6_400),
    "deepseek": Overhead(request=128, message=32, tools=640, tool=64, image=4_096),
}
"""By provider."""

UNKNOWN: Final = Overhead(
    **{name: max(getattr(row, name) for row in OVERHEADS.values()) for name in Overhead.__struct_fields__}
)
"""Of a provider that isn't here."""

_Terms = tuple[int, int, int, int, int]


def _terms(row: Overhead) -> _Terms:
    return row.request, row.message, row.tools, row.tool, row.image


_TERMS: Final = {name: _terms(row) for name, row in (*OVERHEADS.items(), ("azure", OVERHEADS["openai"]))}
_UNKNOWN_TERMS: Final = _terms(UNKNOWN)
_COSTLY_IMAGES: Final = "gpt-4o-mini"
_COSTLY_IMAGE: Final = 48_256
"""Of the one model that bills pictures in tokens at another model's price: 2,833 and 5,667 for each of up to 8 tiles."""


def bound_input_tokens(
    body_bytes: int, provider: str, model: str, *, tools: int, messages: int, images: int = 0
) -> int:
    """Most input tokens of a request of ``body_bytes`` with so many tools, messages and images in it.

    ``provider`` is the catalog's name of whoever bills; of anybody else (OpenRouter: any model) the most of all is taken.
    Tools include an output schema, messages include system prompts. Not for requests that refer to something outside (see
    above). Under a microsecond where there are no images.
    """
    request, message, once, tool, image = _TERMS.get(provider, _UNKNOWN_TERMS)
    added = request + message * messages
    if tools:
        added += once + tool * tools
    if images:
        added += images * (_COSTLY_IMAGE if _COSTLY_IMAGES in model.lower() else image)
    return body_bytes + added
