"""What every store of keys must do, as one call: ``run_keys_conformance(factory)`` proves a new one.

Raises ``AssertionError`` with the name of the check and what was seen. What needs a crash, a full disk or damage isn't here:
it can't be asked of a store from outside.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.ledger.keys import MOST_TEXTS, KeyBudget, KeyLimits, KeyRate, KeyText, StoredKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from holdfast.ledger.keys import KeyStore

__all__ = ["CHECKS", "run_keys_conformance"]

_WHEN: Final = 1_790_000_000_000_000_000
_FULL: Final = KeyLimits(
    team="search",
    tags={"env": "prod", "ä": "ö"},
    routes=("chat", "Fast"),
    models=("gpt-*",),
    rate=KeyRate(requests=60, tokens=100_000, window_s=0.25, max_queue=3, max_wait_s=1.5),
    budgets=(
        KeyBudget(window="day", limit_nano=5_000_000_001),
        KeyBudget(window="forever", limit_tokens=10**15),
    ),
    expires_ns=_WHEN + 5,
)
_RIVALS: Final = 20


def run_keys_conformance(factory: Callable[[], AbstractAsyncContextManager[KeyStore]]) -> None:
    """Run every check, each on a store of its own.

    Args:
        factory: an empty store, as an asynchronous context manager.

    Raises:
        AssertionError: a check failed; the first one that did.
    """
    for check in CHECKS:
        asyncio.run(_run(check, factory))


async def _run(
    check: Callable[[KeyStore], Awaitable[None]],
    factory: Callable[[], AbstractAsyncContextManager[KeyStore]],
) -> None:
    async with factory() as store:
        try:
            await check(store)
        except AssertionError as failure:
            raise AssertionError(f"{check.__name__}: {failure}") from failure


async def what_was_made_is_read_back_whole(store: KeyStore) -> None:
    keys = [
        _key("Plain"),
        _key("full", limits=_FULL, created_ns=_WHEN + 1),
        _key("ops", kind="admin", created_ns=_WHEN + 2),
        _key("nothing", limits=KeyLimits(routes=(), models=()), created_ns=_WHEN + 3),
    ]
    for key in keys:
        _same(f"create {key.name}", await store.create(key), wanted=True)
    _same("all", await store.all(), keys)


async def a_name_is_given_once(store: KeyStore) -> None:
    first = _key("alice")
    await store.create(first)
    for name in ("alice", "ALICE", "Alice"):
        _same(name, await store.create(_key(name, id="another", text=2)), wanted=False)
    await store.revoke("alice", now_ns=_WHEN + 1)
    _same("after its end", await store.create(_key("alice", id="another", text=2)), wanted=False)
    _same("keys", await store.all(), [replace(first, revoked_ns=_WHEN + 1)])


async def one_of_many_rivals_gets_the_name(store: KeyStore) -> None:
    rivals = [_key("alice", id=f"id-{number}", text=number) for number in range(_RIVALS)]
    made = await asyncio.gather(*map(store.create, rivals))
    _same("made", sum(made), 1)
    _same("kept", await store.all(), [rivals[made.index(True)]])


async def limits_are_replaced_whole(store: KeyStore) -> None:
    key = _key("alice", limits=_FULL)
    await store.create(key)
    await store.create(_key("bob", text=2, created_ns=_WHEN + 1))
    fewer = KeyLimits(models=("o3",))
    changed = replace(key, limits=fewer)
    _same("change", await store.change("ALICE", fewer, instead_of=_FULL), changed)
    _same("all", await store.all(), [changed, _key("bob", text=2, created_ns=_WHEN + 1)])
    _same("nobody", await store.change("carol", fewer, instead_of=_FULL), None)
    other = KeyLimits(team="south")
    _same("too late", await store.change("alice", other, instead_of=_FULL), changed)
    _same("again", await store.change("alice", other, instead_of=fewer), replace(key, limits=other))


async def of_changes_at_once_one_is_made(store: KeyStore) -> None:
    await store.create(_key("alice"))
    rivals = [KeyLimits(team=f"team-{number}") for number in range(_RIVALS)]
    told = await asyncio.gather(*(store.change("alice", each, instead_of=KeyLimits()) for each in rivals))
    (kept,) = await store.all()
    _same("made", kept.limits in rivals, wanted=True)
    _same("told", [each is not None and each.limits for each in told], [kept.limits] * _RIVALS)


async def a_new_text_ends_the_older_ones(store: KeyStore) -> None:
    key = _key("alice")
    await store.create(key)
    second = await store.rotate("Alice", _text(2, _WHEN + 10), until_ns=_WHEN + 100)
    wanted: tuple[KeyText, ...] = (_text(2, _WHEN + 10), replace(key.texts[0], until_ns=_WHEN + 100))
    _same("rotated", second, replace(key, texts=wanted))
    third = await store.rotate("alice", _text(3, _WHEN + 20), until_ns=_WHEN + 50)
    wanted = (
        _text(3, _WHEN + 20),
        replace(wanted[0], until_ns=_WHEN + 50),
        replace(
            wanted[1], until_ns=_WHEN + 50
        ),  # what a leak makes necessary: the first one's time is cut short
    )
    _same("again", third, replace(key, texts=wanted))
    await store.rotate("alice", _text(4, _WHEN + 30), until_ns=_WHEN + 500)
    wanted = (_text(4, _WHEN + 30), replace(wanted[0], until_ns=_WHEN + 500), *wanted[1:])
    _same("no time is made longer", await store.all(), [replace(key, texts=wanted)])
    _same("nobody", await store.rotate("bob", _text(9, _WHEN), until_ns=_WHEN), None)


async def so_many_texts_are_kept_and_no_more(store: KeyStore) -> None:
    await store.create(_key("alice"))
    for number in range(2, MOST_TEXTS + 4):
        await store.rotate("alice", _text(number, _WHEN + number), until_ns=_WHEN + 1_000)
    (kept,) = await store.all()
    newest = range(MOST_TEXTS + 3, 3, -1)
    _same("texts", [text.sha256 for text in kept.texts], [_text(n, 0).sha256 for n in newest])


async def what_is_revoked_stays_so(store: KeyStore) -> None:
    key = _key("alice")
    await store.create(key)
    revoked = replace(key, revoked_ns=_WHEN + 1)
    _same("revoke", await store.revoke("ALICE", now_ns=_WHEN + 1), revoked)
    _same("again", await store.revoke("alice", now_ns=_WHEN + 9), revoked)
    _same("change", await store.change("alice", _FULL, instead_of=key.limits), None)
    _same("rotate", await store.rotate("alice", _text(2, _WHEN), until_ns=_WHEN), None)
    _same("all", await store.all(), [revoked])
    _same("nobody", await store.revoke("bob", now_ns=_WHEN), None)


async def uses_are_written_to_the_text_that_was_used(store: KeyStore) -> None:
    key = _key("alice")
    await store.create(key)
    await store.rotate("alice", _text(2, _WHEN + 1), until_ns=_WHEN + 99)
    old, new = key.texts[0].sha256, _text(2, 0).sha256
    for sha256, when in ((old, 70), (old, 50), (new, 60), (b"unknown" * 4, 80)):
        store.touch(sha256, _WHEN + when)
        store.flush()
    (kept,) = await store.all()
    _same("texts", [text.last_used_ns for text in kept.texts], [_WHEN + 60, _WHEN + 70])
    _same("key", kept.last_used_ns, _WHEN + 70)


async def a_cancelled_call_leaves_nothing(store: KeyStore) -> None:
    """At whatever point it is cancelled: its caller never hears what came of it."""
    alice = _key("alice")
    await store.create(alice)
    calls = (
        lambda: store.create(_key("bob", text=2)),
        lambda: store.change("alice", _FULL, instead_of=alice.limits),
        lambda: store.rotate("alice", _text(3, _WHEN + 1), until_ns=_WHEN),
    )
    for turns in range(5):
        for call in calls:
            task: asyncio.Future[object] = asyncio.ensure_future(call())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                return  # it was over before, and is told so
            _same(f"after {turns} turns", await store.all(), [alice])


CHECKS: Final = (
    what_was_made_is_read_back_whole,
    a_name_is_given_once,
    one_of_many_rivals_gets_the_name,
    limits_are_replaced_whole,
    of_changes_at_once_one_is_made,
    a_new_text_ends_the_older_ones,
    so_many_texts_are_kept_and_no_more,
    what_is_revoked_stays_so,
    uses_are_written_to_the_text_that_was_used,
    a_cancelled_call_leaves_nothing,
)
"""What :func:`run_keys_conformance` runs, for who wants a test of each."""


def _key(
    name: str,
    *,
    id: str | None = None,  # noqa: A002  # the field's name
    text: int | None = None,
    created_ns: int = _WHEN,
    **fields: Any,
) -> StoredKey:
    first = _text(0 if text is None else text, created_ns)
    if text is None:
        first = replace(first, sha256=name.encode().ljust(32, b"."))
    return StoredKey(id=id or f"id-of-{name}", name=name, created_ns=created_ns, texts=(first,), **fields)


def _text(number: int, created_ns: int) -> KeyText:
    return KeyText(sha256=bytes([number]) * 32, prefix=f"hf_{number}", created_ns=created_ns)


def _same(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise AssertionError(f"{what} is {seen!r:.500}, should be {wanted!r:.500}")
