"""DeepSeek's tokenizer against the published one, whose answers these are."""

import hashlib
import json

import pytest
from benchmarks.billed import RECORDINGS, billed
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.providers.tokens.responses import request_of

from holdfast.model import Message, Request, Role, ToolCall
from holdfast.providers.tokens import count_request, count_text
from holdfast.providers.tokens.bpe import count_tokens
from holdfast.providers.tokens.deepseek_encoding import RANKS, deepseek_encoding
from holdfast.providers.tokens.ranks import RanksDamaged, unpack

CONTROLS = 3
"""Ids before the first token of text; ranks begin behind them."""

PUBLISHED = [
    (
        "Hello! 毕老师!1 + 1 = 2 ĠÑĤвÑĬÑĢ",
        [19923, 3, 223, 5464, 5008, 3, 19, 940, 223, 19, 438, 223, 20, 6113, 257, 76589, 131, 100, 733,
         76589, 131, 108, 76589, 131, 98],
    ),
    ("", []),
    ("abc日本def中", [32372, 6392, 3465, 525]),
    ("é日本 日本", [619, 6392, 223, 6392]),
    ("API接口返回JSON数据", [21276, 21139, 13199, 34939, 3374]),
    ("a", [67]),
    ("The quick brown fox.", [671, 4787, 13769, 46012, 16]),
    (
        "def f(x):\n    return x**2  # 平方\n",
        [3465, 285, 4042, 3395, 361, 1354, 1527, 666, 20, 223, 1823, 223, 14260, 201],
    ),
    ("1234567 3.14159 ٣½Ⅷ", [6895, 18009, 25, 223, 21, 16, 9926, 3318, 223, 127056, 23951, 23603, 103]),
    (
        "日本語のカタカナ・ひらがな、漢字。",
        [88768, 1576, 15961, 11767, 15961, 27071, 4825, 40259, 4970, 2936, 2942, 410, 29069, 2024, 320],
    ),
    ("한국어 텍스트", [5634, 17564, 9227, 61291, 238, 45652]),
    ("  leading\n\n\n  and trailing   ", [223, 6646, 6328, 223, 305, 52964, 361]),
    ("\t\t\r\n \r\n x", [998, 204, 201, 223, 204, 201, 1527]),
    ("don't I'll WE'VE", [20385, 1664, 342, 5922, 33418, 9, 23584]),
    (
        "https://example.org/a_b-c?d=e&f=%20",
        [5395, 2272, 30357, 3964, 20922, 9181, 2846, 33, 70, 91343, 8, 72, 61732, 397],
    ),
    (
        "👨\u200d👩\u200d👧 🇩🇪 é e\u0301",
        [25730, 104, 46088, 25730, 105, 46088, 25730, 103, 77579, 105, 43754, 106, 2678, 312, 17793],
    ),
    ("नमस्ते दुनिया", [9094, 12524, 70223, 6011, 26227, 101422, 85639]),
    ("a\u200d\u200d1 \u200d\u200db\u200d", [67, 101692, 19, 223, 46088, 46088, 68, 46088]),
    ("中 1 中  a", [525, 223, 19, 223, 525, 223, 260]),
    ("\u3099\u309b\u30a0ーㄅ", [665, 250, 665, 252, 665, 257, 4045, 33798, 230]),
    (
        '{"a": [1, 2.5, null], "b": "\\n"}',
        [24313, 67, 3362, 764, 19, 14, 223, 20, 16, 23, 14, 5100, 3031, 582, 68, 3362, 20203, 80, 62773],
    ),
    ("\x00\x01\x02", [191, 192, 193]),
    (" " * 40 + "x", [20989, 1527]),
]  # fmt: skip

RECORDED = [
    ("anthropic", 301_442, "dc63384c47feeeb3"),
    ("gemini", 333_293, "9455c0af77224fdb"),
    ("openai_chat", 121_015, "d54a61b32a67cb0e"),
    ("responses", 272_597, "0c189ddb99824e9c"),
    ("openrouter_chat", 67_232, "44c6db073c1350d6"),
]
"""Ids of whole files, without what spells a control token: how many, and a hash of them all."""


@pytest.mark.parametrize(("text", "ids"), PUBLISHED)
def test_a_text_has_the_published_ids(text, ids):
    assert [rank + CONTROLS for rank in deepseek_encoding().encode_ordinary(text)] == ids
    assert count_text(text, "deepseek-v4-flash").tokens == len(ids)


@pytest.mark.parametrize(("name", "tokens", "digest"), RECORDED)
def test_a_million_characters_of_json_have_the_published_ids(name, tokens, digest):
    text = (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8")
    text = text.replace("think>", "").replace("<\uff5c", "")
    ids = [rank + CONTROLS for rank in deepseek_encoding().encode_ordinary(text)]
    assert len(ids) == tokens
    assert hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16] == digest
    assert count_tokens(deepseek_encoding(), text) == tokens


@given(st.text())
def test_no_character_is_lost(text):
    encoder = deepseek_encoding()
    assert encoder.decode_bytes(encoder.encode_ordinary(text)) == text.encode()


@settings(max_examples=25)  # of tens of thousands of characters each
@given(
    st.sampled_from(["a", " ", "\n", "日", "1", "!", "\u200d", " a", "a1", "\n ", "!a", "\u200d1", "é"]),
    st.integers(15_000, 40_000),
    st.sampled_from(["", "x", "1", "日", "\n", "!"]),
)
def test_a_long_run_is_counted_in_stretches_as_in_one_go(unit, times, end):
    text = unit * (times // len(unit)) + end
    assert count_tokens(deepseek_encoding(), text) == len(deepseek_encoding().encode_ordinary(text))


@pytest.mark.parametrize("unit", [" ", "\u200d", "\t1"])
def test_half_a_million_of_anything_dont_break_it(unit):
    assert count_text(unit * 500_000, "deepseek-v4-pro").tokens > 0


def test_a_text_that_spells_a_control_token_is_never_counted_short():
    assert count_text("<think>", "deepseek-v4-flash").tokens > 1


def test_text_is_exact_and_a_request_is_reconstructed():
    assert count_text("hello", "deepseek/DeepSeek-Chat").kind == "exact"
    assert count_text("hello", "whatever", "deepseek").kind == "exact"


def test_what_was_billed_is_within_two_per_cent():
    """Tools, several calls in a turn, arguments, results: at Chat Completions, and at Responses."""
    seen = []
    for each in billed():
        if not each.model.startswith("deepseek-") or "/" in each.model:
            continue
        request = each.request or request_of(json.loads(each.body))
        if request is None:  # thoughts that are sealed
            continue
        count = count_request(request, each.model, "deepseek")
        assert abs(count.tokens - each.tokens) <= 0.02 * each.tokens, (each.model, count, each.tokens)
        assert each.tokens <= count.upper
        seen.append(each.model)
    assert seen.count("deepseek-reasoner") >= 3
    assert seen.count("deepseek-v4-flash") >= 3


def test_arguments_that_are_no_json_count_as_text():
    def asked(arguments):
        call = Message(role=Role.ASSISTANT, parts=(ToolCall(name="f", arguments=arguments),))
        return count_request(Request(model="deepseek-chat", messages=(call,)), "deepseek-chat", "deepseek")

    for odd in (
        '{"a": 1',
        "[1]",
        "",
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": "\ud83d"}',
        "\ud83d",
    ):
        count = asked(odd)
        assert 0 < count.tokens <= count.upper
    assert asked('{"a": 1, "b": 2}').tokens > asked('{"a": 1, "b": 2').tokens + 10


def test_a_changed_vocabulary_is_refused():
    with pytest.raises(RanksDamaged, match="deepseek_v4"):
        unpack(b"not it", RANKS)
