"""The engine: the only place where routes, transport, prices and ledger meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.engine.attempt import MAX_ANSWER_BYTES
from holdfast.engine.exchange import Call, Exchange
from holdfast.engine.lane import Native, Translated
from holdfast.engine.observer import Silent
from holdfast.errors import BadAnswer
from holdfast.providers.models import context_window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.clock import Clock, Rng
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.lane import Lane
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
        endpoints: for each deployment of a provider that targets may name, one for each dialect that it speaks; the first
            one is the dialect that other callers' requests are translated into.
        transport: takes bytes to them and back.
        ledger: where every call is written down before it is sent.
        book: prices.
        clock, rng: time and chance; on a virtual-time loop a run replays from its seed.
        observer: told what happens; counts nothing by default.
        admission, gate: policies that may refuse a request or an attempt; none by default.
        max_buffer_bytes: the largest answer that is held back whole (``on_break = "buffer"``).
    """

    __slots__ = (
        "_doors",
        "_endpoints",
        "_lanes",
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
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._doors: dict[tuple[str, str, str], Endpoint] = {}
        self._lanes: dict[str, Lane] = {}
        for endpoint in endpoints:
            self._endpoints.setdefault((endpoint.provider, endpoint.deployment), endpoint)
            self._doors[endpoint.provider, endpoint.deployment, endpoint.dialect.name] = endpoint
            self._lanes[endpoint.dialect.name] = Native(endpoint.dialect)
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

    def endpoint(self, target: Target, dialect: str) -> Endpoint:
        """Where ``target`` is reached: in ``dialect``, if it speaks that, else in its own."""
        door = self._doors.get((target.provider, target.deployment, dialect))
        return door if door is not None else self._endpoints[target.provider, target.deployment]

    def lane(self, endpoint: Endpoint, call: Call) -> Lane:
        """The way back for one attempt."""
        if endpoint.dialect.name == call.dialect.name:
            return self._lanes[call.dialect.name]
        return Translated(
            call.dialect,
            endpoint.dialect,
            include_usage=call.envelope.wants_usage,
            answer_id=call.id,
            created=call.started_ns // 1_000_000_000,
        )

    def window(self, target: Target) -> int | None:
        """The target's context window in tokens, where it is known."""
        return context_window(target.model, target.provider)

    def check_buffer(self, size: int) -> None:
        """Raises BadAnswer where an answer is too large to be held back whole."""
        if size > self._max_buffer:
            raise BadAnswer(f"the answer is larger than the {self._max_buffer} bytes that may be held back")
