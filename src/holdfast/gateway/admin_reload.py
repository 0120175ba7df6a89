"""``/admin/reload`` and ``/admin/config``: the configuration read anew, and which one counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from holdfast.errors import ConfigError, InvalidRequest, MethodNotAllowed, NotFound
from holdfast.gateway.asgi import respond

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.app import App
    from holdfast.gateway.asgi import Request
    from holdfast.gateway.key_watch import KeyWatch
    from holdfast.gateway.reload import Reloader

__all__ = ["INVALID", "OPERATIONS", "RELOAD_PATHS", "ReloadAdmin", "ReloadOperation", "is_reload"]

_RELOAD: Final = "/admin/reload"
_CONFIG: Final = "/admin/config"
RELOAD_PATHS: Final = (_RELOAD, _CONFIG)
INVALID: Final = 422
"""The status of a configuration that can't be applied."""
_QUOTED: Final = 100


class ReloadOperation(Struct, frozen=True, kw_only=True):
    """One method of one path, as it is served and as the OpenAPI document tells it."""

    name: str
    summary: str
    answer: str
    """The schema of what it says."""
    query: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    """Beside those of every path here."""


OPERATIONS: Final[Mapping[tuple[str, str], ReloadOperation]] = {
    ("POST", _RELOAD): ReloadOperation(
        name="reload_config",
        summary="The configuration is read anew, and counts from now on: all of it, or nothing where anything is wrong",
        answer="Reloaded",
        query=("dry_run",),
        refusals=(409, INVALID),
    ),
    ("GET", _CONFIG): ReloadOperation(
        name="show_config",
        summary="Which configuration counts, and what became of the last reload",
        answer="Config",
    ),
}


def is_reload(path: str) -> bool:
    """Whether a path is this module's to answer, if only with a 404."""
    return any(path == root or path.startswith(f"{root}/") for root in RELOAD_PATHS)


class ReloadAdmin:
    """Answers what is asked of the configuration, of who was let in.

    Args:
        app: whose it is.
        reloader: reads it anew.
        watch: follows keys that other processes change, if any do.
    """

    def __init__(self, app: App, reloader: Reloader, watch: Callable[[], KeyWatch | None]) -> None:
        self._app = app
        self._reloader = reloader
        self._watch = watch

    async def serve(self, request: Request, *, by: str) -> None:
        """Answers one request of the admin ``by``.

        Raises:
            Rejected: it asks for what isn't here.
        """
        path = request.path
        method = "GET" if request.method == "HEAD" else request.method
        operation = OPERATIONS.get((method, path))
        if operation is None:
            takes = " or ".join(method for method, known in OPERATIONS if known == path)
            if not takes:
                raise NotFound(f"there is no {path[:_QUOTED]} here: there are {' and '.join(RELOAD_PATHS)}")
            raise MethodNotAllowed(f"{path} takes {takes}, not {request.method}")
        arguments = _arguments(request, operation)
        if operation.name == "show_config":
            await respond(request, 200, msgspec.json.encode(self._config()))
            return
        dry_run = arguments.get("dry_run", False)
        try:
            done = await self._reloader.reload(by=by, dry_run=dry_run)
        except ConfigError as error:
            await respond(request, INVALID, msgspec.json.encode(self._refusal(error)))
            return
        # Those of this machine read the same file; the one that was asked is as far already.
        asked = not dry_run and self._reloader.ask_others()
        said = {**msgspec.to_builtins(done), "workers": "asked" if asked else None}
        await respond(request, 200, msgspec.json.encode(said))

    def _config(self) -> dict[str, Any]:
        live, reloader, watch = self._app.live, self._reloader, self._watch()
        return {
            "generation": live.generation,
            "since_ns": live.since_ns,
            "file": live.config.file,
            "hash": reloader.hash,
            "keys_age_s": None if watch is None else watch.age_s,
            "reloads": dict(reloader.counts),
            "last": None if reloader.last is None else msgspec.to_builtins(reloader.last),
        }

    def _refusal(self, error: ConfigError) -> dict[str, Any]:
        """As OpenAI's errors, which every answer here that isn't one is; with each problem for itself."""
        return {
            "error": {
                "message": error.message,
                "type": "invalid_request_error",
                "param": None,
                "code": error.code,
            },
            "problems": error.problems or (error.message,),
            "generation": self._app.live.generation,
        }


def _arguments(request: Request, operation: ReloadOperation) -> dict[str, bool]:
    """The query's. One that is misspelt and ignored would do what was only to be shown."""
    found: dict[str, bool] = {}
    for name, value in parse_qsl(request.query.decode("utf-8", "replace"), keep_blank_values=True):
        said = name[:_QUOTED]
        if name not in operation.query:
            raise InvalidRequest(f"{request.path} takes no query parameter {said!r}", param=said)
        if value not in ("true", "false"):
            raise InvalidRequest(f"{name} must be true or false", param=name)
        found[name] = value == "true"
    return found
