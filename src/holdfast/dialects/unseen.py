"""What of a request can't be seen in its body: files by id, pages by URL, caches, tools that the provider runs itself.

How many tokens such things are is known to the provider alone. The bytes are looked through first, which takes little time
and finds nothing in nearly every request. What looks like something is then read, since the same names stand in the
arguments of a tool that fetches pages, or in a schema's properties, where they are text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["unseen"]

_FIELDS: Final = (
    "cachedContent",
    "cached_content",
    "container",
    "conversation",
    "mcp_servers",
    "plugins",
    "previous_response_id",
    "prompt",
    "search_parameters",
    "web_search_options",
)
"""Top-level fields that stand for something that is kept, or found, elsewhere."""
_READS_MORE: Final = re.compile(rb'"mode"\s*:\s*"pro"')
"""OpenAI's mode in which its model reads several times what it was sent."""
_EMPTY: Final = frozenset((b"null", b"[]", b"{}", b'""'))
_SEEN_IN: Final = ("messages", "contents", "input", "system", "systemInstruction", "system_instruction")

_HIDDEN: Final = frozenset(("file_id", "file_data", "file_uri", "fileUri", "input_audio"))
"""Names of what stands elsewhere, or is media that no byte tells the length of."""
_ADDRESSES: Final = frozenset(("url", "image_url", "file_url", "uri"))
_IMAGE: Final = "data:image/"
_MEDIA_TYPES: Final = frozenset(("media_type", "mime_type", "mimeType"))
_MEASURED: Final = ("image/", "text/")
"""Media whose bound is known. How long others play, or how many pages they have, isn't told by their bytes."""
_FREE_FORM: Final = frozenset(("args", "arguments", "response", "annotations", "citations"))
"""A tool's arguments and results as objects, and what an earlier answer quoted: text to the model, whatever its names."""
_OWN_TOOLS: Final = ("function", "custom", "bash", "text_editor", "memory", "local_shell", "apply_patch")
"""Kinds of tools that the caller runs: what they find comes back in a message, and is seen."""
_DECLARED: Final = frozenset(("functionDeclarations", "function_declarations"))

# Each begins with a sign that stands for itself, so that the search leaps from one to the next: 1 to 5 ms for a megabyte.
# With the look behind, or an alternative, in front it would stop at every byte, which takes 90.
_PARTS: Final = re.compile(
    rb'"(?<!\\")(?:'
    rb'(?:file_id|file_data|file_uri|fileUri|input_audio|item_reference|reasoning)"'
    rb'|(?:url|image_url|file_url|uri)"\s*:\s*"(?!data:image\\?/)'
    rb'|(?:media_type|mime_type|mimeType)"\s*:\s*"(?!(?:image|text)\\?/)'
    rb'|audio"\s*:\s*\{)'
)
_ESCAPED: Final = re.compile(rb"\\u00(?:[4-7]|2[dDfF]|3[aA])")
"""A letter, or one of the signs in a name, spelt as a number: whoever does that may hide a name."""
_TOOLS: Final = re.compile(
    rb'"(?<!\\")type"\s*:\s*"(?!(?:function|custom|object|string|integer|number|boolean|array|null)")'
)
"""Kinds that are neither a caller's own tool's nor a schema's."""

_decode: Final[Callable[[msgspec.Raw], Any]] = msgspec.json.Decoder().decode


def unseen(fields: Mapping[str, msgspec.Raw]) -> str | None:
    """The name of the first thing in a body's ``fields`` whose size nobody here can tell; None: all of it is there."""
    for name in _FIELDS:
        if name in fields and bytes(fields[name]) not in _EMPTY:
            return name
    if "reasoning" in fields and _READS_MORE.search(fields["reasoning"]) is not None:
        return "reasoning: mode"
    try:
        for name in _SEEN_IN:
            if name in fields and _may_hide(_PARTS, fields[name]):
                found = _hidden(_decode(fields[name]))
                if found is not None:
                    return f"{name}: {found}"
        found = _run_elsewhere(fields)
    except RecursionError:  # nested deeper than anything that is meant
        return "an object in too many others"
    return None if found is None else f"tools: {found}"


def _may_hide(names: re.Pattern[bytes], raw: msgspec.Raw) -> bool:
    return names.search(raw) is not None or _ESCAPED.search(raw) is not None


def _hidden(content: Any) -> str | None:
    """The name of something that isn't here."""
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left.extend(reversed(value))
        elif isinstance(value, dict):
            kind = str(value.get("type", ""))
            if _is_kept_elsewhere(kind, value):
                return kind
            called = kind.endswith("tool_use")
            name: str
            for name, inner in value.items():
                if name in _FREE_FORM or (called and name == "input"):
                    continue
                if _is_hidden(name, inner):
                    return name
                left.append(inner)
    return None


def _is_kept_elsewhere(kind: str, item: dict[str, Any]) -> bool:
    """A turn of before that is only named; reasoning comes whole only where it comes encrypted."""
    return kind == "item_reference" or (
        kind == "reasoning" and "id" in item and not item.get("encrypted_content")
    )


def _is_hidden(name: str, value: Any) -> bool:
    if name in _HIDDEN:
        return value is not None
    if name == "audio":  # of an earlier answer, by its id
        return isinstance(value, dict) and "id" in value
    if not isinstance(value, str):
        return False
    if name in _ADDRESSES:
        return not value.startswith(_IMAGE)
    return name in _MEDIA_TYPES and not value.lower().startswith(_MEASURED)


def _run_elsewhere(fields: Mapping[str, msgspec.Raw]) -> str | None:
    """A tool that isn't known to be the caller's own, and so is the provider's."""
    raw = fields.get("tools")
    googles = "contents" in fields  # its tools are told by the names of their fields
    if raw is None or not (googles or _may_hide(_TOOLS, raw)):
        return None
    tools = _decode(raw)
    for tool in tools if isinstance(tools, list) else [tools]:
        if not isinstance(tool, dict):
            continue
        found: str | None
        if googles:
            found = next((name for name in tool if name not in _DECLARED and tool[name] is not None), None)
        else:
            kind = tool.get("type")
            found = None if kind is None or str(kind).startswith(_OWN_TOOLS) else str(kind)
        if found is not None:
            return found
    return None
