"""Fields of a request, read one by one, and the API's complaints about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["COUNT", "CREATE", "TOOL", "Wrong", "flag", "items", "number", "only", "table", "text"]

CREATE = frozenset((
    "max_tokens", "messages", "model", "cache_control", "container", "diagnostics", "inference_geo", "metadata",
    "output_config", "service_tier", "speed", "stop_sequences", "system", "thinking", "tool_choice", "tools",
    "user_profile_id", "workspace_id", "stream", "temperature", "top_k", "top_p", "billing_policy", "compaction",
    "context_management", "fallback_credit_token", "fallbacks", "mcp_servers", "thread", "output_format",
))  # fmt: skip  # a list reads better packed
"""What a message may hold, in any version and beta; sampling fields, which the newest SDK doesn't name, are taken too."""
COUNT = frozenset((
    "messages", "model", "cache_control", "output_config", "speed", "system", "thinking", "tool_choice", "tools",
    "user_profile_id", "workspace_id", "billing_policy", "compaction", "context_management", "mcp_servers",
    "output_format",
))  # fmt: skip  # a list reads better packed
TOOL = frozenset((
    "type", "name", "description", "input_schema", "cache_control", "strict", "input_examples", "defer_loading",
    "allowed_callers", "eager_input_streaming",
))  # fmt: skip  # a list reads better packed


class Wrong(Exception):
    """What the API refuses, in its words: ``path: complaint``."""


def only(value: dict[str, Any], known: Collection[str], path: str) -> None:
    """Refuse fields that aren't ``known``."""
    for name in value:
        if name not in known:
            raise Wrong(f"{path}{name}: Extra inputs are not permitted")


def text(value: dict[str, Any], name: str, path: str) -> str:
    """A string that must be there."""
    if name not in value:
        raise Wrong(f"{path}{name}: Field required")
    given = value[name]
    if not isinstance(given, str):
        raise Wrong(f"{path}{name}: Input should be a valid string")
    return given


def number(value: dict[str, Any], name: str, path: str, *, least: int, required: bool = False) -> int | None:
    """A whole number; None where it is absent and may be."""
    given = value.get(name)
    if given is None:
        if required:
            raise Wrong(f"{path}{name}: Field required")
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise Wrong(f"{path}{name}: Input should be a valid integer")
    if given < least:
        raise Wrong(f"{path}{name}: Input should be greater than or equal to {least}")
    return given


def flag(value: dict[str, Any], name: str, path: str) -> bool:
    given = value.get(name)
    if given is not None and not isinstance(given, bool):
        raise Wrong(f"{path}{name}: Input should be a valid boolean")
    return bool(given)


def table(value: dict[str, Any], name: str, path: str, *, required: bool = False) -> dict[str, Any]:
    """An object; empty where it is absent and may be."""
    given = value.get(name)
    if given is None:
        if required:
            raise Wrong(f"{path}{name}: Field required")
        return {}
    if not isinstance(given, dict):
        raise Wrong(f"{path}{name}: Input should be a valid dictionary")
    return given


def items(value: dict[str, Any], name: str, path: str) -> Iterator[dict[str, Any]]:
    """A list of objects; empty where it is absent."""
    given = value.get(name)
    if given is None:
        return
    if not isinstance(given, list):
        raise Wrong(f"{path}{name}: Input should be a valid list")
    for i, item in enumerate(given):
        if not isinstance(item, dict):
            raise Wrong(f"{path}{name}.{i}: Input should be a valid dictionary")
        yield item
