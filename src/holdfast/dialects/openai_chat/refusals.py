"""What an error of Chat Completions means: as everything of OpenAI's says it."""

from __future__ import annotations

from holdfast.dialects.openai_errors import inner_refusal, refusal

__all__ = ["inner_refusal", "refusal"]
