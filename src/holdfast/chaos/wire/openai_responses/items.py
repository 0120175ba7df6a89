"""What an answer puts out: its thoughts, its message, its calls, each one an item with an id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos import signature
from holdfast.chaos.wire.openai_responses.flavours import TEXT, THOUGHT, Channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.chaos.answer import Choice, ToolCall
    from holdfast.chaos.wire.openai_responses.flavours import Flavour
    from holdfast.chaos.wire.openai_responses.read import Responding

__all__ = ["Item", "is_encrypted", "items"]

_CUT = ("length", "max_output_tokens", "content_filter")
_HEXADECIMAL = frozenset("0123456789abcdef")
_DIGITS = 24  # hexadecimal, of an item's id


class Item(msgspec.Struct, frozen=True):
    added: dict[str, Any]
    """As it begins."""
    done: dict[str, Any]
    """As it ends."""
    kind: Literal["reasoning", "text", "tool"]
    pieces: Sequence[str] = ()
    channel: Channel | None = None
    """How its pieces are told; None: as a call's arguments."""
    unseen: int = 0
    """Tokens of it that are billed, but told to nobody."""

    @property
    def id(self) -> str:
        return str(self.added["id"])


def is_encrypted(flavour: Flavour, given: str, item_id: str | None = None) -> bool:
    """Whether this provider made it; where ``item_id`` is given: for the item that is called so."""
    if item_id is None:
        return signature.holds(_issuer(flavour), "", given)
    salt = _salt_of(item_id)
    return set(salt) <= _HEXADECIMAL and len(salt) == _DIGITS and _encrypted(flavour, item_id) == given


def _encrypted(flavour: Flavour, item_id: str) -> str:
    """The encrypted content of an item. What it is a signature of is the item's own id."""
    return signature.made(_issuer(flavour), "", _salt_of(item_id))


def _issuer(flavour: Flavour) -> str:
    return f"{flavour.issuer} thoughts"


def _salt_of(item_id: str) -> str:
    return item_id.partition("_")[2][:_DIGITS]


def items(choice: Choice, asked: Responding, flavour: Flavour) -> list[Item]:
    """The items of an answer in their order. Something is always said, if only an empty text."""
    made: list[Item] = []

    def identity(kind: str) -> str:
        # Each of an answer's items has the answer's salt, and its own number in the last two digits.
        digits = f"{choice.salt[: _DIGITS - 2]}{len(made):02x}"
        return flavour.item_id(kind, digits, stored=asked.stored)

    spoken = bool(choice.text) or not (choice.calls or choice.reasoning)
    last = len(choice.calls) + spoken
    cut = choice.finish in _CUT
    if choice.reasoning:
        made.append(_thoughts(choice, identity("rs"), asked, flavour))
    if spoken:
        last -= 1
        phase = "commentary" if choice.calls else "final_answer"
        made.append(_message(choice, identity("msg"), phase, _status(cut=cut and last == 0)))
    for call in choice.calls:
        last -= 1
        made.append(_call(call, identity("fc"), _status(cut=cut and last == 0)))
    return made


def _status(*, cut: bool) -> str:
    return "incomplete" if cut else "completed"


def _thoughts(choice: Choice, item_id: str, asked: Responding, flavour: Flavour) -> Item:
    channel = flavour.thoughts
    proof = {"encrypted_content": _encrypted(flavour, item_id)} if asked.encrypted else {}
    added: dict[str, Any] = {"id": item_id, "type": "reasoning", **proof, "summary": []}
    if flavour.beside_reasoning:
        added["status"] = "in_progress"
    if channel is THOUGHT:
        added["content"] = []
    done = {**added, **flavour.beside_reasoning}
    if choice.thoughts_shown:
        told = {**channel.empty, "text": "".join(choice.reasoning)}
        done["content" if channel is THOUGHT else "summary"] = [told]
        return Item(added, done, "reasoning", choice.reasoning, channel)
    return Item(added, done, "reasoning", (), channel, choice.hidden)


def _message(choice: Choice, item_id: str, phase: str, status: str) -> Item:
    added: dict[str, Any] = {
        "id": item_id,
        "type": "message",
        "status": "in_progress",
        "content": [],
        "phase": phase,
        "role": "assistant",
    }
    said = {**TEXT.empty, "text": "".join(choice.text)}
    return Item(added, {**added, "status": status, "content": [said]}, "text", choice.text, TEXT)


def _call(call: ToolCall, item_id: str, status: str) -> Item:
    added = {
        "id": item_id,
        "type": "function_call",
        "status": "in_progress",
        "arguments": "",
        "call_id": call.id,
        "name": call.name,
    }
    return Item(added, {**added, "status": status, "arguments": call.arguments}, "tool", call.pieces)
