"""The admin API over HTTP: who may, what each endpoint says and changes, and errors that name what would be right."""

import httpx2
import pytest
from tests.unit.chaos.raw import ask, payload, receive, send

from holdfast.chaos import FAULTS, ChaosConfig, presets, run_chaos
from holdfast.chaos.admin import ENDPOINTS

TOKEN = {"authorization": "Bearer t"}


def admin(chaos, **headers):
    return httpx2.Client(base_url=chaos.admin_url, headers=headers)


def message(answer) -> str:
    return answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def locked():
    with run_chaos(ChaosConfig(admin_token="t")) as chaos:
        yield chaos


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_each_endpoint_asks_for_the_token_unless_it_says_so(locked, endpoint):
    path = endpoint.path.replace("{number}", "1")
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic t"}):
        answer = httpx2.request(endpoint.method, locked.url + path, headers=headers)
        assert (answer.status_code == 401) is not endpoint.open, path
        assert ("bearer" in answer.headers.get("www-authenticate", "").lower()) is not endpoint.open


def test_health_tells_anybody_that_it_serves_and_nothing_else(locked):
    told = httpx2.get(locked.admin_url + "/health").json()
    assert told["status"] == "ok"
    assert told.keys() == {"status", "since_reset_s", "running", "attempts", "journal_file"}


def test_what_isnt_there_names_what_is():
    with run_chaos() as chaos, admin(chaos) as client:
        answer = client.get("/jurnal")
        assert (answer.status_code, "'/admin/journal'" in message(answer)) == (404, True)
        answer = client.delete("/config")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PATCH, PUT")
        assert "use GET, PATCH, PUT" in message(answer)
        answer = client.get("/journal?modle=m")
        assert (answer.status_code, "did you mean 'model'" in message(answer)) == (400, True)
        answer = client.get("/faults?x=1")
        assert (answer.status_code, "takes none" in message(answer)) == (400, True)
        assert "twice" in message(client.get("/journal?model=a&model=b"))
        for body in ("{", "\xff", "[1]", "3"):
            assert client.patch("/config", content=body.encode("latin-1")).status_code == 400


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("since=x", "since='x'"),
        ("since=-1", "whole number"),
        ("limit=1e3", "limit"),
        ("attempt=", "attempt"),
        ("status=4x", "429, 5xx, none"),
        ("end=completed", "did you mean 'complete'"),
        ("fault=rest", "did you mean 'reset'"),
        ("order=new", "did you mean 'newest'"),
        ("follow=maybe", "neither true nor false"),
        ("follow=true&order=newest", "follow"),
        ("follow=true&end=running", "follow"),
        ("stable=true&order=newest", "stable"),
    ],
)
def test_arguments_that_cant_be_meant(locked, query, says):
    for path in ("journal", "journal.jsonl"):
        answer = httpx2.get(f"{locked.admin_url}/{path}?{query}", headers=TOKEN)
        assert answer.status_code == 400
        assert says in message(answer)


def test_settings_are_changed_live_by_name():
    with run_chaos(ChaosConfig(seed=3, rates={"429": 100})) as chaos, admin(chaos) as client:
        assert ask(chaos.port, payload()).status == 429
        answer = client.patch("/config", json={"rates": {"429": None, "503": {"pct": 100}}, "tokens": 2})
        assert answer.status_code == 200
        assert (answer.json()["tokens"], answer.json()["seed"]) == (2, 3)
        assert ask(chaos.port, payload()).status == 503
        client.patch("/config", json={"rates": None})
        assert ask(chaos.port, payload()).status == 200
        assert client.get("/config").json() == client.patch("/config", json={}).json()


def test_a_change_that_cant_be_changes_nothing():
    with run_chaos() as chaos, admin(chaos) as client:
        before = client.get("/config").json()
        for change, says in (
            ({"tokens": -1, "seed": 5}, "tokens"),
            ({"tokenz": 1}, "did you mean 'tokens'"),
            ({"pace": {"ttft": "x"}}, "pace.ttft"),
            ({"clock": "hand"}, "clock can't change"),
            ({"default": "rest"}, "did you mean 'reset'"),
        ):
            for method in ("PATCH", "PUT"):
                answer = client.request(method, "/config", json=change)
                assert answer.status_code == 400
                assert says in message(answer)
        assert client.get("/config").json() == before


def test_a_whole_new_configuration():
    first = ChaosConfig(seed=3, tokens=5, admin_token="t", scripts={"m": "503"}, journal_entries=50)
    with run_chaos(first) as chaos, admin(chaos, **TOKEN) as client:
        told = client.put("/config", json={"seed": 4}).json()
        assert (told["seed"], told["tokens"], told["scripts"]) == (4, 20, {})
        assert told["journal_entries"] == 50, "what can't change stays"
        assert ask(chaos.port, payload()).status == 200
        assert httpx2.get(chaos.admin_url + "/config").status_code == 401, "the door stays shut"
        assert client.put("/config", json={"preset": "gentle"}).json()["rates"]


def test_secrets_are_masked_and_what_was_shown_can_be_sent_back():
    start = ChaosConfig(admin_token="t", api_keys=("sk-one", "sk-two"), keys={"sk-three": "503"})
    with run_chaos(start) as chaos, admin(chaos, **TOKEN) as client:
        shown = client.get("/config")
        assert "sk-" not in shown.text
        assert shown.json()["keys"] == {"*** 1": "503"}
        for method in ("PUT", "PATCH"):
            assert client.request(method, "/config", json=shown.json()).status_code == 200
            assert chaos.config == start
        client.patch("/config", json={"api_keys": ["***", "sk-new"], "keys": {"*** 1": "429"}})
        assert chaos.config.api_keys == ("sk-one", "sk-new")
        assert chaos.config.keys == {"sk-three": "429"}
        assert "Name all of them" in message(client.patch("/config", json={"api_keys": ["***"]}))
        assert "stands for no key" in message(client.patch("/config", json={"keys": {"*** 2": "ok"}}))


def test_the_token_can_change_but_not_go():
    with run_chaos(ChaosConfig(admin_token="t")) as chaos, admin(chaos, **TOKEN) as client:
        for method in ("PUT", "PATCH"):
            assert "not go" in message(client.request(method, "/config", json={"admin_token": None}))
        assert client.patch("/config", json={"admin_token": "new"}).status_code == 200
        assert client.get("/config").status_code == 401
        assert client.get("/config", headers={"authorization": "bearer new"}).status_code == 200


def test_scripts_are_set_all_or_none():
    with run_chaos() as chaos, admin(chaos) as client:
        assert client.post("/script", json={"scripts": {"a": "503", "b": "hng"}}).status_code == 400
        assert ask(chaos.port, payload("a")).status == 200
        assert client.post("/script", json={"model": "a", "script": "503"}).json()["scripts"] == {"a": "503"}
        assert ask(chaos.port, payload("a")).status == 503
        for body in ({}, {"model": "a"}, {"model": 1, "script": "ok"}, {"scripts": []}):
            assert client.post("/script", json=body).status_code == 400


def test_reset_of_all_or_of_a_part():
    with run_chaos(ChaosConfig(scripts={"m": "503; ok"})) as chaos, admin(chaos) as client:

        def state() -> tuple[int, int]:
            """The journal's length, and what an attempt gets that follows."""
            return len(client.get("/journal").json()), ask(chaos.port, payload()).status

        assert state() == (0, 503)
        assert client.post("/reset", json={"counts": True}).json() == {"status": "ok"}
        assert state() == (1, 503)
        client.post("/reset", json={"journal": True})
        assert client.get("/stats").json()["attempts"] == 0
        assert state() == (0, 200)
        client.post("/reset", json={"counts": True, "journal": False})
        assert state() == (1, 503)
        client.post("/reset")
        assert state() == (0, 503)
        client.post("/reset", json={})
        assert state() == (0, 503)
        for body in ({"jurnal": True}, {"journal": 1}, {"journal": False}):
            assert client.post("/reset", json=body).status_code == 400


def test_stats_of_real_attempts():
    config = ChaosConfig(scripts={"bad": "429", "cut": "tokens=9 cut=reset after=5", "hang": "hang"})
    with run_chaos(config) as chaos, admin(chaos) as client:
        for model in ("good", "good", "bad", "cut"):
            ask(chaos.port, payload(model, stream=True))
        with send(chaos.port, payload("hang")):
            chaos.wait_for(lambda journal: sum(entry.end is not None for entry in journal) == 4)
            chaos.wait_for(lambda journal: len(journal) == 5 and journal[-1].rule)
            told = client.get("/stats").json()
        assert (told["attempts"], told["ended"], told["running"]) == (5, 4, 1)
        assert told["by_status"] == {"200": 3, "429": 1}
        assert told["by_fault"] == {"status 429": 1, "cut": 1, "hang": 1}
        assert told["tokens_served"] == 45
        assert told["first_token_s"]["count"] == 3
        assert 0 < told["first_token_s"]["p50"] <= told["duration_s"]["max"]
        assert told["per_second"]["ended"]["since_reset"] > 0
        assert {row["fault"] for row in told["shares"] if row["rule"] == "(all)"} == set(told["by_fault"])
        assert "shares" not in client.get("/stats?shares=false").json()
        assert chaos.get_stats()["by_model"] == told["by_model"]


def test_the_faults_are_told_with_their_settings():
    with run_chaos() as chaos, admin(chaos) as client:
        told = {fault["name"]: fault for fault in client.get("/faults").json()}
    assert told.keys() == FAULTS.keys()
    assert told["stall"]["main_setting"] == "after"
    assert told["stall"]["settings"]["after"]["minimum"] == 0
    assert told["stall"]["settings"]["seconds"]["default"] is None
    assert told["reset"]["settings"] == {}


def test_the_presets_are_told_with_their_settings():
    with run_chaos() as chaos, admin(chaos) as client:
        told = client.get("/presets").json()
    assert [preset["name"] for preset in told] == list(presets.NAMES)
    assert told[1]["settings"] == presets.load(told[1]["name"])
    assert all(preset["summary"] for preset in told)


def test_the_clock_is_moved_by_hand():
    with run_chaos(ChaosConfig(clock="hand", default="delay=3600")) as chaos, admin(chaos) as client:
        with send(chaos.port, payload()) as sock:
            chaos.wait_for(lambda journal: journal and journal[0].rule)
            moved = client.post("/clock", json={"advance": 3600}).json()
            assert receive(sock).status == 200
        assert moved == {"clock_s": 3600.0, "pauses_ended": 1}
        assert client.get("/clock").json() == {"clock": "hand", "clock_s": 3600.0}
        for body in ({}, {"advance": -1}, {"advance": "1"}, {"advance": True}, {"advance": 1e300}, {"x": 1}):
            assert client.post("/clock", json=body).status_code == 400
    with run_chaos() as chaos, admin(chaos) as client:
        answer = client.post("/clock", json={"advance": 1})
        assert (answer.status_code, "hand" in message(answer)) == (400, True)
