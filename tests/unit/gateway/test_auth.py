"""Who is let in: this machine's own programs, or whoever has a key; never another site's page."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.clock import SystemClock
from holdfast.config import parse
from holdfast.errors import Forbidden, Unauthenticated
from holdfast.gateway.auth import AdminKeeper, Gatekeeper
from holdfast.gateway.keyring import Keyring
from holdfast.ledger.memory_keys import MemoryKeys

KEYS = {"keys": {"team": {"sha256": hashlib.sha256(b"hf-secret").hexdigest()}}}


def ring(**document: Any) -> Keyring:
    return Keyring(parse(document, {}), (), MemoryKeys(), SystemClock())


LOCAL = Gatekeeper(ring())
KEYED_RING = ring(**KEYS)
KEYED = Gatekeeper(KEYED_RING)
KEY = KEYED_RING.in_file("team")

ports = st.just("") | st.integers(1, 65_535).map(":{}".format)
loopback = st.sampled_from(["127.0.0.1", "localhost", "LocalHost", "[::1]", "127.1.2.3"])


def headers(**fields: str) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in fields.items()}


@given(loopback, ports)
def test_loopback_names_are_answered_on_any_port(name, port):
    assert LOCAL.admit(headers(host=name + port)) is None
    assert (
        LOCAL.admit(headers(host=name + port, origin=f"http://{name}{port}", sec_fetch_site="same-origin"))
        is None
    )


@given(st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True), ports)
def test_no_other_name_is_even_if_it_points_here(name, port):
    if name == "localhost" or name.startswith("127."):
        return
    with pytest.raises(Forbidden):
        LOCAL.admit(headers(host=name + port))


@pytest.mark.parametrize(
    "host",
    [
        "", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example", "localhost.", "[::2]", "0.0.0.0",
        "169.254.169.254", "10.0.0.1", "[::1", "2130706433", "é",
    ],
)  # fmt: skip
def test_names_that_only_look_like_it(host):
    with pytest.raises(Forbidden):
        LOCAL.admit(headers(host=host))


def test_a_request_without_a_host_is_not_answered():
    with pytest.raises(Forbidden):
        LOCAL.admit({})


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
    | st.sampled_from(
        [
            "null",
            "http://evil.example",
            "https://127.0.0.1:8080.evil.example",
            "http://127.0.0.1:8081",
            "file://",
        ]
    ),
)
def test_no_other_origin_is_answered(origin):
    if origin in ("http://127.0.0.1:8080", "https://127.0.0.1:8080"):
        return
    with pytest.raises(Forbidden):
        LOCAL.admit(headers(host="127.0.0.1:8080", origin=origin))


@pytest.mark.parametrize(
    ("site", "let_in"),
    [("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False), ("x", False)],
)
def test_what_a_browser_says_of_the_page_counts(site, let_in):
    fields = headers(host="localhost:8080", sec_fetch_site=site)
    if let_in:
        assert LOCAL.admit(fields) is None
    else:
        with pytest.raises(Forbidden):
            LOCAL.admit(fields)


@pytest.mark.parametrize("said", ["Bearer hf-secret", "bearer hf-secret", "BEARER   hf-secret "])
def test_a_known_key_is_its_holder(said):
    assert KEYED.admit(headers(authorization=said)) is KEY


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_nothing_else_is_a_key(said):
    for value in (said, f"Bearer {said}", f"Basic {said}"):
        if value.strip() == "Bearer hf-secret":
            continue
        with pytest.raises(Unauthenticated) as caught:
            KEYED.admit(headers(authorization=value))
        assert "hf-secret" not in str(caught.value)


def test_with_keys_a_host_of_this_machine_is_no_excuse():
    with pytest.raises(Unauthenticated):
        KEYED.admit(headers(host="127.0.0.1"))


@pytest.mark.parametrize("name", ["x_api_key", "x_goog_api_key", "api_key"])
def test_every_sdks_header_carries_a_key(name):
    assert KEYED.admit(headers(**{name: "hf-secret"})) is KEY
    with pytest.raises(Unauthenticated):
        KEYED.admit(headers(**{name: "hf-other"}))
    assert KEYED.admit(headers(authorization="Basic x", **{name: "hf-secret"})) is KEY


def test_a_key_in_the_query_as_google_has_it():
    assert KEYED.admit(headers(), b"alt=sse&key=hf-secret") is KEY
    for query in (b"", b"key=", b"key=other", b"akey=hf-secret", b"%"):
        with pytest.raises(Unauthenticated):
            KEYED.admit(headers(), query)


ADMIN = AdminKeeper(ring(gateway={"admin_key": "adm-secret"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": "Bearer adm-secret"},
        {"authorization": "bearer  adm-secret "},
        {"x_api_key": "adm-secret"},
        {"authorization": "Basic x", "x_api_key": " adm-secret"},
    ],
)
def test_the_admin_key_opens_admin_from_anywhere(fields):
    ADMIN.admit(headers(host="gateway.example", **fields))


@given(st.text(st.characters(max_codepoint=255), max_size=30) | st.sampled_from(["adm-secre", "adm-secretx"]))
def test_nothing_else_does(said):
    if said.strip() == "adm-secret":
        return
    for fields in (
        headers(host="127.0.0.1", authorization=f"Bearer {said}"),
        headers(host="127.0.0.1", authorization=said),
        headers(host="127.0.0.1", x_api_key=said),
    ):
        with pytest.raises(Unauthenticated) as caught:
            ADMIN.admit(fields)
        assert "adm-secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["x_goog_api_key", "api_key"])
def test_the_admin_key_comes_in_two_headers_only(name):
    with pytest.raises(Unauthenticated):
        ADMIN.admit(headers(**{name: "adm-secret"}))


def test_without_an_admin_key_callers_of_a_keyed_gateway_are_told_what_to_set():
    keeper = AdminKeeper(KEYED_RING)
    for fields in (headers(host="127.0.0.1"), headers(host="127.0.0.1", authorization="Bearer hf-secret")):
        with pytest.raises(Forbidden, match=r"gateway\.admin_key"):
            keeper.admit(fields)


def test_without_any_key_this_machine_may_look_and_no_web_page():
    keeper = AdminKeeper(ring())
    keeper.admit(headers(host="localhost:8080"))
    keeper.admit(headers(host="127.0.0.1:8080", origin="http://127.0.0.1:8080", sec_fetch_site="same-origin"))
    for fields in (
        {"host": "evil.example"},
        {"host": "127.0.0.1:8080", "origin": "https://evil.example"},
        {"host": "127.0.0.1:8080", "sec_fetch_site": "cross-site"},
    ):
        with pytest.raises(Forbidden):
            keeper.admit(headers(**fields))
