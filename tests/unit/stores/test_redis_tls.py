"""Redis over TLS, as hosted ones are reached: a real server, certificates of the tests' own."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import pytest
import trustme
import uvloop
from tests.support.redis_server import running_redis

from holdfast.clock import SystemClock, system_rng
from holdfast.stores.base import Script, Spell
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from holdfast.stores.base import StoreState

ECHO = Script("echo", "return {ARGV[1]}")
PASSWORD = "tls-canary-5d"
PATIENT = RedisSettings(timeout_s=1.0, budget_s=1.0)


class Place(NamedTuple):
    folder: Path
    port: int

    def file(self, name: str) -> str:
        return quote(str(self.folder / name))

    def url(self, query: str, *, host: str = "localhost") -> str:
        return f"rediss://:{PASSWORD}@{host}:{self.port}/2?{query}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server that also asks who comes."""
    folder = tmp_path_factory.mktemp("tls")
    ca, stranger = trustme.CA(), trustme.CA()
    for name, authority in (("ca", ca), ("stranger", stranger)):
        authority.cert_pem.write_to_path(str(folder / f"{name}.pem"))
    for name, cert in (
        ("server", ca.issue_cert("localhost")),
        ("client", ca.issue_cert("gateway")),
        ("unknown", stranger.issue_cert("gateway")),
    ):
        cert.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        cert.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(folder / "server.pem"),
        "tls-key-file": str(folder / "server.key"),
        "tls-ca-cert-file": str(folder / "ca.pem"),
        "tls-auth-clients": "yes",
        "requirepass": PASSWORD,
    }
    with running_redis(**options):
        yield Place(folder, port)


def asked(url: str, loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> tuple[object, StoreState]:
    """What it answers, and how it stands."""

    async def main() -> tuple[object, StoreState]:
        address = RedisAddress.parse(url)
        store = await RedisStore.open(address, PATIENT, clock=SystemClock(), rng=system_rng(), name="test")
        try:
            answer = await store.call(ECHO, (), ("hello",), Spell()) if store.up else None
            return answer, store.state()
        finally:
            await store.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("loop", [None, uvloop.new_event_loop])
def test_both_sides_show_who_they_are(
    place: Place, loop: Callable[[], asyncio.AbstractEventLoop] | None
) -> None:
    mine = f"ssl_certfile={place.file('client.pem')}&ssl_keyfile={place.file('client.key')}"
    answer, state = asked(place.url(f"ssl_ca_certs={place.file('ca.pem')}&{mine}"), loop)
    assert (answer, state.up) == ([b"hello"], True)
    assert state.address == f"rediss://localhost:{place.port}/2"


def test_a_server_is_taken_unseen_where_that_is_asked_for(place: Place) -> None:
    mine = f"ssl_certfile={place.file('client.pem')}&ssl_keyfile={place.file('client.key')}"
    answer, _ = asked(place.url(f"ssl_cert_reqs=none&{mine}"))
    assert answer == [b"hello"]
    answer, _ = asked(
        place.url(f"ssl_ca_certs={place.file('ca.pem')}&ssl_check_hostname=false&{mine}", host="127.0.0.1")
    )
    assert answer == [b"hello"], "its certificate is for another name"


@pytest.mark.parametrize(
    ("query", "host", "why"),
    [
        ("ssl_ca_certs={stranger.pem}&ssl_certfile={client.pem}&ssl_keyfile={client.key}", "localhost", "SSLCert"),
        ("ssl_certfile={client.pem}&ssl_keyfile={client.key}", "localhost", "SSLCert"),
        ("ssl_ca_certs={ca.pem}&ssl_certfile={client.pem}&ssl_keyfile={client.key}", "127.0.0.1", "SSLCert"),
        ("ssl_ca_certs={nowhere.pem}", "localhost", "FileNotFoundError"),
        ("ssl_ca_certs={client.key}", "localhost", "SSLError"),
        ("ssl_ca_certs={ca.pem}&ssl_certfile={client.pem}&ssl_keyfile={unknown.key}", "localhost", "SSLError"),
        ("ssl_ca_certs={ca.pem}", "localhost", ""),
        ("ssl_ca_certs={ca.pem}&ssl_certfile={unknown.pem}&ssl_keyfile={unknown.key}", "localhost", ""),
    ],
)  # fmt: skip  # a table
def test_who_cant_be_trusted_is_lost_with_the_reason(place: Place, query: str, host: str, why: str) -> None:
    """Service goes on as with a Redis that isn't there; nothing was sent to who isn't the one."""
    files = {
        f"{name}.{kind}": place.file(f"{name}.{kind}")
        for name in ("ca", "stranger", "client", "unknown", "nowhere")
        for kind in ("pem", "key")
    }
    for name, file in files.items():
        query = query.replace(f"{{{name}}}", file)
    answer, state = asked(place.url(query, host=host))
    assert (answer, state.up) == (None, False)
    assert why in state.reason
    assert PASSWORD not in f"{state}"
