"""Holdfast: an LLM gateway and library that keeps its promises when providers fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.client import (
        ChatAnswer,
        ChatStream,
        Client,
        StreamChunk,
        SyncChatStream,
        SyncClient,
    )

__all__ = [
    "ChatAnswer",
    "ChatStream",
    "Client",
    "StreamChunk",
    "SyncChatStream",
    "SyncClient",
    "__version__",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The library, imported when it is first asked for: every part of Holdfast imports this package, few need that one."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from holdfast import client  # see above

    value = globals()[name] = getattr(client, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
