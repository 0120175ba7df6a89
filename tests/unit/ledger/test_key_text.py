"""The text of a key: what it looks like, and what is noticed of one that isn't whole."""

from __future__ import annotations

import hashlib
import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.ledger.key_text import digest, is_damaged, make_text, prefix_of

FORM = re.compile(r"hf_(admin_)?[0-9A-Za-z]{49}")
kinds = st.sampled_from(["caller", "admin"])
chances = st.binary(min_size=32, max_size=32)


@given(kinds, chances)
def test_its_form_is_one_that_scanners_can_look_for(kind, chance):
    text = make_text(kind, lambda size: chance[:size]).reveal()
    assert FORM.fullmatch(text)
    assert text.startswith("hf_admin_") == (kind == "admin")
    assert not is_damaged(text.encode())


@given(chances, chances)
def test_other_chance_is_another_key(one, other):
    texts = {make_text("caller", lambda _, chance=chance: chance).reveal() for chance in (one, other)}
    assert len(texts) == (1 if one == other else 2)


def test_all_of_the_chance_is_asked_for_and_in_it():
    asked = []

    def chance(size):
        asked.append(size)
        return b"\xff" * size

    full = make_text("caller", chance).reveal()
    assert asked == [32]
    for place in range(32):
        flipped = bytes(0xFE if at == place else 0xFF for at in range(32))
        assert make_text("caller", lambda _, flipped=flipped: flipped).reveal() != full


@given(chances, st.data())
def test_one_wrong_character_is_noticed(chance, data):
    text = make_text("caller", lambda _: chance).reveal()
    place = data.draw(st.integers(3, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789ABCXYZabcxyz").filter(lambda digit: digit != text[place]))
    assert is_damaged((text[:place] + other + text[place + 1 :]).encode())


@given(chances, st.integers(3, 51))
def test_one_that_was_cut_off_is_noticed(chance, length):
    assert is_damaged(make_text("caller", lambda _: chance).reveal()[:length].encode())


@given(chances, st.integers(3, 50))
def test_swapped_neighbours_are_noticed(chance, place):
    text = make_text("caller", lambda _: chance).reveal()
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assert is_damaged(swapped.encode()) == (swapped != text)


@pytest.mark.parametrize("text", [b"", b"sk-123", b"team-secret", b"HF_x", b"\xff\x00"])
def test_of_what_isnt_ours_nothing_is_said(text):
    assert not is_damaged(text)


@pytest.mark.parametrize(("kind", "shown"), [("caller", 9), ("admin", 15)])
def test_what_is_shown_of_it_is_a_small_part(kind, shown):
    text = make_text(kind, secrets.token_bytes)
    prefix = prefix_of(text)
    assert len(prefix) == shown
    assert text.reveal().startswith(prefix)


def test_it_is_looked_up_by_its_sha256_alone():
    assert digest(b"hf_x") == hashlib.sha256(b"hf_x").digest()


def test_it_doesnt_print():
    text = make_text("caller", secrets.token_bytes)
    assert text.reveal() not in f"{text} {text!r} {text:>9}"
