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
    from holdfast.chaos.wire.base import Asked, Operation, Wire

__all__ = ["Answer", "Choice", "Numbered", "ToolCall", "Usage", "compose"]

_PIECE = 6  # characters per token of text that isn't numbered
_CREATED = 1_754_000_000  # a constant: the time of day would make two runs of one seed differ
_NO_LIMIT = 1 << 62
_THOUGHTS = 4  # tokens, where they are asked for and the script leaves them open


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

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class Choice(msgspec.Struct, frozen=True):
    """One answer of perhaps several."""

    reasoning: Sequence[str]
    text: Sequence[str]
    calls: Sequence[ToolCall]
    finish: str
    """stop, length, tool_calls, stop_sequence, content_filter; or a word of the provider's own, from the script."""
    stopped_by: str | None = None
    """The stop sequence that ended it."""
    thoughts_shown: bool = True
    redacted: int = 0
    """Redacted thoughts; they count no tokens."""
    salt: str = ""
    """Of its signatures."""

    @property
    def tokens(self) -> int:
        return len(self.reasoning) + len(self.text) + sum(len(call.pieces) for call in self.calls)

    @property
    def hidden(self) -> int:
        """Tokens that are thought and billed, but not told."""
        return 0 if self.thoughts_shown else len(self.reasoning)


class Usage(msgspec.Struct, frozen=True):
    """Tokens, as billed."""

    prompt_tokens: int = 0
    """All of the prompt, whatever became of it in the cache."""
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_written_tokens: int = 0

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


def compose(
    asked: Asked,
    settings: AnswerSettings,
    default_tokens: int,
    draw: Draw,
    wire: Wire,
    operation: Operation = "answer",
) -> Answer:
    """Decide everything that an attempt's answer says. Raises :class:`schema.SchemaError` for an impossible schema."""
    nonce = draw.hex("nonce", 10)
    maker = _Maker(asked, settings, default_tokens, draw, wire)
    count = asked.choices if operation == "answer" else 0
    choices = [maker.choice(nonce if i == 0 else f"{nonce}.{i}") for i in range(count)]
    prompt = asked.prompt_tokens
    cached = min(settings.cached, prompt)
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=sum(choice.tokens for choice in choices),
        cached_tokens=cached,
        reasoning_tokens=sum(len(choice.reasoning) for choice in choices),
        cache_written_tokens=min(settings.cache_written, prompt - cached),
    )
    return Answer(wire.answer_id(draw), _CREATED, asked.model, nonce, choices, usage)


class _Maker:
    """Makes the choices of one answer."""

    def __init__(
        self, asked: Asked, settings: AnswerSettings, default_tokens: int, draw: Draw, wire: Wire
    ) -> None:
        self._asked = asked
        self._settings = settings
        self._default_tokens = default_tokens
        self._draw = draw
        self._wire = wire

    def choice(self, nonce: str) -> Choice:
        """One choice, cut to the request's output limit as it would be spoken: thoughts, then text, then calls."""
        asked, settings = self._asked, self._settings
        left = _NO_LIMIT if asked.limit is None else asked.limit
        wanted = self._thoughts()
        thoughts = _first(Numbered(f"{nonce}~", wanted), left)
        left -= len(thoughts)
        calls: list[ToolCall] = []
        stopped_by = None
        tools = asked.tools_to_call(settings.tools)
        full: Sequence[str] = Numbered(nonce, settings.preamble) if tools else self._text(nonce)
        if asked.stop:
            full, stopped_by = _stopped(full, asked.stop)
        text = _first(full, left)
        wanted += len(full)
        left -= len(text)
        for i, tool in enumerate(tools if stopped_by is None else ()):
            arguments = _pieces(schema.text_for(tool.parameters or {"type": "object"}, f"{nonce}.t{i}"))
            wanted += len(arguments)
            if said := _first(arguments, left):
                calls.append(ToolCall(self._wire.call_id(self._draw, f"call {nonce} {i}"), tool.name, said))
                left -= len(said)
        cut = asked.limit is not None and wanted > asked.limit
        natural = "tool_calls" if calls else "stop" if stopped_by is None else "stop_sequence"
        return Choice(
            reasoning=thoughts,
            text=text,
            calls=calls,
            finish=settings.finish or ("length" if cut else natural),
            stopped_by=None if cut else stopped_by,
            thoughts_shown=asked.thoughts == "shown",
            redacted=0 if asked.thoughts == "off" else settings.redacted,
            salt=self._draw.hex(f"signature {nonce}", 24),
        )

    def _thoughts(self) -> int:
        if self._asked.thoughts == "off":
            return 0
        if self._settings.reasoning is None:
            return _THOUGHTS if self._asked.thinks else 0
        return self._settings.reasoning

    def _text(self, nonce: str) -> Sequence[str]:
        asked, settings = self._asked, self._settings
        if settings.text is not None:
            return _pieces(settings.text)
        if asked.schema is not None:
            return _pieces(schema.text_for(asked.schema, nonce))
        if settings.echo:
            return _pieces("\n".join((asked.last_user_text, *map(str, asked.media))))
        if settings.prose is not None:
            return _pieces(settings.prose)
        return Numbered(nonce, self._default_tokens if settings.tokens is None else settings.tokens)


def _stopped(pieces: Sequence[str], stop: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """``pieces`` up to the first stop sequence in their text, and that sequence."""
    text = "".join(pieces)
    found = [(at, word) for word in stop if (at := text.find(word)) >= 0]
    if not found:
        return pieces, None
    end, word = min(found)
    kept: list[str] = []
    for piece in pieces:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return kept, word


def _first(pieces: Sequence[str], count: int) -> Sequence[str]:
    if len(pieces) <= count:
        return pieces
    return pieces.first(count) if isinstance(pieces, Numbered) else pieces[:count]


def _pieces(text: str) -> Sequence[str]:
    return [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
