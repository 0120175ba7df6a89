"""Idempotency keys in memory: for the library where nobody asked for a file, and for simulation on virtual time.

They survive nothing but the event loop. Memory is bounded twice, and never by running something again: answers that have
to make room leave their keys behind, and when there are too many keys no more are taken.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.idempotency import (
    LARGEST_ANSWER,
    TABLE,
    Answer,
    Claim,
    Claimed,
    Conflict,
    Done,
    Event,
    Running,
    State,
    Unknown,
    Unreplayable,
    fingerprint,
    pack_headers,
)

if TYPE_CHECKING:
    from holdfast.ledger.base import Ledger
    from holdfast.ledger.entry import Intent
    from holdfast.ledger.idempotency import Standing, Verdict

__all__ = ["MemoryIdempotency"]

_SWEPT_PER_CLAIM: Final = 2
_SLACK: Final = 64


class _Row(Struct, gc=False):
    claim: Claim
    since_ns: int
    state: State = State.RUNNING
    expires_ns: int | None = None
    answer: Answer | None = None


class MemoryIdempotency:
    """Keeps up to ``max_keys`` keys, and up to ``max_bytes`` of answers: the oldest answers make room, and their keys
    become ``not_replayable``.

    Args:
        ledger: takes the intents of claims that bring one.
        max_keys: beyond it, claims are refused until keys expire.
        max_bytes: bodies and headers in all.
        latency_s: how long each operation takes, on the running loop's time; even 0 lets others run first.
    """

    def __init__(
        self,
        *,
        ledger: Ledger | None = None,
        max_keys: int = 100_000,
        max_bytes: int = 64 * 2**20,
        latency_s: float = 0.0,
    ) -> None:
        self._ledger = ledger
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._latency_s = latency_s
        self._secret = secrets.token_bytes(32)
        self._rows: dict[tuple[str, str], _Row] = {}
        self._expiries: list[tuple[int, str, str, str]] = []
        """A heap of (expires_ns, tenant, key, run_id). Entries may be stale: their row has gone or changed since."""
        self._answers: OrderedDict[tuple[str, str], int] = OrderedDict()
        """Sizes of the answers kept, the oldest first."""
        self._bytes = 0
        self._refusal: str | None = None
        self._owed: list[tuple[Claim, Event, int]] = []

    def fingerprint(self, *parts: bytes) -> bytes:
        return fingerprint(self._secret, parts)

    async def claim(self, claim: Claim, *, now_ns: int, intent: Intent | None = None) -> Verdict:
        if intent is not None and self._ledger is None:
            raise TypeError("a claim with an intent needs a ledger: MemoryIdempotency(ledger=…)")
        await asyncio.sleep(self._latency_s)
        if self._refusal is not None:
            raise LedgerUnavailable(self._refusal)
        self._sweep(now_ns, most=_SWEPT_PER_CLAIM)
        place = (claim.tenant, claim.key)
        row = self._standing(place, now_ns)
        if row is not None:
            conflict = row.claim.fingerprint != claim.fingerprint
            return Conflict(run_id=row.claim.run_id, since_ns=row.since_ns) if conflict else _told(row)
        if len(self._rows) >= self._max_keys:
            self._sweep(now_ns, most=len(self._expiries))
            if len(self._rows) >= self._max_keys:
                raise LedgerUnavailable(
                    f"{self._max_keys} idempotency keys are kept in memory, and none has expired: use a shorter ttl, "
                    "more max_keys, or a file"
                )
        self._rows[place] = _Row(claim, now_ns)
        if intent is not None and self._ledger is not None:
            try:
                await self._ledger.begin(intent)
            except BaseException:  # cancelled too: all or nothing
                self._apply(claim, Event.FORGET, now_ns)
                raise
        return Claimed()

    async def finish(self, claim: Claim, answer: Answer, *, now_ns: int) -> bool:
        size = len(answer.body) + len(pack_headers(answer.headers))
        event = Event.FINISH if size <= min(LARGEST_ANSWER, self._max_bytes) else Event.SEAL
        settled = self._say(claim, event, now_ns, if_refused=Event.SEAL)
        if settled and event is Event.FINISH:
            self._keep((claim.tenant, claim.key), answer, size)
        await asyncio.sleep(self._latency_s)
        return settled

    async def seal(self, claim: Claim, *, now_ns: int) -> bool:
        return await self._settle(claim, Event.SEAL, now_ns)

    async def forget(self, claim: Claim, *, now_ns: int) -> bool:
        return await self._settle(claim, Event.FORGET, now_ns)

    async def lose(self, claim: Claim, *, now_ns: int) -> bool:
        return await self._settle(claim, Event.LOSE, now_ns)

    async def get(self, tenant: str, key: str, *, now_ns: int) -> Standing | None:
        await asyncio.sleep(self._latency_s)
        row = self._standing((tenant, key), now_ns)
        return None if row is None else _told(row)

    def refuse(self, reason: str | None) -> None:
        """From now on nothing is written, as on a full disk: claims and answers are refused with this reason. ``None``
        heals: what was owed meanwhile is written."""
        self._refusal = reason
        if reason is None:
            for claim, event, now_ns in self._owed:
                self._apply(claim, event, now_ns)
            self._owed.clear()

    def give_up(self, *, now_ns: int) -> int:
        """What recovery does after a crash: every run that isn't over becomes ``unknown``. How many those were."""
        runs = [row.claim for row in self._rows.values() if row.state is State.RUNNING]
        self._owed.clear()
        return sum(self._apply(claim, Event.LOSE, now_ns) for claim in runs)

    # The table, applied

    def _standing(self, place: tuple[str, str], now_ns: int) -> _Row | None:
        row = self._rows.get(place)
        if row is not None and row.expires_ns is not None and row.expires_ns <= now_ns:
            self._drop(place)
            return None
        return row

    async def _settle(self, claim: Claim, event: Event, now_ns: int) -> bool:
        settled = self._say(claim, event, now_ns, if_refused=event)
        await asyncio.sleep(self._latency_s)  # after it: what a cancelled caller said counts too
        return settled

    def _say(self, claim: Claim, event: Event, now_ns: int, *, if_refused: Event) -> bool:
        if self._refusal is not None:
            self._owed.append((claim, if_refused, now_ns))
            raise LedgerUnavailable(self._refusal)
        return self._apply(claim, event, now_ns)

    def _apply(self, claim: Claim, event: Event, now_ns: int) -> bool:
        place = (claim.tenant, claim.key)
        row = self._standing(place, now_ns)
        if row is None or row.claim.run_id != claim.run_id:
            return False
        state = TABLE[row.state].get(event)
        if state is None:
            return False
        if state is State.FREE:
            self._drop(place)
            return True
        row.state = state
        row.expires_ns = now_ns + claim.ttl_ns
        if len(self._expiries) > 2 * len(self._rows) + _SLACK:
            self._forget_stale()
        heapq.heappush(self._expiries, (row.expires_ns, *place, claim.run_id))
        return True

    # What bounds it

    def _keep(self, place: tuple[str, str], answer: Answer, size: int) -> None:
        self._rows[place].answer = answer
        self._answers[place] = size
        self._bytes += size
        while self._bytes > self._max_bytes:
            oldest, freed = self._answers.popitem(last=False)
            self._bytes -= freed
            row = self._rows[oldest]
            row.state = TABLE[row.state][Event.MAKE_ROOM]
            row.answer = None

    def _drop(self, place: tuple[str, str]) -> None:
        del self._rows[place]
        self._bytes -= self._answers.pop(place, 0)

    def _sweep(self, now_ns: int, *, most: int) -> None:
        """More a claim than it adds: so nothing is kept for long after its time."""
        for _ in range(most):
            if not self._expiries or self._expiries[0][0] > now_ns:
                return
            expires_ns, tenant, key, run_id = heapq.heappop(self._expiries)
            row = self._rows.get((tenant, key))
            if row is not None and row.claim.run_id == run_id and row.expires_ns == expires_ns:
                self._drop((tenant, key))

    def _forget_stale(self) -> None:
        self._expiries = [
            (row.expires_ns, *place, row.claim.run_id)
            for place, row in self._rows.items()
            if row.expires_ns is not None
        ]
        heapq.heapify(self._expiries)


def _told(row: _Row) -> Standing:
    run_id, since_ns = row.claim.run_id, row.since_ns
    if row.state is State.RUNNING:
        return Running(run_id=run_id, since_ns=since_ns)
    if row.state is State.UNKNOWN:
        return Unknown(run_id=run_id, since_ns=since_ns)
    if row.answer is None:
        why = "its answer was too large to keep, couldn't be written, or had to make room"
        return Unreplayable(run_id=run_id, since_ns=since_ns, why=why)
    return Done(run_id=run_id, since_ns=since_ns, answer=row.answer)
