"""The forward proxy on the way to a provider: where it is, and what it is shown.

Only what the configuration names is used. ``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY`` and their like are NOT read: a
variable that somebody set for another program must not decide who sees a provider's requests.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import msgspec

from holdfast.secret import Secret

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["DEFAULT_PORTS", "Proxy", "authority_of", "host_of"]

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ODD: Final = re.compile(r"[\x00-\x20\x7f]")  # urlsplit would drop some of these without a word


class Proxy(msgspec.Struct, frozen=True, cache_hash=True):
    """An HTTP proxy, spoken to in the clear (``http``) or over TLS (``https``).

    ``host`` is a name or an IP literal, IPv6 without brackets.
    """

    scheme: str
    host: str
    port: int
    credentials: Secret | None = None
    """``user:password``, for Basic authentication (RFC 7617); shown to the proxy and to nobody else."""

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """The proxy at ``http[s]://[user:password@]host[:port]``; the port is 80 or 443 by default.

        What a URL can't hold in a user name or password (``@ : / ? # %``) is percent-encoded, as UTF-8.

        Raises:
            ValueError: it is no such URL. The message quotes nothing of it, since a password may be anywhere in it.
        """
        problem = "a proxy is given as http://[user:password@]host[:port], or https://… for TLS to it"
        try:
            parts = urlsplit(url)
            port = parts.port
            host = host_of(parts)
        except ValueError:  # it quotes what it takes for a port: the rest of a password that has a / in it
            raise ValueError(f"{problem}; percent-encode what is special in a password") from None
        if parts.scheme not in DEFAULT_PORTS or not host or _ODD.search(url):
            raise ValueError(problem)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"{problem}; nothing follows the port")
        return cls(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], _credentials(parts))

    @property
    def authorization(self) -> bytes:
        """The value of ``Proxy-Authorization``; ``b""`` where there is nothing to show."""
        return b"Basic " + _encoded(self.credentials) if self.credentials is not None else b""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must show nowhere, in each form that somebody could quote: together, the password alone, encoded."""
        if self.credentials is None:
            return ()
        password = Secret(self.credentials.reveal().partition(":")[2])
        return self.credentials, password, Secret(_encoded(self.credentials).decode())

    def __str__(self) -> str:
        return f"{self.scheme}://{authority_of(self.host, self.port)}"


def authority_of(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(parts: SplitResult) -> str:
    """The host as it goes over the wire, international names in their ASCII form; ``""`` if there is none.

    Raises:
        ValueError: a name that DNS can't hold.
    """
    host = parts.hostname or ""
    return host if host.isascii() else host.encode("idna").decode()


def _credentials(parts: SplitResult) -> Secret | None:
    if "@" not in parts.netloc:
        return None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if ":" in user:
        raise ValueError("a proxy's user name can't have a colon in it: Basic authentication ends it there")
    if not (user + password).isprintable():
        raise ValueError("a proxy's user name and password can't have control characters in them")
    return Secret(f"{user}:{password}")


def _encoded(credentials: Secret) -> bytes:
    return base64.b64encode(credentials.reveal().encode())
