"""The world that gateways die in: a provider that fails now and then, callers' keys, budgets small enough to matter."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import tomli_w
from tests.support.gateway import FREE_RETRIES, PRICE_IN, PRICE_OUT, document_of

from holdfast.chaos import ChaosConfig

__all__ = [
    "ADMIN_KEY",
    "HARD",
    "PRICE_IN",
    "PRICE_OUT",
    "PROVIDERS",
    "ROUTES",
    "TENANTS",
    "chaos_of",
    "document",
    "write",
]

PROVIDERS: Final = {"m1": "one", "m2": "two"}
"""Who serves which model: so the journal tells them apart."""
_ONE, _TWO = "one/m1", "two/m2"
ADMIN_KEY: Final = "crash-admin"
TENANTS: Final = ("key-a", "key-b", "key-c")
ROUTES: Final[dict[str, dict[str, Any]]] = {
    "chat": {"targets": [_ONE, _TWO]},
    "quick": {
        "targets": [_ONE, _TWO],
        "hedge": {"delay_s": 0.02, "ratio": 1, "max_hedges": 1},
    },
    "on": {"targets": [_TWO, _ONE], "on_break": "resume"},
}
BUDGETS: Final[dict[str, dict[str, Any]]] = {
    "each": {"scope": "key", "window": "month", "limit_usd": Decimal("0.5")},
    "little": {"scope": "key", "window": "forever", "limit_usd": Decimal("0.1"), "match": ["key-c"]},
    "all": {"scope": "all", "window": "day", "hard": False, "limit_usd": Decimal("0.01")},
    "tokens": {"scope": "key", "window": "forever", "hard": False, "limit_tokens": 1_000},
}
SESSION_USD: Final = Decimal("0.03")
HARD: Final[dict[str, int]] = {
    **{name: int(each["limit_usd"] * 10**9) for name, each in BUDGETS.items() if each.get("hard", True)},
    "cost_protection.session": int(SESSION_USD * 10**9),
    "cost_protection.hourly": 50 * 10**9,
}
"""Nano-dollars that each account of a hard budget may come to, said here once more."""

_FAULTS: Final = (
    "reset", "close", "hang", "500", "429 retry_after_ms=5", "tps=200 stall=3", "tps=200 cut=fin after=3",
    "tps=200 cut=reset after=6", "no_usage", "error_in_200", "error_event=3", "truncate", "no_finish",
)  # fmt: skip  # a list reads better packed


def chaos_of(seed: int, script: str | None = None) -> ChaosConfig:
    """A quarter of all attempts fail; many answers are slow enough to be under way when the gateway dies. Unless a
    ``script`` says otherwise."""
    spoiled = " | ".join(f"2% {fault}" for fault in _FAULTS)
    healthy = "30% tokens=12 tps=60 | 15% tokens=12 ttft=0.05 | 10% tokens=30 tps=400 | tokens=12"
    return ChaosConfig(
        seed=seed,
        default=script or f"{spoiled} | {healthy}",
        tokens=12,
        journal_entries=200_000,
        journal_bytes=2**30,
    )


def document(chaos_url: str, ledger_url: str) -> dict[str, Any]:
    """A gateway's configuration."""
    patience = {"first_token_s": 0.6, "answer_s": 0.8, "idle_s": 0.4, "total_s": 4.0}
    made = document_of(
        chaos_url,
        Path("said below"),
        models=PROVIDERS,
        timeouts=patience,
        retry={"base_s": 0.002, "max_s": 0.02, "max_retries": 1, **FREE_RETRIES},
        breaker={"enabled": False},
        routes=ROUTES,
        budgets=BUDGETS,
        cost_protection={"enabled": True, "max_session_cost_usd": SESSION_USD},
        keys={name: {"sha256": hashlib.sha256(name.encode()).hexdigest()} for name in TENANTS},
    )
    made["gateway"] = {
        "host": "127.0.0.1",
        "port": 0,
        "drain_s": 0.3,
        "admin_key": ADMIN_KEY,
        "log": {"level": "warning", "format": "json"},
    }
    made["ledger"] = {"url": ledger_url, "busy_timeout_s": 2}
    return made


def write(path: Path, chaos_url: str, ledger_url: str) -> None:
    """The configuration as the file that ``holdfast serve --config`` reads."""
    path.write_text(tomli_w.dumps(document(chaos_url, ledger_url)))
