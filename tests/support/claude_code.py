"""What Claude Code sends, as it was seen on the wire: its headers, its habits and the fields that only it uses."""

from __future__ import annotations

from typing import Any

__all__ = ["ASKED", "HEADERS", "MODELS_HEADERS", "PATH", "answered", "asked"]

PATH = "/v1/messages?beta=true"
HEADERS = {
    "content-type": "application/json",
    "user-agent": "claude-cli/2.1.197 (external, sdk-cli)",
    "x-app": "cli",
    "x-claude-code-session-id": "0b8f1d7e-2a1c-4f0e-9c51-6f2f3c6f2a11",
    "x-stainless-lang": "js",
    "x-stainless-retry-count": "0",
    "x-stainless-timeout": "600",
    "anthropic-version": "2023-06-01",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-beta": "claude-code-20250219,context-1m-2025-08-07,interleaved-thinking-2025-05-14,"
    "thinking-token-count-2026-05-13,context-management-2025-06-27,prompt-caching-scope-2026-01-05,"
    "mid-conversation-system-2026-04-07,effort-2025-11-24",
    "authorization": "Bearer token-a",
    "x-api-key": "key-b",
}
"""Both ways of authentication at once: so it is where ANTHROPIC_AUTH_TOKEN is set beside a key."""
MODELS_HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": "key-b"}
_MARK = {"type": "ephemeral"}
_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def _tool(name: str) -> dict[str, Any]:
    parameters = {"command": {"type": "string"}, "timeout": {"type": "number"}}
    schema = {"$schema": _SCHEMA, "type": "object", "properties": parameters, "required": ["command"]}
    return {
        "name": name,
        "description": f"{name}.",
        "input_schema": {**schema, "additionalProperties": False},
    }


ASKED: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "How many files?", "cache_control": _MARK}]},
        {"role": "system", "content": "Available agent types: general-purpose."},
    ],
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cc_entrypoint=sdk-cli;"},
        {"type": "text", "text": "You are a coding assistant.", "cache_control": _MARK},
        {"type": "text", "text": "Be brief.", "cache_control": _MARK},
    ],
    "tools": [_tool("Bash"), *(_tool(f"Tool{number}") for number in range(23))],
    "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
    "max_tokens": 64_000,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "stream": True,
}


def asked(model: str, **fields: Any) -> dict[str, Any]:
    """The first request of a session; ``fields`` go over it."""
    return {"model": model, **ASKED, **fields}


def answered(
    model: str, answer: list[dict[str, Any]], result: str, *, is_error: bool = False
) -> dict[str, Any]:
    """The request after the model called tools: its own blocks, and each call's result as a string."""
    results = [
        {
            "tool_use_id": block["id"],
            "type": "tool_result",
            "content": result,
            "is_error": is_error,
            "cache_control": _MARK,
        }
        for block in answer
        if block["type"] == "tool_use"
    ]
    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": results}]
    return asked(model, messages=[*ASKED["messages"], *turns])
