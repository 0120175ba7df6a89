"""What goes to a terminal can't drive it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.output import clean


@given(st.text())
def test_what_is_left_is_printable(text: str) -> None:
    assert clean(text).isprintable()


@given(st.text().filter(str.isprintable))
def test_what_is_printable_stays(text: str) -> None:
    assert clean(text) == text


def test_what_a_terminal_obeys_is_spelled_out() -> None:
    assert clean("a\x1b[2J\nb\u202e") == r"a\x1b[2J\nb\u202e"
