"""Verdicts and the stream guard: ``policies.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.tables.markdown import attribute_docs, table
from docs.tables.meanings import MEANINGS

from holdfast.engine.chain import VERDICTS, Verdict
from holdfast.engine.guard import TABLE, Event, State
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def verdicts() -> str:
    """What the chain does after each kind of failure."""
    said = attribute_docs(Verdict)
    rows = [
        (f"`{kind.label}`", verdict.value, said[verdict.name])
        for kind, verdict in VERDICTS.items()
        if kind is not HoldfastError  # anything else: a fault of our own
    ]
    return table(("failure", "verdict", "meaning"), rows)


def diagram() -> str:
    """The guard's table as a picture: the events that lead from each state to each other one."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> waiting"]
    for state, row in TABLE.items():
        if state in (State.DONE, State.BROKEN):
            lines.append(f"    {state.value} --> [*]")
            continue
        for after in State:
            events = [event.value for event, to in row.items() if to is after]
            if events:
                lines.append(f"    {state.value} --> {after.value}: {', '.join(events)}")
    return "\n".join([*lines, "```"])


def states() -> str:
    said = attribute_docs(State)
    return table(
        ("state", "meaning"),
        [(f"`{state.value}`", said[state.name] or MEANINGS["guard"][state.name]) for state in State],
    )


def events() -> str:
    said = attribute_docs(Event)
    return table(
        ("event", "meaning"),
        [(f"`{event.value}`", said[event.name] or MEANINGS["guard"][event.name]) for event in Event],
    )


PARTS: Parts = {
    "verdicts": verdicts,
    "guard-diagram": diagram,
    "guard-states": states,
    "guard-events": events,
}
