"""Paths in a neutral request as its caller wrote them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from holdfast.dialects.gemini.config import CONFIG, SAMPLING
from holdfast.dialects.gemini.spelt import snake
from holdfast.dialects.gemini.tools import groups_of
from holdfast.model import Role, Tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.model import Request

__all__ = ["locate"]

_MESSAGE: Final = re.compile(r"messages\[(\d{1,9})\](?:\.parts\[(\d{1,9})\])?(.*)", re.DOTALL)
_TOOL: Final = re.compile(r"tools\[(\d{1,9})\](.*)", re.DOTALL)
_TOP: Final[Mapping[str, str]] = {
    "max_output_tokens": f"{CONFIG}.maxOutputTokens",
    "n": f"{CONFIG}.candidateCount",
    "output": f"{CONFIG}.responseMimeType",
    "reasoning": f"{CONFIG}.thinkingConfig",
    "reasoning.budget_tokens": f"{CONFIG}.thinkingConfig.thinkingBudget",
    "reasoning.effort": f"{CONFIG}.thinkingConfig.thinkingLevel",
    "stop": f"{CONFIG}.stopSequences",
    "tool_choice": "toolConfig.functionCallingConfig",
} | {f"sampling.{ours}": f"{CONFIG}.{theirs}" for ours, (theirs, _) in SAMPLING.items()}
_NAMES: Final = re.compile(r"[A-Za-z]+")


def locate(request: Request, path: str) -> str:
    """``path`` (``messages[2].parts[0]``) as the caller of ``request`` wrote it (``contents[1].parts[0]``)."""
    known = set(request.spelling.get("snake_case", "").split())
    written = _written(request, path)
    if not known:
        return written
    spelt = {place.rpartition(".")[2] for place in known}
    return _NAMES.sub(lambda found: snake(found[0]) if found[0] in spelt else found[0], written)


def _written(request: Request, path: str) -> str:
    if found := _MESSAGE.fullmatch(path):
        at, within, rest = int(found[1]), found[2], found[3]
        part = "" if within is None else f".parts[{within}]"
        if at >= len(request.messages):
            return path
        if request.messages[at].role in (Role.SYSTEM, Role.DEVELOPER):
            return f"systemInstruction{part}{rest}"
        systems = sum(each.role in (Role.SYSTEM, Role.DEVELOPER) for each in request.messages[:at])
        return f"contents[{at - systems}]{part}{rest}"
    if found := _TOOL.fullmatch(path):
        return _tool(request, int(found[1]), found[2])
    return _TOP.get(path, path)


def _tool(request: Request, at: int, rest: str) -> str:
    """Where the tool number ``at`` stands: an item of ``tools`` may hold several functions, and one tool more."""
    if at >= len(request.tools):
        return f"tools[{at}]{rest}"
    before = 0
    for item, size in enumerate(groups_of(request.tools, request.spelling)):
        if at < before + size:
            function = isinstance(request.tools[at], Tool)
            return f"tools[{item}]" + (f".functionDeclarations[{at - before}]" if function else "") + rest
        before += size
    return f"tools[{at}]{rest}"
