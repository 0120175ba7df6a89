"""The value: numbers add up, certainty doesn't grow."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.providers.tokens.count import EMPTY, Count

KINDS = ("exact", "reconstructed", "calibrated")

counts = st.builds(
    lambda tokens, kind, slack, unseen: Count(tokens, kind, tokens + slack, unseen),
    st.integers(0, 10**9),
    st.sampled_from(KINDS),
    st.integers(0, 10**6),
    st.booleans(),
)


@given(counts, counts)
def test_a_sum_is_as_sure_as_its_weaker_part(one, other):
    both = one + other
    assert both.tokens == one.tokens + other.tokens
    assert both.upper == one.upper + other.upper >= both.tokens
    assert KINDS.index(both.kind) == max(KINDS.index(one.kind), KINDS.index(other.kind))
    assert both.unseen == (one.unseen or other.unseen)
    assert both == other + one
    assert one + EMPTY == one


def test_counts_are_values():
    count = Count(1, "exact", 1)
    assert {count, Count(1, "exact", 1)} == {count}
    with pytest.raises(AttributeError):
        count.tokens = 2
    assert msgspec.to_builtins(count) == {"tokens": 1, "kind": "exact", "upper": 1, "unseen": False}
