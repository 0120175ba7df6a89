"""Which dialect a path asks for, and what the path itself says of the request: three SDKs, three habits.

OpenAI and Anthropic put everything into the body. Gemini has the model and the kind of answer in the path, Azure its
deployment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AZURE_VERBS", "GEMINI_VERBS", "MODELS", "POSTS", "Place", "dialect_of", "find"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a path asks for."""

    dialect: str
    """By its name in :data:`holdfast.app.DIALECTS`."""
    model: str | None = None
    """Where the path names it."""
    stream: bool | None = None
    """Where the path says it; None: the body does."""
    array: bool = False
    """The stream is one JSON array and not server-sent events."""
    query: str = ""
    """What of the URL's query travels on to a provider of the same dialect."""


POSTS: Final[Mapping[str, Place]] = {
    "/v1/chat/completions": Place(dialect="openai_chat"),
    "/v1/responses": Place(dialect="openai_responses"),
    "/v1/embeddings": Place(dialect="openai_embeddings"),
    "/v1/messages": Place(dialect="anthropic"),
    "/v1/messages/count_tokens": Place(dialect="anthropic_count_tokens"),
    "/openai/v1/chat/completions": Place(dialect="openai_chat"),
    "/openai/v1/responses": Place(dialect="openai_responses"),
    "/openai/v1/embeddings": Place(dialect="openai_embeddings"),
}
"""Paths that say no more than their dialect."""

MODELS: Final = ("/v1/models", "/v1beta/models", "/v1alpha/models", "/openai/v1/models")
"""Where models are listed."""

_GEMINI: Final = re.compile(
    r"/v1(?:beta|alpha)?/(?P<model>(?:models|tunedModels)/.+):(?P<verb>generateContent|streamGenerateContent|countTokens)"
)
GEMINI_VERBS: Final[Mapping[str, tuple[str, bool]]] = {
    "generateContent": ("gemini", False),
    "streamGenerateContent": ("gemini", True),
    "countTokens": ("gemini_count_tokens", False),
}
_AZURE: Final = re.compile(
    r"/openai/deployments/(?P<model>[^/]+)/(?P<verb>chat/completions|embeddings|responses)"
)
AZURE_VERBS: Final[Mapping[str, str]] = {
    "chat/completions": "openai_chat",
    "embeddings": "openai_embeddings",
    "responses": "openai_responses",
}
_BETA: Final = (
    "beta=true"  # what Anthropic's SDK adds to the path of its beta resources; it says nothing else
)


def find(path: str, query: bytes) -> Place | None:
    """What a POST to ``path`` asks for, or None where nobody serves that."""
    place = POSTS.get(path)
    if place is not None:
        if query and place.dialect.startswith("anthropic") and _BETA.encode() in query.split(b"&"):
            return msgspec.structs.replace(place, query=_BETA)
        return place
    if (match := _GEMINI.fullmatch(path)) is not None:
        dialect, stream = GEMINI_VERBS[match["verb"]]
        model = match["model"].removeprefix("models/")
        array = stream and parse_qs(query.decode("latin-1")).get("alt") != ["sse"]
        return Place(dialect=dialect, model=model, stream=stream, array=array)
    if (match := _AZURE.fullmatch(path)) is not None:
        return Place(dialect=AZURE_VERBS[match["verb"]], model=match["model"])
    return None


def dialect_of(path: str, headers: Mapping[bytes, bytes]) -> str:
    """The dialect in which to answer what isn't a request of any: errors, lists of models."""
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return "anthropic"
    if path.startswith(("/v1beta/", "/v1alpha/")) or _GEMINI.fullmatch(path) or b"x-goog-api-key" in headers:
        return "gemini"
    return "openai_chat"
