"""Requests with keys of their caller's own, from the door to the provider and back, in virtual time."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.unit.gateway.door import Door, Said

from holdfast.app import DIALECTS
from holdfast.config.own_keys import OwnKey
from holdfast.secret import Secret
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.transport.base import Outgoing

SECRETS = {name: f"{name}-secret" for name in ("acme", "beta", "solo")}
KEYS = "".join(
    f'[keys.{name}]\nsha256 = "{hashlib.sha256(text.encode()).hexdigest()}"\n'
    + ("own_keys_only = true\n" if name == "solo" else "")
    for name, text in SECRETS.items()
)
OWN = (
    """
[gateway]
admin_key = "adm-secret"
[providers.a]
dialect = "openai_chat"
base_url = "http://a/v1"
api_key = "sk-shared-a"
[providers.b]
dialect = "openai_chat"
base_url = "http://b/v1"
[routes.chat]
targets = ["a/m", "b/m"]
[retry]
max_retries = 0
"""
    + KEYS
    + """
[keys.acme.providers]
a.api_key = "sk-own-acme-a"
b.api_key = "sk-own-acme-b"
"""
)
CALLERS = """
[providers.a]
dialect = "openai_chat"
base_url = "http://a/v1"
auth = "caller"
[providers.b]
dialect = "openai_chat"
base_url = "http://b/v1"
api_key = "sk-shared-b"
[routes.chat]
targets = ["a/m", "b/m"]
[retry]
max_retries = 0
"""
PLAIN = request(stream=False)
AS_ANTHROPIC = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
AS_GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
ADMIN = {"authorization": "Bearer adm-secret"}


def at_the_door(main: Callable[[Door], Awaitable[None]], config: str, reply: Any = None) -> None:
    async def run(clock: VirtualClock) -> None:
        await main(await Door.open(clock, reply or (lambda _: whole()), config))

    run_virtual(run)


def sent(door: Door) -> list[tuple[str, str]]:
    """Who was asked, with which key; forgets them."""
    seen = [
        (
            each.request.origin.host,
            dict(each.request.headers).get(b"authorization", b"").decode().removeprefix("Bearer "),
        )
        for each in door.app.transport.exchanges
    ]
    door.app.transport.exchanges.clear()
    return seen


async def ask(door: Door, name: str, body: bytes = PLAIN, **headers: str) -> Said:
    return await door.chat(body, {"authorization": f"Bearer {SECRETS[name]}", **headers})


class TestRefusedKeys:
    """401 and 403: ours is the operator's to mend, the caller's own is the caller's to hear of."""

    @pytest.mark.parametrize("status", [401, 403])
    def test_the_callers_own_is_told_as_the_provider_said_it(self, status):
        async def main(door: Door) -> None:
            said = await ask(door, "acme")
            assert said.status == status
            assert said.error == {"message": f"said {status}", "type": "error", "param": None, "code": None}
            assert said.headers["x-should-retry"] == "false"
            assert said.headers["x-holdfast-attempts"] == "1"
            assert sent(door) == [("a", "sk-own-acme-a")], "nobody else is asked"
            (record,) = [await door.app.ledger.get(said.headers["x-holdfast-request-id"])]
            (row,) = record.end.attempts
            assert (row.outcome, row.deployment, row.cost_nano) == ("own_key_refused", "@acme", 0)
            await door.settle()

        at_the_door(main, OWN, lambda _: refuses(status))

    def test_ours_isnt(self):
        async def main(door: Door) -> None:
            said = await ask(door, "beta")
            assert (said.status, said.error["code"]) == (502, "provider_auth_failed")
            assert "said 401" not in said.body.decode()

        at_the_door(main, OWN, lambda _: refuses(401))

    def test_a_key_that_came_along_is_told_likewise(self):
        async def main(door: Door) -> None:
            said = await door.chat(PLAIN, {"authorization": "Bearer sk-mine"})
            assert (said.status, said.error["message"]) == (401, "said 401")
            assert sent(door) == [("a", "sk-mine")]

        at_the_door(main, CALLERS, lambda _: refuses(401))

    @pytest.mark.parametrize(("path", "body", "kind"), [
        ("/v1/messages", AS_ANTHROPIC, "authentication_error"),
        ("/v1beta/models/chat:generateContent", AS_GEMINI, "UNAUTHENTICATED"),
    ])  # fmt: skip
    @pytest.mark.parametrize("status", [401, 400])
    def test_in_another_dialect_it_keeps_its_meaning(self, path, body, kind, status):
        """Some providers say 400 of a key that is none: said again in other words, it would be the request's fault."""

        async def main(door: Door) -> None:
            said = await door.ask(
                "POST", path, msgspec.json.encode(body), {"authorization": f"Bearer {SECRETS['acme']}"}
            )
            assert said.status == 401
            assert kind in (said.error.get("type"), said.error.get("status"))
            assert "a refused this tenant's own API key" in said.error["message"]

        at_the_door(main, OWN, lambda _: refuses(status, code="invalid_api_key" if status == 400 else None))

    def test_what_the_provider_quotes_of_it_isnt_told(self):
        def quotes(seen: Outgoing) -> Any:
            key = dict(seen.headers)[b"authorization"].decode()
            return refuses(401, code=key, headers={"x-request-id": key})

        async def main(door: Door) -> None:
            said = await ask(door, "acme")
            record = await door.app.ledger.get(said.headers["x-holdfast-request-id"])
            assert "sk-own-acme-a" not in said.body.decode() + repr(said.headers) + repr(record)
            assert "***" in said.body.decode()

        at_the_door(main, OWN, quotes)


class TestPassedOver:
    def test_who_it_has_no_key_to_is_recorded_and_the_next_one_asked(self):
        async def main(door: Door) -> None:
            said = await ask(door, "beta")
            assert said.status == 502, "a is the only one left, and fails"
            assert sent(door) == [("a", "sk-shared-a")]
            record = await door.app.ledger.get(said.headers["x-holdfast-request-id"])
            assert record.end.skipped == (("b/m", "api_key"),)

        at_the_door(main, OWN, lambda seen: refuses(503) if seen.origin.host == "a" else whole())

    def test_in_a_chain_each_is_asked_with_its_own(self):
        async def main(door: Door) -> None:
            said = await ask(door, "acme")
            assert said.status == 200
            assert said.headers["x-holdfast-deployment"] == "@acme"
            assert sent(door) == [("a", "sk-own-acme-a"), ("b", "sk-own-acme-b")]

        at_the_door(main, OWN, lambda seen: refuses(503) if seen.origin.host == "a" else whole())

    def test_where_nobody_is_left_nothing_is_sent_or_written(self):
        async def main(door: Door) -> None:
            said = await ask(door, "solo")
            assert (said.status, said.error["code"], said.error["param"]) == (
                403,
                "provider_key_missing",
                "model",
            )
            assert "holdfast keys provider set solo a" in said.error["message"]
            assert sent(door) == []
            assert (await door.app.ledger.counts()).accepted == 0
            listed = await door.ask(
                "GET", "/v1/models", headers={"authorization": f"Bearer {SECRETS['solo']}"}
            )
            assert listed.json["data"] == []

        at_the_door(main, OWN)

    @pytest.mark.parametrize("path", ["/v1/messages", "/v1beta/models/chat:generateContent"])
    def test_it_is_said_in_each_dialect(self, path):
        body = AS_GEMINI if "beta" in path else AS_ANTHROPIC

        async def main(door: Door) -> None:
            said = await door.ask(
                "POST", path, msgspec.json.encode(body), {"authorization": f"Bearer {SECRETS['solo']}"}
            )
            assert said.status == 403
            assert {said.error.get("type"), said.error.get("status")} & {
                "permission_error",
                "PERMISSION_DENIED",
            }

        at_the_door(main, OWN)


class TestState:
    """Breakers and limits belong to the key: what one key is told says nothing of another's."""

    def test_one_keys_refusals_open_nothing_for_others(self):
        def by_key(seen: Outgoing) -> Any:
            own = b"own-acme" in dict(seen.headers)[b"authorization"]
            return refuses(500) if own else whole()

        async def main(door: Door) -> None:
            for _ in range(30):
                assert (await ask(door, "acme")).status >= 500
            said = await ask(door, "acme")
            assert said.status == 503
            assert "circuit breaker 'a[@acme]/m' is open" in said.error["message"]
            for _ in range(3):
                assert (await ask(door, "beta")).status == 200
            targets = (await door.ask("GET", "/admin/targets", headers=ADMIN)).json["targets"]
            states = {each["target"]: each["breaker"]["state"] for each in targets}
            assert states["a[@acme]/m"] == "open"
            assert states["a/m"] == "closed"

        at_the_door(main, OWN, by_key)

    def test_the_limit_that_a_provider_tells_one_key_holds_for_that_one(self):
        def by_key(seen: Outgoing) -> Any:
            if dict(seen.headers)[b"authorization"].endswith(b"-1"):
                return refuses(
                    429,
                    headers={
                        "retry-after": "3600",
                        "x-ratelimit-limit-requests": "1",
                        "x-ratelimit-remaining-requests": "0",
                        "x-ratelimit-reset-requests": "1h",
                    },
                )
            return whole()

        async def main(door: Door) -> None:
            only_a = request(stream=False, model="a/m")
            for _ in range(3):
                assert (await door.chat(only_a, {"authorization": "Bearer sk-1"})).status == 429
            for _ in range(3):
                assert (await door.chat(only_a, {"authorization": "Bearer sk-2"})).status == 200
            assert [key for _, key in sent(door)] == ["sk-1", "sk-2", "sk-2", "sk-2"], (
                "the limited one isn't sent again"
            )

        at_the_door(main, CALLERS, by_key)

    def test_refused_keys_dont_count_against_anybody(self):
        def by_key(seen: Outgoing) -> Any:
            return refuses(401) if dict(seen.headers)[b"authorization"].endswith(b"-bad") else whole()

        async def main(door: Door) -> None:
            for _ in range(30):
                assert (await door.chat(PLAIN, {"authorization": "Bearer sk-bad"})).status == 401
            assert (await door.chat(PLAIN, {"authorization": "Bearer sk-good"})).status == 200

        at_the_door(main, CALLERS, by_key)

    def test_strangers_keys_are_bounded(self):
        async def main(door: Door) -> None:
            gate = door.app.engine.gate
            for number in range(5000):
                target = door.app.tenants.resolve(
                    "local", "a/m", DIALECTS["openai_chat"], {"bearer": Secret(f"sk-{number}")}
                ).resolved.targets[0]
                gate.of(target).blocked_until = 1e18  # something to remember: none of them is idle
            assert len(list(gate)) <= 4096 + 1

        at_the_door(main, CALLERS)


class TestBroughtAlong:
    def test_it_goes_to_its_provider_and_to_no_other(self):
        async def main(door: Door) -> None:
            said = await door.chat(PLAIN, {"authorization": "Bearer sk-mine"})
            assert said.status == 200
            assert sent(door) == [("a", "sk-mine"), ("b", "sk-shared-b")]
            assert said.headers["x-holdfast-provider"] == "b"

        at_the_door(main, CALLERS, lambda seen: refuses(503) if seen.origin.host == "a" else whole())

    def test_without_one_its_provider_isnt_asked(self):
        async def main(door: Door) -> None:
            for headers in ({}, {"authorization": "Bearer none"}):
                said = await door.chat(PLAIN, headers)
                assert said.status == 200
                assert sent(door) == [("b", "sk-shared-b")]
                record = await door.app.ledger.get(said.headers["x-holdfast-request-id"])
                assert record.end.skipped == (("a[@caller]/m", "api_key"),)
                only = await door.chat(request(stream=False, model="a/m"), headers)
                assert (only.status, only.error["code"]) == (403, "provider_key_missing")
                assert "Authorization: Bearer" in only.error["message"]

        at_the_door(main, CALLERS)

    def test_where_callers_need_keys_ours_comes_in_a_header_of_its_own(self):
        async def main(door: Door) -> None:
            mine = {"authorization": "Bearer sk-mine"}
            assert (await door.chat(PLAIN, {**mine, "x-holdfast-key": SECRETS["acme"]})).status == 200
            assert sent(door) == [("a", "sk-mine")]
            assert (await door.chat(PLAIN, {"authorization": f"Bearer {SECRETS['acme']}"})).status == 200
            assert sent(door) == [("b", "sk-shared-b")], "our own key never leaves"
            both = {"authorization": f"Bearer {SECRETS['acme']}", "x-holdfast-key": SECRETS["acme"]}
            assert (await door.chat(PLAIN, both)).status == 200
            assert (
                await door.chat(PLAIN, {**both, "authorization": f"Bearer {SECRETS['beta']}"})
            ).status == 200
            assert sent(door) == [("b", "sk-shared-b")] * 2, "nor in its place"
            for headers in ({**mine, "x-holdfast-key": "wrong"}, mine):
                assert (await door.chat(PLAIN, headers)).status == 401
            assert sent(door) == []

        at_the_door(main, CALLERS + KEYS)

    def test_a_stream_too(self):
        async def main(door: Door) -> None:
            said = await door.chat(request(), {"authorization": "Bearer sk-mine"})
            assert said.whole
            assert b"[DONE]" in said.body
            assert sent(door) == [("a", "sk-mine")]

        at_the_door(main, CALLERS, lambda _: speaks(*stream("hi")))

    def test_an_answer_isnt_told_again_to_who_comes_with_another_key(self):
        """Without keys of the gateway's all callers are one tenant: one's answer must not be another's for the asking."""

        async def main(door: Door) -> None:
            def once(key: str) -> Awaitable[Said]:
                return door.chat(PLAIN, {"authorization": f"Bearer {key}", "idempotency-key": "k1"})

            assert (await once("sk-1")).status == 200
            again = await once("sk-1")
            assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
            assert (await once("sk-2")).status == 422
            assert sent(door) == [("a", "sk-1")]

        at_the_door(main, CALLERS)

    def test_models_are_listed_for_who_brings_a_key(self):
        async def main(door: Door) -> None:
            def listed(said: Said) -> set[str]:
                return {each["id"] for each in said.json["data"]}

            with_key = await door.ask("GET", "/v1/models", headers={"authorization": "Bearer sk-mine"})
            assert listed(with_key) == {"chat", "a/m", "b/m"}
            assert listed(await door.ask("GET", "/v1/models")) == {"chat", "b/m"}
            one = {"authorization": "Bearer sk-mine"}
            assert (await door.ask("GET", "/v1/models/a/m", headers=one)).status == 200
            assert (await door.ask("GET", "/v1/models/a/m")).status == 403

        at_the_door(main, CALLERS)


def test_a_key_that_is_set_while_a_request_runs_serves_the_next_one():
    async def main(door: Door) -> None:
        async def first() -> Said:
            return await ask(door, "beta", request(stream=False, model="a/m"))

        running = asyncio.create_task(first())
        await asyncio.sleep(0.5)
        door.app.tenants.put("beta", "a", OwnKey(key=Secret("sk-beta-new"), told=""))
        assert (await running).status == 200
        assert (await first()).status == 200
        assert sent(door) == [("a", "sk-shared-a"), ("a", "sk-beta-new")]

    at_the_door(main, OWN, lambda _: whole(head_s=1.0))
