"""A short way for the chunk that nearly every chunk is: more text, or more of a thought, and nothing else new.

It tells what the whole reading (:mod:`holdfast.dialects.openai_chat.stream`) would tell, a sixth of the time later; a chunk
with any field that it doesn't expect is none of its business.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

__all__ = ["Chunk", "Delta", "Meta", "read_quickly"]

Meta: TypeAlias = tuple[Any, ...]
"""What the stream repeats in each chunk. While it doesn't change there is nothing to tell of it."""


class Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    delta: Delta
    index: int = 0
    finish_reason: None = None
    logprobs: UnsetType | None = UNSET


class Chunk(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One choice's delta, and what stands around it."""

    choices: tuple[_Choice]
    id: str
    model: str
    object: str
    created: int
    system_fingerprint: str | UnsetType | None = UNSET
    service_tier: str | UnsetType | None = UNSET
    usage: None = None
    obfuscation: str | None = None

    @property
    def meta(self) -> Meta:
        return (
            self.id,
            self.model,
            self.object,
            self.created,
            self.system_fingerprint,
            self.service_tier,
        )


_decode = msgspec.json.Decoder(Chunk).decode


def read_quickly(data: bytes) -> Chunk | None:
    """The chunk, if it is such a one."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
