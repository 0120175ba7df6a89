"""Banks of recorded answers: read strictly, picked by match, chance or turn, and billed as they were."""

import json

import pytest

from holdfast.chaos.answer import compose
from holdfast.chaos.bank import Bank, load_banks
from holdfast.chaos.draws import Draw
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.settings import AnswerSettings
from holdfast.chaos.wire.base import Asked, Tool
from holdfast.chaos.wire.errors import Refused
from holdfast.chaos.wire.openai_chat import OpenAIChat

WIRE = OpenAIChat()


def bank(tmp_path, *rows):
    path = tmp_path / "bank.jsonl"
    path.write_text("\n".join(json.dumps(row) if isinstance(row, dict) else row for row in rows))
    return Bank.load(path)


def say(answers, prompt="hi", *, model="gpt-5", attempt=1, seed=0, settings=None, **asked):
    settings = AnswerSettings(bank="b", **(settings or {}))
    request = Asked(model=model, stream=False, last_user_text=prompt, prompt_tokens=9, **asked)
    draw = Draw(seed, model, attempt)
    return compose(request, settings, 20, draw, WIRE, attempt=attempt, key=model, banks={"b": answers})


def text(*args, **kwargs):
    return "".join(say(*args, **kwargs).choices[0].text)


def test_the_first_row_that_fits_is_told(tmp_path):
    answers = bank(
        tmp_path,
        {"text": "other"},
        {"match": {"model": "GPT-*", "contains": "weather"}, "text": "rain"},
        {"match": {"contains": "weather"}, "text": "sun"},
        "",
        {"match": {"pattern": r"^\d+ \+ \d+$"}, "text": "a sum"},
        {"match": {"prompt": "hi"}, "text": "hello"},
    )
    assert text(answers, "the weather?") == "rain"
    assert text(answers, "the weather?", model="claude") == "sun"
    assert text(answers, "12 + 3") == "a sum"
    assert text(answers, "12 + 3 =") == "other"
    assert text(answers, "hi") == "hello"
    assert text(answers, "hi you") == "other"


def test_rows_without_a_match_are_drawn_by_the_seed(tmp_path):
    answers = bank(tmp_path, *({"text": str(i)} for i in range(4)))
    said = [text(answers, attempt=i) for i in range(1, 80)]
    assert set(said) == {"0", "1", "2", "3"}
    assert said == [text(answers, attempt=i) for i in range(1, 80)]
    assert said != [text(answers, attempt=i, seed=1) for i in range(1, 80)]


def test_rows_in_turn_and_by_chance(tmp_path):
    rows = [{"match": {"contains": "x"}, "text": f"x{i}"} for i in range(3)]
    answers = bank(tmp_path, *rows, {"text": "a"}, {"text": "b"})
    turns = [text(answers, "x", attempt=i, settings={"pick": "sequence"}) for i in range(1, 6)]
    assert turns == ["x0", "x1", "x2", "x0", "x1"]
    others = [text(answers, "y", attempt=i, settings={"pick": "sequence"}) for i in range(1, 4)]
    assert others == ["a", "b", "a"]
    drawn = {text(answers, "x", attempt=i, settings={"pick": "draw"}) for i in range(1, 40)}
    assert drawn == {"x0", "x1", "x2"}
    assert text(answers, "x", attempt=9) == "x0"
    several = say(answers, "x", settings={"pick": "sequence"}, choices=2)
    assert ["".join(choice.text) for choice in several.choices] == ["x0", "x1"]


def test_a_row_may_hold_calls_thoughts_and_usage(tmp_path):
    answers = bank(
        tmp_path,
        {
            "text": "Let me look. 🌧",
            "reasoning": "They ask for the weather.",
            "tool_calls": [
                {"name": "weather", "arguments": {"city": "Ulm"}},
                {"id": "call_1", "name": "news", "arguments": "{broken"},
            ],
            "usage": {
                "prompt_tokens": 100, "completion_tokens": 40, "reasoning_tokens": 15, "cached_tokens": 64,
                "cache_written_tokens": 99,
            },
        },
    )  # fmt: skip  # a row
    answer = say(answers)
    (choice,) = answer.choices
    assert "".join(choice.text) == "Let me look. 🌧"
    assert "".join(choice.reasoning) == "They ask for the weather."
    assert [(call.name, call.arguments) for call in choice.calls] == [
        ("weather", '{"city":"Ulm"}'),
        ("news", "{broken"),
    ]
    assert choice.calls[0].id.startswith("call_")
    assert choice.calls[1].id == "call_1"
    assert choice.finish == "tool_calls"
    usage = answer.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_written_tokens) == (100, 64, 36)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (40, 15)
    hidden = say(answers, thoughts="off")
    assert (hidden.usage.completion_tokens, hidden.usage.reasoning_tokens) == (25, 0)


def test_a_row_says_how_it_ends_and_a_request_cuts_it(tmp_path):
    answers = bank(
        tmp_path, {"text": "one two three", "finish": "content_filter", "usage": {"completion_tokens": 13}}
    )
    assert say(answers).choices[0].finish == "content_filter"
    cut = say(answers, limit=4)
    assert ("".join(cut.choices[0].text), cut.choices[0].finish) == ("one ", "length")
    stopped = say(answers, stop=("two",)).choices[0]
    assert ("".join(stopped.text), stopped.finish, stopped.stopped_by) == ("one ", "stop_sequence", "two")
    assert say(answers, settings={"finish": "stop"}).choices[0].finish == "stop"


def test_what_is_recorded_goes_before_schemas_and_tools(tmp_path):
    answers = bank(tmp_path, {"text": "recorded"})
    tools = (Tool("t", {"type": "object"}),)
    assert text(answers, schema={"type": "integer"}) == "recorded"
    choice = say(answers, tools=tools, tool_choice="any").choices[0]
    assert (choice.calls, "".join(choice.text)) == ([], "recorded")


def test_where_nothing_fits_it_is_said(tmp_path):
    answers = bank(tmp_path, {"match": {"model": "other"}, "text": "x"})
    with pytest.raises(Refused) as raised:
        say(answers)
    assert raised.value.problem.status == 400
    assert "bank 'b'" in raised.value.problem.message
    with pytest.raises(ChaosError, match="unknown bank 'bb': did you mean 'b'"):
        compose(
            Asked("m", stream=False, last_user_text="", prompt_tokens=1),
            AnswerSettings(bank="bb"), 20, Draw(0, "m", 1), WIRE, banks={"b": answers},
        )  # fmt: skip  # one call


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        ("{}", "it says nothing"),
        ('{"text": ""}', "it says nothing"),
        ('{"txt": "a"}', "unknown field `txt`"),
        ('{"text": 3}', "text: Expected `str`"),
        ('{"text": "a", "match": {}}', "match: it says nothing"),
        ('{"text": "a", "match": {"modle": "x"}}', "match: Object contains unknown field `modle`"),
        ('{"text": "a", "match": {"pattern": "("}}', "match: pattern: missing \\)"),
        ('{"tool_calls": [{"arguments": {}}]}', "missing required field `name`"),
        ('{"tool_calls": [{"name": ""}]}', "length >= 1"),
        ('{"text": "a", "usage": {"completion_tokens": -1}}', "usage.completion_tokens: .* >= 0"),
        ('{"text": "a", "usage": {"completion_tokens": 0}}', "needs at least 1"),
        (
            '{"text": "a", "reasoning": "b", "usage": {"completion_tokens": 5, "reasoning_tokens": 5}}',
            "at least 6",
        ),
        ('{"text": "a", "usage": {"completion_tokens": 1000000000}}', "<= 1000000"),
        ("[" * 100_000, "line 3"),
        (b'{"text": "\xff"}', "line 3"),
        ('{"text": "\\ud800"}', "line 3"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path, row, why):
    path = tmp_path / "bank.jsonl"
    path.write_bytes(
        b'{"text": "fine"}\n\n' + (row if isinstance(row, bytes) else row.encode()) + b'\n{"text": "fine"}'
    )
    with pytest.raises(ChaosError, match=why) as raised:
        load_banks({"mine": str(path)})
    assert str(raised.value).startswith(f"banks.mine: {path} line 3: ")


def test_files_that_arent_there_or_hold_nothing(tmp_path):
    with pytest.raises(ChaosError, match=r"banks\.a: .*No such file"):
        load_banks({"a": str(tmp_path / "none")})
    with pytest.raises(ChaosError, match=r"banks\.a: .*directory"):
        load_banks({"a": str(tmp_path)})
    (tmp_path / "empty").write_text("\n \n")
    with pytest.raises(ChaosError, match="no answer in it"):
        load_banks({"a": str(tmp_path / "empty")})
    assert load_banks({}) == {}
