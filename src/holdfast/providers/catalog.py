"""A provider is a row.

Where it is, how it is spoken to and what it calls things are data; a file of its own is only for behaviour. The
configuration lays its own settings over a row (``[providers.openai]``), or over :data:`COMPATIBLE` where it names a server
of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping  # noqa: TC003  # msgspec reads the annotations at run time
from typing import TYPE_CHECKING, Literal

import msgspec

from holdfast.providers.models import context_window, max_output, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "COMPATIBLE",
    "DIALECTS",
    "MEDIA",
    "ORDER",
    "PROVIDERS",
    "Door",
    "Provider",
    "compatible",
    "context_window",
    "in_order",
    "max_output",
    "nearest",
    "owner_of",
    "provider",
    "respoken",
]

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
DialectName = Literal["openai_chat", "anthropic", "gemini"]
MEDIA: tuple[str, ...] = ("image", "audio", "file", "video")
"""Kinds of part that a provider may not take."""
Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key"]
"""How a key travels: as a bearer token, or alone in a header of that name."""


class Door(msgspec.Struct, frozen=True):
    """Where one dialect is spoken, under the base URL. Paths may hold ``{model}``."""

    path: str
    stream_path: str | None = None
    """Where streams are asked for, if that is another place."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider: how to reach it and how to speak to it."""

    name: str
    dialect: DialectName
    """The dialect that requests of other dialects are translated into."""
    base_url: str
    """Without a trailing slash; paths are appended to it. Empty where everybody has an address of their own."""
    doors: Mapping[str, Door]
    """Every dialect that it speaks, by name; the others are passed through if the caller speaks them too."""
    dated_doors: Mapping[str, Door] = {}  # msgspec copies an empty mutable default for each instance
    """Instead of ``doors`` where ``api_version`` is set, which then is added to the query."""
    auth: Auth = "bearer"
    key_env: tuple[str, ...] = ()
    """Environment names of its key, as its SDK reads them; the first that is set wins."""
    token_env: tuple[str, ...] = ()
    """Likewise of a token that travels as a bearer token, whatever ``auth`` says."""
    base_url_env: str | None = None
    """Environment name of another address, as its SDK reads it. It goes with a key from the environment, with no other."""
    base_url_end: str = ""
    """What its SDK adds to that address before the paths."""
    api_version_env: str | None = None
    default_model: str | None = None
    """The model behind the built-in route ``chat``."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request, beside auth."""
    max_tokens_field: MaxTokensField = "max_tokens"
    """What to call the output limit when *we* set one; the caller's own spelling always travels as it is."""
    unsupported: tuple[str, ...] = ()
    """Fields that its dialect has and it doesn't take: parameters' names, and :data:`MEDIA`."""


# Default models: cheap, and such that a request written for another provider's model fares well, since requests fall back to
# them. Newer small models are cheaper and refuse what others take: OpenAI's since 5.6 tools beside reasoning in this format,
# Anthropic's since Haiku 5.5 any temperature.

_OPENAI_DOORS = {
    "openai_chat": Door("/chat/completions"),
    "openai_responses": Door("/responses"),
    "openai_embeddings": Door("/embeddings"),
}
_ANTHROPIC_DOORS = {
    "anthropic": Door("/messages"),
    "anthropic_count_tokens": Door("/messages/count_tokens"),
}
_GEMINI_DOORS = {
    "gemini": Door("/models/{model}:generateContent", "/models/{model}:streamGenerateContent?alt=sse"),
    "gemini_count_tokens": Door("/models/{model}:countTokens"),
}
_ANTHROPIC_HEADERS = (("anthropic-version", "2023-06-01"),)  # what a caller's own header replaces

_ROWS = (
    Provider(
        name="openai",
        dialect="openai_chat",
        base_url="https://api.openai.com/v1",
        doors=_OPENAI_DOORS,
        key_env=("OPENAI_API_KEY",),
        base_url_env="OPENAI_BASE_URL",
        default_model="gpt-5.4-mini",
        # Reasoning models answer `max_tokens` with a 400; every chat model knows the newer name.
        max_tokens_field="max_completion_tokens",
    ),
    Provider(
        name="anthropic",
        dialect="anthropic",
        base_url="https://api.anthropic.com/v1",
        doors=_ANTHROPIC_DOORS,
        auth="x-api-key",
        key_env=("ANTHROPIC_API_KEY",),
        token_env=("ANTHROPIC_AUTH_TOKEN",),
        base_url_env="ANTHROPIC_BASE_URL",
        base_url_end="/v1",
        default_model="claude-haiku-4-5",
        headers=_ANTHROPIC_HEADERS,
    ),
    Provider(
        name="deepseek",
        dialect="openai_chat",
        base_url="https://api.deepseek.com",
        doors={name: _OPENAI_DOORS[name] for name in ("openai_chat", "openai_responses")},
        key_env=("DEEPSEEK_API_KEY",),
        default_model="deepseek-flash",
        unsupported=("audio", "file", "video"),  # its guide has text and image parts
    ),
    Provider(
        name="gemini",
        dialect="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        doors=_GEMINI_DOORS,
        auth="x-goog-api-key",
        # Its SDK prefers the second; the first is nothing but this API's key.
        key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base_url_env="GOOGLE_GEMINI_BASE_URL",
        base_url_end="/v1beta",
        default_model="gemini-3.5-flash-lite",
    ),
    Provider(
        name="azure",
        dialect="openai_chat",
        base_url="",  # everybody's own: https://NAME.openai.azure.com
        doors={name: Door(f"/openai/v1{door.path}") for name, door in _OPENAI_DOORS.items()},
        dated_doors={
            "openai_chat": Door("/openai/deployments/{model}/chat/completions"),
            "openai_responses": Door("/openai/responses"),  # the model stands in the body there
            "openai_embeddings": Door("/openai/deployments/{model}/embeddings"),
        },
        auth="api-key",
        key_env=("AZURE_OPENAI_API_KEY",),
        base_url_env="AZURE_OPENAI_ENDPOINT",
        api_version_env="OPENAI_API_VERSION",
        default_model="gpt-5.4-mini",
        max_tokens_field="max_completion_tokens",
    ),
    Provider(
        name="openrouter",
        dialect="openai_chat",
        base_url="https://openrouter.ai/api/v1",
        doors=_OPENAI_DOORS,
        key_env=("OPENROUTER_API_KEY",),
        default_model="openai/gpt-5.4-mini",
    ),
)

PROVIDERS: dict[str, Provider] = {row.name: row for row in _ROWS}
"""The rows, by name."""

COMPATIBLE = Provider(
    name="compatible",
    dialect="openai_chat",
    base_url="http://127.0.0.1:8000/v1",
    doors=_OPENAI_DOORS,
)
"""What is assumed of a server that only the configuration names: it must bring its base URL."""

_COMPATIBLE: Mapping[str, Provider] = {
    "openai_chat": COMPATIBLE,
    "anthropic": msgspec.structs.replace(
        COMPATIBLE,
        dialect="anthropic",
        doors=_ANTHROPIC_DOORS,
        auth="x-api-key",
        headers=_ANTHROPIC_HEADERS,
    ),
    "gemini": msgspec.structs.replace(
        COMPATIBLE, dialect="gemini", doors=_GEMINI_DOORS, auth="x-goog-api-key"
    ),
}
DIALECTS: tuple[str, ...] = tuple(_COMPATIBLE)
"""Dialects that a server of one's own may be said to speak."""


def compatible(name: str, dialect: str) -> Provider:
    """The row of a server that speaks ``dialect``, one of :data:`DIALECTS`, as its own provider does."""
    return msgspec.structs.replace(_COMPATIBLE[dialect], name=name)


def respoken(row: Provider, dialect: str) -> Provider:
    """``row``, whose server speaks ``dialect`` and not what the row says."""
    if dialect == row.dialect:
        return row
    like = _COMPATIBLE[dialect]
    return msgspec.structs.replace(
        row,
        dialect=like.dialect,
        doors=like.doors,
        dated_doors={},
        auth=like.auth,
        headers=like.headers,
        max_tokens_field=like.max_tokens_field,
        unsupported=like.unsupported,
    )


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
