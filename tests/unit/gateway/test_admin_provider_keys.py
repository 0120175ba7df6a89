"""``/admin/keys/NAME/providers``: what may be asked, what is answered, and that it counts with the next request."""

from __future__ import annotations

import base64
import hashlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.simulation.chat_wire import request, whole
from tests.unit.gateway.door import Door, Said

from holdfast.gateway.admin_provider_keys import OPERATIONS
from holdfast.gateway.openapi import openapi
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CANARY = "sk-own-canary-77aa31"
MASTER = base64.b64encode(b"m" * 32).decode()
ADMIN = {"authorization": "Bearer adm-secret"}
CONFIG = f"""
[gateway]
admin_key = "adm-secret"
master_key = "{MASTER}"
[providers.a]
dialect = "openai_chat"
base_url = "http://a/v1"
[providers.b]
dialect = "openai_chat"
base_url = "http://b/v1"
auth = "caller"
[routes.chat]
targets = ["a/m"]
[keys.acme]
sha256 = "{hashlib.sha256(b"acme-secret").hexdigest()}"
[keys.beta]
sha256 = "{hashlib.sha256(b"beta-secret").hexdigest()}"
providers.a.api_key = "of-the-file"
"""
ONE = "/admin/keys/acme/providers/a"


class Desk:
    def __init__(self, door: Door) -> None:
        self.door = door

    async def ask(self, method: str, path: str, form: Any = None) -> Said:
        body = form if isinstance(form, bytes) else b"" if form is None else msgspec.json.encode(form)
        return await self.door.ask(method, path, body, ADMIN)

    async def chat(self, name: str = "acme") -> tuple[int, str]:
        """Status, and the key that the provider was asked with."""
        headers = {"authorization": f"Bearer {name}-secret"}
        said = await self.door.chat(request(stream=False), headers)
        exchanges = self.door.app.transport.exchanges
        key = dict(exchanges[-1].request.headers)[b"authorization"].decode()[7:] if exchanges else ""
        exchanges.clear()
        return said.status, key


def at_the_desk(main: Callable[[Desk], Awaitable[None]], config: str = CONFIG) -> None:
    async def run(clock: VirtualClock) -> None:
        await main(Desk(await Door.open(clock, lambda _: whole(), config)))

    run_virtual(run)


def test_a_key_counts_from_the_next_request_on_and_no_longer_than_it_should():
    async def main(desk: Desk) -> None:
        assert await desk.chat() == (403, "")
        said = await desk.ask("PUT", ONE, {"api_key": f" {CANARY}\n"})
        assert said.status == 200
        assert said.json | {"set_ns": 0, "set_at": ""} == {
            "key": "acme", "provider": "a", "source": "ledger", "base_url": None, "set_ns": 0, "set_at": "",
            "sealed_under": "newest", "unused": None, "replaced": False,
        }  # fmt: skip
        assert await desk.chat() == (200, CANARY)
        assert await desk.chat("beta") == (200, "of-the-file")
        again = await desk.ask("PUT", "/admin/keys/ACME/providers/A", {"api_key": "another"})
        assert again.json["replaced"] is True
        assert await desk.chat() == (200, "another")
        gone = await desk.ask("DELETE", ONE)
        assert gone.json == {"key": "acme", "provider": "a", "removed": True}
        assert await desk.chat() == (403, "")
        assert (await desk.ask("DELETE", ONE)).status == 404

    at_the_desk(main)


def test_its_text_is_told_to_nobody(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]):
    async def main(desk: Desk) -> None:
        said = [
            await desk.ask("PUT", ONE, {"api_key": CANARY}),
            await desk.ask("PUT", ONE, {"api_key": CANARY, "else": 1}),
            await desk.ask("PUT", ONE, {"api_key": CANARY + "é"}),
            await desk.ask("PUT", ONE, f'{{"api_key": "{CANARY}"'.encode()),
            await desk.ask("PUT", ONE, {"api_key": [CANARY]}),
            await desk.ask("GET", "/admin/keys/acme/providers"),
            await desk.ask("GET", "/admin/provider-keys"),
            await desk.ask("POST", "/admin/provider-keys/reseal"),
            await desk.ask("GET", "/admin/keys"),
            await desk.ask("GET", "/admin/targets"),
            await desk.ask("GET", "/metrics"),
            await desk.ask("DELETE", ONE),
        ]
        assert [each.status for each in said] == [200, 400, 400, 400, 400, *[200] * 7]
        for each in said:
            assert CANARY not in each.body.decode() + repr(each.headers)
        assert all("no-store" in each.headers["cache-control"] for each in said if each is said[0])

    caplog.set_level(logging.INFO)  # where an earlier test has let structlog write to it
    at_the_desk(main)
    printed = capsys.readouterr()
    assert "provider key set" in printed.out + caplog.text
    assert CANARY not in printed.out + printed.err + caplog.text


@pytest.mark.parametrize(
    ("method", "path", "form", "status", "said"),
    [
        ("PUT", "/admin/keys/acmee/providers/a", {"api_key": "k"}, 404, "did you mean acme?"),
        ("PUT", "/admin/keys/acme/providers/nope", {"api_key": "k"}, 404, "there is no provider 'nope'"),
        ("PUT", "/admin/keys/acme/providers/b", {"api_key": "k"}, 409, 'auth = "caller"'),
        ("PUT", ONE, {}, 400, "api_key"),
        ("PUT", ONE, {"api_key": ""}, 400, "empty"),
        ("PUT", ONE, {"api_key": "None"}, 400, "none"),
        ("PUT", ONE, {"api_key": 5}, 400, "api_key"),
        ("PUT", ONE, {"api_key": "k", "base_url": "ftp://x"}, 400, "base_url"),
        ("PUT", ONE, {"api_key": "k", "apikey": "k"}, 400, "apikey"),
        ("PUT", ONE, b"\xff", 400, "no JSON"),
        ("PUT", ONE, b"x" * 70_000, 413, ""),
        ("PUT", f"{ONE}?x=1", {"api_key": "k"}, 400, "query"),
        ("POST", ONE, {"api_key": "k"}, 405, "takes PUT and DELETE"),
        ("PUT", "/admin/keys/acme/providers", {"api_key": "k"}, 405, "takes GET"),
        ("GET", ONE, None, 405, "takes PUT and DELETE"),
        ("DELETE", ONE, None, 404, "no key of acme's to a"),
        ("GET", "/admin/keys/nobody/providers", None, 404, "nobody"),
        ("GET", "/admin/provider-keys/x", None, 404, "/admin/provider-keys/reseal"),
        ("GET", "/admin/provider-keys/reseal", None, 405, "takes POST"),
    ],
)
def test_what_is_wrong_is_named(method, path, form, status, said):
    async def main(desk: Desk) -> None:
        answer = await desk.ask(method, path, form)
        assert answer.status == status
        assert said in answer.error["message"]

    at_the_desk(main)


@pytest.mark.parametrize(("method", "path"), list(OPERATIONS))
def test_only_admins_are_let_in(method, path):
    filled = path.replace("{name}", "acme").replace("{provider}", "a")

    async def main(desk: Desk) -> None:
        for headers in ({}, {"authorization": "Bearer acme-secret"}):
            answer = await desk.door.ask(method, filled, b'{"api_key":"k"}', headers)
            assert answer.status == 401
        assert (await desk.ask("GET", "/admin/provider-keys")).json["provider_keys"] == [
            {"key": "beta", "provider": "a", "source": "file", "base_url": None, "set_ns": None, "set_at": None,
             "sealed_under": None, "unused": None},
        ]  # fmt: skip

    at_the_desk(main)


def test_without_a_master_key_it_says_what_to_set():
    async def main(desk: Desk) -> None:
        for answer in (
            await desk.ask("PUT", ONE, {"api_key": CANARY}),
            await desk.ask("POST", "/admin/provider-keys/reseal"),
        ):
            assert answer.status == 409
            assert "HOLDFAST_MASTER_KEY" in answer.error["message"]

    at_the_desk(main, CONFIG.replace(f'master_key = "{MASTER}"\n', ""))


def test_where_callers_need_no_keys_it_is_local():
    async def main(desk: Desk) -> None:
        door = desk.door
        said = await door.ask("PUT", "/admin/keys/local/providers/a", b'{"api_key":"of-local"}')
        assert said.status == 200
        assert (await door.chat(request(stream=False))).status == 200
        assert dict(door.app.transport.exchanges[0].request.headers)[b"authorization"] == b"Bearer of-local"

    config = CONFIG.partition("[keys.acme]")[0].replace('admin_key = "adm-secret"\n', "")
    at_the_desk(main, config)


def test_a_key_that_is_revoked_serves_nobody_and_its_own_keys_can_be_removed():
    async def main(desk: Desk) -> None:
        made = await desk.ask("POST", "/admin/keys", {"name": "later"})
        text = made.json["key"]
        assert (await desk.ask("PUT", "/admin/keys/later/providers/a", {"api_key": CANARY})).status == 200
        headers = {"authorization": f"Bearer {text}"}
        assert (await desk.door.chat(request(stream=False), headers)).status == 200
        assert (await desk.ask("DELETE", "/admin/keys/later")).status == 200
        assert (await desk.door.chat(request(stream=False), headers)).status == 401
        assert (await desk.ask("PUT", "/admin/keys/later/providers/a", {"api_key": "x"})).status == 404
        assert len((await desk.ask("GET", "/admin/keys/later/providers")).json["provider_keys"]) == 1
        assert (await desk.ask("DELETE", "/admin/keys/later/providers/a")).status == 200

    at_the_desk(main)


def test_the_document_tells_what_is_served():
    document = openapi("0")
    schemas = document["components"]["schemas"]
    answers: dict[str, Said] = {}

    async def main(desk: Desk) -> None:
        for method, path in sorted(
            OPERATIONS, key=lambda each: ("PUT", "GET", "POST", "DELETE").index(each[0])
        ):
            told = document["paths"][path][method.lower()]
            body = {"api_key": CANARY} if "requestBody" in told else None
            filled = path.replace("{name}", "acme").replace("{provider}", "a")
            answer = answers[told["operationId"]] = await desk.ask(method, filled, body)
            assert answer.status == 200
            reference = told["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            schema = schemas[reference.rpartition("/")[2]]
            assert set(schema["required"]) <= set(answer.json) <= set(schema["properties"])
            for key in answer.json.get("provider_keys", []):
                kept = schemas["KeptKey"]
                assert set(kept["required"]) <= set(key) <= set(kept["properties"])

    at_the_desk(main)
    assert set(answers) == {each.name for each in OPERATIONS.values()}
