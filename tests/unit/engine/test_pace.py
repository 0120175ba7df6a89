"""When a stream crawls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.pace import WINDOW_S, Pace, tokens_seen


@pytest.mark.parametrize(
    ("deltas", "characters", "tokens"), [(0, 0, 0), (3, 0, 3), (3, 11, 5), (0, 400, 100)]
)
def test_an_estimate_is_rather_too_high(deltas, characters, tokens):
    assert tokens_seen(deltas, characters) == tokens


def test_a_window_is_judged_at_its_end_and_anew():
    pace = Pace(2.0)
    assert not pace.crawls(WINDOW_S - 0.1, 0)
    assert not pace.crawls(0.1, 20)
    assert not pace.crawls(WINDOW_S / 2, 20)
    assert pace.crawls(WINDOW_S / 2, 39)


def test_a_long_wait_is_a_long_window():
    assert Pace(2.0).crawls(15.0, 29)
    assert not Pace(2.0).crawls(15.0, 30)


@given(
    st.floats(0.1, 100),
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 10_000)), max_size=60),
)
def test_who_keeps_the_pace_in_every_wait_is_never_ended(least, waits):
    pace, tokens = Pace(least), 0
    for waited_s, more in waits:
        tokens += max(more, int(waited_s * least) + 1)
        assert not pace.crawls(waited_s, tokens)
