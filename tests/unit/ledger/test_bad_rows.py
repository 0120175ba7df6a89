"""Rows that no database takes, and those that only one wouldn't: what is bad fails alone, in a file and on a server."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.helpers import attempt, end, intent

from holdfast.ledger.entry import AccountPart, Charge, Counts
from holdfast.ledger.rows import MAX_ERROR_CHARS
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from tests.unit.ledger.bases import Base

    from holdfast.ledger.statement import Connection

HOSTILE = "'; DROP TABLE requests; --\\\"%s %(a)s ? /*pg */ {}"


def states(base: Base) -> dict[str, int]:
    return dict(base.run("SELECT state, count(*) FROM requests GROUP BY state"))


def test_a_bad_row_fails_alone(base: Base) -> None:
    store = base.store()
    bad = intent("bad", request_bytes=2**70)
    twice = intent("ok-3")
    everyone = [intent(f"ok-{n}") for n in range(40)]
    written = store.write([*everyone[:20], bad, twice, *everyone[20:], intent("sur\ud800rogate")], [])
    assert sorted(written.refused) == [20, 21, 42]
    assert all(why.startswith("the intent can't be stored: ") for why in written.refused.values())
    assert "too large" in written.refused[20] or "out of range" in written.refused[20]
    assert "UNIQUE" in written.refused[21] or "of that id" in written.refused[21]
    assert "surrogates" in written.refused[42]
    store.close()
    assert states(base)["in_flight" if base.server is None else "unknown"] == 40


def test_one_that_is_there_twice_is_refused_once_and_nothing_else(base: Base) -> None:
    store = base.store()
    written = store.write([intent("a"), intent("b", model="first"), intent("b", model="second")], [end("a")])
    assert (sorted(written.refused), written.ignored) == ([2], 0)
    written = store.write([intent("c"), intent("b", model="third")], [])
    assert sorted(written.refused) == [1]
    assert base.run("SELECT id, model, state FROM requests ORDER BY id") == [
        ("a", "gpt-4o", "ok"),
        ("b", "first", "in_flight"),
        ("c", "gpt-4o", "in_flight"),
    ]
    store.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"delivered_bytes": 2**70},
        {"error": "half a \ud800 pair"},
        {"state": "lost"},
        {"attempts": (attempt(1), attempt(1))},
        {"attempts": (attempt(1), attempt(2, billed="perhaps"))},
        {"skipped": (object(),)},
        {"usage": "many"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_an_end_that_cannot_be_stored_still_closes_its_request(base: Base, fields: dict[str, Any]) -> None:
    async def main() -> None:
        ledger = base.ledger()
        for request_id in ("a", "bad", "b"):
            await ledger.begin(intent(request_id, bound_nano=77))
        for request_id in ("a", "bad", "b"):
            ledger.end(end(request_id, **fields if request_id == "bad" else {}))
        await ledger.flush()
        counts = await ledger.counts()
        assert counts == Counts(accepted=3, ok=2, unknown=1)
        record = await ledger.get("bad")
        assert record is not None
        assert record.end is not None
        assert record.end.error is not None
        assert record.end.error.startswith("the end can't be stored: ")
        assert (record.end.cost_nano, record.end.attempts) == (77, ())
        assert ledger.health().ok
        await ledger.aclose()

    asyncio.run(main())


def test_an_end_whose_id_is_no_id_is_ignored(base: Base) -> None:
    store = base.store()
    store.write([intent("a")], [])
    written = store.write([], [end("\ud800"), end("a")])
    assert written.ignored == 1
    store.close()
    assert states(base) == {"ok": 1}


def test_of_several_ends_the_first_counts_and_nobodys_is_ignored(base: Base) -> None:
    store = base.store()
    store.write([intent("a"), intent("b")], [])
    charge = Charge("x", 1, None, 10)
    ends = [
        end("a", charges=(charge,)),
        end("nobody's", charges=(charge,)),
        end("a", state="failed", charges=(charge,), attempts=(attempt(1), attempt(2))),
        end("b", charges=(charge,)),
    ]
    written = store.write([intent("c")], ends)
    assert (written.late, written.ignored, written.refused) == (0, 2, {})
    assert base.run("SELECT id, state FROM requests ORDER BY id") == [
        ("a", "ok"),
        ("b", "ok"),
        ("c", "in_flight"),
    ]
    assert base.run("SELECT account, amount FROM spend") == [("x", 20)]
    assert base.run("SELECT request_id, number FROM attempts ORDER BY request_id") == [("a", 1), ("b", 1)]
    store.close()


def test_an_endless_error_message_is_cut(base: Base) -> None:
    async def main() -> None:
        ledger = base.ledger()
        await ledger.begin(intent("a"))
        ledger.end(end("a", error="e" * 10**6, attempts=(attempt(1, error="f" * 10**6),)))
        await ledger.flush()
        record = await ledger.get("a")
        assert record is not None
        assert record.end is not None
        assert record.end.error == "e" * MAX_ERROR_CHARS
        assert record.end.attempts[0].error == "f" * MAX_ERROR_CHARS
        await ledger.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("text", [HOSTILE, "nul \0 and \\u0000 and \x7f\x1b", "ünï\u2028💥"], ids=ascii)
def test_what_a_caller_writes_is_kept_as_text(base: Base, text: str) -> None:
    async def main() -> None:
        ledger = base.ledger()
        begun = intent("a", model=text, tags={text: text}, session=text, key=text)
        await ledger.begin(begun)
        ledger.end(end("a", error=text, attempts=(attempt(1, upstream_id=text, finish_reason=text),)))
        await ledger.flush()
        # PostgreSQL's text has no NUL, so there it is the sign for what can't be shown; in JSON it can be written.
        kept = text if base.server is None else text.replace("\0", "\ufffd")
        record = await ledger.get("a")
        assert record is not None
        assert record.end is not None
        assert (record.intent.model, record.intent.session, record.intent.key) == (kept, kept, kept)
        assert record.intent.tags == {text: text}
        assert (record.state, record.end.error, record.end.attempts[0].upstream_id) == ("ok", kept, kept)
        await ledger.aclose()

    asyncio.run(main())


def test_a_bad_end_costs_the_intents_beside_it_nothing(base: Base) -> None:
    store = base.store()
    store.write([intent("a")], [])
    for error in ("\ud800", "fine"):
        bad = end("a", error=error, state="ok" if error == "\ud800" else "lost")
        assert store.write([intent(f"beside {error!a}")], [bad]).refused == {}
    assert len(base.run("SELECT 1 FROM requests")) == 3
    store.close()


def test_an_account_that_no_index_takes_spoils_nobody_elses_end(base: Base) -> None:
    endless = "".join(
        random.Random(1).choices("0123456789abcdef", k=20_000)
    )  # PostgreSQL would compress other texts
    part = AccountPart(endless, "usd", 1, None)
    store = base.store()
    store.write([intent("a"), intent("bad", accounts=(part,)), intent("b")], [])
    ends = [end(name, charges=(Charge("x", 1, None, 10),)) for name in ("a", "b")]
    store.write([], [ends[0], end("bad", charges=(Charge(endless, 1, None, 10),)), ends[1]])
    wanted = "ok" if base.server is None else "unknown"
    assert base.run("SELECT id, state FROM requests ORDER BY id") == [
        ("a", "ok"),
        ("b", "ok"),
        ("bad", wanted),
    ]
    assert base.run("SELECT amount FROM spend WHERE account = 'x'") == [(20,)]
    store.close()


def test_an_id_with_a_nul_is_refused_or_kept(base: Base) -> None:
    store = base.store()
    written = store.write([intent("a"), intent("n\0l")], [])
    if base.server is None:
        assert written.refused == {}
    else:
        assert list(written.refused) == [1]
        assert store.write([], [end("n\0l")]).ignored == 1
        assert base.run("SELECT id FROM requests") == [("a",)]
    store.close()


def test_a_group_with_a_bad_row_charges_each_once(base: Base) -> None:
    store = base.store()
    store.write([intent("a"), intent("bad"), intent("b")], [])
    ends = [end(name, charges=(Charge("x", 1, 9, 10), Charge("y", 1, None, 1))) for name in ("a", "bad", "b")]
    ends[1] = end("bad", charges=(Charge("x", 1, 9, 10),), error="\ud800")
    store.write([intent("bad \ud800"), intent("c")], ends)
    assert sorted(base.run("SELECT account, start_ns, until_ns, amount FROM spend")) == [
        ("x", 1, 9, 20),
        ("y", 1, None, 2),
    ]
    assert base.run("SELECT id, state FROM requests ORDER BY id") == [
        ("a", "ok"),
        ("b", "ok"),
        ("bad", "unknown"),
        ("c", "in_flight"),
    ]
    store.close()


def test_a_bad_statement_fails_alone_and_takes_its_intent_along(base: Base) -> None:
    def put(name: object) -> Statement:
        def run(connection: Connection) -> bool:
            connection.execute("INSERT INTO secrets (name, value) VALUES (?, ?)", (name, b"v"))
            return True

        return Statement(run=run, intent=intent(f"of {name}"))

    store = base.store()
    statements = [put("a"), put("a"), put("b\ud800"), put(None), put("c")]
    written = store.write([intent("x"), intent("of c")], [], statements)
    assert [each.refused is None for each in written.results] == [True, False, False, False, True]
    assert [each.begun for each in written.results] == [True, False, False, False, True]
    assert sorted(written.refused) == [1], "the statement came first"
    assert [row[0] for row in base.run("SELECT id FROM requests ORDER BY id")] == ["of a", "of c", "x"]
    assert [row[0] for row in base.run("SELECT name FROM secrets ORDER BY name")] == ["a", "c", "idempotency"]
    store.close()


def test_an_intent_that_is_there_already_takes_its_statement_along(base: Base) -> None:
    def run(connection: Connection) -> bool:
        connection.execute("INSERT INTO secrets (name, value) VALUES (?, ?)", ("a", b"v"))
        return True

    store = base.store()
    store.write([intent("taken")], [])
    written = store.write([], [], [Statement(run=run, intent=intent("taken"))])
    assert written.results[0].refused is not None
    assert base.run("SELECT count(*) FROM secrets WHERE name = 'a'") == [(0,)]
    store.close()
