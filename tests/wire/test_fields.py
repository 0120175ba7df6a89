"""Each dialect's table says what its codec does, and the check notices where it doesn't."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from tests.wire.speakers import SPEAKERS

from holdfast.dialects.fields import HARMLESS, NEUTRAL, Cant, Said
from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.dialects.openai_chat.fields import FIELDS
from holdfast.testing.probes import BASE, PROBES, check_table
from holdfast.testing.said import says

CHAT = OpenAIChatCodec()


@pytest.mark.parametrize("name", SPEAKERS)
def test_a_table_says_what_its_codec_does(name: str) -> None:
    codec, table = SPEAKERS[name]
    check_table(name, codec, table)


@pytest.mark.parametrize("name", SPEAKERS)
def test_a_table_is_in_the_order_of_the_vocabulary_and_in_words(name: str) -> None:
    _, table = SPEAKERS[name]
    assert list(table) == list(NEUTRAL)
    assert not [field for field, row in table.items() if isinstance(row, Said) and not row.path]


def test_every_field_has_a_probe_that_says_it() -> None:
    assert list(PROBES) == list(NEUTRAL)
    assert not [name for name, probe in PROBES.items() if not says(probe, name, "openai_chat")]
    assert [name for name in NEUTRAL if says(BASE, name, "openai_chat")] == ["text"]


def test_what_may_be_left_out_unasked_has_a_name() -> None:
    assert set(NEUTRAL) >= HARMLESS


def _fails(name: str, row: Said | Cant, why: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(name) + ".*" + why):
        check_table("openai_chat", CHAT, {**FIELDS, name: row})


SAID = {name: row for name, row in FIELDS.items() if isinstance(row, Said)}
CANT = {name: row for name, row in FIELDS.items() if isinstance(row, Cant)}


@pytest.mark.parametrize("name", SAID)
def test_a_field_that_is_written_cant_be_called_unsayable(name: str) -> None:
    _fails(name, Cant("so"), "the codec wrote")


@pytest.mark.parametrize("name", SAID)
def test_a_field_is_looked_for_where_the_table_says_it_is(name: str) -> None:
    _fails(name, replace(SAID[name], path=SAID[name].path + "x"), "nothing is at|isn't a path")


@pytest.mark.parametrize("name", SAID)
def test_a_path_that_every_request_has_proves_nothing(name: str) -> None:
    _fails(name, replace(SAID[name], path="model"), "says the same without it")


@pytest.mark.parametrize("name", SAID)
def test_whether_a_field_comes_back_is_checked_both_ways(name: str) -> None:
    row = SAID[name]
    _fails(name, replace(row, back=not row.back, note="so"), "comes back as it was|came back as")


@pytest.mark.parametrize("name", CANT)
def test_a_field_that_is_refused_cant_be_called_said(name: str) -> None:
    _fails(name, Said("messages[].content"), "the codec: |nothing is at|came back as|says the same")


def test_rows_are_complete_and_give_their_reasons() -> None:
    for table in (
        {name: row for name, row in FIELDS.items() if name != "seed"},
        {**FIELDS, "sead": Cant("so")},
    ):
        with pytest.raises(AssertionError, match=r"sead|seed"):
            check_table("openai_chat", CHAT, table)
    _fails("tool_result.is_error", replace(SAID["tool_result.is_error"], note=""), "why")


class Mumbling(OpenAIChatCodec):
    """Leaves out what it can't say, and tells nobody."""

    def encode_request(self, request, drops=None):
        plain = replace(request, messages=tuple(replace(each, name=None) for each in request.messages))
        return super().encode_request(plain, drops)


class Misnaming(OpenAIChatCodec):
    """Refuses by a name that nobody knows."""

    def encode_request(self, request, drops=None):
        if request.cache is None and any(part.cache for each in request.messages for part in each.parts):
            request = replace(
                request, messages=BASE.messages, reasoning=PROBES["reasoning.budget_tokens"].reasoning
            )
        return super().encode_request(request, drops)


def test_a_codec_that_says_nothing_or_something_else_is_caught() -> None:
    with pytest.raises(AssertionError, match="name: nothing is at"):
        check_table("openai_chat", Mumbling(), FIELDS)
    with pytest.raises(AssertionError, match="name: the table says it can't be said, the codec wrote"):
        check_table("openai_chat", Mumbling(), {**FIELDS, "name": Cant("so")})
    with pytest.raises(AssertionError, match=r"cache_control: was refused as reasoning\.budget_tokens"):
        check_table("openai_chat", Misnaming(), FIELDS)
