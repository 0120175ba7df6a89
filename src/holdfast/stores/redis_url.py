"""Where Redis is, read from its URL. The password leaves it only for the handshake."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from holdfast.secret import Secret

__all__ = ["RedisAddress"]

_PORT: Final = 6379
_RIGHT: Final = "redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], rediss://… with TLS, or unix:///PATH"
_TLS: Final = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
_REQUIRED: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_YES_NO: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis or Valkey server."""

    host: str
    """Empty: :attr:`path` says where."""
    port: int = _PORT
    path: str = ""
    """Of a Unix socket."""
    db: int = 0
    user: str = ""
    password: Secret | None = None
    tls: bool = False
    ca_certs: str = ""
    """A file of those who may sign its certificate; empty: the system's."""
    certfile: str = ""
    """Of a certificate that shows who asks."""
    keyfile: str = ""
    verify: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_hostname: bool = True

    def __str__(self) -> str:
        """Without user and password."""
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Reads ``redis://[user:password@]host[:port][/number]``, ``rediss://…`` for TLS, ``unix:///path[?db=number]``.

        ``rediss://`` takes ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_cert_reqs`` and ``ssl_check_hostname``
        in its query, as other clients do.

        Raises:
            ValueError: it isn't one. The message quotes nothing of it but parameters' names: it may hold a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"the URL of Redis is {_RIGHT}") from None
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"the URL of Redis is {_RIGHT}")
        unix, tls = parts.scheme == "unix", parts.scheme == "rediss"
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(set(query) - {"db", *(_TLS if tls else ())}):
            raise ValueError(f"the URL of Redis takes no {unknown[0][:40]!r}")
        number = query.get("db") or ("" if unix else parts.path.strip("/")) or "0"
        if not (number.isascii() and number.isdigit() and len(number) <= 5):
            raise ValueError("the URL of Redis: its database is a number, such as /0")
        if unix and len(parts.path) < 2:
            raise ValueError("the URL of Redis: unix:// is followed by the socket's path")
        required = query.get("ssl_cert_reqs", "required").lower()
        checked = query.get("ssl_check_hostname", "true" if required != "none" else "false").lower()
        if required not in _REQUIRED or checked not in _YES_NO:
            raise ValueError(
                "the URL of Redis: ssl_cert_reqs is required, optional or none; ssl_check_hostname true or false"
            )
        password = unquote(parts.password or "")
        return cls(
            host="" if unix else parts.hostname or "localhost",
            port=_PORT if port is None else port,
            path=unquote(parts.path) if unix else "",
            db=int(number),
            user=unquote(parts.username or ""),
            password=Secret(password) if password else None,
            tls=tls,
            ca_certs=query.get("ssl_ca_certs", ""),
            certfile=query.get("ssl_certfile", ""),
            keyfile=query.get("ssl_keyfile", ""),
            verify=_REQUIRED[required],
            check_hostname=_YES_NO[checked],
        )

    def context(self) -> ssl.SSLContext | None:
        """For TLS; None: in the clear.

        Raises:
            OSError: a file can't be read, or holds something else (:class:`ssl.SSLError`).
        """
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_certs or None)
        context.check_hostname = self.check_hostname and self.verify is not ssl.CERT_NONE
        context.verify_mode = self.verify
        if self.certfile:
            context.load_cert_chain(self.certfile, self.keyfile or None)
        return context
