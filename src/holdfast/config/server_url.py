"""The addresses of a database and of Redis: read strictly, since whoever connects with them would quote what it can't read.

A :class:`ServerUrl` is the text without its passwords. So whatever prints, logs or compares one shows none, and only
:meth:`ServerUrl.reveal` gives out what a connection needs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit

from holdfast.config.problems import did_you_mean
from holdfast.secret import Secret
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from urllib.parse import SplitResult

__all__ = ["ServerUrl", "postgres_url", "redis_url"]

_MASK: Final = "***"
_ODD: Final = re.compile(r"[\x00-\x20\x7f]")  # urlsplit would drop some of these without a word
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PASSWORD: Final = re.compile(r"(?<=[?&])((?:password|sslpassword|scram_client_key|scram_server_key)=)[^&]*")
_PORTS: Final = range(1, 65_536)

_POSTGRES: Final = "postgresql://USER:PASSWORD@HOST/DATABASE"
_REDIS: Final = "redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], rediss://… with TLS, or unix:///PATH"

_LIBPQ: Final = frozenset(
    """
    host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options
    application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
    tcp_user_timeout gssencmode sslmode sslnegotiation sslcompression sslcert sslkey sslpassword sslcertmode sslrootcert
    sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version min_protocol_version
    max_protocol_version krbsrvname gsslib gssdelegation scram_client_key scram_server_key service target_session_attrs
    load_balance_hosts
    """.split()  # noqa: SIM905  # words to be read, and compared with the page
)
"""The connection parameters that an URL may hold: PostgreSQL's documentation of libpq, "Parameter Key Words"."""
_REDIS_PARAMETERS: Final = frozenset(
    ("db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
)
"""Time-outs, pools and retries aren't among them: ``[redis]`` sets those."""


class ServerUrl(str):
    """An address as it may be shown; :meth:`reveal` is the whole of it."""

    __slots__ = ("_secret",)
    _secret: Secret

    def __new__(cls, url: str) -> Self:
        made = super().__new__(cls, _shown(url))
        made._secret = Secret(url)
        return made

    def reveal(self) -> str:
        return self._secret.reveal()

    def __eq__(self, other: object) -> bool:
        # One password after another is a change, though both show the same.
        return self._secret == other._secret if isinstance(other, ServerUrl) else str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:  # str has one of its own
        return not self == other

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an address with a password can't be pickled or copied into another process")


def postgres_url(url: str) -> ServerUrl:
    """``postgresql://`` as libpq reads it: several hosts, parameters after ``?``, sockets by ``?host=/folder``.

    Raises:
        ValueError: it isn't one. The message quotes nothing of it but parameters' names.
    """
    right = f'must be "{_POSTGRES}"'
    _check_text(url, right)
    # Python takes ports and brackets of several hosts for one bad one, so they are read by hand.
    rest = url.partition("://")[2]
    place, _, query = rest.partition("?")
    where, _, database = place.partition("/")
    given = dict(_parameters(query, _LIBPQ, right))
    if "#" in rest:
        raise ValueError(f"{right}; percent-encode a # as %23")
    if "@" in database:
        raise ValueError(f"{right}; percent-encode a / in a password as %2F")
    if "/" in database or not (database or given.get("dbname")):
        raise ValueError(
            f"{right}: it names no database" if not database else f"{right}; percent-encode a / as %2F"
        )
    if "@" in where.rpartition("@")[0]:
        raise ValueError(f"{right}; percent-encode an @ in a password as %40")
    hosts = where.rpartition("@")[2]
    for host in hosts.split(",") if hosts else ():
        port = re.fullmatch(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(\d{1,5}))?", host)
        if port is None or (port[1] and int(port[1]) not in _PORTS):
            raise ValueError(
                f"{right}: its host or port can't be read; percent-encode what is special in a password"
            )
    return ServerUrl(url)


def redis_url(url: str) -> ServerUrl:
    """``redis://``, ``rediss://`` or ``unix://``.

    Raises:
        ValueError: it isn't one. The message quotes nothing of it but parameters' names.
    """
    right = f"must be {_REDIS}"
    _check_text(url, right)
    parts = _split(url, right)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(right)
    given = dict(_parameters(parts.query, _REDIS_PARAMETERS, right))
    if parts.fragment or "#" in url:
        raise ValueError(f"{right}; percent-encode a # as %23")
    number = given.get("db") or ("" if parts.scheme == "unix" else parts.path.removeprefix("/"))
    if not re.fullmatch(r"\d{0,5}", number):
        raise ValueError(f"{right}: what follows the host is a database's number, such as /0")
    if (parts.scheme == "unix") == bool(parts.hostname) or (parts.scheme == "unix" and len(parts.path) < 2):
        raise ValueError(f"{right}: it names no {'path' if parts.scheme == 'unix' else 'host'}")
    if parts.scheme == "redis" and any(name.startswith("ssl_") for name in given):
        raise ValueError(f"{right}: ssl_… are for rediss://, and this is without TLS")
    RedisAddress.parse(url)  # who connects reads it as well
    return ServerUrl(url)


def _split(url: str, right: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.port is None or parts.port in _PORTS:
            return parts
    except ValueError:  # it quotes what it takes for a port: the rest of a password that has a / in it
        pass
    raise ValueError(f"{right}: its host or port can't be read; percent-encode what is special in a password")


def _check_text(url: str, right: str) -> None:
    if _ODD.search(url):
        raise ValueError(f"{right}: it holds spaces or characters that can't be in one; percent-encode them")
    if _ESCAPE.search(url):
        raise ValueError(f"{right}: a % in it begins no percent-encoding; write %25 for a % itself")


def _parameters(query: str, known: Iterable[str], right: str) -> Iterable[tuple[str, str]]:
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition(
            "="
        )  # a name that is percent-encoded is refused: it might be password's
        if name not in known:
            shown = name if re.fullmatch(r"\w{1,40}", name) else "what follows the ?"
            raise ValueError(f"{right}: {shown} is no parameter of it{did_you_mean(name, known)}")
        yield name, unquote(value)


def _shown(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    where, slash, after = rest.partition("/")
    login, at, host = where.rpartition("@")
    user, colon, _ = login.partition(":")
    masked = f"{user}{colon}{_MASK if colon else ''}{at}{host}"
    return _PASSWORD.sub(rf"\g<1>{_MASK}", f"{scheme}{mark}{masked}{slash}{after}")
