"""The engine: the only place where routes, transport, prices and ledger meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.engine.attempt import MAX_ANSWER_BYTES
from holdfast.engine.exchange import Call, Exchange
from holdfast.engine.observer import Silent
from holdfast.errors import BadAnswer
from holdfast.providers.models import context_window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.clock import Clock, Rng
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.observer import Observer
    from holdfast.engine.policy import Target
    from holdfast.engine.seams import Admission, Gate
    from holdfast.ledger.base import Ledger
    from holdfast.providers.prices import PriceBook
    from holdfast.transport.base import Transport

__all__ = ["Engine"]


class Engine:
    """Everything a call needs, handed in once.

    Args:
        endpoints: one for each provider that targets may name.
        transport: takes bytes to them and back.
        ledger: where every call is written down before it is sent.
        book: prices.
        clock, rng: time and chance; on a virtual-time loop a run replays from its seed.
        observer: told what happens; counts nothing by default.
        admission, gate: policies that may refuse a request or an attempt; none by default.
        max_buffer_bytes: the largest answer that is held back whole (``on_break = "buffer"``).
    """

    __slots__ = (
        "_endpoints",
        "_max_buffer",
        "admission",
        "book",
        "clock",
        "gate",
        "ledger",
        "observer",
        "rng",
        "transport",
    )

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        *,
        transport: Transport,
        ledger: Ledger,
        book: PriceBook,
        clock: Clock,
        rng: Rng,
        observer: Observer | None = None,
        admission: Admission | None = None,
        gate: Gate | None = None,
        max_buffer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._endpoints = {endpoint.provider: endpoint for endpoint in endpoints}
        self._max_buffer = max_buffer_bytes
        self.admission = admission
        self.gate = gate
        self.transport = transport
        self.ledger = ledger
        self.book = book
        self.clock = clock
        self.rng = rng
        self.observer: Observer = observer if observer is not None else Silent()

    def exchange(self, call: Call) -> Exchange:
        """A call, ready to be opened."""
        return Exchange(self, call)

    def endpoint(self, provider: str) -> Endpoint:
        return self._endpoints[provider]

    def window(self, target: Target) -> int | None:
        """The target's context window in tokens, where it is known."""
        return context_window(target.model, target.provider)

    def check_buffer(self, size: int) -> None:
        """Raises BadAnswer where an answer is too large to be held back whole."""
        if size > self._max_buffer:
            raise BadAnswer(f"the answer is larger than the {self._max_buffer} bytes that may be held back")
