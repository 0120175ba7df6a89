"""What the simulated model says: numbered tokens that carry the attempt's nonce, tool calls, JSON by a schema, or what a
script puts in their place.

A token's number and nonce make every splice, loss, repetition and swap visible in the text alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.chaos import schema
from holdfast.chaos.answers import template
from holdfast.chaos.answers.tokens import Numbered, evenly, first, pieces, spread, until_stop
from holdfast.chaos.answers.words import Words
from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.wire.errors import Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.chaos.bank import Bank, Row
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.settings import AnswerSettings
    from holdfast.chaos.wire.base import Asked, Operation, Wire

__all__ = ["Answer", "Choice", "Numbered", "ToolCall", "Usage", "compose"]

_CREATED = 1_754_000_000  # a constant: the time of day would make two runs of one seed differ
_NO_LIMIT = 1 << 62
_THOUGHTS = 4  # tokens, where they are asked for and the script leaves them open
_NO_BANKS: Mapping[str, Bank] = {}


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
    """Of its signatures, where it can have some."""

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
    *,
    attempt: int = 1,
    key: str = "",
    banks: Mapping[str, Bank] = _NO_BANKS,
) -> Answer:
    """Decide everything that an attempt's answer says; ``attempt`` is its number under ``key``.

    Raises :class:`schema.SchemaError` for an impossible schema, :class:`Refused` where a template or a bank has no answer
    to this request, and :class:`ChaosError` for a bank that isn't there.
    """
    nonce = draw.hex("nonce", 10)
    maker = _Maker(asked, settings, default_tokens, draw, wire, attempt, key, banks)
    count = asked.choices if operation == "answer" else 0
    choices = [maker.choice(nonce if i == 0 else f"{nonce}.{i}", i) for i in range(count)]
    usage = maker.usage(choices)
    return Answer(wire.answer_id(draw), _CREATED, asked.model, nonce, choices, usage)


class _Draft(msgspec.Struct):
    """What a choice says, before limits and stop sequences."""

    reasoning: Sequence[str]
    text: Sequence[str]
    calls: Sequence[tuple[str | None, str, Sequence[str]]] = ()
    """Id, where it is known, name and arguments."""
    finish: str | None = None


class _Maker:
    """Makes the choices of one answer."""

    def __init__(
        self,
        asked: Asked,
        settings: AnswerSettings,
        default_tokens: int,
        draw: Draw,
        wire: Wire,
        attempt: int,
        key: str,
        banks: Mapping[str, Bank],
    ) -> None:
        self._asked = asked
        self._settings = settings
        self._tokens = default_tokens if settings.tokens is None else settings.tokens
        self._draw = draw
        self._wire = wire
        self._attempt = attempt
        self._key = key
        self._banks = banks
        self._row: Row | None = None

    def choice(self, nonce: str, index: int) -> Choice:
        """One choice, cut to the request's output limit as it would be spoken: thoughts, then text, then calls."""
        asked, settings = self._asked, self._settings
        left = _NO_LIMIT if asked.limit is None else asked.limit
        draft = self._draft(nonce) if settings.bank is None else self._recorded(nonce, index)
        wanted = len(draft.reasoning)
        thoughts = first(draft.reasoning, left)
        left -= len(thoughts)
        full = draft.text
        stopped_by = None
        if asked.stop:
            full, stopped_by = until_stop(full, asked.stop, left)
        text = first(full, left)
        wanted += len(full)
        left -= len(text)
        calls: list[ToolCall] = []
        for i, (known, name, arguments) in enumerate(draft.calls if stopped_by is None else ()):
            wanted += len(arguments)
            if said := first(arguments, left):
                call_id = known or self._wire.call_id(self._draw, f"call {nonce} {i}")
                calls.append(ToolCall(call_id, name, said))
                left -= len(said)
        cut = asked.limit is not None and wanted > asked.limit
        natural = "tool_calls" if calls else "stop"
        if stopped_by is not None:
            natural = "stop_sequence"
        elif draft.finish is not None:
            natural = draft.finish
        signed = thoughts or calls or settings.redacted
        return Choice(
            reasoning=thoughts,
            text=text,
            calls=calls,
            finish=settings.finish or ("length" if cut else natural),
            stopped_by=None if cut else stopped_by,
            thoughts_shown=asked.thoughts == "shown",
            redacted=0 if asked.thoughts == "off" else settings.redacted,
            salt=self._draw.hex(f"signature {nonce}", 24) if signed else "",
        )

    def usage(self, choices: Sequence[Choice]) -> Usage:
        """What all of it is billed as."""
        settings = self._settings
        prompt, cached, written = self._asked.prompt_tokens, settings.cached, settings.cache_written
        if self._row is not None:
            told = self._row.usage
            prompt = prompt if told.prompt_tokens is None else told.prompt_tokens
            cached = told.cached_tokens or cached
            written = told.cache_written_tokens or written
        cached = min(cached, prompt)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=sum(choice.tokens for choice in choices),
            cached_tokens=cached,
            reasoning_tokens=sum(len(choice.reasoning) for choice in choices),
            cache_written_tokens=min(written, prompt - cached),
        )

    def _draft(self, nonce: str) -> _Draft:
        count = self._thoughts()
        thoughts = Numbered(f"{nonce}~", count) if count else ()
        tools = self._asked.tools_to_call(self._settings.tools)
        if not tools:
            return _Draft(thoughts, self._text(nonce))
        calls = [
            (None, tool.name, pieces(self._json(tool.parameters or {"type": "object"}, f"{nonce}.t{i}")))
            for i, tool in enumerate(tools)
        ]
        return _Draft(thoughts, Numbered(nonce, self._settings.preamble), calls)

    def _recorded(self, nonce: str, index: int) -> _Draft:
        """A row of the bank, in as many tokens as it was billed."""
        name = str(self._settings.bank)
        bank = self._banks.get(name)
        if bank is None:
            raise ChaosError(f"unknown bank {name!r}: {nearest(name, self._banks)}")
        row = bank.pick(self._asked, self._settings.pick, self._attempt + index, self._draw, f"bank {nonce}")
        if row is None:
            message = f"No recorded answer of the bank '{name}' fits this request."
            raise Refused(Problem(400, message=message, code="no_recorded_answer"))
        if self._row is None:
            self._row = row
        usage = row.usage
        told = (
            pieces(row.reasoning)
            if usage.reasoning_tokens is None
            else evenly(row.reasoning, usage.reasoning_tokens)
        )
        texts = [row.text, *(call.text for call in row.tool_calls)]
        if usage.completion_tokens is None:
            said = [pieces(text) for text in texts]
        else:
            said = spread(texts, usage.completion_tokens - len(told))
        calls = [(call.id, call.name, part) for call, part in zip(row.tool_calls, said[1:], strict=True)]
        return _Draft(() if self._asked.thoughts == "off" else told, said[0], calls, row.finish)

    def _thoughts(self) -> int:
        if self._asked.thoughts == "off":
            return 0
        if self._settings.reasoning is None:
            return _THOUGHTS if self._asked.thinks else 0
        return self._settings.reasoning

    def _text(self, nonce: str) -> Sequence[str]:
        asked, settings = self._asked, self._settings
        if settings.text is not None:
            return pieces(settings.text)
        if settings.template is not None:
            return pieces(self._rendered(settings.template, nonce))
        if asked.schema is not None:
            return pieces(self._json(asked.schema, nonce))
        if settings.echo:
            return pieces(self._varied("\n".join((asked.last_user_text, *map(str, asked.media))), nonce))
        if settings.prose is not None:
            return pieces(self._varied(settings.prose, nonce))
        if settings.words:
            return Words(int(self._draw.hex(f"words {nonce}", 16), 16), self._tokens)
        return Numbered(nonce, self._tokens)

    def _json(self, wanted: object, nonce: str) -> str:
        return schema.text_for(wanted, nonce, vary=self._settings.vary)

    def _varied(self, text: str, nonce: str) -> str:
        return f"{text} {nonce}" if self._settings.vary else text

    def _rendered(self, source: str, nonce: str) -> str:
        asked = self._asked
        values = template.Values(
            prompt=asked.last_user_text,
            model=asked.model,
            nonce=nonce,
            attempt=self._attempt,
            key=self._key,
            tokens=self._tokens,
            media=[str(part) for part in asked.media],
            tools=[tool.name for tool in asked.tools],
        )
        try:
            return template.render(source, values, template.Random(self._draw, f"template {nonce}"))
        except template.RenderError as error:
            problem = Problem(400, message=f"The answer's template failed: {error}.", code="template_failed")
            raise Refused(problem) from None
