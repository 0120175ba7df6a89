"""What every ledger must do, as one call: ``run_store_conformance(factory)`` proves a new one.

Raises ``AssertionError`` with the name of the check and what was seen. What needs a crash or a full disk
isn't here: it can't be asked of a store from outside.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.entry import AccountPart, AttemptRow, Charge, Counts, End, Intent
from holdfast.model import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.ledger.base import LedgerStore
    from holdfast.ledger.entry import FinalState

__all__ = ["CHECKS", "run_store_conformance"]

_WHEN: Final = 1_790_000_000_000_000_000
_CALLERS: Final = 100
_NEVER: Final = 2**62


def run_store_conformance(factory: Callable[[], Awaitable[LedgerStore]]) -> None:
    """Run every check, each on a ledger of its own.

    Args:
        factory: opens an empty ledger; awaited on the event loop that uses it. The check closes it.

    Raises:
        AssertionError: a check failed; the first one that did.
    """
    for check in CHECKS:
        asyncio.run(_run(check, factory))


async def _run(
    check: Callable[[LedgerStore], Awaitable[None]], factory: Callable[[], Awaitable[LedgerStore]]
) -> None:
    ledger = await factory()
    try:
        await check(ledger)
    except AssertionError as failure:
        raise AssertionError(f"{check.__name__}: {failure}") from failure
    finally:
        await ledger.aclose()


async def an_intent_can_be_read_when_begin_returns(ledger: LedgerStore) -> None:
    for intent in (_intent(1), _full_intent(2)):
        await ledger.begin(intent)
        record = await ledger.get(intent.id)
        _same("intent", record and record.intent, intent)
        _same("state", record and record.state, "in_flight")
        _same("end", record and record.end, None)
    _same("counts", await ledger.counts(), Counts(accepted=2, in_flight=2))


async def an_end_is_kept_whole(ledger: LedgerStore) -> None:
    for end in (_end(1), _full_end(2)):
        await ledger.begin(_full_intent(int(end.id)))
        ledger.end(end)
        await ledger.flush()
        record = await ledger.get(end.id)
        _same("end", record and record.end, end)
        _same("intent", record and record.intent, _full_intent(int(end.id)))
        _same("settled_by", record and record.settled_by, "end")
        _same("late", record and record.late, wanted=False)
    _same("counts", await ledger.counts(), Counts(accepted=2, ok=2))


async def every_state_is_counted_once(ledger: LedgerStore) -> None:
    states: tuple[FinalState, ...] = ("ok", "failed", "cancelled", "unknown")
    number = 0
    for times, state in enumerate(states, start=1):
        for _ in range(times):
            number += 1
            await ledger.begin(_intent(number))
            ledger.end(_end(number, state=state))
    await ledger.begin(_intent(number + 1))
    await ledger.flush()
    counts = await ledger.counts()
    _same("counts", counts, Counts(accepted=11, ok=1, failed=2, cancelled=3, unknown=4, in_flight=1))
    _same("balanced", counts.balanced, wanted=True)


async def only_the_first_end_counts(ledger: LedgerStore) -> None:
    await ledger.begin(_intent(1))
    ledger.end(_full_end(1))
    ledger.end(_end(1, state="failed"))
    await ledger.flush()
    ledger.end(_end(1, state="cancelled"))
    await ledger.flush()
    record = await ledger.get(_id(1))
    _same("end", record and record.end, _full_end(1))
    _same("late", record and record.late, wanted=False)
    _same("health.ignored", ledger.health().ignored, 2)
    _same("counts", await ledger.counts(), Counts(accepted=1, ok=1))


async def an_end_without_an_intent_is_ignored(ledger: LedgerStore) -> None:
    ledger.end(_full_end(1))
    await ledger.flush()
    _same("record", await ledger.get(_id(1)), None)
    _same("health.ignored", ledger.health().ignored, 1)
    _same("counts", await ledger.counts(), Counts())


async def an_id_is_begun_once(ledger: LedgerStore) -> None:
    await ledger.begin(_full_intent(1))
    outcomes = await asyncio.gather(
        *(ledger.begin(_intent(number)) for number in (1, 2, 1)), return_exceptions=True
    )
    kinds = [type(outcome).__name__ for outcome in outcomes]
    _same("outcomes", kinds, [LedgerUnavailable.__name__, "NoneType", LedgerUnavailable.__name__])
    record = await ledger.get(_id(1))
    _same("intent", record and record.intent, _full_intent(1))
    _same("counts", await ledger.counts(), Counts(accepted=2, in_flight=2))
    _same("health.refused", ledger.health().refused, 2)


async def a_cancelled_begin_can_be_ended(ledger: LedgerStore) -> None:
    """At whatever point it is cancelled, nothing stays open."""
    for number in range(1, 21):
        task = asyncio.ensure_future(ledger.begin(_intent(number)))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ledger.end(_end(number, state="cancelled"))
    await ledger.flush()
    counts = await ledger.counts()
    _same("counts", counts, Counts(accepted=counts.cancelled, cancelled=counts.cancelled))


async def callers_at_once_dont_meet(ledger: LedgerStore) -> None:
    async def call(number: int) -> None:
        await ledger.begin(_full_intent(number))
        await asyncio.sleep(0)
        ledger.end(_full_end(number))

    await asyncio.gather(*(call(number) for number in range(1, _CALLERS + 1)))
    await ledger.flush()
    _same("counts", await ledger.counts(), Counts(accepted=_CALLERS, ok=_CALLERS))
    for number in (1, _CALLERS // 2, _CALLERS):
        record = await ledger.get(_id(number))
        _same("end", record and record.end, _full_end(number))


async def what_ended_is_charged_once(ledger: LedgerStore) -> None:
    """To each account its sum over all requests, in each part of its window; a second end charges nothing."""
    for number in (1, 2, 3):
        await ledger.begin(_full_intent(number))
    first, later = Charge("day", 0, None, 2**52), Charge("day", 1, None, 5)
    ledger.end(replace(_full_end(1), charges=(first, Charge("all", 0, None, 7))))
    ledger.end(replace(_full_end(1), charges=(first,)))
    ledger.end(replace(_end(2), charges=(first, later)))
    ledger.end(replace(_end(9), charges=(first,)))  # nobody began it
    await ledger.flush()
    spent = sorted(await ledger.spending(), key=lambda each: (each.account, each.start_ns))
    _same("spending", spent, [Charge("all", 0, None, 7), replace(first, amount=2**53), later])
    await ledger.forget_spending("day")
    _same("spending", await ledger.spending(), [Charge("all", 0, None, 7)])


async def what_no_longer_counts_isnt_told(ledger: LedgerStore) -> None:
    await ledger.begin(_intent(1))
    over = Charge("hour", 5, 10, 3)
    ledger.end(replace(_end(1), charges=(over, Charge("hour", 6, _NEVER, 4))))
    await ledger.flush()
    _same("spending", await ledger.spending(), [Charge("hour", 6, _NEVER, 4)])


async def an_open_requests_bound_can_be_raised(ledger: LedgerStore) -> None:
    await ledger.begin(_full_intent(1))
    await ledger.raise_bound(_id(1), bound_nano=2**60, bound_tokens=None)
    record = await ledger.get(_id(1))
    _same("intent", record and record.intent, replace(_full_intent(1), bound_nano=2**60, bound_tokens=None))
    ledger.end(_end(1))
    await ledger.flush()
    for number in (1, 2):  # it is over; it never was
        try:
            await ledger.raise_bound(_id(number), bound_nano=1, bound_tokens=1)
        except LedgerUnavailable:
            continue
        raise AssertionError(f"the bound of request {number} was raised though it isn't open")


async def health_adds_up(ledger: LedgerStore) -> None:
    await ledger.begin(_intent(1))
    await ledger.begin(_intent(2))
    ledger.end(_end(1))
    await ledger.flush()
    health = ledger.health()
    seen = (health.ok, health.reason, health.queued, health.oldest_pending_s, health.intents, health.ends)
    _same("health", seen, (True, None, 0, 0.0, 2, 1))


async def a_closed_ledger_takes_nothing(ledger: LedgerStore) -> None:
    await ledger.begin(_intent(1))
    ledger.end(_end(1))
    await ledger.aclose()
    await ledger.aclose()
    try:
        await ledger.begin(_intent(2))
    except LedgerUnavailable:
        pass
    else:
        raise AssertionError("begin was accepted after aclose")
    ledger.end(_end(1))
    _same("health.ok", ledger.health().ok, wanted=False)
    _same("health.ends", ledger.health().ends, 1)


CHECKS: Final = (
    an_intent_can_be_read_when_begin_returns,
    an_end_is_kept_whole,
    every_state_is_counted_once,
    only_the_first_end_counts,
    an_end_without_an_intent_is_ignored,
    an_id_is_begun_once,
    a_cancelled_begin_can_be_ended,
    callers_at_once_dont_meet,
    what_ended_is_charged_once,
    what_no_longer_counts_isnt_told,
    an_open_requests_bound_can_be_raised,
    health_adds_up,
    a_closed_ledger_takes_nothing,
)
"""What :func:`run_store_conformance` runs, for who wants a test of each."""


def _same(what: str, seen: Any, wanted: Any) -> None:
    if seen != wanted:
        raise AssertionError(f"{what} is {seen!r}, should be {wanted!r}")


def _id(number: int) -> str:
    return str(number)


def _intent(number: int) -> Intent:
    return Intent(
        id=_id(number),
        started_ns=_WHEN + number,
        route="chat",
        model="m",
        dialect="openai_chat",
        stream=False,
        request_bytes=0,
    )


def _full_intent(number: int) -> Intent:
    return Intent(
        id=_id(number),
        started_ns=_WHEN + number,
        key="team ✓",
        session="s-1",
        tags={"app": "a", "Ключ": "знач 'x' \"y\""},
        route="chat",
        model="gpt-4o",
        dialect="openai_chat",
        stream=True,
        request_bytes=2**40,
        bound_nano=2**53 + 1,
        bound_tokens=2**41,
        accounts=(AccountPart("day:usd:day:", "usd", 5, 2**61), AccountPart("all", "tokens", 0, None)),
    )


def _end(number: int, state: FinalState = "ok") -> End:
    return End(id=_id(number), ended_ns=_WHEN + number + 1, state=state)


def _full_end(number: int) -> End:
    usage = Usage(
        input_tokens=11,
        cache_read_tokens=2,
        cache_write_tokens=3,
        cache_write_1h_tokens=1,
        input_audio_tokens=4,
        output_tokens=2**40,
        reasoning_tokens=6,
        output_audio_tokens=0,
        extra={"accepted_prediction_tokens": 8, "nested": {"tier": "flex"}},
    )
    failed = AttemptRow(
        number=1,
        provider="openai",
        model="gpt-4o",
        started_ns=_WHEN,
        outcome="rate_limited",
        status=429,
        error="slow down ☂\n",
        retry_after_s=2.5,
        first_byte_ms=1.25,
        total_ms=1.5,
        cost_nano=0,
        billed="none",
        upstream_id="req_1",
    )
    served = AttemptRow(
        number=2,
        provider="wall",
        deployment="eu-1",
        model="fb-ok",
        started_ns=_WHEN + 5,
        outcome="ok",
        status=200,
        first_byte_ms=3.0,
        first_token_ms=4.0,
        total_ms=9.75,
        finish_reason="stop",
        usage=usage,
        cost_nano=2**53 + 1,
        price_id="2026-11-20",
        billed="provider",
        paid_by="caller",
    )
    unpriced = AttemptRow(
        number=3,
        provider="x",
        model="y",
        started_ns=_WHEN,
        outcome="ok",
        total_ms=0.0,
        usage=Usage(),
        usage_flag="missing",
        billed="bound",
    )
    return End(
        id=_id(number),
        ended_ns=_WHEN + number + 1,
        state="ok",
        status=200,
        provider="wall",
        model="fb-ok",
        finish_reason="stop",
        error_label="truncated",
        error="…",
        first_token_ms=12.5,
        total_ms=99.125,
        cost_nano=2**53 + 1,
        usage=usage,
        attempts=(failed, served, unpriced),
        delivered_bytes=2**33,
        skipped=(("deepseek/chat", "response_format"), ("o/x", "tools[0].strict")),
    )
