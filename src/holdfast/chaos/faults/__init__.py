"""The faults: one file each, and this table of them. The smallest file, ``reset.py``, is the template for a new one."""

from __future__ import annotations

from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.faults import (
    bad_utf8,
    bom,
    change_id,
    close,
    comments,
    crlf,
    cut,
    deaf,
    deep,
    drop,
    empty,
    error_event,
    error_in_200,
    event_names,
    gzip_bomb,
    half_close,
    hang,
    hang_headers,
    huge,
    malformed,
    missing_fields,
    multi_line,
    no_blank_line,
    no_done,
    no_finish,
    no_usage,
    refuse,
    reorder,
    repeat,
    repeat_done,
    repeat_finish,
    reset,
    segments,
    slow,
    slow_headers,
    split,
    sse_fields,
    stall,
    status,
    truncate,
    unknown_event,
    wrong_encoding,
    wrong_length,
    wrong_type,
    wrong_usage,
)
from holdfast.chaos.faults.base import Fault, FaultSettings

__all__ = ["FAULTS", "Fault", "FaultSettings", "find"]

_MODULES = (
    bad_utf8, bom, change_id, close, comments, crlf, cut, deaf, deep, drop, empty, error_event,
    error_in_200, event_names, gzip_bomb, half_close, hang, hang_headers, huge, malformed, missing_fields,
    multi_line, no_blank_line, no_done, no_finish, no_usage, refuse, reorder, repeat, repeat_done,
    repeat_finish, reset, segments, slow, slow_headers, split, sse_fields, stall, status, truncate,
    unknown_event, wrong_encoding, wrong_length, wrong_type, wrong_usage,
)  # fmt: skip  # a table reads better packed

FAULTS: dict[str, Fault] = {module.FAULT.name: module.FAULT for module in _MODULES}


def find(name: str) -> Fault:
    """The fault called ``name``. Raises :class:`ChaosError` with the nearest name."""
    if (fault := FAULTS.get(name)) is None:
        raise ChaosError(f"unknown fault {name!r}: {nearest(name, FAULTS)}")
    return fault
