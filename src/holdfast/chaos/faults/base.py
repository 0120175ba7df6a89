"""What a fault is: a pure change to a healthy reply, a name, and settings with ranges and defaults."""

from collections.abc import Callable
from typing import Any

import msgspec

from holdfast.chaos.plan import Context, Reply

__all__ = ["Fault", "FaultSettings"]


class FaultSettings(msgspec.Struct, frozen=True):
    """A fault's settings; each subclass is one fault's."""


class Fault(msgspec.Struct, frozen=True):
    """A row of the registry."""

    name: str
    summary: str
    apply: Callable[[Reply, Any, Context], Reply]
    settings: type[FaultSettings] = FaultSettings
    primary: str | None = None
    """The setting that ``name=value`` means."""
    plain: bool = True
    """Whether it can spoil a plain answer."""
    stream: bool = True
    """Whether it can spoil a stream."""
    where: Callable[[Context], bool] = lambda _context: True
    """Whether it means something to that wire."""

    def fits(self, context: Context) -> bool:
        """Whether it can spoil this attempt; where it can't, the answer is healthy and the journal says so."""
        return (self.stream if context.stream else self.plain) and self.where(context)
