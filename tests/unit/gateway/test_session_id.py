"""Where a request's session comes from, source by source."""

from __future__ import annotations

import json
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import claude_code

from holdfast.errors import InvalidRequest
from holdfast.gateway.session_id import SessionIds, SessionName
from holdfast.money.session import SOURCES, is_session_id, of_its_time

UUID = "0b8f1d7e-2a1c-4f0e-9c51-6f2f3c6f2a11"
HEADERS = {name.encode(): value.encode() for name, value in claude_code.HEADERS.items()}
FIELDS = {"user": "alice", "safety_identifier": "a1b2", "prompt_cache_key": "chat-7"}


def named(sources=(), headers=None, body=None):
    fields = msgspec.json.decode(json.dumps(body or {}).encode(), type=dict[str, msgspec.Raw])
    return SessionIds(sources).of(headers or {}, fields)


class TestOurs:
    @pytest.mark.parametrize("text", ["x", "a" * 64, "team/search:run_1.2-b", UUID])
    def test_as_it_is_and_before_all_others(self, text):
        headers = HEADERS | {b"x-holdfast-session": text.encode()}
        assert named(SOURCES, headers, FIELDS) == SessionName(text, lasting=False)

    @pytest.mark.parametrize("text", ["", " ", "a" * 65, "a b", "ä", "²", "a,b"])
    def test_one_that_cant_be_an_id_is_refused(self, text):
        with pytest.raises(InvalidRequest, match="x-holdfast-session must be 1 to 64 letters") as refused:
            named(headers={b"x-holdfast-session": text.encode("latin-1")})
        assert refused.value.param == "x-holdfast-session"


class TestConfigured:
    def test_nothing_else_is_read_by_default(self):
        assert named((), HEADERS, FIELDS | claude_code.ASKED) is None

    def test_in_the_order_that_is_configured(self):
        assert named(("prompt-cache-key", "openai-user"), {}, FIELDS).id == "cache:chat-7"
        assert named(("openai-user", "prompt-cache-key"), {}, FIELDS).id == "user:alice"
        assert named(("claude-code", "openai-user"), {}, FIELDS).id == "user:alice"
        assert named(("safety-identifier",), {}, FIELDS).id == "user:a1b2"

    def test_each_source_has_a_reader(self):
        SessionIds(SOURCES)

    @pytest.mark.parametrize("source", SOURCES)
    def test_without_it_there_is_none(self, source):
        assert named((source,)) is None


class TestClaudeCode:
    def test_its_header(self):
        assert named(("claude-code",), HEADERS, claude_code.ASKED) == SessionName(UUID, lasting=False)

    @pytest.mark.parametrize(
        "user",
        [
            json.dumps({"device_id": "d", "account_uuid": "", "session_id": UUID}),
            f"user_{'0' * 64}_account__session_{UUID}",
            f"user_{'0' * 64}_account_11111111-2222-3333-4444-555555555555_session_{UUID}",
        ],
    )
    @pytest.mark.parametrize("headers", [{}, {b"x-claude-code-session-id": b" "}])
    def test_its_user_in_both_forms(self, headers, user):
        body = {"metadata": {"user_id": user}}
        assert named(("claude-code",), headers, body) == SessionName(UUID, lasting=False)

    @pytest.mark.parametrize(
        "metadata",
        [
            None,
            3,
            {},
            {"user_id": None},
            {"user_id": 3},
            {"user_id": "alice"},
            {"user_id": "{"},
            {"user_id": "{}"},
            {"user_id": '{"session_id": 3}'},
            {"user_id": "user_x_session_"},
        ],
    )
    def test_another_users_names_none(self, metadata):
        assert named(("claude-code",), {}, {"metadata": metadata}) is None

    def test_one_that_is_no_id_is_hashed_and_not_refused(self):
        found = named(("claude-code",), {b"x-claude-code-session-id": b"a b"})
        assert found == SessionName("claude-code:sha256:" + sha256(b"a b").hexdigest()[:32], lasting=False)


class TestLasting:
    @pytest.mark.parametrize("value", [None, "", 3, [], {"a": 1}])
    def test_what_is_no_text_names_none(self, value):
        assert named(("openai-user",), {}, {"user": value}) is None

    def test_what_does_not_fit_is_hashed(self):
        mail = "alice@example.com"
        assert named(("openai-user",), {}, {"user": mail}) == SessionName(
            "user:sha256:" + sha256(mail.encode()).hexdigest()[:32], lasting=True
        )
        assert named(("openai-user",), {}, {"user": "a" * 47}).id == "user:" + "a" * 47
        assert named(("openai-user",), {}, {"user": "a" * 48}).id.startswith("user:sha256:")

    @given(
        st.text(min_size=1, max_size=80), st.sampled_from(["user", "safety_identifier", "prompt_cache_key"])
    )
    def test_whatever_it_is_its_sessions_have_ids(self, text, field):
        source = {"user": "openai-user"}.get(field, field.replace("_", "-"))
        found = named((source,), {}, {field: text})
        assert found.lasting
        assert is_session_id(of_its_time(found.id, 4_000_000_000 * 10**9, 6 * 10**9))

    def test_two_are_told_apart(self):
        names = {named(("openai-user",), {}, {"user": text}).id for text in ("a@b", "a b", "a@c", "ab")}
        assert len(names) == 4
