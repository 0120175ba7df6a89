"""Secrets at rest: only the master key opens them, and only about what they were sealed about."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.sealing import Sealed, Sealer, Unsealable
from holdfast.secret import Secret

OLD, NEW = (Secret(base64.b64encode(bytes([n]) * 32).decode()) for n in (1, 2))
KEY = Secret("sk-canary-5d1f0e8b7a")
ABOUT = ("acme", "openai", None)

names = st.text(max_size=20) | st.none()
abouts = st.tuples(names, names, names)


@given(st.text(min_size=1, max_size=200).map(Secret), abouts)
def test_what_was_sealed_comes_out_again(secret, about):
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal(secret, *about)
    assert sealer.open(sealed, *about) == secret
    assert sealed.master == sealer.newest == Sealer([NEW]).newest
    if len(secret.reveal()) > 3:
        assert secret.reveal().encode() not in sealed.data


@given(abouts, abouts)
def test_about_anything_else_it_doesnt_open(about, other):
    sealer = Sealer([NEW])
    sealed = sealer.seal(KEY, *about)
    if about == other:
        assert sealer.open(sealed, *other) == KEY
        return
    with pytest.raises(Unsealable) as error:
        sealer.open(sealed, *other)
    assert not error.value.unknown


@pytest.mark.parametrize(
    "other", [("acmeopenai", None), ("acme", "openai"), ("acme", "openai", ""), ("acme", "open", "ai")]
)
def test_names_that_run_together_arent_the_same(other):
    sealer = Sealer([NEW])
    with pytest.raises(Unsealable):
        sealer.open(sealer.seal(KEY, *ABOUT), *other)


@given(st.data())
def test_a_single_bit_that_was_changed_shows(data):
    sealer = Sealer([NEW])
    sealed = sealer.seal(KEY, *ABOUT)
    place = data.draw(st.integers(0, len(sealed.data) * 8 - 1))
    changed = bytearray(sealed.data)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(Unsealable):
        sealer.open(Sealed(sealed.master, bytes(changed)), *ABOUT)


@pytest.mark.parametrize("length", range(30))
def test_a_part_of_it_opens_nothing(length):
    sealer = Sealer([NEW])
    with pytest.raises(Unsealable):
        sealer.open(Sealed(sealer.newest, sealer.seal(KEY, *ABOUT).data[:length]), *ABOUT)


def test_under_another_master_key_it_says_so():
    sealed = Sealer([OLD]).seal(KEY, *ABOUT)
    with pytest.raises(Unsealable, match="another master key") as error:
        Sealer([NEW]).open(sealed, *ABOUT)
    assert error.value.unknown
    assert not Sealer([NEW]).knows(sealed.master)


def test_the_first_seals_and_all_open():
    both = Sealer([NEW, OLD])
    before = Sealer([OLD]).seal(KEY, *ABOUT)
    assert both.open(before, *ABOUT) == KEY
    after = both.seal(both.open(before, *ABOUT), *ABOUT)
    assert after.master != before.master
    assert Sealer([NEW]).open(after, *ABOUT) == KEY


def test_the_same_twice_reads_differently():
    """A nonce that came twice would give both away."""
    sealer = Sealer([NEW])
    seen = {sealer.seal(KEY, *ABOUT).data[:12] for _ in range(1000)}
    assert len(seen) == 1000
