"""Reading whole Responses as the stream guard must see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.base import OTHER, REASONING, REFUSAL, TEXT, Signal
from holdfast.dialects.openai_responses.endings import Response, failure
from holdfast.dialects.openai_responses.items import ITEMS
from holdfast.dialects.whole import read_typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["read_answer"]


class _Piece(msgspec.Struct, gc=False):
    type: str | None = None
    text: Any = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    content: list[_Piece] | str | dict[str, Any] | None = None  # a list in every item that is read further


class _Whole(Response, gc=False):
    output: list[_Item] | None = None

    @property
    def kinds(self) -> Iterable[Any]:
        return (item.type for item in self.output or ())


_whole = msgspec.json.Decoder(_Whole).decode
_PIECES: Final[Mapping[str, int]] = {"output_text": TEXT, "refusal": REFUSAL, "reasoning_text": REASONING}


def read_answer(body: bytes) -> list[Signal]:
    """A whole answer as the signals of its split."""
    whole = read_typed(body, _whole)
    if isinstance(whole, Signal):
        return [whole]
    usage = whole.counted
    if whole.failed:
        counted = [Signal(b"", usage=usage)] if usage is not None else []  # it is billed all the same
        return [*counted, Signal(body, error=failure(whole.error))]
    if whole.output is None:
        return [Signal(body, malformed="the answer has no output: it isn't a response")]
    if whole.finish is None:
        return [Signal(body, malformed=f"the answer isn't over: its status is {whole.status!r}")]
    bits, text = _content(whole.output)
    return [
        Signal(b"", ((0, bits, whole.finish),), text, id=whole.id, model=whole.model),
        Signal(b"", usage=usage),
        Signal(b"", end=True),
    ]


def _content(output: Sequence[_Item]) -> tuple[int, str]:
    """The kinds of content that there are, and the text."""
    bits = 0
    texts: list[str] = []
    for item in output:
        bits |= REASONING if item.type == "reasoning" else ITEMS.get(item.type or "", OTHER)
        for piece in item.content if isinstance(item.content, list) else ():
            if piece.type != "output_text":
                bits |= _PIECES.get(piece.type or "", OTHER)
            elif isinstance(piece.text, str) and piece.text:
                bits |= TEXT if not texts else TEXT | OTHER
                texts.append(piece.text)
    return bits, "".join(texts)
