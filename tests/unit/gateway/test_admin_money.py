"""``/admin/budgets``, ``/admin/sessions``, ``/admin/cost-breaker``: what is told, what is done, and what is no question."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.simulation.chat_wire import request, whole
from tests.unit.gateway.door import CONFIG, Door, Said
from tests.unit.gateway.test_admin import ADMIN, KEYED, TEAM, WITH_ADMIN

from holdfast.errors import LedgerUnavailable
from holdfast.gateway.admin_money import OPERATIONS, is_money
from holdfast.ledger.memory import MemoryLedger
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MONEY = """
[budgets.total]
limit_usd = 0.01
window = "forever"
[budgets.each-key]
scope = "key"
limit_tokens = 100_000
window = "hour"
hard = false
[budgets.projects]
scope = "tag:project"
match = ["north*"]
limit_usd = 0.5
window = "day"
[cost_protection]
enabled = true
circuit_breaker_threshold_usd = 0.02
max_session_cost_usd = 0.005
"""
PLAIN = request(stream=False, max_tokens=10)
COST = 10 * 2_000 + 5 * 8_000
"""Nano-dollars of an answer of 10 and 5 tokens."""
TAGGED = {
    "x-holdfast-session": "s-1",
    "x-holdfast-tags": "project=north-1",
}


def run(main: Callable[[Door], Awaitable[None]], config: str = MONEY, **more: Any) -> None:
    async def there(clock: VirtualClock) -> None:
        handler = more.get("handler", lambda _: whole("hi", usage=(10, 5)))
        await main(await Door.open(clock, handler, CONFIG + config))

    run_virtual(there)


async def told(door: Door, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    said = await door.ask("GET", path, headers=headers)
    assert said.status == 200, said.body
    assert said.headers["content-type"] == "application/json"
    return said.json


def asked(method: str, path: str, config: str = MONEY, headers: dict[str, str] | None = None) -> Said:
    heard: list[Said] = []

    async def main(door: Door) -> None:
        heard.append(await door.ask(method, path, headers=headers))

    run(main, config)
    return heard[0]


class TestBudgets:
    def test_nothing_was_spent_yet(self):
        said = asked("GET", "/admin/budgets").json
        assert [rule["budget"] for rule in said["budgets"]] == [
            "total",
            "each-key",
            "projects",
            "cost_protection.session",
            "cost_protection.hourly",
        ]
        assert said["budgets"][2] == {
            "budget": "projects",
            "scope": "tag:project",
            "match": ["north*"],
            "window": "day",
            "unit": "usd",
            "limit": "0.500000000",
            "warn_at": 0.8,
            "hard": True,
        }
        rest = {name: said[name] for name in ("accounts", "more", "reservations", "overruns", "refused")}
        assert rest == {"accounts": [], "more": 0, "reservations": 0, "overruns": 0, "refused": {}}

    def test_what_a_request_spent_stands_in_each_of_its_budgets(self):
        async def main(door: Door) -> None:
            await door.chat(PLAIN, TAGGED)
            said = await told(door, "/admin/budgets")
            found = {each["budget"]: each for each in said["accounts"]}
            assert {name: each["subject"] for name, each in found.items()} == {
                "total": None,
                "each-key": "local",
                "projects": "north-1",
                "cost_protection.session": "local/s-1",
                "cost_protection.hourly": "local",
            }
            assert found["each-key"]["spent"] == 15
            assert found["cost_protection.session"]["free_again_in_s"] is None, "it is over before"
            assert found["each-key"]["free_again_in_s"] == pytest.approx(3600, abs=2)
            assert found["total"] == {
                "budget": "total",
                "subject": None,
                "window": "forever",
                "unit": "usd",
                "hard": True,
                "limit": "0.010000000",
                "spent": "0.000060000",
                "reserved": "0.000000000",
                "leased": None,
                "left": "0.009940000",
                "used": 0.006,
                "refused": 0,
                "free_again_in_s": None,
            }
            used = [each["used"] for each in said["accounts"]]
            assert used == sorted(used, reverse=True), "the fullest first"

        run(main)

    def test_what_is_set_aside_is_told_while_the_request_runs(self):
        async def main(door: Door) -> None:
            running = asyncio.create_task(door.chat(PLAIN))
            await asyncio.sleep(1)
            said = await told(door, "/admin/budgets?budget=total")
            (total,) = said["accounts"]
            assert said["reservations"] == 1
            assert total["spent"] == "0.000000000"
            assert float(total["reserved"]) > COST * 1e-9
            assert float(total["left"]) == pytest.approx(0.01 - float(total["reserved"]))
            assert total["used"] > 0
            await running
            said = await told(door, "/admin/budgets?budget=total")
            assert (said["reservations"], said["accounts"][0]["reserved"]) == (0, "0.000000000")

        run(main, handler=lambda _: whole("hi", usage=(10, 5), head_s=5.0))

    def test_refusals_are_counted_where_they_happened(self):
        async def main(door: Door) -> None:
            for _ in range(3):
                assert (await door.chat(request(stream=False, max_tokens=100_000))).status == 402
            said = await told(door, "/admin/budgets?budget=total")
            assert said["refused"] == {"budget_exceeded": 3}
            assert said["accounts"][0]["refused"] == 3

        run(main)

    def test_one_budget_and_one_subject(self):
        async def main(door: Door) -> None:
            for project in ("north-1", "north-2", "south"):
                await door.chat(PLAIN, {"x-holdfast-tags": f"project={project}"})
            said = await told(door, "/admin/budgets?budget=projects")
            assert [rule["budget"] for rule in said["budgets"]] == ["projects"]
            assert {each["subject"] for each in said["accounts"]} == {"north-1", "north-2"}
            (one,) = (await told(door, "/admin/budgets?budget=projects&subject=north-2"))["accounts"]
            assert one["subject"] == "north-2"
            assert (await told(door, "/admin/budgets?subject=south"))["accounts"] == []
            local = await told(door, "/admin/budgets?subject=local")
            assert {each["budget"] for each in local["accounts"]} == {"each-key", "cost_protection.hourly"}

        run(main)

    def test_a_budget_that_isnt_there_is_named_with_its_neighbour(self):
        said = asked("GET", "/admin/budgets?budget=totle")
        assert said.status == 404
        assert said.error["message"] == "there is no budget 'totle': did you mean total?"

    def test_a_keys_own_budget_is_one_of_them(self):
        async def main(door: Door) -> None:
            body = b'{"name":"ops","admin":true}'
            ops = (await door.ask("POST", "/admin/keys", body)).json["key"]
            admin = {"authorization": f"Bearer {ops}"}
            body = b'{"name":"ann","budgets":[{"window":"day","limit_usd":"0.01"}]}'
            key = (await door.ask("POST", "/admin/keys", body, admin)).json["key"]
            await door.chat(PLAIN, {"authorization": f"Bearer {key}"})
            name = "key ann: usd, day"
            said = await told(door, "/admin/budgets?budget=key+ann:+usd,+day", admin)
            assert [rule["budget"] for rule in said["budgets"]] == [name]
            assert [(each["budget"], each["spent"]) for each in said["accounts"]] == [(name, "0.000060000")]

        run(main)

    def test_there_may_be_very_many(self):
        async def main(door: Door) -> None:
            treasury = door.app.engine.treasury
            for n in range(1_200):
                await door.chat(PLAIN, {"x-holdfast-tags": f"project=north-{n}"})
            assert len(list(treasury.budgets)) > 1_200
            said = await told(door, "/admin/budgets?budget=projects")
            assert (len(said["accounts"]), said["more"]) == (1_000, 200)

        run(main, MONEY.replace("0.01\n", "9\n").replace("0.02", "9"))


class TestSessions:
    def test_what_each_has_spent_and_how_long_it_has_left(self):
        async def main(door: Door) -> None:
            await door.chat(PLAIN, {"x-holdfast-session": "old"})
            await asyncio.sleep(600)
            await door.chat(PLAIN, {"x-holdfast-session": "new/1"})
            await door.chat(PLAIN, {"x-holdfast-session": "new/1"})
            said = await told(door, "/admin/sessions")
            assert (said["enabled"], said["more"]) == (True, 0)
            assert [each["id"] for each in said["sessions"]] == ["new/1", "old"]
            assert said["sessions"][0]["spent_usd"] == "0.000120000"
            assert said["sessions"][1]["left_s"] == pytest.approx(1200, abs=2)
            assert said["counts"]["active"] == 2
            assert said["counts"]["started"] == 2
            one = await told(door, "/admin/sessions/local/new/1")
            assert one == said["sessions"][0]
            assert set(one) == {
                "id", "key", "state", "started_ns", "ends_ns", "ended_ns", "left_s", "warned", "spent_usd",
            }  # fmt: skip
            assert (await told(door, "/admin/sessions?key=nobody"))["sessions"] == []

        run(main)

    def test_its_end_is_for_good(self):
        async def main(door: Door) -> None:
            await door.chat(PLAIN, {"x-holdfast-session": "s-1"})
            said = await door.ask("DELETE", "/admin/sessions/local/s-1")
            assert said.status == 200
            assert (said.json["state"], said.json["left_s"], said.json["spent_usd"]) == (
                "ended",
                0,
                "0.000060000",
            )
            again = await door.ask("DELETE", "/admin/sessions/local/s-1")
            assert (again.status, again.json) == (200, said.json), "the first end stays"
            refused = await door.chat(PLAIN, {"x-holdfast-session": "s-1"})
            assert (refused.status, refused.error["code"]) == (410, "session_ended")
            assert (await told(door, "/admin/sessions/local/s-1"))["state"] == "ended"
            assert (await told(door, "/admin/budgets"))["refused"] == {"session_ended": 1}

        run(main)

    def test_those_that_go_on_stand_first(self):
        async def main(door: Door) -> None:
            for name in ("a", "b", "c"):
                await door.chat(PLAIN, {"x-holdfast-session": name})
                await asyncio.sleep(1)
            await door.ask("DELETE", "/admin/sessions/local/c")
            assert [each["id"] for each in (await told(door, "/admin/sessions"))["sessions"]] == [
                "b",
                "a",
                "c",
            ]

        run(main)

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_there_is_none(self, method):
        said = asked(method, "/admin/sessions/local/s-1")
        assert said.status == 404
        assert said.error["message"] == "the key 'local' has no session 's-1'"

    def test_without_cost_protection_they_are_names(self):
        assert asked("GET", "/admin/sessions", "").json == {"enabled": False, "sessions": [], "more": 0}
        for method in ("GET", "DELETE"):
            said = asked(method, "/admin/sessions/local/s-1", "")
            assert said.status == 404
            assert "cost_protection.enabled" in said.error["message"]


class Full(MemoryLedger):
    async def forget_spending(self, _: str) -> None:
        raise LedgerUnavailable("the disk is full")


class TestCostBreaker:
    def test_it_is_told_and_reset(self):
        async def main(door: Door) -> None:
            said = await told(door, "/admin/cost-breaker")
            assert said == {
                "enabled": True,
                "state": "closed",
                "threshold_usd": "0.003000000",
                "spent_usd": "0.000000000",
                "reserved_usd": "0.000000000",
                "window_s": 86_400,
                "cool_down_s": 300,
                "probes": 0,
                "opened": 0,
                "refused": 0,
                "retry_after_s": 0,
            }
            await door.chat(PLAIN)
            said = await told(door, "/admin/cost-breaker")
            assert (said["state"], said["opened"], said["spent_usd"]) == ("open", 1, "0.003220000")
            assert 86_300 < said["retry_after_s"] <= 86_430
            refused = await door.chat(PLAIN)
            assert (refused.status, refused.error["code"]) == (503, "cost_breaker_open")
            reset = await door.ask("POST", "/admin/cost-breaker/reset")
            assert reset.status == 200
            assert (reset.json["state"], reset.json["spent_usd"]) == ("closed", "0.000000000")
            assert reset.json["refused"] == 1
            charged = {charge.account.partition(":")[0] for charge in await door.app.ledger.spending()}
            assert charged == {"total", "each-key", "cost_protection.hourly"}, "and not cost_breaker"
            (total,) = (await told(door, "/admin/budgets?budget=total"))["accounts"]
            assert total["spent"] == "0.003220000", "budgets still hold"

        config = MONEY.replace("= 0.02", "= 0.003")
        run(main, config, handler=lambda _: whole("hi", usage=(10, 400)))

    def test_where_there_is_none(self):
        assert asked("GET", "/admin/cost-breaker", "").json == {"enabled": False}
        said = asked("POST", "/admin/cost-breaker/reset", "")
        assert said.status == 404
        assert "cost_protection.enabled" in said.error["message"]

    def test_what_cannot_be_made_durable_is_not_done(self):
        async def main(door: Door) -> None:
            await door.chat(PLAIN)
            assert (await told(door, "/admin/cost-breaker"))["spent_usd"] == "0.000060000"
            door.app.engine.treasury.ledger = Full(door.clock)
            said = await door.ask("POST", "/admin/cost-breaker/reset")
            assert said.status == 503
            assert (await told(door, "/admin/cost-breaker"))["spent_usd"] == "0.000060000"

        run(main)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ALLOWED = {
    "/admin/budgets": ("GET", "HEAD"),
    "/admin/sessions": ("GET", "HEAD"),
    "/admin/sessions/local/s-1": ("GET", "HEAD", "DELETE"),
    "/admin/cost-breaker": ("GET", "HEAD"),
    "/admin/cost-breaker/reset": ("POST",),
}


@pytest.mark.parametrize("path", ALLOWED)
def test_other_methods_are_refused_and_do_nothing(path):
    async def main(door: Door) -> None:
        await door.chat(PLAIN, {"x-holdfast-session": "s-1"})
        for method in METHODS:
            if method in ALLOWED[path]:
                continue
            said = await door.ask(method, path)
            assert said.status == 405
            assert said.error["message"].endswith(f", not {method}")
        assert (await told(door, "/admin/sessions/local/s-1"))["state"] == "active"
        assert (await told(door, "/admin/cost-breaker"))["spent_usd"] == "0.000060000"

    run(main)


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        (
            "GET",
            "/admin/budgets?bugdet=total",
            400,
            "takes budget, subject: there is no query parameter 'bugdet'",
        ),
        ("GET", "/admin/budgets?budget=total&budget=total", 400, "budget may stand in the query once"),
        ("GET", "/admin/budgets?key=local", 400, "there is no query parameter 'key'"),
        ("GET", "/admin/sessions?session=s", 400, "takes key"),
        ("GET", "/admin/sessions/local/s?x=1", 400, "takes none"),
        ("DELETE", "/admin/sessions/local/s?force=1", 400, "takes none"),
        ("GET", "/admin/cost-breaker?x", 400, "takes none"),
        ("POST", "/admin/cost-breaker/reset?now=1", 400, "takes none"),
        ("GET", "/admin/budgets/", 404, "did you mean /admin/budgets"),
        ("GET", "/admin/budgets/total", 404, "did you mean /admin/budgets"),
        ("GET", "/admin/budgetsx", 404, "did you mean /admin/budgets"),
        ("GET", "/admin/session", 404, "did you mean /admin/sessions"),
        ("GET", "/admin/sessions/", 404, "/admin/sessions/KEY/ID"),
        ("GET", "/admin/sessions/local", 404, "/admin/sessions/KEY/ID"),
        ("DELETE", "/admin/sessions/local/", 404, "/admin/sessions/KEY/ID"),
        ("DELETE", "/admin/sessions//s", 404, "/admin/sessions/KEY/ID"),
        ("POST", "/admin/cost-breaker/", 404, "/admin/cost-breaker/reset"),
        ("POST", "/admin/cost-breaker/resetx", 404, "/admin/cost-breaker/reset"),
        ("GET", "/admin/sessions/" + "k" * 500, 404, "/admin/sessions/KEY/ID"),
        ("GET", f"/admin/sessions/k/{'s' * 500}", 404, "has no session"),
    ],
)
def test_what_is_wrong_is_named(method, path, status, says):
    said = asked(method, path)
    assert said.status == status
    assert says in said.error["message"]
    assert len(said.error["message"]) < 400


@pytest.mark.parametrize("headers", [{}, TEAM, {"x-api-key": "adm-canar"}], ids=["none", "callers", "wrong"])
@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_only_an_admins_key_opens_it(method, path, headers):
    path = path.replace("{key}", "team").replace("{id}", "s-1")
    said = asked(method, path, MONEY + KEYED + WITH_ADMIN, headers)
    assert said.status == 401
    assert "admin key" in said.error["message"]


def test_the_admins_key_does():
    config = MONEY + KEYED + WITH_ADMIN
    for path in ("/admin/budgets", "/admin/sessions", "/admin/cost-breaker"):
        assert asked("GET", path, config, ADMIN).status == 200


def test_an_engine_without_budgets_says_so():
    async def main(door: Door) -> None:
        door.app.engine.treasury = None
        said = await door.ask("GET", "/admin/budgets")
        assert (said.status, said.error["message"]) == (404, "this gateway keeps no budgets")

    run(main)


def test_what_is_of_money():
    assert all(map(is_money, ("/admin/budgets", "/admin/sessions/a/b", "/admin/cost-breaker/reset")))
    assert not any(map(is_money, ("/admin/budgetsx", "/admin/session", "/admin", "/admin/keys/budgets")))
