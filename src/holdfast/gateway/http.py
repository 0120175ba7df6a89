"""The ASGI application: tells requests apart, admits them, and answers every failure in the caller's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from holdfast import __version__
from holdfast.app import DIALECTS
from holdfast.clock import new_id
from holdfast.engine.route import ModelEntry
from holdfast.errors import Abandoned, Draining, Forbidden, HoldfastError, MethodNotAllowed, NotFound
from holdfast.gateway.asgi import Request, respond
from holdfast.gateway.auth import Gatekeeper
from holdfast.gateway.door import Door, Running, respond_error
from holdfast.gateway.metrics import CONTENT_TYPE
from holdfast.gateway.models import list_models, one_model
from holdfast.gateway.openapi import openapi
from holdfast.gateway.paths import MODELS, POSTS, dialect_of, find
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.app import App
    from holdfast.config import Key
    from holdfast.gateway.asgi import Receive, Scope, Send
    from holdfast.gateway.metrics import Metrics
    from holdfast.gateway.paths import Place

__all__ = ["Gateway"]

_log = structlog.get_logger("holdfast.gateway")

_ONE_MODEL = tuple(f"{path}/" for path in MODELS)


class Gateway:
    """The door as an ASGI application.

    Args:
        app: the wired parts.
        metrics: what ``/metrics`` shows; the engine's observer is the same object.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._door = Door(app)
        self._gatekeeper = Gatekeeper(app.config.keys.values(), local_only=app.config.open)
        self._running: set[Running] = set()
        self._draining = False
        self._openapi = msgspec.json.encode(openapi(__version__))
        self._open: dict[str, Callable[[Request], Awaitable[None]]] = {
            "/": self._greet,
            "/health/live": self._live,
            "/health/ready": self._ready,
        }
        self._gets: dict[str, Callable[[Request, Key | None], Awaitable[None]]] = {
            **dict.fromkeys(MODELS, self._models),
            "/metrics": self._show_metrics,
            "/openapi.json": self._show_openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no ASGI scope {scope['type']!r} is served here")
        app = self._app
        path, headers, query = scope["path"], dict(scope["headers"]), scope["query_string"]
        place = find(path, query)
        request = Request(
            id=new_id(app.clock, app.rng),
            method=scope["method"],
            path=path,
            headers=headers,
            query=query,
            voice=DIALECTS[place.dialect if place is not None else dialect_of(path, headers)],
            receive=receive,
            send=send,
            started_at=app.clock.monotonic(),
            started_ns=app.clock.wall_ns(),
            abort=scope.get("extensions", {}).get("holdfast", {}).get("abort"),
        )
        try:
            await self._answer(request, place)
        except Abandoned as error:
            self._metrics.refused(error)  # it left before it was accepted; nobody is there to be told
        except HoldfastError as error:
            self._metrics.refused(error)
            ours = error.status >= 500 and not isinstance(error, Draining)
            log = _log.warning if ours else _log.info
            log("request refused", request_id=request.id, error=error.label, reason=error.message)
            await respond_error(request, error)
        except Exception:
            _log.exception("a fault of our own", request_id=request.id)
            if request.answered:
                raise  # the server cuts the connection: the client sees that it is not whole
            said = HoldfastError(
                "an internal error of the gateway; its log has the details under this request id"
            )
            await respond_error(request, said)

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

    async def _answer(self, request: Request, place: Place | None) -> None:
        if (public := self._open.get(request.path)) is not None:
            _check_method(request, "GET")
            await public(request)
            return
        key = self._gatekeeper.admit(request.headers, request.query)
        if key is not None:
            request.key = key.name
        get = self._gets.get(request.path)
        if place is None and get is None and request.path.startswith(_ONE_MODEL):
            get = self._model
        if place is None and get is None:
            near = nearest(request.path, [*POSTS, *self._gets, *self._open])
            hint = f"; did you mean {near[0]}?" if near else ""
            raise NotFound(f"there is no {request.method} {request.path} here{hint}")  # one place counts
        _check_method(request, "POST" if place is not None else "GET")
        if self._draining:
            raise Draining("the gateway is shutting down: send this to another one", retry_after_s=1.0)
        if place is not None:
            await self._door.serve(request, place, key, self._running)
        elif get is not None:
            await get(request, key)

    async def _models(self, request: Request, key: Key | None) -> None:
        entries = [
            entry for entry in self._app.routes.models() if key is None or key.permits(entry.id, entry.id)
        ]
        said = list_models(request.voice.name, entries, request.query)
        await respond(request, 200, msgspec.json.encode(said))

    async def _model(self, request: Request, key: Key | None) -> None:
        name = request.path.partition("/models/")[2]
        resolved = self._app.routes.resolve(name)
        if key is not None and not key.permits(resolved.route, name):
            raise Forbidden(f"the key {key.name!r} may not use the model {name!r}", param="model")
        owner = "holdfast" if resolved.route else resolved.targets[0].provider
        said = one_model(request.voice.name, ModelEntry(name, owner))
        await respond(request, 200, msgspec.json.encode(said))

    async def _greet(self, request: Request) -> None:
        """Some clients knock at the door before they come in."""
        await respond(request, 200, msgspec.json.encode({"name": "holdfast", "version": __version__}))

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


def _check_method(request: Request, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise MethodNotAllowed(f"{request.path} takes {method}, not {request.method}")
