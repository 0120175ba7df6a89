"""The clock that is moved by hand: tests let hours pass, and are told when all that fell due has happened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.admin.calls import BadCall, Call, Endpoint, Server, problem
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.plan import Part, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ENDPOINTS"]

_MOST_S = 31_622_400.0  # a year


class _Advance:
    """A reply that is made when the time has passed."""

    def __init__(self, server: Server, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._body = b""
        self.reply = Reply(200, {"content-type": "application/json"}, self._parts(), wait=self._wait)

    def _wait(self, go_on: Callable[[], None]) -> bool:
        self._task = asyncio.get_running_loop().create_task(self._pass())
        self._task.add_done_callback(lambda _task: go_on())
        return False

    async def _pass(self) -> None:
        try:
            woken = await self._server.advance(self._seconds)
        except ChaosError as error:
            refused = problem(400, str(error))
            self.reply.status = refused.status
            self._body = b"".join(part.data for part in refused.parts)
            return
        self._body = msgspec.json.encode({"clock_s": self._server.now, "pauses_ended": woken})

    def _parts(self) -> Iterator[Part]:
        yield Part(self._body, "body")


def _advance(server: Server, call: Call) -> Reply:
    seconds = call.table.get("advance")
    if call.table.keys() != {"advance"} or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise BadCall('the body is {"advance": SECONDS}')
    if not 0 <= seconds <= _MOST_S:
        raise BadCall(f"advance: {seconds} is not between 0 and {_MOST_S:.0f} seconds")
    return _Advance(server, float(seconds)).reply


def _show(server: Server, _call: Call) -> dict[str, Any]:
    return {"clock": server.config.clock, "clock_s": server.now}


ENDPOINTS = (
    Endpoint(
        "GET", "/admin/clock", _show, "the server's clock, in seconds since the start or the last reset"
    ),
    Endpoint(
        "POST",
        "/admin/clock",
        _advance,
        '`{"advance": SECONDS}`: lets that time pass where `clock = "hand"`; answers when all that fell due has happened',
    ),
)
