"""How the server is: its health, its counts, its faults; and beginning anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.admin.calls import BadCall, Call, Endpoint, Server
from holdfast.chaos.faults import FAULTS

if TYPE_CHECKING:
    from holdfast.chaos.faults import Fault

__all__ = ["ENDPOINTS"]

_PARTS = ("journal", "counts")


def _health(server: Server, _call: Call) -> dict[str, Any]:
    """Told to anybody: nothing of settings, prompts or files."""
    stats = server.journal.stats(shares=False)
    file = stats["journal"].get("file")
    return {
        "status": "ok",
        "since_reset_s": stats["since_reset_s"],
        "running": stats["running"],
        "attempts": stats["attempts"],
        "journal_file": "none" if file is None else "ok" if file["error"] is None else "failing",
    }


def _stats(server: Server, call: Call) -> dict[str, Any]:
    told = server.journal.stats(shares=call.flag("shares", default=True))
    return {"clock_s": server.now, **told}


def _faults(_server: Server, _call: Call) -> list[dict[str, Any]]:
    return [_told(fault) for fault in FAULTS.values()]


def _told(fault: Fault) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([fault.settings])
    return {
        "name": fault.name,
        "summary": fault.summary,
        "main_setting": fault.primary,
        "plain": fault.plain,
        "stream": fault.stream,
        "settings": components[fault.settings.__name__].get("properties", {}),
    }


def _reset(server: Server, call: Call) -> dict[str, Any]:
    parts = call.table
    for name, value in parts.items():
        if name not in _PARTS or not isinstance(value, bool):
            raise BadCall(f'{name!r}: the body is empty, or {{"journal": true}}, {{"counts": true}}, or both')
    if parts and not any(parts.values()):
        raise BadCall("nothing of that is to be reset")
    server.reset(
        journal=parts.get("journal", not parts),
        counts=parts.get("counts", not parts),
    )
    return {"status": "ok"}


ENDPOINTS = (
    Endpoint("GET", "/admin/health", _health, "that it serves, and what runs; asks for no token", open=True),
    Endpoint(
        "GET",
        "/admin/stats",
        _stats,
        "counts by how attempts ended, status, wire, operation, model, rule and fault; rates, percentiles of durations, "
        "bytes and tokens served and billed; the observed share of each fault with its exact 95 % interval "
        "(`?shares=false`: without)",
        ("shares",),
    ),
    Endpoint("GET", "/admin/faults", _faults, "the faults and their settings, as JSON Schema"),
    Endpoint(
        "POST",
        "/admin/reset",
        _reset,
        'forgets the journal with its statistics (`{"journal": true}`), or the counts of attempts, limits and timeline '
        '(`{"counts": true}`); with an empty body both',
    ),
)
