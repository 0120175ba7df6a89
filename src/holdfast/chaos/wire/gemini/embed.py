"""Gemini's embedContent and batchEmbedContents: requests, what is answered 400, and vectors.

``prompt_tokens`` is a text's UTF-8 bytes / 4, rounded up, plus 85 per part that is no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.plan import Part
from holdfast.chaos.wire.base import PART_TOKENS, Media, text_tokens
from holdfast.chaos.wire.gemini import fields
from holdfast.chaos.wire.gemini.fields import invalid, value_error
from holdfast.chaos.wire.media import inline
from holdfast.chaos.wire.vectors import Embedding, vector

if TYPE_CHECKING:
    from holdfast.chaos.answer import Answer

__all__ = ["Batch", "Single", "plain", "read"]

_MOST_REQUESTS = 100
_MOST_DIMENSIONS = 3072
_SMALL = ("text-embedding-", "embedding-0")  # the older generation
_SMALL_DIMENSIONS = 768
_DATA = ("text", "inlineData", "fileData")
_TASKS = (
    "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION",
    "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)  # fmt: skip  # a list reads better packed
_TASK = "type.googleapis.com/google.ai.generativelanguage.v1beta.TaskType"
_encode = msgspec.json.Encoder().encode


class Single(Embedding, frozen=True, kw_only=True):
    """embedContent."""


class Batch(Embedding, frozen=True, kw_only=True):
    """batchEmbedContents. Each request may want its own number of dimensions."""

    sizes: tuple[int, ...]


class _Content:
    """What one request brings to embed."""

    def __init__(self) -> None:
        self.tokens = 0
        self.said: list[str] = []
        self.media: list[Media] = []

    @property
    def text(self) -> str:
        return "".join((*self.said, *map(str, self.media)))


def read(body: dict[str, Any], model: str, *, batch: bool) -> Embedding:
    """What ``body`` asks for. Raises :class:`Refused` in the API's words."""
    if not batch:
        content, size = _request(fields.checked(body, fields.EMBED), "EmbedContentRequest", model)
        return Single(**_common(model, [content]), dimensions=size)
    requests = fields.checked(body, fields.EMBED_BATCH).get("requests")
    root = "BatchEmbedContentsRequest.requests"
    if not isinstance(requests, list) or not requests:
        raise invalid(f"* {root}: requests is not specified\n")
    if len(requests) > _MOST_REQUESTS:
        raise invalid(f"* {root}: at most {_MOST_REQUESTS} requests can be in one batch\n")
    found = [_request(request, f"{root}[{i}]", model, of_batch=True) for i, request in enumerate(requests)]
    sizes = tuple(size for _, size in found)
    return Batch(**_common(model, [content for content, _ in found]), dimensions=sizes[0], sizes=sizes)


def plain(answer: Answer, asked: Single | Batch) -> Part:
    """The vectors, and what they cost."""
    if isinstance(asked, Single):
        value: dict[str, Any] = {
            "embedding": {"values": vector(asked.texts[0], asked.model, asked.dimensions)}
        }
    else:
        rows = [
            # Encoded one by one: as numbers, a large batch would take many times its body's memory.
            msgspec.Raw(_encode({"values": vector(text, asked.model, size)}))
            for text, size in zip(asked.texts, asked.sizes, strict=True)
        ]
        value = {"embeddings": rows}
    count = answer.usage.prompt_tokens
    value["usageMetadata"] = {
        "promptTokenCount": count,
        "promptTokenDetails": [{"modality": "TEXT", "tokenCount": count}],
    }
    return Part(_encode(value), "body")


def _common(model: str, contents: list[_Content]) -> dict[str, Any]:
    return {
        "model": model,
        "stream": False,
        "last_user_text": "".join(contents[-1].said),
        "prompt_tokens": sum(content.tokens for content in contents),
        "texts": tuple(content.text for content in contents),
        "media": tuple(media for content in contents for media in content.media),
    }


def _request(
    request: dict[str, Any], root: str, model: str, *, of_batch: bool = False
) -> tuple[_Content, int]:
    """One content, and the number of dimensions that it is wanted in."""
    named = request.get("model")
    if (of_batch or named is not None) and named != f"models/{model}":
        raise invalid(f"* {root}.model: the model must be the one of the path, models/{model}\n", "model")
    task = request.get("taskType")
    if task is not None and task not in _TASKS:
        raise value_error("task_type", _TASK, task)
    content = _content(request.get("content"), f"{root}.content")
    return content, _dimensions(request.get("outputDimensionality"), model, root)


def _content(given: Any, path: str) -> _Content:
    if given is None:
        raise invalid(f"* {path}: content is not specified\n")
    parts = given.get("parts")
    content = _Content()
    for i, part in enumerate([parts] if isinstance(parts, dict) else parts or ()):
        _part(part, f"{path}.parts[{i}]", content)
    if not content.text:
        raise invalid(f"* {path}: text content is empty\n")
    return content


def _part(part: dict[str, Any], path: str, content: _Content) -> None:
    brought = [name for name in _DATA if part.get(name) is not None]
    if len(brought) != 1:
        raise invalid(f"* {path}.data: required oneof field 'data' must have one initialized field\n")
    value = part[brought[0]]
    if brought[0] == "text":
        if not isinstance(value, str):
            raise value_error(f"{path}.text", "TYPE_STRING", value)
        content.tokens += text_tokens(value)
        content.said.append(value)
        return
    content.tokens += PART_TOKENS
    media_type = str(value.get("mimeType") or "")
    if brought[0] == "fileData":
        content.media.append(Media("file", str(value.get("fileUri"))[:200]))
        return
    try:
        content.media.append(inline("file", media_type, str(value.get("data") or "")))
    except ValueError:
        raise value_error(f"{path}.inline_data.data", "TYPE_BYTES", "Base64 decoding failed") from None


def _dimensions(given: Any, model: str, root: str) -> int:
    most = _SMALL_DIMENSIONS if model.startswith(_SMALL) else _MOST_DIMENSIONS
    if given is None or given == 0:
        return most
    if isinstance(given, bool) or not isinstance(given, int):
        raise value_error("output_dimensionality", "TYPE_INT32", given)
    if not 0 < given <= most:
        raise invalid(f"* {root}.output_dimensionality: must be between 1 and {most}\n")
    return given
