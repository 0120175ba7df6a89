"""OpenAI's Embeddings, passed through to providers that speak them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import OTHER, Envelope, Signal
from holdfast.dialects.counted import counted
from holdfast.dialects.openai_chat.say import error_body, error_frame
from holdfast.dialects.openai_errors import inner_refusal, refusal
from holdfast.dialects.whole import NeverStreams, read_fields, read_typed
from holdfast.errors import InvalidRequest
from holdfast.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.dialects.reading import Fields
    from holdfast.errors import HoldfastError, ProviderError

__all__ = ["OpenAIEmbeddings"]


class _Request(msgspec.Struct, gc=False):
    """The types that a provider would refuse anyway: refusing here costs nobody an attempt. Ranges are the provider's."""

    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None
    stream: bool | None = None


def _read(usage: Fields) -> Usage | None:
    """Nothing is written, so that the total is the input: some servers say nothing else."""
    given, total = usage.integer("prompt_tokens"), usage.integer("total_tokens")
    if given is None:
        given = total
    return None if given is None else Usage(input_tokens=given, output_tokens=0, extra=usage.left)


class _Embedding(msgspec.Struct, gc=False):
    embedding: msgspec.Raw = msgspec.Raw(b"null")
    """Numbers by the million: checked to be JSON, and left alone."""


class _Answer(msgspec.Struct, gc=False):
    model: str | None = None
    data: list[_Embedding] | None = None
    usage: Any = None
    error: Any = None


_request = msgspec.json.Decoder(_Request).decode
_answer = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode
_EMPTY: Final = (b"null", b"[]", b'""')
_SHORT: Final = 4  # bytes: what is longer is no such thing, and isn't copied to see that
_KINDS: Final = {str: "a text", int: "a token", list: "a list of tokens"}
_OF_ANSWERS: Final = frozenset(
    ("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed", "n", "reasoning_effort")
)
"""A route's parameters that mean nothing here: a route may serve chats and embeddings alike."""


class OpenAIEmbeddings(NeverStreams):
    """Texts in, vectors out."""

    name = "openai_embeddings"
    free = False
    request_id_header = b"x-request-id"
    forwarded: tuple[bytes, ...] = ()

    def read_request(self, body: bytes) -> Envelope:
        wire, fields = read_fields(body, _request)
        if not wire.model.strip():
            raise InvalidRequest("`model` is empty: name a model or a route", param="model")
        if not wire.input:
            raise InvalidRequest("`input` is empty: it needs at least one text or token", param="input")
        if isinstance(wire.input, list):
            _check_alike(wire.input)
        if wire.stream:
            raise InvalidRequest("`stream: true` is for chats: embeddings come whole", param="stream")
        return Envelope(model=wire.model, max_output_tokens=0, size=len(body), fields=fields)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        fields = dict(envelope.fields)
        for name, value in overrides.items():
            if name not in _OF_ANSWERS:
                fields[name] = msgspec.Raw(_encode(value))
        fields["model"] = msgspec.Raw(_encode(model))
        return _encode(fields)

    def read_answer(self, body: bytes) -> list[Signal]:
        answer = read_typed(body, _answer)
        if isinstance(answer, Signal):
            return [answer]
        if answer.error is not None:
            return [Signal(body, error=inner_refusal(answer.error, body))]
        if not answer.data:
            return [Signal(body, malformed="the answer has no data: it isn't a list of embeddings")]
        for at, each in enumerate(answer.data):
            if memoryview(each.embedding).nbytes <= _SHORT and bytes(each.embedding) in _EMPTY:
                return [Signal(body, malformed=f"data[{at}] of the answer has no embedding")]
        usage = counted(answer.usage, _read)
        return [
            Signal(b"", ((0, OTHER, "stop"),), usage=usage, model=answer.model),
            Signal(b"", end=True),
        ]

    def refusal(self, status: int, body: bytes) -> ProviderError:
        return refusal(status, body)

    def error_body(self, error: HoldfastError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        return error_frame(error, request_id)


def _check_alike(given: Sequence[object]) -> None:
    first = type(given[0])
    for at, each in enumerate(given):
        if type(each) is not first:
            raise InvalidRequest(
                f"`input[{at}]` is {_KINDS[type(each)]}, `input[0]` {_KINDS[first]}: all must be of one kind",
                param=f"input[{at}]",
            )
