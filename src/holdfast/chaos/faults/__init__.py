"""The faults: one file each, and this table of them. The smallest file, ``reset.py``, is the template for a new one."""

from __future__ import annotations

from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.faults import (
    bad_utf8,
    change_id,
    comments,
    crlf,
    cut,
    drop,
    empty,
    error_event,
    error_in_200,
    hang,
    huge,
    malformed,
    no_done,
    no_finish,
    no_usage,
    reorder,
    repeat,
    repeat_done,
    repeat_finish,
    reset,
    segments,
    slow,
    stall,
    status,
    truncate,
    wrong_type,
)
from holdfast.chaos.faults.base import Fault, FaultSettings

__all__ = ["FAULTS", "Fault", "FaultSettings", "find"]

_MODULES = (
    bad_utf8, change_id, comments, crlf, cut, drop, empty, error_event, error_in_200, hang, huge, malformed, no_done,
    no_finish, no_usage, reorder, repeat, repeat_done, repeat_finish, reset, segments, slow, stall, status, truncate,
    wrong_type,
)  # fmt: skip  # a table reads better packed

FAULTS: dict[str, Fault] = {module.FAULT.name: module.FAULT for module in _MODULES}


def find(name: str) -> Fault:
    """The fault called ``name``. Raises :class:`ChaosError` with the nearest name."""
    if (fault := FAULTS.get(name)) is None:
        raise ChaosError(f"unknown fault {name!r}: {nearest(name, FAULTS)}")
    return fault
