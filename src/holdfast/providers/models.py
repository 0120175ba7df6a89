"""What is known of a model by its name: whose it is, how much it reads, how much it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.providers import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["context_window", "max_output", "owner_of"]

_FAMILIES: Mapping[str, str] = {
    # The beginning of a name, and whose models begin so. None is the beginning of another's.
    "gpt-": "openai",
    "chatgpt-": "openai",
    "codex-": "openai",
    "ft:gpt-": "openai",
    "o1-": "openai",
    "o3-": "openai",
    "o4-": "openai",
    "text-embedding-": "openai",
    "claude-": "anthropic",
    "deepseek-": "deepseek",
    "gemini-": "gemini",
}
_WHOLE_NAMES: Mapping[str, str] = {"o1": "openai", "o3": "openai", "o4": "openai"}

_NOBODYS = ("gpt-oss-",)  # open weights: the one who publishes them doesn't serve them

_MAX_OUTPUT: dict[str, int] = {
    # As the providers' model pages state it; the price data doesn't carry it. An unlisted model is unknown.
    "gpt-3.5-turbo": 4_096,
    "gpt-4": 8_192,
    "gpt-4-turbo": 4_096,
    "gpt-4.1": 32_768,
    "gpt-4.1-mini": 32_768,
    "gpt-4.1-nano": 32_768,
    "gpt-4o": 16_384,
    "gpt-4o-mini": 16_384,
    "gpt-5": 128_000,
    "gpt-5-mini": 128_000,
    "gpt-5-nano": 128_000,
    "gpt-5.1": 128_000,
    "gpt-5.2": 128_000,
    "gpt-5.4-mini": 128_000,
    "gpt-5.6-luna": 128_000,
    "gpt-6-luna": 128_000,
    "o1": 100_000,
    "o3": 100_000,
    "o3-mini": 100_000,
    "o4-mini": 100_000,
    "claude-3-5-haiku": 8_192,
    "claude-3-haiku": 4_096,
    "claude-3-opus": 4_096,
    "claude-fable-5-1": 128_000,
    "claude-haiku-4-5": 64_000,
    "claude-haiku-5-5": 128_000,
    "claude-opus-4": 32_000,
    "claude-opus-4-1": 32_000,
    "claude-opus-4-5": 64_000,
    "claude-opus-5-5": 128_000,
    "claude-sonnet-4": 64_000,
    "claude-sonnet-4-5": 64_000,
    "claude-sonnet-5-5": 128_000,
    "deepseek-flash": 393_216,
    "deepseek-v4-pro": 393_216,
    "gemini-2.0-flash": 8_192,
    "gemini-2.5-flash": 65_536,
    "gemini-2.5-flash-lite": 65_536,
    "gemini-2.5-pro": 65_536,
    "gemini-3.1-flash-lite": 65_536,
    "gemini-3.5-flash-lite": 65_536,
}


def owner_of(model: str) -> str | None:
    """The provider whose model this is, by the families of their names, without regard to case.

    The provider may be one that no row exists for, so that an error can name it. A name with a slash belongs to
    nobody here: it says itself who serves it.
    """
    name = model.lower().removeprefix("models/")
    if name.startswith(_NOBODYS):
        return None
    for beginning, owner in _FAMILIES.items():
        if name.startswith(beginning) and name != beginning:
            return owner
    return _WHOLE_NAMES.get(name)


def context_window(model: str, provider: str | None = None) -> int | None:
    """Most input tokens that ``model`` reads at ``provider`` (its owner, where none is named), if that is known.

    Loads the price data at its first call: see :func:`holdfast.providers.snapshot.load`.
    """
    seller = provider or owner_of(model)
    listed = snapshot.find(seller, model) if seller else None
    return listed.context_window if listed is not None else None


def max_output(model: str) -> int | None:
    """Most tokens that ``model`` writes in one answer, if that is known."""
    name = model.lower().removeprefix("models/").rpartition("/")[2]
    return _MAX_OUTPUT.get(name) or _MAX_OUTPUT.get(snapshot.undated(name))
