"""Who is asking, and whether they may.

On loopback without keys anybody on this machine may. A web page that is open on this machine must not: the browser would
carry its requests here, and the user would pay. So only loopback ``Host`` names are answered (a page that rebinds its own
name to 127.0.0.1 fails), and nothing that a browser says comes from another origin.
"""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from holdfast.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.config import Key

__all__ = ["Gatekeeper"]


class Gatekeeper:
    """Checks each request before anything else is done for it.

    Args:
        keys: the callers' keys; with any, each request must carry one.
        local_only: no key is needed, so only this machine's own programs are answered.
    """

    __slots__ = ("_by_hash", "_local_only")

    def __init__(self, keys: Iterable[Key], *, local_only: bool) -> None:
        self._by_hash = {key.sha256: key for key in keys}
        self._local_only = local_only

    def admit(self, headers: Mapping[bytes, bytes], query: bytes = b"") -> Key | None:
        """The caller's key; None where none is needed.

        Raises:
            Unauthenticated: a key is needed, and none or an unknown one came.
            Forbidden: the request may come from a web page.
        """
        if not self._local_only:
            return self._known(headers, query)
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
        return None

    def _known(self, headers: Mapping[bytes, bytes], query: bytes) -> Key:
        token = _token(headers, query)
        if not token:
            raise Unauthenticated(
                "an API key is needed: send it as `Authorization: Bearer <key>`, `x-api-key`, `x-goog-api-key` or `api-key`"
            )
        # Looked up by hash: how long that takes tells nothing about the keys.
        key = self._by_hash.get(hashlib.sha256(token).digest())
        if key is None:
            raise Unauthenticated("this API key is not known here")
        return key


_KEY_HEADERS: Final = (b"x-api-key", b"x-goog-api-key", b"api-key")
"""Anthropic's, Google's and Azure's."""


def _token(headers: Mapping[bytes, bytes], query: bytes) -> bytes:
    """The caller's key, by whichever way its SDK sends it; empty where there is none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and token.strip():
        return token.strip()
    for name in _KEY_HEADERS:
        if token := headers.get(name, b"").strip():
            return token
    # Google's REST examples put it here. It is never logged: no log line of ours has the query.
    return parse_qs(query).get(b"key", [b""])[-1].strip() if query else b""


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
