"""What every idempotency store must do, as one call: ``run_idempotency_conformance(factory)`` proves a new one.

Raises ``AssertionError`` with the name of the check and what was seen. What needs a crash, a full disk or damage isn't here:
it can't be asked of a store from outside.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from holdfast.ledger.idempotency import (
    LARGEST_ANSWER,
    Answer,
    Claim,
    Claimed,
    Conflict,
    Done,
    Running,
    Unknown,
    Unreplayable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from holdfast.ledger.idempotency import IdempotencyStore

__all__ = ["CHECKS", "run_idempotency_conformance"]

_WHEN: Final = 1_790_000_000_000_000_000
_TTL_NS: Final = 60 * 10**9
_CALLERS: Final = 100
_ANSWER: Final = Answer(
    status=200,
    headers=((b"content-type", b"text/event-stream"), (b"x-b", b"2"), (b"X-B", b"\xff\x00")),
    body=b"data: {}\r\n\x00\xff\n",
)


def run_idempotency_conformance(
    factory: Callable[[], AbstractAsyncContextManager[IdempotencyStore]],
) -> None:
    """Run every check, each on a store of its own.

    Args:
        factory: an empty store, as an asynchronous context manager.

    Raises:
        AssertionError: a check failed; the first one that did.
    """
    for check in CHECKS:
        asyncio.run(_run(check, factory))


async def _run(
    check: Callable[[IdempotencyStore], Awaitable[None]],
    factory: Callable[[], AbstractAsyncContextManager[IdempotencyStore]],
) -> None:
    async with factory() as store:
        try:
            await check(store)
        except AssertionError as failure:
            raise AssertionError(f"{check.__name__}: {failure}") from failure


async def one_of_many_claims_is_made(store: IdempotencyStore) -> None:
    claims = [_claim(store, run_id=f"run-{number}") for number in range(_CALLERS)]
    verdicts = await asyncio.gather(*(store.claim(claim, now_ns=_WHEN) for claim in claims))
    winners = [claim.run_id for claim, verdict in zip(claims, verdicts, strict=True) if verdict == Claimed()]
    _same("claims made", len(winners), 1)
    others = [verdict for verdict in verdicts if verdict != Claimed()]
    _same("the others", others, [Running(run_id=winners[0], since_ns=_WHEN)] * (_CALLERS - 1))


async def an_answer_is_replayed_byte_for_byte(store: IdempotencyStore) -> None:
    for key, answer in (("full", _ANSWER), ("empty", Answer(status=204))):
        claim = await _claimed(store, key=key)
        _same("finish", await store.finish(claim, answer, now_ns=_WHEN + 5), wanted=True)
        done = Done(run_id=claim.run_id, since_ns=_WHEN, answer=answer)
        for _ in range(2):
            again = _claim(store, key=key, run_id="later")
            _same("verdict", await store.claim(again, now_ns=_WHEN + 9), done)
        _same("get", await store.get("t", key, now_ns=_WHEN + 9), done)


async def another_request_is_a_conflict_in_every_state(store: IdempotencyStore) -> None:
    for state in ("running", "done", "sealed", "lost"):
        claim = await _claimed(store, key=state)
        if state == "done":
            await store.finish(claim, _ANSWER, now_ns=_WHEN)
        elif state == "sealed":
            await store.seal(claim, now_ns=_WHEN)
        elif state == "lost":
            await store.lose(claim, now_ns=_WHEN)
        other = _claim(store, key=state, run_id="other", request=b"another")
        conflict = Conflict(run_id=claim.run_id, since_ns=_WHEN)
        _same(f"verdict while {state}", await store.claim(other, now_ns=_WHEN), conflict)


async def keys_belong_to_their_tenant(store: IdempotencyStore) -> None:
    for tenant in ("a", "b", "", "команда ✓"):
        claim = await _claimed(store, tenant=tenant)
        await store.finish(claim, Answer(status=200, body=tenant.encode()), now_ns=_WHEN)
    for tenant in ("a", "b", "", "команда ✓"):
        standing = await store.get(tenant, "k", now_ns=_WHEN)
        body = standing.answer.body if isinstance(standing, Done) else standing
        _same("answer", body, tenant.encode())


async def only_its_own_run_settles_a_key(store: IdempotencyStore) -> None:
    claim = await _claimed(store)
    stranger = _claim(store, run_id="stranger")
    _same("finish", await store.finish(stranger, _ANSWER, now_ns=_WHEN), wanted=False)
    _same("seal", await store.seal(stranger, now_ns=_WHEN), wanted=False)
    _same("forget", await store.forget(stranger, now_ns=_WHEN), wanted=False)
    _same("lose", await store.lose(stranger, now_ns=_WHEN), wanted=False)
    _same("standing", await store.get("t", "k", now_ns=_WHEN), Running(run_id=claim.run_id, since_ns=_WHEN))


async def the_first_end_counts(store: IdempotencyStore) -> None:
    claim = await _claimed(store)
    await store.finish(claim, _ANSWER, now_ns=_WHEN)
    _same("finish", await store.finish(claim, Answer(status=500), now_ns=_WHEN), wanted=False)
    _same("seal", await store.seal(claim, now_ns=_WHEN), wanted=False)
    _same("forget", await store.forget(claim, now_ns=_WHEN), wanted=False)
    _same("lose", await store.lose(claim, now_ns=_WHEN), wanted=False)
    done = Done(run_id=claim.run_id, since_ns=_WHEN, answer=_ANSWER)
    _same("standing", await store.get("t", "k", now_ns=_WHEN), done)


async def a_forgotten_key_runs_again(store: IdempotencyStore) -> None:
    first = await _claimed(store)
    _same("forget", await store.forget(first, now_ns=_WHEN), wanted=True)
    _same("standing", await store.get("t", "k", now_ns=_WHEN), None)
    second = await _claimed(store, run_id="second", request=b"another")
    _same("late finish", await store.finish(first, _ANSWER, now_ns=_WHEN), wanted=False)
    _same("standing", await store.get("t", "k", now_ns=_WHEN), Running(run_id=second.run_id, since_ns=_WHEN))


async def what_is_over_expires_to_the_nanosecond(store: IdempotencyStore) -> None:
    for key in ("done", "sealed", "lost"):
        claim = await _claimed(store, key=key)
        over_ns = _WHEN + 7
        if key == "done":
            await store.finish(claim, _ANSWER, now_ns=over_ns)
        elif key == "sealed":
            await store.seal(claim, now_ns=over_ns)
        else:
            await store.lose(claim, now_ns=over_ns)
        last = await store.get("t", key, now_ns=over_ns + _TTL_NS - 1)
        _same(f"{key}: is kept", last is not None, wanted=True)
        again = _claim(store, key=key, run_id="again", request=b"another")
        kept = await store.claim(again, now_ns=over_ns + _TTL_NS - 1)
        _same(f"{key}: verdict", kept, Conflict(run_id=claim.run_id, since_ns=_WHEN))
        _same(f"{key}: after", await store.get("t", key, now_ns=over_ns + _TTL_NS), None)
        _same(f"{key}: verdict", await store.claim(again, now_ns=over_ns + _TTL_NS), Claimed())
        late = await store.finish(claim, _ANSWER, now_ns=over_ns + _TTL_NS)
        _same(f"{key}: late finish", late, wanted=False)


async def what_has_expired_cant_be_settled(store: IdempotencyStore) -> None:
    """Whether or not it was cleared away by then."""
    claim = await _claimed(store)
    await store.lose(claim, now_ns=_WHEN)
    over_ns = _WHEN + _TTL_NS
    _same("finish", await store.finish(claim, _ANSWER, now_ns=over_ns), wanted=False)
    _same("seal", await store.seal(claim, now_ns=over_ns), wanted=False)
    _same("forget", await store.forget(claim, now_ns=over_ns), wanted=False)
    _same("standing", await store.get("t", "k", now_ns=over_ns), None)


async def what_runs_never_expires(store: IdempotencyStore) -> None:
    claim = await _claimed(store)
    later_ns = _WHEN + 1_000 * _TTL_NS
    for number in range(5):  # each claim clears a little away
        await store.claim(_claim(store, key=f"other-{number}"), now_ns=later_ns)
    running = Running(run_id=claim.run_id, since_ns=_WHEN)
    again = _claim(store, run_id="again")
    _same("verdict", await store.claim(again, now_ns=later_ns), running)
    _same("finish", await store.finish(claim, _ANSWER, now_ns=later_ns), wanted=True)
    replayed = await store.claim(again, now_ns=later_ns + _TTL_NS - 1)
    _same("verdict", replayed, Done(run_id=claim.run_id, since_ns=_WHEN, answer=_ANSWER))


async def too_large_an_answer_is_not_kept(store: IdempotencyStore) -> None:
    at_most = Answer(status=200, body=b"x" * (LARGEST_ANSWER - 64))
    fits = await _claimed(store, key="fits")
    _same("finish", await store.finish(fits, at_most, now_ns=_WHEN), wanted=True)
    standing = await store.get("t", "fits", now_ns=_WHEN)
    _same("is kept", isinstance(standing, Done) and standing.answer == at_most, wanted=True)

    large = await _claimed(store, key="large")
    body = b"x" * (LARGEST_ANSWER + 1)
    _same("finish", await store.finish(large, Answer(status=200, body=body), now_ns=_WHEN), wanted=True)
    verdict = await store.claim(_claim(store, key="large", run_id="later"), now_ns=_WHEN)
    _same("verdict", type(verdict), Unreplayable)


async def a_lost_run_is_unknown_until_it_says_how_it_ended(store: IdempotencyStore) -> None:
    kinds: dict[str, Any] = {}
    for key in ("kept", "finished", "sealed", "forgotten"):
        claim = await _claimed(store, key=key)
        _same("lose", await store.lose(claim, now_ns=_WHEN), wanted=True)
        verdict = await store.claim(_claim(store, key=key, run_id="later"), now_ns=_WHEN)
        _same("verdict", verdict, Unknown(run_id=claim.run_id, since_ns=_WHEN))
        if key == "finished":
            _same("finish", await store.finish(claim, _ANSWER, now_ns=_WHEN), wanted=True)
        elif key == "sealed":
            _same("seal", await store.seal(claim, now_ns=_WHEN), wanted=True)
        elif key == "forgotten":
            _same("forget", await store.forget(claim, now_ns=_WHEN), wanted=True)
        else:
            _same("lose", await store.lose(claim, now_ns=_WHEN), wanted=False)
        kinds[key] = type(await store.get("t", key, now_ns=_WHEN))
    wanted = {"kept": Unknown, "finished": Done, "sealed": Unreplayable, "forgotten": type(None)}
    _same("standing", kinds, wanted)


async def a_cancelled_claim_claims_nothing(store: IdempotencyStore) -> None:
    """At whatever point it is cancelled: who comes after it isn't kept waiting."""
    for number in range(1, 21):
        key = f"k{number}"
        task = asyncio.ensure_future(store.claim(_claim(store, key=key, run_id="left"), now_ns=_WHEN))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        (verdict,) = await asyncio.gather(task, return_exceptions=True)
        if verdict == Claimed():
            continue  # it was over before
        _same("verdict", await store.claim(_claim(store, key=key, run_id="next"), now_ns=_WHEN), Claimed())


async def a_cancelled_end_counts(store: IdempotencyStore) -> None:
    for number in range(1, 11):
        claim = await _claimed(store, key=f"k{number}")
        task = asyncio.ensure_future(store.finish(claim, _ANSWER, now_ns=_WHEN))
        for _ in range(1 + number % 4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        done = Done(run_id=claim.run_id, since_ns=_WHEN, answer=_ANSWER)
        _same("standing", await store.get("t", claim.key, now_ns=_WHEN), done)


async def a_fingerprint_tells_requests_apart(store: IdempotencyStore) -> None:
    parts: tuple[tuple[bytes, ...], ...] = (
        (b"POST", b"/v1/chat", b"{}"),
        (b"POST", b"/v1/chat{}"),
        (b"POST/v1/chat", b"{}"),
        (b"POST", b"/v1/chat", b"{}", b""),
        (),
        (b"",),
    )
    prints = {store.fingerprint(*each) for each in parts}
    _same("fingerprints", len(prints), len(parts))
    _same("again", store.fingerprint(*parts[0]) in prints, wanted=True)
    _same("sizes", {len(each) for each in prints}, {32})


CHECKS: Final = (
    one_of_many_claims_is_made,
    an_answer_is_replayed_byte_for_byte,
    another_request_is_a_conflict_in_every_state,
    keys_belong_to_their_tenant,
    only_its_own_run_settles_a_key,
    the_first_end_counts,
    a_forgotten_key_runs_again,
    what_is_over_expires_to_the_nanosecond,
    what_has_expired_cant_be_settled,
    what_runs_never_expires,
    too_large_an_answer_is_not_kept,
    a_lost_run_is_unknown_until_it_says_how_it_ended,
    a_cancelled_claim_claims_nothing,
    a_cancelled_end_counts,
    a_fingerprint_tells_requests_apart,
)
"""What :func:`run_idempotency_conformance` runs, for who wants a test of each."""


def _same(what: str, seen: Any, wanted: Any) -> None:
    if seen != wanted:
        raise AssertionError(f"{what} is {seen!r:.500}, should be {wanted!r:.500}")


def _claim(
    store: IdempotencyStore,
    *,
    tenant: str = "t",
    key: str = "k",
    run_id: str = "first",
    request: bytes = b"request",
) -> Claim:
    return Claim(
        tenant=tenant, key=key, run_id=run_id, fingerprint=store.fingerprint(request), ttl_s=_TTL_NS / 1e9
    )


async def _claimed(store: IdempotencyStore, **fields: Any) -> Claim:
    claim = _claim(store, **fields)
    _same("claim", await store.claim(claim, now_ns=_WHEN), Claimed())
    return claim
