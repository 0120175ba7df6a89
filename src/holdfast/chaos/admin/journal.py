"""The journal over HTTP: a list, one entry, an export, or attempts as they end."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, get_args

from holdfast.chaos.admin.calls import BadCall, Call, Endpoint, Server
from holdfast.chaos.admin.follow import Follower
from holdfast.chaos.errors import nearest
from holdfast.chaos.faults import FAULTS
from holdfast.chaos.journal import End
from holdfast.chaos.journal_filter import Filter
from holdfast.chaos.journal_rows import line, row, stable_order
from holdfast.chaos.plan import Part, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.chaos.journal import Entry, Journal

__all__ = ["ENDPOINTS"]

_JSONL = "application/x-ndjson"
_BLOCK = 65_536  # bytes gathered for one write
_STATUS = re.compile(r"[1-9][0-9]{2}|[1-9]xx|none")
_FILTERS = (*Filter.__struct_fields__,)
_ARGUMENTS = (*_FILTERS, "limit", "order", "follow", "stable")


def _where(call: Call) -> Filter:
    said = call.arguments
    if (status := said.get("status")) is not None and not _STATUS.fullmatch(status):
        raise BadCall(f"status={status!r} is no status, class or none: 429, 5xx, none")
    for name, known in (("end", (*get_args(End), "running")), ("fault", (*FAULTS, "any", "none"))):
        if (value := said.get(name)) is not None and value not in known:
            raise BadCall(f"{name}={value!r} can't be meant: {nearest(value, known)}")
    numbers: dict[str, Any] = {
        name: number
        for name in ("attempt", "since", "until")
        if (number := call.whole_number(name)) is not None
    }
    texts: dict[str, Any] = {name: said[name] for name in _FILTERS if name in said and name not in numbers}
    return Filter(**texts, **numbers)


def _entries(journal: Journal, where: Filter, *, newest: bool, limit: int | None) -> Iterator[list[Entry]]:
    """What fits, in blocks; empty ones while nothing does, so that a long search lets others have their turn."""
    last = journal.last_seq  # what comes during a slow export isn't in it: it must end
    at: int | None = last if newest else where.since + 1
    left = limit
    while at is not None and left != 0 and (newest or at <= last):
        found, at = journal.scan(where, at, newest=newest)
        if not newest:
            found = [entry for entry in found if entry.seq <= last]
        if left is not None:
            found = found[:left]
            left -= len(found)
        yield found


def _stable(journal: Journal, where: Filter, limit: int | None) -> Iterator[list[Entry]]:
    """In an order that two runs share: which callers were faster isn't in it."""
    every = chain.from_iterable(_entries(journal, where, newest=False, limit=None))
    yield sorted(every, key=stable_order)[:limit]


def _blocks(pieces: Iterable[bytes]) -> Iterator[Part]:
    """Larger pieces of small ones. An empty one lets others have their turn."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _BLOCK or not piece:
            yield Part(b"".join(gathered), "noise")
            gathered, size = [], 0
    if gathered:
        yield Part(b"".join(gathered), "noise")


def _lines(found: Iterable[list[Entry]], *, stable: bool) -> Iterator[bytes]:
    for entries in found:
        for entry in entries:
            yield line(entry, stable=stable) + b"\n"
        yield b""


def _array(found: Iterable[list[Entry]], *, stable: bool) -> Iterator[bytes]:
    before = b"["
    for entries in found:
        for entry in entries:
            yield before + line(entry, stable=stable)
            before = b",\n"
        yield b""
    yield b"[]" if before == b"[" else b"]"


def _list(server: Server, call: Call) -> Reply:
    return _told(server, call, jsonl=False)


def _export(server: Server, call: Call) -> Reply:
    return _told(server, call, jsonl=True)


def _told(server: Server, call: Call, *, jsonl: bool) -> Reply:
    where = _where(call)
    limit = call.whole_number("limit")
    newest = call.choice("order", "oldest", "newest") == "newest"
    stable = call.flag("stable")
    if call.flag("follow"):
        if newest or stable or where.end == "running":
            raise BadCall(
                "follow=true tells attempts as they end: order=newest, stable=true and end=running don't go with it"
            )
        events = not jsonl and b"text/event-stream" in (call.request.header(b"accept") or b"")
        return Follower(server.journal, where, limit, events=events).reply()
    if stable and newest:
        raise BadCall("stable=true has an order of its own: order=newest doesn't go with it")
    found = (
        _stable(server.journal, where, limit)
        if stable
        else _entries(server.journal, where, newest=newest, limit=limit)
    )
    form = _lines if jsonl else _array
    content_type = _JSONL if jsonl else "application/json"
    return Reply(200, {"content-type": content_type}, _blocks(form(found, stable=stable)))


def _one(server: Server, call: Call) -> Reply | dict[str, Any]:
    entry = server.journal.find(call.number)
    if entry is None:
        there = "it isn't there yet" if call.number > server.journal.last_seq else "it was given up"
        raise BadCall(f"The journal holds no attempt {call.number}: {there}.", 404)
    return row(entry)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/admin/journal",
        _list,
        "a JSON array of attempts; see [filters](#journal). With `?follow=true` those that have ended (after `since`) and "
        "then each as it ends, as JSON lines (server-sent events where `Accept` asks for them)",
        _ARGUMENTS,
    ),
    Endpoint("GET", "/admin/journal/{number}", _one, "one attempt"),
    Endpoint(
        "GET",
        "/admin/journal.jsonl",
        _export,
        "the same as JSON lines; `?stable=true` in an order and without the times, numbers and ports in which two runs "
        "of a seed differ",
        _ARGUMENTS,
    ),
)
