"""The simulated servers are held against real ones: a script of failures is played on both, step by step.

What a step is answered, and how the books stand after it, must be the same; times may not be.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace
from tests.simulation.replicas import against_postgres, against_redis
from tests.simulation.replicas.database import Authority, Database, ReplicaLedger
from tests.simulation.replicas.keys import Keys
from tests.simulation.replicas.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.postgres import PostgresServer

    from holdfast.ledger.entry import End, Intent
    from holdfast.ledger.statement import Connection, Statement

    RealPostgres = Callable[[int], list[Any]]

POSTGRES_SEEDS: Final = (0, 1)
REDIS_SEEDS: Final = (0, 1, 2, 3)


def first_difference(steps: Sequence[Any], simulated: list[Any], real: list[Any]) -> str:
    """Empty: there is none."""
    for number, (step, mine, its) in enumerate(zip(steps, simulated, real, strict=True)):
        if mine != its:
            return f"step {number}, {step}\nsimulated: {mine}\nreal:      {its}"
    return ""


@pytest.fixture(scope="module")
def real_postgres(postgres: PostgresServer) -> RealPostgres:
    """What a real one answers to a seed's script."""

    @cache
    def played(seed: int) -> list[Any]:
        url = postgres.database()
        try:
            return against_postgres.on_real(postgres, url, against_postgres.draw(seed))
        finally:
            postgres.give_back(url)

    return played


@cache
def real_redis() -> dict[int, list[Any]]:
    """What a real one answers, by the script's seed."""
    answers = against_redis.on_real([against_redis.draw(seed) for seed in REDIS_SEEDS])
    return dict(zip(REDIS_SEEDS, answers, strict=True))


@pytest.mark.parametrize("seed", POSTGRES_SEEDS)
def test_postgres(seed: int, real_postgres: RealPostgres) -> None:
    steps = against_postgres.draw(seed)
    assert not first_difference(steps, against_postgres.on_simulated(steps), real_postgres(seed))


@pytest.mark.parametrize("seed", REDIS_SEEDS)
def test_redis(seed: int) -> None:
    steps = against_redis.draw(seed)
    assert not first_difference(steps, against_redis.on_simulated(steps), real_redis()[seed])


def test_nobody_is_refused_since_an_idle_connection_was_lost(postgres: PostgresServer, database: str) -> None:
    """The first script found it: whoever asked next what may be spent was told that it can't be asked."""
    step = against_postgres.Step
    lease = step("lease", wants=(("acct-day", 1, 2, 4),))
    asked = [lease, step("back", account="acct-day", amount=1), step("spent")]
    steps = [lease, *(each for one in asked for each in (step("reset"), one))]
    told = against_postgres.on_real(postgres, database, steps)
    assert "unavailable" not in [answer for answer, _ in told]
    assert not first_difference(steps, against_postgres.on_simulated(steps), told)


def test_the_scripts_have_all_of_it() -> None:
    """Or they prove little."""
    for seed in POSTGRES_SEEDS:
        steps = against_postgres.draw(seed)
        assert {(step.what, step.fate) for step in steps} >= {
            *(
                (what, fate)
                for what in ("group", "lease", "back", "raise")
                for fate in ("unsent", "unanswered")
            ),
            *((what, fate) for what in ("claim", "keep", "free") for fate in ("unsent", "unanswered")),
            *((what, "unanswered and cut") for what in ("group", "lease", "claim")),
            *((what, "well") for what in ("given up", "anew", "cut", "down", "expired", "reset", "hears")),
        }
        told = against_postgres.on_simulated(steps)
        records = [record for _, books in told[-1:] if books is not None for record in books[0]]
        assert {(state, late) for _, _, state, _, late, *_ in records} >= {
            ("ok", False),
            ("ok", True),
            ("failed", False),
            ("unknown", False),
        }
        verdicts = {answer.partition(" ")[0] for answer, _ in told if isinstance(answer, str)}
        assert verdicts >= {"Claimed", "Running", "Unknown", "done", "Unreplayable", "NoneType", "bool"}
    drawn = {(step.what, step.fate) for seed in REDIS_SEEDS for step in against_redis.draw(seed)}
    assert drawn >= {
        *((what, fate) for what in ("take", "put", "probe") for fate in ("unsent", "unanswered", "late")),
        *((what, "well") for what in ("flush", "forgets", "older", "restart", "reset")),
    }


# A simulated layer that is broken is found.


class _NotCommitted(against_postgres.ToldWay):
    """Nothing is done of what isn't answered."""

    def fate(self) -> float:
        return 0.2 if 0.3 <= (told := super().fate()) < 1.0 else told


class _Committed(against_postgres.ToldWay):
    """What is cut off on its way is done all the same."""

    def fate(self) -> float:
        return max(super().fate(), 0.5)


class _NeverAsks(Authority):
    """A lease whose answer got lost is thought not to have come about."""

    async def _came_about(self, came: list[Any]) -> bool:
        return False


class _KeepsBlocks(Database):
    """Who is given up keeps what it has set aside."""

    def sweep(self) -> None:
        kept = {account: dict(blocks) for account, blocks in self.books.blocks.items()}
        super().sweep()
        self.books.blocks = kept


class _NoLateEnds(Database):
    """A guess stays one."""

    def close(self, end: End) -> None:
        if self.requests.get(end.id) is None or self.requests[end.id].settled_by != "recovery":
            super().close(end)


class _ChargedTwice(Database):
    """The bound of who was given up isn't taken back when its end comes."""

    def charge_bound(self, intent: Intent, sign: int) -> None:
        if sign > 0:
            super().charge_bound(intent, sign)


class _Unfenced(Database):
    """Who was given up begins what it likes."""

    def lives(self, owner: str) -> bool:
        return owner != ""


class _NeverCalm(Database):
    """Nobody is waited for after a restart."""

    def restarted(self) -> None:
        super().restarted()
        self.started_at = float("-inf")


class _EndsDropped(ReplicaLedger):
    """Ends of a group that failed are thought to be written."""

    def _failed(self, begun: Sequence[Any], asked: Sequence[Any], *, ambiguous: bool) -> None:
        self.written(list(self._ends))
        super()._failed(begun, asked, ambiguous=ambiguous)


class _LeftOpen(ReplicaLedger):
    """What may have been begun stays as it is."""

    def _failed(self, begun: Sequence[Any], asked: Sequence[Any], *, ambiguous: bool) -> None:
        super()._failed(begun, asked, ambiguous=False)


class _KeysFreed(Keys):
    def lose(self, connection: Connection, now_ns: int) -> None:
        connection.execute("DELETE FROM idempotency WHERE owner NOT IN (SELECT id FROM owners)")


class _FreesKeys(Database):
    """A run whose process was given up is thought never to have been."""

    keys_of = _KeysFreed


class _NothingOwed(ReplicaLedger):
    """What a statement that failed, or may have, leaves to do isn't done."""

    def _give_up(self, begun: Sequence[Any], asked: Sequence[Any], *, ambiguous: bool) -> None:
        kept = [(replace(each, undo=None, instead=None), told) for each, told in asked]
        super()._give_up(begun, kept, ambiguous=ambiguous)


class _ClaimsOfTheDead(Keys):
    """Who was given up takes what it likes."""

    def may(self, statement: Statement, *, owner: str, alive: bool) -> bool:
        return True


class _TakesForTheDead(Database):
    keys_of = _ClaimsOfTheDead


@pytest.mark.parametrize(
    "parts",
    [
        against_postgres.Parts(way=_NotCommitted),
        against_postgres.Parts(way=_Committed),
        against_postgres.Parts(authority=_NeverAsks),
        against_postgres.Parts(database=_KeepsBlocks),
        against_postgres.Parts(database=_NoLateEnds),
        against_postgres.Parts(database=_ChargedTwice),
        against_postgres.Parts(database=_Unfenced),
        against_postgres.Parts(database=_NeverCalm),
        against_postgres.Parts(ledger=_EndsDropped),
        against_postgres.Parts(ledger=_LeftOpen),
        against_postgres.Parts(database=_FreesKeys),
        against_postgres.Parts(database=_TakesForTheDead),
        against_postgres.Parts(ledger=_NothingOwed),
    ],
    ids=lambda parts: "".join(kind.__name__ for kind in parts.kinds if kind.__name__.startswith("_")),
)
def test_a_broken_database_is_found(parts: against_postgres.Parts, real_postgres: RealPostgres) -> None:
    for seed in POSTGRES_SEEDS:
        steps = against_postgres.draw(seed)
        try:
            told = against_postgres.on_simulated(steps, parts)
        except TimeoutError:  # what should have come never did
            return
        if first_difference(steps, told, real_postgres(seed)):
            return
    pytest.fail("it was taken for a real one")


class _KeepsEpoch(RedisServer):
    """Nobody sees that it was flushed."""

    def flush(self) -> None:
        epoch = self._memory.epoch
        super().flush()
        self._memory.epoch = epoch


class _NeverFlushed(RedisServer):
    def flush(self) -> None:
        pass


class _LosesNothing(RedisServer):
    """It comes back as it was, and not as it was saved."""

    def start(self, *, forget: bool, older: bool) -> None:
        super().start(forget=forget, older=False)


class _LosesAll(RedisServer):
    """It comes back empty."""

    def start(self, *, forget: bool, older: bool) -> None:
        super().start(forget=True, older=older)


class _UnreadIsLost(RedisServer):
    """What it was asked while it hung is forgotten."""

    def hang(self, *, hangs: bool) -> None:
        for line in [] if hangs else list(self._lines):
            line._inbox.clear()
        super().hang(hangs=hangs)


class _Undone(RedisServer):
    """What it can't answer isn't carried out."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.deaf = self.cut


@pytest.mark.parametrize(
    "kind",
    [_KeepsEpoch, _NeverFlushed, _LosesNothing, _LosesAll, _UnreadIsLost, _Undone],
)
def test_a_broken_redis_is_found(kind: type[RedisServer]) -> None:
    for seed in REDIS_SEEDS:
        steps = against_redis.draw(seed)
        if first_difference(steps, against_redis.on_simulated(steps, kind), real_redis()[seed]):
            return
    pytest.fail("it was taken for a real one")
