"""Whose key it is: by hash, by the wall clock, and by what changed a moment ago."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.config import parse
from holdfast.errors import ConfigError, Forbidden, Unauthenticated
from holdfast.gateway.keyring import Keyring
from holdfast.ledger.key_text import digest, make_text, prefix_of
from holdfast.ledger.keys import KeyBudget, KeyLimits, KeyRate, KeyText, StoredKey
from holdfast.ledger.memory_keys import MemoryKeys
from holdfast.money.rules import BudgetRule
from holdfast.resilience.rate_meter import RateLimitSettings

NOW = 1_790_000_000_000_000_000
S = 10**9
FILE_KEY, FILE_ADMIN = b"team-secret", b"adm-secret"
KEYS = {"keys": {"Team": {"sha256": hashlib.sha256(FILE_KEY).hexdigest()}}}


class Wall:
    def __init__(self) -> None:
        self.ns = NOW

    def wall_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        raise AssertionError("keys are judged by the wall clock")


class Touched(MemoryKeys):
    def __init__(self) -> None:
        super().__init__()
        self.touches: list[tuple[bytes, int]] = []

    def touch(self, sha256: bytes, now_ns: int) -> None:
        self.touches.append((sha256, now_ns))


class Fixture:
    def __init__(self, *keys: StoredKey, **document: Any) -> None:
        self.clock, self.store = Wall(), Touched()
        self.ring = Keyring(parse(document, {}), keys, self.store, self.clock)


def made(name: str, number: int, **fields: Any) -> tuple[bytes, StoredKey]:
    text = make_text(fields.get("kind", "caller"), lambda size: bytes([number]) * size)
    known = KeyText(sha256=digest(text.reveal().encode()), prefix=prefix_of(text), created_ns=NOW)
    key = StoredKey(id=f"id-{name}", name=name, texts=(known,), created_ns=NOW, **fields)
    return text.reveal().encode(), key


ALICE_TEXT, ALICE = made("alice", 1)
OPS_TEXT, OPS = made("ops", 2, kind="admin")


def test_a_caller_is_known_by_the_text_of_a_key():
    fixture = Fixture(ALICE, OPS, **KEYS)
    assert fixture.ring.caller(ALICE_TEXT).name == "alice"
    assert fixture.ring.caller(FILE_KEY).name == "Team"
    for text in (b"", b"x", ALICE_TEXT[:-1], ALICE_TEXT + b"1", ALICE_TEXT.swapcase(), ALICE.texts[0].sha256):
        with pytest.raises(Unauthenticated):
            fixture.ring.caller(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"unknown", "is not known here"),
        (make_text("caller", lambda size: b"\7" * size).reveal().encode(), "is not known here"),
        (ALICE_TEXT[:-1], "mistyped, or a part of it is missing"),
        (ALICE_TEXT[:20] + b"y" + ALICE_TEXT[21:], "mistyped, or a part of it is missing"),
    ],
)
def test_who_made_a_text_up_hears_only_that_it_is_no_key(text, said):
    with pytest.raises(Unauthenticated, match=said):
        Fixture(ALICE, **KEYS).ring.caller(text)


def test_an_admin_key_asks_no_models_and_a_callers_opens_no_admin():
    ring = Fixture(ALICE, OPS, gateway={"admin_key": FILE_ADMIN.decode()}, **KEYS).ring
    with pytest.raises(Forbidden, match="opens /admin, and asks no models"):
        ring.caller(OPS_TEXT)
    with pytest.raises(Unauthenticated):
        ring.caller(FILE_ADMIN)
    assert ring.admin(OPS_TEXT) == "ops"
    assert ring.admin(FILE_ADMIN) == "gateway.admin_key"
    for text in (ALICE_TEXT, FILE_KEY, b"", b"x"):
        with pytest.raises(Unauthenticated, match="callers' keys don't open /admin"):
            ring.admin(text)


def test_an_admin_key_opens_metrics_too_and_closes_it_to_others():
    assert not Fixture().ring.metrics_needs_key
    assert Fixture(gateway={"metrics_key": "m"}).ring.metrics_needs_key
    ring = Fixture(ALICE, OPS, **KEYS).ring
    assert ring.metrics_needs_key
    ring.metrics(OPS_TEXT)
    for text in (ALICE_TEXT, FILE_KEY, b"unknown", b""):
        with pytest.raises(Unauthenticated, match="callers' keys don't open /metrics"):
            ring.metrics(text)


def test_an_admin_key_that_is_over_is_told_so_by_metrics():
    text, late = made("late", 3, kind="admin", limits=KeyLimits(expires_ns=NOW + S))
    fixture = Fixture(late)
    fixture.ring.metrics(text)
    fixture.clock.ns += 2 * S
    with pytest.raises(Unauthenticated, match="has expired"):
        fixture.ring.metrics(text)


def test_expiry_is_judged_at_each_request():
    fixture = Fixture(*(replace(key, limits=KeyLimits(expires_ns=NOW + 5 * S)) for key in (ALICE, OPS)))
    for _ in range(2):
        fixture.clock.ns = NOW + 5 * S - 1
        assert fixture.ring.caller(ALICE_TEXT).name == "alice"
        assert fixture.ring.admin(OPS_TEXT) == "ops"
        fixture.clock.ns = NOW + 5 * S
        for ask, text in ((fixture.ring.caller, ALICE_TEXT), (fixture.ring.admin, OPS_TEXT)):
            with pytest.raises(Unauthenticated, match="has expired"):
                ask(text)


def test_what_is_revoked_is_refused_from_then_on():
    ring = Fixture(ALICE, OPS).ring
    ring.caller(ALICE_TEXT)
    ended = ring.end("ALICE")
    assert ended is not None
    assert ended.revoked_ns == NOW
    with pytest.raises(Unauthenticated, match="was revoked"):
        ring.caller(ALICE_TEXT)
    ring.end("ops")
    with pytest.raises(Unauthenticated, match="was revoked"):
        ring.admin(OPS_TEXT)
    assert ring.end("nobody") is None


def test_a_text_that_was_replaced_works_until_its_time_is_over():
    new_text, new = made("alice", 9)
    older = replace(ALICE.texts[0], until_ns=NOW + 5 * S)
    fixture = Fixture(ALICE)
    fixture.ring.put(replace(ALICE, texts=(new.texts[0], older)))
    assert fixture.ring.caller(ALICE_TEXT).name == fixture.ring.caller(new_text).name == "alice"
    fixture.clock.ns = NOW + 5 * S
    with pytest.raises(Unauthenticated, match="was replaced by a newer one"):
        fixture.ring.caller(ALICE_TEXT)
    fixture.ring.caller(new_text)
    fixture.ring.put(replace(ALICE, texts=new.texts))
    with pytest.raises(Unauthenticated, match="is not known"):
        fixture.ring.caller(ALICE_TEXT)


def test_what_was_closed_doesnt_open_when_its_last_key_is_over():
    assert Fixture().ring.open
    assert Fixture(OPS).ring.open  # an admin's key closes /admin alone
    fixture = Fixture()
    fixture.ring.put(ALICE)
    assert not fixture.ring.open
    fixture.ring.end("alice")
    assert not fixture.ring.open
    assert not Fixture(replace(ALICE, revoked_ns=NOW)).ring.open
    assert not Fixture(replace(ALICE, limits=KeyLimits(expires_ns=1))).ring.open
    assert not Fixture(**KEYS).ring.open


def test_admin_stays_closed_when_its_last_key_is_over():
    assert not Fixture(ALICE).ring.admin_needs_key
    fixture = Fixture(OPS)
    fixture.ring.end("ops")
    assert fixture.ring.admin_needs_key
    assert Fixture(gateway={"admin_key": "k"}).ring.admin_needs_key


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "gateway.example"])
def test_where_others_can_reach_it_there_must_be_a_callers_key(host):
    for closed in (
        Fixture(ALICE, gateway={"host": host}),
        Fixture(gateway={"host": host}, **KEYS),
        Fixture(gateway={"host": "::1"}),
    ):
        closed.ring.check_exposure()
    for exposed in (Fixture(gateway={"host": host}), Fixture(OPS, gateway={"host": host, "admin_key": "k"})):
        with pytest.raises(ConfigError, match="callers need keys: make one with 'holdfast keys create"):
            exposed.ring.check_exposure()


@pytest.mark.parametrize("key", [made("TEAM", 3)[1], replace(made("team", 3)[1], revoked_ns=NOW)])
def test_a_name_in_both_places_is_an_error_that_names_them(key):
    with pytest.raises(ConfigError, match=r"^keys\.Team: a key of that name is stored in gate\.db"):
        Fixture(key, ledger={"url": "sqlite:///gate.db"}, **KEYS)


def test_uses_are_told_once_a_minute():
    fixture = Fixture(ALICE)
    for second in (0, 1, 59, 60, 61, 130):
        fixture.clock.ns = NOW + second * S
        fixture.ring.caller(ALICE_TEXT)
    sha256 = ALICE.texts[0].sha256
    assert fixture.store.touches == [(sha256, NOW), (sha256, NOW + 60 * S), (sha256, NOW + 130 * S)]
    assert fixture.ring.tell(ALICE)["last_used_ns"] == NOW + 130 * S
    fixture.clock.ns = NOW  # a clock that goes back tells nothing
    fixture.ring.caller(ALICE_TEXT)
    assert fixture.ring.tell(ALICE)["last_used_ns"] == NOW + 130 * S


def test_the_door_gets_the_keys_limits():
    limits = KeyLimits(
        team="search",
        tags={"env": "prod"},
        routes=("Chat",),
        models=("gpt-*",),
        rate=KeyRate(requests=5, window_s=2),
        budgets=(KeyBudget(window="day", limit_nano=7), KeyBudget(window="forever", limit_tokens=8)),
    )
    fixture = Fixture(replace(ALICE, limits=limits))
    key = fixture.ring.caller(ALICE_TEXT)
    assert (key.team, key.tags) == ("search", {"env": "prod"})
    assert key.rate == RateLimitSettings(requests=5, window_s=2)
    assert key.permits("chat", "x")
    assert key.permits("", "GPT-5")
    assert not key.permits("other", "o3")
    day = BudgetRule(name="key alice: usd, day", scope="key", match=("alice",), limit_nano=7, window="day")
    forever = BudgetRule(
        name="key alice: tokens, forever", scope="key", match=("alice",), limit_tokens=8, window="forever"
    )
    assert list(key.budgets) == fixture.ring.budgets() == [day, forever]


def test_watchers_see_each_change_after_it_counts():
    fixture = Fixture(**KEYS)
    seen: list[list[str]] = []
    fixture.ring.watch(lambda: seen.append(sorted(fixture.ring.rates())))
    rated = replace(ALICE, limits=KeyLimits(rate=KeyRate(requests=5)))
    fixture.ring.put(rated)
    fixture.ring.end("alice")
    assert seen == [[], ["alice"], []]


def test_the_files_keys_are_told_in_the_same_words():
    document = {"keys": {"Team": {**KEYS["keys"]["Team"], "team": "x", "rate": {"requests": 3}}}}
    fixture = Fixture(ALICE, **document)
    file, stored = fixture.ring.tell_all(over=False)
    assert set(file) == set(stored)
    assert (file["name"], file["source"], file["team"], file["rate"]) == (
        "Team", "file", "x", KeyRate(requests=3)
    )  # fmt: skip
    assert (stored["name"], stored["source"], stored["prefix"]) == (
        "alice",
        "ledger",
        "hf_" + ALICE_TEXT[3:9].decode(),
    )


def test_those_that_are_over_are_told_where_they_are_asked_for():
    expired = replace(made("old", 4)[1], limits=KeyLimits(expires_ns=NOW))
    ring = Fixture(ALICE, expired, replace(OPS, revoked_ns=NOW)).ring
    assert [(key["name"], key["state"]) for key in ring.tell_all(over=True)] == [
        ("alice", "active"), ("old", "expired"), ("ops", "revoked")
    ]  # fmt: skip
    assert [key["name"] for key in ring.tell_all(over=False)] == ["alice"]
    assert [key.name for key in ring.callers()] == ["alice"]


def test_a_damaged_key_is_named_and_not_guessed_at():
    wrong = replace(ALICE, limits=KeyLimits(rate=KeyRate(requests=0)))
    with pytest.raises(
        ConfigError, match=r"the key alice in .* can't be used: requests must be a whole number"
    ):
        Fixture(wrong)
