"""What happened, told to whoever counts: metrics, logs, traces. The engine knows only this seam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.ledger.entry import AttemptRow, End, Intent

__all__ = ["Observer", "Silent"]


class Observer(Protocol):
    """Called on the event loop, in the order things happen. Must not block and must not raise."""

    def accepted(self, intent: Intent) -> None:
        """The intent is durable; the request is in flight."""
        ...

    def attempted(self, intent: Intent, row: AttemptRow) -> None:
        """One attempt is over."""
        ...

    def ended(self, intent: Intent, end: End) -> None:
        """The request is over; ``end`` is on its way to the ledger."""
        ...


class Silent:
    """Counts nothing."""

    def accepted(self, intent: Intent) -> None: ...

    def attempted(self, intent: Intent, row: AttemptRow) -> None: ...

    def ended(self, intent: Intent, end: End) -> None: ...
