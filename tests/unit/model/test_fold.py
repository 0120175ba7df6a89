"""fold(split(answer)) == answer, for every answer and every way to cut its texts."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import BadAnswer
from holdfast.model import (
    Answer,
    Audio,
    AudioDelta,
    BlockStarted,
    ChoiceLeftover,
    ChoiceStarted,
    Citation,
    CitationDelta,
    Ended,
    Failed,
    Finish,
    Finished,
    FinishReason,
    MessageLeftover,
    Opaque,
    OpaqueDelta,
    Ping,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    SignatureDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
    WireError,
    fold,
    in_pieces,
    split,
)
from holdfast.model.fold import accumulate
from holdfast.testing.strategies import any_answers

STOP = Finish(FinishReason.STOP, "stop")


@given(any_answers(), st.integers(1, 7))
def test_fold_undoes_split_for_every_answer_and_every_granularity(answer: Answer, size: int) -> None:
    assert fold(split(answer, in_pieces(size))) == answer


@settings(max_examples=50)  # slow to draw
@given(any_answers())
def test_split_cuts_into_no_more_than_one_piece_by_itself(answer: Answer) -> None:
    assert fold(split(answer)) == answer


@settings(max_examples=50)  # slow to draw
@given(any_answers())
def test_the_arguments_are_never_changed(answer: Answer) -> None:
    before = msgspec.json.encode(answer)
    events = list(split(answer, in_pieces(1)))
    told = msgspec.json.encode(events)
    fold(events)
    fold(events)
    assert msgspec.json.encode(answer) == before
    assert msgspec.json.encode(events) == told


def test_text_really_is_cut() -> None:
    answer = fold([TextDelta(choice=0, key=0, text="abcde")])
    pieces = [event.text for event in split(answer, in_pieces(2)) if isinstance(event, TextDelta)]
    assert pieces == ["ab", "cd", "e"]


def test_a_piece_has_at_least_one_character() -> None:
    with pytest.raises(ValueError, match="at least one"):
        in_pieces(0)


def test_blocks_stand_in_the_order_of_their_keys_not_of_their_arrival() -> None:
    answer = fold(
        [
            ToolCallDelta(choice=0, key=9, id="b", name="f", arguments="{}"),
            TextDelta(choice=0, key=1, text="x"),
            ReasoningDelta(choice=0, key=0, text="hm"),
            TextDelta(choice=0, key=1, text="y"),
            RefusalDelta(choice=0, key=2, text="no"),
        ]
    )
    kinds = [type(part).__name__ for part in answer.choices[0].parts]
    assert kinds == ["Reasoning", "Text", "Refusal", "ToolCall"]
    assert answer.choices[0].text == "xy"


def test_choices_interleave_and_metadata_may_come_late() -> None:
    answer = fold(
        [
            Started(extra={"filter": 1}),
            ChoiceStarted(choice=1, name="n"),
            TextDelta(choice=1, key=0, text="b"),
            Started(id="x", model="m", created=5, dialect="d", extra={"tier": "t"}),
            TextDelta(choice=0, key=0, text="a"),
            Started(id="y", model="n", created=6, dialect="e"),
            Ping(),
            Finished(choice=0, finish=STOP),
            Finished(choice=0, finish=STOP),
            UsageReported(usage=Usage(input_tokens=1)),
            UsageReported(usage=Usage(output_tokens=2)),
            Ended(),
        ]
    )
    assert (answer.id, answer.model, answer.created, answer.dialect) == ("x", "m", 5, "d")
    assert answer.extra == {"filter": 1, "tier": "t"}
    assert [(c.index, c.text, c.finish, c.message.name) for c in answer.choices] == [
        (1, "b", None, "n"),
        (0, "a", STOP, None),
    ]
    assert answer.usage == Usage(output_tokens=2)


def test_all_kinds_of_deltas_grow_their_block() -> None:
    answer = fold(
        [
            BlockStarted(choice=0, key=0, part=Reasoning(text="a", encrypted="1", signature="s")),
            ReasoningDelta(choice=0, key=0, text="b", encrypted="2"),
            SignatureDelta(choice=0, key=0, signature="t"),
            CitationDelta(choice=0, key=1, citation=Citation(url="u")),
            AudioDelta(choice=0, key=2, data="AA", transcript="he"),
            AudioDelta(choice=0, key=2, data="BB", transcript="llo"),
            BlockStarted(choice=0, key=3, part=Opaque(dialect="d", data={"type": "t", "input": "x"})),
            OpaqueDelta(choice=0, key=3, data={"type": "t", "input": "y"}),
            ToolCallDelta(choice=0, key=4, arguments="{"),
            ToolCallDelta(choice=0, key=4, id="i", name="f", arguments="}"),
            ToolCallDelta(choice=0, key=4, id="other", name="other"),
        ]
    )
    assert answer.choices[0].parts == (
        Reasoning(text="ab", encrypted="12", signature="st"),
        Text(text="", citations=(Citation(url="u"),)),
        Audio(data="AABB", transcript="hello"),
        Opaque(dialect="d", data={"type": "t", "input": "xy"}),
        ToolCall(id="i", name="f", arguments="{}"),
    )


def test_leftovers_replace_or_grow() -> None:
    answer = fold(
        [
            ChoiceLeftover(choice=0, extra={"native": "a", "logprobs": None}),
            ChoiceLeftover(choice=0, extra={"native": None}),
            ChoiceLeftover(choice=0, extra={"native": "b"}, more={"logprobs": {"content": [1]}}),
            ChoiceLeftover(choice=0, more={"logprobs": {"content": [2]}}),
            ChoiceLeftover(choice=0, extra={"native": None, "logprobs": None}),
            MessageLeftover(choice=0, extra={"note": "x"}, spelling={"reasoning": "a"}),
            MessageLeftover(choice=0, extra={"note": "y"}, spelling={"reasoning": "b"}),
        ]
    )
    choice = answer.choices[0]
    assert choice.extra == {"native": "b", "logprobs": {"content": [1, 2]}}
    assert choice.message.extra == {"note": "xy"}
    assert choice.message.spelling == {"reasoning": "b"}


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([Failed(error=WireError(message="overloaded"))], "overloaded"),
        (
            [
                Finished(choice=0, finish=STOP),
                Finished(choice=0, finish=Finish(FinishReason.LENGTH, "length")),
            ],
            "finishes twice: 'stop', then 'length'",
        ),
        (
            [TextDelta(choice=0, key=0, text="a"), RefusalDelta(choice=0, key=0, text="b")],
            "began as Text and goes on as Refusal",
        ),
        ([OpaqueDelta(choice=0, key=0, data={})], "without having begun"),
        ([SignatureDelta(choice=0, key=0, signature="s")], "can't have a signature"),
        ([BlockStarted(choice=0, key=0, part=Text(text=""))] * 2, "begins twice"),
    ],
)
def test_a_stream_that_contradicts_itself_is_no_answer(events: list, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        fold(events)


def test_accumulate_joins_increments_and_keeps_names() -> None:
    merged = accumulate(
        {
            "id": "a",
            "type": "t",
            "text": "x",
            "list": [1],
            "deep": {"n": 1, "s": "p"},
            "none": None,
            "was": 3,
        },
        {
            "id": "b",
            "type": "t",
            "text": "y",
            "list": [2],
            "deep": {"n": 2, "s": "q"},
            "none": 1,
            "was": None,
        },
    )
    assert merged == {
        "id": "b",
        "type": "t",
        "text": "xy",
        "list": [1, 2],
        "deep": {"n": 2, "s": "pq"},
        "none": 1,
        "was": 3,
    }


@settings(max_examples=50)  # slow to draw
@given(any_answers())
def test_the_model_can_be_stored_and_read_again(answer: Answer) -> None:
    assert msgspec.json.decode(msgspec.json.encode(answer), type=Answer) == answer
