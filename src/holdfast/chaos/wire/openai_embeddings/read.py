"""Requests of OpenAI's embeddings endpoint, and what it answers 400 to.

``prompt_tokens`` is a text's UTF-8 bytes / 4, rounded up; of tokens, their number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from holdfast.chaos.wire.base import text_tokens
from holdfast.chaos.wire.errors import Problem, Refused
from holdfast.chaos.wire.openai_chat.read import decoded
from holdfast.chaos.wire.vectors import Embedding

__all__ = ["read"]

_MOST_INPUTS = 2048
_MOST_TOKENS = 8192  # of one input
_MOST_TOKENS_IN_ALL = 300_000
_DIMENSIONS = 1536
_MOST_DIMENSIONS = 3072
_LARGE = "text-embedding-3-large"
_SMALL = "text-embedding-3-small"
_FIXED = "text-embedding-ada-002"


class EmbeddingRequest(msgspec.Struct):
    """What must be known of a request; the rest of its body is only written down."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    input: Any
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


_decoder = msgspec.json.Decoder(EmbeddingRequest)


def read(body: bytes, model: str | None) -> Embedding:
    """What ``body`` asks for. Raises :class:`Refused`. ``model``: what the path says; it goes before the body's."""
    request = decoded(body, model, _decoder)
    inputs = _inputs(request.input)
    sizes = [text_tokens(item) if isinstance(item, str) else len(item) for item in inputs]
    _check_sizes(sizes)
    last = inputs[-1]
    return Embedding(
        model=request.model,
        stream=False,
        last_user_text=last if isinstance(last, str) else "",
        prompt_tokens=sum(sizes),
        texts=tuple(item if isinstance(item, str) else f"tokens {item}" for item in inputs),
        dimensions=_dimensions(request),
        as_base64=request.encoding_format == "base64",
    )


def _inputs(given: Any) -> list[str | list[int]]:
    """One text or list of tokens, or several of one kind."""
    if isinstance(given, str) or _is_tokens(given):
        given = [given]
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_INPUTS:
        raise _invalid_input()
    if not all(given) or not (all(isinstance(item, str) for item in given) or all(map(_is_tokens, given))):
        raise _invalid_input()
    return given


def _is_tokens(given: Any) -> bool:
    return (
        isinstance(given, list)
        and bool(given)
        and all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in given)
    )


def _check_sizes(sizes: list[int]) -> None:
    for size in sizes:
        if size > _MOST_TOKENS:
            raise _refused(
                f"This model's maximum context length is {_MOST_TOKENS} tokens, however you requested {size} tokens "
                f"({size} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
            )
    if sum(sizes) > _MOST_TOKENS_IN_ALL:
        raise _refused(
            f"Requested {sum(sizes)} tokens, max {_MOST_TOKENS_IN_ALL} tokens per request",
            code="max_tokens_per_request",
        )


def _dimensions(request: EmbeddingRequest) -> int:
    name = request.model.rpartition("/")[2]  # OpenRouter's begin with who made them
    if request.dimensions is None:
        return _MOST_DIMENSIONS if name == _LARGE else _DIMENSIONS
    if name == _FIXED:
        raise _refused("This model does not support specifying dimensions.")
    most = _DIMENSIONS if name == _SMALL else _MOST_DIMENSIONS
    if request.dimensions > most:
        raise _refused(
            f"Invalid value for 'dimensions' = {request.dimensions}. Must be less than or equal to {most}."
        )
    return request.dimensions


def _invalid_input() -> Refused:
    return _refused(
        "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
    )


def _refused(message: str, code: str | None = None) -> Refused:
    return Refused(Problem(400, message=message, code=code))
