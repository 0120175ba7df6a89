"""What every store of sealed keys must do, as one call: ``run_provider_keys_conformance(factory)`` proves a new one.

Raises ``AssertionError`` with the name of the check and what was seen.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.ledger.provider_keys import SealedKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from holdfast.ledger.provider_keys import ProviderKeyStore

__all__ = ["CHECKS", "run_provider_keys_conformance"]

_WHEN: Final = 1_790_000_000_000_000_000
_ONE: Final = SealedKey(
    tenant="acme", provider="openai", master=b"\x00master\xff", sealed=b"\x00one\xff", set_ns=_WHEN
)
_CALLERS: Final = 20


def run_provider_keys_conformance(
    factory: Callable[[], AbstractAsyncContextManager[ProviderKeyStore]],
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
    check: Callable[[ProviderKeyStore], Awaitable[None]],
    factory: Callable[[], AbstractAsyncContextManager[ProviderKeyStore]],
) -> None:
    async with factory() as store:
        try:
            await check(store)
        except AssertionError as failure:
            raise AssertionError(f"{check.__name__}: {failure}") from failure


async def what_is_put_is_there_byte_for_byte(store: ProviderKeyStore) -> None:
    _same("at first", await store.all(), ())
    _same("put", await store.put(_ONE), wanted=False)
    _same("all", await store.all(), (_ONE,))
    home = replace(_ONE, provider="azure", base_url="https://x.example/v1")
    _same("put with an address", await store.put(home), wanted=False)
    _same("all", await store.all(), (home, _ONE))


async def each_tenant_has_one_for_each_provider(store: ProviderKeyStore) -> None:
    rows = [
        replace(_ONE, tenant=tenant, provider=provider, sealed=f"{tenant} {provider}".encode())
        for tenant in ("b", "a", "a'b")
        for provider in ("openai", "gemini")
    ]
    for row in rows:
        _same("put", await store.put(row), wanted=False)
    _same("all", await store.all(), tuple(sorted(rows, key=lambda row: (row.tenant, row.provider))))


async def a_later_one_replaces_it_whole(store: ProviderKeyStore) -> None:
    await store.put(replace(_ONE, base_url="https://x.example/v1"))
    later = replace(_ONE, sealed=b"two", master=b"other", set_ns=_WHEN + 1)
    _same("put", await store.put(later), wanted=True)
    _same("all", await store.all(), (later,))


async def what_is_removed_is_gone_and_nothing_else(store: ProviderKeyStore) -> None:
    other = replace(_ONE, tenant="other")
    await store.put(_ONE)
    await store.put(other)
    _same("remove of nothing", await store.remove("acme", "gemini"), wanted=False)
    _same("remove", await store.remove("acme", "openai"), wanted=True)
    _same("remove again", await store.remove("acme", "openai"), wanted=False)
    _same("all", await store.all(), (other,))


async def it_is_sealed_anew_only_where_it_is_the_same(store: ProviderKeyStore) -> None:
    await store.put(_ONE)
    new = replace(_ONE, master=b"new", sealed=b"anew")
    _same("reseal", await store.reseal(_ONE, new), wanted=True)
    _same("all", await store.all(), (new,))
    # Somebody who read the old one before is too late: it would bring the old key back.
    _same("late reseal", await store.reseal(_ONE, replace(_ONE, sealed=b"late")), wanted=False)
    _same("all", await store.all(), (new,))
    await store.remove("acme", "openai")
    _same("reseal of nothing", await store.reseal(new, _ONE), wanted=False)
    _same("all", await store.all(), ())


async def one_of_many_that_seal_it_anew_does(store: ProviderKeyStore) -> None:
    await store.put(_ONE)
    new = [replace(_ONE, sealed=f"new {number}".encode()) for number in range(_CALLERS)]
    done = await asyncio.gather(*(store.reseal(_ONE, each) for each in new))
    _same("done", sum(done), 1)
    _same("all", await store.all(), (new[done.index(True)],))


CHECKS: Final[tuple[Callable[[ProviderKeyStore], Awaitable[None]], ...]] = (
    what_is_put_is_there_byte_for_byte,
    each_tenant_has_one_for_each_provider,
    a_later_one_replaces_it_whole,
    what_is_removed_is_gone_and_nothing_else,
    it_is_sealed_anew_only_where_it_is_the_same,
    one_of_many_that_seal_it_anew_does,
)


def _same(what: str, seen: Any, wanted: Any) -> None:
    if seen != wanted:
        raise AssertionError(f"{what} is {seen!r:.500}, should be {wanted!r:.500}")
