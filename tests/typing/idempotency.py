"""Checked by mypy strict and by pyright, never run: one run for one key, as users would write it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, assert_type

from holdfast import InvalidIdempotencyKeyError, SqliteIdempotency, idempotent_operation
from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError, IdempotencyConflict, IdempotencyRunning, OutcomeUnknownForKey
from holdfast.idempotency import IdempotencyStore, MemoryIdempotency, check_key


class Shop:
    async def charge(self) -> dict[str, str]:
        return {"receipt": "r-1"}


async def count() -> int:
    return 1


async def in_memory(shop: Shop) -> None:
    receipt = await idempotent_operation(operation=shop.charge, idempotency_key="order-7")
    assert_type(receipt, Any)  # what JSON gives back: not what the operation returned, but a copy
    await idempotent_operation(count, "order-7", 60)
    await idempotent_operation(count, "order-7", ttl=0.5, owner="alice", clock=SystemClock())
    await idempotent_operation(lambda: shop.charge(), "order-8", store=MemoryIdempotency())


async def payloads(shop: Shop) -> None:
    for payload in (b"bytes", {"amount": 5, "to": ["a", "b"]}, Decimal(1), None):
        await idempotent_operation(shop.charge, "order-9", payload=payload)


async def in_a_file(shop: Shop) -> None:
    async with await SqliteIdempotency.open("sqlite:///keys.db") as store:
        assert_type(store, SqliteIdempotency)
        stores: list[IdempotencyStore] = [store, MemoryIdempotency()]
        await idempotent_operation(shop.charge, "order-7", store=stores[0])
    await store.aclose()


async def errors(shop: Shop) -> None:
    kinds: list[type[HoldfastError]] = [InvalidIdempotencyKeyError, IdempotencyConflict, OutcomeUnknownForKey]
    try:
        await idempotent_operation(shop.charge, check_key("order-7"))
    except IdempotencyRunning as error:
        assert_type(error.retry_after_s, float | None)
        assert_type(error.status, int)
    assert_type(check_key("order-7"), str)
    del kinds
