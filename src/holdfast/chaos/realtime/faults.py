"""Faults are HTTP's: what each of them means to a response of a session, which has no headers and no status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.chaos.draws import Draw
from holdfast.chaos.pace import paced
from holdfast.chaos.plan import Part, Reply
from holdfast.chaos.realtime.events import error_of

if TYPE_CHECKING:
    from holdfast.chaos.chat import Attempt
    from holdfast.chaos.journal import Entry
    from holdfast.chaos.realtime.speech import Speech
    from holdfast.chaos.settings import Pace

__all__ = ["as_session"]

_OF_HEADERS = ("hang_headers", "slow_headers", "wrong_encoding")
"""Faults that change nothing here."""
_OF_CONNECTIONS = ("default", "key", "route", "model")
"""Rules whose statuses refuse handshakes, which are counted apart. A response fails with one where the prompt, the hour or
a bound says so."""


def as_session(reply: Reply, speech: Speech, attempt: Attempt, pace: Pace) -> Reply:
    """``reply`` as a session can tell it; what it can't have is ``skipped`` in the journal.

    An error's body becomes a failed response, any other body one message.
    """
    entry = attempt.entry
    _skip(entry, *_OF_HEADERS)
    if "status" in entry.faults and entry.rule is not None and entry.rule.startswith(_OF_CONNECTIONS):
        _skip(entry, *entry.faults)
        return _healthy(reply, speech, attempt, pace)
    if reply.length is None or reply.status is None:
        return reply
    body = b"".join(part.data for part in reply.parts)
    if reply.status == 200:
        reply.parts = (Part(body, "noise"),)
        return reply
    reply.parts = [Part(event, "noise") for event in speech.failed(error_of(body))]
    reply.length = None
    return reply


def _skip(entry: Entry, *names: str) -> None:
    skipped = [name for name in entry.faults if name in names]
    if skipped:
        entry.faults = [name for name in entry.faults if name not in names]
        entry.skipped = [*entry.skipped, *skipped]


def _healthy(reply: Reply, speech: Speech, attempt: Attempt, pace: Pace) -> Reply:
    """What the response would have been, at the provider's own pace."""
    assert attempt.answer is not None  # noqa: S101  # a fault comes after an answer
    parts = speech.events(attempt.answer, speech.scene.asked)
    healthy = Reply(200, {}, parts, wait=reply.wait, billing="served")
    return paced(healthy, pace, Draw(0, attempt.answer.nonce, 1), stream=True)
