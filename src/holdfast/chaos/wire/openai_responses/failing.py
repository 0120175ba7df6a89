"""An error in the middle of a stream: its event, and the end that follows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.wire.openai_responses.write import event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.chaos.plan import Part
    from holdfast.chaos.wire.errors import ErrorAnswer

__all__ = ["placed", "unplaced"]

_ERROR = b"event: error"
_NUMBER = re.compile(rb'"sequence_number":(\d+)')


def unplaced(error: ErrorAnswer) -> bytes:
    """The event for ``error``, before it is known where in a stream it stands."""
    return event("error", 0, {"error": error.value["error"]})


def placed(parts: Iterable[Part]) -> Iterator[Part]:
    """The stream's parts; an error among them gets its number, and the response that failed stands behind it."""
    opening = last = b""
    for part in parts:
        if part.kind == "role":
            opening = part.data
        if part.kind != "noise":
            last = part.data
        elif _ERROR in part.data and (said := _payload(part.data)).get("type") == "error":
            part.data = _failed(part.data, said["error"], opening, last)
        yield part


def _failed(data: bytes, error: dict[str, Any], opening: bytes, last: bytes) -> bytes:
    told = _NUMBER.findall(last)
    number = int(told[-1]) + 1 if told else 0
    data = _NUMBER.sub(b'"sequence_number":%d' % number, data, count=1)
    response = _payload(opening).get("response")
    if not isinstance(response, dict):  # nothing was opened, or a fault left nothing of it
        return data
    failure = {"code": error["code"] or error["type"], "message": error["message"]}
    response = {**response, "status": "failed", "error": failure}
    ended = event("response.failed", number + 1, {"response": response})
    return data + (ended.replace(b"\n", b"\r\n") if b"\r\n" in data else ended)


def _payload(data: bytes) -> dict[str, Any]:
    """An event's JSON; empty where a fault left none."""
    text = b"".join(line[6:] for line in data.splitlines() if line.startswith(b"data: "))
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
