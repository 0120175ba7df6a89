"""Keys to providers that come with a request: told from ours, and from what isn't a key."""

from __future__ import annotations

import hashlib

import pytest

from holdfast.config import parse
from holdfast.gateway.brought import Brought

OURS = hashlib.sha256(b"file-secret").hexdigest()
CONFIG = parse(
    {
        "keys": {"alice": {"sha256": OURS}},
        "gateway": {"admin_key": "adm-secret", "metrics_key": "met-secret"},
    },
    {},
)
BROUGHT = Brought(CONFIG)


def of(headers: dict[str, str], query: bytes = b"", *, needed: bool = False) -> dict[str, str]:
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    return {way: key.reveal() for way, key in BROUGHT.of(raw, query, needed=needed).items()}


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ({"authorization": "Bearer sk-1"}, b"", {"bearer": "sk-1"}),
        ({"authorization": "bearer  sk-1 "}, b"", {"bearer": "sk-1"}),
        ({"x-api-key": "sk-2"}, b"", {"x-api-key": "sk-2"}),
        ({"x-goog-api-key": "AI3"}, b"", {"x-goog-api-key": "AI3"}),
        ({"api-key": "az4"}, b"", {"api-key": "az4"}),
        ({}, b"alt=sse&key=AI5", {"x-goog-api-key": "AI5"}),
        ({"x-goog-api-key": "AI3"}, b"key=AI5", {"x-goog-api-key": "AI3"}),
        ({"authorization": "Bearer sk-1", "x-api-key": "sk-2"}, b"", {"bearer": "sk-1", "x-api-key": "sk-2"}),
        ({"authorization": "Basic dTpw"}, b"", {}),
        ({}, b"", {}),
    ],
)
def test_each_sdks_way_is_read(headers, query, found):
    assert of(headers, query) == found


OURS_OR_NONE = [
    "",
    " ",
    "none",
    "None",
    "hf_0123",
    "hf_admin_0",
    "file-secret",
    "adm-secret",
    "met-secret",
    "é",
    "a\tb",
    "x" * 4097,
]


@pytest.mark.parametrize("key", OURS_OR_NONE)
def test_what_is_ours_or_none_is_never_a_providers(key):
    for header in ("authorization", "x-api-key"):
        value = f"Bearer {key}" if header == "authorization" else key
        assert of({header: value, "x-holdfast-key": "file-secret"}, needed=True) == {}


def test_where_a_key_of_ours_is_needed_the_usual_headers_carry_it():
    assert of({"authorization": "Bearer sk-1"}, needed=True) == {}
    assert of({"authorization": "Bearer sk-1", "x-holdfast-key": "file-secret"}, needed=True) == {
        "bearer": "sk-1"
    }
    assert of({"authorization": "Bearer sk-1", "x-holdfast-key": "whatever"}) == {"bearer": "sk-1"}
