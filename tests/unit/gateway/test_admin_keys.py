"""``/admin/keys``: what may be asked, what is answered, and that it counts with the next request."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.simulation.chat_wire import request, whole
from tests.unit.gateway.door import CONFIG, Door, Said

from holdfast.errors import ConfigError
from holdfast.ledger.memory_keys import MemoryKeys
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ADMIN = {"authorization": "Bearer adm-secret"}
KEYED = CONFIG + '[gateway]\nadmin_key = "adm-secret"\n'
FILE_KEY = f'[keys.Team]\nsha256 = "{hashlib.sha256(b"team-secret").hexdigest()}"\n'
PLAIN = request(stream=False)


class Desk:
    """Who has the admin key."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.texts: list[str] = []

    async def ask(self, method: str, path: str = "", form: Any = None, **headers: str) -> Said:
        body = form if isinstance(form, bytes) else b"" if form is None else msgspec.json.encode(form)
        said = await self.door.ask(method, f"/admin/keys{path}", body, {**ADMIN, **headers})
        if said.status in (200, 201) and "key" in said.json:
            self.texts.append(said.json["key"])
        return said

    async def make(self, name: str = "alice", **form: Any) -> str:
        said = await self.ask("POST", "", {"name": name, **form})
        assert said.status == 201, said.body
        return said.json["key"]

    async def chat(self, key: str | None, body: bytes = PLAIN, **headers: str) -> Said:
        fields = {} if key is None else {"authorization": f"Bearer {key}"}
        return await self.door.ask("POST", "/v1/chat/completions", body, {**fields, **headers})


def at_the_desk(main: Callable[[Desk], Awaitable[None]], config: str = KEYED, answers: int = 9) -> None:
    async def run(clock: VirtualClock) -> None:
        await main(Desk(await Door.open(clock, [whole()] * answers, config)))

    run_virtual(run)


def test_a_key_counts_from_the_next_request_on_and_no_longer_than_it_should():
    async def main(desk: Desk) -> None:
        assert (await desk.chat(None)).status == 200  # nobody needs one
        first = await desk.make()
        assert (await desk.chat(None)).status == 401
        assert (await desk.chat(first)).status == 200
        assert (await desk.chat(first[:-1] + "_")).status == 401
        rotated = (await desk.ask("POST", "/alice/rotate", {"grace_s": 60})).json
        assert [old["prefix"] for old in rotated["replaced"]] == [first[:9]]
        assert {(await desk.chat(key)).status for key in (first, rotated["key"])} == {200}
        await asyncio.sleep(60)
        assert [(await desk.chat(key)).status for key in (first, rotated["key"])] == [401, 200]
        ended = await desk.ask("DELETE", "/Alice")
        assert (ended.status, ended.json["state"]) == (200, "revoked")
        assert (await desk.chat(rotated["key"])).status == 401
        assert (await desk.ask("DELETE", "/alice")).json["revoked_ns"] == ended.json["revoked_ns"]

    at_the_desk(main)


def test_the_text_is_told_once():
    async def main(desk: Desk) -> None:
        made = await desk.ask("POST", "", {"name": "alice"})
        assert made.headers["cache-control"] == "no-store"
        (text,) = desk.texts
        for method, path, form in (
            ("GET", "", None),
            ("GET", "?all=true", None),
            ("GET", "/alice", None),
            ("PATCH", "/alice", {"team": "x"}),
            ("POST", "", {"name": "alice"}),
            ("DELETE", "/alice", None),
        ):
            said = await desk.ask(method, path, form)
            assert text not in said.body.decode()
            assert text[9:] not in said.body.decode()
            assert hashlib.sha256(text.encode()).hexdigest() not in said.body.decode()

    at_the_desk(main)


def test_limits_are_what_was_asked_for():
    form = {
        "name": "alice",
        "team": "search",
        "tags": {"env": "prod"},
        "routes": ["CHAT"],
        "models": ["gpt-*"],
        "rate": {"requests": 60, "window_s": 1.5},
        "budgets": [{"window": "day", "limit_usd": "0.123456789"}, {"window": "day", "limit_tokens": 5}],
    }

    async def main(desk: Desk) -> None:
        said = (await desk.ask("POST", "", {**form, "expires_in_s": 90})).json
        assert {name: said[name] for name in ("team", "tags", "routes", "models")} == {
            name: form[name] for name in ("team", "tags", "routes", "models")
        }
        assert said["rate"] == {
            "requests": 60, "tokens": None, "window_s": 1.5, "max_queue": 0, "max_wait_s": 30.0
        }  # fmt: skip
        assert said["budgets"] == [
            {"window": "day", "limit_usd": "0.123456789", "limit_tokens": None},
            {"window": "day", "limit_usd": None, "limit_tokens": 5},
        ]
        assert said["expires_ns"] == said["created_ns"] + 90 * 10**9
        shown = (await desk.ask("GET", "/alice")).json
        assert shown == {name: value for name, value in said.items() if name != "key"}
        assert (await desk.ask("GET", "")).json == {"keys": [shown]}
        assert (await desk.ask("GET", "/ALICE")).json == shown

    at_the_desk(main)


def test_a_change_names_what_it_changes():
    async def main(desk: Desk) -> None:
        text = await desk.make(
            team="search", tags={"a": "b"}, models=["nothing"], budgets=[{"window": "day", "limit_usd": 1}],
            rate={"requests": 9}, expires_in_s=9,
        )  # fmt: skip
        assert (await desk.chat(text)).status == 403
        before = (await desk.ask("GET", "/alice")).json
        assert (await desk.ask("PATCH", "/alice", {})).json == before
        after = (await desk.ask("PATCH", "/alice", {"models": ["m", "ch*"]})).json
        assert after == {**before, "models": ["m", "ch*"]}
        assert (await desk.chat(text)).status == 200
        nothing = {
            "team": None,
            "tags": None,
            "models": None,
            "budgets": None,
            "rate": None,
            "expires_at": None,
        }
        bare = (await desk.ask("PATCH", "/alice", nothing)).json
        assert bare == {
            **before, "team": None, "tags": {}, "models": None, "budgets": [], "rate": None,
            "expires_ns": None, "expires_at": None,
        }  # fmt: skip
        later = (await desk.ask("PATCH", "/alice", {"expires_at": "2100-01-01T02:00:00+02:00"})).json
        assert later["expires_at"] == "2100-01-01T00:00:00Z"
        assert later["expires_ns"] == 4_102_444_800 * 10**9

    at_the_desk(main)


def test_an_expired_key_is_refused_and_can_be_given_more_time():
    async def main(desk: Desk) -> None:
        text = await desk.make(expires_in_s=0.001)
        await desk.chat(text)
        await asyncio.sleep(1)
        said = await desk.chat(text)
        assert (said.status, said.error["message"]) == (401, "this API key has expired")
        assert (await desk.ask("GET", "/alice")).json["state"] == "expired"
        assert (await desk.ask("GET", "")).json["keys"] == []
        assert [key["name"] for key in (await desk.ask("GET", "?all=true")).json["keys"]] == ["alice"]
        await desk.ask("PATCH", "/alice", {"expires_in_s": 60})
        assert (await desk.chat(text)).status == 200

    at_the_desk(main)


def test_its_own_rate_limit_holds_at_once_and_for_it_alone():
    async def main(desk: Desk) -> None:
        alice, bob = await desk.make("alice", rate={"requests": 1, "window_s": 3600}), await desk.make("bob")
        assert [(await desk.chat(alice)).status for _ in range(2)] == [200, 429]
        assert (await desk.chat(bob)).status == 200
        await desk.ask("PATCH", "/alice", {"rate": {"requests": 2, "window_s": 3600}})
        assert [(await desk.chat(alice)).status for _ in range(2)] == [200, 429]
        await desk.ask("PATCH", "/alice", {"rate": None})
        assert (await desk.chat(alice)).status == 200
        rates = (await desk.door.ask("GET", "/admin/rates", b"", ADMIN)).json["keys"]
        assert [key["key"] for key in rates] == ["alice", "bob"]

    at_the_desk(main)


def test_rates_of_the_file_stay_in_force_beside_them():
    async def main(desk: Desk) -> None:
        alice = await desk.make("alice", rate={"requests": 2, "window_s": 3600})
        bob = await desk.make("bob")
        assert [(await desk.chat(alice)).status for _ in range(3)] == [200, 200, 429]
        assert [(await desk.chat(bob)).status for _ in range(2)] == [200, 429]

    at_the_desk(main, KEYED + "[gateway.rate]\nrequests = 1\nwindow_s = 3600\n")


def test_its_own_budget_holds_at_once_and_for_it_alone():
    async def main(desk: Desk) -> None:
        alice = await desk.make("alice", budgets=[{"window": "day", "limit_usd": "0.000000001"}])
        bob = await desk.make("bob")
        said = await desk.chat(alice)
        assert (said.status, said.error["code"]) == (402, "budget_exceeded")
        assert (await desk.chat(bob)).status == 200
        await desk.ask("PATCH", "/alice", {"budgets": [{"window": "day", "limit_usd": 100}]})
        assert (await desk.chat(alice)).status == 200
        await desk.ask("PATCH", "/alice", {"budgets": [{"window": "day", "limit_tokens": 0}]})
        assert (await desk.chat(alice)).status == 402
        await desk.ask("PATCH", "/alice", {"budgets": None})
        assert (await desk.chat(alice)).status == 200

    at_the_desk(main)


def test_routes_and_models_are_kept_to():
    async def main(desk: Desk) -> None:
        routed = await desk.make("routed", routes=["Chat"])
        modelled = await desk.make("modelled", models=["a/*"])
        assert (await desk.chat(routed)).status == 200
        assert (await desk.chat(routed, request(stream=False, model="a/m"))).status == 403
        said = await desk.chat(modelled)
        assert (said.status, said.error["param"]) == (403, "model")
        assert (await desk.chat(modelled, request(stream=False, model="a/m"))).status == 200

    at_the_desk(main)


def test_its_tags_go_over_those_of_a_request():
    async def main(desk: Desk) -> None:
        text = await desk.make(tags={"project": "mine"})
        await desk.chat(text, **{"x-holdfast-tags": "project=yours,env=prod"})
        (record,) = desk.door.app.ledger.records()
        assert record.intent.tags == {"project": "mine", "env": "prod"}
        assert record.intent.key == "alice"

    at_the_desk(main)


WRONG = [
    (b"{", None, "the body is no JSON"),
    (b"[]", None, "Expected `object`"),
    (b'{"name":"\xff"}', None, "the body is no JSON"),
    ({}, "name", "is missing"),
    ({"name": 1}, "name", "Expected `str`"),
    ({"name": ""}, "name", "must be 1 to 64 letters"),
    ({"name": "a b"}, "name", "must be 1 to 64 letters"),
    ({"name": "-a"}, "name", "must be 1 to 64 letters"),
    ({"name": "a" * 65}, "name", "must be 1 to 64 letters"),
    ({"name": "é"}, "name", "must be 1 to 64 letters"),
    ({"name": "a/b"}, "name", "must be 1 to 64 letters"),
    ({"name": "a", "nmae": 1}, "nmae", "there is no such field"),
    ({"name": "a", "key": "hf_mine"}, "key", "there is no such field"),
    ({"name": "a", "sha256": "x"}, "sha256", "there is no such field"),
    ({"name": "a", "admin": 1}, "admin", "Expected `bool`"),
    ({"name": "a", "team": "two words"}, "team", "must be 1 to 64 letters"),
    ({"name": "a", "tags": {"env": 1}}, "tags[...]", "Expected `str`"),
    ({"name": "a", "tags": {"e v": "x"}}, "tags", "must have names and values of"),
    ({"name": "a", "tags": {f"t{n}": "x" for n in range(17)}}, "tags", "holds 17 tags: 16 at most"),
    ({"name": "a", "routes": ["chat", "chta"]}, "routes[1]", "there is no route 'chta'; did you mean chat?"),
    ({"name": "a", "routes": []}, "routes", "is empty, so this key may do nothing"),
    ({"name": "a", "models": []}, "models", "is empty, so this key may do nothing"),
    ({"name": "a", "models": ["m", "a b"]}, "models[1]", "must be a model's name or a pattern"),
    ({"name": "a", "rate": {}}, "rate", "limits nothing"),
    ({"name": "a", "rate": {"requests": 0}}, "rate.requests", "must be a whole number from 1"),
    ({"name": "a", "rate": {"requests": True}}, "rate.requests", "Expected `int | null`, got `bool`"),
    ({"name": "a", "rate": {"requests": 1, "window_s": 0}}, "rate.window_s", "must be a number from 0.01"),
    ({"name": "a", "rate": {"requets": 1}}, "rate.requets", "there is no such field"),
    ({"name": "a", "budgets": [{"limit_usd": 1}]}, "budgets[0].window", "is missing"),
    ({"name": "a", "budgets": [{"window": "week", "limit_usd": 1}]}, "budgets[0].window", "Invalid enum value"),
    ({"name": "a", "budgets": [{"window": "session", "limit_usd": 1}]}, "budgets[0].window", "Invalid enum"),
    ({"name": "a", "budgets": [{"window": "day"}]}, "budgets[0]", "limit_usd or limit_tokens must be set"),
    ({"name": "a", "budgets": [{"window": "day", "limit_usd": 1, "limit_tokens": 1}]}, "budgets[0]", "one of them"),
    ({"name": "a", "budgets": [{"window": "day", "limit_usd": -1}]}, "budgets[0].limit_usd", "must be from 0 to"),
    ({"name": "a", "budgets": [{"window": "day", "limit_usd": "NaN"}]}, "budgets[0].limit_usd", "must be from 0 to"),
    ({"name": "a", "budgets": [{"window": "day", "limit_usd": "sNaN"}]}, "budgets[0].limit_usd", "must be from 0 to"),
    ({"name": "a", "budgets": [{"window": "day", "limit_usd": "1e999999"}]}, "budgets[0].limit_usd", "must be from"),
    ({"name": "a", "budgets": [{"window": "day", "limit_usd": "1e-10"}]}, "budgets[0].limit_usd", "more than nine"),
    ({"name": "a", "budgets": [{"window": "day", "limit_usd": "five"}]}, "budgets[0].limit_usd", "Invalid decimal"),
    ({"name": "a", "budgets": [{"window": "day", "limit_tokens": -1}]}, "budgets[0]", "limit_tokens must be"),
    (
        {"name": "a", "budgets": [{"window": "day", "limit_usd": 1}, {"window": "day", "limit_usd": 2}]},
        "budgets[1]",
        "has the window and the unit of another one",
    ),
    ({"name": "a", "expires_in_s": 0}, "expires_in_s", "must be in the future"),
    ({"name": "a", "expires_in_s": -5}, "expires_in_s", "Expected `float` >= 0"),
    ({"name": "a", "expires_in_s": 1e300}, "expires_in_s", "Expected `float` <="),
    ({"name": "a", "expires_at": "tomorrow"}, "expires_at", "must be a time such as"),
    ({"name": "a", "expires_at": "2100-01-01T00:00:00"}, "expires_at", "has no zone"),
    ({"name": "a", "expires_at": "1999-01-01T00:00:00Z"}, "expires_at", "must be in the future"),
    ({"name": "a", "expires_at": "9999-01-01T00:00:00Z"}, "expires_at", "before 2262"),
    ({"name": "a", "expires_at": "2100-01-01T00:00:00Z", "expires_in_s": 1}, "expires_in_s", "give one of them"),
    ({"name": "a", "admin": True, "models": ["m"]}, "models", "an admin key asks no models"),
    ({"name": "a", "admin": True, "routes": ["chat"]}, "routes", "an admin key asks no models"),
    ({"name": "a", "admin": True, "rate": {"requests": 1}}, "rate", "an admin key asks no models"),
    ({"name": "a", "admin": True, "budgets": [{"window": "day", "limit_usd": 1}]}, "budgets", "an admin key asks no"),
]  # fmt: skip


def test_what_is_wrong_is_told_with_its_field_and_its_reason():
    async def main(desk: Desk) -> None:
        for form, field, reason in WRONG:
            said = await desk.ask("POST", "", form)
            assert (said.status, said.error["param"]) == (400, field), (form, said.body)
            assert reason in said.error["message"], (form, said.error["message"])
        assert (await desk.ask("GET", "?all=true")).json == {"keys": []}

    at_the_desk(main)


def test_changes_and_rotations_are_held_to_the_same_rules():
    async def main(desk: Desk) -> None:
        await desk.make()
        before = (await desk.ask("GET", "/alice")).json
        for method, path, form, field in (
            ("PATCH", "/alice", {"name": "bob"}, "name"),
            ("PATCH", "/alice", {"admin": True}, "admin"),
            ("PATCH", "/alice", {"routes": ["nix"]}, "routes[0]"),
            ("PATCH", "/alice", {"team": 1}, "team"),
            ("POST", "/alice/rotate", {"grace": 1}, "grace"),
            ("POST", "/alice/rotate", {"grace_s": -1}, "grace_s"),
            ("POST", "/alice/rotate", {"grace_s": "24h"}, "grace_s"),
        ):
            said = await desk.ask(method, path, form)
            assert (said.status, said.error["param"]) == (400, field), said.body
        assert (await desk.ask("GET", "/alice")).json == before

    at_the_desk(main)


def test_what_stands_against_it_is_said():
    async def main(desk: Desk) -> None:
        await desk.make()
        await desk.make("gone")
        await desk.ask("DELETE", "/gone")
        for method, path, form, status, said_so in (
            ("POST", "", {"name": "ALICE"}, 409, "there is a key of the name ALICE already"),
            ("POST", "", {"name": "team"}, 409, "a key of the name Team stands in the configuration"),
            ("POST", "", {"name": "Gone"}, 409, "was revoked"),
            ("PATCH", "/gone", {"team": "x"}, 409, "was revoked, which is for good"),
            ("POST", "/gone/rotate", None, 409, "was revoked, which is for good"),
            ("PATCH", "/TEAM", {"team": "x"}, 409, "stands in the configuration"),
            ("DELETE", "/team", None, 409, "stands in the configuration"),
            ("GET", "/alise", None, 404, "there is no key 'alise'; did you mean alice?"),
            ("DELETE", "/nobody", None, 404, "there is no key 'nobody'"),
            ("PATCH", "/" + "x" * 5_000, {}, 404, "there is no key 'xxx"),
            ("GET", "/alice/rotate/x", None, 404, "there are /admin/keys"),
            ("GET", "/alice/rotate", None, 405, "takes POST, not GET"),
            ("PUT", "/alice", None, 405, "takes GET and PATCH and DELETE, not PUT"),
            ("GET", "?al=true", None, 400, "takes no query parameter 'al'"),
            ("GET", "?all=1", None, 400, "all must be true or false"),
            ("GET", "/alice?all=true", None, 400, "takes no query parameter 'all'"),
        ):
            said = await desk.ask(method, path, form)
            assert said.status == status, (path, said.body)
            assert said_so in said.error["message"], said.error["message"]
            assert len(said.error["message"]) < 400
        assert (await desk.ask("GET", "/team")).json["source"] == "file"

    at_the_desk(main, KEYED + FILE_KEY)


def test_a_body_without_end_is_not_read():
    async def main(desk: Desk) -> None:
        said = await desk.ask("POST", "", b'{"name":"a","team":"' + b"x" * 70_000)
        assert said.status == 413

    at_the_desk(main)


def test_only_an_admin_comes_in():
    async def main(desk: Desk) -> None:
        text, admin = await desk.make(), await desk.make("ops", admin=True)
        for headers in ({}, {"authorization": f"Bearer {text}"}, {"authorization": "Bearer x"}):
            for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/alice"), ("POST", "/alice/rotate")):
                said = await desk.door.ask(method, f"/admin/keys{path}", b"{}", headers)
                assert said.status == 401
        by_ops = {"authorization": f"Bearer {admin}"}
        assert (await desk.door.ask("GET", "/admin/keys", b"", by_ops)).status == 200
        assert (await desk.door.ask("GET", "/admin/targets", b"", by_ops)).status == 200
        said = await desk.chat(admin)
        assert (said.status, said.error["code"]) == (403, "forbidden")
        assert (await desk.chat("adm-secret")).status == 401
        await desk.ask("DELETE", "/ops")
        assert (await desk.door.ask("GET", "/admin/keys", b"", by_ops)).status == 401

    at_the_desk(main)


def test_nobody_locks_themselves_out_with_the_first_key():
    async def main(desk: Desk) -> None:
        refused = await desk.ask("POST", "", {"name": "alice"}, authorization="")
        assert refused.status == 409
        assert "holdfast keys create NAME --admin" in refused.error["message"]
        admin = await desk.make("ops", admin=True)
        headers = {"authorization": f"Bearer {admin}"}
        assert (await desk.ask("POST", "", {"name": "alice"}, **headers)).status == 201
        assert (await desk.ask("GET", "", None, **headers)).status == 200

    at_the_desk(main, CONFIG)


def test_web_pages_make_no_keys():
    async def main(desk: Desk) -> None:
        for headers in (
            {"origin": "https://evil.example"},
            {"host": "evil.example"},
            {"sec-fetch-site": "cross-site"},
        ):
            said = await desk.ask("POST", "", {"name": "ops", "admin": True}, authorization="", **headers)
            assert said.status == 403
        assert list(desk.door.gateway.ring) == []

    at_the_desk(main, CONFIG)


def test_what_was_stored_counts_at_the_start():
    async def main(desk: Desk) -> None:
        text = await desk.make(rate={"requests": 1, "window_s": 3600})
        store = desk.door.app.keys
        assert isinstance(store, MemoryKeys)
        desk.door.app.stored_keys = await store.all()
        again = Desk(Door(desk.door.clock, desk.door.app, desk.door.metrics))
        assert [(await again.chat(text)).status for _ in range(2)] == [200, 429]
        assert (await again.chat(None)).status == 401

    at_the_desk(main)


def test_a_gateway_that_others_reach_needs_a_key_to_start():
    config = CONFIG + '[gateway]\nhost = "0.0.0.0"\nadmin_key = "adm-secret"\n'

    async def main(clock: VirtualClock) -> None:
        with pytest.raises(ConfigError, match=r"^gateway\.host: other machines can reach this address"):
            await Door.open(clock, [], config)
        assert (await Door.open(clock, [], config + FILE_KEY)).gateway.running == 0

    run_virtual(main)
