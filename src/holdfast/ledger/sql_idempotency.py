"""Idempotency keys in the ledger's database: they survive kill -9, as the ledger does.

Every operation is a statement in the group that the ledger's writer commits next, so keys cost no disk flush of their own,
and a claim and its intent are one write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import DecodeError

from holdfast.ledger import idempotency_sql as sql
from holdfast.ledger.idempotency import (
    LARGEST_ANSWER,
    Answer,
    Claimed,
    Done,
    Unreplayable,
    digest_of,
    fingerprint,
    pack_headers,
    unpack_headers,
)
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from holdfast.ledger.base import SqlLedger
    from holdfast.ledger.entry import Intent
    from holdfast.ledger.idempotency import Claim, Standing, Verdict

__all__ = ["SqlIdempotency"]

_SWEPT_PER_CLAIM: Final = 2
"""More than a claim adds: so the table never outgrows what was kept at one time. Where several processes write, renewals do
that alone: whoever claims one key and takes others away would lock keys in no order."""
_HASHED_ON_THE_LOOP: Final = 128 * 2**10
"""Bytes that take about 0.3 ms. More are hashed in a thread."""


class SqlIdempotency:
    """Keys in the database that ``ledger`` writes, which must outlive this."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self._secret = ledger.idempotency_secret

    def fingerprint(self, *parts: bytes) -> bytes:
        return fingerprint(self._secret, parts)

    async def claim(self, claim: Claim, *, now_ns: int, intent: Intent | None = None) -> Verdict:
        def run(connection: Any) -> Any:
            if not self._ledger.shared:
                sql.sweep(connection, now_ns, _SWEPT_PER_CLAIM)
            return sql.claim(connection, claim, owner, now_ns)

        owner = self._ledger.owner
        forget = self._forgetting(claim, now_ns)
        try:
            verdict = await self._ledger.ask(
                Statement(
                    run=run,
                    intent=intent,
                    begins=_is_claimed,
                    undo=forget,
                    locks=_locks(claim.tenant, claim.key),
                    owner=owner,
                )
            )
        except asyncio.CancelledError:
            # It may be claimed, or about to be; this is queued behind it. Another's claim isn't touched by it.
            self._ledger.post(forget)
            raise
        return (
            await self._checked(claim.tenant, claim.key, verdict)
            if isinstance(verdict, sql.Kept)
            else verdict
        )

    async def finish(self, claim: Claim, answer: Answer, *, now_ns: int) -> bool:
        headers = pack_headers(answer.headers)
        size = len(headers) + len(answer.body)
        if size > LARGEST_ANSWER:
            return await self.seal(claim, now_ns=now_ns)
        digest = await _hashed(claim.tenant, claim.key, claim.fingerprint, answer)
        kept = (answer.status, headers, digest, answer.body)
        return await self._settle(
            Statement(
                run=lambda connection: sql.keep(connection, claim, kept, now_ns),
                size=max(size, 1),
                instead=self._sealing(claim, now_ns),
                locks=_locks(claim.tenant, claim.key),
            )
        )

    async def seal(self, claim: Claim, *, now_ns: int) -> bool:
        return await self._settle(_kept_until_written(self._sealing(claim, now_ns)))

    async def forget(self, claim: Claim, *, now_ns: int) -> bool:
        return await self._settle(_kept_until_written(self._forgetting(claim, now_ns)))

    async def lose(self, claim: Claim, *, now_ns: int) -> bool:
        losing = Statement(
            run=lambda connection: sql.lose(connection, claim, now_ns), locks=_locks(claim.tenant, claim.key)
        )
        return await self._settle(_kept_until_written(losing))

    async def get(self, tenant: str, key: str, *, now_ns: int) -> Standing | None:
        looking = Statement(
            run=lambda connection: sql.look(connection, tenant, key, now_ns), locks=_locks(tenant, key)
        )
        standing = await self._ledger.ask(looking)
        return await self._checked(tenant, key, standing) if isinstance(standing, sql.Kept) else standing

    async def _settle(self, statement: Statement) -> bool:
        settled: bool = await self._ledger.tell(statement)
        return settled

    def _forgetting(self, claim: Claim, now_ns: int) -> Statement:
        return Statement(
            run=lambda connection: sql.forget(connection, claim, now_ns),
            locks=_locks(claim.tenant, claim.key),
        )

    def _sealing(self, claim: Claim, now_ns: int) -> Statement:
        return Statement(
            run=lambda connection: sql.over(connection, claim, now_ns), locks=_locks(claim.tenant, claim.key)
        )

    async def _checked(self, tenant: str, key: str, kept: sql.Kept) -> Done | Unreplayable:
        try:
            answer = Answer(status=kept.status, headers=unpack_headers(kept.headers), body=kept.body)
            if await _hashed(tenant, key, kept.fingerprint, answer) == kept.digest:
                return Done(run_id=kept.run_id, since_ns=kept.since_ns, answer=answer)
        except (DecodeError, TypeError):  # a damaged file may hold any type anywhere
            pass
        why = "what is stored of its answer is damaged"
        return Unreplayable(run_id=kept.run_id, since_ns=kept.since_ns, why=why)


def _is_claimed(verdict: Any) -> bool:
    return isinstance(verdict, Claimed)


def _locks(tenant: str, key: str) -> str:
    return f"idempotency {tenant} {key}"


def _kept_until_written(statement: Statement) -> Statement:
    return Statement(run=statement.run, instead=statement, locks=statement.locks)


async def _hashed(tenant: str, key: str, request: bytes, answer: Answer) -> bytes:
    if len(answer.body) <= _HASHED_ON_THE_LOOP:
        return digest_of(tenant, key, request, answer)
    return await asyncio.to_thread(digest_of, tenant, key, request, answer)
