"""An entry of the journal as JSON: of the admin API, its exports and the journal's file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from holdfast.chaos.journal import Entry

__all__ = ["line", "row", "stable_order"]

_encode = msgspec.json.Encoder().encode
_UNSTABLE = (
    "seq", "arrived_wall_ns", "arrived_ns", "arrived_s", "first_token_ns", "ended_ns", "ended_wall_ns",
    "client_closed_ns", "client",
)  # fmt: skip  # a table reads better packed
_UNSTABLE_HEADERS = ("host",)
_LONGEST_CHARACTER = 4  # bytes in UTF-8


def row(entry: Entry, *, stable: bool = False) -> dict[str, Any]:
    """Every field. The body is text in ``body`` or, where it isn't UTF-8, Base64 in ``body_base64``.

    ``stable``: less all that differs between two runs of a seed: numbers of arrival, times, ports.
    """
    shown: dict[str, Any] = msgspec.structs.asdict(entry)
    shown["usage"] = {**msgspec.structs.asdict(entry.usage), "total_tokens": entry.usage.total_tokens}
    text = _text(entry)
    shown["body"] = text
    if text is None:
        shown["body_base64"] = entry.body
    if stable:
        for name in _UNSTABLE:
            del shown[name]
        shown["headers"] = {k: v for k, v in entry.headers.items() if k not in _UNSTABLE_HEADERS}
    return shown


def line(entry: Entry, *, stable: bool = False) -> bytes:
    """:func:`row` as one line of JSON, without its end."""
    shown = row(entry, stable=stable)
    try:
        return _encode(shown)
    except UnicodeEncodeError:  # a caller's JSON may hold half of a surrogate pair
        if (raw := shown.get("body_base64")) is not None:
            shown["body_base64"] = msgspec.to_builtins(raw)
        return json.dumps(shown, separators=(",", ":")).encode()


def stable_order(entry: Entry) -> tuple[str, str, int, str, str, str]:
    """What two runs of a seed sort by the same way, whichever of their callers was faster."""
    return (
        entry.script_key or "",
        entry.operation,
        entry.attempt or 0,
        entry.wire,
        entry.path,
        entry.body_sha256,
    )


def _text(entry: Entry) -> str | None:
    """The body as text; where its end was not kept, without a character that was cut in two. None: it isn't UTF-8."""
    body = entry.body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        cut = len(body) < entry.body_size and error.reason == "unexpected end of data"
        return body[: error.start].decode() if cut and len(body) - error.start < _LONGEST_CHARACTER else None
