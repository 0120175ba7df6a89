"""A configuration that changes while the gateway runs: all of it at one moment, or nothing of it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.unit.gateway.reloading import ADMIN, BASE, Reloading, reloading, where

from holdfast.config import Ledger, Redis
from holdfast.config.fixed import FIXED
from holdfast.gateway.reload import Source

TO_A = BASE + '[routes.chat]\ntargets = ["a/m"]\n'
TO_B = BASE + '[routes.chat]\ntargets = ["b/m"]\n'
PLAIN = request(stream=False)
TEAM = f'[keys.Team]\nsha256 = "{hashlib.sha256(b"team-secret").hexdigest()}"\n'


def budget_of(usd: str) -> str:
    return (
        TO_A
        + f'[budgets.all]\nlimit_usd = {usd}\n[prices."a/m"]\ninput_per_1m = 1000\noutput_per_1m = 1000\n'
    )


async def chat(here: Reloading, body: bytes = PLAIN, **more: Any) -> Any:
    return await here.door.chat(body, more.pop("headers", None), **more)


class TestApplied:
    def test_what_comes_after_it_goes_by_the_new_one(self):
        async def main(here: Reloading) -> None:
            assert (await chat(here)).headers["x-holdfast-provider"] == "a"
            done = await here.becomes(TO_B)
            assert (await chat(here)).headers["x-holdfast-provider"] == "b"
            assert (done["changed"], done["generation"], done["dry_run"]) == (True, 2, False)
            assert done["changes"] == [
                {"path": "routes.chat.targets", "kind": "changed", "before": ["a/m"], "after": ["b/m"]}
            ]
            assert done["workers"] is None

        reloading(main, TO_A, [whole(), whole()])

    def test_one_that_is_the_same_stays(self):
        async def main(here: Reloading) -> None:
            live = here.app.live
            done = await here.becomes(TO_A + "# a comment\n")
            assert (done["changed"], done["generation"], done["changes"]) == (False, 1, [])
            assert here.app.live is live
            assert here.door.gateway.reloader.counts == {"applied": 0, "unchanged": 1, "refused": 0}

        reloading(main, TO_A)

    def test_a_dry_run_says_what_would_change(self):
        async def main(here: Reloading) -> None:
            live = here.app.live
            said = await here.reload(TO_B, "?dry_run=true")
            assert [change["path"] for change in said.json["changes"]] == ["routes.chat.targets"]
            assert (said.json["dry_run"], said.json["generation"]) == (True, 1)
            assert here.app.live is live
            assert (await chat(here)).headers["x-holdfast-provider"] == "a"
            assert here.door.gateway.reloader.last is None
            applied = await here.becomes(TO_B)
            assert applied["hash"] == said.json["hash"] != (await here.config())["reloads"]

        reloading(main, TO_A, [whole()])

    def test_which_one_counts_can_be_asked(self):
        async def main(here: Reloading) -> None:
            before = await here.config()
            assert (before["generation"], before["last"]) == (1, None)
            await asyncio.sleep(60)
            done = await here.becomes(TO_B)
            after = await here.config()
            assert after["hash"] == done["hash"] != before["hash"]
            assert after["since_ns"] - before["since_ns"] == 60 * 10**9
            assert (after["last"]["result"], after["last"]["by"]) == ("applied", "gateway.admin_key")
            await here.reload("[gateway\n")
            refused = await here.config()
            assert (refused["generation"], refused["hash"]) == (2, after["hash"])
            assert refused["last"]["problems"]
            metrics = here.door.metrics.expose().decode()
            assert "holdfast_config_generation 2.0" in metrics
            assert 'holdfast_reloads_total{result="refused"} 1.0' in metrics

        reloading(main, TO_A)

    def test_a_secret_shows_nowhere(self):
        async def main(here: Reloading) -> None:
            here.file.env = {"KEY": "sk-canary-two"}
            done = await here.reload(
                TO_A.replace('"sk-a-canary"', '"${KEY}"\nheaders = { x-a = "sk-canary-three" }')
            )
            assert b"canary" not in done.body
            assert [change["path"] for change in done.json["changes"]] == [
                "providers.a.api_key",
                "providers.a.headers.x-a",
            ]

        reloading(main, TO_A)

    def test_each_part_of_the_gateway_is_told(self):
        async def main(here: Reloading) -> None:
            told: list[int] = []
            here.door.gateway.on_adopt.append(lambda config: told.append(config.gateway.max_body_mb))
            assert (await chat(here, b" " * 4000)).status == 400
            await here.becomes(TO_A.replace("[gateway]", "[gateway]\nmax_body_mb = 0.001"))
            assert (await chat(here, b" " * 4000)).status == 413
            assert told == [0.001]

        reloading(main, TO_A)

    def test_a_route_that_is_new_may_be_named_by_a_key(self):
        async def main(here: Reloading) -> None:
            form = msgspec.json.encode({"name": "x", "routes": ["fresh"]})
            assert (await here.door.ask("POST", "/admin/keys", form, ADMIN)).status == 400
            await here.becomes(TO_A + '[routes.fresh]\ntargets = ["b/m"]\n')
            assert (await here.door.ask("POST", "/admin/keys", form, ADMIN)).status == 201

        reloading(main, TO_A)


class TestRefused:
    def test_everything_that_is_wrong_is_said_at_once_and_nothing_changes(self):
        async def main(here: Reloading) -> None:
            live = here.app.live
            said = await here.reload(
                TO_B.replace("max_retries = 0", "max_retries = -1")
                + 'surprise = 1\n[budgets.b]\nscope = "nobody"\nlimit_usd = 1\n'
            )
            assert said.status == 422
            assert said.error["code"] == "invalid_configuration"
            problems = said.json["problems"]
            assert {problem.partition(":")[0] for problem in problems} == {
                "retry.max_retries",
                "routes.chat.surprise",
                "budgets.b.scope",
            }
            assert here.app.live is live
            assert (await chat(here)).headers["x-holdfast-provider"] == "a"
            assert here.door.gateway.reloader.counts["refused"] == 1

        reloading(main, TO_A, [whole()])

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("gateway.port", "[gateway]\nport = 9999"),
            ("gateway.host", '[gateway]\nhost = "::1"'),
            ("gateway.log.format", '[gateway]\nlog = { format = "json" }'),
            ("ledger.url", '[ledger]\nurl = "sqlite:///other.db"\n[gateway]'),
            ("ledger.durability", '[ledger]\ndurability = "power"\n[gateway]'),
            ("ledger.busy_timeout_s", "[ledger]\nbusy_timeout_s = 1\n[gateway]"),
            ("ledger.keep_days", "[ledger]\nkeep_days = 3\n[gateway]"),
            ("redis.url", '[redis]\nurl = "redis://localhost/1"\n[gateway]'),
            ("redis.timeout_ms", "[redis]\ntimeout_ms = 21\n[gateway]"),
            ("redis.budget_ms", "[redis]\nbudget_ms = 51\n[gateway]"),
            ("redis.prefix", '[redis]\nprefix = "other"\n[gateway]'),
            ("cost_protection.enabled", "[cost_protection]\nenabled = true\n[gateway]"),
            (
                "cost_protection.circuit_breaker_window_hours",
                "[cost_protection]\ncircuit_breaker_window_hours = 2\n[gateway]",
            ),
        ],
    )
    def test_what_needs_a_restart(self, path, text):
        async def main(here: Reloading) -> None:
            live = here.app.live
            said = await here.reload(TO_B.replace("[gateway]", text))
            assert said.status == 422
            (problem,) = said.json["problems"]
            assert problem.startswith(f"{path}: can't change while the gateway runs")
            assert here.app.live is live

        reloading(main, TO_A)

    def test_the_table_of_those_is_whole(self):
        """Workers are several only on PostgreSQL, so that one is shown where there are some."""
        (mark,) = self.test_what_needs_a_restart.pytestmark
        shown = {path for path, _ in mark.args[1]}
        assert {fixed.path for fixed in FIXED} == {*shown, "gateway.workers"}
        tables = {"ledger": Ledger, "redis": Redis}
        wanted = {f"{name}.{field}" for name, table in tables.items() for field in table.model_fields}
        assert {path for path in shown if path.partition(".")[0] in tables} == wanted

    def test_the_files_keys_and_the_stored_ones_must_go_together(self):
        async def main(here: Reloading) -> None:
            form = msgspec.json.encode({"name": "team"})
            assert (await here.door.ask("POST", "/admin/keys", form, ADMIN)).status == 201
            said = await here.reload(TO_B + TEAM)
            assert said.status == 422
            assert said.json["problems"][0].startswith("keys.Team: a key of that name is stored")
            assert (await here.config())["generation"] == 1

        reloading(main, TO_A)

    def test_the_last_key_of_a_gateway_that_others_reach_stays(self):
        async def main(here: Reloading) -> None:
            said = await here.reload(open_to_all)
            assert said.json["problems"][0].startswith("gateway.host: other machines can reach")

        open_to_all = TO_A.replace("[gateway]", '[gateway]\nhost = "0.0.0.0"')
        reloading(main, open_to_all + TEAM)

    def test_somebody_must_be_left_to_answer(self):
        async def main(here: Reloading) -> None:
            said = await here.reload('[gateway]\nadmin_key = "adm-secret"\n')
            assert said.json["problems"] == ["providers: none has a key, so nothing could be answered"]

        reloading(main, TO_A)

    def test_only_an_admin_may(self):
        async def main(here: Reloading) -> None:
            for headers in ({}, {"authorization": "Bearer team-secret"}):
                for method, path in (("POST", "/admin/reload"), ("GET", "/admin/config")):
                    assert (await here.door.ask(method, path, headers=headers)).status == 401
            assert here.file.reads == 0

        reloading(main, TO_A + TEAM)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/admin/reload", 405),
            ("POST", "/admin/config", 405),
            ("POST", "/admin/reload/now", 404),
            ("POST", "/admin/reload?dryrun=true", 400),
            ("POST", "/admin/reload?dry_run=yes", 400),
            ("POST", "/admin/reload?dry_run=", 400),
        ],
    )
    def test_a_question_that_is_none_reloads_nothing(self, method, path, status):
        async def main(here: Reloading) -> None:
            assert (await here.door.ask(method, path, headers=ADMIN)).status == status
            assert here.file.reads == 0

        reloading(main, TO_A)

    def test_a_gateway_that_was_started_from_nothing_has_nothing_to_read(self):
        async def main(here: Reloading) -> None:
            here.door.gateway.reloader._source = Source()
            assert (await here.reload()).status == 409

        reloading(main, TO_A)


class TestWhatRuns:
    def test_a_request_whose_body_is_on_its_way_keeps_to_the_one_it_came_under(self):
        async def main(here: Reloading) -> None:
            slow = asyncio.ensure_future(chat(here, body_s=5.0))
            await asyncio.sleep(1)
            await here.becomes(TO_B.replace("sk-b-canary", "sk-b-new").replace("http://a/", "http://other/"))
            assert (await slow).headers["x-holdfast-provider"] == "a"
            assert here.sent() == ["a"]

        reloading(main, TO_A, [whole()])

    def test_a_fallback_goes_where_it_would_have_gone(self):
        both = BASE + '[routes.chat]\ntargets = ["a/m", "b/m"]\n'

        async def main(here: Reloading) -> None:
            running = asyncio.ensure_future(chat(here))
            await asyncio.sleep(1)
            await here.becomes(TO_A.replace("http://b/", "http://gone/"))
            said = await running
            assert (said.headers["x-holdfast-provider"], here.sent()) == ("b", ["a", "b"])

        reloading(main, both, [refuses(503, head_s=5.0), whole()])

    def test_a_stream_goes_on_though_its_provider_and_its_key_are_gone(self):
        async def main(here: Reloading) -> None:
            running = asyncio.ensure_future(
                chat(here, request(), headers={"authorization": "Bearer team-secret"})
            )
            await asyncio.sleep(1)
            only_b = TO_B.replace(
                '[providers.a]\ndialect = "openai_chat"\n', "[providers.c]\ndialect = 'openai_chat'\n"
            )
            await here.becomes(only_b)
            assert len(here.app.engine.gate.states()) == 1  # it is still asked
            said = await running
            assert b"[DONE]" in said.body
            assert (
                await chat(here, headers={"authorization": "Bearer team-secret"})
            ).status == 200  # nobody needs one now
            await asyncio.sleep(60)  # until nothing is remembered that would change an answer
            await here.becomes(only_b + "[pricing]\nunknown = 'serve'\n")
            assert [state.provider for state in here.app.engine.gate.states()] == ["b"]

        pieces = speaks(*stream("one", "two"), gap_s=2.0)
        reloading(main, TO_A + TEAM, [pieces, whole()])

    def test_its_cost_is_by_the_prices_it_began_with(self):
        priced = TO_A + '[prices."a/m"]\ninput_per_1m = {0}\noutput_per_1m = {0}\n'

        async def main(here: Reloading) -> None:
            running = asyncio.ensure_future(chat(here))
            await asyncio.sleep(1)
            await here.becomes(priced.format(2))
            assert (await running).headers["x-holdfast-cost-usd"] == "0.000015000"
            assert (await chat(here)).headers["x-holdfast-cost-usd"] == "0.000030000"

        reloading(main, priced.format(1), [whole(head_s=5.0), whole()])

    def test_an_idempotent_run_does_too_and_its_answer_is_told_again(self):
        async def main(here: Reloading) -> None:
            keyed = {"idempotency-key": "k1"}
            running = asyncio.ensure_future(chat(here, headers=keyed, body_s=2.0))
            await asyncio.sleep(1)
            await here.becomes(TO_B.replace("http://a/", "http://other/"))
            first = await running
            assert here.sent() == ["a"]
            again = await chat(here, headers=keyed)
            assert (again.body, again.headers["idempotency-replayed"]) == (first.body, "true")
            assert here.sent() == ["a"]

        reloading(main, TO_A, [whole()])

    def test_large_counts_share_their_places(self):
        async def main(here: Reloading) -> None:
            before = here.door.gateway._door
            await here.becomes(TO_B)
            after = here.door.gateway._door
            assert after is not before
            assert after._tallies.room is before._tallies.room

        reloading(main, TO_A)


class TestState:
    """It is keyed by provider, target and key; it survives, and is judged by the new limits."""

    def test_what_was_spent_stays_and_the_new_limit_counts(self):
        async def main(here: Reloading) -> None:
            assert (await chat(here, request(stream=False, max_tokens=5))).status == 200
            await here.becomes(budget_of("0.016"))
            assert (await chat(here, request(stream=False, max_tokens=5))).status == 402
            await here.becomes(budget_of("10"))
            assert (await chat(here, request(stream=False, max_tokens=5))).status == 200
            told = (await here.door.ask("GET", "/admin/budgets", headers=ADMIN)).json
            assert [(each["spent"], each["limit"]) for each in told["accounts"]] == [
                ("0.030000000", "10.000000000")
            ]

        reloading(main, budget_of("10"), [whole(), whole()])

    def test_a_budget_that_is_gone_limits_nothing_and_is_remembered(self):
        async def main(here: Reloading) -> None:
            assert (await chat(here, request(stream=False, max_tokens=5))).status == 200
            await here.becomes(TO_A)
            assert (await here.door.ask("GET", "/admin/budgets", headers=ADMIN)).json["accounts"] == []
            await here.becomes(budget_of("0.016"))
            assert (await chat(here, request(stream=False, max_tokens=5))).status == 402

        reloading(main, budget_of("10"), [whole()])

    def test_a_callers_rate_was_used_under_the_old_limit_and_is_over_under_the_new_one(self):
        limited = TO_A.replace("[gateway]", "[gateway]\nrate = { requests = %d }")

        async def main(here: Reloading) -> None:
            for _ in range(3):
                assert (await chat(here)).status == 200
            await here.becomes(limited % 2)
            assert (await chat(here)).status == 429
            await here.becomes(TO_A)
            assert (await chat(here)).status == 200  # counted nowhere: nothing limits it
            await here.becomes(limited % 3)
            assert (await chat(here)).status == 429

        reloading(main, limited % 10, [whole()] * 5)

    def test_an_open_breaker_stays_open(self):
        strict = TO_A + "[breaker]\nmin_requests = 1\nfailure_threshold = 1\nopen_s = {}\n"

        async def main(here: Reloading) -> None:
            assert (await chat(here)).status == 502
            await here.becomes(strict.format(50))
            said = await chat(here)
            assert (said.status, here.sent()) == (503, ["a"])

        reloading(main, strict.format(40), [refuses(500)])

    def test_who_waits_for_a_place_is_let_in_by_a_larger_limit(self):
        narrow = TO_A + "[bulkhead]\nmax_concurrent = {}\nmax_queue = 5\nmax_wait_s = 60\n"

        async def main(here: Reloading) -> None:
            first, second = (asyncio.ensure_future(chat(here)) for _ in range(2))
            await asyncio.sleep(1)
            assert len(here.sent()) == 1
            await here.becomes(narrow.format(2))
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            assert len(here.sent()) == 2
            assert {(await first).status, (await second).status} == {200}

        reloading(main, narrow.format(1), [whole(head_s=10.0)] * 2)

    def test_who_began_before_does_not_bring_the_old_limits_back(self):
        """Its retries and fallbacks ask the same gates as everybody's."""
        narrow = BASE + '[routes.chat]\ntargets = ["a/m", "b/m"]\n[bulkhead]\nmax_concurrent = {}\n'

        async def main(here: Reloading) -> None:
            running = asyncio.ensure_future(chat(here))
            await asyncio.sleep(1)
            await here.becomes(narrow.format(7))
            assert (await running).status == 200
            limits = {state.target: state.bulkhead.limit for state in here.app.engine.gate.states()}
            assert limits == {"a/m": 7, "b/m": 7}

        reloading(main, narrow.format(3), [refuses(503, head_s=5.0), whole()])

    def test_the_places_at_all_providers_together(self):
        overall = TO_A + "[overall]\nmax_concurrent = {}\n"

        async def main(here: Reloading) -> None:
            for text, limit in (
                (overall.format(3), 3),
                (overall.format(9), 9),
                (TO_A, None),
                (overall.format(2), 2),
            ):
                await here.becomes(text)
                house = here.app.engine.gate
                assert (None if house.overall is None else house.overall.snapshot().limit) == limit

        reloading(main, TO_A)

    def test_cost_protection_has_other_limits(self):
        protected = (
            TO_A
            + "[cost_protection]\nenabled = true\ncircuit_breaker_threshold_usd = {0}\nmax_session_cost_usd = {0}\n"
        )

        async def main(here: Reloading) -> None:
            await here.becomes(protected.format(7))
            treasury = here.app.engine.treasury
            assert treasury.breaker.settings.threshold_nano == 7 * 10**9
            assert treasury.sessions.sessions.settings.limit_nano == 7 * 10**9
            assert {rule.limit_nano for rule in treasury.budgets._rules if rule.scope == "session"} == {
                7 * 10**9
            }

        reloading(main, protected.format(5))

    def test_another_admin_key_and_other_callers(self):
        async def main(here: Reloading) -> None:
            team = {"authorization": "Bearer team-secret"}
            assert (await chat(here)).status == 401
            assert (await chat(here, headers=team)).status == 200
            other = TEAM.replace(
                hashlib.sha256(b"team-secret").hexdigest(), hashlib.sha256(b"other").hexdigest()
            )
            await here.becomes((TO_A + other).replace("adm-secret", "adm-other"))
            assert (await chat(here, headers=team)).status == 401
            assert (await chat(here, headers={"authorization": "Bearer other"})).status == 200
            assert (await here.reload()).status == 401

        reloading(main, TO_A + TEAM, [whole(), whole()])

    def test_stored_keys_and_their_limits_stay(self):
        async def main(here: Reloading) -> None:
            form = msgspec.json.encode({"name": "x", "rate": {"requests": 1}})
            key = (await here.door.ask("POST", "/admin/keys", form, ADMIN)).json["key"]
            bearer = {"authorization": f"Bearer {key}"}
            assert (await chat(here, headers=bearer)).status == 200
            await here.becomes(TO_B)
            assert (await chat(here, headers=bearer)).status == 429
            assert (await chat(here)).status == 401

        reloading(main, TO_A, [whole()])


class TestAsked:
    """By a signal: nobody is there to be answered."""

    def test_what_comes_of_it_is_logged(self):
        async def main(here: Reloading) -> None:
            reloader = here.door.gateway.reloader
            with capture_logs() as logs:
                for text in (TO_B, TO_B, "[gateway\n"):
                    here.file.text = text
                    reloader.ask("SIGHUP")
                    await reloader._asked
            assert [(each["log_level"], each["event"]) for each in logs] == [
                ("info", "configuration reloaded"),
                ("info", "configuration reloaded, and is the same"),
                ("warning", "configuration not reloaded: it stays as it was"),
            ]
            assert logs[0]["changed"] == ["routes.chat.targets"]
            assert "is not valid TOML" in logs[2]["problems"][0]
            assert (await here.config())["last"]["by"] == "SIGHUP"

        reloading(main, TO_A)

    def test_asked_several_times_meanwhile_it_reads_once_more(self):
        async def main(here: Reloading) -> None:
            reloader = here.door.gateway.reloader
            reloader.ask("SIGHUP")
            await asyncio.sleep(0)
            for _ in range(5):
                reloader.ask("SIGHUP")
            await reloader._asked
            assert here.file.reads == 2

        reloading(main, TO_A)

    def test_a_fault_of_ours_is_logged_and_the_next_one_works(self):
        async def main(here: Reloading) -> None:
            reloader = here.door.gateway.reloader
            read = here.file.read
            reloader._source = Source(read=lambda: 1 / 0)
            with capture_logs() as logs:
                reloader.ask("SIGHUP")
                await reloader._asked
            assert [each["event"] for each in logs] == ["configuration not reloaded: a fault of our own"]
            reloader._source = Source(read=read)
            assert (await here.becomes(TO_B))["generation"] == 2

        reloading(main, TO_A)

    def test_one_that_is_asked_for_is_given_up_at_the_end(self):
        async def main(here: Reloading) -> None:
            here.door.gateway.reloader.ask("SIGHUP")
            await here.door.gateway.reloader.aclose()
            assert (await here.config())["generation"] == 1

        reloading(main, TO_A)


def test_the_other_processes_are_asked_once_it_is_known_to_be_good():
    asked: list[int] = []

    async def main(here: Reloading) -> None:
        assert (await here.reload("[gateway]\nport = 1\n")).status == 422
        assert (await here.reload(TO_B, "?dry_run=true")).json["workers"] is None
        assert asked == []
        assert (await here.becomes(TO_B))["workers"] == "asked"
        here.door.gateway.reloader.ask("SIGHUP")  # by who asks all: that isn't told on
        await here.door.gateway.reloader._asked
        assert len(asked) == 1

    reloading(main, TO_A, ask_others=lambda: asked.append(1))


def test_hosts_are_told_apart():
    async def main(here: Reloading) -> None:
        await chat(here)
        (only,) = here.app.transport.exchanges
        assert where(only.request) == "a"

    reloading(main, TO_A, [whole()])
