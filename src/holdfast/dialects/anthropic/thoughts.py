"""Thoughts: ``thinking`` with its signature, ``redacted_thinking``, and signatures of what has no field for one here.

A provider of another dialect may sign a text or a call. In an answer to a caller of this dialect such a signature stands in
a thought without words right behind what it signs: callers hand thoughts back as they came. A request has it there too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.signatures import unmark
from holdfast.dialects.writing import merged
from holdfast.model import Reasoning, Text, ToolCall

if TYPE_CHECKING:
    from holdfast.dialects.anthropic.writer import AnthropicWriter
    from holdfast.dialects.reading import Fields
    from holdfast.model import Part

__all__ = [
    "carried",
    "carrier",
    "read_redacted",
    "read_thinking",
    "signed_by_carrier",
    "signed_elsewhere",
    "write_redacted",
    "write_thought",
]


def read_thinking(block: Fields, *, answered: bool) -> Reasoning:
    """In an answer the signature is simply the provider's, mark and all: only so does it come back unchanged."""
    text = block.needed_text("thinking", "the thought's text")
    signature, signed_by = _whose(block.text("signature") or "", answered=answered)
    return Reasoning(text=text, signature=signature or None, signed_by=signed_by, extra=block.left)


def read_redacted(block: Fields, *, answered: bool) -> Reasoning:
    data, signed_by = _whose(block.needed_text("data", "the encrypted thought"), answered=answered)
    return Reasoning(encrypted=data, signed_by=signed_by, extra=block.left)


def carried(block: Any) -> bool:
    """Whether a block's JSON is a signature of what stands before it: a foreign one, and no thought."""
    if not isinstance(block, dict) or block.get("type") != "thinking" or block.get("thinking") != "":
        return False
    signature = block.get("signature")
    return isinstance(signature, str) and signed_elsewhere(signature)


def signed_elsewhere(signature: str) -> bool:
    """Whether it is the signature of another dialect's provider, and not just the mark of one."""
    plain, issuer = unmark(signature, DIALECT)
    return bool(plain) and issuer != DIALECT


def signed_by_carrier(part: Part | None, block: dict[str, Any], *, answered: bool) -> Part | None:
    """``part`` with the signature in ``block``, which :func:`carried`; None where it can't have one."""
    if not isinstance(part, Text | ToolCall) or part.signature is not None:
        return None
    signature, signed_by = _whose(block["signature"], answered=answered)
    return replace(part, signature=signature, signed_by=signed_by)


def carrier(signature: str) -> dict[str, Any]:
    """The thought without words that holds a marked signature."""
    return {"type": "thinking", "thinking": "", "signature": signature}


def write_thought(thought: Reasoning, writer: AnthropicWriter, path: str) -> list[dict[str, Any]]:
    """Its blocks: none where it can't be said and may be left out, two where it is both told and encrypted."""
    signed = thought.signature is not None or thought.encrypted is not None
    foreign = writer.foreign(thought.signed_by)
    if not writer.answered and signed and foreign:
        writer.refuse(path, "reasoning.foreign")
        return []
    blocks: list[dict[str, Any]] = []
    extra = writer.leftovers(thought.extra, path)
    if thought.encrypted is None or thought.text or thought.signature:
        unsigned = thought.signature is None
        if unsigned and not writer.answered and (foreign or not writer.same):
            writer.refuse(path, "reasoning.text")  # Anthropic takes back only what it signed
        else:
            signature = writer.proof(thought.signature or "", thought.signed_by)
            known = {"type": "thinking", "thinking": thought.text, "signature": signature}
            blocks.append(merged(known, extra if thought.encrypted is None else {}))
    if thought.encrypted is not None:
        blocks.append(merged(write_redacted(writer.proof(thought.encrypted, thought.signed_by)), extra))
    return blocks


def write_redacted(data: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


def _whose(signature: str, *, answered: bool) -> tuple[str, str | None]:
    """A signature, and its issuer (None: this dialect)."""
    if answered:
        return signature, None
    plain, issuer = unmark(signature, DIALECT)
    return plain, issuer if issuer != DIALECT else None
