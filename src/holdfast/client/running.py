"""One call on its way through the engine, in the caller's own task; and what may cut it short."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from holdfast.client.answer import ChatAnswer
from holdfast.dialects.neutral import Neutral
from holdfast.errors import Abandoned
from holdfast.money.cost import to_usd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.engine.exchange import Exchange
    from holdfast.errors import HoldfastError
    from holdfast.model import Answer

__all__ = ["InProcess", "Running"]

_T = TypeVar("_T")


class InProcess(Neutral):
    """One call's dialect. An error after the commit is handed over as it is: here nobody has to read it from bytes."""

    def __init__(self) -> None:
        self.failure: HoldfastError | None = None

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:  # noqa: ARG002  # the wire's place for it
        self.failure = error
        return b""


class Running:
    """One call.

    Args:
        exchange: not opened yet.
        dialect: the exchange's.
        on_end: told once, when it is settled.
    """

    __slots__ = ("_dialect", "_exchange", "_loop", "_on_end", "_over", "_reason", "_task")

    def __init__(self, exchange: Exchange, dialect: InProcess, on_end: Callable[[Running], None]) -> None:
        self._exchange = exchange
        self._dialect = dialect
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._reason: HoldfastError | None = None
        self._over = False

    @property
    def over(self) -> bool:
        """Nothing is left to read."""
        return self._exchange.over

    @property
    def failure(self) -> HoldfastError | None:
        """Why the answer broke after content had been handed out."""
        return self._dialect.failure

    @property
    def served_by(self) -> tuple[str, str]:
        """Provider and model, once it is open."""
        target = self._exchange.target
        return ("", "") if target is None else (target.provider, target.model)

    async def open(self) -> None:
        """Returns once there is content. Raises what :meth:`holdfast.engine.exchange.Exchange.open` raises."""
        await self._watched(self._exchange.open)

    async def read(self) -> bytes:
        """The next lines of :mod:`holdfast.dialects.neutral`; then :attr:`over` and :attr:`failure` are up to date."""
        return await self._watched(self._exchange.read)

    def told(self, answer: Answer) -> ChatAnswer:
        """``answer``, with what is known of how it came about."""
        exchange = self._exchange
        provider, model = self.served_by
        return ChatAnswer(
            answer=answer,
            provider=provider,
            model=model,
            attempts=exchange.attempts,
            cost_usd=None if exchange.cost_nano is None else to_usd(exchange.cost_nano),
            request_id=exchange.call.id,
            dropped=exchange.dropped,
        )

    def stop(self, reason: HoldfastError) -> None:
        """Ends the call from outside. Whoever waits for it gets ``reason`` raised, and so does whoever reads on."""
        if self._over or self._reason is not None:  # a second cancellation would be somebody else's
            return
        self._reason = reason
        self._exchange.stop(reason)
        if self._task is not None:
            self._task.cancel()  # it closes the exchange on its way out
        else:
            self.close()

    def close(self) -> None:
        """Settles what is unsettled. Idempotent."""
        if self._over:
            return
        self._over = True
        try:
            self._exchange.close()
        finally:
            self._on_end(self)

    def abandon(self) -> None:
        """:meth:`close`, from whichever thread the garbage collector happens to run in."""
        if self._over:
            return
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            self.close()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: recovery settles it as unknown
            self._loop.call_soon_threadsafe(self.close)

    def _stopped_by(self) -> HoldfastError | None:
        return self._reason

    async def _watched(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """``await work()``, so that :meth:`stop` reaches the task that waits, and no other code of that task."""
        if (reason := self._stopped_by()) is not None:
            raise reason
        if self._over:
            raise Abandoned("this call was closed before the answer was complete")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this call belongs to another event loop")
        if self._task is not None:
            raise RuntimeError("another task is waiting for this call already")
        self._task = task = asyncio.current_task()
        try:
            return await work()
        except asyncio.CancelledError:
            reason = self._stopped_by()
            if reason is None or task is None or task.uncancel() > 0:
                raise  # somebody else wants this task to end as well
            raise reason from None
        finally:
            self._task = None
