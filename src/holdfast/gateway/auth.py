"""Who is asking, and whether they may.

On loopback without keys anybody on this machine may. A web page that is open on this machine must not: the browser would
carry its requests here, and the user would pay. So only loopback ``Host`` names are answered (a page that rebinds its own
name to 127.0.0.1 fails), and nothing that a browser says comes from another origin.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from holdfast.errors import Forbidden, Unauthenticated
from holdfast.gateway.brought import GATEWAY_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.config import Key
    from holdfast.gateway.keyring import Keyring

__all__ = ["AdminKeeper", "Gatekeeper", "MetricsKeeper"]


class Gatekeeper:
    """Checks each request before anything else is done for it.

    Args:
        ring: all keys; where callers need none, only this machine's own programs are answered.
    """

    __slots__ = ("_ring",)

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def admit(self, headers: Mapping[bytes, bytes], query: bytes = b"") -> Key | None:
        """The caller's key; None where none is needed.

        Raises:
            Unauthenticated: a key is needed, and none came, or one that isn't good or no longer.
            Forbidden: the request may come from a web page, or it has an admin's key.
        """
        if self._ring.open:
            _check_local(headers)
            return None
        token = _token(headers, query)
        if not token:
            raise Unauthenticated(
                "an API key is needed: send it as `Authorization: Bearer <key>`, `x-api-key`, `x-goog-api-key` or "
                "`api-key`; or as `x-holdfast-key`, where those carry a provider's"
            )
        return self._ring.caller(token)


class AdminKeeper:
    """Checks each request to ``/admin``, which shows what all callers together do: no caller's key opens it.

    Args:
        ring: all keys. Without an admin's, this machine's own programs need none here, if they need none elsewhere.
    """

    __slots__ = ("_ring",)

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def admit(self, headers: Mapping[bytes, bytes]) -> str:
        """Who it is, where the request may be answered: an admin key's name, or ``local``.

        Raises:
            Unauthenticated: an admin key is needed, and none came, or another one.
            Forbidden: there is no admin key and callers need keys, or the request may come from a web page.
        """
        if self._ring.admin_needs_key:
            return self._ring.admin(_admin_token(headers))
        if self._ring.open:
            _check_local(headers)
            return "local"
        raise Forbidden(
            "nothing under /admin is answered without an admin key: set gateway.admin_key, or end the gateway and make one "
            "with 'holdfast keys create NAME --admin'"
        )


class MetricsKeeper:
    """Checks each request to ``/metrics``, which counts what all callers together do: no caller's key opens it.

    Args:
        ring: all keys. With neither a metrics key nor an admin's it is open where callers need no keys.
    """

    __slots__ = ("_ring",)

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def admit(self, headers: Mapping[bytes, bytes]) -> None:
        """Returns where the request may be answered.

        Raises:
            Unauthenticated: a key is needed, and none came, or another one.
            Forbidden: there is none that would open it and callers need keys, or the request may come from a web page.
        """
        if self._ring.metrics_needs_key:
            token = _own_token(headers)
            if not token:
                raise Unauthenticated(
                    "the metrics key is needed: send gateway.metrics_key, or an admin key, as `Authorization: Bearer <key>` "
                    "or `x-api-key`"
                )
            self._ring.metrics(token)
        elif self._ring.open:
            _check_local(headers)
        else:
            raise Forbidden(
                "/metrics counts what all callers do, so no caller's key opens it: set gateway.metrics_key, or make an "
                "admin key with 'holdfast keys create NAME --admin'"
            )


_KEY_HEADERS: Final = (b"x-api-key", b"x-goog-api-key", b"api-key")
"""Anthropic's, Google's and Azure's."""


def _token(headers: Mapping[bytes, bytes], query: bytes) -> bytes:
    """The caller's key, by whichever way its SDK sends it; empty where there is none."""
    if token := headers.get(GATEWAY_KEY, b"").strip():
        return token  # then the others are a provider's
    if token := _bearer(headers):
        return token
    for name in _KEY_HEADERS:
        if token := headers.get(name, b"").strip():
            return token
    # Google's REST examples put it here. It is never logged: no log line of ours has the query.
    return parse_qs(query).get(b"key", [b""])[-1].strip() if query else b""


def _admin_token(headers: Mapping[bytes, bytes]) -> bytes:
    token = _own_token(headers)
    if not token:
        raise Unauthenticated(
            "the admin key is needed: send gateway.admin_key, or one that 'holdfast keys create --admin' made, as "
            "`Authorization: Bearer <key>` or `x-api-key`"
        )
    return token


def _own_token(headers: Mapping[bytes, bytes]) -> bytes:
    """A key that no SDK sends."""
    return _bearer(headers) or headers.get(b"x-api-key", b"").strip()


def _bearer(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _check_local(headers: Mapping[bytes, bytes]) -> None:
    """Raises Forbidden for what a program of this machine would not send."""
    host = headers.get(b"host", b"").decode("latin-1")
    if not _is_loopback_name(host):
        raise Forbidden(
            f"the Host {host!r} is not a name of this machine's loopback: "
            "use http://127.0.0.1, or bind another address and make keys"
        )
    origin = headers.get(b"origin")
    if (origin is not None and not _same_origin(origin.decode("latin-1"), host)) or headers.get(
        b"sec-fetch-site", b"none"
    ) not in (b"none", b"same-origin"):
        raise Forbidden(
            "requests from web pages of other origins are not answered: they would spend your money"
        )


@lru_cache(
    maxsize=256
)  # the same few names come with every request; a caller who invents them can't fill memory
def _is_loopback_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same_origin(origin: str, host: str) -> bool:
    scheme, separator, rest = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and rest == host
