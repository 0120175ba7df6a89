"""Which path speaks which format, and asks for what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import unquote

from holdfast.chaos.wire.anthropic import Anthropic
from holdfast.chaos.wire.base import Place
from holdfast.chaos.wire.gemini import Gemini
from holdfast.chaos.wire.openai_chat import OpenAIChat, flavours, providers
from holdfast.chaos.wire.openai_embeddings import OpenAIEmbeddings, OpenRouterEmbeddings
from holdfast.chaos.wire.openai_responses import OpenAIResponses
from holdfast.chaos.wire.openai_responses import flavours as responding

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.http import Request
    from holdfast.chaos.wire.base import Wire

__all__ = ["WIRES", "Found", "find", "rows", "spoken"]

OPENAI_CHAT = OpenAIChat()
_AZURE = OpenAIChat(providers.AZURE, flavours.AZURE)
_DEEPSEEK = OpenAIChat(providers.DEEPSEEK, flavours.DEEPSEEK)
_OPENROUTER = OpenAIChat(providers.OPENROUTER, flavours.OPENROUTER)
_EMBEDDINGS = OpenAIEmbeddings()
_AZURE_EMBEDDINGS = OpenAIEmbeddings(providers.AZURE)
_OPENROUTER_EMBEDDINGS = OpenRouterEmbeddings(providers.OPENROUTER)
OPENAI_RESPONSES = OpenAIResponses()
_AZURE_RESPONSES = OpenAIResponses(providers.AZURE, responding.AZURE)
_DEEPSEEK_RESPONSES = OpenAIResponses(providers.DEEPSEEK, responding.DEEPSEEK)
_OPENROUTER_RESPONSES = OpenAIResponses(providers.OPENROUTER, responding.OPENROUTER)
ANTHROPIC = Anthropic()
GEMINI = Gemini()
_GEMINI_ARRAY = Gemini(in_array=True)
WIRES: tuple[Wire, ...] = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI)


class Found(NamedTuple):
    """What a path is for."""

    method: Literal["GET", "POST"]
    wire: Wire
    place: Place | None
    """None: models are told."""
    model: str | None = None
    """The one that is told; None: their list."""


def _post(wire: Wire, **place: bool | str) -> Found:
    return Found("POST", wire, Place(**place))  # type: ignore[arg-type]  # a table's short hand for Place's fields


_EXACT = {
    "/v1/chat/completions": _post(OPENAI_CHAT),
    "/chat/completions": _post(_DEEPSEEK),
    "/api/v1/chat/completions": _post(_OPENROUTER),
    "/openai/v1/chat/completions": _post(_AZURE),
    "/v1/responses": _post(OPENAI_RESPONSES),
    "/v1/responses/input_tokens": _post(OPENAI_RESPONSES, operation="count"),
    "/responses": _post(_DEEPSEEK_RESPONSES),
    "/api/v1/responses": _post(_OPENROUTER_RESPONSES),
    "/openai/v1/responses": _post(_AZURE_RESPONSES),
    "/v1/embeddings": _post(_EMBEDDINGS, operation="embed"),
    "/api/v1/embeddings": _post(_OPENROUTER_EMBEDDINGS, operation="embed"),
    "/openai/v1/embeddings": _post(_AZURE_EMBEDDINGS, operation="embed"),
    "/v1/messages": _post(ANTHROPIC),
    "/v1/messages/count_tokens": _post(ANTHROPIC, operation="count"),
}


def _deployment(found: re.Match[str], request: Request) -> Found | None:
    if request.argument("api-version") is None:  # Azure then knows no such resource
        return None
    model = unquote(found["model"])
    if found["operation"] == "embeddings":
        return _post(_AZURE_EMBEDDINGS, model=model, operation="embed")
    return _post(_AZURE, model=model)


def _azure_responses(_found: re.Match[str], request: Request) -> Found | None:
    return None if request.argument("api-version") is None else _post(_AZURE_RESPONSES)


def _gemini(found: re.Match[str], request: Request) -> Found | None:
    model = unquote(found["model"])
    match found["method"]:
        case "generateContent":
            return _post(GEMINI, model=model)
        case "streamGenerateContent":
            sse = request.argument("alt") == "sse"
            return _post(GEMINI if sse else _GEMINI_ARRAY, model=model, stream=True, sse=sse)
        case "countTokens":
            return _post(GEMINI, model=model, operation="count")
        case "embedContent" | "batchEmbedContents":
            return _post(GEMINI, model=model, operation="embed")
    return None


def _models(found: re.Match[str], request: Request) -> Found | None:  # noqa: ARG001  # the table's signature
    return _listed(_ROOTS[found["root"]], found)


def _azure_models(found: re.Match[str], request: Request) -> Found | None:
    if found["version"] is None and request.argument("api-version") is None:
        return None
    return _listed(_AZURE, found)


def _shared_models(found: re.Match[str], request: Request) -> Found | None:
    """One path, three providers: their clients tell themselves apart by the headers that they must send."""
    wire = spoken(request)
    if wire is GEMINI and ":" in (found["model"] or ""):  # a method that it hasn't
        return None
    return _listed(wire, found)


def _listed(wire: Wire, found: re.Match[str]) -> Found:
    return Found("GET", wire, None, unquote(found["model"]) if found["model"] else None)


_ROOTS: dict[str, Wire] = {
    "/v1beta": GEMINI,
    "/v1alpha": GEMINI,
    "/openai": _AZURE,
    "/api/v1": _OPENROUTER,
    "": _DEEPSEEK,
}
_SHARED = "told by the headers"


class _Pattern(NamedTuple):
    shown: str
    owner: str
    path: re.Pattern[str]
    answer: Callable[[re.Match[str], Request], Found | None]
    """What it is for; None: nothing, after all."""


_PATTERNS = (
    _Pattern(
        "POST /openai/deployments/{deployment}/chat/completions, /embeddings?api-version=…",
        f"{OPENAI_CHAT.name}, {OpenAIEmbeddings.name}",
        re.compile(r"/openai/deployments/(?P<model>[^/]+)/(?P<operation>chat/completions|embeddings)"),
        _deployment,
    ),
    _Pattern(
        "POST /openai/responses?api-version=…",
        OPENAI_RESPONSES.name,
        re.compile(r"/openai/responses"),
        _azure_responses,
    ),
    _Pattern(
        "POST /v1beta/models/{model}:generateContent, :streamGenerateContent, :countTokens, :embedContent, "
        ":batchEmbedContents (also /v1, /v1alpha)",
        GEMINI.name,
        re.compile(r"/v1(?:beta|alpha)?/models/(?P<model>[^:]+):(?P<method>\w+)"),
        _gemini,
    ),
    _Pattern(
        "GET /v1beta/models, /v1beta/models/{model} (also /v1alpha)",
        GEMINI.name,
        re.compile(r"(?P<root>/v1beta|/v1alpha)/models(?:/(?P<model>[^:]+))?"),
        _models,
    ),
    _Pattern(
        "GET /openai/v1/models, /openai/v1/models/{model}; /openai/models?api-version=…",
        OPENAI_CHAT.name,
        re.compile(r"/openai(?P<version>/v1)?/models(?:/(?P<model>.+))?"),
        _azure_models,
    ),
    _Pattern(
        "GET /models, /models/{model}; /api/v1/models, /api/v1/models/{model}",
        OPENAI_CHAT.name,
        re.compile(r"(?P<root>|/api/v1)/models(?:/(?P<model>.+))?"),
        _models,
    ),
    _Pattern(
        "GET /v1/models, /v1/models/{model}",
        _SHARED,
        re.compile(r"/v1/models(?:/(?P<model>.+))?"),
        _shared_models,
    ),
)


def rows() -> list[tuple[str, str]]:
    """Each endpoint and its format, for the documentation."""
    exact = [(f"{found.method} {path}", found.wire.name) for path, found in _EXACT.items()]
    return exact + [(pattern.shown, pattern.owner) for pattern in _PATTERNS]


def find(request: Request) -> Found | None:
    """What ``request``'s path is for; None: no provider has it."""
    if (exact := _EXACT.get(request.path)) is not None:
        return exact
    for pattern in _PATTERNS:
        matched = pattern.path.fullmatch(request.path)
        if matched is not None and (found := pattern.answer(matched, request)) is not None:
            return found
    return None


def spoken(request: Request) -> Wire:
    """The format of a caller whose path doesn't tell it."""
    if request.header(b"anthropic-version") is not None or request.path.startswith("/v1/messages"):
        return ANTHROPIC
    if request.header(b"x-goog-api-key") is not None:
        return GEMINI
    return next(
        (wire for root, wire in _ROOTS.items() if root and request.path.startswith(f"{root}/")), OPENAI_CHAT
    )
