"""How a master key is written."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.master_key import bytes_of, master_keys

RAW = bytes(range(32))
B64 = base64.b64encode(RAW).decode()

some_keys = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4)
writings = st.sampled_from(
    [lambda b: base64.b64encode(b).decode(), lambda b: base64.urlsafe_b64encode(b).decode(), bytes.hex]
)


@given(some_keys, st.data())
def test_each_way_of_writing_it_means_its_bytes(keys, data):
    written = [data.draw(writings)(key) for key in keys]
    between = data.draw(st.sampled_from([",", ", ", "\n", " "]))
    read = master_keys(data.draw(st.sampled_from(["", "\n", " "])) + between.join(written) + "\n")
    assert [bytes_of(key) for key in read] == keys


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        ",",
        "secret",
        B64[:-4],
        B64 + "AAAA",
        B64[:-1],
        RAW.hex()[:-2],
        "pa$$word" * 5,
        "é" * 44,
        f"{B64},{B64}x",
    ],
)
def test_what_is_none_is_refused_and_never_quoted(text):
    with pytest.raises(ValueError, match=r"32 bytes as base64 \(openssl rand -base64 32\)") as told:
        master_keys(text)
    assert not any(part in str(told.value) for part in text.split(",") if len(part) > 3)


def test_it_says_which_one():
    with pytest.raises(ValueError, match=r"number 2\)"):
        master_keys(f"{B64},nonsense,{B64}")


def test_what_is_read_doesnt_print():
    assert B64 not in repr(master_keys(B64))
