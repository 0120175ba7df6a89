"""The admin API of a running gateway, as the command line reads it."""

from __future__ import annotations

import re
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

import msgspec

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["GatewayAdmin", "NoGateway", "RemoteError"]

_WAIT_S: Final = 5.0
_LARGEST: Final = 2**26
"""Bytes of an answer: ten times what a gateway that knows 4,096 targets says."""
_ADMIN_KEY: Final = "its admin key (gateway.admin_key): HOLDFAST_ADMIN_KEY, or --admin-key"
_TAIL: Final = re.compile(
    r"/(v1|admin(/(targets|rates|keys|budgets|sessions|cost-breaker|reload|config))?)?/?$"
)


class RemoteError(Exception):
    """The gateway can't be asked, or says no; the message is for people.

    ``status`` and ``body`` are its answer's, where there was one.
    """

    def __init__(self, message: str, status: int | None = None, body: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class NoGateway(RemoteError):
    """Nobody listens there."""


class GatewayAdmin:
    """One gateway. A connection for each question: few are asked, and a gateway may end at any time.

    Args:
        url: where it serves; may lack its scheme, and may be the base URL of an SDK.
        key: its ``gateway.admin_key``; None: none is sent.

    Raises:
        RemoteError: this is no URL, or no key that could be sent.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        parts = _split(_TAIL.sub("", url if "://" in url else f"http://{url}"))
        if parts is None:
            raise RemoteError(f"{url!r} is no URL of a gateway, such as http://127.0.0.1:8080")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise RemoteError("the admin key has characters that no header can carry")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._parts = parts
        self._key = key

    def read(self, what: str, **arguments: str | None) -> bytes:
        """The JSON of ``GET /admin/{what}``, as it came. Raises :class:`RemoteError`."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._ask("GET", f"admin/{what}?{urlencode(given)}" if given else f"admin/{what}", None)

    def metrics(self) -> str:
        """What ``GET /metrics`` says, in Prometheus' text format; for it the key may be its
        ``gateway.metrics_key``. Raises :class:`RemoteError`."""
        wanted = (
            "its metrics key (gateway.metrics_key), or an admin key: HOLDFAST_METRICS_KEY, or --gateway-key"
        )
        return self._ask("GET", "metrics", None, wanted=wanted).decode("utf-8", "replace")

    def change(self, method: str, what: str, body: bytes | None = None) -> bytes:
        """As :meth:`read`, for what isn't only looked at."""
        return self._ask(method, f"admin/{what}", body)

    def _ask(self, method: str, path: str, body: bytes | None, *, wanted: str = _ADMIN_KEY) -> bytes:
        parts = self._parts
        headers = {} if self._key is None else {"authorization": f"Bearer {self._key}"}
        if body is not None:
            headers["content-type"] = "application/json"
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_WAIT_S)
        unsure = "" if method == "GET" else ": it may have done what was asked, or not"
        try:
            connection.request(method, f"{parts.path}/{path}", body=body, headers=headers)
            answer = connection.getresponse()
            said = answer.read(_LARGEST)
        except TimeoutError:
            raise RemoteError(f"{self.url} doesn't answer{unsure}") from None
        except HTTPException:
            raise RemoteError(
                f"what serves at {self.url} is no gateway, or it ended just now{unsure}"
            ) from None
        except ConnectionRefusedError:
            raise NoGateway(
                f"no gateway answers at {self.url}: start one with 'holdfast serve', or say where it is with --url"
            ) from None
        except OSError as error:
            raise RemoteError(f"{self.url}: {error.strerror or error}{unsure}") from None
        finally:
            connection.close()
        if answer.status not in (200, 201):
            raise RemoteError(self._said_no(answer, said, wanted), answer.status, said)
        return said

    def _said_no(self, answer: HTTPResponse, body: bytes, wanted: str) -> str:
        if answer.status == 401 and self._key is None:
            return f"{self.url} asks for {wanted}"
        try:
            return f"{self.url} says {answer.status}: {msgspec.json.decode(body)['error']['message']}"
        except (msgspec.DecodeError, KeyError, TypeError):
            return f"what serves at {self.url} is no gateway: it says {answer.status}"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if usable and url.isascii() and url.isprintable() and " " not in url else None
