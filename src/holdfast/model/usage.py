"""What a provider says it counted, in one shape for all of them."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Usage"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of one answer, as the provider billed them. ``None`` means: it didn't say.

    ``input_tokens`` and ``output_tokens`` are totals and contain the kinds below them: cached and written-to-cache
    tokens are input, reasoning tokens are output. (Anthropic reports cached input beside the rest; its dialect adds them.)
    """

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    """Of ``cache_write_tokens`` those that are kept for an hour, which cost more."""
    input_audio_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    output_audio_tokens: int | None = None
    extra: dict[str, Any] = {}  # msgspec copies an empty mutable default for each instance
    """What this dialect alone says, under its own names and nesting."""
