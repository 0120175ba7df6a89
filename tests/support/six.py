"""Six providers in three dialects, all played by one chaos server at their own paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.gateway import CANARY

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DIALECT_OF", "PATH_OF", "SIX", "six_providers"]

PATH_OF = {
    "openai": "/v1",
    "anthropic": "/v1",
    "deepseek": "",
    "gemini": "/v1beta",
    "azure": "",
    "openrouter": "/api/v1",
}
"""Where each one's API begins, under the server's address."""
DIALECT_OF = {
    "openai": "openai_chat",
    "anthropic": "anthropic",
    "deepseek": "openai_chat",
    "gemini": "gemini",
    "azure": "openai_chat",
    "openrouter": "openai_chat",
}
SIX: Sequence[str] = tuple(PATH_OF)


def six_providers(url: str) -> dict[str, Any]:
    """``[providers]`` for a configuration, with the canary as every key."""
    return {name: {"base_url": url + path, "api_key": CANARY} for name, path in PATH_OF.items()}
