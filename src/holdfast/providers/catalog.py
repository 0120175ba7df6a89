"""A provider is a row.

Where it is, how it is spoken to and what it calls things are data; a file of its own is only for behaviour. The
configuration lays its own settings over a row (``[providers.openai]``), or over :data:`COMPATIBLE` where it names a server
of its own.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal

import msgspec

from holdfast.providers.models import context_window, max_output, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "COMPATIBLE",
    "ORDER",
    "PROVIDERS",
    "Provider",
    "context_window",
    "in_order",
    "max_output",
    "nearest",
    "owner_of",
    "provider",
]

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider: how to reach it and how to speak to it."""

    name: str
    dialect: Literal["openai_chat"]
    base_url: str
    """Without a trailing slash; paths are appended to it."""
    chat_path: str = "/chat/completions"
    auth: Literal["bearer"] = "bearer"
    key_env: tuple[str, ...] = ()
    """Environment names of its key, as its SDK reads them; the first that is set wins."""
    base_url_env: str | None = None
    """Environment name of another address, as its SDK reads it. It goes with a key from the environment, with no other."""
    default_model: str | None = None
    """The model behind the built-in route ``chat``."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request, beside auth."""
    max_tokens_field: MaxTokensField = "max_tokens"
    """What to call the output limit when *we* set one; the caller's own spelling always travels as it is."""


_ROWS = (
    Provider(
        name="openai",
        dialect="openai_chat",
        base_url="https://api.openai.com/v1",
        key_env=("OPENAI_API_KEY",),
        base_url_env="OPENAI_BASE_URL",
        default_model="gpt-5-mini",
        # Reasoning models answer `max_tokens` with a 400; every chat model knows the newer name.
        max_tokens_field="max_completion_tokens",
    ),
    Provider(
        name="deepseek",
        dialect="openai_chat",
        base_url="https://api.deepseek.com",
        key_env=("DEEPSEEK_API_KEY",),
        default_model="deepseek-v4-flash",
    ),
    Provider(
        name="openrouter",
        dialect="openai_chat",
        base_url="https://openrouter.ai/api/v1",
        key_env=("OPENROUTER_API_KEY",),
        default_model="openai/gpt-5-mini",
    ),
)

PROVIDERS: dict[str, Provider] = {row.name: row for row in _ROWS}
"""The rows, by name."""

COMPATIBLE = Provider(
    name="compatible",
    dialect="openai_chat",
    base_url="http://127.0.0.1:8000/v1",
)
"""What is assumed of any OpenAI-compatible server that only the configuration names: it must bring its base URL."""

ORDER = ("openai", "anthropic", "deepseek", "gemini")
"""Who goes first in the built-in route ``chat``. Those who aren't here come after, in the order they were named."""


def provider(name: str) -> Provider | None:
    """The row of that name, without regard to case."""
    return PROVIDERS.get(name.lower())


def in_order(names: Iterable[str]) -> list[str]:
    """``names`` as the built-in route tries them: :data:`ORDER`, then the others as they came."""
    rank = {name: place for place, name in enumerate(ORDER)}
    return sorted(names, key=lambda name: rank.get(name.lower(), len(ORDER)))


def nearest(name: str, names: Iterable[str], *, most: int = 3) -> list[str]:
    """Up to ``most`` of ``names`` that ``name`` may have been meant for, best first, for error messages."""
    # The name is a caller's and may be megabytes; nobody mistypes a hundred characters.
    wanted = name[:100].lower()
    by_lower = {candidate.lower(): candidate for candidate in names}
    return [by_lower[found] for found in difflib.get_close_matches(wanted, by_lower, n=most)]
