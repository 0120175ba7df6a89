"""``/admin/keys``: callers' and admins' keys, made and changed while the gateway runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from holdfast.errors import InvalidRequest, MethodNotAllowed, NotFound
from holdfast.gateway.asgi import respond
from holdfast.gateway.body import read_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.gateway.asgi import Request
    from holdfast.gateway.key_desk import KeyDesk
    from holdfast.gateway.keyring import Keyring

__all__ = ["OPERATIONS", "KeyAdmin", "Operation", "is_keys"]

_ROOT: Final = "/admin/keys"
_MOST_BYTES: Final = 64 * 2**10
"""Of a body: ten times what any form needs."""
_SHOWN_ONCE: Final = ((b"cache-control", b"no-store"),)
_QUOTED: Final = 100


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path, as the OpenAPI document tells it."""

    name: str
    summary: str
    form: str = ""
    """The schema of its body; empty: it takes none."""
    required: bool = True
    """There must be a body."""
    status: int = 200
    query: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    """Beside those of every path here."""


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", _ROOT): Operation(
        name="list_keys", summary="Every key: the file's, then those in the ledger", query=("all",)
    ),
    ("POST", _ROOT): Operation(
        name="create_key",
        summary="A new key. Its text is in this answer, and in none after it",
        form="NewKey",
        status=201,
        refusals=(409, 503),
    ),
    ("GET", _ROOT + "/{name}"): Operation(name="show_key", summary="One key"),
    ("PATCH", _ROOT + "/{name}"): Operation(
        name="change_key",
        summary="Other limits for a key, from the next request on; what isn't named stays",
        form="KeyChanges",
        refusals=(409, 503),
    ),
    ("DELETE", _ROOT + "/{name}"): Operation(
        name="revoke_key", summary="The end of a key, for good and at once", refusals=(409, 503)
    ),
    ("POST", _ROOT + "/{name}/rotate"): Operation(
        name="rotate_key",
        summary="A new text for a key, told this once; the older ones work until the grace is over",
        form="KeyRotation",
        required=False,
        refusals=(409, 503),
    ),
}


def is_keys(path: str) -> bool:
    """Whether a path is this module's to answer."""
    return path == _ROOT or path.startswith(_ROOT + "/")


class KeyAdmin:
    """Answers what is asked under ``/admin/keys``, of who was let in.

    Args:
        ring: what there is. desk: where it is changed. read_s: how long a body may take.
    """

    def __init__(self, ring: Keyring, desk: KeyDesk, *, read_s: float) -> None:
        self._ring = ring
        self._desk = desk
        self.read_s = read_s

    async def serve(self, request: Request, *, by: str) -> None:
        """Answers one request of the admin ``by``.

        Raises:
            Rejected: it asks for what isn't here, or what can't be.
            LedgerUnavailable: it couldn't be written down.
        """
        template, name = _placed(request.path)
        method = "GET" if request.method == "HEAD" else request.method
        operation = OPERATIONS.get((method, template))
        if operation is None:
            takes = " and ".join(method for method, path in OPERATIONS if path == template)
            raise MethodNotAllowed(f"{request.path} takes {takes}, not {request.method}")
        query = _query(request, operation)
        body = await read_body(request, limit=_MOST_BYTES, read_s=self.read_s) if operation.form else b""
        said = await self._answer(operation.name, name, query, body, by)
        await respond(request, operation.status, msgspec.json.encode(said), headers=_SHOWN_ONCE)

    async def _answer(
        self, operation: str, name: str, query: Mapping[str, bool], body: bytes, by: str
    ) -> dict[str, Any]:
        desk = self._desk
        match operation:
            case "create_key":
                return await desk.create(body, by=by)
            case "change_key":
                return await desk.change(name, body, by=by)
            case "rotate_key":
                return await desk.rotate(name, body, by=by)
            case "revoke_key":
                return await desk.revoke(name, by=by)
            case "show_key":
                return desk.show(name)
            case _:
                return {"keys": self._ring.tell_all(over=query.get("all", False))}


def _placed(path: str) -> tuple[str, str]:
    """The path with its name taken out, and the name."""
    name, *rest = path.removeprefix(_ROOT).removeprefix("/").split("/")
    template = "/".join((_ROOT, *(["{name}"] if name else []), *rest))
    if not any(template == known for _, known in OPERATIONS):
        raise NotFound(
            f"there is no {path[:_QUOTED]} here: there are /admin/keys, /admin/keys/NAME and /admin/keys/NAME/rotate"
        )
    return template, name


def _query(request: Request, operation: Operation) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for name, value in parse_qsl(request.query.decode("utf-8", "replace"), keep_blank_values=True):
        said = name[:_QUOTED]
        if name not in operation.query:
            raise InvalidRequest(f"{request.path} takes no query parameter {said!r}", param=said)
        if value not in ("true", "false"):
            raise InvalidRequest(f"{name} must be true or false", param=name)
        found[name] = value == "true"
    return found
