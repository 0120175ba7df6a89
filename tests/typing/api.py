"""Checked by mypy strict and by pyright, never run: the public types fit together as their users would put them together."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_type

from holdfast.clock import Clock, Rng, SystemClock, system_rng
from holdfast.dialects.base import Dialect, Scanner
from holdfast.dialects.codec import DialectCodec
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.dialects.openai_chat.scan import ChatScanner
from holdfast.engine.observer import Observer, Silent
from holdfast.errors import HoldfastError, OutcomeUnknown, ProviderError, Rejected, TargetsFailed, TimedOut
from holdfast.gateway.metrics import Metrics
from holdfast.ledger import Ledger, LedgerStore, MemoryLedger
from holdfast.ledger.sqlite import SqliteLedger
from holdfast.model import Answer, Choice, fold, split
from holdfast.money.cost import calculate_cost, to_usd
from holdfast.providers.prices import PriceBook
from holdfast.providers.rates import Unit
from holdfast.secret import Secret
from holdfast.testing.memory_transport import MemoryTransport
from holdfast.testing.virtual_time import VirtualClock, run_virtual
from holdfast.transport import HttpTransport, Transport


def protocols(
    sqlite: SqliteLedger, memory: MemoryLedger, metrics: Metrics, virtual: VirtualClock, http: HttpTransport
) -> None:
    clocks: list[Clock] = [SystemClock(), virtual]
    chance: Rng = system_rng()
    dialect: Dialect = OpenAIChat()
    codec: DialectCodec = OpenAIChatCodec()
    scanner: Scanner = ChatScanner()
    ledgers: list[Ledger] = [sqlite, memory]
    stores: list[LedgerStore] = [sqlite, memory]
    observers: list[Observer] = [metrics, Silent()]
    transports: list[Transport] = [http, MemoryTransport([])]
    assert_type(clocks[0].wall_ns(), int)
    assert_type(chance.random(), float)
    assert_type(dialect.end_frame, bytes)
    assert_type(codec.name, str)
    del scanner, ledgers, stores, observers, transports


def errors(error: HoldfastError, failed: TargetsFailed, late: TimedOut) -> None:
    assert_type(error.status, int)
    assert_type(error.retry_after_s, float | None)
    assert_type(failed.failures, tuple[tuple[str, HoldfastError], ...])
    assert_type(late.silent, bool)
    kinds: list[type[HoldfastError]] = [Rejected, ProviderError, OutcomeUnknown]
    del kinds


def values(answer: Answer, secret: Secret, book: PriceBook) -> None:
    assert_type(fold(split(answer)), Answer)
    assert_type(answer.choices, tuple[Choice, ...])
    assert_type(secret.reveal(), str)
    assert_type(to_usd(1), Decimal)
    assert_type(calculate_cost(1, 2, Decimal(1), Decimal(2), unit=Unit.PER_1M), Decimal)
    price = book.price("openai", "gpt-4o", 0)
    if price is not None:
        assert_type(price.bound(1, 2), int)


def virtual_time() -> None:
    async def main(clock: VirtualClock) -> float:
        return clock.monotonic()

    assert_type(run_virtual(main), float)
