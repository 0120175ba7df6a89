"""Our patterns cut texts as the published ones do; where those break down, ours don't."""

import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.providers.tokens.published import NAMES, definition, independent

from holdfast.providers.tokens.encodings import PATTERNS, encoding

PLACES = " \t\n\r\x0b\x0c\x1c\x85\xa0\u1680\u2003\u2028\u202f\u3000"
ODD = PLACES + "aZéßǅʰ\u0627ก漢字かー한\u0301\u0903٣½Ⅷ²7.,!?'\"/\\-_=<|>@#😀\u200d\U0001f3fd\ufffd\x00\u0378"
WORDS = ("'s", "'LL", "don't", "I'VE", "\r\n", "//", "  ", "\n\n", "<|endoftext|>", "HTTPServer", "x" * 60)

texts = st.lists(st.sampled_from([*ODD, *WORDS]), max_size=60).map("".join) | st.text(max_size=80)


@pytest.mark.parametrize("name", NAMES)
def test_all_but_the_spaces_is_as_published(name):
    wanted, _ = definition(name)
    assert wanted["special_tokens"] == PATTERNS[name].specials
    assert wanted["pat_str"].startswith("|".join(PATTERNS[name].words) + "|")
    assert encoding(name).n_vocab == independent(name).n_vocab


@given(text=texts)
@example(text="  \n \n  x")
@example(text="a \n")
@example(text=" " * 512 + "x")
@example(text=" " * 513 + "x" + " " * 1_025 + "\n" + " " * 1_026)
@example(text="\t" * 514 + "é" + "\u3000" * 515)
@example(text="!\n\n /\n//x")
def test_every_text_has_the_tokens_that_tiktoken_says(text):
    for name in NAMES:
        assert encoding(name).encode_ordinary(text) == independent(name).encode_ordinary(text)


@given(
    st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 1_100)), max_size=3),
    st.sampled_from(["", "x", "1", "!"]),
)
def test_so_have_long_runs_of_spaces(runs, end):
    text = "".join(space * times for space, times in runs) + end
    for name in NAMES:
        assert encoding(name).encode_ordinary(text) == independent(name).encode_ordinary(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_million_spaces_are_no_reason_to_panic(name):
    """As the published patterns do: with an exception that no ``except Exception`` catches."""
    text = " " * 1_000_000 + "x"
    tokens = encoding(name).encode_ordinary(text)
    assert encoding(name).decode(tokens) == text
    assert (
        len(tokens)
        == len(independent(name).encode_ordinary(" " * (999_999 % 128 + 128) + "x")) + 999_999 // 128 - 1
    )


def test_threads_that_come_first_at_once_load_it_once():
    start = threading.Barrier(8)
    found = []

    def first():
        start.wait()
        found.append(encoding("cl100k_base"))

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1
