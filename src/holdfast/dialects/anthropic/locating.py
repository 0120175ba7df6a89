"""Paths in a neutral request as its caller wrote them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from holdfast.dialects.anthropic.messages import CONTENT, leading_prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.model import Request

__all__ = ["locate"]

_IN_MESSAGE: Final = re.compile(r"messages\[(\d{1,9})\](?:\.parts\[(\d{1,9})\])?(.*)", re.DOTALL)
_TOP: Final[Mapping[str, str]] = {
    "cache": "cache_control",
    "max_output_tokens": "max_tokens",
    "output": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning": "thinking",
    "reasoning.budget_tokens": "thinking.budget_tokens",
    "reasoning.effort": "output_config.effort",
    "reasoning.enabled": "thinking.type",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
}


def locate(request: Request, path: str) -> str:
    """``path`` (``messages[2].parts[0]``) as the caller of ``request`` wrote it (``messages[1].content[0]``)."""
    found = _IN_MESSAGE.fullmatch(path)
    if found is None:
        return _TOP.get(path, path.removeprefix("sampling."))
    at, rest = int(found[1]), found[3].replace(".parts[", ".content[")
    start = leading_prompts(request.messages)
    within = "" if found[2] is None else f"[{found[2]}]"
    if at < len(request.messages) and CONTENT in request.messages[at].spelling:
        within = ""  # a string: there is nothing within it
    if at < start:
        return f"system{within}{rest}"
    content = f".content{within}" if found[2] is not None else ""
    return f"messages[{at - start}]{content}{rest}"
