"""What Azure's content filters tell: of the prompt, of each choice, and in the error for a prompt that is refused."""

from __future__ import annotations

from typing import Any

__all__ = ["DELTA", "PROMPT", "at_end", "of_whole", "refusal"]

_SAFE = {"filtered": False, "severity": "safe"}
_UNDETECTED = {"detected": False, "filtered": False}
_FOUND = {"filtered": True, "severity": "high"}

DELTA = dict.fromkeys(("hate", "self_harm", "sexual", "violence"), _SAFE)
"""Of a piece of a stream."""
PROMPT = [{"prompt_index": 0, "content_filter_results": {**DELTA, "jailbreak": _UNDETECTED}}]
_MATERIAL = dict.fromkeys(("protected_material_code", "protected_material_text"), _UNDETECTED)
_STOPS = "content_filter"
_MESSAGE = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify "
    "your prompt and retry. To learn more about our content filtering policies please read our documentation: "
    "https://go.microsoft.com/fwlink/?linkid=2198766"
)


def at_end(reason: str) -> dict[str, Any]:
    """Of a stream's last event, which says no more unless the filter ended it."""
    return {**DELTA, "violence": _FOUND} if reason == _STOPS else {}


def of_whole(reason: str) -> dict[str, Any]:
    """Of a whole choice."""
    return {**DELTA, **_MATERIAL, **at_end(reason)}


def refusal(status: int, message: str | None) -> dict[str, Any]:
    """The error for a prompt that the filter stopped."""
    found = {**DELTA, "violence": _FOUND, "jailbreak": _UNDETECTED}
    return {
        "message": _MESSAGE if message is None else message,
        "type": None,
        "param": "prompt",
        "code": _STOPS,
        "status": status,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found},
    }
