"""The admin API of a chaos provider, as the command line reads it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec
import typer

from holdfast.cli.output import complain

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ChaosAdmin", "RemoteError", "complaining"]

_WAIT_S = 5.0
_TAIL = re.compile(r"/(v1|admin)?/?$")


class RemoteError(Exception):
    """The provider can't be asked, or says no; the message is for people."""


class ChaosAdmin:
    """One provider. A connection for each call: few are made, and a provider may end at any time."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """``url`` may lack its scheme, and may be the base URL of an SDK. Raises :class:`RemoteError`."""
        parts = urlsplit(_TAIL.sub("", url if "://" in url else f"http://{url}"))
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise RemoteError(f"{url!r} is no URL of a chaos provider, such as http://127.0.0.1:8401")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port, self._root = parts.hostname, port, parts.path
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def read(self, path: str, **arguments: Any) -> Any:
        """The JSON of ``GET /admin/{path}``. Raises :class:`RemoteError`."""
        with self._answer(path, arguments, _WAIT_S) as answer:
            try:
                return msgspec.json.decode(answer.read())
            except msgspec.DecodeError:
                raise RemoteError(f"what serves at {self.url} is no chaos provider") from None

    def lines(self, path: str, **arguments: Any) -> Iterator[bytes]:
        """The lines of ``GET /admin/{path}`` as they come, however long that takes. Raises :class:`RemoteError`."""
        with self._answer(path, arguments, None) as answer:
            rest = b""
            while data := answer.read1(65_536):  # readline would take a connection that broke for an end
                *lines, rest = (rest + data).split(b"\n")
                yield from lines

    @contextmanager
    def _answer(self, path: str, arguments: dict[str, Any], wait_s: float | None) -> Iterator[HTTPResponse]:
        given = {name: value for name, value in arguments.items() if value is not None}
        query = f"?{urlencode(given)}" if given else ""
        connection = self._kind(self._host, self._port, timeout=_WAIT_S)
        try:
            connection.connect()
            sock = connection.sock
            connection.request("GET", f"{self._root}/admin/{path}{query}", headers=self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RemoteError(self._said_no(answer))
            sock.settimeout(wait_s)
            yield answer
        except TimeoutError:
            raise RemoteError(f"{self.url} doesn't answer") from None
        except HTTPException:
            raise RemoteError(f"the connection to {self.url} was lost") from None
        except ConnectionRefusedError:
            raise RemoteError(
                f"nothing listens at {self.url}: start a provider with 'holdfast chaos serve'"
            ) from None
        except OSError as error:
            raise RemoteError(f"{self.url}: {error.strerror or error}") from None
        finally:
            connection.close()

    def _said_no(self, answer: HTTPResponse) -> str:
        if answer.status == 401:
            return f"{self.url} asks for its admin token: --token, or HOLDFAST_CHAOS_ADMIN_TOKEN"
        try:
            return str(msgspec.json.decode(answer.read(65_536))["error"]["message"])
        except (msgspec.DecodeError, KeyError, TypeError):
            return f"what serves at {self.url} is no chaos provider: it says {answer.status}"


@contextmanager
def complaining() -> Iterator[None]:
    """A :class:`RemoteError` becomes a line on stderr and exit code 1; Ctrl-C is a good end."""
    try:
        yield
    except RemoteError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
