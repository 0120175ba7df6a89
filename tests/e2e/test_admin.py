"""``/admin`` over real sockets: what it tells is what just happened, and it tells nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import CANARY, Running, document_of, run_gateway
from tests.support.http import Answer, Client, ask, chat, request_bytes

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.chaos.rate_limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADMIN_KEY, TEAM_KEY = "adm-canary-91e0c4", "team-canary-77ab02"
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
TEAM = {"authorization": f"Bearer {TEAM_KEY}"}
SCRIPTS = {
    "down": "500",
    "held": "tokens=200 tps=20",
}
BREAKER = {"failure_threshold": 3, "min_requests": 3, "open_s": 500, "jitter": 0}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Open to this machine, as a developer has it."""
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("admin") / "ledger.db",
        retry={"max_retries": 0},
        breaker=BREAKER,
        bulkhead={"max_concurrent": 3, "max_queue": 0},
        routes={"safe": {"targets": ["one/down", "two/m"]}},
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


@pytest.fixture(scope="module")
def keyed(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With callers' keys and an admin key, as a team has it."""
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("admin-keyed") / "ledger.db",
        gateway={"admin_key": ADMIN_KEY},
        keys={
            "team": {
                "sha256": hashlib.sha256(TEAM_KEY.encode()).hexdigest(),
                "rate": {"requests": 3, "window_s": 3600},
            }
        },
    )
    document["models"] = {"one/scarce*": {"rate": {"requests": 1, "window_s": 3600}}}
    with run_gateway(document) as running:
        yield running
        running.no_traceback()
        assert not any(key in text for text in running.logs.text for key in (ADMIN_KEY, TEAM_KEY))


def get(running: Running, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    return asyncio.run(ask(running.port, method=method, path=path, headers=headers))


def target(running: Running, name: str) -> dict[str, Any]:
    answer = get(running, f"/admin/targets?target={name}")
    assert answer.status == 200, answer.body
    (found,) = answer.json["targets"]
    return found


def requests(running: Running, count: int, model: str, headers: dict[str, str] | None = None) -> list[Answer]:
    return [asyncio.run(ask(running.port, chat(model), headers=headers)) for _ in range(count)]


def test_a_breaker_that_opens_is_seen(gateway: Running, chaos: Chaos) -> None:
    assert {answer.status for answer in requests(gateway, 6, "safe")} == {200}
    assert len(chaos.journal(model="down")) == 3
    down, well = target(gateway, "one/down"), target(gateway, "two/m")
    assert down["breaker"]["state"] == "open"
    assert 400 < down["breaker"]["retry_after_s"] <= 500
    assert (down["breaker"]["opened"], down["refused"]) == (1, {"breaker": 3})
    assert (well["breaker"]["state"], well["breaker"]["calls"], well["breaker"]["failures"]) == (
        "closed",
        6,
        0,
    )


def test_places_are_seen_while_streams_hold_them(gateway: Running) -> None:
    async def hold() -> tuple[list[Client], dict[str, Any]]:
        clients = [await Client.connect(gateway.port) for _ in range(5)]
        body = json.dumps(chat("one/held", stream=True)).encode()
        for client in clients:
            await client.send(request_bytes("POST", "/v1/chat/completions", body, {}))
            await client.head()
        told = await asyncio.to_thread(target, gateway, "one/held")
        for client in clients:
            client.leave()
        return clients, told

    clients, told = asyncio.run(hold())
    assert sorted(client.answer.status for client in clients) == [200, 200, 200, 503, 503]
    assert (told["bulkhead"]["in_use"], told["bulkhead"]["limit"]) == (3, 3)
    assert told["refused"] == {"bulkhead": 2}
    seen = gateway.seen
    gateway.wait_for(lambda: sum(seen.intents[ended].model == "one/held" for ended in seen.ends) == 5)
    assert target(gateway, "one/held")["bulkhead"]["in_use"] == 0


def test_what_the_provider_says_of_itself(tmp_path: Path) -> None:
    """A provider that counts tells in each answer what is left."""
    config = ChaosConfig(limits=Limits(requests_per_minute=60))
    with run_chaos(config) as counts, run_gateway(document_of(counts.base_url, tmp_path / "l.db")) as running:
        requests(running, 1, "one/m")
        told = {limit["kind"]: limit for limit in target(running, "one/m")["provider_limits"]}
        assert (told["requests"]["limit"], told["requests"]["remaining"]) == (60, 59)
        assert 0 <= told["requests"]["reset_s"] <= 1


def test_callers_rates_are_told_to_the_operator(keyed: Running) -> None:
    requests(keyed, 2, "one/scarce-1", TEAM)
    requests(keyed, 3, "one/m", TEAM)
    told = get(keyed, "/admin/rates", ADMIN).json
    (team,), (scarce,) = told["keys"], told["models"]
    assert (team["key"], team["requests"]["limit"], team["requests"]["remaining"]) == ("team", 3, 0)
    assert team["refused"] == 1
    assert (scarce["model"], scarce["requests"]["remaining"], scarce["refused"]) == ("one/scarce*", 0, 1)


@pytest.mark.parametrize("path", ["/admin/targets", "/admin/rates", "/admin/nowhere", "/admin"])
@pytest.mark.parametrize(
    "headers",
    [{}, TEAM, {"x-api-key": TEAM_KEY}, {"authorization": f"Bearer {ADMIN_KEY}x"}, {"authorization": ADMIN_KEY},
     {"x-goog-api-key": ADMIN_KEY}, {"authorization": "Bearer"}],
    ids=range(7),
)  # fmt: skip
def test_nobody_else_is_let_in(keyed: Running, path: str, headers: dict[str, str]) -> None:
    answer = get(keyed, path, headers)
    assert answer.status == 401
    assert "admin key" in answer.error["message"]
    assert ADMIN_KEY.encode() not in answer.body


def test_the_admin_key_is_not_in_the_query(keyed: Running) -> None:
    assert get(keyed, f"/admin/targets?key={ADMIN_KEY}").status == 401


def test_the_admin_key_calls_no_model(keyed: Running, chaos: Chaos) -> None:
    before = len(chaos.journal())
    answer = asyncio.run(ask(keyed.port, chat("one/m"), headers=ADMIN))
    assert (answer.status, len(chaos.journal())) == (401, before)


@pytest.mark.parametrize("headers", [ADMIN, {"x-api-key": ADMIN_KEY}], ids=["bearer", "x-api-key"])
def test_secrets_stay_secret(keyed: Running, headers: dict[str, str]) -> None:
    requests(keyed, 1, "one/m", TEAM)
    for path in ("/admin/targets", "/admin/rates"):
        answer = get(keyed, path, headers)
        assert answer.status == 200
        for secret in (CANARY, ADMIN_KEY, TEAM_KEY, hashlib.sha256(TEAM_KEY.encode()).hexdigest()):
            assert secret.encode() not in answer.body


def test_without_an_admin_key_a_gateway_for_callers_says_what_to_set(chaos: Chaos, tmp_path: Path) -> None:
    document = document_of(
        chaos.base_url,
        tmp_path / "ledger.db",
        keys={"team": {"sha256": hashlib.sha256(TEAM_KEY.encode()).hexdigest()}},
    )
    with run_gateway(document) as running:
        for headers in ({}, TEAM):
            answer = get(running, "/admin/targets", headers)
            assert answer.status == 403
            assert "gateway.admin_key" in answer.error["message"]


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.test"}, {"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}],
    ids=["host", "origin", "site"],
)
def test_web_pages_see_nothing(gateway: Running, headers: dict[str, str]) -> None:
    answer = get(gateway, "/admin/targets", headers)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/admin/target", 404, "/admin/targets"),
        ("GET", "/admin/rate", 404, "/admin/rates"),
        ("POST", "/admin/x", 404, "did you mean"),
        ("GET", "/admin/targets/", 404, "/admin/targets"),
        ("GET", "/admin/%2e%2e/metrics", 404, "did you mean"),
        ("POST", "/admin/targets", 405, "takes GET"),
        ("PUT", "/admin/rates", 405, "takes GET"),
        ("DELETE", "/admin/targets?target=one/m", 405, "takes GET"),
        ("GET", "/admin/targets?provider=one", 400, "'provider'"),
        ("GET", "/admin/targets?target=one%2Fm&target=x", 400, "once"),
        ("GET", "/admin/targets?target=nobody/knows", 404, "nobody/knows"),
        ("GET", "/admin/targets?target=%00%ff%22", 404, "was not asked"),
        ("GET", "/admin/targets?" + "target=" + "x" * 20_000, 404, "was not asked"),
    ],
)  # fmt: skip
def test_bad_requests(gateway: Running, method: str, path: str, status: int, says: str) -> None:
    answer = get(gateway, path, method=method)
    assert answer.status == status, answer.body
    assert says in answer.error["message"]
    assert answer.error["request_id"] == answer.id
    assert len(answer.body) < 1_000
