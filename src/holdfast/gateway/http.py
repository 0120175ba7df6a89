"""The ASGI application: tells requests apart, admits them, and answers every failure in the caller's dialect."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from holdfast import __version__, failpoints
from holdfast.app import DIALECTS
from holdfast.clock import new_id
from holdfast.engine.route import ModelEntry
from holdfast.errors import Abandoned, Draining, Forbidden, HoldfastError, MethodNotAllowed, NotFound
from holdfast.gateway.admin import PATHS as ADMIN
from holdfast.gateway.admin import Admin, is_admin
from holdfast.gateway.asgi import Request, respond
from holdfast.gateway.auth import Gatekeeper, MetricsKeeper
from holdfast.gateway.budget_headers import log_warning
from holdfast.gateway.dependencies import dependencies_of
from holdfast.gateway.door import Door, Running, respond_error
from holdfast.gateway.key_watch import watch_keys
from holdfast.gateway.keyring import Keyring, limit_budgets, limit_rates
from holdfast.gateway.metrics import CONTENT_TYPE
from holdfast.gateway.models import list_models, one_model
from holdfast.gateway.openapi import openapi
from holdfast.gateway.paths import MODELS, POSTS, dialect_of, find
from holdfast.gateway.reload import Reloader
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.app import App
    from holdfast.config import Config, Key
    from holdfast.gateway.asgi import Receive, Scope, Send
    from holdfast.gateway.key_watch import KeyWatch
    from holdfast.gateway.metrics import Metrics
    from holdfast.gateway.paths import Place
    from holdfast.gateway.reload import Source

__all__ = ["Gateway"]

_log = structlog.get_logger("holdfast.gateway")

_METRICS = "/metrics"
_ONE_MODEL = tuple(f"{path}/" for path in MODELS)


class Gateway:
    """The door as an ASGI application.

    Args:
        app: the wired parts.
        metrics: what ``/metrics`` shows; the engine's observer is the same object.
        source: where another configuration may come from while it runs; None: nowhere.

    Raises:
        ConfigError: its address and its keys don't go together, as :class:`~holdfast.gateway.keyring.Keyring` says.
    """

    def __init__(self, app: App, metrics: Metrics, source: Source | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._door = Door(app)
        self.ring = Keyring(app.config, app.stored_keys, app.keys, app.clock)
        """Who may ask: those who have keys now."""
        self.ring.check_exposure()
        self.ring.watch(partial(limit_rates, app, self.ring))
        self.ring.watch(partial(limit_budgets, app, self.ring))
        if (treasury := app.engine.treasury) is not None:
            treasury.on_warning = lambda account: log_warning(account, app.clock.wall_ns())
        self.reloader = Reloader(app, self, source)
        self._metrics.show_reloads(self.reloader)
        self.dependencies = dependencies_of(app)
        self._metrics.show_dependencies(self.dependencies)
        self._admin = Admin(app, self.ring, self.reloader, lambda: self.key_watch)
        self._gatekeeper = Gatekeeper(self.ring)
        self._metrics_keeper = MetricsKeeper(self.ring)
        self._running: set[Running] = set()
        self.key_watch: KeyWatch | None = None
        """Where other processes change keys as well: :meth:`start` begins it."""
        self.on_adopt: list[Callable[[Config], None]] = []
        """Told of each other configuration, in the turn in which it begins to count. Must not raise."""
        self._draining = False
        self._openapi = msgspec.json.encode(openapi(__version__))
        self._open: dict[str, Callable[[Request], Awaitable[None]]] = {
            "/": self._greet,
            "/health/live": self._live,
            "/health/ready": self._ready,
        }
        self._gets: dict[str, Callable[[Request, Key | None], Awaitable[None]]] = {
            **dict.fromkeys(MODELS, self._models),
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

    def start(self) -> None:
        """Follows what other processes change, if there are any. :meth:`aclose` ends it."""
        self.key_watch = self._metrics.key_watch = watch_keys(self._app, self.ring)

    async def aclose(self) -> None:
        """Follows nothing any more, and gives up a reload that isn't applied yet."""
        await self.reloader.aclose()
        if self.key_watch is not None:
            await self.key_watch.aclose()

    def adopt(self) -> None:
        """The app has another configuration: requests that come from now on see that one, and nothing of the one before."""
        self._door = Door(self._app, self._door)
        self.ring.apply(self._app.config)
        self._admin.adopt()
        self._metrics.watch(self._app)
        for adopted in self.on_adopt:
            adopted(self._app.config)

    def drain(self) -> None:
        """From now on not ready: running requests may finish, new ones are refused."""
        self._draining = True
        if failpoints.armed:
            failpoints.hit("drain.begun")

    def cut(self) -> None:
        """Ends what still runs with an honest error: the time to drain is over."""
        reason = Draining("the gateway is shutting down", retry_after_s=1.0)
        for run in list(self._running):
            run.stop(reason)
        self._app.runs.stop(reason)

    async def _answer(self, request: Request, place: Place | None) -> None:
        if (public := self._open.get(request.path)) is not None:
            _check_method(request, "GET")
            await public(request)
            return
        if is_admin(request.path):  # while it drains, too: that is when one looks
            await self._admin.serve(request)
            return
        if request.path == _METRICS:  # then, too: what the last scrape misses is seen by nobody
            self._metrics_keeper.admit(request.headers)
            _check_method(request, "GET")
            await respond(request, 200, await self._metrics.scrape(), content_type=CONTENT_TYPE)
            return
        door = (
            self._door
        )  # of the configuration that counts now; everything up to its first wait belongs to that one
        key = self._gatekeeper.admit(request.headers, request.query)
        if key is not None:
            request.key = key.name
        door.read_brought(request, needed=key is not None)
        get = self._gets.get(request.path)
        if place is None and get is None and request.path.startswith(_ONE_MODEL):
            get = self._model
        if place is None and get is None:
            near = nearest(request.path, [*POSTS, *self._gets, *self._open, _METRICS, *ADMIN])
            hint = f"; did you mean {near[0]}?" if near else ""
            raise NotFound(f"there is no {request.method} {request.path} here{hint}")  # one place counts
        _check_method(request, "POST" if place is not None else "GET")
        if self._draining:
            raise Draining("the gateway is shutting down: send this to another one", retry_after_s=1.0)
        if place is not None:
            await door.serve(request, place, key, self._running)
        elif get is not None:
            await get(request, key)

    async def _models(self, request: Request, key: Key | None) -> None:
        entries = [
            entry
            for entry in self._app.tenants.models(request.key, brought=bool(request.brought))
            if key is None or key.permits(entry.id, entry.id)
        ]
        said = list_models(request.voice.name, entries, request.query)
        await respond(request, 200, msgspec.json.encode(said))

    async def _model(self, request: Request, key: Key | None) -> None:
        name = request.path.partition("/models/")[2]
        resolved = self._app.tenants.resolve(request.key, name, request.voice, request.brought).resolved
        if key is not None and not key.permits(resolved.route, name):
            raise Forbidden(f"the key {key.name!r} may not use the model {name!r}", param="model")
        owner = "holdfast" if resolved.route else resolved.targets[0].provider
        said = one_model(request.voice.name, ModelEntry(name, owner))
        await respond(request, 200, msgspec.json.encode(said))

    async def _greet(self, request: Request) -> None:
        """Some clients knock at the door before they come in."""
        await respond(request, 200, msgspec.json.encode({"name": "holdfast", "version": __version__}))

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
            "dependencies": [msgspec.to_builtins(each) for each in self.dependencies],
        }
        if (crew := self._metrics.crew) is not None:
            said["worker"] = crew.number
        await respond(request, 503 if problems else 200, msgspec.json.encode(said))


def _check_method(request: Request, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise MethodNotAllowed(f"{request.path} takes {method}, not {request.method}")
