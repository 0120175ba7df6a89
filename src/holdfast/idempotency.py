"""One effect for one key: an operation that is asked for again is answered, not run again.

::

    receipt = await idempotent_operation(charge, "order-7")     # runs it
    receipt = await idempotent_operation(charge, "order-7")     # the same receipt, and nothing is charged

Where keys are kept decides what they survive: :class:`MemoryIdempotency` (the default, one for the process) ends with the
process, :class:`SqliteIdempotency` survives kill -9.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.clock import SystemClock, new_id, system_rng
from holdfast.errors import InvalidIdempotencyKeyError, LedgerUnavailable, OutcomeUnknownForKey
from holdfast.ledger.idempotency import Answer, Claim, Claimed, Done, IdempotencyStore, check_key, refusal
from holdfast.ledger.memory_idempotency import MemoryIdempotency
from holdfast.ledger.sqlite_idempotency import SqliteIdempotency

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.clock import Clock

__all__ = [
    "IdempotencyStore",
    "InvalidIdempotencyKeyError",
    "MemoryIdempotency",
    "SqliteIdempotency",
    "check_key",
    "idempotent_operation",
]

_STATUS: Final = 200
_json: Final = msgspec.json.Encoder()
_sorted_json: Final = msgspec.json.Encoder(order="deterministic")
_rng: Final = system_rng()
_clock: Final = SystemClock()
_default: Final = MemoryIdempotency()

# A run belongs to its event loop, and is gone from here when it is over. Runs of other loops are met in the store.
_Place = tuple[asyncio.AbstractEventLoop, IdempotencyStore, str, str, bytes]
_running: Final[dict[_Place, asyncio.Task[bytes]]] = {}


async def idempotent_operation(
    operation: Callable[[], Awaitable[Any]],
    idempotency_key: str,
    ttl: float = 3600,
    *,
    store: IdempotencyStore | None = None,
    payload: Any = None,
    owner: str = "",
    clock: Clock | None = None,
) -> Any:
    """The result of ``operation``, which is run once for the key, however often and by however many this is called.

    Callers that come while it runs wait for the same run. A caller that is cancelled leaves alone; the run goes on, for the
    others and for who asks later. An operation that raises is not remembered: its error goes to all who wait, and the key
    may run again.

    Args:
        operation: called without arguments, at most once. Its result must be what JSON can say, and everybody gets a copy of
            their own as JSON gives it back, the first caller too: a tuple comes as a list.
        idempotency_key: 1 to 255 characters of visible ASCII.
        ttl: seconds for which the result is kept from when it is there; above 0, at most a year.
        store: where keys are kept; None: in this process' memory.
        payload: what the operation is asked to do, as bytes or as what JSON can say: the same key with another one is a
            conflict. Only an HMAC of it is kept.
        owner: whose key it is: those of different owners never meet.
        clock: for ``ttl``.

    Raises:
        InvalidIdempotencyKeyError: the key isn't one.
        IdempotencyConflict: the key was used with another payload.
        IdempotencyRunning: it runs elsewhere (another event loop or process); ``retry_after_s`` says when to ask again.
        OutcomeUnknownForKey: its run was cut short by a crash, so nobody can know what it did.
        NotReplayable: it ran, but its result is larger than 4 MiB, wasn't JSON, or couldn't be written.
        LedgerUnavailable: the store can't be written: nothing was run.
        TypeError: ``operation`` ran, but JSON can't say its result; or it can't say ``payload``, and nothing was run.
        ValueError: ``ttl`` is out of its range.
    """
    store = _default if store is None else store
    clock = _clock if clock is None else clock
    claim = Claim(
        tenant=owner,
        key=check_key(idempotency_key),
        fingerprint=_fingerprint(store, payload),
        run_id=new_id(clock, _rng),
        ttl_s=ttl,
    )
    place = (asyncio.get_running_loop(), store, owner, claim.key, claim.fingerprint)
    task = _running.get(place)
    if task is None:
        task = asyncio.ensure_future(_run(operation, claim, store, clock, place))
        task.add_done_callback(partial(_over, place))
        _running[place] = task
    elif task is asyncio.current_task():
        raise RuntimeError(
            f"idempotency key {claim.key}: its operation asks for itself, and would wait for ever"
        )
    await asyncio.wait((task,))  # which a cancelled caller leaves without cancelling the task
    if task.cancelled():
        raise OutcomeUnknownForKey(f"idempotency key {claim.key}: its run was cancelled")
    return msgspec.json.decode(task.result())


async def _run(
    operation: Callable[[], Awaitable[Any]],
    claim: Claim,
    store: IdempotencyStore,
    clock: Clock,
    place: _Place,
) -> bytes:
    try:
        verdict = await store.claim(claim, now_ns=clock.wall_ns())
        if isinstance(verdict, Done):
            return verdict.answer.body
        if not isinstance(verdict, Claimed):
            raise refusal(verdict, claim.key)
        return await _run_claimed(operation, claim, store, clock)
    finally:
        # Here, not in a callback of the task: who comes after the end must not meet it.
        _running.pop(place, None)


async def _run_claimed(
    operation: Callable[[], Awaitable[Any]], claim: Claim, store: IdempotencyStore, clock: Clock
) -> bytes:
    # What can't be written the store owes, and the callers get what came of the run all the same.
    try:
        result = await operation()
    except Exception:
        with contextlib.suppress(LedgerUnavailable):
            await store.forget(claim, now_ns=clock.wall_ns())
        raise
    except BaseException:  # cancelled, with its event loop: to this run, a crash
        with contextlib.suppress(LedgerUnavailable):
            await store.lose(claim, now_ns=clock.wall_ns())
        raise
    try:
        body = _json.encode(result)
    except Exception as error:
        with contextlib.suppress(LedgerUnavailable):
            await store.seal(claim, now_ns=clock.wall_ns())
        raise TypeError(
            f"idempotency key {claim.key}: its operation ran, but JSON can't say the result, so it can't be replayed: "
            f"{error}"
        ) from error
    with contextlib.suppress(LedgerUnavailable):
        await store.finish(claim, Answer(status=_STATUS, body=body), now_ns=clock.wall_ns())
    return body


def _fingerprint(store: IdempotencyStore, payload: Any) -> bytes:
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return store.fingerprint(b"operation", b"bytes", bytes(payload))
    return store.fingerprint(b"operation", b"json", _sorted_json.encode(payload))


def _over(place: _Place, task: asyncio.Task[bytes]) -> None:
    if _running.get(place) is task:  # it was cancelled before its first step
        del _running[place]
    if not task.cancelled():
        task.exception()  # where every caller has left, nobody takes the error: that is no defect to be logged
