"""The world in which money must be conserved: providers that fail in every way that costs, budgets of every scope, prices
with fractions of a nano-dollar.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.support.gateway import CANARY, FREE_RETRIES, document_of

from holdfast.chaos import ChaosConfig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conservation_callers import Ask

    from holdfast.chaos.answer import Usage

__all__ = ["BUDGETS", "KEYS", "PRICES", "ROUTES", "Budget", "chaos_of", "document", "price_nano"]


@dataclass(frozen=True)
class _Price:
    """Dollars per million tokens, as they stand in the configuration."""

    input: str
    output: str
    cache_read: str

    def nano(self, usage: Usage) -> int:
        """What a provider bills for that: exact, and rounded up once."""
        fresh = usage.prompt_tokens - usage.cached_tokens
        dollars_per_million = (
            fresh * Fraction(self.input)
            + usage.cached_tokens * Fraction(self.cache_read)
            + usage.completion_tokens * Fraction(self.output)
        )
        return -(-(dollars_per_million * 1000) // 1)

    def most_nano(self, input_tokens: int, output_tokens: int) -> int:
        """With nothing out of a cache."""
        return -(-((input_tokens * Fraction(self.input) + output_tokens * Fraction(self.output)) * 1000) // 1)

    def input_of_bound(self, nano: int, output_tokens: int) -> int:
        """The input tokens of a bound: it is a whole number of them and that much output, rounded up."""
        nano_of_output = output_tokens * Fraction(self.output) * 1000
        tokens = int((nano - nano_of_output) // (Fraction(self.input) * 1000))
        assert self.most_nano(tokens, output_tokens) == nano, "a bound that isn't one"
        return tokens


PRICES: Final = {
    "openai": _Price("0.1234", "0.7777", "0.0617"),
    "anthropic": _Price("3", "15", "0.3"),
    "gemini": _Price("0.35", "1.05", "0.0875"),
}
DIALECTS: Final = {"openai": "openai_chat", "anthropic": "anthropic", "gemini": "gemini"}
MODELS: Final = {"openai": "chat-o", "anthropic": "chat-a", "gemini": "chat-g"}


def price_nano(provider: str, usage: Usage) -> int:
    return PRICES[provider].nano(usage)


_O, _A, _G = (f"{name}/{MODELS[name]}" for name in PRICES)
ROUTES: Final[dict[str, dict[str, Any]]] = {
    "chat": {"targets": [_O, _A, _G]},
    "claude": {"targets": [_A, _G], "on_break": "resume"},
    "google": {"targets": [_G, _O], "on_break": "buffer"},
    "alone": {"targets": [_O]},
    "quick": {"targets": [_O, _G, _A], "hedge": {"delay_s": 0.04, "ratio": 1, "max_hedges": 2}},
}
KEYS: Final = {"key-a": "search", "key-b": "search", "key-c": "ads"}
"""Keys and their teams."""


@dataclass(frozen=True)
class Budget:
    """A budget, and which requests it is about: said here once more, without the product's own code."""

    name: str
    scope: str
    window: Literal["session", "hour", "day", "month", "forever"]
    usd: str | None = None
    tokens: int | None = None
    """Either; for a thousand requests, a larger run has as much more."""
    hard: bool = True
    match: str | None = None

    def subject(self, ask: Ask) -> str | None:
        """Under which name a request is counted; None: it isn't."""
        if self.match is not None and self.match != ask.key:
            return None
        match self.scope:
            case "all":
                return ""
            case "key":
                return ask.key
            case "team":
                return KEYS[ask.key]
            case "model":
                return ask.route
            case "session":
                return None if ask.session is None else f"{ask.key}/{ask.session}"
            case "tag:project":
                return ask.project
        raise AssertionError(self.scope)

    def account(self, ask: Ask) -> str | None:
        subject = self.subject(ask)
        unit = "usd" if self.usd is not None else "tokens"
        return None if subject is None else f"{self.name}:{unit}:{self.window}:{subject}"

    def table(self, scale: Fraction) -> dict[str, Any]:
        """As the configuration has it."""
        limit: dict[str, Any] = {"limit_tokens": int((self.tokens or 0) * scale) + 1}
        if self.usd is not None:
            nano = int(Fraction(self.usd) * scale * 10**9)
            limit = {"limit_usd": Decimal(nano).scaleb(-9)}
        match = {} if self.match is None else {"match": [self.match]}
        return {"scope": self.scope, "window": self.window, "hard": self.hard, **limit, **match}


BUDGETS: Final = (
    Budget("everything", "all", "forever", usd="1000", hard=False),
    Budget("each-key", "key", "month", usd="50"),
    Budget("little", "key", "day", usd="0.06", match="key-c"),
    Budget("session", "session", "session", usd="0.03"),
    Budget("project", "tag:project", "hour", usd="0.02", hard=False),
    Budget("asked", "model", "day", tokens=10_000_000),
    Budget("team", "team", "hour", tokens=1_000, hard=False),
)
"""Some are never reached, some soon; some only warn."""


FAULTS: Final = (
    "400", "401", "429 retry_after_ms=5", "500", "503", "529", "insufficient_quota",
    "reset", "close", "half_close", "half_close=3", "empty", "hang", "slow=1",
    "cut=clean after=0", "cut=clean after=3", "cut=fin after=3", "cut=reset after=3",
    "tps=200 cut=fin after=3", "tps=200 cut=reset after=6", "tps=200 cut=clean after=9",
    "stall=0", "stall=3", "tps=200 stall=5", "truncate", "no_finish", "no_done cut=fin",
    "malformed=0", "malformed=3", "error_in_200", "error_event=0", "error_event=3", "wrong_type",
    "no_usage", "no_usage", "no_done", "wrong_usage=negative", "wrong_usage=huge", "wrong_usage=null",
    "wrong_usage=half", "wrong_usage=double", "wrong_usage=fraction", "wrong_usage=text",
)  # fmt: skip  # a list reads better packed
_SHARE: Final = 26
"""Percent of all attempts that are to be spoiled. Some faults are for streams or plain answers alone, so fewer are."""


def chaos_of(seed: int, requests: int) -> ChaosConfig:
    each = f"{_SHARE / len(FAULTS):.4f}%"
    spoiled = " | ".join(f"{each} {step}" for step in FAULTS)
    healthy = "12% tokens=12 tps=200 | 8% tokens=12 ttft=0.1 | 10% tokens=15 cached=2 | tokens=12"
    return ChaosConfig(
        seed=seed,
        default=f"{spoiled} | {healthy}",
        tokens=12,
        journal_entries=10 * requests,
        journal_bytes=2**30,
        body_keep=2048,
    )


def document(chaos_url: str, ledger: Path, requests: int) -> dict[str, Any]:
    """A gateway's configuration before the chaos provider at ``chaos_url`` (without a path)."""
    scale = Fraction(requests, 1000)
    patience = {"first_token_s": 0.3, "answer_s": 0.4, "idle_s": 0.3, "total_s": 4.0}
    made = document_of(
        f"{chaos_url}/v1",
        ledger,
        timeouts=patience,
        retry={"base_s": 0.002, "max_s": 0.02, "max_retries": 1, **FREE_RETRIES},
        breaker={"enabled": False},
        routes=ROUTES,
        budgets={budget.name: budget.table(scale) for budget in BUDGETS},
        keys={
            name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "team": team}
            for name, team in KEYS.items()
        },
    )
    made["prices"] = {
        f"{name}/{MODELS[name]}": {
            "input_per_1m": Decimal(price.input),
            "output_per_1m": Decimal(price.output),
            "cache_read_per_1m": Decimal(price.cache_read),
        }
        for name, price in PRICES.items()
    }
    made["providers"] = {
        name: {
            "dialect": dialect,
            "base_url": chaos_url + ("/v1beta" if name == "gemini" else "/v1"),
            "api_key": CANARY,
        }
        for name, dialect in DIALECTS.items()
    }
    return made
