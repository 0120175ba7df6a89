"""Every dialect that is translated: its codec, and the table of where its fields go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.dialects.anthropic import fields as anthropic
from holdfast.dialects.anthropic.codec import AnthropicCodec
from holdfast.dialects.gemini import fields as gemini
from holdfast.dialects.gemini.codec import GeminiCodec
from holdfast.dialects.openai_chat import fields as openai_chat
from holdfast.dialects.openai_chat.codec import OpenAIChatCodec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.codec import DialectCodec
    from holdfast.dialects.fields import Table

SPEAKERS: Mapping[str, tuple[DialectCodec, Table]] = {
    "openai_chat": (OpenAIChatCodec(), openai_chat.FIELDS),
    "anthropic": (AnthropicCodec(), anthropic.FIELDS),
    "gemini": (GeminiCodec(), gemini.FIELDS),
}
