"""The promises that an engine keeps without any policy, each watched at every event that could break it.

A monitor says what a broken promise looks like from outside: from what clients heard, what providers did, what the ledger
was told and what gates got back. It knows nothing of how the engine works.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Final

from tests.simulation.providers import PRICES

if TYPE_CHECKING:
    from tests.simulation.providers import Served
    from tests.simulation.stories import Stories, Story
    from tests.simulation.trace import (
        Accepted,
        Admitted,
        Attempted,
        Back,
        Crashed,
        Ended,
        Entered,
        Entering,
        Gone,
        Heard,
        Opened,
        Over,
        Recovered,
        Sent,
        Settled,
    )

    from holdfast.ledger.entry import Counts

__all__ = ["LATE_S", "MONITORS", "Monitor"]

LATE_S: Final = 0.05
"""How late an answer may end."""
_LEAVING_S: Final = 0.25
"""How soon after its client has left everything of a request is over."""
_TIMER_S: Final = 0.011
"""How late a limit may ring, and a rounding."""
_SOON_S: Final = 0.001
"""After it, whatever was cancelled has run."""
_EPSILON: Final = 1e-6


class Monitor:
    """Watches for one kind of broken promise."""

    promise: ClassVar[str]

    def __init__(self, stories: Stories) -> None:
        self.stories = stories

    def fail(self, event_at: float, n: int, what: str, *, promise: str | None = None) -> None:
        self.stories.broken(promise or self.promise, event_at, n, what)

    def story(self, n: int) -> Story:
        return self.stories.by_n[n]


class OneTrueText(Monitor):
    """ST1, ST3, ST4: what a client hears is the text of one attempt, and a success only where that attempt was one."""

    promise = "ST1"

    def on_heard(self, event: Heard) -> None:
        story = self.story(event.n)
        story.text += event.text
        served = self.stories.journal.of(event.n)
        if event.text and not any(each.text.startswith(story.text) for each in served):
            self.fail(event.at, event.n, f"no attempt's text begins with {story.text!r}", promise="ST4")
        if event.ending != "done":
            return
        late = event.at >= story.asked.deadline - _TIMER_S
        same = [each for each in served if each.text == story.text or (late and each.finished == story.text)]
        if not same:
            self.fail(event.at, event.n, f"a success with {story.text!r}, which no attempt said")
        elif not any(each.whole or each.finished == story.text for each in same):
            self.fail(event.at, event.n, f"a success that {same[-1].nonce} never finished", promise="ST3")


class OneEnding(Monitor):
    """ST2, ST5, ST6: one ending, nothing after it, no error in the place of a status, one id, true usage."""

    promise = "ST2"

    def on_heard(self, event: Heard) -> None:
        story = self.story(event.n)
        if event.wrong is not None:
            self.fail(event.at, event.n, event.wrong)
        if story.ending is not None:
            self.fail(event.at, event.n, "something came after the ending")
        if event.ending is not None:
            story.ending = event.ending
            if event.ending != "done" and not story.text:
                self.fail(event.at, event.n, "a 200, and an error before any content", promise="ST5")
        if event.usage is not None:
            served = self.stories.journal.of(event.n)
            if not story.ask.usage and story.ask.stream:
                self.fail(event.at, event.n, "usage that was not asked for", promise="ST6")
            if not any(each.usage == event.usage for each in served):
                self.fail(event.at, event.n, f"usage {event.usage} that no attempt had", promise="ST6")

    def on_over(self, event: Over) -> None:
        story = self.story(event.n)
        if story.ending is None:
            self.fail(event.at, event.n, "nothing is left to read, and there was no ending")


class HonestStatus(Monitor):
    """ST5: the status says what happened: the table of "All targets failed", and a caller's own fault as it was said."""

    promise = "ST5"

    def on_opened(self, event: Opened) -> None:
        if event.label is None:
            return
        story = self.story(event.n)
        if event.status < 400:
            self.fail(event.at, event.n, f"an error {event.label} with status {event.status}")
        if event.label == "targets_failed":
            expected = self._expected(story)
            if event.status != expected:
                self.fail(event.at, event.n, f"status {event.status} where {expected} would be true")
        elif story.ask.bad and story.rows and event.status != 400:
            self.fail(event.at, event.n, f"status {event.status} for the caller's own 400", promise="FB3")
        elif event.status == 500:
            self.fail(event.at, event.n, f"an internal error: {event.label}")

    def _expected(self, story: Story) -> int:
        outcomes = [row.outcome for row in story.rows]
        far = any(served.mood == "far" for served in self.stories.journal.of(story.ask.n))
        labels = {*outcomes, *(each.label for each in story.refusals)}
        if (
            labels
            and not story.out_of_time
            and labels <= {"rate_limited", "quota_exhausted", "rate_exceeded"}
        ):
            return 429
        if (
            story.out_of_time
            or not (outcomes or story.refusals)
            or "timed_out" in outcomes
            or (far and "connect_failed" in outcomes)
        ):
            return 504
        if not outcomes:
            return 503
        return 502


class Caps(Monitor):
    """RT1: attempts at a target, in all, and no sleep after the last one. FB3: none after the caller's own fault."""

    promise = "RT1"

    def on_attempted(self, event: Attempted) -> None:
        story = self.story(event.n)
        retry = self.stories.providers[event.target].retry
        tries = sum(row.target == event.target for row in story.rows)
        if tries > 1 + retry["max_retries"]:
            self.fail(event.at, event.n, f"{tries} attempts at {event.target}")
        if len(story.rows) > self.stories.plan.route.max_attempts:
            self.fail(event.at, event.n, f"{len(story.rows)} attempts")

    def on_sent(self, event: Sent) -> None:
        if any(row.status == 400 for row in self.story(event.n).rows):
            self.fail(event.at, event.n, "an attempt after the caller's own fault", promise="FB3")

    def on_ended(self, event: Ended) -> None:
        story = self.story(event.n)
        if event.state != "failed":
            return
        idle_s = event.at - max(story.last_act_at, story.reading_since)
        if idle_s > _EPSILON:
            self.fail(event.at, event.n, f"{idle_s:.3f} s between the last attempt and the verdict")


class Waits(Monitor):
    """RT2, RT3, RT6: when and where the next attempt begins."""

    promise = "RT3"

    def on_entering(self, event: Entering) -> None:
        self._starts(event.at, event.n, event.target, exact=True)

    def on_sent(self, event: Sent) -> None:
        if not self.stories.gated:
            self._starts(event.at, event.n, event.provider, exact=False)

    def _starts(self, at: float, n: int, target: str, *, exact: bool) -> None:
        story = self.story(n)
        wanted = story.not_before.get(target, 0.0)
        if at < wanted - _EPSILON:
            self.fail(at, n, f"{target} was asked {wanted - at:.3f} s before it said to be")
        self._after_silence(at, n, target, story)
        last = story.rows[-1] if story.rows else None
        if exact and last is not None and last.target == target and last.retry_after_s is None:
            # Before it is sent its bound may have to be made durable.
            max_s = self.stories.providers[target].retry["max_s"] + self.stories.plan.ledger_s
            if at - max(last.at, story.last_act_at if story.refusals else 0.0) > max_s + _EPSILON:
                self.fail(at, n, f"a pause of {at - last.at:.3f} s; the cap is {max_s} s", promise="RT2")

    def _after_silence(self, at: float, n: int, target: str, story: Story) -> None:
        if target not in story.silent:
            return
        left = [name for name in self.stories.providers if not story.tried[name] and name != target]
        if left:
            self.fail(at, n, f"{target} was silent, and is asked again before {left[0]}", promise="RT6")

    def on_opened(self, event: Opened) -> None:
        """What providers asked for is passed on, where it is the answer."""
        if event.status != 429 or event.label != "targets_failed":
            return
        last = {served.provider: served for served in self.stories.journal.of(event.n)}
        if event.retry_after_s is None and last and all(served.named_wait for served in last.values()):
            self.fail(event.at, event.n, "every target said when to come back, and the client isn't told")


class Deadline(Monitor):
    """DL1: the answer ends by the deadline, and nothing starts after it."""

    promise = "DL1"

    def on_sent(self, event: Sent) -> None:
        late_s = event.at - self.story(event.n).asked.deadline
        if late_s > _TIMER_S:
            self.fail(event.at, event.n, f"sent to {event.provider} {late_s:.3f} s after the deadline")

    def on_opened(self, event: Opened) -> None:
        if event.label is not None:
            self._ends(event.at, event.n)

    def on_over(self, event: Over) -> None:
        self._ends(event.at, event.n)

    def _ends(self, at: float, n: int) -> None:
        story = self.story(n)
        late_s = at - max(story.asked.deadline, story.reading_since)
        if late_s > LATE_S:
            self.fail(at, n, f"the answer ended {late_s:.3f} s after the deadline")


class Leaving(Monitor):
    """DL2: soon after a client has left nothing of its request is under way, and all of it is settled."""

    promise = "DL2"

    def on_gone(self, event: Gone) -> None:
        self.stories.call_later(_LEAVING_S, lambda: self._look(event.at + _LEAVING_S, event.n))

    def _look(self, at: float, n: int) -> None:
        story = self.story(n)
        for served in self.stories.journal.of(n):
            if served.open:
                self.fail(at, n, f"{served.nonce} is still open")
        if story.accepted_at is not None and story.ended is None:
            self.fail(at, n, "it isn't settled")
        if story.permits:
            self.fail(at, n, f"permits of {sorted(story.permits.values())} are still out")


class OneRecord(Monitor):
    """LE1: durable before anything is sent, one end for every intent, and one that says what the client saw."""

    promise = "LE1"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self.tally: Counter[str] = Counter()
        self._accepted: set[str] = set()
        self._given_up: dict[int, bool] = {}
        """Settled by recovery; and whether nobody will end it any more."""
        self._too_late = 0
        """Ended at their deadline, while their intent was on its way."""

    def on_accepted(self, event: Accepted) -> None:
        if event.id in self._accepted:
            self.fail(event.at, event.n, "accepted twice")
        self._accepted.add(event.id)
        self.tally["accepted"] += 1

    def on_sent(self, event: Sent) -> None:
        story = self.story(event.n)
        if story.accepted_at is None:
            self.fail(event.at, event.n, f"sent to {event.provider} before the intent was durable")
        if story.ended is not None:
            self.fail(event.at, event.n, f"sent to {event.provider} after the end was written")

    def on_recovered(self, event: Recovered) -> None:
        if event.n not in self._given_up:
            self.tally["unknown"] += 1
        self._given_up[event.n] = event.dead

    def on_ended(self, event: Ended) -> None:
        story = self.story(event.n)
        dead = self._given_up.pop(event.n, None)
        if dead is False:  # it comes late, and says after all what became of it
            self.tally["unknown"] -= 1
        if not dead:
            self.tally[event.state] += 1
        self._too_late += event.label == "no_time_left" and story.accepted_at == event.at and not story.tried
        if story.accepted_at is None:
            self.fail(event.at, event.n, "an end without an intent")
        if story.ended is not event:
            self.fail(event.at, event.n, "ended twice")
        if event.attempts != len(story.rows):
            self.fail(event.at, event.n, f"{event.attempts} attempts in the end, {len(story.rows)} were told")
        if sorted(row.number for row in story.rows) != list(range(1, len(story.rows) + 1)):
            self.fail(event.at, event.n, "attempts that aren't numbered from 1")

    def on_opened(self, event: Opened) -> None:
        story = self.story(event.n)
        if event.label is not None and story.accepted_at is not None:
            self._agrees(event.at, event.n, "failed")

    def on_over(self, event: Over) -> None:
        story = self.story(event.n)
        self._agrees(event.at, event.n, "ok" if story.ending == "done" else "failed")

    def _agrees(self, at: float, n: int, state: str) -> None:
        ended = self.story(n).ended
        if ended is None or ended.state != state:
            said = "nothing" if ended is None else ended.state
            self.fail(at, n, f"the client saw {state}, the ledger was told {said}")

    def compare(self, at: float, counts: Counts, *, unwritten: int) -> None:
        """With the ledger's own counts.

        ``unwritten``: ends that it ignored, because their client had left while the intent was on its way, or its time was
        over.
        """
        tally = self.tally
        ended = tally["ok"] + tally["failed"] + tally["cancelled"] + tally["unknown"]
        mine = (
            tally["accepted"] - unwritten,
            tally["ok"],
            tally["failed"] - self._too_late,
            tally["cancelled"] - (unwritten - self._too_late),
            tally["unknown"],
            tally["accepted"] - ended,
        )
        theirs = (
            counts.accepted,
            counts.ok,
            counts.failed,
            counts.cancelled,
            counts.unknown,
            counts.in_flight,
        )
        if not counts.balanced or mine != theirs:
            self.fail(
                at, -1, f"accepted, ok, failed, cancelled, unknown, in flight: told {mine}, counted {theirs}"
            )


class Permits(Monitor):
    """BH1: a permit and a ticket come back exactly once, and not before what they let through is over."""

    promise = "BH1"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self.out: dict[int, str] = {}
        self._tickets: Counter[int] = Counter()

    def on_entered(self, event: Entered) -> None:
        self.out[event.permit] = event.target

    def on_back(self, event: Back) -> None:
        if self.out.pop(event.permit, None) is None:
            self.fail(event.at, event.n, f"a permit of {event.target} came back twice")
        served = self.stories.served(event.n, event.target)
        if (
            served and served[-1].open
        ):  # a task that was cancelled lets go of its connection when it runs next
            self.stories.call_later(_SOON_S, lambda: self._still_open(event, served[-1]))

    def _still_open(self, event: Back, served: Served) -> None:
        if served.open:
            self.fail(
                event.at, event.n, f"the permit of {event.target} is back, and {served.nonce} isn't over"
            )

    def on_admitted(self, event: Admitted) -> None:
        self._tickets[event.n] += 1

    def on_settled(self, event: Settled) -> None:
        self._tickets[event.n] -= 1
        if self._tickets[event.n] < 0:
            self.fail(event.at, event.n, "its ticket was settled twice")

    def on_ended(self, event: Ended) -> None:
        story = self.story(event.n)
        if story.permits:
            self.fail(event.at, event.n, f"over, and permits of {sorted(story.permits.values())} are out")

    def at_the_end(self, at: float) -> None:
        """Nothing is under way any more."""
        if self.out:
            self.fail(at, -1, f"{len(self.out)} permits never came back")
        if left := [n for n, count in self._tickets.items() if count > 0]:
            self.fail(at, left[0], f"{len(left)} tickets never came back")


class Bill(Monitor):
    """BU2: what providers bill is in the ledger, and exactly so where they said what it was."""

    promise = "BU2"

    def on_attempted(self, event: Attempted) -> None:
        if event.cost_nano is None:
            self.fail(event.at, event.n, "a price that is known, and a cost that isn't")
        elif event.billed == "provider":
            served = self.stories.served(event.n, event.target)
            if all(each.billed_nano != event.cost_nano for each in served):
                self.fail(event.at, event.n, f"{event.target} never billed {event.cost_nano}")

    def on_ended(self, event: Ended) -> None:
        story = self.story(event.n)
        costs: Counter[str] = Counter()
        for row in story.rows:
            costs[row.target] += row.cost_nano or 0
        for name in PRICES:
            billed = sum(served.billed_nano for served in self.stories.served(event.n, name) if served.sent)
            if billed > costs[name]:
                self.fail(event.at, event.n, f"{name} billed {billed}, the ledger has {costs[name]}")
        if event.cost_nano != sum(costs.values()):
            self.fail(
                event.at, event.n, f"attempts cost {sum(costs.values())}, the request {event.cost_nano}"
            )


class Sound(Monitor):
    """Nothing is raised but what has a name in the tree of errors."""

    promise = "CRASH"

    def on_crashed(self, event: Crashed) -> None:
        self.fail(event.at, event.n, event.error)


MONITORS: Final[tuple[type[Monitor], ...]] = (
    OneTrueText,
    OneEnding,
    HonestStatus,
    Caps,
    Waits,
    Deadline,
    Leaving,
    OneRecord,
    Permits,
    Bill,
    Sound,
)
