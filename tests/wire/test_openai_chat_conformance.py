"""The Chat Completions codec keeps every promise of a codec."""

from __future__ import annotations

from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.testing.conformance import run_dialect_conformance


def test_openai_chat_conforms() -> None:
    run_dialect_conformance(OpenAIChatCodec())
