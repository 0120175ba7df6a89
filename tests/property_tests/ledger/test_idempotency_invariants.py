"""ID1, ID2: any order of claims, ends, crashes and waits, against a model that folds the whole history each time."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.ledger.helpers import HandClock

from holdfast.ledger.idempotency import (
    Answer,
    Claim,
    Claimed,
    Conflict,
    Done,
    Running,
    Unknown,
    Unreplayable,
)
from holdfast.ledger.memory_idempotency import MemoryIdempotency
from holdfast.ledger.sqlite import SqliteLedger, SqliteStore
from holdfast.ledger.sqlite_idempotency import SqliteIdempotency

S = 10**9
REQUESTS = (b"one", b"two")


class Said(NamedTuple):
    """One line of a key's history."""

    at_ns: int
    what: str
    claim: Claim
    answer: Answer | None = None


def standing(history: list[Said], now_ns: int) -> Any:
    """What stands under a key after all that was said of it: from the promises' words, not from the table."""
    run: Claim | None = None
    how, since_ns, until_ns, answer = "running", 0, float("inf"), None
    for said in history:
        if said.at_ns >= until_ns:
            run = None
        if said.what == "claim":
            if run is None:
                run, how, since_ns, until_ns = said.claim, "running", said.at_ns, float("inf")
        elif run is not None and run.run_id == said.claim.run_id:
            known = how in ("done", "sealed") or (how == "lost" and said.what == "lose")
            if known:
                continue
            if said.what == "forget":
                run = None
                continue
            how, answer = {"finish": "done", "seal": "sealed", "lose": "lost"}[said.what], said.answer
            until_ns = said.at_ns + round(run.ttl_s * S)
    if run is None or now_ns >= until_ns:
        return None
    kinds = {"running": Running, "sealed": Unreplayable, "lost": Unknown}
    if how == "done":
        assert answer is not None
        return Done(run_id=run.run_id, since_ns=since_ns, answer=answer), run
    extra = {"why": ""} if how == "sealed" else {}
    return kinds[how](run_id=run.run_id, since_ns=since_ns, **extra), run


def plain(found: Any) -> Any:
    """Without the words for people."""
    if isinstance(found, Unreplayable):
        return Unreplayable(run_id=found.run_id, since_ns=found.since_ns, why="")
    return found


keys = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["k", "l"]))
answers = st.builds(
    Answer,
    status=st.sampled_from([200, 404]),
    headers=st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=2).map(tuple),
    body=st.binary(max_size=8),
)


class AnyOrder(RuleBasedStateMachine):
    """The subclass says what the store is and how it dies."""

    store: Any

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = HandClock()
        self.history: dict[tuple[str, str], list[Said]] = {}
        self.claims: list[Claim] = []
        """Every claim that was ever made: the late words of old runs count for nothing."""

    def do(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    @property
    def now_ns(self) -> int:
        return self.clock.wall_ns()

    def expect(self, key: tuple[str, str]) -> Any:
        found = standing(self.history.get(key, []), self.now_ns)
        return (None, None) if found is None else found

    def new_claim(self, key: tuple[str, str], request: int, ttl_s: int) -> Claim:
        claim = Claim(
            tenant=key[0],
            key=key[1],
            fingerprint=self.store.fingerprint(REQUESTS[request]),
            run_id=f"run-{len(self.claims)}",
            ttl_s=ttl_s,
        )
        self.claims.append(claim)
        return claim

    def says(self, what: str, claim: Claim, answer: Answer | None = None) -> None:
        key = (claim.tenant, claim.key)
        self.history.setdefault(key, []).append(Said(self.now_ns, what, claim, answer))

    @rule(key=keys, request=st.integers(0, 1), ttl_s=st.integers(1, 60), callers=st.integers(1, 4))
    def claim(self, key: tuple[str, str], request: int, ttl_s: int, callers: int) -> None:
        before, theirs = self.expect(key)
        mine = [self.new_claim(key, request, ttl_s) for _ in range(callers)]

        async def at_once() -> list[Any]:
            return await asyncio.gather(*(self.store.claim(each, now_ns=self.now_ns) for each in mine))

        verdicts = [plain(each) for each in self.do(at_once())]
        if before is None:
            assert verdicts.count(Claimed()) == 1
            winner = mine[verdicts.index(Claimed())]
            running = Running(run_id=winner.run_id, since_ns=self.now_ns)
            assert [each for each in verdicts if each != Claimed()] == [running] * (callers - 1)
            self.says("claim", winner)
        elif theirs.fingerprint == mine[0].fingerprint:
            assert verdicts == [before] * callers
        else:
            assert verdicts == [Conflict(run_id=before.run_id, since_ns=before.since_ns)] * callers

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0, 7), what=st.sampled_from(["finish", "seal", "forget", "lose"]), answer=answers)
    def settle(self, which: int, what: str, answer: Answer) -> None:
        claim = self.claims[-1 - which % len(self.claims)]
        before, _ = self.expect((claim.tenant, claim.key))
        given = (claim, answer) if what == "finish" else (claim,)
        told = self.do(getattr(self.store, what)(*given, now_ns=self.now_ns))
        open_kinds = (Running,) if what == "lose" else (Running, Unknown)
        assert told == (isinstance(before, open_kinds) and before.run_id == claim.run_id)
        self.says(what, claim, answer if what == "finish" else None)

    @rule(seconds=st.sampled_from([0.5, 1, 10, 60, 100]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def crash(self) -> None:
        for key, history in list(self.history.items()):
            now, run = self.expect(key)
            if isinstance(now, Running):
                history.append(Said(self.now_ns, "lose", run))
        self.die()

    @invariant()
    def everything_stands_as_the_history_says(self) -> None:
        async def all_of_them() -> list[Any]:
            return [plain(await self.store.get(*key, now_ns=self.now_ns)) for key in self.history]

        assert self.do(all_of_them()) == [self.expect(key)[0] for key in self.history]

    def die(self) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        self.runner.close()


class InMemory(AnyOrder):
    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryIdempotency()

    def die(self) -> None:
        self.store.give_up(now_ns=self.now_ns)


class Killed(SqliteStore):
    """Ends as the kernel ends a dead process' store: its files are closed, nothing else."""

    def close(self) -> None:
        self._connection.close()
        self._lock.release()


class InAFile(AnyOrder):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="holdfast-keys-")
        self.lives = 0

    @initialize()
    def start(self) -> None:
        self.lives += 1
        path = Path(self.folder.name, "l.db")
        ledger = Killed(path, owner=f"life-{self.lives}", clock=self.clock)
        self.ledger = SqliteLedger(ledger, self.clock)
        self.store = SqliteIdempotency(self.ledger)

    def die(self) -> None:
        self.do(self.ledger.aclose())
        self.start()

    def teardown(self) -> None:
        self.do(self.ledger.aclose())
        super().teardown()
        self.folder.cleanup()


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=100, stateful_step_count=30)
TestInAFile = InAFile.TestCase
# Each example opens files and each step waits for a thread.
TestInAFile.settings = settings(max_examples=15, stateful_step_count=30)
