"""The ASGI application: tells requests apart, admits them, and answers every failure in the caller's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from holdfast import __version__
from holdfast.app import DIALECTS
from holdfast.clock import new_id
from holdfast.errors import Abandoned, Draining, HoldfastError, MethodNotAllowed, NotFound
from holdfast.gateway.asgi import Request, respond
from holdfast.gateway.auth import Gatekeeper
from holdfast.gateway.chat import ChatDoor, Running, respond_error
from holdfast.gateway.metrics import CONTENT_TYPE
from holdfast.gateway.openapi import openapi
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.app import App
    from holdfast.config import Key
    from holdfast.gateway.asgi import Receive, Scope, Send
    from holdfast.gateway.metrics import Metrics

__all__ = ["Gateway"]

_log = structlog.get_logger("holdfast.gateway")


class Gateway:
    """The door as an ASGI application.

    Args:
        app: the wired parts.
        metrics: what ``/metrics`` shows; the engine's observer is the same object.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._dialect = DIALECTS["openai_chat"]
        self._chat = ChatDoor(app, self._dialect)
        self._gatekeeper = Gatekeeper(app.config.keys.values(), local_only=app.config.open)
        self._running: set[Running] = set()
        self._draining = False
        self._openapi = msgspec.json.encode(openapi(__version__))
        self._open: dict[str, tuple[str, Callable[[Request], Awaitable[None]]]] = {
            "/health/live": ("GET", self._live),
            "/health/ready": ("GET", self._ready),
        }
        self._guarded: dict[str, tuple[str, Callable[[Request, Key | None], Awaitable[None]]]] = {
            "/v1/chat/completions": ("POST", self._complete),
            "/v1/models": ("GET", self._models),
            "/metrics": ("GET", self._show_metrics),
            "/openapi.json": ("GET", self._show_openapi),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no ASGI scope {scope['type']!r} is served here")
        app = self._app
        request = Request(
            id=new_id(app.clock, app.rng),
            method=scope["method"],
            path=scope["path"],
            headers=dict(scope["headers"]),
            receive=receive,
            send=send,
            started_at=app.clock.monotonic(),
            started_ns=app.clock.wall_ns(),
            abort=scope.get("extensions", {}).get("holdfast", {}).get("abort"),
        )
        try:
            await self._answer(request)
        except Abandoned as error:
            self._metrics.refused(error)  # it left before it was accepted; nobody is there to be told
        except HoldfastError as error:
            self._metrics.refused(error)
            ours = error.status >= 500 and not isinstance(error, Draining)
            log = _log.warning if ours else _log.info
            log("request refused", request_id=request.id, error=error.label, reason=error.message)
            await respond_error(request, error, self._dialect)
        except Exception:
            _log.exception("a fault of our own", request_id=request.id)
            if request.answered:
                raise  # the server cuts the connection: the client sees that it is not whole
            said = HoldfastError(
                "an internal error of the gateway; its log has the details under this request id"
            )
            await respond_error(request, said, self._dialect)

    @property
    def running(self) -> int:
        """Requests that are being served."""
        return len(self._running)

    def drain(self) -> None:
        """From now on not ready: running requests may finish, new ones are refused."""
        self._draining = True

    def cut(self) -> None:
        """Ends what still runs with an honest error: the time to drain is over."""
        for run in list(self._running):
            run.stop(Draining("the gateway is shutting down", retry_after_s=1.0))

    async def _answer(self, request: Request) -> None:
        if (public := self._open.get(request.path)) is not None:
            self._check_method(request, public[0])
            await public[1](request)
            return
        key = self._gatekeeper.admit(request.headers)
        if key is not None:
            request.key = key.name
        found = self._guarded.get(request.path)
        if found is None:
            near = nearest(request.path, [*self._guarded, *self._open])
            hint = f"; did you mean {near[0]}?" if near else ""
            raise NotFound(f"there is no {request.method} {request.path} here{hint}")  # one place counts
        self._check_method(request, found[0])
        if self._draining:
            raise Draining("the gateway is shutting down: send this to another one", retry_after_s=1.0)
        await found[1](request, key)

    def _check_method(self, request: Request, method: str) -> None:
        if request.method != method:
            raise MethodNotAllowed(f"{request.path} takes {method}, not {request.method}")

    async def _complete(self, request: Request, key: Key | None) -> None:
        await self._chat.serve(request, key, self._running)

    async def _models(self, request: Request, key: Key | None) -> None:
        entries = [
            {"id": entry.id, "object": "model", "created": 0, "owned_by": entry.owned_by}
            for entry in self._app.routes.models()
            if key is None or key.permits(entry.id, entry.id)
        ]
        await respond(request, 200, msgspec.json.encode({"object": "list", "data": entries}))

    async def _show_metrics(self, request: Request, key: Key | None) -> None:  # noqa: ARG002  # same shape as its siblings
        await respond(request, 200, self._metrics.expose(), content_type=CONTENT_TYPE)

    async def _show_openapi(self, request: Request, key: Key | None) -> None:  # noqa: ARG002  # same shape as its siblings
        await respond(request, 200, self._openapi)

    async def _live(self, request: Request) -> None:
        await respond(request, 200, b'{"status":"live"}')

    async def _ready(self, request: Request) -> None:
        health = self._app.ledger.health()
        problems = []
        if self._draining:
            problems.append("draining")
        if not health.ok:
            problems.append(f"ledger: {health.reason}")
        said = {
            "status": "ready" if not problems else "not ready",
            "problems": problems,
            "in_flight": self.running,
            "ledger": {
                "ok": health.ok,
                "queued": health.queued,
                "oldest_pending_s": round(health.oldest_pending_s, 3),
            },
        }
        await respond(request, 503 if problems else 200, msgspec.json.encode(said))
