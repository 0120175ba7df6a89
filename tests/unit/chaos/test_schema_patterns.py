"""Regular expressions of schemas: read, searched and made up; Python's own engine is the judge."""

import re
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos.schemas.automaton import compiled
from holdfast.chaos.schemas.errors import ImpossibleError

PATTERNS = [
    r"^[a-z0-9]+(?:-[a-z0-9]+)*$", r"^\d{3}-\d{4}$", "abc", r"^(\([0-9]{3}\))?[0-9]{3}-[0-9]{4}$", "", "^$", "a|^b$",
    "(a+)+$", "^#([A-Fa-f0-9]{6}|[A-Fa-f0-9]{3})$", r"[^\s@]+@[^\s@]+\.[a-z]{2,}", "^.{1,300}$", r"^\w+\s\S+\W$",
    r"^[\w.-]{2,}?$", r"^\u0041\x42\.\/$", "x{2}y{,3}", "^(?P<year>[0-9]{4})$", r"^[^\n]$", r"^[\]\-^a]{4}$", "^a{0}b$",
    r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{8,}$", r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", r"^[a\-z]$", "^[-a]$", "^[a-]$", r"^\t\cJ?$",
    "^(|a)b$", "^(?:^a)$", "[^a]", "^[^\u0000-\uffff]$",
]  # fmt: skip  # a table


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bounds", [(0, 10_000), (4, 5), (9, 40)])
def test_what_is_made_fits(pattern, bounds):
    made = set()
    for i in range(20):
        try:
            text = compiled(pattern).made(*bounds, Random(i))
        except ImpossibleError:
            assert bounds != (0, 10_000), "there is a text, if its length is free"
            return
        python = pattern.replace(r"\cJ", r"\n")
        assert re.search(python, text), (pattern, text)
        assert bounds[0] <= len(text) <= bounds[1]
        made.add(text)
    assert made == {compiled(pattern).made(*bounds, Random(i)) for i in range(20)}


@pytest.mark.parametrize(
    ("pattern", "bounds"),
    [("^a{3}$", (4, 9)), ("^abc", (0, 2)), ("$a", (0, 50)), ("a^", (0, 50)), ("[]a", (0, 9)), ("^(?=b)a", (0, 9)),
     ("^(?!a)a", (0, 9)), ("^.$", (2, 2))],
)  # fmt: skip  # a table
def test_what_fits_nothing_is_said_to(pattern, bounds):
    with pytest.raises(ImpossibleError, match="no text of"):
        compiled(pattern).made(*bounds, Random(1))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("(", "unclosed"), (")", "unopened"), ("[a", "an end"), ("*", "nothing to repeat"), ("a**", "two repetitions"),
     (r"(a)\1", r"'\\1'"), (r"\bword\b", r"'\\b'"), ("(?<=a)b", "behind"), ("(?i)a", "'(?i'"), ("a(?=b)", "elsewhere"),
     ("^(?=a)b|c", "alternatives"), ("(" * 60 + ")" * 60, "deep"), ("a{3,2}", "3,2"), ("a{9999}", "9999"),
     (r"\p{Nonsense}", "Nonsense"), (r"\ud800", "surrogate"), ("[b-a]", "smaller"), ("\\", "an end"), (r"\xzz", "number"),
     ("(?<n", "unclosed name"), ("^*", "repeated begin"), ("((a{500}){500}){500}", "large")],
)  # fmt: skip  # a table
def test_what_cant_be_followed_is_refused_in_words(pattern, why):
    with pytest.raises(ImpossibleError) as raised:
        compiled(pattern).made(0, 100, Random(1))
    assert why.replace("\\\\", "\\") in str(raised.value)


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"^\p{Lu}$", r"^\P{N}{3}$", r"^\p{Script=Letter}$"])
def test_properties_of_characters(pattern):
    text = compiled(pattern).made(1, 9, Random(1))
    assert text.isalpha() if "N" not in pattern else not any(map(str.isnumeric, text))


def test_no_pattern_takes_long():
    began = time.thread_time()
    assert not compiled("^(a+)+b$").found_in("a" * 2000)
    assert not compiled("^(a|aa|a?)*c$").found_in("a" * 2000)
    assert not compiled("^(([a-z])+.)+[A-Z]([a-z])+$").found_in("a" * 2000)
    assert time.thread_time() - began < 5


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\.", "(a|b)", "(?:ab)", "(b|)"])
PARTS = st.tuples(ATOMS, st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,2}", "{0,}", "+?"])).map("".join)
REGEXES = st.tuples(
    st.sampled_from(["", "^"]),
    st.lists(PARTS, max_size=4).map("".join),
    st.sampled_from(["", "$", "|b$", "|^a"]),
).map("".join)


@given(REGEXES, st.text("ab1.\n", max_size=6))
def test_searching_agrees_with_python(pattern, text):
    wanted = (
        re.search(pattern.replace("$", r"\Z"), text) is not None
    )  # '$' of ECMA 262 doesn't spare a last newline
    assert compiled(pattern).found_in(text) is wanted


@given(REGEXES, st.integers(0, 5), st.integers(0, 6), st.integers())
def test_making_agrees_with_python(pattern, least, more, seed):
    try:
        text = compiled(pattern).made(least, least + more, Random(seed))
    except ImpossibleError:
        return
    assert re.search(pattern.replace("$", r"\Z"), text)
    assert least <= len(text) <= least + more
