"""Simulated providers, and the journal of what they truly did.

What a provider does with a request is drawn from the plan's seed, the provider's name, the request's number and how often
that request came: never from the order in which requests arrive. Only the capacity looks at what else is there.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from email.utils import formatdate
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tests.simulation.chat_wire import DONE, JSON, PING, SSE, chunk, event, refuses, usage_chunk, usage_fields
from tests.simulation.draw import FAULTS
from tests.simulation.trace import Closed, Sent, Unanswered

from holdfast.testing.memory_transport import MemoryTransport, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.simulation.draw import Ask, Capacity, Episode, Plan, ProviderPlan
    from tests.simulation.trace import Trace

    from holdfast.clock import Clock
    from holdfast.testing.memory_transport import Ending, Exchange, MemoryAnswer
    from holdfast.transport.base import Outgoing

__all__ = ["MODEL", "PRICES", "Journal", "Provider", "Served", "Wire"]

MODEL: Final = "m"
PRICES: Final = {"a": (2_000, 8_000), "b": (3_000, 12_000), "c": (500, 1_500), "d": (1_000, 1_000)}
"""Nano-dollars for a token of input and of output."""

_MOST_GIVEN: Final = 20
"""Tokens that a prompt is counted as, at most."""
_COULD_BE_GIVEN: Final = 550
"""Tokens that it could be counted as: no more than a byte each, and what providers add of their own."""

_SOME_PAUSES_S: Final = (0.001, 0.05, 0.3)

Segments = list[tuple[float, bytes]]


@dataclass(slots=True)
class Served:
    """One request as its provider knows it."""

    n: int
    provider: str
    nonce: str
    """Unique: it stands in the answer's id, in its words and in its headers."""
    at: float
    mood: str
    text: str = ""
    """What it means to say. A broken answer has a part of it."""
    finished: str | None = None
    """What it had said when it gave a finish reason, where it went on after that: at a deadline nobody can know."""
    whole: bool = False
    """It says all of it, and gives a finish reason: its answer may be called a success."""
    usage: tuple[int, int] | None = None
    billed_nano: int = 0
    most: tuple[int, int] = (0, 0)
    """The most that it could bill for such a request: nano-dollars, and tokens."""
    max_tokens: int = 0
    status: int | None = None
    not_before: float | None = None
    """It said when to come back, in virtual seconds."""
    named_wait: bool = False
    sent: bool = False
    given_up: bool = False
    """The caller left, or its patience ended, before anything was sent."""
    exchange: Exchange | None = None

    @property
    def open(self) -> bool:
        """It is at work: the request is on its way, or the answer isn't over."""
        if self.exchange is None:
            return not self.given_up
        return self.exchange.ended == "open"


class Journal:
    """What was truly served, by request."""

    def __init__(self) -> None:
        self.by_request: dict[int, list[Served]] = {}

    def add(self, served: Served) -> None:
        self.by_request.setdefault(served.n, []).append(served)

    def of(self, n: int) -> list[Served]:
        return self.by_request.get(n, [])


class _Message(msgspec.Struct):
    content: str


class _Question(msgspec.Struct):
    messages: list[_Message]
    max_tokens: int
    stream: bool = False


_read_question = msgspec.json.Decoder(_Question).decode


class Provider:
    """One provider of a plan."""

    def __init__(
        self, plan: Plan, provider: ProviderPlan, clock: Clock, journal: Journal, asks: Mapping[int, Ask]
    ) -> None:
        self._seed = plan.seed
        self._plan = provider
        self._clock = clock
        self._journal = journal
        self._asks = asks
        self._coming = sorted(provider.episodes, key=lambda each: -each.start_s)  # the next one is last
        self._under_way: list[Episode] = []
        self._steps = sorted(provider.capacity, key=lambda each: -each.at_s)
        self._capacity: Capacity | None = None
        self._busy: list[Served] = []
        self._asked: Counter[int] = Counter()
        self._well = False

    def heal(self) -> None:
        """From now on every request is served, and quickly."""
        self._well = True

    def answer(self, outgoing: Outgoing) -> tuple[Served, Reply]:
        question = _read_question(outgoing.body)
        n = int(question.messages[0].content.rpartition(" ")[2])
        self._asked[n] += 1
        nth = self._asked[n]
        name, now = self._plan.name, self._clock.monotonic()
        rng = random.Random(f"{self._seed} {name} {n} {nth}")
        ask = self._asks[n]
        mood = "bad" if ask.bad else self._mood(now, rng)
        served = Served(n, name, f"{name}{n}.{nth}", now, mood)
        if mood not in _NO_PLACE:
            if (status := self._beyond(now)) is not None:
                mood = served.mood = "beyond"
                served.status = status
            else:
                self._busy.append(served)
        self._journal.add(served)
        most_made = min(3 * ask.words, question.max_tokens)
        given, made = PRICES[name]
        served.max_tokens = question.max_tokens
        served.most = (
            _COULD_BE_GIVEN * given + question.max_tokens * made,
            _COULD_BE_GIVEN + question.max_tokens,
        )
        answering = _Answering(
            self._plan, served, ask, rng, self._clock, streamed=question.stream, most_made=most_made
        )
        if self._well:
            answering.head_s, answering.gap_s, answering.connect_s = 0.1, 0.01, 0.0
        reply = answering.reply()
        if rng.random() < 0.1 and len(reply.segments) > 1 and mood != "goes_on":
            reply = msgspec.structs.replace(reply, segments=_recut(rng, reply.segments))
        return served, reply

    def _mood(self, now: float, rng: random.Random) -> str:
        dice = {
            mood: rng.random() for mood in FAULTS
        }  # one for each: taking a fault out doesn't move the others
        if self._well:
            return "well"
        while self._coming and self._coming[-1].start_s <= now:
            self._under_way.append(self._coming.pop())
        self._under_way = [each for each in self._under_way if each.end_s > now]
        for episode in self._under_way:
            if dice[episode.mood] < episode.share:
                return episode.mood
        for mood, rate in self._plan.rates.items():
            if dice[mood] < rate:
                return mood
        return "well"

    def _beyond(self, now: float) -> int | None:
        """The status for a request that has no place; None where it has one."""
        while self._steps and self._steps[-1].at_s <= now:
            self._capacity = self._steps.pop()
        self._busy = [served for served in self._busy if served.open]
        if self._capacity is None or self._well or len(self._busy) < self._capacity.places:
            return None
        return self._capacity.status


_NO_PLACE: Final = frozenset(
    {"bad", "drops", "down", "overloaded", "limited", "quota", "auth", "html", "unreachable", "far"}
)
"""What a provider does before it begins to work."""


class _Answering:
    """One answer in the making."""

    def __init__(
        self,
        plan: ProviderPlan,
        served: Served,
        ask: Ask,
        rng: random.Random,
        clock: Clock,
        *,
        streamed: bool,
        most_made: int,
    ) -> None:
        self.plan = plan
        self.most_made = most_made
        self.served = served
        self.ask = ask
        self.rng = rng
        self.clock = clock
        self.streamed = streamed
        self.words: list[str] = []
        self.usage = (0, 0)
        self.head_s = plan.head_s * rng.uniform(0.5, 2)
        self.gap_s = plan.gap_s * rng.uniform(0.2, 3)
        self.connect_s = 0.0 if rng.random() < 0.8 else rng.choice(_SOME_PAUSES_S)

    def reply(self) -> Reply:
        mood = self.served.mood
        refusal = _REFUSALS.get(mood)
        if refusal is not None:
            return refusal(self)
        self._mean_to_say()
        return self._stream(mood) if self.streamed else self._plain(mood)

    def _mean_to_say(self) -> None:
        """Words that carry whose they are, so that no splice can go unseen; and what they cost."""
        served, ask = self.served, self.ask
        mark = str(served.n) if ask.agreed else served.nonce
        self.words = [f"{mark}:{i} " for i in range(ask.words)]
        served.text = "".join(self.words)
        given_tokens, made_tokens = self.rng.randint(1, _MOST_GIVEN), self.rng.randint(1, 3 * ask.words)
        self.usage = served.usage = (given_tokens, min(made_tokens, self.most_made))
        served.status = 200
        given, made = PRICES[served.provider]
        # Whatever became of the answer: a provider that worked may send a bill.
        served.billed_nano = self.usage[0] * given + self.usage[1] * made

    # Streams.

    def _stream(self, mood: str) -> Reply:
        served, rng = self.served, self.rng
        who: dict[str, Any] = {"answer_id": f"chatcmpl-{served.nonce}", "model": f"m-{served.provider}"}
        words = [chunk(word, **who) for word in self.words]
        start = [chunk(role="assistant", **who)]
        finish = chunk(finish="stop", **who)
        end = [finish, usage_chunk(*self.usage, **who), DONE]
        kept = words[: rng.randint(0, len(words) - 1)]
        ending: Ending = "complete"
        match mood:
            case "well" | "slow" | "lags":
                served.whole = True
                parts = start + words + end
                if rng.random() < 0.02:
                    parts = start + words + [finish]  # no end marker, which is an end as well
                elif rng.random() < 0.02:
                    parts = start + words + [chunk(finish="stop", usage=self.usage, **who), DONE]
            case "late_break":
                served.whole = True
                parts, ending = [*start, *words, finish], rng.choice(("reset", "hang"))
            case "stalls" | "pings":
                parts, ending = start + kept, "hang"
            case "cuts":
                parts, ending = start + kept, "cut"
            case "resets":
                parts, ending = start + kept, "reset"
            case "garbage":
                parts = start + kept + [b"data: {no\n\n"]
            case "tidy":
                parts = start + words + [DONE]
            case "unfinished":
                parts = start + words
            case "goes_on":
                served.finished = "".join(self.words[: len(kept)])
                more = words[len(kept) :]
                if rng.random() < 0.5:
                    parts = [*start, *kept, finish + more[0], *more[1:], DONE]
                else:
                    parts = [*start, *kept, finish, *more, DONE]
            case "error_event":
                parts = (
                    start
                    + kept
                    + [event({"error": {"message": "overloaded", "type": "server_error", "code": None}})]
                )
            case _:
                return self._html()
        segments = [(self.gap_s * rng.uniform(0.5, 1.5), part) for part in parts]
        if mood == "slow":
            segments[0] = (self.plan.timeouts["first_token_s"] * rng.uniform(0.3, 2), segments[0][1])
        elif mood == "lags":
            late = rng.randrange(len(segments))
            segments[late] = (self.plan.timeouts["idle_s"] * rng.uniform(0.3, 2), segments[late][1])
        elif mood == "goes_on":  # at once: after some seconds of silence the answer counts as whole
            first = len(start) + len(kept) + 1
            segments[first:] = [(0.01, part) for _, part in segments[first:]]
        elif mood == "pings":
            segments += [(self.plan.timeouts["idle_s"] / 3, PING)] * 30
        return Reply(
            200,
            {**SSE, "x-request-id": served.nonce},
            tuple(segments),
            ending,
            head_s=self.head_s,
            connect_s=self.connect_s,
        )

    # Whole answers.

    def _plain(self, mood: str) -> Reply:
        served, rng, plan = self.served, self.rng, self.plan
        body = msgspec.json.encode(
            {
                "id": f"chatcmpl-{served.nonce}",
                "object": "chat.completion",
                "created": 1,
                "model": f"m-{served.provider}",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": served.text},
                        "finish_reason": None if mood in ("tidy", "unfinished", "goes_on") else "stop",
                    }
                ],
                "usage": usage_fields(*self.usage),
            }
        )
        head_s = self.head_s
        ending: Ending = "complete"
        segments: Segments = [(0.0, body)]
        half = len(body) // 2
        match mood:
            case "well":
                served.whole = True
            case "slow":
                served.whole = True
                head_s = min(plan.timeouts["answer_s"], 100.0) * rng.uniform(0.3, 2)
            case "lags":
                served.whole = True
                segments = [(0.0, body[:half]), (plan.timeouts["idle_s"] * rng.uniform(0.3, 2), body[half:])]
            case "late_break":
                segments, ending = [(0.1, body)], "reset"
            case "stalls":
                segments, ending = [(0.1, body[:half])], "hang"
            case "pings":
                segments, ending = [(plan.timeouts["idle_s"] / 3, b" ")] * 30, "hang"
            case "cuts":
                segments, ending = [(0.1, body[:half])], "cut"
            case "resets":
                segments, ending = [(0.1, body[:half])], "reset"
            case "garbage":
                segments = [(0.0, b'{"choices": [')]
            case "error_event":
                segments = [
                    (0.0, b'{"error": {"message": "overloaded", "type": "server_error", "code": null}}')
                ]
            case "tidy" | "unfinished" | "goes_on":
                pass
            case _:
                return self._html()
        return Reply(
            200,
            {**JSON, "x-request-id": served.nonce},
            tuple(segments),
            ending,
            head_s=head_s,
            connect_s=self.connect_s,
        )

    def _html(self) -> Reply:
        return Reply(200, {"content-type": "text/html"}, ((0.0, b"<html>hello</html>"),), head_s=self.head_s)

    # Refusals.

    def _refuse(self, status: int, *, code: str | None = None, wait: bool = False) -> Reply:
        self.served.status = status
        headers = {"x-request-id": self.served.nonce}
        if wait:
            headers.update(self._retry_after())
        if wait and status == 429 and self.plan.signals:
            reset_s = self.plan.retry_after_s * self.rng.uniform(0.1, 1.5)
            headers["x-ratelimit-limit-requests"] = "100"
            headers["x-ratelimit-remaining-requests"] = "0"
            headers["x-ratelimit-reset-requests"] = f"{reset_s:.3f}s"
        return refuses(status, headers=headers, code=code, head_s=min(self.head_s, 1.0))

    def _retry_after(self) -> dict[str, str]:
        """When to come back, in the form that this provider likes."""
        plan, served = self.plan, self.served
        wait_s = plan.retry_after_s * self.rng.uniform(0.5, 1.5)
        head_at = served.at + min(self.head_s, 1.0)
        served.named_wait = True
        match plan.retry_after:
            case "seconds":
                served.not_before = head_at + ceil(wait_s)
                return {"retry-after": str(ceil(wait_s))}
            case "decimals":
                served.not_before = head_at + round(wait_s, 3)
                return {"retry-after": str(round(wait_s, 3))}
            case "ms":
                served.not_before = head_at + round(wait_s * 1000) / 1000
                return {"retry-after-ms": str(round(wait_s * 1000)), "retry-after": "86400"}
            case "date":
                wall_ns = self.clock.wall_ns()
                moment = ceil(wall_ns / 1e9 + wait_s)  # dates have whole seconds
                served.not_before = self.clock.monotonic() + (moment - wall_ns / 1e9)
                return {"retry-after": formatdate(moment, usegmt=True)}
            case "nonsense":
                served.named_wait = False
                return {"retry-after": self.rng.choice(("soon", "-5", "1e99", "", "NaN"))}
            case _:
                served.named_wait = False
                return {}


def _overloaded(answering: _Answering) -> Reply:
    status = answering.rng.choice((503, 529))
    return answering._refuse(status, wait=answering.rng.random() < 0.5)


def _beyond_capacity(answering: _Answering) -> Reply:
    return answering._refuse(answering.served.status or 429, wait=True)


def _html_answer(answering: _Answering) -> Reply:
    given, _ = PRICES[answering.served.provider]
    answering.served.status, answering.served.billed_nano = 200, given
    return answering._html()


def _silent(answering: _Answering) -> Reply:
    answering._mean_to_say()  # it may be at work, and it may send a bill
    answering.served.status = None
    ending: Ending = "hang" if answering.served.mood == "hung" else "reset"
    return Reply(None, ending=ending, head_s=answering.head_s, connect_s=answering.connect_s)


_REFUSALS: Final[Mapping[str, Callable[[_Answering], Reply]]] = {
    "bad": lambda each: each._refuse(400),
    "down": lambda each: each._refuse(500),
    "overloaded": _overloaded,
    "limited": lambda each: each._refuse(429, wait=True),
    "beyond": _beyond_capacity,
    "quota": lambda each: each._refuse(429, code="insufficient_quota"),
    "auth": lambda each: each._refuse(401),
    "html": _html_answer,
    "hung": _silent,
    "drops": _silent,
    "unreachable": lambda each: Reply(None, refused=True, connect_s=each.connect_s),
    "far": lambda each: Reply(None, ending="hang", connect_s=1000.0),
}
"""Moods in which nothing is said that could be an answer."""


def _recut(rng: random.Random, segments: tuple[tuple[float, bytes], ...]) -> tuple[tuple[float, bytes], ...]:
    """The same bytes at about the same times, cut anywhere but between events."""
    out: Segments = []
    left = b""
    for delay_s, data in segments:
        whole = left + data
        cut = rng.randint(0, len(whole))
        out.append((delay_s, whole[:cut]))
        left = whole[cut:]
    return (*out[:-1], (out[-1][0], out[-1][1] + left))


class Wire(MemoryTransport):
    """The transport to all providers, which tells the trace what goes over it."""

    def __init__(self, providers: Mapping[str, Provider], trace: Trace, clock: Clock) -> None:
        super().__init__(self._answer)
        self._providers = providers
        self._trace = trace
        self._clock = clock
        self._on_the_way: dict[int, Served] = {}

    def _answer(self, outgoing: Outgoing) -> Reply:
        served, reply = self._providers[outgoing.origin.host].answer(outgoing)
        self._on_the_way[id(outgoing)] = served
        return reply

    async def send(  # type: ignore[override]  # an answer that is watched has all that the engine knows of one
        self, request: Outgoing, *, connect_s: float, on_sent: Callable[[], None] | None = None
    ) -> _Watched:
        served: Served | None = None
        place = len(self.exchanges)

        def sent() -> None:
            nonlocal served, place
            served = self._on_the_way.pop(id(request))
            served.sent = True
            place = len(self.exchanges)  # nothing runs between this call and the making of the exchange
            self._trace.tell(
                Sent(self._clock.monotonic(), served.n, served.provider, served.nonce, served.mood)
            )
            if on_sent is not None:
                on_sent()

        try:
            answer = await super().send(request, connect_s=connect_s, on_sent=sent)
        except BaseException:
            if served is None:
                self._not_sent(request)
            else:
                served.exchange = self.exchanges[place]
                self._tell_closed(served)
            raise
        assert served is not None
        served.exchange = self.exchanges[place]
        return _Watched(answer, served, self._tell_closed)

    def _not_sent(self, request: Outgoing) -> None:
        served = self._on_the_way.pop(id(request), None)
        if served is not None:
            served.billed_nano, served.given_up = 0, True
            self._trace.tell(Unanswered(self._clock.monotonic(), served.n, served.provider, served.mood))

    def _tell_closed(self, served: Served) -> None:
        exchange = served.exchange
        if exchange is not None:
            self._trace.tell(Closed(self._clock.monotonic(), served.n, served.nonce, exchange.ended))


class _Watched:
    """An answer that says once when it is over."""

    def __init__(self, answer: MemoryAnswer, served: Served, closed: Callable[[Served], None]) -> None:
        self._answer = answer
        self._served = served
        self._closed = closed
        self._told = False
        self.status = answer.status
        self.headers = answer.headers
        self.until_eof = answer.until_eof

    async def read_some(self) -> bytes:
        try:
            return await self._answer.read_some()
        finally:
            self._look()

    def take(self) -> bytes | None:
        return self._answer.take()

    async def read_all(self, limit: int) -> bytes:
        try:
            return await self._answer.read_all(limit)
        finally:
            self._look()

    def close(self) -> None:
        self._answer.close()
        self._look()

    def release(self, linger_s: float) -> None:
        self._answer.release(linger_s)
        self._look()

    def _look(self) -> None:
        exchange = self._served.exchange
        if not self._told and exchange is not None and exchange.ended != "open":
            self._told = True
            self._closed(self._served)
