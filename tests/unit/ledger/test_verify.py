"""Every rule that a ledger must keep: held by what writers write, and seen where somebody breaks it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.bases import Base
from tests.unit.ledger.helpers import START_NS, attempt, end, intent

from holdfast.ledger.entry import AccountPart, Charge
from holdfast.ledger.read_postgres import judged_ns
from holdfast.ledger.verify import RULES, verify
from holdfast.model import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

    from holdfast.ledger.finding import Finding
    from holdfast.ledger.writer import Store

HOUR_NS = 3_600 * 10**9
NEVER = START_NS + 100_000 * HOUR_NS  # when what counts now won't any more
DOLLARS = AccountPart("all:usd:forever:", "usd", 0, None)
TOKENS = AccountPart("k:tokens:month:alice", "tokens", START_NS, NEVER)
OVER = AccountPart("h:usd:hour:", "usd", START_NS, START_NS + HOUR_NS // 2)  # counts no more
USAGE = Usage(input_tokens=7, output_tokens=5)


def paid(number: int = 1, cost: int | None = 100, **fields: Any) -> Any:
    return attempt(number, usage=USAGE, cost_nano=cost, price_id="p", **fields)


def free(number: int = 1) -> Any:
    return attempt(number, outcome="overloaded", billed="none", cost_nano=0)


def guessed(number: int = 1, cost: int | None = 70) -> Any:
    return attempt(number, outcome="connection_lost", billed="bound", cost_nano=cost, price_id="p")


def charged(part: AccountPart, amount: int, start_ns: int | None = None) -> Charge:
    return Charge(part.account, part.start_ns if start_ns is None else start_ns, part.until_ns, amount)


def fill(store: Store) -> None:
    """A request of each kind, as engines write them."""
    store.write(
        [
            intent("paid", accounts=(DOLLARS, TOKENS)),
            intent("guessed"),
            intent("unpriced"),
            intent("free"),
            intent("nothing"),
            intent("open"),
        ],
        [
            end(
                "paid",
                cost_nano=100,
                attempts=(free(1), paid(2)),
                charges=(charged(DOLLARS, 100), charged(TOKENS, 12)),
            ),
            end("guessed", state="cancelled", cost_nano=70, attempts=(guessed(),)),
            end("unpriced", cost_nano=None, attempts=(paid(cost=None, provider="new"),)),
            end("free", state="failed", cost_nano=0, attempts=(free(),)),
            end("nothing", state="failed", cost_nano=0, attempts=()),
        ],
    )


@pytest.fixture
def base(base: Base) -> Base:
    base.clock.advance(3_600)
    return base


@pytest.fixture
def file(tmp_path: Path) -> Base:
    """On SQLite."""
    made = Base(tmp_path / "ledger.db")
    made.clock.advance(3_600)
    return made


@pytest.fixture
def store(base: Base) -> Iterator[Store]:
    made = base.store()
    yield made
    made.close()


def looked(base: Base) -> dict[str, Finding]:
    with base.reader() as reader:
        findings = verify(reader, base.clock)
    by_name = {finding.check: finding for finding in findings}
    assert len(by_name) == len(findings)
    return by_name


def broken(base: Base) -> dict[str, str]:
    return {name: finding.standing for name, finding in looked(base).items() if not finding.fine}


def test_an_empty_ledger_keeps_every_rule(base: Base, store: Store) -> None:
    assert broken(base) == {}


def test_what_is_written_keeps_every_rule(base: Base, store: Store) -> None:
    fill(store)
    found = looked(base)
    assert {finding.standing for finding in found.values()} == {"ok"}
    assert "6 accepted = 1 ok" not in found["accepted"].says
    assert found["accepted"].says == "6 accepted = 2 ok + 2 failed + 1 cancelled + 0 unknown + 1 in flight"
    assert found["spend-sums"].says.startswith("2 accounts of budgets add up")


SESSION = "INSERT INTO sessions (key, id, started_ns, ends_ns, ended_ns, state) VALUES "
KEY = """INSERT INTO idempotency (tenant, key, run_id, owner, fingerprint, since_ns, ttl_ns, state, expires_ns)
VALUES ('t', 'k', '{run}', {owner}, '', 1, 1, '{state}', {expires})"""
LIVING = "(SELECT id FROM owners)"


def ids(table: list[tuple[str, set[str]]]) -> list[str]:
    """``cost-0``, ``cost-1`` …"""
    names = ["-".join(sorted(names)) for _, names in table]
    return [f"{name}-{names[:place].count(name)}" for place, name in enumerate(names)]


BREAKAGES = [
    ("UPDATE requests SET settled_by = NULL WHERE id = 'nothing'", {"ends"}),
    ("UPDATE requests SET ended_ns = NULL WHERE id = 'nothing'", {"ends"}),
    ("UPDATE requests SET ended_ns = 1 WHERE id = 'open'", {"ends"}),
    ("UPDATE requests SET settled_by = 'end' WHERE id = 'open'", {"ends", "cost"}),
    ("UPDATE requests SET state = 'lost' WHERE id = 'nothing'", {"ends", "accepted"}),
    ("UPDATE attempts SET request_id = 'open' WHERE request_id = 'free'", {"ends"}),
    (
        "UPDATE requests SET state = 'unknown', settled_by = 'recovery', ended_ns = 1, cost_nano = 1 WHERE id = 'open'",
        {"given-up"},
    ),
    (
        "UPDATE requests SET state = 'failed', settled_by = 'recovery', ended_ns = 1, cost_nano = bound_nano "
        "WHERE id = 'open'",
        {"given-up"},
    ),
    (
        "UPDATE requests SET state = 'unknown', settled_by = 'recovery', cost_nano = bound_nano WHERE id = 'free'",
        {"given-up"},
    ),
    ("UPDATE attempts SET number = 3 WHERE request_id = 'paid' AND number = 2", {"attempts"}),
    ("UPDATE attempts SET number = 2 WHERE request_id = 'free'", {"attempts"}),
    ("UPDATE attempts SET number = 0 WHERE request_id = 'paid' AND number = 1", {"attempts"}),
    ("UPDATE attempts SET request_id = 'nobody' WHERE request_id = 'free'", {"orphans"}),
    ("UPDATE requests SET cost_nano = cost_nano + 1 WHERE id = 'guessed'", {"cost"}),
    ("UPDATE requests SET cost_nano = 0 WHERE id = 'unpriced'", {"cost"}),
    ("UPDATE requests SET cost_nano = NULL WHERE id = 'guessed'", {"cost"}),
    ("UPDATE requests SET cost_nano = 5 WHERE id = 'nothing'", {"cost"}),
    ("UPDATE requests SET cost_nano = 5, state = 'unknown' WHERE id = 'free'", {"cost"}),
    ("UPDATE attempts SET billed = 'none' WHERE request_id = 'guessed'", {"billed"}),
    ("UPDATE attempts SET billed = 'gift' WHERE request_id = 'guessed'", {"billed"}),
    ("UPDATE attempts SET usage_extra = NULL WHERE request_id = 'unpriced'", {"billed"}),
    ("UPDATE attempts SET price_id = NULL WHERE request_id = 'guessed'", {"billed"}),
    ("UPDATE attempts SET cost_nano = -70 WHERE request_id = 'guessed'", {"billed", "cost"}),
    (SESSION + "('k', 's', 5, 5, NULL, 'active')", {"sessions"}),
    (SESSION + "('k', 's', 5, 9, 7, 'active')", {"sessions"}),
    (SESSION + "('k', 's', 5, 9, NULL, 'ended')", {"sessions"}),
    (SESSION + "('k', 's', 5, 9, 7, 'tired')", {"sessions"}),
    (KEY.format(run="paid", owner="'another'", state="unknown", expires=NEVER), {"idempotency"}),
    (KEY.format(run="", owner=LIVING, state="unknown", expires=NEVER), {"idempotency"}),
    (f"INSERT INTO blocks (account, owner, amount) VALUES ('a', {LIVING}, -1)", {"blocks"}),
    ("UPDATE spend SET amount = -1 WHERE account = 'all:usd:forever:'", {"spend", "spend-sums"}),
    ("UPDATE spend SET until_ns = start_ns WHERE account LIKE 'k:%'", {"spend", "spend-sums"}),
    ("UPDATE spend SET amount = amount + 1 WHERE account LIKE 'k:%'", {"spend-sums"}),
    ("UPDATE spend SET amount = amount - 1 WHERE account LIKE 'k:%'", {"spend-sums"}),
    ("UPDATE spend SET amount = amount + 1 WHERE account LIKE 'all:%'", {"spend-sums"}),
    ("DELETE FROM spend WHERE account LIKE 'all:%'", {"spend-sums"}),
    ("UPDATE requests SET accounts = '[[1]]' WHERE id = 'paid'", {"spend-sums"}),
    (
        "INSERT INTO spend (account, start_ns, until_ns, amount) VALUES ('x:usd:forever:', 0, NULL, 1)",
        {"spend-sums"},
    ),
]


@pytest.mark.parametrize(("statement", "names"), BREAKAGES, ids=ids(BREAKAGES))
def test_each_broken_rule_is_seen(file: Base, statement: str, names: set[str]) -> None:
    store = file.store()
    fill(store)
    file.run(statement)
    assert broken(file) == dict.fromkeys(names, "wrong")
    store.close()


def test_each_broken_rule_is_seen_on_postgresql(database: str, postgres: PostgresServer) -> None:
    """One for each rule, all in one database: making one takes longer than breaking it."""
    base = Base(database, postgres)
    base.clock.advance(3_600)
    store = base.store()
    wanted = {"-".join(sorted(names)): (statement, names) for statement, names in BREAKAGES}
    seen = {}
    with base.reader() as reader:
        for rule, (statement, _) in wanted.items():
            fill(store)
            base.run(statement)
            seen[rule] = {found.check for found in verify(reader, base.clock) if found.standing == "wrong"}
            base.run("TRUNCATE requests, attempts, spend, sessions, idempotency, blocks")
    assert seen == {rule: names for rule, (_, names) in wanted.items()}
    assert set().union(*seen.values()) >= {rule.name for rule in RULES if not rule.mend}
    store.close()


MENDABLE = [
    ("DELETE FROM owners", {"abandoned"}),
    (KEY.format(run="elsewhere", owner="'dead'", state="running", expires="NULL"), {"idempotency-abandoned"}),
    ("INSERT INTO blocks (account, owner, amount) VALUES ('a', 'dead', 1)", {"blocks-abandoned"}),
]


@pytest.mark.parametrize(("statement", "names"), MENDABLE, ids=ids(MENDABLE))
def test_what_the_dead_left_is_to_be_repaired(
    base: Base, store: Store, statement: str, names: set[str]
) -> None:
    fill(store)
    base.run(statement)
    assert broken(base) == dict.fromkeys(names, "repair")


def test_a_lease_that_ran_out_is_of_the_dead(base: Base, store: Store) -> None:
    """But not on a server that started just now: while it was down nobody could renew."""
    fill(store)
    base.run("UPDATE owners SET expires_ns = 1")
    with base.reader() as reader, reader.base.snapshot():
        calm = reader.base.judged_ns(reader.base.now_ns(base.clock.wall_ns())) == 0
    assert broken(base) == ({} if calm else {"abandoned": "repair"})
    assert not calm or base.server is not None


def test_nobody_is_taken_for_dead_within_a_lease_of_the_servers_start() -> None:
    second = 10**9
    assert judged_ns(100 * second, 71 * second) == 0
    assert judged_ns(100 * second, 70 * second) == 100 * second


def test_what_is_broken_is_counted_and_the_first_are_named(base: Base, store: Store) -> None:
    store.write([intent(f"{n}") for n in range(9)], [end(f"{n}", cost_nano=7, attempts=()) for n in range(9)])
    found = looked(base)["cost"]
    assert (found.count, len(found.examples)) == (9, 5)
    assert set(found.examples) < {str(n) for n in range(9)}


def test_a_run_of_a_key_may_be_no_request_of_ours(base: Base, store: Store) -> None:
    """Libraries keep idempotency keys for what they like; and requests are deleted before keys may be."""
    base.run(KEY.format(run="a run of its own", owner="'library'", state="unknown", expires=NEVER))
    assert broken(base) == {}


def test_rows_that_count_no_more_are_no_fault(base: Base, store: Store) -> None:
    fill(store)
    base.run(KEY.format(run="r", owner="'o'", state="unknown", expires=1))
    base.run("INSERT INTO spend (account, start_ns, until_ns, amount) VALUES ('x:usd:hour:', 0, 5, 1)")
    found = looked(base)["expired"]
    assert (found.standing, found.count) == ("ok", 2)


def test_damage_of_the_file_is_found(tmp_path: Path) -> None:
    base = Base(tmp_path / "ledger.db")
    store = base.store()
    fill(store)
    base.run("INSERT INTO key_texts (sha256, key_id, prefix, created_ns) VALUES (x'00', 'no key', 'hf-', 1)")
    assert broken(base) == {"database": "wrong"}
    assert looked(base)["database"].examples == ("key_texts: a row refers to one that isn't in keys",)
    base.run("DELETE FROM key_texts")
    store.close()
    with closing(sqlite3.connect(base.where, isolation_level=None)) as connection:
        # An index that isn't of what its table has: what a torn write leaves.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '(started_ns)', '(request_bytes)') WHERE name = 'requests_started'"
        )
    assert broken(base)["database"] == "wrong"
    assert 0 < looked(base)["database"].count <= 5


# What was spent of budgets, where less is known


def spent(base: Base, *charges: Charge, **ends: Any) -> str:
    """How the sums stand after one request."""
    accounts = ends.pop("accounts", (DOLLARS,))
    store = base.store()
    try:
        store.write(
            [intent("r", accounts=accounts, bound_nano=500, bound_tokens=50)],
            [end("r", charges=charges, **ends)],
        )
        return looked(base)["spend-sums"].standing
    finally:
        store.close()


def test_an_attempt_of_unknown_price_may_have_been_charged_anything(base: Base) -> None:
    known = {"cost_nano": None, "attempts": (paid(1), paid(2, None))}
    assert spent(base, charged(DOLLARS, 400), **known) == "unsure"
    base.run("UPDATE spend SET amount = 99")
    assert broken(base) == {"spend-sums": "wrong"}  # but not less than what is known


def test_tokens_of_an_attempt_that_told_none_may_be_any(base: Base) -> None:
    known = {"cost_nano": 170, "attempts": (paid(1), guessed(2)), "accounts": (TOKENS,)}
    assert spent(base, charged(TOKENS, 40), **known) == "unsure"
    base.run("UPDATE spend SET amount = 11")
    assert broken(base) == {"spend-sums": "wrong"}


def test_an_end_in_a_later_part_counts_there(base: Base) -> None:
    """It began in a part that counts no more, and ended in one that does: what it cost may be in either."""
    later = {"cost_nano": 100, "attempts": (paid(),), "accounts": (OVER,), "ended_ns": START_NS + HOUR_NS}
    charge = Charge(OVER.account, START_NS + HOUR_NS - 1, NEVER, 100)
    assert spent(base, charge, **later) == "unsure"
    base.run("UPDATE spend SET amount = 101")
    assert broken(base) == {"spend-sums": "wrong"}


def test_an_end_before_what_counts_began_is_no_part_of_it(base: Base) -> None:
    known = {"cost_nano": 100, "attempts": (paid(),), "accounts": (OVER,)}
    assert spent(base, Charge(OVER.account, START_NS + HOUR_NS, NEVER, 100), **known) == "wrong"


def test_what_counts_no_more_isnt_looked_for(base: Base) -> None:
    assert spent(base, cost_nano=100, attempts=(paid(),), accounts=(OVER,)) == "ok"


def test_an_account_that_can_be_set_to_nothing_may_have_less_but_not_more(base: Base) -> None:
    everyone = AccountPart("cost_breaker", "usd", START_NS, NEVER)
    known = {"cost_nano": 100, "attempts": (paid(),), "accounts": (everyone,)}
    assert spent(base, charged(everyone, 100), **known) == "unsure"
    base.run("DELETE FROM spend")
    assert broken(base) == {}
    base.run(
        f"INSERT INTO spend (account, start_ns, until_ns, amount) VALUES ('cost_breaker', {START_NS}, NULL, 101)"
    )
    assert broken(base) == {"spend-sums": "wrong"}


def test_requests_that_were_deleted_may_have_spent_more_but_never_less(base: Base) -> None:
    known = {"cost_nano": 100, "attempts": (paid(),)}
    assert spent(base, charged(DOLLARS, 300), **known) == "wrong"
    base.run(f"INSERT INTO pruned (what, before_ns, deleted) VALUES ('requests', {START_NS}, 1)")
    assert broken(base) == {}
    base.run("UPDATE spend SET amount = 99")
    assert broken(base) == {"spend-sums": "wrong"}


@pytest.mark.parametrize("settled_by", ["end", "recovery"])
def test_a_request_that_nobody_ended_is_charged_its_bound(base: Base, settled_by: str) -> None:
    """So is one whose end couldn't be stored."""
    store = base.store()
    store.write([intent("r", accounts=(DOLLARS, TOKENS), bound_nano=500, bound_tokens=50)], [])
    base.run(
        f"UPDATE requests SET state = 'unknown', settled_by = '{settled_by}', ended_ns = 1, cost_nano = 500"
    )
    for part, amount in ((DOLLARS, 500), (TOKENS, 50)):
        until = "NULL" if part.until_ns is None else part.until_ns
        base.run(
            f"INSERT INTO spend (account, start_ns, until_ns, amount) "
            f"VALUES ('{part.account}', {part.start_ns}, {until}, {amount})"
        )
    assert looked(base)["spend-sums"].standing == "ok"
    base.run("UPDATE spend SET amount = amount - 1 WHERE account LIKE 'k:%'")
    assert broken(base) == {"spend-sums": "wrong"}
    store.close()


def test_it_looks_at_one_moment(base: Base, store: Store) -> None:
    """What is written while it looks is seen by none of its rules."""
    fill(store)
    with base.reader() as reader:
        rows = reader.base.rows

        def rows_and_a_write(sql: str, values: Any) -> Any:
            found = rows(sql, values)
            base.run("UPDATE requests SET cost_nano = 1 WHERE id = 'guessed'")
            return found

        reader.base.rows = rows_and_a_write  # type: ignore[method-assign]  # between every two looks
        assert all(finding.fine for finding in verify(reader, base.clock))
    assert broken(base) == {"cost": "wrong"}
