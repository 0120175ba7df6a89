"""Service tiers: what a request may ask for, what an answer says it got, and which of them is paid for.

Providers sell the same model at several prices: slower (``flex``), later (``batch``), sooner (``priority``) or quicker
(``fast``). Where its price isn't known, what costs less than the standard counts as the standard; what costs more can't.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.model.usage import Usage

__all__ = ["DEARER", "TIERS", "Tier", "asked_tier", "billed_tier", "bound_tier", "told_tier"]

Tier = Literal["batch", "flex", "priority", "fast"]
"""Other than the standard one, which is None. ``fast`` is Anthropic's ``speed``, and OpenAI's newer word for priority."""

TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
DEARER: Final[frozenset[Tier]] = frozenset(("priority", "fast"))

_NAMES: Final = ("speed", "service_tier", "serviceTier", "trafficType")
_NAMED: Final = frozenset(_NAMES)
_WORDS: Final[Mapping[str, Tier]] = {
    **{tier: tier for tier in TIERS},
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "performance": "priority",  # Groq's
}
"""What isn't here (``default``, ``auto``, ``standard``, ``scale``, ``on_demand`` …) is the standard tier."""

_text = msgspec.json.Decoder(str).decode


def asked_tier(provider: str, *fields: Mapping[str, Any]) -> Tier | None:
    """The tier that a request asks for by name.

    Args:
        provider: our name of it.
        fields: its top-level fields, as values or raw JSON; later mappings (a route's ``set``) go before earlier ones.
    """
    for each in fields:
        if not _NAMED.isdisjoint(each):
            break
    else:
        return None  # nearly always, and asked several times for each request
    return _tier(provider, {name: each[name] for each in fields for name in _NAMES if name in each})


def told_tier(provider: str, usage: Usage) -> tuple[bool, Tier | None]:
    """Whether an answer says which tier served it, and which."""
    extra: object = usage.extra
    if not isinstance(extra, dict):
        return False, None
    said = {name: extra[name] for name in _NAMES if isinstance(extra.get(name), str)}
    return bool(said), _tier(provider, said)


def bound_tier(asked: Tier | None) -> Tier | None:
    """The tier whose price bounds a request: a cheaper one may not be granted, so it is bounded by the standard."""
    return asked if asked in DEARER else None


def billed_tier(provider: str, asked: Tier | None, usage: Usage) -> Tier | None:
    """The tier that an answer is paid at: what it says, else the dearer of what was asked for and the standard."""
    told, tier = told_tier(provider, usage)
    return tier if told else bound_tier(asked)


def _tier(provider: str, said: Mapping[str, Any]) -> Tier | None:
    for name in _NAMES:  # Anthropic says both, and its speed is what has a price
        word = _word(said.get(name))
        tier = _WORDS.get(word.lower()) if word is not None else None
        if tier == "priority" and provider.lower() == "anthropic":
            continue  # paid for in advance, by the month: a request in it costs no more
        if tier is not None:
            return tier
    return None


def _word(value: Any) -> str | None:
    if isinstance(value, msgspec.Raw):
        try:
            return _text(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    return value if isinstance(value, str) else None
