"""Named places at which a process can be told to kill itself, to wait or to fail: for tests of crashes.

Off unless :func:`arm` is called, which the command line does with the environment variable :data:`VARIABLE`; nothing that
imports the library arms it. A place costs one look at an attribute while it is off::

    if failpoints.armed:
        failpoints.hit("intent.queued")

A specification is ``name=action``, several separated by ``;``. Actions::

    kill              SIGKILL to the own process: nothing is flushed, closed or unwound
    error             raises FailpointError there
    pause:0.5         blocks the thread for so many seconds

followed by when: ``@3`` at the third hit alone (``@1`` where nothing is said), ``@p0.01`` or ``@p0.01,seed=7`` at each hit
with that probability, ``@all`` at every hit.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import threading
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct

from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["NAMES", "VARIABLE", "FailpointError", "arm", "armed", "disarm", "hit"]

VARIABLE: Final = "HOLDFAST_FAILPOINTS"

NAMES: Final[Mapping[str, str]] = {
    # intent
    "intent.admitted": "Rate limits have let the request in; nothing is set aside.",
    "intent.reserved": "Its money is set aside in memory; no intent is queued.",
    "intent.queued": "Its intent waits for the ledger's writer.",
    "intent.durable": "Its intent is durable, and it knows; nothing is sent.",
    # the ledger's group, on the writer's thread
    "group.begun": "The group's transaction is open and empty.",
    "group.statement": "One statement of a group has run; the intent that depends on it isn't written.",
    "group.statements": "All statements of the group have run; other intents and ends aren't written.",
    "group.intents": "The group's intents are written, its ends aren't.",
    "group.closed": "The group's requests are closed; their attempts and charges aren't written.",
    "group.attempts": "The group's attempts are written, its charges aren't.",
    "group.ends": "All of the group is written, and not committed.",
    "group.committed": "The group is committed, and nobody was told.",
    "group.told": "Everybody who waits for the group is about to be told.",
    # send
    "send.connect": "An attempt is about to take a connection.",
    "send.writing": "A connection is there, and the request's first byte is about to leave.",
    "send.written": "The request's bytes were handed to the kernel.",
    "send.head": "The provider's status and headers are there.",
    "send.first": "The answer's first content is there, and the attempt serves.",
    "send.piece": "A further piece of the answer has come.",
    "send.end": "The answer is whole, and nothing is settled.",
    # commit to the caller
    "caller.head": "Nothing was told to the caller; its status is about to go out.",
    "caller.told": "The caller has its status.",
    "caller.piece": "The caller has a piece of its answer, and more is to come.",
    "caller.last": "The answer's last piece, with its end marker, is about to go out.",
    "caller.done": "The caller was handed its whole answer.",
    # settle
    "settle.attempt": "An attempt is settled in memory.",
    "settle.charged": "What the request spent is charged in memory; its end isn't queued.",
    "settle.queued": "Its end waits for the ledger's writer.",
    # raise_bound
    "bound.raising": "A further attempt needs more than the intent's bound; the ledger wasn't asked.",
    "bound.raised": "The raised bound is durable, and the attempt isn't begun.",
    # idempotency
    "idempotency.claimed": "The key's claim and the intent are durable.",
    "idempotency.answered": "The run's answer is whole and is being read; it isn't kept.",
    "idempotency.kept": "The answer is durable under its key.",
    "idempotency.failed": "The run failed in passing; its key isn't free yet.",
    "idempotency.forgotten": "The key is free again, and that is durable.",
    # lease
    "lease.renewing": "The lease's transaction is open and empty.",
    "lease.renewed": "The lease is renewed, and not committed.",
    "lease.committed": "The renewal is committed.",
    # recovery
    "recovery.locked": "This process alone may write the database; nothing was read.",
    "recovery.migrated": "The schema is up to date; what the dead left open is untouched.",
    "recovery.migrating": "A migration's statements have run, and it isn't committed.",
    "recovery.leased": "The dead are known to be dead; their requests are still open.",
    "recovery.closed": "Their idempotency keys and requests are closed; their bounds aren't charged.",
    "recovery.charged": "Their bounds are charged; what they held of budgets isn't given back.",
    "recovery.ended": "All of recovery is written, and not committed.",
    "recovery.committed": "Recovery is committed; nobody is served yet.",
    "start.loaded": "Budgets and sessions are loaded; nobody is served yet.",
    # sessions
    "session.begun": "A session has begun in memory, and isn't durable.",
    "session.durable": "A session's beginning is durable; its request isn't accepted.",
    # drain
    "drain.begun": "SIGTERM came: no more requests are taken.",
    "drain.over": "Nobody is served any more; the ledger is about to be closed.",
    "drain.written": "All that waited is written; the lease is still held.",
    "drain.released": "The lease is given up; the write-ahead log isn't emptied.",
}
"""Every place, and what has and hasn't happened there."""

armed: bool = False
"""Whether any place has something to do. Look at it before calling :func:`hit`."""

_When: TypeAlias = "Callable[[], bool]"
_LONGEST_PAUSE_S: Final = 3_600.0
_PARTS: Final = re.compile(
    r"(?P<name>[^=]+)=(?P<do>kill|error|pause:(?P<seconds>\d+(?:\.\d+)?))"
    r"(?:@(?P<when>all|(?P<nth>[1-9]\d{0,8})|p(?P<chance>[01](?:\.\d+)?)(?:,seed=(?P<seed>\d{1,18}))?))?"
)


class FailpointError(Exception):
    """Raised where ``name=error`` says so. No error of the product's own: nothing knows how to handle it."""


class _Place(Struct, frozen=True):
    do: Literal["kill", "error", "pause"]
    seconds: float
    due: _When


_places: dict[str, _Place] = {}


def arm(specification: str | None) -> None:
    """Tells places what to do, from now on and in this process; None or empty: nothing. Counts begin anew.

    Raises:
        ConfigError: a name that there isn't, or an action that can't be read; nothing is armed then.
    """
    global armed  # noqa: PLW0603  # one process has one set, and the look at it must be as cheap as can be
    places = dict(_read(part.strip()) for part in (specification or "").split(";") if part.strip())
    _places.clear()
    _places.update(places)
    armed = bool(places)


def disarm() -> None:
    """No place does anything any more."""
    arm(None)


def hit(name: str) -> None:
    """Execution is at ``name``, one of :data:`NAMES`. Safe on any thread.

    Raises:
        FailpointError: it was told to fail here.
    """
    place = _places.get(name)
    if place is None or not place.due():
        return
    # Said before it is done: a kill leaves nobody to say it, and an unexplained death would be blamed on the product.
    os.write(2, f"{VARIABLE}: {place.do} at {name}\n".encode())
    if place.do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()  # the signal is on its way: not one instruction more
    elif place.do == "pause":
        threading.Event().wait(place.seconds)
    else:
        raise FailpointError(f"told to fail at {name}")


def _read(part: str) -> tuple[str, _Place]:
    parts = _PARTS.fullmatch(part)
    if parts is None:
        raise ConfigError(
            f"{VARIABLE}: {part!r} isn't name=kill, name=error or name=pause:SECONDS, followed by nothing, @N, "
            "@p0.01, @p0.01,seed=N or @all"
        )
    name = parts["name"]
    if name not in NAMES:
        raise ConfigError(f"{VARIABLE}: there is no failpoint {name!r}; there are {', '.join(NAMES)}")
    seconds = float(parts["seconds"] or 0.0)
    if seconds > _LONGEST_PAUSE_S:
        raise ConfigError(f"{VARIABLE}: {name}: a pause is {_LONGEST_PAUSE_S:g} s at most, not {seconds:g}")
    do: Literal["kill", "error", "pause"] = "pause" if parts["seconds"] else "kill"
    return name, _Place("error" if parts["do"] == "error" else do, seconds, _when(name, parts))


def _when(name: str, parts: re.Match[str]) -> _When:
    if parts["when"] == "all":
        return lambda: True
    if parts["chance"] is not None:
        chance = float(parts["chance"])
        if chance > 1:
            raise ConfigError(f"{VARIABLE}: {name}: a probability is at most 1, not {chance:g}")
        draw = random.Random(int(parts["seed"] or 0)).random
        return lambda: draw() < chance
    nth, count = int(parts["nth"] or 1), itertools.count(1)
    return lambda: next(count) == nth  # counted by one instruction: hits come from several threads
