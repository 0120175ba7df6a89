"""Every idempotency store passes the same suite, and the suite finds a store that breaks a rule."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.on_postgres import ledger_on

from holdfast.ledger import idempotency_conformance
from holdfast.ledger.idempotency import Answer, Claim, Claimed, Done, Event, State
from holdfast.ledger.idempotency_conformance import CHECKS, run_idempotency_conformance
from holdfast.ledger.memory_idempotency import MemoryIdempotency
from holdfast.ledger.sql_idempotency import SqlIdempotency
from holdfast.ledger.sqlite_idempotency import SqliteIdempotency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer


@asynccontextmanager
async def in_memory(kind: type[MemoryIdempotency] = MemoryIdempotency) -> AsyncIterator[MemoryIdempotency]:
    yield kind()


def test_memory() -> None:
    run_idempotency_conformance(in_memory)


def test_sqlite(tmp_path: Path) -> None:
    numbers = itertools.count()

    @asynccontextmanager
    async def factory() -> AsyncIterator[SqliteIdempotency]:
        async with await SqliteIdempotency.open(f"sqlite:///{tmp_path}/{next(numbers)}.db") as store:
            yield store

    run_idempotency_conformance(factory)


def test_postgres(postgres: PostgresServer) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[SqlIdempotency]:
        async with ledger_on(postgres) as ledger:
            yield SqlIdempotency(ledger)

    run_idempotency_conformance(factory)


class AdmitsTwice(MemoryIdempotency):
    """Looks, and claims later: the race."""

    async def claim(self, claim: Claim, **when: Any) -> Any:
        free = (claim.tenant, claim.key) not in self._rows
        verdict = await super().claim(claim, **when)
        return Claimed() if free else verdict


class LosesHeaders(MemoryIdempotency):
    async def finish(self, claim: Claim, answer: Answer, **when: Any) -> bool:
        return await super().finish(claim, Answer(status=answer.status, body=answer.body), **when)


class TakesAnyRequest(MemoryIdempotency):
    def fingerprint(self, *parts: bytes) -> bytes:
        return b"x" * 32


class JoinsParts(MemoryIdempotency):
    def fingerprint(self, *parts: bytes) -> bytes:
        return super().fingerprint(b"".join(parts))


class SharesKeys(MemoryIdempotency):
    async def claim(self, claim: Claim, **when: Any) -> Any:
        verdict = await super().claim(claim, **when)
        if verdict == Claimed():
            for tenant in ("a", "b"):
                self._rows[tenant, claim.key] = self._rows[claim.tenant, claim.key]
        return verdict


class AnyoneSettles(MemoryIdempotency):
    def _apply(self, claim: Claim, event: Event, now_ns: int) -> bool:
        row = self._rows.get((claim.tenant, claim.key))
        return super()._apply(claim if row is None else row.claim, event, now_ns)


class SettlesTwice(MemoryIdempotency):
    def _apply(self, claim: Claim, event: Event, now_ns: int) -> bool:
        row = self._rows.get((claim.tenant, claim.key))
        if row is not None and row.state is State.DONE and row.claim.run_id == claim.run_id:
            row.state = State.RUNNING
        return super()._apply(claim, event, now_ns)


class NeverForgets(MemoryIdempotency):
    async def forget(self, claim: Claim, **when: Any) -> bool:
        return True


class ExpiresEarly(MemoryIdempotency):
    def _standing(self, place: tuple[str, str], now_ns: int) -> Any:
        return super()._standing(place, now_ns + 1)


class ExpiresLate(MemoryIdempotency):
    def _standing(self, place: tuple[str, str], now_ns: int) -> Any:
        return super()._standing(place, now_ns - 1)


class SettlesTheExpired(MemoryIdempotency):
    def _apply(self, claim: Claim, event: Event, now_ns: int) -> bool:
        return super()._apply(claim, event, 0)


class RunsExpire(MemoryIdempotency):
    def _standing(self, place: tuple[str, str], now_ns: int) -> Any:
        row = self._rows.get(place)
        if row is not None and row.since_ns + row.claim.ttl_ns * 2 < now_ns:
            self._drop(place)
        return super()._standing(place, now_ns)


class KeepsAnything(MemoryIdempotency):
    async def finish(self, claim: Claim, answer: Answer, **when: Any) -> bool:
        settled = await super().finish(claim, Answer(status=answer.status), **when)
        if settled:
            self._rows[claim.tenant, claim.key].answer = answer
        return settled


class LosesForGood(MemoryIdempotency):
    async def lose(self, claim: Claim, **when: Any) -> bool:
        return await super().lose(claim, **when) and bool(self._rows[claim.tenant, claim.key].claim)

    def _apply(self, claim: Claim, event: Event, now_ns: int) -> bool:
        row = self._rows.get((claim.tenant, claim.key))
        return not (row and row.state is State.UNKNOWN) and super()._apply(claim, event, now_ns)


class ClaimsThoughCancelled(MemoryIdempotency):
    async def claim(self, claim: Claim, **when: Any) -> Any:
        return await asyncio.shield(asyncio.ensure_future(super().claim(claim, **when)))


class ForgetsTheCancelled(MemoryIdempotency):
    async def finish(self, claim: Claim, answer: Answer, **when: Any) -> bool:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await super().finish(claim, answer, **when)


class WrongAnswer(MemoryIdempotency):
    async def get(self, tenant: str, key: str, **when: Any) -> Any:
        standing = await super().get(tenant, key, **when)
        if isinstance(standing, Done):
            return Done(run_id=standing.run_id, since_ns=standing.since_ns, answer=Answer(status=200))
        return standing


BROKEN = [
    AdmitsTwice,
    AnyoneSettles,
    ClaimsThoughCancelled,
    ExpiresEarly,
    ExpiresLate,
    ForgetsTheCancelled,
    JoinsParts,
    KeepsAnything,
    LosesForGood,
    LosesHeaders,
    NeverForgets,
    RunsExpire,
    SettlesTheExpired,
    SettlesTwice,
    SharesKeys,
    TakesAnyRequest,
    WrongAnswer,
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_store_is_found(broken: type[MemoryIdempotency]) -> None:
    with pytest.raises(AssertionError, match=r"^\w+: .+ should be"):
        run_idempotency_conformance(lambda: in_memory(broken))


def test_the_suite_lists_every_check() -> None:
    written = {
        value
        for name, value in vars(idempotency_conformance).items()
        if asyncio.iscoroutinefunction(value) and not name.startswith("_")
    }
    assert set(CHECKS) == written
