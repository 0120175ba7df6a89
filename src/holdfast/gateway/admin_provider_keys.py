"""``/admin/keys/NAME/providers`` and ``/admin/provider-keys``: tenants' own keys to providers, while the gateway runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from holdfast.errors import InvalidRequest, MethodNotAllowed, NotFound
from holdfast.gateway.admin_keys import Operation
from holdfast.gateway.asgi import respond
from holdfast.gateway.body import read_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.gateway.asgi import Request
    from holdfast.gateway.provider_key_desk import ProviderKeyDesk

__all__ = ["OPERATIONS", "ProviderKeyAdmin", "is_provider_keys"]

_OF_ONE: Final = "/admin/keys/{name}/providers"
_ONE: Final = _OF_ONE + "/{provider}"
_ALL: Final = "/admin/provider-keys"
_RESEAL: Final = _ALL + "/reseal"
_MOST_BYTES: Final = 64 * 2**10
_NOT_KEPT: Final = ((b"cache-control", b"no-store"),)
_QUOTED: Final = 100
_PATH: Final = re.compile(r"/admin/keys/(?P<name>[^/]+)/providers(?:/(?P<provider>[^/]+))?")

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", _ALL): Operation(
        name="list_provider_keys", summary="All tenants' own keys to providers, never their text"
    ),
    ("POST", _RESEAL): Operation(
        name="reseal_provider_keys",
        summary="All that are kept, sealed under the newest master key",
        refusals=(409, 503),
    ),
    ("GET", _OF_ONE): Operation(
        name="list_own_keys", summary="One tenant's own keys to providers, never their text"
    ),
    ("PUT", _ONE): Operation(
        name="set_own_key",
        summary="A tenant's own key to a provider, kept sealed; counts from the next request on",
        form="OwnKey",
        refusals=(409, 503),
    ),
    ("DELETE", _ONE): Operation(
        name="remove_own_key",
        summary="Its end: nothing is served with it from the next request on",
        refusals=(503,),
    ),
}


def is_provider_keys(path: str) -> bool:
    """Whether a path is this module's to answer."""
    return path == _ALL or path.startswith(f"{_ALL}/") or _PATH.fullmatch(path) is not None


class ProviderKeyAdmin:
    """Answers what is asked there, of who was let in.

    Args:
        desk: where keys are changed. read_s: how long a body may take.
    """

    def __init__(self, desk: ProviderKeyDesk, *, read_s: float) -> None:
        self._desk = desk
        self.read_s = read_s

    async def serve(self, request: Request, *, by: str) -> None:
        """Answers one request of the admin ``by``.

        Raises:
            Rejected: it asks for what isn't here, or what can't be.
            LedgerUnavailable: it couldn't be written down.
        """
        template, name, provider = _placed(request.path)
        method = "GET" if request.method == "HEAD" else request.method
        operation = OPERATIONS.get((method, template))
        if operation is None:
            takes = " and ".join(method for method, path in OPERATIONS if path == template)
            raise MethodNotAllowed(f"{request.path} takes {takes}, not {request.method}")
        if request.query:
            raise InvalidRequest(f"{request.path} takes no query")
        body = await read_body(request, limit=_MOST_BYTES, read_s=self.read_s) if operation.form else b""
        said = await self._answer(operation.name, name, provider, body, by)
        await respond(request, operation.status, msgspec.json.encode(said), headers=_NOT_KEPT)

    async def _answer(self, operation: str, name: str, provider: str, body: bytes, by: str) -> dict[str, Any]:
        desk = self._desk
        match operation:
            case "set_own_key":
                return await desk.set(name, provider, body, by=by)
            case "remove_own_key":
                return await desk.remove(name, provider, by=by)
            case "reseal_provider_keys":
                return await desk.reseal(by=by)
            case "list_own_keys":
                return {"provider_keys": desk.of(name)}
            case _:
                return {"provider_keys": desk.listed()}


def _placed(path: str) -> tuple[str, str, str]:
    """The path with its names taken out, and the names."""
    if path in (_ALL, _RESEAL):
        return path, "", ""
    found = _PATH.fullmatch(path)
    if found is None:
        raise NotFound(f"there is no {path[:_QUOTED]} here: there are {_ALL} and {_RESEAL}")
    name, provider = unquote(found["name"]), unquote(found["provider"] or "")
    return (_ONE if provider else _OF_ONE), name, provider
