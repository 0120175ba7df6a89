"""The client's events, and what each of them does: the table of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from holdfast.chaos.realtime import shapes
from holdfast.chaos.realtime.conversation import Stored, taken
from holdfast.chaos.realtime.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.realtime.session import RealtimeConnection

__all__ = ["COMMANDS", "Command"]


class Command(NamedTuple):
    """What an event must look like, and what it does. ``do`` raises :class:`Wrong`."""

    shape: type[shapes.Bare]
    do: Callable[[RealtimeConnection, Any, bytes], None]


def _update(session: RealtimeConnection, event: shapes.UpdateSession, _body: bytes) -> None:
    session.preferences.update(msgspec.to_builtins(event.session), spoken=session.spoken)
    session.tell("session.updated", session=session.preferences.values)


def _create_item(session: RealtimeConnection, event: shapes.CreateItem, _body: bytes) -> None:
    kind = session.preferences.input["format"]["type"]
    stored = taken(event.item, session.new_id("item"), "item", kind)
    if stored.value["type"] == "function_call_output":
        _check_call(session, stored.value["call_id"])
    session.conversation.add(stored, event.previous_item_id)
    previous = session.conversation.before(stored.id)
    for what in ("added", "done"):
        session.tell(f"conversation.item.{what}", previous_item_id=previous, item=stored.value)


def _check_call(session: RealtimeConnection, call_id: str) -> None:
    calls = (stored.value for stored in session.conversation)
    if not any(value["type"] == "function_call" and value["call_id"] == call_id for value in calls):
        message = f"Error adding item: no function call with call_id '{call_id}' is in the conversation."
        raise Wrong("item_create_invalid_call_id", message, "item.call_id")


def _found(session: RealtimeConnection, item_id: str, what: str) -> Stored:
    if (stored := session.conversation.get(item_id)) is None:
        message = f"Error {what[:-1]}ing item: the item with id '{item_id}' does not exist."
        raise Wrong(f"item_{what}_invalid_item_id", message, "item_id")
    return stored


def _delete_item(session: RealtimeConnection, event: shapes.OfItem, _body: bytes) -> None:
    stored = _found(session, event.item_id, "delete")
    session.conversation.remove(stored.id)
    session.tell("conversation.item.deleted", item_id=stored.id)


def _retrieve_item(session: RealtimeConnection, event: shapes.OfItem, _body: bytes) -> None:
    session.tell("conversation.item.retrieved", item=_found(session, event.item_id, "retrieve").value)


def _truncate_item(session: RealtimeConnection, event: shapes.Truncate, _body: bytes) -> None:
    stored = _found(session, event.item_id, "truncate")
    content = stored.value.get("content", ())
    if stored.value.get("role") != "assistant":
        message = "Only model output audio messages can be truncated."
        raise Wrong("invalid_value", message, "item_id")
    if event.content_index >= len(content) or content[event.content_index]["type"] != "output_audio":
        message = f"Content part {event.content_index} of this item holds no audio."
        raise Wrong("invalid_value", message, "content_index")
    if event.audio_end_ms > stored.ms:
        message = f"Audio content of {stored.ms:g}ms is already shorter than {event.audio_end_ms}ms."
        raise Wrong("invalid_value", message, "audio_end_ms")
    # Which words were heard can't be told: the whole transcript goes, as the text wasn't heard to its end.
    content[event.content_index]["transcript"] = ""
    session.conversation.update(stored.id, "", event.audio_end_ms)
    session.tell(
        "conversation.item.truncated",
        item_id=stored.id,
        content_index=event.content_index,
        audio_end_ms=event.audio_end_ms,
    )


def _append(session: RealtimeConnection, event: shapes.Append, _body: bytes) -> None:
    session.hearing.append(event.audio)


def _commit(session: RealtimeConnection, _event: shapes.Bare, _body: bytes) -> None:
    session.hearing.commit()


def _clear(session: RealtimeConnection, _event: shapes.Bare, _body: bytes) -> None:
    session.hearing.clear()


def _respond(session: RealtimeConnection, event: shapes.CreateResponse, body: bytes) -> None:
    if event.response is None:
        session.respond({}, None, body)
        return
    params = event.response
    prompt = None
    if params.input is not None:
        prompt = [_prompted(session, item, i) for i, item in enumerate(params.input)]
    session.respond(msgspec.to_builtins(params), prompt, body)


def _prompted(session: RealtimeConnection, item: shapes.Item, index: int) -> Stored:
    param = f"response.input[{index}]"
    if item.type != "item_reference":
        kind = session.preferences.input["format"]["type"]
        return taken(item, session.new_id("item"), param, kind)
    if item.id is msgspec.UNSET:
        raise Wrong("missing_required_parameter", f"Missing required parameter: '{param}.id'.", f"{param}.id")
    if (stored := session.conversation.get(str(item.id))) is None:
        raise Wrong("invalid_value", f"The item with id '{item.id}' does not exist.", f"{param}.id")
    return stored


def _cancel(session: RealtimeConnection, event: shapes.Cancel, _body: bytes) -> None:
    if not session.cancel(event.response_id):
        raise Wrong("response_cancel_not_active", "Cancellation failed: no active response found.")


COMMANDS: dict[str, Command] = {
    "session.update": Command(shapes.UpdateSession, _update),
    "input_audio_buffer.append": Command(shapes.Append, _append),
    "input_audio_buffer.commit": Command(shapes.Bare, _commit),
    "input_audio_buffer.clear": Command(shapes.Bare, _clear),
    "conversation.item.create": Command(shapes.CreateItem, _create_item),
    "conversation.item.truncate": Command(shapes.Truncate, _truncate_item),
    "conversation.item.delete": Command(shapes.OfItem, _delete_item),
    "conversation.item.retrieve": Command(shapes.OfItem, _retrieve_item),
    "response.create": Command(shapes.CreateResponse, _respond),
    "response.cancel": Command(shapes.Cancel, _cancel),
}
"""Type -> command. (``output_audio_buffer.clear`` is for WebRTC alone.)"""
