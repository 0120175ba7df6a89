"""An attempt at a chaos provider, as the command line shows it."""

from __future__ import annotations

from typing import Any

__all__ = ["COLUMNS", "RIGHT", "cells", "count", "duration", "line", "size"]

COLUMNS = ("seq", "key", "att", "wire", "model", "faults", "status", "tokens", "first", "time", "end")
RIGHT = ("seq", "att", "tokens", "first", "time")
_ENDS = {
    None: "running",
    "complete": "complete",
    "reset_by_us": "reset",
    "closed_by_us": "closed",
    "half_closed_by_us": "half-closed",
    "client_left": "client left",
}
_NS = 1e9
_WIDTHS = (6, 10, 3, 11, 20, 14, 6, 6, 8, 8, 0)


def cells(entry: dict[str, Any], now_ns: int | None = None) -> tuple[str, ...]:
    """One cell for each of :data:`COLUMNS`; a key that is the model's name isn't repeated.

    ``now_ns``: on the provider's clock, so that what runs tells for how long.
    """
    key, model = entry["script_key"], entry["model"]
    end = entry["end"]
    operation = "" if entry["operation"] == "answer" else f" {entry['operation']}"
    return (
        str(entry["seq"]),
        "" if key is None or key == model else key,
        "" if entry["attempt"] is None else str(entry["attempt"]),
        entry["wire"] + operation,
        model or "",
        ", ".join(entry["faults"]) or "–",
        "–" if entry["status"] is None else str(entry["status"]),
        str(entry["tokens"]),
        _since_arrival(entry, entry["first_token_ns"]),
        _since_arrival(entry, now_ns if end is None else entry["ended_ns"]),
        _ENDS.get(end, str(end)),
    )


def _since_arrival(entry: dict[str, Any], at_ns: int | None) -> str:
    return "" if at_ns is None else duration(max(0, at_ns - entry["arrived_ns"]) / _NS)


def duration(seconds: float | None) -> str:
    """``840 µs``, ``12 ms``, ``1.24 s``, ``2 m 05 s``: three digits or so."""
    if seconds is None:
        return "–"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{_short(seconds * 1e3)} ms"
    if seconds < 120:
        return f"{_short(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {rest:02} s"


def count(number: float) -> str:
    """``7``, ``0.4``, ``12,345``."""
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.1f}"


def size(number: float) -> str:
    """``512 B``, ``1.2 kB``, ``34.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{_short(number)} {unit}" if unit != "B" else f"{number:.0f} B"
        number /= 1000
    return f"{number:,.1f} TB"


def _short(number: float) -> str:
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def line(entry: dict[str, Any]) -> str:
    """One attempt as one line, in columns that stay in line without knowing what comes."""
    values = cells(entry)
    return "  ".join(value.ljust(width) for value, width in zip(values, _WIDTHS, strict=True)).rstrip()
