"""``/admin``: how the policies stand, told to whoever may know, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.unit.gateway.door import CONFIG, Door, Said

from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.testing.memory_transport import Reply

PLAIN = request(stream=False)
ADMIN = {"authorization": "Bearer adm-canary"}
KEYED = f'[keys.team]\nsha256 = "{hashlib.sha256(b"hf-key").hexdigest()}"\n'
WITH_ADMIN = '[gateway]\nadmin_key = "adm-canary"\n'
TEAM = {"authorization": "Bearer hf-key"}

BREAKER = "[breaker]\nfailure_threshold = 2\nmin_requests = 2\nopen_s = 40\njitter = 0\n"


def run(
    main: Callable[[Door], Awaitable[None]], *replies: Reply, config: str = "", handler: Any = None
) -> None:
    async def there(clock: VirtualClock) -> None:
        await main(await Door.open(clock, handler or replies, CONFIG + config))

    run_virtual(there)


async def targets(door: Door, query: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    said = await door.ask("GET", f"/admin/targets{query}", headers=headers)
    assert said.status == 200, said.body
    assert said.headers["content-type"] == "application/json"
    return said.json


def ask(method: str, path: str, headers: dict[str, str] | None = None, config: str = "") -> Said:
    heard: list[Said] = []

    async def main(door: Door) -> None:
        heard.append(await door.ask(method, path, headers=headers))

    run(main, config=config)
    return heard[0]


# What is told.


def test_nothing_was_asked_yet():
    assert ask("GET", "/admin/targets").json == {
        "targets": [],
        "overall": None,
        "idempotency": {"running": 0},
    }


def test_a_target_at_rest_tells_all_of_it():
    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        assert (await targets(door))["targets"] == [
            {
                "target": "a/m",
                "provider": "a",
                "route": "",
                "breaker": {
                    "state": "closed", "retry_after_s": 0.0, "calls": 1, "failures": 0, "probes": 0, "successes": 0,
                    "opened": 0, "shared": None,
                },
                "bulkhead": {
                    "in_use": 0, "limit": 2000, "waiting": 0, "longest_wait_s": 0.0, "admitted": 1, "refused": 0,
                },
                "adaptive": None,
                "hedge": None,
                "rate": None,
                "budget": {"requests": 1, "retries": 0, "left": 3, "refused": 0},
                "provider_limits": [],
                "blocked_s": 0.0,
                "refused": {},
                "client_retries": 0,
            }
        ]  # fmt: skip

    run(main, whole())


def test_an_open_breaker_tells_for_how_long_and_whom_it_refused():
    async def main(door: Door) -> None:
        for _ in range(4):
            await door.chat(PLAIN)
        await asyncio.sleep(10)
        one, other = (await targets(door))["targets"]
        assert (one["target"], other["target"]) == ("a/m", "b/m")
        assert one["breaker"]["state"] == "open"
        assert one["breaker"]["retry_after_s"] == pytest.approx(30.0)
        assert one["breaker"]["opened"] == 1
        assert one["refused"] == {"breaker": 2}
        assert other["breaker"]["state"] == "closed"
        await asyncio.sleep(31)
        assert (await targets(door))["targets"][0]["breaker"]["state"] == "half_open"

    run(main, handler=lambda sent: refuses(500) if sent.origin.host == "a" else whole(), config=BREAKER)


def test_places_are_told_while_they_are_taken():
    config = "[bulkhead]\nmax_concurrent = 1\nmax_queue = 1\n[overall]\nmax_concurrent = 7\n[adaptive]\nenabled = true\n"

    async def main(door: Door) -> None:
        served = [asyncio.create_task(door.chat(request(model="a/m"))) for _ in range(3)]
        await asyncio.sleep(1)
        told = await targets(door)
        (one,) = told["targets"]
        places = one["bulkhead"]
        assert (places["in_use"], places["limit"], places["waiting"]) == (1, 1, 1)
        assert places["longest_wait_s"] == pytest.approx(1.0)
        assert one["refused"] == {"bulkhead": 1}
        assert (one["adaptive"]["limit"], one["adaptive"]["in_flight"]) == (1, 1)  # no more than places
        assert (told["overall"]["in_use"], told["overall"]["limit"]) == (1, 7)
        await asyncio.gather(*served)

    run(main, handler=lambda _: speaks(*stream("a"), head_s=2.0), config=config)


def test_rates_budgets_and_clients_retries():
    config = "[rate]\nrequests = 5\ntokens = 10000\n"

    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        await door.chat(PLAIN, {"x-stainless-retry-count": "2"})
        (one,) = (await targets(door))["targets"]
        assert one["rate"]["requests"]["limit"] == 5
        assert one["rate"]["requests"]["remaining"] == 3
        assert one["rate"]["tokens"]["remaining"] == 10_000 - 30, "what the provider told was used"
        assert one["budget"]["retries"] == one["client_retries"] == 1

    run(main, whole(), whole(), config=config)


def test_what_the_provider_says_of_its_own_limits():
    said = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "30s",
    }

    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        await asyncio.sleep(0.25)
        (one, _) = (await targets(door))["targets"]
        (limit,) = one["provider_limits"]
        assert (limit["kind"], limit["limit"], limit["remaining"]) == ("requests", 60, 0)
        assert limit["reset_s"] == pytest.approx(29.75)
        assert limit["age_s"] == pytest.approx(0.25)
        assert one["blocked_s"] > 0

    run(main, refuses(429, headers=said), whole())


def test_one_target_of_many():
    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        (one,) = (await targets(door, "?target=b/m"))["targets"]
        assert one["target"] == "b/m"
        (one,) = (await targets(door, "?target=a%2Fm"))["targets"]
        assert one["target"] == "a/m"
        wrong = await door.ask("GET", "/admin/targets?target=a/n")
        assert (wrong.status, wrong.error["param"]) == (404, "target")
        assert "did you mean a/m?" in wrong.error["message"]
        far = await door.ask("GET", f"/admin/targets?target={'x' * 5000}")
        assert far.status == 404
        assert len(far.body) < 1000

    run(main, refuses(503), whole())


def test_a_routes_own_policies_have_a_line_of_their_own():
    config = '[routes.own]\ntargets = ["a/m"]\n[routes.own.bulkhead]\nmax_concurrent = 3\n'

    async def main(door: Door) -> None:
        await door.chat(PLAIN)
        await door.chat(request(stream=False, model="own"))
        lines = (await targets(door, "?target=a/m"))["targets"]
        assert [(line["route"], line["bulkhead"]["limit"]) for line in lines] == [("", 2000), ("own", 3)]

    run(main, whole(), whole(), config=config)


def test_callers_rates():
    config = (
        KEYED
        + f'[keys.vip]\nsha256 = "{hashlib.sha256(b"vip").hexdigest()}"\nrate = {{ tokens = 9000, window_s = 10 }}\n'
        + WITH_ADMIN
        + 'rate = { requests = 2 }\n[models."scarce*"]\nrate = { requests = 1 }\n'
        + '[routes.all]\ntargets = ["a/{model}"]\nmodels = ["scarce*"]\n'
    )

    async def main(door: Door) -> None:
        for model in ("scarce-1", "scarce-2", "chat", "chat"):
            await door.chat(request(stream=False, model=model), TEAM)
        told = (await door.ask("GET", "/admin/rates", headers=ADMIN)).json
        team, vip = told["keys"]
        assert (team["key"], vip["key"]) == ("team", "vip")
        assert (team["requests"]["limit"], team["requests"]["remaining"], team["refused"]) == (2, 0, 1)
        assert 0 < team["requests"]["reset_s"] <= team["window_s"] == 60.0
        assert (team["tokens"], team["waiting"]) == (None, 0)
        assert (vip["requests"], vip["tokens"]["remaining"], vip["window_s"]) == (None, 9000, 10.0)
        (scarce,) = told["models"]
        assert (scarce["model"], scarce["requests"]["remaining"], scarce["refused"]) == ("scarce*", 0, 1)

    run(main, handler=lambda _: whole(), config=config)


def test_nobody_is_limited():
    assert ask("GET", "/admin/rates").json == {
        "keys": [
            {
                "key": "local",
                "requests": None,
                "tokens": None,
                "window_s": None,
                "waiting": 0,
                "refused": 0,
                "alone": False,
            }
        ],
        "models": [],
    }


# Who is told.


@pytest.mark.parametrize(
    ("config", "headers", "status"),
    [
        ("", {}, 200),
        ("", {"host": "evil.example"}, 403),
        ("", {"origin": "https://evil.example"}, 403),
        ("", {"sec-fetch-site": "cross-site"}, 403),
        (KEYED, {}, 403),
        (KEYED, TEAM, 403),
        (WITH_ADMIN, {}, 401),
        (WITH_ADMIN, ADMIN, 200),
        (WITH_ADMIN, {"x-api-key": "adm-canary"}, 200),
        (KEYED + WITH_ADMIN, TEAM, 401),
        (KEYED + WITH_ADMIN, ADMIN, 200),
        (KEYED + WITH_ADMIN, {**ADMIN, "host": "gateway.example"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/admin/targets", "/admin/rates"])
def test_who_may_look(config, headers, status, path):
    said = ask("GET", path, headers, config)
    assert said.status == status
    if status == 403 and config:
        assert "gateway.admin_key" in said.error["message"]
    assert b"adm-canary" not in said.body


def test_the_admin_key_is_no_callers_key():
    config = KEYED + WITH_ADMIN
    assert ask("GET", "/v1/models", ADMIN, config).status == 401


SCRAPER = {"authorization": "Bearer met-canary"}
WITH_METRICS = '[gateway]\nmetrics_key = "met-canary"\n'
WITH_BOTH = '[gateway]\nadmin_key = "adm-canary"\nmetrics_key = "met-canary"\n'


@pytest.mark.parametrize(
    ("config", "headers", "status"),
    [
        ("", {}, 200),
        ("", {"host": "evil.example"}, 403),
        ("", {"origin": "https://evil.example"}, 403),
        (KEYED, {}, 403),
        (KEYED, TEAM, 403),
        (WITH_METRICS, {}, 401),
        (WITH_METRICS, SCRAPER, 200),
        (WITH_METRICS, {"x-api-key": "met-canary"}, 200),
        (WITH_ADMIN, {}, 401),
        (WITH_ADMIN, ADMIN, 200),
        (KEYED + WITH_METRICS, TEAM, 401),
        (KEYED + WITH_METRICS, {**SCRAPER, "host": "gateway.example"}, 200),
        (KEYED + WITH_ADMIN, TEAM, 401),
        (KEYED + WITH_ADMIN, SCRAPER, 401),
        (KEYED + WITH_ADMIN, ADMIN, 200),
        (KEYED + WITH_BOTH, TEAM, 401),
        (KEYED + WITH_BOTH, SCRAPER, 200),
        (KEYED + WITH_BOTH, ADMIN, 200),
    ],
)
def test_who_may_scrape(config, headers, status):
    """What all callers do together is no caller's to know."""
    said = ask("GET", "/metrics", headers, config)
    assert said.status == status
    assert (b"holdfast_requests_total" in said.body) == (status == 200)
    if status == 403 and config:
        assert "gateway.metrics_key" in said.error["message"]
    assert b"canary" not in said.body


def test_the_metrics_key_opens_nothing_else():
    config = KEYED + WITH_BOTH
    assert ask("GET", "/v1/models", SCRAPER, config).status == 401
    for path in ("/admin/targets", "/admin/keys", "/admin/budgets", "/openapi.json"):
        assert ask("GET", path, SCRAPER, config).status == 401


def test_who_may_not_scrape_learns_no_method():
    assert ask("POST", "/metrics", TEAM, KEYED + WITH_METRICS).status == 401
    assert ask("POST", "/metrics", SCRAPER, KEYED + WITH_METRICS).status == 405
    assert ask("HEAD", "/metrics", SCRAPER, KEYED + WITH_METRICS).status == 200


def test_what_is_here_is_told_only_to_who_may_know():
    said = ask("GET", "/admin/target", config=WITH_ADMIN)
    assert said.status == 401


def test_no_secret_is_told():
    async def main(door: Door) -> None:
        await door.chat(PLAIN, TEAM)
        for path in ("/admin/targets", "/admin/rates"):
            body = (await door.ask("GET", path, headers=ADMIN)).body
            for secret in (
                b"sk-upstream-canary",
                b"adm-canary",
                b"hf-key",
                hashlib.sha256(b"hf-key").hexdigest().encode(),
            ):
                assert secret not in body

    run(main, whole(), config=KEYED + WITH_ADMIN)


# What is asked wrongly.


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/admin", 404, "/admin/rates"),
        ("GET", "/admin/", 404, "/admin/rates"),
        ("GET", "/admin/target", 404, "did you mean /admin/targets"),
        ("GET", "/admin/rate", 404, "did you mean /admin/rates"),
        ("POST", "/admin/xyzzyxyzzyxyzzyxyzzy", 404, "/admin/targets or /admin/rates"),
        ("GET", "/admin/targets/a/m", 404, "did you mean /admin/targets"),
        ("GET", "/adminn/targets", 404, "did you mean /admin/targets?"),
        ("POST", "/admin/targets", 405, "GET"),
        ("DELETE", "/admin/rates", 405, "GET"),
        ("GET", "/admin/targets?tarket=a/m", 400, "tarket"),
        ("GET", "/admin/targets?target=a/m&target=b/m", 400, "once"),
        ("GET", "/admin/rates?target=a/m", 400, "takes none"),
        ("GET", "/admin/targets?target=", 404, "not asked"),
        ("GET", "/admin/targets?target=%ff%00", 404, "not asked"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(method, path, status, says):
    said = ask(method, path)
    assert said.status == status
    assert says in said.error["message"]


def test_head_is_answered_too():
    assert ask("HEAD", "/admin/targets").status == 200


def test_it_is_still_told_while_it_drains():
    async def main(door: Door) -> None:
        door.gateway.drain()
        assert (await door.ask("GET", "/v1/models")).status == 503
        assert (await door.ask("GET", "/admin/targets")).status == 200
        assert (await door.ask("GET", "/metrics")).status == 200

    run(main)
