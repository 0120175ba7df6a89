"""JSON that doesn't parse: one event of a stream, or a plain body."""

from collections.abc import Callable
from typing import Literal

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, plain_body, with_body
from holdfast.chaos.plan import Context, Part, Reply


class Malformed(FaultSettings, frozen=True):
    after: After = 0
    """Tokens of a stream served first; its next token is the broken event, the rest follows as if nothing were."""
    how: Literal["cut", "colon", "prefix", "garbage", "quotes", "nan"] = "cut"
    """Cut in its middle, a colon that isn't one, something before it, something after its end, single quotes, or NaN (which
    Python writes)."""


def _cut(said: bytes) -> bytes:
    return said[: len(said) // 2]


def _nan(said: bytes) -> bytes:
    return said[:-1] + b',"score":NaN}'


_BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut": _cut,
    "colon": lambda said: said.replace(b'":', b'"=', 1),
    "prefix": lambda said: said.replace(b"{", b"Warning: {", 1),
    "garbage": lambda said: said + b"}",
    "quotes": lambda said: said.replace(b'"', b"'"),
    "nan": _nan,
}


def _apply(reply: Reply, settings: Malformed, context: Context) -> Reply:
    spoil = _BROKEN[settings.how]
    if not context.stream:
        return with_body(reply, Part(spoil(plain_body(reply).data), "body"))

    def broken(part: Part) -> Part:
        said = part.data.rstrip(b"\r\n")
        return Part(spoil(said) + part.data[len(said) :], "noise", pause=part.pause, hold=part.hold)

    reply.parts = change_token(reply.parts, settings.after, broken)
    return reply


FAULT = Fault("malformed", "JSON that doesn't parse", _apply, Malformed, primary="after")
