"""Keys to providers that came with a request, in the headers in which SDKs send a provider's key.

They are the caller's own, and none of ours: only where the gateway's key came in a header of its own
(``x-holdfast-key``), or none was needed, are those other headers a provider's.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from holdfast.config.fields import NO_KEY
from holdfast.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.config import Config

__all__ = ["GATEWAY_KEY", "Brought"]

GATEWAY_KEY: Final = b"x-holdfast-key"
"""Carries the gateway's own key, where the other headers carry a provider's."""

_ALONE: Final = ("x-api-key", "x-goog-api-key", "api-key")
_OURS: Final = b"hf_"
"""How each key begins that the gateway makes."""
_LONGEST: Final = 4096


class Brought:
    """Reads them.

    Args:
        config: whose keys are ours, and never a provider's, wherever they stand.
    """

    def __init__(self, config: Config) -> None:
        self._ours = {key.sha256 for key in config.keys.values()}
        for key in (config.gateway.admin_key, config.gateway.metrics_key):
            if key is not None:
                self._ours.add(sha256(key.reveal().encode()).digest())

    def of(self, headers: Mapping[bytes, bytes], query: bytes, *, needed: bool) -> dict[str, Secret]:
        """By the way each travelled (:data:`holdfast.engine.endpoint.AUTH`).

        Args:
            headers, query: the request's.
            needed: callers need a key of the gateway's.
        """
        if needed and GATEWAY_KEY not in headers:
            return {}  # what stands there is our own key
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        found = {"bearer": token if scheme.lower() == b"bearer" else b""}
        found |= {name: headers.get(name.encode(), b"") for name in _ALONE}
        if query and not found["x-goog-api-key"]:  # Google's REST examples put it here
            found["x-goog-api-key"] = parse_qs(query).get(b"key", [b""])[-1]
        return {
            way: Secret(token.decode("ascii"))
            for way, written in found.items()
            if (token := written.strip()) and self._is_theirs(token)
        }

    def _is_theirs(self, token: bytes) -> bool:
        """A key that may go to a provider. What SDKs want to be given where there is none is no key."""
        return (
            len(token) <= _LONGEST
            and token.isascii()
            and token.decode("ascii").isprintable()
            and token.decode("ascii").lower() not in NO_KEY
            and not token.startswith(_OURS)
            and sha256(token).digest() not in self._ours
        )
