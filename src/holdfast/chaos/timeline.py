"""What happens when: outages, flaps, ramps and bursts, as windows of time since the start (or the last reset).

The windows depend on the clock, what chance does inside them doesn't: an attempt's draw is its own. With the clock that is
moved by hand, a timeline replays to the byte too.
"""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from holdfast.chaos.capacity import Capacity
from holdfast.chaos.limits import Probability, Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Timeline", "Window", "fits"]

_Above0 = Annotated[float, msgspec.Meta(ge=0.001, le=86_400)]
_SLACK = 1e-9  # seconds; a timer's time and a window's differ in their last bits


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"lasts": "for"}):
    """One thing that happens for a time. It goes before scripts, but not before a script in the prompt."""

    at: Seconds = 0.0
    """Seconds after the start when it begins."""
    lasts: _Above0 | None = None
    """Seconds that it lasts; none: to the end. Written ``for``."""
    every: _Above0 | None = None
    """Seconds after which it comes again; none: it comes once."""
    models: str = "*"
    """Model name or shell pattern (any case) that it is for."""
    routes: str = "*"
    """Path or shell pattern that it is for."""
    script: Any = None
    """What attempts get: an outage is ``"503"``."""
    rates: dict[str, Any] = {}
    """Steps and their shares in percent, as ``rates`` has them."""
    ramp: tuple[Probability, Probability] = (1.0, 1.0)
    """The part of these shares that holds at its begin and at its end; between them it changes evenly."""
    capacity: Capacity | None = None
    """Instead of the configuration's."""
    door: Literal["refused", "silent"] | None = None
    """New TCP connections are refused, or not answered at all."""

    def __post_init__(self) -> None:
        if self.script is None and not self.rates and self.capacity is None and self.door is None:
            raise ValueError("nothing happens in it: say script, rates, capacity or door")
        if self.script is not None and self.rates:
            raise ValueError("it has a script and rates: one of them decides")
        if self.every is not None and (self.lasts is None or self.lasts >= self.every):
            raise ValueError("what comes again every so many seconds lasts shorter than that: say for")
        if self.ramp != (1.0, 1.0) and (not self.rates or self.lasts is None):
            raise ValueError("a ramp changes rates, over the time that for says")
        if self.door is not None and (self.models != "*" or self.routes != "*"):
            raise ValueError("a door has no model or route: nobody has asked for one yet")

    def progress(self, now: float) -> float | None:
        """How much of it has passed at second ``now``, 0 to 1 (0 where it has no end); None: it isn't on."""
        since = now - self.at
        if since < 0:
            return None
        if self.every is not None:
            since %= self.every
        if self.lasts is None:
            return 0.0
        return since / self.lasts if since < self.lasts else None

    def scale(self, progress: float) -> float:
        """The part of its rates that holds."""
        begin, end = self.ramp
        return begin + (end - begin) * progress

    def next_change(self, now: float) -> float | None:
        """The next second after ``now`` when it begins or ends."""
        if now < self.at:
            return self.at
        if self.lasts is None:
            return None
        if self.every is None:
            end = self.at + self.lasts
            return end if end > now else None
        # The round may be off by one, since its number is rounded too: what isn't after ``now`` is no next change.
        begun = self.at + (now - self.at) // self.every * self.every
        turns = (begun + self.lasts, begun + self.every, begun + self.every + self.lasts)
        return next(turn for turn in (*turns, begun + 2 * self.every) if turn > now)


class Timeline:
    """All windows; where several are on, the first one decides."""

    def __init__(self, windows: "Iterable[Window]") -> None:
        self.windows = tuple(windows)

    def on(self, now: float) -> list[tuple[int, Window, float]]:
        """Number, window and progress of those that are on."""
        return [
            (i, window, progress)
            for i, window in enumerate(self.windows)
            if (progress := window.progress(now + _SLACK)) is not None
        ]

    def door(self, now: float) -> Literal["open", "refused", "silent"]:
        """What the timeline makes of new connections."""
        return next((window.door for _, window, _ in self.on(now) if window.door is not None), "open")

    def capacity(self, now: float) -> Capacity | None:
        """The capacity that it sets."""
        return next((window.capacity for _, window, _ in self.on(now) if window.capacity is not None), None)

    def next_change(self, now: float) -> float | None:
        """The next second when anything of it begins or ends. What :meth:`on` takes for begun by now isn't next."""
        changes = [
            change for window in self.windows if (change := window.next_change(now + _SLACK)) is not None
        ]
        return min(changes, default=None)


def fits(window: Window, model: str, path: str) -> bool:
    """Whether it is for that attempt."""
    return (window.models == "*" or fnmatchcase(model.lower(), window.models.lower())) and (
        window.routes == "*" or fnmatchcase(path, window.routes)
    )
