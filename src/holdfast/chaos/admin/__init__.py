"""``/admin/…``: settings, scripts, statistics and the journal of a server that runs."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from holdfast.chaos.admin import clock, configuration, journal, state
from holdfast.chaos.admin.calls import BadCall, Call, Endpoint, problem
from holdfast.chaos.errors import ChaosError, nearest
from holdfast.chaos.plan import Reply, whole

if TYPE_CHECKING:
    from holdfast.chaos.admin.calls import Server
    from holdfast.chaos.http import Request

__all__ = ["ENDPOINTS", "Admin"]

ENDPOINTS: tuple[Endpoint, ...] = (
    *state.ENDPOINTS,
    *configuration.ENDPOINTS,
    *journal.ENDPOINTS,
    *clock.ENDPOINTS,
)
"""All of them; the documentation is made from this."""

_encode = msgspec.json.Encoder().encode


class Admin:
    """Answers what is asked under ``/admin/``. On the server's loop only."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def handle(self, request: Request) -> Reply:
        found = [(endpoint, match) for endpoint in ENDPOINTS if (match := endpoint.at(request.path))]
        chosen = next((pair for pair in found if pair[0].method == request.method), None)
        if not (chosen and chosen[0].open) and not self._knows_token(request):
            reply = problem(401, "The admin token is missing or wrong: send Authorization: Bearer TOKEN.")
            reply.headers["www-authenticate"] = "Bearer"
            return reply
        if chosen is None:
            return _no_such(request, [endpoint for endpoint, _ in found])
        endpoint, match = chosen
        try:
            told = endpoint.answer(self._server, Call(request, endpoint, match))
            return told if isinstance(told, Reply) else whole(200, _encode(told))
        except BadCall as error:
            return problem(error.status, str(error))
        except ChaosError as error:
            return problem(400, str(error))

    def _knows_token(self, request: Request) -> bool:
        wanted = self._server.config.admin_token
        if wanted is None:
            return True
        scheme, _, token = (request.header(b"authorization") or b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), wanted.encode())


def _no_such(request: Request, there: list[Endpoint]) -> Reply:
    if not there:
        known = {endpoint.path for endpoint in ENDPOINTS}
        return problem(404, f"There is no {request.path}: {nearest(request.path, known)}")
    allowed = ", ".join(sorted({endpoint.method for endpoint in there}))
    reply = problem(405, f"{request.path} knows no {request.method}; use {allowed}.")
    reply.headers["allow"] = allowed
    return reply
