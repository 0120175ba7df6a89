"""What the simulated model says: numbered tokens that carry the attempt's nonce, tool calls, or JSON by a schema.

A token's number and nonce make every splice, loss, repetition and swap visible in the text alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import msgspec

from holdfast.chaos import schema

if TYPE_CHECKING:
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.settings import AnswerSettings
    from holdfast.chaos.wire.openai_chat import ChatRequest

__all__ = ["Answer", "Choice", "Numbered", "ToolCall", "Usage", "compose"]

_PIECE = 6  # characters per token of text that isn't numbered
_CREATED = 1_754_000_000  # a constant: the time of day would make two runs of one seed differ
_NO_LIMIT = 1 << 62


class Numbered(Sequence[str]):
    """The tokens ``'{nonce}:0 '``, ``'{nonce}:1 '`` …, made as they are asked for: a million cost nothing."""

    def __init__(self, nonce: str, count: int) -> None:
        self._nonce = nonce
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return f"{self._nonce}:{index} "

    def first(self, count: int) -> Numbered:
        """The first ``count`` of them."""
        return Numbered(self._nonce, count)

    def __iter__(self) -> Iterator[str]:
        nonce = self._nonce
        return (f"{nonce}:{i} " for i in range(self._count))


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    pieces: Sequence[str]
    """The arguments' JSON text, as it is streamed."""


class Choice(msgspec.Struct, frozen=True):
    reasoning: Sequence[str]
    text: Sequence[str]
    calls: Sequence[ToolCall]
    finish: str

    @property
    def tokens(self) -> int:
        return len(self.reasoning) + len(self.text) + sum(len(call.pieces) for call in self.calls)


class Usage(msgspec.Struct, frozen=True):
    """Tokens, as billed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Answer(msgspec.Struct, frozen=True):
    id: str
    created: int
    model: str
    nonce: str
    choices: Sequence[Choice]
    usage: Usage


def compose(request: ChatRequest, settings: AnswerSettings, default_tokens: int, draw: Draw) -> Answer:
    """Decide everything that an attempt's answer says. Raises :class:`schema.SchemaError` for an impossible schema."""
    nonce = draw.hex("nonce", 10)
    choices = [
        _choice(request, settings, default_tokens, draw, nonce if i == 0 else f"{nonce}.{i}")
        for i in range(request.n or 1)
    ]
    prompt = request.prompt_tokens()
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=sum(choice.tokens for choice in choices),
        cached_tokens=min(settings.cached, prompt),
        reasoning_tokens=sum(len(choice.reasoning) for choice in choices),
    )
    return Answer(f"chatcmpl-{draw.hex('id', 28)}", _CREATED, request.model, nonce, choices, usage)


def _choice(
    request: ChatRequest, settings: AnswerSettings, default_tokens: int, draw: Draw, nonce: str
) -> Choice:
    """One choice, cut to the request's output limit as it would be spoken: thoughts, then text or calls in order."""
    limit = request.output_limit
    left = _NO_LIMIT if limit is None else limit
    thoughts = _first(Numbered(f"{nonce}~", settings.reasoning), left)
    left -= len(thoughts)
    wanted = settings.reasoning
    text: Sequence[str] = ()
    calls: list[ToolCall] = []
    if tools := request.tools_to_call(settings.tools):
        for i, tool in enumerate(tools):
            arguments = _pieces(schema.text_for(tool.parameters or {"type": "object"}, f"{nonce}.t{i}"))
            wanted += len(arguments)
            if said := _first(arguments, left):
                calls.append(ToolCall(f"call_{draw.hex(f'call {nonce} {i}', 24)}", tool.name, said))
                left -= len(said)
    else:
        full = _text(request, settings, default_tokens, nonce)
        wanted += len(full)
        text = _first(full, left)
    natural = "tool_calls" if calls else "stop"
    cut = limit is not None and wanted > limit
    return Choice(thoughts, text, calls, settings.finish or ("length" if cut else natural))


def _text(request: ChatRequest, settings: AnswerSettings, default_tokens: int, nonce: str) -> Sequence[str]:
    if settings.text is not None:
        return _pieces(settings.text)
    if (asked := request.schema_asked()) is not None:
        return _pieces(schema.text_for(asked, nonce))
    if settings.prose is not None:
        return _pieces(settings.prose)
    return Numbered(nonce, default_tokens if settings.tokens is None else settings.tokens)


def _first(pieces: Sequence[str], count: int) -> Sequence[str]:
    if len(pieces) <= count:
        return pieces
    return pieces.first(count) if isinstance(pieces, Numbered) else pieces[:count]


def _pieces(text: str) -> Sequence[str]:
    return [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
