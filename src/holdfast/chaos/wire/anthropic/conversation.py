"""System prompt and messages: what is in them, and what the API refuses about them."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from holdfast.chaos import signature
from holdfast.chaos.wire.anthropic import fields
from holdfast.chaos.wire.anthropic.write import ISSUER
from holdfast.chaos.wire.base import MESSAGE_TOKENS, PART_TOKENS, Media, text_tokens
from holdfast.chaos.wire.media import inline

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Prompt", "prompt_of"]

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_BLOCKS = frozenset((
    "advisor_tool_result", "bash_code_execution_tool_result", "code_execution_tool_result", "compaction",
    "container_upload", "document", "fallback", "image", "mcp_tool_listing", "mcp_tool_result", "mcp_tool_use",
    "redacted_thinking", "search_result", "server_tool_use", "text", "text_editor_code_execution_tool_result",
    "thinking", "tool_addition", "tool_reference", "tool_removal", "tool_result", "tool_search_tool_result", "tool_use",
    "web_fetch_tool_result", "web_search_tool_result",
))  # fmt: skip  # a list reads better packed
_MOST_MARKS = 4


class Prompt:
    """What was found in the conversation."""

    def __init__(self) -> None:
        self.tokens = 0
        self.last_user_text = ""
        self.media: list[Media] = []
        self._marks = 0

    def mark(self, block: dict[str, Any]) -> None:
        """Count a block's cache mark. Raises :class:`fields.Wrong` for one too many."""
        if block.get("cache_control") is not None:
            self._marks += 1
            if self._marks > _MOST_MARKS:
                raise fields.Wrong(
                    f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {self._marks}."
                )


def prompt_of(body: dict[str, Any]) -> Prompt:
    """System prompt and messages of ``body``. Raises :class:`fields.Wrong`."""
    prompt = Prompt()
    _system(body, prompt)
    if "messages" not in body:
        raise fields.Wrong("messages: Field required")
    messages = list(fields.items(body, "messages", ""))
    if not messages:
        raise fields.Wrong("messages: at least one message is required")
    for tool in fields.items(body, "tools", ""):
        prompt.mark(tool)
    contents = [_message(message, i, len(messages), prompt) for i, message in enumerate(messages)]
    _check_calls([str(message["role"]) for message in messages], contents)
    return prompt


def _system(body: dict[str, Any], prompt: Prompt) -> None:
    given = body.get("system")
    if given is None:
        return
    if isinstance(given, str):
        prompt.tokens += MESSAGE_TOKENS + text_tokens(given)
        return
    prompt.tokens += MESSAGE_TOKENS
    for i, block in enumerate(fields.items(body, "system", "")):
        if block.get("type") != "text":
            raise fields.Wrong(f"system.{i}.type: Input should be 'text'")
        prompt.mark(block)
        text = fields.text(block, "text", f"system.{i}.")
        if not text:
            raise fields.Wrong("system: text content blocks must be non-empty")
        prompt.tokens += text_tokens(text)


def _message(message: dict[str, Any], number: int, count: int, prompt: Prompt) -> list[dict[str, Any]]:
    path = f"messages.{number}."
    fields.only(message, ("role", "content"), path)
    role = fields.text(message, "role", path)
    if role not in ("user", "assistant", "system"):
        raise fields.Wrong(f"{path}role: Input should be 'user', 'assistant' or 'system'")
    if "content" not in message:
        raise fields.Wrong(f"{path}content: Field required")
    given = message["content"]
    last = number == count - 1
    if not given and not (last and role == "assistant") and isinstance(given, str | list):
        raise fields.Wrong(
            f"{path[:-1]}: all messages must have non-empty content except for the optional final assistant message"
        )
    if isinstance(given, str):
        blocks = [{"type": "text", "text": given}] if given else []
    else:
        blocks = list(fields.items(message, "content", path))
    prompt.tokens += MESSAGE_TOKENS
    said: list[str] = []
    for i, block in enumerate(blocks):
        _block(block, f"{path}content.{i}", role, prompt, said)
    if role == "user" and said:
        prompt.last_user_text = "".join(said)
    if last and role == "assistant" and said and said[-1] != said[-1].rstrip():
        raise fields.Wrong("messages: final assistant content cannot end with trailing whitespace")
    return blocks


def _block(block: dict[str, Any], path: str, role: str, prompt: Prompt, said: list[str]) -> None:
    kind = block.get("type")
    if kind is None:
        raise fields.Wrong(f"{path}.type: Field required")
    if not isinstance(kind, str) or kind not in _BLOCKS:
        tags = ", ".join(f"'{known}'" for known in sorted(_BLOCKS))
        raise fields.Wrong(
            f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
        )
    prompt.mark(block)
    match kind:
        case "text":
            text = fields.text(block, "text", f"{path}.text.")
            if not text:
                raise fields.Wrong("messages: text content blocks must be non-empty")
            prompt.tokens += text_tokens(text)
            said.append(text)
        case "image" | "document":
            prompt.tokens += PART_TOKENS
            prompt.media += _media(block, kind, f"{path}.{kind}.source.")
        case "thinking":
            _thought(block, path)
        case "redacted_thinking":
            if not signature.holds(
                f"{ISSUER} redacted", "", fields.text(block, "data", f"{path}.redacted_thinking.")
            ):
                raise fields.Wrong(f"{path}: Invalid `data` in `redacted_thinking` block")
        case "tool_use":
            _call(block, f"{path}.tool_use.", role)
        case "tool_result":
            _result(block, f"{path}.tool_result.", role, prompt)
        case _:
            prompt.tokens += PART_TOKENS


def _media(block: dict[str, Any], kind: str, path: str) -> Iterator[Media]:
    source = fields.table(block, "source", path.removesuffix("source."), required=True)
    match source.get("type"):
        case "base64":
            media_type = fields.text(source, "media_type", f"{path}base64.")
            if kind == "image" and media_type not in _IMAGES:
                raise fields.Wrong(
                    f"{path}base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
                )
            try:
                yield inline(kind, media_type, fields.text(source, "data", f"{path}base64."))
            except ValueError:
                raise fields.Wrong(f"{path}base64: invalid base64 data") from None
        case "url":
            yield Media(kind, fields.text(source, "url", f"{path}url.")[:200])
        case "file":
            yield Media(kind, fields.text(source, "file_id", f"{path}file."))
        case "text" | "content":
            yield Media(kind, "text/plain")
        case other:
            raise fields.Wrong(
                f"{path[:-1]}: Input tag {other!r} found using 'type' does not match any of the expected tags: "
                "'base64', 'file', 'url'"
            )


def _thought(block: dict[str, Any], path: str) -> None:
    thought = fields.text(block, "thinking", f"{path}.thinking.")
    if not signature.holds(ISSUER, thought, fields.text(block, "signature", f"{path}.thinking.")):
        raise fields.Wrong(f"{path}: Invalid `signature` in `thinking` block")


def _call(block: dict[str, Any], path: str, role: str) -> None:
    if role != "assistant":
        raise fields.Wrong(f"{path[:-10]}: `tool_use` blocks can only be in `assistant` messages")
    if not _ID.fullmatch(fields.text(block, "id", path)):
        raise fields.Wrong(f"{path}id: String should match pattern '^{_ID.pattern}$'")
    fields.text(block, "name", path)
    fields.table(block, "input", path, required=True)


def _result(block: dict[str, Any], path: str, role: str, prompt: Prompt) -> None:
    if role != "user":
        raise fields.Wrong(f"{path[:-13]}: `tool_result` blocks can only be in `user` messages")
    if not _ID.fullmatch(fields.text(block, "tool_use_id", path)):
        raise fields.Wrong(f"{path}tool_use_id: String should match pattern '^{_ID.pattern}$'")
    content = block.get("content")
    if isinstance(content, str):
        prompt.tokens += text_tokens(content)
        return
    for i, inner in enumerate(fields.items(block, "content", path)):
        match inner.get("type"):
            case "text":
                prompt.tokens += text_tokens(fields.text(inner, "text", f"{path}content.{i}.text."))
            case "image" | "document" as kind:
                prompt.tokens += PART_TOKENS
                prompt.media += _media(inner, kind, f"{path}content.{i}.{kind}.source.")
            case _:
                prompt.tokens += PART_TOKENS


def _check_calls(roles: list[str], contents: list[list[dict[str, Any]]]) -> None:
    """Each call is answered at once, in the turn after it, and each answer belongs to a call of the turn before.

    Messages of one role in a row are one turn.
    """
    called: set[str] = set()
    caller = 0
    for at, blocks in _turns(roles, contents):
        answered = _answered_first([block for _, block in blocks])
        for path, block in blocks:
            if block["type"] == "tool_result" and block["tool_use_id"] not in called:
                raise fields.Wrong(
                    f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {block['tool_use_id']}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
        _all_answered(called - answered, caller)
        calls = [str(block["id"]) for _, block in blocks if block["type"] == "tool_use"]
        if len(set(calls)) < len(calls):
            raise fields.Wrong(f"messages.{at}: `tool_use` ids must be unique")
        called, caller = set(calls), at
    _all_answered(called, caller)


def _answered_first(blocks: list[dict[str, Any]]) -> set[str]:
    """The calls that a turn answers before it says anything else; those it answers later don't count."""
    results = takewhile(lambda block: block["type"] == "tool_result", blocks)
    return {block["tool_use_id"] for block in results}


def _turns(
    roles: list[str], contents: list[list[dict[str, Any]]]
) -> list[tuple[int, list[tuple[str, dict[str, Any]]]]]:
    """The number of each turn's first message, and its blocks with their paths; system messages are none."""
    turns: list[tuple[int, list[tuple[str, dict[str, Any]]]]] = []
    before = ""
    for i, (role, blocks) in enumerate(zip(roles, contents, strict=True)):
        if role == "system":
            continue
        if role != before:
            turns.append((i, []))
        turns[-1][1].extend((f"messages.{i}.content.{j}", block) for j, block in enumerate(blocks))
        before = role
    return turns


def _all_answered(missing: set[str], caller: int) -> None:
    if missing:
        raise fields.Wrong(
            f"messages.{caller}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(sorted(missing))}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )
