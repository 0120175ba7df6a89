"""``holdfast ledger verify``, ``repair``, ``prune`` and ``export`` as operators run them, on both databases, and beside a
running gateway."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cli_process import called, called_json, holdfast
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import ask, chat
from tests.unit.ledger.bases import KINDS, Base, base_of
from tests.unit.ledger.helpers import START_NS, attempt, end, intent

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.clock import SystemClock, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.ledger.writer import Store

CALLER = "key-canary-of-bea"
SCRAPER = "key-canary-of-the-scraper"
DAY_NS = 86_400 * 10**9
NEVER = 2**62
DEAD_KEY = """INSERT INTO idempotency (tenant, key, run_id, owner, fingerprint, since_ns, ttl_ns)
VALUES ('t', 'k', 'r', 'dead', '', 1, 1000000000)"""
EXPIRED = "INSERT INTO spend (account, start_ns, until_ns, amount) VALUES ('a:usd:hour:', 1, 2, 3)"


@pytest.fixture(params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Base]:
    with base_of(request, tmp_path) as made:
        made.clock = SystemClock()  # the commands' own
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def place(base: Base) -> tuple[str, str]:
    return "--ledger", str(base.where)


def over(request_id: str, ended_ns: int) -> Any:
    return end(request_id, ended_ns=ended_ns, cost_nano=0, attempts=(attempt(1, billed="none", cost_nano=0),))


def fill(store: Store, *, days: int = 3) -> None:
    """Requests that began and ended on that many days, the newest now; and an open one."""
    now = SystemClock().wall_ns()
    began = [now - n * DAY_NS for n in reversed(range(days))]
    store.write(
        [intent(f"day-{n}", started_ns=at) for n, at in enumerate(began)],
        [over(f"day-{n}", at + 1) for n, at in enumerate(began)],
    )
    store.write([intent("open", started_ns=now + 1)], [])


@pytest.fixture
def filled(base: Base) -> Base:
    """Its process is dead, and has left a request open."""
    store = base.store()
    fill(store)
    base.abandon(store)
    return base


class TestVerify:
    def test_a_sound_ledger(self, base, folder):
        store = base.store()
        fill(store)
        done = called(folder, "ledger", "verify", *place(base))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "Every rule holds."
        assert "4 accepted = 3 ok + 0 failed + 0 cancelled + 0 unknown + 1 in flight" in done.stdout
        told = called_json(folder, "ledger", "verify", *place(base))
        assert told["ok"] is True
        assert {finding["standing"] for finding in told["findings"]} == {"ok"}
        assert told["at"].startswith("20")
        store.close()

    def test_what_the_dead_left_and_what_is_wrong(self, filled, folder):
        done = called(folder, "ledger", "verify", *place(filled))
        assert (done.returncode, done.stderr) == (1, "")
        assert "open requests whose process is dead: 1 (open)" in done.stdout
        assert done.stdout.splitlines()[-1].startswith("1 rule to repair: 'holdfast ledger repair'")
        filled.run("UPDATE requests SET cost_nano = 7 WHERE id = 'day-1'")
        done = called(folder, "ledger", "verify", *place(filled), "--json")
        assert done.returncode == 1
        told = json.loads(done.stdout)
        found = {each["check"]: each for each in told["findings"] if each["standing"] != "ok"}
        assert told["ok"] is False
        assert {name: each["standing"] for name, each in found.items()} == {
            "abandoned": "repair",
            "cost": "wrong",
        }
        assert found["cost"]["examples"] == ["day-1"]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--ledger", "typo.db"),
            ("--ledger", "noise.db"),
            ("--config", "typo.toml"),
            ("--ledger", "postgresql://u:pw-canary-1@127.0.0.1:1/db"),
            ("--ledger", "postgresql://u:pw-canary-1@[/db"),
            ("--ledger", "postgresql://u:pw-canary-1@h/db?sslmod=disable"),
        ],
    )
    def test_what_cant_be_looked_at(self, folder, arguments):
        (folder / "noise.db").write_bytes(b"noise" * 1_000)
        done = called(folder, "ledger", "verify", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert "canary" not in done.stderr
        assert "Traceback" not in done.stderr


class TestRepair:
    def test_a_dry_run_says_what_would_be_done_and_does_nothing(self, filled, folder):
        filled.run(DEAD_KEY)
        filled.run(EXPIRED)
        filled.run("INSERT INTO blocks (account, owner, amount) VALUES ('a', 'dead', 5)")
        told = called_json(folder, "ledger", "repair", "--dry-run", *place(filled))
        assert (told["closed"], told["keys"], told["blocks"], told["cleared"]) == (1, 1, 1, 1)
        assert [(each["id"], each["state"]) for each in told["requests"]] == [("open", "in_flight")]
        assert told["dry_run"] is True
        text = called(folder, "ledger", "repair", "--dry-run", *place(filled)).stdout
        assert "would have closed 1 request as unknown:" in text
        assert called(folder, "ledger", "verify", *place(filled)).returncode == 1

    def test_it_mends_what_verify_found(self, filled, folder):
        filled.run(DEAD_KEY)
        filled.run(EXPIRED)
        filled.run("INSERT INTO blocks (account, owner, amount) VALUES ('a', 'dead', 5)")
        told = called_json(folder, "ledger", "repair", *place(filled))
        assert (told["closed"], told["keys"], told["cleared"], told["dry_run"]) == (1, 1, 1, False)
        (record,) = told["requests"]
        assert (record["state"], record["settled_by"], record["cost_nano"]) == ("unknown", "recovery", 5_000)
        assert filled.run("SELECT count(*) FROM blocks") == [(0,)]
        assert filled.run("SELECT state FROM idempotency") == [("unknown",)]
        assert called(folder, "ledger", "verify", *place(filled)).returncode == 0
        again = called(folder, "ledger", "repair", *place(filled))
        assert (again.returncode, again.stdout) == (0, "nothing was open: nothing to repair\n")

    def test_what_was_closed_before_isnt_told_again(self, filled, folder):
        called_json(folder, "ledger", "repair", *place(filled))
        store = filled.store()
        store.write([intent("another")], [])
        filled.abandon(store)
        told = called_json(folder, "ledger", "repair", *place(filled))
        assert [record["id"] for record in told["requests"]] == ["another"]

    def test_it_leaves_what_lives_alone(self, base, folder):
        """On SQLite by refusing: whose lock it is looks after the file. On PostgreSQL by leases."""
        store = base.store()
        fill(store)
        for arguments in ((), ("--dry-run",)):
            done = called(folder, "ledger", "repair", *arguments, *place(base))
            if base.server is None:
                assert done.returncode == 1
                assert "already open for writing by process" in done.stderr
            else:
                assert (done.returncode, done.stdout) == (0, "nothing was open: nothing to repair\n")
        assert base.run("SELECT state FROM requests WHERE id = 'open'") == [("in_flight",)]
        store.close()


class TestPrune:
    def test_what_is_old_goes(self, filled, folder):
        would = called_json(folder, "ledger", "prune", "--keep-days", "1", "--dry-run", *place(filled))
        assert (would["deleted"], would["dry_run"]) == (2, True)
        done = called_json(folder, "ledger", "prune", "--keep-days", "1", *place(filled))
        assert (done["deleted"], done["dry_run"]) == (2, False)
        assert [row["id"] for row in called_json(folder, "ledger", "list", *place(filled))] == [
            "open",
            "day-2",
        ]
        again = called(folder, "ledger", "prune", "--keep-days", "1", *place(filled))
        assert again.stdout.startswith("nothing ended before ")
        assert "2 more were deleted since" in called(folder, "ledger", "verify", *place(filled)).stdout

    def test_more_than_a_step(self, base, folder):
        store = base.store()
        store.write(
            [intent(f"{n}", started_ns=START_NS - n) for n in range(600)],
            [over(f"{n}", START_NS) for n in range(600)],
        )
        store.close()
        done = called(folder, "ledger", "prune", "--before", "1d", *place(base))
        assert done.stdout.startswith("deleted 600 requests that ended before ")

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("--keep-days", "0"),
            ("--keep-days", "1", "--before", "1d"),
            ("--before", "2100-01-01"),
            ("--before", "yore"),
        ],
    )
    def test_called_wrongly_it_deletes_nothing(self, filled, folder, arguments):
        done = called(folder, "ledger", "prune", *arguments, *place(filled))
        assert (done.returncode, done.stdout) == (2, "")
        assert len(called_json(folder, "ledger", "list", *place(filled))) == 4

    def test_beside_a_writer(self, base, folder):
        store = base.store()
        fill(store)
        done = called(folder, "ledger", "prune", "--keep-days", "1", *place(base))
        if base.server is None:
            assert done.returncode == 1
            assert "already open for writing by process" in done.stderr
        else:
            assert done.stdout.startswith("deleted 2 requests")
        store.close()


class TestReading:
    def test_both_databases_are_read_alike(self, base, folder):
        store = base.store()
        fill(store)
        rows = called_json(folder, "ledger", "list", *place(base))
        assert [row["id"] for row in rows] == ["open", "day-2", "day-1", "day-0"]
        assert rows[0]["stream"] is False
        assert rows[1]["late"] is False
        assert rows[1]["attempts"][0]["number"] == 1
        assert [
            row["id"] for row in called_json(folder, "ledger", "list", "--state", "in_flight", *place(base))
        ] == ["open"]
        shown = called(folder, "ledger", "list", "--provider", "openai", "--model", "gpt-4o", *place(base))
        assert len(shown.stdout.splitlines()) == 5
        store.close()

    def test_an_export_goes_on_where_another_ended(self, base, folder):
        store = base.store()
        rng = random.Random(3)
        ids = [new_id(base.clock, rng) for _ in range(5)]
        store.write([intent(each, started_ns=base.clock.wall_ns()) for each in ids], [])
        lines = called(folder, "ledger", "export", *place(base)).stdout.splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids
        for last in (ids[1], ids[1][:30]):
            rest = called(folder, "ledger", "export", "--after", last, *place(base)).stdout.splitlines()
            assert rest == lines[2:]
        gone = called(folder, "ledger", "export", "--after", "ffffffff", *place(base))
        assert (gone.returncode, gone.stdout) == (1, "")
        assert "no request" in gone.stderr
        store.close()

    def test_the_configuration_names_it(self, filled, folder):
        url = filled.where if isinstance(filled.where, str) else f"sqlite:///{filled.where}"
        (folder / "holdfast.toml").write_text(f"[ledger]\nurl = {json.dumps(str(url))}\n")
        assert len(called_json(folder, "ledger", "list")) == 4
        done = called(folder, "ledger", "verify")
        assert done.returncode == 1
        assert "1 rule to repair" in done.stdout


def test_no_command_shows_the_password_of_a_ledger(postgres, folder) -> None:
    url = postgres.database()
    password = "pg-canary-8c1f"
    store = Base(url, postgres, SystemClock()).store()
    fill(store)
    for command in (
        ["list"],
        ["verify"],
        ["verify", "--json"],
        ["repair"],
        ["export"],
        ["prune", "--keep-days", "9"],
    ):
        done = called(folder, "ledger", *command, "--ledger", url)
        assert done.returncode == 0, done.stderr
        assert password not in done.stdout + done.stderr
    store.close()
    wrong = url.replace("pg-canary", "pw-canary")
    for command in (["list"], ["verify"], ["repair"], ["repair", "--dry-run"], ["prune", "--keep-days", "9"]):
        done = called(folder, "ledger", *command, "--ledger", wrong)
        assert done.returncode in (1, 2)
        assert "canary" not in done.stdout + done.stderr
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
    postgres.give_back(url)


@pytest.mark.parametrize(
    "command", [["repair"], ["repair", "--dry-run"], ["prune", "--keep-days", "9"], ["verify"]]
)
def test_no_command_makes_a_ledger_in_a_database_that_has_none(database, postgres, folder, command) -> None:
    done = called(folder, "ledger", *command, "--ledger", database)
    assert done.returncode in (1, 2)
    assert "holds no ledger" in done.stderr
    assert "canary" not in done.stderr
    assert postgres.run(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_who_repairs_looks_like_no_gateway(database, postgres, folder) -> None:
    """To a gateway that starts meanwhile another one would be a reason to refuse."""
    base = Base(database, postgres, SystemClock())
    store = base.store()
    fill(store)
    before = base.run("SELECT id FROM owners")
    base.run("CREATE TABLE seen AS SELECT id FROM owners WHERE false")
    base.run(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NEW; END $$"
    )
    base.run("CREATE TRIGGER see BEFORE INSERT ON owners FOR EACH ROW EXECUTE FUNCTION see()")
    for command in (["repair"], ["prune", "--keep-days", "1"]):
        assert called(folder, "ledger", *command, "--ledger", database).returncode == 0
    assert base.run("SELECT id FROM seen") == []
    assert base.run("SELECT id FROM owners") == before
    store.close()


SCRIPTS = {
    "good": "tokens=20",
    "flaky": "503; tokens=9; tokens=5 cut=reset after=2; tokens=7",
    "down": "503",
    "slow": "hang",
}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """By :func:`gateway`."""
    with base_of(request, tmp_path_factory.mktemp("ledger-tools")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(written: Base, chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("unused") / "ledger.db",
        models=["good", "flaky", "down", "slow"],
        gateway={"metrics_key": SCRAPER},
        keys={"ann": {"sha256": hashlib.sha256(CALLER.encode()).hexdigest()}},
        retry={"max_retries": 1, "base_s": 0.001, "max_s": 0.001},
        routes={"both": {"targets": ["one/down", "two/good"]}},
        budgets={
            "total": {"limit_usd": 1_000, "window": "forever"},
            "hourly": {"scope": "model", "limit_tokens": 10**9, "window": "hour"},
        },
        cost_protection={"enabled": True},
    )
    if written.server is not None:
        made["ledger"] = {"url": written.where}
    else:
        made["ledger"]["url"] = f"sqlite:///{written.where}"
    with run_gateway(made) as running:
        yield running


KEY = {"authorization": f"Bearer {CALLER}"}


async def _mixed(gateway: Running) -> None:
    for number in range(4):
        headers = {**KEY, "x-holdfast-session": f"s-{number % 2}"}
        for model in ("one/good", "one/flaky", "one/down", "both", "one/unpriced"):
            await ask(
                gateway.port, {**chat(model, stream=number % 2 == 0), "max_tokens": 30}, headers=headers
            )


class TestBesideAGateway:
    def test_what_it_writes_keeps_every_rule_and_its_counters_agree(self, gateway, written, folder):
        asyncio.run(_mixed(gateway))
        told = called_json(
            folder,
            "ledger",
            "verify",
            *place(written),
            "--gateway",
            gateway.base_url,
            "--gateway-key",
            SCRAPER,
        )
        found = {each["check"]: each for each in told["findings"]}
        assert {name for name, each in found.items() if each["standing"] not in ("ok", "unsure")} == set()
        assert found["counters"]["standing"] == "ok"
        assert "equal the ledger" in found["counters"]["says"]
        assert found["accepted"]["says"].endswith("0 in flight")

    def test_it_may_be_in_the_middle_of_a_request(self, gateway, written, folder):
        async def work() -> Any:
            known = set(gateway.seen.intents)
            body = {**chat("one/slow"), "max_tokens": 30}
            asking = asyncio.create_task(ask(gateway.port, body, headers=KEY, timeout=30.0))
            await asyncio.to_thread(gateway.wait_for, lambda: set(gateway.seen.intents) - known)
            done = await asyncio.to_thread(
                holdfast,
                folder,
                "ledger",
                "verify",
                *place(written),
                "--gateway",
                f"127.0.0.1:{gateway.port}",
                env={"HOLDFAST_METRICS_KEY": SCRAPER},
            )
            asking.cancel()
            return done

        done = asyncio.run(work())
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 in flight" in done.stdout
        assert "agree, but for what ran meanwhile" in done.stdout

    def test_without_its_key_or_without_a_gateway_it_couldnt_be_looked_at(self, gateway, written, folder):
        at = ("ledger", "verify", *place(written), "--gateway")
        for url, key, said in (
            (gateway.base_url, ("--gateway-key", "key-canary-of-eve"), "401"),
            (gateway.base_url, ("--gateway-key", CALLER), "callers' keys don't open /metrics"),
            (gateway.base_url, (), "asks for its metrics key (gateway.metrics_key)"),
            ("http://127.0.0.1:1", (), "no gateway answers"),
            ("nowhere at all", (), "no URL"),
        ):
            done = called(folder, *at, url, *key)
            assert (done.returncode, done.stdout) == (2, "")
            assert said in done.stderr
            assert "canary" not in done.stderr
