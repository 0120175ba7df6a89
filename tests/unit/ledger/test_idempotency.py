"""Keys, claims and the table of states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import (
    IdempotencyConflict,
    IdempotencyRunning,
    InvalidIdempotencyKeyError,
    NotReplayable,
    OutcomeUnknownForKey,
)
from holdfast.ledger.idempotency import (
    LONGEST_TTL_S,
    TABLE,
    Answer,
    Claim,
    Conflict,
    Event,
    Running,
    State,
    Unknown,
    Unreplayable,
    check_key,
    digest_of,
    fingerprint,
    pack_headers,
    refusal,
    sources,
    unpack_headers,
)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255))
def test_visible_ascii_is_a_key(key: str) -> None:
    assert check_key(key) == key


@given(st.text(max_size=300))
def test_anything_else_is_not(key: str) -> None:
    fits = 1 <= len(key) <= 255 and all(0x21 <= ord(character) <= 0x7E for character in key)
    if fits:
        assert check_key(key) == key
    else:
        with pytest.raises(InvalidIdempotencyKeyError):
            check_key(key)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "is empty"),
        ("x" * 256, "has 256 characters"),
        ("a b", "isn't visible ASCII"),
        ("a\n", "isn't visible ASCII"),
    ],
)
def test_a_bad_key_is_told_what_is_wrong(key: str, said: str) -> None:
    with pytest.raises(InvalidIdempotencyKeyError, match=said):
        check_key(key)


def claim(**fields) -> Claim:
    known = {"tenant": "t", "key": "k", "fingerprint": b"f" * 32, "run_id": "r"}
    return Claim(**known | fields)


@pytest.mark.parametrize("ttl_s", [0, -1.0, LONGEST_TTL_S + 1, float("nan")])
def test_a_claim_has_a_possible_ttl(ttl_s: float) -> None:
    with pytest.raises(ValueError, match="ttl_s"):
        claim(ttl_s=ttl_s)


def test_a_claim_has_a_fingerprint_and_a_key() -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        claim(fingerprint=b"short")
    with pytest.raises(InvalidIdempotencyKeyError):
        claim(key="a b")
    assert claim(ttl_s=LONGEST_TTL_S).ttl_ns == 365 * 86_400 * 10**9


def test_only_a_free_key_is_claimed_and_a_run_that_is_over_stays_over() -> None:
    """ID1, read off the table."""
    assert sources(Event.CLAIM) == (State.FREE,)
    for state in (State.DONE, State.NOT_REPLAYABLE):
        assert State.RUNNING not in TABLE[state].values()
        assert {event for event, after in TABLE[state].items() if after is State.FREE} == {Event.EXPIRE}
    assert Event.EXPIRE not in TABLE[State.RUNNING]
    assert State.UNKNOWN in TABLE[State.RUNNING].values()


def test_every_state_is_reached_and_left() -> None:
    reached = {after for row in TABLE.values() for after in row.values()}
    assert reached == set(State) == set(TABLE)
    assert all(TABLE.values())


@pytest.mark.parametrize(
    ("verdict", "kind", "status", "retry_after_s"),
    [
        (Running(run_id="r", since_ns=1), IdempotencyRunning, 409, 1.0),
        (Unknown(run_id="r", since_ns=1), OutcomeUnknownForKey, 409, None),
        (Conflict(run_id="r", since_ns=1), IdempotencyConflict, 422, None),
        (Unreplayable(run_id="r", since_ns=1, why="it is large"), NotReplayable, 409, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_refusal_has_its_code(verdict, kind, status, retry_after_s) -> None:
    """ID2."""
    error = refusal(verdict, "the-key")
    assert (type(error), error.status, error.retry_after_s) == (kind, status, retry_after_s)
    assert "the-key" in error.message


headers = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5).map(tuple)
answers = st.builds(Answer, status=st.integers(100, 599), headers=headers, body=st.binary(max_size=50))


@given(headers)
def test_headers_come_back_as_they_were(pairs) -> None:
    assert unpack_headers(pack_headers(pairs)) == pairs


@given(
    st.lists(
        st.tuples(st.text(), st.text(), st.binary(max_size=4), answers), min_size=2, max_size=2, unique=True
    )
)
def test_a_digest_belongs_to_one_answer_of_one_request(two) -> None:
    first, second = two
    assert digest_of(*first) != digest_of(*second)
    assert digest_of(*first) == digest_of(*first)


parts = st.lists(st.binary(max_size=6), max_size=4).map(tuple)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2), parts), min_size=2, max_size=2, unique=True))
def test_a_fingerprint_belongs_to_one_secret_and_one_way_of_cutting(two) -> None:
    first, second = two
    if first[0].ljust(64, b"\0") == second[0].ljust(64, b"\0"):
        return  # HMAC pads its key with zeros: these are the same secret
    assert fingerprint(*first) != fingerprint(*second)


@given(st.lists(parts, min_size=2, max_size=2, unique=True))
def test_under_one_secret_too(two) -> None:
    assert fingerprint(b"secret", two[0]) != fingerprint(b"secret", two[1])
