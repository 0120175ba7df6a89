"""Which script an attempt follows, and whose attempts are counted together."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chaos.raw import ask, payload, receive, send

from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.chaos.book import Book
from holdfast.chaos.rules import Rules

PLACES = {  # from the last that is asked to the first, each with a status of its own
    "default": 510,
    "models": 511,
    "routes": 512,
    "keys": 513,
    "markers": 514,
    "timeline": 515,
    "prompt": 516,
}


def says(message):
    return [{"role": "user", "content": message}]


def configured(*names):
    said = {
        "default": {"default": "510"},
        "models": {"scripts": {"m": "511"}},
        "routes": {"routes": {"/v1/chat/*": "512"}},
        "keys": {"keys": {"sk-secret": "513"}},
        "markers": {"markers": {"[marked]": "514"}},
        "timeline": {"timeline": [{"script": "515"}]},
        "prompt": {},
    }
    return ChaosConfig.from_dict({name: value for key in names for name, value in said[key].items()})


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_first_place_that_has_a_script_decides(first):
    there = list(PLACES)[: first + 1]
    text = "[marked] hello" + (" [[chaos: 516]]" if "prompt" in there else "")
    with run_chaos(configured(*there)) as chaos:
        seen = ask(chaos.port, payload("m", messages=says(text)), authorization="Bearer sk-secret")
        assert seen.status == PLACES[there[-1]]
        [entry] = chaos.wait_for(lambda journal: journal[0].end and journal)
    rules = ("default", "model m", "route /v1/chat/*", "key 1", "marker [marked]", "timeline 0", "prompt")
    assert entry.rule == rules[first]
    assert "sk-secret" not in repr(entry)


def test_what_doesnt_fit_is_passed_over():
    config = ChaosConfig.from_dict(
        {
            "default": "510",
            "scripts": {"other": "511"},
            "routes": {"/v1/messages": "512"},
            "keys": {"k": "513"},
            "markers": {"[m]": "514"},
            "timeline": [{"models": "other", "script": "515"}, {"routes": "/v1/m*", "script": "515"}],
        }
    )
    with run_chaos(config) as chaos:
        assert ask(chaos.port, payload("m"), authorization="Bearer l").status == 510


@pytest.mark.parametrize(
    ("scripts", "model", "status"),
    [
        ({"gpt-*": "511", "gpt-4o": "512"}, "gpt-4o", 512),  # the exact name, wherever it stands
        ({"gpt-*": "511", "gpt-4o": "512"}, "gpt-4", 511),
        ({"gpt-*": "511", "gpt-4*": "512"}, "gpt-4o", 511),  # else the first
        ({"GPT-4O": "511"}, "gpt-4o", 511),
        ({"gpt-4o": "511"}, "GPT-4O", 511),
        ({"*": "511"}, "anything/at:all", 511),
        ({"gpt-?": "511"}, "gpt-4o", 200),
        ({"[ab]*": "511"}, "beta", 511),
    ],
)
def test_models_by_name_and_pattern(scripts, model, status):
    with run_chaos(ChaosConfig.from_dict({"scripts": scripts})) as chaos:
        assert [ask(chaos.port, payload(model)).status for _ in range(2)] == [status] * 2


def test_only_the_last_user_message_is_read():
    config = ChaosConfig.from_dict({"markers": {"[m]": "514"}})
    messages = [
        {"role": "system", "content": "[m] [[chaos: 516]]"},
        {"role": "user", "content": "[m] [[chaos: 516]] [[key=a]]"},
        {"role": "assistant", "content": "[m]"},
        {"role": "user", "content": "hello"},
    ]
    with run_chaos(config) as chaos:
        assert ask(chaos.port, payload("m", messages=messages)).status == 200
        assert chaos.journal()[0].script_key == "m"


def test_a_script_in_the_prompt_that_cant_be_meant_is_the_callers_error():
    with run_chaos() as chaos:
        seen = ask(chaos.port, payload("m", messages=says("[[chaos: rset]]")))
        assert seen.status == 400
        assert "unknown word 'rset': did you mean 'reset'?" in json.loads(seen.body)["error"]["message"]
        assert ask(chaos.port, payload("m", messages=says("[[chaos: ]]"))).status == 400
        assert ask(chaos.port, payload("m", messages=says("[[chaos: 516"))).status == 200  # it has no end


def test_attempts_are_counted_by_model_or_by_the_key_in_the_prompt():
    with run_chaos(ChaosConfig.from_dict({"default": "503; 502; ok"})) as chaos:

        def statuses(model, text):
            return [ask(chaos.port, payload(model, messages=says(text))).status for _ in range(3)]

        assert statuses("a", "x") == statuses("b", "x") == [503, 502, 200]
        assert statuses("a", "x [[key=one]]") == [503, 502, 200]
        assert statuses("b", "y [[key=one]]") == [200, 200, 200]  # whatever the model
        keys = [(entry.script_key, entry.attempt) for entry in chaos.journal()]
        assert keys[-1] == ("one", 6)


def test_a_count_of_tokens_uses_up_no_step():
    body = json.dumps({"model": "m", "messages": says("hi")}).encode()
    version = {"anthropic-version": "2023-06-01"}
    with run_chaos(ChaosConfig.from_dict({"scripts": {"m": "ok; 503; ok"}})) as chaos:
        assert ask(chaos.port, payload("m")).status == 200
        for status in (200, 503):
            with send(chaos.port, body, path="/v1/messages/count_tokens", **version) as sock:
                assert receive(sock).status == status
        assert [ask(chaos.port, payload("m")).status for _ in range(2)] == [503, 200]


def test_keys_with_scripts_are_let_in_where_keys_are_asked_for():
    with run_chaos(ChaosConfig.from_dict({"api_keys": ["k"], "keys": {"l": "503"}})) as chaos:
        statuses = [ask(chaos.port, payload(), authorization=f"Bearer {key}").status for key in "klm"]
        assert statuses == [200, 503, 401]


@given(
    st.dictionaries(st.text(max_size=3), st.just("503"), max_size=3), st.text(max_size=4), st.text(max_size=4)
)
def test_any_name_and_any_pattern(scripts, model, path):
    """Names and patterns are callers' text: none of them breaks a rule, and asking twice gives the same."""
    rules = Rules(ChaosConfig.from_dict({"scripts": scripts, "routes": scripts}))
    asked = Asked(model)
    first = rules.find(asked, path, None, 0.0)
    assert first == rules.find(asked, path, None, 0.0)
    if path in scripts:
        assert first.rule == f"route {path}"
    elif model.lower() in {name.lower() for name in scripts} and not first.rule.startswith("route"):
        assert first.rule == f"model {model.lower()}"


class Asked:
    """Of a request, what rules look at."""

    def __init__(self, model, text=""):
        self.model, self.last_user_text = model, text


def test_names_that_are_made_up_dont_fill_the_memory():
    rules = Rules(ChaosConfig.from_dict({"scripts": {"a*": "503"}}))
    for number in range(10_000):
        assert rules.find(Asked(f"a{number}"), "/", None, 0.0).rule == "model a*"
        assert rules.find(Asked(f"b{number}"), "/", None, 0.0).rule == "default"
    assert len(rules._models._found) <= 4096


# The book.


def test_a_book_that_is_full_forgets_its_oldest_key():
    book = Book(3)
    assert [book.next_attempt(key) for key in "abcab"] == [1, 1, 1, 2, 2]
    assert book.next_attempt("d") == 1
    assert [book.next_attempt(key) for key in "bcd"] == [3, 2, 2]
    assert book.next_attempt("a") == 1


def test_a_book_forgets_by_pattern_and_altogether():
    book = Book(10)
    for key in ("gpt-4", "GPT-5", "claude"):
        book.next_attempt(key)
    book.forget(["gpt-*"])
    assert [book.next_attempt(key) for key in ("gpt-4", "GPT-5", "claude")] == [1, 1, 2]
    book.reset()
    assert book.next_attempt("claude") == 1
