"""Counts a request as the sum of its texts and of what its provider puts around them, by a table of that provider's."""

from __future__ import annotations

import json
from collections.abc import Callable  # noqa: TC003  # msgspec reads the annotations at run time
from typing import TYPE_CHECKING

import msgspec

from holdfast.providers.tokens.bounds import Overhead  # noqa: TC001  # likewise
from holdfast.providers.tokens.count import EMPTY, Count, Kind
from holdfast.providers.tokens.media import dimensions
from holdfast.providers.tokens.pieces import Pieces, pieces, size

if TYPE_CHECKING:
    from holdfast.model.request import Request

__all__ = ["WrappedCounter", "Wrapping"]


class Wrapping(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a provider adds, as it was seen to: the best guess, where :class:`Overhead` is the bound."""

    request: int = 0
    message: int = 0
    system: int = 0
    """To each system prompt, above ``message``."""
    calls: int = 0
    """To each turn with tool calls in it."""
    call: int = 0
    """To a tool call: its frame."""
    argument: int = 0
    """To each of a call's arguments, above its JSON."""
    results: int = 0
    """To each row of results."""
    result: int = 0
    tools: int = 0
    """Once, if there is a tool: the prompt that teaches calling."""
    agent: int = 0
    """Once, if there is a tool, or one was called before: more than the prompt that teaches it."""
    forced: int = 0
    """Above ``tools`` if a tool has to be called."""
    tool: int = 0
    schema: int | None = None
    """Above an output schema's own tokens; None where schemas aren't billed."""
    thinking: int = 0
    keeps_thoughts: bool = False
    """Whether thoughts of turns that are over are billed."""
    compact: bool = False
    """A tool's definition is read as JSON without spaces."""
    tool_percent: int = 100
    """Of the tokens of a tool's definition in JSON: some rewrite it into fewer."""
    sealed_permille: int = 0
    """Tokens for a thousand characters of thoughts that only the provider can read; 0 where they aren't billed."""


class WrappedCounter(msgspec.Struct, frozen=True, kw_only=True):
    """Counts texts by ``measure`` and wraps them. ``kind`` is of texts; a request is never better than reconstructed."""

    measure: Callable[[str], int]
    """Of a text, in thousandths of a token: rounded once, and not for each of many short texts."""
    kind: Kind
    wrapping: Wrapping
    overhead: Overhead
    own: bool = False
    """Whether ``measure`` is the provider's own tokenizer: then what it says bounds a text, and not the text's bytes."""
    image: Callable[[int, int], int]
    """Tokens of a picture by width and height in pixels."""

    def text(self, text: str) -> Count:
        if not text:
            return EMPTY if self.kind == "exact" else Count(0, self.kind, 0)
        tokens = max((self.measure(text) + 999) // 1_000, 1)
        upper = tokens if self.own else size(text)
        return Count(min(tokens, upper), self.kind, upper)

    def request(self, request: Request) -> Count:
        found = pieces(request)
        images = [self._image(each.data or "") for each in found.images]
        said = sum(map(self.measure, found.texts + found.thoughts))
        before = sum(map(self.measure, found.old_thoughts)) if self.wrapping.keeps_thoughts or self.own else 0
        tools = map(_compact, found.tools) if self.wrapping.compact else found.tools
        defined = sum(map(self.measure, tools)) * self.wrapping.tool_percent // 100
        schema = self.measure(found.schema) if self.wrapping.schema is not None else 0
        thousandths = said + (before if self.wrapping.keeps_thoughts else 0) + defined + schema
        tokens = (thousandths + 500) // 1_000 + sum(images) + self._around(found)
        visible = (said + before) // 1_000 + found.written_bytes if self.own else found.text_bytes
        upper = visible + found.sealed + self._most_around(found)
        kind = "reconstructed" if self.own else self.kind
        return Count(max(min(tokens, upper), 1), kind, upper, found.unseen)

    def _most_around(self, found: Pieces) -> int:
        """The bound of what the provider puts around them, pictures included."""
        tools = len(found.tools) + len(found.deferred) + bool(found.schema)
        units = found.messages + found.parts + found.calls + found.results
        return self.overhead.of(tools=tools, messages=units, images=len(found.images))

    def _around(self, found: Pieces) -> int:
        """What the provider puts around them."""
        wrapping = self.wrapping
        added = wrapping.request + wrapping.message * found.messages + wrapping.system * found.systems
        added += (
            wrapping.calls * found.calling + wrapping.call * found.calls + wrapping.argument * found.arguments
        )
        added += wrapping.results * found.answering + wrapping.result * found.results
        added += found.sealed * wrapping.sealed_permille // 1_000
        added += wrapping.thinking if found.thinking else 0
        if found.tools or found.calls:
            added += wrapping.agent
        if found.schema and wrapping.schema is not None:
            added += wrapping.schema
        if found.tools:
            added += wrapping.tools + wrapping.tool * len(found.tools)
            added += wrapping.forced if found.forced else 0
        return added

    def _image(self, data: str) -> int:
        known = dimensions(data)
        return min(self.image(*known), self.overhead.image) if known is not None else self.overhead.image


def _compact(definition: str) -> str:
    if not definition:  # a provider's own, with nothing to say of it
        return definition
    return json.dumps(json.loads(definition), ensure_ascii=False, separators=(",", ":"))
