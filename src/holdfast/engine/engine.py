"""The engine: the only place where routes, transport, prices and ledger meet."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from holdfast.engine.attempt import MAX_ANSWER_BYTES
from holdfast.engine.exchange import Exchange
from holdfast.engine.lane import Native, Translated
from holdfast.engine.observer import Silent
from holdfast.errors import BadAnswer
from holdfast.providers.models import context_window
from holdfast.providers.unknown_price import UnknownPrice

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from holdfast.clock import Clock, Rng
    from holdfast.engine.call import Call
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.lane import Lane
    from holdfast.engine.learning import Learner
    from holdfast.engine.observer import Observer
    from holdfast.engine.policy import Target
    from holdfast.engine.seams import Admission, Gate
    from holdfast.engine.treasury import Treasury
    from holdfast.ledger.base import Ledger
    from holdfast.ledger.entry import Intent
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
        pricing: what becomes of models without one; served, and nobody knows what they cost, by default.
        clock, rng: time and chance; on a virtual-time loop a run replays from its seed.
        observer: told what happens; counts nothing by default.
        admission, gate: policies that may refuse a request or an attempt; none by default.
        max_buffer_bytes: the largest answer that is held back whole (``on_break = "buffer"``).
    """

    __slots__ = (
        "_any_limitless",
        "_doors",
        "_endpoints",
        "_lanes",
        "_max_buffer",
        "admission",
        "book",
        "clock",
        "gate",
        "learner",
        "ledger",
        "observer",
        "pricing",
        "rng",
        "transport",
        "treasury",
    )

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        *,
        transport: Transport,
        ledger: Ledger,
        book: PriceBook,
        pricing: UnknownPrice | None = None,
        clock: Clock,
        rng: Rng,
        observer: Observer | None = None,
        admission: Admission | None = None,
        gate: Gate | None = None,
        max_buffer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._reach(endpoints)
        self._max_buffer = max_buffer_bytes
        self.admission = admission
        self.learner: Learner | None = None
        """Learns from bills how far offline token counts are off; None: nobody does."""
        self.treasury: Treasury | None = None
        """Where budgets are kept; None: nothing limits what is spent."""
        self.gate = gate
        self.transport = transport
        self.ledger = ledger
        self.book = book
        self.pricing = pricing if pricing is not None else UnknownPrice()
        self.clock = clock
        self.rng = rng
        self.observer: Observer = observer if observer is not None else Silent()

    def under(self, endpoints: Iterable[Endpoint], *, book: PriceBook, pricing: UnknownPrice) -> Engine:
        """An engine for another configuration. All that outlives one is shared: ledger, policies' state, budgets.

        An exchange keeps the engine that it was made by, so it reaches and bills as configured when it began.
        """
        made = copy(self)
        made._reach(endpoints)  # noqa: SLF001  # one of us
        made.book, made.pricing = book, pricing
        return made

    def _reach(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._doors: dict[tuple[str, str, str], Endpoint] = {}
        self._lanes: dict[str, Lane] = {}
        for endpoint in endpoints:
            self._endpoints.setdefault((endpoint.provider, endpoint.deployment), endpoint)
            self._doors[endpoint.provider, endpoint.deployment, endpoint.dialect.name] = endpoint
            self._lanes[endpoint.dialect.name] = Native(endpoint.dialect)
        self._any_limitless = any(endpoint.limitless for endpoint in self._doors.values())

    def exchange(self, call: Call, *, begin: Callable[[Intent], Awaitable[None]] | None = None) -> Exchange:
        """A call, ready to be opened. ``begin`` makes its intent durable; the ledger by default."""
        return Exchange(self, call, begin)

    def endpoint(self, target: Target, call: Call) -> Endpoint:
        """Where ``target`` is reached: in the call's dialect, if it speaks that, else in its own."""
        dialect = call.dialect.name
        if call.wallet is not None and (own := call.wallet.endpoint(target, dialect)) is not None:
            return own
        door = self._doors.get((target.provider, target.deployment, dialect))
        return door if door is not None else self._endpoints[target.provider, target.deployment]

    def limitless(self, call: Call) -> Callable[[Target], bool] | None:
        """Tells of a target of ``call`` whether it takes no output limit; None: all of them take one."""
        if call.wallet is None and not self._any_limitless:  # nearly always
            return None
        return lambda target: self.endpoint(target, call).limitless

    def lane(self, endpoint: Endpoint, call: Call) -> Lane:
        """The way back for one attempt."""
        if endpoint.dialect.name == call.dialect.name:
            lane = self._lanes.get(call.dialect.name)
            if lane is None:  # nobody's shared key speaks it, but a key of the caller's own does
                lane = self._lanes[call.dialect.name] = Native(endpoint.dialect)
            return lane
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
