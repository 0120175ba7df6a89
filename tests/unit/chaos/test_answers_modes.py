"""What a script can make the simulated model say, as the wires tell it."""

import json

import pytest
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.chaos.answer import compose
from holdfast.chaos.answers.words import Words
from holdfast.chaos.draws import Draw
from holdfast.chaos.errors import ChaosError
from holdfast.chaos.script import parse
from holdfast.chaos.settings import AnswerSettings
from holdfast.chaos.wire.base import Asked, Media, Tool
from holdfast.chaos.wire.openai_chat import OpenAIChat

WIRE = OpenAIChat()
SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["a", "b", "c"]}}, "required": ["mood"]}


def say(settings, attempt=1, *, key="m", **asked):
    request = Asked(
        **{"model": "m", "stream": False, "last_user_text": "a question", "prompt_tokens": 9, **asked}
    )
    return compose(request, settings, 20, Draw(0, key, attempt), WIRE, attempt=attempt, key=key)


def text(settings, attempt=1, **asked):
    return "".join(say(settings, attempt, **asked).choices[0].text)


def test_numbered_tokens_are_what_is_said_by_default():
    answer = say(AnswerSettings())
    assert "".join(answer.choices[0].text) == "".join(f"{answer.nonce}:{i} " for i in range(20))


def test_words():
    answer = say(AnswerSettings(words=True, tokens=12))
    assert isinstance(answer.choices[0].text, Words)
    assert answer.usage.completion_tokens == 12
    assert (
        text(AnswerSettings(words=True))
        == text(AnswerSettings(words=True))
        != text(AnswerSettings(words=True), 2)
    )
    assert json.loads(text(AnswerSettings(words=True), schema=SCHEMA)) == {"mood": "a"}
    several = say(AnswerSettings(words=True), choices=2).choices
    assert list(several[0].text) != list(several[1].text)


def test_ten_million_tokens_are_composed_at_once():
    for settings in (AnswerSettings(tokens=10_000_000), AnswerSettings(tokens=10_000_000, words=True)):
        answer = say(settings, limit=9_999_999, stop=("\n",))
        assert (answer.usage.completion_tokens, answer.choices[0].finish) == (9_999_999, "length")


def test_a_template_knows_the_request():
    source = "{{ prompt }}|{{ model }}|{{ nonce }}|{{ attempt }}|{{ key }}|{{ tokens }}|{{ media|join }}|"
    source += "{{ tools|join(',') }}"
    asked = {
        "key": "mine",
        "media": (Media("image", "image/png", 3, "abc"),),
        "tools": (Tool("t1"), Tool("t2")),
    }
    answer = say(AnswerSettings(template=source, tokens=7), 3, **asked)
    assert "".join(answer.choices[0].text) == (
        f"a question|m|{answer.nonce}|3|mine|7|[image image/png 3 bytes sha256:abc]|t1,t2"
    )
    assert text(AnswerSettings(template="{{ 1 + 1 }}"), schema=SCHEMA) == "2"


def test_choices_draw_their_own_chance():
    answer = say(AnswerSettings(template="{{ random.hex(12) }}"), choices=3)
    assert len({"".join(choice.text) for choice in answer.choices}) == 3


def test_vary_makes_attempts_differ():
    for settings in ({"prose": "Fine."}, {"echo": True}):
        plain, varied = AnswerSettings(**settings), AnswerSettings(**settings, vary=True)
        assert text(plain) == text(plain, 2)
        assert text(varied) == text(varied) != text(varied, 2)
        assert text(varied).startswith(text(plain))
    assert text(AnswerSettings(text="Fine.", vary=True)) == "Fine."
    moods = [text(AnswerSettings(vary=True), i, schema=SCHEMA) for i in range(30)]
    assert len(set(moods)) == 3
    calls = [
        say(AnswerSettings(vary=True), i, tools=(Tool("t", SCHEMA),), tool_choice="any")
        .choices[0]
        .calls[0]
        .arguments
        for i in range(30)
    ]
    assert len(set(calls)) == 3
    assert {text(AnswerSettings(), i, schema=SCHEMA) for i in range(30)} == {'{"mood":"a"}'}


def test_what_a_step_says_takes_the_place_of_all_other_ways():
    base = AnswerSettings(template="{{ nonce }}", tokens=3, vary=True)
    assert base.over({"prose": "x"}) == AnswerSettings(prose="x", tokens=3, vary=True)
    assert base.over({"tokens": 5}) == AnswerSettings(template="{{ nonce }}", tokens=5, vary=True)
    assert base.over({"echo": False}).template is not None
    with pytest.raises(ChaosError, match="'text' and 'words' both decide"):
        base.over({"words": True, "text": "a"})


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("template='{{ prompt'", "step 1: .*template, line 1: unexpected end"),
        ("ok; template='{{ promt }}'", "step 2: .*did you mean 'prompt'"),
        ("bank=b pick=best", "pick: Invalid enum value 'best'"),
    ],
)
def test_a_script_that_cant_be_meant_is_found_when_it_is_read(script, why):
    with pytest.raises(ChaosError, match=why):
        parse(script)


@pytest.fixture(scope="module")
def chaos():
    scripts = {
        "m": "template='{% if prompt == \"fail\" %}{{ 1 / 0 }}{% endif %}{{ prompt|upper }} {{ random.whole(1, 1) }}'",
        "wordy": "words=true tokens=40",
    }
    with run_chaos(ChaosConfig(scripts=scripts)) as chaos:
        yield chaos


@pytest.mark.parametrize("name", SPEAKERS)
@pytest.mark.parametrize("stream", [False, True])
def test_templates_are_told_by_every_wire(chaos, name, stream):
    speaker = SPEAKERS[name]
    seen = speaker.ask(chaos.port, "hello", stream=stream)
    if stream:
        assert speaker.said(seen) == "HELLO 1"
    else:
        assert speaker.text(json.loads(seen.body)) == "HELLO 1"


@pytest.mark.parametrize("name", SPEAKERS)
def test_a_template_that_fails_is_400_in_the_providers_words(chaos, name):
    seen = SPEAKERS[name].ask(chaos.port, "fail")
    assert seen.status == 400
    error = json.loads(seen.body)["error"]
    assert error["message"] == "The answer's template failed: division by zero."
    hostile = (
        "[[chaos: template='{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}']]"
    )
    seen = SPEAKERS[name].ask(chaos.port, hostile)
    assert (seen.status, "100000 steps" in seen.body.decode()) == (400, True)
    assert SPEAKERS[name].ask(chaos.port, "[[chaos: template='{{ x }}']]").status == 400
