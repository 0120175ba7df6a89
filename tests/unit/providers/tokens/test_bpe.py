"""Long texts, counted in stretches: the same number as in one go, and never more than a stretch at a time."""

import random

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.providers.tokens.published import NAMES, independent

from holdfast.providers.tokens.bpe import STRETCH, count_tokens
from holdfast.providers.tokens.deepseek_encoding import deepseek_encoding
from holdfast.providers.tokens.encodings import PATTERNS, encoding

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def drawn(alphabet, length, seed=0):
    chance = random.Random(seed)
    return "".join(chance.choice(alphabet) for _ in range(length))


LONG = 3 * STRETCH + 777
RUNS = {
    "one letter": "a" * LONG,
    "a letter that doesn't merge evenly": "x" * LONG,
    "pairs": "ab" * (LONG // 2),
    "letters": drawn(LETTERS, LONG),
    "few letters": drawn("ab", LONG),
    "letters, then one beyond ASCII": "x" + "a" * LONG + "é" * 50,
    "letters after an apostrophe": "it's" + "s" * LONG,
    "letters after a sign": "!" + "a" * LONG + "né",
    "letters after capitals after a sign": "!AB" + "i" * LONG + "té",
    "capitals": "A" * LONG,
    "spaces": " " * LONG,
    "spaces before a word": " " * LONG + "x",
    "spaces before a sign": " " * LONG + "!x",
    "spaces before a digit": "x" + " " * LONG + "1",
    "spaces before a line's end": "x" + " " * LONG + "\nx",
    "spaces between line's ends": "x\n" + " " * LONG + "\nx",
    "spaces after signs and a line's end": "!\n" + " " * LONG + "x",
    "spaces and tabs": drawn(" \t", LONG),
    "wide spaces, then narrow ones": "\u3000" + " " * LONG + "\u3000",
    "lines' ends": "\n" * LONG,
    "signs, lines' ends, slashes": "!\n" + "/" * LONG + "*" * LONG,
    "signs": drawn("!@#$%^&*()-=+[]{}|;:,.<>?'\"_~`\\", LONG),
    "one sign": "=" * LONG,
    "signs before a word": "!" * LONG + "word",
    "digits": drawn("0123456789", LONG),
    "one digit": "7" * LONG,
    "one emoji": "😀" * (LONG // 2),
    "families": "👨\u200d👩\u200d👧" * (LONG // 5),
    "Chinese": drawn([chr(n) for n in range(0x4E00, 0x9FFF)], LONG),
    "Chinese with its signs": drawn("漢字学生\uff0c\u3002\u3001", LONG),
    "marks": "e" + "\u0301" * LONG,
    "prose": " ".join(drawn(LETTERS, 1 + n % 9, n) + ("'s," if n % 7 == 0 else "") for n in range(LONG // 5)),
    "base64": drawn(LETTERS + LETTERS.upper() + "0123456789+/", LONG),
    "half pairs": "\ud83d" * LONG,
    "pairs of halves": "\ud83d\ude00" * (LONG // 2),
    "null": "\x00" * LONG,
}


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_hostile_texts_have_the_tokens_that_tiktoken_says(text):
    for name in NAMES:
        assert count_tokens(encoding(name), text) == len(independent(name).encode_ordinary(text))


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_they_have_at_deepseek_as_well(text):
    whole = deepseek_encoding()
    assert count_tokens(whole, text) == len(whole.encode_ordinary(text))


class Watched:
    """An encoding that notes how long the texts are that it is given."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.lengths = []

    def encode_ordinary(self, text):
        self.lengths.append(len(text))
        return self._encoder.encode_ordinary(text)

    def __getattr__(self, name):
        return getattr(self._encoder, name)


CUT = sorted(
    set(RUNS)
    - {
        # Refused, and as good as never met: merged in one piece, in time that grows a little more than their length.
        "capitals", "letters after a sign", "letters after capitals after a sign", "lines' ends", "marks", "null",
        "one digit", "digits", "one emoji", "families", "Chinese", "half pairs", "pairs of halves",
        "signs, lines' ends, slashes", "spaces between line's ends",
        "spaces after signs and a line's end", "letters after an apostrophe",
    }
)  # fmt: skip


@pytest.mark.parametrize("what", CUT)
def test_no_more_than_a_stretch_is_looked_at_at_once(what):
    for name in NAMES:
        watched = Watched(encoding(name))
        count_tokens(watched, RUNS[what])
        assert max(watched.lengths) <= 2 * STRETCH
        assert sum(watched.lengths) <= 1.2 * len(RUNS[what]), "and nothing over and over"


pieces = st.sampled_from(
    [LETTERS, "ab", "a", " ", " \t", "!=", "-", "\n", "'", "/", "é", "漢", "7", "AB", "\r\n ", "x's "]
)


@settings(max_examples=25)  # each takes 0.1 s
@given(st.lists(st.tuples(pieces, st.integers(1, 3 * STRETCH), st.integers(0, 9)), min_size=1, max_size=4))
def test_runs_of_any_length_beside_each_other(runs):
    text = "".join(drawn(alphabet, length, seed) for alphabet, length, seed in runs)
    for name in NAMES:
        assert count_tokens(encoding(name), text) == len(independent(name).encode_ordinary(text))


@pytest.mark.parametrize("name", NAMES)
def test_spaces_after_a_lines_end_stay_with_it_whatever_the_vocabulary(name):
    """No token of today's vocabularies begins with a line's end and a space. One of tomorrow's may."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"\n ": 256}
    made = tiktoken.Encoding("made", pat_str=PATTERNS[name].regex, mergeable_ranks=ranks, special_tokens={})
    for text in (
        "x\n" + " " * LONG + "\nx",
        "x\n" + " " * LONG + "x",
        " " * LONG + "\n" + "\t" * LONG + "\n",
    ):
        assert count_tokens(made, text) == len(made.encode_ordinary(text))


def test_contractions_are_never_cut_in_two():
    for offset in range(12):
        text = "x" * offset + "don't, we'LL; " * 2_000
        for name in NAMES:
            assert count_tokens(encoding(name), text) == len(independent(name).encode_ordinary(text))


@pytest.mark.parametrize("unit", ["eueeeeaiouuauoeouueioeeoe", "lllololoollolllllllllloloo", "_-=--_--====-"])
def test_a_seam_that_doesnt_stand_is_looked_at_further_back(unit):
    """In these, two tokens before the cut aren't enough for one of the encodings."""
    text = (unit * STRETCH)[: 2 * STRETCH]
    for name in NAMES:
        watched = Watched(encoding(name))
        assert count_tokens(watched, text) == len(independent(name).encode_ordinary(text))
        assert max(watched.lengths) < len(text), "and not in one go"
