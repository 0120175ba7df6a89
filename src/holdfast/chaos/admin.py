"""``/admin/…``: read the journal, see statistics, set scripts, begin anew."""

from __future__ import annotations

import hmac
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from holdfast.chaos.errors import ChaosError
from holdfast.chaos.plan import Reply, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.http import Request
    from holdfast.chaos.journal import Entry, Journal

__all__ = ["Admin", "entry_json"]

_encode = msgspec.json.Encoder().encode


class _BadCall(Exception):
    """The caller's mistake."""


class Server(Protocol):
    """What is administered."""

    @property
    def config(self) -> ChaosConfig: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def now(self) -> float: ...
    def set_scripts(self, sources: dict[str, Any]) -> None: ...
    def reconfigure(self, config: ChaosConfig) -> None: ...
    async def advance(self, seconds: float) -> int: ...
    def reset(self, *, journal: bool = True, counts: bool = True) -> None: ...


class Admin:
    """The endpoints, by method and path."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._table: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "/admin/config"): self._show_config,
            ("GET", "/admin/journal"): self._show_journal,
            ("GET", "/admin/stats"): self._show_stats,
            ("POST", "/admin/reset"): self._reset,
            ("POST", "/admin/script"): self._set_script,
        }

    def handle(self, request: Request) -> Reply:
        if self._server.config.admin_token is not None and not self._knows_token(request):
            return _error(401, "The admin token is missing or wrong.")
        call = self._table.get((request.method, request.path))
        if call is None:
            allowed = [method for method, path in self._table if path == request.path]
            return _error(405 if allowed else 404, f"There is no {request.method} {request.path}.")
        try:
            return whole(200, _encode(call(request)))
        except (_BadCall, ChaosError) as error:
            return _error(400, str(error))

    def _knows_token(self, request: Request) -> bool:
        scheme, _, token = (request.header(b"authorization") or b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(
            token.strip(), (self._server.config.admin_token or "").encode()
        )

    def _show_journal(self, request: Request) -> list[dict[str, Any]]:
        since = request.argument("since") or "0"
        if not since.isdecimal():
            raise _BadCall(f"since={since!r} is no sequence number")
        entries = self._server.journal.entries(
            model=request.argument("model"), key=request.argument("key"), since=int(since)
        )
        return [entry_json(entry) for entry in entries]

    def _show_stats(self, _request: Request) -> dict[str, Any]:
        entries = self._server.journal.entries()
        return {
            "attempts": len(entries),
            "dropped": self._server.journal.dropped,
            "running": sum(entry.end is None for entry in entries),
            "by_end": Counter(entry.end for entry in entries if entry.end is not None),
            "by_status": Counter(str(entry.status) for entry in entries if entry.status is not None),
            "by_wire": Counter(entry.wire for entry in entries),
            "by_model": Counter(entry.model for entry in entries if entry.model is not None),
            "by_fault": Counter(name for entry in entries for name in entry.faults),
            "bytes_sent": sum(entry.bytes_sent for entry in entries),
            "tokens_served": sum(entry.tokens for entry in entries),
            "prompt_tokens_billed": sum(entry.usage.prompt_tokens for entry in entries),
            "completion_tokens_billed": sum(entry.usage.completion_tokens for entry in entries),
        }

    def _show_config(self, _request: Request) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(self._server.config)
        shown["api_keys"] = ["***"] * len(self._server.config.api_keys)
        shown["admin_token"] = None if self._server.config.admin_token is None else "***"
        shown["keys"] = {f"*** {i}": script for i, script in enumerate(shown["keys"].values(), 1)}
        return shown

    def _reset(self, _request: Request) -> dict[str, Any]:
        self._server.reset()
        return {"status": "ok"}

    def _set_script(self, request: Request) -> dict[str, Any]:
        """``{"model": pattern, "script": script}``, or a table of patterns and scripts under ``scripts``: all or none."""
        try:
            body = msgspec.json.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _BadCall(f"the body is no JSON: {error}") from None
        if isinstance(body, dict) and body.keys() == {"model", "script"} and isinstance(body["model"], str):
            body = {"scripts": {body["model"]: body["script"]}}
        if not isinstance(body, dict) or body.keys() != {"scripts"} or not isinstance(body["scripts"], dict):
            raise _BadCall(
                'the body is {"model": PATTERN, "script": SCRIPT} or {"scripts": {PATTERN: SCRIPT, …}}'
            )
        self._server.set_scripts(body["scripts"])
        return {"status": "ok", "scripts": self._server.config.scripts}


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry as the admin API shows it: the body as text, undecodable bytes replaced."""
    shown: dict[str, Any] = msgspec.structs.asdict(entry)
    shown["body"] = entry.body.decode("utf-8", "replace")
    shown["usage"] = {**msgspec.structs.asdict(entry.usage), "total_tokens": entry.usage.total_tokens}
    return shown


def _error(status: int, message: str) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return whole(status, _encode({"error": error}))
