"""The stream guard against its table, and against a reference that knows only the promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.chat_wire import DONE, PING, chunk, event, hear, usage_chunk

from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.engine.guard import TABLE, Event, Guard, State
from holdfast.errors import BadAnswer, ConnectionLost, HoldfastError, Truncated

DIALECT = OpenAIChat()
MALFORMED = b"data: {not json\n\n"
ERROR = event({"error": {"message": "boom", "type": "server_error"}})


# The table.


@pytest.mark.parametrize("state", State)
def test_every_event_has_an_answer_in_every_state(state):
    assert set(TABLE[state]) == set(Event)
    assert set(TABLE[state].values()) <= set(State)


@pytest.mark.parametrize("end", [State.DONE, State.BROKEN])
def test_nothing_leaves_the_end(end):
    assert set(TABLE[end].values()) == {end}


def test_only_a_full_end_or_what_follows_the_last_finish_is_done():
    ways = {
        (state, happened)
        for state, row in TABLE.items()
        for happened, then in row.items()
        if then is State.DONE and state is not State.DONE
    }
    assert {state for state, happened in ways if happened is not Event.FULL_END} == {State.CLOSING}
    assert (State.CLOSING, Event.CONTENT) not in ways


def test_nothing_said_after_the_last_finish_reason_is_accepted():
    for happened in (Event.CONTENT, Event.FINISH, Event.LAST_FINISH, Event.CONFLICT):
        assert TABLE[State.CLOSING][happened] is State.BROKEN


def test_the_commit_is_never_taken_back():
    for state in (State.SPEAKING, State.CLOSING):
        assert State.WAITING not in TABLE[state].values()


# The reference.


@dataclass
class Reference:
    """What the promises say of a list of events: no states, no bytes, no dialect."""

    choices: int
    texts: dict[int, str] = field(default_factory=dict)
    finished: dict[int, str] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    usage: tuple[int, int] | None = None
    whole: bool = False
    verdict: bool | None = None
    """Success, failure, or not over."""

    def take(
        self,
        kind: str,
        index: int = 0,
        text: str = "",
        finish: str = "",
        usage: tuple[int, int] | None = None,
    ):
        if self.verdict is not None:
            return
        if usage is not None:
            self.usage = usage
        match kind:
            case "delta":
                self._delta(index, text, finish)
            case "done":
                self.verdict = self.whole or (bool(self.seen) and self.finished.keys() == self.seen)
            case "error" | "malformed" | "over":
                self.verdict = self.whole

    def _delta(self, index: int, text: str, finish: str) -> None:
        self.seen.add(index)
        if text:
            if self.whole or index in self.finished:
                self.verdict = False
                return
            self.texts[index] = self.texts.get(index, "") + text
        if not finish:
            return
        if index in self.finished:
            if self.finished[index] != finish:
                self.verdict = False
        elif self.whole:
            self.verdict = False
        else:
            self.finished[index] = finish
            self.whole = len(self.finished) >= self.choices and self.finished.keys() == self.seen


texts = st.text(alphabet="ab é😀\n", max_size=4)
finishes = st.sampled_from(["", "", "", "stop", "length"])
usages = st.none() | st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99))
deltas = st.tuples(st.just("delta"), st.integers(0, 1), texts, finishes, usages)
first_choice = st.tuples(st.just("delta"), st.just(0), texts, finishes, usages)
said = st.one_of(
    deltas,
    first_choice,
    first_choice,
    st.tuples(st.sampled_from(["ping", "done", "error", "malformed"])),
    st.tuples(
        st.just("usage"),
        st.just(0),
        st.just(""),
        st.just(""),
        st.tuples(st.integers(0, 99), st.integers(0, 99)),
    ),
)
names = st.sampled_from(["one", "one", "two", ""])


def wire(happened, answer_id: str, model: str) -> bytes:
    kind, *rest = happened
    if kind == "delta":
        index, text, finish, usage = rest
        return chunk(text, index=index, finish=finish or None, usage=usage, answer_id=answer_id, model=model)
    if kind == "usage":
        return usage_chunk(*rest[-1], answer_id=answer_id or "one", model=model)
    return {"ping": PING, "done": DONE, "error": ERROR, "malformed": MALFORMED}[kind]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


def watch(guard: Guard, pieces: list[bytes], *, lost: HoldfastError | None = None) -> bytes:
    """Feeds the guard as an attempt does; returns what went out before the ending."""
    scanner = DIALECT.scanner()
    out = []
    for piece in pieces:
        before = guard.committed
        given = guard.feed(scanner.feed(piece))
        if not before and guard.state is State.WAITING:
            assert given == b"", "nothing goes out before there is content"
        out.append(given)
    if lost is not None:
        guard.lost(lost)
    else:
        out.append(guard.feed(scanner.finish()))
        guard.eof()
    return b"".join(out)


@given(
    events=st.lists(st.tuples(said, names, names), max_size=9),
    choices=st.integers(1, 2),
    wants_usage=st.booleans(),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    ending=st.sampled_from(["eof", "lost", "cut"]),
    stop_at=st.integers(0, 10_000),
)
@example(
    events=[(("delta", 0, "a", "", None), "one", "one"), (("delta", 0, "", "stop", (1, 2)), "two", "two")],
    choices=1,
    wants_usage=True,
    cuts=[],
    ending="eof",
    stop_at=0,
)
def test_any_stream_any_cut(events, choices, wants_usage, cuts, ending, stop_at):
    frames = [wire(*each) for each in events]
    data = b"".join(frames)
    if ending == "cut":
        data = data[: stop_at % (len(data) + 1)]
    reference = Reference(choices)
    size = 0
    for (happened, _, _), frame in zip(events, frames, strict=True):
        size += len(frame)
        half_malformed = happened[0] == "malformed" and size > len(data)  # is no event, but a cut
        if size <= len(data) or (
            size - 2 <= len(data) and not half_malformed
        ):  # its blank line may be missing
            reference.take(*happened)
    reference.take("over")

    guard = Guard(DIALECT, choices=choices, wants_usage=wants_usage)
    lost = ConnectionLost("gone") if ending == "lost" else None
    early = watch(guard, cut(data, cuts), lost=lost)

    assert (guard.state is State.DONE) == reference.verdict
    assert (guard.state is State.BROKEN) == (guard.fault is not None) == (not reference.verdict)
    so_far = hear(early)
    assert so_far.finishes == {}, "a finish reason goes out only once the answer is known to be whole"
    assert so_far.usages == []
    assert so_far.dones == 0
    for index, text in so_far.texts.items():
        assert reference.texts.get(index, "").startswith(text)
    if not reference.verdict:
        return
    heard = hear(early + guard.closing())
    assert guard.closing() == b"", "told once"
    assert {index: text for index, text in heard.texts.items() if text} == {
        index: text for index, text in reference.texts.items() if text
    }
    assert {index: [finish] for index, finish in reference.finished.items()} == heard.finishes
    assert heard.usages == ([reference.usage] if wants_usage and reference.usage else [])
    assert len(heard.ids - {""}) <= 1
    assert len(heard.models - {""}) <= 1
    known = guard.usage and (guard.usage.input_tokens, guard.usage.output_tokens)
    assert known == reference.usage


# Single rules, each by its smallest example.


def run(*frames: bytes, choices: int = 1, wants_usage: bool = True) -> tuple[Guard, bytes]:
    guard = Guard(DIALECT, choices=choices, wants_usage=wants_usage)
    return guard, watch(guard, [b"".join(frames)])


def test_role_pings_and_empty_deltas_wait_for_the_first_content():
    guard = Guard(DIALECT)
    scanner = DIALECT.scanner()
    held = [chunk(role="assistant"), PING, chunk("")]
    for frame in held:
        assert guard.feed(scanner.feed(frame)) == b""
    assert not guard.committed
    first = chunk("hi")
    assert guard.feed(scanner.feed(first)) == b"".join(held) + first
    assert guard.committed


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"reasoning_details": [{"type": "t"}]},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"audio": {"data": "AA"}},
        {"content": [{"type": "text", "text": "x"}]},
    ],
)
def test_every_kind_of_content_commits(delta):
    guard, out = run(chunk(**delta))
    assert out == chunk(**delta)
    assert guard.content


@pytest.mark.parametrize(
    "delta",
    [{}, {"role": "assistant"}, {"content": ""}, {"content": None}, {"tool_calls": []}, {"refusal": None}],
)
def test_what_says_nothing_does_not_commit(delta):
    guard, out = run(chunk(**delta))
    assert out == b""
    assert isinstance(guard.fault, Truncated)


def test_an_end_marker_without_a_finish_reason_is_a_cut_that_looks_tidy():
    guard, out = run(chunk("half"), DONE)
    assert hear(out).text == "half"
    assert isinstance(guard.fault, Truncated)


def test_content_after_a_finish_reason_takes_the_finish_reason_back():
    guard, out = run(chunk("a"), chunk(finish="stop"), chunk("b"), DONE)
    assert isinstance(guard.fault, BadAnswer)
    assert hear(out).finishes == {}
    assert hear(out).text == "a"


def test_content_after_its_own_choice_finished_is_a_conflict():
    """Though another choice is still speaking."""
    guard, _ = run(chunk("a"), chunk("b", index=1), chunk(finish="stop"), chunk("c"), choices=2)
    assert isinstance(guard.fault, BadAnswer)


def test_two_different_finish_reasons_are_a_conflict_and_the_same_twice_is_one():
    guard, _ = run(chunk("a"), chunk(finish="stop"), chunk(finish="length"), DONE)
    assert isinstance(guard.fault, BadAnswer)
    guard, out = run(chunk("a"), chunk(finish="stop"), chunk(finish="stop"), DONE)
    assert hear(out + guard.closing()).finishes == {0: ["stop"]}


def test_each_of_several_choices_must_finish():
    both = [chunk("a"), chunk("b", index=1), chunk(finish="stop")]
    guard, _ = run(*both, DONE, choices=2)
    assert guard.state is State.BROKEN
    guard, out = run(*both, chunk(finish="stop", index=1), choices=2)
    assert guard.state is State.DONE
    assert hear(out + guard.closing()).texts == {0: "a", 1: "b"}


def test_fewer_choices_than_asked_for_are_whole_only_with_the_end_marker():
    guard, _ = run(chunk("a"), chunk(finish="stop"), choices=2)
    assert guard.state is State.BROKEN
    guard, _ = run(chunk("a"), chunk(finish="stop"), DONE, choices=2)
    assert guard.state is State.DONE


def test_an_empty_answer_that_finished_is_an_answer():
    guard, out = run(chunk(role="assistant"), chunk(finish="stop"), DONE)
    assert guard.state is State.DONE
    assert out == b""
    assert hear(guard.closing()).finishes == {0: ["stop"]}


def test_usage_that_comes_with_every_chunk_is_told_once_and_last():
    frames = [chunk("a", usage=(5, 1)), chunk("b", usage=(5, 2)), chunk(finish="stop", usage=(5, 2))]
    guard, out = run(*frames)
    heard = hear(out + guard.closing())
    assert heard.usages == [(5, 2)]
    assert heard.text == "ab"
    guard, out = run(*frames, wants_usage=False)
    assert hear(out + guard.closing()).usages == []
    assert guard.usage.output_tokens == 2


def test_a_new_id_and_model_for_each_chunk_become_the_first_ones():
    frames = [chunk(text, answer_id=f"id-{n}", model=f"m-{n}") for n, text in enumerate("abc")]
    guard, out = run(
        *frames,
        chunk(finish="stop", answer_id="id-7", model="m-7"),
        chunk(usage=(1, 1), answer_id="id-8", model="m-8"),
    )
    heard = hear(out + guard.closing())
    assert (heard.ids, heard.models) == ({"id-0"}, {"m-0"})
    assert (guard.id, guard.model) == ("id-0", "m-0")


def test_what_came_before_a_fault_still_counts_and_what_comes_after_does_not():
    guard, out = run(chunk("a"), MALFORMED, chunk("b"), chunk(finish="stop"), DONE)
    assert hear(out).text == "a"
    assert guard.state is State.BROKEN


def test_the_first_fault_is_kept():
    guard, _ = run(chunk("a"), MALFORMED)
    first = guard.fault
    guard.lost(ConnectionLost("later"))
    guard.eof()
    assert guard.fault is first


def test_pings_are_no_progress():
    guard, _ = run(PING, PING, chunk(role="assistant"))
    assert guard.progress == 0
    guard, _ = run(chunk(reasoning_content="hm"), chunk("a"))
    assert guard.progress == 2
