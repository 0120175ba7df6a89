"""Our own errors in a stream of Responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.dialects.openai_chat.say import error_body

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError

__all__ = ["error_frame"]

_NUMBER: Final = 0
"""How many events went before isn't known here, and readers want a number: they stop at the error, whatever it is."""


def error_frame(error: HoldfastError, request_id: str) -> bytes:
    """A stream's last event: an ``error``, with its fields at the top as it is documented.

    They stand in an ``error`` object as well: OpenAI's SDK raises for that alone, and would let a plain event pass as one of
    many, after which the stream would seem to be over.
    """
    fields = msgspec.json.decode(error_body(error, request_id))["error"]
    event = {
        "type": "error",
        "sequence_number": _NUMBER,
        "code": fields["code"],
        "message": fields["message"],
        "param": fields["param"],
        "error": fields,
    }
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
