"""The circuit breaker's states, events and settings: ``policies/breaker.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from docs.tables.markdown import attribute_docs, table

from holdfast.engine.policy import Gates
from holdfast.resilience.breaker import TABLE, BreakerSettings, CircuitState, Event
from holdfast.resilience.settings import ranges

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def diagram() -> str:
    """The breaker's table as a picture."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {CircuitState.CLOSED.value}"]
    for state, row in TABLE.items():
        lines += [f"    {state.value} --> {after.value}: {event.value}" for event, after in row.items()]
    return "\n".join([*lines, "```"])


def states() -> str:
    said = attribute_docs(CircuitState)
    return table(("state", "meaning"), [(f"`{each.value}`", said[each.name]) for each in CircuitState])


def events() -> str:
    said = attribute_docs(Event)
    return table(("event", "meaning"), [(f"`{each.value}`", said[each.name]) for each in Event])


def settings() -> str:
    said, allowed = attribute_docs(BreakerSettings), ranges(BreakerSettings)
    gateway = Gates().breaker
    rows = [
        (
            f"`{field.name}`",
            "`failure_threshold`" if field.default is None else f"{field.default:g}",
            f"{getattr(gateway, field.name):g}",
            str(allowed[field.name]),
            said[field.name],
        )
        for field in msgspec.structs.fields(BreakerSettings)
    ]
    return table(("setting", "the class", "the gateway", "allowed", "meaning"), rows)


PARTS: Parts = {
    "breaker-diagram": diagram,
    "breaker-states": states,
    "breaker-events": events,
    "breaker-settings": settings,
}
