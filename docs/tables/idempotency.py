"""What stands under an idempotency key: ``policies/idempotency.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.tables.markdown import attribute_docs, table

from holdfast.ledger.idempotency import TABLE, Event, State

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def diagram() -> str:
    """The table as a picture: the events that lead from each state to each other one."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> free"]
    for state, row in TABLE.items():
        for after in State:
            events = [event.value for event, to in row.items() if to is after]
            if events:
                lines.append(f"    {state.value} --> {after.value}: {', '.join(events)}")
    return "\n".join([*lines, "```"])


def states() -> str:
    said = attribute_docs(State)
    return table(("state", "meaning"), [(f"`{state.value}`", said[state.name]) for state in State])


def events() -> str:
    said = attribute_docs(Event)
    return table(("event", "meaning"), [(f"`{event.value}`", said[event.name]) for event in Event])


PARTS: Parts = {
    "idempotency-diagram": diagram,
    "idempotency-states": states,
    "idempotency-events": events,
}
