"""Texts as lazy tokens: what they say, where they stop, how they are cut."""

import re
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos.answers.tokens import Numbered, evenly, first, pieces, spread, until_stop
from holdfast.chaos.answers.words import Words

MANY = 10_000_000
LAZY = [lambda count: Numbered("ab.1", count), lambda count: Words(7, count)]


@pytest.mark.parametrize("make", LAZY)
def test_lazy_tokens_are_a_sequence(make):
    tokens = make(200)
    assert list(tokens) == [tokens[i] for i in range(200)] == tokens[:]
    assert tokens[5:9] == list(tokens)[5:9]
    assert list(tokens.first(3)) == list(tokens)[:3]
    assert all(token.endswith(" ") and len(token) > 1 for token in tokens)
    for index in (-1, 200):
        with pytest.raises(IndexError):
            tokens[index]


@pytest.mark.parametrize("make", LAZY)
def test_ten_million_cost_nothing_until_they_are_told(make):
    began = time.thread_time()
    tokens = make(MANY)
    assert len(tokens) == len(first(tokens, MANY + 1)) == MANY
    assert len(first(tokens, 5_000_000)) == 5_000_000
    assert tokens[MANY - 1]
    for stop in ("\n", "no such thing", "STOP", "Observation:", "\n\nHuman:", "</s>", "123456789", "ab.1:x"):
        assert until_stop(tokens, [stop]) == (tokens, None)
    assert time.thread_time() - began < 0.5
    assert sys.getsizeof(tokens) < 1000


def test_numbered_tokens_count():
    assert "".join(Numbered("n", 3)) == "n:0 n:1 n:2 "


def test_words_read_as_english_and_are_each_seeds_own():
    text = "".join(Words(1, 400))
    assert text == "".join(Words(1, 400))
    assert text != "".join(Words(2, 400))
    sentences = re.findall(r"[^.]+\.", text)
    assert len(sentences) > 30
    assert len(set(sentences)) > 30
    for sentence in sentences:
        assert re.fullmatch(r" ?[A-Z][a-z]*,?( [a-z]+,?)+\.", sentence), sentence
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", sentence, re.IGNORECASE), sentence


def naive(tokens, stop):
    text = "".join(tokens)
    found = [(text.index(word), word) for word in stop if word in text]
    return (text[: min(found)[0]], min(found)[1]) if found else (text, None)


@given(
    st.lists(st.text("ab:", max_size=4), max_size=40),
    st.lists(st.text("ab:", min_size=1, max_size=6), min_size=1, max_size=3),
)
def test_a_stop_sequence_ends_the_text_before_it(tokens, stop):
    kept, word = until_stop(tokens, stop)
    assert ("".join(kept), word) == naive(tokens, stop)


@given(st.integers(1010, 1030), st.integers(0, 3), st.sampled_from([1, 1, 2, 3]))
def test_a_stop_sequence_is_found_across_windows(place, length, sizes):
    text = "x" * place + "abcd" + "y" * 1500
    tokens = [text[i : i + sizes] for i in range(0, len(text), sizes)]
    # The shorter one ends earlier, the longer one begins earlier.
    for stop in (["abcd"[: 1 + length], "abcdyyyyyyyyz", "bcd"], ["abcd", "abcd"[1 : 1 + length] or "b"]):
        kept, word = until_stop(tokens, stop)
        assert ("".join(kept), word) == naive(tokens, stop)


@given(st.data())
def test_a_lazy_text_stops_as_its_whole_text_would(data):
    tokens = data.draw(st.sampled_from(LAZY))(data.draw(st.integers(1, 300)))
    text = "".join(tokens)
    at = data.draw(st.integers(0, len(text) - 1))
    stop = [
        text[at : at + data.draw(st.integers(1, 25))],
        data.draw(st.text("ab.1: the,", min_size=1, max_size=4)),
    ]
    kept, word = until_stop(tokens, stop)
    assert ("".join(kept), word) == naive(tokens, stop)


def test_stopping_finds_a_late_one_without_making_all_of_it():
    began = time.thread_time()
    kept, word = until_stop(Numbered("n", MANY), ["n:5000 "])
    assert (len(kept), word) == (5000, "n:5000 ")
    assert time.thread_time() - began < 0.5


def test_no_more_is_searched_than_will_be_told():
    tokens = Numbered("n", 100)
    assert until_stop(tokens, ["n:9 "], 9) == (tokens, None)
    assert until_stop(tokens, ["n:9 "], 10)[1] == "n:9 "


@given(st.text(max_size=60), st.integers(1, 70))
def test_evenly_keeps_the_text_and_the_count(text, count):
    tokens = evenly(text, count)
    assert "".join(tokens) == "".join(pieces(text)) == text
    assert len(tokens) == count
    sizes = {len(token) for token in tokens}
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.integers(0, 60))
def test_spread_keeps_the_texts_and_their_sum(texts, more):
    told = [text for text in texts if text]
    tokens = spread(texts, len(told) + more)
    assert ["".join(part) for part in tokens] == texts
    assert sum(map(len, tokens)) == (len(told) + more if told else 0)
    assert all(bool(part) == bool(text) for part, text in zip(tokens, texts, strict=True))
