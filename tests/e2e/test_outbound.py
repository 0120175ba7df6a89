"""Providers that are reached through a proxy, and trusted by a file of their own: gateway, proxy, TLS, provider."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.support.gateway import CANARY, Running, document_of, run_gateway
from tests.support.hosting import hosted
from tests.support.http import ask, chat
from tests.support.joined import numbered
from tests.support.proxy import ForwardProxy, serving_proxy
from tests.unit.transport.raw_server import serving

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

LOGIN = "me:outbound-canary"
MODELS = ("ok",)


@contextlib.asynccontextmanager
async def secured(chaos: Chaos, context: ssl.SSLContext, proxy: ForwardProxy) -> AsyncIterator[ForwardProxy]:
    """The provider behind TLS as ``provider.test``, a name that only ``proxy`` knows."""
    relay = ForwardProxy()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay.tunnel(f"127.0.0.1:{chaos.port}", reader, writer, yes=b"")

    async with serving(behave, ssl=context) as origin, serving_proxy(proxy):
        proxy.hosts = {
            "provider.test:443": ("127.0.0.1", origin.port),
            "provider.test:80": ("127.0.0.1", chaos.port),
        }
        yield proxy


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(tokens=4, scripts=dict.fromkeys(MODELS, "ok"))) as server:
        yield server


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def proxy(chaos: Chaos, ca: trustme.CA) -> Iterator[ForwardProxy]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("provider.test").configure_cert(context)
    with hosted(secured(chaos, context, ForwardProxy(login=LOGIN))) as running:
        yield running


@contextlib.contextmanager
def gateway(
    chaos: Chaos,
    folder: Path,
    proxy: ForwardProxy,
    ca: trustme.CA,
    targets: list[str],
    login: str,
    scheme: str,
) -> Iterator[Running]:
    """Provider ``one`` stands behind the proxy, ``two`` is reached directly."""
    chaos.reset()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    document = document_of(
        chaos.base_url,
        folder / "ledger.db",
        models=MODELS,
        retry={"base_s": 0.01, "max_s": 0.05, "jitter": 0},
        routes={"ok": {"targets": targets}},
    )
    document["providers"]["one"] |= {
        "base_url": f"{scheme}://provider.test/v1",
        "proxy": f"http://{login}@127.0.0.1:{proxy.port}",
        "ca_file": str(folder / "ca.pem"),
    }
    with run_gateway(document) as running:
        yield running
        running.no_traceback()
        assert not any("outbound-canary" in text for text in running.logs.text)


def post(running: Running, **fields: Any) -> Any:
    return asyncio.run(ask(running.port, chat("ok", **fields)))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_plain_and_streamed_through_one_connection(chaos, tmp_path, proxy, ca, scheme):
    with gateway(chaos, tmp_path, proxy, ca, ["one/ok"], LOGIN, scheme) as running:
        for stream in (False, True, True):
            answer = post(running, stream=stream)
            assert answer.status == 200
            assert answer.whole
            assert answer.text == numbered(chaos.journal()[-1].nonce, 4)
            (row,) = running.record(answer.id).end.attempts
            assert (row.provider, row.outcome, row.billed) == ("one", "ok", "provider")
        assert (proxy.connections, len(proxy.seen)) == ((1, 1) if scheme == "https" else (1, 3))
        if scheme == "https":  # what the proxy saw of it
            assert CANARY not in str(proxy.seen)
        assert all("proxy-authorization" not in entry.headers for entry in chaos.journal())


def test_a_proxy_that_refuses_us_costs_nothing_and_the_next_target_serves(chaos, tmp_path, proxy, ca):
    with gateway(
        chaos, tmp_path, proxy, ca, ["one/ok", "two/ok"], "me:wrong-outbound-canary", "https"
    ) as running:
        answer = post(running)
        assert (answer.status, answer.headers["x-holdfast-provider"]) == (200, "two")
        *refused, served = running.record(answer.id).end.attempts
        assert {(row.provider, row.outcome, row.billed, row.cost_nano) for row in refused} == {
            ("one", "connect_failed", "none", 0)
        }
        assert (served.provider, served.outcome) == ("two", "ok")


def test_a_proxy_that_refuses_us_is_named_and_its_password_is_not(chaos, tmp_path, proxy, ca):
    with gateway(chaos, tmp_path, proxy, ca, ["one/ok"], "me:wrong-outbound-canary", "https") as running:
        answer = post(running)
        assert answer.status == 502
        assert f"proxy http://127.0.0.1:{proxy.port} refused the user name and password" in str(answer.json)
        assert b"canary" not in answer.body
        assert "canary" not in str(running.record(answer.id))
        assert chaos.journal() == []
